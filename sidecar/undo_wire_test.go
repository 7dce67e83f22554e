package sidecar_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/internal/httpsig"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// hand is somebody who signs requests by hand.
type hand struct {
	party *iatptest.Party
	to    string    // origin of the sidecar that is asked
	mft   string    // digest of its manifest
	at    time.Time // when it says that it signs; zero: now
}

// ask sends a signed request. Without a body it is a GET.
func (h *hand) ask(t *testing.T, method, path, key, body string) *iatptest.Reply {
	t.Helper()
	req, err := http.NewRequest(method, h.to+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {"hand"}}
	if method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Content-Digest", iatp.DigestOf([]byte(body)).ContentDigest())
		req.Header.Set("Idempotency-Key", iatp.FormatIdempotencyKey(key))
	}
	if path == "/task" {
		req.Header.Set("Iatp-Manifest", h.mft)
	}
	var nonce [16]byte
	rand.Read(nonce[:])
	now := h.at
	if now.IsZero() {
		now = time.Now()
	}
	signer := httpsig.Signer{Key: h.party.Key, Agent: h.party.URL}
	if _, err := signer.Sign(&httpsig.Message{Method: method, TargetURI: h.to + path, Header: req.Header}, now, now.Add(time.Minute), base64.RawURLEncoding.EncodeToString(nonce[:])); err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &iatptest.Reply{Status: resp.StatusCode, Header: resp.Header, Body: b}
}

// byHand starts a sidecar whose agent undoes, and two that may call it.
func byHand(t *testing.T, agent http.Handler, manifest string, change func(*sidecar.Config)) (b *iatptest.Node, caller, third *hand) {
	t.Helper()
	pb, pa, pc := iatptest.NewParty(t), iatptest.NewParty(t), iatptest.NewParty(t)
	b = iatptest.Start(t, iatptest.Options{Manifest: manifest, Agent: agent, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted"), "c": pc.AsPeer("trusted")}
		c.Limits.PerPeer = sidecar.PerPeer{Rate: sidecar.Rate{N: 100000, Per: time.Second}, Burst: 100000}
		c.Compensation.URL, c.Check.URL = "/cancel/{transaction_id}", "/state/{transaction_id}"
		if change != nil {
			change(c)
		}
	}})
	m, err := iatp.ParseManifest(b.Get(t, "/capabilities", nil).Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.Digest()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := iatp.ParseContentDigest(text)
	if err != nil {
		t.Fatal(err)
	}
	return b, &hand{party: pa, to: pb.URL, mft: digest.ByteSequence()}, &hand{party: pc, to: pb.URL, mft: digest.ByteSequence()}
}

const bookIt = `{"task":"book","data":{"to":"NYC"}}`

// book has a task executed and returns the id of its transaction, out of the receipt.
func (h *hand) book(t *testing.T, key string) string {
	t.Helper()
	r := h.ask(t, "POST", "/task", key, bookIt)
	tx := txOf(t, r)
	if r.Status != http.StatusOK || tx == "" {
		t.Fatalf("task = %d %s", r.Status, r.Body)
	}
	return tx
}

