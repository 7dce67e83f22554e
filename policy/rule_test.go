package policy

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// TestFields holds every field of the vocabulary to what it must hit and what it
// must not, at evidence E6, in a warn rule.
func TestFields(t *testing.T) {
	zero, minute := int64(0), int64(60)
	change := func(f func(*iatp.Manifest)) Facts {
		return Facts{Manifest: manifest(f), Assessment: assessed(10)}
	}
	plain := change(nil)
	silent := change(func(m *iatp.Manifest) {
		m.Reversibility, m.Capabilities, m.Privacy, m.Scopes = iatp.Reversibility{}, iatp.Capabilities{}, iatp.Privacy{}, nil
	})
	bad := change(func(m *iatp.Manifest) {
		m.Reversibility = iatp.Reversibility{Level: iatp.ReversibilityPartial, UndoWindowSeconds: &minute}
		m.Privacy = iatp.Privacy{RetentionPolicy: iatp.RetentionForever, HumanInLoop: true, TrainingConsent: true}
	})
	endless := change(func(m *iatp.Manifest) { m.Reversibility.UndoWindowSeconds = &zero })
	low := Facts{Manifest: manifest(nil), Assessment: trust.Assessment{Level: iatp.Unknown, Score: 2, Evidence: trust.E1}}
	card := Facts{Manifest: manifest(nil), Assessment: assessed(10), Findings: []Finding{{Kind: iatp.CreditCard}, {Kind: iatp.Email}}}
	guest := Facts{Manifest: manifest(nil), Assessment: assessed(10), Findings: []Finding{{iatp.CreditCard, "/guest/cards/0"}}}
	taint := Facts{Manifest: manifest(nil), Assessment: assessed(10), Tainted: true}

	for _, c := range []struct {
		condition string
		hits      []Facts
		misses    []Facts
	}{
		{`agent_id: [other, bank]`, []Facts{plain}, nil},
		{`agent_id: [Bank, ban]`, nil, []Facts{plain}},
		{`owner: ["Example Bank"]`, []Facts{plain}, nil},
		{`owner: [Example]`, nil, []Facts{plain}},
		{`uri: ["https://bank.example"]`, []Facts{plain}, nil},
		{`uri: ["https://bank.example.evil"]`, nil, []Facts{plain}},
		{`storage_location: [eu]`, []Facts{plain}, []Facts{silent}},
		{`scopes: ["repo:write", other]`, []Facts{plain}, []Facts{silent}},
		{`scopes: [repo]`, nil, []Facts{plain}},
		{`trust_level: [unknown]`, []Facts{low}, []Facts{plain}},
		{`trust_level: ["<standard"]`, []Facts{low}, []Facts{plain}},
		{`trust_level: [">=trusted"]`, []Facts{plain}, []Facts{low}},
		{`declared_trust_level: [verified_partner]`, []Facts{plain, low}, nil},
		{`declared_trust_level: ["<verified_partner"]`, nil, []Facts{plain, low}},
		{`score: ["<3"]`, []Facts{low}, []Facts{plain}},
		{`score: ["<=2"]`, []Facts{low}, []Facts{plain}},
		{`score: [">2"]`, []Facts{plain}, []Facts{low}},
		{`trust_score: [10, 1]`, []Facts{plain}, []Facts{low}},
		{`evidence: [E1]`, []Facts{low}, []Facts{plain}},
		{`evidence: [">=E4"]`, []Facts{plain}, []Facts{low}},
		{`idempotency: [false]`, []Facts{silent}, []Facts{plain}},
		{`idempotency: [true, false]`, []Facts{silent, plain}, nil},
		{`reversibility: [none]`, []Facts{silent}, []Facts{plain, bad}},
		{`reversibility: ["<full"]`, []Facts{silent, bad}, []Facts{plain}},
		{`undo_window_seconds: [3600]`, []Facts{plain}, []Facts{bad, silent, endless}},
		{`undo_window_seconds: ["<3600"]`, []Facts{bad, silent}, []Facts{plain, endless}},
		{`undo_window_seconds: [">=3600"]`, []Facts{plain, endless}, []Facts{bad, silent}},
		{`undo_window_seconds: [unstated]`, []Facts{silent}, []Facts{plain, endless}},
		{`sla_latency_ms: [">1999"]`, []Facts{plain, silent}, nil},
		{`sla_latency_ms: ["<=1999"]`, nil, []Facts{plain, silent}},
		{`sla_latency_ms: ["<=2000"]`, []Facts{plain}, []Facts{silent}},
		{`sla_latency_ms: [unstated]`, []Facts{silent}, []Facts{plain}},
		{`retention_policy: [permanent]`, []Facts{bad}, []Facts{plain, silent}},
		{`retention: [forever]`, []Facts{bad}, []Facts{plain, silent}},
		{`retention: [">ephemeral"]`, []Facts{bad, silent}, []Facts{plain}},
		{`retention: [unstated]`, []Facts{silent}, []Facts{plain, bad}},
		{`human_in_loop: [true]`, []Facts{bad}, []Facts{plain}},
		{`human_review: [false]`, []Facts{plain}, []Facts{bad}},
		{`training_consent: [true]`, []Facts{bad}, []Facts{plain}},
		{`data: [email]`, []Facts{card}, []Facts{plain}},
		{`data: [ssn]`, nil, []Facts{card, plain}},
		{`data: [any]`, []Facts{card}, []Facts{plain}},
		{`data: [none]`, []Facts{plain}, []Facts{card}},
		{`data: [none, email]`, []Facts{plain, card}, nil},
		{`data: [payment]`, []Facts{card, guest}, []Facts{plain}},
		{`data: [contact]`, []Facts{card}, []Facts{guest}},
		{`data: [custom]`, nil, []Facts{card, plain}},
		{`data: ["credit_card at /guest"]`, []Facts{guest, card}, []Facts{plain}}, // the place of card is not known
		{`data: ["credit_card at /guest/cards/0"]`, []Facts{guest}, nil},
		{`data: ["payment at /*/cards"]`, []Facts{guest}, nil},
		{`data: ["any at /guest/cards/1"]`, nil, []Facts{guest}},
		{`data: ["any at /guest/card"]`, nil, []Facts{guest}},
		{`data: ["email at /guest"]`, nil, []Facts{guest}},
		{`tainted: [true]`, []Facts{taint}, []Facts{plain}},
		{`idempotency: [true], data: [email]`, []Facts{card}, []Facts{plain}},
	} {
		set := mustParse(t, "p.yaml", fmt.Sprintf("[{name: r, action: warn, conditions: {%s}}]", c.condition))
		for i, f := range c.hits {
			if !set.rules[0].holds(&f) {
				t.Errorf("{%s} does not hold for hit %d", c.condition, i)
			}
		}
		for i, f := range c.misses {
			if set.rules[0].holds(&f) {
				t.Errorf("{%s} holds for miss %d", c.condition, i)
			}
		}
	}
}

