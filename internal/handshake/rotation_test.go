package handshake

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// rotated meets a peer that has another key than before, which is believed.
func rotated(t *testing.T, n *node, k iatp.PrivateKey) {
	t.Helper()
	n.later()
	met := n.meet()
	if met.Key != k.Public() || met.Input.Negatives.KeyChanged || !slices.Contains(met.Notes, NoteKeyRotated) {
		t.Errorf("the new key is not believed: %v", met.Notes)
	}
}

// The whole life of a key: both sign, then the new one alone, then somebody comes
// back with the old one. The operator pinned the first and need not touch it.
func TestRotation(t *testing.T) {
	one, two, three := key('k'), key('l'), key('m')
	s := listen(t, "booking.test")
	s.honest(t, claim{key: one})
	n := newNode(t, Options{Peers: []Peer{{Pin: one.Public()}}}, s)
	n.meet()

	at := start
	serve := func(own iatp.PrivateKey, others ...iatp.PrivateKey) {
		at = at.Add(time.Minute)
		s.honest(t, claim{key: own, updated: at}, others...)
	}
	serve(one, two) // the new key is announced
	n.later()
	if met := n.meet(); met.Key != one.Public() || len(met.Keys.Keys()) != 2 {
		t.Errorf("during the overlap the key is %v, with %d keys", met.Key, len(met.Keys.Keys()))
	}
	serve(two, one)
	rotated(t, n, two)
	serve(two)
	n.later()
	n.restart(nil)
	if met := n.meet(); met.Key != two.Public() || trust.Assess(met.Input).Evidence != trust.E2 {
		t.Errorf("after the overlap: %v", met.Notes)
	}
	serve(one) // the operator's pin still names it, and the log knows better
	n.later()
	changed(t, n)
	serve(three, two)
	rotated(t, n, three)
	serve(two, three) // and back again
	rotated(t, n, two)
	if chain := n.memory.of(s.uri).Chain; len(chain) != 3 { // each key once
		t.Errorf("the chain is %v", chain)
	}
	want(t, n, eventPinned, eventUpdated, eventRotated, eventUpdated, eventKeyChanged, eventRotated, eventRotated)
}

// Without a pin the first key that was seen is held to, and a peer that has lost
// it comes back by an authority, by a pin, or by the operator's word.
func TestLostKey(t *testing.T) {
	one, two, auth := key('k'), key('l'), key('z')
	authorities := []Authority{{Key: auth.Public(), For: []string{"https://booking.test"}, MaxLevel: iatp.Standard}}
	lost := func(t *testing.T, c claim) *node {
		s := listen(t, "booking.test")
		s.honest(t, claim{key: one})
		n := newNode(t, Options{Authorities: authorities}, s)
		n.meet()
		c.key, c.updated = two, start.Add(time.Minute)
		s.honest(t, c)
		return n
	}
	t.Run("authority", func(t *testing.T) {
		mark := endorse(t, auth, iatp.Endorsement{Sub: "https://booking.test", JKT: two.Thumbprint(), TrustLevel: iatp.Standard})
		rotated(t, lost(t, claim{endorsements: []string{mark}}), two)
	})
	t.Run("authority for another key", func(t *testing.T) {
		mark := endorse(t, auth, iatp.Endorsement{Sub: "https://booking.test", JKT: one.Thumbprint(), TrustLevel: iatp.Standard})
		n := lost(t, claim{endorsements: []string{mark}})
		n.later()
		changed(t, n)
	})
	t.Run("authority for a key of before", func(t *testing.T) {
		mark := endorse(t, auth, iatp.Endorsement{Sub: "https://booking.test", JKT: one.Thumbprint(), TrustLevel: iatp.Standard})
		s := listen(t, "booking.test")
		s.honest(t, claim{key: one, endorsements: []string{mark}})
		n := newNode(t, Options{Authorities: authorities}, s)
		n.meet()
		s.honest(t, claim{key: two, updated: start.Add(time.Minute)}, one)
		rotated(t, n, two)
		// Whoever stole the old key still has the mark that it was given.
		s.honest(t, claim{key: one, updated: start.Add(2 * time.Minute), endorsements: []string{mark}})
		n.later()
		changed(t, n)
	})
	t.Run("pin", func(t *testing.T) {
		n := lost(t, claim{})
		n.later()
		n.restart(func(o *Options) { o.Peers[0].Pin = two.Public() })
		if met := n.meet(); met.Key != two.Public() || trust.Assess(met.Input).Evidence != trust.E2 {
			t.Errorf("the operator's new pin is not believed: %v", met.Notes)
		}
		want(t, n, eventFirstSeen, eventPinned)
	})
	t.Run("wrong pin", func(t *testing.T) {
		n := lost(t, claim{})
		n.later()
		n.restart(func(o *Options) { o.Peers[0].Pin = key('x').Public() })
		changed(t, n)
	})
	t.Run("forgotten", func(t *testing.T) {
		n := lost(t, claim{})
		n.later()
		changed(t, n)
		if err := n.Forget("https://booking.test", "alice", false); err != nil {
			t.Fatal(err)
		}
		if met := n.meet(); met.Key != two.Public() {
			t.Errorf("after Forget: %v", met.Notes)
		}
		want(t, n, eventFirstSeen, eventKeyChanged, eventForgotten, eventFirstSeen)
		if err := n.Forget("https://nobody.test", "alice", false); err == nil {
			t.Error("Forget forgot somebody who was never met")
		}
		if err := n.Forget("https://nobody.test", "alice", true); err != nil {
			t.Errorf("Forget, of what somebody else remembers: %v", err)
		}
	})
}

