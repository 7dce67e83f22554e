package privacy

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// Folding turns text into one byte a character, so that the detectors read
// ASCII only: decimal digits of every script become '0' to '9', spaces ' ',
// dashes '-', dots '.', the full-width @ becomes '@'. Characters that nobody
// sees (zero-width, combining, control) are dropped.
//
// What remains is one of these.
const (
	symbol byte = iota + 1 // neither letter nor digit
	latin                  // a letter that mixes with ASCII ones in a word
	letter                 // any other letter

	digit   // in folds only
	dropped // in folds only

	// twin marks a letter of ASCII that another letter looks like, until
	// settleTwins.
	twin byte = 0x80
)

// A folded text is what the detectors read, with the way back.
type folded struct {
	b []byte
	// at[i] is where b[i] begins in the text before folding; it has one
	// entry more than b. Dropped characters belong to the one before them. It
	// is empty if each byte of b is one of the text.
	at []int32
}

// keep replaces f by src, which needs no folding but of white space.
func (f *folded) keep(src []byte) {
	f.b, f.at = append(f.b[:0], src...), f.at[:0]
	for i, c := range f.b {
		if c < ' ' {
			f.b[i] = ' '
		}
	}
}

// place returns where b[i] begins in the text before folding.
func (f *folded) place(i int) int {
	if len(f.at) == 0 {
		return i
	}
	return int(f.at[i])
}

// splice replaces f by src with placeholders in place of hits, which are in
// order and may overlap.
func (f *folded) splice(src *folded, hits []hit) {
	f.b, f.at = f.b[:0], f.at[:0]
	copied := 0
	for i := 0; i < len(hits); {
		var h hit
		h, i = merge(hits, i)
		f.appendFrom(src, copied, h.start)
		mark := h.by.placeholder()
		f.b = append(f.b, mark...)
		for range mark {
			f.at = append(f.at, int32(src.place(h.start)))
		}
		copied = h.end
	}
	f.appendFrom(src, copied, len(src.b))
	f.at = append(f.at, int32(src.place(len(src.b))))
}

// appendFrom appends a part of src.
func (f *folded) appendFrom(src *folded, from, to int) {
	f.b = append(f.b, src.b[from:to]...)
	if len(src.at) > 0 {
		f.at = append(f.at, src.at[from:to]...)
		return
	}
	for i := from; i < to; i++ {
		f.at = append(f.at, int32(i))
	}
}

// A folding says how much there is to fold in a text.
type folding uint8

const (
	foldNothing folding = iota
	foldSpace           // white space only: a byte stays a byte
	foldMore
)

// needsFold returns in how far b differs from what folding makes of it.
func needsFold(b []byte) folding {
	const low, high = 0x0101010101010101, 0x8080808080808080
	need := foldNothing
	for i := 0; i < len(b); {
		if len(b) >= 8 {
			x := binary.LittleEndian.Uint64(b[min(i, len(b)-8):])
			slash, percent, amp := x^'\\'*low, x^'%'*low, x^'&'*low
			if (x|(slash-low)&^slash|(percent-low)&^percent|(amp-low)&^amp|(x-' '*low))&high == 0 {
				i += 8
				continue
			}
		}
		for end := min(i+8, len(b)); i < end; i++ {
			how := foldingOf[b[i]]
			if how == foldMore && !encodes(b[i:]) {
				how = foldNothing
			}
			if need = max(need, how); need == foldMore {
				return need
			}
		}
	}
	return need
}

// encodes reports whether a percent sign or an ampersand at the start of b
// encodes something; any other character does.
func encodes(b []byte) bool {
	n := 2
	switch b[0] {
	case '%':
		_, n = foldPercent(b)
	case '&':
		_, n = foldEntity(b)
	}
	return n > 1
}

var foldingOf = func() (t [256]folding) {
	for c := range t {
		switch {
		case c >= utf8.RuneSelf, c == '\\', c == '%', c == '&', foldASCII(byte(c)) == dropped:
			t[c] = foldMore
		case c < ' ':
			t[c] = foldSpace
		}
	}
	return t
}()

