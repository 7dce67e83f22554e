package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// A Treatment is what becomes of sensitive data that was found, the strictest
// first. The zero Treatment blocks.
type Treatment uint8

// The treatments.
const (
	Block  Treatment = iota // refuse the call, or withhold the answer
	AskFor                  // a person may release the request
	Redact                  // a placeholder takes its place
	Mask                    // so it does, but for the last four characters
	Record                  // it passes; the record names it, as it does in all cases
)

var treatments = []string{"block", "ask", "redact", "mask", "record"}

// String returns the word that a configuration uses.
func (t Treatment) String() string {
	if int(t) < len(treatments) {
		return treatments[t]
	}
	return treatments[Block]
}

// ParseTreatment reads what String writes.
func ParseTreatment(s string) (Treatment, error) {
	i := slices.Index(treatments, s)
	if i < 0 {
		return Block, fmt.Errorf("want one of %s, got %s", strings.Join(treatments, ", "), quote(s))
	}
	return Treatment(i), nil
}

// Directions of a DataRule.
const (
	RequestData  = "request"
	ResponseData = "response"
)

// A DataRule says what becomes of findings. All of its conditions must hold; a
// condition that is left out always does.
type DataRule struct {
	// Kinds are kinds of data, groups of them (payment, secrets, contact, health,
	// devices, identity, custom), or any.
	Kinds []string `yaml:"kinds,omitempty"`
	// Fields are JSON pointers: what stands there or below. A segment * stands
	// for any.
	Fields []string `yaml:"fields,omitempty"`
	// Direction is request or response.
	Direction string `yaml:"direction,omitempty"`
	// Calls are local (to the wrapped agent), out (to a peer), in (from a peer).
	Calls []string `yaml:"calls,omitempty"`
	// Peers are names of the configuration.
	Peers []string `yaml:"peers,omitempty"`
	// Retention and Level are what the receiver of the data promises and how far
	// it is trusted, written as in rules: [permanent, unstated], [">=temporary"],
	// ["<trusted"].
	Retention []string `yaml:"retention,omitempty"`
	Level     []string `yaml:"level,omitempty"`
	// Action is block, ask, redact, mask or record. An answer cannot be asked
	// about.
	Action string `yaml:"action"`
}

// DataOptions are a privacy configuration: DataRules in their order, and what
// becomes of findings that none of them holds for.
type DataOptions struct {
	// Request is a treatment, or "" or "default": what opens something to whoever
	// has it (private_key, api_key, url_credentials) is asked about on its way out,
	// and all else recorded.
	Request string
	// Response is a treatment but ask; "" is record.
	Response string
	// Opaque is what becomes of a body of which a part could not be read: block,
	// ask or record; "" is record.
	Opaque string
	// MinConfidence is how sure a finding must be to count. Payment cards and
	// social security numbers always do: no setting lifts the blocks that are built in.
	MinConfidence float64

	Rules  []DataRule
	Kinds  []iatp.DataClass // of detectors of one's own
	Peers  []string         // names that rules may use; nil for any
	Search []string         // what is looked for beyond the built-in kinds, for Digest
}

// A DataFault is something wrong with DataOptions.
type DataFault struct {
	Path string // as in rules[2].kinds[0]
	Msg  string
}

func (f *DataFault) Error() string { return f.Path + ": " + f.Msg }

// maxDataRules bounds the rules of one configuration.
const maxDataRules = 256

// DataRules are DataOptions made ready. The zero DataRules, and a nil one, are
// those of the zero DataOptions.
type DataRules struct {
	rules  []dataRule
	last   [2]Treatment // request, response; where no rule holds
	opaque Treatment
	least  float64
	text   []string // for Digest; nil for the zero options
	set    bool     // last and opaque are what they say
}

type dataRule struct {
	name      string
	what      term
	fields    [][]string
	direction string
	calls     []string
	peers     []string
	retention uint16 // bits; 0 if all do
	level     uint16
	treatment Treatment
}

