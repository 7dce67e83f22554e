// Checks the vectors of this folder without a line of the sidecar's code:
//
//   node spec/vectors/verify.mjs
//
// It needs Node 20 and nothing else. It is also the shortest second
// implementation of the formats that there is; read it beside spec/.

import { createHash, createPrivateKey, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

let checks = 0;
const faults = [];
function check(what, ok) {
  checks++;
  if (!ok) faults.push(what);
}
const load = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const sha256 = (data) => createHash("sha256").update(data).digest();
const contentDigest = (data) => `sha-256=:${sha256(data).toString("base64")}:`;

// RFC 8785 for what the protocol signs: objects, arrays, strings, integers,
// booleans. JavaScript sorts by UTF-16 units and prints numbers as the RFC does.
function canonical(v) {
  if (Array.isArray(v)) return `[${v.map(canonical).join(",")}]`;
  if (v === null || typeof v !== "object") return JSON.stringify(v);
  return `{${Object.keys(v).sort().map((k) => `${JSON.stringify(k)}:${canonical(v[k])}`).join(",")}}`;
}

// Base64 of exactly one spelling: decode, encode again, compare.
function decode(text, encoding) {
  const raw = Buffer.from(text, encoding);
  if (raw.toString(encoding) !== text) throw new Error(`not canonical ${encoding}: ${text}`);
  return raw;
}

const jwkOf = (x) => ({ kty: "OKP", crv: "Ed25519", x });
const thumbprint = (x) => sha256(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).toString("base64url");
const verifies = (x, message, signature) =>
  signature.length === 64 && verify(null, Buffer.from(message), createPublicKey({ key: jwkOf(x), format: "jwk" }), signature);

// A key of small order fits any message, and one beyond the field has two
// spellings: both are refused when they are read.
const p = 2n ** 255n - 19n;
const smallOrder = new Set([0n, 1n, p - 1n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n]);
function parseKey(text) {
  if (!/^ed25519:[A-Za-z0-9_-]{43}$/.test(text)) throw new Error("shape");
  const raw = decode(text.slice(8), "base64url");
  const y = BigInt("0x" + Buffer.from(raw).reverse().toString("hex")) & (2n ** 255n - 1n);
  if (y >= p || smallOrder.has(y)) throw new Error("point");
  return text.slice(8);
}

// verifyJWS checks one signature of a certain type; keys are found by thumbprint.
function verifyJWS(protectedHeader, payload, signature, typ, keys) {
  const h = JSON.parse(decode(protectedHeader, "base64url"));
  if ("crit" in h || "b64" in h) throw new Error("crit or b64");
  if (h.alg !== "EdDSA" && h.alg !== "Ed25519") throw new Error(`alg ${h.alg}`);
  if (h.typ !== typ) throw new Error(`typ ${h.typ}`);
  if (!(h.kid in keys)) throw new Error(`kid ${h.kid}`);
  const input = `${protectedHeader}.${Buffer.from(payload).toString("base64url")}`;
  if (!verifies(keys[h.kid], input, decode(signature, "base64url"))) throw new Error("signature");
}

function verifyCompact(jws, typ, keys) {
  const parts = jws.split(".");
  if (parts.length !== 3) throw new Error("parts");
  const payload = decode(parts[1], "base64url");
  verifyJWS(parts[0], payload, parts[2], typ, keys);
  const claims = JSON.parse(payload);
  if (canonical(claims) !== payload.toString()) throw new Error("canonical");
  return claims;
}

const accepts = (f) => {
  try {
    return f() !== false;
  } catch {
    return false;
  }
};

// --- the vectors, first those from before the hardened members ---

const shared = JSON.parse(load("v1.json"));
const hardened = JSON.parse(load("hardened.json"));
const keys = {};
for (const [name, k] of Object.entries(hardened.keys)) {
  const seed = sha256(`iatp-test-vector-${name}`);
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  const { x } = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" })).export({ format: "jwk" });
  check(`key ${name}`, seed.toString("base64") === k.seed_base64 && thumbprint(x) === k.jkt && `ed25519:${x}` === k.verification_key);
  keys[k.jkt] = x;
}
const only = (...names) => Object.fromEntries(names.map((n) => [hardened.keys[n].jkt, keys[hardened.keys[n].jkt]]));

const directory = Object.fromEntries(hardened.directory.keys.map((k) => [k.kid, k.x]));
for (const k of hardened.directory.keys) check(`directory ${k.kid}`, thumbprint(k.x) === k.kid && k.kty === "OKP" && k.crv === "Ed25519");

for (const v of [shared.manifest, hardened.manifest]) {
  const { signatures, ...doc } = JSON.parse(load(v.file));
  const payload = canonical(doc);
  check(`${v.file}: digest`, contentDigest(payload) === v.digest);
  for (const s of signatures) check(`${v.file}: signature`, accepts(() => verifyJWS(s.protected, payload, s.signature, "iatp-manifest+jws", directory)));
  const own = doc.identity.verification_key.slice("ed25519:".length);
  check(`${v.file}: own key`, signatures.some((s) => JSON.parse(decode(s.protected, "base64url")).kid === thumbprint(own)));
}

const payload = decode(hardened.agreement.document.payload, "base64url");
const contract = JSON.parse(payload);
check("agreement: canonical", canonical(contract) === payload.toString());
check("agreement: id", sha256(payload).toString("base64url") === hardened.agreement.id);
for (const [i, side] of ["initiator", "responder"].entries()) {
  const s = hardened.agreement.document.signatures[i];
  const party = { [contract[side].jkt]: keys[contract[side].jkt] };
  check(`agreement: ${side}`, accepts(() => verifyJWS(s.protected, payload, s.signature, "iatp-agreement+jws", party)));
}
for (const [why, doc] of Object.entries(hardened.agreement.refuse)) {
  check(`agreement refused: ${why}`, !accepts(() => {
    const text = decode(doc.payload, "base64url");
    if (doc.signatures.length !== 2 || sha256(text).toString("base64url") !== hardened.agreement.id) return false;
    for (const [i, side] of ["initiator", "responder"].entries()) {
      verifyJWS(doc.signatures[i].protected, text, doc.signatures[i].signature, "iatp-agreement+jws", { [contract[side].jkt]: keys[contract[side].jkt] });
    }
  }));
}
check("request: agreement", hardened.request.header.some(([n, v]) => n === "iatp-agreement" && v === `:${sha256(payload).toString("base64")}:`));
check("agreement: manifest", contract.responder.manifest === hardened.manifest.digest);
check("shared agreement", sha256(canonical(shared.agreement.payload)).toString("base64") === shared.agreement.digest_base64);

const mark = verifyCompact(hardened.endorsement.jws, "trust-mark+jwt", only("authority"));
check("endorsement: key", mark.cnf.jkt === hardened.keys.expedia.jkt && mark.sub === "https://expedia.example");

// signatureBase builds the text that RFC 9421 section 2.5 signs.
function signatureBase(r) {
  const input = r.signature_input.slice("iatp=".length);
  const values = Object.fromEntries(r.header);
  const lines = [...input.matchAll(/"([^"]+)"(;key="iatp")?(?=[ )])/g)].filter((m) => m.index < input.indexOf(")")).map(([text, name, member]) => {
    const value = { "@method": r.method, "@target-uri": r.target_uri }[name] ?? values[name];
    return `${text}: ${member ? value.match(/(?:^|, )iatp=("[^"]*")/)[1] : value}`;
  });
  return [...lines, `"@signature-params": ${input}`].join("\n");
}
for (const r of [shared.request, hardened.request]) {
  const x = keys[hardened.keys[r.signer].jkt];
  if (r.header) check("request: base", signatureBase(r) === r.signature_base);
  const signature = decode(r.signature.match(/^iatp=:(.*):$/)[1], "base64");
  check("request: signature", verifies(x, r.signature_base, signature));
  check("request: changed", !verifies(x, r.signature_base.replace("POST", "GET"), signature));
  check("request: body", r.signature_base.includes(`"content-digest": ${contentDigest(r.body)}\n`));
}

