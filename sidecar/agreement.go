package sidecar

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/agreements"
	"github.com/inter-agent-trust/iatp/internal/handshake"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// Values of Peer.Agreement and Ingress.Agreement.
const (
	agreementRequire  = "require"
	agreementOnDemand = "on_demand"
	agreementOff      = "off"
	agreementOptional = "optional"
)

// agreementID is how lines and action digests name an agreement; "" for none.
func agreementID(h *agreements.Held) string {
	if h == nil {
		return ""
	}
	return h.Name()
}

// terms are what the receiver of the call has promised: in the agreement that the
// call is made under, else in the manifest that was assessed.
func (x *exchange) terms() (iatp.Terms, error) {
	if x.agreed != nil {
		return x.agreed.Terms, nil
	}
	return iatp.TermsOf(x.st.manifest)
}

// slaLatency is the promised time to answer, in milliseconds; 0 if there is none.
func (x *exchange) slaLatency() int64 {
	if x.agreed != nil {
		return x.agreed.Terms.SLALatencyMS
	}
	return x.st.manifest.Capabilities.SLALatencyMS
}

// underAgreement holds a call from outside to the agreement that it names. One that
// we do not know, or that has ended, can be made anew by the caller's sidecar; one
// on manifests that have changed has to be weighed anew first.
func (s *Sidecar) underAgreement(x *exchange) *iatp.Problem {
	id := x.signed.Agreement
	if id.IsZero() {
		if s.active.Load().Ingress.Agreement == agreementRequire {
			return agreementRequired("calls are taken here under an agreement only")
		}
		return nil
	}
	h := s.mesh.agreements.ByID(id)
	switch {
	case h == nil || h.Dir != flight.In || h.Initiator.URI != x.caller.URI || h.Initiator.JKT != x.caller.Key.Thumbprint():
		return agreementRequired("the agreement that the call names is not known here as one with this caller and key")
	case h.ValidAt(s.now()) != nil:
		return agreementRequired("the agreement that the call names has ended")
	case h.Responder.Manifest != x.st.mft:
		return termsChanged("the agreement was made on another manifest than the one in force", "fetch the manifest again, assess it again, and agree anew")
	case x.caller.Met != nil && x.caller.Met.Digest != "" && x.caller.Met.Digest != h.Initiator.Manifest.ContentDigest():
		return termsChanged("the agreement was made on another manifest of the caller than the one that it serves", "agree anew on the manifest of now")
	}
	x.agreed = h
	return s.inScope(x)
}

func agreementRequired(why string) *iatp.Problem {
	return &iatp.Problem{Slug: iatp.SlugAgreementRequired, Status: http.StatusPreconditionRequired, Outcome: iatp.OutcomeNone,
		Error: why, Hint: "make one with POST /agreements, and send the request again with its id in IATP-Agreement"}
}

// inScope refuses a task that the agreement is not for: its name, the member "task"
// of the body, must be one of the scopes.
func (s *Sidecar) inScope(x *exchange) *iatp.Problem {
	scopes := x.agreed.Terms.Scopes
	if len(scopes) == 0 {
		return nil
	}
	if task := membersOf(x.body, "task")["task"]; task.kind == ijson.String && slices.Contains(scopes, task.text) {
		return nil
	}
	return &iatp.Problem{Slug: iatp.SlugScope, Status: http.StatusForbidden, Blocked: true, Outcome: iatp.OutcomeNone,
		Error: `the agreement that the call names is for certain scopes, and the member "task" is none of them`, Hint: "agree on this scope too"}
}

// countersign answers a proposal: with the agreement, or with why there is none.
func (s *Sidecar) countersign(x *exchange) *iatp.Problem {
	if p := s.admitCaller(x); p != nil {
		return p
	}
	a, err := iatp.ParseAgreement(x.body)
	if err != nil {
		return badRequest(iatp.SlugInvalidRequest, err.Error())
	}
	ours := iatp.Party{URI: s.mesh.self.url, JKT: x.st.keys.key.Thumbprint(), Manifest: a.Responder.Manifest}
	theirs := iatp.Party{URI: x.caller.URI, JKT: x.caller.Key.Thumbprint(), Manifest: a.Initiator.Manifest}
	if a.Responder != ours || a.Initiator != theirs {
		return badRequest(iatp.SlugInvalidRequest, "the proposal must be from whoever signed the request, to this sidecar, under the keys of both")
	}
	signed, err := a.Verify(x.caller.Key, x.st.keys.key.Public())
	if err != nil {
		return badRequest(iatp.SlugBadSignature, err.Error())
	}
	if signed {
		return badRequest(iatp.SlugInvalidRequest, "a proposal has the signature of its initiator only")
	}
	if err := a.ValidAt(s.now()); err != nil {
		return badRequest(iatp.SlugInvalidRequest, err.Error())
	}
	if p := s.weigh(x, a); p != nil {
		return p
	}
	return s.conclude(x, a)
}

