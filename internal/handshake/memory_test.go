package handshake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

func newMemory(configured ...string) *memory {
	m := &memory{configured: map[string]*target{}, known: map[string]remembered{}}
	for _, uri := range configured {
		m.configured[uri] = &target{}
	}
	return m
}

// line is a record as the flight log writes it, as far as the view reads it.
func line(event, uri string, a *acquaintance) []byte {
	payload, _ := json.Marshal(a)
	return fmt.Appendf(nil, `{"payload":%s,"peer":%q,"reason":%q,"type":"key"}`, payload, uri, event)
}

func met(k iatp.PrivateKey) *acquaintance {
	return &acquaintance{
		Version: memoryVersion, Chain: []string{k.Thumbprint()}, Key: k.Public().String(),
		UpdatedAt: start, Digest: "sha-256=:x:", Reversibility: iatp.ReversibilityFull, Retention: iatp.RetentionEphemeral,
	}
}

// The view learns from the records that change something, and from no others.
func TestMemoryApply(t *testing.T) {
	a := met(key('k'))
	uri := "https://booking.test"
	newer := *a
	newer.Version = memoryVersion + 1
	broken := *a
	broken.Chain = []string{key('l').Thumbprint()}
	for _, c := range []struct {
		name string
		line []byte
		want bool
	}{
		{"first seen", line(eventFirstSeen, uri, a), true},
		{"pinned", line(eventPinned, uri, a), true},
		{"rotated", line(eventRotated, uri, a), true},
		{"updated", line(eventUpdated, uri, a), true},
		{"an alarm", line(eventKeyChanged, uri, a), false},
		{"another's record of a key", line("log_key", uri, a), false},
		{"a later version", line(eventFirstSeen, uri, &newer), false},
		{"a chain that ends elsewhere", line(eventFirstSeen, uri, &broken), false},
		{"no payload", fmt.Appendf(nil, `{"peer":%q,"reason":"first_seen","type":"key"}`, uri), false},
		{"a text", fmt.Appendf(nil, `{"payload":"cut","peer":%q,"reason":"first_seen","type":"key"}`, uri), false},
		{"another type", bytes.Replace(line(eventFirstSeen, uri, a), []byte(`"type":"key"`), []byte(`"note":{"type":"key"},"type":"reputation"`), 1), false},
		{"a payload that looks like a record", fmt.Appendf(nil, `{"payload":%s,"type":"request"}`, line(eventFirstSeen, uri, a)), false},
		{"not JSON", []byte(`"type":"key"`), false},
	} {
		m := newMemory()
		m.Apply(7, c.line)
		if got := m.of(uri); (got != nil) != c.want {
			t.Errorf("%s: remembers %v, want %v", c.name, got, c.want)
		} else if c.want {
			if diff := cmp.Diff(a, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
			m.Apply(8, line(eventForgotten, uri, nil))
			if m.of(uri) != nil {
				t.Errorf("%s: not forgotten", c.name)
			}
		}
	}
}

func TestMemorySnapshot(t *testing.T) {
	m := newMemory()
	m.Apply(3, line(eventFirstSeen, "https://a.test", met(key('k'))))
	m.Apply(4, line(eventFirstSeen, "https://b.test", met(key('l'))))
	again := newMemory()
	if err := again.Restore(m.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.known, again.known); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "null x", `{"https://a.test":{"seq":1}}`, `{"https://a.test":{"seq":1,"is":{"v":1,"key":"ed25519:x"}}}`,
		strings.Replace(string(m.Snapshot()), `"v":1`, `"v":2`, 1)} {
		if err := again.Restore([]byte(bad)); err == nil || len(again.known) != 0 {
			t.Errorf("Restore(%q) = %v and leaves %d, want an error and nothing", bad, err, len(again.known))
		}
	}
}

// Strangers make room for strangers, the oldest first, and never push out a peer.
func TestMemoryIsBounded(t *testing.T) {
	m := newMemory("https://peer.test")
	m.Apply(0, line(eventFirstSeen, "https://peer.test", met(key('k'))))
	a := met(key('l'))
	for i := range maxStrangers + 10 {
		m.remember(fmt.Sprintf("https://s%d.test", i), remembered{int64(i + 1), a})
	}
	if got := len(m.known); got != maxStrangers+1 {
		t.Errorf("%d are remembered, want %d", got, maxStrangers+1)
	}
	if m.of("https://peer.test") == nil || m.of("https://s9.test") != nil || m.of("https://s10.test") == nil {
		t.Error("not the oldest strangers made room")
	}
}

