package sidecar

import (
	"crypto/sha256"
	"net/http"
	"strconv"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/httpsig"
	"github.com/inter-agent-trust/iatp/internal/once"
)

// serveKeys answers with the key directory (protocol 1.2).
func (s *Sidecar) serveKeys(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=3600")
	writeBytes(w, r, http.StatusOK, iatp.KeySetContentType, s.standing.Load().keys.directory)
}

// task is the public listener's relay route.
func (s *Sidecar) task(w http.ResponseWriter, r *http.Request) {
	s.relay(w, r, flight.In, "")
}

// receiveSigned reads a call of another sidecar.
func (s *Sidecar) receiveSigned(x *exchange) *iatp.Problem {
	if p := s.authenticate(x); p != nil {
		return p
	}
	if p := s.understand(x); p != nil {
		return p
	}
	return s.readMembers(x)
}

// authenticate finds out who has signed a request, in the order that costs an
// attacker most and us least (hardening 18): syntax and clock, the quota of the
// network, whose key it is, the signature, then the body and the nonce.
func (s *Sidecar) authenticate(x *exchange) *iatp.Problem {
	if p := earlyData(x.r.Header); p != nil {
		return p
	}
	pending, p := s.readSigned(x.r)
	if p != nil {
		return p
	}
	known := s.mesh.peers().Known(pending.KeyID, pending.Agent)
	if !known && !s.mesh.networks.allow(x.r.RemoteAddr) {
		return quotaExceeded("too many requests from this network")
	}
	if x.caller, p = s.mesh.peers().Caller(x.r.Context(), pending.KeyID, pending.Agent); p != nil {
		return p
	}
	s.mesh.verify <- struct{}{}
	signed, p := pending.Verify(x.caller.Key)
	<-s.mesh.verify
	if p != nil {
		return p
	}
	x.asked = signed.Created
	if !x.control {
		if !s.mesh.quotas.allow(x.caller) {
			return quotaExceeded("this caller has used up its quota")
		}
		if p := s.enter(x); p != nil {
			return p
		}
	}
	x.equip()
	if p := s.readBody(x.w, x.r, x); p != nil {
		return p
	}
	x.ready = s.now()
	x.bodySum = sha256.Sum256(x.body) // of what was signed, whatever becomes of the body
	if p := signed.CheckBody(x.bodySum); p != nil {
		return p
	}
	if p := s.readCovered(x, signed); p != nil {
		return p
	}
	if p := s.seeOnce(x, signed); p != nil {
		return p
	}
	x.signed = signed // from here on an answer has a receipt
	return nil
}

// readSigned checks everything about a signature that needs no key.
func (s *Sidecar) readSigned(r *http.Request) (*httpsig.Pending, *iatp.Problem) {
	target, p := httpsig.Target(s.mesh.self.url, r.RequestURI, r.Host)
	if p != nil {
		return nil, p
	}
	return httpsig.Parse(&httpsig.Message{Method: r.Method, TargetURI: target, Header: r.Header}, s.now(), once.Skew)
}

// readCovered takes what the agent may see from the covered fields only
// (hardening 12).
func (s *Sidecar) readCovered(x *exchange, signed *httpsig.Verified) *iatp.Problem {
	in := inbound{
		contentType: one(signed.Field("Content-Type")), coding: codingIn(signed.Field("Content-Encoding")),
		idempotencyKey: signed.IdempotencyKey, forward: x.kit.newHead(),
	}
	if p := in.readTrace(one(signed.Field(iatp.HeaderTraceID)), one(signed.Field(iatp.HeaderTraceParent))); p != nil {
		return p
	}
	for _, name := range forwardedHeaders {
		if line := signed.Field(name); one(line) != "" {
			in.forward[name] = line
		}
	}
	x.in = in
	if x.control {
		return nil // nothing of it is forwarded
	}
	return s.scanHead(&x.in)
}

// seeOnce refuses a request that was here before.
func (s *Sidecar) seeOnce(x *exchange, signed *httpsig.Verified) *iatp.Problem {
	nonce, sight, err := s.mesh.nonces.Claim(x.scope(), signed.KeyID, signed.Nonce, signed.Created, signed.Expires)
	switch {
	case err != nil:
		return s.logUnavailable(err)
	case sight == once.Fresh:
		x.nonce = nonce
		return nil
	case sight == once.Seen:
		return &iatp.Problem{Slug: iatp.SlugNonceReused, Status: http.StatusConflict, Error: "this very request was here before", Hint: "a retry needs a new signature and keeps its Idempotency-Key"}
	case sight == once.TooEarly:
		return &iatp.Problem{Slug: iatp.SlugTooEarly, Status: http.StatusTooEarly, Error: "it cannot be told whether this request was here before", Hint: "sign it again and send it once more"}
	}
	return s.overloaded("too many requests are remembered for this caller")
}

