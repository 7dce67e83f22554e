// Package iatptest runs real sidecars in tests: real listeners on loopback, a
// real flight recorder in a temporary directory, and whatever agent the test
// brings. Nothing is mocked, so a test that passes here has seen the product.
//
//	n := iatptest.Start(t, iatptest.Options{
//		Manifest: iatptest.Honeypot,
//		Agent:    http.HandlerFunc(myAgent),
//	})
//	reply := n.Post(t, `{"task":"book"}`, nil)
//	if reply.Status != 449 { … }
package iatptest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// Manifests of two agents: one that scores 10 by the seed's table, one that
// scores 0.
const (
	Bank = `{"identity":{"agent_id":"secure-bank"},"trust_level":"verified_partner",` +
		`"capabilities":{"idempotency":true},"reversibility":{"level":"full","compensation_endpoint":"/compensate/{transaction_id}"},` +
		`"privacy":{"retention_policy":"ephemeral","human_in_loop":false,"training_consent":false}}`
	Honeypot = `{"identity":{"agent_id":"honeypot"},"trust_level":"untrusted",` +
		`"reversibility":{"level":"none"},"privacy":{"retention_policy":"permanent","human_in_loop":true,"training_consent":true}}`
	// Friend scores 10 and keeps data for a while, so payloads are recorded.
	Friend = `{"identity":{"agent_id":"friend"},"trust_level":"verified_partner",` +
		`"reversibility":{"level":"none"},"privacy":{"retention_policy":"temporary"}}`
)

// Options say what to start. The zero value is the Bank with an agent that
// echoes.
type Options struct {
	Manifest string                // JSON; empty: Bank
	Agent    http.Handler          // empty: Echo
	AgentURL string                // instead of Agent: an address of the test's own
	Config   func(*sidecar.Config) // last word on the configuration
	Data     string                // data directory; empty: a fresh one
	Log      io.Writer             // the sidecar's own log; nil: the test's
}

// Node is a running sidecar with its agent.
type Node struct {
	URL     string // of the local listener
	Addr    string
	Data    string
	Sidecar *sidecar.Sidecar
	Agent   *Agent // nil with Options.AgentURL

	stop func() error
}

// Start runs a sidecar and its agent until the test ends, and then verifies
// the flight recorder.
func Start(t testing.TB, o Options) *Node {
	t.Helper()
	n := &Node{Data: o.Data}
	if n.Data == "" {
		n.Data = t.TempDir()
	}
	if o.Manifest == "" {
		o.Manifest = Bank
	}
	manifest := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(manifest, []byte(o.Manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	if o.AgentURL == "" {
		n.Agent = StartAgent(t, o.Agent)
		o.AgentURL = n.Agent.URL
	}
	cfg := sidecar.DefaultConfig()
	cfg.Listen, cfg.Agent, cfg.Manifest, cfg.Data = "127.0.0.1:0", o.AgentURL, manifest, n.Data
	if o.Config != nil {
		o.Config(&cfg)
	}
	if err := n.serve(cfg, o.logTo(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Errorf("stop sidecar: %v", err)
		}
	})
	return n
}

func (o *Options) logTo(t testing.TB) io.Writer {
	if o.Log != nil {
		return o.Log
	}
	return t.Output()
}

func (n *Node) serve(cfg sidecar.Config, log io.Writer) error {
	s, err := sidecar.New(cfg, sidecar.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		return err
	}
	ln, err := s.Listen()
	if err != nil {
		s.Close()
		return err
	}
	public, err := s.ListenPublic()
	if err != nil {
		return errors.Join(err, ln.Close(), s.Close())
	}
	n.Sidecar, n.Addr = s, ln.Addr().String()
	n.URL = "http://" + n.Addr
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln, public) }()
	n.stop = sync.OnceValue(func() error {
		cancel()
		if err := <-done; err != nil {
			s.Close()
			return err
		}
		return s.Close()
	})
	return nil
}

