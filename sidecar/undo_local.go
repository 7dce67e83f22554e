package sidecar

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/undo"
)

// How long a saga is open: at most, and if nobody says.
const (
	longestSaga = 24 * time.Hour
	usualSaga   = time.Hour
)

// serveLocalUndo serves the routes of sagas, which are the agent's, and those of
// transactions, which are the operator's. It reports whether path is one. An id of a
// saga holds 64 random bits that only its opener was told.
func (s *Sidecar) serveLocalUndo(w http.ResponseWriter, r *http.Request, path string) bool {
	if path != "/sagas" && path != "/transactions" && !strings.HasPrefix(path, "/sagas/") && !strings.HasPrefix(path, "/transactions/") {
		return false
	}
	if mark := fromBrowser(r.Header); mark != "" {
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugForbidden, Status: http.StatusForbidden, Blocked: true, Error: "the request carries " + mark + ", as web pages do"})
		return true
	}
	if s.mesh == nil {
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Error: "this sidecar has no peers, so there is nothing to undo between agents", Hint: "set public_url and key"})
		return true
	}
	if rest, ok := strings.CutPrefix(path, "/sagas/"); ok {
		id, verb, _ := strings.Cut(rest, "/")
		s.serveSaga(w, r, id, verb)
	} else if path == "/sagas" {
		s.postOnly(w, r, s.openSaga)
	} else {
		s.operatorOnly(func(w http.ResponseWriter, r *http.Request) { s.serveTransactions(w, r, path) })(w, r)
	}
	return true
}

// postOnly serves a POST with what its body holds, unless we are draining.
func (s *Sidecar) postOnly(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, *http.Request, []byte) *iatp.Problem) {
	s.serveWork(w, r, http.MethodPost, new(exchange), func(x *exchange) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8<<10))
		if err != nil {
			s.refuse(w, badRequest(iatp.SlugInvalidRequest, "the body is too large, or broke off"))
			return
		}
		if p := serve(w, r, body); p != nil {
			s.refuse(w, p)
		}
	})
}

// openSaga begins a saga.
func (s *Sidecar) openSaga(w http.ResponseWriter, r *http.Request, body []byte) *iatp.Problem {
	var n api.NewSaga
	var err error
	if len(bytes.TrimSpace(body)) > 0 {
		err = exactly(body, &n, "on_failure", "deadline")
	}
	if err != nil || n.OnFailure != "" && n.OnFailure != "keep" && n.OnFailure != "compensate" {
		return badRequest(iatp.SlugInvalidRequest, `the body must be {"on_failure":"keep"|"compensate","deadline":"2026-11-14T10:20:00Z"}, or empty`)
	}
	now := s.now()
	if n.Deadline.IsZero() {
		n.Deadline = now.Add(usualSaga)
	}
	if !n.Deadline.After(now) || n.Deadline.After(now.Add(longestSaga)) {
		return badRequest(iatp.SlugInvalidRequest, "the deadline must be ahead, at most 24 hours")
	}
	n.Deadline = n.Deadline.Truncate(time.Second)
	t, err := s.mesh.undo.OpenSaga(s.standing.Load().manifest.Identity.AgentID, n.OnFailure == "compensate", n.Deadline)
	if err != nil {
		return s.undoProblem(err)
	}
	w.Header().Set("Location", "/sagas/"+t.SagaID())
	return s.writeSaga(w, r, http.StatusCreated, t)
}

// serveSaga serves what there is about one saga.
func (s *Sidecar) serveSaga(w http.ResponseWriter, r *http.Request, id, verb string) {
	ref, err := undo.ParseSagaID(id)
	if err != nil {
		s.refuse(w, s.undoProblem(err))
		return
	}
	switch verb {
	case "":
		s.get(w, r, func(w http.ResponseWriter, r *http.Request) {
			if p := s.showSaga(w, r, ref); p != nil {
				s.refuse(w, p)
			}
		})
	case "close":
		s.postOnly(w, r, func(w http.ResponseWriter, r *http.Request, _ []byte) *iatp.Problem {
			t, err := s.mesh.undo.CloseSaga(ref)
			if err != nil {
				return s.undoProblem(err)
			}
			return s.writeSaga(w, r, http.StatusOK, t)
		})
	case "cancel":
		s.postOnly(w, r, func(w http.ResponseWriter, r *http.Request, body []byte) *iatp.Problem {
			return s.cancelSaga(w, r, ref, body)
		})
	default:
		s.refuse(w, s.undoProblem(undo.ErrUnknown))
	}
}

