package privacy

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// A hit is a value found in a folded text.
type hit struct {
	by         *detector
	start, end int
	confidence float64
	sealed     bool // encoded: no part of it is a part of the value
}

// all reports whether the whole text is one value of the first kinds: others
// would be inside it and count less.
func (f *finder) all() bool {
	return f.catalog.allowed == nil && len(f.catalog.custom) == 0 && len(f.hits) == 1 && f.hits[0].start == 0 && f.hits[0].end == len(f.text) && f.hits[0].by.rank <= emails.rank
}

// sortHits orders hits. They are few and nearly in order, or else many.
func sortHits(hits []hit) {
	if !slices.IsSortedFunc(hits, byStart) {
		slices.SortStableFunc(hits, byStart)
	}
}

// byStart orders hits by where they begin, the longest first, then by rank.
func byStart(a, b hit) int {
	if c := cmp.Compare(a.start, b.start); c != 0 {
		return c
	}
	if c := cmp.Compare(b.end, a.end); c != 0 {
		return c
	}
	return cmp.Compare(a.by.rank, b.by.rank)
}

// A finder looks through one folded text after another.
type finder struct {
	catalog *catalog
	least   float64 // the weakest confidence to report

	text   []byte
	at     []int32 // where text was before folding, as folded has it
	table  table
	around place
	hits   []hit
	walk   walk
	chars  [maxRun + 6]byte // of a pattern

	lastLabel int        // where the last of the words ended that tell of a loose value
	labels    topics     // whom it tells
	labelled  int        // up to where words were read
	mayLabel  int        // where the last row ended that may hold one of the words
	known     *nameCache // what names tell

	veils   []veil   // what could not be looked into
	nested  int      // how often what is read was encoded
	longest int      // how much of what is encoded is read
	taste   [16]byte // the beginning of it: enough to tell text from noise
	decoder *decoder // for what is encoded in the text

	// Rows that were looked through: a row may have many beginnings, and must
	// not be read from each of them.
	row   int // end of the last row of base64
	tries int // how often it was read
	noKey int // end of the last row that was no long key
	jar   int // end of the last cookies

	anyAt     bool   // there is an @ in the text
	named     topics // what the names around tell, if namesRead
	inner     topics // the innermost of them
	namesRead bool
}

// find leaves in f.hits what text holds, in order. Time is linear in the
// length of text: every place is looked at within a bounded distance.
func (f *finder) find(text []byte, around place) []hit {
	f.text, f.around, f.namesRead = text, around, false
	f.hits, f.veils = f.hits[:0], f.veils[:0]
	f.findDigits()
	if f.all() {
		return f.hits
	}
	digits := len(f.hits)
	f.findMailboxes()
	if f.all() {
		return f.hits
	}
	f.findWords(digits)
	f.findCustom()
	if f.catalog.allowed != nil {
		f.withoutAllowed()
	}
	if len(f.hits) > 1 {
		sortHits(f.hits)
		f.hits = withoutRepeats(f.hits)
	}
	return f.hits
}

// withoutRepeats drops what lies within a longer hit, or has the bytes of one
// that counts more, in place. Cards and social security numbers stay wherever
// they are: calls are blocked for them.
func withoutRepeats(hits []hit) []hit {
	kept, reach := hits[:0], 0
	for _, h := range hits {
		if h.end <= reach && h.by.rank >= alwaysLookedFor {
			continue
		}
		kept, reach = append(kept, h), max(reach, h.end)
	}
	return kept
}

// findDigits walks from one group of digits to the next.
func (f *finder) findDigits() {
	w := &f.walk
	last := -1 // end of the group before
	others := 0
	for i, end := nextDigits(f.text, 0); i < len(f.text); i, end = nextDigits(f.text, i) {
		first := last < 0 || !f.joined(last, i)
		n := end - i
		alone := first && !f.mayJoin(end)
		if n > maxDigits || alone && n < fewest || !first && !f.catalog.opens[n] {
			last, i = end, end
			continue
		}
		w.from(f, i, end)
		w.first, w.last = first, last
		if first && !w.more && w.digitsUpTo(w.n-1) < fewest {
			last, i = w.end[w.n-1], w.end[w.n-1] // times, amounts: a chain too short for anything
			continue
		}
		told := telling{f: f, start: i}
		if f.gluedBefore(i) {
			last, i = end, end
			continue
		}
		if d, v := f.judge(&told); v.end > 0 {
			f.hits = append(f.hits, hit{by: d, start: i, end: v.end, confidence: v.confidence})
			last, i = -1, v.end
			continue
		}
		// What others find takes nothing away: a card may begin inside it.
		if first && i >= others {
			if d, v := f.judgeOthers(&told); v.end > 0 {
				f.hits = append(f.hits, hit{by: d, start: i, end: v.end, confidence: v.confidence})
				others = v.end
			}
		}
		last, i = end, end
	}
}

