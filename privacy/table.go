package privacy

import "bytes"

// Bounds of the tables that are known as such: columns, how long their names are, and
// the row with them.
const (
	maxColumns = 64
	maxColumn  = 48
	maxHeading = 4 << 10
)

// A table is what is known of the lines around a place: lines that have the same
// number of the same separator are rows, the first of them names the columns. The
// cells below stand under these names as the values of JSON stand under theirs. It is
// read from the beginning to the end, once for each pass over a text.
type table struct {
	text  []byte // before folding; empty if there is only one line
	prior []byte // the names of the columns that the text goes on with

	start, end int    // of the current line
	sep        byte   // of the rows that it belongs to, 0 for none
	seps       int    // how many of them a row has
	heading    bool   // the line is the first of the rows
	first      []byte // that is this one
	named      bool   // told is known
	told       []topics
	any        bool // one of them tells something

	// How far the line was read, the cell there and where that begins.
	read, column, from int
	quoted             bool
}

// reset begins with another text. Most have one line.
func (t *table) reset(text []byte) {
	t.text, t.first = nil, nil
	if bytes.IndexByte(text, '\n') >= 0 {
		t.text = text
		t.begin()
	}
}

// begin goes back to before the first line.
func (t *table) begin() {
	t.start, t.end, t.sep = 0, -1, 0
	if len(t.prior) > 0 {
		t.next(t.prior)
	}
}

// separators are what columns are parted by, the surest first.
var separators = [...]byte{'\t', '|', ';', ','}

// seek makes the line that holds text[at] the current one.
func (t *table) seek(at int) {
	if at < t.start {
		t.begin()
	}
	for at > t.end {
		t.start = t.end + 1
		n := bytes.IndexByte(t.text[t.start:], '\n')
		if n < 0 {
			n = len(t.text) - t.start
		}
		t.end = t.start + n
		t.read, t.column, t.from, t.quoted = t.start, 0, t.start, false
		t.next(t.text[t.start:t.end])
	}
}

// next takes the next line.
func (t *table) next(line []byte) {
	if t.sep != 0 && cells(line, t.sep) == t.seps {
		t.heading = false
		return
	}
	t.sep, t.named, t.any = 0, false, false
	if len(line) > maxHeading {
		return
	}
	for _, sep := range separators {
		if n := bytes.Count(line, []byte{sep}); n > 0 {
			t.sep, t.seps, t.heading, t.first = sep, cells(line, sep), true, line
			return
		}
	}
}

// cells counts the separators of a row that do not stand in quotes.
func cells(line []byte, sep byte) int {
	if bytes.IndexByte(line, '"') < 0 {
		return bytes.Count(line, []byte{sep})
	}
	n, quoted := 0, false
	for _, c := range line {
		if c == '"' {
			quoted = !quoted
		} else if c == sep && !quoted {
			n++
		}
	}
	return n
}

// cell returns what the name of the column tells that text[at] stands in, and where the cell
// begins and ends, without spaces and quotes. It tells nothing in the first
// row, nor if that is not made of names.
func (t *table) cell(f *finder, at int) (told topics, from, to int) {
	if t.seek(at); t.sep == 0 || t.heading {
		return topics{}, 0, 0
	}
	if !t.named {
		t.named, t.any = true, t.names(f)
	}
	if !t.any {
		return topics{}, 0, 0
	}
	if at < t.read {
		t.read, t.column, t.from, t.quoted = t.start, 0, t.start, false
	}
	for ; t.read < at; t.read++ {
		switch c := t.text[t.read]; {
		case c == '"':
			t.quoted = !t.quoted
		case c == t.sep && !t.quoted:
			t.column, t.from = t.column+1, t.read+1
		}
	}
	from = t.from
	if t.column >= len(t.told) || t.told[t.column].none() || at-from > maxValue {
		return topics{}, 0, 0
	}
	quoted := t.quoted
	for to = at; to < t.end && (t.text[to] != t.sep || quoted) && to-from < maxValue; to++ {
		if t.text[to] == '"' {
			quoted = !quoted
		}
	}
	for from < at && aroundCell[t.text[from]] {
		from++
	}
	for to > at && aroundCell[t.text[to-1]] {
		to--
	}
	return t.told[t.column], from, to
}

// aroundCell is what may stand around the value of a cell.
var aroundCell = bytesOf(" \"'`*\r\t")

// names reads the names of the columns, and reports whether one of them tells
// something. What has other characters than names have is no row of names, nor is one
// cell: arguments stand in lines that end in a comma.
func (t *table) names(f *finder) (any bool) {
	t.told = t.told[:0]
	row, names := t.first, 0
	for len(row) > 0 && len(t.told) < maxColumns {
		name := row
		if end := bytes.IndexByte(row, t.sep); end >= 0 {
			name, row = row[:end], row[end+1:]
		} else {
			row = nil
		}
		name = bytes.TrimFunc(name, func(r rune) bool { return r < 0x80 && aroundCell[r] })
		if len(name) > maxColumn || bytes.ContainsAny(name, "()[]{}<>=!?:\\@") || len(name) > 0 && isDigit(name[0]) {
			return false
		}
		if len(name) > 0 {
			names++
		}
		told := f.topicsOf(name)
		t.told = append(t.told, told)
		any = any || !told.none()
	}
	return any && names > 1
}

// place returns where text[i] stands before folding.
func (f *finder) place(i int) int {
	if len(f.at) == 0 {
		return i
	}
	return int(f.at[i])
}

// beforeRow reports whether text[i] stands before the row of a table that text[at] is in.
func (f *finder) beforeRow(i, at int) bool {
	t := &f.table
	if len(t.text) == 0 {
		return false
	}
	t.seek(f.place(at))
	return t.sep != 0 && !t.heading && f.place(i) <= t.start
}

// column returns what the name of the column tells whose cell text[i] begins.
func (f *finder) column(i int) topics {
	if len(f.table.text) == 0 {
		return topics{}
	}
	at := f.place(i)
	told, from, _ := f.table.cell(f, at)
	if told.none() || at > from+1 || at == from+1 && f.table.text[from] != '(' && f.table.text[from] != '#' {
		return topics{}
	}
	return told
}

// inColumn looks at the cell that text[i] stands in, if the name of its column tells
// that it is secret. It returns where to go on.
func (f *finder) inColumn(i int) int {
	told, from, to := f.table.cell(f, f.place(i))
	for _, d := range []*detector{&passwords, &secrets} {
		if !told.has(d) {
			continue
		}
		start, end := i, i
		for start > 0 && f.place(start-1) >= from {
			start--
		}
		for end < len(f.text) && f.place(end) < to {
			end++
		}
		if conf := secrecy(d, f.text[start:end], true); conf >= f.least && bytes.IndexByte(f.text[start:end], ' ') < 0 {
			return f.hit(d, start, end, conf)
		}
	}
	return i
}
