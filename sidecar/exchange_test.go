package sidecar_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

const (
	card     = "4532-0151-1283-0366" // the seed's
	bookNYC  = `{"task":"book","data":{"destination":"NYC"}}`
	bookCard = `{"task":"book","data":{"payment":"4532-0151-1283-0366"}}`
)

func TestTrustedAgentIsReachedAtOnce(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{})
	body := `{"task":"transfer","data":{"amount":100,"from_account":"123","to_account":"456"}}`
	r := n.Post(t, body, map[string]string{
		"Idempotency-Key": "k-1", "Accept": "application/json", "Authorization": "Bearer secret-of-the-caller", "Cookie": "a=b",
		"X-Forwarded-Host": "evil", "Iatp-Receipt": "forged", "X-Agent-Trust-Score": "10",
	})
	if r.Status != 200 || r.Header.Get("X-Agent-Trust-Score") != "10" || r.Header.Get("IATP-From") != "agent" {
		t.Fatalf("status %d, headers %v, body %s; want 200, score 10, from agent", r.Status, r.Header, r.Body)
	}
	if r.Header.Get("X-Agent-Quarantined") != "" || r.Header.Get("X-Agent-Latency-Ms") == "" {
		t.Errorf("headers %v: want a latency and no quarantine", r.Header)
	}
	seen := n.Agent.Seen()
	if len(seen) != 1 {
		t.Fatalf("the agent saw %d requests, want 1", len(seen))
	}
	got := seen[0]
	if got.Method != "POST" || got.Path != "/" || string(got.Body) != body {
		t.Errorf("agent saw %s %s %s; want POST / and the body unchanged", got.Method, got.Path, got.Body)
	}
	id := r.Header.Get("X-Agent-Trace-ID")
	if got.Header.Get("X-Agent-Trace-ID") != id || got.Header.Get("Idempotency-Key") != `"k-1"` || got.Header.Get("Accept") != "application/json" {
		t.Errorf("agent saw headers %v; want the trace id %s and the key", got.Header, id)
	}
	if want := strings.ReplaceAll(id, "-", ""); !strings.HasPrefix(got.Header.Get("Traceparent"), "00-"+want+"-") {
		t.Errorf("traceparent %q does not carry trace id %s", got.Header.Get("Traceparent"), id)
	}
	for _, name := range []string{"Authorization", "Cookie", "X-Forwarded-Host", "Iatp-Receipt", "X-Agent-Trust-Score"} {
		if v := got.Header.Get(name); v != "" {
			t.Errorf("%s: %s reached the agent", name, v)
		}
	}
	if types := iatptest.Types(n.Records(t, id)); types != "request response" {
		t.Errorf("records: %s; want request response", types)
	}
}

func TestHoneypotBlocksAsksAndIsOverridden(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Honeypot})

	r := n.Post(t, bookCard, map[string]string{"X-User-Override": "true"})
	p := r.Problem(t)
	if r.Status != 403 || p["blocked"] != true || !strings.HasPrefix(p["error"].(string), "Privacy Violation: Agent stores data permanently") {
		t.Fatalf("card: %d %v; want 403, blocked, a privacy violation", r.Status, p)
	}
	if ct := r.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content type %q", ct)
	}
	if types := iatptest.Types(n.Records(t, r.Header.Get("X-Agent-Trace-ID"))); types != "request blocked" {
		t.Errorf("records of the blocked call: %s", types)
	}

	r = n.Post(t, bookNYC, nil)
	p = r.Problem(t)
	if r.Status != 449 || p["requires_override"] != true || p["trust_score"] != 0.0 || r.Header.Get("X-Agent-Trust-Score") != "0" {
		t.Fatalf("clean: %d %v; want 449, requires_override, score 0", r.Status, p)
	}
	for _, want := range []string{"⚠️ WARNING:", "Low trust score (0/10)", "No reversibility", "Data stored permanently"} {
		if !strings.Contains(p["warning"].(string), want) {
			t.Errorf("warning %q lacks %q", p["warning"], want)
		}
	}
	if len(n.Agent.Seen()) != 0 {
		t.Fatal("a refused call reached the agent")
	}

	r = n.Post(t, bookNYC, map[string]string{"X-User-Override": "true"})
	if r.Status != 200 || r.Header.Get("X-Agent-Quarantined") != "true" {
		t.Fatalf("override: %d %v; want 200 and quarantined", r.Status, r.Header)
	}
	if h := n.Agent.Seen()[0].Header.Get("X-User-Override"); h != "" {
		t.Errorf("X-User-Override: %s reached the agent", h)
	}
	id := r.Header.Get("X-Agent-Trace-ID")
	records := n.Records(t, id)
	if types := iatptest.Types(records); types != "request user_override quarantine forward response" {
		t.Errorf("records of the overridden call: %s", types)
	}
	if records[2]["reason"] != "low_trust_override" || records[1]["actor"] != "unverified-local" {
		t.Errorf("quarantine %v, override %v", records[2], records[1])
	}
	if q := n.Get(t, "/quarantine/"+id, nil).Problem(t); q["state"] != "open" || q["reason"] != "low_trust_override" {
		t.Errorf("GET /quarantine: %v", q)
	}
}

