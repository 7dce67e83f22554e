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
	siftRow    = 16
)

// sift reports whether b may hold something for a detector. It says yes too
// often, never no wrongly. It decides the speed of everything: nearly all text
// goes no further.
func sift(b []byte) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	digits, row, rest := 0, 0, b
	var above, mark uint64
	for ; len(rest) >= 8; rest = rest[8:] {
		x := binary.LittleEndian.Uint64(rest)
		above |= x
		at, colon, equals := x^'@'*low, x^':'*low, x^'='*low
		mark |= (at-low)&^at | (colon-low)&^colon | (equals-low)&^equals
		// A digit is 0 to 9 after the exclusive or: only then does adding
		// 0x76 leave the high bit clear.
		z := x ^ '0'*low
		digits += bits.OnesCount64(^((z&^high + 0x76*low) | z) & high)
		space := x ^ ' '*low
		if m := (space - low) &^ space & high; m != 0 {
			if row+bits.TrailingZeros64(m)/8 >= siftRow {
				return true
			}
			row = bits.LeadingZeros64(m) / 8
		} else if row += 8; row >= siftRow {
			return true
		}
	}
	for _, c := range rest {
		above |= uint64(c)
		row++
		switch {
		case c == '@', c == ':', c == '=':
			return true
		case c == ' ':
			row = 0
		case isDigit(c):
			digits++
		}
	}
	return mark&high != 0 || digits >= siftDigits || row >= siftRow || above&high != 0 && siftUnicode(b, digits)
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
