package undo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp/flight"
)

// world is an agent and a peer that honour keys, and the desk that they are undone at.
type world struct {
	mu    sync.Mutex
	t     testing.TB
	dir   string
	log   *flight.Log
	book  *Book
	clock atomic.Int64 // nanoseconds of Unix time; the book reads it meanwhile
	reply Result       // of the next compensation or undo
	knows Knowledge    // of the next check
	fate  Fate         // of the next question to the peer
	alone bool         // nothing is undone unasked

	meanwhile func() // happens once, while the agent or the peer is being asked

	effects map[string]int    // of compensations, by id
	bodies  map[string]string // the first body for an id
	asked   int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "undo-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, effects: map[string]int{}, bodies: map[string]string{}}
	w.clock.Store(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	w.open()
	return w
}

func (w *world) now() time.Time { return time.Unix(0, w.clock.Load()).UTC() }

// pass lets time pass.
func (w *world) pass(d time.Duration) { w.clock.Add(int64(d)) }

func (w *world) end() {
	w.shut()
	os.RemoveAll(w.dir)
}

func (w *world) shut() {
	if err := errors.Join(w.book.Close(), w.log.Close()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) open() {
	var err error
	if w.log, err = flight.Open(w.dir, flight.Options{Now: w.now}); err != nil {
		w.t.Fatal(err)
	}
	host := Host{
		Compensate: w.compensate, Undo: func(ctx context.Context, c *Thing) Result { return w.compensate(ctx, &Order{Task: c}) },
		Check:    func(context.Context, *Thing) Knowledge { w.overtake(); return w.knows },
		Ask:      func(context.Context, *Thing) Fate { w.overtake(); return w.fate },
		Patience: func() time.Duration { return time.Minute }, CanRollBack: func() bool { return !w.alone },
	}
	o := Options{Dir: w.dir, Host: host, Logger: slog.New(slog.DiscardHandler), Now: w.now, GiveUp: time.Hour}
	if w.book, err = Open(w.log, o); err != nil {
		w.t.Fatal(err)
	}
}

// overtake lets happen what is to happen while somebody is being asked.
func (w *world) overtake() {
	if f := w.meanwhile; f != nil {
		w.meanwhile = nil
		f()
	}
}

// compensate has its effect once for each id, also when its answer is lost.
func (w *world) compensate(_ context.Context, o *Order) Result {
	w.overtake()
	w.mu.Lock() // several calls are undone at a time
	defer w.mu.Unlock()
	id := o.Task.ID()
	w.asked++
	if first, again := w.bodies[id]; again && first != string(o.Body) {
		w.t.Errorf("%s is asked for with %s, and was with %s", id, o.Body, first)
	}
	w.bodies[id] = string(o.Body)
	if w.reply.Verdict == Done || w.reply.Verdict == Later {
		w.effects[id] = 1
	}
	return w.reply
}

// begin records a task under way.
func (w *world) begin(level string) Ref {
	w.t.Helper()
	window := int64(3600)
	label := w.book.LabelOf([8]byte{byte(w.log.Size()), byte(w.log.Size() >> 8), 7})
	place, wait, release, err := w.book.Keep(label, []byte(`{"n":1}`))
	if err == nil {
		err = wait()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	defer release()
	seq, err := w.log.Append(&flight.Entry{Type: flight.Request, TraceID: "t", Peer: "https://a.example", JKT: "k", Dir: flight.In, Tx: &flight.Tx{
		Kind: flight.TxTask, At: flight.TxBegins, Label: label, By: w.book.KeyLabel("https://a.example", fmt.Sprint(w.log.Size())),
		State: string(Active), Level: level, Window: &window, Sealed: place, Pool: w.book.PoolOf("https://a.example"),
	}}, flight.Durable)
	if err != nil {
		w.t.Fatal(err)
	}
	return Ref{seq, label}
}

// finish records the end of a task.
func (w *world) finish(ref Ref, state State) {
	w.t.Helper()
	_, err := w.log.Append(&flight.Entry{Type: flight.Response, TraceID: "t", Tx: &flight.Tx{
		Kind: flight.TxTask, At: ref.At, Label: ref.Label, State: string(state), Until: w.now().Add(time.Hour),
	}}, flight.Durable)
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) load(ref Ref) *Thing {
	w.t.Helper()
	t, err := w.book.Load(ref)
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

// step works once on everything that is in motion.
func (w *world) step() {
	for _, ref := range w.book.Moving(MaxMoving) {
		w.book.mu.Lock()
		m := w.book.moving[ref.At]
		due := m != nil && m.needsWork()
		w.book.mu.Unlock()
		if due {
			w.book.do(m)
		}
	}
}

// TestModel lets five initiators, a person, an agent that fails as it likes, the clock and
// crashes loose on tasks, also while the agent is being asked. Whatever happens: a state follows from the one before, an undo has
// effect at most once, nothing rests that somebody asked to have undone, and what a
// restart reads is what was known before. What is at its end is not worked on.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		defer w.end()
		var tasks []Ref
		wished := map[Ref]bool{}
		one := func() Ref { return rapid.SampledFrom(tasks).Draw(r, "task") }
		ask := func() {
			ref := one()
			who := rapid.SampledFrom([]string{ByCaller, BySaga, ByIngress, ByOperator, ByRecovery}).Draw(r, "who")
			before := w.load(ref)
			after, err := w.book.Undo(ref, Ask{Who: who, Reason: "r", At: w.now()})
			if err == nil && (after.State == Compensating || after.State == Active && after.Asked != "") {
				wished[ref] = true
			}
			if err != nil && before.State != w.load(ref).State {
				t.Errorf("a refused undo changed %s to %s", before.State, w.load(ref).State)
			}
		}
		say := func() {
			ref := one()
			word := rapid.SampledFrom([]State{Compensated, Partially, CompensationFailed, Committed, Failed}).Draw(r, "word")
			if _, err := w.book.Resolve(ref, Resolution{State: word, By: "alice"}); err == nil {
				delete(wished, ref) // a person's word is the last
			}
		}
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			w.pass(time.Duration(rapid.IntRange(0, 120).Draw(r, "seconds")) * time.Second)
			w.reply = Result{Verdict: rapid.SampledFrom([]Verdict{Later, Later, Done, Refused, Never}).Draw(r, "reply")}
			w.knows = rapid.SampledFrom([]Knowledge{{}, {Known: true}, {Known: true, Executed: true}, {Known: true, Executed: true, State: "partial"}, {Retry: true}}).Draw(r, "knows")
			w.alone = rapid.Bool().Draw(r, "alone")
			switch rapid.IntRange(0, 6).Draw(r, "what") {
			case 0:
				tasks = append(tasks, w.begin(rapid.SampledFrom([]string{"full", "none"}).Draw(r, "level")))
			case 1:
				if len(tasks) > 0 {
					if ref := one(); w.load(ref).State == Active {
						w.finish(ref, rapid.SampledFrom([]State{Committed, Failed, Unknown}).Draw(r, "end"))
					}
				}
			case 2, 3:
				if len(tasks) > 0 {
					ask()
				}
			case 4:
				if len(tasks) > 0 {
					w.meanwhile = rapid.SampledFrom([]func(){nil, ask, ask, say}).Draw(r, "meanwhile")
				}
				w.step()
				w.meanwhile = nil
			case 5:
				if len(tasks) > 0 {
					say()
				}
			case 6:
				known := slices.SortedFunc(slices.Values(w.book.Moving(MaxMoving)), func(x, y Ref) int { return int(x.At - y.At) })
				w.shut()
				w.open()
				again := slices.SortedFunc(slices.Values(w.book.Moving(MaxMoving)), func(x, y Ref) int { return int(x.At - y.At) })
				if diff := cmp.Diff(known, again); diff != "" {
					t.Errorf("a restart forgets what is in motion (-before +after):\n%s", diff)
				}
				if err := w.book.Run(); err != nil { // ends what was under way
					t.Fatal(err)
				}
				w.shut()
				w.open()
			}
		}
		// The agent is well again: everything that goes on by itself comes to an end.
		for _, ref := range tasks {
			if w.load(ref).State == Active {
				w.finish(ref, Committed)
			}
		}
		w.reply, w.knows = Result{Verdict: Done}, Knowledge{}
		for range 10 {
			w.step()
		}
		for _, ref := range tasks {
			switch thing := w.load(ref); {
			case w.effects[ref.ID()] > 1:
				t.Errorf("the undo of %s had effect twice", ref.ID())
			case thing.State == Compensating: // no method of these is a person's work
				t.Errorf("%s is still being undone, by a person: %t", ref.ID(), thing.Manual)
			case thing.Asks() != slices.Contains(w.book.Moving(MaxMoving), ref) && (thing.Asks() || thing.Settled):
				t.Errorf("%s asks for a person: %t, and does not rest accordingly", ref.ID(), thing.Asks())
			case thing.State.Over() && !thing.Asks() && slices.Contains(w.book.Moving(MaxMoving), ref):
				t.Errorf("%s is %s, and in motion", ref.ID(), thing.State)
			case wished[ref] && !thing.State.Over() && !thing.Manual:
				t.Errorf("%s was to be undone and is %s", ref.ID(), thing.State)
			case thing.State == Compensated && w.effects[ref.ID()] == 0 && thing.Who != "" && !resolved(thing):
				t.Errorf("%s is compensated, and nobody did anything", ref.ID())
			}
		}
	})
}

