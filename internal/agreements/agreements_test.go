package agreements

import (
	"fmt"
	"strings"
	"testing"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// books is a flight log with its agreements, and a clock.
type books struct {
	t    *testing.T
	dir  string
	at   time.Time
	log  *flight.Log
	book *Book
}

func open(t *testing.T) *books {
	b := &books{t: t, dir: t.TempDir(), at: time.Now().Truncate(time.Second)}
	b.reopen()
	t.Cleanup(func() { b.log.Close() })
	return b
}

func (b *books) reopen() {
	b.t.Helper()
	var err error
	if b.log != nil {
		if err := b.log.Close(); err != nil {
			b.t.Fatal(err)
		}
	}
	if b.log, err = flight.Open(b.dir, flight.Options{}); err != nil {
		b.t.Fatal(err)
	}
	if b.book, err = Open(b.log, func() time.Time { return b.at }); err != nil {
		b.t.Fatal(err)
	}
}

func key(t testing.TB, letter string) iatp.PrivateKey {
	t.Helper()
	k, err := iatp.GeneratePrivateKey(strings.NewReader(strings.Repeat(letter, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// agree makes an agreement with a principal that ends after life, and has an undo
// window of some seconds, and records it.
func (b *books) agree(other string, n int, dir flight.Dir, life time.Duration, window int64, stranger bool) *iatp.Agreement {
	b.t.Helper()
	a := b.signed(other, n, dir, life, window)
	e := flight.Entry{TraceID: "t", Dir: dir, Peer: other}
	if err := Put(&e, a, stranger); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.log.Append(&e, flight.Written); err != nil {
		b.t.Fatal(err)
	}
	return a
}

// hold is agree without a record.
func (b *books) hold(other string, n int, life time.Duration, window int64) *iatp.Agreement {
	b.t.Helper()
	a := b.signed(other, n, flight.In, life, window)
	b.book.mu.Lock()
	defer b.book.mu.Unlock()
	b.book.add(Hold(a, flight.In, false))
	return a
}

func (b *books) signed(other string, n int, dir flight.Dir, life time.Duration, window int64) *iatp.Agreement {
	b.t.Helper()
	ours, theirs := key(b.t, "a"), key(b.t, "b")
	us := iatp.Party{URI: "https://us.example", JKT: ours.Thumbprint(), Manifest: iatp.DigestOf([]byte("ours"))}
	them := iatp.Party{URI: other, JKT: theirs.Thumbprint(), Manifest: iatp.DigestOf([]byte("theirs"))}
	a := &iatp.Agreement{Initiator: us, Responder: them, Iat: b.at.Unix(), Exp: b.at.Add(life).Unix(), Nonce: fmt.Sprintf("nonce-%06d", n)}
	if dir == flight.In {
		a.Initiator, a.Responder, ours, theirs = them, us, theirs, ours
	}
	a.Terms = iatp.Terms{Receipt: true, Reversibility: iatp.ReversibilityFull, UndoWindowSeconds: &window}
	if err := a.Sign(ours); err != nil {
		b.t.Fatal(err)
	}
	if err := a.Countersign(theirs); err != nil {
		b.t.Fatal(err)
	}
	return a
}

// What was recorded is found again, also after a restart and from a snapshot; the
// one to use is the newest that we proposed, as long as it holds.
func TestBook(t *testing.T) {
	b := open(t)
	const peer = "https://peer.example"
	first := b.agree(peer, 1, flight.Out, time.Hour, 60, false)
	theirs := b.agree(peer, 2, flight.In, 20*time.Hour, 60, false)
	b.at = b.at.Add(time.Minute)
	second := b.agree(peer, 3, flight.Out, time.Hour, 60, false)
	check := func(when string, current *iatp.Agreement) {
		t.Helper()
		got := b.book.Current(first.Initiator, first.Responder)
		if (got == nil) != (current == nil) || got != nil && got.ID() != current.ID() {
			t.Errorf("%s: the one to use is %v, want %v", when, got, current)
		}
		for _, a := range []*iatp.Agreement{first, theirs, second} {
			if h := b.book.ByID(a.ID()); h == nil || h.Other().URI != peer || h.Nonce != a.Nonce {
				t.Errorf("%s: agreement %s is not found", when, a.Nonce)
			}
		}
	}
	check("at once", second)
	b.reopen()
	check("after a restart", second)
	if other := first.Initiator; b.book.Current(other, theirs.Responder) != nil {
		t.Error("one with another party is used")
	}
	changed := first.Responder
	changed.Manifest = iatp.DigestOf([]byte("changed"))
	if b.book.Current(first.Initiator, changed) != nil {
		t.Error("one on another manifest is used")
	}
	if h := b.book.With(peer); h == nil || h.ID() != second.ID() {
		t.Errorf("the newest in force is %v", h)
	}
	copied := &Book{now: b.book.now, byID: map[iatp.Digest]*Held{}, current: map[parties]*Held{}}
	if err := (view{copied}).Restore(view{b.book}.Snapshot()); err != nil {
		t.Fatal(err)
	}
	b.book = copied
	check("from a snapshot", second)
	b.at = b.at.Add(time.Hour - 30*time.Second)
	check("half a minute before its end", nil)
	e := flight.Entry{TraceID: "t"}
	PutDropped(&e, second.ID())
	if _, err := b.log.Append(&e, flight.Written); err != nil {
		t.Fatal(err)
	}
	b.reopen() // it does not come back
	if b.book.ByID(second.ID()) != nil || b.book.Current(first.Initiator, first.Responder) != nil {
		t.Error("a dropped agreement is still there")
	}
	for _, bad := range []string{"", "{}", `[{"dir":"out","document":{}}]`, `[{"dir":"out"}]`} {
		if err := (view{copied}).Restore([]byte(bad)); err == nil || len(copied.byID) != 0 {
			t.Errorf("snapshot %q: %v, %d agreements", bad, err, len(copied.byID))
		}
	}
}

// There is room for some in force with each principal, for some with strangers, and
// for some in all; what has ended makes room.
func TestRoom(t *testing.T) {
	b := open(t)
	for i := range maxShare {
		if !b.book.Room("https://peer.example", false) {
			t.Fatalf("no room after %d", i)
		}
		b.agree("https://peer.example", i, flight.In, time.Hour, 0, false)
	}
	if b.book.Room("https://peer.example", false) || !b.book.Room("https://other.example", false) {
		t.Errorf("after %d: room for it %v, for another %v", maxShare, b.book.Room("https://peer.example", false), b.book.Room("https://other.example", false))
	}
	b.at = b.at.Add(time.Hour)
	if !b.book.Room("https://peer.example", false) {
		t.Error("what has ended takes room")
	}
	for i := range maxStrangers {
		b.agree(fmt.Sprintf("https://s%d.example", i), i, flight.In, time.Hour, 0, true)
	}
	if b.book.Room("https://s.example", true) || !b.book.Room("https://peer.example", false) {
		t.Error("strangers have all the room, or more than theirs")
	}
}

// Of more than can be held, the one under which nothing can be asked for any more is
// forgotten first.
func TestForgets(t *testing.T) {
	b := open(t)
	short := b.agree("https://peer.example", 0, flight.In, time.Hour, 1, false)
	endless := b.agree("https://peer.example", 1, flight.In, time.Hour, 0, false)
	long := b.agree("https://peer.example", 2, flight.In, time.Hour, 1<<20, false)
	for i := range maxHeld {
		b.hold(fmt.Sprintf("https://p%d.example", i), i, 2*time.Hour, 3600)
	}
	if len(b.book.byID) != maxHeld {
		t.Errorf("%d are held, want %d", len(b.book.byID), maxHeld)
	}
	if b.book.ByID(short.ID()) != nil || b.book.ByID(long.ID()) == nil || b.book.ByID(endless.ID()) == nil {
		t.Errorf("held: short %v, long %v, endless %v; want the short one forgotten", b.book.ByID(short.ID()) != nil, b.book.ByID(long.ID()) != nil, b.book.ByID(endless.ID()) != nil)
	}
}

// What is in force outlives all that have ended, whatever was promised about those; and
// many that have ended with one principal make room before the few of others.
func TestForgetsWhatHasEnded(t *testing.T) {
	b := open(t)
	few := b.hold("https://few.example", 0, time.Minute, 60)
	for i := range maxHeld - 1 {
		b.hold("https://greedy.example", i, time.Minute, 0) // to be undone without limit
	}
	b.at = b.at.Add(2 * time.Minute)
	var held []*iatp.Agreement
	for i := range maxInForce {
		held = append(held, b.hold(fmt.Sprintf("https://p%d.example", i), i, time.Hour, 60))
	}
	lost := 0
	for _, a := range held {
		if b.book.ByID(a.ID()) == nil {
			lost++
		}
	}
	if lost > 0 || len(b.book.byID) != maxHeld {
		t.Errorf("%d of %d in force are forgotten, %d are held", lost, len(held), len(b.book.byID))
	}
	if b.book.ByID(few.ID()) == nil {
		t.Error("the only one of a principal is forgotten, while another has more than its share")
	}
}
