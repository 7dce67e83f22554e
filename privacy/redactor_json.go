package privacy

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// A jsonReader treats JSON as it comes, one string, name or number at a time. It
// checks no more of the grammar than it needs to know where it is.
type jsonReader struct {
	buf     []byte // not passed on yet
	passed  int    // bytes of the stream before buf
	frames  []frame
	around  names       // what place returned last
	pointed []byte      // a pointer
	text    *textReader // what was called JSON and is not

	// What was read of the string or number that buf begins with and that is
	// not over: no string ends before buf[looked], and the number ends there or
	// at digits, if that is not zero.
	looked, digits int

	// long says that buf is inside a string that is too long to be held;
	// buf[:settled] of it was passed on and is kept for what it tells.
	long    bool
	settled int
	name    bool // the long string is a name
}

// A frame is one open object or array.
type frame struct {
	object   bool
	wantName bool
	index    int    // array: place of the current element
	name     []byte // object: text of the current name, what is kept of it
	cut      bool   // the name was longer
	step     []byte // the name as a step of a pointer, once it was asked for
	renamed  int    // names that were redacted, or look so
	split    *split // parts of a value
	role     role   // of the name
	alias    []byte // what the object calls its value
}

// called returns the name under which a value stands.
func (f *frame) called() []byte {
	if f.role == holds && len(f.alias) > 0 {
		return f.alias
	}
	return f.name
}

func (f *frame) setName(name []byte, cut bool) {
	f.name, f.cut, f.step, f.role = append(f.name[:0], name...), cut, f.step[:0], 0
}

// keptName is how much of a name is kept: what tells, and what a pointer wants.
const keptName = maxName + nameAhead

func (j *jsonReader) read(r *Redactor, p []byte, last bool) error {
	if j.text != nil {
		return j.text.read(r, p, last)
	}
	j.buf = append(j.buf, p...)
	for i := 0; ; {
		n, state := j.next(r, i, last)
		if i += n; state == going {
			j.looked, j.digits = 0, 0
			continue
		}
		if state == tooDeep {
			return ErrTooDeep
		}
		if state == broken {
			j.text = &textReader{window: window{before: j.passed + i}}
			if j.long { // its beginning was passed on
				j.text.settled, j.text.around = j.settled, j.placeOfLong()
			} else {
				j.text.remind(j.namesHere())
			}
			return j.text.read(r, j.buf[i:], last)
		}
		if i > 0 {
			j.buf, j.passed = append(j.buf[:0], j.buf[i:]...), j.passed+i
		}
		if len(j.buf) == 0 && cap(j.buf) > maxRetains {
			j.buf = nil
		}
		return nil
	}
}

// A progress says how reading went.
type progress uint8

const (
	going   progress = iota
	waiting          // for more
	broken           // no JSON from here on
	tooDeep
)

// next treats what begins at buf[i], and returns how much of it was passed on.
func (j *jsonReader) next(r *Redactor, i int, last bool) (n int, p progress) {
	if j.long {
		return j.goOn(r, i, last)
	}
	if i == len(j.buf) {
		return 0, waiting
	}
	switch c := j.buf[i]; c {
	case '"':
		return j.str(r, i, last)
	case '{', '[':
		if len(j.frames) == maxLevels {
			return 0, tooDeep
		}
		if !j.mayOpen() {
			return 0, broken
		}
		j.push(c == '{')
	case '}', ']':
		if len(j.frames) == 0 || j.top().object != (c == '}') {
			return 0, broken
		}
		j.frames = j.frames[:len(j.frames)-1]
	case ',':
		if len(j.frames) == 0 {
			return 0, broken
		}
		top := j.top()
		top.wantName = top.object
		top.index++
	case ':', ' ', '\t', '\r', '\n', 0x1E: // RFC 7464 begins each document with a record separator
	default:
		if c == '-' || isDigit(c) {
			return j.number(r, i, last)
		}
		return j.literal(r, i, last)
	}
	r.out = append(r.out, j.buf[i])
	return 1, going
}

func (j *jsonReader) top() *frame { return &j.frames[len(j.frames)-1] }

// mayOpen reports whether an object or array may begin here: not where a name
// is due.
func (j *jsonReader) mayOpen() bool { return len(j.frames) == 0 || !j.top().wantName }