func (s *Sidecar) showSaga(w http.ResponseWriter, r *http.Request, ref undo.Ref) *iatp.Problem {
	t, err := s.ofKind(flight.TxSaga, ref, nil)
	if err != nil {
		return s.undoProblem(err)
	}
	return s.writeSaga(w, r, http.StatusOK, t)
}

// cancelSaga undoes what a saga did, and waits a while for it.
func (s *Sidecar) cancelSaga(w http.ResponseWriter, r *http.Request, ref undo.Ref, body []byte) *iatp.Problem {
	ask, p := s.readUndoRequest(body)
	if p != nil {
		return p
	}
	who := undo.BySaga
	if s.isOperator(r) {
		who = undo.ByOperator
	}
	t, err := s.mesh.undo.CancelSaga(ref, undo.Ask{Who: who, Reason: ask.Reason, At: s.now()})
	if err == nil {
		t, err = s.awaitUndo(r.Context(), t)
	}
	if err != nil {
		return s.undoProblem(err)
	}
	status := http.StatusOK
	if t.State == undo.Compensating {
		status = http.StatusAccepted
		w.Header().Set("Retry-After", "1")
	}
	return s.writeSaga(w, r, status, t)
}

func (s *Sidecar) writeSaga(w http.ResponseWriter, r *http.Request, status int, t *undo.Thing) *iatp.Problem {
	v, err := s.saga(t)
	if err != nil {
		return s.undoProblem(err)
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, r, status, v)
	return nil
}

// saga is a saga as its opener sees it.
func (s *Sidecar) saga(t *undo.Thing) (*api.Saga, error) {
	v := &api.Saga{ID: t.SagaID(), State: string(t.State), OnFailure: "keep", Deadline: t.Until.UTC(), Calls: []api.Call{}, Manual: t.Asks()}
	if t.OnFailure {
		v.OnFailure = "compensate"
	}
	v.OpenedAt = t.History[0].At.UTC()
	if t.State.Over() {
		v.EndedAt = timeOf(t.Resolved)
	}
	calls, err := s.mesh.undo.Calls(t)
	if err != nil {
		return nil, err
	}
	for _, c := range calls {
		v.Calls = append(v.Calls, callView(c, s.now()))
	}
	if t.State != undo.Active && t.State != undo.Closed {
		chain, err := s.mesh.undo.Chain(t)
		if err != nil {
			return nil, err
		}
		v.Chain = links(chain)
	}
	return v, nil
}

// callView is a call of ours to a peer, as its maker sees it.
func callView(c *undo.Thing, now time.Time) api.Call {
	return api.Call{
		ID: c.CallID(), Peer: c.Peer, TraceID: c.TraceID, State: string(c.Shown(now)), TransactionID: c.Remote, Level: c.Level, UndoUntil: timeOf(c.Until),
		MaxFee: c.MaxFee, Fee: c.Fee, Returned: c.Returned, Currency: c.Currency, Breach: c.Breach, Manual: c.Manual, Code: c.Code,
	}
}

// serveTransactions serves the operator.
func (s *Sidecar) serveTransactions(w http.ResponseWriter, r *http.Request, path string) {
	rest, one := strings.CutPrefix(path, "/transactions/")
	if !one {
		s.get(w, r, s.listTransactions)
		return
	}
	id, verb, _ := strings.Cut(rest, "/")
	switch verb {
	case "":
		s.get(w, r, func(w http.ResponseWriter, r *http.Request) {
			t, err := s.taskNamed(id)
			if err != nil {
				s.refuse(w, s.undoProblem(err))
				return
			}
			writeJSON(w, r, http.StatusOK, taskView(t, s.now()))
		})
	case "undo":
		s.postOnly(w, r, func(w http.ResponseWriter, r *http.Request, body []byte) *iatp.Problem {
			return s.undoByHand(w, r, id, body)
		})
	case "resolve":
		s.postOnly(w, r, func(w http.ResponseWriter, r *http.Request, body []byte) *iatp.Problem {
			return s.resolve(w, r, id, body)
		})
	default:
		s.refuse(w, s.undoProblem(undo.ErrUnknown))
	}
}

