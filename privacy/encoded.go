package privacy

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"unicode/utf8"
)

// Bounds of looking into what is encoded: shorter is nothing; longer, or encoded
// three times, is opaque.
const (
	shortestEncoded = 12
	longestEncoded  = 64 << 10
	longestInStream = 4 << 10 // of text: the window holds it
	deepestEncoded  = 2
	shortestBinary  = 512 // keys, digests and signatures are shorter
	maxTries        = 4   // beginnings of one row: base64 has "/", and paths have too
)

// encoded looks into the row of letters and digits at i, with what else base64
// has, if it spells text. A value that it holds is reported as all of the row:
// no part of it can be taken out.
func (f *finder) encoded(i, end int) int {
	digits := i
	if f.text[i] == '0' && f.text[i+1]|0x20 == 'x' {
		digits += len("0x")
	}
	if n := end - digits; n >= shortestEncoded && n <= f.longest && n%2 == 0 && isHex(f.text[digits:end]) {
		if last := f.inside(digits, end, hex.Decode); last > digits {
			return last
		}
	}
	if i >= f.row {
		f.tries = 0
	} else if f.tries >= maxTries {
		return i
	}
	last := f.endOf(i, f.longest+1, base64Bytes)
	f.row, f.tries = last, f.tries+1
	switch n := last - i; {
	case n < shortestEncoded:
		return i
	case n > f.longest:
		f.veiled(OpaqueEncoded, i, last)
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
	return true
}

// decodeBase64 decodes base64 of either alphabet, with padding or without.
func decodeBase64(dst, src []byte) (int, error) {
	for len(src) > 0 && src[len(src)-1] == '=' {
		src = src[:len(src)-1]
	}
	std, web := false, false
	for _, c := range src {
		switch c {
		case '-', '_':
			web = true
		case '+', '/':
			std = true
		case '=':
			return 0, errNoBase64
		}
	}
	switch {
	case len(src)%4 == 1 || std && web:
		return 0, errNoBase64
	case web:
		return base64.RawURLEncoding.Decode(dst, src)
	}
	return base64.RawStdEncoding.Decode(dst, src)
}

// errNoBase64 costs nothing: most rows are something else.
var errNoBase64 = errors.New("no base64")

// inside looks for values in text[i:end] decoded, and reports the one that
// counts most. It returns where to go on, or i.
func (f *finder) inside(i, end int, decode func(dst, src []byte) (int, error)) int {
	first := &f.taste
	n, err := decode(first[:], f.text[i:min(end, i+len(first))])
	if err != nil {
		return i
	}
	if !readable(first[:n], end-i > len(first)) {
		if compressed(first[:n], end-i) {
			f.veiled(OpaqueCompressed, i, end)
		} else if end-i >= shortestBinary {
			f.veiled(OpaqueBinary, i, end)
		}
		return i
	}
	if f.decoder == nil {
		f.decoder = new(decoder)
	}
	d := f.decoder
	d.buf = slices.Grow(d.buf[:0], end-i)
	n, err = decode(d.buf[:end-i], f.text[i:end])
	if err != nil || n < shortestText || !readable(d.buf[:n], false) {
		if end-i >= shortestBinary {
			f.veiled(OpaqueBinary, i, end)
		}
		return i
	}
	if f.nested >= deepestEncoded {
		f.veiled(OpaqueEncoded, i, end)
		return i
	}
	d.folded.fold(d.buf[:n])
	sub := &d.finder
	sub.catalog, sub.least, sub.nested, sub.longest, sub.known = f.catalog, f.least, f.nested+1, f.longest, f.known
	hits := sub.find(d.folded.b, f.around)
	if len(sub.veils) > 0 {
		f.veiled(sub.veils[0].reason, i, end)
	}
	if len(hits) == 0 {
		return i
	}
	best := hits[0]
	for _, h := range hits[1:] {
		if h.by.rank < best.by.rank {
			best = h
		}
	}
	f.hits = append(f.hits, hit{by: best.by, start: i, end: end, confidence: best.confidence, sealed: true})
	return end
}

// compressed reports whether n characters of base64 that begin with b hold
// compressed data.
func compressed(b []byte, n int) bool {
	if len(b) < 3 {
		return false
	}
	magic := ""
	switch b[0] {
	case 0x1f:
		magic = "\x1f\x8b\x08" // gzip
	case 0x28:
		magic = "\x28\xb5\x2f\xfd" // zstd
	case 'P':
		magic = "PK\x03\x04" // zip
	case 'B':
		magic = "BZh" // bzip2
	case 0xfd:
		magic = "\xfd7zXZ" // xz
	case 0x78: // zlib, RFC 1950: two bytes that are a multiple of 31
		return n >= 64 && (int(b[0])<<8+int(b[1]))%31 == 0
	default:
		return false
	}
	return n >= 24 && bytes.HasPrefix(b, []byte(magic))
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
