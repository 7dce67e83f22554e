package privacy

import (
	"bytes"
	"strings"
)

// maxRun is the length of the longest row of letters and digits that a pattern
// begins with.
const maxRun = 34

// What a byte of folded text is for findWords.
const (
	runByte   uint8 = 1 << iota // ASCII letters and digits
	sparkByte                   // something other may begin here
)

var byteKind = func() (t [256]uint8) {
	for c := range t {
		if isDigit(byte(c)) || asciiLetter(byte(c)) {
			t[c] = runByte
		}
	}
	for _, c := range "-:=(+" {
		t[c] = sparkByte
	}
	return t
}()

// findWords walks from one row of letters and digits to the next, and looks at
// what may begin with it.
func (f *finder) findWords() {
	f.lastLabel, f.labels = -1, topics{}
	f.row, f.noKey = 0, 0
	f.findNamed()
	text := f.text
	for i := 0; i < len(text); {
		switch byteKind[text[i]] {
		case 0:
			i++
		case sparkByte:
			i = f.spark(i)
		default:
			end, digits := i+1, 0
			if isDigit(text[i]) {
				digits = 1
			}
			for end < len(text) && byteKind[text[end]] == runByte {
				if isDigit(text[end]) {
					digits++
				}
				end++
			}
			i = f.word(i, end, digits)
		}
	}
}

// hit notes a value and returns where to go on.
func (f *finder) hit(d *detector, start, end int, confidence float64) int {
	if confidence >= f.least {
		f.hits = append(f.hits, hit{by: d, start: start, end: end, confidence: confidence})
	}
	return end
}

// spark looks at a character that is neither letter nor digit.
func (f *finder) spark(i int) int {
	switch f.text[i] {
	case '-':
		if end := f.privateKey(i); end > i {
			return f.hit(&privateKeys, i, end, 0.99)
		}
	case ':':
		if end := f.credentials(i); end > i {
			return end
		}
		if end := f.ipv6(i); end > i {
			return end
		}
		return f.assigned(i)
	case '=':
		return f.assigned(i)
	case '(', '+':
		if end := f.phoneAt(i); end > i {
			return end
		}
	}
	return i + 1
}

// word looks at a row of letters and digits, some of them digits.
func (f *finder) word(i, end, digits int) int {
	text, n := f.text, end-i
	if i+1 < len(text) && keyStarts.has(text[i], text[i+1]) {
		if last := f.key(i); last > i {
			return last
		}
	}
	if digits == 0 {
		f.label(i, end)
		if n <= 6 && (end+1 >= len(text) || !mayFollow(text[end]) || !isDigit(text[end+1])) {
			return end
		}
	}
	if (n == 8 || n == 11) && f.bic(i, end) {
		return f.hit(&bics, i, end, 0.85)
	}
	if digits == 0 && n > 6 {
		if n >= shortestEncoded {
			return max(end, f.encoded(i, end))
		}
		return end
	}
	if n >= 4 && asciiLetter(text[i]) && asciiLetter(text[i+1]) && isDigit(text[i+2]) && isDigit(text[i+3]) {
		if last := f.iban(i); last > i {
			return f.hit(&ibans, i, last, 0.97)
		}
	}
	if n <= 4 && end < len(text) {
		if last := f.address(i, end); last > i {
			return last
		}
	}
	if n >= shortestEncoded {
		if last := f.encoded(i, end); last > i {
			return last
		}
	}
	if n >= 25 {
		if last := f.wallet(i, end); last > i {
			return last
		}
	}
	if n <= maxRun {
		if last := f.matchPatterns(i, n); last > i {
			return last
		}
		if digits > 0 && n <= 20 {
			return f.loose(i, end, digits)
		}
	}
	return end
}

// mayFollow reports whether c may separate the parts of a value that begins
// with letters only.
func mayFollow(c byte) bool { return c == ' ' || c == '-' || c == '.' || c == '/' }

// label notes which loose values the word text[i:end] tells of.
func (f *finder) label(i, end int) {
	for i < end {
		next := endOfWord(f.text, i)
		if found := f.catalog.lexicon.at(f.text, i, next, len(f.text)).and(f.catalog.looseOnes); !found.none() {
			if i-f.lastLabel > wordsBefore || f.lastLabel < 0 {
				f.labels = topics{}
			}
			f.lastLabel, f.labels = next, f.labels.or(found)
		}
		i = next
	}
}

// loose looks for values that have no form of their own: beside a telling word,
// a row of digits and few letters is one.
func (f *finder) loose(i, end, digits int) int {
	told := f.names()
	if f.lastLabel >= 0 && i-f.lastLabel <= wordsBefore {
		told = told.or(f.labels)
	}
	if told = told.and(f.catalog.looseOnes); told.none() {
		return end
	}
	for _, d := range f.catalog.loose {
		if !told.has(d) {
			continue
		}
		if last, conf := d.looks(f, i, end, digits); conf >= f.least {
			return f.hit(d, i, last, conf)
		}
	}
	return end
}

