package once

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/inter-agent-trust/iatp/flight"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("ONCE_TEST_CHILD"); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

// clock is two clocks: one that a test may set, and one that only goes on.
type clock struct {
	wall time.Time
	up   time.Duration
}

func newClock() *clock { return &clock{wall: time.Date(2026, 11, 14, 10, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time        { return c.wall }
func (c *clock) uptime() time.Duration { return c.up }
func (c *clock) pass(d time.Duration)  { c.wall, c.up = c.wall.Add(d), c.up+d }
func (c *clock) set(d time.Duration)   { c.wall = c.wall.Add(d) }

// desk is a log with a book and nonces, as a sidecar has them.
type desk struct {
	*testing.T
	dir    string
	clock  *clock
	opt    Options
	nopt   NonceOptions
	fopt   flight.Options
	log    *flight.Log
	book   *Book
	nonces *Nonces
}

func newDesk(t *testing.T, o Options) *desk {
	t.Helper()
	d := &desk{T: t, dir: t.TempDir(), clock: newClock(), opt: o}
	d.open()
	t.Cleanup(d.close)
	return d
}

func (d *desk) open() {
	d.Helper()
	d.opt.Now, d.opt.Uptime = d.clock.now, d.clock.uptime
	d.nopt.Now, d.nopt.Uptime = d.clock.now, d.clock.uptime
	d.fopt.Now = d.clock.now
	var err error
	if d.log, err = flight.Open(d.dir, d.fopt); err != nil {
		d.Fatal(err)
	}
	if d.book, err = Open(d.log, d.dir, d.opt); err != nil {
		d.Fatal(err)
	}
	if d.nonces, err = OpenNonces(d.log, d.nopt); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) close() {
	d.Helper()
	if d.log == nil {
		return
	}
	if err := errors.Join(d.book.Close(), d.log.Close()); err != nil {
		d.Error(err)
	}
	d.log = nil
}

// restart ends the process in order. noSnapshots makes the views replay lines.
func (d *desk) restart(noSnapshots ...bool) {
	d.Helper()
	d.close()
	if len(noSnapshots) > 0 {
		if err := os.RemoveAll(filepath.Join(d.dir, "views")); err != nil {
			d.Fatal(err)
		}
	}
	d.open()
}

var (
	alice    = Scope{Principal: "https://alice.example"}
	bob      = Scope{Principal: "https://bob.example"}
	printOne = [32]byte{1}
	printTwo = [32]byte{2}
)

func (d *desk) begin(s Scope, key string, print [32]byte, want State) Standing {
	d.Helper()
	got, err := d.book.Begin(s, key, print)
	if err != nil || got.State != want || (got.Claim != nil) != (want == New) {
		d.Fatalf("Begin(%s, %s) = %v, %v; want %v", s.Principal, key, got.State, err, want)
	}
	return got
}

func (d *desk) shut(s Scope, key string, want State) Standing {
	d.Helper()
	got, err := d.book.Shut(s, key)
	if err != nil || got.State != want {
		d.Fatalf("Shut(%s, %s) = %v, %v; want %v", s.Principal, key, got.State, err, want)
	}
	return got
}

// append puts a step on a line.
func (d *desk) append(step func(*flight.Entry)) {
	d.Helper()
	e := &flight.Entry{Type: flight.Request, TraceID: "trace-1", Payload: []byte(`{"claim":{"step":"freed"}}`)}
	step(e)
	if _, err := d.log.Append(e, flight.Durable); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) hold(c *Claim) { d.Helper(); d.append(c.Hold) }

func (d *desk) finish(c *Claim, a Answer) {
	d.Helper()
	d.append(func(e *flight.Entry) { c.Finish(e, a) })
}

// do is a whole call.
func (d *desk) do(s Scope, key string, a Answer) {
	d.Helper()
	c := d.begin(s, key, printOne, New).Claim
	defer c.End()
	d.hold(c)
	d.finish(c, a)
}

func (d *desk) wantAnswer(got, want Answer) {
	d.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		d.Fatalf("answer (-want +got):\n%s", diff)
	}
}

var booked = Answer{
	Status: 200, Header: http.Header{"Content-Type": {"application/json"}, "X-Two": {"a\xff", "b"}},
	Body: []byte(`{"confirmation":"Ticket #999"}`), Receipt: "eyJ.eyJ.sig",
}

func TestCall(t *testing.T) {
	d := newDesk(t, Options{})
	c := d.begin(alice, "k", printOne, New).Claim
	d.begin(alice, "k", printOne, InFlight)
	d.begin(alice, "k", printTwo, Reused)
	d.begin(bob, "k", printTwo, New).Claim.End()
	d.hold(c)
	d.begin(alice, "k", printOne, InFlight)
	d.begin(alice, "k", printTwo, Reused)
	d.finish(c, booked)
	d.begin(alice, "k", printOne, InFlight) // nobody says that the line is durable
	c.End()
	c.End()
	for i := range 3 {
		d.wantAnswer(d.begin(alice, "k", printOne, Done).Answer, booked)
		d.begin(alice, "k", printTwo, Reused)
		d.wantAnswer(d.shut(alice, "k", Done).Answer, booked)
		d.begin(bob, "k", printTwo, New).Claim.End()
		if i == 0 {
			d.restart()
		} else {
			d.restart(true)
		}
	}
}

func TestAbandoned(t *testing.T) {
	d := newDesk(t, Options{})
	for range 2 {
		d.begin(alice, "never held", printOne, New).Claim.End()
	}
	c := d.begin(alice, "freed", printOne, New).Claim
	d.hold(c)
	d.append(c.Free)
	d.begin(alice, "freed", printOne, InFlight)
	c.End()
	d.begin(alice, "freed", printTwo, New).Claim.End()

	c = d.begin(alice, "held", printOne, New).Claim
	d.hold(c)
	c.End()
	for _, again := range []func(){func() {}, func() { d.restart() }, func() { d.restart(true) }} {
		again()
		d.begin(alice, "held", printOne, InFlight)
		d.begin(alice, "held", printTwo, Reused)
		d.shut(alice, "held", InFlight)
		d.clock.pass(100 * time.Hour) // nobody knows: it has no time
	}
	lost := d.book.Interrupted()
	if len(lost) != 1 || lost[0].Trace != "trace-1" || lost[0].Since.IsZero() {
		t.Fatalf("Interrupted = %+v, want the one that was held", lost)
	}
	if again := d.book.Interrupted(); len(again) != 0 {
		t.Errorf("Interrupted hands out %d claims twice", len(again))
	}
	d.finish(lost[0], Answer{Status: 502, Dropped: true, Receipt: "unknown"})
	lost[0].End()
	if got := d.begin(alice, "held", printOne, NotKept).Answer; got.Receipt != "unknown" {
		t.Errorf("receipt = %q", got.Receipt)
	}
}

func TestShut(t *testing.T) {
	d := newDesk(t, Options{})
	c := d.shut(alice, "k", New).Claim
	d.begin(alice, "k", printOne, InFlight)
	d.shut(alice, "k", InFlight)
	d.append(func(e *flight.Entry) { c.Close(e, Answer{Receipt: "none"}) })
	c.End()
	for range 2 {
		if got := d.begin(alice, "k", printOne, Closed).Answer; got.Receipt != "none" {
			t.Errorf("a late arrival gets the receipt %q", got.Receipt)
		}
		if got := d.shut(alice, "k", Closed).Answer; got.Receipt != "none" {
			t.Errorf("a second close gets the receipt %q", got.Receipt)
		}
		d.restart(true)
	}
}

func TestTime(t *testing.T) {
	d := newDesk(t, Options{TTL: time.Hour})
	d.clock.pass(300 * time.Millisecond)
	d.do(alice, "k", booked)
	d.clock.set(1000 * time.Hour) // a clock that is set forgets nothing
	d.begin(alice, "k", printOne, Done)
	d.clock.set(-1000 * time.Hour)
	d.clock.pass(time.Hour - time.Millisecond)
	d.restart()
	d.begin(alice, "k", printOne, Done)
	d.clock.pass(time.Second)
	d.begin(alice, "k", printTwo, New).Claim.End()
	if n := d.book.Len(); n != 0 {
		t.Errorf("%d keys are remembered", n)
	}
	d.restart(true)
	d.do(alice, "k", booked)
	d.begin(alice, "k", printOne, Done)
}

func TestRoom(t *testing.T) {
	d := newDesk(t, Options{MaxClaims: 5, MaxShare: 2, TTL: time.Hour})
	stranger := func(name string) Scope { return Scope{Principal: name, Stranger: true} }
	d.do(alice, "1", booked)
	open := d.begin(alice, "2", printOne, New).Claim
	d.hold(open)
	for range 2 {
		d.begin(alice, "3", printOne, Full)
		d.begin(alice, "1", printOne, Done) // what is known is known
		d.restart()                         // takes the room of what is interrupted with it
		open.ended = true
	}
	d.do(stranger("x"), "1", booked)
	d.do(stranger("y"), "1", booked)
	d.begin(stranger("z"), "1", printOne, Full)
	d.do(bob, "1", booked)
	d.begin(bob, "2", printOne, Full)
	d.begin(Scope{Principal: "https://carol.example"}, "1", printOne, Full)
	d.clock.pass(2 * time.Hour)
	d.begin(bob, "1", printTwo, New).Claim.End()
	d.begin(alice, "3", printOne, New).Claim.End()
}

func TestOneOfManyIsNew(t *testing.T) {
	d := newDesk(t, Options{})
	for round := range 20 {
		key := fmt.Sprint("k", round)
		var fresh, effects atomic.Int32
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				s, err := d.book.Begin(alice, key, printOne)
				if err != nil {
					t.Error(err)
				}
				if s.State != New {
					return
				}
				defer s.Claim.End()
				fresh.Add(1)
				d.hold(s.Claim)
				effects.Add(1)
				d.finish(s.Claim, booked)
			})
		}
		all.Wait()
		if fresh.Load() != 1 || effects.Load() != 1 {
			t.Fatalf("%d calls were new, %d had an effect", fresh.Load(), effects.Load())
		}
		d.begin(alice, key, printOne, Done)
	}
}