func (j *jsonReader) push(object bool) {
	n := len(j.frames)
	if n < cap(j.frames) {
		j.frames = j.frames[:n+1] // with the memory of its name
	} else {
		j.frames = append(j.frames, frame{})
	}
	f := j.top()
	*f = frame{object: object, wantName: object, name: f.name[:0], step: f.step[:0], alias: f.alias[:0]}
}

// literal passes true, false and null.
func (j *jsonReader) literal(r *Redactor, i int, last bool) (int, progress) {
	for _, word := range [...]string{"true", "false", "null"} {
		have := j.buf[i:min(len(j.buf), i+len(word))]
		if string(have) == word {
			r.out = append(r.out, word...)
			return len(word), going
		}
		if !last && len(have) < len(word) && strings.HasPrefix(word, string(have)) {
			return 0, waiting
		}
	}
	return 0, broken
}

// number treats a number. What stands behind it must part it from the next
// value: two numbers with a space between are no JSON, but may be a value in
// text.
func (j *jsonReader) number(r *Redactor, i int, last bool) (int, progress) {
	end, next, line := j.endOfNumber(r, i)
	switch {
	case end-i > maxNumber || next-end > maxSpace:
		return 0, broken
	case len(j.frames) == 0 && line:
	case next == len(j.buf):
		if !last {
			if j.looked = next - i; next > end {
				j.digits = end - i
			}
			return 0, waiting
		}
	case len(j.frames) == 0, j.buf[next] != ',' && j.buf[next] != ']' && j.buf[next] != '}', j.top().wantName:
		return 0, broken
	}
	if !j.leaf(r, i, end) {
		return 0, broken
	}
	return end - i, going
}

// endOfNumber returns where the number at buf[i] ends and what stands behind it
// begins, and whether a line ends between: outside of objects and arrays nothing
// more is waited for then.
func (j *jsonReader) endOfNumber(r *Redactor, i int) (end, next int, line bool) {
	from := i + max(j.looked, 1)
	if end = i + j.digits; j.digits == 0 {
		for end = from; end < len(j.buf) && (isDigit(j.buf[end]) || j.buf[end] == '.' || j.buf[end]|0x20 == 'e' || j.buf[end] == '+' || j.buf[end] == '-'); {
			end++
		}
	}
	for next = max(end, from); next < len(j.buf) && (j.buf[next] == ' ' || j.buf[next] == '\t' || j.buf[next] == '\r' || j.buf[next] == '\n'); next++ {
		line = line || j.buf[next] == '\n'
	}
	r.searched += next - from
	return end, next, line
}

// str treats the string that begins at buf[i].
func (j *jsonReader) str(r *Redactor, i int, last bool) (int, progress) {
	end := j.endOfString(r, i+1, i+max(j.looked, 1))
	isName := len(j.frames) > 0 && j.top().wantName
	switch {
	case end < 0 && last:
		return 0, broken
	case end < 0 && len(j.buf)-i > maxLeaf, end-i > maxLeaf: // the same however it is cut
		r.out = append(r.out, '"')
		j.long, j.name, j.settled = true, isName, 0
		return 1, going
	case end < 0:
		j.looked = len(j.buf) - i
		return 0, waiting
	case isName:
		if !j.member(r, i, end) {
			return 0, broken
		}
	case !j.leaf(r, i, end):
		return 0, broken
	}
	return end - i, going
}

// endOfString returns the end of the string whose text begins at buf[start],
// behind its quote, or -1. It does not end before buf[i].
func (j *jsonReader) endOfString(r *Redactor, start, i int) int {
	for {
		n := bytes.IndexByte(j.buf[i:], '"')
		if n < 0 {
			r.searched += len(j.buf) - i
			return -1
		}
		slashes := 0
		for k := i + n - 1; k >= start && j.buf[k] == '\\'; k-- {
			slashes++
		}
		r.searched += n + 1 + slashes
		i += n + 1
		if start = i; slashes%2 == 0 {
			return i
		}
	}
}

// place returns where a value stands.
func (j *jsonReader) place() place {
	j.around = j.names(len(j.frames))
	return place{given: &j.around}
}

// placeOfName returns where a name of the innermost object stands.
func (j *jsonReader) placeOfName() place {
	j.around = j.names(len(j.frames) - 1)
	return place{given: &j.around, name: true}
}

