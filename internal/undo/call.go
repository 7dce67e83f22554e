package undo

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
)

// inOrder are calls in the order in which they are undone: the one that ended last
// comes first; those of which it is not known whether they ended come before all.
func inOrder(calls []*Thing) []*Thing {
	order := slices.Clone(calls)
	slices.SortStableFunc(order, func(x, y *Thing) int {
		switch a, b := x.unsettled(), y.unsettled(); {
		case a != b && a:
			return -1
		case a != b:
			return 1
		case x.EndedAt != y.EndedAt:
			return int(max(min(y.EndedAt-x.EndedAt, 1), -1))
		}
		return int(max(min(y.At-x.At, 1), -1))
	})
	return order
}

func (t *Thing) unsettled() bool { return t.State == Active || t.State == Unknown }

// undoCalls undoes calls, the last one first, after it is known of each what became of
// it; why is what their peers are told. It returns them as they are then, and how long to
// wait if that is not the end.
func (b *Book) undoCalls(ctx context.Context, calls []*Thing, why string) ([]*Thing, time.Duration, error) {
	known := make([]*Thing, 0, len(calls))
	for _, c := range inOrder(calls) {
		if c.State == Active {
			return nil, firstPause, nil // it ends by itself, at its deadline at the latest
		}
		if c.State == Unknown {
			next, wait, err := b.learnFate(ctx, c)
			if err != nil || wait > 0 {
				return nil, wait, err
			}
			c = next
		}
		known = append(known, c)
	}
	for i, c := range inOrder(known) {
		next, wait, err := b.undoCall(ctx, c, BySaga, why)
		if err != nil || wait > 0 {
			return nil, wait, err
		}
		known[i] = next
	}
	return known, 0, nil
}

// learnFate asks the peer what became of a call. What somebody else has found out meanwhile
// stands, as does a person's word.
func (b *Book) learnFate(ctx context.Context, c *Thing) (*Thing, time.Duration, error) {
	var f Fate
	if err := b.through(&b.peers, c.Peer, func() { f = b.opt.Host.Ask(ctx, c) }); err != nil || ctx.Err() != nil {
		return nil, longestPause, err
	}
	if f.State == "" || f.State == Unknown && f.Remote == "" {
		if b.opt.Now().Sub(c.Ended) < b.opt.GiveUp {
			return nil, b.patience(c.Ended), nil
		}
		next, err := b.advanceFrom(c.Ref, Unknown, &move{to: CompensationFailed, who: ByRecovery, code: "outcome_unknown", tx: flight.Tx{Manual: true}})
		return next, 0, err
	}
	m := &move{to: f.State, who: ByRecovery, more: proven(f.JWS), tx: flight.Tx{
		ID: f.Remote, Level: f.Level, Until: f.Until, MaxFee: f.MaxFee, Currency: f.Currency, Receipt: f.Receipt, Breach: f.Breach,
	}}
	if f.Breach {
		m.code = "receipt_breaks_terms"
	}
	if f.State == Unknown { // but there is a transaction there, which can be undone
		m.to = Compensating
	}
	next, err := b.advanceFrom(c.Ref, Unknown, m)
	return next, 0, err
}

// advanceFrom is advance for a step that is right only if the thing is still in the state
// that it was decided in.
func (b *Book) advanceFrom(ref Ref, state State, m *move) (*Thing, error) {
	return b.advance(ref, func(t *Thing) (*move, error) {
		if t.State != state {
			return nil, nil
		}
		return m, nil
	})
}

// proven puts the receipt that proves a step on its line, where an export finds it.
func proven(jws string) func(*flight.Entry) {
	return func(e *flight.Entry) { e.Receipt = jws }
}

// patience is the pause after asking in vain for something that began then.
func (b *Book) patience(since time.Time) time.Duration {
	return min(max(b.opt.Now().Sub(since)/4, firstPause), longestPause)
}

// undoCall undoes one call. A wait that is not zero says that it is not at its end.
func (b *Book) undoCall(ctx context.Context, c *Thing, who, why string) (*Thing, time.Duration, error) {
	c, err := b.load(c.Ref) // those before it took their time, and somebody may have had it undone, or spoken
	if err != nil {
		return nil, 0, err
	}
	if c.State == Committed {
		if !c.Undoable() {
			return c, 0, nil // nobody promised that it can be
		}
		next, err := b.advanceFrom(c.Ref, Committed, &move{to: Compensating, who: who, why: why})
		if err != nil {
			return nil, 0, err
		}
		c = next
	}
	if c.State != Compensating || c.Manual {
		return c, 0, nil
	}
	var r Result
	if err := b.through(&b.peers, c.Peer, func() { r = b.opt.Host.Undo(ctx, c) }); err != nil || ctx.Err() != nil {
		return nil, longestPause, err
	}
	m := &move{keep: r.Chain, code: r.Code, more: proven(r.JWS), tx: flight.Tx{
		Fee: r.Fee, Returned: r.Returned, Currency: r.Currency, Receipt: r.Receipt, Breach: r.Breach,
	}}
	switch r.Verdict {
	case Done:
		if m.to = r.State; m.to == "" {
			m.to = Compensated
		}
	case Never:
		m.to = Failed
	case Later:
		if b.opt.Now().Sub(c.Began) < b.opt.GiveUp {
			return nil, max(r.After, b.patience(c.Began)), nil
		}
		m.to, m.code = CompensationFailed, cmp.Or(r.Code, "not_in_time")
	default:
		m.to = CompensationFailed
	}
	if m.to == CompensationFailed {
		m.tx.Manual = true
		b.opt.Logger.Error("a person is asked: a peer did not undo a call", "peer", c.Peer, "transaction", c.Remote, "why", m.code)
	}
	next, err := b.advanceFrom(c.Ref, Compensating, m)
	return next, 0, err
}

// doCall goes on with a call that is undone by itself.
func (b *Book) doCall(ctx context.Context, ref Ref) (time.Duration, error) {
	c, err := b.load(ref)
	if err != nil {
		return 0, err
	}
	_, wait, err := b.undoCall(ctx, c, ByOperator, "")
	return wait, err
}

// UndoCall has one call of ours undone, on the word of an operator.
func (b *Book) UndoCall(ctx context.Context, ref Ref, a Ask) (*Thing, error) {
	c, err := b.load(ref)
	if err != nil {
		return nil, err
	}
	if c.State == Unknown {
		next, wait, err := b.learnFate(ctx, c)
		if _, ok := errors.AsType[*full](err); ok {
			return nil, ErrFull
		}
		if err != nil {
			return nil, err
		}
		if wait > 0 {
			return c, ErrConflict
		}
		c = next
	}
	if c.State == Committed && !c.Undoable() {
		return c, ErrIrreversible
	}
	if c.State == CompensationFailed && c.Remote == "" {
		return c, ErrConflict // there is nothing to ask the peer for
	}
	return b.advance(ref, func(t *Thing) (*move, error) {
		switch {
		case t.State == Committed, t.State == CompensationFailed && !t.Settled:
			return &move{to: Compensating, who: ByOperator, why: a.Reason, more: a.More}, nil
		case t.State == Compensating && t.Who != ByOperator && t.Asked == "":
			// Its saga or task waits for others, or has ended without it: from here on it goes
			// on by itself, for the reason that its peer was told.
			return &move{who: ByOperator, why: t.Reason, more: a.More}, nil
		}
		return nil, nil
	})
}
