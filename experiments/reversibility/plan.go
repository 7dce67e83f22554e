package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// The rows of the table, in its order.
const (
	noFault       = "none but the step that fails"
	killAgent     = "SIGKILL of an agent, at a message"
	killSidecar   = "SIGKILL of an agent's sidecar, at a message"
	killTraveler  = "SIGKILL of the traveler's sidecar, at a message"
	killLine      = "SIGKILL of a sidecar, at a line of its flight recorder"
	killRandom    = "two SIGKILLs, at random moments"
	cutMessage    = "connection cut, at a message"
	lateMessage   = "timeout: a message comes after all deadlines"
	sameMessage   = "duplicate delivery of a message"
	crashAfter    = "an agent dies with its answer, after the effect"
	halfDead      = "the destructive step dies, is cut off or hangs halfway"
	undoFails     = "compensation fails once, three times or with an effect"
	undoNever     = "compensation fails for ever"
	vanished      = "who orders is gone after two steps"
	irreversible  = "an irreversible step among them"
	windowElapsed = "undo window elapsed"
)

var rows = []string{
	noFault, killAgent, killSidecar, killTraveler, killLine, killRandom, cutMessage, lateMessage, sameMessage,
	crashAfter, halfDead, undoFails, undoNever, vanished, irreversible, windowElapsed,
}

// victims are the processes that take part in a trip.
func victims(a arm) []string {
	v := slices.Clone(itinerary)
	if a != none {
		for _, role := range itinerary {
			v = append(v, sidecarOf(role))
		}
		v = append(v, sidecarOf(traveler))
	}
	return v
}

// plan is every run of an arm, in a random order.
func plan(a arm, m *moments, o options, rng *rand.Rand) []job {
	jobs := slices.Concat(ordinaryJobs(), atPoints(a, m), atLines(m), randomKills(a, rng), agentFaults(a))
	rng.Shuffle(len(jobs), func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
	if o.quick {
		jobs = sample(a, jobs)
	}
	return jobs
}

// sample keeps as many runs of each row as half a minute has room for.
func sample(a arm, jobs []job) []job {
	most := map[string]int{killAgent: 3, killSidecar: 3, killTraveler: 4, killLine: 3, lateMessage: 1, undoNever: 1}
	taken := map[string]int{}
	return slices.DeleteFunc(jobs, func(j job) bool {
		n, ok := most[j.fault]
		if !ok {
			n = 2
		}
		if a != full {
			n = 1
		}
		taken[j.fault]++
		return taken[j.fault] > n
	})
}

func ordinaryJobs() (jobs []job) {
	for i := range 5 {
		jobs = append(jobs,
			job{fault: noFault, detail: fmt.Sprint(i)},
			job{fault: irreversible, detail: fmt.Sprint(i), stops: []string{"ledger", "desk", "mail", "stock"}},
			job{fault: vanished, detail: fmt.Sprint(i), abandoned: true})
	}
	for _, how := range []string{"crash", "cut", "hang"} {
		for i := range 3 {
			jobs = append(jobs, job{fault: halfDead, detail: fmt.Sprint(how, " ", i), halfway: how})
		}
	}
	return jobs
}

// atPoints has every process killed at every message, and everything else that
// can happen to a message.
func atPoints(a arm, m *moments) (jobs []job) {
	for _, at := range m.points {
		for _, victim := range victims(a) {
			row := killAgent
			switch {
			case victim == sidecarOf(traveler):
				row = killTraveler
			case strings.HasPrefix(victim, sidecarOf("")):
				row = killSidecar
			}
			jobs = append(jobs, job{fault: row, detail: victim + ", " + at.String(), hook: atOnce(at, func(w *world) act {
				w.procs[victim].kill()
				return pass
			})})
		}
		do := func(row string, what act, name string) {
			jobs = append(jobs, job{fault: row, detail: name + at.String(), hook: atOnce(at, func(*world) act { return what })})
		}
		do(cutMessage, cut, "")
		do(lateMessage, late, "")
		if at.phase == request {
			do(sameMessage, twice, "after its answer, ")
			do(sameMessage, both, "at once, ")
		}
	}
	return jobs
}

// atOnce does something at the first moment that is the point.
func atOnce(at point, do func(*world) act) func(*world) func(point) act {
	return func(w *world) func(point) act {
		var once sync.Once
		return func(p point) (what act) {
			if p == at {
				once.Do(func() { what = do(w) })
			}
			return what
		}
	}
}

// atLines has every sidecar killed when it has written its n-th line of the run.
func atLines(m *moments) (jobs []job) {
	for _, role := range slices.Sorted(maps.Keys(m.lines)) {
		for n := 1; n <= m.lines[role]; n++ {
			jobs = append(jobs, job{fault: killLine, detail: fmt.Sprintf("%s, line %d", role, n), beside: func(ctx context.Context, w *world) {
				c := &lineCounter{dir: w.data(role)}
				for begin := c.count(); c.count() < begin+n; time.Sleep(100 * time.Microsecond) {
					if ctx.Err() != nil {
						return
					}
				}
				w.procs[sidecarOf(role)].kill()
			}})
		}
	}
	return jobs
}

func randomKills(a arm, rng *rand.Rand) (jobs []job) {
	v := victims(a)
	for range 40 {
		type shot struct {
			after  time.Duration
			victim string
		}
		shots := []shot{
			{time.Duration(rng.IntN(150)) * time.Millisecond, v[rng.IntN(len(v))]},
			{time.Duration(rng.IntN(150)) * time.Millisecond, v[rng.IntN(len(v))]},
		}
		jobs = append(jobs, job{fault: killRandom, detail: fmt.Sprint(shots), beside: func(ctx context.Context, w *world) {
			for _, s := range shots {
				select {
				case <-time.After(s.after):
					w.procs[s.victim].kill()
				case <-ctx.Done():
				}
			}
		}})
	}
	return jobs
}

// agentFaults are what the agents themselves do wrong.
func agentFaults(a arm) (jobs []job) {
	add := func(row, role, place, at, how string, times int) {
		jobs = append(jobs, job{
			fault: row, detail: fmt.Sprintf("%s: %s %s it took effect, %d times %s", role, place, at, times, how),
			prepare: func(ctx context.Context, w *world) error { return w.misbehave(ctx, role, place, at, how, times) },
		})
	}
	for _, role := range itinerary {
		add(crashAfter, role, "do", "after", "crash", 1)
		add(crashAfter, role, "do", "after", "hang", 1)
		if a != full {
			continue // nobody would ask for the undo
		}
		add(crashAfter, role, "undo", "after", "crash", 1)
		for _, at := range []string{"before", "after"} {
			add(undoFails, role, "undo", at, "fail", 1)
			add(undoFails, role, "undo", at, "fail", 3)
			add(undoFails, role, "undo", at, "cut", 1)
			add(undoNever, role, "undo", at, "fail", -1)
		}
		add(undoFails, role, "undo", "before", "hang", 1)
	}
	return jobs
}
