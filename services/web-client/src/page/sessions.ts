// The list of all sessions.

import { ask } from "./api.js";
import type { SessionInfo, Visitor } from "./api.js";
import { $, element } from "./dom.js";
import { panel } from "./panels.js";
import { profileName } from "./pane.js";

const REFRESH_MS = 3000;
const COLUMNS = ["Session", "Whose", "Kind", "Host", "Age", "Viewers", "Generation", ""];
const WIDE = new Set(["Whose", "Generation"]);

/** What the list needs of the page around it. */
export interface Around {
  readonly visitor: Visitor | null;
  /** Somebody wants to work in a session, or to look on. */
  open(session: SessionInfo, watch: boolean): void;
  /** What to say of an answer that is none. */
  failed(error: unknown): string;
}

export function sessionList(around: Around): void {
  const where = $("sessions");

  const refresh = async () => {
    if (where.hidden) return;
    try {
      const { sessions } = await ask<{ sessions: SessionInfo[] }>("sessions");
      const live = sessions.filter((session) => session.live);
      const several = live.some((session) => session.host);
      const rows = live.map((session) => row(session, several));
      where.replaceChildren(rows.length ? table(rows, several) : element("p", { textContent: "No session is running." }));
    } catch (error) {
      where.replaceChildren(element("p", { textContent: `The list is not available: ${around.failed(error)}` }));
    }
  };

  const row = (session: SessionInfo, several: boolean): HTMLTableRowElement => {
    const opener = (text: string, title: string, watch: boolean) => element("button", {
      textContent: text,
      title,
      onclick: () => {
        close();
        around.open(session, watch);
      },
    });
    const changer = (text: string, title: string, request: () => RequestInit | null, of = "") => element("button", {
      textContent: text,
      title,
      onclick: () => {
        const options = request();
        if (!options) return;
        void ask(`sessions/${session.id}${of}`, options)
          .catch((error: unknown) => alert(around.failed(error)))
          .then(refresh);
      },
    });
    const named = session.title
      ? element("td", { textContent: session.title, title: session.id })
      : element("td", { className: "id", textContent: session.id });
    const mayType = !around.visitor?.read_only;
    const mayChange = mayType && (around.visitor?.role === "operator" || around.visitor?.role === "user");
    return element("tr", {}, named,
      element("td", { className: "wide", textContent: session.user }),
      element("td", { textContent: profileName(session.profile) }),
      ...(several ? [element("td", { textContent: session.host || "here" })] : []),
      element("td", { textContent: age(Date.now() / 1000 - session.created) }),
      element("td", { textContent: `${session.attached ? 1 : 0}${session.watchers ? ` + ${session.watchers}` : ""}` }),
      element("td", { className: "wide", textContent: session.generation }),
      element("td", { className: "actions" },
        ...(mayType ? [opener("Open", "Work in it; whoever does so now is put out", false)] : []),
        opener("View", "Look on, without disturbing whoever works in it", true),
        ...(mayChange ? [
          changer("Name", "Give it a title", () => {
            const title = prompt("Title of this session (empty: none)", session.title);
            return title === null ? null : { method: "PATCH", body: JSON.stringify({ title }) };
          }),
          ...(session.recording === undefined || session.host ? [] : [session.recording
            ? changer("Stop recording", "Record no more of it", () => ({ method: "DELETE" }), "/recording")
            : changer("Record", "Record what it shows from now on; all who are attached are told", () => ({ method: "POST" }), "/recording")]),
          changer("End", "Hang its shell up", () =>
            confirm(`End ${session.title || session.id}? What runs in it is hung up.`) ? { method: "DELETE" } : null),
        ] : []),
      ));
  };

  const close = panel("list", "sessions", () => void refresh());
  setInterval(() => void refresh(), REFRESH_MS);
}

function table(rows: HTMLTableRowElement[], several: boolean): HTMLTableElement {
  const columns = COLUMNS.filter((text) => several || text !== "Host");
  const heads = columns.map((text) => element("th", { textContent: text, className: WIDE.has(text) ? "wide" : "" }));
  return element("table", {},
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows));
}

/** Seconds, for people. */
export function age(seconds: number): string {
  const minutes = seconds / 60;
  return minutes < 60 ? `${minutes.toFixed(0)} min` : `${(minutes / 60).toFixed(1)} h`;
}