// weigh decides whether we sign: the terms must be those of our manifest, on the
// manifests that both of us serve now.
func (s *Sidecar) weigh(x *exchange, a *iatp.Agreement) *iatp.Problem {
	if a.Responder.Manifest != x.st.mft {
		return termsChanged("the proposal is on another manifest of ours than the one in force", "fetch the manifest again, assess it again, and propose anew")
	}
	digest, p := s.manifestOf(x, a.Initiator.Manifest)
	if p != nil {
		return p
	}
	if digest != a.Initiator.Manifest {
		return termsChanged("the proposal is on another manifest of the caller than the one that it serves", "propose anew on the manifest of now")
	}
	offer, err := offerOf(x.st.manifest)
	if err == nil {
		err = a.Terms.EqualOrSafer(x.st.manifest)
	}
	if err == nil {
		err = a.Terms.OfferedBy(x.st.manifest)
	}
	switch {
	case err != nil:
		return termsRejected(err.Error(), offer)
	case !a.Terms.Budget.IsZero():
		return termsRejected("a budget for all calls together is not agreed on here; name one for each call", offer)
	}
	return nil
}

// offerOf are the terms that we sign: what the manifest promises to everybody, and
// a receipt for every answer.
func offerOf(m *iatp.Manifest) (iatp.Terms, error) {
	terms, err := iatp.TermsOf(m)
	terms.Receipt = true
	return terms, err
}

func termsRejected(why string, offer iatp.Terms) *iatp.Problem {
	return &iatp.Problem{Slug: iatp.SlugTermsRejected, Status: http.StatusConflict, Outcome: iatp.OutcomeNone, Counter: &offer,
		Error: "these terms are not signed here: " + why, Hint: "counter has the terms that are"}
}

// manifestOf is the digest of the manifest that the caller serves, looked up again
// if what we know is not what it says.
func (s *Sidecar) manifestOf(x *exchange, said iatp.Digest) (iatp.Digest, *iatp.Problem) {
	met := x.caller.Met
	if met == nil || met.Digest != said.ContentDigest() {
		if met != nil {
			s.mesh.peers().Stale(x.caller.URI, met.Digest)
		}
		var p *iatp.Problem
		if met, p = s.visitCaller(x); p != nil {
			return iatp.Digest{}, p
		}
	}
	if met.Manifest == nil {
		return iatp.Digest{}, &iatp.Problem{Slug: iatp.SlugManifestUnavailable, Status: http.StatusServiceUnavailable, Outcome: iatp.OutcomeNone, RetryAfter: 5,
			Error: "the manifest of the caller cannot be had, so nothing can be agreed on it", Hint: "a sidecar that proposes agreements has to be reachable at its public_url"}
	}
	digest, err := iatp.ParseContentDigest(met.Digest)
	if err != nil {
		return digest, s.logUnavailable(err) // handshake computed it
	}
	return digest, nil
}

// visitCaller finds out what the caller serves now: a peer of the configuration, or a
// stranger that still signs with the same key.
func (s *Sidecar) visitCaller(x *exchange) (*handshake.Met, *iatp.Problem) {
	if x.caller.Name != "" {
		return s.mesh.peers().Meet(x.r.Context(), x.caller.Name)
	}
	again, p := s.mesh.peers().Caller(x.r.Context(), x.caller.Key.Thumbprint(), x.caller.URI)
	if p != nil {
		return nil, p
	}
	return again.Met, nil
}

// conclude puts the second signature on a proposal that we accept. The same proposal gets
// the same agreement.
func (s *Sidecar) conclude(x *exchange, a *iatp.Agreement) *iatp.Problem {
	h, status, p := s.concluded(x, a)
	if p == nil {
		s.writeAgreement(x, status, h) // however slowly the caller takes it, others can conclude theirs
	}
	return p
}

// concluded puts an agreement into the book before anybody gets it.
func (s *Sidecar) concluded(x *exchange, a *iatp.Agreement) (*agreements.Held, int, *iatp.Problem) {
	s.mesh.signing.Lock()
	defer s.mesh.signing.Unlock()
	if h := s.mesh.agreements.ByID(a.ID()); h != nil {
		return h, http.StatusOK, nil
	}
	stranger := x.caller.Name == ""
	if !s.mesh.agreements.Room(x.caller.URI, stranger) {
		return nil, 0, s.overloaded("no room for another agreement with this caller")
	}
	if err := a.Countersign(x.st.keys.key); err != nil {
		return nil, 0, s.logUnavailable(err)
	}
	h := agreements.Hold(a, flight.In, stranger)
	if err := s.recordAgreement(x, h); err != nil {
		return nil, 0, s.logUnavailable(err)
	}
	return h, http.StatusCreated, nil
}

// recordAgreement makes an agreement durable; with it the nonce of the request that
// proposed it.
func (s *Sidecar) recordAgreement(x *exchange, h *agreements.Held) error {
	e := s.line(x, flight.Agreement)
	if err := agreements.Put(&e, h.Agreement, h.Stranger); err != nil {
		return err
	}
	e.Nonce = x.nonce
	_, err := s.book.Append(&e, flight.Durable)
	return err
}

func (s *Sidecar) writeAgreement(x *exchange, status int, h *agreements.Held) {
	doc, err := json.Marshal(h.Agreement)
	if err != nil {
		panic(err) // it has both signatures
	}
	x.w.Header().Set("Location", "/agreements/"+h.Name())
	s.stamp(x, iatp.FromSidecar)
	writeBytes(x.w, x.r, status, "application/json", doc)
}

// showAgreement shows an agreement to its parties. For everybody else it does not
// exist.
func (s *Sidecar) showAgreement(x *exchange, id string) *iatp.Problem {
	digest, err := iatp.ParseBase64URL(id)
	h := s.mesh.agreements.ByID(digest)
	if err != nil || h == nil || h.Other().URI != x.caller.URI {
		return &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Error: "there is no such agreement with this caller"}
	}
	s.writeAgreement(x, http.StatusOK, h)
	return nil
}
