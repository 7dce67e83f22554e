//go:build !linux || !(amd64 || arm64)

package socket

import "syscall"

const direct = false

func receive(uintptr, []byte) (int, syscall.Errno) { return 0, syscall.ENOSYS }
func send(uintptr, []byte) (int, syscall.Errno)    { return 0, syscall.ENOSYS }
