package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// A Rule is one rule of the operator, for people and tools that list rules.
type Rule struct {
	Name        string
	Description string
	Action      Action
	Conditions  []Condition // sorted by field
	File        string
	Line        int
}

// A Condition names a field and the values of which one must hold. Field is the
// field's own name, also where the file uses an alias; Values are sorted.
type Condition struct {
	Field  string
	Values []string
}

// rule is a Rule made ready for Decide.
type rule struct {
	Rule
	conds  []cond
	reason Reason // what Decide lists when the rule holds
}

func (r *rule) holds(f *Facts) bool {
	for i := range r.conds {
		if !r.conds[i].holds(f, r.Action == ActionAllow) {
			return false
		}
	}
	return true
}

// Rules returns the operator's rules in the order of the files. The caller owns
// the result.
func (s *Set) Rules() []Rule {
	if s == nil {
		return nil
	}
	list := make([]Rule, 0, len(s.rules))
	for i := range s.rules {
		r := s.rules[i].Rule
		r.Conditions = slices.Clone(r.Conditions)
		for j := range r.Conditions {
			r.Conditions[j].Values = slices.Clone(r.Conditions[j].Values)
		}
		list = append(list, r)
	}
	return list
}

// builtinDigest is the digest of the built-in rules alone.
var builtinDigest = digestOf(nil)

// Digest names what the set decides: "sha-256=:…:" over the built-in rules'
// version and every rule's name, description, action and conditions. The order
// of rules, their files, comments and layout do not count; that of data rules
// does.
func (s *Set) Digest() string {
	if s == nil || s.digest == "" {
		return builtinDigest
	}
	return s.digest
}

// With returns a set with the same rules, and others for data.
func (s *Set) With(d *DataRules) *Set {
	out := &Set{data: d}
	if s != nil {
		out.rules = s.rules
	}
	out.digest = digestOf(out.rules, d.texts()...)
	return out
}

// builtinVersion changes whenever a built-in rule decides differently.
const builtinVersion = "iatp-policy-v2"

func digestOf(rules []rule, more ...string) string {
	sorted := make([]*Rule, 0, len(rules))
	for i := range rules {
		sorted = append(sorted, &rules[i].Rule)
	}
	slices.SortFunc(sorted, func(a, b *Rule) int { return strings.Compare(a.Name, b.Name) })
	text := appendField(nil, builtinVersion)
	for _, r := range sorted {
		text = appendField(text, r.Name, r.Description, string(r.Action), strconv.Itoa(len(r.Conditions)))
		for _, c := range r.Conditions {
			text = appendField(text, c.Field, strconv.Itoa(len(c.Values)))
			text = appendField(text, c.Values...)
		}
	}
	text = appendField(text, more...)
	sum := sha256.Sum256(text)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// appendField appends each text with its length before it, so that no two
// lists of texts give the same bytes.
func appendField(dst []byte, texts ...string) []byte {
	for _, s := range texts {
		dst = strconv.AppendInt(dst, int64(len(s)), 10)
		dst = append(dst, ':')
		dst = append(dst, s...)
	}
	return dst
}

// A kind is how the values of a field are written and compared.
type kind uint8

const (
	choiceKind kind = iota // one of field.choices
	boolKind               // true or false
	numberKind             // a whole number
	textKind               // any text, exactly
	textsKind              // several texts in one exchange
	dataKind               // kinds and places of findings
)

// fieldID says which fact a field reads.
type fieldID uint8

const (
	agentID fieldID = iota
	owner
	uri
	storageLocation
	scopes
	trustLevel
	declaredLevel
	score
	evidence
	idempotency
	reversibility
	undoWindow
	slaLatency
	retentionPolicy
	humanInLoop
	trainingConsent
	data
	tainted
)

// A field is what a condition can speak of.
type field struct {
	id       fieldID
	name     string
	alias    string
	kind     kind
	choices  []string       // choiceKind: the values, their index is what choice returns
	ordered  bool           // choices compare by index
	unstated int64          // numberKind: what stands for a value that is absent
	believed trust.Evidence // least evidence at which an allow rule takes it
}

var (
	levelNames = []string{"untrusted", "unknown", "standard", "trusted", "verified_partner"}
	scoreNames = []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}
)

// noWindow is the undo window of an agent that promises none: shorter than any.
const noWindow = -1

