package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// bench is a run of this program.
type bench struct {
	*yard
	*settings
	root   string
	result result
	up     map[string]*running // targets that stay up from scenario to scenario
}

// scenario is a table and how to fill it.
type scenario struct {
	name  string
	quick bool // part of --quick
	run   func(b *bench) error
}

func scenarios() []scenario {
	return []scenario{
		{"saturated", true, (*bench).saturated},
		{"rate-1000", true, func(b *bench) error { return b.constant(1000) }},
		{"rate-5000", false, func(b *bench) error { return b.constant(5000) }},
		{"sizes", false, (*bench).sizes},
		{"dense", true, (*bench).dense},
		{"refused", true, (*bench).refused},
		{"overload", false, (*bench).overload},
		{"hostile", false, (*bench).hostile},
		{"hold", true, (*bench).holdMode},
		{"stream", true, (*bench).streaming},
		{"memory", true, (*bench).memory},
		{"start", true, (*bench).starting},
		{"parts", false, (*bench).parts},
	}
}

func scenarioNames(quick bool) []string {
	var out []string
	for _, s := range scenarios() {
		if s.quick || !quick {
			out = append(out, s.name)
		}
	}
	return out
}

// all runs every scenario that was asked for.
func (b *bench) all() error {
	b.up = map[string]*running{}
	for _, s := range scenarios() {
		if b.quick && !s.quick || !b.only.MatchString(s.name) {
			continue
		}
		fmt.Fprintf(b.log, "%s %s\n", time.Now().Format("15:04:05"), s.name)
		if err := s.run(b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if b.ctx.Err() != nil {
			return errors.New("interrupted")
		}
	}
	b.result.judge(b.settings)
	return nil
}

func (b *bench) table(name, title, note string, columns ...column) *table {
	t := &table{Name: name, Title: title, Note: note, Columns: columns}
	b.result.Tables = append(b.result.Tables, t)
	return t
}

// ready returns the wanted targets of these names, started. What is not
// installed is left out with a word.
func (b *bench) ready(names ...string) ([]*running, error) {
	var out []*running
	for _, t := range known(b.against) {
		if !slices.Contains(names, t.name) || !b.wanted(t.name) {
			continue
		}
		if b.up[t.name] == nil {
			r, err := b.start(t)
			if missing, ok := errors.AsType[errMissing](err); ok {
				b.leaveOut(missing.Error())
				continue
			}
			if err != nil {
				return nil, err
			}
			b.up[t.name] = r
		}
		out = append(out, b.up[t.name])
	}
	return out, nil
}

// known are all targets that can be chosen.
func known(against string) []*target {
	if against == "" {
		return targets()
	}
	return append(targets(), others(against)...)
}

// others are the binary of --against, alone, strict and as two sidecars.
func others(against string) []*target {
	with := func(start func(*yard, string) (*running, error)) func(*yard, string) (*running, error) {
		return func(y *yard, dir string) (*running, error) {
			twin := *y
			twin.iatp = against
			r, err := start(&twin, dir)
			y.all = twin.all
			return r, err
		}
	}
	return []*target{
		{"other", "as iatp, the binary of --against", with(sidecarTarget(""))},
		{"other-strict", "as strict, the binary of --against", with(sidecarTarget("durability: strict\n"))},
		{"other-pair", "as pair, the binary of --against", with(startPair)},
	}
}

func names(list []*target) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.name)
	}
	return out
}

func (b *bench) leaveOut(why string) {
	if !slices.Contains(b.result.LeftOut, why) {
		b.result.LeftOut = append(b.result.LeftOut, why)
		fmt.Fprintln(b.log, "  "+why)
	}
}

// turns lets the targets take turns, in another order each time: what else the
// machine does meets all of them, and none is always the first.
func (b *bench) turns(list []*running, turn func(r *running) error) error {
	for n := range b.rounds {
		for i := range list {
			r := list[(i+n)%len(list)]
			if err := turn(r); err != nil {
				return fmt.Errorf("%s, round %d: %w", r.target.name, n+1, err)
			}
			if b.ctx.Err() != nil {
				return errors.New("interrupted")
			}
		}
	}
	return nil
}

// keep adds a sample to a row. A sample with errors is reported, not hidden.
func (b *bench) keep(t *table, name string, s *sample) {
	if s.errors > 0 {
		fmt.Fprintf(b.log, "  %s: %d errors, such as: %v\n", name, s.errors, s.first)
	}
	t.row(name).take(s)
}

const warmUp = 300 * time.Millisecond

func (b *bench) saturated() error {
	list, err := b.ready("direct", "rp", "nginx", "haproxy", "iatp", "strict", "pair", "large", "other", "other-strict", "other-pair")
	if err != nil {
		return err
	}
	t := b.table("saturated", fmt.Sprintf("1 KB each way, %d connections, each always busy", b.conns),
		"Processor time is that of the target's processes alone. Latency is what the queue of these connections makes of the target's speed.",
		column{Key: "cpu", Head: "CPU µs a request"}, column{Key: "cpu", Head: "over RP", Over: "rp"}, column{Key: "cpu", Head: "over nginx", Over: "nginx"},
		column{Key: "rate", Head: "requests/s"}, column{Key: "rate", Head: "over RP", Over: "rp"}, column{Key: "p50", Head: "p50 µs"}, column{Key: "p99", Head: "p99 µs"},
		column{Key: "errors", Head: "errors"})
	body := cleanBody(1024)
	return b.turns(list, func(r *running) error {
		s, err := closed(r, post(r.addr, r.path, body), 200, b.conns, warmUp, b.time)
		if err == nil {
			b.keep(t, r.target.name, s)
		}
		return err
	})
}

