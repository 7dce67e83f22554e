package sidecar_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// clean reports an answer that a passed on with a doubt.
func clean(t testing.TB, what string, r *iatptest.Reply) {
	t.Helper()
	if r.Header.Get("Iatp-Proof") != "" || r.Header.Get("X-Agent-Quarantined") != "" || r.Header.Get("Iatp-Receipt") == "" {
		t.Errorf("%s: %d with proof %q, quarantined %q, receipt %q; want a receipt and no doubt", what, r.Status,
			r.Header.Get("Iatp-Proof"), r.Header.Get("X-Agent-Quarantined"), r.Header.Get("Iatp-Receipt"))
	}
}

// quickly is an agent that takes a moment and never answers the same twice.
func quickly(took time.Duration) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(took)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"ticket":%d}`, n.Add(1))
	}
}

// Twenty calls with one key at once are one call.
func TestOneKeyAtOnce(t *testing.T) {
	p := wired(t, func(a, b *iatptest.Options) { b.Agent = quickly(100 * time.Millisecond) })
	key := map[string]string{"Idempotency-Key": "ticket"}
	replies := make([]*iatptest.Reply, 20)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() { replies[i] = post(t, p.a, "/proxy/b", bookNYC, key) })
	}
	wg.Wait()
	replies = append(replies, post(t, p.a, "/proxy/b", bookNYC, key))
	counts := map[int]int{}
	for i, r := range replies {
		counts[r.Status]++
		switch r.Status {
		case 200:
			if string(r.Body) != `{"ticket":1}` {
				t.Errorf("call %d: %s, want the first ticket", i, r.Body)
			}
			clean(t, fmt.Sprintf("call %d", i), r)
		case 409:
			if slug := fmt.Sprint(r.Problem(t)["type"]); !strings.HasSuffix(slug, "/in-flight") {
				t.Errorf("call %d: 409 %s", i, slug)
			}
		default:
			t.Errorf("call %d: %d %s", i, r.Status, r.Body)
		}
	}
	if n := len(p.agent.Seen()); n != 1 || counts[200] < 2 {
		t.Errorf("b's agent was called %d times, want 1; answers %v", n, counts)
	}
}

// A repetition gets the same answer with the same receipt, which a accepts,
// whoever was restarted or killed in between; another request does not.
func TestRepetitionIsAnsweredAsBefore(t *testing.T) {
	var optA iatptest.Options
	p := wired(t, func(a, b *iatptest.Options) { b.Agent = quickly(0); optA = *a })
	key := map[string]string{"Idempotency-Key": "ticket"}
	first := post(t, p.a, "/proxy/b", bookNYC, key)
	clean(t, "first", first)
	if first.Header.Get("Iatp-Replayed") != "" {
		t.Error("the first answer is called a repetition")
	}
	again := func(when string) {
		t.Helper()
		r := post(t, p.a, "/proxy/b", bookNYC, key)
		if r.Status != 200 || !bytes.Equal(r.Body, first.Body) || r.Header.Get("Content-Type") != first.Header.Get("Content-Type") {
			t.Errorf("%s: %d %s, want 200 %s", when, r.Status, r.Body, first.Body)
		}
		clean(t, when, r)
		if r.Header.Get("Iatp-Replayed") != "?1" {
			t.Errorf("%s: nothing says that it is a repetition", when)
		}
		if r.Header.Get("Iatp-Receipt") != first.Header.Get("Iatp-Receipt") {
			t.Errorf("%s: another receipt", when)
		}
		recs := p.a.Records(t, r.Header.Get("X-Agent-Trace-Id"))
		if end := recs[len(recs)-1]; end["outcome"] != "executed" {
			t.Errorf("%s: a's record says %v, want executed", when, end["outcome"])
		}
		if r := post(t, p.a, "/proxy/b", strings.Replace(bookNYC, "NYC", "LON", 1), key); r.Status != 422 {
			t.Errorf("%s, for another request: %d, want 422", when, r.Status)
		}
	}
	again("at once")
	p.restartB(t)
	again("after a restart of b")
	p.crashB(t)
	again("after b was killed")
	if err := p.a.Stop(); err != nil {
		t.Fatal(err)
	}
	optA.Data = p.a.Data
	p.a = iatptest.Start(t, optA)
	again("after a restart of a")
	if n := len(p.agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want 1", n)
	}
}

// b dies while its agent works. Whatever a does afterwards, the agent is not
// called again, and nobody claims to know what became of it.
func TestKilledInTheMiddleOfACall(t *testing.T) {
	inside, release := make(chan struct{}, 8), make(chan struct{})
	p := wired(t, func(a, b *iatptest.Options) {
		b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inside <- struct{}{}; <-release })
		configure := a.Config
		a.Config = func(c *sidecar.Config) { configure(c); c.Limits.Deadline = sidecar.Duration(time.Second) }
	})
	key := map[string]string{"Idempotency-Key": "ticket"}
	lost := make(chan *iatptest.Reply)
	go func() { lost <- post(t, p.a, "/proxy/b", bookNYC, key) }()
	<-inside
	left := t.TempDir()
	copyTree(t, p.b.Data, left) // the moment of death
	if r := <-lost; r.Status != 504 || r.Problem(t)["outcome"] != "unknown" {
		t.Errorf("the first call: %d %s, want 504 and an unknown outcome", r.Status, r.Body)
	}
	close(release)
	p.replaceB(t, left)
	for range 3 {
		r := post(t, p.a, "/proxy/b", bookNYC, key)
		if r.Status != 409 || !strings.HasSuffix(fmt.Sprint(r.Problem(t)["type"]), "/answer-not-kept") || r.Problem(t)["outcome"] != "unknown" {
			t.Errorf("repetition: %d %s, want 409 answer-not-kept and an unknown outcome", r.Status, r.Body)
		}
		recs := p.a.Records(t, r.Header.Get("X-Agent-Trace-Id"))
		if end := recs[len(recs)-1]; end["outcome"] != "unknown" {
			t.Errorf("a's record of the repetition says %v, want unknown", end["outcome"])
		}
	}
	if n := len(p.agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want 1", n)
	}
}

// An answer that b may not keep is not repeated, but the proof is: a knows that
// the call was executed.
func TestAnswerIsNotKept(t *testing.T) {
	p := wired(t, func(a, b *iatptest.Options) { b.Manifest = iatptest.Bank })
	key := map[string]string{"Idempotency-Key": "ticket"}
	first := post(t, p.a, "/proxy/b", bookNYC, key)
	clean(t, "first", first)
	for _, when := range []string{"at once", "after b was killed"} {
		r := post(t, p.a, "/proxy/b", bookNYC, key)
		if r.Status != 409 || r.Problem(t)["outcome"] != "executed" {
			t.Errorf("%s: %d %s, want 409 and outcome executed", when, r.Status, r.Body)
		}
		clean(t, when, r)
		recs := p.a.Records(t, r.Header.Get("X-Agent-Trace-Id"))
		if end := recs[len(recs)-1]; end["outcome"] != "executed" {
			t.Errorf("%s: a's record says %v, want executed: it has the receipt", when, end["outcome"])
		}
		p.crashB(t)
	}
	if n := len(p.agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want 1", n)
	}
}

// What a assessed is what b executes: a manifest that changed meanwhile, even
// within the same second, ends in 409 with the proof that nothing happened, and
// the next call assesses the new one.
func TestTermsChange(t *testing.T) {
	var cfg sidecar.Config
	p := wired(t, func(a, b *iatptest.Options) {
		configure := b.Config
		b.Config = func(c *sidecar.Config) { configure(c); cfg = *c }
	})
	r := post(t, p.a, "/proxy/b", bookNYC, nil)
	if r.Status != 200 || r.Header.Get("X-Agent-Trust-Score") != "10" {
		t.Fatalf("%d, score %s", r.Status, r.Header.Get("X-Agent-Trust-Score"))
	}
	for i, change := range []struct{ level, score string }{{"trusted", "7"}, {"verified_partner", "10"}} {
		cfg.Manifest = writeFile(t, "manifest.json", strings.Replace(iatptest.Friend, "verified_partner", change.level, 1), 0o600)
		if _, err := p.b.Sidecar.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		r = post(t, p.a, "/proxy/b", bookNYC, nil)
		if r.Status != 409 || !strings.HasSuffix(fmt.Sprint(r.Problem(t)["type"]), "/terms-changed") || r.Problem(t)["outcome"] != "none" {
			t.Fatalf("change %d: %d %s, want 409 terms-changed, outcome none", i, r.Status, r.Body)
		}
		clean(t, "terms changed", r)
		recs := p.a.Records(t, r.Header.Get("X-Agent-Trace-Id"))
		if end := recs[len(recs)-1]; end["outcome"] != "none" {
			t.Errorf("change %d: a's record says %v, want none", i, end["outcome"])
		}
		if n := len(p.agent.Seen()); n != 1+i {
			t.Fatalf("change %d: b's agent was called %d times, want %d", i, n, 1+i)
		}
		r = post(t, p.a, "/proxy/b", bookNYC, nil)
		if r.Status != 200 || r.Header.Get("X-Agent-Trust-Score") != change.score {
			t.Fatalf("the call after change %d: %d, score %s, want 200, %s: %s", i, r.Status, r.Header.Get("X-Agent-Trust-Score"), change.score, r.Body)
		}
		clean(t, "the call after", r)
	}
}

// Answers of each shape come with a receipt that holds: whole, streamed, large
// of known length, empty, without a content type.
func TestEveryAnswerIsProven(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<10)
	for name, c := range map[string]struct {
		agent  http.HandlerFunc
		status int
		size   int
	}{
		"nothing":       {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, 204, 0},
		"an empty body": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "0") }, 200, 0},
		"a refusal": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no seats", http.StatusUnprocessableEntity)
		}, 422, 9},
		"a bug": {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "bug", http.StatusInternalServerError) }, 500, 4},
		"a question": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "click here", http.StatusUnavailableForLegalReasons)
		}, 451, 11},
		"no content type": {func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "{}")
		}, 200, 2},
		"a large answer": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			w.Write(large)
		}, 200, len(large)},
		"a large unknown":   {func(w http.ResponseWriter, r *http.Request) { w.Write(large) }, 200, len(large)},
		"an untyped stream": {func(w http.ResponseWriter, r *http.Request) { w.Header()["Content-Type"] = nil; w.Write(large) }, 200, len(large)},
		"events": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for range 5 {
				io.WriteString(w, "data: 1\n\n")
				w.(http.Flusher).Flush()
				time.Sleep(5 * time.Millisecond)
			}
		}, 200, 45},
		"two content types": {func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = []string{"text/plain", "text/html"}
			io.WriteString(w, "{}")
		}, 200, 2},
		"compressed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, "not really")
		}, 200, 10},
	} {
		t.Run(name, func(t *testing.T) {
			p := wired(t, func(a, b *iatptest.Options) { b.Agent = c.agent })
			r, trailer := postStream(t, p.a, nil)
			if r.Status != c.status || len(r.Body) != c.size {
				t.Fatalf("%d with %d bytes, want %d with %d", r.Status, len(r.Body), c.status, c.size)
			}
			jws := r.Header.Get("Iatp-Receipt")
			if jws == "" {
				jws = trailer.Get("Iatp-Receipt")
			}
			if r.Header.Get("Iatp-Proof") != "" || trailer.Get("Iatp-Proof") != "" {
				t.Errorf("proof %q %q", r.Header.Get("Iatp-Proof"), trailer.Get("Iatp-Proof"))
			}
			receipt, err := iatp.VerifyReceipt(jws, p.keysB(t))
			if err != nil {
				t.Fatalf("receipt %q: %v", jws, err)
			}
			if receipt.Res.Digest != sha256.Sum256(r.Body) || receipt.Res.Status != r.Status {
				t.Errorf("the receipt is of another answer: %+v", receipt)
			}
			id := r.Header.Get("X-Agent-Trace-Id")
			out, in := p.a.Records(t, id), p.b.Records(t, id)
			end := out[len(out)-1]
			if end["type"] != "response" || end["receipt"] == nil || end["receipt"] != in[len(in)-1]["receipt"] {
				t.Errorf("a's last record is %v, b's is %v", end, in[len(in)-1])
			}
		})
	}
}

// postStream calls b and returns the trailer besides the answer.
func postStream(t testing.TB, a *iatptest.Node, header map[string]string) (*iatptest.Reply, http.Header) {
	t.Helper()
	r, trailer, err := tryStream(a, header)
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	return r, trailer
}

func tryStream(a *iatptest.Node, header map[string]string) (*iatptest.Reply, http.Header, error) {
	req, err := http.NewRequest("POST", a.URL+"/proxy/b", strings.NewReader(bookNYC))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	client := http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &iatptest.Reply{Status: resp.StatusCode, Header: resp.Header, Body: body}, resp.Trailer, err
}

// keysB are the keys that b publishes.
func (p *pair) keysB(t testing.TB) iatp.KeySet {
	t.Helper()
	resp, err := http.Get(p.urlB + "/.well-known/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := iatp.ParseKeySet(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// An answer that breaks off never looks whole, at any byte and on either side of
// b, and a's record says that the outcome is unknown.
func TestCutStreamIsNeverComplete(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
	agents := map[string]http.HandlerFunc{
		"of known length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			w.Write(large)
		},
		"of unknown length": func(w http.ResponseWriter, r *http.Request) { w.Write(large); w.(http.Flusher).Flush(); w.Write(large) },
	}
	check := func(t *testing.T, p *pair, how string) {
		t.Helper()
		r, trailer, err := tryStream(p.a, nil)
		if err == nil && r.Status == 200 {
			t.Errorf("%s: a whole 200 with %d bytes, header %v, trailer %v", how, len(r.Body), r.Header, trailer)
		}
		if r == nil {
			return
		}
		var end map[string]any
		if !eventually(func() bool {
			recs := p.a.Records(t, r.Header.Get("X-Agent-Trace-Id"))
			end = recs[len(recs)-1]
			return end["type"] == "error" && end["outcome"] == "unknown"
		}) {
			t.Errorf("%s: a's last record is %v, want an error with an unknown outcome", how, end)
		}
	}
	for name, agent := range agents {
		t.Run("by the wire, "+name, func(t *testing.T) {
			p := wired(t, func(a, b *iatptest.Options) { b.Agent = agent })
			whole := 0
			p.tap(nil, func(answer []byte) []byte { whole = len(answer); return answer })
			postStream(t, p.a, nil)
			for _, cut := range []int{1, 2, 5, 7, 100, 900, 1200, 5000} {
				p.tap(nil, func(answer []byte) []byte { return answer[:len(answer)-cut] })
				check(t, p, fmt.Sprintf("%d bytes missing of %d", cut, whole))
			}
			// Without the chunks: to the end of the connection.
			p.tap(nil, func(answer []byte) []byte {
				return bytes.Replace(answer, []byte("Transfer-Encoding: chunked\r\n"), nil, 1)
			})
			check(t, p, "without a length")
		})
		t.Run("by the agent, "+name, func(t *testing.T) {
			p := wired(t, func(a, b *iatptest.Options) {
				b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if name == "of known length" {
						w.Header().Set("Content-Length", fmt.Sprint(2*len(large)))
					}
					w.Write(large)
					w.(http.Flusher).Flush()
					panic(http.ErrAbortHandler)
				})
			})
			check(t, p, "cut")
		})
	}
}

// A repetition of a streamed call is not executed, and proves that it was.
func TestStreamIsNotRepeated(t *testing.T) {
	p := wired(t, func(a, b *iatptest.Options) {
		b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "one")
			w.(http.Flusher).Flush()
			io.WriteString(w, "two")
		})
	})
	key := map[string]string{"Idempotency-Key": "stream"}
	first, trailer := postStream(t, p.a, key)
	if first.Status != 200 || string(first.Body) != "onetwo" || trailer.Get("Iatp-Receipt") == "" {
		t.Fatalf("%d %s, trailer %v", first.Status, first.Body, trailer)
	}
	r := post(t, p.a, "/proxy/b", bookNYC, key)
	if r.Status != 409 || r.Problem(t)["outcome"] != "executed" || r.Header.Get("Iatp-Receipt") != trailer.Get("Iatp-Receipt") {
		t.Errorf("repetition: %d %v %s, want 409 with the receipt", r.Status, r.Header, r.Body)
	}
	clean(t, "repetition", r)
	if n := len(p.agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want 1", n)
	}
}

// Strangers who flood b with bad signatures, some of them in a's name, do not
// keep a out.
func TestFloodDoesNotHurtAKnownPeer(t *testing.T) {
	p := wired(t, nil)
	call := p.capture(t, nil)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var refused, other atomic.Int64
	forge := func(i int) []byte {
		forged := bytes.Replace(call, []byte("Signature: iatp=:"), []byte("Signature: iatp=:AAAA"), 1)
		if i%2 == 0 { // as somebody whom nobody knows
			at := bytes.Index(forged, []byte(`keyid="`)) + len(`keyid="`)
			copy(forged[at:], "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
		}
		if i%4 < 2 { // of the right length
			forged = bytes.Replace(forged, []byte("Signature: iatp=:AAAA"), []byte("Signature: iatp=:"), 1)
			at := bytes.Index(forged, []byte("Signature: iatp=:")) + len("Signature: iatp=:")
			copy(forged[at:], "AAAAAAAA")
		}
		return forged
	}
	for i := range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch got := p.throw(t, forge(i)); got {
				case 400, 403, 429:
					refused.Add(1)
				default:
					other.Add(1)
				}
			}
		})
	}
	good := 0
	for good < 20 || refused.Load() < 200 { // however long that takes
		if r := post(t, p.a, "/proxy/b", bookNYC, nil); r.Status != 200 {
			t.Errorf("a's call: %d %s", r.Status, r.Body)
			break
		}
		good++
	}
	close(stop)
	wg.Wait()
	if n := len(p.agent.Seen()); n != good {
		t.Errorf("b's agent was called %d times for %d calls of a", n, good)
	}
	if other.Load() > 0 {
		t.Errorf("%d forged calls refused, %d answered otherwise", refused.Load(), other.Load())
	}
	t.Logf("%d calls of a among %d forged ones", good, refused.Load())
}

// A call that is lost on the way is closed: a knows that nothing was executed, and
// when the call arrives after all, nothing is, also after b was killed. The key is
// closed for a as well.
func TestCallThatArrivesAfterItsClose(t *testing.T) {
	p := wired(t, func(a, b *iatptest.Options) {
		configure := a.Config
		a.Config = func(c *sidecar.Config) { configure(c); c.Limits.RetryBudget = sidecar.Duration(100 * time.Millisecond) }
	})
	key := map[string]string{"Idempotency-Key": "late"}
	var mu sync.Mutex
	var calls [][]byte
	p.tap(func(call []byte) []byte {
		if !bytes.HasPrefix(call, []byte("POST /task ")) {
			return call
		}
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, bytes.Clone(call))
		return []byte{}
	}, nil)
	r := post(t, p.a, "/proxy/b", bookNYC, key)
	if r.Status != 502 || r.Problem(t)["outcome"] != "none" || r.Header.Get("Iatp-Receipt") == "" {
		t.Errorf("the lost call: %d %v %s, want 502 with the proof that nothing was executed", r.Status, r.Header, r.Body)
	}
	recs := p.a.Records(t, r.Header.Get("X-Agent-Trace-Id"))
	if end := recs[len(recs)-1]; end["outcome"] != "none" {
		t.Errorf("a's record says %v, want none", end["outcome"])
	}
	p.tap(nil, nil)
	late := func(when string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		for _, call := range calls {
			if got := p.throw(t, call); got != 409 {
				t.Errorf("%s, the call arrives: %d, want 409", when, got)
			}
		}
		r := post(t, p.a, "/proxy/b", bookNYC, key)
		if r.Status != 409 || r.Problem(t)["outcome"] != "none" || !strings.HasSuffix(fmt.Sprint(r.Problem(t)["type"]), "/key-closed") {
			t.Errorf("%s, a repetition: %d %s, want 409 key-closed, outcome none", when, r.Status, r.Body)
		}
		clean(t, when+", a repetition", r)
		recs := p.a.Records(t, r.Header.Get("X-Agent-Trace-Id"))
		if end := recs[len(recs)-1]; end["outcome"] != "none" {
			t.Errorf("%s, a's record of the repetition says %v, want none", when, end["outcome"])
		}
	}
	late("at once")
	p.crashB(t)
	late("after b was killed")
	if n := len(p.agent.Seen()); n != 0 {
		t.Errorf("b's agent was called %d times, want 0", n)
	}
}

// An answer that is lost on the way back, of a call that an earlier exchange had
// begun: a learns from the receipt that it was executed.
func TestAnswerIsLost(t *testing.T) {
	p := wired(t, func(a, b *iatptest.Options) {
		configure := a.Config
		a.Config = func(c *sidecar.Config) { configure(c); c.Limits.RetryBudget = sidecar.Duration(100 * time.Millisecond) }
		b.Manifest = iatptest.Bank
	})
	key := map[string]string{"Idempotency-Key": "lost"}
	lose := func(answer []byte) []byte {
		if bytes.Contains(answer, []byte(`"state"`)) {
			return answer
		}
		return nil
	}
	for _, when := range []string{"the first call", "a repetition"} {
		p.tap(nil, lose)
		r := post(t, p.a, "/proxy/b", bookNYC, key)
		p.tap(nil, nil)
		if r.Status != 502 || r.Problem(t)["outcome"] != "executed" || r.Header.Get("Iatp-Receipt") == "" {
			t.Errorf("%s: %d %v %s, want 502 with the proof that it was executed", when, r.Status, r.Header, r.Body)
		}
		recs := p.a.Records(t, r.Header.Get("X-Agent-Trace-Id"))
		if end := recs[len(recs)-1]; end["outcome"] != "executed" {
			t.Errorf("%s: a's record says %v, want executed", when, end["outcome"])
		}
	}
	if n := len(p.agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want 1", n)
	}
}

// Somebody who takes calls off the wire and changes the answer to the question
// what became of them makes a believe nothing.
func TestWireChangesWhatBecameOfACall(t *testing.T) {
	p := wired(t, func(a, b *iatptest.Options) {
		configure := a.Config
		a.Config = func(c *sidecar.Config) { configure(c); c.Limits.RetryBudget = 0 }
	})
	var deliver atomic.Bool
	call := func(call []byte) []byte {
		if bytes.HasPrefix(call, []byte("POST /task ")) && !deliver.Load() {
			return []byte{}
		}
		return call
	}
	believed := 0
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		deliver.Store(!deliver.Load())
		p.tap(call, func(answer []byte) []byte {
			if !bytes.Contains(answer, []byte(`"state"`)) {
				return nil // the answer of the call
			}
			answer[mathrand.IntN(len(answer))] ^= 1 << mathrand.IntN(7)
			return answer
		})
		before := len(p.agent.Seen())
		r := post(t, p.a, "/proxy/b", bookNYC, nil)
		want := "none"
		if len(p.agent.Seen()) > before {
			want = "executed"
		}
		switch got := r.Problem(t)["outcome"]; {
		case got == want:
			believed++
		case got != "unknown":
			t.Errorf("a says %v, and the outcome is %s: %s", got, want, r.Body)
		}
	}
	t.Logf("the truth was told in spite of it %d times", believed)
}

// What is sensitive in a call or an answer is in neither data directory, on
// neither side, in no spelling.
func TestCanariesBetweenSidecars(t *testing.T) {
	cards := []string{"4532015112830366", "4532-0151-1283-0366", "5555555555554444"}
	numbers := []string{"123-45-6789", "987-65-4320"}
	for _, c := range []struct{ name, manifest, canary, reply string }{
		{"cards", iatptest.Friend, cards[0], cards[2]},
		{"cards, ephemeral", iatptest.Bank, cards[1], cards[2]},
		{"social security numbers", iatptest.Bank, numbers[0], numbers[0]},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream := false
			p := wired(t, func(a, b *iatptest.Options) {
				b.Manifest = c.manifest
				b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					fmt.Fprintf(w, `{"charged":%q`, c.reply)
					if stream {
						w.(http.Flusher).Flush()
					}
					io.WriteString(w, "}")
				})
				configure := a.Config
				a.Config = func(cfg *sidecar.Config) {
					configure(cfg)
					peer := cfg.Peers["b"]
					peer.Headers = []string{"X-Customer"}
					cfg.Peers["b"] = peer
				}
			})
			body := fmt.Sprintf(`{"task":"book","data":{"payment":%q}}`, c.canary)
			for i, header := range []map[string]string{nil, {"Idempotency-Key": "k1"}, {"Idempotency-Key": "k1"}, nil, {"Idempotency-Key": "k2"}, {"Idempotency-Key": "k2"}} {
				stream = i > 2
				r := post(t, p.a, "/proxy/b", body, header)
				if r.Status != 200 && (header == nil || r.Status != 409) {
					t.Errorf("call %d: %d %s", i, r.Status, r.Body)
				}
			}
			seen := len(p.agent.Seen())
			for _, header := range []map[string]string{{"Idempotency-Key": c.canary}, {"X-Agent-Trace-ID": c.canary}, {"Accept-Language": c.canary}, {"X-Customer": c.canary}} {
				r := post(t, p.a, "/proxy/b", bookNYC, header)
				if r.Status != 400 || len(p.agent.Seen()) != seen {
					t.Errorf("%v: %d, want 400: such data belongs in the body", header, r.Status)
				}
				if strings.Contains(string(r.Body), c.canary) {
					t.Errorf("%v: the refusal repeats it: %s", header, r.Body)
				}
			}
			for side, dir := range map[string]string{"a": p.a.Data, "b": p.b.Data} {
				for _, canary := range slices.Concat(cards, numbers[:1]) {
					for _, spelling := range []string{canary, strings.ReplaceAll(canary, "-", ""), strings.ReplaceAll(canary, "-", " ")} {
						if hits := iatptest.FindInFiles(t, dir, spelling); len(hits) > 0 {
							t.Errorf("%s's data: %s is in %v", side, spelling, hits)
						}
					}
				}
			}
		})
	}
}
