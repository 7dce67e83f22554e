// Load measures what a sidecar costs: processor time, latency and memory, beside
// the same calls without a proxy, through httputil.ReverseProxy, nginx and
// HAProxy, in one run and in turns, so that what the machine does meanwhile
// meets all of them. It starts every target by itself.
//
//	go run ./experiments/load --quick          a minute or two
//	go run ./experiments/load --out result     a quarter of an hour, everything
//	go run ./experiments/load --doc doc/performance.md
//	                                           the same, and its tables go into that document
//	go run ./experiments/load --check          against experiments/load/baseline.json
//
// It writes result.json, result.md and result.html, and prints result.md. It
// needs Linux.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if as := os.Getenv(role); as != "" {
		if err := play(ctx, as); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "load:", err)
	if _, ok := errors.AsType[errUsage](err); ok {
		os.Exit(2)
	}
	os.Exit(1)
}

// play is what a copy of this program does: "agent ADDR" or "proxy ADDR AGENT".
func play(ctx context.Context, as string) error {
	words := strings.Fields(as)
	ln, err := net.Listen("tcp", words[1])
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { ln.Close() })
	if words[0] == "agent" {
		err = serveAgent(ln)
	} else {
		err = serveProxy(ln, words[2])
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// settings are the flags.
type settings struct {
	quick    bool
	check    bool
	update   bool
	out      string
	doc      string
	iatp     string
	against  string
	only     *regexp.Regexp
	targets  []string
	rounds   int
	time     time.Duration
	conns    int
	hold     int
	streams  int
	events   int
	requests int
}

// errUsage is a wrong flag.
type errUsage struct{ error }

func wrong(format string, args ...any) error { return errUsage{fmt.Errorf(format, args...)} }

// parse reads the flags; flag.ErrHelp if help was asked for and written to stdout.
func parse(args []string, stdout io.Writer) (*settings, error) {
	var o settings
	var only, chosen string
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.BoolVar(&o.quick, "quick", false, "about a minute: fewer scenarios, short rounds")
	f.BoolVar(&o.check, "check", false, "compare with the committed baseline; exit 1 if it is worse")
	f.BoolVar(&o.update, "update", false, "with --check: write the baseline anew")
	f.StringVar(&o.out, "out", "", "directory for result.json, result.md and result.html (default: a new one in the temporary directory)")
	f.StringVar(&o.doc, "doc", "", "a document whose tables are written anew, where it has marks for them")
	f.StringVar(&o.iatp, "iatp", "", "the binary to measure (default: built from this tree)")
	f.StringVar(&o.against, "against", "", "a second binary, measured as the targets "+strings.Join(names(others("")), ", "))
	f.StringVar(&only, "only", "", "regular expression of the scenarios to run: "+strings.Join(scenarioNames(false), ", "))
	f.StringVar(&chosen, "targets", "", "comma-separated targets (default: all): "+strings.Join(names(targets()), ", "))
	f.IntVar(&o.rounds, "rounds", 5, "how often the targets take turns")
	f.DurationVar(&o.time, "time", time.Second, "length of a turn")
	f.IntVar(&o.conns, "conns", 64, "connections")
	f.IntVar(&o.hold, "hold", 9900, "connections of the hold mode")
	f.IntVar(&o.streams, "streams", 1000, "streams of the streaming mode")
	f.IntVar(&o.events, "events", 60, "events of each stream, one a second")
	f.IntVar(&o.requests, "requests", 1_000_000, "requests of the memory test")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(stdout)
			f.PrintDefaults()
			return nil, err
		}
		return nil, wrong("%w; see --help", err)
	}
	if f.NArg() > 0 {
		return nil, wrong("unknown argument %q; see --help", f.Arg(0))
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if o.quick {
		o.shorten(given)
	}
	if chosen != "" {
		o.targets = strings.Split(chosen, ",")
	}
	var err error
	if o.only, err = regexp.Compile(only); err != nil {
		return nil, wrong("--only: %w", err)
	}
	return &o, o.judge(given)
}

