package handshake

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// known asks who signed, and must be told.
func (n *node) known(k iatp.PrivateKey, agent string) *Caller {
	n.t.Helper()
	c, problem := n.Caller(n.t.Context(), k.Thumbprint(), agent)
	if problem != nil {
		n.t.Fatalf("Caller(%q): %s %d: %s", agent, problem.Slug, problem.Status, problem.Error)
	}
	if c.Key != k.Public() {
		n.t.Fatalf("Caller(%q) has the key %s", agent, c.Key)
	}
	return c
}

// unknown asks who signed, and must be refused so.
func (n *node) unknown(k iatp.PrivateKey, agent, slug string) {
	n.t.Helper()
	c, problem := n.Caller(n.t.Context(), k.Thumbprint(), agent)
	if problem == nil {
		n.t.Fatalf("Caller(%q) = %s %s, want %s", agent, c.Name, c.URI, slug)
	}
	if problem.Slug != slug {
		n.t.Fatalf("Caller(%q): %s %q, want %s", agent, problem.Slug, problem.Error, slug)
	}
}

// A pinned peer is known by its key alone, though it cannot be reached from here.
func TestPinnedCaller(t *testing.T) {
	own := key('k')
	s := listen(t, "booking.test")
	n := newNode(t, Options{Peers: []Peer{{Pin: own.Public()}}}, s)
	for _, agent := range []string{"", s.uri} {
		if c := n.known(own, agent); c.Name != "a" || c.URI != s.uri || c.Met != nil {
			t.Errorf("Caller(%q) = %+v", agent, c)
		}
	}
	if s.count(manifestPath) != 0 {
		t.Error("it was visited")
	}
	n.unknown(own, "https://bank.test", iatp.SlugOriginMismatch)
	n.unknown(key('x'), "", iatp.SlugForbidden)
	n.unknown(iatp.PrivateKey{}, "", iatp.SlugForbidden)
	n.unknown(iatp.PrivateKey{}, s.uri, iatp.SlugForbidden)

	s.honest(t, claim{key: own})
	n.move(minFresh)
	n.meet()
	if c := n.known(own, s.uri); c.Met == nil || c.Met.Key != own.Public() {
		t.Error("what is known of the caller was not given")
	}
	n.restart(func(o *Options) { o.Revoked = []string{own.Thumbprint()} })
	n.unknown(own, s.uri, iatp.SlugRevoked)
}

// A pinned peer whose key has moved on is known by the new one, and by the old
// one only as long as both sign.
func TestPinnedCallerRotates(t *testing.T) {
	one, two := key('k'), key('l')
	s := listen(t, "booking.test")
	s.honest(t, claim{key: one})
	n := newNode(t, Options{Peers: []Peer{{Pin: one.Public()}}}, s)
	n.meet()
	s.honest(t, claim{key: two, updated: start.Add(time.Second)}, one)
	n.later()
	n.known(two, s.uri) // the key is newer than the last visit
	n.known(one, s.uri)
	s.honest(t, claim{key: two, updated: start.Add(2 * time.Second), revoked: map[string]time.Time{one.Thumbprint(): start}})
	n.later()
	n.known(two, s.uri)
	n.unknown(one, s.uri, iatp.SlugForbidden)
	n.unknown(one, "", iatp.SlugForbidden)
	n.restart(nil)
	n.known(two, "")
	n.unknown(one, s.uri, iatp.SlugForbidden)
}

// A pinned peer that has revoked its own key is not let in with it.
func TestPinnedCallerRevokes(t *testing.T) {
	own := key('k')
	s := listen(t, "booking.test")
	s.honest(t, claim{key: own, revoked: map[string]time.Time{own.Thumbprint(): start}})
	n := newNode(t, Options{Peers: []Peer{{Pin: own.Public()}}}, s)
	n.known(own, s.uri) // nothing was heard of that yet
	n.meet()
	n.unknown(own, s.uri, iatp.SlugRevoked)
}

