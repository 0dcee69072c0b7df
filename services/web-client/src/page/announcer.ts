// What is read to whoever does not see the page: what a person has to know, when it holds, and once.

import type { State } from "../connection.js";
import { describe, SILENT_MS, why } from "./status.js";

const SETTLE_MS = 1000; // what is over sooner is not worth a word
const AHEAD = [10, 30, 60]; // seconds to come that are worth one each
const BEHIND = [60, 30, 10, SILENT_MS / 1000]; // seconds that have gone by

/** How a connection stands, in words that stay for a while: see `describe`, which has each tenth of a second. */
export function spoken(state: State, standing: Parameters<typeof describe>[1]): string {
  const { now, silent } = standing;
  if (state.kind === "waiting" || state.kind === "breaker") {
    const left = (state.retryAt - now) / 1000;
    const within = AHEAD.find((step) => left <= step);
    return `${why(state)} Reconnecting ${within ? `within ${within} s` : "later"}`;
  }
  const gone = BEHIND.find((step) => silent >= step * 1000) ?? 0;
  return describe(state, { ...standing, silent: gone * 1000 });
}

export class Announcer {
  #said = "";
  #next = "";
  #since = 0;

  /** `say`: have it read once whoever listens has time. */
  constructor(private readonly say: (text: string) => void) {}

  /** How it stands at `now`, in ms of any clock; `well`: nothing is in anybody's way. */
  stands(text: string, well: boolean, now: number): void {
    if (text !== this.#next) [this.#next, this.#since] = [text, now];
    // Good news is waited for.
    if (text === this.#said || !(well || now >= this.#since + SETTLE_MS)) return;
    this.#said = text;
    this.say(text);
  }
}
