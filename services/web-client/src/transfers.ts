// The transfers of one terminal, over connections that come and go, without I/O: the twin of `Transfers` in
// `terminals.protocol.client_transfers`, which says more about each part. Both run the conversations of vectors.json.

import * as protocol from "./frames.js";
import type { BinaryFrame, Fields, Grant } from "./frames.js";
import type { Bytes } from "./rules.js";

export const PIECE = 1 << 16; // bytes of a file in one DATA frame; fewer only at its end
const WINDOW = 1 << 18; // so many bytes are sent ahead of what is written
const MAX_NAME = 4096;
const MAX_CHANNEL = 255;
const TRANSFER = /^[A-Za-z0-9_-]{8,64}$/;
const SHA256 = /^[0-9a-f]{64}$/;

/** What is to be done with a file, and what has come of it. */
export type TransferItem =
  /** Read so much and give it back: {@link Transfers.give}. */
  | { readonly kind: "read"; readonly transfer: string; readonly offset: number; readonly length: number }
  /** Say its digest: {@link Transfers.digest}. Of one that is downloaded, of what has come. */
  | { readonly kind: "hash"; readonly transfer: string }
  /** So many bytes of an upload are written. */
  | { readonly kind: "progress"; readonly transfer: string; readonly bytes: number }
  /** It may be downloaded: {@link Transfers.download}, or {@link Transfers.cancel}. */
  | { readonly kind: "offered"; readonly transfer: string; readonly name: string; readonly bytes: number }
  | { readonly kind: "withdrawn"; readonly transfer: string }
  /** Bytes of a download, each once, in order: {@link Transfers.taken} once they are kept. */
  | { readonly kind: "received"; readonly transfer: string; readonly offset: number; readonly data: Bytes }
  /** It is at the other end, whole. `name`: what an upload is called there. */
  | { readonly kind: "transferred"; readonly transfer: string; readonly name: string }
  | { readonly kind: "not-transferred"; readonly transfer: string; readonly code: string; readonly message: string };

type Emit = (item: TransferItem | { readonly kind: "send"; readonly data: string | Bytes }) => void;

/** One transfer of ours. */
class Held {
  channel: number | null = null; // while it was asked for on this connection
  going = false; // the server has said where it goes on
  granted = false; // ... once: until it may again, it waits
  acked = 0; // what the other end has, or what we have said that we have
  asked = 0; // what was asked to be read
  at = 0; // what was sent, or has come
  digest: string | null = null;
  theirs: string | null = null;
  hashing = false;
  finishing = false;
  told = false; // a download is whole, which its sender may not have heard

  constructor(
    readonly name: string,
    readonly size: number,
    readonly upload: boolean,
  ) {}
}

export class Transfers {
  readonly #terminal: number;
  readonly #emit: Emit;
  readonly #held = new Map<string, Held>();
  readonly #offers = new Set<string>(); // what may be downloaded on this connection ...
  readonly #known = new Set<string>(); // ... and ever could be
  readonly #cancelled = new Set<string>();
  #grant: Grant | null = null;
  #attached = false;

  constructor(terminal: number, emit: Emit) {
    this.#terminal = terminal;
    this.#emit = emit;
  }

  // --- what a user wants ------------------------------------------------------------------

  /** Have a file uploaded. The same `transfer` goes on where an earlier client has come to. */
  upload(transfer: string, name: string, size: number): void {
    this.#held.set(transfer, new Held(name, size, true));
    this.#beginSome();
  }

  /** Take what was offered, from `offset` on. */
  download(transfer: string, name: string, size: number, offset = 0): void {
    const held = new Held(name, size, false);
    held.at = held.acked = offset;
    this.#held.set(transfer, held);
    if (this.#attached && !this.#offers.has(transfer)) {
      this.#held.delete(transfer);
      this.#failed(transfer, "gone", "it is not offered any more");
    }
    this.#beginSome();
  }

  /** Give a transfer up, for good, or do not take what was offered. */
  cancel(transfer: string): void {
    this.#held.delete(transfer);
    this.#cancelled.add(transfer);
    this.#tellCancelled(transfer);
    this.#beginSome();
  }

