"""Checks the vectors of this folder without a line of the sidecar's code:

    python3 spec/vectors/verify.py

It needs Python 3.9 and its standard library, which has no Ed25519: that of RFC
8032, section 6, is below. It is slow, leaks its keys by time, and has none to
leak. verify.mjs beside it checks the same in JavaScript.
"""

import base64
import hashlib
import ipaddress
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
checks = 0
faults = []


def check(what, ok):
    global checks
    checks += 1
    if not ok:
        faults.append(what)


def accepts(f, *args):
    try:
        return f(*args) is not False
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False


def sha256(data):
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).digest()


def b64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def content_digest(data):
    return "sha-256=:" + base64.b64encode(sha256(data)).decode() + ":"


def decode64(text):
    """Base64 of exactly one spelling: decode, encode again, compare."""
    raw = base64.b64decode(text.encode("ascii"), validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not canonical base64")
    return raw


def decode_url(text):
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("not base64url")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64url(raw) != text:
        raise ValueError("not canonical base64url")
    return raw


def strict(text):
    """JSON as the protocol reads it: no member twice, no number but integers."""

    def once(pairs):
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a member twice")
        return dict(pairs)

    def refuse(number):
        raise ValueError(f"number {number}")

    return json.loads(text, object_pairs_hook=once, parse_float=refuse, parse_constant=refuse, parse_int=integer)


def integer(text):
    if not re.fullmatch(r"-?(0|[1-9][0-9]*)", text) or text == "-0" or abs(int(text)) >= 2**53:
        raise ValueError(f"number {text}")
    return int(text)


def canonical(value):
    """RFC 8785 for what the protocol signs. Names sort by UTF-16 units."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(canonical(n) + ":" + canonical(value[n]) for n in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# --- Ed25519, RFC 8032 ---

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def add(a, b):
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    e = (y1 - x1) * (y2 - x2) % P
    f = (y1 + x1) * (y2 + x2) % P
    g, h = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    a, b, c, d = f - e, h - g, h + g, f + e
    return a * b % P, c * d % P, b * c % P, a * d % P


def times(n, point):
    total = (0, 1, 1, 0)
    while n:
        if n & 1:
            total = add(total, point)
        point = add(point, point)
        n >>= 1
    return total


def same(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point(raw):
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if len(raw) != 32 or y >= P:
        raise ValueError("not canonical")
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        raise ValueError("not on the curve")
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
NOTHING = (0, 1, 1, 0)


def verifies(public, message, signature):
    if len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= Q:
        return False
    key, r = point(public), point(signature[:32])
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % Q
    return same(times(s, BASE), add(r, times(h, key)))


def public_of(seed):
    h = hashlib.sha512(seed).digest()[:32]
    n = int.from_bytes(h, "little") & (2**254 - 8) | 2**254
    x, y, z, _ = times(n, BASE)
    inverse = pow(z, P - 2, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def parse_key(text):
    """A key of small order fits any message: it is refused when it is read."""
    if not re.fullmatch(r"ed25519:[A-Za-z0-9_-]{43}", text):
        raise ValueError("shape")
    raw = decode_url(text[len("ed25519:"):])
    if same(times(8, point(raw)), NOTHING):
        raise ValueError("small order")
    return raw


def thumbprint(raw):
    return b64url(sha256('{"crv":"Ed25519","kty":"OKP","x":"' + b64url(raw) + '"}'))


def verify_jws(protected, payload, signature, typ, keys):
    """One signature of a certain type; keys are found by thumbprint."""
    head = strict(decode_url(protected))
    if "crit" in head or "b64" in head or head["alg"] not in ("EdDSA", "Ed25519") or head["typ"] != typ:
        raise ValueError("header")
    if not verifies(keys[head["kid"]], (protected + "." + b64url(payload)).encode(), decode_url(signature)):
        raise ValueError("signature")


def verify_compact(jws, typ, keys):
    protected, payload, signature = jws.split(".")
    raw = decode_url(payload)
    verify_jws(protected, raw, signature, typ, keys)
    claims = strict(raw)
    if canonical(claims).encode() != raw:
        raise ValueError("not canonical")
    return claims


# --- the vectors, first those from before the hardened members ---

shared = json.loads((HERE / "v1.json").read_text())
hardened = json.loads((HERE / "hardened.json").read_text())

keys = {}
for name, k in hardened["keys"].items():
    seed = sha256("iatp-test-vector-" + name)
    raw = public_of(seed)
    check(f"key {name}", base64.b64encode(seed).decode() == k["seed_base64"] and thumbprint(raw) == k["jkt"] and parse_key(k["verification_key"]) == raw)
    keys[k["jkt"]] = raw


def only(*names):
    return {hardened["keys"][n]["jkt"]: keys[hardened["keys"][n]["jkt"]] for n in names}


directory = {k["kid"]: decode_url(k["x"]) for k in hardened["directory"]["keys"]}
for kid, raw in directory.items():
    check(f"directory {kid}", thumbprint(raw) == kid)
for text in shared["small_order_keys"] + shared["non_canonical_keys"]:
    check(f"key {text}", not accepts(parse_key, text))

for vectors in shared, hardened:
    file = vectors["manifest"]["file"]
    doc = strict((HERE / file).read_text())
    signatures = doc.pop("signatures")
    payload = canonical(doc).encode()
    check(f"{file}: digest", content_digest(payload) == vectors["manifest"]["digest"])
    for s in signatures:
        check(f"{file}: signature", accepts(verify_jws, s["protected"], payload, s["signature"], "iatp-manifest+jws", directory))
    own = thumbprint(parse_key(doc["identity"]["verification_key"]))
    check(f"{file}: own key", any(strict(decode_url(s["protected"]))["kid"] == own for s in signatures))

agreement = hardened["agreement"]["document"]
payload = decode_url(agreement["payload"])
contract = strict(payload)
check("agreement: canonical", canonical(contract).encode() == payload)
check("agreement: id", b64url(sha256(payload)) == hardened["agreement"]["id"])
for side, s in zip(("initiator", "responder"), agreement["signatures"]):
    jkt = contract[side]["jkt"]
    check(f"agreement: {side}", accepts(verify_jws, s["protected"], payload, s["signature"], "iatp-agreement+jws", {jkt: keys[jkt]}))
check("shared agreement", base64.b64encode(sha256(canonical(shared["agreement"]["payload"]))).decode() == shared["agreement"]["digest_base64"])

mark = verify_compact(hardened["endorsement"]["jws"], "trust-mark+jwt", only("authority"))
check("endorsement: key", mark["cnf"]["jkt"] == hardened["keys"]["expedia"]["jkt"] and mark["sub"] == "https://expedia.example")


def signature_base(r):
    """The text that RFC 9421 section 2.5 signs."""
    params = r["signature_input"][len("iatp="):]
    values = dict(r["header"], **{"@method": r["method"], "@target-uri": r["target_uri"]})
    lines = []
    for item in params[1:params.index(")")].split(" "):
        value = values[item.split('"')[1]]
        if item.endswith(';key="iatp"'):
            value = re.search(r'(?:^|, )iatp=("[^"]*")', value).group(1)
        lines.append(f"{item}: {value}\n")
    return "".join(lines) + f'"@signature-params": {params}'


for r in shared["request"], hardened["request"]:
    raw = keys[hardened["keys"][r["signer"]]["jkt"]]
    if "header" in r:
        check("request: base", signature_base(r) == r["signature_base"])
    signature = decode64(re.fullmatch(r"iatp=:(.*):", r["signature"]).group(1))
    check("request: signature", verifies(raw, r["signature_base"].encode(), signature))
    check("request: changed", not verifies(raw, r["signature_base"].replace("POST", "GET").encode(), signature))
    check("request: body", f'"content-digest": {content_digest(r["body"])}\n' in r["signature_base"])

for v in shared, hardened:
    r = verify_compact(v["receipt"]["jws"], "iatp-receipt+jwt", only("expedia"))
    check("receipt: request", r["req"]["base"] == b64url(sha256(v["request"]["signature_base"])))
    check("receipt: answer", r["res"]["digest"] == content_digest(v["receipt"]["response_body"]))
    check("receipt: manifest", v is shared or r["mft"] == hardened["manifest"]["digest"])

# Every signed statement to every reader of another type.
statements = [("iatp-receipt+jwt", hardened["receipt"]["jws"]), ("trust-mark+jwt", hardened["endorsement"]["jws"])]
for s in agreement["signatures"]:
    statements.append(("iatp-agreement+jws", s["protected"] + "." + agreement["payload"] + "." + s["signature"]))
for typ in "iatp-manifest+jws", "iatp-agreement+jws", "iatp-receipt+jwt", "trust-mark+jwt":
    for kind, jws in statements:
        check(f"{kind} as {typ}", accepts(verify_compact, jws, typ, keys) == (kind == typ))

# --- the corpus: what everybody accepts, and what everybody refuses ---

DECIMALS = {"JPY": 0, "USD": 2, "EUR": 2, "KWD": 3, "CLF": 4}  # of ISO 4217 what the corpus uses
ASCII = re.ASCII


def money(text):
    amount, currency = text.split(" ")
    m = re.fullmatch(r"(0|[1-9][0-9]{0,14})(?:\.([0-9]{1,4}))?", amount, ASCII)
    return m is not None and len(m.group(2) or "") <= DECIMALS[currency]


def budget(text):
    m = re.fullmatch(r'"([^"]*)";cur=(.*)', text)
    return money(m.group(1) + " " + m.group(2))


def origin(text):
    m = re.fullmatch(r"(https?)://([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?", text, ASCII)
    if m is None:
        return False
    scheme, host, port = m.groups()
    if host.startswith("["):
        if f"[{ipaddress.IPv6Address(host[1:-1])}]" != host:
            return False
    elif re.fullmatch(r"[0-9.]+|.*\.[0-9]+|0x.*", host) and not re.fullmatch(r"(?:(?:25[0-5]|2[0-4][0-9]|1?[1-9]?[0-9])(?:\.(?!$)|$)){4}", host):
        return False
    if port and (int(port) > 65535 or int(port) == {"http": 80, "https": 443}[scheme]):
        return False
    return scheme == "https" or host in ("localhost", "127.0.0.1", "[::1]")


def tokens(text):
    list_ = text.split(", ")
    return len(list_) <= 8 and all(len(t.split(".")) == 3 and all(decode_url(part) for part in t.split(".")) for t in list_)


COVERED = ["@method", "@target-uri", "content-type", "content-digest", "idempotency-key", "x-agent-trace-id", "x-tenant"]


def signature_input(text):
    member = re.compile(r'(?:^|, )([a-z*][a-z0-9_.*-]*)(?:=((?:"[^"]*"|\([^)]*\)|[^",])*))?', ASCII)
    found = list(member.finditer(text))
    if "".join(m.group(0) for m in found) != text:
        return False
    own = [m.group(2) for m in found if m.group(1) == "iatp"]
    if len(own) != 1 or any(m.group(1) != "iatp" and re.search(r';\s*tag="?iatp-v1"?(;|$)', m.group(2) or "") for m in found):
        return False
    m = re.fullmatch(r'\(([^)]*)\);created=([1-9][0-9]*);expires=([1-9][0-9]*);nonce="[A-Za-z0-9_-]{22,64}";keyid="[A-Za-z0-9_-]{43}";alg="ed25519";tag="iatp-v1"', own[0], ASCII)
    return m is not None and 0 < int(m.group(3)) - int(m.group(2)) <= 120 and m.group(1) == " ".join(f'"{c}"' for c in COVERED)


def digest(raw):
    return len(raw) == 32


readers = {
    "content_digest": lambda s: digest(decode64(re.fullmatch(r"sha-256=:(.*):", s).group(1))),
    "byte_sequence": lambda s: digest(decode64(re.fullmatch(r":(.*):", s).group(1))),
    "base64url": lambda s: digest(decode_url(s)),
    "key": parse_key,
    "origin": origin,
    "idempotency_key": lambda s: re.fullmatch(r'"(?:[ !#-\[\]-~]|\\["\\]){1,128}"', s) is not None,
    "budget": budget,
    "deadline": lambda s: re.fullmatch(r"@(0|[1-9][0-9]{0,14})", s, ASCII) is not None and int(s[1:]) <= 1794650000 + 86400,
    "tokens": tokens,
    "money": money,
    "integer": integer,
    "target": lambda s: re.fullmatch(r'(https://expedia\.example)?/[!"$-~]*', s) is not None,
    "signature_input": signature_input,
}
corpus = json.loads((HERE / "corpus.json").read_text())
check("corpus: kinds", corpus.keys() == readers.keys())
for kind, cases in corpus.items():
    for text in cases["accept"]:
        check(f"{kind}: refuses {text!r}", accepts(readers[kind], text))
    for text in cases["refuse"]:
        check(f"{kind}: accepts {text!r}", not accepts(readers[kind], text))

for fault in faults:
    print("FAIL", fault, file=sys.stderr)
print(f"{checks} checks, {len(faults)} failed")
sys.exit(1 if faults else 0)
