// The page: sign-in, the bar of tabs, shortcuts. Exports `start`, called by the loader.

import { call, Unauthorized } from "./api.js";
import { Dashboard } from "./dashboard.js";
import { byId, confirmEnd, h, short, title, toast } from "./dom.js";
import { buildKeys, showControl } from "./keys.js";
import * as store from "./store.js";
import { TerminalTab } from "./tab.js";

const TICK_MS = 100;
const RETRY_MS = 2000;

const tabs = []; // {terminal, button, item}
let active = null; // a terminal; null is the page of sessions
let info = null;
let dashboard = null;
let announced = "";

export async function start() {
  byId("signin").addEventListener("submit", signIn);
  byId("signout").onclick = signOut;
  byId("tab-sessions").onclick = () => select(null);
  byId("tabs").addEventListener("keydown", walkTabs);
  window.addEventListener("keydown", shortcut, true);
  window.addEventListener("pagehide", () => info && save(true));
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());
  window.addEventListener("online", probe);
  document.addEventListener("visibilitychange", () => !document.hidden && probe());
  setInterval(tick, TICK_MS);
  dashboard = new Dashboard({
    opened: (session) => tabs.some(({ terminal }) => terminal.session === session && alive(terminal)),
    onOpen: openSession,
    onUnauthorized: unauthorized,
  });
  buildKeys(() => active);
  if (store.token()) await enter();
  else askToken("");
}

// --- signing in -------------------------------------------------------------------------

function askToken(error) {
  byId("boot").hidden = true;
  byId("app").hidden = true;
  byId("signin").hidden = false;
  byId("signin-error").textContent = error;
  byId("token").value = "";
  byId("token").focus();
}

async function signIn(event) {
  event.preventDefault();
  const token = byId("token").value.trim();
  const button = event.submitter ?? byId("signin").querySelector("button");
  button.disabled = true;
  try {
    await call("/api/info", { as: token });
    store.setToken(token);
    await enter();
  } catch (error) {
    askToken(error.message);
  } finally {
    button.disabled = false;
  }
}

function signOut() {
  store.signOut();
  leave();
  askToken("");
}

function unauthorized() {
  if (!info) return;
  save();
  leave();
  askToken("This token is not accepted any more.");
}

function leave() {
  info = null;
  dashboard.show(false);
  for (const { terminal, item } of tabs.splice(0)) {
    terminal.dispose();
    item.remove();
  }
  active = null;
}

