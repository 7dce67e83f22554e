package undo

import (
	"context"
	"errors"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
)

// An Ask is somebody's wish to have something undone.
type Ask struct {
	Who    string
	Reason string
	At     time.Time           // when it was made: what counts for the window
	More   func(*flight.Entry) // puts more on the line that records it
}

// Why a thing is not undone.
var (
	ErrExpired      = errors.New("the undo window is over")
	ErrIrreversible = errors.New("nothing was promised about undoing it")
	ErrConflict     = errors.New("it cannot be undone in the state that it is in")
)

// Undo has a task undone, and returns it as it is then. Whoever asks again changes
// nothing. A task that is under way is undone when it has ended.
func (b *Book) Undo(ref Ref, a Ask) (*Thing, error) {
	return b.advance(ref, func(t *Thing) (*move, error) {
		m := &move{to: Compensating, who: a.Who, why: a.Reason, more: a.More}
		switch t.State {
		case Active:
			if a.Who == ByIngress { // which has ended it
				return m, t.mayUndo(a)
			}
			if t.Asked != "" {
				return nil, nil
			}
			m.to = ""
			return m, t.mayUndo(a)
		case Committed:
			if err := t.mayUndo(a); err != nil {
				return nil, err
			}
			if !t.InTime(a.At) && a.Who != ByOperator {
				return nil, ErrExpired
			}
			return m, nil
		case Unknown:
			return m, t.mayUndo(a)
		case CompensationFailed:
			if a.Who == ByOperator && !t.Settled {
				return m, nil
			}
		case Closed:
			return nil, ErrConflict
		}
		return nil, nil // it is being undone, or was, or there is nothing to undo
	})
}

// mayUndo refuses what nobody promised. An operator may try all the same.
func (t *Thing) mayUndo(a Ask) error {
	if t.Kind == flight.TxTask && !t.Undoable() && a.Who != ByOperator {
		return ErrIrreversible
	}
	return nil
}

// Hold records that an undo was asked for in time although it cannot be taken now: if it
// is asked for again within an hour, it still is. It is recorded once, so that nobody
// keeps a window open by asking.
func (b *Book) Hold(ref Ref, asked time.Time) error {
	_, err := b.advance(ref, func(t *Thing) (*move, error) {
		if t.State != Committed || t.Until.IsZero() || !t.Held.IsZero() || !t.InTime(asked) {
			return nil, nil
		}
		return &move{tx: flight.Tx{Held: true}}, nil
	})
	return err
}

// Prove records the first receipt that is given of what became of an undo. Later ones say
// the same, of other requests, and leave no line: who asks again does not make the log
// grow.
func (b *Book) Prove(ref Ref, receipt string, more func(*flight.Entry)) error {
	_, err := b.advance(ref, func(t *Thing) (*move, error) {
		if t.Proven {
			return nil, nil
		}
		return &move{tx: flight.Tx{Receipt: receipt}, more: more}, nil
	})
	return err
}

// A Resolution is a person's word on what waits for one.
type Resolution struct {
	State                   State
	By, Note                string
	Fee, Returned, Currency string
	Breach                  bool   // the fee is above what was promised
	Code                    string // for a breach, a fixed word
}

// Resolve records it. Only what waits for a person can be resolved, and once: that it stays
// as it is, compensation_failed, is a last word too.
func (b *Book) Resolve(ref Ref, r Resolution) (*Thing, error) {
	return b.advance(ref, func(t *Thing) (*move, error) {
		if !t.Asks() || !t.State.mayFollow(r.State) || r.State == Compensating {
			return nil, ErrConflict
		}
		m := &move{to: r.State, who: ByOperator, why: r.Note, code: r.Code,
			tx:   flight.Tx{Fee: r.Fee, Returned: r.Returned, Currency: r.Currency, Breach: r.Breach},
			more: func(e *flight.Entry) { e.Actor = r.By }}
		if r.State == Committed {
			m.tx.Until = b.until(t)
		}
		return m, nil
	})
}

// doTask does what is next about a task.
func (b *Book) doTask(ctx context.Context, ref Ref) (time.Duration, error) {
	t, err := b.load(ref)
	if err != nil {
		return 0, err
	}
	switch {
	case t.State == Unknown:
		return b.findOut(ctx, t)
	case t.State == Compensating:
		return b.compensate(ctx, t)
	case t.State == Committed && t.Asked != "":
		_, err = b.advanceFrom(ref, Committed, &move{to: Compensating, who: t.Asked})
	}
	return 0, err
}

// Voidable reports whether the agent can be told that a task is not wanted any more. An
// agent that has not seen a task may still get it: the order can lie in a buffer for
// longer than any deadline. So what can be undone is undone even then, and the agent
// refuses what comes late (spec/002, 5.6).
func (t *Thing) Voidable() bool {
	return t.Kind == flight.TxTask && t.Undoable() && t.Method != manualMethod
}

