package undo

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
)

// saga opens one, with calls of it that are under way.
func (w *world) saga(onFailure bool, calls int) (saga Ref, refs []Ref) {
	w.t.Helper()
	t, err := w.book.OpenSaga("a", onFailure, w.now().Add(time.Hour))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range calls {
		ref := Ref{Label: w.book.LabelOf([8]byte{byte(w.log.Size()), byte(i), 9})}
		ref.At = w.write(flight.Tx{Kind: flight.TxCall, At: flight.TxBegins, Label: ref.Label, Saga: t.Label, State: string(Active), Level: "full"})
		refs = append(refs, ref)
	}
	return t.Ref, refs
}

// write appends a line of a call, or of a task, as the sidecar does.
func (w *world) write(tx flight.Tx) int64 {
	w.t.Helper()
	seq, err := w.log.Append(&flight.Entry{Type: flight.Response, TraceID: "t", Peer: "https://b.example", Dir: flight.Out, Tx: &tx}, flight.Durable)
	if err != nil {
		w.t.Fatal(err)
	}
	return seq
}

// over ends a call of a saga.
func (w *world) over(saga, ref Ref, state State) {
	w.t.Helper()
	tx := flight.Tx{Kind: flight.TxCall, At: ref.At, Label: ref.Label, Saga: saga.Label, State: string(state)}
	if state == Committed {
		tx.ID, tx.Level = "tx_x", "full"
	}
	w.write(tx)
}

// say records a person's word.
func (w *world) say(ref Ref, state State) {
	w.t.Helper()
	if _, err := w.book.Resolve(ref, Resolution{State: state, By: "alice"}); err != nil {
		w.t.Fatal(err)
	}
}

// cancel cancels a saga.
func (w *world) cancel(saga Ref, who string) {
	w.t.Helper()
	if t, err := w.book.CancelSaga(saga, Ask{Who: who, At: w.now()}); err != nil || t.State != Compensating {
		w.t.Fatalf("cancel: %v, %+v", err, t)
	}
}

// cancelled opens a saga, ends each of its calls in a state, and cancels it.
func (w *world) cancelled(states ...State) (saga Ref, calls []Ref) {
	w.t.Helper()
	saga, calls = w.saga(false, len(states))
	for i, state := range states {
		w.over(saga, calls[i], state)
	}
	w.cancel(saga, BySaga)
	return saga, calls
}

// wantWord holds a call to a person's last word, that it stays as it is.
func (w *world) wantWord(ref Ref) {
	w.t.Helper()
	if got := w.load(ref); got.State != CompensationFailed || !got.Settled {
		w.t.Errorf("after a person's word it is %+v", got)
	}
}

// blocked holds a thing until somebody who has been started waits for it, does then what
// happens while he waits, and lets him go on.
func (w *world) blocked(ref Ref, start, then func()) {
	w.t.Helper()
	release := w.book.Ending(ref)
	done := make(chan struct{})
	go func() {
		defer close(done)
		start()
	}()
	w.waits(ref, done)
	then()
	release()
	<-done
}

// waits returns when somebody waits for a thing that another holds, or has not waited.
func (w *world) waits(ref Ref, done <-chan struct{}) {
	for {
		w.book.locks.mu.Lock()
		one := w.book.locks.by[ref.At]
		waits := one != nil && one.users > 1
		w.book.locks.mu.Unlock()
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
		}
		if waits {
			return
		}
	}
}

// TestNothingIsLeftToDo: a task that was to be undone as soon as it has ended, and then
// turns out to have done nothing, rests.
func TestNothingIsLeftToDo(t *testing.T) {
	for name, ends := range map[string]func(*world, Ref){
		"it says so": func(w *world, ref Ref) { w.finish(ref, Failed) },
		"it is found out": func(w *world, ref Ref) {
			w.finish(ref, Unknown)
			w.book.opt.Host.CanRollBack = func() bool { return false }
			w.knows = Knowledge{Known: true}
			w.step()
		},
	} {
		w := newWorld(t)
		ref := w.begin("full")
		if _, err := w.book.Undo(ref, Ask{Who: ByCaller, At: w.now()}); err != nil {
			t.Fatal(err)
		}
		ends(w, ref)
		if got := w.load(ref); got.State != Failed || got.Asked == "" {
			t.Fatalf("%s: it is %+v", name, got)
		}
		if left := w.book.Moving(9); len(left) != 0 {
			t.Errorf("%s: %v is in motion, and there is nothing to do about it", name, left)
		}
		w.end()
	}
}

