package sidecar_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

func TestSmallEndpoints(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{})
	if r := n.Get(t, "/health", nil); r.Status != 200 || strings.TrimSpace(string(r.Body)) != `{"status":"healthy","agent_id":"secure-bank"}` {
		t.Errorf("health: %d %s", r.Status, r.Body)
	}
	if r := n.Get(t, "/ready", nil); r.Status != 200 {
		t.Errorf("ready: %d %s", r.Status, r.Body)
	}
	a, b := n.Get(t, "/capabilities", nil), n.Get(t, "/.well-known/agent-manifest", nil)
	if a.Status != 200 || !bytes.Equal(a.Body, b.Body) || a.Header.Get("ETag") == "" {
		t.Errorf("the manifest differs between its two paths, or has no ETag: %v", a.Header)
	}
	if bytes.Contains(a.Body, []byte("compensation_endpoint")) {
		t.Error("the compensation endpoint is published")
	}
	if r := n.Get(t, "/capabilities", map[string]string{"If-None-Match": a.Header.Get("ETag")}); r.Status != 304 || len(r.Body) != 0 {
		t.Errorf("unchanged manifest: %d, want 304", r.Status)
	}
	m := string(n.Get(t, "/metrics", nil).Body)
	for _, want := range []string{"# HELP iatp_requests_total ", "# TYPE iatp_requests_total counter", "# TYPE iatp_request_duration_seconds histogram"} {
		if !strings.Contains(m, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	for path, want := range map[string]int{"/": 200, "/nothing": 404, "/proxy/expedia": 404, "/trace/unknown": 404, "/quarantine/unknown": 404, "/log/export": 401, "/trace": 401, "/%70roxy": 404, "//proxy": 404, "/proxy/../health": 404} {
		if got := rawGet(t, n.Addr, path); got != want {
			t.Errorf("GET %s = %d, want %d", path, got, want)
		}
	}
	if r := n.Do(t, "DELETE", "/health", nil, nil); r.Status != 405 {
		t.Errorf("DELETE /health: %d", r.Status)
	}
	if r := n.Get(t, "/proxy", nil); r.Status != 405 || r.Header.Get("Allow") != "POST" {
		t.Errorf("GET /proxy: %d, Allow %q", r.Status, r.Header.Get("Allow"))
	}
}

// TestPipelined sends three calls at once: each is answered, in its turn.
func TestPipelined(t *testing.T) {
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond) // long enough to look whether the caller is there
		_, _ = io.Copy(w, r.Body)
	})
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: agent})
	c, err := net.Dial("tcp", n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var calls bytes.Buffer
	for i := range 3 {
		body := fmt.Sprintf(`{"n":%d}`, i)
		fmt.Fprintf(&calls, "POST /proxy HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	if _, err := c.Write(calls.Bytes()); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for i := range 3 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		body, err := io.ReadAll(resp.Body)
		if want := fmt.Sprintf(`{"n":%d}`, i); err != nil || string(body) != want {
			t.Errorf("answer %d: %q, %v; want %s", i, body, err, want)
		}
	}
}

func TestOperatorEndpoints(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{})
	for range 3 {
		n.Post(t, bookNYC, nil)
	}
	op := n.Operator(t)
	if r := n.Get(t, "/trace?limit=2", op); r.Status != 200 || strings.Count(string(r.Body), `"trace_id"`) != 2 {
		t.Errorf("latest records: %d %s", r.Status, r.Body)
	}
	if r := n.Get(t, "/trace?after=4", op); r.Status != 200 || strings.Count(string(r.Body), `"trace_id"`) != 2 {
		t.Errorf("records from 4 on: %d %s", r.Status, r.Body)
	}
	if r := n.Get(t, "/trace?limit=x", op); r.Status != 400 {
		t.Errorf("limit=x: %d", r.Status)
	}
	if r := n.Get(t, "/log/export", op); r.Status != 200 || bytes.Count(r.Body, []byte("\n")) != 6 {
		t.Errorf("export: %d, %d lines", r.Status, bytes.Count(r.Body, []byte("\n")))
	}
	if !eventually(func() bool {
		return strings.HasPrefix(string(n.Get(t, "/log/checkpoint", op).Body), "secure-bank/iatp\n6\n")
	}) {
		t.Errorf("checkpoint: %s", n.Get(t, "/log/checkpoint", op).Body)
	}
	if r := n.Get(t, "/log/proof?index=5", op); r.Status != 200 || !strings.HasPrefix(string(r.Body), "c2sp.org/tlog-proof@v1\nindex 5\n") {
		t.Errorf("proof: %d %s", r.Status, r.Body)
	}
	if r := n.Get(t, "/log/proof?index=6", op); r.Status != 404 {
		t.Errorf("proof of what is not there: %d", r.Status)
	}
	if r := n.Get(t, "/trace", map[string]string{"Authorization": "Bearer wrong"}); r.Status != 401 {
		t.Errorf("wrong token: %d", r.Status)
	}
	op["Origin"] = "http://localhost:3000"
	if r := n.Get(t, "/trace", op); r.Status != 401 {
		t.Errorf("a page with the token: %d, want 401", r.Status)
	}
}

