package undo

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/vault"
)

// MaxMoving is how many things may be in motion at a time, some 200 bytes each.
// Beyond it nothing new is begun that could be undone.
const MaxMoving = 1 << 16

// MaxShare is how many of them one principal may have: those that wait for a person
// because of it among them.
const MaxShare = 1 << 13

// MaxKept is how many bytes of originals and undo data are kept on the disk.
const MaxKept = 1 << 30

// How much is worked on at a time: at our agent, by the principal that had it do what
// is undone; at peers, by peer; and how many wait for an undo that they asked for, by
// principal.
const (
	agentShared, agentEach, agentAll    = 16, 8, 64
	peersShared, peersEach, peersAll    = 64, 4, 128
	askingShared, askingEach, askingAll = 64, 16, 256
	// workers are more than can be inside both gates: there is always one for what does not hang.
	workers = agentAll + peersAll + 32
)

// ErrFull: too much is in motion, or kept, for another thing that can be undone.
var ErrFull = errors.New("there is no room for another transaction that can be undone")

// Host is how the book acts on the world. All are required, and are called from
// several goroutines.
type Host struct {
	// Compensate asks the wrapped agent to undo a task.
	Compensate func(ctx context.Context, o *Order) Result
	// Check asks it what it knows of a task.
	Check func(ctx context.Context, t *Thing) Knowledge
	// Ask asks a peer what became of a call whose outcome is not known.
	Ask func(ctx context.Context, call *Thing) Fate
	// Undo asks a peer to undo a call.
	Undo func(ctx context.Context, call *Thing) Result
	// Patience is how long the agent is asked to undo before a person is.
	Patience func() time.Duration
	// CanRollBack reports whether a task may be undone unasked after a crash.
	CanRollBack func() bool
}

// Options are what Open needs besides. All but Retain and Limits are required.
type Options struct {
	Dir    string // data directory
	Host   Host
	Logger *slog.Logger
	Now    func() time.Time
	// Retain is how long lines are kept: what is not on them cannot be undone.
	// Zero is for ever.
	Retain time.Duration
	Limits Limits
	// GiveUp is how long a peer is asked to undo before a person is.
	GiveUp time.Duration
}

// Book is the book of what can be undone. Its methods are safe for concurrent use.
type Book struct {
	log   *flight.Log
	vault *vault.Vault
	opt   Options
	locks locks

	mu       sync.Mutex
	moving   map[int64]*motion
	shares   map[flight.Label]int
	accounts map[flight.Label]*account
	entering map[flight.Label]int // let in by Admit, and not on a line yet
	kept     map[int64]time.Time  // by the file of the vault: until when it is needed
	due      queue
	agent    gate
	peers    gate
	asking   gate

	wake    chan struct{}
	running context.Context
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

// motion is a thing in motion.
type motion struct {
	ref     Ref
	kind    flight.TxKind
	state   State
	pool    flight.Label
	undone  bool // its undo was promised
	asked   bool // an undo is to follow
	manual  bool // nothing goes on before a person has spoken
	settled bool // a person has said that it stays as it is
	until   time.Time
	alone   bool // call: no saga and no task undoes it
	busy    bool // a worker has it
	due     time.Time
	queued  int // its place in the queue, from 1; 0: it is not there
	try     int
	waiting spot          // for a place
	files   []int64       // task: of the vault, that its undo needs
	turned  chan struct{} // closed when something has changed
}

// Open opens the book of a flight log. What it keeps sealed goes to DATA/undo, the
// keys to DATA/undo-keys. Nothing goes on by itself before Run.
func Open(log *flight.Log, o Options) (*Book, error) {
	v, err := vault.Open(vault.Options{
		Dir: filepath.Join(o.Dir, "undo"), Keys: filepath.Join(o.Dir, "undo-keys"), Kind: "undo",
		Max: MaxKept, Now: o.Now, Logger: o.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("open what is kept for undo: %w", err)
	}
	b := &Book{log: log, vault: v, opt: o, entering: make(map[flight.Label]int), wake: make(chan struct{}, 1),
		agent:  gate{shared: agentShared, each: agentEach, all: agentAll},
		peers:  gate{shared: peersShared, each: peersEach, all: peersAll},
		asking: gate{shared: askingShared, each: askingEach, all: askingAll},
	}
	b.reset()
	b.running, b.stop = context.WithCancel(context.Background())
	if err := log.Attach("undo", (*view)(b)); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return b, nil
}

// Close stops what goes on and waits for it. It goes on at the next start.
func (b *Book) Close() error {
	if b == nil {
		return nil
	}
	b.stop()
	b.ended.Wait()
	return b.vault.Close()
}

// LabelOf is the label of what a span stands for: the task that our agent was given
// it with, or the call that it belongs to. It cannot be found out from the span
// without the store key, so an id tells no span.
func (b *Book) LabelOf(span [8]byte) flight.Label {
	a := b.log.Alias("undo", hex.EncodeToString(span[:]))
	return flight.Label(a[:8])
}

// KeyLabel is the label under which the task of a caller's key is found.
func (b *Book) KeyLabel(principal, key string) flight.Label {
	a := b.log.Alias("undo of key", principal, key)
	return flight.Label(a[:8])
}

// ByKey returns the last task of a caller's key.
func (b *Book) ByKey(principal, key string) (*Thing, error) {
	lines, err := b.log.Labelled(b.KeyLabel(principal, key), 0)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, ErrUnknown
	}
	last := lines[len(lines)-1]
	step, _, err := flight.ReadTx(last.Seq, last.Text)
	if err != nil {
		return nil, err
	}
	return b.Load(Ref{last.Seq, step.Label})
}

// ByLabel returns the task or saga of a label, wherever it began.
func (b *Book) ByLabel(label flight.Label) (*Thing, error) {
	lines, err := b.log.Labelled(label, 0)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		step, ok, err := flight.ReadTx(line.Seq, line.Text)
		if err != nil {
			return nil, err
		}
		if ok && step.Label == label {
			return fold(Ref{step.At, label}, lines)
		}
	}
	return nil, ErrUnknown
}

