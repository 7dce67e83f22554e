package sidecar

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/httpsig"
	"github.com/inter-agent-trust/iatp/internal/upstream"
	"github.com/inter-agent-trust/iatp/policy"
)

// signatureLife is how long a request that we sign may be on its way.
const signatureLife = 60 * time.Second

// agentRequest is the call as the wrapped agent gets it.
func (s *Sidecar) agentRequest(x *exchange) *upstream.Request {
	req := x.kit.newRequest()
	fields := req.Fields
	for _, name := range forwardedHeaders {
		for _, v := range x.in.forward[name] {
			fields = append(fields, upstream.Field{Name: name, Value: v})
		}
	}
	fields = append(fields,
		upstream.Field{Name: iatp.HeaderTraceID, Value: string(x.in.trace.id)},
		upstream.Field{Name: iatp.HeaderTraceParent, Value: x.in.trace.outgoing()},
		upstream.Field{Name: "Accept-Encoding", Value: "identity"},
		upstream.Field{Name: "User-Agent", Value: userAgent},
	)
	if x.dir == flight.In {
		fields = append(fields, upstream.Field{Name: iatp.HeaderTransaction, Value: x.undo.ref.ID()})
	}
	req.Method, req.Target, req.Fields, req.Body = http.MethodPost, s.agentTarget, fields, x.body
	return req
}

const userAgent = "iatp-sidecar"

// peerRequest is the call as the peer's sidecar gets it: signed, with the
// digest of the manifest that was assessed, a deadline and a key. It is in the
// book, with what names its signature, before it leaves (hardening 19).
func (s *Sidecar) peerRequest(c *call, x *exchange) (*upstream.Request, error) {
	h := x.kit.newSigned()
	maps.Copy(h, x.in.forward) // whose values nobody writes to
	values := make([]string, 0, 10)
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1:][:1:1]
	}
	set("Content-Digest", iatp.Digest(x.bodySum).ContentDigest())
	set(iatp.HeaderIdempotencyKey, iatp.FormatIdempotencyKey(x.sentKey))
	set(iatp.HeaderTraceID, string(x.sentTrace))
	set(iatp.HeaderTraceParent, x.in.trace.outgoing())
	set(iatp.HeaderDeadline, iatp.FormatDeadline(c.end.Add(time.Second-1)))
	if x.money != nil {
		set(iatp.HeaderBudget, x.money.Amount.Budget())
	}
	if !x.st.mft.IsZero() {
		set(iatp.HeaderManifest, x.st.mft.ByteSequence())
	}
	if x.agreed != nil {
		set(iatp.HeaderAgreement, x.agreed.ID().ByteSequence())
	}
	set("Accept-Encoding", "identity")
	set("User-Agent", userAgent)
	base, err := s.sign(x, http.MethodPost, x.met.Peer.URI+taskPath, h)
	if err != nil {
		return nil, err
	}
	x.bases = append(x.bases, base)
	e := s.line(x, flight.Forward)
	e.Base, e.Note, e.Attempts, e.Manifest = base, attemptNote(s.attemptAlias(x)), x.attempts, x.st.digest
	if _, err := s.book.Append(&e, flight.Durable); err != nil {
		return nil, fmt.Errorf("record attempt: %w", err)
	}
	req := x.kit.newRequest()
	req.Method, req.Target, req.Body = http.MethodPost, taskPath, x.body
	for name, values := range h { // one of each: they are signed
		req.Fields = append(req.Fields, upstream.Field{Name: name, Value: values[0]})
	}
	return req, nil
}

// taskPath is where a sidecar takes calls.
const taskPath = "/task"

// prepareOut fixes what all attempts at a peer have in common.
func (s *Sidecar) prepareOut(x *exchange) {
	x.sentKey = x.in.idempotencyKey
	if x.sentKey == "" {
		x.sentKey = string(mintTrace())
	}
	x.sentTrace = x.in.trace.id
	if _, ok := x.sentTrace.Bits(); !ok {
		x.sentTrace = x.in.trace.parent.ID() // linked in the record
	}
}

// attemptAlias names the caller's key at the peer; "" if the caller gave none.
func (s *Sidecar) attemptAlias(x *exchange) string {
	if x.in.idempotencyKey == "" {
		return ""
	}
	return s.book.Alias("attempt", x.met.Peer.URI, x.in.idempotencyKey).String()
}

// addPeerHeaders takes the further headers that this peer may have. They are
// scanned like all others, and must be such as can be signed.
func (s *Sidecar) addPeerHeaders(x *exchange) *iatp.Problem {
	for _, name := range x.met.Peer.Headers {
		if values := x.r.Header.Values(name); len(values) > 0 {
			x.in.forward[http.CanonicalHeaderKey(name)] = values
		}
	}
	for name, values := range x.in.forward {
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
				return badRequest("bad-header", name+" must be printable ASCII to be signed")
			}
		}
	}
	return s.scanHead(&x.in)
}

