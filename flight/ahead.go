package flight

import (
	"fmt"
	"os"
)

// A sync is cheap if it writes lines and nothing else. In a file that grows it
// writes the new length as well, and where room was only reserved it writes that
// the room is used now: both go through the journal of the file system, and cost
// three to ten times as much as the lines. So the room ahead of the lines is
// filled with zeros and synced, by a goroutine that nobody waits for unless the
// lines catch up with it. Readers take zeros behind the last line for what they
// are; recovery cuts them off.

// zeros is what is written ahead, in pieces: a write holds up the next one to the
// same file.
var zeros [64 << 10]byte

// prepare starts to zero the next room of the open segment when less than half
// of the last one is left. It needs mu.
func (l *Log) prepare() {
	if l.zeroing || l.cramped || l.rotating || l.closing || l.err != nil || l.seg.ready-l.seg.queued > l.ahead/2 {
		return
	}
	l.ahead = min(max(2*l.ahead, minAhead), maxAhead)
	l.zeroing = true
	file, from, n := l.seg.file, max(l.seg.ready, l.seg.queued), l.ahead
	l.running.Go(func() { l.zeroAhead(file, from, n) })
}

// zeroAhead zeroes [from, from+n) of the open segment. Without room for that the lines
// make the file grow.
//
// Once there is room, an error is as final as one of a line, whatever it says. The kernel
// tells of a page that it could not write once, to whoever writes or syncs the file next: it
// may have been a page of lines, and the sync of those would find nothing wrong any more.
func (l *Log) zeroAhead(file *os.File, from, n int64) {
	// Room that was reserved lies in one piece.
	room := l.roomy(n) && preallocate(file, from, n)
	var err error
	if room {
		if err = fillZeros(file, from, n); err == nil {
			err = datasync(file)
		}
	}
	local := room && onLocalDisk(file)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.zeroing = false
	switch {
	case err != nil:
		l.fail(fmt.Errorf("write zeros ahead of the records: %w", err))
	case room:
		l.seg.ready, l.seg.local = from+n, local
	default:
		l.cramped = true // until the next segment
	}
	l.progress.Broadcast()
}

// roomy reports whether the disk has room to spare for n bytes of zeros.
func (l *Log) roomy(n int64) bool {
	free, err := freeBytes(l.data)
	return err == nil && free-n > l.opt.LowDisk
}

func fillZeros(file *os.File, from, n int64) error {
	for end := from + n; from < end; {
		piece := zeros[:min(int64(len(zeros)), end-from)]
		if _, err := file.WriteAt(piece, from); err != nil {
			return err
		}
		from += int64(len(piece))
	}
	return nil
}

// awaitZeros waits until the pending lines will not meet zeros on their way, or the log
// has failed. It needs mu, and the writing flag: nobody else may start to write.
func (l *Log) awaitZeros() {
	for l.zeroing && l.seg.queued+int64(len(l.pending)) > l.seg.ready && l.err == nil {
		l.progress.Wait()
	}
}
