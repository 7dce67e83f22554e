package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// result is everything that a run of this program measured; result.json holds
// it.
type result struct {
	Command  string    `json:"command"`
	Began    time.Time `json:"began"`
	Took     string    `json:"took"`
	Machine  machine   `json:"machine"`
	LeftOut  []string  `json:"left_out,omitempty"`
	Tables   []*table  `json:"tables"`
	Verdicts []verdict `json:"budget,omitempty"`
}

// table is one scenario.
type table struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Note    string   `json:"note"`
	Columns []column `json:"columns"`
	Rows    []*row   `json:"rows"`
}

// column is one figure of each row.
type column struct {
	Key  string `json:"key"`
	Head string `json:"head"`
	// Over is the row that this one is divided by, Less the one that is taken
	// off; each round with the same round of the other.
	Over string `json:"over,omitempty"`
	Less string `json:"less,omitempty"`
}

// row is one target. Each round of each figure is kept.
type row struct {
	Name    string               `json:"name"`
	Figures map[string][]float64 `json:"figures"`
	Latency [][2]float64         `json:"latency,omitempty"` // share, microseconds; all rounds together
	Series  [][2]float64         `json:"series,omitempty"`  // over time
	all     histogram
}

func (t *table) row(name string) *row {
	for _, r := range t.Rows {
		if r.Name == name {
			return r
		}
	}
	r := &row{Name: name, Figures: map[string][]float64{}}
	t.Rows = append(t.Rows, r)
	return r
}

func (t *table) find(name string) *row {
	i := slices.IndexFunc(t.Rows, func(r *row) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return t.Rows[i]
}

func (r *row) add(key string, v float64) { r.Figures[key] = append(r.Figures[key], v) }

// take adds what a stretch of load measured.
func (r *row) take(s *sample) {
	r.add("cpu", s.perRequest())
	r.add("rate", s.rate())
	r.add("p50", micros(s.latency.at(.5)))
	r.add("p99", micros(s.latency.at(.99)))
	r.add("p999", micros(s.latency.at(.999)))
	r.add("max", micros(s.latency.max))
	r.add("rss", mib(s.rss))
	r.add("errors", float64(s.errors))
	r.add("shed", float64(s.shed))
	r.all.merge(s.latency)
	r.Latency = r.all.points()
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// spread is the median of the rounds with the least and the greatest.
type spread struct{ mid, min, max float64 }

func spreadOf(v []float64) spread {
	if len(v) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	s := slices.Sorted(slices.Values(v))
	mid := s[len(s)/2]
	if len(s)%2 == 0 {
		mid = (s[len(s)/2-1] + mid) / 2
	}
	return spread{mid, s[0], s[len(s)-1]}
}

// value is what stands in the table for a row and a column.
func (t *table) value(r *row, c column) spread {
	own := r.Figures[c.Key]
	other := t.find(cmp.Or(c.Over, c.Less))
	if c.Over == "" && c.Less == "" {
		return spreadOf(own)
	}
	if other == nil {
		return spreadOf(nil)
	}
	var out []float64
	for i, v := range other.Figures[c.Key] {
		if i < len(own) && c.Over != "" {
			out = append(out, own[i]/v)
		} else if i < len(own) {
			out = append(out, own[i]-v)
		}
	}
	return spreadOf(out)
}

// text writes three significant digits, and the extremes where they differ.
func (s spread) text() string {
	if math.IsNaN(s.mid) || math.IsInf(s.mid, 0) {
		return "–"
	}
	if number(s.min) == number(s.max) {
		return number(s.mid)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.mid), number(s.min), number(s.max))
}

func number(v float64) string {
	switch abs := math.Abs(v); {
	case abs >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case abs >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
