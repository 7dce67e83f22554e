package undo

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
)

// The pauses between two attempts: the first, and the longest.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 10 * time.Second
)

// pause is how long to wait after so many attempts.
func pause(tries int) time.Duration {
	if tries > 10 {
		return longestPause
	}
	return min(firstPause<<tries, longestPause)
}

// queue is a heap of things, that which is due next first. Each is in it once at most,
// and knows where: what rests is taken out.
type queue []*motion

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].queued, q[j].queued = i+1, j+1
}
func (q *queue) Push(x any) {
	m := x.(*motion)
	*q = append(*q, m)
	m.queued = len(*q)
}
func (q *queue) Pop() any {
	last := len(*q) - 1
	m := (*q)[last]
	(*q)[last], *q = nil, (*q)[:last]
	m.queued = 0
	return m
}

// schedule queues a thing of which something is to be done. It needs mu.
func (b *Book) schedule(m *motion, in time.Duration) {
	b.unschedule(m)
	if m.busy || !m.needsWork() {
		return
	}
	m.due = b.opt.Now().Add(in)
	if m.kind == flight.TxSaga && m.state == Active {
		m.due = m.until
	}
	heap.Push(&b.due, m)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// unschedule takes a thing out of the queue. It needs mu.
func (b *Book) unschedule(m *motion) {
	if m.queued > 0 {
		heap.Remove(&b.due, m.queued-1)
	}
}

// needsWork reports whether a thing goes on by itself.
func (m *motion) needsWork() bool {
	switch {
	case m.asksPerson():
		return false
	case m.kind == flight.TxSaga:
		return m.state == Active || m.state == Compensating
	case m.kind == flight.TxCall:
		return m.alone && m.state == Compensating
	}
	return m.state == Unknown || m.state == Compensating || m.asked && m.state != Active
}

// Run ends what a crash left under way, and then makes everything in motion go on,
// until Close. Call it once, before anything new is begun.
func (b *Book) Run() error {
	for _, ref := range b.underWay(flight.TxTask, flight.TxCall) {
		if _, err := b.advance(ref, func(t *Thing) (*move, error) {
			return &move{to: Unknown, who: ByRecovery, code: "interrupted"}, nil
		}); err != nil && !errors.Is(err, ErrUnknown) {
			return err
		}
	}
	for _, ref := range b.underWay(flight.TxSaga) {
		if err := b.CallEnded(ref); err != nil && !errors.Is(err, ErrUnknown) {
			return err
		}
	}
	b.sweep()
	b.ended.Go(b.work)
	return nil
}

// underWay are the things of these kinds that were under way when the process died.
func (b *Book) underWay(kinds ...flight.TxKind) []Ref {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Ref
	for _, m := range b.moving {
		if m.state == Active && slices.Contains(kinds, m.kind) {
			all = append(all, m.ref)
		}
	}
	return all
}

// sweepInterval is how often what has expired is erased.
const sweepInterval = time.Minute

// work hands out what is due.
func (b *Book) work() {
	places := make(chan struct{}, workers)
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-b.running.Done():
			return
		case <-tick.C:
			b.sweep()
			continue
		case <-b.wake:
		case <-timer.C:
		}
		for {
			m, wait := b.next()
			if m == nil {
				timer.Reset(wait)
				break
			}
			select {
			case places <- struct{}{}:
			case <-b.running.Done():
				return
			}
			b.ended.Go(func() {
				b.do(m)
				<-places
			})
		}
	}
}

// next takes the first thing that is due, or says how long nothing is.
func (b *Book) next() (*motion, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.opt.Now()
	if len(b.due) > 0 {
		if wait := b.due[0].due.Sub(now); wait > 0 {
			return nil, wait
		}
		m := heap.Pop(&b.due).(*motion)
		m.busy = true
		return m, 0
	}
	return nil, time.Hour
}

// do works on a thing once, and has it looked at again if that was not the end.
func (b *Book) do(m *motion) {
	var wait time.Duration
	var err error
	b.mu.Lock()
	before := m.state
	b.mu.Unlock()
	switch m.kind {
	case flight.TxTask:
		wait, err = b.doTask(b.running, m.ref)
	case flight.TxCall:
		wait, err = b.doCall(b.running, m.ref)
	case flight.TxSaga:
		wait, err = b.doSaga(b.running, m.ref)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	m.busy = false
	untilCalled, waits := b.waits(m, err)
	switch {
	case waits:
		wait = untilCalled
	case err != nil && b.running.Err() == nil:
		b.opt.Logger.Error("an undo cannot go on now", "transaction", m.ref.ID(), "error", err)
		wait = longestPause
	case wait == 0:
		wait = pause(m.try)
		m.try++
	default:
		m.try++
	}
	if m.state != before { // such as by an undo that was asked for meanwhile, and must not wait for a pause of the question
		wait = 0
	}
	if b.moving[m.ref.At] == m {
		b.schedule(m, wait)
	}
	for _, g := range []*gate{&b.agent, &b.peers} { // it was called, and may not have gone in
		b.callNext(g, "")
	}
}

// Await returns when a thing rests, waits for a person, or ctx ends.
func (b *Book) Await(ctx context.Context, ref Ref) {
	for {
		b.mu.Lock()
		m := b.moving[ref.At]
		rests := m == nil || m.asksPerson()
		var turned chan struct{}
		if !rests {
			turned = m.turned
		}
		b.mu.Unlock()
		if rests {
			return
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return
		}
	}
}
