package budget

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// view is how the log sees a ledger.
type view struct{ l *Ledger }

// Apply implements flight.View.
func (v view) Apply(seq int64, line []byte) {
	l := v.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq != l.next {
		// Lines are gone that no snapshot covers. Trees that were last moved by
		// them live at most this long.
		l.lost = flight.ReadTime(line).Add(l.opt.TTL)
	}
	l.next = seq + 1
	step, ok, err := flight.ReadSpend(line)
	if err == nil && ok {
		err = l.apply(step, line)
	}
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("record %d: %w", seq, err)
	}
}

// apply follows one step. It needs mu.
func (l *Ledger) apply(s flight.Spend, line []byte) error {
	moved := flight.ReadTime(line)
	a := l.trees[s.Tree]
	if a == nil && s.Limit != "" {
		limit, err := iatp.ParseMoney(s.Limit, s.Currency)
		if err != nil {
			return err
		}
		a = l.open(s.Tree, s.Pool, limit, moved)
	}
	if a == nil {
		return nil // its time was over
	}
	l.touch(a, moved)
	l.logged(s.Tree, a)
	switch s.Step {
	case flight.SpendOpened:
		return nil
	case flight.SpendReleased:
		a.take(s.ID)
		return nil
	}
	amount, err := iatp.ParseMoney(s.Amount, s.Currency)
	if err == nil && s.Currency != a.limit.Currency() {
		err = ErrCurrency
	}
	if err != nil {
		return err
	}
	switch s.Step {
	case flight.SpendReserved:
		a.learn(s, amount, line)
	case flight.SpendSpent:
		a.spend(s.ID, amount)
	default:
		return fmt.Errorf("spend: unknown step %q", s.Step)
	}
	return nil
}

// learn follows a reservation, which may be one that this process has made.
func (a *account) learn(s flight.Spend, amount iatp.Money, line []byte) {
	c := a.calls[s.ID]
	if c == nil {
		c = &call{peer: s.Peer, amount: amount}
		a.add(s.ID, c)
	}
	c.logged, c.trace = true, flight.ReadTrace(line)
}

func (a *account) spend(id flight.Alias, amount iatp.Money) {
	a.spent = plus(a.spent, amount)
	a.take(id)
}

// A snapshot is JSON: a heading, then one tree after the other.
type heading struct {
	Version int       `json:"version"`
	Next    int64     `json:"next"`
	Lost    time.Time `json:"lost,omitzero"`
}

type savedTree struct {
	Tree     flight.Alias `json:"tree"`
	Pool     flight.Alias `json:"pool"`
	Currency string       `json:"cur"`
	Limit    string       `json:"limit"`
	Spent    string       `json:"spent"`
	Moved    time.Time    `json:"moved"`
	Calls    []savedCall  `json:"calls,omitempty"`
}

type savedCall struct {
	ID     flight.Alias `json:"id"`
	Peer   flight.Alias `json:"peer"`
	Amount string       `json:"amount"`
	Trace  iatp.TraceID `json:"trace,omitempty"`
}

const snapshotVersion = 2

// Snapshot implements flight.View.
func (v view) Snapshot() []byte {
	l := v.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evict()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	// Nothing in it can fail to encode.
	_ = enc.Encode(heading{Version: snapshotVersion, Next: l.next, Lost: l.lost.UTC()})
	for tree, a := range l.trees {
		if a.logged {
			_ = enc.Encode(a.save(tree))
		}
	}
	return b.Bytes()
}

func (a *account) save(tree flight.Alias) savedTree {
	s := savedTree{
		Tree: tree, Pool: a.pool, Currency: a.limit.Currency(), Limit: a.limit.Amount(), Spent: a.spent.Amount(), Moved: a.moved.UTC(),
	}
	for id, c := range a.calls {
		if c.logged {
			s.Calls = append(s.Calls, savedCall{ID: id, Peer: c.peer, Amount: c.amount.Amount(), Trace: c.trace})
		}
	}
	return s
}

// Restore implements flight.View.
func (v view) Restore(snapshot []byte) error {
	l := v.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.restore(snapshot); err != nil {
		l.reset()
		return fmt.Errorf("snapshot of budgets: %w", err)
	}
	return nil
}

func (l *Ledger) restore(snapshot []byte) error {
	dec := json.NewDecoder(bytes.NewReader(snapshot))
	dec.DisallowUnknownFields()
	var h heading
	if err := dec.Decode(&h); err != nil {
		return err
	}
	if h.Version != snapshotVersion || h.Next < 0 {
		return fmt.Errorf("version %d, wanted %d", h.Version, snapshotVersion)
	}
	l.next, l.lost = h.Next, h.Lost
	for {
		var s savedTree
		err := dec.Decode(&s)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = l.load(s)
		}
		if err != nil {
			return err
		}
	}
}

// load takes over one tree of a snapshot.
func (l *Ledger) load(s savedTree) error {
	limit, err := iatp.ParseMoney(s.Limit, s.Currency)
	if err != nil {
		return err
	}
	if l.trees[s.Tree] != nil {
		return errors.New("a tree stands in it twice")
	}
	a := l.open(s.Tree, s.Pool, limit, s.Moved)
	l.logged(s.Tree, a)
	if a.spent, err = iatp.ParseMoney(s.Spent, s.Currency); err != nil {
		return err
	}
	for _, one := range s.Calls {
		amount, err := iatp.ParseMoney(one.Amount, s.Currency)
		if err != nil {
			return err
		}
		if a.calls[one.ID] != nil {
			return errors.New("a call stands in it twice")
		}
		a.add(one.ID, &call{logged: true, peer: one.Peer, amount: amount, trace: one.Trace})
	}
	return nil
}
