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
	for _, c := range "-:=(+>" {
		t[c] = sparkByte
	}
	return t
}()

// findWords walks from one row of letters and digits to the next, and looks at
// what may begin with it. The first hits found are of digits.
func (f *finder) findWords(found int) {
	f.lastLabel, f.labels, f.labelled = -1, topics{}, 0
	f.row, f.noKey = 0, 0
	f.findNamed()
	text := f.text
	taken := f.hits[:found]
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
			for len(taken) > 0 && taken[0].end <= i {
				taken = taken[1:]
			}
			if len(taken) > 0 && taken[0].start <= i && end <= taken[0].end && taken[0].by.rank < alwaysLookedFor {
				i = end // what is within it does not count
				continue
			}
			if digits == 0 && f.plain(i, end) {
				i = end
				continue
			}
			i = f.word(i, end, digits)
		}
	}
}

// plain reports whether a row of letters is nothing but a word.
func (f *finder) plain(i, end int) bool {
	text, n := f.text, end-i
	if n >= shortestEncoded || i+2 < len(text) && keyStarts.has(text[i], text[i+1], text[i+2]) {
		return false
	}
	if n > 6 {
		return n != 8 && n != 11 || !upper(text[i])
	}
	return end+1 >= len(text) || !mayFollow(text[end]) || !isDigit(text[end+1])
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
	case '>':
		return f.element(i)
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
	if i+2 < len(text) && keyStarts.has(text[i], text[i+1], text[i+2]) {
		if last := f.key(i); last > i {
			return last
		}
	}
	if digits == 0 {
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
	if text[i] == '0' && n > 1 && digits == n {
		if last := f.abroad(i, end); last > i {
			return last
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

// labelsBefore notes which loose values the words before text[i] tell of.
func (f *finder) labelsBefore(i int) {
	j := max(f.labelled, i-2*wordsBefore)
	for j > 0 && j < i && byteKind[f.text[j-1]] == runByte {
		j++ // not in the middle of a word
	}
	for j < i {
		if !asciiLetter(f.text[j]) {
			j++
			continue
		}
		end := j
		for end < i && asciiLetter(f.text[end]) {
			end++
		}
		word := end
		for end < i && byteKind[f.text[end]] == runByte {
			end++
		}
		if end == word || end == word+1 && word-j > 2 { // cvv2
			f.label(j, word)
		}
		j = end
	}
	f.labelled = i
}

// label notes which loose values the words in the row text[i:end] tell of.
func (f *finder) label(i, end int) {
	for i < end {
		next := endOfWord(f.text, i)
		if found := f.catalog.labels.at(f.text, i, next, len(f.text)); !found.none() {
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
	if n := end - i; n-digits > mostLetters || digits < 3 && !f.mayBeDate(end) {
		return end
	}
	f.labelsBefore(i)
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

// mostLetters is how many letters a value without a form of its own may have.
const mostLetters = 4

// mayBeDate reports whether one or two digits that end here may begin a date: a
// number or the name of a month follows.
func (f *finder) mayBeDate(end int) bool {
	for j := end; j < len(f.text) && j < end+4; j++ {
		switch c := f.text[j]; {
		case c == ' ', c == '-', c == '.', c == '/', c == ',':
		case j == end:
			return false
		default:
			return isDigit(c) || bytes.IndexByte([]byte("jfmasond"), c|0x20) >= 0
		}
	}
	return false
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
	classes := []int{0}
	n := 0
	for _, r := range text {
		if r == '_' {
			c.filePattern(n, classes, pattern{d, text})
			continue
		}
		if !strings.ContainsRune("L9X", r) && byteKind[byte(r)] != runByte {
			break
		}
		if n++; n <= 2 {
			classes = extend(classes, r)
		}
	}
	c.filePattern(n, classes, pattern{d, text})
}

// extend adds a character of a pattern to the classes of two characters.
func extend(classes []int, r rune) []int {
	var out []int
	for _, k := range classes {
		if r != '9' && !isDigit(byte(r)) {
			out = append(out, k<<1)
		}
		if r == '9' || r == 'X' || r != 'L' && isDigit(byte(r)) {
			out = append(out, k<<1|1)
		}
	}
	return out
}

func (c *catalog) filePattern(n int, classes []int, p pattern) {
	for _, k := range classes {
		if n == 1 { // the second is not of the row
			c.byRun[n][k<<1] = append(c.byRun[n][k<<1], p)
			k = k<<1 | 1
		}
		c.byRun[n][k] = append(c.byRun[n][k], p)
	}
}

// classOf says whether the first two characters of a row are digits.
func classOf(a, b byte) int {
	k := 0
	if isDigit(a) {
		k = 2
	}
	if isDigit(b) {
		k |= 1
	}
	return k
}

// matchPatterns tries all patterns that may begin with the n letters and digits
// at i.
func (f *finder) matchPatterns(i, n int) int {
	second := byte(0)
	if i+1 < len(f.text) {
		second = f.text[i+1]
	}
	for _, p := range f.catalog.byRun[n][classOf(f.text[i], second)] {
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

// triples is a set of three characters that something begins with. It may hold
// more than was added.
type triples [64]uint64

func tripleAt(a, b, c byte) uint32 {
	return (uint32(a)<<16 | uint32(b)<<8 | uint32(c)) * 2654435761 >> 20
}

func (t *triples) add(a, b, c byte) { t[tripleAt(a, b, c)>>6] |= 1 << (tripleAt(a, b, c) & 63) }
func (t *triples) has(a, b, c byte) bool {
	return t[tripleAt(a, b, c)>>6]>>(tripleAt(a, b, c)&63)&1 != 0
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
