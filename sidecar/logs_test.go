package sidecar

import (
	"context"
	"testing"
	"time"
)

// No look at a log begins when those under way have been waited for.
func TestNoLookAfterTheEnd(t *testing.T) {
	w := &logWatch{next: map[string]time.Time{}}
	w.running, w.stop = context.WithCancel(t.Context())
	looked := make(chan bool, 2)
	now := time.Now()
	for range 2 { // the second one is too early
		w.begin("https://peer.example", now, func(context.Context) { looked <- true })
	}
	w.close()
	w.begin("https://peer.example", now.Add(logInterval), func(context.Context) { looked <- true })
	w.looks.Wait()
	if got := len(looked); got != 1 {
		t.Errorf("%d looks, want 1", got)
	}
}
