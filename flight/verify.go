package flight

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Finding is something wrong in a data directory.
type Finding struct {
	Index int64  `json:"index"` // the first record concerned, -1 if none is
	File  string `json:"file"`  // relative to the log directory
	Text  string `json:"text"`
}

// String says where and what.
func (f Finding) String() string {
	if f.Index < 0 {
		return f.File + ": " + f.Text
	}
	return fmt.Sprintf("record %d, %s: %s", f.Index, f.File, f.Text)
}

// Report is what Verify and Fsck found.
type Report struct {
	Origin string `json:"origin"`
	Key    string `json:"key"` // the public key that was used
	// OwnKey says that the key is the directory's own: whoever can replace the
	// directory can replace the key, so this proves less.
	OwnKey  bool  `json:"own_key"`
	Signed  int64 `json:"signed"`  // records under the checkpoint
	Records int64 `json:"records"` // whole records, dropped and unsigned ones included
	First   int64 `json:"first"`   // oldest record whose line is kept
	// TornBytes is the length of what stands behind the last whole record. It
	// is above the checkpoint: the work of a crash, cut at the next start.
	TornBytes int64 `json:"torn_bytes"`

	// Problems say that the log is not what was signed. The first names the
	// first bad record.
	Problems []Finding `json:"problems"`
	// Damage is in files that can be made again from the lines; no record is
	// concerned.
	Damage []Finding `json:"damage"`
	// Repaired says that Damage was repaired.
	Repaired bool `json:"repaired"`
}

// OK reports whether the log is what was signed. Damage and a torn tail do not
// count against it.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Verify checks a data directory, or a copy of one, against its checkpoint:
// every kept line, every stored hash, and that nothing is missing in between.
// It finds any flipped, removed, inserted or reordered byte or line below the
// checkpoint and names the first record concerned. It changes nothing and needs
// no lock.
//
// vkey is the public key of the log from a source that is trusted; empty takes
// the one in the directory. older are checkpoints of the same log that were
// kept elsewhere: the log must contain what they cover. Without one a log that
// was set back together with its checkpoint cannot be told from a younger one.
//
// The error is about reading; what is wrong with the log is in the Report.
func Verify(dir, vkey string, older ...[]byte) (*Report, error) {
	a, err := newAudit(dir, vkey, older)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", dir, err)
	}
	if err := a.run(); err != nil {
		return nil, fmt.Errorf("verify %s: %w", dir, err)
	}
	return &a.report, nil
}

// FsckOptions are the settings of Fsck.
type FsckOptions struct {
	// Repair makes damaged derived files again: indexes, tiles, snapshots. It
	// takes the lock of the directory, so no log may run there. It never
	// touches a line, a key or a checkpoint, and does nothing if there are
	// problems.
	Repair bool
}

// Fsck is Verify with the directory's own key, and on request repairs what can
// be made again from the lines.
func Fsck(dir string, o FsckOptions) (*Report, error) {
	a, err := newAudit(dir, "", nil)
	if err != nil {
		return nil, fmt.Errorf("fsck %s: %w", dir, err)
	}
	if o.Repair {
		lock, err := lockDir(a.data)
		if err != nil {
			return nil, fmt.Errorf("fsck %s: %w", dir, err)
		}
		defer lock.Close()
	}
	if err := a.run(); err != nil {
		return nil, fmt.Errorf("fsck %s: %w", dir, err)
	}
	if o.Repair && a.report.OK() {
		for _, fix := range a.fixes {
			if err := fix(); err != nil {
				return nil, fmt.Errorf("fsck %s: repair: %w", dir, err)
			}
		}
		a.report.Repaired = len(a.fixes) > 0
	}
	return &a.report, nil
}

// audit is one walk over a data directory.
type audit struct {
	dir, data string
	verifier  note.Verifier
	signed    *Checkpoint
	older     []*Checkpoint
	firsts    []int64
	report    Report
	fixes     []func() error

	tree    *tree // of the lines
	parser  lineParser
	dropped int64 // highest dropped_below of a signed recovery record

	// stored are the hashes of the level 0 tile over the current record.
	stored     []tlog.Hash
	storedTile int64
	// authentic: the stored level 0 hashes have the signed root, so a line
	// that differs from its hash is the one that was changed.
	authentic bool
	differs   int64 // first record whose line and stored hash differ, or -1
}

