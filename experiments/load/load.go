package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// sample is what one stretch of load measured. want is the status that a good
// answer has; what else comes is an error, except that 503 is counted apart:
// shedding is an answer too.
type sample struct {
	done    int64
	shed    int64
	errors  int64
	first   error // an example
	elapsed time.Duration
	cpu     time.Duration
	rss     int64 // at the end
	latency *histogram
}

// perRequest is the processor time that one request cost the target.
func (s *sample) perRequest() float64 {
	return micros(s.cpu) / float64(max(s.done, 1))
}

func (s *sample) rate() float64 { return float64(s.done) / s.elapsed.Seconds() }

func (s *sample) fail(err error) {
	s.errors++
	if s.first == nil {
		s.first = err
	}
}

// count judges one answer.
func (s *sample) count(status, want int, err error) {
	switch {
	case err != nil:
		s.fail(err)
	case status == want:
		s.done++
	case status == 503:
		s.shed++
	default:
		s.fail(fmt.Errorf("status %d, not %d", status, want))
	}
}

func (s *sample) merge(o *sample) {
	s.done, s.shed, s.errors = s.done+o.done, s.shed+o.shed, s.errors+o.errors
	if s.first == nil {
		s.first = o.first
	}
	s.latency.merge(o.latency)
}

// Phases of a stretch of load.
const (
	warming int32 = iota
	measuring
	over
)

// meter takes the processor time of the target between its start and its end.
type meter struct {
	r     *running
	began time.Time
	cpu   time.Duration
}

func (r *running) meter() (*meter, error) {
	u, err := usageOfAll(r.pids)
	return &meter{r, time.Now(), u.cpu}, err
}

func (m *meter) end(s *sample) error {
	u, err := usageOfAll(m.r.pids)
	s.elapsed, s.cpu, s.rss = time.Since(m.began), u.cpu-m.cpu, u.rss
	return err
}

// closed keeps every connection busy: the next request leaves when the answer
// to the last one is there. It shows what a target can do, and what a request
// costs; its latencies are those of a queue of the generator's own making.
func closed(r *running, request []byte, want, conns int, warm, d time.Duration) (*sample, error) {
	wires, err := dialMany(r.addr, conns)
	if err != nil {
		return nil, err
	}
	defer hangUp(wires)
	return keepBusy(r, wires, request, want, time.Now, warm, d)
}

// crowded offers a rate that the target cannot serve. Each connection takes the
// next request that is due as soon as it is free, and latency counts from when
// it was due; so the generator pays for it no more than for keeping the same
// connections busy.
func crowded(r *running, request []byte, want, conns, rate int, warm, d time.Duration) (*sample, error) {
	wires, err := dialMany(r.addr, conns)
	if err != nil {
		return nil, err
	}
	defer hangUp(wires)
	return keepBusy(r, wires, request, want, schedule(rate), warm, d)
}

// schedule gives out the times of requests at a rate, and waits for those that
// are not due yet.
func schedule(rate int) func() time.Time {
	var n atomic.Int64
	start := time.Now()
	return func() time.Time {
		due := start.Add(time.Duration(n.Add(1)-1) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		return due
	}
}

// keepBusy repeats a request on each connection; next says when one was due.
func keepBusy(r *running, wires []*wire, request []byte, want int, next func() time.Time, warm, d time.Duration) (*sample, error) {
	var phase atomic.Int32
	parts := make([]sample, len(wires))
	var all sync.WaitGroup
	for i, w := range wires {
		parts[i].latency = new(histogram)
		all.Go(func() { w.repeat(request, want, next, &phase, &parts[i]) })
	}
	pause(r.ctx, warm)
	m, err := r.meter()
	phase.Store(measuring)
	pause(r.ctx, d)
	sum := &sample{latency: new(histogram)}
	err = errors.Join(err, m.end(sum))
	phase.Store(over)
	all.Wait()
	for i := range parts {
		sum.merge(&parts[i])
	}
	return sum, err
}

// pause sleeps; shorter when the run is interrupted.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// repeat sends a request until the end.
func (w *wire) repeat(request []byte, want int, next func() time.Time, phase *atomic.Int32, s *sample) {
	for {
		due := next()
		status, err := w.do(request)
		took := time.Since(due)
		switch phase.Load() {
		case over:
			return
		case measuring:
			if s.count(status, want, err); err == nil {
				s.latency.add(took)
			}
		}
		if err != nil {
			w.closed = true // another one
		}
	}
}

func dialMany(addr string, n int) ([]*wire, error) {
	wires := make([]*wire, 0, n)
	for range n {
		w, err := dial(addr)
		if err != nil {
			hangUp(wires)
			return nil, fmt.Errorf("connection %d to %s: %w%s", len(wires)+1, addr, err, moreFiles(err))
		}
		wires = append(wires, w)
	}
	return wires, nil
}

func moreFiles(err error) string {
	if errors.Is(err, syscall.EMFILE) {
		return " (raise the limit of open files: ulimit -n)"
	}
	return ""
}

func hangUp(wires []*wire) {
	for _, w := range wires {
		w.conn.Close()
	}
}

// open sends requests at times that are fixed beforehand, whatever became of
// those before, and counts latency from the time at which a request was due: a
// target that stalls is charged for everything that it kept waiting. A request
// that finds no free connection waits for one.
func open(r *running, request []byte, want, conns, rate int, warm, d time.Duration) (*sample, error) {
	wires, err := dialMany(r.addr, conns)
	if err != nil {
		return nil, err
	}
	defer hangUp(wires)
	p := &pacer{request: request, want: want, free: make(chan *line, conns), sum: sample{latency: new(histogram)}}
	var all sync.WaitGroup
	lines := make([]*line, conns)
	for i, w := range wires {
		lines[i] = &line{w, make(chan time.Time, 1)}
		p.free <- lines[i]
		all.Go(func() { p.read(lines[i]) })
	}
	err = p.pace(r, rate, warm, d)
	for _, l := range lines {
		close(l.due)
	}
	all.Wait()
	return &p.sum, err
}

// line is a connection of an open loop, and when what was sent on it was due.
type line struct {
	*wire
	due chan time.Time
}

// pacer sends. It has a thread and sleeps in the kernel, for the timers of the
// runtime may be a millisecond late when a program has nothing else to do.
type pacer struct {
	request []byte
	want    int
	free    chan *line
	from    time.Time // requests that were due before are not counted

	mu  sync.Mutex
	sum sample
}

func (p *pacer) pace(r *running, rate int, warm, d time.Duration) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	p.from = start.Add(warm)
	var m *meter
	for n := 0; ; n++ {
		due := start.Add(time.Duration(n) * time.Second / time.Duration(rate))
		if due.Sub(p.from) >= d {
			break
		}
		if m == nil && !due.Before(p.from) {
			var err error
			if m, err = r.meter(); err != nil {
				return err
			}
		}
		if wait := time.Until(due); wait > 0 {
			nap(wait)
		}
		l := <-p.free
		if err := l.send(p.request); err != nil {
			l.conn.Close() // its reader says so
		}
		l.due <- due
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return m.end(&p.sum)
}

// read takes the answers on one connection.
func (p *pacer) read(l *line) {
	for due := range l.due {
		status, err := l.receive(nil)
		took := time.Since(due)
		if err != nil {
			l.closed = true
		}
		if !due.Before(p.from) {
			p.mu.Lock()
			if p.sum.count(status, p.want, err); err == nil {
				p.sum.latency.add(took)
			}
			p.mu.Unlock()
		}
		p.free <- l
	}
}
