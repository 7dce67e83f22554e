package e2e_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// TestForgedOverrides sends overrides that no person at this machine can have
// meant. None of them may reach the agent.
func TestForgedOverrides(t *testing.T) {
	t.Parallel()
	a := startAgent(t, nil)
	s := setup{agent: a.url, manifest: keeper}.start(t)
	const override = "X-User-Override: true"
	ask := func(body string, header ...string) {
		t.Helper()
		if r := s.raw(t, wire(body, header...)); r.status != 449 {
			t.Fatalf("a call without override: %d %s", r.status, r.text)
		}
	}
	number := 0
	fresh := func() string {
		number++
		return fmt.Sprintf(`{"task":"book","data":{"destination":"NYC","n":%d}}`, number)
	}
	type forgery struct {
		name    string
		request string
		want    int
	}
	var forgeries []forgery
	add := func(want int, name, request string) { forgeries = append(forgeries, forgery{name, request, want}) }

	add(449, "nobody was asked", wire(fresh(), override))

	body := fresh()
	ask(body)
	add(449, "a body changed by one byte", wire(strings.Replace(body, "NYC", "NYD", 1), override))
	add(449, "a body with one space more", wire(body+" ", override))
	add(449, "another spelling of the same body", wire(strings.Replace(body, "NYC", `\u004eYC`, 1), override))
	add(449, "an idempotency key that was not there", wire(body, override, "Idempotency-Key: k"))
	add(449, "another preference", wire(body, override, "Prefer: respond-async"))
	add(449, "another word", wire(body, "X-User-Override: yes"))
	add(449, "another case", wire(body, "X-User-Override: TRUE"))
	add(449, "a number", wire(body, "X-User-Override: 1"))
	add(400, "twice in one request", wire(body, override, override))
	add(400, "an underscore", wire(body, "X_User_Override: true"))
	for _, header := range []string{
		"Origin: http://localhost:8001", "Origin: null", "Origin: https://evil.example",
		"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: empty",
		"X-Forwarded-For: 127.0.0.1", "X-Forwarded-For:", "Via: 1.1 proxy", "Forwarded: for=127.0.0.1", "X-Forwarded-Host: localhost", "X-Real-IP: 127.0.0.1",
	} {
		add(403, header, wire(body, override, header))
	}
	for _, host := range []string{"evil.example", "localhost.evil.example", "evil.example:8001", "127.0.0.1.nip.example"} {
		add(421, "Host: "+host, wire(body, override, "Host: "+host))
	}
	add(400, "a user in the host", wire(body, override, "Host: localhost@evil.example"))
	add(400, "two hosts", wire(body, override, "Host: localhost", "Host: evil.example"))
	add(421, "a target with a foreign name", strings.Replace(wire(body, override), "/proxy", "http://evil.example/proxy", 1))
	add(415, "a form", strings.Replace(wire(body, override), "application/json", "text/plain", 1))
	add(415, "no content type", strings.Replace(wire(body, override), "Content-Type: application/json\r\n", "", 1))
	add(405, "another method", strings.Replace(wire(body, override), "POST", "PUT", 1))
	for _, f := range forgeries {
		r := s.raw(t, f.request)
		if r.status != f.want {
			t.Errorf("%s: %d, want %d: %s", f.name, r.status, f.want, r.text)
		}
		if got := a.calls(); len(got) != 0 {
			t.Fatalf("%s: it reached the agent: %v", f.name, got)
		}
	}

	// The very request that was asked about passes, once, and without the header.
	if r := s.raw(t, wire(body, override)); r.status != 200 || r.header.Get("X-Agent-Quarantined") != "true" {
		t.Errorf("the override that was meant: %d %s", r.status, r.text)
	}
	if got := a.calls(); len(got) != 1 || got[0].body != body || got[0].header.Get("X-User-Override") != "" {
		t.Errorf("the agent saw %v", got)
	}
	if r := s.raw(t, wire(body, override)); r.status != 449 {
		t.Errorf("the same override again: %d", r.status)
	}
	s.oneOfMany(t, a)
	s.stop(t)
	checkLog(t, s.data)
}

