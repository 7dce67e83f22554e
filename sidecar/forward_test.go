package sidecar_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// hostileAgent answers each connection with the bytes of script, after it has
// read the request; "" resets the connection.
func hostileAgent(t *testing.T, script ...string) (url string, calls *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	calls = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n := int(calls.Add(1)) - 1
			if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
			}
			answer := script[min(n, len(script)-1)]
			if answer == "" {
				_ = c.(*net.TCPConn).SetLinger(0)
			} else {
				_, _ = io.WriteString(c, answer)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return "http://" + ln.Addr().String(), calls
}

const idempotent = `{"identity":{"agent_id":"friend"},"trust_level":"verified_partner","capabilities":{"idempotency":true},"privacy":{"retention_policy":"temporary"}}`

func TestAgentFailures(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	tests := []struct {
		name     string
		manifest string
		script   []string
		status   int
		outcome  string
		calls    int64
		strategy string
	}{
		{"reset", iatptest.Friend, []string{""}, 502, "unknown", 1, "give_up"},
		{"reset, idempotent, then well", idempotent, []string{"", ok}, 200, "", 2, ""},
		{"reset for ever, idempotent", idempotent, []string{""}, 502, "unknown", 4, "give_up"},
		{"shorter than it says", iatptest.Friend, []string{"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}"}, 502, "unknown", 1, "give_up"},
		{"longer than it says", iatptest.Friend, []string{ok + "surplus"}, 200, "", 1, ""},
		{"not HTTP", iatptest.Friend, []string{"SSH-2.0-OpenSSH_9.2\r\n"}, 502, "unknown", 1, "give_up"},
		{"switching protocols", iatptest.Friend, []string{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"}, 502, "unknown", 1, "give_up"},
		{"a head without end", iatptest.Friend, []string{"HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 100) + "\r\n"}, 502, "unknown", 1, "give_up"},
		{"a redirect is passed on", iatptest.Friend, []string{"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"}, 302, "", 1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url, calls := hostileAgent(t, tt.script...)
			n := iatptest.Start(t, iatptest.Options{Manifest: tt.manifest, AgentURL: url})
			r := n.Post(t, bookNYC, nil)
			if r.Status != tt.status || calls.Load() != tt.calls {
				t.Fatalf("%d after %d calls, want %d after %d: %s", r.Status, calls.Load(), tt.status, tt.calls, r.Body)
			}
			recs := n.Records(t, r.Header.Get("X-Agent-Trace-ID"))
			if tt.outcome == "" {
				if types := iatptest.Types(recs); types != "request response" {
					t.Errorf("records %s", types)
				}
				return
			}
			p := r.Problem(t)
			rec, _ := p["recovery"].(map[string]any)
			if p["outcome"] != tt.outcome || rec["strategy"] != tt.strategy || rec["success"] != false || rec["actions_taken"] == nil {
				t.Errorf("problem %v; want outcome %s, recovery by %s", p, tt.outcome, tt.strategy)
			}
			if types := iatptest.Types(recs); types != "request error" || recs[1]["outcome"] != tt.outcome {
				t.Errorf("records %s, %v", types, recs)
			}
		})
	}
}

func TestAgentDown(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, AgentURL: "http://" + closedPort(t)})
	p := n.Post(t, bookNYC, nil).Problem(t)
	if p["status"] != 502.0 || p["outcome"] != "none" {
		t.Errorf("problem %v; want 502, outcome none: not a byte was sent", p)
	}
	if r := n.Get(t, "/ready", nil); r.Status != 503 {
		t.Errorf("GET /ready with the agent down: %d, want 503", r.Status)
	}
	if r := n.Get(t, "/health", nil); r.Status != 200 {
		t.Errorf("GET /health with the agent down: %d, want 200", r.Status)
	}
}

func closedPort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestDeadlineAndIdle(t *testing.T) {
	release := make(chan struct{})
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "stall") {
			w.WriteHeader(200)
			fmt.Fprint(w, "first")
			w.(http.Flusher).Flush()
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: agent, Config: func(c *sidecar.Config) {
		c.Limits.Deadline, c.Limits.Idle = sidecar.Duration(300*time.Millisecond), sidecar.Duration(300*time.Millisecond)
	}})
	defer close(release)
	r := n.Post(t, bookNYC, nil)
	if p := r.Problem(t); r.Status != 504 || p["outcome"] != "unknown" || p["recovery"] == nil {
		t.Errorf("silent agent: %d %v; want 504, outcome unknown", r.Status, p)
	}
	req, _ := http.NewRequest("POST", n.URL+"/proxy", strings.NewReader(`{"task":"stall"}`))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Agent-Trace-ID", "stalled")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("an answer that stalled was ended as if it were whole: %q", b)
	}
	recs := n.Records(t, "stalled")
	if types := iatptest.Types(recs); types != "request error" || recs[1]["outcome"] != "unknown" {
		t.Errorf("records %v", recs)
	}
}

