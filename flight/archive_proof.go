package flight

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// VKey returns the public key of the log.
func (a *Archive) VKey() (string, error) {
	text, err := os.ReadFile(filepath.Join(a.data, logVKeyFile))
	if err != nil {
		return "", fmt.Errorf("public key of the log: %w", err)
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}

// A State is a log as one checkpoint has it, for proofs that belong together. It
// is good until the log has signed the next checkpoint; then its proofs may fail
// with fs.ErrNotExist, and a new State is needed.
type State struct {
	Checkpoint *Checkpoint
	reader     *tileReader
}

// stateTries is how often State looks again: a running log may replace its open
// tiles between two reads, which it does once a second at most.
const stateTries = 5

// State returns the state of the log under its last checkpoint. It takes no lock
// and works beside a running log: what a checkpoint on the disk covers is on the
// disk.
func (a *Archive) State() (*State, error) {
	vkey, err := a.VKey()
	if err != nil {
		return nil, err
	}
	for range stateTries {
		var s *State
		if s, err = a.state(vkey); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
	}
	return nil, fmt.Errorf("state of the log: %w", err)
}

func (a *Archive) state(vkey string) (*State, error) {
	text, err := os.ReadFile(filepath.Join(a.dir, checkpointFile))
	if err != nil {
		return nil, err
	}
	c, err := ParseCheckpoint(text, vkey)
	if err != nil {
		return nil, err
	}
	t, err := loadEdge(a.dir, c.Size)
	if err == nil && t.root() != c.Root {
		err = errors.New("the stored hashes do not match the checkpoint; run: iatp log fsck --repair")
	}
	if err != nil {
		return nil, err
	}
	return &State{c, &tileReader{dir: a.dir, tree: t, missing: func(n int64) ([]tlog.Hash, error) {
		firsts, err := listSegments(a.dir)
		if err != nil {
			return nil, err
		}
		return tileFromLines(a.dir, firsts, n)
	}}}, nil
}

// Prove returns a proof as [Log.Prove] does.
func (s *State) Prove(index int64) ([]byte, error) {
	switch {
	case index < 0:
		return nil, fmt.Errorf("prove record %d: there is none", index)
	case index >= s.Checkpoint.Size:
		return nil, fmt.Errorf("prove record %d: %w", index, ErrNotSigned)
	}
	text, err := prove(s.reader, s.Checkpoint, index)
	if err != nil {
		return nil, fmt.Errorf("prove record %d: %w", index, err)
	}
	return text, nil
}

// ErrAhead is returned by ProveSince for more records than the log has signed for.
var ErrAhead = errors.New("the log has not signed for so many records")

// ProveSince returns a proof, in the text form of [Consistency], that the log in
// this state grew out of the one with old records.
func (s *State) ProveSince(old int64) ([]byte, error) {
	c := Consistency{Old: old, Checkpoint: s.Checkpoint.Text}
	switch {
	case old < 0 || old > s.Checkpoint.Size:
		return nil, ErrAhead
	case old > 0 && old < s.Checkpoint.Size:
		var err error
		if c.Hashes, err = tlog.ProveTree(s.Checkpoint.Size, old, s.reader); err != nil {
			return nil, fmt.Errorf("prove growth from %d records: %w", old, err)
		}
	}
	return c.Text(), nil
}

// Root returns the root of the log when it had size records, not more than this
// state has.
func (s *State) Root(size int64) (tlog.Hash, error) {
	switch {
	case size < 0 || size > s.Checkpoint.Size:
		return tlog.Hash{}, ErrAhead
	case size == s.Checkpoint.Size:
		return s.Checkpoint.Root, nil
	}
	return tlog.TreeHash(size, s.reader)
}

// Tile returns the hashes of a tile by its C2SP tlog-tiles path without the prefix
// "tile/", such as "0/000" or "1/x001/234.p/56". Only what the checkpoint covers
// is there; for anything else the error is fs.ErrNotExist. The tiles of lines
// (entry bundles) are not kept in that form.
func (s *State) Tile(path string) ([]byte, error) {
	want, err := tlog.ParseTilePath("tile/8/" + path)
	if err != nil || want.L < 0 || want.L > 6 || want.N > s.Checkpoint.Size>>tileHeight ||
		want.N<<tileHeight+int64(want.W) > s.Checkpoint.Size>>(tileHeight*want.L) {
		return nil, fs.ErrNotExist
	}
	data, err := s.reader.tile(tlog.Tile{H: tileHeight, L: want.L, N: want.N, W: tileWidth})
	if err != nil {
		return nil, err
	}
	return bytes.Clone(data[:want.W*tlog.HashSize]), nil
}
