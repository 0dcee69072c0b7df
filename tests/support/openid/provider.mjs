// A certified provider. Its settings are JSON on standard input: host and port, tls (certificate and key in PEM form) or
// null, accounts (claims by login), clients, jwks (private keys, the first of which signs).

import { createServer as plain } from "node:http";
import { createServer as secure } from "node:https";
import { text } from "node:stream/consumers";
import Provider from "oidc-provider";

const { host, port, tls, accounts, clients, jwks } = JSON.parse(await text(process.stdin));
const provider = new Provider(`http${tls ? "s" : ""}://${host}:${port}`, {
  clients,
  jwks,
  claims: { openid: ["sub", "groups"], email: ["email", "email_verified"], profile: ["preferred_username"] },
  conformIdTokenClaims: false, // what is asked for is in the ID token
  cookies: { keys: ["of no importance"] },
  findAccount: (_, id) => accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
  pkce: { required: () => true },
});
const server = tls ? secure(tls, provider.callback()) : plain(provider.callback());
server.listen(port, host);
