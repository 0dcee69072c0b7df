// Panels that buttons open and close; one is open at a time.

import { $ } from "./dom.js";

const closers = new Set<() => void>();

/** Have the button of one id open the panel of another; `opened`: it was. Returns what closes it. */
export function panel(buttonId: string, panelId: string, opened: () => void): () => void {
  const button = $(buttonId);
  const where = $(panelId);
  const show = (shown: boolean) => {
    where.hidden = !shown;
    button.ariaExpanded = String(shown);
  };
  const close = () => show(false);
  closers.add(close);
  button.onclick = () => {
    const wanted = where.hidden !== false;
    for (const each of closers) each();
    show(wanted);
    if (wanted) opened();
  };
  return close;
}
