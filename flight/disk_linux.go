package flight

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// datasync makes the data of f durable, and of its metadata what is needed to
// read the data back.
func datasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// preallocate makes room for [off, off+n): a sync within that range need not
// write a new file length, which halves its cost. A file system that cannot do
// it, or has no room left, is no error: the write itself will tell.
func preallocate(f *os.File, off, n int64) bool {
	return unix.Fallocate(int(f.Fd()), 0, off, n) == nil
}
