// Several terminals over one WebSocket, each on a channel of its own. A terminal is told what a connection of its
// own would tell it, and so knows nothing of the others: who says hello twice is answered here, a lost connection is
// lost to all of them, and whoever of them connects again first takes the others along.

import { ACK, BadFrame, CLOSE, DATA, decodeText, encodeText, HEADER, SNAPSHOT } from "./frames.js";
import type { Fields } from "./frames.js";
import type { Bytes } from "./rules.js";

const NORMAL = 1000;
const CUT = 4000; // a page cannot cut a connection; this code says to nobody that it was left
const CHANNELS = 256;
const CHANNEL_AT = 1; // byte of a binary frame
const BINARY = new Set([DATA, ACK, SNAPSHOT]);
/** What answers an attach, where it bears a channel. */
const ANSWERS = new Set(["attached", "error", "retry-later", "elsewhere"]);

/** One terminal, as the connection that it shares knows it. */
export interface Listener {
  opened(): void;
  received(message: string | ArrayBuffer): void;
  /** Something has come for one of the others. */
  heard(): void;
  closed(code: number | null, reason: string): void;
  /** Another connects: come along. `together`: it was lost to both at once, and how that ends is of both. */
  called(together: boolean): void;
}

/** One terminal's end of a connection. */
export interface Line {
  send(data: string | Bytes): void;
  /** Leave. The connection ends with the last; `null`: it is no good, to nobody. Nothing more is heard then. */
  close(code: number | null): void;
}

/** Connections of one client, one for each address. All that it carries say hello with the same client and credentials. */
export class Multiplexer {
  readonly #links = new Map<string, Link>();
  /** Who has no line, and whether it was lost together with the others'. */
  readonly #away = new Map<Listener, boolean>();

  /** Connections that are open, or about to be. */
  get connections(): number {
    return this.#links.size;
  }

  /** Have a channel of the connection to `url`. Throws as `new WebSocket` does, and RangeError where all are taken. */
  connect(url: string, listener: Listener): Line {
    this.#away.delete(listener);
    const known = this.#links.get(url);
    if (known) return known.join(listener);
    const link = new Link(new WebSocket(url), () => this.#links.delete(url), (left, together) => {
      this.#away.set(left, together);
    });
    this.#links.set(url, link);
    const line = link.join(listener);
    for (const [each, together] of [...this.#away]) each.called(together);
    return line;
  }

  /** It does not come back. */
  forget(listener: Listener): void {
    this.#away.delete(listener);
  }
}

/** A channel: `asked` until its attach is answered, and `left` where nobody waits for the answer any more. */
interface Channel {
  readonly number: number;
  readonly listener: Listener;
  /** Channels that it has besides, for files: by their numbers on the line, their numbers on the connection. */
  readonly others: Map<number, number>;
  state: "new" | "asked" | "attached" | "refused";
  left: boolean;
}

class Link {
  readonly #channels = new Map<number, Channel>();
  readonly #others = new Map<number, { readonly channel: Channel; readonly line: number }>();
  #next = 0;
  #client: unknown = null;
  #welcome: Fields | null = null;
  #over = false;

