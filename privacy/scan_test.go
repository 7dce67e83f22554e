package privacy

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

const card = "4532015112830366"

func scan(t *testing.T, body string) Report {
	t.Helper()
	r, err := New().ScanJSON([]byte(body), ijson.Limits{})
	if err != nil {
		t.Fatalf("ScanJSON(%s): %v", body, err)
	}
	return r
}

func TestScanJSON(t *testing.T) {
	quote := func(s string) string { return string(ijson.AppendString(nil, s)) }
	nested := func(doc string, times int) string {
		for range times {
			doc = quote(doc)
		}
		return doc
	}
	for _, c := range []struct {
		name, body string
		want       []Finding // without span and confidence
	}{
		{"string", `{"a":["x","4532-0151-1283-0366"]}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a/1"}}},
		{"number", `{"a":4532015112830366}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"negative", `{"a":-4532015112830366}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"exponent", `{"a":4.532015112830366e15}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"long exponent", `{"a":453201511283036600E-0002}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"point zero", `{"a":4532015112830366.00}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"fraction", `{"a":378282246310005.5}`, nil},
		{"small fraction", `{"a":0.4532015112830366}`, nil},
		{"bare value", `4532015112830366`, []Finding{{Kind: iatp.CreditCard}}},
		{"name", `{"a":{"4532015112830366":1}}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a/[CREDIT_CARD_REDACTED]", InName: true}}},
		{"escapes", `{"a":"\u00344532"}`, nil},
		{"escaped digits", `{"a":"\u0034\u0035\u0033\u0032015112830366"}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"escaped space", `{"a":"4532\u00a00151\t1283\u20030366"}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"full width", `{"a":"４５３２０１５１１２８３０３６６"}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"escaped full width", `{"a":"\uff14\uff15\uff13\uff12\uff10\uff11\uff15\uff11\uff11\uff12\uff18\uff13\uff10\uff13\uff16\uff16"}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"mathematical", `{"a":"\ud835\udfd2532015112830366"}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"zero width", `{"a":"4532\u200b0151\u200d1283\ufeff0366"}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"nul", `{"a":"4532\u00000151\u00001283\u00000366"}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"nested once", `{"a":` + nested(`{"b":4532015112830366}`, 1) + `}`, []Finding{{Kind: iatp.CreditCard, Pointer: "/a"}}},
		{"nested four times", nested(`{"b":"\u0034532015112830366"}`, 4), []Finding{{Kind: iatp.CreditCard}}},
		{"nested nine times, read as text", nested(`{"b":"4532015112830366"}`, 9), []Finding{{Kind: iatp.CreditCard}}},
		{"nested number with an exponent", `["{\"b\":4.532015112830366e15}"]`, []Finding{{Kind: iatp.CreditCard, Pointer: "/0"}}},
		{"nested name", `["{\"4532015112830366\":1}"]`, []Finding{{Kind: iatp.CreditCard, Pointer: "/0"}}},
		{"nearly nested", `["{\"b\":\"\\u0034532015112830366\",}"]`, []Finding{{Kind: iatp.CreditCard, Pointer: "/0"}}},
		{"ssn", `{"x":"536-90-4399"}`, []Finding{{Kind: iatp.SSN, Pointer: "/x"}}},
		{"ssn under a name", `{"ssn":"536904399"}`, []Finding{{Kind: iatp.SSN, Pointer: "/ssn"}}},
		{"ssn as a number", `{"userSSN":536904399}`, []Finding{{Kind: iatp.SSN, Pointer: "/userSSN"}}},
		{"ssn that lost zeros", `{"ssn":1234567}`, []Finding{{Kind: iatp.SSN, Pointer: "/ssn"}}},
		{"ssn deeper", `{"social_security":{"values":[536904399]}}`, []Finding{{Kind: iatp.SSN, Pointer: "/social_security/values/0"}}},
		{"ssn under an escaped name", `{"s\u0073n":536904399}`, []Finding{{Kind: iatp.SSN, Pointer: "/ssn"}}},
		{"ssn in nested JSON under a name", `{"ssn":"{\"v\":536904399}"}`, []Finding{{Kind: iatp.SSN, Pointer: "/ssn"}}},
		{"ssn as a name", `{"ssn":{"536904399":1}}`, []Finding{{Kind: iatp.SSN, Pointer: "/ssn/[SSN_REDACTED]", InName: true}}},
		{"nine digits", `{"order":536904399,"className":"536904399","session":536904399}`, nil},
		{"a name does not tell of its neighbour", `{"ssn":null,"order":536904399}`, nil},
		{"email", `{"x":"Ann <ann@example.com>"}`, []Finding{{Kind: iatp.Email, Pointer: "/x"}}},
		{"escaped email", `{"x":"ann\u0040example.com"}`, []Finding{{Kind: iatp.Email, Pointer: "/x"}}},
		{"card in an email", `["4532015112830366@example.com"]`, []Finding{{Kind: iatp.Email, Pointer: "/0"}, {Kind: iatp.CreditCard, Pointer: "/0"}}},
		{"told by a name in other letters", `{"сard_number":"45320151","ѕsn":"536904399"}`, []Finding{{Kind: iatp.SSN, Pointer: "/ѕsn"}}},
		{"password under a name in other letters", `{"pаssword":"hunter2"}`, []Finding{{Kind: "password", Pointer: "/pаssword"}}},
		{"split", `["4532","0151","1283","0366"]`, nil},
		{"clean", string(cleanJSON(4 << 10)), nil},
	} {
		got := scan(t, c.body).Findings
		if d := cmp.Diff(c.want, got, cmpopts.IgnoreFields(Finding{}, "Start", "End", "Confidence")); d != "" {
			t.Errorf("%s: %s (-want +got):\n%s", c.name, c.body, d)
		}
	}
}

