package handshake

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/upstream"
	"github.com/inter-agent-trust/iatp/trust"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is when the tests begin.
var start = time.Date(2026, 11, 14, 10, 0, 0, 0, time.UTC)

// A clock stands until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// key makes the same key for the same letter.
func key(letter byte) iatp.PrivateKey {
	k, err := iatp.GeneratePrivateKey(bytes.NewReader(bytes.Repeat([]byte{letter}, 32)))
	if err != nil {
		panic(err)
	}
	return k
}

// authority of the test's certificates.
var authority = newCA()

type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newCA() *ca {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		panic(err)
	}
	c := &ca{key: k, pool: x509.NewCertPool()}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		panic(err)
	}
	c.pool.AddCert(c.cert)
	return c
}

// selfSigned is a certificate that speaks for itself.
func selfSigned(host string) (tls.Certificate, *x509.CertPool) {
	c := (&ca{}).issue(host)
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return c, pool
}

// issue makes a certificate for a host; the zero ca, one that signs itself.
func (c *ca) issue(host string) tls.Certificate {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	parent, signer := c.cert, c.key
	if parent == nil {
		parent, signer = tmpl, k
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, k.Public(), signer)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

// A station is another sidecar: a real HTTPS server on loopback whose answers a
// test chooses.
type station struct {
	*httptest.Server
	uri  string
	addr string // host:port

	mu        sync.Mutex
	manifest  http.HandlerFunc
	directory http.HandlerFunc
	asked     map[string]int // by path
	header    http.Header    // of the last request for the manifest
}

// listen starts the station for a host name; with "" it serves plain http.
func listen(t testing.TB, host string) *station {
	t.Helper()
	if host == "" {
		return listenTLS(t, host, nil)
	}
	return listenTLS(t, host, &tls.Config{Certificates: []tls.Certificate{authority.issue(host)}})
}

// listenTLS starts a station with a configuration of its own.
func listenTLS(t testing.TB, host string, config *tls.Config) *station {
	t.Helper()
	s := &station{asked: map[string]int{}, manifest: http.NotFound, directory: http.NotFound}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.addr = s.Listener.Addr().String()
	if config == nil {
		s.uri = "http://" + s.addr
		s.Start()
	} else {
		s.uri = "https://" + host
		s.TLS = config
		s.EnableHTTP2 = true
		s.StartTLS()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *station) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.URL.Path]++
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {})
	switch r.URL.Path {
	case manifestPath:
		answer, s.header = s.manifest, r.Header.Clone()
	case directoryPath:
		answer = s.directory
	}
	s.mu.Unlock()
	answer(w, r)
}

func (s *station) serve(manifest, directory http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manifest, s.directory = manifest, directory
}

func (s *station) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

// sent is how many requests came that were for neither document: calls.
func (s *station) sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for path, count := range s.asked {
		if path != manifestPath && path != directoryPath {
			n += count
		}
	}
	return n
}

// document serves a text that is good for an hour, with an entity tag.
func document(text []byte) http.HandlerFunc {
	tag := iatp.DigestOf(text).ETag()
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		w.Header().Set("Cache-Control", "max-age=3600")
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(text)
	}
}

