package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/inter-agent-trust/iatp"
)

// Bounds of a rule file. They are far above what people write and far below
// what costs time or stack.
const (
	maxFileBytes   = 256 << 10
	maxDepth       = 8 // nested collections; a rule file needs four
	maxRules       = 1024
	maxValues      = 256 // of one condition
	maxName        = 64  // characters
	maxDescription = 400 // characters
	maxFaults      = 20  // shown; a file with more is not a rule file
)

// An Error is a fault in a rule file and where it stands. What [Load] and
// [Parse] return holds the faults found, up to 20, each an *Error.
type Error struct {
	File   string
	Line   int // 1-based; 0 if the fault is the file itself
	Column int // 1-based, in characters
	Msg    string
}

// Error returns "file:line:column: message".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return e.File + ":" + strconv.Itoa(e.Line) + ":" + strconv.Itoa(e.Column) + ": " + e.Msg
}

// Load reads rule files into one set. It is all or nothing: any fault in any
// file, a rule name used in two files among them, returns an error and no set.
func Load(files ...string) (*Set, error) { return LoadKinds(nil, files...) }

// LoadKinds is Load for rules that may also speak of kinds of data that are not
// built in: those of the operator's own detectors.
func LoadKinds(own []iatp.DataClass, files ...string) (*Set, error) {
	l := loader{vocabulary: vocabularyOf(own)}
	for _, name := range files {
		text, err := read(name)
		if err != nil {
			l.errs = append(l.errs, err)
			continue
		}
		l.file(name, text)
	}
	return l.set()
}

// Parse reads one rule file that is already in memory; name is used in errors
// and reasons.
func Parse(name string, data []byte) (*Set, error) {
	l := loader{vocabulary: vocabularyOf(nil)}
	l.file(name, data)
	return l.set()
}

// read returns the bytes of a rule file, never more than the bound and one.
func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open policy file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read policy file: %w", err)
	}
	return text, nil
}

// A loader collects rules and faults over all files.
type loader struct {
	vocabulary *vocabulary
	name       string // of the file being read
	rules      []rule
	errs       []error
}

func (l *loader) set() (*Set, error) {
	if len(l.rules) > maxRules {
		l.errs = append(l.errs, fmt.Errorf("policy has %d rules, more than %d", len(l.rules), maxRules))
	}
	if len(l.errs) > maxFaults {
		l.errs = append(l.errs[:maxFaults], errors.New("policy has more faults than these"))
	}
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	return &Set{rules: l.rules, digest: digestOf(l.rules)}, nil
}

// failAt records a fault at a token; a nil token stands for the whole file.
func (l *loader) failAt(t *token.Token, format string, args ...any) {
	e := &Error{File: l.name, Msg: fmt.Sprintf(format, args...)}
	if t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
	l.errs = append(l.errs, e)
}

func (l *loader) fail(n ast.Node, format string, args ...any) {
	l.failAt(start(n), format, args...)
}

// start is the first token of a node. A block mapping names its first colon
// instead of its first key.
func start(n ast.Node) *token.Token {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken()
	}
	return n.GetToken()
}

func (l *loader) file(name string, text []byte) {
	l.name = name
	body := l.document(text)
	if body == nil {
		return
	}
	if m, ok := body.(*ast.MappingNode); ok {
		if body = l.rulesMember(m); body == nil {
			return
		}
	}
	list, ok := body.(*ast.SequenceNode)
	if !ok {
		l.fail(body, "want a list of rules, or rules: with a list, got %s", describe(body))
		return
	}
	for _, n := range list.Values {
		if len(l.rules) > maxRules || len(l.errs) > maxFaults {
			return // set says so
		}
		l.rule(n)
	}
}

// document parses YAML as far as rules need it: one document, no anchors,
// aliases, tags, directives or merge keys, bounded in size and depth.
func (l *loader) document(text []byte) ast.Node {
	if len(text) > maxFileBytes {
		l.failAt(nil, "the file is larger than %d KiB", maxFileBytes>>10)
		return nil
	}
	if at := invalidUTF8(text); at >= 0 {
		before := text[:at]
		line := 1 + bytes.Count(before, []byte("\n"))
		column := 1 + utf8.RuneCount(before[1+bytes.LastIndexByte(before, '\n'):])
		l.errs = append(l.errs, &Error{File: l.name, Line: line, Column: column, Msg: "the text is not UTF-8"})
		return nil
	}
	tokens := lexer.Tokenize(strings.TrimPrefix(string(text), "\ufeff")) // a byte order mark, as some editors write
	if !l.plain(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			l.failAt(syntax.GetToken(), "%s", iatp.Printable(syntax.GetMessage()))
		} else {
			l.failAt(nil, "%v", err)
		}
		return nil
	}
	if len(file.Docs) > 1 {
		l.failAt(file.Docs[1].Start, "want one YAML document, got %d", len(file.Docs))
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		l.failAt(nil, "the file holds no rules; if that is meant, write: rules: []")
		return nil
	}
	return file.Docs[0].Body
}

