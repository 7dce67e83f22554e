package sidecar

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/httpsig"
	"github.com/inter-agent-trust/iatp/internal/once"
)

// outcomeOfStatus is what an answer of the wrapped agent says of the effect.
func outcomeOfStatus(status int) flight.Outcome {
	switch {
	case status < 400:
		return flight.OutcomeExecuted
	case status < 500:
		return flight.OutcomeFailed
	}
	return flight.OutcomeUnknown
}

// issue makes the receipt of a call from another sidecar (protocol 5.1).
func (s *Sidecar) issue(x *exchange, status int, body iatp.Digest, mediaType string, outcome flight.Outcome) (string, error) {
	now := s.now()
	var id [16]byte
	rand.Read(id[:])
	r := iatp.Receipt{
		Iss: s.mesh.self.url, Aud: x.caller.URI, Iat: now.Unix(), JTI: "rcpt_" + base64.RawURLEncoding.EncodeToString(id[:]),
		TraceID: x.in.trace.id, Req: iatp.Requested{Base: x.signed.Base, Key: x.in.idempotencyKey},
		Res: iatp.Responded{Status: status, Digest: body, Type: mediaType},
		Agr: x.signed.Agreement, Mft: x.signed.Manifest, Cost: x.cost, Outcome: string(outcome), MS: now.Sub(x.start).Milliseconds(),
	}
	if outcome == flight.OutcomeExecuted || outcome == flight.OutcomeUnknown {
		terms, err := x.terms() // of the agreement, else of the manifest that mft names: a reload may have come since
		if err != nil {
			return "", err
		}
		r.Undo = undoOf(terms, now)
	}
	return r.Sign(x.st.keys.key) // a key that the manifest of mft names: see above
}

// receiptForProblem makes the receipt of a call that ends in a problem of ours,
// and fixes what a repetition is answered.
func (s *Sidecar) receiptForProblem(x *exchange, p *iatp.Problem, end *ending) {
	p.TraceID = x.in.trace.id
	end.body, end.contentType = problemBody(p), iatp.ProblemContentType
	sum := iatp.DigestOf(end.body)
	end.sum, end.bytes = sum[:], int64(len(end.body))
	end.status, end.outcome = p.Status, flight.Outcome(p.Outcome)
	s.giveReceipt(x, end, sum)
}

// giveReceipt issues the receipt of an answer whose body has that digest. An
// answer without one is passed on: its caller sees that it is missing.
func (s *Sidecar) giveReceipt(x *exchange, end *ending, sum iatp.Digest) {
	receipt, err := s.issue(x, end.status, sum, end.contentType, end.outcome)
	if err != nil {
		s.log.Error("cannot make a receipt", "trace_id", x.in.trace.id, "error", err)
	}
	x.receipt = receipt
}

// undoOf is what terms promise for an effect of this moment.
func undoOf(terms iatp.Terms, now time.Time) *iatp.Undo {
	if !terms.Reversibility.Undoes() {
		return nil
	}
	u := &iatp.Undo{Level: terms.Reversibility, MaxFee: terms.MaxFee}
	switch w := terms.UndoWindowSeconds; {
	case w == nil:
		u.Until = now.Unix() // no window is promised
	case *w > 0:
		u.Until = now.Unix() + *w
	}
	return u
}

// finishClaim puts the outcome of a call on its last line, with the answer that
// a repetition gets. A call that was never executed frees its key.
func (s *Sidecar) finishClaim(x *exchange, e *flight.Entry, end *ending) {
	if x.claim == nil {
		return
	}
	if end.outcome == flight.OutcomeNone {
		x.claim.Free(e)
		return
	}
	a := once.Answer{Status: end.status, Header: http.Header{}, Receipt: x.receipt, Body: end.body, Dropped: end.body == nil || !s.keepsPayloads(x.st)}
	if a.Dropped {
		a.Body = nil
	}
	for name, v := range map[string]string{"Content-Type": end.contentType, "Content-Encoding": end.encoding} {
		if v != "" {
			a.Header.Set(name, v)
		}
	}
	x.claim.Finish(e, a)
}

