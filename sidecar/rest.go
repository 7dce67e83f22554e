package sidecar

import (
	"context"
	"os"
	"runtime/debug"
	gauges "runtime/metrics"
	"time"
)

// restAfter is how long nothing has to come before memory is given back.
const restAfter = time.Second

// rest looks after the memory of a program that is a sidecar and nothing else,
// once a second. When nothing has come for a second it gives memory back to the
// system: the heap of busy hours, and the stacks that grew in them, would
// otherwise stay with connections that are idle, for nothing collects garbage
// while nothing is made. The first time it also gives back what of the program only its
// start needed: once, for what is needed again makes the next call wait for a
// millisecond or two. While work comes, it keeps the collector from running
// dozens of times a second over a heap of a few megabytes.
func (s *Sidecar) rest(ctx context.Context) {
	tick := time.NewTicker(restAfter)
	defer tick.Stop()
	seen, given := int64(0), int64(-1) // work at the last look, and when memory was given back
	percent := 100
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.work()
		if now == seen && now != given {
			debug.FreeOSMemory()
			if given < 0 {
				s.forgetStart()
			}
			given = now
		}
		seen = now
		if _, set := os.LookupEnv("GOGC"); set {
			continue // the operator knows better
		}
		if want := collectAt(liveHeap()); want != percent {
			percent = want
			debug.SetGCPercent(want)
		}
	}
}

// manyPieces is how many pieces of streams in a second are work: to give memory back
// stops them all for some milliseconds.
const manyPieces = 64

// work grows with what is done.
func (s *Sidecar) work() int64 { return s.gate.entries() + s.pieces.Load()/manyPieces }

// forgetStart gives back what of the program only its start needed.
func (s *Sidecar) forgetStart() {
	if err := dropProgram(); err != nil {
		s.log.Debug("the pages of the program stay in memory", "error", err)
	}
}

// spareHeap is up to where the heap may grow before it is collected, whatever is
// alive in it.
const spareHeap = 20 << 20

// largeHeap is from where on memory is dearer than the time to collect it.
const largeHeap = 96 << 20

// collectAt is the percentage by which a heap may grow that has so many live bytes:
// up to spareHeap, and to twice its size, and by half of it if it is large.
func collectAt(live uint64) int {
	switch {
	case live > largeHeap:
		return 50
	case live < spareHeap/5:
		return 400
	case live < spareHeap/3:
		return 200
	}
	return 100
}

// liveHeap is what the last collection left.
func liveHeap() uint64 {
	sample := []gauges.Sample{{Name: "/gc/heap/live:bytes"}}
	gauges.Read(sample)
	if sample[0].Value.Kind() != gauges.KindUint64 {
		return spareHeap // a runtime that does not say: leave it alone
	}
	return sample[0].Value.Uint64()
}