// TestEveryFieldIsDocumented holds the manual in policy.go to the vocabulary.
func TestEveryFieldIsDocumented(t *testing.T) {
	source, err := os.ReadFile("policy.go")
	if err != nil {
		t.Fatal(err)
	}
	for i := range fields {
		f := &fields[i]
		if int(f.id) != i || fieldNamed(f.name) != f || f.alias != "" && fieldNamed(f.alias) != f {
			t.Errorf("field %s is not found where it should be", f.name)
		}
		if !strings.Contains(string(source), "\n//\t"+f.name+" ") {
			t.Errorf("field %s is not in the package documentation", f.name)
		}
		if f.alias != "" && !strings.Contains(string(source), "alias "+f.alias+")") {
			t.Errorf("the alias %s is not in the package documentation", f.alias)
		}
	}
	if fieldNamed("") != nil {
		t.Error("the empty name finds a field")
	}
}

// TestAllowRulesTakeNobodysWord: below E2 an allow rule does not hold because of
// anything that the agent says of itself.
func TestAllowRulesTakeNobodysWord(t *testing.T) {
	for _, c := range []struct {
		condition string
		least     trust.Evidence
	}{
		{`agent_id: [bank]`, trust.E2},
		{`owner: ["Example Bank"]`, trust.E2},
		{`uri: ["https://bank.example"]`, trust.E1},
		{`storage_location: [eu]`, trust.E2},
		{`scopes: ["repo:read", "repo:write"]`, trust.E2},
		{`declared_trust_level: [verified_partner]`, trust.E2},
		{`idempotency: [true]`, trust.E2},
		{`reversibility: [full]`, trust.E2},
		{`undo_window_seconds: [">60"]`, trust.E2},
		{`sla_latency_ms: ["<5000"]`, trust.E2},
		{`retention_policy: [ephemeral]`, trust.E2},
		{`human_in_loop: [false]`, trust.E2},
		{`training_consent: [false]`, trust.E2},
		{`trust_level: [unknown]`, trust.E0},
		{`score: ["<7"]`, trust.E0},
		{`evidence: [">=E0"]`, trust.E0},
		{`data: [none]`, trust.E0},
		{`tainted: [false]`, trust.E0},
	} {
		set := mustParse(t, "p.yaml", fmt.Sprintf("[{name: r, action: allow, conditions: {%s}}]", c.condition))
		for e := trust.E0; e <= trust.E6; e++ {
			v := set.Decide(Facts{Manifest: manifest(nil), Assessment: trust.Assessment{Level: iatp.Unknown, Score: 2, Evidence: e, Bonuses: e > trust.E0}})
			want := Ask
			if e >= c.least {
				want = Allow
			}
			if v.Decision != want {
				t.Errorf("allow if {%s} at %s: %v, want %v", c.condition, e, v.Decision, want)
			}
		}
	}
}