func TestWhatIsNotKept(t *testing.T) {
	d := newDesk(t, Options{MaxAnswer: 10, MaxBytes: 2000})
	bare := Answer{Status: 200, Dropped: true, Receipt: "r"}
	for i, a := range []Answer{
		{Status: 200, Body: make([]byte, 11), Receipt: "r"},
		{Status: 200, Dropped: true, Receipt: "r"},
	} {
		key := fmt.Sprint(i)
		d.do(alice, key, a)
		d.wantAnswer(d.begin(alice, key, printOne, NotKept).Answer, bare)
	}
	kept := 0
	for i := range 100 {
		key := fmt.Sprint("fill", i)
		d.do(alice, key, Answer{Status: 200, Body: []byte("0123456789"), Receipt: "r"})
		s, err := d.book.Begin(alice, key, printOne)
		if err != nil || s.Answer.Receipt != "r" || s.State != Done && s.State != NotKept {
			t.Fatalf("key %d: %+v, %v", i, s, err)
		}
		if s.State == Done {
			kept++
		}
	}
	if kept == 0 || kept > 30 {
		t.Errorf("%d of 100 bodies are kept in 2000 bytes", kept)
	}
}

// TestLostLines: retention has dropped lines and the snapshot that covers them
// is damaged. A key that is not known may be one of theirs.
func TestLostLines(t *testing.T) {
	d := newDesk(t, Options{TTL: time.Hour})
	d.fopt.SegmentBytes, d.fopt.RetainBytes = 4096, 8192
	d.restart()
	d.do(alice, "old", booked)
	d.nonce(alice, "old nonce", d.clock.now(), Fresh)
	for range 2000 { // more than a tile, so that something can be dropped
		e := &flight.Entry{Type: flight.Request, Note: strings.Repeat("x", 100)}
		if _, err := d.log.Append(e, flight.Written); err != nil {
			t.Fatal(err)
		}
	}
	first := filepath.Join(d.dir, "log", strings.Repeat("0", 20)+".jsonl")
	for _, err := os.Stat(first); err == nil; _, err = os.Stat(first) {
		d.append(func(*flight.Entry) {})
		time.Sleep(5 * time.Millisecond)
	}
	d.restart()
	d.begin(alice, "old", printOne, Done) // the snapshot covers it
	d.restart(true)
	d.begin(alice, "old", printOne, Full)
	if _, got := d.nonces.claim(t, alice, "old nonce", d.clock.now()); got != TooEarly {
		t.Errorf("a nonce that was lost is %v", got)
	}
	d.clock.pass(time.Hour + time.Second) // nothing lost can be alive now
	d.restart()
	d.begin(alice, "old", printOne, New).Claim.End()
}

