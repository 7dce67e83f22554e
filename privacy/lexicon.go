package privacy

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strings"
)

// topics are the detectors that some words speak of, one bit each. Two numbers
// stay in registers, as an array does not.
type topics struct{ low, high uint64 }

// maxTopics is how many detectors topics have room for; the bit behind them is never
// set.
const (
	maxTopics = 127
	noTopic   = maxTopics
)

func (t topics) has(d *detector) bool {
	if d.topic < 64 {
		return t.low>>(d.topic&63)&1 != 0
	}
	return t.high>>(d.topic&63)&1 != 0
}

func (t *topics) add(d *detector) {
	switch {
	case d.topic < 64:
		t.low |= 1 << (d.topic & 63)
	case d.topic < maxTopics:
		t.high |= 1 << (d.topic & 63)
	}
}

// take takes the first one away, and returns its topic; there must be one.
func (t *topics) take() int {
	if t.low != 0 {
		topic := bits.TrailingZeros64(t.low)
		t.low &= t.low - 1
		return topic
	}
	topic := 64 + bits.TrailingZeros64(t.high)
	t.high &= t.high - 1
	return topic
}

func (t topics) or(o topics) topics  { return topics{t.low | o.low, t.high | o.high} }
func (t topics) and(o topics) topics { return topics{t.low & o.low, t.high & o.high} }
func (t topics) none() bool          { return t.low|t.high == 0 }

// A lexicon knows the telling words of all detectors.
type lexicon struct {
	// phrases by their first word; a phrase that begins with a word that is
	// not in the table cannot be there.
	phrases map[string][]phrase
	// lengths says for each first and last letter how long first words are, a bit
	// for each length: most words of a text need no look-up.
	lengths [32 * 32]uint32
}

// A phrase is what follows a first word, and whom both together tell.
type phrase struct {
	rest string
	who  topics
}

// maxWord is the length of the longest first word.
const maxWord = 31

// twoLetters numbers the first and the last letter of a word, in any case.
func twoLetters(first, last byte) int { return int(first&31)<<5 | int(last&31) }

// learn adds the words of a detector.
func (x *lexicon) learn(d *detector, words []string) {
	for _, text := range words {
		first, rest, _ := strings.Cut(text, " ")
		x.lengths[twoLetters(first[0], first[len(first)-1])] |= 1 << len(first)
		known := x.phrases[first]
		i := 0
		for i < len(known) && known[i].rest != rest {
			i++
		}
		if i == len(known) {
			known = append(known, phrase{rest: rest})
		}
		known[i].who.add(d)
		x.phrases[first] = known
	}
}

// mayHave reports whether a row may hold a word that labels looks up: most are one
// word, and its first and last letter are those of none.
func (x *lexicon) mayHave(text []byte, r row) bool {
	n := r.end - r.start
	switch {
	case r.digits == 0 && n <= 16:
		capitals := letterCase(wordAt(text, r.start)) >> 8 // but the first
		if n <= 8 {
			capitals &= 1<<(8*(n-1)) - 1
		} else {
			capitals |= letterCase(binary.LittleEndian.Uint64(text[r.end-8:]))
		}
		return capitals != 0 || x.lengths[twoLetters(text[r.start], text[r.end-1])]>>n&1 != 0
	case r.digits != 0 && n < 63:
		letters := ^r.digits & (1<<n - 1)
		first := bits.TrailingZeros64(letters)
		return letters != 0 && first+bits.TrailingZeros64(^(letters>>first)) >= n-1 // see labelsBefore
	}
	return true
}

// letterCase sets bit 7 of each byte that is a capital, if it is a letter.
func letterCase(x uint64) uint64 { return ^x << 2 & highs }

