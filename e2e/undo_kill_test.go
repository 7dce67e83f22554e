package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tripDesk is an agent that books and cancels, honours keys, and can have somebody
// killed in the middle of a cancellation.
type tripDesk struct {
	mu       sync.Mutex
	booked   map[string]int // executions by transaction
	canceled map[string]int // effects by transaction
	order    []string       // transactions in the order in which they were canceled
	strike   func(n int, before bool)
}

func (d *tripDesk) serve(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("Iatp-Transaction")
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	if !strings.HasPrefix(r.URL.Path, "/cancel/") {
		d.mu.Lock()
		d.booked[id]++
		d.mu.Unlock()
		fmt.Fprint(w, `{"ok":true}`)
		return
	}
	d.mu.Lock()
	if d.canceled[id] == 0 { // the key is honoured: later ones have no effect
		d.canceled[id]++
		d.order = append(d.order, id)
	}
	n, strike := len(d.order), d.strike
	d.mu.Unlock()
	if strike != nil {
		strike(n, true)
	}
	fmt.Fprint(w, `{}`)
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	if strike != nil {
		strike(n, false)
	}
}

const tripManifest = `{"identity":{"agent_id":"trips"},"trust_level":"verified_partner","reversibility":{"level":"full","undo_window_seconds":3600,"compensation_sla_ms":30000},"privacy":{"retention_policy":"temporary"}}`

// sagaOf is what a sidecar says of a saga.
type sagaOf struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Calls []struct {
		State         string `json:"state"`
		TransactionID string `json:"transaction_id"`
	} `json:"calls"`
	Chain []struct {
		ID string `json:"transaction_id"`
	} `json:"compensation_chain"`
}

// TestCancelIsKilled books five times, cancels, and kills the coordinating sidecar, or
// the one that is asked to undo, at each of the five cancellations, while the agent has
// it and after it has answered. Nobody asks again: after the restart the cancel ends by
// itself, the last booking first, each with one effect.
func TestCancelIsKilled(t *testing.T) {
	for _, victim := range []string{"coordinator", "peer"} {
		for step := 1; step <= 5; step++ {
			for _, before := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%d/%t", victim, step, before), func(t *testing.T) {
					t.Parallel()
					cancelKilled(t, victim, step, before)
				})
			}
		}
	}
}

func cancelKilled(t *testing.T, victim string, step int, before bool) {
	desk := &tripDesk{booked: map[string]int{}, canceled: map[string]int{}}
	agent := startAgent(t, desk.serve)
	pa, pb := newMeshParty(t), newMeshParty(t)
	atA := setup{agent: "http://127.0.0.1:1", data: t.TempDir(), config: pa.config("b", pb, "verified_partner"), fast: true}
	atB := setup{agent: agent.url, manifest: tripManifest, data: t.TempDir(), config: pb.config("a", pa, "trusted") + "compensation: {url: \"/cancel/{transaction_id}\"}\n", fast: true}
	var a, b atomic.Pointer[sidecar]
	b.Store(atB.start(t))
	a.Store(atA.start(t))

	r, err := a.Load().send("POST", "/sagas", `{}`, "Content-Type: application/json")
	var saga sagaOf
	if err != nil || r.status != http.StatusCreated || json.Unmarshal([]byte(r.text), &saga) != nil {
		t.Fatalf("POST /sagas: %v %+v", err, r)
	}
	for range 5 {
		if r, err := a.Load().send("POST", "/proxy/b", trip, "Content-Type: application/json", "IATP-Saga: "+saga.ID); err != nil || r.status != http.StatusOK {
			t.Fatalf("call: %v %+v", err, r)
		}
	}
	killed := make(chan struct{})
	var once sync.Once
	desk.mu.Lock()
	desk.strike = func(n int, is bool) {
		if n != step || is != before {
			return
		}
		once.Do(func() {
			if victim == "coordinator" {
				a.Load().kill()
			} else {
				b.Load().kill()
			}
			close(killed)
		})
	}
	desk.mu.Unlock()
	_, _ = a.Load().send("POST", "/sagas/"+saga.ID+"/cancel", `{}`, "Content-Type: application/json") // which may be cut off
	select {
	case <-killed:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody was killed")
	}
	if victim == "coordinator" {
		a.Store(atA.start(t))
	} else {
		b.Store(atB.start(t))
	}
	eventually(t, 60*time.Second, func() error {
		r := a.Load().get(t, "/sagas/"+saga.ID)
		saga = sagaOf{}
		if err := json.Unmarshal([]byte(r.text), &saga); err != nil || saga.State != "compensated" {
			return fmt.Errorf("%d %v %s", r.status, err, r.text)
		}
		return nil
	})
	desk.mu.Lock()
	defer desk.mu.Unlock()
	if len(saga.Calls) != 5 || len(desk.booked) != 5 || len(desk.order) != 5 || len(saga.Chain) != 5 {
		t.Fatalf("%d calls, %d booked, %d canceled, %d links", len(saga.Calls), len(desk.booked), len(desk.order), len(saga.Chain))
	}
	for i, c := range saga.Calls {
		if desk.booked[c.TransactionID] != 1 || desk.canceled[c.TransactionID] != 1 || c.State != "compensated" {
			t.Errorf("call %d: booked %d times, canceled %d times, %s", i, desk.booked[c.TransactionID], desk.canceled[c.TransactionID], c.State)
		}
		if desk.order[4-i] != c.TransactionID || saga.Chain[4-i].ID != c.TransactionID {
			t.Errorf("call %d was not undone in its turn", i)
		}
	}
	a.Load().stop(t)
	b.Load().stop(t)
	checkLog(t, atA.data)
	checkLog(t, atB.data)
}