// TestNumbersHoweverWritten: a number is recorded in canonical form, so what it
// is there must be found however it was spelt. The last two are no card there.
func TestNumbersHoweverWritten(t *testing.T) {
	for _, number := range []string{
		card, "-" + card, card + "e0", card + "e000", card + "00e-2", "4.532015112830366e+15",
		card + ".5", card + ".0000000000000000000000001", "4532015112830365.9999999999999999",
		card + strings.Repeat("0", 21) + "e-21", card + strings.Repeat("0", 120) + "e-120", card + strings.Repeat("0", 120) + "e-0120",
		"0." + strings.Repeat("0", 30) + card + "e46", "0." + strings.Repeat("0", 100) + card + "e116", "0.0" + card + "E017",
		"378282246310004.99999999999999999",
		card + "e1", card + "e99999999999999999999",
	} {
		body := []byte(`{"n":` + number + `}`)
		canonical, err := ijson.AppendCanonical(nil, body, ijson.Limits{})
		if err != nil {
			canonical = body // refused before it is recorded
		}
		found, want := scan(t, string(body)).Findings, scan(t, string(canonical)).Findings
		if d := cmp.Diff(want, found, cmpopts.IgnoreFields(Finding{}, "Start", "End")); d != "" {
			t.Errorf("%.40s, in canonical form %s (-want +got):\n%s", number, canonical, d)
		}
		if stands := bytes.Contains(canonical, []byte(":"+card+"}")); stands && len(found) != 1 {
			t.Errorf("%.40s: %d findings", number, len(found))
		}
	}
}

// TestSpans checks that the span of a finding is exactly what was written.
func TestSpans(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{`{"a":"pay 4532 0151 1283 0366 now"}`, `4532 0151 1283 0366`},
		{`{"a":"pay \u0034532 0151 1283\u00a00366 now"}`, `\u0034532 0151 1283\u00a00366`},
		{`{"a":"Größe ４532015112830366."}`, `４532015112830366`},
		{`["{\"b\":\"\\u0034532015112830366\"}"]`, `\\u0034532015112830366`},
		{`["[\"[\\\"ann@example.com\\\"]\"]"]`, `ann@example.com`},
		{`{"a": 4532015112830366 }`, card},
	} {
		r := scan(t, c.body)
		if len(r.Findings) != 1 {
			t.Errorf("%s: %d findings, want 1", c.body, len(r.Findings))
			continue
		}
		if f := r.Findings[0]; c.body[f.Start:f.End] != c.want {
			t.Errorf("%s: span %q, want %q", c.body, c.body[f.Start:f.End], c.want)
		}
	}
}