// TestUndoMeetsEnd: whoever asks for an undo while the end of the task is being written
// decides by that end.
func TestUndoMeetsEnd(t *testing.T) {
	w := newWorld(t)
	defer w.end()
	w.book.opt.Limits = Limits{Ratio: 0.5, From: 1}
	ref := w.begin("full")
	var got *Thing
	var err error
	w.blocked(ref, func() { got, err = w.book.Undo(ref, Ask{Who: ByCaller, At: w.now()}) }, func() { w.finish(ref, Committed) })
	if err != nil || got.State != Compensating || got.Asked != "" {
		t.Errorf("it is %+v, %v; want it undone as a task that has ended", got, err)
	}
	if _, err := w.book.Admit(w.book.PoolOf("https://a.example")); !errors.Is(err, ErrRatio) {
		t.Errorf("the undo is not counted: %v", err)
	}
}

// TestUndoDoesNotWaitForPause: an undo that overtakes the question of what became of the
// task is begun at once, and not when it would have been asked again.
func TestUndoDoesNotWaitForPause(t *testing.T) {
	w := newWorld(t)
	defer w.end()
	ref := w.begin("full")
	w.finish(ref, Unknown)
	w.pass(30 * time.Second)
	w.knows = Knowledge{Retry: true}
	w.meanwhile = func() { w.undo(ref, ByCaller) }
	w.step()
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	if m := w.book.moving[ref.At]; m == nil || m.state != Compensating || m.queued == 0 || m.due.After(w.now()) {
		t.Errorf("it is %+v; want it due now", m)
	}
}

// TestToldIsOnDisk: what is written and not synced yet is told to nobody.
func TestToldIsOnDisk(t *testing.T) {
	for name, told := range map[string]func(*world, Ref, Ref) (State, error){
		"a thing": func(w *world, _, call Ref) (State, error) {
			c, err := w.book.Load(call)
			return c.State, err
		},
		"the calls of a saga": func(w *world, saga, _ Ref) (State, error) {
			t, err := w.book.load(saga)
			if err != nil {
				return "", err
			}
			calls, err := w.book.Calls(t)
			return calls[0].State, err
		},
		"a trace": func(w *world, _, _ Ref) (State, error) {
			calls, err := w.book.InTrace("t")
			return calls[0].State, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			defer w.end()
			saga, calls := w.saga(false, 1)
			w.over(saga, calls[0], Committed)
			var synced atomic.Bool
			var state State
			var err error
			w.blocked(calls[0], func() {
				if state, err = told(w, saga, calls[0]); !synced.Load() {
					t.Errorf("%s is told before it is on the disk", state)
				}
			}, func() { synced.Store(true) })
			if err != nil || state != Committed {
				t.Errorf("it is %s, %v", state, err)
			}
		})
	}
}

