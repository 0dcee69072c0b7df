// What is pasted, before a program gets it.

/**
 * Pasted text without what a terminal, or the shell behind it, would take for a command of its own: escape
 * and the other controls, C1 too, but for tab and the ends of lines, which are carriage returns as Enter is.
 */
export function cleaned(text: string): string {
  return text.replace(/\r?\n/g, "\r").replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g, "");
}

/** How many lines a program would be given that runs each at its end; one where it waits for Enter. */
export function linesOf(text: string): number {
  return text.split("\r").length;
}

/** Whether a person should be asked first: a program that cannot tell pasted from typed would run the lines. */
export function needsAsking(text: string, bracketed: boolean): boolean {
  return !bracketed && text.replace(/\r$/, "").includes("\r");
}