// taskNamed is the task here with that id.
func (s *Sidecar) taskNamed(id string) (*undo.Thing, error) {
	ref, err := undo.ParseID(id)
	return s.ofKind(flight.TxTask, ref, err)
}

// ofKind is the thing with that reference, if it is of that kind.
func (s *Sidecar) ofKind(kind flight.TxKind, ref undo.Ref, err error) (*undo.Thing, error) {
	if err != nil {
		return nil, err
	}
	t, err := s.mesh.undo.Load(ref)
	if err == nil && t.Kind != kind {
		return nil, undo.ErrUnknown
	}
	return t, err
}

// thingNamed is the task, call or saga with that id.
func (s *Sidecar) thingNamed(id string) (*undo.Thing, error) {
	kind, parse := flight.TxTask, undo.ParseID
	switch prefix, _, _ := strings.Cut(id, "_"); prefix {
	case "call":
		kind, parse = flight.TxCall, undo.ParseCallID
	case "saga":
		kind, parse = flight.TxSaga, undo.ParseSagaID
	}
	ref, err := parse(id)
	return s.ofKind(kind, ref, err)
}

// found is what an operator means that is to be undone: a task here, a call of ours by its
// own id or, with the trace in which it was made, by that of the transaction at its peer.
func (s *Sidecar) found(id string, trace iatp.TraceID) (*undo.Thing, error) {
	if trace == "" {
		t, err := s.thingNamed(id)
		if err == nil && t.Kind == flight.TxSaga {
			return nil, undo.ErrUnknown // that is cancelled
		}
		return t, err
	}
	calls, err := s.mesh.undo.InTrace(trace)
	if err != nil {
		return nil, err
	}
	for _, c := range calls {
		if c.Remote == id {
			return c, nil
		}
	}
	return nil, undo.ErrUnknown
}

// undoByHand undoes a transaction on the operator's word.
func (s *Sidecar) undoByHand(w http.ResponseWriter, r *http.Request, id string, body []byte) *iatp.Problem {
	ask, p := s.readUndoRequest(body)
	if p != nil {
		return p
	}
	t, err := s.found(id, ask.TraceID)
	if err == nil {
		word := undo.Ask{Who: undo.ByOperator, Reason: ask.Reason, At: s.now()}
		if t.Kind == flight.TxCall {
			t, err = s.mesh.undo.UndoCall(r.Context(), t.Ref, word)
		} else {
			t, err = s.mesh.undo.Undo(t.Ref, word)
		}
	}
	if err == nil {
		t, err = s.awaitUndo(r.Context(), t)
	}
	var reply *api.Compensation
	if err == nil {
		reply, err = s.compensation(t)
	}
	if err != nil {
		return s.undoProblem(err)
	}
	status := http.StatusOK
	if !t.State.Over() {
		status = http.StatusAccepted
		w.Header().Set("Retry-After", "1")
	}
	if t.Kind == flight.TxCall {
		reply.TransactionID = t.Remote
	}
	writeJSON(w, r, status, reply)
	return nil
}