// TestReceiptOfFailureProvesNothing: the receipt of a call that failed half way is not that
// of its undo, of which the first one is on a line.
func TestReceiptOfFailureProvesNothing(t *testing.T) {
	for name, undone := range map[string]func(*world, Ref, func()){
		"later, by hand": func(w *world, ref Ref, failure func()) {
			w.reply = Result{Verdict: Refused}
			w.step()
			failure()
			w.undo(ref, ByOperator)
			w.reply = Result{Verdict: Done}
			w.step()
		},
		"in the last moment": func(w *world, _ Ref, failure func()) {
			w.reply = Result{Verdict: Done}
			w.step()
			failure()
		},
	} {
		w := newWorld(t)
		ref := w.begin("full")
		w.undo(ref, ByIngress)
		undone(w, ref, func() { // the 502
			w.write(flight.Tx{Kind: flight.TxTask, At: ref.At, Label: ref.Label, Receipt: "rcpt_1"})
		})
		for _, id := range []string{"rcpt_2", "rcpt_3"} { // a repetition leaves no line
			if err := w.book.Prove(ref, id, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.load(ref); got.State != Compensated || !slices.Equal(got.Receipts, []string{"rcpt_1", "rcpt_2"}) {
			t.Errorf("%s: it is %s, and the receipts are %v", name, got.State, got.Receipts)
		}
		w.end()
	}
}

// TestWordOvertakesQuestion: what a peer says of a call about which a person has had the
// last word meanwhile does not have it undone all the same.
func TestWordOvertakesQuestion(t *testing.T) {
	w := newWorld(t)
	defer w.end()
	saga, calls := w.cancelled(Unknown)
	ref := calls[0]
	w.fate = Fate{State: Unknown, Remote: "tx_x"}
	w.meanwhile = func() { // another who wants to have it undone has asked for long enough
		w.write(flight.Tx{Kind: flight.TxCall, At: ref.At, Label: ref.Label, Saga: saga.Label, State: string(CompensationFailed), Manual: true})
		w.say(ref, CompensationFailed)
	}
	w.step()
	w.wantWord(ref)
	if w.asked != 0 {
		t.Errorf("the peer was asked %d times", w.asked)
	}
}

// TestWordOvertakesSaga: a call on which a person has had the last word while the saga was
// busy with another one is not undone after that, nor is its peer asked.
func TestWordOvertakesSaga(t *testing.T) {
	for _, begun := range []bool{false, true} { // by an operator, before the saga came to it
		w := newWorld(t)
		saga, calls := w.cancelled(Committed, Committed)
		byHand := func() {
			if _, err := w.book.UndoCall(t.Context(), calls[0], Ask{Who: ByOperator, At: w.now()}); err != nil {
				t.Error(err)
			}
		}
		if begun {
			byHand()
		}
		w.reply = Result{Verdict: Refused}
		w.meanwhile = func() {
			if !begun {
				byHand()
			}
			if _, err := w.book.doCall(t.Context(), calls[0]); err != nil {
				t.Error(err)
			}
			w.say(calls[0], CompensationFailed)
		}
		if _, err := w.book.doSaga(t.Context(), saga); err != nil {
			t.Fatal(err)
		}
		w.wantWord(calls[0])
		if w.asked != 2 {
			t.Errorf("begun %t: the peer was asked %d times for two calls", begun, w.asked)
		}
		if got := w.load(saga).State; got != CompensationFailed {
			t.Errorf("begun %t: the saga is %s", begun, got)
		}
		w.end()
	}
}

// TestWordOvertakesTryAgain: the same while an operator cancels a saga once more.
func TestWordOvertakesTryAgain(t *testing.T) {
	w := newWorld(t)
	defer w.end()
	saga, calls := w.cancelled(Committed)
	ref := calls[0]
	w.reply = Result{Verdict: Refused}
	w.step()
	w.blocked(ref, func() { _, _ = w.book.CancelSaga(saga, Ask{Who: ByOperator, At: w.now()}) }, func() {
		if _, err := w.log.Append(&flight.Entry{Type: flight.Compensation, Actor: "alice", Tx: &flight.Tx{
			Kind: flight.TxCall, At: ref.At, Label: ref.Label, Saga: saga.Label, State: string(CompensationFailed), Who: ByOperator,
		}}, flight.Durable); err != nil {
			t.Error(err)
		}
	})
	w.wantWord(ref)
}

// TestSagaTriesAgainWhole: while an operator has what a saga did undone once more, nobody
// can say that it stays: its calls would be left half way, and nobody go on with them.
func TestSagaTriesAgainWhole(t *testing.T) {
	w := newWorld(t)
	defer w.end()
	saga, calls := w.cancelled(Committed)
	w.reply = Result{Verdict: Refused}
	w.step()
	var err error
	said := make(chan struct{})
	w.blocked(calls[0], func() { _, _ = w.book.CancelSaga(saga, Ask{Who: ByOperator, At: w.now()}) }, func() {
		go func() {
			defer close(said)
			_, err = w.book.Resolve(saga, Resolution{State: CompensationFailed, By: "alice"})
		}()
		w.waits(saga, said)
	})
	if <-said; !errors.Is(err, ErrConflict) {
		t.Errorf("a saga that is tried again is resolved: %v", err)
	}
	w.reply = Result{Verdict: Done}
	w.step()
	if call, all := w.load(calls[0]).State, w.load(saga).State; call != Compensated || all != Compensated {
		t.Errorf("the call is %s, the saga %s", call, all)
	}
}

// TestOperatorUndoesCall: a call that an operator wants to have undone goes on by itself,
// whatever the peer says of it first, and though its saga has ended without it.
func TestOperatorUndoesCall(t *testing.T) {
	t.Run("of unknown outcome", func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		saga, calls := w.saga(false, 1)
		w.over(saga, calls[0], Unknown)
		w.fate, w.reply = Fate{State: Unknown, Remote: "tx_x"}, Result{Verdict: Done}
		if c, err := w.book.UndoCall(t.Context(), calls[0], Ask{Who: ByOperator, At: w.now()}); err != nil || c.State != Compensating {
			t.Fatalf("UndoCall = %+v, %v", c, err)
		}
		w.step()
		if got := w.load(calls[0]).State; got != Compensated {
			t.Errorf("it is %s", got)
		}
	})
	t.Run("left by its saga", func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		saga, calls := w.cancelled(Committed)
		w.reply = Result{Verdict: Refused}
		w.step()
		w.over(saga, calls[0], Compensating) // it is tried again, and the process dies
		w.killed()
		w.say(saga, CompensationFailed)
		why := w.load(calls[0]).Reason
		w.reply = Result{Verdict: Done}
		for range 2 {
			if c, err := w.book.UndoCall(t.Context(), calls[0], Ask{Who: ByOperator, Reason: "now", At: w.now()}); err != nil || c.State != Compensating {
				t.Fatalf("UndoCall = %+v, %v", c, err)
			}
		}
		w.step()
		if got := w.load(calls[0]); got.State != Compensated || got.Reason != why {
			t.Errorf("it is %s, and its peer was told %q after %q", got.State, got.Reason, why)
		}
		if left := w.book.Moving(9); len(left) != 0 {
			t.Errorf("%v is in motion", left)
		}
	})
}

