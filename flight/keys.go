package flight

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const (
	logKeyFile   = "log.key"
	logVKeyFile  = "log.vkey"
	storeKeyFile = "store.key"
)

// Every use of the store key has a label of its own, so that no value made for
// one purpose means anything for another.
const (
	commitLabel = "iatp commit v1"
	idemLabel   = "iatp idem v1"
)

// storeKey is the secret behind commitments and keyed hashes. It lies outside
// DATA/log, so the log directory alone cannot be searched for a guessed body.
type storeKey [32]byte

// commit returns HMAC-SHA-256(salt, body) with salt = HMAC(store key, label ‖ r).
// The salt needs r, which stands in the line: dropping the line erases it.
func (k *storeKey) commit(m *mac, r [16]byte, body []byte) [32]byte {
	m.start(k[:])
	m.inner.Write(append(append(m.text[:0], commitLabel...), r[:]...))
	salt := m.finish()
	m.start(salt[:])
	m.inner.Write(body)
	return m.finish()
}

// idem returns the keyed hash of an idempotency key: equal keys are found
// again, and nobody without the store key can search for one.
func (k *storeKey) idem(m *mac, key []byte) [32]byte {
	m.start(k[:])
	m.inner.Write(append(m.text[:0], idemLabel...))
	m.inner.Write(key)
	return m.finish()
}

// mac is HMAC-SHA-256 (RFC 2104) with keys of at most one block, reusable with
// another key: crypto/hmac allocates for each new key, and here every record
// has its own. A test holds it to crypto/hmac.
type mac struct {
	inner hash.Hash
	pad   [sha256.BlockSize]byte
	sum   [sha256.Size]byte
	text  [64]byte
}

// innerPad is what a key is combined with first, and otherPad what makes the outer one of
// that.
var innerPad, otherPad = [sha256.BlockSize]byte(bytes.Repeat([]byte{0x36}, sha256.BlockSize)), [sha256.BlockSize]byte(bytes.Repeat([]byte{0x36 ^ 0x5c}, sha256.BlockSize))

func (m *mac) start(key []byte) {
	if m.inner == nil {
		m.inner = sha256.New()
	}
	m.inner.Reset()
	m.pad = innerPad
	subtle.XORBytes(m.pad[:], m.pad[:], key)
	m.inner.Write(m.pad[:])
}

func (m *mac) finish() [32]byte {
	m.inner.Sum(m.sum[:0])
	subtle.XORBytes(m.pad[:], m.pad[:], otherPad[:])
	m.inner.Reset()
	m.inner.Write(m.pad[:])
	m.inner.Write(m.sum[:])
	m.inner.Sum(m.sum[:0])
	return m.sum
}

// keys are the secrets of a data directory.
type keys struct {
	signer   note.Signer
	verifier note.Verifier
	store    storeKey
}

// hasKeys reports whether the data directory has a log key.
func hasKeys(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, logKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// makeKeys makes the keys of a new data directory. signed gets the signer
// before its key has a name on disk: a directory with a log key always has a
// checkpoint, so a missing one is never the work of a crash.
func makeKeys(dir, origin string, signed func(note.Signer) error) error {
	skey, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return fmt.Errorf("make log key: %w", err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return fmt.Errorf("make log key for origin %q: %w", origin, err)
	}
	if err := signed(signer); err != nil {
		return err
	}
	var secret storeKey
	rand.Read(secret[:])
	err = createOnce(filepath.Join(dir, storeKeyFile), hex.EncodeToString(secret[:])+"\n", 0o600)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return createOnce(filepath.Join(dir, logKeyFile), skey+"\n", 0o600)
}

// openKeys reads the keys of a data directory. A missing one is an error: a new
// one would cut the old records off from their proofs.
func openKeys(dir string) (*keys, error) {
	path := filepath.Join(dir, logKeyFile)
	text, err := secretFile(path)
	if err != nil {
		return nil, err
	}
	k := new(keys)
	if k.signer, err = note.NewSigner(text); err != nil {
		return nil, fmt.Errorf("%s is not a log key; restore it from a backup", path)
	}
	vkey, err := publicHalf(text)
	if err != nil {
		return nil, err
	}
	if k.verifier, err = newVerifier(vkey); err != nil {
		return nil, err
	}
	if err := publishKey(filepath.Join(dir, logVKeyFile), vkey); err != nil {
		return nil, err
	}
	k.store, err = openStoreKey(dir)
	return k, err
}

func openStoreKey(dir string) (key storeKey, err error) {
	path := filepath.Join(dir, storeKeyFile)
	text, err := secretFile(path)
	if err != nil {
		return key, err
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(key) {
		return key, fmt.Errorf("%s is not a store key; restore it from a backup", path)
	}
	return storeKey(b), nil
}

// secretFile returns the text of a file that its owner alone may read.
func secretFile(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s is missing, but there is a log that needs it; restore it from a backup", path)
	case err != nil:
		return "", fmt.Errorf("open key: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("%s is open to others (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("open key: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// createOnce writes a file that must not exist, whole or not at all: link
// refuses to replace a name, which rename does not.
func createOnce(path, text string, mode fs.FileMode) error {
	tmp, err := writeTemp(path, []byte(text), mode)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// publishKey writes the public key beside the secret one, or checks that the
// one which stands there is the same.
func publishKey(path, vkey string) error {
	have, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createOnce(path, vkey+"\n", 0o644)
	}
	if err != nil {
		return fmt.Errorf("open key: %w", err)
	}
	if string(have) != vkey+"\n" {
		return fmt.Errorf("%s does not belong to %s; find out who changed it, then remove it to have it written again", path, logKeyFile)
	}
	return nil
}

// publicHalf returns the verifier key of a signer key.
func publicHalf(skey string) (string, error) {
	// PRIVATE+KEY+<name>+<hash>+<base64 of 1, seed>, see package note.
	parts := strings.SplitN(skey, "+", 5)
	if len(parts) != 5 {
		return "", errors.New("malformed log key")
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 33 {
		return "", errors.New("malformed log key")
	}
	key := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	return note.NewEd25519VerifierKey(parts[2], key)
}
