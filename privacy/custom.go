package privacy

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	"github.com/inter-agent-trust/iatp"
)

// Options say what a Scanner looks for beside the built-in kinds, and what it
// leaves alone. The zero Options are those of New.
type Options struct {
	// MinConfidence is the weakest confidence to report, above 0 and at most
	// 1; 0 stands for 0.5. Below it, numbers with nothing but a check digit
	// appear.
	MinConfidence float64
	// Detectors are looked for beside the built-in ones.
	Detectors []Detector
	// Allowed values are not reported.
	Allowed Allowed
}

// A Detector finds values of a kind of one's own.
type Detector struct {
	// Kind names what is found: small letters, digits and underlines.
	Kind iatp.DataClass
	// Pattern is an expression of RE2 that matches a value. It sees text with
	// digits of all scripts as 0 to 9, spaces and dashes as " " and "-", and
	// other characters outside ASCII as bytes below 0x20. It must not match
	// nothing.
	Pattern string
	// Keywords: with any here, a value counts only beside one of them, in the
	// text around it or in the names of the members that it is in.
	Keywords []string
	// Check is "", or the check digits that the digits of the value must end
	// in: "luhn" (ISO/IEC 7812-1), "mod97" (ISO/IEC 7064, MOD 97-10), "mod11"
	// (ISO/IEC 7064, MOD 11,10), "verhoeff".
	Check string
	// Confidence is above 0 and at most 1; 0 stands for 0.8.
	Confidence float64
}

// Allowed are values that may be seen: test cards, a firm's own addresses.
type Allowed struct {
	// Values are written as anywhere in a text. The separators of one that is
	// made of digits do not count.
	Values []string
	// Hashes are what Hash returns for values, for lists that must not tell them.
	Hashes [][sha256.Size]byte
	// Key, if it is not empty, makes Hash an HMAC: a plain hash of a card number
	// is found again by trying all of them.
	Key []byte
	// Pointers are of JSON leaves: what stands there, or below, is not reported. The
	// step * stands for any one name or number.
	Pointers []string
}

// Hash returns the SHA-256 of a value, or its HMAC-SHA256 under the key.
func (a *Allowed) Hash(value []byte) [sha256.Size]byte {
	var f folded
	f.fold(value)
	return hashOf(a.Key, f.b)
}

// hashOf hashes folded text; of digits in groups, the digits alone.
func hashOf(key, text []byte) [sha256.Size]byte {
	if digits := digitsOf(text); len(digits) > 0 && len(bytes.Trim(text, "0123456789"+anySep)) == 0 {
		text = digits
	}
	if len(key) == 0 {
		return sha256.Sum256(text)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return [sha256.Size]byte(mac.Sum(nil))
}

// maxCustom is how many detectors of one's own there may be.
const maxCustom = 32

// NewWith returns a Scanner with options. The error says which option is wrong.
func NewWith(o Options) (*Scanner, error) {
	s := &Scanner{least: o.MinConfidence}
	if o.MinConfidence < 0 || o.MinConfidence > 1 {
		return nil, fmt.Errorf("a confidence of %v is not between 0 and 1", o.MinConfidence)
	}
	if len(o.Detectors) > maxCustom {
		return nil, fmt.Errorf("%d detectors are more than %d", len(o.Detectors), maxCustom)
	}
	if len(o.Detectors) == 0 && len(o.Allowed.Values)+len(o.Allowed.Hashes)+len(o.Allowed.Pointers) == 0 {
		return s, nil
	}
	all := append([]*detector(nil), builtin().all...)
	for i := range o.Detectors {
		d, err := o.Detectors[i].compile()
		if err != nil {
			return nil, fmt.Errorf("detector %d: %w", i+1, err)
		}
		all = append(all, d)
	}
	s.detectors = newCatalog(all)
	s.detectors.allow(o.Allowed)
	return s, nil
}

// A DetectorError says what is wrong with a Detector.
type DetectorError struct {
	Field string // of the Detector: Kind, Pattern, Check, Confidence, or Keywords[2] for the third of these
	Msg   string
}

func (e *DetectorError) Error() string { return e.Field + ": " + e.Msg }

// compile checks what the operator wrote.
func (c *Detector) compile() (*detector, error) {
	bad := func(field, format string, args ...any) (*detector, error) {
		return nil, &DetectorError{field, fmt.Sprintf(format, args...)}
	}
	if c.Kind == "" || strings.Trim(string(c.Kind), "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return bad("Kind", "want small letters, digits and underlines, got %q", c.Kind)
	}
	if c.Pattern == "" {
		return bad("Pattern", "want an expression in RE2 syntax that matches a value")
	}
	re, err := regexp.Compile(c.Pattern)
	if err != nil {
		return bad("Pattern", "%v", err)
	}
	if re.MatchString("") {
		return bad("Pattern", "%q matches the empty text, so it would be found everywhere: want something that a value must have", c.Pattern)
	}
	if re.MatchString(placeholderOf(c.Kind)) {
		return bad("Pattern", "%q matches %s, which stands for a value that was taken out: say more narrowly what a value looks like", c.Pattern, placeholderOf(c.Kind))
	}
	check, known := checks[c.Check]
	if c.Check != "" && !known {
		return bad("Check", "want one of luhn, mod97, mod11, verhoeff, or none, got %q", c.Check)
	}
	if c.Confidence < 0 || c.Confidence > 1 {
		return bad("Confidence", "want more than 0 and at most 1, got %v", c.Confidence)
	}
	for i, w := range c.Keywords {
		if w == "" || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz ") != "" || strings.TrimSpace(w) != w {
			return bad(fmt.Sprintf("Keywords[%d]", i), "want small letters, words parted by single spaces, got %q", w)
		}
	}
	d := &detector{kind: c.Kind, words: c.Keywords, custom: re, told: c.Confidence}
	if d.told == 0 {
		d.told = 0.8
	}
	if known {
		d.valid = func(digits []byte) float64 { return certain(len(digits) > 1 && check(digits)) }
	}
	return d, nil
}

