package handshake

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// Each way in which a manifest can lie at first sight has its answer, and nothing
// but the questions of discovery was sent.
func TestLies(t *testing.T) {
	own, thief := key('k'), key('x')
	honest := func(s *station) claim { return claim{uri: s.uri, key: own} }
	dir := document(keys(t, own))
	for _, c := range []struct {
		name   string
		serve  func(t *testing.T, s *station) (manifest, directory http.HandlerFunc)
		slug   string
		status int
		words  string
		events []string
	}{
		{name: "the manifest of another origin", slug: iatp.SlugOriginMismatch, status: 403, words: "identity.uri is https://bank.test",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document(claim{uri: "https://bank.test", key: own}.signed(t)), dir
			}},
		{name: "the unsigned manifest of another origin", slug: iatp.SlugOriginMismatch, status: 403, words: "identity.uri is https://bank.test",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document(claim{uri: "https://bank.test"}.text(t)), dir
			}},
		{name: "a changed word", slug: iatp.SlugManifestInvalid, status: 502, words: "does not verify", events: []string{eventBadSignature},
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				c := honest(s)
				c.rev = "none"
				return document(bytes.Replace(c.signed(t), []byte(`"none"`), []byte(`"full"`), 1)), dir
			}},
		{name: "a key that the directory does not have", slug: iatp.SlugManifestInvalid, status: 502, words: "not a valid key of the directory", events: []string{eventBadSignature},
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document(claim{uri: s.uri, key: thief}.signed(t)), dir
			}},
		{name: "a key that has ended", slug: iatp.SlugManifestInvalid, status: 502, words: "not a valid key of the directory", events: []string{eventBadSignature},
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				ended, err := iatp.NewKeySet(iatp.DirectoryKey{Key: own.Public(), Expires: start})
				if err != nil {
					t.Fatal(err)
				}
				text, err := ended.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				return document(honest(s).signed(t)), document(text)
			}},
		{name: "its own jku and jwk", slug: iatp.SlugManifestInvalid, status: 502, words: "no known key", events: []string{eventBadSignature},
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document(withForeignKey(t, honest(s).signed(t), thief)), dir
			}},
		{name: "no directory", slug: iatp.SlugManifestInvalid, status: 502, words: "directory of keys",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document(honest(s).signed(t)), http.NotFound
			}},
		{name: "a directory that redirects", slug: iatp.SlugManifestInvalid, status: 502, words: "redirect",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document(honest(s).signed(t)), http.RedirectHandler("https://bank.test"+directoryPath, http.StatusFound).ServeHTTP
			}},
		{name: "a small-order key in the manifest", slug: iatp.SlugManifestInvalid, status: 502, words: "small order",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document(bytes.Replace(honest(s).text(t), []byte(own.Public().String()), []byte("ed25519:"+smallOrder), 1)), dir
			}},
		{name: "a small-order key in the directory", slug: iatp.SlugManifestInvalid, status: 502, words: "small order",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document(honest(s).signed(t)), document([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + smallOrder + `"}]}`))
			}},
		{name: "the same key twice", slug: iatp.SlugManifestInvalid, status: 502, words: "twice",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				one := string(keys(t, own))
				one = strings.TrimSuffix(strings.TrimPrefix(one, `{"keys":[`), "]}")
				return document(honest(s).signed(t)), document([]byte(`{"keys":[` + one + "," + one + "]}"))
			}},
		{name: "duplicate members", slug: iatp.SlugManifestInvalid, status: 502, words: "duplicate",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document(bytes.Replace(honest(s).signed(t), []byte(`{`), []byte(`{"trust_level":"untrusted",`), 1)), dir
			}},
		{name: "a huge manifest", slug: iatp.SlugManifestInvalid, status: 502, words: "more than 64 KiB",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return endless, dir
			}},
		{name: "a huge manifest that says so", slug: iatp.SlugManifestInvalid, status: 502, words: "more than 64 KiB",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document(append(honest(s).signed(t), bytes.Repeat([]byte(" "), maxDocument)...)), dir
			}},
		{name: "a huge directory", slug: iatp.SlugManifestInvalid, status: 502, words: "more than 64 KiB",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document(honest(s).signed(t)), endless
			}},
		{name: "expired", slug: iatp.SlugManifestInvalid, status: 502, words: "expired",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				c := honest(s)
				c.updated, c.expires = start.Add(-time.Hour), start
				return document(c.signed(t)), dir
			}},
		{name: "from the future", slug: iatp.SlugManifestInvalid, status: 502, words: "in the future",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				c := honest(s)
				c.updated = start.Add(3 * time.Hour)
				return document(c.signed(t)), dir
			}},
		{name: "something else", slug: iatp.SlugManifestInvalid, status: 502, words: "line 1",
			serve: func(t *testing.T, s *station) (http.HandlerFunc, http.HandlerFunc) {
				return document([]byte("<html>")), dir
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := listen(t, "booking.test")
			s.serve(c.serve(t, s))
			n := newNode(t, Options{}, s)
			n.refused(c.slug, c.status, c.words)
			n.refused(c.slug, c.status, c.words) // and again from memory
			if got := s.count(manifestPath); got != 1 {
				t.Errorf("%d requests for the manifest, want 1", got)
			}
			if s.sent() != 0 {
				t.Errorf("%d requests were sent besides", s.sent())
			}
			n.later()
			n.refused(c.slug, c.status, c.words)
			if diff := cmp.Diff(c.events, n.events()); diff != "" { // once, for it stayed the same
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
}

// smallOrder is the point of order 4, under which anybody can sign.
const smallOrder = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// endless sends white space until nobody listens.
func endless(w http.ResponseWriter, _ *http.Request) {
	space := bytes.Repeat([]byte(" "), 4096)
	for {
		if _, err := w.Write(space); err != nil {
			return
		}
	}
}

// withForeignKey replaces the signature by one of another key, which its header
// brings along in every way that JWS knows.
func withForeignKey(t *testing.T, signed []byte, k iatp.PrivateKey) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(signed, &doc); err != nil {
		t.Fatal(err)
	}
	delete(doc, "signatures")
	payload, err := json.Marshal(doc) // canonical: ASCII, sorted, no numbers
	if err != nil {
		t.Fatal(err)
	}
	x := strings.TrimPrefix(k.Public().String(), "ed25519:")
	header := fmt.Sprintf(`{"alg":"EdDSA","typ":"iatp-manifest+jws","kid":%q,"jku":"https://thief.test/keys","jwk":{"kty":"OKP","crv":"Ed25519","x":%q}}`, k.Thumbprint(), x)
	protected := base64.RawURLEncoding.EncodeToString([]byte(header))
	signature := k.Sign([]byte(protected + "." + base64.RawURLEncoding.EncodeToString(payload)))
	doc["signatures"] = []any{map[string]any{"protected": protected, "signature": base64.RawURLEncoding.EncodeToString(signature)}}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Each way in which a manifest can lie about what was before, also across a
// restart.
func TestLiesAboutThePast(t *testing.T) {
	own, thief := key('k'), key('x')
	next := start.Add(time.Minute)
	for _, restart := range []bool{false, true} {
		name := fmt.Sprintf("restart=%v/", restart)
		again := func(t *testing.T, serve func(*station)) *node {
			s := listen(t, "booking.test")
			s.honest(t, claim{key: own})
			n := newNode(t, Options{}, s)
			n.meet()
			serve(s)
			n.later()
			if restart {
				n.restart(nil)
			}
			return n
		}
		t.Run(name+"an older manifest", func(t *testing.T) {
			n := again(t, func(s *station) { s.honest(t, claim{key: own, updated: start.Add(-time.Second)}) })
			n.refused(iatp.SlugManifestInvalid, 502, "older than one that was served before")
			want(t, n, eventFirstSeen, eventRolledBack)
		})
		t.Run(name+"another manifest of the same time", func(t *testing.T) {
			n := again(t, func(s *station) { s.honest(t, claim{key: own, owner: "somebody else"}) })
			n.refused(iatp.SlugManifestInvalid, 502, "two different manifests")
			want(t, n, eventFirstSeen, eventEquivocation)
		})
		t.Run(name+"the same manifest signed anew", func(t *testing.T) {
			n := again(t, func(s *station) { s.honest(t, claim{key: own}, thief) })
			if met := n.meet(); met.Input.Negatives.KeyChanged || met.Key != own.Public() {
				t.Errorf("another signature changed who it is: %v", met.Notes)
			}
			want(t, n, eventFirstSeen)
		})
		t.Run(name+"another key", func(t *testing.T) {
			n := again(t, func(s *station) { s.honest(t, claim{key: thief, updated: next}) })
			changed(t, n)
			n.later()
			changed(t, n) // it does not become the known one by staying
			want(t, n, eventFirstSeen, eventKeyChanged)
		})
		t.Run(name+"no signature", func(t *testing.T) {
			n := again(t, func(s *station) { s.serve(document(claim{uri: s.uri, updated: next}.text(t)), http.NotFound) })
			changed(t, n)
			want(t, n, eventFirstSeen, eventKeyChanged)
		})
		t.Run(name+"a signature, but no principal", func(t *testing.T) {
			n := again(t, func(s *station) {
				s.serve(document(claim{key: own, updated: next}.signed(t)), document(keys(t, own)))
			})
			changed(t, n)
		})
	}
}

// changed meets a peer whose key nobody vouches for: nothing that it says counts.
func changed(t *testing.T, n *node) {
	t.Helper()
	met := n.meet()
	a := trust.Assess(met.Input)
	if !met.Input.Negatives.KeyChanged || a.Evidence != trust.E0 || a.Score > 2 {
		t.Errorf("key changed: %v, %v with %d points, want E0 with at most 2", met.Input.Negatives.KeyChanged, a.Evidence, a.Score)
	}
	if met.Key != (iatp.Key{}) || len(met.Keys.Keys()) != 0 {
		t.Error("the key verifies what the peer signs")
	}
	if end := n.now().Add(minFresh); met.Expires.After(end) {
		t.Errorf("it is believed to be so until %v, want at most %v", met.Expires, end)
	}
}

// want compares the records about keys.
func want(t *testing.T, n *node, events ...string) {
	t.Helper()
	if diff := cmp.Diff(events, n.events()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// A manifest that does not come, or comes from somewhere else, leaves a peer of
// which nothing is known; strictly, it is refused.
func TestUnavailable(t *testing.T) {
	own := key('k')
	inner := listen(t, "")
	inner.serve(document(claim{uri: "https://booking.test", key: own}.signed(t)), http.NotFound)
	slow := func(w http.ResponseWriter, r *http.Request) {
		for range 100 { // a byte at a time: no single read is slow
			w.Write([]byte(" "))
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	for name, manifest := range map[string]http.HandlerFunc{
		"no manifest":          http.NotFound,
		"an error":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"slow":                 slow,
		"redirect inside":      http.RedirectHandler(inner.uri+manifestPath, http.StatusFound).ServeHTTP,
		"redirect to metadata": http.RedirectHandler("http://169.254.169.254/latest", http.StatusTemporaryRedirect).ServeHTTP,
		"compressed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write([]byte("\x1f\x8b"))
		},
		"304 that nobody asked": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) },
		"no content":            func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"huge head":             func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<17)) },
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			w.Write([]byte("{"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := listen(t, "booking.test")
			s.serve(manifest, document(keys(t, own)))
			n := newNode(t, Options{FetchTimeout: 300 * time.Millisecond}, s)
			began := time.Now()
			met := n.meet()
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
			if met.Manifest != nil || !slices.Equal(met.Notes, []string{NoteUnavailable}) {
				t.Errorf("met %v %v, want nothing to be known", met.Manifest, met.Notes)
			}
			if a := trust.Assess(met.Input); a.Score > 2 || a.Evidence != trust.E0 {
				t.Errorf("%v with %d points", a.Evidence, a.Score)
			}
			n.restart(func(o *Options) { o.Strict = true })
			n.refused(iatp.SlugManifestUnavailable, 503, "cannot be had")
			if inner.count(manifestPath) != 0 {
				t.Error("the redirect was followed")
			}
		})
	}
}

