package once

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/vault"
)

// claims is what the lines of the log say about keys.
type claims struct {
	mu    *sync.Mutex // the book's; guards everything
	opt   Options
	vault *vault.Vault

	byKey  map[flight.Alias]*record
	byPool map[flight.Alias]int // records by pool
	ends   deadlines            // of records that are done or closed
	next   int64                // seq of the next line
	// lost is when the last key that may have been lost would have expired.
	lost time.Time
	err  error // a line was not understood: final
}

// record is one key.
type record struct {
	holder      *Claim // it belongs to somebody in this process
	pool, print flight.Alias
	step        flight.ClaimStep // empty: the log does not know the key
	answer      flight.Place
	until       int64         // done, closed: unix seconds
	end         time.Duration // the same by Options.Uptime
	trace       iatp.TraceID  // held
	since       time.Time     // held
}

func newClaims(mu *sync.Mutex, o Options, v *vault.Vault) *claims {
	c := &claims{mu: mu, opt: o, vault: v}
	c.reset()
	return c
}

func (c *claims) reset() {
	c.byKey, c.byPool = make(map[flight.Alias]*record), make(map[flight.Alias]int)
	c.ends, c.next, c.lost = nil, 0, time.Time{}
}

// Apply implements flight.View.
func (c *claims) Apply(seq int64, line []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq != c.next {
		// Lines are gone that no snapshot covers. Keys that were completed on
		// them live at most this long.
		c.lost = flight.ReadTime(line).Add(c.opt.TTL)
	}
	c.next = seq + 1
	step, ok, err := flight.ReadClaim(line)
	if err == nil && ok {
		err = c.apply(step, line)
	}
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("record %d: %w", seq, err)
	}
}

// apply follows one step: what stands last in the log counts.
func (c *claims) apply(s flight.Claim, line []byte) error {
	rec := &record{pool: s.Pool, print: s.Print, step: s.Step}
	switch s.Step {
	case flight.ClaimFreed:
		c.forget(s.Key)
		return nil
	case flight.ClaimHeld:
		rec.trace, rec.since = flight.ReadTrace(line), flight.ReadTime(line)
	case flight.ClaimDone, flight.ClaimClosed:
		rec.until, rec.answer = s.Until.Unix(), s.Answer
	default:
		return fmt.Errorf("claim: unknown step %q", s.Step)
	}
	c.put(s.Key, rec)
	return nil
}

// put makes rec the record of a key; the holder of the one before stays.
func (c *claims) put(key flight.Alias, rec *record) {
	if old := c.byKey[key]; old != nil {
		rec.holder = old.holder
		c.remove(key, old)
	}
	c.byKey[key] = rec
	c.byPool[rec.pool]++
	c.vault.Pin(rec.answer)
	if rec.until == 0 {
		return
	}
	rec.end = c.opt.Uptime() + max(0, time.Unix(rec.until, 0).Sub(c.opt.Now()))
	heap.Push(&c.ends, deadline{int64(rec.end), key})
}

// forget takes away what the log said about a key.
func (c *claims) forget(key flight.Alias) {
	rec := c.byKey[key]
	if rec == nil {
		return
	}
	c.remove(key, rec)
	if rec.holder != nil {
		c.put(key, &record{holder: rec.holder, pool: rec.pool, print: rec.print})
	}
}

// leave takes the holder from a key, and the record if the log knows nothing.
func (c *claims) leave(key flight.Alias) {
	if rec := c.byKey[key]; rec.step == "" {
		c.remove(key, rec)
	} else {
		rec.holder = nil
	}
}

func (c *claims) remove(key flight.Alias, rec *record) {
	delete(c.byKey, key)
	if c.byPool[rec.pool]--; c.byPool[rec.pool] == 0 {
		delete(c.byPool, rec.pool)
	}
	c.vault.Unpin(rec.answer)
}

