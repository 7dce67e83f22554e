package flight

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// breakDisk puts a full disk in the place of the open segment, in one step, under
// whatever the log is doing with it.
func (l *Log) breakDisk(t *testing.T) {
	t.Helper()
	full, err := unix.Open("/dev/full", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(full)
	l.replaceDisk(t, full)
}

// replaceDisk puts a file in the place of the open segment.
func (l *Log) replaceDisk(t *testing.T, fd int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := unix.Dup3(fd, int(l.seg.file.Fd()), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
}

// TestZerosFail: without room for zeros there are none; any error once there is room ends
// the log, for the kernel tells of a lost page but once, and it may have been one of lines.
func TestZerosFail(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{LowDisk: 1})
	mustAppend(t, l, entry(0), Durable)
	for l.zeroesUnderWay() {
		time.Sleep(time.Millisecond)
	}
	ready := l.seg.ready
	l.zeroAhead(l.seg.file, ready, 1<<60)
	if err := l.Err(); err != nil || !l.cramped || l.seg.ready != ready {
		t.Errorf("without room: %v, cramped %t, %d bytes ready, want %d", err, l.cramped, l.seg.ready, ready)
	}
	// A file that has room and takes no writes.
	disk, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(disk)
	if err := unix.Ftruncate(disk, ready+2*minAhead); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(disk), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	l.replaceDisk(t, disk)
	l.zeroAhead(l.seg.file, ready, minAhead)
	if err := l.Err(); err == nil || l.seg.ready != ready {
		t.Errorf("on a disk that takes nothing: %v, %d bytes ready, want %d", err, l.seg.ready, ready)
	}
	if err := l.Close(); err == nil {
		t.Error("Close says nothing of it")
	}
}
