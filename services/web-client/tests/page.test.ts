// The parts of the page that need no browser.

import { describe, expect, test } from "vitest";

import embedding from "../../../docs/how-to/embed.md?raw";

import example from "./embed.example.ts?raw";
import trouble from "../../terminals/web/oidc/trouble.py?raw";
import { Conversation } from "../src/conversation.js";
import { Announcer, spoken } from "../src/page/announcer.js";
import { copied } from "../src/page/clipboard.js";
import { Feeder } from "../src/page/feeder.js";
import { actionOf, controlled, onScreen } from "../src/page/keys.js";
import type { Pressed } from "../src/page/keys.js";
import { cleaned, linesOf, needsAsking } from "../src/page/paste.js";
import { said } from "../src/page/provider.js";
import { fromText, toText } from "../src/page/remembered.js";
import { isReport } from "../src/page/reports.js";
import { read, sized } from "../src/page/settings.js";
import { describe as told, pictured, remedy, size } from "../src/page/status.js";
import type { Bytes } from "../src/rules.js";
import type { State } from "../src/connection.js";

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (data: Bytes) => new TextDecoder().decode(data);

describe("what is pasted", () => {
  test.each([
    ["one\ntwo\r\nthree\rfour", "one\rtwo\rthree\rfour"],
    ["a\tb", "a\tb"],
    ["safe\x1b[201~\nrm -rf /\n", "safe[201~\rrm -rf /\r"],
    ["c1\x9b201~\x90x\x9c", "c1201~x"],
    ["\x00\x03\x04\x7f\x08end", "end"],
    ["grüße 👩‍👩‍👧 ñ", "grüße 👩‍👩‍👧 ñ"],
  ])("%j becomes %j", (text, wanted) => expect(cleaned(text)).toBe(wanted));

  test("a person is asked where each line would run", () => {
    expect(needsAsking("one\rtwo", false)).toBe(true);
    expect(needsAsking("one\r\r", false)).toBe(true);
    expect(needsAsking("one\rtwo", true)).toBe(false);
    expect(needsAsking("one\r", false)).toBe(false);
    expect(linesOf("one\rtwo\rthree")).toBe(3);
  });
});

describe("a paste that is larger than what may wait", () => {
  class Outlet {
    free = 1 << 20;
    sent = "";
    room = () => this.free;
    send = (data: Bytes) => {
      expect(data.length).toBeLessThanOrEqual(this.free);
      this.free -= data.length;
      this.sent += decode(data);
    };
  }

  test("goes on as there is room, in order with what is typed meanwhile", () => {
    const outlet = new Outlet();
    const feeder = new Feeder(outlet);
    const text = "0123456789".repeat(300_000);
    feeder.give(encode(text));
    expect(feeder.busy).toBe(true);
    expect(feeder.progress.total).toBe(3_000_000);
    feeder.give(encode("typed"));
    for (let turns = 0; feeder.busy; turns += 1) {
      expect(turns).toBeLessThan(10);
      expect(outlet.free, "room is kept for keys").toBeGreaterThan(0);
      outlet.free = 1 << 20;
      feeder.feed();
    }
    expect(outlet.sent).toBe(`${text}typed`);
    expect(feeder.progress).toEqual({ fed: 0, total: 0 });
  });

  test("what is short goes at once", () => {
    const outlet = new Outlet();
    outlet.free = 1000;
    new Feeder(outlet).give(encode("ls\r"));
    expect(outlet.sent).toBe("ls\r");
  });

  test("that is stopped ends the program's paste, and drops the rest", () => {
    const outlet = new Outlet();
    const feeder = new Feeder(outlet);
    feeder.give(encode(`<${"x".repeat(2_000_000)}`), encode(">"));
    outlet.free = 1 << 20;
    feeder.drop();
    expect(feeder.busy).toBe(false);
    expect(outlet.sent.endsWith("x>")).toBe(true);
    expect(outlet.sent.length).toBeLessThan(1_000_000);
  });

  test("that has gone out is not ended twice", () => {
    const outlet = new Outlet();
    const feeder = new Feeder(outlet);
    feeder.give(encode("<x"), encode(">"));
    feeder.drop();
    expect(outlet.sent).toBe("<x>");
  });
});

