package ijson

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"
)

// AppendCanonical appends data in the canonical form of RFC 8785 (JCS): no white
// space, members in the order of their names' UTF-16 code units, numbers as
// ECMAScript writes them, strings with the fewest escapes.
//
// The error is an *Error for a document that Check would refuse, or for a number
// that no IEEE 754 double can hold. Numbers beyond 2^53 lose digits here, as RFC
// 8785 wants: refuse them first where that matters.
//
// dst and data must not overlap. It allocates nothing once dst has room.
func AppendCanonical(dst, data []byte, lim Limits) ([]byte, error) {
	return AppendCanonicalWithin(dst, data, lim, math.MaxInt)
}

// ErrTooLong is returned by AppendCanonicalWithin.
var ErrTooLong = errors.New("the canonical form is longer than allowed")

// AppendCanonicalWithin is AppendCanonical for a form of at most so many bytes. It
// stops with ErrTooLong where more would come, and reads no further: a longer document may
// be invalid after that.
func AppendCanonicalWithin(dst, data []byte, lim Limits, most int) ([]byte, error) {
	c := newCanonicalizer(dst, data, most)
	defer c.release()
	c.r.Reset(data, lim)
	out, err := c.append(dst)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// A Form is the canonical form of a document that somebody else reads with a Reader: it is
// given each token, and is good once the document has turned out to be valid.
type Form struct {
	c     *canonicalizer
	dst   []byte
	start int
}

// NewForm begins to append the form of data to dst. It has at most so many bytes, and is at
// most so deep.
func NewForm(dst, data []byte, most, depth int) Form {
	c := newCanonicalizer(dst, data, most)
	c.depth = depth
	return Form{c, dst, len(dst)}
}

// Wanted reports whether there is, or may be, a form. If not, Add does nothing.
func (f *Form) Wanted() bool { return f.c != nil }

// Add takes the next token. Once there is no form, it does nothing.
func (f *Form) Add(tok Token) {
	if f.c == nil {
		return
	}
	var err error
	if f.dst, err = f.c.add(f.dst, tok); err != nil {
		f.give()
	}
}

// End returns dst with the form, or dst as it was and false if there is none: it would be
// too long or too deep, or has a number that no double can hold, or the document has ended early.
func (f *Form) End() (dst []byte, ok bool) {
	ok = f.c != nil && len(f.c.objects) == 0 && len(f.dst) > f.start && len(f.dst) <= f.c.most
	f.give()
	if !ok {
		return f.dst[:f.start], false
	}
	return f.dst, true
}

func (f *Form) give() {
	if f.c != nil {
		f.c.release()
		f.c = nil
	}
}

func newCanonicalizer(dst, data []byte, most int) *canonicalizer {
	c := canonicalizers.Get().(*canonicalizer)
	c.data, c.most, c.depth = data, most, math.MaxInt
	if most < math.MaxInt-len(dst) {
		c.most += len(dst)
	}
	return c
}

// release forgets the document and returns c to the pool, unless an unusually
// large document has made it unusually large.
func (c *canonicalizer) release() {
	if cap(c.members) > maxKept || cap(c.text)+cap(c.scratch) > 16*maxKept {
		return
	}
	c.r.Reset(nil, Limits{})
	c.data = nil
	c.objects, c.members, c.text = c.objects[:0], c.members[:0], c.text[:0]
	canonicalizers.Put(c)
}

var canonicalizers = sync.Pool{New: func() any { return new(canonicalizer) }}

// A canonicalizer writes each object's members as they come and puts them in
// order when the object ends.
type canonicalizer struct {
	r       Reader // where nobody else reads
	data    []byte
	most    int // length of the output
	depth   int // how many objects and arrays may be open
	objects []openObject
	members []member  // of all open objects
	keys    []sortKey // of the object being put in order
	text    []byte    // decoded names that had escapes
	scratch []byte
}

// An openObject is an open object or array of the output.
type openObject struct {
	array   bool
	sorted  bool // members came in order so far
	members int  // length of canonicalizer.members when it was opened
	text    int  // length of canonicalizer.text when it was opened
}

// A member is the span of `"name":value` in the output, and that of the name in
// the input, or in canonicalizer.text if it had escapes.
type member struct {
	start, end         int
	nameStart, nameEnd int
	decoded            bool
}

// A sortKey orders a member by the first eight bytes of its name, which is nearly
// always enough, and costs less to move about than the member.
type sortKey struct {
	prefix uint64
	member int
}

func (c *canonicalizer) nameOf(m member) []byte {
	if m.decoded {
		return c.text[m.nameStart:m.nameEnd]
	}
	return c.data[m.nameStart:m.nameEnd]
}

func (c *canonicalizer) append(dst []byte) ([]byte, error) {
	for {
		tok, err := c.r.Next()
		if err == io.EOF {
			if len(dst) > c.most {
				return dst, ErrTooLong
			}
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
		if dst, err = c.add(dst, tok); err == (rangeError{}) {
			return dst, c.r.Locate(tok.Start, err.Error())
		} else if err != nil {
			return dst, err
		}
	}
}

// add writes a token.
func (c *canonicalizer) add(dst []byte, tok Token) ([]byte, error) {
	if tok.Kind != EndObject && tok.Kind != EndArray {
		dst = c.separate(dst)
	}
	if c.exceeds(dst, tok) {
		return dst, ErrTooLong
	}
	raw := c.data[tok.Start:tok.End]
	switch tok.Kind {
	case BeginObject, BeginArray:
		if len(c.objects) >= c.depth {
			return dst, ErrTooLong // in the other direction
		}
		c.objects = append(c.objects, openObject{
			array: tok.Kind == BeginArray, sorted: true, members: len(c.members), text: len(c.text)})
		return append(dst, raw...), nil
	case EndArray:
		c.objects = c.objects[:len(c.objects)-1]
		return append(dst, ']'), nil
	case EndObject:
		return append(c.order(dst), '}'), nil
	case Name:
		return c.name(dst, tok), nil
	case String:
		if tok.Escaped {
			c.scratch = AppendDecoded(c.scratch[:0], raw)
			return AppendString(dst, c.scratch), nil
		}
		return append(append(append(dst, '"'), raw...), '"'), nil
	case Number:
		return appendNumber(dst, raw)
	}
	return append(dst, raw...), nil
}

// exceeds reports whether the output is too long, or will be with a token: a string without
// escapes stands there as it is, and one with escapes shrinks to a sixth at most.
// What is written stays as long as it is when members are put in order.
func (c *canonicalizer) exceeds(dst []byte, tok Token) bool {
	size := 0
	if tok.Kind == String || tok.Kind == Name {
		if size = tok.End - tok.Start; tok.Escaped {
			size /= 6
		}
	}
	return len(dst) > c.most-size
}

// separate writes the comma due before the next element of an array. Those
// between members are written once the members are in order.
func (c *canonicalizer) separate(dst []byte) []byte {
	if len(c.objects) == 0 || !c.objects[len(c.objects)-1].array || dst[len(dst)-1] == '[' {
		return dst
	}
	return append(dst, ',')
}

// name writes `"name":` and notes where the member begins.
func (c *canonicalizer) name(dst []byte, tok Token) []byte {
	m := member{nameStart: tok.Start, nameEnd: tok.End, decoded: tok.Escaped}
	if tok.Escaped {
		m.nameStart = len(c.text)
		c.text = AppendDecoded(c.text, c.data[tok.Start:tok.End])
		m.nameEnd = len(c.text)
	}
	o := &c.objects[len(c.objects)-1]
	if n := len(c.members); n > o.members {
		last := &c.members[n-1]
		last.end = len(dst)
		dst = append(dst, ',')
		if compareUTF16(c.nameOf(*last), c.nameOf(m)) > 0 {
			o.sorted = false
		}
	}
	m.start = len(dst)
	c.members = append(c.members, m)
	if tok.Escaped {
		return append(AppendString(dst, c.nameOf(m)), ':')
	}
	return append(append(append(dst, '"'), c.nameOf(m)...), '"', ':')
}

// order ends the innermost object: it puts the members written since its brace
// in canonical order.
func (c *canonicalizer) order(dst []byte) []byte {
	o := c.objects[len(c.objects)-1]
	c.objects = c.objects[:len(c.objects)-1]
	members := c.members[o.members:]
	if len(members) > 0 {
		members[len(members)-1].end = len(dst)
	}
	if !o.sorted {
		dst = c.rewrite(dst, members)
	}
	c.members, c.text = c.members[:o.members], c.text[:o.text]
	return dst
}

// rewrite replaces the members at the end of dst by the same ones in order.
func (c *canonicalizer) rewrite(dst []byte, members []member) []byte {
	begin := members[0].start
	c.scratch = append(c.scratch[:0], dst[begin:]...)
	c.keys = c.keys[:0]
	for i, m := range members {
		c.keys = append(c.keys, sortKey{prefix(c.nameOf(m)), i})
	}
	slices.SortFunc(c.keys, func(a, b sortKey) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return compareUTF16(c.nameOf(members[a.member]), c.nameOf(members[b.member]))
	})
	dst = dst[:begin]
	for i, key := range c.keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		m := members[key.member]
		dst = append(dst, c.scratch[m.start-begin:m.end-begin]...)
	}
	return dst
}

