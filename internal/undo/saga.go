package undo

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// Why a saga does not take a call, or does not close.
var (
	ErrOver     = errors.New("the saga is over")
	ErrTooMany  = errors.New("the saga has as many calls as one may have")
	ErrInFlight = errors.New("a call of the saga is under way")
)

// OpenSaga begins a saga. onFailure has it cancelled by the first call that does not
// end well; deadline is when it is cancelled in any case.
func (b *Book) OpenSaga(agent iatp.AgentID, onFailure bool, deadline time.Time) (*Thing, error) {
	if err := b.Room(flight.Label{}); err != nil {
		return nil, err
	}
	var label flight.Label
	rand.Read(label[:])
	seq, err := b.log.Append(&flight.Entry{
		Type: flight.Compensation, Time: b.opt.Now(), Dir: flight.Local, AgentID: agent,
		Tx: &flight.Tx{Kind: flight.TxSaga, At: flight.TxBegins, Label: label, State: string(Active), Promise: onFailure, Until: deadline},
	}, flight.Durable)
	if err != nil {
		return nil, err
	}
	return b.load(Ref{seq, label})
}

// Join holds a saga while a call of it is recorded, and returns its label. release
// gives it back.
func (b *Book) Join(ref Ref) (label flight.Label, release func(), err error) {
	release = b.locks.hold(ref.At)
	defer func() {
		if err != nil {
			release()
		}
	}()
	t, err := b.load(ref)
	switch {
	case err != nil:
	case t.Kind != flight.TxSaga:
		err = ErrUnknown
	case t.State != Active || !b.opt.Now().Before(t.Until):
		err = ErrOver
	default:
		err = b.fewCalls(t)
	}
	return ref.Label, release, err
}

// Continue holds the task that a label names while a call of it is recorded. The label
// is zero if there is none: then the call continues nothing. ErrOver says that the task
// is being undone, or was: what is done for it now would stay.
func (b *Book) Continue(label flight.Label) (_ flight.Label, release func(), err error) {
	nothing := func() {}
	t, err := b.ByLabel(label)
	if errors.Is(err, ErrUnknown) {
		return flight.Label{}, nothing, nil
	}
	if err != nil {
		return flight.Label{}, nothing, err
	}
	if t.Kind != flight.TxTask {
		return flight.Label{}, nothing, nil
	}
	release = b.locks.hold(t.At)
	if t, err = b.load(t.Ref); err == nil && (t.State != Active && t.State != Committed || t.Asked != "") {
		err = ErrOver
	}
	if err == nil {
		err = b.fewCalls(t)
	}
	if err != nil {
		release()
		return flight.Label{}, nothing, err
	}
	return label, release, nil
}

// fewCalls refuses another call of a thing that has as many as it may have.
func (b *Book) fewCalls(t *Thing) error {
	calls, err := b.calls(t.Label, t.At)
	if err == nil && len(calls) >= maxCalls {
		return ErrTooMany
	}
	return err
}

// CloseSaga keeps what was done.
func (b *Book) CloseSaga(ref Ref) (*Thing, error) {
	t, err := b.advance(ref, func(t *Thing) (*move, error) {
		switch {
		case t.Kind != flight.TxSaga:
			return nil, ErrUnknown
		case t.State == Closed:
			return nil, nil
		case t.State != Active:
			return nil, ErrOver
		}
		calls, err := b.calls(t.Label, t.At)
		if err != nil {
			return nil, err
		}
		for _, c := range calls {
			if c.State == Active {
				return nil, ErrInFlight
			}
		}
		if t.OnFailure && anyFailed(calls) { // and whoever saw it end has not come to cancel yet
			return &move{to: Compensating, who: BySaga, why: callFailed}, nil
		}
		return &move{to: Closed, who: BySaga}, nil
	})
	if err == nil && t.State != Closed {
		err = ErrOver
	}
	return t, err
}

// callFailed is why a saga is cancelled that is to be as soon as a call does not end well.
const callFailed = "a call did not end well"

// anyFailed reports whether a call has not ended well, whatever became of it since.
func anyFailed(calls []*Thing) bool {
	return slices.ContainsFunc(calls, func(c *Thing) bool { return len(c.History) > 1 && c.History[1].State != Committed })
}

// CallEnded cancels the saga of a call that did not end well, if the saga wants that.
func (b *Book) CallEnded(saga Ref) error {
	t, err := b.load(saga)
	if err != nil || !t.OnFailure || t.State != Active {
		return err
	}
	calls, err := b.calls(t.Label, t.At)
	if err == nil && anyFailed(calls) {
		_, err = b.CancelSaga(saga, Ask{Who: BySaga, Reason: callFailed})
	}
	return err
}

// CancelSaga undoes what was done. One that could not be undone is tried again for an
// operator only; one that is kept stays.
func (b *Book) CancelSaga(ref Ref, a Ask) (*Thing, error) {
	return b.advance(ref, func(t *Thing) (*move, error) {
		switch {
		case t.Kind != flight.TxSaga:
			return nil, ErrUnknown
		case t.State == Closed:
			return nil, ErrOver
		case t.State == CompensationFailed && !t.Settled && a.Who == ByOperator:
			if err := b.tryAgain(t); err != nil {
				return nil, err
			}
		case t.State != Active:
			return nil, nil
		}
		return &move{to: Compensating, who: a.Who, why: a.Reason, more: a.More}, nil
	})
}

// tryAgain puts the calls of a saga that could not be undone back to where they are
// being undone. Its caller holds the saga, so nobody ends that meanwhile: they go on with it.
func (b *Book) tryAgain(t *Thing) error {
	calls, err := b.calls(t.Label, t.At)
	for _, c := range calls {
		if c.State == CompensationFailed && !c.Settled && c.Remote != "" && err == nil {
			_, err = b.advance(c.Ref, func(c *Thing) (*move, error) {
				if c.State != CompensationFailed || c.Settled {
					return nil, nil // a person has spoken meanwhile
				}
				return &move{to: Compensating, who: BySaga}, nil
			})
		}
	}
	return err
}

// Calls are the calls of a saga or a task, in the order in which they began.
func (b *Book) Calls(t *Thing) ([]*Thing, error) {
	calls, err := b.calls(t.Label, t.At)
	b.onDisk(calls...)
	return calls, err
}

// doSaga does what is next about a saga.
func (b *Book) doSaga(ctx context.Context, ref Ref) (time.Duration, error) {
	t, err := b.load(ref)
	if err != nil {
		return 0, err
	}
	if t.State == Active && !b.opt.Now().Before(t.Until) {
		t, err = b.CancelSaga(ref, Ask{Who: BySaga, Reason: "deadline"})
	}
	if err != nil || t.State != Compensating {
		return 0, err
	}
	calls, err := b.calls(t.Label, t.At)
	if err != nil {
		return 0, err
	}
	calls, wait, err := b.undoCalls(ctx, calls, t.Reason)
	if err != nil || wait > 0 {
		return wait, err
	}
	_, err = b.advanceFrom(ref, Compensating, &move{to: sagaOutcome(calls)})
	return 0, err
}

// sagaOutcome is the state of a saga whose calls are at their end.
func sagaOutcome(calls []*Thing) State {
	state := Compensated
	for _, c := range calls {
		switch c.State {
		case Compensated, Failed:
		case Partially, Committed: // undone for a fee, or nobody promised that it can be
			if state == Compensated {
				state = Partially
			}
		default:
			state = CompensationFailed
		}
	}
	return state
}
