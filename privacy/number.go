package privacy

import (
	"bytes"
	"math"
	"strconv"
)

// A decimal is a JSON number taken apart: where its digits are that are not
// zeros around it, and how many of its digits stand before the point.
type decimal struct {
	digits int // in the mantissa, in all
	first  int // the first digit that is not zero, counted without the point
	last   int // behind the last one
	whole  int // digits before the point once the exponent is applied, from the first on
}

// exactDigits is how many digits of a number every double keeps: a number of no
// more is the same in canonical form, where it is written as the nearest double.
const exactDigits = 15

// farExponent stands for every exponent that is larger: no document is so long
// that its digits make up for it.
const farExponent = 1 << 40

// decimalOf takes a JSON number apart.
func decimalOf(number []byte) decimal {
	d, point, i := decimal{first: -1}, -1, 0
	for ; i < len(number) && number[i]|0x20 != 'e'; i++ {
		switch c := number[i]; {
		case c == '.':
			point = d.digits
		case isDigit(c):
			if d.digits++; c != '0' {
				if d.first < 0 {
					d.first = d.digits - 1
				}
				d.last = d.digits
			}
		}
	}
	if d.first < 0 { // it is zero
		return decimal{}
	}
	if d.whole = point - d.first; point < 0 {
		d.whole = d.digits - d.first
	}
	if i < len(number) {
		d.whole += exponent(number[i+1:])
	}
	return d
}

// exponent reads the exponent of a number.
func exponent(b []byte) (e int) {
	for _, c := range b {
		if isDigit(c) {
			e = min(e*10+int(c-'0'), farExponent)
		}
	}
	if b[0] == '-' {
		return -e
	}
	return e
}

// mayBeInteger reports whether the number, or the double nearest to it, may be
// an integer of so many digits that a detector looks at it.
func (d decimal) mayBeInteger() bool {
	return d.whole >= fewest-maxPad-1 && d.whole <= maxDigits+1 // rounding up may make it longer
}

// rounds reports whether the double nearest to the number may be another one,
// which has to be looked at too.
func (d decimal) rounds() bool { return d.last-d.first > exactDigits }

// integer appends the digits of the number, if it is an integer of at most
// maxDigits digits: 4532015112830366, 4.532015112830366e15 and
// 4532015112830366.0 are one.
func (d decimal) integer(dst, number []byte) []byte {
	if d.whole > maxDigits || d.last-d.first > d.whole {
		return nil
	}
	n := 0
	for _, c := range number {
		if n == d.last {
			break
		}
		if isDigit(c) {
			if n++; n > d.first {
				dst = append(dst, c)
			}
		}
	}
	for n = d.last - d.first; n < d.whole; n++ {
		dst = append(dst, '0')
	}
	return dst
}

// rounded appends the digits of the double nearest to a number, if that is an
// integer of at most maxDigits digits. That is what its canonical form (RFC 8785)
// holds, and what most readers of JSON make of it.
func rounded(dst, number []byte) []byte {
	f, err := strconv.ParseFloat(string(number), 64)
	if f = math.Abs(f); err != nil || f >= 1e20 {
		return nil
	}
	digits := strconv.AppendFloat(dst, f, 'f', -1, 64)
	if len(digits) > maxDigits || bytes.IndexByte(digits, '.') >= 0 {
		return nil
	}
	return digits
}

// integerOf returns the digits that a JSON number is known by: its own, or those
// of the nearest double.
func integerOf(number []byte) []byte {
	d := decimalOf(number)
	if digits := d.integer(nil, number); digits != nil {
		return digits
	}
	return rounded(nil, number)
}
