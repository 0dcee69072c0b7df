// The client's side of a conversation, without I/O: the twin of `terminals.protocol.client`, which says more
// about each part. It decides when to connect, what to say, what a lost connection means, when to try again
// and when never. It is told what has happened, with the time in ms of any one clock, and `take()` gives what
// is to be done and what has come of it, in order:
//
// Both run the conversations of vectors.json.

import * as protocol from "./frames.js";
import type { Attached, BinaryFrame, Fields, Recording, Size } from "./frames.js";
import { Backoff, CircuitBreaker, LOOP_THRESHOLD, Receiver, SequenceGap, Sender, STABLE_AFTER } from "./rules.js";
import type { Bytes } from "./rules.js";
import { Transfers } from "./transfers.js";
import type { TransferItem } from "./transfers.js";

const CHANNEL = 0; // one terminal a connection: ports and generations differ from one to the next
const ACK_BYTES = 1 << 16;
const ACK_MS = 100; // so long after one acknowledgement the next one waits, or until so many bytes have come
const INPUT_WINDOW = 1 << 16; // bytes sent ahead of what the shell's terminal has taken
const ASK_MS = 3000; // between two questions out of turn whether the server is there
const CONNECT_MS = 10000;
const PROBE_MS = 5000;
const LONGEST = 3600; // seconds: the longest heartbeat, and time to come again after, that a server is believed
const HEARTBEAT = 15000;
const MISSED = 3; // heartbeats without a word after which the connection is taken for lost
const FORGET_MS = 30000; // a session that was attached so shortly ago, and is unknown, may be known again soon
const WATCHING_SINCE = 2; // an older server takes a watcher for somebody who types
const MAX_HOPS = 3; // so often a client is sent on to another address before it has found its session
const ADDRESS = new RegExp(
  "^wss?://([A-Za-z0-9_-]{1,63}(\\.[A-Za-z0-9_-]{1,63}){0,15}|\\[[0-9A-Fa-f:.]{2,45}\\])" +
    "(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?" +
    '([/?][!"$-~]{0,1900})?$',
);
const NORMAL = 1000;
// Errors that answer an attach for good: asking again would give the same.
const FINAL = new Set(["unauthorized", "unknown-session", "taken-over", "bad-session-id", "too-many-sessions", "bad-message"]);
// Errors that end an attach which is in force. Others only tell of a message that was not understood.
const FINAL_LATER = new Set(["unauthorized", "taken-over"]);
/** Phases of an attempt, and what has not come in time where it takes too long. */
const ATTEMPT: ReadonlyMap<Phase, string> = new Map([
  ["connecting", "no answer"],
  ["greeting", "no welcome"],
  ["attaching", "the attach was not acknowledged"],
]);

/** What is to be done. `close`: with a code, or null: cut it. */
export type Order =
  | { readonly kind: "connect"; readonly url: string }
  | { readonly kind: "send"; readonly data: string | Bytes }
  | { readonly kind: "close"; readonly code: number | null };

/** What has come of it. Times are in ms, offsets in bytes since the stream's start. */
export type Happening =
  | { readonly kind: "connecting"; readonly again: boolean }
  | { readonly kind: "elsewhere"; readonly url: string }
  | HostLost
  | Connected
  | ({ readonly kind: "resized" } & Size)
  | { readonly kind: "recording"; readonly state: Recording }
  | { readonly kind: "output"; readonly data: Bytes; readonly end: number }
  | { readonly kind: "screen"; readonly data: Bytes; readonly end: number; readonly skipped: number }
  | { readonly kind: "input-dropped"; readonly count: number }
  | { readonly kind: "pong"; readonly ms: number }
  | { readonly kind: "lost"; readonly planned: boolean; readonly reason: string; readonly lasted: number }
  | { readonly kind: "loop"; readonly reason: string }
  | { readonly kind: "failed"; readonly reason: string; readonly ms: number }
  | Waiting
  | { readonly kind: "ended"; readonly status: number }
  | { readonly kind: "taken-over" }
  | { readonly kind: "refused"; readonly code: string; readonly message: string }
  | TransferItem;

