package privacy

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Random identifiers are no findings, whatever words their letters happen to spell, but
// where check digits come out right by chance.
func TestRandomIdentifiers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	scanner, found := New(), map[string]int{}
	const many = 20_000
	for range many {
		a, b := random.Uint64(), random.Uint64()
		for _, id := range []string{
			fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", uint32(a), uint16(a>>32), a>>52, uint16(b)&0x3FFF|0x8000, b>>16),
			fmt.Sprintf("%016x%016x", a, b), fmt.Sprintf("%07x", a>>36),
		} {
			for _, text := range []string{id, "request " + id + " is done", `{"id":"` + id + `"}`} {
				for _, f := range scanner.ScanText([]byte(text)).Findings {
					found[string(f.Kind)]++
				}
			}
		}
	}
	for kind, n := range found {
		if n > many/1000 {
			t.Errorf("%d of %d random identifiers look like %s", n, 9*many, kind)
		}
	}
}
