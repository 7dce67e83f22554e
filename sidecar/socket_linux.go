package sidecar

import "golang.org/x/sys/unix"

// peerUID is the user of the process at the other end of a Unix socket.
func peerUID(fd int) (int64, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return -1, err
	}
	return int64(cred.Uid), nil
}
