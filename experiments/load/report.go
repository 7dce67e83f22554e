package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// write stores the result in dir, a new one if it is empty, and prints it.
func (r *result) write(dir string, stdout, stderr io.Writer) error {
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "iatp-load-"); err != nil {
			return err
		}
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	text := r.markdown()
	err = errors.Join(
		replace(filepath.Join(dir, "result.json"), append(data, '\n')),
		replace(filepath.Join(dir, "result.md"), []byte(text)),
		replace(filepath.Join(dir, "result.html"), []byte(r.page())),
	)
	if err != nil {
		return err
	}
	fmt.Fprintln(stderr, "result.json, result.md and result.html are in", dir)
	_, err = io.WriteString(stdout, text)
	return err
}

// replace writes a file so that there is never half of it.
func replace(file string, text []byte) error {
	whole := file + ".new"
	if err := os.WriteFile(whole, text, 0o644); err != nil {
		return err
	}
	return os.Rename(whole, file)
}

func (t *table) sort() {
	slices.SortFunc(t.Rows, func(a, b *row) int { return cmp.Compare(a.Name, b.Name) })
}

// grid is a table as text: its head, and a line for each row.
func (t *table) grid() [][]string {
	line := []string{""}
	for _, c := range t.Columns {
		line = append(line, c.Head)
	}
	grid := [][]string{line}
	for _, r := range t.Rows {
		line := []string{r.Name}
		for _, c := range t.Columns {
			line = append(line, t.value(r, c).text())
		}
		grid = append(grid, line)
	}
	return grid
}

func (r *result) budgetGrid() [][]string {
	grid := [][]string{{"row", "budget", "must", "aim", "is", "met"}}
	for _, v := range r.Verdicts {
		grid = append(grid, []string{v.Row, v.What, v.Must, v.Aim, v.Is, v.Met})
	}
	return grid
}

const reading = "A figure is the median of its rounds, with the least and the greatest. A ratio or a difference is made of two figures of the same round."

func (r *result) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s`, %s, took %s\n\n%s\n\n%s\n", r.Command, r.Began.Format("2006-01-02 15:04 MST"), r.Took, r.Machine, reading)
	for _, why := range r.LeftOut {
		fmt.Fprintf(&b, "\n%s\n", why)
	}
	for _, t := range r.Tables {
		fmt.Fprintf(&b, "\n### %s\n\n", t.Title)
		if t.Note != "" {
			fmt.Fprintf(&b, "%s\n\n", t.Note)
		}
		writeMarkdown(&b, t.grid())
	}
	if len(r.Verdicts) > 0 {
		b.WriteString("\n### the budget\n\n")
		writeMarkdown(&b, r.budgetGrid())
	}
	return b.String()
}

func writeMarkdown(b *strings.Builder, grid [][]string) {
	for i, line := range grid {
		fmt.Fprintf(b, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			fmt.Fprintf(b, "|---|%s\n", strings.Repeat("--:|", len(line)-1))
		}
	}
}

const style = `body{font:15px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:.5rem 0 1rem}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
td small{color:#666}td:first-child,th:first-child,.budget :nth-child(2){text-align:left}.wide{overflow-x:auto}h2{margin-top:2.5rem}svg{display:block;margin:.5rem 0;max-width:100%}svg text{font:12px system-ui,sans-serif;fill:#333}
.no{color:#a40000;font-weight:600}.aim{color:#00660a}p{max-width:60rem}`

// page is the result as one HTML file that needs nothing else.
func (r *result) page() string {
	var b strings.Builder
	b.WriteString("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>iatp: load</title><style>" + style + "</style><h1>iatp: load</h1>")
	for _, text := range append([]string{r.Command, r.Machine.String(), "Began " + r.Began.Format("2006-01-02 15:04 MST") + ", took " + r.Took + ".", reading}, r.LeftOut...) {
		b.WriteString("<p>" + html.EscapeString(text) + "</p>")
	}
	if len(r.Verdicts) > 0 {
		b.WriteString("<h2>The budget</h2>")
		writeHTML(&b, "budget", r.budgetGrid())
	}
	for _, t := range r.Tables {
		fmt.Fprintf(&b, "<h2>%s</h2><p>%s</p>", html.EscapeString(t.Title), html.EscapeString(t.Note))
		writeHTML(&b, "", t.grid())
		b.WriteString(t.plots())
	}
	b.WriteString("<h2>The targets</h2><table>")
	for _, t := range targets() {
		fmt.Fprintf(&b, "<tr><td>%s<td style=\"text-align:left\">%s", t.name, html.EscapeString(t.does))
	}
	b.WriteString("</table></html>\n")
	return b.String()
}

// extremes are the spread behind a figure.
var extremes = regexp.MustCompile(` (\([^ ]+–[^ ]+\))$`)

func writeHTML(b *strings.Builder, class string, grid [][]string) {
	fmt.Fprintf(b, "<div class=\"wide\"><table class=%q>", class)
	for i, line := range grid {
		b.WriteString("<tr>")
		for _, text := range line {
			switch {
			case i == 0:
				fmt.Fprintf(b, "<th>%s", html.EscapeString(text))
			case text == "no" || text == "aim":
				fmt.Fprintf(b, "<td class=\"%s\">%[1]s", text)
			default:
				fmt.Fprintf(b, "<td>%s", extremes.ReplaceAllString(html.EscapeString(text), " <small>$1</small>"))
			}
		}
	}
	b.WriteString("</table></div>")
}
