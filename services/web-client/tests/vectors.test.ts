// The protocol's test vectors, which Python's implementation runs, too (tests/support/conversations.py).

import { describe, expect, test } from "vitest";

import vectors from "../../terminals/protocol/vectors.json";
import { Conversation } from "../src/conversation.js";
import type { Credentials, Item, Options } from "../src/conversation.js";
import * as protocol from "../src/frames.js";
import { Backoff, CircuitBreaker, Receiver, Sender, SequenceGap } from "../src/rules.js";
import type { Bytes } from "../src/rules.js";

type Json = Record<string, unknown>;
type Given = [kind: string, ...values: unknown[]];

const bytes = (hex: string): Bytes => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const hex = (data: Bytes) => [...data].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const much = (data: Bytes) => (data.length <= 32 ? hex(data) : `${data.length} bytes`);
const ms = (value: number) => Math.round(value * 1000) / 1000;
const BROKEN = "the server broke the protocol"; // how exactly, each implementation says in its own words
const why = (text: string) => (text.startsWith(BROKEN) ? BROKEN : text);
const cases = <T>(list: readonly T[]) => list.map((value) => [JSON.stringify(value).slice(0, 80), value] as const);

interface Played extends Omit<Options, "sender" | "backoff"> {
  readonly draw?: number;
  readonly limit?: number;
  readonly typed?: number;
  readonly pending?: string;
  readonly credentials?: Credentials;
}

const messages: Record<string, Json | undefined> = vectors.messages;

/** Plays a conversation as tests/support/conversations.py does. */
class Player {
  readonly #talk: Conversation;

  constructor(options: Played) {
    const { draw = 0.5, limit = 1 << 20, typed = 0, pending = "", credentials = { token: "secret" }, ...more } = options;
    const sender = new Sender({ limit, acked: typed, pending: bytes(pending) });
    const backoff = new Backoff({ base: 100, random: () => draw });
    this.#talk = new Conversation(credentials, "me", { ...more, sender, backoff });
  }

  step(at: number, [kind, ...values]: Given): unknown {
    const full = this.#tell(at, kind, values);
    const items = this.#talk.take().map(written);
    const wake = this.#talk.wakeAt();
    return [[...full, ...items], wake === null ? null : ms(wake)];
  }

  #tell(now: number, kind: string, values: unknown[]): string[][] {
    const talk = this.#talk;
    const [first, second] = values;
    const frame = (type: number, payload?: Bytes) => {
      talk.received(now, protocol.encodeBinary(type, 0, Number(first), payload).buffer);
    };
    const name = String(first);
    switch (kind) {
      case "do-upload": talk.transfers.upload(name, String(second), Number(values[2])); break;
      case "do-download": talk.transfers.download(name, String(second), Number(values[2])); break;
      case "do-cancel": talk.transfers.cancel(name); break;
      case "give-many": talk.transfers.give(name, Number(second), new Uint8Array(Number(values[2]))); break;
      case "do-digest": talk.transfers.digest(name, String(second)); break;
      case "do-taken": talk.transfers.taken(name, Number(second)); break;
      case "frame": {
        const [type, channel, seq, data] = values;
        talk.received(now, protocol.encodeBinary(Number(type), Number(channel), Number(seq), bytes(String(data))).buffer);
        break;
      }
      case "open": talk.open(now); break;
      case "connected": talk.connected(now); break;
      case "tick": talk.tick(now); break;
      case "cut": talk.cut(now); break;
      case "probe": talk.probe(now); break;
      case "retry_now": talk.retryNow(now); break;
      case "heard": talk.heard(now); break;
      case "close": talk.close(values.length ? { kill: true } : {}); break;
      case "lost": talk.lost(now, ...(values as [number | null, string?, string?])); break;
      case "resize": talk.resize(Number(first), Number(second)); break;
      case "consumed": talk.consumed(now, Number(first)); break;
      case "raw": talk.received(now, String(first)); break;
      case "binary": talk.received(now, bytes(String(first)).buffer); break;
      case "data": frame(protocol.DATA, bytes(String(second))); break;
      case "data-many": frame(protocol.DATA, new Uint8Array(Number(second))); break;
      case "host-lost-many": {
        const paint = btoa("x".repeat(Number(first)));
        const screen = { at: 1, cols: 80, rows: 24, paint };
        talk.received(now, JSON.stringify({ type: "error", code: "host-lost", message: "b", screen }));
        break;
      }
      case "snapshot": frame(protocol.SNAPSHOT, bytes(String(second))); break;
      case "ack": frame(protocol.ACK); break;
      case "type-many": talk.type(new Uint8Array(Number(first))); break;
      case "type":
        try {
          talk.type(bytes(String(first)));
        } catch (error) {
          if (!(error instanceof RangeError)) throw error;
          return [["full"]];
        }
        break;
      default: {
        // What is written as null is not said at all.
        const unusual = (first ?? {}) as Json;
        const fields = Object.entries({ type: kind, ...messages[kind], ...unusual });
        talk.received(now, JSON.stringify(Object.fromEntries(fields.filter(([name]) => unusual[name] !== null))));
      }
    }
    return [];
  }
}

