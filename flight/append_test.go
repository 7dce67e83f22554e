package flight

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// queueHeld starts producers while the log may not write, waits until the line of
// each is queued, and returns where their errors will come.
func queueHeld(t *testing.T, l *Log, producers int) <-chan error {
	t.Helper()
	l.mu.Lock()
	err := l.hold()
	want := l.next + int64(producers)
	l.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, producers)
	for p := range producers {
		go func() {
			ack := Written
			if p%4 == 3 {
				ack = Durable
			}
			_, err := l.Append(entry(p), ack)
			errs <- err
		}()
	}
	for {
		l.mu.Lock()
		next := l.next
		l.mu.Unlock()
		if next == want {
			return errs
		}
		runtime.Gosched()
	}
}

func (l *Log) letGoLocked() {
	l.mu.Lock()
	l.letGo()
	l.mu.Unlock()
}

func awaitAll(t *testing.T, errs <-chan error, check func(error)) {
	t.Helper()
	for range cap(errs) {
		select {
		case err := <-errs:
			check(err)
		case <-time.After(10 * time.Second):
			t.Fatal("a producer was left waiting")
		}
	}
}

// TestOneWriteForAll lets many producers wait for the log at once: all lines are
// written together, and everybody hears of it.
func TestOneWriteForAll(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{LowDisk: 1})
	for range 20 {
		errs := queueHeld(t, l, 64)
		l.letGoLocked()
		awaitAll(t, errs, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
		l.mu.Lock()
		if l.written != l.next || l.led || l.batch != nil {
			t.Errorf("written %d of %d, led %t, batch %v after everybody is served", l.written, l.next, l.led, l.batch)
		}
		l.mu.Unlock()
	}
	mustClose(t, l)
	checkLog(t, dir, 20*64)
}

// TestFailedWriteFailsAll fills the disk while many wait for one write.
func TestFailedWriteFailsAll(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{LowDisk: 1})
	mustAppend(t, l, entry(0), Durable)
	errs := queueHeld(t, l, 64)
	l.breakDisk(t)
	l.letGoLocked()
	awaitAll(t, errs, func(err error) {
		if err == nil {
			t.Error("a record that was not written was acknowledged")
		}
	})
	if l.Size() != 1 {
		t.Errorf("size %d after a write that failed, want 1", l.Size())
	}
	if _, err := l.Append(entry(1), Written); err == nil {
		t.Error("a record was taken after a write that failed")
	}
	if l.Close() == nil {
		t.Error("Close does not say that the log failed")
	}
}

// TestDiskFailsUnderLoad fills the disk while many producers append for all
// they are worth. Each gets the error, and what was acknowledged is there.
func TestDiskFailsUnderLoad(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{LowDisk: 1})
	var all sync.WaitGroup
	var mu sync.Mutex
	last := int64(-1)
	for p := range 64 {
		all.Go(func() {
			ack := Ack(p % 2)
			for i := 0; ; i++ {
				seq, err := l.Append(entry(p+i), ack)
				if err != nil {
					return
				}
				mu.Lock()
				last = max(last, seq)
				mu.Unlock()
			}
		})
	}
	for l.Size() < 2000 {
		time.Sleep(time.Millisecond)
	}
	l.breakDisk(t)
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("a producer was left waiting")
	}
	if l.Err() == nil || l.Close() == nil {
		t.Error("the log does not say that it failed")
	}
	l = mustOpen(t, dir, Options{LowDisk: 1})
	if got := l.Size(); got <= last {
		t.Errorf("%d records after a restart, and record %d was acknowledged", got, last)
	}
	mustClose(t, l)
}
