package privacy

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"sync"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// AppendRedacted appends body to dst with a placeholder in place of each value
// that r names: [CREDIT_CARD_REDACTED], and so on with the other kinds. The
// report must be of that very body; leaving some of its findings out leaves
// their values in.
//
// If the report came from ScanJSON, the result is I-JSON too: a number becomes
// a string, JSON nested in a string is redacted inside, and members of one
// object whose names become equal get _2, _3 and so on. In a string that holds
// a finding nothing of the same kinds is left; other bytes of body stay as they
// are.
func AppendRedacted(dst, body []byte, r Report) []byte {
	if len(r.Findings) == 0 {
		return append(dst, body...)
	}
	return AppendRedactedBy(dst, body, r, kindsOnly(r.Classes()))
}

// AppendRedactedBy is AppendRedacted with a choice for each finding. act may ask
// for the Kind, Pointer, InName and Confidence only: taking one value out may
// show another, about which it is asked as well. Pointer is there even where the
// report has lost it to the bound on all pointers. A kept value stays, whatever else
// goes around it. A nil act takes out all.
func AppendRedactedBy(dst, body []byte, r Report, act func(Finding) Action) []byte {
	if len(r.Findings) == 0 {
		return append(dst, body...)
	}
	if act == nil {
		act = func(Finding) Action { return Redact }
	}
	if r.streamed {
		return appendStreamed(dst, body, r, act)
	}
	d := redaction{limits: r.limits, catalog: r.catalog, act: act}
	if d.catalog == nil {
		d.catalog, r.least = builtin(), reported
	}
	d.work = workFor(d.catalog, r.least)
	defer d.work.release()
	if !r.json {
		return append(dst, d.text(body, r.Findings)...)
	}
	found := r.Findings
	if !slices.IsSortedFunc(found, inOrder) {
		found = slices.SortedFunc(slices.Values(found), inOrder)
	}
	return d.document(dst, body, found, 0, place{})
}

// RedactText returns text with a placeholder in place of each sensitive value.
// Nothing is left in the result that the scanner would find.
func (s *Scanner) RedactText(text string) string {
	b := []byte(text)
	if len(s.ScanText(b).Findings) == 0 {
		return text
	}
	w := s.work()
	defer w.release()
	return string(w.redactText(b, place{}, nil))
}

// A redaction is one call of AppendRedactedBy.
type redaction struct {
	work    *work
	limits  Limits
	catalog *catalog
	act     func(Finding) Action
	pointer string // of the leaf that is looked at
	places  pointers
}

// choice returns what becomes of hits in the leaf that is looked at.
func (d *redaction) choice(inName bool) choice {
	pointer := d.pointer
	return func(by *detector, confidence float64) Action {
		return d.act(Finding{Kind: by.kind, Pointer: pointer, InName: inName, Confidence: confidence})
	}
}

// text redacts plain text: what was found, and then whatever is left of it.
func (d *redaction) text(body []byte, found []Finding) []byte {
	hits := make([]hit, 0, len(found))
	for _, f := range found {
		if 0 <= f.Start && f.Start <= f.End && f.End <= len(body) && d.act(f) != Keep {
			hits = append(hits, hit{by: d.catalog.of(f.Kind), start: f.Start, end: f.End, confidence: f.Confidence, sealed: f.Encoded})
		}
	}
	what := d.choice(false)
	return d.work.redactText(splice(body, hits, what), place{}, what)
}

// of returns the detector of a kind; of a kind that is not in the catalog, one
// that knows the placeholder.
func (c *catalog) of(kind iatp.DataClass) *detector {
	for _, d := range c.all {
		if d.kind == kind {
			return d
		}
	}
	return &detector{kind: kind, rank: len(c.all), topic: noTopic}
}

// A redactWalk goes through a document that is redacted. Its memory is used again.
type redactWalk struct {
	reader ijson.Reader
	path   path
	object objects
}

var redactWalks = sync.Pool{New: func() any { return new(redactWalk) }}

// walkRedacted returns a walk at the start of a document, to be released.
func walkRedacted(doc []byte, lim Limits, outside place) *redactWalk {
	r := redactWalks.Get().(*redactWalk)
	r.begin(doc, lim, outside)
	return r
}

// begin goes to the start of a document.
func (r *redactWalk) begin(doc []byte, lim Limits, outside place) {
	r.reader.Reset(doc, lim)
	r.path = path{doc: doc, outside: outside, steps: r.path.steps[:0]}
	r.object = objects{stack: r.object.stack[:0]}
}

// release forgets the document.
func (r *redactWalk) release() {
	r.begin(nil, Limits{}, place{})
	redactWalks.Put(r)
}

