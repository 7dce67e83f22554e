package once

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/vault"
)

// slowKey is what the model knows of a key: the lines about it, as words, and
// who has it.
type slowKey struct {
	print  [32]byte
	logged flight.ClaimStep
	answer Answer
	until  time.Duration // by the clock that nobody sets
	holder *Claim
	shut   bool
}

// stand is the table of the package documentation, written out.
func (k *slowKey) stand(print [32]byte, shut bool) State {
	switch {
	case k == nil:
		return New
	case k.holder == nil && k.logged == flight.ClaimClosed:
		return Closed
	case !shut && !(k.holder != nil && k.shut) && print != k.print:
		return Reused
	case k.holder != nil || k.logged == flight.ClaimHeld:
		return InFlight
	case k.answer.Dropped:
		return NotKept
	}
	return Done
}

// model walks a book and a map side by side.
type model struct {
	*desk
	keys map[string]*slowKey
}

func (m *model) expire() {
	for name, k := range m.keys {
		if k.holder == nil && k.until != 0 && k.until <= m.clock.up {
			delete(m.keys, name)
		}
	}
}

func (m *model) ask(t *rapid.T, shut bool) {
	m.expire()
	name, print := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), printOne
	if rapid.Bool().Draw(t, "other print") {
		print = printTwo
	}
	ask := func() (Standing, error) { return m.book.Begin(alice, name, print) }
	if shut {
		ask, print = func() (Standing, error) { return m.book.Shut(alice, name) }, [32]byte{}
	}
	s, err := ask()
	k := m.keys[name]
	want := k.stand(print, shut)
	if err != nil || s.State != want {
		t.Fatalf("key %s, shut %v: %v, %v; want %v", name, shut, s.State, err, want)
	}
	switch want {
	case New:
		m.keys[name] = &slowKey{print: print, holder: s.Claim, shut: shut}
	case Done, NotKept, Closed:
		if diff := cmp.Diff(k.answer, s.Answer); diff != "" {
			t.Fatalf("answer of %s (-want +got):\n%s", name, diff)
		}
	}
}

// held draws a key that somebody has, nil if there is none.
func (m *model) held(t *rapid.T) (string, *slowKey) {
	for _, name := range []string{"a", "b", "c"} {
		if k := m.keys[name]; k != nil && k.holder != nil && rapid.Bool().Draw(t, name) {
			return name, k
		}
	}
	return "", nil
}

// step puts a step of a held key on a line.
func (m *model) step(t *rapid.T) {
	_, k := m.held(t)
	if k == nil {
		return
	}
	a := Answer{Status: 200, Body: []byte(rapid.StringN(1, 20, -1).Draw(t, "body")), Receipt: "r"}
	if len(a.Body) > m.opt.MaxAnswer {
		a.Body, a.Dropped = nil, true
	}
	e := &flight.Entry{Type: flight.Request, TraceID: "t"}
	k.until, k.answer = m.clock.up+m.opt.TTL, Answer{}
	switch step := rapid.SampledFrom([]flight.ClaimStep{flight.ClaimHeld, flight.ClaimFreed, flight.ClaimDone, flight.ClaimClosed}).Draw(t, "step"); step {
	case flight.ClaimHeld:
		k.holder.Hold(e)
		k.logged, k.until = step, 0
	case flight.ClaimFreed:
		k.holder.Free(e)
		k.logged, k.until = "", 0
	case flight.ClaimDone:
		k.holder.Finish(e, a)
		k.logged, k.answer = step, a
	case flight.ClaimClosed:
		k.holder.Close(e, a)
		k.logged, k.answer = step, a
	}
	if _, err := m.log.Append(e, flight.Written); err != nil {
		t.Fatal(err)
	}
}

func (m *model) end(t *rapid.T) {
	name, k := m.held(t)
	if k != nil {
		k.holder.End()
		m.let(name)
	}
}

// let takes the holder from a key.
func (m *model) let(name string) {
	k := m.keys[name]
	k.holder, k.shut = nil, false
	if k.logged == "" {
		delete(m.keys, name)
	}
}

func (m *model) restarted(t *rapid.T) {
	if rapid.Bool().Draw(t, "snapshots") {
		m.restart()
	} else {
		m.restart(true)
	}
	for name, k := range m.keys {
		if k.holder != nil {
			m.let(name)
		}
	}
}