// resolved reports whether a person had the last word.
func resolved(t *Thing) bool { return t.History[len(t.History)-1].By == ByOperator }

// TestOnlyWhatMayFollow: the states form no circle but the one through a person, and
// none comes out of nothing.
func TestOnlyWhatMayFollow(t *testing.T) {
	for _, s := range []State{Failed, Compensated, Partially, Closed, Final} {
		if len(follows[s]) != 0 {
			t.Errorf("%s is an end, and %v may follow", s, follows[s])
		}
	}
	for from, all := range follows {
		for _, to := range all {
			if _, known := follows[to]; !known && !to.Over() {
				t.Errorf("%s leads to %s, from where nothing goes on", from, to)
			}
		}
	}
}

func TestIDs(t *testing.T) {
	ref := Ref{At: 1 << 40, Label: flight.Label{1, 2, 3}}
	if got, err := ParseID(ref.ID()); err != nil || got != ref {
		t.Errorf("ParseID(%s) = %v, %v", ref.ID(), got, err)
	}
	if got, err := ParseSagaID(ref.SagaID()); err != nil || got != ref {
		t.Errorf("ParseSagaID(%s) = %v, %v", ref.SagaID(), got, err)
	}
	for _, bad := range []string{"", "tx_", ref.SagaID(), ref.ID() + "A", ref.ID()[:20], "tx_gAAAAAAAAAABAgMEBQYHCA", "tx_AAAAAAAAAAAAAAAAAAAAAA"} {
		if got, err := ParseID(bad); !errors.Is(err, ErrUnknown) {
			t.Errorf("ParseID(%q) = %v, %v", bad, got, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("tx_AAAAAAAAACkvQ2xhYmVsMA")
	f.Fuzz(func(t *testing.T, id string) {
		if ref, err := ParseID(id); err == nil && ref.ID() != id {
			t.Errorf("%q is read as %q", id, ref.ID())
		}
	})
}

// FuzzFold: whatever stands in lines, it is a thing, or none, or damaged; never a panic
// and never a state that does not follow.
func FuzzFold(f *testing.F) {
	f.Add([]byte(`{"seq":1,"timestamp":"2027-01-01T00:00:00.000Z","tx":{"kind":"task","label":"AQIDBAUGBwg","state":"active"},"type":"request"}`),
		[]byte(`{"error":"x","seq":2,"timestamp":"2027-01-01T00:00:00.000Z","tx":{"at":1,"label":"AQIDBAUGBwg","state":"committed"},"type":"response"}`))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		lines := []flight.Line{{Seq: 1, Text: one}, {Seq: 2, Text: two}}
		thing, err := fold(Ref{At: 1, Label: flight.Label{1, 2, 3, 4, 5, 6, 7, 8}}, lines)
		if err != nil {
			return
		}
		before := State("")
		for _, s := range thing.History {
			if !before.mayFollow(s.State) {
				t.Errorf("%s follows %s", s.State, before)
			}
			before = s.State
		}
	})
}

// FuzzRestore: a snapshot is taken whole, or the view is empty.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"v":2,"moving":[{"at":3,"label":"AQIDBAUGBwg","kind":"task","state":"compensating","files":[1]}],"of":[{"pool":"AQIDBAUGBwg","ends":[{"at":"2027-01-01T00:00:00Z","n":3,"cost":["1.00 USD"]}],"hours":[{"h":500000,"b":3,"u":1}]}],"kept":{"1":"2027-01-01T00:00:00Z"}}`))
	w := newWorld(f)
	f.Cleanup(w.end)
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := (*view)(w.book).Restore(text); err != nil && (len(w.book.moving) > 0 || len(w.book.kept) > 0 || len(w.book.shares) > 0 || len(w.book.due) > 0 || len(w.book.accounts) > 0) {
			t.Errorf("after %v there is %v", err, slices.Collect(maps.Keys(w.book.moving)))
		}
		if err := (*view)(w.book).Restore([]byte(`{"v":2}`)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestKeptIsErased: what an undo needs is readable while it may be asked for, after a
// restart too, and gone from the disk after its window.
func TestKeptIsErased(t *testing.T) {
	w := newWorld(t)
	defer w.end()
	ref := w.begin("full")
	w.finish(ref, Committed)
	w.shut()
	w.open()
	w.pass(30 * time.Minute)
	w.book.sweep()
	if got, err := w.book.read(w.load(ref), w.load(ref).Original); string(got) != `{"n":1}` {
		t.Errorf("inside the window the original is %q, %v", got, err)
	}
	w.pass(26 * time.Hour)
	w.book.sweep()
	if got, err := w.book.read(w.load(ref), w.load(ref).Original); got != nil || err != nil {
		t.Errorf("after the window the original is %q, %v", got, err)
	}
	if files, bytes, _ := w.book.vault.Stats(); files != 0 || bytes != 0 {
		t.Errorf("%d files with %d bytes are left", files, bytes)
	}
}

// TestKeptWhileItIsUndone: what an undo needs stays as long as it is not at its end, be
// that days after the window, and whatever dies meanwhile: the agent is asked with the
// same bytes each time (the world checks that), and nothing is left on the disk after it.
func TestKeptWhileItIsUndone(t *testing.T) {
	for _, c := range []struct {
		name  string
		begun func(w *world) Ref // a task that somebody wants to have undone, days after its beginning
	}{
		{"for longer than its window", func(w *world) Ref {
			ref := w.begin("full")
			w.finish(ref, Committed)
			w.pass(59 * time.Minute)
			w.undo(ref, ByCaller)
			return ref
		}},
		{"of a task whose end was found out late", func(w *world) Ref {
			ref := w.begin("full")
			w.killed()
			w.pass(72 * time.Hour)
			w.knows = Knowledge{Known: true, Executed: true}
			if err := w.book.Run(); err != nil {
				w.t.Fatal(err)
			}
			w.await(ref, Committed)
			w.killed()
			w.pass(50 * time.Minute)
			w.book.sweep()
			w.undo(ref, ByCaller)
			return ref
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			defer w.end()
			ref := c.begun(w)
			w.reply = Result{Verdict: Later} // the agent undoes it, and its answers are lost
			for range 3 {
				w.step()
				w.killed()
				w.pass(30 * time.Hour)
				w.book.sweep()
				w.step() // a person is asked
				w.undo(ref, ByOperator)
			}
			w.reply = Result{Verdict: Done}
			w.step()
			if got := w.load(ref).State; got != Compensated || w.asked < 4 || w.effects[ref.ID()] != 1 {
				t.Fatalf("it is %s after %d requests, with %d effects", got, w.asked, w.effects[ref.ID()])
			}
			if body := w.bodies[ref.ID()]; !strings.Contains(body, `"original":{"n":1}`) {
				t.Errorf("the agent was asked with %s", body)
			}
			w.pass(2 * time.Hour)
			w.book.sweep()
			if files, _, _ := w.book.vault.Stats(); files != 0 {
				t.Errorf("%d files are left", files)
			}
		})
	}
}

// undo asks for an undo of what can be undone.
func (w *world) undo(ref Ref, who string) {
	w.t.Helper()
	if t, err := w.book.Undo(ref, Ask{Who: who, Reason: "r", At: w.now()}); err != nil || t.State != Compensating {
		w.t.Fatalf("undo: %v, %+v", err, t)
	}
}

// killed ends the process without a chance to write anything, and starts it again.
func (w *world) killed() {
	w.t.Helper()
	dir, err := os.MkdirTemp("", "undo-")
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(w.dir)) // the moment of death
	}
	for errors.Is(err, fs.ErrNotExist) { // the keeper of an open log renames files
		if err = os.RemoveAll(dir); err == nil {
			err = os.CopyFS(dir, os.DirFS(w.dir))
		}
	}
	keys, _ := filepath.Glob(filepath.Join(dir, "*.key"))
	for _, key := range keys { // CopyFS opens them to others
		err = errors.Join(err, os.Chmod(key, 0o600))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.shut()
	os.RemoveAll(w.dir)
	w.dir = dir
	w.open()
}

// await waits until a thing has a state.
func (w *world) await(ref Ref, want State) {
	w.t.Helper()
	for range 6000 {
		if w.load(ref).State == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Fatalf("it is %s, want %s", w.load(ref).State, want)
}

// TestShares: one principal cannot fill the room of all.
func TestShares(t *testing.T) {
	w := newWorld(t)
	defer w.end()
	pool := w.book.PoolOf("https://a.example")
	w.book.shares[pool] = MaxShare
	if err := w.book.Room(pool); !errors.Is(err, ErrFull) {
		t.Errorf("Room of a full share = %v", err)
	}
	if err := w.book.Room(w.book.PoolOf("https://b.example")); err != nil {
		t.Errorf("Room of another = %v", err)
	}
	delete(w.book.shares, pool)
}

// called records a call that a peer has executed.
func (w *world) called() Ref {
	w.t.Helper()
	line := func(tx flight.Tx) int64 {
		seq, err := w.log.Append(&flight.Entry{Type: flight.Request, TraceID: "t", Peer: "https://b.example", Dir: flight.Out, Tx: &tx}, flight.Durable)
		if err != nil {
			w.t.Fatal(err)
		}
		return seq
	}
	ref := Ref{Label: w.book.LabelOf([8]byte{byte(w.log.Size()), 7})}
	ref.At = line(flight.Tx{Kind: flight.TxCall, At: flight.TxBegins, Label: ref.Label, State: string(Active)})
	line(flight.Tx{Kind: flight.TxCall, At: ref.At, Label: ref.Label, State: string(Committed), Level: "full", ID: "tx_x"})
	return ref
}

// TestWhyPeerDidNotUndo: when a peer has been asked for as long as it may be, what is
// recorded is why it did not: only one that is silent does not answer.
func TestWhyPeerDidNotUndo(t *testing.T) {
	for said, want := range map[string]string{"": "not_in_time", "peer_does_not_answer": "peer_does_not_answer", "peer_proves_nothing": "peer_proves_nothing"} {
		w := newWorld(t)
		ref := w.called()
		w.reply = Result{Verdict: Later, Code: said}
		c, wait, err := w.book.undoCall(t.Context(), w.load(ref), ByOperator, "")
		if err != nil || wait == 0 {
			t.Fatalf("undoCall = %+v, %v, %v; want it to wait", c, wait, err)
		}
		w.pass(2 * time.Hour)
		c, _, err = w.book.undoCall(t.Context(), w.load(ref), ByOperator, "")
		if err != nil || c.State != CompensationFailed || c.Code != want || !c.Manual {
			t.Errorf("a peer that says %q: %+v, %v; want the code %s", said, c, err, want)
		}
		w.end()
	}
}

// TestMovingOrder: what waits for a person is listed before what goes on by itself, also
// when there is room for few; the newest first.
func TestMovingOrder(t *testing.T) {
	w := newWorld(t)
	defer w.end()
	var failed, undone, active []Ref
	for range 5 {
		ref := w.begin("full")
		w.finish(ref, Committed)
		w.undo(ref, ByCaller)
		failed = append([]Ref{ref}, failed...)
	}
	w.reply = Result{Verdict: Refused}
	w.step()
	for range 5 {
		ref := w.begin("full")
		w.finish(ref, Committed)
		w.undo(ref, ByCaller)
		undone = append([]Ref{ref}, undone...)
	}
	for range 5 {
		active = append([]Ref{w.begin("full")}, active...)
	}
	want := slices.Concat(failed, undone, active)
	for _, limit := range []int{0, 3, 7, 15, 100} {
		if got := w.book.Moving(limit); !slices.Equal(got, want[:min(limit, len(want))]) {
			t.Errorf("Moving(%d) = %v, want %v", limit, got, want[:min(limit, len(want))])
		}
	}
}

// What a peer says that it has undone further down is kept as far as a record has room
// for it: the beginning, and that it is one.
func TestLongChainIsKept(t *testing.T) {
	w := newWorld(t)
	defer w.end()
	ref := w.called()
	w.reply = Result{Verdict: Done}
	for i := range 64 {
		w.reply.Chain = append(w.reply.Chain, Link{AgentID: strings.Repeat("a", 250), ID: fmt.Sprintf("tx_%d", i), Method: strings.Repeat("m", 250), Status: Compensated})
	}
	done, _, err := w.book.undoCall(t.Context(), w.load(ref), ByOperator, "")
	if err != nil {
		t.Fatal(err)
	}
	if done.State != Compensated || !cmp.Equal(done.Chain, w.reply.Chain[:16]) && !cmp.Equal(done.Chain, w.reply.Chain[:32]) {
		t.Errorf("it is %s, and %d links are kept of 64", done.State, len(done.Chain))
	}
}

// TestWhatIsKeptIsReadAgain: a disk that fails for a while does not make the agent undo
// without the original. It is asked when that can be read, and a person is if it cannot be
// in time. What is gone for good is left out.
func TestWhatIsKeptIsReadAgain(t *testing.T) {
	begun := func(t *testing.T) (w *world, ref Ref, key string) {
		w = newWorld(t)
		t.Cleanup(w.end)
		ref = w.begin("full")
		w.finish(ref, Committed)
		w.killed() // so that the files are opened anew
		w.reply = Result{Verdict: Done}
		keys, err := filepath.Glob(filepath.Join(w.dir, "undo-keys", "*"))
		if err != nil || len(keys) != 1 {
			t.Fatalf("keys: %v, %v", keys, err)
		}
		return w, ref, keys[0]
	}
	breaks := func(t *testing.T, key string) (mend func()) { // reading a directory is an error of every disk
		t.Helper()
		if err := errors.Join(os.Rename(key, key+".away"), os.Mkdir(key, 0o700)); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := errors.Join(os.Remove(key), os.Rename(key+".away", key)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("in time", func(t *testing.T) {
		w, ref, key := begun(t)
		mend := breaks(t, key)
		w.undo(ref, ByCaller)
		w.step()
		if got := w.load(ref).State; got != Compensating || w.asked != 0 {
			t.Fatalf("it is %s, and the agent was asked %d times: %s", got, w.asked, w.bodies[ref.ID()])
		}
		mend()
		w.step()
		if got := w.load(ref).State; got != Compensated || w.bodies[ref.ID()] == "" || !strings.Contains(w.bodies[ref.ID()], `"original":{"n":1}`) {
			t.Errorf("it is %s, and the agent was asked with %s", got, w.bodies[ref.ID()])
		}
	})
	t.Run("never", func(t *testing.T) {
		w, ref, key := begun(t)
		breaks(t, key)
		w.undo(ref, ByCaller)
		w.pass(time.Hour)
		w.step()
		if got := w.load(ref); got.State != CompensationFailed || !got.Manual || got.Code != "undo_data_unreadable" || w.asked != 0 {
			t.Errorf("it is %+v, and the agent was asked %d times", got, w.asked)
		}
	})
	t.Run("gone", func(t *testing.T) {
		w, ref, key := begun(t)
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		w.undo(ref, ByCaller)
		w.step()
		if got := w.load(ref).State; got != Compensated || !strings.Contains(w.bodies[ref.ID()], `"original":null`) {
			t.Errorf("it is %s, and the agent was asked with %s", got, w.bodies[ref.ID()])
		}
	})
}

// TestWordEndsTheQuestion: once a person has said what became of it, nothing is asked any
// more, and why somebody was asked is not said of what it is now.
func TestWordEndsTheQuestion(t *testing.T) {
	for _, word := range []State{Committed, Failed, Compensated, Partially, CompensationFailed} {
		w := newWorld(t)
		w.alone = true
		ref := w.begin("full")
		w.killed()
		if err := w.book.Run(); err != nil { // which finds nothing out
			t.Fatal(err)
		}
		for range 6000 {
			if w.load(ref).Manual {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if got := w.load(ref); got.State != Unknown || !got.Manual || got.Code != "outcome_unknown" {
			t.Fatalf("it is %+v, and a person must be asked", got)
		}
		got, err := w.book.Resolve(ref, Resolution{State: word, By: "alice"})
		if err != nil || got.State != word || got.Asks() || got.Code != "" {
			t.Errorf("after the word it is %+v, %v; want %s, and no question", got, err, word)
		}
		if end := w.now().Add(time.Hour); word == Committed && !got.Until.Equal(end) {
			t.Errorf("it can be undone until %v, want %v", got.Until, end)
		}
		if _, err := w.book.Resolve(ref, Resolution{State: Compensated, By: "bob"}); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: a second word is taken: %v", word, err)
		}
		w.end()
	}
}

// TestCallOfWhichNothingIsKnown: a call of which the peer never said what became of it
// cannot be tried again, and ends with a person's word.
func TestCallOfWhichNothingIsKnown(t *testing.T) {
	w := newWorld(t)
	defer w.end()
	label := w.book.LabelOf([8]byte{7})
	at, err := w.log.Append(&flight.Entry{Type: flight.Request, TraceID: "t", Peer: "https://b.example", Dir: flight.Out, Tx: &flight.Tx{
		Kind: flight.TxCall, At: flight.TxBegins, Label: label, State: string(Active), Level: "full",
	}}, flight.Durable)
	if err != nil {
		t.Fatal(err)
	}
	ref := Ref{at, label}
	if err := w.book.Run(); err != nil { // it had no end when the process died
		t.Fatal(err)
	}
	w.pass(2 * time.Hour)
	if c, _, err := w.book.learnFate(t.Context(), w.load(ref)); err != nil || c.State != CompensationFailed || !c.Asks() {
		t.Fatalf("learnFate = %+v, %v; a person must be asked", c, err)
	}
	if _, err := w.book.UndoCall(t.Context(), ref, Ask{Who: ByOperator, At: w.now()}); !errors.Is(err, ErrConflict) {
		t.Errorf("an undo of nothing that is known = %v", err)
	}
	if c, err := w.book.Resolve(ref, Resolution{State: Failed, By: "alice"}); err != nil || c.State != Failed || c.Asks() || len(w.book.Moving(9)) != 0 {
		t.Errorf("after a person's word it is %+v, %v, and %d are in motion", c, err, len(w.book.Moving(9)))
	}
}

// TestPartlyDone: a task that a crash cut off, and of which the agent says that it is done
// in part, is not taken for done: it is undone, or a person is asked.
func TestPartlyDone(t *testing.T) {
	for _, alone := range []bool{false, true} {
		w := newWorld(t)
		w.alone, w.knows, w.reply = alone, Knowledge{Known: true, Executed: true, State: "partial"}, Result{Verdict: Done}
		ref := w.begin("full")
		w.killed()
		if err := w.book.Run(); err != nil {
			t.Fatal(err)
		}
		var got *Thing
		for range 1000 {
			if got = w.load(ref); got.State != Unknown || got.Asks() {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if !alone && got.State != Compensating && got.State != Compensated || alone && (got.State != Unknown || got.Code != "partly_done") {
			t.Errorf("nothing is undone unasked: %t; it is %s, and asks: %t %s", alone, got.State, got.Asks(), got.Code)
		}
		w.end()
	}
}
