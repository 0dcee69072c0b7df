// The page: tabs of terminals, their state, and the list of sessions.

import { FitAddon } from "./vendor/addon-fit.mjs";
import { Terminal } from "./vendor/xterm.mjs";
import { Connection } from "./connection.js";
import { Sender } from "./rules.js";

const TOKEN = "terminals.token";
const TABS = "terminals.tabs";
const TYPED = "terminals.typed"; // only between two pages of one browser tab
// What a terminal answers when a program asks it: in output of the past, nobody waits for that any more.
const REPORT = /^(\x1b\[[?>=]?[\d;]*[cnRy]|\x1b\[\?[\d;]*\$y|\x1b[P\]].*)$/s;
const REFRESH_MS = 3000;
const NAMES = { system: "shell", claude: "assistant" };

const $ = (id) => document.getElementById(id);
const tabs = [];
let chosen = null;
let info = null;

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

async function api(path, options = {}) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}` };
  const response = await fetch(`/api/${path}`, { ...options, headers });
  if (response.status === 401) throw new Error("unauthorized");
  if (!response.ok) throw new Error((await response.json()).error);
  return response.json();
}

/** One tab: a terminal on the screen and the connection that feeds it. */
class Tab {
  constructor({ profile, session = null, epoch = null, watch = false, typed = null }) {
    const client = typed?.client ?? crypto.randomUUID().slice(0, 18);
    Object.assign(this, { profile, session, epoch, watch, client, state: { kind: "connecting" }, past: 0, shown: 0 });
    this.term = new Terminal({
      fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
      fontSize: 14,
      scrollback: 10000,
      cursorBlink: !watch,
      disableStdin: watch,
      theme: { background: "#0e1116", foreground: "#d7dde5", cursor: "#6cc7a1", selectionBackground: "#2d4a63" },
    });
    this.fit = new FitAddon();
    this.term.loadAddon(this.fit);
    this.screen = element("div", { className: "screen" });
    $("screens").append(this.screen);
    this.term.open(this.screen);
    this.button = element("button", { role: "tab", onclick: () => choose(this) });
    this.closer = element("button", { textContent: "×", title: "Close the tab; the session keeps running" });
    this.closer.onclick = () => this.close();
    this.handle = element("div", { className: "tab" }, element("span", { className: "dot" }), this.button, this.closer);
    $("tabs").append(this.handle);
    this.fill();
    this.connection = new Connection({
      url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.hostname}:${info.listeners[profile]}/`,
      token: sessionStorage.getItem(TOKEN),
      client,
      session,
      resume: epoch === null ? null : { epoch },
      sender: typed ? new Sender({ acked: typed.acked, pending: Uint8Array.from(typed.pending) }) : undefined,
      watch,
      size: { cols: this.term.cols, rows: this.term.rows },
      handlers: {
        onAttached: (fields, { missed, reconnect }) => this.#attached(fields, missed, reconnect),
        onDropped: (count) => this.#dropped(count),
        onOutput: (data, end) => this.term.write(data, () => this.#seen(end)),
        onScreen: (screen, end, skipped) => this.#paint(screen, end, skipped),
        onSize: (size) => this.#sized(size),
        onState: (state) => this.#become(state),
        onPong: () => this === chosen && facts(),
      },
    });
    const encoder = new TextEncoder();
    this.term.onData((text) => {
      if (this.shown >= this.past || !REPORT.test(text)) this.#type(encoder.encode(text));
    });
    this.term.onBinary((text) => this.#type(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    this.term.onResize(({ cols, rows }) => this.watch || this.connection.resize(cols, rows));
    this.connection.open();
  }

  close() {
    this.connection.close();
    this.term.dispose();
    this.screen.remove();
    this.handle.remove();
    tabs.splice(tabs.indexOf(this), 1);
    remember();
    if (this === chosen) tabs.length ? choose(tabs.at(-1)) : add({ profile: "system" });
  }

  /** What the next page of this browser tab needs to type on where this one stops. */
  typed() {
    const { acked, pending } = this.connection.sender;
    return { session: this.session, client: this.client, acked, pending: [...pending] };
  }

  /** Give the screen what room there is. One that is watched has the size of the terminal that it shows. */
  fill() {
    if (!this.told) this.fit.fit();
  }

  /** Somebody has given the terminal that is watched this size: after what was printed before, so is the screen. */
  #sized(size) {
    if (!this.watch || !size) return;
    this.told = size;
    this.term.write("", () => this.term.resize(size.cols, size.rows));
  }

  #seen(end) {
    this.shown = end;
    this.connection.consumed(end);
  }

  /** The server shows the screen: output before it was skipped, or set it up long ago. */
  #paint(screen, end, skipped) {
    if (skipped) this.#missed(skipped);
    this.term.write(screen, () => this.#seen(end));
  }

  #missed(count) {
    // The old screen moves up, so that it can be scrolled back to.
    const note = `\r\n\x1b[0;7m[${count.toLocaleString("en")} bytes were printed meanwhile]\x1b[0m`;
    this.term.write(note + "\r\n".repeat(this.term.rows));
  }

  #dropped(count) {
    const note = `[the last ${count.toLocaleString("en")} bytes typed here may not have arrived; they are not sent again]`;
    this.term.write(`\r\n\x1b[0;7m${note}\x1b[0m\r\n`);
  }

  #type(data) {
    if (this.watch) return;
    try {
      this.connection.send(data);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#become({ ...this.state, reason: "Too much is typed ahead; the last of it was not taken." });
    }
  }

  #attached(fields, missed, again) {
    // What was printed while this page was away it has not seen: a program may wait for its answer.
    if (!again || fields.epoch !== this.epoch) this.past = fields.head ?? 0;
    this.session = fields.session;
    this.epoch = fields.epoch;
    this.shown = fields.output;
    this.watch = fields.mode === "read";
    this.#sized(fields.size);
    if (missed) this.#missed(missed);
    remember();
  }

  #become(state) {
    this.state = state;
    this.handle.dataset.kind = state.kind;
    const number = tabs.indexOf(this) + 1 || tabs.length + 1;
    this.button.textContent = `${NAMES[this.profile]} ${number}${this.watch ? " (view)" : ""}`;
    if (state.kind === "unauthorized") return signIn("The token was not accepted.");
    if (state.kind === "refused" && state.code === "unknown-session") {
      this.epoch = null;
      this.session = null;
      remember();
    }
    if (this === chosen) show();
  }
}

