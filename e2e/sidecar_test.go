package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Manifests of the agents that the tests bring along.
const (
	// friend scores 10 and keeps data for a while, so its sidecar records
	// (redacted) payloads and lets cards and addresses through.
	friend = `{"identity":{"agent_id":"friend"},"trust_level":"verified_partner",
	 "reversibility":{"level":"none"},"privacy":{"retention_policy":"temporary"}}`
	// keeper scores 0 and keeps everything for ever.
	keeper = `{"identity":{"agent_id":"keeper"},"trust_level":"untrusted",
	 "reversibility":{"level":"none"},
	 "privacy":{"retention_policy":"permanent","human_in_loop":true,"training_consent":true}}`
)

// trip is a request that nobody minds.
const trip = `{"task":"book","data":{"destination":"NYC"}}`

// agent is an agent of the test's own, on a real port. It keeps what it saw.
type agent struct {
	url string

	mu   sync.Mutex
	seen []call
}

// call is one request as an agent saw it.
type call struct {
	trace  string // X-Agent-Trace-ID
	header http.Header
	body   string
}

// startAgent serves handler; nil answers {"status":"success"}.
func startAgent(t *testing.T, handler http.HandlerFunc) *agent {
	t.Helper()
	a := &agent{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // cut off in the middle: this was no request yet
		}
		a.mu.Lock()
		a.seen = append(a.seen, call{r.Header.Get("X-Agent-Trace-ID"), r.Header.Clone(), string(body)})
		a.mu.Unlock()
		if handler == nil {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"status":"success"}`)
			return
		}
		handler(w, r)
	}))
	t.Cleanup(srv.Close)
	a.url = srv.URL
	return a
}

func (a *agent) calls() []call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]call(nil), a.seen...)
}

// sidecar is a running iatp run.
type sidecar struct {
	*process
	addr   string // of the local listener
	data   string
	config string // the file
}

// setup says how to start a sidecar. Only agent is needed.
type setup struct {
	agent    string   // URL
	manifest string   // JSON; empty: friend
	data     string   // empty: a fresh directory
	config   string   // further lines of YAML
	args     []string // further flags
	fast     bool     // without the race detector: what is measured is the product
}

// command is the program and its arguments.
func (s *setup) command(t *testing.T) (string, []string) {
	t.Helper()
	dir := t.TempDir()
	if s.manifest == "" {
		s.manifest = friend
	}
	if s.data == "" {
		s.data = filepath.Join(dir, "data")
	}
	write(t, filepath.Join(dir, "manifest.json"), s.manifest)
	config := filepath.Join(dir, "sidecar.yaml")
	write(t, config, fmt.Sprintf("listen: 127.0.0.1:0\nagent: %s\nmanifest: manifest.json\ndata: %s\n%s", s.agent, s.data, s.config))
	program := "iatp-checked"
	if s.fast {
		program = "iatp"
	}
	return filepath.Join(binaries, program), append([]string{"run", "--config", config}, s.args...)
}

// launch starts a sidecar without waiting for it.
func (s setup) launch(t *testing.T) *sidecar {
	t.Helper()
	name, args := s.command(t)
	return &sidecar{process: spawn(t, nil, name, args...), data: s.data, config: args[2]}
}

// start starts a sidecar and waits until it listens.
func (s setup) start(t *testing.T) *sidecar {
	t.Helper()
	c := s.launch(t)
	c.addr = c.address(t)
	return c
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// writeSecret writes a file that only its owner can read.
func writeSecret(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// inFiles names a file under dir that holds text, or is empty.
func inFiles(t *testing.T, dir, text string) string {
	t.Helper()
	found := ""
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// stop is SIGTERM; the sidecar must end well.
func (s *sidecar) stop(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGTERM)
	if code := s.exit(t, 15*time.Second); code != 0 {
		t.Errorf("exit %d\n%s", code, s.stderr.String())
	}
}

// operator is the header with the operator's token.
func (s *sidecar) operator(t *testing.T) string {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(s.data, "operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	return "Authorization: Bearer " + strings.TrimSpace(string(token))
}

// reply is a whole answer.
type reply struct {
	status int
	header http.Header
	text   string
}

// member is a member of a JSON answer, nil if there is none.
func (r *reply) member(name string) any {
	var m map[string]any
	if json.Unmarshal([]byte(r.text), &m) != nil {
		return nil
	}
	return m[name]
}

// patient does not follow, does not compress, does not use a proxy and does not wait for ever.
var patient = &http.Client{
	Timeout:       20 * time.Second,
	Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// send makes a request; header lines are "Name: value".
func (s *sidecar) send(method, path, body string, header ...string) (*reply, error) {
	req, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	resp, err := patient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return &reply{resp.StatusCode, resp.Header, string(text)}, err
}

func (s *sidecar) post(t *testing.T, body string, header ...string) *reply {
	t.Helper()
	r, err := s.send("POST", "/proxy", body, append([]string{"Content-Type: application/json"}, header...)...)
	if err != nil {
		t.Fatalf("POST /proxy: %v\n%s", err, s.stderr.String())
	}
	return r
}

func (s *sidecar) get(t *testing.T, path string, header ...string) *reply {
	t.Helper()
	r, err := s.send("GET", path, "", header...)
	if err != nil {
		t.Fatalf("GET %s: %v\n%s", path, err, s.stderr.String())
	}
	return r
}

// raw sends bytes as they are on a connection of their own, and reads one answer.
func (s *sidecar) raw(t *testing.T, request string) *reply {
	t.Helper()
	r, err := s.tryRaw(request)
	if err != nil {
		t.Fatalf("%.200q: %v", request, err)
	}
	return r
}

func (s *sidecar) tryRaw(request string) (*reply, error) {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return &reply{resp.StatusCode, resp.Header, string(text)}, err
}

// wire is a POST /proxy as bytes; header lines are "Name: value" and replace the
// Host if they name one.
func wire(body string, header ...string) string {
	var b bytes.Buffer
	b.WriteString("POST /proxy HTTP/1.1\r\n")
	if !strings.Contains("\n"+strings.Join(header, "\n"), "\nHost: ") {
		b.WriteString("Host: localhost\r\n")
	}
	for _, line := range header {
		b.WriteString(line + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

// record is a line of the flight recorder, as far as the tests read it.
type record struct {
	Seq        int64    `json:"seq"`
	Type       string   `json:"type"`
	TraceID    string   `json:"trace_id"`
	Timestamp  string   `json:"timestamp"`
	Reason     string   `json:"reason"`
	State      string   `json:"state"`
	Decision   string   `json:"decision"`
	StatusCode int      `json:"status_code"`
	Latency    *float64 `json:"latency_ms"`
	Payload    any      `json:"payload"`
	Findings   []struct {
		Kind  string `json:"kind"`
		Count int    `json:"count"`
	} `json:"findings"`
}

// records asks the sidecar for everything from a sequence number on.
func (s *sidecar) records(t *testing.T, from int64) []record {
	t.Helper()
	var all []record
	for {
		r := s.get(t, fmt.Sprintf("/trace?after=%d&limit=1000", from), s.operator(t))
		var page struct {
			Logs []record `json:"logs"`
			Next int64    `json:"next"`
		}
		if err := json.Unmarshal([]byte(r.text), &page); err != nil || r.status != 200 {
			t.Fatalf("GET /trace: %d, %v: %.300s", r.status, err, r.text)
		}
		all = append(all, page.Logs...)
		if len(page.Logs) == 0 || page.Next <= from {
			return all
		}
		from = page.Next
	}
}

// checkLog runs the product's own checks over a data directory.
func checkLog(t *testing.T, data string) {
	t.Helper()
	wantSound(t, data, "verify")
	wantSound(t, data, "fsck")
}

// wantSound runs one of them.
func wantSound(t *testing.T, data, check string) {
	t.Helper()
	if code, out, errs := tool(t, "log", check, "--data", data); code != 0 {
		t.Errorf("iatp log %s: exit %d\n%s%s", check, code, out, errs)
	}
}
