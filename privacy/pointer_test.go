package privacy

import (
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// TestPointersHideNamesHoweverWritten: a sensitive member name stands redacted in a pointer,
// however it is written there, in bodies and in streams.
func TestPointersHideNamesHoweverWritten(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{`{"a":{"4532-0151-1283-0366":["ann@example.com"]}}`, "/a/[CREDIT_CARD_REDACTED]/0"},
		{`{"4532/0151/1283/0366":"ann@example.com"}`, "/[CREDIT_CARD_REDACTED]"},
		{`{"4532\/0151\/1283\/0366":{"x~y/z":"ann@example.com"}}`, "/[CREDIT_CARD_REDACTED]/x~0y~1z"},
		{`{"id 4532/0151/1283/0366~/1":"ann@example.com"}`, "/id [CREDIT_CARD_REDACTED]~0~11"},
		{`{"\u0034532\u00a00151\u20031283 0366":"ann@example.com"}`, "/[CREDIT_CARD_REDACTED]"},
		{`{"bob@example.org/x":{"mail":"ann@example.com"}}`, "/[EMAIL_REDACTED]~1x/mail"},
		{`{"a":1,"bob@example.org":2,"b":[{"c":3},{"ssn":{"536904399":"ann@example.com"}}]}`, "/b/1/ssn/[SSN_REDACTED]"},
		{`{"card~1":{"4532":"ann@example.com"}}`, "/card~01/4532"},
	} {
		check := func(how string, found []Finding) {
			for _, f := range found {
				if !f.InName && f.Pointer != c.want {
					t.Errorf("%s of %s: pointer %s, want %s", how, c.body, f.Pointer, c.want)
				}
				if left := scanNames(f.Pointer); len(left) > 0 {
					t.Errorf("%s of %s: pointer %s still has %v", how, c.body, f.Pointer, left)
				}
			}
		}
		check("scan", scan(t, c.body).Findings)
		r := New().NewRedactor(io.Discard, FormatJSON, nil)
		_, _ = r.Write([]byte(c.body))
		_ = r.Close()
		check("stream", r.Report().Findings)
		var asked []Finding
		report := scan(t, c.body)
		for i := range report.Findings {
			report.Findings[i].Pointer = "" // as if the report had lost it
		}
		AppendRedactedBy(nil, []byte(c.body), report, func(f Finding) Action {
			asked = append(asked, f)
			return Redact
		})
		check("redaction", asked)
	}
}

// scanNames returns what is found in the names of a pointer.
func scanNames(pointer string) (found []iatp.DataClass) {
	for name := range strings.SplitSeq(pointer, "/") {
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		found = append(found, New().Scan([]byte(name)).Classes()...)
	}
	return found
}

// TestLongPointers: a pointer that is too long is not given away.
func TestLongPointers(t *testing.T) {
	for _, c := range []struct {
		name string
		body string
	}{
		{"name", `{"` + strings.Repeat("long ", maxPointer/5) + `":{"x":"ann@example.com"}}`},
		{"last name", `{"a":{"` + strings.Repeat("long ", maxPointer/5) + `":"ann@example.com"}}`},
		{"many names", strings.Repeat(`{"some name":`, 600) + `"ann@example.com"` + strings.Repeat("}", 600)},
	} {
		r, err := New().ScanJSON([]byte(c.body), ijson.Limits{Depth: 1000})
		if err != nil || len(r.Findings) != 1 || r.Findings[0].Pointer != "" {
			t.Errorf("%s: %.100v, %v", c.name, r.Findings, err)
		}
		s := New().NewRedactor(io.Discard, FormatJSON, nil)
		_, _ = s.Write([]byte(c.body))
		_ = s.Close()
		if found := s.Report().Findings; len(found) != 1 || found[0].Pointer != "" {
			t.Errorf("%s in a stream: %.100v", c.name, found)
		}
	}
}

// TestPointersCost: the memory that is asked for grows as a body does, whatever
// stands above its values. A name above must not be read again for each of them.
func TestPointersCost(t *testing.T) {
	deep := func(name, inner string, depth int) string {
		return strings.Repeat(`{"`+name+`":`, depth) + inner + strings.Repeat("}", depth)
	}
	list := func(value string, n int) string { return "[" + strings.Repeat(value+",", n-1) + value + "]" }
	for _, c := range []struct {
		name string
		body func(n int) string
	}{
		{"parts of values", func(n int) string {
			return deep(strings.Repeat("ann@example.com ", n/4), `{"card":`+list("1234", 50*n)+`}`, 20)
		}},
		{"values", func(n int) string {
			return deep(strings.Repeat("ann@example.com ", n/4), list(`"ann@example.com"`, 10*n), 20)
		}},
		{"values in a string", func(n int) string {
			return deep(strings.Repeat("ann@example.com ", n), `"`+strings.Repeat("ann@example.com ", 10*n)+`"`, 2)
		}},
		{"members", func(n int) string {
			var b strings.Builder
			for i := range 10 * n {
				b.WriteString(`"m` + strconv.Itoa(i) + `":"ann@example.com",`)
			}
			return deep(strings.Repeat("ann@example.com ", n), "{"+b.String()+`"x":1}`, 10)
		}},
		{"deep, in a stream", func(n int) string { return deep("ann@example.com", list(`"ann@example.com"`, n), min(n, 900)) }},
	} {
		for _, run := range []struct {
			name string
			do   func(body []byte)
		}{
			{"scan", func(body []byte) { _, _ = New().ScanJSON(body, ijson.Limits{Depth: 1000}) }},
			{"redaction", func(body []byte) {
				r, _ := New().ScanJSON(body, ijson.Limits{Depth: 1000})
				AppendRedactedBy(nil, body, r, func(Finding) Action { return Redact })
			}},
			{"stream", func(body []byte) {
				r := New().NewRedactor(io.Discard, FormatJSON, nil)
				_, _ = r.Write(body)
				_ = r.Close()
			}},
		} {
			few, many := []byte(c.body(64)), []byte(c.body(512))
			run.do(many) // what is kept for the next scan is there
			a, b := asked(func() { run.do(few) }), asked(func() { run.do(many) })
			// A pointer that is given away may take all of maxPointer for each value.
			if grown := float64(b) / float64(a+(1<<20)); grown > 16 {
				t.Errorf("%s, %s: %d bytes of JSON take %d of memory, %d take %d", c.name, run.name, len(few), a, len(many), b)
			}
		}
	}
}

// asked returns how much memory do asks for, over all.
func asked(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
