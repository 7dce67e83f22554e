package flight

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// clockTolerance is how far the clock may stand before the last record at
// start: time servers step clocks by seconds, a wrong battery clock by more.
const clockTolerance = 2 * time.Minute

// ErrCorrupt is returned, wrapped, when something below the last signed
// checkpoint is missing or changed. The message names it and what to do.
var ErrCorrupt = errors.New("log does not match its signed checkpoint")

// corrupt builds the refusal for a record that is not what was signed.
func corrupt(dir string, seq int64, file string, format string, args ...any) error {
	return fmt.Errorf("%w: record %d in %s: %s; restore %s from a backup, or move it away with its keys to begin a new log (keep it: it is evidence)",
		ErrCorrupt, seq, file, fmt.Sprintf(format, args...), dir)
}

// recover brings the log up from what is on disk. If it has to cut the tail it adds
// the record that says so.
//
// The signed checkpoint divides the log. Below it everything must be as it was
// signed. Above it stands what was written in the last second of the last run:
// there the log ends at the first bytes that are not a whole record.
func (l *Log) recover() error {
	if err := l.begin(); err != nil {
		return err
	}
	firsts, err := listSegments(l.dir)
	if err != nil {
		return err
	}
	if err := l.loadSigned(); err != nil {
		return err
	}
	if len(firsts) == 0 {
		if l.signed.Size > 0 {
			return corrupt(l.dir, 0, l.dir, "there are no segments, %d records were signed", l.signed.Size)
		}
		return l.firstSegment()
	}
	if l.segments, err = sealedSegments(l.dir, firsts); err != nil {
		return err
	}
	for _, s := range l.segments {
		if _, err := os.Stat(indexPath(l.dir, s.first)); errors.Is(err, fs.ErrNotExist) {
			l.unindexed = append(l.unindexed, unindexed{first: s.first})
		}
	}
	if err := checkDropped(l.dir, firsts, l.signed.Size); err != nil {
		return err
	}
	if l.tree, err = loadTree(l.dir, firsts, l.signed); err != nil {
		return err
	}
	if err := l.foldSealed(firsts); err != nil {
		return err
	}
	return l.openLast(firsts[len(firsts)-1])
}

// begin makes the keys and an empty checkpoint in a new directory, then opens
// the keys.
func (l *Log) begin() error {
	if err := errors.Join(removeTemps(l.data), removeTemps(l.dir)); err != nil {
		return err
	}
	have, err := hasKeys(l.data)
	if err != nil {
		return err
	}
	firsts, err := listSegments(l.dir)
	if err != nil {
		return err
	}
	if !have && len(firsts) == 0 {
		err := makeKeys(l.data, l.opt.Origin, func(signer note.Signer) error {
			c, err := signCheckpoint(signer, 0, new(tree).root())
			if err != nil {
				return err
			}
			return replaceFile(filepath.Join(l.dir, checkpointFile), c.Text, 0o644)
		})
		if err != nil {
			return err
		}
	}
	if l.keys, err = openKeys(l.data); err != nil {
		return err
	}
	if name := l.keys.signer.Name(); name != l.opt.Origin {
		l.opt.Logger.Warn("flight log keeps the origin in its key", "origin", name, "configured", l.opt.Origin)
	}
	return nil
}

