package privacy

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

func TestAppendRedactedJSON(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{`{"a":"pay 4532 0151 1283 0366 now"}`, `{"a":"pay [CREDIT_CARD_REDACTED] now"}`},
		{`{"a": 4532015112830366 , "b":1.50}`, `{"a": "[CREDIT_CARD_REDACTED]" , "b":1.50}`},
		{`{"ssn":536904399}`, `{"ssn":"[SSN_REDACTED]"}`},
		{`["536-90-4399, ann@example.com \u00e9"]`, `["[SSN_REDACTED], [EMAIL_REDACTED] é"]`},
		{`{"4532015112830366":1}`, `{"[CREDIT_CARD_REDACTED]":1}`},
		{
			`{"ann@example.com":1,"bob@example.com":2,"[EMAIL_REDACTED]_2":3,"eve@example.com":{"ann@example.com":4}}`,
			`{"[EMAIL_REDACTED]":1,"[EMAIL_REDACTED]_3":2,"[EMAIL_REDACTED]_2":3,"[EMAIL_REDACTED]_4":{"[EMAIL_REDACTED]":4}}`,
		},
		{
			`{"ann@example.com":1,"[EMAIL\u005fREDACTED]":2}`,
			`{"[EMAIL_REDACTED]_2":1,"[EMAIL\u005fREDACTED]":2}`,
		},
		{`{"a":"{\"n\":4532015112830366}","b":"\u0041"}`, `{"a":"{\"n\":\"[CREDIT_CARD_REDACTED]\"}","b":"\u0041"}`},
		{`["{\"ann@example.com\":1,\"bob@example.com\":2}"]`, `["{\"[EMAIL_REDACTED]\":1,\"[EMAIL_REDACTED]_2\":2}"]`},
		{`["[\"[4532015112830366]\"]"]`, `["[\"[\\\"[CREDIT_CARD_REDACTED]\\\"]\"]"]`},
		{`{"passport":"[4532015112830366,536904399]"}`, `{"passport":"[\"[CREDIT_CARD_REDACTED]\",\"[PASSPORT_NUMBER_REDACTED]\"]"}`},
		{`["4532015112830366@example.com"]`, `["[CREDIT_CARD_REDACTED]"]`},
		// A card that shows only once the address is gone.
		{`["4 5 3 2 0 1 5 1 1 2 8 3 0 3 6 6 1@example.com"]`, `["[CREDIT_CARD_REDACTED] [EMAIL_REDACTED]"]`},
		{`{"a":"clean"}`, `{"a":"clean"}`},
	} {
		got := string(AppendRedacted([]byte(">"), []byte(c.body), scan(t, c.body)))
		if got != ">"+c.want {
			t.Errorf("%s:\n got %s\nwant >%s", c.body, got, c.want)
		}
	}
}

// TestAppendRedactedSome: what the caller leaves out of the report stays.
func TestAppendRedactedSome(t *testing.T) {
	body := `{"a":"536-90-4399 ann@example.com","b":"ann@example.com"}`
	r := scan(t, body)
	r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool { return f.Kind == iatp.Email })
	if got, want := string(AppendRedacted(nil, []byte(body), r)), `{"a":"[SSN_REDACTED] ann@example.com","b":"ann@example.com"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRedactText(t *testing.T) {
	s := New()
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"nothing here", "nothing here"},
		{"card 4532 0151 1283 0366, ssn 536904399, ann@example.com.", "card [CREDIT_CARD_REDACTED], ssn [SSN_REDACTED], [EMAIL_REDACTED]."},
		{"4 5 3 2 0 1 5 1 1 2 8 3 0 3 6 6 1@example.com", "[CREDIT_CARD_REDACTED] [EMAIL_REDACTED]"},
		{`{"n":"\u0034532015112830366"}`, `{"n":"[CREDIT_CARD_REDACTED]"}`},
	} {
		if got := s.RedactText(c.text); got != c.want {
			t.Errorf("RedactText(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

// pieces are what texts for the laws are made of: values, parts of values, and
// what may stand between.
var pieces = []string{
	"4532015112830366", "4532 0151 1283 0366", "378282246310005", "4222222222222", "4532-0151", "1283.0366", "536-90-4399", "536904399",
	"123 45 6789", "ann@example.com", "@example.com", "ann", "@", ".", " ", "-", "+", "/", "_", "4", "5", "53", "366", "ssn", "card", "SSN ",
	"\u200b", "\u00a0", "４", "٣", `\u0034`, `\\`, `\`, `"`, "[", "]", "{", "}", ":", ",", "\n", "é", "公", "a", "f", "0x", "//",
	"[SSN_REDACTED]", "[CREDIT_CARD_REDACTED]", "_2", "\x00", "1 2 3 4 5 6 7",
	"password=", "hunter2", "token: ", "%34", "&#52;", "&amp;", "cpf ", "529.982.247-25", "phone ", "+49 151 23456789", "8.8.8.8", "AKIA" + "Z7QW3N5P9R1T4V6X",
	"NDUzMjAxNTExMjgzMDM2Ng==", "DE89370400440532013000", "X1234567L", "passport ", "://", "dob ", "1980-02-14", "[PASSWORD_REDACTED]",
}

func drawText(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 24).Draw(t, "pieces"), "")
}

