package privacy

import (
	"encoding/binary"
	"math/bits"
)

// wordAt returns eight bytes of text, with zeros behind its end.
func wordAt(text []byte, i int) uint64 {
	if len(text)-i >= 8 {
		return binary.LittleEndian.Uint64(text[i:])
	}
	return tail(text[i:])
}

// digitBytes sets bit 7 of each byte that is a digit.
func digitBytes(x uint64) uint64 {
	// Of what is left by the exclusive or, 0 to 9 and nothing else stays below 0x80.
	z := x ^ '0'*ones
	return ^((z&^highs + 0x76*ones) | z) & highs
}

// letterBytes sets bit 7 of each byte that is a letter of ASCII.
func letterBytes(x uint64) uint64 {
	// A letter is 1 to 26 after the exclusive or of 0x60, in lower case.
	z := (x | 0x20*ones) ^ 0x60*ones
	return (z&^highs + 0x7F*ones) &^ (z&^highs + 0x65*ones) &^ z & highs
}

// endOfLetters returns the end of the letters of ASCII at text[i].
func endOfLetters(text []byte, i int) int {
	for ; i < len(text); i += 8 {
		if over := highs &^ letterBytes(wordAt(text, i)); over != 0 {
			return i + bits.TrailingZeros64(over)/8
		}
	}
	return len(text)
}

// equalBytes sets bit 7 of each byte that is c, a character of ASCII.
func equalBytes(x uint64, c byte) uint64 {
	z := x ^ uint64(c)*ones
	return ^((z&^highs + 0x7F*ones) | z) & highs
}

// gather makes eight bits of bit 7 of eight bytes, of which nothing else is set.
func gather(m uint64) uint64 { return (m >> 7) * 0x0102040810204080 >> 56 }

// A row is letters and digits of ASCII without anything between them.
type row struct {
	start, end int
	digits     uint64 // which of the first 63 are digits; the last bit stands for all behind
}

// rowAt returns the row that begins at text[i], where there is a letter or a
// digit.
func rowAt(text []byte, i int) row {
	r := row{start: i}
	for n := 0; n < 64; n += 8 {
		x := wordAt(text, i+n)
		d := digitBytes(x)
		over := highs &^ (d | letterBytes(x))
		d &= over - 1 // nothing behind the end
		r.digits |= gather(d) << n
		if over != 0 {
			r.end = i + n + bits.TrailingZeros64(over)/8
			return r
		}
		if i+n+8 == len(text) {
			r.end = len(text)
			return r
		}
	}
	r.end = i + 64
	for r.end < len(text) && byteKind[text[r.end]] == runByte {
		if isDigit(text[r.end]) {
			r.digits |= 1 << 63
		}
		r.end++
	}
	return r
}