func TestAllowNeedsEveryValueNamed(t *testing.T) {
	set := mustParse(t, "p.yaml", `
- {name: mail, action: allow, conditions: {data: [email]}}
- {name: reader, action: allow, conditions: {scopes: ["repo:read"]}}`)
	a := assessed(4)
	f := Facts{Manifest: manifest(nil), Assessment: a, Findings: []Finding{{Kind: iatp.CreditCard}, {Kind: iatp.Email}}}
	if v := set.Decide(f); v.Decision != Ask {
		t.Errorf("a card beside an e-mail address, and a scope beside repo:read: %v, want ask", v.Decision)
	}
	f.Findings = []Finding{{Kind: iatp.Email}}
	if v := set.Decide(f); v.Decision != Allow {
		t.Errorf("an e-mail address alone: %v, want allow", v.Decision)
	}
	placed := mustParse(t, "p.yaml", `- {name: mail, action: allow, conditions: {data: ["email at /to"]}}`)
	for _, c := range []struct {
		found []Finding
		want  Decision
	}{
		{[]Finding{{iatp.Email, "/to"}}, Allow},
		{[]Finding{{iatp.Email, "/to/0"}}, Allow},
		{[]Finding{{iatp.Email, "/cc"}, {iatp.Email, "/to"}}, Ask},
		{[]Finding{{iatp.Email, ""}}, Ask}, // it may stand elsewhere
	} {
		if f.Findings = c.found; placed.Decide(f).Decision != c.want {
			t.Errorf("%v: %v, want %v", c.found, placed.Decide(f).Decision, c.want)
		}
	}
	f.Findings = nil
	if v := set.Decide(f); v.Decision != Ask {
		t.Errorf("no finding at all: %v, want ask: the rule speaks of e-mail addresses", v.Decision)
	}
	f.Manifest = manifest(func(m *iatp.Manifest) { m.Scopes = []string{"repo:read"} })
	if v := set.Decide(f); v.Decision != Allow {
		t.Errorf("the scope repo:read alone: %v, want allow", v.Decision)
	}
}

