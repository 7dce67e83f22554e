package sidecar_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// The log of one side fails while b's agent works. What cannot be recorded is neither
// answered nor proven: no receipt leaves, nobody is told that nothing was done, and
// nothing is let in any more.
func TestLogFailsDuringACall(t *testing.T) {
	for _, who := range []string{"caller", "callee"} {
		t.Run(who, func(t *testing.T) {
			pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
			var a, b *iatptest.Node
			breaks := func(w http.ResponseWriter, r *http.Request) {
				map[string]*iatptest.Node{"caller": a, "callee": b}[who].Sidecar.BreakLog()
				iatptest.Echo(w, r)
			}
			b = iatptest.Start(endsBroken{t}, iatptest.Options{Manifest: iatptest.Friend, Agent: http.HandlerFunc(breaks), Config: func(c *sidecar.Config) {
				pb.Listen(c)
				c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}
			}})
			a = iatptest.Start(endsBroken{t}, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
				pa.Listen(c)
				c.Peers = map[string]sidecar.Peer{"b": pb.AsPeer("verified_partner")}
			}})
			r := post(t, a, "/proxy/b", bookNYC, nil)
			if r.Status != http.StatusServiceUnavailable || r.Header.Get("Iatp-Receipt") != "" || r.Problem(t)["outcome"] != "executed" {
				t.Errorf("%d %s, receipt %q; want 503, executed, and no receipt", r.Status, r.Body, r.Header.Get("Iatp-Receipt"))
			}
			if end := last(t, a, r); who == "callee" && end["outcome"] != "unknown" {
				t.Errorf("a's last record is %v, want the outcome unknown", end)
			}
			if r := post(t, a, "/proxy/b", bookNYC, nil); r.Status != http.StatusServiceUnavailable || r.Header.Get("Iatp-Receipt") != "" {
				t.Errorf("the next call: %d %s, want 503 without a receipt", r.Status, r.Body)
			}
			if n := len(b.Agent.Seen()); n != 1 {
				t.Errorf("b's agent was called %d times, want 1", n)
			}
		})
	}
}

// The answer to a call is lost, and the answer to the question what became of it. When
// the saga of the call is over a asks again: what it learns then settles the money.
func TestMoneyOfALostAnswer(t *testing.T) {
	p := wired(t, func(_, b *iatptest.Options) {
		b.Agent = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("IATP-Cost", `"3.00";cur=USD`)
			fmt.Fprint(w, "done")
		})
	})
	saga := openSaga(t, p.a, "")
	p.tap(nil, func([]byte) []byte { return nil })
	r := p.a.Do(t, "POST", "/proxy/b", strings.NewReader(bookNYC), map[string]string{"Iatp-Saga": saga.ID, "Iatp-Budget": `"5.00";cur=USD`})
	if r.Status != http.StatusBadGateway || r.Problem(t)["outcome"] != "unknown" {
		t.Fatalf("%d %s, want 502 and unknown", r.Status, r.Body)
	}
	if spend, _ := last(t, p.a, r)["spend"].(map[string]any); spend != nil {
		t.Errorf("the end of the call settles its money: %v", spend)
	}
	p.tap(nil, nil)
	cancel(t, p.a, saga.ID)
	trace := r.Header.Get("X-Agent-Trace-Id")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		for _, line := range p.a.Records(t, trace) {
			if line["reason"] != "learned_later" {
				continue
			}
			spend, _ := line["spend"].(map[string]any)
			if line["type"] != "response" || line["outcome"] != "executed" || spend["step"] != "spent" || spend["amount"] != "3.00" {
				t.Errorf("learned later: %v, want executed and 3.00 spent", line)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nothing was learned later: %s", iatptest.Types(p.a.Records(t, trace)))
		}
	}
}
