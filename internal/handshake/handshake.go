// Package handshake knows the other sidecars: it discovers them, verifies what
// they say of themselves, and remembers their keys.
//
//	peers, err := handshake.New(handshake.Options{Peers: configured, Log: book})
//	if err != nil { … }
//	met, problem := peers.Meet(ctx, "booking")
//	if problem != nil { … } // refuse with it
//	assessment := trust.Assess(met.Input)
//
// What Meet returns is evidence and no decision. A manifest counts for something
// only if it names the origin that it was fetched from, over the TLS connection
// that proved that origin, and is signed by a key that the same origin publishes
// and that is the key of before, or one that the key of before or an authority
// vouches for. Everything that is remembered between two contacts, the keys and
// the time of the newest manifest, is in the flight log before it is acted on.
//
// An answer that lies (a signature that does not verify, a manifest older than
// one seen before, another origin's manifest) is refused. An answer that does not
// come, or comes too late, leaves a peer of which nothing is known.
package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/upstream"
	"github.com/inter-agent-trust/iatp/trust"
)

// A Peer is another sidecar as the operator wrote it down.
type Peer struct {
	Name string // what the local agent calls it

	// URI is the principal: an https origin in canonical form, or http on this
	// machine, which needs a Pin. TLS must prove it and the manifest must name it.
	URI string

	// Dial is the host:port to connect to in place of that of URI. It changes the
	// address and nothing that is verified.
	Dial string

	// Roots are the certificate authorities that may speak for URI; for a
	// self-signed certificate, the certificate itself. Nil means Options.Roots.
	Roots *x509.CertPool

	// Pin is the key that the operator got by another way. Zero is none.
	Pin iatp.Key

	// MaxLevel is how far the operator vouches for the peer. Nil is not at all.
	MaxLevel *iatp.TrustLevel

	// Headers are the names of further headers that may be sent to the peer. They
	// are carried here for the one who forwards.
	Headers []string
}

// An Authority may endorse peers.
type Authority struct {
	Name string // for people
	Key  iatp.Key

	// For lists whom it may speak for: an origin; "https://*.example.com", any
	// host below that domain; or "https://*", anybody. Empty is nobody.
	For []string

	// MaxLevel bounds every level that it gives.
	MaxLevel iatp.TrustLevel
}

// Options are what New needs. Log is required.
type Options struct {
	Peers       []Peer
	Authorities []Authority

	// Revoked are RFC 7638 thumbprints of keys that the operator no longer
	// believes, whoever vouches for them.
	Revoked []string

	// Log holds what is remembered, as records of type "key". New attaches a view
	// to it.
	Log *flight.Log

	// Roots are the certificate authorities; nil is the system's.
	Roots *x509.CertPool

	// ClientCertificate is shown to peers that ask for one. Nil shows none.
	ClientCertificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

	// Strangers lets Caller look up a caller that is not configured, at the origin
	// that it names. Private are the exact host:port at which one may be in spite
	// of a private address or a port other than 443.
	Strangers bool
	Private   []string

	// Strict refuses a peer whose manifest cannot be had. Otherwise nothing is
	// known of it, which asks a person.
	Strict bool

	// FetchTimeout bounds one document, from the dial to its last byte. Default 2 s.
	FetchTimeout time.Duration

	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil is time.Now
}

// A Met is a peer and the evidence about it. It is shared: do not change it.
type Met struct {
	Peer Peer

	// Manifest is what the peer says of itself, nil if it could not be had; Digest
	// names it.
	Manifest *iatp.Manifest
	Digest   string

	// Key is the key of the peer, and Keys are all that signed the manifest: during
	// a change of keys there are two. Only these verify what the peer signs. They are
	// zero if it is not known whose key signed.
	Key  iatp.Key
	Keys iatp.KeySet

	// Input is for trust.Assess. Its Negatives hold what is known here; the
	// reputation is the caller's to add, to a copy.
	Input trust.Input

	// Notes are codes of what was found besides, the Note constants.
	Notes []string

	// Expires is when a verdict over all this ends: ask Meet again then.
	Expires time.Time

	// Transport reaches the peer and nobody else, over connections that are verified
	// like those that the manifest came from. It follows no redirect.
	Transport http.RoundTripper

	// Calls reaches the same peer for calls: over HTTP/1.1 connections that are verified
	// in the same way.
	Calls *upstream.Client
}

// A Caller is who has signed a request, if Key verifies it.
type Caller struct {
	Name string   // of the configured peer; empty for a stranger
	URI  string   // the principal
	Key  iatp.Key // has the thumbprint that was asked for

	// Met is the evidence about the caller. For a peer that is known by its pin it
	// is nil if no visit was made lately: Meet makes one.
	Met *Met
}

