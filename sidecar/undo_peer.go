package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/handshake"
	"github.com/inter-agent-trust/iatp/internal/undo"
)

// undoAtPeerTime bounds one request to a peer about an undo.
const undoAtPeerTime = 20 * time.Second

// said is what a peer answered to a request about a call.
type said struct {
	status  int
	header  http.Header
	body    []byte
	receipt *iatp.Receipt // of this very question; nil if it has none that holds
	jws     string        // of receipt or earlier
	earlier *iatp.Receipt // of another request with the same key
}

// peerName is the name in the configuration of a principal; "" if it has none.
func (s *Sidecar) peerNamed(uri string) string {
	for name, p := range s.active.Load().Peers {
		if p.principal() == uri {
			return name
		}
	}
	return ""
}

// askAbout sends a signed request about a call to the peer that got it. key is its
// idempotency key, about the one that its receipt must name.
func (s *Sidecar) askAbout(ctx context.Context, c *undo.Thing, path, key, about string, body []byte) (*said, *handshake.Met, error) {
	name := s.peerNamed(c.Peer)
	if name == "" {
		return nil, nil, errors.New("the peer is not in the configuration any more")
	}
	ctx, cancel := context.WithTimeout(ctx, undoAtPeerTime)
	defer cancel()
	met, p := s.mesh.peers().Meet(ctx, name)
	if p != nil {
		return nil, nil, errors.New(p.Error)
	}
	target := met.Peer.URI + path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.GetBody = nil
	req.Header = http.Header{
		"Content-Type": {"application/json"}, iatp.HeaderContentDigest: {iatp.DigestOf(body).ContentDigest()},
		iatp.HeaderIdempotencyKey: {iatp.FormatIdempotencyKey(key)},
		"Accept-Encoding":         {"identity"}, "User-Agent": {userAgent},
	}
	if _, ok := c.TraceID.Bits(); ok {
		req.Header.Set(iatp.HeaderTraceID, string(c.TraceID))
	}
	base, err := s.sign(&exchange{own: s.standing.Load()}, req.Method, target, req.Header)
	if err != nil {
		return nil, nil, err
	}
	e := flight.Entry{Type: flight.Forward, TraceID: c.TraceID, Time: s.now(), Dir: flight.Out, Peer: c.Peer, JKT: c.JKT, AgentID: c.AgentID, Path: path, Base: base}
	if _, err := s.book.Append(&e, flight.Durable); err != nil {
		return nil, nil, err
	}
	asked := s.now()
	resp, err := met.Transport.RoundTrip(req)
	if err != nil {
		return nil, nil, errors.New("the peer does not answer")
	}
	defer resp.Body.Close()
	a := &said{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxUndoReply)); err != nil {
		return nil, nil, errors.New("the peer broke off")
	}
	jws := resp.Header.Get(iatp.HeaderReceipt)
	r, err := iatp.VerifyReceipt(jws, met.Keys)
	switch {
	case err != nil || r.Iss != met.Peer.URI || r.Aud != s.mesh.self.url || r.Req.Key != about:
	case r.Req.Base == base && r.Check(s.aboutAside(r, base, a, asked)) == nil:
		a.receipt, a.jws = r, jws
	case r.Req.Base != base:
		a.earlier, a.jws = r, jws
	}
	return a, met, nil
}

