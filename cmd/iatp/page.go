package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/inter-agent-trust/iatp"
)

// page is where a person reads: coloured on a terminal, plain in a pipe.
type page struct {
	io.Writer
	colour bool
}

// newPage looks at what is behind w. NO_COLOR and TERM=dumb are respected
// (https://no-color.org).
func newPage(w io.Writer) page {
	colour := isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return page{w, colour}
}

// isTerminal reports whether f is a file that is a terminal: only those have a
// window size.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

// An ink is an ANSI colour or weight.
type ink string

const (
	plain  ink = ""
	bold   ink = "1"
	dim    ink = "2"
	red    ink = "31"
	green  ink = "32"
	yellow ink = "33"
	cyan   ink = "36"
)

// in returns text in a colour, if the page has any.
func (p page) in(i ink, text string) string {
	if !p.colour || i == plain || text == "" {
		return text
	}
	return "\x1b[" + string(i) + "m" + text + "\x1b[0m"
}

func (p page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// row writes a label and what belongs to it, aligned; further lines of the text
// stand under the first.
func (p page) row(label string, width int, text string) {
	for i, t := range strings.Split(text, "\n") {
		if i > 0 {
			label = ""
		}
		fmt.Fprintln(p, strings.TrimRight("  "+p.in(dim, pad(label, width))+"  "+t, " "))
	}
}

// pad fills text with spaces to a width in characters.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(width-utf8.RuneCountInString(text), 0))
}

// writeJSON writes v for a program to read: two spaces deep, one newline.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// shown is text of somebody else, safe to read on a terminal and not longer
// than a person wants.
func shown(text string) string {
	const most = 300
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return iatp.Printable(text)
}
