package iatp

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const vectorDigest = "sha-256=:PPYNByHqITZCThYjTCDuY2uaSTlORi2wbrifliVhVlI=:"

// testKey returns the throw-away key of that name, made as spec/vectors says.
func testKey(t testing.TB, name string) (ed25519.PrivateKey, Key) {
	t.Helper()
	seed := sha256.Sum256([]byte("iatp-test-vector-" + name))
	private := ed25519.NewKeyFromSeed(seed[:])
	key, err := NewKey(private.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return private, key
}

// jws signs payload under a protected header, in the shape of a manifest's
// signature.
func jws(private ed25519.PrivateKey, header string, payload []byte) string {
	protected := base64.RawURLEncoding.EncodeToString([]byte(header))
	input := protected + "." + base64.RawURLEncoding.EncodeToString(payload)
	sig := base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(input)))
	return fmt.Sprintf(`{"protected":%q,"signature":%q}`, protected, sig)
}

func header(k Key) string {
	return fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"iatp-manifest+jws"}`, k.Thumbprint())
}

// unsigned returns a canonical manifest of the given key.
func unsigned(k Key) []byte {
	return []byte(`{"identity":{"agent_id":"a","verification_key":"` + k.String() + `"},"trust_level":"trusted","updated_at":"2026-11-01T00:00:00Z"}`)
}

// signed returns doc with the given signature objects.
func signed(doc []byte, signatures ...string) []byte {
	return []byte(strings.TrimSuffix(string(doc), "}") + `,"signatures":[` + strings.Join(signatures, ",") + `]}`)
}

// The shared vector: digest, size, keys and signature, made with independent
// implementations.
func TestVector(t *testing.T) {
	data, err := os.ReadFile("spec/vectors/v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Keys map[string]struct {
			JKT             string `json:"jkt"`
			VerificationKey string `json:"verification_key"`
		} `json:"keys"`
		Manifest struct {
			CanonicalBytes int    `json:"canonical_bytes"`
			Digest         string `json:"digest"`
		} `json:"manifest"`
		SmallOrder   []string `json:"small_order_keys"`
		NonCanonical []string `json:"non_canonical_keys"`
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	m, err := ParseManifest(vector(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Digest(); got != vectors.Manifest.Digest || err != nil {
		t.Errorf("Digest() = %s, %v, want %s", got, err, vectors.Manifest.Digest)
	}
	if len(m.canonical) != vectors.Manifest.CanonicalBytes {
		t.Errorf("canonical form has %d bytes, want %d", len(m.canonical), vectors.Manifest.CanonicalBytes)
	}
	signers, err := m.VerifySignature()
	if err != nil || len(signers) != 1 || signers[0].Thumbprint() != vectors.Keys["expedia"].JKT {
		t.Errorf("VerifySignature() = %v, %v, want the key %s", signers, err, vectors.Keys["expedia"].JKT)
	}
	for name, want := range vectors.Keys {
		_, key := testKey(t, name)
		if key.Thumbprint() != want.JKT || want.VerificationKey != "" && key.String() != want.VerificationKey {
			t.Errorf("key %s is %s with thumbprint %s, want %+v", name, key, key.Thumbprint(), want)
		}
	}
	if len(vectors.SmallOrder) == 0 || len(vectors.NonCanonical) == 0 {
		t.Error("the vectors have no bad keys")
	}
	for _, text := range append(vectors.SmallOrder, vectors.NonCanonical...) {
		if k, err := ParseKey(text); err == nil {
			t.Errorf("ParseKey(%s) = %v, want an error", text, k)
		}
	}
}

// No single flipped bit of the signed document goes unnoticed: it is refused, or
// it changed nothing that has a meaning, or the document no longer counts as
// signed by that key.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	original := vector(t)
	m, err := ParseManifest(original)
	if err != nil {
		t.Fatal(err)
	}
	for i := range original {
		for bit := range 8 {
			data := append([]byte(nil), original...)
			data[i] ^= 1 << bit
			got, err := ParseManifest(data)
			if err != nil {
				continue
			}
			signers, err := got.VerifySignature()
			if err == nil && len(signers) > 0 {
				t.Errorf("bit %d of byte %d (%q to %q): still signed by %v", bit, i, original[i], data[i], signers)
			}
			if err == nil && len(got.Signatures) > 0 {
				t.Errorf("bit %d of byte %d: no error, want one", bit, i)
			}
			if string(got.canonical) == string(m.canonical) && len(got.Signatures) > 0 && err == nil {
				t.Errorf("bit %d of byte %d: same canonical form", bit, i)
			}
		}
	}
}

// The signature covers meaning, not white space, order or the spelling of escapes.
func TestSignatureSurvivesRewriting(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(vector(t), &doc); err != nil {
		t.Fatal(err)
	}
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	data = []byte(strings.Replace(string(data), "verified_partner", `\u0076erified_partner`, 1))
	m, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	if signers, err := m.VerifySignature(); err != nil || len(signers) != 1 {
		t.Errorf("VerifySignature() = %v, %v", signers, err)
	}
	// An unknown member is covered.
	m, err = ParseManifest([]byte(strings.Replace(string(data), "{", `{"extra":1,`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if signers, err := m.VerifySignature(); err == nil {
		t.Errorf("with another member VerifySignature() = %v, want an error", signers)
	}
}

func TestVerifySignature(t *testing.T) {
	private, key := testKey(t, "expedia")
	oldPrivate, oldKey := testKey(t, "travel")
	doc := unsigned(key)
	good := jws(private, header(key), doc)
	rotated := jws(oldPrivate, header(oldKey), doc)
	h := func(s string) string { return jws(private, s, doc) }
	kid := fmt.Sprintf(`"kid":%q`, key.Thumbprint())

	for _, c := range []struct {
		name      string
		doc       []byte
		directory []Key
		signers   int
		want      string // "" for no error
	}{
		{"unsigned", doc, nil, 0, ""},
		{"signed", signed(doc, good), nil, 1, ""},
		{"twice the same", signed(doc, good, good), nil, 1, ""},
		{"old and new key", signed(doc, rotated, good), []Key{oldKey}, 2, ""},
		{"old key not in the directory", signed(doc, rotated, good), nil, 0, "signature 1: no known key has the kid \"OjGCg6CxDNmPlJRSo4ZmJ0xg-BOKfQkhXm9v9JL6…\""},
		{"old key only", signed(doc, rotated), []Key{oldKey}, 0, "no signature is by identity.verification_key"},
		{"one good, one bad", signed(doc, good, jws(private, header(key), []byte("else"))), nil, 0,
			"signature 2: does not verify: the document was changed after it was signed, or signed with another key"},
		{"other key under this kid", signed(doc, jws(oldPrivate, header(key), doc)), []Key{oldKey}, 0,
			"signature 1: does not verify: the document was changed after it was signed, or signed with another key"},
		{"alg by RFC 9864", signed(doc, h(`{"alg":"Ed25519",`+kid+`,"typ":"iatp-manifest+jws"}`)), nil, 1, ""},
		{"unknown alg beside a good one", signed(doc, h(`{"alg":"ES256"}`), good), nil, 1, ""},
		{"unknown alg only", signed(doc, h(`{"alg":"ES256",`+kid+`,"typ":"iatp-manifest+jws"}`)), nil, 0, "no signature is by identity.verification_key"},
		{"alg none", signed(doc, h(`{"alg":"none",`+kid+`,"typ":"iatp-manifest+jws"}`)), nil, 0, "no signature is by identity.verification_key"},
		{"no alg", signed(doc, h(`{`+kid+`}`)), nil, 0, "signature 1: protected header has no alg"},
		{"alg number", signed(doc, h(`{"alg":1}`)), nil, 0, "signature 1: alg in the protected header must be a string, got 1"},
		{"alg twice", signed(doc, h(`{"alg":"ES256","alg":"EdDSA"}`)), nil, 0, `signature 1: protected header: line 1, column 16, at /alg: duplicate member "alg"`},
		{"header array", signed(doc, h(`[]`)), nil, 0, "signature 1: protected header must be a JSON object"},
		{"typ of a receipt", signed(doc, h(`{"alg":"EdDSA",`+kid+`,"typ":"iatp-receipt+jwt"}`)), nil, 0, `signature 1: typ must be "iatp-manifest+jws", got "iatp-receipt+jwt"`},
		{"no typ", signed(doc, h(`{"alg":"EdDSA",`+kid+`}`)), nil, 0, `signature 1: typ must be "iatp-manifest+jws", got ""`},
		{"crit", signed(doc, h(`{"alg":"EdDSA","crit":["x"],"x":1,`+kid+`,"typ":"iatp-manifest+jws"}`)), nil, 0, `signature 1: protected header must not have "crit"`},
		{"b64", signed(doc, h(`{"alg":"EdDSA","b64":true,`+kid+`,"typ":"iatp-manifest+jws"}`)), nil, 0, `signature 1: protected header must not have "b64"`},
		{"jwk is ignored", signed(doc, jws(oldPrivate, `{"alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"`+strings.TrimPrefix(oldKey.String(), keyPrefix)+`"},"kid":"`+oldKey.Thumbprint()+`","typ":"iatp-manifest+jws"}`, doc)),
			nil, 0, "signature 1: no known key has the kid \"OjGCg6CxDNmPlJRSo4ZmJ0xg-BOKfQkhXm9v9JL6…\""},
		{"jku does no harm", signed(doc, h(`{"alg":"EdDSA","jku":"https://evil.example",`+kid+`,"typ":"iatp-manifest+jws"}`)), nil, 1, ""},
		{"zero key in the directory", signed(doc, h(`{"alg":"EdDSA","kid":"","typ":"iatp-manifest+jws"}`)), []Key{{}}, 0, `signature 1: no known key has the kid ""`},
	} {
		m, err := ParseManifest(c.doc)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		signers, err := m.VerifySignature(c.directory...)
		if got := fmt.Sprint(err); c.want == "" && err != nil || c.want != "" && got != c.want {
			t.Errorf("%s: error %v, want %s", c.name, err, c.want)
		}
		if len(signers) != c.signers || len(signers) > 0 && signers[0] != key {
			t.Errorf("%s: signers %v, want %d with %v first", c.name, signers, c.signers, key)
		}
	}
}

