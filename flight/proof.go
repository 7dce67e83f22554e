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
