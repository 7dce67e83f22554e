package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
)

// TestDrain: SIGTERM lets the call under way end, and takes no new one.
func TestDrain(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	a := startAgent(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		select {
		case <-release:
			io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	})
	s := setup{agent: a.url}.start(t)
	answer := make(chan *reply, 1)
	go func() {
		r, err := s.send("POST", "/proxy", trip, "Content-Type: application/json")
		if err != nil {
			r = &reply{text: err.Error()}
		}
		answer <- r
	}()
	<-arrived
	s.drain(t)
	r, err := s.send("POST", "/proxy", `{"late":true}`, "Content-Type: application/json")
	if err == nil && r.status != 503 { // or the listener is closed
		t.Errorf("a new call while draining: %d", r.status)
	}
	select {
	case r := <-answer:
		t.Fatalf("the call under way was not waited for: %+v", r)
	case <-time.After(300 * time.Millisecond):
	}
	close(release)
	if r := <-answer; r.status != 200 || r.text != "done" {
		t.Errorf("the call under way: %+v", r)
	}
	if code := s.exit(t, 10*time.Second); code != 0 {
		t.Errorf("exit %d: %s", code, s.stderr.String())
	}
	if n := len(a.calls()); n != 1 {
		t.Errorf("the agent saw %d calls", n)
	}
	checkLog(t, s.data)
}

// drain is SIGTERM, and waits until it is heard.
func (s *sidecar) drain(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGTERM)
	eventually(t, 5*time.Second, func() error {
		if !strings.Contains(s.stderr.String(), "draining") {
			return fmt.Errorf("it does not drain: %s", s.stderr.String())
		}
		return nil
	})
}

// TestSecondSignal ends the process at once, and the log is sound.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	a := startAgent(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	s := setup{agent: a.url}.start(t)
	go s.send("POST", "/proxy", trip, "Content-Type: application/json") // is cut off
	<-arrived
	s.drain(t)
	s.signal(t, syscall.SIGTERM)
	if code := s.exit(t, 2*time.Second); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit %d: %s", code, s.stderr.String())
	}
	checkLog(t, s.data)
}

// TestReload: SIGHUP takes changed rules and manifests, all or nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	const rule = "- name: NoBooking\n  description: No booking today\n  action: %s\n  conditions:\n    agent_id: [friend]\n"
	write(t, rules, fmt.Sprintf(rule, "allow"))
	a := startAgent(t, nil)
	at := setup{agent: a.url, args: []string{"--policy", rules}}
	s := at.start(t)
	status := func(want int, why string) *reply {
		t.Helper()
		var r *reply
		eventually(t, 5*time.Second, func() error {
			if r = s.post(t, trip); r.status != want {
				return fmt.Errorf("%s: %d, want %d: %s", why, r.status, want, r.text)
			}
			return nil
		})
		return r
	}
	status(200, "at start")
	write(t, rules, fmt.Sprintf(rule, "deny"))
	s.signal(t, syscall.SIGHUP)
	if r := status(403, "after a rule that denies"); !strings.Contains(r.text, "No booking today") {
		t.Errorf("403: %s", r.text)
	}
	write(t, rules, fmt.Sprintf(rule, "forbid"))
	s.signal(t, syscall.SIGHUP)
	eventually(t, 5*time.Second, func() error {
		if text := s.stderr.String(); !strings.Contains(text, rules) || !strings.Contains(text, "forbid") {
			return fmt.Errorf("nothing is said of the bad file:\n%s", text)
		}
		return nil
	})
	status(403, "after a bad file")
	if err := os.Remove(rules); err != nil {
		t.Fatal(err)
	}
	s.signal(t, syscall.SIGHUP)
	time.Sleep(100 * time.Millisecond)
	status(403, "after the file is gone")
	write(t, rules, fmt.Sprintf(rule, "allow"))
	s.signal(t, syscall.SIGHUP)
	status(200, "after it is back")

	// The configuration itself is read on SIGHUP alone; files of rules also when they change.
	config := s.cmd.Args[3]
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, config, string(text)+"require: {reversibility: full}\n")
	s.signal(t, syscall.SIGHUP)
	if r := status(449, "after a new requirement"); !strings.Contains(r.text, "requirement_unmet") {
		t.Errorf("449: %s", r.text)
	}
	write(t, config, string(text)+"nonsense: true\n")
	s.signal(t, syscall.SIGHUP)
	time.Sleep(100 * time.Millisecond)
	status(449, "after a configuration with an unknown key")
	s.stop(t)
	checkLog(t, s.data)
}

// TestAgentFails: an agent that is down, slow or lies is reported for what it
// is, and honestly.
func TestAgentFails(t *testing.T) {
	t.Parallel()
	at := setup{agent: "http://" + iatptest.Address(t)}
	s := at.start(t)
	r := s.post(t, trip)
	wantHead(t, r, 502, "10", "sidecar")
	if r.member("outcome") != "none" || r.member("recovery") == nil {
		t.Errorf("502: %s", r.text)
	}
	s.stop(t)

	a := startAgent(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Prefer") {
		case "slow":
			<-r.Context().Done()
		case "reset":
			panic(http.ErrAbortHandler)
		case "short":
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "less than promised")
			panic(http.ErrAbortHandler)
		case "forge":
			for _, h := range []string{"X-Agent-Trust-Score", "X-Agent-Quarantined", "X-Agent-Trace-ID", "IATP-From", "Set-Cookie", "Access-Control-Allow-Origin", "X_Agent_Trace_ID"} {
				w.Header().Set(h, "forged")
			}
			io.WriteString(w, "forged")
		}
	})
	s = setup{agent: a.url, config: "limits: {deadline: 500ms}\n"}.start(t)
	for prefer, want := range map[string]int{"slow": 504, "reset": 502, "short": 502} {
		r := s.post(t, trip, "Prefer: "+prefer)
		wantHead(t, r, want, "10", "sidecar")
		if r.member("outcome") != "unknown" {
			t.Errorf("%s: %s", prefer, r.text)
		}
	}
	r = s.post(t, trip, "Prefer: forge")
	wantHead(t, r, 200, "10", "agent")
	if strings.Contains(fmt.Sprint(r.header), "forged") {
		t.Errorf("the agent speaks for the sidecar: %v", r.header)
	}
	s.stop(t)
	checkLog(t, s.data)
}

// TestShutdownWithASilentConnection: a connection on which nothing was ever said is no
// exchange under way, and a shutdown that ends while it is open is one that went well.
func TestShutdownWithASilentConnection(t *testing.T) {
	t.Parallel()
	s := setup{agent: "http://127.0.0.1:1", config: "limits: {deadline: 1s}\n"}.start(t)
	defer s.dial(t).Close()
	s.get(t, "/health") // after which the other connection is accepted
	s.stop(t)
}
