package sidecar_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/internal/httpsig"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// A liar is a peer that a knows, with its key and its origin. What it serves is
// the test's to say.
type liar struct {
	*iatptest.Party
	caller *iatptest.Party // a

	mu        sync.Mutex
	manifest  http.HandlerFunc
	directory http.HandlerFunc
	task      func(http.ResponseWriter, *told)
	log       http.HandlerFunc                           // below /log/; nil: it shows none
	agree     func(http.ResponseWriter, *iatp.Agreement) // gets each proposal
	other     func(http.ResponseWriter, *told)           // any other signed request; nil: 404
	asked     map[string]int                             // by path
}

// told is a call that reached the liar, and the receipt that an honest peer
// would give for {"ok":true}.
type told struct {
	*http.Request
	receipt iatp.Receipt
}

const honestBody = `{"ok":true}`

// startLiar starts a and an honest liar. change has the last word on a.
func startLiar(t *testing.T, change func(*sidecar.Config)) (*iatptest.Node, *liar) {
	t.Helper()
	l := &liar{Party: iatptest.NewParty(t), caller: iatptest.NewParty(t), asked: map[string]int{}}
	l.manifest, l.directory = l.serve(l.document(t, nil, l.Key)), l.serve(directoryOf(t, l.Key))
	l.task = func(w http.ResponseWriter, c *told) { l.answer(t, w, c, l.Key) }
	ln, err := net.Listen("tcp", strings.TrimPrefix(l.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: l}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() { srv.Close(); wg.Wait() })
	a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		l.caller.Listen(c)
		c.Peers = map[string]sidecar.Peer{"b": l.AsPeer("verified_partner")}
		c.Limits.Deadline, c.Limits.Idle = sidecar.Duration(3*time.Second), sidecar.Duration(500*time.Millisecond)
		c.Limits.RetryBudget = sidecar.Duration(100 * time.Millisecond)
		if change != nil {
			change(c)
		}
	}})
	return a, l
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.asked[r.URL.Path]++
	manifest, directory, task, agree, log, other := l.manifest, l.directory, l.task, l.agree, l.log, l.other
	l.mu.Unlock()
	if log != nil && strings.HasPrefix(r.URL.Path, "/log/") {
		log(w, r)
		return
	}
	switch r.URL.Path {
	case "/.well-known/agent-manifest":
		manifest(w, r)
	case "/.well-known/http-message-signatures-directory":
		directory(w, r)
	case "/task":
		other = task
		fallthrough
	default:
		if other == nil {
			http.NotFound(w, r)
			return
		}
		c, err := l.read(r)
		if err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		other(w, c)
	case "/agreements":
		doc, err := io.ReadAll(r.Body)
		var proposal *iatp.Agreement
		if err == nil {
			proposal, err = iatp.ParseAgreement(doc)
		}
		if err != nil || agree == nil {
			http.NotFound(w, r)
			return
		}
		agree(w, proposal)
	}
}

func (l *liar) count(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[path]
}

func (l *liar) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// read verifies a call as an honest peer would.
func (l *liar) read(r *http.Request) (*told, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	p, problem := httpsig.Parse(&httpsig.Message{Method: r.Method, TargetURI: l.URL + r.RequestURI, Header: r.Header}, time.Now(), time.Minute)
	if problem != nil {
		return nil, fmt.Errorf("%s", problem.Error)
	}
	v, problem := p.Verify(l.caller.Key.Public())
	if problem == nil {
		problem = v.CheckBody(iatp.DigestOf(body))
	}
	if problem != nil {
		return nil, fmt.Errorf("%s", problem.Error)
	}
	return &told{r, iatp.Receipt{
		Iss: l.URL, Aud: l.caller.URL, Iat: time.Now().Unix(), JTI: "r_" + v.Nonce, TraceID: v.TraceID,
		Req: iatp.Requested{Base: v.Base, Key: v.IdempotencyKey},
		Res: iatp.Responded{Status: 200, Digest: iatp.DigestOf([]byte(honestBody)), Type: "application/json"},
		Agr: v.Agreement, Mft: v.Manifest, Outcome: iatp.OutcomeExecuted, MS: 1,
	}}, nil
}

