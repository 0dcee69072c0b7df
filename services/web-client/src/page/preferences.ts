// The panel in which a person says how terminals are to look.

import { $ } from "./dom.js";
import { panel } from "./panels.js";
import { save, sized } from "./settings.js";
import type { Settings } from "./settings.js";

/** `changed`: there are others now. */
export function preferences(current: () => Settings, changed: (settings: Settings) => void): void {
  const theme = $("theme", HTMLSelectElement);
  const cursor = $("cursor", HTMLSelectElement);
  const fontSize = $("font-size", HTMLInputElement);
  const keys = $("keys", HTMLInputElement);
  const screenReader = $("screen-reader", HTMLInputElement);
  const images = $("images", HTMLInputElement);

  const show = () => {
    const settings = current();
    theme.value = settings.theme;
    cursor.value = settings.cursor;
    fontSize.value = String(settings.fontSize);
    keys.checked = settings.keys;
    screenReader.checked = settings.screenReader;
    images.checked = settings.images;
  };

  $("preferences").onchange = () => {
    const settings: Settings = {
      theme: theme.value as Settings["theme"],
      cursor: cursor.value as Settings["cursor"],
      fontSize: sized(Number(fontSize.value)),
      keys: keys.checked,
      screenReader: screenReader.checked,
      images: images.checked,
    };
    save(settings);
    changed(settings);
    show();
  };
  panel("settings", "preferences", show);
}
