// The page: tabs of terminals, their state, the list of sessions, and what a person can set.

import { ask, token, Unauthorized } from "./api.js";
import type { Info } from "./api.js";
import { read, write } from "./clipboard.js";
import { $, allowStyles } from "./dom.js";
import { findBar } from "./find.js";
import { actionOf } from "./keys.js";
import type { Action } from "./keys.js";
import { preferences } from "./preferences.js";
import { keptTabs } from "./remembered.js";
import { sessionList } from "./sessions.js";
import { load, onSystemTheme, save, sized } from "./settings.js";
import type { Settings } from "./settings.js";
import { describe, remedy, size } from "./status.js";
import { Tabs } from "./tabs.js";
import { onPinch, ScreenKeys } from "./touch.js";

const SHOW_MS = 250;

let settings = load();
let info: Info | null = null;

const current = () => tabs.chosen;
const screenKeys = new ScreenKeys(current);

const tabs: Tabs = new Tabs(
  {
    get settings() {
      return settings;
    },
    get token() {
      return token.get();
    },
    url(profile) {
      const scheme = location.protocol === "https:" ? "wss" : "ws";
      return `${scheme}://${location.hostname}:${String(info?.listeners[profile])}/`;
    },
    unauthorized,
    typed: (text) => screenKeys.typed(text),
  },
  show,
);

const find = findBar(current);

/** What is said is put there only where it is another: whoever listens to the page would hear it again. */
function say(id: string, text: string): void {
  const where = $(id);
  if (where.textContent !== text) where.textContent = text;
}

function show(): void {
  const tab = tabs.chosen;
  if (!tab) return;
  const { state, connection, watch, feeding } = tab;
  const silent = connection.silence();
  say("state", describe(state, { now: performance.now(), watch, silent }));
  $("state").dataset["kind"] = state.kind;
  const offered = remedy(state);
  $("retry").hidden = !offered;
  say("retry", offered);
  $("feeding").hidden = !feeding;
  if (feeding) say("fed", `Pasting: ${size(feeding.fed)} of ${size(feeding.total)}`);
  const { attached, latency } = connection;
  const took = latency === null ? "" : ` · ${latency.toFixed(0)} ms`;
  say("facts", attached ? `${attached.session} · ${attached.generation} · build ${attached.build}${took}` : "");
  const title = `${tab.name(tabs.all.indexOf(tab) + 1)} · Terminals`;
  if (document.title !== title) document.title = title;
}

function retry(): void {
  const tab = tabs.chosen;
  if (!tab) return;
  const { state, connection, profile } = tab;
  if (state.kind === "waiting" || state.kind === "breaker") connection.retryNow();
  else if (state.kind === "taken-over") connection.open();
  else {
    tabs.open(profile);
    tabs.close(tab);
  }
}

function act(action: Action): void {
  const tab = tabs.chosen;
  switch (action.kind) {
    case "new":
      tabs.open("system");
      break;
    case "reopen":
      tabs.reopen();
      break;
    case "find":
      find.open();
      break;
    case "copy":
      if (tab?.term.hasSelection()) void write(tab.term.getSelection());
      break;
    case "paste":
      void read().then((text) => {
        if (text) tab?.paste(text);
      });
      break;
    case "choose": {
      const wanted = tabs.all[action.index];
      if (wanted) tabs.choose(wanted);
      break;
    }
    case "move":
      tabs.move(action.by);
      break;
  }
}

function restyle(wanted: Settings): void {
  settings = wanted;
  document.documentElement.dataset["theme"] = wanted.theme;
  for (const tab of tabs.all) tab.restyle(wanted);
}

function signIn(refusal = ""): void {
  token.forget();
  $("app").hidden = true;
  $("sign-in").hidden = false;
  $("refusal").textContent = refusal;
  $("token").focus();
}

function unauthorized(): void {
  signIn("The token was not accepted.");
}

async function enter(): Promise<void> {
  try {
    info = await ask<Info>("info");
  } catch (error) {
    if (error instanceof Unauthorized) unauthorized();
    else signIn(`The server says: ${String(error)}`);
    return;
  }
  $("sign-in").hidden = true;
  $("app").hidden = false;
  const kept = keptTabs();
  if (kept.length) for (const tab of kept) tabs.add(tab);
  else tabs.open("system");
}

/** Begin. The page's loader calls it once everything is there. */
export async function start(): Promise<void> {
  allowStyles(document.querySelector<HTMLMetaElement>('meta[name="style-nonce"]')?.content ?? "");
  restyle(settings);
  $("boot").hidden = true;
  $("new-system").onclick = () => tabs.open("system");
  $("new-claude").onclick = () => tabs.open("claude");
  $("retry").onclick = () => {
    retry();
    tabs.chosen?.term.focus(); // whoever has pressed a button wants to type on
  };
  $("stop-feeding").onclick = () => {
    tabs.chosen?.stopFeeding();
    tabs.chosen?.term.focus();
  };
  sessionList(({ profile, id }, watch) => tabs.show({ profile, session: id, epoch: null, watch }), unauthorized);
  preferences(() => settings, restyle);
  onSystemTheme(() => restyle(settings));
  let before = settings.fontSize;
  onPinch($("screens"), (factor) => {
    const fontSize = sized(before * factor);
    if (fontSize !== settings.fontSize) restyle({ ...settings, fontSize });
  }, () => {
    before = settings.fontSize;
    save(settings);
  });
  $("sign-in").onsubmit = (event) => {
    event.preventDefault();
    token.set($("token", HTMLInputElement).value.trim());
    void enter();
  };
  new ResizeObserver(() => tabs.chosen?.fill()).observe($("screens"));
  addEventListener("pagehide", () => tabs.keepInput());
  addEventListener("hashchange", () => {
    // A link with a token was opened in this very tab: the page's loader takes it.
    if (token.inAddress()) location.reload();
  });
  const probe = () => {
    for (const tab of tabs.all) tab.connection.probe();
  };
  addEventListener("online", probe);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) probe();
  });
  addEventListener("keydown", (event) => {
    const action = settings.keys && !$("app").hidden ? actionOf(event) : null;
    if (!action || (action.kind === "paste" && !isSecureContext)) return; // there the browser itself pastes
    event.preventDefault();
    event.stopPropagation(); // a program would get it, too
    act(action);
  }, true);
  setInterval(show, SHOW_MS);
  if (token.get()) await enter();
  else signIn();
}
