package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/httpsig"
)

// shop is an agent that sells and takes back. It honours the key of a refund, which is
// the one premise of an undo; that a sale happens once is not its doing.
type shop struct {
	mu      sync.Mutex
	sold    map[string]int             // by idempotency key
	sales   []string                   // transactions
	refunds map[string]map[string]bool // by transaction: the keys and bodies of its refunds
	paid    map[string]int             // by transaction: refunds that had an effect
	asked   int                        // for refunds
	breaks  bool                       // a sale takes effect and fails
	sale    func()                     // is called with each sale, before its answer
	refund  func(n int) bool           // is called with each refund, before its answer; false: it is refused, and has no effect
}

func newShop() *shop {
	return &shop{sold: map[string]int{}, refunds: map[string]map[string]bool{}, paid: map[string]int{}}
}

func (d *shop) serve(w http.ResponseWriter, r *http.Request) {
	tx, key := r.Header.Get("Iatp-Transaction"), r.Header.Get("Idempotency-Key")
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	d.mu.Lock()
	breaks, sale, refund := d.breaks, d.sale, d.refund
	if !strings.HasPrefix(r.URL.Path, "/refund/") {
		d.sold[key]++
		d.sales = append(d.sales, tx)
		d.mu.Unlock()
		if sale != nil {
			sale()
		}
		if breaks {
			http.Error(w, `{"error":"the printer is on fire"}`, http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, `{"sold":true}`)
		return
	}
	d.asked++
	n := d.asked
	d.mu.Unlock()
	if refund != nil && !refund(n) {
		http.Error(w, `{"error":"not now"}`, http.StatusServiceUnavailable)
		return
	}
	d.look(func() {
		if d.refunds[tx] == nil {
			d.refunds[tx] = map[string]bool{}
		}
		if one := key + " " + string(body); !d.refunds[tx][one] { // another key, or other bytes, is another refund
			d.refunds[tx][one] = true
			d.paid[tx]++
		}
	})
	fmt.Fprint(w, `{}`)
}

// look reads under the lock.
func (d *shop) look(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// first is the transaction of the first sale.
func (d *shop) first() (tx string) {
	d.look(func() {
		if len(d.sales) > 0 {
			tx = d.sales[0]
		}
	})
	return tx
}

// shopManifest is that of an agent whose calls a person has to release.
const shopManifest = `{"identity":{"agent_id":"shop"},"trust_level":"verified_partner","reversibility":{"level":"partial","undo_window_seconds":3600,"compensation_sla_ms":4000},"privacy":{"retention_policy":"temporary"}}`

// hop is a proxy in front of a sidecar. Tasks pass a hook, and arrive even if who sent
// them is gone: an order can lie in a buffer for longer than any process lives.
type hop struct {
	addr   string
	inside atomic.Int64 // tasks on their way
	mu     sync.Mutex
	tasks  map[string]bool    // that arrived here, by trace: attempts of one call have the same
	hook   func(phase string) // "forward" before a task is passed on, "response" before its answer is
}

func startHop(t *testing.T, to string) *hop {
	t.Helper()
	h := &hop{tasks: map[string]bool{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		at := func(string) {}
		if r.URL.Path == "/task" {
			h.inside.Add(1)
			defer h.inside.Add(-1)
			h.mu.Lock()
			h.tasks[r.Header.Get("X-Agent-Trace-Id")] = true
			if h.hook != nil {
				at = h.hook
			}
			h.mu.Unlock()
		}
		at("forward")
		req, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, "http://"+to+r.RequestURI, bytes.NewReader(body))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		req.Header, req.Host = r.Header, r.Host
		resp, err := patient.Transport.RoundTrip(req)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		at("response")
		for name, v := range resp.Header {
			w.Header()[name] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(text)
	}))
	t.Cleanup(srv.Close)
	h.addr = srv.Listener.Addr().String()
	return h
}

// left is how many calls have come by.
func (h *hop) left() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.tasks)
}

func (h *hop) set(hook func(string)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}

// questions is a caller's sidecar a whose calls a person has to release, and the
// sidecar b of a shop, with a hop between them.
type questions struct {
	shop     *shop
	hop      *hop
	pa, pb   *meshParty
	atA, atB setup
	a, b     atomic.Pointer[sidecar]
	answers  atomic.Int64 // overrides that were sent, which are a person's word
}

