package privacy

import "testing"

// TestDetectors holds each detector to its own hits and misses.
func TestDetectors(t *testing.T) {
	s := New()
	for _, d := range detectors {
		for _, text := range d.hits {
			if !has(s.ScanText([]byte(text)), d) {
				t.Errorf("%s: not found in %q", d.kind, text)
			}
		}
		for _, text := range d.misses {
			if has(s.ScanText([]byte(text)), d) {
				t.Errorf("%s: found in %q", d.kind, text)
			}
		}
	}
}

func has(r Report, d *detector) bool {
	for _, f := range r.Findings {
		if f.Kind == d.kind {
			return true
		}
	}
	return false
}