function describe(state) {
  const seconds = Math.max(0, (state.retryAt ?? 0) - performance.now()) / 1000;
  switch (state.kind) {
    case "connected": return chosen.watch ? "Viewing: what you type goes nowhere" : "Connected";
    case "connecting": return state.again ? "Reconnecting…" : "Connecting…";
    case "waiting": return `${state.reason} Reconnecting in ${seconds.toFixed(1)} s`;
    case "breaker": return `${state.reason} It failed several times; the next try is in ${seconds.toFixed(0)} s`;
    case "ended": return `The shell has ended with status ${state.status}`;
    case "taken-over": return "This session is open in another window now";
    case "refused": return state.reason;
    default: return "";
  }
}

function show() {
  if (!chosen) return;
  const { state } = chosen;
  $("state").textContent = describe(state);
  $("state").dataset.kind = state.kind;
  const again = { waiting: "Try now", breaker: "Try now", "taken-over": "Take it back", ended: "New shell", refused: "New shell" };
  $("retry").hidden = !(state.kind in again);
  $("retry").textContent = again[state.kind] ?? "";
  facts();
}

function facts() {
  const { connection } = chosen;
  const attached = connection.attached;
  const latency = connection.latency === null ? "" : ` · ${connection.latency.toFixed(0)} ms`;
  $("facts").textContent = attached ? `${attached.session} · ${attached.generation} · build ${attached.build}${latency}` : "";
}

function retry() {
  const { state, connection, profile } = chosen;
  if (state.kind === "waiting" || state.kind === "breaker") connection.retryNow();
  else if (state.kind === "taken-over") connection.open();
  else {
    const old = chosen;
    add({ profile });
    old.close();
  }
}

function choose(tab) {
  chosen = tab;
  for (const other of tabs) {
    other.screen.hidden = other !== tab;
    other.handle.toggleAttribute("data-chosen", other === tab);
    other.button.setAttribute("aria-selected", String(other === tab));
  }
  tab.fill();
  tab.term.focus();
  show();
}

function add(options) {
  const tab = new Tab(options);
  tabs.push(tab);
  choose(tab);
  remember();
}

/** What a reload of this browser tab needs to find its sessions again. */
function remember() {
  const kept = tabs.map(({ profile, session, epoch, watch }) => ({ profile, session, epoch, watch }));
  sessionStorage.setItem(TABS, JSON.stringify(kept));
}

