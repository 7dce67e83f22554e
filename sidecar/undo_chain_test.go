package sidecar_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/internal/bundle"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// chain are three sidecars: a's agent calls b's, which for each task calls c's.
type chain struct {
	a, b, c        *iatptest.Node
	pa, pb, pc     *iatptest.Party
	agentB, agentC *booker
	trace          atomic.Pointer[string] // the traceparent that b's agent was given last
}

// startChain starts them. b's agent passes traceparent on, as it must.
func startChain(t *testing.T) *chain {
	t.Helper()
	pa, pb, pc := iatptest.NewParty(t), iatptest.NewParty(t), iatptest.NewParty(t)
	k := &chain{agentB: newBooker(), agentC: newBooker(), pa: pa, pb: pb, pc: pc}
	var b atomic.Pointer[iatptest.Node]
	k.agentB.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/" {
			return false
		}
		parent := r.Header.Get("Traceparent")
		k.trace.Store(&parent)
		reply := b.Load().Do(t, "POST", "/proxy/c", strings.NewReader(`{"task":"book","data":{"room":1}}`), map[string]string{"Traceparent": parent})
		if reply.Status != http.StatusOK {
			t.Errorf("b's agent calls c: %d %s", reply.Status, reply.Body)
		}
		return false
	}
	undoes := func(c *sidecar.Config) {
		c.Compensation.URL, c.Check.URL = "/cancel/{transaction_id}", "/state/{transaction_id}"
	}
	k.c = iatptest.Start(t, iatptest.Options{Manifest: undoer("hotel", `,"undo_window_seconds":0,"compensation_method":"rollback"`), Agent: k.agentC, Config: func(c *sidecar.Config) {
		pc.Listen(c)
		c.Peers = map[string]sidecar.Peer{"b": pb.AsPeer("trusted")}
		undoes(c)
	}})
	k.b = iatptest.Start(t, iatptest.Options{Manifest: undoer("travel", `,"undo_window_seconds":0,"compensation_method":"delete"`), Agent: k.agentB, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted"), "c": pc.AsPeer("verified_partner")}
		undoes(c)
	}})
	b.Store(k.b)
	k.a = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pa.Listen(c)
		c.Peers = map[string]sidecar.Peer{"b": pb.AsPeer("verified_partner")}
	}})
	return k
}

// stateAt is when a recorder has the state of a transaction of a trace, in
// milliseconds since 1970.
func stateAt(t *testing.T, n *iatptest.Node, trace, dir, state string) time.Time {
	t.Helper()
	for _, r := range n.Records(t, trace) {
		step, _ := r["tx"].(map[string]any)
		if r["dir"] == dir && step["state"] == state {
			at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(r["timestamp"]))
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
	}
	t.Errorf("no record says %s %s", dir, state)
	return time.Time{}
}

// A line is a record of a recorder that has a receipt.
type line struct {
	seq     int64
	receipt *iatp.Receipt
}

