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

// preallocate reserves [off, off+n), or says that it cannot.
func preallocate(f *os.File, off, n int64) bool {
	return unix.Fallocate(int(f.Fd()), 0, off, n) == nil
}
