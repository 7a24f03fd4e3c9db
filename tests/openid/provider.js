// An OpenID provider (oidc-provider) on a port of its own, as tests need one: signs access tokens as JWT for the resource "urn:api",
// publishes its keys at /jwks, and rotates them on order.
//
//   node provider.js PORT          says READY, then takes orders by lines: "rotate", "forget" (the keys before the newest go)
import http from 'node:http';
import readline from 'node:readline';

import * as jose from 'jose';
import Provider from 'oidc-provider';

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
let keys = [];
let answer;

async function makeKey() {
  const { privateKey } = await jose.generateKeyPair('RS256', { extractable: true });
  const jwk = await jose.exportJWK(privateKey);
  return { ...jwk, kid: await jose.calculateJwkThumbprint(jwk), use: 'sig', alg: 'RS256' };
}

// A provider's keys are fixed for its life, so it is made anew; the newest key is the first, which signs.
function begin() {
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [{
      client_id: 'robot', client_secret: 'robots-secret-of-many-bytes', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
    }],
    scopes: ['read', 'write'],
    ttl: { ClientCredentials: 600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:api',
        getResourceServerInfo: () => ({ scope: 'read write', audience: 'urn:api', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } }),
      },
    },
  });
  answer = provider.callback();
}

keys = [await makeKey()];
begin();
http.createServer((request, response) => answer(request, response)).listen(port, '127.0.0.1', () => console.log('READY'));

for await (const order of readline.createInterface({ input: process.stdin })) {
  if (order === 'rotate') keys = [await makeKey(), ...keys];
  if (order === 'forget') keys = keys.slice(0, 1);
  begin();
  console.log('DONE');
}
process.exit(0);
