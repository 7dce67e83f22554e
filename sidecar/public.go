package sidecar

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/inter-agent-trust/iatp"
)

// PublicHandler is the public listener's: what other sidecars may ask of us.
// Routes are matched on the exact path as received (hardening 14).
func (s *Sidecar) PublicHandler() http.Handler { return http.HandlerFunc(s.servePublic) }

func (s *Sidecar) servePublic(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		s.routePublic(w, r)
		return
	}
	defer s.streams.Add(-1)
	if s.streams.Add(1) > int64(s.cfg.Limits.Connections) {
		s.refuseStream(w)
		return
	}
	s.routePublic(w, r)
	// What net/http still has of the answer waits for the caller, too.
	_ = http.NewResponseController(w).Flush()
}

func (s *Sidecar) routePublic(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(iatp.HeaderFrom, iatp.FromSidecar)
	s.boundBody(w, r)
	if p := s.guardPublic(r); p != nil {
		s.refuse(w, p)
		return
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	switch path {
	case taskPath, "/proxy":
		s.task(w, r)
	case "/capabilities", "/.well-known/agent-manifest":
		s.get(w, r, s.serveManifest)
	case "/.well-known/http-message-signatures-directory", "/.well-known/jwks.json":
		s.get(w, r, s.serveKeys)
	case "/health":
		s.get(w, r, s.serveHealth)
	case "/transactions/close":
		s.closeKey(w, r)
	case "/agreements":
		s.serveSigned(w, r, http.MethodPost, s.countersign)
	default:
		s.servePublicDeep(w, r, path)
	}
}

// refuseStream turns away a request over HTTP/2. Each holds about what a connection
// holds until its caller takes the answer, and a connection may have many; so they
// are limited alike. There is no body: it would wait for that caller, too.
func (s *Sidecar) refuseStream(w http.ResponseWriter) {
	s.metrics.refused.WithLabelValues(iatp.SlugOverloaded).Inc()
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
}

// servePublicDeep matches the public routes with an id in them.
func (s *Sidecar) servePublicDeep(w http.ResponseWriter, r *http.Request, path string) {
	if id, ok := strings.CutPrefix(path, "/agreements/"); ok {
		s.serveSigned(w, r, http.MethodGet, func(x *exchange) *iatp.Problem { return s.showAgreement(x, id) })
		return
	}
	if id, ok := strings.CutPrefix(path, "/receipts/"); ok {
		s.serveSigned(w, r, http.MethodGet, func(x *exchange) *iatp.Problem { return s.showReceipt(x, id) })
		return
	}
	if s.servePublicUndo(w, r, path) {
		return
	}
	if strings.HasPrefix(path, "/log/") {
		s.publicLog(w, r, path)
		return
	}
	s.refuse(w, &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Error: "there is nothing at this path"})
}

// guardPublic refuses what must not reach any public route. The Host must be
// that of public_url: that is what callers sign for.
func (s *Sidecar) guardPublic(r *http.Request) *iatp.Problem {
	if !strings.EqualFold(r.Host, s.mesh.self.host) {
		return &iatp.Problem{Slug: iatp.SlugMisdirected, Status: http.StatusMisdirectedRequest, Error: "this sidecar does not answer to that Host"}
	}
	// HTTP/2 names it in :authority, and net/http leaves a Host beside that alone.
	if hosts := r.Header["Host"]; len(hosts) > 1 || len(hosts) == 1 && !strings.EqualFold(hosts[0], r.Host) {
		return badRequest(iatp.SlugInvalidRequest, "Host and :authority differ")
	}
	return guardTarget(r)
}

// buckets limit callers before any signature is verified, by network: a /32 of
// IPv4, a /56 of IPv6 (hardening 18). The number of buckets is bounded; beyond
// it strangers share one.
type buckets struct {
	mu     sync.Mutex
	by     map[netip.Prefix]*bucket
	shared *rate.Limiter
	now    func() time.Time
}

