package e2e_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/privacy"
)

// canary is a value that must be found nowhere, in a text that tells what it is.
type canary struct{ kind, text, value string }

// canaryOfEachKind are the examples of all kinds that are long enough to be told
// from chance, and some more ways to write the commonest ones.
func canaryOfEachKind(t *testing.T) []canary {
	t.Helper()
	texts := []string{}
	for _, k := range privacy.Kinds() {
		texts = append(texts, privacy.Example(k))
	}
	texts = append(texts, "card 3782 822463 10005", "pay with 4444333322221111000", "card 4222222222222", "５１０５１０５１０５１０５１００",
		"ssn 524-16-9731", "mail canary.reply@mail.example.org", "IBAN GB82 WEST 1234 5698 7654 32", "IBAN FR1420041010050500013M02606")
	var all []canary
	for _, text := range texts {
		for _, f := range privacy.New().ScanText([]byte(text)).Findings {
			if value := text[f.Start:f.End]; len(value) >= 6 && !strings.ContainsAny(value, "\x00") {
				all = append(all, canary{string(f.Kind), text, value})
				break
			}
		}
	}
	if len(all) < 95 {
		t.Fatalf("%d canaries: too few kinds have an example", len(all))
	}
	return all
}

// in names the canaries that data holds, as they are or as JSON, its pointers and URLs write them.
func in(data []byte, all []canary) (found []string) {
	for _, c := range all {
		if slices.ContainsFunc(c.forms(), func(form string) bool { return bytes.Contains(data, []byte(form)) }) {
			found = append(found, c.kind+" "+c.value)
		}
	}
	return found
}

// forms are the value as it is, in JSON, in a JSON pointer and in a URL.
func (c canary) forms() []string {
	quoted, err := json.Marshal(c.value)
	if err != nil {
		panic(err) // a string always marshals
	}
	return []string{c.value, strings.Trim(string(quoted), `"`), strings.NewReplacer("~", "~0", "/", "~1").Replace(c.value), url.PathEscape(c.value), url.QueryEscape(c.value)}
}

// faultyAgent answers with the note of the request in it, wrongly in the way that
// Accept-Language asks for.
func faultyAgent(w http.ResponseWriter, r *http.Request) {
	var in struct{ Note string }
	body, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(body, &in)
	quoted, _ := json.Marshal(map[string]string{"note": in.Note})
	line := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, in.Note)
	fail := func(status int, contentType, text string) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
	speak := func(text string) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = io.WriteString(c, text)
			c.Close()
		}
	}
	switch r.Header.Get("Accept-Language") {
	case "error":
		fail(500, "text/plain", "cannot book: "+in.Note)
	case "refused":
		fail(403, "application/problem+json", string(quoted))
	case "asks":
		fail(449, "application/json", string(quoted))
	case "not JSON":
		fail(200, "application/json", in.Note+`{"`)
	case "head":
		for _, name := range []string{"X-Note", "Set-Cookie", "IATP-Cost", "IATP-Undo-Data", "ETag", "Retry-After", "Warning"} {
			w.Header().Set(name, line)
		}
		fail(200, "application/json; note="+strconv.Quote(line), string(quoted))
	case "type":
		fail(200, line, string(quoted))
	case "redirect":
		w.Header().Set("Location", "http://other.example/?"+url.QueryEscape(in.Note))
		fail(302, "text/plain", in.Note)
	case "coded":
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(quoted)
		_ = z.Close()
	case "badly coded":
		w.Header().Set("Content-Encoding", line)
		fail(200, "application/json", string(quoted))
	case "status":
		speak("HTTP/1.1 500 " + line + "\r\nContent-Length: 0\r\n\r\n")
	case "no HTTP":
		speak(line + "\r\n\r\n")
	case "bad head":
		speak("HTTP/1.1 200 OK\r\n" + line + "\r\n\r\n")
	case "broken":
		speak("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n" + in.Note)
	case "broken stream":
		speak("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\ndata: %s\r\n", len(line)+6, line))
	case "bad chunk":
		speak("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" + line + "\r\n")
	case "trailer":
		w.Header().Set("Trailer", "X-Note")
		fail(200, "application/json", string(quoted))
		w.Header().Set("X-Note", line)
	case "events":
		for _, l := range strings.Split(in.Note, "\n") {
			fmt.Fprintf(w, "data: %s\n\n", l)
			w.(http.Flusher).Flush()
		}
	case "lines":
		w.Header().Set("Content-Type", "application/x-ndjson")
		fmt.Fprintf(w, "%s\n", quoted)
		w.(http.Flusher).Flush()
		fmt.Fprintf(w, "%s\n", quoted)
	case "never":
		<-r.Context().Done()
	default:
		fail(200, "application/json", string(quoted))
	}
}

