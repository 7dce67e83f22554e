// Package ijson reads JSON that means the same to everyone who reads it. It
// accepts exactly what RFC 8259 allows, less what RFC 7493 (I-JSON) takes away
// because two honest parsers could disagree about it: duplicate member names,
// text that is not UTF-8, lone surrogates.
//
// A [Reader] pulls tokens from a document that is already in memory. It makes
// one pass, copies nothing and, once warm, allocates nothing; a token is a kind
// and a span of the input:
//
//	var r ijson.Reader
//	r.Reset(data, ijson.Limits{})
//	for {
//		tok, err := r.Next()
//		if err == io.EOF {
//			break // one whole value, and nothing after it
//		}
//		if err != nil {
//			return err // an *ijson.Error: line, column, pointer, reason
//		}
//		...
//	}
//
// [AppendCanonical] rewrites a document in the form of RFC 8785 (JCS), the form
// that is hashed and signed.
//
// Unicode noncharacters such as U+FFFE are let through although RFC 7493
// discourages them: they are ordinary code points to every parser, and Unicode's
// Corrigendum 9 says that they are no reason to reject a text.
package ijson

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"io"
	"math/bits"
	"strconv"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// Kind says what a token is.
type Kind uint8

// The kinds of token. A member of an object is a Name followed by its value.
const (
	BeginObject Kind = iota + 1
	EndObject
	BeginArray
	EndArray
	Name
	String
	Number
	True
	False
	Null
)

var kindNames = [...]string{
	BeginObject: "object",
	EndObject:   "end of object",
	BeginArray:  "array",
	EndArray:    "end of array",
	Name:        "member name",
	String:      "string",
	Number:      "number",
	True:        "true",
	False:       "false",
	Null:        "null",
}

// String names the kind as a message to a person would.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "no token"
}

// A Token is one step of a document.
type Token struct {
	Kind Kind

	// Start and End are the span data[Start:End] of the token in the input.
	// For a Name or a String it is the text between the quotes.
	Start, End int

	// Escaped says that a Name or String contains a backslash, so that its
	// text has to be decoded with AppendDecoded.
	Escaped bool
}

// Limits bound what a Reader accepts.
type Limits struct {
	// Depth is the greatest number of objects and arrays open at once.
	// Zero means DefaultDepth.
	Depth int
}

// DefaultDepth is the nesting allowed where Limits does not say otherwise.
const DefaultDepth = 128

// linearNames is how many names of one object are compared one by one before
// a hash table takes over.
const linearNames = 16

// A state says what may come next.
type state uint8

const (
	wantValue     state = iota // a value must follow
	wantFirstItem              // a value or ']'
	wantFirstName              // a name or '}'
	wantMoreItems              // ',' or ']'
	wantMoreNames              // ',' or '}'
	wantEnd                    // nothing but white space
)

// A frame is one open object or array.
type frame struct {
	array bool
	index int    // array: position of the current element, -1 before the first
	names int    // length of Reader.names when it was opened
	text  int    // object: length of Reader.text when it was opened
	seen  uint64 // object that is lost: which sketches of names have occurred

	serial int // counts what was opened, from one

	// Object: its names so far, and which names are likely then. Array: the names of the object around it. Where these are not
	// known any more, or longer, the object is lost, and both are 0.
	shape, next uint16
	lost        bool
}

// A name is a member name of an open object: a span of the input, or of
// Reader.text if it had escapes.
type name struct {
	start, end int
	decoded    bool
	hash       uint64 // valid once the name is in Reader.table
}

// A Reader pulls tokens from one document. Use Reset to give it the document;
// a Reader may be used again and again and keeps its memory. It is not safe for
// concurrent use.
type Reader struct {
	data  []byte
	pos   int
	limit int
	want  state
	then  state // what follows a complete value: wantMoreItems, wantMoreNames or wantEnd
	err   error

	stack []frame
	names []name // names of all open objects, outermost first
	text  []byte // decoded text of those names that had escapes

	opened  int    // objects and arrays up to now
	deepest int    // how many of them were open at once
	closed  int    // length of names before the last of them was closed
	path    []byte // pointer of the one with serial pathOf
	pathOf  int

	// What tells a Form that the document is not what it says in canonical form: white space, the
	// first of which stands at spaceAt (negative if there is none), or escapes.
	loose   bool
	spaceAt int

	// table finds the names of objects with more than linearNames members: an
	// open-addressing table of positions in names, plus one. Objects close in
	// the reverse order of opening, so names leave it in the reverse order of
	// arrival and linear probing needs no tombstones.
	table []int
	used  int
	seed  maphash.Seed

	shapes  []shape // see shape
	orders  []uint8 // see shape.order
	shape   uint16  // of the last name
	refused bool    // there was no room for one more of them
	rested  int     // documents read since then
	grown   int     // how often they were forgotten
}

