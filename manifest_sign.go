package iatp

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// errNotParsed is for a Manifest that somebody composed instead of parsing it.
var errNotParsed = errors.New("manifest was not read by ParseManifest or ParseOperatorManifest")

// Digest names the document independently of its signatures and of white space
// and order: SHA-256 over the RFC 8785 form of what was read, without
// "signatures", spelled as "sha-256=:<base64>:". Unknown members count.
//
// The error is for a Manifest that did not come from a parser.
func (m *Manifest) Digest() (string, error) {
	if m.canonical == nil {
		return "", errNotParsed
	}
	sum := sha256.Sum256(m.canonical)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":", nil
}

// VerificationKey returns the key of the agent. ok is false if the document names
// none, or has in its place a text that is not a key.
func (m *Manifest) VerificationKey() (key Key, ok bool) {
	key, err := ParseKey(m.Identity.VerificationKey)
	return key, err == nil
}

// VerifySignature checks the signatures of the document and returns the keys that
// made them, that of identity.verification_key first.
//
// No keys and no error mean that the document is unsigned. An error means that it
// has signatures that must not be believed; that is worse than none, and the
// document must be refused. Every signature with a known algorithm has to verify
// under verification_key or one of the directory keys, and one of them has to be
// by verification_key. Signatures with other algorithms are skipped.
//
// What the keys are worth is not decided here: a key found only in the document
// that it signs proves nothing about the author.
func (m *Manifest) VerifySignature(directory ...Key) (signers []Key, err error) {
	if len(m.Signatures) == 0 {
		return nil, nil
	}
	if m.canonical == nil {
		return nil, errNotParsed
	}
	own, ok := m.VerificationKey()
	if !ok {
		return nil, errors.New("manifest is signed, but identity.verification_key is not an ed25519 key")
	}
	keys := append([]Key{own}, directory...)
	for i, s := range m.Signatures {
		signer, err := verifyOne(s, m.canonical, keys)
		if err != nil {
			return nil, fmt.Errorf("signature %d: %w", i+1, err)
		}
		switch {
		case signer == own && !slices.Contains(signers, own):
			signers = slices.Insert(signers, 0, own)
		case signer.valid && !slices.Contains(signers, signer):
			signers = append(signers, signer)
		}
	}
	if len(signers) == 0 || signers[0] != own {
		return nil, errors.New("no signature is by identity.verification_key")
	}
	return signers, nil
}

// verifyOne returns the key that made the signature, or the zero Key if its
// algorithm is unknown.
func verifyOne(s ManifestSignature, payload []byte, keys []Key) (Key, error) {
	h, err := parseProtected(s.Protected)
	if err != nil || !isEdDSA(h.alg) {
		return Key{}, err
	}
	return verifyPayload(s, h, TypeManifest, payload, func(kid string) (Key, bool) {
		i := slices.IndexFunc(keys, func(k Key) bool { return k.valid && k.Thumbprint() == kid })
		if i < 0 {
			return Key{}, false
		}
		return keys[i], true
	})
}

// VerifyUnder checks the signatures of the document under the keys of its author's
// directory that are valid at that time, and returns the keys that made them, that
// of identity.verification_key first. Every signature with a known algorithm has
// to verify under such a key, and identity.verification_key has to be one of them.
//
// As with VerifySignature, no keys and no error mean that the document is unsigned.
func (m *Manifest) VerifyUnder(directory KeySet, at time.Time) (signers []Key, err error) {
	if len(m.Signatures) == 0 {
		return nil, nil
	}
	own, ok := m.VerificationKey()
	if ok {
		_, ok = directory.Find(own.Thumbprint(), at)
	}
	if !ok {
		return nil, errors.New("identity.verification_key is not a valid key of the directory")
	}
	return m.VerifySignature(directory.ValidAt(at)...)
}