// askFate asks a peer what became of a call: the key is closed if it was never used, so
// that what did not happen does not happen later.
func (s *Sidecar) askFate(ctx context.Context, c *undo.Thing) undo.Fate {
	key, err := s.book.Unseal("key of a call", c.Key)
	if err != nil {
		s.log.Error("the key of a call cannot be read", "trace_id", c.TraceID, "error", err)
		return undo.Fate{}
	}
	body, err := json.Marshal(closeRequest{key})
	if err != nil {
		return undo.Fate{}
	}
	a, _, err := s.askAbout(ctx, c, "/transactions/close", "close:"+string(mintTrace()), key, body)
	if err != nil || a.status != http.StatusOK {
		return undo.Fate{}
	}
	r := a.receipt
	if r == nil {
		// The receipt of the call itself, or of an earlier question about it.
		if r = a.earlier; r == nil || !s.provesAttempt(c, key, r) {
			return undo.Fate{}
		}
	}
	s.settleLate(c.Peer, key, r)
	f := undo.Fate{State: stateOf(flight.Outcome(r.Outcome)), Remote: r.Tx, Receipt: r.JTI, JWS: a.jws}
	if err := r.CheckUndo(assessed(c), c.History[0].At.Unix()); err != nil {
		// What was assessed stays what holds: it is undone on those terms, or a person is asked.
		s.log.Warn("a receipt that a peer gave late breaks the terms of the call", "peer", c.Peer, "trace_id", c.TraceID, "error", err)
		f.Breach = true
	} else if r.Undo != nil {
		f.Level, f.MaxFee, f.Currency = string(r.Undo.Level), r.Undo.MaxFee.Amount(), r.Undo.MaxFee.Currency()
		f.Until = untilOf(r.Undo)
	}
	return f
}

// aboutAside is what the receipt of a request about a call must say: it was sent under
// no manifest and no agreement.
func (s *Sidecar) aboutAside(r *iatp.Receipt, base iatp.Digest, a *said, asked time.Time) iatp.ReceiptWant {
	return iatp.ReceiptWant{
		Iss: r.Iss, Aud: r.Aud, Key: r.Req.Key, Bases: []iatp.Digest{base}, // who and what is compared by who asked
		Status: a.status, Digest: iatp.DigestOf(a.body), Type: a.header.Get("Content-Type"), From: asked, To: s.now(),
	}
}

// provesAttempt reports whether a receipt is of a request that we have sent for a call,
// and of a time after that.
func (s *Sidecar) provesAttempt(c *undo.Thing, key string, r *iatp.Receipt) bool {
	sent, ok := s.sentAt(c, key, r.Req.Base)
	w := iatp.ReceiptWant{
		Iss: r.Iss, Aud: r.Aud, Key: r.Req.Key, Bases: []iatp.Digest{r.Req.Base}, Status: r.Res.Status, Digest: r.Res.Digest, Type: r.Res.Type,
		Mft: r.Mft, Agr: r.Agr, From: sent, To: s.now(),
	}
	if !ok || r.Check(w) != nil {
		s.log.Warn("a receipt that a peer gave late is of no request of ours", "peer", c.Peer, "trace_id", c.TraceID)
		return false
	}
	return true
}

// sentAt is when the request with that base was sent: for the call, or for an earlier one
// with the caller's key.
func (s *Sidecar) sentAt(c *undo.Thing, key string, base iatp.Digest) (time.Time, bool) {
	if one, ok := s.mesh.sent.find(s.book.Alias("attempt", c.Peer, key).String(), base); ok {
		return one.at, true
	}
	lines, err := s.book.Trace(c.TraceID)
	if err != nil {
		return time.Time{}, false
	}
	for _, line := range lines {
		if _, one, ok := readSent(line); ok && one.base == base {
			return one.at, true
		}
	}
	return time.Time{}, false
}

// assessed are the terms about an undo that a call was made on.
func assessed(c *undo.Thing) iatp.Terms {
	t := iatp.Terms{Reversibility: iatp.ReversibilityLevel(c.Level), UndoWindowSeconds: c.Window}
	t.MaxFee, _ = iatp.ParseMoney(c.MaxFee, c.Currency) // zero if none was named
	return t
}

// undoAtPeer asks a peer to undo a call of ours.
func (s *Sidecar) undoAtPeer(ctx context.Context, c *undo.Thing) undo.Result {
	// The same bytes each time, as far as the book knows them.
	body, err := json.Marshal(api.UndoRequest{Reason: reasonFor(c), Timestamp: c.Began.UTC().Format(time.RFC3339)})
	if err != nil {
		return undo.Result{}
	}
	key := "undo:" + c.Remote
	a, _, err := s.askAbout(ctx, c, "/compensate/"+c.Remote, key, key, body)
	if err != nil {
		return undo.Result{Code: "peer_does_not_answer"}
	}
	r := readPeerUndo(a, c)
	for i, l := range r.Chain {
		r.Chain[i] = undo.Link{AgentID: s.scrub(l.AgentID), ID: s.scrub(l.ID), Method: s.scrub(l.Method), Status: undo.State(s.scrub(string(l.Status)))}
	}
	return r
}

