package flight

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const checkpointFile = "checkpoint"

// maxCheckpoint bounds what is read as a checkpoint, with cosignatures.
const maxCheckpoint = 64 << 10

// Checkpoint is a signed statement: the log Origin had Size records, and their
// tree had this root (C2SP tlog-checkpoint).
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
	// Text is the signed note as it was read.
	Text []byte
}

// ParseCheckpoint verifies a checkpoint with the public key of its log. Lines
// after the root (extensions) are covered by the signature and ignored.
func ParseCheckpoint(text []byte, vkey string) (*Checkpoint, error) {
	verifier, err := newVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("log key %q: %w", vkey, err)
	}
	return parseCheckpoint(text, verifier)
}

// newVerifier reads a verifier key in its one spelling: package note also takes
// a hash in capitals and base64 with bits to spare, and a changed file would go
// unnoticed.
func newVerifier(vkey string) (note.Verifier, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	parts := strings.SplitN(vkey, "+", 3) // NewVerifier has seen that there are three
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || vkey != fmt.Sprintf("%s+%08x+%s", v.Name(), v.KeyHash(), base64.StdEncoding.EncodeToString(raw)) {
		return nil, errors.New("not in its one spelling")
	}
	return v, nil
}

func parseCheckpoint(text []byte, verifier note.Verifier) (*Checkpoint, error) {
	if len(text) > maxCheckpoint {
		return nil, errors.New("checkpoint: too long")
	}
	n, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	for _, s := range append(n.Sigs, n.UnverifiedSigs...) {
		// base64 as note reads it has spare bits; another spelling of the same
		// signature is a changed file.
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return nil, fmt.Errorf("checkpoint: signature: %w", err)
		}
	}
	lines := strings.SplitN(n.Text, "\n", 4)
	if len(lines) != 4 {
		return nil, errors.New("checkpoint: want origin, size and root")
	}
	c := &Checkpoint{Origin: lines[0], Text: bytes.Clone(text)}
	if c.Origin != verifier.Name() {
		return nil, fmt.Errorf("checkpoint: it is of log %q, the key is of %q", c.Origin, verifier.Name())
	}
	if c.Size, err = parseSize(lines[1]); err != nil {
		return nil, fmt.Errorf("checkpoint: size: %w", err)
	}
	if c.Root, err = parseHash(lines[2]); err != nil {
		return nil, fmt.Errorf("checkpoint: root: %w", err)
	}
	return c, nil
}

// signCheckpoint returns the checkpoint of a tree.
func signCheckpoint(signer note.Signer, size int64, root tlog.Hash) (*Checkpoint, error) {
	body := signer.Name() + "\n" + strconv.FormatInt(size, 10) + "\n" + root.String() + "\n"
	text, err := note.Sign(&note.Note{Text: body}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return &Checkpoint{Origin: signer.Name(), Size: size, Root: root, Text: text}, nil
}

// parseSize reads a decimal as checkpoints and proofs write it: no sign, no
// leading zero.
func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return n, nil
}

func parseHash(s string) (h tlog.Hash, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	// The decoder skips line ends, so a hash may only have one length.
	if err != nil || len(b) != tlog.HashSize || len(s) != base64.StdEncoding.EncodedLen(tlog.HashSize) {
		return h, fmt.Errorf("%q is not a hash", s)
	}
	return tlog.Hash(b), nil
}
