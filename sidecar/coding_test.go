package sidecar_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// coded is text in a content coding.
func coded(t *testing.T, coding, text string) string {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	case "br":
		w = brotli.NewWriter(&out)
	case "zstd":
		z, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return text
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestCodedRequests: a coded body is judged and passed on decoded; one that
// nobody here can read is not passed on at all.
func TestCodedRequests(t *testing.T) {
	a, b := iatptest.Pair(t, func(a, b *iatptest.Options) { a.Manifest, b.Manifest = iatptest.Honeypot, iatptest.Friend })
	for _, coding := range []string{"gzip", "deflate", "br", "zstd", "identity"} {
		header := map[string]string{"Content-Encoding": coding}
		if r := post(t, a, "/proxy", coded(t, coding, bookCard), header); r.Status != 403 {
			t.Errorf("%s: a card for the honeypot: %d %s", coding, r.Status, r.Body)
		}
		before := len(b.Agent.Seen())
		r := post(t, a, "/proxy/b", coded(t, coding, bookNYC), header)
		seen := b.Agent.Seen()
		if r.Status != 200 || r.Header.Get("IATP-Receipt") == "" || len(seen) != before+1 || string(seen[before].Body) != bookNYC || seen[before].Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %d %s, b's agent saw %v", coding, r.Status, r.Body, seen[before:])
		}
	}
	bomb := coded(t, "gzip", `{"a":"`+strings.Repeat("a", 4<<20)+`"}`)
	before := len(b.Agent.Seen())
	for _, c := range []struct {
		name, coding, body string
		want               int
	}{
		{"larger than limits.body", "gzip", bomb, 413},
		{"not what it says", "gzip", bookNYC, 415},
		{"cut", "gzip", coded(t, "gzip", bookNYC)[:20], 415},
		{"unknown", "compress", bookNYC, 415},
		{"three times", "gzip, gzip, gzip", bookNYC, 415},
		{"a card for a coding", "4532-0151-1283-0366", bookNYC, 415},
		{"no JSON inside", "gzip", coded(t, "gzip", "hello"), 400},
	} {
		r := post(t, a, "/proxy/b", c.body, map[string]string{"Content-Encoding": c.coding})
		if r.Status != c.want || strings.Contains(string(r.Body), "4532") {
			t.Errorf("%s: %d %s, want %d", c.name, r.Status, r.Body, c.want)
		}
	}
	if n := len(b.Agent.Seen()); n != before {
		t.Errorf("b's agent saw %d calls more", n-before)
	}
	if held := string(a.Do(t, "GET", "/metrics", nil, nil).Body); !strings.Contains(held, "\niatp_request_body_bytes_held 0\n") {
		t.Error("memory of bodies was not given back")
	}
}

// TestCodedAnswers: a coded answer is read, whole or as it comes, and treated where
// a rule wants it; else it passes as it is. The peer's receipt stays over what it sent.
func TestCodedAnswers(t *testing.T) {
	const plain, clean = `{"mail":"desk@example.com"}`, `{"mail":"[EMAIL_REDACTED]"}`
	for _, coding := range []string{"gzip", "br", "zstd", "compress"} {
		for _, stream := range []bool{false, true} {
			for _, who := range []string{"a", "b", "nobody"} {
				body := coded(t, coding, plain)
				agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					w.Header().Set("Content-Encoding", coding)
					_, _ = io.WriteString(w, body)
					if stream {
						w.(http.Flusher).Flush()
					}
				})
				a, _ := iatptest.Pair(t, func(a, b *iatptest.Options) {
					b.Agent = agent
					if o, ok := map[string]*iatptest.Options{"a": a, "b": b}[who]; ok {
						peers := o.Config
						o.Config = func(cfg *sidecar.Config) { peers(cfg); treats("response", "email redact")(cfg) }
					}
				})
				r := post(t, a, "/proxy/b", bookNYC, nil)
				name := fmt.Sprintf("%s, stream %v, %s treats", coding, stream, who)
				switch {
				case who == "nobody":
					if r.Status != 200 || string(r.Body) != body || r.Header.Get("Content-Encoding") != coding {
						t.Errorf("%s: %d %q %v; want it as it is", name, r.Status, r.Body, r.Header)
					}
				case coding == "compress":
					if r.Status != 502 || !strings.Contains(string(r.Body), "cannot be read") {
						t.Errorf("%s: %d %q; want it withheld", name, r.Status, r.Body)
					}
				case r.Status != 200 || string(r.Body) != clean || r.Header.Get("Content-Encoding") != "":
					t.Errorf("%s: %d %q %v; want %s", name, r.Status, r.Body, r.Header, clean)
				}
				records := a.Records(t, r.Header.Get("X-Agent-Trace-ID"))
				if last := records[len(records)-1]; last["receipt"] == nil || last["outcome"] != "executed" || strings.Contains(fmt.Sprint(last), "receipt invalid") {
					t.Errorf("%s: recorded %v", name, last)
				}
			}
		}
	}
}
