package sidecar

import (
	"net/http"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/undo"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/privacy"
)

// keptPayload is how much of a redacted payload a record holds (protocol 5.2).
const keptPayload = 16 << 10

// line begins a record of this exchange.
func (s *Sidecar) line(x *exchange, kind flight.Type) (e flight.Entry) {
	s.begin(&e, x, kind)
	return e
}

// begin is line for an empty entry that is there. An entry is most of a kilobyte, and
// the stack of each call under way should not hold more of them than it needs.
func (s *Sidecar) begin(e *flight.Entry, x *exchange, kind flight.Type) {
	e.Type, e.TraceID, e.Time, e.Minted = kind, x.in.trace.id, s.now(), x.in.trace.minted
	e.Dir, e.AgentID = x.dir, x.st.name
	e.Agreement = agreementID(x.agreed)
	switch {
	case x.met != nil:
		e.Peer = x.met.Peer.URI
		if x.met.Key != (iatp.Key{}) {
			e.JKT = x.met.Key.Thumbprint()
		}
	case x.caller != nil:
		e.Peer, e.JKT = x.caller.URI, x.caller.Key.Thumbprint()
	}
}

// recordRequest writes everything that must be in the book before a byte
// leaves. Without a question, the request line with decision allow is the
// permission to forward; after one, the forward line is (hardening 26).
func (s *Sidecar) recordRequest(x *exchange) *iatp.Problem {
	x.decision = decidedAllow
	x.durable = owed(x)
	var e flight.Entry
	s.requestLine(&e, x)
	e.Nonce = x.nonce
	if p := s.grant(x, &e); p != nil {
		return p
	}
	if x.money != nil {
		x.money.Hold(&e)
	}
	if x.claim != nil {
		x.claim.Hold(&e)
	}
	if p := s.beginUndo(x, &e); p != nil {
		return p
	}
	defer x.undo.let()
	var seq int64
	var err error
	if x.released == nil {
		ack := x.durable
		switch {
		case s.cfg.Durability == DurabilityStrict && x.dir == flight.Local:
			ack = flight.Durable // the request alone: decision 0043
		case x.dir == flight.Out:
			ack = flight.Written // nothing leaves before the line of its attempt is on the disk, and this one stands before it
		}
		seq, err = s.book.Append(&e, ack)
	} else {
		seq, err = s.recordReleased(x, &e)
	}
	if err != nil {
		return s.logUnavailable(err)
	}
	x.recorded, x.nonce = true, nil
	return s.begun(x, seq)
}

// owed is how safe the records of an exchange must be for what it is, whatever is
// configured: all but a plain call to the own agent, of which nobody relies on more than
// that the record is there, must be on the disk (hardening 24).
func owed(x *exchange) flight.Ack {
	if x.dir != flight.Local || x.in.idempotencyKey != "" || x.released != nil {
		return flight.Durable
	}
	return flight.Written
}

// recordReleased writes the request, who has let it pass, and that its trace is held.
func (s *Sidecar) recordReleased(x *exchange, e *flight.Entry) (int64, error) {
	x.decision = decidedOverride
	said := s.line(x, flight.UserOverride)
	said.Override, said.Actor, said.Action = string(x.released.mode), x.released.actor, iatp.Digest(x.released.act)
	said.Reasons = x.verdict.Codes()
	held := s.line(x, flight.Quarantine)
	held.Reason, held.State = overrideReason(x.verdict), quarantineOpen
	leave := s.line(x, flight.Forward)
	leave.Action, leave.Quarantined = said.Action, true
	seq, err := s.book.Append(e, flight.Written)
	if err == nil {
		err = s.appendAll(x.durable, &said, &held, &leave)
	}
	return seq, err
}

// recordRefusal writes the request and that it went no further.
func (s *Sidecar) recordRefusal(x *exchange, kind flight.Type) *iatp.Problem {
	end := s.line(x, kind)
	end.Reasons = x.verdict.Codes()
	if len(x.verdict.Reasons) > 0 {
		end.Reason = x.verdict.Reasons[0].Code
	}
	var err error
	if x.nonce != nil {
		err = s.recordAside(x, &end)
	} else {
		var e flight.Entry
		s.requestLine(&e, x)
		err = s.appendAll(flight.Written, &e, &end)
	}
	if err != nil {
		return s.logUnavailable(err)
	}
	return nil
}

// appendAll writes lines in order; the last one's acknowledgement covers all.
func (s *Sidecar) appendAll(ack flight.Ack, lines ...*flight.Entry) error {
	for i, e := range lines {
		a := flight.Written
		if i == len(lines)-1 {
			a = ack
		}
		if _, err := s.book.Append(e, a); err != nil {
			return err
		}
	}
	return nil
}

