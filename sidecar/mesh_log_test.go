package sidecar_test

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// A history is what a may see of b: b can be stopped, its directory copied, and
// another b be started from the copy, with the same key at the same address.
type history struct {
	pa, pb *iatptest.Party
	a      *iatptest.Node
	dataA  string
}

func newHistory(t *testing.T) *history {
	h := &history{pa: iatptest.NewParty(t), pb: iatptest.NewParty(t), dataA: t.TempDir()}
	h.startA(t)
	return h
}

func (h *history) startA(t *testing.T) {
	h.a = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Data: h.dataA, Config: func(c *sidecar.Config) {
		h.pa.Listen(c)
		c.Peers, c.Limits.PerPeer = map[string]sidecar.Peer{"b": h.pb.AsPeer("verified_partner")}, plenty
	}})
}

// startB starts b on a directory. alone keeps it from asking a what it has seen.
func (h *history) startB(t *testing.T, data string, alone bool) *iatptest.Node {
	return iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Data: data, Config: func(c *sidecar.Config) { h.configB(c, alone) }})
}

func (h *history) configB(c *sidecar.Config, alone bool) {
	h.pb.Listen(c)
	a := h.pa.AsPeer("trusted")
	if alone {
		a.URL, a.URI, a.Dial = "", h.pa.URL, "127.0.0.1:1"
	}
	c.Peers, c.Limits.PerPeer = map[string]sidecar.Peer{"a": a}, plenty
}

func (h *history) call(t *testing.T) *iatptest.Reply { return post(t, h.a, "/proxy/b", bookNYC, nil) }

// visit is what a says of b after a look at its log.
func (h *history) visit(t *testing.T) api.Peer { return visitOf(t, h.a) }

func visitOf(t *testing.T, n *iatptest.Node) api.Peer {
	t.Helper()
	var known api.Peers
	if r := n.Get(t, "/peers?visit=1", n.Operator(t)); json.Unmarshal(r.Body, &known) != nil || len(known.Peers) != 1 {
		t.Fatalf("peers: %d %s", r.Status, r.Body)
	}
	return known.Peers[0]
}

// settled visits until the log of b has shown that many records: it signs about once
// a second.
func (h *history) settled(t *testing.T, size int64) api.Peer {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		p := h.visit(t)
		if p.Log != nil && (p.Log.Size >= size || p.Log.Verdict != "seen") {
			return p
		}
		if time.Now().After(end) {
			t.Fatalf("the log of b does not get to %d records: %+v", size, p.Log)
		}
	}
}

func mustStop(t *testing.T, n *iatptest.Node) {
	t.Helper()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
}

// copied is a copy of a data directory.
func copied(t *testing.T, data string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"log.key", "store.key", "operator.token"} {
		if err := os.Chmod(filepath.Join(to, secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// A log that grows as it should is followed, and both sides say so.
func TestLogOfAPeerIsFollowed(t *testing.T) {
	h := newHistory(t)
	b := h.startB(t, t.TempDir(), false)
	if r := h.call(t); r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	first := h.settled(t, 2)
	h.call(t)
	second := h.settled(t, first.Log.Size+2)
	if first.Log.Verdict != "seen" || second.Log.Verdict != "seen" || second.Log.Size <= first.Log.Size || *second.Score != 10 {
		t.Errorf("%+v, then %+v", first.Log, second.Log)
	}
	// b has looked at a's log by itself, since a has called.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var known api.Peers
		r := b.Get(t, "/peers", b.Operator(t))
		if json.Unmarshal(r.Body, &known) == nil && known.Peers[0].Log != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("b has not looked at a's log: %s", r.Body)
		}
	}
	seen := records(t, h.a, "checkpoint_seen")
	if len(seen) < 2 || seen[0]["reason"] != "seen" || seen[0]["peer"] != h.pb.URL {
		t.Errorf("a's records: %v", seen)
	}
}

// records are all of a type, oldest first.
func records(t *testing.T, n *iatptest.Node, kind string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(string(n.Get(t, "/log/export", n.Operator(t)).Body)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m["type"] == kind {
			all = append(all, m)
		}
	}
	return all
}

// A log that goes on in two ways, or goes back, is found out: the evidence is kept,
// the peer is untrusted both ways, and a restart changes nothing of that.
func TestLogOfAPeerContradictsItself(t *testing.T) {
	for _, test := range []struct {
		verdict string
		calls   int // of the second history
	}{{"fork", 4}, {"set_back", 0}} {
		t.Run(test.verdict, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t)
			data := t.TempDir()
			b := h.startB(t, data, true)
			h.call(t)
			seen := h.settled(t, 2)
			mustStop(t, b)
			other := copied(t, data)
			b = h.startB(t, data, true)
			h.call(t)
			h.call(t)
			h.settled(t, seen.Log.Size+4)
			mustStop(t, b)

			b = h.startB(t, other, true)
			for range test.calls {
				if r := h.call(t); r.Status != 200 {
					t.Fatalf("%d %s", r.Status, r.Body)
				}
			}
			time.Sleep(1200 * time.Millisecond) // the second history is signed
			p := h.visit(t)
			if p.Log == nil || p.Log.Verdict != test.verdict || p.Level != "untrusted" || *p.Score != 0 {
				t.Fatalf("%+v %+v", p, p.Log)
			}
			h.mustDistrust(t, b, test.verdict)
			mustStop(t, h.a)
			h.startA(t)
			h.mustDistrust(t, b, test.verdict)
			metrics := string(h.a.Get(t, "/metrics", nil).Body)
			if !strings.Contains(metrics, "\niatp_peer_logs_bad 1\n") {
				t.Error("no metric says so")
			}
			header := h.a.Operator(t)
			header["Content-Type"] = "application/json"
			if r := post(t, h.a, "/peers/forget", `{"peer":"b","by":"alice"}`, header); r.Status != 200 {
				t.Fatalf("forget: %d %s", r.Status, r.Body)
			}
			if p := h.settled(t, 1); p.Log.Verdict != "seen" || p.Level == "untrusted" {
				t.Errorf("after it was forgotten: %+v %+v", p, p.Log)
			}
			if r := h.call(t); r.Status != 200 {
				t.Errorf("a call after it was forgotten: %d %s", r.Status, r.Body)
			}
		})
	}
}

