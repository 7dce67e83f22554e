package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/internal/office"
)

// TestQuick is the experiment itself, as --quick runs it: real processes, real
// kills.
func TestQuick(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	var out bytes.Buffer
	if code := run(ctx, []string{"--quick", "--out", dir, "--seed", "7"}, &out, t.Output()); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Seed    int
		Command string
		Arms    map[string]map[string]int
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if r.Seed != 7 || r.Command != "go run ./experiments/reversibility --quick --seed 7" {
		t.Errorf("results.json has the seed %d and the command %q", r.Seed, r.Command)
	}
	for _, a := range arms {
		got := r.Arms[string(a)]
		for _, member := range []string{"runs", "restored", "escalated", "silent_inconsistencies", "double_effects"} {
			if _, ok := got[member]; !ok {
				t.Errorf("results.json: arm %s has no %s", a, member)
			}
		}
		if sum := got["restored"] + got["escalated"] + got["silent_inconsistencies"]; got["runs"] == 0 || got["runs"] != sum {
			t.Errorf("arm %s: %v does not add up", a, got)
		}
		// An experiment that finds nothing where nobody undoes anything looks the wrong way.
		if a != full && got["silent_inconsistencies"] < got["runs"]/2 {
			t.Errorf("arm %s: %v; most runs must be inconsistent", a, got)
		}
	}
	for _, name := range []string{"index.html", "table.md", "figure.svg", "figure.png"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(text) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"x"}, {"--seed", "x"}, {"--unknown"}} {
		if code := run(t.Context(), args, io.Discard, io.Discard); code != 2 {
			t.Errorf("run(%q) = %d, want 2", args, code)
		}
	}
}

// TestWilson compares with figures of the literature: R. G. Newcombe, "Two-sided
// confidence intervals for the single proportion", Statistics in Medicine 17
// (1998), table I, method 3.
func TestWilson(t *testing.T) {
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}, {29, 29, 0.8830, 1}} {
		low, high := wilson(c.k, c.n)
		if math.Abs(low-c.low) > 5e-5 || math.Abs(high-c.high) > 5e-5 {
			t.Errorf("wilson(%d, %d) = %.4f, %.4f, want %.4f, %.4f", c.k, c.n, low, high, c.low, c.high)
		}
	}
}

// offices is a world of databases without processes.
func offices(t *testing.T) (*world, map[string]*office.Agent) {
	t.Helper()
	w, agents := &world{dir: t.TempDir()}, map[string]*office.Agent{}
	for _, role := range roles {
		a, err := office.Open(role, w.database(role), office.Options{})
		if err != nil {
			t.Fatal(err)
		}
		agents[role] = a
		t.Cleanup(func() { a.Close() })
	}
	return w, agents
}

// ask has an agent do something, without a key: nothing keeps it from doing it
// twice.
func ask(t *testing.T, a http.Handler, path, body string, header ...string) {
	t.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	if a.ServeHTTP(w, r); w.Code != 200 {
		t.Fatalf("%s: %d %s", body, w.Code, w.Body)
	}
}

// TestCheckerSees makes each kind of inconsistency and looks whether it is found.
func TestCheckerSees(t *testing.T) {
	w, agents := offices(t)
	begin := func(id string) *trip {
		tr := &trip{world: w, id: id}
		ask(t, agents["ledger"], "/", `{"task":"open","data":{"account":"traveler `+id+`","deposit":"100.00"}}`)
		ask(t, agents["ledger"], "/", `{"task":"open","data":{"account":"agency `+id+`"}}`)
		ask(t, agents["stock"], "/", `{"task":"fill","data":{"shelf":"shelf `+id+`","items":{"lamp":3,"cup":5,"rug":2}}}`)
		return tr
	}
	for i, c := range []struct {
		orders, undos string
		left          string
		double        bool
		fee           int64
	}{
		{"", "", "", false, 0},
		{"ledger", "", "ledger", false, 0},
		{"ledger desk mail stock", "", "ledger desk mail stock", false, 0},
		{"ledger desk stock", "ledger desk stock", "", false, 500},
		{"ledger desk stock", "ledger stock", "desk", false, 0},
		{"ledger ledger", "", "ledger", true, 0},
		{"ledger ledger", "ledger", "ledger", true, 0},
		{"mail mail", "", "mail", true, 0},
	} {
		id := fmt.Sprint("t", i)
		tr := begin(id)
		for n, role := range strings.Fields(c.orders) {
			ask(t, agents[role], "/", tr.step(role), "IATP-Transaction", fmt.Sprint(id, role, n))
		}
		for n, role := range strings.Fields(c.orders) {
			if strings.Contains(c.undos, role) && (n == 0 || strings.Fields(c.orders)[n-1] != role) {
				ask(t, agents[role], fmt.Sprint("/compensate/", id, role, n), `{}`)
			}
		}
		f, err := w.inspect(id)
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, role := range roles {
			if f.left[role] {
				left = append(left, role)
			}
		}
		if got := strings.Join(left, " "); got != c.left || len(f.double) > 0 != c.double || f.fee != c.fee {
			t.Errorf("ordered %q, undone %q: in force %q, double %v, fee %d; want %q, %t, %d", c.orders, c.undos, got, f.double, f.fee, c.left, c.double, c.fee)
		}
	}
}

