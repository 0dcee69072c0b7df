// The page: tabs of terminals, their state, the list of sessions, and what a person can set.

import { Announcer, spoken } from "./announcer.js";
import { ask, carried, OtherBuild, signIn, signOut, Unauthorized } from "./api.js";
import type { Info, SessionInfo, Visitor } from "./api.js";
import { read, write } from "./clipboard.js";
import { $, allowStyles } from "./dom.js";
import { findBar } from "./find.js";
import { actionOf } from "./keys.js";
import type { Action } from "./keys.js";
import { mapped } from "./layout.js";
import { preferences } from "./preferences.js";
import { broughtBack, leaveFor, offer } from "./provider.js";
import { forgetOthers, keptTabs } from "./remembered.js";
import { recordingList, seesRecordings } from "./recordings.js";
import { sessionList } from "./sessions.js";
import { sharing } from "./share.js";
import { load, onSystemTheme, save, sized } from "./settings.js";
import type { Settings } from "./settings.js";
import { describe, pictured, remedy, SILENT_MS, size } from "./status.js";
import { Tabs } from "./tabs.js";
import { filesPanel } from "./transfers.js";
import { onPinch, ScreenKeys } from "./touch.js";

const SHOW_MS = 250;
const LOOK_MS = 5000; // between two looks at who answers, while a connection waits
const OTHERS = 6; // times in a row that another build has answered: it alone serves, and has a page of its own

const TRIES = 20;
const NAMELESS = "a holder of the token";

let settings = load();
let info: Info | null = null;
let looked = 0;
let others = 0;

const current = () => tabs.chosen;
const screenKeys = new ScreenKeys(current);

const tabs: Tabs = new Tabs(
  {
    get settings() {
      return settings;
    },
    url(profile) {
      const url = new URL(`ws/${profile}`, document.baseURI);
      url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
      if (info?.one_port) return url.href;
      return `${url.protocol}//${location.hostname}:${String(info?.listeners[profile])}/`;
    },
    unauthorized: look,
    files(said) {
      panel.show();
      if (said) panel.say(said);
    },
    typed: (text) => screenKeys.typed(text),
  },
  {
    changed: show,
    ended: (status) => announce(`A shell has ended with status ${status}, and its pane is closed`),
    none: () => {
      if (begins()) tabs.open("system");
      else $("list").click();
    },
  },
);

/** Whether the visitor may begin sessions. */
const begins = () => info?.visitor.role === "operator" || (info?.visitor.role === "user" && !info.visitor.session);

const find = findBar(current);
const panel = filesPanel(() => current()?.files ?? null, () => current()?.term.focus());

const announce = (text: string) => say("announced", text);
const announcer = new Announcer(announce);

/** What is said is put there only where it is another: whoever listens to the page would hear it again. */
function say(id: string, text: string): void {
  const where = $(id);
  if (where.textContent !== text) where.textContent = text;
}

function show(): void {
  const tab = tabs.chosen;
  if (!tab) return;
  panel.show();
  const { state, connection, watch, feeding, recording } = tab;
  if (state.kind === "breaker" || state.kind === "unauthorized" || (state.kind === "waiting" && !state.planned)) look();
  const now = performance.now();
  const silent = connection.silence(now);
  say("state", pictured(connection.screenAt) + describe(state, { now, watch, silent, recording }));
  announcer.stands(spoken(state, { now, watch, silent, recording }), state.kind === "connected" && silent < SILENT_MS, now);
  $("state").dataset["kind"] = state.kind;
  const offered = remedy(state, begins());
  $("retry").hidden = !offered;
  say("retry", offered);
  $("feeding").hidden = !feeding;
  if (feeding) say("fed", `Pasting: ${size(feeding.fed)} of ${size(feeding.total)}`);
  const { attached, latency } = connection;
  const took = latency === null ? "" : ` · ${latency.toFixed(0)} ms`;
  say("facts", attached ? `${attached.session} · ${attached.generation} · build ${attached.build}${took}` : "");
  const title = `${tabs.name(tab)} · Terminals`;
  if (document.title !== title) document.title = title;
}

