package flight

import (
	"testing"

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
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := unix.Dup3(full, int(l.seg.file.Fd()), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
}