// invalidUTF8 returns the offset of the first bad byte, or -1.
func invalidUTF8(text []byte) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// plain refuses the parts of YAML that rules do not need, before a recursive
// parser sees them.
func (l *loader) plain(tokens token.Tokens) bool {
	depth, line, entries := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.TagType, token.DirectiveType, token.MergeKeyType, token.MappingKeyType:
			l.failAt(t, "rule files use no anchors, aliases, tags, directives, merge keys or complex keys: write the value out")
			return false
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType:
			if t.Position.Line != line {
				line, entries = t.Position.Line, 0
			}
			entries++
		}
		if depth > maxDepth || entries > maxDepth {
			l.failAt(t, "nested deeper than %d", maxDepth)
			return false
		}
	}
	return true
}

// rulesMember returns the value of the member "rules", the only one a file may
// have.
func (l *loader) rulesMember(m *ast.MappingNode) ast.Node {
	var rules ast.Node
	faults := len(l.errs)
	for key, v := range l.members(m) {
		if key == "rules" {
			rules = v.Value
		} else {
			l.fail(v.Key, "unknown member %s; a rule file has one member, rules", quote(key))
		}
	}
	if rules == nil && len(l.errs) == faults {
		l.fail(m, "the file holds no rules; if that is meant, write: rules: []")
	}
	return rules
}

// members goes through a mapping whose keys must be texts, each once.
func (l *loader) members(m *ast.MappingNode) func(yield func(string, *ast.MappingValueNode) bool) {
	return func(yield func(string, *ast.MappingValueNode) bool) {
		seen := map[string]bool{}
		for _, v := range m.Values {
			if len(l.errs) > maxFaults {
				return // set says so
			}
			key, ok := v.Key.(ast.Node).(*ast.StringNode)
			switch {
			case !ok:
				l.fail(v.Key, "a member name must be a text, got %s", describe(v.Key))
			case seen[key.Value]:
				l.fail(v.Key, "member %s stands here twice", quote(key.Value))
			default:
				seen[key.Value] = true
				if !yield(key.Value, v) {
					return
				}
			}
		}
	}
}

// rule reads one rule and adds it if it has no fault.
func (l *loader) rule(n ast.Node) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		l.fail(n, "a rule has the members name, action and conditions, got %s", describe(n))
		return
	}
	faults := len(l.errs)
	r := rule{Rule: Rule{File: l.name, Line: start(n).Position.Line}}
	has := map[string]bool{}
	for key, v := range l.members(m) {
		has[key] = true
		switch key {
		case "name":
			r.Name = l.ruleName(v)
		case "description":
			r.Description = l.line(v, maxDescription)
		case "action":
			r.Action = l.action(v)
		case "conditions":
			l.conditions(&r, v)
		default:
			l.fail(v.Key, "unknown member %s; a rule has name, description, action, conditions", quote(key))
		}
	}
	for _, key := range []string{"name", "action", "conditions"} {
		if !has[key] {
			l.fail(n, "the rule has no %s", key)
		}
	}
	if len(l.errs) > faults {
		return
	}
	r.reason = Reason{Code: r.Name, Text: r.text(), Action: r.Action, Rule: r.Name, File: r.File, Line: r.Line}
	l.rules = append(l.rules, r)
}

// text is what a person reads when the rule speaks.
func (r *rule) text() string {
	if r.Description == "" {
		return "Rule " + r.Name + " says " + string(r.Action)
	}
	return r.Description + " (rule " + r.Name + ")"
}

// line reads a text of one line that is safe to show to a person.
func (l *loader) line(v *ast.MappingValueNode, most int) string {
	var text string
	switch n := v.Value.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.LiteralNode:
		text = strings.Join(strings.Fields(n.Value.Value), " ")
	default:
		l.fail(v.Value, "%s must be a text, got %s", v.Key.String(), describe(v.Value))
		return ""
	}
	text = strings.TrimSpace(text)
	switch {
	case utf8.RuneCountInString(text) > most:
		l.fail(v.Value, "%s is longer than %d characters", v.Key.String(), most)
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		l.fail(v.Value, "%s holds characters that do not print", v.Key.String())
	}
	return text
}