func (m *model) interrupted(t *rapid.T) {
	want := 0
	for _, k := range m.keys {
		if k.holder == nil && k.logged == flight.ClaimHeld {
			want++
		}
	}
	got := m.book.Interrupted()
	if len(got) != want {
		t.Fatalf("%d claims are interrupted, want %d", len(got), want)
	}
	for _, c := range got {
		for name, k := range m.keys {
			if c.key == m.log.Alias("claim", alice.Principal, name) {
				k.holder = c
			}
		}
	}
}

// TestModel compares the book with the model after every step.
func TestModel(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		m := &model{desk: newDesk(outer, Options{TTL: time.Hour, MaxAnswer: 15}), keys: map[string]*slowKey{}}
		defer m.close()
		t.Repeat(map[string]func(*rapid.T){
			"begin":       func(t *rapid.T) { m.ask(t, false) },
			"begin again": func(t *rapid.T) { m.ask(t, false) },
			"shut":        func(t *rapid.T) { m.ask(t, true) },
			"step":        m.step,
			"step again":  m.step,
			"end":         m.end,
			"restart":     m.restarted,
			"interrupted": m.interrupted,
			"pass":        func(t *rapid.T) { m.clock.pass(time.Duration(rapid.IntRange(1, 45).Draw(t, "min")) * time.Minute) },
			"sweep":       func(t *rapid.T) { m.book.sweep() },
			"": func(t *rapid.T) {
				m.expire()
				if got := m.book.Len(); got != len(m.keys) {
					t.Fatalf("%d keys are remembered, want %d: %s", got, len(m.keys), m)
				}
			},
		})
	})
}

// String lists what the model knows.
func (m *model) String() string {
	var b strings.Builder
	for name, k := range m.keys {
		fmt.Fprintf(&b, "%s: %q held %v until %v; ", name, k.logged, k.holder != nil, k.until)
	}
	return b.String()
}

// FuzzAnswer: what is accepted comes out as it went in.
func FuzzAnswer(f *testing.F) {
	f.Add(booked.encode())
	f.Add(Answer{}.encode())
	f.Add(Answer{Status: 999, Dropped: true, Receipt: "r"}.encode())
	f.Add([]byte{1, 0, 0x80, 0x00, 0, 0})
	f.Add([]byte{1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAnswer(b)
		if err == nil && string(a.encode()) != string(b) {
			t.Fatalf("%x comes out as %x", b, a.encode())
		}
	})
}

// FuzzSnapshot: whatever the bytes are, the views take them whole or are empty.
func FuzzSnapshot(f *testing.F) {
	c := newBareClaims()
	c.put(flight.Alias{1}, &record{step: flight.ClaimHeld, trace: "t", since: time.Unix(7, 0)})
	c.put(flight.Alias{2}, &record{step: flight.ClaimDone, until: 1 << 40, answer: flight.Place{File: 1, At: 2, Size: 3}})
	f.Add(c.Snapshot())
	n := newBareNonces()
	n.remember(flight.Alias{1}, flight.Alias{2}, 1<<40)
	f.Add(nonceView{n}.Snapshot())
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newBareClaims()
		if err := c.Restore(b); err != nil && (len(c.byKey) > 0 || len(c.byPool) > 0 || c.next != 0 || pinned(c.vault) > 0) {
			t.Errorf("after %v there are %d claims, %d pins", err, len(c.byKey), pinned(c.vault))
		} else if err == nil && len(c.Snapshot()) > len(b) {
			t.Error("a snapshot has grown")
		}
		n := newBareNonces()
		if err := (nonceView{n}).Restore(b); err != nil && (len(n.byKey) > 0 || n.next != 0 || n.forgotten != 0) {
			t.Errorf("after %v there are %d nonces", err, len(n.byKey))
		}
	})
}

func newBareClaims() *claims {
	return newClaims(new(sync.Mutex), Options{}.withDefaults(), new(vault.Vault))
}

func pinned(v *vault.Vault) int {
	_, _, n := v.Stats()
	return n
}

func newBareNonces() *Nonces {
	n := &Nonces{opt: NonceOptions{}.withDefaults()}
	n.reset()
	return n
}
