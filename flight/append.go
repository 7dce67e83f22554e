package flight

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Append records e and returns its seq. When it returns without an error the
// line is as safe as ack says and every attached view has applied it. With an
// error nothing may be done that the record was to precede.
//
// An entry of an unknown type, and one with [ErrNotWhole], is refused and leaves
// the log as it was; any other error is final, see [Log.Err].
func (l *Log) Append(e *Entry, ack Ack) (int64, error) {
	c := l.encoders.Get().(*encoder)
	defer l.encoders.Put(c)
	at := e.Time
	if at.IsZero() {
		at = l.opt.Now()
	}
	if err := c.encode(e, &l.keys.store, at); err != nil {
		return -1, err
	}
	l.mu.Lock()
	seq, err := l.queue(c)
	switch {
	case err != nil:
		l.mu.Unlock()
	case ack == Durable && (l.syncing || l.due()):
		r := l.join()
		l.mu.Unlock()
		err = r.wait()
	case ack == Durable:
		err = l.leadSync()
		l.mu.Unlock()
	case l.led:
		r := l.follow()
		l.mu.Unlock()
		err = r.wait()
	default:
		err = l.lead(seq)
		l.mu.Unlock()
	}
	if err != nil {
		return -1, err
	}
	return seq, nil
}

// queue gives the line its seq and puts it behind the others. It needs mu.
func (l *Log) queue(c *encoder) (int64, error) {
	for (len(l.pending) >= maxPending || l.rotating || l.late()) && l.err == nil {
		if l.writing || l.rotating || l.late() {
			l.progress.Wait()
		} else {
			l.writeBatch()
		}
	}
	switch {
	case l.err != nil:
		return 0, l.err
	case l.closing:
		return 0, ErrClosed
	}
	seq, at := l.next, len(l.pending)
	l.pending = c.appendLine(l.pending, seq)
	if c.traced {
		// Offsets count from the end of what is written and in flight.
		l.seg.index = append(l.seg.index, newIndexEntry(c.trace, l.seg.queued+int64(at)))
	}
	for _, label := range c.labels {
		l.seg.index = append(l.seg.index, newIndexEntry(label.hash(), l.seg.queued+int64(at)))
	}
	l.leaves = append(l.leaves, l.hashLeaf(l.pending[at:]))
	l.pending = append(l.pending, '\n')
	l.next++
	return seq, nil
}

// late reports whether too much waits for a sync. It needs mu.
func (l *Log) late() bool { return l.seg.queued-l.seg.safe >= maxUnsynced }

// hashLeaf is tlog.RecordHash without its allocation. It needs mu.
func (l *Log) hashLeaf(line []byte) tlog.Hash {
	l.hasher.Reset()
	l.hasher.Write(leafPrefix)
	l.hasher.Write(line)
	l.hasher.Sum(l.sum[:0])
	return l.sum
}

// leafPrefix sets leaves apart from nodes (RFC 6962, 2.1).
var leafPrefix = []byte{0}

// lead sees to it that the record, and all that are queued behind it until then,
// get into the kernel by one write. It needs mu, and gives it up meanwhile.
func (l *Log) lead(seq int64) error {
	l.led = true
	// A write costs more than a record. Callers that can run now get as far as
	// their own record before this one is written.
	if l.crowd > 0 || seq%lookEvery == 0 {
		l.stepAside(1)
	}
	for l.written <= seq {
		switch {
		case l.err != nil:
			return l.err
		case l.writing:
			l.crowd = crowded
			l.progress.Wait()
		default:
			l.writeBatch()
		}
	}
	if !l.timed && l.synced < l.written {
		l.timed = true
		l.timer.Reset(SyncInterval * 4 / 5) // the sync takes its time too
	}
	return nil
}

// crowded is how many writes after one that several records shared, or that met
// another, are preceded by a step aside, and lookEvery is how often a record looks
// for others where it met none. Who steps aside alone pays for it: the scheduler
// wakes a thread that could run somebody else, which costs more than the write.
const (
	crowded   = 16
	lookEvery = 64
)

// stepAside lets other goroutines run first, n times. It needs mu and gives it up
// meanwhile.
func (l *Log) stepAside(n int) {
	l.mu.Unlock()
	for range n {
		runtime.Gosched()
	}
	l.mu.Lock()
}

