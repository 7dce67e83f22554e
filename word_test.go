package iatp

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTrustLevel(t *testing.T) {
	last := -1
	for _, name := range []string{"untrusted", "unknown", "standard", "trusted", "verified_partner"} {
		level, err := ParseTrustLevel(name)
		if err != nil || level.String() != name || int(level) != last+1 {
			t.Errorf("ParseTrustLevel(%q) = %d %v, %v", name, level, level, err)
		}
		last = int(level)
	}
	for _, name := range []string{"", "Trusted", "gold", "trusted "} {
		if level, err := ParseTrustLevel(name); err == nil || level != Untrusted {
			t.Errorf("ParseTrustLevel(%q) = %v, %v, want untrusted and an error", name, level, err)
		}
	}
	if text, err := TrustLevel(9).MarshalText(); err == nil {
		t.Errorf("MarshalText of no level = %q", text)
	}
	var v struct{ Level TrustLevel }
	if err := json.Unmarshal([]byte(`{"Level":"trusted"}`), &v); err != nil || v.Level != Trusted {
		t.Errorf("unmarshal: %v, %v", v, err)
	}
	if out, err := json.Marshal(v); err != nil || string(out) != `{"Level":"trusted"}` {
		t.Errorf("marshal: %s, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"Level":"gold"}`), &v); err == nil || v.Level != Trusted {
		t.Errorf("unmarshal of no level: %v, %v", v, err)
	}
}

func TestEnumErrorsNameTheChoices(t *testing.T) {
	_, err := ParseReversibilityLevel("total\x1b[31m")
	if want := `reversibility level must be one of none, partial, full, got "total\x1b[31m"`; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
	if p, err := ParseRetentionPolicy("forever"); p != RetentionForever || err != nil {
		t.Errorf("ParseRetentionPolicy(forever) = %v, %v", p, err)
	}
	if p, err := ParseRetentionPolicy(""); err == nil {
		t.Errorf("ParseRetentionPolicy of nothing = %q, want an error", p)
	}
}

func TestReversibilityOrder(t *testing.T) {
	order := []ReversibilityLevel{"", ReversibilityNone, ReversibilityPartial, ReversibilityFull}
	for i, l := range order {
		for j, want := range order {
			wanted := max(i, 1) >= max(j, 1) // absence counts as none
			if got := l.AtLeast(want); got != wanted {
				t.Errorf("%q.AtLeast(%q) = %v", l, want, got)
			}
		}
		if got := l.Undoes(); got != (i >= 2) {
			t.Errorf("%q.Undoes() = %v", l, got)
		}
	}
	if !RetentionForever.KeepsForever() || !RetentionPermanent.KeepsForever() || RetentionTemporary.KeepsForever() || RetentionPolicy("").KeepsForever() {
		t.Error("KeepsForever holds for permanent and forever only")
	}
}

func TestTraceID(t *testing.T) {
	for s, ok := range map[string]bool{
		"abc-123": true, "e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e9f": true, "A.b_c-9": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "../../etc/x": false, "a b": false, "a\n": false, "é": false, "a/b": false, "a%2e": false, "a\x00": false,
	} {
		id, err := ParseTraceID(s)
		if (err == nil) != ok || ok && string(id) != s || !ok && id != "" {
			t.Errorf("ParseTraceID(%q) = %q, %v, want ok = %v", s, id, err, ok)
		}
	}
}

func TestTraceIDBits(t *testing.T) {
	bits := [16]byte{0xe4, 0xb5, 0xc6, 0xd7, 0x8a, 0x9b, 0x0c, 0x1d, 0x2e, 0x3f, 0x4a, 0x5b, 0x6c, 0x7d, 0x8e, 0x9f}
	for _, s := range []TraceID{"e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e9f", "e4b5c6d78a9b0c1d2e3f4a5b6c7d8e9f", "E4B5C6D78A9B0C1D2E3F4A5B6C7D8E9F"} {
		if got, ok := s.Bits(); !ok || got != bits {
			t.Errorf("%s.Bits() = %x, %v", s, got, ok)
		}
	}
	for _, s := range []TraceID{"", "abc-123", "e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e9", "e4b5c6d7x8a9b-0c1d-2e3f-4a5b6c7d8e9f",
		"e4b5c6d78a9b-0c1d-2e3f-4a5b6c7d8e9f", "g4b5c6d78a9b0c1d2e3f4a5b6c7d8e9f", "e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e-f"} {
		if got, ok := s.Bits(); ok || got != [16]byte{} {
			t.Errorf("%s.Bits() = %x, %v, want no bits", s, got, ok)
		}
	}
	id := NewTraceID(bits)
	if id != "e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f" {
		t.Errorf("NewTraceID = %s, want version 4 and variant 10", id)
	}
	back, ok := id.Bits()
	if p := (TraceParent{TraceID: back}); !ok || p.ID() != id {
		t.Errorf("%s becomes %s", id, p.ID())
	}
}

func TestTraceParent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	p, err := ParseTraceParent(good)
	if err != nil || p.String() != good || p.Flags&Sampled == 0 {
		t.Errorf("ParseTraceParent(%s) = %s, %v", good, p, err)
	}
	later := "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings"
	if q, err := ParseTraceParent(later); err != nil || q != p {
		t.Errorf("ParseTraceParent(%s) = %s, %v", later, q, err)
	}
	for _, s := range []string{
		"", "00", good[:54], good + "-", good + "x", strings.ToUpper(good), "ff" + good[2:],
		"00-00000000000000000000000000000000-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
		"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
	} {
		if p, err := ParseTraceParent(s); err == nil || p != (TraceParent{}) {
			t.Errorf("ParseTraceParent(%q) = %s, %v, want an error", s, p, err)
		}
	}
}