// TestJudge is the table of what is restored, escalated and silent.
func TestJudge(t *testing.T) {
	uris := map[string]string{}
	for _, role := range roles {
		uris[role] = "http://" + role
	}
	for _, c := range []struct {
		left, state string
		calls       string // role:state[:fee]
		fee         int64
		want        string
	}{
		{"", "compensated", "ledger:compensated desk:compensated", 0, "restored"},
		{"", "partially_compensated", "ledger:compensated desk:partially_compensated:5.00", 500, "restored"},
		{"", "compensation_failed", "ledger:compensation_failed", 0, "restored alarm"},
		{"", "partially_compensated", "ledger:compensated desk:partially_compensated:0.00", 500, "silent"},
		{"", "partially_compensated", "desk:partially_compensated", 500, "silent"},
		{"", "compensating", "ledger:compensating", 0, "silent"},
		{"", "", "", 0, "restored"},
		{"ledger", "", "", 0, "silent"},
		{"ledger", "closed", "ledger:committed", 0, "silent"},
		{"ledger", "compensated", "ledger:compensated", 0, "silent"},
		{"ledger", "compensation_failed", "ledger:compensated", 0, "silent"},
		{"ledger", "compensation_failed", "ledger:none", 0, "silent"},
		{"ledger", "compensation_failed", "desk:compensation_failed", 0, "silent"},
		{"ledger", "compensation_failed", "ledger:compensation_failed desk:compensated", 0, "escalated"},
		{"ledger desk", "compensation_failed", "ledger:compensation_failed desk:compensated", 0, "silent"},
		{"mail", "partially_compensated", "ledger:compensated mail:committed", 0, "escalated"},
	} {
		tr := &trip{world: &world{arm: full, uris: uris}}
		f := &found{left: map[string]bool{}, fee: c.fee}
		for role := range strings.FieldsSeq(c.left) {
			f.left[role] = true
		}
		var s *saga
		if c.state != "" {
			var calls []map[string]string
			for call := range strings.FieldsSeq(c.calls) {
				part := append(strings.Split(call, ":"), "")
				calls = append(calls, map[string]string{"peer": uris[part[0]], "state": part[1], "fee_charged": part[2]})
			}
			text, err := json.Marshal(map[string]any{"state": c.state, "calls": calls})
			if err != nil {
				t.Fatal(err)
			}
			s = &saga{}
			if err := json.Unmarshal(text, s); err != nil {
				t.Fatal(err)
			}
		}
		o := tr.judge(f, s)
		got := "silent"
		switch {
		case o.restored && o.alarm:
			got = "restored alarm"
		case o.restored:
			got = "restored"
		case o.escalated:
			got = "escalated"
		}
		if got != c.want {
			t.Errorf("in force %q, fee %d, saga %s with %q: %s, want %s", c.left, c.fee, c.state, c.calls, got, c.want)
		}
	}
}

// TestProxy has a proxy do everything it can to a message, and counts what arrives.
func TestProxy(t *testing.T) {
	var arrived atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Host, body)
	}))
	defer server.Close()
	p, err := newProxy("hop", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	send := func() string {
		req, err := http.NewRequest("POST", "http://"+p.addr+"/a%2fb//c?x=%7e", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "name.example"
		resp, err := client.Do(req)
		if err != nil {
			return ""
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return ""
		}
		return string(text)
	}
	const whole = "POST /a%2fb//c?x=%7e name.example body"
	for _, c := range []struct {
		what    act
		phase   phase
		answer  string
		arrived int32
	}{
		{pass, request, whole, 1}, {cut, request, "", 0}, {cut, reply, "", 1}, {twice, request, whole, 2}, {both, request, whole, 2},
	} {
		arrived.Store(0)
		p.reset(func(at point) act {
			if at == (point{"hop", 1, c.phase}) {
				return c.what
			}
			return pass
		})
		got := send()
		for end := time.Now().Add(5 * time.Second); p.inside.Load() > 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if got != c.answer || arrived.Load() != c.arrived {
			t.Errorf("%v at the %s: %d arrived and %q came back, want %d and %q", c.what, c.phase, arrived.Load(), got, c.arrived, c.answer)
		}
	}
}

// TestTornLog is the part of the experiment in which the recorder is opened with
// its last record cut short, at every sixteenth byte.
func TestTornLog(t *testing.T) {
	all := newResults(options{})
	if err := tornLogs(t.TempDir(), all, true); err != nil {
		t.Fatal(err)
	}
	if all.Torn.Restored != all.Torn.Runs || all.Torn.Runs < 10 {
		t.Errorf("%+v: %v", all.Torn, all.Notable)
	}
}

// TestFigure wants every label to be drawn, and every sign in it to have a letter.
func TestFigure(t *testing.T) {
	r := newResults(options{})
	for i, row := range r.Faults {
		r.add(row.Arm, job{fault: row.Fault}, outcome{restored: i%3 == 0, escalated: i%3 == 1})
	}
	r.torn(outcome{restored: true})
	f := r.figure()
	for _, l := range f.labels {
		for _, c := range strings.ToUpper(l.text) {
			if c != ' ' && letters[c] == 0 {
				t.Errorf("no letter for %q in %q", c, l.text)
			}
		}
		if end := l.at.X + 4*dot*len(l.text); end > f.width {
			t.Errorf("%q ends at %d of %d pixels", l.text, end, f.width)
		}
	}
	text, err := f.png()
	if err != nil {
		t.Fatal(err)
	}
	if img, err := png.Decode(bytes.NewReader(text)); err != nil || img.Bounds().Dx() != f.width {
		t.Errorf("the picture does not read: %v", err)
	}
	for _, row := range r.all() {
		if !bytes.Contains(r.page(f), []byte(row.cells()[8])) || !strings.Contains(r.table(), row.Fault) {
			t.Errorf("%s is not on the page or not in the table", row.Fault)
		}
	}
}
