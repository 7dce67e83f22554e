package trust

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp"
)

// operator is the evidence for the operator's own file.
var operator = []Claim{{Evidence: E6, Ceiling: iatp.VerifiedPartner}}

func manifest(level iatp.TrustLevel, rev iatp.ReversibilityLevel, keeps iatp.RetentionPolicy, human, training bool) *iatp.Manifest {
	m := &iatp.Manifest{TrustLevel: level}
	m.Reversibility.Level = rev
	m.Privacy = iatp.Privacy{RetentionPolicy: keeps, HumanInLoop: human, TrainingConsent: training}
	return m
}

var (
	levels     = []iatp.TrustLevel{iatp.VerifiedPartner, iatp.Trusted, iatp.Standard, iatp.Unknown, iatp.Untrusted}
	reversible = []iatp.ReversibilityLevel{iatp.ReversibilityNone, iatp.ReversibilityPartial, iatp.ReversibilityFull}
	retentions = []iatp.RetentionPolicy{iatp.RetentionEphemeral, iatp.RetentionTemporary, iatp.RetentionPermanent}
	booleans   = []bool{false, true}
)

// The seed's formula over everything that it distinguishes: 5 levels, 3 degrees of
// reversibility, 3 of retention, people or not, training or not: 5·3·3·2·2 = 180.
// The points are written out again here, so that the table stands twice.
func TestSeedFormula(t *testing.T) {
	base := map[iatp.TrustLevel]int{iatp.VerifiedPartner: 10, iatp.Trusted: 7, iatp.Standard: 5, iatp.Unknown: 2, iatp.Untrusted: 0}
	n := 0
	for _, level := range levels {
		for _, rev := range reversible {
			for _, keeps := range retentions {
				for _, human := range booleans {
					for _, training := range booleans {
						n++
						want := base[level]
						if rev != "none" {
							want += 2
						}
						switch keeps {
						case "ephemeral":
							want++
						case "permanent":
							want--
						}
						if human {
							want -= 2
						}
						if training {
							want--
						}
						want = max(0, min(10, want))
						got := Assess(Input{Manifest: manifest(level, rev, keeps, human, training), Claims: operator})
						if got.Score != want || got.Level != level || got.Declared != level || got.Evidence != E6 || !got.Bonuses {
							t.Errorf("%v, %v, %v, human %v, training %v: %+v, want score %d", level, rev, keeps, human, training, got, want)
						}
					}
				}
			}
		}
	}
	if n != 180 {
		t.Errorf("the table has %d rows, want 180", n)
	}
}

