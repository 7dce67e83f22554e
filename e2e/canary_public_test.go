package e2e_test

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/httpsig"
)

// An outsider speaks to a public listener by hand: as a party that is known there,
// or as nobody.
type outsider struct {
	t        *testing.T
	as       *meshParty
	to       string // host:port
	manifest string // digest of the manifest of whom he calls
	n        int
	replies  []*reply
}

// request makes a request that is not signed.
func (o *outsider) request(method, path, body string) *http.Request {
	req, err := http.NewRequest(method, "http://"+o.to+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("User-Agent", "hand")
	req.Header.Set("Accept-Encoding", "identity")
	if method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Content-Digest", iatp.DigestOf([]byte(body)).ContentDigest())
		o.n++
		req.Header.Set("Idempotency-Key", fmt.Sprintf(`"key-%d"`, o.n))
	}
	if path == "/task" {
		req.Header.Set("Iatp-Manifest", o.manifest)
	}
	return req
}

// sign signs a request; the error says that no receiver would accept it.
func (o *outsider) sign(req *http.Request) error {
	var nonce [16]byte
	rand.Read(nonce[:])
	signer := httpsig.Signer{Key: o.as.key, Agent: "http://" + o.as.addr}
	m := &httpsig.Message{Method: req.Method, TargetURI: "http://" + o.to + req.URL.RequestURI(), Header: req.Header}
	now := time.Now()
	_, err := signer.Sign(m, now, now.Add(time.Minute), base64.RawURLEncoding.EncodeToString(nonce[:]))
	return err
}

// send sends a request and keeps the answer, if there is one.
func (o *outsider) send(req *http.Request) *reply {
	resp, err := patient.Do(req)
	if err != nil {
		return nil // what no client can send: a line end in a field
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body) // what broke off counts too
	r := &reply{resp.StatusCode, resp.Header, string(text)}
	o.replies = append(o.replies, r)
	return r
}

// call makes a signed request.
func (o *outsider) call(method, path, body string, header ...string) *reply {
	req := o.request(method, path, body)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header[http.CanonicalHeaderKey(name)] = []string{value}
	}
	if o.sign(req) != nil {
		return nil
	}
	return o.send(req)
}

// publicPaths are where another sidecar may ask for something.
var publicPaths = []string{
	"/task", "/proxy", "/capabilities", "/.well-known/agent-manifest", "/.well-known/http-message-signatures-directory", "/health", "/transactions/close", "/agreements",
	"/agreements/", "/receipts/", "/compensate/", "/transactions/", "/log/checkpoint", "/log/tile/", "/log/", "/", "/task?x=", "/log/tile/0/",
}

// publicFields are the fields of a request that somebody reads there.
var publicFields = []string{
	"Content-Type", "Content-Encoding", "Content-Digest", "Idempotency-Key", "X-Agent-Trace-Id", "Traceparent", "Iatp-Agreement", "Iatp-Manifest", "Iatp-Budget", "Iatp-Deadline",
	"Iatp-Grant", "Iatp-Facts", "Mcp-Method", "A2a-Version", "Signature", "Signature-Input", "Signature-Agent", "Accept-Language", "Early-Data", "Connection", "X-User-Override", "X-Any",
}

// push sends a canary through every door of the public listener.
func (o *outsider) push(c canary) {
	quoted, err := json.Marshal(c.text)
	if err != nil {
		o.t.Fatal(err)
	}
	note := `{"note":` + string(quoted) + `}`
	o.call("POST", "/task", note)
	o.call("POST", "/task", `{"note":`+string(quoted)+`,`)
	o.call("POST", "/task", `{`+string(quoted)+`:1,`+string(quoted)+`:2}`)
	o.call("POST", "/task", c.text)
	for _, body := range []string{note, `{"key":` + string(quoted) + `}`, `{"reason":` + string(quoted) + `}`, `{"reason":"user_requested",` + string(quoted) + `:1}`, c.text} {
		for _, path := range []string{"/transactions/close", "/agreements", "/compensate/tx_0123456789abcdef"} {
			o.call("POST", path, body)
		}
	}
	for _, path := range publicPaths {
		path += url.PathEscape(c.text)
		o.call("GET", path, "")
		o.send(o.request("POST", path, trip))
	}
	if strings.ContainsFunc(c.text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return
	}
	for _, name := range publicFields {
		o.call("POST", "/task", trip, name+": "+c.text)
		req := o.request("POST", "/task", trip)
		if err := o.sign(req); err != nil {
			o.t.Fatal(err)
		}
		req.Header[name] = []string{c.text} // changed on the way
		o.send(req)
	}
	req := o.request("GET", "/health", "")
	req.Host = c.text
	o.send(req)
}

// needles are texts to look for, by their first bytes: there are too many for a regular
// expression.
type needles struct {
	long  map[[needleHead]byte][]string
	short []string
}

const needleHead = 10

func (n *needles) add(text string) {
	if len(text) < needleHead {
		n.short = append(n.short, text)
		return
	}
	head := [needleHead]byte([]byte(text))
	n.long[head] = append(n.long[head], text)
}

// in returns one that data holds, or nothing.
func (n *needles) in(data string) string {
	for _, text := range n.short {
		if strings.Contains(data, text) {
			return text
		}
	}
	for i := range max(len(data)-needleHead+1, 0) {
		for _, text := range n.long[[needleHead]byte([]byte(data[i:i+needleHead]))] {
			if strings.HasPrefix(data[i:], text) {
				return text
			}
		}
	}
	return ""
}