// What is not the origin by its certificate is not asked anything, and no person
// can let a call go there: the refusal says what failed.
func TestCertificate(t *testing.T) {
	s := listen(t, "bank.test")
	s.honest(t, claim{uri: "https://booking.test", key: key('k')})
	n := newNode(t, Options{Peers: []Peer{{URI: "https://booking.test", Pin: key('k').Public()}}}, s)
	n.refused(iatp.SlugUpstreamFailed, 502, "certificate is valid for bank.test, not booking.test")
	if got := s.count(manifestPath) + s.sent(); got != 0 {
		t.Errorf("%d requests were sent", got)
	}
}

// Two machines without an authority: each has the certificate of the other.
func TestSelfSigned(t *testing.T) {
	cert, pool := selfSigned("booking.test")
	s := listenTLS(t, "booking.test", &tls.Config{Certificates: []tls.Certificate{cert}})
	s.honest(t, claim{key: key('k')})
	n := newNode(t, Options{Peers: []Peer{{Roots: pool, Pin: key('k').Public()}}}, s)
	if met := n.meet(); met.Key != key('k').Public() {
		t.Errorf("the peer was not met: %v", met.Notes)
	}
	n.restart(func(o *Options) { o.Peers[0].Roots = nil })
	n.refused(iatp.SlugUpstreamFailed, 502, "unknown authority")
}