// evict forgets the keys whose time is over. It needs mu.
func (c *claims) evict() {
	clock := int64(c.opt.Uptime())
	for len(c.ends) > 0 && c.ends[0].at <= clock {
		d := heap.Pop(&c.ends).(deadline)
		// A key that was used again has a later end, or none.
		if rec := c.byKey[d.key]; rec != nil && rec.until != 0 && int64(rec.end) == d.at {
			c.forget(d.key)
		}
	}
}

// blind reports whether an unknown key may be one that was lost. It needs mu.
func (c *claims) blind() bool { return c.opt.Now().Before(c.lost) }

const claimsMagic = "iatp-once v1\n"

// Snapshot implements flight.View.
func (c *claims) Snapshot() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evict()
	b := make([]byte, 0, len(claimsMagic)+24+len(c.byKey)*120)
	b = append(b, claimsMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.next))
	b = appendTime(b, c.lost)
	for key, rec := range c.byKey {
		if rec.step == "" {
			continue
		}
		b = append(b, key[:]...)
		b = append(b, rec.pool[:]...)
		b = append(b, rec.print[:]...)
		b = append(b, rec.step[0])
		for _, n := range []int64{rec.until, rec.answer.File, rec.answer.At, rec.answer.Size} {
			b = binary.BigEndian.AppendUint64(b, uint64(n))
		}
		b = appendTime(b, rec.since)
		b = append(b, byte(len(rec.trace)))
		b = append(b, rec.trace...)
	}
	return b
}

// Restore implements flight.View.
func (c *claims) Restore(snapshot []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.restore(snapshot)
	if err != nil {
		for key, rec := range c.byKey {
			c.remove(key, rec)
		}
		c.reset()
		return fmt.Errorf("snapshot of claims: %w", err)
	}
	return nil
}

func (c *claims) restore(snapshot []byte) error {
	r := reader{rest: snapshot}
	if string(r.take(len(claimsMagic))) != claimsMagic {
		return errors.New("not of version 1")
	}
	c.next, c.lost = r.int(), r.time()
	for len(r.rest) > 0 {
		key, rec := r.record()
		if r.short || rec.step == "" || (rec.step == flight.ClaimHeld) != (rec.until == 0) || c.byKey[key] != nil {
			return errors.New("damaged")
		}
		c.put(key, rec)
	}
	if r.short || c.next < 0 {
		return errors.New("damaged")
	}
	return nil
}

// reader takes a snapshot apart. short is set when there was less than asked for.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if len(r.rest) < n {
		r.short, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) int() int64 { return int64(binary.BigEndian.Uint64(r.take(8))) }

func (r *reader) alias() flight.Alias { return flight.Alias(r.take(16)) }

// time reads what appendTime writes.
func (r *reader) time() time.Time {
	if n := r.int(); n != 0 {
		return time.UnixMilli(n)
	}
	return time.Time{}
}

// appendTime appends a time in milliseconds; the zero time is 0.
func appendTime(dst []byte, t time.Time) []byte {
	var n int64
	if !t.IsZero() {
		n = t.UnixMilli()
	}
	return binary.BigEndian.AppendUint64(dst, uint64(n))
}

// record reads a key; its step is empty if it is not one of ours.
func (r *reader) record() (flight.Alias, *record) {
	key := r.alias()
	rec := &record{pool: r.alias(), print: r.alias()}
	switch r.take(1)[0] {
	case 'h':
		rec.step = flight.ClaimHeld
	case 'd':
		rec.step = flight.ClaimDone
	case 'c':
		rec.step = flight.ClaimClosed
	}
	rec.until = r.int()
	rec.answer = flight.Place{File: r.int(), At: r.int(), Size: r.int()}
	rec.since = r.time()
	rec.trace = iatp.TraceID(r.take(int(r.take(1)[0])))
	return key, rec
}

// deadline is when a key ends.
type deadline struct {
	at  int64
	key flight.Alias
}

// deadlines is a heap, the next one first.
type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at < d[j].at }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any)        { *d = append(*d, x.(deadline)) }
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = (*d)[:last]
	return x
}