/** The attach is acknowledged. `missed`: output bytes that a client which was attached before will not see. */
export interface Connected {
  readonly kind: "connected";
  readonly attached: Attached;
  readonly reconnect: boolean;
  readonly planned: boolean;
  readonly away: number;
  readonly attempt: number;
  readonly attach: number;
  readonly missed: number;
}

/** The host of the session has not been heard of since then, in Unix seconds, where that is told. It may be back, and is
 * asked for again; what ran there may be gone. `screen`: the last one that is known, where that shows more than the
 * client has seen; the same one is told once. */
export interface HostLost {
  readonly kind: "host-lost";
  readonly since: number | null;
  readonly message: string;
  readonly screen: protocol.LastScreen | null;
}

/** The next attempt is at `until`. `breaker`: it is open. */
export interface Waiting {
  readonly kind: "waiting";
  readonly until: number;
  readonly reason: string;
  readonly planned: boolean;
  readonly breaker: boolean;
}

export type Item = Order | Happening;

export type Phase = "closed" | "waiting" | "connecting" | "greeting" | "attaching" | "attached" | "stopped";

/** What a client shows to be let in; nothing, where a browser has signed in. */
export type Credentials = { token: string } | { ticket: string } | Record<string, never>;

export interface Options {
  /** Where the server is, which may send the client on to another one. */
  readonly url?: string;
  /** The session to attach to; null: a new one. */
  readonly session?: string | null;
  /** Of a `session` that is to be shown from its beginning on. */
  readonly epoch?: string | null;
  /** Look on, without typing. */
  readonly watch?: boolean;
  readonly size?: Size;
  /** Carries input of an earlier conversation of the same client that was not acknowledged. */
  readonly sender?: Sender;
  readonly backoff?: Backoff;
  readonly breaker?: CircuitBreaker;
  readonly stableAfter?: number;
  readonly connectTimeout?: number;
  readonly forgetAfter?: number;
  /** Ask the server for a sign of life, for whoever does not see those that it gives itself. */
  readonly pings?: boolean;
  readonly versions?: readonly number[];
}

