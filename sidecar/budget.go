package sidecar

import (
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/budget"
)

// headerCost is how the wrapped agent says what a call did cost. It is consumed
// here and goes into the receipt; its form is that of IATP-Budget.
const headerCost = "Iatp-Cost"

// tree names the transaction tree of a span. A span id that we minted, 64
// random bits known to us and our agent, is the only thing that continues an
// inbound call: a trace id is a label that anybody can say (hardening 31).
func tree(span [8]byte) budget.Tree {
	return budget.Tree{Initiator: "span", Root: hex.EncodeToString(span[:])}
}

// grant opens the budget that a caller from outside gives to what follows from
// its call: what our agent sends on from here cannot spend more.
func (s *Sidecar) grant(x *exchange, e *flight.Entry) *iatp.Problem {
	if x.signed == nil || x.in.budget.IsZero() {
		return nil
	}
	step, err := s.mesh.budget.Grant(tree(x.in.trace.parent.SpanID), x.in.budget)
	if err != nil {
		return s.budgetProblem(err)
	}
	e.Spend = step
	return nil
}

// reserve sets aside what a call to a peer may cost: what the caller says, else
// all that is left of the budget it belongs to. A call that belongs to none and
// brings none has no budget, and none is passed on.
func (s *Sidecar) reserve(x *exchange) *iatp.Problem {
	if x.dir != flight.Out {
		return nil
	}
	ask := budget.Ask{Peer: x.met.Peer.URI, Amount: x.in.budget, Key: x.sentKey}
	if x.money = s.mesh.budget.TakeOver(ask); x.money != nil {
		return nil // a repetition of a call that nobody knows the outcome of: executed once, paid for once
	}
	t := tree(x.in.trace.from)
	if f, open := s.mesh.budget.Figures(t); open {
		if ask.Amount.IsZero() {
			ask.Amount = f.Left
		}
	} else if ask.Amount.IsZero() {
		return nil
	} else {
		t, ask.Limit = tree(x.in.trace.parent.SpanID), ask.Amount
	}
	r, err := s.mesh.budget.Reserve(t, ask)
	if err != nil {
		return s.budgetProblem(err)
	}
	x.money = r
	return nil
}

// settle puts on the last line of a call what became of its money. What nobody
// can tell stays reserved.
func (s *Sidecar) settle(x *exchange, e *flight.Entry, outcome flight.Outcome) {
	if x.money == nil {
		return
	}
	switch {
	case outcome == flight.OutcomeNone && x.money.Again && !x.never:
		// Nothing was executed so far; the earlier call may still be on its way.
	case outcome == flight.OutcomeNone || outcome == flight.OutcomeFailed:
		x.money.Release(e)
	case x.proof == proofValid && outcome != flight.OutcomeUnknown:
		cost := x.cost
		if cost.IsZero() {
			cost, _ = iatp.ParseMoney("0", x.money.Amount.Currency()) // it names none
		}
		if err := x.money.Spend(e, cost); err != nil {
			s.log.Warn("a peer's receipt names a cost beyond what was reserved", "peer", e.Peer, "trace_id", e.TraceID)
		}
	}
}

// settleLate settles the money of a call of which nobody knew what became of it, with
// the receipt that says so at last. What it was set aside for is in the ledger under
// the peer and the key.
func (s *Sidecar) settleLate(peer, key string, r *iatp.Receipt) {
	outcome := flight.Outcome(r.Outcome)
	if outcome == flight.OutcomeUnknown {
		return
	}
	money := s.mesh.budget.TakeOver(budget.Ask{Peer: peer, Key: key})
	if money == nil {
		return
	}
	defer money.End()
	e := flight.Entry{Type: flight.Response, TraceID: money.Trace, Time: s.now(), Dir: flight.Out, Peer: peer, Reason: "learned_later", Outcome: outcome}
	x := &exchange{money: money, proof: proofValid, cost: r.Cost, never: true}
	s.settle(x, &e, outcome)
	if _, err := s.book.Append(&e, flight.Durable); err != nil {
		s.logUnavailable(err)
	}
}

func (s *Sidecar) budgetProblem(err error) *iatp.Problem {
	if errors.Is(err, budget.ErrFull) {
		return s.overloaded("too many budgets are open")
	}
	if _, ok := errors.AsType[*budget.Exhausted](err); ok || errors.Is(err, budget.ErrCurrency) {
		return &iatp.Problem{Slug: iatp.SlugBudgetExhausted, Status: http.StatusUnprocessableEntity, Outcome: iatp.OutcomeNone,
			Error: err.Error(), Hint: "ask for less in IATP-Budget, or start over with a larger budget"}
	}
	return s.logUnavailable(err)
}

// readBudget reads what a local caller is ready to pay.
func (in *inbound) readBudget(h http.Header) *iatp.Problem {
	v := first(h, iatp.HeaderBudget)
	if v == "" {
		return nil
	}
	m, err := iatp.ParseBudget(v)
	if err != nil {
		return badRequest(iatp.SlugInvalidRequest, err.Error())
	}
	in.budget = m
	return nil
}

// costOf is what the wrapped agent says that a call did cost; zero if it says
// nothing that can be read.
func (s *Sidecar) costOf(x *exchange, resp *http.Response) iatp.Money {
	v := resp.Header.Get(headerCost)
	if v == "" {
		return iatp.Money{}
	}
	m, err := iatp.ParseBudget(v)
	if err != nil {
		s.log.Warn("the agent's IATP-Cost cannot be read", "trace_id", x.in.trace.id)
	}
	return m
}
