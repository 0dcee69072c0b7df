// All tabs of the page: which is looked at, their order, and what was closed.

import { $, element } from "./dom.js";
import type { Direction, Side } from "./layout.js";
import type { Page, Pane } from "./pane.js";
import { Panes } from "./panes.js";
import type { Around } from "./panes.js";
import { keepInput, keepTabs } from "./remembered.js";
import type { KeptPane, KeptTab } from "./remembered.js";

const RECORDED = { "": "", on: "is recorded", lost: "should be recorded, and is not" } as const;
const REOPENED = 10; // so many closed panes can be opened again

interface Entry {
  readonly panes: Panes;
  readonly handle: HTMLElement;
  readonly button: HTMLButtonElement;
  /** Says that its session is recorded. */
  readonly record: HTMLElement;
}

/** What the page has to know of its tabs. */
export interface Watcher {
  /** What the page shows of the pane that is worked in is another. */
  changed(): void;
  /** A pane has closed itself: its shell has ended. */
  ended(status: number): void;
  /** There is no tab any more. */
  none(): void;
}

export class Tabs {
  #chosen: Panes | null = null;
  #entries: Entry[] = [];
  readonly #closed: KeptPane[] = [];
  #dragged: Panes | null = null;

  constructor(
    private readonly page: Page,
    private readonly watcher: Watcher,
  ) {}

  /** The pane that is worked in: what is done, is done to it. */
  get chosen(): Pane | null {
    return this.#chosen?.focused ?? null;
  }

  /** The panes of the tab that is looked at. */
  get panes(): readonly Pane[] {
    return this.#chosen?.all ?? [];
  }

  /** All panes, of all tabs. */
  get all(): readonly Pane[] {
    return this.#entries.flatMap(({ panes }) => panes.all);
  }

