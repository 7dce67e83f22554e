package privacy

import (
	"slices"

	"github.com/inter-agent-trust/iatp"
)

// A Finding says that a value of some kind stands at some place. It never
// holds the value: findings are logged, counted and shown to people.
type Finding struct {
	Kind iatp.DataClass
	// Pointer is the RFC 6901 pointer of the JSON leaf or, with InName, of
	// the member whose name holds the value. For JSON nested in a string it
	// is the string's. It is empty in text, and in JSON if it is longer than
	// 4 KiB or once the pointers of one report have grown past 64 KiB: a body
	// of a million findings must not cost a gigabyte of pointers. A member name inside a pointer that is
	// itself sensitive stands there redacted.
	Pointer string
	// Start and End delimit the value in the bytes that were scanned, as
	// written there: escapes and separators included.
	Start, End int
	// Confidence is above 0 and at most 1; weaker than 0.5 is reported only
	// by a Scanner with Options.MinConfidence.
	Confidence float64
	// InName says that the value is in a member name.
	InName bool
	// Encoded says that the value is inside base64 or hexadecimal, and that
	// Start and End delimit all of that.
	Encoded bool
}

// A Report is what one scan found, in the order of the input.
type Report struct {
	Findings []Finding
	// Opaque is what was not looked into: the first hundred such parts.
	Opaque []Opaque

	list     *list // where Findings goes when they are released; nil if it may not
	json     bool  // AppendRedacted must give JSON back
	streamed bool  // and here what a Redactor makes of the format
	format   Format
	limits   Limits
	catalog  *catalog // what was looked for; nil for the built-in detectors
	least    float64
}

// Classes returns the kinds of data found, sorted, each once.
func (r Report) Classes() []iatp.DataClass {
	var classes []iatp.DataClass
	for i := range r.Findings {
		if !slices.Contains(classes, r.Findings[i].Kind) {
			classes = append(classes, r.Findings[i].Kind)
		}
	}
	slices.Sort(classes)
	return classes
}

// Release gives the memory of the findings to a later scan: neither they nor a copy of
// the report may be used any more. A report need not be released. Most bodies hold nothing, and
// have nothing to release.
func (r *Report) Release() {
	if l := r.list; l != nil && cap(r.Findings) <= maxKept {
		l.findings = r.Findings[:0]
		lists.Put(l)
	}
	*r = Report{}
}

// A Scanner finds sensitive values. The zero Scanner is ready; it is safe for
// concurrent use.
type Scanner struct {
	detectors *catalog // nil for the built-in ones
	least     float64  // 0 for reported
}

func (s *Scanner) catalog() *catalog {
	if s.detectors == nil {
		return builtin()
	}
	return s.detectors
}

func (s *Scanner) leastConfidence() float64 {
	if s.least == 0 {
		return reported
	}
	return s.least
}

// New returns a Scanner with the built-in detectors.
func New() *Scanner { return new(Scanner) }
