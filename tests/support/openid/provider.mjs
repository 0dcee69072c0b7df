// A certified provider on loopback. Its settings are JSON on standard input: port, accounts (claims by login), clients,
// jwks (private keys, the first of which signs). It says a line once it listens.

import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import Provider from "oidc-provider";

const { port, accounts, clients, jwks } = JSON.parse(await text(process.stdin));
const provider = new Provider(`http://localhost:${port}`, {
  clients,
  jwks,
  claims: { openid: ["sub", "groups"], email: ["email", "email_verified"], profile: ["preferred_username"] },
  conformIdTokenClaims: false, // what is asked for is in the ID token
  cookies: { keys: ["of no importance"] },
  findAccount: (_, id) => accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
  pkce: { required: () => true },
});
createServer(provider.callback()).listen(port, "localhost", () => console.log("listening"));
