// The web process's API. Who this browser's visitor is says a cookie, which no script can read.

import type { Recording } from "../frames.js";

const KEPT = "terminals.token"; // where pages of earlier builds kept the token

export class Unauthorized extends Error {}

/** A build has answered that knows no visitors: during a release two serve at one port. */
export class OtherBuild extends Error {}

export type Role = "user" | "viewer" | "operator" | "guest";

export interface Visitor {
  /** "" for a holder of the token. */
  readonly user: string;
  readonly role: Role;
  /** The only session that is open to them, or null. */
  readonly session: string | null;
  readonly read_only: boolean;
  /** Unix seconds at which that ends, or null. */
  readonly until: number | null;
}

export interface Info {
  readonly build: string;
  readonly generation: string;
  /** Ports, by profile. */
  readonly listeners: Readonly<Record<string, number>>;
  /** Whether terminals are to be had at this page's own port, too. */
  readonly one_port: boolean;
  readonly visitor: Visitor;
}

export interface SessionInfo {
  readonly id: string;
  readonly profile: string;
  readonly title: string;
  /** Whose it is. */
  readonly user: string;
  /** Unix seconds. */
  readonly created: number;
  readonly live: boolean;
  readonly attached: boolean;
  readonly watchers: number;
  readonly generation: string;
  /** Whether it is recorded; an older web process does not tell. */
  readonly recording?: Recording;
  /** The other host that it is at; "" or missing: it is at this one. */
  readonly host?: string;
}

/** A link to one session that was given away. Times are Unix seconds. */
export interface LinkInfo {
  readonly id: string;
  readonly session: string;
  readonly by: string;
  readonly read_only: boolean;
  readonly created: number;
  readonly until: number;
}

/** What was recorded of a session, or is being so. */
export interface RecordingInfo {
  readonly id: string;
  readonly session: string;
  /** Whose session it was. */
  readonly user: string;
  readonly profile: string;
  readonly title: string;
  /** Unix seconds. */
  readonly created: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Its profile is recorded: it is not its owner's to remove. */
  readonly required: boolean;
  readonly state: "running" | "ended" | "full" | "cut";
}

/** Ask for something. Throws Unauthorized, OtherBuild, or an Error with what the server says. */
export async function ask<T>(path: string, options: RequestInit = {}): Promise<T> {
  const response = await fetch(`api/${path}`, { ...options, headers: { "X-Terminals": "page" } });
  const answer = (await response.json()) as { error?: string; sign_in?: string };
  if (response.status === 401) throw answer.sign_in ? new Unauthorized(answer.error) : new OtherBuild("another build has answered");
  if (!response.ok) throw new Error(answer.error ?? response.statusText);
  return answer as T;
}

/** Send an object. */
export const posted = (body: object): RequestInit => ({ method: "POST", body: JSON.stringify(body) });

/** Come in with the token, a ticket or what a link carries. Throws as `ask` does. */
export const signIn = (credential: string): Promise<Visitor> => ask("sign-in", posted({ credential }));

/** What to show at another host to which a terminal is sent on: our cookie is not for it. */
export const admission = (): Promise<{ ticket: string }> => ask("pass");

/** Go out. `leave`: where somebody who has come by a provider signs out there, too. */
export const signOut = (): Promise<{ leave?: string | null }> => ask("sign-out", { method: "POST" });

/** What a link carries: behind the #, which no server sees. */
export function carried(): string | null {
  const carrying = new URLSearchParams(location.hash.slice(1));
  return carrying.get("ticket") ?? carrying.get("token");
}

/** What there is to come in with, taken out of the address and of what a page of an earlier build has kept. */
export function takeCredential(): string | null {
  const found = carried();
  if (found) history.replaceState(null, "", location.pathname + location.search);
  const kept = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  return found ?? kept;
}
