package privacy

import (
	"errors"
	"io"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// A Format says how bytes are to be read.
type Format uint8

// The formats.
const (
	FormatText   Format = iota // text of any kind: plain, XML, YAML, CSV
	FormatJSON                 // JSON documents, one or more: also NDJSON and JSON text sequences
	FormatEvents               // server-sent events
	FormatForm                 // application/x-www-form-urlencoded
	FormatParts                // multipart
)

// FormatOf returns the format of a media type; FormatText for one that says
// nothing.
func FormatOf(contentType string) Format {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && media == "" {
		return FormatText
	}
	switch {
	case media == "application/json", strings.HasSuffix(media, "+json"), strings.HasSuffix(media, "+json-seq"):
		return FormatJSON
	case media == "application/x-ndjson", media == "application/ndjson", media == "application/jsonl", media == "application/x-jsonlines", media == "application/jsonlines", media == "application/json-seq":
		return FormatJSON
	case media == "text/event-stream":
		return FormatEvents
	case media == "application/x-www-form-urlencoded":
		return FormatForm
	case strings.HasPrefix(media, "multipart/"):
		return FormatParts
	}
	return FormatText
}

// A tally counts what was found in a stream, and remembers the first findings.
type tally struct {
	findings []Finding
	counts   []int // by rank
}

func (t *tally) add(by *detector, f Finding) {
	for len(t.counts) <= by.rank {
		t.counts = append(t.counts, 0)
	}
	t.counts[by.rank]++
	if t.counts[by.rank] == 1 || len(t.findings) < maxStreamFindings {
		t.findings = append(t.findings, f)
	}
}

// count returns how many values of one kind were found.
func (t *tally) count(c *catalog, kind iatp.DataClass) int {
	n := 0
	for i, d := range c.all[:len(t.counts)] {
		if d.kind == kind {
			n += t.counts[i]
		}
	}
	return n
}

// Bounds of a Redactor: one JSON string or number that is treated as a whole,
// white space behind a number, nesting, and one event.
const (
	maxLeaf    = 64 << 10
	maxSpace   = 4 << 10
	maxNumber  = 4 << 10
	maxLevels  = 1000
	maxEvent   = 1 << 20
	maxRetains = 128 << 10 // a buffer that is kept between writes
)

// Errors of a Redactor. What was written to it cannot be passed on: cut the
// stream.
var (
	ErrEventTooLarge = errors.New("privacy: a server-sent event is larger than 1 MiB")
	ErrTooDeep       = errors.New("privacy: streamed JSON is nested deeper than 1000")
)

// A Redactor takes sensitive values out of a stream and passes the rest on, in
// bounded memory.
//
// JSON stays JSON: each string, name and number is passed on, whole, as soon as
// it is complete and what stands behind it is known. A server-sent event is
// passed on when it is complete, and so is a field of a form. A part of a
// multipart body is treated as what its header says. Of text the last 8 KiB wait
// for what follows; what is no UTF-8 text is reported as opaque, and passed on as
// it is if it is no text by far. What says that it is JSON and is not is treated as text from there on.
// JSON strings longer than 64 KiB are treated as text too.
//
// What is treated as text stays JSON only by luck: a number that goes is not
// quoted. That is so behind a number of more than 4096 bytes, or one with more
// than 4 KiB of white space behind it; in JSON nested in a string longer than 64
// KiB; and in the first event behind a byte order mark. Two names longer than 64
// KiB may become equal.
//
// Members of one object whose names become equal get _2, _3 and so on, in the
// order in which they come.
//
// A Redactor is not safe for concurrent use.
type Redactor struct {
	dst     io.Writer
	out     []byte
	closed  bool
	err     error
	scanner *Scanner
	act     func(Finding) Action
	d       redaction
	tally   tally
	left    map[iatp.DataClass]int // see Left
	opaque  []Opaque
	reader  reader

	searched int // bytes that were searched for the end of something: what cutting a stream costs
}

// A reader takes the next bytes of a stream and appends what may pass to r.out.
type reader interface {
	read(r *Redactor, p []byte, last bool) error
}

// NewRedactor returns a Redactor that writes to dst. act decides about each
// value, as for AppendRedactedBy; nil takes out all.
func (s *Scanner) NewRedactor(dst io.Writer, format Format, act func(Finding) Action) *Redactor {
	if act == nil {
		act = func(Finding) Action { return Redact }
	}
	r := &Redactor{dst: dst, scanner: s, act: act}
	switch format {
	case FormatJSON:
		r.reader = new(jsonReader)
	case FormatEvents:
		r.reader = new(eventReader)
	case FormatForm:
		r.reader = new(formReader)
	case FormatParts:
		r.reader = new(partsReader)
	default:
		r.reader = new(textReader)
	}
	return r
}

// Write takes the next bytes and passes on what may pass. An error is that of
// dst, or says that the stream cannot be treated; it stays.
func (r *Redactor) Write(p []byte) (int, error) {
	if r.closed {
		return 0, errClosed
	}
	if r.err == nil {
		r.err = r.step(p, false)
	}
	if r.err != nil {
		return 0, r.err
	}
	return len(p), nil
}

// Close says that the stream is over, and passes on its end.
func (r *Redactor) Close() error {
	if r.closed {
		return r.err
	}
	r.closed = true
	if r.err == nil {
		r.err = r.step(nil, true)
	}
	r.reader, r.out = nil, nil
	return r.err
}

func (r *Redactor) step(p []byte, last bool) error {
	w := r.scanner.work()
	defer w.release()
	r.d = redaction{work: w, catalog: w.finder.catalog, act: r.act, limits: Limits{Depth: maxLevels}}
	err := r.reader.read(r, p, last)
	r.d.work = nil
	if len(r.out) > 0 {
		if _, werr := r.dst.Write(r.out); werr != nil {
			return werr
		}
	}
	if r.out = r.out[:0]; cap(r.out) > maxRetains {
		r.out = nil
	}
	return err
}

// Report returns what was found up to now, whatever was done with it; after
// Close, all of it. Start and End count from the beginning of the stream. Of
// more than a thousand values the first thousand are reported, and the first of
// each kind; Count knows of all.
func (r *Redactor) Report() Report {
	return Report{
		Findings: slices.Clone(r.tally.findings), Opaque: slices.Clone(r.opaque),
		catalog: r.scanner.catalog(), least: r.scanner.leastConfidence(),
	}
}

// Opaque returns what was not looked into up to now, the first hundred parts. What
// a Write passes on is not passed on before its parts are here. The slice is the
// Redactor's own, until the next Write.
func (r *Redactor) Opaque() []Opaque { return r.opaque }

// Count returns how many values of one kind were found up to now.
func (r *Redactor) Count(kind iatp.DataClass) int { return r.tally.count(r.scanner.catalog(), kind) }

// Left returns how many of them were passed on up to now although act did not want
// to keep them: what they stand in is no text, and would be spoilt.
func (r *Redactor) Left(kind iatp.DataClass) int { return r.left[kind] }

// leave notes what is passed on as it is.
func (r *Redactor) leave(hits []hit) {
	for _, h := range hits {
		if r.left == nil {
			r.left = make(map[iatp.DataClass]int)
		}
		r.left[h.by.kind]++
	}
}

// found notes a finding at an offset of the stream.
func (r *Redactor) found(f Finding, offset int) {
	f.Start, f.End = f.Start+offset, f.End+offset
	r.tally.add(r.d.catalog.of(f.Kind), f)
}

// noText reports whether more than a tenth of b is nothing that text has.
func noText(b []byte) bool {
	odd := 0
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 || n == 1 && isBinary(b[i:i+1]) {
			odd++
		}
		i += n
	}
	return odd*10 > len(b)
}