// placeOfLong returns where the string stands that is too long to be held.
func (j *jsonReader) placeOfLong() place {
	if j.name {
		return j.placeOfName()
	}
	return j.place()
}

// namesHere returns the names behind which stands what comes next.
func (j *jsonReader) namesHere() names {
	if j.mayOpen() {
		return j.names(len(j.frames))
	}
	return j.names(len(j.frames) - 1) // a name
}

// names returns the two innermost names of the first n frames.
func (j *jsonReader) names(n int) (found names) {
	k := 0
	for i := n - 1; i >= 0 && k < 2; i-- {
		if f := &j.frames[i]; f.object {
			found[1-k] = f.called()
			k++
		}
	}
	return found
}

// pointer returns the pointer of what is looked at; none if it is too long, or a
// name in it is longer than what was kept.
func (j *jsonReader) pointer(r *Redactor) string {
	b := j.pointed[:0]
	for i := range j.frames {
		f := &j.frames[i]
		b = append(b, '/')
		switch {
		case f.cut:
			return ""
		case !f.object:
			b = strconv.AppendInt(b, int64(f.index), 10)
		default:
			if len(f.step) == 0 {
				f.step = r.d.work.appendStep(f.step, f.name, func() names { return j.names(i) })
			}
			b = append(b, f.step...)
		}
		if j.pointed = b; len(b) > maxPointer {
			return ""
		}
	}
	return string(b)
}

// leaf treats the string or number buf[i:end], and reports whether it is one.
func (j *jsonReader) leaf(r *Redactor, i, end int) bool {
	raw, w, around := j.buf[i:end], r.d.work, j.place()
	if raw[0] == '"' {
		j.call(raw)
	}
	if j.completes(r, raw, around, i) {
		return true
	}
	if raw[0] == '"' && j.harmless(w, raw[1:len(raw)-1], around) {
		r.out = append(r.out, raw...)
		return true
	}
	if raw[0] != '"' && len(raw) < fewest-maxPad && !labelled(w, around) { // no detector looks at so short a number
		if ijson.Check(raw, Limits{}) != nil {
			return false
		}
		r.out = append(r.out, raw...)
		return true
	}
	if raw[0] == '"' && plainText(raw[1:len(raw)-1]) {
		j.plain(r, raw, around, i)
		return true
	}
	found, opaque, err := r.look(raw, around)
	if err != nil {
		return false
	}
	if len(found)+len(opaque) == 0 || !r.at(j.pointer(r), found, opaque) {
		r.out = append(r.out, raw...)
		return true
	}
	for k := range found {
		r.found(found[k], j.passed+i)
	}
	for k := range opaque {
		r.veiled(opaque[k], j.passed+i)
	}
	r.out = r.d.document(r.out, raw, found, 0, around)
	return true
}

// call notes a string: it may be what the object calls its value.
func (j *jsonReader) call(raw []byte) {
	if len(j.frames) == 0 {
		return
	}
	text := raw[1 : len(raw)-1]
	if top := j.top(); top.role != 0 && top.role.mayCall(text, len(top.alias) > 0) && ijson.Check(raw, Limits{}) == nil {
		top.alias = ijson.AppendDecoded(top.alias[:0], text)
	}
}

// plainText reports whether the text of a JSON string stands for itself: printable
// ASCII without escapes, which is no JSON.
func plainText(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c >= 0x7F || c == '\\' {
			return false
		}
	}
	return !looksLikeJSON(text)
}

// plain treats raw, a string at buf[i] with plain text, without reading it as JSON
// again. What is found is what leaf would find.
func (j *jsonReader) plain(r *Redactor, raw []byte, around place, i int) {
	w, text := r.d.work, raw[1:len(raw)-1]
	hits := w.find(text, around)
	pointer := ""
	if len(hits)+len(w.veils) > 0 {
		pointer = j.pointer(r)
	}
	if len(hits)+len(w.veils) == 0 || r.d.catalog.mayBeAt(pointer) {
		r.out = append(r.out, raw...)
		return
	}
	at := j.passed + i + 1
	for _, h := range hits {
		r.tally.add(h.by, Finding{Kind: h.by.kind, Pointer: pointer, Start: at + h.start, End: at + h.end, Confidence: h.confidence, Encoded: h.sealed})
	}
	for _, v := range w.veils {
		r.veiled(Opaque{Reason: v.reason, Pointer: pointer, Start: v.start, End: v.end}, at)
	}
	if len(hits) == 1 && hits[0].start == 0 && hits[0].end == len(text) && w.nothingLeft { // as most are
		if by := hits[0].by; r.act(Finding{Kind: by.kind, Pointer: pointer, Confidence: hits[0].confidence}) == Redact {
			r.out = append(append(append(r.out, '"'), by.placeholder()...), '"')
			return
		}
	}
	r.d.pointer = pointer
	clean := w.redactHits(text, hits, around, r.d.choice(false))
	r.out = append(append(append(r.out, '"'), clean...), '"')
}