func startQuestions(t *testing.T) *questions {
	t.Helper()
	q := &questions{shop: newShop(), pa: newMeshParty(t), pb: newMeshParty(t)}
	agent := startAgent(t, q.shop.serve)
	q.hop = startHop(t, q.pb.addr)
	config := strings.Replace(q.pa.config("b", q.pb, "verified_partner"), `{url: "http://`+q.pb.addr+`"`, `{uri: "http://`+q.pb.addr+`", dial: "`+q.hop.addr+`"`, 1)
	// A person is asked about whom does not undo all. Of limits: what is held up for longer
	// has an unknown outcome.
	config = "require: {reversibility: full}\n" + config + "  deadline: 3s\n"
	q.atA = setup{agent: "http://127.0.0.1:1", data: t.TempDir(), config: config, fast: true}
	q.atB = setup{agent: agent.url, manifest: shopManifest, data: t.TempDir(), fast: true,
		config: q.pb.config("a", q.pa, "trusted") + "compensation: {url: \"/refund/{transaction_id}\"}\n"}
	q.b.Store(q.atB.start(t))
	q.a.Store(q.atA.start(t))
	return q
}

// buy asks a to have something sold, in a saga. override says that a person has
// released it.
func (q *questions) buy(saga, key string, override bool) (*reply, error) {
	header := []string{"Content-Type: application/json", "IATP-Saga: " + saga, "Idempotency-Key: " + key}
	if override {
		q.answers.Add(1)
		header = append(header, "X-User-Override: true")
	}
	return q.a.Load().send("POST", "/proxy/b", trip, header...)
}

// open opens a saga at a.
func (q *questions) open(t *testing.T) string {
	t.Helper()
	r, err := q.a.Load().send("POST", "/sagas", `{}`, "Content-Type: application/json")
	var saga sagaOf
	if err != nil || r.status != http.StatusCreated || json.Unmarshal([]byte(r.text), &saga) != nil {
		t.Fatalf("POST /sagas: %v %+v", err, r)
	}
	return saga.ID
}

// restart starts who was killed.
func (q *questions) restart(t *testing.T, victim string) {
	t.Helper()
	if victim == "a" {
		q.a.Load().kill()
		q.a.Store(q.atA.start(t))
	} else {
		q.b.Load().kill()
		q.b.Store(q.atB.start(t))
	}
}

// sendByHand signs a request as a party and sends it.
func sendByHand(by *meshParty, method, url, key, body string) (*reply, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{
		"Accept-Encoding": {"identity"}, "User-Agent": {"hand"}, "Content-Type": {"application/json"},
		"Content-Digest": {iatp.DigestOf([]byte(body)).ContentDigest()}, "Idempotency-Key": {iatp.FormatIdempotencyKey(key)},
	}
	var nonce [16]byte
	rand.Read(nonce[:])
	now := time.Now()
	signer := httpsig.Signer{Key: by.key, Agent: "http://" + by.addr}
	if _, err := signer.Sign(&httpsig.Message{Method: method, TargetURI: url, Header: req.Header}, now, now.Add(time.Minute), base64.RawURLEncoding.EncodeToString(nonce[:])); err != nil {
		return nil, err
	}
	resp, err := patient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return &reply{resp.StatusCode, resp.Header, string(text)}, err
}

// undoers are those who ask for an undo over the wire, each once: the caller itself, its
// saga, and an operator of either side with the command line. The ingress of a call that
// failed and the recovery after a crash do it by themselves.
func (q *questions) undoers(saga, tx string) map[string]func() {
	return map[string]func(){
		"caller": func() {
			_, _ = sendByHand(q.pa, "POST", "http://"+q.pb.addr+"/compensate/"+tx, "undo:"+tx, `{"reason":"the caller"}`)
		},
		"saga": func() {
			_, _ = q.a.Load().send("POST", "/sagas/"+saga+"/cancel", `{"reason":"the saga"}`, "Content-Type: application/json")
		},
		"operator": func() {
			b := q.b.Load()
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			_ = exec.CommandContext(ctx, filepath.Join(binaries, "iatp"), "undo", tx, "--yes", "--reason", "the operator", "--sidecar", "http://"+b.addr, "--data", b.data).Run() // b may be dead
		},
	}
}

