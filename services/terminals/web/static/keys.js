// Keys that the keyboard of a phone lacks.

import { byId, h } from "./dom.js";

const KEYS = [
  ["Esc", "\x1b"], ["Tab", "\t"], ["Ctrl", null], ["↑", "A", "Up"], ["↓", "B", "Down"],
  ["←", "D", "Left"], ["→", "C", "Right"], ["|", "|"], ["/", "/"], ["-", "-"], ["~", "~"],
];

/** Build the toolbar. `active()` is the terminal shown, or null. */
export function buildKeys(active) {
  const buttons = KEYS.map(([label, value, name]) => {
    const press = () => {
      const tab = active();
      if (!tab) return;
      if (value === null) tab.control();
      else tab.type(name ? arrow(tab, value) : value);
      tab.screen.focus();
    };
    const button = h("button", { type: "button", "aria-label": name ?? label, onclick: press }, label);
    // Taking the focus would close the phone's keyboard.
    button.addEventListener("pointerdown", (event) => event.preventDefault());
    if (value === null) button.id = "key-ctrl";
    return button;
  });
  byId("keys").replaceChildren(...buttons);
}

export function showControl(on) {
  byId("key-ctrl").setAttribute("aria-pressed", String(on));
}

function arrow(tab, letter) {
  return (tab.screen.terminal.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b[") + letter;
}
