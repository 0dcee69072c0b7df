// What a phone needs: the keys that its keyboard does not have, and letters of a size set by two fingers.

import { $, element } from "./dom.js";
import { controlled, ON_SCREEN, onScreen } from "./keys.js";
import { read } from "./clipboard.js";
import type { Pane } from "./pane.js";

const encoder = new TextEncoder();

export class ScreenKeys {
  #control = false;
  readonly #controlKey: HTMLButtonElement;

  constructor(current: () => Pane | null) {
    const key = (text: string, label: string, pressed: () => void) => {
      const made = element("button", { textContent: text, ariaLabel: label, onclick: pressed });
      made.onpointerdown = (event) => event.preventDefault(); // the terminal keeps the focus, and the phone its keyboard
      return made;
    };
    this.#controlKey = key("Ctrl", "Control, for the next key", () => this.#hold(!this.#control));
    this.#controlKey.ariaPressed = "false";
    const keys = Object.keys(ON_SCREEN).map((name) => key(name, name, () => {
      const pane = current();
      pane?.type(encoder.encode(onScreen(name, pane.term.modes.applicationCursorKeysMode)));
    }));
    const paste = key("Paste", "Paste", () => {
      void read().then((text) => {
        if (text) current()?.paste(text);
      });
    });
    $("screen-keys").append(this.#controlKey, ...keys, paste);
  }

  /** What is typed, with Ctrl where that is held. */
  typed(text: string): string {
    if (!this.#control) return text;
    this.#hold(false);
    return controlled(text);
  }

  #hold(held: boolean): void {
    this.#control = held;
    this.#controlKey.ariaPressed = String(held);
  }
}

/** Call `scaled(factor)` while two fingers on `where` go apart or together, and `done` at the end. */
export function onPinch(where: HTMLElement, scaled: (factor: number) => void, done: () => void): void {
  let began: number | null = null;
  const apart = ({ touches: [one, other] }: TouchEvent) =>
    one && other ? Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) : null;
  where.addEventListener("touchstart", (event) => {
    began = apart(event);
  }, { passive: true });
  where.addEventListener("touchmove", (event) => {
    const now = apart(event);
    if (began === null || now === null) return;
    event.preventDefault(); // or the whole page would be scaled
    scaled(now / began);
  }, { passive: false });
  where.addEventListener("touchend", () => {
    if (began !== null) done();
    began = null;
  });
}
