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

func mustRules(t testing.TB, o DataOptions) *Set {
	t.Helper()
	d, faults := NewDataRules(o)
	if len(faults) > 0 {
		t.Fatalf("NewDataRules(%+v): %v", o, faults)
	}
	return (*Set)(nil).With(d)
}

// TestTreat goes through the conditions of data rules, each with what it must
// hold for and what it must not.
func TestTreat(t *testing.T) {
	to := func(retention iatp.RetentionPolicy, level iatp.TrustLevel) *Passage {
		return &Passage{Call: "out", Peer: "air", Level: level, Evidence: trust.E2,
			Manifest: manifest(func(m *iatp.Manifest) { m.Privacy.RetentionPolicy = retention })}
	}
	trusted, keeper := to(iatp.RetentionEphemeral, iatp.Trusted), to(iatp.RetentionForever, iatp.Unknown)
	liar := to(iatp.RetentionEphemeral, iatp.Trusted)
	liar.Evidence = trust.E1
	answer := &Passage{Response: true, Call: "in"}
	card, mail, nowhere := Finding{iatp.CreditCard, "/pay/card"}, Finding{iatp.Email, "/guests/3/email"}, Finding{Kind: iatp.Email}
	for _, c := range []struct {
		rules string
		p     *Passage
		f     Finding
		want  Treatment
	}{
		{"", trusted, card, Record},
		{"", trusted, Finding{"api_key", "/a"}, AskFor},
		{"", &Passage{Call: "in"}, Finding{"api_key", "/a"}, Record},
		{"", answer, Finding{"api_key", "/a"}, Record},
		{"kinds=payment action=mask", trusted, card, Mask},
		{"kinds=payment action=mask", trusted, mail, Record},
		{"kinds=any action=block", trusted, mail, Block},
		{"action=redact", answer, mail, Redact},
		{"direction=request action=redact", answer, mail, Record},
		{"direction=response action=redact", trusted, mail, Record},
		{"action=ask", answer, mail, Record}, // an answer is not asked about
		{"calls=in action=redact", trusted, mail, Record},
		{"calls=in,out action=redact", trusted, mail, Redact},
		{"peers=rail action=redact", trusted, mail, Record},
		{"peers=rail,air action=redact", trusted, mail, Redact},
		{"retention=permanent,unstated action=block", keeper, mail, Block},
		{"retention=permanent,unstated action=block", trusted, mail, Record},
		{"retention=permanent,unstated action=block", liar, mail, Block},
		{"retention=ephemeral action=record; action=block", liar, mail, Block},
		{"retention=>=temporary action=block", answer, mail, Block}, // nothing is known of the receiver
		{"level=<trusted action=block", keeper, mail, Block},
		{"level=<trusted action=block", trusted, mail, Record},
		{"fields=/guests action=redact", trusted, mail, Redact},
		{"fields=/guests/*/email action=redact", trusted, mail, Redact},
		{"fields=/guests/*/phone action=redact", trusted, mail, Record},
		{"fields=/guest action=redact", trusted, mail, Record},
		// The first that holds decides.
		{"kinds=email fields=/guests action=record; kinds=any action=block", trusted, mail, Record},
		{"kinds=any action=mask; kinds=email action=block", trusted, mail, Mask},
		// A place that is not known may be any.
		{"fields=/guests action=record; action=block", trusted, nowhere, Block},
		{"fields=/guests action=redact; action=record", trusted, nowhere, Redact},
		{"fields=/a action=mask; fields=/b action=block; action=redact", trusted, nowhere, Block},
	} {
		o := optionsOf(c.rules)
		if got := mustRules(t, o).Treat(c.p, c.f); got != c.want {
			t.Errorf("{%s} on %+v: %v, want %v", c.rules, c.f, got, c.want)
		}
	}
}

// optionsOf reads rules as the tables here write them.
func optionsOf(text string) (o DataOptions) {
	for one := range strings.SplitSeq(text, "; ") {
		var r DataRule
		for word := range strings.FieldsSeq(one) {
			key, value, _ := strings.Cut(word, "=")
			list := strings.Split(value, ",")
			switch key {
			case "kinds":
				r.Kinds = list
			case "fields":
				r.Fields = list
			case "direction":
				r.Direction = value
			case "calls":
				r.Calls = list
			case "peers":
				r.Peers = list
			case "retention":
				r.Retention = list
			case "level":
				r.Level = list
			case "action":
				r.Action = value
			}
		}
		if r.Action != "" {
			o.Rules = append(o.Rules, r)
		}
	}
	return o
}

