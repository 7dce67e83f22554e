package iatp

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// Types of the protocol's signed objects: the "typ" that each protected header
// has, so that no object passes for one of another kind (RFC 8725, section 3.11).
const (
	TypeManifest    = "iatp-manifest+jws"
	TypeAgreement   = "iatp-agreement+jws"
	TypeReceipt     = "iatp-receipt+jwt"
	TypeEndorsement = "trust-mark+jwt" // OpenID Federation
)

// MaxStatementSize bounds the signed statements that are read, in bytes.
const MaxStatementSize = 16 << 10

// isEdDSA reports whether alg names EdDSA over Ed25519, the only algorithm of
// protocol version 1: by its old name or that of RFC 9864.
func isEdDSA(alg string) bool { return alg == "EdDSA" || alg == "Ed25519" }

// protect returns the protected header of k's signature on an object of that type,
// in base64url.
func protect(k PrivateKey, typ string) string {
	header := ijson.AppendString([]byte(`{"alg":"EdDSA","kid":`), k.Thumbprint())
	header = ijson.AppendString(append(header, `,"typ":`...), typ)
	return base64.RawURLEncoding.EncodeToString(append(header, '}'))
}

// signingInput is that of RFC 7515, section 5.1, with room for a signature behind it.
func signingInput(protected string, payload []byte) []byte {
	const signature = 1 + (ed25519.SignatureSize*8+5)/6
	input := make([]byte, 0, len(protected)+1+base64.RawURLEncoding.EncodedLen(len(payload))+signature)
	input = append(append(input, protected...), '.')
	return base64.RawURLEncoding.AppendEncode(input, payload)
}

// signPayload returns k's signature on an object of that type.
func signPayload(k PrivateKey, typ string, payload []byte) (ManifestSignature, error) {
	if !k.public.valid {
		return ManifestSignature{}, errNoKey
	}
	protected := protect(k, typ)
	signature := k.Sign(signingInput(protected, payload))
	return ManifestSignature{protected, base64.RawURLEncoding.EncodeToString(signature)}, nil
}

// verifyPayload checks one signature of known algorithm on an object of that
// type, and returns the key that find knows under its kid.
func verifyPayload(s ManifestSignature, h protectedHeader, typ string, payload []byte, find func(kid string) (Key, bool)) (Key, error) {
	return verifyInput(signingInput(s.Protected, payload), s.Signature, h, typ, find)
}

// verifyInput is verifyPayload for a signing input that is there.
func verifyInput(input []byte, signature string, h protectedHeader, typ string, find func(kid string) (Key, bool)) (Key, error) {
	if h.typ != typ {
		return Key{}, fmt.Errorf("typ must be %q, got %s", typ, snippet(h.typ))
	}
	sig, ok := decodeBase64URL(signature)
	if !ok {
		return Key{}, errors.New("signature is not canonical base64url")
	}
	key, ok := find(h.kid)
	if !ok || key.Thumbprint() != h.kid {
		return Key{}, fmt.Errorf("no known key has the kid %s", snippet(h.kid))
	}
	if !key.Verify(input, sig) {
		return Key{}, errors.New("does not verify: the document was changed after it was signed, or signed with another key")
	}
	return key, nil
}

// SignStatement signs claims, a JSON object, and returns a JWS in the compact
// form with that typ. The payload is the RFC 8785 form of claims.
func SignStatement(k PrivateKey, typ string, claims []byte) (string, error) {
	if err := parseSigned("statement", MaxStatementSize, claims, func(b *binder, root *value) { b.object(root, nil) }); err != nil {
		return "", err
	}
	payload, err := ijson.AppendCanonical(nil, claims, ijson.Limits{Depth: MaxManifestDepth})
	if err != nil {
		return "", err
	}
	return signCompact(k, typ, payload)
}

// signCompact signs a payload that is known to be good.
func signCompact(k PrivateKey, typ string, payload []byte) (string, error) {
	if !k.public.valid {
		return "", errNoKey
	}
	jws := signingInput(protect(k, typ), payload)
	signature := k.Sign(jws)
	jws = base64.RawURLEncoding.AppendEncode(append(jws, '.'), signature)
	if len(jws) > MaxStatementSize {
		return "", fmt.Errorf("statement has %d bytes, at most %d are read", len(jws), MaxStatementSize)
	}
	return string(jws), nil
}

