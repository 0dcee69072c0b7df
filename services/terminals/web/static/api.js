// The HTTP API. Every request carries the token; a 401 means that it is no longer good.

import { token } from "./store.js";

export class Unauthorized extends Error {}

export async function call(path, { method = "GET", as = token() } = {}) {
  let response;
  try {
    response = await fetch(path, { method, headers: { Authorization: `Bearer ${as}` }, cache: "no-store" });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  if (response.status === 401) throw new Unauthorized("This token is not accepted.");
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error ?? `The server answered ${response.status}.`);
  return body;
}