// answer gives the answer of an honest peer, with the receipt as it stands.
func (l *liar) answer(t testing.TB, w http.ResponseWriter, c *told, by iatp.PrivateKey) {
	jws, err := c.receipt.Sign(by)
	if err != nil {
		t.Error(err)
		return
	}
	w.Header().Set("Iatp-Receipt", jws)
	w.Header().Set("Iatp-From", "agent")
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, honestBody)
}

// document is the liar's manifest, with changes, signed by keys.
func (l *liar) document(t testing.TB, change map[string]any, keys ...iatp.PrivateKey) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(iatptest.Friend), &doc); err != nil {
		t.Fatal(err)
	}
	id := doc["identity"].(map[string]any)
	id["uri"], id["verification_key"] = l.URL, keys[0].Public().String()
	doc["updated_at"] = time.Now().UTC().Add(-time.Minute).Format(time.RFC3339)
	for name, v := range change {
		if inner, ok := strings.CutPrefix(name, "identity."); ok {
			id[inner] = v
		} else {
			doc[name] = v
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := iatp.SignManifest(text, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (l *liar) serve(text []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(text) }
}

func directoryOf(t testing.TB, keys ...iatp.PrivateKey) []byte {
	t.Helper()
	var list []iatp.DirectoryKey
	for _, k := range keys {
		list = append(list, iatp.DirectoryKey{Key: k.Public()})
	}
	set, err := iatp.NewKeySet(list...)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func newKey(t testing.TB) iatp.PrivateKey {
	t.Helper()
	k, err := iatp.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// last is the last record of an exchange.
func last(t testing.TB, n *iatptest.Node, r *iatptest.Reply) map[string]any {
	t.Helper()
	recs := n.Records(t, r.Header.Get("X-Agent-Trace-Id"))
	if len(recs) == 0 {
		t.Fatalf("no record of %s", r.Header.Get("X-Agent-Trace-Id"))
	}
	return recs[len(recs)-1]
}

// A peer whose receipt is not that of this very call gets no belief: the answer
// is passed on with a doubt, and the record says that the outcome is unknown.
func TestLiesInReceipts(t *testing.T) {
	a, l := startLiar(t, nil)
	r := post(t, a, "/proxy/b", bookNYC, nil)
	if r.Status != 200 || last(t, a, r)["outcome"] != "executed" {
		t.Fatalf("honest: %d %s %v", r.Status, r.Body, last(t, a, r))
	}
	clean(t, "honest", r)
	before := r.Header.Get("Iatp-Receipt")
	other := newKey(t)
	type lie struct {
		proof string
		tell  func(w http.ResponseWriter, c *told)
	}
	altered := func(change func(*iatp.Receipt)) lie {
		return lie{"invalid", func(w http.ResponseWriter, c *told) { change(&c.receipt); l.answer(t, w, c, l.Key) }}
	}
	instead := func(status int, contentType, body string) lie {
		return lie{"invalid", func(w http.ResponseWriter, c *told) {
			jws, _ := c.receipt.Sign(l.Key)
			w.Header().Set("Iatp-Receipt", jws)
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}}
	}
	for name, lie := range map[string]lie{
		"missing": {"missing", func(w http.ResponseWriter, c *told) { _, _ = io.WriteString(w, honestBody) }},
		"missing, as sidecar": {"missing", func(w http.ResponseWriter, c *told) {
			w.Header().Set("Iatp-From", "sidecar")
			_, _ = io.WriteString(w, honestBody)
		}},
		"empty": {"missing", func(w http.ResponseWriter, c *told) {
			w.Header().Set("Iatp-Receipt", "")
			_, _ = io.WriteString(w, honestBody)
		}},
		"no receipt": {"invalid", func(w http.ResponseWriter, c *told) {
			w.Header().Set("Iatp-Receipt", "yes")
			_, _ = io.WriteString(w, honestBody)
		}},
		"of the call before": {"invalid", func(w http.ResponseWriter, c *told) {
			w.Header().Set("Iatp-Receipt", before)
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, honestBody)
		}},
		"by another key":         {"invalid", func(w http.ResponseWriter, c *told) { l.answer(t, w, c, other) }},
		"by the caller's key":    {"invalid", func(w http.ResponseWriter, c *told) { l.answer(t, w, c, l.caller.Key) }},
		"for somebody else":      altered(func(r *iatp.Receipt) { r.Aud = "https://else.example" }),
		"by somebody else":       altered(func(r *iatp.Receipt) { r.Iss = "https://else.example" }),
		"for the peer itself":    altered(func(r *iatp.Receipt) { r.Aud = r.Iss }),
		"of another request":     altered(func(r *iatp.Receipt) { r.Req.Base[0] ^= 1 }),
		"of another key":         altered(func(r *iatp.Receipt) { r.Req.Key = "other" }),
		"of no key":              altered(func(r *iatp.Receipt) { r.Req.Key = "" }),
		"of another manifest":    altered(func(r *iatp.Receipt) { r.Mft[0] ^= 1 }),
		"of no manifest":         altered(func(r *iatp.Receipt) { r.Mft = iatp.Digest{} }),
		"of long ago":            altered(func(r *iatp.Receipt) { r.Iat -= 3600 }),
		"of the future":          altered(func(r *iatp.Receipt) { r.Iat += 3600 }),
		"of another status":      altered(func(r *iatp.Receipt) { r.Res.Status = 201 }),
		"of another body":        altered(func(r *iatp.Receipt) { r.Res.Digest[31] ^= 1 }),
		"of another type":        altered(func(r *iatp.Receipt) { r.Res.Type = "text/html" }),
		"of no type":             altered(func(r *iatp.Receipt) { r.Res.Type = "" }),
		"under an agreement":     altered(func(r *iatp.Receipt) { r.Agr[0] = 1 }),
		"another status":         instead(201, "application/json", honestBody),
		"another body":           instead(200, "application/json", `{"ok":false}`),
		"another type":           instead(200, "text/html", honestBody),
		"a problem in its place": instead(409, "application/problem+json", `{"status":409}`),
		"twice": {"invalid", func(w http.ResponseWriter, c *told) {
			w.Header().Add("Iatp-Receipt", "eyJ9")
			jws, _ := c.receipt.Sign(l.Key)
			w.Header().Add("Iatp-Receipt", jws)
			_, _ = io.WriteString(w, honestBody)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l.set(func() { l.task = lie.tell })
			r := post(t, a, "/proxy/b", bookNYC, nil)
			if r.Header.Get("Iatp-From") != "peer" || r.Header.Get("Iatp-Proof") != lie.proof || r.Header.Get("X-Agent-Quarantined") != "true" || r.Header.Get("Iatp-Receipt") != "" {
				t.Errorf("%d %v; want the peer's answer with the proof %s, quarantined, and no receipt", r.Status, r.Header, lie.proof)
			}
			if end := last(t, a, r); end["outcome"] != "unknown" || end["note"] != "receipt "+lie.proof || end["quarantined"] != true {
				t.Errorf("a's record is %v", end)
			}
		})
	}
}

// What a peer's sidecar says in place of an answer is not taken for one, and a
// receipt for something else does not prove it.
func TestLiesInsteadOfAnswers(t *testing.T) {
	a, l := startLiar(t, nil)
	problem := func(status int, receipt bool, chunked bool) func(http.ResponseWriter, *told) {
		return func(w http.ResponseWriter, c *told) {
			if receipt {
				jws, _ := c.receipt.Sign(l.Key)
				w.Header().Set("Iatp-Receipt", jws)
			}
			w.Header().Set("Iatp-From", "sidecar")
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"outcome":"none","hint":"https://evil.example"}`)
			if chunked {
				w.(http.Flusher).Flush()
			}
		}
	}
	for _, c := range []struct {
		name    string
		tell    func(http.ResponseWriter, *told)
		status  int
		slug    string // "" is the peer's own text
		outcome string // in a's record
	}{
		{"a refusal that claims that nothing happened", problem(403, false, false), 403, "", "unknown"},
		{"a question", problem(449, false, false), 502, "peer-needs-approval", "unknown"},
		{"a question as a stream", problem(449, false, true), 502, "peer-needs-approval", "unknown"},
		{"a question of the agent", func(w http.ResponseWriter, c *told) {
			c.receipt.Res = iatp.Responded{Status: 449, Digest: iatp.DigestOf([]byte("https://evil.example"))}
			c.receipt.Outcome = iatp.OutcomeNone
			jws, _ := c.receipt.Sign(l.Key)
			w.Header().Set("Iatp-Receipt", jws)
			w.Header()["Content-Type"] = nil
			w.WriteHeader(449)
			_, _ = io.WriteString(w, "https://evil.example")
		}, 502, "peer-needs-approval", "none"},
		{"answer not kept, with the receipt of a call", problem(409, true, false), 409, "answer-not-kept", "executed"},
		{"answer not kept, with a forged receipt", func(w http.ResponseWriter, c *told) {
			c.receipt.Req.Base[0] ^= 1
			problem(409, true, false)(w, c)
		}, 409, "", "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.set(func() { l.task = c.tell })
			r := post(t, a, "/proxy/b", bookNYC, nil)
			if r.Status != c.status {
				t.Errorf("%d %s, want %d", r.Status, r.Body, c.status)
			}
			if c.slug != "" && (!strings.HasSuffix(fmt.Sprint(r.Problem(t)["type"]), "/"+c.slug) || r.Problem(t)["outcome"] != c.outcome || bytes.Contains(r.Body, []byte("evil"))) {
				t.Errorf("%s; want our own %s with the outcome %s", r.Body, c.slug, c.outcome)
			}
			if end := last(t, a, r); end["outcome"] != c.outcome {
				t.Errorf("a's last record is %v, want the outcome %s", end, c.outcome)
			}
		})
	}
}

// A peer that sends elsewhere, hangs after the task, or hangs in its answer.
func TestPeerLeavesUsWaiting(t *testing.T) {
	var bait int
	elsewhere := iatptest.StartAgent(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { bait++ }))
	hang := make(chan struct{})
	a, l := startLiar(t, func(c *sidecar.Config) { c.Limits.Deadline = sidecar.Duration(time.Second) })
	t.Cleanup(func() { close(hang) })
	for _, c := range []struct {
		name   string
		tell   func(http.ResponseWriter, *told)
		status int // 0: the answer breaks off
	}{
		{"a redirect", func(w http.ResponseWriter, c *told) { w.Header().Set("Location", elsewhere.URL); w.WriteHeader(307) }, 307},
		{"silence after the task", func(w http.ResponseWriter, c *told) { <-hang }, 504},
		{"silence in a stream", func(w http.ResponseWriter, c *told) { io.WriteString(w, "a"); w.(http.Flusher).Flush(); <-hang }, 0},
		{"silence in a short answer", func(w http.ResponseWriter, c *told) {
			w.Header().Set("Content-Length", "3")
			io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			<-hang
		}, 504},
		{"a broken connection", func(w http.ResponseWriter, c *told) { panic(http.ErrAbortHandler) }, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.set(func() { l.task = c.tell })
			began := time.Now()
			r, _, err := tryStream(a, nil)
			if (err != nil) != (c.status == 0) || r == nil || c.status != 0 && r.Status != c.status {
				t.Fatalf("%+v, %v; want %d", r, err, c.status)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %s", took)
			}
			if c.status >= 500 && r.Problem(t)["outcome"] != "unknown" {
				t.Errorf("%s; want an unknown outcome", r.Body)
			}
			if end := last(t, a, r); end["outcome"] != "unknown" {
				t.Errorf("a's record is %v; want an unknown outcome", end)
			}
		})
	}
	if bait != 0 {
		t.Error("the redirect was followed")
	}
}

// Of a call whose caller leaves while its peer is looked up nothing is sent.
func TestCallerLeavesBeforeWeMeet(t *testing.T) {
	a, l := startLiar(t, nil)
	asked, say := make(chan struct{}), make(chan struct{})
	answer := l.manifest
	var once sync.Once
	l.set(func() {
		l.manifest = func(w http.ResponseWriter, r *http.Request) {
			once.Do(func() { close(asked) })
			<-say
			answer(w, r)
		}
	})
	caller, err := net.Dial("tcp", strings.TrimPrefix(a.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(caller, "POST /proxy/b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(bookNYC), bookNYC)
	<-asked
	time.Sleep(50 * time.Millisecond) // who has waited for a moment only is not looked at
	caller.Close()
	close(say)
	over := func() bool {
		return strings.Contains(string(a.Get(t, "/metrics", nil).Body), `iatp_requests_total{decision="refused"} 1`)
	}
	for end := time.Now().Add(10 * time.Second); !over(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the call was not refused")
		}
	}
	if n := l.count("/task"); n != 0 {
		t.Errorf("the peer got %d calls whose caller had left", n)
	}
}

// A peer that lies about itself gets no byte of a call.
func TestLiesAboutOneself(t *testing.T) {
	other := newKey(t)
	hour := func(n int) string { return time.Now().UTC().Add(time.Duration(n) * time.Hour).Format(time.RFC3339) }
	for _, c := range []struct {
		name   string
		lie    func(t *testing.T, l *liar)
		status int
		slug   string
		alarm  string // reason of the record of type "key"
	}{
		{"another key", func(t *testing.T, l *liar) {
			l.manifest, l.directory = l.serve(l.document(t, map[string]any{"updated_at": hour(0)}, other)), l.serve(directoryOf(t, other))
		}, 403, "origin-mismatch", "key_changed"},
		{"another key, beside the old one in the directory", func(t *testing.T, l *liar) {
			l.manifest, l.directory = l.serve(l.document(t, map[string]any{"updated_at": hour(0)}, other)), l.serve(directoryOf(t, l.Key, other))
		}, 403, "origin-mismatch", "key_changed"},
		{"a roll-back", func(t *testing.T, l *liar) {
			l.manifest = l.serve(l.document(t, map[string]any{"updated_at": hour(-2)}, l.Key))
		}, 502, "manifest-invalid", "rolled_back"},
		{"a manifest of the future", func(t *testing.T, l *liar) {
			l.manifest = l.serve(l.document(t, map[string]any{"updated_at": hour(1)}, l.Key))
		}, 502, "manifest-invalid", ""},
		{"a manifest that has expired", func(t *testing.T, l *liar) {
			l.manifest = l.serve(l.document(t, map[string]any{"updated_at": hour(-1), "expires_at": hour(-1)}, l.Key))
		}, 502, "manifest-invalid", ""},
		{"somebody else's manifest", func(t *testing.T, l *liar) {
			l.manifest = l.serve(l.document(t, map[string]any{"identity.uri": "https://bank.example"}, l.Key))
		}, 403, "origin-mismatch", ""},
		{"somebody else's manifest and keys", func(t *testing.T, l *liar) {
			l.manifest = l.serve(l.document(t, map[string]any{"identity.uri": "https://bank.example"}, other))
			l.directory = l.serve(directoryOf(t, other))
		}, 403, "origin-mismatch", ""},
		{"a promise put in after signing", func(t *testing.T, l *liar) {
			text := bytes.Replace(l.document(t, nil, l.Key), []byte(`"temporary"`), []byte(`"ephemeral"`), 1)
			l.manifest = l.serve(text)
		}, 502, "manifest-invalid", "bad_signature"},
		{"no signature any more", func(t *testing.T, l *liar) {
			l.manifest = l.serve([]byte(strings.Replace(iatptest.Friend, `"agent_id"`, `"uri":"`+l.URL+`","agent_id"`, 1)))
		}, 403, "origin-mismatch", "key_changed"},
		{"a huge manifest", func(t *testing.T, l *liar) {
			l.manifest = l.serve(append(l.document(t, nil, l.Key), bytes.Repeat([]byte(" "), 65<<10)...))
		}, 502, "manifest-invalid", ""},
		{"an endless manifest", func(t *testing.T, l *liar) {
			l.manifest = func(w http.ResponseWriter, r *http.Request) {
				for {
					if _, err := w.Write(bytes.Repeat([]byte(" "), 4<<10)); err != nil {
						return
					}
				}
			}
		}, 502, "manifest-invalid", ""},
		{"a slow manifest", func(t *testing.T, l *liar) {
			l.manifest = func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					_, _ = w.Write([]byte(" "))
					w.(http.Flusher).Flush()
					time.Sleep(50 * time.Millisecond)
				}
			}
		}, 503, "manifest-unavailable", ""},
		{"a redirect of the manifest", func(t *testing.T, l *liar) {
			l.manifest = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/task", http.StatusFound) }
		}, 503, "manifest-unavailable", ""},
		{"a redirect of the directory", func(t *testing.T, l *liar) {
			l.manifest = l.serve(l.document(t, map[string]any{"updated_at": hour(0)}, l.Key))
			l.directory = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/task", http.StatusFound) }
		}, 502, "manifest-invalid", ""},
		{"no manifest", func(t *testing.T, l *liar) { l.manifest = http.NotFound }, 503, "manifest-unavailable", ""},
		{"a member twice", func(t *testing.T, l *liar) {
			l.manifest = l.serve(bytes.Replace(l.document(t, nil, l.Key), []byte(`{"`), []byte(`{"x":1,"x":2,"`), 1))
		}, 502, "manifest-invalid", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, l := startLiar(t, nil)
			if r := post(t, a, "/proxy/b", bookNYC, nil); r.Status != 200 {
				t.Fatalf("honest: %d %s", r.Status, r.Body)
			}
			l.set(func() {
				l.task = func(w http.ResponseWriter, c *told) { // "my terms have changed", so that a looks again
					w.Header().Set("Iatp-From", "sidecar")
					w.WriteHeader(409)
				}
			})
			post(t, a, "/proxy/b", bookNYC, nil)
			before := l.count("/task")
			l.set(func() { c.lie(t, l) })
			r := post(t, a, "/proxy/b", bookNYC, nil)
			if r.Status != c.status || !strings.HasSuffix(fmt.Sprint(r.Problem(t)["type"]), "/"+c.slug) || r.Problem(t)["outcome"] != "none" || r.Header.Get("Iatp-From") != "sidecar" {
				t.Errorf("%d %s, want %d %s, outcome none", r.Status, r.Body, c.status, c.slug)
			}
			if n := l.count("/task"); n != before {
				t.Error("a call was sent")
			}
			if c.alarm != "" && !alarmed(t, a, c.alarm) {
				t.Errorf("a has no record of %s", c.alarm)
			}
		})
	}
}

// alarmed reports whether a has recorded something about the key of its peer.
func alarmed(t testing.TB, a *iatptest.Node, reason string) bool {
	t.Helper()
	r := a.Get(t, "/trace?after=0&limit=1000", a.Operator(t))
	var page struct {
		Logs []struct{ Type, Reason string }
	}
	if err := json.Unmarshal(r.Body, &page); err != nil {
		t.Fatalf("%d %v", r.Status, err)
	}
	for _, l := range page.Logs {
		if l.Type == "key" && l.Reason == reason {
			return true
		}
	}
	return false
}
