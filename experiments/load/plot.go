package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// plots are the figures of a table that a picture says better.
func (t *table) plots() string {
	var latency, series []*row
	for _, r := range t.Rows {
		if len(r.Latency) > 1 {
			latency = append(latency, r)
		}
		if len(r.Series) > 1 {
			series = append(series, r)
		}
	}
	var b strings.Builder
	if slices.ContainsFunc(t.Columns, func(c column) bool { return c.Key == "cpu" }) && len(latency) > 1 {
		b.WriteString(t.bars())
	}
	if slices.ContainsFunc(t.Columns, func(c column) bool { return c.Key == "p99" }) && len(latency) > 0 {
		b.WriteString(lines(latency, func(r *row) [][2]float64 { return nines(r.Latency) }, "latency µs (log) over the share of requests", true))
	}
	if len(series) > 0 {
		b.WriteString(lines(series, func(r *row) [][2]float64 { return r.Series }, "resident MiB over requests served", false))
	}
	return b.String()
}

// nines spreads the upper percentiles: 0.9, 0.99 and 0.999 stand at 1, 2 and 3. The least,
// which is but one request, is left out.
func nines(points [][2]float64) [][2]float64 {
	var out [][2]float64
	for _, p := range points {
		if p[0] >= .1 && p[0] < 1 && p[1] > 0 {
			out = append(out, [2]float64{-math.Log10(1 - p[0]), math.Log10(p[1])})
		}
	}
	return out
}

// colours can be told apart by those who see fewer of them (Okabe and Ito).
var colours = []string{"#000000", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7", "#888888", "#f0e442"}

// bars draws processor time for each request, with the spread of the rounds.
func (t *table) bars() string {
	const width, step, left = 720, 24, 160
	var most float64
	for _, r := range t.Rows {
		most = max(most, spreadOf(r.Figures["cpu"]).max)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" width="%[1]d" role="img"><title>CPU µs a request</title>`, width, step*len(t.Rows)+24)
	scale := (width - left - 60) / max(most, 1)
	for i, r := range t.Rows {
		s, y := spreadOf(r.Figures["cpu"]), i*step+4
		if math.IsNaN(s.mid) {
			continue
		}
		fmt.Fprintf(&b, `<text x="0" y="%d">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, y+13, html.EscapeString(r.Name), left, y, s.mid*scale, step-8, colours[4])
		fmt.Fprintf(&b, `<path d="M%.1f %dH%.1f" stroke="#000"/><text x="%.1f" y="%d">%s</text>`, left+s.min*scale, y+8, left+s.max*scale, left+s.max*scale+6, y+13, number(s.mid))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d">CPU µs a request; the line is the spread of the rounds</text></svg>`, left, step*len(t.Rows)+18)
	return b.String()
}

// lines draws one line for each row.
func lines(rows []*row, points func(*row) [][2]float64, title string, logarithmic bool) string {
	const width, height, left, right, foot = 720, 300, 60, 170, 40
	low, high := [2]float64{math.Inf(1), math.Inf(1)}, [2]float64{math.Inf(-1), math.Inf(-1)}
	for _, r := range rows {
		for _, p := range points(r) {
			for i := range p {
				low[i], high[i] = min(low[i], p[i]), max(high[i], p[i])
			}
		}
	}
	if !logarithmic {
		low[1] = 0
	}
	at := func(p [2]float64) (float64, float64) {
		return left + (p[0]-low[0])/max(high[0]-low[0], 1e-9)*(width-left-right), height - foot - (p[1]-low[1])/max(high[1]-low[1], 1e-9)*(height-foot-10)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" width="%d" role="img"><title>%s</title><path d="M%d 5V%dH%d" fill="none" stroke="#999"/>`, width, height, width, html.EscapeString(title), left, height-foot, width-right)
	for _, v := range ticks(low[1], high[1], logarithmic) {
		text := number(v)
		if logarithmic {
			v = math.Log10(v)
		}
		_, y := at([2]float64{low[0], v})
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#e4e4e4"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`, left, y, width-right, left-6, y+4, text)
	}
	for i, r := range rows {
		colour := colours[i%len(colours)]
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="`, colour)
		for _, p := range points(r) {
			x, y := at(p)
			fmt.Fprintf(&b, "%.1f,%.1f ", x, y)
		}
		fmt.Fprintf(&b, `"/><text x="%d" y="%d" style="fill:%s">%s</text>`, width-right+12, 20+18*i, colour, html.EscapeString(r.Name))
	}
	axis := func(x, y float64, text string) { fmt.Fprintf(&b, `<text x="%.0f" y="%.0f">%s</text>`, x, y, text) }
	if logarithmic {
		for n, text := range []string{"50 %", "90 %", "99 %", "99.9 %", "99.99 %"} {
			if x := []float64{.301, 1, 2, 3, 4}[n]; x >= low[0] && x <= high[0] {
				px, _ := at([2]float64{x, low[1]})
				axis(px-12, height-foot+16, text)
			}
		}
	} else {
		axis(left, height-foot+16, number(low[0]))
		axis(width-right-60, height-foot+16, number(high[0]))
	}
	axis(left, height-6, html.EscapeString(title))
	b.WriteString("</svg>")
	return b.String()
}

// ticks are round values between two, at most a dozen; of a logarithmic axis low and high
// are the powers of ten.
func ticks(low, high float64, logarithmic bool) []float64 {
	var out []float64
	if !logarithmic {
		span := max(high-low, 1e-9)
		step := math.Pow(10, math.Floor(math.Log10(span)))
		for span/step < 4 {
			step /= 2
		}
		for v := math.Ceil(low/step) * step; v <= high; v += step {
			out = append(out, v)
		}
		return out
	}
	digits := []float64{1, 2, 5}
	if high-low > 4 {
		digits = digits[:1]
	}
	for power := math.Floor(low); power <= high; power++ {
		for _, d := range digits {
			if at := power + math.Log10(d); at >= low && at <= high {
				out = append(out, d*math.Pow(10, power))
			}
		}
	}
	return out
}
