package sidecar

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/once"
	"github.com/inter-agent-trust/iatp/internal/undo"
)

// closeRequest is the body of POST /transactions/close.
type closeRequest struct {
	Key string `json:"key"`
}

// closeReply answers it. State is "closed" (nothing was executed with the key,
// and nothing will be) or "done" (see the receipt). A key that is under way is
// answered with a problem.
type closeReply struct {
	Key     string `json:"key"`
	State   string `json:"state"`
	Outcome string `json:"outcome"`

	TransactionID    string `json:"transaction_id,omitempty"` // done
	TransactionState string `json:"transaction_state,omitempty"`
}

// closeKey answers the one question that a caller has after a failure: was it
// executed? An unseen key is closed for good, so that a late arrival of the
// call is refused: the answer stays true (hardening 20).
func (s *Sidecar) closeKey(w http.ResponseWriter, r *http.Request) {
	s.serveSigned(w, r, http.MethodPost, s.closeSigned)
}

// serveSigned serves a signed request of another sidecar that is for us and not for
// our agent.
func (s *Sidecar) serveSigned(w http.ResponseWriter, r *http.Request, method string, answer func(*exchange) *iatp.Problem) {
	s.serveWork(w, r, method, &exchange{dir: flight.In}, func(x *exchange) {
		defer s.leave(x)
		defer s.survive(x)
		p := s.authenticate(x)
		if p == nil && method != http.MethodGet {
			p = s.understand(x)
		}
		if p == nil {
			x.st = s.standing.Load()
			p = answer(x)
		}
		if p != nil {
			p.TraceID = x.in.trace.id
			s.stamp(x, iatp.FromSidecar)
			s.refuse(x.w, p)
		}
	})
}

func (s *Sidecar) closeSigned(x *exchange) *iatp.Problem {
	var c closeRequest
	err := exactly(x.body, &c, "key")
	if err == nil {
		_, err = iatp.ParseIdempotencyKey(iatp.FormatIdempotencyKey(c.Key))
	}
	if err != nil {
		return badRequest(iatp.SlugInvalidRequest, `the body must be {"key": an idempotency key}`)
	}
	st, err := s.mesh.once.Shut(x.scope(), c.Key)
	if err != nil {
		return s.logUnavailable(err)
	}
	reply := closeReply{Key: c.Key, State: "done"}
	switch st.State {
	case once.New:
		if !s.clean(c.Key) { // no call can have had it, and it would stand in the book and in the receipt
			st.Claim.End()
			return badRequest(slugSensitive, "the key holds what looks like sensitive data; a call with it is refused")
		}
		return s.tombstone(x, st.Claim, c.Key)
	case once.Closed:
		reply.State, reply.Outcome = "closed", iatp.OutcomeNone
	case once.Done, once.NotKept:
		reply.Outcome = iatp.OutcomeUnknown // unless the receipt says more
	case once.InFlight:
		return &iatp.Problem{Slug: iatp.SlugInFlight, Status: http.StatusConflict, RetryAfter: 1, Outcome: iatp.OutcomeUnknown, Error: "the call with this key is under way, or was when this sidecar last stopped"}
	default:
		return s.overloaded("no room for another Idempotency-Key of this caller")
	}
	x.receipt = st.Answer.Receipt
	if reply.State == "done" {
		if p := s.closeDone(x, &reply); p != nil {
			return p
		}
	}
	s.writeClose(x, reply)
	return nil
}

// closeDone adds what is known by now of a call that was executed, or was under way
// when somebody died. Where no receipt of it says so, one of this question does.
func (s *Sidecar) closeDone(x *exchange, reply *closeReply) *iatp.Problem {
	t, err := s.mesh.undo.ByKey(x.caller.URI, reply.Key)
	if errors.Is(err, undo.ErrUnknown) || err == nil && t.Peer != x.caller.URI {
		return nil
	}
	if err != nil {
		return s.logUnavailable(err)
	}
	reply.TransactionID, reply.TransactionState = t.ID(), string(t.Shown(s.now()))
	outcome := outcomeOfState(t.State)
	reply.Outcome = string(outcome)
	if x.receipt != "" && t.State == undo.Committed {
		return nil
	}
	x.in.idempotencyKey = reply.Key
	x.undo = undoing{ref: t.Ref, step: flight.Tx{Kind: flight.TxTask}, known: promised(t)}
	x.cost, _ = iatp.ParseMoney(t.Fee, t.Currency)
	if x.receipt, err = s.issue(x, http.StatusOK, sha256.Sum256(closeBody(*reply)), "application/json", outcome); err != nil {
		return s.logUnavailable(err)
	}
	return nil
}