// Reset makes r read data from the start. The Reader keeps data until the next
// Reset; it never writes to it. Short member names it keeps for longer: see shape.
func (r *Reader) Reset(data []byte, lim Limits) {
	r.empty()
	r.data, r.pos, r.want, r.then, r.err = data, 0, wantValue, wantEnd, nil
	r.limit = lim.Depth
	if r.limit <= 0 {
		r.limit = DefaultDepth
	}
	r.stack, r.names, r.text = r.stack[:0], r.names[:0], r.text[:0]
	r.opened, r.deepest, r.closed, r.pathOf = 0, 0, 0, 0
	r.loose, r.spaceAt, r.shape = false, -1, 0
	if data != nil {
		r.forgetShapes()
	}
}

// maxKept is how many names a Reader remembers how to hold without allocating.
const maxKept = 1 << 16

// empty forgets all names, and the memory of an unusually large document.
func (r *Reader) empty() {
	switch {
	case cap(r.names) > maxKept:
		r.names, r.table = nil, nil
	case r.used > 0:
		clear(r.table)
	}
	r.used = 0
	if cap(r.text) > 16*maxKept {
		r.text = nil
	}
	if cap(r.path) > maxKept {
		r.path = nil
	}
}

// First reports whether the last token is, or begins, the first element of an
// array.
func (r *Reader) First() bool {
	n := len(r.stack)
	return n > 0 && r.stack[n-1].array && r.stack[n-1].index == 0
}

// Depth returns how many objects and arrays are open after the last token.
func (r *Reader) Depth() int { return len(r.stack) }

// Next returns the next token. After exactly one value, followed by nothing but
// white space, it returns io.EOF; anything else is an *Error. Errors stick.
func (r *Reader) Next() (Token, error) {
	if r.err != nil {
		return Token{}, r.err
	}
	data, i := r.data, r.pos
	if i >= len(data) || data[i] <= ' ' {
		if i = r.skip(i); i == len(data) {
			return r.atEnd(i)
		}
	}
	c := data[i]
	switch r.want {
	case wantMoreNames:
		switch c {
		case ',':
			return r.name(i + 1)
		case '}':
			return r.close(i, EndObject), nil
		}
		return r.unexpected(i, `"," or "}"`)
	case wantMoreItems:
		switch c {
		case ',':
			return r.value(i + 1)
		case ']':
			return r.close(i, EndArray), nil
		}
		return r.unexpected(i, `"," or "]"`)
	case wantFirstName:
		if c == '}' {
			return r.close(i, EndObject), nil
		}
		return r.name(i)
	case wantFirstItem:
		if c == ']' {
			return r.close(i, EndArray), nil
		}
	case wantEnd:
		return r.unexpected(i, "the end of the document")
	}
	return r.value(i)
}

// atEnd answers a request for a token where the input is over.
func (r *Reader) atEnd(i int) (Token, error) {
	if r.want == wantEnd {
		r.pos, r.err = i, io.EOF
		return Token{}, io.EOF
	}
	if i == 0 && len(r.stack) == 0 {
		return r.fail(i, "empty input, want a JSON value")
	}
	return r.fail(i, "unexpected end of input")
}

// unexpected refuses what stands at i.
func (r *Reader) unexpected(i int, want string) (Token, error) {
	return r.fail(i, "unexpected "+describe(r.data[i:])+", want "+want)
}

