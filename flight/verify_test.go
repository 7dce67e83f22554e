package flight

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tamper is a change of a copied directory, and the first record that Verify
// must name.
type tamper struct {
	name   string
	change func(t *testing.T, segment string)
	index  int64
}

// editLines rewrites the lines of a segment.
func editLines(edit func(lines [][]byte) [][]byte) func(*testing.T, string) {
	return func(t *testing.T, segment string) {
		data, err := os.ReadFile(segment)
		if err != nil {
			t.Fatal(err)
		}
		all := bytes.SplitAfter(data, []byte("\n"))
		all = edit(all[:len(all)-1])
		if err := os.WriteFile(segment, bytes.Join(all, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVerifyNamesTheFirstBadRecord(t *testing.T) {
	dir := written(t, 600, Options{})
	cases := []tamper{
		{"a digit of a payload", editLines(func(l [][]byte) [][]byte {
			l[300] = bytes.Replace(l[300], []byte(`"n":300`), []byte(`"n":301`), 1)
			return l
		}), 300},
		{"a line removed", editLines(func(l [][]byte) [][]byte { return slices.Delete(l, 17, 18) }), 17},
		{"the first line removed", editLines(func(l [][]byte) [][]byte { return l[1:] }), 0},
		{"the last line removed", editLines(func(l [][]byte) [][]byte { return l[:599] }), 599},
		{"a line inserted", editLines(func(l [][]byte) [][]byte { return slices.Insert(l, 5, l[4]) }), 5},
		{"two lines swapped", editLines(func(l [][]byte) [][]byte { l[258], l[259] = l[259], l[258]; return l }), 258},
		{"two changes", editLines(func(l [][]byte) [][]byte {
			l[400] = bytes.Replace(l[400], []byte("request"), []byte("blocked"), 1)
			return slices.Delete(l, 500, 501)
		}), 400},
		{"an empty line", editLines(func(l [][]byte) [][]byte { return slices.Insert(l, 9, []byte("\n")) }), 9},
		{"space before a line", editLines(func(l [][]byte) [][]byte { l[9] = append([]byte(" "), l[9]...); return l }), 9},
		{"the last newline removed", editLines(func(l [][]byte) [][]byte { l[599] = l[599][:len(l[599])-1]; return l }), 599},
		{"cut to half", func(t *testing.T, s string) {
			info, err := os.Stat(s)
			if err != nil {
				t.Fatal(err)
			}
			os.Truncate(s, info.Size()/2)
		}, 300},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bad := copyDir(t, dir)
			c.change(t, segmentPath(filepath.Join(bad, "log"), 0))
			r, err := Verify(bad, "")
			if err != nil {
				t.Fatal(err)
			}
			if r.OK() || r.Problems[0].Index != c.index && c.name != "cut to half" {
				t.Errorf("Verify: %v, want record %d first", r.Problems, c.index)
			}
			// Open looks at the places of old records, Verify at all of them.
			samePlaces := []string{"a digit of a payload", "space before a line"}
			switch l, err := Open(bad, Options{}); {
			case err != nil && !errors.Is(err, ErrCorrupt):
				t.Errorf("Open: %v, want ErrCorrupt", err)
			case err == nil:
				l.Close()
				if !slices.Contains(samePlaces, c.name) {
					t.Error("Open started on a log that lacks signed records")
				}
			}
		})
	}
}

// TestVerifyTilesChangedToo changes a line together with its stored hash: the
// root still tells.
func TestVerifyTilesChangedToo(t *testing.T) {
	dir := written(t, 300, Options{})
	editLines(func(l [][]byte) [][]byte {
		l[7] = bytes.Replace(l[7], []byte(`"n":7`), []byte(`"n":8`), 1)
		return l
	})(t, segmentPath(filepath.Join(dir, "log"), 0))
	var hashes [][]byte
	for _, line := range lines(t, dir)[:256] {
		h := hashOf(line)
		hashes = append(hashes, h[:])
	}
	if err := os.WriteFile(filepath.Join(dir, "log", "tile", "0", "000"), bytes.Join(hashes, nil), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(dir, "")
	if err != nil || r.OK() {
		t.Errorf("Verify = %+v, %v; want a problem", r, err)
	}
}

// TestFlipAnyByte flips bytes of every file of a copied directory. Verify must
// find each, in a record or as damage of a derived file, unless the file has
// nothing to do with the records.
func TestFlipAnyByte(t *testing.T) {
	src := t.TempDir()
	l := mustOpen(t, src, Options{SegmentBytes: 60 << 10})
	if err := l.Attach("counter", new(counter)); err != nil {
		t.Fatal(err)
	}
	for i := range 700 {
		mustAppend(t, l, entry(i), Ack(i%100/99))
	}
	mustClose(t, l)
	checkLog(t, src, 700)
	dir := copyDir(t, src)
	rng := rand.New(rand.NewPCG(3, 4))
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name := filepath.Base(path)
		if err != nil || d.IsDir() || slices.Contains([]string{"lock", storeKeyFile, logKeyFile}, name) {
			return err
		}
		flipSome(t, dir, path, rng)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func flipSome(t *testing.T, dir, path string, rng *rand.Rand) {
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range min(len(good), 40) {
		i := rng.IntN(len(good))
		bad := bytes.Clone(good)
		bad[i] ^= 1 << rng.IntN(8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Verify(dir, "")
		if err != nil && filepath.Base(path) == logVKeyFile {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(dir, path)
		switch {
		case !r.OK():
		case len(r.Damage) == 1:
		case strings.HasPrefix(rel, "views"):
			// Digits of the size and the leaf hash: Attach compares them with
			// the log, see TestViewSnapshot.
		case strings.HasPrefix(rel, logVKeyFile) && strings.TrimSpace(string(bad)) == strings.TrimSpace(string(good)):
		default:
			t.Errorf("byte %d of %s flipped: Verify found nothing", i, rel)
		}
		if strings.HasSuffix(path, segmentSuffix) && (r.OK() || r.Problems[0].Index != indexOf(t, path, good, i)) {
			t.Errorf("byte %d of %s flipped: %v, want record %d", i, rel, r.Problems, indexOf(t, path, good, i))
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
}

// indexOf returns the record that byte i of a segment belongs to.
func indexOf(t *testing.T, path string, data []byte, i int) int64 {
	var first int64
	if _, err := fmt.Sscanf(filepath.Base(path), "%020d", &first); err != nil {
		t.Fatal(err)
	}
	return first + int64(bytes.Count(data[:i], []byte("\n")))
}

func TestVerifyWithKeyAndOlderCheckpoints(t *testing.T) {
	dir := written(t, 100, Options{})
	old := copyDir(t, dir)
	early, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	vkey, _ := os.ReadFile(filepath.Join(dir, "log.vkey"))
	key := strings.TrimSpace(string(vkey))
	l := mustOpen(t, dir, Options{})
	for i := range 400 {
		mustAppend(t, l, entry(i), Written)
	}
	mustClose(t, l)
	late, _ := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))

	if r, err := Verify(dir, key, early, late); err != nil || !r.OK() || r.OwnKey {
		t.Errorf("Verify = %+v, %v; want OK under the given key", r, err)
	}
	if r, err := Verify(old, key, late); err != nil || r.OK() {
		t.Errorf("Verify of the log set back = %+v, %v; want a problem", r, err)
	}
	if r, err := Verify(old, key); err != nil || !r.OK() {
		t.Errorf("Verify of the log set back, alone = %+v, %v; it cannot be told", r, err)
	}
	// Another continuation of the same beginning, as after a fork.
	fork := mustOpen(t, old, Options{})
	for i := range 400 {
		mustAppend(t, fork, entry(i+1), Written)
	}
	mustClose(t, fork)
	if r, err := Verify(old, key, late); err != nil || r.OK() {
		t.Errorf("Verify of a fork = %+v, %v; want a problem", r, err)
	}
	if r, err := Verify(old, key, early); err != nil || !r.OK() {
		t.Errorf("Verify of a fork against the common beginning = %+v, %v", r, err)
	}
	other := written(t, 500, Options{})
	if err := os.Rename(filepath.Join(other, "log", "checkpoint"), filepath.Join(dir, "log", "checkpoint")); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(dir, key); err != nil || r.OK() {
		t.Errorf("Verify with another log's checkpoint = %+v, %v; want a problem", r, err)
	}
}

// TestRetention drops old segments; proofs of the others, and of the dropped
// lines, still work, and a stolen segment is still told apart.
func TestRetention(t *testing.T) {
	dir := t.TempDir()
	o := Options{SegmentBytes: 40 << 10, RetainBytes: 150 << 10}
	l := mustOpen(t, dir, o)
	var line0 []byte
	for i := range 3000 {
		mustAppend(t, l, entry(i), Ack(i%50/49))
		if i == 0 {
			got, err := l.Trace("trace-0")
			if err != nil {
				t.Fatal(err)
			}
			line0 = got[0]
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for l.Stats().First == 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	mustClose(t, l)
	r, err := Verify(dir, "")
	if err != nil || !r.OK() || r.First == 0 || len(r.Damage) > 0 {
		t.Fatalf("Verify = %+v, %v; want dropped records and nothing wrong", r, err)
	}
	l = mustOpen(t, dir, o)
	proof, err := l.Prove(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyProof(proof, line0, r.Key); err != nil {
		t.Errorf("proof of a dropped record: %v", err)
	}
	if got, err := l.Trace("trace-0"); err != nil || len(got) != 0 {
		t.Errorf("Trace of a dropped record = %q, %v; want nothing", got, err)
	}
	if got, err := l.Trace("trace-1490"); err != nil || len(got) != 2 {
		t.Errorf("Trace of a kept record = %q, %v; want two lines", got, err)
	}
	v := &counter{n: l.Stats().First}
	if err := l.Attach("late", v); err != nil || v.n != l.Size() {
		t.Errorf("Attach after a drop: %v, at %d of %d", err, v.n, l.Size())
	}
	mustClose(t, l)

	firsts, err := listSegments(filepath.Join(dir, "log"))
	if err != nil || len(firsts) < 3 {
		t.Fatalf("segments %v, %v; want three or more", firsts, err)
	}
	for _, stolen := range firsts[:2] { // the oldest, and one between
		bad := copyDir(t, dir)
		os.Remove(segmentPath(filepath.Join(bad, "log"), stolen))
		if r, err := Verify(bad, ""); err != nil || r.OK() {
			t.Errorf("segment %d stolen: Verify = %+v, %v", stolen, r, err)
		}
		if l, err := Open(bad, o); !errors.Is(err, ErrCorrupt) {
			l.Close()
			t.Errorf("segment %d stolen: Open: %v, want ErrCorrupt", stolen, err)
		}
	}
}

func TestFsckRepairs(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{SegmentBytes: 40 << 10})
	for i := range 900 {
		mustAppend(t, l, entry(i), Ack(i%50/49))
	}
	if err := l.Attach("counter", new(counter)); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, entry(900), Written)
	mustClose(t, l)
	checkLog(t, dir, 901)
	indexes, _ := filepath.Glob(filepath.Join(dir, "log", "*.index"))
	if len(indexes) < 2 {
		t.Fatalf("indexes: %v", indexes)
	}
	os.Remove(indexes[0])
	os.WriteFile(indexes[1], []byte("rubbish"), 0o600)
	os.Remove(filepath.Join(dir, "log", "tile", "0", "001"))
	os.WriteFile(filepath.Join(dir, "views", "counter"), []byte("rubbish"), 0o600)
	if got, err := (&Archive{dir: filepath.Join(dir, "log")}).Trace("trace-3"); err != nil || len(got) != 2 {
		t.Errorf("Trace without an index = %v, %v; want two lines", got, err)
	}
	r, err := Fsck(dir, FsckOptions{Repair: true})
	if err != nil || !r.OK() || len(r.Damage) != 4 || !r.Repaired {
		t.Fatalf("Fsck = %+v, %v; want four repairs", r, err)
	}
	checkLog(t, dir, 901)
}

func TestReadOnlyDirectory(t *testing.T) {
	if os.Getuid() == 0 {
		// Root may write where modes forbid it; a file where a directory is
		// wanted stops root too.
		path := filepath.Join(t.TempDir(), "file")
		os.WriteFile(path, nil, 0o600)
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Open of a file: %v, want an error that names it", err)
		}
		return
	}
	dir := t.TempDir()
	os.Chmod(dir, 0o500)
	if _, err := Open(dir, Options{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Open of a read-only directory: %v, want a permission error", err)
	}
}

// TestVerifierKeyHasOneSpelling: no bit of a log's public key can be changed unseen,
// though the packages below take capitals and line ends for what they stand for.
func TestVerifierKeyHasOneSpelling(t *testing.T) {
	dir := t.TempDir()
	log := mustOpen(t, dir, Options{})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, logVKeyFile)
	sound, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(dir, ""); err != nil || !r.OK() {
		t.Fatalf("as it was made: %+v, %v", r, err)
	}
	for i := range sound {
		for bit := range 8 {
			bad := bytes.Clone(sound)
			bad[i] ^= 1 << bit
			if err := os.WriteFile(file, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			if r, err := Verify(dir, ""); err == nil && r.OK() {
				t.Errorf("byte %d, bit %d of %q: verify says that all is well", i, bit, sound)
			}
		}
	}
}

// TestReadingStopsAtAGap: what follows a segment that lost its end is not passed
// off as what comes next.
func TestReadingStopsAtAGap(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{SegmentBytes: 2000})
	for i := range 40 {
		mustAppend(t, l, entry(i), Durable)
	}
	mustClose(t, l)
	firsts, err := listSegments(filepath.Join(dir, "log"))
	if err != nil || len(firsts) < 4 {
		t.Fatalf("segments %v, %v", firsts, err)
	}
	path := segmentPath(filepath.Join(dir, "log"), firsts[1])
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lineEnd := bytes.IndexByte(whole, '\n') + 1
	for name, kept := range map[string]int{"torn": len(whole) - 5, "short by a line": bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1, "a line is left": lineEnd, "empty": 0} {
		if err := os.WriteFile(path, whole[:kept], 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := Export(dir, &out, "")
		if last := fmt.Sprintf("to %d are missing", firsts[2]-1); err == nil || !strings.Contains(err.Error(), last) {
			t.Errorf("%s: Export = %v, want an error with %q", name, err, last)
		}
		if n := int64(bytes.Count(out.Bytes(), []byte("\n"))); n < firsts[1] || n >= firsts[2] {
			t.Errorf("%s: %d lines came out", name, n)
		}
	}
}
