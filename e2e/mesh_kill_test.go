package e2e_test

import (
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/iatptest"
)

// meshParty is a sidecar that another one knows.
type meshParty struct {
	addr, keyFile string
	key           iatp.PrivateKey
}

func newMeshParty(t *testing.T) *meshParty {
	t.Helper()
	key, err := iatp.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	p := &meshParty{key: key, keyFile: filepath.Join(t.TempDir(), "agent.key"), addr: iatptest.Address(t)}
	writeSecret(t, p.keyFile, string(pem))
	return p
}

// config is the part of the configuration that makes a sidecar the party, with
// one peer.
func (p *meshParty) config(name string, peer *meshParty, level string) string {
	return fmt.Sprintf("key: %s\npublic: %s\npublic_url: http://%s\npeers:\n  %s: {url: \"http://%s\", pin: %q, max_level: %s}\nlimits:\n  per_peer: {rate: 100000/1s, burst: 100000}\n",
		p.keyFile, p.addr, p.addr, name, peer.addr, peer.key.Public().String(), level)
}

// ledger is what the world knows of the keys of a test.
type ledger struct {
	mu       sync.Mutex
	executed map[string]int    // by b's agent
	answers  map[string]string // whole 200 answers at a's agent
	unknown  map[string]bool   // the last word is that nobody knows
	closed   map[string]bool   // the last word is that nothing was executed
	keys     map[string]string // by the trace id of each attempt
	orphans  map[string]bool   // b died while it may have been there
}

var kills = flag.Int("kills", 60, "how often TestMeshIsKilled kills a sidecar")