// mustDistrust checks that neither side's calls pass unasked, and that the evidence
// is there.
func (h *history) mustDistrust(t *testing.T, b *iatptest.Node, verdict string) {
	t.Helper()
	r := h.call(t)
	if r.Status != 449 || r.Header.Get("X-Agent-Trust-Score") != "0" || !strings.Contains(string(r.Body), "log_forked") {
		t.Errorf("to b: %d %s", r.Status, r.Body)
	}
	seen := records(t, h.a, "checkpoint_seen")
	last := seen[len(seen)-1]
	evidence, _ := last["payload"].(map[string]any)
	if last["reason"] != verdict || evidence["before"] == "" || evidence["checkpoint"] == "" || evidence["before"] == evidence["checkpoint"] {
		t.Errorf("evidence: %v", last)
	}
}

// What a peer shows that is no state of its log convicts it of nothing; a state
// that somebody else has signed does.
func TestLogOfALiar(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "liar/iatp")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	state, err := note.Sign(&note.Note{Text: "liar/iatp\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	a, l := startLiar(t, nil)
	show := func(key string, log http.HandlerFunc) api.Peer {
		t.Helper()
		l.set(func() {
			l.manifest, l.log = l.serve(l.document(t, map[string]any{"identity.log": key}, l.Key)), log
		})
		return visitOf(t, a)
	}
	if p := show(vkey, nil); p.Log != nil || *p.Score != 10 {
		t.Errorf("no log: %+v", p)
	}
	for name, log := range map[string]http.HandlerFunc{
		"garbage":    l.serve([]byte("<html>hello</html>")),
		"nothing":    l.serve(nil),
		"an error":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, string(state), 500) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"a long one": l.serve([]byte(strings.Repeat(string(state), 1000))),
		"another's":  l.serve([]byte(strings.Replace(string(state), "liar/iatp", "else/iatp", 2))),
		"half of it": l.serve(state[:len(state)/3]),
		"a broken end": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "900")
			_, _ = io.WriteString(w, "x")
		},
	} {
		if p := show(vkey, log); p.Log != nil || p.Level == "untrusted" {
			t.Errorf("%s: %+v %+v", name, p, p.Log)
		}
	}
	if p := show(vkey, l.serve(state)); p.Log == nil || p.Log.Verdict != "seen" {
		t.Errorf("its state: %+v", p.Log)
	}
	// From here on a proof of growth is asked for.
	if p := show(vkey, l.serve([]byte("old 0\n\ngarbage"))); p.Log.Verdict != "seen" {
		t.Errorf("garbage later: %+v", p.Log)
	}
	wrong := strings.Replace(string(state), "liar/iatp\n0\n", "liar/iatp\n7\n", 1)
	if p := show(vkey, l.serve([]byte("old 0\n\n"+wrong))); p.Log.Verdict != "bad_signature" || p.Level != "untrusted" {
		t.Errorf("a state that its key has not signed: %+v %+v", p, p.Log)
	}
	if p := show(vkey, l.serve(state)); p.Log.Verdict != "bad_signature" || p.Level != "untrusted" {
		t.Errorf("later: %+v %+v", p, p.Log)
	}
}

