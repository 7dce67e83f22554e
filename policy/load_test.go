package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	set := mustParse(t, "rules.yaml", `# what the operator wants
rules:
  - name: RequireIdempotency
    description: Block agents without idempotency
    action: deny
    conditions: {"idempotency": [False]}   # as in the first description of the protocol

  - name: Two lines
    action: warn
    description: |
      one
      two
    conditions:
      trust_score:
        - "<5"
        - 9
      retention: [forever]
`)
	want := []Rule{
		{Name: "RequireIdempotency", Description: "Block agents without idempotency", Action: ActionDeny, File: "rules.yaml", Line: 3,
			Conditions: []Condition{{"idempotency", []string{"false"}}}},
		{Name: "Two lines", Description: "one two", Action: ActionWarn, File: "rules.yaml", Line: 8,
			Conditions: []Condition{{"retention_policy", []string{"permanent"}}, {"score", []string{"9", "<5"}}}},
	}
	if diff := cmp.Diff(want, set.Rules()); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// TestParseRefuses has one fault a case, and the place where it must be shown.
func TestParseRefuses(t *testing.T) {
	rule := func(conditions string) string {
		return "- name: r\n  action: deny\n  conditions: {" + conditions + "}\n"
	}
	for _, c := range []struct{ text, want string }{
		{"", "p: the file holds no rules"},
		{"# only a comment\n", "p: the file holds no rules"},
		{"{}", "p:1:1: the file holds no rules"},
		{"rules:\n", "p:1:8: want a list of rules"},
		{"rules: 5", `p:1:8: want a list of rules, or rules: with a list, got the number "5"`},
		{"hello", `p:1:1: want a list of rules, or rules: with a list, got the text "hello"`},
		{"rules: []\nrulez: []\n", `p:2:1: unknown member "rulez"`},
		{"1: []\n", "p:1:1: a member name must be a text"},
		{"- a\n", `p:1:3: a rule has the members name, action and conditions, got the text "a"`},
		{"rules: []\n---\nrules: []\n", "p:2:1: want one YAML document, got 2"},
		{"rules: [\n", "p:1:8: "},
		{"rules:\n\t- a\n", `p:2:1: found character '\t'`},
		{"- name: \"\xff\"\n", "p:1:10: the text is not UTF-8"},
		{"\n\n  é\xff", "p:3:4: the text is not UTF-8"},
		{"- name: &a r\n", "p:1:9: rule files use no anchors"},
		{"- name: *a\n", "p:1:9: rule files use no anchors"},
		{"- name: !!str r\n", "p:1:9: rule files use no anchors"},
		{"- <<: {}\n", "p:1:3: rule files use no anchors"},
		{"? a\n: b\n", "p:1:1: rule files use no anchors"},
		{"%YAML 1.2\n---\nrules: []\n", "p:1:1: rule files use no anchors"},
		{strings.Repeat("[", 100), "p:1:9: nested deeper than 8"},
		{strings.Repeat("{a: ", 100), "p:1:33: nested deeper than 8"},
		{strings.Repeat("- ", 100) + "a", "p:1:17: nested deeper than 8"},
		{"# " + strings.Repeat("x", 256<<10), "p: the file is larger than 256 KiB"},

		{"- action: deny\n  conditions: {idempotency: [false]}\n", "p:1:3: the rule has no name"},
		{"- name: r\n  conditions: {idempotency: [false]}\n", "p:1:3: the rule has no action"},
		{"- name: r\n  action: deny\n", "p:1:3: the rule has no conditions"},
		{rule("idempotency: [false]") + "  when: now\n", `p:4:3: unknown member "when"; a rule has name, description, action, conditions`},
		{rule("idempotency: [false]") + "  action: warn\n", `p:4:3: mapping key "action" already defined`},
		{"- {name: r, name: s, action: deny, conditions: {tainted: [true]}}\n", `p:1:13: `},
		{"- name: ''\n  action: deny\n  conditions: {tainted: [true]}\n", "p:1:9: the name is empty"},
		{"- name: 5\n  action: deny\n  conditions: {tainted: [true]}\n", `p:1:9: name must be a text, got the number "5"`},
		{"- name: low_trust\n  action: deny\n  conditions: {tainted: [true]}\n", `p:1:9: the name "low_trust" belongs to a built-in reason`},
		{"- name: builtin:mine\n  action: deny\n  conditions: {tainted: [true]}\n", `p:1:9: the name "builtin:mine" belongs to a built-in reason`},
		{"- name: \"a\\e[31mb\"\n  action: deny\n  conditions: {tainted: [true]}\n", "p:1:9: name holds characters that do not print"},
		{"- name: " + strings.Repeat("n", 65) + "\n  action: deny\n  conditions: {tainted: [true]}\n", "p:1:9: name is longer than 64 characters"},
		{"- name: r\n  description: [x]\n  action: deny\n  conditions: {tainted: [true]}\n", "p:2:16: description must be a text, got a list"},
		{rule("tainted: [true]") + rule("tainted: [true]"), `p:4:9: the name "r" is taken by the rule at p:1`},
		{"- name: r\n  action: block\n  conditions: {tainted: [true]}\n", `p:2:11: unknown action "block"; want allow, warn or deny`},
		{"- name: r\n  action: true\n  conditions: {tainted: [true]}\n", "p:2:11: action must be allow, warn or deny, got the truth value true"},
		{"- name: r\n  action: deny\n  conditions:\n", "p:3:15: conditions must be fields with lists of values"},
		{"- name: r\n  action: deny\n  conditions: [a]\n", "p:3:15: conditions must be fields with lists of values"},
		{rule(""), "p:3:15: conditions are empty: the rule would hold for every exchange"},

		{rule("colour: [red]"), `p:3:16: unknown field "colour"; the fields are agent_id, owner,`},
		{rule("idempotency: false"), "p:3:29: the values of idempotency must be a list, as in [false], got the truth value false"},
		{rule("idempotency: []"), "p:3:29: idempotency has no values"},
		{rule("idempotency: ['false']"), `p:3:30: idempotency: want true or false, without quotes, got the text "false"`},
		{rule("idempotency: [0]"), `p:3:30: idempotency: want true or false`},
		{rule("idempotency: [null]"), `p:3:30: idempotency: want true or false, without quotes, got nothing (null)`},
		{rule("retention: [permanent], retention_policy: [forever]"), "p:3:40: the field retention_policy stands here twice"},
		{rule("retention: [sometimes]"), `p:3:28: retention_policy: want one of ephemeral, temporary, permanent, unstated, got "sometimes"`},
		{rule("reversibility: [Full]"), `p:3:32: reversibility: want one of none, partial, full, got "Full"`},
		{rule("trust_level: [gold]"), "p:3:30: trust_level: want one of untrusted, unknown,"},
		{rule("trust_level: ['=<trusted']"), "p:3:30: trust_level: want one of untrusted, unknown,"},
		{rule("score: [11]"), "p:3:24: score: want one of 0, 1,"},
		{rule("score: [-1]"), "p:3:24: score: want one of 0, 1,"},
		{rule("score: [7.5]"), `p:3:24: score: want one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, got the number "7.5"`},
		{rule("evidence: [E7]"), "p:3:27: evidence: want one of E0,"},
		{rule("undo_window_seconds: [1h]"), `p:3:38: undo_window_seconds: want a whole number, a comparison such as "<3600", or unstated, got "1h"`},
		{rule("undo_window_seconds: [-1]"), "p:3:38: undo_window_seconds: want a whole number"},
		{rule("undo_window_seconds: [0x10]"), "p:3:38: undo_window_seconds: want a whole number"},
		{rule("undo_window_seconds: [9007199254740992]"), "p:3:38: undo_window_seconds: want a whole number"},
		{rule("undo_window_seconds: [.inf]"), "p:3:38: undo_window_seconds: want a whole number"},
		{rule("data: [card]"), `p:3:23: data: there is no kind of data "card"; did you mean credit_card, card_security_code? (iatp scan-text --kinds lists all)`},
		{rule("data: [crdit-card]"), `p:3:23: data: there is no kind of data "crdit-card"; did you mean credit_card?`},
		{rule("data: [secret, secretz]"), `p:3:31: data: there is no kind of data "secretz"; did you mean secret, secrets?`},
		{rule("data: [zzzzzzzzzz]"), `p:3:23: data: there is no kind of data "zzzzzzzzzz" (iatp scan-text`},
		{rule("data: [email at guest]"), `p:3:23: data: want a JSON pointer such as /payment/card`},
		{rule("data: ['email at /a~b']"), `p:3:23: data: in a JSON pointer ~ is written ~0`},
		{rule("data: [[a]]"), `p:3:23: data: want a kind of data, a group of kinds, any or none, got a list`},
		{rule("agent_id: [5]"), `p:3:27: agent_id: want a text, got the number "5"; put it in quotes`},
		{rule("agent_id: ['']"), "p:3:27: agent_id: the text is empty"},
		{rule("scopes: [[a]]"), "p:3:25: scopes: want a text, got a list"},
		{rule("owner: [" + strings.Repeat("a, ", 300) + "a]"), "p:3:23: owner has more than 256 values"},
	} {
		set, err := Parse("p", []byte(c.text))
		if err == nil || set != nil {
			t.Errorf("Parse(%.80q) = %v, %v; want an error", c.text, set, err)
			continue
		}
		if !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("Parse(%.80q):\n got %v\nwant %s", c.text, err, c.want)
		}
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("Parse(%.80q): %T holds no *Error", c.text, err)
		}
	}
}