// value reads the value that begins at i, or behind the white space there.
func (r *Reader) value(i int) (Token, error) {
	data := r.data
	if r.then == wantMoreItems {
		r.stack[len(r.stack)-1].index++
	}
	if i >= len(data) || data[i] <= ' ' {
		if i = r.skip(i); i == len(data) {
			return r.fail(i, "unexpected end of input")
		}
	}
	switch c := data[i]; c {
	case '"':
		// Most strings end within a few words, and have nothing to look at but
		// letters: that is done here, the rest by scanString.
		text := i + 1
		for i = text; len(data)-i >= 8; i += 8 {
			w := binary.LittleEndian.Uint64(data[i:])
			m := special(w)
			if m|w&highs == 0 {
				continue
			}
			n := bits.TrailingZeros64(m) & 56
			if end := i + n>>3; m != 0 && data[end] == '"' && w&(1<<n-1)&highs == 0 {
				r.pos, r.want = end+1, r.then
				return Token{Kind: String, Start: text, End: end}, nil
			}
			break
		}
		return r.longString(text, i)
	case '{':
		return r.open(i, BeginObject)
	case '[':
		return r.open(i, BeginArray)
	case 't':
		return r.literal(i, "true", True)
	case 'f':
		return r.literal(i, "false", False)
	case 'n':
		return r.literal(i, "null", Null)
	default:
		if c != '-' && (c < '0' || c > '9') {
			return r.unexpected(i, "a value")
		}
		// Most numbers are a few digits and nothing else.
		if end := skipDigits(data, i+1); c > '0' && end < len(data) && data[end] != '.' && data[end]|0x20 != 'e' {
			r.pos, r.want = end, r.then
			return Token{Kind: Number, Start: i, End: end}, nil
		}
	}
	end, msg := scanNumber(data, i)
	if msg != "" {
		return r.fail(end, msg)
	}
	r.pos, r.want = end, r.then
	return Token{Kind: Number, Start: i, End: end}, nil
}

// longString reads the string whose text begins at start, and up to i is ASCII without escapes.
func (r *Reader) longString(start, i int) (Token, error) {
	end, escaped, msg := scanString(r.data, start, i)
	if msg != "" {
		return r.fail(end, msg)
	}
	r.pos, r.want, r.loose = end+1, r.then, r.loose || escaped
	return Token{Kind: String, Start: start, End: end, Escaped: escaped}, nil
}

func (r *Reader) literal(i int, word string, k Kind) (Token, error) {
	end := i + len(word)
	if end > len(r.data) || string(r.data[i:end]) != word {
		return r.unexpected(i, "a value (did you mean "+word+"?)")
	}
	r.pos, r.want = end, r.then
	return Token{Kind: k, Start: i, End: end}, nil
}

func (r *Reader) open(i int, k Kind) (Token, error) {
	n := len(r.stack)
	if n >= r.limit {
		return r.fail(i, "nested deeper than "+strconv.Itoa(r.limit))
	}
	r.opened++
	r.deepest = max(r.deepest, n+1)
	if n == cap(r.stack) {
		r.stack = append(r.stack, frame{})
	}
	r.stack = r.stack[:n+1]
	f, under := &r.stack[n], uint16(0)
	if n > 0 {
		under = r.stack[n-1].shape
	}
	f.array, f.index, f.names, f.text, f.seen, f.serial = k == BeginArray, -1, len(r.names), len(r.text), 0, r.opened
	f.lost, f.shape, f.next = false, 0, r.shapes[under].inner
	r.pos, r.want, r.then = i+1, wantFirstName, wantMoreNames
	if k == BeginArray {
		f.shape, f.next = under, 0
		r.want, r.then = wantFirstItem, wantMoreItems
	}
	return Token{Kind: k, Start: i, End: i + 1}, nil
}

func (r *Reader) close(i int, k Kind) Token {
	n := len(r.stack) - 1
	top := &r.stack[n]
	r.stack, r.closed = r.stack[:n], len(r.names)
	if k == EndObject {
		if len(r.names)-top.names > linearNames && r.names[top.names].hash != 0 {
			r.forget(top.names)
		}
		r.names, r.text = r.names[:top.names], r.text[:top.text]
	}
	r.then = wantEnd
	if n > 0 {
		r.then = wantMoreNames
		if r.stack[n-1].array {
			r.then = wantMoreItems
		}
	}
	r.pos, r.want = i+1, r.then
	return Token{Kind: k, Start: i, End: i + 1}
}