// Events arrive one by one, and the response is in the book before the end.
func TestStreamsPassWithoutDelay(t *testing.T) {
	next := make(chan string)
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.(http.Flusher).Flush()
		for e := range next {
			fmt.Fprintf(w, "data: %s\n\n", e)
			w.(http.Flusher).Flush()
		}
	})
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: agent})
	req, _ := http.NewRequest("POST", n.URL+"/proxy", strings.NewReader(bookNYC))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("Access-Control-Allow-Origin") != "" ||
		resp.Header.Get("Content-Security-Policy") != "sandbox" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the answer's head lets it act in a browser: %v", resp.Header)
	}
	in := bufio.NewReader(resp.Body)
	for _, e := range []string{"one", "card 4532-0151-", "1283-0366 split"} {
		next <- e
		if line, err := in.ReadString('\n'); err != nil || line != "data: "+e+"\n" {
			t.Fatalf("event %q, %v; want %q at once", line, err, e)
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(in); err != nil || len(rest) != 0 {
		t.Fatalf("rest %q, %v", rest, err)
	}
	recs := n.Records(t, resp.Header.Get("X-Agent-Trace-ID"))
	if types := iatptest.Types(recs); types != "request response" || !strings.Contains(fmt.Sprint(recs[1]["payload"]), "data: one") {
		t.Errorf("records %v", recs)
	}
}

func TestLargeAnswersStreamThrough(t *testing.T) {
	const size = 5 << 20
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if r.Header.Get("Accept") == "known" {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		chunk := strings.Repeat("0123456789abcdef", 1024)
		for sent := 0; sent < size; sent += len(chunk) {
			_, _ = io.WriteString(w, chunk)
		}
	})
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: agent})
	for _, accept := range []string{"known", "chunked"} {
		r := n.Post(t, bookNYC, map[string]string{"Accept": accept})
		if r.Status != 200 || len(r.Body) != size {
			t.Fatalf("%s: %d, %d bytes; want %d", accept, r.Status, len(r.Body), size)
		}
		recs := n.Records(t, r.Header.Get("X-Agent-Trace-ID"))
		if len(recs) != 2 || recs[1]["bytes"] != float64(size) || recs[1]["truncated"] != true {
			t.Errorf("%s: records %v", accept, recs)
		}
	}
}

// A caller who leaves cancels the call, unless it has a key (hardening 27).
func TestCallerHangsUp(t *testing.T) {
	for _, key := range []string{"", "pay-1"} {
		t.Run("key="+key, func(t *testing.T) {
			arrived, finish, canceled := make(chan struct{}), make(chan struct{}), make(chan struct{})
			agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				select {
				case <-finish:
					fmt.Fprint(w, "done")
				case <-r.Context().Done():
					close(canceled)
				}
			})
			n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: agent})
			ctx, hangUp := context.WithCancel(t.Context())
			req, _ := http.NewRequestWithContext(ctx, "POST", n.URL+"/proxy", strings.NewReader(bookNYC))
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-Agent-Trace-ID", "gone")
			if key != "" {
				req.Header.Set("Idempotency-Key", key)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				if resp, err := http.DefaultClient.Do(req); err == nil {
					resp.Body.Close()
				}
			}()
			<-arrived
			hangUp()
			<-done
			want, outcome := "request error", "unknown"
			if key == "" {
				select {
				case <-canceled:
				case <-time.After(10 * time.Second):
					t.Fatal("the agent was not told that the caller left")
				}
			} else {
				time.Sleep(50 * time.Millisecond) // long enough for a wrong cancel to arrive
				close(finish)
				want, outcome = "request response", "executed"
			}
			var recs []map[string]any
			for range 3000 {
				if recs = n.Records(t, "gone"); len(recs) == 2 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if types := iatptest.Types(recs); types != want || recs[1]["outcome"] != outcome {
				t.Errorf("records %v; want %s, outcome %s", recs, want, outcome)
			}
		})
	}
}

func TestConcurrencyLimitOfTheManifest(t *testing.T) {
	arrived, finish := make(chan struct{}, 8), make(chan struct{})
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-finish
	})
	manifest := strings.Replace(iatptest.Friend, `"reversibility"`, `"capabilities":{"concurrency_limit":2},"reversibility"`, 1)
	n := iatptest.Start(t, iatptest.Options{Manifest: manifest, Agent: agent})
	statuses := make(chan int, 2)
	for range 2 {
		go func() { statuses <- n.Post(t, bookNYC, nil).Status }()
		<-arrived
	}
	r := n.Post(t, bookNYC, nil)
	if r.Status != 429 || r.Header.Get("Retry-After") == "" {
		t.Errorf("third call: %d, Retry-After %q; want 429 with one", r.Status, r.Header.Get("Retry-After"))
	}
	if types := iatptest.Types(n.Records(t, r.Header.Get("X-Agent-Trace-ID"))); types != "" {
		t.Errorf("records of a call that got no place: %s", types)
	}
	close(finish)
	for range 2 {
		if got := <-statuses; got != 200 {
			t.Errorf("call inside the limit: %d", got)
		}
	}
	if r := n.Post(t, bookNYC, nil); r.Status != 200 {
		t.Errorf("after the others ended: %d", r.Status)
	}
}

func TestSLABreachIsRecordedNotCut(t *testing.T) {
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { time.Sleep(20 * time.Millisecond) })
	manifest := strings.Replace(iatptest.Friend, `"reversibility"`, `"capabilities":{"sla_latency_ms":1},"reversibility"`, 1)
	n := iatptest.Start(t, iatptest.Options{Manifest: manifest, Agent: agent})
	r := n.Post(t, bookNYC, nil)
	recs := n.Records(t, r.Header.Get("X-Agent-Trace-ID"))
	if r.Status != 200 || len(recs) != 2 || recs[1]["sla_breach"] != true {
		t.Errorf("%d, records %v; want 200 and a recorded breach", r.Status, recs)
	}
	if m := string(n.Get(t, "/metrics", nil).Body); !strings.Contains(m, "iatp_sla_breaches_total 1") {
		t.Error("the breach is not counted")
	}
}