// read returns whom the words in text[from:to] tell: whole words, in any case
// and also inside camelCase, however they are separated.
func (x *lexicon) read(text []byte, from, to int) topics {
	var found topics
	from, to = max(from, 0), min(to, len(text))
	for n := 0; n < maxWord && from > 0 && from < to && asciiLetter(text[from-1]) && asciiLetter(text[from]); n++ {
		from-- // a long word counts if it reaches in
	}
	for from > 0 && from < to && asciiLetter(text[from-1]) && asciiLetter(text[from]) {
		from++
	}
	for i := from; i < to; {
		if !asciiLetter(text[i]) {
			i++
			continue
		}
		end := endOfWord(text, i)
		found = found.or(x.at(text, i, end, to))
		i = end
	}
	return found
}

// at returns whom the phrases tell that begin with the word text[i:end] and
// end at limit at the latest.
func (x *lexicon) at(text []byte, i, end, limit int) topics {
	var found topics
	n := end - i
	if n > maxWord || end > limit || x.lengths[twoLetters(text[i], text[end-1])]>>n&1 == 0 {
		return found
	}
	var word [maxWord]byte
	for k := range n {
		word[k] = text[i+k] | 0x20
	}
	for _, p := range x.phrases[string(word[:n])] {
		last := end
		if p.rest != "" {
			last = matchPhrase(text, end, p.rest)
		}
		if last > 0 && last <= limit && !inPlaceholder(text, last) && (p.rest != "" || n != 3 || !everyday(text, i, end)) {
			found = found.or(p.who)
		}
	}
	return found
}

// everyday reports whether text[i:end] is a word of some language that only looks like
// the name of a number: "ein Haus" has no EIN.
func everyday(text []byte, i, end int) bool {
	switch string(text[i:end]) {
	case "ein", "sin", "nas", "tin", "nik", "nit", "nin", "pis", "sss", "spi":
	default:
		return false
	}
	if end+1 >= len(text) || text[end] != ' ' || !asciiLetter(text[end+1]) {
		return false
	}
	switch next := text[end+1 : endOfWord(text, end+1)]; string(next) {
	case "is", "no", "nr", "num", "number", "id", "for", "code", "card", "was", "of":
		return false
	}
	return true
}

// matchPhrase returns the end of the phrase whose first word begins at most two
// characters after i, or 0.
func matchPhrase(text []byte, i int, phrase string) int {
	for more := true; more; {
		var word string
		word, phrase, more = strings.Cut(phrase, " ")
		start := i
		for i < len(text) && !asciiLetter(text[i]) && i < start+3 {
			i++
		}
		end := i + len(word)
		if !hasPrefixFold(text[i:], word) || endOfWord(text, i) != end {
			return 0
		}
		i = end
	}
	return i
}

// inPlaceholder reports whether a word that ends at i belongs to a placeholder:
// [SSN_REDACTED] tells nothing about the number beside it.
func inPlaceholder(text []byte, i int) bool {
	const longest = 48
	end := i
	for end < len(text) && end-i < longest && (asciiLetter(text[end]) || text[end] == '_' || isDigit(text[end])) {
		end++
	}
	n := len(redactedSuffix)
	return end-i >= n && bytes.EqualFold(text[end-n:end], []byte(redactedSuffix))
}

// endOfWord returns the end of the word at i: abc|Def, ABC|Def, abc|_def.
func endOfWord(text []byte, i int) int {
	// Most words are short, and have no capitals but the first.
	x := wordAt(text, i)
	letters := letterBytes(x)
	if n := bits.TrailingZeros64(highs&^letters) &^ 7; n > 0 && n < 64 && letters&^(x<<2)&(1<<n-1)>>8 == 0 {
		return i + n/8
	}
	j := i + 1
	for j < len(text) && asciiLetter(text[j]) {
		if upper(text[j]) && (!upper(text[j-1]) || j+1 < len(text) && asciiLetter(text[j+1]) && !upper(text[j+1])) {
			break
		}
		j++
	}
	return j
}

func asciiLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func upper(c byte) bool       { return c >= 'A' && c <= 'Z' }

// hasPrefixFold is bytes.HasPrefix without regard to case; prefix is in lower case.
func hasPrefixFold(b []byte, prefix string) bool {
	if len(b) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := b[i]
		if upper(c) {
			c |= 0x20
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}