for (const v of [shared, hardened]) {
  const r = verifyCompact(v.receipt.jws, "iatp-receipt+jwt", only("expedia"));
  check("receipt: request", r.req.base === sha256(v.request.signature_base).toString("base64url"));
  check("receipt: answer", r.res.digest === contentDigest(v.receipt.response_body));
  check("receipt: agreement", v === shared || r.agr === hardened.agreement.id);
  check("receipt: manifest", v === shared || r.mft === hardened.manifest.digest);
}

// Every signed statement to every reader of another type.
const statements = { "iatp-receipt+jwt": hardened.receipt.jws, "trust-mark+jwt": hardened.endorsement.jws };
for (const [i, s] of hardened.agreement.document.signatures.entries()) {
  statements[`iatp-agreement+jws ${i}`] = `${s.protected}.${hardened.agreement.document.payload}.${s.signature}`;
}
for (const typ of ["iatp-manifest+jws", "iatp-agreement+jws", "iatp-receipt+jwt", "trust-mark+jwt"]) {
  for (const [kind, jws] of Object.entries(statements)) {
    check(`${kind} as ${typ}`, accepts(() => verifyCompact(jws, typ, keys)) === (kind.split(" ")[0] === typ));
  }
}

// --- the corpus: what everybody accepts, and what everybody refuses ---

