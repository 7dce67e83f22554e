package sidecar

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/undo"
)

// undoing is what an exchange records about being undone: a task of another
// sidecar, or a call to one. Package undo reads it from there.
type undoing struct {
	step    flight.Tx // what its lines have in common
	ref     undo.Ref  // once it is recorded
	release []func()  // of what it is a part of
	kept    func() error

	data    string        // In: what the agent wants back with an undo
	promise *iatp.Undo    // In: what the receipt promises
	receipt string        // In: its id
	known   *iatp.Undo    // In: what was promised when it was executed, if that was before
	rolled  bool          // In: the state stands on a line of the undo
	state   undo.State    // In: what was found out of a call that failed
	proven  *iatp.Receipt // Out: what the peer proved
	saga    undo.Ref      // Out
}

// task reports whether it is a transaction of ours that has begun.
func (u *undoing) task() bool { return u.ref != (undo.Ref{}) && u.step.Kind == flight.TxTask }

// let gives back what was held while the call was recorded.
func (u *undoing) let() {
	for _, f := range u.release {
		f()
	}
	u.release = nil
}

func (s *Sidecar) openUndo() (*undo.Book, error) {
	return undo.Open(s.book, undo.Options{
		Dir: s.cfg.Data, Logger: s.log, Now: s.now,
		Retain: time.Duration(s.cfg.Retention.Age), GiveUp: time.Duration(s.cfg.Limits.Undo),
		Limits: s.cfg.Limits.PerPeer.undoLimits(),
		Host: undo.Host{
			Compensate: s.compensateAtAgent, Check: s.checkAtAgent, Ask: s.askFate, Undo: s.undoAtPeer,
			Patience:    func() time.Duration { return undoTime(s.standing.Load().manifest) },
			CanRollBack: func() bool { return s.cfg.Recovery == RecoveryAuto },
		},
	})
}

// undoTime is how long the manifest takes for an undo.
func undoTime(m *iatp.Manifest) time.Duration {
	if ms := m.Reversibility.CompensationSLAMS; ms > 0 {
		return time.Duration(min(ms, 24*3600*1000)) * time.Millisecond
	}
	return 30 * time.Second
}

// beginUndo puts on the request line of a call from or to another sidecar what it
// takes to undo it. What will be needed is sealed beside the log.
func (s *Sidecar) beginUndo(x *exchange, e *flight.Entry) *iatp.Problem {
	if x.dir == flight.Local {
		if x.in.saga != "" {
			return badRequest(iatp.SlugInvalidRequest, "IATP-Saga is for calls to a peer: the wrapped agent undoes by itself what it does by itself")
		}
		return nil
	}
	u := &x.undo
	var pool flight.Label
	if x.dir == flight.In {
		pool = s.mesh.undo.PoolOf(x.caller.URI)
	}
	if s.mesh.undo.Room(pool) != nil {
		return s.overloaded("too many transactions wait to be undone, or for a person")
	}
	u.step = flight.Tx{At: flight.TxBegins, State: string(undo.Active), Label: s.mesh.undo.LabelOf(x.in.trace.parent.SpanID)}
	var p *iatp.Problem
	if x.dir == flight.In {
		p = s.beginTask(x)
	} else {
		p = s.beginCall(x)
	}
	if p != nil {
		u.let()
		return p
	}
	step := u.step
	e.Tx = &step
	return nil
}

// beginTask is beginUndo for a task from outside.
func (s *Sidecar) beginTask(x *exchange) *iatp.Problem {
	u := &x.undo
	u.step.Kind, u.step.By = flight.TxTask, s.mesh.undo.KeyLabel(x.caller.URI, x.in.idempotencyKey)
	u.step.Level, u.step.Pool = string(iatp.ReversibilityNone), s.mesh.undo.PoolOf(x.caller.URI)
	terms, err := x.terms()
	if err != nil || !terms.Reversibility.Undoes() || x.st.at.undo == "" {
		return nil
	}
	u.step.Level, u.step.Method, u.step.Window = string(terms.Reversibility), terms.CompensationMethod, terms.UndoWindowSeconds
	u.step.MaxFee, u.step.Currency = terms.MaxFee.Amount(), terms.MaxFee.Currency()
	entered, err := s.mesh.undo.Admit(u.step.Pool)
	if err != nil {
		return s.tooMuchToUndo(err)
	}
	u.release = append(u.release, entered)
	if !s.keepsPayloads(x.st) {
		return nil // it promised to keep nothing: the agent undoes by the id, and by what it gives us
	}
	place, wait, release, err := s.mesh.undo.Keep(u.step.Label, x.body)
	if err != nil {
		return s.cannotKeep(err)
	}
	u.step.Sealed, u.kept, u.release = place, wait, append(u.release, release)
	return nil
}

