package privacy

import (
	"crypto/sha256"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

func TestCustomDetectors(t *testing.T) {
	s, err := NewWith(Options{Detectors: []Detector{
		{Kind: "badge", Pattern: `\bB-[0-9]{4}\b`},
		{Kind: "locker", Pattern: `\b[0-9]{3}\b`, Keywords: []string{"locker", "strong box"}},
		{Kind: "voucher", Pattern: `\bV[0-9]{6}\b`, Check: "luhn"},
		{Kind: "depot", Pattern: `\bD[0-9]{8}\b`, Check: "mod97"},
		{Kind: "member", Pattern: `\bM[0-9]{11}\b`, Check: "mod11"},
		{Kind: "ticket", Pattern: `\bT[0-9]{12}\b`, Check: "verhoeff"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		body string
		want []iatp.DataClass
	}{
		{`{"a":"take B-1234 along"}`, []iatp.DataClass{"badge"}},
		{`{"a":"take B-12345 along"}`, nil},
		{`{"locker":"123"}`, []iatp.DataClass{"locker"}},
		{`{"a":"strong box 123"}`, []iatp.DataClass{"locker"}},
		{`{"a":"123"}`, nil},
		{`{"a":"V123455"}`, []iatp.DataClass{"voucher"}},
		{`{"a":"V123456"}`, nil},
		{`{"a":"D12345676"}`, []iatp.DataClass{"depot"}},
		{`{"a":"D12345677"}`, nil},
		{`{"a":"M33392005961"}`, []iatp.DataClass{"member"}},
		{`{"a":"M33392005962"}`, nil},
		{`{"a":"T234123412346"}`, []iatp.DataClass{"ticket"}},
		{`{"a":"T234123412347"}`, nil},
		{`{"a":"B-１２３４"}`, []iatp.DataClass{"badge"}},
	} {
		r, err := s.ScanJSON([]byte(c.body), ijson.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, r.Classes()); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.body, d)
		}
		again, err := s.ScanJSON(AppendRedacted(nil, []byte(c.body), r), ijson.Limits{})
		if err != nil || len(again.Findings) > 0 {
			t.Errorf("%s: left after redaction: %v, %v", c.body, again.Findings, err)
		}
	}
	if got, want := s.RedactText("B-1234 and 4532015112830366"), "[BADGE_REDACTED] and [CREDIT_CARD_REDACTED]"; got != want {
		t.Errorf("RedactText: %q, want %q", got, want)
	}
}

func TestAllowed(t *testing.T) {
	s, err := NewWith(Options{Allowed: Allowed{
		Values:   []string{"ann@example.com"},
		Hashes:   [][sha256.Size]byte{sha256.Sum256([]byte("4532015112830366"))},
		Pointers: []string{"/test", "/rows/*/card"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.ScanJSON([]byte(`{"a":"ann@example.com","b":"bob@example.com 4532015112830366","c":378282246310005,"test":{"x":"378282246310005"},"tests":"378282246310005",
		"rows":[{"card":"378282246310005","cards":"378282246310005"},{"card":[{"x":"378282246310005"}]},"378282246310005"],"card":"378282246310005"}`), ijson.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range r.Findings {
		got = append(got, string(f.Kind)+" "+f.Pointer)
	}
	if d := cmp.Diff([]string{"email /b", "credit_card /c", "credit_card /tests", "credit_card /rows/0/cards", "credit_card /rows/2", "credit_card /card"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestAllowedHashes: a list of hashes lets values pass however they are grouped,
// and a keyed one only with its key.
func TestAllowedHashes(t *testing.T) {
	text := []byte("4532 0151-1283.0366 and ann@example.com")
	for _, c := range []struct {
		name      string
		key, with string
		want      int
	}{
		{"plain", "", "", 0},
		{"keyed", "k1", "k1", 0},
		{"another key", "k1", "k2", 2},
		{"no key", "k1", "", 2},
	} {
		made, a := Allowed{Key: []byte(c.key)}, Allowed{Key: []byte(c.with)}
		for _, v := range []string{"4532015112830366", "ann@example.com"} {
			a.Hashes = append(a.Hashes, made.Hash([]byte(v)))
		}
		s, err := NewWith(Options{Allowed: a})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.ScanText(text).Findings; len(got) != c.want {
			t.Errorf("%s: %v, want %d", c.name, got, c.want)
		}
	}
}

func TestNewWithRefuses(t *testing.T) {
	for _, o := range []Options{
		{MinConfidence: 1.5},
		{Detectors: []Detector{{Kind: "X", Pattern: "a"}}},
		{Detectors: []Detector{{Kind: "x", Pattern: "("}}},
		{Detectors: []Detector{{Kind: "x", Pattern: "a*"}}},
		{Detectors: []Detector{{Kind: "x", Pattern: "[A-Z_]+"}}},
		{Detectors: []Detector{{Kind: "x", Pattern: "a", Check: "crc"}}},
		{Detectors: []Detector{{Kind: "x", Pattern: "a", Keywords: []string{"Größe"}}}},
		{Detectors: make([]Detector, maxCustom+1)},
	} {
		if _, err := NewWith(o); err == nil {
			t.Errorf("NewWith(%+v) takes it", o)
		}
	}
}

// TestMinConfidence: what has only a check digit shows when asked for.
func TestMinConfidence(t *testing.T) {
	s, err := NewWith(Options{MinConfidence: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	if r := New().ScanText([]byte("number 9434765919")); len(r.Findings) > 0 {
		t.Errorf("found by default: %v", r.Findings)
	}
	r := s.ScanText([]byte("number 9434765919"))
	if len(r.Findings) == 0 || r.Findings[0].Confidence >= reported {
		t.Errorf("found %v, want something weak", r.Findings)
	}
	if s, err = NewWith(Options{MinConfidence: 0.98}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range Kinds() {
		for _, text := range []string{Example(kind), "see " + Example(kind) + " here"} {
			for _, f := range s.ScanText([]byte(text)).Findings {
				if f.Confidence < 0.98 {
					t.Errorf("%q: found %+v, which is weaker than 0.98", text, f)
				}
			}
		}
	}
}

func TestTopicsHaveRoom(t *testing.T) {
	n := maxCustom
	for _, d := range builtin().byTopic {
		n += pick(d != nil, 1, 0)
	}
	if n > maxTopics {
		t.Errorf("%d detectors do not fit into topics", n)
	}
}