var faults = []string{
	"", "error", "refused", "asks", "not JSON", "head", "type", "redirect", "coded", "badly coded", "status", "no HTTP", "bad head",
	"broken", "broken stream", "bad chunk", "trailer", "events", "lines",
}

// TestCanaries pushes values of a hundred kinds through every door and fault of two
// real sidecars, and looks at everything that the programs wrote.
func TestCanaries(t *testing.T) {
	t.Parallel()
	all := canaryOfEachKind(t)
	agent := startAgent(t, faultyAgent)
	pa, pb := newMeshParty(t), newMeshParty(t)
	impatient := func(config string) string {
		return strings.Replace(config, "limits:\n", "limits:\n  deadline: 5s\n", 1)
	}
	b := setup{agent: agent.url, config: impatient(pb.config("a", pa, "trusted"))}.start(t)
	dir := t.TempDir()
	rules := filepath.Join(dir, "rules.yaml")
	write(t, rules, "rules: []\n")
	a := setup{agent: agent.url, config: impatient(pa.config("b", pb, "verified_partner")) + "policy: [" + rules + "]\n"}.start(t)

	var replies []*reply
	keep := func(r *reply) {
		replies = append(replies, r)
	}
	for _, c := range all {
		quoted, err := json.Marshal(c.text)
		if err != nil {
			t.Fatal(err)
		}
		body := `{"note":` + string(quoted) + `}`
		keep(a.post(t, body))
		keep(a.post(t, body, "X-User-Override: true")) // keys are asked about
		keep(a.post(t, `{"note":`+string(quoted)+`,`))
		keep(a.post(t, `{`+string(quoted)+`:1,`+string(quoted)+`:2}`))
		keep(a.post(t, `{`+string(quoted)+`:[{"x":1,"x":2}]}`))
		if _, err := strconv.ParseFloat(c.text, 64); err != nil { // or it is JSON, and a number
			keep(a.post(t, c.text))
		}
		for _, path := range []string{"/proxy/", "/trace/", "/quarantine/", "/peers/", "/", "/proxy?x=", "/log/proof?index=", "/trace?limit="} {
			if r, err := a.send("POST", path+url.PathEscape(c.text), trip, "Content-Type: application/json"); err == nil {
				keep(r)
			}
			if r, err := a.send("GET", path+url.PathEscape(c.text), "", a.operator(t)); err == nil {
				keep(r)
			}
		}
		if strings.ContainsFunc(c.text, func(r rune) bool { return r < ' ' || r > '~' }) {
			continue
		}
		for _, name := range []string{
			"Accept-Language", "Prefer", "Idempotency-Key", "X-Agent-Trace-ID", "X-User-Override", "traceparent", "Content-Encoding",
			"IATP-Budget", "Early-Data", "Host", "Authorization", "Content-Type", "X-Forwarded-For", "Expect",
		} {
			if r, err := a.send("POST", "/proxy/b", trip, name+": "+c.text); err == nil {
				keep(r)
			}
		}
	}
	for i := 0; i < len(all); i += 8 {
		var texts []string
		for _, c := range all[i:min(i+8, len(all))] {
			texts = append(texts, c.text)
		}
		quoted, _ := json.Marshal(strings.Join(texts, "\n"))
		wrongs := faults
		if i == 0 {
			wrongs = append(wrongs, "never") // which takes its time
		}
		for _, fault := range wrongs {
			for _, path := range []string{"/proxy", "/proxy/b"} {
				for _, override := range []string{"Accept: */*", "X-User-Override: true"} {
					r, err := a.send("POST", path, `{"note":`+string(quoted)+`}`, "Content-Type: application/json", "Accept-Language: "+fault, override)
					if err == nil {
						keep(r)
					}
				}
			}
		}
	}
	a.faultyReloads(t, rules, all)

	executed := 0
	for _, c := range agent.calls() {
		executed += min(len(in([]byte(c.body), all)), 1)
	}
	if executed < len(all) {
		t.Errorf("%d calls with a canary reached an agent: the test tests little", executed)
	}
	for _, r := range replies {
		if r.header.Get("IATP-From") == "sidecar" {
			if found := in([]byte(r.text), all); found != nil {
				t.Errorf("a problem holds %v: %.600s", found, r.text)
			}
			if found := in([]byte(fmt.Sprint(r.header)), all); found != nil {
				t.Errorf("the head of a problem holds %v: %v", found, r.header)
			}
		}
	}
	for name, s := range map[string]*sidecar{"a": a, "b": b} {
		s.wantNoCanary(t, name, all)
	}
}