// loadSigned reads the last checkpoint.
func (l *Log) loadSigned() error {
	text, err := os.ReadFile(filepath.Join(l.dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return corrupt(l.dir, 0, checkpointFile, "the checkpoint is missing")
	}
	if err != nil {
		return err
	}
	if l.signed, err = parseCheckpoint(text, l.keys.verifier); err != nil {
		return corrupt(l.dir, 0, checkpointFile, "%v", err)
	}
	l.tree = &tree{full: l.saveTile}
	return nil
}

func (l *Log) saveTile(level int, n int64, hashes []tlog.Hash) error {
	return writeTile(l.dir, level, n, hashes)
}

// firstSegment begins an empty log.
func (l *Log) firstSegment() error {
	f, err := createSegment(l.dir, 0)
	l.seg = segment{file: f, born: l.opt.Now()}
	return err
}

// sealedSegments looks at the ends of all segments but the last: each must
// begin where the one before ends. A bad end is never the work of a crash, for
// a segment is synced before the next one has a name.
func sealedSegments(dir string, firsts []int64) ([]sealed, error) {
	var list []sealed
	for i, first := range firsts[:len(firsts)-1] {
		rec, size, err := endOf(segmentPath(dir, first))
		file := filepath.Base(segmentPath(dir, first))
		switch next := firsts[i+1]; {
		case err != nil:
			return nil, corrupt(dir, next-1, file, "the end of the segment is damaged (%v)", err)
		case rec.Seq+1 != next:
			return nil, corrupt(dir, rec.Seq+1, file, "records %d to %d are missing", rec.Seq+1, next-1)
		}
		list = append(list, sealed{first: first, next: firsts[i+1], bytes: size, newest: rec.Time})
	}
	return list, nil
}

// endOf returns the last record of a sealed segment, and its length.
func endOf(path string) (Record, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return Record{}, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Record{}, 0, err
	}
	line, err := lastLine(f, info.Size())
	if err != nil {
		return Record{}, 0, err
	}
	rec, err := ParseRecord(line)
	return rec, info.Size(), err
}

// checkDropped looks for the record that explains why the log begins where it
// does. Retention writes one for every drop, so it is found near the end. It
// must be below the signed size: anybody could write one above.
func checkDropped(dir string, firsts []int64, size int64) error {
	if firsts[0] == 0 {
		return nil
	}
	var p lineParser
	for i := len(firsts) - 1; i >= 0; i-- {
		var below int64
		// A damaged line is somebody else's finding: take what is whole.
		_ = eachLineOf(dir, firsts[i], firsts[i], size, func(_ int64, line []byte) error {
			if bytes.Contains(line, []byte(`"dropped_below":`)) {
				if rec, err := p.members(line); err == nil && rec.Type == Recovery {
					below = max(below, rec.droppedBelow)
				}
			}
			return nil
		})
		if below >= firsts[0] {
			return nil
		}
	}
	if firsts[0] > size {
		return corrupt(dir, size, dir, "records %d to %d are missing", size, firsts[0]-1)
	}
	return corrupt(dir, 0, dir, "records 0 to %d are missing, and no record says that they were dropped", firsts[0]-1)
}

// loadTree returns the tree of the signed size: from its open tiles if they
// match the signed root, else from all tiles, else from all lines.
func loadTree(dir string, firsts []int64, c *Checkpoint) (*tree, error) {
	t, err := loadEdge(dir, c.Size)
	for _, tiles := range []bool{true, false} {
		if err == nil && t.root() == c.Root {
			break
		}
		if t, err = rebuildTree(dir, firsts, c.Size, tiles); err == nil {
			err = writeEdge(dir, t, 0)
		}
	}
	if err != nil {
		return nil, corrupt(dir, t.size, dir, "%v", err)
	}
	if t.root() != c.Root {
		seq := firstDifference(dir, firsts, c.Size)
		return nil, corrupt(dir, seq, dir, "the records do not have the signed root; iatp log verify says more")
	}
	t.full = func(level int, n int64, hashes []tlog.Hash) error { return writeTile(dir, level, n, hashes) }
	return t, nil
}

// rebuildTree computes the tree of the given size and writes its tiles again.
// It takes level 0 tiles where the lines are gone and, with tiles, as far as
// they are there; the rest it takes from the lines. The tree it returns with an
// error is as far as it came.
func rebuildTree(dir string, firsts []int64, size int64, tiles bool) (*tree, error) {
	t := &tree{full: func(level int, n int64, hashes []tlog.Hash) error {
		if sameHashes(dir, level, n, hashes) {
			return nil
		}
		return writeTile(dir, level, n, hashes)
	}}
	for t.size+tileWidth <= size && (tiles || t.size < firsts[0]) {
		hashes, err := readTile(dir, 0, t.size/tileWidth, tileWidth)
		if err != nil && t.size >= firsts[0] {
			break
		}
		if err != nil {
			return t, fmt.Errorf("its line was dropped and its hash is gone: %w", err)
		}
		for _, h := range hashes {
			if err := t.add(h); err != nil {
				return t, err
			}
		}
	}
	if t.size == size {
		return t, nil
	}
	return t, eachLine(dir, firsts, t.size, size, func(_ int64, line []byte) error {
		return t.add(tlog.RecordHash(line))
	})
}

