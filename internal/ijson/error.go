package ijson

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// An Error says what is wrong with a document and where.
type Error struct {
	// Offset is the position of the fault in the input, in bytes from 0.
	Offset int

	// Line and Column count from 1, the column in characters.
	Line, Column int

	// Pointer is the RFC 6901 pointer of the value or member being read, or,
	// where that would be longer than 256 bytes, of the nearest value around it
	// that is not. It is the sender's text: escape it before showing it.
	Pointer string

	// Msg is the fault. It quotes at most a few escaped characters of the input.
	Msg string
}

// Error returns a line like `line 3, column 7, at /a/b: duplicate member "x"`.
// It holds no control or invisible characters.
func (e *Error) Error() string {
	at := ""
	if e.Pointer != "" {
		q := strconv.Quote(e.Pointer)
		at = ", at " + q[1:len(q)-1]
	}
	return fmt.Sprintf("line %d, column %d%s: %s", e.Line, e.Column, at, e.Msg)
}

const maxPointer = 256

// Locate returns an *Error with the given message about the byte at offset of
// the document that r reads, at the place of the last token.
func (r *Reader) Locate(offset int, msg string) *Error {
	line, column := Position(r.data, offset)
	return &Error{Offset: offset, Line: line, Column: column, Pointer: r.pointer(maxPointer), Msg: msg}
}

func (r *Reader) fail(offset int, msg string) (Token, error) {
	r.pos, r.err = offset, r.Locate(offset, msg)
	return Token{}, r.err
}

// Position returns the line and the column of the byte at offset, both counted
// from 1 and the column in characters.
func Position(data []byte, offset int) (line, column int) {
	before := data[:min(offset, len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1
}

// Pointer returns the RFC 6901 JSON Pointer of the last token: of the member for
// a Name, of the container for its begin and end. It builds the string anew.
func (r *Reader) Pointer() string { return r.pointer(-1) }

// AppendPointer appends the pointer of the last token to dst.
func (r *Reader) AppendPointer(dst []byte) []byte {
	last := len(r.stack) - 1
	if last < 1 {
		return r.appendPointer(dst, -1)
	}
	// Pointers are asked for one after another, of the members of one object:
	// what leads to it is remembered.
	if serial := r.stack[last].serial; r.pathOf != serial {
		r.path, r.pathOf = r.path[:0], serial
		for i := range last {
			r.path, _ = r.appendStep(r.path, i)
		}
	}
	dst, _ = r.appendStep(append(dst, r.path...), last)
	return dst
}

// Step returns what tells step i of the pointer of the last token from all others
// of the document, with 0 <= i < Depth: the object or array that it is taken in,
// counted from one, and the place of the member, from one, or element, from zero. The
// place is negative if there is none yet.
func (r *Reader) Step(i int) (container, ordinal int, isArray bool) {
	f := &r.stack[i]
	if f.array {
		return f.serial, f.index, true
	}
	end := len(r.names)
	if i+1 < len(r.stack) {
		end = r.stack[i+1].names
	}
	if end == f.names {
		return f.serial, -1, false
	}
	return f.serial, end - f.names, false
}

// Name returns the text of the name of a member of the open object at step i. It is
// good until the next call of Next.
func (r *Reader) Name(i, ordinal int) []byte { return r.nameText(r.names[r.stack[i].names+ordinal-1]) }

// pointer stops before the first step that would make the pointer longer than
// limit bytes. A negative limit is none.
func (r *Reader) pointer(limit int) string { return string(r.appendPointer(nil, limit)) }

func (r *Reader) appendPointer(dst []byte, limit int) []byte {
	begin := len(dst)
	for i := range r.stack {
		start, more := len(dst), false
		if dst, more = r.appendStep(dst, i); !more || limit >= 0 && len(dst)-begin > limit {
			return dst[:start]
		}
	}
	return dst
}

// appendStep appends the step from r.stack[i] to what is read in it, and reports
// whether anything is.
func (r *Reader) appendStep(dst []byte, i int) ([]byte, bool) {
	f := &r.stack[i]
	if f.array {
		if f.index < 0 {
			return dst, false
		}
		return strconv.AppendInt(append(dst, '/'), int64(f.index), 10), true
	}
	end := len(r.names)
	if i+1 < len(r.stack) {
		end = r.stack[i+1].names
	}
	if end == f.names {
		return dst, false
	}
	return AppendStep(append(dst, '/'), r.nameText(r.names[end-1])), true
}

// AppendStep appends a name as a step of a pointer (RFC 6901): "~" is ~0 and "/" is ~1.
func AppendStep(dst, name []byte) []byte {
	plain := 0
	for plain < len(name) && name[plain] != '~' && name[plain] != '/' {
		plain++
	}
	dst = append(dst, name[:plain]...)
	for _, c := range name[plain:] {
		switch c {
		case '~':
			dst = append(dst, "~0"...)
		case '/':
			dst = append(dst, "~1"...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// describe names the first character of b for a message.
func describe(b []byte) string {
	c, n := utf8.DecodeRune(b)
	switch {
	case n == 0:
		return "end of input"
	case c == utf8.RuneError && n == 1:
		return fmt.Sprintf("byte 0x%02x", b[0])
	case c == 0xFEFF:
		return "byte order mark (save the file as UTF-8 without one)"
	}
	return strconv.QuoteRuneToASCII(c)
}

// quote shows text that a remote party wrote: short, and with everything
// invisible escaped.
func quote(text []byte) string {
	const most = 40
	if len(text) <= most {
		return strconv.Quote(string(text))
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strconv.Quote(string(text[:cut])) + "…"
}
