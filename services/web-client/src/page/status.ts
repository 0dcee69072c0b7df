// What the line below the terminals says.

import type { State } from "../connection.js";
import type { Recording } from "../frames.js";

const RECORDED = {
  on: "What this terminal shows is recorded",
  lost: "What this terminal shows should be recorded, and is not",
} as const;

/** How a connection stands, in words. `now`: of the clock of the state. `silent`: ms without an answer. */
export function describe(
  state: State,
  { now, watch, silent, recording = "" }: { now: number; watch: boolean; silent: number; recording?: Recording },
): string {
  switch (state.kind) {
    case "connected": {
      if (silent >= SILENT_MS) return `No answer for ${(silent / 1000).toFixed(0)} s. What is typed is kept`;
      const connected = watch ? "Viewing: what you type goes nowhere" : "Connected";
      return recording ? `${connected}. ${RECORDED[recording]}` : connected;
    }
    case "connecting": return state.again ? "Reconnecting…" : "Connecting…";
    case "waiting": return `${why(state)} Reconnecting in ${left(state.retryAt, now).toFixed(1)} s`;
    case "breaker":
      return `${why(state)} It failed several times; the next try is in ${left(state.retryAt, now).toFixed(0)} s`;
    case "ended": return `The shell has ended with status ${state.status}`;
    case "taken-over": return "This session is open in another window now";
    case "refused": return state.reason;
    case "unauthorized": return "The terminals do not know this page's visitor. Behind a proxy: is the Host header passed on?";
    case "closed":
      return "";
  }
}

/** Why a terminal waits, in sentences. */
export function why({ reason, hostLost }: Extract<State, { kind: "waiting" | "breaker" }>): string {
  return hostLost ? `${reason} This shell may be lost with it.` : reason;
}

/** That a picture is shown and no terminal, where that is so; `at`: of when, in Unix seconds. */
export function pictured(at: number | null, today = new Date()): string {
  if (at === null) return "";
  const date = new Date(at * 1000);
  const day = date.toDateString() === today.toDateString() ? "" : `${date.toLocaleDateString("en-CA")} `;
  return `You see its last screen, of ${day}${date.toLocaleTimeString("en-GB")}. `;
}

/** A question to the server that is not answered for so long is said. */
export const SILENT_MS = 4000;

/** What the button beside it offers, or "". `begins`: whether the visitor may begin sessions. */
export function remedy(state: State, begins: boolean): string {
  switch (state.kind) {
    case "waiting":
    case "breaker":
      return state.hostLost && begins ? "New shell" : "Try now";
    case "taken-over": return "Take it back";
    case "ended":
    case "refused":
      return begins ? "New shell" : "";
    default: return "";
  }
}

function left(at: number, now: number): number {
  return Math.max(0, at - now) / 1000;
}

/** A count of bytes, for people. */
export function size(bytes: number): string {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
