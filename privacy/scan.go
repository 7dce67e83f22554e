package privacy

import (
	"cmp"
	"io"
	"slices"
	"sync"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// maxNesting is how deep JSON nested in strings is read as JSON.
const maxNesting = 4

// maxPointers is how many bytes of pointers one report holds.
const maxPointers = 64 << 10

// A level is the reading of one document: the body, or one nested in a string.
type level struct {
	reader ijson.Reader
	doc    []byte
	path   path
	split  split

	// plain has what is known of names by their shape for the reader, if they hold
	// nothing themselves: good for a catalog, and until the reader has forgotten.
	plain     []plainName
	catalog   *catalog
	forgotten int

	// Where doc stands in the document around it: decoded from outer[base:],
	// doc[i] from outer[base+at[i]]. A nil at means that nothing was escaped.
	base int
	at   []int32

	// The last string with escapes, and where its bytes came from.
	text []byte
	from []int32
}

// A plainName is what is known of a name that holds nothing itself.
type plainName struct {
	told          topics
	role          role
	labels, known bool
}

// note notes what is known of the names of a shape.
func (l *level) note(shape int, j judged, of role) {
	for shape >= len(l.plain) {
		l.plain = append(l.plain, plainName{})
	}
	l.plain[shape] = plainName{j.told, of, j.labels, true}
}

// recall forgets what is known of names by shapes that mean others by now.
func (l *level) recall(c *catalog) {
	if forgotten := l.reader.Forgotten(); l.catalog != c || l.forgotten != forgotten {
		l.plain, l.catalog, l.forgotten = l.plain[:0], c, forgotten
	}
}

// open makes doc, at a place of the document around it, the one to read.
func (l *level) open(doc []byte, base int, at []int32, outside place) {
	l.doc, l.base, l.at = doc, base, at
	l.path.doc, l.path.outside = doc, outside
}

// work is the memory of one scan, kept for the next.
type work struct {
	finder  finder
	folded  folded
	spliced folded // folded, after what was found has gone
	found   []hit
	// nothingLeft says that what find found last were all in one round, and that
	// nothing is found once placeholders stand for them.
	nothingLeft bool

	veils   []veil
	levels  [maxNesting + 1]level
	deepest int // last level to read

	form     ijson.Form // of the body, if somebody wants it
	report   Report
	findings []Finding // of the report, while it is made
	spots    []spot    // where the pointers of the findings are
	pointers []byte
	budget   int // bytes of pointers left
	places   pointers
	cleaner  *work // of pointers with sensitive names

	number, padded [maxDigits]byte
}

// works are kept for the next scan, of whatever Scanner.
var works = sync.Pool{New: func() any { return new(work) }}

func (s *Scanner) work() *work { return workFor(s.catalog(), s.leastConfidence()) }

func workFor(c *catalog, least float64) *work {
	w := works.Get().(*work)
	w.report, w.budget, w.deepest = Report{}, maxPointers, maxNesting
	w.finder.longest = longestEncoded
	w.use(c, least)
	return w
}

// use makes w look for what is in a catalog.
func (w *work) use(c *catalog, least float64) {
	if w.finder.catalog != c || w.finder.known == nil {
		w.finder.known = new(nameCache)
	}
	w.finder.catalog, w.finder.least = c, least
}

// maxScratch is how large a buffer may be and still be kept.
const maxScratch = 1 << 20

// maxKept is for how many findings memory is kept: those of a MiB that is full of
// them.
const maxKept = 3 << 14

// release keeps w for the next scan, but neither text nor unusually much memory.
func (w *work) release() {
	w.report, w.form = Report{}, ijson.Form{}
	w.finder.text, w.finder.around, w.finder.at = nil, place{}, nil
	w.finder.table.reset(nil)
	if w.cleaner != nil {
		w.cleaner.finder.text, w.cleaner.finder.around, w.cleaner.finder.at = nil, place{}, nil
		w.cleaner.finder.table.reset(nil)
	}
	for i := range w.levels {
		l := &w.levels[i]
		if l.doc == nil {
			break // nor were those below
		}
		l.reader.Reset(nil, Limits{})
		l.open(nil, 0, nil, place{})
		if cap(l.text) > maxScratch {
			l.text, l.from = nil, nil
		}
	}
	if cap(w.findings) > maxKept {
		w.findings, w.spots = nil, nil
	}
	if cap(w.places.text) > maxScratch {
		w.places = pointers{}
	}
	if cap(w.folded.b) > maxScratch {
		w.folded = folded{}
	}
	if cap(w.spliced.b) > maxScratch {
		w.spliced = folded{}
	}
	if max(cap(w.found), cap(w.finder.hits)) > maxScratch>>6 {
		w.finder.hits, w.found = nil, nil
	}
	works.Put(w)
}

// ScanJSON checks that body is one valid I-JSON document within lim and looks
// for sensitive values in its strings, numbers and member names, and in JSON
// nested in its strings. An error is an *ijson.Error; the report is then empty.
func (s *Scanner) ScanJSON(body []byte, lim Limits) (Report, error) {
	w := s.work()
	defer w.release()
	return w.scanJSON(body, lim)
}

// ScanCanonical is ScanJSON, and appends the canonical form of the body (RFC 8785) to dst in the
// same pass. ok is false, and dst as it was, if that form has more than most bytes, is deeper than depth, or the body holds a
// number that no IEEE 754 double can hold. dst and body must not overlap.
func (s *Scanner) ScanCanonical(dst, body []byte, lim Limits, most, depth int) (r Report, form []byte, ok bool, err error) {
	w := s.work()
	defer w.release()
	w.form = ijson.NewForm(dst, body, most, depth, &w.levels[0].reader)
	r, err = w.scanJSON(body, lim)
	form, ok = w.form.End()
	if err != nil {
		return r, dst, false, err
	}
	return r, form, ok, nil
}

func (w *work) scanJSON(body []byte, lim Limits) (Report, error) {
	l := &w.levels[0]
	l.open(body, 0, nil, place{})
	w.report.Findings, w.spots, w.pointers = w.findings[:0], w.spots[:0], w.pointers[:0]
	err := w.scanDocument(0, lim)
	w.findings = w.report.Findings
	if err != nil {
		return Report{}, err
	}
	r := w.report
	r.Findings, r.list = w.located()
	r.json, r.limits = true, lim
	r.catalog, r.least = w.finder.catalog, w.finder.least
	return r, nil
}

// scanDocument reads the document of w.levels[n] to its end.
func (w *work) scanDocument(n int, lim Limits) error {
	l := &w.levels[n]
	l.reader.Reset(l.doc, lim)
	l.recall(w.finder.catalog)
	l.split.n = 0
	if n == 0 {
		w.places.reset()
	}
	custom := len(w.finder.catalog.custom) > 0
	l.path.labels = n > 0 || l.path.outside.told()
	telling := l.path.labels // a name around may make the value one to read
	of := role(0)            // of the name that the value stands under
	form := n == 0 && w.form.Wanted()
	for {
		tok, err := l.reader.Next()
		if err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if form && w.form.Needs(tok) {
			form = w.form.Add(tok)
		}
		switch tok.Kind {
		case ijson.String:
			if of != 0 {
				l.path.call(l.reader.Depth(), tok)
			}
			size := tok.End - tok.Start
			if custom || telling && size >= shortestNamed || size >= shortestText && worthReading(l.doc, tok) {
				w.scanString(n, tok, lim)
			}
			if size >= shortestPart && size <= longestEscape && partBytes[l.doc[tok.Start]] {
				w.addPart(n, tok)
			}
		case ijson.Name:
			telling, of = w.scanName(n, tok, lim)
		case ijson.Number:
			if telling && tok.End-tok.Start >= shortestNamed && w.labelled(n) && w.scanString(n, tok, lim) {
				continue
			}
			if tok.End-tok.Start >= fewest-maxPad {
				w.scanNumber(n, tok)
			} else if tok.End-tok.Start >= shortestPart {
				w.addPart(n, tok)
			}
		case ijson.EndObject, ijson.EndArray:
			l.split.n, of = 0, 0
			telling = l.path.labelled(l.reader.Depth())
		case ijson.BeginObject, ijson.BeginArray:
			l.split.n, of = 0, 0
			l.path.enter(l.reader.Depth())
			telling = l.path.labelled(l.reader.Depth())
		}
	}
}

// labelled reports whether a name around makes a value of what the reader is at.
func (w *work) labelled(n int) bool {
	l, f := &w.levels[n], &w.finder
	f.around, f.namesRead = l.path.place(l.reader.Depth()), false
	return !f.names().and(f.catalog.labelled).none()
}

// scanName looks at the name of a member, and reports whether it or the next one
// around it may make its value one to read, and its role.
func (w *work) scanName(n int, tok ijson.Token, lim Limits) (telling bool, of role) {
	l := &w.levels[n]
	f, depth := &w.finder, l.reader.Depth()
	s := l.path.at(depth)
	shape := l.reader.Shape()
	if shape < len(l.plain) {
		// Nearly all names are short, hold nothing themselves, and have come before.
		if k := &l.plain[shape]; k.known {
			s.name, s.role, s.told, s.read, s.labels = tok, k.role, k.told, true, k.labels
			return k.labels || s.outer[0], k.role
		}
	}
	if size := tok.End - tok.Start; shape == 0 && size >= 2 && size <= 16 && !tok.Escaped && len(f.catalog.custom) == 0 {
		if k := f.knownName(l.doc[tok.Start:tok.End]); !k.odd && k.role != holds {
			s.name, s.role, s.told, s.read, s.labels = tok, k.role, k.topics, true, k.labels
			return k.labels || s.outer[0], k.role
		}
	}
	j, of := f.judgeName(l.doc, tok)
	if shape > 0 && of != holds && j.read && !j.odd && len(f.catalog.custom) == 0 {
		l.note(shape, j, of)
	}
	if of == holds && l.path.set(depth, tok, holds) {
		s.labels = !f.topicsOf(nameText(l.doc, s.alias)).and(f.catalog.labelled).none()
	} else {
		s.name, s.role, s.told, s.read, s.labels = tok, of, j.told, j.read, j.labels
	}
	telling = s.labels || s.outer[0]
	if j.odd || len(f.catalog.custom) > 0 {
		w.scanString(n, tok, lim)
	}
	return telling, of
}

// worthReading is the prefilter of strings and names.
func worthReading(doc []byte, tok ijson.Token) bool {
	if tok.End-tok.Start < shortestText {
		return false
	}
	if tok.Escaped {
		return siftEscaped(doc[tok.Start:tok.End])
	}
	return !machineMade(doc[tok.Start:tok.End]) && sift(doc[tok.Start:tok.End])
}

// scanString looks into a string or a name, or a number whose name makes it a
// value. It reports whether something was found.
func (w *work) scanString(n int, tok ijson.Token, lim Limits) bool {
	l := &w.levels[n]
	text, from := l.doc[tok.Start:tok.End], []int32(nil)
	if tok.Escaped {
		l.text, l.from = decode(l.text[:0], l.from[:0], text)
		text, from = l.text, l.from
	} else if mayBeWhole(text) {
		if by, confidence := w.finder.whole(text); by != nil {
			w.add(n, tok.Kind == ijson.Name, &hit{by: by, start: tok.Start, end: tok.End, confidence: confidence})
			return true
		}
	} else if tok.Kind == ijson.String && !l.path.labelled(l.reader.Depth()) {
		if h := w.finder.amongWords(text); h.by != nil {
			h.start, h.end = tok.Start+h.start, tok.Start+h.end
			w.add(n, false, &h)
			return true
		}
	}
	around := l.path.of(l.reader.Depth(), tok)
	if tok.Kind == ijson.String && looksLikeJSON(text) {
		if n == w.deepest {
			if ijson.Check(text, lim) == nil {
				w.addOpaque(n, OpaqueDepth, tok.Start, tok.End)
			}
		} else if w.scanNested(n+1, text, from, tok.Start, around, lim) {
			return true
		}
	}
	hits := w.find(text, around)
	for i := range hits {
		h := &hits[i]
		if from != nil {
			h.start, h.end = int(from[h.start]), int(from[h.end])
		}
		h.start, h.end = tok.Start+h.start, tok.Start+h.end
		w.add(n, tok.Kind == ijson.Name, h)
	}
	for _, v := range w.veils {
		start, end := v.start, v.end
		if from != nil {
			start, end = int(from[start]), int(from[end])
		}
		w.addOpaque(n, v.reason, tok.Start+start, tok.Start+end)
	}
	return len(hits) > 0
}

// looksLikeJSON reports whether it is worth trying to read text as a document
// of its own. A bare number or word reads the same as text.
func looksLikeJSON(text []byte) bool {
	i, j := 0, len(text)
	for i < j && text[i] <= ' ' {
		i++
	}
	for i < j && text[j-1] <= ' ' {
		j--
	}
	if j-i < 2 {
		return false
	}
	switch first, last := text[i], text[j-1]; first {
	case '{':
		return last == '}'
	case '[':
		return last == ']'
	case '"':
		return last == '"'
	}
	return false
}

// scanNested reads text as a document of its own. If it is none, nothing of it
// is reported.
func (w *work) scanNested(n int, text []byte, from []int32, base int, around place, lim Limits) bool {
	found, spots, opaque := len(w.report.Findings), len(w.spots), len(w.report.Opaque)
	l := &w.levels[n]
	l.open(text, base, from, around)
	if w.scanDocument(n, lim) == nil {
		return true
	}
	w.report.Findings, w.spots, w.report.Opaque = w.report.Findings[:found], w.spots[:spots], w.report.Opaque[:opaque]
	return false
}

// find returns what is in text, in order and in places of text, until it is called
// again. That includes what shows only once something else is gone: a row of digits that an address
// made longer. So a report names all that has to go.
func (w *work) find(text []byte, around place) []hit {
	read := text
	need := needsFold(text)
	switch need {
	case foldNothing:
		w.folded.b, w.folded.at = w.folded.b[:0], w.folded.at[:0]
	case foldSpace:
		w.folded.keep(text)
		read = w.folded.b
	default:
		w.folded.fold(text)
		read = w.folded.b
	}
	w.finder.at = w.folded.at
	w.finder.table.reset(text)
	hits := w.finder.find(read, around)
	w.veils = w.veils[:0]
	for _, v := range w.finder.veils {
		w.veils = append(w.veils, veil{v.reason, w.folded.place(v.start), w.folded.place(v.end)})
	}
	if len(hits) == 0 {
		return nil
	}
	if len(w.folded.at) == 0 && !w.finder.mayShow(hits) { // as it nearly always is
		w.nothingLeft = need == foldNothing
		return hits
	}
	w.found, w.nothingLeft = w.found[:0], false
	for round := range maxRounds {
		if len(hits) == 0 {
			w.nothingLeft = need == foldNothing && round == 1
			break
		}
		for _, h := range hits {
			h.start, h.end = w.folded.place(h.start), w.folded.place(h.end)
			w.found = append(w.found, h)
		}
		if !w.finder.mayShow(hits) {
			w.nothingLeft = need == foldNothing && round == 0
			break
		}
		if len(w.folded.b) == 0 {
			w.folded.keep(text)
		}
		w.spliced.splice(&w.folded, hits)
		w.folded, w.spliced = w.spliced, w.folded
		w.finder.at = w.folded.at
		hits = w.finder.find(w.folded.b, around)
	}
	sortHits(w.found)
	return w.found
}

// mayShow reports whether more may be found once hits have gone from the text:
// something is left that is worth reading, or was joined to a hit, or the names
// around make a value of what is not worth reading.
func (f *finder) mayShow(hits []hit) bool {
	if len(f.catalog.custom) > 0 {
		return true
	}
	if hits[0].start == 0 && hits[0].end == len(f.text) {
		return false
	}
	if !f.names().and(f.catalog.labelled).none() {
		return true
	}
	end := 0
	for _, h := range hits {
		if h.start > end && (byteKind[f.text[h.start-1]] == runByte || sift(f.text[end:h.start])) || h.end < len(f.text) && byteKind[f.text[h.end]] == runByte {
			return true
		}
		end = max(end, h.end)
	}
	return sift(f.text[end:])
}

// maxPad is how many leading zeros a number under a telling name may lack.
const maxPad = 2

// scanNumber looks at a number: no detector cares how its value is written.
func (w *work) scanNumber(n int, tok ijson.Token) {
	l := &w.levels[n]
	number, f := l.doc[tok.Start:tok.End], &w.finder
	f.around, f.namesRead = l.path.place(l.reader.Depth()), false
	row := number
	if number[0] == '-' {
		row = number[1:]
	}
	if len(row) <= maxDigits && endOfDigits(row, 0) == len(row) {
		// It is read as it would be in text: identifiers have up to 19 digits, and few
		// of them are doubles.
		w.scanDigits(n, tok, row)
		return
	}
	d := decimalOf(number)
	if !d.mayBeInteger() {
		return
	}
	if !w.scanDigits(n, tok, d.integer(w.number[:0], number)) && d.rounds() {
		w.scanDigits(n, tok, rounded(w.number[:0], number))
	}
}

// scanDigits asks about the digits of a number, and reports whether they are a
// value.
func (w *work) scanDigits(n int, tok ijson.Token, digits []byte) bool {
	f := &w.finder
	switch {
	case len(digits) < fewest-maxPad:
		return false
	case w.askAbout(n, tok, digits, f.catalog.first):
		return true
	case f.least < reported:
		return w.askAbout(n, tok, digits, f.catalog.digits)
	}
	return w.askAbout(n, tok, digits, f.names().or(f.catalog.alone).and(f.catalog.digits))
}

// askAbout asks some detectors about the digits of a number, and reports whether
// one of them knows it.
func (w *work) askAbout(n int, tok ijson.Token, digits []byte, who topics) bool {
	f := &w.finder
	for !who.none() {
		d, padded := f.catalog.byTopic[who.take()], digits
		if missing := d.min - len(digits); missing > 0 && missing <= d.pad {
			padded = append(append(w.padded[:0], "000000000"[:missing]...), digits...)
		}
		if len(padded) < d.min || len(padded) > d.max {
			continue
		}
		if conf := d.weighRun(padded, f); conf >= f.least {
			w.add(n, false, &hit{by: d, start: tok.Start, end: tok.End, confidence: conf})
			return true
		}
	}
	return false
}

// weighRun returns the confidence in digits that stand alone.
func (d *detector) weighRun(digits []byte, f *finder) float64 {
	left := d.valid(digits)
	for i := range d.forms {
		fm := &d.forms[i]
		if fm.shape != run || left == 0 {
			continue
		}
		if c := fm.alone * left; c >= reported || !f.names().has(d) {
			return c
		}
		return fm.told * left
	}
	return 0
}

// A spot is a pointer in work.pointers.
type spot struct{ start, end int }

// lists are the memory of reports that were released.
var lists = sync.Pool{New: func() any { return new(list) }}

type list struct {
	findings []Finding
	pointers string // of the report that had it last, one behind the other
}

// located gives the findings away with their pointers, which share one string: that of a
// report that was released, if it had the same, as bodies of one kind do. They are in memory
// that was released, if there is some of about their size, or else copied.
func (w *work) located() (found []Finding, from *list) {
	n := len(w.findings)
	if n == 0 {
		return nil, nil
	}
	fits := func(memory []Finding) bool { return n <= cap(memory) && cap(memory) <= max(4*n, 64) }
	switch from = lists.Get().(*list); {
	case !fits(from.findings):
		found = slices.Clone(w.findings)
	case fits(w.findings):
		found, w.findings, from.findings = w.findings, from.findings, nil
	default:
		found = append(from.findings[:0], w.findings...)
	}
	if from.pointers != string(w.pointers) {
		from.pointers = string(w.pointers)
	}
	all, ordered, last := from.pointers, true, 0
	for i := range found {
		f := &found[i]
		f.Pointer = all[w.spots[i].start:w.spots[i].end]
		ordered, last = ordered && last <= f.Start, f.Start
	}
	if !ordered { // the parts of a value are found together
		slices.SortStableFunc(found, inOrder)
	}
	return found, from
}

func inOrder(a, b Finding) int { return cmp.Compare(a.Start, b.Start) }

// span returns where doc[start:end] of level n stands in the body.
func (w *work) span(n, start, end int) (int, int) {
	for i := n; i > 0; i-- {
		l := &w.levels[i]
		if l.at != nil {
			start, end = int(l.at[start]), int(l.at[end])
		}
		start, end = start+l.base, end+l.base
	}
	return start, end
}

// addOpaque reports that doc[start:end] of level n was not looked into.
func (w *work) addOpaque(n int, reason Reason, start, end int) {
	if len(w.report.Opaque) == maxOpaque {
		return
	}
	start, end = w.span(n, start, end)
	pointer := w.places.append(nil, w, &w.levels[0].reader)
	if len(pointer) > maxOpaquePointer {
		pointer = nil
	}
	w.report.Opaque = append(w.report.Opaque, Opaque{reason, string(pointer), start, end})
}

// add reports what was found in the document of level n, where the reader is.
func (w *work) add(n int, inName bool, h *hit) { w.addAt(n, inName, h, nowhere) }

// nowhere is the place of no part.
const nowhere = -1

// addAt reports what was found in a member or element of the innermost object or
// array of the body; nowhere means where the reader is.
func (w *work) addAt(n int, inName bool, h *hit, ordinal int) {
	start, end := w.span(n, h.start, h.end)
	s := spot{}
	if w.budget > 0 {
		s.start = len(w.pointers)
		if r := &w.levels[0].reader; ordinal == nowhere {
			w.pointers = w.places.append(w.pointers, w, r)
		} else {
			w.pointers = w.places.appendSibling(w.pointers, w, r, ordinal)
		}
		s.end = len(w.pointers)
		if c := w.finder.catalog; len(c.pointers) > 0 && c.mayBeAt(string(w.pointers[s.start:])) {
			w.pointers = w.pointers[:s.start]
			return
		}
		if w.budget -= s.end - s.start + 1; w.budget < 0 {
			w.pointers, s = w.pointers[:s.start], spot{}
		}
	}
	w.spots = append(w.spots, s)
	w.report.Findings = append(w.report.Findings, Finding{
		Kind: h.by.kind, InName: inName && n == 0, Start: start, End: end, Confidence: h.confidence, Encoded: h.sealed,
	})
}

// ScanText looks for sensitive values in text of any kind: header values,
// paths, identifiers, messages.
func (s *Scanner) ScanText(b []byte) Report {
	if len(s.catalog().custom) == 0 && (len(b) < shortestText || needsFold(b) != foldMore && !sift(b) || machineMade(b)) {
		return Report{}
	}
	w := s.work()
	defer w.release()
	for _, h := range w.find(b, place{}) {
		w.report.Findings = append(w.report.Findings, Finding{Kind: h.by.kind, Start: h.start, End: h.end, Confidence: h.confidence, Encoded: h.sealed})
	}
	for _, v := range w.veils {
		w.report.Opaque = append(w.report.Opaque, Opaque{Reason: v.reason, Start: v.start, End: v.end})
	}
	w.report.catalog, w.report.least = w.finder.catalog, w.finder.least
	return w.report
}

// Scan looks for sensitive values in data as what it is: one JSON document if
// it is valid I-JSON, text otherwise. What looks like JSON but has a name twice or
// is nested too deep, which most readers take, is read as ScanBody reads it.
func (s *Scanner) Scan(data []byte) Report {
	r, err := s.ScanJSON(data, Limits{})
	switch {
	case err == nil:
		return r
	case looksLikeJSON(data):
		return s.ScanBody(data, "application/json", Limits{})
	}
	return s.ScanText(data)
}
