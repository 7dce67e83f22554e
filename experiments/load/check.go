package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// baseline is what was committed: processor time over that of RP, and
// allocations. The first depends on the machine a little, the second not at all.
type baseline struct {
	Ratios      map[string]float64 `json:"cpu_over_rp"`
	Allocations map[string]float64 `json:"allocations"`
}

// tolerance is by how much a ratio may exceed its baseline.
const tolerance = 0.10

func baselineFile(root string) string {
	return filepath.Join(root, "experiments", "load", "baseline.json")
}

// guarded are the benchmarks whose allocations are compared. The collector is
// off, or it would empty pools at moments of its own.
var guarded = []part{
	{"./internal/ijson", "Check", nil},
	{"./privacy", "ScanJSON/clean/1KiB", nil},
	{"./policy", "Decide", nil},
	{"./flight", "Build", nil},
	{"./sidecar", "Corridor/(written|asked|blocked)", []string{"GOGC=off"}}, // durable waits for the disk, and allocates the same
}

// check measures what the baseline holds and compares.
func check(y *yard, o *settings, root string, stdout io.Writer) error {
	have := baseline{Ratios: map[string]float64{}, Allocations: map[string]float64{}}
	for _, p := range guarded {
		// Three times, for the least: a timer or a new segment of the log may fall
		// into one of them.
		found, err := goBench(y, root, p, "-benchtime", "2000x", "-count", "3")
		if err != nil {
			return err
		}
		for name, units := range found {
			have.Allocations[p.row(name)] = units["allocs/op"]
		}
	}
	b := &bench{yard: y, settings: o, root: root}
	o.only, o.targets = regexp.MustCompile(`^(saturated|dense)$`), []string{"rp", "iatp", "strict"}
	if err := b.all(); err != nil {
		return err
	}
	for _, t := range b.result.Tables {
		for _, r := range t.Rows {
			if r.Name != "rp" {
				have.Ratios[t.Name+" "+r.Name] = t.value(r, column{Key: "cpu", Over: "rp"}).mid
			}
		}
	}
	if o.update {
		text, err := json.MarshalIndent(have, "", "  ")
		if err != nil {
			return err
		}
		return os.WriteFile(baselineFile(root), append(text, '\n'), 0o644)
	}
	return have.compare(root, stdout)
}

func (have baseline) compare(root string, stdout io.Writer) error {
	text, err := os.ReadFile(baselineFile(root))
	if err != nil {
		return err
	}
	var want baseline
	if err := json.Unmarshal(text, &want); err != nil {
		return fmt.Errorf("%s: %w", baselineFile(root), err)
	}
	var worse []error
	report := func(name string, is, was float64, bad bool) {
		mark := "ok"
		if bad {
			mark = "WORSE"
			worse = append(worse, fmt.Errorf("%s: %s, the baseline is %s", name, number(is), number(was)))
		}
		fmt.Fprintf(stdout, "%-6s %-50s %8s  baseline %8s\n", mark, name, number(is), number(was))
	}
	for _, name := range slices.Sorted(maps.Keys(want.Allocations)) {
		is, ok := have.Allocations[name]
		report("allocations of "+name, is, want.Allocations[name], !ok || is > want.Allocations[name])
	}
	for _, name := range slices.Sorted(maps.Keys(want.Ratios)) {
		is, ok := have.Ratios[name]
		report("CPU over RP, "+name, is, want.Ratios[name], !ok || !(is <= want.Ratios[name]*(1+tolerance)))
	}
	if len(worse) > 0 {
		return fmt.Errorf("worse than %s:\n%w\nif it has to be, run with --check --update and say why in the commit", baselineFile(root), errors.Join(worse...))
	}
	return nil
}
