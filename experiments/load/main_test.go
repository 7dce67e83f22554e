package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets the test binary play the roles that the program plays.
func TestMain(m *testing.M) {
	if as := os.Getenv(role); as != "" {
		if err := play(context.Background(), as); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestLoad runs everything with real processes, very briefly. It looks at what
// was counted, not at how fast it was.
func TestLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a dozen processes")
	}
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		t.Skip("needs Linux: processor time is read from /proc")
	}
	out := t.TempDir()
	doc := filepath.Join(out, "doc.md")
	if err := os.WriteFile(doc, []byte("before\n<!-- load: saturated -->\nold\n<!-- end of load -->\nbetween\n<!-- load: rate-5000 -->\nkept\n<!-- end of load -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	args := []string{"--quick", "--doc", doc, "--events=2", "--rounds=1", "--time=100ms", "--conns=4", "--hold=20", "--streams=3", "--requests=400", "--targets=direct,rp,iatp,strict,pair", "--out=" + out}
	if err := run(t.Context(), args, &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	data, err := os.ReadFile(filepath.Join(out, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n", "| iatp | ", "`go run ./experiments/load --quick --events=2 --rounds=1", "between\n", "kept\n"} {
		if !strings.Contains(string(written), want) {
			t.Errorf("the document lacks %q:\n%s", want, written)
		}
	}
	if strings.Contains(string(written), "old\n") {
		t.Errorf("the document keeps what was there before:\n%s", written)
	}
	rows := map[string][]string{}
	for _, table := range r.Tables {
		for _, row := range table.Rows {
			rows[table.Name] = append(rows[table.Name], row.Name)
			// RP breaks streams off now and then: that is its own affair.
			if n := row.Figures["errors"]; row.Name != "rp" && slices.ContainsFunc(n, func(v float64) bool { return v > 0 }) {
				t.Errorf("%s, %s: %v errors\n%s", table.Name, row.Name, n, &stderr)
			}
			if cpu, ok := row.Figures["cpu"]; ok && row.Name != "direct" && !(cpu[0] > 0) {
				t.Errorf("%s, %s: processor time %v", table.Name, row.Name, cpu)
			}
		}
	}
	want := map[string][]string{
		"saturated": {"direct", "rp", "iatp", "strict", "pair"},
		"rate-1000": {"direct", "rp", "iatp", "strict"},
		"dense":     {"rp", "iatp"},
		"refused":   {"403", "449", "429", "400", "rp", "iatp"},
		"hold":      {"rp", "iatp"},
		"stream":    {"direct", "rp", "iatp"},
		"memory":    {"iatp", "strict"},
		"start":     {"a clean log", "a log of 400 records"},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows, -want +got:\n%s", diff)
	}
	for _, v := range r.Verdicts {
		if slices.Contains([]string{"8", "9", "10"}, v.Row) {
			t.Errorf("with 20 connections and 400 requests judged: row %s, %s", v.Row, v.What)
		}
	}
	page, err := os.ReadFile(filepath.Join(out, "result.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"<svg", "The budget", "over RP", "CPU a request, saturated"} {
		if !bytes.Contains(page, []byte(part)) {
			t.Errorf("result.html has no %q", part)
		}
	}
	if bytes.Contains(page, []byte("http://")) || bytes.Contains(page, []byte("<script")) {
		t.Error("result.html needs something from elsewhere")
	}
	if !strings.Contains(stdout.String(), "### the budget") {
		t.Errorf("printed:\n%s", &stdout)
	}
	left, err := filepath.Glob("../../.load-*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestSchedule gives out each time once, none before it is due, and those that
// are late at once.
func TestSchedule(t *testing.T) {
	next := schedule(1000)
	first := next()
	time.Sleep(20 * time.Millisecond) // twenty are late now
	for n := 1; n < 40; n++ {
		due := next()
		if want := first.Add(time.Duration(n) * time.Millisecond); !due.Equal(want) {
			t.Fatalf("request %d is due %v after the first, not %d ms", n, due.Sub(first), n)
		}
		if early := time.Until(due); early > 0 {
			t.Fatalf("request %d was given out %v early", n, early)
		}
	}
}

// TestHistogram compares percentiles with those of a sorted list.
func TestHistogram(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h, part histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(math.Exp(random.Float64() * 25)) // a nanosecond to a minute
		all = append(all, d)
		if i%2 == 0 {
			h.add(d)
		} else {
			part.add(d)
		}
	}
	h.merge(&part)
	slices.Sort(all)
	for _, share := range []float64{.01, .1, .5, .9, .99, .999, 1} {
		want := all[int(share*float64(len(all))+.5)-1]
		if got := h.at(share); got < want || float64(got) > float64(want)*1.008 {
			t.Errorf("at(%v) = %v, want %v and at most 0.8 %% more", share, got, want)
		}
	}
	if got := new(histogram).at(.5); got != 0 {
		t.Errorf("at(0.5) of nothing = %v, want 0", got)
	}
}

// TestSlope: growth is seen through leaps up and down, and leaps alone are none.
func TestSlope(t *testing.T) {
	var leak, leaps [][2]float64
	for i := range 19 {
		at, leap := float64(i+1), 0.0
		if i%5 == 1 || i > 16 {
			leap = 8
		}
		leak = append(leak, [2]float64{at, 30 + 0.5*at + leap})
		leaps = append(leaps, [2]float64{at, 32 + leap})
	}
	if got := slope(leak); got < 0.4 || got > 0.7 {
		t.Errorf("the slope of a leak of 0.5 is %v", got)
	}
	if got := slope(leaps); got != 0 {
		t.Errorf("the slope of leaps is %v, want 0", got)
	}
}

// TestBucketsHaveNoHoles checks that each value is in the bucket it is told.
func TestBucketsHaveNoHoles(t *testing.T) {
	for b := range 2000 {
		if got := bucketOf(uint64(upper(b))); got != b {
			t.Fatalf("upper(%d) = %d is in bucket %d", b, upper(b), got)
		}
		if got := bucketOf(uint64(upper(b)) + 1); got != b+1 {
			t.Fatalf("%d is in bucket %d, want %d", upper(b)+1, got, b+1)
		}
	}
}

// TestRounds checks that ratios are made within a round.
func TestRounds(t *testing.T) {
	table := &table{Columns: []column{{Key: "cpu"}, {Key: "cpu", Over: "rp"}, {Key: "cpu", Less: "rp"}, {Key: "cpu", Over: "nginx"}}}
	for round, cpu := range []float64{10, 20, 40} { // the machine slows down
		table.row("rp").add("cpu", cpu)
		table.row("iatp").add("cpu", cpu/[]float64{2, 4, 4}[round])
	}
	want := [][]string{
		{"", "", "", "", ""},
		{"rp", "20.0 (10.0–40.0)", "1", "0", "–"},
		{"iatp", "5 (5–10.0)", "0.25 (0.25–0.50)", "-15.0 (-30.0–-5)", "–"},
	}
	if diff := cmp.Diff(want, table.grid()); diff != "" {
		t.Errorf("grid, -want +got:\n%s", diff)
	}
}

func TestBenchLines(t *testing.T) {
	got := benchLines("goos: linux\nBenchmarkBuild-2    222165   4841 ns/op   0 B/op   0 allocs/op\nBenchmarkX/a-b-16 1 5.5 records/s 7 ns/op\nPASS\n")
	want := map[string]map[string]float64{
		"BenchmarkBuild": {"ns/op": 4841, "B/op": 0, "allocs/op": 0},
		"BenchmarkX/a-b": {"records/s": 5.5, "ns/op": 7},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestBaseline holds the guard to what it is for.
func TestBaseline(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Dir(baselineFile(root)), 0o755); err != nil {
		t.Fatal(err)
	}
	committed := `{"cpu_over_rp": {"saturated iatp": 0.5}, "allocations": {"sidecar Corridor": 60}}`
	if err := os.WriteFile(baselineFile(root), []byte(committed), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		have baseline
		ok   bool
	}{
		"the same":            {baseline{map[string]float64{"saturated iatp": .5}, map[string]float64{"sidecar Corridor": 60}}, true},
		"within a tenth":      {baseline{map[string]float64{"saturated iatp": .549}, map[string]float64{"sidecar Corridor": 60}}, true},
		"slower":              {baseline{map[string]float64{"saturated iatp": .56}, map[string]float64{"sidecar Corridor": 60}}, false},
		"one more allocation": {baseline{map[string]float64{"saturated iatp": .5}, map[string]float64{"sidecar Corridor": 61}}, false},
		"no figure":           {baseline{map[string]float64{}, map[string]float64{"sidecar Corridor": 60}}, false},
		"not a number":        {baseline{map[string]float64{"saturated iatp": math.NaN()}, map[string]float64{"sidecar Corridor": 60}}, false},
	} {
		if err := c.have.compare(root, new(bytes.Buffer)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A flag that would measure nothing, or something else than was meant, is refused before
// anything starts, by its name.
func TestWrongFlags(t *testing.T) {
	dir := t.TempDir()
	unmarked := filepath.Join(dir, "unmarked.md")
	if err := os.WriteFile(unmarked, []byte("<!-- load: saturated -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho out of order >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{ // the arguments, and at the end what the error says
		{"--bogus", "-bogus"},
		{"extra", `unknown argument "extra"`},
		{"--only=(", "--only: error parsing"},
		{"--only=nothing", "--only nothing: none of saturated, rate-1000, rate-5000, sizes"},
		{"--quick", "--only=overload", "--only overload: none of saturated, rate-1000, dense"},
		{"--targets=rp,nobody", `--targets: no "nobody"; there are direct, rp, nginx`},
		{"--targets=other", `--targets: no "other"`},
		{"--rounds=0", "--rounds 0: at least 1"},
		{"--conns=-1", "--conns -1: at least 1"},
		{"--hold=0", "--hold 0: at least 1"},
		{"--time=-1s", "--time -1s: at least 1ms"},
		{"--update", "--update without --check"},
		{"--check", "--targets=rp", "--targets with --check"},
		{"--doc=" + filepath.Join(dir, "none.md"), "none.md: no such file"},
		{"--doc=" + unmarked, "has no end"},
		{"--out=" + filepath.Join(unmarked, "below"), "--out: "},
		{"--iatp=" + filepath.Join(dir, "none"), "--iatp: "},
		{"--iatp=" + broken, "--iatp: exit status 3\nout of order"},
		{"--against=" + broken, "--against: exit status 3\nout of order"},
	} {
		args, says := c[:len(c)-1], c[len(c)-1]
		err := run(t.Context(), args, new(bytes.Buffer), new(bytes.Buffer))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want %q", args, err, says)
			continue
		}
		if _, ok := errors.AsType[errUsage](err); !ok {
			t.Errorf("%q: %v is no error of usage", args, err)
		}
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, &help, new(bytes.Buffer)); err != nil || !strings.Contains(help.String(), "-against") {
		t.Errorf("--help: %v, %s", err, &help)
	}
}

// What ends instead of listening is not waited for.
func TestTargetThatEnds(t *testing.T) {
	y := &yard{ctx: t.Context(), dir: t.TempDir(), log: new(bytes.Buffer)}
	defer y.stopAll()
	began := time.Now()
	_, err := y.start(&target{"short", "", func(y *yard, dir string) (*running, error) {
		r := &running{addr: "127.0.0.1:1"}
		return r, y.run(r, dir, "/bin/sh", nil, "-c", "echo the address is taken; exit 7")
	}})
	for _, want := range []string{"start short", "exit status 7", "the address is taken"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it was waited for, %v", took)
	}
}

// An interruption ends the run at once and writes nothing.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	doc, out := filepath.Join(dir, "doc.md"), filepath.Join(dir, "out")
	const text = "<!-- load: rate-1000 -->\nold\n<!-- end of load -->\n"
	if err := os.WriteFile(doc, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	began := new(lineWaiter)
	began.call = interrupt // as soon as the scenario has begun
	err := run(ctx, []string{"--only=^dense$", "--targets=rp", "--time=1h", "--iatp=/bin/true", "--doc", doc, "--out", out}, new(bytes.Buffer), began)
	if err == nil || err.Error() != "interrupted: nothing was written" {
		t.Errorf("interrupted: %v", err)
	}
	if now, err := os.ReadFile(doc); err != nil || string(now) != text {
		t.Errorf("the document: %q, %v", now, err)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
		t.Errorf("written: %v, %v", left, err)
	}
}

// lineWaiter calls once something is written to it.
type lineWaiter struct {
	once sync.Once
	call func()
}

func (w *lineWaiter) Write(p []byte) (int, error) {
	w.once.Do(func() { time.AfterFunc(time.Second, w.call) })
	return len(p), nil
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		log       bool
		want      []float64
	}{
		{0, 33, false, []float64{0, 5, 10, 15, 20, 25, 30}},
		{0, 0, false, []float64{0}},
		{1.2, 3.1, true, []float64{20, 50, 100, 200, 500, 1000}},
		{2.4, 2.6, true, nil},
		{-1, 5, true, []float64{.1, 1, 10, 100, 1000, 10_000, 100_000}},
	} {
		if diff := cmp.Diff(c.want, ticks(c.low, c.high, c.log)); diff != "" {
			t.Errorf("ticks(%v, %v, %v), -want +got:\n%s", c.low, c.high, c.log, diff)
		}
	}
}

func TestFillIn(t *testing.T) {
	for _, c := range []struct{ text, want, err string }{
		{"a\n<!-- load: x -->\n1\n2\n<!-- end of load -->\nb\n", "a\n<!-- load: x -->\n\nnew\n\n<!-- end of load -->\nb\n", ""},
		{"<!-- load: y -->\n1\n<!-- end of load -->\n", "<!-- load: y -->\n1\n<!-- end of load -->\n", ""},
		{"<!-- load: x -->\n1\n", "", `"<!-- load: x -->" has no end`},
		{"<!-- load: x -->\n<!-- load: y -->\n<!-- end of load -->\n", "", `"<!-- load: x -->" has no end`},
		{"<!-- end of load -->\n", "", `"<!-- end of load -->" without a beginning`},
	} {
		got, err := fillIn([]byte(c.text), map[string]string{"x": "new\n"})
		if string(got) != c.want || fmt.Sprint(err) != orNil(c.err) {
			t.Errorf("fillIn(%q) = %q, %v; want %q, %v", c.text, got, err, c.want, c.err)
		}
		if err != nil {
			continue
		}
		if again, err := fillIn(got, map[string]string{"x": "new\n"}); err != nil || !bytes.Equal(again, got) {
			t.Errorf("a second time: %q, %v", again, err)
		}
	}
}

func TestShown(t *testing.T) {
	got := shown([]string{"--only", "^(a|b)$", "--out", "x", "--doc=y", "--rounds", "3", "-doc", "z"})
	if want := "go run ./experiments/load --only '^(a|b)$' --rounds 3"; got != want {
		t.Errorf("shown: %s, want %s", got, want)
	}
}

// The document has a place for each table of a whole run.
func TestDocumentHasAllTables(t *testing.T) {
	text, err := os.ReadFile("../../doc/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"budget"}
	for _, s := range scenarios() {
		if s.name != "sizes" {
			want = append(want, s.name)
			continue
		}
		for _, n := range bodySizes {
			want = append(want, fmt.Sprintf("size-%d", n))
		}
	}
	for _, name := range want {
		if !strings.Contains(string(text), "\n"+beginMark(name)+"\n") {
			t.Errorf("doc/performance.md has no %s", beginMark(name))
		}
	}
	if _, err := fillIn(text, nil); err != nil {
		t.Error(err)
	}
}

func orNil(text string) string {
	if text == "" {
		return "<nil>"
	}
	return text
}
