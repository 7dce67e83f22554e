package privacy

import (
	"encoding/base64"
	"encoding/hex"
	"unicode/utf8"
)

// Bounds of looking into what is encoded: shorter is nothing, longer is read up
// to there, and what is encoded three times is left alone.
const (
	shortestEncoded = 12
	longestEncoded  = 4 << 10
	deepestEncoded  = 2
	maxTries        = 4 // beginnings of one row: base64 has "/", and paths have too
)

// encoded looks into the row of letters and digits at i, with what else base64
// has, if it spells text. A value that it holds is reported as all of the row:
// no part of it can be taken out.
func (f *finder) encoded(i, end int) int {
	if f.nested >= deepestEncoded {
		return i
	}
	if end-i >= shortestEncoded && (end-i)%2 == 0 && isHex(f.text[i:end]) {
		if last := f.inside(i, end, hex.Decode); last > i {
			return last
		}
	}
	if i >= f.row {
		f.tries = 0
	} else if f.tries >= maxTries {
		return i
	}
	last := f.endOf(i, longestEncoded+1, base64Bytes)
	f.row, f.tries = last, f.tries+1
	if last-i < shortestEncoded || last-i > longestEncoded {
		return i
	}
	return f.inside(i, last, decodeBase64)
}

func isHex(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) && !isHexLetter(c) {
			return false
		}
	}
	return len(b) <= longestEncoded
}

// decodeBase64 decodes base64 of either alphabet, with padding or without.
func decodeBase64(dst, src []byte) (int, error) {
	for len(src) > 0 && src[len(src)-1] == '=' {
		src = src[:len(src)-1]
	}
	encoding := base64.RawStdEncoding
	for _, c := range src {
		if c == '-' || c == '_' {
			encoding = base64.RawURLEncoding
		}
	}
	return encoding.Decode(dst, src)
}

// inside looks for values in text[i:end] decoded, and reports the one that
// counts most. It returns where to go on, or i.
func (f *finder) inside(i, end int, decode func(dst, src []byte) (int, error)) int {
	const taste = 16 // enough to tell text from noise
	var first [taste]byte
	if n, err := decode(first[:], f.text[i:min(end, i+taste)]); err != nil || !readable(first[:n], end-i > taste) {
		return i
	}
	if f.decoder == nil {
		f.decoder = new(decoder)
	}
	d := f.decoder
	if cap(d.buf) < longestEncoded {
		d.buf = make([]byte, longestEncoded)
	}
	n, err := decode(d.buf[:longestEncoded], f.text[i:end])
	if err != nil || n < shortestText || !readable(d.buf[:n], false) {
		return i
	}
	d.folded.fold(d.buf[:n])
	sub := &d.finder
	sub.catalog, sub.least, sub.nested = f.catalog, f.least, f.nested+1
	hits := sub.find(d.folded.b, f.around)
	if len(hits) == 0 {
		return i
	}
	best := hits[0]
	for _, h := range hits[1:] {
		if h.by.rank < best.by.rank {
			best = h
		}
	}
	return f.hit(best.by, i, end, best.confidence)
}

// readable reports whether b is text; cut says that its end may be missing.
func readable(b []byte, cut bool) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n <= 1 {
			return cut && len(b) < utf8.UTFMax
		}
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7F {
			return false
		}
		b = b[n:]
	}
	return true
}

// A decoder is what looking inside takes.
type decoder struct {
	buf    []byte
	folded folded
	finder finder
}
