// Little helpers around the document.

/** The element with an id, which the page has; `kind`: its class. */
export function $(id: string): HTMLElement;
export function $<T extends HTMLElement>(id: string, kind: new () => T): T;
export function $(id: string, kind: new () => HTMLElement = HTMLElement): HTMLElement {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no #${id}`);
  return found;
}

/** Make an element. */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/**
 * Let styles be made that the page's policy allows: it names a nonce, and xterm.js gives its style
 * elements none.
 */
export function allowStyles(nonce: string): void {
  type Make = (name: string, options?: ElementCreationOptions) => HTMLElement;
  const make: Make = Reflect.get(document, "createElement");
  const withNonce: Make = (name, options) => {
    const made = Reflect.apply(make, document, [name, options]);
    if (made instanceof HTMLStyleElement) made.nonce = nonce;
    return made;
  };
  Object.defineProperty(document, "createElement", { value: withNonce, configurable: true });
}