func TestSignedWithOpaqueKey(t *testing.T) {
	private, key := testKey(t, "expedia")
	doc := []byte(`{"identity":{"agent_id":"a","verification_key":"public_key_abc123"},"trust_level":"trusted","updated_at":"2026-11-01T00:00:00Z"}`)
	m, err := ParseManifest(signed(doc, jws(private, header(key), doc)))
	if err != nil {
		t.Fatal(err)
	}
	if signers, err := m.VerifySignature(key); err == nil {
		t.Errorf("VerifySignature() = %v, want an error", signers)
	}
}

// Under a point of small order a signature of zeros fits every message: without
// the check, anybody could sign.
func TestSmallOrderKeyVerifiesAnything(t *testing.T) {
	public := make(ed25519.PublicKey, 32)
	public[0] = 1 // the neutral element
	signature := make([]byte, 64)
	signature[0] = 1
	if !ed25519.Verify(public, []byte("any message"), signature) {
		t.Skip("crypto/ed25519 has become stricter")
	}
	if _, err := NewKey(public); err == nil {
		t.Error("NewKey accepts the neutral element")
	}
}

func TestParseKeyRefuses(t *testing.T) {
	_, key := testKey(t, "expedia")
	good := key.String()
	for name, text := range map[string]string{
		"empty":       "",
		"no prefix":   strings.TrimPrefix(good, keyPrefix),
		"capitals":    "ED25519:" + strings.TrimPrefix(good, keyPrefix),
		"padded":      good + "=",
		"line break":  good[:20] + "\n" + good[20:],
		"stray bits":  good[:len(good)-1] + "l",
		"short":       good[:len(good)-4],
		"long":        good + "AAAA",
		"std base64":  keyPrefix + strings.Repeat("/", 43),
		"white space": " " + good,
	} {
		if k, err := ParseKey(text); err == nil {
			t.Errorf("%s: ParseKey(%q) = %v, want an error", name, text, k)
		}
	}
	if k, err := ParseKey(good); err != nil || k != key || k.String() != good {
		t.Errorf("ParseKey(%q) = %v, %v", good, k, err)
	}
}

