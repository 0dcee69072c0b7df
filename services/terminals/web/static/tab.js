// One terminal of the page: a screen, its connection, and the banner that says how it stands.

import { Connection } from "./connection.js";
import { bytes, h, title, toast } from "./dom.js";
import { Sender } from "./rules.js";
import { Screen } from "./screen.js";
import { fromBase64, randomId, toBase64 } from "./store.js";

const REPLAY_QUIET = 1 << 15; // a round trip that brings less than this many bytes is not history
const REPLAY_ROUNDS = 32;
const utf8 = new TextEncoder();

export class TerminalTab {
  #history = null;
  #control = false;

  /**
   * `saved`: {profile, number, session?, epoch?, client?, acked?, pending?}. `page`: {url, token,
   * parent, onChange(tab), onUnauthorized(), onReplace(tab), onClose(tab)}.
   */
  constructor(saved, page) {
    this.profile = saved.profile;
    this.number = saved.number;
    this.page = page;
    this.id = `terminal-${randomId()}`;
    this.banner = h("div", { class: "banner", hidden: true });
    const frame = h("div", { class: "screen" });
    this.panel = h(
      "section",
      { class: "view terminal", role: "tabpanel", id: this.id, "aria-label": this.name },
      frame,
      this.banner,
    );
    page.parent.append(this.panel);
    this.screen = new Screen(frame, {
      onInput: (text) => this.type(text),
      onBinary: (text) => this.#send(Uint8Array.from(text, (char) => char.charCodeAt(0))),
      onResize: (cols, rows) => this.connection?.resize(cols, rows),
      onParsed: (end) => this.connection.consumed(end),
      onKey: (event) => this.#key(event),
    });
    const sender = saved.client
      ? new Sender({ acked: saved.acked, pending: fromBase64(saved.pending) })
      : undefined;
    this.connection = new Connection({
      url: page.url,
      token: page.token,
      client: saved.client ?? randomId(),
      session: saved.session ?? null,
      resume: saved.epoch ? { epoch: saved.epoch } : null,
      sender,
      size: this.screen.size,
      handlers: {
        onState: (state) => this.#changed(state),
        onAttached: (fields, fresh) => this.#attached(fields, fresh),
        onOutput: (data, end) => this.#output(data, end),
        onPong: () => this.#pong(),
      },
    });
    this.connection.open();
  }

  get name() {
    return `${title(this.profile)} ${this.number}`;
  }

  get session() {
    return this.connection.session;
  }

  get state() {
    return this.connection?.state ?? { kind: "connecting" };
  }

  /** One line about the connection, for the status bar. */
  get summary() {
    const state = this.state;
    switch (state.kind) {
      case "connected":
        return "connected";
      case "connecting":
        return state.again ? "reconnecting" : "connecting";
      case "waiting":
        return `reconnecting in ${seconds(state.retryAt)}`;
      case "breaker":
        return `paused, next try in ${seconds(state.retryAt)}`;
      case "ended":
        return `ended, ${exit(state.status)}`;
      case "taken-over":
        return "taken over";
      case "refused":
        return "not available";
      default:
        return "signed out";
    }
  }

  /** Text typed by a person, or sent by the terminal itself. */
  type(text) {
    if (this.#control && text.length === 1) {
      this.control(false);
      const code = text.toUpperCase().charCodeAt(0);
      if (code >= 63 && code <= 95) text = String.fromCharCode(code === 63 ? 127 : code & 31);
    }
    this.#send(utf8.encode(text));
  }

  /** Hold Ctrl for the next key, for keyboards that have none. */
  control(on = !this.#control) {
    this.#control = on;
    this.page.onControl?.(on);
  }

  show(visible) {
    this.panel.classList.toggle("shown", visible);
    this.panel.inert = !visible;
    if (visible) {
      this.screen.fit();
      this.screen.focus();
    }
  }

  /** Keep the countdown true. */
  tick() {
    if (this.state.kind === "waiting" || this.state.kind === "breaker") this.#banner();
  }

  /** What a reload needs to go on; `leaving` adds the input that the server has not confirmed. */
  save(leaving = false) {
    if (["ended", "refused"].includes(this.state.kind) || !this.session) return null;
    const saved = { profile: this.profile, number: this.number, session: this.session };
    if (this.connection.epoch) saved.epoch = this.connection.epoch;
    if (leaving) {
      const { acked, pending } = this.connection.sender;
      Object.assign(saved, { client: this.connection.client, acked, pending: toBase64(pending) });
    }
    return saved;
  }