// follow returns the round after which everything that is queued now is in the
// kernel: somebody leads it. It needs mu.
func (l *Log) follow() *round {
	if l.batch == nil {
		l.batch = newRound()
	}
	return l.batch
}

// round is what one write or one sync is for: all records that were queued before it
// began.
// Who waits for it does not need mu when it ends: dozens wait, and would queue up
// for mu behind those that are released already and bring their next record.
type round struct {
	done chan struct{} // closed at the end
	err  error         // written before
}

func newRound() *round { return &round{done: make(chan struct{})} }

func (r *round) wait() error {
	<-r.done
	return r.err
}

func (r *round) end(err error) {
	r.err = err
	close(r.done)
}

// join asks the flusher for a sync, and returns the round after which everything that
// is queued now is on the disk. It needs mu.
func (l *Log) join() *round {
	l.needSync = true
	if !l.syncing { // else it hears of it when that is done
		l.work.Signal()
	}
	if l.round == nil {
		l.round = newRound()
	}
	l.joined++
	return l.round
}

// leadSync syncs what is queued, in the goroutine of the caller: where calls are few,
// waking another and being woken by it costs as much as the sync. Those that come
// meanwhile are left to the flusher, so nobody works for others for long, and nobody
// leads while it has something to do, so it gets its turn. It needs mu and gives it up
// meanwhile, and must not run while syncing is set.
func (l *Log) leadSync() error {
	l.syncing = true
	err := l.syncOnce()
	l.syncing = false
	if l.due() {
		l.work.Signal()
	}
	return err
}

// writeBatch writes everything that is queued and lets the views see it. It
// needs mu, gives it up meanwhile, and must not run while writing is set.
func (l *Log) writeBatch() {
	if len(l.pending) == 0 {
		return
	}
	l.writing = true
	l.awaitZeros()
	if l.err != nil { // the zeros may be on their way still, and would go over the lines
		l.writing = false
		l.progress.Broadcast()
		return
	}
	batch, from, end, r := l.pending, l.written, l.next, l.batch
	if end-from > 1 {
		l.crowd = crowded
	} else {
		l.crowd = max(0, l.crowd-1)
	}
	l.pending, l.spare, l.batch, l.led = l.spare[:0], nil, nil, false
	l.seg.queued += int64(len(batch))
	l.prepare()
	calm := l.crowd == 0 && !l.zeroing && !l.inSync
	l.mu.Unlock()
	err := l.seg.write(batch, calm)
	if err == nil {
		applyLines(l.views, from, batch)
	}
	l.mu.Lock()
	l.writing = false
	if cap(batch) <= 2*maxPending {
		l.spare = batch[:0]
	}
	if err != nil {
		l.fail(fmt.Errorf("write record %d: %w", from, err))
		if r != nil {
			r.end(l.err)
		}
		return
	}
	l.seg.size += int64(len(batch))
	l.written = end
	if len(l.leaves) >= foldAt {
		l.wakeKeeper()
	}
	if r != nil {
		r.end(nil)
	}
	l.progress.Broadcast()
}

// fail ends the life of the log: the disk and our idea of it may differ now,
// and a second try could report a success that never was (an fsync after a
// failed fsync does). It needs mu.
func (l *Log) fail(err error) {
	if l.err == nil {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG) || errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w; make room in %s, then restart", err, l.data)
		}
		l.err = fmt.Errorf("flight log failed: %w", err)
		l.opt.Logger.Error("flight log failed", "dir", l.data, "error", err)
		if l.round != nil {
			l.round.end(l.err) // nobody joins it any more
			l.round = nil
		}
		if l.batch != nil {
			l.batch.end(l.err) // nor follows
			l.batch = nil
		}
	}
	l.progress.Broadcast()
	l.work.Signal()
	l.wakeKeeper()
}

// backgroundSync runs when written records have waited long enough.
func (l *Log) backgroundSync() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timed = false
	l.needSync = true
	l.work.Signal()
}

// flush is the flusher: it syncs for those that came while somebody else did, for the
// timer and at the end, and rotates.
// It is an ordinary goroutine: while it is in fdatasync the scheduler takes its
// P away within some 20 µs, and a thread of its own would cost two switches more
// for each sync.
func (l *Log) flush() {
	defer close(l.flushed)
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for l.syncing || !l.due() {
			l.work.Wait()
		}
		if l.err != nil {
			return
		}
		l.syncing = true
		err := l.syncOnce()
		if err == nil && (l.seal || l.full()) {
			if err = l.rotate(); err != nil {
				l.fail(err)
			}
		}
		l.syncing = false
		// A record that came during the write may have been synced with it; who brought it
		// waits for the next round.
		if err != nil || l.closing && l.synced == l.next && l.round == nil {
			return // a log that has failed says so
		}
	}
}