function written(item: Item): unknown[] {
  switch (item.kind) {
    case "connect": return item.url ? ["connect", item.url] : ["connect"];
    case "elsewhere": return ["elsewhere-now", item.url];
    case "host-lost": {
      const { screen } = item;
      const shown = screen ? [screen.at, screen.cols, screen.rows, much(screen.paint)] : [];
      return ["host-lost", item.since, item.message, ...shown];
    }
    case "resized": return ["resized", item.cols, item.rows];
    case "recording": return ["recorded", item.state];
    case "taken-over": return [item.kind];
    case "close": return ["close", item.code];
    case "send": return typeof item.data === "string" ? message(JSON.parse(item.data) as Json) : sent(item.data);
    case "connecting": return ["connecting", item.again];
    case "connected": {
      const { attached: { session, mode, head, size, recording }, reconnect, planned, missed, away, attempt, attach } = item;
      return ["attached-now", {
        session, mode, head, reconnect, planned, missed, away: ms(away), attempt: ms(attempt), attach: ms(attach),
        ...(size && { size: [size.cols, size.rows] }),
        ...(recording && { recording }),
      }];
    }
    case "output": return ["output", much(item.data), item.end];
    case "screen": return ["screen", much(item.data), item.end, item.skipped];
    case "input-dropped": return ["input-dropped", item.count];
    case "pong": return ["pong-after", ms(item.ms)];
    case "lost": return ["lost", item.planned, why(item.reason), ms(item.lasted)];
    case "loop": return ["loop", why(item.reason)];
    case "failed": return ["failed", why(item.reason), ms(item.ms)];
    case "waiting": return ["waiting", ms(item.until), why(item.reason), item.planned, item.breaker];
    case "ended": return ["ended", item.status];
    case "refused": return ["refused", item.code, item.message];
    case "read": return ["read", item.transfer, item.offset, item.length];
    case "hash": return ["hash", item.transfer];
    case "progress": return ["progress", item.transfer, item.bytes];
    case "offered": return ["offered", item.transfer, item.name, item.bytes];
    case "withdrawn": return ["withdrawn", item.transfer];
    case "received": return ["received", item.transfer, item.offset, much(item.data)];
    case "transferred": return ["transferred", item.transfer, item.name];
    case "not-transferred": return ["not-transferred", item.transfer, item.code, item.message];
  }
}

function sent(data: Bytes): unknown[] {
  const { type, channel, seq, payload } = protocol.decodeBinary(data.buffer);
  const said = type === protocol.ACK ? ["ack", seq] : ["data", seq, much(payload)];
  return channel ? [...said, channel] : said; // of a file
}

function message({ type, ...fields }: Json): unknown[] {
  const usual = messages[String(type)] ?? {};
  const said: Json = { ...Object.fromEntries(Object.keys(usual).map((name) => [name, null])), ...fields };
  const same = (name: string, value: unknown) => JSON.stringify(usual[name]) === JSON.stringify(value);
  const unusual = Object.entries(said).filter(([name, value]) => !same(name, value));
  return unusual.length ? [type, Object.fromEntries(unusual)] : [type];
}

describe("frames", () => {
  test.each(cases(vectors.frames))("%s", (_, vector) => {
    const frame = protocol.decodeBinary(bytes(vector.hex).buffer);
    const { type, channel, seq, payload } = vector;
    expect({ ...frame, payload: hex(frame.payload) }).toEqual({ type, channel, seq, payload });
    expect(hex(protocol.encodeBinary(frame.type, frame.channel, frame.seq, frame.payload))).toBe(vector.hex);
  });

  test.each(cases(vectors.bad_frames))("refused: %s", (_, vector) => {
    expect(() => protocol.decodeBinary(bytes(vector.hex).buffer)).toThrow(protocol.BadFrame);
  });

  test.each(cases(vectors.texts))("text %s", (_, vector) => {
    expect(protocol.decodeText(vector.text).type).toBe(vector.type);
  });

  test.each(cases(vectors.bad_texts))("refused: text %s", (_, text) => {
    expect(() => protocol.decodeText(text)).toThrow(protocol.BadFrame);
  });
});

