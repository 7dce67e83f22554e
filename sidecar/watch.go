package sidecar

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/inter-agent-trust/iatp/internal/upstream"
)

// Reasons for which a call is cut short.
var (
	errNoTime     = errors.New("the deadline had passed before the call could be sent")
	errDeadline   = errors.New("the agent's answer did not begin before the deadline")
	errIdle       = errors.New("the agent fell silent in the middle of its answer")
	errClientGone = errors.New("the caller hung up")
)

// watch looks after the calls under way: it ends those whose time is over and those
// whose caller has left. One goroutine does that for all of them, some fifty times
// a second while there are any. A timer and a watcher for each call would cost more
// than the rest of a short call's bookkeeping (decision 0040).
type watch struct {
	now   func() time.Time
	epoch time.Time

	mu    sync.Mutex
	first *call // in a ring, the next to be looked at; nil if there is none
	size  int
	timer *time.Timer
	awake bool
}

const (
	// lookEach is the time between two looks, and by how much an end may be late.
	lookEach = 20 * time.Millisecond
	// lookSeldom is the longest time between two looks at a caller. They begin at
	// lookEach and take twice as long each time: a call that has taken long will.
	lookSeldom = 32 * lookEach
	// lookAtOnce is how many calls are looked at before others may come and go.
	lookAtOnce = 64
)

func newWatch(now func() time.Time) *watch {
	w := &watch{now: now, epoch: now()}
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Stop()
	return w
}

// call is one forwarded request with its clock.
type call struct {
	upstream.Call
	watch      *watch
	end        time.Time       // the deadline for the first byte
	begun      atomic.Bool     // the answer has begun: from now on the idle limit holds
	until      atomic.Int64    // since the epoch: when it is ended; 0 for never
	ctx        context.Context // ends with the call; nil for one that nothing but Call waits for
	cancel     context.CancelCauseFunc
	caller     *exchange // who is looked at; nil if the call is finished without him
	next, prev *call
	at, pause  time.Duration // the next look at the caller, and the time to the one after it
}

// start begins to look after c, which ends at a time, and with its caller if
// there is one.
func (w *watch) start(c *call, end time.Time, caller *exchange) {
	c.watch, c.end, c.caller, c.at, c.pause = w, end, caller, 0, lookEach/2
	c.begun.Store(false)
	c.until.Store(max(int64(end.Sub(w.epoch)), 1))
	w.add(c)
}

// leave ends the watch over c. Afterwards nobody else touches it.
func (c *call) leave() {
	c.watch.drop(c)
	if c.cancel != nil {
		c.cancel(nil)
	}
	c.watch, c.caller, c.ctx, c.cancel = nil, nil, nil, nil
	c.Reset()
}

// context is a context that ends with the call, for what wants one.
func (c *call) context() context.Context {
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancelCause(context.Background())
		if cause := c.Err(); cause != nil {
			c.cancel(cause)
		}
	}
	return c.ctx
}

func (w *watch) add(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first == nil {
		w.first, c.next, c.prev = c, c, c
	} else {
		c.next, c.prev = w.first, w.first.prev
		c.prev.next, c.next.prev = c, c
	}
	w.size++
	if !w.awake {
		w.awake = true
		w.timer.Reset(lookEach)
	}
}

func (w *watch) drop(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.size--; w.size == 0 {
		w.first = nil
	} else {
		c.prev.next, c.next.prev = c.next, c.prev
		if w.first == c {
			w.first = c.next
		}
	}
	c.next, c.prev = nil, nil
}

// look is one round.
func (w *watch) look() {
	now := w.now().Sub(w.epoch)
	w.mu.Lock()
	defer w.mu.Unlock()
	for left := w.size; left > 0 && w.size > 0; left-- {
		c := w.first
		w.first = c.next
		c.look(now)
		if left%lookAtOnce == 0 {
			w.mu.Unlock()
			w.mu.Lock()
		}
	}
	if w.awake = w.size > 0; w.awake {
		w.timer.Reset(lookEach)
	}
}

// look ends c if it is to be ended.
func (c *call) look(now time.Duration) {
	if until := c.until.Load(); until != 0 && now >= time.Duration(until) {
		if c.begun.Load() {
			c.stop(errIdle)
		} else {
			c.stop(errDeadline)
		}
	}
	if c.caller == nil || now < c.at {
		return
	}
	if c.caller.gone() {
		c.stop(errClientGone)
		c.caller = nil
		return
	}
	c.pause = min(2*c.pause, lookSeldom)
	c.at = now + c.pause
}

// stop ends the call for a reason; the first one counts.
func (c *call) stop(cause error) {
	if c.End(cause); c.cancel != nil {
		c.cancel(cause)
	}
}

// within ends the call when d has passed, unless something else is said before.
func (c *call) within(now time.Time, d time.Duration) {
	c.until.Store(max(int64(now.Sub(c.watch.epoch)+d), 1))
}

// rest stops the clock: nobody waits for the agent.
func (c *call) rest() { c.until.Store(0) }

// await gives an attempt the time that is left until the deadline. The one before
// may have got as far as the idle limit.
func (c *call) await(now time.Time) {
	c.begun.Store(false)
	c.within(now, c.end.Sub(now))
}