  /** What was to be read. Fewer bytes than that: the file has changed. */
  give(transfer: string, offset: number, data: Bytes): void {
    const held = this.#held.get(transfer);
    if (!held?.going || held.channel === null || offset !== held.at) return; // it was for a connection that is gone
    if (data.length !== Math.min(PIECE, held.size - offset)) {
      this.#giveUp(transfer, "changed", "the file has changed while it was read");
      return;
    }
    held.at += data.length;
    this.#emit({ kind: "send", data: protocol.encodeBinary(protocol.DATA, held.channel, offset, data) });
    this.#goOn(transfer, held);
  }

  /** What was to be hashed. */
  digest(transfer: string, sha256: string): void {
    const held = this.#held.get(transfer);
    if (!held?.hashing) return;
    held.hashing = false;
    held.digest = sha256;
    this.#goOn(transfer, held);
  }

  /** A download is kept up to `offset`: more may come. */
  taken(transfer: string, offset: number): void {
    const held = this.#held.get(transfer);
    if (!held || held.upload || offset <= held.acked || offset > held.at) return;
    held.acked = offset;
    if (!held.going || held.channel === null) return;
    this.#emit({ kind: "send", data: protocol.encodeBinary(protocol.ACK, held.channel, offset) });
    this.#goOn(transfer, held);
  }

  // --- what happens -----------------------------------------------------------------------