// judgeOthers asks the detectors that need a telling word, or a form that is
// rare, about the walk. There are many of them: each is asked only if the
// number of digits is right.
func (f *finder) judgeOthers(told *telling) (by *detector, best verdict) {
	w, c := &f.walk, f.catalog
	var fit topics
	for k := range w.n {
		fit = fit.or(c.byCount[w.digitsUpTo(k)])
	}
	if fit.none() {
		return nil, verdict{}
	}
	if f.least >= reported { // else a check digit alone may be enough
		if fit = fit.and(told.within(w.end[0], w.end[w.n-1]).or(c.byForm.of(w))); fit.none() {
			return nil, verdict{}
		}
	}
	for !fit.none() {
		d := c.byTopic[fit.take()]
		if v := f.ask(d, w, told); v.confidence > best.confidence {
			by, best = d, v
		}
	}
	return by, best
}

// judge asks the detectors of cards and social security numbers about the walk.
func (f *finder) judge(told *telling) (*detector, verdict) {
	w := &f.walk
	for _, d := range f.catalog.always {
		if w.digitsUpTo(w.n-1) < d.min {
			continue
		}
		if v := f.ask(d, w, told); v.end > 0 {
			return d, v
		}
	}
	return nil, verdict{}
}

// maxDigits is the length of the longest value made of digits.
const maxDigits = 19

// A plainForm is a form as it is written most: with one dash or one space between
// two groups, or in one row.
type plainForm struct {
	by     *detector
	form   *form
	digits uint64 // which of the characters are digits
}

// Bounds of the texts that plain forms are compared with.
const (
	shortestPlain = len("536-90-4399")
	longestPlain  = 24
)

// addPlain adds the plain forms of d: of forms that need no telling word, and no
// form before them takes the beginning of.
func (c *catalog) addPlain(d *detector) {
	for i := range d.forms {
		fm := &d.forms[i]
		begins := func(other form) bool { return other.lengths != "" && strings.HasPrefix(fm.lengths, other.lengths) }
		switch {
		case fm.alone < reported || fm.begins != "":
		case fm.shape == run:
			for n := max(d.min, shortestPlain); n <= d.max; n++ {
				c.plain[n] = append(c.plain[n], plainForm{d, fm, 1<<n - 1})
			}
		case fm.shape == groups && strings.IndexByte(fm.seps, '-') >= 0 && strings.IndexByte(fm.seps, ' ') >= 0 && !slices.ContainsFunc(d.forms[:i], begins):
			p, size := plainForm{by: d, form: fm}, -1
			for _, n := range []byte(fm.lengths) {
				p.digits |= (1<<(n-'0') - 1) << (size + 1)
				size += 1 + int(n-'0')
			}
			c.plain[size] = append(c.plain[size], p)
		}
	}
}

// whole returns who finds that text is nothing but a value in its plain form, and how
// sure that is: what find would find, sooner. If it is nobody, find has to say.
func (f *finder) whole(text []byte) (by *detector, confidence float64) {
	if c := f.catalog; c.allowed != nil || len(c.custom) > 0 {
		return nil, 0
	}
	if isDigit(text[0]) {
		if by, confidence = f.wholeNumber(text); by != nil {
			return by, confidence
		}
	}
	if emailConfidence >= f.least && wholeMailbox(text) {
		return &emails, emailConfidence
	}
	return nil, 0
}

// mayBeWhole reports whether it is worth asking whole about text: it begins with a
// digit, or has a dot where one stands in most addresses.
func mayBeWhole(text []byte) bool {
	n := len(text)
	return n >= shortestText && n <= maxLocal && (isDigit(text[0]) || text[n-4] == '.' || text[n-3] == '.' || text[n-5] == '.')
}

// wholeNumber is whole for values made of digits.
func (f *finder) wholeNumber(text []byte) (by *detector, confidence float64) {
	n := len(text)
	if n < shortestPlain || n > longestPlain {
		return nil, 0
	}
	var digits uint64
	for k := 0; k < n; k += 8 {
		digits |= gather(digitBytes(wordAt(text, k))) << k
	}
	return f.plainNumber(text, digits)
}

// plainNumber is wholeNumber for a text that is not too short or too long, where it is
// known which of the characters are digits.
func (f *finder) plainNumber(text []byte, digits uint64) (by *detector, confidence float64) {
	of := f.catalog.plain[len(text)]
	for i := range of {
		if p := &of[i]; p.digits == digits {
			return p.judge(f, text)
		}
	}
	return nil, 0
}

