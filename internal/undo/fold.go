package undo

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// lineJSON is what is read of a line besides its step.
type lineJSON struct {
	Timestamp time.Time       `json:"timestamp"`
	TraceID   iatp.TraceID    `json:"trace_id"`
	Type      flight.Type     `json:"type"`
	Peer      string          `json:"peer"`
	JKT       string          `json:"jkt"`
	AgentID   iatp.AgentID    `json:"agent_id"`
	Note      string          `json:"note"`
	Error     string          `json:"error"`
	Payload   json.RawMessage `json:"payload"`
}

// fold tells a thing from its lines. There are lines of other things among them.
func fold(ref Ref, lines []flight.Line) (*Thing, error) {
	t := &Thing{Ref: ref}
	for _, line := range lines {
		step, ok, err := flight.ReadTx(line.Seq, line.Text)
		if err != nil {
			return nil, damaged(line.Seq, "%v", err)
		}
		if !ok || step.At != ref.At || step.Label != ref.Label {
			continue
		}
		if err := t.apply(line, &step); err != nil {
			return nil, err
		}
	}
	if t.State == "" {
		return nil, ErrUnknown
	}
	return t, nil
}

// foldAll tells all things of a kind from lines, in the order in which they began.
func foldAll(kind flight.TxKind, lines []flight.Line) ([]*Thing, error) {
	var all []*Thing
	by := make(map[int64]*Thing)
	for _, line := range lines {
		step, ok, err := flight.ReadTx(line.Seq, line.Text)
		if err != nil {
			return nil, damaged(line.Seq, "%v", err)
		}
		if !ok {
			continue
		}
		t := by[step.At]
		if t == nil {
			if step.Kind != kind || step.At != line.Seq {
				continue // of another kind, or its beginning is not among the lines
			}
			t = &Thing{Ref: Ref{step.At, step.Label}}
			by[step.At] = t
			all = append(all, t)
		}
		if err := t.apply(line, &step); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// apply follows one step.
func (t *Thing) apply(line flight.Line, s *flight.Tx) error {
	var l lineJSON
	if err := json.Unmarshal(line.Text, &l); err != nil {
		return damaged(line.Seq, "%v", err)
	}
	if t.State == "" {
		t.Kind, t.In, t.Saga, t.TraceID, t.Peer, t.JKT, t.AgentID = s.Kind, s.In, s.Saga, l.TraceID, l.Peer, l.JKT, l.AgentID
		t.Pool = s.Pool
		t.Key, t.Original, t.OnFailure = s.Key, s.Sealed, s.Promise
	} else if s.Sealed != (flight.Place{}) {
		t.UndoData = s.Sealed
	}
	if next := State(s.State); next != "" {
		if !t.State.mayFollow(next) {
			return damaged(line.Seq, "%s does not follow %s", next, t.State)
		}
		t.enter(next, s.Who, line.Seq, &l)
	} else if s.Who != "" && t.Asked == "" {
		t.Asked, t.Reason = s.Who, l.Note
	}
	t.learn(s, &l)
	return nil
}

// enter changes the state.
func (t *Thing) enter(next State, who string, seq int64, l *lineJSON) {
	if t.State == Active {
		t.Ended, t.EndedAt = l.Timestamp, seq
	}
	t.Manual, t.Code = false, "" // of the state that it leaves; learn has those of this one
	t.Settled = next == CompensationFailed && who == ByOperator
	if next == Compensating {
		t.Began, t.Who = l.Timestamp, who
		if t.Reason == "" { // for good: whoever is asked to undo it gets the same bytes each time
			t.Reason = who
			if l.Type == flight.Compensation && l.Note != "" {
				t.Reason = l.Note
			}
		}
	}
	t.State, t.Resolved = next, l.Timestamp
	t.History = append(t.History, Step{next, l.Timestamp, who})
}

// learn takes over what a step says besides the state.
func (t *Thing) learn(s *flight.Tx, l *lineJSON) {
	for _, m := range []struct {
		dst  *string
		said string
	}{
		{&t.Level, s.Level}, {&t.Method, s.Method}, {&t.MaxFee, s.MaxFee}, {&t.Fee, s.Fee}, {&t.Returned, s.Returned},
		{&t.Currency, s.Currency}, {&t.Remote, s.ID}, {&t.Cost, s.Cost},
	} {
		if m.said != "" {
			*m.dst = m.said
		}
	}
	if s.Window != nil {
		t.Window = s.Window
	}
	if !s.Until.IsZero() {
		t.Until = s.Until
	}
	t.Breach, t.Manual = t.Breach || s.Breach, t.Manual || s.Manual
	if s.Held {
		t.Held = l.Timestamp
	}
	if s.Receipt != "" {
		t.Receipts = append(t.Receipts, s.Receipt)
		// That of a call that failed half way says what was known then, not how it ended.
		t.Proven = t.Proven || t.State.Over() && (s.State != "" || l.Type == flight.Compensation)
	}
	if l.Type != flight.Compensation {
		return
	}
	if l.Error != "" {
		t.Code = l.Error
	}
	var kept struct {
		Chain []Link `json:"chain"`
	}
	if l.Payload != nil && json.Unmarshal(l.Payload, &kept) == nil && kept.Chain != nil {
		t.Chain = kept.Chain
	}
}

// maxCalls bounds the calls of a saga or a task.
const maxCalls = 256

// calls are the calls that have the label.
func (b *Book) calls(label flight.Label, from int64) ([]*Thing, error) {
	lines, err := b.log.Labelled(label, from)
	if err != nil {
		return nil, err
	}
	all, err := foldAll(flight.TxCall, lines)
	if err != nil {
		return nil, fmt.Errorf("calls of %s: %w", label, err)
	}
	return all, nil
}

// Load tells a thing anew, as it stands on the disk. The error is ErrUnknown if there is
// none.
func (b *Book) Load(ref Ref) (*Thing, error) {
	t, err := b.load(ref)
	b.onDisk(t)
	return t, err
}

// onDisk waits until what was read of things is on the disk: a line is seen as soon as it
// is written, and who writes one holds its thing until it is there. Who holds one must
// not call it.
func (b *Book) onDisk(all ...*Thing) {
	for _, t := range all {
		if t != nil {
			b.locks.hold(t.At)()
		}
	}
}

// load is Load for those who tell nobody, or append a line that waits for the others.
func (b *Book) load(ref Ref) (*Thing, error) {
	lines, err := b.log.Labelled(ref.Label, ref.At)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 || lines[0].Seq != ref.At {
		return nil, ErrUnknown
	}
	return fold(ref, lines)
}

// InTrace are the calls of ours in a trace, as far as its newest records tell, in the
// order in which they would be undone.
func (b *Book) InTrace(id iatp.TraceID) ([]*Thing, error) {
	texts, err := b.log.Trace(id)
	if err != nil && !errors.Is(err, flight.ErrMore) {
		return nil, err
	}
	var lines []flight.Line
	for _, text := range texts {
		seq, err := flight.ReadSeq(text)
		if err != nil {
			return nil, err
		}
		lines = append(lines, flight.Line{Seq: seq, Text: text})
	}
	calls, err := foldAll(flight.TxCall, lines)
	b.onDisk(calls...)
	return inOrder(calls), err
}