// firstDifference names the first record whose line and stored hash differ, for
// a message; size if all agree.
func firstDifference(dir string, firsts []int64, size int64) int64 {
	at := size
	var hashes []tlog.Hash
	_ = eachLine(dir, firsts, firsts[0], size, func(seq int64, line []byte) error {
		if seq%tileWidth == 0 || hashes == nil {
			n := seq / tileWidth
			hashes, _ = readTile(dir, 0, n, int(min(tileWidth, size-n*tileWidth)))
		}
		if i := int(seq % tileWidth); i < len(hashes) && hashes[i] != tlog.RecordHash(line) {
			at = seq
			return errTorn
		}
		return nil
	})
	return at
}

// foldSealed adds the records that stand above the checkpoint, but in a sealed
// segment, to the tree. They are durable, so they must be whole.
func (l *Log) foldSealed(firsts []int64) error {
	last := firsts[len(firsts)-1]
	if l.signed.Size >= last {
		return nil
	}
	var p lineParser
	return eachLine(l.dir, firsts, l.signed.Size, last, func(seq int64, line []byte) error {
		if rec, err := p.parse(line); err != nil || rec.Seq != seq {
			return corrupt(l.dir, seq, l.dir, "it is damaged, though later records are on disk")
		}
		return l.tree.add(tlog.RecordHash(line))
	})
}

// tail is what scanTail found in the last segment.
type tail struct {
	index  []indexEntry
	leaves []tlog.Hash // of the records above the checkpoint
	next   int64       // seq behind the last whole record
	signed int64       // offset behind the last one below the checkpoint
	end    int64       // offset behind the last whole one
	newest []byte      // the last whole record
	joined bool        // the last record is whole but for its newline
}

// openLast opens the last segment, cuts what is not whole and takes up the rest.
func (l *Log) openLast(first int64) error {
	f, err := os.OpenFile(segmentPath(l.dir, first), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	l.seg = segment{first: first, file: f, born: l.opt.Now()}
	t, err := scanTail(l.dir, f, first, l.signed.Size)
	if err != nil {
		return err
	}
	if err := l.checkClock(t.newest, t.next-1); err != nil {
		return err
	}
	if err := l.cut(f, t); err != nil {
		return fmt.Errorf("cut the tail: %w", err)
	}
	for _, h := range t.leaves {
		if err := l.tree.add(h); err != nil {
			return fmt.Errorf("write tile: %w", err)
		}
	}
	l.seg.index, l.seg.size, l.seg.queued, l.seg.safe = t.index, t.end, t.end, t.end
	l.next, l.written, l.synced = t.next, t.next, t.next
	return nil
}

// scanTail reads the last segment up to the first bytes that are not a record.
// Below size, the signed one, every record must be there.
func scanTail(dir string, f *os.File, first, size int64) (*tail, error) {
	t := &tail{next: first}
	lines := newLineReader(f)
	var p lineParser
	for {
		line, err := lines.next()
		if err != nil && !errors.Is(err, errTorn) && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read segment: %w", err)
		}
		whole := err == nil
		if !whole {
			line = bytes.TrimRight(line, "\x00")
		}
		if t.next < size {
			if seq, ok := seqOf(line); !whole || !ok || seq != t.next {
				return nil, corrupt(dir, t.next, filepath.Base(f.Name()), "it is missing or damaged, %d records were signed", size)
			}
		} else {
			// A record that lacks nothing but its newline is whole: no part of
			// a JSON object is a JSON object.
			if rec, err := p.parse(line); err != nil || rec.Seq != t.next {
				return t, nil
			}
			t.leaves = append(t.leaves, tlog.RecordHash(line))
		}
		t.index = indexLine(t.index, line, lines.offset)
		t.newest = append(t.newest[:0], line...)
		t.next++
		t.end = lines.offset + int64(len(line)) + 1
		if t.next <= size {
			t.signed = t.end
		}
		if !whole {
			t.joined = true
			return t, nil
		}
	}
}

