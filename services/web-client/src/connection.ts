// One terminal's connection: a channel of a WebSocket, a clock and timers around a `Conversation`, which decides.
// Knows nothing of the page.

import { Conversation } from "./conversation.js";
import type { Connected, Credentials, Item, Waiting } from "./conversation.js";
import type { Attached, LastScreen, Recording, Size } from "./frames.js";
import { Multiplexer } from "./multiplexer.js";
import type { Line, Listener } from "./multiplexer.js";
import { Sender } from "./rules.js";
import type { Bytes } from "./rules.js";
import type { TransferItem, Transfers } from "./transfers.js";

const MAX_TIMER = 2 ** 30; // a browser takes a longer one for none

/** How a connection stands. The last five stay until a person acts. Times are ms of `performance.now()`. */
export type State =
  | { readonly kind: "connecting"; readonly again: boolean }
  | { readonly kind: "connected" }
  /** It waits for the next attempt; `breaker`: because several have failed. */
  | {
      readonly kind: "waiting" | "breaker";
      readonly retryAt: number;
      readonly reason: string;
      readonly planned: boolean;
      /** Nobody has heard of the session's host for long: it may be gone for good. */
      readonly hostLost?: boolean;
    }
  | { readonly kind: "ended"; readonly status: number }
  | { readonly kind: "taken-over" }
  | { readonly kind: "unauthorized" }
  | { readonly kind: "refused"; readonly code: string; readonly reason: string }
  | { readonly kind: "closed" };

/** What a connection tells whoever uses it. */
export interface Handlers {
  /** The session is attached; its screen begins anew at `attached.output`, unless that follows what was shown. */
  onAttached(attached: Attached, how: Connected): void;
  /** So many bytes that were typed may not have arrived, and are not sent again. */
  onDropped(count: number): void;
  /** Output; call {@link Connection.consumed} with `end` once it is shown. */
  onOutput(data: Bytes, end: number): void;
  /** A whole screen, in place of `skipped` bytes of output. */
  onScreen(screen: Bytes, end: number, skipped: number): void;
  /** The session's host is lost, and this is what is left of it, where nothing was shown yet; `onAttached` ends it. */
  onLastScreen?(screen: LastScreen): void;
  /** A terminal that is watched has another size. */
  onSize(size: Size): void;
  /** The session is recorded from now on, or is not any more; whether it is at first says `attached`. */
  onRecording?(state: Recording): void;
  onState(state: State): void;
  /** {@link Connection.latency} is known anew. */
  onPong(): void;
  /** Something is to be done with a file, or has come of it; see {@link Connection.transfer}. */
  onTransfer?(item: TransferItem): void;
}

export interface ConnectionOptions {
  readonly url: string;
  readonly credentials: Credentials;
  /** A random id of this client; the one that types after a reload is the same. */
  readonly client: string;
  readonly session?: string | null;
  /** Of a session that is to be shown from its beginning on, which is what a page without a screen needs. */
  readonly epoch?: string | null;
  /** Input of an earlier page of the same client that was not acknowledged. */
  readonly sender?: Sender;
  /** Look on, while somebody else types. */
  readonly watch?: boolean;
  readonly size?: Size;
  /** The WebSocket that it shares with others of the same client; one of its own where there is none. */
  readonly multiplexer?: Multiplexer;
  /** What to show at another server, to which it is sent on; where it is missing, the same as here. */
  readonly admission?: () => Promise<Credentials>;
  readonly handlers: Handlers;
}

