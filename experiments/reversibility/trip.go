package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// A job is one run: a trip, and what is put in its way.
type job struct {
	fault  string // the row of the table
	detail string

	stops     []string                                  // the roles that are asked; nil: all but mail
	hook      func(w *world) func(point) act            // nil: messages pass
	prepare   func(ctx context.Context, w *world) error // of the agents; nil: nothing
	beside    func(ctx context.Context, w *world)       // goes on during the run; nil: nothing
	halfway   string                                    // how the last step fails; "": fail
	abandoned bool                                      // who orders is gone after the second step
	keep      bool                                      // nothing is undone unless it is asked for
}

func (j job) String() string { return j.fault + " (" + j.detail + ")" }

// itinerary are the roles that are asked when nothing else is said.
var itinerary = []string{"ledger", "desk", "stock"}

// A trip is a run under way.
type trip struct {
	*world
	job
	id   string // part of all names
	saga string // its id, "" if there is none

	refused bool // an order was, as in refusals
}

// refusals are answers that would make a run one of something else.
var refusals = []int{http.StatusBadRequest, http.StatusForbidden, http.StatusTooManyRequests, iatp.StatusRetryWith}

// settleTime is how long a run may take to come to an end by itself.
const settleTime = 30 * time.Second

// perform takes one job to its end and judges what is left.
func (w *world) perform(ctx context.Context, j job) (outcome, error) {
	t := &trip{world: w, job: j, id: fmt.Sprintf("%x", time.Now().UnixNano())}
	if t.stops == nil {
		t.stops = itinerary
	}
	if err := w.reset(ctx, nil); err != nil {
		return outcome{}, err
	}
	if err := t.setUp(ctx); err != nil {
		return outcome{}, err
	}
	if j.prepare != nil {
		if err := j.prepare(ctx, w); err != nil {
			return outcome{}, err
		}
	}
	for _, p := range w.proxies {
		if j.hook != nil {
			p.reset(j.hook(w))
		} else {
			p.reset(nil)
		}
	}
	watched, stop := context.WithCancel(ctx)
	defer stop()
	var beside sync.WaitGroup
	broken := make(chan error, 1)
	beside.Go(func() { w.keepAlive(watched, broken) })
	if j.beside != nil {
		beside.Go(func() { j.beside(watched, w) })
	}
	s, err := t.travel(ctx)
	if t.refused {
		err = errors.Join(err, fmt.Errorf("an order is refused, which no fault explains: %s", t.last))
	}
	stop()
	beside.Wait()
	select {
	case e := <-broken:
		err = errors.Join(err, e)
	default:
	}
	if err != nil {
		return outcome{}, err
	}
	found, err := w.inspect(t.id)
	if err != nil {
		return outcome{}, err
	}
	return t.judge(found, s), nil
}