func TestAllowLiftsALowScoreOnly(t *testing.T) {
	const allow = "- {name: ok, action: allow, conditions: {score: [\">=0\"]}}\n"
	low := Facts{Manifest: manifest(nil), Assessment: assessed(0), CanGrant: true}
	v := mustParse(t, "p.yaml", allow).Decide(low)
	if v.Decision != Allow || v.GrantOnly || strings.Join(v.Codes(), " ") != "low_trust ok" {
		t.Errorf("an allow rule at score 0: %v %v, want allow with the low score still listed", v.Decision, v.Codes())
	}
	for _, r := range v.Reasons {
		if r.Code == CodeLowTrust && r.Action != ActionNote {
			t.Errorf("the lifted low score asks for %q", r.Action)
		}
	}

	required := low
	required.Require.Retention = "brief"
	if v := mustParse(t, "p.yaml", allow).Decide(required); v.Decision != Ask {
		t.Errorf("an allow rule and an unmet requirement: %v, want ask", v.Decision)
	}
	if v := mustParse(t, "p.yaml", allow+"- {name: w, action: warn, conditions: {idempotency: [true]}}").Decide(low); v.Decision != Ask {
		t.Errorf("an allow rule and a warn rule: %v, want ask", v.Decision)
	}
	if v := mustParse(t, "p.yaml", allow+"- {name: d, action: deny, conditions: {idempotency: [true]}}").Decide(low); v.Decision != Deny || v.Slug != iatp.SlugPolicy {
		t.Errorf("an allow rule and a deny rule: %v %q, want a denial by policy", v.Decision, v.Slug)
	}
	blocked := low
	blocked.Findings = []Finding{{Kind: iatp.SSN}}
	blocked.Manifest = manifest(func(m *iatp.Manifest) { m.Privacy.RetentionPolicy = iatp.RetentionTemporary })
	if v := mustParse(t, "p.yaml", allow).Decide(blocked); v.Decision != Deny {
		t.Errorf("an allow rule and a data block: %v, want deny", v.Decision)
	}
}

func TestDigest(t *testing.T) {
	const a = "- {name: a, description: d, action: warn, conditions: {score: [1, 2], data: [any]}}\n"
	const b = "- {name: b, action: warn, conditions: {tainted: [true]}}\n"
	base := mustParse(t, "p.yaml", a+b).Digest()
	if !strings.HasPrefix(base, "sha-256=:") || !strings.HasSuffix(base, ":") {
		t.Errorf("Digest() = %q", base)
	}
	same := []string{b + a, "# note\n" + a + b, strings.Replace(a, "[1, 2]", "['2', '1', 1]", 1) + b, strings.Replace(a, "score", "trust_score", 1) + b}
	for _, text := range same {
		if got := mustParse(t, "other.yaml", text).Digest(); got != base {
			t.Errorf("the digest changed, the rules did not:\n%s", text)
		}
	}
	for _, text := range []string{a, b, strings.Replace(a, "warn", "deny", 1) + b, strings.Replace(a, "[1, 2]", "[1, 2, 3]", 1) + b,
		strings.Replace(a, "description: d", "description: e", 1) + b, strings.Replace(a, "name: a", "name: c", 1) + b} {
		if got := mustParse(t, "p.yaml", text).Digest(); got == base {
			t.Errorf("the rules changed, the digest did not:\n%s", text)
		}
	}
	var none *Set
	if none.Digest() != (&Set{}).Digest() || none.Digest() != mustParse(t, "p.yaml", "rules: []").Digest() || none.Digest() == base {
		t.Error("sets without rules of the operator must have the digest of the built-in rules")
	}
}

func TestRulesBelongToTheCaller(t *testing.T) {
	set := mustParse(t, "p.yaml", "- {name: a, action: warn, conditions: {score: [1, 2]}}")
	list := set.Rules()
	list[0].Conditions[0].Values[0] = "9"
	if got := set.Rules()[0].Conditions[0].Values[0]; got != "1" {
		t.Errorf("a change to what Rules returned shows in the set: %q", got)
	}
}
