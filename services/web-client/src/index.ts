// What another page needs to show a terminal; docs/how-to/embed.md has an example.

export { Connection } from "./connection.js";
export type { ConnectionOptions, Handlers, State } from "./connection.js";
export { Conversation } from "./conversation.js";
export type { Credentials, Item, Options, Phase } from "./conversation.js";
export type { Attached, Size } from "./frames.js";
export { randomId } from "./ids.js";
export { Multiplexer } from "./multiplexer.js";
export { Backoff, CircuitBreaker, Receiver, Sender, SequenceGap } from "./rules.js";
export type { Bytes } from "./rules.js";
