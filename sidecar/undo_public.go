package sidecar

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/undo"
)

// undoWait is how long somebody who asks for an undo waits for it, before he is told
// to come again.
const undoWait = 5 * time.Second

// maxReason bounds what somebody says of why, in bytes.
const maxReason = 200

// servePublicUndo serves the routes of transactions, and reports whether path is one.
func (s *Sidecar) servePublicUndo(w http.ResponseWriter, r *http.Request, path string) bool {
	x := &exchange{dir: flight.In, control: true}
	if id, ok := strings.CutPrefix(path, "/compensate/"); ok {
		if s.draining.Load() && r.Method == http.MethodPost {
			// It comes again when we are back, which may be after the window.
			x.w, x.r, x.start = w, r, s.now()
			s.answerControl(x, id, func(*exchange, *undo.Thing) *iatp.Problem { return shuttingDown() })
			return true
		}
		s.serveWork(w, r, http.MethodPost, x, func(x *exchange) { s.answerControl(x, id, s.compensate) })
		return true
	}
	if id, ok := strings.CutPrefix(path, "/transactions/"); ok {
		s.serveWork(w, r, http.MethodGet, x, func(x *exchange) { s.answerControl(x, id, s.showTransaction) })
		return true
	}
	return false
}

// answerControl serves a signed request about a transaction.
func (s *Sidecar) answerControl(x *exchange, id string, serve func(*exchange, *undo.Thing) *iatp.Problem) {
	defer s.leave(x)
	defer s.survive(x)
	p := s.authenticate(x)
	if p == nil && len(x.body) > 0 {
		p = s.understand(x)
	}
	if p == nil {
		x.st = s.standing.Load()
		var t *undo.Thing
		if t, p = s.ownTransaction(x, id); p == nil {
			p = serve(x, t)
		}
	}
	if p != nil {
		s.holdWindow(x, id, p)
		p.TraceID = x.in.trace.id
		s.stamp(x, iatp.FromSidecar)
		s.refuse(x.w, p)
	}
}

// holdWindow keeps the window open of an undo that we send away for want of room or of
// time of ours: it was asked for in time if it was signed in time (hardening 30).
func (s *Sidecar) holdWindow(x *exchange, id string, p *iatp.Problem) {
	if x.r.Method != http.MethodPost || x.asked.IsZero() || p.Status != http.StatusTooManyRequests && p.Status != http.StatusServiceUnavailable {
		return
	}
	t, missing := s.ownTransaction(x, id)
	if missing != nil {
		return
	}
	if err := s.mesh.undo.Hold(t.Ref, x.asked); err != nil {
		s.log.Error("it cannot be recorded that an undo was asked for in time; if the caller is too late after a restart, undo it by hand", "transaction", t.ID(), "error", err)
	}
}

// ownTransaction finds a transaction of the caller: it was made with the same key, or
// with one from which a recorded chain leads to it (hardening 30). All else does not
// exist for it.
func (s *Sidecar) ownTransaction(x *exchange, id string) (*undo.Thing, *iatp.Problem) {
	ref, err := undo.ParseID(id)
	var t *undo.Thing
	if err == nil {
		t, err = s.mesh.undo.Load(ref)
	}
	if err == nil && (t.Kind != flight.TxTask || t.Peer != x.caller.URI || !s.mesh.peers().Continues(t.Peer, t.JKT, x.caller.Key.Thumbprint())) {
		if t.Peer == x.caller.URI {
			s.log.Warn("a caller asks for a transaction with a key that does not follow from the one it was made with; if that is right, undo it by hand", "peer", t.Peer, "transaction", t.ID())
		}
		err = undo.ErrUnknown
	}
	if err != nil {
		return nil, s.undoProblem(err)
	}
	return t, nil
}

func (s *Sidecar) showTransaction(x *exchange, t *undo.Thing) *iatp.Problem {
	s.stamp(x, iatp.FromSidecar)
	shown := taskView(t, s.now())
	shown.Peer = "" // it knows who it is
	writeJSON(x.w, x.r, http.StatusOK, shown)
	return nil
}

// compensate undoes a transaction for its caller.
func (s *Sidecar) compensate(x *exchange, t *undo.Thing) *iatp.Problem {
	if want := "undo:" + t.ID(); x.in.idempotencyKey != want {
		return badRequest(iatp.SlugInvalidRequest, "the Idempotency-Key of an undo must be "+iatp.FormatIdempotencyKey(want))
	}
	ask, p := s.readUndoRequest(x.body)
	if p != nil {
		return p
	}
	// Outside quotas: a promise to undo must not be kept waiting by other calls.
	leave, ok := s.mesh.undo.Enter(t.Peer)
	if !ok {
		return s.overloaded("many transactions are being undone")
	}
	defer leave()
	if t.State == undo.Committed {
		if over, _ := s.untilState(x.r.Context(), x.st, t.ID()); over { // else it is asked again before the agent undoes anything
			return s.undoProblem(undo.ErrConflict)
		}
	}
	done, err := s.mesh.undo.Undo(t.Ref, undo.Ask{
		Who: undo.ByCaller, Reason: ask.Reason, At: x.signed.Created,
		More: func(e *flight.Entry) { e.Nonce, x.nonce = x.nonce, nil },
	})
	if err != nil {
		return s.undoProblem(err)
	}
	if done, err = s.awaitUndo(x.r.Context(), done); err != nil {
		return s.undoProblem(err)
	}
	return s.answerUndo(x, done)
}