// Peers are the other sidecars. Make it with New. Its methods are safe for
// concurrent use.
type Peers struct {
	opt         Options
	authorities []Authority
	revoked     map[string]bool // thumbprints
	private     map[string]bool // host:port

	byName map[string]*target
	byURI  map[string]*target

	met       cache // configured peers
	strangers cache

	*life
}

// A life is what Peers have in common with those that With makes of them.
type life struct {
	memory  *memory
	lookups bucket // of strangers
	turns   turns

	running context.Context // ends with Close
	stop    context.CancelFunc
	visits  sync.WaitGroup
}

// A target is somebody to visit.
type target struct {
	Peer
	to        origin
	transport *pinned
}

// New checks the options and reads from the flight log what is remembered. The
// caller must Close the result, before the log. Problems of the options are
// reported together.
func New(o Options) (*Peers, error) {
	if o.Log == nil {
		return nil, errors.New("handshake: no flight log")
	}
	p, err := o.peers(nil)
	if err != nil {
		return nil, err
	}
	p.life = &life{memory: &memory{configured: p.byURI, known: make(map[string]remembered)}, lookups: bucket{now: p.opt.Now},
		turns: turns{busy: make(map[string]chan struct{})}}
	if err := o.Log.Attach("peers", p.memory); err != nil {
		return nil, err
	}
	p.running, p.stop = context.WithCancel(context.Background())
	return p, nil
}

// With returns the peers of other options. They have the flight log, the memory
// and the life of p, which may go on being used until Succeed, and after it by
// those who have it; connections to a peer that is reached as before stay. What
// the last visits found is asked for anew: it was judged by the old options. If
// nothing differs, they are p itself.
func (p *Peers) With(o Options) (*Peers, error) {
	o.Log, o.Logger, o.Now = p.opt.Log, p.opt.Logger, p.opt.Now
	next, err := o.peers(p)
	if err != nil {
		return nil, err
	}
	if next.sameAs(p) {
		return p, nil
	}
	next.life = p.life
	return next, nil
}

// sameAs reports whether a visit comes to the same with the options of both.
func (p *Peers) sameAs(q *Peers) bool {
	a, b := p.opt, q.opt
	return maps.EqualFunc(p.byName, q.byName, func(x, y *target) bool { return x.Peer.equal(&y.Peer) }) &&
		maps.Equal(p.revoked, q.revoked) && maps.Equal(p.private, q.private) &&
		a.Strangers == b.Strangers && a.Strict == b.Strict && reflect.DeepEqual(p.authorities, q.authorities)
}

func (p *Peer) equal(q *Peer) bool {
	return p.Name == q.Name && p.URI == q.URI && p.Dial == q.Dial && p.Roots.Equal(q.Roots) && p.Pin == q.Pin &&
		(p.MaxLevel == nil) == (q.MaxLevel == nil) && (p.MaxLevel == nil || *p.MaxLevel == *q.MaxLevel) &&
		slices.Equal(p.Headers, q.Headers)
}

// Succeed puts p in the place of the peers that it was made from. Connections that
// only those had are closed as soon as they are idle.
func (p *Peers) Succeed(before *Peers) {
	p.memory.configure(p.byURI)
	for name, t := range before.byName {
		if now := p.byName[name]; now == nil || now.transport != t.transport {
			t.transport.CloseIdleConnections()
		}
	}
}

// peers are those of the options, without a life. before, if not nil, are those
// whose connections are used on.
func (o Options) peers(before *Peers) (*Peers, error) {
	if o.FetchTimeout <= 0 {
		o.FetchTimeout = defaultFetch
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Peers{
		opt: o, authorities: o.Authorities,
		revoked: make(map[string]bool), private: make(map[string]bool),
		byName: make(map[string]*target), byURI: make(map[string]*target),
		met: newCache(o.Now), strangers: newCache(o.Now),
	}
	if err := errors.Join(p.addPeers(before), p.addAuthorities(), p.addLists()); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Peers) addPeers(before *Peers) error {
	var errs []error
	pins := make(map[iatp.Key]string)
	for _, peer := range p.opt.Peers {
		t, err := p.target(peer)
		if err == nil {
			switch other := pins[peer.Pin]; {
			case p.byName[peer.Name] != nil:
				err = errors.New("the name is there twice")
			case p.byURI[peer.URI] != nil:
				err = fmt.Errorf("peer %s has the same uri", p.byURI[peer.URI].Name)
			case other != "" && peer.Pin != (iatp.Key{}):
				err = fmt.Errorf("peer %s has the same pin", other)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("peer %q: %w", peer.Name, err))
			continue
		}
		if before != nil {
			t.keepWay(before.byName[peer.Name])
		}
		p.byName[peer.Name], p.byURI[peer.URI], pins[peer.Pin] = t, t, peer.Name
	}
	return errors.Join(errs...)
}

// target checks a configured peer. It may be at any address: the operator has
// named it, and TLS or the pin proves that it is the one.
func (p *Peers) target(peer Peer) (*target, error) {
	to, err := parseOrigin(peer.URI)
	if err != nil {
		return nil, fmt.Errorf("uri: %w", err)
	}
	r := route{to: to, dial: peer.Dial, roots: peer.Roots, present: p.opt.ClientCertificate, keep: idlePerPeer}
	if r.roots == nil {
		r.roots = p.opt.Roots
	}
	switch {
	case peer.Name == "":
		return nil, errors.New("it has no name")
	case peer.MaxLevel != nil && *peer.MaxLevel > iatp.VerifiedPartner:
		return nil, fmt.Errorf("max_level: %v is no trust level", *peer.MaxLevel)
	case to.scheme == "http" && peer.Pin == (iatp.Key{}):
		return nil, errors.New("a uri with http needs a pin: nothing else tells who listens there")
	case to.scheme == "http":
		r.allowed = netip.Addr.IsLoopback
	}
	if peer.Dial != "" {
		if host, port, err := net.SplitHostPort(peer.Dial); err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("dial: %q is not host:port", peer.Dial)
		}
	}
	t := &target{peer, to, r.transport()}
	t.transport.calls, err = r.calls(peer.URI)
	return t, err
}

