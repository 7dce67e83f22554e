package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/upstream"
)

// Where a sidecar serves its documents.
const (
	manifestPath  = "/.well-known/agent-manifest"
	directoryPath = "/.well-known/http-message-signatures-directory"
)

const (
	maxDocument   = 64 << 10         // bytes of a manifest or directory
	maxHead       = 16 << 10         // bytes of an answer's head
	maxETag       = 256              // bytes
	maxFresh      = time.Hour        // the longest that an answer is good for
	defaultFresh  = 5 * time.Minute  // if the answer does not say
	minFresh      = 5 * time.Second  // also how long a failure is remembered
	dialTimeout   = 2 * time.Second  // to have a connection
	shakeTimeout  = 2 * time.Second  // to have TLS on it
	idleConn      = 90 * time.Second // that a connection may wait for the next request
	idlePerPeer   = 32               // of them
	idleCalls     = 128              // of those for calls, each of which needs one to itself
	defaultFetch  = 2 * time.Second  // for one document
	strangersIdle = -1               // strangers' connections are not kept
)

// An answer is a document as a peer serves it.
type answer struct {
	body  []byte
	etag  string        // "" if it had none that can be sent back
	fresh time.Duration // how long it may be used, from when it was asked for
}

// Errors of get, apart from those of the network.
var (
	errTooLarge   = fmt.Errorf("the document has more than %d KiB", maxDocument>>10)
	errRedirect   = errors.New("the answer is a redirect, which is not followed")
	errEncoded    = errors.New("the document is compressed, which was not asked for")
	errNotAsked   = errors.New("304 to a request that did not ask for it")
	errNoDocument = errors.New("the answer is not 200")
	errUnwell     = errors.New("the server has a problem of its own")
	errTLS        = errors.New("the TLS handshake failed")
)

// get fetches a document. have is an earlier answer that may still be true, or
// nil; it is returned, renewed, if the peer says so. The whole of it, from the
// dial to the last byte, is bounded by ctx.
func get(ctx context.Context, transport http.RoundTripper, url string, have *answer) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, "+iatp.KeySetContentType)
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", "iatp/"+iatp.ProtocolVersion)
	conditional := have != nil && have.etag != ""
	if conditional {
		req.Header.Set("If-None-Match", have.etag)
	}
	var shaken error // what the handshake came to, if there was one
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) { shaken = err },
	}))
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, handshakeError(err, shaken)
	}
	defer res.Body.Close()
	switch status := res.StatusCode; {
	case status == http.StatusNotModified && conditional:
		return &answer{have.body, have.etag, freshness(res.Header)}, nil
	case status == http.StatusNotModified:
		return nil, errNotAsked
	case status/100 == 3:
		return nil, errRedirect
	case status >= 500:
		return nil, fmt.Errorf("%w: %d", errUnwell, status)
	case status != http.StatusOK:
		return nil, fmt.Errorf("%w: %d", errNoDocument, status)
	}
	return read(res)
}

// handshakeError tells a server that did not prove to be the origin, or did not
// let us in, from one that was not heard. It wraps errTLS for the former. A server
// refuses a certificate of ours only after its own handshake, as a remote alert.
func handshakeError(err, shaken error) error {
	var broken net.Error
	var op *net.OpError
	remote := errors.As(err, &op) && op.Op == "remote error"
	if shaken == nil && !remote || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &broken) && broken.Timeout() || errors.As(err, &op) && !remote {
		return err
	}
	return fmt.Errorf("%w: %w", errTLS, err)
}

// read takes the document out of a 200.
func read(res *http.Response) (*answer, error) {
	if coding := res.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, errEncoded
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxDocument {
		return nil, errTooLarge
	}
	return &answer{body, entityTag(res.Header), freshness(res.Header)}, nil
}

// entityTag returns the strong entity tag of an answer, or "" if there is none.
func entityTag(h http.Header) string {
	tag := h.Get("ETag")
	if len(tag) < 2 || len(tag) > maxETag || tag[0] != '"' || tag[len(tag)-1] != '"' ||
		strings.ContainsFunc(tag[1:len(tag)-1], func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
		return ""
	}
	return tag
}

// freshness reads how long an answer may be used (RFC 9111, section 5.2.2). The
// peer may say less than it means and never more than maxFresh; that what it says
// is renewed at most every minFresh is for its own good.
func freshness(h http.Header) time.Duration {
	fresh := defaultFresh
	for field := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(field)), "=")
		switch name {
		case "no-store", "no-cache":
			return minFresh
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return minFresh
			}
			fresh = time.Duration(seconds) * time.Second
		}
	}
	return min(max(fresh, minFresh), maxFresh)
}

// A route is how to reach an origin.
type route struct {
	to      origin
	dial    string // host:port in place of the origin's own; "" is none
	roots   *x509.CertPool
	present func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	allowed func(netip.Addr) bool // the addresses that may be dialled; nil is all
	keep    int                   // connections to keep for later; negative keeps none
}

// transport returns a transport for one origin. It uses no proxy of the
// environment, offers TLS 1.3 only, and verifies the certificate for the host of
// the origin, whatever is dialled.
func (r route) transport() *pinned {
	dialer := &net.Dialer{Timeout: dialTimeout}
	if r.allowed != nil {
		dialer.Control = only(r.allowed)
	}
	address := r.to.address()
	if r.dial != "" {
		address = r.dial
	}
	return &pinned{to: r.to, via: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:        r.tls(),
		TLSHandshakeTimeout:    shakeTimeout,
		MaxResponseHeaderBytes: maxHead,
		DisableCompression:     true,
		DisableKeepAlives:      r.keep < 0,
		MaxIdleConnsPerHost:    max(r.keep, 0),
		IdleConnTimeout:        idleConn,
		ForceAttemptHTTP2:      true,
	}}
}

func (r route) tls() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: r.roots, GetClientCertificate: r.present}
}

// calls returns a client for calls to the origin, which are many: it takes a third
// of the processor time, and reaches the same addresses under the same certificates
// over connections of its own.
func (r route) calls(uri string) (*upstream.Client, error) {
	o := upstream.Options{
		Origin: uri, Dial: r.dial, MaxIdle: idleCalls, IdleTime: idleConn, DialTime: dialTimeout + shakeTimeout,
		TLS: r.tls(),
	}
	if r.allowed != nil {
		o.Control = only(r.allowed)
	}
	return upstream.New(o)
}

// pinned is a transport that reaches one origin and refuses every other.
type pinned struct {
	to    origin
	via   *http.Transport
	calls *upstream.Client // nil for a stranger, who is not called
}

// RoundTrip sends the request if it is for the origin.
func (p *pinned) RoundTrip(req *http.Request) (*http.Response, error) {
	got, err := parseOrigin(req.URL.Scheme + "://" + req.URL.Host)
	if err != nil || got != p.to || req.Host != "" && req.Host != req.URL.Host {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, fmt.Errorf("%s is not the origin that was met", iatp.Printable(req.URL.Host))
	}
	return p.via.RoundTrip(req)
}

// CloseIdleConnections closes the connections that wait for a request.
func (p *pinned) CloseIdleConnections() {
	p.via.CloseIdleConnections()
	if p.calls != nil {
		p.calls.Flush()
	}
}
