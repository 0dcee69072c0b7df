// A recording, shown again in a window of its own. What it says comes from programs, and reaches the page
// through xterm.js and as text only.

import { SearchAddon } from "@xterm/addon-search";
import { UnicodeGraphemesAddon } from "@xterm/addon-unicode-graphemes";
import { Terminal } from "@xterm/xterm";

import type { RecordingInfo } from "./api.js";
import { Printed, readCast, withoutPauses } from "./cast.js";
import type { Cast } from "./cast.js";
import { element } from "./dom.js";
import { clock, Player } from "./player.js";
import type { Stage } from "./player.js";
import { colours } from "./settings.js";
import type { Settings } from "./settings.js";

const SPEEDS = [0.5, 1, 2, 4, 8, 16];
const PAUSE = 2; // seconds that a pause lasts where pauses are skipped
const STEP = 5; // seconds by an arrow key
const AT_ONCE = 1 << 20; // characters that xterm.js gets at a time: what waits there has a limit
const DECORATIONS = { matchOverviewRuler: "#e3b341", activeMatchBackground: "#b58900", activeMatchColorOverviewRuler: "#f0776c" };

/** A terminal to look at. */
class Screen implements Stage {
  readonly term: Terminal;
  readonly search = new SearchAddon();
  #waiting: (() => void)[] = [];
  #busy = false;
  #play = 0; // what was to be written before the last reset is of an earlier one

  constructor(where: HTMLElement, settings: Settings, private readonly said: (text: string) => void) {
    this.term = new Terminal({
      allowProposedApi: true, // graphemes
      fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
      fontSize: settings.fontSize,
      theme: colours(settings),
      screenReaderMode: settings.screenReader,
      scrollback: 10000,
      disableStdin: true,
    });
    this.term.loadAddon(new UnicodeGraphemesAddon());
    this.term.loadAddon(this.search);
    this.term.open(where);
  }

  reset(cols: number, rows: number): void {
    this.#play += 1;
    this.#waiting = [];
    this.#do(() => {
      this.term.reset();
      this.term.resize(cols, rows);
      this.#goOn();
    });
    this.said("");
  }

  write(text: string): void {
    for (let at = 0; at < text.length; at += AT_ONCE) {
      const part = text.slice(at, at + AT_ONCE);
      this.#do(() => this.term.write(part, () => this.#goOn()));
    }
  }

  resize(cols: number, rows: number): void {
    this.#do(() => {
      this.term.resize(cols, rows);
      this.#goOn();
    });
  }

  note(text: string): void {
    this.said(text);
  }

  /** Once everything is shown. */
  then(what: () => void): void {
    const play = this.#play;
    this.#do(() => {
      if (play === this.#play) what();
      this.#goOn();
    });
  }

  close(): void {
    this.#waiting = [];
    this.term.dispose();
  }

  #do(what: () => void): void {
    this.#waiting.push(what);
    if (!this.#busy) this.#goOn();
  }

  #goOn(): void {
    const next = this.#waiting.shift();
    this.#busy = next !== undefined;
    next?.();
  }
}

/** Open the window. `failed`: what to say of an answer that is none. */
export function replay(info: RecordingInfo, settings: Settings, failed: (error: unknown) => string): void {
  const name = info.title || info.session;
  const where = element("div", { className: "stage" });
  const said = element("p", { role: "status", textContent: "Loading…" });
  const window_ = element("dialog", { className: "replay", ariaLabel: `Recording of ${name}` });
  const close = element("button", { textContent: "×", ariaLabel: "Close", title: "Close (Esc)", onclick: () => window_.close() });
  const heading = element("h2", { textContent: name });
  const download = element("a", {
    textContent: "Download", href: `api/recordings/${info.id}`, download: `${info.session}.cast`,
  });
  window_.append(element("div", { className: "row" }, heading, element("span", { className: "space" }), download, close), where, said);
  document.body.append(window_);
  let end: () => void = () => undefined;
  const gone = new AbortController();
  window_.onclose = () => {
    gone.abort();
    end();
    window_.remove();
  };
  window_.showModal();
  fetch(`api/recordings/${info.id}`, { headers: { "X-Terminals": "page" }, signal: gone.signal })
    .then(async (response) => {
      if (!response.ok) throw new Error(((await response.json()) as { error?: string }).error ?? response.statusText);
      const cast = readCast(await response.text());
      if (!gone.signal.aborted) end = show(window_, where, said, cast, settings);
    })
    .catch((error: unknown) => {
      if (!gone.signal.aborted) said.textContent = failed(error);
    });
}