func (s *Sidecar) cannotKeep(err error) *iatp.Problem {
	if errors.Is(err, undo.ErrFull) {
		return s.overloaded("no room for what the undo of another transaction needs")
	}
	return s.logUnavailable(err)
}

// beginCall is beginUndo for a call to a peer. It is a part of the task under which
// our agent makes it, and of the saga that it names.
func (s *Sidecar) beginCall(x *exchange) *iatp.Problem {
	u := &x.undo
	u.step.Kind, u.step.Key = flight.TxCall, s.book.Seal("key of a call", x.sentKey)
	if terms, err := x.terms(); err == nil && terms.Reversibility.Undoes() { // what its receipt is held to, whenever that comes
		u.step.Level, u.step.Method, u.step.Window = string(terms.Reversibility), terms.CompensationMethod, terms.UndoWindowSeconds
		u.step.MaxFee, u.step.Currency = terms.MaxFee.Amount(), terms.MaxFee.Currency()
	}
	if x.in.trace.from != [8]byte{} {
		in, release, err := s.mesh.undo.Continue(s.mesh.undo.LabelOf(x.in.trace.from))
		if err != nil {
			return s.undoProblem(err)
		}
		u.step.In, u.release = in, append(u.release, release)
	}
	if x.in.saga == "" {
		return nil
	}
	ref, err := undo.ParseSagaID(x.in.saga)
	if err == nil {
		var release func()
		if u.step.Saga, release, err = s.mesh.undo.Join(ref); err == nil {
			u.saga, u.release = ref, append(u.release, release)
		}
	}
	if err != nil {
		return s.undoProblem(err)
	}
	return nil
}

// begun takes the position of the request line. What is kept for the undo is on the
// disk before anything is executed.
func (s *Sidecar) begun(x *exchange, seq int64) *iatp.Problem {
	u := &x.undo
	if u.step.Kind == "" {
		return nil
	}
	u.ref = undo.Ref{At: seq, Label: u.step.Label}
	if u.kept == nil {
		return nil
	}
	if err := u.kept(); err != nil {
		if err := s.recordEnd(x, &ending{status: http.StatusServiceUnavailable, outcome: flight.OutcomeNone, errCode: "undo_not_kept"}); err != nil {
			return s.logUnavailable(err)
		}
		return s.logUnavailable(err)
	}
	return nil
}

// stateOf is the state of what had that outcome.
func stateOf(outcome flight.Outcome) undo.State {
	switch string(outcome) {
	case iatp.OutcomeExecuted, iatp.OutcomePartial:
		return undo.Committed
	case iatp.OutcomeFailed, iatp.OutcomeNone:
		return undo.Failed
	case iatp.OutcomeCompensated:
		return undo.Compensated
	case iatp.OutcomePartiallyCompensated:
		return undo.Partially
	}
	return undo.Unknown
}

// endUndo puts on the last line of a call what became of it.
func (s *Sidecar) endUndo(x *exchange, e *flight.Entry, outcome flight.Outcome) error {
	u := &x.undo
	if u.ref == (undo.Ref{}) {
		return nil
	}
	step := &flight.Tx{Kind: u.step.Kind, At: u.ref.At, Label: u.step.Label, In: u.step.In, Saga: u.step.Saga, State: string(stateOf(outcome))}
	e.Tx = step
	if x.dir == flight.Out {
		u.describe(step)
		return nil
	}
	step.Receipt = u.receipt
	if u.step.Level != string(iatp.ReversibilityNone) && !x.cost.IsZero() {
		step.Cost = x.cost.String()
	}
	if u.rolled {
		step.State = ""
	}
	if u.promise != nil {
		step.Until = untilOf(u.promise)
	}
	if u.data == "" || u.step.Level == string(iatp.ReversibilityNone) {
		return nil
	}
	place, wait, release, err := s.mesh.undo.Keep(u.step.Label, []byte(u.data))
	if err == nil {
		u.release = append(u.release, release) // let by leave, after the line stands
		err = wait()
	}
	if err != nil {
		return err
	}
	step.Sealed = place
	return nil
}

// describe says what the peer's receipt promises about undoing the call.
func (u *undoing) describe(step *flight.Tx) {
	r := u.proven
	if r == nil {
		return
	}
	step.ID, step.Receipt = r.Tx, r.JTI
	if r.Undo == nil {
		return
	}
	step.Level, step.MaxFee, step.Currency = string(r.Undo.Level), r.Undo.MaxFee.Amount(), r.Undo.MaxFee.Currency()
	step.Until = untilOf(r.Undo)
}