// fields is the vocabulary of rules; the package documentation is its manual.
var fields = []field{
	{id: agentID, name: "agent_id", kind: textKind, believed: trust.E2},
	{id: owner, name: "owner", kind: textKind, believed: trust.E2},
	{id: uri, name: "uri", kind: textKind, believed: trust.E1},
	{id: storageLocation, name: "storage_location", kind: textKind, believed: trust.E2},
	{id: scopes, name: "scopes", kind: textsKind, believed: trust.E2},
	{id: trustLevel, name: "trust_level", kind: choiceKind, choices: levelNames, ordered: true},
	{id: declaredLevel, name: "declared_trust_level", kind: choiceKind, choices: levelNames, ordered: true, believed: trust.E2},
	{id: score, name: "score", alias: "trust_score", kind: choiceKind, choices: scoreNames, ordered: true},
	{id: evidence, name: "evidence", kind: choiceKind, choices: []string{"E0", "E1", "E2", "E3", "E4", "E5", "E6"}, ordered: true},
	{id: idempotency, name: "idempotency", kind: boolKind, believed: trust.E2},
	{id: reversibility, name: "reversibility", kind: choiceKind, choices: []string{"none", "partial", "full"}, ordered: true, believed: trust.E2},
	{id: undoWindow, name: "undo_window_seconds", kind: numberKind, unstated: noWindow, believed: trust.E2},
	{id: slaLatency, name: "sla_latency_ms", kind: numberKind, unstated: math.MaxInt64, believed: trust.E2},
	{id: retentionPolicy, name: "retention_policy", alias: "retention", kind: choiceKind, choices: []string{"ephemeral", "temporary", "permanent", "unstated"}, ordered: true, believed: trust.E2},
	{id: humanInLoop, name: "human_in_loop", alias: "human_review", kind: boolKind, believed: trust.E2},
	{id: trainingConsent, name: "training_consent", kind: boolKind, believed: trust.E2},
	{id: data, name: "data", kind: dataKind},
	{id: tainted, name: "tainted", kind: boolKind},
}

// fieldNamed finds a field by its name or alias.
func fieldNamed(name string) *field {
	for i := range fields {
		if fields[i].name == name || fields[i].alias == name && name != "" {
			return &fields[i]
		}
	}
	return nil
}

// fieldNames lists what a rule may name, for an error.
func fieldNames() string {
	names := make([]string, 0, len(fields))
	for i := range fields {
		names = append(names, fields[i].name)
	}
	return strings.Join(names, ", ")
}

// A cond is a Condition made ready: only the members of its field's kind are
// set.
type cond struct {
	field *field
	bits  uint16   // choiceKind, boolKind: bit i stands for value i
	spans []span   // numberKind
	texts []string // textKind, textsKind
	terms []term   // dataKind
	none  bool     // dataKind: no finding at all
}

// A span is a range of whole numbers, both ends included.
type span struct{ lo, hi int64 }

func (c *cond) holds(f *Facts, allow bool) bool {
	if allow && f.Assessment.Evidence < c.field.believed {
		return false
	}
	switch c.field.kind {
	case choiceKind, boolKind:
		return c.bits>>choiceOf(c.field.id, f)&1 != 0
	case numberKind:
		n := numberOf(c.field.id, f)
		return slices.ContainsFunc(c.spans, func(s span) bool { return s.lo <= n && n <= s.hi })
	case textKind:
		return slices.Contains(c.texts, textOf(c.field.id, f))
	case textsKind:
		return named(c.texts, f.Manifest.Scopes, allow)
	}
	if len(f.Findings) == 0 {
		return c.none
	}
	return covered(c.terms, f.Findings, allow)
}

// named reports whether the texts of a rule name one of the values of an
// exchange, or all of them if the rule allows. No values, nothing named.
func named(texts, values []string, all bool) bool {
	hits := 0
	for _, v := range values {
		if slices.Contains(texts, v) {
			hits++
		}
	}
	return hits > 0 && (!all || hits == len(values))
}

// choiceOf returns the index of the exchange's value among a field's choices;
// for a boolean, 1 is true.
func choiceOf(id fieldID, f *Facts) uint8 {
	switch id {
	case trustLevel:
		return levelIndex(f.Assessment.Level)
	case declaredLevel:
		return levelIndex(f.Manifest.TrustLevel)
	case score:
		return uint8(min(max(f.Assessment.Score, 0), 10))
	case evidence:
		return uint8(f.Assessment.Evidence)
	case reversibility:
		return uint8(undoingOf(f.Manifest))
	case retentionPolicy:
		return uint8(retentionOf(f.Manifest))
	case idempotency:
		return flag(f.Manifest.Capabilities.Idempotency)
	case humanInLoop:
		return flag(f.Manifest.Privacy.HumanInLoop)
	case trainingConsent:
		return flag(f.Manifest.Privacy.TrainingConsent)
	}
	return flag(f.Tainted)
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// levelIndex is the place of a level in levelNames; what is no level counts as
// the lowest.
func levelIndex(level iatp.TrustLevel) uint8 {
	if level > iatp.VerifiedPartner {
		level = iatp.Untrusted
	}
	return uint8(level)
}

func numberOf(id fieldID, f *Facts) int64 {
	if id == slaLatency {
		if ms := f.Manifest.Capabilities.SLALatencyMS; ms > 0 {
			return ms
		}
		return math.MaxInt64
	}
	if seconds, stated := windowOf(f.Manifest); stated {
		return seconds
	}
	return noWindow
}

// windowOf returns for how many seconds an agent can undo, and whether it
// promises any. Zero seconds in a manifest that can undo mean without limit
// (protocol 2.4).
func windowOf(m *iatp.Manifest) (seconds int64, stated bool) {
	window := m.Reversibility.UndoWindowSeconds
	if undoingOf(m) == undoNone || window == nil || *window < 0 {
		return 0, false
	}
	if *window == 0 {
		return math.MaxInt64, true
	}
	return *window, true
}

func textOf(id fieldID, f *Facts) string {
	switch id {
	case agentID:
		return string(f.Manifest.Identity.AgentID)
	case owner:
		return f.Manifest.Identity.Owner
	case uri:
		return f.Manifest.Identity.URI
	}
	return f.Manifest.Privacy.StorageLocation
}
