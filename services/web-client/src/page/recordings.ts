// The list of recordings.

import { ask } from "./api.js";
import type { RecordingInfo, Visitor } from "./api.js";
import { $, element } from "./dom.js";
import { panel } from "./panels.js";
import { clock } from "./player.js";
import { replay } from "./replay.js";
import type { Settings } from "./settings.js";
import { size } from "./status.js";
import { profileName } from "./pane.js";

const COLUMNS = ["Session", "Whose", "Kind", "Begun", "Length", "Size", "", ""];
const WIDE = new Set(["Whose", "Kind", "Size"]);
const STATES = { running: "goes on", ended: "", full: "full", cut: "cut off" } as const;

/** What the list needs of the page around it. */
export interface Around {
  readonly visitor: Visitor | null;
  readonly settings: Settings;
  /** What to say of an answer that is none. */
  failed(error: unknown): string;
}

/** Whether somebody may see recordings: of their own sessions, or all. */
export const seesRecordings = (visitor: Visitor): boolean => visitor.role === "operator" || visitor.role === "user";

export function recordingList(around: Around): void {
  const where = $("recordings");

  const refresh = async () => {
    try {
      const { recordings } = await ask<{ recordings: RecordingInfo[] }>("recordings");
      where.replaceChildren(recordings.length
        ? table(recordings.map(row).reverse())
        : element("p", { textContent: "Nothing is recorded. A session is recorded by its button in the list of sessions." }));
    } catch (error) {
      where.replaceChildren(element("p", { textContent: `The list is not available: ${around.failed(error)}` }));
    }
  };

  const row = (info: RecordingInfo): HTMLTableRowElement => {
    const play = element("button", {
      textContent: "Replay",
      onclick: () => {
        close();
        replay(info, around.settings, (error) => around.failed(error));
      },
    });
    const remove = element("button", {
      textContent: "Remove",
      onclick: () => {
        if (!confirm(`Remove the recording of ${info.title || info.session}? It cannot be brought back.`)) return;
        void ask(`recordings/${info.id}`, { method: "DELETE" })
          .catch((error: unknown) => alert(around.failed(error)))
          .then(refresh);
      },
    });
    const removable = info.state !== "running" && !around.visitor?.read_only
      && (around.visitor?.role === "operator" || !info.required);
    return element("tr", {},
      element("td", { textContent: info.title || info.session, title: info.session, className: info.title ? "" : "id" }),
      element("td", { textContent: info.user, className: "wide" }),
      element("td", { textContent: profileName(info.profile), className: "wide" }),
      element("td", { textContent: new Date(info.created * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "short" }) }),
      element("td", { textContent: clock(info.seconds) }),
      element("td", { textContent: size(info.bytes), className: "wide" }),
      element("td", { textContent: STATES[info.state] }),
      element("td", { className: "actions" }, play, ...(removable ? [remove] : [])),
    );
  };

  const close = panel("recordings-list", "recordings", () => void refresh());
}

function table(rows: HTMLTableRowElement[]): HTMLTableElement {
  const heads = COLUMNS.map((text) => element("th", { textContent: text, className: WIDE.has(text) ? "wide" : "" }));
  return element("table", {},
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows));
}
