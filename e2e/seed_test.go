package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
)

// The commands of the seed's quick start, word for word.
const (
	seedTransfer = `curl -X POST http://localhost:8001/proxy \
  -H 'Content-Type: application/json' \
  -d '{"task":"transfer","data":{"amount":100,"from_account":"123","to_account":"456"}}'`

	seedCard = `curl -X POST http://localhost:8001/proxy \
  -H 'Content-Type: application/json' \
  -d '{"task":"book","data":{"payment":"4532-0151-1283-0366"}}'`

	seedBook = `curl -X POST http://localhost:8001/proxy \
  -H 'Content-Type: application/json' \
  -d '{"task":"book","data":{"destination":"NYC"}}'`

	seedOverride = `curl -X POST http://localhost:8001/proxy \
  -H 'Content-Type: application/json' \
  -H 'X-User-Override: true' \
  -d '{"task":"book","data":{"destination":"NYC"}}'`

	seedTrace = `curl http://localhost:8001/trace/{trace_id}`
)

// shell runs one of the seed's commands against a sidecar wherever it listens.
// A configuration file of curl's own adds what the command does not say: where
// localhost:8001 is, and that the head of the answer is shown.
func (s *sidecar) shell(t *testing.T, command string) *reply {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Log("curl is not installed: the test sends the bytes that curl would")
		return s.raw(t, asCurlWould(command))
	}
	home := t.TempDir()
	write(t, filepath.Join(home, ".curlrc"), fmt.Sprintf("silent\nshow-error\ninclude\nmax-time = 20\nconnect-to = \"localhost:8001:%s\"\n", s.addr))
	cmd := exec.Command("sh", "-c", command)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "CURL_HOME=" + home, "HOME=" + home}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, errs.String())
	}
	resp, err := http.ReadResponse(bufio.NewReader(&out), nil)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &reply{resp.StatusCode, resp.Header, string(text)}
}

var curlWord = regexp.MustCompile(`-([HXd]) (?:'([^']*)'|(\S+))|http://localhost:8001(\S+)`)

// asCurlWould turns a curl command of the seed into its request.
func asCurlWould(command string) string {
	method, path, body := "GET", "", ""
	var header strings.Builder
	for _, w := range curlWord.FindAllStringSubmatch(command, -1) {
		switch {
		case w[4] != "":
			path = w[4]
		case w[1] == "X":
			method = w[3]
		case w[1] == "H":
			header.WriteString(w[2] + "\r\n")
		default:
			body = w[2]
		}
	}
	if body != "" {
		fmt.Fprintf(&header, "Content-Length: %d\r\n", len(body))
	}
	return method + " " + path + " HTTP/1.1\r\nHost: localhost:8001\r\nUser-Agent: curl/8.0.0\r\nAccept: */*\r\n" + header.String() + "\r\n" + body
}

func TestAsCurlWould(t *testing.T) {
	want := "POST /proxy HTTP/1.1\r\nHost: localhost:8001\r\nUser-Agent: curl/8.0.0\r\nAccept: */*\r\n" +
		"Content-Type: application/json\r\nX-User-Override: true\r\nContent-Length: 44\r\n\r\n" + trip
	if got := asCurlWould(seedOverride); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// example starts an example agent as its program.
func example(t *testing.T, name string) string {
	t.Helper()
	return "http://" + spawn(t, nil, filepath.Join(binaries, name), "--listen", "127.0.0.1:0").address(t)
}

// startExample starts an example agent and its sidecar with the configuration
// that examples/configs has for it; only addresses and the data directory differ.
func startExample(t *testing.T, name string) *sidecar {
	t.Helper()
	config, err := filepath.Abs("../examples/configs/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := &sidecar{data: filepath.Join(t.TempDir(), "data")}
	s.process = spawn(t, nil, filepath.Join(binaries, "iatp-checked"), "run", "--config", config,
		"--agent", example(t, name), "--listen", "127.0.0.1:0", "--data", s.data)
	s.addr = s.address(t)
	return s
}

// uuid is how the ids look that are made here.
var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// wantHead checks what every answer of the corridor carries.
func wantHead(t *testing.T, r *reply, status int, score, from string) {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.text)
	}
	h := r.header
	if !uuid.MatchString(h.Get("X-Agent-Trace-ID")) || h.Get("X-Agent-Trust-Score") != score || h.Get("X-Agent-Latency-Ms") == "" || h.Get("IATP-From") != from {
		t.Errorf("headers: %v", h)
	}
	if status >= 400 && (h.Get("Content-Type") != "application/problem+json" || r.member("trace_id") != h.Get("X-Agent-Trace-ID")) {
		t.Errorf("problem: %v %s", h, r.text)
	}
}

