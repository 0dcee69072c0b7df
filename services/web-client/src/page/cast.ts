// Recordings: asciicast version 3, read and searched.

export interface CastEvent {
  /** Seconds since the beginning. */
  readonly at: number;
  readonly code: string;
  readonly data: string;
}

export interface Cast {
  readonly cols: number;
  readonly rows: number;
  readonly events: readonly CastEvent[];
}

export class BadCast extends Error {}

const MAX_SIDE = 1000;

/** Read a recording; what was not written to its end is left out. Throws BadCast. */
export function readCast(text: string): Cast {
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  const [first = "", ...lines] = whole.split("\n");
  const header = read(first) as { version?: unknown; term?: { cols?: unknown; rows?: unknown } } | null;
  const { cols, rows } = { cols: side(header?.term?.cols), rows: side(header?.term?.rows) };
  if (header?.version !== 3 || !cols || !rows) throw new BadCast("This is no recording of terminals");
  const events: CastEvent[] = [];
  let at = 0;
  for (const line of lines) {
    if (!line || line.startsWith("#")) continue;
    const event = read(line);
    if (!Array.isArray(event)) throw new BadCast("The recording is damaged");
    const [interval, code, data] = event as unknown[];
    if (typeof interval !== "number" || !(interval >= 0) || typeof code !== "string" || typeof data !== "string") {
      throw new BadCast("The recording is damaged");
    }
    at += interval;
    events.push({ at, code, data });
  }
  return { cols, rows, events };
}

function read(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new BadCast("The recording is damaged");
  }
}

function side(value: unknown): number {
  return typeof value === "number" && value >= 1 && value <= MAX_SIDE ? Math.floor(value) : 0;
}

/** Columns and rows of an event of the code `r`; null where they are none. */
export function sizeOf(data: string): { cols: number; rows: number } | null {
  const [cols, rows] = data.split("x").map((text) => side(Number(text)));
  return cols && rows ? { cols, rows } : null;
}

/** The same events, with no pause between two that is longer than `seconds`. */
export function withoutPauses(events: readonly CastEvent[], seconds: number): readonly CastEvent[] {
  let at = 0;
  let before = 0;
  return events.map((event) => {
    at += Math.min(event.at - before, seconds);
    before = event.at;
    return { ...event, at };
  });
}

// Escape sequences, control strings and characters, but no line breaks and tabs.
const UNSEEN = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])|[\x00-\x08\x0b-\x1f\x7f]/g;
const MOST_HITS = 10_000;

/** What was printed, as text, and when. */
export class Printed {
  #text = "";
  // Of each piece that is seen, where it begins in the text, and in all that was printed.
  readonly #seen: number[] = [];
  readonly #begins: number[] = [];
  // Of each event with output, where that ends in all that was printed, and which event it is.
  readonly #ends: number[] = [];
  readonly #events: number[] = [];

  constructor(events: readonly CastEvent[]) {
    let all = "";
    events.forEach(({ code, data }, index) => {
      if (code !== "o") return;
      all += data;
      this.#ends.push(all.length);
      this.#events.push(index);
    });
    const pieces: string[] = [];
    let length = 0;
    let from = 0;
    const take = (until: number) => {
      if (until === from) return;
      this.#seen.push(length);
      this.#begins.push(from);
      pieces.push(all.slice(from, until));
      length += until - from;
    };
    for (const { index, 0: unseen } of all.matchAll(UNSEEN)) {
      take(index);
      from = index + unseen.length;
    }
    take(all.length);
    this.#text = pieces.join("");
  }

  /** The events, by their numbers, with which a text stood there, whatever the case of its letters. */
  find(wanted: string): number[] {
    if (!wanted) return [];
    const pattern = new RegExp(wanted.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "giu");
    const found: number[] = [];
    for (const { index, 0: hit } of this.#text.matchAll(pattern)) {
      const last = index + hit.length - 1;
      const piece = notAfter(this.#seen, last);
      const at = (this.#begins[piece] ?? 0) + last - (this.#seen[piece] ?? 0);
      const event = this.#events[notAfter(this.#ends, at) + 1];
      if (event !== undefined) found.push(event);
      if (found.length === MOST_HITS) break;
    }
    return found;
  }
}

/** The last of `numbers`, which rise, that is at most `limit`; -1: none is. */
function notAfter(numbers: readonly number[], limit: number): number {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((numbers[middle] ?? 0) <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