// askAll has all of them ask at once, again and again until the saga and the transaction
// say that all is undone.
func (q *questions) askAll(t *testing.T, saga, tx string) {
	t.Helper()
	var done atomic.Bool
	var all sync.WaitGroup
	for _, ask := range q.undoers(saga, tx) {
		all.Go(func() {
			for !done.Load() {
				ask()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	defer all.Wait()
	defer done.Store(true)
	eventually(t, 60*time.Second, func() error {
		r, err := q.a.Load().send("GET", "/sagas/"+saga, "")
		var s sagaOf
		if err != nil || json.Unmarshal([]byte(r.text), &s) != nil || s.State != "compensated" {
			return fmt.Errorf("the saga: %v %+v", err, r)
		}
		if tx == "" {
			return nil
		}
		b := q.b.Load()
		if r, err = b.send("GET", "/transactions/"+tx, "", b.operator(t)); err != nil || r.member("state") != "compensated" {
			return fmt.Errorf("the transaction: %v %+v", err, r)
		}
		return nil
	})
}

// judge stops both and looks at what has happened in the world, and in the books. An
// undo begins once, and again when an operator has it tried again.
func (q *questions) judge(t *testing.T, begins int) {
	t.Helper()
	if sent, said := q.hop.left(), int(q.answers.Load()); sent > said {
		t.Errorf("%d calls left for b, and a person has released %d", sent, said)
	}
	q.shop.look(func() {
		if len(q.shop.sales) > 1 {
			t.Errorf("%d sales, want one at most", len(q.shop.sales))
		}
		for key, n := range q.shop.sold {
			if n != 1 {
				t.Errorf("%s was executed %d times", key, n)
			}
		}
		for _, tx := range q.shop.sales {
			if q.shop.paid[tx] != 1 {
				t.Errorf("%s was paid back %d times: %v", tx, q.shop.paid[tx], q.shop.refunds[tx])
			}
			if got := len(q.begun(t, tx)); got != begins {
				t.Errorf("b's recorder has the undo of %s begin %d times, want %d", tx, got, begins)
			}
		}
		if len(q.shop.paid) != len(q.shop.sales) {
			t.Errorf("paid back: %v, sold: %v", q.shop.paid, q.shop.sales)
		}
	})
	q.a.Load().stop(t)
	q.b.Load().stop(t)
	checkLog(t, q.atA.data)
	checkLog(t, q.atB.data)
}

// begun is who began to undo a transaction, as b's recorder has it.
func (q *questions) begun(t *testing.T, tx string) (by []string) {
	t.Helper()
	b := q.b.Load()
	r := b.get(t, "/transactions/"+tx, b.operator(t))
	var v struct{ History []struct{ State, By string } }
	if err := json.Unmarshal([]byte(r.text), &v); err != nil {
		t.Fatal(err)
	}
	for _, step := range v.History {
		if step.State == "compensating" {
			by = append(by, step.By)
		}
	}
	return by
}

// recorded waits until the log in a data directory has a text.
func recorded(t *testing.T, data, text string) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		files, err := filepath.Glob(filepath.Join(data, "log", "*.jsonl"))
		if err != nil {
			return err
		}
		for _, file := range files {
			if b, err := os.ReadFile(file); err == nil && bytes.Contains(b, []byte(text)) {
				return nil
			}
		}
		return fmt.Errorf("no record says %s", text)
	})
}

// TestQuestionIsKilled kills the caller's sidecar while a person is being asked about a
// call, between each two steps of it; a retry of the same call runs all the time. Then
// the saga is canceled, which closes the key of a call that never came to an end, and
// only after that the original goes on, if it was held up. Whatever is killed when:
// nothing leaves that a person has not released, the sale is made once at most, and all
// who want it undone together get one refund.
func TestQuestionIsKilled(t *testing.T) {
	for _, moment := range []string{"request", "ask", "answer", "forward", "response", "release"} {
		for _, victim := range []string{"a", "b"} {
			t.Run(moment+"/"+victim, func(t *testing.T) {
				t.Parallel()
				questionKilled(t, moment, victim)
			})
		}
	}
}

func questionKilled(t *testing.T, moment, victim string) {
	q := startQuestions(t)
	saga := q.open(t)
	reached, goOn := make(chan struct{}), make(chan struct{})
	reach := sync.OnceFunc(func() { close(reached) })
	release := sync.OnceFunc(func() { close(goOn) })
	q.hop.set(func(phase string) {
		if phase == moment { // the first to come here is held up until all is over
			reach()
			<-goOn
		}
	})
	var quiet atomic.Bool
	var callers sync.WaitGroup
	defer callers.Wait()
	defer quiet.Store(true)
	defer release()
	callers.Go(func() { // the retry: the same call, and nobody who has released it
		for !quiet.Load() {
			_, _ = q.buy(saga, "the-sale", false)
			time.Sleep(5 * time.Millisecond)
		}
	})
	if moment != "request" {
		eventually(t, 20*time.Second, func() error {
			if r, err := q.buy(saga, "the-sale", false); err != nil || r.status != 449 {
				return fmt.Errorf("no question: %v %+v", err, r)
			}
			return nil
		})
	}
	if moment == "answer" || moment == "forward" || moment == "response" || moment == "release" {
		callers.Go(func() {
			for i := 0; i < 50; i++ { // the question may be used up by then, and asked anew
				if r, err := q.buy(saga, "the-sale", true); err != nil || r.status != 449 {
					break
				}
			}
			if moment == "release" {
				reach()
			}
		})
	}
	switch moment {
	case "request":
		recorded(t, q.atA.data, `"decision":"ask"`)
	case "ask":
	case "answer":
		recorded(t, q.atA.data, `"override"`)
	default:
		select {
		case <-reached:
		case <-time.After(30 * time.Second):
			t.Fatal("the call does not come so far")
		}
	}
	left := q.hop.left()
	if sold := q.shop.first() != ""; moment == "forward" && left == 0 || moment == "response" && !sold {
		t.Errorf("%d calls have left for b, sold: %t: this tells nothing", left, sold)
	}
	q.restart(t, victim)
	if victim == "a" { // it sends nothing by itself that it had not sent
		time.Sleep(100 * time.Millisecond)
		if now := q.hop.left(); now != left && moment != "answer" {
			t.Errorf("%d calls have left for b after the restart of a, before that %d", now, left)
		}
	}
	q.askAll(t, saga, q.shop.first())
	release() // the original arrives after its key was closed
	eventually(t, 20*time.Second, func() error {
		if n := q.hop.inside.Load(); n != 0 {
			return fmt.Errorf("%d tasks are still on their way", n)
		}
		return nil
	})
	quiet.Store(true)
	callers.Wait()
	q.judge(t, 1)
}

// TestFiveWantOneRefund has one of the five initiators begin an undo: the caller, its saga,
// the ingress of a call that failed, an operator, or the recovery after a crash. While the
// agent has the refund, or when it has just made it, b is killed, and all that can ask over
// the wire ask at once and go on until it is done. All the time a person is being asked
// about another call; in the last case one is asked about the refund as well, which the
// agent does not make in time. The money is paid back once, and the undo begins once, by
// whoever was first; by an operator once more, who has it tried again.
func TestFiveWantOneRefund(t *testing.T) {
	for _, first := range []string{"caller", "saga", "ingress", "operator", "recovery", "person"} {
		for _, paid := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", first, paid), func(t *testing.T) {
				t.Parallel()
				fiveWant(t, first, paid)
			})
		}
	}
}