// judge checks the separators and the digits of a text that has the form.
func (p *plainForm) judge(f *finder, text []byte) (by *detector, confidence float64) {
	digits := text
	if p.form.shape == groups {
		i, count, into := 0, 0, &f.walk.digits
		for k, n := range []byte(p.form.lengths) {
			if k > 0 {
				if c := text[i]; c != '-' && c != ' ' || c != text[p.form.lengths[0]-'0'] {
					return nil, 0
				}
				i++
			}
			binary.LittleEndian.PutUint64(into[count:], wordAt(text, i))
			i, count = i+int(n-'0'), count+int(n-'0')
		}
		digits = into[:count]
	}
	if confidence = p.form.alone * p.by.valid(digits); confidence < max(reported, f.least) {
		return nil, 0
	}
	return p.by, confidence
}

// joined reports whether nothing but a few separators is between two places.
func (f *finder) joined(from, to int) bool {
	if to == from || to-from > maxSeps {
		return false
	}
	for _, c := range f.text[from:to] {
		if !separator[c] {
			return false
		}
	}
	return true
}

// mayJoin reports whether another group of digits may be joined to one that ends
// at i: behind most numbers in prose there is a space and then a word.
func (f *finder) mayJoin(i int) bool {
	if i+1 >= len(f.text) || !separator[f.text[i]] {
		return false
	}
	c := f.text[i+1]
	return isDigit(c) || separator[c]
}

var separator = [256]bool{' ': true, '-': true, '.': true, '/': true, '_': true, '+': true}

// A walk is a chain of groups of digits, seen from one of them.
type walk struct {
	start  int
	first  bool // nothing is joined before
	last   int  // end of the group before, unless first
	more   bool // the chain goes on, or its next group is too long for any value
	n      int  // groups
	total  [maxDigits]uint8
	end    [maxDigits]int
	digits [maxDigits + 13]byte // the last word written to it may reach beyond the last digit
	code   uint64               // the lengths of the first groups: see lengthsCode
}

// groupBits is how many bits the length of a group takes in a code of lengths,
// which knows the first twelve.
const groupBits = 5

// lengthsCode makes one number of the lengths of groups, and a mask of the bits
// that it takes: a walk begins with groups of these lengths if its code has them.
func lengthsCode(lengths string) (code, mask uint64) {
	for k := range len(lengths) {
		code |= uint64(lengths[k]-'0') << (groupBits * k)
	}
	return code, 1<<(groupBits*len(lengths)) - 1
}

// digitsUpTo returns how many digits there are up to and with group k.
func (w *walk) digitsUpTo(k int) int { return int(w.total[k]) }

// startOf returns where group k, which is not the first, begins.
func (w *walk) startOf(k int) int { return w.end[k] - int(w.total[k]-w.total[k-1]) }

// from collects groups as long as their digits are at most maxDigits.
func (w *walk) from(f *finder, i, end int) {
	w.start, w.n, w.more, w.code = i, 0, false, 0
	text, count := f.text, 0
	for {
		n := end - i
		if w.more = n > maxDigits-count; w.more {
			return
		}
		for k := 0; k < n; k += 8 {
			binary.LittleEndian.PutUint64(w.digits[count+k:], wordAt(text, i+k))
		}
		count += n
		w.code |= uint64(n) << (groupBits * w.n)
		w.total[w.n], w.end[w.n] = uint8(count), end
		w.n++
		i = end
		for i < len(text) && i-end <= maxSeps && separator[text[i]] {
			i++
		}
		if i == end || i-end > maxSeps || i == len(text) || !isDigit(text[i]) {
			return
		}
		end = endOfDigits(text, i)
	}
}

// sep returns the separators between group k and the next.
func (f *finder) sep(w *walk, k int) []byte {
	start := w.end[k]
	end := start
	for end < len(f.text) && separator[f.text[end]] {
		end++
	}
	return f.text[start:end]
}

// A verdict is where a value ends, and how sure that is; no value ends at 0.
type verdict struct {
	end        int
	confidence float64
}