// TestFailureCancelsSaga: a saga that is to be undone as soon as a call of it does not end
// well is, though the process died before, or its agent closes it first.
func TestFailureCancelsSaga(t *testing.T) {
	for _, c := range []struct {
		name      string
		onFailure bool
		end       State // of the call; none if the process dies while it is under way
		want      State
	}{
		{"a call fails", true, Failed, Compensating},
		{"of a call nobody knows", true, Unknown, Compensating},
		{"a call was undone by the peer", true, Compensated, Compensating},
		{"a call ends well", true, Committed, Active},
		{"a call is cut off", true, "", Compensating},
		{"a call fails, and all is kept", false, Failed, Active},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			defer w.end()
			saga, calls := w.saga(c.onFailure, 1)
			if c.end != "" {
				w.over(saga, calls[0], c.end)
			}
			w.killed()
			if err := w.book.Run(); err != nil {
				t.Fatal(err)
			}
			got := w.load(saga)
			if c.want == Active && got.State != Active || c.want != Active && got.Began.IsZero() {
				t.Errorf("after a restart it is %s, want %s", got.State, c.want)
			}
			if c.end == "" {
				return
			}
			closing, calls := w.saga(c.onFailure, 1)
			w.over(closing, calls[0], c.end)
			got, err := w.book.CloseSaga(closing)
			if c.want == Active && (err != nil || got.State != Closed) || c.want != Active && !errors.Is(err, ErrOver) {
				t.Errorf("CloseSaga = %+v, %v", got, err)
			}
		})
	}
}