// fold replaces f by the folded src.
//
// Telling words of other scripts count as those that they mean: see nativeWords.
//
// Percent-encoding and the character references of HTML and XML count as what
// they stand for, encoded once or more.
//
// Escapes of JSON and its kin count as the character they stand for, behind
// any number of backslashes: text often quotes JSON that quotes JSON.
func (f *folded) fold(src []byte) {
	f.b, f.at = f.b[:0], f.at[:0]
	twins := false
	for i := 0; i < len(src); {
		c, n := src[i], 1
		switch {
		case c >= utf8.RuneSelf:
			var r rune
			r, n = utf8.DecodeRune(src[i:])
			if w := f.nativeWord(src, i, r); w > 0 {
				i += w
				continue
			}
			if c = foldRune(r); dashBehindDigit(r) && len(f.b) > 0 && isDigit(f.b[len(f.b)-1]) {
				c = '-'
			}
		case c == '\\':
			c, n = foldEscape(src[i:])
		case c == '%':
			c, n = foldPercent(src[i:])
		case c == '&':
			c, n = foldEntity(src[i:])
		default:
			c = foldASCII(c)
		}
		if c != dropped {
			f.b, f.at = append(f.b, c), append(f.at, int32(i))
			twins = twins || c >= twin
		}
		i += n
	}
	f.at = append(f.at, int32(len(src)))
	if twins {
		settleTwins(f.b)
	}
}

// dashBehindDigit reports whether r stands for a dash behind a digit: the mark of a long
// vowel in Japanese, which is typed for one, and year and month in the dates of East Asia.
func dashBehindDigit(r rune) bool {
	return r == 0x30FC || r == 0xFF70 || r == '年' || r == '月' || r == '년' || r == '월'
}

// settleTwins decides about letters that look like those of ASCII: in a word
// with letters of ASCII they count as what they look like, in one of their own
// script as what they are.
func settleTwins(b []byte) {
	for i, c := range b {
		if c >= twin && i > 0 && asciiLetter(b[i-1]) {
			b[i] = c &^ twin
		}
	}
	for i := len(b) - 1; i >= 0; i-- {
		if c := b[i]; c >= twin {
			if b[i] = letter; i+1 < len(b) && asciiLetter(b[i+1]) {
				b[i] = c &^ twin
			}
		}
	}
}

func foldASCII(c byte) byte {
	switch {
	case c > ' ':
		return c
	case c == ' ', '\t' <= c && c <= '\r':
		return ' '
	}
	return dropped
}

// foldRune folds any code point.
func foldRune(r rune) byte {
	switch {
	case r < utf8.RuneSelf:
		return foldASCII(byte(r))
	case r >= 0xFF21 && r <= 0xFF3A, r >= 0xFF41 && r <= 0xFF5A: // full width
		return byte(r - 0xFEE0)
	case r >= 0x1D400 && r < 0x1D400+13*52: // mathematical, in thirteen styles
		if k := byte((r - 0x1D400) % 52); k < 26 {
			return 'A' + k
		} else {
			return 'a' + k - 26
		}
	case r >= 0xC0 && r < 0xC0+rune(len(accented)) && accented[r-0xC0] != '*': // Latin-1 and Latin Extended-A
		return accented[r-0xC0]
	case r >= 0x0391 && r <= 0x0458: // Greek and Cyrillic
		if c := twins[r-0x0391]; c != 0 {
			return c
		}
	}
	lo, hi := 0, len(folds)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		switch f := &folds[m]; {
		case r > f.hi:
			lo = m + 1
		case r < f.lo:
			hi = m
		case f.to == digit:
			return '0' + byte((r-f.lo)%10)
		default:
			return f.to
		}
	}
	return letter
}

// accented are the letters of ASCII in those from U+00C0 on, so that a word tells
// the same with its accents and without. A star is no letter.
const accented = "AAAAAAACEEEEIIIIDNOOOOO*OUUUUYTsaaaaaaaceeeeiiiidnooooo*ouuuuytyAaAaAaCcCcCcCcDdDdEeEeEeEeEeGgGg" +
	"GgGgHhHhIiIiIiIiIiIiJjKkkLlLlLlLlLlNnNnNnnNnOoOoOoOoRrRrRrSsSsSsSsTtTtTtUuUuUuUuUuUuWwYyYZzZzZzs"