// prefix returns a number that orders names by their first eight bytes.
func prefix(name []byte) uint64 {
	var p [8]byte
	if copy(p[:], name); binary.LittleEndian.Uint64(p[:])&highs != 0 {
		for i, b := range p {
			p[i] = utf16Order(b)
		}
	}
	return binary.BigEndian.Uint64(p[:])
}

// utf16Order maps the bytes of UTF-8 to ones whose order is that of the UTF-16
// code units they stand for. The two differ in one thing: UTF-16 writes characters
// from U+10000 on, whose first byte is 0xF0 or more, with surrogates, and these
// come before U+E000 to U+FFFF, whose first byte is 0xEE or 0xEF.
func utf16Order(b byte) byte {
	if b == 0xEE || b == 0xEF {
		return b + 0x10
	}
	return b
}

// compareUTF16 compares two valid UTF-8 texts by their UTF-16 code units.
func compareUTF16(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return int(utf16Order(a[i])) - int(utf16Order(b[i]))
		}
	}
	return len(a) - len(b)
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string in RFC 8785 form. Bytes that are not
// UTF-8 become U+FFFD, so that the result is always valid.
func AppendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			// Four bytes are enough to decode one rune.
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[from:i]...), "\ufffd"...)
				from = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[from:i]...)
		dst = appendEscape(dst, c)
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

type rangeError struct{}

func (rangeError) Error() string { return "number is too large for a double" }

// appendNumber appends the number raw as ECMAScript's Number::toString writes it.
func appendNumber(dst, raw []byte) ([]byte, error) {
	if plainInteger(raw) {
		return append(dst, raw...), nil
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsInf(f, 0) {
		return dst, rangeError{}
	}
	if f == 0 {
		return append(dst, '0'), nil // also for -0
	}
	if size := math.Abs(f); size >= 1e-6 && size < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// Go writes e-07 where ECMAScript writes e-7.
	if n := len(dst); bytes.HasSuffix(dst[:n-1], []byte("e-0")) || bytes.HasSuffix(dst[:n-1], []byte("e+0")) {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst, nil
}

// plainInteger reports whether raw is an integer short enough to be exact in a
// double, and so already in canonical form.
func plainInteger(raw []byte) bool {
	digits := raw
	if raw[0] == '-' {
		digits = raw[1:]
		if digits[0] == '0' {
			return false
		}
	}
	return len(digits) <= 15 && skipDigits(digits, 0) == len(digits)
}
