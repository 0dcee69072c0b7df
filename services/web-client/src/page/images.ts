// Whether a terminal shows images: what that takes is loaded for the first that does.

import type { ITerminalAddon, Terminal } from "@xterm/xterm";

import { fetched } from "./files.js";

type Later = typeof import("./later/images.js");

let loading: Promise<Later> | null = null;

async function load(): Promise<Later> {
  const url = new URL("later/images.js", import.meta.url).href;
  await fetched(url);
  return (await import(url)) as Later;
}

export class Images {
  #wanted = false;
  #addon: ITerminalAddon | null = null;

  constructor(private readonly term: Terminal) {}

  /** Show those that are drawn from now on, or none. Settled when they are, or it is known that they cannot be. */
  async want(wanted: boolean): Promise<void> {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    if (wanted) {
      await this.#begin();
    } else {
      this.#addon?.dispose();
      this.#addon = null;
    }
  }

  async #begin(): Promise<void> {
    try {
      const { imageAddon } = await (loading ??= load());
      if (!this.#wanted || this.#addon) return;
      this.#addon = imageAddon();
      this.term.loadAddon(this.#addon);
    } catch (error) {
      loading = null; // the next one that wants them asks again
      this.#wanted = false;
      console.error("images cannot be shown", error);
    }
  }
}
