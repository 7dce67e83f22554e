package privacy

import (
	"strings"

	"github.com/inter-agent-trust/iatp"
)

// A detector is what is known of one kind of value. Everything but the check
// of its digits is data, and hits and misses are what TestDetectors holds it to.
type detector struct {
	kind        iatp.DataClass
	placeholder string
	min, max    int // digits; both 0: not made of digits, see mailbox
	pad         int // leading zeros that a JSON number under a telling name may have lost

	// valid says how much of the confidence of a form is left after looking
	// at the digits: 0 (no such value) to 1.
	valid func(digits []byte) float64

	// forms are the ways the value is written, the likeliest first.
	forms []form

	// words beside a value, or in the names of the members that enclose it,
	// tell what it is. Lower case; a phrase has single spaces.
	words []string

	hits, misses []string
}

// A shape is how digits stand in text.
type shape uint8

const (
	run    shape = iota // together
	groups              // in groups of given lengths
	chain               // in groups of any lengths: all groups there are or, beside a telling word, the first ones
)

// anySep are all separators, as folded.
const anySep = " -./_+"

// maxSeps is how many separators may stand between two groups.
const maxSeps = 8

// A form is one way to write a value made of digits.
type form struct {
	shape   shape
	lengths string // of groups: one decimal digit each
	seps    string // what may stand between groups
	// single forms are not part of a longer row of groups: 951-45-9693-1 is
	// an ISBN.
	single bool
	// alone and told are the confidence without and with a telling word. What
	// stays below reported is not reported.
	alone, told float64
}

// reported is the weakest confidence that is worth a finding.
const reported = 0.5

// detectors in the order in which they get to see a place.
var detectors = [...]*detector{&cards, &ssns, &emails}

// byDigits are those detectors that look at digits.
var byDigits = detectors[:2]

// redactedSuffix ends the words of a placeholder: [SSN_REDACTED] tells nothing
// about the number beside it.
const redactedSuffix = "_redacted"

// told reports whether text[from:to] has one of the detector's words: whole
// words, in any case and also inside camelCase, however they are separated.
func (d *detector) told(text []byte, from, to int) bool {
	from, to = max(from, 0), min(to, len(text))
	for from > 0 && from < to && asciiLetter(text[from-1]) && asciiLetter(text[from]) {
		from++
	}
	for i := from; i < to; {
		if !asciiLetter(text[i]) {
			i++
			continue
		}
		for _, phrase := range d.words {
			if end := matchPhrase(text, i, phrase); end > 0 && end <= to && !hasPrefixFold(text[end:], redactedSuffix) {
				return true
			}
		}
		i = endOfWord(text, i)
	}
	return false
}

// matchPhrase returns the end of the phrase that begins with the word at i, or 0.
func matchPhrase(text []byte, i int, phrase string) int {
	for {
		word, rest, more := strings.Cut(phrase, " ")
		end := i + len(word)
		if !hasPrefixFold(text[i:], word) || endOfWord(text, i) != end {
			return 0
		}
		if !more {
			return end
		}
		i, phrase = end, rest
		for i < len(text) && !asciiLetter(text[i]) && i < end+3 {
			i++
		}
	}
}

// endOfWord returns the end of the word at i: abc|Def, ABC|Def, abc|_def.
func endOfWord(text []byte, i int) int {
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
