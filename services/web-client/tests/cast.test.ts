// Recordings: what is read, found and played.

import { describe, expect, test } from "vitest";

import { BadCast, Printed, readCast, sizeOf, withoutPauses } from "../src/page/cast.js";
import type { CastEvent } from "../src/page/cast.js";
import { clock, Player } from "../src/page/player.js";

const HEADER = '{"version":3,"term":{"cols":80,"rows":24},"timestamp":1}\n';
const event = (at: number, data: string, code = "o"): CastEvent => ({ at, code, data });

describe("a recording is read", () => {
  test("with the times since its beginning, without marks, and without what was not written to its end", () => {
    const text = `${HEADER}[0.5, "o", "a\\u001b[1m"]\n# offset 1\n\n[1.25, "r", "90x30"]\n[0, "x", "0"]\n[3, "o", "tor`;
    expect(readCast(text)).toEqual({
      cols: 80, rows: 24, events: [event(0.5, "a\x1b[1m"), event(1.75, "90x30", "r"), event(1.75, "0", "x")],
    });
  });

  test.each([
    "", "{}\n", "null\n", "[1]\n", "no JSON\n",
    '{"version":2,"width":80,"height":24}\n',
    '{"version":3,"term":{"cols":0,"rows":24}}\n',
    '{"version":3,"term":{"cols":"80","rows":24}}\n',
    `${HEADER}[1]\n`, `${HEADER}[-1, "o", "x"]\n`, `${HEADER}["1", "o", "x"]\n`, `${HEADER}[1, "o", 2]\n`, `${HEADER}{}\n`, `${HEADER}[1, "o"\n`,
  ])("%j is none", (text) => expect(() => readCast(text)).toThrow(BadCast));

  test.each([["90x30", { cols: 90, rows: 30 }], ["0x3", null], ["90", null], ["x", null], ["1e9x2", null], ["", null]])(
    "the size %j", (text, wanted) => expect(sizeOf(text)).toEqual(wanted));
});

test("pauses are as long as they may be, and no longer", () => {
  const events = [event(1, "a"), event(100, "b"), event(100.5, "c"), event(200, "d")];
  expect(withoutPauses(events, 2).map(({ at }) => at)).toEqual([1, 3, 3.5, 5.5]);
});

describe("what was printed is found", () => {
  const found = (texts: string[], wanted: string) => new Printed(texts.map((text, at) => event(at, text))).find(wanted);

  test.each([
    [["one two", "three", "two"], "two", [0, 2]],
    [["on", "e t", "wo"], "one two", [2]],
    [["$ ls\r\n", "\x1b[1;32mfi", "\x1b[0mle\r\n"], "file", [2]],
    [["\x1b]0;a title\x07text", "\x1b]8;;http://x\x1b\\link"], "title", []],
    [["\x1b]0;a title\x07text", "\x1b]8;;http://x\x1b\\link"], "textlink", [1]],
    [["a\x1b", "[31mb"], "ab", [1]],
    [["GRÜSSE"], "grüsse", [0]],
    [["a.b", "axb"], "a.b", [0]],
    [["(*[$^\\/-"], "(*[$^\\/-", [0]],
    [["x"], "", []],
    [[], "x", []],
    [["aaa"], "a", [0, 0, 0]],
    [["line one\r\nline two"], "one\nline", [0]],
  ])("in %j: %j", (texts, wanted, events) => expect(found(texts, wanted)).toEqual(events));

  test("in a moment, in a long one, and not without end", () => {
    const long = new Printed(Array.from({ length: 20_000 }, (_, at) => event(at, `\x1b[3${String(at % 8)}mline ${String(at)}\r\n`)));
    expect(long.find("line 19999\n")).toEqual([19_999]);
    expect(long.find("line")).toHaveLength(10_000);
  });

  test("without the resizes between", () => {
    expect(new Printed([event(0, "a"), event(1, "9x9", "r"), event(2, "b")]).find("ab")).toEqual([2]);
    expect(new Printed([event(0, "9x9", "r")]).find("9x9")).toEqual([]);
  });
});

describe("a player", () => {
  const EVENTS = [
    event(0, "a"), event(1, "b"), event(1, "100x30", "r"), event(1, "c"), event(5, "gap", "m"), event(6, "d"), event(7, "3", "x"),
  ];

  class Stage {
    done: string[] = [];
    reset = (cols: number, rows: number) => this.done.push(`reset ${String(cols)}x${String(rows)}`);
    write = (text: string) => this.done.push(text);
    resize = (cols: number, rows: number) => this.done.push(`${String(cols)}x${String(rows)}`);
    note = (text: string) => this.done.push(`(${text})`);
    take = () => this.done.splice(0);
  }

  const made = () => {
    const stage = new Stage();
    const player = new Player({ cols: 80, rows: 24, events: EVENTS }, EVENTS, stage);
    return { stage, player };
  };

  test("shows each thing when it was printed, at its speed", () => {
    const { stage, player } = made();
    expect(stage.take()).toEqual(["reset 80x24", "a"]);
    player.tick(1);
    expect(stage.take()).toEqual([]);
    player.play();
    player.tick(0.5);
    expect(stage.take()).toEqual([]);
    player.speed = 2;
    player.tick(0.25);
    expect(stage.take()).toEqual(["b", "100x30", "c"]);
    player.speed = 16;
    player.tick(100);
    expect(stage.take()).toEqual(["(gap)", "d", "(The shell has ended with status 3)"]);
    expect([player.playing, player.over, player.position]).toEqual([false, true, 7]);
    player.play();
    expect(stage.take()).toEqual(["reset 80x24", "a"]);
    expect([player.playing, player.position]).toEqual([true, 0]);
  });

  test("goes forward with what is missing, and back from the beginning", () => {
    const { stage, player } = made();
    stage.take();
    player.seek(6.5);
    expect(stage.take()).toEqual(["b", "100x30", "c", "(gap)", "d"]);
    player.seek(0.5);
    expect(stage.take()).toEqual(["reset 80x24", "a"]);
    player.seek(-3);
    expect(player.position).toBe(0);
    player.seek(99);
    expect(player.position).toBe(7);
  });

  test("goes to just after an event, be it in the midst of others of its moment", () => {
    const { stage, player } = made();
    player.seek(7);
    stage.take();
    player.seekEvent(1);
    expect(stage.take()).toEqual(["reset 80x24", "ab"]);
    expect(player.position).toBe(1);
    player.seekEvent(5);
    expect(stage.take()).toEqual(["100x30", "c", "(gap)", "d"]);
  });

  test("stays where it is when pauses are skipped, or are not any more", () => {
    const { stage, player } = made();
    player.seek(4);
    player.retime(withoutPauses(EVENTS, 2));
    expect([player.position, player.duration]).toEqual([3, 5]);
    player.seek(2);
    player.retime(EVENTS);
    expect([player.position, player.duration]).toEqual([2, 7]);
    stage.take();
    player.seek(2.5);
    expect(stage.take()).toEqual([]);
  });

  test("of nothing has nothing to play", () => {
    const player = new Player({ cols: 80, rows: 24, events: [] }, [], new Stage());
    player.play();
    player.tick(1);
    expect([player.playing, player.duration, player.position]).toEqual([false, 0, 0]);
  });
});

test.each([[0, "0:00"], [61.9, "1:01"], [3661, "1:01:01"]])("%d seconds are %s", (seconds, text) => expect(clock(seconds)).toBe(text));
