package main

import (
	"bufio"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// part is a benchmark of one package: a folder of the tree, as "./flight", or
// an import path.
type part struct {
	pkg, bench string
	env        []string
}

// row names a benchmark in a table.
func (p part) row(benchmark string) string {
	return strings.TrimPrefix(p.pkg, "./") + " " + strings.TrimPrefix(benchmark, "Benchmark")
}

// figures runs a Go benchmark and returns, for each of its lines, the figures
// by their unit.
func (b *bench) figures(p part, args ...string) (map[string]map[string]float64, error) {
	return goBench(b.yard, b.root, p, args...)
}

func goBench(y *yard, root string, p part, args ...string) (map[string]map[string]float64, error) {
	args = append([]string{"test", "-run", "^$", "-bench", p.bench, "-benchmem"}, args...)
	cmd := exec.CommandContext(y.ctx, "go", append(args, p.pkg)...)
	cmd.Dir = root
	cmd.Env = append(cmd.Environ(), p.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return benchLines(string(out)), nil
}

// benchLines reads the output of go test -bench. Of a benchmark that ran several
// times the run with the fewest allocations counts.
func benchLines(out string) map[string]map[string]float64 {
	found := map[string]map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := words[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i] // the number of processors
		}
		units := map[string]float64{}
		for i := 2; i+1 < len(words); i += 2 {
			if v, err := strconv.ParseFloat(words[i], 64); err == nil {
				units[words[i+1]] = v
			}
		}
		if before, ok := found[name]; !ok || units["allocs/op"] < before["allocs/op"] {
			found[name] = units
		}
	}
	return found
}

// parts runs the benchmarks of what the corridor is made of, and of what it is
// compared with: the standard library's JSON and Ed25519.
func (b *bench) parts() error {
	t := b.table("parts", "the parts, each by itself", "By `go test -run '^$' -bench NAME -benchmem PACKAGE`. `Valid` is `json.Valid` of the standard library on the same bodies: with Ed25519 and a record on the disk by itself it says what the machine can do.",
		column{Key: "ns", Head: "µs"}, column{Key: "allocs", Head: "allocations"}, column{Key: "MB/s-core", Head: "MB/s a core"}, column{Key: "records/s", Head: "records/s"}, column{Key: "cpu", Head: "CPU µs a record"})
	for _, p := range []part{{pkg: "./internal/ijson", bench: "Check"}, {pkg: "./privacy", bench: "ScanJSON|Valid"},
		{pkg: "./policy", bench: "Decide"}, {pkg: "./flight", bench: "Build|Append"}, {pkg: "crypto/ed25519", bench: "Signing|Verification"}} {
		found, err := b.figures(p, "-benchtime", b.time.String())
		if err != nil {
			return err
		}
		for name, units := range found {
			row := t.row(p.row(name))
			row.add("ns", units["ns/op"]/1000)
			row.add("allocs", units["allocs/op"])
			for _, unit := range []string{"MB/s-core", "records/s"} {
				if v, ok := units[unit]; ok {
					row.add(unit, v)
				}
			}
			if v, ok := units["cpu-ns/op"]; ok {
				row.add("cpu", v/1000)
			}
		}
	}
	t.sort()
	return nil
}