// Scores that the documents promise, and the words that go with them.
func TestAssess(t *testing.T) {
	honeypot := manifest(iatp.Untrusted, iatp.ReversibilityNone, iatp.RetentionPermanent, true, true)
	bank := manifest(iatp.VerifiedPartner, iatp.ReversibilityFull, iatp.RetentionEphemeral, false, false)
	signed := []Claim{{Evidence: E1}}
	pinned := []Claim{{Evidence: E1}, {Evidence: E2, Ceiling: iatp.VerifiedPartner}}
	reputation := func(r float64) Negatives { return Negatives{Reputation: &r} }
	for _, c := range []struct {
		name  string
		in    Input
		level iatp.TrustLevel
		score int
		ev    Evidence
		codes []string
	}{
		{"honeypot", Input{Manifest: honeypot, Claims: operator}, iatp.Untrusted, 0, E6,
			[]string{"level", "permanent_retention", "human_in_loop", "training_consent", "limit"}},
		{"bank", Input{Manifest: bank, Claims: operator}, iatp.VerifiedPartner, 10, E6, []string{"level", "reversibility", "ephemeral", "limit"}},
		{"bank, no evidence", Input{Manifest: bank}, iatp.Unknown, 2, E0, []string{"level", "level_capped", "reversibility_unproven", "ephemeral_unproven"}},
		{"bank, signed", Input{Manifest: bank, Claims: signed}, iatp.Unknown, 5, E1, []string{"level", "level_capped", "reversibility", "ephemeral"}},
		{"bank, pinned", Input{Manifest: bank, Claims: pinned}, iatp.Standard, 8, E2, []string{"level", "level_capped", "reversibility", "ephemeral"}},
		{"bank, own trust domain", Input{Manifest: bank, Claims: []Claim{{E3, iatp.VerifiedPartner}}}, iatp.Trusted, 10, E3, []string{"level", "level_capped", "reversibility", "ephemeral"}},
		{"bank, federation", Input{Manifest: bank, Claims: []Claim{{E4, iatp.Trusted}}}, iatp.Trusted, 10, E4, []string{"level", "level_capped", "reversibility", "ephemeral"}},
		{"bank, endorsed", Input{Manifest: bank, Claims: []Claim{{E5, iatp.VerifiedPartner}}}, iatp.VerifiedPartner, 10, E5, []string{"level", "reversibility", "ephemeral", "limit"}},
		{"bank, endorsed by nobody much", Input{Manifest: bank, Claims: []Claim{{Evidence: E5}}}, iatp.Unknown, 3, E5, []string{"level", "level_capped", "reversibility", "ephemeral"}},
		{"no manifest", Input{}, iatp.Unknown, 2, E0, []string{"no_manifest", "level"}},
		{"no manifest, pinned", Input{Claims: pinned}, iatp.Unknown, 2, E2, []string{"no_manifest", "level"}},
		{"revoked", Input{Manifest: bank, Claims: operator, Negatives: Negatives{Revoked: true}}, iatp.Untrusted, 0, E0,
			[]string{"revoked", "level", "reversibility_unproven", "ephemeral_unproven"}},
		{"key changed", Input{Manifest: bank, Claims: pinned, Negatives: Negatives{KeyChanged: true}}, iatp.Unknown, 2, E0,
			[]string{"key_changed", "level", "level_capped", "reversibility_unproven", "ephemeral_unproven"}},
		{"log forked", Input{Manifest: bank, Claims: operator, Negatives: Negatives{LogForked: true}}, iatp.Untrusted, 0, E0,
			[]string{"log_forked", "level", "reversibility_unproven", "ephemeral_unproven"}},
		{"no attestation", Input{Manifest: bank, Claims: operator, Negatives: Negatives{AttestationMissing: true}}, iatp.Unknown, 5, E6,
			[]string{"attestation_missing", "level", "reversibility", "ephemeral"}},
		{"reputation 5", Input{Manifest: bank, Claims: operator, Negatives: reputation(5)}, iatp.VerifiedPartner, 10, E6, []string{"level", "reversibility", "ephemeral", "limit"}},
		{"reputation 4.99", Input{Manifest: bank, Claims: operator, Negatives: reputation(4.99)}, iatp.Standard, 8, E6, []string{"low_reputation", "level", "reversibility", "ephemeral"}},
		{"reputation 3.99", Input{Manifest: bank, Claims: operator, Negatives: reputation(3.99)}, iatp.Unknown, 5, E6, []string{"low_reputation", "level", "reversibility", "ephemeral"}},
		{"reputation 1.99", Input{Manifest: bank, Claims: operator, Negatives: reputation(1.99)}, iatp.Untrusted, 3, E6, []string{"low_reputation", "level", "reversibility", "ephemeral"}},
		{"reputation not a number", Input{Manifest: bank, Claims: operator, Negatives: reputation(math.NaN())}, iatp.Untrusted, 3, E6, []string{"low_reputation", "level", "reversibility", "ephemeral"}},
		{"forever is permanent", Input{Manifest: manifest(iatp.Trusted, "", iatp.RetentionForever, false, false), Claims: operator}, iatp.Trusted, 6, E6, []string{"level", "permanent_retention"}},
		{"silence is no bonus and no penalty", Input{Manifest: manifest(iatp.Standard, "", "", false, false), Claims: operator}, iatp.Standard, 5, E6, []string{"level"}},
		{"no such level", Input{Manifest: manifest(99, "", "", false, false), Claims: []Claim{{Evidence: 99, Ceiling: 99}}}, iatp.Untrusted, 0, E6, []string{"level"}},
	} {
		got := Assess(c.in)
		if got.Level != c.level || got.Score != c.score || got.Evidence != c.ev {
			t.Errorf("%s: level %v, score %d, evidence %v; want %v, %d, %v", c.name, got.Level, got.Score, got.Evidence, c.level, c.score, c.ev)
		}
		var codes []string
		for _, r := range got.Reasons {
			codes = append(codes, r.Code)
		}
		if diff := cmp.Diff(c.codes, codes); diff != "" {
			t.Errorf("%s: codes (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestReasonsAreReadable(t *testing.T) {
	got := Assess(Input{Manifest: manifest(iatp.VerifiedPartner, iatp.ReversibilityFull, iatp.RetentionPermanent, true, true)})
	want := []Reason{
		{CodeLevel, 2, "trust level unknown"},
		{CodeLevelCapped, 0, "declares verified_partner, believed as unknown: an unsigned claim supports no more"},
		{CodeReversibilityUnproven, 0, "says that it can undo (full), not counted: an unsigned claim"},
		{CodePermanentRetention, -1, "keeps data for ever (permanent)"},
		{CodeHumanInLoop, -2, "people may read what it is sent"},
		{CodeTrainingConsent, -1, "what it is sent may train models"},
		{CodeLimit, 2, "a score ends at 0 and at 10"},
	}
	if diff := cmp.Diff(want, got.Reasons); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

// With a pin or a workload identity a peer cannot promise its way up after the
// first contact.
func TestFirstContact(t *testing.T) {
	m := manifest(iatp.Trusted, iatp.ReversibilityFull, iatp.RetentionEphemeral, false, false)
	for _, c := range []struct {
		evidence Evidence
		first    Promises
		score    int
		raised   bool
	}{
		{E2, Promises{iatp.ReversibilityFull, iatp.RetentionEphemeral}, 8, false},
		{E2, Promises{iatp.ReversibilityPartial, iatp.RetentionEphemeral}, 8, true},
		{E2, Promises{iatp.ReversibilityNone, iatp.RetentionEphemeral}, 6, true},
		{E2, Promises{iatp.ReversibilityFull, iatp.RetentionTemporary}, 7, true},
		{E2, Promises{}, 5, true},
		{E3, Promises{}, 7, true},
		{E4, Promises{}, 10, false},
	} {
		got := Assess(Input{Manifest: m, Claims: []Claim{{c.evidence, iatp.VerifiedPartner}}, FirstContact: &c.first})
		raised := false
		for _, r := range got.Reasons {
			raised = raised || r.Code == CodeClaimsRaised
		}
		if got.Score != c.score || raised != c.raised {
			t.Errorf("%v, first %+v: score %d, raised %v; want %d, %v", c.evidence, c.first, got.Score, raised, c.score, c.raised)
		}
	}
}

func TestRetentionVouched(t *testing.T) {
	for e := E0; e <= E6; e++ {
		a := Assess(Input{Manifest: manifest(iatp.Trusted, "", iatp.RetentionEphemeral, false, false), Claims: []Claim{{e, iatp.Trusted}}})
		if got, want := a.RetentionVouched(), e >= E4; got != want {
			t.Errorf("%v: RetentionVouched() = %v, want %v", e, got, want)
		}
	}
}

func drawManifest(t *rapid.T, label string) *iatp.Manifest {
	return manifest(
		rapid.SampledFrom(levels).Draw(t, label+" level"),
		rapid.SampledFrom(append(reversible, "")).Draw(t, label+" reversibility"),
		rapid.SampledFrom(append(retentions, iatp.RetentionForever, "")).Draw(t, label+" retention"),
		rapid.Bool().Draw(t, label+" human"),
		rapid.Bool().Draw(t, label+" training"))
}

func drawClaim(t *rapid.T, upTo Evidence) Claim {
	return Claim{
		Evidence: Evidence(rapid.IntRange(0, int(upTo)).Draw(t, "evidence")),
		Ceiling:  rapid.SampledFrom(levels).Draw(t, "ceiling"),
	}
}

func drawInput(t *rapid.T) Input {
	in := Input{Claims: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Claim { return drawClaim(t, E6) }), 0, 4).Draw(t, "claims")}
	if rapid.IntRange(0, 9).Draw(t, "manifest there") > 0 {
		in.Manifest = drawManifest(t, "manifest")
	}
	if rapid.Bool().Draw(t, "known") {
		m := drawManifest(t, "first contact")
		in.FirstContact = &Promises{m.Reversibility.Level, m.Privacy.RetentionPolicy}
	}
	in.Negatives = drawNegatives(t)
	return in
}

func drawNegatives(t *rapid.T) Negatives {
	n := Negatives{
		Revoked:            rapid.IntRange(0, 4).Draw(t, "revoked") == 0,
		AttestationMissing: rapid.IntRange(0, 4).Draw(t, "attestation missing") == 0,
		KeyChanged:         rapid.IntRange(0, 4).Draw(t, "key changed") == 0,
		LogForked:          rapid.IntRange(0, 4).Draw(t, "log forked") == 0,
	}
	if rapid.Bool().Draw(t, "reputation known") {
		r := rapid.Float64Range(0, 10).Draw(t, "reputation")
		n.Reputation = &r
	}
	return n
}

// The points of the reasons are the score, and the score is in range.
func TestReasonsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Assess(drawInput(t))
		sum := 0
		for _, r := range a.Reasons {
			sum += r.Points
			if r.Code == "" || r.Text == "" {
				t.Errorf("empty reason in %+v", a)
			}
		}
		if sum != a.Score || a.Score < MinScore || a.Score > MaxScore || a.Level > a.Declared {
			t.Errorf("%+v: points add up to %d", a, sum)
		}
	})
}

