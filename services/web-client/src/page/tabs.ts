// All tabs of the page: which is looked at, their order, and those that were closed.

import { $, element } from "./dom.js";
import { keepInput, keepTabs } from "./remembered.js";
import type { KeptTab } from "./remembered.js";
import { Tab } from "./tab.js";
import type { Surroundings } from "./tab.js";

const REOPENED = 10; // so many closed tabs can be opened again

interface Entry {
  readonly tab: Tab;
  readonly handle: HTMLElement;
  readonly button: HTMLButtonElement;
}

export class Tabs {
  chosen: Tab | null = null;
  #entries: Entry[] = [];
  readonly #closed: KeptTab[] = [];
  #dragged: Tab | null = null;

  /** `changed`: what the page shows of the chosen tab is another. `none`: there is no tab any more. */
  constructor(
    private readonly around: Omit<Surroundings, "changed" | "remember">,
    private readonly changed: () => void,
    private readonly none: () => void,
  ) {}

  get all(): readonly Tab[] {
    return this.#entries.map(({ tab }) => tab);
  }

  add(kept: KeptTab): void {
    const tab = new Tab(kept, {
      ...this.around,
      changed: (tab) => this.#show(tab),
      remember: () => this.remember(),
    });
    const button = element("button", { role: "tab", onclick: () => this.choose(tab) });
    // A list of tabs has nothing but tabs: for whoever does not see it, closing is a key on the tab.
    const closer = element("button", {
      textContent: "×",
      title: "Close the tab; the session keeps running",
      ariaHidden: "true",
      tabIndex: -1,
      onclick: () => this.close(tab),
    });
    button.setAttribute("aria-keyshortcuts", "Delete");
    button.onkeydown = (event) => this.#onKey(event, tab);
    const dot = element("span", { className: "dot", ariaHidden: "true" });
    const handle = element("div", { className: "tab", draggable: true, role: "presentation" }, dot, button, closer);
    handle.ondragstart = () => {
      this.#dragged = tab;
    };
    handle.ondragover = (event) => {
      if (!this.#dragged || this.#dragged === tab) return;
      event.preventDefault();
      this.#place(this.#dragged, this.all.indexOf(tab));
    };
    handle.ondragend = () => {
      this.#dragged = null;
    };
    this.#entries.push({ tab, handle, button });
    $("tabs").append(handle);
    tab.open($("screens"));
    this.choose(tab);
    this.remember();
  }

  choose(tab: Tab): void {
    this.chosen = tab;
    for (const { tab: each, handle, button } of this.#entries) {
      each.screen.hidden = each !== tab;
      handle.toggleAttribute("data-chosen", each === tab);
      button.ariaSelected = String(each === tab);
      button.tabIndex = each === tab ? 0 : -1;
    }
    tab.seen();
    this.#show(tab);
    this.#entries.find((entry) => entry.tab === tab)?.handle.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  close(tab: Tab): void {
    const at = this.#entries.findIndex((entry) => entry.tab === tab);
    const [entry] = this.#entries.splice(at, 1);
    if (!entry) return;
    if (tab.session !== null && tab.state.kind !== "ended") {
      // Its screen is gone: shown again, it is from the beginning on.
      this.#closed.push({ profile: tab.profile, session: tab.session, epoch: tab.epoch, watch: tab.watch });
      this.#closed.splice(0, this.#closed.length - REOPENED);
    }
    tab.close();
    entry.handle.remove();
    this.remember();
    this.#renumber();
    if (tab !== this.chosen) return;
    const next = this.#entries[Math.min(at, this.#entries.length - 1)];
    if (next) this.choose(next.tab);
    else {
      this.chosen = null;
      this.none();
    }
  }

  /** Open a new session. */
  open(profile: string): void {
    this.add({ profile, session: null, epoch: null, watch: false });
  }

  /** Choose the tab of a session, or open one. */
  show(kept: KeptTab): void {
    const known = this.all.find((tab) => tab.session === kept.session && tab.watch === kept.watch);
    if (known) this.choose(known);
    else this.add(kept);
  }

  /** Open the tab again that was closed last. */
  reopen(): void {
    const kept = this.#closed.pop();
    if (kept) this.show(kept);
  }

  /** Move the chosen one among the others. */
  move(by: number): void {
    if (!this.chosen) return;
    this.#place(this.chosen, this.all.indexOf(this.chosen) + by);
  }

  /** What a reload of this browser tab needs to find its sessions again. */
  remember(): void {
    keepTabs(this.all.map(({ profile, session, epoch, watch }) => ({ profile, session, epoch, watch })));
  }

  /** What was typed and is not acknowledged, for the next page of this browser tab. */
  keepInput(): void {
    for (const { session, watch, client, connection } of this.all) {
      const { acked, pending } = connection.sender;
      if (session !== null && !watch) keepInput(session, { client, acked, pending });
    }
  }

  #onKey(event: KeyboardEvent, tab: Tab): void {
    const at = this.all.indexOf(tab);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Delete") this.close(tab);
    else if (step) this.#entries[(at + step + this.#entries.length) % this.#entries.length]?.button.focus();
    else return;
    event.preventDefault();
  }

  #place(tab: Tab, at: number): void {
    const from = this.all.indexOf(tab);
    const to = Math.min(Math.max(0, at), this.#entries.length - 1);
    const [entry] = this.#entries.splice(from, 1);
    if (!entry) return;
    this.#entries.splice(to, 0, entry);
    $("tabs").append(...this.#entries.map(({ handle }) => handle));
    this.remember();
    this.#renumber();
  }

  #renumber(): void {
    for (const { tab } of this.#entries) this.#show(tab);
  }

  #show(tab: Tab): void {
    const at = this.#entries.findIndex((entry) => entry.tab === tab);
    const entry = this.#entries[at];
    if (!entry) return;
    const name = tab.name(at + 1);
    entry.button.textContent = name;
    entry.button.title = tab.session ?? "";
    entry.handle.dataset["kind"] = tab.state.kind;
    entry.handle.dataset["mark"] = tab.mark;
    entry.button.ariaLabel = tab.mark ? `${name}, ${tab.mark === "bell" ? "rang its bell" : "has new output"}` : name;
    if (tab === this.chosen) this.changed();
  }
}