// A peer that asks for a certificate gets ours.
func TestClientCertificate(t *testing.T) {
	s := listenTLS(t, "booking.test", &tls.Config{
		Certificates: []tls.Certificate{authority.issue("booking.test")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.pool,
	})
	s.honest(t, claim{key: key('k')})
	n := newNode(t, Options{}, s)
	// Whether we read its alert before the end of the connection is up to the kernel.
	if met, problem := n.Meet(t.Context(), "a"); problem == nil && met.Manifest != nil || problem != nil && problem.Slug != iatp.SlugUpstreamFailed {
		t.Errorf("without a certificate: %v %v", met, problem)
	}
	ours := authority.issue("travel.test")
	n.restart(func(o *Options) {
		o.ClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &ours, nil }
	})
	met := n.meet()
	if met.Manifest == nil {
		t.Error("the peer was not met with a certificate")
	}
	if err := call(met.Calls); err != nil {
		t.Errorf("a call: %v", err)
	}
}

// Old versions of TLS are not spoken.
func TestOldTLS(t *testing.T) {
	s := listenTLS(t, "booking.test", &tls.Config{Certificates: []tls.Certificate{authority.issue("booking.test")}, MaxVersion: tls.VersionTLS12})
	s.honest(t, claim{key: key('k')})
	newNode(t, Options{}, s).refused(iatp.SlugUpstreamFailed, 502, "protocol version not supported")
}

