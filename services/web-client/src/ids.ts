/** A random id of a client. Pages of plain http have no `crypto.randomUUID`, but this. */
export function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(9))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
