package sidecar_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// booker is an agent that books and cancels. It honours idempotency keys.
type booker struct {
	mu       sync.Mutex
	booked   map[string]bool   // by transaction
	canceled map[string]string // by transaction: the body of the cancellation
	effects  int               // cancellations that had an effect
	asked    int               // cancellations that were asked for
	bodies   map[string]bool   // different ones
	fail     int               // so many cancellations fail first
	fee      string
	state    string // what the check says
	before   func(w http.ResponseWriter, r *http.Request) bool
}

func newBooker() *booker {
	return &booker{booked: map[string]bool{}, canceled: map[string]string{}, bodies: map[string]bool{}}
}

func (b *booker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("Iatp-Transaction")
	b.mu.Lock()
	before := b.before
	b.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	body := readAll(r)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case strings.HasPrefix(r.URL.Path, "/cancel/"):
		b.asked++
		b.bodies[body] = true
		if b.fail > 0 {
			b.fail--
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		if !b.booked[id] {
			http.Error(w, "never heard of it", http.StatusNotFound)
			return
		}
		if r.Header.Get("Idempotency-Key") != `"undo:`+id+`"` || r.URL.Path != "/cancel/"+id {
			http.Error(w, "bad key", http.StatusBadRequest)
			return
		}
		if _, done := b.canceled[id]; !done {
			b.effects++
			b.canceled[id] = body
		}
		if b.fee != "" {
			fmt.Fprintf(w, `{"amount_returned":150.00,"fee_charged":%s,"currency":"USD"}`, b.fee)
			return
		}
		fmt.Fprint(w, `{}`)
	case strings.HasPrefix(r.URL.Path, "/state/"):
		if !b.booked[strings.TrimPrefix(r.URL.Path, "/state/")] {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"executed":true,"state":%q}`, b.state)
	default:
		b.booked[id] = true
		w.Header().Set("Iatp-Undo-Data", "seat 12F")
		fmt.Fprint(w, `{"confirmation":"999"}`)
	}
}

func readAll(r *http.Request) string {
	var text strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := r.Body.Read(buf)
		text.Write(buf[:n])
		if err != nil {
			return text.String()
		}
	}
}

// look reads figures under the lock.
func (b *booker) look(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// undoer is the manifest of an agent that undoes.
func undoer(name, rest string) string {
	return fmt.Sprintf(`{"identity":{"agent_id":%q},"trust_level":"verified_partner","reversibility":{"level":"partial","compensation_sla_ms":3000%s},"privacy":{"retention_policy":"temporary"}}`, name, rest)
}

const refundMinusFee = `,"undo_window_seconds":3600,"compensation_method":"refund_minus_fee","max_fee":"50.00","currency":"USD"`

// undoPair starts two sidecars; the agent beside b undoes.
func undoPair(t *testing.T, agent *booker, reversibility string, change func(a, b *iatptest.Options)) (a, b *iatptest.Node) {
	t.Helper()
	return iatptest.Pair(t, func(oa, ob *iatptest.Options) {
		ob.Manifest, ob.Agent = undoer("booking", reversibility), agent
		configure := ob.Config
		ob.Config = func(c *sidecar.Config) {
			configure(c)
			c.Compensation.URL, c.Check.URL = "/cancel/{transaction_id}", "/state/{transaction_id}"
		}
		if change != nil {
			change(oa, ob)
		}
	})
}

// openSaga opens a saga at a sidecar.
func openSaga(t *testing.T, n *iatptest.Node, body string) *api.Saga {
	t.Helper()
	r := n.Do(t, "POST", "/sagas", strings.NewReader(body), nil)
	if r.Status != http.StatusCreated || r.Header.Get("Location") == "" {
		t.Fatalf("POST /sagas = %d %s", r.Status, r.Body)
	}
	return readInto[api.Saga](t, r)
}

func readInto[T any](t *testing.T, r *iatptest.Reply) *T {
	t.Helper()
	v := new(T)
	if err := json.Unmarshal(r.Body, v); err != nil {
		t.Fatalf("%d: %v: %s", r.Status, err, r.Body)
	}
	return v
}

// joinCall makes a call that is a part of a saga.
func joinCall(t *testing.T, n *iatptest.Node, peer, saga string) *iatptest.Reply {
	t.Helper()
	return n.Do(t, "POST", "/proxy/"+peer, strings.NewReader(`{"task":"book","data":{"to":"NYC"}}`), map[string]string{"Iatp-Saga": saga})
}

// cancel cancels a saga and waits until that is done.
func cancel(t *testing.T, n *iatptest.Node, saga string) *api.Saga {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		if r := n.Do(t, "POST", "/sagas/"+saga+"/cancel", strings.NewReader(`{"reason":"the trip is off"}`), nil); r.Status != http.StatusAccepted {
			if r.Status != http.StatusOK {
				t.Fatalf("cancel = %d %s", r.Status, r.Body)
			}
			return readInto[api.Saga](t, r)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the saga is not undone in a minute")
	return nil
}

// TestSagaIsUndone books twice and cancels: everything is undone, for a fee, with
// receipts on both sides, and asking again changes nothing.
func TestSagaIsUndone(t *testing.T) {
	agent := newBooker()
	agent.fee, agent.fail = "50.00", 1
	a, b := undoPair(t, agent, refundMinusFee, nil)
	saga := openSaga(t, a, "")
	for range 2 {
		if r := joinCall(t, a, "b", saga.ID); r.Status != http.StatusOK || r.Header.Get("Iatp-Undo-Data") != "" {
			t.Fatalf("call = %d %s %v", r.Status, r.Body, r.Header)
		}
	}
	got := cancel(t, a, saga.ID)
	if got.State != "partially_compensated" || len(got.Calls) != 2 || len(got.Chain) != 2 || got.EndedAt == nil {
		t.Fatalf("saga = %+v", got)
	}
	for i, c := range got.Calls {
		want := api.Call{
			ID: c.ID, Peer: c.Peer, TraceID: c.TraceID, State: "partially_compensated", TransactionID: c.TransactionID, Level: "partial",
			UndoUntil: c.UndoUntil, MaxFee: "50.00", Fee: "50.00", Returned: "150.00", Currency: "USD",
		}
		if diff := cmp.Diff(want, c); diff != "" || c.UndoUntil == nil || !strings.HasPrefix(c.ID, "call_") {
			t.Errorf("call %d (-want +got):\n%s", i, diff)
		}
		link := api.Link{AgentID: "booking", TransactionID: got.Calls[1-i].TransactionID, Method: "refund_minus_fee", Status: "partially_compensated"}
		if diff := cmp.Diff(link, got.Chain[i]); diff != "" {
			t.Errorf("link %d, the last call comes first (-want +got):\n%s", i, diff)
		}
		tx := readInto[api.Transaction](t, b.Get(t, "/transactions/"+c.TransactionID, b.Operator(t)))
		states := ""
		for _, s := range tx.History {
			states += s.State + " "
		}
		if states != "active committed compensating partially_compensated " || tx.Fee != "50.00" || len(tx.Receipts) != 2 {
			t.Errorf("transaction %d = %s%+v", i, states, tx)
		}
	}
	again := cancel(t, a, saga.ID)
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("a second cancel answers something else (-first +second):\n%s", diff)
	}
	agent.look(func() {
		if agent.effects != 2 || len(agent.bodies) != 2 {
			t.Errorf("%d cancellations had an effect, with %d bodies; want 2 and 2", agent.effects, len(agent.bodies))
		}
		for id, body := range agent.canceled {
			var o struct {
				ID       string          `json:"transaction_id"`
				Original json.RawMessage `json:"original"`
				UndoData string          `json:"undo_data"`
				Reason   string          `json:"reason"`
			}
			if err := json.Unmarshal([]byte(body), &o); err != nil || o.ID != id || string(o.Original) != `{"task":"book","data":{"to":"NYC"}}` || o.UndoData != "seat 12F" || o.Reason != "the trip is off" {
				t.Errorf("the agent got %s", body)
			}
		}
	})
	if r := joinCall(t, a, "b", saga.ID); r.Status != http.StatusConflict || !strings.HasSuffix(fmt.Sprint(r.Problem(t)["type"]), iatp.SlugSagaOver) {
		t.Errorf("a call in a saga that is over = %d %s", r.Status, r.Body)
	}
	if r := a.Do(t, "POST", "/sagas/"+saga.ID+"/close", nil, nil); r.Status != http.StatusConflict {
		t.Errorf("close of a saga that is undone = %d %s", r.Status, r.Body)
	}
}
