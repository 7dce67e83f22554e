package privacy

import "github.com/inter-agent-trust/iatp"

// An Action says what becomes of a value that was found. The zero Action takes
// it out.
type Action uint8

// The actions, the strongest first.
const (
	// Redact puts a placeholder that names the kind: [CREDIT_CARD_REDACTED].
	Redact Action = iota
	// Mask leaves the last four letters or digits: ****0366. Only numbers and
	// identifiers that people know by their ends are masked, and only if they
	// have at least nine letters and digits; everything else, secrets above
	// all, is redacted.
	Mask
	// Keep leaves the value as it is.
	Keep
)

// A choice decides about hits in one place; nil takes all of them out.
type choice func(d *detector, confidence float64) Action

func (c choice) of(h hit) Action {
	if c == nil {
		return Redact
	}
	return c(h.by, h.confidence)
}

// unmasked takes out what c masks.
func (c choice) unmasked() choice {
	if c == nil {
		return nil
	}
	return func(d *detector, confidence float64) Action {
		if c(d, confidence) == Keep {
			return Keep
		}
		return Redact
	}
}

// kindsOnly takes out what is of these kinds.
func kindsOnly(kinds []iatp.DataClass) func(Finding) Action {
	return func(f Finding) Action {
		for _, k := range kinds {
			if k == f.Kind {
				return Redact
			}
		}
		return Keep
	}
}

// What a mask is, and how much of a value there must be for it.
const (
	maskSigns    = "****"
	maskLeaves   = 4
	maskShortest = 9
)

// maskable reports whether people know values of the kind by their ends.
func (d *detector) maskable() bool {
	return d.min > 0 || d.patterns != nil || d == &ibans || d == &accounts || d == &passports || d == &licences || d == &records || d.custom != nil
}

// appendMask appends what stands for text, a value that d found, if its end may
// be seen.
func (d *detector) appendMask(dst, text []byte) []byte {
	if !d.maskable() {
		return append(dst, d.placeholder()...)
	}
	var f folded
	f.fold(text)
	plain := f.b[:0]
	for _, c := range f.b {
		if byteKind[c] == runByte {
			plain = append(plain, c)
		}
	}
	if len(plain) < maskShortest || len(f.b) > 2*maxDigits+maxRun { // longer: it was encoded
		return append(dst, d.placeholder()...)
	}
	return append(append(dst, maskSigns...), plain[len(plain)-maskLeaves:]...)
}