// reserved are the codes that no rule may have as its name, since a reason
// with such a code would speak for somebody else.
var reserved = []string{
	CodeLowTrust, CodeNoReversibility, CodePermanentRetention, CodeHumanReview, CodeTrainingConsent,
	CodeRequirementUnmet, CodePrivacyViolation, CodeTaintedTrace, CodeNoManifest,
	CodeSensitiveData, CodeDataRedacted, CodeOpaqueContent,
	CodeRevoked, CodeKeyChanged, CodeClaimsRaised, CodeLogForked,
}

func (l *loader) ruleName(v *ast.MappingValueNode) string {
	name := l.line(v, maxName)
	switch {
	case name == "":
		switch v.Value.(type) {
		case *ast.StringNode, *ast.LiteralNode: // anything else was refused as no text
			l.fail(v.Value, "the name is empty")
		}
	case slices.Contains(reserved, name) || strings.HasPrefix(name, "builtin:"):
		l.fail(v.Value, "the name %s belongs to a built-in reason; choose another", quote(name))
	}
	if i := slices.IndexFunc(l.rules, func(r rule) bool { return r.Name == name }); i >= 0 {
		first := &l.rules[i]
		l.fail(v.Value, "the name %s is taken by the rule at %s:%d", quote(name), first.File, first.Line)
	}
	return name
}

func (l *loader) action(v *ast.MappingValueNode) Action {
	if n, ok := v.Value.(*ast.StringNode); ok {
		switch a := Action(n.Value); a {
		case ActionAllow, ActionWarn, ActionDeny:
			return a
		}
		l.fail(n, "unknown action %s; want allow, warn or deny", quote(n.Value))
		return ""
	}
	l.fail(v.Value, "action must be allow, warn or deny, got %s", describe(v.Value))
	return ""
}

func (l *loader) conditions(r *rule, v *ast.MappingValueNode) {
	m, ok := v.Value.(*ast.MappingNode)
	if !ok {
		l.fail(v.Value, "conditions must be fields with lists of values, as in {idempotency: [false]}, got %s", describe(v.Value))
		return
	}
	if len(m.Values) == 0 {
		l.fail(v.Value, "conditions are empty: the rule would hold for every exchange; name at least one field")
	}
	seen := map[*field]bool{}
	for key, member := range l.members(m) {
		f := fieldNamed(key)
		switch {
		case f == nil:
			l.fail(member.Key, "unknown field %s; the fields are %s", quote(key), fieldNames())
		case seen[f]:
			l.fail(member.Key, "the field %s stands here twice, under its name and its alias", f.name)
		default:
			seen[f] = true
			l.condition(r, f, member)
		}
	}
	slices.SortFunc(r.Conditions, func(a, b Condition) int { return strings.Compare(a.Field, b.Field) })
	slices.SortStableFunc(r.conds, func(a, b cond) int { return cmp.Compare(a.field.kind, b.field.kind) }) // cheap ones first
}

// condition reads the values of one field.
func (l *loader) condition(r *rule, f *field, v *ast.MappingValueNode) {
	list, ok := v.Value.(*ast.SequenceNode)
	if !ok {
		l.fail(v.Value, "the values of %s must be a list, as in [%s], got %s", f.name, f.example(), describe(v.Value))
		return
	}
	if len(list.Values) == 0 {
		l.fail(v.Value, "%s has no values, so the rule would never hold; name at least one", f.name)
	}
	if len(list.Values) > maxValues {
		l.fail(v.Value, "%s has more than %d values", f.name, maxValues)
		return
	}
	c, shown := cond{field: f}, Condition{Field: f.name}
	for _, n := range list.Values { // bounded by maxValues
		text, err := c.add(n, l.vocabulary)
		if err != nil {
			l.fail(n, "%s: %v", f.name, err)
			continue
		}
		shown.Values = append(shown.Values, text)
	}
	slices.Sort(shown.Values)
	shown.Values = slices.Compact(shown.Values)
	r.conds = append(r.conds, c)
	r.Conditions = append(r.Conditions, shown)
}

// example is a value that the field takes, for an error.
func (f *field) example() string {
	switch f.kind {
	case choiceKind:
		return f.choices[0]
	case boolKind:
		return "false"
	case numberKind:
		return `"<3600"`
	case dataKind:
		return string(iatp.CreditCard)
	}
	return `"text"`
}

