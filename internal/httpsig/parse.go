package httpsig

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// A Pending is a request whose head keeps the profile and whose signature has not
// been verified: nothing in it is to be believed.
type Pending struct {
	KeyID   string // thumbprint of the key that is said to have signed
	Created time.Time
	Expires time.Time
	Fields

	method    string
	nonce     string
	names     []string // covered fields, in order
	values    []string // their values
	base      []byte
	signature []byte
}

// A Verified is a request that was signed with a certain key.
type Verified struct {
	KeyID   string
	Nonce   string // who has seen it with this KeyID before Expires has seen this request
	Created time.Time
	Expires time.Time
	Fields

	Base          iatp.Digest // of SignatureBase: names the request in its receipt
	SignatureBase []byte      // RFC 9421, section 2.5
	Signature     []byte
	Covered       []string // names of the covered fields, in lower case

	method string
	values []string
}

// Parse checks everything about a signed request that needs no key: that our
// signature is there once and in its one spelling; that it covers what it has to
// and nothing that is not there or may change on the way; that the fields of the
// protocol are well-formed; and that its time has come and is not over at now,
// give or take skew. An unsafe request must have a Content-Digest and an
// Idempotency-Key.
//
// The problem is 400 bad-signature, uncovered-header, digest-mismatch or
// invalid-request, 403 signature-required or 428 idempotency-key-required.
func Parse(m *Message, now time.Time, skew time.Duration) (*Pending, *iatp.Problem) {
	text, problem := ours(m, iatp.HeaderSignatureInput)
	if problem != nil {
		return nil, problem
	}
	encoded, problem := ours(m, iatp.HeaderSignature)
	if problem != nil {
		return nil, problem
	}
	signature, ok := parseSignature(encoded)
	if !ok {
		return nil, badSignature("Signature: %s must be canonical base64 between two colons", Label)
	}
	in, ok := parseInput(text)
	if !ok {
		return nil, badSignature("Signature-Input: %s must be spelled as the profile %s has it, with created, expires, nonce, keyid, alg and tag within their bounds", Label, Tag)
	}
	p, problem := read(m, in, now)
	if problem != nil {
		return nil, problem
	}
	switch {
	case p.Created.After(now.Add(skew)):
		return nil, badSignature("created is in the future; are the clocks right?")
	case !now.Add(-skew).Before(p.Expires):
		return nil, badSignature("the signature has expired; sign again")
	}
	p.signature = signature
	return p, nil
}

// ours returns our member of a signature field. Other signatures may stand beside
// it, but none with our tag.
func ours(m *Message, field string) (string, *iatp.Problem) {
	lines := m.Header[field]
	if len(lines) == 0 {
		return "", &iatp.Problem{Slug: iatp.SlugSignatureRequired, Status: http.StatusForbidden, Blocked: true,
			Error: "the request is not signed", Hint: `sign it as RFC 9421 and the profile ` + Tag + ` say`}
	}
	if len(lines) > 1 || len(lines[0]) > MaxInput {
		return "", badSignature("%s must be one line of at most %d bytes", field, MaxInput)
	}
	members, ok := dictionary(lines[0])
	if !ok {
		return "", badSignature("%s must be a structured dictionary without repeated keys", field)
	}
	var text string
	for _, d := range members {
		switch {
		case d.key == Label:
			text = d.text
		case d.tag == Tag:
			return "", badSignature("%s: the tag %s is for the label %s only", field, Tag, Label)
		}
	}
	if text == "" {
		return "", badSignature("%s has no member %s", field, Label)
	}
	return text, nil
}

// read holds the head of a request to what its signature covers.
func read(m *Message, in input, now time.Time) (*Pending, *iatp.Problem) {
	p := &Pending{
		KeyID: in.keyID, nonce: in.nonce, method: m.Method,
		Created: time.Unix(in.created, 0).UTC(), Expires: time.Unix(in.expires, 0).UTC(),
	}
	if !isToken(m.Method) || m.Method == http.MethodConnect || !validTarget(m.TargetURI) {
		return nil, badSignature("method or target cannot be signed")
	}
	if len(in.components) < 2 || in.components[0] != componentMethod || in.components[1] != componentTarget {
		return nil, badSignature("the signature must cover @method and @target-uri first")
	}
	if problem := p.cover(m, in.components[2:]); problem != nil {
		return nil, problem
	}
	if problem := p.collect(m); problem != nil {
		return nil, problem
	}
	if problem := p.readFields(now); problem != nil {
		return nil, problem
	}
	p.base = p.build(m, in)
	return p, nil
}

// cover checks which fields are covered, and in which order.
func (p *Pending) cover(m *Message, components []string) *iatp.Problem {
	for name := range m.Header {
		if !isToken(name) || strings.Contains(name, "_") || textproto.CanonicalMIMEHeaderKey(name) != name {
			return refuse(iatp.SlugInvalidRequest, "field name %s is refused: some would read it as another one", quote(name))
		}
	}
	for i, name := range fixed {
		if len(m.Header[fixedKeys[i]]) > 0 && !slices.Contains(components, fixedComponents[i]) {
			return refuse(iatp.SlugUncoveredHeader, "the signature does not cover %s", name)
		}
	}
	nominated := m.nominated()
	p.names = make([]string, 0, len(components))
	last, rank := "", -1
	for _, c := range components {
		name, ok := fieldName(c)
		if !ok || hop[name] || nominated[name] {
			return badSignature("the signature must not cover %s", quote(c))
		}
		at := place(name)
		if at < 0 {
			at = len(fixed)
		}
		if at < rank || at == rank && name <= last {
			return badSignature("the signature covers %s out of order", quote(c))
		}
		last, rank = name, at
		p.names = append(p.names, name)
	}
	return nil
}

