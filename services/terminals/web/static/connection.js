// One terminal's connection: stays attached to its session across lost connections and releases,
// and delivers every byte once in both directions. Knows nothing of the page.

import * as protocol from "./protocol.js";
import { Backoff, CircuitBreaker, Receiver, SequenceGap, Sender, STABLE_AFTER } from "./rules.js";

const CHANNEL = 0; // one terminal a connection: ports and generations differ from one to the next
const ACK_BYTES = 1 << 16;
const ACK_MS = 100;
const INPUT_WINDOW = 1 << 16;
const CONNECT_MS = 10000;
const PROBE_MS = 5000;
const MISSED = 3; // heartbeats without a word after which the connection is taken for lost
const REFUSALS = new Set(["unknown-session", "bad-session-id", "too-many-sessions", "bad-message"]);

/**
 * States given to `onState`, as `{kind, ...}`:
 * connecting, connected, waiting {retryAt, reason}, breaker {retryAt, reason} (waits, too),
 * ended {status}, taken-over, unauthorized, refused {code, reason}, closed.
 * The last five stay until a person acts. Times are ms of `performance.now()`.
 */
export class Connection {
  #socket = null;
  #attached = null;
  #state = { kind: "closed" };
  #breaker = new CircuitBreaker();
  #backoff = new Backoff();
  #attempt = 0;
  #retryAfter = null;
  #reason = "";
  #receiver = new Receiver();
  // Where we are as long as a screen that was announced has not come: it may be lost on its way.
  #unpainted = null;
  #live = false;
  #attachedAt = 0;
  #stable = true;
  #sent = 0;
  #acked = 0;
  #consumed = 0;
  #heard = 0;
  #heartbeat = 15000;
  #timers = {};

  /**
   * `resume` is null or {epoch}: output is then asked for from 0, what a page without a screen needs.
   * `watch`: look on, while somebody else types.
   * `sender` carries input of an earlier page of the same `client` that was not acknowledged.
   */
  constructor({ url, token, client, session, resume, sender, watch = false, size, handlers }) {
    Object.assign(this, { url, token, client, session, watch, size, handlers });
    this.sender = sender ?? new Sender();
    this.epoch = resume?.epoch ?? null;
    this.latency = null;
  }

  get state() {
    return this.#state;
  }

  /** The server's last acknowledgement of an attach, or null. */
  get attached() {
    return this.#attached;
  }

  open() {
    this.#attempt = 0;
    this.#connect();
  }

