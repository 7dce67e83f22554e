package budget

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// slowCall is a reservation as the model sees it, in cents.
type slowCall struct {
	key    string
	cents  int
	logged bool
	holder *Reservation
}

// model is one tree with a limit, counted in whole cents by walking a list.
type model struct {
	*purse
	limit, spent int
	asked        int // reservations, for their keys
	calls        []*slowCall
}

func cents(n int) iatp.Money { return usd(fmt.Sprintf("%d.%02d", n/100, n%100)) }

func (m *model) reserved() (sum int) {
	for _, c := range m.calls {
		sum += c.cents
	}
	return sum
}

func (m *model) drop(c *slowCall) {
	for i, other := range m.calls {
		if other == c {
			m.calls = append(m.calls[:i], m.calls[i+1:]...)
			return
		}
	}
}

func (m *model) reserve(t *rapid.T) {
	n := rapid.IntRange(0, 400).Draw(t, "cents")
	m.asked++
	key := fmt.Sprint(m.asked)
	r, err := m.ledger.Reserve(tree, Ask{Peer: "b", Key: key, Amount: cents(n)})
	left := m.limit - m.spent - m.reserved()
	if e := (*Exhausted)(nil); n > left {
		if !errors.As(err, &e) || e.Left != cents(left) {
			t.Fatalf("asked for %d of %d: %v", n, left, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("asked for %d of %d: %v", n, left, err)
	}
	m.calls = append(m.calls, &slowCall{key: key, cents: n, holder: r})
}

// pick draws a call that somebody has, nil if there is none.
func (m *model) pick(t *rapid.T) *slowCall {
	for _, c := range m.calls {
		if c.holder != nil && rapid.Bool().Draw(t, "this one") {
			return c
		}
	}
	return nil
}

func (m *model) hold(t *rapid.T) {
	if c := m.pick(t); c != nil {
		m.append(c.holder.Hold)
		c.logged = true
	}
}

func (m *model) settle(t *rapid.T) {
	c := m.pick(t)
	if c == nil || !c.logged {
		return
	}
	if rapid.Bool().Draw(t, "release") {
		m.append(c.holder.Release)
	} else {
		cost := rapid.IntRange(0, 450).Draw(t, "cost")
		m.append(func(e *flight.Entry) {
			if err := c.holder.Spend(e, cents(cost)); (err != nil) != (cost > c.cents) {
				t.Fatalf("spent %d of %d: %v", cost, c.cents, err)
			}
		})
		m.spent += min(cost, c.cents)
	}
	m.drop(c)
	c.holder.End()
}

func (m *model) end(t *rapid.T) {
	c := m.pick(t)
	if c == nil {
		return
	}
	c.holder.End()
	c.holder = nil
	if !c.logged {
		m.drop(c)
	}
}

func (m *model) restarted(t *rapid.T) {
	if rapid.Bool().Draw(t, "snapshots") {
		m.restart()
	} else {
		m.restart(true)
	}
	for _, c := range append([]*slowCall(nil), m.calls...) {
		c.holder = nil
		if !c.logged {
			m.drop(c)
		}
	}
}

func (m *model) takeOver(t *rapid.T) {
	for _, c := range m.calls {
		r := m.ledger.TakeOver(Ask{Peer: "b", Key: c.key})
		if free := c.holder == nil && c.logged; (r != nil) != free {
			t.Fatalf("taken over: %v; want %v", r != nil, free)
		}
		if r == nil {
			continue
		}
		if c.holder = r; r.Amount != cents(c.cents) {
			t.Fatalf("a reservation of %v, want %v", r.Amount, cents(c.cents))
		}
	}
}

// TestModel compares the ledger with the model after every step.
func TestModel(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		m := &model{purse: newPurse(outer, Options{}), limit: 1000}
		defer m.close()
		m.grant(tree, cents(m.limit))
		t.Repeat(map[string]func(*rapid.T){
			"reserve":       m.reserve,
			"reserve again": m.reserve,
			"hold":          m.hold,
			"settle":        m.settle,
			"end":           m.end,
			"restart":       m.restarted,
			"take over":     m.takeOver,
			"": func(t *rapid.T) {
				want := Figures{Limit: cents(m.limit), Spent: cents(m.spent), Reserved: cents(m.reserved())}
				want.Left = cents(m.limit - m.spent - m.reserved())
				if got, ok := m.ledger.Figures(tree); !ok || got != want {
					t.Fatalf("figures %v, %v; want %v", got, ok, want)
				}
			},
		})
	})
}

// FuzzSnapshot: whatever the bytes are, the ledger takes them whole or is empty.
func FuzzSnapshot(f *testing.F) {
	l := &Ledger{opt: Options{}.withDefaults()}
	l.reset()
	f.Add(view{l}.Snapshot())
	a := l.open(flight.Alias{1}, flight.Alias{2}, usd("5"), l.opt.Now())
	l.logged(flight.Alias{1}, a)
	a.add(flight.Alias{3}, &call{logged: true, peer: flight.Alias{4}, amount: usd("1"), trace: "t"})
	f.Add(view{l}.Snapshot())
	f.Fuzz(func(t *testing.T, b []byte) {
		l := &Ledger{opt: Options{}.withDefaults()}
		l.reset()
		if err := (view{l}).Restore(b); err != nil {
			if len(l.trees)+len(l.byPool)+len(l.ends) != 0 || l.next != 0 {
				t.Errorf("after %v there are %d trees", err, len(l.trees))
			}
			return
		}
		for _, a := range l.trees {
			a.figures()
		}
	})
}
