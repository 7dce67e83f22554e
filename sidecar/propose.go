package sidecar

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/agreements"
)

// proposeTime bounds the making of an agreement.
const proposeTime = 10 * time.Second

// proposals are those under way, one for each peer: calls that need an agreement at
// the same time wait for one.
type proposals struct {
	mu    sync.Mutex
	under map[string]*proposal // by principal
}

// proposal is one under way. What came of it is set before done is closed.
type proposal struct {
	done    chan struct{}
	made    *agreements.Held
	problem *iatp.Problem
}

// agree puts a call to a peer under the agreement that is in force, or under a new
// one if the operator wants no call without.
func (s *Sidecar) agree(x *exchange) *iatp.Problem {
	if x.dir != flight.Out || x.agreed != nil {
		return nil
	}
	if s.active.Load().Peers[x.peer].Agreement != agreementRequire {
		return nil
	}
	return s.agreeAnew(x)
}

// findAgreement is the agreement in force that the call would be made under.
func (s *Sidecar) findAgreement(x *exchange) *agreements.Held {
	if x.dir != flight.Out || s.active.Load().Peers[x.peer].Agreement == agreementOff {
		return nil
	}
	return s.mesh.agreements.Current(s.parties(x))
}

// parties are we and the peer, as an agreement of this moment names us.
func (s *Sidecar) parties(x *exchange) (ours, theirs iatp.Party) {
	return iatp.Party{URI: s.mesh.self.url, JKT: x.own.keys.key.Thumbprint(), Manifest: x.own.mft},
		iatp.Party{URI: x.met.Peer.URI, JKT: x.met.Key.Thumbprint(), Manifest: x.st.mft}
}

// agreeAnew makes an agreement, or waits for the one that is being made with this
// peer.
func (s *Sidecar) agreeAnew(x *exchange) *iatp.Problem {
	d := &s.mesh.proposals
	d.mu.Lock()
	one := d.under[x.met.Peer.URI]
	first := one == nil
	if first {
		if x.agreed = s.findAgreement(x); x.agreed != nil { // the one before us has made it
			d.mu.Unlock()
			return nil
		}
		one = &proposal{done: make(chan struct{})}
		if d.under == nil {
			d.under = make(map[string]*proposal)
		}
		d.under[x.met.Peer.URI] = one
	}
	d.mu.Unlock()
	if first {
		defer func() {
			d.mu.Lock()
			delete(d.under, x.met.Peer.URI)
			d.mu.Unlock()
			close(one.done)
		}()
		one.problem = &iatp.Problem{Slug: "internal", Status: http.StatusInternalServerError, Outcome: iatp.OutcomeNone, Error: "a bug in the sidecar; its log has the details"} // unless propose returns
		one.made, one.problem = s.propose(x)
		return one.take(x)
	}
	select {
	case <-one.done:
	case <-x.r.Context().Done():
		return outOfTime("there was no time left to agree with the peer")
	}
	if x.left(s.now()) {
		return outOfTime("there was no time left to agree with the peer")
	}
	return one.take(x)
}

// take gives a call what came of the proposal. Each call has a problem of its own: what
// is said of one, such as its trace id and its outcome, is not true of another.
func (one *proposal) take(x *exchange) *iatp.Problem {
	x.agreed = one.made
	if one.problem == nil {
		return nil
	}
	p := *one.problem
	return &p
}

// propose offers the peer the terms of its own manifest, signed, and takes nothing
// else back than that very text with its signature.
func (s *Sidecar) propose(x *exchange) (*agreements.Held, *iatp.Problem) {
	ours, theirs := s.parties(x)
	if theirs.Manifest.IsZero() || x.met.Key == (iatp.Key{}) {
		return nil, &iatp.Problem{Slug: iatp.SlugManifestUnavailable, Status: http.StatusServiceUnavailable, Outcome: iatp.OutcomeNone, RetryAfter: 5,
			Error: "an agreement is required with this peer, and it has no signed manifest to agree on"}
	}
	terms, err := offerOf(x.st.manifest)
	if err != nil {
		return nil, &iatp.Problem{Slug: iatp.SlugManifestInvalid, Status: http.StatusBadGateway, Outcome: iatp.OutcomeNone, Error: "the terms of the peer's manifest cannot be agreed on: " + err.Error()}
	}
	var nonce [16]byte
	rand.Read(nonce[:])
	now := s.now().Unix()
	a := &iatp.Agreement{Initiator: ours, Responder: theirs, Terms: terms, Iat: now, Exp: now + int64(iatp.MaxAgreementTime/time.Second), Nonce: base64.RawURLEncoding.EncodeToString(nonce[:])}
	if err := a.Sign(x.own.keys.key); err != nil {
		return nil, s.notProposed(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), proposeTime)
	defer cancel()
	got, p := s.sendProposal(ctx, x, a)
	if p != nil {
		s.recordRejection(x, p)
		return nil, p
	}
	h := agreements.Hold(got, flight.Out, false)
	if err := s.recordAgreement(x, h); err != nil {
		return nil, s.logUnavailable(err)
	}
	return h, nil
}