// name reads the member name at i, or behind the white space there, and the
// colon after it.
func (r *Reader) name(i int) (Token, error) {
	data, top := r.data, &r.stack[len(r.stack)-1]
	if i >= len(data) || data[i] <= ' ' {
		if i = r.skip(i); i == len(data) {
			return r.fail(i, "unexpected end of input")
		}
	}
	tried := 0
	if start := i + 1; top.next != 0 && len(data)-i > 8*len(shape{}.words) && data[i] == '"' {
		text := data[start : start+24]
		v, w, x := binary.LittleEndian.Uint64(text), binary.LittleEndian.Uint64(text[8:]), binary.LittleEndian.Uint64(text[16:])
		for id := top.next; id != 0; {
			s := &r.shapes[id]
			if (v^s.words[0])&s.masks[0]|(w^s.words[1])&s.masks[1]|(x^s.words[2])&s.masks[2] != 0 {
				id = s.beside
				tried++
				continue
			}
			if id != top.next {
				r.prefer(top, id)
			}
			top.shape, top.next, r.shape = id, s.next, id
			end := start + s.size
			r.note(start, end)
			r.pos, r.want = end+len(`":`), wantValue
			return Token{Kind: Name, Start: start, End: end}, nil
		}
	}
	return r.newName(i, top, tried)
}

// note adds a name to those of the innermost object.
func (r *Reader) note(start, end int) {
	n := len(r.names)
	if n == cap(r.names) {
		r.names = append(r.names, name{})
	}
	r.names = r.names[:n+1]
	r.names[n] = name{start: start, end: end}
}

// newName reads the name at i that is, with a colon behind it, none of so many that are likely.
func (r *Reader) newName(i int, top *frame, tried int) (Token, error) {
	data := r.data
	if data[i] != '"' {
		return r.unexpected(i, "a member name in double quotes")
	}
	i++
	tok, end := Token{Kind: Name, Start: i}, 0
	for ; len(data)-i >= 8; i += 8 {
		w := binary.LittleEndian.Uint64(data[i:])
		m := special(w)
		if m|w&highs == 0 {
			continue
		}
		n := bits.TrailingZeros64(m) & 56
		if m != 0 && w&(1<<n-1)&highs == 0 && data[i+n>>3] == '"' {
			end = i + n>>3
		}
		break
	}
	if end == 0 {
		var msg string
		if end, tok.Escaped, msg = scanString(data, tok.Start, i); msg != "" {
			return r.fail(end, msg)
		}
		r.loose = r.loose || tok.Escaped
	}
	tok.End = end
	r.shape = 0
	// Where no shape is known, most names are none of the few before them by their sketch alone.
	if bit := uint64(1) << sketch(data[tok.Start:end]); top.lost && top.seen&bit == 0 && !tok.Escaped && len(r.names)-top.names < linearNames {
		top.seen |= bit
		r.note(tok.Start, end)
	} else if !r.add(tok, tried == shapesBeside && end+1 < len(data) && data[end+1] == ':') {
		return r.fail(tok.Start-1, "duplicate member "+quote(r.nameText(r.names[len(r.names)-1])))
	}
	if i = end + 1; i >= len(data) || data[i] != ':' {
		if i = r.skip(i); i == len(data) {
			return r.fail(i, "unexpected end of input")
		}
		if data[i] != ':' {
			return r.unexpected(i, `":"`)
		}
	}
	r.pos, r.want = i+1, wantValue
	return tok, nil
}

// add notes a name of the innermost object and reports whether it is new there. It may be known to be lost.
func (r *Reader) add(tok Token, lost bool) bool {
	top := &r.stack[len(r.stack)-1]
	if !top.lost {
		if lost {
			r.refused = true
		} else if r.follow(top, tok) {
			r.shape = top.shape
			r.note(tok.Start, tok.End)
			return true
		}
		r.lose(top)
	}
	n := name{start: tok.Start, end: tok.End}
	if tok.Escaped {
		n.start, n.decoded = len(r.text), true
		r.text = AppendDecoded(r.text, r.data[tok.Start:tok.End])
		n.end = len(r.text)
	}
	r.names = append(r.names, n)
	text := r.nameText(n)
	if len(r.names)-top.names > linearNames {
		return r.addHashed(top.names)
	}
	bit := uint64(1) << sketch(text)
	if top.seen&bit == 0 {
		top.seen |= bit
		return true
	}
	for _, old := range r.names[top.names : len(r.names)-1] {
		if bytes.Equal(r.nameText(old), text) {
			return false
		}
	}
	return true
}

