package sidecar

import "testing"

// TestHeapStaysSmall: a heap grows to spareHeap or to twice what is alive, and not
// further.
func TestHeapStaysSmall(t *testing.T) {
	for live := uint64(0); live < 200<<20; live += 100 << 10 {
		grown := live + live*uint64(collectAt(live))/100
		if grown > max(spareHeap, 2*live) {
			t.Fatalf("%d live bytes grow to %d", live, grown)
		}
	}
	if n := liveHeap(); n > 1<<30 {
		t.Errorf("%d bytes live in a small test", n)
	}
}

// TestWork: a busy stream is work, one that says something now and then is not.
func TestWork(t *testing.T) {
	s := &Sidecar{gate: newGate(1, 1)}
	before := s.work()
	s.pieces.Add(manyPieces / 2)
	if s.work() != before {
		t.Error("a few pieces keep memory from being given back")
	}
	s.pieces.Add(manyPieces)
	if s.work() == before {
		t.Error("memory is given back in the middle of many streams")
	}
	before = s.work()
	s.gate.enter(t.Context(), 0)
	if s.work() == before {
		t.Error("a call is no work")
	}
}
