package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// runIATP runs the program in this process.
func runIATP(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

// vector reads a file of the shared test vectors.
func vector(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "spec", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestScan(t *testing.T) {
	signed := vector(t, "manifest.json")
	serve := func(status int, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != manifestPath {
				http.NotFound(w, r)
				return
			}
			w.WriteHeader(status)
			w.Write(body)
		}
	}
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		code    int
		want    []string
	}{
		{"signed, from another origin", serve(200, signed), exitDone, []string{
			"expedia-booking-bot-v2", "E0: its signature is valid, but it names the origin https://expedia.example and came from http://127.0.0.1:",
			"2/10, unknown, evidence E0", "asked (449)"}},
		{"unsigned", serve(200, []byte(`{"identity":{"agent_id":"a"},"trust_level":"trusted"}`)), exitDone, []string{"E0: it is not signed"}},
		{"hostile text", serve(200, []byte(`{"identity":{"agent_id":"a","owner":"\u001b[2Jbank\u202e"},"trust_level":"trusted"}`)), exitDone, []string{`\x1b[2Jbank\u202e`}},
		{"changed after signing", serve(200, bytes.Replace(signed, []byte("Expedia Group"), []byte("Somebody else"), 1)), exitRefused, []string{"invalid manifest: signature"}},
		{"not a manifest", serve(200, []byte(`{"identity":{}}`)), exitRefused, []string{"invalid manifest: ", "a sidecar refuses"}},
		{"flat form from the network", serve(200, []byte(`{"agent_id":"a","trust_level":"trusted"}`)), exitRefused, []string{"invalid manifest"}},
		{"too long", serve(200, append(signed, bytes.Repeat([]byte(" "), iatp.MaxManifestSize)...)), exitRefused, []string{"invalid manifest"}},
		{"no manifest", serve(404, nil), exitRefused, []string{"it answers 404"}},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://elsewhere.example/\u202e")
			w.WriteHeader(http.StatusFound)
		}, exitRefused, []string{`redirects to http://elsewhere.example/\u202e`, "not followed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			code, stdout, stderr := runIATP(t, "scan", server.URL)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, text := range test.want {
				if !strings.Contains(stdout+stderr, text) {
					t.Errorf("output does not say %q:\n%s%s", text, stdout, stderr)
				}
			}
			if strings.ContainsAny(stdout+stderr, "\x1b\u202e") {
				t.Errorf("output has control characters: %q", stdout+stderr)
			}
		})
	}
}

func TestScanJSON(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(vector(t, "manifest.json")) }))
	defer server.Close()
	code, stdout, _ := runIATP(t, "scan", server.URL, "--json")
	var got struct {
		Valid     bool
		Signature string
		Score     int
		Level     string
		Evidence  string
		Reasons   []struct{ Code string }
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if code != exitDone || !got.Valid || got.Signature != "valid" || got.Score != 2 || got.Level != "unknown" || got.Evidence != "E0" || len(got.Reasons) == 0 {
		t.Errorf("exit code %d, %+v", code, got)
	}
}

