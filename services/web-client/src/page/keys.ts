// Keys: those of the page, which never reach a program, and those on the screen of a phone.

import type { Direction, Side } from "./layout.js";

/** What a key of the page does. */
export type Action =
  | { readonly kind: "new" | "reopen" | "find" | "copy" | "paste" | "close-pane" }
  | { readonly kind: "split"; readonly direction: Direction }
  | { readonly kind: "focus"; readonly side: Side }
  | { readonly kind: "choose"; readonly index: number }
  | { readonly kind: "move"; readonly by: -1 | 1 };

export type Pressed = Pick<KeyboardEvent, "key" | "code" | "altKey" | "ctrlKey" | "shiftKey" | "metaKey">;

const SIDES: Readonly<Record<string, Side>> = {
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down",
};

/** What the page does at a key, or null: it is the program's. `several`: whether the tab has more than one pane. */
export function actionOf({ key, code, altKey, ctrlKey, shiftKey, metaKey }: Pressed, several: boolean): Action | null {
  if (metaKey) return null;
  if (ctrlKey && shiftKey && !altKey) {
    switch (code) {
      case "KeyF": return { kind: "find" };
      case "KeyC": return { kind: "copy" };
      case "KeyV": return { kind: "paste" };
      default: return null;
    }
  }
  if (!altKey || ctrlKey) return null;
  if (shiftKey) {
    switch (code) {
      case "KeyT": return { kind: "reopen" };
      case "KeyD": return { kind: "split", direction: "row" };
      case "KeyE": return { kind: "split", direction: "column" };
      case "KeyW": return several ? { kind: "close-pane" } : null;
      case "ArrowLeft": return { kind: "move", by: -1 };
      case "ArrowRight": return { kind: "move", by: 1 };
      default: return null;
    }
  }
  if (key === "n") return { kind: "new" };
  const side = SIDES[code];
  if (side) return several ? { kind: "focus", side } : null;
  return /^[1-9]$/.test(key) ? { kind: "choose", index: Number(key) - 1 } : null;
}

/** What a terminal is sent for a key on the screen. */
export const ON_SCREEN: Readonly<Record<string, string>> = {
  Esc: "\x1b", Tab: "\t", "↑": "\x1b[A", "↓": "\x1b[B", "→": "\x1b[C", "←": "\x1b[D",
};

/** The same in a program that has asked for application cursor keys. */
export function onScreen(name: string, application: boolean): string {
  const text = ON_SCREEN[name] ?? "";
  return application ? text.replace("\x1b[", "\x1bO") : text;
}

/** A key with Ctrl held. */
export function controlled(text: string): string {
  const code = text.toUpperCase().charCodeAt(0);
  if (text.length !== 1) return text;
  if (text === " ") return "\x00";
  if (text === "?") return "\x7f";
  return code >= 0x40 && code < 0x60 ? String.fromCharCode(code & 0x1f) : text;
}