// On a plain port nothing but the pinned key tells who listens.
func TestPlainHTTP(t *testing.T) {
	own := key('k')
	s := listen(t, "")
	s.honest(t, claim{key: own})
	n := newNode(t, Options{Peers: []Peer{{Pin: own.Public()}}}, s)
	met := n.meet()
	if a := trust.Assess(met.Input); a.Evidence != trust.E2 || a.Score != 8 {
		t.Errorf("%v with %d points, want E2 with 8", a.Evidence, a.Score)
	}
	if err := post(t.Context(), met.Transport, s.uri+"/task"); err != nil {
		t.Error(err)
	}
	if err := call(met.Calls); err != nil {
		t.Error(err)
	}
	s.honest(t, claim{key: key('x'), updated: start.Add(time.Second)})
	n.later()
	n.refused(iatp.SlugOriginMismatch, 403, "not signed by the pinned key")
	s.serve(document(claim{uri: s.uri}.text(t)), http.NotFound)
	n.later()
	n.refused(iatp.SlugOriginMismatch, 403, "not signed by the pinned key")
	s.serve(http.NotFound, http.NotFound)
	n.later()
	n.refused(iatp.SlugManifestUnavailable, 503, "cannot be had")
	if s.sent() != 2 {
		t.Errorf("%d calls reached the port, want 2", s.sent())
	}
}