func (s *Sidecar) notProposed(err error) *iatp.Problem {
	s.log.Error("cannot make an agreement", "error", err)
	return &iatp.Problem{Slug: iatp.SlugUpstreamFailed, Status: http.StatusBadGateway, Outcome: iatp.OutcomeNone, Error: "no agreement could be proposed to the peer; the sidecar's log has the details"}
}

// sendProposal returns the agreement with both signatures.
func (s *Sidecar) sendProposal(ctx context.Context, x *exchange, a *iatp.Agreement) (*iatp.Agreement, *iatp.Problem) {
	doc, err := json.Marshal(a)
	if err != nil {
		return nil, s.notProposed(err)
	}
	resp, _, err := s.sendAside(ctx, x, http.MethodPost, "/agreements", doc, "agree:"+a.Nonce, "")
	if err != nil {
		return nil, &iatp.Problem{Slug: iatp.SlugUpstreamFailed, Status: http.StatusBadGateway, Outcome: iatp.OutcomeNone, Error: "the peer did not answer when an agreement was proposed to it"}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, iatp.MaxStatementSize+1))
	if err != nil || len(body) > iatp.MaxStatementSize {
		return nil, agreementInvalid("its answer broke off, or is too long")
	}
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		return nil, s.rejected(x, resp.StatusCode, body)
	}
	got, err := iatp.ParseAgreement(body)
	if err != nil {
		return nil, agreementInvalid(err.Error())
	}
	if got.ID() != a.ID() {
		return nil, agreementInvalid("it is another text than the one that was proposed")
	}
	signed, err := got.Verify(x.own.keys.key.Public(), x.met.Key)
	if err == nil && !signed {
		err = errors.New("it has not been signed by the peer")
	}
	if err != nil {
		return nil, agreementInvalid(err.Error())
	}
	return got, nil
}

func agreementInvalid(why string) *iatp.Problem {
	return &iatp.Problem{Slug: iatp.SlugAgreementInvalid, Status: http.StatusBadGateway, Blocked: true, Outcome: iatp.OutcomeNone,
		Error: "what the peer sent back is not the agreement that was proposed: " + iatp.Printable(clip(why, 300)), Hint: "nothing was sent but the proposal; ask the operator of the peer"}
}

// rejected is a refusal of a proposal, in our words. Of the peer's, the terms that
// it would accept are passed on, if they are terms.
func (s *Sidecar) rejected(x *exchange, status int, body []byte) *iatp.Problem {
	var said struct {
		Type    string          `json:"type"`
		Counter json.RawMessage `json:"counter"`
	}
	_ = json.Unmarshal(body, &said) // what cannot be read says nothing
	switch slug, _ := strings.CutPrefix(said.Type, iatp.BaseURI+"problems/"); {
	case status == http.StatusConflict && slug == iatp.SlugTermsChanged:
		s.mesh.peers().Stale(x.met.Peer.URI, x.st.digest)
		return termsChanged("the manifest of the peer is not the one that was assessed", "send the request again: it will be assessed on the new one")
	case status == http.StatusConflict && slug == iatp.SlugTermsRejected:
		p := &iatp.Problem{Slug: iatp.SlugTermsRejected, Status: http.StatusConflict, Outcome: iatp.OutcomeNone, Error: "the peer does not sign the terms of its own manifest"}
		if counter, err := iatp.ParseTerms(said.Counter); err == nil {
			p.Counter = &counter
			p.Hint = "counter has the terms that it would sign; they are not those that were assessed"
		}
		return p
	}
	return &iatp.Problem{Slug: iatp.SlugUpstreamFailed, Status: http.StatusBadGateway, Outcome: iatp.OutcomeNone,
		Error: "the peer does not agree: it answered the proposal with " + strconv.Itoa(status)}
}