// What is remembered does not depend on how it came back: by snapshot, by replay,
// or both.
func TestMemorySurvives(t *testing.T) {
	s := listen(t, "booking.test")
	s.honest(t, claim{key: key('k'), rev: "partial"})
	n := newNode(t, Options{}, s)
	n.meet()
	before := n.memory.of(s.uri)
	if before == nil {
		t.Fatal("nothing is remembered")
	}
	n.restart(nil) // Close wrote a snapshot, or the log is replayed
	if diff := cmp.Diff(before, n.memory.of(s.uri)); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	replayed := newMemory()
	archive, err := flight.OpenArchive(n.dir)
	if err != nil {
		t.Fatal(err)
	}
	for rec, err := range archive.Lines(0) {
		if err != nil {
			t.Fatal(err)
		}
		replayed.Apply(rec.Seq, rec.Line)
	}
	if diff := cmp.Diff(before, replayed.of(s.uri)); diff != "" {
		t.Errorf("replayed (-want +got):\n%s", diff)
	}
}

// What cannot be recorded is not acted on.
func TestUnrecorded(t *testing.T) {
	s := listen(t, "booking.test")
	s.honest(t, claim{key: key('k')})
	n := newNode(t, Options{}, s)
	if err := n.book.Close(); err != nil {
		t.Fatal(err)
	}
	n.refused(iatp.SlugLogUnavailable, 503, "flight recorder")
	n.Close()
	n.open()
}

// A long life of keys stays short in memory, and keeps the key that the operator
// may have pinned.
func TestChainIsBounded(t *testing.T) {
	a := met(key(1))
	v := visit{peer: Peer{Pin: key(1).Public()}, manifest: &iatp.Manifest{UpdatedAt: start}, at: start}
	for i := byte(2); i < 60; i++ {
		a = a.after(v, thread{}, []iatp.Key{key(i).Public()})
		if err := a.valid(); err != nil {
			t.Fatalf("after %d keys: %v", i, err)
		}
	}
	if len(a.Chain) != maxChain || a.Chain[0] != key(1).Thumbprint() || a.Chain[maxChain-1] != key(59).Thumbprint() {
		t.Errorf("the chain has %d keys and begins with %s", len(a.Chain), a.Chain[0])
	}
}

