package sidecar

import (
	"context"
	"slices"
	"sync"
	"time"
)

// gate lets so many exchanges in at once, and lets some more wait for a moment:
// a burst is served late, an overload is told so. Nobody waits for longer than a
// bound, and the number of those who wait has one.
//
// How many it lets in follows what those inside feel. As long as they are served
// as they come, there may be limits.concurrency of them: most wait for the agent
// and cost nothing but memory. When their own share of the time grows, the
// processor or the disk has more than it can do; then more of them at once only
// make all of them later, and take memory.
type gate struct {
	mu      sync.Mutex
	most    int // limits.concurrency
	limit   int // how many may be inside now
	inside  int
	queue   []*waiter // those who wait, the first first; some have given up
	waiting int       // of them, who have not
	room    int       // how many may wait
	entered int64     // ever
	felt    time.Duration
	samples int
}

// waiter waits for a place.
type waiter struct {
	let  chan struct{} // closed with a place
	done bool          // has a place, or has given up
}

const (
	// fewest is below what the limit never falls: enough to keep every processor
	// busy, and to share a sync among many.
	fewest = 64
	// tooLate is the time from the whole request to its departure above which
	// there is more work than can be done. It takes 50 µs where nobody queues, and
	// some fsyncs with durability: strict.
	tooLate = 50 * time.Millisecond
	// lookEvery is after how many exchanges the limit is looked at.
	lookEvery = 64
)

func newGate(most, room int) *gate {
	return &gate{most: most, limit: most, room: room}
}

// enter takes a place, if need be after a wait of at most wait. It reports
// whether there was one.
func (g *gate) enter(ctx context.Context, wait time.Duration) bool {
	g.mu.Lock()
	g.entered++
	if g.inside < g.limit && g.waiting == 0 {
		g.inside++
		g.mu.Unlock()
		return true
	}
	if wait <= 0 || g.waiting >= g.room {
		g.mu.Unlock()
		return false
	}
	w := &waiter{let: make(chan struct{})}
	g.queue = append(g.queue, w)
	g.waiting++
	g.mu.Unlock()

	patience := time.NewTimer(wait)
	defer patience.Stop()
	select {
	case <-w.let:
		return true
	case <-patience.C:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.done {
		return true // at the last moment
	}
	w.done = true
	g.waiting--
	if len(g.queue) > 2*g.waiting+lookEvery {
		g.queue = slices.DeleteFunc(g.queue, func(w *waiter) bool { return w.done })
	}
	return false
}

// leave gives a place back, to the first who waits.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	for g.inside < g.limit && g.waiting > 0 {
		w := g.queue[0]
		g.queue[0] = nil
		g.queue = g.queue[1:]
		if w.done {
			continue
		}
		w.done = true
		g.waiting--
		g.inside++
		close(w.let)
	}
	if g.waiting == 0 {
		g.queue = nil // also those who have given up
	}
}

// feel takes note of how long an exchange took from its whole request to its
// departure, and moves the limit: up by a sixteenth while that is short, down by
// an eighth when it is long.
func (g *gate) feel(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.felt += d
	if g.samples++; g.samples < lookEvery {
		return
	}
	if g.felt/time.Duration(g.samples) > tooLate {
		g.limit = max(g.limit-g.limit/8, min(fewest, g.most))
	} else {
		g.limit = min(g.limit+g.limit/16+1, g.most)
	}
	g.felt, g.samples = 0, 0
}

// entries is how many have come so far.
func (g *gate) entries() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.entered
}

// state is for metrics and messages.
func (g *gate) state() (inside, waiting, limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside, g.waiting, g.limit
}