// judge refuses what would measure nothing, or something else than was meant.
func (o *settings) judge(given map[string]bool) error {
	for name, n := range map[string]int{"rounds": o.rounds, "conns": o.conns, "hold": o.hold, "streams": o.streams, "events": o.events, "requests": o.requests} {
		if n < 1 {
			return wrong("--%s %d: at least 1", name, n)
		}
	}
	if o.time < time.Millisecond {
		return wrong("--time %v: at least 1ms", o.time)
	}
	if o.update && !o.check {
		return wrong("--update without --check")
	}
	for _, name := range []string{"only", "targets", "against", "out", "doc", "hold", "streams", "events", "requests"} {
		if o.check && given[name] {
			return wrong("--%s with --check, which compares what the baseline names", name)
		}
	}
	known := names(known(o.against))
	for _, t := range o.targets {
		if !slices.Contains(known, t) {
			return wrong("--targets: no %q; there are %s", t, strings.Join(known, ", "))
		}
	}
	if have := scenarioNames(o.quick); !slices.ContainsFunc(have, o.only.MatchString) {
		return wrong("--only %s: none of %s", o.only, strings.Join(have, ", "))
	}
	return nil
}

// shorten makes a minute of it.
func (o *settings) shorten(given map[string]bool) {
	set := func(name string, do func()) {
		if !given[name] {
			do()
		}
	}
	set("rounds", func() { o.rounds = 2 })
	set("time", func() { o.time = 400 * time.Millisecond })
	set("hold", func() { o.hold = 1000 })
	set("streams", func() { o.streams = 100 })
	set("events", func() { o.events = 2 })
	set("requests", func() { o.requests = 10_000 })
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err == nil {
		err = o.look(ctx)
	}
	if err != nil {
		return err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	y, err := newYard(ctx, o, root, stderr)
	if err != nil {
		return err
	}
	defer os.RemoveAll(y.dir)
	defer y.stopAll()
	err = measure(y, o, root, shown(args), stdout)
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: nothing was written")
	}
	return err
}

// look makes sure before the work that its result has a place, and that the
// binaries run.
func (o *settings) look(ctx context.Context) error {
	if o.doc != "" {
		if err := new(result).update(o.doc); err != nil {
			return wrong("--doc: %w", err)
		}
	}
	if o.out != "" {
		if err := os.MkdirAll(o.out, 0o755); err != nil {
			return wrong("--out: %w", err)
		}
	}
	for name, file := range map[string]*string{"iatp": &o.iatp, "against": &o.against} {
		if *file == "" {
			continue
		}
		var err error
		if *file, err = filepath.Abs(*file); err != nil {
			return err
		}
		if out, err := exec.CommandContext(ctx, *file, "version").CombinedOutput(); err != nil {
			return wrong("--%s: %w%s", name, err, bytes.TrimRight(append([]byte("\n"), out...), "\n"))
		}
	}
	return nil
}

func measure(y *yard, o *settings, root, command string, stdout io.Writer) error {
	if o.check {
		return check(y, o, root, stdout)
	}
	b := &bench{yard: y, settings: o, root: root}
	b.result = result{Command: command, Began: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(root)}
	if err := b.all(); err != nil {
		return err
	}
	b.result.Took = time.Since(b.result.Began).Round(time.Second).String()
	if err := b.result.write(o.out, stdout, y.log); err != nil || o.doc == "" {
		return err
	}
	return b.result.update(o.doc)
}

// moduleRoot is the directory of go.mod.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	mod := strings.TrimSpace(string(out))
	if err != nil || mod == "" || mod == os.DevNull {
		return "", errors.New("run it inside the source tree: it builds ./cmd/iatp")
	}
	return filepath.Dir(mod), nil
}

// newYard builds the binary and starts the agent.
func newYard(ctx context.Context, o *settings, root string, stderr io.Writer) (*yard, error) {
	// In the tree, on its disk: the temporary directory may be memory, which
	// has no fsync to wait for.
	dir, err := os.MkdirTemp(root, ".load-")
	if err != nil {
		return nil, err
	}
	y := &yard{ctx: ctx, dir: dir, iatp: o.iatp, log: stderr, large: min(o.requests, 200_000)}
	if err := y.furnish(root); err != nil {
		y.stopAll()
		os.RemoveAll(dir)
		return nil, err
	}
	return y, nil
}

func (y *yard) furnish(root string) error {
	if y.iatp == "" {
		y.iatp = filepath.Join(y.dir, "iatp")
		build := exec.CommandContext(y.ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", y.iatp, "./cmd/iatp")
		build.Dir = root
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build ./cmd/iatp: %w\n%s", err, out)
		}
	}
	var err error
	if y.agent, err = freeAddr(); err != nil {
		return err
	}
	agent, err := y.selfAs(y.dir, "agent", y.agent)
	if err != nil {
		return err
	}
	return agent.answers()
}

// wanted says whether a target was asked for.
func (o *settings) wanted(name string) bool {
	return len(o.targets) == 0 || slices.Contains(o.targets, name)
}
