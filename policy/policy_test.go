package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// manifest is an agent of which nothing bad can be said; each test changes what
// it is about.
func manifest(change func(*iatp.Manifest)) *iatp.Manifest {
	window := int64(3600)
	m := &iatp.Manifest{
		Identity:      iatp.Identity{AgentID: "bank", Owner: "Example Bank", URI: "https://bank.example"},
		TrustLevel:    iatp.VerifiedPartner,
		Capabilities:  iatp.Capabilities{Idempotency: true, SLALatencyMS: 2000},
		Reversibility: iatp.Reversibility{Level: iatp.ReversibilityFull, UndoWindowSeconds: &window},
		Privacy:       iatp.Privacy{RetentionPolicy: iatp.RetentionEphemeral, StorageLocation: "eu"},
		Scopes:        []string{"repo:read", "repo:write"},
	}
	if change != nil {
		change(m)
	}
	return m
}

// assessed is a manifest as the operator's own file, with a score.
func assessed(score int) trust.Assessment {
	return trust.Assessment{Declared: iatp.VerifiedPartner, Level: iatp.VerifiedPartner, Score: score, Evidence: trust.E6, Bonuses: true}
}

func TestZeroVerdictDenies(t *testing.T) {
	var v Verdict
	if v.Decision != Deny {
		t.Errorf("the zero Verdict decides %v, want deny", v.Decision)
	}
	if got := v.Denial(); got != "Policy: nothing allows this exchange" {
		t.Errorf("Denial of the zero Verdict = %q", got)
	}
	if w := v.Warning(); w != "" {
		t.Errorf("Warning of the zero Verdict = %q, want none: nobody may lift it", w)
	}
}

func TestNoManifestDenies(t *testing.T) {
	var s *Set
	v := s.Decide(Facts{Assessment: assessed(10)})
	if v.Decision != Deny || v.Slug != iatp.SlugPolicy || !slices.Equal(v.Codes(), []string{CodeNoManifest}) {
		t.Errorf("Decide without a manifest = %+v, want a denial", v)
	}
}

// TestSeedTable is the policy table of the protocol's first description.
func TestSeedTable(t *testing.T) {
	var s Set
	for score := range 11 {
		v := s.Decide(Facts{Manifest: manifest(nil), Assessment: assessed(score)})
		want := Ask
		if score >= 7 {
			want = Allow
		}
		if v.Decision != want {
			t.Errorf("score %d: %v, want %v", score, v.Decision, want)
		}
		if want == Ask && v.Warning() != fmt.Sprintf("⚠️ WARNING:\n  • Low trust score (%d/10)", score) {
			t.Errorf("score %d: warning %q", score, v.Warning())
		}
	}
}

func TestWarningOfTheSeed(t *testing.T) {
	v := (&Set{}).Decide(Facts{
		Manifest: manifest(func(m *iatp.Manifest) {
			m.TrustLevel = iatp.Untrusted
			m.Reversibility = iatp.Reversibility{Level: iatp.ReversibilityNone}
			m.Privacy.RetentionPolicy = iatp.RetentionPermanent
			m.Privacy.HumanInLoop = true
			m.Privacy.TrainingConsent = true
		}),
		Assessment: assessed(0),
	})
	const want = "⚠️ WARNING:\n  • Low trust score (0/10)\n  • No reversibility\n  • Data stored permanently\n" +
		"  • A person may read your data\n  • Your data may be used for training"
	if diff := cmp.Diff(want, v.Warning()); diff != "" {
		t.Errorf("warning (-want +got):\n%s", diff)
	}
	codes := []string{"human_review", "low_trust", "no_reversibility", "permanent_retention", "training_consent"}
	if diff := cmp.Diff(codes, v.Codes()); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
}

