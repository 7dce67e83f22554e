package flight

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// foldAt is the number of leaf hashes that wake the keeper before a checkpoint
// is due, so that they stay few.
const foldAt = 8192

// diskInterval is how often the keeper looks at the disk and at the age of what
// is kept.
const diskInterval = 30 * time.Second

// unindexed is a sealed segment whose index is not on disk yet; a nil index is
// made from the lines.
type unindexed struct {
	first int64
	index []indexEntry
}

// ErrNotSigned is returned by Prove for a record that no checkpoint covers yet.
// Records are covered within about a second; try again.
var ErrNotSigned = errors.New("no signed checkpoint covers the record yet")

// keep is the keeper. Nobody waits for it, but what it does must not fail: a
// log that cannot be proven any more is a failed log.
func (l *Log) keep() {
	disk := time.NewTicker(diskInterval)
	defer disk.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		ended, look := false, false
		select {
		case <-l.flushed:
			ended = true
		case <-disk.C:
			look = true
		case <-l.wake:
		case <-due.C:
		}
		l.mu.Lock()
		l.keeperDue = false
		failed := l.err != nil
		l.mu.Unlock()
		if failed {
			<-l.flushed
			return
		}
		wait, err := l.keepOnce(ended, look)
		if err != nil {
			l.mu.Lock()
			l.fail(fmt.Errorf("keep log: %w", err))
			l.mu.Unlock()
		}
		if ended {
			return
		}
		if wait > 0 {
			due.Reset(wait)
			l.mu.Lock()
			l.keeperDue = true
			l.mu.Unlock()
		}
	}
}

// keepOnce does what is due; with last everything. It returns how long to wait
// for the next checkpoint, 0 if none is needed.
func (l *Log) keepOnce(last, look bool) (time.Duration, error) {
	wait, err := l.advance(last)
	if err != nil {
		return 0, err
	}
	sealed, err := l.writeIndexes()
	if err != nil {
		return 0, err
	}
	lag := l.opt.SnapshotEvery
	if sealed || last {
		lag = 1
	}
	if err := l.snapshots(lag); err != nil {
		return 0, err
	}
	if last {
		return 0, nil
	}
	if look {
		l.lookAtDisk()
		l.sealOld()
	}
	if sealed || look {
		return wait, l.retain()
	}
	return wait, nil
}

// advance folds the durable leaves into the tree and signs a checkpoint, unless
// the last one is too young and force is not set.
func (l *Log) advance(force bool) (time.Duration, error) {
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	if err := l.fold(); err != nil {
		return 0, err
	}
	if l.tree.size == l.signed.Size {
		return 0, nil
	}
	if wait := checkpointInterval - time.Since(l.signedAt); wait > 0 && !force {
		return wait, nil
	}
	return 0, l.sign()
}

// fold moves the leaf hashes of durable records into the tree. Nothing above
// the synced size enters it, so nothing above it is ever signed. An error is final,
// whoever asked: the tree lacks hashes then that nobody has any more. It needs treeMu.
func (l *Log) fold() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	n := int(l.synced - l.tree.size)
	l.folded = append(l.folded[:0], l.leaves[:n]...)
	l.leaves = slices.Delete(l.leaves, 0, n)
	l.mu.Unlock()
	err := l.addFolded()
	l.mu.Lock()
	if err != nil {
		l.fail(fmt.Errorf("write tile: %w", err))
		return l.err
	}
	return nil
}

// addFolded adds the hashes that fold has taken to the tree.
func (l *Log) addFolded() error {
	for _, h := range l.folded {
		if err := l.tree.add(h); err != nil {
			return err
		}
	}
	return nil
}

// sign signs the tree as it is, and stores its open tiles and the checkpoint.
// It needs treeMu.
func (l *Log) sign() error {
	c, err := signCheckpoint(l.keys.signer, l.tree.size, l.tree.root())
	if err != nil {
		return err
	}
	if err := writeEdge(l.dir, l.tree, l.signed.Size); err != nil {
		return fmt.Errorf("write tile: %w", err)
	}
	if err := replaceFile(filepath.Join(l.dir, checkpointFile), c.Text, 0o644); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	removeEdge(l.dir, l.signed.Size, c.Size)
	l.signed, l.signedAt = c, time.Now()
	return nil
}

// writeEdge stores the open tiles of t, except those that a checkpoint of size
// before has stored.
func writeEdge(dir string, t *tree, before int64) error {
	for level, open := range t.edge {
		if len(open) == 0 || before>>(tileHeight*level) == t.size>>(tileHeight*level) {
			continue
		}
		if err := writeTile(dir, level, t.openTile(level), open); err != nil {
			return err
		}
	}
	return nil
}

