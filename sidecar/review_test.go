package sidecar_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// startLowLiar is startLiar with a peer about which a person is asked.
func startLowLiar(t *testing.T, change func(*sidecar.Config)) (*iatptest.Node, *liar) {
	t.Helper()
	return startLiar(t, func(c *sidecar.Config) {
		p := c.Peers["b"]
		p.MaxLevel = "unknown"
		c.Peers["b"] = p
		if change != nil {
			change(c)
		}
	})
}

// A person who released a call for one dollar did not release it for nine
// thousand.
func TestOverrideIsForTheBudgetThatWasAskedAbout(t *testing.T) {
	a, l := startLowLiar(t, nil)
	budget := func(amount, currency, override string) map[string]string {
		return map[string]string{"IATP-Budget": `"` + amount + `";cur=` + currency, "X-User-Override": override}
	}
	if r := post(t, a, "/proxy/b", bookNYC, budget("1.00", "USD", "")); r.Status != 449 {
		t.Fatalf("the question: %d %s", r.Status, r.Body)
	}
	for _, other := range []map[string]string{budget("9000.00", "USD", "true"), budget("1.00", "EUR", "true"), {"X-User-Override": "true"}} {
		if r := post(t, a, "/proxy/b", bookNYC, other); r.Status != 449 {
			t.Errorf("released with %v: %d, want 449", other, r.Status)
		}
	}
	if n := l.count("/task"); n != 0 {
		t.Errorf("%d calls left, want none", n)
	}
	if r := post(t, a, "/proxy/b", bookNYC, budget("1.00", "USD", "true")); r.Status != 200 {
		t.Errorf("what was asked about: %d %s, want 200", r.Status, r.Body)
	}
}

// Of two peers that say nothing of themselves, each is asked about by itself.
func TestOverrideIsForThePeerThatWasAskedAbout(t *testing.T) {
	var called [2]atomic.Int64
	peers := map[string]sidecar.Peer{}
	for i, name := range []string{"b", "c"} {
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/task" {
				called[i].Add(1)
			}
			http.NotFound(w, r)
		}))
		t.Cleanup(srv.Close)
		cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
		peers[name] = sidecar.Peer{URL: srv.URL, CA: writeFile(t, "ca.pem", string(cert), 0o600)}
	}
	caller := iatptest.NewParty(t)
	a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		caller.Listen(c)
		c.Peers = peers
	}})
	if r := post(t, a, "/proxy/b", bookNYC, nil); r.Status != 449 {
		t.Fatalf("the question about b: %d %s, want 449", r.Status, r.Body)
	}
	yes := map[string]string{"X-User-Override": "true"}
	if r := post(t, a, "/proxy/c", bookNYC, yes); r.Status != 449 || called[1].Load() != 0 {
		t.Errorf("the answer about b, given to c: %d %s, want 449", r.Status, r.Body)
	}
	if post(t, a, "/proxy/b", bookNYC, yes); called[0].Load() != 1 {
		t.Error("the answer about b did not release the call to b")
	}
}

// The doubt about an answer reaches our agent also if the peer named its length.
func TestDoubtAboutLargeAnswerOfKnownLength(t *testing.T) {
	a, l := startLiar(t, nil)
	text := strings.Repeat("x", 100_000)
	l.set(func() {
		l.task = func(w http.ResponseWriter, c *told) {
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			_, _ = io.WriteString(w, text)
		}
	})
	r, trailer := postStream(t, a, nil)
	if string(r.Body) != text || trailer.Get("Iatp-Proof") != "missing" || trailer.Get("X-Agent-Quarantined") != "true" {
		t.Errorf("%d, %d bytes, trailer %v; want the answer, quarantined, its proof missing", r.Status, len(r.Body), trailer)
	}
}

// A caller who does not read his answer is not the agent's fault: a call with a
// key is finished all the same (hardening 27).
func TestCallerDoesNotRead(t *testing.T) {
	const pieces, size = 256, 64 << 10
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range pieces {
			if _, err := w.Write(make([]byte, size)); err != nil {
				return
			}
		}
	})
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: agent, Config: func(c *sidecar.Config) {
		c.Limits.Idle = sidecar.Duration(500 * time.Millisecond)
	}})
	req, _ := http.NewRequest("POST", n.URL+"/proxy", strings.NewReader(bookNYC))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "slow")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var recs []map[string]any
	if !eventually(func() bool { recs = n.Records(t, resp.Header.Get("X-Agent-Trace-Id")); return len(recs) == 2 }) {
		t.Fatal("the call does not end")
	}
	if recs[1]["outcome"] != "executed" || recs[1]["bytes"] != float64(pieces*size) {
		t.Errorf("outcome %v after %v bytes, error %v; want executed after %d", recs[1]["outcome"], recs[1]["bytes"], recs[1]["error"], pieces*size)
	}
}

