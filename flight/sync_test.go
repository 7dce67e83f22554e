package flight

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestLoneCallerSyncs: who finds nobody syncing does it himself, and needs nothing to
// wait with.
func TestLoneCallerSyncs(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	e := entry(0)
	mustAppend(t, l, e, Durable)
	before := l.Stats().Syncs
	const calls = 100
	if n := testing.AllocsPerRun(calls, func() { mustAppend(t, l, e, Durable) }); n > 0 && !raceEnabled {
		t.Errorf("%v allocations for a durable record, want none: nobody else is to hear of its sync", n)
	}
	if n := l.Stats().Syncs - before; n != calls+1 { // AllocsPerRun calls once more
		t.Errorf("%d syncs for %d calls one after the other", n, calls+1)
	}
}

// TestOneSyncForAll lets many callers meet a sync: they wait for the next, and share it.
func TestOneSyncForAll(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	const callers = 64
	for range 10 {
		l.mu.Lock()
		for l.syncing {
			l.mu.Unlock()
			runtime.Gosched()
			l.mu.Lock()
		}
		l.syncing = true
		before := l.syncs
		l.mu.Unlock()
		errs := make(chan error, callers)
		for p := range callers {
			go func() {
				_, err := l.Append(entry(p), Durable)
				errs <- err
			}()
		}
		for waiting := 0; waiting < callers; runtime.Gosched() {
			l.mu.Lock()
			waiting = l.joined
			l.mu.Unlock()
			if len(errs) > 0 {
				t.Fatal("a record was acknowledged before the sync")
			}
		}
		l.mu.Lock()
		l.syncing = false
		l.work.Signal()
		l.mu.Unlock()
		awaitAll(t, errs, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
		if n := l.Stats().Syncs - before; n != 1 {
			t.Errorf("%d syncs for %d callers that waited for one", n, callers)
		}
	}
	mustClose(t, l)
	checkLog(t, dir, 10*callers)
}

// TestCloseAwaitsSync: the file is not taken away from under a caller that syncs it.
func TestCloseAwaitsSync(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	mustAppend(t, l, entry(0), Durable)
	l.mu.Lock()
	l.syncing = true
	l.mu.Unlock()
	closed := make(chan error, 1)
	go func() { closed <- l.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("closed (%v) during a sync", err)
	case <-time.After(50 * time.Millisecond):
	}
	l.mu.Lock()
	l.syncing = false
	l.work.Signal()
	l.mu.Unlock()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestCloseUnderLoad closes a log while callers sync by themselves: what was
// acknowledged is there afterwards, and nothing is left waiting.
func TestCloseUnderLoad(t *testing.T) {
	for callers := range 4 {
		dir := t.TempDir()
		l := mustOpen(t, dir, Options{SegmentBytes: 20_000})
		var all sync.WaitGroup
		var mu sync.Mutex
		last := int64(-1)
		for p := range callers + 1 {
			all.Go(func() {
				for {
					seq, err := l.Append(entry(p), Durable)
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					last = max(last, seq)
					mu.Unlock()
				}
			})
		}
		for l.Size() < 200 {
			time.Sleep(time.Millisecond)
		}
		mustClose(t, l)
		all.Wait()
		checkLog(t, dir, last+1)
	}
}

// TestEveryRecordIsSigned: the keeper, which is not woken for each sync, comes by itself.
func TestEveryRecordIsSigned(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	for range 2 {
		for i := range 3 {
			seq := mustAppend(t, l, entry(i), Durable)
			if i < 2 {
				continue
			}
			for deadline := time.Now().Add(10 * time.Second); l.Stats().Signed <= seq; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("record %d is not signed", seq)
				}
			}
		}
	}
}

// TestCloseAnswersAll: whoever waits for a sync when the log is closed hears of it, also if
// another sync took his record along.
func TestCloseAnswersAll(t *testing.T) {
	for range 100 {
		l := mustOpen(t, t.TempDir(), Options{})
		const callers = 16
		errs := make(chan error, callers)
		for p := range callers {
			go func() {
				for {
					if _, err := l.Append(entry(p), Durable); err != nil {
						errs <- err
						return
					}
				}
			}()
		}
		time.Sleep(time.Millisecond)
		mustClose(t, l)
		awaitAll(t, errs, func(err error) {
			if !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	}
}

// TestLateDiskHoldsProducers: who finds too much waiting for the disk waits for it.
func TestLateDiskHoldsProducers(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	mustAppend(t, l, entry(0), Durable)
	l.mu.Lock()
	l.seg.safe -= maxUnsynced
	before := l.syncs
	l.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := l.Append(entry(1), Written)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	l.mu.Lock()
	if l.next != 1 || l.syncs != before {
		t.Errorf("%d records, %d syncs", l.next, l.syncs-before)
	}
	l.seg.safe += maxUnsynced // what a sync says
	l.progress.Broadcast()
	l.mu.Unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestTileErrorEndsLog: where hashes cannot be stored the tree lacks them for good, so that
// the log ends with it, whoever asked, and no checkpoint is signed over what is missing.
func TestTileErrorEndsLog(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	l.treeMu.Lock() // the keeper waits meanwhile
	for i := range tileWidth {
		mustAppend(t, l, entry(i), Durable)
	}
	tiles := filepath.Join(l.dir, "tile")
	if err := errors.Join(os.RemoveAll(tiles), os.WriteFile(tiles, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	signed := l.signed.Size
	if err := l.fold(); err == nil || l.Err() == nil { // as who asks for a hash or a proof does
		t.Errorf("hashes are stored where nothing can be: %v, %v", err, l.Err())
	}
	l.treeMu.Unlock()
	if _, err := l.Append(entry(0), Written); err == nil || l.Err() == nil {
		t.Errorf("the log goes on: %v, %v", err, l.Err())
	}
	if err := l.Close(); err == nil {
		t.Error("Close says nothing of it")
	}
	if l.signed.Size != signed {
		t.Errorf("a checkpoint of %d records is signed, one of %d was before", l.signed.Size, signed)
	}
	if err := os.Remove(tiles); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, dir, Options{}) // what was acknowledged is there, and is hashed again
	mustClose(t, l)
	checkLog(t, dir, tileWidth)
}