// checkClock refuses to run with a clock that stands before the last record:
// expiry times and replay windows would mean nothing.
func (l *Log) checkClock(newest []byte, seq int64) error {
	var last time.Time
	if n := len(l.segments); n > 0 {
		last = l.segments[n-1].newest
	}
	if newest != nil {
		rec, err := new(lineParser).members(newest)
		if err != nil {
			return corrupt(l.dir, seq, l.dir, "%v", err)
		}
		last = rec.Time
	}
	if now := l.opt.Now(); now.Before(last.Add(-clockTolerance)) {
		return fmt.Errorf("the clock says %s, but the last record is of %s; set the clock", now.UTC().Format(time.RFC3339), last.Format(time.RFC3339))
	}
	return nil
}

// cut ends the segment behind its last whole record and makes it durable. If that costs
// anything but preallocated room a recovery record says so, and it is on the disk before
// that is gone: a second crash, or a full disk, must not hide it.
func (l *Log) cut(f *os.File, t *tail) error {
	from := t.end
	var add []byte
	if t.joined {
		from, add = from-1, []byte{'\n'}
	}
	bytesCut, torn, err := garbage(f, from)
	if err != nil {
		return err
	}
	if torn > 0 {
		l.opt.Logger.Warn("torn tail of the flight log cut", "dir", l.dir, "records", t.next, "bytes_cut", bytesCut)
		line, err := l.lineOf(&Entry{Type: Recovery, Reason: "torn_tail", Bytes: bytesCut,
			cut: recoveryNote{set: true, oldSize: t.next + torn, newSize: t.next}}, t.next)
		if err != nil {
			return err
		}
		add = append(append(add, line...), '\n')
		t.leaves, t.next, t.end = append(t.leaves, tlog.RecordHash(line)), t.next+1, t.end+int64(len(line))+1
	}
	if err := writeAgain(f, t.signed, from); err != nil {
		return err
	}
	if _, err := f.WriteAt(add, from); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return errors.Join(f.Truncate(t.end), f.Sync())
}

// lineOf returns the line of a record of the log itself.
func (l *Log) lineOf(e *Entry, seq int64) ([]byte, error) {
	c := l.encoders.Get().(*encoder)
	defer l.encoders.Put(c)
	if err := c.encode(e, &l.keys.store, l.opt.Now()); err != nil {
		return nil, err
	}
	return c.appendLine(nil, seq), nil
}

// writeAgain writes what f holds in [from, end) once more. Of what was written, not
// synced, before a crash nobody knows whether it is on the disk: after a failed sync the
// kernel keeps it in memory, where it was read, and a sync would find nothing to do.
func writeAgain(f *os.File, from, end int64) error {
	buf := make([]byte, min(end-from, 64<<10))
	for from < end {
		piece := buf[:min(int64(len(buf)), end-from)]
		if _, err := f.ReadAt(piece, from); err != nil {
			return err
		}
		if _, err := f.WriteAt(piece, from); err != nil {
			return err
		}
		from += int64(len(piece))
	}
	return nil
}

// garbage looks at the bytes behind the last whole record: how many there are
// up to the last that is not zero, and how many lines or parts of lines.
func garbage(f *os.File, from int64) (n, lines int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	r := newLineReader(io.NewSectionReader(f, from, max(0, info.Size()-from)))
	var at int64
	open := false // a part of a line was seen and its newline was not
	for {
		chunk, err := r.r.ReadSlice('\n')
		ended := err == nil
		at += int64(len(chunk))
		if rest := bytes.TrimRight(chunk, "\x00"); len(rest) > 0 {
			n, open = at-int64(len(chunk)-len(rest)), true
		}
		if ended && open {
			lines, open = lines+1, false
		}
		switch {
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
		case !errors.Is(err, io.EOF):
			return 0, 0, err
		case open:
			return n, lines + 1, nil
		default:
			return n, lines, nil
		}
	}
}