// due reports whether the flusher has something to do. It needs mu.
func (l *Log) due() bool {
	return l.needSync || l.seal || l.full() || l.closing || l.err != nil
}

// full reports whether the open segment is to be sealed. It needs mu.
func (l *Log) full() bool { return l.seg.size >= l.opt.SegmentBytes }

// stepsAside is how often a sync lets others go first when the last one was for
// several.
const stepsAside = 3

// syncOnce writes what is queued, syncs what is written, and ends the round. It
// needs mu and syncing, and gives mu up meanwhile.
func (l *Log) syncOnce() error {
	// Those that the last sync released are about to queue their next record:
	// without a step aside every other sync would be for the first of them. Who was
	// about to sign or to verify first gets there with the second or the third.
	if l.lastJoined > 1 {
		l.stepAside(stepsAside)
	}
	for l.writing {
		l.progress.Wait()
	}
	if l.err != nil {
		return l.err
	}
	// Before the write: what is queued while it runs asks again.
	r := l.round
	l.needSync, l.round, l.lastJoined, l.joined = false, nil, l.joined, 0
	err := l.syncWritten()
	if r != nil {
		r.end(err)
	}
	return err
}

// syncWritten does the work of syncOnce.
func (l *Log) syncWritten() error {
	l.writeBatch()
	if l.err != nil {
		return l.err
	}
	mark, size, file := l.written, l.seg.size, l.seg.file
	if mark == l.synced {
		return nil
	}
	l.inSync = true
	l.mu.Unlock()
	start := time.Now()
	err := datasync(file)
	took := time.Since(start)
	l.mu.Lock()
	l.inSync = false
	if err != nil {
		err = fmt.Errorf("sync record %d: %w", mark-1, err)
		l.fail(err)
		return l.err
	}
	l.synced, l.seg.safe, l.lastSync = mark, size, took
	l.syncs++
	l.progress.Broadcast()
	if !l.keeperDue {
		l.wakeKeeper()
	}
	return nil
}

// rotate seals the open segment and begins the next. Everything in the sealed
// one is durable before the next has a name: a bad record in a segment that is
// not the last is never the work of a crash. It needs mu and gives it up.
func (l *Log) rotate() error {
	l.seal = false
	l.rotating = true // nothing is queued until the new segment stands
	for l.err == nil && (l.writing || l.zeroing || len(l.pending) > 0) {
		if l.writing || len(l.pending) == 0 {
			l.progress.Wait()
		} else {
			l.writeBatch()
		}
	}
	l.rotating = false
	if l.err != nil || l.seg.size == 0 {
		l.progress.Broadcast()
		return l.err
	}
	old, end := l.seg, l.written
	// Lines queued from here on belong to the new segment.
	l.seg, l.cramped = segment{first: end, born: l.opt.Now()}, false
	// Readers find those of the old one there from now on.
	l.segments = append(l.segments, sealed{first: old.first, next: end, bytes: old.size, newest: l.opt.Now()})
	l.writing = true
	l.mu.Unlock()
	file, err := l.replaceSegment(old.file, old.size, end)
	l.mu.Lock()
	l.writing = false
	l.progress.Broadcast()
	if err != nil {
		l.seg.file = nil
		return err
	}
	l.seg.file, l.synced = file, max(l.synced, end)
	l.unindexed = append(l.unindexed, unindexed{old.first, old.index})
	l.wakeKeeper()
	return nil
}

// replaceSegment ends the file of a segment and makes that of the next.
func (l *Log) replaceSegment(old *os.File, size, next int64) (*os.File, error) {
	if err := errors.Join(old.Truncate(size), old.Sync(), old.Close()); err != nil {
		return nil, fmt.Errorf("seal segment: %w", err)
	}
	return createSegment(l.dir, next)
}

func (l *Log) wakeKeeper() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// appendLine appends the line of c with its seq.
func (c *encoder) appendLine(dst []byte, seq int64) []byte {
	dst = append(dst, c.buf[:c.seqAt]...)
	dst = strconv.AppendInt(dst, seq, 10)
	return append(dst, c.buf[c.seqAt:]...)
}
