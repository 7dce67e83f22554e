package privacy

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// TestAppendRedactedBy: each value is treated as was chosen for its kind and
// place.
func TestAppendRedactedBy(t *testing.T) {
	mask := func(Finding) Action { return Mask }
	for _, c := range []struct {
		name, body, want string
		act              func(Finding) Action
	}{
		{"mask a card", `{"a":"pay 4532 0151 1283 0366 now"}`, `{"a":"pay ****0366 now"}`, mask},
		{"mask a number", `{"a":4.532015112830366e15}`, `{"a":"****0366"}`, mask},
		{"mask full width", `["４５３２０１５１１２８３０３６６"]`, `["****0366"]`, mask},
		{"mask escapes", `["\u0034532015112830366"]`, `["****0366"]`, mask},
		{"mask an SSN", `{"a":"536-90-4399"}`, `{"a":"****4399"}`, mask},
		{"mask an IBAN", `["DE89 3704 0044 0532 0130 00"]`, `["****3000"]`, mask},
		{"no mask of a password", `{"password":"hunter2hunter2"}`, `{"password":"[PASSWORD_REDACTED]"}`, mask},
		{"no mask of an address", `["ann@example.com"]`, `["[EMAIL_REDACTED]"]`, mask},
		{"no mask of what was encoded", `["NDUzMjAxNTExMjgzMDM2Ng=="]`, `["[CREDIT_CARD_REDACTED]"]`, mask},
		{"mask in a name", `{"4532015112830366":1,"****0366":2}`, `{"****0366 [2]":1,"****0366":2}`, mask},
		{"mask in JSON in a string", `["{\"n\":4532015112830366}"]`, `["{\"n\":\"****0366\"}"]`, mask},
		{
			"by pointer", `{"a":"536-90-4399","b":"536-90-4399","c":["536-90-4399"]}`, `{"a":"[SSN_REDACTED]","b":"536-90-4399","c":["****4399"]}`,
			func(f Finding) Action { return map[string]Action{"/a": Redact, "/b": Keep, "/c/0": Mask}[f.Pointer] },
		},
		{
			"by kind", `{"a":"536-90-4399 ann@example.com"}`, `{"a":"536-90-4399 [EMAIL_REDACTED]"}`,
			func(f Finding) Action {
				if f.Kind == iatp.SSN {
					return Keep
				}
				return Redact
			},
		},
		{
			"names stay", `{"ann@example.com":"ann@example.com"}`, `{"ann@example.com":"[EMAIL_REDACTED]"}`,
			func(f Finding) Action {
				if f.InName {
					return Keep
				}
				return Redact
			},
		},
	} {
		if got := string(AppendRedactedBy(nil, []byte(c.body), scan(t, c.body), c.act)); got != c.want {
			t.Errorf("%s: %s:\n got %s\nwant %s", c.name, c.body, got, c.want)
		}
	}
	text := "ssn 536904399, card 4532-0151-1283-0366"
	if got := string(AppendRedactedBy(nil, []byte(text), New().Scan([]byte(text)), mask)); got != "ssn ****4399, card ****0366" {
		t.Errorf("text is masked to %q", got)
	}
}

// TestPointersBeyondTheBound: a choice by pointer holds also where the report
// has no pointers any more.
func TestPointersBeyondTheBound(t *testing.T) {
	body := []byte(`{"x":[` + strings.Repeat(`"536-90-4399",`, 20_000) + `0],"keep":"536-90-4399"}`)
	r := scan(t, string(body))
	if last := r.Findings[len(r.Findings)-1]; last.Pointer != "" {
		t.Fatalf("the bound on pointers was not reached: %q", last.Pointer)
	}
	out := AppendRedactedBy(nil, body, r, func(f Finding) Action {
		if f.Pointer == "/keep" {
			return Keep
		}
		return Redact
	})
	if n := bytes.Count(out, []byte("536-90-4399")); n != 1 || !bytes.HasSuffix(out, []byte(`"keep":"536-90-4399"}`)) {
		t.Errorf("%d values are left, want the one at /keep", n)
	}
}

// TestMaskLaws: what was masked is masked for good, stays JSON, and holds
// nothing that the scanner finds.
func TestMaskLaws(t *testing.T) {
	s := New()
	mask := func(Finding) Action { return Mask }
	rapid.Check(t, func(t *rapid.T) {
		body := drawJSON(t, 4)
		r, err := s.ScanJSON(body, Limits{})
		if err != nil {
			return
		}
		once := AppendRedactedBy(nil, body, r, mask)
		again, err := s.ScanJSON(once, Limits{})
		if err != nil {
			t.Fatalf("%s\nmasked is no I-JSON: %v\n%s", body, err, once)
		}
		if len(again.Findings) > 0 {
			t.Errorf("%s\nleft in %s\n%+v", body, once, again.Findings)
		}
	})
}

// TestOpaque: what is not looked into is said.
func TestOpaque(t *testing.T) {
	noise := make([]byte, 600)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < len(noise); i++ {
		noise[i] = byte(r.Uint32())
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("pay with " + card))
	_ = z.Close()
	encode := func(b []byte, times int) string {
		for range times {
			b = []byte(base64.StdEncoding.EncodeToString(b))
		}
		return string(b)
	}
	text := []byte(strings.Repeat("nothing of the kind ", 4))
	for _, c := range []struct {
		name, value string
		want        Reason
	}{
		{"text", string(text), ""},
		{"base64 of text", encode(text, 1), ""},
		{"base64 of text, twice", encode(text, 2), ""},
		{"base64 of text, three times", encode(text, 3), OpaqueEncoded},
		{"base64 of noise", encode(noise, 1), OpaqueBinary},
		{"a digest", encode(noise[:64], 1), ""},
		{"base64 of gzip", encode(zipped.Bytes(), 1), OpaqueCompressed},
		{"base64 of gzip in base64", encode(zipped.Bytes(), 2), OpaqueCompressed},
		{"base64 that is too long", encode(bytes.Repeat(text, 1000), 1), OpaqueEncoded},
	} {
		r := scan(t, `{"a":"b","data":`+string(ijson.AppendString(nil, "see "+c.value))+`}`)
		switch {
		case len(r.Findings) > 0:
			t.Errorf("%s: %v", c.name, r.Findings)
		case c.want == "" && len(r.Opaque) > 0:
			t.Errorf("%s: opaque: %v", c.name, r.Opaque)
		case c.want != "" && (len(r.Opaque) != 1 || r.Opaque[0].Reason != c.want || r.Opaque[0].Pointer != "/data" || r.Opaque[0].End-r.Opaque[0].Start > len(c.value)):
			t.Errorf("%s: opaque: %v, want %s", c.name, r.Opaque, c.want)
		}
		if text := New().ScanText([]byte("see " + c.value)); len(text.Opaque) != len(r.Opaque) {
			t.Errorf("%s as text: opaque: %v", c.name, text.Opaque)
		}
	}
	if got := scan(t, `["`+encode(append(bytes.Repeat([]byte("padding "), 4000), card...), 1)+`"]`); len(got.Findings) != 1 {
		t.Errorf("a card behind 32 KiB of base64: %v", got)
	}
}