export class Connection {
  readonly handlers: Handlers;
  readonly sender: Sender;
  state: State = { kind: "closed" };
  /** Ms to the server and back, as far as it is known. */
  latency: number | null = null;
  /** When what is shown was the last screen of a session whose host is lost, in Unix seconds; null: it is none. */
  screenAt: number | null = null;
  readonly #talk: Conversation;
  readonly #home: string;
  readonly #multiplexer: Multiplexer;
  readonly #listener: Listener;
  readonly #admission: (() => Promise<Credentials>) | undefined;
  #hostLost = false;
  #called = 0; // which attempt this is: an admission that comes later is of no use
  #line: Line | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ConnectionOptions) {
    const { url, credentials, client, session, epoch, sender = new Sender(), watch, size, handlers } = options;
    this.handlers = handlers;
    this.sender = sender;
    this.#multiplexer = options.multiplexer ?? new Multiplexer();
    this.#listener = this.#hears();
    this.#home = url;
    this.#admission = options.admission;
    this.#talk = new Conversation(credentials, client, {
      url,
      sender,
      pings: true,
      session: session ?? null,
      epoch: epoch ?? null,
      watch: watch ?? false,
      ...(size && { size }),
    });
  }

  /** The server's last acknowledgement of an attach, or null. */
  get attached(): Attached | null {
    return this.#talk.attached;
  }

  /** Ms for which a server that was asked for a sign of life has not said anything; 0 where it was not. */
  silence(now = performance.now()): number {
    return this.#talk.unanswered === null ? 0 : now - this.#talk.unanswered;
  }

  open(): void {
    this.#tell((talk, now) => talk.open(now));
  }

  /** Do not wait any longer. */
  retryNow(): void {
    this.#tell((talk, now) => talk.retryNow(now));
  }

  /** The network may have changed: find out now rather than at the next heartbeat. */
  probe(): void {
    this.#tell((talk, now) => talk.probe(now));
  }

  /** Type bytes. Kept until the server has them. Throws RangeError when too many are waiting. */
  send(data: Bytes): void {
    this.#tell((talk, now) => {
      talk.type(data);
      talk.ask(now); // whoever types looks for an answer, and the shell may give none
    });
  }

  /** The screen has taken output up to offset `end`. */
  consumed(end: number): void {
    this.#tell((talk, now) => talk.consumed(now, end));
  }

  /** Tell something of a file. */
  transfer(what: (transfers: Transfers) => void): void {
    this.#tell((talk) => what(talk.transfers));
  }

  resize(cols: number, rows: number): void {
    this.#tell((talk) => talk.resize(cols, rows));
  }

  /** Let go of the session; it keeps running. */
  close(): void {
    this.#tell((talk) => talk.close());
    this.#multiplexer.forget(this.#listener);
    this.#become({ kind: "closed" });
  }

  /** Tell the conversation something, do what it wants, and have it woken when it wants to be. */
  #tell(what: (talk: Conversation, now: number) => void): void {
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

  #act(item: Item): void {
    const { handlers } = this;
    switch (item.kind) {
      case "connect":
        this.#connect(item.url);
        break;
      case "send":
        this.#line?.send(item.data);
        break;
      case "close":
        this.#drop(item.code);
        break;
      case "connecting":
      case "taken-over":
        this.#become(item);
        break;
      case "connected":
        this.screenAt = null;
        handlers.onAttached(item.attached, item);
        this.#become({ kind: "connected" });
        break;
      case "output":
        handlers.onOutput(item.data, item.end);
        break;
      case "screen":
        handlers.onScreen(item.data, item.end, item.skipped);
        break;
      case "input-dropped":
        handlers.onDropped(item.count);
        break;
      case "resized":
        handlers.onSize(item);
        break;
      case "recording":
        handlers.onRecording?.(item.state);
        break;
      case "pong":
        this.latency = item.ms;
        handlers.onPong();
        break;
      case "waiting":
        this.#wait(item);
        break;
      case "refused":
        if (item.code === "unauthorized") this.#become({ kind: "unauthorized" });
        else this.#become({ kind: "refused", code: item.code, reason: sentence(item.message) });
        break;
      case "ended":
        this.#talk.close();
        this.#become(item);
        break;
      case "lost":
      case "failed":
      case "loop":
        console.info(`${item.kind}: ${item.reason}`);
        break;
      case "elsewhere":
        console.info(`the session is at ${item.url}`);
        break;
      case "host-lost":
        this.#hostLost = true;
        if (item.screen && !this.attached) { // what was shown before goes on where it was, once the host is back
          this.screenAt = item.screen.at;
          handlers.onLastScreen?.(item.screen);
        }
        console.info(`${item.message}; asked for again`);
        break;
      default:
        handlers.onTransfer?.(item);
    }
  }

  #wait({ until, reason, planned, breaker }: Waiting): void {
    const hostLost = this.#hostLost; // said just before
    this.#hostLost = false;
    this.#become({ kind: breaker ? "breaker" : "waiting", retryAt: until, reason: sentence(reason), planned, hostLost });
  }

  #connect(url: string): void {
    this.#called += 1;
    if (url === this.#home || !this.#admission) {
      this.#call(url);
      return;
    }
    const called = this.#called;
    this.#admission().then(
      (credentials) => {
        if (called !== this.#called) return;
        this.#talk.present(credentials);
        this.#call(url);
      },
      (error: unknown) => {
        if (called === this.#called) this.#tell((talk, now) => talk.lost(now, null, "", reasonOf(error)));
      },
    );
  }

  #call(url: string): void {
    try {
      this.#line = this.#multiplexer.connect(url, this.#listener);
    } catch (error) {
      const reason = reasonOf(error);
      if (url !== this.#home) {
        this.#tell((talk, now) => talk.lost(now, null, "", reason));
        return;
      }
      this.#talk.close();
      this.#become({ kind: "refused", code: "bad-address", reason });
    }
  }

  #hears(): Listener {
    return {
      opened: () => this.#tell((talk, now) => talk.connected(now)),
      received: (message) => this.#tell((talk, now) => talk.received(now, message)),
      heard: () => this.#talk.heard(performance.now()),
      closed: (code, reason) => {
        this.#line = null;
        this.#tell((talk, now) => talk.lost(now, code, reason));
      },
      called: (together) => together ? this.retryNow() : this.#tell((talk, now) => talk.comeAlong(now)),
    };
  }

  #drop(code: number | null): void {
    this.#called += 1;
    const line = this.#line;
    this.#line = null;
    line?.close(code);
  }

  #become(state: State): void {
    this.state = state;
    this.handlers.onState(state);
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A reason as the page shows it. */
function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
