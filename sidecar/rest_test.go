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