// oneOfMany: of many who send the same override at once, one is let through, and
// nobody after that until the question is asked again.
func (s *sidecar) oneOfMany(t *testing.T, a *agent) {
	t.Helper()
	const body = `{"task":"book","data":{"race":true}}`
	before := len(a.calls())
	s.post(t, body)
	var wg sync.WaitGroup
	var mu sync.Mutex
	status := map[int]int{}
	for range 16 {
		wg.Go(func() {
			r, err := s.send("POST", "/proxy", body, "Content-Type: application/json", "X-User-Override: true")
			if err != nil {
				t.Errorf("POST /proxy: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			status[r.status]++
		})
	}
	wg.Wait()
	if status[200] != 1 || status[449] != 15 || len(a.calls())-before != 1 {
		t.Errorf("16 overrides of one question: %v, and the agent saw %d", status, len(a.calls())-before)
	}
	const override = "X-User-Override: true"
	got := fmt.Sprint(s.post(t, body, override).status, s.post(t, body).status, s.post(t, body, override).status)
	if got != "449 449 200" {
		t.Errorf("used up, asked again, released again: %s", got)
	}
}

// TestOverrideModes: what each mode lets through, and what it leaves.
func TestOverrideModes(t *testing.T) {
	t.Parallel()
	token := strings.Repeat("k7", 12)
	file := t.TempDir() + "/token"
	writeSecret(t, file, token)
	for _, c := range []struct {
		mode, config, header string
		want                 int
	}{
		{"off", "override: off\n", "X-User-Override: true", 449},
		{"loopback", "override: loopback\n", "X-User-Override: true", 200},
		{"token", "override: token\noverride_token: " + file + "\n", "X-User-Override: " + token, 200},
		{"token, wrong", "override: token\noverride_token: " + file + "\n", "X-User-Override: true", 449},
	} {
		a := startAgent(t, nil)
		s := setup{agent: a.url, manifest: keeper, config: c.config}.start(t)
		s.post(t, trip)
		r := s.post(t, trip, c.header)
		if r.status != c.want || len(a.calls()) != map[int]int{200: 1, 449: 0}[c.want] {
			t.Errorf("%s: %d, and the agent saw %d calls: %s", c.mode, r.status, len(a.calls()), r.text)
		}
		if r.status == 200 && (r.header.Get("X-Agent-Quarantined") != "true" || a.calls()[0].header.Get("X-User-Override") != "") {
			t.Errorf("%s: headers %v, at the agent %v", c.mode, r.header, a.calls()[0].header)
		}
		s.stop(t)
		if found := inFiles(t, s.data, token); found != "" {
			t.Errorf("%s: the token is in %s", c.mode, found)
		}
	}
}

// TestQuarantineTaints: what was let through marks the rest of its trace, until
// the operator releases it, also across a restart.
func TestQuarantineTaints(t *testing.T) {
	t.Parallel()
	a := startAgent(t, nil)
	at := setup{agent: a.url, manifest: keeper}
	s := at.start(t)
	at.data = s.data
	const id = "X-Agent-Trace-ID: order-17"
	s.post(t, trip, id)
	s.post(t, trip, id, "X-User-Override: true")
	tainted := func(want string) {
		t.Helper()
		r := s.post(t, trip, id)
		if got := fmt.Sprint(r.member("reasons")); strings.Contains(got, "tainted_trace") != (want != "") || r.header.Get("X-Agent-Quarantined") != want {
			t.Errorf("reasons %s, X-Agent-Quarantined %q, want %q", got, r.header.Get("X-Agent-Quarantined"), want)
		}
	}
	tainted("true")
	s.kill()
	s = at.start(t)
	tainted("true")
	if r := s.get(t, "/quarantine/order-17"); r.status != 404 {
		t.Errorf("a stranger reads a session whose id a caller chose: %d", r.status)
	}
	const release = `{"state":"released","by":"alice"}`
	if r, err := s.send("POST", "/quarantine/order-17", release, "Content-Type: application/json"); err != nil || r.status != 401 {
		t.Errorf("a stranger releases: %v %v", r, err)
	}
	r, err := s.send("POST", "/quarantine/order-17", release, "Content-Type: application/json", s.operator(t))
	if err != nil || r.status != 200 || r.member("state") != "released" || r.member("by") != "alice" {
		t.Fatalf("the operator releases: %v %v", r, err)
	}
	tainted("")
	s.stop(t)
	checkLog(t, s.data)
}