// A peer without a pin is known by what it serves; if that cannot be had, it may
// try again.
func TestConfiguredCaller(t *testing.T) {
	own := key('k')
	s := listen(t, "booking.test")
	s.honest(t, claim{key: own})
	n := newNode(t, Options{}, s)
	if c := n.known(own, s.uri); c.Name != "a" || c.Met == nil {
		t.Errorf("Caller = %+v", c)
	}
	n.known(own, "") // met before, so the key tells
	s.serve(s.directory, s.directory)
	s.Close()
	n.later()
	n.unknown(own, s.uri, iatp.SlugManifestUnavailable)
	n.unknown(key('x'), s.uri, iatp.SlugForbidden)
}

// One who signs with any key and names a peer makes us visit it, and cannot take
// away by that what is known of it.
func TestForcedVisit(t *testing.T) {
	own := key('k')
	s := listen(t, "booking.test")
	s.honest(t, claim{key: own})
	n := newNode(t, Options{}, s)
	n.meet()
	s.serve(http.NotFound, http.NotFound)
	n.move(time.Minute)
	for range 10 {
		n.unknown(key('x'), s.uri, iatp.SlugForbidden)
	}
	if got := s.count(manifestPath); got != 2 {
		t.Errorf("%d visits, want 2", got)
	}
	n.known(own, s.uri)
	if met := n.meet(); met.Manifest == nil || met.Expires != start.Add(time.Hour) {
		t.Errorf("what was known was lost, or holds for longer: %v, until %v", met.Notes, met.Expires)
	}
	n.move(time.Hour)
	if met := n.meet(); met.Manifest != nil {
		t.Error("what was known holds for longer than it was good")
	}
}

// local starts a station at https://localhost:PORT, where a stranger may be if the
// operator has exempted exactly that.
func local(t *testing.T) *station {
	t.Helper()
	s := listen(t, "localhost")
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.uri = "https://localhost:" + port
	return s
}

func (s *station) private() []string { return []string{strings.TrimPrefix(s.uri, "https://")} }

// A stranger is visited where it says that it is, if the operator lets strangers
// in, and is believed as far as a stranger is.
func TestStranger(t *testing.T) {
	own := key('k')
	s := local(t)
	s.honest(t, claim{key: own})
	newNode(t, Options{}).unknown(own, s.uri, iatp.SlugForbidden)
	newNode(t, Options{Private: s.private()}).unknown(own, s.uri, iatp.SlugForbidden)
	newNode(t, Options{Strangers: true}).unknown(own, s.uri, iatp.SlugForbidden)
	newNode(t, Options{Strangers: true, Private: []string{"127.0.0.1:1"}}).unknown(own, s.uri, iatp.SlugForbidden)
	if s.count(manifestPath) != 0 {
		t.Fatal("a stranger was visited though that is not wanted")
	}

	n := newNode(t, Options{Strangers: true, Private: s.private()})
	n.unknown(key('x'), s.uri, iatp.SlugForbidden)
	n.unknown(own, "", iatp.SlugForbidden)
	c := n.known(own, s.uri)
	if a := trust.Assess(c.Met.Input); c.Name != "" || c.URI != s.uri || a.Evidence != trust.E1 || a.Score != 5 {
		t.Errorf("%+v: %v with %d points, want E1 with 5", c, a.Evidence, a.Score)
	}
	for range 50 {
		n.known(own, s.uri)
	}
	if got := s.count(manifestPath); got != 1 {
		t.Errorf("%d visits, want 1", got)
	}
	want(t, n, eventFirstSeen)
}

// To be listed is not enough: whoever writes a directory could list the key of
// somebody else.
func TestListedIsNotOwned(t *testing.T) {
	own, victim := key('k'), key('v')
	s := local(t)
	s.serve(document(claim{uri: s.uri, key: own}.signed(t)), document(keys(t, own, victim)))
	n := newNode(t, Options{Strangers: true, Private: s.private()})
	n.known(own, s.uri)
	n.unknown(victim, s.uri, iatp.SlugForbidden)
}

// An unknown key makes us look again, for it may be new, but not more than once in
// five seconds; and looking at strangers has a limit in all.
func TestLookupsAreFew(t *testing.T) {
	own := key('k')
	s := local(t)
	s.honest(t, claim{key: own})
	n := newNode(t, Options{Strangers: true, Private: s.private()})
	n.known(own, s.uri)
	n.move(time.Minute)
	for range 30 {
		n.unknown(key('x'), s.uri, iatp.SlugForbidden)
	}
	for range 4 {
		n.move(time.Second)
		n.unknown(key('x'), s.uri, iatp.SlugForbidden)
	}
	if got := s.count(manifestPath); got != 2 {
		t.Errorf("%d visits, want 2", got)
	}
	for range lookupBurst {
		n.lookups.take()
	}
	n.move(lookupInterval - time.Millisecond)
	n.known(own, s.uri) // what is known needs no look-up
	n.unknown(own, "https://another.test", iatp.SlugQuotaExceeded)
}

