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

	window window

	kept     []byte
	cut      bool
	finished []byte // kept, as Kept gives it away
	binary   bool
	closed   bool

	tally  tally
	opaque []Opaque
}

// NewStream returns a Stream that keeps the first keep bytes of redacted text.
func (s *Scanner) NewStream(keep int) *Stream { return &Stream{scanner: s, keep: max(keep, 0)} }

// Write takes the next bytes. It fails only after Close.
func (st *Stream) Write(p []byte) (int, error) {
	if st.closed {
		return 0, errClosed
	}
	st.window.write(p, st.settle)
	return len(p), nil
}

// Close says that the stream is over, and decides about its end.
func (st *Stream) Close() error {
	if st.closed {
		return nil
	}
	st.closed = true
	st.settle(true)
	st.window.buf = nil
	st.finished = st.finish()
	st.kept = nil
	return nil
}

// settle decides about all bytes but the last ones.
func (st *Stream) settle(all bool) {
	w := st.scanner.work()
	w.finder.longest = longestInStream
	defer w.release()
	st.window.settle(w, place{}, all, func(text []byte, hits []hit, offset int) {
		for _, h := range hits {
			st.tally.add(h.by, Finding{
				Kind: h.by.kind, Start: offset + h.start, End: offset + h.end, Confidence: h.confidence, Encoded: h.sealed,
			})
		}
		for _, v := range st.window.veils {
			if len(st.opaque) < maxOpaque {
				st.opaque = append(st.opaque, Opaque{Reason: v.reason, Start: offset + v.start, End: offset + v.end})
			}
		}
		st.collect(text, hits)
	})
}

// collect keeps the redacted text, as far as it is wanted.
func (st *Stream) collect(text []byte, hits []hit) {
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
	st.kept = append(st.kept, splice(text, hits, nil)...)
}

// isBinary reports whether b is not UTF-8, or has control characters that no
// text has. Escape begins a colour, and the record separator a text of RFC 7464.
func isBinary(b []byte) bool {
	for i := 0; i < len(b); {
		if x := wordAt(b, i); (x-' '*ones)&highs == 0 {
			i += 8
			continue
		}
		for end := min(i+8, len(b)); i < end; i++ {
			if c := b[i]; c < ' ' && (c < '\b' || c > '\r') && c != 0x1B && c != 0x1E {
				return true
			}
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
	defer w.release()
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
	return Report{Findings: slices.Clone(st.tally.findings), Opaque: slices.Clone(st.opaque), catalog: st.scanner.catalog(), least: st.scanner.leastConfidence()}
}

// Count returns how many values of one kind were found up to now.
func (st *Stream) Count(kind iatp.DataClass) int {
	return st.tally.count(st.scanner.catalog(), kind)
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