// ask tries the forms of one detector on a walk.
func (f *finder) ask(d *detector, w *walk, told *telling) verdict {
	for i := range d.forms {
		fm := &d.forms[i]
		switch fm.shape {
		case run:
			if n := w.digitsUpTo(0); n >= d.min && n <= d.max && !f.fraction(w) {
				if v := f.weigh(d, fm, w, 0, told); v.end > 0 {
					return v
				}
			}
		case groups:
			if w.code&fm.mask != fm.code {
				continue
			}
			if k := len(fm.lengths) - 1; string(w.digits[:len(fm.begins)]) == fm.begins && f.separated(fm, w, k) {
				if v := f.weigh(d, fm, w, k, told); v.end > 0 {
					return v
				}
			}
		case chain:
			if v := f.askChain(d, fm, w, told); v.end > 0 {
				return v
			}
		}
	}
	return verdict{}
}

// askChain tries a whole chain and, beside a telling word, what it begins with.
func (f *finder) askChain(d *detector, fm *form, w *walk, told *telling) verdict {
	if !w.first {
		return verdict{}
	}
	for k := w.n - 1; k > 0; k-- {
		n := w.digitsUpTo(k)
		if n > d.max {
			continue
		}
		if n < d.min {
			break
		}
		whole := k == w.n-1 && !w.more && f.uniform(w, k) && w.even(k)
		if !whole && !told.yes(d, w.end[k]) {
			continue
		}
		if v := f.weigh(d, fm, w, k, told); v.end > 0 {
			return v
		}
	}
	return verdict{}
}

// separated checks the separators inside a form and, if it is single, that no
// group is joined to it in the same way or by anything but spaces.
func (f *finder) separated(fm *form, w *walk, k int) bool {
	for g := 0; g < k && fm.seps != anySep; g++ {
		for _, c := range f.sep(w, g) {
			if strings.IndexByte(fm.seps, c) < 0 {
				return false
			}
		}
	}
	if !fm.single {
		return true
	}
	kind := f.text[w.startOf(k)-1]
	if !w.first && !apart(f.text[w.last:w.start], kind) {
		return false
	}
	after := f.sep(w, k)
	next := w.end[k] + len(after)
	return len(after) == 0 || next == len(f.text) || !isDigit(f.text[next]) || apart(after, kind)
}

// apart reports whether separators between two groups part them, though the
// groups of each are held together by kind.
func apart(seps []byte, kind byte) bool {
	for _, c := range seps {
		if c != ' ' || kind == ' ' {
			return false
		}
	}
	return true
}

// uniform reports whether the groups up to k have the same separators
// throughout, and are neither a number with a fraction nor two ids in a path
// (/4000000000/006).
func (f *finder) uniform(w *walk, k int) bool {
	s := f.sep(w, 0)
	for g := 1; g < k; g++ {
		if !bytes.Equal(s, f.sep(w, g)) {
			return false
		}
	}
	return k > 1 || s[0] != '.' && (s[0] != '/' || w.total[0]%4 == 0 || w.total[0] == 6)
}

// even reports whether all groups but the last one have the same length, or lengths
// that are made of fours. Others are a list of numbers, or the number of an order
// (113-1234567-1234567).
func (w *walk) even(last int) bool {
	same, fours := true, true
	for k := range last {
		same = same && w.total[k] == w.total[0]*uint8(k+1)
		fours = fours && w.total[k]%4 == 0
	}
	return same || fours
}

// wide reports whether two groups up to k have more than one character between
// them, as columns have.
func (f *finder) wide(w *walk, k int) bool {
	for g := range k {
		if i := w.end[g] + 1; separator[f.text[i]] {
			return true
		}
	}
	return false
}

// dumped reports whether a pair of hexadecimal digits, parted by a space, stands
// before or after text[i:end]: it is part of the dump of some bytes.
func (f *finder) dumped(i, end int) bool {
	pair := func(at int) bool {
		return at >= 0 && at+2 <= len(f.text) && isHex(f.text[at:at+2]) && (at == 0 || byteKind[f.text[at-1]] != runByte) && (at+2 == len(f.text) || byteKind[f.text[at+2]] != runByte)
	}
	return i > 0 && f.text[i-1] == ' ' && (pair(i-3) || i > 1 && f.text[i-2] == ' ' && pair(i-4)) || end < len(f.text) && f.text[end] == ' ' && pair(end+1)
}

// fraction reports whether the walk begins behind a decimal point.
func (f *finder) fraction(w *walk) bool {
	i := w.start
	return i >= 2 && f.text[i-1] == '.' && isDigit(f.text[i-2])
}

