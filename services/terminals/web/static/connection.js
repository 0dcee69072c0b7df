// One terminal's connection: a WebSocket, a clock and timers around a `Conversation`, which decides.
// Knows nothing of the page.

import { Conversation } from "./conversation.js";
import { Sender } from "./rules.js";

const CUT = 4000; // a page cannot cut a connection; this code says to nobody that it was left
const MAX_TIMER = 2 ** 30; // a browser takes a longer one for none

/**
 * States given to `onState`, as `{kind, ...}`:
 * connecting {again}, connected, waiting {retryAt, reason}, breaker {retryAt, reason} (waits, too),
 * ended {status}, taken-over, unauthorized, refused {code, reason}, closed.
 * The last five stay until a person acts. Times are ms of `performance.now()`.
 */
export class Connection {
  #talk;
  #socket = null;
  #timer = null;
  #home;

  /**
   * `resume` is null or {epoch}: output is then asked for from 0, what a page without a screen needs.
   * `watch`: look on, while somebody else types.
   * `sender` carries input of an earlier page of the same `client` that was not acknowledged.
   */
  constructor({ url, token, client, session, resume, sender = new Sender(), watch, size, handlers }) {
    Object.assign(this, { handlers, sender, state: { kind: "closed" }, latency: null });
    this.#home = url;
    const epoch = resume?.epoch ?? null;
    this.#talk = new Conversation({ token }, client, { url, session, epoch, sender, watch, size, pings: true });
  }

  /** The server's last acknowledgement of an attach, or null. */
  get attached() {
    return this.#talk.attached;
  }

  open() {
    this.#tell((talk, now) => talk.open(now));
  }

  /** Do not wait any longer. */
  retryNow() {
    this.#tell((talk, now) => talk.retryNow(now));
  }

  /** The network may have changed: find out now rather than at the next heartbeat. */
  probe() {
    this.#tell((talk, now) => talk.probe(now));
  }

  /** Type bytes. Kept until the server has them. Throws RangeError when too many are waiting. */
  send(data) {
    this.#tell((talk) => talk.type(data));
  }

  /** The screen has taken output up to offset `end`. */
  consumed(end) {
    this.#tell((talk, now) => talk.consumed(now, end));
  }

  resize(cols, rows) {
    this.#tell((talk) => talk.resize(cols, rows));
  }

  /** Let go of the session; it keeps running. */
  close() {
    this.#tell((talk) => talk.close());
    this.#become({ kind: "closed" });
  }

  /** Tell the conversation something, do what it wants, and have it woken when it wants to be. */
  #tell(what) {
    what(this.#talk, performance.now());
    for (let items = this.#talk.take(); items.length; items = this.#talk.take()) {
      for (const item of items) this.#act(item);
    }
    clearTimeout(this.#timer);
    const at = this.#talk.wakeAt();
    if (at === null) return;
    const wait = Math.min(Math.max(0, at - performance.now()), MAX_TIMER);
    this.#timer = setTimeout(() => this.#tell((talk, now) => talk.tick(now)), wait);
  }

  #act(item) {
    const { handlers } = this;
    switch (item.kind) {
      case "connect": return this.#connect(item.url);
      case "send": return this.#socket?.readyState === WebSocket.OPEN && this.#socket.send(item.data);
      case "close": return this.#drop(item.code ?? CUT);
      case "connecting": return this.#become(item);
      case "connected":
        handlers.onAttached(item.attached, item);
        return this.#become({ kind: "connected" });
      case "output": return handlers.onOutput(item.data, item.end);
      case "screen": return handlers.onScreen(item.data, item.end, item.skipped);
      case "input-dropped": return handlers.onDropped(item.count);
      case "resized": return handlers.onSize(item);
      case "pong":
        this.latency = item.ms;
        return handlers.onPong();
      case "waiting": return this.#wait(item);
      case "refused":
        if (item.code === "unauthorized") return this.#become({ kind: "unauthorized" });
        return this.#become({ kind: "refused", code: item.code, reason: sentence(item.message) });
      case "ended":
        this.#talk.close();
        return this.#become(item);
      case "taken-over": return this.#become(item);
      case "lost":
      case "failed":
      case "loop": return console.info(`${item.kind}: ${item.reason}`);
    }
  }

  #wait({ until, reason, planned, breaker }) {
    this.#become({ kind: breaker ? "breaker" : "waiting", retryAt: until, reason: sentence(reason), planned });
  }

  #connect(url) {
    let socket;
    try {
      socket = new WebSocket(url);
    } catch (error) {
      if (url !== this.#home) {
        this.#tell((talk, now) => talk.lost(now, null, "", String(error.message)));
        return;
      }
      this.#talk.close();
      this.#become({ kind: "refused", code: "bad-address", reason: String(error.message) });
      return;
    }
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    const ours = (heard) => (event) => socket === this.#socket && this.#tell((talk, now) => heard(talk, now, event));
    socket.onopen = ours((talk, now) => talk.connected(now));
    socket.onmessage = ours((talk, now, { data }) => talk.received(now, data));
    socket.onclose = ours((talk, now, { code, reason }) => {
      this.#socket = null;
      talk.lost(now, code, reason);
    });
  }

  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    if (socket && socket.readyState <= WebSocket.OPEN) socket.close(code);
  }

  #become(state) {
    this.state = state;
    this.handlers.onState(state);
  }
}

/** A reason as the page shows it. */
function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
