package handshake

import (
	"context"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// maxCached bounds the outcomes of visits to strangers that are kept.
const maxCached = 1024

// An outcome is what became of a visit: the peer, or why it is refused. It is
// good until it expires; refusals and failures for minFresh, so that a peer that
// does not answer costs its callers one attempt in that time.
type outcome struct {
	met     *Met
	problem *iatp.Problem
	expires time.Time

	at                  time.Time // when the visit began, by the clock
	manifest, directory *answer   // to ask again with; nil after a failure
	alarm               string    // what was recorded, so that it is not recorded each time
}

// A place is where the outcome of visits to one uri stands. At most one visit to
// it is under way.
type place struct {
	last *outcome
	call *shared // the visit under way; nil if there is none
}

// A shared is a visit under way. outcome is set before done is closed.
type shared struct {
	done    chan struct{}
	outcome *outcome
}

// A cache holds outcomes by uri and lets one caller at a time visit.
type cache struct {
	now   func() time.Time
	mu    sync.Mutex
	place map[string]*place
}

func newCache(now func() time.Time) cache {
	return cache{now: now, place: make(map[string]*place)}
}

// fresh returns an outcome that may be used and was made at or after since, or nil.
func (c *cache) fresh(uri string, since time.Time) *outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.place[uri]; at != nil {
		return at.fresh(c.now(), since)
	}
	return nil
}

func (at *place) fresh(now, since time.Time) *outcome {
	if o := at.last; o != nil && now.Before(o.expires) && !o.at.Before(since) {
		return o
	}
	return nil
}

// drop makes the next one visit again.
func (c *cache) drop(uri string) { c.dropIf(uri, func(*outcome) bool { return true }) }

// dropIf drops an outcome of which that holds.
func (c *cache) dropIf(uri string, holds func(*outcome) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.place[uri]; at != nil && at.last != nil && holds(at.last) {
		at.last = nil
	}
}

// get returns an outcome that is fresh and was made at or after since. If there
// is none it begins a visit, one for all that wait, by start, which calls its
// argument in a goroutine that ctx does not end. visit gets the outcome before, or
// nil.
func (c *cache) get(ctx context.Context, uri string, since time.Time, start func(func()), visit func(*outcome) *outcome) (*outcome, error) {
	for first := true; ; first = false {
		c.mu.Lock()
		at := c.at(uri)
		if o := at.fresh(c.now(), since); o != nil {
			c.mu.Unlock()
			return o, nil
		}
		call := at.call
		joined := call != nil
		if !joined {
			call = &shared{done: make(chan struct{})}
			at.call = call
			before := at.last
			start(func() { c.finish(at, call, visit(before)) })
		}
		c.mu.Unlock()
		select {
		case <-call.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		// A visit that began after the question counts for those that waited, even if it
		// is good for an instant only, and whatever the clock says that was set back.
		if !joined || !first || !call.outcome.at.Before(since) {
			return call.outcome, nil
		}
	}
}

// finish publishes the outcome of a visit.
func (c *cache) finish(at *place, call *shared, o *outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call.outcome = o
	at.last, at.call = o, nil
	close(call.done)
}

// at returns the place of a uri, and makes room for it if it has none. It needs mu.
func (c *cache) at(uri string) *place {
	if at := c.place[uri]; at != nil {
		return at
	}
	if len(c.place) >= maxCached {
		c.evict()
	}
	at := new(place)
	c.place[uri] = at
	return at
}

// evict drops what has expired, or else the oldest. It needs mu.
func (c *cache) evict() {
	now, oldest := c.now(), ""
	for uri, at := range c.place {
		switch {
		case at.call != nil || at.last == nil:
		case !now.Before(at.last.expires):
			delete(c.place, uri)
		case oldest == "" || at.last.at.Before(c.place[oldest].last.at):
			oldest = uri
		}
	}
	if len(c.place) >= maxCached {
		delete(c.place, oldest)
	}
}
