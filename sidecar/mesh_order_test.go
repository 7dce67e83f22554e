package sidecar_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/internal/httpsig"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// inForce is the IATP-Manifest of a call on the manifest that a node serves now.
func inForce(t testing.TB, n *iatptest.Node) string {
	t.Helper()
	m, err := iatp.ParseManifest(n.Get(t, "/capabilities", nil).Body)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := m.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(digest, "sha-256=")
}

// says sends a request that the party has signed itself, without a sidecar. With
// a method that is not safe it has a body and a key. change has the last word
// before it is signed, spoil after.
func says(t testing.TB, who *iatptest.Party, method, url, body string, change, spoil func(http.Header)) *iatptest.Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {"test"}}
	if method != http.MethodGet {
		h.Set("Content-Type", "application/json")
		h.Set("Content-Digest", iatp.DigestOf([]byte(body)).ContentDigest())
		h.Set("Idempotency-Key", iatp.FormatIdempotencyKey(rand.Text()))
	}
	if change != nil {
		change(h)
	}
	var nonce [16]byte
	rand.Read(nonce[:])
	signer := httpsig.Signer{Key: who.Key, Agent: who.URL}
	if _, err := signer.Sign(&httpsig.Message{Method: method, TargetURI: url, Header: h}, time.Now(), time.Now().Add(time.Minute), base64.RawURLEncoding.EncodeToString(nonce[:])); err != nil {
		t.Fatal(err)
	}
	if spoil != nil {
		spoil(h)
	}
	req.Header = h
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &iatptest.Reply{Status: resp.StatusCode, Header: resp.Header, Body: text}
}

// slugOf is the kind of a problem, "" if the answer is none.
func slugOf(t testing.TB, r *iatptest.Reply) string {
	t.Helper()
	if r.Header.Get("Content-Type") != iatp.ProblemContentType {
		return ""
	}
	kind := fmt.Sprint(r.Problem(t)["type"])
	return kind[strings.LastIndexByte(kind, '/')+1:]
}

// held is an agent that keeps its callers waiting until it is let go.
type held struct {
	inside chan struct{}
	leave  chan struct{}
	once   sync.Once
}

func newHeld() *held { return &held{inside: make(chan struct{}, 64), leave: make(chan struct{})} }

func (h *held) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.inside <- struct{}{}
	<-h.leave
	_, _ = io.WriteString(w, "done")
}

func (h *held) letGo() { h.once.Do(func() { close(h.leave) }) }

// Places are for callers that have proven who they are: when none is left, a
// request that proves nothing is told what is wrong with it, and not that there is
// no place, which it would have taken if there had been one.
func TestPlacesAreForTheVerified(t *testing.T) {
	agent := newHeld()
	defer agent.letGo()
	pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
	iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: pa.Listen})
	b := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: agent, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}
		c.Limits.Concurrency, c.Limits.Wait = 1, 0
	}})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer agent.letGo()
	wg.Go(func() { b.Post(t, bookNYC, nil) })
	<-agent.inside // the one place is taken
	forged := func(h http.Header) {
		h.Set("Signature", "iatp=:"+base64.StdEncoding.EncodeToString(make([]byte, 64))+":")
	}
	if r := says(t, pa, "POST", pb.URL+"/task", bookNYC, nil, forged); slugOf(t, r) != iatp.SlugBadSignature {
		t.Errorf("a forged request: %d %s, want bad-signature", r.Status, r.Body)
	}
	if r := says(t, pa, "POST", pb.URL+"/task", bookNYC, nil, nil); slugOf(t, r) != iatp.SlugOverloaded || r.Header.Get("Retry-After") == "" {
		t.Errorf("a signed request: %d %s, want overloaded", r.Status, r.Body)
	}
	if r := says(t, pa, "POST", pb.URL+"/transactions/close", `{"key":"k"}`, nil, nil); slugOf(t, r) != iatp.SlugOverloaded {
		t.Errorf("a signed question: %d %s, want overloaded", r.Status, r.Body)
	}
}

