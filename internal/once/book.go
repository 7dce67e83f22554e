package once

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/vault"
)

// sweepInterval is how often what has expired is removed without being asked.
const sweepInterval = time.Minute

// Book remembers idempotency keys. Its methods are safe for concurrent use.
type Book struct {
	log   *flight.Log
	opt   Options
	vault *vault.Vault

	mu   sync.Mutex
	view *claims

	stop    chan struct{}
	stopped sync.WaitGroup
}

// Open opens the book of a flight log. dir is the data directory; sealed
// answers go to DATA/answers, the keys that open them to DATA/answer-keys.
func Open(log *flight.Log, dir string, o Options) (*Book, error) {
	o = o.withDefaults()
	v, err := openAnswers(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open answers: %w", err)
	}
	b := &Book{log: log, opt: o, vault: v, stop: make(chan struct{})}
	b.view = newClaims(&b.mu, o, v)
	if err := log.Attach("once", b.view); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	b.sweep() // what expired while nobody ran, and what a crash left behind
	b.stopped.Go(b.sweepNowAndThen)
	return b, nil
}

func openAnswers(dir string, o Options) (*vault.Vault, error) {
	return vault.Open(vault.Options{
		Dir: filepath.Join(dir, "answers"), Keys: filepath.Join(dir, "answer-keys"), Kind: "answer",
		Max: o.MaxBytes, Now: o.Now, Logger: o.Logger,
	})
}

// Close gives the files back. Claims that are open stay as the log has them.
func (b *Book) Close() error {
	close(b.stop)
	b.stopped.Wait()
	return b.vault.Close()
}

func (b *Book) sweepNowAndThen() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-tick.C:
			b.sweep()
		}
	}
}

// sweep forgets what has expired and erases the answers nobody can ask for.
func (b *Book) sweep() {
	b.mu.Lock()
	b.view.evict()
	b.mu.Unlock()
	b.vault.Sweep()
}

// Begin asks for a key. print is a digest of what is asked, over everything that
// makes a repetition the same request. If the key was unused, the answer is New
// and it belongs to the caller until [Claim.End].
//
// An error means that the log holds something that cannot be understood: 503.
func (b *Book) Begin(scope Scope, key string, print [32]byte) (Standing, error) {
	return b.ask(b.claim(scope, key, print))
}

// Shut asks for a key in order to close it. An unused key is New: the caller
// ends it with [Claim.Close]. It is never Reused.
func (b *Book) Shut(scope Scope, key string) (Standing, error) {
	c := b.claim(scope, key, [32]byte{})
	c.shut = true
	return b.ask(c)
}

func (b *Book) claim(scope Scope, key string, print [32]byte) *Claim {
	c := &Claim{book: b, key: b.log.Alias("claim", scope.Principal, key), pool: b.log.Alias("pool", scope.poolTexts()...)}
	c.print = b.log.Alias("print", c.key.String(), string(print[:]))
	return c
}

func (b *Book) ask(c *Claim) (Standing, error) {
	b.mu.Lock()
	state, place := Full, flight.Place{}
	b.view.evict()
	err := b.view.err
	if err == nil {
		state, place = b.stand(c)
	}
	if state == New {
		b.view.put(c.key, &record{pool: c.pool, print: c.print, holder: c})
	}
	b.vault.Pin(place)
	b.mu.Unlock()
	switch {
	case err != nil:
		return Standing{}, err
	case state == New:
		return Standing{State: New, Claim: c}, nil
	case place == flight.Place{}:
		return Standing{State: state}, nil
	}
	defer b.vault.Unpin(place)
	return b.recall(c, state, place), nil
}

// recall reads the answer of a key that is done or closed.
func (b *Book) recall(c *Claim, state State, place flight.Place) Standing {
	var a Answer
	plain, err := b.vault.Get(place, c.key)
	if err == nil {
		a, err = decodeAnswer(plain)
	}
	if err != nil {
		b.opt.Logger.Error("stored answer cannot be read", "file", place.File, "error", err)
		if state == Done {
			state = NotKept
		}
		return Standing{State: state}
	}
	if state == Done && a.Dropped {
		state = NotKept
	}
	return Standing{State: state, Answer: a}
}

// stand says where a key stands, and where its answer lies. It needs mu.
func (b *Book) stand(c *Claim) (State, flight.Place) {
	rec := b.view.byKey[c.key]
	switch {
	case rec == nil && b.full(c.pool):
		return Full, flight.Place{}
	case rec == nil:
		return New, flight.Place{}
	case rec.holder == nil && rec.step == flight.ClaimClosed:
		return Closed, rec.answer
	case !c.shut && rec.print != c.print && (rec.holder == nil || !rec.holder.shut):
		return Reused, flight.Place{}
	case rec.holder != nil || rec.step == flight.ClaimHeld:
		return InFlight, flight.Place{}
	case rec.answer == flight.Place{}:
		return NotKept, flight.Place{}
	}
	return Done, rec.answer
}