// twins are the letters that look like one of ASCII, from U+0391 on.
var twins = func() (t [0x0458 - 0x0391 + 1]byte) {
	const (
		others = "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧνοАВЕЅІЈКМНОРСТУХаеорсухѕіј"
		looks  = "ABEZHIKMNOPTYXvoABESIJKMHOPCTYXaeopcyxsij"
	)
	i := 0
	for _, r := range others {
		t[r-0x0391] = looks[i] | twin
		i++
	}
	return t
}()

// foldEscape folds the backslashes at the start of b, and what they escape.
func foldEscape(b []byte) (c byte, n int) {
	for n < len(b) && b[n] == '\\' {
		n++
	}
	if n == len(b) {
		return '\\', n
	}
	switch b[n] {
	case 'n', 'r', 't', 'f':
		return ' ', n + 1
	case 'b':
		return dropped, n + 1
	case 'x': // of programming languages
		if len(b)-n < 3 || hexDigit(b[n+1]) > 7 || hexDigit(b[n+2]) > 15 {
			return '\\', n
		}
		return foldASCII(hexDigit(b[n+1])<<4 | hexDigit(b[n+2])), n + 3
	case 'u':
		r, m := unescape(b[n:])
		if m == 0 {
			return '\\', n
		}
		if utf16.IsSurrogate(r) {
			k := n + m
			for k < len(b) && b[k] == '\\' {
				k++
			}
			if low, m2 := unescape(b[k:]); m2 > 0 && k > n+m {
				if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
					return foldRune(full), k + m2
				}
			}
			return symbol, n + m
		}
		return foldRune(r), n + m
	}
	return '\\', n
}

// foldPercent folds what is percent-encoded at the start of b (RFC 3986,
// section 2.1): one character, however often its percent sign was encoded.
func foldPercent(b []byte) (c byte, n int) {
	var char [utf8.UTFMax]byte
	size, want := 0, 1
	for size < want {
		i := n
		if i >= len(b) || b[i] != '%' {
			break
		}
		for i++; i+3 < len(b) && b[i] == '2' && b[i+1] == '5' && hexDigit(b[i+2]) < 16 && hexDigit(b[i+3]) < 16 && i < 8; {
			i += 2
		}
		if i+1 >= len(b) || hexDigit(b[i]) > 15 || hexDigit(b[i+1]) > 15 {
			break
		}
		char[size] = hexDigit(b[i])<<4 | hexDigit(b[i+1])
		if size == 0 {
			switch c := char[0]; {
			case c >= 0x80 && c < 0xC0: // begins no character
				return '%', 1
			case c >= 0xF0:
				want = 4
			case c >= 0xE0:
				want = 3
			case c >= 0xC0:
				want = 2
			}
		}
		size, n = size+1, i+2
	}
	if size == 0 {
		return '%', 1
	}
	r, _ := utf8.DecodeRune(char[:size])
	return foldRune(r), n
}

// hexDigit returns the value of a hexadecimal digit, or more than 15.
func hexDigit(c byte) byte {
	switch {
	case isDigit(c):
		return c - '0'
	case isHexLetter(c):
		return c&^0x20 - 'A' + 10
	}
	return 255
}

// entities are the names that a value may be hidden behind.
var entities = [...]struct {
	name string
	char byte
}{{"nbsp;", ' '}, {"commat;", '@'}, {"period;", '.'}, {"lowbar;", '_'}, {"hyphen;", '-'}, {"dash;", '-'}, {"colon;", ':'}, {"equals;", '='}, {"sol;", '/'}, {"quot;", '"'}, {"apos;", '\''}, {"plus;", '+'}}

// beginsEntity says what their names begin with.
var beginsEntity = func() (t [256]bool) {
	for _, e := range entities {
		t[e.name[0]] = true
	}
	return t
}()