// A key that is done is answered as before, whatever manifest the repetition was
// assessed on: the caller would otherwise be told that nothing was executed, or
// that the key was used for something else, and would execute it again.
func TestRepetitionAfterTheManifestChanged(t *testing.T) {
	var cfg sidecar.Config
	p := wired(t, func(a, b *iatptest.Options) {
		b.Agent = quickly(0)
		configure := b.Config
		b.Config = func(c *sidecar.Config) { configure(c); cfg = *c }
	})
	key := map[string]string{"Idempotency-Key": "ticket"}
	first := post(t, p.a, "/proxy/b", bookNYC, key)
	clean(t, "first", first)
	cfg.Manifest = writeFile(t, "manifest.json", strings.Replace(iatptest.Friend, "verified_partner", "trusted", 1), 0o600)
	if _, err := p.b.Sidecar.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	again := func(when string) {
		t.Helper()
		r := post(t, p.a, "/proxy/b", bookNYC, key)
		if r.Status != 200 || !bytes.Equal(r.Body, first.Body) || r.Header.Get("Iatp-Receipt") != first.Header.Get("Iatp-Receipt") {
			t.Errorf("%s: %d %s, want the first answer and its receipt", when, r.Status, r.Body)
		}
		clean(t, when, r)
	}
	again("assessed on the old manifest")
	if r := post(t, p.a, "/proxy/b", bookNYC, nil); slugOf(t, r) != iatp.SlugTermsChanged { // which makes a look again
		t.Fatalf("a new call: %d %s, want terms-changed", r.Status, r.Body)
	}
	again("assessed on the new manifest")
	if r := post(t, p.a, "/proxy/b", strings.Replace(bookNYC, "NYC", "LON", 1), key); r.Status != 422 {
		t.Errorf("another request with the key: %d, want 422", r.Status)
	}
	if n := len(p.agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want 1", n)
	}
}

// An answer whose receipt is missing or wrong opens a quarantine session for its
// trace, which holds later exchanges until a person has looked.
func TestDoubtfulProofIsQuarantined(t *testing.T) {
	a, l := startLiar(t, nil)
	for reason, task := range map[string]func(http.ResponseWriter, *told){
		"receipt_missing": func(w http.ResponseWriter, c *told) { _, _ = io.WriteString(w, honestBody) },
		"receipt_invalid": func(w http.ResponseWriter, c *told) { l.answer(t, w, c, newKey(t)) },
	} {
		l.set(func() { l.task = task })
		r := post(t, a, "/proxy/b", bookNYC, nil)
		id := r.Header.Get("X-Agent-Trace-Id")
		if r.Status != 200 || r.Header.Get("X-Agent-Quarantined") != "true" {
			t.Errorf("%s: %d, quarantined %q", reason, r.Status, r.Header.Get("X-Agent-Quarantined"))
		}
		session := a.Get(t, "/quarantine/"+id, a.Operator(t))
		if session.Status != 200 || session.Problem(t)["state"] != "open" || session.Problem(t)["reason"] != reason {
			t.Errorf("%s: the session is %d %s", reason, session.Status, session.Body)
		}
		l.set(func() { l.task = func(w http.ResponseWriter, c *told) { l.answer(t, w, c, l.Key) } })
		if r := post(t, a, "/proxy/b", bookNYC, map[string]string{"X-Agent-Trace-Id": id}); r.Header.Get("X-Agent-Quarantined") != "true" {
			t.Errorf("%s: a later exchange of the trace is not marked", reason)
		}
	}
}

// A reload that changes how many calls the agent takes at a time does not forget
// those that are under way.
func TestReloadKeepsCounting(t *testing.T) {
	agent := newHeld()
	var cfg sidecar.Config
	limit := func(n int) string {
		return strings.Replace(iatptest.Friend, `"reversibility"`, fmt.Sprintf(`"capabilities":{"concurrency_limit":%d},"reversibility"`, n), 1)
	}
	n := iatptest.Start(t, iatptest.Options{Manifest: limit(2), Agent: agent, Config: func(c *sidecar.Config) { cfg = *c }})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer agent.letGo()
	call := func() { wg.Go(func() { n.Post(t, bookNYC, nil) }); <-agent.inside }
	reload := func(limited int) {
		t.Helper()
		cfg.Manifest = writeFile(t, "manifest.json", limit(limited), 0o600)
		if _, err := n.Sidecar.Reload(cfg); err != nil {
			t.Fatal(err)
		}
	}
	call()
	call()
	reload(3)
	call() // a third, and no more
	if r := n.Post(t, bookNYC, nil); r.Status != 429 {
		t.Errorf("three of three are under way, and a fourth call got %d", r.Status)
	}
	reload(1)
	if r := n.Post(t, bookNYC, nil); r.Status != 429 {
		t.Errorf("three of one are under way, and another call got %d", r.Status)
	}
}

