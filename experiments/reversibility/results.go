package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// A tally counts outcomes. Runs = Restored + Escalated + Silent; a double effect
// and a false alarm come with one of the three.
type tally struct {
	Runs      int `json:"runs"`
	Restored  int `json:"restored"`
	Escalated int `json:"escalated"`
	Silent    int `json:"silent_inconsistencies"`
	Double    int `json:"double_effects"`
	Alarms    int `json:"false_alarms"` // of Restored: a person is asked although all is undone
}

func (t *tally) count(o outcome) {
	t.Runs++
	switch {
	case o.restored:
		t.Restored++
	case o.escalated:
		t.Escalated++
	default:
		t.Silent++
	}
	if o.double {
		t.Double++
	}
	if o.alarm {
		t.Alarms++
	}
}

// results are what is written to results.json.
type results struct {
	Experiment string        `json:"experiment"`
	Command    string        `json:"command"`
	Seed       uint64        `json:"seed"`
	Quick      bool          `json:"quick"`
	Go         string        `json:"go"`
	CPUs       int           `json:"cpus"`
	Seconds    float64       `json:"seconds"`
	Arms       map[arm]tally `json:"arms"`
	Faults     []row         `json:"faults"`
	Torn       tally         `json:"torn_log"` // by byte of the last record; in no arm
	Notable    []notable     `json:"notable"`  // every run that is not plainly restored

	mu sync.Mutex
}

// A row is one fault in one arm.
type row struct {
	Fault string `json:"fault"`
	Arm   arm    `json:"arm"`
	tally
	Consistent [2]float64 `json:"restored_or_escalated_95"` // Wilson's interval of its share
}

// A notable run is one to look at.
type notable struct {
	Arm    arm    `json:"arm"`
	Fault  string `json:"fault"`
	Detail string `json:"detail"`
	Was    string `json:"was"`
	Note   string `json:"note"`
}

func newResults(o options) *results {
	r := &results{Experiment: "reversibility", Command: "go run ./experiments/reversibility", Seed: o.seed, Quick: o.quick, Go: runtime.Version(), CPUs: runtime.NumCPU(), Arms: map[arm]tally{}}
	if o.quick {
		r.Command += " --quick"
	}
	r.Command += fmt.Sprintf(" --seed %d", o.seed)
	for _, fault := range rows {
		for _, a := range arms {
			r.Faults = append(r.Faults, row{Fault: fault, Arm: a})
		}
	}
	return r
}

func (r *results) add(a arm, j job, o outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.Arms[a]
	t.count(o)
	r.Arms[a] = t
	for i := range r.Faults {
		if r.Faults[i].Fault == j.fault && r.Faults[i].Arm == a {
			r.Faults[i].count(o)
		}
	}
	r.note(a, j.fault, j.detail, o)
}

// maxNotable bounds what is kept of an arm in which nearly every run is notable.
const maxNotable = 2000

func (r *results) note(a arm, fault, detail string, o outcome) {
	was := "silent"
	switch {
	case o.restored && !o.double && !o.alarm:
		return
	case o.restored:
		was = "restored"
	case o.escalated:
		was = "escalated"
	}
	if len(r.Notable) < maxNotable {
		r.Notable = append(r.Notable, notable{a, fault, detail, was, strings.TrimSpace(o.note)})
	}
}

func (r *results) torn(o outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Torn.count(o)
	r.note(full, "torn log", "", o)
}

// wilson is the 95 % interval of a share of which k in n were seen (E. B. Wilson,
// 1927).
func wilson(k, n int) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	const z = 1.959963984540054
	p, m := float64(k)/float64(n), float64(n)
	middle := p + z*z/(2*m)
	half := z * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	scale := 1 + z*z/m
	return max((middle-half)/scale, 0), min((middle+half)/scale, 1)
}

// report writes everything below dir, and the table to w.
func report(r *results, dir string, w io.Writer) error {
	var kept []row
	for _, f := range r.Faults {
		if f.Runs > 0 {
			f.Consistent[0], f.Consistent[1] = wilson(f.Restored+f.Escalated, f.Runs)
			kept = append(kept, f)
		}
	}
	r.Faults = kept
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r); err != nil {
		return err
	}
	table := r.table()
	figure := r.figure()
	picture, err := figure.png()
	if err != nil {
		return err
	}
	write := func(name string, data []byte) error { return os.WriteFile(filepath.Join(dir, name), data, 0o644) }
	if err := errors.Join(
		write("results.json", text.Bytes()), write("table.md", []byte(table)), write("figure.svg", figure.svg()),
		write("figure.png", picture), write("index.html", r.page(figure)),
	); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\nwritten to %s: index.html, table.md, figure.svg, figure.png, results.json\n", table, dir)
	return err
}

// header are the columns of the table.
var header = []string{"fault", "arm", "runs", "restored", "escalated", "silent", "double", "false alarm", "restored or escalated, 95 %"}

func (r *row) cells() []string {
	low, high := wilson(r.Restored+r.Escalated, r.Runs)
	return []string{
		r.Fault, string(r.Arm), fmt.Sprint(r.Runs), fmt.Sprint(r.Restored), fmt.Sprint(r.Escalated), fmt.Sprint(r.Silent),
		fmt.Sprint(r.Double), fmt.Sprint(r.Alarms), fmt.Sprintf("%.1f %% to %.1f %%", 100*low, 100*high),
	}
}

// all are the rows of the table: the faults, then the sums.
func (r *results) all() []row {
	rows := append([]row(nil), r.Faults...)
	for _, a := range arms {
		if t := r.Arms[a]; t.Runs > 0 {
			rows = append(rows, row{Fault: "all", Arm: a, tally: t})
		}
	}
	if r.Torn.Runs > 0 {
		rows = append(rows, row{Fault: "last record torn, at every byte", Arm: full, tally: r.Torn})
	}
	return rows
}

// table is Markdown.
func (r *results) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|---|---|%s\n", strings.Join(header, " | "), strings.Repeat("--:|", len(header)-2))
	for _, row := range r.all() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row.cells(), " | "))
	}
	return b.String()
}