// TestDataBlocks goes through every retention at every evidence.
func TestDataBlocks(t *testing.T) {
	for _, retention := range []iatp.RetentionPolicy{"", iatp.RetentionEphemeral, iatp.RetentionTemporary, iatp.RetentionPermanent, iatp.RetentionForever, "garbled"} {
		for evidence := trust.E0; evidence <= trust.E6; evidence++ {
			long := retention.KeepsForever() || retention == "garbled"
			blocked := map[iatp.DataClass]bool{
				iatp.CreditCard: long || retention == "" && evidence == trust.E0,
				iatp.SSN:        retention != iatp.RetentionEphemeral || evidence < trust.E4,
				iatp.Email:      false,
			}
			for class, want := range blocked {
				f := Facts{
					Manifest:   manifest(func(m *iatp.Manifest) { m.Privacy.RetentionPolicy = retention }),
					Assessment: trust.Assessment{Score: 10, Evidence: evidence, Bonuses: true},
					Findings:   []Finding{{Kind: class}},
				}
				v := (*Set)(nil).Decide(f)
				if got := v.Decision == Deny; got != want {
					t.Errorf("%s to retention %q at %s: %v, want blocked %v", class, retention, evidence, v.Decision, want)
				}
				if want && (v.Slug != iatp.SlugPrivacyViolation || !strings.HasPrefix(v.Denial(), "Privacy Violation: Agent ")) {
					t.Errorf("%s to retention %q at %s: slug %q, denial %q", class, retention, evidence, v.Slug, v.Denial())
				}
			}
		}
	}
}

func TestDenialNamesEveryBlock(t *testing.T) {
	set := mustParse(t, "p.yaml", `
- name: NoPermanent
  description: Nothing goes to agents that keep it
  action: deny
  conditions: {retention: [permanent]}
- name: Noted
  action: warn
  conditions: {idempotency: [true]}
`)
	v := set.Decide(Facts{
		Manifest:   manifest(func(m *iatp.Manifest) { m.Privacy.RetentionPolicy = iatp.RetentionForever }),
		Assessment: assessed(9),
		Findings:   []Finding{{Kind: iatp.CreditCard}, {Kind: iatp.SSN}},
	})
	want := Verdict{Decision: Deny, Slug: iatp.SlugPrivacyViolation, Reasons: []Reason{
		{Code: CodePrivacyViolation, Rule: RuleCardPermanent, Action: ActionDeny, Text: "Agent stores data permanently, and the request holds a payment card"},
		{Code: CodePrivacyViolation, Rule: RuleSSNNotEphemeral, Action: ActionDeny, Text: "Agent stores data permanently, and the request holds a social security number"},
		{Code: "NoPermanent", Rule: "NoPermanent", Action: ActionDeny, Text: "Nothing goes to agents that keep it (rule NoPermanent)", File: "p.yaml", Line: 2},
		{Code: "Noted", Rule: "Noted", Action: ActionWarn, Text: "Rule Noted says warn", File: "p.yaml", Line: 6},
	}}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	const denial = "Privacy Violation: Agent stores data permanently, and the request holds a payment card; " +
		"Agent stores data permanently, and the request holds a social security number; " +
		"Nothing goes to agents that keep it (rule NoPermanent)"
	if v.Denial() != denial {
		t.Errorf("Denial() = %q, want %q", v.Denial(), denial)
	}
}

