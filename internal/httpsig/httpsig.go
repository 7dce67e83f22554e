// Package httpsig signs and verifies the requests between sidecars: the profile
// "iatp-v1" of HTTP Message Signatures (RFC 9421).
//
// The profile leaves no choice. One signature, labelled iatp, covers the method,
// the target URI and every end-to-end field that is sent: first the protocol's own
// in a fixed order, then all others in ascending order. Whatever it covers stands
// in one line, in one spelling. So there is one text that a signature is of, and
// what reaches the agent behind it is what was signed:
//
//	p, problem := httpsig.Parse(m, now, skew)  // syntax, coverage, clock: no crypto
//	key := ...                                 // look up p.KeyID and p.Agent
//	v, problem := p.Verify(key)
//	problem = v.CheckBody(iatp.DigestOf(body))
//	head := v.Head()                           // covered fields only
//
// A receiver computes the target URI from its own configuration, never from what
// the request says, so that a request for somebody else does not verify: see Target.
//
// Requests sent twice are not noticed here. Whoever verifies remembers the nonce.
package httpsig

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// Words of the profile.
const (
	Tag   = "iatp-v1"
	Label = "iatp"
)

// Bounds of the profile.
const (
	MaxLife       = 120 * time.Second // from created to expires
	MinNonce      = 22                // characters of base64url: 128 bits
	MaxNonce      = 64
	MaxComponents = 100
	MaxInput      = 8 << 10 // bytes of a Signature-Input or Signature field
	MaxSignatures = 8       // members of such a field
	MaxTarget     = 8 << 10 // bytes of a target URI
)

// A Message is the head of a request.
type Message struct {
	Method    string
	TargetURI string // the receiver's public origin and the raw request target: see Target
	Header    http.Header
}

const (
	componentMethod = `"@method"`
	componentTarget = `"@target-uri"`
	componentAgent  = `"signature-agent";key="` + Label + `"`

	fieldAgent = "signature-agent"
)

// fixed are the fields that the profile knows, in their order. Each is covered if
// and only if the request has it.
var fixed = [...]string{
	"content-type", "content-digest", "idempotency-key", "x-agent-trace-id", "traceparent",
	"iatp-agreement", "iatp-manifest", "iatp-budget", "iatp-deadline", "iatp-grant", "iatp-facts",
	"mcp-protocol-version", "mcp-method", "mcp-name", "a2a-version", "a2a-extensions",
	fieldAgent,
}

// place is a field's index in fixed; -1 if it is not there.
func place(name string) int { return slices.Index(fixed[:], name) }

// fixedKeys are the fixed fields as http.Header spells them, and fixedComponents
// as a signature does.
var fixedKeys, fixedComponents = func() (keys, components [len(fixed)]string) {
	for i, name := range fixed {
		keys[i], components[i] = textproto.CanonicalMIMEHeaderKey(name), component(name)
	}
	return keys, components
}()

// hop are the fields that are not covered: they belong to one connection (RFC 9110,
// section 7.6.1), or are derived from what is covered, or are the signature.
var hop = map[string]bool{
	"connection": true, "keep-alive": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
	"proxy-connection": true, "proxy-authenticate": true, "proxy-authorization": true, "proxy-authentication-info": true,
	"expect": true, "host": true, "content-length": true, "signature": true, "signature-input": true,
}

// component is how a field is named in a signature.
func component(name string) string {
	if name == fieldAgent {
		return componentAgent
	}
	return `"` + name + `"`
}

// lines are the values of the field of that lower-case name.
func (m *Message) lines(name string) []string {
	return m.Header[headerKey(name)]
}

// headerKey is the key in http.Header of a lower-case name.
func headerKey(name string) string {
	if i := place(name); i >= 0 {
		return fixedKeys[i]
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// lowerCase is the lower-case name of a key in http.Header.
func lowerCase(key string) string {
	if i := slices.Index(fixedKeys[:], key); i >= 0 {
		return fixed[i]
	}
	return strings.ToLower(key)
}

// nominated are the names that Connection lists, in lower case.
func (m *Message) nominated() map[string]bool {
	var names map[string]bool
	for _, line := range m.Header["Connection"] {
		if names == nil {
			names = map[string]bool{}
		}
		for name := range strings.SplitSeq(line, ",") {
			names[strings.ToLower(strings.Trim(name, " \t"))] = true
		}
	}
	return names
}

// safe reports whether a request of that method asks for no effect (RFC 9110,
// section 9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// refuse makes the problem of a request that breaks the profile.
func refuse(slug, format string, args ...any) *iatp.Problem {
	return &iatp.Problem{Slug: slug, Status: http.StatusBadRequest, Error: fmt.Sprintf(format, args...)}
}

func badSignature(format string, args ...any) *iatp.Problem {
	return refuse(iatp.SlugBadSignature, format, args...)
}

// quote shows a little of what somebody else wrote.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		s = s[:most] + "…"
	}
	return `"` + iatp.Printable(s) + `"`
}