// The header releases exactly the request that was asked about, once, and only
// from this machine.
func TestOverrideCannotBeForged(t *testing.T) {
	override := func(more ...string) map[string]string {
		h := map[string]string{"X-User-Override": "true"}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return h
	}
	tests := []struct {
		name   string
		body   string
		header map[string]string
		want   int
	}{
		{"one byte changed", strings.Replace(bookNYC, "NYC", "NYD", 1), override(), 449},
		{"white space added", bookNYC + " ", override(), 449},
		{"not the word true", bookNYC, map[string]string{"X-User-Override": "yes"}, 449},
		{"another idempotency key", bookNYC, override("Idempotency-Key", "new"), 449},
		{"another forwarded header", bookNYC, override("Accept-Language", "tlh"), 449},
		{"origin", bookNYC, override("Origin", "http://localhost:3000"), 403},
		{"null origin", bookNYC, override("Origin", "null"), 403},
		{"fetch site", bookNYC, override("Sec-Fetch-Site", "same-origin"), 403},
		{"navigation", bookNYC, override("Sec-Fetch-Mode", "no-cors"), 403},
		{"foreign host", bookNYC, override("Host", "rebind.example:8001"), 421},
		{"x-forwarded-for", bookNYC, override("X-Forwarded-For", "127.0.0.1"), 403},
		{"forwarded", bookNYC, override("Forwarded", "for=127.0.0.1"), 403},
		{"via", bookNYC, override("Via", "1.1 proxy"), 403},
	}
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Honeypot})
	if r := n.Post(t, bookNYC, override()); r.Status != 449 {
		t.Fatalf("header on a first request: %d, want 449", r.Status)
	}
	// The 449 just given opens the question; asking with the header on it once more
	// would release it, so the table asks anew before each case.
	for _, tt := range tests {
		n.Post(t, bookNYC, nil)
		if r := n.Post(t, tt.body, tt.header); r.Status != tt.want {
			t.Errorf("%s: %d, want %d: %s", tt.name, r.Status, tt.want, r.Body)
		}
		if seen := n.Agent.Seen(); len(seen) != 0 {
			t.Fatalf("%s: reached the agent: %+v", tt.name, seen)
		}
	}
	// Node's fetch sends this one header, and is a program.
	if r := n.Post(t, bookNYC, override("Sec-Fetch-Mode", "cors")); r.Status != 200 {
		t.Errorf("Sec-Fetch-Mode: cors: %d, want 200", r.Status)
	}
	if r := n.Post(t, bookNYC, override()); r.Status != 449 {
		t.Errorf("used twice: %d, want 449", r.Status)
	}
	if seen := n.Agent.Seen(); len(seen) != 1 {
		t.Errorf("the agent saw %d requests, want 1", len(seen))
	}
}

