package privacy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
)

// TestScanBody finds and takes out a value in every kind of body.
func TestScanBody(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	const multipart = "multipart/form-data; boundary=xx"
	part := func(header, body string) string { return "--xx\r\n" + header + "\r\n\r\n" + body + "\r\n" }
	field := func(name string) string { return `Content-Disposition: form-data; name="` + name + `"` }
	for _, c := range []struct {
		name, contentType, body string
		pointer                 string
		want                    string
		opaque                  Reason
	}{
		{"JSON", "application/json", `{"ssn":536904399}`, "/ssn", `{"ssn":"[SSN_REDACTED]"}`, ""},
		{"JSON of a kind", "application/problem+json; charset=utf-8", `{"ssn":536904399}`, "/ssn", `{"ssn":"[SSN_REDACTED]"}`, ""},
		{"lines", "application/x-ndjson", "{\"a\":1}\n{\"ssn\":536904399}\n", "/ssn", "{\"a\":1}\n{\"ssn\":\"[SSN_REDACTED]\"}\n", ""},
		{"sequence", "application/json-seq", "\x1e{\"a\":1}\n\x1e{\"ssn\":536904399}\n", "/ssn", "\x1e{\"a\":1}\n\x1e{\"ssn\":\"[SSN_REDACTED]\"}\n", ""},
		{"no JSON", "application/json", "{ssn: 536904399}", "", "{ssn: [SSN_REDACTED]}", ""},
		{"events", "text/event-stream", "data: {\"ssn\":536904399}\n\n", "/ssn", "data: {\"ssn\":\"[SSN_REDACTED]\"}\n\n", ""},
		{"form", form, "a=1&ssn=536904399&b=%C3%A9", "/ssn", "a=1&ssn=%5BSSN_REDACTED%5D&b=%C3%A9", ""},
		{"form with escapes", form, "a%2Fb=536%2D90%2d4399&c", "/a~1b", "a%2Fb=%5BSSN_REDACTED%5D&c", ""},
		{"form with JSON", form, "doc=%7B%22ssn%22%3A536904399%7D", "/doc", "doc=%7B%22ssn%22%3A%22%5BSSN_REDACTED%5D%22%7D", ""},
		{"form, name", form, "536-90-4399=x", "/[SSN_REDACTED]", "%5BSSN_REDACTED%5D=x", ""},
		{"part, told by name", multipart, part(field("ssn"), "536904399") + "--xx--\r\n", "", part(field("ssn"), "[SSN_REDACTED]") + "--xx--\r\n", ""},
		{"part of JSON", multipart, part(field("a"), "x") + part("content-type: application/json", `{"ssn":536904399}`) + "--xx--", "/ssn", part(field("a"), "x") + part("content-type: application/json", `{"ssn":"[SSN_REDACTED]"}`) + "--xx--", ""},
		{"part with a header", multipart, part(field("a")+"\r\nX-Note: 536-90-4399", "x") + "--xx--", "", part(field("a")+"\r\nX-Note: [SSN_REDACTED]", "x") + "--xx--", ""},
		{"part that is binary", multipart, part("Content-Type: image/png", "\x89PNG\x00\x01") + part(field("b"), "536-90-4399") + "--xx--", "", part("Content-Type: image/png", "\x89PNG\x00\x01") + part(field("b"), "[SSN_REDACTED]") + "--xx--", OpaqueBinary},
		{"part in base64", multipart, part("Content-Transfer-Encoding: base64", "eA==") + part(field("b"), "536-90-4399") + "--xx--", "", part("Content-Transfer-Encoding: base64", "eA==") + part(field("b"), "[SSN_REDACTED]") + "--xx--", OpaqueEncoded},
		{"lines end with LF", multipart, "--xx\n" + field("ssn") + "\n\n536904399\n--xx--\n", "", "--xx\n" + field("ssn") + "\n\n[SSN_REDACTED]\n--xx--\n", ""},
		{"XML", "application/xml", "<a><ssn>536904399</ssn></a>", "", "<a><ssn>[SSN_REDACTED]</ssn></a>", ""},
		{"XML of a kind", "application/soap+xml", "<a>536&#45;90-4399</a>", "", "<a>[SSN_REDACTED]</a>", ""},
		{"YAML", "application/yaml", "person:\n  ssn: 536904399\n", "", "person:\n  ssn: [SSN_REDACTED]\n", ""},
		{"CSV", "text/csv", "name,ssn\nann,536-90-4399\n", "", "name,ssn\nann,[SSN_REDACTED]\n", ""},
		{"no type", "", "ssn 536904399", "", "ssn [SSN_REDACTED]", ""},
	} {
		s := New()
		r := s.ScanBody([]byte(c.body), c.contentType, Limits{})
		if len(r.Findings) != 1 || r.Findings[0].Kind != iatp.SSN || r.Findings[0].Pointer != c.pointer || !strings.Contains(c.body[r.Findings[0].Start:r.Findings[0].End], "4399") {
			t.Errorf("%s: found %+v", c.name, r.Findings)
		}
		if c.opaque == "" && len(r.Opaque) > 0 || c.opaque != "" && (len(r.Opaque) != 1 || r.Opaque[0].Reason != c.opaque) {
			t.Errorf("%s: opaque %v", c.name, r.Opaque)
		}
		got := string(AppendRedacted([]byte(">"), []byte(c.body), r))
		if d := cmp.Diff(">"+c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
		if left := s.ScanBody([]byte(got[1:]), c.contentType, Limits{}); len(left.Findings) > 0 {
			t.Errorf("%s: left %+v in %q", c.name, left.Findings, got)
		}
		format := FormatOf(c.contentType)
		for i := range len(c.body) {
			if got := redact(t, format, nil, []byte(c.body[:i]), []byte(c.body[i:])); got != c.want {
				t.Fatalf("%s: cut at %d: %q", c.name, i, got)
			}
		}
	}
}

// TestScanBodyBinary: what is no text is opaque.
func TestScanBodyBinary(t *testing.T) {
	for _, contentType := range []string{"image/png", "application/octet-stream", "text/plain", "application/json"} {
		if r := New().ScanBody([]byte("\x89PNG\x00\x01\x02\x03"), contentType, Limits{}); len(r.Opaque) != 1 || r.Opaque[0].Reason != OpaqueBinary {
			t.Errorf("%s: opaque %v", contentType, r.Opaque)
		}
	}
}

func FuzzScanBody(f *testing.F) {
	f.Add("multipart/form-data; boundary=xx", []byte("--xx\r\nContent-Disposition: form-data; name=\"ssn\"\r\n\r\n536904399\r\n--xx--"))
	f.Add("application/x-www-form-urlencoded", []byte("ssn=536904399&a=%7B%22ssn%22%3A536904399%7D"))
	f.Add("text/event-stream", []byte("data: {\"ssn\":536904399}\n\n"))
	f.Add("application/json", []byte("{\"ssn\":536904399}\n{}"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		s := New()
		r := s.ScanBody(body, contentType, Limits{})
		for _, x := range r.Findings {
			if x.Start < 0 || x.End < x.Start || x.End > len(body) {
				t.Errorf("%q: finding %+v", body, x)
			}
		}
		once := AppendRedacted(nil, body, r)
		again := s.ScanBody(once, contentType, Limits{})
		if twice := AppendRedacted(nil, once, again); string(twice) != string(once) {
			t.Errorf("%q: not idempotent:\n%q\n%q", body, once, twice)
		}
	})
}
