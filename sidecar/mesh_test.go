package sidecar_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

func post(t *testing.T, n *iatptest.Node, path, body string, header map[string]string) *iatptest.Reply {
	t.Helper()
	return n.Do(t, "POST", path, strings.NewReader(body), header)
}

func TestPeerIsCalledAndProves(t *testing.T) {
	a, b := iatptest.Pair(t, nil)
	r := post(t, a, "/proxy/b", bookNYC, map[string]string{"Authorization": "Bearer mine", "Accept": "application/json"})
	if r.Status != 200 || r.Header.Get("IATP-From") != "peer" || r.Header.Get("X-Agent-Trust-Score") != "10" {
		t.Fatalf("%d %v %s; want 200 from peer, score 10", r.Status, r.Header, r.Body)
	}
	if r.Header.Get("IATP-Receipt") == "" || r.Header.Get("IATP-Proof") != "" || r.Header.Get("X-Agent-Quarantined") != "" {
		t.Errorf("headers %v; want a receipt and no doubt", r.Header)
	}
	seen := b.Agent.Seen()
	if len(seen) != 1 || string(seen[0].Body) != bookNYC {
		t.Fatalf("b's agent saw %+v", seen)
	}
	for _, name := range []string{"Authorization", "Signature", "Signature-Input", "Iatp-Manifest", "Iatp-Deadline"} {
		if v := seen[0].Header.Get(name); v != "" {
			t.Errorf("%s: %s reached b's agent", name, v)
		}
	}
	id := r.Header.Get("X-Agent-Trace-ID")
	out, in := a.Records(t, id), b.Records(t, id)
	if types := iatptest.Types(out); types != "request forward response" || out[2]["outcome"] != "executed" || out[2]["receipt"] == nil {
		t.Errorf("a's records: %s %v", types, out)
	}
	if types := iatptest.Types(in); types != "request response" || in[0]["dir"] != "in" || in[0]["peer"] == nil || out[2]["receipt"] != in[1]["receipt"] || out[1]["base"] != in[0]["base"] {
		t.Errorf("b's records: %s %v", types, in)
	}
	if len(a.Agent.Seen()) != 0 {
		t.Error("a's own agent was called")
	}
}

// The same key is executed once, whoever repeats the call.
func TestPeerExecutesAKeyOnce(t *testing.T) {
	a, b := iatptest.Pair(t, nil)
	key := map[string]string{"Idempotency-Key": "book-1"}
	first := post(t, a, "/proxy/b", bookNYC, key)
	again := post(t, a, "/proxy/b", bookNYC, key)
	if first.Status != 200 || again.Status != 200 || string(first.Body) != string(again.Body) {
		t.Errorf("%d %s, then %d %s", first.Status, first.Body, again.Status, again.Body)
	}
	if r := post(t, a, "/proxy/b", strings.Replace(bookNYC, "NYC", "LON", 1), key); r.Status != 422 {
		t.Errorf("another request with the key: %d, want 422: %s", r.Status, r.Body)
	}
	if n := len(b.Agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want 1", n)
	}
}

// What the peer promises is judged as for the wrapped agent: blocked, asked,
// overridden.
func TestPeerIsJudged(t *testing.T) {
	a, b := iatptest.Pair(t, func(a, b *iatptest.Options) { b.Manifest = iatptest.Honeypot })
	if r := post(t, a, "/proxy/b", bookCard, map[string]string{"X-User-Override": "true"}); r.Status != 403 {
		t.Errorf("card: %d, want 403", r.Status)
	}
	if r := post(t, a, "/proxy/b", bookNYC, nil); r.Status != 449 || r.Header.Get("X-Agent-Trust-Score") != "0" {
		t.Errorf("clean: %d, score %s; want 449, 0", r.Status, r.Header.Get("X-Agent-Trust-Score"))
	}
	if len(b.Agent.Seen()) != 0 {
		t.Fatal("a refused call reached b's agent")
	}
	r := post(t, a, "/proxy/b", bookNYC, map[string]string{"X-User-Override": "true"})
	// b's own rules judge b's own manifest: it would ask, and nobody is there.
	if r.Status != 403 || r.Header.Get("X-Agent-Quarantined") != "true" {
		t.Errorf("override: %d %v %s", r.Status, r.Header, r.Body)
	}
}

// A stranger that claims everything gets a 449, and 5 at most.
func TestUnvouchedPeerScoresLow(t *testing.T) {
	pb := iatptest.NewParty(t)
	pa := iatptest.NewParty(t)
	b := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Bank, Config: pb.Listen})
	a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pa.Listen(c)
		p := pb.AsPeer("")
		c.Peers = map[string]sidecar.Peer{"b": p}
	}})
	r := post(t, a, "/proxy/b", bookNYC, nil)
	// A pin without a level supports standard at most, with the bonuses (E2).
	if r.Header.Get("X-Agent-Trust-Score") != "8" {
		t.Errorf("pinned: score %s, want 8 (standard 5, undo +2, ephemeral +1)", r.Header.Get("X-Agent-Trust-Score"))
	}
	if r.Status != 403 { // b does not know a
		t.Errorf("b let a stranger in: %d %s", r.Status, r.Body)
	}
	if len(b.Agent.Seen()) != 0 {
		t.Error("a stranger's call reached b's agent")
	}
}