describe("keys", () => {
  const press = (key: string, held: Partial<Pressed> = {}): Pressed => ({
    key, code: `Key${key.toUpperCase()}`, altKey: false, ctrlKey: false, shiftKey: false, metaKey: false, ...held,
  });

  test.each<[string, Pressed, unknown]>([
    ["Alt+N", press("n", { altKey: true }), { kind: "new" }],
    ["Alt+3", press("3", { altKey: true, code: "Digit3" }), { kind: "choose", index: 2 }],
    ["Alt+0", press("0", { altKey: true, code: "Digit0" }), null],
    ["Ctrl+Shift+F", press("F", { ctrlKey: true, shiftKey: true }), { kind: "find" }],
    ["Ctrl+Shift+V", press("V", { ctrlKey: true, shiftKey: true }), { kind: "paste" }],
    ["Alt+Shift+T", press("T", { altKey: true, shiftKey: true }), { kind: "reopen" }],
    ["Alt+Shift+Left", press("ArrowLeft", { altKey: true, shiftKey: true, code: "ArrowLeft" }), { kind: "move", by: -1 }],
    ["n", press("n"), null],
    ["Ctrl+F, the program's", press("f", { ctrlKey: true }), null],
    ["Ctrl+Alt+3, a letter of some keyboards", press("3", { ctrlKey: true, altKey: true }), null],
    ["Cmd+Alt+N, the system's", press("n", { altKey: true, metaKey: true }), null],
    ["Alt+Shift+D", press("D", { altKey: true, shiftKey: true }), { kind: "split", direction: "row" }],
    ["Alt+Shift+E", press("E", { altKey: true, shiftKey: true }), { kind: "split", direction: "column" }],
  ])("%s", (_, pressed, wanted) => {
    expect(actionOf(pressed, false)).toEqual(wanted);
    expect(actionOf(pressed, true)).toEqual(wanted);
  });

  test.each<[string, Pressed, unknown]>([
    ["Alt+Left", press("ArrowLeft", { altKey: true, code: "ArrowLeft" }), { kind: "focus", side: "left" }],
    ["Alt+Down", press("ArrowDown", { altKey: true, code: "ArrowDown" }), { kind: "focus", side: "down" }],
    ["Alt+Shift+W", press("W", { altKey: true, shiftKey: true }), { kind: "close-pane" }],
  ])("%s is the program's where there is one pane", (_, pressed, wanted) => {
    expect(actionOf(pressed, false)).toBeNull();
    expect(actionOf(pressed, true)).toEqual(wanted);
  });

  test("on the screen", () => {
    expect(onScreen("↑", false)).toBe("\x1b[A");
    expect(onScreen("↑", true)).toBe("\x1bOA");
    expect(onScreen("Esc", true)).toBe("\x1b");
    expect(["c", "C", "[", " ", "?", "1"].map(controlled)).toEqual(["\x03", "\x03", "\x1b", "\x00", "\x7f", "1"]);
    expect(controlled("\x1b[A")).toBe("\x1b[A");
  });
});

test.each([
  ["\x1b[?1;2c", true], ["\x1b[5;7R", true], ["\x1b[0n", true], ["\x1b[I", true], ["\x1b[O", true],
  ["\x1b[?2004;1$y", true], ["\x1b]11;rgb:0e/11/16\x1b\\", true], ["\x1bP>|xterm\x1b\\", true], ["\x1b[8;24;80t", true],
  ["a", false], ["\x1b[A", false], ["\x1b", false], ["\x1bOI", false], ["\x1b[200~", false],
])("%j is a report: %s", (text, wanted) => expect(isReport(text)).toBe(wanted));

