//go:build amd64 || arm64

package flight

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// briefWrite writes p, which is not empty, at an offset, without telling the scheduler:
// the processor is held until the call is over. It returns how many bytes it wrote.
func briefWrite(f *os.File, p []byte, at int64) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PWRITE64, f.Fd(), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(at), 0, 0)
	runtime.KeepAlive(f)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// onLocalDisk reports whether f lies in a file system of which we know that it keeps what is
// written over blocks that are there in memory, and asks no program and no other machine. One that
// copies on write looks for other blocks, and may have to make room.
func onLocalDisk(f *os.File) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
		return true
	}
	return false
}
