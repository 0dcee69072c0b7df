// Signing in by a provider: the button, and what the way back from there has brought.

import { ask, OtherBuild, Unauthorized } from "./api.js";
import type { Visitor } from "./api.js";
import { $ } from "./dom.js";

export interface Asked {
  readonly visitor: Visitor | null;
  /** By whom people may sign in; null, or not there in an earlier build: by nobody. */
  readonly provider?: { readonly label: string } | null;
}

const WORDS: Readonly<Record<string, string>> = {
  denied: "The provider has not let you in.",
  stale: "That was not the sign-in that this browser has begun last, or it has taken too long. Begin again.",
  unreachable: "The provider does not answer. Try again in a while.",
  clock: "The provider's clock and that of this server differ too much. Tell whoever runs this.",
  invalid: "What the provider says cannot be believed. Whoever runs this finds the reason in the server's log.",
  stranger: "You are none of those who may sign in here. Ask whoever runs this.",
  name: "The provider says no name that you could have here. Ask whoever runs this.",
  often: "There were too many wrong tries from your address. Try again in a minute.",
};

/** What to say of a reason for which nobody was let in: it may be anybody's, but the words are ours. */
export const said = (reason: string): string => (Object.hasOwn(WORDS, reason) ? (WORDS[reason] ?? "") : "");

/** Why somebody who comes back from the provider is not let in, taken out of the address; "" where that is not so. */
export function broughtBack(): string {
  const reason = new URLSearchParams(location.hash.slice(1)).get("sign-in");
  if (reason === null) return "";
  history.replaceState(null, "", location.pathname + location.search);
  return said(reason);
}

/** Go to the provider. Throws an Error with what to say, or OtherBuild. */
export async function leaveFor(): Promise<void> {
  try {
    const page = encodeURIComponent(location.origin + location.pathname);
    const { location: to } = await ask<{ location: string }>(`oidc?page=${page}`, { method: "POST" });
    location.assign(to);
  } catch (error) {
    // A build that knows no provider has answered: during a release two serve at one port.
    if (error instanceof Unauthorized) throw new OtherBuild("another build has answered");
    throw error instanceof Error && said(error.message) ? new Error(said(error.message)) : error;
  }
}

/** Show the button where there is a provider; pressed, it goes there by `leave`. */
export async function offer(leave: () => void): Promise<void> {
  const { provider } = await ask<Asked>("visitor");
  const button = $("by-provider");
  button.hidden = $("or").hidden = !provider;
  if (!provider) return;
  button.textContent = `Sign in with ${provider.label}`;
  button.onclick = leave;
  button.focus();
}
