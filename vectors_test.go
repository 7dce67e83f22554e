package iatp_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/httpsig"
)

var update = flag.Bool("update", false, "write spec/vectors/hardened.json and manifest-hardened.json anew")

// hardened is spec/vectors/hardened.json. Ed25519 is deterministic: whoever makes
// the vectors makes these.
type hardened struct {
	About       string               `json:"about"`
	Keys        map[string]vectorKey `json:"keys"`
	Directory   iatp.KeySet          `json:"directory"`
	Manifest    vectorManifest       `json:"manifest"`
	Endorsement vectorStatement      `json:"endorsement"`
	Agreement   vectorAgreement      `json:"agreement"`
	Request     vectorRequest        `json:"request"`
	Receipt     vectorStatement      `json:"receipt"`
}

type vectorKey struct {
	Seed string `json:"seed_base64"`
	JKT  string `json:"jkt"`
	Key  string `json:"verification_key"`
}

type vectorManifest struct {
	File   string `json:"file"`
	Digest string `json:"digest"`
}

type vectorStatement struct {
	Signer       string `json:"signer"`
	JWS          string `json:"jws"`
	ResponseBody string `json:"response_body,omitempty"`
}

// vectorAgreement has the document, its id, and documents that are not it: each is
// refused by whoever has proposed it.
type vectorAgreement struct {
	Document *iatp.Agreement            `json:"document"`
	ID       string                     `json:"id"`
	Refuse   map[string]json.RawMessage `json:"refuse"`
}

type vectorRequest struct {
	Signer         string      `json:"signer"`
	Method         string      `json:"method"`
	TargetURI      string      `json:"target_uri"`
	Header         [][2]string `json:"header"`
	Body           string      `json:"body"`
	SignatureInput string      `json:"signature_input"`
	Signature      string      `json:"signature"`
	SignatureBase  string      `json:"signature_base"`
	Base           string      `json:"base"`
}

// vectorTime is the time of the vectors.
const vectorTime = 1794650000

