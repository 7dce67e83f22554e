package iatp

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// A Key is an Ed25519 public key. Keys are comparable. The zero Key is no key and
// verifies nothing.
type Key struct {
	bytes [ed25519.PublicKeySize]byte
	valid bool
	jkt   string // of bytes: it is asked for many times in a call
}

// keyPrefix begins the text form of a Key.
const keyPrefix = "ed25519:"

// ParseKey reads the text form of a key: "ed25519:" and 43 characters of unpadded
// base64url. Text that decodes to the same bytes but is spelled differently is
// refused, and so are the keys that NewKey refuses.
func ParseKey(s string) (Key, error) {
	text, ok := strings.CutPrefix(s, keyPrefix)
	if !ok {
		return Key{}, errors.New(`key must begin with "ed25519:"`)
	}
	raw, ok := decodeBase64URL(text)
	if !ok || len(raw) != ed25519.PublicKeySize {
		return Key{}, errors.New(`key must be "ed25519:" and 43 characters of unpadded base64url (32 bytes)`)
	}
	return NewKey(raw)
}

// NewKey makes a Key of the 32 bytes of an Ed25519 public key. It refuses points
// of small order, under which one signature fits every message, and encodings
// that are not the canonical one (RFC 8032, section 5.1.3).
func NewKey(public ed25519.PublicKey) (Key, error) {
	if len(public) != ed25519.PublicKeySize {
		return Key{}, errors.New("an Ed25519 key has 32 bytes")
	}
	k := Key{valid: true}
	copy(k.bytes[:], public)
	y := k.bytes
	y[31] &= 0x7f // the sign of x
	if !below(y, fieldPrime) {
		return Key{}, errors.New("key is not in canonical form")
	}
	for _, small := range smallOrder {
		if y == small {
			return Key{}, errors.New("key is a point of small order, under which anybody can sign")
		}
	}
	k.jkt = thumbprintOf(k.bytes[:])
	return k, nil
}

// fieldPrime is 2^255 - 19, least significant byte first.
var fieldPrime = [32]byte{
	0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
}

// smallOrder are the y coordinates of the eight points of small order, as in
// table 6 of "Taming the many EdDSAs" (Chalkias et al., 2020). The sign of x does
// not matter: both points of a pair are of small order.
var smallOrder = [...][32]byte{
	{0: 0x01}, // order 1
	{0: 0x00}, // order 4
	{ // order 2: y = -1
		0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
	},
	{ // order 8
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	},
	{ // order 8
		0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
	},
}

// below reports whether a < b, both least significant byte first.
func below(a, b [32]byte) bool {
	for i := 31; i >= 0; i-- {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// String returns the text form that ParseKey reads; "" for the zero Key.
func (k Key) String() string {
	if !k.valid {
		return ""
	}
	return keyPrefix + base64.RawURLEncoding.EncodeToString(k.bytes[:])
}

// Thumbprint returns the RFC 7638 thumbprint of the key as a JWK, the "jkt" and
// "kid" of the protocol: 43 characters of base64url. It is "" for the zero Key.
func (k Key) Thumbprint() string {
	return k.jkt
}

// thumbprintOf is the RFC 7638 thumbprint of a key as a JWK.
func thumbprintOf(key []byte) string {
	x := base64.RawURLEncoding.EncodeToString(key)
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Verify reports whether signature is the key's Ed25519 signature of message.
func (k Key) Verify(message, signature []byte) bool {
	return k.valid && len(signature) == ed25519.SignatureSize && ed25519.Verify(k.bytes[:], message, signature)
}

// decodeBase64URL decodes unpadded base64url and refuses every spelling but the
// one that encoding gives back: no line breaks, no stray trailing bits.
func decodeBase64URL(s string) ([]byte, bool) {
	raw, err := strictBase64URL.DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") { // which the decoder passes over
		return nil, false
	}
	return raw, true
}

var strictBase64URL = base64.RawURLEncoding.Strict()