// Nor does a plain port lie elsewhere, whatever the operator wrote for the dial.
func TestPlainHTTPStaysHere(t *testing.T) {
	n := newNode(t, Options{})
	to, err := n.target(Peer{Name: "a", URI: "http://localhost:1", Pin: key('k').Public(), Dial: "192.0.2.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := post(t.Context(), to.transport, to.URI+"/task"); err == nil || !strings.Contains(err.Error(), errAddress.Error()) {
		t.Errorf("post: %v, want %v", err, errAddress)
	}
	if err := call(to.transport.calls); err == nil || !strings.Contains(err.Error(), errAddress.Error()) {
		t.Errorf("call: %v, want %v", err, errAddress)
	}
}

// A call reaches who proves the origin that was met, whatever is dialled, and
// nobody else: not one with another certificate, one of another authority, or an
// older TLS.
func TestCalls(t *testing.T) {
	stranger := newCA()
	for name, c := range map[string]struct {
		config *tls.Config
		good   bool
	}{
		"the origin":        {&tls.Config{Certificates: []tls.Certificate{authority.issue("booking.test")}}, true},
		"another origin":    {&tls.Config{Certificates: []tls.Certificate{authority.issue("bank.test")}}, false},
		"another authority": {&tls.Config{Certificates: []tls.Certificate{stranger.issue("booking.test")}}, false},
		"old TLS":           {&tls.Config{Certificates: []tls.Certificate{authority.issue("booking.test")}, MaxVersion: tls.VersionTLS12}, false},
	} {
		s := listenTLS(t, "booking.test", c.config)
		to, err := newNode(t, Options{}).target(Peer{Name: "a", URI: "https://booking.test", Dial: s.addr, Roots: authority.pool})
		if err != nil {
			t.Fatal(err)
		}
		err = call(to.transport.calls)
		if sent := s.sent(); (err == nil) != c.good || (sent == 1) != c.good {
			t.Errorf("%s: %v, and %d calls arrived", name, err, sent)
		}
		to.transport.CloseIdleConnections()
	}
}

// The transport of a peer reaches that peer only.
func TestTransport(t *testing.T) {
	s, other := listen(t, "booking.test"), listen(t, "bank.test")
	s.honest(t, claim{key: key('k')})
	via := newNode(t, Options{}, s).meet().Transport
	for _, url := range []string{"https://bank.test/task", "http://booking.test/task", "https://booking.test:8443/task", "https://" + other.addr + "/task", "https://BOOKING.test/task"} {
		if err := post(t.Context(), via, url); err == nil {
			t.Errorf("a call to %s went out", url)
		}
	}
	req, err := http.NewRequest(http.MethodGet, "https://booking.test/task", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "bank.test"
	if res, err := via.RoundTrip(req); err == nil {
		res.Body.Close()
		t.Error("a call went out with the Host of another")
	}
	if err := post(t.Context(), via, "https://booking.test/task"); err != nil {
		t.Error(err)
	}
	if s.sent() != 1 || other.sent() != 0 {
		t.Errorf("%d and %d calls, want 1 and 0", s.sent(), other.sent())
	}
}
