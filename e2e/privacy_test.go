package e2e_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Canaries: values that must be found nowhere. Cards and numbers are well-known
// or made-up ones that pass their checks.
const (
	visa      = "4532015112830366"
	amex      = "378282246310005"
	visa19    = "4444333322221111000"
	visa13    = "4222222222222"
	replyCard = "4111222233334448"
	ssn       = "536228726"
	replySSN  = "524169731"
	mail      = "canary.person@mail.example.org"
	replyMail = "canary.reply@mail.example.org"
)

var canaries = []string{visa, amex, visa19, visa13, replyCard, ssn, replySSN, mail, replyMail}

// leaks names the canaries in data, whatever escapes and separators they hide
// behind: all that is not a digit is left out before numbers are looked for.
func leaks(data []byte) []string {
	plain := unescape(data)
	digits := foldDigits(plain)
	var found []string
	for _, c := range canaries {
		in := digits
		if strings.Contains(c, "@") {
			in = bytes.ToLower(plain)
		}
		if bytes.Contains(in, []byte(c)) {
			found = append(found, c)
		}
	}
	return found
}

var escape = regexp.MustCompile(`\\+u[0-9a-fA-F]{4}`)

// steps are the escapes of JSON pointers.
var steps = strings.NewReplacer("~1", "/", "~0", "~")

// unescape undoes JSON's \uXXXX, however deep it is nested, and the escapes of
// pointers.
func unescape(data []byte) []byte {
	data = []byte(steps.Replace(string(data)))
	return escape.ReplaceAllFunc(data, func(e []byte) []byte {
		c, _ := strconv.ParseUint(string(e[len(e)-4:]), 16, 16) // the expression matched hex digits
		return []byte(string(rune(c)))
	})
}

// foldDigits leaves the digits, full-width ones as ASCII.
func foldDigits(data []byte) []byte {
	var out []byte
	for _, r := range string(data) {
		switch {
		case '0' <= r && r <= '9':
			out = append(out, byte(r))
		case '０' <= r && r <= '９':
			out = append(out, byte(r-'０'+'0'))
		}
	}
	return out
}

func TestLeaksSees(t *testing.T) {
	for _, text := range []string{
		"4532-0151-1283-0366", "4532 0151\u00a01283.0366", `\u0034532015112830366`, "４５３２ 0151 1283 0366",
		`Canary.Person\u0040mail.example.org`, `"5\\u00336228726"`, "/4532~10151~11283~10366/x",
	} {
		if len(leaks([]byte("x"+text+"y"))) != 1 {
			t.Errorf("%q is not seen", text)
		}
	}
	if got := leaks([]byte("4532-0151-1283-0367 person@mail.example.org")); got != nil {
		t.Errorf("seen without reason: %v", got)
	}
}

// wantNoLeak looks everywhere that a running sidecar can be read.
func (s *sidecar) wantNoLeak(t *testing.T, replies ...*reply) {
	t.Helper()
	look := func(where, text string) {
		if found := leaks([]byte(text)); found != nil {
			t.Errorf("%s holds %v:\n%.2000s", where, found, text)
		}
	}
	for _, path := range []string{"/metrics", "/trace?after=0&limit=1000", "/log/export", "/health", "/"} {
		r := s.get(t, path, s.operator(t))
		if r.status != 200 {
			t.Errorf("GET %s: %d %s", path, r.status, r.text)
		}
		look("GET "+path, r.text)
	}
	for _, r := range replies {
		id := r.header.Get("X-Agent-Trace-ID")
		if r.header.Get("IATP-From") == "sidecar" {
			look("a problem", r.text)
		}
		look("headers", fmt.Sprint(r.header))
		if id != "" {
			look("trace", s.get(t, "/trace/"+id, s.operator(t)).text)
		}
	}
	for _, args := range [][]string{{"trace"}, {"trace", "--json"}, {"log", "export"}} {
		args = append(args, "--data", s.data)
		code, out, errs := tool(t, args...)
		if code != 0 || out == "" {
			t.Errorf("iatp %v: exit %d %s", args, code, errs)
		}
		look(strings.Join(args, " "), out+errs)
	}
}