func TestMoreEvidenceNeverLowers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		before := Assess(in)
		in.Claims = append(in.Claims, drawClaim(t, E6))
		after := Assess(in)
		if after.Score < before.Score || after.Level < before.Level || after.Evidence < before.Evidence {
			t.Errorf("with one more claim %+v becomes %+v", before, after)
		}
	})
}

func TestANegativeNeverRaises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		before := Assess(in)
		worse := drawNegatives(t)
		in.Negatives.Revoked = in.Negatives.Revoked || worse.Revoked
		in.Negatives.AttestationMissing = in.Negatives.AttestationMissing || worse.AttestationMissing
		in.Negatives.KeyChanged = in.Negatives.KeyChanged || worse.KeyChanged
		in.Negatives.LogForked = in.Negatives.LogForked || worse.LogForked
		if old := in.Negatives.Reputation; old == nil || worse.Reputation != nil && *worse.Reputation < *old {
			in.Negatives.Reputation = worse.Reputation
		}
		after := Assess(in)
		if after.Score > before.Score || after.Level > before.Level || after.Evidence > before.Evidence {
			t.Errorf("with more against it %+v becomes %+v", before, after)
		}
	})
}

// Whatever an agent writes into its manifest, and whatever it signs with its own
// key, does not bring it to 7, from where calls go through unasked.
func TestNobodyTrustsHimselfUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Claims = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Claim { return drawClaim(t, E1) }), 0, 4).Draw(t, "own claims")
		if a := Assess(in); a.Score >= 7 || a.Level > iatp.Unknown || a.RetentionVouched() {
			t.Errorf("an agent by itself gets %+v", a)
		}
	})
}