// checks are the rules of check digits that Detector.Check names.
var checks = map[string]func(digits []byte) bool{
	"luhn":     luhn,
	"mod97":    func(digits []byte) bool { return remainder(digits, 97) == 1 },
	"mod11":    mod11mod10,
	"verhoeff": verhoeff,
}

// findCustom looks for what the operator's expressions match.
func (f *finder) findCustom() {
	for _, d := range f.catalog.custom {
		for _, m := range d.custom.FindAllIndex(f.text, -1) {
			if m[0] == m[1] || d.valid != nil && d.valid(digitsOf(f.text[m[0]:m[1]])) == 0 {
				continue
			}
			told := telling{f: f, start: m[0]}
			if len(d.words) == 0 || told.yes(d, m[1]) {
				f.hit(d, m[0], m[1], d.told)
			}
		}
	}
}

func digitsOf(b []byte) []byte {
	var digits []byte
	for _, c := range b {
		if isDigit(c) {
			digits = append(digits, c)
		}
	}
	return digits
}

// allow notes what is not to be reported.
func (c *catalog) allow(a Allowed) {
	c.allowed, c.allowKey = map[[sha256.Size]byte]bool{}, bytes.Clone(a.Key)
	for _, v := range a.Values {
		c.allowed[a.Hash([]byte(v))] = true
	}
	for _, h := range a.Hashes {
		c.allowed[h] = true
	}
	c.pointers = a.Pointers
}

// withoutAllowed drops hits on values that may be seen, in place.
func (f *finder) withoutAllowed() {
	kept := f.hits[:0]
	for _, h := range f.hits {
		if !f.catalog.allowed[hashOf(f.catalog.allowKey, f.text[h.start:h.end])] {
			kept = append(kept, h)
		}
	}
	f.hits = kept
}

// mayBeAt reports whether what stands at a pointer may be seen.
func (c *catalog) mayBeAt(pointer string) bool {
	for _, p := range c.pointers {
		if leadsTo(p, pointer) {
			return true
		}
	}
	return false
}

// leadsTo reports whether a pointer is that of a place, or of something around it; the
// step * stands for any one.
func leadsTo(pattern, pointer string) bool {
	for pattern != "" {
		var want, step string
		want, pattern = cutStep(pattern)
		if step, pointer = cutStep(pointer); step == "" || want != "/*" && want != step {
			return false
		}
	}
	return true
}

// cutStep cuts the first step off a pointer, with the slash before it.
func cutStep(pointer string) (step, rest string) {
	if pointer == "" {
		return "", ""
	}
	if n := strings.IndexByte(pointer[1:], '/'); n >= 0 {
		return pointer[:n+1], pointer[n+1:]
	}
	return pointer, ""
}
