package iatp

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// KeySetContentType is the media type of a key directory
// (draft-ietf-webbotauth-httpsig-protocol).
const KeySetContentType = "application/http-message-signatures-directory+json"

// MaxKeySetSize and MaxKeySetKeys bound the directories that are read.
const (
	MaxKeySetSize = 64 << 10 // bytes
	MaxKeySetKeys = 16
)

// A KeySet holds the keys of one principal: its directory, a JWK set (RFC 7517).
// It is immutable. The zero KeySet has no keys.
type KeySet struct {
	keys []DirectoryKey
}

// A DirectoryKey is a key and when it may be used. Zero times set no bound.
type DirectoryKey struct {
	Key       Key
	NotBefore time.Time // whole seconds
	Expires   time.Time // whole seconds; the key is not valid at this time any more
}

// ValidAt reports whether the key may be used at that time.
func (k DirectoryKey) ValidAt(at time.Time) bool {
	return k.Key.valid &&
		(k.NotBefore.IsZero() || !at.Before(k.NotBefore)) &&
		(k.Expires.IsZero() || at.Before(k.Expires))
}

// NewKeySet returns the set of those keys. It refuses a zero key, the same key
// twice, and more than MaxKeySetKeys.
func NewKeySet(keys ...DirectoryKey) (KeySet, error) {
	var s KeySet
	for _, k := range keys {
		if err := s.add(k); err != nil {
			return KeySet{}, err
		}
	}
	return s, nil
}

func (s *KeySet) add(k DirectoryKey) error {
	if !k.Key.valid {
		return errNoKey
	}
	if len(s.keys) == MaxKeySetKeys {
		return fmt.Errorf("a key set has at most %d keys", MaxKeySetKeys)
	}
	for _, have := range s.keys {
		if have.Key == k.Key {
			return fmt.Errorf("the key %s is in the set twice", k.Key.Thumbprint())
		}
	}
	s.keys = append(s.keys, k)
	return nil
}

// Keys returns all keys of the set in its order, the expired ones too.
func (s KeySet) Keys() []DirectoryKey { return append([]DirectoryKey(nil), s.keys...) }

// Find returns the key with that thumbprint, if the set has it and it may be used
// at that time.
func (s KeySet) Find(jkt string, at time.Time) (Key, bool) {
	for _, k := range s.keys {
		if k.ValidAt(at) && k.Key.Thumbprint() == jkt {
			return k.Key, true
		}
	}
	return Key{}, false
}

// ValidAt returns the keys that may be used at that time, in the set's order.
func (s KeySet) ValidAt(at time.Time) []Key {
	var valid []Key
	for _, k := range s.keys {
		if k.ValidAt(at) {
			valid = append(valid, k.Key)
		}
	}
	return valid
}

// A jwk is an Ed25519 key as RFC 8037 writes it.
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	KeyID     string `json:"kid"`
	X         string `json:"x"`
	Use       string `json:"use"`
	NotBefore int64  `json:"nbf,omitempty"`
	Expires   int64  `json:"exp,omitempty"`
}

// MarshalJSON returns the document that ParseKeySet reads.
func (s KeySet) MarshalJSON() ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, k := range s.keys {
		j := jwk{Type: "OKP", Curve: "Ed25519", KeyID: k.Key.Thumbprint(), Use: "sig",
			X: base64.RawURLEncoding.EncodeToString(k.Key.bytes[:])}
		if !k.NotBefore.IsZero() {
			j.NotBefore = k.NotBefore.Unix()
		}
		if !k.Expires.IsZero() {
			j.Expires = k.Expires.Unix()
		}
		set.Keys = append(set.Keys, j)
	}
	return json.Marshal(set)
}

// ParseKeySet reads a key directory: a JWK set of at most MaxKeySetSize bytes and
// MaxKeySetKeys members. Keys of another kind, or for another use than signing,
// are left out, as RFC 7517 section 5 has it. An Ed25519 key that is faulty,
// there twice, under a kid that is not its thumbprint, or published with its
// private half is an error.
func ParseKeySet(data []byte) (KeySet, error) {
	var set KeySet
	err := parseSigned("key set", MaxKeySetSize, data, func(b *binder, root *value) {
		b.object(root, map[string]field{"keys": func(b *binder, v *value) {
			b.each(v, MaxKeySetKeys, func(b *binder, v *value) { b.jwk(&set, v) })
		}})
		if root.kind == ijson.BeginObject && root.get("keys") == nil {
			b.refuse(root, "keys is missing")
		}
	})
	if err != nil {
		return KeySet{}, err
	}
	return set, nil
}

// jwk adds the key that v describes, unless it is of another kind.
func (b *binder) jwk(set *KeySet, v *value) {
	var j jwk
	var algorithm string
	j.Use = "sig"
	b.object(v, map[string]field{
		"kty": text(&j.Type), "crv": text(&j.Curve), "kid": text(&j.KeyID), "x": text(&j.X),
		"use": text(&j.Use), "alg": text(&algorithm), "nbf": count(&j.NotBefore), "exp": count(&j.Expires),
	})
	switch {
	case b.err != nil:
	case v.get("d") != nil:
		b.refuse(v, "this is a private key: it is not secret any more, make a new one")
	case j.Type != "OKP" || j.Curve != "Ed25519" || j.Use != "sig" || algorithm != "" && !isEdDSA(algorithm):
	default:
		k, err := j.key()
		if err == nil {
			err = set.add(k)
		}
		if err != nil {
			b.refuse(v, "%v", err)
		}
	}
}

func (j jwk) key() (DirectoryKey, error) {
	k, err := ParseKey(keyPrefix + j.X)
	if err != nil {
		return DirectoryKey{}, err
	}
	if j.KeyID != "" && j.KeyID != k.Thumbprint() {
		return DirectoryKey{}, errors.New("kid must be the thumbprint of the key (RFC 7638): " + k.Thumbprint() + ", got " + snippet(j.KeyID))
	}
	if j.Expires != 0 && j.Expires <= j.NotBefore {
		return DirectoryKey{}, errors.New("exp " + strconv.FormatInt(j.Expires, 10) + " is not after nbf")
	}
	return DirectoryKey{k, timeOf(j.NotBefore), timeOf(j.Expires)}, nil
}

// timeOf reads seconds since 1970, as JWTs count time; 0 is the zero Time.
func timeOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// find returns the key with that thumbprint, whenever it is valid.
func (s KeySet) find(jkt string) (Key, bool) {
	for _, k := range s.keys {
		if k.Key.Thumbprint() == jkt {
			return k.Key, true
		}
	}
	return Key{}, false
}
