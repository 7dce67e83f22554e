package privacy

import (
	"bytes"
	"math/bits"
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
	f.lastLabel, f.labels, f.labelled, f.mayLabel = -1, topics{}, 0, 0
	f.row, f.noKey, f.jar = 0, 0, 0
	f.findNamed()
	text := f.text
	taken := f.hits[:found]
	for i := 0; i < len(text); {
		switch byteKind[text[i]] {
		case 0:
			i++
		case sparkByte:
			last := f.spark(i)
			if last > i+1 {
				f.mayLabel = last
			}
			i = last
		default:
			r := rowAt(text, i)
			if f.catalog.labels.mayHave(text, r) {
				f.mayLabel = r.end
			}
			for len(taken) > 0 && taken[0].end <= i {
				taken = taken[1:]
			}
			switch {
			case len(taken) > 0 && taken[0].start <= i && r.end <= taken[0].end && taken[0].by.rank < alwaysLookedFor: // what is within it does not count
				i = r.end
			case r.digits == 0 && f.plain(i, r.end):
				i = r.end
			default:
				if i = f.word(r); i > r.end {
					f.mayLabel = i
				}
			}
		}
	}
}

// plain reports whether a row of letters is nothing but a word.
func (f *finder) plain(i, end int) bool {
	text, n := f.text, end-i
	if n >= shortestEncoded || i+2 < len(text) && mayBeKey(text[i], text[i+1], text[i+2]) {
		return false
	}
	if n > 6 {
		return n != 8 && n != 11 || !upper(text[i])
	}
	if n == 4 && end+5 < len(text) && text[end] == '.' && text[end+5] == '.' {
		return false // aabb.ccdd.eeff
	}
	if n == 2 && end+8 < len(text) && text[end] == '.' && text[end+8] == '/' {
		return false // AB.CDE.345/01FG-82
	}
	return end+1 >= len(text) || !mayFollow(text[end]) || !isDigit(text[end+1]) || text[end] == ' ' && !f.opensPattern(row{start: i, end: end})
}