func fiveWant(t *testing.T, first string, paid bool) {
	q := startQuestions(t)
	saga := q.open(t)
	if r, err := q.buy(saga, "the-sale", false); err != nil || r.status != 449 {
		t.Fatalf("no question: %v %+v", err, r)
	}
	if r, err := q.buy(saga, "another", false); err != nil || r.status != 449 { // it stays open
		t.Fatalf("no question: %v %+v", err, r)
	}
	begun, killed := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	var refuses, sold atomic.Bool
	refuses.Store(first == "person")
	q.shop.look(func() {
		q.shop.breaks = first == "ingress"
		q.shop.sale = func() {
			if first == "recovery" && sold.CompareAndSwap(false, true) {
				q.b.Load().kill()
			}
		}
		q.shop.refund = func(n int) bool {
			if refuses.Load() {
				return false
			}
			if n == 1 || first == "person" {
				begin()
				if !paid {
					<-killed
				}
			}
			return true
		}
	})
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { _, _ = q.buy(saga, "the-sale", true) })
	eventually(t, 20*time.Second, func() error {
		if q.shop.first() == "" {
			return errors.New("no sale")
		}
		return nil
	})
	if first == "recovery" {
		q.restart(t, "b")
	} else if first != "ingress" {
		asking.Wait() // the sale is at its end
	}
	tx := q.shop.first()
	undoers := q.undoers(saga, tx)
	if first == "person" {
		asking.Go(undoers["caller"])
		eventually(t, 60*time.Second, func() error {
			b := q.b.Load()
			if r := b.get(t, "/transactions/"+tx, b.operator(t)); r.member("manual_intervention") != true {
				return fmt.Errorf("no person is asked: %s", r.text)
			}
			return nil
		})
		q.restart(t, "b")
		refuses.Store(false)
		asking.Go(undoers["operator"])
	} else if ask := undoers[first]; ask != nil {
		asking.Go(ask)
	}
	select {
	case <-begun:
	case <-time.After(60 * time.Second):
		t.Fatal("nobody undoes it")
	}
	for _, ask := range undoers {
		asking.Go(ask)
	}
	time.Sleep(10 * time.Millisecond) // some of them are on their way, or there
	q.restart(t, "b")
	close(killed)
	q.askAll(t, saga, tx)
	want := []string{first}
	switch first {
	case "saga": // at b it is a caller like any other
		want = []string{"caller"}
	case "person":
		want = []string{"caller", "operator"}
	}
	if diff := cmp.Diff(want, q.begun(t, tx)); diff != "" {
		t.Errorf("who began the undo (-want +got):\n%s", diff)
	}
	if r, err := q.buy(saga, "another", true); err != nil || r.status != http.StatusConflict {
		t.Errorf("the call that a person releases when its saga is undone: %v %+v", err, r)
	}
	q.judge(t, len(want))
}