func TestRequirements(t *testing.T) {
	seconds := func(n int64) *int64 { return &n }
	type undo = iatp.Reversibility
	full := undo{Level: iatp.ReversibilityFull, UndoWindowSeconds: seconds(3600)}
	for _, c := range []struct {
		name      string
		undo      undo
		retention iatp.RetentionPolicy
		require   Requirements
		stranger  bool
		want      string // part of the one text, empty if the requirement is met
	}{
		{name: "nothing required"},
		{name: "none required", require: Requirements{Reversibility: iatp.ReversibilityNone}},
		{name: "partial, has none", require: Requirements{Reversibility: iatp.ReversibilityPartial}, undo: undo{Level: iatp.ReversibilityNone}, want: "cannot UNDO this"},
		{name: "partial, has nothing said", require: Requirements{Reversibility: iatp.ReversibilityPartial}, want: "cannot UNDO this"},
		{name: "partial, has partial", require: Requirements{Reversibility: iatp.ReversibilityPartial}, undo: undo{Level: iatp.ReversibilityPartial}},
		{name: "partial, has full", require: Requirements{Reversibility: iatp.ReversibilityPartial}, undo: full},
		{name: "full, has partial", require: Requirements{Reversibility: iatp.ReversibilityFull}, undo: undo{Level: iatp.ReversibilityPartial}, want: "UNDO this only in part"},
		{name: "full, has full", require: Requirements{Reversibility: iatp.ReversibilityFull}, undo: full},
		{name: "full, a stranger says so", require: Requirements{Reversibility: iatp.ReversibilityFull}, undo: full, stranger: true, want: "nothing backs the promise (evidence E0)"},
		{name: "a level that is none", require: Requirements{Reversibility: "total"}, undo: full, want: "no agent meets"},
		{name: "window exact", require: Requirements{UndoWindow: time.Hour}, undo: full},
		{name: "window a little short", require: Requirements{UndoWindow: time.Hour + 1}, undo: full, want: "for only 3600 s"},
		{name: "window without limit", require: Requirements{UndoWindow: 1<<63 - 1}, undo: undo{Level: iatp.ReversibilityFull, UndoWindowSeconds: seconds(0)}},
		{name: "window not promised", require: Requirements{UndoWindow: 1}, undo: undo{Level: iatp.ReversibilityFull}, want: "promises no time"},
		{name: "window without undo", require: Requirements{UndoWindow: 1}, undo: undo{Level: iatp.ReversibilityNone, UndoWindowSeconds: seconds(0)}, want: "promises no time"},
		{name: "window, a stranger says so", require: Requirements{UndoWindow: 1}, undo: full, stranger: true, want: "nothing backs"},
		{name: "temporary, has ephemeral", require: Requirements{Retention: iatp.RetentionTemporary}, retention: iatp.RetentionEphemeral},
		{name: "temporary, has temporary", require: Requirements{Retention: iatp.RetentionTemporary}, retention: iatp.RetentionTemporary},
		{name: "temporary, has forever", require: Requirements{Retention: iatp.RetentionTemporary}, retention: iatp.RetentionForever, want: `retention is "forever"`},
		{name: "temporary, has nothing said", require: Requirements{Retention: iatp.RetentionTemporary}, want: "does not say how long"},
		{name: "ephemeral, has temporary", require: Requirements{Retention: iatp.RetentionEphemeral}, retention: iatp.RetentionTemporary, want: "stores data for longer"},
		{name: "ephemeral, a stranger says so", require: Requirements{Retention: iatp.RetentionEphemeral}, retention: iatp.RetentionEphemeral, stranger: true, want: "nothing backs"},
		{name: "permanent is no requirement", require: Requirements{Retention: iatp.RetentionPermanent}},
		{name: "a retention that is none", require: Requirements{Retention: "brief"}, retention: iatp.RetentionEphemeral, want: "No agent meets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := assessed(10)
			if c.stranger {
				a.Evidence, a.Bonuses = trust.E0, false
			}
			m := manifest(func(m *iatp.Manifest) { m.Reversibility, m.Privacy.RetentionPolicy = c.undo, c.retention })
			v := (&Set{}).Decide(Facts{Manifest: m, Assessment: a, Require: c.require})
			var unmet []string
			for _, r := range v.Reasons {
				if r.Code == CodeRequirementUnmet {
					unmet = append(unmet, r.Text)
				}
			}
			switch {
			case c.want == "" && (v.Decision != Allow || len(unmet) > 0):
				t.Errorf("%v because of %q, want allow", v.Decision, unmet)
			case c.want != "" && (v.Decision != Ask || len(unmet) != 1 || !strings.Contains(unmet[0], c.want)):
				t.Errorf("%v because of %q, want to be asked about %q", v.Decision, unmet, c.want)
			}
		})
	}
}

