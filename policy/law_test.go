package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// conditions are what rules are drawn from.
var conditions = []string{
	`agent_id: [bank, other]`, `uri: ["https://bank.example"]`, `scopes: ["repo:read"]`,
	`trust_level: ["<trusted"]`, `score: ["<7"]`, `score: [">=5", 2]`, `evidence: [">=E2"]`, `evidence: [E0, E1]`,
	`idempotency: [true]`, `idempotency: [false]`, `reversibility: [none, partial]`, `undo_window_seconds: ["<60"]`,
	`retention: [ephemeral]`, `retention: [permanent, unstated]`, `human_in_loop: [true]`, `training_consent: [false]`,
	`data: [email]`, `data: ["email at /a"]`, `data: [payment]`, `data: [any]`, `data: [none]`, `tainted: [false]`,
}

// drawRule writes the rule number n of a file.
func drawRule(t *rapid.T, n int, actions ...string) string {
	picked := rapid.SliceOfNDistinct(rapid.SampledFrom(conditions), 1, 3, func(c string) string {
		field, _, _ := strings.Cut(c, ":")
		return field
	}).Draw(t, "conditions")
	return fmt.Sprintf("- {name: rule%d, action: %s, conditions: {%s}}\n", n, rapid.SampledFrom(actions).Draw(t, "action"), strings.Join(picked, ", "))
}

func drawRules(t *rapid.T, actions ...string) []string {
	rules := make([]string, rapid.IntRange(0, 6).Draw(t, "rules"))
	for i := range rules {
		rules[i] = drawRule(t, i, actions...)
	}
	return rules
}

func setOf(t *rapid.T, rules []string) *Set {
	if len(rules) == 0 {
		return nil
	}
	set, err := Parse("p", []byte(strings.Join(rules, "")))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return set
}

func drawFacts(t *rapid.T) Facts {
	window := rapid.SampledFrom([]int64{0, 30, 3600}).Draw(t, "window")
	m := manifest(func(m *iatp.Manifest) {
		m.Identity.AgentID = rapid.SampledFrom([]iatp.AgentID{"bank", "other", "third"}).Draw(t, "agent")
		m.Capabilities.Idempotency = rapid.Bool().Draw(t, "idempotent")
		m.Reversibility.Level = rapid.SampledFrom([]iatp.ReversibilityLevel{"", "none", "partial", "full"}).Draw(t, "undo")
		if m.Reversibility.UndoWindowSeconds = nil; rapid.Bool().Draw(t, "promises a window") {
			m.Reversibility.UndoWindowSeconds = &window
		}
		m.Privacy.RetentionPolicy = rapid.SampledFrom([]iatp.RetentionPolicy{"", "ephemeral", "temporary", "permanent", "forever"}).Draw(t, "retention")
		m.Privacy.HumanInLoop = rapid.Bool().Draw(t, "people")
		m.Privacy.TrainingConsent = rapid.Bool().Draw(t, "training")
		m.Scopes = rapid.SampledFrom([][]string{nil, {"repo:read"}, {"repo:read", "repo:write"}}).Draw(t, "scopes")
	})
	evidence := trust.Evidence(rapid.IntRange(0, 6).Draw(t, "evidence"))
	f := Facts{
		Manifest: m,
		Assessment: trust.Assessment{
			Declared: m.TrustLevel, Level: iatp.TrustLevel(rapid.IntRange(0, 4).Draw(t, "level")),
			Score: rapid.IntRange(0, 10).Draw(t, "score"), Evidence: evidence, Bonuses: evidence > trust.E0,
		},
		Tainted:  rapid.Bool().Draw(t, "tainted"),
		CanGrant: rapid.Bool().Draw(t, "grants"),
	}
	for _, class := range []iatp.DataClass{iatp.CreditCard, iatp.Email, iatp.SSN} {
		if rapid.Bool().Draw(t, string(class)) {
			f.Findings = append(f.Findings, Finding{Kind: class})
		}
	}
	if rapid.Bool().Draw(t, "requires") {
		f.Require = Requirements{Reversibility: "partial", Retention: "temporary"}
	}
	return f
}

// TestLawDenyAndWarnNeverHelp: a deny or warn rule more never gives a decision
// that is more lenient.
func TestLawDenyAndWarnNeverHelp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, f := drawRules(t, "allow", "warn", "deny"), drawFacts(t)
		more := append(slices.Clone(rules), drawRule(t, 99, "warn", "deny"))
		before, after := setOf(t, rules).Decide(f), setOf(t, more).Decide(f)
		if after.Decision > before.Decision {
			t.Errorf("%s turns %v into %v", more[len(more)-1], before.Decision, after.Decision)
		}
	})
}

