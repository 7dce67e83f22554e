package flight

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const proofHeader = "c2sp.org/tlog-proof@v1"

// maxProofHashes bounds a proof: a tree of 2^63 records is 63 levels high.
const maxProofHashes = 63

// Proof says that a line stands at an index of a log. Its text form is C2SP
// tlog-proof: self-contained, with the signed checkpoint inside.
type Proof struct {
	Index      int64
	Hashes     []tlog.Hash
	Checkpoint []byte
}

// ParseProof reads the text form. It accepts exactly what [Proof.Text] writes;
// the checkpoint inside is not verified yet.
func ParseProof(text []byte) (*Proof, error) {
	head, checkpoint, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok || len(checkpoint) > maxCheckpoint {
		return nil, errors.New("proof: want hashes, an empty line and a checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	if len(lines) < 2 || len(lines) > 2+maxProofHashes || lines[0] != proofHeader {
		return nil, errors.New("proof: want a first line " + proofHeader)
	}
	number, ok := strings.CutPrefix(lines[1], "index ")
	if !ok {
		return nil, errors.New("proof: want a second line: index N")
	}
	p := &Proof{Checkpoint: bytes.Clone(checkpoint)}
	var err error
	if p.Index, err = parseSize(number); err != nil {
		return nil, fmt.Errorf("proof: index: %w", err)
	}
	for _, line := range lines[2:] {
		h, err := parseHash(line)
		if err != nil {
			return nil, fmt.Errorf("proof: %w", err)
		}
		p.Hashes = append(p.Hashes, h)
	}
	return p, nil
}

// Text returns the text form of p.
func (p *Proof) Text() []byte {
	b := []byte(proofHeader + "\nindex " + strconv.FormatInt(p.Index, 10) + "\n")
	for _, h := range p.Hashes {
		b = append(b, h.String()...)
		b = append(b, '\n')
	}
	return append(append(b, '\n'), p.Checkpoint...)
}

// VerifyProof checks that the log with the public key vkey signed a checkpoint
// that covers line, a whole record without its newline. It returns that
// checkpoint. It needs nothing but its arguments.
func VerifyProof(proof, line []byte, vkey string) (*Checkpoint, error) {
	p, err := ParseProof(proof)
	if err != nil {
		return nil, err
	}
	c, err := ParseCheckpoint(p.Checkpoint, vkey)
	if err != nil {
		return nil, err
	}
	if p.Index >= c.Size {
		return nil, fmt.Errorf("proof: index %d is not below the size %d of the checkpoint", p.Index, c.Size)
	}
	if err := tlog.CheckRecord(p.Hashes, c.Size, c.Root, p.Index, tlog.RecordHash(line)); err != nil {
		return nil, errors.New("proof: the line is not the one at this index, or the proof was changed")
	}
	return c, nil
}

// A Consistency says that one state of a log grew out of another. Its text form
// is the body of C2SP tlog-witness, add-checkpoint: the older size, the proof, an
// empty line and the newer checkpoint.
type Consistency struct {
	Old        int64
	Hashes     []tlog.Hash
	Checkpoint []byte
}

// ParseConsistency reads the text form. It accepts exactly what
// [Consistency.Text] writes; the checkpoint inside is not verified yet.
func ParseConsistency(text []byte) (*Consistency, error) {
	head, checkpoint, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok || len(checkpoint) > maxCheckpoint {
		return nil, errors.New("consistency proof: want hashes, an empty line and a checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	number, ok := strings.CutPrefix(lines[0], "old ")
	if !ok || len(lines) > 1+maxProofHashes {
		return nil, errors.New("consistency proof: want a first line: old N")
	}
	c := &Consistency{Checkpoint: bytes.Clone(checkpoint)}
	var err error
	if c.Old, err = parseSize(number); err != nil {
		return nil, fmt.Errorf("consistency proof: old: %w", err)
	}
	for _, line := range lines[1:] {
		h, err := parseHash(line)
		if err != nil {
			return nil, fmt.Errorf("consistency proof: %w", err)
		}
		c.Hashes = append(c.Hashes, h)
	}
	return c, nil
}

// Text returns the text form of c.
func (c *Consistency) Text() []byte {
	b := []byte("old " + strconv.FormatInt(c.Old, 10) + "\n")
	for _, h := range c.Hashes {
		b = append(b, h.String()...)
		b = append(b, '\n')
	}
	return append(append(b, '\n'), c.Checkpoint...)
}

// Check reports why the log in the newer state is not the one of the older, which
// was verified before: then it has forked.
func (c *Consistency) Check(older, newer *Checkpoint) error {
	switch {
	case c.Old != older.Size || older.Origin != newer.Origin:
		return errors.New("consistency proof: it is about another state of the log")
	case older.Size > newer.Size:
		return fmt.Errorf("consistency proof: the log had %d records and has %d", older.Size, newer.Size)
	case older.Size == newer.Size && older.Root != newer.Root:
		return fmt.Errorf("consistency proof: two states of %d records have different roots", newer.Size)
	case older.Size == 0 || older.Size == newer.Size:
		return nil // everything grows out of nothing, and out of itself
	}
	if err := tlog.CheckTree(c.Hashes, newer.Size, newer.Root, older.Size, older.Root); err != nil {
		return errors.New("consistency proof: the records of the older state are not those of the newer")
	}
	return nil
}