// faultyReloads has the sidecar read rules that are full of canaries where faults
// are, and waits until it has said so.
func (s *sidecar) faultyReloads(t *testing.T, rules string, all []canary) {
	t.Helper()
	var b strings.Builder
	for _, c := range all[:20] {
		fmt.Fprintf(&b, "- {name: %q, action: %q, conditions: {%q: [%q], data: [%q]}}\n", c.text, c.text, c.text, c.text, c.text)
	}
	write(t, rules, b.String())
	for range 600 {
		if strings.Contains(s.stderr.String(), "does not load") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("the sidecar has not said that the rules do not load:\n%s", s.stderr.String())
}

// wantNoCanary looks at all that a sidecar shows and leaves.
func (s *sidecar) wantNoCanary(t *testing.T, name string, all []canary) {
	t.Helper()
	look := func(where, text string) {
		if found := in([]byte(text), all); found != nil {
			i := strings.Index(text, strings.SplitN(found[0], " ", 2)[1])
			t.Errorf("%s: %s holds %v: … %.300s", name, where, found, text[max(i-150, 0):])
		}
	}
	for _, path := range []string{"/metrics", "/trace?after=0&limit=1000", "/log/export", "/peers", "/health", "/ready"} {
		look("GET "+path, s.get(t, path, s.operator(t)).text)
	}
	for _, args := range [][]string{{"trace"}, {"trace", "--json"}, {"log", "export"}, {"log", "fsck"}} {
		_, out, errs := tool(t, append(args, "--data", s.data)...)
		look(strings.Join(args, " "), out+errs)
	}
	s.stop(t)
	err := filepath.WalkDir(s.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		look(path, string(data))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	look("the program's own log", s.stdout.String()+s.stderr.String())
}

// TestCanariesInFaultyFiles: a file that is refused is told by place, kind of fault
// and remedy, not by its sensitive words.
func TestCanariesInFaultyFiles(t *testing.T) {
	t.Parallel()
	all := canaryOfEachKind(t)
	dir := t.TempDir()
	for i := 0; i < len(all); i += 25 {
		c := all[i]
		quoted, err := json.Marshal(c.text)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, strconv.Itoa(i))
		for _, args := range [][]string{
			{"policy", "check", file}, {"policy", "check", "--json", file}, {"manifest", "check", file}, {"manifest", "show", file},
			{"run", "--check", "--config", file}, {"scan-text", file}, {"scan-text", "--json", file}, {"scan-text", "--redact", file}, {"scan-text", "--hash", file},
			{"verify", file}, {"policy", "test", "--request", file, "--manifest", file},
		} {
			for _, text := range []string{
				"rules:\n- name: x\n  action: " + string(quoted) + "\n  " + string(quoted) + ": 1\n",
				`{"identity":{"agent_id":"x"},"trust_level":` + string(quoted) + `,` + string(quoted) + `:1}`,
				`{` + string(quoted) + `:1,` + string(quoted) + `:2}`,
				"listen: " + string(quoted) + "\nprivacy: {request: " + string(quoted) + "}\n",
				"agent: " + string(quoted) + "\n",
				c.text,
			} {
				write(t, file, text)
				code, out, errs := tool(t, args...)
				if found := in([]byte(out+errs), []canary{c}); found != nil {
					t.Errorf("iatp %.60q, exit %d, holds %v:\n%s%s", args, code, found, out, errs)
				}
			}
		}
	}
}