// keepAlive starts again what has died.
func (w *world) keepAlive(ctx context.Context, broken chan<- error) {
	for ctx.Err() == nil {
		for _, p := range w.procs {
			if err := p.start(ctx); err != nil && ctx.Err() == nil {
				select {
				case broken <- err:
				default:
				}
				return
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// setUp gives the trip accounts and a shelf of its own.
func (t *trip) setUp(ctx context.Context) error {
	type data map[string]any
	order := func(role, task string, d data) error {
		return t.direct(ctx, role, "/", data{"task": task, "data": d})
	}
	how := t.halfway
	if how == "" {
		how = "fail"
	}
	return errors.Join(
		order("ledger", "open", data{"account": "traveler " + t.id, "deposit": "100.00"}),
		order("ledger", "open", data{"account": "agency " + t.id}),
		order("stock", "fill", data{"shelf": "shelf " + t.id, "items": data{"lamp": 3, "cup": 5, "rug": 2}}),
		t.misbehave(ctx, "stock", "do", "half", how, 1),
	)
}

// step is the body of the order to a role.
func (t *trip) step(role string) string {
	switch role {
	case "ledger":
		return `{"task":"transfer","data":{"amount":"40.00","from_account":"traveler ` + t.id + `","to_account":"agency ` + t.id + `"}}`
	case "desk":
		return `{"task":"book","data":{"resource":"seat ` + t.id + `","holder":"traveler ` + t.id + `","price":"200.00"}}`
	case "mail":
		return `{"task":"send","data":{"to":"traveler ` + t.id + `","text":"Your trip is booked."}}`
	}
	return `{"task":"clear","data":{"shelf":"shelf ` + t.id + `"}}`
}

// travel orders the steps and, in the arm full, asks for the undo and waits for
// its end. It returns what the system says then; nil if it says nothing.
func (t *trip) travel(ctx context.Context) (*saga, error) {
	if t.arm != full {
		t.order(ctx)
		return nil, t.settle(ctx)
	}
	if err := t.open(ctx); err != nil {
		return nil, err
	}
	t.order(ctx)
	if !t.abandoned {
		if err := t.cancel(ctx); err != nil {
			return nil, err
		}
	}
	if _, err := t.await(ctx); err != nil {
		return nil, err
	}
	if err := t.settle(ctx); err != nil {
		return nil, err
	}
	return t.await(ctx) // with what came late
}

// order asks for one step after the other until one does not succeed.
func (t *trip) order(ctx context.Context) {
	for i, role := range t.stops {
		if t.abandoned && i == 2 {
			return
		}
		url, header := "http://"+t.proxies[hopTo(role)].addr+"/", []string(nil)
		if t.arm != none {
			url, header = t.entry+"/proxy/"+role, []string{"Idempotency-Key", t.id + "-" + role}
		}
		if t.saga != "" {
			header = append(header, "IATP-Saga", t.saga)
		}
		a := t.send(ctx, http.MethodPost, url, t.step(role), header...)
		t.last = fmt.Sprintf("%d %.500s", a.status, a.body)
		if slices.Contains(refusals, a.status) {
			t.refused = true
		}
		if a.status != http.StatusOK {
			return
		}
	}
}

// settle waits until nothing is under way and everybody is there again.
func (t *trip) settle(ctx context.Context) error {
	if err := t.quiet(ctx); err != nil {
		return err
	}
	for _, p := range t.procs {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	return t.quiet(ctx)
}

// A saga is what the traveler's sidecar says of a trip.
type saga struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Calls []struct {
		Peer   string `json:"peer"`
		State  string `json:"state"`
		Fee    string `json:"fee_charged"`
		Manual bool   `json:"manual_intervention"`
	} `json:"calls"`
}

// over says whether a saga's state is one of its last.
func (s *saga) over() bool {
	return slices.Contains([]string{"closed", "compensated", "partially_compensated", "compensation_failed"}, s.State)
}

// open begins the saga. Nothing has been done yet, so it is safe to ask again
// until there is an answer.
func (t *trip) open(ctx context.Context) error {
	body := `{"on_failure":"compensate"}`
	if t.keep {
		body = `{"on_failure":"keep"}`
	}
	if t.abandoned {
		body = fmt.Sprintf(`{"on_failure":"compensate","deadline":%q}`, time.Now().Add(2*time.Second).UTC().Format(time.RFC3339))
	}
	return t.persist(ctx, "open the saga", func() (answer, bool) {
		a := t.send(ctx, http.MethodPost, t.entry+"/sagas", body)
		var s saga
		if a.status != http.StatusCreated || json.Unmarshal(a.body, &s) != nil {
			return a, false
		}
		t.saga = s.ID
		return a, true
	})
}

func (t *trip) cancel(ctx context.Context) error {
	return t.persist(ctx, "cancel the saga", func() (answer, bool) {
		a := t.send(ctx, http.MethodPost, t.entry+"/sagas/"+t.saga+"/cancel", "")
		return a, a.status == http.StatusOK || a.status == http.StatusAccepted
	})
}

// persist tries until try is content.
func (t *trip) persist(ctx context.Context, what string, try func() (answer, bool)) error {
	for end := time.Now().Add(settleTime); ; time.Sleep(20 * time.Millisecond) {
		a, ok := try()
		switch {
		case ok:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(end):
			return fmt.Errorf("%s: the last answer is %d %.300s", what, a.status, a.body)
		}
	}
}

// await waits until the saga is over, or returns it as it is when that takes too
// long.
func (t *trip) await(ctx context.Context) (*saga, error) {
	for end := time.Now().Add(settleTime); ; time.Sleep(20 * time.Millisecond) {
		a := t.send(ctx, http.MethodGet, t.entry+"/sagas/"+t.saga, "")
		s := &saga{}
		known := a.status == http.StatusOK && json.Unmarshal(a.body, s) == nil
		switch {
		case known && s.over():
			return s, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case time.Now().After(end) && known:
			return s, nil
		case time.Now().After(end):
			return nil, fmt.Errorf("ask for the saga: the last answer is %d %.300s", a.status, a.body)
		}
	}
}

// rehearse runs a trip without a fault and returns the moments that it has: every
// message in both phases, and how many lines each sidecar has written.
func (w *world) rehearse(ctx context.Context) (*moments, error) {
	warm, err := w.perform(ctx, job{fault: "warm up"}) // manifests are fetched and kept
	if err != nil {
		return nil, err
	}
	m := &moments{lines: map[string]int{}}
	var mu sync.Mutex
	before := w.lines()
	r, err := w.perform(ctx, job{fault: "rehearsal", hook: func(*world) func(point) act {
		return func(p point) act {
			mu.Lock()
			defer mu.Unlock()
			m.points = append(m.points, p)
			return pass
		}
	}})
	if err != nil {
		return nil, err
	}
	for _, role := range itinerary {
		if !slices.Contains(m.points, point{hopTo(role), 1, reply}) {
			return nil, fmt.Errorf("without a fault %s is not asked; the last answer is %s", role, w.last)
		}
	}
	if w.arm == full && (!warm.restored || !r.restored) {
		return nil, fmt.Errorf("without a fault the trip is not undone: %s %s", warm.note, r.note)
	}
	for role, n := range w.lines() {
		m.lines[role] = n - before[role]
	}
	return m, nil
}

// moments are when something can be done to a run.
type moments struct {
	points []point
	lines  map[string]int // by role: lines of its sidecar's flight recorder
}

// lines counts the lines of all flight recorders.
func (w *world) lines() map[string]int {
	n := map[string]int{}
	if w.arm != none {
		for _, role := range append([]string{traveler}, roles...) {
			n[role] = (&lineCounter{dir: w.data(role)}).count()
		}
	}
	return n
}

// A lineCounter counts the lines of a flight recorder that is being written.
type lineCounter struct {
	dir  string
	name string // of the segment that is read
	at   int64
	n    int
}

// count reads on from where it was.
func (c *lineCounter) count() int {
	for {
		names, err := filepath.Glob(filepath.Join(c.dir, "log", "*.jsonl"))
		if err != nil || len(names) == 0 {
			return c.n
		}
		slices.Sort(names)
		if c.name == "" {
			c.name = names[0]
		}
		c.read()
		i := slices.Index(names, c.name)
		if i < 0 || i == len(names)-1 {
			return c.n
		}
		c.name, c.at = names[i+1], 0
	}
}

// read counts what was added to the segment. Behind its lines a segment may hold
// zeros, which are read again when they are lines.
func (c *lineCounter) read() {
	f, err := os.Open(c.name)
	if err != nil {
		return
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := f.ReadAt(buf, c.at)
		text := buf[:n]
		if i := slices.Index(text, 0); i >= 0 {
			text = text[:i]
		}
		c.n += strings.Count(string(text), "\n")
		c.at += int64(len(text))
		if err != nil || len(text) < n || n == 0 {
			return
		}
	}
}