// findOut asks the agent what became of a task whose outcome is not known: unknown is
// not failed. If it does not say, has not seen it yet, or has done a part, the task is undone
// if that was promised, else a person is asked.
func (b *Book) findOut(ctx context.Context, t *Thing) (time.Duration, error) {
	var k Knowledge
	err := b.through(&b.agent, t.Peer, func() { k = b.opt.Host.Check(ctx, t) })
	if err != nil || ctx.Err() != nil {
		return 0, err
	}
	if k.Retry && b.opt.Now().Sub(t.Ended) < b.opt.Host.Patience() {
		return b.patience(t.Ended), nil
	}
	_, err = b.advance(t.Ref, func(t *Thing) (*move, error) {
		if t.State != Unknown {
			return nil, nil // an undo was asked for meanwhile: that is the answer
		}
		m := &move{who: ByRecovery}
		switch {
		case k.Known && !k.Executed && !(t.Voidable() && b.opt.Host.CanRollBack()):
			m.to = Failed
		case k.Known && k.Executed && !k.Partly() && t.Asked == "":
			m.to, m.tx.Until = Committed, b.until(t)
		case t.Undoable() && (t.Asked != "" || b.opt.Host.CanRollBack()):
			m.to = Compensating
			if t.Asked != "" {
				m.who = t.Asked
			}
		default:
			m.tx.Manual, m.code = true, "outcome_unknown"
			if k.Partly() {
				m.code = "partly_done"
			}
		}
		return m, nil
	})
	return 0, err
}

// until is the end of the window of a task that took effect now at the latest.
func (b *Book) until(t *Thing) time.Time {
	if t.Window == nil || *t.Window == 0 {
		return time.Time{}
	}
	return b.opt.Now().Add(time.Duration(min(*t.Window, 1<<32)) * time.Second)
}

// manualMethod is the method that is a person's work.
const manualMethod = "manual_intervention"

// bestEffort promises an attempt.
const bestEffort = "best_effort"

// unreadable is why the agent was not asked: the disk does not give what it is asked with.
const unreadable = "undo_data_unreadable"

// compensate undoes a task: first the calls that our agent made for it, the last one
// first, then what the agent itself did.
func (b *Book) compensate(ctx context.Context, t *Thing) (time.Duration, error) {
	calls, err := b.calls(t.Label, t.At)
	if err != nil {
		return 0, err
	}
	calls, wait, err := b.undoCalls(ctx, calls, "") // why our caller wants it is between it and us
	if err != nil || wait > 0 {
		return wait, err
	}
	if t.Method == manualMethod {
		return 0, b.askPerson(t, "manual_intervention")
	}
	var r Result
	err = b.through(&b.agent, t.Peer, func() {
		if o, unread := b.order(t); unread != nil {
			r = Result{Code: unreadable}
		} else {
			r = b.opt.Host.Compensate(ctx, o)
		}
	})
	if err != nil || ctx.Err() != nil {
		return 0, err // no place, or we are stopping: nothing is known of it
	}
	return b.settle(t, calls, r)
}

// askPerson records that a task waits for a person.
func (b *Book) askPerson(t *Thing, code string) error {
	_, err := b.advance(t.Ref, func(t *Thing) (*move, error) {
		if t.State != Compensating || t.Manual {
			return nil, nil
		}
		return &move{tx: flight.Tx{Manual: true}, code: code}, nil
	})
	if err == nil {
		b.opt.Logger.Error("a person is asked: a transaction has to be undone by hand", "transaction", t.ID(), "why", code)
	}
	return err
}

// settle records what came of the agent's compensation.
func (b *Book) settle(t *Thing, calls []*Thing, r Result) (time.Duration, error) {
	next := &move{tx: flight.Tx{Fee: r.Fee, Returned: r.Returned, Currency: r.Currency, Breach: r.Breach}, code: r.Code}
	switch r.Verdict {
	case Done:
		next.to = outcome(t, r, calls)
	case Never:
		if next.to = Failed; !t.wasUnknown() { // it did take effect
			next.to, next.code = CompensationFailed, "agent_does_not_know_it"
		}
	case Later:
		if b.opt.Now().Sub(t.Began) < b.opt.Host.Patience() {
			return max(r.After, 0), nil
		}
		if next.to = CompensationFailed; r.Code != unreadable {
			next.code = "not_in_time"
		}
	default:
		next.to = CompensationFailed
	}
	if next.to == CompensationFailed {
		next.tx.Manual = true
		b.opt.Logger.Error("a person is asked: a transaction could not be undone", "transaction", t.ID(), "why", next.code)
	}
	_, err := b.advanceFrom(t.Ref, Compensating, next)
	return 0, err
}

// wasUnknown reports whether it was never known that the task took effect.
func (t *Thing) wasUnknown() bool {
	for _, s := range t.History {
		if s.State == Committed {
			return false
		}
	}
	return true
}

// outcome is the state of a task that its agent has undone.
func outcome(t *Thing, r Result, calls []*Thing) State {
	switch {
	case r.State == Partially, r.Fee != "" && !isZero(r.Fee):
		return Partially
	case t.Method == bestEffort && r.State != Compensated:
		return Partially
	}
	for _, c := range calls {
		if c.State != Compensated && c.State != Failed {
			return Partially
		}
	}
	return Compensated
}

// isZero reports an amount that is nothing.
func isZero(amount string) bool {
	for _, r := range amount {
		if r >= '1' && r <= '9' {
			return false
		}
	}
	return true
}

// Chain lists what was undone for a task or a saga, the last first, a task's own part
// at the end.
func (b *Book) Chain(t *Thing) ([]Link, error) {
	calls, err := b.Calls(t)
	if err != nil {
		return nil, err
	}
	now := b.opt.Now()
	chain := []Link{}
	for _, c := range inOrder(calls) {
		switch {
		case c.State == Failed || c.Remote == "":
		case len(c.Chain) > 0:
			chain = append(chain, c.Chain...)
		default:
			chain = append(chain, c.link(now))
		}
	}
	if t.Kind == flight.TxTask {
		chain = append(chain, t.link(now))
	}
	return chain, nil
}