// claimsOf are the claims of an answer's receipt.
func claimsOf(t *testing.T, r *iatptest.Reply) map[string]any {
	t.Helper()
	parts := strings.Split(r.Header.Get("Iatp-Receipt"), ".")
	if len(parts) != 3 {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	return (&iatptest.Reply{Body: b}).Problem(t)
}

func txOf(t *testing.T, r *iatptest.Reply) string {
	t.Helper()
	tx, _ := claimsOf(t, r)["tx"].(string)
	return tx
}

// undo asks for an undo.
func (h *hand) undo(t *testing.T, tx string) *iatptest.Reply {
	t.Helper()
	return h.ask(t, "POST", "/compensate/"+tx, "undo:"+tx, `{"reason":"user_requested"}`)
}

// undone asks until the answer is the last word.
func (h *hand) undone(t *testing.T, tx string) *iatptest.Reply {
	t.Helper()
	for range 1500 {
		if r := h.undo(t, tx); r.Status != http.StatusAccepted {
			return r
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("no last word")
	return nil
}

func slug(t *testing.T, r *iatptest.Reply) string {
	t.Helper()
	text := fmt.Sprint(r.Problem(t)["type"])
	return fmt.Sprintf("%d %s", r.Status, text[strings.LastIndexByte(text, '/')+1:])
}

func TestUndoIsForTheCaller(t *testing.T) {
	agent := newBooker()
	agent.fee = "50"
	b, caller, third := byHand(t, agent, undoer("booking", refundMinusFee), nil)
	tx := caller.book(t, "k1")
	none := "tx_" + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{1}, 16))
	for _, c := range []struct {
		what string
		r    *iatptest.Reply
		want string
	}{
		{"a third key undoes", third.undo(t, tx), "404 not-found"},
		{"a third key looks", third.ask(t, "GET", "/transactions/"+tx, "", ""), "404 not-found"},
		{"one that does not exist", caller.undo(t, none), "404 not-found"},
		{"something else", caller.ask(t, "GET", "/transactions/tx_..", "", ""), "404 not-found"},
		{"another key", caller.ask(t, "POST", "/compensate/"+tx, "k2", ""), "400 invalid-request"},
		{"a member that nobody knows", caller.ask(t, "POST", "/compensate/"+tx, "undo:"+tx, `{"amount":"1"}`), "400 invalid-request"},
	} {
		if got := slug(t, c.r); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	shown := readInto[api.Transaction](t, caller.ask(t, "GET", "/transactions/"+tx, "", ""))
	if shown.State != "committed" || shown.Level != "partial" || shown.MaxFee != "50.00" || shown.UndoUntil == nil || shown.Peer != "" || len(shown.Receipts) != 1 {
		t.Errorf("transaction = %+v", shown)
	}
	first := caller.undone(t, tx)
	got := readInto[api.Compensation](t, first)
	want := &api.Compensation{
		Success: true, TransactionID: tx, TraceID: got.TraceID, State: "partially_compensated", Applied: "refund_minus_fee", AmountReturned: "150.00",
		FeeCharged: "50.00", Currency: "USD", CompletionMS: got.CompletionMS,
		Chain: []api.Link{{AgentID: "booking", TransactionID: tx, Method: "refund_minus_fee", Status: "partially_compensated"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || first.Status != http.StatusOK {
		t.Errorf("undo = %d (-want +got):\n%s", first.Status, diff)
	}
	claims := claimsOf(t, first)
	if claims["tx"] != tx || claims["outcome"] != "partially_compensated" || fmt.Sprint(claims["cost"]) != "map[amount:50.00 cur:USD]" {
		t.Errorf("receipt = %v", claims)
	}
	if again := caller.undone(t, tx); string(again.Body) != string(first.Body) || again.Status != first.Status {
		t.Errorf("a repetition answers %d %s, want %d %s", again.Status, again.Body, first.Status, first.Body)
	}
	agent.look(func() {
		if agent.effects != 1 || agent.asked != 1 {
			t.Errorf("the agent was asked %d times, with %d effects; want once", agent.asked, agent.effects)
		}
	})
	types := iatptest.Types(b.Records(t, string(got.TraceID)))
	if types != "request response compensation compensation compensation" { // it begins, it is done, its first receipt
		t.Errorf("records of the trace: %s", types)
	}
}

// TestUndoRequests sends each request of spec/vectors/reversibility.json.
func TestUndoRequests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "spec", "vectors", "reversibility.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Requests []struct {
			Body string
			OK   bool
		}
	}
	if err := json.Unmarshal(text, &v); err != nil || len(v.Requests) == 0 {
		t.Fatalf("%d requests, %v", len(v.Requests), err)
	}
	_, caller, _ := byHand(t, newBooker(), undoer("booking", `,"undo_window_seconds":0`), nil)
	for i, one := range v.Requests {
		tx := caller.book(t, fmt.Sprint("k", i))
		r := caller.ask(t, "POST", "/compensate/"+tx, "undo:"+tx, one.Body)
		if taken := r.Status == http.StatusOK || r.Status == http.StatusAccepted; taken != one.OK || !taken && r.Status != http.StatusBadRequest {
			t.Errorf("%q: %d %s, want it taken: %t", one.Body, r.Status, r.Body, one.OK)
		}
	}
}

func TestUndoWindow(t *testing.T) {
	agent := newBooker()
	_, caller, _ := byHand(t, agent, undoer("booking", `,"undo_window_seconds":1`), nil)
	tx := caller.book(t, "k1")
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		caller.at = time.Now().Add(29 * time.Second) // the clock of a caller that is ahead, as far as it may be
		shown := readInto[api.Transaction](t, caller.ask(t, "GET", "/transactions/"+tx, "", ""))
		if until := shown.UndoUntil.Add(30 * time.Second); caller.at.After(until.Add(time.Second)) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the window does not end")
		}
	}
	if got := slug(t, caller.undo(t, tx)); got != "409 undo-window-expired" {
		t.Errorf("undo after the window = %s", got)
	}
	agent.look(func() {
		if agent.asked != 0 {
			t.Errorf("the agent was asked %d times after the window", agent.asked)
		}
	})
}