// Stop drains the sidecar, closes its recorder and verifies it. It can be
// called more than once.
func (n *Node) Stop() error {
	if err := n.stop(); err != nil {
		return err
	}
	r, err := flight.Verify(n.Data, "")
	if err != nil {
		return fmt.Errorf("verify flight recorder: %w", err)
	}
	if !r.OK() {
		return fmt.Errorf("flight recorder does not verify: %+v", r)
	}
	return nil
}

// Reply is an answer, read whole.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Problem is the answer's body as a JSON object.
func (r *Reply) Problem(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(r.Body, &m); err != nil {
		t.Fatalf("answer %d is not a JSON object: %v: %s", r.Status, err, r.Body)
	}
	return m
}

// Post sends a body to /proxy as JSON, with further headers.
func (n *Node) Post(t testing.TB, body string, header map[string]string) *Reply {
	t.Helper()
	return n.Do(t, http.MethodPost, "/proxy", strings.NewReader(body), header)
}

// Get asks for a path.
func (n *Node) Get(t testing.TB, path string, header map[string]string) *Reply {
	t.Helper()
	return n.Do(t, http.MethodGet, path, nil, header)
}

// Operator returns the header that makes a request the operator's.
func (n *Node) Operator(t testing.TB) map[string]string {
	t.Helper()
	token, err := os.ReadFile(n.Sidecar.OperatorTokenFile())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"Authorization": "Bearer " + strings.TrimSpace(string(token))}
}

// client keeps no connections: what a test leaves open would be another's leak.
var client = &http.Client{
	Timeout:       30 * time.Second,
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Do sends one request and reads the whole answer. Host in header sets the
// Host field; a body gets the content type application/json unless header says
// otherwise.
func (n *Node) Do(t testing.TB, method, path string, body io.Reader, header map[string]string) *Reply {
	t.Helper()
	req, err := http.NewRequest(method, n.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: read answer: %v", method, path, err)
	}
	return &Reply{resp.StatusCode, resp.Header, b}
}

// Records are the records of a trace, as JSON objects.
func (n *Node) Records(t testing.TB, traceID string) []map[string]any {
	t.Helper()
	r := n.Get(t, "/trace/"+traceID, n.Operator(t))
	if r.Status == http.StatusNotFound {
		return nil
	}
	if r.Status != http.StatusOK {
		t.Fatalf("GET /trace/%s = %d: %s", traceID, r.Status, r.Body)
	}
	var out struct {
		Logs []map[string]any `json:"logs"`
	}
	if err := json.Unmarshal(r.Body, &out); err != nil {
		t.Fatal(err)
	}
	return out.Logs
}

// Types are the types of records, in order: "request response".
func Types(records []map[string]any) string {
	var types []string
	for _, r := range records {
		types = append(types, fmt.Sprint(r["type"]))
	}
	return strings.Join(types, " ")
}

// FindInFiles returns the files below dir that contain text.
func FindInFiles(t testing.TB, dir, text string) []string {
	t.Helper()
	var hits []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil // a temporary file that has its real name by now
		}
		if bytes.Contains(b, []byte(text)) {
			hits = append(hits, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

// Agent is a real HTTP server that remembers what it was sent.
type Agent struct {
	URL string

	mu   sync.Mutex
	seen []Seen
}

// Seen is a request that reached the agent.
type Seen struct {
	Method, Path string
	Header       http.Header
	Body         []byte
}

// StartAgent serves h (nil: Echo) until the test ends.
func StartAgent(t testing.TB, h http.Handler) *Agent {
	t.Helper()
	if h == nil {
		h = http.HandlerFunc(Echo)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{URL: "http://" + ln.Addr().String()}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.seen = append(a.seen, Seen{r.Method, r.URL.Path, r.Header.Clone(), body})
		a.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(w, r)
	}), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return a
}

// Seen returns every request that reached the agent.
func (a *Agent) Seen() []Seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Seen(nil), a.seen...)
}

// Echo answers with what it got.
func Echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	if !json.Valid(body) {
		body = []byte("null")
	}
	fmt.Fprintf(w, `{"status":"success","echo":%s}`, body)
}