func FuzzParseTraceParent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseTraceParent(s)
		if err != nil {
			return
		}
		if s[:2] == "00" && p.String() != s || p.String()[2:] != s[2:55] {
			t.Errorf("ParseTraceParent(%q) = %s", s, p)
		}
	})
}

func TestPrintable(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""}, {"plain text, é 日本 😀", "plain text, é 日本 😀"},
		{"a\nb\tc\x00", `a\nb\tc\x00`},
		{"\x1b[31mred\x1b[0m\u009b2J", `\x1b[31mred\x1b[0m\u009b2J`},
		{"evil\u202etxt.exe\u2066", `evil\u202etxt.exe\u2066`},
		{"zero\u200bwidth\ufeff\u2060\u00ad", `zero\u200bwidth\ufeff\u2060\u00ad`},
		{"no\u00a0break\u2028line", `no\u00a0break\u2028line`},
		{"bad\xff\xc3utf8", `bad\xff\xc3utf8`},
		{"replaced\ufffd", `replaced\ufffd`},
		{`back\slash`, `back\\slash`},
		{"filler\u3164\uffa0\u2800\u034f", `filler\u3164\uffa0\u2800\u034f`},
		{"variant\ufe0f\U000e0100", `variant\ufe0f\U000e0100`},
		{"tag\U000e0041", `tag\U000e0041`},
	} {
		if got := Printable(c.in); got != c.want {
			t.Errorf("Printable(%q) = %s, want %s", c.in, got, c.want)
		}
	}
}

// Different texts stay different, and a second pass finds nothing but the
// backslashes of the first.
func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[2J\\ \u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Printable(s)
		for _, r := range got {
			if r != '\\' && escaped(r) {
				t.Errorf("Printable(%q) = %q, which holds %U", s, got, r)
			}
		}
		if (got == s) != !strings.ContainsFunc(s, escaped) {
			t.Errorf("Printable(%q) = %q", s, got)
		}
	})
}

func TestProblemJSON(t *testing.T) {
	score := 0
	for _, c := range []struct {
		p    Problem
		want string
	}{
		{Problem{Slug: SlugPrivacyViolation, Status: 403, Error: "Privacy Violation: …", Blocked: true, TraceID: "abc-123"},
			`{"type":"https://inter-agent-trust.org/problems/privacy-violation","title":"Privacy violation","status":403,"error":"Privacy Violation: …","blocked":true,"trace_id":"abc-123"}`},
		{Problem{Slug: SlugOverrideRequired, Title: "Human decision required", Status: StatusRetryWith, Warning: "⚠️ WARNING:\n  • Low trust score (0/10)", RequiresOverride: true,
			TrustScore: &score, Reasons: []string{"low_trust"}, Approval: &Approval{Action: "u0Z", ExpiresAt: time.Unix(1794650000, 0).UTC(), Modes: []string{"header"}}},
			`{"type":"https://inter-agent-trust.org/problems/override-required","title":"Human decision required","status":449,"warning":"⚠️ WARNING:\n  • Low trust score (0/10)","requires_override":true,` +
				`"trust_score":0,"reasons":["low_trust"],"approval":{"action":"u0Z","expires_at":"2026-11-14T09:53:20Z","modes":["header"]}}`},
		{Problem{Slug: SlugUpstreamFailed, Status: 502, Outcome: OutcomeUnknown, Recovery: &Recovery{Strategy: "give_up", ActionsTaken: []string{}}},
			`{"type":"https://inter-agent-trust.org/problems/upstream-failed","title":"Upstream failed","status":502,"outcome":"unknown","recovery":{"strategy":"give_up","success":false,"actions_taken":[]}}`},
		{Problem{Slug: SlugInvalidJSON, Status: 400, Error: "Invalid JSON: x", Where: &Place{Line: 1, Column: 2}},
			`{"type":"https://inter-agent-trust.org/problems/invalid-json","title":"Invalid JSON","status":400,"error":"Invalid JSON: x","where":{"line":1,"column":2,"pointer":""}}`},
		{Problem{Slug: SlugOverloaded, Status: 503, RetryAfter: 1},
			`{"type":"https://inter-agent-trust.org/problems/overloaded","title":"Overloaded","status":503,"retry_after":1}`},
	} {
		got, err := json.Marshal(&c.p)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("problem (-want +got):\n%s", diff)
		}
	}
}
