package httpsig

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// A Signer signs requests.
type Signer struct {
	Key   iatp.PrivateKey
	Agent string // our public origin, for Signature-Agent; "" if the receiver knows the key
}

// Sign signs a request and returns the SHA-256 of its signature base, which will
// name it in its receipt. It sets Signature-Agent, Signature-Input and Signature,
// and brings every other end-to-end field of m.Header into one line. Header is then
// to be sent as it is: fields that are added later do not reach the agent.
//
// Times count in whole seconds. The nonce is 22 to 64 characters of base64url and
// must never be used again with this key. The error says what receivers would not
// accept.
func (s Signer) Sign(m *Message, created, expires time.Time, nonce string) (base iatp.Digest, err error) {
	if s.Agent != "" {
		m.Header[iatp.HeaderSignatureAgent] = []string{Label + `="` + s.Agent + `"`}
	} else {
		delete(m.Header, iatp.HeaderSignatureAgent)
	}
	components, err := unite(m)
	if err != nil {
		return base, fmt.Errorf("sign request: %w", err)
	}
	in := input{components: components, created: created.Unix(), expires: expires.Unix(), nonce: nonce, keyID: s.Key.Thumbprint()}
	in.text = in.spell()
	if !in.valid() {
		return base, fmt.Errorf("sign request: key, nonce, times or number of fields are out of bounds")
	}
	p, problem := read(m, in, created)
	if problem != nil {
		return base, fmt.Errorf("sign request: %s", problem.Error)
	}
	m.Header[iatp.HeaderSignatureInput] = []string{Label + "=" + in.text}
	m.Header[iatp.HeaderSignature] = []string{Label + "=" + formatSignature(s.Key.Sign(p.base))}
	return iatp.DigestOf(p.base), nil
}

// unite brings each field into one line and returns the components to cover.
func unite(m *Message) ([]string, error) {
	nominated := m.nominated()
	components := append(make([]string, 0, 2+len(m.Header)), componentMethod, componentTarget)
	var others []string
	for key, lines := range m.Header {
		name := lowerCase(key)
		switch {
		case len(lines) == 0:
			delete(m.Header, key)
		case hop[name]:
		case nominated[name]:
			return nil, fmt.Errorf("field %s is to be sent, but Connection names it", quote(key))
		default:
			if len(lines) > 1 || strings.Trim(lines[0], " \t") != lines[0] {
				m.Header[key] = []string{join(name, lines)}
			}
			if place(name) < 0 {
				others = append(others, name)
			}
		}
	}
	for i, key := range fixedKeys {
		if len(m.Header[key]) > 0 {
			components = append(components, fixedComponents[i])
		}
	}
	slices.Sort(others)
	for _, name := range others {
		components = append(components, component(name))
	}
	return components, nil
}

// join makes one value of several lines (RFC 9110, section 5.3; RFC 9113, section
// 8.2.3 for Cookie).
func join(name string, lines []string) string {
	separator := ", "
	if name == "cookie" {
		separator = "; "
	}
	trimmed := make([]string, len(lines))
	for i, line := range lines {
		trimmed[i] = strings.Trim(line, " \t")
	}
	return strings.Join(trimmed, separator)
}
