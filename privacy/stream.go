package privacy

import (
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/inter-agent-trust/iatp"
)

const (
	// hold is how much of the end of a stream is not decided yet: no value
	// that is found takes more than this, with all its escapes.
	hold = 8 << 10
	// behind is how much of what is decided is read again, for what it tells
	// about what follows.
	behind = 512
	// block is how much is collected before it is looked at.
	block = 24 << 10
	// maxStreamFindings bounds the findings of one stream; all are counted.
	maxStreamFindings = 1000
)

// errClosed answers a Write after Close.
var errClosed = errors.New("privacy: write to a closed stream")

// A Stream looks for sensitive values in bytes as they pass, whatever they are:
// JSON, server-sent events, text. It reads them as text, in a window of a few
// KiB, and finds a value however the bytes are cut into writes. It keeps the
// beginning of the text, redacted. It changes nothing that passes and is not
// safe for concurrent use.
type Stream struct {
	scanner *Scanner
	keep    int

	buf     []byte
	settled int // buf[:settled] is decided
	before  int // bytes of the stream before buf

	kept     []byte
	cut      bool
	finished []byte // kept, as Kept gives it away
	binary   bool
	closed   bool

	findings []Finding
	counts   []int // by rank
}

// NewStream returns a Stream that keeps the first keep bytes of redacted text.
func (s *Scanner) NewStream(keep int) *Stream { return &Stream{scanner: s, keep: max(keep, 0)} }

// Write takes the next bytes. It fails only after Close.
func (st *Stream) Write(p []byte) (int, error) {
	if st.closed {
		return 0, errClosed
	}
	n := len(p)
	for len(p) > 0 {
		part := p[:min(len(p), behind+hold+block-len(st.buf))]
		st.buf = append(st.buf, part...)
		if p = p[len(part):]; len(st.buf) == behind+hold+block {
			st.settle(false)
		}
	}
	return n, nil
}

// Close says that the stream is over, and decides about its end.
func (st *Stream) Close() error {
	if st.closed {
		return nil
	}
	st.closed = true
	st.settle(true)
	st.buf = nil
	st.finished = st.finish()
	st.kept = nil
	return nil
}

// settle decides about all bytes but the last ones.
func (st *Stream) settle(all bool) {
	w := st.scanner.work()
	w.finder.longest = longestInStream
	defer st.scanner.release(w)
	hits := w.find(st.buf, place{})
	limit := st.limit(hits, all)

	hits = slices.DeleteFunc(hits, func(h hit) bool { return h.end <= st.settled || h.start >= limit })
	for i := range hits {
		hits[i].start = max(hits[i].start, st.settled)
		st.count(hits[i])
	}
	st.collect(hits, limit)

	drop := max(limit-behind, 0)
	st.before += drop
	st.settled = limit - drop
	st.buf = append(st.buf[:0], st.buf[drop:]...)
}

// limit returns where the decided part of buf ends: not inside a value, nor
// inside a character.
func (st *Stream) limit(hits []hit, all bool) int {
	if all {
		return len(st.buf)
	}
	limit := max(len(st.buf)-hold, st.settled)
	for limit > st.settled && len(st.buf)-limit < hold+utf8.UTFMax && !utf8.RuneStart(st.buf[limit]) {
		limit--
	}
	for _, h := range hits {
		if h.start < limit && h.end > limit {
			limit = h.end
		}
	}
	return limit
}

// count notes a finding.
func (st *Stream) count(h hit) {
	i := h.by.rank
	for len(st.counts) <= i {
		st.counts = append(st.counts, 0)
	}
	st.counts[i]++
	if st.counts[i] == 1 || len(st.findings) < maxStreamFindings {
		st.findings = append(st.findings, Finding{
			Kind: h.by.kind, Start: st.before + h.start, End: st.before + h.end, Confidence: h.confidence, Encoded: h.sealed,
		})
	}
}

// collect keeps the redacted text of buf[settled:limit], as far as it is wanted.
func (st *Stream) collect(hits []hit, limit int) {
	text := st.buf[st.settled:limit]
	if st.binary = st.binary || isBinary(text); st.binary {
		st.kept = nil
		return
	}
	if len(text) == 0 {
		return
	}
	if room := st.keep + hold - len(st.kept); room <= 0 {
		st.cut = true
		return
	}
	for i := range hits {
		hits[i].start -= st.settled
		hits[i].end -= st.settled
	}
	st.kept = append(st.kept, splice(text, hits, nil)...)
}

// isBinary reports whether b is not UTF-8, or has control characters that no
// text has.
func isBinary(b []byte) bool {
	for _, c := range b {
		if c < ' ' && (c < '\b' || c > '\r') && c != 0x1B {
			return true
		}
	}
	return !utf8.Valid(b)
}

// finish returns what is kept of the text, at most keep bytes. The text is cut
// between words where there are any, and never so that the cut makes a value
// out of something longer.
func (st *Stream) finish() []byte {
	w := st.scanner.work()
	w.finder.longest = longestInStream
	defer st.scanner.release(w)
	text := w.redactText(st.kept, place{}, nil)
	if len(text) <= st.keep {
		return slices.Clone(text)
	}
	st.cut = true
	n := st.keep
	for n > 0 && st.keep-n < maxGlue+utf8.UTFMax && (!utf8.RuneStart(text[n]) || inWord(text[n-1]) && inWord(text[n])) {
		n--
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	for {
		hits := w.find(text[:n], place{})
		if len(hits) == 0 {
			return slices.Clone(text[:n])
		}
		n = hits[0].start
	}
}

func inWord(c byte) bool {
	return isDigit(c) || asciiLetter(c) || c == '_' || c == '[' || c == '\\' || c == '@' || c >= utf8.RuneSelf
}

// Report returns what was found up to now; after Close, all of it. Start and
// End count from the beginning of the stream. Of a stream with more than a
// thousand values the first thousand are reported, and the first of each kind;
// Count knows of all.
func (st *Stream) Report() Report {
	return Report{Findings: slices.Clone(st.findings), catalog: st.scanner.catalog(), least: st.scanner.leastConfidence()}
}

// Count returns how many values of one kind were found up to now.
func (st *Stream) Count(kind iatp.DataClass) int {
	n := 0
	for i, d := range st.scanner.catalog().all[:len(st.counts)] {
		if d.kind == kind {
			n += st.counts[i]
		}
	}
	return n
}

// Kept closes the stream and returns the first bytes of its text, redacted, and
// whether there was more. It keeps nothing of what is binary.
func (st *Stream) Kept() (text []byte, truncated bool) {
	_ = st.Close() // never fails
	return st.finished, st.cut
}

// Binary reports whether the bytes up to now, after Close all of them, were
// something other than UTF-8 text.
func (st *Stream) Binary() bool { return st.binary }
