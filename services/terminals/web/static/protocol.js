// Frames of the WebSocket protocol: JSON text frames with a `type`, and binary frames
// of u8 type, u32 channel, u64 sequence number (big endian) and payload.

export const VERSIONS = [3, 2, 1]; // the best first
export const DATA = 1;
export const ACK = 2;
export const SNAPSHOT = 3; // since version 2
export const HEADER = 13;
export const MAX_INPUT = 1 << 14; // bytes in one DATA frame of ours
export const CLOSE = { restart: 1012, unauthorized: 4401, takenOver: 4409, breakerOpen: 4429 };
const MAX_CHANNEL = 255;
const MAX_SIDE = 1000; // columns, or rows
const MAX_TEXT = 256; // characters of a text in a message of the server

/** What a client does when a connection has ended with `code`: see docs/protocol.md. */
export function closeAction(code) {
  if (code === CLOSE.breakerOpen) return "back-off";
  if (code >= 4400 && code < 4500) return "stop"; // also codes that are still to be invented
  return code === CLOSE.restart || (code >= 4500 && code < 4600) ? "return" : "back-off";
}

export class BadFrame extends Error {}

export function encodeBinary(type, channel, seq, payload = new Uint8Array()) {
  const frame = new Uint8Array(HEADER + payload.length);
  const view = new DataView(frame.buffer);
  view.setUint8(0, type);
  view.setUint32(1, channel);
  view.setBigUint64(5, BigInt(seq));
  frame.set(payload, HEADER);
  return frame;
}

/** Read a binary frame from an ArrayBuffer. */
export function decodeBinary(buffer) {
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

export function encodeText(type, fields = {}) {
  return JSON.stringify({ type, ...fields });
}

export function decodeText(text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    throw new BadFrame("not JSON");
  }
  if (typeof message !== "object" || message === null || typeof message.type !== "string") {
    throw new BadFrame("a text frame is a JSON object with a string 'type'");
  }
  return message;
}

/** A whole number of a message. */
export function integer(fields, name, low, high, otherwise) {
  const value = fields[name] === undefined ? otherwise : fields[name];
  if (!Number.isSafeInteger(value) || value < low || value > high) {
    throw new BadFrame(`${fields.type}.${name} must be a whole number from ${low} to ${high}`);
  }
  return value;
}

/** A number of a message, or null where it has none there. */
export function number(fields, name) {
  const value = fields[name] ?? null;
  if (value !== null && !Number.isFinite(value)) throw new BadFrame(`${fields.type}.${name} must be a number`);
  return value;
}

/** A text of a message. */
export function text(fields, name, limit = MAX_TEXT) {
  const value = fields[name];
  if (typeof value !== "string" || value.length > limit) {
    throw new BadFrame(`${fields.type}.${name} must be a string of at most ${limit} characters`);
  }
  return value;
}

/** Columns and rows of a message. */
export function size(fields) {
  return { cols: integer(fields, "cols", 1, MAX_SIDE), rows: integer(fields, "rows", 1, MAX_SIDE) };
}

/** Read an `attached` message. */
export function readAttached(fields) {
  const offset = (name, otherwise) => integer(fields, name, 0, Number.MAX_SAFE_INTEGER, otherwise);
  const output = offset("output");
  const names = ["session", "status", "epoch", "generation", "build", "origin", "profile"];
  return {
    ...Object.fromEntries(names.map((name) => [name, text(fields, name)])),
    output,
    skipped: offset("skipped"),
    input: offset("input"),
    mode: fields.mode === "read" ? "read" : "write",
    input_unknown: fields.input_unknown === true,
    snapshot: fields.snapshot === true,
    head: offset("head", output),
    size: fields.cols === undefined ? null : size(fields), // an older server does not tell it
  };
}

/** The ms within which a server that closes with *service restart* wants us back. */
export function retryWindow(reason, otherwise) {
  const match = /retry-after=([0-9]{1,7}(?:\.[0-9]{1,6})?)/.exec(reason);
  return match ? Math.min(Number(match[1]), 60) * 1000 : otherwise;
}