async function enter() {
  for (;;) {
    try {
      info = await call("/api/info");
      break;
    } catch (error) {
      if (error instanceof Unauthorized) return askToken(error.message);
      byId("boot").textContent = `${error.message} Trying again…`;
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
  byId("boot").hidden = true;
  byId("signin").hidden = true;
  byId("app").hidden = false;
  const buttons = Object.keys(info.listeners).map((profile) =>
    h("button", { onclick: () => add({ profile }), title: `New ${title(profile)} terminal` },
      h("span", { "aria-hidden": true }, "+ "), title(profile)),
  );
  byId("new").replaceChildren(...buttons);
  const saved = store.takeTabs();
  for (const entry of saved.tabs) if (info.listeners[entry.profile]) add(entry, false);
  if (tabs.length) select(tabs[saved.active]?.terminal ?? null);
  else await land();
}

/** First visit: a terminal at once, unless something is running that one may want back. */
async function land() {
  const { sessions } = await call("/api/sessions").catch(() => ({ sessions: [] }));
  const [first] = Object.keys(info.listeners);
  if (first && !sessions.some((entry) => entry.live)) add({ profile: first });
  else select(null);
}

// --- tabs -------------------------------------------------------------------------------

function add(entry, show = true) {
  const taken = tabs.filter(({ terminal }) => terminal.profile === entry.profile);
  const number = entry.number ?? Math.max(0, ...taken.map(({ terminal }) => terminal.number)) + 1;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const terminal = new TerminalTab(
    { ...entry, number },
    {
      url: `${scheme}://${location.hostname}:${info.listeners[entry.profile]}/`,
      token: store.token(),
      parent: document.querySelector("main"),
      onChange: changed,
      onUnauthorized: unauthorized,
      onReplace: (old) => replace(old),
      onClose: close,
      onControl: showControl,
    },
  );
  const dot = h("span", { class: "dot", "aria-hidden": true });
  const button = h(
    "button",
    { role: "tab", "aria-controls": terminal.id, "aria-selected": "false", tabindex: "-1", onclick: () => select(terminal) },
    dot,
    terminal.name,
  );
  const cross = h(
    "button",
    { class: "cross", tabindex: "-1", "aria-hidden": true, title: "Close; the session keeps running", onclick: () => close(terminal) },
    "×",
  );
  const item = h("div", { class: "tab", role: "presentation" }, button, cross);
  byId("tabs").append(item);
  tabs.push({ terminal, button, item });
  terminal.show(false);
  changed(terminal);
  if (show) select(terminal);
}

function select(terminal) {
  active = terminal;
  dashboard.show(terminal === null);
  byId("tab-sessions").setAttribute("aria-selected", String(terminal === null));
  byId("tab-sessions").tabIndex = terminal === null ? 0 : -1;
  for (const tab of tabs) {
    const chosen = tab.terminal === terminal;
    tab.terminal.show(chosen);
    tab.button.setAttribute("aria-selected", String(chosen));
    tab.button.tabIndex = chosen ? 0 : -1;
    if (chosen) tab.item.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  byId("keys").hidden = terminal === null;
  document.title = terminal ? `${terminal.name} – Terminals` : "Terminals";
  save();
  showStatus();
}

function close(terminal) {
  const index = tabs.findIndex((tab) => tab.terminal === terminal);
  if (index < 0) return;
  const running = alive(terminal) && terminal.session;
  const [{ item }] = tabs.splice(index, 1);
  terminal.dispose();
  item.remove();
  if (active === terminal) select((tabs[index] ?? tabs[index - 1])?.terminal ?? null);
  else save();
  if (running) toast(`${terminal.name} keeps running (${short(running)}).`, "End it", () => end(terminal, running));
}

async function end(terminal, session) {
  if (!(await confirmEnd(`End ${terminal.name}? Programs running in it are hung up.`))) return;
  await call(`/api/sessions/${session}`, { method: "DELETE" }).catch((error) => toast(error.message));
  if (active === null) dashboard.refresh();
}

function replace(old) {
  const entry = { profile: old.profile };
  close(old);
  add(entry);
}

function openSession(entry) {
  const mine = tabs.find(({ terminal }) => terminal.session === entry.id && alive(terminal));
  if (mine) select(mine.terminal);
  else add({ profile: entry.profile, session: entry.id });
}

const alive = (terminal) => !["ended", "refused", "taken-over"].includes(terminal.state.kind);

function save(leaving = false) {
  const kept = tabs.filter(({ terminal }) => terminal.save());
  const index = kept.findIndex(({ terminal }) => terminal === active);
  store.saveTabs(kept.map(({ terminal }) => terminal.save(leaving)), index);
}

// --- how it stands ----------------------------------------------------------------------

function changed(terminal) {
  const tab = tabs.find((entry) => entry.terminal === terminal);
  if (!tab) return;
  const tone = { connected: "good", waiting: "idle", connecting: "idle", breaker: "warn" }[terminal.state.kind];
  tab.button.firstChild.className = `dot ${tone ?? "off"}`;
  tab.button.setAttribute("aria-label", `${terminal.name}, ${terminal.state.kind}`);
  save();
  if (terminal === active) showStatus();
}

function showStatus() {
  const attached = active?.connection.attached;
  const kind = active?.state.kind ?? "";
  byId("connection").textContent = active ? active.summary : "";
  byId("connection").dataset.kind = kind;
  byId("identity").textContent = attached
    ? `${short(attached.session)} · ${attached.generation} · ${attached.build}`
    : "";
  byId("identity").title = attached ? `${attached.session}, begun under ${attached.origin}` : "";
  const latency = kind === "connected" ? active.connection.latency : null;
  byId("latency").textContent = latency === null ? "" : `${Math.max(1, Math.round(latency))} ms`;
  const said = active ? `${active.name}: ${kind}` : "";
  if (said !== announced) byId("announce").textContent = announced = said;
}

function tick() {
  if (!active || document.hidden) return;
  active.tick();
  if (active.state.retryAt) showStatus();
}

function probe() {
  for (const { terminal } of tabs) terminal.connection.probe();
}

// --- keyboard ---------------------------------------------------------------------------

function shortcut(event) {
  if (!info || !event.altKey || !event.shiftKey || event.ctrlKey || event.metaKey) return;
  const action = shortcutAction(event.code);
  if (!action) return;
  event.preventDefault();
  event.stopPropagation();
  action();
}

function shortcutAction(code) {
  const digit = /^Digit([1-9])$/.exec(code);
  if (digit) {
    const tab = tabs[Number(digit[1]) - 1];
    return tab && (() => select(tab.terminal));
  }
  switch (code) {
    case "KeyS":
      return () => {
        select(null);
        byId("tab-sessions").focus();
      };
    case "KeyN":
      return () => add({ profile: active?.profile ?? Object.keys(info.listeners)[0] });
    case "KeyW":
      return active && (() => close(active));
    case "ArrowLeft":
      return () => step(-1);
    case "ArrowRight":
      return () => step(1);
  }
  return null;
}

function step(by) {
  const order = [null, ...tabs.map(({ terminal }) => terminal)];
  select(order[(order.indexOf(active) + by + order.length) % order.length]);
}

/** Arrow keys on the bar itself, as a list of tabs has them; Delete closes. */
function walkTabs(event) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) step(by);
  else if (event.key === "Delete" && active) close(active);
  else return;
  event.preventDefault();
  const tab = tabs.find(({ terminal }) => terminal === active);
  (tab?.button ?? byId("tab-sessions")).focus();
}
