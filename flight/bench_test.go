package flight

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
)

// benchEntry is a request as the sidecar records it, with a body of 1 KB and
// the redacted payload of one.
func benchEntry(body []byte) *Entry {
	return &Entry{
		Type: Request, TraceID: "e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f", Dir: Local,
		AgentID: "secure-bank-agent", Method: "POST", Path: "/proxy",
		Opaque: "ephemeral", ContentType: "application/json", Bytes: int64(len(body)), Body: body,
		Decision: "allow", Assessed: true, Level: iatp.VerifiedPartner, Evidence: "E6", Score: 10,
		Manifest:    "sha-256=:PPYNByHqITZCThYjTCDuY2uaSTlORi2wbrifliVhVlI=:",
		Policy:      "sha-256=:PPYNByHqITZCThYjTCDuY2uaSTlORi2wbrifliVhVlI=:",
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

// benchDir makes a directory for logs on a real disk: the temporary directory may be
// memory. They stay until the benchmark and those below it have run: ext4 without a
// journal does not use the inode of a file again soon after it was deleted, and to look
// for others took a tenth of the next log's time.
func benchDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp(".", "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func benchLog(b *testing.B, parent string) *Log {
	b.Helper()
	dir, err := os.MkdirTemp(parent, "log")
	if err != nil {
		b.Fatal(err)
	}
	l, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		l.mu.Lock()
		want := l.next
		l.mu.Unlock()
		if err := l.Close(); err != nil {
			b.Error(err)
		}
		r, err := Verify(dir, "")
		if err != nil || !r.OK() || r.Records != want {
			b.Errorf("after the benchmark: %+v, %v; want %d records", r, err, want)
		}
	})
	return l
}

// BenchmarkBuild is one record built, hashed and queued, with its commitment.
func BenchmarkBuild(b *testing.B) {
	l := benchLog(b, benchDir(b))
	e := benchEntry(make([]byte, 1024))
	c := new(encoder)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.encode(e, &l.keys.store, time.Now()); err != nil {
			b.Fatal(err)
		}
		l.mu.Lock()
		seq, at, leaves, index := l.next, len(l.pending), len(l.leaves), len(l.seg.index)
		if _, err := l.queue(c); err != nil {
			b.Fatal(err)
		}
		// Take it back: writing is measured elsewhere.
		l.next, l.pending, l.leaves, l.seg.index = seq, l.pending[:at], l.leaves[:leaves], l.seg.index[:index]
		l.mu.Unlock()
	}
}

func BenchmarkAppend(b *testing.B) {
	dir := benchDir(b)
	for _, ack := range []Ack{Written, Durable} {
		for _, producers := range []int{1, 64} {
			b.Run(fmt.Sprintf("ack=%d/producers=%d", ack, producers), func(b *testing.B) {
				benchAppend(b, dir, ack, producers)
			})
		}
	}
}

func benchAppend(b *testing.B, dir string, ack Ack, producers int) {
	l := benchLog(b, dir)
	body := make([]byte, 1024)
	b.ReportAllocs()
	b.ResetTimer()
	before := processorTime(b)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			e := benchEntry(body)
			for range (b.N + p) / producers {
				if _, err := l.Append(e, ack); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/float64(max(1, l.Stats().Syncs)), "records/sync")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkOpen opens a log of a million records that was closed in order.
func BenchmarkOpen(b *testing.B) {
	dir, err := os.MkdirTemp(".", "bench")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	e := benchEntry([]byte("{}"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1_000_000 / 8 {
				if _, err := l.Append(e, Written); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	b.ResetTimer()
	for range b.N {
		l, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		l.Close()
		b.StartTimer()
	}
}