// removeEdge removes the partial tiles of an older checkpoint that the newer
// one does not use. What stays behind after a crash is harmless.
func removeEdge(dir string, before, after int64) {
	for level := 0; before>>(tileHeight*level) > 0; level++ {
		size := before >> (tileHeight * level)
		if width := int(size % tileWidth); width > 0 && size != after>>(tileHeight*level) {
			name := filepath.Join(dir, tileName(level, size>>tileHeight, width))
			os.Remove(name)
			os.Remove(filepath.Dir(name)) // if it is empty now
		}
	}
}

// Checkpoint returns the last signed checkpoint. It never covers a record that
// is not on the disk.
func (l *Log) Checkpoint() ([]byte, error) {
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	return slices.Clone(l.signed.Text), nil
}

// Prove returns a proof, in the text form of C2SP tlog-proof, that the record
// is in the log; [VerifyProof] reads it. The line of the record may have been
// dropped. For a record above the last checkpoint it returns ErrNotSigned.
func (l *Log) Prove(index int64) ([]byte, error) {
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	c := l.signed
	switch {
	case index < 0:
		return nil, fmt.Errorf("prove record %d: there is none", index)
	case index >= c.Size:
		return nil, fmt.Errorf("prove record %d: %w", index, ErrNotSigned)
	}
	text, err := prove(l.reader(), c, index)
	if err != nil {
		return nil, fmt.Errorf("prove record %d: %w", index, err)
	}
	return text, nil
}

// prove makes a proof and checks it: a damaged tile must not leave the house
// as evidence.
func prove(r *tileReader, c *Checkpoint, index int64) ([]byte, error) {
	hashes, err := tlog.ProveRecord(c.Size, index, r)
	if err != nil {
		return nil, err
	}
	leaf, err := r.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
	if err != nil {
		return nil, err
	}
	if tlog.CheckRecord(hashes, c.Size, c.Root, index, leaf[0]) != nil {
		return nil, errors.New("the stored hashes do not match the checkpoint; run: iatp log fsck --repair")
	}
	p := Proof{Index: index, Hashes: hashes, Checkpoint: c.Text}
	return p.Text(), nil
}

// reader reads the hashes of the tree. It needs treeMu, also while it is used.
func (l *Log) reader() *tileReader {
	return &tileReader{dir: l.dir, tree: l.tree, missing: func(n int64) ([]tlog.Hash, error) {
		l.mu.Lock()
		firsts := l.firsts()
		l.mu.Unlock()
		return tileFromLines(l.dir, firsts, n)
	}}
}

// tileFromLines computes a full level 0 tile.
func tileFromLines(dir string, firsts []int64, n int64) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	err := eachLine(dir, firsts, n*tileWidth, (n+1)*tileWidth, func(_ int64, line []byte) error {
		hashes = append(hashes, tlog.RecordHash(line))
		return nil
	})
	return hashes, err
}

// leafHash returns the leaf hash of a durable record.
func (l *Log) leafHash(seq int64) (tlog.Hash, error) {
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	if err := l.fold(); err != nil {
		return tlog.Hash{}, err
	}
	if seq >= l.tree.size {
		return tlog.Hash{}, fmt.Errorf("record %d is not durable", seq)
	}
	hashes, err := l.reader().ReadHashes([]int64{tlog.StoredHashIndex(0, seq)})
	if err != nil {
		return tlog.Hash{}, err
	}
	return hashes[0], nil
}

// writeIndexes stores the indexes of segments that were sealed, and reports
// whether there were any.
func (l *Log) writeIndexes() (bool, error) {
	l.mu.Lock()
	todo := slices.Clone(l.unindexed)
	l.mu.Unlock()
	for _, u := range todo {
		if u.index == nil { // a crash came between sealing and this
			var err error
			if u.index, _, err = loadIndex(l.dir, u.first); err != nil {
				return false, fmt.Errorf("make index: %w", err)
			}
		}
		if err := writeIndex(l.dir, u.first, u.index); err != nil {
			return false, fmt.Errorf("write index: %w", err)
		}
	}
	l.mu.Lock()
	l.unindexed = slices.Delete(l.unindexed, 0, len(todo))
	l.mu.Unlock()
	return len(todo) > 0, nil
}

// lookAtDisk warns when the disk runs low, once for each time that it does.
func (l *Log) lookAtDisk() {
	free, err := freeBytes(l.data)
	if err != nil {
		l.opt.Logger.Warn("cannot tell the free space of the flight log", "dir", l.data, "error", err)
		return
	}
	l.freeDisk.Store(free)
	low := free < l.opt.LowDisk
	if was := l.lowDisk.Swap(low); low && !was {
		l.opt.Logger.Warn("disk of the flight log runs low; at 0 every call is refused", "dir", l.data, "free_bytes", free)
	}
}