// files returns every file below the data directory with its content.
func (d *desk) files() map[string][]byte {
	d.Helper()
	all := make(map[string][]byte)
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		all[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		d.Fatal(err)
	}
	return all
}

// TestNothingCanBeGuessedBack looks for a secret in every file, and for the key
// of its answer once its time is over.
func TestNothingCanBeGuessedBack(t *testing.T) {
	d := newDesk(t, Options{TTL: time.Hour})
	secret := Answer{Status: 200, Header: http.Header{"X-Canary": {"canary-in-header"}}, Body: []byte("canary-in-body 774411"), Receipt: "canary-in-receipt"}
	c := d.begin(Scope{Principal: "canary-principal"}, "canary-in-key", [32]byte([]byte("canary-print-0123456789abcdef012")), New).Claim
	d.hold(c)
	d.finish(c, secret)
	c.End()
	d.restart() // writes snapshots
	var keys [][]byte
	var sealed string
	for path, data := range d.files() {
		if bytes.Contains(data, []byte("canary")) || bytes.Contains(data, []byte("774411")) {
			t.Errorf("%s holds what was to be sealed", path)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 && (strings.Contains(path, "answer") || strings.Contains(path, "views")) {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
		switch filepath.Base(filepath.Dir(path)) {
		case "answer-keys":
			keys = append(keys, data)
		case "answers":
			sealed = path
		}
	}
	if len(keys) != 1 || len(keys[0]) != 32 || sealed == "" {
		t.Fatalf("keys %d, sealed %q: want one of each", len(keys), sealed)
	}
	d.clock.pass(time.Hour + time.Second)
	d.book.sweep()
	for path, data := range d.files() {
		if bytes.Contains(data, keys[0]) || path == sealed {
			t.Errorf("%s is still there after its time", path)
		}
	}
	if _, n, _ := d.book.vault.Stats(); n != 0 {
		t.Errorf("%d bytes are counted, there are none", n)
	}
}

// TestSweepKeepsWhatIsNeeded: hours go by and one answer is still wanted.
func TestSweepKeepsWhatIsNeeded(t *testing.T) {
	d := newDesk(t, Options{TTL: 3 * time.Hour})
	for hour := range 8 {
		d.do(alice, fmt.Sprint(hour), booked)
		d.clock.pass(time.Hour)
		d.book.sweep()
		if hour%2 == 0 {
			d.restart()
		}
		for h := range hour + 1 {
			want := Done
			if h <= hour-2 {
				want = New
			}
			if s := d.begin(alice, fmt.Sprint(h), printOne, want); s.Claim != nil {
				s.Claim.End()
			}
		}
		if n, _, _ := d.book.vault.Stats(); n > 4 {
			t.Errorf("after %d hours there are %d files", hour, n)
		}
	}
}

// TestDamagedAnswers flips every byte of a file of answers and cuts it at every
// length: an answer comes out as it went in, or not at all.
func TestDamagedAnswers(t *testing.T) {
	d := newDesk(t, Options{})
	small := Answer{Status: 200, Body: []byte("b"), Receipt: "r"}
	d.do(alice, "k", small)
	d.do(alice, "l", small)
	d.close()
	var path string
	var whole []byte
	for p, data := range d.files() {
		if strings.HasSuffix(p, ".sealed") {
			path, whole = p, data
		}
	}
	damaged := 0
	try := func(data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := openAnswers(d.dir, d.opt.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		for _, key := range []string{"k", "l"} {
			c := &Claim{key: aliasOf(t, d, key)}
			plain, err := v.Get(placeOf(t, d, key), c.key)
			if err == nil {
				a, err := decodeAnswer(plain)
				if err != nil {
					t.Errorf("a damaged answer was opened: %v", err)
				}
				d.wantAnswer(a, small)
			} else {
				damaged++
			}
		}
	}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1
		try(flipped)
		try(whole[:i])
	}
	if damaged < 2*len(whole) {
		t.Errorf("%d reads of %d found damage", damaged, 4*len(whole))
	}
	// One answer in the place of the other is nobody's.
	place := placeOf(t, d, "k")
	other := placeOf(t, d, "l")
	copy(whole[place.At:place.At+place.Size], whole[other.At:other.At+other.Size])
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	d.open()
	d.begin(alice, "k", printOne, NotKept)
	d.wantAnswer(d.begin(alice, "l", printOne, Done).Answer, small)
}

// record of a key, as the book that was closed last had it.
func aliasOf(t *testing.T, d *desk, key string) flight.Alias {
	t.Helper()
	for alias, rec := range d.book.view.byKey {
		if rec.answer == placeOf(t, d, key) {
			return alias
		}
	}
	t.Fatalf("no claim has an answer at the place of %s", key)
	return flight.Alias{}
}

// placeOf returns where the answer of "k" or "l" lies: the first and the second.
func placeOf(t *testing.T, d *desk, key string) flight.Place {
	t.Helper()
	var first, second flight.Place
	for _, rec := range d.book.view.byKey {
		if first == (flight.Place{}) || rec.answer.At < first.At {
			first, second = rec.answer, first
		} else {
			second = rec.answer
		}
	}
	if key == "k" {
		return first
	}
	return second
}

// TestDiskOfAnswersIsGone: that a call was executed is worth more than its
// answer.
func TestDiskOfAnswersIsGone(t *testing.T) {
	d := newDesk(t, Options{})
	if err := errors.Join(os.RemoveAll(filepath.Join(d.dir, "answer-keys")), os.WriteFile(filepath.Join(d.dir, "answer-keys"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	d.do(alice, "k", booked)
	d.begin(alice, "k", printOne, NotKept)
	if err := os.Remove(filepath.Join(d.dir, "answer-keys")); err != nil {
		t.Fatal(err)
	}
}