// keepWay takes over the connections of a target that is reached in the same way.
func (t *target) keepWay(before *target) {
	if before != nil && before.to == t.to && before.Dial == t.Dial && before.Roots.Equal(t.Roots) {
		t.transport = before.transport
	}
}

func (p *Peers) addAuthorities() error {
	var errs []error
	seen := make(map[iatp.Key]bool)
	for _, a := range p.authorities {
		err := a.check()
		if err == nil && seen[a.Key] {
			err = errors.New("another authority has the same key")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("authority %q: %w", a.Name, err))
		}
		seen[a.Key] = true
	}
	return errors.Join(errs...)
}

func (p *Peers) addLists() error {
	var errs []error
	for _, jkt := range p.opt.Revoked {
		if _, err := iatp.ParseBase64URL(jkt); err != nil {
			errs = append(errs, fmt.Errorf("revoked: %q is not the thumbprint of a key", jkt))
		}
		p.revoked[jkt] = true
	}
	for _, at := range p.opt.Private {
		if host, port, err := net.SplitHostPort(at); err != nil || host == "" || port == "" {
			errs = append(errs, fmt.Errorf("private: %q is not host:port", at))
		}
		p.private[at] = true
	}
	return errors.Join(errs...)
}

// Close ends the visits under way, waits for them and closes the connections that
// wait for a request. It ends With's relations too.
func (p *Peers) Close() {
	p.stop()
	p.visits.Wait()
	p.Reconnect()
}

// Reconnect closes the connections that wait for a request: the next ones are made
// with the certificate of the moment.
func (p *Peers) Reconnect() {
	for _, t := range p.byName {
		t.transport.CloseIdleConnections()
	}
}

// Meet returns a configured peer and the evidence about it, from a visit that is
// still good or a new one. Callers that ask at the same time share one visit.
//
// A Problem is a refusal: the name is unknown (404), the peer lies (403 and 502),
// the deadline of ctx has passed (504), or, with Options.Strict, the manifest
// cannot be had (503). Nothing of a request has been sent then.
func (p *Peers) Meet(ctx context.Context, name string) (*Met, *iatp.Problem) {
	t := p.byName[name]
	if t == nil {
		return nil, noSuchPeer(name)
	}
	o, problem := p.visitTo(ctx, &p.met, t, time.Time{})
	if problem != nil {
		return nil, problem
	}
	return o.met, nil
}

// Renew is Meet by a visit that begins now, from which nothing of those before is
// taken over: the manifest that it returns, nil if it could not be had, is the one of
// this moment.
func (p *Peers) Renew(ctx context.Context, name string) (*Met, *iatp.Problem) {
	t := p.byName[name]
	if t == nil {
		return nil, noSuchPeer(name)
	}
	p.met.drop(t.URI)
	o, problem := p.visitTo(ctx, &p.met, t, p.opt.Now())
	if problem != nil {
		return nil, problem
	}
	return o.met, nil
}

// ErrUnknown is returned, wrapped, by Forget for somebody who was never met.
var ErrUnknown = errors.New("nothing is remembered")

// Forget drops what is remembered of a principal, on the word of the operator:
// the next manifest that it serves is a first contact. That is the way out when a
// peer has lost its key. anyway says that somebody else has something to forget of
// it by this record.
func (p *Peers) Forget(uri, actor string, anyway bool) error {
	if p.memory.of(uri) == nil && !anyway {
		return fmt.Errorf("%w of %s", ErrUnknown, iatp.Printable(uri))
	}
	_, err := p.opt.Log.Append(&flight.Entry{
		Type: flight.Key, Peer: uri, Reason: eventForgotten, Actor: actor, Time: p.opt.Now(),
	}, flight.Durable)
	p.met.drop(uri)
	p.strangers.drop(uri)
	return err
}
