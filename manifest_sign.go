package iatp

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

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

// manifestType is the "typ" of the protected header of a manifest's signature.
const manifestType = "iatp-manifest+jws"

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
	if err != nil {
		return Key{}, err
	}
	if h.alg != "EdDSA" && h.alg != "Ed25519" {
		return Key{}, nil
	}
	if h.typ != manifestType {
		return Key{}, fmt.Errorf("typ must be %q, got %s", manifestType, snippet(h.typ))
	}
	sig, ok := decodeBase64URL(s.Signature)
	if !ok {
		return Key{}, errors.New("signature is not canonical base64url")
	}
	i := slices.IndexFunc(keys, func(k Key) bool { return k.valid && k.Thumbprint() == h.kid })
	if i < 0 {
		return Key{}, fmt.Errorf("no known key has the kid %s", snippet(h.kid))
	}
	// RFC 7515, section 5.1: BASE64URL(header) "." BASE64URL(payload).
	input := append([]byte(s.Protected), '.')
	input = base64.RawURLEncoding.AppendEncode(input, payload)
	if !keys[i].Verify(input, sig) {
		return Key{}, errors.New("does not verify: the document was changed after it was signed, or signed with another key")
	}
	return keys[i], nil
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