func TestPublicListenerRefusesUnsigned(t *testing.T) {
	pb := iatptest.NewParty(t)
	b := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: pb.Listen})
	do := func(method, path string) int {
		req, _ := http.NewRequest(method, pb.URL+path, strings.NewReader(""))
		if method == "POST" {
			req, _ = http.NewRequest(method, pb.URL+path, strings.NewReader(bookNYC))
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for request, want := range map[string]int{
		"POST /task": 403, "POST /proxy": 403, "POST /transactions/close": 403, "POST /agreements": 403, "POST /compensate/tx_x": 403,
		"GET /agreements/x": 403, "GET /receipts/rcpt_x": 403, "GET /transactions/tx_x": 403, "GET /log/seen": 403, "GET /log/proof?index=0": 403,
		"GET /trace": 404, "GET /metrics": 404, "GET /quarantine/x": 404, "POST /sagas": 404, "GET /log/bundle": 403, "GET /log/export": 403,
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := do(method, path); got != want {
			t.Errorf("%s = %d, want %d", request, got, want)
		}
	}
	for _, path := range []string{"/.well-known/agent-manifest", "/capabilities", "/.well-known/http-message-signatures-directory", "/.well-known/jwks.json", "/health", "/log/checkpoint"} {
		if got := do("GET", path); got != 200 {
			t.Errorf("GET %s = %d, want 200", path, got)
		}
	}
	resp, err := http.Post(pb.URL+"/task", "application/json", strings.NewReader(bookNYC))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !strings.Contains(resp.Header.Get("Accept-Signature"), `tag="iatp-v1"`) {
		t.Errorf("the refusal does not say what to sign: %v", resp.Header)
	}
	if len(b.Agent.Seen()) != 0 {
		t.Error("an unsigned call reached the agent")
	}
}

// After a failure the caller asks, and the answer stays true: nothing was
// executed with the key, and a late arrival of the call is refused.
func TestUnknownFateIsAskedFor(t *testing.T) {
	gate := make(chan struct{})
	defer close(gate)
	a, b := iatptest.Pair(t, func(a, b *iatptest.Options) {
		b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-gate:
			case <-r.Context().Done():
			}
		})
		inner := a.Config
		a.Config = func(c *sidecar.Config) {
			inner(c)
			c.Limits.Deadline = sidecar.Duration(500 * time.Millisecond)
		}
	})
	r := post(t, a, "/proxy/b", bookNYC, map[string]string{"Idempotency-Key": "slow-1"})
	if p := r.Problem(t); r.Status != 504 || p["outcome"] != "unknown" {
		t.Errorf("a call that hangs at b: %d %v; want 504, outcome unknown", r.Status, p)
	}
	if n := len(b.Agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want 1", n)
	}
}

// A request that is lost on its way is asked for, and proven not executed.
func TestLostRequestIsProvenNotExecuted(t *testing.T) {
	var drop atomic.Bool
	pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
	front := lossyFront(t, pb, &drop)
	b := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}
	}})
	a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pa.Listen(c)
		p := pb.AsPeer("verified_partner")
		p.URI, p.URL, p.Dial = p.URL, "", front
		c.Peers = map[string]sidecar.Peer{"b": p}
	}})
	if r := post(t, a, "/proxy/b", bookNYC, nil); r.Status != 200 {
		t.Fatalf("through the front: %d %s", r.Status, r.Body)
	}
	drop.Store(true)
	r := post(t, a, "/proxy/b", bookNYC, map[string]string{"Idempotency-Key": "lost-1"})
	if p := r.Problem(t); r.Status != 502 || p["outcome"] != "none" || r.Header.Get("IATP-Receipt") == "" {
		t.Fatalf("a lost call: %d %v; want 502, outcome none, with the receipt that proves it", r.Status, p)
	}
	drop.Store(false)
	r = post(t, a, "/proxy/b", bookNYC, map[string]string{"Idempotency-Key": "lost-1"})
	if p := r.Problem(t); r.Status != 409 || !strings.HasSuffix(fmt.Sprint(p["type"]), "key-closed") {
		t.Errorf("the call, late: %d %v; want 409 key-closed", r.Status, p)
	}
	if n := len(b.Agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want once", n)
	}
}

// lossyFront passes connections on to a party. While drop is set, it swallows
// every POST /task and resets the connection.
func lossyFront(t *testing.T, p *iatptest.Party, drop *atomic.Bool) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := strings.TrimPrefix(p.URL, "http://")
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: to})
		r.Out.Host = r.In.Host
	}}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if drop.Load() && r.URL.Path == "/task" {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return ln.Addr().String()
}

