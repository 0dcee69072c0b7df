// How this browser likes its terminals.

import type { ITheme } from "@xterm/xterm";

const SETTINGS = "terminals.settings";
const SMALLEST = 8;
const LARGEST = 32;

export interface Settings {
  readonly theme: "system" | "light" | "dark";
  readonly fontSize: number;
  readonly cursor: "block" | "bar" | "underline";
  /** Whether the page has keys of its own. */
  readonly keys: boolean;
  readonly screenReader: boolean;
  /** Whether programs may draw images. */
  readonly images: boolean;
}

const USUAL: Settings = { theme: "system", fontSize: 14, cursor: "block", keys: true, screenReader: false, images: false };

const DARK: ITheme = {
  background: "#0e1116", foreground: "#d7dde5", cursor: "#6cc7a1", cursorAccent: "#0e1116",
  selectionBackground: "#2d4a63",
};
const LIGHT: ITheme = {
  background: "#fbfbfa", foreground: "#24292f", cursor: "#1a7f5a", cursorAccent: "#fbfbfa",
  selectionBackground: "#b6d7f4",
  black: "#24292f", red: "#b3261e", green: "#1a7f37", yellow: "#8a5a00", blue: "#0b5cad", magenta: "#8250df",
  cyan: "#0b6e79", white: "#6e7781", brightBlack: "#57606a", brightRed: "#c93c37", brightGreen: "#2da44e",
  brightYellow: "#9a6700", brightBlue: "#218bff", brightMagenta: "#a475f9", brightCyan: "#1b7c83", brightWhite: "#57606a",
};

/** Whatever is not as it should be is as usual. */
export function read(text: string | null): Settings {
  let found: Partial<Record<keyof Settings, unknown>> = {};
  try {
    found = (JSON.parse(text ?? "{}") ?? {}) as typeof found;
  } catch {
    // somebody else's, or damaged
  }
  const one = <K extends "theme" | "cursor">(name: K, ...known: Settings[K][]) =>
    known.find((value) => value === found[name]) ?? USUAL[name];
  const flag = (name: "keys" | "screenReader" | "images") =>
    typeof found[name] === "boolean" ? found[name] : USUAL[name];
  return {
    theme: one("theme", "system", "light", "dark"),
    fontSize: sized(Number(found.fontSize ?? USUAL.fontSize)),
    cursor: one("cursor", "block", "bar", "underline"),
    keys: flag("keys"),
    screenReader: flag("screenReader"),
    images: flag("images"),
  };
}

/** The nearest size of letters that there is. */
export function sized(wanted: number): number {
  return Number.isFinite(wanted) ? Math.min(LARGEST, Math.max(SMALLEST, Math.round(wanted))) : USUAL.fontSize;
}

export function load(): Settings {
  return read(localStorage.getItem(SETTINGS));
}

export function save(settings: Settings): void {
  localStorage.setItem(SETTINGS, JSON.stringify(settings));
}

const lightWanted = () => matchMedia("(prefers-color-scheme: light)");

export function colours({ theme }: Settings): ITheme {
  return theme === "light" || (theme === "system" && lightWanted().matches) ? LIGHT : DARK;
}

/** Call `changed` when what the system prefers is another. */
export function onSystemTheme(changed: () => void): void {
  lightWanted().addEventListener("change", changed);
}