// newKey is the throw-away key of that name.
func newKey(t testing.TB, name string) iatp.PrivateKey {
	t.Helper()
	seed := sha256.Sum256([]byte("iatp-test-vector-" + name))
	k, err := iatp.GeneratePrivateKey(bytes.NewReader(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func vectorEndorsement(t testing.TB) *iatp.Endorsement {
	return &iatp.Endorsement{
		Iss: "https://auth.example", Sub: "https://expedia.example", JKT: newKey(t, "expedia").Thumbprint(),
		Iat: 1794600000, Exp: 1794600000 + 30*86400, TrustLevel: iatp.VerifiedPartner,
		MaxClaims: iatp.MaxClaims{RetentionPolicy: iatp.RetentionEphemeral, Reversibility: iatp.ReversibilityPartial},
	}
}

// vectorDocument is the hardened manifest, signed with the key of today and that
// of before.
func vectorDocument(t testing.TB, endorsement string) []byte {
	key, before := newKey(t, "expedia"), newKey(t, "expedia-before")
	return must[[]byte](t)(iatp.SignManifest([]byte(`{"$schema":"http://inter-agent-trust.org/v1/schema",`+
		`"identity":{"agent_id":"expedia-booking-bot-v2","verification_key":"`+key.Public().String()+`","owner":"Expedia Group","uri":"https://expedia.example",`+
		`"log":"expedia.example/iatp+b9cfa67b+AYMgpRl32MOMqKSSfGcN9YIeRJdhlF4V6e+yahUJ0jDq"},`+
		`"trust_level":"verified_partner","capabilities":{"idempotency":true,"concurrency_limit":5,"sla_latency_ms":2000},`+
		`"reversibility":{"level":"partial","undo_window_seconds":3600,"compensation_method":"refund_minus_fee","max_fee":"50.00","currency":"USD"},`+
		`"privacy":{"retention_policy":"ephemeral","human_in_loop":false,"training_consent":false},`+
		`"protocol_version":"1.0","manifest_version":"1.1.0","updated_at":"2026-11-13T00:00:00Z","expires_at":"2026-12-01T00:00:00Z",`+
		`"scopes":["book","quote"],"endorsements":["`+endorsement+`"]}`), key, before))
}

func vectorTerms(t testing.TB) iatp.Terms {
	hour := int64(3600)
	return iatp.Terms{
		Reversibility: iatp.ReversibilityPartial, UndoWindowSeconds: &hour, CompensationMethod: "refund_minus_fee",
		MaxFee: must[iatp.Money](t)(iatp.ParseMoney("50", "USD")), RetentionPolicy: iatp.RetentionEphemeral, SLALatencyMS: 2000,
		Scopes: []string{"book"}, Budget: must[iatp.Money](t)(iatp.ParseMoney("5", "USD")), Receipt: true,
	}
}

func vectorContract(t testing.TB, manifest iatp.Digest) *iatp.Agreement {
	travel, expedia := newKey(t, "travel"), newKey(t, "expedia")
	a := &iatp.Agreement{
		Initiator: iatp.Party{URI: "https://travel.example", JKT: travel.Thumbprint(), Manifest: iatp.DigestOf([]byte("the manifest of travel"))},
		Responder: iatp.Party{URI: "https://expedia.example", JKT: expedia.Thumbprint(), Manifest: manifest},
		Terms:     vectorTerms(t), Iat: vectorTime, Exp: vectorTime + 3600, Nonce: "kq7Zx0M1c2k",
	}
	if err := a.Sign(travel); err != nil {
		t.Fatal(err)
	}
	if err := a.Countersign(expedia); err != nil {
		t.Fatal(err)
	}
	return a
}

const vectorBody = `{"task":"book_flight","data":{"destination":"NYC","date":"2027-02-15"}}`
const vectorAnswer = `{"result":"Flight booked","confirmation":"Ticket #999"}`

// vectorTask is a request with a field of every kind.
func vectorTask(agreement, manifest iatp.Digest) *httpsig.Message {
	return &httpsig.Message{Method: "POST", TargetURI: "https://expedia.example/task?dry=0&x=%7e", Header: http.Header{
		"Accept":           {"application/json", "application/problem+json"},
		"Content-Type":     {"application/json"},
		"Content-Length":   {"71"},
		"Content-Digest":   {iatp.DigestOf([]byte(vectorBody)).ContentDigest()},
		"Idempotency-Key":  {iatp.FormatIdempotencyKey("8e03978e-40d5-43e8-bc93-6894a57f9324")},
		"X-Agent-Trace-Id": {"e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e9f"},
		"Traceparent":      {"00-e4b5c6d78a9b0c1d2e3f4a5b6c7d8e9f-00f067aa0ba902b7-01"},
		"Tracestate":       {"iatp=t61rcWkgMzE"},
		"Iatp-Agreement":   {agreement.ByteSequence()},
		"Iatp-Manifest":    {manifest.ByteSequence()},
		"Iatp-Budget":      {`"5.00";cur=USD`},
		"Iatp-Deadline":    {"@1794650010"},
		"X-Tenant":         {"blue"},
	}}
}

func vectorReceipt(t testing.TB, base, agreement, manifest iatp.Digest) *iatp.Receipt {
	return &iatp.Receipt{
		Iss: "https://expedia.example", Aud: "https://travel.example", Iat: vectorTime + 2, JTI: "rcpt_01JC0F",
		TraceID: "e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e9f", Agr: agreement, Mft: manifest,
		Req: iatp.Requested{Base: base, Key: "8e03978e-40d5-43e8-bc93-6894a57f9324"},
		Res: iatp.Responded{Status: 200, Digest: iatp.DigestOf([]byte(vectorAnswer)), Type: "application/json"},
		Tx:  "tx_01JC0F", Outcome: iatp.OutcomeExecuted, MS: 1243,
		Cost: must[iatp.Money](t)(iatp.ParseMoney("4.20", "USD")),
		Undo: &iatp.Undo{Level: iatp.ReversibilityPartial, Until: vectorTime + 3602, MaxFee: must[iatp.Money](t)(iatp.ParseMoney("50", "USD"))},
	}
}

// makeHardened makes the vectors and the manifest that belongs to them.
func makeHardened(t testing.TB) (*hardened, []byte) {
	h := &hardened{
		About: "Vectors of the hardened members. Seeds are throw-away: SHA-256 of the text 'iatp-test-vector-<name>'. Times are around 1794650000. vectors_test.go makes this file; verify.mjs checks it without our code.",
		Keys:  map[string]vectorKey{},
	}
	for _, name := range []string{"travel", "expedia", "expedia-before", "authority"} {
		seed, k := sha256.Sum256([]byte("iatp-test-vector-"+name)), newKey(t, name)
		h.Keys[name] = vectorKey{base64.StdEncoding.EncodeToString(seed[:]), k.Thumbprint(), k.Public().String()}
	}
	h.Directory = must[iatp.KeySet](t)(iatp.NewKeySet(
		iatp.DirectoryKey{Key: newKey(t, "expedia").Public(), NotBefore: time.Unix(1794000000, 0)},
		iatp.DirectoryKey{Key: newKey(t, "expedia-before").Public(), Expires: time.Unix(1795000000, 0)},
	))
	h.Endorsement = vectorStatement{Signer: "authority", JWS: must[string](t)(vectorEndorsement(t).Sign(newKey(t, "authority")))}
	doc := vectorDocument(t, h.Endorsement.JWS)
	h.Manifest.File = "manifest-hardened.json"
	h.Manifest.Digest = must[string](t)(must[*iatp.Manifest](t)(iatp.ParseManifest(doc)).Digest())
	manifest := must[iatp.Digest](t)(iatp.ParseContentDigest(h.Manifest.Digest))
	h.Agreement.Document = vectorContract(t, manifest)
	agreement := h.Agreement.Document.ID()
	h.Agreement.ID = agreement.Base64URL()
	h.Agreement.Refuse = notAgreed(t, h.Agreement.Document)

	m := vectorTask(agreement, manifest)
	s := httpsig.Signer{Key: newKey(t, "travel"), Agent: "https://travel.example"}
	base := must[iatp.Digest](t)(s.Sign(m, time.Unix(vectorTime, 0), time.Unix(vectorTime+60, 0), "pS3kq0V9c2fXyT1m7Qw2Zg"))
	h.Request = recordRequest(t, m, base)
	h.Receipt = vectorStatement{Signer: "expedia", ResponseBody: vectorAnswer,
		JWS: must[string](t)(vectorReceipt(t, base, agreement, manifest).Sign(newKey(t, "expedia")))}
	return h, doc
}

// notAgreed are documents that a responder, or somebody between, may send in place of
// the agreement that was proposed.
func notAgreed(t testing.TB, a *iatp.Agreement) map[string]json.RawMessage {
	t.Helper()
	type signature struct {
		Protected string `json:"protected"`
		Signature string `json:"signature"`
	}
	type document struct {
		Payload    string      `json:"payload"`
		Signatures []signature `json:"signatures"`
	}
	var good document
	if err := json.Unmarshal(must[[]byte](t)(json.Marshal(a)), &good); err != nil {
		t.Fatal(err)
	}
	payload := string(must[[]byte](t)(base64.RawURLEncoding.DecodeString(good.Payload)))
	of := func(payload string, signatures ...signature) json.RawMessage {
		return must[[]byte](t)(json.Marshal(document{base64.RawURLEncoding.EncodeToString([]byte(payload)), signatures}))
	}
	other := *a
	other.Nonce = "AAAAAAAAAAAA"
	if err := other.Sign(newKey(t, "travel")); err != nil {
		t.Fatal(err)
	}
	if err := other.Countersign(newKey(t, "expedia")); err != nil {
		t.Fatal(err)
	}
	return map[string]json.RawMessage{
		"terms that were changed after both signed": of(strings.Replace(payload, `"receipt":true`, `"receipt":false`, 1), good.Signatures...),
		"without the responder's signature":         of(payload, good.Signatures[0]),
		"the initiator's signature twice":           of(payload, good.Signatures[0], good.Signatures[0]),
		"the signatures in the other order":         of(payload, good.Signatures[1], good.Signatures[0]),
		"payload that is not canonical":             of(strings.Replace(payload, `,"iat"`, `, "iat"`, 1), good.Signatures...),
		"another agreement, good in itself":         must[[]byte](t)(json.Marshal(&other)),
	}
}

// Each of the documents that are not the agreement fails where the one is checked
// that was proposed.
func TestRefusedAgreements(t *testing.T) {
	var h struct {
		Agreement struct {
			ID     string                     `json:"id"`
			Refuse map[string]json.RawMessage `json:"refuse"`
		} `json:"agreement"`
	}
	if err := json.Unmarshal([]byte(read(t, "spec/vectors/hardened.json")), &h); err != nil {
		t.Fatal(err)
	}
	if len(h.Agreement.Refuse) < 6 {
		t.Fatalf("%d documents", len(h.Agreement.Refuse))
	}
	for name, doc := range h.Agreement.Refuse {
		a, err := iatp.ParseAgreement(doc)
		if err != nil || a.ID().Base64URL() != h.Agreement.ID {
			continue
		}
		if signed, err := a.Verify(newKey(t, "travel").Public(), newKey(t, "expedia").Public()); signed && err == nil {
			t.Errorf("%s: it is taken for the agreement", name)
		}
	}
}

func recordRequest(t testing.TB, m *httpsig.Message, base iatp.Digest) vectorRequest {
	p, problem := httpsig.Parse(m, time.Unix(vectorTime, 0), 0)
	if problem != nil {
		t.Fatal(problem.Error)
	}
	v, problem := p.Verify(newKey(t, "travel").Public())
	if problem != nil {
		t.Fatal(problem.Error)
	}
	r := vectorRequest{Signer: "travel", Method: m.Method, TargetURI: m.TargetURI, Body: vectorBody,
		SignatureInput: m.Header.Get("Signature-Input"), Signature: m.Header.Get("Signature"),
		SignatureBase: string(v.SignatureBase), Base: base.Base64URL()}
	for _, name := range v.Covered {
		r.Header = append(r.Header, [2]string{name, m.Header.Get(name)})
	}
	return r
}

func TestHardenedVectors(t *testing.T) {
	h, doc := makeHardened(t)
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(h); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"hardened.json": text.Bytes(), "manifest-hardened.json": append(doc, '\n')} {
		name = filepath.Join("spec", "vectors", name)
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(string(want), read(t, name)); diff != "" {
			t.Errorf("%s is not what this tree makes (-want +got); go test -run Hardened -update . writes it:\n%s", name, diff)
		}
	}
}

// sharedVectors is spec/vectors/v1.json, which was not made with this tree.
type sharedVectors struct {
	Agreement struct {
		Payload        json.RawMessage `json:"payload"`
		CanonicalBytes int             `json:"canonical_bytes"`
		Digest         string          `json:"digest_base64"`
	} `json:"agreement"`
	Request vectorRequest   `json:"request"`
	Receipt vectorStatement `json:"receipt"`
}

// The shared vectors predate the hardened members, and still verify.
func TestSharedVectors(t *testing.T) {
	var shared sharedVectors
	if err := json.Unmarshal([]byte(read(t, "spec/vectors/v1.json")), &shared); err != nil {
		t.Fatal(err)
	}
	keys := must[iatp.KeySet](t)(iatp.NewKeySet(iatp.DirectoryKey{Key: newKey(t, "expedia").Public()}))
	r := must[*iatp.Receipt](t)(iatp.VerifyReceipt(shared.Receipt.JWS, keys))
	base := iatp.DigestOf([]byte(shared.Request.SignatureBase))
	agreement := must[iatp.Digest](t)(iatp.ParseByteSequence(":" + shared.Agreement.Digest + ":"))
	if err := r.Check(iatp.ReceiptWant{
		Iss: "https://expedia.example", Aud: "https://travel.example", Key: "8e03978e-40d5-43e8-bc93-6894a57f9324",
		Bases: []iatp.Digest{base}, Status: 200, Digest: iatp.DigestOf([]byte(shared.Receipt.ResponseBody)),
		Agr: agreement, Budget: vectorTerms(t).Budget, Terms: vectorTerms(t),
	}); err != nil {
		t.Error(err)
	}
}

// fields are the header fields of the signature base, as v1.json has them.
func fields(base string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(base, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		name, parameters, _ := strings.Cut(strings.TrimPrefix(name, `"`), `"`)
		if strings.HasPrefix(name, "@") {
			continue
		}
		if parameters != "" {
			value = "iatp=" + value
		}
		h[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
	}
	return h
}

func TestSharedRequest(t *testing.T) {
	var shared sharedVectors
	if err := json.Unmarshal([]byte(read(t, "spec/vectors/v1.json")), &shared); err != nil {
		t.Fatal(err)
	}
	m := &httpsig.Message{Method: shared.Request.Method, TargetURI: shared.Request.TargetURI, Header: fields(shared.Request.SignatureBase)}
	unsigned := m.Header.Clone()
	m.Header.Set("Signature-Input", shared.Request.SignatureInput)
	m.Header.Set("Signature", shared.Request.Signature)
	p, problem := httpsig.Parse(m, time.Unix(vectorTime, 0), 0)
	if problem != nil {
		t.Fatal(problem.Error)
	}
	v, problem := p.Verify(newKey(t, "travel").Public())
	if problem != nil {
		t.Fatal(problem.Error)
	}
	if problem := v.CheckBody(iatp.DigestOf([]byte(shared.Request.Body))); problem != nil {
		t.Error(problem.Error)
	}
	if string(v.SignatureBase) != shared.Request.SignatureBase {
		t.Errorf("signature base is\n%s\nwant\n%s", v.SignatureBase, shared.Request.SignatureBase)
	}
	// We sign the same bytes.
	again := &httpsig.Message{Method: m.Method, TargetURI: m.TargetURI, Header: unsigned}
	s := httpsig.Signer{Key: newKey(t, "travel"), Agent: "https://travel.example"}
	if _, err := s.Sign(again, time.Unix(vectorTime, 0), time.Unix(vectorTime+60, 0), v.Nonce); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.Header, again.Header); diff != "" {
		t.Errorf("signed head (-vector +ours):\n%s", diff)
	}
}

// OpenSSL knows nothing of us and verifies what we sign, with the key as we write
// it; and we read a key that it makes.
func TestOpenSSLVerifies(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	dir := t.TempDir()
	run := func(args ...string) (string, error) {
		out, err := exec.Command(openssl, args...).CombinedOutput()
		return string(out), err
	}
	file := func(name string, data []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	h, _ := makeHardened(t)
	public := func(name string) string {
		private := file(name+".pem", must[[]byte](t)(newKey(t, name).MarshalPEM()))
		out := filepath.Join(dir, name+".pub")
		if text, err := run("pkey", "-in", private, "-pubout", "-out", out); err != nil {
			t.Fatalf("openssl pkey does not read our key: %v\n%s", err, text)
		}
		return out
	}
	verify := func(name, signer string, input, signature []byte) {
		args := []string{"pkeyutl", "-verify", "-pubin", "-inkey", public(signer), "-rawin",
			"-in", file("input", input), "-sigfile", file("signature", signature)}
		if text, err := run(args...); err != nil || !strings.Contains(text, "Signature Verified Successfully") {
			t.Errorf("%s: openssl says %v: %s", name, err, text)
		}
		file("input", append(input, '.'))
		if text, err := run(args...); err == nil {
			t.Errorf("%s changed: openssl says %s", name, text)
		}
	}
	for _, s := range []vectorStatement{h.Receipt, h.Endorsement} {
		i := strings.LastIndexByte(s.JWS, '.')
		verify(s.JWS[:10], s.Signer, []byte(s.JWS[:i]), must[[]byte](t)(base64.RawURLEncoding.DecodeString(s.JWS[i+1:])))
	}
	signature := strings.Trim(strings.TrimPrefix(h.Request.Signature, "iatp="), ":")
	verify("request", "travel", []byte(h.Request.SignatureBase), must[[]byte](t)(base64.StdEncoding.DecodeString(signature)))

	theirs := filepath.Join(dir, "theirs.pem")
	if text, err := run("genpkey", "-algorithm", "ed25519", "-out", theirs); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	k := must[iatp.PrivateKey](t)(iatp.ParsePrivateKey([]byte(read(t, theirs))))
	raw := must[iatp.Key](t)(iatp.ParseKey(k.Public().String()))
	if !raw.Verify([]byte("x"), k.Sign([]byte("x"))) {
		t.Error("a key made by openssl does not sign")
	}
}

// corpus is spec/vectors/corpus.json: for each kind of text what every
// implementation accepts and refuses.
type corpus map[string]struct {
	Accept []string `json:"accept"`
	Refuse []string `json:"refuse"`
}

func TestCorpus(t *testing.T) {
	var c corpus
	if err := json.Unmarshal([]byte(read(t, "spec/vectors/corpus.json")), &c); err != nil {
		t.Fatal(err)
	}
	readers := corpusReaders(t)
	if len(c) != len(readers) {
		t.Errorf("the corpus has %d kinds of text, and %d are read", len(c), len(readers))
	}
	for kind, cases := range c {
		accepts := readers[kind]
		if accepts == nil || len(cases.Accept) == 0 || len(cases.Refuse) == 0 {
			t.Errorf("%s: nothing to test", kind)
			continue
		}
		for _, s := range cases.Accept {
			if !accepts(s) {
				t.Errorf("%s: refuses %q", kind, s)
			}
		}
		for _, s := range cases.Refuse {
			if accepts(s) {
				t.Errorf("%s: accepts %q", kind, s)
			}
		}
	}
}

func corpusReaders(t *testing.T) map[string]func(string) bool {
	now := time.Unix(vectorTime, 0)
	return map[string]func(string) bool{
		"content_digest":  func(s string) bool { _, err := iatp.ParseContentDigest(s); return err == nil },
		"byte_sequence":   func(s string) bool { _, err := iatp.ParseByteSequence(s); return err == nil },
		"base64url":       func(s string) bool { _, err := iatp.ParseBase64URL(s); return err == nil },
		"key":             func(s string) bool { _, err := iatp.ParseKey(s); return err == nil },
		"origin":          func(s string) bool { return iatp.CheckOrigin(s) == nil },
		"idempotency_key": func(s string) bool { _, err := iatp.ParseIdempotencyKey(s); return err == nil },
		"budget":          func(s string) bool { _, err := iatp.ParseBudget(s); return err == nil },
		"deadline":        func(s string) bool { _, err := iatp.ParseDeadline(s, now); return err == nil },
		"tokens":          func(s string) bool { _, err := iatp.ParseTokens(s); return err == nil },
		"money": func(s string) bool {
			amount, currency, _ := strings.Cut(s, " ")
			_, err := iatp.ParseMoney(amount, currency)
			return err == nil
		},
		"integer": func(s string) bool {
			_, err := iatp.SignStatement(newKey(t, "travel"), "test", []byte(`{"n":`+s+`}`))
			return err == nil
		},
		"target": func(s string) bool {
			_, problem := httpsig.Target("https://expedia.example", s, "")
			return problem == nil
		},
		"signature_input": func(s string) bool { return signatureInput(t, s, now) },
	}
}

// signatureInput signs the request of the vectors under a Signature-Input of that
// text, whatever it is, and reports whether that verifies.
func signatureInput(t *testing.T, text string, now time.Time) bool {
	m := vectorTask(iatp.DigestOf(nil), iatp.DigestOf(nil))
	for _, name := range []string{"Accept", "Tracestate", "Traceparent", "Iatp-Agreement", "Iatp-Manifest", "Iatp-Budget", "Iatp-Deadline"} {
		m.Header.Del(name)
	}
	_, ours, _ := strings.Cut(text, "iatp=")
	ours, _, _ = strings.Cut(ours, ", ")
	base := "\"@method\": POST\n\"@target-uri\": " + m.TargetURI + "\n"
	list, _, _ := strings.Cut(strings.TrimPrefix(ours, "("), ")")
	for c := range strings.SplitSeq(list, " ") {
		if name := strings.Trim(c, `"`); !strings.HasPrefix(name, "@") {
			base += c + ": " + m.Header.Get(name) + "\n"
		}
	}
	base += `"@signature-params": ` + ours
	m.Header["Signature-Input"] = []string{text}
	m.Header.Set("Signature", "iatp=:"+base64.StdEncoding.EncodeToString(newKey(t, "travel").Sign([]byte(base)))+":")
	p, problem := httpsig.Parse(m, now, 30*time.Second)
	if problem != nil {
		return false
	}
	_, problem = p.Verify(newKey(t, "travel").Public())
	return problem == nil
}
