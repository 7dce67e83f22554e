package privacy

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// redact passes pieces through a Redactor.
func redact(t interface{ Errorf(string, ...any) }, format Format, act func(Finding) Action, pieces ...[]byte) string {
	var out bytes.Buffer
	r := New().NewRedactor(&out, format, act)
	for _, p := range pieces {
		if n, err := r.Write(p); n != len(p) || err != nil {
			t.Errorf("write %d bytes: %d, %v", len(p), n, err)
		}
	}
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	return out.String()
}

// TestRedactorEverySplit cuts streams at every position.
func TestRedactorEverySplit(t *testing.T) {
	for _, c := range []struct {
		name       string
		format     Format
		text, want string
	}{
		{"JSON", FormatJSON, `{"a": "pay 4532 0151 1283 0366", "b":[4532015112830366, 1.5,true,null]}`, `{"a": "pay [CREDIT_CARD_REDACTED]", "b":["[CREDIT_CARD_REDACTED]", 1.5,true,null]}`},
		{"told by names", FormatJSON, `{"ssn":{"x":[536904399]},"password":"hunter2","n":536904399}`, `{"ssn":{"x":["[SSN_REDACTED]"]},"password":"[PASSWORD_REDACTED]","n":536904399}`},
		{"short numbers told by names", FormatJSON, `{"cvv":123,"password":[123456],"n":123}`, `{"cvv":"[CARD_SECURITY_CODE_REDACTED]","password":["[PASSWORD_REDACTED]"],"n":123}`},
		{"escapes", FormatJSON, `["\u0034532015112830366\n\"x\"","é","\ud83d\ude00 ann\u0040example.com"]`, `["[CREDIT_CARD_REDACTED]\n\"x\"","é","😀 [EMAIL_REDACTED]"]`},
		{"JSON in a string", FormatJSON, `{"a":"{\"n\":4532015112830366}"}`, `{"a":"{\"n\":\"[CREDIT_CARD_REDACTED]\"}"}`},
		{"a name that ends in digits", FormatJSON, `{"4532015112830366":1,"4532015112830366SSN 4532-0151":2}`, `{"[CREDIT_CARD_REDACTED]":1,"[CREDIT_CARD_REDACTED]SSN 4532-0151 [2]":2}`},
		{"names", FormatJSON, `{"ann@example.com":1,"bob@example.com":{"eve@example.com":2},"[EMAIL_REDACTED]_2":3}`, `{"[EMAIL_REDACTED]":1,"[EMAIL_REDACTED]_2":{"[EMAIL_REDACTED]":2},"[EMAIL_REDACTED]_3":3}`},
		{"lines of JSON", FormatJSON, "{\"ssn\":\"536904399\"}\n{\"a\":1}\n4532015112830366\n", "{\"ssn\":\"[SSN_REDACTED]\"}\n{\"a\":1}\n\"[CREDIT_CARD_REDACTED]\"\n"},
		{"no JSON", FormatJSON, "pay 4532 0151 1283 0366", "pay [CREDIT_CARD_REDACTED]"},
		{"numbers with spaces", FormatJSON, `[4532 0151 1283 0366]`, `[[CREDIT_CARD_REDACTED]]`},
		{"a bare string", FormatJSON, `"536-90-4399"`, `"[SSN_REDACTED]"`},
		{"text", FormatText, "Größe: 4532 0151 1283 0366, ann@example.com.", "Größe: [CREDIT_CARD_REDACTED], [EMAIL_REDACTED]."},
		{
			"events", FormatEvents, "event: pay\ndata: {\"card\":4532015112830366,\ndata:  \"b\":2}\n\n: ssn 536904399\r\ndata: [DONE]\r\n\r\nid: 7\rdata:x\r\r",
			"event: pay\ndata: {\"card\":\"[CREDIT_CARD_REDACTED]\",\ndata:  \"b\":2}\n\n: ssn [SSN_REDACTED]\r\ndata: [DONE]\r\n\r\nid: 7\rdata:x\r\r",
		},
		{"a value over lines of data", FormatEvents, "data: 4532 0151\ndata: 1283 0366\n\n", "data: [CREDIT_CARD_REDACTED]\n\n"},
		{"a name twice in an event", FormatEvents, "data: {\"a\":1,\"a\":4532015112830366}\n\n", "data: {\"a\":1,\"a\":\"[CREDIT_CARD_REDACTED]\"}\n\n"},
		{"a deep event", FormatEvents, "data: " + strings.Repeat("[", 130) + "4532015112830366" + strings.Repeat("]", 130) + "\n\n", "data: " + strings.Repeat("[", 130) + `"[CREDIT_CARD_REDACTED]"` + strings.Repeat("]", 130) + "\n\n"},
		{"lines of data without a colon", FormatEvents, "data: 4532 0151\ndata: 1283 0366\ndata\ndata: end\ndata\n\n", "data: [CREDIT_CARD_REDACTED]\ndata: \ndata: end\ndata: \n\n"},
		{"an event without an end", FormatEvents, "data: 536-90-4399", "data: [SSN_REDACTED]"},
	} {
		for i := range len(c.text) + 1 {
			if got := redact(t, c.format, nil, []byte(c.text[:i]), []byte(c.text[i:])); got != c.want {
				t.Fatalf("%s: %q cut at %d:\n got %q\nwant %q", c.name, c.text, i, got, c.want)
			}
		}
		var each [][]byte
		for i := range len(c.text) {
			each = append(each, []byte(c.text[i:i+1]))
		}
		if got := redact(t, c.format, nil, each...); got != c.want {
			t.Errorf("%s: byte by byte: %q", c.name, got)
		}
	}
}