func TestSeedHighTrustDemo(t *testing.T) {
	t.Parallel()
	s := startExample(t, "securebank")
	r := s.shell(t, seedTransfer)
	wantHead(t, r, 200, "10", "agent")
	if r.member("status") != "success" || r.member("amount") != "100.00" || r.header.Get("X-Agent-Quarantined") != "" {
		t.Errorf("answer: %v %s", r.header, r.text)
	}
	trace := s.shell(t, strings.Replace(seedTrace, "{trace_id}", r.header.Get("X-Agent-Trace-ID"), 1))
	if got := timeline(t, trace); got != "request response" {
		t.Errorf("records of the trace: %s\n%s", got, trace.text)
	}
	s.stop(t)
	checkLog(t, s.data)
}

func TestSeedLowTrustDemo(t *testing.T) {
	t.Parallel()
	s := startExample(t, "honeypot")

	r := s.shell(t, seedCard)
	wantHead(t, r, 403, "0", "sidecar")
	if text, _ := r.member("error").(string); !strings.HasPrefix(text, "Privacy Violation: Agent stores data permanently") || r.member("blocked") != true {
		t.Errorf("403: %s", r.text)
	}
	blocked := s.shell(t, strings.Replace(seedTrace, "{trace_id}", r.header.Get("X-Agent-Trace-ID"), 1))
	if got := timeline(t, blocked); got != "request blocked" || strings.Contains(blocked.text, "4532") {
		t.Errorf("records of the blocked call: %s\n%s", got, blocked.text)
	}

	r = s.shell(t, seedBook)
	wantHead(t, r, 449, "0", "sidecar")
	if text, _ := r.member("warning").(string); !strings.HasPrefix(text, "⚠️ WARNING:\n  • Low trust score (0/10)\n  • No reversibility\n  • Data stored permanently") ||
		r.member("requires_override") != true || r.member("trust_score") != 0.0 {
		t.Errorf("449: %s", r.text)
	}

	r = s.shell(t, seedOverride)
	wantHead(t, r, 200, "0", "agent")
	if r.header.Get("X-Agent-Quarantined") != "true" {
		t.Errorf("an overridden call is not quarantined: %v", r.header)
	}
	trace := s.shell(t, strings.Replace(seedTrace, "{trace_id}", r.header.Get("X-Agent-Trace-ID"), 1))
	if got := timeline(t, trace); got != "request user_override quarantine:low_trust_override forward response" {
		t.Errorf("records of the overridden call: %s\n%s", got, trace.text)
	}

	if r = s.shell(t, strings.Replace(seedOverride, "NYC", "LIS", 1)); r.status != 449 {
		t.Errorf("an override of another call: %d", r.status)
	}
	if r = s.shell(t, strings.Replace(seedBook, `"NYC"}}`, ``, 1)); r.status != 400 || !strings.HasPrefix(fmt.Sprint(r.member("error")), "Invalid JSON") {
		t.Errorf("a body that is not JSON: %d %s", r.status, r.text)
	}
	s.stop(t)
	checkLog(t, s.data)
}

// timeline is the types of the records of a trace, in order, with the reason of
// a quarantine; each must have the members that the seed shows.
func timeline(t *testing.T, r *reply) string {
	t.Helper()
	var trace struct {
		Logs []record `json:"logs"`
	}
	if err := json.Unmarshal([]byte(r.text), &trace); err != nil || r.status != 200 {
		t.Fatalf("trace: %d %v: %s", r.status, err, r.text)
	}
	var types []string
	for _, l := range trace.Logs {
		if at, err := time.Parse(time.RFC3339, l.Timestamp); err != nil || time.Since(at).Abs() > time.Minute || l.TraceID == "" {
			t.Errorf("record %+v", l)
		}
		if (l.Type == "response") != (l.Latency != nil) {
			t.Errorf("record %+v: latency_ms belongs to a response", l)
		}
		kind := l.Type
		if kind == "quarantine" {
			kind += ":" + l.Reason
		}
		types = append(types, kind)
	}
	return strings.Join(types, " ")
}