test.each([
  ["c;aGVsbG8=", "hello"],
  [";Z3LDvMOfZQ==", "grüße"],
  ["c;?", null],
  ["c;", null],
  ["c;!!!!", null],
  ["c;/w==", null],
  ["p0;aGk=", "hi"],
])("OSC 52 %j asks to copy %j", (data, wanted) => expect(copied(data)).toBe(wanted));

test("what is typed ahead is kept byte for byte", () => {
  const data = Uint8Array.from({ length: 100_000 }, (_, at) => at % 256);
  expect(fromText(toText(data))).toEqual(data);
  expect(toText(data).length).toBeLessThan(1.34 * data.length);
});

test.each([
  [null, {}],
  ["{", {}],
  ["null", {}],
  ['{"theme": "light", "fontSize": 99, "cursor": "beam", "keys": false, "screenReader": 1}', { theme: "light", fontSize: 32, keys: false }],
  ['{"fontSize": "x"}', {}],
])("settings %j", (text, unusual) => {
  const usual = { theme: "system", fontSize: 14, cursor: "block", keys: true, screenReader: false, images: false };
  expect(read(text)).toEqual({ ...usual, ...unusual });
});

test("sizes of letters", () => expect([3, 14.4, 99, NaN].map(sized)).toEqual([8, 14, 32, 14]));

describe("the line below", () => {
  const at = { now: 1000, watch: false, silent: 0 };
  const kinds: [State, string, string][] = [
    [{ kind: "connected" }, "Connected", ""],
    [{ kind: "connecting", again: true }, "Reconnecting…", ""],
    [{ kind: "waiting", retryAt: 3500, reason: "It was lost.", planned: false }, "It was lost. Reconnecting in 2.5 s", "Try now"],
    [{ kind: "waiting", retryAt: 500, reason: "It was lost.", planned: false }, "It was lost. Reconnecting in 0.0 s", "Try now"],
    [{ kind: "ended", status: 127 }, "The shell has ended with status 127", "New shell"],
    [{ kind: "taken-over" }, "This session is open in another window now", "Take it back"],
  ];
  test.each(kinds)("%j", (state, text, offered) => {
    expect(told(state, at)).toBe(text);
    expect(remedy(state, true)).toBe(offered);
    expect(remedy(state, false)).toBe(offered === "New shell" ? "" : offered); // who may begin none is offered none
  });

  test("a host that may be gone for good is asked again, and offers another shell to who may begin one", () => {
    const lost: State = { kind: "waiting", retryAt: 9000, reason: "Host b is away.", planned: false, hostLost: true };
    expect(told(lost, at)).toBe("Host b is away. This shell may be lost with it. Reconnecting in 8.0 s");
    expect(told({ ...lost, kind: "breaker" }, at)).toContain("This shell may be lost with it. It failed several times");
    expect([remedy(lost, true), remedy({ ...lost, kind: "breaker" }, true)]).toEqual(["New shell", "New shell"]);
    expect(remedy(lost, false)).toBe("Try now");
  });

  test("a picture is said to be one, and of when", () => {
    const when = new Date(2026, 10, 29, 9, 5, 7);
    expect(pictured(when.getTime() / 1000, new Date(2026, 10, 29, 23))).toBe("You see its last screen, of 09:05:07. ");
    expect(pictured(when.getTime() / 1000, new Date(2026, 10, 30, 1))).toBe("You see its last screen, of 2026-11-29 09:05:07. ");
    expect(pictured(null)).toBe("");
  });

  test("a server that does not answer is said to be silent", () => {
    expect(told({ kind: "connected" }, { ...at, silent: 3999 })).toBe("Connected");
    expect(told({ kind: "connected" }, { ...at, silent: 4100 })).toBe("No answer for 4 s. What is typed is kept");
  });

  test("sizes", () => expect([size(999_000), size(3_210_000)]).toEqual(["999 KB", "3.2 MB"]));
});