// Declaring more never helps beyond what the evidence supports.
func TestDeclarationOnlyLowers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		if in.Manifest == nil {
			in.Manifest = drawManifest(t, "a manifest")
		}
		most := *in.Manifest
		most.TrustLevel = iatp.VerifiedPartner
		best := in
		best.Manifest = &most
		if a, b := Assess(in), Assess(best); a.Score > b.Score || a.Level > b.Level {
			t.Errorf("declaring %v gives %+v, verified_partner %+v", in.Manifest.TrustLevel, a, b)
		}
	})
}

// Assess does not touch what it is given.
func TestAssessIsPure(t *testing.T) {
	claims := make([]Claim, 1, 8)
	claims[0] = Claim{E1, iatp.Trusted}
	in := Input{Manifest: manifest(iatp.Trusted, iatp.ReversibilityFull, "", false, false), Claims: claims, Negatives: Negatives{KeyChanged: true}}
	first := Assess(in)
	if diff := cmp.Diff(first, Assess(in)); diff != "" || claims[0] != (Claim{E1, iatp.Trusted}) {
		t.Errorf("a second assessment differs (-first +second):\n%s", diff)
	}
}

func BenchmarkAssess(b *testing.B) {
	m := manifest(iatp.VerifiedPartner, iatp.ReversibilityFull, iatp.RetentionEphemeral, false, false)
	b.ReportAllocs()
	for b.Loop() {
		Assess(Input{Manifest: m, Claims: operator})
	}
}

// An authority that says nothing about retention does not unlock what hangs on
// it (hardening 4).
func TestRetentionMustBeNamed(t *testing.T) {
	in := Input{Claims: []Claim{{Evidence: E5, Ceiling: iatp.VerifiedPartner}}}
	if !Assess(in).RetentionVouched() {
		t.Error("an endorsement that names the retention does not vouch for it")
	}
	in.RetentionUnnamed = true
	if Assess(in).RetentionVouched() {
		t.Error("an endorsement that names no retention vouches for it")
	}
}
