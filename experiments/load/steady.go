package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// fresh are the wanted targets of these names, to be started anew: what they
// hold is of one scenario alone.
func (b *bench) fresh(names ...string) []*target {
	return slices.DeleteFunc(known(b.against), func(t *target) bool { return !slices.Contains(names, t.name) || !b.wanted(t.name) })
}

// alone starts a target for as long as use runs.
func (b *bench) alone(t *target, use func(r *running) error) error {
	r, err := b.start(t)
	if missing, ok := errors.AsType[errMissing](err); ok {
		b.leaveOut(missing.Error())
		return nil
	}
	if err != nil {
		return err
	}
	defer r.stop()
	if err := use(r); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	return nil
}

// holdMode opens many connections, leaves them idle, then keeps all of them
// busy.
func (b *bench) holdMode() error {
	t := b.table("hold", fmt.Sprintf("%d connections: idle after one request each, then each always busy", b.hold),
		"Resident memory of the target's processes, in MiB.",
		column{Key: "start", Head: "after start"}, column{Key: "idle", Head: "idle"}, column{Key: "idle", Head: "over RP", Over: "rp"},
		column{Key: "busy", Head: "busy, highest"}, column{Key: "busy", Head: "over RP", Over: "rp"}, column{Key: "rate", Head: "requests/s"},
		column{Key: "p50", Head: "p50 µs"}, column{Key: "p99", Head: "p99 µs"}, column{Key: "errors", Head: "errors"}, column{Key: "shed", Head: "503"})
	for range max(b.rounds/2, 1) {
		for _, target := range b.fresh("rp", "nginx", "haproxy", "iatp", "other") {
			if err := b.alone(target, func(r *running) error { return b.holdOne(t, r) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) holdOne(t *table, r *running) error {
	row := t.row(r.target.name)
	if err := row.addMemory("start", r); err != nil {
		return err
	}
	wires, err := dialMany(r.addr, b.hold)
	if err != nil {
		return err
	}
	defer hangUp(wires)
	request := post(r.addr, r.path, cleanBody(1024))
	if err := once(wires, request); err != nil {
		return err
	}
	// A target may give memory back when work pauses.
	rest := 5 * time.Second
	if b.quick {
		rest = 2 * time.Second
	}
	pause(r.ctx, rest)
	if err := row.addMemory("idle", r); err != nil {
		return err
	}
	stop, highest := make(chan struct{}), make(chan int64)
	go func() { highest <- watchMemory(r, stop) }()
	s, err := keepBusy(r, wires, request, 200, time.Now, b.time, 3*b.time)
	close(stop)
	row.add("busy", mib(<-highest))
	if err == nil {
		b.keep(t, r.target.name, s)
	}
	return err
}

// once sends one request on each connection, a few at a time.
func once(wires []*wire, request []byte) error {
	errs := make(chan error, len(wires))
	gate := make(chan struct{}, 32)
	var all sync.WaitGroup
	for _, w := range wires {
		gate <- struct{}{}
		all.Go(func() {
			defer func() { <-gate }()
			status, err := w.do(request)
			if err == nil && status != 200 {
				err = fmt.Errorf("status %d", status)
			}
			if err != nil {
				errs <- err
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}

func (r *row) addMemory(key string, of *running) error {
	u, err := usageOfAll(of.pids)
	r.add(key, mib(u.rss))
	return err
}

// watchMemory returns the most that it saw.
func watchMemory(r *running, stop <-chan struct{}) int64 {
	var most int64
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		if u, err := usageOfAll(r.pids); err == nil {
			most = max(most, u.rss)
		}
		select {
		case <-tick.C:
		case <-stop:
			tick.Stop()
			return most
		}
	}
}

// streaming lets many event streams run at once and looks at the age of each
// event when it arrives.
func (b *bench) streaming() error {
	list, err := b.ready("direct", "rp", "nginx", "iatp", "other")
	if err != nil {
		return err
	}
	t := b.table("stream", fmt.Sprintf("%d event streams of %d events, one a second each", b.streams, b.events),
		"The delay of an event is from the agent's clock when it writes to the generator's when it has read; both are on this machine.",
		column{Key: "p50", Head: "p50 µs"}, column{Key: "p99", Head: "p99 µs"}, column{Key: "p99", Head: "added p99", Less: "direct"}, column{Key: "max", Head: "max µs"},
		column{Key: "cpu", Head: "CPU µs an event"}, column{Key: "rss", Head: "resident MiB"}, column{Key: "errors", Head: "errors"})
	for _, r := range list {
		s, err := b.listenAll(r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.target.name, err)
		}
		b.keep(t, r.target.name, s)
	}
	return nil
}

func (b *bench) listenAll(r *running) (*sample, error) {
	wires, err := dialMany(r.addr, b.streams)
	if err != nil {
		return nil, err
	}
	defer hangUp(wires)
	m, err := r.meter()
	if err != nil {
		return nil, err
	}
	request := post(r.addr, r.path, fmt.Appendf(nil, `{"events":%d,"every_ms":1000}`, b.events))
	parts := make([]sample, len(wires))
	var all sync.WaitGroup
	for i, w := range wires {
		parts[i].latency = new(histogram)
		time.Sleep(time.Second / time.Duration(len(wires))) // spread over the second
		all.Go(func() { w.listen(request, b.events, &parts[i]) })
	}
	all.Wait()
	sum := &sample{latency: new(histogram)}
	err = m.end(sum)
	for i := range parts {
		sum.merge(&parts[i])
	}
	return sum, err
}

// listen reads one stream.
func (w *wire) listen(request []byte, events int, s *sample) {
	if err := w.send(request); err != nil {
		s.fail(err)
		return
	}
	if err := w.conn.SetDeadline(time.Now().Add(time.Duration(events)*time.Second + patience)); err != nil {
		s.fail(err)
		return
	}
	status, err := w.receive(func(line []byte) {
		if sent, ok := sentAt(line); ok {
			s.done++
			s.latency.add(time.Since(sent))
		}
	})
	if err != nil || status != 200 || s.done != int64(events) {
		s.fail(fmt.Errorf("status %d, %d of %d events, %v", status, s.done, events, err))
	}
}

// memory watches what a target holds while it serves a million requests.
func (b *bench) memory() error {
	t := b.table("memory", fmt.Sprintf("resident MiB over %d requests, 1 KB each way, %d connections", b.requests, b.conns),
		"After a tenth of the requests the target counts as warm. The runtime gives pages back in leaps, so growth is the median of the slopes between any two of 19 looks from there on; fewer than 500,000 requests say nothing about it.",
		column{Key: "start", Head: "after start"}, column{Key: "middle", Head: "warm: median"}, column{Key: "least", Head: "least"},
		column{Key: "greatest", Head: "greatest"}, column{Key: "growth", Head: "growth for a million"})
	for _, target := range b.fresh("iatp", "strict") {
		if err := b.alone(target, func(r *running) error { return b.memoryOf(t.row(target.name), r) }); err != nil {
			return err
		}
	}
	return nil
}

// minGrowth is how many requests it takes at least to speak of growth: before, pools and
// caches still fill.
const minGrowth = 500_000

func (b *bench) memoryOf(row *row, r *running) error {
	if err := row.addMemory("start", r); err != nil {
		return err
	}
	const steps = 20
	for step := range steps {
		if err := fill(r.addr, b.requests/steps, cleanBody(1024)); err != nil {
			return err
		}
		u, err := usageOfAll(r.pids)
		if err != nil {
			return err
		}
		row.Series = append(row.Series, [2]float64{float64((step + 1) * b.requests / steps), mib(u.rss)})
	}
	warm := row.Series[len(row.Series)-steps+1:]
	var looks []float64
	for _, at := range warm {
		looks = append(looks, at[1])
	}
	all := spreadOf(looks)
	row.add("least", all.min)
	row.add("middle", all.mid)
	row.add("greatest", all.max)
	if b.requests >= minGrowth {
		row.add("growth", slope(warm)*1e6)
	}
	return nil
}

// slope is the median of the slopes between any two points (Theil and Sen): what single
// points do hardly moves it.
func slope(points [][2]float64) float64 {
	var all []float64
	for i, p := range points {
		for _, q := range points[i+1:] {
			all = append(all, (q[1]-p[1])/(q[0]-p[0]))
		}
	}
	return spreadOf(all).mid
}

// starting measures the time from exec to the first answer, and what an idle
// sidecar holds.
func (b *bench) starting() error {
	if !b.wanted("iatp") {
		return nil
	}
	t := b.table("start", "from the start of the process to the first accepted request", "Idle memory is looked at four seconds after the first request.",
		column{Key: "ms", Head: "ms"}, column{Key: "idle", Head: "idle resident MiB"}, column{Key: "binary", Head: "binary MB"})
	info, err := os.Stat(b.yard.iatp)
	if err != nil {
		return err
	}
	records := min(b.requests, 1_000_000)
	long := filepath.Join(b.dir, "long-log")
	for i := range max(b.rounds, 2) {
		clean := filepath.Join(b.dir, fmt.Sprintf("start-%d", i))
		if err := os.MkdirAll(clean, 0o700); err != nil {
			return err
		}
		row := t.row("a clean log")
		if err := b.startOnce(row, clean, i == 0); err != nil {
			return err
		}
		row.add("binary", float64(info.Size())/1e6)
		if i == 0 {
			if err := b.makeLong(long, records); err != nil {
				return err
			}
		}
		if err := b.startOnce(t.row(fmt.Sprintf("a log of %d records", records)), long, false); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) makeLong(dir string, records int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, r, err := b.startTime(dir, friend)
	if err != nil {
		return err
	}
	defer r.stop()
	return fill(r.addr, records/2, cleanBody(200))
}

func (b *bench) startOnce(row *row, dir string, look bool) error {
	took, r, err := b.startTime(dir, friend)
	if err != nil {
		return err
	}
	defer r.stop()
	row.add("ms", micros(took)/1000)
	if !look {
		return nil
	}
	pause(r.ctx, 4*time.Second)
	return row.addMemory("idle", r)
}
