package iatp

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
)

// A PrivateKey is an Ed25519 key that signs. Its text forms, whatever the verb,
// name its public half only. The zero PrivateKey signs nothing: Sign panics.
type PrivateKey struct {
	// secret is behind a function, which package fmt does not look into: where the
	// key is in an unexported field of another structure, Format is not asked.
	secret func() ed25519.PrivateKey
	public Key
}

// GeneratePrivateKey makes a key of 32 bytes read from random, which must be a
// cryptographic source such as crypto/rand.Reader.
func GeneratePrivateKey(random io.Reader) (PrivateKey, error) {
	var seed [ed25519.SeedSize]byte
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return PrivateKey{}, fmt.Errorf("generate key: %w", err)
	}
	return newPrivateKey(ed25519.NewKeyFromSeed(seed[:]))
}

func newPrivateKey(secret ed25519.PrivateKey) (PrivateKey, error) {
	public, err := NewKey(secret.Public().(ed25519.PublicKey))
	if err != nil {
		return PrivateKey{}, err
	}
	return PrivateKey{func() ed25519.PrivateKey { return secret }, public}, nil
}

const pemPrivateKey = "PRIVATE KEY"

// ParsePrivateKey reads one PKCS #8 key in PEM (RFC 8410), as MarshalPEM and
// "openssl genpkey -algorithm ed25519" write it. Errors quote nothing of the text.
func ParsePrivateKey(text []byte) (PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemPrivateKey {
		return PrivateKey{}, errors.New(`private key must be PKCS #8 in PEM, beginning with "-----BEGIN PRIVATE KEY-----"`)
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return PrivateKey{}, errors.New("one private key is wanted, and something stands after it")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	secret, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return PrivateKey{}, errors.New("private key must be an Ed25519 key; iatp keygen makes one")
	}
	return newPrivateKey(secret)
}

// MarshalPEM returns the key as ParsePrivateKey reads it. The text is secret.
func (k PrivateKey) MarshalPEM() ([]byte, error) {
	if !k.public.valid {
		return nil, errNoKey
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.secret())
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: der}), nil
}

var errNoKey = errors.New("no key was given")

// Public returns the key that verifies what k signs.
func (k PrivateKey) Public() Key { return k.public }

// Thumbprint is that of the public key.
func (k PrivateKey) Thumbprint() string { return k.public.Thumbprint() }

// Sign returns the Ed25519 signature (RFC 8032) of message. The caller sees to it
// that no message of one kind can be read as one of another: the protocol's
// signed objects say their type, see SignStatement.
func (k PrivateKey) Sign(message []byte) []byte {
	if !k.public.valid {
		panic("iatp: Sign with the zero PrivateKey")
	}
	return ed25519.Sign(k.secret(), message)
}

// Format writes the thumbprint for every verb, so that no way of printing a
// structure prints the secret.
func (k PrivateKey) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "private key of %q", k.Thumbprint())
}

// MarshalText refuses: a secret does not go into a document by accident.
func (k PrivateKey) MarshalText() ([]byte, error) {
	return nil, errors.New("a private key is not written into a document; use MarshalPEM")
}