function retry(): void {
  const tab = tabs.chosen;
  if (!tab) return;
  const { state, connection } = tab;
  if (state.kind === "waiting" || state.kind === "breaker") {
    // Beside it, and not in its place: a lost host may be back.
    if (state.hostLost && begins()) tabs.open(tab.profile);
    else connection.retryNow();
  } else if (state.kind === "taken-over") connection.open();
  else tabs.renew(tab);
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
    case "choose":
      tabs.chooseAt(action.index);
      break;
    case "split":
      if (begins()) tabs.split(action.direction);
      break;
    case "focus":
      tabs.focusBeside(action.side);
      break;
    case "close-pane":
      if (tab) tabs.close(tab);
      break;
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

function askWho(refusal = ""): void {
  $("app").hidden = true;
  $("sign-in").hidden = false;
  $("refusal").textContent = refusal;
  $("credential").focus();
  offer(() => {
    patiently(leaveFor).catch((error: unknown) => {
      $("refusal").textContent = failed(error);
    });
  }).catch(() => undefined); // there is the other way in
}

/** What to say of an answer that is none. */
function failed(error: unknown): string {
  // The visitor is not known any more. Another build may serve by now, and have a page of its own to ask.
  if (error instanceof Unauthorized && info) location.reload();
  return error instanceof Error ? error.message : String(error);
}

/** Where a connection waits, or is not let in: whether the visitor is still known to whoever serves now. */
function look(): void {
  if (performance.now() - looked < LOOK_MS) return;
  looked = performance.now();
  ask<Info>("info").then(() => {
    others = 0;
  }, (error: unknown) => {
    others = error instanceof OtherBuild ? others + 1 : 0;
    if (others === OTHERS) location.reload();
    failed(error);
  });
}

/** Come in, with a credential, which a link may have carried, or as whom the browser has signed in before. */
async function enter(credential: string | null, followed: boolean): Promise<void> {
  let linked: string | null = null;
  const refusal = broughtBack();
  try {
    const said = credential === null ? null : claims(credential);
    if (said?.role === "guest" && typeof said.session === "string") linked = said.session;
    if (credential && !(followed && (await keepsOwn(credential, linked !== null)))) await patiently(() => signIn(credential));
    info = await patiently(() => ask<Info>("info"));
  } catch (error) {
    if (!(error instanceof Unauthorized)) askWho(`The server says: ${failed(error)}`);
    else askWho(credential ? `Not let in: ${error.message}.` : refusal);
    return;
  }
  const { user, role, read_only: readOnly } = info.visitor;
  $("sign-in").hidden = true;
  $("app").hidden = false;
  for (const id of ["new-system", "new-claude", "split-row", "split-column"]) $(id).hidden = !begins();
  $("recordings-list").hidden = !seesRecordings(info.visitor);
  $("share").hidden = readOnly || (role !== "operator" && role !== "user");
  const names = { operator: user || NAMELESS, user, viewer: `${user}, who looks on`, guest: "a guest" };
  $("visitor").textContent = `Signed in as ${names[role]}`;
  forgetOthers(`${role} ${user}`);
  const { tabs: kept, chosen } = keptTabs();
  for (const { layout, focused } of kept) {
    const own = mapped(layout, (pane) => {
      if (role === "guest" && pane.session !== info?.visitor.session) return null;
      return { ...pane, watch: pane.watch || readOnly };
    });
    if (own) tabs.add({ layout: own, focused });
  }
  tabs.chooseAt(chosen);
  const wanted = linked ?? info.visitor.session;
  if (wanted) await showSession(wanted, role === "guest" ? readOnly : true);
  if (tabs.all.length) return;
  if (begins()) tabs.open("system");
  else $("list").click();
}

/** Ask again while the other build of a release answers that cannot. */
async function patiently<T>(what: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await what();
    } catch (error) {
      if (!(error instanceof OtherBuild) || tries === TRIES) throw error;
    }
    await new Promise((done) => setTimeout(done, 250));
  }
}

