package flight

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	iatp "github.com/inter-agent-trust/iatp"
)

// MaxSealed is the longest text that a line holds sealed, in bytes: a receipt, or
// a signed request.
const MaxSealed = 10 << 10

// ErrNotSealed is returned for a line that holds nothing sealed.
var ErrNotSealed = errors.New("the line holds nothing sealed")

// Receipts and signed requests name digests of bodies, so they must not be read
// in a line. They stand there encrypted with AES-256-GCM under
//
//	HMAC(store key, "iatp line seal v1" ‖ r)
//
// which is of this line alone, so the nonce is fixed. Like a commitment it cannot
// be opened any more once the line, and r with it, is gone: see
// doc/decisions/0030-sealed-in-the-line.md.
const lineSealLabel = "iatp line seal v1"

// seal encrypts what e has to hide, into c.sealed.
func (c *encoder) seal(e *Entry, keys *storeKey) error {
	c.sealed = c.sealed[:0]
	text := e.Signed
	if e.Receipt != "" {
		c.plain = append(c.plain[:0], e.Receipt...)
		text = c.plain
	}
	switch {
	case len(text) == 0:
		return nil
	case len(text) > MaxSealed:
		return fmt.Errorf("flight: %d bytes are to be sealed, the limit is %d", len(text), MaxSealed)
	}
	gcm, nonce, err := keys.sealing(&c.mac, c.r)
	if err != nil {
		return err
	}
	c.scratch = gcm.Seal(c.scratch[:0], nonce, text, nil)
	c.sealed = base64.RawURLEncoding.AppendEncode(c.sealed, c.scratch)
	return nil
}

// sealing returns the cipher of the line with those random bits, and its nonce.
func (k *storeKey) sealing(m *mac, r [16]byte) (cipher.AEAD, []byte, error) {
	m.start(k[:])
	m.inner.Write(append(append(m.text[:0], lineSealLabel...), r[:]...))
	key := m.finish()
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, err
	}
	return gcm, make([]byte, gcm.NonceSize()), nil
}

// unseal opens what a line holds sealed.
func (k *storeKey) unseal(line []byte) ([]byte, error) {
	var members struct {
		R, Sealed string
		Receipt   *string
	}
	if err := json.Unmarshal(line, &members); err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	if members.Sealed == "" {
		return nil, ErrNotSealed
	}
	r, err := base64.RawURLEncoding.Strict().DecodeString(members.R)
	if err != nil || len(r) != 16 {
		return nil, errors.New("unseal: the line has no r")
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(members.Sealed)
	if err != nil {
		return nil, errors.New("unseal: malformed")
	}
	gcm, nonce, err := k.sealing(new(mac), [16]byte(r))
	if err != nil {
		return nil, err
	}
	if text, err = gcm.Open(text[:0], nonce, text, nil); err != nil {
		return nil, fmt.Errorf("unseal: the line was changed, or %s is of another log", storeKeyFile)
	}
	if members.Receipt != nil && iatp.DigestOf(text).Base64URL() != *members.Receipt {
		return nil, errors.New("unseal: the receipt is not the one that the line names")
	}
	return text, nil
}

// Unseal returns what a line of this log holds sealed: the receipt, a JWS, if the
// line has the member receipt, else the signed request. Without any it returns
// ErrNotSealed. It needs the store key of the data directory.
func (a *Archive) Unseal(line []byte) ([]byte, error) {
	key, err := openStoreKey(a.data)
	if err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	return key.unseal(line)
}
