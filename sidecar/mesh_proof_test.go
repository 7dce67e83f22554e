package sidecar_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// breaksOff is a liar that breaks every call off, and answers what became of it with the
// receipt that say makes, of what an honest peer would say of the call and of the question.
func breaksOff(t *testing.T, say func(call, question iatp.Receipt) iatp.Receipt) *iatptest.Node {
	a, l := startLiar(t, nil)
	var mu sync.Mutex
	var call iatp.Receipt
	l.set(func() {
		l.manifest = l.serve(l.document(t, map[string]any{"reversibility": map[string]any{"level": "full", "undo_window_seconds": 3600, "max_fee": "1.00", "currency": "USD"}}, l.Key))
		l.task = func(_ http.ResponseWriter, c *told) {
			mu.Lock()
			call = c.receipt
			mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		l.other = func(w http.ResponseWriter, c *told) {
			if c.URL.Path != "/transactions/close" {
				http.NotFound(w, c.Request)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			c.receipt.Req.Key, c.receipt.TraceID = call.Req.Key, call.TraceID
			c.receipt = say(call, c.receipt)
			l.answer(t, w, c, l.Key)
		}
	})
	return a
}

// honestUndo is the honest promise about a call to breaksOff.
func honestUndo() *iatp.Undo {
	return &iatp.Undo{Level: iatp.ReversibilityFull, Until: time.Now().Unix() + 3605}
}

// What a peer says of a call when it is asked is held to what an answer would be held to.
func TestLateProofIsOfThisCall(t *testing.T) {
	dollars := func(amount string) iatp.Money {
		m, err := iatp.ParseMoney(amount, "USD")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, c := range map[string]struct {
		lie  func(call, question iatp.Receipt) iatp.Receipt
		want string // outcome
	}{
		"the question's":                    {func(_, q iatp.Receipt) iatp.Receipt { return q }, "executed"},
		"the call's":                        {func(c, _ iatp.Receipt) iatp.Receipt { return c }, "executed"},
		"the question's, of long ago":       {func(_, q iatp.Receipt) iatp.Receipt { q.Iat -= 3600; return q }, "unknown"},
		"the call's, of long ago":           {func(c, _ iatp.Receipt) iatp.Receipt { c.Iat -= 3600; return c }, "unknown"},
		"the question's, of a manifest":     {func(_, q iatp.Receipt) iatp.Receipt { q.Mft[0] = 7; return q }, "unknown"},
		"the call's, of another manifest":   {func(c, _ iatp.Receipt) iatp.Receipt { c.Mft[0] ^= 7; return c }, "unknown"},
		"the question's, over the budget":   {func(_, q iatp.Receipt) iatp.Receipt { q.Cost = dollars("5.01"); return q }, "unknown"},
		"the call's, over the budget":       {func(c, _ iatp.Receipt) iatp.Receipt { c.Cost = dollars("5.01"); return c }, "unknown"},
		"the question's, without undo":      {func(_, q iatp.Receipt) iatp.Receipt { q.Undo = nil; return q }, "unknown"},
		"the question's, of another answer": {func(_, q iatp.Receipt) iatp.Receipt { q.Res.Digest[0] ^= 1; return q }, "unknown"},
		"of a request never made":           {func(c, _ iatp.Receipt) iatp.Receipt { c.Req.Base[0] ^= 1; return c }, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			a := breaksOff(t, func(call, question iatp.Receipt) iatp.Receipt {
				call.Undo, question.Undo = honestUndo(), honestUndo()
				return c.lie(call, question)
			})
			r := post(t, a, "/proxy/b", bookNYC, map[string]string{"IATP-Budget": `"5.00";cur=USD`})
			if end := last(t, a, r); end["outcome"] != c.want || (end["receipt"] != nil) != (c.want == "executed") {
				t.Errorf("%d, record %v; want the outcome %s", r.Status, end, c.want)
			}
		})
	}
}

// Whether a call of a saga has to be undone is not decided by a receipt for a request that
// was never made, or of another time.
func TestFateIsOfThisCall(t *testing.T) {
	for name, c := range map[string]struct {
		lie  func(call iatp.Receipt) iatp.Receipt
		want string // state of the saga
	}{
		"the call's":              {func(r iatp.Receipt) iatp.Receipt { return r }, "compensated"},
		"of a request never made": {func(r iatp.Receipt) iatp.Receipt { r.Req.Base[0] ^= 1; return r }, "compensating"},
		"of long ago":             {func(r iatp.Receipt) iatp.Receipt { r.Iat -= 3600; return r }, "compensating"},
		"of tomorrow":             {func(r iatp.Receipt) iatp.Receipt { r.Iat += 86400; return r }, "compensating"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Bool
			a := breaksOff(t, func(call, question iatp.Receipt) iatp.Receipt {
				if !asked.Load() { // while the call lasts nothing is said that holds
					call.Req.Base[0] ^= 1
					return call
				}
				call.Outcome = iatp.OutcomeFailed
				return c.lie(call)
			})
			saga := openSaga(t, a, "")
			joinCall(t, a, "b", saga.ID)
			asked.Store(true)
			got := a.Do(t, "POST", "/sagas/"+saga.ID+"/cancel", strings.NewReader("{}"), nil) // waits for some seconds
			if !strings.Contains(string(got.Body), `"state":"`+c.want+`","on_failure"`) {
				t.Errorf("%d %s; want the saga %s", got.Status, got.Body, c.want)
			}
		})
	}
}

// "Nothing was executed" is never proven of a key that was executed, also not to a caller
// who may not call any more.
func TestNoneIsNotProvenOfAnExecutedKey(t *testing.T) {
	var cfg sidecar.Config
	p := wired(t, func(a, b *iatptest.Options) {
		b.Agent = quickly(0)
		configure := b.Config
		b.Config = func(c *sidecar.Config) { configure(c); cfg = *c }
	})
	key := map[string]string{"Idempotency-Key": "ticket"}
	if r := post(t, p.a, "/proxy/b", bookNYC, key); r.Status != 200 {
		t.Fatal(r.Status)
	}
	cfg.Ingress.MinLevel = "verified_partner" // a is trusted at most
	if _, err := p.b.Sidecar.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	r := post(t, p.a, "/proxy/b", bookNYC, key)
	if r.Status != 403 || last(t, p.a, r)["outcome"] == "none" {
		t.Errorf("%d, a records %v; want 403 and no proof of none", r.Status, last(t, p.a, r)["outcome"])
	}
	other := post(t, p.a, "/proxy/b", bookNYC, map[string]string{"Idempotency-Key": "another"})
	if other.Status != 403 || last(t, p.a, other)["outcome"] != "none" {
		t.Errorf("a new key: %d, a records %v; want 403, proven none", other.Status, last(t, p.a, other)["outcome"])
	}
}

// An agent's own 409 is proven when it is asked for again and was not kept.
func TestConflictOfTheAgentIsProvenAgain(t *testing.T) {
	p := wired(t, func(a, b *iatptest.Options) {
		b.Manifest = iatptest.Bank // keeps no answers
		b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusConflict)
			_, _ = fmt.Fprint(w, `{"error":"seat taken"}`)
		})
	})
	key := map[string]string{"Idempotency-Key": "ticket"}
	for range 2 {
		r := post(t, p.a, "/proxy/b", bookNYC, key)
		clean(t, "conflict", r)
		if end := last(t, p.a, r); r.Status != http.StatusConflict || end["outcome"] != "failed" {
			t.Errorf("%d %s, record %v; want 409 and failed, proven", r.Status, r.Body, end)
		}
	}
}