func newAudit(dir, vkey string, older [][]byte) (*audit, error) {
	logDir, data, err := findLog(dir)
	if err != nil {
		return nil, err
	}
	a := &audit{dir: logDir, data: data, storedTile: -1, differs: -1}
	a.report.OwnKey = vkey == ""
	if a.report.OwnKey {
		text, err := os.ReadFile(filepath.Join(data, logVKeyFile))
		if err != nil {
			return nil, fmt.Errorf("no public key: %w", err)
		}
		vkey = strings.TrimSuffix(string(text), "\n")
	}
	a.report.Key = vkey
	if a.verifier, err = newVerifier(vkey); err != nil {
		return nil, fmt.Errorf("public key %q: %w", vkey, err)
	}
	a.report.Origin = a.verifier.Name()
	for _, text := range older {
		c, err := parseCheckpoint(text, a.verifier)
		if err != nil {
			return nil, fmt.Errorf("older %w", err)
		}
		a.older = append(a.older, c)
	}
	return a, nil
}

func (a *audit) problem(index int64, file, format string, args ...any) {
	a.report.Problems = append(a.report.Problems, Finding{index, file, fmt.Sprintf(format, args...)})
}

// damage notes a derived file and how it is made again.
func (a *audit) damage(file, text string, fix func() error) {
	a.report.Damage = append(a.report.Damage, Finding{-1, file, text})
	a.fixes = append(a.fixes, fix)
}

func (a *audit) run() error {
	ok, err := a.readSigned()
	if !ok || err != nil {
		return err
	}
	if a.firsts, err = listSegments(a.dir); err != nil {
		return err
	}
	if len(a.firsts) > 0 {
		a.report.First = a.firsts[0]
	}
	a.authentic = a.storedRoot() == a.signed.Root
	a.tree = &tree{full: a.compareTile}
	if err := a.walk(); err != nil {
		return err
	}
	a.report.Records = max(a.tree.size, a.report.First)
	a.judge()
	return a.snapshots()
}