func TestManifestHealthAndMetrics(t *testing.T) {
	t.Parallel()
	s := startExample(t, "honeypot")
	if r := s.get(t, "/health"); r.status != 200 || r.member("status") != "healthy" || r.member("agent_id") != "untrusted-agent" {
		t.Errorf("/health: %d %s", r.status, r.text)
	}
	want, err := os.ReadFile("../examples/manifests/honeypot.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/capabilities", "/.well-known/agent-manifest"} {
		if r := s.get(t, path); r.status != 200 || r.text != string(want) {
			t.Errorf("%s: %d %s", path, r.status, r.text)
		}
	}
	s.post(t, trip)
	metrics := s.get(t, "/metrics")
	if metrics.status != 200 || !strings.Contains(metrics.text, "# HELP iatp_") || !strings.Contains(metrics.text, "# TYPE iatp_") || !strings.Contains(metrics.text, `"ask"`) {
		t.Errorf("/metrics: %d %.500s", metrics.status, metrics.text)
	}
}

// TestSeedEnvironment: the seed's variables make a sidecar without any file.
func TestSeedEnvironment(t *testing.T) {
	t.Parallel()
	a := startAgent(t, nil)
	_, port, _ := net.SplitHostPort(iatptest.Address(t))
	env := []string{
		"IATP_AGENT_URL=" + a.url, "IATP_PORT=" + port, "IATP_AGENT_ID=env-agent", "IATP_TRUST_LEVEL=trusted",
		"IATP_REVERSIBILITY=none", "IATP_RETENTION=ephemeral", "IATP_HUMAN_IN_LOOP=false", "IATP_TRAINING_CONSENT=true",
	}
	s := &sidecar{process: spawn(t, env, filepath.Join(binaries, "iatp-checked"), "run")}
	s.data = filepath.Join(s.cmd.Dir, "iatp-data")
	if s.addr = s.address(t); s.addr != "127.0.0.1:"+port {
		t.Errorf("listens on %s, want port %s", s.addr, port)
	}
	wantHead(t, s.post(t, trip), 200, "7", "agent") // 7 + 1 ephemeral - 1 training
	if r := s.get(t, "/capabilities"); !strings.Contains(r.text, `"env-agent"`) {
		t.Errorf("manifest: %s", r.text)
	}
	s.stop(t)
	checkLog(t, s.data)

	for _, bad := range []string{"IATP_TRUST_LEVEL=perfect", "IATP_RETENTION=never", "IATP_HUMAN_IN_LOOP=maybe", "IATP_PORT=http", "IATP_REVERSIBILITY=full"} {
		p := spawn(t, []string{"IATP_PORT=0", "IATP_DATA=" + t.TempDir(), bad}, filepath.Join(binaries, "iatp-checked"), "run")
		name, _, _ := strings.Cut(bad, "=")
		if code := p.exit(t, 10*time.Second); code == 0 || !strings.Contains(p.stderr.String(), "iatp: ") {
			t.Errorf("%s: exit %d: %s", name, code, p.stderr.String())
		}
	}
}

// TestNoManifest: with nothing said, every call asks, and the banner says how to change that.
func TestNoManifest(t *testing.T) {
	t.Parallel()
	a := startAgent(t, nil)
	s := &sidecar{process: spawn(t, []string{"IATP_AGENT_URL=" + a.url, "IATP_LISTEN=127.0.0.1:0"}, filepath.Join(binaries, "iatp-checked"), "run")}
	s.addr = s.address(t)
	wantHead(t, s.post(t, trip), 449, "5", "sidecar")
	if !strings.Contains(s.stdout.String(), "iatp run --manifest") {
		t.Errorf("the banner shows no way out:\n%s", s.stdout.String())
	}
	if n := len(a.calls()); n != 0 {
		t.Errorf("the agent saw %d calls", n)
	}
}

// TestDemo: the story plays through in under ten seconds.
func TestDemo(t *testing.T) {
	t.Parallel()
	start := time.Now()
	p := spawn(t, nil, filepath.Join(binaries, "iatp"), "demo")
	if code := p.exit(t, 10*time.Second); code != 0 {
		t.Errorf("iatp demo: exit %d\n%s%s", code, p.stdout.String(), p.stderr.String())
	}
	t.Logf("iatp demo took %s", time.Since(start).Round(time.Millisecond))
	rest := p.stdout.String()
	for _, scene := range []string{"curl", "200", "403", "Privacy Violation", "449", "Low trust score (0/10)", "X-User-Override: true", "200", "quarantine", "ok"} {
		_, after, ok := strings.Cut(rest, scene)
		if !ok {
			t.Fatalf("no %q, in its place, in the demo:\n%s", scene, p.stdout.String())
		}
		rest = after
	}
}