// endsBroken lets a sidecar end with a log that was closed before.
type endsBroken struct{ testing.TB }

func (t endsBroken) Errorf(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !strings.Contains(text, flight.ErrClosed.Error()) {
		t.TB.Error(text)
	}
}

// No receipt leaves that says a key is closed before that is on the disk.
func TestCloseIsProvenWhenRecorded(t *testing.T) {
	pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
	iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: pa.Listen})
	b := iatptest.Start(endsBroken{t}, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}
	}})
	if r := says(t, pa, "POST", pb.URL+"/transactions/close", `{"key":"k0"}`, nil, nil); r.Status != 200 || r.Header.Get("Iatp-Receipt") == "" {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	b.Sidecar.BreakLog()
	for path, body := range map[string]string{"/transactions/close": `{"key":"k1"}`, "/task": bookNYC} {
		if r := says(t, pa, "POST", pb.URL+path, body, nil, nil); r.Status != 503 || r.Header.Get("Iatp-Receipt") != "" {
			t.Errorf("%s with a broken log: %d, receipt %q; want 503 and none", path, r.Status, r.Header.Get("Iatp-Receipt"))
		}
	}
}

// The body of a question about a key has one member, spelled as it is, and a key that can
// be one.
func TestCloseIsStrict(t *testing.T) {
	pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
	iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: pa.Listen})
	iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}
	}})
	for body, want := range map[string]int{
		`{"key":"k1"}`: 200, `{"key":"a\"b\\c"}`: 200,
		`{"KEY":"k2"}`: 400, `{"key":"k3","Key":"k4"}`: 400, `{"key":"k","more":1}`: 400, `{"key":"\u0001"}`: 400, `{"key":"käse"}`: 400, `{"key":""}`: 400, `{"key":1}`: 400, `["key"]`: 400, `{}`: 400,
	} {
		if r := says(t, pa, "POST", pb.URL+"/transactions/close", body, nil, nil); r.Status != want {
			t.Errorf("%s: %d %s, want %d", body, r.Status, r.Body, want)
		}
	}
}

// Asked about a key that is done, b says what is known of it in the body as in the receipt.
func TestCloseSaysWhatIsKnown(t *testing.T) {
	pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
	iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: pa.Listen})
	b := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}
	}})
	manifest := inForce(t, b)
	task := says(t, pa, "POST", pb.URL+"/task", bookNYC, func(h http.Header) {
		h.Set("Idempotency-Key", `"k1"`)
		h.Set("IATP-Manifest", manifest)
	}, nil)
	r := says(t, pa, "POST", pb.URL+"/transactions/close", `{"key":"k1"}`, nil, nil)
	if got := r.Problem(t); task.Status != 200 || r.Status != 200 || got["state"] != "done" || got["outcome"] != "executed" {
		t.Errorf("%d %s, then %d %s, want done, executed", task.Status, task.Body, r.Status, r.Body)
	}
	if receipt := task.Header.Get("Iatp-Receipt"); receipt == "" || r.Header.Get("Iatp-Receipt") != receipt {
		t.Errorf("the receipt is %q, want that of the call: %q", r.Header.Get("Iatp-Receipt"), receipt)
	}
}
