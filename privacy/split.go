package privacy

import "github.com/inter-agent-trust/iatp/internal/ijson"

// A value may be split over neighbouring members whose names tell what it is:
// {"card1":"4532","card2":"0151","card3":"1283","card4":"0366"}, or over the
// elements of an array that has such a name. A split remembers the last such
// parts of one object or array.
type split struct {
	parts [mostParts]part // the last one first
	n     int
}

// Bounds of a part: the groups in which numbers are written.
const (
	mostParts     = 5
	shortestPart  = 2
	longestPart   = 6
	longestEscape = 6 * longestPart
)

// A part is a member or element that holds a few digits and nothing else.
type part struct {
	digits   [longestPart]byte
	n        int
	told     topics // by the names around
	opens    bool   // it is a member, or the first element
	from, to int    // its token
	ordinal  int    // which member or element of the body it is, nowhere for those nested in a string
}

// partBytes are what a part may begin with: digits, or what may fold to one.
var partBytes = func() (t [256]bool) {
	for c := range t {
		t[c] = isDigit(byte(c)) || c >= 0x80 || c == '\\'
	}
	return t
}()

// mayBePart reports whether the text of a leaf may be a part: no more than a few
// digits, and after them nothing or what may fold to one. Nearly no leaf is.
func mayBePart(text []byte) bool {
	if len(text) < shortestPart || len(text) > longestEscape || !partBytes[text[0]] {
		return false
	}
	digits := endOfDigits(text, 0)
	return digits <= longestPart && (digits == len(text) || foldingOf[text[digits]] == foldMore)
}

// newPart makes a part of the text of a leaf that may be one.
func newPart(text []byte) (p part, ok bool) {
	if endOfDigits(text, 0) < len(text) {
		var f folded
		f.fold(text)
		text = f.b
	}
	if len(text) < shortestPart || len(text) > longestPart || endOfDigits(text, 0) < len(text) {
		return p, false
	}
	p.n = copy(p.digits[:], text)
	return p, true
}

// add takes the next part, and returns what is whole with it: the detector, how
// sure that is, and how many of the last parts it takes.
func (s *split) add(c *catalog, p part, least float64) (by *detector, confidence float64, n int) {
	copy(s.parts[1:], s.parts[:])
	s.parts[0] = p
	s.n = min(s.n+1, mostParts)
	var digits [mostParts * longestPart]byte
	for _, d := range c.all {
		if d.min == 0 || !p.told.has(d) {
			continue
		}
		for i := range d.forms {
			fm := &d.forms[i]
			k := len(fm.lengths)
			if fm.shape != groups || !s.fits(fm.lengths, d) {
				continue
			}
			total := 0
			for j := k - 1; j >= 0; j-- {
				total += copy(digits[total:], s.parts[j].digits[:s.parts[j].n])
			}
			if total < d.min || total > d.max {
				continue
			}
			if conf := fm.told * d.valid(digits[:total]); conf >= least {
				s.n = 0
				return d, conf, k
			}
		}
	}
	return nil, 0, 0
}

// fits reports whether the last parts have these lengths, and all tell of d.
func (s *split) fits(lengths string, d *detector) bool {
	k := len(lengths)
	if k < 2 || k > s.n || !s.parts[k-1].opens {
		return false
	}
	for j := range k {
		if p := &s.parts[j]; p.n != int(lengths[k-1-j]-'0') || !p.told.has(d) {
			return false
		}
	}
	return true
}

// addPart looks whether the leaf tok of level n makes a value whole, together
// with those before.
func (w *work) addPart(n int, tok ijson.Token) {
	l := &w.levels[n]
	text := l.doc[tok.Start:tok.End]
	if !mayBePart(text) {
		return
	}
	p, ok := newPart(text)
	if !ok {
		return
	}
	f, depth := &w.finder, l.reader.Depth()
	f.around, f.namesRead = l.path.place(depth), false
	if p.told = f.names().and(f.catalog.digits); p.told.none() {
		return
	}
	p.opens = depth > 0 && (l.path.steps[depth].name.Kind == ijson.Name || l.reader.First())
	p.from, p.to, p.ordinal = tok.Start, tok.End, nowhere
	if n == 0 && depth > 0 {
		_, p.ordinal, _ = l.reader.Step(depth - 1)
	}
	by, conf, k := l.split.add(f.catalog, p, f.least)
	for j := k - 1; j >= 0; j-- {
		q := &l.split.parts[j]
		w.addAt(n, false, &hit{by: by, start: q.from, end: q.to, confidence: conf}, q.ordinal)
	}
}