// recordRejection says in the book that a proposal came to nothing.
func (s *Sidecar) recordRejection(x *exchange, p *iatp.Problem) {
	e := s.line(x, flight.Agreement)
	e.Reason, e.Error, e.Manifest = "not_made", p.Slug, x.st.digest
	if _, err := s.book.Append(&e, flight.Written); err != nil {
		s.logUnavailable(err)
	}
}

// agreementWanted reports an answer that asks for an agreement, or for another one,
// where the operator lets us make one, and closes it. The call it answers was not
// executed if its receipt says so; otherwise its base stays among those that may
// have been.
func (s *Sidecar) agreementWanted(x *exchange, resp *http.Response, body []byte) bool {
	if x.dir != flight.Out || resp.StatusCode != http.StatusPreconditionRequired || body == nil || resp.Header.Get(iatp.HeaderFrom) != iatp.FromSidecar ||
		s.active.Load().Peers[x.peer].Agreement == agreementOff {
		return false
	}
	var said struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(body, &said) != nil || said.Type != iatp.BaseURI+"problems/"+iatp.SlugAgreementRequired {
		return false
	}
	resp.Body.Close()
	if verdict, outcome, _ := s.checkProof(x, resp, resp.Header.Get(iatp.HeaderReceipt), iatp.DigestOf(body)); verdict == proofValid && outcome == flight.OutcomeNone {
		x.bases = x.bases[:len(x.bases)-1]
	}
	if x.agreed != nil {
		e := s.line(x, flight.Agreement)
		agreements.PutDropped(&e, x.agreed.ID())
		if _, err := s.book.Append(&e, flight.Written); err != nil {
			s.logUnavailable(err) // and there is no proposal without a line of its own
		}
		x.agreed = nil
	}
	return true
}

// notAgreed ends a call whose peer wants an agreement that could not be made.
func (s *Sidecar) notAgreed(x *exchange, p *iatp.Problem) *iatp.Problem {
	x.decision = decidedRefused
	if len(x.bases) > 0 { // its sidecar has not proven that nothing was executed
		p.Outcome = string(s.askPeer(x))
	}
	if err := s.recordEnd(x, &ending{status: p.Status, outcome: flight.Outcome(p.Outcome), errCode: strings.ReplaceAll(p.Slug, "-", "_")}); err != nil {
		return s.unrecorded(x, err, p.Outcome)
	}
	return s.about(x, p)
}

// sendAside sends a signed request of ours to the peer, beside the call itself. It
// is in the book, under that alias, before it leaves. A request that is safe has
// neither body nor key.
func (s *Sidecar) sendAside(ctx context.Context, x *exchange, method, path string, body []byte, key, alias string) (*http.Response, iatp.Digest, error) {
	target := x.met.Peer.URI + path
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, iatp.Digest{}, err
	}
	req.Header = http.Header{
		iatp.HeaderTraceID: {string(x.sentTrace)}, iatp.HeaderTraceParent: {x.in.trace.parent.String()},
		"Accept-Encoding": {"identity"}, "User-Agent": {userAgent},
	}
	if method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(iatp.HeaderContentDigest, iatp.DigestOf(body).ContentDigest())
		req.Header.Set(iatp.HeaderIdempotencyKey, iatp.FormatIdempotencyKey(key))
	}
	base, err := s.sign(x, req.Method, target, req.Header)
	if err != nil {
		return nil, base, err
	}
	e := s.line(x, flight.Forward)
	e.Method, e.Path, e.Base, e.Note, e.Agreement = method, path, base, attemptNote(alias), ""
	if _, err := s.book.Append(&e, flight.Durable); err != nil {
		return nil, base, err
	}
	resp, err := x.met.Transport.RoundTrip(req)
	if err != nil {
		return nil, base, errors.New("the peer does not answer")
	}
	return resp, base, nil
}