// lossyChain is a caller a, b with the agent that the test brings, and c behind a
// wire; c's agent does for a dollar what it is asked.
func lossyChain(t *testing.T, agent func(b *iatptest.Node, w http.ResponseWriter, r *http.Request)) (w *wire, c *iatptest.Node, send func() *iatptest.Reply) {
	pa, pb, pc := iatptest.NewParty(t), iatptest.NewParty(t), iatptest.NewParty(t)
	w = startWire(t)
	w.to = strings.TrimPrefix(pc.URL, "http://")
	c = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pc.Listen(c)
		c.Peers, c.Limits.PerPeer = map[string]sidecar.Peer{"b": pb.AsPeer("trusted")}, plenty
	}, Agent: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("IATP-Cost", `"1.00";cur=USD`)
		_, _ = io.WriteString(w, "done")
	})})
	var b *iatptest.Node
	b = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		to := pc.AsPeer("verified_partner")
		to.URI, to.URL, to.Dial = to.URL, "", w.addr
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted"), "c": to}
		c.Limits.RetryBudget = sidecar.Duration(time.Millisecond)
	}, Agent: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { agent(b, w, r) })})
	mft := proposal(t, pa, pb, b, b).Responder.Manifest
	return w, c, func() *iatptest.Reply {
		return says(t, pa, "POST", pb.URL+"/task", bookNYC, func(h http.Header) {
			h.Set("IATP-Manifest", mft.ByteSequence())
			h.Set("IATP-Budget", `"5.00";cur=USD`)
		}, nil)
	}
}

// Money that was set aside for a call of which nobody knew what became of it is
// settled when a repetition learns it: what the call did cost is spent, once, and the
// rest is free again.
func TestRepetitionSettlesTheMoney(t *testing.T) {
	for name, lose := range map[string]struct{ call, answer func([]byte) []byte }{
		"the answers were lost": {nil, func([]byte) []byte { return nil }},
		"the calls were lost":   {func([]byte) []byte { return []byte{} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var w *wire
			w, c, send := lossyChain(t, func(b *iatptest.Node, rw http.ResponseWriter, r *http.Request) {
				onward := func(key, amount string) int {
					h := map[string]string{"Traceparent": r.Header.Get("Traceparent"), "IATP-Budget": `"` + amount + `";cur=USD`}
					if key != "" {
						h["Idempotency-Key"] = key
					}
					return post(t, b, "/proxy/c", bookNYC, h).Status
				}
				if s := onward("", "1.00"); s != 200 { // c is known; 4 are left
					t.Errorf("the first call: %d", s)
				}
				w.tap(lose.call, lose.answer)
				if s := onward("k", "3.00"); s != 502 {
					t.Errorf("lost: %d, want 502", s)
				}
				w.tap(nil, nil)
				if s := onward("", "2.00"); s != 422 {
					t.Errorf("two of the one that is left: %d, want 422", s)
				}
				if s := onward("k", "3.00"); s != 200 {
					t.Errorf("the repetition: %d, want 200", s)
				}
				if s := onward("", "3.01"); s != 422 {
					t.Errorf("more than is left: %d, want 422", s)
				}
				if s := onward("k", "3.00"); s != 200 { // costs nothing a second time
					t.Errorf("another repetition: %d, want 200", s)
				}
				if s := onward("", "3.00"); s != 200 {
					t.Errorf("all that is left: %d, want 200", s)
				}
				_, _ = io.WriteString(rw, "done")
			})
			if r := send(); r.Status != 200 {
				t.Errorf("%d %s", r.Status, r.Body)
			}
			if n := len(c.Agent.Seen()); n != 3 {
				t.Errorf("c's agent was called %d times, want 3", n)
			}
		})
	}
}

// What a call did cost is spent when its answer is lost and its receipt is learned by
// asking.
func TestAskingSettlesTheMoney(t *testing.T) {
	var w *wire
	w, _, send := lossyChain(t, func(b *iatptest.Node, rw http.ResponseWriter, r *http.Request) {
		onward := func(amount string) *iatptest.Reply {
			return post(t, b, "/proxy/c", bookNYC, map[string]string{"Traceparent": r.Header.Get("Traceparent"), "IATP-Budget": `"` + amount + `";cur=USD`})
		}
		isTask := false
		w.tap(func(text []byte) []byte { isTask = bytes.HasPrefix(text, []byte("POST /task ")); return text },
			func(text []byte) []byte {
				if isTask {
					return nil
				}
				return text
			})
		if r := onward("3.00"); r.Status != 502 || r.Problem(t)["outcome"] != "executed" {
			t.Errorf("the answer is lost: %d %s, want outcome executed", r.Status, r.Body)
		}
		w.tap(nil, nil)
		if r := onward("4.01"); r.Status != 422 {
			t.Errorf("five less one: %d %s, want 422 for more than four", r.Status, r.Body)
		}
		if r := onward("4.00"); r.Status != 200 {
			t.Errorf("five less one: %d %s, want four", r.Status, r.Body)
		}
		_, _ = io.WriteString(rw, "done")
	})
	if r := send(); r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}
