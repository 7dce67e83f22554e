package main

import (
	"bytes"
	"encoding/json"
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