// TestMeshIsKilled kills one of two sidecars at random moments, as often as -kills
// says. A caller asks with the same key until it has the last word. Then every key
// was executed at most once, every answer at a caller is that of the one execution,
// what a has recorded as executed was, and both recorders verify. Asked once more
// when all is quiet, a says of every key what is true; that nobody can know only
// where b died while the call may have been at its agent.
func TestMeshIsKilled(t *testing.T) {
	book := &ledger{executed: map[string]int{}, answers: map[string]string{}, unknown: map[string]bool{}, closed: map[string]bool{},
		keys: map[string]string{}, orphans: map[string]bool{}}
	agent := startAgent(t, func(w http.ResponseWriter, r *http.Request) {
		key := strings.Trim(r.Header.Get("Idempotency-Key"), `"`)
		time.Sleep(time.Duration(mathrand.IntN(15)) * time.Millisecond)
		book.mu.Lock()
		book.executed[key]++
		n := book.executed[key]
		book.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"key":%q,"execution":%d}`, key, n)
	})
	pa, pb := newMeshParty(t), newMeshParty(t)
	atA := setup{agent: "http://127.0.0.1:1", data: t.TempDir(), config: pa.config("b", pb, "verified_partner"), fast: true}
	atB := setup{agent: agent.url, data: t.TempDir(), config: pb.config("a", pa, "trusted"), fast: true}
	b := atB.start(t)
	var a atomic.Pointer[sidecar]
	a.Store(atA.start(t))

	var done atomic.Bool
	var callers sync.WaitGroup
	for caller := range 4 {
		callers.Go(func() {
			for n := 0; !done.Load(); n++ {
				book.call(&a, fmt.Sprintf("%d-%d", caller, n))
			}
		})
	}
	began := time.Now()
	for range *kills {
		time.Sleep(time.Duration(10+mathrand.IntN(150)) * time.Millisecond)
		if mathrand.IntN(2) == 0 {
			a.Load().kill()
			a.Store(atA.start(t))
		} else {
			b.kill()
			book.orphan()
			b = atB.start(t)
		}
	}
	done.Store(true)
	callers.Wait()

	killed := time.Since(began).Round(time.Second)
	records := meshRecords(t, a.Load())
	book.askAgain(t, a.Load())
	a.Load().stop(t)
	b.stop(t)
	checkLog(t, atA.data)
	checkLog(t, atB.data)
	book.judge(t, records)
	t.Logf("%d kills in %s; %d keys, %d of them answered, %d closed, %d with an unknown outcome", *kills, killed, len(book.executed)+len(book.closed), len(book.answers), len(book.closed), len(book.unknown))
	if len(book.answers) < *kills {
		t.Errorf("%d answers are too few to tell", len(book.answers))
	}
}

// call asks with one key until somebody has the last word on it.
func (l *ledger) call(a *atomic.Pointer[sidecar], key string) {
	for {
		var random [16]byte
		rand.Read(random[:])
		trace := string(iatp.NewTraceID(random))
		l.mu.Lock()
		l.keys[trace] = key
		l.mu.Unlock()
		r, err := a.Load().send("POST", "/proxy/b", trip, "Content-Type: application/json", "Idempotency-Key: "+key, "X-Agent-Trace-ID: "+trace)
		switch {
		case err != nil || r.header.Get("Iatp-Proof") == "missing":
		case r.status == 200:
			l.mu.Lock()
			l.answers[key] = r.text + r.header.Get("Iatp-Proof")
			l.mu.Unlock()
			return
		case r.status == 409 && strings.HasSuffix(fmt.Sprint(r.member("type")), "/answer-not-kept"):
			l.mu.Lock()
			l.unknown[key] = r.member("outcome") == "unknown"
			l.mu.Unlock()
			return
		case r.status == 409 && strings.HasSuffix(fmt.Sprint(r.member("type")), "/key-closed"):
			l.mu.Lock()
			l.closed[key] = r.header.Get("Iatp-Proof") == ""
			l.mu.Unlock()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// orphan notes that b died: of what was asked and no caller has an answer to, nobody
// may ever know what became.
func (l *ledger) orphan() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range l.keys {
		if _, answered := l.answers[key]; !answered {
			l.orphans[key] = true
		}
	}
}

// askAgain asks a about every key when all is quiet, and holds what it says against
// what was executed.
func (l *ledger) askAgain(t *testing.T, a *sidecar) {
	t.Helper()
	l.mu.Lock()
	keys := make(map[string]bool)
	for _, key := range l.keys {
		keys[key] = true
	}
	l.mu.Unlock()
	for key := range keys {
		r, err := a.send("POST", "/proxy/b", trip, "Content-Type: application/json", "Idempotency-Key: "+key)
		if err != nil {
			t.Fatalf("key %s: %v", key, err)
		}
		l.mu.Lock()
		n := l.executed[key]
		switch slug := fmt.Sprint(r.member("type")); {
		case r.status == 200 && n == 1 && r.text == fmt.Sprintf(`{"key":%q,"execution":1}`, key):
		case r.status == 409 && strings.HasSuffix(slug, "/key-closed") && n == 0:
		case r.status == 409 && strings.HasSuffix(slug, "/answer-not-kept") && r.member("outcome") == "unknown" && l.orphans[key]:
		default:
			t.Errorf("key %s, executed %d times, orphan %t: a says %d %s", key, n, l.orphans[key], r.status, r.text)
		}
		l.mu.Unlock()
	}
}

// meshRecord is a line of a's flight recorder, as far as this test reads it.
type meshRecord struct {
	Type    string `json:"type"`
	TraceID string `json:"trace_id"`
	Outcome string `json:"outcome"`
}

func meshRecords(t *testing.T, s *sidecar) []meshRecord {
	t.Helper()
	var all []meshRecord
	for from := int64(0); ; {
		r := s.get(t, fmt.Sprintf("/trace?after=%d&limit=1000", from), s.operator(t))
		var page struct {
			Logs []meshRecord `json:"logs"`
			Next int64        `json:"next"`
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

// judge holds what callers and a's records say against what was executed.
func (l *ledger) judge(t *testing.T, records []meshRecord) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, n := range l.executed {
		if n > 1 {
			t.Errorf("key %s was executed %d times", key, n)
		}
	}
	for key, text := range l.answers {
		if want := fmt.Sprintf(`{"key":%q,"execution":1}`, key); text != want {
			t.Errorf("key %s: the caller has %s, want %s", key, text, want)
		}
	}
	for key, unknown := range l.unknown {
		if !unknown {
			t.Errorf("key %s: b says that the call under which it died was executed or failed", key)
		}
	}
	for key, proven := range l.closed {
		if l.executed[key] != 0 || !proven {
			t.Errorf("key %s: it was closed (proven: %t), and executed %d times", key, proven, l.executed[key])
		}
	}
	said := 0
	for _, r := range records {
		key := l.keys[r.TraceID]
		if r.Outcome == "executed" {
			said++
		}
		switch executed := l.executed[key] == 1; {
		case r.Outcome == "executed" && !executed:
			t.Errorf("key %s: a has recorded that it was executed, which it was not", key)
		case r.Outcome == "failed":
			t.Errorf("key %s: a has recorded that it failed", key)
		}
	}
	if said < len(l.answers) {
		t.Errorf("a has recorded %d calls as executed, and %d answers are at its callers", said, len(l.answers))
	}
}