func TestParallelOverridesConsumeOneClaim(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Honeypot})
	n.Post(t, bookNYC, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for range 16 {
		wg.Go(func() {
			// A refused one opens a new question, which a later one may then
			// use: so ask with a token of the same wave only.
			r := n.Post(t, bookNYC, map[string]string{"X-User-Override": "true"})
			mu.Lock()
			statuses[r.Status]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if got, reached := statuses[200], len(n.Agent.Seen()); got != reached {
		t.Errorf("%d answered 200, %d reached the agent", got, reached)
	}
	// Every release used up one question: at most one for each 449 given.
	if statuses[200] > 1+statuses[449] {
		t.Errorf("statuses %v: more releases than questions", statuses)
	}
}

func TestOverrideModes(t *testing.T) {
	secret := writeFile(t, "token", "correct-horse-battery", 0o600)
	tests := []struct {
		name   string
		config func(*sidecar.Config)
		header string
		want   int
	}{
		{"off", func(c *sidecar.Config) { c.Override = sidecar.OverrideOff }, "true", 449},
		{"loopback", func(c *sidecar.Config) { c.Override = sidecar.OverrideLoopback }, "true", 200},
		{"loopback, not true", func(c *sidecar.Config) { c.Override = sidecar.OverrideLoopback }, "1", 449},
		{"token", func(c *sidecar.Config) { c.Override, c.OverrideToken = sidecar.OverrideToken, secret }, "correct-horse-battery", 200},
		{"token, but true", func(c *sidecar.Config) { c.Override, c.OverrideToken = sidecar.OverrideToken, secret }, "true", 449},
		{"token, one off", func(c *sidecar.Config) { c.Override, c.OverrideToken = sidecar.OverrideToken, secret }, "correct-horse-batterz", 449},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Honeypot, Config: tt.config})
			if r := n.Post(t, bookNYC, map[string]string{"X-User-Override": tt.header}); r.Status != tt.want {
				t.Errorf("override %q: %d, want %d", tt.header, r.Status, tt.want)
			}
			if r := n.Post(t, bookCard, map[string]string{"X-User-Override": tt.header}); r.Status != 403 {
				t.Errorf("card with override: %d, want 403", r.Status)
			}
			if hits := iatptest.FindInFiles(t, n.Data, "correct-horse"); hits != nil {
				t.Errorf("the override token is in %v", hits)
			}
		})
	}
}

// Each spelling of a card is seen where it matters, and never kept.
func TestCardEvasions(t *testing.T) {
	bodies := map[string]string{
		"dashes":         `{"p":"4532-0151-1283-0366"}`,
		"spaces":         `{"p":"4532 0151 1283 0366"}`,
		"dots":           `{"p":"4532.0151.1283.0366"}`,
		"no-break space": "{\"p\":\"4532\u00a00151\u00a01283\u00a00366\"}",
		"no separators":  `{"p":"4532015112830366"}`,
		"in a sentence":  `{"p":"please charge 4532015112830366, thanks"}`,
		"JSON number":    `{"p":4532015112830366}`,
		"escaped digit":  `{"p":"\u0034532-0151-1283-0366"}`,
		"nested JSON":    `{"p":"{\"card\":\"4532-0151-1283-0366\"}"}`,
		"member name":    `{"4532-0151-1283-0366":true}`,
		"full width":     `{"p":"４５３２０１５１１２８３０３６６"}`,
		"in an array":    `[[["4532-0151-1283-0366"]]]`,
		"bare string":    `"4532-0151-1283-0366"`,
		"amex":           `{"p":"378282246310005"}`,
		"19 digits":      `{"p":"6304000000000000000"}`,
		"13 digits":      `{"p":"4222222222222"}`,
	}
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Honeypot})
	for name, body := range bodies {
		r := n.Post(t, body, nil)
		if r.Status != 403 {
			t.Errorf("%s: %d, want 403", name, r.Status)
		}
		if strings.Contains(strings.ReplaceAll(string(r.Body), r.Header.Get("X-Agent-Trace-ID"), ""), "0366") { // a random id may hold them
			t.Errorf("%s: the answer repeats the card: %s", name, r.Body)
		}
	}
	if r := n.Post(t, `{"p":"4532-0151-1283-0367"}`, nil); r.Status != 449 {
		t.Errorf("a number that fails Luhn: %d, want 449", r.Status)
	}
	if r := n.Post(t, `{"p":"123-45-6789"}`, nil); r.Status != 403 {
		t.Errorf("SSN: %d, want 403", r.Status)
	}
	if len(n.Agent.Seen()) != 0 {
		t.Error("a refused call reached the agent")
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, canary := range []string{"4532-0151-1283-0366", "4532015112830366", "0151 1283", "0151.1283", "４５３２", "378282246310005", "6304000000000000000", "4222222222222", "123-45-6789", "\\u0034532", "u00344532", "u0034532"} {
		if hits := iatptest.FindInFiles(t, n.Data, canary); hits != nil {
			t.Errorf("%q is in %v", canary, hits)
		}
	}
}