func TestScanJSONRefuses(t *testing.T) {
	for _, body := range []string{``, `{`, `{"a":1,"a":2}`, "[\"\xff\"]", `["4532015112830366"`, `[[["` + card + `"]]]`} {
		r, err := New().ScanJSON([]byte(body), ijson.Limits{Depth: 2})
		var e *ijson.Error
		if !errors.As(err, &e) || len(r.Findings) > 0 {
			t.Errorf("ScanJSON(%q) = %v, %v; want an *ijson.Error and nothing else", body, r, err)
		}
	}
}

func TestTooDeep(t *testing.T) {
	doc := []byte(`{"n":4.532015112830366e15}`)
	for range maxNesting {
		doc = ijson.AppendString(nil, doc)
	}
	if r := scan(t, string(doc)); len(r.Opaque) > 0 || len(r.Findings) != 1 {
		t.Errorf("nested %d deep: %+v, want one finding", maxNesting, r)
	}
	if r := scan(t, string(ijson.AppendString(nil, doc))); len(r.Opaque) != 1 || r.Opaque[0].Reason != OpaqueDepth {
		t.Errorf("nested %d deep: opaque %v", maxNesting+1, r.Opaque)
	}
}

// TestPointersAreBounded: a long name over many values must not be multiplied.
func TestPointersAreBounded(t *testing.T) {
	body := `{"` + strings.Repeat("n", 3<<10) + `":[` + strings.Repeat(`4532015112830366,`, 5000) + `0]}`
	r, sum := scan(t, body), 0
	for _, f := range r.Findings {
		sum += len(f.Pointer)
	}
	if len(r.Findings) != 5000 || sum == 0 || sum > maxPointers {
		t.Errorf("%d findings with %d bytes of pointers, want 5000 with 1 to %d", len(r.Findings), sum, maxPointers)
	}
}

// TestPointersHideNames: what a name holds is in no pointer, not even of what
// is below it.
func TestPointersHideNames(t *testing.T) {
	r := scan(t, `{"ssn":{"536904399":{"b":"ann@example.com"}},"4532015112830366":["bob@example.com"]}`)
	if len(r.Findings) != 4 {
		t.Fatalf("%d findings, want 4", len(r.Findings))
	}
	for _, f := range r.Findings {
		if strings.Contains(f.Pointer, "536904399") || strings.Contains(f.Pointer, card) {
			t.Errorf("pointer %s tells the value", f.Pointer)
		}
	}
}

func TestScanJSONAllocatesNothing(t *testing.T) {
	s := New()
	for _, size := range benchSizes[:2] {
		body := cleanJSON(size)
		if n := testing.AllocsPerRun(20, func() { _, _ = s.ScanJSON(body, ijson.Limits{}) }); n >= 1 && !raceEnabled {
			t.Errorf("%d bytes: %v allocations", size, n)
		}
	}
}

