// What panes are divided by: it is dragged, or moved with the arrow keys.

import { element } from "./dom.js";
import { clamped, LEAST } from "./layout.js";
import type { Box, Split } from "./layout.js";

const STEP = 0.02;
const KEYS: Readonly<Record<string, number>> = { ArrowLeft: -STEP, ArrowUp: -STEP, ArrowRight: STEP, ArrowDown: STEP };

export const percent = (share: number): string => `${(share * 100).toFixed(3)}%`;

export class Divider<T> {
  readonly bar: HTMLElement;
  readonly #split: Split<T>;
  readonly #moved: () => void;
  #box: Box = { left: 0, top: 0, width: 1, height: 1 };

  /** `moved`: the split has another share. `done`: it has been let go. */
  constructor(split: Split<T>, moved: () => void, done: () => void) {
    this.#split = split;
    this.#moved = moved;
    const beside = split.direction === "row";
    this.bar = element("div", { className: `divider ${split.direction}`, role: "separator", tabIndex: 0 });
    this.bar.ariaLabel = "Room of the panes";
    this.bar.ariaOrientation = beside ? "vertical" : "horizontal";
    this.bar.ariaValueMin = String(LEAST * 100);
    this.bar.ariaValueMax = String((1 - LEAST) * 100);
    this.bar.title = "Drag, or move with the arrow keys; twice clicked, both halves are even";
    this.bar.onpointerdown = (event) => {
      event.preventDefault();
      this.bar.setPointerCapture(event.pointerId);
    };
    this.bar.onpointermove = (event) => {
      const whole = this.bar.parentElement?.getBoundingClientRect();
      if (!whole || !this.bar.hasPointerCapture(event.pointerId)) return;
      const { left, top, width, height } = this.#box;
      this.#move(beside
        ? ((event.clientX - whole.left) / whole.width - left) / width
        : ((event.clientY - whole.top) / whole.height - top) / height);
    };
    this.bar.onlostpointercapture = done;
    this.bar.ondblclick = () => {
      this.#move(0.5);
      done();
    };
    this.bar.onkeydown = (event) => {
      const { key, altKey, ctrlKey, metaKey } = event;
      if (altKey || ctrlKey || metaKey) return;
      const step = KEYS[key];
      if (step !== undefined) this.#move(split.share + step);
      else if (key === "Home") this.#move(LEAST);
      else if (key === "End") this.#move(1 - LEAST);
      else return;
      event.preventDefault();
      done();
    };
  }

  /** Stand in the middle of the room that is divided. */
  place(box: Box): void {
    this.#box = box;
    const { style } = this.bar;
    const { share, direction } = this.#split;
    if (direction === "row") {
      style.left = percent(box.left + box.width * share);
      style.top = percent(box.top);
      style.height = percent(box.height);
    } else {
      style.top = percent(box.top + box.height * share);
      style.left = percent(box.left);
      style.width = percent(box.width);
    }
    this.bar.ariaValueNow = (share * 100).toFixed(0);
  }

  #move(share: number): void {
    if (!Number.isFinite(share)) return;
    this.#split.share = clamped(share);
    this.#moved();
  }
}