// A window that ends after all calendars has no end.
func TestUndoWindowBeyondTheCalendar(t *testing.T) {
	for _, window := range []string{"300000000000", "9007199254740991"} {
		_, caller, _ := byHand(t, newBooker(), undoer("booking", `,"undo_window_seconds":`+window), nil)
		tx := caller.book(t, "k1")
		if shown := readInto[api.Transaction](t, caller.ask(t, "GET", "/transactions/"+tx, "", "")); shown.State != "committed" || shown.UndoUntil != nil {
			t.Errorf("window %s: %+v, want it committed, without an end", window, shown)
		}
		if r := caller.undone(t, tx); r.Status != http.StatusOK {
			t.Errorf("window %s: undo = %d %s", window, r.Status, r.Body)
		}
	}
}

func TestNothingWasPromised(t *testing.T) {
	_, caller, _ := byHand(t, newBooker(), iatptest.Friend, nil)
	if got := slug(t, caller.undo(t, caller.book(t, "k1"))); got != "409 not-reversible" {
		t.Errorf("undo = %s", got)
	}
}

func TestUntilState(t *testing.T) {
	agent := newBooker()
	_, caller, _ := byHand(t, agent, undoer("shop", `,"undo_window_seconds":0,"undo_conditions":{"until_state":"shipped"}`), nil)
	one, two := caller.book(t, "k1"), caller.book(t, "k2")
	var silent atomic.Int32 // how often the agent does not say how far it is
	agent.look(func() {
		agent.state = "packed"
		agent.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || silent.Add(1) > 3 {
				return false
			}
			agent.look(func() {
				if agent.effects != 0 {
					t.Error("undone while nobody knows whether it was shipped")
				}
			})
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return true
		}
	})
	if r := caller.undone(t, one); r.Status != http.StatusOK {
		t.Errorf("undo before it was shipped = %d %s", r.Status, r.Body)
	}
	agent.look(func() { agent.state = "shipped" })
	if got := slug(t, caller.undo(t, two)); got != "409 undo-conflict" {
		t.Errorf("undo after it was shipped = %s", got)
	}
}