func TestParseNamesEveryFault(t *testing.T) {
	_, err := Parse("p", []byte("- name: a\n  action: block\n  conditions: {foo: [1], score: [11, 12]}\n- name: b\n"))
	want := []string{"p:2:11: ", "p:3:16: ", "p:3:34: ", "p:3:38: ", "p:4:3: ", "p:4:3: "}
	var lines []string
	if err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	if len(lines) != len(want) {
		t.Fatalf("%d faults, want %d:\n%v", len(lines), len(want), err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("fault %d is %q, want it at %s", i, line, want[i])
		}
	}
}

func TestTooManyRules(t *testing.T) {
	text := strings.Repeat("- {}\n", maxRules+1)
	if _, err := Parse("p", []byte(text)); err == nil || strings.Count(err.Error(), "\n") != maxFaults {
		t.Errorf("%d faults were found, want %d shown:\n%v", 3*(maxRules+1), maxFaults, err)
	}
	var b strings.Builder
	for i := range maxRules + 1 {
		b.WriteString("- {name: r" + strings.Repeat("x", i/1000) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)) + ", action: warn, conditions: {tainted: [true]}}\n")
	}
	if _, err := Parse("p", []byte(b.String())); err == nil || !strings.Contains(err.Error(), "more than 1024") {
		t.Errorf("err = %v, want a complaint about the number of rules", err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := write("a.yaml", "rules:\n- {name: a, action: warn, conditions: {tainted: [true]}}\n")
	b := write("b.yaml", "rules:\n\n- {name: b, action: deny, conditions: {tainted: [true]}}\n")
	set, err := Load(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if rules := set.Rules(); len(rules) != 2 || rules[0].File != a || rules[1].File != b || rules[1].Line != 3 {
		t.Errorf("rules = %+v", rules)
	}
	if set, err := Load(); err != nil || set.Digest() != builtinDigest {
		t.Errorf("Load() = %v, %v; want the built-in rules", set, err)
	}

	twice := write("c.yaml", "- {name: a, action: warn, conditions: {tainted: [true]}}\n")
	if set, err := Load(a, b, twice); err == nil || set != nil || err.Error() != twice+":1:10: the name \"a\" is taken by the rule at "+a+":2" {
		t.Errorf("a name in two files: %v, %v", set, err)
	}
	missing := filepath.Join(dir, "missing.yaml")
	set, err = Load(a, missing, write("bad.yaml", "rules: 1"))
	if set != nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "bad.yaml:1:8: ") {
		t.Errorf("a missing and a bad file: %v, %v; want both named, and no set", set, err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory loads as a rule file")
	}
	if _, err := Load(write("large.yaml", "# "+strings.Repeat("x", maxFileBytes))); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
}

// FuzzParse: whatever the file, Parse returns a set or faults that name the
// file, and a set decides without complaint and keeps its laws.
func FuzzParse(f *testing.F) {
	f.Add([]byte(benchRules))
	f.Add([]byte("rules:\n  - name: a\n    description: |\n      x\n    action: allow\n    conditions: {score: ['<5', 9], data: [any]}\n"))
	f.Add([]byte("rules: []\n---\n"))
	f.Add([]byte("- name: \"\\u001b\"\n  action: !!x warn\n"))
	f.Add([]byte("{rules: [{name: 'a', action: warn, conditions: {undo_window_seconds: ['<=60', unstated]}}]}"))
	f.Add([]byte("? |\n  a\n: - - - b\n<<: *x\n"))
	f.Add([]byte("rules:\n- name: a\n  action: warn\n  conditions:\n    tainted:\n    - true # why\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := Parse("p", text)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "p") {
					t.Errorf("a fault does not name the file: %q", line)
				}
			}
			return
		}
		again, err := Parse("p", text)
		if err != nil || again.Digest() != set.Digest() {
			t.Errorf("the same text gives another set: %v", err)
		}
		for _, r := range set.Rules() {
			if r.Name == "" || len(r.Conditions) == 0 || r.Line < 1 {
				t.Errorf("rule %+v is not whole", r)
			}
		}
		facts := Facts{Manifest: manifest(nil), Assessment: assessed(10)}
		if without, with := (*Set)(nil).Decide(facts), set.Decide(facts); with.Decision > without.Decision {
			t.Errorf("rules turn %v into %v at score 10", without.Decision, with.Decision)
		}
	})
}