// completes treats raw, a leaf at buf[i], if it makes a value whole whose other
// parts have passed. It takes out this part, without which they are nothing.
func (j *jsonReader) completes(r *Redactor, raw []byte, around place, i int) bool {
	text := bytes.Trim(raw, `"`)
	if len(j.frames) == 0 || len(text) > longestPart && bytes.IndexByte(text, '\\') < 0 {
		return false
	}
	if bytes.IndexByte(text, '\\') >= 0 {
		if ijson.Check(raw, Limits{}) != nil {
			return false
		}
		text = ijson.AppendDecoded(nil, text)
	}
	if !mayBePart(text) {
		return false
	}
	p, ok := newPart(text)
	if !ok {
		return false
	}
	f, top := &r.d.work.finder, j.top()
	f.around, f.namesRead = around, false
	if p.told = f.names().and(f.catalog.digits); p.told.none() {
		return false
	}
	if top.split == nil {
		top.split = new(split)
	}
	p.opens = top.object || top.index == 0
	by, conf, _ := top.split.add(f.catalog, p, f.least)
	if by == nil {
		return false
	}
	found := []Finding{{Kind: by.kind, Start: 0, End: len(raw), Confidence: conf}}
	if !r.at(j.pointer(r), found, nil) {
		return false
	}
	r.found(found[0], j.passed+i)
	if r.act(found[0]) == Keep {
		r.out = append(r.out, raw...)
	} else {
		r.out = ijson.AppendString(r.out, []byte(by.placeholder()))
	}
	return true
}

// harmless reports whether a string holds nothing without being told, and the
// names around it tell nothing.
func (j *jsonReader) harmless(w *work, text []byte, around place) bool {
	if len(w.finder.catalog.custom) > 0 || bytes.IndexByte(text, '\\') >= 0 {
		return false
	}
	if len(text) >= shortestNamed && labelled(w, around) {
		return false
	}
	return !worthReading(text, ijson.Token{Kind: ijson.String, End: len(text)})
}

// labelled reports whether one of two names given makes a value what it is.
func labelled(w *work, around place) bool {
	told := w.finder.topicsOf(around.given[1]).or(w.finder.topicsOf(around.given[0]))
	return !told.and(w.finder.catalog.labelled).none()
}

// member treats the member name buf[i:end].
func (j *jsonReader) member(r *Redactor, i, end int) bool {
	raw := j.buf[i:end]
	text, escaped := raw[1:len(raw)-1], bytes.IndexByte(raw, '\\') >= 0
	if escaped {
		if ijson.Check(raw, Limits{}) != nil {
			return false
		}
		text = ijson.AppendDecoded(nil, text)
	}
	top := j.top()
	top.wantName = false
	top.setName(text[:min(len(text), keptName)], len(text) > keptName)

	w, clean := r.d.work, text
	around := j.placeOfName()
	name, of := w.finder.judgeName(text, ijson.Token{Kind: ijson.Name, End: len(text), Escaped: escaped})
	if top.role = of; name.odd || escaped || len(w.finder.catalog.custom) > 0 {
		if hits := w.find(text, around); len(hits)+len(w.veils) > 0 {
			pointer := j.pointer(r)
			if !r.d.catalog.mayBeAt(pointer) {
				for _, v := range w.veils {
					r.veiled(Opaque{Reason: v.reason, Pointer: pointer, Start: 1, End: len(raw) - 1}, j.passed+i)
				}
				for _, h := range hits {
					f := Finding{Kind: h.by.kind, Pointer: pointer, InName: true, Start: 1, End: len(raw) - 1, Confidence: h.confidence, Encoded: h.sealed}
					r.found(f, j.passed+i)
				}
				r.d.pointer = pointer
				clean = w.redactText(text, around, r.d.choice(true))
			}
		}
	}
	if bytes.Equal(clean, text) && (len(text) < len(maskSigns) || !bytes.Contains(text, []byte("_REDACTED]")) && !bytes.Contains(text, []byte(maskSigns))) {
		r.out = append(r.out, raw...)
		return true
	}
	top.renamed++
	r.out = ijson.AppendString(r.out, numbered(clean, top.renamed))
	return true
}

