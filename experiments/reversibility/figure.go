package main

import (
	"bytes"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"strings"
)

// A figure is rectangles and lines of text, in pixels, drawn as SVG and as PNG.
type figure struct {
	width, height int
	boxes         []box
	labels        []label
}

type box struct {
	image.Rectangle
	ink color.RGBA
}

// A label is text that begins at a point, its middle line.
type label struct {
	at   image.Point
	text string
}

var (
	paper  = color.RGBA{0xff, 0xff, 0xff, 0xff}
	black  = color.RGBA{0x22, 0x22, 0x22, 0xff}
	green  = color.RGBA{0x2e, 0x8b, 0x57, 0xff}
	amber  = color.RGBA{0xe8, 0xa3, 0x17, 0xff}
	red    = color.RGBA{0xc0, 0x39, 0x2b, 0xff}
	legend = []struct {
		ink  color.RGBA
		text string
	}{{green, "restored"}, {amber, "escalated: the saga says what is left, and a person is asked"}, {red, "silent inconsistency"}}
)

// figure draws a bar for each fault and arm: the shares of what came of it.
func (r *results) figure() *figure {
	const left, bar, line, gap = 640, 560, 18, 10
	f := &figure{width: left + bar + 140}
	y := gap + line
	x := 20
	for _, l := range legend {
		f.boxes = append(f.boxes, box{image.Rect(x, y-6, x+12, y+6), l.ink})
		f.labels = append(f.labels, label{image.Pt(x+18, y), l.text})
		x += 18 + 8*len(l.text) + 30
	}
	y += line
	fault := ""
	for _, row := range r.all() {
		if row.Fault != fault {
			y += gap
			f.labels = append(f.labels, label{image.Pt(20, y), row.Fault})
			fault = row.Fault
		}
		f.labels = append(f.labels, label{image.Pt(left-110, y), string(row.Arm)}, label{image.Pt(left+bar+10, y), fmt.Sprintf("n = %d", row.Runs)})
		at := left
		for i, n := range []int{row.Restored, row.Escalated, row.Silent} {
			to := at + bar*n/row.Runs
			if i == 2 && n > 0 {
				to = left + bar
			}
			f.boxes = append(f.boxes, box{image.Rect(at, y-6, to, y+6), legend[i].ink})
			at = to
		}
		y += line
	}
	f.height = y + gap
	return f
}

func (f *figure) svg() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="monospace" font-size="13" role="img" aria-label="What came of every fault, by arm">`+"\n",
		f.width, f.height, f.width, f.height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="%s"/>`+"\n", hex(paper))
	for _, r := range f.boxes {
		if !r.Empty() {
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", r.Min.X, r.Min.Y, r.Dx(), r.Dy(), hex(r.ink))
		}
	}
	for _, l := range f.labels {
		fmt.Fprintf(&b, `<text x="%d" y="%d" dominant-baseline="middle" fill="%s">%s</text>`+"\n", l.at.X, l.at.Y, hex(black), html.EscapeString(l.text))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

func (f *figure) png() ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, f.width, f.height))
	draw.Draw(img, img.Bounds(), image.NewUniform(paper), image.Point{}, draw.Src)
	for _, r := range f.boxes {
		draw.Draw(img, r.Rectangle, image.NewUniform(r.ink), image.Point{}, draw.Src)
	}
	for _, l := range f.labels {
		write(img, l)
	}
	var b bytes.Buffer
	err := png.Encode(&b, img)
	return b.Bytes(), err
}

// letters are capitals, digits and a few signs of three by five dots: five rows of
// three bits each, from the top, as octal digits.
var letters = map[rune]uint32{
	'A': 0o25755, 'B': 0o65656, 'C': 0o34443, 'D': 0o65556, 'E': 0o74647, 'F': 0o74644, 'G': 0o34553, 'H': 0o55755, 'I': 0o72227,
	'J': 0o11152, 'K': 0o55655, 'L': 0o44447, 'M': 0o57755, 'N': 0o65555, 'O': 0o25552, 'P': 0o65644, 'Q': 0o25563, 'R': 0o65655,
	'S': 0o34216, 'T': 0o72222, 'U': 0o55557, 'V': 0o55552, 'W': 0o55775, 'X': 0o55255, 'Y': 0o55222, 'Z': 0o71247,
	'0': 0o75557, '1': 0o26227, '2': 0o71747, '3': 0o71317, '4': 0o55711, '5': 0o74717, '6': 0o74757, '7': 0o71122, '8': 0o75757,
	'9': 0o75717, ':': 0o02020, ',': 0o00024, '.': 0o00002, '\'': 0o22000, '=': 0o07070, '_': 0o00007, '-': 0o00700, '%': 0o51245,
}

// dot is the size of a dot of a letter, in pixels.
const dot = 2

// write writes a label in capitals.
func write(img draw.Image, l label) {
	ink, x, y := image.NewUniform(black), l.at.X, l.at.Y-5*dot/2
	for _, c := range strings.ToUpper(l.text) {
		for row := range 5 {
			for column := range 3 {
				if letters[c]>>(3*(4-row)+2-column)&1 == 1 {
					p := image.Pt(x+column*dot, y+row*dot)
					draw.Draw(img, image.Rectangle{p, p.Add(image.Pt(dot, dot))}, ink, image.Point{}, draw.Src)
				}
			}
		}
		x += 4 * dot
	}
}

// page is the whole report as one file.
func (r *results) page(f *figure) []byte {
	var b bytes.Buffer
	arms := r.Arms[full]
	fmt.Fprintf(&b, `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>What is left when work across agents breaks off</title>
<style>body{font:15px/1.5 sans-serif;max-width:85rem;margin:2rem auto;padding:0 1rem;color:#222}table{border-collapse:collapse}
td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right}td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}svg{max-width:100%%;height:auto}</style>
<h1>What is left when work across agents breaks off</h1>
<p>%d runs with sagas: %d restored, %d escalated, <strong>%d silently inconsistent</strong>, %d double effects.
Made by <code>%s</code> in %.0f s on %d processors with %s. What the words mean, and what this does not show, is in the experiment's README.</p>
`, arms.Runs, arms.Restored, arms.Escalated, arms.Silent, arms.Double, html.EscapeString(r.Command), r.Seconds, r.CPUs, html.EscapeString(r.Go))
	b.Write(f.svg())
	b.WriteString("<table><tr>")
	for _, h := range header {
		fmt.Fprintf(&b, "<th>%s</th>", html.EscapeString(h))
	}
	b.WriteString("</tr>\n")
	for _, row := range r.all() {
		b.WriteString("<tr>")
		for _, c := range row.cells() {
			fmt.Fprintf(&b, "<td>%s</td>", html.EscapeString(c))
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</table></html>\n")
	return b.Bytes()
}