func quotaExceeded(why string) *iatp.Problem {
	return &iatp.Problem{Slug: iatp.SlugQuotaExceeded, Status: http.StatusTooManyRequests, RetryAfter: 1, Outcome: iatp.OutcomeNone, Error: why, Hint: "send it again after Retry-After"}
}

// scope is within whom an idempotency key is unique.
func (x *exchange) scope() once.Scope {
	return once.Scope{Principal: x.caller.URI, Stranger: x.caller.Name == ""}
}

// claim makes sure that a call with an idempotency key is executed once. done
// says that a repetition was answered with what was answered before. It comes
// before anything that may refuse the call: whoever is told that nothing was
// executed must be able to believe it of the key, and not of this attempt only. A
// caller that is not let in gets no answer from before either.
func (s *Sidecar) claim(x *exchange) (done bool, p *iatp.Problem) {
	if x.dir != flight.In {
		return false, nil
	}
	st, err := s.mesh.once.Begin(x.scope(), x.in.idempotencyKey, x.signed.Fingerprint())
	if err != nil {
		return false, s.logUnavailable(err)
	}
	conflict := func(slug string, status int, text string) *iatp.Problem {
		return &iatp.Problem{Slug: slug, Status: status, Error: text}
	}
	x.claim = st.Claim
	if p = s.admitCaller(x); p != nil {
		if st.State != once.New {
			p.Outcome = "" // something may have been executed with the key
		}
		return false, p
	}
	switch st.State {
	case once.New:
		return false, nil
	case once.Done:
		return true, s.replay(x, st.Answer)
	case once.InFlight:
		p = conflict(iatp.SlugInFlight, http.StatusConflict, "a call with this Idempotency-Key is under way")
		p.RetryAfter = 1
	case once.Reused:
		p = conflict(iatp.SlugKeyReused, http.StatusUnprocessableEntity, "this Idempotency-Key was used for another request")
	case once.NotKept:
		p = conflict(iatp.SlugAnswerNotKept, http.StatusConflict, "a call with this Idempotency-Key came to its end before, and its answer was not kept")
		p.Outcome = iatp.OutcomeUnknown // such as of a call under which the process died
		if st.Answer.Status != 0 {
			p.Outcome = string(outcomeOfStatus(st.Answer.Status))
		}
	case once.Closed:
		p = conflict(iatp.SlugKeyClosed, http.StatusConflict, "this Idempotency-Key was closed: nothing was executed with it, and nothing will be")
		p.Outcome = iatp.OutcomeNone
	default:
		p = s.overloaded("no room for another Idempotency-Key of this caller")
		p.Outcome = "" // nobody can tell what there was of this one
	}
	if st.Answer.Receipt != "" {
		x.receipt = st.Answer.Receipt
	}
	return false, p
}

// replay answers a repetition as before, with the same receipt.
func (s *Sidecar) replay(x *exchange, a once.Answer) *iatp.Problem {
	x.decision, x.receipt = decidedReplay, a.Receipt
	end := s.line(x, flight.Response)
	end.StatusCode, end.Bytes, end.Reason, end.Outcome = a.Status, int64(len(a.Body)), "repeated", outcomeOfStatus(a.Status)
	end.Receipt = a.Receipt
	if err := s.recordAside(x, &end); err != nil {
		x.receipt = ""
		return s.logUnavailable(err)
	}
	h := x.w.Header()
	h["Content-Type"] = nil // or net/http would guess one
	for name, values := range a.Header {
		h[name] = values
	}
	h.Set(iatp.HeaderReplayed, "?1")
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	x.changed = changed{} // what was, the first answer says
	s.stamp(x, iatp.FromAgent)
	x.wroteHead = true
	x.w.WriteHeader(a.Status)
	_, _ = x.w.Write(a.Body)
	return nil
}

// recordAside puts a verified call that is not forwarded on durable lines, with its
// nonce: whatever it is answered, least of all that nothing was executed, it must
// not be let in when it comes again.
func (s *Sidecar) recordAside(x *exchange, end *flight.Entry) error {
	var e flight.Entry
	s.requestLine(&e, x)
	e.Nonce = x.nonce
	if err := s.appendAll(flight.Durable, &e, end); err != nil {
		return err
	}
	x.nonce = nil
	return nil
}

// prove gives the refusal of a verified call its record and, if nothing was
// executed, the proof of that.
func (s *Sidecar) prove(x *exchange, p *iatp.Problem) *iatp.Problem {
	if x.signed == nil || x.st == nil {
		return p
	}
	if x.nonce != nil {
		end := s.line(x, flight.Blocked)
		end.Reason, end.Outcome = p.Slug, flight.Outcome(p.Outcome)
		if err := s.recordAside(x, &end); err != nil {
			return s.logUnavailable(err)
		}
	}
	if x.receipt == "" && p.Outcome == iatp.OutcomeNone && p.Slug != iatp.SlugLogUnavailable {
		s.receiptForProblem(x, p, &ending{})
	}
	return p
}
