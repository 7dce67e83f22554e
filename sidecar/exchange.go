package sidecar

import (
	"crypto/sha256"
	"net/http"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/agreements"
	"github.com/inter-agent-trust/iatp/internal/budget"
	"github.com/inter-agent-trust/iatp/internal/handshake"
	"github.com/inter-agent-trust/iatp/internal/httpsig"
	"github.com/inter-agent-trust/iatp/internal/once"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/privacy"
)

// What became of an exchange, for the metrics.
const (
	decidedAllow    = "allow"        // forwarded at once
	decidedOverride = "override"     // forwarded on a person's word
	decidedAsk      = "ask"          // a person was asked
	decidedDeny     = "deny"         // refused
	decidedBusy     = "busy"         // no place at the agent
	decidedFailed   = "agent_failed" // forwarded, and no whole answer came
	decidedReplay   = "replay"       // a repetition, answered as before
	decidedRefused  = "refused"      // turned away for another reason: terms, key, budget
)

// exchange is one call on its way down the corridor. One goroutine owns it.
type exchange struct {
	dir   flight.Dir
	peer  string // Out: the name of the peer
	w     http.ResponseWriter
	r     *http.Request
	start time.Time // when the head was there
	ready time.Time // when the body was there: our own share of the time begins
	away  time.Duration
	back  time.Time    // when the last attempt came back
	line  *limitedConn // the caller's connection, if it is asked whether he has left
	kit   *kit         // memory; may be nil

	relayed bool // a call, and no request to this sidecar itself: see recycle

	in      inbound
	body    []byte
	held    int64 // bytes to give back to Sidecar.bodies
	bodySum [sha256.Size]byte
	size    int64 // of the body that bodySum is of
	report  privacy.Report
	payload []byte // for the record, once body was redacted
	form    []byte // canonical, of a body in which nothing was found; nil if it was not made
	changed changed
	part    bool // the answer is a part of something (206), which its head measures

	st        *standing
	verdict   policy.Verdict
	tainted   bool      // an earlier exchange of this trace is quarantined
	released  *override // who let it pass, if it was asked about
	durable   flight.Ack
	recorded  bool // a request line is in the book, so an ending must follow
	attempts  int
	entered   bool   // holds a place of limits.concurrency
	slot      bool   // holds one of the agent's (capabilities.concurrency_limit)
	decision  string // one of the decided constants
	wroteHead bool
	codes     []string // of the verdict
	said      int      // how many of values are in use
	values    *[4]string

	// From or to another sidecar.
	caller    *handshake.Caller   // In: who signed
	signed    *httpsig.Verified   // In: what
	asked     time.Time           // In: when, as the signature says that verified
	nonce     *flight.Nonce       // In: to be put on the request line
	claim     *once.Claim         // In: the idempotency key, ours until leave
	met       *handshake.Met      // Out: who would get it
	own       *standing           // Out: ours, as st is the peer's
	sentKey   string              // Out: idempotency key, the caller's or a new one
	sentTrace iatp.TraceID        // Out: of 128 bits
	bases     []iatp.Digest       // Out: what names the signature of each attempt
	agreed    *agreements.Held    // under which agreement; nil if there is none
	receipt   string              // In: issued; Out: verified
	jti       string              // In: the id of the receipt, once it has one
	money     *budget.Reservation // Out: set aside for the call
	cost      iatp.Money          // In: said by our agent; Out: by the receipt
	proof     proof               // Out: what the receipt came to
	never     bool                // Out: the peer has proven that the key is closed, and was not used
	undo      undoing             // In, Out: what is recorded about undoing it
	control   bool                // In: about calls, and no call: outside quotas and scans
}

// changed says which bodies are not passed on as they came.
type changed struct{ request, response bool }

// walk is the corridor. Each desk does one thing and may end the exchange with
// a problem; whatever happens is in the book before it happens.
func (s *Sidecar) walk(x *exchange) *iatp.Problem {
	if p := s.receive(x); p != nil { // bounded, strict, scanned in one pass
		return p
	}
	if p := s.meet(x); p != nil { // who would get this: manifest, score, rules
		return p
	}
	// A session is about a call of our own side. Somebody outside who uses its trace id
	// has no part in it (hardening 31).
	x.tainted = x.dir != flight.In && !x.in.trace.minted && s.quarantine.tainted(x.in.trace.id)
	x.judge()
	if done, p := s.claim(x); done || p != nil { // a key from outside is executed once
		return p
	}
	if p := s.treat(x); p != nil { // redact what may not go on as it is, before anybody is asked or anything signed
		return p
	}
	if p := s.sameTerms(x); p != nil { // what was assessed is what is executed
		return p
	}
	switch x.verdict.Decision {
	case policy.Allow:
	case policy.Ask:
		if x.dir == flight.In {
			return s.block(x) // there is no person at this door
		}
		if x.in.override == "" {
			return s.ask(x, "")
		}
	default: // Deny, and whatever a later version adds
		return s.block(x)
	}
	if p := s.admit(x); p != nil { // a free place at the agent, before a person's word is used up
		return p
	}
	if x.verdict.Decision == policy.Ask {
		var why overrideRefused
		if x.released, why = s.tryOverride(x); x.released == nil {
			return s.ask(x, why)
		}
	}
	if p := s.agree(x); p != nil { // terms that both sides have signed, where one of them wants it
		return p
	}
	if p := s.reserve(x); p != nil { // money that is not there is not promised
		return p
	}
	if p := s.recordRequest(x); p != nil { // what is not recorded does not happen
		return p
	}
	return s.forward(x) // scan the answer and record it as it passes
}