// foldEntity folds a character reference of HTML or XML at the start of b; its
// ampersand may have been one itself.
func foldEntity(b []byte) (c byte, n int) {
	for n = 1; n+4 < len(b) && n < 16 && string(b[n:n+4]) == "amp;"; {
		n += 4
	}
	if n < len(b) && b[n] == '#' {
		base, i := rune(10), n+1
		if i < len(b) && b[i]|0x20 == 'x' {
			base, i = 16, i+1
		}
		r, start := rune(0), i
		for i < len(b) && i-start < 7 && rune(hexDigit(b[i])) < base {
			r = r*base + rune(hexDigit(b[i]))
			i++
		}
		if i > start {
			if i < len(b) && b[i] == ';' {
				i++
			}
			return foldRune(r), i
		}
	}
	if n == len(b) || !beginsEntity[b[n]|0x20] {
		return '&', 1
	}
	for _, e := range entities {
		if hasPrefixFold(b[n:], e.name) {
			return e.char, n + len(e.name)
		}
	}
	return '&', 1
}

// unescape reads uXXXX; n is 0 if that is not what b begins with.
func unescape(b []byte) (r rune, n int) {
	if len(b) < 5 || b[0] != 'u' {
		return 0, 0
	}
	for _, c := range b[1:5] {
		switch {
		case isDigit(c):
			c -= '0'
		case isHexLetter(c):
			c = c&^0x20 - 'A' + 10
		default:
			return 0, 0
		}
		r = r<<4 | rune(c)
	}
	return r, 5
}

func isDigit(c byte) bool     { return c-'0' <= 9 }
func isLetter(c byte) bool    { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == latin || c == letter }
func isHexLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'f' }

