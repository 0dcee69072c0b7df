// Feeds more than may wait for the server at once, piece by piece, in order with what is typed meanwhile.

import type { Bytes } from "../rules.js";

const KEPT_FREE = 1 << 16; // bytes, for keys: what is fed leaves room for them
const KEY = 256; // bytes of a key at the most

/** What is fed: the sending end of a connection. */
export interface Outlet {
  room(): number;
  send(data: Bytes): void;
}

export class Feeder {
  #queue: Bytes[] = [];
  #fed = 0;
  #total = 0;
  #closing: Bytes | null = null;

  constructor(private readonly outlet: Outlet) {}

  /** Bytes that were given, and of them those that have gone out; both 0 where nothing waits. */
  get progress(): { readonly fed: number; readonly total: number } {
    return { fed: this.#fed, total: this.#total };
  }

  get busy(): boolean {
    return this.#queue.length > 0;
  }

  /** Send at once what fits, or queue it behind what waits. `closing`: to be sent also where the rest is dropped. */
  give(data: Bytes, closing: Bytes | null = null): void {
    this.#queue.push(data);
    this.#total += data.length;
    if (closing) {
      this.#queue.push(closing);
      this.#total += closing.length;
      this.#closing = closing;
    }
    this.feed();
  }

  /** Send what there is room for by now. */
  feed(): void {
    for (let first = this.#queue[0]; first; first = this.#queue[0]) {
      const alone = first.length <= KEY && this.#queue.length === 1;
      const room = this.outlet.room() - (alone ? 0 : KEPT_FREE);
      const size = Math.min(first.length, Math.max(0, room));
      if (size === 0 && first.length > 0) return;
      this.outlet.send(first.subarray(0, size));
      this.#fed += size;
      if (size === first.length) this.#queue.shift();
      else this.#queue[0] = first.subarray(size);
    }
    this.#fed = this.#total = 0;
    this.#closing = null;
  }

  /** Drop what has not gone out; a program that was told of a paste is told of its end. */
  drop(): void {
    const closing = this.#closing;
    this.#queue = closing ? [closing] : [];
    this.#fed = 0;
    this.#total = closing?.length ?? 0;
    this.#closing = null;
    this.feed();
  }
}
