// Several terminals over one WebSocket, against a server of which each word is given.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { Connection } from "../src/connection.js";
import type { ConnectionOptions, State } from "../src/connection.js";
import { DATA, decodeBinary, encodeBinary, HEADER } from "../src/frames.js";
import type { BinaryFrame } from "../src/frames.js";
import { Multiplexer } from "../src/multiplexer.js";
import type { TransferItem } from "../src/transfers.js";

type Said = Record<string, unknown> & { type: string };

class Socket {
  static readonly OPEN = 1;
  static all: Socket[] = [];
  readyState = 0;
  binaryType = "";
  closedWith: number | null = null;
  texts: Said[] = [];
  frames: BinaryFrame[] = [];
  onopen: () => void = () => undefined;
  onmessage: (event: { data: unknown }) => void = () => undefined;
  onclose: (event: { code: number; reason: string }) => void = () => undefined;

  constructor(readonly url: string) {
    if (url === "bad:") throw new SyntaxError("no such address");
    Socket.all.push(this);
  }

  send(data: string | Uint8Array<ArrayBuffer>): void {
    if (typeof data === "string") this.texts.push(JSON.parse(data) as Said);
    else this.frames.push(decodeBinary(data.slice().buffer));
  }

  close(code: number): void {
    this.closedWith = code;
    this.readyState = 3;
  }

  opens(): void {
    this.readyState = 1;
    this.onopen();
    this.says({ type: "welcome", version: 3, heartbeat: 15 });
  }

  says(message: Said): void {
    this.onmessage({ data: JSON.stringify(message) });
  }

  grants(channel: number, fields: object = {}): void {
    this.says({
      type: "attached", channel, session: `s${channel}`, status: "created", epoch: "e", generation: "g", build: "b",
      origin: "g", profile: "system", output: 0, skipped: 0, input: 0, ...fields,
    });
  }

  prints(channel: number, seq: number, text: string): void {
    this.onmessage({ data: encodeBinary(DATA, channel, seq, new TextEncoder().encode(text)).buffer });
  }

  ends(code: number, reason = ""): void {
    this.readyState = 3;
    this.onclose({ code, reason });
  }

  said(type: string): Said[] {
    return this.texts.filter((message) => message.type === type);
  }

  typed(): string[] {
    return this.frames.filter(({ type }) => type === DATA)
      .map(({ channel, seq, payload }) => `${channel}@${seq}:${new TextDecoder().decode(payload)}`);
  }
}

class Terminal {
  shown = "";
  states: State[] = [];
  files: TransferItem[] = [];
  readonly connection: Connection;

  constructor(multiplexer: Multiplexer, options: Partial<ConnectionOptions> = {}) {
    this.connection = new Connection({
      url: "ws:here", credentials: {}, client: "me", multiplexer, ...options,
      handlers: {
        onAttached: () => undefined,
        onDropped: () => undefined,
        onOutput: (data) => {
          this.shown += new TextDecoder().decode(data);
        },
        onScreen: () => undefined,
        onSize: () => undefined,
        onState: (state) => this.states.push(state),
        onPong: () => undefined,
        onTransfer: (item) => this.files.push(item),
      },
    });
    this.connection.open();
  }

  get state(): string {
    return this.connection.state.kind;
  }
}

const type = (terminal: Terminal, text: string) => terminal.connection.send(new TextEncoder().encode(text));
const socket = (at: number): Socket => {
  const found = Socket.all.at(at);
  if (!found) throw new Error("there is no such connection");
  return found;
};

/** So many terminals, attached on one connection. */
function attached(count: number, multiplexer = new Multiplexer()): Terminal[] {
  const terminals = Array.from({ length: count }, () => new Terminal(multiplexer));
  socket(-1).opens();
  for (let channel = 0; channel < count; channel += 1) socket(-1).grants(channel);
  return terminals;
}

