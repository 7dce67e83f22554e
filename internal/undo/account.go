package undo

import (
	"errors"
	"slices"
	"sort"
	"strings"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// Limits bound what one principal may have to be undone for it: at task time only, so
// that what was promised is always kept (hardening 30). Zero is no limit.
type Limits struct {
	Open  int          // tasks that could still be undone, those under way included
	Cost  []iatp.Money // what they did cost together, each in its currency
	Ratio float64      // how much of its tasks of a day it has undone
	From  int          // undos of a day below which nobody looks at Ratio
}

// Why a task that could be undone is not taken.
var (
	ErrOpen  = errors.New("this caller has as many tasks that can still be undone as it may have")
	ErrCost  = errors.New("this caller's tasks that can still be undone have cost as much as they may")
	ErrRatio = errors.New("this caller had too many of its tasks of a day undone")
)

// Bounds of what is counted: accounts, and the times in one at which windows end. Who
// comes after that many accounts shares one with all others who do; further times are
// counted with the next later one.
const (
	maxAccounts = 4096
	maxEnds     = 64
)

// account counts what one principal could still have undone. No task is held: only how
// many end at about a time.
type account struct {
	ends  []ending // the first one first
	hours [24]hour
}

// ending counts the tasks whose windows end until then.
type ending struct {
	At   time.Time             `json:"at"`
	N    int                   `json:"n"`
	Cost map[string]iatp.Money `json:"-"` // by currency
}

// hour counts the tasks of one hour, and the undos that the caller asked for in it.
type hour struct {
	Hour  int64 `json:"h"` // since 1970
	Begun int   `json:"b,omitempty"`
	Undos int   `json:"u,omitempty"`
}

// account is that of a principal, made if there is room. It needs mu.
func (b *Book) account(pool flight.Label) *account {
	if a := b.accounts[pool]; a != nil {
		return a
	}
	if len(b.accounts) >= maxAccounts {
		pool = flight.Label{}
	}
	a := b.accounts[pool]
	if a == nil {
		a = new(account)
		b.accounts[pool] = a
	}
	return a
}

// count takes a step of a task that was promised to be undone into the account of its
// caller. before is the state that it follows from. It needs mu.
func (b *Book) count(m *motion, before State, s *flight.Tx, at time.Time) {
	if m.kind != flight.TxTask || !m.undone || m.pool == (flight.Label{}) {
		return
	}
	a := b.account(m.pool)
	switch State(s.State) {
	case Active:
		a.hour(at).Begun++
	case Committed:
		a.open(at, b.windowEnd(at, s.Until), s.Cost)
	case Compensating:
		if s.Who == ByCaller {
			a.hour(at).Undos++
		}
		if before == Committed || before == "" {
			a.settle(s.Until, s.Cost)
		}
	}
}

// windowEnd is when a task of which the window ends at until cannot be undone any more.
func (b *Book) windowEnd(at, until time.Time) time.Time {
	if until.IsZero() {
		until = at.Add(forEver)
	}
	if b.opt.Retain > 0 && until.After(at.Add(b.opt.Retain)) {
		until = at.Add(b.opt.Retain)
	}
	return until
}

// open counts a task from at on. Its end is taken up to a thirty-second of the window
// later, so that there are few ends.
func (a *account) open(at, end time.Time, cost string) {
	step := time.Second
	for step < end.Sub(at)/32 && step < forEver {
		step *= 2
	}
	if rounded := end.Truncate(step); rounded.Before(end) {
		end = rounded.Add(step)
	}
	a.expire(at)
	i := a.from(end)
	if i == len(a.ends) || !a.ends[i].At.Equal(end) {
		a.ends = slices.Insert(a.ends, i, ending{At: end})
	}
	e := &a.ends[i]
	e.N++
	if m, ok := readCost(cost); ok {
		e.add(m)
	}
	if len(a.ends) > maxEnds {
		next := &a.ends[1]
		next.N += a.ends[0].N
		for _, m := range a.ends[0].Cost {
			next.add(m)
		}
		a.ends = slices.Delete(a.ends, 0, 1)
	}
}

// settle counts a task no more that is being undone.
func (a *account) settle(end time.Time, cost string) {
	i := a.from(end)
	if end.IsZero() {
		i = 0
	}
	for ; i < len(a.ends); i++ {
		e := &a.ends[i]
		if e.N == 0 {
			continue
		}
		e.N--
		if m, ok := readCost(cost); ok {
			if left, err := e.Cost[m.Currency()].Sub(m); err == nil {
				e.Cost[m.Currency()] = left
			}
		}
		return
	}
}

// from is the first end that is not before a time.
func (a *account) from(end time.Time) int {
	return sort.Search(len(a.ends), func(i int) bool { return !a.ends[i].At.Before(end) })
}

// expire forgets what cannot be undone any more.
func (a *account) expire(now time.Time) {
	i := a.from(now.Add(-skew))
	a.ends = slices.Delete(a.ends, 0, i)
}

func (e *ending) add(m iatp.Money) {
	if e.Cost == nil {
		e.Cost = make(map[string]iatp.Money)
	}
	e.Cost[m.Currency()] = plus(e.Cost[m.Currency()], m)
}

// readCost reads the cost on a line, such as "12.00 USD".
func readCost(text string) (iatp.Money, bool) {
	amount, currency, _ := strings.Cut(text, " ")
	m, err := iatp.ParseMoney(amount, currency)
	return m, err == nil
}

func (a *account) hour(at time.Time) *hour {
	n := at.Unix() / 3600
	h := &a.hours[((n%24)+24)%24]
	if h.Hour != n {
		*h = hour{Hour: n}
	}
	return h
}

// day sums the last 24 hours up.
func (a *account) day(now time.Time) (begun, undos int) {
	for _, h := range a.hours {
		if h.Hour > now.Unix()/3600-24 {
			begun, undos = begun+h.Begun, undos+h.Undos
		}
	}
	return begun, undos
}

func (a *account) sum(currency string) (n int, cost iatp.Money) {
	for i := range a.ends {
		n += a.ends[i].N
		cost = plus(cost, a.ends[i].Cost[currency])
	}
	return n, cost
}

// plus adds amounts of one currency, either of which may be none. What is more than
// there can be stays what it was.
func plus(x, y iatp.Money) iatp.Money {
	if x.IsZero() {
		return y
	}
	if sum, err := x.Add(y); err == nil {
		return sum
	}
	return x
}

// Admit lets a task begin that can be undone, or says why not: ErrOpen, ErrCost, ErrRatio.
// It is counted from then on; release gives it back once its line stands, or does not.
func (b *Book) Admit(pool flight.Label) (release func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.admits(pool); err != nil {
		return nil, err
	}
	b.entering[pool]++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.entering[pool]--; b.entering[pool] == 0 {
			delete(b.entering, pool)
		}
	}, nil
}