// resolve records a person's word on what waits for one.
func (s *Sidecar) resolve(w http.ResponseWriter, r *http.Request, id string, body []byte) *iatp.Problem {
	var said api.Resolution
	if err := exactly(body, &said, "state", "by", "note", "fee_charged", "amount_returned", "currency"); err != nil || said.By == "" || len(said.By) > 100 || len(said.Note) > 400 {
		return badRequest(iatp.SlugInvalidRequest, "the body must be {\"state\":…,\"by\": a name of 1 to 100 characters,\"note\":…}")
	}
	fee, errFee := money(amount(said.Fee), said.Currency)
	_, errBack := money(amount(said.Returned), said.Currency)
	if err := cmp.Or(errFee, errBack); err != nil {
		return badRequest(iatp.SlugInvalidRequest, err.Error())
	}
	if !fee.IsZero() && said.State == string(undo.Compensated) {
		return badRequest(iatp.SlugInvalidRequest, "a fee was kept, so it is partially_compensated")
	}
	word := undo.Resolution{
		State: undo.State(said.State), By: s.scanner().RedactText(said.By), Note: s.scanner().RedactText(said.Note),
		Fee: said.Fee, Returned: said.Returned, Currency: said.Currency,
	}
	t, err := s.thingNamed(id)
	if err == nil {
		if aboveMax(t, fee) {
			word.Breach, word.Code = true, feeBreach
		}
		t, err = s.mesh.undo.Resolve(t.Ref, word)
	}
	if err != nil {
		return s.undoProblem(err)
	}
	switch {
	case t.Kind == flight.TxSaga:
		return s.writeSaga(w, r, http.StatusOK, t)
	case t.Kind == flight.TxCall:
		writeJSON(w, r, http.StatusOK, callView(t, s.now()))
		return nil
	case word.Breach:
		s.tellBreach(t)
	}
	writeJSON(w, r, http.StatusOK, taskView(t, s.now()))
	return nil
}

// recent is how many records are looked through for the newest transactions.
const recent = 20_000

// listTransactions answers with what is in motion, and with the newest.
func (s *Sidecar) listTransactions(w http.ResponseWriter, r *http.Request) {
	limit, err := count(r.URL.Query().Get("limit"), 100, 1, 1000)
	if err != nil {
		s.refuse(w, badRequest(iatp.SlugInvalidRequest, "limit: "+err.Error()))
		return
	}
	if trace := r.URL.Query().Get("trace"); trace != "" {
		s.listTrace(w, r, trace)
		return
	}
	refs := s.mesh.undo.Moving(int(limit))
	moving := len(refs)
	for rec, err := range s.archive.Lines(max(s.book.Size()-recent, 0)) {
		if err != nil {
			s.refuse(w, s.logUnavailable(err))
			return
		}
		if step, ok, err := flight.ReadTx(rec.Seq, rec.Line); err == nil && ok && step.At == rec.Seq {
			refs = append(refs, undo.Ref{At: rec.Seq, Label: step.Label})
		}
	}
	slices.Reverse(refs[moving:])
	out, err := s.transactions(refs, int(limit))
	if err != nil {
		s.refuse(w, s.undoProblem(err))
		return
	}
	writeJSON(w, r, http.StatusOK, out)
}

// listTrace answers with the calls of ours in a trace, in the order in which they would
// be undone.
func (s *Sidecar) listTrace(w http.ResponseWriter, r *http.Request, trace string) {
	id, err := iatp.ParseTraceID(trace)
	if err != nil {
		s.refuse(w, badRequest("bad-trace-id", "a trace id must match ^[A-Za-z0-9._-]{1,128}$"))
		return
	}
	calls, err := s.mesh.undo.InTrace(id)
	if err != nil {
		s.refuse(w, s.logUnavailable(err))
		return
	}
	out := &api.Transactions{Transactions: []api.Transaction{}, Calls: []api.Call{}, Sagas: []api.Saga{}}
	for _, c := range calls {
		out.Calls = append(out.Calls, callView(c, s.now()))
	}
	writeJSON(w, r, http.StatusOK, out)
}

// transactions tells things, each once.
func (s *Sidecar) transactions(refs []undo.Ref, limit int) (*api.Transactions, error) {
	out := &api.Transactions{Transactions: []api.Transaction{}, Calls: []api.Call{}, Sagas: []api.Saga{}}
	told := map[undo.Ref]bool{}
	for _, ref := range refs {
		if told[ref] || len(told) == limit {
			continue
		}
		told[ref] = true
		t, err := s.mesh.undo.Load(ref)
		if errors.Is(err, undo.ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		switch t.Kind {
		case flight.TxTask:
			out.Transactions = append(out.Transactions, *taskView(t, s.now()))
		case flight.TxCall:
			out.Calls = append(out.Calls, callView(t, s.now()))
		case flight.TxSaga:
			v, err := s.saga(t)
			if err != nil {
				return nil, err
			}
			out.Sagas = append(out.Sagas, *v)
		}
	}
	return out, nil
}
