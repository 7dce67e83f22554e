package flight

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// stateOf is the state of a log under its last checkpoint.
func stateOf(t testing.TB, dir string) *State {
	t.Helper()
	a, err := OpenArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.State()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// An archive proves what the log proves, and takes no lock.
func TestArchiveProves(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{SegmentBytes: 20 << 10})
	for i := range 700 {
		mustAppend(t, l, entry(i), Written)
	}
	mustClose(t, l)
	all, vkey := lines(t, dir), l.keys.verifier
	open := mustOpen(t, dir, Options{}) // and holds the lock
	s := stateOf(t, dir)
	for _, i := range []int64{0, 255, 256, 511, 512, 699} {
		proof, err := s.Prove(i)
		if err != nil {
			t.Fatalf("Prove(%d): %v", i, err)
		}
		a, _ := OpenArchive(dir)
		key, _ := a.VKey()
		if c, err := VerifyProof(proof, all[i], key); err != nil || c.Origin != vkey.Name() {
			t.Errorf("proof of record %d: %v", i, err)
		}
		if _, err := VerifyProof(proof, all[(i+1)%700], key); err == nil {
			t.Errorf("the proof of record %d verifies another record", i)
		}
	}
	if _, err := s.Prove(700); !errors.Is(err, ErrNotSigned) {
		t.Errorf("Prove(700): %v, want ErrNotSigned", err)
	}
	if _, err := s.Prove(-1); err == nil {
		t.Error("Prove(-1) succeeded")
	}
	mustClose(t, open)
}

// Every state of a log grows out of every earlier one, and out of no other.
func TestProveSince(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	grow := func(dir string, n int, at int) *State {
		l := mustOpen(t, dir, Options{})
		for i := range n {
			mustAppend(t, l, entry(at+i), Written)
		}
		mustClose(t, l)
		return stateOf(t, dir)
	}
	first := grow(dir, 300, 0)
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	os.Chmod(filepath.Join(other, logKeyFile), 0o600)
	os.Chmod(filepath.Join(other, storeKeyFile), 0o600)
	second, forked := grow(dir, 300, 300), grow(other, 310, 900)
	check := func(s *State, older *Checkpoint) error {
		text, err := s.ProveSince(older.Size)
		if err != nil {
			return err
		}
		c, err := ParseConsistency(text)
		if err != nil {
			return err
		}
		return c.Check(older, s.Checkpoint)
	}
	for size := range int64(601) {
		root, err := second.Root(size)
		if err != nil {
			t.Fatal(err)
		}
		older := &Checkpoint{Origin: first.Checkpoint.Origin, Size: size, Root: root}
		if err := check(second, older); err != nil {
			t.Errorf("from %d records: %v", size, err)
		}
		older.Root[0] ^= 1
		if err := check(second, older); (err == nil) != (size == 0) {
			t.Errorf("from another state of %d records: %v", size, err)
		}
	}
	if err := check(forked, first.Checkpoint); err != nil {
		t.Errorf("the fork has the common part: %v", err)
	}
	if err := check(forked, second.Checkpoint); err == nil {
		t.Error("a fork passes for the log")
	}
	if err := check(first, second.Checkpoint); !errors.Is(err, ErrAhead) {
		t.Errorf("a log that was set back: %v, want ErrAhead", err)
	}
	wrong := Consistency{Old: 300, Checkpoint: first.Checkpoint.Text}
	if err := wrong.Check(first.Checkpoint, second.Checkpoint); err == nil {
		t.Error("a proof without hashes is accepted")
	}
	if err := wrong.Check(second.Checkpoint, first.Checkpoint); err == nil {
		t.Error("a shorter log is accepted")
	}
}

// The tiles that an archive hands out have the root of the checkpoint, and none is
// beyond it.
func TestTiles(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	for i := range 600 {
		mustAppend(t, l, entry(i), Written)
	}
	mustClose(t, l)
	s := stateOf(t, dir)
	for path, hashes := range map[string]int{"0/000": 256, "0/001": 256, "0/002.p/88": 88, "0/002.p/5": 5, "1/000.p/2": 2} {
		data, err := s.Tile(path)
		if err != nil || len(data) != hashes*tlog.HashSize {
			t.Errorf("Tile(%s) has %d bytes, %v; want %d hashes", path, len(data), err, hashes)
		}
	}
	leaf, _ := s.Tile("0/000")
	upper, _ := s.Tile("1/000.p/2")
	if subtree(splitHashes(leaf)) != splitHashes(upper)[0] {
		t.Error("the tile above does not hold the root of the one below")
	}
	for _, path := range []string{"", "0/002", "0/002.p/89", "0/003", "1/000", "1/000.p/3", "2/000.p/1", "7/000.p/1", "data/000", "entries/000", "0/../../checkpoint", "0/x999/x999/x999/x999/x999/x999/999", "-1/000"} {
		if data, err := s.Tile(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Tile(%q) = %d bytes, %v; want none", path, len(data), err)
		}
	}
}

// A state needs hashes that match the checkpoint.
func TestStateRefusesDamage(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	mustAppend(t, l, entry(0), Written)
	mustClose(t, l)
	tile := filepath.Join(dir, "log", tileName(0, 0, 1))
	data, err := os.ReadFile(tile)
	if err != nil {
		t.Fatal(err)
	}
	data[7] ^= 1
	os.WriteFile(tile, data, 0o600)
	a, _ := OpenArchive(dir)
	if _, err := a.State(); err == nil {
		t.Error("hashes that do not match the checkpoint are used")
	}
	os.Remove(tile)
	if _, err := a.State(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the tile: %v", err)
	}
}