func reasonFor(c *undo.Thing) string {
	if c.Reason != "" {
		return c.Reason
	}
	return c.Who
}

// readPeerUndo takes a peer's answer for what it proves. An undo is believed with its
// receipt only; a refusal needs none, as a person will look at it.
func readPeerUndo(a *said, c *undo.Thing) undo.Result {
	switch a.status {
	case http.StatusOK:
	case http.StatusAccepted:
		return undo.Result{After: retryAfter(a.header)}
	case http.StatusNotFound:
		return undo.Result{Verdict: undo.Refused, Code: "peer_does_not_know_it"}
	case http.StatusConflict:
		if code := slugOf(a.body, ""); code != "" {
			return undo.Result{Verdict: undo.Refused, Code: code}
		}
		// Such as nonce-reused: our request came twice, and the answer to the first is lost.
		return undo.Result{After: retryAfter(a.header), Code: "peer_fails"}
	case http.StatusBadGateway:
		if slugOf(a.body, "") == iatp.SlugCompensationFailed {
			return undo.Result{Verdict: undo.Refused, Code: iatp.SlugCompensationFailed}
		}
		return undo.Result{After: retryAfter(a.header), Code: "peer_fails"}
	default:
		return undo.Result{After: retryAfter(a.header), Code: "peer_fails"}
	}
	var reply api.Compensation
	if a.receipt == nil || a.receipt.Tx != c.Remote || json.Unmarshal(a.body, &reply) != nil {
		return undo.Result{Code: "peer_proves_nothing"}
	}
	r := undo.Result{Verdict: undo.Done, State: stateOf(flight.Outcome(a.receipt.Outcome)), Receipt: a.receipt.JTI, JWS: a.jws, Chain: chainOf(&reply)}
	switch r.State {
	case undo.Failed:
		r.Verdict = undo.Never
	case undo.Compensated, undo.Partially:
	default:
		return undo.Result{Code: "peer_proves_nothing"}
	}
	fee := a.receipt.Cost
	r.Fee, r.Currency = fee.Amount(), fee.Currency()
	if back, err := iatp.ParseMoney(reply.AmountReturned, reply.Currency); err == nil {
		r.Returned, r.Currency = back.Amount(), back.Currency()
	}
	if aboveMax(c, fee) {
		r.Breach, r.Code = true, feeBreach
	}
	return r
}

// maxChain bounds the links that a peer's answer may have.
const maxChain = 64

// chainOf is what a peer says that it undid, as far as it can be shown.
func chainOf(reply *api.Compensation) []undo.Link {
	word := func(text string, most int) string { return iatp.Printable(clip(text, most)) }
	var chain []undo.Link
	for _, l := range reply.Chain[:min(len(reply.Chain), maxChain)] {
		chain = append(chain, undo.Link{
			AgentID: word(l.AgentID, 64), ID: word(l.TransactionID, 64), Method: word(l.Method, 64), Status: undo.State(word(l.Status, 32)),
		})
	}
	return chain
}

// retryAfter reads the pause that a peer asks for, in seconds, within bounds.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(min(n, 60)) * time.Second
}

// slugOf is the kind of a problem; otherwise, if it is none that we know.
func slugOf(body []byte, otherwise string) string {
	var p struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(body, &p) != nil {
		return otherwise
	}
	for _, slug := range []string{iatp.SlugUndoWindowExpired, iatp.SlugUndoConflict, iatp.SlugNotReversible, iatp.SlugCompensationFailed} {
		if p.Type == iatp.BaseURI+"problems/"+slug {
			return slug
		}
	}
	return otherwise
}