// opensPattern reports whether a pattern may begin with a row.
func (f *finder) opensPattern(r row) bool {
	of := f.catalog.byRun[r.end-r.start]
	for k := range of {
		if of[k].mayBegin(r, f.text) {
			return true
		}
	}
	return false
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
		if end := f.option(i); end > i {
			return end
		}
	case ':':
		if i+2 < len(f.text) && f.text[i+1] == 'A' && f.text[i+2] == 'A' && i > 0 && isDigit(f.text[i-1]) {
			if end := f.botToken(i); end > i {
				return end
			}
		}
		if i+1 < len(f.text) && f.text[i+1] == '/' {
			if end := f.webhook(i); end > i {
				return end
			}
		}
		if end := f.credentials(i); end > i {
			return end
		}
		if f.anyAt {
			if end := f.driverName(i); end > i {
				return end
			}
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

// word looks at a row that is more than a plain word.
func (f *finder) word(r row) int {
	text, i, end := f.text, r.start, r.end
	n, digits := end-i, bits.OnesCount64(r.digits)
	if digits == n && n < shortestEncoded {
		return f.number(r)
	}
	if i+2 < len(text) && mayBeKey(text[i], text[i+1], text[i+2]) {
		if last := f.key(i); last > i {
			return last
		}
	}
	if digits == 0 {
		if n == 4 && end < len(text) && text[end] == '.' {
			if last := f.dottedMAC(i); last > i {
				return last
			}
		}
		if n == 2 && end+8 < len(text) && text[end+8] == '/' {
			return max(end, f.matchPatterns(r))
		}
		if n <= 6 && (end+1 >= len(text) || !mayFollow(text[end]) || !isDigit(text[end+1])) {
			return end
		}
	}
	if digits > 0 && n >= 6 {
		if last := f.mrz(i); last > i {
			return last
		}
	}
	if digits > 0 && digits < n && len(f.table.text) > 0 {
		if last := f.inColumn(i); last > i {
			return last
		}
	}
	if digits > 0 && digits < n && i > 0 && mayStand[text[i-1]] {
		if last := f.stated(i); last > i {
			return last
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
	if n >= 24 && n <= 28 && end+8 < len(text) && text[end] == '.' && text[end+7] == '.' {
		if last := f.dottedToken(i, end); last > i {
			return last
		}
	}
	if n >= 25 {
		if last := f.wallet(i, end); last > i {
			return last
		}
	}
	if n <= maxRun {
		if last := f.matchPatterns(r); last > i {
			return last
		}
		if digits > 0 && n <= 20 {
			return f.loose(i, end, digits)
		}
	}
	return end
}

// number is word for a few digits, which most rows with digits are.
func (f *finder) number(r row) int {
	text, i, end := f.text, r.start, r.end
	if i+2 < len(text) && mayBeKey(text[i], text[i+1], text[i+2]) {
		if last := f.key(i); last > i {
			return last
		}
	}
	n, next := end-i, byte(0)
	if end < len(text) {
		next = text[end]
	}
	if text[i] == '0' && n > 1 {
		if last := f.abroad(i, end); last > i {
			return last
		}
	}
	if n <= 4 && (next == '.' || next == ':' || next == '-') {
		if last := f.address(i, end); last > i {
			return last
		}
	}
	if f.catalog.numbers[n][next] {
		if last := f.matchPatterns(r); last > i {
			return last
		}
	}
	return f.loose(i, end, n)
}

// mayStand is what stands before a value that words tell of: see stated.
var mayStand = bytesOf(" '\"")

// mayFollow reports whether c may separate the parts of a value that begins
// with letters only.
func mayFollow(c byte) bool { return c == ' ' || c == '-' || c == '.' || c == '/' }

// labelsBefore notes which loose values the words before text[i] tell of.
func (f *finder) labelsBefore(i int) {
	text, j := f.text[:i], max(f.labelled, i-2*wordsBefore)
	if f.labelled = i; f.mayLabel <= j {
		return
	}
	for j > 0 && j < i && byteKind[text[j-1]] == runByte {
		j++ // not in the middle of a word
	}
	for j < i {
		if !asciiLetter(text[j]) {
			j++
			continue
		}
		word := endOfLetters(text, j)
		end := word
		for end < i && byteKind[text[end]] == runByte {
			end++
		}
		if end == word || end == word+1 && word-j > 2 { // cvv2
			f.label(j, word)
		}
		j = end
	}
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
	if f.lastLabel >= 0 && i-f.lastLabel <= wordsBefore && !f.beforeRow(f.lastLabel, i) {
		told = told.or(f.labels)
	}
	if told = told.or(f.column(i)).and(f.catalog.looseOnes); told.none() {
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
const mostLetters = 6

// monthBegins is what the names of months begin with.
var monthBegins = bytesOf("jfmasondegl")

// mayBeDate reports whether one or two digits that end here may begin a date: a
// number or the name of a month follows.
func (f *finder) mayBeDate(end int) bool {
	for j := end; j < len(f.text) && j < end+4; j++ {
		switch c := f.text[j]; {
		case c == ' ', c == '-', c == '.', c == '/', c == ',':
		case j == end:
			return false
		default:
			return isDigit(c) || monthBegins[c|0x20]
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

	// What it wants of the row that it begins with: which are letters, which are
	// digits, and what stands behind: 0 for anything, _ for a separator.
	letters, digits uint64
	next            byte
	then            uint64 // the digits that stand behind a separator: bit 7 of each byte of a word
	most            int    // and how many digits may stand there together
}

// addPattern files a pattern under the lengths of the rows of letters and digits
// that it may begin with.
func (c *catalog) addPattern(d *detector, text string) {
	p, n := pattern{by: d, text: text}, 0
	for k, r := range []byte(text) {
		switch {
		case r == '_':
			p.next, p.then, p.most = r, leadingDigits(text[k+1:]), longestRow(text[k+1:])
			c.addPatternOf(n, p)
			continue
		case r == '9', isDigit(r):
			p.digits |= 1 << n
		case r == 'X':
		case asciiLetter(r):
			p.letters |= 1 << n
		default:
			p.next = r
			c.addPatternOf(n, p)
			return
		}
		n++
	}
	p.next = 0
	c.addPatternOf(n, p)
}

// leadingDigits returns a word with bit 7 of each byte for the digits that a part of
// a pattern begins with, the first eight of them.
func leadingDigits(pattern string) (word uint64) {
	for k := 0; k < min(len(pattern), 8) && pattern[k] == '9'; k++ {
		word |= 0x80 << (8 * k)
	}
	return word
}

// longestRow returns how many letters and digits the text of a part of a pattern
// may begin with.
func longestRow(pattern string) (n int) {
	for k := 0; k < len(pattern) && (pattern[k] == '_' || byteKind[pattern[k]] == runByte); k++ {
		if pattern[k] != '_' {
			n++
		}
	}
	return n
}

// addPatternOf files a pattern that may begin with a row of n letters and digits.
func (c *catalog) addPatternOf(n int, p pattern) {
	c.byRun[n] = append(c.byRun[n], p)
	if n >= shortestEncoded || p.letters != 0 {
		return
	}
	for next := range 256 {
		if p.next == 0 || p.next == byte(next) || p.next == '_' && mayFollow(byte(next)) {
			c.numbers[n][next] = true
		}
	}
}

// mayBegin reports whether p may begin with r, in text. For most rows that is
// all there is to know.
func (p *pattern) mayBegin(r row, text []byte) bool {
	if p.letters&r.digits|p.digits&^r.digits != 0 {
		return false
	}
	switch {
	case p.next == 0:
		return true
	case r.end == len(text):
		return false
	case p.next == '_':
		behind := r.end + 1
		return behind < len(text) && mayFollow(text[r.end]) && p.then&^digitBytes(wordAt(text, behind)) == 0 && endOfDigits(text, behind)-behind <= p.most
	}
	return text[r.end] == p.next
}

// matchPatterns tries all patterns that may begin with a row.
func (f *finder) matchPatterns(r row) int {
	i, of := r.start, f.catalog.byRun[r.end-r.start]
	for k := range of {
		p := &of[k]
		if !p.mayBegin(r, f.text) {
			continue
		}
		chars, end := f.match(p.text, i)
		if end == 0 {
			continue
		}
		left := p.by.valid(chars)
		if left == 0 {
			continue
		}
		conf := p.by.alone * left
		if conf >= f.least && (f.partOfMore(i, end) || f.machineRow(p.text, i, end)) {
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

// machineRow reports whether text[i:end] fits a pattern by chance: lower-case
// hexadecimal is a digest, what stands behind a decimal point or before the sign of
// an exponent a number, letters of both cases a name, and what is in lower case with
// spaces, or fits a pattern that takes nearly all, are words.
func (f *finder) machineRow(pattern string, i, end int) bool {
	text := f.text
	if i >= 2 && text[i-1] == '.' && isDigit(text[i-2]) || end+1 < len(text) && text[end] == '+' && isDigit(text[end+1]) {
		return true
	}
	hex, lower, upperCase, space := true, false, false, false
	for _, c := range text[i:end] {
		hex = hex && (isDigit(c) || c >= 'a' && c <= 'f')
		lower = lower || c >= 'a' && c <= 'z'
		upperCase = upperCase || upper(c)
		space = space || c == ' '
	}
	return hex && lower || lower && (upperCase || space || strings.Trim(pattern, "X9") == "")
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
		bytes.HasPrefix(b, []byte("<")) && bytes.HasSuffix(b, []byte(">")) || len(b) > 2 && b[0] == '[' && endOfLetters(b, 1) == len(b)-1 && b[len(b)-1] == ']' || !varied(b, min(4, max(2, len(b)/2)))
}
