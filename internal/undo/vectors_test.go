package undo

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// spec is the directory of the protocol's text.
var spec = filepath.Join("..", "..", "spec")

// vectors is the part of spec/vectors/reversibility.json that is about this package.
type vectors struct {
	IDs struct {
		Accept []struct {
			ID       string
			Position int64
			Random   string `json:"random_hex"`
		}
		Reject []string
	}
	Follows map[State][]State
	Sagas   []struct {
		Calls []State
		Saga  State
	}
	Windows []struct {
		Level  string
		Until  string
		Asked  time.Time
		InTime bool `json:"in_time"`
	}
}

func readVectors(t *testing.T) *vectors {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(spec, "vectors", "reversibility.json"))
	if err != nil {
		t.Fatal(err)
	}
	v := &vectors{}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
	if len(v.IDs.Accept) == 0 || len(v.IDs.Reject) == 0 || len(v.Follows) == 0 || len(v.Sagas) == 0 || len(v.Windows) == 0 {
		t.Fatal("a list of the vectors is empty")
	}
	return v
}

func TestVectorIDs(t *testing.T) {
	v := readVectors(t)
	for _, a := range v.IDs.Accept {
		ref, err := ParseID(a.ID)
		if err != nil || ref.At != a.Position || hex.EncodeToString(ref.Label[:]) != a.Random || ref.ID() != a.ID {
			t.Errorf("%s reads as %+v, %v; want position %d and %s", a.ID, ref, err, a.Position, a.Random)
		}
	}
	for _, id := range v.IDs.Reject {
		if ref, err := ParseID(id); err == nil {
			t.Errorf("%q is taken for %+v", id, ref)
		}
	}
}

// TestVectorStates tries every pair of states.
func TestVectorStates(t *testing.T) {
	v := readVectors(t)
	for from, allowed := range v.Follows {
		for to := range v.Follows {
			if got, want := from.mayFollow(to), slices.Contains(allowed, to); got != want {
				t.Errorf("%s after %s: %t, want %t", to, from, got, want)
			}
		}
	}
	for from := range follows {
		if _, ok := v.Follows[from]; !ok && from != "" {
			t.Errorf("the vectors do not know the state %s", from)
		}
	}
}

// TestFigure holds the figure of the text to the vectors: an arrow for each pair, and
// no other.
func TestFigure(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(spec, "002-reversibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[State][]State{}
	for _, arrow := range regexp.MustCompile(`(?m)^ +([a-z_]+) --> ([a-z_]+)`).FindAllSubmatch(text, -1) {
		from := State(arrow[1])
		drawn[from] = append(drawn[from], State(arrow[2]))
	}
	want := map[State][]State{}
	for from, all := range readVectors(t).Follows {
		if len(all) > 0 {
			want[from] = slices.Sorted(slices.Values(all))
		}
	}
	for from := range drawn {
		slices.Sort(drawn[from])
	}
	if diff := cmp.Diff(want, drawn); diff != "" {
		t.Errorf("the figure of spec/002 (-vectors +figure):\n%s", diff)
	}
}

func TestVectorSagas(t *testing.T) {
	for _, s := range readVectors(t).Sagas {
		var calls []*Thing
		for _, state := range s.Calls {
			calls = append(calls, &Thing{State: state})
		}
		if got := sagaOutcome(calls); got != s.Saga {
			t.Errorf("a saga with calls %v is %s, want %s", s.Calls, got, s.Saga)
		}
	}
}

func TestVectorWindows(t *testing.T) {
	for _, w := range readVectors(t).Windows {
		thing := &Thing{State: Committed, Level: w.Level}
		if w.Until != "" {
			var err error
			if thing.Until, err = time.Parse(time.RFC3339, w.Until); err != nil {
				t.Fatal(err)
			}
		}
		if got := thing.InTime(w.Asked); got != w.InTime {
			t.Errorf("level %q until %q, asked at %s: in time %t, want %t", w.Level, w.Until, w.Asked, got, w.InTime)
		}
	}
}