// TestLawAllowLiftsLowScoresOnly: an allow rule changes an answer only from
// asking about a low score to allowing.
func TestLawAllowLiftsLowScoresOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, f := drawRules(t, "warn", "deny"), drawFacts(t)
		more := append(slices.Clone(rules), drawRule(t, 99, "allow"))
		before, after := setOf(t, rules).Decide(f), setOf(t, more).Decide(f)
		if before.Decision == after.Decision {
			return
		}
		asked := slices.ContainsFunc(before.Reasons, func(r Reason) bool { return r.Action == ActionWarn && r.Code != CodeLowTrust })
		if before.Decision != Ask || after.Decision != Allow || asked {
			t.Errorf("%s turns %v (%v) into %v", more[len(more)-1], before.Decision, before.Codes(), after.Decision)
		}
	})
}

// TestLawOrderDoesNotCount: rules in another order decide the same for the same
// reasons.
func TestLawOrderDoesNotCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, f := drawRules(t, "allow", "warn", "deny"), drawFacts(t)
		one, other := setOf(t, rules), setOf(t, rapid.Permutation(rules).Draw(t, "order"))
		a, b := one.Decide(f), other.Decide(f)
		if a.Decision != b.Decision || a.Slug != b.Slug || a.GrantOnly != b.GrantOnly || !slices.Equal(a.Codes(), b.Codes()) {
			t.Errorf("%v %v and %v %v", a.Decision, a.Codes(), b.Decision, b.Codes())
		}
		if one.Digest() != other.Digest() {
			t.Error("the digest depends on the order")
		}
	})
}

// TestLawReasons: every matching rule is named; a denial has only named rules,
// one of which denies; whatever asks says why; reasons have texts.
func TestLawReasons(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, f := setOf(t, drawRules(t, "allow", "warn", "deny")), drawFacts(t)
		v := set.Decide(f)
		var matching, named []string
		if set != nil {
			for i := range set.rules {
				if set.rules[i].holds(&f) {
					matching = append(matching, set.rules[i].Name)
				}
			}
		}
		for _, r := range v.Reasons {
			if r.Text == "" || r.Code == "" {
				t.Errorf("reason %+v has no text or code", r)
			}
			if v.Decision == Deny && r.Rule == "" {
				t.Errorf("reason %+v of a denial names no rule", r)
			}
			if r.File != "" {
				named = append(named, r.Rule)
			}
		}
		slices.Sort(named)
		if diff := cmp.Diff(matching, named); diff != "" {
			t.Errorf("rules that match (-) and are named (+):\n%s", diff)
		}
		has := func(a Action) bool {
			return slices.ContainsFunc(v.Reasons, func(r Reason) bool { return r.Action == a })
		}
		switch {
		case v.Decision == Deny && (!has(ActionDeny) || v.Slug == "" || v.Denial() == "" || v.Warning() != ""):
			t.Errorf("a denial must say why, and warn of nothing: %+v", v)
		case v.Decision == Ask && (has(ActionDeny) || !has(ActionWarn) || v.Warning() == "" || v.Slug != ""):
			t.Errorf("a question must say why, and deny nothing: %+v", v)
		case v.Decision == Allow && (has(ActionDeny) || has(ActionWarn)):
			t.Errorf("allowed against %v", v.Codes())
		}
	})
}

// TestLawLessIsNeverMoreLenient: with the built-in rules alone, a finding more, a
// requirement more or less evidence never gives a more lenient decision.
func TestLawLessIsNeverMoreLenient(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFacts(t)
		before := (*Set)(nil).Decide(f)
		worse := f
		switch rapid.IntRange(0, 2).Draw(t, "worse") {
		case 0:
			worse.Findings = []Finding{{Kind: iatp.CreditCard}, {Kind: iatp.Email}, {Kind: iatp.SSN}}
		case 1:
			worse.Require = Requirements{Reversibility: "full", UndoWindow: 1 << 40, Retention: "ephemeral"}
		case 2:
			worse.Assessment.Evidence, worse.Assessment.Bonuses = trust.E0, false
		}
		if after := (*Set)(nil).Decide(worse); after.Decision > before.Decision {
			t.Errorf("%v became %v", before.Decision, after.Decision)
		}
	})
}