// document appends doc, redacted where something was found that must go.
func (d *redaction) document(dst, doc []byte, found []Finding, nesting int, outside place) []byte {
	taken := d.takenNames(doc, found)
	walk := walkRedacted(doc, d.limits, outside)
	defer walk.release()
	r, p, object := &walk.reader, &walk.path, &walk.object
	copied := 0
	for {
		tok, err := r.Next()
		if err != nil {
			if err != io.EOF { // not the body of the report: nothing in it can be trusted to be in its place
				return ijson.AppendString(dst, bytes.ToValidUTF8(d.work.redactText(doc, outside, nil), []byte("\uFFFD")))
			}
			return append(dst, doc[copied:]...)
		}
		object.follow(tok.Kind)
		switch tok.Kind {
		case ijson.BeginObject, ijson.BeginArray:
			p.enter(r.Depth())
			continue
		case ijson.Name:
			p.set(r.Depth(), tok, nameRole(doc, tok))
		case ijson.String:
			p.call(r.Depth(), tok)
		}
		var here []Finding
		if here, found = within(found, tok); len(here) == 0 {
			continue
		}
		if nesting == 0 {
			d.pointer = here[0].Pointer
			if d.pointer == "" {
				d.pointer = string(d.places.append(nil, d.work, r))
			}
		}
		what := d.choice(tok.Kind == ijson.Name && nesting == 0)
		worst := d.worst(here, what)
		if worst == Keep {
			continue
		}
		dst = append(dst, doc[copied:tok.Start]...)
		copied = tok.End
		around := p.of(r.Depth(), tok)
		switch tok.Kind {
		case ijson.Number:
			dst = append(d.number(append(dst, '"'), doc[tok.Start:tok.End], here[0].Kind, worst), '"')
		case ijson.Name:
			name := d.work.redactText(ijson.AppendDecoded(nil, doc[tok.Start:tok.End]), around, what)
			if taken == nil {
				taken = make(map[member]int)
			}
			dst = appendEscaped(dst, taken.unique(object.current(), name))
		default:
			text := ijson.AppendDecoded(nil, doc[tok.Start:tok.End])
			clean := d.string(text, nesting, around)
			if bytes.Equal(clean, text) { // a part of a value: alone it is nothing
				clean = []byte(placeholderOf(here[0].Kind))
			}
			dst = appendEscaped(dst, clean)
		}
	}
}

// worst returns the strongest action on what was found in one place.
func (d *redaction) worst(here []Finding, what choice) Action {
	worst := Keep
	for i := range here {
		worst = min(worst, what(d.catalog.of(here[i].Kind), here[i].Confidence))
	}
	return worst
}

// number appends what stands for a number.
func (d *redaction) number(dst, number []byte, kind iatp.DataClass, what Action) []byte {
	by := d.catalog.of(kind)
	if what == Mask {
		return by.appendMask(dst, integerOf(number))
	}
	return append(dst, by.placeholder()...)
}

// within splits off the findings inside a token; those before it are dropped.
func within(found []Finding, tok ijson.Token) (here, rest []Finding) {
	for len(found) > 0 && found[0].Start < tok.Start {
		found = found[1:]
	}
	n := 0
	for n < len(found) && found[n].Start < tok.End {
		n++
	}
	return found[:n], found[n:]
}

// string redacts the decoded text of a JSON string.
func (d *redaction) string(text []byte, nesting int, around place) []byte {
	if nesting < maxNesting && looksLikeJSON(text) {
		if found, ok := d.nested(text, nesting+1, around); ok {
			return d.document(nil, text, found, nesting+1, around)
		}
	}
	return d.work.redactText(text, around, d.choice(false))
}

// nested scans text as a document of its own, as deep as the scan that made
// the report did.
func (d *redaction) nested(text []byte, nesting int, around place) ([]Finding, bool) {
	w := d.work
	w.report, w.budget, w.deepest = Report{}, 0, maxNesting-nesting
	ok := w.scanNested(0, text, nil, 0, around, d.limits)
	found := w.report.Findings
	w.report = Report{}
	return found, ok
}

// maxRounds is how often find looks again after taking out what it found. Two
// rounds are usual; no text is known that takes more than three.
const maxRounds = 8

// redactText returns text without what is sensitive in it: text itself if
// there is nothing. It looks again at the result, as a reader would; a mask that
// is taken for a value then goes.
func (w *work) redactText(text []byte, around place, what choice) []byte {
	return w.redactHits(text, w.find(text, around), around, what)
}