// Whatever a stranger writes into Signature-Agent, it is told the same.
func TestStrangersOrigins(t *testing.T) {
	inner := listen(t, "")
	n := newNode(t, Options{Strangers: true}, listen(t, "booking.test"))
	own := key('k')
	_, first := n.Caller(t.Context(), own.Thumbprint(), "https://nowhere.invalid")
	for _, uri := range []string{
		"", "x", "https://", "https://user@booking.test", "https://booking.test/", "https://booking.test:443", "https://booking.test:8443",
		"https://BOOKING.test", "http://booking.test", "ftp://booking.test", "spiffe://booking.test/a", inner.uri, "https://" + inner.addr,
		"https://127.0.0.1", "https://[::1]", "https://169.254.169.254", "https://10.0.0.1", "https://2130706433", "https://0x7f.1", "https://127.1",
		"https://localhost", "https://booking.test#a", "https://booking.test?a", "https://b\u00fccher.test", "https://a..test", "https://-a.test",
		"https://booking.test", "https://a.test\r\nX: y", strings.Repeat("https://a.test", 100),
	} {
		_, problem := n.Caller(t.Context(), own.Thumbprint(), uri)
		if problem == nil || problem.Error != first.Error || problem.Status != first.Status || problem.Slug != first.Slug {
			t.Errorf("Caller(%q): %+v, want the one answer %+v", uri, problem, first)
		}
	}
	if inner.count(manifestPath) != 0 {
		t.Error("a request went inside")
	}
	n.private = map[string]bool{"10.0.0.1:8443": true, "localhost:80": true, "peer.internal:8443": true, "peer.internal:80": true}
	for uri, want := range map[string]bool{
		"https://a.test": true, "https://peer.internal:8443": true, "https://peer.internal": true,
		"https://a.test:8443": false, "https://1.1.1.1": false, "https://10.0.0.1:8443": false, "https://[2606:4700::1]": false,
		"http://localhost": false, "http://peer.internal": false, "https://peer.internal:9443": false,
	} {
		if got := n.stranger(uri) != nil; got != want {
			t.Errorf("a stranger at %s is looked up: %v, want %v", uri, got, want)
		}
	}
}

// A stranger that has a new manifest is visited again when it says so, and not each time.
func TestStaleStranger(t *testing.T) {
	s, own := local(t), key('s')
	s.honest(t, claim{key: own})
	n := newNode(t, Options{Strangers: true, Private: s.private()}, listen(t, "booking.test"))
	first := n.known(own, s.uri).Met
	s.honest(t, claim{key: own, updated: start.Add(time.Second)})
	n.Stale(s.uri, first.Digest)
	if met := n.known(own, s.uri).Met; met != first {
		t.Error("it was visited again at once")
	}
	n.move(minFresh)
	n.Stale(s.uri, "sha-256=:another:")
	if met := n.known(own, s.uri).Met; met != first {
		t.Error("another manifest became stale")
	}
	n.Stale(s.uri, first.Digest)
	if met := n.known(own, s.uri).Met; met.Digest == first.Digest {
		t.Error("its new manifest is not seen")
	}
}

// A configured peer whose visit has its key needs no look-up, so its calls take none
// from strangers.
func TestKnownCallersLeaveLookups(t *testing.T) {
	own := key('k')
	s, stranger := listen(t, "booking.test"), local(t)
	s.honest(t, claim{key: own})
	stranger.honest(t, claim{key: key('s')})
	n := newNode(t, Options{Strangers: true, Private: stranger.private()}, s)
	n.meet()
	for range 2 * lookupBurst {
		n.known(own, s.uri)
	}
	if got := s.count(manifestPath); got != 1 {
		t.Errorf("%d visits, want 1", got)
	}
	n.known(key('s'), stranger.uri)
}
