package privacy

import (
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// TestDetectors holds each detector to its own hits and misses.
func TestDetectors(t *testing.T) {
	s := New()
	for _, d := range builtin().all {
		for _, text := range d.hits {
			if !has(read(t, s, text), d) {
				t.Errorf("%s: not found in %q", d.kind, text)
			}
		}
		for _, text := range d.misses {
			if has(read(t, s, text), d) {
				t.Errorf("%s: found in %q", d.kind, text)
			}
		}
	}
}

// read scans text, as JSON if it is JSON with members.
func read(t *testing.T, s *Scanner, text string) Report {
	if text[0] == '{' && strings.Contains(text, "\"") {
		r, err := s.ScanJSON([]byte(text), ijson.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return r
	}
	return s.ScanText([]byte(text))
}

func has(r Report, d *detector) bool {
	for _, f := range r.Findings {
		if f.Kind == d.kind {
			return true
		}
	}
	return false
}

// TestGroupsAddUp: groups of digits are as many digits as the value has, since valid
// is asked about no others.
func TestGroupsAddUp(t *testing.T) {
	for _, d := range builtin().all {
		for _, fm := range d.forms {
			n := 0
			for _, l := range []byte(fm.lengths) {
				n += int(l - '0')
			}
			if fm.shape == groups && (n < d.min || n > d.max) {
				t.Errorf("%s: the groups %s have %d digits, want %d to %d", d.kind, fm.lengths, n, d.min, d.max)
			}
		}
	}
}