// readUndoRequest reads the body of a request for an undo. What it says may hold
// anything, and goes into the book and to the agent: so not what is sensitive.
func (s *Sidecar) readUndoRequest(body []byte) (api.UndoRequest, *iatp.Problem) {
	var ask api.UndoRequest
	if len(bytes.TrimSpace(body)) == 0 {
		return ask, nil
	}
	if err := exactly(body, &ask, "reason", "timestamp", "trace_id"); err != nil || len(ask.Reason) > maxReason {
		return ask, badRequest(iatp.SlugInvalidRequest, `the body must be {"reason": at most 200 characters, "timestamp": …}, or empty`)
	}
	ask.Reason = s.scanner().RedactText(iatp.Printable(ask.Reason))
	return ask, nil
}

// awaitUndo waits a while for an undo, and returns how it stands then.
func (s *Sidecar) awaitUndo(ctx context.Context, t *undo.Thing) (*undo.Thing, error) {
	ctx, cancel := context.WithTimeout(ctx, undoWait)
	defer cancel()
	s.mesh.undo.Await(ctx, t.Ref)
	return s.mesh.undo.Load(t.Ref)
}

// answerUndo tells the caller how its transaction stands, with a receipt once it is
// undone.
func (s *Sidecar) answerUndo(x *exchange, t *undo.Thing) *iatp.Problem {
	reply, err := s.compensation(t)
	if err != nil {
		return s.logUnavailable(err)
	}
	body, outcome := append(mustJSON(reply), '\n'), flight.Outcome("")
	status := http.StatusAccepted
	switch t.State {
	case undo.Compensated:
		status, outcome = http.StatusOK, iatp.OutcomeCompensated
	case undo.Partially:
		status, outcome = http.StatusOK, iatp.OutcomePartiallyCompensated
	case undo.Failed:
		status, outcome = http.StatusOK, flight.OutcomeNone
	case undo.CompensationFailed:
		return &iatp.Problem{Slug: iatp.SlugCompensationFailed, Status: http.StatusBadGateway, Outcome: iatp.OutcomeExecuted,
			Error: "the transaction could not be undone (" + t.Code + "); a person has been asked", Hint: "ask again later: GET /transactions/" + t.ID() + " says what became of it"}
	default:
		x.w.Header().Set("Retry-After", "1")
	}
	if status == http.StatusOK {
		if p := s.receiptForUndo(x, t, status, body, outcome); p != nil {
			return p
		}
	}
	s.stamp(x, iatp.FromSidecar)
	writeBytes(x.w, x.r, status, "application/json", body)
	return nil
}

// receiptForUndo issues the receipt of an undo: it names the transaction, and the fee
// as its cost. The first one is in the book before it is given.
func (s *Sidecar) receiptForUndo(x *exchange, t *undo.Thing, status int, body []byte, outcome flight.Outcome) *iatp.Problem {
	x.undo = undoing{ref: t.Ref, step: flight.Tx{Kind: flight.TxTask}}
	x.cost, _ = iatp.ParseMoney(t.Fee, t.Currency) // zero if there was none
	receipt, err := s.issue(x, status, sha256.Sum256(body), "application/json", outcome)
	if err != nil {
		return s.logUnavailable(err)
	}
	err = s.mesh.undo.Prove(t.Ref, x.undo.receipt, func(e *flight.Entry) {
		e.Receipt, e.Base, e.Outcome, e.Nonce, x.nonce = receipt, x.signed.Base, outcome, x.nonce, nil
	})
	if err != nil {
		return s.logUnavailable(err)
	}
	x.receipt = receipt
	return nil
}

// compensation is the answer about an undo.
func (s *Sidecar) compensation(t *undo.Thing) (*api.Compensation, error) {
	r := &api.Compensation{
		Success: t.State == undo.Compensated || t.State == undo.Partially || t.State == undo.Failed, TransactionID: t.ID(), TraceID: t.TraceID,
		State: string(t.State), AmountReturned: t.Returned, FeeCharged: t.Fee, Currency: t.Currency, Breach: t.Breach, Manual: t.Manual,
	}
	switch {
	case t.State == undo.Failed:
		r.Applied, r.Currency = "none", ""
		return r, nil
	case !r.Success:
		return r, nil
	}
	r.Applied = t.Method
	if r.Applied == "" {
		r.Applied = "compensating_transaction"
	}
	if !t.Began.IsZero() {
		r.CompletionMS = t.Resolved.Sub(t.Began).Milliseconds()
	}
	chain, err := s.mesh.undo.Chain(t)
	r.Chain = links(chain)
	return r, err
}

func links(chain []undo.Link) []api.Link {
	var all []api.Link
	for _, l := range chain {
		all = append(all, api.Link{AgentID: l.AgentID, TransactionID: l.ID, Method: l.Method, Status: string(l.Status)})
	}
	return all
}

// taskView is a task as others see it.
func taskView(t *undo.Thing, now time.Time) *api.Transaction {
	v := &api.Transaction{
		ID: t.ID(), TraceID: t.TraceID, Peer: t.Peer, State: string(t.Shown(now)), Level: t.Level, Method: t.Method, UndoUntil: timeOf(t.Until),
		MaxFee: t.MaxFee, Currency: t.Currency, Receipts: t.Receipts, Returned: t.Returned, Fee: t.Fee, Breach: t.Breach, Manual: t.Manual, Code: t.Code,
		History: []api.UndoStep{},
	}
	for _, step := range t.History {
		v.History = append(v.History, api.UndoStep{State: string(step.State), At: step.At, By: step.By})
	}
	return v
}

// timeOf is a time that may be absent.
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // types of ours always marshal
	}
	return b
}
