// The web process's API.

const TOKEN = "terminals.token";

export class Unauthorized extends Error {}

export interface Info {
  readonly build: string;
  readonly generation: string;
  /** Ports, by profile. */
  readonly listeners: Readonly<Record<string, number>>;
}

export interface SessionInfo {
  readonly id: string;
  readonly profile: string;
  readonly title: string;
  /** Unix seconds. */
  readonly created: number;
  readonly live: boolean;
  readonly attached: boolean;
  readonly watchers: number;
  readonly generation: string;
}

/** What this browser tab shows to be let in; "" where it has nothing. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value: string) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
  /** That of a link: behind the #, which no server sees. */
  inAddress: () => new URLSearchParams(location.hash.slice(1)).get("token"),
};

/** Ask for something. Throws Unauthorized, or an Error with what the server says. */
export async function ask<T>(path: string, options: RequestInit = {}): Promise<T> {
  const headers = { Authorization: `Bearer ${token.get()}` };
  const response = await fetch(`/api/${path}`, { ...options, headers });
  if (response.status === 401) throw new Unauthorized("unauthorized");
  const answer: unknown = await response.json();
  if (!response.ok) throw new Error((answer as { error?: string }).error ?? response.statusText);
  return answer as T;
}