describe("what is read aloud", () => {
  const at = { watch: false, silent: 0 };

  /** All that is said while the state is as `given(ms)` says, looked at as often as the page does. */
  function heard(given: (now: number) => { state: State; silent?: number }, until: number): string[] {
    const said: string[] = [];
    const announcer = new Announcer((text) => said.push(text));
    for (let now = 0; now <= until; now += 250) {
      const { state, silent = 0 } = given(now);
      announcer.stands(spoken(state, { ...at, silent, now }), state.kind === "connected" && silent === 0, now);
    }
    return said;
  }
  const well: State = { kind: "connected" };

  test("is a wait, once, and where it is long, at few steps of it", () => {
    const waiting: State = { kind: "breaker", retryAt: 60_000, reason: "It was lost.", planned: false };
    expect(heard(() => ({ state: waiting }), 60_000)).toEqual([
      "It was lost. Reconnecting within 60 s", "It was lost. Reconnecting within 30 s", "It was lost. Reconnecting within 10 s",
    ]);
    expect(heard(() => ({ state: { ...waiting, retryAt: 7_000 } }), 7_000)).toEqual(["It was lost. Reconnecting within 10 s"]);
    expect(spoken({ ...waiting, retryAt: 600_000 }, { ...at, now: 0 })).toBe("It was lost. Reconnecting later");
  });

  test("is nothing that is over before it could be heard", () => {
    const lost: State = { kind: "waiting", retryAt: 5_700, reason: "It was lost.", planned: false };
    const briefly = (now: number) => ({ state: now >= 5_000 && now < 5_750 ? lost : well });
    expect(heard(briefly, 60_000)).toEqual(["Connected"]);
  });

  test("is that all is well again, at once", () => {
    const ended: State = { kind: "waiting", retryAt: 9_000, reason: "It was lost.", planned: false };
    const said = heard((now) => ({ state: now < 4_000 ? well : now < 8_000 ? ended : well }), 8_000);
    expect(said).toEqual(["Connected", "It was lost. Reconnecting within 10 s", "Connected"]);
  });

  test("is a silence, at few steps of it", () => {
    const said = heard((now) => ({ state: well, silent: now }), 70_000);
    expect(said).toEqual(["Connected", ...[4, 10, 30, 60].map((seconds) => `No answer for ${seconds} s. What is typed is kept`)]);
  });
});

test("the example of how to embed is one that compiles", () => expect(embedding).toContain(example));

test("a server that says nothing is told from one that nobody has asked", () => {
  const talk = new Conversation({ token: "t" }, "me", { pings: true });
  const said = (fields: object) => JSON.stringify(fields);
  const attached = {
    type: "attached", channel: 0, session: "s", status: "created", epoch: "e", generation: "g", build: "b", origin: "g",
    profile: "system", output: 0, skipped: 0, input: 0,
  };
  talk.open(0);
  talk.connected(0);
  talk.received(0, said({ type: "welcome", version: 3, heartbeat: 15 }));
  talk.received(0, said(attached));
  expect(talk.unanswered, "asked as soon as it is attached").toBe(0);
  talk.received(50, said({ type: "pong", t: 0 }));
  expect(talk.unanswered).toBeNull();
  const asked = (now: number) => {
    talk.take();
    talk.ask(now);
    return talk.take().some((item) => item.kind === "send");
  };
  expect(asked(2999), "not so soon after the last time").toBe(false);
  expect(asked(3000)).toBe(true);
  expect(asked(6000), "and again, while there is no answer").toBe(true);
  expect(talk.unanswered, "since when there is none").toBe(3000);
  talk.lost(7000, 1006);
  expect(talk.unanswered, "nobody is there to answer").toBeNull();
});

describe("why a provider has let nobody in", () => {
  test("each reason that the server may give has its words, and nothing else has any", () => {
    const reasons = /Literal\[(.*)\]/.exec(trouble)?.[1]?.match(/\w+/g) ?? [];
    expect(reasons).toContain("denied");
    for (const reason of reasons) expect(said(reason)).toMatch(/^[A-Z].*\.$/);
    for (const other of ["", "other", "constructor", "__proto__", "<b>"]) expect(said(other)).toBe("");
  });
});