// readSigned reads the checkpoint before anything else: what it covers is on
// the disk by then, also under a running log.
func (a *audit) readSigned() (bool, error) {
	text, err := os.ReadFile(filepath.Join(a.dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		a.problem(0, checkpointFile, "the checkpoint is missing")
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if a.signed, err = parseCheckpoint(text, a.verifier); err != nil {
		a.problem(0, checkpointFile, "%v", err)
		return false, nil
	}
	a.report.Signed = a.signed.Size
	return true, nil
}

// storedRoot computes the root from the stored level 0 tiles alone.
func (a *audit) storedRoot() (none tlog.Hash) {
	t := &tree{full: func(int, int64, []tlog.Hash) error { return nil }}
	for t.size < a.signed.Size {
		n := t.size / tileWidth
		hashes, err := readTile(a.dir, 0, n, int(min(tileWidth, a.signed.Size-t.size)))
		if err != nil {
			return none
		}
		for _, h := range hashes {
			if t.add(h) != nil {
				return none
			}
		}
	}
	return t.root()
}

// storedHash returns the stored leaf hash of a signed record.
func (a *audit) storedHash(seq int64) (h tlog.Hash, ok bool) {
	if n := seq / tileWidth; n != a.storedTile {
		a.storedTile = n
		a.stored, _ = readTile(a.dir, 0, n, int(min(tileWidth, a.signed.Size-n*tileWidth)))
	}
	i := int(seq % tileWidth)
	if i >= len(a.stored) {
		return h, false
	}
	return a.stored[i], true
}

// compareTile checks a stored full tile against the one computed from lines.
// Above the checkpoint tiles come and go with crashes.
func (a *audit) compareTile(level int, n int64, hashes []tlog.Hash) error {
	if (n+1)<<(tileHeight*(level+1)) > a.signed.Size || sameHashes(a.dir, level, n, hashes) {
		return nil
	}
	a.damageTile(level, n, hashes)
	return nil
}

func (a *audit) damageTile(level int, n int64, hashes []tlog.Hash) {
	again := append([]tlog.Hash(nil), hashes...)
	a.damage(tileName(level, n, len(hashes)), "the stored hashes are not those of the records",
		func() error { return writeTile(a.dir, level, n, again) })
}

// add takes the leaf hash of the next record and looks at the tree where a
// checkpoint was signed.
func (a *audit) add(h tlog.Hash) {
	_ = a.tree.add(h) // compareTile does not fail
	for _, c := range a.older {
		if c.Size == a.tree.size && c.Root != a.tree.root() {
			a.problem(0, checkpointFile, "the log is not the one of the older checkpoint of size %d", c.Size)
		}
	}
	if a.tree.size != a.signed.Size {
		return
	}
	if a.tree.root() != a.signed.Root {
		a.wrongRoot()
		return
	}
	for level, open := range a.tree.edge {
		if n := a.tree.openTile(level); len(open) > 0 && !a.sameEdge(level, n, open) {
			a.damageTile(level, n, open)
		}
	}
}

// sameEdge reports whether an open tile of the checkpoint is stored. A running
// log may have replaced it by a wider one.
func (a *audit) sameEdge(level int, n int64, open []tlog.Hash) bool {
	if sameHashes(a.dir, level, n, open) {
		return true
	}
	text, err := os.ReadFile(filepath.Join(a.dir, checkpointFile))
	return err == nil && !bytes.Equal(text, a.signed.Text)
}

// wrongRoot names the best suspect when the records do not have the signed
// root and no record was caught yet.
func (a *audit) wrongRoot() {
	if len(a.report.Problems) > 0 {
		return
	}
	if a.differs >= 0 {
		a.problem(a.differs, a.fileOf(a.differs), "the line, or its stored hash, was changed")
		return
	}
	a.problem(a.report.First, a.fileOf(a.report.First), "the records do not have the signed root; lines and stored hashes were changed together")
}

func (a *audit) fileOf(seq int64) string {
	for i := len(a.firsts) - 1; i >= 0; i-- {
		if a.firsts[i] <= seq {
			return filepath.Base(segmentPath("", a.firsts[i]))
		}
	}
	return tileName(0, seq/tileWidth, tileWidth)
}

// walk goes over all records: dropped ones by their hashes, the others by
// their lines. It stops at the first that is wrong.
func (a *audit) walk() error {
	for seq := range a.report.First {
		h, ok := a.storedHash(seq)
		if !ok {
			a.problem(seq, a.fileOf(seq), "its line was dropped and its hash is gone")
			return nil
		}
		a.add(h)
	}
	for i, first := range a.firsts {
		next := int64(-1)
		if i+1 < len(a.firsts) {
			next = a.firsts[i+1]
		}
		more, err := a.segment(first, next)
		if !more || err != nil {
			return err
		}
	}
	return nil
}

// segment checks the lines of one segment; next is where the following one
// begins, or -1. It reports whether the walk goes on.
func (a *audit) segment(first, next int64) (bool, error) {
	f, err := os.Open(segmentPath(a.dir, first))
	if err != nil {
		return false, err
	}
	defer f.Close()
	file := filepath.Base(f.Name())
	if a.tree.size != first {
		a.problem(a.tree.size, file, "records %d to %d are missing", a.tree.size, first-1)
		return false, nil
	}
	var entries []indexEntry
	for lines := newLineReader(f); ; {
		line, err := lines.next()
		if err != nil && !errors.Is(err, errTorn) && !errors.Is(err, io.EOF) {
			return false, err
		}
		seq := a.tree.size
		if errors.Is(err, io.EOF) && (next < 0 || seq == next) {
			if next >= 0 {
				a.compareIndex(first, entries)
			}
			return true, nil
		}
		torn := seq >= a.signed.Size && next < 0
		if torn && err != nil {
			return true, a.tornTail(f, lines.offset, line)
		}
		if err = a.check(seq, next, line, err); err != nil && torn {
			return true, a.tornTail(f, lines.offset, nil)
		}
		if err != nil {
			a.problem(seq, file, "%v", err)
			return false, nil
		}
		entries = indexLine(entries, line, lines.offset)
		a.add(tlog.RecordHash(line))
	}
}

// check checks what was read where record seq should stand; next is where the
// segment must end, or -1.
func (a *audit) check(seq, next int64, line []byte, readErr error) error {
	switch {
	case seq == next:
		return errors.New("it stands in the wrong segment")
	case seq < a.signed.Size:
		return a.checkSigned(seq, line, readErr)
	}
	return a.checkUnsigned(seq, line, readErr)
}

// tornTail measures what stands behind the last whole record. line, at off, is
// what was read last: a record that lacks its newline alone is whole, as at the
// next start.
func (a *audit) tornTail(f *os.File, off int64, line []byte) error {
	line = bytes.TrimRight(line, "\x00")
	if a.checkUnsigned(a.tree.size, line, nil) == nil {
		a.add(tlog.RecordHash(line))
		off += int64(len(line))
	}
	var err error
	a.report.TornBytes, _, err = garbage(f, off)
	return err
}

// checkSigned checks a record below the checkpoint: its place and its hash.
func (a *audit) checkSigned(seq int64, line []byte, readErr error) error {
	if errors.Is(readErr, io.EOF) {
		return fmt.Errorf("it is missing, %d records were signed", a.signed.Size)
	}
	want, ok := a.storedHash(seq)
	same := ok && want == tlog.RecordHash(line)
	switch {
	case readErr != nil && same:
		return errors.New("its newline is missing")
	case readErr != nil:
		return errors.New("the line is damaged or incomplete")
	case same:
		a.noteDropped(line)
		return nil
	}
	if have, err := a.parser.parse(line); err != nil {
		return fmt.Errorf("the line is damaged: %w", err)
	} else if have.Seq > seq {
		return fmt.Errorf("records %d to %d are missing here", seq, have.Seq-1)
	} else if have.Seq < seq {
		return fmt.Errorf("record %d stands here, a line was inserted or moved", have.Seq)
	}
	if ok && a.authentic {
		return errors.New("the line was changed: it does not have the signed hash")
	}
	if ok && a.differs < 0 {
		a.differs = seq
	}
	a.noteDropped(line)
	return nil
}

// checkUnsigned checks a record above the checkpoint, where only its form can
// be wrong.
func (a *audit) checkUnsigned(seq int64, line []byte, readErr error) error {
	if readErr != nil {
		return errors.New("records are missing before the next segment")
	}
	rec, err := a.parser.parse(line)
	switch {
	case err != nil:
		return err
	case rec.Seq != seq:
		return fmt.Errorf("record %d stands here", rec.Seq)
	}
	return nil
}

// noteDropped remembers what retention has dropped.
func (a *audit) noteDropped(line []byte) {
	if !bytes.Contains(line, []byte(`"dropped_below":`)) {
		return
	}
	if rec, err := a.parser.members(line); err == nil && rec.Type == Recovery {
		a.dropped = max(a.dropped, rec.droppedBelow)
	}
}

// judge draws the conclusions that need the whole walk.
func (a *audit) judge() {
	if !a.report.OK() {
		return
	}
	if a.tree.size < a.signed.Size {
		a.problem(a.tree.size, a.fileOf(a.tree.size), "it is missing, %d records were signed", a.signed.Size)
		return
	}
	if a.signed.Size == 0 && a.signed.Root != new(tree).root() {
		a.problem(0, checkpointFile, "the root is not that of an empty log")
	}
	if a.report.First > a.dropped {
		a.problem(0, a.fileOf(a.report.First), "records 0 to %d are missing, and no signed record says that they were dropped", a.report.First-1)
	}
	for _, c := range a.older {
		if c.Size > a.signed.Size {
			a.problem(a.signed.Size, checkpointFile, "an older checkpoint covers %d records, this one %d: the log was set back", c.Size, a.signed.Size)
		}
	}
}

// compareIndex checks the index of a sealed segment.
func (a *audit) compareIndex(first int64, entries []indexEntry) {
	want := encodeIndex(entries)
	path := indexPath(a.dir, first)
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, want) {
		a.damage(filepath.Base(path), "the index is missing or damaged", func() error { return os.WriteFile(path, want, 0o600) })
	}
}

// snapshots checks the snapshots of views; a damaged one is removed, the view
// replays the log then.
func (a *audit) snapshots() error {
	paths, err := filepath.Glob(filepath.Join(a.data, "views", "*"))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, _, _, err := decodeSnapshot(data); err != nil {
			a.damage(filepath.Join("..", "views", filepath.Base(path)), err.Error(), func() error { return os.Remove(path) })
		}
	}
	return err
}
