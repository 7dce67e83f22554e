package main

import (
	"math"
	"strings"
)

// verdict is a line of the budget table.
type verdict struct {
	Row  string `json:"row"`
	What string `json:"what"`
	Must string `json:"must"`
	Aim  string `json:"aim"`
	Is   string `json:"is"`
	Met  string `json:"met"` // aim, must, no, or not measured
}

// budget is what a sidecar may cost. Each limit is a figure of a table that
// this program makes; the sign says on which side of the limit is good.
type budget struct {
	row, what string
	most      bool // the limits are the least that is good
	must, aim float64
	text      [2]string
	of        func(r *result) float64
}

// cell is a figure: the median of the rounds.
func cell(table, row, key string, relative column) func(r *result) float64 {
	return func(res *result) float64 {
		for _, t := range res.Tables {
			if t.Name != table {
				continue
			}
			for _, r := range t.Rows {
				if r.Name == row || strings.HasSuffix(row, "*") && strings.HasPrefix(r.Name, strings.TrimSuffix(row, "*")) {
					relative.Key = key
					return t.value(r, relative).mid
				}
			}
		}
		return math.NaN()
	}
}

func budgets() []budget {
	over := func(name string) column { return column{Over: name} }
	less := func(name string) column { return column{Less: name} }
	none := column{}
	// The hop between two sidecars, on top of two plain ones.
	hop := func(r *result) float64 {
		return cell("saturated", "pair", "cpu", none)(r) - 2*cell("saturated", "strict", "cpu", none)(r)
	}
	added := func(of string) func(r *result) float64 { return cell("rate-1000", of, "p50", less("direct")) }
	return []budget{
		{"1", "CPU a request, saturated, request record durable, over RP", false, .95, .75, [2]string{"≤ 0.95", "≤ 0.75"}, cell("saturated", "strict", "cpu", over("rp"))},
		{"2", "the same with records written, over RP", false, .75, .55, [2]string{"≤ 0.75", "≤ 0.55"}, cell("saturated", "iatp", "cpu", over("rp"))},
		{"2", "the same, over nginx with a JSON access log", false, 1.7, 1.3, [2]string{"≤ 1.7", "≤ 1.3"}, cell("saturated", "iatp", "cpu", over("nginx"))},
		{"3", "CPU a request at 1,000/s, durable, over RP", false, 1.5, 1.1, [2]string{"≤ 1.5", "≤ 1.1"}, cell("rate-1000", "strict", "cpu", over("rp"))},
		{"4", "added p50 at 1,000/s, default, over RP's", false, .9, .5, [2]string{"≤ 0.9", "≤ 0.5"}, func(r *result) float64 { return added("iatp")(r) / added("rp")(r) }},
		{"5", "added p99 at 1,000/s, durable, µs", false, 1000, 500, [2]string{"< 1000", "< 500"}, cell("rate-1000", "strict", "p99", less("direct"))},
		{"5", "added p99 at 5,000/s, durable, µs", false, 1000, 500, [2]string{"< 1000", "< 500"}, cell("rate-5000", "strict", "p99", less("direct"))},
		{"6", "requests a second, durable, over RP", true, 1.05, 1.3, [2]string{"≥ 1.05", "≥ 1.3"}, cell("saturated", "strict", "rate", over("rp"))},
		{"7", "idle memory, MiB", false, 14, 12, [2]string{"≤ 14", "≤ 12"}, cell("start", "a clean log", "idle", none)},
		{"8", "memory with 9,900 idle connections, over RP", false, 1, .5, [2]string{"≤ 1.0", "≤ 0.5"}, cell("hold", "iatp", "idle", over("rp"))},
		{"9", "9,900 active connections: errors and 503", false, 0, 0, [2]string{"0", "0"}, func(r *result) float64 {
			return cell("hold", "iatp", "errors", none)(r) + cell("hold", "iatp", "shed", none)(r)
		}},
		{"9", "9,900 active connections: memory over RP", false, .7, .3, [2]string{"≤ 0.7", "≤ 0.3"}, cell("hold", "iatp", "busy", over("rp"))},
		{"10", "memory growth for a million requests, MiB", false, 5, 1, [2]string{"≤ 5", "≤ 1"}, cell("memory", "iatp", "growth", none)},
		{"11", "detection in 1 KB of clean JSON, MB/s", true, 500, 1000, [2]string{"≥ 500", "≥ 1000"}, cell("parts", "privacy ScanJSON/clean/1KiB", "MB/s-core", none)},
		{"12", "one record built, hashed, queued, µs", false, 4, 2.5, [2]string{"≤ 4", "≤ 2.5"}, cell("parts", "flight Build", "ns", none)},
		{"13", "durable records a second, 64 producers", true, 100_000, 200_000, [2]string{"≥ 100k", "≥ 200k"}, cell("parts", "flight Append/ack=1/producers=64", "records/s", none)},
		{"13", "CPU of each, µs", false, 5, 3, [2]string{"≤ 5", "≤ 3"}, cell("parts", "flight Append/ack=1/producers=64", "cpu", none)},
		{"14", "start to the first accepted request, clean log, ms", false, 50, 10, [2]string{"≤ 50", "≤ 10"}, cell("start", "a clean log", "ms", none)},
		{"14", "the same with 1,000,000 records, ms", false, 1000, 200, [2]string{"≤ 1000", "≤ 200"}, cell("start", "a log of 1000000*", "ms", none)},
		{"15", "a signed hop between two sidecars on top of two plain ones, CPU µs", false, 150, 120, [2]string{"≤ 150", "≤ 120"}, hop},
		{"16", "the binary, MB", false, 25, 16, [2]string{"≤ 25", "≤ 16"}, cell("start", "a clean log", "binary", none)},
	}
}

// judge compares what was measured with the budget. What was not measured, or
// with fewer connections or requests than the budget names, is left out.
func (r *result) judge(o *settings) {
	short := map[string]bool{"8": o.hold < 9900, "9": o.hold < 9900, "10": o.requests < 1_000_000}
	for _, b := range budgets() {
		if short[b.row] {
			continue
		}
		v := b.of(r)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		good := func(limit float64) bool { return v <= limit && !b.most || v >= limit && b.most }
		met := "no"
		if good(b.aim) {
			met = "aim"
		} else if good(b.must) {
			met = "must"
		}
		r.Verdicts = append(r.Verdicts, verdict{b.row, b.what, b.text[0], b.text[1], number(v), met})
	}
}
