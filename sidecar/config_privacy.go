package sidecar

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/privacy"
)

// Privacy says what sensitive data is looked for, and what becomes of it. The two
// data blocks that are built in (package policy) hold whatever stands here.
type Privacy struct {
	// Request is what becomes of findings in requests for which no rule holds:
	// block, ask, redact, mask, record, or default, which asks about a key or
	// credential on its way out (private_key, api_key, url_credentials) and
	// records all else.
	Request string `yaml:"request"`

	// Response is the same for answers: block, redact, mask or record.
	Response string `yaml:"response"`

	// Opaque is what becomes of a request of which a part cannot be read, such as
	// compressed data in base64: block, ask or record.
	Opaque string `yaml:"opaque"`

	// MinConfidence is how sure a finding must be for rules to count it, above 0 and
	// at most 1. Payment cards and social security numbers count from 0.5 on at the
	// latest, and what is so sure is in no record.
	MinConfidence float64 `yaml:"min_confidence"`

	// Rules are gone through from the top; the first that holds for a finding
	// decides about it.
	Rules []policy.DataRule `yaml:"rules"`

	// Detectors find kinds of data of one's own.
	Detectors []Detector `yaml:"detectors"`

	// Allow lists what is no finding.
	Allow Allow `yaml:"allow"`
}

// Detector finds a kind of data of one's own.
type Detector struct {
	Name       string   `yaml:"name"`       // of the kind: small letters, digits, underlines
	Pattern    string   `yaml:"pattern"`    // in RE2 syntax; see privacy.Detector for what it sees
	Keywords   []string `yaml:"keywords"`   // one of which must stand beside the value, or name the member
	Validator  string   `yaml:"validator"`  // luhn, mod97, mod11, verhoeff, or none
	Confidence float64  `yaml:"confidence"` // above 0 and at most 1; 0.8 if it is left out
}

// Allow lists what is no finding.
type Allow struct {
	Values []string `yaml:"values"` // as they are
	Hashes []string `yaml:"hashes"` // of values, in hexadecimal: iatp scan-text --hash makes them
	Key    string   `yaml:"key"`    // file with the secret under which the hashes were made, or are to be made
	Fields []string `yaml:"fields"` // JSON pointers: what stands there or below; * for any one name or number
}

// UnmarshalYAML reads the section and says of each fault where it stands.
func (p *Privacy) UnmarshalYAML(n ast.Node) error {
	type plain Privacy
	if err := yaml.NodeToValue(n, (*plain)(p), yaml.Strict()); err != nil {
		return err
	}
	_, faults := p.compile(nil)
	for i, d := range p.Detectors {
		at := "detectors[" + strconv.Itoa(i) + "].confidence"
		if d.Confidence == 0 && nodeOf(n, at) != nil { // one that is left out has a default
			faults = append(faults, &policy.DataFault{Path: at, Msg: "want more than 0 and at most 1, got 0"})
		}
	}
	if len(faults) > 0 {
		f := faults[0]
		return &yaml.SyntaxError{Message: "privacy." + f.Path + ": " + f.Msg, Token: nodeAt(n, f.Path).GetToken()}
	}
	return nil
}