// What is sensitive in ids and headers, where no one can judge it, is refused.
func TestSensitiveHead(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend})
	for name, value := range map[string]string{"X-Agent-Trace-ID": "4532015112830366", "Idempotency-Key": card, "Accept-Language": "en, " + card} {
		r := n.Post(t, bookNYC, map[string]string{name: value})
		if r.Status != 400 || strings.Contains(string(r.Body), "1283-0366") || strings.Contains(string(r.Body), "12830366") {
			t.Errorf("card in %s: %d %s; want 400 without the card", name, r.Status, r.Body)
		}
	}
	if hits := append(iatptest.FindInFiles(t, n.Data, "1283-0366"), iatptest.FindInFiles(t, n.Data, "12830366")...); hits != nil {
		t.Errorf("the card is in %v", hits)
	}
}

func TestPayloadsAreRecordedClean(t *testing.T) {
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"b":1,"a":"card 4532-0151-1283-0366 of jane.doe@example.com"}`)
	})
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: agent})
	r := n.Post(t, `{"z":1,"a":{"mail":"john@example.org","card":"4532 0151 1283 0366"}}`, nil)
	if r.Status != 200 || !strings.Contains(string(r.Body), card) {
		t.Fatalf("%d %s; want 200 and the answer unchanged", r.Status, r.Body)
	}
	recs := n.Records(t, r.Header.Get("X-Agent-Trace-ID"))
	want := []string{
		"map[a:map[card:[CREDIT_CARD_REDACTED] mail:[EMAIL_REDACTED]] z:1]",
		"map[a:card [CREDIT_CARD_REDACTED] of [EMAIL_REDACTED] b:1]",
	}
	for i, w := range want {
		if got := fmt.Sprint(recs[i]["payload"]); got != w {
			t.Errorf("payload of record %d: %s, want %s", i, got, w)
		}
	}
	if !strings.Contains(fmt.Sprint(recs[1]["findings"]), "credit_card") {
		t.Errorf("findings of the answer: %v", recs[1]["findings"])
	}
	for _, canary := range []string{card, "4532 0151", "john@example.org", "jane.doe"} {
		if hits := iatptest.FindInFiles(t, n.Data, canary); hits != nil {
			t.Errorf("%q is in %v", canary, hits)
		}
		if m := n.Get(t, "/metrics", nil); strings.Contains(string(m.Body), canary) {
			t.Errorf("%q is in the metrics", canary)
		}
	}
}

// An ephemeral agent's sidecar keeps classes and commitments, no text.
func TestEphemeralKeepsNoPayload(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{})
	r := n.Post(t, `{"task":"whisper","data":"the eagle has landed"}`, nil)
	recs := n.Records(t, r.Header.Get("X-Agent-Trace-ID"))
	for _, rec := range recs {
		if rec["payload"] != nil || rec["commit"] == nil || rec["opaque"] != "ephemeral" {
			t.Errorf("record %v; want a commitment, opaque: ephemeral, and no payload", rec)
		}
	}
	if hits := iatptest.FindInFiles(t, n.Data, "eagle"); hits != nil {
		t.Errorf("the payload is in %v", hits)
	}
}

func TestQuarantineTaintsTheTraceUntilReleased(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Honeypot})
	trace := map[string]string{"X-Agent-Trace-ID": "job-7"}
	n.Post(t, bookNYC, trace)
	if r := n.Post(t, bookNYC, map[string]string{"X-Agent-Trace-ID": "job-7", "X-User-Override": "true"}); r.Status != 200 {
		t.Fatalf("override: %d", r.Status)
	}
	tainted := func() (bool, string) {
		r := n.Post(t, `{"task":"other"}`, trace)
		return r.Header.Get("X-Agent-Quarantined") == "true", string(r.Body)
	}
	if yes, body := tainted(); !yes || !strings.Contains(body, "tainted_trace") {
		t.Errorf("a later call of the trace is not marked: %s", body)
	}
	if r := n.Post(t, `{"task":"other"}`, nil); r.Header.Get("X-Agent-Quarantined") != "" {
		t.Error("a call of another trace is marked")
	}

	change := func(body string, header map[string]string) int {
		return n.Do(t, "POST", "/quarantine/job-7", strings.NewReader(body), header).Status
	}
	if got := change(`{"state":"released","by":"mallory"}`, nil); got != 401 {
		t.Errorf("release without the operator's token: %d, want 401", got)
	}
	for _, bad := range []string{`{"state":"open","by":"alice"}`, `{"state":"released"}`, `{"state":"released","by":"a","x":1}`, `nonsense`} {
		if got := change(bad, n.Operator(t)); got != 400 {
			t.Errorf("%s: %d, want 400", bad, got)
		}
	}
	if got := change(`{"state":"reviewed","by":"alice"}`, n.Operator(t)); got != 200 {
		t.Fatalf("review: %d", got)
	}
	if yes, _ := tainted(); !yes {
		t.Error("a reviewed session no longer taints")
	}
	if got := change(`{"state":"released","by":"alice","note":"checked with the hotel"}`, n.Operator(t)); got != 200 {
		t.Fatalf("release: %d", got)
	}
	if yes, _ := tainted(); yes {
		t.Error("a released session still taints")
	}
	q := n.Get(t, "/quarantine/job-7", n.Operator(t)).Problem(t)
	if q["state"] != "released" || q["by"] != "alice" || len(q["history"].([]any)) != 3 {
		t.Errorf("session %v; want released by alice after three steps", q)
	}
}

func TestTraceIDs(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{})
	const w3c = "4bf92f3577b34da6a3ce929d0e0e4736"
	tests := []struct {
		name, given, parent string
		status              int
		wantID, wantTrace   string // "" = any
	}{
		{"neither", "", "", 200, "", ""},
		{"a name", "abc-123", "", 200, "abc-123", ""},
		{"a uuid", "e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e9f", "", 200, "e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e9f", "e4b5c6d78a9b0c1d2e3f4a5b6c7d8e9f"},
		{"a parent", "", "00-" + w3c + "-00f067aa0ba902b7-01", 200, "4bf92f35-77b3-4da6-a3ce-929d0e0e4736", w3c},
		{"both", "abc-123", "00-" + w3c + "-00f067aa0ba902b7-01", 200, "abc-123", w3c},
		{"a broken parent", "", "00-zz-00f067aa0ba902b7-01", 200, "", ""},
		{"a path", "../../etc/x", "", 400, "", ""},
		{"too long", strings.Repeat("a", 129), "", 400, "", ""},
		{"spaces", "a b", "", 400, "", ""},
	}
	for _, tt := range tests {
		h := map[string]string{}
		if tt.given != "" {
			h["X-Agent-Trace-ID"] = tt.given
		}
		if tt.parent != "" {
			h["Traceparent"] = tt.parent
		}
		before := len(n.Agent.Seen())
		r := n.Post(t, bookNYC, h)
		if r.Status != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, r.Status, tt.status)
			continue
		}
		if tt.status != 200 {
			continue
		}
		id := r.Header.Get("X-Agent-Trace-ID")
		sent := n.Agent.Seen()[before].Header.Get("Traceparent")
		if (tt.wantID != "" && id != tt.wantID) || (tt.wantTrace != "" && !strings.Contains(sent, tt.wantTrace)) || len(sent) != 55 {
			t.Errorf("%s: id %s, traceparent %s; want id %s, trace %s", tt.name, id, sent, tt.wantID, tt.wantTrace)
		}
		if strings.Contains(sent, "00f067aa0ba902b7") {
			t.Errorf("%s: the agent got the caller's span as its parent, not ours", tt.name)
		}
		// What was minted here can be read by whoever got it; a name that a
		// caller chose, by the operator only (hardening 33).
		want := 404
		if tt.given == "" && tt.wantID == "" {
			want = 200
		}
		if got := n.Get(t, "/trace/"+id, nil).Status; got != want {
			t.Errorf("%s: GET /trace/%s = %d, want %d", tt.name, id, got, want)
		}
		if got := n.Get(t, "/trace/"+id, n.Operator(t)).Status; got != 200 {
			t.Errorf("%s: GET /trace/%s as operator = %d", tt.name, id, got)
		}
	}
	for _, path := range []string{"/trace/..%2f..%2fetc%2fpasswd", "/trace/../../etc/x", "/trace/%00", "/trace/"} {
		if got := rawGet(t, n.Addr, path); got < 400 || got > 404 {
			t.Errorf("GET %s = %d, want a 4xx", path, got)
		}
	}
}