func TestMalformedRequests(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{})
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	tests := []struct {
		name, body string
		header     map[string]string
		status     int
		error      string
	}{
		{"not JSON", "hello", nil, 400, "Invalid JSON"},
		{"not JSON, plain text", "hello", map[string]string{"Content-Type": "text/plain"}, 400, "Invalid JSON"},
		{"empty", "", nil, 400, "Invalid JSON"},
		{"two values", "{} {}", nil, 400, "Invalid JSON"},
		{"duplicate member", `{"a":1,"\u0061":2}`, nil, 400, "Invalid JSON"},
		{"bad UTF-8", "{\"a\":\"\xff\"}", nil, 400, "Invalid JSON"},
		{"lone surrogate", `{"a":"\ud800"}`, nil, 400, "Invalid JSON"},
		{"depth", deep, nil, 400, "Invalid JSON"},
		{"a form", bookNYC, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415, "Content-Type"},
		{"gzip", bookNYC, map[string]string{"Content-Encoding": "gzip"}, 415, "Content-Encoding"},
		{"early data", bookNYC, map[string]string{"Early-Data": "1"}, 425, "early data"},
		{"too large", `"` + strings.Repeat("a", 1<<20) + `"`, nil, 413, "larger than 1MiB"},
		{"a name with an underscore", bookNYC, map[string]string{"X_Agent": "1"}, 400, "underscore"},
		{"a key with a quote", bookNYC, map[string]string{"Idempotency-Key": `a"b`}, 400, "Idempotency-Key"},
		{"two keys", bookNYC, map[string]string{"Idempotency-Key": "a", "X-Idempotency-Key": "b"}, 400, "Idempotency-Key"},
	}
	for _, tt := range tests {
		r := n.Post(t, tt.body, tt.header)
		text, _ := r.Problem(t)["error"].(string)
		if r.Status != tt.status || !strings.HasPrefix(text, tt.error) && !strings.Contains(text, tt.error) {
			t.Errorf("%s: %d %q; want %d %q", tt.name, r.Status, text, tt.status, tt.error)
		}
		if strings.HasPrefix(tt.error, "Invalid") && !strings.HasPrefix(text, "Invalid JSON") {
			t.Errorf("%s: error %q does not begin with Invalid JSON", tt.name, text)
		}
	}
	if r := n.Do(t, "POST", "/proxy?x=1", strings.NewReader(bookNYC), nil); r.Status != 400 {
		t.Errorf("query: %d", r.Status)
	}
	if len(n.Agent.Seen()) != 0 {
		t.Error("a malformed request reached the agent")
	}
}

