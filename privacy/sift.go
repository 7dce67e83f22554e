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
	digits, row, rest := 0, 0, b
	var above, mark uint64
	for ; len(rest) >= 8; rest = rest[8:] {
		x := binary.LittleEndian.Uint64(rest)
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
			row = bits.LeadingZeros64(m) / 8
		} else if row += 8; row >= siftRow {
			return true
		}
	}
	for _, c := range rest {
		above |= uint64(c)
		row++
		switch {
		case c == '@', c == ':', c == '=', c == '%', c == '&':
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
	letters := [2]bool{}
	for i, c := range b {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case isHexLetter(c):
			letters[i/19] = true
		case !isDigit(c):
			return false
		}
	}
	return letters[0] && letters[1]
}

func timestamp(b []byte) bool {
	const form = "9999-99-99T99:99:99"
	for i := range len(form) {
		if c := form[i]; c == '9' && !isDigit(b[i]) || c != '9' && b[i] != c {
			return false
		}
	}
	for _, c := range b[len(form):] {
		if !isDigit(c) && c != '.' && c != ':' && c != 'Z' && c != '+' && c != '-' {
			return false
		}
	}
	return true
}
