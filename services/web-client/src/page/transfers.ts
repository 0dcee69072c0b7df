// Files to and from the session of a pane: what is on its way, what a person sees of it and can do about it.
// Names that the server says reach the page as text and as nothing else.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";

import type { Connection } from "../connection.js";
import { randomId } from "../ids.js";
import type { Bytes } from "../rules.js";
import type { TransferItem } from "../transfers.js";
import { $, element } from "./dom.js";
import { size } from "./status.js";

const BLOCK = 1 << 20; // bytes that are hashed at a time: a key waits for no more
const KEPT = "terminals.uploads";
const MAX_KEPT = 50;

/** Where the ids of uploads are kept, so that the same file goes on after a reload. */
type Store = Pick<Storage, "getItem" | "setItem">;

/** The id of an upload: the one that it had before, where the same file is chosen again for the same session. */
export function uploadId(store: Store, session: string, file: Pick<File, "name" | "size" | "lastModified">): string {
  const kept = read(store);
  const key = keyOf(session, file);
  const id = kept.get(key) ?? randomId();
  kept.delete(key);
  kept.set(key, id);
  write(store, kept);
  return id;
}

/** It has come to its end: chosen again, the file is another one. */
export function forgetUpload(store: Store, id: string): void {
  write(store, new Map([...read(store)].filter(([, kept]) => kept !== id)));
}

function keyOf(session: string, { name, size, lastModified }: Pick<File, "name" | "size" | "lastModified">): string {
  return JSON.stringify([session, name, size, lastModified]);
}

function read(store: Store): Map<string, string> {
  try {
    return new Map(JSON.parse(store.getItem(KEPT) ?? "[]") as [string, string][]);
  } catch {
    return new Map();
  }
}

function write(store: Store, kept: Map<string, string>): void {
  try {
    store.setItem(KEPT, JSON.stringify([...kept].slice(-MAX_KEPT)));
  } catch {
    // no room: after a reload it begins anew
  }
}

/** One file, as it is shown. */
interface Entry {
  readonly name: string;
  readonly bytes: number;
  readonly file: File | null; // of an upload
  readonly pieces: Bytes[]; // of a download
  readonly digest: ReturnType<typeof sha256.create>; // a browser's own takes a whole file at once, over https only
  done: number;
  /** What is said of it; "": it goes on. */
  said: string;
  over: boolean;
  asked: boolean; // a person has to say whether it is wanted
}

export class PaneFiles {
  readonly entries = new Map<string, Entry>();
  readonly #connection: () => Connection;
  readonly #changed: (said: string) => void;

  /** `changed(said)`: something is to be shown, and said to whoever listens, where it is not "". */
  constructor(connection: () => Connection, changed: (said: string) => void) {
    this.#connection = connection;
    this.#changed = changed;
  }

  /** Whether files may be uploaded here. */
  get uploads(): boolean {
    return this.#connection().attached?.files?.upload ?? false;
  }

  upload(files: Iterable<File>): void {
    const connection = this.#connection();
    const session = connection.attached?.session;
    if (session === undefined) return;
    for (const file of files) {
      const id = uploadId(sessionStorage, session, file);
      if (this.entries.get(id)?.over === false) continue; // it is on its way
      this.entries.set(id, entry(file.name, file.size, file));
      connection.transfer((transfers) => transfers.upload(id, file.name.slice(-255), file.size));
    }
    this.#changed("");
  }

  /** Take what was offered. */
  accept(id: string): void {
    const found = this.entries.get(id);
    if (!found) return;
    found.asked = false;
    this.#connection().transfer((transfers) => transfers.download(id, found.name, found.bytes));
    this.#changed("");
  }

  /** Give one up, do not take what was offered, or show one no more that is over. */
  dismiss(id: string): void {
    const found = this.entries.get(id);
    this.entries.delete(id);
    if (found?.file) forgetUpload(sessionStorage, id);
    if (found && !found.over) this.#connection().transfer((transfers) => transfers.cancel(id));
    this.#changed("");
  }

  /** Carry out what the conversation wants. */
  act(item: TransferItem): void {
    if (item.kind === "offered") {
      this.entries.set(item.transfer, { ...entry(item.name, item.bytes, null), asked: true });
      this.#changed(`The terminal has a file for you: ${item.name}, ${size(item.bytes)}`);
      return;
    }
    const found = this.entries.get(item.transfer);
    if (!found || found.over) return;
    switch (item.kind) {
      case "withdrawn":
        if (found.asked) this.#end(item.transfer, found, "is not offered any more");
        break;
      case "read":
        void this.#read(item.transfer, found, item.offset, item.length);
        break;
      case "hash":
        void this.#hash(item.transfer, found);
        break;
      case "progress":
        found.done = item.bytes;
        this.#changed("");
        break;
      case "received":
        found.pieces.push(item.data);
        found.digest.update(item.data);
        found.done = item.offset + item.data.length;
        this.#connection().transfer((transfers) => transfers.taken(item.transfer, found.done));
        this.#changed("");
        break;
      case "transferred":
        if (!found.file) keep(found.name, found.pieces);
        this.#end(item.transfer, found, found.file ? `is there, as ${item.name}` : "was downloaded");
        break;
      case "not-transferred":
        this.#end(item.transfer, found, item.message);
        break;
    }
  }