// TestScanOrigin holds evidence above E0 to the origin, the signature and the
// dates.
func TestScanOrigin(t *testing.T) {
	m, err := iatp.ParseManifest(vector(t, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	good := time.Date(2026, 11, 10, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name, url string
		signature signature
		now       time.Time
		want      trust.Evidence
	}{
		{"all in order", "https://expedia.example", verified, good, trust.E1},
		{"with the default port", "https://EXPEDIA.example:443/.well-known/agent-manifest", verified, good, trust.E1},
		{"another port", "https://expedia.example:8443", verified, good, trust.E0},
		{"another host", "https://expedia.example.evil.example", verified, good, trust.E0},
		{"plain http", "http://expedia.example", verified, good, trust.E0},
		{"not signed", "https://expedia.example", unsigned, good, trust.E0},
		{"expired", "https://expedia.example", verified, m.ExpiresAt.Add(time.Second), trust.E0},
		{"from the future", "https://expedia.example", verified, m.UpdatedAt.Add(-time.Minute), trust.E0},
	} {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		if a, remark := assessRemote(m, u, test.signature, test.now); a.Evidence != test.want {
			t.Errorf("%s: evidence %s (%s), want %s", test.name, a.Evidence, remark, test.want)
		}
	}
}

// TestScanPublished serves a signed manifest over TLS and over plain http, with
// directories of keys that do and do not hold its key.
func TestScanPublished(t *testing.T) {
	key, other := newKey(t), newKey(t)
	for _, test := range []struct {
		name   string
		plain  bool
		listed *iatp.PrivateKey // nil: there is no directory
		code   int
		want   []string
	}{
		{"listed", false, &key, exitDone, []string{"key         " + key.Public().String(), "E1: signed by a key that the https origin", "evidence E1"}},
		{"another key is listed", false, &other, exitRefused, []string{"invalid manifest: signature: identity.verification_key is not a valid key of the directory"}},
		{"no directory", false, nil, exitRefused, []string{"invalid manifest: its directory of keys: fetch https://127.0.0.1:", "it answers 404"}},
		{"over plain http", true, &key, exitDone, []string{"E0: signed by a key that is published", "plain http proves nobody"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			url, ca := publish(t, key, test.listed, test.plain)
			code, stdout, stderr := runIATP(t, append([]string{"scan", url}, ca...)...)
			if code != test.code {
				t.Errorf("exit code %d, want %d: %s", code, test.code, stderr)
			}
			for _, text := range test.want {
				if !strings.Contains(stdout, text) {
					t.Errorf("stdout does not say %q:\n%s", text, stdout)
				}
			}
		})
	}
	url, _ := publish(t, key, &key, false)
	if code, _, stderr := runIATP(t, "scan", url); code != exitRefused || !strings.Contains(stderr, "certificate") {
		t.Errorf("an unknown certificate: exit code %d, %s", code, stderr)
	}
}

func newKey(t *testing.T) iatp.PrivateKey {
	t.Helper()
	key, err := iatp.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// publish serves a manifest that key has signed and, unless listed is nil, a
// directory with that key. ca is the flag that trusts the server's certificate.
func publish(t *testing.T, key iatp.PrivateKey, listed *iatp.PrivateKey, plain bool) (url string, ca []string) {
	t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if plain {
		srv.Start()
	} else {
		srv.StartTLS()
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		ca = []string{"--ca", file}
	}
	t.Cleanup(srv.Close)
	doc, err := iatp.SignManifest([]byte(`{"identity":{"agent_id":"booking","uri":"`+srv.URL+`","verification_key":"`+key.Public().String()+
		`"},"trust_level":"trusted","updated_at":"2026-01-01T00:00:00Z"}`), key)
	if err != nil {
		t.Fatal(err)
	}
	mux.HandleFunc(manifestPath, func(w http.ResponseWriter, _ *http.Request) { w.Write(doc) })
	if listed != nil {
		keys, err := iatp.NewKeySet(iatp.DirectoryKey{Key: listed.Public()})
		if err != nil {
			t.Fatal(err)
		}
		mux.HandleFunc(directoryPath, func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(keys) })
	}
	return srv.URL, ca
}

// TestVerifyReceipt verifies a receipt under keys that were given and keys that
// are published.
func TestVerifyReceipt(t *testing.T) {
	key, other := newKey(t), newKey(t)
	url, ca := publish(t, key, &key, false)
	elsewhere, elsewhereCA := publish(t, other, &key, false) // lists a key that is not its own
	body := []byte(`{"ticket":"#999"}`)
	r := iatp.Receipt{
		Iss: url, Aud: "https://travel.example", Iat: time.Now().Unix(), JTI: "rcpt_1", TraceID: "8821a",
		Req: iatp.Requested{Base: iatp.DigestOf([]byte("base")), Key: "book-1"},
		Res: iatp.Responded{Status: 200, Digest: iatp.DigestOf(body), Type: "application/json"}, Outcome: iatp.OutcomeExecuted, MS: 12,
	}
	jws, err := r.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	receipt, answer := file("receipt.jwt", jws+"\n"), file("answer.json", string(body))
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"by its key", []string{"--key", key.Public().String()}, exitDone, "valid receipt, under the key that you gave"},
		{"its key in a file", []string{"--key", file("key.pub", key.Public().String()+"\n")}, exitDone, "nothing: what was done stays done"},
		{"another key", []string{"--key", other.Public().String()}, exitRefused, "not valid: receipt: no known key"},
		{"published", append([]string{"--from", url}, ca...), exitDone, "under a key that " + url + " publishes now"},
		{"published by somebody else", append([]string{"--from", elsewhere}, elsewhereCA...), exitRefused, "not valid: it is by " + url},
		{"its answer", []string{"--key", key.Public().String(), "--body", answer}, exitDone, "which is the file's"},
		{"another answer", []string{"--key", key.Public().String(), "--body", receipt}, exitRefused, "is not the answer that it speaks of"},
		{"for programs", []string{"--key", key.Public().String(), "--json"}, exitDone, `"outcome": "executed"`},
		{"whose word is not said", nil, exitUsage, ""},
		{"over plain http from afar", []string{"--from", "http://booking.example"}, exitUsage, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := runIATP(t, append([]string{"verify", receipt}, test.args...)...)
			if code != test.code || !strings.Contains(stdout, test.want) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", code, test.code, test.want, stdout, stderr)
			}
		})
	}
	changed := file("changed.jwt", strings.Replace(jws, ".", ".A", 1))
	if code, stdout, _ := runIATP(t, "verify", changed, "--key", key.Public().String()); code != exitRefused || !strings.Contains(stdout, "not valid") {
		t.Errorf("a changed receipt: exit code %d, %s", code, stdout)
	}
}

func TestScanUsage(t *testing.T) {
	for _, arg := range []string{"ftp://agent.example", "https://user:secret@agent.example", "https://", "https://agent.example/?q", "http://[::1"} {
		if code, _, stderr := runIATP(t, "scan", arg); code != exitUsage || !strings.Contains(stderr, "is not the address of an agent") {
			t.Errorf("scan %s: exit code %d, %s", arg, code, stderr)
		}
	}
}

// TestVerifyVectors verifies the proof that other implementations made.
func TestVerifyVectors(t *testing.T) {
	var v struct {
		Log struct {
			VKey  string   `json:"vkey"`
			Lines []string `json:"lines"`
			Proof string   `json:"proof_of_line_1"`
		} `json:"log"`
	}
	if err := json.Unmarshal(vector(t, "v1.json"), &v); err != nil {
		t.Fatal(err)
	}
	proof := filepath.Join(t.TempDir(), "proof.txt")
	if err := os.WriteFile(proof, []byte(v.Log.Proof), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, line := range v.Log.Lines {
		want := exitRefused
		if i == 1 {
			want = exitDone
		}
		if code, stdout, stderr := runIATP(t, "verify", proof, "--line-text", line, "--key", v.Log.VKey); code != want {
			t.Errorf("line %d: exit code %d, want %d: %s%s", i, code, want, stdout, stderr)
		}
	}
}
