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

	"github.com/inter-agent-trust/iatp/flight"
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
		Held   time.Time
		Asked  time.Time
		InTime bool `json:"in_time"`
	}
	Limits []struct {
		About string
		Open  int
		Cost  []string
		Ratio float64
		From  int
		Steps []limitStep
	}
}

// limitStep is something that happens to the tasks of one caller, so many seconds after
// the first step.
type limitStep struct {
	At     int64
	Do     string // begin, commit, undo, undone, ask
	Task   int
	Window int64 // commit
	Cost   string
	By     string // undo
	Answer string // ask: yes, or the limit that is in the way
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
	if len(v.IDs.Accept) == 0 || len(v.IDs.Reject) == 0 || len(v.Follows) == 0 || len(v.Sagas) == 0 || len(v.Windows) == 0 || len(v.Limits) == 0 {
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
		thing := &Thing{State: Committed, Level: w.Level, Held: w.Held}
		if w.Until != "" {
			var err error
			if thing.Until, err = time.Parse(time.RFC3339, w.Until); err != nil {
				t.Fatal(err)
			}
		}
		if got := thing.InTime(w.Asked); got != w.InTime {
			t.Errorf("level %q until %q, held %s, asked at %s: in time %t, want %t", w.Level, w.Until, w.Held, w.Asked, got, w.InTime)
		}
	}
}

// TestVectorLimits has the steps of each case happen, on lines of a log, and asks whether
// the caller may have another task that can be undone; then all of it again after a
// restart.
func TestVectorLimits(t *testing.T) {
	for _, c := range readVectors(t).Limits {
		t.Run(c.About, func(t *testing.T) {
			w := newWorld(t)
			defer w.end()
			limits := Limits{Open: c.Open, Ratio: c.Ratio, From: c.From}
			for _, text := range c.Cost {
				m, ok := readCost(text)
				if !ok {
					t.Fatalf("no cost: %s", text)
				}
				limits.Cost = append(limits.Cost, m)
			}
			began, tasks := w.now(), map[int]Ref{}
			for i, step := range c.Steps {
				w.clock.Store(began.Add(time.Duration(step.At) * time.Second).UnixNano())
				w.book.opt.Limits = limits
				if step.Do != "ask" {
					w.limitStep(tasks, &step)
					continue
				}
				for _, when := range []string{"at once", "after a restart"} {
					release, err := w.book.Admit(w.book.PoolOf("https://a.example"))
					if got := map[error]string{nil: "yes", ErrOpen: "open", ErrCost: "cost", ErrRatio: "ratio"}[err]; got != step.Answer {
						t.Errorf("step %d, %s: %s, want %s", i+1, when, got, step.Answer)
					}
					if err == nil {
						release()
					}
					w.shut()
					w.open()
					w.book.opt.Limits = limits
				}
			}
		})
	}
}

// limitStep writes what a step is recorded as.
func (w *world) limitStep(tasks map[int]Ref, s *limitStep) {
	w.t.Helper()
	ref := tasks[s.Task]
	end := flight.Tx{Kind: flight.TxTask, At: ref.At, Label: ref.Label, State: string(Committed), Cost: s.Cost}
	if s.Window > 0 {
		end.Until = w.now().Add(time.Duration(s.Window) * time.Second)
	}
	var err error
	switch s.Do {
	case "begin":
		tasks[s.Task] = w.begin("full")
	case "commit":
		_, err = w.log.Append(&flight.Entry{Type: flight.Response, TraceID: "t", Tx: &end}, flight.Durable)
	case "undo":
		_, err = w.book.Undo(ref, Ask{Who: s.By, At: w.now()})
	case "undone":
		w.reply = Result{Verdict: Done}
		w.step()
		if got := w.load(ref).State; got != Compensated {
			w.t.Fatalf("task %d is %s", s.Task, got)
		}
	default:
		w.t.Fatalf("no step: %s", s.Do)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