// NewDataRules makes a configuration ready. All faults are returned.
func NewDataRules(o DataOptions) (*DataRules, []*DataFault) {
	c := dataCompiler{vocabulary: vocabularyOf(o.Kinds), peers: o.Peers}
	d := &DataRules{set: true, least: o.MinConfidence}
	if len(o.Rules) > maxDataRules {
		c.bad("rules", "%d rules are more than %d", len(o.Rules), maxDataRules)
		return nil, c.faults
	}
	for i := range o.Rules {
		d.rules = append(d.rules, c.rule("rules["+strconv.Itoa(i)+"]", &o.Rules[i]))
	}
	d.last = [2]Treatment{Record, Record}
	if o.Request == "" || o.Request == "default" {
		d.rules = append(d.rules, defaultRule)
	} else {
		d.last[0] = c.treatment("request", o.Request, treatments)
	}
	if o.Response != "" {
		d.last[1] = c.treatment("response", o.Response, []string{"block", "redact", "mask", "record"})
	}
	if d.opaque = Record; o.Opaque != "" {
		d.opaque = c.treatment("opaque", o.Opaque, []string{"block", "ask", "record"})
	}
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	d.text = o.texts()
	return d, nil
}

// texts are what the options say, for a digest; nil if they say nothing.
func (o *DataOptions) texts() []string {
	request, response, opaque := cmp.Or(o.Request, "default"), cmp.Or(o.Response, "record"), cmp.Or(o.Opaque, "record")
	if request == "default" && response == "record" && opaque == "record" && len(o.Rules)+len(o.Search) == 0 {
		return nil
	}
	texts := []string{"privacy", request, response, opaque, strconv.Itoa(len(o.Rules))}
	for i := range o.Rules {
		texts = append(texts, o.Rules[i].texts()...)
	}
	return append(texts, o.Search...)
}

// defaultRule is what holds for requests if the configuration says nothing: a
// credential opens what it opens to whoever has it, whatever he promises of
// keeping it, and to be talked out of one is what happens to agents.
var defaultRule = dataRule{
	name: "privacy.request: default", what: term{kinds: []iatp.DataClass{"private_key", "api_key", "url_credentials"}},
	direction: RequestData, calls: []string{"local", "out"}, treatment: AskFor,
}

// defaultData is what a Set without DataRules has.
var defaultData = &DataRules{rules: []dataRule{defaultRule}, last: [2]Treatment{Record, Record}, opaque: Record, set: true}

// texts are what a rule says, for a digest.
func (r *DataRule) texts() []string {
	var all []string
	for _, list := range [][]string{r.Kinds, r.Fields, {r.Direction}, r.Calls, r.Peers, r.Retention, r.Level, {r.Action}} {
		all = append(append(all, strconv.Itoa(len(list))), list...)
	}
	return all
}

// A dataCompiler collects the faults of one configuration.
type dataCompiler struct {
	vocabulary *vocabulary
	peers      []string
	faults     []*DataFault
}

func (c *dataCompiler) bad(path, format string, args ...any) {
	c.faults = append(c.faults, &DataFault{path, fmt.Sprintf(format, args...)})
}

func (c *dataCompiler) treatment(path, word string, of []string) Treatment {
	t, err := ParseTreatment(word)
	if err != nil || !slices.Contains(of, word) {
		c.bad(path, "want one of %s, got %s", strings.Join(of, ", "), quote(word))
	}
	return t
}