// drawJSON makes a document of such texts: as strings, names, numbers, and as
// JSON in strings.
func drawJSON(t *rapid.T, depth int) []byte {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	if depth == 0 && kind > 2 {
		kind = 0
	}
	switch kind {
	case 1:
		return []byte(rapid.SampledFrom([]string{"4532015112830366", "-378282246310005", "4.532015112830366e15", "536904399", "1.5", "0"}).Draw(t, "number"))
	case 3:
		out := []byte{'['}
		for i := range rapid.IntRange(0, 4).Draw(t, "n") {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, drawJSON(t, depth-1)...)
		}
		return append(out, ']')
	case 4:
		out, seen := []byte{'{'}, map[string]bool{}
		for range rapid.IntRange(0, 4).Draw(t, "n") {
			name := drawText(t)
			if seen[name] {
				continue
			}
			if len(seen) > 0 {
				out = append(out, ',')
			}
			seen[name] = true
			out = append(ijson.AppendString(out, name), ':')
			out = append(out, drawJSON(t, depth-1)...)
		}
		return append(out, '}')
	case 5:
		return ijson.AppendString(nil, drawJSON(t, depth-1))
	}
	return ijson.AppendString(nil, drawText(t))
}

// checkRedaction holds the laws of redaction to one document.
func checkRedaction(t interface{ Errorf(string, ...any) }, s *Scanner, body []byte) {
	r, err := s.ScanJSON(body, ijson.Limits{})
	if err != nil {
		return
	}
	for _, f := range r.Findings {
		if f.Start < 0 || f.End <= f.Start || f.End > len(body) || f.Confidence < reported || f.Confidence > 1 {
			t.Errorf("%s: finding %+v", body, f)
		}
	}
	once := AppendRedacted(nil, body, r)
	if err := ijson.Check(once, ijson.Limits{}); err != nil {
		t.Errorf("%s\nredacted is no I-JSON: %v\n%s", body, err, once)
		return
	}
	again, err := s.ScanJSON(once, ijson.Limits{})
	if err != nil {
		t.Errorf("%s: %v", once, err)
	}
	if len(again.Findings) > 0 {
		t.Errorf("%s\nleft in %s\n%+v", body, once, again.Findings)
	}
	if twice := AppendRedacted(nil, once, again); !bytes.Equal(once, twice) {
		t.Errorf("not idempotent:\n%s\n%s", once, twice)
	}
}

func TestRedactionLawsJSON(t *testing.T) {
	s := New()
	rapid.Check(t, func(t *rapid.T) { checkRedaction(t, s, drawJSON(t, 4)) })
}

func TestRedactionLawsText(t *testing.T) {
	s := New()
	rapid.Check(t, func(t *rapid.T) {
		text := drawText(t)
		once := s.RedactText(text)
		if r := s.ScanText([]byte(once)); len(r.Findings) > 0 {
			t.Errorf("%q: left in %q: %+v", text, once, r.Findings)
		}
		if twice := s.RedactText(once); twice != once {
			t.Errorf("%q: %q, then %q", text, once, twice)
		}
	})
}

// ScanCanonical reports what ScanJSON does, and the form is that of package ijson.
func checkCanonical(t *testing.T, s *Scanner, body []byte) {
	t.Helper()
	want, wantErr := s.ScanJSON(body, Limits{})
	wantForm, formErr := ijson.AppendCanonical([]byte("kept"), body, Limits{})
	for _, most := range []int{len(wantForm) - 5, len(wantForm) - 4, 1 << 20} {
		got, form, ok, err := s.ScanCanonical([]byte("kept"), body, Limits{}, most, ijson.DefaultDepth)
		if !slices.Equal(want.Findings, got.Findings) || !slices.Equal(want.Opaque, got.Opaque) || (err == nil) != (wantErr == nil) {
			t.Fatalf("ScanCanonical(%q): %+v, %v; ScanJSON: %+v, %v", body, got, err, want, wantErr)
		}
		switch fits := formErr == nil && len(wantForm)-4 <= most; {
		case ok != fits:
			t.Fatalf("ScanCanonical(%q), at most %d: %q, %v; want %q", body, most, form, ok, wantForm)
		case ok && !bytes.Equal(form, wantForm), !ok && string(form) != "kept":
			t.Fatalf("ScanCanonical(%q), at most %d: %q; want %q", body, most, form, wantForm)
		}
	}
}

func TestScanCanonical(t *testing.T) {
	s := New()
	for _, body := range []string{
		`{"b": [1.0, "x", {"z": "4111 1111 1111 1111", "a": null}], "a": "{\"d\": 1, \"c\": 2}"}`, `"text"`, `[1e400]`, `{"a":1,"a":2}`, `[`, ``, ` 7 `,
		`{"mail": "ann@example.com", "\u0061": "\u00e9"}`,
	} {
		checkCanonical(t, s, []byte(body))
	}
}

func FuzzScanJSON(f *testing.F) {
	for _, d := range builtin().all {
		for _, text := range slices.Concat(d.hits, d.misses) {
			f.Add(ijson.AppendString(nil, text))
			f.Add(slices.Concat([]byte(`{"ssn":`), ijson.AppendString(nil, text), []byte("}")))
		}
	}
	f.Add([]byte(`{"4532015112830366":[4532015112830366,"[\"{\\\"ssn\\\":536904399}\"]"]}`))
	s := New()
	f.Fuzz(func(t *testing.T, body []byte) {
		checkRedaction(t, s, body)
		checkCanonical(t, s, body)
	})
}