  /** The terminal is attached, and so much is allowed there. */
  attached(grant: Grant | null): void {
    this.#attached = true;
    this.#grant = grant;
    this.#offers.clear(); // those that still are come anew
    for (const transfer of this.#cancelled) this.#tellCancelled(transfer); // it may be that it was lost
    this.#beginSome();
  }

  /** It is not, any more: what is on its way is lost. */
  detached(): void {
    this.#attached = false;
    for (const held of this.#held.values()) {
      held.channel = held.theirs = null;
      held.going = held.finishing = false;
    }
  }

  /** A message has come; whether it was of a transfer. */
  control(fields: Fields): boolean {
    switch (fields.type) {
      case "offer":
        this.#offered(fields);
        return true;
      case "withdraw":
        this.#withdrawn(transferOf(fields));
        return true;
      case "uploading":
      case "downloading":
      case "downloaded":
      case "transferred":
      case "failed": {
        const channel = protocol.integer(fields, "channel", 0, MAX_CHANNEL);
        const found = [...this.#held].find(([, held]) => held.channel === channel);
        if (found) this.#told(...found, fields); // else it has crossed our cancel
        return true;
      }
      default:
        return false;
    }
  }

  /** A frame of another channel than the terminal's has come. */
  binary({ type, channel, seq, payload }: BinaryFrame): void {
    const found = [...this.#held].find(([, held]) => held.channel === channel && held.going);
    if (!found) return;
    const [transfer, held] = found;
    if (held.upload && type === protocol.ACK) {
      if (seq < held.acked || seq > held.at) throw new protocol.BadFrame("an acknowledgement of what was not sent");
      held.acked = seq;
      this.#emit({ kind: "progress", transfer, bytes: seq });
      this.#goOn(transfer, held);
    } else if (!held.upload && type === protocol.DATA) {
      if (seq !== held.at || seq + payload.length > held.size) {
        throw new protocol.BadFrame(`a file goes on at ${held.at}, not at ${seq}`);
      }
      held.at += payload.length;
      this.#emit({ kind: "received", transfer, offset: seq, data: payload });
    } else {
      throw new protocol.BadFrame("a frame that goes the other way in this transfer");
    }
  }

  #offered(fields: Fields): void {
    const transfer = transferOf(fields);
    const name = protocol.text(fields, "name", MAX_NAME);
    const bytes = protocol.integer(fields, "bytes", 0, Number.MAX_SAFE_INTEGER);
    this.#offers.add(transfer);
    if (this.#cancelled.has(transfer)) this.#tellCancelled(transfer);
    else if (this.#held.has(transfer)) this.#beginSome();
    else if (!this.#known.has(transfer)) {
      this.#known.add(transfer);
      this.#emit({ kind: "offered", transfer, name, bytes });
    }
  }

  #withdrawn(transfer: string): void {
    this.#offers.delete(transfer);
    this.#emit({ kind: "withdrawn", transfer });
    const held = this.#held.get(transfer);
    this.#held.delete(transfer);
    if (held && !held.told) this.#failed(transfer, "gone", "it is not offered any more");
  }

  #told(transfer: string, held: Held, fields: Fields): void {
    switch (fields.type) {
      case "uploading":
      case "downloading": {
        const offset = protocol.integer(fields, "offset", 0, held.size);
        if (!held.upload && (offset !== held.at || fields["bytes"] !== held.size)) {
          this.#giveUp(transfer, "changed", "the file has changed");
          return;
        }
        held.going = held.granted = true;
        held.acked = held.asked = held.at = offset;
        if (held.upload) this.#emit({ kind: "progress", transfer, bytes: offset });
        this.#goOn(transfer, held);
        break;
      }
      case "downloaded":
        held.theirs = digestOf(fields);
        this.#goOn(transfer, held);
        break;
      case "transferred": {
        const name = protocol.text(fields, "name", MAX_NAME);
        this.#held.delete(transfer);
        if (!held.told) this.#emit({ kind: "transferred", transfer, name });
        this.#beginSome();
        break;
      }
      default: {
        const [code, message] = [protocol.text(fields, "code"), protocol.text(fields, "message", 1024)];
        this.#held.delete(transfer);
        if (!held.told) this.#failed(transfer, code, message);
        this.#beginSome();
      }
    }
  }

  // --- how it goes on ---------------------------------------------------------------------

  /** Ask for as many as may be at once. */
  #beginSome(): void {
    if (!this.#attached) return;
    const grant = this.#grant;
    for (const [transfer, held] of [...this.#held]) {
      if (held.channel !== null || !(held.upload || this.#offers.has(transfer))) continue;
      if (!grant || !(held.upload ? grant.upload : grant.download)) {
        // A server of before, in a rollout, is replaced by one that goes on.
        if (!held.granted) this.#giveUp(transfer, "forbidden", "files cannot be transferred here");
      } else if (held.upload && held.size > grant.bytes) {
        const text = `a file may have ${grant.bytes} bytes here, and this one has ${held.size}`;
        this.#giveUp(transfer, "too-large", text);
      } else if ([...this.#held.values()].filter((other) => other.channel !== null).length < grant.at_once) {
        this.#ask(transfer, held);
      }
    }
  }

  #ask(transfer: string, held: Held): void {
    const used = new Set([...this.#held.values()].map((other) => other.channel)).add(this.#terminal);
    let channel = MAX_CHANNEL;
    while (used.has(channel)) channel -= 1;
    held.channel = channel;
    const common = { channel, terminal: this.#terminal, transfer };
    if (held.upload) {
      this.#text("upload", { ...common, name: held.name, bytes: held.size });
    } else {
      held.at = held.acked; // what was not kept comes again
      this.#text("download", { ...common, offset: held.acked });
    }
  }

  #goOn(transfer: string, held: Held): void {
    if (!held.going) return;
    while (held.upload && held.asked < held.size && held.asked - held.acked < WINDOW) {
      const length = Math.min(PIECE, held.size - held.asked);
      this.#emit({ kind: "read", transfer, offset: held.asked, length });
      held.asked += length;
    }
    if (held.acked < held.size || held.finishing || (!held.upload && held.theirs === null)) return;
    if (held.digest === null) {
      if (held.hashing) return;
      held.hashing = true;
      this.#emit({ kind: "hash", transfer });
    } else if (!held.upload && held.digest !== held.theirs) {
      this.#giveUp(transfer, "checksum", "what has come is not what was sent");
    } else {
      held.finishing = true;
      this.#text("finish", { channel: held.channel, sha256: held.digest });
      if (held.upload || held.told) return;
      held.told = true;
      this.#emit({ kind: "transferred", transfer, name: held.name });
    }
  }

  #tellCancelled(transfer: string): void {
    if (this.#attached && this.#grant) this.#text("cancel", { terminal: this.#terminal, transfer });
  }

  #giveUp(transfer: string, code: string, message: string): void {
    this.cancel(transfer);
    this.#failed(transfer, code, message);
  }

  #failed(transfer: string, code: string, message: string): void {
    this.#emit({ kind: "not-transferred", transfer, code, message });
  }

  #text(type: string, fields: object): void {
    this.#emit({ kind: "send", data: protocol.encodeText(type, fields) });
  }
}

function transferOf(fields: Fields): string {
  const transfer = protocol.text(fields, "transfer", 64);
  if (!TRANSFER.test(transfer)) throw new protocol.BadFrame(`${fields.type}.transfer is none`);
  return transfer;
}

function digestOf(fields: Fields): string {
  const digest = protocol.text(fields, "sha256", 64);
  if (!SHA256.test(digest)) throw new protocol.BadFrame(`${fields.type}.sha256 is none`);
  return digest;
}