// A pattern is one way to write a value that has letters: L stands for a
// letter, 9 for a digit, X for either, _ for one separator or none, and
// everything else for itself.
type pattern struct {
	by   *detector
	text string
}

// addPattern files a pattern under the rows of letters and digits that it may
// begin with.
func (c *catalog) addPattern(d *detector, text string) {
	n := 0
	for _, r := range text {
		switch r {
		case 'L', '9', 'X':
			n++
		case '_':
			c.byRun[n] = append(c.byRun[n], pattern{d, text})
		default:
			c.byRun[n] = append(c.byRun[n], pattern{d, text})
			return
		}
	}
	c.byRun[n] = append(c.byRun[n], pattern{d, text})
}

// matchPatterns tries all patterns that may begin with the n letters and digits
// at i.
func (f *finder) matchPatterns(i, n int) int {
	for _, p := range f.catalog.byRun[n] {
		chars, end := f.match(p.text, i)
		if end == 0 {
			continue
		}
		left := p.by.valid(chars)
		if left == 0 {
			continue
		}
		conf := p.by.alone * left
		if f.partOfMore(i, end) {
			conf = 0
		}
		if told := p.by.told * left; told > conf {
			t := telling{f: f, start: i}
			if t.yes(p.by, end) {
				conf = told
			}
		}
		if conf >= f.least {
			return f.hit(p.by, i, end, conf)
		}
	}
	return 0
}

// match returns the letters, as capitals, and digits of the text at i that a
// pattern takes, and where it ends, or 0.
func (f *finder) match(pattern string, i int) (chars []byte, end int) {
	text := f.text
	chars = f.chars[:0:len(f.chars)]
	for k := range len(pattern) {
		if i == len(text) && pattern[k] != '_' {
			return nil, 0
		}
		switch pattern[k] {
		case '_':
			if i < len(text) && mayFollow(text[i]) {
				i++
			}
			continue
		case 'L':
			if !asciiLetter(text[i]) {
				return nil, 0
			}
			chars = append(chars, text[i]&^0x20)
		case '9':
			if !isDigit(text[i]) {
				return nil, 0
			}
			chars = append(chars, text[i])
		case 'X':
			switch {
			case asciiLetter(text[i]):
				chars = append(chars, text[i]&^0x20)
			case isDigit(text[i]):
				chars = append(chars, text[i])
			default:
				return nil, 0
			}
		default:
			if text[i] != pattern[k] {
				return nil, 0
			}
		}
		i++
	}
	if i < len(text) && byteKind[text[i]] == runByte {
		return nil, 0
	}
	return chars, i
}

// partOfMore reports whether text[i:end] is joined to letters or digits by a
// dash or an underline: part of an identifier of another kind.
func (f *finder) partOfMore(i, end int) bool {
	text := f.text
	joins := func(c byte) bool { return c == '-' || c == '_' }
	return i >= 2 && joins(text[i-1]) && byteKind[text[i-2]] == runByte ||
		end+1 < len(text) && joins(text[end]) && byteKind[text[end+1]] == runByte
}

// pairs is a set of two characters that something begins with.
type pairs [1 << 10]uint64

func (p *pairs) add(a, b byte) { p[int(a)<<2|int(b)>>6] |= 1 << (b & 63) }

func (p *pairs) has(a, b byte) bool { return p[int(a)<<2|int(b)>>6]>>(b&63)&1 != 0 }

// endOf returns the end of the row of bytes of a set that begins at i, at most
// limit bytes.
func (f *finder) endOf(i, limit int, set *[256]bool) int {
	limit = min(len(f.text), i+limit)
	for i < limit && set[f.text[i]] {
		i++
	}
	return i
}

// setOf returns a set of bytes: letters and digits, and those in more.
func setOf(more string) *[256]bool {
	var t [256]bool
	for c := range t {
		t[c] = isDigit(byte(c)) || asciiLetter(byte(c)) || strings.IndexByte(more, byte(c)) >= 0
	}
	return &t
}

var (
	wordBytes   = setOf("_-")
	base64Bytes = setOf("+/=_-")
	tokenBytes  = setOf("_-.")
)

// hasAt reports whether text stands at i.
func (f *finder) hasAt(i int, text string) bool {
	return len(f.text)-i >= len(text) && string(f.text[i:i+len(text)]) == text
}

// varied reports whether b has at least n different bytes: xxxxxxxx and
// ******** are no secrets.
func varied(b []byte, n int) bool {
	var seen [4]uint64
	for _, c := range b {
		if bit := uint64(1) << (c & 63); seen[c>>6]&bit == 0 {
			if seen[c>>6] |= bit; n == 1 {
				return true
			}
			n--
		}
	}
	return false
}

// madeUp reports whether a value is what stands for one in examples and
// templates.
func madeUp(b []byte) bool {
	return bytes.Contains(b, []byte("_REDACTED")) || bytes.Contains(b, []byte("${")) || bytes.Contains(b, []byte("{{")) ||
		bytes.HasPrefix(b, []byte("<")) && bytes.HasSuffix(b, []byte(">")) || !varied(b, min(4, max(2, len(b)/2)))
}
