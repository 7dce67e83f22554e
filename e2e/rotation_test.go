package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// published are the keys in the directory of a party, and how many of them say
// when they end.
func published(t *testing.T, p *meshParty) (set iatp.KeySet, ending int) {
	t.Helper()
	resp, err := http.Get("http://" + p.addr + "/.well-known/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if set, err = iatp.ParseKeySet(text); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, k := range set.Keys() {
		if !k.Expires.IsZero() {
			ending++
		}
	}
	return set, ending
}

// steady calls a peer, one call after the other, until it is stopped. Every call
// must be answered by the peer, with a receipt that holds.
type steady struct {
	done  atomic.Bool
	calls sync.WaitGroup
	n     atomic.Int64

	mu   sync.Mutex
	bad  []string
	kids map[string]int // whose receipts came
}

func (s *steady) from(c *sidecar) {
	s.calls.Go(func() {
		for !s.done.Load() {
			resp, err := http.Post("http://"+c.addr+"/proxy/peer", "application/json", strings.NewReader(trip))
			if err != nil {
				s.note(err.Error())
				return
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			receipt, proof := resp.Header.Get("Iatp-Receipt"), resp.Header.Get("Iatp-Proof")
			if resp.StatusCode != 200 || receipt == "" || proof != "" {
				s.note(fmt.Sprintf("%d, proof %q: %s", resp.StatusCode, proof, text))
			}
			s.mu.Lock()
			s.kids[keyOf(receipt)]++
			s.mu.Unlock()
			s.n.Add(1)
		}
	})
}

func (s *steady) note(bad string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad = append(s.bad, bad)
}

func (s *steady) seen(jkt string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kids[jkt]
}

// keyOf is the thumbprint of the key that a receipt says it is by.
func keyOf(receipt string) string {
	head, _, _ := strings.Cut(receipt, ".")
	text, _ := base64.RawURLEncoding.DecodeString(head)
	var h struct {
		KeyID string `json:"kid"`
	}
	_ = json.Unmarshal(text, &h) // what is no receipt has no key
	return h.KeyID
}

// endNow renames the old key such that its overlap is over in a few seconds, as
// if the rest of it had passed.
func endNow(t *testing.T, p *meshParty) {
	t.Helper()
	names, err := filepath.Glob(p.keyFile + ".*Z-*Z")
	if err != nil || len(names) != 1 {
		t.Fatalf("old keys %v, %v", names, err)
	}
	until := time.Now().UTC().Add(4 * time.Second).Format("20060102T150405Z")
	from := names[0][:strings.LastIndexByte(names[0], '-')]
	if err := os.Rename(names[0], from+"-"+until); err != nil {
		t.Fatal(err)
	}
}

// TestRotationUnderCalls changes the keys of two sidecars that call each other all
// the time: the overlap begins, the peer follows although it pinned the old key,
// the overlap ends. No call is refused or doubted, before and after a restart.
func TestRotationUnderCalls(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, nil)
	pa, pb := newMeshParty(t), newMeshParty(t)
	atA := setup{agent: agent.url, data: t.TempDir(), config: pa.config("peer", pb, "verified_partner")}
	atB := setup{agent: agent.url, data: t.TempDir(), config: pb.config("peer", pa, "trusted")}
	b := atB.start(t)
	a := atA.start(t)
	calls := &steady{kids: map[string]int{}}
	for range 2 {
		calls.from(a)
		calls.from(b)
	}
	for _, turn := range []struct {
		who     *meshParty
		sidecar *sidecar
		hangup  bool
	}{{pb, b, true}, {pa, a, false}} {
		code, out, errs := tool(t, "keygen", "--rotate", "--overlap", "1h", turn.who.keyFile)
		next, err := iatp.ParseKey(strings.TrimSpace(out))
		if code != 0 || err != nil {
			t.Fatalf("keygen --rotate: exit %d, %v: %s%s", code, err, out, errs)
		}
		if turn.hangup { // or it notices by itself
			turn.sidecar.signal(t, syscall.SIGHUP)
		}
		eventually(t, 30*time.Second, func() error {
			if calls.seen(next.Thumbprint()) < 10 {
				return fmt.Errorf("no receipts by the new key yet")
			}
			return nil
		})
		set, ending := published(t, turn.who)
		if _, ok := set.Find(turn.who.key.Thumbprint(), time.Now()); !ok || len(set.Keys()) != 2 || ending != 1 {
			t.Errorf("during the overlap the directory has %d keys, %d that end", len(set.Keys()), ending)
		}
		endNow(t, turn.who)
		eventually(t, 30*time.Second, func() error {
			if set, _ := published(t, turn.who); len(set.Keys()) != 1 || set.Keys()[0].Key != next {
				return fmt.Errorf("the directory has %d keys", len(set.Keys()))
			}
			return nil
		})
		before := calls.n.Load()
		eventually(t, 30*time.Second, func() error {
			if n := calls.n.Load() - before; n < 20 {
				return fmt.Errorf("%d calls since", n)
			}
			return nil
		})
	}
	calls.done.Store(true)
	calls.calls.Wait()
	if len(calls.bad) > 0 {
		t.Errorf("%d of %d calls went wrong, the first: %s", len(calls.bad), calls.n.Load(), calls.bad[0])
	}
	// The configuration still pins the first keys: what led on from them is in the logs.
	a.stop(t)
	b.stop(t)
	b, a = atB.start(t), atA.start(t)
	for _, s := range []*sidecar{a, b} { // the first may have looked for the other before it was there
		eventually(t, 30*time.Second, func() error {
			r, err := s.send("POST", "/proxy/peer", trip, "Content-Type: application/json")
			if err == nil && r.status != http.StatusOK {
				err = fmt.Errorf("%d %s", r.status, r.text)
			}
			return err
		})
	}
	again := &steady{kids: map[string]int{}}
	again.from(a)
	again.from(b)
	eventually(t, 30*time.Second, func() error {
		if again.n.Load() < 10 {
			return fmt.Errorf("%d calls", again.n.Load())
		}
		return nil
	})
	again.done.Store(true)
	again.calls.Wait()
	if len(again.bad) > 0 {
		t.Errorf("after a restart: %s", again.bad[0])
	}
	for _, s := range []*sidecar{a, b} {
		s.stop(t)
		checkLog(t, s.data)
	}
}
