// What a reload of this browser tab needs to go on where the page was.

import type { Bytes } from "../rules.js";
import { mapped, panesOf, readLayout } from "./layout.js";
import type { Layout } from "./layout.js";

const TABS = "terminals.tabs"; // a list of all panes, in which pages of earlier builds find their tabs ...
const SPLITS = "terminals.splits"; // ... and how they make tabs, by their places in that list
const VISITOR = "terminals.visitor";
const TYPED = "terminals.typed."; // only between two pages of one browser tab; one entry a terminal

/** Forget what belongs to somebody else than `visitor`, who is here now. */
export function forgetOthers(visitor: string): void {
  const before = sessionStorage.getItem(VISITOR);
  if (before !== null && before !== visitor) sessionStorage.clear();
  sessionStorage.setItem(VISITOR, visitor);
}

export interface KeptPane {
  readonly profile: string;
  readonly session: string | null;
  readonly epoch: string | null;
  readonly watch: boolean;
}

export interface KeptTab {
  readonly layout: Layout<KeptPane>;
  /** The pane, in the order of the layout, that was worked in. */
  readonly focused: number;
}

/** All tabs, and which of them was looked at. */
export interface KeptTabs {
  readonly tabs: readonly KeptTab[];
  readonly chosen: number;
}

/** What {@link SPLITS} has: `sessions` tells whether it is of the list that is there. */
interface KeptSplits {
  readonly sessions: readonly (string | null)[];
  readonly tabs: readonly { readonly layout: Layout<number>; readonly focused: number }[];
  readonly chosen: number;
}

/** Input that the server has not acknowledged, of the client that typed it. */
export interface KeptInput {
  readonly client: string;
  readonly acked: number;
  readonly pending: Bytes;
}

function parsed(text: string | null): unknown {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}

/** The tabs that were there; where it is not known how panes made tabs, each pane is one. */
export function keptTabs(): KeptTabs {
  const found = parsed(sessionStorage.getItem(TABS));
  const panes = Array.isArray(found) ? (found as KeptPane[]) : [];
  return together(panes, parsed(sessionStorage.getItem(SPLITS))) ?? {
    tabs: panes.map((pane) => ({ layout: { pane }, focused: 0 })),
    chosen: panes.length - 1,
  };
}

export function keepTabs({ tabs, chosen }: KeptTabs): void {
  const panes = tabs.flatMap(({ layout }) => panesOf(layout));
  const splits: KeptSplits = {
    sessions: panes.map(({ session }) => session),
    tabs: tabs.flatMap(({ layout, focused }) => {
      const places = mapped(layout, (pane) => panes.indexOf(pane));
      return places ? [{ layout: places, focused }] : [];
    }),
    chosen,
  };
  sessionStorage.setItem(TABS, JSON.stringify(panes));
  sessionStorage.setItem(SPLITS, JSON.stringify(splits));
}

/** `panes` in tabs, as `found` says; null where that says something else than how to put just these together. */
function together(panes: readonly KeptPane[], found: unknown): KeptTabs | null {
  const { sessions, tabs, chosen } = (found ?? {}) as Partial<Record<keyof KeptSplits, unknown>>;
  if (JSON.stringify(sessions) !== JSON.stringify(panes.map(({ session }) => session)) || !Array.isArray(tabs)) return null;
  const left = new Set(panes.keys());
  const read: KeptTab[] = [];
  for (const tab of tabs as (Partial<Record<keyof KeptTab, unknown>> | null)[]) {
    const layout = readLayout(tab?.layout, (at) => (typeof at === "number" && left.delete(at) ? (panes[at] ?? null) : null));
    if (!layout) return null;
    read.push({ layout, focused: Number(tab?.focused) || 0 });
  }
  return left.size ? null : { tabs: read, chosen: Number(chosen) || 0 };
}

/** Keep what was typed ahead in a session, where the browser has room for it. */
export function keepInput(session: string, { client, acked, pending }: KeptInput): void {
  try {
    sessionStorage.setItem(TYPED + session, JSON.stringify({ client, acked, pending: toText(pending) }));
  } catch {
    // Each terminal has its entry, so that what does not fit takes nothing else with it.
  }
}

/** Take it out: a duplicate of this browser tab would type in our name. */
export function takeInput(session: string): KeptInput | null {
  const found = parsed(sessionStorage.getItem(TYPED + session)) as { client: string; acked: number; pending: string } | null;
  sessionStorage.removeItem(TYPED + session);
  return found && { client: found.client, acked: found.acked, pending: fromText(found.pending) };
}

/** Base64: four characters for three bytes, where JSON would take up to four for each. */
export function toText(data: Bytes): string {
  let text = "";
  for (let at = 0; at < data.length; at += 1 << 15) text += String.fromCharCode(...data.subarray(at, at + (1 << 15)));
  return btoa(text);
}

export function fromText(text: string): Bytes {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
