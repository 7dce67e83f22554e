package iatp

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// A Digest is a SHA-256. The zero Digest stands for none. Compare digests, never
// their spellings; the protocol has four, and each place has exactly one:
//
//	ContentDigest   sha-256=:<std>:   Content-Digest, and in JSON what names the
//	                                  bytes of a body or a manifest
//	ByteSequence    :<std>:           the fields IATP-Agreement and IATP-Manifest
//	Base64URL       <url>             in JSON and URLs what names an agreement, a
//	                                  signature base or a statement
//	ETag            "<url>"           ETag and If-None-Match
//
// <std> is base64 with padding, <url> is base64url without (RFC 4648), both in
// their one canonical spelling.
type Digest [sha256.Size]byte

// DigestOf returns the SHA-256 of data.
func DigestOf(data []byte) Digest { return sha256.Sum256(data) }

// IsZero reports whether d is the zero Digest, which stands for none.
func (d Digest) IsZero() bool { return d == Digest{} }

// ContentDigest returns the spelling "sha-256=:<std>:" (RFC 9530).
func (d Digest) ContentDigest() string { return "sha-256=" + d.ByteSequence() }

// ByteSequence returns the spelling ":<std>:" (RFC 9651, section 3.3.5).
func (d Digest) ByteSequence() string {
	return ":" + base64.StdEncoding.EncodeToString(d[:]) + ":"
}

// Base64URL returns the spelling "<url>".
func (d Digest) Base64URL() string { return base64.RawURLEncoding.EncodeToString(d[:]) }

// ETag returns the spelling of an entity tag.
func (d Digest) ETag() string { return `"` + d.Base64URL() + `"` }

// String returns the same as Base64URL.
func (d Digest) String() string { return d.Base64URL() }

// ParseContentDigest reads the ContentDigest spelling: one member, and that of
// SHA-256. RFC 9530 allows more; two digests of one body are two things that
// could disagree.
func ParseContentDigest(s string) (Digest, error) {
	rest, ok := strings.CutPrefix(s, "sha-256=")
	if ok {
		if d, err := ParseByteSequence(rest); err == nil {
			return d, nil
		}
	}
	return Digest{}, errors.New(`digest must be "sha-256=:" and 44 characters of base64 and ":", nothing else, got ` + snippet(s))
}

// ParseByteSequence reads the ByteSequence spelling.
func ParseByteSequence(s string) (d Digest, err error) {
	if len(s) == 46 && s[0] == ':' && s[45] == ':' && decodeDigest(&d, base64.StdEncoding, s[1:45]) {
		return d, nil
	}
	return Digest{}, errors.New(`digest must be 44 characters of base64 between two ":", got ` + snippet(s))
}

// ParseBase64URL reads the Base64URL spelling.
func ParseBase64URL(s string) (d Digest, err error) {
	if decodeDigest(&d, base64.RawURLEncoding, s) {
		return d, nil
	}
	return Digest{}, errors.New("digest must be 43 characters of unpadded base64url, got " + snippet(s))
}

// decodeDigest accepts the canonical spelling of 32 bytes only.
func decodeDigest(d *Digest, enc *base64.Encoding, s string) bool {
	if len(s) != enc.EncodedLen(len(d)) {
		return false
	}
	var text, again [44]byte // base64 of 32 bytes, with padding
	var raw [33]byte         // what 44 characters come to without
	n, err := enc.Decode(raw[:], text[:copy(text[:], s)])
	if err != nil || n != len(d) {
		return false
	}
	if enc.Encode(again[:], raw[:n]); string(again[:len(s)]) != s {
		return false
	}
	copy(d[:], raw[:])
	return true
}
