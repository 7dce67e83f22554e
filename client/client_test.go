package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, h http.HandlerFunc, o client.Options) *client.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func TestNew(t *testing.T) {
	for _, address := range []string{"http://127.0.0.1:8001", "https://sidecar.example/", "unix:/run/iatp.sock"} {
		if _, err := client.New(address, client.Options{}); err != nil {
			t.Errorf("New(%s): %v", address, err)
		}
	}
	for _, address := range []string{"", "127.0.0.1:8001", "ftp://x", "http://", "http://user@host", "http://host/path", "http://host?q", "unix:"} {
		if _, err := client.New(address, client.Options{}); err == nil {
			t.Errorf("New(%q) takes what is no address", address)
		}
	}
}

// TestRequests looks at what each method asks for.
func TestRequests(t *testing.T) {
	var got string
	c := open(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.RequestURI + " " + r.Header.Get("Authorization")
		answer(w, http.StatusOK, map[string]any{})
	}, client.Options{Token: "secret"})
	ctx := t.Context()
	for want, call := range map[string]func() error{
		"GET /health":                   func() error { _, err := c.Health(ctx); return err },
		"GET /ready":                    func() error { _, err := c.Ready(ctx); return err },
		"GET /capabilities":             func() error { _, err := c.Manifest(ctx); return err },
		"GET /peers":                    func() error { _, err := c.Peers(ctx, false); return err },
		"GET /peers?visit=1":            func() error { _, err := c.Peers(ctx, true); return err },
		"GET /trace/t-1":                func() error { _, err := c.Trace(ctx, "t-1"); return err },
		"GET /trace?limit=5":            func() error { _, err := c.Latest(ctx, 5); return err },
		"GET /trace?limit=1000&after=9": func() error { _, err := c.After(ctx, 9); return err },
		"GET /quarantine/t-1":           func() error { _, err := c.Quarantine(ctx, "t-1"); return err },
		"POST /quarantine/t-1": func() error {
			_, err := c.ChangeQuarantine(ctx, "t-1", api.QuarantineChange{State: "released", By: "alice"})
			return err
		},
		"GET /log/checkpoint":    func() error { _, err := c.Checkpoint(ctx); return err },
		"GET /log/proof?index=3": func() error { _, err := c.Proof(ctx, 3); return err },
		"GET /log/export":        func() error { return c.Export(ctx, &bytes.Buffer{}) },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if got != want+" Bearer secret" {
			t.Errorf("asked %q, want %q", got, want+" Bearer secret")
		}
	}
}

// TestNoPathOutOfAnID sends nothing for an id that could name another path.
func TestNoPathOutOfAnID(t *testing.T) {
	c := open(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.RequestURI) }, client.Options{})
	for _, id := range []iatp.TraceID{"", "../health", "a/b", "a?b", "a#b"} {
		if _, err := c.Trace(t.Context(), id); err == nil {
			t.Errorf("Trace(%q) is no error", id)
		}
		if _, err := c.ChangeQuarantine(t.Context(), id, api.QuarantineChange{}); err == nil {
			t.Errorf("ChangeQuarantine(%q) is no error", id)
		}
	}
}

func TestUnhealthyIsAnAnswer(t *testing.T) {
	c := open(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusServiceUnavailable, api.Health{Status: "unhealthy", Reasons: []string{"draining"}})
	}, client.Options{})
	h, err := c.Health(t.Context())
	if err != nil || h.Status != "unhealthy" || len(h.Reasons) != 1 {
		t.Errorf("Health = %+v, %v", h, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name      string
		handler   http.HandlerFunc
		slug, msg string
	}{
		{"a problem", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", iatp.ProblemContentType)
			w.WriteHeader(http.StatusNotFound)
			p := iatp.Problem{Slug: iatp.SlugNotFound, Status: 404, Error: "no such trace\x1b[2J", Hint: "look elsewhere"}
			json.NewEncoder(w).Encode(&p)
		}, iatp.SlugNotFound, `no such trace\x1b[2J (look elsewhere)`},
		{"something else", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone", http.StatusBadGateway) }, "", "the sidecar answered 502"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example/", http.StatusFound)
		}, "", "the sidecar answered 302"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := open(t, test.handler, client.Options{Token: "secret"})
			for _, call := range []func() error{
				func() error { _, err := c.Trace(t.Context(), "t"); return err },
				func() error { _, err := c.Checkpoint(t.Context()); return err },
				func() error { return c.Export(t.Context(), &bytes.Buffer{}) },
			} {
				e, ok := errors.AsType[*client.Error](call())
				if !ok || e.Slug != test.slug || e.Error() != test.msg {
					t.Errorf("error %v, want slug %q and %q", e, test.slug, test.msg)
				}
			}
		})
	}
}

// TestBounds keeps a hostile or broken sidecar from filling the memory or
// holding the caller for ever.
func TestBounds(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
				return
			}
		}
	}
	c := open(t, endless, client.Options{})
	if _, err := c.Checkpoint(t.Context()); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("an endless checkpoint: %v", err)
	}
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	c = open(t, silent, client.Options{Timeout: 50 * time.Millisecond})
	if _, err := c.Health(t.Context()); err == nil {
		t.Error("a silent sidecar is no error")
	}
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "{}\n")
	}
	c = open(t, cut, client.Options{})
	if err := c.Export(t.Context(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "not the whole") {
		t.Errorf("an export that breaks off: %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // t.TempDir can be too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, api.Health{Status: "healthy", AgentID: iatp.AgentID(r.Host)})
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	defer func() { server.Close(); <-served }()
	c, err := client.New("unix:"+path, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h, err := c.Health(t.Context())
	if err != nil || h.AgentID != "localhost" {
		t.Errorf("Health = %+v, %v", h, err)
	}
}

func TestReadToken(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		text string
		good bool
	}{
		"good": {"0f1e2d3c4b5a69788796a5b4c3d2e1f0\n", true}, "empty": {"\n", false}, "two": {"one two", false},
		"long": {strings.Repeat("x", 5000), false}, "binary": {"\x00\x01", false},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		token, err := client.ReadToken(path)
		if (err == nil) != test.good || test.good && token != strings.TrimSpace(test.text) {
			t.Errorf("%s: %q, %v", name, token, err)
		}
	}
	if _, err := client.ReadToken(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func ExampleClient_Health() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, api.Health{Status: "healthy", AgentID: "travel-bot"})
	}))
	defer server.Close()

	c, err := client.New(server.URL, client.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	h, err := c.Health(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(h.AgentID, h.Status)
	// Output: travel-bot healthy
}