func (b *Book) admits(pool flight.Label) error {
	l, now, a := &b.opt.Limits, b.opt.Now(), b.accounts[pool]
	if a == nil && len(b.accounts) >= maxAccounts {
		a = b.accounts[flight.Label{}]
	}
	if a == nil {
		a = new(account)
	}
	a.expire(now)
	if n, _ := a.sum(""); l.Open > 0 && n+b.shares[pool]+b.entering[pool] >= l.Open {
		return ErrOpen
	}
	for _, most := range l.Cost {
		if _, cost := a.sum(most.Currency()); !cost.IsZero() {
			if order, err := cost.Cmp(most); err != nil || order >= 0 {
				return ErrCost
			}
		}
	}
	if begun, undos := a.day(now); l.Ratio > 0 && undos >= l.From && float64(undos) > l.Ratio*float64(begun) {
		return ErrRatio
	}
	return nil
}

// forgetAccounts drops those in which nothing stands any more. It needs mu.
func (b *Book) forgetAccounts(now time.Time) {
	for pool, a := range b.accounts {
		a.expire(now)
		if begun, undos := a.day(now); len(a.ends) == 0 && begun == 0 && undos == 0 {
			delete(b.accounts, pool)
		}
	}
}

// savedAccount is an account in a snapshot.
type savedAccount struct {
	Pool  string        `json:"pool"`
	Ends  []savedEnding `json:"ends,omitempty"`
	Hours []hour        `json:"hours,omitempty"`
}

type savedEnding struct {
	ending
	Cost []string `json:"cost,omitempty"`
}

func (a *account) save(pool flight.Label) savedAccount {
	s := savedAccount{Pool: pool.String()}
	for _, e := range a.ends {
		one := savedEnding{ending: e}
		for _, m := range e.Cost {
			one.Cost = append(one.Cost, m.String())
		}
		s.Ends = append(s.Ends, one)
	}
	for _, h := range a.hours {
		if h != (hour{}) {
			s.Hours = append(s.Hours, h)
		}
	}
	return s
}

// restore puts an account back. It needs mu.
func (b *Book) restore(s *savedAccount) error {
	var pool flight.Label
	if err := pool.UnmarshalText([]byte(s.Pool)); err != nil {
		return err
	}
	if len(b.accounts) > maxAccounts || len(s.Ends) > maxEnds {
		return errors.New("it counts more than there is room for")
	}
	a := new(account)
	for _, one := range s.Ends {
		e := one.ending
		if e.N < 0 || e.N > 1<<40 || len(a.ends) > 0 && !a.ends[len(a.ends)-1].At.Before(e.At) {
			return errors.New("what it counts is not in order")
		}
		for _, text := range one.Cost {
			m, ok := readCost(text)
			if !ok {
				return errors.New("a cost in it cannot be read")
			}
			e.add(m)
		}
		a.ends = append(a.ends, e)
	}
	for _, h := range s.Hours {
		a.hours[((h.Hour%24)+24)%24] = h
	}
	b.accounts[pool] = a
	return nil
}
