package sidecar

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
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
	r := iatp.Receipt{
		Iss: s.mesh.self.url, Aud: x.caller.URI, Iat: now.Unix(), JTI: x.receiptID(),
		TraceID: x.in.trace.id, Req: iatp.Requested{Base: x.signed.Base, Key: x.in.idempotencyKey},
		Res: iatp.Responded{Status: status, Digest: body, Type: mediaType},
		Agr: x.signed.Agreement, Mft: x.signed.Manifest, Cost: x.cost, Outcome: string(outcome), MS: now.Sub(x.start).Milliseconds(),
	}
	if outcome == flight.OutcomeExecuted && x.undo.known != nil {
		r.Undo = x.undo.known
	} else if outcome == flight.OutcomeExecuted || outcome == flight.OutcomeUnknown {
		terms, err := x.terms() // of the agreement, else of the manifest that mft names: a reload may have come since
		if err != nil {
			return "", err
		}
		r.Undo = undoOf(terms, now)
	}
	if x.undo.task() {
		r.Tx, x.undo.promise, x.undo.receipt = x.undo.ref.ID(), r.Undo, r.JTI
	}
	return r.Sign(x.st.keys.key) // a key that the manifest of mft names: see above
}

// receiptPrefix begins the ids of our receipts.
const receiptPrefix = "rcpt_"

// receiptID is the id of the receipt of this exchange, which a stream names before
// there is one. It begins with the alias of the claim under which the receipt will
// be kept, so that it is found again without an index.
func (x *exchange) receiptID() string {
	if x.jti == "" {
		var id [24]byte
		rand.Read(id[:])
		if x.claim != nil {
			alias := x.claim.Alias()
			copy(id[:], alias[:])
		}
		x.jti = receiptPrefix + base64.RawURLEncoding.EncodeToString(id[:])
	}
	return x.jti
}

// showReceipt shows a receipt to the caller that it is for, as long as its key is
// remembered. For everybody else it does not exist.
func (s *Sidecar) showReceipt(x *exchange, id string) *iatp.Problem {
	jws, ok := s.keptReceipt(id, x.caller.URI)
	if !ok {
		return &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Error: "there is no such receipt for this caller"}
	}
	s.stamp(x, iatp.FromSidecar)
	writeBytes(x.w, x.r, http.StatusOK, receiptType, []byte(jws))
	return nil
}

// receiptType is the media type of a receipt (RFC 7519, section 10.3.1).
const receiptType = "application/jwt"

// keptReceipt finds the receipt with that id for that principal.
func (s *Sidecar) keptReceipt(id, aud string) (jws string, ok bool) {
	text, ok := strings.CutPrefix(id, receiptPrefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(raw) != 24 {
		return "", false
	}
	a, ok := s.mesh.once.Recall(flight.Alias(raw[:16]))
	if !ok {
		return "", false
	}
	_, rest, _ := strings.Cut(a.Receipt, ".")
	payload, _, _ := strings.Cut(rest, ".")
	claims, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", false
	}
	var of struct{ JTI, Aud string }
	if json.Unmarshal(claims, &of) != nil || of.JTI != id || of.Aud != aud {
		return "", false
	}
	return a.Receipt, true
}

// fetchTime bounds the question for a receipt.
const fetchTime = 5 * time.Second

// fetchReceipt asks the peer for the receipt of a stream whose trailer has none, by
// the id in its head: there are proxies that drop trailers. What comes is checked
// like any other; "" if nothing does.
func (s *Sidecar) fetchReceipt(x *exchange, id string) string {
	if id == "" || len(id) > 128 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), fetchTime)
	defer cancel()
	resp, _, err := s.sendAside(ctx, x, http.MethodGet, "/receipts/"+id, nil, "", "")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	jws, err := io.ReadAll(io.LimitReader(resp.Body, iatp.MaxStatementSize+1))
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(jws)
}

