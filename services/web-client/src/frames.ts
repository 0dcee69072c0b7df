// Frames of the WebSocket protocol: JSON text frames with a `type`, and binary frames
// of u8 type, u32 channel, u64 sequence number (big endian) and payload.

import type { Bytes } from "./rules.js";

export const VERSIONS: readonly number[] = [3, 2, 1]; // the best first
export const DATA = 1;
export const ACK = 2;
export const SNAPSHOT = 3; // since version 2
export const HEADER = 13;
export const MAX_INPUT = 1 << 14; // bytes in one DATA frame of ours
export const CLOSE = { restart: 1012, unauthorized: 4401, takenOver: 4409, breakerOpen: 4429 } as const;
const MAX_CHANNEL = 255;
export const MAX_SIDE = 1000; // columns, or rows
const MAX_LAST_SCREEN = 1 << 16; // bytes
const MAX_TEXT = 256; // characters of a text in a message of the server

export interface Size {
  readonly cols: number;
  readonly rows: number;
}

/** The server's acknowledgement of an attach. Offsets are bytes since the stream's start. */
export interface Attached {
  readonly session: string;
  readonly status: string;
  readonly epoch: string;
  readonly generation: string;
  readonly build: string;
  readonly origin: string;
  readonly profile: string;
  readonly output: number;
  readonly skipped: number;
  readonly input: number;
  readonly mode: "read" | "write";
  readonly input_unknown: boolean;
  readonly snapshot: boolean;
  readonly head: number;
  /** Null of a server that does not tell it. */
  readonly size: Size | null;
  readonly recording: Recording;
  /** What files may be transferred; null: none, or by none that this server knows. */
  readonly files: Grant | null;
}

/** How a terminal of so many columns and rows looked `at`, in Unix seconds. `paint`: escape sequences. */
export interface LastScreen extends Size {
  readonly at: number;
  readonly paint: Bytes;
}

/** What files may be transferred: in which directions, most bytes of one, and uploads at the same time. */
export interface Grant {
  readonly upload: boolean;
  readonly download: boolean;
  readonly bytes: number;
  readonly at_once: number;
}

/** Whether a session is recorded; `lost`: it should be, and is not. */
export type Recording = "" | "on" | "lost";

/** A text frame: an object with a `type`, of which nothing else is known yet. */
export type Fields = Readonly<Record<string, unknown>> & { readonly type: string };

export interface BinaryFrame {
  readonly type: number;
  readonly channel: number;
  readonly seq: number;
  readonly payload: Bytes;
}

export type CloseAction = "stop" | "return" | "back-off";

/** What a client does when a connection has ended with `code`: see docs/protocol.md. */
export function closeAction(code: number | null): CloseAction {
  if (code === null || code === CLOSE.breakerOpen) return "back-off";
  if (code >= 4400 && code < 4500) return "stop"; // also codes that are still to be invented
  return code === CLOSE.restart || (code >= 4500 && code < 4600) ? "return" : "back-off";
}

export class BadFrame extends Error {}

export function encodeBinary(type: number, channel: number, seq: number, payload: Bytes = new Uint8Array()): Bytes {
  const frame = new Uint8Array(HEADER + payload.length);
  const view = new DataView(frame.buffer);
  view.setUint8(0, type);
  view.setUint32(1, channel);
  view.setBigUint64(5, BigInt(seq));
  frame.set(payload, HEADER);
  return frame;
}

export function decodeBinary(buffer: ArrayBuffer): BinaryFrame {
  if (buffer.byteLength < HEADER) throw new BadFrame(`a binary frame of ${buffer.byteLength} bytes`);
  const view = new DataView(buffer);
  const type = view.getUint8(0);
  const seq = Number(view.getBigUint64(5));
  if (type !== DATA && type !== ACK && type !== SNAPSHOT) throw new BadFrame(`unknown binary frame type ${type}`);
  if (view.getUint32(1) > MAX_CHANNEL) throw new BadFrame("channel out of range");
  if (!Number.isSafeInteger(seq)) throw new BadFrame("sequence number out of range");
  if (type === ACK && buffer.byteLength !== HEADER) throw new BadFrame("an ACK has no payload");
  return { type, channel: view.getUint32(1), seq, payload: new Uint8Array(buffer, HEADER) };
}

