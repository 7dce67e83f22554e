package sidecar_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

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