// wantNoLeakInBundles looks into each file of what a stranger is given about the
// first two calls that are on record. The sidecar has ended, so
// that all is signed.
func (s *sidecar) wantNoLeakInBundles(t *testing.T, replies []*reply) {
	t.Helper()
	exported := 0
	for _, r := range replies {
		id := r.header.Get("X-Agent-Trace-ID")
		if exported == 2 || id == "" {
			continue
		}
		code, out, errs := tool(t, "export", "--trace", id, "--data", s.data, "-o", "-")
		if strings.Contains(errs, "no record of this trace") {
			continue
		}
		exported++
		bundle, err := zip.NewReader(strings.NewReader(out), int64(len(out)))
		if code != 0 || err != nil || len(bundle.File) == 0 {
			t.Errorf("iatp export: exit %d, %v %s", code, err, errs)
			continue
		}
		for _, file := range bundle.File {
			if text, err := fs.ReadFile(bundle, file.Name); err != nil || leaks(text) != nil {
				t.Errorf("%s in the bundle of %s holds %v, %v", file.Name, id, leaks(text), err)
			}
		}
	}
	if exported == 0 {
		t.Error("no call could be exported")
	}
}

// wantNothingLeft reloads and ends the sidecar and looks at all that is left of
// it.
func (s *sidecar) wantNothingLeft(t *testing.T, replies ...*reply) {
	t.Helper()
	s.signal(t, syscall.SIGHUP)
	eventually(t, 30*time.Second, func() error {
		if text := s.stderr.String(); !strings.Contains(text, "reloaded manifest") {
			return fmt.Errorf("nothing is said of the reload:\n%s", text)
		}
		return nil
	})
	s.stop(t)
	checkLog(t, s.data)
	s.wantNoLeakInBundles(t, replies)
	files := 0
	err := filepath.WalkDir(s.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if found := leaks(data); found != nil {
			t.Errorf("%s holds %v", path, found)
		}
		return err
	})
	if err != nil || files < 4 {
		t.Errorf("%d files in the data directory, %v", files, err)
	}
	if found := leaks([]byte(s.stdout.String() + s.stderr.String())); found != nil {
		t.Errorf("the program's own log holds %v:\n%s%s", found, s.stdout.String(), s.stderr.String())
	}
}

// evasions are ways to write a card, as a whole body each.
var evasions = map[string]string{
	"dashes":             `{"payment":"4532-0151-1283-0366"}`,
	"spaces":             `{"payment":"4532 0151 1283 0366"}`,
	"dots":               `{"payment":"4532.0151.1283.0366"}`,
	"no-break spaces":    "{\"payment\":\"4532\u00a00151\u00a01283\u00a00366\"}",
	"thin spaces":        "{\"payment\":\"4532\u20090151\u20091283\u20090366\"}",
	"en dashes":          "{\"payment\":\"4532\u20130151\u20131283\u20130366\"}",
	"zero-width spaces":  "{\"payment\":\"4532\u200b0151\u200b1283\u200b0366\"}",
	"no separators":      `{"payment":"4532015112830366"}`,
	"number":             `{"payment":4532015112830366}`,
	"escapes":            `{"payment":"\u0034532\u0030151\u00312830366"}`,
	"all escapes":        `{"payment":"` + escaped(visa) + `"}`,
	"escaped separators": `{"payment":"4532\u002d0151\u20281283\u00a00366"}`,
	"full-width digits":  `{"payment":"４５３２０１５１１２８３０３６６"}`,
	"nested JSON":        `{"payment":"{\"card\":\"4532-0151-1283-0366\"}"}`,
	"nested twice":       `{"payment":"{\"a\":\"{\\\"card\\\":4532015112830366}\"}"}`,
	"nested escapes":     `{"payment":"{\"card\":\"\\u0034532015112830366\"}"}`,
	"member name":        `{"4532-0151-1283-0366":"payment"}`,
	"name with slashes":  `{"4532/0151/1283/0366":"canary.person@mail.example.org"}`,
	"name in a path":     `{"a":{"4532\/0151\/1283\/0366":[{"mail":"canary.person@mail.example.org"}]}}`,
	"long exponent":      `{"payment":4532015112830366` + strings.Repeat("0", 121) + `e-121}`,
	"after rounding":     `{"payment":4532015112830365.9999999999999999,"contact":"canary.person@mail.example.org"}`,
	"small mantissa":     `{"payment":0.` + strings.Repeat("0", 30) + `4532015112830366e46}`,
	"in a sentence":      `{"text":"my card is 4532 0151 1283 0366, thanks"}`,
	"in an array":        `[[["4532015112830366"]]]`,
	"top-level string":   `"4532015112830366"`,
	"top-level number":   `4532015112830366`,
	"American Express":   `{"payment":"378282246310005"}`,
	"grouped Amex":       `{"payment":"3782 822463 10005"}`,
	"19 digits":          `{"payment":"4444333322221111000"}`,
	"13 digits":          `{"payment":"4222222222222"}`,
	"long before":        `{"text":"` + strings.Repeat("x", 40<<10) + `","payment":"4532015112830366"}`,
}

func escaped(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, `\u%04x`, c)
	}
	return b.String()
}

