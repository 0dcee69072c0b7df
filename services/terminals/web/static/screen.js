// An xterm.js screen: theme, fitting, and silence while old output is replayed.

import { FitAddon } from "./vendor/addon-fit.mjs";
import { Terminal } from "./vendor/xterm.mjs";

const THEME = {
  background: "#0e1216", foreground: "#d7dee7", cursor: "#62c9b4", cursorAccent: "#0e1216",
  selectionBackground: "#2f4a55", black: "#1b222b", red: "#ee8882", green: "#7fc98f", yellow: "#e0b568",
  blue: "#79b0ee", magenta: "#c49ae8", cyan: "#62c9b4", white: "#c6cfd9", brightBlack: "#66727f",
  brightRed: "#ffa39d", brightGreen: "#9be0aa", brightYellow: "#f2cd87", brightBlue: "#9cc7f8",
  brightMagenta: "#d9b7f5", brightCyan: "#8be0ce", brightWhite: "#f2f5f8",
};

// What a program asks its terminal. The answer would be typed into the shell, so questions in
// replayed output, answered long ago, must not be answered again.
const CSI_QUERIES = [
  { final: "c" }, { prefix: ">", final: "c" }, { prefix: "=", final: "c" }, { final: "n" },
  { prefix: "?", final: "n" }, { prefix: ">", final: "q" }, { final: "t" },
  { intermediates: "$", final: "p" }, { prefix: "?", intermediates: "$", final: "p" },
];
const OSC_QUERIES = [4, 10, 11, 12];

export class Screen {
  #replaying = false;

  /** `onInput(string)`, `onBinary(string)`, `onResize(cols, rows)`, `onParsed(end)`. */
  constructor(parent, { onInput, onBinary, onResize, onParsed, onKey }) {
    this.onParsed = onParsed;
    this.terminal = new Terminal({
      cursorBlink: false, fontSize: 14, lineHeight: 1.15, scrollback: 10000, theme: THEME,
      fontFamily: 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace',
      macOptionIsMeta: true, rightClickSelectsWord: true,
    });
    this.fitter = new FitAddon();
    this.terminal.loadAddon(this.fitter);
    this.#muteQueries();
    this.terminal.open(parent);
    this.fit();
    this.terminal.attachCustomKeyEventHandler(onKey);
    this.terminal.onData(onInput);
    this.terminal.onBinary(onBinary);
    this.terminal.onResize(({ cols, rows }) => onResize(cols, rows));
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(parent);
  }

  get size() {
    return { cols: this.terminal.cols, rows: this.terminal.rows };
  }

  fit() {
    const size = this.fitter.proposeDimensions();
    if (size && size.cols > 1 && size.rows > 1) this.fitter.fit();
  }

  /** Output whose last byte is followed by offset `end`. */
  write(data, end) {
    this.terminal.write(data, () => this.onParsed(end));
  }

  /** From here on, until `replayed`, what comes is history. */
  replay() {
    this.#replaying = true;
  }

  /** History is over once everything written so far has been parsed. */
  replayed() {
    this.terminal.write("", () => (this.#replaying = false));
  }

  /** A line of our own between the shell's. */
  note(text) {
    this.terminal.write(`\r\n\x1b[0;2;3m${text}\x1b[0m\r\n`);
  }

  focus() {
    this.terminal.focus();
  }

  dispose() {
    this.observer.disconnect();
    this.terminal.dispose();
  }

  #muteQueries() {
    const parser = this.terminal.parser;
    for (const id of CSI_QUERIES) parser.registerCsiHandler(id, () => this.#replaying);
    for (const id of OSC_QUERIES) {
      parser.registerOscHandler(id, (data) => this.#replaying && data.includes("?"));
    }
    parser.registerDcsHandler({ intermediates: "$", final: "q" }, () => this.#replaying);
  }
}