export class Conversation {
  phase: Phase = "closed";
  attached: Attached | null = null;
  version = 1;
  reason = "";
  #items: Item[] = [];
  /** Of files. */
  readonly transfers = new Transfers(CHANNEL, (item) => this.#items.push(item));
  // Of the streams.
  #receiver = new Receiver();
  #unpainted: number | null = null; // where we are as long as a screen that was announced has not come
  #sent = 0;
  #acked = 0;
  #consumed = 0;
  // Of this connection.
  #began = 0;
  #linked = 0;
  #attachedAt = 0;
  #stable = true;
  #ended = false;
  #heartbeat = HEARTBEAT;
  #toldSize: Size;
  #ackedAt = 0;
  #ackAt: number | null = null;
  #pingAt: number | null = null;
  #pinged = -Infinity;
  /** When the server was asked for a sign of life, and has given none since; null: it has. */
  unanswered: number | null = null;
  #deadAt: number | null = null;
  // Across connections.
  #lostAt: number | null = null;
  #planned = false;
  #attempt = 0;
  #unstable = 0;
  #retryAfter: number | null = null;
  #until = 0;
  #shownAt: number | null = null; // when the last screen was made that was told
  #earliest = 0; // the server has told it not to come sooner
  readonly #home: string; // the address that was given, and ...
  #url: string; // ... the one to connect to: where the session was found
  #askedAt: Set<string>; // addresses that this attempt has come by

  readonly client: string;
  readonly sender: Sender;
  readonly breaker: CircuitBreaker;
  readonly backoff: Backoff;
  readonly watch: boolean;
  credentials: Credentials;
  session: string | null;
  epoch: string | null;
  size: Size;
  readonly #stableAfter: number;
  readonly #connectTimeout: number;
  readonly #forgetAfter: number;
  readonly #pings: boolean;
  readonly #versions: readonly number[];

  /** `client`: a random id of this client. */
  constructor(credentials: Credentials, client: string, options: Options = {}) {
    this.credentials = { ...credentials };
    this.client = client;
    this.session = options.session ?? null;
    this.epoch = options.epoch ?? null;
    this.watch = options.watch ?? false;
    this.size = options.size ?? { cols: 80, rows: 24 };
    this.sender = options.sender ?? new Sender();
    this.backoff = options.backoff ?? new Backoff();
    this.breaker = options.breaker ?? new CircuitBreaker();
    this.#stableAfter = options.stableAfter ?? STABLE_AFTER;
    this.#connectTimeout = options.connectTimeout ?? CONNECT_MS;
    this.#forgetAfter = options.forgetAfter ?? FORGET_MS;
    this.#pings = options.pings ?? false;
    this.#versions = options.versions ?? protocol.VERSIONS;
    this.#toldSize = this.size;
    this.#home = this.#url = options.url ?? "";
    this.#askedAt = new Set([this.#url]);
  }

  // --- what a user looks at ---------------------------------------------------------------

  /** Show this from now on: where it is sent to, a browser is not known by its cookie. */
  present(credentials: Credentials): void {
    this.credentials = { ...credentials };
  }

  /** What is to be done and what has happened since the last call, in order. */
  take(): Item[] {
    const items = this.#items;
    this.#items = [];
    return items;
  }

  /** When `tick` is to be called if nothing else happens before; null: never. */
  wakeAt(): number | null {
    if (this.phase === "waiting") return this.#until;
    if (ATTEMPT.has(this.phase)) return this.#began + this.#connectTimeout;
    if (this.phase !== "attached") return null;
    const stableAt = this.#stable ? null : this.#attachedAt + this.#stableAfter;
    const due = [this.#ackAt, this.#pingAt, this.#deadAt, stableAt].filter((at) => at !== null);
    return due.length ? Math.min(...due) : null;
  }

  // --- what a user wants ------------------------------------------------------------------

  /** Connect and attach, and stay so; also after it has stopped. */
  open(now: number): void {
    this.#lostAt ??= now;
    this.#attempt = 0;
    this.#url = this.#home;
    this.#connect(now);
  }

  /** Let go of the session, which keeps running; `kill` ends its shell. */
  close({ kill = false } = {}): void {
    if (kill && this.phase === "attached") this.#text("kill", { channel: CHANNEL });
    this.#leave("closed");
  }

  /** Type bytes. Kept until the server has them. Throws RangeError when too many are waiting. */
  type(data: Bytes): void {
    this.sender.push(data);
    this.#flush();
  }

  resize(cols: number, rows: number): void {
    this.size = { cols, rows };
    this.#tellSize();
  }

  /** Whoever uses the terminal has done with output before offset `end`: more may come. */
  consumed(now: number, end: number): void {
    this.#consumed = Math.max(this.#consumed, end);
    if (this.phase !== "attached" || this.#consumed <= this.#acked) return;
    this.#ackAt = this.#ackedAt + ACK_MS;
    if (this.#consumed - this.#acked >= ACK_BYTES || now >= this.#ackAt) this.#acknowledge(now);
  }

  /** Do not wait any longer: a person asks. */
  retryNow(now: number): void {
    if (this.phase !== "waiting") return;
    this.breaker.trialNow(now);
    this.#connect(now);
  }

  /** Do not wait any longer than the server or the breaker has it: another of the page's terminals connects now. */
  comeAlong(now: number): void {
    if (this.phase === "waiting" && now >= this.#earliest && this.breaker.retryAfter(now) === 0) this.#connect(now);
  }

  /** The network may have changed: find out now, rather than at the next heartbeat. */
  probe(now: number): void {
    if (this.phase === "attached") this.#ping(now, PROBE_MS);
    else if (this.phase === "waiting" && this.breaker.state !== "open") this.#connect(now);
  }

  /** Ask for a sign of life before it is due: somebody wants to see whether the server is there. */
  ask(now: number): void {
    if (this.phase === "attached" && now >= this.#pinged + ASK_MS) this.#ping(now, MISSED * this.#heartbeat);
  }

  /** Cut the connection as a lost network does, to come back at once. No failure. */
  cut(now: number): void {
    if (this.phase !== "attached") return;
    this.#items.push({ kind: "close", code: null });
    this.#detached(now, null, "", "cut on purpose", true);
  }

  // --- what happens -----------------------------------------------------------------------

  /** There is a connection. */
  connected(now: number): void {
    if (this.phase !== "connecting") return;
    this.#linked = now;
    this.#text("hello", { versions: this.#versions, client: this.client, ...this.credentials });
    if (this.watch) this.phase = "greeting";
    else this.#attach();
  }

  /** There is no connection any more, or none came about; `code` and `reason` are of the server's goodbye. */
  lost(now: number, code: number | null = null, reason = "", text = ""): void {
    const usual = {
      "return": "the server is being replaced",
      "stop": reason || "the server does not want this client",
      "back-off": this.phase === "attached" ? "the connection was lost" : "the server cannot be reached",
    };
    const told = text || usual[protocol.closeAction(code)];
    if (ATTEMPT.has(this.phase)) this.#failed(now, code, reason, told);
    else if (this.phase === "attached") this.#detached(now, code, reason, told);
  }

  /** Something has come from the server, if only a sign of life. */
  heard(now: number): void {
    this.unanswered = null;
    if (this.phase === "attached") this.#deadAt = this.#pings ? null : now + MISSED * this.#heartbeat;
  }

  /** A message has come: a string, or an ArrayBuffer. */
  received(now: number, message: string | ArrayBuffer): void {
    if (!ATTEMPT.has(this.phase) && this.phase !== "attached") return; // it has crossed our goodbye
    this.heard(now);
    try {
      if (typeof message === "string") this.#control(now, protocol.decodeText(message));
      else this.#binary(protocol.decodeBinary(message));
    } catch (error) {
      if (!(error instanceof protocol.BadFrame || error instanceof SequenceGap)) throw error;
      this.#items.push({ kind: "close", code: null });
      this.lost(now, null, "", `the server broke the protocol: ${error.message}`);
    }
  }

  /** Do what is due. Tell of what has been received before calling it. */
  tick(now: number): void {
    if (this.phase === "waiting") {
      if (now >= this.#until) this.#connect(now);
    } else if (ATTEMPT.has(this.phase)) {
      if (now < this.#began + this.#connectTimeout) return;
      this.#items.push({ kind: "close", code: null });
      this.#failed(now, null, "", `${String(ATTEMPT.get(this.phase))} in time`);
    } else if (this.phase === "attached") {
      this.#beat(now);
    }
  }

  // --- an attempt -------------------------------------------------------------------------

  #connect(now: number): void {
    this.#leave("waiting");
    if (!this.breaker.allow(now)) {
      this.#wait(now, 0);
      return;
    }
    this.#askedAt = new Set([this.#url]);
    this.#items.push({ kind: "connecting", again: this.attached !== null });
    this.#call(now);
  }

  #call(now: number): void {
    this.phase = "connecting";
    this.#began = now;
    this.#items.push({ kind: "connect", url: this.#url });
  }

  /** The session is at another address. */
  #sentOn(now: number, fields: Fields): void {
    const url = protocol.text(fields, "url", 2048);
    this.#items.push({ kind: "close", code: NORMAL });
    if (!ADDRESS.test(url) || (this.#url.toLowerCase().startsWith("wss:") && !url.startsWith("wss:"))) {
      this.#failed(now, null, "", "the server names an address that is none");
    } else if (this.#askedAt.has(url) || this.#askedAt.size > MAX_HOPS) {
      this.#failed(now, null, "", "the servers send this client in a circle");
    } else {
      this.#askedAt.add(url);
      this.#url = url;
      this.#items.push({ kind: "elsewhere", url });
      this.#call(now);
    }
  }

  #attach(): void {
    const output = this.#unpainted ?? this.#receiver.received;
    const resume = this.epoch === null ? null : { output, epoch: this.epoch };
    const mode = this.watch ? "read" : "write";
    this.#toldSize = this.size;
    this.#text("attach", { channel: CHANNEL, session: this.session, ...this.size, resume, mode });
    this.phase = "attaching";
  }

  #welcomed(now: number, { version, heartbeat, ticket }: Fields): void {
    this.version = typeof version === "number" && Number.isInteger(version) ? version : 1;
    if (typeof heartbeat === "number" && heartbeat > 0 && heartbeat <= LONGEST) this.#heartbeat = heartbeat * 1000;
    this.#renew(ticket);
    if (this.phase !== "greeting") return;
    if (this.version >= WATCHING_SINCE) this.#attach();
    else this.#refuse(now, "unavailable", "the server is too old for watching a session");
  }

  #renew(ticket: unknown): void {
    if (typeof ticket === "string" && "ticket" in this.credentials) this.credentials.ticket = ticket;
  }

  #acknowledged(now: number, fields: Fields): void {
    const attached = protocol.readAttached(fields);
    let dropped = 0;
    if (attached.input_unknown && this.sender.acked < attached.input) dropped = this.sender.restart(attached.input);
    else this.sender.ack(attached.input);
    const had = this.#receiver.received;
    if (attached.snapshot && attached.skipped) this.#unpainted ??= had;
    else this.#unpainted = null;
    this.#receiver.received = this.#acked = this.#consumed = attached.output;
    this.#sent = this.sender.acked;
    const reconnect = this.attached !== null;
    const missed = reconnect ? Math.max(0, attached.output - had) : 0;
    Object.assign(this, { attached, session: attached.session, epoch: attached.epoch });
    this.phase = "attached";
    this.#attachedAt = this.#ackedAt = now;
    this.#stable = this.#ended = false;
    this.#items.push({
      kind: "connected", attached, reconnect, planned: this.#planned, away: now - (this.#lostAt ?? this.#began),
      attempt: now - this.#began, attach: now - this.#linked, missed,
    });
    if (dropped) this.#items.push({ kind: "input-dropped", count: dropped });
    this.#lostAt = null;
    this.reason = "";
    this.heard(now);
    if (this.#pings) this.#ping(now, MISSED * this.#heartbeat);
    this.#tellSize();
    this.#flush();
    this.transfers.attached(attached.files);
  }

  // --- how it ends ------------------------------------------------------------------------

  /** An attempt came to nothing. */
  #failed(now: number, code: number | null, reason: string, text: string): void {
    this.#giveUp(now, text);
    const action = protocol.closeAction(code);
    // One that is told to come back has not failed; but who is told so again and again slows down.
    if (action === "stop") this.#stop(code, reason);
    else this.#schedule(now, action !== "return");
  }