// TestRedactorPasses: what is decided is passed on at once.
func TestRedactorPasses(t *testing.T) {
	for _, c := range []struct {
		format         Format
		written, there string
	}{
		{FormatEvents, "data: a\n\ndata: b\n\ndata: c", "data: a\n\ndata: b\n\n"},
		{FormatEvents, "data: a\r\n\r\n", "data: a\r\n\r\n"},
		{FormatEvents, "data: a\r\r", "data: a\r\r"},
		{FormatEvents, "data: a\r\n\r", "data: a\r\n\r"},
		{FormatJSON, "{\"a\":\"x\",\"b\":[1,2", "{\"a\":\"x\",\"b\":[1,"},
		{FormatJSON, "{\"a\":1}\n{\"b\":", "{\"a\":1}\n{\"b\":"},
	} {
		var out bytes.Buffer
		r := New().NewRedactor(&out, c.format, nil)
		_, _ = r.Write([]byte(c.written))
		if out.String() != c.there {
			t.Errorf("of %q there is %q, want %q", c.written, out.String(), c.there)
		}
	}
}

// TestRedactorReports: findings are reported where they stand in the stream.
func TestRedactorReports(t *testing.T) {
	for _, c := range []struct {
		format        Format
		text, pointer string
	}{
		{FormatJSON, `{"a":[0,{"b/c":"pay 536-90-4399"}]}`, "/a/1/b~1c"},
		{FormatJSON, "{}\n{\"x\":\"536-90-4399\"}", "/x"},
		{FormatEvents, "data: x\n\nevent: y\ndata: {\"a\":\ndata: \"536-90-4399\"}\n\n", "/a"},
		{FormatText, "pay 536-90-4399", ""},
		{FormatJSON, `["` + strings.Repeat("long ", 50_000) + `536-90-4399"]`, "/0"},
	} {
		r := New().NewRedactor(io.Discard, c.format, nil)
		for i := range len(c.text) {
			_, _ = r.Write([]byte(c.text[i : i+1]))
		}
		_ = r.Close()
		found := r.Report().Findings
		if len(found) != 1 || r.Count(iatp.SSN) != 1 || found[0].Pointer != c.pointer || c.text[found[0].Start:found[0].End] != "536-90-4399" {
			t.Errorf("%.60q: %+v", c.text, found)
		}
	}
}

