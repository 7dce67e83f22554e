package privacy

import (
	"bytes"
	"sort"
)

// An eventReader treats server-sent events (the text/event-stream of HTML), one
// at a time.
type eventReader struct {
	buf    []byte
	begun  int  // where the line begins that is not over
	looked int  // it does not end before buf[looked]
	passed int  // bytes of the stream before buf
	cr     bool // the last of them is a CR; an LF that follows it ends the same line
}

func (e *eventReader) read(r *Redactor, p []byte, last bool) error {
	if e.cr && len(p) > 0 {
		if e.cr = false; p[0] == '\n' {
			r.out, p = append(r.out, '\n'), p[1:]
			e.passed++
		}
	}
	e.buf = append(e.buf, p...)
	done := 0
	for {
		n := e.endOfEvent(r, done, last)
		if n == 0 {
			break
		}
		e.event(r, e.buf[done:done+n])
		e.passed += n
		done += n
	}
	if done > 0 {
		e.buf = append(e.buf[:0], e.buf[done:]...)
		e.begun, e.looked = e.begun-done, e.looked-done
	}
	switch {
	case len(e.buf) > maxEvent:
		return ErrEventTooLarge
	case len(e.buf) == 0 && cap(e.buf) > maxRetains:
		e.buf = nil
	}
	return nil
}

// endOfEvent returns the length of the event at buf[from], with the empty line
// behind it, or 0. Lines end with LF, CR LF or CR. An event does not wait for the
// LF that may follow the CR at its end: that would be until the next event comes.
func (e *eventReader) endOfEvent(r *Redactor, from int, last bool) int {
	for e.begun < len(e.buf) {
		end, next := lineEnd(e.buf, e.looked)
		r.searched += next - e.looked
		cr := next == len(e.buf) && next > end && e.buf[next-1] == '\r'
		empty := end == e.begun
		if next == end || cr && !empty && !last { // LF may follow
			e.looked = end
			break
		}
		e.begun, e.looked = next, next
		if empty {
			e.cr = cr
			return next - from
		}
	}
	if last {
		e.begun, e.looked = len(e.buf), len(e.buf)
		return len(e.buf) - from
	}
	return 0
}

// lineEnd returns where the line at b[i] ends, and where the next begins: the
// same if this is not over.
func lineEnd(b []byte, i int) (end, next int) {
	n := bytes.IndexAny(b[i:], "\r\n")
	if n < 0 {
		return len(b), len(b)
	}
	end = i + n
	if next = end + 1; b[end] == '\r' && next < len(b) && b[next] == '\n' {
		next++
	}
	return end, next
}

// A dataLine is one line of the data of an event.
type dataLine struct {
	at     int // where its text begins in the data
	from   int // and in the event
	prefix []byte
	ending []byte
}

// event treats one event.
func (e *eventReader) event(r *Redactor, raw []byte) {
	var data []byte
	var lines []dataLine
	for i := 0; i < len(raw); {
		end, next := lineEnd(raw, i)
		if v, ok := dataOf(raw[i:end]); ok {
			if len(lines) > 0 {
				data = append(data, '\n')
			}
			lines = append(lines, dataLine{len(data), end - len(v), raw[i : end-len(v)], raw[end:next]})
			data = append(data, v...)
		}
		i = next
	}
	clean := e.data(r, data, lines)
	first := true
	for i := 0; i < len(raw); {
		end, next := lineEnd(raw, i)
		switch _, ok := dataOf(raw[i:end]); {
		case !ok:
			r.out = append(append(r.out, e.line(r, raw[i:end], i)...), raw[end:next]...)
		case clean == nil:
			r.out = append(r.out, raw[i:next]...)
		case first:
			first = false
			for k, line := range bytes.Split(clean, []byte("\n")) {
				l := lines[min(k, len(lines)-1)]
				r.out = append(r.out, l.prefix...)
				if len(line) > 0 && !bytes.HasPrefix(l.prefix, []byte("data:")) { // the line was empty
					r.out = append(r.out, ": "...)
				}
				r.out = append(append(r.out, line...), l.ending...)
			}
		}
		i = next
	}
}

// dataOf returns the value of a line that is a data field.
func dataOf(line []byte) ([]byte, bool) {
	v, ok := bytes.CutPrefix(line, []byte("data"))
	if !ok || len(v) > 0 && v[0] != ':' {
		return nil, false
	}
	v = bytes.TrimPrefix(v, []byte(":"))
	return bytes.TrimPrefix(v, []byte(" ")), true
}

// data returns the data of an event without what must go, or nil.
func (e *eventReader) data(r *Redactor, data []byte, lines []dataLine) []byte {
	report := r.scanner.Scan(data)
	at := func(i int) int {
		k := sort.Search(len(lines), func(k int) bool { return lines[k].at > i }) - 1
		return e.passed + lines[k].from + i - lines[k].at
	}
	for _, f := range report.Findings {
		start, end := at(f.Start), at(f.End)
		f.Start, f.End = start, end
		r.found(f, 0)
	}
	for _, o := range report.Opaque {
		o.Start, o.End = at(o.Start), at(o.End)
		r.veiled(o, 0)
	}
	if len(report.Findings) == 0 {
		return nil
	}
	return AppendRedactedBy(nil, data, report, r.act)
}

// line returns another line of an event without what must go.
func (e *eventReader) line(r *Redactor, line []byte, offset int) []byte {
	report := r.scanner.ScanText(line)
	for _, f := range report.Findings {
		r.found(f, e.passed+offset)
	}
	for _, o := range report.Opaque {
		r.veiled(o, e.passed+offset)
	}
	if len(report.Findings) == 0 {
		return line
	}
	return AppendRedactedBy(nil, line, report, r.act)
}