// add takes one value and returns it as Condition shows it.
func (c *cond) add(n ast.Node, v *vocabulary) (string, error) {
	switch c.field.kind {
	case boolKind:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			return "", fmt.Errorf("want true or false, without quotes, got %s", describe(n))
		}
		c.bits |= 1 << flag(b.Value)
		return strconv.FormatBool(b.Value), nil
	case choiceKind:
		return c.addChoice(n)
	case numberKind:
		return c.addNumber(n)
	case dataKind:
		return c.addData(n, v)
	}
	s, ok := n.(*ast.StringNode)
	if !ok {
		return "", fmt.Errorf("want a text, got %s; put it in quotes", describe(n))
	}
	if s.Value == "" {
		return "", errors.New("the text is empty")
	}
	c.texts = append(c.texts, s.Value)
	return s.Value, nil
}

// addChoice takes a name, or a comparison where the choices are ordered. Scores
// may be written as numbers.
func (c *cond) addChoice(n ast.Node) (string, error) {
	text, ok := plainText(n)
	if !ok {
		return "", fmt.Errorf("%s, got %s", c.field.want(), describe(n))
	}
	bits, shown, err := c.field.choice(text)
	c.bits |= bits
	return shown, err
}

func (f *field) want() string { return "want one of " + strings.Join(f.choices, ", ") }

// choice reads a name, or a comparison with one, as a bit for each value that it
// stands for.
func (f *field) choice(text string) (bits uint16, shown string, err error) {
	op, name := comparison(text)
	if name == "forever" && f.id == retentionPolicy {
		name = "permanent"
	}
	i := slices.Index(f.choices, name)
	if i < 0 {
		return 0, "", fmt.Errorf("%s, got %s", f.want(), quote(text))
	}
	all := uint16(1)<<len(f.choices) - 1
	below := uint16(1)<<i - 1
	switch op {
	case "<":
		bits = below
	case "<=":
		bits = below | 1<<i
	case ">":
		bits = all &^ below &^ (1 << i)
	case ">=":
		bits = all &^ below
	default:
		bits = 1 << i
	}
	return bits, op + name, nil
}

// addNumber takes a whole number, a comparison with one, or "unstated".
func (c *cond) addNumber(n ast.Node) (string, error) {
	const want = `want a whole number, a comparison such as "<3600", or unstated`
	text, ok := plainText(n)
	if !ok {
		return "", fmt.Errorf("%s, got %s", want, describe(n))
	}
	if text == "unstated" {
		c.spans = append(c.spans, span{c.field.unstated, c.field.unstated})
		return text, nil
	}
	op, digits := comparison(text)
	value, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || value < 0 || value >= 1<<53 || strconv.FormatInt(value, 10) != digits {
		return "", fmt.Errorf("%s, got %s", want, quote(text))
	}
	s := span{value, value}
	switch op {
	case "<":
		s = span{math.MinInt64, value - 1}
	case "<=":
		s = span{math.MinInt64, value}
	case ">":
		s = span{value + 1, math.MaxInt64}
	case ">=":
		s = span{value, math.MaxInt64}
	}
	c.spans = append(c.spans, s)
	return op + digits, nil
}

// addData takes a kind of data, a group or any, also at a place, or none.
func (c *cond) addData(n ast.Node, v *vocabulary) (string, error) {
	text, ok := plainText(n)
	if !ok {
		return "", fmt.Errorf("want a kind of data, a group of kinds, any or none, got %s", describe(n))
	}
	if text == "none" {
		c.none = true
		return text, nil
	}
	t, err := v.parseTerm(text)
	if err != nil {
		return "", err
	}
	c.terms = append(c.terms, t)
	return text, nil
}

// plainText returns the text of a value that was written as a text or a whole
// number.
func plainText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode:
		return n.Token.Value, true
	}
	return "", false
}

// comparison splits "<=5" into its operator and the rest; a plain value has no
// operator.
func comparison(text string) (op, rest string) {
	for _, op := range []string{"<=", ">=", "<", ">"} {
		if rest, ok := strings.CutPrefix(text, op); ok {
			return op, strings.TrimSpace(rest)
		}
	}
	return "", text
}

// quote shows a piece of the file in an error, short and printable.
func quote(s string) string {
	const most = 40
	if runes := []rune(s); len(runes) > most {
		return strconv.Quote(string(runes[:most])) + "…"
	}
	return strconv.Quote(s)
}

// describe names what was found where something else was wanted.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return "the text " + quote(n.Value)
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.BoolNode:
		return "the truth value " + strconv.FormatBool(n.Value)
	case *ast.IntegerNode:
		return "the number " + quote(n.Token.Value)
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + quote(n.GetToken().Value)
	case *ast.NullNode:
		return "nothing (null)"
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	return "something else"
}