// peerName is the configuration's name of the other sidecar; "" if it has none.
func (x *exchange) peerName() string {
	if x.caller != nil {
		return x.caller.Name
	}
	return x.peer
}

// judge decides about the exchange. A call of our own side in which nothing was found is
// told from another only by the standing of who gets it: what is decided about the first
// is right for all of them, until that changes.
func (x *exchange) judge() {
	plain := x.dir != flight.In && !x.tainted && len(x.report.Findings) == 0 && len(x.report.Opaque) == 0
	if u := x.st.usual.Load(); plain && u != nil {
		x.verdict, x.codes = u.verdict, u.codes
		return
	}
	x.verdict = x.decide(x.st)
	x.codes = x.verdict.Codes()
	if plain {
		x.st.usual.Store(&usual{x.verdict, x.codes})
	}
}

// usual is what is decided about a call of our own side in which nothing was found.
type usual struct {
	verdict policy.Verdict
	codes   []string
}

// decide asks the rules, who have no other facts than these.
func (x *exchange) decide(st *standing) policy.Verdict {
	return st.rules.Decide(policy.Facts{
		Manifest: st.manifest, Assessment: st.assessment, Require: st.require,
		Findings: st.rules.FindingsOf(x.report), Opaque: len(x.report.Opaque) > 0, Tainted: x.tainted, Call: string(x.dir), Peer: x.peerName(),
	})
}

// receive reads what came in. Nothing of it is kept if it is refused here: a
// request that was never understood leaves a metric, not a record.
func (s *Sidecar) receive(x *exchange) (p *iatp.Problem) {
	if x.dir == flight.In {
		return s.receiveSigned(x)
	}
	if p = s.enter(x); p != nil {
		return p
	}
	x.equip()
	if x.in, p = s.readHead(x.r, x.kit); p != nil {
		return p
	}
	if p = s.readBody(x.w, x.r, x); p != nil {
		return p
	}
	x.ready = s.now()
	return s.understand(x)
}

// block ends an exchange that nobody can release.
func (s *Sidecar) block(x *exchange) *iatp.Problem {
	x.decision = decidedDeny
	if p := s.recordRefusal(x, "blocked"); p != nil {
		return p
	}
	p := &iatp.Problem{
		Slug: x.verdict.Slug, Status: http.StatusForbidden, Blocked: true, Outcome: iatp.OutcomeNone,
		Error: x.verdict.Denial(), Reasons: x.verdict.Codes(),
	}
	if x.verdict.Decision == policy.Ask {
		p.Slug, p.Error = iatp.SlugPolicy, "a person would have to decide about this call, and there is none at this door"
	}
	return s.about(x, p)
}

// ask ends an exchange that a person can release, with the question.
func (s *Sidecar) ask(x *exchange, refused overrideRefused) *iatp.Problem {
	x.decision = decidedAsk
	if p := s.recordRefusal(x, "warning"); p != nil {
		return p
	}
	var q *question
	switch {
	case s.overrideMode != OverrideConfirm:
	case x.in.override == "":
		q = s.claims.ask(x.actionDigest(""))
	default:
		q = s.claims.askAgain(x.actionDigest(""))
	}
	p := &iatp.Problem{
		Slug: iatp.SlugOverrideRequired, Status: iatp.StatusRetryWith,
		Warning: x.verdict.Warning(), RequiresOverride: true, Reasons: x.verdict.Codes(),
		Approval: s.approvalHint(q, x), Hint: s.overrideHint(),
	}
	if refused != "" {
		p.Hint = "The override was not accepted: " + string(refused) + "."
	}
	return s.about(x, p)
}

// overrideHint says how this call could be released, in words.
func (s *Sidecar) overrideHint() string {
	switch s.overrideMode {
	case OverrideConfirm:
		return "To go on, a person sends the very same request again within five minutes, with the header X-User-Override: true."
	case OverrideLoopback:
		return "To go on, a person sends the request again with the header X-User-Override: true."
	case OverrideToken:
		return "To go on, a person sends the request again with the override token in X-User-Override."
	}
	return "This sidecar accepts no override (override: off)."
}

// about adds what every answer after the scan says of the agent.
func (s *Sidecar) about(x *exchange, p *iatp.Problem) *iatp.Problem {
	score := x.st.assessment.Score
	p.TrustScore = &score
	return p
}

// admit takes one of the places that the manifest promises.
func (s *Sidecar) admit(x *exchange) *iatp.Problem {
	if x.st.slots == 0 {
		return nil
	}
	for n := s.atAgent.Load(); n < x.st.slots; n = s.atAgent.Load() {
		if s.atAgent.CompareAndSwap(n, n+1) {
			x.slot = true
			return nil
		}
	}
	x.decision = decidedBusy
	return s.about(x, &iatp.Problem{
		Slug: iatp.SlugQuotaExceeded, Status: http.StatusTooManyRequests, RetryAfter: 1, Outcome: iatp.OutcomeNone,
		Error: "the agent already has as many calls as its manifest allows (capabilities.concurrency_limit)",
		Hint:  "send it again after Retry-After",
	})
}

// letGo gives up a key from outside with which nothing was done.
func (x *exchange) letGo() {
	if x.claim != nil && !x.recorded {
		x.claim.End()
		x.claim = nil
	}
}

// leave gives back whatever the exchange holds.
func (s *Sidecar) leave(x *exchange) {
	if x.slot {
		s.atAgent.Add(-1)
	}
	if x.claim != nil {
		x.claim.End()
	}
	if x.money != nil {
		x.money.End()
	}
	x.undo.let()
	s.bodies.give(x.held)
	x.line.free()
	if x.entered {
		s.gate.leave()
	}
}
