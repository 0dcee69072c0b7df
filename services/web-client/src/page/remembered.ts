// What a reload of this browser tab needs to go on where the page was.

import type { Bytes } from "../rules.js";

const TABS = "terminals.tabs";
const VISITOR = "terminals.visitor";
const TYPED = "terminals.typed."; // only between two pages of one browser tab; one entry a terminal

/** Forget what belongs to somebody else than `visitor`, who is here now. */
export function forgetOthers(visitor: string): void {
  const before = sessionStorage.getItem(VISITOR);
  if (before !== null && before !== visitor) sessionStorage.clear();
  sessionStorage.setItem(VISITOR, visitor);
}

export interface KeptTab {
  readonly profile: string;
  readonly session: string | null;
  readonly epoch: string | null;
  readonly watch: boolean;
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

export function keptTabs(): KeptTab[] {
  const found = parsed(sessionStorage.getItem(TABS));
  return Array.isArray(found) ? (found as KeptTab[]) : [];
}

export function keepTabs(tabs: readonly KeptTab[]): void {
  sessionStorage.setItem(TABS, JSON.stringify(tabs));
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