// SignManifest returns the document with the signatures of the keys, in their
// order, in place of those it has; white space between the members is dropped.
// One to four keys sign; one of them must be identity.verification_key. Nothing
// else is completed: updated_at has to be there. What is returned verifies, and
// ParseManifest reads it.
func SignManifest(doc []byte, keys ...PrivateKey) ([]byte, error) {
	if len(keys) == 0 || len(keys) > maxSignatures {
		return nil, fmt.Errorf("sign manifest: 1 to %d keys sign, got %d", maxSignatures, len(keys))
	}
	root, err := parseTree(doc)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	root.take("signatures")
	payload, err := ijson.AppendCanonical(nil, root.appendTo(nil), ijson.Limits{})
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	list := &value{kind: ijson.BeginArray}
	directory := make([]Key, len(keys))
	for i, k := range keys {
		s, err := signPayload(k, TypeManifest, payload)
		if err != nil {
			return nil, fmt.Errorf("sign manifest: %w", err)
		}
		list.items = append(list.items, s.value())
		directory[i] = k.Public()
	}
	if root.kind == ijson.BeginObject {
		root.set("signatures", list)
	}
	signed := root.appendTo(nil)
	m, err := ParseManifest(signed)
	if err == nil {
		_, err = m.VerifySignature(directory...)
	}
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	return signed, nil
}

// value returns the signature as it stands in a document.
func (s ManifestSignature) value() *value {
	v := &value{kind: ijson.BeginObject}
	v.set("protected", &value{kind: ijson.String, raw: `"` + s.Protected + `"`})
	v.set("signature", &value{kind: ijson.String, raw: `"` + s.Signature + `"`})
	return v
}

// A protectedHeader is what counts of a JWS protected header.
type protectedHeader struct{ alg, typ, kid string }

// parseProtected reads a protected header. It refuses the members that change how
// a signature is to be computed or understood. Members that bring a key along
// (jwk, jku, x5c, x5u) are ignored like any other: keys come from elsewhere.
func parseProtected(text string) (protectedHeader, error) {
	raw, ok := decodeBase64URL(text)
	if !ok {
		return protectedHeader{}, errors.New("protected header is not canonical base64url")
	}
	if h, ok := plainProtected(raw); ok {
		return h, nil
	}
	return readProtected(raw)
}

// plainProtected reads a protected header that is spelled as protect does it, which
// every signed call has one of.
func plainProtected(raw []byte) (h protectedHeader, ok bool) {
	const alg, kid, typ = `{"alg":"EdDSA","kid":"`, `","typ":"`, `"}`
	text := string(raw)
	rest, ok1 := strings.CutPrefix(text, alg)
	id, rest, ok2 := strings.Cut(rest, kid)
	name, ok3 := strings.CutSuffix(rest, typ)
	if !ok1 || !ok2 || !ok3 || !unescaped(id) || !unescaped(name) {
		return h, false
	}
	return protectedHeader{alg: "EdDSA", typ: name, kid: id}, true
}

// unescaped reports whether s is its own spelling in a JSON string.
func unescaped(s string) bool { return printable(s) && !strings.ContainsAny(s, `"\\`) }

// readProtected reads every protected header that there can be.
func readProtected(raw []byte) (protectedHeader, error) {
	v, err := parseTree(raw)
	if err != nil {
		return protectedHeader{}, fmt.Errorf("protected header: %w", err)
	}
	if v.kind != ijson.BeginObject {
		return protectedHeader{}, errors.New("protected header must be a JSON object")
	}
	var h protectedHeader
	for _, m := range v.members {
		switch m.name {
		case "crit", "b64":
			return h, fmt.Errorf("protected header must not have %q", m.name)
		case "alg", "typ", "kid":
			if m.kind != ijson.String {
				return h, fmt.Errorf("%s in the protected header must be a string, got %s", m.name, m.describe())
			}
		}
		switch m.name {
		case "alg":
			h.alg = m.text
		case "typ":
			h.typ = m.text
		case "kid":
			h.kid = m.text
		}
	}
	if h.alg == "" {
		return h, errors.New("protected header has no alg")
	}
	return h, nil
}
