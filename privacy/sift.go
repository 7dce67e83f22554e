package privacy

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Nothing shorter than shortestText bytes can hold a value that a detector
// knows without being told by a name, nothing shorter than shortestNamed at all.
// No row of digits shorter than fewest in all is a number.
const (
	shortestText  = len("a@b.co")
	shortestNamed = len("123")
	fewest        = 9
)

// What may make a text worth reading: so many digits in all, or so many bytes
// in a row that are no space.
const (
	siftDigits = 3
	siftRow    = shortestEncoded
)

// siftWord makes a text with any digit worth reading: it is in "password" and its
// kin, and passwords are short.
var siftWord = []byte("assw")

// Each byte of a word at once.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// sift reports whether b may hold something for a detector. It says yes too
// often, never no wrongly. It decides the speed of everything: nearly all text
// goes no further.
func sift(b []byte) bool {
	if n := len(b); n >= 8 && n < siftRow { // two words that overlap hold it, and there is no long row
		x, y := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[n-8:])
		if oddBytes(x)|oddBytes(y)|(x|y)&highs == 0 {
			return false
		}
	}
	var above uint64
	digits, length, i := 0, 0, 0
	for ; len(b)-i >= 8; i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		above |= x
		if oddBytes(x) != 0 {
			if digits += bits.OnesCount64(digitBytes(x)); digits >= siftDigits || markBytes(x) != 0 {
				return true
			}
		}
		m := spaceBytes(x)
		if length+bits.TrailingZeros64(m)/8 >= siftRow {
			return true
		}
		row := bits.LeadingZeros64(m) / 8
		if m == 0 {
			row += length
		}
		length = row
	}
	if i < len(b) {
		x := tail(b[i:])
		above |= x
		digits += bits.OnesCount64(digitBytes(x))
		if digits >= siftDigits || markBytes(x) != 0 || length+min(bits.TrailingZeros64(spaceBytes(x))/8, len(b)-i) >= siftRow {
			return true
		}
	}
	return digits > 0 && bytes.Contains(b, siftWord) || above&highs != 0 && siftUnicode(b, digits)
}

// oddBytes sets bit 7 of each byte that is 0x30 to 0x40, which has the digits, the colon, the
// equals sign and @, or one of 0x24 to 0x27, which has % and &; and of some that are not ASCII.
func oddBytes(x uint64) uint64 {
	x &^= highs // so that no sum is carried over
	return ((x+(0x80-0x30)*ones)&^(x+(0x80-0x41)*ones) | (x+(0x80-0x24)*ones)&^(x+(0x80-0x28)*ones)) & highs
}

// spaceBytes sets bit 7 of each byte that is a space. An exclamation mark behind one may be
// marked too.
func spaceBytes(x uint64) uint64 {
	space := x ^ ' '*ones
	return (space - ones) &^ space & highs
}

// markBytes is 0 unless a byte is one of @:=%&.
func markBytes(x uint64) uint64 {
	at, colon, equals, percent, amp := x^'@'*ones, x^':'*ones, x^'='*ones, x^'%'*ones, x^'&'*ones
	return ((at-ones)&^at | (colon-ones)&^colon | (equals-ones)&^equals | (percent-ones)&^percent | (amp-ones)&^amp) & highs
}

// tail returns the last one to seven bytes of a text as a word, with zeros
// behind.
func tail(b []byte) uint64 {
	switch n := len(b); {
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<(8*(n-4))
	case n >= 2:
		return uint64(binary.LittleEndian.Uint16(b)) | uint64(binary.LittleEndian.Uint16(b[n-2:]))<<(8*(n-2))
	}
	return uint64(b[0])
}

// siftUnicode is sift for text with characters above ASCII.
func siftUnicode(b []byte, digits int) bool {
	for i := 0; i < len(b); {
		c := b[i]
		if !mayFold[c] {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		switch c := foldRune(r); {
		case c == '@':
			return true
		case isDigit(c):
			digits++
		}
		i += n
	}
	return digits >= siftDigits
}

// siftEscaped is sift for the raw text of a JSON string with backslashes: what
// is written as a code point, at whatever depth of nesting, has to be read.
func siftEscaped(b []byte) bool { return sift(b) || bytes.Contains(b, []byte(`\u`)) }

// mayFold says which first bytes of UTF-8 begin a digit or an @ above ASCII.
var mayFold = [256]bool{0xD9: true, 0xDB: true, 0xDF: true, 0xE0: true, 0xE1: true, 0xEA: true, 0xEF: true, 0xF0: true}

// machineMade reports whether b is nothing but a UUID, or a date or a time as RFC 3339
// writes it: most strings with digits of most bodies are one of them, and none
// holds a value that no name tells of.
func machineMade(b []byte) bool {
	switch {
	case len(b) == 10:
		return calendarDate(b)
	case len(b) == 36:
		return uuid(b)
	case len(b) >= 20 && len(b) <= 35:
		return timestamp(b)
	}
	return false
}

// uuid wants letters in both halves: what has only digits may be something else.
func uuid(b []byte) bool {
	if b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return false
	}
	first, ok1 := hexWord(binary.LittleEndian.Uint64(b))
	second, ok2 := hexWord(binary.LittleEndian.Uint64(b[9:])&0xFFFFFFFF | binary.LittleEndian.Uint64(b[10:])&^0xFFFFFFFF)
	third, ok3 := hexWord(binary.LittleEndian.Uint64(b[19:])&0xFFFFFFFF | binary.LittleEndian.Uint64(b[20:])&^0xFFFFFFFF)
	fourth, ok4 := hexWord(binary.LittleEndian.Uint64(b[28:]))
	return ok1 && ok2 && ok3 && ok4 && (first || second) && (third || fourth)
}

// hexWord reports whether eight bytes are hexadecimal digits, and whether there
// are letters among them.
func hexWord(x uint64) (letters, ok bool) {
	const low, high = 0x0101010101010101, 0x8080808080808080
	z := x ^ '0'*low
	digit := ^((z&^high + 0x76*low) | z) & high
	// A letter is 1 to 6 after the exclusive or of 0x60, in lower case.
	l := (x | 0x20*low) ^ 0x60*low
	letter := (l&^high + 0x7F*low) &^ (l&^high + 0x79*low) &^ l & high
	return letter != 0, digit|letter == high
}

// calendarDate wants 2026-11-23.
func calendarDate(b []byte) bool {
	return b[4] == '-' && b[7] == '-' && digitBytes(binary.LittleEndian.Uint64(b)) == 0x0080800080808080 && isDigit(b[8]) && isDigit(b[9])
}

// timestamp wants 2026-11-23T04:05:06, and behind it a fraction and a zone.
func timestamp(b []byte) bool {
	// What an exclusive or with these leaves of eight characters is at most 9 for
	// a digit, and 0 for what stands between digits.
	const (
		date, dateBound = 0x2D30302D30303030, 0x7F76767F76767676 // 0000-00-
		hour, hourBound = 0x30303A3030543030, 0x76767F76767F7676 // 00T00:00
	)
	if b[10] != 'T' {
		return false
	}
	y, h := binary.LittleEndian.Uint64(b)^date, binary.LittleEndian.Uint64(b[8:])^hour
	if (y|h|(y&^highs+dateBound)|(h&^highs+hourBound))&highs != 0 || b[16] != ':' || !isDigit(b[17]) || !isDigit(b[18]) {
		return false
	}
	for _, c := range b[19:] {
		if !isDigit(c) && c != '.' && c != ':' && c != 'Z' && c != '+' && c != '-' {
			return false
		}
	}
	return true
}
