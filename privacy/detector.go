package privacy

import (
	"crypto/sha256"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/inter-agent-trust/iatp"
)

// A detector is what is known of one kind of value. Everything but the check
// of its digits is data, and hits and misses are what TestDetectors holds it to.
type detector struct {
	kind     iatp.DataClass
	min, max int // digits; both 0: not made of digits alone
	pad      int // leading zeros that a JSON number under a telling name may have lost
	rank     int // place in the catalog; the lower wins where two claim the same bytes
	topic    int // its bit in topics, noTopic for one that no word tells of

	// valid says how much of the confidence of a form is left after looking
	// at the digits: 0 (no such value) to 1.
	valid func(digits []byte) float64

	// forms are the ways the value is written, the likeliest first.
	forms []form

	// patterns are the ways the value is written if it has letters: see
	// matchPattern. alone and told are the confidence in them.
	patterns    []string
	alone, told float64

	// looks judges letters and digits beside a telling word, for values that
	// have no form of their own, and says where they end.
	looks func(f *finder, i, end, digits int) (last int, confidence float64)

	// labelled values are secret because they are called so: see assigned.
	labelled bool

	// custom is the operator's expression, for a kind of his own.
	custom *regexp.Regexp

	// words beside a value, or in the names of the members that enclose it,
	// tell what it is. Lower case; a phrase has single spaces.
	words []string

	hits, misses []string
}

// placeholder returns what stands for a value in redacted text.
func (d *detector) placeholder() string { return placeholderOf(d.kind) }

func placeholderOf(c iatp.DataClass) string {
	switch c { // the common ones cost nothing
	case iatp.CreditCard:
		return "[CREDIT_CARD_REDACTED]"
	case iatp.SSN:
		return "[SSN_REDACTED]"
	case iatp.Email:
		return "[EMAIL_REDACTED]"
	}
	return "[" + strings.ToUpper(string(c)) + "_REDACTED]"
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
	code    uint64 // and as a number, with its mask: see lengthsCode
	mask    uint64
	seps    string // what may stand between groups
	begins  string // the first digits, where they are always the same
	// single forms are not part of a longer row of groups: 951-45-9693-1 is
	// an ISBN.
	single bool
	// alone and told are the confidence without and with a telling word. What
	// stays below reported is not reported.
	alone, told float64
}

// redactedSuffix ends the words of a placeholder: [SSN_REDACTED] tells nothing
// about the number beside it.
const redactedSuffix = "_redacted"

// A catalog is a set of detectors with what finds them quickly. It does not
// change once it is made.
type catalog struct {
	all []*detector // by rank

	byTopic [maxTopics]*detector

	// byCount[n] are the detectors of values with n digits that need a telling
	// word, always those that do not.
	byCount [maxDigits + 1]topics
	always  []*detector
	opens   [maxDigits + 1]bool           // how long a group is that may begin a value anywhere in a chain
	plain   [longestPlain + 1][]plainForm // of those that need none, by their length

	alone  topics // who may report without a telling word
	byForm formIndex
	first  topics // always as a set
	digits topics // who is made of digits alone

	// byRun[n] are the patterns whose first letters and digits are n in a row.
	byRun   [maxRun + 1][]pattern
	lexicon lexicon

	// numbers[n] says with which byte behind them, 0 for none, n digits may begin a
	// pattern.
	numbers [shortestEncoded][256]bool

	// loose are the values that a word makes out of any letters and digits,
	// labelled those and the ones that are secret because they are called so.
	loose     []*detector
	labels    lexicon // the words of the loose ones alone
	looseOnes topics
	labelled  topics

	// What the operator added, and what may be seen.
	custom   []*detector
	allowed  map[[sha256.Size]byte]bool
	allowKey []byte // of the hashes in allowed
	pointers []string
}

// alwaysLookedFor says how many detectors at the beginning of the built-in ones
// look at digits whatever stands beside them.
const alwaysLookedFor = 2