/** Put the recording into its window; returns what ends it. */
function show(window_: HTMLElement, where: HTMLElement, said: HTMLElement, cast: Cast, settings: Settings): () => void {
  const screen = new Screen(where, settings, (text) => {
    said.textContent = text;
  });
  const player = new Player(cast, cast.events, screen);
  const printed = new Printed(cast.events);
  const quick = withoutPauses(cast.events, PAUSE);

  const toggle = element("button", { type: "button", className: "play" });
  const bar = element("input", { type: "range", min: "0", step: "any", ariaLabel: "Position" });
  const time = element("span", { className: "time" });
  const speed = element("select", { ariaLabel: "Speed" },
    ...SPEEDS.map((value) => element("option", { value: String(value), textContent: `${value}×`, selected: value === 1 })));
  const skip = element("input", { type: "checkbox" });
  const field = element("input", { type: "text", placeholder: "Find", ariaLabel: "Find in the recording", spellcheck: false });
  const found = element("span", { className: "found", role: "status" });
  const earlier = element("button", { type: "button", textContent: "↑", ariaLabel: "Earlier", title: "Earlier (Shift+Enter)" });
  const later = element("button", { type: "button", textContent: "↓", ariaLabel: "Later", title: "Later (Enter)" });
  where.after(
    element("div", { className: "row" }, toggle, bar, time),
    element("div", { className: "row" }, speed, element("label", {}, skip, " Skip pauses"),
      element("span", { className: "space" }), field, found, earlier, later),
  );

  const draw = () => {
    toggle.textContent = player.playing ? "Pause" : "Play";
    bar.max = String(player.duration);
    bar.value = String(player.position);
    time.textContent = `${clock(player.position)} / ${clock(player.duration)}`;
    bar.setAttribute("aria-valuetext", `${clock(player.position)} of ${clock(player.duration)}`);
  };
  const turn = () => {
    if (player.playing) player.pause();
    else player.play();
    draw();
  };
  const seek = (seconds: number) => {
    player.seek(seconds);
    draw();
  };
  let hits: number[] = [];
  let hit = -1;
  let sought: string | null = null;
  const find = (by: number) => {
    if (sought !== field.value) {
      sought = field.value;
      hits = printed.find(field.value);
      hit = by > 0 ? -1 : 0;
    }
    if (!hits.length) {
      found.textContent = field.value ? "not found" : "";
      return;
    }
    hit = (hit + by + hits.length) % hits.length;
    found.textContent = `${hit + 1} of ${hits.length}`;
    player.pause();
    player.seekEvent(hits[hit] ?? 0);
    screen.then(() => screen.search.findPrevious(field.value, { decorations: DECORATIONS }));
    draw();
  };

  toggle.onclick = turn;
  bar.oninput = () => seek(Number(bar.value));
  speed.onchange = () => {
    player.speed = Number(speed.value);
  };
  skip.onchange = () => {
    player.retime(skip.checked ? quick : cast.events);
    draw();
  };
  earlier.onclick = () => find(-1);
  later.onclick = () => find(1);
  field.onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    find(event.shiftKey ? -1 : 1);
  };
  window_.onkeydown = (event) => {
    const target = event.target;
    if (target === field || target === speed || event.ctrlKey || event.altKey || event.metaKey) return;
    const step = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
    if (step) seek(player.position + step);
    else if (event.key === " " && !(target instanceof HTMLButtonElement) && target !== skip) turn();
    else return;
    event.preventDefault();
  };

  let before = performance.now();
  let frame = requestAnimationFrame(function next(now) {
    if (player.playing) {
      player.tick(Math.max(0, now - before) / 1000);
      draw();
    }
    before = now;
    frame = requestAnimationFrame(next);
  });
  player.play();
  draw();
  toggle.focus();
  return () => {
    cancelAnimationFrame(frame);
    screen.close();
  };
}