// TestRedactorChoice: the choice is asked with the pointer.
func TestRedactorChoice(t *testing.T) {
	act := func(f Finding) Action {
		return map[string]Action{"/keep": Keep, "/mask": Mask}[f.Pointer]
	}
	text := `{"keep":"536-90-4399","mask":"536-90-4399","go":"536-90-4399"}`
	for _, c := range []struct {
		format     Format
		text, want string
	}{
		{FormatJSON, text, `{"keep":"536-90-4399","mask":"****4399","go":"[SSN_REDACTED]"}`},
		{FormatEvents, "data: " + text + "\n\n", "data: {\"keep\":\"536-90-4399\",\"mask\":\"****4399\",\"go\":\"[SSN_REDACTED]\"}\n\n"},
	} {
		if got := redact(t, c.format, act, []byte(c.text)); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// TestRedactorLongString: a string that is too long to be held is treated as it
// passes.
func TestRedactorLongString(t *testing.T) {
	for _, filler := range []string{"ab ", `\n\"é `, `\ud83d\ude00\\`, "４ "} {
		var in, want strings.Builder
		in.WriteString(`{"text":"`)
		want.WriteString(`{"text":"`)
		for i := range 40 {
			pad := strings.Repeat(filler, 1000+17*i)
			in.WriteString(pad + ` pay 4532\u00200151 1283 0366.`)
			want.WriteString(pad + ` pay [CREDIT_CARD_REDACTED].`)
		}
		in.WriteString(`","ssn":"536904399"}`)
		want.WriteString(`","ssn":"[SSN_REDACTED]"}`)
		for _, size := range []int{1000, 4099, 1 << 20} {
			var pieces [][]byte
			for b := []byte(in.String()); len(b) > 0; b = b[min(size, len(b)):] {
				pieces = append(pieces, b[:min(size, len(b))])
			}
			if got := redact(t, FormatJSON, nil, pieces...); got != want.String() {
				t.Errorf("filler %q, pieces of %d: not as expected (%d bytes, want %d)", filler, size, len(got), want.Len())
			}
		}
	}
}

// TestRedactorRefuses: what cannot be treated in bounded memory is an error.
func TestRedactorRefuses(t *testing.T) {
	for _, c := range []struct {
		format Format
		text   string
		want   error
	}{
		{FormatEvents, "data: " + strings.Repeat("x", maxEvent), ErrEventTooLarge},
		{FormatJSON, strings.Repeat("[", maxLevels+1), ErrTooDeep},
	} {
		r := New().NewRedactor(io.Discard, c.format, nil)
		if _, err := r.Write([]byte(c.text)); !errors.Is(err, c.want) {
			t.Errorf("got %v, want %v", err, c.want)
		}
		if _, err := r.Write([]byte("x")); !errors.Is(err, c.want) {
			t.Errorf("the error does not stay: %v", err)
		}
	}
}

// TestRedactorMemory: however much passes, little is kept.
func TestRedactorMemory(t *testing.T) {
	for _, format := range []Format{FormatText, FormatJSON, FormatEvents} {
		r := New().NewRedactor(io.Discard, format, nil)
		for i := range 3000 {
			fmt.Fprintf(r, "data: {\"n\":%d,\"card\":\"4532015112830366\"}\n\n", i)
		}
		kept := cap(r.out)
		switch x := r.reader.(type) {
		case *textReader:
			kept += cap(x.buf)
		case *eventReader:
			kept += cap(x.buf)
		case *jsonReader:
			kept += cap(x.text.buf)
		}
		if kept > 2*maxRetains {
			t.Errorf("%d: %d bytes are kept", format, kept)
		}
	}
}

// checkRedactor holds the laws of redaction to a stream: the pieces do not
// matter, JSON stays JSON, nothing is left, and twice is once.
func checkRedactor(t interface{ Errorf(string, ...any) }, format Format, body []byte, cut int) {
	once := redact(t, format, nil, body)
	if cut > 0 && cut < len(body) {
		if again := redact(t, format, nil, body[:cut], body[cut:]); again != once {
			t.Errorf("%q cut at %d:\n%q\n%q", body, cut, once, again)
		}
	}
	if twice := redact(t, format, nil, []byte(once)); twice != once {
		t.Errorf("%q: not idempotent:\n%q\n%q", body, once, twice)
	}
	s := New()
	switch {
	case format == FormatText && !noText(body):
		if r := s.ScanText([]byte(once)); len(r.Findings) > 0 {
			t.Errorf("%q: left in %q: %v", body, once, r.Findings)
		}
	case format == FormatJSON && ijson.Check(body, Limits{}) == nil:
		r, err := s.ScanJSON([]byte(once), Limits{})
		if err != nil {
			t.Errorf("%s\nredacted is no I-JSON: %v\n%s", body, err, once)
		}
		if len(r.Findings) > 0 {
			t.Errorf("%s\nleft in %s\n%+v", body, once, r.Findings)
		}
	}
}

func TestRedactorLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := drawJSON(t, 4)
		checkRedactor(t, FormatJSON, body, rapid.IntRange(0, len(body)).Draw(t, "cut"))
	})
	rapid.Check(t, func(t *rapid.T) {
		body := drawText(t)
		cut := rapid.IntRange(0, len(body)).Draw(t, "cut")
		checkRedactor(t, FormatText, []byte(body), cut)
		checkRedactor(t, FormatEvents, []byte("data: "+body+"\n\n"), cut)
	})
}