// proof is what a peer's receipt came to.
type proof string

// What can be said of a receipt.
const (
	proofNone    proof = ""        // none was due
	proofValid   proof = "valid"   // it is the receipt of this very exchange
	proofMissing proof = "missing" // one was due
	proofInvalid proof = "invalid" // it is not of this exchange, breaks its terms, or does not verify
)

// quarantines is why a trace is held for the sake of a receipt; "" if it is not.
func (p proof) quarantines() string {
	switch p {
	case proofMissing:
		return "receipt_missing"
	case proofInvalid:
		return "receipt_invalid"
	}
	return ""
}

// checkProof verifies a peer's receipt against what was sent and what came.
// earlier says that it is, in place of an answer, the receipt of an earlier one
// that the peer did not keep.
func (s *Sidecar) checkProof(x *exchange, resp *http.Response, jws string, body iatp.Digest) (p proof, outcome flight.Outcome, earlier bool) {
	refusal := resp.Header.Get(iatp.HeaderFrom) == iatp.FromSidecar && resp.StatusCode >= 400
	if jws == "" {
		if refusal {
			return proofNone, flight.OutcomeUnknown, false // what it says of the outcome is a hint
		}
		return proofMissing, flight.OutcomeUnknown, false
	}
	r, err := iatp.VerifyReceipt(jws, x.met.Keys)
	if err == nil {
		want := s.expected(x, r.Req.Base)
		want.Status, want.Digest, want.Type = resp.StatusCode, body, resp.Header.Get("Content-Type")
		if earlier = refusal && resp.StatusCode == http.StatusConflict && r.Res.Status != http.StatusConflict; earlier {
			want.Status, want.Digest, want.Type = r.Res.Status, r.Res.Digest, r.Res.Type
		}
		err = r.Check(want)
	}
	if err != nil {
		s.log.Warn("receipt of a peer is not valid", "peer", x.met.Peer.URI, "trace_id", x.in.trace.id, "error", err)
		return proofInvalid, flight.OutcomeUnknown, false
	}
	if slices.Contains(x.bases, r.Req.Base) { // or it was paid for before
		x.cost = r.Cost
	}
	return proofValid, flight.Outcome(r.Outcome), earlier
}

// expected is what a receipt with that base must say of the request: it is one
// of this exchange, or an earlier one with the caller's key, which may have been
// made under another manifest or agreement. Of those nothing is left to hold it to
// but their names.
func (s *Sidecar) expected(x *exchange, base iatp.Digest) iatp.ReceiptWant {
	terms, _ := x.terms()
	w := iatp.ReceiptWant{Iss: x.met.Peer.URI, Aud: s.mesh.self.url, Key: x.sentKey, Bases: x.bases, Mft: x.st.mft, Terms: terms, Budget: x.promised()}
	if x.agreed != nil {
		w.Agr = x.agreed.ID()
	}
	if slices.Contains(x.bases, base) || x.in.idempotencyKey == "" {
		return w
	}
	if one, ok := s.mesh.sent.find(s.attemptAlias(x), base); ok {
		w.Bases = []iatp.Digest{base}
		if one.mft != w.Mft || one.agr != w.Agr {
			w.Mft, w.Agr, w.Terms = one.mft, one.agr, iatp.Terms{}
		}
	}
	return w
}

// promised is the budget that the call named, zero if none.
func (x *exchange) promised() iatp.Money {
	if x.money == nil {
		return iatp.Money{}
	}
	return x.money.Amount
}

// signedText is a request as its caller signed it, for the record: the signature
// base (RFC 9421), an empty line, the signature in base64, and the key. It proves to
// others what was asked. The rare one that is too long to be sealed is not kept.
func signedText(v *httpsig.Verified, key iatp.Key) []byte {
	text := append(bytes.Clone(v.SignatureBase), "\n\n"...)
	text = append(base64.StdEncoding.AppendEncode(text, v.Signature), '\n')
	text = append(append(text, key.String()...), '\n')
	if len(text) > flight.MaxSealed {
		return nil
	}
	return text
}