type bucket struct {
	limit *rate.Limiter
	used  time.Time
}

const (
	maxBuckets   = 8192
	strangerRate = 50 // signatures a second that one network can make us look at
)

func newBuckets(now func() time.Time) *buckets {
	return &buckets{by: map[netip.Prefix]*bucket{}, shared: rate.NewLimiter(strangerRate, strangerRate), now: now}
}

// allow takes a token of the network that remote belongs to.
func (b *buckets) allow(remote string) bool {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return b.shared.AllowN(b.now(), 1)
	}
	bits := 32
	ip := addr.Addr().Unmap()
	if ip.Is6() {
		bits = 56
	}
	prefix, err := ip.WithZone("").Prefix(bits)
	if err != nil {
		return b.shared.AllowN(b.now(), 1)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.by[prefix]
	if e == nil {
		if len(b.by) >= maxBuckets && !b.evict() {
			return b.shared.AllowN(b.now(), 1)
		}
		e = &bucket{limit: rate.NewLimiter(strangerRate, 2*strangerRate)}
		b.by[prefix] = e
	}
	e.used = b.now()
	return e.limit.AllowN(b.now(), 1)
}

// evict forgets a few networks that were quiet long enough for their bucket to
// be full again.
func (b *buckets) evict() bool {
	gone := false
	seen := 0
	for p, e := range b.by {
		if seen++; seen > 64 {
			break
		}
		if b.now().Sub(e.used) > 10*time.Second {
			delete(b.by, p)
			gone = true
		}
	}
	return gone
}

// certificates are the public listener's, replaced as a whole on reload.
type certificates struct {
	cert     *tls.Certificate // nil without TLS
	clientCA *x509.CertPool   // nil asks for no certificate
	client   *tls.Certificate // what we show to peers that ask; nil is none
}

func (c *Config) loadCertificates() (*certificates, error) {
	var out certificates
	if c.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		out.cert, out.client = &pair, &pair
	}
	if c.TLS.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.ClientCert, c.TLS.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("tls.client_cert: %w", err)
		}
		out.client = &pair
	}
	var err error
	if c.TLS.ClientCA != "" {
		if out.clientCA, err = readCertPool(c.TLS.ClientCA); err != nil {
			return nil, fmt.Errorf("tls.client_ca: %w", err)
		}
	}
	return &out, nil
}

func readCertPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(path + " holds no certificate in PEM form")
	}
	return pool, nil
}

// shows reports whether both show the same certificate to peers.
func (c *certificates) shows(other *certificates) bool {
	if c.client == nil || other.client == nil {
		return c.client == other.client
	}
	return slices.EqualFunc(c.client.Certificate, other.client.Certificate, slices.Equal[[]byte])
}

// clientCertificate is what a peer gets that asks who connects: the certificate of
// the moment, or none if it would not take that.
func (s *Sidecar) clientCertificate(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if c := s.certs.Load().client; c != nil && asked.SupportsCertificate(c) == nil {
		return c, nil
	}
	return new(tls.Certificate), nil
}

// tlsConfig takes the certificate of the moment for each handshake.
func tlsConfig(current *atomic.Pointer[certificates]) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c := current.Load()
			conf := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{*c.cert}}
			if c.clientCA != nil {
				conf.ClientCAs, conf.ClientAuth = c.clientCA, tls.RequireAndVerifyClientCert
			}
			return conf, nil
		},
	}
}

// ListenPublic opens the public listener; nil if it is off.
func (s *Sidecar) ListenPublic() (net.Listener, error) {
	if s.cfg.Public == "" {
		return nil, nil
	}
	ln, err := net.Listen("tcp", s.cfg.Public)
	if err != nil {
		return nil, err
	}
	ln = limitConns(ln, s.cfg.Limits.Connections)
	if s.cfg.TLS.Cert != "" {
		return tls.NewListener(ln, tlsConfig(&s.certs)), nil
	}
	return ln, nil
}