// TestRedactorRemembersNames: where JSON breaks off in a value, as at a byte that is no
// UTF-8 or a tab, what is read as text from there on is still the value of its name.
func TestRedactorRemembersNames(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"{\"ssn\":\"\t536904399\"}", "{\"ssn\":\"\t[SSN_REDACTED]\"}"},
		{"{\"a\":1,\"ssn\":\"\xe9 536904399\",\"b\":2}", "{\"a\":1,\"ssn\":\"\xe9 [SSN_REDACTED]\",\"b\":2}"},
		{`{"ssn":"\ud800 536904399"}`, `{"ssn":"\ud800 [SSN_REDACTED]"}`},
		{`{"ssn":["x",'536904399']}`, `{"ssn":["x",'[SSN_REDACTED]']}`},
		{`{"ssn":{"value":'536904399'}}`, `{"ssn":{"value":'[SSN_REDACTED]'}}`},
		{`{"ssn":"none",'order':'536904399'}`, `{"ssn":"none",'order':'536904399'}`},
	} {
		for cut := range c.in {
			if got := redact(t, FormatJSON, nil, []byte(c.in[:cut]), []byte(c.in[cut:])); got != c.want {
				t.Errorf("%q, cut at %d: %q, want %q", c.in, cut, got, c.want)
			}
		}
		var r = New().ScanBody([]byte(c.in), "application/json", Limits{})
		if n := len(r.Findings); n > 0 && c.in[r.Findings[0].Start:r.Findings[0].End] != "536904399" || (n == 0) != (c.in == c.want) {
			t.Errorf("%q: found %+v", c.in, r.Findings)
		}
	}
}

