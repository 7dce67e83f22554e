package main

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// overload offers a target twice what it can do. It shows whether throughput
// keeps, and whether health and metrics answer meanwhile.
func (b *bench) overload() error {
	list, err := b.ready("rp", "iatp")
	if err != nil {
		return err
	}
	const crowd = 2000
	t := b.table("overload", "twice the requests that the target can serve, offered on 2,000 connections",
		"Peak is what 64 connections reach when each is always busy. More connections cost every target and the generator more for each request, "+
			"so the crowd's own peak stands beside it, when each of the 2,000 is always busy; twice that is offered. What is the target's own, on cores that the generator shares, "+
			"is what a second of its processor time serves. Health is the time that GET /health and GET /metrics take meanwhile; RP has none, it passes them on.",
		column{Key: "peak", Head: "peak requests/s"}, column{Key: "crowd", Head: "peak of the crowd"}, column{Key: "rate", Head: "served at twice that"}, column{Key: "kept", Head: "share of the crowd's peak"},
		column{Key: "crowdcpu", Head: "CPU µs a request, crowd's peak"}, column{Key: "cpu", Head: "CPU µs a request, at twice"}, column{Key: "own", Head: "requests a CPU second, share of the crowd's peak"},
		column{Key: "shed", Head: "503"}, column{Key: "p50", Head: "p50 µs"}, column{Key: "p99", Head: "p99 µs"},
		column{Key: "health", Head: "health, longest µs"}, column{Key: "errors", Head: "errors"})
	body := cleanBody(1024)
	return b.turns(list, func(r *running) error {
		request := post(r.addr, r.path, body)
		peak, err := closed(r, request, 200, b.conns, warmUp, b.time)
		if err != nil {
			return err
		}
		// A call waits about as long as a turn lasts elsewhere.
		busy, err := closed(r, request, 200, crowd, b.time, 3*b.time)
		if err != nil {
			return err
		}
		stop, longest := make(chan struct{}), make(chan time.Duration)
		go func() { longest <- probe(r.addr, stop) }()
		s, err := crowded(r, request, 200, crowd, int(2*busy.rate()), b.time, 3*b.time)
		close(stop)
		row := t.row(r.target.name)
		row.add("health", micros(<-longest))
		if err != nil {
			return err
		}
		row.add("peak", peak.rate())
		row.add("crowd", busy.rate())
		row.add("kept", s.rate()/busy.rate())
		row.add("crowdcpu", busy.perRequest())
		row.add("own", busy.perRequest()/s.perRequest())
		b.keep(t, r.target.name, s)
		return nil
	})
}

// probe asks for health and metrics twenty times a second, and returns the
// longest wait; +Inf if one was not answered.
func probe(addr string, stop <-chan struct{}) time.Duration {
	var longest time.Duration
	w, err := dial(addr)
	if err != nil {
		return math.MaxInt64
	}
	defer func() { w.conn.Close() }()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return longest
		case <-time.After(50 * time.Millisecond):
		}
		began := time.Now()
		if _, err := w.do(get(addr, []string{"/health", "/metrics"}[n%2])); err != nil {
			return math.MaxInt64
		}
		longest = max(longest, time.Since(began))
	}
}

// hostile runs good traffic beside bad, and shows what the good feels of it.
func (b *bench) hostile() error {
	list, err := b.ready("iatp")
	if err != nil || len(list) == 0 {
		return err
	}
	r := list[0]
	const rate = 500
	t := b.table("hostile", fmt.Sprintf("%d good requests a second beside bad company", rate), "",
		column{Key: "p50", Head: "p50 µs"}, column{Key: "p99", Head: "p99 µs"}, column{Key: "p999", Head: "p99.9 µs"}, column{Key: "p99", Head: "p99 over alone", Over: "alone"},
		column{Key: "errors", Head: "errors"}, column{Key: "bad", Head: "bad requests/s"})
	request := post(r.addr, r.path, cleanBody(1024))
	company := []struct {
		name string
		keep func(r *running, stop <-chan struct{}) (float64, error)
	}{
		{"alone", func(_ *running, stop <-chan struct{}) (float64, error) { <-stop; return 0, nil }},
		{"1,000 clients that send a byte a second", dribble},
		{"1,000 connections with half a request", halfOpen},
		{"200 calls to an agent that takes its time", slowAgent},
		{"a flood of requests that are refused", flood},
	}
	for range b.rounds {
		for _, c := range company {
			stop := make(chan struct{})
			type end struct {
				rate float64
				err  error
			}
			ended := make(chan end)
			go func() {
				rate, err := c.keep(r, stop)
				ended <- end{rate, err}
			}()
			s, err := open(r, request, 200, b.conns, rate, time.Second, b.time)
			close(stop)
			e := <-ended
			if err != nil || e.err != nil {
				return fmt.Errorf("%s: %w, %w", c.name, err, e.err)
			}
			t.row(c.name).add("bad", e.rate)
			b.keep(t, c.name, s)
		}
	}
	return nil
}

const company = 1000

// dribble keeps clients that send the head of a request byte by byte.
func dribble(r *running, stop <-chan struct{}) (float64, error) {
	wires, err := dialMany(r.addr, company)
	if err != nil {
		return 0, err
	}
	defer hangUp(wires)
	request := post(r.addr, r.path, cleanBody(1024))
	for n := 0; ; n++ {
		for _, w := range wires {
			if _, err := w.conn.Write(request[n%len(request) : n%len(request)+1]); err != nil {
				_ = w.redial() // it was cut off, as it deserves; it comes again
			}
		}
		select {
		case <-stop:
			return company, nil
		case <-time.After(time.Second):
		}
	}
}

// halfOpen keeps connections on which the rest of a body never comes.
func halfOpen(r *running, stop <-chan struct{}) (float64, error) {
	wires, err := dialMany(r.addr, company)
	if err != nil {
		return 0, err
	}
	defer hangUp(wires)
	request := post(r.addr, r.path, cleanBody(1024))
	for _, w := range wires {
		if err := w.send(request[:len(request)/2]); err != nil {
			return 0, err
		}
	}
	<-stop
	return 0, nil
}

// slowAgent keeps calls under way to which the agent gives no answer for long.
func slowAgent(r *running, stop <-chan struct{}) (float64, error) {
	wires, err := dialMany(r.addr, 200)
	if err != nil {
		return 0, err
	}
	defer hangUp(wires)
	for _, w := range wires {
		if err := w.send(post(r.addr, r.path, []byte(`{"wait_ms":60000}`))); err != nil {
			return 0, err
		}
	}
	<-stop
	return 0, nil
}

// flood sends what is not JSON on two connections, as fast as it is refused.
func flood(r *running, stop <-chan struct{}) (float64, error) {
	wires, err := dialMany(r.addr, 2)
	if err != nil {
		return 0, err
	}
	defer hangUp(wires)
	request := post(r.addr, r.path, cleanBody(1024)[1:])
	var phase atomic.Int32
	phase.Store(measuring)
	parts := make([]sample, len(wires))
	began := time.Now()
	var all sync.WaitGroup
	for i, w := range wires {
		parts[i].latency = new(histogram)
		all.Go(func() { w.repeat(request, 400, time.Now, &phase, &parts[i]) })
	}
	<-stop
	phase.Store(over)
	all.Wait()
	var n int64
	for i := range parts {
		if parts[i].first != nil {
			return 0, parts[i].first
		}
		n += parts[i].done
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