// full reports whether there is no room for another key. It needs mu.
func (b *Book) full(pool flight.Alias) bool {
	return b.view.blind() || len(b.view.byKey) >= b.opt.MaxClaims || b.view.byPool[pool] >= b.opt.MaxShare
}

// Interrupted hands out the claims whose call was under way when its process
// died, or that were ended after no more than Hold: nobody knows their outcome.
// The caller ends each of them with Finish or Free, and End.
func (b *Book) Interrupted() []*Claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []*Claim
	for key, rec := range b.view.byKey {
		if rec.step == flight.ClaimHeld && rec.holder == nil {
			rec.holder = &Claim{book: b, key: key, pool: rec.pool, print: rec.print, Trace: rec.trace, Since: rec.since}
			all = append(all, rec.holder)
		}
	}
	return all
}

// Len returns how many keys are remembered.
func (b *Book) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.view.evict()
	return len(b.view.byKey)
}

// Claim is a key that belongs to one call. Its methods are for one goroutine at
// a time.
type Claim struct {
	// Trace and Since are of the line that holds an interrupted claim.
	Trace iatp.TraceID
	Since time.Time

	book             *Book
	key, pool, print flight.Alias
	shut             bool // asked for by Shut
	ended            bool
	pinned           flight.Place // the answer it sealed
}

// Alias names the claim on lines, and to Recall. It says nothing of the key to
// whoever does not have the store key of the log.
func (c *Claim) Alias() flight.Alias { return c.key }

// Recall returns the answer that is kept for a claim that is done or closed, by its
// alias.
func (b *Book) Recall(claim flight.Alias) (Answer, bool) {
	b.mu.Lock()
	b.view.evict()
	rec := b.view.byKey[claim]
	if rec == nil || rec.answer == (flight.Place{}) {
		b.mu.Unlock()
		return Answer{}, false
	}
	place := rec.answer
	b.vault.Pin(place)
	b.mu.Unlock()
	defer b.vault.Unpin(place)
	st := b.recall(&Claim{key: claim}, Closed, place)
	return st.Answer, st.Answer.Status != 0
}

// Hold puts on e that the call may be executed from here on. e must be durable
// before it is.
func (c *Claim) Hold(e *flight.Entry) { c.put(e, flight.ClaimHeld, flight.Place{}) }

// Free puts on e that the call was not executed: the key is unused again. It is
// for claims that are held; for others it is enough to End them.
func (c *Claim) Free(e *flight.Entry) { c.put(e, flight.ClaimFreed, flight.Place{}) }

// Finish seals the answer of the call and puts on e, the record of its outcome,
// where it is. e must be durable before the answer is released. An answer that
// cannot be kept is dropped and the log says so: that the call was executed is
// worth more than its answer.
func (c *Claim) Finish(e *flight.Entry, a Answer) { c.put(e, flight.ClaimDone, c.seal(a)) }

// Close puts on e that nothing will ever be executed with the key. a holds the
// receipt that says so.
func (c *Claim) Close(e *flight.Entry, a Answer) { c.put(e, flight.ClaimClosed, c.seal(a)) }

func (c *Claim) put(e *flight.Entry, step flight.ClaimStep, place flight.Place) {
	e.Claim = &flight.Claim{Step: step, Key: c.key, Pool: c.pool, Print: c.print, Answer: place}
	if step == flight.ClaimDone || step == flight.ClaimClosed {
		// Whole seconds, rounded up: not before its time.
		e.Claim.Until = time.Unix(c.book.opt.Now().Add(c.book.opt.TTL+time.Second-1).Unix(), 0)
	}
}

// seal keeps an answer until the claim ends, and as long as a record names it.
func (c *Claim) seal(a Answer) flight.Place {
	b := c.book
	if len(a.Body) > b.opt.MaxAnswer {
		a.Body, a.Dropped = nil, true
	}
	plain := a.encode()
	if len(a.Body) > 0 && b.vault.Full(len(plain)) {
		a.Body, a.Dropped = nil, true
		plain = a.encode()
	}
	place, err := b.vault.Put(plain, c.key)
	if err != nil {
		b.opt.Logger.Error("answer cannot be kept", "error", err)
		return flight.Place{}
	}
	b.vault.Unpin(c.pinned)
	c.pinned = place
	return place
}

// End gives the key up: it is what the log says now. A second End does nothing.
func (c *Claim) End() {
	if c.ended {
		return
	}
	c.ended = true
	c.book.mu.Lock()
	c.book.view.leave(c.key)
	c.book.mu.Unlock()
	c.book.vault.Unpin(c.pinned)
}
