package flight

import "os"

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

// zeroAhead zeroes [from, from+n) of the open segment. What it cannot do is no
// error: the lines then make the file grow.
func (l *Log) zeroAhead(file *os.File, from, n int64) {
	done := l.roomy(n) && fillZeros(file, from, n) && datasync(file) == nil
	local := done && onLocalDisk(file)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.zeroing = false
	if done {
		l.seg.ready, l.seg.local = from+n, local
	} else {
		l.cramped = true // until the next segment
	}
	l.progress.Broadcast()
}

// roomy reports whether the disk has room to spare for n bytes of zeros.
func (l *Log) roomy(n int64) bool {
	free, err := freeBytes(l.data)
	return err == nil && free-n > l.opt.LowDisk
}

func fillZeros(file *os.File, from, n int64) bool {
	// Room that was reserved lies in one piece.
	if !preallocate(file, from, n) {
		return false
	}
	for end := from + n; from < end; {
		piece := zeros[:min(int64(len(zeros)), end-from)]
		if _, err := file.WriteAt(piece, from); err != nil {
			return false
		}
		from += int64(len(piece))
	}
	return true
}

// awaitZeros waits until the pending lines will not meet zeros on their way. It
// needs mu, and the writing flag: nobody else may start to write.
func (l *Log) awaitZeros() {
	for l.zeroing && l.seg.queued+int64(len(l.pending)) > l.seg.ready && l.err == nil {
		l.progress.Wait()
	}
}