// TestUndoFails: the agent fails for longer than its manifest takes for an undo. The
// caller is told, a person is asked, and when the person has it tried again it works.
func TestUndoFails(t *testing.T) {
	agent := newBooker()
	agent.fail = 1 << 20
	b, caller, _ := byHand(t, agent, undoer("booking", `,"undo_window_seconds":0`), nil)
	tx := caller.book(t, "k1")
	if got := slug(t, caller.undone(t, tx)); got != "502 compensation-failed" {
		t.Fatalf("undo = %s", got)
	}
	shown := readInto[api.Transaction](t, caller.ask(t, "GET", "/transactions/"+tx, "", ""))
	if shown.State != "compensation_failed" || !shown.Manual || shown.Code != "not_in_time" {
		t.Errorf("transaction = %+v", shown)
	}
	list := readInto[api.Transactions](t, b.Get(t, "/transactions", b.Operator(t)))
	if len(list.Transactions) != 1 || !list.Transactions[0].Manual {
		t.Errorf("GET /transactions = %+v", list)
	}
	if !strings.Contains(string(b.Get(t, "/metrics", nil).Body), "iatp_undo_waiting 1") {
		t.Error("no metric says that a person is asked")
	}
	agent.look(func() {
		agent.fail = 0
		if len(agent.bodies) != 1 || agent.asked < 3 {
			t.Errorf("the agent was asked %d times with %d bodies", agent.asked, len(agent.bodies))
		}
	})
	if r := b.Do(t, "POST", "/transactions/"+tx+"/undo", strings.NewReader(`{}`), b.Operator(t)); r.Status != http.StatusOK {
		t.Errorf("undo by hand = %d %s", r.Status, r.Body)
	}
	if r := caller.undone(t, tx); r.Status != http.StatusOK || claimsOf(t, r)["outcome"] != "compensated" {
		t.Errorf("the caller gets %d %s", r.Status, r.Body)
	}
	if r := b.Do(t, "POST", "/transactions/"+tx+"/undo", strings.NewReader(`{}`), nil); r.Status != http.StatusUnauthorized {
		t.Errorf("undo without the operator's token = %d", r.Status)
	}
}

// TestManualIntervention: the agent is not called, a person is asked, and her word is
// what the caller gets.
func TestManualIntervention(t *testing.T) {
	agent := newBooker()
	b, caller, _ := byHand(t, agent, undoer("lawyer", `,"undo_window_seconds":0,"compensation_method":"manual_intervention","max_fee":"50.00","currency":"USD"`), nil)
	tx := caller.book(t, "k1")
	if r := caller.undo(t, tx); r.Status != http.StatusAccepted || !readInto[api.Compensation](t, r).Manual {
		t.Fatalf("undo = %d %s", r.Status, r.Body)
	}
	say := func(body string) *iatptest.Reply {
		return b.Do(t, "POST", "/transactions/"+tx+"/resolve", strings.NewReader(body), b.Operator(t))
	}
	if r := say(`{"state":"closed","by":"alice"}`); r.Status != http.StatusConflict {
		t.Errorf("a state that cannot be = %d %s", r.Status, r.Body)
	}
	for _, body := range []string{
		`{"state":"compensated","by":"alice","fee_charged":"20.00","currency":"USD"}`, `{"state":"compensated","state":"failed","by":"alice"}`, `{"STATE":"compensated","by":"alice"}`,
	} {
		if r := say(body); r.Status != http.StatusBadRequest {
			t.Errorf("resolve with %s = %d %s", body, r.Status, r.Body)
		}
	}
	r := say(`{"state":"partially_compensated","by":"alice","note":"called them","fee_charged":"50.01","currency":"USD"}`)
	if got := readInto[api.Transaction](t, r); r.Status != http.StatusOK || got.Manual || got.Code != "fee_breach" || !got.Breach {
		t.Fatalf("resolve = %d %s", r.Status, r.Body)
	}
	r = caller.undone(t, tx)
	if got := readInto[api.Compensation](t, r); r.Status != http.StatusOK || got.State != "partially_compensated" || got.FeeCharged != "50.01" || got.Manual || !got.Breach {
		t.Errorf("the caller gets %d %s", r.Status, r.Body)
	}
	if !strings.Contains(string(b.Get(t, "/metrics", nil).Body), "iatp_undo_fee_breaches_total 1") {
		t.Error("no metric counts the breach")
	}
	if r := say(`{"state":"compensated","by":"bob"}`); r.Status != http.StatusConflict {
		t.Errorf("a second word = %d %s", r.Status, r.Body)
	}
	agent.look(func() {
		if agent.asked != 0 {
			t.Errorf("the agent was asked %d times, and a person should be", agent.asked)
		}
	})
}

