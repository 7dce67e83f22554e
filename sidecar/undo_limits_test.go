package sidecar_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// TestUndoLimits: what a caller may have undone is limited when it wants another task,
// after a restart too, and never when it wants one undone. Another caller does not feel it.
func TestUndoLimits(t *testing.T) {
	for _, c := range []struct {
		what, limit string
		set         func(*sidecar.PerPeer)
		first       int // tasks that pass
		undo        int // of them that are undone at once
		again       bool
	}{
		{"open", "open", func(p *sidecar.PerPeer) { p.Undoable = 3 }, 3, 0, true},
		{"cost", "cost", func(p *sidecar.PerPeer) { p.UndoableCost = []string{"24.00 USD", "1.00 EUR"} }, 2, 0, true},
		{"ratio", "ratio", func(p *sidecar.PerPeer) { p.UndoRatio, p.UndoRatioFrom = 0.5, 3 }, 4, 3, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			agent := newBooker()
			agent.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/" {
					w.Header().Set("Iatp-Cost", `"12.00";cur=USD`)
				}
				return false
			}
			var cfg sidecar.Config
			b, caller, other := byHand(t, agent, undoer("booking", `,"undo_window_seconds":3600`), func(o *sidecar.Config) {
				c.set(&o.Limits.PerPeer)
				cfg = *o
			})
			var done []string
			for i := range c.first {
				done = append(done, caller.book(t, fmt.Sprint("k", i)))
			}
			for _, tx := range done[:c.undo] {
				if r := caller.undone(t, tx); r.Status != http.StatusOK {
					t.Fatalf("undo = %d %s", r.Status, r.Body)
				}
			}
			refused := func(b *iatptest.Node, key string) {
				t.Helper()
				r := caller.ask(t, "POST", "/task", key, bookIt)
				if got := slug(t, r); got != "429 quota-exceeded" || r.Header.Get("Retry-After") != "60" || !strings.Contains(string(r.Body), "limits.per_peer.undo") {
					t.Errorf("one task too many = %s %s", got, r.Body)
				}
				if m := string(b.Get(t, "/metrics", nil).Body); !strings.Contains(m, fmt.Sprintf("iatp_undo_limited_total{limit=%q} 1\n", c.limit)) {
					t.Error("the metric does not count it")
				}
			}
			refused(b, "beyond")
			if got := caller.book(t, "k0"); got != done[0] {
				t.Errorf("a repetition of a task that was taken is %s, want %s", got, done[0])
			}
			other.book(t, "of another caller")
			if err := b.Stop(); err != nil {
				t.Fatal(err)
			}
			b = iatptest.Start(t, iatptest.Options{AgentURL: cfg.Agent, Data: cfg.Data, Config: func(o *sidecar.Config) { *o = cfg }})
			refused(b, "beyond after a restart")
			if r := caller.undone(t, done[len(done)-1]); r.Status != http.StatusOK {
				t.Errorf("an undo beside the limit = %d %s", r.Status, r.Body)
			}
			if c.again {
				caller.book(t, "now that there is room")
			}
		})
	}
}

// TestUndoLimitHoldsAtOnce has many tasks come at a time: no more pass than may.
func TestUndoLimitHoldsAtOnce(t *testing.T) {
	agent := newBooker()
	agent.before = func(http.ResponseWriter, *http.Request) bool { time.Sleep(20 * time.Millisecond); return false }
	_, caller, _ := byHand(t, agent, undoer("booking", `,"undo_window_seconds":3600`), func(o *sidecar.Config) { o.Limits.PerPeer.Undoable = 5 })
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() { caller.ask(t, "POST", "/task", fmt.Sprint("k", i), bookIt) })
	}
	all.Wait()
	if got := len(agent.booked); got > 5 || got == 0 {
		t.Errorf("%d tasks passed a limit of 5", got)
	}
}