// mintTrace makes an id of some 121 random bits that nobody takes for the number of
// an account: a peer scans the ids that it gets, trace ids as they are and
// idempotency keys in quotes, and one in some ten thousand random ones looks like
// something.
func mintTrace() iatp.TraceID {
	for {
		var b [16]byte
		rand.Read(b[:])
		if id := iatp.NewTraceID(b); !accountLike(string(id)) {
			return id
		}
	}
}

// accountLike reports whether a UUID holds more than six decimal digits in a row,
// past hyphens, as card numbers do, or a group that begins as an IBAN does, with
// two letters and two digits.
func accountLike(id string) bool {
	digits, start := 0, 0
	for i := range len(id) {
		switch c := id[i]; {
		case c == '-':
			start = i + 1
		case c >= '0' && c <= '9':
			if digits++; digits > 6 {
				return true
			}
			if i-start == 3 && id[i-1] <= '9' && id[i-2] > '9' && id[i-3] > '9' {
				return true
			}
		default:
			digits = 0
		}
	}
	return false
}

// peerSays turns answers of a peer's sidecar that are not for our agent into
// problems of ours. What it says of the outcome is worth what was proven of it.
func (s *Sidecar) peerSays(x *exchange, resp *http.Response, outcome flight.Outcome, earlier bool) *iatp.Problem {
	switch {
	case resp.StatusCode == iatp.StatusRetryWith: // neither its question nor a link of it is for our people
		return &iatp.Problem{Slug: iatp.SlugPeerNeedsApproval, Status: http.StatusBadGateway, Outcome: string(outcome), Error: "the peer wants a person of its own to decide first"}
	case resp.Header.Get(iatp.HeaderFrom) != iatp.FromSidecar || resp.StatusCode != http.StatusConflict:
		return nil
	case earlier && outcome == flight.OutcomeNone:
		return &iatp.Problem{Slug: iatp.SlugKeyClosed, Status: http.StatusConflict, Outcome: iatp.OutcomeNone,
			Error: "the peer has proven that nothing was executed with this Idempotency-Key, which was closed"}
	case earlier:
		return &iatp.Problem{Slug: iatp.SlugAnswerNotKept, Status: http.StatusConflict, Outcome: string(outcome),
			Error: "the peer has proven that a call with this Idempotency-Key came to its end before, and did not keep its answer"}
	}
	s.mesh.peers().Stale(x.met.Peer.URI, x.st.digest) // terms-changed: assess it anew next time
	return nil
}

// meetAgain looks at a peer again that says that its manifest was changed since it
// was assessed: it has another key, say. The call goes on, once, if what it was
// allowed for is still so; where a person has released it, or anything that counts
// is different, the caller gets the peer's answer and the next call is judged anew
// (hardening 3). A refusal for changed terms comes before the key is claimed, so
// that the second attempt is the first that can have an effect; if the peer lies
// about that, its sidecar still executes the key once.
func (s *Sidecar) meetAgain(c *call, x *exchange, resp *http.Response, whole []byte) bool {
	if x.dir != flight.Out || x.released != nil || !saysTermsChanged(resp, whole) {
		return false
	}
	s.mesh.peers().Stale(x.met.Peer.URI, x.st.digest)
	met, p := s.mesh.peers().Meet(c.context(), x.peer)
	if p != nil || met.Manifest == nil || met.Digest == x.st.digest || s.kept.Keep(met.Manifest) != nil {
		return false
	}
	own := s.standing.Load()
	st := own.peer(met, s.mesh.logs.seen.Of(met.Peer.URI).Bad())
	verdict := x.decide(st)
	if verdict.Decision != policy.Allow || st.rules != x.st.rules || verdict.Redact != x.verdict.Redact || st.assessment.Score != x.st.assessment.Score || !slices.Equal(verdict.Codes(), x.verdict.Codes()) {
		return false
	}
	resp.Body.Close()
	x.met, x.own, x.st, x.verdict = met, own, st, verdict
	x.agreed = s.findAgreement(x)
	return true
}

// saysTermsChanged reads a refusal of a peer's sidecar.
func saysTermsChanged(resp *http.Response, whole []byte) bool {
	if resp.StatusCode != http.StatusConflict || resp.Header.Get(iatp.HeaderFrom) != iatp.FromSidecar {
		return false
	}
	var p struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(whole, &p) == nil && p.Type == (&iatp.Problem{Slug: iatp.SlugTermsChanged}).Type()
}

// sign signs a request of ours with a fresh nonce; h is then sent as it is.
func (s *Sidecar) sign(x *exchange, method, target string, h http.Header) (iatp.Digest, error) {
	var nonce [16]byte
	rand.Read(nonce[:])
	now := s.now()
	signer := httpsig.Signer{Key: x.own.keys.key, Agent: s.mesh.self.url}
	return signer.Sign(&httpsig.Message{Method: method, TargetURI: target, Header: h}, now, now.Add(signatureLife), base64.RawURLEncoding.EncodeToString(nonce[:]))
}
