package ijson

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/bits"
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
	if err := c.read(); err != nil {
		return dst, err
	}
	return c.dst, nil
}

// A Form is the canonical form of a document that somebody else reads: it is given those tokens of
// his Reader that it needs, and is good once the document has turned out to be valid.
type Form struct {
	c   *canonicalizer
	r   *Reader
	dst []byte // as it was given
}

// NewForm begins to append the form of data, which r will read, to dst. It has at most so many bytes, and is at
// most so deep.
func NewForm(dst, data []byte, most, depth int, r *Reader) Form {
	c := newCanonicalizer(dst, data, most)
	c.depth = depth
	return Form{c, r, dst}
}

// Wanted reports whether somebody wants a form: f is not its zero value, and has not ended.
func (f *Form) Wanted() bool { return f.c != nil }

// Needs reports whether the token that the Reader has just read has to be given to Add: most need not.
func (f *Form) Needs(tok Token) bool { return mayChange(f.r, tok) }

// mayChange reports whether a token that r has just read may be written otherwise, or change what is.
func mayChange(r *Reader, tok Token) bool {
	return tok.Kind == Number || tok.Kind == EndObject || r.loose
}

// Add takes that token, and reports whether there may still be a form. If not, there is no more to add.
func (f *Form) Add(tok Token) bool { return f.c.take(f.r, tok) == nil }

// End returns dst with the form, or dst as it was and false if there is none: it would be
// too long or too deep, or has a number that no double can hold, or the document has ended early.
func (f *Form) End() (dst []byte, ok bool) {
	if f.c == nil {
		return f.dst, false
	}
	c := f.c
	f.c = nil
	defer c.release()
	if f.r.err != io.EOF || c.finish(f.r) != nil {
		return f.dst, false
	}
	return c.dst, true
}

func newCanonicalizer(dst, data []byte, most int) *canonicalizer {
	c := canonicalizers.Get().(*canonicalizer)
	c.begin(dst, data)
	c.most, c.depth = most, math.MaxInt
	if most < math.MaxInt-len(dst) {
		c.most += len(dst)
	}
	return c
}

// begin makes c append the form of data to dst.
func (c *canonicalizer) begin(dst, data []byte) {
	c.dst, c.data = dst, data
	c.base, c.from, c.end, c.parted, c.apart, c.failed = len(dst), 0, 0, 0, false, nil
}

// release forgets the document and returns c to the pool, unless an unusually
// large document has made it unusually large.
func (c *canonicalizer) release() {
	if cap(c.members) > maxKept || cap(c.text)+cap(c.scratch) > 16*maxKept {
		return
	}
	if c.r.data != nil {
		c.r.Reset(nil, Limits{})
	}
	c.begin(nil, nil)
	c.objects, c.members, c.text = c.objects[:0], c.members[:0], c.text[:0]
	canonicalizers.Put(c)
}

var canonicalizers = sync.Pool{New: func() any { return new(canonicalizer) }}

