// How the panes of a tab share its room: a tree, whose leaves are panes and whose branches divide their room in two.
// Boxes are shares of the whole, from 0 to 1.

/** `row`: side by side; `column`: one above the other. */
export type Direction = "row" | "column";
export type Side = "left" | "right" | "up" | "down";

export interface Split<T> {
  readonly direction: Direction;
  /** The first one's, from {@link LEAST} to 1 - LEAST. */
  share: number;
  readonly first: Layout<T>;
  readonly second: Layout<T>;
}

export type Layout<T> = { readonly pane: T } | Split<T>;

export interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

export interface Places<T> {
  readonly panes: ReadonlyMap<T, Box>;
  /** The room that each split divides. */
  readonly splits: ReadonlyMap<Split<T>, Box>;
}

export const MOST = 4; // panes of a tab
export const LEAST = 0.1; // share of a split that either side keeps

const WHOLE: Box = { left: 0, top: 0, width: 1, height: 1 };
const EDGE = 1e-9; // shares are sums of fractions

export const clamped = (share: number): number => Math.min(1 - LEAST, Math.max(LEAST, share));

/** Its panes, in the order in which they are read. */
export function panesOf<T>(layout: Layout<T>): T[] {
  return "pane" in layout ? [layout.pane] : [...panesOf(layout.first), ...panesOf(layout.second)];
}

/** The same with other panes. `null`: it goes, and who shared its room has it. */
export function mapped<T, U>(layout: Layout<T>, what: (pane: T) => U | null): Layout<U> | null {
  if ("pane" in layout) {
    const pane = what(layout.pane);
    return pane === null ? null : { pane };
  }
  const { direction, share } = layout;
  const first = mapped(layout.first, what);
  const second = mapped(layout.second, what);
  return first && second ? { direction, share, first, second } : (first ?? second);
}

/** Divide the room of `pane`, and give the second half to `added`. */
export function split<T>(layout: Layout<T>, pane: T, direction: Direction, added: T): Layout<T> {
  if ("pane" in layout) {
    return layout.pane === pane ? { direction, share: 0.5, first: layout, second: { pane: added } } : layout;
  }
  // What is nowhere near stays the very same: a divider may be held.
  return replaced(layout, split(layout.first, pane, direction, added), split(layout.second, pane, direction, added));
}

/** Take `pane` out; null where it was the last. */
export function without<T>(layout: Layout<T>, pane: T): Layout<T> | null {
  if ("pane" in layout) return layout.pane === pane ? null : layout;
  const first = without(layout.first, pane);
  const second = without(layout.second, pane);
  return first && second ? replaced(layout, first, second) : (first ?? second);
}

function replaced<T>(branch: Split<T>, first: Layout<T>, second: Layout<T>): Split<T> {
  const same = first === branch.first && second === branch.second;
  return same ? branch : { direction: branch.direction, share: branch.share, first, second };
}

/** Where everything is. */
export function places<T>(layout: Layout<T>): Places<T> {
  const panes = new Map<T, Box>();
  const splits = new Map<Split<T>, Box>();
  const place = (part: Layout<T>, box: Box): void => {
    if ("pane" in part) {
      panes.set(part.pane, box);
      return;
    }
    splits.set(part, box);
    const { left, top, width, height } = box;
    if (part.direction === "row") {
      const taken = width * part.share;
      place(part.first, { ...box, width: taken });
      place(part.second, { ...box, left: left + taken, width: width - taken });
    } else {
      const taken = height * part.share;
      place(part.first, { ...box, height: taken });
      place(part.second, { ...box, top: top + taken, height: height - taken });
    }
  };
  place(layout, WHOLE);
  return { panes, splits };
}

/** The pane on that side of `pane`: of those that touch it there, the one beside most of it; null at the edge. */
export function beside<T>(layout: Layout<T>, pane: T, side: Side): T | null {
  const { panes } = places(layout);
  const here = panes.get(pane);
  if (!here) return null;
  let found: T | null = null;
  let most = EDGE;
  for (const [other, box] of panes) {
    if (!touches(here, box, side)) continue;
    const shared = side === "left" || side === "right"
      ? Math.min(here.top + here.height, box.top + box.height) - Math.max(here.top, box.top)
      : Math.min(here.left + here.width, box.left + box.width) - Math.max(here.left, box.left);
    if (shared > most + EDGE) [found, most] = [other, shared];
  }
  return found;
}

function touches(here: Box, there: Box, side: Side): boolean {
  const near = (one: number, other: number) => Math.abs(one - other) < EDGE;
  switch (side) {
    case "left": return near(there.left + there.width, here.left);
    case "right": return near(here.left + here.width, there.left);
    case "up": return near(there.top + there.height, here.top);
    case "down": return near(here.top + here.height, there.top);
  }
}

/** A layout that was kept, of panes that `pane` reads (null: it is none); null where it is no layout. */
export function readLayout<T>(found: unknown, pane: (found: unknown) => T | null): Layout<T> | null {
  let left = MOST;
  const part = (value: unknown): Layout<T> | null => {
    if (typeof value !== "object" || value === null) return null;
    if ("pane" in value) {
      const read = pane(value.pane);
      left -= 1;
      return read === null || left < 0 ? null : { pane: read };
    }
    const { direction, share, first, second } = value as Partial<Record<keyof Split<T>, unknown>>;
    if ((direction !== "row" && direction !== "column") || typeof share !== "number" || !Number.isFinite(share)) return null;
    const [one, other] = [part(first), part(second)];
    return one && other && { direction, share: clamped(share), first: one, second: other };
  };
  return part(found);
}
