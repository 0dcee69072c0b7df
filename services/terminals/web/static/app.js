// The page: tabs of terminals, their state, and the list of sessions.

import { FitAddon } from "./vendor/addon-fit.mjs";
import { Terminal } from "./vendor/xterm.mjs";
import { Connection } from "./connection.js";

const TOKEN = "terminals.token";
const TABS = "terminals.tabs";
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
  constructor({ profile, session = null, epoch = null, client = crypto.randomUUID().slice(0, 18) }) {
    Object.assign(this, { profile, session, epoch, client, state: { kind: "connecting" } });
    this.term = new Terminal({
      fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
      fontSize: 14,
      scrollback: 10000,
      cursorBlink: true,
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
    this.fit.fit();
    this.connection = new Connection({
      url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.hostname}:${info.listeners[profile]}/`,
      token: sessionStorage.getItem(TOKEN),
      client,
      session,
      resume: epoch === null ? null : { epoch },
      size: { cols: this.term.cols, rows: this.term.rows },
      handlers: {
        onAttached: (fields, fresh) => this.#attached(fields, fresh),
        onOutput: (data, end) => this.term.write(data, () => this.connection.consumed(end)),
        onState: (state) => this.#become(state),
        onPong: () => this === chosen && facts(),
      },
    });
    const encoder = new TextEncoder();
    this.term.onData((text) => this.#type(encoder.encode(text)));
    this.term.onBinary((text) => this.#type(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    this.term.onResize(({ cols, rows }) => this.connection.resize(cols, rows));
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

  #type(data) {
    try {
      this.connection.send(data);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#become({ ...this.state, reason: "Too much is typed ahead; the last of it was not taken." });
    }
  }

  #attached(fields, fresh) {
    this.session = fields.session;
    this.epoch = fields.epoch;
    if (fields.skipped && !fresh) {
      this.term.write(`\r\n\x1b[7m[${fields.skipped} bytes were printed while nobody was here]\x1b[0m\r\n`);
    }
    remember();
  }

  #become(state) {
    this.state = state;
    this.handle.dataset.kind = state.kind;
    this.button.textContent = `${NAMES[this.profile]} ${tabs.indexOf(this) + 1 || tabs.length + 1}`;
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
    case "connected": return "Connected";
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
  tab.fit.fit();
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
  const kept = tabs.map(({ profile, session, epoch }) => ({ profile, session, epoch }));
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
  const head = ["Session", "Kind", "Age", "Viewer", "Generation", ""].map((text, at) =>
    element("th", { textContent: text, className: at === 4 ? "wide" : "" }));
  const rows = sessions.filter((entry) => entry.live).map((entry) => {
    const minutes = (Date.now() / 1000 - entry.created) / 60;
    const open = element("button", { textContent: "Open" });
    open.onclick = () => {
      panel.hidden = true;
      const known = tabs.find((tab) => tab.session === entry.id);
      known ? choose(known) : add({ profile: entry.profile, session: entry.id });
    };
    return element("tr", {},
      element("td", { className: "id", textContent: entry.id }),
      element("td", { textContent: NAMES[entry.profile] ?? entry.profile }),
      element("td", { textContent: minutes < 60 ? `${minutes.toFixed(0)} min` : `${(minutes / 60).toFixed(1)} h` }),
      element("td", { textContent: entry.attached ? "yes" : "no" }),
      element("td", { className: "wide", textContent: entry.generation }),
      element("td", {}, open));
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
  for (const tab of kept.length ? kept : [{ profile: "system" }]) add(tab);
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
  addEventListener("resize", () => chosen?.fit.fit());
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