// TestSagasAreKilled opens sagas, books three times in each and cancels it, over and
// over, while one of the two sidecars is killed at random moments. When all is quiet
// every saga has ended, nothing that was booked for one is still booked, and no booking
// was canceled twice.
func TestSagasAreKilled(t *testing.T) {
	desk := &tripDesk{booked: map[string]int{}, canceled: map[string]int{}}
	agent := startAgent(t, desk.serve)
	pa, pb := newMeshParty(t), newMeshParty(t)
	atA := setup{agent: "http://127.0.0.1:1", data: t.TempDir(), config: pa.config("b", pb, "verified_partner"), fast: true}
	atB := setup{agent: agent.url, manifest: tripManifest, data: t.TempDir(), config: pb.config("a", pa, "trusted") + "compensation: {url: \"/cancel/{transaction_id}\"}\n", fast: true}
	b := atB.start(t)
	var a atomic.Pointer[sidecar]
	a.Store(atA.start(t))
	var done atomic.Bool
	var mu sync.Mutex
	var sagas []string
	var callers sync.WaitGroup
	for range 3 {
		callers.Go(func() {
			for !done.Load() {
				r, err := a.Load().send("POST", "/sagas", `{}`, "Content-Type: application/json")
				var saga sagaOf
				if err != nil || r.status != http.StatusCreated || json.Unmarshal([]byte(r.text), &saga) != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				mu.Lock()
				sagas = append(sagas, saga.ID)
				mu.Unlock()
				for range 3 { // whatever comes of them
					_, _ = a.Load().send("POST", "/proxy/b", trip, "Content-Type: application/json", "IATP-Saga: "+saga.ID)
				}
				for !done.Load() {
					if r, err := a.Load().send("POST", "/sagas/"+saga.ID+"/cancel", `{}`, "Content-Type: application/json"); err == nil && r.status < 300 {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	for n := range 16 {
		time.Sleep(time.Duration(100+37*n) * time.Millisecond)
		if n%2 == 0 {
			a.Load().kill()
			a.Store(atA.start(t))
		} else {
			b.kill()
			b = atB.start(t)
		}
	}
	done.Store(true)
	callers.Wait()
	for _, id := range sagas {
		eventually(t, 90*time.Second, func() error {
			r, err := a.Load().send("POST", "/sagas/"+id+"/cancel", `{}`, "Content-Type: application/json")
			var saga sagaOf
			if err != nil || json.Unmarshal([]byte(r.text), &saga) != nil || saga.State != "compensated" {
				return fmt.Errorf("%v %+v", err, r)
			}
			return nil
		})
	}
	a.Load().stop(t)
	b.stop(t)
	checkLog(t, atA.data)
	checkLog(t, atB.data)
	desk.mu.Lock()
	defer desk.mu.Unlock()
	for id, n := range desk.booked {
		if n != 1 || desk.canceled[id] != 1 {
			t.Errorf("%s was booked %d times and canceled %d times", id, n, desk.canceled[id])
		}
	}
	t.Logf("%d sagas, %d bookings, %d cancellations", len(sagas), len(desk.booked), len(desk.order))
	if len(sagas) < 3 || len(desk.booked) < 6 {
		t.Error("too little was done to tell")
	}
}