func TestEvasionsAreBlocked(t *testing.T) {
	t.Parallel()
	s := startExample(t, "honeypot")
	var replies []*reply
	for name, body := range evasions {
		r := s.post(t, body, "X-User-Override: true")
		replies = append(replies, r)
		if r.status != 403 || r.member("blocked") != true || !strings.HasPrefix(fmt.Sprint(r.member("error")), "Privacy Violation") {
			t.Errorf("%s: %d %s", name, r.status, r.text)
		}
	}
	for _, body := range []string{`{"ssn":"536-22-8726"}`, `{"text":"ssn 536 22 8726"}`, `{"ssn":536228726}`} {
		r := s.post(t, body)
		replies = append(replies, r)
		if r.status != 403 {
			t.Errorf("%s: %d %s", body, r.status, r.text)
		}
	}
	for _, body := range []string{
		`{"payment":"4532-0151-1283-0367"}`, `{"payment":4532015112830367}`, // Luhn fails
		`{"id":"90009000900090009000900"}`,             // too long for a card
		`{"contact":"canary.person@mail.example.org"}`, // found, but no reason to block
	} {
		r := s.post(t, body)
		replies = append(replies, r)
		if r.status != 449 {
			t.Errorf("%s: %d %s", body, r.status, r.text)
		}
	}
	s.wantNoLeak(t, replies...)
	s.wantNothingLeft(t, replies...)
}

// TestRequestsAreRedacted: what an agent may have, the recorder still may not.
func TestRequestsAreRedacted(t *testing.T) {
	t.Parallel()
	a := startAgent(t, nil)
	s := setup{agent: a.url}.start(t)
	var replies []*reply
	pass := func(body string, header ...string) {
		r := s.post(t, body, header...)
		replies = append(replies, r)
		if r.status != 200 {
			t.Errorf("%.100s: %d %s", body, r.status, r.text)
		}
	}
	for _, body := range evasions {
		pass(body)
	}
	pass(`{"contact":"canary.person@mail.example.org","again":"Canary.Person\u0040mail.example.org"}`)
	for shift := range 40 { // across the place where a long payload is cut
		pass(`{"text":"` + strings.Repeat("x", 16<<10-60+shift) + ` 4532 0151 1283 0366 ` + strings.Repeat("y", 300) + `"}`)
	}
	if got := len(a.calls()); got != len(replies) {
		t.Errorf("the agent saw %d calls of %d", got, len(replies))
	}
	for _, c := range a.calls() {
		if leaks([]byte(c.body)) == nil {
			t.Errorf("the agent got a changed body: %.200s", c.body)
		}
	}

	// Where nothing can be redacted, it is refused: ids and headers.
	for _, header := range []string{
		"X-Agent-Trace-ID: 4532-0151-1283-0366", "Idempotency-Key: 4532015112830366", "Accept-Language: 4532015112830366",
		"Prefer: mail=canary.person@mail.example.org", "Content-Encoding: 4532015112830366", "traceparent: 4532015112830366",
	} {
		r := s.post(t, trip, header)
		replies = append(replies, r)
		last := a.calls()[len(a.calls())-1]
		if found := leaks([]byte(fmt.Sprint(last.header))); r.status < 400 && found != nil {
			t.Errorf("%s: %d, and the agent got it", header, r.status)
		}
	}
	for _, path := range []string{"/proxy/4532015112830366", "/trace/4532015112830366", "/quarantine/canary.person@mail.example.org", "/4532015112830366", "/proxy?card=4532015112830366"} {
		r, err := s.send("POST", path, trip, "Content-Type: application/json")
		if err != nil || r.status < 400 {
			t.Errorf("POST %s: %v %v", path, r, err)
			continue
		}
		replies = append(replies, r)
	}
	for _, body := range []string{`{"4532015112830366":1,"4532015112830366":2}`, `{"a":4532015112830366,}`, `{"4532015112830366":`, `4532015112830366x`} {
		r := s.post(t, body)
		replies = append(replies, r)
		if r.status != 400 {
			t.Errorf("%s: %d", body, r.status)
		}
	}
	s.wantNoLeak(t, replies...)
	s.wantNothingLeft(t, replies...)
}