// fieldName is the field that a component names.
func fieldName(c string) (string, bool) {
	if c == componentAgent {
		return fieldAgent, true
	}
	name, ok := strings.CutPrefix(c, `"`)
	name, closed := strings.CutSuffix(name, `"`)
	return name, ok && closed && name != fieldAgent && isToken(name) && name == strings.ToLower(name) && !strings.Contains(name, "_")
}

// collect takes the values of the covered fields.
func (p *Pending) collect(m *Message) *iatp.Problem {
	p.values = make([]string, 0, len(p.names))
	for _, name := range p.names {
		lines := m.lines(name)
		if len(lines) != 1 {
			return badSignature("the signature covers %s, which must be there in one line, not %d", name, len(lines))
		}
		value := strings.Trim(lines[0], " \t")
		if !validValue(value) {
			return badSignature("the value of %s must be printable ASCII", name)
		}
		p.values = append(p.values, value)
	}
	return nil
}

// validValue reports whether a value can be signed.
func validValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c > '~' {
			return false
		}
	}
	return true
}

// build returns the signature base (RFC 9421, section 2.5).
func (p *Pending) build(m *Message, in input) []byte {
	size := len(componentMethod) + len(m.Method) + len(componentTarget) + len(m.TargetURI) + len(in.text) + 64
	for i, value := range p.values {
		size += len(in.components[i+2]) + len(value) + 3
	}
	base := make([]byte, 0, size)
	base = append(append(base, componentMethod+": "...), m.Method...)
	base = append(append(base, "\n"+componentTarget+": "...), m.TargetURI...)
	base = append(base, '\n')
	for i, name := range p.names {
		value := p.values[i]
		if name == fieldAgent {
			value = `"` + p.Agent + `"` // the value of the one member that is covered
		}
		base = append(append(base, in.components[i+2]...), ": "...)
		base = append(append(base, value...), '\n')
	}
	return append(append(base, `"@signature-params": `...), in.text...)
}

// Verify checks the signature under key, whose thumbprint KeyID must be.
func (p *Pending) Verify(key iatp.Key) (*Verified, *iatp.Problem) {
	if key.Thumbprint() != p.KeyID {
		return nil, badSignature("the key is not the one that keyid names")
	}
	if !key.Verify(p.base, p.signature) {
		return nil, badSignature("the signature does not verify: the request was changed, is for another origin, or was signed with another key")
	}
	return &Verified{
		KeyID: p.KeyID, Nonce: p.nonce, Created: p.Created, Expires: p.Expires, Fields: p.Fields,
		Base: sha256.Sum256(p.base), SignatureBase: p.base, Signature: p.signature,
		Covered: p.names, method: p.method, values: p.values,
	}, nil
}

// CheckBody compares the digest of the body, as it came after the transfer coding
// and before any content coding was taken off, with the one that was signed.
// Without a signed one the body must be empty.
func (v *Verified) CheckBody(body iatp.Digest) *iatp.Problem {
	want := v.ContentDigest
	if want.IsZero() {
		want = iatp.DigestOf(nil)
	}
	if body != want {
		return refuse(iatp.SlugDigestMismatch, "the body is not the one whose Content-Digest was signed")
	}
	return nil
}

// Head returns the head for the agent behind the sidecar: the covered fields, each
// in one line, without Signature-Agent, which is for sidecars.
func (v *Verified) Head() http.Header {
	head := make(http.Header, len(v.Covered))
	for i, name := range v.Covered {
		if name != fieldAgent {
			head[headerKey(name)] = v.values[i : i+1 : i+1]
		}
	}
	return head
}

// Field returns the line of a covered field, as Head has it; none if it is not covered.
func (v *Verified) Field(name string) []string {
	for i, covered := range v.Covered {
		if len(covered) == len(name) && strings.EqualFold(covered, name) && covered != fieldAgent {
			return v.values[i : i+1 : i+1]
		}
	}
	return nil
}

// Fingerprint is the same for two requests that differ in nothing but who signed
// them when, deadline, trace, and the manifest and agreement that they were made
// on: a caller that tries again may have another one of each by then, and asks for
// the same thing. It is a plain digest of what was sent; key it before it is stored.
func (v *Verified) Fingerprint() iatp.Digest {
	line := bytes.IndexByte(v.SignatureBase, '\n') + 1                            // the method
	line += bytes.IndexByte(v.SignatureBase[line:], '\n') + 1                     // the target
	text := append(make([]byte, 0, len(v.SignatureBase)), "iatp-request-v1\n"...) // what is longer than there is left out below
	text = append(text, v.SignatureBase[:line]...)
	for i, name := range v.Covered {
		switch name {
		case "iatp-deadline", "x-agent-trace-id", "traceparent", "tracestate", "iatp-manifest", "iatp-agreement", fieldAgent:
		default:
			text = append(append(append(append(text, name...), ": "...), v.values[i]...), '\n')
		}
	}
	return iatp.DigestOf(text)
}
