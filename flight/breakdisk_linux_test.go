package flight

import (
	"bytes"
	"os"
	"slices"
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
	l.replaceDisk(t, int(unwritable(t, make([]byte, ready+2*minAhead)).Fd()))
	l.zeroAhead(l.seg.file, ready, minAhead)
	if err := l.Err(); err == nil || l.seg.ready != ready {
		t.Errorf("on a disk that takes nothing: %v, %d bytes ready, want %d", err, l.seg.ready, ready)
	}
	if err := l.Close(); err == nil {
		t.Error("Close says nothing of it")
	}
}

// unwritable is a file with room, which can be cut and takes no writes.
func unwritable(t *testing.T, data []byte) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "disk")
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestNothingIsCutUnsaid: a torn tail stays where the record of its cut cannot be written.
func TestNothingIsCutUnsaid(t *testing.T) {
	dir := written(t, 3, Options{})
	l := mustOpen(t, dir, Options{})
	defer l.Close()
	data, err := os.ReadFile(segmentPath(l.dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	whole := len(bytes.TrimRight(data, "\x00"))
	torn := append(slices.Clone(data[:whole]), `{"torn":`...)
	disk := unwritable(t, torn)
	tail, err := scanTail(l.dir, disk, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cut(disk, tail); err == nil {
		t.Error("cut says nothing of a disk that takes no record")
	}
	if info, err := disk.Stat(); err != nil || info.Size() != int64(len(torn)) {
		t.Errorf("%d bytes are left, %v, want %d", info.Size(), err, len(torn))
	}
}