async function listSessions() {
  const panel = $("sessions");
  if (panel.hidden) return;
  let sessions;
  try {
    ({ sessions } = await api("sessions"));
  } catch (error) {
    if (error.message === "unauthorized") signIn("The token was not accepted.");
    else panel.replaceChildren(element("p", { textContent: `The list is not available: ${error.message}` }));
    return;
  }
  const head = ["Session", "Kind", "Age", "Viewers", "Generation", ""].map((text, at) =>
    element("th", { textContent: text, className: at === 4 ? "wide" : "" }));
  const rows = sessions.filter((entry) => entry.live).map((entry) => {
    const minutes = (Date.now() / 1000 - entry.created) / 60;
    const opener = (text, title, watch) => {
      const button = element("button", { textContent: text, title });
      button.onclick = () => {
        panel.hidden = true;
        const known = tabs.find((tab) => tab.session === entry.id && tab.watch === watch);
        known ? choose(known) : add({ profile: entry.profile, session: entry.id, watch });
      };
      return button;
    };
    const open = opener("Open", "Work in it; whoever does so now is put out", false);
    const watch = opener("View", "Look on, without disturbing whoever works in it", true);
    const act = (text, title, request) => element("button", {
      textContent: text,
      title,
      onclick: async () => {
        const options = request();
        if (options) await api(`sessions/${entry.id}`, options).catch((error) => alert(error.message));
        listSessions();
      },
    });
    const name = act("Name", "Give it a title", () => {
      const title = prompt("Title of this session (empty: none)", entry.title);
      return title === null ? null : { method: "PATCH", body: JSON.stringify({ title }) };
    });
    const end = act("End", "Hang its shell up", () =>
      confirm(`End ${entry.title || entry.id}? What runs in it is hung up.`) ? { method: "DELETE" } : null);
    return element("tr", {},
      entry.title
        ? element("td", { textContent: entry.title, title: entry.id })
        : element("td", { className: "id", textContent: entry.id }),
      element("td", { textContent: NAMES[entry.profile] ?? entry.profile }),
      element("td", { textContent: minutes < 60 ? `${minutes.toFixed(0)} min` : `${(minutes / 60).toFixed(1)} h` }),
      element("td", { textContent: (entry.attached ? "1" : "0") + (entry.watchers ? ` + ${entry.watchers}` : "") }),
      element("td", { className: "wide", textContent: entry.generation }),
      element("td", { className: "actions" }, open, watch, name, end));
  });
  panel.replaceChildren(rows.length
    ? element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows))
    : element("p", { textContent: "No session is running." }));
}

function signIn(refusal = "") {
  sessionStorage.removeItem(TOKEN);
  $("app").hidden = true;
  $("sign-in").hidden = false;
  $("refusal").textContent = refusal;
  $("token").focus();
}

async function enter() {
  try {
    info = await api("info");
  } catch (error) {
    signIn(error.message === "unauthorized" ? "The token was not accepted." : `The server says: ${error.message}`);
    return;
  }
  $("sign-in").hidden = true;
  $("app").hidden = false;
  const kept = JSON.parse(sessionStorage.getItem(TABS) ?? "[]");
  const typed = JSON.parse(sessionStorage.getItem(TYPED) ?? "[]");
  sessionStorage.removeItem(TYPED); // or a duplicate of this browser tab would type in our name
  for (const tab of kept.length ? kept : [{ profile: "system" }]) {
    add({ ...tab, typed: typed.find((entry) => entry.session === tab.session) });
  }
}

export async function start() {
  $("boot").hidden = true;
  $("new-system").onclick = () => add({ profile: "system" });
  $("new-claude").onclick = () => add({ profile: "claude" });
  $("retry").onclick = retry;
  $("list").onclick = () => {
    $("sessions").hidden = !$("sessions").hidden;
    $("list").setAttribute("aria-expanded", String(!$("sessions").hidden));
    listSessions();
  };
  $("sign-in").onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, $("token").value.trim());
    enter();
  };
  addEventListener("resize", () => chosen?.fill());
  addEventListener("pagehide", () => {
    const typed = tabs.filter((tab) => tab.session && !tab.watch).map((tab) => tab.typed());
    sessionStorage.setItem(TYPED, JSON.stringify(typed));
  });
  addEventListener("online", () => tabs.forEach((tab) => tab.connection.probe()));
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) tabs.forEach((tab) => tab.connection.probe());
  });
  addEventListener("keydown", (event) => {
    if (event.altKey && event.key === "n") add({ profile: "system" });
    else if (event.altKey && /^[1-9]$/.test(event.key) && tabs[event.key - 1]) choose(tabs[event.key - 1]);
    else return;
    event.preventDefault();
  }, true);
  setInterval(show, 100);
  setInterval(listSessions, REFRESH_MS);
  if (sessionStorage.getItem(TOKEN)) await enter();
  else signIn();
}