const decimals = { JPY: 0, USD: 2, EUR: 2, KWD: 3, CLF: 4 }; // of ISO 4217 what the corpus uses
function money(amount, currency) {
  const m = /^(0|[1-9][0-9]{0,14})(?:\.([0-9]{1,4}))?$/.exec(amount);
  return m !== null && currency in decimals && (m[2] ?? "").length <= decimals[currency];
}
function origin(s) {
  const m = /^(https?):\/\/([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?$/.exec(s);
  return m !== null && new URL(s).origin === s && (m[1] === "https" || ["localhost", "127.0.0.1", "[::1]"].includes(m[2]));
}
const jwsShape = (s) => s.split(".").length === 3 && s.split(".").every((part) => part !== "" && decode(part, "base64url"));
const digest = (raw) => raw.length === 32;

const label = "iatp";
const list = ["content-type", "content-digest", "idempotency-key", "x-agent-trace-id"]; // what the corpus' request has of the fixed list
function signatureInput(field) {
  const members = [...field.matchAll(/(?:^|, )([a-z*][a-z0-9_.*-]*)(?:=((?:"[^"]*"|\([^)]*\)|[^",])*))?/g)];
  if (members.map((m) => m[0]).join("") !== field) return false;
  const own = members.filter((m) => m[1] === label);
  if (own.length !== 1 || members.some((m) => m[1] !== label && /;\s*tag="?iatp-v1"?(;|$)/.test(m[2] ?? ""))) return false;
  const m = /^\(([^)]*)\);created=([1-9][0-9]*);expires=([1-9][0-9]*);nonce="[A-Za-z0-9_-]{22,64}";keyid="[A-Za-z0-9_-]{43}";alg="ed25519";tag="iatp-v1"$/.exec(own[0][2]);
  if (m === null || m[3] - m[2] <= 0 || m[3] - m[2] > 120) return false;
  const covered = ["@method", "@target-uri", ...list, "x-tenant"].map((c) => `"${c}"`).join(" ");
  return m[1] === covered;
}

const readers = {
  content_digest: (s) => digest(decode(/^sha-256=:(.*):$/.exec(s)[1], "base64")),
  byte_sequence: (s) => digest(decode(/^:(.*):$/.exec(s)[1], "base64")),
  base64url: (s) => digest(decode(s, "base64url")),
  key: (s) => parseKey(s) !== "",
  origin,
  idempotency_key: (s) => /^"(?:[ !#-[\]-~]|\\["\\]){1,128}"$/.test(s),
  budget: (s) => money(...(/^"([^"]*)";cur=(.*)$/.exec(s) ?? []).slice(1)),
  deadline: (s) => /^@(0|[1-9][0-9]{0,14})$/.test(s) && Number(s.slice(1)) <= 1794650000 + 86400,
  tokens: (s) => s.split(", ").length <= 8 && s.split(", ").every(jwsShape),
  money: (s) => money(...s.split(" ")) && s.split(" ").length === 2,
  integer: (s) => /^-?(0|[1-9][0-9]*)$/.test(s) && s !== "-0" && Number.isSafeInteger(Number(s)),
  target: (s) => /^(https:\/\/expedia\.example)?\/[!"$-~]*$/.test(s),
  signature_input: signatureInput,
};
const corpus = JSON.parse(load("corpus.json"));
check("corpus: kinds", Object.keys(corpus).sort().join() === Object.keys(readers).sort().join());
for (const [kind, cases] of Object.entries(corpus)) {
  for (const s of cases.accept) check(`${kind}: refuses ${JSON.stringify(s)}`, accepts(() => readers[kind](s)));
  for (const s of cases.refuse) check(`${kind}: accepts ${JSON.stringify(s)}`, !accepts(() => readers[kind](s)));
}

for (const fault of faults) console.error(`FAIL ${fault}`);
console.log(`${checks} checks, ${faults.length} failed`);
process.exitCode = faults.length === 0 ? 0 : 1;
