package privacy

import "encoding/binary"

// The arithmetic of check digits. Digits are ASCII.

// weighted returns the sum of the digits, each times its weight; digits beyond
// the weights do not count.
func weighted(digits []byte, weights ...int) int {
	sum := 0
	for i, w := range weights {
		sum += w * int(digits[i]-'0')
	}
	return sum
}

// value reads digits as a number.
func value(digits []byte) int {
	n := 0
	for _, c := range digits {
		n = n*10 + int(c-'0')
	}
	return n
}

// remainder reads digits as a number of any length, modulo m.
func remainder(digits []byte, m int) int {
	n := 0
	for _, c := range digits {
		n = (n*10 + int(c-'0')) % m
	}
	return n
}

// last returns the last digit.
func last(digits []byte) int { return int(digits[len(digits)-1] - '0') }

// luhn checks the last digit: ISO/IEC 7812-1, annex B.
func luhn(digits []byte) bool {
	sum := 0
	for ; len(digits) >= 8; digits = digits[:len(digits)-8] {
		sum += luhnWord(binary.LittleEndian.Uint64(digits[len(digits)-8:]) ^ '0'*ones)
	}
	if len(digits) > 0 { // zeros before them add nothing
		sum += luhnWord((tail(digits) ^ '0'*ones) << (8 * (8 - len(digits))))
	}
	return sum%10 == 0
}

// luhnWord adds up eight digits of 0 to 9, the last one in the highest byte and
// counted once: of what the others come to when doubled, the digits are added.
func luhnWord(x uint64) int {
	const second = 0x00FF00FF00FF00FF
	double := 2 * (x & second)
	double -= (double + 0x76*ones) & highs >> 7 * 9 // 9 less, where it is more than 9
	return int((double + x&^uint64(second)) * ones >> 56)
}

// mod11mod10 checks the last digit: ISO/IEC 7064, MOD 11,10.
func mod11mod10(digits []byte) bool {
	p := 10
	for _, c := range digits[:len(digits)-1] {
		if p = (p + int(c-'0')) % 10; p == 0 {
			p = 10
		}
		p = p * 2 % 11
	}
	return (p+last(digits))%10 == 1
}

// The tables of the dihedral group of ten elements, after J. Verhoeff, Error
// Detecting Decimal Codes, 1969.
var (
	dihedral = [10][10]uint8{
		{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 2, 3, 4, 0, 6, 7, 8, 9, 5}, {2, 3, 4, 0, 1, 7, 8, 9, 5, 6}, {3, 4, 0, 1, 2, 8, 9, 5, 6, 7},
		{4, 0, 1, 2, 3, 9, 5, 6, 7, 8}, {5, 9, 8, 7, 6, 0, 4, 3, 2, 1}, {6, 5, 9, 8, 7, 1, 0, 4, 3, 2}, {7, 6, 5, 9, 8, 2, 1, 0, 4, 3},
		{8, 7, 6, 5, 9, 3, 2, 1, 0, 4}, {9, 8, 7, 6, 5, 4, 3, 2, 1, 0},
	}
	permuted = [8][10]uint8{
		{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 5, 7, 6, 2, 8, 3, 0, 9, 4}, {5, 8, 0, 3, 7, 9, 6, 1, 4, 2}, {8, 9, 1, 6, 0, 4, 3, 5, 2, 7},
		{9, 4, 5, 3, 1, 2, 6, 8, 7, 0}, {4, 2, 8, 6, 5, 7, 3, 9, 0, 1}, {2, 7, 9, 3, 8, 0, 6, 4, 1, 5}, {7, 0, 4, 6, 9, 1, 3, 2, 5, 8},
	}
)

// verhoeff checks the last digit.
func verhoeff(digits []byte) bool {
	c := uint8(0)
	for i := range digits {
		c = dihedral[c][permuted[i%8][digits[len(digits)-1-i]-'0']]
	}
	return c == 0
}

// date reports whether there is such a day in some year; a year of two digits
// is taken for a leap year if it can be one.
func date(year, month, day int) bool {
	if month < 1 || month > 12 || day < 1 || day > 31 {
		return false
	}
	switch month {
	case 4, 6, 9, 11:
		return day <= 30
	case 2:
		return day <= 28 || day == 29 && year%4 == 0
	}
	return true
}

// born reports whether six digits are a day: a year of two digits, then month
// and day.
func born(yymmdd []byte) bool {
	return date(value(yymmdd[:2]), value(yymmdd[2:4]), value(yymmdd[4:6]))
}

// bornDay is born for day, month, year.
func bornDay(ddmmyy []byte) bool {
	return date(value(ddmmyy[4:6]), value(ddmmyy[2:4]), value(ddmmyy[:2]))
}

// same reports whether all digits are equal: such numbers are made up.
func same(digits []byte) bool {
	for _, c := range digits[1:] {
		if c != digits[0] {
			return false
		}
	}
	return true
}

// certain turns a verdict into what is left of a confidence.
func certain(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}
