// The panes of one tab: their places, which of them is worked in, and the connection that they share.

import { randomId } from "../ids.js";
import { Multiplexer } from "../multiplexer.js";
import { Divider, percent } from "./dividers.js";
import { element } from "./dom.js";
import { beside, mapped, MOST, panesOf, places, split, without } from "./layout.js";
import type { Direction, Layout, Side, Split } from "./layout.js";
import { Pane } from "./pane.js";
import type { Surroundings } from "./pane.js";
import type { KeptPane, KeptTab } from "./remembered.js";

const READ_MS = 2000; // a shell that ends so soon may have said why, which stays to be read
const NARROW = "(max-width: 42rem)"; // as in page.css: there is room for one pane
const CHOOSERS = "2.4rem"; // their height there

/** What the panes need of what is around them. */
export interface Around extends Omit<Surroundings, "multiplexer" | "client" | "changed"> {
  changed(panes: Panes): void;
  /** A pane has been closed, and what is to be known to open it again; `ended`: the status of its shell, or null. */
  closed(kept: KeptPane, ended: number | null): void;
}

interface Place {
  readonly where: HTMLElement;
  readonly chooser: HTMLButtonElement;
  /** When its shell was there first, in ms of `performance.now()`; null: not yet. */
  since: number | null;
}

export class Panes {
  readonly screen = element("div", { className: "panes" });
  focused: Pane;
  #layout: Layout<Pane>;
  #shown = true;
  #client: string | null = null;
  readonly #around: Around;
  readonly #surroundings: Surroundings;
  readonly #places = new Map<Pane, Place>();
  readonly #dividers = new Map<Split<Pane>, Divider<Pane>>();
  readonly #multiplexers = new Map<string, Multiplexer>();
  /** On a narrow screen, which of the panes is shown. */
  readonly #choosers = element("div", { className: "choosers", role: "group", ariaLabel: "Panes" });
  readonly #narrow = matchMedia(NARROW);
  readonly #onNarrow = () => this.#arrange();