// folds says what code points above ASCII fold to; what is not here is a
// letter. TestFolds holds it to the tables of package unicode.
var folds = [...]struct {
	lo, hi rune
	to     byte
}{
	{0x0080, 0x0084, dropped},
	{0x0085, 0x0085, ' '},
	{0x0086, 0x009F, dropped},
	{0x00A0, 0x00A0, ' '},
	{0x00A1, 0x00A9, symbol},
	{0x00AA, 0x00AA, latin},
	{0x00AB, 0x00AC, symbol},
	{0x00AD, 0x00AD, dropped},
	{0x00AE, 0x00B4, symbol},
	{0x00B5, 0x00B5, latin},
	{0x00B6, 0x00B6, symbol},
	{0x00B7, 0x00B7, '.'},
	{0x00B8, 0x00B9, symbol},
	{0x00BA, 0x00BA, latin},
	{0x00BB, 0x00BF, symbol},
	{0x00C0, 0x00D6, latin},
	{0x00D7, 0x00D7, symbol},
	{0x00D8, 0x00F6, latin},
	{0x00F7, 0x00F7, symbol},
	{0x00F8, 0x024F, latin},
	{0x02CD, 0x02CD, '_'},
	{0x02D7, 0x02D7, '-'},
	{0x0300, 0x036F, dropped},
	{0x0387, 0x0387, '.'},
	{0x058A, 0x058A, '-'},
	{0x05BE, 0x05BE, '-'},
	{0x0600, 0x0605, dropped},
	{0x061C, 0x061C, dropped},
	{0x0660, 0x0669, digit},
	{0x06D4, 0x06D4, '.'},
	{0x06DD, 0x06DD, dropped},
	{0x06F0, 0x06F9, digit},
	{0x070F, 0x070F, dropped},
	{0x07C0, 0x07C9, digit},
	{0x0890, 0x0891, dropped},
	{0x08E2, 0x08E2, dropped},
	{0x0966, 0x096F, digit},
	{0x09E6, 0x09EF, digit},
	{0x0A66, 0x0A6F, digit},
	{0x0AE6, 0x0AEF, digit},
	{0x0B66, 0x0B6F, digit},
	{0x0BE6, 0x0BEF, digit},
	{0x0C66, 0x0C6F, digit},
	{0x0CE6, 0x0CEF, digit},
	{0x0D66, 0x0D6F, digit},
	{0x0DE6, 0x0DEF, digit},
	{0x0E50, 0x0E59, digit},
	{0x0ED0, 0x0ED9, digit},
	{0x0F20, 0x0F29, digit},
	{0x1040, 0x1049, digit},
	{0x1090, 0x1099, digit},
	{0x115F, 0x1160, dropped},
	{0x1400, 0x1400, '-'},
	{0x1680, 0x1680, ' '},
	{0x17B4, 0x17B5, dropped},
	{0x17E0, 0x17E9, digit},
	{0x1806, 0x1806, '-'},
	{0x180B, 0x180F, dropped},
	{0x1810, 0x1819, digit},
	{0x1946, 0x194F, digit},
	{0x19D0, 0x19D9, digit},
	{0x1A80, 0x1A89, digit},
	{0x1A90, 0x1A99, digit},
	{0x1AB0, 0x1AFF, dropped},
	{0x1B50, 0x1B59, digit},
	{0x1BB0, 0x1BB9, digit},
	{0x1C40, 0x1C49, digit},
	{0x1C50, 0x1C59, digit},
	{0x1DC0, 0x1DFF, dropped},
	{0x1E00, 0x1EFF, latin},
	{0x2000, 0x200A, ' '},
	{0x200B, 0x200F, dropped},
	{0x2010, 0x2015, '-'},
	{0x2016, 0x2021, symbol},
	{0x2022, 0x2022, '.'},
	{0x2023, 0x2023, symbol},
	{0x2024, 0x2024, '.'},
	{0x2025, 0x2026, symbol},
	{0x2027, 0x2027, '.'},
	{0x2028, 0x2029, ' '},
	{0x202A, 0x202E, dropped},
	{0x202F, 0x202F, ' '},
	{0x2030, 0x2042, symbol},
	{0x2043, 0x2043, '-'},
	{0x2044, 0x2044, '/'},
	{0x2045, 0x2052, symbol},
	{0x2053, 0x2053, '-'},
	{0x2054, 0x205E, symbol},
	{0x205F, 0x205F, ' '},
	{0x2060, 0x2064, dropped},
	{0x2065, 0x2065, symbol},
	{0x2066, 0x206F, dropped},
	{0x2070, 0x20CF, symbol},
	{0x20D0, 0x20FF, dropped},
	{0x2100, 0x2211, symbol},
	{0x2212, 0x2212, '-'},
	{0x2213, 0x2214, symbol},
	{0x2215, 0x2215, '/'},
	{0x2216, 0x2218, symbol},
	{0x2219, 0x2219, '.'},
	{0x221A, 0x22C4, symbol},
	{0x22C5, 0x22C5, '.'},
	{0x22C6, 0x24FF, symbol},
	{0x2500, 0x2501, '-'},
	{0x2502, 0x2570, symbol},
	{0x2571, 0x2571, '/'},
	{0x2572, 0x27CA, symbol},
	{0x27CB, 0x27CB, '/'},
	{0x27CC, 0x27FF, symbol},
	{0x2800, 0x2800, ' '},
	{0x2801, 0x29F7, symbol},
	{0x29F8, 0x29F8, '/'},
	{0x29F9, 0x2BFF, symbol},
	{0x2E00, 0x2E16, symbol},
	{0x2E17, 0x2E17, '-'},
	{0x2E18, 0x2E19, symbol},
	{0x2E1A, 0x2E1A, '-'},
	{0x2E1B, 0x2E30, symbol},
	{0x2E31, 0x2E31, '.'},
	{0x2E32, 0x2E32, symbol},
	{0x2E33, 0x2E33, '.'},
	{0x2E34, 0x2E39, symbol},
	{0x2E3A, 0x2E3B, '-'},
	{0x2E3C, 0x2E3F, symbol},
	{0x2E40, 0x2E40, '-'},
	{0x2E41, 0x2E5C, symbol},
	{0x2E5D, 0x2E5D, '-'},
	{0x2E5E, 0x2E7F, symbol},
	{0x3000, 0x3000, ' '},
	{0x3001, 0x3001, symbol},
	{0x3002, 0x3002, '.'},
	{0x3003, 0x3004, symbol},
	{0x3008, 0x301B, symbol},
	{0x301C, 0x301C, '-'},
	{0x301D, 0x3020, symbol},
	{0x3030, 0x3030, '-'},
	{0x30A0, 0x30A0, '-'},
	{0x30FB, 0x30FB, '.'},
	{0x3164, 0x3164, dropped},
	{0xA620, 0xA629, digit},
	{0xA8D0, 0xA8D9, digit},
	{0xA900, 0xA909, digit},
	{0xA9D0, 0xA9D9, digit},
	{0xA9F0, 0xA9F9, digit},
	{0xAA50, 0xAA59, digit},
	{0xABF0, 0xABF9, digit},
	{0xE000, 0xF8FF, symbol},
	{0xFE00, 0xFE0F, dropped},
	{0xFE10, 0xFE1F, symbol},
	{0xFE20, 0xFE2F, dropped},
	{0xFE30, 0xFE30, symbol},
	{0xFE31, 0xFE32, '-'},
	{0xFE33, 0xFE4C, symbol},
	{0xFE4D, 0xFE4F, '_'},
	{0xFE50, 0xFE51, symbol},
	{0xFE52, 0xFE52, '.'},
	{0xFE53, 0xFE57, symbol},
	{0xFE58, 0xFE58, '-'},
	{0xFE59, 0xFE62, symbol},
	{0xFE63, 0xFE63, '-'},
	{0xFE64, 0xFE6A, symbol},
	{0xFE6B, 0xFE6B, '@'},
	{0xFE6C, 0xFE6F, symbol},
	{0xFEFF, 0xFEFF, dropped},
	{0xFF01, 0xFF0A, symbol},
	{0xFF0B, 0xFF0B, '+'},
	{0xFF0C, 0xFF0C, symbol},
	{0xFF0D, 0xFF0D, '-'},
	{0xFF0E, 0xFF0E, '.'},
	{0xFF0F, 0xFF0F, '/'},
	{0xFF10, 0xFF19, digit},
	{0xFF1A, 0xFF1A, ':'},
	{0xFF1B, 0xFF1C, symbol},
	{0xFF1D, 0xFF1D, '='},
	{0xFF1E, 0xFF1F, symbol},
	{0xFF20, 0xFF20, '@'},
	{0xFF21, 0xFF3A, latin},
	{0xFF3B, 0xFF3E, symbol},
	{0xFF3F, 0xFF3F, '_'},
	{0xFF40, 0xFF40, symbol},
	{0xFF41, 0xFF5A, latin},
	{0xFF5B, 0xFF5D, symbol},
	{0xFF5E, 0xFF5E, '-'},
	{0xFF5F, 0xFF60, symbol},
	{0xFF61, 0xFF61, '.'},
	{0xFF62, 0xFF64, symbol},
	{0xFF65, 0xFF65, '.'},
	{0xFFA0, 0xFFA0, dropped},
	{0xFFE0, 0xFFF8, symbol},
	{0xFFF9, 0xFFFB, dropped},
	{0xFFFC, 0xFFFF, symbol},
	{0x104A0, 0x104A9, digit},
	{0x10D30, 0x10D39, digit},
	{0x10EAD, 0x10EAD, '-'},
	{0x11066, 0x1106F, digit},
	{0x110BD, 0x110BD, dropped},
	{0x110CD, 0x110CD, dropped},
	{0x110F0, 0x110F9, digit},
	{0x11136, 0x1113F, digit},
	{0x111D0, 0x111D9, digit},
	{0x112F0, 0x112F9, digit},
	{0x11450, 0x11459, digit},
	{0x114D0, 0x114D9, digit},
	{0x11650, 0x11659, digit},
	{0x116C0, 0x116C9, digit},
	{0x11730, 0x11739, digit},
	{0x118E0, 0x118E9, digit},
	{0x11950, 0x11959, digit},
	{0x11C50, 0x11C59, digit},
	{0x11D50, 0x11D59, digit},
	{0x11DA0, 0x11DA9, digit},
	{0x11F50, 0x11F59, digit},
	{0x13430, 0x1343F, dropped},
	{0x16A60, 0x16A69, digit},
	{0x16AC0, 0x16AC9, digit},
	{0x16B50, 0x16B59, digit},
	{0x1BCA0, 0x1BCA3, dropped},
	{0x1D173, 0x1D17A, dropped},
	{0x1D7CE, 0x1D7FF, digit},
	{0x1E140, 0x1E149, digit},
	{0x1E2F0, 0x1E2F9, digit},
	{0x1E4F0, 0x1E4F9, digit},
	{0x1E950, 0x1E959, digit},
	{0x1F000, 0x1FAFF, symbol},
	{0x1FBF0, 0x1FBF9, digit},
	{0xE0001, 0xE0001, dropped},
	{0xE0020, 0xE007F, dropped},
	{0xE0100, 0xE01EF, dropped},
}