export function encodeText(type: string, fields: object = {}): string {
  return JSON.stringify({ type, ...fields });
}

export function decodeText(text: string): Fields {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    throw new BadFrame("not JSON");
  }
  if (typeof message !== "object" || message === null || !("type" in message) || typeof message.type !== "string") {
    throw new BadFrame("a text frame is a JSON object with a string 'type'");
  }
  return message as Fields;
}

/** A whole number of a message. */
export function integer(fields: Fields, name: string, low: number, high: number, otherwise?: number): number {
  const value = fields[name] === undefined ? otherwise : fields[name];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < low || value > high) {
    throw new BadFrame(`${fields.type}.${name} must be a whole number from ${low} to ${high}`);
  }
  return value;
}

/** A number of a message, or null where it has none there. */
export function number(fields: Fields, name: string): number | null {
  const value = fields[name] ?? null;
  if (value === null) return null;
  if (typeof value !== "number" || !Number.isFinite(value)) {
    throw new BadFrame(`${fields.type}.${name} must be a number`);
  }
  return value;
}

/** A text of a message. */
export function text(fields: Fields, name: string, limit = MAX_TEXT): string {
  const value = fields[name];
  if (typeof value !== "string" || value.length > limit) {
    throw new BadFrame(`${fields.type}.${name} must be a string of at most ${limit} characters`);
  }
  return value;
}

/** Columns and rows of a message. */
export function size(fields: Fields): Size {
  return { cols: integer(fields, "cols", 1, MAX_SIDE), rows: integer(fields, "rows", 1, MAX_SIDE) };
}

/** Whether a session is recorded, as a message says it. */
export function recording(state: unknown): Recording {
  return state === "on" || state === "lost" ? state : "";
}

/** What is left of a session whose host is lost, or null where a message has nothing of it. */
export function lastScreen(message: Fields): LastScreen | null {
  const value = message["screen"] ?? null;
  if (value === null) return null;
  const type = `${message.type}.screen`;
  if (typeof value !== "object" || Array.isArray(value)) throw new BadFrame(`${type} must be an object`);
  const fields: Fields = { ...value, type };
  const at = number(fields, "at");
  if (at === null) throw new BadFrame(`${type}.at must be a number`);
  const encoded = text(fields, "paint", MAX_LAST_SCREEN * 4 / 3 + 4);
  try {
    return { ...size(fields), at, paint: Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0)) };
  } catch (error) {
    throw error instanceof BadFrame ? error : new BadFrame(`${type}.paint must be base64`);
  }
}

/** Read an `attached` message. */
export function readAttached(fields: Fields): Attached {
  const offset = (name: string, otherwise?: number) =>
    integer(fields, name, 0, Number.MAX_SAFE_INTEGER, otherwise);
  const output = offset("output");
  return {
    session: text(fields, "session"),
    status: text(fields, "status"),
    epoch: text(fields, "epoch"),
    generation: text(fields, "generation"),
    build: text(fields, "build"),
    origin: text(fields, "origin"),
    profile: text(fields, "profile"),
    output,
    skipped: offset("skipped"),
    input: offset("input"),
    mode: fields["mode"] === "read" ? "read" : "write",
    input_unknown: fields["input_unknown"] === true,
    snapshot: fields["snapshot"] === true,
    head: offset("head", output),
    size: fields["cols"] === undefined ? null : size(fields), // an older server does not tell it
    recording: recording(fields["recording"]),
    files: readGrant(fields["files"] ?? null),
  };
}

function readGrant(value: unknown): Grant | null {
  if (value === null) return null;
  if (typeof value !== "object" || Array.isArray(value)) throw new BadFrame("attached.files must be an object");
  const fields: Fields = { ...value, type: "attached.files" };
  return {
    upload: fields["upload"] === true,
    download: fields["download"] === true,
    bytes: integer(fields, "bytes", 0, Number.MAX_SAFE_INTEGER),
    at_once: integer(fields, "at_once", 1, 1000),
  };
}

/** The ms within which a server that closes with *service restart* wants us back. */
export function retryWindow<T>(reason: string, otherwise: T): number | T {
  const match = /retry-after=([0-9]{1,7}(?:\.[0-9]{1,6})?)/.exec(reason);
  return match ? Math.min(Number(match[1]), 60) * 1000 : otherwise;
}
