package flight

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// sealOld lets the open segment be sealed when a quarter of the retention time
// has passed since it was begun, so that its lines can be dropped in time even
// if few are written.
func (l *Log) sealOld() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opt.RetainAge > 0 && l.seg.size > 0 && l.opt.Now().Sub(l.seg.born) > l.opt.RetainAge/4 {
		l.seal = true
		l.work.Signal()
	}
}

// retain drops the sealed segments that are too old or too much.
//
// The order makes a drop different from a theft: the leaf hashes are checked
// and made durable, a recovery record that names the first record that stays is
// written, a checkpoint that covers this record is signed, and then the lines
// go. Whoever removes a segment without the log key cannot write that record.
func (l *Log) retain() error {
	drop := l.expired()
	if len(drop) == 0 {
		return nil
	}
	for _, s := range drop {
		if err := l.secureTiles(s); err != nil {
			// Nothing is lost, so nothing has failed: the lines just stay.
			l.opt.Logger.Error("old records cannot be dropped", "dir", l.dir, "segment", s.first, "error", err)
			return nil
		}
	}
	below := drop[len(drop)-1].next
	_, err := l.Append(&Entry{Type: Recovery, Reason: "retention", cut: recoveryNote{droppedBelow: below}}, Durable)
	if err != nil {
		return nil // the log has failed or is closing; nothing was dropped
	}
	if _, err := l.advance(true); err != nil {
		return err
	}
	l.mu.Lock()
	l.segments = l.segments[len(drop):]
	l.mu.Unlock()
	for _, s := range drop {
		if err := removeSegment(l.dir, s.first); err != nil {
			return fmt.Errorf("drop old records: %w", err)
		}
	}
	l.opt.Logger.Info("old records dropped", "dir", l.data, "below", below)
	return syncDir(l.dir)
}

func removeSegment(dir string, first int64) error {
	if err := os.Remove(indexPath(dir, first)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Remove(segmentPath(dir, first))
}

// expired returns the oldest segments that are to go. A segment whose last tile
// is still open stays: the hashes of its last lines are not in a full tile yet.
func (l *Log) expired() []sealed {
	l.treeMu.Lock()
	size := l.tree.size
	l.treeMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	total := l.seg.size
	for _, s := range l.segments {
		total += s.bytes
	}
	n := 0
	for _, s := range l.segments {
		old := l.opt.RetainAge > 0 && l.opt.Now().Sub(s.newest) > l.opt.RetainAge
		much := l.opt.RetainBytes > 0 && total > l.opt.RetainBytes
		if !old && !much || roundUp(s.next) > size {
			break
		}
		total -= s.bytes
		n++
	}
	return l.segments[:n:n]
}

// roundUp returns the end of the tile that holds the record before n.
func roundUp(n int64) int64 { return (n + tileWidth - 1) / tileWidth * tileWidth }

// secureTiles makes the level 0 tiles over a segment durable and right: they
// are all that will be left of its lines.
func (l *Log) secureTiles(s sealed) error {
	l.mu.Lock()
	firsts := l.firsts()
	l.mu.Unlock()
	from, end := s.first/tileWidth*tileWidth, roundUp(s.next)
	from = max(from, roundUp(firsts[0])) // a tile shared with dropped lines is secured already
	if from >= end {
		return nil
	}
	var hashes []tlog.Hash
	var dir string // of the tile before
	return eachLine(l.dir, firsts, from, end, func(seq int64, line []byte) error {
		hashes = append(hashes, tlog.RecordHash(line))
		if len(hashes) < tileWidth {
			return nil
		}
		path, err := secureTile(l.dir, seq/tileWidth, hashes)
		hashes = hashes[:0]
		if err != nil || dir == filepath.Dir(path) {
			return err
		}
		dir = filepath.Dir(path)
		return syncDirs(l.dir, dir)
	})
}

// secureTile makes one full level 0 tile durable, and returns where it is. One that
// differs from the lines is a question for a person.
func secureTile(dir string, n int64, hashes []tlog.Hash) (string, error) {
	name := tileName(0, n, tileWidth)
	path := filepath.Join(dir, name)
	if have, err := readTile(dir, 0, n, tileWidth); err == nil && !slices.Equal(have, hashes) {
		return path, fmt.Errorf("%s does not match the lines; run: iatp log fsck", name)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return path, err
	}
	// One that is there is written again, too: what is read may be in memory alone since
	// a sync failed, and the next sync would find nothing to do.
	return path, replaceFile(path, joinHashes(hashes), 0o644)
}

// syncDirs makes the names of dir and of the directories above it durable, up to the
// names in top.
func syncDirs(top, dir string) error {
	for dir != top {
		dir = filepath.Dir(dir)
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}