func (b *bench) constant(rate int) error {
	list, err := b.ready("direct", "rp", "nginx", "haproxy", "iatp", "strict", "other", "other-strict")
	if err != nil {
		return err
	}
	t := b.table(fmt.Sprintf("rate-%d", rate), fmt.Sprintf("1 KB each way, %d requests a second on %d connections", rate, b.conns),
		"Latency counts from the time at which a request was due. What is added is the figure less that of the direct call in the same round.",
		column{Key: "cpu", Head: "CPU µs a request"}, column{Key: "cpu", Head: "over RP", Over: "rp"}, column{Key: "p50", Head: "p50 µs"}, column{Key: "p50", Head: "added p50", Less: "direct"},
		column{Key: "p99", Head: "p99 µs"}, column{Key: "p99", Head: "added p99", Less: "direct"}, column{Key: "p999", Head: "p99.9 µs"}, column{Key: "errors", Head: "errors"})
	body := cleanBody(1024)
	return b.turns(list, func(r *running) error {
		s, err := open(r, post(r.addr, r.path, body), 200, b.conns, rate, warmUp, b.time)
		if err == nil {
			b.keep(t, r.target.name, s)
		}
		return err
	})
}

// bodySizes are in bytes.
var bodySizes = []int{200, 10 << 10, 100 << 10, 1000 << 10}

func (b *bench) sizes() error {
	list, err := b.ready("direct", "rp", "nginx", "iatp", "other")
	if err != nil {
		return err
	}
	for _, n := range bodySizes {
		t := b.table(fmt.Sprintf("size-%d", n), fmt.Sprintf("%d bytes each way, 16 connections, each always busy", n), "",
			column{Key: "cpu", Head: "CPU µs a request"}, column{Key: "cpu", Head: "over RP", Over: "rp"}, column{Key: "rate", Head: "requests/s"},
			column{Key: "rate", Head: "over RP", Over: "rp"}, column{Key: "p99", Head: "p99 µs"}, column{Key: "errors", Head: "errors"})
		body := cleanBody(n)
		err := b.turns(list, func(r *running) error {
			s, err := closed(r, post(r.addr, r.path, body), 200, 16, warmUp, b.time/2)
			if err == nil {
				b.keep(t, r.target.name, s)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) dense() error {
	list, err := b.ready("rp", "iatp", "other")
	if err != nil {
		return err
	}
	t := b.table("dense", fmt.Sprintf("1 KB each way full of card numbers and addresses, %d connections, each always busy", b.conns),
		"Everything is found, redacted and counted, in the request and in the answer.",
		column{Key: "cpu", Head: "CPU µs a request"}, column{Key: "cpu", Head: "over RP", Over: "rp"}, column{Key: "rate", Head: "requests/s"}, column{Key: "errors", Head: "errors"})
	body := denseBody(1024)
	return b.turns(list, func(r *running) error {
		s, err := closed(r, post(r.addr, r.path, body), 200, b.conns, warmUp, b.time)
		if err == nil {
			b.keep(t, r.target.name, s)
		}
		return err
	})
}

// refused measures what it costs to say no.
func (b *bench) refused() error {
	if !b.wanted("iatp") {
		return nil
	}
	list, err := b.ready("rp", "iatp")
	if err != nil {
		return err
	}
	wary, err := b.start(&target{name: "wary", start: judged(trap)})
	if err != nil {
		return err
	}
	defer wary.stop()
	full, err := b.start(&target{name: "full", start: judged(busy)})
	if err != nil {
		return err
	}
	defer full.stop()
	blocker, err := dial(full.addr)
	if err != nil {
		return err
	}
	defer blocker.conn.Close()
	if err := blocker.send(post(full.addr, full.path, []byte(`{"wait_ms":100000}`))); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	t := b.table("refused", fmt.Sprintf("1 KB that is refused, %d connections, each always busy", b.conns),
		"What is refused by a decision (403, 449) is recorded like what is let through; 429 says that the agent already has as many calls as it allows; 400 is not JSON.",
		column{Key: "cpu", Head: "CPU µs a request"}, column{Key: "cpu", Head: "over RP's 200", Over: "rp"}, column{Key: "rate", Head: "requests/s"}, column{Key: "errors", Head: "errors"})
	cases := []refusal{
		{"403", wary, 403, denseBody(1024)}, {"449", wary, 449, cleanBody(1024)},
		{"429", full, 429, cleanBody(1024)}, {"400", full, 400, cleanBody(1024)[1:]},
	}
	for _, r := range list {
		cases = append(cases, refusal{r.target.name, r, 200, cleanBody(1024)})
	}
	for range b.rounds {
		for _, c := range cases {
			s, err := closed(c.r, post(c.r.addr, c.r.path, c.body), c.status, b.conns, warmUp, b.time/2)
			if err != nil {
				return err
			}
			b.keep(t, c.name, s)
		}
	}
	return nil
}

// refusal is a request and the status that it must get.
type refusal struct {
	name   string
	r      *running
	status int
	body   []byte
}

// judged is a sidecar in front of an agent with this manifest.
func judged(manifest string) func(*yard, string) (*running, error) {
	return func(y *yard, dir string) (*running, error) {
		r := new(running)
		return r, y.sidecar(r, dir, manifest, "")
	}
}