// sketch maps a name to one of 64 classes. Names of different classes differ.
func sketch(text []byte) uint {
	if len(text) == 0 {
		return 0
	}
	return (uint(len(text))*7 + uint(text[0])*5 + uint(text[len(text)-1])*3 + uint(text[len(text)/2])) & 63
}

// addHashed puts the last name into the table, and before it the earlier names
// of its object, which begins at base, if this is the one that is too many for
// comparing one by one.
func (r *Reader) addHashed(base int) bool {
	last := len(r.names) - 1
	first := last
	if r.names[base].hash == 0 {
		first = base
	}
	for i := first; i <= last; i++ {
		if 2*(r.used+1) > len(r.table) {
			r.grow(i)
		}
		// A zero hash means "not in the table".
		r.names[i].hash = maphash.Bytes(r.seed, r.nameText(r.names[i])) | 1
		if !r.insert(i, base) {
			return false
		}
	}
	return true
}

// insert puts names[i] into the table unless the same name of the object that
// begins at base is there.
func (r *Reader) insert(i, base int) bool {
	mask := len(r.table) - 1
	n := r.names[i]
	at := slot(n.hash, mask)
	for r.table[at] != 0 {
		old := r.table[at] - 1
		if old >= base && r.names[old].hash == n.hash && bytes.Equal(r.nameText(r.names[old]), r.nameText(n)) {
			return false
		}
		at = (at + 1) & mask
	}
	r.table[at] = i + 1
	r.used++
	return true
}

// forget takes the names from base on out of the table, last one first.
func (r *Reader) forget(base int) {
	mask := len(r.table) - 1
	for i := len(r.names) - 1; i >= base; i-- {
		at := slot(r.names[i].hash, mask)
		for r.table[at] != i+1 {
			at = (at + 1) & mask
		}
		r.table[at] = 0
		r.used--
	}
}

// grow doubles the table. The names below n that are in it go into the new one
// in the order in which they came.
func (r *Reader) grow(n int) {
	if r.table == nil {
		r.seed = maphash.MakeSeed()
	}
	r.table = make([]int, max(256, 2*len(r.table)))
	mask := len(r.table) - 1
	for i, old := range r.names[:n] {
		if old.hash == 0 {
			continue
		}
		at := slot(old.hash, mask)
		for r.table[at] != 0 {
			at = (at + 1) & mask
		}
		r.table[at] = i + 1
	}
}

func slot(hash uint64, mask int) int { return int(hash>>1) & mask }

func (r *Reader) nameText(n name) []byte {
	if n.decoded {
		return r.text[n.start:n.end]
	}
	return r.data[n.start:n.end]
}

// skip is skipSpace, and notes where white space stands.
func (r *Reader) skip(i int) int {
	if r.spaceAt < 0 {
		r.spaceAt, r.loose = i, true
	}
	return skipSpace(r.data, i)
}