// receiptForProblem makes the receipt of a call that ends in a problem of ours,
// and fixes what a repetition is answered.
func (s *Sidecar) receiptForProblem(x *exchange, p *iatp.Problem, end *ending) {
	p.TraceID = x.in.trace.id
	end.body, end.contentType = s.problemBody(p), iatp.ProblemContentType
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
	case *w > 0 && *w <= endOfTime-now.Unix():
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
	a := once.Answer{Status: end.status, Header: http.Header{}, Receipt: x.receipt, Body: end.body, Dropped: end.body == nil || len(end.body) > wholeReply || !s.keepsPayloads(x.st)}
	if a.Dropped {
		a.Body = nil
	}
	for name, v := range map[string]string{"Content-Type": end.contentType, "Content-Encoding": end.encoding, iatp.HeaderRedacted: x.changed.String()} {
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

// Values of Peer.Receipt.
const (
	receiptOptional = "optional"
	receiptRequire  = "require"
)

// errUnproven ends a stream of a peer that is not what its receipt proves, where no
// other is taken.
var errUnproven = errors.New("the peer proves it with no receipt that holds")

// unproven reports whether an answer is kept from our agent because no receipt of the
// peer proves it (Peer.Receipt).
func (s *Sidecar) unproven(x *exchange) bool {
	return x.proof.quarantines() != "" && s.active.Load().Peers[x.peer].Receipt == receiptRequire
}

// askUnproven asks the peer what became of a call whose answer is kept from our agent.
// What it proves then is no proof of the answer that came.
func (s *Sidecar) askUnproven(x *exchange, end *ending) {
	x.decision, end.errCode = decidedFailed, x.proof.quarantines()
	end.outcome = s.askPeer(x)
}

// withholdUnproven keeps a whole answer from our agent.
func (s *Sidecar) withholdUnproven(x *exchange, end *ending) *iatp.Problem {
	s.askUnproven(x, end)
	end.status, end.encoding = http.StatusBadGateway, ""
	return &iatp.Problem{
		Slug: iatp.SlugReceiptInvalid, Status: end.status, Outcome: string(end.outcome),
		Error: "the peer proves its answer with no receipt that holds (" + end.errCode + "), so it is withheld",
		Hint:  "the call was made: see outcome. peers.NAME.receipt says that no answer is taken without a receipt; what was wrong with it is in the sidecar's own log",
	}
}

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
		if earlier = refusal && resp.StatusCode == http.StatusConflict && (r.Res.Status != http.StatusConflict || r.Res.Digest != body); earlier {
			want.Status, want.Digest, want.Type = r.Res.Status, r.Res.Digest, r.Res.Type
		}
		err = r.Check(want)
	}
	if err != nil {
		s.log.Warn("receipt of a peer is not valid", "peer", x.met.Peer.URI, "trace_id", x.in.trace.id, "error", err)
		return proofInvalid, flight.OutcomeUnknown, false
	}
	x.undo.proven = r
	ours := slices.Contains(x.bases, r.Req.Base)
	if ours || x.money != nil && x.money.Again { // or it was paid for before
		x.cost = r.Cost
	}
	x.never = r.Outcome == iatp.OutcomeNone && !ours
	return proofValid, flight.Outcome(r.Outcome), earlier
}

// expected is what a receipt with that base must say of the request: it is one
// of this exchange, or an earlier one with the caller's key, which may have been
// made under another manifest or agreement. Of those nothing is left to hold it to
// but their names.
func (s *Sidecar) expected(x *exchange, base iatp.Digest) iatp.ReceiptWant {
	terms, _ := x.terms()
	w := iatp.ReceiptWant{Iss: x.met.Peer.URI, Aud: s.mesh.self.url, Key: x.sentKey, Bases: x.bases, Mft: x.st.mft, Terms: terms, Budget: x.promised(), From: x.start, To: s.now()}
	if x.agreed != nil {
		w.Agr = x.agreed.ID()
	}
	if slices.Contains(x.bases, base) || x.in.idempotencyKey == "" {
		return w
	}
	if one, ok := s.mesh.sent.find(s.attemptAlias(x), base); ok {
		w.Bases, w.From = []iatp.Digest{base}, one.at
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
	name := key.String()
	text := make([]byte, 0, len(v.SignatureBase)+base64.StdEncoding.EncodedLen(len(v.Signature))+len(name)+4)
	text = append(append(text, v.SignatureBase...), "\n\n"...)
	text = append(base64.StdEncoding.AppendEncode(text, v.Signature), '\n')
	text = append(append(text, name...), '\n')
	if len(text) > flight.MaxSealed {
		return nil
	}
	return text
}