// A canonicalizer leaves what is canonical already where it is, in the input, and copies it in
// one piece where that ends: at white space, at a string or a number that is written
// otherwise, or at the end of an object whose members have to be put in order.
//
// As long as nothing but the order of members had to change, each byte of the output stands where it does in
// the input, and only the ends of objects and numbers are looked at. From the first one on that
// does not, the canonicalizer is apart, and keeps account of where every member begins.
type canonicalizer struct {
	r      Reader // where nobody else reads
	data   []byte
	dst    []byte
	base   int // length of dst before the output
	from   int // data[from:end] is the end of the output, and not yet in dst
	end    int // of the last token, with its quotes
	parted int // how long what parts it from the next one is: a comma or a colon
	apart  bool
	failed error

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

// A member is where `"name":value` begins in the output, and the span of the name in
// the input, or in canonicalizer.text if it had escapes.
type member struct {
	prefix             uint64 // see prefix
	start              int
	nameStart, nameEnd int
	decoded            bool
}

// A sortKey orders a member by the first eight bytes of its name, which is nearly
// always enough, and costs less to move about than the member.
type sortKey struct {
	prefix uint64
	member int
}

func (c *canonicalizer) nameOf(m *member) []byte {
	if m.decoded {
		return c.text[m.nameStart:m.nameEnd]
	}
	return c.data[m.nameStart:m.nameEnd]
}

// read reads the document to its end.
func (c *canonicalizer) read() error {
	c.apart = len(c.data) > c.most-c.base // it may be too long, and then not be read to its end
	for {
		tok, err := c.r.Next()
		if err == io.EOF {
			return c.finish(&c.r)
		}
		if err != nil {
			return err
		}
		switch {
		case c.apart:
			err = c.add(tok)
		case mayChange(&c.r, tok):
			err = c.take(&c.r, tok)
		}
		if err == (rangeError{}) {
			return c.r.Locate(tok.Start, err.Error())
		} else if err != nil {
			return err
		}
	}
}

// take takes a token that may change what is written, of a document that was in canonical form so
// far but for the order of members, or of one that c is apart from.
func (c *canonicalizer) take(r *Reader, tok Token) error {
	switch {
	case c.failed != nil:
	case c.apart:
		c.failed = c.add(tok)
	case !r.loose && tok.Kind == EndObject:
		c.failed = c.closed(r, tok.Start)
	case r.loose || !plainNumber(c.data[tok.Start:tok.End]):
		c.part(r, tok)
		c.failed = cmp.Or(c.failed, c.add(tok))
	}
	return c.failed
}

// finish completes the output of a document that r has read to its end.
func (c *canonicalizer) finish(r *Reader) error {
	if !c.apart {
		if r.deepest > c.depth {
			return ErrTooLong // in the other direction
		}
		c.end = r.spaceAt
	}
	if c.failed != nil {
		return c.failed
	}
	if len(c.dst)+c.end-c.from > c.most {
		return ErrTooLong
	}
	c.write(c.end)
	return nil
}

// closed puts the members of the object in order that r has just closed with the brace at i.
func (c *canonicalizer) closed(r *Reader, i int) error {
	names, o := r.names[len(r.names):r.closed], &r.stack[:len(r.stack)+1][len(r.stack)]
	if !o.lost && r.shapes[o.shape].sorted || o.lost && c.inOrder(names) {
		return nil
	}
	if c.base+i > c.most {
		return ErrTooLong
	}
	if !o.lost && r.shapes[o.shape].order > 0 {
		c.arrange(names, r.orderOf(o.shape), i)
		return nil
	}
	c.members = c.members[:0]
	for _, n := range names {
		c.members = append(c.members, c.memberOf(n))
	}
	c.order(c.members, i, c.base+i)
	c.members = c.members[:0]
	if !o.lost {
		r.setOrder(o.shape, c.keys)
	}
	return nil
}

// arrange puts the members with these names, of an object whose brace stands at i, in an order that is known,
// where c is not apart.
func (c *canonicalizer) arrange(names []name, order []uint8, i int) {
	begin := names[0].start - 1
	now := c.data[begin:i]
	if c.from <= begin { // all are in the input, and need to be copied only once
		c.write(begin)
		c.from = i
	} else {
		c.write(i)
		c.scratch = append(c.scratch[:0], c.dst[c.base+begin:]...)
		now = c.scratch
	}
	dst := c.dst[:c.base+begin]
	for k, which := range order {
		if k > 0 {
			dst = append(dst, ',')
		}
		from, to := names[which].start-1-begin, len(now)
		if next := int(which) + 1; next < len(names) {
			to = names[next].start - len(`,"`) - begin
		}
		dst = append(dst, now[from:to]...)
	}
	c.dst = dst
}

// inOrder reports whether names that c is not apart from are in canonical order.
func (c *canonicalizer) inOrder(names []name) bool {
	before := uint64(0)
	for i := range names {
		text := c.data[names[i].start:names[i].end]
		p := prefix(text)
		if p < before || p == before && i > 0 && compareUTF16(c.data[names[i-1].start:names[i-1].end], text) > 0 {
			return false
		}
		before = p
	}
	return true
}

// memberOf returns the member of a name that c is not apart from.
func (c *canonicalizer) memberOf(n name) member {
	return member{prefix: prefix(c.data[n.start:n.end]), start: c.base + n.start - 1, nameStart: n.start, nameEnd: n.end}
}

// part makes c apart from the document at tok, which r has just read: it notes what is open
// around that.
func (c *canonicalizer) part(r *Reader, tok Token) {
	c.apart, r.loose = true, true
	depth, names, start := len(r.stack), len(r.names), tok.Start
	switch tok.Kind {
	case BeginObject, BeginArray:
		depth--
	case EndObject, EndArray:
		depth, names = depth+1, r.closed
	case Name:
		names--
		start--
	case String:
		start--
	}
	open := r.stack[:depth]
	for i, f := range open {
		o := openObject{array: f.array, sorted: true, members: len(c.members)}
		to := names
		if i+1 < depth {
			to = open[i+1].names
		}
		of := r.names[:names][f.names:to]
		for _, n := range of {
			c.members = append(c.members, c.memberOf(n))
		}
		o.sorted = c.inOrder(of)
		c.objects = append(c.objects, o)
	}
	// What was read before ends where white space begins, or what parts it from tok.
	c.end, c.parted = start, 1
	if r.spaceAt >= 0 && r.spaceAt < start {
		c.end = r.spaceAt
	}
	switch c.before(c.end) {
	case ',', ':':
		c.end--
	}
	switch c.before(c.end) {
	case 0, '{', '[':
		c.parted = 0
	}
	if r.deepest > c.depth {
		c.failed = ErrTooLong
	}
}

// before returns the byte before data[i], or 0.
func (c *canonicalizer) before(i int) byte {
	if i == 0 {
		return 0
	}
	return c.data[i-1]
}

// write copies the input up to i that is not yet in dst, all of which is in the output.
func (c *canonicalizer) write(i int) {
	c.dst = append(c.dst, c.data[c.from:i]...)
	c.from = i
}

// add takes a token, where all that has come before is in the output.
func (c *canonicalizer) add(tok Token) error {
	start, end, size, parted := tok.Start, tok.End, 0, c.parted
	c.parted = 1
	switch tok.Kind {
	case String, Name:
		start, size, end = start-1, end-start, end+1
		if tok.Escaped {
			size /= 6 // at most
		}
	case BeginObject, BeginArray:
		c.parted = 0
	case EndObject, EndArray:
		parted = 0
	}
	if c.end+parted != start {
		c.squeeze(start, parted)
	}
	c.end = end
	at := len(c.dst) + start - c.from
	if at > c.most-size && (tok.Kind != Name || at-parted > c.most-size) { // the comma before a name is not yet due
		return ErrTooLong
	}
	switch tok.Kind {
	case String:
		if tok.Escaped {
			c.write(start)
			c.scratch = AppendDecoded(c.scratch[:0], c.data[tok.Start:tok.End])
			c.dst, c.from = AppendString(c.dst, c.scratch), end
		}
	case Name:
		c.name(tok, at)
	case Number:
		return c.number(start, end)
	case BeginObject, BeginArray:
		if len(c.objects) >= c.depth {
			return ErrTooLong // in the other direction
		}
		c.objects = append(c.objects, openObject{
			array: tok.Kind == BeginArray, sorted: true, members: len(c.members), text: len(c.text)})
	case EndArray:
		c.objects = c.objects[:len(c.objects)-1]
	case EndObject:
		c.close(start, at)
	}
	return nil
}

// squeeze leaves out the white space before what begins at start, behind a comma or a colon
// if that parts it from what was before.
func (c *canonicalizer) squeeze(start, parted int) {
	i := c.end
	c.write(i)
	if parted > 0 {
		i = skipSpace(c.data, i)
		c.dst = append(c.dst, c.data[i])
	}
	c.from = start
}

// name notes where a member begins in the output, and writes its name if it had escapes.
func (c *canonicalizer) name(tok Token, at int) {
	n := len(c.members)
	if n == cap(c.members) {
		c.members = append(c.members, member{})
	}
	c.members = c.members[:n+1]
	m := &c.members[n]
	m.start, m.nameStart, m.nameEnd, m.decoded = at, tok.Start, tok.End, tok.Escaped
	if tok.Escaped {
		c.escaped(m)
	}
	text := c.nameOf(m)
	m.prefix = prefix(text)
	o := &c.objects[len(c.objects)-1]
	if o.sorted && n > o.members {
		last := &c.members[n-1]
		o.sorted = last.prefix < m.prefix || last.prefix == m.prefix && compareUTF16(c.nameOf(last), text) <= 0
	}
}

// escaped writes a name that had escapes.
func (c *canonicalizer) escaped(m *member) {
	start, end := m.nameStart, m.nameEnd
	m.nameStart = len(c.text)
	c.text = AppendDecoded(c.text, c.data[start:end])
	m.nameEnd = len(c.text)
	c.write(start - 1)
	c.dst, c.from = AppendString(c.dst, c.text[m.nameStart:]), end+1
}

// number leaves or writes a number.
func (c *canonicalizer) number(start, end int) error {
	raw := c.data[start:end]
	if plainNumber(raw) {
		return nil
	}
	c.write(start)
	var err error
	c.dst, err = appendNumber(c.dst, raw)
	c.from = end
	return err
}

// close ends the innermost object, whose brace stands at i of the input and at of the output:
// it puts its members in canonical order.
func (c *canonicalizer) close(i, at int) {
	o := c.objects[len(c.objects)-1]
	c.objects = c.objects[:len(c.objects)-1]
	if !o.sorted {
		c.order(c.members[o.members:], i, at)
	}
	c.members, c.text = c.members[:o.members], c.text[:o.text]
}

// order replaces the members at the end of the output by the same ones in order.
func (c *canonicalizer) order(members []member, i, at int) {
	begin := members[0].start
	c.sort(members)
	var now []byte // the members as they are
	if begin >= len(c.dst) {
		// All are in the input, and need to be copied only once.
		c.write(c.from + begin - len(c.dst))
		now, c.from = c.data[c.from:i], i
	} else {
		c.write(i)
		c.scratch = append(c.scratch[:0], c.dst[begin:]...)
		now = c.scratch
	}
	dst := slices.Grow(c.dst[:begin], at-begin)[:at]
	to := begin
	for _, key := range c.keys {
		end := len(now)
		if key.member+1 < len(members) {
			end = members[key.member+1].start - 1 - begin
		}
		if to > begin {
			dst[to] = ','
			to++
		}
		to += copy(dst[to:], now[members[key.member].start-begin:end])
	}
	c.dst = dst
}

// fewMembers is how many are put in order one by one.
const fewMembers = 16

// sort makes c.keys the order of members.
func (c *canonicalizer) sort(members []member) {
	c.keys = c.keys[:0]
	for i := range members {
		c.keys = append(c.keys, sortKey{members[i].prefix, i})
	}
	compare := func(a, b sortKey) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return compareUTF16(c.nameOf(&members[a.member]), c.nameOf(&members[b.member]))
	}
	if len(members) > fewMembers {
		slices.SortFunc(c.keys, compare)
		return
	}
	for i, key := range c.keys {
		for ; i > 0; i-- {
			before := c.keys[i-1]
			if before.prefix < key.prefix || before.prefix == key.prefix && compare(before, key) < 0 {
				break
			}
			c.keys[i] = before
		}
		c.keys[i] = key
	}
}

