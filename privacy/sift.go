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
	if len(b) < 8 {
		return siftShort(b)
	}
	digits, i := 0, 0
	var above, at uint64
	for {
		x := binary.LittleEndian.Uint64(b[i:])
		above |= x
		y := x ^ '@'*lowBits
		at |= (y - lowBits) &^ y
		digits += bits.OnesCount64(digitBits(x))
		if i += 8; i+8 > len(b) {
			break
		}
	}
	if rest := len(b) - i; rest > 0 {
		x := binary.LittleEndian.Uint64(b[len(b)-8:]) >> (8 * (8 - rest)) // less what was counted
		above |= x
		y := x ^ '@'*lowBits
		at |= (y - lowBits) &^ y
		digits += bits.OnesCount64(digitBits(x))
	}
	return at&highBits != 0 || digits >= fewest || above&highBits != 0 && siftUnicode(b, digits)
}

// Eight bytes at a time: the lowest and the highest bit of each.
const lowBits, highBits = 0x0101010101010101, 0x8080808080808080

// digitBits returns the high bit of each byte of x that is a digit. Such a byte
// is 0 to 9 after the exclusive or: only then does adding 0x76 leave it clear.
func digitBits(x uint64) uint64 {
	z := x ^ '0'*lowBits
	return ^((z&^highBits + 0x76*lowBits) | z) & highBits
}

// siftShort is sift for less than eight bytes: too little for digits in ASCII,
// and the shortest digits above ASCII take two bytes.
func siftShort(b []byte) bool {
	for i, c := range b {
		if c == '@' || c >= utf8.RuneSelf && siftUnicode(b[i:], 0) {
			return true
		}
	}
	return false
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