// numbered gives the nth redacted name of an object its number: names of one
// object stay different whatever they hold, and keep their numbers when they
// are redacted again.
func numbered(name []byte, n int) []byte {
	name = withoutNumber(name)
	name = name[:len(name):len(name)]
	if n == 1 {
		return name
	}
	return appendNumber(name, n)
}

// goOn treats more of a string that is too long to be held: as text, in a
// window.
func (j *jsonReader) goOn(r *Redactor, i int, last bool) (int, progress) {
	end, over := len(j.buf), false
	if k := j.endOfString(r, i, i+j.looked); k >= 0 {
		end, over = k-1, true
	}
	if !over && (last || end-i < behind+hold+block) {
		if last {
			return 0, broken
		}
		j.looked = end - i
		return 0, waiting
	}
	whole := i + wholeUnits(j.buf[i:end])
	raw := j.buf[i:whole]
	if over && whole < end || ijson.Check(append(append([]byte{'"'}, raw...), '"'), Limits{}) != nil {
		return 0, broken
	}
	text, from := decode(nil, nil, raw)
	settled := 0
	for settled < len(text) && int(from[settled]) < j.settled {
		settled++
	}
	limit := len(text)
	w, around := r.d.work, j.placeOfLong()
	w.finder.longest = longestInStream
	hits := w.find(text, around)
	w.finder.longest = longestEncoded
	if !over {
		limit = (&window{buf: text, settled: settled}).limit(hits, false)
	}
	pointer := j.pointer(r)
	r.d.pointer = pointer
	what := r.d.choice(j.name)
	copied := settled
	for k := 0; k < len(hits); {
		h, next := merge(hits, k)
		k = next
		if h.end <= settled || h.start >= limit {
			continue
		}
		h.start = max(h.start, settled)
		r.found(Finding{Kind: h.by.kind, Pointer: pointer, InName: j.name, Start: int(from[h.start]), End: int(from[h.end]), Confidence: h.confidence, Encoded: h.sealed}, j.passed+i)
		if what.of(h) == Keep || h.start < copied {
			continue
		}
		r.out = append(r.out, raw[from[copied]:from[h.start]]...)
		r.out = append(r.out, h.by.placeholder()...)
		copied = h.end
	}
	r.out = append(r.out, raw[from[copied]:from[max(limit, copied)]]...)
	for _, v := range w.veils {
		if v.end > settled && v.start < limit {
			r.veiled(Opaque{Reason: v.reason, Pointer: pointer, Start: int(from[v.start]), End: int(from[v.end])}, j.passed+i)
		}
	}
	if over {
		j.long = false
		if j.name {
			j.top().wantName = false
			j.top().setName([]byte("long"), true)
		}
		r.out = append(r.out, '"')
		return end + 1 - i, going
	}
	drop := max(max(limit, copied)-behind, 0)
	for drop > 0 && !utf8.RuneStart(text[drop]) {
		drop--
	}
	j.settled = int(from[max(limit, copied)]) - int(from[drop])
	j.looked = end - i - int(from[drop])
	return int(from[drop]), waiting
}

// wholeUnits returns how much of the raw text of a JSON string is characters
// and escapes that are complete.
func wholeUnits(raw []byte) int {
	i := 0
	for i < len(raw) {
		n := 1
		switch {
		case raw[i] == '\\':
			if len(raw)-i < 2 {
				return i
			}
			if n = 2; raw[i+1] == 'u' {
				n = 6
			}
			if len(raw)-i < n {
				return i
			}
			if v, m := unescape(raw[i+1:]); n == 6 && m > 0 && v >= 0xD800 && v < 0xDC00 {
				if n = 12; len(raw)-i < n {
					return i
				}
			}
		case raw[i] >= utf8.RuneSelf:
			if !utf8.FullRune(raw[i:]) {
				return i
			}
			_, n = utf8.DecodeRune(raw[i:])
		}
		i += n
	}
	return i
}
