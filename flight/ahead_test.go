package flight

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"testing"
	"time"
)

// TestZerosAhead fills several segments from many goroutines while zeros are
// written ahead of the lines. No zero may ever stand between two lines, no line
// may be overwritten, and closing leaves lines alone.
func TestZerosAhead(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{SegmentBytes: 600 << 10, LowDisk: 1})
	var all sync.WaitGroup
	const producers, each = 8, 400
	for p := range producers {
		all.Go(func() {
			e := entry(p)
			e.Payload, e.Text = nil, bytes.Repeat([]byte("x"), 1500)
			for i := range each {
				ack := Written
				if i%50 == 0 {
					ack = Durable
				}
				if _, err := l.Append(e, ack); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if l.Stats().Segments < 4 {
		t.Errorf("%d segments; the test wants rotations", l.Stats().Segments)
	}
	size := l.Size()
	mustClose(t, l)
	checkLog(t, dir, size)
	for _, first := range l.firsts() {
		data, err := os.ReadFile(segmentPath(l.dir, first))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(data, 0) >= 0 {
			t.Errorf("segment %d holds a zero byte after Close", first)
		}
	}
}

// TestZerosWaitForLines holds the writer while zeros are under way that it
// would meet, and only then.
func TestZerosWaitForLines(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{LowDisk: 1})
	mustAppend(t, l, entry(0), Written)
	for l.zeroesUnderWay() {
		time.Sleep(time.Millisecond)
	}
	l.mu.Lock()
	ready := l.seg.ready
	l.zeroing = true // somebody zeroes behind ready
	l.mu.Unlock()
	if ready < minAhead {
		t.Fatalf("%d bytes are ready, want %d", ready, int64(minAhead))
	}
	mustAppend(t, l, entry(1), Written) // there is room below
	l.mu.Lock()
	l.seg.ready = l.seg.queued
	l.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := l.Append(entry(2), Durable)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("a line was written where zeros are on their way, error %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	l.mu.Lock()
	l.zeroing, l.seg.ready = false, ready
	l.progress.Broadcast()
	l.mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
}

func (l *Log) zeroesUnderWay() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.zeroing
}

// TestNoLineMeetsZeros: a line that waits for zeros when the log fails is not written: they
// may still be on their way, and would go over it.
func TestNoLineMeetsZeros(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{LowDisk: 1})
	mustAppend(t, l, entry(0), Durable)
	for l.zeroesUnderWay() {
		time.Sleep(time.Millisecond)
	}
	path := segmentPath(l.dir, 0)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.zeroing, l.seg.ready = true, l.seg.queued
	l.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := l.Append(entry(1), Written)
		done <- err
	}()
	for waits := false; !waits; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		waits = l.writing
		l.mu.Unlock()
	}
	l.mu.Lock()
	l.fail(errors.New("the disk is gone"))
	l.zeroing = false
	l.mu.Unlock()
	if err := <-done; err == nil {
		t.Error("the record is said to be written")
	}
	if err := l.Close(); err == nil {
		t.Error("Close says nothing of the disk")
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(bytes.TrimRight(after, "\x00"), bytes.TrimRight(before, "\x00")) {
		t.Errorf("the segment holds %q, %v", bytes.TrimRight(after, "\x00"), err)
	}
}
