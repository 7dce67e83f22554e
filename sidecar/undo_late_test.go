package sidecar_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// TestLateOrder has an order lie in a buffer until its caller has given up. The agent
// says truthfully that it knows nothing of it. It is asked to undo it all the same: so it
// can refuse the order that comes after all.
func TestLateOrder(t *testing.T) {
	agent := newBooker()
	arrives := make(chan struct{})
	var refused atomic.Bool
	agent.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/" {
			return false
		}
		readAll(r)
		<-arrives
		agent.look(func() { refused.Store(agent.asked > 0) })
		if refused.Load() {
			w.WriteHeader(http.StatusConflict)
		}
		return refused.Load()
	}
	a, b := undoPair(t, agent, refundMinusFee, func(_, ob *iatptest.Options) {
		configure := ob.Config
		ob.Config = func(c *sidecar.Config) {
			configure(c)
			c.Limits.Deadline = sidecar.Duration(500 * time.Millisecond)
		}
	})
	saga := openSaga(t, a, `{"on_failure":"compensate"}`)
	if r := joinCall(t, a, "b", saga.ID); r.Status != http.StatusGatewayTimeout {
		t.Errorf("call = %d %s, want 504", r.Status, r.Body)
	}
	if got := cancel(t, a, saga.ID); got.State != "compensated" {
		t.Errorf("saga = %+v, want compensated", got)
	}
	list := readInto[api.Transactions](t, b.Get(t, "/transactions?limit=10", b.Operator(t)))
	if len(list.Transactions) != 1 || list.Transactions[0].State != "failed" {
		t.Errorf("transactions of b: %+v, want one that failed", list.Transactions)
	}
	close(arrives)
	for end := time.Now().Add(10 * time.Second); !refused.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the late order is not refused: nobody told the agent that it is not wanted any more")
		}
	}
	agent.look(func() {
		if len(agent.booked) != 0 {
			t.Errorf("booked: %v", agent.booked)
		}
	})
}

// TestHangingCompensation has the first attempt to undo get no answer.
func TestHangingCompensation(t *testing.T) {
	agent := newBooker()
	var tries atomic.Int32
	agent.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/cancel/") || tries.Add(1) > 1 {
			return false
		}
		readAll(r)
		<-r.Context().Done()
		return true
	}
	a, _ := undoPair(t, agent, refundMinusFee, nil)
	saga := openSaga(t, a, "")
	if r := joinCall(t, a, "b", saga.ID); r.Status != http.StatusOK {
		t.Fatalf("call = %d %s", r.Status, r.Body)
	}
	if got := cancel(t, a, saga.ID); got.State != "compensated" || tries.Load() != 2 {
		t.Errorf("saga = %+v after %d attempts, want compensated after 2", got, tries.Load())
	}
}