// look returns what is in a JSON string or number, which stands alone in doc.
func (r *Redactor) look(doc []byte, around place) ([]Finding, []Opaque, error) {
	w := r.d.work
	l := &w.levels[0]
	w.report, w.budget = Report{}, 0
	l.open(doc, 0, nil, around)
	err := w.scanDocument(0, r.d.limits)
	report := w.report
	w.report = Report{}
	return report.Findings, report.Opaque, err
}

// at says where what was looked at stands, and reports whether it matters.
func (r *Redactor) at(pointer string, found []Finding, opaque []Opaque) bool {
	if len(found)+len(opaque) == 0 || r.d.catalog.mayBeAt(pointer) {
		return false
	}
	for i := range found {
		found[i].Pointer = pointer
	}
	for i := range opaque {
		opaque[i].Pointer = pointer
	}
	r.d.pointer = pointer
	return true
}

func (r *Redactor) veiled(o Opaque, offset int) {
	if len(r.opaque) < maxOpaque {
		o.Start, o.End = o.Start+offset, o.End+offset
		r.opaque = append(r.opaque, o)
	}
}

// A textReader treats a stream as text, in a window. What is no text at all is
// reported and not changed: it would be spoilt.
type textReader struct {
	window
	around place
	binary bool
}

// remind tells of the names behind which the text begins, as if they had just passed.
func (t *textReader) remind(around names) {
	for _, name := range around {
		if len(name) > 0 {
			t.buf = append(ijson.AppendString(t.buf, name), ':')
		}
	}
	t.settled = len(t.buf)
	t.before -= t.settled
}

func (t *textReader) read(r *Redactor, p []byte, last bool) error {
	settle := func(all bool) {
		t.settle(r.d.work, t.around, all, func(text []byte, hits []hit, offset int) {
			r.d.pointer = ""
			what := r.d.choice(false)
			for _, h := range hits {
				r.found(Finding{Kind: h.by.kind, Start: h.start, End: h.end, Confidence: h.confidence, Encoded: h.sealed}, offset)
			}
			for _, v := range t.veils {
				r.veiled(Opaque{Reason: v.reason, Start: v.start, End: v.end}, offset)
			}
			if !t.binary && isBinary(text) {
				t.binary = true
				r.veiled(Opaque{Reason: OpaqueBinary, End: len(text)}, offset)
			}
			hits = slices.DeleteFunc(hits, func(h hit) bool { return what.of(h) == Keep })
			if len(hits) == 0 || t.binary && noText(text) {
				r.leave(hits)
				r.out = append(r.out, text...)
				return
			}
			r.out = append(r.out, r.d.work.redactText(splice(text, hits, what), t.around, what.unmasked())...)
		})
	}
	finder := &r.d.work.finder
	finder.longest = longestInStream
	t.write(p, settle)
	if last {
		settle(true)
	}
	finder.longest = longestEncoded // leaves and fields are held whole
	return nil
}