// traces are all forms in which somebody might find a canary: also as base64, in each of
// the three ways in which it falls, and as hexadecimal digits.
func traces(all []canary) *needles {
	n := &needles{long: map[[needleHead]byte][]string{}}
	for _, c := range all {
		for _, form := range c.forms() {
			n.add(form)
		}
		for shift := range 3 {
			text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + c.value))
			if text = text[(shift*8+5)/6 : len(text)-1]; len(text) >= needleHead { // else chance has it, too
				n.add(text)
				n.add(strings.NewReplacer("+", "-", "/", "_").Replace(text))
			}
		}
		digits := hex.EncodeToString([]byte(c.value))
		n.add(digits)
		n.add(strings.ToUpper(digits))
	}
	return n
}

// TestCanariesInPublic pushes values of a hundred kinds through every door of the
// listener for other sidecars, signed and not, breaks the sidecar's configuration, kills
// it, starts it again, and looks at everything that the program wrote.
func TestCanariesInPublic(t *testing.T) {
	t.Parallel()
	all := canaryOfEachKind(t)
	agent := startAgent(t, faultyAgent)
	pa, pb := newMeshParty(t), newMeshParty(t)
	config := strings.Replace(pb.config("a", pa, "trusted"), "limits:\n", "limits:\n  deadline: 5s\n", 1)
	b := setup{agent: agent.url, config: config}.start(t)
	o := &outsider{t: t, as: pa, to: pb.addr}
	m, err := iatp.ParseManifest([]byte(b.get(t, "/capabilities").text))
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.Digest()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := iatp.ParseContentDigest(text)
	if err != nil {
		t.Fatal(err)
	}
	o.manifest = digest.ByteSequence()
	if r := o.call("POST", "/task", trip); r == nil || r.status != http.StatusOK {
		t.Fatalf("a plain call is answered with %+v\n%s", r, b.stderr.String())
	}
	for _, c := range all {
		o.push(c)
	}
	o.faultyConfig(b, all)
	b.process.kill()
	again := setup{agent: agent.url, config: config, data: b.data}.start(t)
	last := o.call("POST", "/task", trip)
	if last == nil || last.status != http.StatusOK {
		t.Fatalf("a plain call after the crash is answered with %+v\n%s", last, again.stderr.String())
	}

	statuses := map[int]int{}
	every := traces(all)
	for _, r := range o.replies {
		statuses[r.status]++
		if r.header.Get("Iatp-From") != "sidecar" {
			continue
		}
		whole := r.text + fmt.Sprint(r.header)
		if found := every.in(whole); found != "" {
			t.Errorf("an answer holds %q: %.300s", found, whole)
		}
	}
	if statuses[200] < len(all)/2 || statuses[400] < len(all) || statuses[404] < len(all) {
		t.Errorf("the test tests little: %v", statuses)
	}
	again.wantNoCanaryIn(t, last.header.Get("X-Agent-Trace-Id"), all)
	again.wantNoCanary(t, "b", all)
	if found := every.in(b.stdout.String() + b.stderr.String()); found != "" {
		t.Errorf("the log of the killed program holds %q", found)
	}
	for _, file := range filesUnder(t, b.data) {
		data, err := os.ReadFile(file)
		if found := every.in(string(data)); err != nil || found != "" {
			t.Errorf("%s holds %q, %v", file, found, err)
		}
	}
}

// faultyConfig has the sidecar read a configuration that is full of canaries where
// faults are.
func (o *outsider) faultyConfig(s *sidecar, all []canary) {
	o.t.Helper()
	for i := 0; i < len(all); i += 9 {
		if all[i].kind == "ip_address" {
			continue // where our own configuration points to is told: see scrubHandler
		}
		quoted, err := json.Marshal(all[i].text)
		if err != nil {
			o.t.Fatal(err)
		}
		for _, text := range []string{
			"privacy: {request: " + string(quoted) + "}\n", string(quoted) + ": 1\n", "agent: " + string(quoted) + "\nlimits: {body: " + string(quoted) + "}\n",
			"policy: [" + string(quoted) + "]\nmanifest: " + string(quoted) + "\n", "peers: {" + string(quoted) + ": {url: " + string(quoted) + ", pin: " + string(quoted) + "}}\n",
		} {
			write(o.t, s.config, text)
			before := len(s.stderr.String())
			s.signal(o.t, syscall.SIGHUP)
			eventually(o.t, 20*time.Second, func() error {
				if !strings.Contains(s.stderr.String()[before:], "level=") {
					return fmt.Errorf("nothing is said of the reload")
				}
				return nil
			})
		}
	}
}

// wantNoCanaryIn looks into the bundle of a trace and at what the other commands show.
func (s *sidecar) wantNoCanaryIn(t *testing.T, trace string, all []canary) {
	t.Helper()
	for _, args := range [][]string{{"transactions"}, {"peers"}, {"trace", trace}, {"quarantine", trace}} {
		_, out, errs := tool(t, append(args, "--data", s.data)...)
		if found := in([]byte(out+errs), all); found != nil {
			t.Errorf("iatp %v holds %v", args, found)
		}
	}
	code, out, errs := tool(t, "export", "--trace", trace, "--data", s.data, "-o", "-")
	bundle, err := zip.NewReader(bytes.NewReader([]byte(out)), int64(len(out)))
	if code != 0 || err != nil {
		t.Fatalf("iatp export: exit %d, %v %s", code, err, errs)
	}
	for _, f := range bundle.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if found := in(text, all); found != nil || err != nil {
			t.Errorf("%s in the bundle holds %v, %v", f.Name, found, err)
		}
	}
}

// filesUnder are the files in a directory, however deep.
func filesUnder(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return files
}
