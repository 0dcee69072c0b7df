// Plays events of a recording on a screen, at a speed, from wherever one likes.

import { sizeOf } from "./cast.js";
import type { Cast, CastEvent } from "./cast.js";

/** What is played on. */
export interface Stage {
  /** Empty, and of this size. What was to be written and is not yet is not written. */
  reset(cols: number, rows: number): void;
  write(text: string): void;
  resize(cols: number, rows: number): void;
  /** Something that was said to whoever looks on. */
  note(text: string): void;
}

export class Player {
  playing = false;
  speed = 1;
  #events: readonly CastEvent[];
  #next = 0; // the event that is to be played
  #at = 0; // seconds

  /** `events`: of the recording, with the times at which they are to be played. */
  constructor(private readonly cast: Cast, events: readonly CastEvent[], private readonly stage: Stage) {
    this.#events = events;
    stage.reset(cast.cols, cast.rows);
    this.#play(0);
  }

  get position(): number {
    return this.#at;
  }

  get duration(): number {
    return this.#events.at(-1)?.at ?? 0;
  }

  /** Whether everything was played. */
  get over(): boolean {
    return this.#next === this.#events.length;
  }

  /** Go on; from the beginning, where it is over. */
  play(): void {
    if (this.over) this.seek(0);
    this.playing = !this.over;
  }

  pause(): void {
    this.playing = false;
  }

  /** `seconds` have passed. */
  tick(seconds: number): void {
    if (!this.playing) return;
    this.#play(Math.min(this.duration, this.#at + seconds * this.speed));
    if (this.over) this.playing = false;
  }

  /** Show what was there at a time. */
  seek(seconds: number): void {
    const wanted = Math.min(this.duration, Math.max(0, seconds));
    if (wanted < this.#at) this.#rewind();
    this.#play(wanted);
  }

  /** Show what was there just after an event, by its number. */
  seekEvent(index: number): void {
    if (index < this.#next) this.#rewind();
    this.#until(index + 1);
    this.#at = this.#events[index]?.at ?? this.duration;
  }

  /** The same events, at other times. */
  retime(events: readonly CastEvent[]): void {
    const before = this.#events[this.#next - 1]?.at ?? 0;
    const since = this.#at - before;
    this.#events = events;
    const [last, next] = [events[this.#next - 1]?.at ?? 0, events[this.#next]?.at ?? this.duration];
    this.#at = Math.min(next, last + since);
  }

  #rewind(): void {
    this.#next = 0;
    this.stage.reset(this.cast.cols, this.cast.rows);
  }

  #play(seconds: number): void {
    let until = this.#next;
    for (let event = this.#events[until]; event && event.at <= seconds; event = this.#events[until]) until += 1;
    this.#until(until);
    this.#at = seconds;
  }

  #until(end: number): void {
    const texts: string[] = [];
    const flush = () => {
      if (texts.length) this.stage.write(texts.join(""));
      texts.length = 0;
    };
    for (const { code, data } of this.#events.slice(this.#next, end)) {
      if (code === "o") {
        texts.push(data);
        continue;
      }
      flush();
      const size = code === "r" ? sizeOf(data) : null;
      if (size) this.stage.resize(size.cols, size.rows);
      else if (code === "m") this.stage.note(data);
      else if (code === "x") this.stage.note(`The shell has ended with status ${data}`);
    }
    flush();
    this.#next = Math.max(this.#next, end);
  }
}

/** Seconds, for people: `1:02:03`, or `2:03`. */
export function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  const two = (value: number) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`;
}
