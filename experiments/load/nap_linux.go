package main

import (
	"syscall"
	"time"
)

// nap sleeps on a thread of its own: the runtime's timers wake some milliseconds
// late in a process that is busy. An early end only sends early what is due now.
func nap(d time.Duration) {
	pause := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&pause, nil)
}
