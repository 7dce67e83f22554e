package once

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
)

// Skew is how far two clocks may be apart: a request is accepted until so long
// after it has expired, and from so long before it was made.
const Skew = 30 * time.Second

// NonceOptions are the settings of Nonces. The zero value works.
type NonceOptions struct {
	// Max is how many nonces are remembered, about 150 bytes of memory each;
	// MaxShare is how many of them one principal, or all strangers together,
	// may have. Default 1<<20 and 1<<17.
	Max, MaxShare int
	// Now is the clock on the wall. Default time.Now.
	Now func() time.Time
	// Uptime is a clock that nobody sets. Default the time since OpenNonces.
	Uptime func() time.Duration
}

func (o NonceOptions) withDefaults() NonceOptions {
	if o.Max <= 0 {
		o.Max = 1 << 20
	}
	if o.MaxShare <= 0 {
		o.MaxShare = 1 << 17
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Uptime == nil {
		o.Uptime = uptime()
	}
	return o
}

// Sight is what is known about a nonce.
type Sight uint8

const (
	// NoRoom: it cannot be remembered: 503, later again. The zero Sight.
	NoRoom Sight = iota
	// Fresh: it was never seen, and was seen now.
	Fresh
	// Seen: it was seen before: 409 nonce-reused.
	Seen
	// TooEarly: nobody can tell whether it was seen, because a memory was lost
	// or a clock was set back: 425. A new signature made later will do.
	TooEarly
)

// String returns a word for tests and logs.
func (s Sight) String() string { return [...]string{"no room", "fresh", "seen", "too early"}[s] }

// Nonces remembers the nonces of signed requests as long as their signatures
// are accepted. Its methods are safe for concurrent use.
//
// A restart forgets none that stands on a durable line, and a request that is
// not on one was not acted upon: so there is no time after a start at which
// everything is too early.
type Nonces struct {
	log *flight.Log
	opt NonceOptions

	mu     sync.Mutex
	byKey  map[flight.Alias]nonce
	byPool map[flight.Alias]int
	ends   deadlines // by wall clock, in unix seconds
	next   int64     // seq of the next line
	// forgotten is the latest end of the nonces that were forgotten: what ends
	// no later may be one of them.
	forgotten int64
	// cold: what was made no later may be a nonce that was lost.
	cold time.Time
	err  error // a line was not understood: final
}

type nonce struct {
	pool  flight.Alias
	until int64         // unix seconds
	end   time.Duration // the same by Options.Uptime
}

// OpenNonces opens the nonces of a flight log.
func OpenNonces(log *flight.Log, o NonceOptions) (*Nonces, error) {
	o = o.withDefaults()
	n := &Nonces{log: log, opt: o}
	n.reset()
	if err := log.Attach("nonces", nonceView{n}); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *Nonces) reset() {
	n.byKey, n.byPool = make(map[flight.Alias]nonce), make(map[flight.Alias]int)
	n.ends, n.next, n.forgotten, n.cold = nil, 0, 0, time.Time{}
}

// chill refuses what may have been seen before t: it was made at most Skew
// later, by a clock that is ahead.
func (n *Nonces) chill(t time.Time) { n.cold = later(n.cold, t.Add(Skew)) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Claim claims the nonce of a request whose signature by the key jkt is
// verified and whose times are in order. If it is Fresh, the step has to be put
// on the line of the request, and that has to be durable before anything is
// done for it.
//
// An error means that the log holds something that cannot be understood: 503.
func (n *Nonces) Claim(scope Scope, jkt, value string, created, expires time.Time) (*flight.Nonce, Sight, error) {
	key, pool := n.log.Alias("nonce", jkt, value), n.log.Alias("pool", scope.poolTexts()...)
	until := expires.Add(Skew + time.Second - 1).Unix()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.evict()
	_, seen := n.byKey[key]
	switch {
	case n.err != nil:
		return nil, NoRoom, n.err
	case seen:
		return nil, Seen, nil
	case until <= n.forgotten || !created.After(n.cold):
		return nil, TooEarly, nil
	case len(n.byKey) >= n.opt.Max || n.byPool[pool] >= n.opt.MaxShare:
		return nil, NoRoom, nil
	}
	n.remember(key, pool, until)
	return &flight.Nonce{Key: key, Pool: pool, Until: time.Unix(until, 0)}, Fresh, nil
}

func (n *Nonces) remember(key, pool flight.Alias, until int64) {
	left := max(0, time.Unix(until, 0).Sub(n.opt.Now()))
	n.byKey[key] = nonce{pool: pool, until: until, end: n.opt.Uptime() + left}
	n.byPool[pool]++
	heap.Push(&n.ends, deadline{until, key})
}

// evict forgets the nonces whose time is over by both clocks: the wall clock
// may have been set forward, and may be set back. It needs mu.
func (n *Nonces) evict() {
	wall, clock := n.opt.Now().Unix(), n.opt.Uptime()
	for len(n.ends) > 0 && n.ends[0].at <= wall {
		key := n.ends[0].key
		one := n.byKey[key]
		if one.end > clock {
			return
		}
		heap.Pop(&n.ends)
		n.forgotten = max(n.forgotten, one.until)
		delete(n.byKey, key)
		if n.byPool[one.pool]--; n.byPool[one.pool] == 0 {
			delete(n.byPool, one.pool)
		}
	}
}

// Len returns how many nonces are remembered.
func (n *Nonces) Len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.evict()
	return len(n.byKey)
}

// nonceView is how the log sees Nonces.
type nonceView struct{ n *Nonces }

// Apply implements flight.View.
func (v nonceView) Apply(seq int64, line []byte) {
	n := v.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if seq != n.next {
		n.chill(flight.ReadTime(line)) // lines are gone that no snapshot covers
	}
	n.next = seq + 1
	one, ok, err := flight.ReadNonce(line)
	switch {
	case err != nil && n.err == nil:
		n.err = fmt.Errorf("record %d: %w", seq, err)
	case !ok:
	default:
		if _, known := n.byKey[one.Key]; !known {
			n.remember(one.Key, one.Pool, one.Until.Unix())
		}
	}
}

const noncesMagic = "iatp-nonces v2\n"

// Snapshot implements flight.View.
func (v nonceView) Snapshot() []byte {
	n := v.n
	n.mu.Lock()
	defer n.mu.Unlock()
	n.evict()
	b := append(make([]byte, 0, len(noncesMagic)+24+len(n.byKey)*40), noncesMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(n.next))
	b = binary.BigEndian.AppendUint64(b, uint64(n.forgotten))
	b = appendTime(b, n.cold)
	for key, one := range n.byKey {
		b = append(b, key[:]...)
		b = append(b, one.pool[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(one.until))
	}
	return b
}

// Restore implements flight.View.
func (v nonceView) Restore(snapshot []byte) error {
	n := v.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.restore(snapshot); err != nil {
		n.reset()
		return fmt.Errorf("snapshot of nonces: %w", err)
	}
	return nil
}

func (n *Nonces) restore(snapshot []byte) error {
	r := reader{rest: snapshot}
	if string(r.take(len(noncesMagic))) != noncesMagic {
		return errors.New("not of version 2")
	}
	n.next, n.forgotten, n.cold = r.int(), r.int(), r.time()
	for len(r.rest) > 0 {
		key, pool, until := r.alias(), r.alias(), r.int()
		if _, known := n.byKey[key]; known || r.short {
			return errors.New("damaged")
		}
		n.remember(key, pool, until)
	}
	if r.short || n.next < 0 {
		return errors.New("damaged")
	}
	return nil
}
