// Command reversibility measures what is left when work across agents breaks off.
// A trip is ordered step by step: money is moved, a seat is booked, a shelf is
// cleared away, and that last, destructive step fails halfway. So the whole trip
// has to be undone, while one fault after another is put in the way: processes
// are killed at every message and at every line of a flight recorder, connections
// are cut, messages are late or come twice, compensations fail.
//
//	go run ./experiments/reversibility [--quick] [--out DIR] [--seed N]
//
// It runs the built binaries as processes, over HTTP, in three arms: agents
// without sidecars, sidecars with nothing agreed to undo, and sidecars with a saga.
// Afterwards it reads the agents' databases and compares them with what the system
// says. README.md has the definitions, a table, and what this does not show.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the command line.
type options struct {
	quick bool
	out   string
	seed  uint64
}

// run returns the exit code: 0 done, 1 an arm of which nothing silent is expected
// was silently inconsistent, or the experiment broke; 2 wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("reversibility", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.quick, "quick", false, "a few runs of most faults, in half a minute")
	flags.StringVar(&o.out, "out", "reversibility-results", "directory for the results")
	flags.Uint64Var(&o.seed, "seed", 1, "seed of the order of runs and of the random kills")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "reversibility: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	results, err := experiment(ctx, o, stderr)
	if err == nil {
		err = report(results, o.out, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "reversibility: %v\n", err)
		return 1
	}
	if full := results.Arms[full]; full.Silent > 0 || full.Double > 0 {
		fmt.Fprintf(stderr, "reversibility: %d silent inconsistencies and %d double effects with sagas: see %s\n",
			full.Silent, full.Double, filepath.Join(o.out, "results.json"))
		return 1
	}
	return 0
}

// experiment runs all arms.
func experiment(ctx context.Context, o options, progress io.Writer) (*results, error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "reversibility-")
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "bin")
	fmt.Fprintln(progress, "building iatp and the agents ...")
	if err := build(ctx, bin); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	built := time.Now()
	all := newResults(o)
	var failed error
	for _, a := range arms {
		if failed = runArm(ctx, a, o, bin, filepath.Join(dir, string(a)), all, progress); failed != nil {
			break
		}
	}
	all.Seconds = time.Since(built).Seconds()
	fmt.Fprintf(progress, "built in %.0f s, ran in %.0f s\n", built.Sub(began).Seconds(), all.Seconds)
	if failed != nil {
		return nil, fmt.Errorf("%w (everything is kept in %s)", failed, dir)
	}
	return all, os.RemoveAll(dir)
}

// workers is how many worlds of an arm exist at once. Most of a run is waiting for
// processes to start and for pauses to pass.
const workers = 4

// runArm takes all runs of an arm, in an order that the seed decides, to worlds of
// their own.
func runArm(ctx context.Context, a arm, o options, bin, dir string, all *results, progress io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	first, err := newWorld(ctx, a, bin, filepath.Join(dir, "0"), ordinary)
	if err != nil {
		return err
	}
	points, err := first.rehearse(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("rehearsal of %s: %w", a, err), first.close())
	}
	jobs := plan(a, points, o, rand.New(rand.NewPCG(o.seed, uint64(slices.Index(arms, a)))))
	queue := make(chan job)
	tally := &progressLine{w: progress, arm: a, total: len(jobs)}
	if a == full && !o.quick {
		tally.total += expiring
	}
	var group sync.WaitGroup
	for i := range min(workers, len(jobs)) {
		group.Go(func() {
			w := first
			if i > 0 {
				var err error
				if w, err = newWorld(ctx, a, bin, filepath.Join(dir, fmt.Sprint(i)), ordinary); err != nil {
					cancel(err)
					return
				}
				if _, err = w.rehearse(ctx); err != nil {
					cancel(errors.Join(fmt.Errorf("rehearsal of %s: %w", a, err), w.close()))
					return
				}
			}
			for j := range queue {
				r, err := w.perform(ctx, j)
				if err != nil {
					cancel(fmt.Errorf("%s, %s: %w", a, j, err))
					break
				}
				all.add(a, j, r)
				tally.step(r)
			}
			if err := w.close(); err != nil {
				cancel(err)
			}
		})
	}
	if a == full && !o.quick {
		group.Go(func() {
			if err := windows(ctx, bin, filepath.Join(dir, "windows"), all, tally); err != nil {
				cancel(err)
			}
		})
	}
	feed(ctx, queue, jobs)
	group.Wait()
	tally.end()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if a == full {
		return tornLogs(filepath.Join(dir, "0"), all, o.quick)
	}
	return nil
}

func feed(ctx context.Context, queue chan<- job, jobs []job) {
	defer close(queue)
	for _, j := range jobs {
		select {
		case queue <- j:
		case <-ctx.Done():
			return
		}
	}
}

// progressLine says how far an arm is.
type progressLine struct {
	w     io.Writer
	arm   arm
	total int

	mu    sync.Mutex
	done  int
	sum   tally
	shown time.Time
}

func (p *progressLine) step(r outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	p.sum.count(r)
	if time.Since(p.shown) > 2*time.Second || strings.HasPrefix(r.note, "!") {
		p.show()
	}
}

func (p *progressLine) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.show()
}

func (p *progressLine) show() {
	p.shown = time.Now()
	fmt.Fprintf(p.w, "%-12s %3d of %d runs: %d restored, %d escalated, %d silent, %d double\n",
		p.arm, p.done, p.total, p.sum.Restored, p.sum.Escalated, p.sum.Silent, p.sum.Double)
}
