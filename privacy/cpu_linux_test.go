package privacy

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// perCore runs body b.N times and reports how many bytes a core reads in a
// second of its own time: on a machine that others use, the clock on the wall
// measures them.
func perCore(b *testing.B, size int, body func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	body() // warm
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	start := threadTime(b)
	for range b.N {
		body()
	}
	b.ReportMetric(float64(size)*float64(b.N)/1e6/(threadTime(b)-start).Seconds(), "MB/s-core")
}

// threadTime is the time that this thread has had of a core.
func threadTime(t testing.TB) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}