// drawTold returns JSON in which names tell of values, or do not.
func drawTold(t *rapid.T, depth int) string {
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
	switch kind := rapid.IntRange(0, 5).Draw(t, "kind"); {
	case depth == 0 || kind < 3:
		return pick("leaf", `"123"`, `123`, `"hunter2"`, `"A1234567"`, `123456789`, `536904399.4`, `5.36904399e8`, `"536904399"`, `"\u0035\u0033\u0036904399"`, `"\t"`,
			`"4532-0151-1283-0366"`, `"4532"`, `"0366"`, `""`, `null`, `"{\"cvv\":{\"value\":123}}"`, `"a@b.co"`, `"111222333"`, `"ssn"`, `"password"`, `"cvv"`, `"passport number"`)
	case kind == 3:
		var list []string
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			list = append(list, drawTold(t, depth-1))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	var list []string
	seen := map[string]bool{}
	for range rapid.IntRange(0, 3).Draw(t, "n") {
		name := pick("name", "ssn", "cvv", "password", "passport", "bsn", "name", "key", "type", "value", "id", "", "\\u0073sn", "a/b", "the social security number of the person", "a@b.co")
		if !seen[name] {
			seen[name] = true
			list = append(list, `"`+name+`":`+drawTold(t, depth-1))
		}
	}
	return "{" + strings.Join(list, ",") + "}"
}

// TestRedactorFindsWhatScanFinds: the same is found, at the same places, whether JSON is
// there as a whole or comes in pieces.
func TestRedactorFindsWhatScanFinds(t *testing.T) {
	s := New()
	rapid.Check(t, func(t *rapid.T) {
		body := []byte(drawTold(t, 4))
		whole, err := s.ScanJSON(body, Limits{})
		if err != nil {
			return // a name twice, in two spellings
		}
		r := s.NewRedactor(io.Discard, FormatJSON, nil)
		for piece := range slices.Chunk(body, rapid.IntRange(1, 50).Draw(t, "piece")) {
			if _, err := r.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		count := func(r Report) map[string]int {
			found := map[string]int{}
			for _, f := range r.Findings {
				found[fmt.Sprint(f.Kind, f.Pointer, f.InName, f.Confidence, f.Encoded)]++
			}
			return found
		}
		if d := cmp.Diff(count(whole), count(r.Report())); d != "" {
			t.Errorf("%s: -whole, +in pieces:\n%s", body, d)
		}
	})
}

func FuzzRedactor(f *testing.F) {
	f.Add(uint8(FormatJSON), []byte(`{"4532015112830366":[4532015112830366,"[\"{\\\"ssn\\\":536904399}\"]"]}`), 7)
	f.Add(uint8(FormatJSON), []byte(`[4532 0151 1283 0366,"\ud83d`), 3)
	f.Add(uint8(FormatEvents), []byte("data: 4532 0151\ndata: 1283 0366\n\n: x\r\n"), 9)
	f.Add(uint8(FormatText), []byte("ssn 536904399"), 5)
	f.Add(uint8(FormatForm), []byte("ssn=536904399&a+b=%34532015112830366&c=%7B%22ssn%22%3A536904399%7D&ann@example.com"), 9)
	f.Add(uint8(FormatParts), []byte("--b\r\nContent-Disposition: form-data; name=\"ssn\"\r\n\r\n536904399\r\n--b\nContent-Type: application/json\n\n{\"ssn\":536904399}\n--b--"), 60)
	f.Fuzz(func(t *testing.T, format uint8, body []byte, cut int) { checkRedactor(t, Format(format%5), body, cut) })
}

// TestRedactorDecodesLeaves: what is encoded in a leaf, a field or the data of an
// event is looked into as in a whole body; in a stream of text only as far as the
// window goes, and the rest is said to be opaque.
func TestRedactorDecodesLeaves(t *testing.T) {
	packed := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("padding ", 4000) + "card 4532-0151-1283-0366"))
	for _, c := range []struct {
		format Format
		body   string
		found  bool
	}{
		{FormatJSON, `{"a":1,"data":"` + packed + `"}`, true},
		{FormatEvents, "data: {\"data\":\"" + packed + "\"}\n\n", true},
		{FormatForm, "a=1&data=" + url.QueryEscape(packed), true},
		{FormatText, "see " + packed + " there", false},
	} {
		var out bytes.Buffer
		r := New().NewRedactor(&out, c.format, nil)
		for chunk := range slices.Chunk([]byte(c.body), 1000) {
			if _, err := r.Write(chunk); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		report := r.Report()
		if c.found && (len(report.Findings) != 1 || !report.Findings[0].Encoded || bytes.Contains(out.Bytes(), []byte(packed[:64]))) {
			t.Errorf("%v: %v, %d bytes passed", c.format, report.Findings, out.Len())
		}
		if !c.found && (len(report.Findings) > 0 || len(report.Opaque) == 0) {
			t.Errorf("%v: %v, opaque %v", c.format, report.Findings, report.Opaque)
		}
	}
}

// TestRedactorLongStrings: what looks like a string of JSON, is too long to be
// held and then breaks off, is passed on once, however it is cut.
func TestRedactorLongStrings(t *testing.T) {
	fill := func(text string, n int) string { return strings.Repeat(text, n/len(text)) }
	for _, tail := range []int{100, 9 << 10, 40 << 10} {
		for _, before := range []int{100 << 10, 116 << 10} {
			for _, end := range []string{`\q end"}`, "\x01 end\"}", ""} {
				in := `{"bsn":"` + fill("a b ", before) + "111222333 " + fill("e f ", tail) + end
				want := strings.Replace(in, "111222333", "[NL_BSN_REDACTED]", 1)
				for _, step := range []int{1 << 10, 32 << 10, len(in)} {
					var pieces [][]byte
					for p := []byte(in); len(p) > 0; p = p[min(step, len(p)):] {
						pieces = append(pieces, p[:min(step, len(p))])
					}
					if got := redact(t, FormatJSON, func(Finding) Action { return Keep }, pieces...); got != in {
						t.Errorf("%d, %d, %q in pieces of %d: %d bytes become %d", before, tail, end, step, len(in), len(got))
					}
					if got := redact(t, FormatJSON, nil, pieces...); got != want {
						t.Errorf("%d, %d, %q in pieces of %d, redacted: %d bytes become %d, and should %d", before, tail, end, step, len(in), len(got), len(want))
					}
				}
			}
		}
	}
}

// TestRedactorCutsCostLittle: how a stream is cut does not change much how many
// of its bytes are searched for the end of something, and twice the stream costs
// no more than twice as much.
func TestRedactorCutsCostLittle(t *testing.T) {
	const most = 2 * maxDelimiter // the beginning of a delimiter is looked for again
	for _, c := range []struct {
		name   string
		format Format
		head   string
		unit   string
		tail   string
	}{
		{"text", FormatText, "", "a 1 ", ""},
		{"a long line", FormatEvents, "data: ", "a", "\n\n"},
		{"lines", FormatEvents, "", "data: a\n", "\n"},
		{"line ends of two bytes", FormatEvents, "", "data:\r\n", "\r\n"},
		{"events", FormatEvents, "", ":\n\n", ""},
		{"a long field", FormatForm, "a=", "a", ""},
		{"fields", FormatForm, "", "a=b&", ""},
		{"strings", FormatJSON, "[", `"` + strings.Repeat("x", 60<<10) + `",`, "1]"},
		{"a long string", FormatJSON, `["`, "long ", `"]`},
		{"backslashes", FormatJSON, `["`, `\\`, `"]`},
		{"escaped quotes", FormatJSON, `["`, `\"`, `"]`},
		{"names", FormatJSON, "{", `"` + strings.Repeat("x", 30<<10) + `":1,`, `"a":1}`},
		{"numbers", FormatJSON, "[", strings.Repeat("1", maxNumber) + ",", "1]"},
		{"space behind numbers", FormatJSON, "[", "1" + strings.Repeat(" ", maxSpace) + ",", "1]"},
		{"space", FormatJSON, "[", "  \n", "1]"},
		{"parts", FormatParts, "", "--b\r\n\r\n\r\n", "--b--"},
		{"parts with other line ends", FormatParts, "", "--b\n\n", "--b--"},
		{"a long part", FormatParts, "--b\r\n\r\n", "a-", "\r\n--b--"},
		{"nearly delimiters", FormatParts, "--b\r\n\r\n", "x--b", "\r\n--b--"},
		{"a long header", FormatParts, "", strings.Repeat("--b: c\r\n", maxPartHeader/9) + "\r\n\r\n", "--b--"},
		{"events in parts", FormatParts, "--b\r\nContent-Type: text/event-stream\r\n\r\n", "data: a\n", "\n\r\n--b--"},
	} {
		stream := func(size int) []byte {
			return []byte(c.head + strings.Repeat(c.unit, max(size/len(c.unit), 1)) + c.tail)
		}
		searched := func(stream []byte, step int) int {
			r := New().NewRedactor(io.Discard, c.format, nil)
			for ; len(stream) > 0; stream = stream[min(step, len(stream)):] {
				if _, err := r.Write(stream[:min(step, len(stream))]); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
			if err := r.Close(); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			return r.searched
		}
		small, large := stream(64<<10), stream(256<<10)
		whole, twice := searched(small, len(small)), searched(large, len(large))
		if each := searched(small, 1); each > most*(whole+1<<10) || each > most*len(small) {
			t.Errorf("%s: %d bytes cost %d as a whole, and %d byte by byte", c.name, len(small), whole, each)
		}
		if grown := len(large) / len(small); twice > 2*grown*(whole+1<<10) {
			t.Errorf("%s: %d bytes cost %d, and %d bytes cost %d", c.name, len(small), whole, len(large), twice)
		}
	}
}