/** What a ticket says of itself; null where it is none. The server alone knows whether that is true. */
function claims(credential: string): { sub?: unknown; role?: unknown; session?: unknown } | null {
  try {
    const payload = credential.split(".")[1] ?? "";
    return JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/"))) as Record<string, unknown>;
  } catch {
    return null;
  }
}

/**
 * Whether somebody who has followed a link goes on as whom the browser has signed in before: an operator or a
 * viewer may see the session of a link anyway, and nobody is to become somebody else without knowing.
 */
async function keepsOwn(credential: string, linked: boolean): Promise<boolean> {
  const { visitor } = await patiently(() => ask<{ visitor: Visitor | null }>("visitor"));
  if (!visitor) return false;
  const { role, user } = visitor;
  if (linked && (role === "operator" || role === "viewer")) return true;
  const named = claims(credential)?.sub;
  const comer = linked ? "a guest" : typeof named === "string" && named ? named : NAMELESS;
  const present = role === "guest" ? "a guest" : user || NAMELESS;
  if (comer === present && !linked) return false;
  return !confirm(`You are signed in here as ${present}. Come in as ${comer}, in place of that?`);
}

/** Show a session that is open to the visitor. */
async function showSession(id: string, watch: boolean): Promise<void> {
  const { sessions } = await ask<{ sessions: SessionInfo[] }>("sessions");
  const found = sessions.find((session) => session.id === id && session.live);
  if (found) tabs.show({ profile: found.profile, session: id, epoch: null, watch });
}

/** Begin. The page's loader calls it once everything is there. */
export async function start(credential: string | null): Promise<void> {
  allowStyles(document.querySelector<HTMLMetaElement>('meta[name="style-nonce"]')?.content ?? "");
  restyle(settings);
  $("boot").hidden = true;
  $("new-system").onclick = () => tabs.open("system");
  $("new-claude").onclick = () => tabs.open("claude");
  $("split-row").onclick = () => tabs.split("row");
  $("split-column").onclick = () => tabs.split("column");
  $("retry").onclick = () => {
    retry();
    tabs.chosen?.term.focus(); // whoever has pressed a button wants to type on
  };
  $("stop-feeding").onclick = () => {
    tabs.chosen?.stopFeeding();
    tabs.chosen?.term.focus();
  };
  sessionList({
    get visitor() {
      return info?.visitor ?? null;
    },
    open: ({ profile, id }, watch) => tabs.show({ profile, session: id, epoch: null, watch }),
    failed,
  });
  recordingList({
    get visitor() {
      return info?.visitor ?? null;
    },
    get settings() {
      return settings;
    },
    failed,
  });
  sharing(current, failed);
  preferences(() => settings, restyle);
  onSystemTheme(() => restyle(settings));
  const keep = () => tabs.keepInput();
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
    void enter($("credential", HTMLInputElement).value.trim(), false);
  };
  $("sign-out").onclick = () => {
    // Of what was typed nothing is to be sent in the name of whoever comes next.
    void signOut().then(({ leave }) => {
      removeEventListener("pagehide", keep);
      sessionStorage.clear();
      if (leave) location.assign(leave);
      else location.reload();
    }, (error: unknown) => alert(failed(error)));
  };
  new ResizeObserver(() => tabs.fill()).observe($("screens"));
  addEventListener("pagehide", keep);
  addEventListener("hashchange", () => {
    // A link was opened in this very tab: the page's loader takes what it carries.
    if (carried()) location.reload();
  });
  const probe = () => {
    for (const tab of tabs.all) tab.connection.probe();
  };
  addEventListener("online", probe);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) probe();
  });
  addEventListener("keydown", (event) => {
    const action = settings.keys && !$("app").hidden ? actionOf(event, tabs.panes.length > 1) : null;
    if (!action || (action.kind === "paste" && !isSecureContext)) return; // there the browser itself pastes
    event.preventDefault();
    event.stopPropagation(); // a program would get it, too
    act(action);
  }, true);
  setInterval(show, SHOW_MS);
  await enter(credential, true);
}
