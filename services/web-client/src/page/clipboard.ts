// The clipboard, for programs (OSC 52) and for keys of the page. Programs may write to it when a person has
// said so once on this page, and never read it.

import type { Terminal } from "@xterm/xterm";

const LIMIT = 1 << 20; // characters of base64 that a program may put there

let allowed: boolean | null = null;

/** What an OSC 52 sequence asks to be copied, or null where it asks for something else. */
export function copied(data: string): string | null {
  const [, content] = /^[a-z0-9]*;([A-Za-z0-9+/=\s]*)$/.exec(data) ?? [];
  if (!content || content.length > LIMIT) return null;
  try {
    const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** Let programs in `term` write to the clipboard, after `ask` has been answered with yes. */
export function letWrite(term: Terminal, ask: (question: string) => boolean, past: () => boolean): void {
  term.parser.registerOscHandler(52, (data) => {
    const text = copied(data);
    if (text === null || past()) return true; // also a question for what the clipboard holds
    allowed ??= ask("A program in this terminal wants to write to your clipboard. Allow it on this page?");
    if (allowed) void write(text);
    return true;
  });
}

/** Put text into the clipboard; whether that went. */
export async function write(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // a page of plain http has no clipboard, or it has not the focus
  }
}

/** What the clipboard holds, or null where the page may not know. */
export async function read(): Promise<string | null> {
  try {
    return await navigator.clipboard.readText();
  } catch {
    return null;
  }
}
