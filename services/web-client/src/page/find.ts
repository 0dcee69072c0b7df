// The bar that searches what a terminal has shown.

import type { ISearchOptions } from "@xterm/addon-search";

import { $ } from "./dom.js";
import type { Pane } from "./pane.js";

const DECORATIONS = {
  matchBackground: "#7a5c00", matchOverviewRuler: "#e3b341",
  activeMatchBackground: "#b58900", activeMatchColorOverviewRuler: "#f0776c",
};

/** `current`: the pane that is searched. */
export function findBar(current: () => Pane | null): { open(): void } {
  const bar = $("find");
  const field = $("find-text", HTMLInputElement);
  const found = $("find-found");
  let searched: { pane: Pane; told: { dispose(): void } } | null = null;

  const options = (incremental: boolean): ISearchOptions => ({
    incremental,
    caseSensitive: $("find-case", HTMLInputElement).checked,
    regex: $("find-regex", HTMLInputElement).checked,
    decorations: DECORATIONS,
  });

  const search = (backwards: boolean, incremental = false) => {
    const pane = current();
    if (!pane) return;
    if (searched?.pane !== pane) {
      forget();
      const told = pane.search.onDidChangeResults(({ resultIndex, resultCount }) => {
        found.textContent = resultCount ? `${resultIndex + 1} of ${resultCount}` : field.value ? "not found" : "";
      });
      searched = { pane, told };
    }
    try {
      if (backwards) pane.search.findPrevious(field.value, options(false));
      else pane.search.findNext(field.value, options(incremental));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      found.textContent = "no regular expression";
    }
  };

  const forget = () => {
    searched?.pane.search.clearDecorations();
    searched?.told.dispose();
    searched = null;
    found.textContent = "";
  };

  const close = () => {
    bar.hidden = true;
    forget();
    current()?.term.focus();
  };

  field.oninput = () => search(false, true);
  $("find-case").onchange = $("find-regex").onchange = () => search(false, true);
  $("find-next").onclick = () => search(false);
  $("find-previous").onclick = () => search(true);
  $("find-close").onclick = close;
  bar.onkeydown = (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && event.target === field) search(event.shiftKey);
    else return;
    event.preventDefault();
  };
  return {
    open() {
      bar.hidden = false;
      const selected = current()?.term.getSelection() ?? "";
      if (selected && !selected.includes("\n")) field.value = selected;
      field.select();
      field.focus();
      if (field.value) search(false, true);
    },
  };
}
