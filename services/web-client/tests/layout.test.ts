// How panes share the room of a tab, and what a reload knows of it.

import { afterEach, describe, expect, test, vi } from "vitest";

import { beside, mapped, panesOf, places, readLayout, split, without } from "../src/page/layout.js";
import type { Layout, Side } from "../src/page/layout.js";
import { keepTabs, keptTabs } from "../src/page/remembered.js";
import type { KeptPane } from "../src/page/remembered.js";

const alone: Layout<string> = { pane: "a" };
/** a | b, each above another: a over c, b over d. */
const four = split(split(split(alone, "a", "row", "b"), "a", "column", "c"), "b", "column", "d");
const text = (value: string) => value;
const name = (value: unknown) => (typeof value === "string" ? value : null);

describe("a layout", () => {
  test("is split in halves, in the order in which it is read", () => {
    expect(panesOf(four)).toEqual(["a", "c", "b", "d"]);
    const { panes, splits } = places(four);
    expect(Object.fromEntries(panes)).toEqual({
      a: { left: 0, top: 0, width: 0.5, height: 0.5 },
      c: { left: 0, top: 0.5, width: 0.5, height: 0.5 },
      b: { left: 0.5, top: 0, width: 0.5, height: 0.5 },
      d: { left: 0.5, top: 0.5, width: 0.5, height: 0.5 },
    });
    expect(splits.size).toBe(3);
  });

  test("gives the room of one that goes to its neighbour", () => {
    const three = without(four, "a");
    expect(three && panesOf(three)).toEqual(["c", "b", "d"]);
    expect(three && places(three).panes.get("c")).toEqual({ left: 0, top: 0, width: 0.5, height: 1 });
    expect(without(alone, "a")).toBeNull();
    expect(without(four, "x")).toBe(four);
  });

  test("keeps the splits that a change does not touch, which somebody may be dragging", () => {
    if ("pane" in four) throw new Error("it is split");
    const other = without(four, "a");
    expect(other && !("pane" in other) && other.second).toBe(four.second);
  });

  test("keeps the room that a person has given", () => {
    const two = split(alone, "a", "row", "b");
    if ("pane" in two) throw new Error("it is split");
    two.share = 0.3;
    expect(places(split(two, "b", "column", "c")).panes.get("c")).toEqual({ left: 0.3, top: 0.5, width: 0.7, height: 0.5 });
  });

  test.each<[string, Side, string | null]>([
    ["a", "right", "b"], ["a", "down", "c"], ["a", "left", null], ["a", "up", null],
    ["d", "left", "c"], ["d", "up", "b"], ["d", "right", null], ["d", "down", null], ["x", "up", null],
  ])("beside %s, %s, is %s", (pane, side, wanted) => expect(beside(four, pane, side)).toBe(wanted));

  test("of several on one side, the one is meant that is beside most of it", () => {
    const three = split(split(alone, "a", "row", "b"), "b", "column", "c");
    if ("pane" in three || "pane" in three.second) throw new Error("it is split");
    expect(beside(three, "a", "right")).toBe("b");
    three.second.share = 0.3;
    expect(beside(three, "a", "right")).toBe("c");
    expect(beside(three, "b", "left")).toBe("a");
  });

  test("is read back as it was", () => {
    expect(readLayout(JSON.parse(JSON.stringify(four)), name)).toEqual(four);
    expect(mapped(four, text)).toEqual(four);
    expect(mapped(four, () => null)).toBeNull();
  });

  const five = split(four, "d", "row", "e");
  test.each([
    ["nothing", null], ["a number", 7], ["half a split", { direction: "row", share: 0.5, first: { pane: "a" } }],
    ["no direction", { direction: "up", share: 0.5, first: { pane: "a" }, second: { pane: "b" } }],
    ["no share", { direction: "row", share: "x", first: { pane: "a" }, second: { pane: "b" } }],
    ["no pane", { direction: "row", share: 0.5, first: { pane: 1 }, second: { pane: "b" } }],
    ["too many", five],
  ])("%s is none", (_, found) => expect(readLayout(found, name)).toBeNull());

  test("a share that leaves no room is one that leaves some", () => {
    const found = { direction: "row", share: 7, first: { pane: "a" }, second: { pane: "b" } };
    expect(readLayout(found, name)).toMatchObject({ share: 0.9 });
  });
});

describe("a reload", () => {
  afterEach(() => vi.unstubAllGlobals());

  const begin = () => {
    const kept = new Map<string, string>();
    vi.stubGlobal("sessionStorage", {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => kept.set(key, value),
    });
    return kept;
  };
  const pane = (session: string | null): KeptPane => ({ profile: "system", session, epoch: "e", watch: false });
  const [a, b, c, fresh] = [pane("a"), pane("b"), pane("c"), pane(null)];
  const divided = { direction: "row", share: 0.25, first: { pane: a }, second: { pane: b } } as const;
  const tabs = [{ layout: divided, focused: 1 }, { layout: { pane: c }, focused: 0 }, { layout: { pane: fresh }, focused: 0 }];

  test("finds the tabs, their panes, and where a person was", () => {
    begin();
    keepTabs({ tabs, chosen: 1 });
    expect(keptTabs()).toEqual({ tabs, chosen: 1 });
  });

  test("of a page of an earlier build finds its tabs, which finds every pane as one", () => {
    const kept = begin();
    keepTabs({ tabs, chosen: 0 });
    const list = JSON.parse(kept.get("terminals.tabs") ?? "") as KeptPane[];
    expect(list).toEqual([a, b, c, fresh]);
    kept.set("terminals.tabs", JSON.stringify([c, a, b])); // the earlier page has moved and closed some
    expect(keptTabs().tabs.map(({ layout }) => layout)).toEqual([{ pane: c }, { pane: a }, { pane: b }]);
    expect(keptTabs().chosen).toBe(2);
  });

  test.each(["{", "null", "7", '{"tabs": 1}', '{"tabs": []}', '{"tabs": [null]}', '{"tabs": [{"layout": {"pane": 0}}, {"layout": {"pane": 0}}]}'])(
    "is not led astray by %s",
    (damaged) => {
      const kept = begin();
      keepTabs({ tabs, chosen: 0 });
      const sessions = JSON.stringify(["a", "b", "c", null]);
      kept.set("terminals.splits", damaged.replace('{"', `{"sessions": ${sessions}, "`));
      expect(keptTabs().tabs).toHaveLength(4);
    },
  );
});