func TestFactsAreListedAndDecideNothing(t *testing.T) {
	m := manifest(func(m *iatp.Manifest) {
		m.Reversibility = iatp.Reversibility{}
		m.Privacy = iatp.Privacy{RetentionPolicy: iatp.RetentionPermanent, HumanInLoop: true, TrainingConsent: true}
	})
	v := (&Set{}).Decide(Facts{Manifest: m, Assessment: assessed(7), Tainted: true})
	if v.Decision != Allow || v.Warning() != "" || v.Denial() != "" {
		t.Errorf("at score 7: %v, warning %q; want a silent allow", v.Decision, v.Warning())
	}
	want := []string{"human_review", "no_reversibility", "permanent_retention", "tainted_trace", "training_consent"}
	if diff := cmp.Diff(want, v.Codes()); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
}

func TestGrantOnly(t *testing.T) {
	for score, want := range []bool{true, true, true, false, false, false, false, false} {
		f := Facts{Manifest: manifest(nil), Assessment: assessed(score), CanGrant: true}
		if got := (&Set{}).Decide(f).GrantOnly; got != want {
			t.Errorf("score %d with approvers: GrantOnly %v, want %v", score, got, want)
		}
		f.CanGrant = false
		if (&Set{}).Decide(f).GrantOnly {
			t.Errorf("score %d without approvers: GrantOnly", score)
		}
	}
}

func TestTrustFindings(t *testing.T) {
	allowAll := mustParse(t, "p.yaml", `[{name: all, action: allow, conditions: {score: [">=0"]}}]`)
	for code, want := range map[string]Decision{trust.CodeRevoked: Deny, trust.CodeKeyChanged: Ask, trust.CodeClaimsRaised: Ask, trust.CodeLogForked: Ask, trust.CodeLevel: Allow} {
		a := assessed(2)
		a.Reasons = []trust.Reason{{Code: code, Text: "what was found"}}
		v := allowAll.Decide(Facts{Manifest: manifest(nil), Assessment: a})
		if v.Decision != want {
			t.Errorf("an assessment with %s: %v, want %v", code, v.Decision, want)
		}
		if want == Deny && v.Slug != iatp.SlugRevoked {
			t.Errorf("an assessment with %s: slug %q", code, v.Slug)
		}
	}
}

// mustParse is Parse for rules that the test knows to be good.
func mustParse(t testing.TB, name, text string) *Set {
	t.Helper()
	set, err := Parse(name, []byte(text))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return set
}

func TestDecideAllocatesNothingWhenAllIsWell(t *testing.T) {
	set := mustParse(t, "p.yaml", benchRules)
	f := Facts{Manifest: manifest(nil), Assessment: assessed(10)}
	if n := testing.AllocsPerRun(100, func() { set.Decide(f) }); n != 0 {
		t.Errorf("Decide allocates %v times", n)
	}
}

const benchRules = `
- {name: a, action: deny, conditions: {idempotency: [false]}}
- {name: b, action: deny, conditions: {data: [credit_card, ssn], score: ["<7"]}}
- {name: c, action: warn, conditions: {scopes: ["repo:write"], undo_window_seconds: ["<60"]}}
- {name: d, action: allow, conditions: {agent_id: [someone, somebody], evidence: [">=E2"]}}
- {name: e, action: deny, conditions: {retention: [permanent, unstated], data: [email]}}
`

func BenchmarkDecide(b *testing.B) {
	set := mustParse(b, "p.yaml", benchRules)
	honeypot := manifest(func(m *iatp.Manifest) {
		m.Reversibility = iatp.Reversibility{}
		m.Privacy = iatp.Privacy{RetentionPolicy: iatp.RetentionPermanent, HumanInLoop: true, TrainingConsent: true}
	})
	for _, c := range []struct {
		name string
		f    Facts
	}{
		{"allow", Facts{Manifest: manifest(nil), Assessment: assessed(10)}},
		{"ask", Facts{Manifest: honeypot, Assessment: assessed(0)}},
		{"deny", Facts{Manifest: honeypot, Assessment: assessed(0), Findings: []Finding{{Kind: iatp.CreditCard}}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Decide(c.f)
			}
		})
	}
}