beforeEach(() => {
  Socket.all = [];
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", Socket);
  vi.spyOn(console, "info").mockReturnValue(undefined);
  vi.spyOn(Math, "random").mockReturnValue(0.5); // how long a lost one waits
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("several terminals", () => {
  test("have one connection, one hello, and a channel each", () => {
    const terminals = attached(4);
    expect(Socket.all).toHaveLength(1);
    expect(socket(0).said("hello")).toHaveLength(1);
    expect(socket(0).said("attach").map(({ channel }) => channel)).toEqual([0, 1, 2, 3]);
    expect(terminals.map(({ state }) => state)).toEqual(Array(4).fill("connected"));
    terminals.forEach((terminal, at) => type(terminal, `to ${at}`));
    expect(socket(0).typed()).toEqual(["0@0:to 0", "1@0:to 1", "2@0:to 2", "3@0:to 3"]);
    socket(0).prints(2, 0, "hello");
    expect(terminals.map(({ shown }) => shown)).toEqual(["", "", "hello", ""]);
  });

  test("may come later, and are told what the server has said", async () => {
    const multiplexer = new Multiplexer();
    const ticket = () => ({ credentials: { ticket: "the first" } });
    new Terminal(multiplexer, ticket());
    socket(0).opens();
    socket(0).grants(0);
    socket(0).says({ type: "ticket", ticket: "the next" });
    const watcher = new Terminal(multiplexer, { ...ticket(), watch: true, session: "s" });
    await vi.advanceTimersByTimeAsync(0);
    expect(Socket.all).toHaveLength(1);
    expect(socket(0).said("attach")[1]).toMatchObject({ channel: 1, mode: "read" });
    socket(0).grants(1, { mode: "read" });
    expect(watcher.state).toBe("connected");
    socket(0).ends(1006);
    watcher.connection.retryNow();
    socket(1).opens();
    expect(socket(1).said("hello")).toMatchObject([{ ticket: "the next" }]);
  });

  test("go one by one, and the connection with the last", () => {
    const [one, other] = attached(2);
    one?.connection.close();
    expect(socket(0).said("detach")).toEqual([{ type: "detach", channel: 0 }]);
    expect(socket(0).closedWith).toBeNull();
    other?.connection.close();
    expect(socket(0).closedWith).toBe(1000);
  });

  test("leave before they are answered only once that cannot be lost on its way to another server", () => {
    const multiplexer = new Multiplexer();
    const [one, two, three] = [new Terminal(multiplexer), new Terminal(multiplexer), new Terminal(multiplexer)];
    socket(0).opens();
    two.connection.close();
    three.connection.close();
    expect(socket(0).said("detach")).toEqual([]);
    socket(0).grants(0);
    socket(0).grants(1);
    socket(0).says({ type: "error", channel: 2, code: "too-many-sessions", message: "too many" });
    expect(socket(0).said("detach").map(({ channel }) => channel)).toEqual([1]);
    socket(0).prints(1, 0, "late");
    expect([one.state, two.state, three.state]).toEqual(["connected", "closed", "closed"]);
    expect(two.shown).toBe("");
  });

  test("are not of two clients", () => {
    const multiplexer = new Multiplexer();
    new Terminal(multiplexer);
    new Terminal(multiplexer, { client: "somebody else" });
    expect(() => socket(0).opens()).toThrow("of one client");
  });

  test("have as many channels as there are, each number long after it was used", async () => {
    const multiplexer = new Multiplexer();
    attached(1, multiplexer);
    for (let at = 1; at < 300; at += 1) {
      const more = new Terminal(multiplexer);
      await vi.advanceTimersByTimeAsync(0);
      const channel = Number(socket(0).said("attach").at(-1)?.["channel"]);
      expect(channel).toBe(at < 256 ? at : at - 255);
      socket(0).grants(channel);
      expect(more.state).toBe("connected");
      more.connection.close();
    }
  });
});

describe("what one is told", () => {
  test("is its own affair", () => {
    const [one, other] = attached(2);
    socket(0).says({ type: "error", channel: 0, code: "taken-over", message: "taken over" });
    expect([one?.state, other?.state]).toEqual(["taken-over", "connected"]);
    expect(socket(0).closedWith).toBeNull();
  });

  test("keeps it alone away, while the others work", async () => {
    const multiplexer = new Multiplexer();
    const [one, other] = [new Terminal(multiplexer), new Terminal(multiplexer)];
    socket(0).opens();
    socket(0).says({ type: "retry-later", channel: 0, reason: "not now", after: 3 });
    socket(0).grants(1);
    expect([one.state, other.state]).toEqual(["waiting", "connected"]);
    await vi.advanceTimersByTimeAsync(4600);
    expect(Socket.all).toHaveLength(1);
    expect(socket(0).said("attach").map(({ channel }) => channel)).toEqual([0, 1, 2]);
    socket(0).grants(2);
    expect(one.state).toBe("connected");
  });

  test("nothing, in time, leaves the others where they are", async () => {
    const multiplexer = new Multiplexer();
    const [one, other] = [new Terminal(multiplexer), new Terminal(multiplexer)];
    socket(0).opens();
    socket(0).grants(0);
    await vi.advanceTimersByTimeAsync(10_001);
    expect([one.state, other.state]).toEqual(["connected", "waiting"]);
    expect(socket(0).closedWith).toBeNull();
    await vi.advanceTimersByTimeAsync(300);
    expect(socket(0).said("attach").map(({ channel }) => channel)).toEqual([0, 1, 2]);
    socket(0).grants(1); // late, and wanted by nobody any more
    expect(socket(0).said("detach")).toEqual([{ type: "detach", channel: 1 }]);
    socket(0).grants(2);
    expect(other.state).toBe("connected");
  });

  test("that it has ended, ends none of the others", () => {
    const [one, other] = attached(2);
    socket(0).says({ type: "exit", channel: 1, status: 0 });
    expect([one?.state, other?.state]).toEqual(["connected", "ended"]);
    expect(socket(0).said("detach")).toEqual([{ type: "detach", channel: 1 }]);
  });

  test("sends it alone to another address", async () => {
    const multiplexer = new Multiplexer();
    const [one, other] = [new Terminal(multiplexer), new Terminal(multiplexer)];
    socket(0).opens();
    socket(0).grants(0);
    socket(0).says({ type: "elsewhere", channel: 1, url: "ws://there:4001/" });
    expect(Socket.all.map(({ url }) => url)).toEqual(["ws:here", "ws://there:4001/"]);
    socket(1).opens();
    socket(1).grants(0);
    expect([one.state, other.state]).toEqual(["connected", "connected"]);
    expect(multiplexer.connections).toBe(2);
    await vi.advanceTimersByTimeAsync(0);
  });

  test("in no words of the protocol, ends the connection for all, who come back together", async () => {
    const [one, other] = attached(2);
    const broken = encodeBinary(9, 0, 0);
    expect(broken).toHaveLength(HEADER);
    socket(0).onmessage({ data: broken.buffer });
    expect(socket(0).closedWith).toBe(4000);
    expect([one?.state, other?.state]).toEqual(["waiting", "waiting"]);
    await vi.advanceTimersByTimeAsync(300);
    expect(Socket.all).toHaveLength(2);
    socket(1).opens();
    expect(socket(1).said("attach")).toHaveLength(2);
  });
});

describe("a connection that is lost", () => {
  test("is lost to all, and all come back on one with what they had", async () => {
    const terminals = attached(4);
    socket(0).prints(3, 0, "seen");
    terminals.forEach((terminal, at) => type(terminal, `half ${at}`));
    socket(0).ends(1006);
    expect(terminals.map(({ state }) => state)).toEqual(Array(4).fill("waiting"));
    await vi.advanceTimersByTimeAsync(251);
    expect(Socket.all).toHaveLength(2);
    socket(1).opens();
    expect(socket(1).said("hello")).toHaveLength(1);
    const attaches = new Map(socket(1).said("attach").map(({ session, channel, resume }) => [session, { channel, resume }]));
    expect([...attaches.keys()].sort()).toEqual(["s0", "s1", "s2", "s3"]);
    expect(attaches.get("s3")).toMatchObject({ resume: { output: 4, epoch: "e" } });
    for (const [session, { channel }] of attaches) socket(1).grants(Number(channel), { session, output: session === "s3" ? 4 : 0 });
    const channelOf = (at: number) => Number(attaches.get(`s${at}`)?.channel);
    expect(socket(1).typed().sort()).toEqual([0, 1, 2, 3].map((at) => `${channelOf(at)}@0:half ${at}`).sort());
  });

  test("as planned, brings all back within the time that was said", async () => {
    const terminals = attached(3);
    socket(0).ends(1012, "retry-after=2");
    const planned = terminals.map(({ connection: { state } }) => state.kind === "waiting" && state.planned);
    expect(planned).toEqual([true, true, true]);
    await vi.advanceTimersByTimeAsync(2001);
    expect(Socket.all).toHaveLength(2);
    socket(1).opens();
    expect(socket(1).said("attach")).toHaveLength(3);
  });

  test("since the last of those who were served was taken over, is none to those who were not served yet", async () => {
    const multiplexer = new Multiplexer();
    const [one, other] = [new Terminal(multiplexer), new Terminal(multiplexer)];
    socket(0).opens();
    socket(0).grants(0);
    socket(0).says({ type: "error", channel: 0, code: "taken-over", message: "taken over" });
    socket(0).ends(4409, "taken-over");
    expect([one.state, other.state]).toEqual(["taken-over", "waiting"]);
    await vi.advanceTimersByTimeAsync(300);
    expect(Socket.all).toHaveLength(2);
  });

  test("is asked for no more often than by one terminal alone, however many wait", async () => {
    const tries = async (count: number): Promise<number> => {
      Socket.all = [];
      let drawn = 1; // each waits for another moment
      vi.spyOn(Math, "random").mockImplementation(() => {
        drawn = (drawn * 16807) % 2147483647;
        return drawn / 2147483647;
      });
      const multiplexer = new Multiplexer();
      const terminals = Array.from({ length: count }, () => new Terminal(multiplexer));
      for (let passed = 0; passed < 600_000; passed += 50) {
        for (const each of Socket.all) if (each.readyState === 0) each.ends(1006);
        await vi.advanceTimersByTimeAsync(50);
      }
      for (const { connection } of terminals) connection.close();
      return Socket.all.length;
    };
    // Three open the breaker; then it is 5, 10, 20 and 40 s, and a minute each.
    const documented = 3 + 4 + 9 + 1;
    expect(await tries(1)).toBeLessThanOrEqual(documented);
    expect(await tries(4)).toBeLessThanOrEqual(documented);
  });

  test("is asked for no more often where a server tells each terminal by itself when to come again", async () => {
    const shared = new Multiplexer();
    const terminals = Array.from({ length: 4 }, () => new Terminal(shared));
    for (let passed = 0; passed < 600_000; passed += 50) {
      for (const each of Socket.all) {
        if (each.readyState === 0) each.opens();
        for (const { channel } of each.said("attach")) {
          each.says({ type: "error", channel, code: "breaker-open", message: "lost too often", retry_after: 5 });
        }
        each.texts = [];
      }
      await vi.advanceTimersByTimeAsync(50);
    }
    for (const { connection } of terminals) connection.close();
    expect(Socket.all.length).toBeLessThanOrEqual(600 / 5 + 1);
  });

  test("is no affair of one that was closed meanwhile", async () => {
    const [one, other] = attached(2);
    socket(0).ends(1006);
    one?.connection.close();
    await vi.advanceTimersByTimeAsync(300);
    socket(1).opens();
    expect(socket(1).said("attach").map(({ session }) => session)).toEqual(["s1"]);
    expect([one?.state, other?.state]).toEqual(["closed", "connecting"]);
  });

  test("and asked for again by a person, is so for all", () => {
    const terminals = attached(3);
    socket(0).ends(1006);
    terminals[2]?.connection.retryNow();
    expect(terminals.map(({ state }) => state)).toEqual(Array(3).fill("connecting"));
    expect(Socket.all).toHaveLength(2);
  });

  test("without a word, is found so by whoever has asked; what one hears is a sign of life to all", async () => {
    const terminals = attached(2);
    socket(0).says({ type: "pong", t: 0 });
    for (const { connection } of terminals) connection.probe();
    await vi.advanceTimersByTimeAsync(4000);
    socket(0).prints(0, 0, "x");
    await vi.advanceTimersByTimeAsync(4000);
    expect(terminals.map(({ state }) => state)).toEqual(["connected", "connected"]);
    terminals[1]?.connection.probe();
    await vi.advanceTimersByTimeAsync(5001);
    expect(terminals.map(({ state }) => state)).toEqual(["waiting", "waiting"]);
    expect(socket(0).closedWith).toBe(4000);
  });
});

test("an address that is none, is said to be", () => {
  const terminal = new Terminal(new Multiplexer(), { url: "bad:" });
  expect(terminal.connection.state).toMatchObject({ kind: "refused", code: "bad-address" });
});

describe("files beside terminals", () => {
  const files = { upload: true, download: true, bytes: 1000, at_once: 3 };
  const upload = (terminal: Terminal, transfer: string) =>
    terminal.connection.transfer((transfers) => transfers.upload(transfer, "a.txt", 5));
  const give = (terminal: Terminal, transfer: string) =>
    terminal.connection.transfer((transfers) => transfers.give(transfer, 0, new TextEncoder().encode("hello")));

  function both(): [Terminal, Terminal, Socket] {
    const multiplexer = new Multiplexer();
    const [one, other] = [new Terminal(multiplexer), new Terminal(multiplexer)];
    socket(-1).opens();
    for (const channel of [0, 1]) socket(-1).grants(channel, { files });
    return [one, other, socket(-1)];
  }

  test("each has a channel of its own, whoever's it is", () => {
    const [one, other, server] = both();
    upload(one, "transfer-of-one");
    upload(other, "transfer-of-other");
    const [first, second] = server.said("upload");
    expect([first?.["terminal"], second?.["terminal"]]).toEqual([0, 1]);
    const numbers = [Number(first?.["channel"]), Number(second?.["channel"])];
    expect(new Set([0, 1, ...numbers]).size).toBe(4);

    for (const channel of numbers) server.says({ type: "uploading", channel, offset: 0 });
    expect(one.files.at(-1)).toEqual({ kind: "read", transfer: "transfer-of-one", offset: 0, length: 5 });
    expect(other.files.at(-1)).toEqual({ kind: "read", transfer: "transfer-of-other", offset: 0, length: 5 });
    give(one, "transfer-of-one");
    give(other, "transfer-of-other");
    type(other, "key");
    expect(server.typed()).toEqual([`${numbers[0]}@0:hello`, `${numbers[1]}@0:hello`, "1@0:key"]);

    server.says({ type: "failed", channel: numbers[1], code: "no-room", message: "full" });
    expect(other.files.at(-1)).toMatchObject({ kind: "not-transferred", transfer: "transfer-of-other" });
    expect(one.files.at(-1)).toMatchObject({ kind: "read" });
  });

  test("what is given up names its terminal, and what is sent reaches whom it is for", () => {
    const [one, other, server] = both();
    server.says({ type: "offer", channel: 1, transfer: "sent-to-other", name: "b.txt", bytes: 5 });
    expect(one.files).toEqual([]);
    expect(other.files).toHaveLength(1);
    other.connection.transfer((transfers) => transfers.download("sent-to-other", "b.txt", 5));
    const channel = Number(server.said("download")[0]?.["channel"]);
    server.says({ type: "downloading", channel, offset: 0, bytes: 5 });
    server.prints(channel, 0, "hello");
    expect(other.files.at(-1)).toMatchObject({ kind: "received", transfer: "sent-to-other" });
    expect([one.shown, other.shown]).toEqual(["", ""]);
    other.connection.transfer((transfers) => transfers.cancel("sent-to-other"));
    expect(server.said("cancel")).toEqual([{ type: "cancel", terminal: 1, transfer: "sent-to-other" }]);
  });

  test("a terminal that leaves takes its files' channels along", () => {
    const [one, other, server] = both();
    upload(other, "transfer-of-other");
    const channel = Number(server.said("upload")[0]?.["channel"]);
    other.connection.close();
    server.says({ type: "uploading", channel, offset: 0 });
    expect([one.files, other.files]).toEqual([[], []]);
    expect(one.state).toBe("connected");
  });
});
