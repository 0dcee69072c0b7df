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
 * Let xterm.js style what it draws under a policy that allows no inline styles: the elements it makes for
 * that get the nonce which the policy names, and what it sets as an attribute is set as a property.
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

  type Set = (this: HTMLElement, name: string, value: string) => void;
  const set: Set = Reflect.get(HTMLElement.prototype, "setAttribute");
  const asProperty: Set = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else set.call(this, name, value);
  };
  Object.defineProperty(HTMLElement.prototype, "setAttribute", { value: asProperty, configurable: true });
}