// A revoked key vouches for nothing, whoever revoked it.
func TestRevoked(t *testing.T) {
	one, two := key('k'), key('l')
	gone := func(t *testing.T, n *node) {
		t.Helper()
		met := n.meet()
		a := trust.Assess(met.Input)
		if !met.Input.Negatives.Revoked || a.Level != iatp.Untrusted || a.Evidence != trust.E0 {
			t.Errorf("revoked %v: %v at %v", met.Input.Negatives.Revoked, a.Level, a.Evidence)
		}
		if met.Key != (iatp.Key{}) || len(met.Keys.Keys()) != 0 {
			t.Error("a revoked key verifies what the peer signs")
		}
	}
	t.Run("by the operator", func(t *testing.T) {
		s := listen(t, "booking.test")
		s.honest(t, claim{key: one})
		n := newNode(t, Options{Revoked: []string{one.Thumbprint()}}, s)
		gone(t, n)
		want(t, n)
	})
	t.Run("by itself", func(t *testing.T) {
		s := listen(t, "booking.test")
		s.honest(t, claim{key: one, revoked: map[string]time.Time{one.Thumbprint(): start}})
		gone(t, newNode(t, Options{}, s))
	})
	t.Run("later", func(t *testing.T) {
		s := listen(t, "booking.test")
		s.honest(t, claim{key: one, revoked: map[string]time.Time{one.Thumbprint(): start.Add(time.Minute)}})
		n := newNode(t, Options{}, s)
		if met := n.meet(); met.Input.Negatives.Revoked {
			t.Error("revoked before its time")
		}
		n.later()
		gone(t, n)
	})
	t.Run("somebody else's", func(t *testing.T) {
		s := listen(t, "booking.test")
		s.honest(t, claim{key: one, revoked: map[string]time.Time{two.Thumbprint(): start}})
		n := newNode(t, Options{}, s)
		n.meet()
		s.honest(t, claim{key: two, updated: start.Add(time.Minute)}, one)
		rotated(t, n, two)
	})
	t.Run("signs on", func(t *testing.T) {
		s := listen(t, "booking.test")
		s.honest(t, claim{key: one})
		n := newNode(t, Options{}, s)
		n.meet()
		at := start
		for range 2 { // at the handover it must still sign; after it nothing by it counts
			at = at.Add(time.Minute)
			s.honest(t, claim{key: two, updated: at, revoked: map[string]time.Time{one.Thumbprint(): start}}, one)
			n.later()
			n.meet()
		}
		if met := n.meet(); met.Key != two.Public() || len(met.Keys.Keys()) != 1 {
			t.Errorf("the revoked key still verifies: %d keys", len(met.Keys.Keys()))
		}
	})
	t.Run("does not come back", func(t *testing.T) {
		s := listen(t, "booking.test")
		s.honest(t, claim{key: one})
		n := newNode(t, Options{}, s)
		n.meet()
		s.honest(t, claim{key: two, updated: start.Add(time.Minute), revoked: map[string]time.Time{one.Thumbprint(): start}}, one)
		rotated(t, n, two)
		s.honest(t, claim{key: one, updated: start.Add(2 * time.Minute)}, two)
		n.later()
		gone(t, n)
		s.honest(t, claim{key: two, updated: start.Add(3 * time.Minute)})
		n.later()
		if met := n.meet(); met.Key != two.Public() { // what the revoked key said was not remembered
			t.Errorf("the good key was lost: %v", met.Notes)
		}
	})
	t.Run("does not hand over", func(t *testing.T) {
		s := listen(t, "booking.test")
		s.honest(t, claim{key: one})
		n := newNode(t, Options{}, s)
		n.meet()
		s.honest(t, claim{key: one, updated: start.Add(time.Minute), revoked: map[string]time.Time{one.Thumbprint(): start}})
		n.later()
		gone(t, n)
		s.honest(t, claim{key: two, updated: start.Add(2 * time.Minute)}, one)
		n.later()
		changed(t, n)
	})
}