// An attempt after one that broke off has until the deadline, no longer.
func TestSecondAttemptEndsAtTheDeadline(t *testing.T) {
	var calls atomic.Int64
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "part")
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // or net/http does not see the caller leave
		<-r.Context().Done()
	})
	n := iatptest.Start(t, iatptest.Options{Manifest: idempotent, Agent: agent, Config: func(c *sidecar.Config) {
		c.Limits.Deadline, c.Limits.Idle = sidecar.Duration(300*time.Millisecond), sidecar.Duration(20*time.Second)
	}})
	began := time.Now()
	r := n.Post(t, bookNYC, nil)
	if took := time.Since(began); r.Status != 504 || took > 5*time.Second || calls.Load() != 2 {
		t.Errorf("%d after %s and %d attempts: %s; want 504 after 300ms and 2", r.Status, took, calls.Load(), r.Body)
	}
	if e := fmt.Sprint(r.Problem(t)["error"]); !strings.Contains(e, "deadline") {
		t.Errorf("error %q, want the deadline", e)
	}
}

// In HTTP/1.0 an answer may end where its connection ends: one that broke off
// must not end like that.
func TestBrokenAnswerToHTTP10(t *testing.T) {
	url, _ := hostileAgent(t,
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n")
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, AgentURL: url})
	for _, want := range []error{syscall.ECONNRESET, nil} {
		c, err := net.Dial("tcp", strings.TrimPrefix(n.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST /proxy HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(bookNYC), bookNYC)
		answer, err := io.ReadAll(c)
		c.Close()
		if !errors.Is(err, want) || want == nil && !strings.HasSuffix(string(answer), "\r\n\r\nwhole") {
			t.Errorf("answer %q, error %v; want %v", answer, err, want)
		}
	}
}

// A status that is none is not passed on, nor taken for an effect (hardening 39).
func TestStatusThatIsNone(t *testing.T) {
	for _, status := range []string{"000", "099", "600", "999"} {
		url, _ := hostileAgent(t, "HTTP/1.1 "+status+" Odd\r\nContent-Length: 2\r\n\r\n{}")
		n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, AgentURL: url})
		r := n.Post(t, bookNYC, nil)
		if r.Status != 502 || last(t, n, r)["outcome"] != "unknown" || last(t, n, r)["error"] != "protocol" {
			t.Errorf("%s: %d, record %v; want 502, a protocol error, outcome unknown", status, r.Status, last(t, n, r))
		}
	}
}

// The receipt says of a 304 what reaches the caller, which is no type.
func TestNotModifiedIsProven(t *testing.T) {
	a, _ := iatptest.Pair(t, func(a, b *iatptest.Options) {
		b.AgentURL, _ = hostileAgent(t, "HTTP/1.1 304 Not Modified\r\nContent-Type: text/plain\r\n\r\n")
	})
	if r := post(t, a, "/proxy/b", bookNYC, nil); r.Status != 304 || r.Header.Get("Iatp-Proof") != "" || r.Header.Get("Iatp-Receipt") == "" {
		t.Errorf("%d %v; want 304 with a receipt that holds", r.Status, r.Header)
	}
}

// A repetition is answered with the same bytes, and says the same of them.
func TestRepetitionKeepsTheEncoding(t *testing.T) {
	a, b := iatptest.Pair(t, func(a, b *iatptest.Options) {
		b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "br")
			fmt.Fprint(w, "\x0b\x02\x80hello\x03")
		})
	})
	key := map[string]string{"Idempotency-Key": "packed"}
	first, again := post(t, a, "/proxy/b", bookNYC, key), post(t, a, "/proxy/b", bookNYC, key)
	if n := len(b.Agent.Seen()); n != 1 || first.Header.Get("Content-Encoding") != "br" || again.Header.Get("Content-Encoding") != "br" || string(first.Body) != string(again.Body) {
		t.Errorf("%d calls, %v %q, then %v %q; want 1 and the same twice", n, first.Header, first.Body, again.Header, again.Body)
	}
}

// A call that a reload overtakes is proven under the manifest that it was
// assessed by, not the one in force when it ends.
func TestReceiptIsOfTheManifestAssessed(t *testing.T) {
	arrived, finish := make(chan struct{}), make(chan struct{})
	var cfg sidecar.Config
	a, b := iatptest.Pair(t, func(a, b *iatptest.Options) {
		b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-finish
			fmt.Fprint(w, "done")
		})
		b.Manifest = undoable
		configure := b.Config
		b.Config = func(c *sidecar.Config) { configure(c); c.AllowUnbackedClaims = true; cfg = *c }
	})
	answer := make(chan *iatptest.Reply)
	go func() { answer <- post(t, a, "/proxy/b", bookNYC, nil) }()
	<-arrived
	cfg.Manifest = writeFile(t, "manifest.json", iatptest.Friend, 0o600)
	if _, err := b.Sidecar.Reload(cfg); err != nil {
		t.Error(err)
	}
	close(finish)
	r := <-answer
	if r.Status != 200 || r.Header.Get("Iatp-Proof") != "" || last(t, a, r)["outcome"] != "executed" {
		t.Errorf("%d %v, record %v; want a receipt that holds", r.Status, r.Header, last(t, a, r))
	}
}

const undoable = `{"identity":{"agent_id":"friend"},"trust_level":"verified_partner",` +
	`"reversibility":{"level":"full","undo_window":"1h"},"privacy":{"retention_policy":"temporary"}}`