  add(kept: KeptTab): void {
    const panes = new Panes(kept, this.#surroundings());
    const button = element("button", { role: "tab", onclick: () => this.#choose(panes) });
    // A list of tabs has nothing but tabs: for whoever does not see it, closing is a key on the tab.
    const closer = element("button", {
      textContent: "×",
      title: "Close the tab; the session keeps running",
      ariaHidden: "true",
      tabIndex: -1,
      onclick: () => this.#close(panes),
    });
    button.setAttribute("aria-keyshortcuts", "Delete");
    button.onkeydown = (event) => this.#onKey(event, panes);
    const dot = element("span", { className: "dot", ariaHidden: "true" });
    const record = element("span", { className: "record", ariaHidden: "true", hidden: true }); // its button says so, too
    const handle = element("div", { className: "tab", draggable: true, role: "presentation" }, dot, button, record, closer);
    handle.ondragstart = () => {
      this.#dragged = panes;
    };
    handle.ondragover = (event) => {
      if (!this.#dragged || this.#dragged === panes) return;
      event.preventDefault();
      this.#place(this.#dragged, this.#at(panes));
    };
    handle.ondragend = () => {
      this.#dragged = null;
    };
    this.#entries.push({ panes, handle, button, record });
    $("tabs").append(handle);
    panes.open($("screens"));
    this.#choose(panes);
    this.remember();
  }

  /** Work in `pane`. */
  choose(pane: Pane): void {
    const panes = this.#of(pane);
    if (!panes) return;
    this.#choose(panes);
    if (panes.focused !== pane) panes.focus(pane);
  }

  /** Look at the tab in that place; nothing where there is none. */
  chooseAt(index: number): void {
    const entry = this.#entries[index];
    if (entry) this.#choose(entry.panes);
  }

  /** Close a pane, and the tab with its last one. */
  close(pane: Pane): void {
    const panes = this.#of(pane);
    if (!panes) return;
    if (panes.all.length > 1) panes.drop(pane);
    else this.#close(panes);
  }

  /** Open a new session in a tab of its own. */
  open(profile: string): void {
    this.#addAlone({ profile, session: null, epoch: null, watch: false });
  }

  /** Begin another session in the place of `pane`. */
  renew(pane: Pane): void {
    this.#of(pane)?.renew(pane);
  }

  /** Begin another session beside the one that is worked in. */
  split(direction: Direction): void {
    this.#chosen?.split(direction);
  }

  /** Work in the pane on that side. */
  focusBeside(side: Side): void {
    this.#chosen?.focusBeside(side);
  }

  /** Give the panes that are seen what room there is. */
  fill(): void {
    this.#chosen?.fill();
  }

  /** Work in the pane of a session, or open a tab. */
  show(kept: KeptPane): void {
    const known = this.all.find((pane) => pane.session === kept.session && pane.watch === kept.watch);
    if (known) this.choose(known);
    else this.#addAlone(kept);
  }

  /** Open again what was closed last. */
  reopen(): void {
    const kept = this.#closed.pop();
    if (kept) this.show(kept);
  }

  /** Move the tab that is looked at among the others. */
  move(by: number): void {
    if (this.#chosen) this.#place(this.#chosen, this.#at(this.#chosen) + by);
  }

  /** The name of a pane, by the place of its tab. */
  name(pane: Pane): string {
    return pane.name(this.#entries.findIndex(({ panes }) => panes.all.includes(pane)) + 1);
  }

  /** What a reload of this browser tab needs to find its sessions again. */
  remember(): void {
    const chosen = this.#chosen ? this.#at(this.#chosen) : 0;
    keepTabs({ tabs: this.#entries.map(({ panes }) => panes.kept()), chosen });
  }

  /** What was typed and is not acknowledged, for the next page of this browser tab. */
  keepInput(): void {
    for (const { session, watch, client, connection } of this.all) {
      const { acked, pending } = connection.sender;
      if (session !== null && !watch) keepInput(session, { client, acked, pending });
    }
  }

  #surroundings(): Around {
    return {
      page: this.page,
      remember: () => this.remember(),
      changed: (panes) => this.#show(panes),
      closed: (kept, ended) => this.#remind(kept, ended),
    };
  }

  #addAlone(pane: KeptPane): void {
    this.add({ layout: { pane }, focused: 0 });
  }

  #choose(panes: Panes): void {
    this.#chosen = panes;
    for (const { panes: each, handle, button } of this.#entries) {
      if (each !== panes) each.show(false);
      handle.toggleAttribute("data-chosen", each === panes);
      button.ariaSelected = String(each === panes);
      button.tabIndex = each === panes ? 0 : -1;
    }
    panes.show(true);
    this.#show(panes);
    this.#entries[this.#at(panes)]?.handle.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.remember();
  }

  #close(panes: Panes): void {
    const at = this.#at(panes);
    const [entry] = this.#entries.splice(at, 1);
    if (!entry) return;
    panes.close();
    entry.handle.remove();
    this.#renumber();
    if (panes === this.#chosen) {
      const next = this.#entries[Math.min(at, this.#entries.length - 1)];
      this.#chosen = next?.panes ?? null;
      if (next) this.#choose(next.panes);
    }
    this.remember();
    if (!this.#entries.length) this.watcher.none();
  }

  #remind(kept: KeptPane, ended: number | null): void {
    if (ended !== null) {
      this.watcher.ended(ended);
    } else if (kept.session !== null) {
      // Its screen is gone: shown again, it is from the beginning on.
      this.#closed.push(kept);
      this.#closed.splice(0, this.#closed.length - REOPENED);
    }
  }

  #at(panes: Panes): number {
    return this.#entries.findIndex((entry) => entry.panes === panes);
  }

  #of(pane: Pane): Panes | null {
    return this.#entries.find(({ panes }) => panes.all.includes(pane))?.panes ?? null;
  }

  #onKey(event: KeyboardEvent, panes: Panes): void {
    const at = this.#at(panes);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Delete") this.#close(panes);
    else if (step) this.#entries[(at + step + this.#entries.length) % this.#entries.length]?.button.focus();
    else return;
    event.preventDefault();
  }

  #place(panes: Panes, at: number): void {
    const from = this.#at(panes);
    const to = Math.min(Math.max(0, at), this.#entries.length - 1);
    const [entry] = this.#entries.splice(from, 1);
    if (!entry) return;
    this.#entries.splice(to, 0, entry);
    $("tabs").append(...this.#entries.map(({ handle }) => handle));
    this.remember();
    this.#renumber();
  }

  #renumber(): void {
    for (const { panes } of this.#entries) this.#show(panes);
  }

  #show(panes: Panes): void {
    const at = this.#at(panes);
    const entry = this.#entries[at];
    if (!entry) return;
    const { focused, mark, all, recording } = panes;
    const name = focused.name(at + 1);
    entry.button.textContent = all.length > 1 ? `${name} (${all.length})` : name;
    entry.button.title = focused.session ?? "";
    entry.handle.dataset["kind"] = panes.kind;
    entry.handle.dataset["mark"] = mark;
    entry.record.hidden = recording === "";
    entry.record.textContent = recording === "lost" ? "not recorded" : "recorded";
    entry.record.dataset["recording"] = recording;
    const several = all.length > 1 && `${all.length} panes`;
    const happened = mark && (mark === "bell" ? "rang its bell" : "has new output");
    entry.button.ariaLabel = [name, several, RECORDED[recording], happened].filter(Boolean).join(", ");
    if (panes === this.#chosen) this.watcher.changed();
  }
}