// TestFeeBreach: a fee above the maximum is said, and recorded.
func TestFeeBreach(t *testing.T) {
	agent := newBooker()
	agent.fee = "50.01"
	b, caller, _ := byHand(t, agent, undoer("booking", refundMinusFee), nil)
	r := caller.undone(t, caller.book(t, "k1"))
	if got := readInto[api.Compensation](t, r); r.Status != http.StatusOK || !got.Breach || got.FeeCharged != "50.01" {
		t.Errorf("undo = %d %s", r.Status, r.Body)
	}
	if !strings.Contains(string(b.Get(t, "/metrics", nil).Body), "iatp_undo_fee_breaches_total 1") {
		t.Error("no metric counts the breach")
	}
}

// TestUndoWhileActive: an undo of a task under way is taken, and done when it has ended.
func TestUndoWhileActive(t *testing.T) {
	agent := newBooker()
	started, goOn := make(chan string, 1), make(chan struct{})
	agent.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/" {
			started <- r.Header.Get("Iatp-Transaction")
			<-goOn
		}
		return false
	}
	_, caller, _ := byHand(t, agent, undoer("booking", `,"undo_window_seconds":0`), nil)
	var answer *iatptest.Reply
	var wg sync.WaitGroup
	wg.Go(func() { answer = caller.ask(t, "POST", "/task", "k1", bookIt) })
	tx := <-started
	for range 2 {
		if r := caller.undo(t, tx); r.Status != http.StatusAccepted || readInto[api.Compensation](t, r).State != "active" {
			t.Errorf("undo of a task under way = %d %s", r.Status, r.Body)
		}
	}
	close(goOn)
	wg.Wait()
	if answer.Status != http.StatusOK {
		t.Errorf("the task = %d %s", answer.Status, answer.Body)
	}
	if r := caller.undone(t, tx); r.Status != http.StatusOK || readInto[api.Compensation](t, r).State != "compensated" {
		t.Errorf("undo = %d %s", r.Status, r.Body)
	}
	agent.look(func() {
		if agent.effects != 1 {
			t.Errorf("%d cancellations had an effect", agent.effects)
		}
	})
}

// TestNullCompensation: what never happened is undone without a word to the agent.
func TestNullCompensation(t *testing.T) {
	agent := newBooker()
	agent.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/" {
			http.Error(w, "no seats", http.StatusConflict)
			return true
		}
		return false
	}
	_, caller, _ := byHand(t, agent, undoer("booking", `,"undo_window_seconds":0`), nil)
	tx := txOf(t, caller.ask(t, "POST", "/task", "k1", bookIt))
	r := caller.undone(t, tx)
	if got := readInto[api.Compensation](t, r); r.Status != http.StatusOK || !got.Success || got.Applied != "none" || got.State != "failed" || claimsOf(t, r)["outcome"] != "none" {
		t.Errorf("undo = %d %s", r.Status, r.Body)
	}
	agent.look(func() {
		if agent.asked != 0 {
			t.Error("the agent was asked to undo what it did not do")
		}
	})
}

// TestIngressRecovers: what fails half way is undone before the caller is answered,
// unless the agent says that it did nothing, or all of it; with recovery off nothing is
// done.
func TestIngressRecovers(t *testing.T) {
	for _, c := range []struct {
		name     string
		booked   bool
		state    string
		off      bool
		strategy string
		success  bool
		outcome  string
		effects  int
	}{
		{"half done", true, "partial", false, "rollback", true, "compensated", 1},
		{"not done", false, "", false, "rollback", true, "failed", 0},
		{"done", true, "done", false, "give_up", false, "executed", 0},
		{"recovery is off", true, "partial", true, "", false, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			agent := newBooker()
			agent.state = c.state
			agent.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/" {
					return false
				}
				agent.look(func() { agent.booked[r.Header.Get("Iatp-Transaction")] = c.booked })
				http.Error(w, "half way", http.StatusInternalServerError)
				return true
			}
			_, caller, _ := byHand(t, agent, undoer("db", `,"undo_window_seconds":0`), func(cfg *sidecar.Config) {
				if c.off {
					cfg.Recovery = sidecar.RecoveryOff
				}
			})
			r := caller.ask(t, "POST", "/task", "k1", bookIt)
			if c.off {
				if r.Status != http.StatusInternalServerError || claimsOf(t, r)["outcome"] != "unknown" {
					t.Errorf("answer = %d %s %v", r.Status, r.Body, claimsOf(t, r))
				}
			} else {
				p := r.Problem(t)
				rec, _ := p["recovery"].(map[string]any)
				if r.Status != http.StatusBadGateway || rec["strategy"] != c.strategy || rec["success"] != c.success || p["outcome"] != c.outcome || claimsOf(t, r)["outcome"] != c.outcome {
					t.Errorf("answer = %d %s, receipt %v", r.Status, r.Body, claimsOf(t, r))
				}
			}
			agent.look(func() {
				if agent.effects != c.effects {
					t.Errorf("%d cancellations had an effect, want %d", agent.effects, c.effects)
				}
			})
			if r := caller.undone(t, txOf(t, r)); !c.off && c.outcome != "executed" && r.Status != http.StatusOK {
				t.Errorf("an undo after it = %d %s", r.Status, r.Body)
			}
		})
	}
}

