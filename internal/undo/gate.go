package undo

import (
	"errors"
	"time"
)

// A gate lets in so many at a time, and nobody for long alone: whoever has a place gets
// another one only while there are shared ones left, and each at most; who has none finds
// one until all are taken. So one caller, or one peer, whose requests hang keeps nobody
// else from going on.
type gate struct {
	shared, each, all int

	inside  int
	by      map[string]int
	waiting map[string][]*motion // the first one first; some wait no more
}

// room reports whether who may enter.
func (g *gate) room(who string) bool {
	n := g.by[who]
	return n < g.each && g.inside < g.all && (n == 0 || g.inside < g.shared)
}

func (g *gate) enter(who string) bool {
	if !g.room(who) {
		return false
	}
	if g.by == nil {
		g.by = make(map[string]int)
	}
	g.inside++
	g.by[who]++
	return true
}

func (g *gate) leave(who string) {
	g.inside--
	if g.by[who]--; g.by[who] == 0 {
		delete(g.by, who)
	}
}

// A spot is where a thing waits.
type spot struct {
	gate *gate
	who  string
}

// await has a thing wait for a place of who.
func (g *gate) await(m *motion, who string) {
	if here := (spot{g, who}); m.waiting != here {
		m.waiting = here
		if g.waiting == nil {
			g.waiting = make(map[string][]*motion)
		}
		g.waiting[who] = append(g.waiting[who], m)
	}
}

// called takes one out that may enter now: of who if there is one, else of anybody.
func (g *gate) called(who string) *motion {
	if g.room(who) && len(g.waiting[who]) > 0 {
		return g.take(who)
	}
	for other := range g.waiting {
		if g.room(other) {
			return g.take(other)
		}
	}
	return nil
}

func (g *gate) take(who string) *motion {
	list := g.waiting[who]
	m := list[0]
	if list[0] = nil; len(list) == 1 {
		delete(g.waiting, who)
	} else {
		g.waiting[who] = list[1:]
	}
	return m
}

// full says that a gate lets nobody in for who at present.
type full struct {
	gate *gate
	who  string
}

func (f *full) Error() string { return "as much is under way with " + f.who + " as may be at a time" }

// through does something for who behind a gate. The error is a *full if there is no
// place.
func (b *Book) through(g *gate, who string, do func()) error {
	b.mu.Lock()
	ok := g.enter(who)
	b.mu.Unlock()
	if !ok {
		return &full{g, who}
	}
	defer b.leave(g, who)
	do()
	return nil
}

// leave gives a place back, to one who waits.
func (b *Book) leave(g *gate, who string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g.leave(who)
	b.callNext(g, who)
}

// callNext has the next one come that waits for a place which is free, one of who's if
// it can be. It needs mu.
func (b *Book) callNext(g *gate, who string) {
	for m := g.called(who); m != nil; m = g.called(who) {
		if here := m.waiting; here.gate != g || b.moving[m.ref.At] != m {
			continue // it waits somewhere else by now, or no more
		}
		if m.waiting = (spot{}); !m.busy {
			b.schedule(m, 0)
			return
		}
	}
}

// waits has a thing wait if err says that it has to, and returns for how long if nobody
// calls it. It needs mu.
func (b *Book) waits(m *motion, err error) (time.Duration, bool) {
	f, ok := errors.AsType[*full](err)
	if !ok || f.gate.room(f.who) { // somebody has left meanwhile
		return 0, ok
	}
	f.gate.await(m, f.who)
	return longestPause, true
}

// Enter takes one of the places for those who ask for an undo and wait for it; leave
// gives it back. There is none if ok is false.
func (b *Book) Enter(principal string) (leave func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.asking.enter(principal) {
		return nil, false
	}
	return func() { b.leave(&b.asking, principal) }, true
}