  /** `ended`: it is no connection any more. `gone`: a terminal is not on it any more; see {@link Multiplexer}. */
  constructor(
    private readonly socket: WebSocket,
    private readonly ended: () => void,
    private readonly gone: (listener: Listener, together: boolean) => void,
  ) {
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#each((channel) => channel.listener.opened());
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (!this.#over) this.#received(data);
    };
    socket.onclose = ({ code, reason }: CloseEvent) => {
      // The server says so where the last terminal that it served was taken over; others were not served yet.
      if (!this.#over) this.#end((state) => code === CLOSE.takenOver && state !== "attached" ? null : code, reason);
    };
  }

  join(listener: Listener): Line {
    const channel: Channel = { number: this.#free(), listener, others: new Map(), state: "new", left: false };
    this.#channels.set(channel.number, channel);
    if (this.socket.readyState === WebSocket.OPEN) {
      queueMicrotask(() => {
        if (!channel.left && !this.#over) listener.opened();
      });
    }
    return {
      send: (data) => this.#send(channel, data),
      close: (code) => this.#leave(channel, code),
    };
  }

  /** A number that was not in use for long: what still comes for whoever had it is not heard. */
  #free(): number {
    for (let tries = 0; tries < CHANNELS; tries += 1) {
      const number = this.#next;
      this.#next = (this.#next + 1) % CHANNELS;
      if (!this.#channels.has(number) && !this.#others.has(number)) return number;
    }
    throw new RangeError(`a connection has ${CHANNELS} channels`);
  }

  /** The number on the connection of what has this one on a terminal's line, where 0 is the terminal itself. */
  #numberOf(channel: Channel, line: number): number {
    if (line === 0) return channel.number;
    let number = channel.others.get(line);
    if (number === undefined) {
      number = this.#free();
      channel.others.set(line, number);
      this.#others.set(number, { channel, line });
    }
    return number;
  }

  #remove(channel: Channel): void {
    this.#channels.delete(channel.number);
    for (const number of channel.others.values()) this.#others.delete(number);
  }

  #each(what: (channel: Channel) => void): void {
    for (const channel of [...this.#channels.values()]) {
      if (!channel.left) what(channel);
    }
  }

  // --- from the terminals -------------------------------------------------------------------

  #send(channel: Channel, data: string | Bytes): void {
    if (this.socket.readyState !== WebSocket.OPEN || channel.left || this.#over) return;
    if (typeof data !== "string") {
      const view = new DataView(data.buffer, data.byteOffset);
      view.setUint32(CHANNEL_AT, this.#numberOf(channel, view.getUint32(CHANNEL_AT)));
      this.socket.send(data);
      return;
    }
    const { type, ...fields } = decodeText(data);
    if (type === "hello") {
      this.#greet(channel, fields, data);
      return;
    }
    if (type === "attach") channel.state = "asked";
    const numbers: Record<string, number> = {};
    if (typeof fields["channel"] === "number") numbers["channel"] = this.#numberOf(channel, fields["channel"]);
    if ("terminal" in fields) numbers["terminal"] = channel.number; // what is about a file names its terminal
    this.socket.send(encodeText(type, { ...fields, ...numbers }));
  }

  #greet(channel: Channel, fields: Record<string, unknown>, hello: string): void {
    if (this.#client === null) {
      this.#client = fields["client"];
      this.socket.send(hello);
    } else if (this.#client !== fields["client"]) {
      throw new Error("terminals that share a connection are of one client");
    }
    if (this.#welcome === null) return;
    const { type, ...said } = this.#welcome;
    queueMicrotask(() => {
      if (!channel.left && !this.#over) channel.listener.received(encodeText(type, said));
    });
  }

  #leave(channel: Channel, code: number | null): void {
    if (channel.left || this.#over) return;
    channel.left = true;
    this.gone(channel.listener, false);
    let others = 0;
    let served = 0;
    this.#each(({ state }) => {
      others += 1;
      if (state === "attached") served += 1;
    });
    if (code === null && (channel.state === "attached" || !served)) {
      this.gone(channel.listener, true);
      this.#hangUp(CUT);
      this.#end(() => null, "");
    } else if (!others) {
      this.#hangUp(code ?? NORMAL);
      this.#end(() => null, "");
    } else if (channel.state === "attached") {
      this.#detach(channel);
    } else if (channel.state !== "asked") {
      this.#remove(channel);
    }
    // One that was asked for is left once it is answered: before, the connection may be handed on to another server.
  }

  #detach(channel: Channel): void {
    this.#remove(channel);
    this.socket.send(encodeText("detach", { channel: channel.number }));
  }

  #hangUp(code: number): void {
    if (this.socket.readyState <= WebSocket.OPEN) this.socket.close(code);
  }

  /** It is over; `told`: the code that a terminal is told. */
  #end(told: (state: Channel["state"]) => number | null, reason: string): void {
    this.#over = true;
    this.ended();
    const here = [...this.#channels.values()].filter(({ left }) => !left);
    this.#channels.clear();
    this.#others.clear();
    for (const { listener } of here) this.gone(listener, true);
    for (const { listener, state } of here) listener.closed(told(state), reason);
  }

  // --- from the server ----------------------------------------------------------------------

  #received(data: string | ArrayBuffer): void {
    const number = typeof data === "string" ? this.#heardText(data) : this.#heardBinary(data);
    const other = number === null ? undefined : this.#others.get(number);
    const channel = other?.channel ?? (number === null ? undefined : this.#channels.get(number));
    const told = typeof data === "string" && other ? renumbered(data, other.line) : data;
    this.#each((each) => {
      if (number === null || each === channel) each.listener.received(told);
      else each.listener.heard();
    });
    if (channel?.left && !this.#over && this.#channels.has(channel.number)) {
      if (channel.state === "attached") this.#detach(channel);
      else if (channel.state === "refused") this.#remove(channel);
    }
  }

  /** The channel that a message is for, or null: it is for all, who also judge what is no message. */
  #heardText(data: string): number | null {
    let fields: Fields;
    try {
      fields = decodeText(data);
    } catch (error) {
      if (error instanceof BadFrame) return null;
      throw error;
    }
    if (fields.type === "welcome") this.#welcome = fields;
    if (fields.type === "ticket" && this.#welcome) this.#welcome = { ...this.#welcome, ticket: fields["ticket"] };
    const number = fields["channel"];
    if (typeof number !== "number") return null;
    const channel = this.#channels.get(number);
    if (channel?.state === "asked" && ANSWERS.has(fields.type)) {
      channel.state = fields.type === "attached" ? "attached" : "refused";
    }
    return number;
  }

  /** The same of a binary one, which a terminal finds on channel 0. */
  #heardBinary(data: ArrayBuffer): number | null {
    if (data.byteLength < HEADER) return null;
    const view = new DataView(data);
    if (!BINARY.has(view.getUint8(0))) return null;
    const number = view.getUint32(CHANNEL_AT);
    if (number >= CHANNELS) return null;
    view.setUint32(CHANNEL_AT, this.#others.get(number)?.line ?? 0);
    return number;
  }
}

function renumbered(data: string, channel: number): string {
  const { type, ...fields } = decodeText(data);
  return encodeText(type, { ...fields, channel });
}
