package flight

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/mod/sumdb/tlog"
)

// View is state that follows from the log: a desk writes by appending and
// learns by applying. The log calls a view from one goroutine at a time, and
// applies a record before Append returns it. A method of a view must not call
// the log, and should be quick: producers wait for it.
type View interface {
	// Apply takes the next record. line has no newline and is valid during the
	// call only.
	Apply(seq int64, line []byte)
	// Snapshot returns the state after the records applied so far.
	Snapshot() []byte
	// Restore replaces the state by that of a snapshot. After an error the
	// view is empty, as it was made.
	Restore(snapshot []byte) error
}

// attached is a view and how far it is. Its fields are used under the writing
// flag; saved belongs to the keeper.
type attached struct {
	name    string
	view    View
	applied int64 // it has seen the records below
	saved   int64 // the snapshot on disk covers the records below
}

var viewName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// Attach brings v up to date from its last snapshot and the records after it,
// and applies every new record from then on. name is the file of its snapshots:
// small letters, digits, hyphens. Producers wait while records are replayed.
//
// A snapshot that is damaged, or covers records that the log does not have, is
// ignored and everything that is kept is replayed. Records whose lines were
// dropped reach a view through its snapshot alone.
func (l *Log) Attach(name string, v View) error {
	if !viewName.MatchString(name) {
		return fmt.Errorf("attach view: %q is not a name", name)
	}
	l.mu.Lock()
	err := l.hold()
	firsts, end := l.firsts(), l.written
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("attach view %s: %w", name, err)
	}
	a, err := l.catchUp(name, v, firsts, end)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.views = append(l.views, a)
	}
	l.letGo()
	if err != nil {
		return fmt.Errorf("attach view %s: %w", name, err)
	}
	return nil
}

// hold takes the writing flag; letGo gives it back. Both need mu.
func (l *Log) hold() error {
	for l.writing && l.err == nil {
		l.progress.Wait()
	}
	if l.err != nil {
		return l.err
	}
	l.writing = true
	return nil
}

func (l *Log) letGo() {
	l.writing = false
	l.progress.Broadcast()
	l.work.Signal()
}

// firsts returns the first records of all segments. It needs mu.
func (l *Log) firsts() []int64 {
	firsts := make([]int64, 0, len(l.segments)+1)
	for _, s := range l.segments {
		firsts = append(firsts, s.first)
	}
	return append(firsts, l.seg.first)
}

// catchUp restores and replays a view. It runs under the writing flag.
func (l *Log) catchUp(name string, v View, firsts []int64, end int64) (*attached, error) {
	from := max(l.restore(name, v, end), firsts[0])
	a := &attached{name: name, view: v, applied: end, saved: from}
	return a, eachLine(l.dir, firsts, from, end, func(seq int64, line []byte) error {
		v.Apply(seq, line)
		return nil
	})
}

// restore loads the snapshot of a view and returns the size it covers, 0 if
// there is none that can be used.
func (l *Log) restore(name string, v View, end int64) int64 {
	data, err := os.ReadFile(l.viewPath(name))
	if err != nil {
		return 0
	}
	size, leaf, snapshot, err := decodeSnapshot(data)
	if err == nil && size > end {
		err = fmt.Errorf("it covers %d records, the log has %d", size, end)
	}
	if err == nil && size > 0 {
		err = l.checkLeaf(size-1, leaf)
	}
	if err == nil {
		err = v.Restore(snapshot)
	}
	if err != nil {
		l.opt.Logger.Warn("snapshot ignored, replaying the log", "view", name, "error", err)
		return 0
	}
	return size
}

// checkLeaf compares the leaf hash of a record.
func (l *Log) checkLeaf(seq int64, want tlog.Hash) error {
	have, err := l.leafHash(seq)
	if err != nil {
		return err
	}
	if have != want {
		return fmt.Errorf("record %d is not the one it was made from", seq)
	}
	return nil
}

func (l *Log) viewPath(name string) string { return filepath.Join(l.data, "views", name) }

// applyLines hands a batch of lines to the views.
func applyLines(views []*attached, seq int64, batch []byte) {
	if len(views) == 0 {
		return
	}
	for line := range bytes.Lines(batch) {
		for _, a := range views {
			a.view.Apply(seq, line[:len(line)-1])
			a.applied = seq + 1
		}
		seq++
	}
}

// snapshots stores a snapshot of every view that has seen at least lag records
// since its last one.
func (l *Log) snapshots(lag int64) error {
	l.mu.Lock()
	if err := l.hold(); err != nil {
		l.mu.Unlock()
		return nil // the log has failed, which is said elsewhere
	}
	views, size := l.views, l.written
	l.mu.Unlock()
	taken := make(map[*attached][]byte)
	for _, a := range views {
		if a.applied-a.saved >= lag {
			taken[a] = a.view.Snapshot()
		}
	}
	l.mu.Lock()
	l.letGo()
	var sync *round
	if len(taken) > 0 && l.synced < size {
		// Only what is durable may be covered: see decodeSnapshot.
		sync = l.join()
	}
	failed := l.err != nil
	l.mu.Unlock()
	if failed || len(taken) == 0 || sync != nil && sync.wait() != nil {
		return nil // the log has failed, which is said elsewhere
	}
	return l.saveSnapshots(taken, size)
}

func (l *Log) saveSnapshots(taken map[*attached][]byte, size int64) error {
	leaf, err := l.leafHash(size - 1)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(l.data, "views"), 0o700); err != nil {
		return err
	}
	for a, snapshot := range taken {
		if err := replaceFile(l.viewPath(a.name), encodeSnapshot(size, leaf, snapshot), 0o600); err != nil {
			return fmt.Errorf("snapshot of view %s: %w", a.name, err)
		}
		a.saved = size
	}
	return nil
}

const snapshotMagic = "iatp-view v1"

// encodeSnapshot puts a line in front of a snapshot that names the log it
// belongs to: the number of records it covers, the leaf hash of the last of
// them, and its own SHA-256. The leaf hash tells a log apart that was cut back
// after the snapshot was taken and has grown again.
func encodeSnapshot(size int64, leaf tlog.Hash, snapshot []byte) []byte {
	sum := sha256.Sum256(snapshot)
	head := fmt.Sprintf("%s %d %s %s\n", snapshotMagic, size, leaf, base64.StdEncoding.EncodeToString(sum[:]))
	return append([]byte(head), snapshot...)
}

func decodeSnapshot(data []byte) (size int64, leaf tlog.Hash, snapshot []byte, err error) {
	head, snapshot, _ := bytes.Cut(data, []byte{'\n'})
	words := bytes.Split(head, []byte{' '})
	if len(words) != 5 || string(bytes.Join(words[:2], []byte{' '})) != snapshotMagic {
		return 0, leaf, nil, fmt.Errorf("not a snapshot of version 1")
	}
	if size, err = parseSize(string(words[2])); err != nil {
		return 0, leaf, nil, err
	}
	if leaf, err = parseHash(string(words[3])); err != nil {
		return 0, leaf, nil, err
	}
	sum, err := parseHash(string(words[4]))
	if err != nil || sum != sha256.Sum256(snapshot) {
		return 0, leaf, nil, fmt.Errorf("checksum of the snapshot")
	}
	return size, leaf, snapshot, nil
}
