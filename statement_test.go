package iatp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// signingKey is the throw-away key of that name, to sign with.
func signingKey(t testing.TB, name string) PrivateKey {
	t.Helper()
	secret, _ := testKey(t, name)
	k, err := newPrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func usd(t testing.TB, amount string) Money {
	t.Helper()
	m, err := ParseMoney(amount, "USD")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func keySet(t testing.TB, names ...string) KeySet {
	t.Helper()
	var keys []DirectoryKey
	for _, n := range names {
		keys = append(keys, DirectoryKey{Key: signingKey(t, n).Public()})
	}
	s, err := NewKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const testTime = 1794650000

func testReceipt(t testing.TB) *Receipt {
	return &Receipt{
		Iss: "https://expedia.example", Aud: "https://travel.example", Iat: testTime, JTI: "rcpt_1", TraceID: "abc-123",
		Agr: DigestOf([]byte("agreement")), Mft: DigestOf([]byte("manifest")),
		Req: Requested{Base: DigestOf([]byte("base")), Key: `key "1"`},
		Res: Responded{Status: 200, Digest: DigestOf([]byte("answer")), Type: "application/json"},
		Tx:  "tx_1", Outcome: OutcomeExecuted, MS: 1243, Cost: usd(t, "4.20"),
		Undo:  &Undo{Level: ReversibilityPartial, Until: testTime + 3600, MaxFee: usd(t, "50")},
		Facts: []Digest{DigestOf([]byte("fact"))},
	}
}

func testTerms(t testing.TB) Terms {
	hour := int64(3600)
	return Terms{
		Reversibility: ReversibilityPartial, UndoWindowSeconds: &hour, CompensationMethod: "refund", MaxFee: usd(t, "50"),
		RetentionPolicy: RetentionTemporary, SLALatencyMS: 2000, Scopes: []string{"book"}, Budget: usd(t, "5"), Receipt: true,
	}
}

func testAgreement(t testing.TB) *Agreement {
	t.Helper()
	a := &Agreement{
		Initiator: Party{"https://travel.example", signingKey(t, "travel").Thumbprint(), DigestOf([]byte("a"))},
		Responder: Party{"https://expedia.example", signingKey(t, "expedia").Thumbprint(), DigestOf([]byte("b"))},
		Terms:     testTerms(t), Iat: testTime, Exp: testTime + 3600, Nonce: "kq7Zx0M1c2k",
	}
	if err := a.Sign(signingKey(t, "travel")); err != nil {
		t.Fatal(err)
	}
	return a
}

func testEndorsement(t testing.TB) *Endorsement {
	return &Endorsement{
		Iss: "https://auth.example", Sub: "https://expedia.example", JKT: signingKey(t, "expedia").Thumbprint(),
		Iat: testTime, Exp: testTime + 86400, TrustLevel: Trusted,
		MaxClaims: MaxClaims{RetentionEphemeral, ReversibilityPartial},
	}
}

func signReceipt(t testing.TB, name string) string {
	t.Helper()
	jws, err := testReceipt(t).Sign(signingKey(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return jws
}

var sameMoney = cmp.Comparer(func(a, b Money) bool { return a == b })

func TestReceiptRoundTrip(t *testing.T) {
	smallest := &Receipt{
		Iss: "https://expedia.example", Aud: "https://travel.example", Iat: testTime, JTI: "r", TraceID: "t",
		Req: Requested{Base: DigestOf([]byte("base"))}, Res: Responded{Status: 204, Digest: DigestOf(nil)}, Outcome: OutcomeNone,
	}
	for _, want := range []*Receipt{testReceipt(t), smallest} {
		jws, err := want.Sign(signingKey(t, "expedia"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := VerifyReceipt(jws, keySet(t, "expedia"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, sameMoney); diff != "" {
			t.Errorf("(-signed +verified):\n%s", diff)
		}
	}
}

func TestEndorsementRoundTrip(t *testing.T) {
	want := testEndorsement(t)
	jws, err := want.Sign(signingKey(t, "authority"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := VerifyEndorsement(jws, Key{}, signingKey(t, "travel").Public(), signingKey(t, "authority").Public())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-signed +verified):\n%s", diff)
	}
	for at, ok := range map[int64]bool{-31: false, -30: true, 0: true, 86399: true, 86400: false} {
		if err := got.ValidAt(time.Unix(testTime+at, 0)); (err == nil) != ok {
			t.Errorf("ValidAt(%+d s) = %v, want valid %v", at, err, ok)
		}
	}
	// Other issuers say more than we understand; a cap that we do not is not skipped.
	sign := func(claims string) string {
		jws, err := SignStatement(signingKey(t, "authority"), TypeEndorsement, []byte(claims))
		if err != nil {
			t.Fatal(err)
		}
		return jws
	}
	base := `{"iss":"https://auth.example","sub":"https://a.example","iat":1,"exp":2,"cnf":{"jkt":"` + want.JKT + `","x":1},"trust_level":"trusted","trust_mark_type":"` + TrustLevelMark + `"`
	for claims, ok := range map[string]bool{
		base + `}`:                                                               true,
		base + `,"ref":"https://x.example"}`:                                     true,
		base + `,"max_claims":{"speed":1}}`:                                      false,
		base + `,"max_claims":{"retention_policy":"never"}}`:                     false,
		strings.Replace(base, "trust-level/v1", "trust-level/v2", 1) + `}`:       false,
		strings.Replace(base, `"exp":2`, `"exp":1`, 1) + `}`:                     false,
		strings.Replace(base, `"exp":2`, `"exp":2592002`, 1) + `}`:               false,
		strings.Replace(base, `"trusted"`, `"gold"`, 1) + `}`:                    false,
		strings.Replace(base, `"cnf"`, `"cnf2"`, 1) + `}`:                        false,
		strings.Replace(base, want.JKT, "x", 1) + `}`:                            false,
		strings.Replace(base, "https://a.example", "https://A.example", 1) + `}`: false,
	} {
		if e, err := VerifyEndorsement(sign(claims), signingKey(t, "authority").Public()); (err == nil) != ok {
			t.Errorf("%s: %v, %v, want accepted %v", claims, e, err, ok)
		}
	}
}

func TestAgreementRoundTrip(t *testing.T) {
	travel, expedia := signingKey(t, "travel"), signingKey(t, "expedia")
	a := testAgreement(t)
	proposal := read(t, a)
	if signed, err := proposal.Verify(travel.Public(), Key{}); signed || err != nil {
		t.Errorf("proposal: Verify() = %v, %v, want false, nil", signed, err)
	}
	if proposal.ID() != a.ID() || a.ID().IsZero() {
		t.Errorf("ID is %s, want %s", proposal.ID(), a.ID())
	}
	if err := proposal.Countersign(travel); err == nil {
		t.Error("the initiator countersigned")
	}
	if err := proposal.Countersign(expedia); err != nil {
		t.Fatal(err)
	}
	if err := proposal.Countersign(expedia); err == nil {
		t.Error("countersigned twice")
	}
	got := read(t, proposal)
	if signed, err := got.Verify(travel.Public(), expedia.Public()); !signed || err != nil {
		t.Errorf("agreement: Verify() = %v, %v, want true, nil", signed, err)
	}
	for name, keys := range map[string][2]Key{
		"swapped": {expedia.Public(), travel.Public()}, "none": {}, "the same": {travel.Public(), travel.Public()},
		"another responder": {travel.Public(), signingKey(t, "authority").Public()},
	} {
		if signed, err := got.Verify(keys[0], keys[1]); err == nil || signed {
			t.Errorf("keys %s: Verify() = %v, %v, want an error", name, signed, err)
		}
	}
	// A good signature by a key that the text does not name is of nobody's.
	stranger := signingKey(t, "authority")
	foreign := read(t, testAgreement(t))
	foreign.signatures = []ManifestSignature{must(signPayload(stranger, TypeAgreement, foreign.payload))}
	if signed, err := foreign.Verify(stranger.Public(), Key{}); err == nil {
		t.Errorf("signed by a stranger: Verify() = %v, nil, want an error", signed)
	}
	want := testAgreement(t)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Agreement{}), sameMoney, cmp.FilterPath(func(p cmp.Path) bool {
		return p.String() == "signatures"
	}, cmp.Ignore())); diff != "" {
		t.Errorf("(-signed +read):\n%s", diff)
	}
	for at, ok := range map[int64]bool{-31: false, -30: true, 3599: true, 3600: false} {
		if err := got.ValidAt(time.Unix(testTime+at, 0)); (err == nil) != ok {
			t.Errorf("ValidAt(%+d s) = %v, want valid %v", at, err, ok)
		}
	}
	if _, err := json.Marshal(&Agreement{}); err == nil {
		t.Error("an unsigned agreement was written")
	}
	if _, err := new(Agreement).Verify(travel.Public(), expedia.Public()); err == nil {
		t.Error("an unsigned agreement was verified")
	}
}

func read(t testing.TB, a *Agreement) *Agreement {
	t.Helper()
	doc, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseAgreement(doc)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAgreementRefuses(t *testing.T) {
	for name, change := range map[string]func(*Agreement){
		"same principal":      func(a *Agreement) { a.Responder.URI = a.Initiator.URI },
		"same key":            func(a *Agreement) { a.Responder.JKT = a.Initiator.JKT },
		"no manifest":         func(a *Agreement) { a.Responder.Manifest = Digest{} },
		"no time":             func(a *Agreement) { a.Exp = a.Iat },
		"too long":            func(a *Agreement) { a.Exp = a.Iat + 86401 },
		"nonce":               func(a *Agreement) { a.Nonce = "short" },
		"nonce alphabet":      func(a *Agreement) { a.Nonce = "not base64url!" },
		"uri":                 func(a *Agreement) { a.Responder.URI = "https://Expedia.example" },
		"two currencies":      func(a *Agreement) { a.Terms.MaxFee, _ = ParseMoney("5", "EUR") },
		"not its key":         func(a *Agreement) { a.Initiator.JKT = signingKey(t, "authority").Thumbprint() },
		"retention":           func(a *Agreement) { a.Terms.RetentionPolicy = "never" },
		"negative window":     func(a *Agreement) { w := int64(-1); a.Terms.UndoWindowSeconds = &w },
		"too long to be read": func(a *Agreement) { a.Terms.CompensationMethod = strings.Repeat("a", maxAgreementPayload) },
		"huge latency":        func(a *Agreement) { a.Terms.SLALatencyMS = 1 << 53 },
	} {
		a := testAgreement(t)
		change(a)
		if err := a.Sign(signingKey(t, "travel")); err == nil {
			t.Errorf("%s: signed, want an error", name)
		}
	}
	doc := func(payload string) []byte {
		s, err := signPayload(signingKey(t, "travel"), TypeAgreement, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Appendf(nil, `{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`,
			base64.RawURLEncoding.EncodeToString([]byte(payload)), s.Protected, s.Signature)
	}
	good := string(testAgreement(t).payload)
	if _, err := ParseAgreement(doc(good)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"not canonical":    doc(good + " "),
		"order":            doc(strings.Replace(good, `"iatp":"1.0",`, "", 1)[:len(good)-13] + `,"iatp":"1.0"}`),
		"version":          doc(strings.Replace(good, `"1.0"`, `"2.0"`, 1)),
		"unknown member":   doc(strings.Replace(good, `"iat"`, `"a":1,"iat"`, 1)),
		"unknown term":     doc(strings.Replace(good, `"budget"`, `"a":1,"budget"`, 1)),
		"not an object":    doc(`[]`),
		"no terms":         doc(strings.Replace(good, `"terms"`, `"terns"`, 1)),
		"member beside":    []byte(strings.Replace(string(doc(good)), `{"payload"`, `{"x":1,"payload"`, 1)),
		"header beside":    []byte(strings.Replace(string(doc(good)), `{"protected"`, `{"header":{},"protected"`, 1)),
		"no signatures":    []byte(`{"payload":"e30"}`),
		"three signatures": []byte(strings.Replace(string(doc(good)), `"signatures":[`, `"signatures":[{"protected":"a","signature":"a"},{"protected":"aa","signature":"aa"},`, 1)),
		"huge":             append(bytes.Repeat([]byte(" "), MaxStatementSize), doc(good)...),
	} {
		if a, err := ParseAgreement(text); err == nil {
			t.Errorf("%s: %+v, want an error", name, a)
		}
	}
}

// Every signed object to every reader: only its own accepts it. All are signed
// with the same key, which all readers trust.
func TestCrossTypeMatrix(t *testing.T) {
	k := signingKey(t, "expedia")
	compact := func(typ string, payload []byte) string {
		s, err := signPayload(k, typ, payload)
		if err != nil {
			t.Fatal(err)
		}
		return string(signingInput(s.Protected, payload)) + "." + s.Signature
	}
	claims := func(v any) []byte {
		data, err := marshalSigned(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	endorsement := testEndorsement(t)
	jws, err := endorsement.Sign(k)
	if err != nil {
		t.Fatal(err)
	}
	mark, _ := decodeBase64URL(strings.Split(jws, ".")[1])
	a := testAgreement(t)
	a.Initiator.JKT, a.Responder.JKT = k.Thumbprint(), signingKey(t, "travel").Thumbprint()
	if err := a.Sign(k); err != nil {
		t.Fatal(err)
	}
	payloads := map[string][]byte{
		TypeManifest:    unsigned(k.Public()),
		TypeAgreement:   a.payload,
		TypeReceipt:     claims(jsonOf(testReceipt(t))),
		TypeEndorsement: mark,
	}
	readers := map[string]func(jws string) error{
		TypeReceipt:     func(jws string) error { _, err := VerifyReceipt(jws, keySet(t, "expedia")); return err },
		TypeEndorsement: func(jws string) error { _, err := VerifyEndorsement(jws, k.Public()); return err },
		TypeAgreement: func(jws string) error {
			parts := strings.Split(jws, ".")
			a, err := ParseAgreement(fmt.Appendf(nil, `{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2]))
			if err == nil {
				_, err = a.Verify(k.Public(), Key{})
			}
			return err
		},
		TypeManifest: func(jws string) error {
			parts := strings.Split(jws, ".")
			payload, _ := decodeBase64URL(parts[1])
			m, err := ParseManifest(signed(payload, fmt.Sprintf(`{"protected":%q,"signature":%q}`, parts[0], parts[2])))
			if err == nil {
				_, err = m.VerifySignature()
			}
			return err
		},
	}
	types := []string{TypeManifest, TypeAgreement, TypeReceipt, TypeEndorsement, "", "JWT", "iatp-grant+jwt", "IATP-RECEIPT+JWT", "application/iatp-receipt+jwt"}
	for reader, accepts := range readers {
		for _, typ := range types {
			for content, payload := range payloads {
				err := accepts(compact(typ, payload))
				if want := typ == reader && content == reader; (err == nil) != want {
					t.Errorf("%s signed as %q, read as %s: %v, want accepted %v", content, typ, reader, err, want)
				}
			}
		}
		// The signature of a request is over text that no JWS begins with.
		base := []byte("\"@method\": POST\n")
		if err := accepts("e30.e30." + base64.RawURLEncoding.EncodeToString(k.Sign(base))); err == nil {
			t.Errorf("%s reads the signature of a request", reader)
		}
	}
}

// A statement has one text: no other one verifies.
func TestEveryFlippedBitOfAStatement(t *testing.T) {
	jws := signReceipt(t, "expedia")
	keys := keySet(t, "expedia", "travel")
	if _, err := VerifyReceipt(jws, keys); err != nil {
		t.Fatal(err)
	}
	for i := range jws {
		for bit := range 8 {
			changed := []byte(jws)
			changed[i] ^= 1 << bit
			if r, err := VerifyReceipt(string(changed), keys); err == nil {
				t.Fatalf("bit %d of byte %d, %q to %q: %+v", bit, i, jws[i], changed[i], r)
			}
		}
	}
	for i := range len(jws) + 1 {
		for _, c := range []string{"\n", "=", " ", ".", "A"} {
			if _, err := VerifyReceipt(jws[:i]+c+jws[i:], keys); err == nil {
				t.Fatalf("%q at byte %d is accepted", c, i)
			}
		}
	}
}

func TestEveryFlippedBitOfAnAgreement(t *testing.T) {
	a := testAgreement(t)
	if err := a.Countersign(signingKey(t, "expedia")); err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	travel, expedia := signingKey(t, "travel").Public(), signingKey(t, "expedia").Public()
	for i := range doc {
		for bit := range 8 {
			changed := slices.Clone(doc)
			changed[i] ^= 1 << bit
			got, err := ParseAgreement(changed)
			if err != nil {
				continue
			}
			if signed, err := got.Verify(travel, expedia); err == nil && signed {
				t.Errorf("bit %d of byte %d, %q to %q: accepted", bit, i, doc[i], changed[i])
			}
		}
	}
}

func TestVerifyStatement(t *testing.T) {
	k, other := signingKey(t, "expedia"), signingKey(t, "travel")
	sign := func(k PrivateKey, header, payload string) string {
		protected := base64.RawURLEncoding.EncodeToString([]byte(header))
		input := signingInput(protected, []byte(payload))
		return string(input) + "." + base64.RawURLEncoding.EncodeToString(k.Sign(input))
	}
	h := func(members string) string { return `{"kid":"` + k.Thumbprint() + `","typ":"test"` + members + `}` }
	find := keySet(t, "expedia").find
	for _, c := range []struct {
		name, jws string
		want      string // "" is accepted
	}{
		{"good", sign(k, h(`,"alg":"EdDSA"`), `{"a":1}`), ""},
		{"alg by RFC 9864", sign(k, h(`,"alg":"Ed25519"`), `{}`), ""},
		{"unknown member", sign(k, h(`,"alg":"EdDSA","jku":"https://evil.example"`), `{}`), ""},
		{"not canonical", sign(k, h(`,"alg":"EdDSA"`), ` { "b" : 1, "a" : 2 } `), ""},
		{"alg none", sign(k, h(`,"alg":"none"`), `{}`), `alg must be EdDSA, got "none"`},
		{"no alg", sign(k, h(``), `{}`), "protected header has no alg"},
		{"HMAC", sign(k, h(`,"alg":"HS256"`), `{}`), `alg must be EdDSA, got "HS256"`},
		{"crit", sign(k, h(`,"alg":"EdDSA","crit":["exp"]`), `{}`), `protected header must not have "crit"`},
		{"typ twice", sign(k, h(`,"alg":"EdDSA","typ":"test"`), `{}`), `duplicate member "typ"`},
		{"another key", sign(other, h(`,"alg":"EdDSA"`), `{}`), "does not verify"},
		{"unknown kid", sign(other, strings.Replace(h(`,"alg":"EdDSA"`), k.Thumbprint(), other.Thumbprint(), 1), `{}`), "no known key"},
		{"fraction", sign(k, h(`,"alg":"EdDSA"`), `{"a":0.5}`), "integers"},
		{"2^53", sign(k, h(`,"alg":"EdDSA"`), `{"a":9007199254740992}`), "integers"},
		{"minus zero", sign(k, h(`,"alg":"EdDSA"`), `{"a":-0}`), "integers"},
		{"duplicate", sign(k, h(`,"alg":"EdDSA"`), `{"a":1,"a":2}`), "duplicate"},
		{"array", sign(k, h(`,"alg":"EdDSA"`), `[]`), "must be an object"},
		{"empty", sign(k, h(`,"alg":"EdDSA"`), ``), "payload"},
		{"two parts", "e30.e30", "three parts"},
		{"four parts", sign(k, h(`,"alg":"EdDSA"`), `{}`) + ".e30", "three parts"},
		{"huge", strings.Repeat("A", MaxStatementSize+1), "at most"},
	} {
		_, signer, err := VerifyStatement(c.jws, "test", find)
		if c.want == "" && (err != nil || signer != k.Public()) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, %v, want %q", c.name, signer, err, c.want)
		}
	}
	// A finder that does not look at the kid does not lend its key to another name.
	_, _, err := VerifyStatement(sign(k, strings.Replace(h(`,"alg":"EdDSA"`), k.Thumbprint(), "x", 1), `{}`), "test", func(string) (Key, bool) { return k.Public(), true })
	if err == nil {
		t.Error("a key is accepted under a kid that is not its thumbprint")
	}
	for name, f := range map[string]func() (string, error){
		"no key":   func() (string, error) { return SignStatement(PrivateKey{}, "test", []byte(`{}`)) },
		"fraction": func() (string, error) { return SignStatement(k, "test", []byte(`{"a":0.5}`)) },
		"array":    func() (string, error) { return SignStatement(k, "test", []byte(`[]`)) },
		"too long to be read": func() (string, error) {
			return SignStatement(k, "test", []byte(`{"a":"`+strings.Repeat("a", MaxStatementSize*3/4)+`"}`))
		},
		"huge": func() (string, error) { return SignStatement(k, "test", bytes.Repeat([]byte(" "), MaxStatementSize+1)) },
	} {
		if jws, err := f(); err == nil {
			t.Errorf("%s: %s, want an error", name, jws)
		}
	}
}

func TestReceiptMembers(t *testing.T) {
	good := string(must(marshalSigned(jsonOf(testReceipt(t)))))
	if _, err := parseReceipt([]byte(good)); err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, claims := range map[string]string{
		"unknown member":    swap(`"iat"`, `"x":1,"iat"`),
		"unknown in req":    swap(`"req":{`, `"req":{"x":1,`),
		"unknown in undo":   swap(`"undo":{`, `"undo":{"x":1,`),
		"outcome":           swap(`"executed"`, `"done"`),
		"no outcome":        swap(`"outcome":"executed",`, ``),
		"status":            swap(`200`, `600`),
		"status as text":    swap(`200`, `"200"`),
		"iss":               swap(`https://expedia.example`, `https://expedia.example/`),
		"base":              swap(DigestOf([]byte("base")).Base64URL(), DigestOf([]byte("base")).ContentDigest()),
		"base of zeros":     swap(DigestOf([]byte("base")).Base64URL(), Digest{}.Base64URL()),
		"digest":            swap(DigestOf([]byte("answer")).ContentDigest(), DigestOf([]byte("answer")).Base64URL()),
		"trace id":          swap(`"abc-123"`, `"../x"`),
		"trace id as array": swap(`"abc-123"`, `["abc-123"]`),
		"money as number":   swap(`"4.20"`, `4`),
		"money":             swap(`"4.20"`, `"4.205"`),
		"no currency":       swap(`"cur":"USD"`, `"curr":"USD"`),
		"fee without any":   strings.Replace(swap(`"cost":{"amount":"4.20","cur":"USD"},`, ``), `"cur":"USD",`, ``, 1),
		"time in fractions": swap(`"ms":1243`, `"ms":1243.5`),
		"negative time":     swap(`"ms":1243`, `"ms":-1`),
		"key":               swap(`"key \"1\""`, `"a\nb"`),
		"req as text":       swap(`"req":{`, `"req":"x","res2":{`),
	} {
		if r, err := parseReceipt([]byte(claims)); err == nil {
			t.Errorf("%s: %+v, want an error", name, r)
		}
	}
	// The currency of a fee may be that of the cost.
	r, err := parseReceipt([]byte(swap(`"undo":{"cur":"USD",`, `"undo":{`)))
	if err != nil || r.Undo.MaxFee != usd(t, "50") {
		t.Errorf("fee without currency beside a cost: %+v, %v", r, err)
	}
	bad := testReceipt(t)
	bad.Outcome = "done"
	if jws, err := bad.Sign(signingKey(t, "expedia")); err == nil {
		t.Errorf("signed %s, want an error", jws)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestReceiptKeyTimes(t *testing.T) {
	jws := signReceipt(t, "expedia")
	k := signingKey(t, "expedia").Public()
	for name, c := range map[string]struct {
		key DirectoryKey
		ok  bool
	}{
		"always":      {DirectoryKey{Key: k}, true},
		"began then":  {DirectoryKey{Key: k, NotBefore: time.Unix(testTime, 0)}, true},
		"began after": {DirectoryKey{Key: k, NotBefore: time.Unix(testTime+1, 0)}, false},
		"ended after": {DirectoryKey{Key: k, Expires: time.Unix(testTime+1, 0)}, true},
		"ended then":  {DirectoryKey{Key: k, Expires: time.Unix(testTime, 0)}, false},
		"another key": {DirectoryKey{Key: signingKey(t, "travel").Public()}, false},
	} {
		set := must(NewKeySet(c.key))
		if _, err := VerifyReceipt(jws, set); (err == nil) != c.ok {
			t.Errorf("%s: %v, want accepted %v", name, err, c.ok)
		}
	}
}

func TestReceiptCheck(t *testing.T) {
	want := func() ReceiptWant {
		return ReceiptWant{
			Iss: "https://expedia.example", Aud: "https://travel.example", Key: `key "1"`,
			Bases: []Digest{DigestOf([]byte("another attempt")), DigestOf([]byte("base"))}, Status: 200,
			Digest: DigestOf([]byte("answer")), Type: "application/json", Mft: DigestOf([]byte("manifest")),
			Agr: DigestOf([]byte("agreement")), Budget: usd(t, "5"), Terms: testTerms(t),
			From: time.Unix(testTime-3, 0), To: time.Unix(testTime+2, 0),
		}
	}
	second := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		name   string
		change func(*Receipt, *ReceiptWant)
		want   string // in the error; "" is accepted
	}{
		{"right", func(*Receipt, *ReceiptWant) {}, ""},
		{"iss", func(r *Receipt, _ *ReceiptWant) { r.Iss = "https://evil.example" }, "iss differs"},
		{"aud", func(r *Receipt, _ *ReceiptWant) { r.Aud = "https://other.example" }, "aud differs"},
		{"key", func(r *Receipt, _ *ReceiptWant) { r.Req.Key = "key 2" }, "req.key differs"},
		{"base", func(r *Receipt, _ *ReceiptWant) { r.Req.Base = DigestOf(nil) }, "req.base differs"},
		{"status", func(r *Receipt, _ *ReceiptWant) { r.Res.Status = 201 }, "res.status differs"},
		{"digest", func(r *Receipt, _ *ReceiptWant) { r.Res.Digest = DigestOf(nil) }, "res.digest differs"},
		{"type", func(r *Receipt, _ *ReceiptWant) { r.Res.Type = "" }, "res.type differs"},
		{"manifest", func(r *Receipt, _ *ReceiptWant) { r.Mft = Digest{} }, "mft differs"},
		{"agreement", func(r *Receipt, _ *ReceiptWant) { r.Agr = Digest{} }, "agr differs"},
		{"an agreement that was not named", func(_ *Receipt, w *ReceiptWant) { w.Agr = Digest{} }, "agr differs"},
		{"trace id of another attempt", func(r *Receipt, _ *ReceiptWant) { r.TraceID = "x" }, ""},
		{"all of the budget", func(r *Receipt, _ *ReceiptWant) { r.Cost = usd(t, "5") }, ""},
		{"over the budget", func(r *Receipt, _ *ReceiptWant) { r.Cost = usd(t, "5.01") }, "cost is 5.01 USD, more than 5.00 USD"},
		{"another currency", func(r *Receipt, _ *ReceiptWant) { r.Cost, _ = ParseMoney("1", "EUR") }, "different currencies"},
		{"no cost", func(r *Receipt, _ *ReceiptWant) { r.Cost = Money{} }, ""},
		{"no budget", func(_ *Receipt, w *ReceiptWant) { w.Budget = Money{} }, ""},
		{"more undo", func(r *Receipt, _ *ReceiptWant) { r.Undo.Level, r.Undo.Until = ReversibilityFull, 0 }, ""},
		{"less undo", func(_ *Receipt, w *ReceiptWant) { w.Terms.Reversibility = ReversibilityFull }, "undo.level is partial, less than full"},
		{"no undo", func(r *Receipt, _ *ReceiptWant) { r.Undo = nil }, "undo.level is none, less than partial"},
		{"no undo, no effect", func(r *Receipt, _ *ReceiptWant) { r.Undo, r.Outcome = nil, OutcomeFailed }, ""},
		{"no undo, effect unknown", func(r *Receipt, _ *ReceiptWant) { r.Undo, r.Outcome = nil, OutcomeUnknown }, "undo.level"},
		{"no undo promised", func(r *Receipt, w *ReceiptWant) { r.Undo, w.Terms = nil, Terms{} }, ""},
		{"window within the skew", func(r *Receipt, _ *ReceiptWant) { r.Undo.Until -= 30 }, ""},
		{"window shorter", func(r *Receipt, _ *ReceiptWant) { r.Undo.Until -= 31 }, "undo ends at"},
		{"window without limit", func(_ *Receipt, w *ReceiptWant) { w.Terms.UndoWindowSeconds = second(0) }, "no limit"},
		{"window not promised", func(r *Receipt, w *ReceiptWant) { r.Undo.Until, w.Terms.UndoWindowSeconds = 1, nil }, ""},
		{"as late as clocks allow", func(r *Receipt, w *ReceiptWant) { w.To = time.Unix(r.Iat-30, 0) }, ""},
		{"of the future", func(r *Receipt, w *ReceiptWant) { w.To = time.Unix(r.Iat-31, 0) }, "another time"},
		{"as early as clocks allow", func(r *Receipt, w *ReceiptWant) { w.From = time.Unix(r.Iat+30, 999999999) }, ""},
		{"of the past", func(r *Receipt, w *ReceiptWant) { w.From = time.Unix(r.Iat+32, 0) }, "another time"},
		{"at any time", func(r *Receipt, w *ReceiptWant) { w.From, w.To = time.Time{}, time.Time{} }, ""},
		{"fee higher", func(r *Receipt, _ *ReceiptWant) { r.Undo.MaxFee = usd(t, "50.01") }, "undo.max_fee is 50.01 USD"},
		{"fee not stated", func(r *Receipt, _ *ReceiptWant) { r.Undo.MaxFee = Money{} }, ""},
	} {
		r, w := testReceipt(t), want()
		c.change(r, &w)
		if err := r.Check(w); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzVerifyStatement(f *testing.F) {
	k := signingKey(f, "expedia")
	f.Add(signReceipt(f, "expedia"))
	f.Add(must(SignStatement(k, "test", []byte(`{"a":1}`))))
	f.Add("e30.e30.e30")
	keys := keySet(f, "expedia")
	f.Fuzz(func(t *testing.T, jws string) {
		r, err := VerifyReceipt(jws, keys)
		if err != nil {
			return
		}
		// The key is known to everybody who reads this, so a fuzzer could sign: then
		// what it says must be what we would sign.
		if again, err := r.Sign(k); err != nil || again == "" {
			t.Errorf("%q is accepted, and cannot be written: %v", jws, err)
		}
	})
}

// receiptJSON is a receipt for encoding/json: what the claims are compared with.
type receiptJSON struct {
	Iss     string         `json:"iss"`
	Aud     string         `json:"aud"`
	Iat     int64          `json:"iat"`
	JTI     string         `json:"jti"`
	TraceID TraceID        `json:"trace_id"`
	Agr     string         `json:"agr,omitempty"`
	Req     map[string]any `json:"req"`
	Res     map[string]any `json:"res"`
	Mft     string         `json:"mft,omitempty"`
	Tx      string         `json:"tx,omitempty"`
	Outcome string         `json:"outcome"`
	MS      int64          `json:"ms"`
	Cost    map[string]any `json:"cost,omitempty"`
	Undo    map[string]any `json:"undo,omitempty"`
	Facts   []string       `json:"facts,omitempty"`
}

// jsonOf makes one of a receipt.
func jsonOf(r *Receipt) receiptJSON {
	j := receiptJSON{
		Iss: r.Iss, Aud: r.Aud, Iat: r.Iat, JTI: r.JTI, TraceID: r.TraceID,
		Req: map[string]any{"base": r.Req.Base.Base64URL()},
		Res: map[string]any{"status": r.Res.Status, "digest": r.Res.Digest.ContentDigest()},
		Tx:  r.Tx, Outcome: r.Outcome, MS: r.MS,
	}
	if !r.Agr.IsZero() {
		j.Agr = r.Agr.Base64URL()
	}
	if !r.Mft.IsZero() {
		j.Mft = r.Mft.ContentDigest()
	}
	if r.Req.Key != "" {
		j.Req["key"] = r.Req.Key
	}
	if r.Res.Type != "" {
		j.Res["type"] = r.Res.Type
	}
	if !r.Cost.IsZero() {
		j.Cost = map[string]any{"amount": r.Cost.Amount(), "cur": r.Cost.Currency()}
	}
	if r.Undo != nil {
		j.Undo = map[string]any{"level": r.Undo.Level}
		if r.Undo.Until != 0 {
			j.Undo["until"] = r.Undo.Until
		}
		if !r.Undo.MaxFee.IsZero() {
			j.Undo["max_fee"], j.Undo["cur"] = r.Undo.MaxFee.Amount(), r.Undo.MaxFee.Currency()
		}
	}
	for _, f := range r.Facts {
		j.Facts = append(j.Facts, f.Base64URL())
	}
	return j
}

// FuzzParseReceipt reads claims in both ways, which must agree, and writes what was
// read in both ways.
func FuzzParseReceipt(f *testing.F) {
	plain := testReceipt(f)
	plain.Cost, plain.Facts, plain.Undo.MaxFee = Money{}, nil, Money{}
	f.Add(must(marshalSigned(jsonOf(testReceipt(f)))))
	f.Add(must(marshalSigned(jsonOf(plain))))
	plain.Req.Key, plain.Undo = "key", nil
	f.Add(must(marshalSigned(jsonOf(plain))))
	f.Fuzz(func(t *testing.T, claims []byte) {
		quick, ok := readPlainReceipt(claims)
		r, err := readReceipt(claims)
		if ok && (err != nil || !cmp.Equal(quick, r, sameMoney)) {
			t.Fatalf("%q is read as %+v, and the long way as %+v, %v", claims, quick, r, err)
		}
		if err != nil {
			return
		}
		written := r.appendClaims(nil)
		if want := must(marshalSigned(jsonOf(r))); string(written) != string(want) {
			t.Errorf("%+v is written as\n%s, by encoding/json as\n%s", r, written, want)
		}
		again, err := parseReceipt(written)
		if err != nil || !cmp.Equal(r, again, sameMoney) {
			t.Errorf("%q is read as %+v, and written and read again as %+v, %v", claims, r, again, err)
		}
	})
}

// FuzzProtected reads protected headers in both ways, which must agree.
func FuzzProtected(f *testing.F) {
	f.Add([]byte(`{"alg":"EdDSA","kid":"x","typ":"a+jwt"}`))
	f.Add([]byte(`{"alg":"EdDSA","kid":"\\u0041","typ":"","typ":""}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		quick, ok := plainProtected(raw)
		if h, err := readProtected(raw); ok && (err != nil || h != quick) {
			t.Errorf("%q is read as %+v, and the long way as %+v, %v", raw, quick, h, err)
		}
	})
}

// TestPlainReceipts: the receipts of nearly all calls are read the short way.
func TestPlainReceipts(t *testing.T) {
	r := testReceipt(t)
	r.Cost, r.Facts, r.Undo.MaxFee, r.Req.Key = Money{}, nil, Money{}, "key-1"
	if got, ok := readPlainReceipt(r.appendClaims(nil)); !ok || !cmp.Equal(r, got, sameMoney) {
		t.Errorf("%+v is read as %+v, %v", r, got, ok)
	}
	if h, ok := plainProtected(must(base64.RawURLEncoding.DecodeString(protect(signingKey(t, "expedia"), TypeReceipt)))); !ok || h.typ != TypeReceipt {
		t.Errorf("our protected header is read as %+v, %v", h, ok)
	}
}

func FuzzParseAgreement(f *testing.F) {
	f.Add(must(json.Marshal(testAgreement(f))))
	f.Fuzz(func(t *testing.T, doc []byte) {
		a, err := ParseAgreement(doc)
		if err != nil {
			return
		}
		payload, err := a.marshal()
		if err != nil {
			t.Fatalf("%q is read, and cannot be written: %v", doc, err)
		}
		again := &Agreement{signatures: a.signatures}
		if err := again.read(payload); err != nil {
			t.Fatal(err)
		}
		again.payload = a.payload
		if diff := cmp.Diff(a, again, cmp.AllowUnexported(Agreement{}), sameMoney); diff != "" {
			t.Errorf("%q written and read again:\n%s", doc, diff)
		}
	})
}

func BenchmarkSignReceipt(b *testing.B) {
	r, k := testReceipt(b), signingKey(b, "expedia")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Sign(k); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyReceipt(b *testing.B) {
	jws, keys := signReceipt(b, "expedia"), keySet(b, "expedia")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := VerifyReceipt(jws, keys); err != nil {
			b.Fatal(err)
		}
	}
}