  dispose() {
    this.connection.close();
    this.screen.dispose();
    this.panel.remove();
  }

  #send(data) {
    if (["ended", "refused", "taken-over"].includes(this.state.kind)) return;
    try {
      this.connection.send(data);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      toast(`Not typed: ${bytes(data.length)} more would not fit while ${error.message}.`);
    }
    if (this.state.kind !== "connected") this.#banner();
  }

  #attached(fields, fresh) {
    if (fields.skipped && !fresh) {
      this.screen.note(`${bytes(fields.skipped)} of output came while away and are no longer held`);
    }
    if (fresh && fields.status !== "created") {
      this.screen.replay();
      this.#history = { bytes: 0, rounds: 0 };
    }
    this.connection.resize(...Object.values(this.screen.size));
  }

  #output(data, end) {
    if (this.#history) this.#history.bytes += data.length;
    this.screen.write(data, end);
  }

  // Nobody says where history ends, but a pong comes after what was sent before it: when a
  // round trip brings little, we have caught up.
  #pong() {
    const history = this.#history;
    if (history) {
      history.rounds += 1;
      if (history.bytes < REPLAY_QUIET || history.rounds >= REPLAY_ROUNDS) {
        this.#history = null;
        this.screen.replayed();
      } else {
        history.bytes = 0;
        this.connection.echo();
      }
    }
    this.page.onChange(this);
  }

  #changed(state) {
    if (!this.connection) return;
    if (state.kind === "unauthorized") this.page.onUnauthorized();
    this.#banner();
    this.page.onChange(this);
  }

  #banner() {
    const state = this.state;
    const again = { label: "Reconnect now", act: () => this.connection.retryNow() };
    const replace = { label: "New terminal", act: () => this.page.onReplace(this) };
    const close = { label: "Close tab", act: () => this.page.onClose(this) };
    const back = { label: "Take it back", act: () => this.connection.open() };
    const kept = this.connection.sender.pending.length;
    const typed = kept ? ` What you typed is kept (${bytes(kept)}).` : "";
    switch (state.kind) {
      case "connecting":
        return this.#say("soft", `${state.again ? "Reconnecting" : "Connecting"}…${typed}`);
      case "waiting":
        return this.#say("soft", `${state.reason} Reconnecting in ${seconds(state.retryAt)}.${typed}`, again);
      case "breaker":
        return this.#say(
          "warn",
          `${state.reason} It failed several times in a row; next try in ${seconds(state.retryAt)}.${typed}`,
          again,
        );
      case "ended":
        return this.#say("", `The shell has ended, ${exit(state.status)}.`, replace, close);
      case "taken-over":
        return this.#say("warn", "This terminal is now open in another window.", back, close);
      case "refused":
        if (state.code === "too-many-sessions") {
          const retry = { label: "Try again", act: () => this.connection.open() };
          return this.#say("warn", state.reason, retry, close);
        }
        return this.#say("warn", `This session is gone: ${state.reason}.`, replace, close);
      default:
        this.banner.hidden = true;
    }
  }

  #say(tone, text, ...actions) {
    const key = [tone, ...actions.map((action) => action.label)].join();
    if (this.banner.hidden || this.banner.dataset.key !== key) {
      // Built anew only when it changes in kind, so that a button under the finger stays.
      this.banner.dataset.key = key;
      this.banner.className = `banner ${tone}`;
      const buttons = actions.map(({ label, act }) => h("button", { onclick: act }, label));
      this.banner.replaceChildren(h("span"), ...buttons);
      this.banner.hidden = false;
    }
    this.banner.firstChild.textContent = text;
  }

  #key(event) {
    if (event.ctrlKey && event.shiftKey && event.code === "KeyC") {
      if (event.type === "keydown") {
        event.preventDefault();
        const selection = this.screen.terminal.getSelection();
        if (selection) navigator.clipboard?.writeText(selection);
      }
      return false;
    }
    return true;
  }
}

const seconds = (at) => `${(Math.max(0, at - performance.now()) / 1000).toFixed(1)} s`;

const exit = (status) => (status < 0 ? `killed by signal ${-status}` : `exit status ${status}`);