// Keep seals what an undo will need, for the thing with that label. wait returns
// when it is on the disk; release lets go of it unless a line names it by then.
func (b *Book) Keep(label flight.Label, plain []byte) (place flight.Place, wait func() error, release func(), err error) {
	if b.vault.Full(len(plain)) {
		return place, nil, nil, ErrFull
	}
	place, wait, err = b.vault.Write(plain, b.sealedFor(label))
	return place, wait, func() { b.vault.Unpin(place) }, err
}

func (b *Book) sealedFor(label flight.Label) flight.Alias {
	return b.log.Alias("undo of", label.String())
}

// read opens what was sealed; nil if nothing was, or it is gone. An error may pass.
func (b *Book) read(t *Thing, place flight.Place) ([]byte, error) {
	if place == (flight.Place{}) {
		return nil, nil
	}
	b.vault.Pin(place)
	defer b.vault.Unpin(place)
	plain, err := b.vault.Get(place, b.sealedFor(t.Label))
	if err == nil {
		return plain, nil
	}
	b.opt.Logger.Error("what was kept for an undo cannot be read", "transaction", t.ID(), "error", err)
	if errors.Is(err, vault.ErrGone) {
		return nil, nil
	}
	return nil, err
}

// Room returns ErrFull if nothing new may be begun; pool is whose share it is, zero for
// our own agent.
func (b *Book) Room(pool flight.Label) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.moving) >= MaxMoving || pool != (flight.Label{}) && b.shares[pool] >= MaxShare {
		return ErrFull
	}
	return nil
}

// PoolOf is the share of a principal.
func (b *Book) PoolOf(principal string) flight.Label {
	a := b.log.Alias("undo of principal", principal)
	return flight.Label(a[:8])
}

// Figures count what is in motion, what waits for a person, and the tasks of others that
// rest and could still be undone.
type Figures struct{ Active, Unknown, Compensating, Waiting, Open int }

// Figures returns the current ones.
func (b *Book) Figures() (f Figures) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.accounts {
		a.expire(b.opt.Now())
		n, _ := a.sum("")
		f.Open += n
	}
	for _, m := range b.moving {
		switch {
		case m.asksPerson():
			f.Waiting++
		case m.state == Active:
			f.Active++
		case m.state == Unknown:
			f.Unknown++
		default:
			f.Compensating++
		}
	}
	return f
}