// keys is a directory with those keys.
func keys(t testing.TB, list ...iatp.PrivateKey) []byte {
	t.Helper()
	var entries []iatp.DirectoryKey
	for _, k := range list {
		entries = append(entries, iatp.DirectoryKey{Key: k.Public()})
	}
	set, err := iatp.NewKeySet(entries...)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A claim is what a test's manifest says. The zero value with a uri and a key is
// the liar of the seed: it promises everything.
type claim struct {
	uri          string
	key          iatp.PrivateKey // verification_key; zero is none
	updated      time.Time       // start, if zero
	expires      time.Time
	owner        string // a difference that means nothing
	log          string // the key of its flight log
	rev          string // full, if ""
	keeps        string // ephemeral, if ""
	endorsements []string
	revoked      map[string]time.Time
}

func or[T comparable](v, instead T) T {
	if v == *new(T) {
		return instead
	}
	return v
}

// logKey is the key of some flight log.
func logKey(t testing.TB) string {
	t.Helper()
	_, vkey, err := note.GenerateKey(rand.Reader, "booking.test/iatp")
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

// text is the manifest, unsigned.
func (c claim) text(t testing.TB) []byte {
	t.Helper()
	identity := map[string]any{"agent_id": "booking"}
	if c.uri != "" {
		identity["uri"] = c.uri
	}
	if c.key.Thumbprint() != "" {
		identity["verification_key"] = c.key.Public().String()
	}
	if c.owner != "" {
		identity["owner"] = c.owner
	}
	if c.log != "" {
		identity["log"] = c.log
	}
	doc := map[string]any{
		"identity": identity, "trust_level": "verified_partner",
		"reversibility": map[string]any{"level": or(c.rev, "full")},
		"privacy":       map[string]any{"retention_policy": or(c.keeps, "ephemeral")},
		"updated_at":    or(c.updated, start).Format(time.RFC3339),
	}
	if !c.expires.IsZero() {
		doc["expires_at"] = c.expires.Format(time.RFC3339)
	}
	if c.endorsements != nil {
		doc["endorsements"] = c.endorsements
	}
	var revoked []any
	for jkt, at := range c.revoked {
		revoked = append(revoked, map[string]any{"kid": jkt, "at": at.Format(time.RFC3339)})
	}
	if revoked != nil {
		doc["revoked_keys"] = revoked
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// signed is the manifest, signed by its key and others.
func (c claim) signed(t testing.TB, others ...iatp.PrivateKey) []byte {
	t.Helper()
	text, err := iatp.SignManifest(c.text(t), append([]iatp.PrivateKey{c.key}, others...)...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// honest serves a signed manifest and its keys.
func (s *station) honest(t testing.TB, c claim, others ...iatp.PrivateKey) {
	t.Helper()
	c.uri = or(c.uri, s.uri)
	s.serve(document(c.signed(t, others...)), document(keys(t, append([]iatp.PrivateKey{c.key}, others...)...)))
}

// A node is the sidecar under test.
type node struct {
	*Peers
	*clock
	t    testing.TB
	dir  string
	opt  Options
	book *flight.Log
}

// newNode starts a sidecar. It knows the stations under the letters a, b, …, and
// dials each where it listens.
func newNode(t testing.TB, o Options, stations ...*station) *node {
	t.Helper()
	n := &node{t: t, clock: &clock{at: start}, dir: t.TempDir(), opt: o}
	n.opt.Roots, n.opt.Now = authority.pool, n.now
	for i, s := range stations {
		if i == len(n.opt.Peers) {
			n.opt.Peers = append(n.opt.Peers, Peer{})
		}
		peer := &n.opt.Peers[i]
		peer.Name, peer.URI, peer.Dial = string(rune('a'+i)), or(peer.URI, s.uri), or(peer.Dial, s.addr)
	}
	n.open()
	t.Cleanup(n.shut)
	return n
}

func (n *node) open() {
	n.t.Helper()
	var err error
	if n.book, err = flight.Open(n.dir, flight.Options{Now: n.now}); err != nil {
		n.t.Fatal(err)
	}
	n.opt.Log = n.book
	if n.Peers, err = New(n.opt); err != nil {
		n.t.Fatal(errors.Join(err, n.book.Close()))
	}
}

func (n *node) shut() {
	n.t.Helper()
	n.Close()
	if err := n.book.Close(); err != nil {
		n.t.Error(err)
	}
}

// restart ends the sidecar and starts it again on what is on its disk. change, if
// not nil, is what the operator does to the configuration meanwhile.
func (n *node) restart(change func(*Options)) {
	n.t.Helper()
	n.shut()
	if change != nil {
		change(&n.opt)
	}
	n.open()
}

// meet meets the first station, and must not be refused.
func (n *node) meet() *Met {
	n.t.Helper()
	met, problem := n.Meet(n.t.Context(), "a")
	if problem != nil {
		n.t.Fatalf("Meet: %s %d: %s", problem.Slug, problem.Status, problem.Error)
	}
	return met
}

// refused meets the first station, and must be refused so.
func (n *node) refused(slug string, status int, words string) {
	n.t.Helper()
	met, problem := n.Meet(n.t.Context(), "a")
	if problem == nil {
		n.t.Fatalf("Meet found %v %v, want a refusal with %s", met.Notes, trust.Assess(met.Input).Reasons, slug)
	}
	if problem.Slug != slug || problem.Status != status || !strings.Contains(problem.Error, words) {
		n.t.Fatalf("Meet: %s %d %q, want %s %d and %q in it", problem.Slug, problem.Status, problem.Error, slug, status, words)
	}
	if problem.Outcome != iatp.OutcomeNone {
		n.t.Errorf("Meet: the outcome is %q, want none: nothing was sent", problem.Outcome)
	}
}

// later moves the clock beyond what is cached.
func (n *node) later() { n.move(maxFresh + time.Second) }

// events are the reasons of the records of type "key", in order.
func (n *node) events() []string {
	n.t.Helper()
	archive, err := flight.OpenArchive(n.dir)
	if err != nil {
		n.t.Fatal(err)
	}
	var events []string
	for rec, err := range archive.Lines(0) {
		if err != nil {
			n.t.Fatal(err)
		}
		var l keyLine
		if err := json.Unmarshal(rec.Line, &l); err != nil {
			n.t.Fatal(err)
		}
		if l.Type == flight.Key {
			events = append(events, l.Reason)
		}
	}
	return events
}

// endorse is an endorsement by an authority's key.
func endorse(t testing.TB, by iatp.PrivateKey, e iatp.Endorsement) string {
	t.Helper()
	e.Iss = or(e.Iss, "https://auth.test")
	e.Iat, e.Exp = or(e.Iat, start.Unix()), or(e.Exp, start.Add(24*time.Hour).Unix())
	jws, err := e.Sign(by)
	if err != nil {
		t.Fatal(err)
	}
	return jws
}

// post sends a call through a transport.
// call sends what post does by the way of calls.
func call(via *upstream.Client) error {
	res, err := via.Do(new(upstream.Call), &upstream.Request{Method: http.MethodPost, Target: "/task", Body: []byte("4111111111111111")})
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func post(ctx context.Context, via http.RoundTripper, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("4111111111111111"))
	if err != nil {
		return err
	}
	res, err := via.RoundTrip(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}