func (c *dataCompiler) rule(path string, r *DataRule) dataRule {
	out := dataRule{name: "privacy." + path, direction: r.Direction, calls: r.Calls, peers: r.Peers}
	if len(r.Kinds) > 0 {
		out.what.kinds = []iatp.DataClass{}
	}
	for i, name := range r.Kinds {
		kinds, err := c.vocabulary.kinds(name)
		switch {
		case err != nil:
			c.bad(fmt.Sprintf("%s.kinds[%d]", path, i), "%v", err)
		case kinds == nil || out.what.kinds == nil:
			out.what.kinds = nil
		default:
			out.what.kinds = append(out.what.kinds, kinds...)
		}
	}
	for i, pointer := range r.Fields {
		at, err := parsePlace(pointer)
		if err != nil {
			c.bad(fmt.Sprintf("%s.fields[%d]", path, i), "%v", err)
		}
		out.fields = append(out.fields, at)
	}
	for i, list := range [][]string{r.Kinds, r.Fields, r.Calls, r.Peers, r.Retention, r.Level} {
		if list != nil && len(list) == 0 {
			c.bad(path+"."+[]string{"kinds", "fields", "calls", "peers", "retention", "level"}[i], "names none: leave it out if any will do")
		}
	}
	c.among(path+".direction", []string{r.Direction}, []string{"", RequestData, ResponseData})
	c.among(path+".calls", r.Calls, []string{"local", "out", "in"})
	if c.peers != nil {
		c.among(path+".peers", r.Peers, c.peers)
	}
	out.retention = c.choices(path+".retention", fieldNamed("retention_policy"), r.Retention)
	out.level = c.choices(path+".level", fieldNamed("trust_level"), r.Level)
	out.treatment = c.treatment(path+".action", r.Action, treatments)
	if out.treatment == AskFor {
		if r.Direction == ResponseData {
			c.bad(path+".action", "an answer cannot be asked about: what was called has been done; want block, redact, mask or record")
		}
		out.direction = RequestData
	}
	return out
}

func (c *dataCompiler) among(path string, got, want []string) {
	for _, g := range got {
		if len(want) == 0 {
			c.bad(path, "%s is not one of peers: there are none", quote(g))
		} else if !slices.Contains(want, g) {
			c.bad(path, "want %s, got %s", strings.Join(slices.DeleteFunc(slices.Clone(want), func(w string) bool { return w == "" }), ", "), quote(g))
		}
	}
}

func (c *dataCompiler) choices(path string, f *field, texts []string) (bits uint16) {
	for i, text := range texts {
		b, _, err := f.choice(text)
		if err != nil {
			c.bad(fmt.Sprintf("%s[%d]", path, i), "%v", err)
		}
		bits |= b
	}
	return bits
}

// A Passage is data on its way: one direction of one exchange.
type Passage struct {
	Response bool
	Part     bool   // of something, at a place and of a length that are told: it cannot be changed
	Call     string // local, out or in
	Peer     string // its name in the configuration, if it has one

	// Of the receiver of the data. Nil is one of whom nothing is known.
	Manifest *iatp.Manifest
	Level    iatp.TrustLevel
	// Evidence says whether a promise to keep data for less than good is believed:
	// from E2 up, where the operator has named the key, as in allow rules.
	Evidence trust.Evidence
}

// Treat says what becomes of one finding. The first rule that holds decides. For
// a finding whose place is not known, any rule that names a place may hold: the
// strictest of those counts. What would have to be changed in a Part is blocked.
func (s *Set) Treat(p *Passage, f Finding) Treatment {
	t, _ := s.dataRules().treat(p, f)
	if p.Part && t != Record {
		return Block
	}
	return t
}

func (s *Set) dataRules() *DataRules {
	if s == nil || s.data == nil || !s.data.set {
		return defaultData
	}
	return s.data
}

// treat also names the rule; "" where none holds.
func (d *DataRules) treat(p *Passage, f Finding) (Treatment, string) {
	strictest, by := Record, ""
	maybe := false
	for i := range d.rules {
		r := &d.rules[i]
		if !r.holds(p) || r.what.kinds != nil && !slices.Contains(r.what.kinds, f.Kind) {
			continue
		}
		if r.fields != nil {
			if f.Pointer == "" {
				if r.treatment < strictest {
					strictest, by = r.treatment, r.name
				}
				maybe = true
				continue
			}
			if !slices.ContainsFunc(r.fields, func(at []string) bool { return under(f.Pointer, at) }) {
				continue
			}
		}
		if maybe && strictest < r.treatment {
			return strictest, by
		}
		return r.treatment, r.name
	}
	last := d.last[0]
	if p.Response {
		last = d.last[1]
	}
	if maybe && strictest < last {
		return strictest, by
	}
	return last, ""
}

