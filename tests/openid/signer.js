// Signs one token by each algorithm with jose: {"ALG": {"token", "jwk" (public), "pem"}} on standard output.
//
//   node signer.js CLAIMS SECRET
import * as jose from 'jose';

const claims = JSON.parse(process.argv[2]);
const secret = new TextEncoder().encode(process.argv[3]);
const signed = {};
for (const alg of ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']) {
  const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true });
  const jwk = { ...await jose.exportJWK(publicKey), kid: `key of ${alg}` };
  const token = await new jose.SignJWT(claims).setProtectedHeader({ alg, kid: jwk.kid, typ: 'JWT' }).sign(privateKey);
  signed[alg] = { token, jwk, pem: await jose.exportSPKI(publicKey) };
}
for (const alg of ['HS256', 'HS384', 'HS512'])
  signed[alg] = { token: await new jose.SignJWT(claims).setProtectedHeader({ alg }).sign(secret) };
console.log(JSON.stringify(signed));