// redactHits is redactText for a text in which find has just found hits.
func (w *work) redactHits(text []byte, hits []hit, around place, what choice) []byte {
	for range maxRounds {
		gone, whole := unkept(hits, what)
		if len(gone) == 0 {
			return text
		}
		last := whole && w.nothingLeft
		text = splice(text, gone, what)
		if last {
			return text
		}
		what = what.unmasked()
		hits = w.find(text, around)
	}
	if gone, _ := unkept(hits, what); len(gone) > 0 {
		return []byte(gone[0].by.placeholder())
	}
	return text
}

// unkept leaves in hits what must go, and reports whether that is all of them,
// without a mask.
func unkept(hits []hit, what choice) (gone []hit, whole bool) {
	gone, whole = hits[:0], true
	for _, h := range hits {
		does := what.of(h)
		whole = whole && does == Redact
		if does != Keep {
			gone = append(gone, h)
		}
	}
	return gone, whole
}

// splice returns text with placeholders and masks in place of hits, which are
// in order.
func splice(text []byte, hits []hit, what choice) []byte {
	out := make([]byte, 0, len(text)+16*len(hits))
	copied := 0
	for i := 0; i < len(hits); {
		h, next := merge(hits, i)
		out = append(out, text[copied:h.start]...)
		if next == i+1 && !h.sealed && what.of(h) == Mask {
			out = h.by.appendMask(out, text[h.start:h.end])
		} else {
			out = append(out, h.by.placeholder()...)
		}
		copied, i = h.end, next
	}
	return append(out, text[copied:]...)
}

// merge returns hits[i] together with those that overlap it, named by the
// detector that comes first, and the index of the next hit.
func merge(hits []hit, i int) (hit, int) {
	h := hits[i]
	for i++; i < len(hits) && hits[i].start < h.end; i++ {
		h.end = max(h.end, hits[i].end)
		if hits[i].by.rank < h.by.rank {
			h.by = hits[i].by
		}
	}
	return h, i
}

// objects numbers the objects of a document in the order of their opening.
type objects struct {
	opened int
	stack  []int // 0 for an array
}

func (o *objects) follow(k ijson.Kind) {
	switch k {
	case ijson.BeginObject:
		o.opened++
		o.stack = append(o.stack, o.opened)
	case ijson.BeginArray:
		o.stack = append(o.stack, 0)
	case ijson.EndObject, ijson.EndArray:
		o.stack = o.stack[:len(o.stack)-1]
	}
}

func (o *objects) current() int { return o.stack[len(o.stack)-1] }

// A member is a name in one object of a document.
type member struct {
	object int
	name   string
}

// taken holds the names that a redacted name must not repeat, and the number
// that the next repetition gets.
type taken map[member]int

// takenNames collects the names that stay as they are, if any name does not.
func (d *redaction) takenNames(doc []byte, found []Finding) taken {
	if !slices.ContainsFunc(found, func(f Finding) bool { return f.InName }) {
		return nil
	}
	t := taken{}
	walk := walkRedacted(doc, d.limits, place{})
	defer walk.release()
	for {
		tok, err := walk.reader.Next()
		if err != nil {
			return t
		}
		walk.object.follow(tok.Kind)
		var here []Finding
		here, found = within(found, tok)
		if tok.Kind == ijson.Name && len(here) == 0 {
			t[member{walk.object.current(), string(ijson.AppendDecoded(nil, doc[tok.Start:tok.End]))}] = 2
		}
	}
}

// appendNumber makes another name of one. Right behind anything but a placeholder the
// number would be read as more of it, and what was harmless could become a finding.
func appendNumber(name []byte, n int) []byte {
	if bytes.HasSuffix(name, []byte("]")) {
		return strconv.AppendInt(append(name, '_'), int64(n), 10)
	}
	return append(strconv.AppendInt(append(name, " ["...), int64(n), 10), ']')
}

// withoutNumber takes away what appendNumber put there.
func withoutNumber(name []byte) []byte {
	end, before := len(name), byte('_')
	if bytes.HasSuffix(name, []byte("]")) {
		end, before = end-1, '['
	}
	i := bytes.LastIndexByte(name[:end], before)
	if i <= 0 || i+1 == end || endOfDigits(name[:end], i+1) != end {
		return name
	}
	switch {
	case before == '_' && name[i-1] == ']':
		return name[:i]
	case before == '[' && name[i-1] == ' ':
		return name[:i-1]
	}
	return name
}

// unique returns name, with a number behind it if the object has it already.
func (t taken) unique(object int, name []byte) []byte {
	first := member{object, string(name)}
	n, repeated := t[first]
	if !repeated {
		t[first] = 2
		return name
	}
	for ; ; n++ {
		try := member{object, string(appendNumber([]byte(first.name), n))}
		if _, ok := t[try]; !ok {
			t[first], t[try] = n+1, 2
			return []byte(try.name)
		}
	}
}