  constructor({ layout, focused }: KeptTab, around: Around) {
    this.#around = around;
    this.#surroundings = this.#surround();
    const made = mapped(layout, (kept) => new Pane(kept, this.#surroundings));
    const [first] = made ? panesOf(made) : [];
    if (!made || !first) throw new Error("a tab has a pane");
    this.#layout = made;
    this.focused = this.all[focused] ?? first;
    this.screen.append(this.#choosers);
    this.#narrow.addEventListener("change", this.#onNarrow);
  }

  get all(): Pane[] {
    return panesOf(this.#layout);
  }

  /** The strongest of their marks. */
  get mark(): Pane["mark"] {
    const marks = new Set(this.all.map(({ mark }) => mark));
    return marks.has("bell") ? "bell" : marks.has("output") ? "output" : "";
  }

  /** Whether one of their sessions is recorded, or should be and is not. */
  get recording(): Pane["recording"] {
    const found = new Set(this.all.map(({ recording }) => recording));
    return found.has("lost") ? "lost" : found.has("on") ? "on" : "";
  }

  /** The state to be shown: of the focused one, unless that is well and another is not. */
  get kind(): string {
    const kinds = [this.focused, ...this.all].map(({ state }) => state.kind);
    return kinds.find((kind) => kind !== "connected") ?? "connected";
  }

  /** Show them in `parent`, and begin. */
  open(parent: HTMLElement): void {
    parent.append(this.screen);
    for (const pane of this.all) this.#open(pane);
    this.#arrange();
  }

  close(): void {
    this.#narrow.removeEventListener("change", this.#onNarrow);
    for (const pane of this.all) this.#end(pane);
    this.screen.remove();
  }

  /** Whether it is this tab that is looked at. */
  show(shown: boolean): void {
    this.#shown = shown;
    this.#arrange();
    if (shown) this.focused.seen();
  }

  /** Begin another session beside the one that is worked in; nothing where there are as many as may be. */
  split(direction: Direction): void {
    if (this.all.length >= MOST) return;
    const { profile } = this.focused;
    const added = new Pane({ profile, session: null, epoch: null, watch: false }, this.#surroundings);
    this.#layout = split(this.#layout, this.focused, direction, added);
    this.#open(added);
    this.focus(added);
    this.#around.remember();
  }

  /** Begin another session in the place of `pane`. */
  renew(pane: Pane): void {
    const { profile } = pane;
    const added = new Pane({ profile, session: null, epoch: null, watch: false }, this.#surroundings);
    this.#layout = mapped(this.#layout, (each) => (each === pane ? added : each)) ?? { pane: added };
    this.#end(pane);
    this.#open(added);
    this.focus(added);
    this.#around.remember();
  }

  /** Close one of several; its session keeps running, unless its shell has ended. */
  drop(pane: Pane): void {
    const rest = without(this.#layout, pane);
    if (!rest) return;
    const at = this.all.indexOf(pane);
    const inIt = this.screen.contains(document.activeElement);
    this.#layout = rest;
    this.#end(pane);
    if (pane === this.focused) {
      this.focused = this.all[Math.max(0, at - 1)] ?? this.focused;
      this.#arrange();
      if (this.#shown && inIt) this.focused.seen();
    } else {
      this.#arrange();
    }
    this.#around.remember();
    this.#around.changed(this);
  }

  focus(pane: Pane): void {
    this.focused = pane;
    this.#arrange();
    if (this.#shown) pane.seen();
    this.#around.changed(this);
    this.#around.remember();
  }

  /** Work in the one on that side; whether there is one. */
  focusBeside(side: Side): boolean {
    const found = beside(this.#layout, this.focused, side);
    if (found) this.focus(found);
    return found !== null;
  }

  /** Give all that are seen what room there is. */
  fill(): void {
    for (const pane of this.all) {
      if (!pane.screen.hidden) pane.fill();
    }
  }

  /** What a reload needs to find them again. */
  kept(): KeptTab {
    const layout = mapped(this.#layout, keptOf);
    return { layout: layout ?? { pane: keptOf(this.focused) }, focused: this.all.indexOf(this.focused) };
  }

  #surround(): Surroundings {
    const around = this.#around;
    const clientOf = () => (this.#client ??= randomId());
    return {
      page: around.page,
      remember: () => around.remember(),
      changed: (pane) => this.#changed(pane),
      multiplexer: (client) => {
        this.#client ??= client;
        const known = this.#multiplexers.get(client) ?? new Multiplexer();
        this.#multiplexers.set(client, known);
        return known;
      },
      get client() {
        return clientOf();
      },
    };
  }

  #open(pane: Pane): void {
    const closer = element("button", {
      className: "close-pane",
      textContent: "×",
      title: "Close the pane; the session keeps running (Alt+Shift+W)",
      ariaLabel: "Close the pane",
      onclick: () => this.drop(pane),
    });
    const where = element("div", { className: "pane" }, closer);
    where.addEventListener("focusin", () => {
      if (this.focused !== pane && this.#places.has(pane)) this.#look(pane);
    });
    const chooser = element("button", { onclick: () => this.focus(pane) });
    this.#places.set(pane, { where, chooser, since: null });
    this.screen.append(where);
    this.#choosers.append(chooser);
    this.#arrange();
    pane.open(where);
  }

  /** It has got the focus. */
  #look(pane: Pane): void {
    this.focused = pane;
    this.#arrange();
    this.#around.changed(this);
    this.#around.remember();
  }

  #end(pane: Pane): void {
    const place = this.#places.get(pane);
    this.#places.delete(pane);
    const { state } = pane;
    this.#around.closed(keptOf(pane), state.kind === "ended" ? state.status : null);
    pane.close();
    place?.where.remove();
    place?.chooser.remove();
  }

  #changed(pane: Pane): void {
    const place = this.#places.get(pane);
    const { kind } = pane.state;
    if (place && kind === "connected") place.since ??= performance.now();
    if (place && kind === "ended" && this.all.length > 1 && performance.now() - (place.since ?? Infinity) > READ_MS) {
      this.drop(pane);
      return;
    }
    this.#around.changed(this);
  }

  /** Put everything in its place. */
  #arrange(): void {
    const { all, focused } = this;
    const single = all.length === 1;
    const one = single || this.#narrow.matches;
    const { panes, splits } = places(this.#layout);
    this.screen.hidden = !this.#shown;
    this.screen.toggleAttribute("data-split", !single);
    this.#choosers.hidden = single || !one;
    for (const [number, pane] of all.entries()) {
      const place = this.#places.get(pane);
      const box = panes.get(pane);
      if (!place || !box) continue;
      const { where, chooser } = place;
      const { style } = where;
      style.left = one ? "0" : percent(box.left);
      style.top = single ? "0" : one ? CHOOSERS : percent(box.top);
      style.width = one ? "100%" : percent(box.width);
      style.height = single ? "100%" : one ? `calc(100% - ${CHOOSERS})` : percent(box.height);
      where.hidden = one && pane !== focused;
      where.toggleAttribute("data-focused", pane === focused);
      pane.screen.hidden = where.hidden || !this.#shown;
      if (!pane.screen.hidden) pane.mark = "";
      chooser.textContent = String(number + 1);
      chooser.ariaLabel = `Pane ${number + 1}`;
      chooser.ariaPressed = String(pane === focused);
    }
    for (const [part, divider] of this.#dividers) {
      if (splits.has(part) && !one) continue;
      divider.bar.remove();
      this.#dividers.delete(part);
    }
    if (!one) {
      for (const [part, box] of splits) {
        const known = this.#dividers.get(part) ?? new Divider(part, () => this.#arrange(), () => this.#around.remember());
        this.#dividers.set(part, known);
        if (!known.bar.parentElement) this.screen.append(known.bar);
        known.place(box);
      }
    }
    this.fill();
  }
}

function keptOf({ profile, session, epoch, watch }: Pane): KeptPane {
  return { profile, session, epoch, watch };
}