test.each(cases(vectors.receiver))("receiver %s", (_, vector) => {
  const receiver = new Receiver();
  receiver.received = "start" in vector ? (vector.start ?? 0) : 0;
  for (const step of vector.steps as { seq: number; data: string; jump?: number; gap?: boolean; new: string; skipped: number }[]) {
    const act = () => (step.jump !== undefined ? receiver.jump(step.jump) : hex(receiver.accept(step.seq, bytes(step.data))));
    if (step.gap) expect(act).toThrow(SequenceGap);
    else expect(act()).toBe(step.jump !== undefined ? step.skipped : step.new);
  }
  expect(receiver.received).toBe(vector.received);
});

test.each(cases(vectors.sender))("sender %s", (_, vector) => {
  const sender = new Sender({ limit: vector.limit });
  const steps = vector.steps as {
    push?: string; full?: boolean; restart?: number; dropped: number; ack?: number; gap?: boolean; from: number; pending: string;
  }[];
  for (const step of steps) {
    const { push, restart, ack } = step;
    if (push !== undefined && step.full) expect(() => sender.push(bytes(push))).toThrow(RangeError);
    else if (push !== undefined) sender.push(bytes(push));
    else if (restart !== undefined) expect(sender.restart(restart)).toBe(step.dropped);
    else if (ack !== undefined && step.gap) expect(() => sender.ack(ack)).toThrow(SequenceGap);
    else if (ack !== undefined) sender.ack(ack);
    else expect([sender.acked, hex(sender.from(sender.acked, 1 << 20))]).toEqual([step.from, step.pending]);
  }
  expect([sender.acked, sender.end]).toEqual([vector.acked, vector.end]);
});

test.each(cases(vectors.backoff))("backoff %s", (_, vector) => {
  const { base, cap } = vector;
  for (const [attempt, ceiling] of vector.ceilings as [number, number][]) {
    expect(new Backoff({ base, cap }).ceiling(attempt)).toBe(ceiling);
  }
  for (const [attempt, draw, delay] of vector.delays as [number, number, number][]) {
    expect(new Backoff({ base, cap, random: () => draw }).delay(attempt)).toBe(delay);
  }
});

test.each(cases(vectors.breaker))("breaker %s", (_, vector) => {
  const { threshold, cooldown, max_cooldown: maxCooldown } = vector;
  const breaker = new CircuitBreaker({ threshold, cooldown, maxCooldown });
  const steps = vector.steps as {
    at: number; allow?: boolean; failure?: boolean; success?: boolean; retry_after?: number; state?: string;
  }[];
  for (const step of steps) {
    if (step.allow !== undefined) expect(breaker.allow(step.at)).toBe(step.allow);
    if (step.failure !== undefined) expect(breaker.failure(step.at)).toBe(step.failure);
    if (step.success !== undefined) breaker.success();
    if (step.retry_after !== undefined) expect(breaker.retryAfter(step.at)).toBe(step.retry_after);
    if (step.state !== undefined) expect(breaker.state).toBe(step.state);
  }
});

describe("conversations", () => {
  const conversations = vectors.conversations as unknown as {
    name: string;
    options?: Played;
    steps: [at: number, given: Given, items: unknown[], wake: number | null][];
  }[];
  test.each(conversations.map((each) => [each.name, each] as const))("%s", (_, conversation) => {
    const player = new Player(conversation.options ?? {});
    for (const [at, given, items, wake] of conversation.steps) {
      expect(player.step(at, given), `at ${at}, ${JSON.stringify(given)}`).toEqual([items, wake]);
    }
  });
});

test.each(vectors.close as [number, string][])("close code %s: %s", (code, action) => {
  expect(protocol.closeAction(code)).toBe(action);
});

test.each(vectors.retry_windows as [string, number | null][])("retry window of %j", (reason, window) => {
  expect(protocol.retryWindow(reason, null)).toBe(window);
});