// provenBy takes a trace out of a recorder, verifies all of it under the keys of those
// who are in the chain, and returns the receipts that are on its lines, each verified
// under the key of its signer and of nobody else.
func (k *chain) provenBy(t *testing.T, n *iatptest.Node, trace string) []line {
	t.Helper()
	var data []byte
	for end := time.Now().Add(20 * time.Second); data == nil; time.Sleep(20 * time.Millisecond) {
		if r := n.Get(t, "/log/bundle?trace="+trace, n.Operator(t)); r.Status == http.StatusOK {
			data = r.Body
		} else if time.Now().After(end) {
			t.Fatalf("no bundle: %d %s", r.Status, r.Body)
		}
	}
	vkey, err := os.ReadFile(filepath.Join(n.Data, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	text := "log " + string(vkey)
	keys := map[string]iatp.KeySet{}
	for _, p := range []*iatptest.Party{k.pa, k.pb, k.pc} {
		text += fmt.Sprintf("\nagent %s %s", p.URL, p.Key.Public())
		if keys[p.URL], err = iatp.NewKeySet(iatp.DirectoryKey{Key: p.Key.Public()}); err != nil {
			t.Fatal(err)
		}
	}
	known, err := bundle.ParseKeys([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	report := b.Verify(known)
	if !report.Valid || !report.Trusted {
		t.Errorf("the bundle does not verify: %+v", report)
	}
	for _, step := range report.Steps {
		if strings.Contains(step.Text, "no record has the outcome") {
			t.Errorf("%s: %s", step.Status, step.Text)
		}
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var proven []line
	for _, rec := range n.Records(t, trace) {
		hash, ok := rec["receipt"].(string)
		if !ok {
			continue
		}
		jws, err := fs.ReadFile(archive, "receipts/"+hash+".jwt")
		if err != nil {
			t.Errorf("record %v names a receipt that is not there: %v", rec["seq"], err)
			continue
		}
		by := fmt.Sprint(rec["peer"])
		if rec["dir"] == "in" {
			by = map[*iatptest.Node]string{k.a: k.pa.URL, k.b: k.pb.URL, k.c: k.pc.URL}[n]
		}
		r, err := iatp.VerifyReceipt(string(jws), keys[by])
		if err != nil || r.Iss != by {
			t.Errorf("record %v: the receipt of %s: %v", rec["seq"], by, err)
			continue
		}
		proven = append(proven, line{int64(rec["seq"].(float64)), r})
	}
	return proven
}

// wantProven finds the one receipt of a transaction with an outcome, signed by one for
// another, and returns on which line it is.
func wantProven(t *testing.T, what string, lines []line, by, to *iatptest.Party, tx, outcome string) int64 {
	t.Helper()
	found := int64(-1)
	for _, l := range lines {
		r := l.receipt
		if r.Tx != tx || r.Outcome != outcome || r.Iss != by.URL {
			continue
		}
		if r.Aud != to.URL || found >= 0 || outcome == "compensated" && r.Req.Key != "undo:"+tx {
			t.Errorf("%s: receipt %+v, want one for %s", what, r, to.URL)
		}
		found = l.seq
	}
	if found < 0 {
		t.Errorf("%s has no receipt that %s is %s", what, tx, outcome)
	}
	return found
}

// TestChainIsUndone: what b did at c for a is undone before what b did itself, as all
// three recorders say and prove; b's answer names both in its chain. A call that b's agent makes
// for the task after that is refused.
func TestChainIsUndone(t *testing.T) {
	k := startChain(t)
	saga := openSaga(t, k.a, `{}`)
	if r := joinCall(t, k.a, "b", saga.ID); r.Status != http.StatusOK {
		t.Fatalf("call = %d %s", r.Status, r.Body)
	}
	got := cancel(t, k.a, saga.ID)
	if got.State != "compensated" || len(got.Calls) != 1 {
		t.Fatalf("saga = %+v", got)
	}
	want := []api.Link{
		{AgentID: "hotel", TransactionID: got.Chain[0].TransactionID, Method: "rollback", Status: "compensated"},
		{AgentID: "travel", TransactionID: got.Calls[0].TransactionID, Method: "delete", Status: "compensated"},
	}
	if diff := cmp.Diff(want, got.Chain); diff != "" {
		t.Errorf("chain (-want +got):\n%s", diff)
	}
	trace := string(got.Calls[0].TraceID)
	order := []time.Time{
		stateAt(t, k.a, trace, "out", "compensating"), // a asks b,
		stateAt(t, k.b, trace, "in", "compensating"),  // b takes it,
		stateAt(t, k.b, trace, "out", "compensating"), // asks c,
		stateAt(t, k.c, trace, "in", "compensating"),
		stateAt(t, k.c, trace, "in", "compensated"), // c is done,
		stateAt(t, k.b, trace, "out", "compensated"),
		stateAt(t, k.b, trace, "in", "compensated"), // then b,
		stateAt(t, k.a, trace, "out", "compensated"),
	}
	for i := 1; i < len(order); i++ {
		if order[i].Before(order[i-1]) {
			t.Errorf("step %d is recorded before step %d: %v", i, i-1, order)
		}
	}
	k.proveOrder(t, trace, got.Calls[0].TransactionID, got.Chain[0].TransactionID)
	for name, agent := range map[string]*booker{"b": k.agentB, "c": k.agentC} {
		agent.look(func() {
			if agent.effects != 1 {
				t.Errorf("%s's agent canceled %d times", name, agent.effects)
			}
		})
	}
	late := k.b.Do(t, "POST", "/proxy/c", strings.NewReader(bookIt), map[string]string{"Traceparent": *k.trace.Load()})
	if got := slug(t, late); got != "409 saga-over" {
		t.Errorf("a late call for a task that is undone = %s", got)
	}
}

// proveOrder: the recorders of all three hold the receipts that say what was done and
// undone, signed by who did it, and b's says that c was done before b was.
func (k *chain) proveOrder(t *testing.T, trace, atB, atC string) {
	t.Helper()
	ofA, ofB, ofC := k.provenBy(t, k.a, trace), k.provenBy(t, k.b, trace), k.provenBy(t, k.c, trace)
	for _, outcome := range []string{"executed", "compensated"} {
		wantProven(t, "a", ofA, k.pb, k.pa, atB, outcome)
		wantProven(t, "c", ofC, k.pc, k.pb, atC, outcome)
		c, b := wantProven(t, "b", ofB, k.pc, k.pb, atC, outcome), wantProven(t, "b", ofB, k.pb, k.pa, atB, outcome)
		if c > b {
			t.Errorf("b's recorder has that c %s in record %d, and that b did in record %d", outcome, c, b)
		}
	}
	if len(ofA) != 2 || len(ofB) != 4 || len(ofC) != 2 {
		t.Errorf("%d, %d and %d receipts, want 2, 4 and 2", len(ofA), len(ofB), len(ofC))
	}
}

// TestChainsDoNotCross: two tasks with one trace id have each their own calls at c, and
// the undo of one leaves those of the other (a trace id is a label, and no authority).
func TestChainsDoNotCross(t *testing.T) {
	k := startChain(t)
	trace := map[string]string{"X-Agent-Trace-ID": "e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f"}
	one, two := openSaga(t, k.a, ""), openSaga(t, k.a, "")
	for _, s := range []*api.Saga{one, two} {
		trace["Iatp-Saga"] = s.ID
		if r := k.a.Do(t, "POST", "/proxy/b", strings.NewReader(bookIt), trace); r.Status != http.StatusOK {
			t.Fatalf("call = %d %s", r.Status, r.Body)
		}
	}
	if got := cancel(t, k.a, one.ID); got.State != "compensated" || len(got.Chain) != 2 {
		t.Errorf("saga = %+v", got)
	}
	k.agentC.look(func() {
		if k.agentC.effects != 1 {
			t.Errorf("c's agent canceled %d of two bookings, want that of the one task", k.agentC.effects)
		}
	})
	if r := k.a.Do(t, "POST", "/sagas/"+two.ID+"/close", nil, nil); r.Status != http.StatusOK {
		t.Errorf("close of the other = %d %s", r.Status, r.Body)
	}
}

// TestSagaOnFailure: a saga that wants it is cancelled by the first call that does not
// end well, and one whose deadline passes by itself.
func TestSagaOnFailure(t *testing.T) {
	agent := newBooker()
	a, _ := undoPair(t, agent, `,"undo_window_seconds":0`, nil)
	state := func(id, want string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			s := readInto[api.Saga](t, a.Get(t, "/sagas/"+id, nil))
			if s.State == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("saga = %+v, want %s", s, want)
			}
		}
	}
	saga := openSaga(t, a, `{"on_failure":"compensate"}`)
	joinCall(t, a, "b", saga.ID)
	agent.look(func() {
		agent.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/" {
				http.Error(w, "sold out", http.StatusConflict)
				return true
			}
			return false
		}
	})
	if r := joinCall(t, a, "b", saga.ID); r.Status != http.StatusConflict {
		t.Fatalf("a call that fails = %d", r.Status)
	}
	state(saga.ID, "compensated")

	agent.look(func() { agent.before = nil })
	short := openSaga(t, a, fmt.Sprintf(`{"deadline":%q}`, time.Now().Add(3*time.Second).UTC().Format(time.RFC3339)))
	joinCall(t, a, "b", short.ID)
	state(short.ID, "compensated")
	agent.look(func() {
		if agent.effects != 2 {
			t.Errorf("%d cancellations, want 2", agent.effects)
		}
	})

	kept := openSaga(t, a, `{"on_failure":"keep"}`)
	joinCall(t, a, "b", kept.ID)
	for range 2 {
		if r := a.Do(t, "POST", "/sagas/"+kept.ID+"/close", nil, nil); r.Status != http.StatusOK || readInto[api.Saga](t, r).State != "closed" {
			t.Errorf("close = %d %s", r.Status, r.Body)
		}
	}
	if r := a.Do(t, "POST", "/sagas/"+kept.ID+"/cancel", nil, nil); r.Status != http.StatusConflict {
		t.Errorf("cancel of what is kept = %d %s", r.Status, r.Body)
	}
	for path, want := range map[string]int{"/sagas/saga_x": 404, "/sagas/" + kept.ID + "/explode": 404} {
		if r := a.Get(t, path, nil); r.Status != want {
			t.Errorf("GET %s = %d, want %d", path, r.Status, want)
		}
	}
	for _, body := range []string{
		`{"deadline":"2020-01-01T00:00:00Z"}`, `{"deadline":"2099-01-01T00:00:00Z"}`, `{"on_failure":"explode"}`, `{"on_failure":"keep","on_failure":"compensate"}`,
		`{"On_Failure":"compensate"}`, `null`, `[]`, `{} {}`, "{\"on_failure\":\"keep\xff\"}",
	} {
		if r := a.Do(t, "POST", "/sagas", strings.NewReader(body), nil); r.Status != http.StatusBadRequest {
			t.Errorf("a saga of %s = %d", body, r.Status)
		}
	}
}
