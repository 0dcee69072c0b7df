// Links that may be given away: to one session, to look on or to work in it, for a while.

import { ask, posted } from "./api.js";
import type { LinkInfo } from "./api.js";
import { write } from "./clipboard.js";
import { $, element } from "./dom.js";
import { panel } from "./panels.js";
import { age } from "./sessions.js";
import type { Pane } from "./pane.js";

/** `current`: the pane whose session is shared. `failed`: an answer that is none. */
export function sharing(current: () => Pane | null, failed: (error: unknown) => string): void {
  const made = $("share-made");
  const address = $("share-address", HTMLInputElement);
  const list = $("share-list");
  const said = $("share-said");

  const row = (link: LinkInfo): HTMLTableRowElement => element("tr", {},
    element("td", { className: "id", textContent: link.session }),
    element("td", { textContent: link.read_only ? "look on" : "type" }),
    element("td", { textContent: `${age(link.until - Date.now() / 1000)} left` }),
    element("td", { className: "actions" }, element("button", {
      type: "button",
      textContent: "Revoke",
      title: "Have the link open nothing any more, and put out whoever came by it",
      onclick: () => void carryOut(() => ask(`links/${link.id}`, { method: "DELETE" })),
    })),
  );

  const refresh = async () => {
    const { links } = await ask<{ links: LinkInfo[] }>("links");
    list.replaceChildren(...(links.length
      ? [element("table", {}, element("tbody", {}, ...links.map(row)))]
      : [element("p", { className: "hint", textContent: "No link is good at the moment." })]));
  };

  const carryOut = async (what: () => Promise<unknown>) => {
    try {
      await what();
      await refresh();
      said.textContent = "";
    } catch (error) {
      said.textContent = failed(error);
    }
  };

  panel("share", "sharing", () => {
    made.hidden = true;
    void carryOut(() => Promise.resolve());
  });
  $("sharing").onsubmit = (event) => {
    event.preventDefault();
    const session = current()?.session;
    if (!session) {
      said.textContent = "This pane has no session yet.";
      return;
    }
    void carryOut(async () => {
      const asked = {
        session,
        minutes: Number($("share-minutes", HTMLSelectElement).value),
        read_only: $("share-mode", HTMLSelectElement).value === "read",
      };
      const { ticket } = await ask<{ ticket: string }>("links", posted(asked));
      address.value = `${location.origin}${location.pathname}#ticket=${ticket}`;
      made.hidden = false;
      address.select();
    });
  };
  $("share-copy").onclick = () => {
    address.select();
    void write(address.value).then((copied) => {
      said.textContent = copied ? "Copied." : "Copy the address above: this page may not write to the clipboard.";
    });
  };
}