// TestLinear: twice the input takes about twice the time, for inputs made to
// take more.
func TestLinear(t *testing.T) {
	hostile := map[string]func(n int) string{
		"digits":          func(n int) string { return strings.Repeat("4", n) },
		"single digits":   func(n int) string { return strings.Repeat("4 ", n/2) },
		"cards of nearly": func(n int) string { return strings.Repeat("4532 0151 1283 036 ", n/19) },
		"at signs":        func(n int) string { return strings.Repeat("@", n) },
		"locals":          func(n int) string { return strings.Repeat("a.", n/2) + "@" },
		"domains":         func(n int) string { return "a@" + strings.Repeat("a.", n/2) },
		"mailboxes":       func(n int) string { return strings.Repeat("a@b.c", n/5) },
		"slashes":         func(n int) string { return strings.Repeat("/a@b.co", n/7) },
		"backslashes":     func(n int) string { return strings.Repeat(`\`, n) + "u00401234567890" },
		"hex":             func(n int) string { return strings.Repeat("abcdef4532015112830366", n/22) },
		"seps":            func(n int) string { return strings.Repeat("123456789 - - - - ", n/18) },
		"tokens":          func(n int) string { return strings.Repeat("eyJ-", n/4) },
		"dotted tokens":   func(n int) string { return strings.Repeat("eyJ.aaaaaaaaa", n/13) },
		"long keys":       func(n int) string { return strings.Repeat("ops_", n/4) },
		"base64 paths":    func(n int) string { return strings.Repeat("cGF0aGF0aGF0/", n/13) },
		"passwords":       func(n int) string { return strings.Repeat("password=", n/9) },
		"schemes":         func(n int) string { return strings.Repeat("://a:", n/5) },
		"wallets":         func(n int) string { return strings.Repeat("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb ", n/35) },
		"armour":          func(n int) string { return strings.Repeat("-----BEGIN A PRIVATE KEY-", n/25) },
		"percents":        func(n int) string { return strings.Repeat("%25", n/3) },
		"ampersands":      func(n int) string { return strings.Repeat("&amp;", n/5) },
		"zero width":      func(n int) string { return strings.Repeat("\u200b4", n/4) },
	}
	s := New()
	runtime.LockOSThread() // others use the machine too: measure our own time
	defer runtime.UnlockOSThread()
	for name, make := range hostile {
		measure := func(n int) time.Duration {
			text := []byte(make(n))
			best := time.Hour
			for range 3 {
				start := threadTime(t)
				s.ScanText(text)
				best = min(best, threadTime(t)-start)
			}
			return best
		}
		n := 1 << 16
		if raceEnabled {
			n = 1 << 12
		}
		small, large := measure(n), measure(16*n)
		if large > 128*small+50*time.Millisecond { // quadratic: 256 times
			t.Errorf("%s: %d bytes take %v, %d bytes %v", name, n, small, 16*n, large)
		}
	}
}

func TestManyTinyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteByte('{')
	members := 1_000_000
	if raceEnabled {
		members = 50_000
	}
	for i := range members {
		fmt.Fprintf(&b, `"%d":%d,`, i, i)
	}
	b.WriteString(`"ssn":536904399}`)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := threadTime(t)
	if r := scan(t, b.String()); len(r.Findings) != 1 {
		t.Errorf("%d findings, want 1", len(r.Findings))
	}
	if d := threadTime(t) - start; d > 20*time.Second {
		t.Errorf("a million members take %v", d)
	}
}

// TestNumbersLikeText: a JSON number is a value where the same digits in a string
// are one.
func TestNumbersLikeText(t *testing.T) {
	tried := 0
	for _, d := range builtin().all {
		for _, text := range append(append([]string(nil), d.hits...), d.misses...) {
			if endOfDigits([]byte(text), 0) < len(text) || text[0] == '0' {
				continue
			}
			tried++
			number, quoted := scan(t, `{"a":`+text+`}`), scan(t, `{"a":"`+text+`"}`)
			if diff := cmp.Diff(quoted.Classes(), number.Classes()); diff != "" {
				t.Errorf("%s (-string +number):\n%s", text, diff)
			}
		}
	}
	if tried < 50 {
		t.Errorf("tried %d numbers only", tried)
	}
}

// TestRelease scans with memory that reports have given back: what is found stays the
// same, and a report that was not released keeps what it has.
func TestRelease(t *testing.T) {
	s, bodies := New(), [][]byte{denseJSON(64 << 10), recordsJSON(8 << 10), denseJSON(1 << 10), cleanJSON(1 << 10), []byte(`{"a":"4532-0151-1283-0366"}`)}
	var kept []Report
	var want [][]Finding
	for range 3 {
		for _, body := range bodies {
			r, err := s.ScanJSON(body, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			again, err := s.ScanJSON(body, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(r.Findings, again.Findings); diff != "" {
				t.Fatalf("the same body scanned again (-first +second):\n%s", diff)
			}
			kept, want = append(kept, r), append(want, slices.Clone(r.Findings))
			again.Release()
			if again.Release(); again.Findings != nil {
				t.Fatal("a report that was released has findings")
			}
		}
	}
	for i, r := range kept {
		if diff := cmp.Diff(want[i], r.Findings); diff != "" {
			t.Errorf("a report that was kept, after others were released (-then +now):\n%s", diff)
		}
	}
}