// A sidecar whose directory was restored from a backup does not start, as long as a
// peer can be asked who has seen more.
func TestRestoredLogDoesNotStart(t *testing.T) {
	h := newHistory(t)
	data := t.TempDir()
	b := h.startB(t, data, false)
	h.call(t)
	h.settled(t, 2)
	visitOf(t, b) // b knows a from here on
	mustStop(t, b)
	backup := copied(t, data)
	b = h.startB(t, data, false)
	seen := h.settled(t, 2)
	for range 3 {
		h.call(t)
	}
	h.settled(t, seen.Log.Size+6)
	mustStop(t, b)

	cfg := sidecar.DefaultConfig()
	manifest := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(manifest, []byte(iatptest.Friend), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Listen, cfg.Agent, cfg.Manifest, cfg.Data = "127.0.0.1:0", "http://127.0.0.1:1", manifest, backup
	h.configB(&cfg, false)
	restored, err := sidecar.New(cfg, sidecar.Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err == nil {
		restored.Close()
		t.Fatal("a restored log goes on")
	}
	for _, want := range []string{"is older than what it has signed for", h.pa.URL, "restored from a backup", backup} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	h.startB(t, data, false) // the newest one does
	if r := h.call(t); r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

// If the peer could be asked only later, the restored sidecar stops then.
func TestRestoredLogStops(t *testing.T) {
	h := newHistory(t)
	data := t.TempDir()
	b := h.startB(t, data, false)
	h.call(t)
	seen := h.settled(t, 2)
	mustStop(t, b)
	backup := copied(t, data)
	b = h.startB(t, data, false)
	for range 5 {
		h.call(t)
	}
	h.settled(t, seen.Log.Size+10)
	mustStop(t, b)
	mustStop(t, h.a) // nobody can be asked

	b = h.startB(t, backup, false)
	if r := b.Get(t, "/health", nil); r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	h.startA(t)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) { // that a did not answer is remembered for a while
		visitOf(t, b)
		r := b.Get(t, "/health", nil)
		if r.Status == 503 && strings.Contains(string(r.Body), "older than what it has signed for") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("health: %d %s", r.Status, r.Body)
		}
	}
	if r := post(t, b, "/proxy", bookNYC, nil); r.Status != 503 || len(b.Agent.Seen()) != 0 {
		t.Errorf("a call: %d %s", r.Status, r.Body)
	}
}

// The state of the log is for everybody, at a slow rate; tiles and proofs are for
// peers.
func TestPublicLog(t *testing.T) {
	h := newHistory(t)
	h.startB(t, t.TempDir(), false)
	get := func(path string) (int, string) {
		resp, err := http.Get(h.pb.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	_, before := get("/log/checkpoint")
	h.call(t)
	h.settled(t, 2)
	status, after := get("/log/checkpoint")
	if at := time.Now(); status != 200 || before != after && at.Truncate(time.Minute).Equal(at.Add(-3*time.Second).Truncate(time.Minute)) {
		t.Errorf("%d, the public state moved within a minute:\n%s%s", status, before, after)
	}
	for _, path := range []string{"/log/proof?index=0", "/log/tile/0/000.p/1", "/log/consistency?old=0", "/log/seen"} {
		if status, body := get(path); status != 403 || !strings.Contains(body, "signature-required") {
			t.Errorf("GET %s without a signature: %d %s", path, status, body)
		}
	}
	as := func(p *iatptest.Party, path string) int {
		return says(t, p, "GET", h.pb.URL+path, "", nil, nil).Status
	}
	for path, want := range map[string]int{"/log/checkpoint": 200, "/log/proof?index=0": 200, "/log/tile/0/000.p/1": 200, "/log/consistency?old=1": 200,
		"/log/consistency?old=999": 409, "/log/consistency": 400, "/log/tile/0/001": 404, "/log/tile/../checkpoint": 404, "/log/export": 404, "/log/bundle?trace=x": 404, "/log/proof": 400} {
		if got := as(h.pa, path); got != want {
			t.Errorf("GET %s by a peer: %d, want %d", path, got, want)
		}
	}
	if got := as(iatptest.NewParty(t), "/log/checkpoint"); got != 403 {
		t.Errorf("a stranger's signature: %d", got)
	}
}

// A peer that begins a new data directory, with the manifest that it had, is known by it
// as soon as it is met again: neither its log nor its manifest convicts it.
func TestPeerBeginsANewLog(t *testing.T) {
	h := newHistory(t)
	file := writeFile(t, "manifest.json", iatptest.Friend, 0o600)
	if old := time.Now().Add(-time.Hour); os.Chtimes(file, old, old) != nil {
		t.Fatal("cannot make the file older")
	}
	start := func() *iatptest.Node {
		return iatptest.Start(t, iatptest.Options{Data: t.TempDir(), Config: func(c *sidecar.Config) { h.configB(c, true); c.Manifest = file }})
	}
	b := start()
	if r := h.call(t); r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	h.settled(t, 2)
	mustStop(t, b)
	time.Sleep(1100 * time.Millisecond) // updated_at has whole seconds
	start()
	p := h.visit(t) // a has its old manifest still
	seen := records(t, h.a, "checkpoint_seen")
	if p.Log == nil || p.Log.Verdict != "seen" || p.Score == nil || *p.Score != 10 || seen[len(seen)-1]["reason"] != "new_key" {
		t.Errorf("its log is %+v by %v", p.Log, seen[len(seen)-1])
	}
	if r := h.call(t); r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}