// TestUndoOvertakesCheck: an undo that is asked for while the agent is still being asked
// what became of the task goes ahead, whatever it says then.
func TestUndoOvertakesCheck(t *testing.T) {
	agent := newBooker()
	agent.state = "partial"
	checked, release := make(chan struct{}), make(chan struct{})
	var once, open sync.Once
	t.Cleanup(func() { open.Do(func() { close(release) }) })
	agent.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/state/") {
			once.Do(func() { close(checked) })
			<-release
			return false
		}
		if r.URL.Path != "/" {
			return false
		}
		agent.look(func() { agent.booked[r.Header.Get("Iatp-Transaction")] = true })
		http.Error(w, "half way", http.StatusInternalServerError)
		return true
	}
	_, caller, _ := byHand(t, agent, undoer("db", `,"undo_window_seconds":0`), func(cfg *sidecar.Config) { cfg.Recovery = sidecar.RecoveryOff })
	tx := txOf(t, caller.ask(t, "POST", "/task", "k1", bookIt))
	<-checked
	asked := make(chan int)
	go func() { asked <- caller.undo(t, tx).Status }()
	for got := ""; got != "compensating"; time.Sleep(5 * time.Millisecond) {
		got = string(readInto[api.Transaction](t, caller.ask(t, "GET", "/transactions/"+tx, "", "")).State)
	}
	open.Do(func() { close(release) })
	if status := <-asked; status != http.StatusOK && status != http.StatusAccepted {
		t.Errorf("undo = %d", status)
	}
	if r := caller.undone(t, tx); r.Status != http.StatusOK {
		t.Errorf("undo = %d %s", r.Status, r.Body)
	}
}

// TestUndoIsOne: many ask at once, and the agent undoes once.
func TestUndoIsOne(t *testing.T) {
	agent := newBooker()
	b, caller, _ := byHand(t, agent, undoer("booking", `,"undo_window_seconds":0`), nil)
	tx := caller.book(t, "k1")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if i%2 == 0 {
				caller.undo(t, tx)
			} else {
				b.Do(t, "POST", "/transactions/"+tx+"/undo", strings.NewReader(`{}`), b.Operator(t))
			}
		})
	}
	wg.Wait()
	if r := caller.undone(t, tx); r.Status != http.StatusOK {
		t.Errorf("undo = %d %s", r.Status, r.Body)
	}
	agent.look(func() {
		if agent.effects != 1 || agent.asked != 1 {
			t.Errorf("the agent was asked %d times, with %d effects", agent.asked, agent.effects)
		}
	})
	states := ""
	for _, rec := range b.Records(t, string(readInto[api.Transaction](t, caller.ask(t, "GET", "/transactions/"+tx, "", "")).TraceID)) {
		if step, ok := rec["tx"].(map[string]any); ok && rec["type"] == string(flight.Compensation) {
			states += fmt.Sprint(step["state"], " ")
		}
	}
	if states != "compensating compensated <nil> " { // the last is the first receipt of many
		t.Errorf("recorded of the undo: %s", states)
	}
}
