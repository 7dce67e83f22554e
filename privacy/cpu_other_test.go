//go:build !linux

package privacy

import (
	"testing"
	"time"
)

var began = time.Now()

// threadTime is the time on the wall, for want of better.
func threadTime(testing.TB) time.Duration { return time.Since(began) }

// perCore runs body b.N times; here the clock on the wall has to do.
func perCore(b *testing.B, size int, body func()) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		body()
	}
}
