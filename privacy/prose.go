package privacy

import "math/bits"

// proseBytes are what stands between words and means nothing to any detector. A
// dash means nothing within a number.
var proseBytes = bytesOf(" ,.;!?'-")

// amongWords finds a card or a social security number in its plain form that stands
// among plain words: what find would find in a text that no name tells of, sooner. No detector
// means that find has to say.
func (f *finder) amongWords(text []byte) (h hit) {
	n := len(text)
	if c := f.catalog; n < shortestPlain || n > 64 || c.allowed != nil || len(c.custom) > 0 {
		return hit{}
	}
	var letters, digits, spaces, dashes uint64
	for k := 0; k < n; k += 8 {
		x := wordAt(text, k)
		l, d, s := letterBytes(x), digitBytes(x), equalBytes(x, ' ')
		if l&(d<<8|d>>8) != 0 { // part of a number or a name of another kind
			return hit{}
		}
		letters, digits, spaces = letters|gather(l)<<k, digits|gather(d)<<k, spaces|gather(s)<<k
		for others := highs &^ (l | d | s); others != 0; others &= others - 1 {
			at := bits.TrailingZeros64(others) - 7
			switch c := byte(x >> at); {
			case c == '-':
				dashes |= 1 << (k + at/8)
			case !proseBytes[c] && k+at/8 < n:
				return hit{}
			}
		}
	}
	start, end := bits.TrailingZeros64(digits), bits.Len64(digits)
	if end-start < shortestPlain || end-start > longestPlain {
		return hit{}
	}
	number := (uint64(1)<<(end-start) - 1) << start
	if dashes&^number != 0 || letters&(number|number<<1|number>>1) != 0 {
		return hit{}
	}
	rows := ^uint64(0) >> (64 - n) &^ (number | spaces)
	rows &= rows >> 1
	rows &= rows >> 2
	rows &= rows >> 4
	if rows&(rows>>(siftRow-8)) != 0 { // so long a row would be read once more without the number
		return hit{}
	}
	if h.by, h.confidence = f.plainNumber(text[start:end], digits>>start); h.by == nil {
		return hit{}
	}
	h.start, h.end, f.text = start, end, text
	for letters != 0 {
		i := bits.TrailingZeros64(letters)
		size := bits.TrailingZeros64(^(letters >> i))
		if !f.plain(i, i+size) {
			return hit{}
		}
		letters &^= (1<<size - 1) << i
	}
	return h
}
