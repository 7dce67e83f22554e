package privacy

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Nothing shorter than shortest bytes, and nothing with fewer than fewest
// digits and no @, can hold a value that a detector knows.
const (
	shortest = len("a@b.co")
	fewest   = 9
)

// sift reports whether b may hold something for a detector. It says yes too
// often, never no wrongly. It decides the speed of everything: nearly all text
// goes no further.
func sift(b []byte) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	digits, rest := 0, b
	var above, at uint64
	for ; len(rest) >= 8; rest = rest[8:] {
		x := binary.LittleEndian.Uint64(rest)
		above |= x
		y := x ^ '@'*low
		at |= (y - low) &^ y
		// A digit is 0 to 9 after the exclusive or: only then does adding
		// 0x76 leave the high bit clear.
		z := x ^ '0'*low
		digits += bits.OnesCount64(^((z&^high + 0x76*low) | z) & high)
	}
	for _, c := range rest {
		above |= uint64(c)
		if c == '@' {
			return true
		}
		if isDigit(c) {
			digits++
		}
	}
	return at&high != 0 || digits >= fewest || above&high != 0 && siftUnicode(b, digits)
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
	return digits >= fewest
}

// siftEscaped is sift for the raw text of a JSON string with backslashes: what
// is written as a code point, at whatever depth of nesting, has to be read.
func siftEscaped(b []byte) bool { return sift(b) || bytes.Contains(b, []byte(`\u`)) }

// mayFold says which first bytes of UTF-8 begin a digit or an @ above ASCII.
var mayFold = [256]bool{0xD9: true, 0xDB: true, 0xDF: true, 0xE0: true, 0xE1: true, 0xEA: true, 0xEF: true, 0xF0: true}