// endOfTime is the last second that RFC 3339 can spell.
var endOfTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()

// untilOf is when the time for an undo ends; zero for never, which an end that no
// calendar has comes to.
func untilOf(u *iatp.Undo) time.Time {
	if u.Until == 0 || u.Until > endOfTime {
		return time.Time{}
	}
	return time.Unix(u.Until, 0)
}

// callEnded cancels the saga of a call that did not end well, if the saga wants that.
func (s *Sidecar) callEnded(x *exchange) {
	saga := x.undo.saga
	if saga == (undo.Ref{}) {
		return
	}
	if err := s.mesh.undo.CallEnded(saga); err != nil {
		s.log.Error("a saga cannot be cancelled", "saga", saga.SagaID(), "error", err)
	}
}

// undoDataOf is what the wrapped agent wants back with an undo.
func (s *Sidecar) undoDataOf(x *exchange, resp *http.Response) string {
	v := resp.Header.Get(iatp.HeaderUndoData)
	if len(v) > iatp.MaxUndoData || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
		s.log.Error("the agent's IATP-Undo-Data is longer than 4 KiB or not printable ASCII, and is not kept", "trace_id", x.in.trace.id)
		return ""
	}
	return v
}

// undoLimits are the limits of what one caller may have undone.
func (p *PerPeer) undoLimits() undo.Limits {
	l := undo.Limits{Open: p.Undoable, Ratio: p.UndoRatio, From: p.UndoRatioFrom}
	for _, text := range p.UndoableCost {
		if m, err := readCost(text); err == nil { // Validate has refused all else
			l.Cost = append(l.Cost, m)
		}
	}
	return l
}

// readCost reads an amount such as "5000.00 USD".
func readCost(text string) (iatp.Money, error) {
	value, currency, _ := strings.Cut(text, " ")
	return iatp.ParseMoney(value, currency)
}

// tooMuchToUndo refuses a task because of what its caller could have undone, or had.
func (s *Sidecar) tooMuchToUndo(err error) *iatp.Problem {
	p := quotaExceeded(err.Error())
	p.RetryAfter = 60
	limit := ""
	switch {
	case errors.Is(err, undo.ErrOpen):
		limit, p.Hint = "open", "wait until the undo windows of earlier tasks are over; for its operator: limits.per_peer.undoable"
	case errors.Is(err, undo.ErrCost):
		limit, p.Hint = "cost", "wait until the undo windows of earlier tasks are over; for its operator: limits.per_peer.undoable_cost"
	default:
		limit, p.Hint = "ratio", "undos count for 24 hours; for its operator: limits.per_peer.undo_ratio"
	}
	s.metrics.undoLimits.WithLabelValues(limit).Inc()
	return p
}

// undoProblem is the refusal that an error of the book becomes.
func (s *Sidecar) undoProblem(err error) *iatp.Problem {
	conflict := func(slug, text, hint string) *iatp.Problem {
		return &iatp.Problem{Slug: slug, Status: http.StatusConflict, Error: text, Hint: hint, Outcome: iatp.OutcomeNone}
	}
	switch {
	case errors.Is(err, undo.ErrUnknown):
		return &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Error: "there is no such transaction or saga", Outcome: iatp.OutcomeNone}
	case errors.Is(err, undo.ErrExpired):
		return conflict(iatp.SlugUndoWindowExpired, err.Error(), "it stands; ask the operator of the agent that did it")
	case errors.Is(err, undo.ErrIrreversible):
		return conflict(iatp.SlugNotReversible, err.Error(), "")
	case errors.Is(err, undo.ErrConflict):
		return conflict(iatp.SlugUndoConflict, err.Error(), "GET /transactions/{id} says where it stands")
	case errors.Is(err, undo.ErrOver):
		return conflict(iatp.SlugSagaOver, "the saga, or the task that the call belongs to, is over or is being undone", "begin another one")
	case errors.Is(err, undo.ErrInFlight):
		p := conflict(iatp.SlugInFlight, err.Error(), "try again when it has ended")
		p.RetryAfter = 1
		return p
	case errors.Is(err, undo.ErrTooMany):
		return &iatp.Problem{Slug: iatp.SlugQuotaExceeded, Status: http.StatusTooManyRequests, Error: err.Error(), Outcome: iatp.OutcomeNone}
	case errors.Is(err, undo.ErrFull):
		return s.overloaded("too many transactions are in motion")
	}
	return s.logUnavailable(err)
}