// builtin is the catalog of the built-in detectors.
var builtin = sync.OnceValue(func() *catalog {
	all := slices.Concat([]*detector{&cards, &ssns, &emails}, identities, letterIdentities, moreIdentities, others)
	return newCatalog(all)
})

func newCatalog(all []*detector) *catalog {
	c := &catalog{all: all, lexicon: lexicon{phrases: map[string][]phrase{}}, labels: lexicon{phrases: map[string][]phrase{}}}
	topic := 0
	for i, d := range all {
		bit := noTopic
		if d.min > 0 || d.looks != nil || d.labelled || len(d.words) > 0 {
			bit, c.byTopic[topic] = topic, d
			topic++
		}
		if d.rank != i || d.topic != bit { // the built-in ones have theirs, and others may be reading it
			d.rank, d.topic = i, bit
		}
		for k := range d.forms {
			if fm := &d.forms[k]; fm.lengths != "" && fm.code == 0 {
				fm.code, fm.mask = lengthsCode(fm.lengths)
			}
		}
		c.lexicon.learn(d, d.words)
		if d.custom != nil {
			c.custom = append(c.custom, d)
		}
		if d.looks != nil {
			c.loose = append(c.loose, d)
			c.labels.learn(d, d.words)
			c.looseOnes.add(d)
			c.labelled.add(d)
		}
		if d.labelled {
			c.labelled.add(d)
		}
		for _, p := range d.patterns {
			c.addPattern(d, p)
		}
		if d.min > 0 {
			c.digits.add(d)
		}
		switch {
		case d.min == 0:
		case i < alwaysLookedFor:
			c.addAlways(d)
		default:
			for n := d.min; n <= d.max; n++ {
				c.byCount[n].add(d)
			}
			for i := range d.forms {
				if d.forms[i].alone >= reported {
					c.alone.add(d)
					c.byForm.add(d, &d.forms[i])
				}
			}
		}
	}
	return c
}

// A formIndex finds who may report digits in a form without a telling word.
type formIndex struct {
	runs   [maxDigits + 1]topics // by the number of digits, all together
	chains [maxDigits + 1]topics // in groups of whatever lengths
	groups [maxDigits + 1][]groupForm
}

// A groupForm is who may report groups of the same lengths, which lengthsCode has.
type groupForm struct {
	code, mask uint64
	who        topics
}

func (x *formIndex) add(d *detector, fm *form) {
	switch fm.shape {
	case groups:
		size := 0
		for _, c := range []byte(fm.lengths) {
			size += int(c - '0')
		}
		of := &x.groups[size]
		k := slices.IndexFunc(*of, func(g groupForm) bool { return g.code == fm.code && g.mask == fm.mask })
		if k < 0 {
			k, *of = len(*of), append(*of, groupForm{code: fm.code, mask: fm.mask})
		}
		(*of)[k].who.add(d)
	case run, chain:
		of := &x.runs
		if fm.shape == chain {
			of = &x.chains
		}
		for n := d.min; n <= d.max; n++ {
			of[n].add(d)
		}
	}
}

// of returns who may report the groups that w begins with.
func (x *formIndex) of(w *walk) topics {
	fit := x.runs[w.total[0]]
	for k := range w.n {
		n := w.digitsUpTo(k)
		if k > 0 {
			fit = fit.or(x.chains[n])
		}
		of := x.groups[n]
		for i := range of {
			if g := &of[i]; w.code&g.mask == g.code {
				fit = fit.or(g.who)
			}
		}
	}
	return fit
}

// addAlways makes d one of those that are asked about every row of digits.
func (c *catalog) addAlways(d *detector) {
	c.always = append(c.always, d)
	c.first.add(d)
	c.addPlain(d)
	for n := d.min; n <= d.max; n++ {
		c.opens[n] = true
	}
	for i := range d.forms {
		if l := d.forms[i].lengths; l != "" {
			c.opens[l[0]-'0'] = true
		}
	}
}

// reported is the weakest confidence that is worth a finding, unless a weaker
// one is asked for.
const reported = 0.5