  /** Do not wait any longer. */
  retryNow() {
    if (this.#state.kind !== "waiting" && this.#state.kind !== "breaker") return;
    this.#breaker.trialNow(performance.now());
    this.#connect();
  }

  /** The network may have changed: find out now rather than at the next heartbeat. */
  probe() {
    if (this.#state.kind === "waiting") this.retryNow();
    else if (this.#live) {
      clearTimeout(this.#timers.dead); // a shorter patience than the one that is running
      this.#timers.dead = null;
      this.#ping(PROBE_MS);
    }
  }

  /** Type bytes. Kept until the server has them. Throws RangeError when too many are waiting. */
  send(data) {
    this.sender.push(data);
    this.#flush();
  }

  /** The screen has taken output up to offset `end`. */
  consumed(end) {
    this.#consumed = Math.max(this.#consumed, end);
    if (!this.#live || this.#consumed <= this.#acked) return;
    if (this.#consumed - this.#acked >= ACK_BYTES) this.#acknowledge();
    else this.#timers.ack ??= setTimeout(() => this.#acknowledge(), ACK_MS);
  }

  resize(cols, rows) {
    if (cols === this.size.cols && rows === this.size.rows) return;
    this.size = { cols, rows };
    if (this.#live) this.#text("resize", { channel: CHANNEL, ...this.size });
  }

  /** Let go of the session; it keeps running. */
  close() {
    this.#drop(1000);
    this.#become({ kind: "closed" });
  }

  // --- connecting ---------------------------------------------------------------------

  #connect() {
    clearTimeout(this.#timers.retry);
    this.#drop(1000);
    const now = performance.now();
    if (!this.#breaker.allow(now)) {
      this.#wait(this.#breaker.retryAfter(now) || this.#backoff.ceiling(0));
      return;
    }
    this.#become({ kind: "connecting", again: this.#attached !== null });
    let socket;
    try {
      socket = new WebSocket(this.url);
    } catch (error) {
      this.#become({ kind: "refused", code: "bad-address", reason: String(error.message) });
      return;
    }
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    const ours = (handle) => (event) => socket === this.#socket && handle(event);
    socket.onopen = ours(() => this.#greet());
    socket.onmessage = ours((event) => this.#message(event.data));
    socket.onclose = ours((event) => this.#lost(event.code, event.reason));
    this.#timers.connect = setTimeout(() => this.#lost(0, "no answer in time"), CONNECT_MS);
  }

  #greet() {
    this.#text("hello", { versions: protocol.VERSIONS, token: this.token, client: this.client });
    if (!this.watch) this.#attach();
  }

  #welcome({ version, heartbeat }) {
    this.#heartbeat = (Number(heartbeat) || 15) * 1000;
    if (!this.watch) return;
    // An older server would take "read" for nothing and the session from whoever types there.
    if (version >= 2) return this.#attach();
    this.#drop(1000);
    this.#become({ kind: "refused", code: "unavailable", reason: "This server is too old for watching a session." });
  }

  #attach() {
    const output = this.#unpainted ?? this.#receiver.received;
    const resume = this.epoch === null ? null : { output, epoch: this.epoch };
    const mode = this.watch ? "read" : "write";
    this.#text("attach", { channel: CHANNEL, session: this.session, ...this.size, resume, mode });
  }

  #acknowledged(fields) {
    const fresh = this.#attached === null;
    let dropped = 0;
    if (fields.input_unknown) dropped = this.sender.restart(fields.input);
    else this.sender.ack(fields.input);
    if (fields.snapshot && fields.skipped) this.#unpainted ??= this.#receiver.received;
    else this.#unpainted = null;
    this.#receiver.received = this.#acked = fields.output;
    this.#sent = this.sender.acked;
    this.#attached = fields;
    this.session = fields.session;
    this.epoch = fields.epoch;
    this.#live = true;
    this.#attachedAt = performance.now();
    this.#stable = false;
    this.#reason = "";
    clearTimeout(this.#timers.connect);
    this.#timers.stable = setTimeout(() => this.#checkStable(), STABLE_AFTER);
    this.#timers.beat = setInterval(() => this.#ping(MISSED * this.#heartbeat), this.#heartbeat);
    this.handlers.onAttached(fields, fresh);
    if (dropped) this.handlers.onDropped(dropped);
    this.#become({ kind: "connected" });
    this.#ping(MISSED * this.#heartbeat);
    this.#flush();
  }

  // --- losing ---------------------------------------------------------------------------

  #drop(code) {
    for (const name of ["connect", "stable", "dead", "ack"]) clearTimeout(this.#timers[name]);
    clearTimeout(this.#timers.retry);
    clearInterval(this.#timers.beat);
    this.#timers = {};
    const socket = this.#socket;
    this.#socket = null;
    this.#live = false;
    if (socket && socket.readyState <= WebSocket.OPEN) socket.close(code);
  }

  #lost(code, reason) {
    const wasLive = this.#live;
    const now = performance.now();
    if (wasLive) this.#checkStable();
    this.#drop(4000);
    const action = protocol.closeAction(code);
    if (action === "stop") {
      return this.#become({ kind: code === protocol.CLOSE.takenOver ? "taken-over" : "unauthorized" });
    }
    if (wasLive && action === "return") {
      this.#attempt = 0;
      // The trial did not fail, and nobody else may try.
      if (this.#breaker.state === "half-open") this.#breaker.success();
      this.#reason = "The server is being replaced.";
      const window = protocol.retryWindow(reason, this.#backoff.ceiling(0));
      return this.#wait(Math.random() * window, true);
    }
    this.#reason ||= wasLive ? "The connection was lost." : "The server cannot be reached.";
    let wait = this.#backoff.delay(this.#attempt);
    this.#attempt += 1;
    if (this.#retryAfter !== null) {
      // The server has said when; spread over half as much again, not all at that moment.
      wait = this.#retryAfter * (1 + Math.random() / 2);
      this.#retryAfter = null;
      if (this.#breaker.state === "half-open") this.#breaker.failure(now);
    } else if (!(wasLive && this.#stable)) {
      this.#breaker.failure(now);
    }
    this.#wait(Math.max(wait, this.#breaker.retryAfter(now)));
  }

  #wait(ms, planned = false) {
    const kind = this.#breaker.state === "open" ? "breaker" : "waiting";
    this.#timers.retry = setTimeout(() => this.#connect(), ms);
    this.#become({ kind, retryAt: performance.now() + ms, reason: this.#reason, planned });
  }

  #checkStable() {
    if (!this.#stable && performance.now() - this.#attachedAt >= STABLE_AFTER) {
      this.#stable = true;
      this.#attempt = 0;
      this.#breaker.success();
    }
  }

  #ping(patience) {
    this.#text("ping", { t: performance.now() });
    const asked = performance.now();
    this.#timers.dead ??= setTimeout(() => {
      this.#timers.dead = null;
      if (this.#heard < asked) this.#lost(0, "nothing heard");
    }, patience);
  }

  // --- messages -------------------------------------------------------------------------

  #message(data) {
    this.#heard = performance.now();
    clearTimeout(this.#timers.dead);
    this.#timers.dead = null;
    try {
      if (typeof data === "string") this.#control(protocol.decodeText(data));
      else this.#binary(protocol.decodeBinary(data));
    } catch (error) {
      if (!(error instanceof protocol.BadFrame || error instanceof SequenceGap)) throw error;
      this.#reason = "The server broke the protocol.";
      console.warn(error.message);
      this.#lost(0, error.message);
    }
  }

  #binary({ type, channel, seq, payload }) {
    if (channel !== CHANNEL || !this.#live) return;
    if (type === protocol.ACK) {
      this.sender.ack(seq);
      this.#flush();
      return;
    }
    if (type === protocol.SNAPSHOT) {
      this.#unpainted = null;
      this.handlers.onScreen(payload, seq, this.#receiver.jump(seq));
      return;
    }
    const fresh = this.#receiver.accept(seq, payload);
    if (fresh.length) this.handlers.onOutput(fresh, this.#receiver.received);
  }

  #control(fields) {
    switch (fields.type) {
      case "welcome":
        this.#welcome(fields);
        break;
      case "attached":
        this.#acknowledged(fields);
        break;
      case "pong":
        this.latency = performance.now() - fields.t;
        this.handlers.onPong?.();
        break;
      case "exit":
        this.#drop(1000);
        this.#become({ kind: "ended", status: fields.status });
        break;
      case "error":
        this.#refused(fields);
        break;
    }
  }

  #refused({ code, message, retry_after: retryAfter }) {
    if (code === "unauthorized" || code === "taken-over") {
      this.#drop(1000);
      this.#become({ kind: code });
    } else if (code === "session-ended" || (REFUSALS.has(code) && !this.#live)) {
      this.#drop(1000);
      this.#breaker.success(); // the server works; it is us that it does not want
      this.#become({ kind: "refused", code, reason: message });
    } else if (!this.#live) {
      this.#reason = message;
      this.#retryAfter = typeof retryAfter === "number" ? retryAfter * 1000 : null;
      this.#lost(0, message);
    }
  }

  #flush() {
    if (!this.#live) return;
    this.#sent = Math.max(this.#sent, this.sender.acked);
    while (this.#sent < this.sender.end && this.#sent - this.sender.acked < INPUT_WINDOW) {
      const data = this.sender.from(this.#sent, protocol.MAX_INPUT);
      this.#socket.send(protocol.encodeBinary(protocol.DATA, CHANNEL, this.#sent, data));
      this.#sent += data.length;
    }
  }

  #acknowledge() {
    clearTimeout(this.#timers.ack);
    this.#timers.ack = undefined;
    if (!this.#live || this.#consumed <= this.#acked) return;
    this.#acked = this.#consumed;
    this.#socket.send(protocol.encodeBinary(protocol.ACK, CHANNEL, this.#acked));
  }

  #text(type, fields) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(protocol.encodeText(type, fields));
  }

  #become(state) {
    this.#state = state;
    this.handlers.onState(state);
  }
}
