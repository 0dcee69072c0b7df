// The list of all sessions.

import { ask, Unauthorized } from "./api.js";
import type { SessionInfo } from "./api.js";
import { $, element } from "./dom.js";
import { profileName } from "./tab.js";

const REFRESH_MS = 3000;
const COLUMNS = ["Session", "Kind", "Age", "Viewers", "Generation", ""];

/** `open`: somebody wants to work in a session, or to look on. */
export function sessionList(open: (session: SessionInfo, watch: boolean) => void, unauthorized: () => void): void {
  const panel = $("sessions");
  const button = $("list");

  const shown = (wanted: boolean) => {
    panel.hidden = !wanted;
    button.ariaExpanded = String(wanted);
  };

  const refresh = async () => {
    if (panel.hidden) return;
    try {
      const { sessions } = await ask<{ sessions: SessionInfo[] }>("sessions");
      const rows = sessions.filter((session) => session.live).map(row);
      panel.replaceChildren(rows.length ? table(rows) : element("p", { textContent: "No session is running." }));
    } catch (error) {
      if (error instanceof Unauthorized) unauthorized();
      else panel.replaceChildren(element("p", { textContent: `The list is not available: ${String(error)}` }));
    }
  };

  const row = (session: SessionInfo): HTMLTableRowElement => {
    const opener = (text: string, title: string, watch: boolean) => element("button", {
      textContent: text,
      title,
      onclick: () => {
        shown(false);
        open(session, watch);
      },
    });
    const changer = (text: string, title: string, request: () => RequestInit | null) => element("button", {
      textContent: text,
      title,
      onclick: () => {
        const options = request();
        if (!options) return;
        void ask(`sessions/${session.id}`, options)
          .catch((error: unknown) => alert(String(error)))
          .then(refresh);
      },
    });
    const named = session.title
      ? element("td", { textContent: session.title, title: session.id })
      : element("td", { className: "id", textContent: session.id });
    return element("tr", {}, named,
      element("td", { textContent: profileName(session.profile) }),
      element("td", { textContent: age(Date.now() / 1000 - session.created) }),
      element("td", { textContent: `${session.attached ? 1 : 0}${session.watchers ? ` + ${session.watchers}` : ""}` }),
      element("td", { className: "wide", textContent: session.generation }),
      element("td", { className: "actions" },
        opener("Open", "Work in it; whoever does so now is put out", false),
        opener("View", "Look on, without disturbing whoever works in it", true),
        changer("Name", "Give it a title", () => {
          const title = prompt("Title of this session (empty: none)", session.title);
          return title === null ? null : { method: "PATCH", body: JSON.stringify({ title }) };
        }),
        changer("End", "Hang its shell up", () =>
          confirm(`End ${session.title || session.id}? What runs in it is hung up.`) ? { method: "DELETE" } : null),
      ));
  };

  button.onclick = () => {
    shown(panel.hidden !== false);
    void refresh();
  };
  setInterval(() => void refresh(), REFRESH_MS);
}

function table(rows: HTMLTableRowElement[]): HTMLTableElement {
  const heads = COLUMNS.map((text, at) => element("th", { textContent: text, className: at === 4 ? "wide" : "" }));
  return element("table", {},
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows));
}

/** Seconds, for people. */
export function age(seconds: number): string {
  const minutes = seconds / 60;
  return minutes < 60 ? `${minutes.toFixed(0)} min` : `${(minutes / 60).toFixed(1)} h`;
}