// promised is what was promised about undoing a task that took effect.
func promised(t *undo.Thing) *iatp.Undo {
	if !t.Undoable() {
		return nil
	}
	u := &iatp.Undo{Level: iatp.ReversibilityLevel(t.Level)}
	if !t.Until.IsZero() {
		u.Until = t.Until.Unix()
	}
	u.MaxFee, _ = iatp.ParseMoney(t.MaxFee, t.Currency) // zero if none was named
	return u
}

// outcomeOfState is what a receipt says of a transaction in that state.
func outcomeOfState(state undo.State) flight.Outcome {
	switch state {
	case undo.Committed, undo.CompensationFailed:
		return flight.OutcomeExecuted
	case undo.Failed:
		return flight.OutcomeFailed
	case undo.Compensated:
		return iatp.OutcomeCompensated
	case undo.Partially:
		return iatp.OutcomePartiallyCompensated
	}
	return flight.OutcomeUnknown
}

// tombstone closes an unseen key durably, with a receipt that says so.
func (s *Sidecar) tombstone(x *exchange, claim *once.Claim, key string) *iatp.Problem {
	defer claim.End()
	reply := closeReply{Key: key, State: "closed", Outcome: iatp.OutcomeNone}
	body := closeBody(reply)
	x.in.idempotencyKey = key // what the receipt is about
	receipt, err := s.issue(x, http.StatusOK, sha256.Sum256(body), "application/json", flight.OutcomeNone)
	if err != nil {
		return s.logUnavailable(err)
	}
	e := s.line(x, flight.Error)
	e.Error, e.Outcome, e.Nonce, e.IdempotencyKey, e.Base = "key_closed", flight.OutcomeNone, x.nonce, key, x.signed.Base
	e.Receipt = receipt
	claim.Close(&e, once.Answer{Status: http.StatusConflict, Dropped: true, Receipt: receipt})
	if _, err := s.book.Append(&e, flight.Durable); err != nil {
		return s.logUnavailable(err)
	}
	x.receipt = receipt
	s.writeClose(x, reply)
	return nil
}

func closeBody(r closeReply) []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // three strings always marshal
	}
	return b
}

func (s *Sidecar) writeClose(x *exchange, reply closeReply) {
	s.stamp(x, iatp.FromSidecar)
	writeBytes(x.w, x.r, http.StatusOK, "application/json", closeBody(reply))
}

// closeTime bounds the question to the peer.
const closeTime = 5 * time.Second

// askPeer closes the key of a call whose fate is unknown, and returns what the
// peer proves: none, or what its receipt of the call says. Anything less
// leaves it unknown.
func (s *Sidecar) askPeer(x *exchange) flight.Outcome {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), closeTime)
	defer cancel()
	resp, base, err := s.sendClose(ctx, x)
	if err != nil {
		return flight.OutcomeUnknown
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil || resp.StatusCode != http.StatusOK {
		return flight.OutcomeUnknown
	}
	r, err := iatp.VerifyReceipt(resp.Header.Get(iatp.HeaderReceipt), x.met.Keys)
	if err != nil || r.Iss != x.met.Peer.URI || r.Aud != s.mesh.self.url || r.Req.Key != x.sentKey {
		return flight.OutcomeUnknown
	}
	if r.Req.Base == base { // the receipt of this very question
		terms, _ := x.terms()
		want := s.aboutAside(r, base, &said{status: resp.StatusCode, header: resp.Header, body: body}, x.start)
		if r.Outcome == iatp.OutcomeExecuted { // else it is the money of an undo
			want.Budget = x.promised()
		}
		if err = r.Check(want); err == nil {
			err = r.CheckUndo(terms, x.start.Unix())
		}
	} else {
		want := s.expected(x, r.Req.Base)
		want.Status, want.Digest, want.Type = r.Res.Status, r.Res.Digest, r.Res.Type // the answer never came
		err = r.Check(want)
	}
	if err != nil {
		s.log.Warn("receipt of a peer is not valid", "peer", x.met.Peer.URI, "trace_id", x.in.trace.id, "error", err)
		return flight.OutcomeUnknown
	}
	x.cost, x.never = r.Cost, r.Outcome == iatp.OutcomeNone
	x.receipt, x.proof, x.undo.proven = resp.Header.Get(iatp.HeaderReceipt), proofValid, r
	return flight.Outcome(r.Outcome)
}

// sendClose asks. Like every attempt it is in the book under the caller's key: its
// receipt may come again, for a repetition of the call.
func (s *Sidecar) sendClose(ctx context.Context, x *exchange) (*http.Response, iatp.Digest, error) {
	body, err := json.Marshal(closeRequest{x.sentKey})
	if err != nil {
		return nil, iatp.Digest{}, err
	}
	return s.sendAside(ctx, x, http.MethodPost, "/transactions/close", body, "close:"+string(mintTrace()), s.attemptAlias(x))
}
