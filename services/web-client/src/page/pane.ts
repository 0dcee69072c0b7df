// One pane: a terminal on the screen and the connection that feeds it.

import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { UnicodeGraphemesAddon } from "@xterm/addon-unicode-graphemes";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { WebglAddon } from "@xterm/addon-webgl";
import { Terminal } from "@xterm/xterm";

import { Connection } from "../connection.js";
import type { Handlers, State } from "../connection.js";
import { MAX_SIDE } from "../frames.js";
import type { Attached, LastScreen, Recording, Size } from "../frames.js";
import type { Multiplexer } from "../multiplexer.js";
import { Sender } from "../rules.js";
import type { Bytes } from "../rules.js";
import { admission } from "./api.js";
import { letWrite } from "./clipboard.js";
import { element } from "./dom.js";
import { Feeder } from "./feeder.js";
import { Images } from "./images.js";
import { cleaned, linesOf, needsAsking } from "./paste.js";
import { takeInput } from "./remembered.js";
import type { KeptPane } from "./remembered.js";
import { isReport } from "./reports.js";
import { colours } from "./settings.js";
import type { Settings } from "./settings.js";
import { PaneFiles } from "./transfers.js";

const SCROLLBACK = 10000;
const FEED_MS = 30;
const IMAGES_MS = 3000; // what draws images may take so long to come; then it is done without
const PASTE_BEGINS = "\x1b[200~";
const PASTE_ENDS = "\x1b[201~";
const CANCEL = "\x18";
const NAMES: Readonly<Record<string, string>> = { system: "shell", claude: "assistant" };
const encoder = new TextEncoder();

export const profileName = (profile: string): string => NAMES[profile] ?? profile;

/** What all panes need of their page. */
export interface Page {
  readonly settings: Settings;
  url(profile: string): string;
  unauthorized(): void;
  /** Something is to be shown of files, and said. */
  files(said: string): void;
  /** What the keys of the screen make of what is typed: Ctrl may be held by one. */
  typed(text: string): string;
}

/** What a pane needs of what is around it. */
export interface Surroundings {
  readonly page: Page;
  /** Something that the page shows has changed. */
  changed(pane: Pane): void;
  /** What a reload needs to know has changed. */
  remember(): void;
  /** The connection of a client, which all its panes share. */
  multiplexer(client: string): Multiplexer;
  /** The client that a pane is of which nobody has typed in. */
  readonly client: string;
}

