// Images that programs draw into a terminal: sixel, and iTerm's protocol. A file of its own, which a page loads when
// its person wants them.

import { ImageAddon } from "@xterm/addon-image";

/** MB of images that a terminal keeps; the oldest go first. */
export const KEPT_MB = 32;
/** Of one image: pixels, each of which takes four bytes, and bytes of the sequence that brings it. */
export const PIXELS = 1 << 22;
export const BYTES = 8 << 20;

export const imageAddon = (): ImageAddon => new ImageAddon({
  storageLimit: KEPT_MB, pixelLimit: PIXELS, sixelSizeLimit: BYTES, iipSizeLimit: BYTES,
});