// requestLine is the record of what came in and what was decided about it.
func (s *Sidecar) requestLine(e *flight.Entry, x *exchange) {
	s.begin(e, x, flight.Request)
	e.Method, e.Path = http.MethodPost, "/proxy"
	if x.dir != flight.Local {
		e.Path = taskPath
	}
	e.TraceParent, e.Link = x.in.trace.outgoing(), x.in.trace.link
	if x.signed != nil {
		e.Base, e.Signed = x.signed.Base, signedText(x.signed, x.caller.Key)
	}
	e.ContentType = x.in.contentType
	e.IdempotencyKey = x.in.idempotencyKey
	e.Bytes = x.size
	e.Body = x.bodySum[:] // what is committed to is the digest: decision 0006
	e.Findings = x.tally(x.report, false, s.keepsPayloads(x.st))
	e.Decision = x.verdict.Decision.String()
	e.Assessed, e.Level, e.Score = true, x.st.assessment.Level, x.st.assessment.Score
	e.Evidence = x.st.assessment.Evidence.String()
	e.Manifest, e.Policy = x.st.digest, x.st.rules.Digest()
	e.Reasons = x.codes
	e.Rules = rulesOf(x.verdict)
	e.Quarantined = x.tainted || x.released != nil
	if s.keepsPayloads(x.st) {
		if e.Payload = x.payload; e.Payload == nil {
			e.Payload, e.Canonical = redacted(x.body, x.report), x.form
		}
	} else {
		e.Opaque = "ephemeral"
	}
}

// keepsPayloads is false for an agent that promises to keep nothing: then its
// sidecar keeps no text either, only classes and commitments.
func (s *Sidecar) keepsPayloads(st *standing) bool {
	return st.keep
}

// redacted is a scanned JSON body as the recorder may have it. The recorder
// cuts what is too long after this, so that no cut hides a finding from it.
func redacted(body []byte, report privacy.Report) []byte {
	if len(report.Findings) == 0 {
		return body
	}
	return privacy.AppendRedacted(nil, body, report)
}

// ending is what is known when an exchange is over.
type ending struct {
	status      int
	contentType string // as sent, for the receipt
	encoding    string // likewise, for a repetition
	body        []byte // whole answers only
	bytes       int64
	sum         []byte // SHA-256 of the body
	mediaType   string
	json        []byte // the redacted payload of a JSON answer
	form        []byte // its canonical form, if it was made
	text        []byte // of any other
	truncated   bool
	opaque      string
	findings    []flight.Count
	outcome     flight.Outcome
	errCode     string
}

// recordEnd writes the response line (or the error line) of a forwarded call.
// It must be in the book before the last byte of the answer leaves.
func (s *Sidecar) recordEnd(x *exchange, end *ending) error {
	kind := flight.Response
	if end.errCode != "" {
		kind = flight.Error
	}
	var e flight.Entry
	s.begin(&e, x, kind)
	e.StatusCode = end.status
	e.Bytes, e.Body = end.bytes, end.sum
	e.ContentType = s.scrub(end.mediaType)
	e.Payload, e.Canonical, e.Text, e.Truncated, e.Opaque = end.json, end.form, end.text, end.truncated, end.opaque
	e.Findings = end.findings
	e.Outcome, e.Error = end.outcome, end.errCode
	if x.attempts > 1 {
		e.Attempts = x.attempts
	}
	elapsed := e.Time.Sub(x.start)
	e.Latency, e.Own = elapsed, e.Time.Sub(x.ready)-x.away
	if sla := x.slaLatency(); sla > 0 && elapsed > time.Duration(sla)*time.Millisecond {
		e.SLABreach = true
		s.metrics.slaBreaches.Inc()
	}
	e.Quarantined = x.released != nil || x.tainted
	switch {
	case x.receipt != "":
		e.Receipt = x.receipt
	case x.proof != proofNone:
		e.Note, e.Quarantined = "receipt "+string(x.proof), true
	}
	s.finishClaim(x, &e, end)
	s.settle(x, &e, end.outcome)
	s.metrics.found("response", end.findings)
	if err := s.endUndo(x, &e, end.outcome); err != nil {
		return err
	}
	if err := s.recordDoubt(x); err != nil {
		return err
	}
	err := s.appendEnd(x, &e)
	if err == nil {
		x.recorded = false
		s.callEnded(x)
	}
	return err
}

// appendEnd writes the last line of a call.
func (s *Sidecar) appendEnd(x *exchange, e *flight.Entry) error {
	if ref := x.undo.ref; ref != (undo.Ref{}) {
		defer s.mesh.undo.Ending(ref)()
	}
	_, err := s.book.Append(e, x.durable)
	return err
}

// recordDoubt opens a quarantine session for an answer without a proof that holds. The
// end of the call follows, and what it waits for covers this line, too.
func (s *Sidecar) recordDoubt(x *exchange) error {
	reason := x.proof.quarantines()
	if reason == "" {
		return nil
	}
	held := s.line(x, flight.Quarantine)
	held.Reason, held.State = reason, quarantineOpen
	_, err := s.book.Append(&held, flight.Written)
	return err
}

func rulesOf(v policy.Verdict) []flight.Rule {
	var out []flight.Rule
	for _, r := range v.Reasons {
		if r.File != "" {
			out = append(out, flight.Rule{Name: r.Rule, File: r.File, Line: r.Line})
		}
	}
	return out
}

func (s *Sidecar) logUnavailable(err error) *iatp.Problem {
	s.log.Error("flight recorder refuses records; nothing is forwarded", "error", err)
	return &iatp.Problem{Slug: iatp.SlugLogUnavailable, Status: http.StatusServiceUnavailable, RetryAfter: 5, Outcome: iatp.OutcomeNone,
		Error: "the flight recorder cannot write, so nothing was forwarded", Hint: "look at the sidecar's own log and at the disk of its data directory"}
}