  #end(id: string, found: Entry, said: string): void {
    found.over = true;
    found.asked = false;
    found.said = said;
    found.pieces.length = 0;
    if (found.file) forgetUpload(sessionStorage, id);
    this.#changed(`${found.name}: ${said}`);
  }

  async #read(id: string, { file }: Entry, offset: number, length: number): Promise<void> {
    // A file that has gone, or has changed since, gives nothing.
    const data = await bytesOf(file, offset, offset + length);
    this.#connection().transfer((transfers) => transfers.give(id, offset, data));
  }

  async #hash(id: string, found: Entry): Promise<void> {
    const { file, bytes, digest } = found;
    if (file) {
      for (let at = 0; at < bytes; at += BLOCK) digest.update(await bytesOf(file, at, Math.min(bytes, at + BLOCK)));
    }
    this.#connection().transfer((transfers) => transfers.digest(id, bytesToHex(digest.digest())));
  }
}

function entry(name: string, bytes: number, file: File | null): Entry {
  return { name, bytes, file, pieces: [], digest: sha256.create(), done: 0, said: "", over: false, asked: false };
}

async function bytesOf(file: File | null, from: number, to: number): Promise<Bytes> {
  try {
    return new Uint8Array((await file?.slice(from, to).arrayBuffer()) ?? new ArrayBuffer());
  } catch {
    return new Uint8Array();
  }
}

/** Have the browser keep a file. */
function keep(name: string, pieces: readonly Bytes[]): void {
  const url = URL.createObjectURL(new Blob([...pieces], { type: "application/octet-stream" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** What of a file has come, in words. */
export function progressOf({ bytes, done, said, asked }: Pick<Entry, "bytes" | "done" | "said" | "asked">): string {
  if (said) return said;
  if (asked) return `${size(bytes)}, to be downloaded`;
  return `${size(done)} of ${size(bytes)}`;
}

/**
 * The panel of files, the button that asks for some, and what is dropped on the terminals. `current()`: of whom;
 * `back()`: whoever has pressed a button wants to type on.
 */
export function filesPanel(
  current: () => PaneFiles | null,
  back: () => void,
): { show: () => void; say: (text: string) => void } {
  const where = $("files");
  const list = $("file-list");
  const chosen = $("upload-files", HTMLInputElement);
  const rows = new Map<string, Row>();
  let shown: PaneFiles | null = null;

  const show = () => {
    const files = current();
    $("upload").hidden = !files?.uploads;
    where.hidden = !files?.entries.size;
    if (files !== shown) {
      rows.clear();
      list.replaceChildren();
      shown = files;
    }
    for (const [id, row] of rows) {
      if (files?.entries.has(id)) continue;
      row.where.remove();
      rows.delete(id);
    }
    for (const [id, found] of files?.entries ?? []) {
      let row = rows.get(id);
      if (!row) {
        row = new Row(found.name, () => {
          files?.accept(id);
          back();
        }, () => {
          files?.dismiss(id);
          back();
        });
        rows.set(id, row);
        list.append(row.where);
      }
      row.show(found);
    }
  };
  $("upload").onclick = () => chosen.click();
  chosen.onchange = () => {
    current()?.upload(chosen.files ?? []);
    chosen.value = "";
  };
  const screens = $("screens");
  const carries = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  screens.addEventListener("dragover", (event) => {
    if (!carries(event) || !event.dataTransfer) return;
    event.preventDefault(); // or the browser would leave the page to show the file
    event.dataTransfer.dropEffect = current()?.uploads ? "copy" : "none";
  });
  screens.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    event.stopPropagation();
    // It is for the pane that it is dropped on, which is worked in from then on.
    if (event.target instanceof Element) event.target.closest(".pane")?.querySelector("textarea")?.focus();
    if (current()?.uploads) current()?.upload(event.dataTransfer?.files ?? []);
  }, true);
  return { show, say: (text) => void ($("file-said").textContent = text) };
}

class Row {
  readonly where: HTMLLIElement;
  readonly #said = element("span", { className: "said" });
  readonly #bar = element("progress", { max: 1 });
  readonly #take = element("button", { type: "button", textContent: "Download" });
  readonly #drop = element("button", { type: "button" });
  readonly #name: string;

  constructor(name: string, take: () => void, drop: () => void) {
    this.#name = name;
    this.#take.onclick = take;
    this.#drop.onclick = drop;
    this.#bar.ariaLabel = name;
    this.#take.ariaLabel = `Download ${name}`;
    const title = element("span", { className: "name", textContent: name, title: name });
    this.where = element("li", {}, title, this.#bar, this.#said, this.#take, this.#drop);
  }

  show(found: Entry): void {
    this.#bar.value = found.bytes ? found.done / found.bytes : Number(found.over);
    this.#bar.hidden = found.over || found.asked;
    this.#said.textContent = progressOf(found);
    this.#take.hidden = !found.asked;
    const what = found.over ? "Close" : found.asked ? "Decline" : "Cancel";
    this.#drop.textContent = what;
    this.#drop.ariaLabel = `${what} ${this.#name}`;
  }
}
