package sidecar

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestGateWaits lets the clock of the test decide who gets a place.
func TestGateWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, 2)
		ctx := t.Context()
		if !g.enter(ctx, time.Second) {
			t.Fatal("an empty gate lets nobody in")
		}
		if g.enter(ctx, 0) {
			t.Fatal("a full gate lets somebody in who does not wait")
		}
		var order []int
		var all sync.WaitGroup
		for i := range 2 {
			all.Go(func() {
				if g.enter(ctx, time.Second) {
					order = append(order, i)
					g.leave()
				}
			})
			synctest.Wait()
		}
		if g.enter(ctx, time.Hour) {
			t.Error("more wait than there is room for")
		}
		time.Sleep(500 * time.Millisecond)
		g.leave()
		all.Wait()
		if len(order) != 2 || order[0] != 0 {
			t.Errorf("let in: %v, want 0, then 1", order)
		}
		g.enter(ctx, 0)
		began := time.Now()
		if g.enter(ctx, time.Second) || time.Since(began) != time.Second {
			t.Errorf("gave up after %v, want 1s", time.Since(began))
		}
		gone, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if g.enter(gone, time.Second) {
			t.Error("who has left gets a place")
		}
		g.leave()
		if inside, waiting, _ := g.state(); inside != 0 || waiting != 0 || g.queue != nil {
			t.Errorf("at the end %d are inside and %d wait, queue %v", inside, waiting, g.queue)
		}
	})
}

// TestGateLaw lets many come, wait, give up and leave. There are never more inside
// than the limit that was in force, and nobody is forgotten.
func TestGateLaw(t *testing.T) {
	g := newGate(5, 1000)
	var inside, let, sent atomic.Int64
	var all sync.WaitGroup
	for i := range 400 {
		all.Go(func() {
			if !g.enter(t.Context(), time.Duration(i%7)*time.Millisecond) {
				sent.Add(1)
				return
			}
			if n := inside.Add(1); n > 5 {
				t.Errorf("%d are inside", n)
			}
			time.Sleep(time.Duration(i%3) * 100 * time.Microsecond)
			inside.Add(-1)
			g.leave()
			let.Add(1)
		})
	}
	all.Wait()
	if n, waiting, _ := g.state(); n != 0 || waiting != 0 || let.Load()+sent.Load() != 400 || let.Load() == 0 {
		t.Errorf("%d inside, %d wait, %d were let in, %d sent away", n, waiting, let.Load(), sent.Load())
	}
}

// TestGateForgets lets thousands give up while nobody leaves.
func TestGateForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, 10)
		g.enter(t.Context(), 0)
		for range 1000 {
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() { g.enter(t.Context(), time.Millisecond) })
			}
			all.Wait()
		}
		if n := len(g.queue); n > lookEvery+20 {
			t.Errorf("%d who have given up are kept", n)
		}
	})
}

// TestGateFeels moves the limit.
func TestGateFeels(t *testing.T) {
	g := newGate(1000, 10)
	feel := func(d time.Duration, rounds int) int {
		for range rounds * lookEvery {
			g.feel(d)
		}
		_, _, limit := g.state()
		return limit
	}
	if n := feel(time.Millisecond, 3); n != 1000 {
		t.Errorf("without load the limit is %d, want 1000", n)
	}
	if n := feel(tooLate+1, 1); n != 875 {
		t.Errorf("after one look at an overload it is %d, want 875", n)
	}
	if n := feel(time.Second, 100); n != fewest {
		t.Errorf("after a long overload it is %d, want %d", n, fewest)
	}
	if n := feel(time.Millisecond, 100); n != 1000 {
		t.Errorf("after the overload it is %d, want 1000", n)
	}
	if small := newGate(3, 10); small.limit != 3 {
		t.Errorf("limit %d, want 3", small.limit)
	} else {
		for range 2 * lookEvery {
			small.feel(time.Second)
		}
		if small.limit != 3 {
			t.Errorf("limits.concurrency: 3 became %d", small.limit)
		}
	}
}