// nodeAt returns the node at a path such as rules[1].kinds[0], or what is left of
// the way there.
func nodeAt(n ast.Node, path string) ast.Node {
	for path != "" {
		if node := nodeOf(n, path); node != nil {
			return node
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return n
}

// nodeOf returns the node at a path, or nil.
func nodeOf(n ast.Node, path string) ast.Node {
	p, err := yaml.PathString("$." + path)
	if err != nil {
		return nil
	}
	node, err := p.FilterNode(n)
	if err != nil {
		return nil
	}
	return node
}

// validatePrivacy judges the section where no file tells the place.
func (c *Config) validatePrivacy(bad func(string, string, ...any)) {
	peers := make([]string, 0, len(c.Peers))
	for name := range c.Peers {
		peers = append(peers, name)
	}
	_, faults := c.Privacy.compile(peers)
	for _, f := range faults {
		bad("privacy."+f.Path, "%s", f.Msg)
	}
}

// lookout is what the sidecar looks for, and what becomes of it.
type lookout struct {
	options privacy.Options
	rules   *policy.DataRules
	kinds   []iatp.DataClass // of the operator's own detectors
}

// compile makes the section ready, but for the key of its hashes. peers are the
// names that rules may use, nil for any.
func (p *Privacy) compile(peers []string) (*lookout, []*policy.DataFault) {
	l := &lookout{options: privacy.Options{MinConfidence: p.MinConfidence}}
	var faults []*policy.DataFault
	bad := func(path, format string, args ...any) {
		faults = append(faults, &policy.DataFault{Path: path, Msg: fmt.Sprintf(format, args...)})
	}
	if p.MinConfidence <= 0 || p.MinConfidence > 1 {
		bad("min_confidence", "must be above 0 and at most 1")
		l.options.MinConfidence = 0
	}
	for i, d := range p.Detectors {
		own := privacy.Detector{Kind: iatp.DataClass(d.Name), Pattern: d.Pattern, Keywords: d.Keywords, Check: d.Validator, Confidence: d.Confidence}
		if field, msg := judge(own); msg != "" {
			bad("detectors["+strconv.Itoa(i)+"]."+field, "%s", msg)
			continue
		}
		l.options.Detectors, l.kinds = append(l.options.Detectors, own), append(l.kinds, own.Kind)
	}
	p.Allow.compile(&l.options.Allowed, bad)
	rules, more := policy.NewDataRules(policy.DataOptions{
		Request: p.Request, Response: p.Response, Opaque: p.Opaque, MinConfidence: p.MinConfidence, Rules: p.Rules, Kinds: l.kinds, Peers: peers, Search: p.search(),
	})
	l.rules = rules
	if faults = append(faults, more...); len(faults) == 0 {
		if _, err := privacy.NewWith(l.options); err != nil {
			bad("detectors", "%v", err)
		}
	}
	return l, faults
}

// judge says what is wrong with a detector, and in which field of the configuration.
func judge(d privacy.Detector) (field, msg string) {
	if name := string(d.Kind); name == "any" || d.Kind == opaqueKind || slices.Contains(privacy.Groups(), privacy.Group(name)) {
		return "name", strconv.Quote(name) + " stands for other kinds in rules and records: want another name"
	}
	_, err := privacy.NewWith(privacy.Options{Detectors: []privacy.Detector{d}})
	if e, ok := errors.AsType[*privacy.DetectorError](err); ok {
		return strings.NewReplacer("kind", "name", "check", "validator").Replace(strings.ToLower(e.Field)), e.Msg
	}
	return "", ""
}

// least are the options of what looks through everything that passes and is recorded.
// How sure the rules want a finding to be is no reason to write down what is found at the
// usual confidence, nor to let a card pass that is blocked: see policy.DataOptions.
func (l *lookout) least() privacy.Options {
	o := l.options
	if o.MinConfidence > usualConfidence {
		o.MinConfidence = usualConfidence
	}
	return o
}

// usualConfidence is from where on things are found if nothing else is said.
const usualConfidence = 0.5

// compile reads what may be seen.
func (a *Allow) compile(to *privacy.Allowed, bad func(string, string, ...any)) {
	to.Values, to.Pointers = a.Values, a.Fields
	for i, f := range a.Fields {
		switch {
		case len(f) < 2 || f[0] != '/':
			bad("allow.fields["+strconv.Itoa(i)+"]", "want a JSON pointer such as /test/card")
		case strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(f), "~"):
			bad("allow.fields["+strconv.Itoa(i)+"]", "in a JSON pointer ~ is written ~0, and / inside a name ~1")
		}
	}
	for i, v := range a.Values {
		if strings.TrimSpace(v) == "" {
			bad("allow.values["+strconv.Itoa(i)+"]", "the value is empty")
		}
	}
	for i, h := range a.Hashes {
		b, err := hex.DecodeString(h)
		if err != nil || len(b) != sha256.Size {
			bad("allow.hashes["+strconv.Itoa(i)+"]", "want 64 hexadecimal digits, as iatp scan-text --hash writes them")
			continue
		}
		to.Hashes = append(to.Hashes, [sha256.Size]byte(b))
	}
}

// search says for a digest what is looked for beyond the built-in kinds; nil if
// nothing is.
func (p *Privacy) search() []string {
	if (p.MinConfidence == usualConfidence || p.MinConfidence == 0) && len(p.Detectors) == 0 && len(p.Allow.Values)+len(p.Allow.Hashes)+len(p.Allow.Fields) == 0 {
		return nil
	}
	texts := []string{strconv.FormatFloat(p.MinConfidence, 'g', -1, 64)}
	for _, d := range p.Detectors {
		texts = append(texts, d.Name, d.Pattern, strings.Join(d.Keywords, ","), d.Validator, strconv.FormatFloat(d.Confidence, 'g', -1, 64))
	}
	for _, list := range [][]string{p.Allow.Values, p.Allow.Hashes, p.Allow.Fields} {
		texts = append(append(texts, strconv.Itoa(len(list))), list...)
	}
	return texts
}

// Scanner returns what a sidecar with this configuration looks with, and the kinds
// of the operator's own detectors. The key of allowed hashes is read from its file.
func (p *Privacy) Scanner() (*privacy.Scanner, []iatp.DataClass, error) {
	l, err := p.load()
	if err != nil {
		return nil, nil, err
	}
	s, err := privacy.NewWith(l.options)
	return s, l.kinds, err
}

// Allowed are the values that may be seen, with the key of their hashes.
func (p *Privacy) Allowed() (*privacy.Allowed, error) {
	l, err := p.load()
	if err != nil {
		return nil, err
	}
	return &l.options.Allowed, nil
}

func (p *Privacy) load() (*lookout, error) {
	l, faults := p.compile(nil)
	var errs []error
	for _, f := range faults {
		errs = append(errs, fmt.Errorf("privacy.%w", f))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if p.Allow.Key != "" {
		key, err := readSecret("privacy.allow.key", p.Allow.Key)
		if err != nil {
			return nil, err
		}
		l.options.Allowed.Key = key
	}
	return l, nil
}