  #giveUp(now: number, text: string): void {
    this.reason = text;
    this.#items.push({ kind: "failed", reason: text, ms: now - this.#began });
    this.#url = this.#home; // wherever it was, it may be somewhere else by now
  }

  /** Not now, as the server says; that is no failure. `after`: ms, or null. */
  #comeAgain(now: number, text: string, after: number | null): void {
    this.#items.push({ kind: "close", code: NORMAL });
    this.#giveUp(now, text);
    this.#retryAfter = after;
    this.#schedule(now, false);
  }

  /** An attach is over that was in force. `wanted`: by us. */
  #detached(now: number, code: number | null, reason: string, text: string, wanted = false): void {
    if (this.#ended && !wanted) {
      this.#become("stopped");
      return;
    }
    this.#settle(now);
    const action = protocol.closeAction(code);
    this.#planned = action === "return";
    this.#lostAt = now;
    this.reason = text;
    this.#items.push({ kind: "lost", planned: this.#planned, reason: this.reason, lasted: now - this.#attachedAt });
    if (action === "stop") {
      this.#stop(code, reason);
    } else if (this.#planned || wanted) {
      // The trial did not fail, and nobody else may try.
      if (this.breaker.state === "half-open") this.breaker.success();
      let wait = this.backoff.uniform(0, protocol.retryWindow(reason, this.backoff.ceiling(0)));
      if (!(this.#stable || wanted)) {
        // A server that sends everybody away at once is a loop, too, whatever it calls that.
        wait = Math.max(wait, this.backoff.delay(this.#attempt));
        this.#attempt += 1;
      }
      this.#wait(now, wait, this.#planned);
    } else {
      if (!this.#stable) {
        this.#unstable += 1;
        if (this.#unstable >= LOOP_THRESHOLD) this.#items.push({ kind: "loop", reason: this.reason });
      }
      this.#schedule(now, !this.#stable);
    }
  }

  /** Decide when to try again. `failure`: it counts for the breaker. */
  #schedule(now: number, failure: boolean): void {
    let wait = this.backoff.delay(this.#attempt);
    this.#attempt += 1;
    this.#earliest = now;
    if (this.#retryAfter !== null) {
      // The server has said when; spread over half as much again, not all at that moment. And who is told
      // "at once" again and again must not knock without a pause.
      const least = Math.max(this.#retryAfter, this.backoff.ceiling(0));
      this.#earliest = now + least;
      wait = least * this.backoff.uniform(1, 1.5);
      this.#retryAfter = null;
      failure = this.breaker.state === "half-open";
    }
    if (failure) this.breaker.failure(now);
    this.#wait(now, wait);
  }

  #wait(now: number, ms: number, planned = false): void {
    this.#become("waiting");
    this.#until = now + Math.max(ms, this.breaker.retryAfter(now));
    const breaker = this.breaker.state === "open";
    this.#items.push({ kind: "waiting", until: this.#until, reason: this.reason, planned, breaker });
  }

  /** The server has closed for good. */
  #stop(code: number | null, reason: string): void {
    this.#become("stopped");
    if (code === protocol.CLOSE.takenOver) this.#items.push({ kind: "taken-over" });
    else {
      const known = code === protocol.CLOSE.unauthorized ? "unauthorized" : "refused";
      this.#items.push({ kind: "refused", code: known, message: reason });
    }
  }

  /** An error has told us not to come back. */
  #refuse(now: number, code: string, message: string): void {
    if (this.phase === "attached") {
      this.#items.push({ kind: "lost", planned: false, reason: message, lasted: now - this.#attachedAt });
    } else {
      this.breaker.success(); // the server works; it is us that it does not want
    }
    this.reason = message;
    this.#leave("stopped");
    this.#items.push(code === "taken-over" ? { kind: "taken-over" } : { kind: "refused", code, message });
  }

  /** Close the connection, if there is one. */
  #leave(phase: Phase): void {
    if (ATTEMPT.has(this.phase) || this.phase === "attached") this.#items.push({ kind: "close", code: NORMAL });
    this.#become(phase);
  }

  /** There is no connection any more: forget what was due on it. */
  #become(phase: Phase): void {
    this.phase = phase;
    this.transfers.detached();
    this.#ackAt = this.#pingAt = this.#deadAt = this.unanswered = null;
  }

  // --- messages ---------------------------------------------------------------------------

  #control(now: number, fields: Fields): void {
    const opening = this.phase === "greeting" || this.phase === "attaching";
    switch (`${opening ? "opening" : this.phase} ${fields.type}`) {
      case "opening welcome":
        this.#welcomed(now, fields);
        break;
      case "opening attached":
        if (this.phase === "attaching") this.#acknowledged(now, fields);
        break;
      case "opening error":
        this.#rejected(now, fields);
        break;
      case "opening retry-later":
        this.#comeAgain(now, String(fields["reason"]), afterMs(fields, "after"));
        break;
      case "opening elsewhere":
        this.#sentOn(now, fields);
        break;
      case "attached ticket":
        this.#renew(fields["ticket"]);
        break;
      case "attached size":
        this.#items.push({ kind: "resized", ...protocol.size(fields) });
        break;
      case "attached recording":
        this.#items.push({ kind: "recording", state: protocol.recording(fields["state"]) });
        break;
      case "attached error":
        if (FINAL_LATER.has(String(fields["code"]))) this.#refuse(now, String(fields["code"]), String(fields["message"]));
        break;
      case "attached exit": {
        const status = protocol.integer(fields, "status", -255, 255);
        this.#ended = true;
        this.#items.push({ kind: "ended", status });
        break;
      }
      case "attached pong": {
        const asked = protocol.number(fields, "t");
        if (asked !== null) this.#items.push({ kind: "pong", ms: now - asked });
        break;
      }
      default: // of files, or a newer server's: it may add to what it says
        if (this.phase === "attached") this.transfers.control(fields);
    }
  }

  #rejected(now: number, fields: Fields): void {
    const code = String(fields["code"]);
    const message = String(fields["message"]);
    const wasAttached = this.attached !== null && this.#lostAt !== null && now < this.#lostAt + this.#forgetAfter;
    if (code === "unknown-session" && wasAttached) {
      this.#comeAgain(now, message, null);
      return;
    }
    if (code === "host-lost") {
      const known = protocol.lastScreen(fields);
      const screen = known?.at === this.#shownAt ? null : known;
      if (screen) this.#shownAt = screen.at;
      this.#items.push({ kind: "host-lost", since: protocol.number(fields, "since"), message, screen });
      this.#comeAgain(now, message, afterMs(fields, "retry_after"));
      return;
    }
    if (FINAL.has(code)) {
      this.#refuse(now, code, message);
      return;
    }
    this.#retryAfter = afterMs(fields, "retry_after");
    this.#items.push({ kind: "close", code: NORMAL });
    this.#failed(now, null, "", message);
  }

  #binary(frame: BinaryFrame): void {
    const { type, channel, seq, payload } = frame;
    if (channel !== CHANNEL) {
      this.transfers.binary(frame);
      return;
    }
    if (this.phase !== "attached") throw new protocol.BadFrame("data before the attach was acknowledged");
    if (type === protocol.ACK) {
      this.sender.ack(seq);
      this.#flush();
    } else if (type === protocol.SNAPSHOT) {
      const skipped = this.#receiver.jump(seq);
      this.#unpainted = null;
      this.#items.push({ kind: "screen", data: payload, end: seq, skipped });
    } else {
      const data = this.#receiver.accept(seq, payload);
      if (data.length) this.#items.push({ kind: "output", data, end: this.#receiver.received });
    }
  }

  #text(type: string, fields: object): void {
    this.#items.push({ kind: "send", data: protocol.encodeText(type, fields) });
  }

  #flush(): void {
    if (this.phase !== "attached") return;
    this.#sent = Math.max(this.#sent, this.sender.acked);
    while (this.#sent < this.sender.end && this.#sent - this.sender.acked < INPUT_WINDOW) {
      const piece = this.sender.from(this.#sent, protocol.MAX_INPUT);
      this.#items.push({ kind: "send", data: protocol.encodeBinary(protocol.DATA, CHANNEL, this.#sent, piece) });
      this.#sent += piece.length;
    }
  }

  #acknowledge(now: number): void {
    this.#ackAt = null;
    this.#acked = this.#consumed;
    this.#ackedAt = now;
    this.#items.push({ kind: "send", data: protocol.encodeBinary(protocol.ACK, CHANNEL, this.#acked) });
  }

  /** Also of a size that came while the attach was on its way. */
  #tellSize(): void {
    const { cols, rows } = this.size;
    if (this.phase !== "attached" || (cols === this.#toldSize.cols && rows === this.#toldSize.rows)) return;
    this.#toldSize = this.size;
    this.#text("resize", { channel: CHANNEL, ...this.size });
  }

  // --- what is due while attached ---------------------------------------------------------

  #beat(now: number): void {
    this.#settle(now);
    if (this.#deadAt !== null && now >= this.#deadAt) {
      this.#items.push({ kind: "close", code: null });
      this.lost(now, null, "", "nothing was heard from the server");
      return;
    }
    if (this.#ackAt !== null && now >= this.#ackAt) this.#acknowledge(now);
    if (this.#pingAt !== null && now >= this.#pingAt) this.#ping(now, MISSED * this.#heartbeat);
  }

  /** Ask for a sign of life. Only one that was asked for can be missed: who slept has not asked. */
  #ping(now: number, patience: number): void {
    this.#text("ping", { t: Math.round(now * 1000) / 1000 });
    this.#pinged = now;
    this.unanswered ??= now;
    this.#deadAt = Math.min(now + patience, this.#deadAt ?? Infinity);
    if (this.#pings) this.#pingAt = now + this.#heartbeat;
  }

  #settle(now: number): void {
    if (this.#stable || now < this.#attachedAt + this.#stableAfter) return;
    this.#stable = true;
    this.#unstable = this.#attempt = 0;
    this.breaker.success();
  }
}

/** The ms after which a server wants us back, or null where it does not say. */
function afterMs(fields: Fields, name: string): number | null {
  const after = protocol.number(fields, name);
  return after === null ? null : Math.min(Math.max(0, after), LONGEST) * 1000;
}