// What Go's server would let pass, or what must end in bounded time.
func TestRawSockets(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Config: func(c *sidecar.Config) { c.Limits.BodyTime = sidecar.Duration(time.Second) }})
	head := "POST /proxy HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	tests := []struct {
		name, request string
		want          []int
	}{
		{"64 MiB announced", head + "Content-Length: 67108864\r\n\r\n{", []int{413}},
		{"a body that stops", head + "Content-Length: 100\r\n\r\n{", []int{408}},
		{"a chunked body that stops", head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n", []int{408}},
		{"chunked in HTTP/1.0", strings.Replace(head, "1.1", "1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", []int{400, 0}},
		{"a body with GET", "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", []int{400}},
		{"upgrade", "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", []int{400}},
		{"foreign absolute form", "GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400, 421}},
		{"connect", "CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400}},
		{"options star", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400, 200}},
		{"no host", "GET /health HTTP/1.0\r\n\r\n", []int{421}},
		{"two traces", head + "X-Agent-Trace-ID: a\r\nX-Agent-Trace-ID: b\r\nContent-Length: 2\r\n\r\n{}", []int{400}},
	}
	for _, tt := range tests {
		got := raw(t, n.Addr, tt.request)
		ok := false
		for _, w := range tt.want {
			ok = ok || got == w
		}
		if !ok {
			t.Errorf("%s: %d, want %v", tt.name, got, tt.want)
		}
	}
	if len(n.Agent.Seen()) != 0 {
		t.Errorf("something reached the agent: %+v", n.Agent.Seen())
	}
	if got := n.Get(t, "/health", nil).Status; got != 200 {
		t.Errorf("health afterwards: %d", got)
	}
}

// A chunked body without end is cut at the limit, and the caller hears so.
func TestEndlessBody(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{})
	c, err := net.Dial("tcp", n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(c, "POST /proxy HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
	go func() {
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat(" ", 64<<10))
		for {
			if _, err := io.WriteString(c, chunk); err != nil {
				return
			}
		}
	}()
	b := make([]byte, 12)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "HTTP/1.1 413" {
		t.Errorf("answer %q, %v; want 413", b, err)
	}
}

// 2,000 connections that send a byte now and then do not keep anybody else
// waiting, and hold next to nothing.
func TestSlowConnections(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{})
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i := range 2000 {
		c, err := net.Dial("tcp", n.Addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, c)
		if i%2 == 0 {
			fmt.Fprint(c, "POST /proxy HTTP/1.1\r\nHost: localhost\r\n") // a head that does not end
		} else {
			fmt.Fprint(c, "POST /proxy HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n{")
		}
	}
	start := time.Now()
	if r := n.Get(t, "/health", nil); r.Status != 200 {
		t.Errorf("health: %d", r.Status)
	}
	if r := n.Post(t, bookNYC, nil); r.Status != 200 && r.Status != 503 {
		t.Errorf("a good call: %d", r.Status)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("two good requests took %s beside 2,000 slow connections", d)
	}
	if held := heldBytes(t, n); held > 16<<20 {
		t.Errorf("%.0f bytes held for bodies that did not arrive", held)
	}
}

func TestBodyMemoryIsBounded(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Config: func(c *sidecar.Config) { c.Limits.BodyMemory = 1 << 20 }})
	c, err := net.Dial("tcp", n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /proxy HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat(" ", 900_000))
	if !eventually(func() bool { return heldBytes(t, n) > 900_000 }) {
		t.Fatal("the first body did not arrive")
	}
	r := n.Post(t, `"`+strings.Repeat("a", 500_000)+`"`, nil)
	if r.Status != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("a second body: %d, Retry-After %q; want 503 with one", r.Status, r.Header.Get("Retry-After"))
	}
	c.Close()
	if !eventually(func() bool { return heldBytes(t, n) == 0 }) {
		t.Errorf("%.0f bytes are still held after the caller left", heldBytes(t, n))
	}
}

// heldBytes is what the sidecar says it holds of request bodies.
func heldBytes(t *testing.T, n *iatptest.Node) (held float64) {
	for line := range strings.Lines(string(n.Get(t, "/metrics", nil).Body)) {
		_, _ = fmt.Sscanf(line, "iatp_request_body_bytes_held %g", &held)
	}
	return held
}

