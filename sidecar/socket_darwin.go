package sidecar

import "golang.org/x/sys/unix"

// peerUID is the user of the process at the other end of a Unix socket.
func peerUID(fd int) (int64, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return -1, err
	}
	return int64(cred.Uid), nil
}