// Moving are the things in motion, at most limit of them: first those that wait for a
// person, then those of which nobody knows yet or that are being undone, then the rest; the
// newest first among these.
func (b *Book) Moving(limit int) []Ref {
	type ranked struct {
		ref  Ref
		rank int
	}
	b.mu.Lock()
	all := make([]ranked, 0, len(b.moving))
	for _, m := range b.moving {
		all = append(all, ranked{m.ref, m.rank()})
	}
	b.mu.Unlock()
	slices.SortFunc(all, func(x, y ranked) int {
		return cmp.Or(cmp.Compare(x.rank, y.rank), cmp.Compare(y.ref.At, x.ref.At))
	})
	refs := make([]Ref, 0, min(limit, len(all)))
	for _, one := range all[:cap(refs)] {
		refs = append(refs, one.ref)
	}
	return refs
}

// asksPerson reports whether a person is asked about it.
func (m *motion) asksPerson() bool { return m.manual || m.state == CompensationFailed && !m.settled }

// rank is how urgent it is for a person to see it.
func (m *motion) rank() int {
	switch {
	case m.asksPerson():
		return 0
	case m.state == Active:
		return 2
	}
	return 1
}

// locks hold a thing while its next step is decided and written.
type locks struct {
	mu sync.Mutex
	by map[int64]*lock
}

type lock struct {
	sync.Mutex
	users int
}

// hold returns when the thing is ours; release gives it back.
func (l *locks) hold(at int64) (release func()) {
	l.mu.Lock()
	if l.by == nil {
		l.by = make(map[int64]*lock)
	}
	one := l.by[at]
	if one == nil {
		one = new(lock)
		l.by[at] = one
	}
	one.users++
	l.mu.Unlock()
	one.Lock()
	return func() {
		one.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(l.by, at)
		}
	}
}

// Ending holds a thing while the line of its end is written, which does not go through the
// book: nobody decides by a state that is over. release gives it back.
func (b *Book) Ending(ref Ref) (release func()) { return b.locks.hold(ref.At) }

// move is a step that somebody wants.
type move struct {
	to   State
	who  string
	why  string // reason, or code of a failure
	code string
	tx   flight.Tx // what else it says
	more func(*flight.Entry)
	keep []Link
	cut  bool // keep was longer
}

// advance appends the step that decide wants for the state of the moment, and
// returns the thing as it is then. Without one it returns it as it is.
func (b *Book) advance(ref Ref, decide func(*Thing) (*move, error)) (*Thing, error) {
	defer b.locks.hold(ref.At)()
	t, err := b.load(ref)
	if err != nil {
		return nil, err
	}
	m, err := decide(t)
	if err != nil || m == nil {
		return t, err
	}
	if m.to != "" && !t.State.mayFollow(m.to) {
		return t, nil // somebody else was first
	}
	for {
		e := b.line(t, m)
		_, err := b.log.Append(&e, flight.Durable)
		if errors.Is(err, flight.ErrNotWhole) && len(m.keep) > 0 {
			m.keep = m.keep[:len(m.keep)/2] // what a peer says of others; the line says that it was cut
			m.cut = true
			continue
		}
		if err != nil {
			return nil, err
		}
		return b.load(ref)
	}
}

// line is the record of a step.
func (b *Book) line(t *Thing, m *move) flight.Entry {
	e := flight.Entry{
		Type: flight.Compensation, TraceID: t.TraceID, Time: b.opt.Now(), AgentID: t.AgentID,
		Peer: t.Peer, JKT: t.JKT, Note: m.why, Error: m.code, Dir: dirOf(t.Kind),
	}
	tx := m.tx
	tx.Kind, tx.At, tx.Label, tx.In, tx.Saga = t.Kind, t.At, t.Label, t.In, t.Saga
	tx.State, tx.Who = string(m.to), m.who
	if t.Kind == flight.TxTask && m.to == Compensating { // it leaves, and enters, what is counted of its caller
		tx.Pool, tx.Level, tx.Until, tx.Cost = t.Pool, t.Level, t.Until, t.Cost
	}
	if t.Kind == flight.TxTask && (m.to == Compensating || m.to == Committed) { // later than its first line foresaw, perhaps
		tx.Needs = t.needs()
	}
	e.Tx = &tx
	if m.keep != nil {
		text, err := json.Marshal(map[string][]Link{"chain": m.keep})
		if err != nil {
			panic(err) // texts always marshal
		}
		e.Payload, e.Whole, e.Truncated = text, true, m.cut
	}
	if m.more != nil {
		m.more(&e)
	}
	return e
}

func dirOf(k flight.TxKind) flight.Dir {
	switch k {
	case flight.TxTask:
		return flight.In
	case flight.TxCall:
		return flight.Out
	}
	return flight.Local
}