// VerifyStatement checks a compact JWS of that typ and returns its payload and
// the key that signed it, one that find knows under the thumbprint in kid. The
// text has one spelling only: every part is canonical base64url. The payload is
// an I-JSON object whose numbers are integers.
func VerifyStatement(jws, typ string, find func(kid string) (Key, bool)) (payload []byte, signer Key, err error) {
	payload, signer, err = verifyCompact(jws, typ, find)
	if err == nil {
		err = parseSigned("payload", MaxStatementSize, payload, func(b *binder, root *value) { b.object(root, nil) })
	}
	if err != nil {
		return nil, Key{}, err
	}
	return payload, signer, nil
}

// verifyCompact is VerifyStatement without a look into the payload, for a caller
// that reads it with parseSigned.
func verifyCompact(jws, typ string, find func(kid string) (Key, bool)) (payload []byte, signer Key, err error) {
	if len(jws) > MaxStatementSize {
		return nil, Key{}, fmt.Errorf("statement has %d bytes, at most %d are read", len(jws), MaxStatementSize)
	}
	protected, rest, _ := strings.Cut(jws, ".")
	body, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(signature, ".") {
		return nil, Key{}, errors.New("a statement is three parts of base64url with dots between them")
	}
	payload, ok = decodeBase64URL(body)
	if !ok {
		return nil, Key{}, errors.New("payload is not canonical base64url")
	}
	h, err := parseProtected(protected)
	if err != nil {
		return nil, Key{}, err
	}
	if !isEdDSA(h.alg) {
		return nil, Key{}, fmt.Errorf("alg must be EdDSA, got %s", snippet(h.alg))
	}
	// Each part has one spelling, so the text is what encoding them again would give.
	signer, err = verifyInput([]byte(jws[:len(protected)+1+len(body)]), signature, h, typ, find)
	return payload, signer, err
}

// parseSigned reads a document that is, or is to be, signed: I-JSON whose numbers
// are integers. what names it in errors.
func parseSigned(what string, most int, data []byte, read func(*binder, *value)) error {
	if len(data) > most {
		return fmt.Errorf("%s has %d bytes, at most %d are read", what, len(data), most)
	}
	root, err := parseTree(data)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	b := binder{data: data, signed: true}
	b.numbers(root)
	read(&b, root)
	if b.err != nil {
		return fmt.Errorf("%s: %w", what, b.err)
	}
	return nil
}

// marshalSigned writes claims in the RFC 8785 form.
func marshalSigned(claims any) ([]byte, error) {
	data, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	return ijson.AppendCanonical(nil, data, ijson.Limits{Depth: MaxManifestDepth})
}

// only reads the members of v and refuses those that are not in fields, and the
// absence of those named in required: in a promise, what is not understood cannot
// be weighed.
func (b *binder) only(v *value, fields map[string]field, required ...string) {
	b.object(v, fields)
	for _, m := range v.members {
		if fields[m.name] == nil {
			b.refuse(m.value, "unknown member; this program speaks version %s", ProtocolVersion)
		}
	}
	b.required(v, required...)
}

// required refuses the absence of members.
func (b *binder) required(v *value, names ...string) {
	for _, name := range names {
		if v.kind == ijson.BeginObject && v.get(name) == nil {
			b.refuse(v, "%s is missing", name)
		}
	}
}

// contentDigest and base64Digest read a digest in that spelling; the digest of
// zeros, which stands for none, is refused.
func contentDigest(dst *Digest) field { return digest(dst, ParseContentDigest) }
func base64Digest(dst *Digest) field  { return digest(dst, ParseBase64URL) }

func digest(dst *Digest, parse func(string) (Digest, error)) field {
	return func(b *binder, v *value) {
		d, err := parse(v.text)
		switch {
		case v.kind != ijson.String:
			b.wrongType(v, "a digest in a string")
		case err != nil:
			b.refuse(v, "%v", err)
		case d.IsZero():
			b.refuse(v, "digest must not be all zeros")
		}
		*dst = d
	}
}

// token reads a text of 1 to most printable ASCII characters.
func token(dst *string, most int) field {
	return func(b *binder, v *value) {
		if v.kind != ijson.String || v.text == "" || len(v.text) > most || !printable(v.text) {
			b.wrongType(v, fmt.Sprintf("a string of 1 to %d printable ASCII characters", most))
			return
		}
		*dst = v.text
	}
}