// Whatever a line or a snapshot holds, what is remembered can be used, written and
// read again.
func FuzzMemory(f *testing.F) {
	f.Add(line(eventFirstSeen, "https://a.test", met(key('k'))))
	f.Add(line(eventForgotten, "https://a.test", nil))
	m := newMemory()
	m.Apply(1, line(eventPinned, "https://a.test", met(key('k'))))
	f.Add(m.Snapshot())
	f.Add([]byte(`{"https://a.test":{"seq":1,"is":{"v":1,"chain":[]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMemory()
		m.Apply(1, data)
		if err := m.Restore(data); err != nil && len(m.known) != 0 {
			t.Fatal("an error left something behind")
		}
		m.Apply(2, data)
		for uri, r := range m.known {
			if r.Is.valid() != nil || r.Is.key() == (iatp.Key{}) || !r.Is.has(r.Is.key().Thumbprint()) {
				t.Errorf("%q is remembered as %+v", uri, r.Is)
			}
		}
		one := m.Snapshot()
		if err := m.Restore(one); err != nil {
			t.Fatalf("Restore of its own snapshot: %v", err)
		}
		if two := m.Snapshot(); !bytes.Equal(one, two) {
			t.Errorf("the snapshot changed: %s, %s", one, two)
		}
	})
}

func TestRefusedOptions(t *testing.T) {
	book, err := flight.Open(t.TempDir(), flight.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	k := key('k').Public()
	gold := iatp.TrustLevel(9)
	ok := Peer{Name: "ok", URI: "https://ok.test"}
	speaks := func(pattern string) Options {
		return Options{Authorities: []Authority{{Name: "auth", Key: k, For: []string{pattern}}}}
	}
	for _, c := range []struct {
		words string
		o     Options
	}{
		{"no name", Options{Peers: []Peer{{URI: "https://a.test"}}}},
		{"there twice", Options{Peers: []Peer{ok, {Name: "ok", URI: "https://a.test"}}}},
		{"same uri", Options{Peers: []Peer{ok, {Name: "b", URI: ok.URI}}}},
		{"same pin", Options{Peers: []Peer{{Name: "a", URI: "https://a.test", Pin: k}, {Name: "b", URI: "https://b.test", Pin: k}}}},
		{"canonical form", Options{Peers: []Peer{{Name: "a", URI: "https://a.test/"}}}},
		{"leave it out", Options{Peers: []Peer{{Name: "a", URI: "https://a.test:443"}}}},
		{"not an https origin", Options{Peers: []Peer{{Name: "a", URI: "spiffe://a.test/x"}}}},
		{"this machine only", Options{Peers: []Peer{{Name: "a", URI: "http://a.test", Pin: k}}}},
		{"needs a pin", Options{Peers: []Peer{{Name: "a", URI: "http://127.0.0.1:1"}}}},
		{"not host:port", Options{Peers: []Peer{{Name: "a", URI: "https://a.test", Dial: "a.test"}}}},
		{"no trust level", Options{Peers: []Peer{{Name: "a", URI: "https://a.test", MaxLevel: &gold}}}},
		{"no key", Options{Authorities: []Authority{{Name: "auth", For: []string{"https://*"}}}}},
		{"speak for nobody", Options{Authorities: []Authority{{Name: "auth", Key: k}}}},
		{"same key", Options{Authorities: []Authority{{Key: k, For: []string{"https://*"}}, {Key: k, For: []string{"https://*"}}}}},
		{"is not an origin", speaks("*")},
		{"is not an origin", speaks("https://*.test:8443")},
		{"is not an origin", speaks("https://a.*.test")},
		{"is not an origin", speaks("https://*test")},
		{"is not the thumbprint", Options{Revoked: []string{"abc"}}},
		{"private", Options{Private: []string{"a.test"}}},
	} {
		c.o.Log = book
		if p, err := New(c.o); err == nil {
			p.Close()
			t.Errorf("New accepts what should fail with %q", c.words)
		} else if !strings.Contains(err.Error(), c.words) {
			t.Errorf("New: %v, want %q in it", err, c.words)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("New accepts no log")
	}
	both := Options{Log: book, Revoked: []string{"abc"}, Private: []string{"x"}, Peers: []Peer{{}}}
	if _, err := New(both); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("New does not report all problems together: %v", err)
	}
}

func TestSpeaksFor(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"https://a.test", []string{"https://a.test"}, []string{"https://b.a.test", "https://a.test:8443", "http://a.test"}},
		{"https://*.a.test", []string{"https://b.a.test", "https://c.b.a.test"}, []string{"https://a.test", "https://ba.test", "https://b.a.test:8443", "https://b.a.test.evil", "spiffe://b.a.test"}},
		{"https://*", []string{"https://a.test", "https://a.test:8443"}, []string{"http://127.0.0.1", "spiffe://a.test/x"}},
	} {
		a := Authority{For: []string{c.pattern}}
		for _, uri := range c.yes {
			if !a.speaksFor(uri) {
				t.Errorf("%s does not match %s", c.pattern, uri)
			}
		}
		for _, uri := range c.no {
			if a.speaksFor(uri) {
				t.Errorf("%s matches %s", c.pattern, uri)
			}
		}
	}
}

func TestNoSuchPeer(t *testing.T) {
	n := newNode(t, Options{})
	if _, problem := n.Meet(t.Context(), "a\x1b[2J\u202e"); problem == nil || problem.Status != 404 || strings.ContainsAny(problem.Error, "\x1b\u202e") {
		t.Errorf("Meet: %+v", problem)
	}
}

// What is learned of a peer is remembered, or the peer is refused: one of whom nothing
// is remembered could show another key each time.
func TestLearnedIsRemembered(t *testing.T) {
	s := listen(t, "booking.test")
	s.honest(t, claim{key: key('k')})
	n := newNode(t, Options{}, s)
	n.meet()
	v := visit{peer: n.byName["a"].Peer, at: start}
	var err error
	if v.manifest, err = iatp.ParseManifest(claim{uri: s.uri, key: key('x')}.text(t)); err != nil {
		t.Fatal(err)
	}
	thread := thread{from: key('x').Public()}
	good := (*acquaintance)(nil).after(v, thread, []iatp.Key{thread.from})
	long, unread := *good, *good
	long.Log = strings.Repeat("x", 20<<10)
	unread.Version++
	for name, next := range map[string]*acquaintance{"too long for a record": &long, "nothing that is read again": &unread} {
		if n.record(v, finding{next: next, event: eventUpdated}, new(outcome), nil) {
			t.Errorf("%s: it counts as recorded", name)
		}
		if n.memory.of(s.uri).Key != key('k').Public().String() {
			t.Errorf("%s: it has changed what is remembered", name)
		}
	}
	if !n.record(v, finding{next: good, event: eventUpdated}, new(outcome), nil) {
		t.Error("a good one is not recorded")
	}
}