// The key of a peer's flight log changes by a manifest of the peer's own key, and
// those who compare checkpoints are told.
func TestLogRotated(t *testing.T) {
	s := listen(t, "booking.test")
	s.honest(t, claim{key: key('k'), log: logKey(t)})
	n := newNode(t, Options{}, s)
	if met := n.meet(); slices.Contains(met.Notes, NoteLogRotated) {
		t.Error("the first key of the log counts as another")
	}
	s.honest(t, claim{key: key('k'), log: logKey(t), updated: start.Add(time.Minute)})
	n.later()
	n.restart(nil)
	if met := n.meet(); !slices.Contains(met.Notes, NoteLogRotated) {
		t.Error("another key of the log is not noted")
	}
}

// Visits by the old options and by the new ones follow one another, so that what is
// remembered is what the last one found.
func TestVisitsTakeTurns(t *testing.T) {
	s := listen(t, "booking.test")
	s.honest(t, claim{key: key('k')})
	n := newNode(t, Options{}, s)
	manifest := s.manifest
	var under, most atomic.Int32
	begun, on := make(chan bool, 2), make(chan bool)
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		if now := under.Add(1); now > most.Load() {
			most.Store(now)
		}
		begun <- true
		<-on
		under.Add(-1)
		manifest(w, r)
	}, s.directory)
	o := n.opt
	o.Revoked = []string{key('x').Thumbprint()}
	next, err := n.With(o)
	if err != nil {
		t.Fatal(err)
	}
	var visits sync.WaitGroup
	for _, p := range []*Peers{n.Peers, next} {
		visits.Go(func() {
			if _, problem := p.Meet(t.Context(), "a"); problem != nil {
				t.Error(problem.Error)
			}
		})
	}
	<-begun
	select {
	case <-begun:
		t.Error("the second visit does not wait for the first")
	case <-time.After(50 * time.Millisecond):
	}
	close(on)
	visits.Wait()
	if got := most.Load(); got != 1 || len(n.turns.busy) != 0 {
		t.Errorf("%d visits were under way at a time, %d are left", got, len(n.turns.busy))
	}
}

// Other options make other peers with the same memory: what was learned stays, what
// was judged by the old options does not, and the connections stay.
func TestWith(t *testing.T) {
	one, two := key('k'), key('l')
	s := listen(t, "booking.test")
	s.honest(t, claim{key: one})
	o := Options{Peers: []Peer{{Pin: one.Public()}}}
	n := newNode(t, o, s)
	n.meet()
	s.honest(t, claim{key: two, updated: start.Add(time.Minute)}, one)
	rotated(t, n, two)

	o = n.opt
	same, err := n.With(o)
	if err != nil || same != n.Peers {
		t.Fatalf("the same options: %v, %p and %p", err, same, n.Peers)
	}
	o.Revoked = []string{two.Thumbprint()}
	next, err := n.With(o)
	if err != nil {
		t.Fatal(err)
	}
	if met := n.meet(); met.Input.Negatives.Revoked {
		t.Error("the peers of before judge by the new options")
	}
	next.Succeed(n.Peers)
	met, problem := next.Meet(t.Context(), "a")
	if problem != nil || !met.Input.Negatives.Revoked {
		t.Errorf("the new options: %v, %v", problem, met)
	}
	if next.byName["a"].transport != n.byName["a"].transport {
		t.Error("the connections are others")
	}
	o.Revoked, o.Peers = nil, slices.Clone(o.Peers)
	o.Peers[0].Dial = "127.0.0.1:1"
	moved, err := next.With(o)
	if err != nil {
		t.Fatal(err)
	}
	moved.Succeed(next)
	if moved.byName["a"].transport == next.byName["a"].transport || moved.memory.of(s.uri).Key != two.Public().String() {
		t.Error("a peer that moved is reached as before, or its key was forgotten")
	}
	o.Peers = append(o.Peers, o.Peers[0])
	if _, err := moved.With(o); err == nil {
		t.Error("options that New refuses were taken")
	}
}