export class Pane {
  readonly profile: string;
  readonly screen = element("div", { className: "screen" });
  readonly term: Terminal;
  readonly search = new SearchAddon();
  readonly connection: Connection;
  readonly files = new PaneFiles(() => this.connection, (said) => this.#around.page.files(said));
  readonly client: string;
  session: string | null;
  epoch: string | null;
  watch: boolean;
  state: State = { kind: "connecting", again: false };
  /** What the program calls its window. */
  title = "";
  recording: Recording = "";
  /** What has happened while nobody looked. */
  mark: "" | "output" | "bell" = "";
  readonly #fit = new FitAddon();
  readonly #feeder: Feeder;
  readonly #images: Images;
  readonly #around: Surroundings;
  #feeding: ReturnType<typeof setInterval> | undefined;
  #closed = false;
  /** Output before this offset is of a time of which nobody waits for answers any more. */
  #past = 0;
  #pictured = false; // what is shown is the last screen of a session whose host is lost
  #shown = 0;
  #told: Size | null = null;

  constructor({ profile, session, epoch, watch }: KeptPane, around: Surroundings) {
    const typed = session === null ? null : takeInput(session);
    this.#around = around;
    this.profile = profile;
    this.session = session;
    this.epoch = epoch;
    this.watch = watch;
    this.client = typed?.client ?? around.client;
    this.term = new Terminal({
      allowProposedApi: true, // graphemes
      fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
      scrollback: SCROLLBACK,
      cursorBlink: !watch,
      disableStdin: watch,
      macOptionIsMeta: true,
      ...this.#looks(around.page.settings),
    });
    this.term.loadAddon(this.#fit);
    this.term.loadAddon(this.search);
    this.term.loadAddon(new UnicodeGraphemesAddon());
    this.#images = new Images(this.term);
    this.term.loadAddon(new WebLinksAddon((event, uri) => {
      event.preventDefault();
      window.open(uri, "_blank", "noopener,noreferrer");
    }));
    letWrite(this.term, (question) => confirm(question), () => this.#shown < this.#past);
    this.connection = new Connection({
      url: around.page.url(profile),
      credentials: {}, // the browser shows its cookie
      admission,
      client: this.client,
      multiplexer: around.multiplexer(this.client),
      session,
      epoch,
      ...(typed && { sender: new Sender({ acked: typed.acked, pending: typed.pending }) }),
      watch,
      size: { cols: this.term.cols, rows: this.term.rows },
      handlers: this.#handlers(),
    });
    this.#feeder = new Feeder({
      room: () => this.connection.sender.room,
      send: (data) => this.connection.send(data),
    });
  }

  /** Show it in `parent`, and begin. */
  open(parent: HTMLElement): void {
    const { term } = this;
    parent.append(this.screen);
    term.open(this.screen);
    this.#accelerate();
    const images = this.#images.want(this.#around.page.settings.images);
    this.fill();
    this.connection.resize(term.cols, term.rows);
    term.onData((text) => {
      if (this.#shown >= this.#past || !isReport(text)) this.type(encoder.encode(this.#around.page.typed(text)));
    });
    term.onBinary((text) => this.type(Uint8Array.from(text, (character) => character.charCodeAt(0))));
    term.onResize(({ cols, rows }) => {
      if (!this.#mute) this.connection.resize(cols, rows);
    });
    term.onTitleChange((title) => {
      this.title = title.slice(0, 100);
      this.#around.changed(this);
    });
    term.onBell(() => this.#notice("bell"));
    this.screen.addEventListener("paste", (event) => this.#pasted(event), true);
    if (this.#around.page.settings.images) {
      // What was drawn before a reload comes at once, and would come too soon for what draws it.
      const late = new Promise((resolve) => setTimeout(resolve, IMAGES_MS));
      void Promise.race([images, late]).then(() => {
        if (!this.#closed) this.connection.open();
      });
    } else {
      this.connection.open();
    }
  }

  close(): void {
    this.#closed = true;
    void this.#images.want(false); // also those that are about to come
    clearInterval(this.#feeding);
    this.connection.close();
    this.term.dispose();
    this.screen.remove();
  }

  /** How the settings would have it look. */
  restyle(settings: Settings): void {
    Object.assign(this.term.options, this.#looks(settings));
    void this.#images.want(settings.images);
    this.fill();
  }

  /** Give the screen what room there is. One that is watched has the size of the terminal that it shows. */
  fill(): void {
    const wanted = this.#told ?? this.#fit.proposeDimensions();
    if (!wanted || !(wanted.cols > 0 && wanted.rows > 0)) return;
    this.term.resize(Math.min(MAX_SIDE, wanted.cols), Math.min(MAX_SIDE, wanted.rows));
  }

  /** Somebody looks at it. */
  seen(): void {
    this.mark = "";
    this.fill();
    this.term.focus();
  }

  /** Whether nothing that is typed goes anywhere: somebody else types, or this is but a picture. */
  get #mute(): boolean {
    return this.watch || this.#pictured;
  }

  type(data: Bytes): void {
    if (this.#mute) return;
    this.#feeder.give(data);
    this.#feedOn();
  }

  /** Paste, after a person was asked where a program would run each line at once. */
  paste(text: string): void {
    const wanted = cleaned(text);
    const { bracketedPasteMode: bracketed } = this.term.modes;
    if (this.#mute || !wanted) return;
    const question = `Paste ${linesOf(wanted)} lines? The program may run each of them at once.`;
    if (needsAsking(wanted, bracketed) && !confirm(question)) return;
    if (bracketed) this.#feeder.give(encoder.encode(PASTE_BEGINS + wanted), encoder.encode(PASTE_ENDS));
    else this.#feeder.give(encoder.encode(wanted));
    this.term.scrollToBottom();
    this.#feedOn();
  }

  /** How far what is being fed has come, in bytes; null where nothing is. */
  get feeding(): { readonly fed: number; readonly total: number } | null {
    return this.#feeder.busy ? this.#feeder.progress : null;
  }

  /** Drop what was pasted and has not gone out yet. */
  stopFeeding(): void {
    this.#feeder.drop();
    this.#feedOn();
  }

  /** Its name, beside others. */
  name(number: number): string {
    const name = this.title || `${profileName(this.profile)} ${number}`;
    return this.watch ? `${name} (view)` : name;
  }

  #looks(settings: Settings) {
    const { fontSize, cursor: cursorStyle, screenReader: screenReaderMode } = settings;
    return { fontSize, cursorStyle, screenReaderMode, theme: colours(settings) };
  }

  /** Draw with the graphics card, where there is one that stays. */
  #accelerate(): void {
    try {
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => webgl.dispose());
      this.term.loadAddon(webgl);
    } catch {
      // no WebGL: xterm.js draws with elements
    }
  }

  #feedOn(): void {
    this.#around.changed(this);
    if (!this.#feeder.busy || this.#feeding !== undefined) return;
    this.#feeding = setInterval(() => {
      this.#feeder.feed();
      this.#around.changed(this);
      if (this.#feeder.busy) return;
      clearInterval(this.#feeding);
      this.#feeding = undefined;
    }, FEED_MS);
  }

  #pasted(event: ClipboardEvent): void {
    event.preventDefault();
    event.stopPropagation(); // or xterm.js would paste it, too
    this.paste(event.clipboardData?.getData("text/plain") ?? "");
  }

  #handlers(): Handlers {
    return {
      onAttached: (attached, { missed, reconnect }) => this.#attached(attached, missed, reconnect),
      onDropped: (count) => this.#dropped(count),
      onOutput: (data, end) => {
        this.term.write(data, () => this.#taken(end));
        this.#notice("output");
      },
      onScreen: (screen, end, skipped) => {
        // Output before it was skipped, or set the screen up long ago.
        if (skipped) this.#missed(skipped);
        this.term.write(screen, () => this.#taken(end));
      },
      onLastScreen: (screen) => this.#picture(screen),
      onSize: (size) => this.#sized(size),
      onRecording: (recording) => {
        this.recording = recording;
        this.#around.changed(this);
      },
      onState: (state) => this.#become(state),
      onPong: () => this.#around.changed(this),
      onTransfer: (item) => this.files.act(item),
    };
  }

  #notice(mark: "output" | "bell"): void {
    if (!this.screen.hidden || this.mark === "bell" || this.mark === mark || this.#shown < this.#past) return;
    this.mark = mark;
    this.#around.changed(this);
  }

  /** Somebody has given the terminal that is watched this size: after what was printed before, so is the screen. */
  #sized(size: Size | null): void {
    if (!this.watch || !size) return;
    this.#told = size;
    this.term.write("", () => this.fill());
  }

  #taken(end: number): void {
    this.#shown = end;
    this.connection.consumed(end);
  }

  #missed(count: number): void {
    // The old screen moves up, so that it can be scrolled back to.
    this.term.write(note(`${count.toLocaleString("en")} bytes were printed meanwhile`) + "\r\n".repeat(this.term.rows));
  }

  #dropped(count: number): void {
    const what = `the last ${count.toLocaleString("en")} bytes typed here may not have arrived; they are not sent again`;
    this.term.write(`${note(what)}\r\n`);
  }

  /** Show what is left of a session whose host is lost: in its size, and deaf to keys and the mouse. */
  #picture({ cols, rows, paint }: LastScreen): void {
    this.#pictured = true;
    this.#told = { cols, rows };
    this.term.options.disableStdin = true;
    this.fill();
    this.term.write(paint);
  }

  /** Its host is back: what comes is no continuation of the picture. */
  #unpicture(): void {
    if (!this.#pictured) return;
    this.term.write(CANCEL); // a sequence that the picture has begun
    this.term.reset();
    this.#pictured = false;
    this.#told = null;
    this.term.options.disableStdin = this.watch;
    this.fill();
  }

  #attached(attached: Attached, missed: number, again: boolean): void {
    // What was printed while this page was away it has not seen: a program may wait for its answer.
    if (!again || attached.epoch !== this.epoch) this.#past = attached.head;
    this.#unpicture();
    this.session = attached.session;
    this.epoch = attached.epoch;
    this.#shown = attached.output;
    this.watch = attached.mode === "read";
    this.recording = attached.recording;
    this.#sized(attached.size);
    if (missed) this.#missed(missed);
    this.#around.remember();
  }

  #become(state: State): void {
    this.state = state;
    if (state.kind === "unauthorized") {
      this.#around.page.unauthorized();
      return;
    }
    if (state.kind === "refused" && state.code === "unknown-session") {
      this.epoch = null;
      this.session = null;
      this.#around.remember();
    }
    this.#around.changed(this);
  }
}

function note(text: string): string {
  return `\r\n\x1b[0;7m[${text}]\x1b[0m`;
}