// prefix returns a number that orders names by their first eight bytes.
func prefix(name []byte) uint64 {
	var w uint64
	switch n := len(name); {
	case n >= 8:
		w = binary.LittleEndian.Uint64(name)
	case n >= 4:
		w = uint64(binary.LittleEndian.Uint32(name)) | uint64(binary.LittleEndian.Uint32(name[n-4:]))<<(8*(n-4))
	case n > 0:
		w = uint64(name[0]) | uint64(name[n/2])<<(8*(n/2)) | uint64(name[n-1])<<(8*(n-1))
	}
	if w&highs != 0 {
		var p [8]byte
		binary.LittleEndian.PutUint64(p[:], w)
		for i, b := range p {
			p[i] = utf16Order(b)
		}
		w = binary.LittleEndian.Uint64(p[:])
	}
	return bits.ReverseBytes64(w)
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

// plainNumber reports whether raw is in canonical form already: an integer, or with a fraction
// that does not end in 0, of at most 15 digits. No two of these are the same double,
// so that none can be written with fewer digits, or others.
func plainNumber(raw []byte) bool {
	digits := raw
	if raw[0] == '-' {
		digits = raw[1:]
	}
	if len(digits) > 16 || digits[0] == '0' && len(raw) > 1 && !smallFraction(digits) {
		return false
	}
	i := skipDigits(digits, 0)
	switch {
	case i == len(digits):
		return i <= 15
	case digits[i] != '.':
		return false
	}
	return skipDigits(digits, i+1) == len(digits) && digits[len(digits)-1] != '0'
}

// smallFraction reports whether a number that begins with 0 is written with a fraction that has
// fewer than six zeros in front: one with more has an exponent.
func smallFraction(digits []byte) bool {
	return len(digits) > 2 && digits[1] == '.' && string(digits[2:min(8, len(digits))]) != "000000"[:min(8, len(digits))-2]
}