// A budget is reserved, spent as the receipt says, and never passed on beyond
// what is left: a chain a -> b -> c cannot spend more than a gave.
func TestBudget(t *testing.T) {
	pa, pb, pc := iatptest.NewParty(t), iatptest.NewParty(t), iatptest.NewParty(t)
	costs := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("IATP-Cost", `"3.00";cur=USD`)
		fmt.Fprint(w, "done")
	})
	c := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: costs, Config: func(c *sidecar.Config) {
		pc.Listen(c)
		c.Peers = map[string]sidecar.Peer{"b": pb.AsPeer("trusted")}
	}})
	var b *iatptest.Node
	onward := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, _ := http.NewRequest("POST", b.URL+"/proxy/c", strings.NewReader(bookNYC))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Traceparent", r.Header.Get("Traceparent")) // as any tracing library does
		var statuses []string
		for range 2 {
			again := req.Clone(r.Context())
			again.Body = io.NopCloser(strings.NewReader(bookNYC))
			again.Header.Set("IATP-Budget", `"3.00";cur=USD`)
			resp, err := http.DefaultClient.Do(again)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			statuses = append(statuses, fmt.Sprint(resp.StatusCode))
		}
		w.Header().Set("IATP-Cost", `"3.00";cur=USD`)
		fmt.Fprint(w, strings.Join(statuses, " "))
	})
	b = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: onward, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted"), "c": pc.AsPeer("verified_partner")}
	}})
	a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pa.Listen(c)
		c.Peers = map[string]sidecar.Peer{"b": pb.AsPeer("verified_partner")}
	}})
	r := post(t, a, "/proxy/b", bookNYC, map[string]string{"IATP-Budget": `"5.00";cur=USD`})
	if r.Status != 200 || string(r.Body) != "200 422" || r.Header.Get("IATP-Proof") != "" {
		t.Errorf("%d %s %v; want the second onward call refused: 3 of 5 are spent", r.Status, r.Body, r.Header)
	}
	if n := len(c.Agent.Seen()); n != 1 {
		t.Errorf("c's agent was called %d times, want 1", n)
	}
	if h := b.Agent.Seen()[0].Header.Get("IATP-Budget"); h != "" {
		t.Errorf("IATP-Budget: %s reached b's agent", h)
	}
	if r := post(t, a, "/proxy/b", bookNYC, map[string]string{"IATP-Budget": "5 dollars"}); r.Status != 400 {
		t.Errorf("a budget that cannot be read: %d, want 400", r.Status)
	}
}

// A redirect from a peer does not lead our agent past its sidecar, and an
// answer that ends with its connection is not called whole.
func TestAnswersThatLeadAstray(t *testing.T) {
	a, _ := iatptest.Pair(t, func(a, b *iatptest.Options) {
		b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", http.StatusTemporaryRedirect)
		})
	})
	if r := post(t, a, "/proxy/b", bookNYC, nil); r.Status != 307 || r.Header.Get("Location") != "" {
		t.Errorf("redirect: %d to %q; want no Location", r.Status, r.Header.Get("Location"))
	}
	url, _ := hostileAgent(t, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhalf of i")
	a, b := iatptest.Pair(t, func(a, b *iatptest.Options) { b.AgentURL = url })
	r := post(t, a, "/proxy/b", bookNYC, nil)
	id := r.Header.Get("X-Agent-Trace-ID")
	for _, n := range []*iatptest.Node{a, b} {
		recs := n.Records(t, id)
		if last := recs[len(recs)-1]; last["outcome"] != "unknown" {
			t.Errorf("an answer without a length: record %v, want outcome unknown", last)
		}
	}
}

// A person's word is for this peer and this budget, not for another.
func TestOverrideIsForOnePeerAndOneBudget(t *testing.T) {
	pa := iatptest.NewParty(t)
	one, two := iatptest.NewParty(t), iatptest.NewParty(t)
	for _, p := range []*iatptest.Party{one, two} {
		iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: p.Listen})
	}
	a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pa.Listen(c)
		c.Peers = map[string]sidecar.Peer{"one": one.AsPeer(""), "two": two.AsPeer("")}
	}})
	ask := func(peer string, header ...string) *iatptest.Reply {
		h := map[string]string{}
		for i := 0; i < len(header); i += 2 {
			h[header[i]] = header[i+1]
		}
		return post(t, a, "/proxy/"+peer, bookNYC, h)
	}
	if r := ask("one", "IATP-Budget", `"5.00";cur=USD`); r.Status != 449 { // pinned, no level: standard
		t.Fatalf("a pinned peer: %d %s, want 449", r.Status, r.Body)
	}
	for _, h := range [][]string{{"IATP-Budget", `"5000.00";cur=USD`}, {"IATP-Budget", `"5.00";cur=EUR`}, nil} {
		if r := ask("one", append(h, "X-User-Override", "true")...); r.Status != 449 {
			t.Errorf("another budget %v: %d, want 449", h, r.Status)
		}
	}
	if r := ask("two", "IATP-Budget", `"5.00";cur=USD`, "X-User-Override", "true"); r.Status != 449 {
		t.Errorf("another peer: %d, want 449", r.Status)
	}
	// What was asked about passes our side; the peer does not know us.
	if r := ask("one", "IATP-Budget", `"5.00";cur=USD`, "X-User-Override", "true"); r.Status != 403 || r.Header.Get("X-Agent-Quarantined") != "true" {
		t.Errorf("the call that was asked about: %d %s", r.Status, r.Body)
	}
}