// skipSpace returns the position of the first byte from i on that is not JSON
// white space.
func skipSpace(data []byte, i int) int {
	for i < len(data) && data[i] <= ' ' {
		switch data[i] {
		case ' ', '\n', '\t', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special flags the bytes of a word that are '"', '\\' or controls. A borrow can
// raise a false flag only above a true one: the lowest flag is the one that
// counts. Bytes from 0x80 on are never flagged.
func special(w uint64) uint64 {
	q, b := w^('"'*ones), w^('\\'*ones)
	return ((q - ones) | (b - ones) | (w - ' '*ones)) &^ w & highs
}

// scanString finds the end of a string whose text begins at start, and up to i is
// ASCII without escapes. It returns the position of the closing quote and whether
// the text has escapes; or the position of the fault and what is wrong.
func scanString(data []byte, start, i int) (end int, escaped bool, msg string) {
	high := uint64(0) // has bit 7 of a byte set once a byte >= 0x80 was seen
	for {
		for i+8 <= len(data) {
			w := binary.LittleEndian.Uint64(data[i:])
			if m := special(w); m != 0 {
				n := bits.TrailingZeros64(m) &^ 7
				high |= w & (1<<n - 1)
				i += n / 8
				break
			}
			high |= w
			i += 8
		}
		for i < len(data) && data[i] != '"' && data[i] != '\\' && data[i] >= ' ' {
			high |= uint64(data[i])
			i++
		}
		if i == len(data) {
			return i, false, "unexpected end of input in a string"
		}
		switch data[i] {
		case '"':
			if high&highs != 0 && !utf8.Valid(data[start:i]) {
				return start + firstInvalid(data[start:i]), false, "invalid UTF-8"
			}
			return i, escaped, ""
		case '\\':
			escaped = true
			var n int
			if n, msg = scanEscape(data[i:]); msg != "" {
				return i, false, msg
			}
			i += n
		default:
			return i, false, "control character " + describe(data[i:]) + " in a string, write it as an escape"
		}
	}
}

func firstInvalid(b []byte) int {
	for i := 0; i < len(b); {
		c, n := utf8.DecodeRune(b[i:])
		if c == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// scanEscape returns the length of the escape at the start of b, six for \u0041
// and twelve for a surrogate pair, or what is wrong with it.
func scanEscape(b []byte) (n int, msg string) {
	if len(b) < 2 {
		return 0, "unexpected end of input in a string"
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, ""
	case 'u':
	default:
		return 0, "unknown escape, backslash and " + describe(b[1:])
	}
	u, ok := hex4(b[2:])
	switch {
	case !ok:
		return 0, `\u needs four hexadecimal digits`
	case u < 0xD800 || u > 0xDFFF:
		return 6, ""
	}
	if u < 0xDC00 && len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if low, ok := hex4(b[8:]); ok && low >= 0xDC00 && low <= 0xDFFF {
			return 12, ""
		}
	}
	return 0, "half of a surrogate pair without the other half"
}

// hex4 reads four hexadecimal digits at the start of b.
func hex4(b []byte) (v rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | rune(c)
	}
	return v, true
}

// scanNumber finds the end of the number at i, or the fault in it.
func scanNumber(data []byte, i int) (end int, msg string) {
	if data[i] == '-' {
		i++
	}
	switch {
	case i == len(data) || !digit(data[i]):
		return i, "a digit must follow the minus sign"
	case data[i] == '0':
		i++
		if i < len(data) && digit(data[i]) {
			return i, "a number must not begin with 0"
		}
	default:
		i = skipDigits(data, i)
	}
	if i < len(data) && data[i] == '.' {
		if i++; i == len(data) || !digit(data[i]) {
			return i, "a digit must follow the decimal point"
		}
		i = skipDigits(data, i)
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		if i++; i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		if i == len(data) || !digit(data[i]) {
			return i, "a digit must follow the exponent sign"
		}
		i = skipDigits(data, i)
	}
	return i, ""
}

func digit(c byte) bool { return c-'0' <= 9 }

func skipDigits(data []byte, i int) int {
	for i < len(data) && digit(data[i]) {
		i++
	}
	return i
}

// AppendDecoded appends the text of a Name or String token, whose escapes Next
// has already checked, as UTF-8.
func AppendDecoded(dst, raw []byte) []byte {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 || i+1 == len(raw) {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		c, n := raw[i+1], 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			var v rune
			v, n = decodeU(raw[i:])
			dst = utf8.AppendRune(dst, v)
			raw = raw[i+n:]
			continue
		}
		dst = append(dst, c)
		raw = raw[i+n:]
	}
}

// decodeU reads the \u escape, or the pair of them, at the start of b.
func decodeU(b []byte) (v rune, n int) {
	v, ok := hex4(b[2:])
	if !ok {
		return utf8.RuneError, 2
	}
	if v < 0xD800 || v > 0xDFFF {
		return v, 6
	}
	if len(b) >= 12 {
		if low, ok := hex4(b[8:]); ok {
			return utf16.DecodeRune(v, low), 12
		}
	}
	return utf8.RuneError, 6
}

// Check reports whether data is one whole valid document: nil, or an *Error.
func Check(data []byte, lim Limits) error {
	r := readers.Get().(*Reader)
	defer putReader(r)
	r.Reset(data, lim)
	for {
		if _, err := r.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

var readers = sync.Pool{New: func() any { return new(Reader) }}

// putReader returns a Reader to the pool without the document it read.
func putReader(r *Reader) {
	r.Reset(nil, Limits{})
	readers.Put(r)
}
