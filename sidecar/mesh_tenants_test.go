package sidecar_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// TestTwoTenantsOneTrace has two callers use the same trace id and the same
// idempotency keys at one sidecar, whose agent calls on to a third, in the same
// trace again. What belongs to the one is never that of the other: neither effect,
// answer, money nor mark, and neither can read, close or fetch what is the other's.
func TestTwoTenantsOneTrace(t *testing.T) {
	p1, p2, pb, pc := iatptest.NewParty(t), iatptest.NewParty(t), iatptest.NewParty(t), iatptest.NewParty(t)
	priced := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("IATP-Cost", `"3.00";cur=USD`)
		fmt.Fprint(w, "done")
	})
	c := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: priced, Config: func(c *sidecar.Config) {
		pc.Listen(c)
		c.Peers = map[string]sidecar.Peer{"b": pb.AsPeer("trusted")}
	}})
	var b *iatptest.Node
	var mu sync.Mutex
	n := 0
	onward := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		ticket := n
		mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "ticket %d", ticket)
		if !strings.Contains(string(body), "onward") {
			return
		}
		for range 2 { // the second is more than a budget of five allows
			req, _ := http.NewRequest("POST", b.URL+"/proxy/c", strings.NewReader(bookNYC))
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-Agent-Trace-ID", r.Header.Get("X-Agent-Trace-ID"))
			req.Header.Set("Traceparent", r.Header.Get("Traceparent"))
			req.Header.Set("IATP-Budget", `"3.00";cur=USD`)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			fmt.Fprintf(w, " %d", resp.StatusCode)
		}
	})
	b = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: onward, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"one": p1.AsPeer("trusted"), "two": p2.AsPeer("trusted"), "c": pc.AsPeer("verified_partner"),
			"doubted": {URI: "https://doubted.example", Dial: "127.0.0.1:1"}}
		c.Policy = []string{writeFile(t, "rules.yaml", "rules:\n- name: NoTainted\n  description: none in a marked trace\n  action: deny\n  conditions: {tainted: [true], agent_id: [friend]}\n", 0o600)}
	}})
	tenant := func(p *iatptest.Party) *iatptest.Node {
		return iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
			p.Listen(c)
			c.Peers = map[string]sidecar.Peer{"b": pb.AsPeer("verified_partner")}
		}})
	}
	one, two := tenant(p1), tenant(p2)
	const trace = "5ad1e1ab-4c1d-4e3f-8a5b-6c7d8e9f0a1b"
	call := func(who *iatptest.Node, key, body string, header ...string) *iatptest.Reply {
		h := map[string]string{"X-Agent-Trace-ID": trace, "Idempotency-Key": key}
		for i := 0; i < len(header); i += 2 {
			h[header[i]] = header[i+1]
		}
		return post(t, who, "/proxy/b", body, h)
	}

	// Effects and answers: the same key is two calls, and each repetition one's own.
	first, second := call(one, "same", bookNYC), call(two, "same", bookNYC)
	if string(first.Body) != "ticket 1" || string(second.Body) != "ticket 2" {
		t.Errorf("one key of two tenants: %q and %q; want two effects", first.Body, second.Body)
	}
	for who, want := range map[*iatptest.Node]*iatptest.Reply{one: first, two: second} {
		if again := call(who, "same", bookNYC); string(again.Body) != string(want.Body) || again.Header.Get("Iatp-Receipt") != want.Header.Get("Iatp-Receipt") {
			t.Errorf("a repetition: %q, want %q with the same receipt", again.Body, want.Body)
		}
	}

	// Money: what one has spent is not missing to the other, in the same trace.
	const spend = `{"task":"book","data":{"how":"onward"}}`
	for name, who := range map[string]*iatptest.Node{"one": one, "two": two} {
		r := call(who, "spend", spend, "IATP-Budget", `"5.00";cur=USD`)
		if !strings.HasSuffix(string(r.Body), " 200 422") {
			t.Errorf("tenant %s with a budget of five: %d %q; want one onward call of three, and no second", name, r.Status, r.Body)
		}
	}
	if got := len(c.Agent.Seen()); got != 2 {
		t.Errorf("c was called %d times, want once for each tenant", got)
	}

	// Marks: a session that is open at b for this trace is about a call of b's own.
	own := map[string]string{"X-Agent-Trace-ID": trace}
	post(t, b, "/proxy/doubted", bookNYC, own) // asks
	own["X-User-Override"] = "true"
	if r := post(t, b, "/proxy/doubted", bookNYC, own); r.Header.Get("X-Agent-Quarantined") != "true" {
		t.Fatalf("b overrides: %d %v %s", r.Status, r.Header, r.Body)
	}
	if r := post(t, b, "/proxy/c", bookNYC, map[string]string{"X-Agent-Trace-ID": trace}); r.Header.Get("X-Agent-Quarantined") != "true" {
		t.Error("the next call of b's own agent in this trace is not marked")
	}
	if r := call(one, "marked", bookNYC); r.Status != 200 || !strings.HasPrefix(string(r.Body), "ticket") {
		t.Errorf("a tenant's call in the trace of that session: %d %s; b's rule is for its own calls", r.Status, r.Body)
	}

	// Reads: the trace of b's operator has both, and who calls from outside has none.
	for _, path := range []string{"/trace/" + trace, "/quarantine/" + trace, "/log/bundle?trace=" + trace} {
		resp, err := http.Get(pb.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 404 && resp.StatusCode != 403 {
			t.Errorf("GET %s from outside: %d, want 404, or 403 without a signature", path, resp.StatusCode)
		}
	}
}
