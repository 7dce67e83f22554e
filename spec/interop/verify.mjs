// Verifies the vectors with libraries that know nothing of this protocol: jose
// (RFC 7515, 7517, 7519, 7638), http-message-signatures (RFC 9421) and canonicalize
// (RFC 8785).
//
//   npm ci && node verify.mjs ../vectors
//
// What the libraries leave to their user, the profile, is in ../vectors/verify.mjs.

import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import canonicalize from "canonicalize";
import { httpbis } from "http-message-signatures";
import * as jose from "jose";

const folder = process.argv[2];
const load = (name) => JSON.parse(readFileSync(join(folder, name), "utf8"));
const hardened = load("hardened.json");

let checks = 0;
const faults = [];
async function holds(what, f) {
  checks++;
  try {
    if ((await f()) === false) faults.push(what);
  } catch (e) {
    faults.push(`${what}: ${e.message}`);
  }
}
async function fails(what, f) {
  checks++;
  try {
    if ((await f()) !== false) faults.push(`${what} passed`);
  } catch {
    // as it should
  }
}

const jwkOf = (key) => ({ kty: "OKP", crv: "Ed25519", x: key.slice("ed25519:".length), alg: "EdDSA" });
const keys = {}; // JWKs by the name of their owner
for (const [name, k] of Object.entries(hardened.keys)) {
  keys[name] = jwkOf(k.verification_key);
  await holds(`thumbprint of ${name}`, async () => (await jose.calculateJwkThumbprint(keys[name])) === k.jkt);
}
const setOf = (...names) => jose.createLocalJWKSet({ keys: names.map((n) => ({ ...keys[n], kid: hardened.keys[n].jkt })) });
const flip = (text) => text.slice(0, -8) + (text.at(-8) === "A" ? "B" : "A") + text.slice(-7);

// Statements: JWTs of a type of their own.
const receipt = { typ: "iatp-receipt+jwt", issuer: "https://expedia.example", audience: "https://travel.example", currentDate: new Date(1794650100e3) };
await holds("receipt", () => jose.jwtVerify(hardened.receipt.jws, setOf("expedia"), receipt));
await holds("receipt under the published directory", () => jose.jwtVerify(hardened.receipt.jws, jose.createLocalJWKSet(hardened.directory), receipt));
await fails("receipt, changed", () => jose.jwtVerify(flip(hardened.receipt.jws), setOf("expedia"), receipt));
await fails("receipt, under another key", () => jose.jwtVerify(hardened.receipt.jws, setOf("travel"), receipt));
await fails("receipt, for another", () => jose.jwtVerify(hardened.receipt.jws, setOf("expedia"), { ...receipt, audience: "https://other.example" }));
const mark = { typ: "trust-mark+jwt", subject: "https://expedia.example", currentDate: new Date(1794650100e3) };
await holds("endorsement", () => jose.jwtVerify(hardened.endorsement.jws, setOf("authority"), mark));
await fails("endorsement, too late", () => jose.jwtVerify(hardened.endorsement.jws, setOf("authority"), { ...mark, currentDate: new Date(1800000000e3) }));
await fails("endorsement as a receipt", () => jose.jwtVerify(hardened.endorsement.jws, setOf("authority"), { typ: "iatp-receipt+jwt" }));

// The manifest: detached JWS over its canonical form.
for (const file of ["manifest.json", "manifest-hardened.json"]) {
  const { signatures, ...doc } = load(file);
  const payload = jose.base64url.encode(canonicalize(doc));
  for (const [i, s] of signatures.entries()) {
    const all = setOf("expedia", "expedia-before");
    await holds(`${file}: signature ${i + 1}`, () => jose.flattenedVerify({ ...s, payload }, all));
    await fails(`${file}: signature ${i + 1} of a changed document`, () =>
      jose.flattenedVerify({ ...s, payload: jose.base64url.encode(canonicalize({ ...doc, trust_level: "standard" })) }, all));
  }
}

// The agreement: JWS in its general form, each side under its own key.
for (const [i, side] of ["travel", "expedia"].entries()) {
  const one = { payload: hardened.agreement.document.payload, signatures: [hardened.agreement.document.signatures[i]] };
  await holds(`agreement: ${side}`, () => jose.generalVerify(one, setOf(side)));
  await fails(`agreement: ${side}, under the key of another`, () => jose.generalVerify(one, setOf("authority")));
}
await holds("agreement: canonical", () => {
  const text = new TextDecoder().decode(jose.base64url.decode(hardened.agreement.document.payload));
  return canonicalize(JSON.parse(text)) === text;
});

// The request. The library compares with the clock: the vectors are of this time.
Date.now = () => 1794650010e3;
const config = {
  requiredParams: ["created", "expires", "nonce", "keyid", "alg", "tag"],
  requiredFields: ["@method", "@target-uri", "content-type", "content-digest", "idempotency-key"],
  all: true,
  async keyLookup({ keyid }) {
    const name = Object.keys(keys).find((n) => hardened.keys[n].jkt === keyid);
    const key = createPublicKey({ key: keys[name], format: "jwk" });
    return { id: keyid, algs: ["ed25519"], verify: async (data, signature) => verify(null, data, key, signature) };
  },
};
const r = hardened.request;
const request = (change) => {
  const headers = Object.fromEntries(r.header);
  Object.assign(headers, { "signature-input": r.signature_input, signature: r.signature });
  return { method: r.method, url: r.target_uri, ...change, headers: { ...headers, ...change?.headers } };
};
const verified = async (change) => (await httpbis.verifyMessage(config, request(change))) === true;
await holds("request", () => verified());
await fails("request, another method", () => verified({ method: "PUT" }));
await fails("request, another target", () => verified({ url: r.target_uri + "0" }));
for (const [name, value] of r.header) {
  await fails(`request, another ${name}`, () => verified({ headers: { [name]: value.replace(/[a-z0-9](?=[^a-z0-9]*$)/, "_") } }));
}
await fails("request, too late", () => {
  Date.now = () => 1794650100e3;
  return verified();
});

for (const fault of faults) console.error(`FAIL ${fault}`);
console.log(`${checks} checks, ${faults.length} failed`);
process.exitCode = faults.length === 0 ? 0 : 1;
