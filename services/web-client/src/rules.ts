// Backoff, circuit breaker and exactly-once streams: the rules of `terminals.protocol`, which
// the servers and the Python client follow too. No I/O, no clock, no randomness of their own.

/** Bytes that belong to us alone: no view of memory that others share. */
export type Bytes = Uint8Array<ArrayBuffer>;

export const STABLE_AFTER = 2000; // ms an attach has to live before its loss stops counting
export const LOOP_THRESHOLD = 3;

/** Exponential backoff with full jitter. Times in ms; `random` returns [0, 1). */
export class Backoff {
  readonly base: number;
  readonly cap: number;
  readonly random: () => number;

  constructor({ base = 250, cap = 30000, random = Math.random } = {}) {
    this.base = base;
    this.cap = cap;
    this.random = random;
  }

  ceiling(attempt: number): number {
    return Math.min(this.cap, this.base * 2 ** Math.min(attempt, 64));
  }

  uniform(low: number, high: number): number {
    return low + (high - low) * this.random();
  }

  delay(attempt: number): number {
    return this.uniform(0, this.ceiling(attempt));
  }
}

/** Closed, open, half-open. The caller passes the time in (ms). */
export class CircuitBreaker {
  state: "closed" | "open" | "half-open" = "closed";
  opened = 0;
  failures = 0;
  retryAt = 0;
  wait = 0;
  readonly threshold: number;
  readonly cooldown: number;
  readonly maxCooldown: number;

  constructor({ threshold = LOOP_THRESHOLD, cooldown = 5000, maxCooldown = 60000 } = {}) {
    this.threshold = threshold;
    this.cooldown = cooldown;
    this.maxCooldown = maxCooldown;
  }

  /** Whether an attempt may start now. In half-open one caller in a cooldown gets true. */
  allow(now: number): boolean {
    if (this.state === "closed") return true;
    if (now < this.retryAt) return false;
    this.state = "half-open";
    this.retryAt = now + this.wait;
    return true;
  }

  retryAfter(now: number): number {
    return this.state === "closed" ? 0 : Math.max(0, this.retryAt - now);
  }

  success(): void {
    this.state = "closed";
    this.failures = 0;
    this.wait = 0;
  }

  /** Returns whether this failure opened a closed breaker. */
  failure(now: number): boolean {
    if (this.state === "half-open") {
      this.#open(now, Math.min(this.maxCooldown, this.wait * 2));
      return false;
    }
    if (this.state === "open") return false;
    this.failures += 1;
    if (this.failures < this.threshold) return false;
    this.opened += 1;
    this.#open(now, this.cooldown);
    return true;
  }

  /** A person asks for a trial at once. */
  trialNow(now: number): void {
    if (this.state === "open") this.retryAt = now;
  }

  #open(now: number, wait: number): void {
    this.state = "open";
    this.wait = wait;
    this.retryAt = now + wait;
  }
}

/** Bytes were lost in between: going on would corrupt the stream. */
export class SequenceGap extends Error {
  constructor(expected: number, got: number) {
    super(`expected byte ${expected}, got byte ${got}`);
  }
}

/** Receiving end of a byte stream; `received` is the offset of the next new byte. */
export class Receiver {
  received = 0;

  /** The part of `data` (first byte at offset `seq`) that is new. */
  accept(seq: number, data: Bytes): Bytes {
    if (seq > this.received) throw new SequenceGap(this.received, seq);
    const known = this.received - seq;
    if (known >= data.length) return data.subarray(data.length);
    this.received = seq + data.length;
    return data.subarray(known);
  }

  /** Go on from `seq`, the offset of a snapshot. Returns how many bytes are skipped. */
  jump(seq: number): number {
    if (seq < this.received) throw new SequenceGap(this.received, seq);
    const skipped = seq - this.received;
    this.received = seq;
    return skipped;
  }
}

/** Sending end of a byte stream: holds every byte until the receiver has it. */
export class Sender {
  acked: number;
  pending: Bytes;
  readonly limit: number;

  constructor({ limit = 1 << 20, acked = 0, pending = new Uint8Array() } = {}) {
    this.limit = limit;
    this.acked = acked;
    this.pending = pending;
  }

  /** Offset just past the last byte that was pushed. */
  get end(): number {
    return this.acked + this.pending.length;
  }

  /** How many more bytes may be pushed. */
  get room(): number {
    return this.limit - this.pending.length;
  }

  /** Add bytes to the stream. Throws RangeError when more than `limit` would be pending. */
  push(data: Bytes): void {
    if (data.length > this.room) throw new RangeError(`${this.pending.length} bytes are not acknowledged yet`);
    const joined = new Uint8Array(this.pending.length + data.length);
    joined.set(this.pending);
    joined.set(data, this.pending.length);
    this.pending = joined;
  }

  /** The receiver has everything before `seq`. */
  ack(seq: number): void {
    if (seq > this.end) throw new SequenceGap(this.end, seq);
    if (seq > this.acked) {
      this.pending = this.pending.slice(seq - this.acked);
      this.acked = seq;
    }
  }

  /**
   * Begin anew at `seq`: the receiver no longer knows how far it had come. Returns how many pending
   * bytes are dropped: sent again they might arrive twice.
   */
  restart(seq: number): number {
    const dropped = this.pending.length;
    this.pending = new Uint8Array();
    this.acked = seq;
    return dropped;
  }

  /** At most `count` pending bytes from offset `seq` on. */
  from(seq: number, count: number): Bytes {
    return this.pending.subarray(seq - this.acked, seq - this.acked + count);
  }
}