func TestDataFaults(t *testing.T) {
	own := []iatp.DataClass{"employee_id"}
	for _, c := range []struct {
		o    DataOptions
		want string
	}{
		{DataOptions{Request: "drop"}, `request: want one of block, ask, redact, mask, record, got "drop"`},
		{DataOptions{Response: "ask"}, `response: want one of block, redact, mask, record, got "ask"`},
		{DataOptions{Opaque: "redact"}, `opaque: want one of block, ask, record, got "redact"`},
		{optionsOf("kinds=email,cards action=block"), `rules[0].kinds[1]: there is no kind of data "cards"`},
		{optionsOf("kinds=employe_id action=block"), `rules[0].kinds[0]: there is no kind of data "employe_id"; did you mean employee_id?`},
		{optionsOf("action=mask; fields=guest action=block"), `rules[1].fields[0]: want a JSON pointer such as /payment/card`},
		{optionsOf("direction=both action=block"), `rules[0].direction: want request, response, got "both"`},
		{optionsOf("calls=inbound action=block"), `rules[0].calls: want local, out, in, got "inbound"`},
		{optionsOf("peers=air action=block"), `rules[0].peers: want rail, got "air"`},
		{optionsOf("retention=short action=block"), `rules[0].retention[0]: want one of ephemeral, temporary, permanent, unstated, got "short"`},
		{optionsOf("level=gold action=block"), `rules[0].level[0]: want one of untrusted,`},
		{optionsOf("direction=response action=ask"), `rules[0].action: an answer cannot be asked about`},
		{DataOptions{Rules: []DataRule{{Kinds: []string{}, Action: "record"}}}, `rules[0].kinds: names none: leave it out if any will do`},
		{DataOptions{Rules: []DataRule{{Level: []string{}, Action: "record"}}}, `rules[0].level: names none`},
		{DataOptions{Rules: []DataRule{{}}}, `rules[0].action: want one of block, ask, redact, mask, record, got ""`},
		{DataOptions{Rules: make([]DataRule, 300)}, `rules: 300 rules are more than 256`},
	} {
		c.o.Kinds, c.o.Peers = own, []string{"rail"}
		d, faults := NewDataRules(c.o)
		if d != nil || len(faults) == 0 || !strings.HasPrefix(faults[0].Error(), c.want) {
			t.Errorf("NewDataRules(%+v) = %v, %v, want %s", c.o, d, faults, c.want)
		}
	}
}

// TestDataInAVerdict: what becomes of findings is decided, and said with kinds and
// places.
func TestDataInAVerdict(t *testing.T) {
	set := mustRules(t, optionsOf("kinds=secrets action=block; kinds=phone action=ask; kinds=email action=redact; kinds=iban action=mask"))
	f := Facts{Manifest: manifest(nil), Assessment: assessed(10), Call: "local"}
	for _, c := range []struct {
		found []Finding
		want  Verdict
	}{
		{nil, Verdict{Decision: Allow}},
		{[]Finding{{iatp.SSN, "/a"}}, Verdict{Decision: Allow}},
		{[]Finding{{iatp.Email, "/a"}, {iatp.Email, "/b"}, {iatp.Email, "/c"}, {iatp.Email, "/d"}, {"iban", ""}}, Verdict{Decision: Allow, Redact: true, Reasons: []Reason{
			{Code: CodeDataRedacted, Rule: "privacy.rules[2]", Text: "Taken out of the request: email at /a, /b, /c and 1 more places"},
			{Code: CodeDataRedacted, Rule: "privacy.rules[3]", Text: "Masked in the request: iban"},
		}}},
		{[]Finding{{"phone", "/x"}}, Verdict{Decision: Ask, Reasons: []Reason{
			{Code: CodeSensitiveData, Action: ActionWarn, Rule: "privacy.rules[1]", Text: "The request holds phone at /x"},
		}}},
		{[]Finding{{"api_key", "/k"}, {"password", "/p"}}, Verdict{Slug: iatp.SlugPrivacyViolation, Reasons: []Reason{
			{Code: CodePrivacyViolation, Action: ActionDeny, Rule: "privacy.rules[0]", Text: "The request holds api_key at /k, password at /p"},
		}}},
	} {
		f.Findings = c.found
		if diff := cmp.Diff(c.want, set.Decide(f)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.found, diff)
		}
	}
	f.Findings, f.Opaque = nil, true
	for text, want := range map[string]Decision{"": Allow, "record": Allow, "ask": Ask, "block": Deny} {
		if got := mustRules(t, DataOptions{Opaque: text}).Decide(f).Decision; got != want {
			t.Errorf("opaque: %s: %v, want %v", text, got, want)
		}
	}
}

func TestDigestNamesDataRules(t *testing.T) {
	plain := (*Set)(nil).Digest()
	a, b := mustRules(t, optionsOf("kinds=email action=mask")).Digest(), mustRules(t, optionsOf("kinds=email action=redact")).Digest()
	if a == plain || a == b {
		t.Errorf("digests do not tell data rules apart: %s, %s, %s", plain, a, b)
	}
}

// TestLawDataRulesNeverLiftABlock: whatever data rules say, the built-in data
// blocks and every stricter decision stay.
func TestLawDataRulesNeverLiftABlock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFacts(t)
		f.Call = rapid.SampledFrom([]string{"local", "out", "in"}).Draw(t, "call")
		var o DataOptions
		for range rapid.IntRange(0, 4).Draw(t, "rules") {
			o.Rules = append(o.Rules, DataRule{
				Kinds:  []string{rapid.SampledFrom([]string{"any", "payment", "email", "identity"}).Draw(t, "kind")},
				Action: rapid.SampledFrom(treatments).Draw(t, "action"),
			})
		}
		o.Request = rapid.SampledFrom(append(slices.Clone(treatments), "default")).Draw(t, "request")
		d, faults := NewDataRules(o)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		before, after := (*Set)(nil).Decide(f), (*Set)(nil).With(d).Decide(f)
		if after.Decision > before.Decision {
			t.Errorf("%+v turns %v into %v", o, before.Decision, after.Decision)
		}
	})
}

// FuzzPlace: no text of a rule stops the parser, and a place covers what is
// below it.
func FuzzPlace(f *testing.F) {
	for _, s := range []string{"/a", "/a/*/b", "/", "a", "/~0~1", "/~2", "//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pointer string) {
		at, err := parsePlace(pointer)
		if err != nil {
			return
		}
		if !under(pointer, at) || !under(pointer+"/more", at) || under(pointer[:strings.LastIndexByte(pointer, '/')], at) {
			t.Errorf("%q as %q does not cover itself, or more than itself", pointer, fmt.Sprint(at))
		}
	})
}
