package privacy

import (
	"bytes"
	"strings"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// decode appends the text of a valid JSON string to dst, and to from where each
// byte of it came from, with one entry more for the end.
func decode(dst []byte, from []int32, raw []byte) ([]byte, []int32) {
	for i := 0; i < len(raw); {
		n := 1
		if raw[i] == '\\' {
			n = escapeLength(raw[i:])
		}
		before := len(dst)
		dst = ijson.AppendDecoded(dst, raw[i:i+n])
		for range len(dst) - before {
			from = append(from, int32(i))
		}
		i += n
	}
	return dst, append(from, int32(len(raw)))
}

// escapeLength returns the length of the escape, or the pair of them, at the
// start of b.
func escapeLength(b []byte) int {
	if b[1] != 'u' {
		return 2
	}
	if r, _ := unescape(b[1:]); r >= 0xD800 && r < 0xDC00 {
		return 12
	}
	return 6
}

// appendEscaped appends text as it stands between the quotes of a JSON string.
func appendEscaped(dst, text []byte) []byte {
	start := len(dst)
	dst = ijson.AppendString(dst, text)
	copy(dst[start:], dst[start+1:len(dst)-1])
	return dst[:len(dst)-2]
}

// pointer returns the pointer of the current token of the body, without
// sensitive member names.
func (w *work) pointer() string { return string(w.appendPointer(nil)) }

func (w *work) appendPointer(dst []byte) []byte {
	l := &w.levels[0]
	if l.path.odd(l.reader.Depth()) {
		return append(dst, w.clean(l.reader.Pointer())...)
	}
	return l.reader.AppendPointer(dst)
}

// clean returns a pointer without sensitive member names.
func (w *work) clean(pointer string) string {
	w.steps = append(w.steps[:0], pointer...)
	for step := range bytes.SplitSeq(w.steps, []byte("/")) {
		if !index(step) && sift(step) {
			if w.cleaner == nil {
				w.cleaner = new(work)
			}
			w.cleaner.use(w.finder.catalog, w.finder.least)
			w.cleaner.finder.longest = w.finder.longest
			return w.cleaner.cleanPointer(pointer)
		}
	}
	return pointer
}

// index reports whether a step of a pointer is the place in an array, or so
// short a number that it is nothing else.
func index(step []byte) bool { return len(step) < fewest && endOfDigits(step, 0) == len(step) }

// cleanPointer takes sensitive member names out of a pointer.
func (w *work) cleanPointer(pointer string) string {
	var out strings.Builder
	var around names
	for step := range strings.SplitSeq(pointer[1:], "/") {
		text := []byte(step)
		out.WriteByte('/')
		out.Write(w.redactText(text, place{given: &around}, nil))
		if !index(text) {
			around = names{around[1], text[:min(len(text), maxName+nameAhead)]}
		}
	}
	return out.String()
}