func TestDrain(t *testing.T) {
	arrived, finish := make(chan struct{}), make(chan struct{})
	n := iatptest.Start(t, iatptest.Options{Agent: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-finish
		fmt.Fprint(w, `{"late":true}`)
	})})
	status := make(chan int, 1)
	go func() { status <- n.Post(t, bookNYC, nil).Status }()
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop() }()
	time.Sleep(50 * time.Millisecond)
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a call under way: %v", err)
	default:
	}
	close(finish)
	if got := <-status; got != 200 {
		t.Errorf("the call under way: %d, want 200", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestRecorderThatCannotWriteRefuses(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{})
	n.Post(t, bookNYC, nil)
	n.Sidecar.Close() // from here on the book is closed
	r := n.Post(t, bookNYC, nil)
	if p := r.Problem(t); r.Status != 503 || p["outcome"] != "none" {
		t.Errorf("%d %v; want 503, outcome none", r.Status, p)
	}
	if got := len(n.Agent.Seen()); got != 1 {
		t.Errorf("the agent saw %d calls, want 1", got)
	}
	if r := n.Get(t, "/health", nil); r.Status != 503 {
		t.Errorf("health: %d, want 503", r.Status)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "iatp.sock")
	s, err := sidecar.New(configFor(t, func(c *sidecar.Config) { c.Listen = "unix:" + path }), sidecar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ln, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln, nil) }()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want mode 0600", info, err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	resp, err := client.Get("http://sidecar/trace") // the operator's, without a token
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("GET /trace over the socket: %d, want 200", resp.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestReloadIsAllOrNothing(t *testing.T) {
	rules := writeFile(t, "rules.yaml", "rules: []\n", 0o600)
	n := iatptest.Start(t, iatptest.Options{Config: func(c *sidecar.Config) { c.Policy = []string{rules} }})
	if got := n.Post(t, bookNYC, nil).Status; got != 200 {
		t.Fatalf("before: %d", got)
	}
	deny := "rules:\n  - name: NoIdempotentAgents\n    description: only for this test\n    action: deny\n    conditions: {idempotency: [true]}\n"
	if err := os.WriteFile(rules, []byte(deny), 0o600); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return n.Post(t, bookNYC, nil).Status == 403 }) {
		t.Fatal("a changed policy file is not read")
	}
	if p := n.Post(t, bookNYC, nil).Problem(t); !strings.Contains(fmt.Sprint(p["error"]), "NoIdempotentAgents") {
		t.Errorf("the denial does not name its rule: %v", p)
	}
	if err := os.WriteFile(rules, []byte("rules:\n  - name: x\n    action: perhaps\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond)
	if got := n.Post(t, bookNYC, nil).Status; got != 403 {
		t.Errorf("with a broken policy file: %d, want the old rule's 403", got)
	}
	if m := string(n.Get(t, "/metrics", nil).Body); !strings.Contains(m, `iatp_reloads_total{result="refused"}`) {
		t.Error("the refused reload is not counted")
	}
}

func eventually(ok func() bool) bool {
	for range 600 {
		if ok() {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

func configFor(t testing.TB, change func(*sidecar.Config)) sidecar.Config {
	c := sidecar.DefaultConfig()
	c.Listen, c.Data = "127.0.0.1:0", t.TempDir()
	c.Manifest = writeFile(t, "manifest.json", iatptest.Bank, 0o600)
	if change != nil {
		change(&c)
	}
	return c
}

// TestNothingBehindChunksIsRead: a request in chunks that also has a length may
// hide another one. The chunks are what was sent, and nothing behind them is read.
func TestNothingBehindChunksIsRead(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend})
	for _, length := range []string{"", "Content-Length: 5\r\n"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(n.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST /proxy HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", length, len(bookNYC), bookNYC)
		text, err := io.ReadAll(c) // it may end in a reset: something was not read
		c.Close()
		if answers := strings.Count(string(text), "HTTP/1.1 "); answers != 1 || !strings.HasPrefix(string(text), "HTTP/1.1 200 ") || !strings.Contains(string(text), "\r\nConnection: close\r\n") {
			t.Errorf("%q: %d answers, %v: %s", length, answers, err, text)
		}
	}
}

// TestOptionsOfAnotherHost: what a page rebinds gets no answer, whatever it asks.
func TestOptionsOfAnotherHost(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend})
	for host, want := range map[string]int{"evil.example": 421, "localhost": 400} {
		c, err := net.Dial("tcp", strings.TrimPrefix(n.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "OPTIONS * HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("OPTIONS * for %s: %d, want %d", host, resp.StatusCode, want)
		}
	}
}