// TestRepliesAreRedacted: an agent's answers reach the caller as they are, and
// the recorder without what is sensitive, whatever they are made of.
func TestRepliesAreRedacted(t *testing.T) {
	t.Parallel()
	answers := map[string]http.HandlerFunc{
		"JSON":        whole("application/json", `{"card":"4111-2222-3333-4448","n":4111222233334448,"s":"\u0034111222233334448","ssn":"524-16-9731","mail":"canary.reply@mail.example.org"}`),
		"bad JSON":    whole("application/json", `{"card":"4111-2222-3333-4448","ssn":"524-16-9731",`),
		"text":        whole("text/plain", "the card 4111 2222 3333 4448, the ssn 524-16-9731, canary.reply@mail.example.org"),
		"no type":     whole("", "card 4111222233334448"),
		"long JSON":   whole("application/json", `{"text":"`+strings.Repeat("x", 16<<10-40)+` 4111 2222 3333 4448","mail":"`+replyMail+`"}`),
		"larger text": whole("text/plain", strings.Repeat("lorem ipsum ", 20<<10)+" card 4111 2222 3333 4448"),
		"cut text":    whole("text/plain", strings.Repeat("x", 8<<10-10)+" 4111 2222 3333 4448 "+strings.Repeat("y", 100<<10)),
		"error page":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no funds on 4111222233334448", 500) },
		"head":        headers("X-Card", replyCard, "Content-Type", "text/plain; mail="+replyMail),
		"chunked":     pieces("text/plain", 1, "pay with 4111 2222 3333 4448 or write to canary.reply@mail.example.org, ssn 524-16-9731."),
		"events":      pieces("text/event-stream", 3, "data: {\"card\":\"4111-2222-3333-4448\"}\n\ndata: {\"mail\":\"canary.reply@mail.example.org\"}\n\n"),
		"escapes":     pieces("application/x-ndjson", 2, `{"card":"`+escaped(replyCard)+`"}`+"\n"),
		"wide":        pieces("text/plain; charset=utf-8", 1, "４１１１２２２２３３３３４４４８"),
	}
	a := startAgent(t, func(w http.ResponseWriter, r *http.Request) { answers[r.Header.Get("Accept-Language")](w, r) })
	s := setup{agent: a.url}.start(t)
	var replies []*reply
	for name := range answers {
		r := s.post(t, trip, "Accept-Language: "+name)
		replies = append(replies, r)
		if name != "head" && leaks([]byte(r.text)) == nil {
			t.Errorf("%s: the caller got a changed answer: %.300s", name, r.text)
		}
		if name == "head" {
			r.header.Del("X-Card") // the agent's own words to the caller
			r.header.Del("Content-Type")
			continue
		}
		if got := s.findings(t, r); !strings.Contains(got, "credit_card") {
			t.Errorf("%s: the record says that it found %q", name, got)
		}
	}
	s.wantNoLeak(t, replies...)
	if m := s.get(t, "/metrics").text; !strings.Contains(m, `direction="response"`) || !strings.Contains(m, `kind="credit_card"`) {
		t.Errorf("/metrics counts no findings in answers:\n%s", m)
	}
	s.wantNothingLeft(t, replies...)
}

// findings are the kinds that the end of an exchange's record names.
func (s *sidecar) findings(t *testing.T, r *reply) string {
	t.Helper()
	var kinds []string
	for _, l := range s.records(t, 0) {
		if l.TraceID == r.header.Get("X-Agent-Trace-ID") && (l.Type == "response" || l.Type == "error") {
			for _, f := range l.Findings {
				kinds = append(kinds, f.Kind)
			}
		}
	}
	return strings.Join(kinds, " ")
}

func whole(contentType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{contentType}
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		io.WriteString(w, text)
	}
}

func headers(pairs ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(pairs); i += 2 {
			w.Header().Set(pairs[i], pairs[i+1])
		}
		io.WriteString(w, "fine")
	}
}

// pieces sends text n bytes at a time, each in a chunk of its own.
func pieces(contentType string, n int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for rest := text; len(rest) > 0; {
			n := min(n, len(rest))
			io.WriteString(w, rest[:n])
			w.(http.Flusher).Flush()
			rest = rest[n:]
			time.Sleep(200 * time.Microsecond)
		}
	}
}

// TestEventsPassAtOnce: an answer that is a stream of events is not held back
// by being looked at.
func TestEventsPassAtOnce(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	a := startAgent(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: one\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-more:
		case <-time.After(10 * time.Second):
		}
		io.WriteString(w, "data: two\n\n")
	})
	s := setup{agent: a.url}.start(t)
	req, err := http.NewRequest("POST", "http://"+s.addr+"/proxy", strings.NewReader(trip))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	start := time.Now()
	resp, err := patient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, len("data: one\n\n"))
	if _, err := io.ReadFull(resp.Body, first); err != nil || time.Since(start) > 8*time.Second { // the second one comes after ten, if not before
		t.Errorf("the first event took %s: %q, %v", time.Since(start), first, err)
	}
	close(more)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(rest) != "data: two\n\n" {
		t.Errorf("the rest: %q, %v", rest, err)
	}
}