func TestZeroKey(t *testing.T) {
	var k Key
	if k.String() != "" || k.Thumbprint() != "" || k.Verify(nil, make([]byte, 64)) {
		t.Error("the zero Key passes for a key")
	}
	var m Manifest
	if d, err := m.Digest(); err == nil {
		t.Errorf("Digest() of an empty Manifest = %s", d)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("ed25519:UBVnG218QPEAt75SEFjoiz6yoBO8AcUQwLtANu4K7lk")
	f.Add("ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("public_key_abc123")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKey(text)
		if (err == nil) != (k != Key{}) || err == nil && k.String() != text {
			t.Errorf("ParseKey(%q) = %v, %v", text, k, err)
		}
	})
}

func TestSignManifest(t *testing.T) {
	current, before := signingKey(t, "expedia"), signingKey(t, "travel")
	doc := unsigned(current.Public())
	pretty := []byte("{\n  \"extra\": [1, {\"a\": \"\\u00e9\"}],\n" + string(doc[1:]) + "\n")
	for name, c := range map[string]struct {
		doc  []byte
		keys []PrivateKey
	}{
		"one key":                   {doc, []PrivateKey{current}},
		"two keys":                  {doc, []PrivateKey{before, current}},
		"with white space":          {pretty, []PrivateKey{current}},
		"signed before":             {must(SignManifest(doc, current, before)), []PrivateKey{current}},
		"signed by somebody before": {signed(doc, `{"protected":"e30","signature":"e30"}`), []PrivateKey{current}},
	} {
		text, err := SignManifest(c.doc, c.keys...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		m := must(ParseManifest(text))
		signers, err := m.VerifySignature(before.Public())
		if err != nil || len(signers) != len(c.keys) || signers[0] != current.Public() {
			t.Errorf("%s: signers %v, %v", name, signers, err)
		}
		want := must(must(ParseManifest(must(SignManifest(c.doc, current)))).Digest())
		if got := must(m.Digest()); got != want {
			t.Errorf("%s: digest %s, want %s", name, got, want)
		}
	}
	for name, c := range map[string]struct {
		doc  string
		keys []PrivateKey
	}{
		"no key":        {string(doc), nil},
		"zero key":      {string(doc), []PrivateKey{{}}},
		"five keys":     {string(doc), []PrivateKey{current, current, current, current, current}},
		"another key":   {string(doc), []PrivateKey{before}},
		"no updated_at": {strings.Replace(string(doc), "updated_at", "changed_at", 1), []PrivateKey{current}},
		"a fraction":    {strings.Replace(string(doc), `{`, `{"x":0.5,`, 1), []PrivateKey{current}},
		"an array":      {`[]`, []PrivateKey{current}},
		"not JSON":      {`{`, []PrivateKey{current}},
		"flat":          {`{"agent_id":"a","trust_level":"trusted"}`, []PrivateKey{current}},
	} {
		if text, err := SignManifest([]byte(c.doc), c.keys...); err == nil {
			t.Errorf("%s: %s, want an error", name, text)
		}
	}
}

func TestVerifyUnder(t *testing.T) {
	current, before := signingKey(t, "expedia"), signingKey(t, "travel")
	at := time.Unix(testTime, 0)
	rotated := must(ParseManifest(must(SignManifest(unsigned(current.Public()), current, before))))
	once := must(ParseManifest(must(SignManifest(unsigned(current.Public()), current))))
	none := must(ParseManifest(unsigned(current.Public())))
	opaque := must(ParseManifest(signed([]byte(`{"identity":{"agent_id":"a","verification_key":"x"},"trust_level":"trusted","updated_at":"2026-11-01T00:00:00Z"}`), `{"protected":"e30","signature":"e30"}`)))
	valid := DirectoryKey{Key: current.Public()}
	for name, c := range map[string]struct {
		m       *Manifest
		keys    []DirectoryKey
		signers int // -1 is an error
	}{
		"both in the directory":       {rotated, []DirectoryKey{valid, {Key: before.Public()}}, 2},
		"the old one has ended":       {rotated, []DirectoryKey{valid, {Key: before.Public(), Expires: at}}, -1},
		"the old one is not there":    {rotated, []DirectoryKey{valid}, -1},
		"own key alone":               {once, []DirectoryKey{valid}, 1},
		"own key has ended":           {once, []DirectoryKey{{Key: current.Public(), Expires: at}}, -1},
		"own key has not begun":       {once, []DirectoryKey{{Key: current.Public(), NotBefore: at.Add(time.Second)}}, -1},
		"own key is not there":        {once, []DirectoryKey{{Key: before.Public()}}, -1},
		"an empty directory":          {once, nil, -1},
		"unsigned":                    {none, []DirectoryKey{valid}, 0},
		"unsigned, nothing there":     {none, nil, 0},
		"signed, key is not a key":    {opaque, []DirectoryKey{valid}, -1},
		"a stranger in the directory": {once, []DirectoryKey{{Key: signingKey(t, "authority").Public()}, valid}, 1},
	} {
		signers, err := c.m.VerifyUnder(must(NewKeySet(c.keys...)), at)
		if c.signers < 0 && err == nil || c.signers >= 0 && (err != nil || len(signers) != c.signers) {
			t.Errorf("%s: %v, %v, want %d signers", name, signers, err, c.signers)
		}
	}
}
