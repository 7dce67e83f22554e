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

// sift reports whether b may hold something for a detector. It says yes too
// often, never no wrongly. It decides the speed of everything: nearly all text
// goes no further.
func sift(b []byte) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	var above, mark uint64
	digits, row := 0, 0
	for rest := b; len(rest) > 0; {
		x, n := uint64(0), 8
		if len(rest) >= 8 {
			x = binary.LittleEndian.Uint64(rest)
		} else {
			n = len(rest)
			x = tail(rest)
		}
		rest = rest[n:]
		above |= x
		at, colon, equals, percent, amp := x^'@'*low, x^':'*low, x^'='*low, x^'%'*low, x^'&'*low
		mark |= (at-low)&^at | (colon-low)&^colon | (equals-low)&^equals | (percent-low)&^percent | (amp-low)&^amp
		// A digit is 0 to 9 after the exclusive or: only then does adding
		// 0x76 leave the high bit clear.
		z := x ^ '0'*low
		digits += bits.OnesCount64(^((z&^high + 0x76*low) | z) & high)
		space := x ^ ' '*low
		if m := (space - low) &^ space & high; m != 0 {
			if row+bits.TrailingZeros64(m)/8 >= siftRow {
				return true
			}
			row = bits.LeadingZeros64(m)/8 - (8 - n)
		} else if row += n; row >= siftRow {
			return true
		}
	}
	return mark&high != 0 || digits >= siftDigits || above&high != 0 && siftUnicode(b, digits)
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

// machineMade reports whether b is nothing but a UUID or a time as RFC 3339
// writes it: most long strings of most bodies are one or the other, and neither
// holds a value.
func machineMade(b []byte) bool {
	switch {
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

func timestamp(b []byte) bool {
	// 2026-11-23T04:05:06: digits, and what parts them.
	if b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return false
	}
	for _, i := range [...]uint8{0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18} {
		if !isDigit(b[i]) {
			return false
		}
	}
	for _, c := range b[19:] {
		if !isDigit(c) && c != '.' && c != ':' && c != 'Z' && c != '+' && c != '-' {
			return false
		}
	}
	return true
}