// weigh decides about the groups of the walk up to k, written in form fm.
func (f *finder) weigh(d *detector, fm *form, w *walk, k int, told *telling) verdict {
	end := w.end[k]
	digits := w.digits[:w.total[k]]
	if f.gluedAfter(end) || f.phone(w.start, len(digits)) {
		return verdict{}
	}
	if fm.alone < f.least && !told.yes(d, end) {
		return verdict{}
	}
	left := d.valid(digits)
	if left == 0 {
		return verdict{}
	}
	if d.rank >= alwaysLookedFor && fm.shape == chain && f.isoDate(w.start) {
		return verdict{}
	}
	conf := fm.alone * left
	if d.rank >= alwaysLookedFor && k > 0 && f.wide(w, k) {
		if fm.shape == chain {
			return verdict{}
		}
		conf = 0
	}
	if conf > 0 && fm.begins != "" && f.dumped(w.start, end) {
		conf = 0
	}
	if (conf < reported || d.rank >= alwaysLookedFor && conf >= f.least) && fm.told*left > conf && told.yes(d, end) {
		conf = fm.told * left
	}
	if conf < f.least {
		return verdict{}
	}
	return verdict{end, conf}
}

// telling looks for telling words around a place, once.
type telling struct {
	f         *finder
	start     int
	asked     bool
	before    topics // and what the names tell
	after     topics
	afterFrom int
}

// A telling word stands at most this many characters before or after a value.
const (
	wordsBefore = 32
	wordsAfter  = 24
)

// yes reports whether something tells of d around a value that ends at end.
func (t *telling) yes(d *detector, end int) bool { return t.about(end).has(d) }

// about returns what is told around a value that ends at end.
func (t *telling) about(end int) topics {
	if t.afterFrom != end {
		t.afterFrom, t.after = end, t.f.catalog.lexicon.read(t.f.text, end, end+wordsAfter)
	}
	return t.fromBefore().or(t.after)
}

// fromBefore returns what is told before the place, and by the names around.
func (t *telling) fromBefore() topics {
	if !t.asked {
		t.asked = true
		t.before = t.f.names().or(t.f.column(t.start)).or(t.f.catalog.lexicon.read(t.f.text, t.start-wordsBefore, t.start))
	}
	return t.before
}

// within returns what is told around values that begin where the telling does,
// and end from one place to another: perhaps more than of each of them.
func (t *telling) within(from, to int) topics {
	return t.fromBefore().or(t.f.catalog.lexicon.read(t.f.text, from, to+wordsAfter))
}

// names returns what the names around the text tell.
func (f *finder) names() topics {
	if !f.namesRead {
		f.namesRead = true
		f.readNames()
	}
	return f.named
}

// maxGlue is how far letters beside digits are followed.
const maxGlue = 32

// gluedBefore reports whether the digits at i are part of a hexadecimal number:
// only the letters a to f stand directly before, or 0x does. Other letters do
// not count, or "card4532..." would hide a card.
func (f *finder) gluedBefore(i int) bool {
	j := i
	for j > 0 && i-j < maxGlue && isLetter(f.text[j-1]) {
		j--
		if !isHexLetter(f.text[j]) {
			return j+1 == i && f.text[j]|0x20 == 'x' && j > 0 && f.text[j-1] == '0'
		}
	}
	if j+1 == i && f.text[j] == 'B' && j > 0 && f.text[j-1] == '%' {
		return false // what a magnetic stripe begins with: ISO/IEC 7813
	}
	return j < i
}

// gluedAfter is gluedBefore for what follows.
func (f *finder) gluedAfter(i int) bool {
	j := i
	for j < len(f.text) && j-i < maxGlue && isLetter(f.text[j]) {
		if !isHexLetter(f.text[j]) {
			return false
		}
		j++
	}
	return j > i
}

// phone reports whether n digits at i are an international telephone number:
// E.164 has at most 15 digits behind a plus. A plus behind a letter or a digit
// is a space of a query string.
func (f *finder) phone(i, n int) bool {
	return n <= 15 && i > 0 && f.text[i-1] == '+' && (i == 1 || !isLetter(f.text[i-2]) && !isDigit(f.text[i-2]))
}

// nextDigits returns where the first digits from i on begin and end, len(b) if
// there are none.
func nextDigits(b []byte, i int) (start, end int) {
	for ; i < len(b); i += 8 {
		m := digitBytes(wordAt(b, i))
		if m == 0 {
			continue
		}
		n := bits.TrailingZeros64(m)
		if over := highs &^ m >> n << n; over != 0 {
			return i + n/8, i + bits.TrailingZeros64(over)/8
		}
		return i + n/8, endOfDigits(b, i+8)
	}
	return len(b), len(b)
}

// endOfDigits returns the end of the digits at b[i].
func endOfDigits(b []byte, i int) int {
	for ; i < len(b); i += 8 {
		if over := highs &^ digitBytes(wordAt(b, i)); over != 0 {
			return i + bits.TrailingZeros64(over)/8
		}
	}
	return min(i, len(b))
}