func (r *dataRule) holds(p *Passage) bool {
	if r.direction != "" && p.Response != (r.direction == ResponseData) {
		return false
	}
	if len(r.calls) > 0 && !slices.Contains(r.calls, p.Call) || len(r.peers) > 0 && !slices.Contains(r.peers, p.Peer) {
		return false
	}
	kept := retainUnstated
	if p.Manifest != nil {
		if kept = retentionOf(p.Manifest); kept < retainPermanent && p.Evidence < trust.E2 {
			kept = retainUnstated
		}
	}
	return (r.retention == 0 || r.retention>>kept&1 != 0) && (r.level == 0 || r.level>>levelIndex(p.Level)&1 != 0)
}

// match adds what becomes of the findings of a request.
func (d *DataRules) match(f *Facts, m *matches) {
	p := Passage{Call: f.Call, Peer: f.Peer, Manifest: f.Manifest, Level: f.Assessment.Level, Evidence: f.Assessment.Evidence}
	var by [Record]struct {
		rule  string
		found []Finding
	}
	for _, one := range f.Findings {
		if t, rule := d.treat(&p, one); t < Record {
			if by[t].found == nil {
				by[t].rule = rule
			}
			by[t].found = append(by[t].found, one)
		}
	}
	if b := by[Block]; b.found != nil {
		m.deny = append(m.deny, Reason{Code: CodePrivacyViolation, Action: ActionDeny, Rule: b.rule, Text: "The request holds " + listed(b.found)})
	}
	if b := by[AskFor]; b.found != nil {
		m.warn = append(m.warn, Reason{Code: CodeSensitiveData, Action: ActionWarn, Rule: b.rule, Text: "The request holds " + listed(b.found)})
	}
	if b := by[Redact]; b.found != nil {
		m.note = append(m.note, Reason{Code: CodeDataRedacted, Rule: b.rule, Text: "Taken out of the request: " + listed(b.found)})
	}
	if b := by[Mask]; b.found != nil {
		m.note = append(m.note, Reason{Code: CodeDataRedacted, Rule: b.rule, Text: "Masked in the request: " + listed(b.found)})
	}
	m.redact = by[Redact].found != nil || by[Mask].found != nil
	if f.Opaque {
		d.matchOpaque(m)
	}
}

func (d *DataRules) matchOpaque(m *matches) {
	const text = "A part of the request could not be read"
	switch d.opaque {
	case Record:
	case AskFor:
		m.warn = append(m.warn, Reason{Code: CodeOpaqueContent, Action: ActionWarn, Rule: "privacy.opaque", Text: text})
	default:
		m.deny = append(m.deny, Reason{Code: CodePrivacyViolation, Action: ActionDeny, Rule: "privacy.opaque", Text: text})
	}
}

// ChangesAnswers reports whether anything at all may become of findings in answers
// but a record: if not, an answer need not be treated.
func (s *Set) ChangesAnswers() bool {
	d := s.dataRules()
	return d.last[1] != Record || d.opaque == Block ||
		slices.ContainsFunc(d.rules, func(r dataRule) bool { return r.direction != RequestData && r.treatment != Record })
}

// Opaque says what becomes of data of which a part could not be read: Block,
// AskFor or Record. An answer is not asked about but recorded.
func (s *Set) Opaque() Treatment { return s.dataRules().opaque }

// listed names kinds and where they are, a few of each.
func listed(found []Finding) string {
	const most = 3
	var b strings.Builder
	kinds := 0
	for len(found) > 0 {
		kind := found[0].Kind
		n := 1
		for n < len(found) && found[n].Kind == kind {
			n++
		}
		if kinds++; kinds > 2*most {
			b.WriteString(" and more")
			break
		}
		if kinds > 1 {
			b.WriteString(", ")
		}
		b.WriteString(string(kind))
		for i, f := range found[:min(n, most)] {
			if f.Pointer == "" {
				break
			}
			b.WriteString([]string{" at ", ", "}[min(i, 1)])
			b.WriteString(iatp.Printable(clipPlace(f.Pointer)))
		}
		if n > most {
			fmt.Fprintf(&b, " and %d more places", n-most)
		}
		found = found[n:]
	}
	return b.String()
}

// clipPlace shortens a pointer for a person.
func clipPlace(pointer string) string {
	const most = 80
	if runes := []rune(pointer); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return pointer
}

// texts are for a digest; the defaults have none.
func (d *DataRules) texts() []string {
	if d == nil {
		return nil
	}
	return d.text
}
