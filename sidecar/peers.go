package sidecar

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/agreements"
	"github.com/inter-agent-trust/iatp/internal/budget"
	"github.com/inter-agent-trust/iatp/internal/handshake"
	"github.com/inter-agent-trust/iatp/internal/once"
	"github.com/inter-agent-trust/iatp/internal/undo"
	"github.com/inter-agent-trust/iatp/trust"
)

// mesh is what a sidecar with a key has besides: whom it knows, what happened
// only once, and how it signs. It is nil without public_url.
type mesh struct {
	self    *identity
	known   atomic.Pointer[handshake.Peers] // replaced as a whole on reload
	once    *once.Book
	nonces  *once.Nonces
	budget  *budget.Ledger
	sent    *attempts
	undo    *undo.Book
	toAgent *http.Transport // for undoing

	agreements *agreements.Book
	proposals  proposals
	signing    sync.Mutex // one second signature at a time

	logs      *logWatch
	published publishedState

	networks *buckets      // before a signature is verified
	verify   chan struct{} // verifications at a time
	quotas   *quotas       // after
}

// openMesh makes us known to others, and them to us.
func (s *Sidecar) openMesh() error {
	if k, err := s.cfg.loadKeys(s.now()); err != nil || k == nil || s.cfg.PublicURL == "" {
		return err
	}
	m := &mesh{
		self: s.cfg.identity(), networks: newBuckets(s.now), verify: make(chan struct{}, 2), toAgent: newUndoClient(),
		quotas: newQuotas(s.cfg.Limits.PerPeer, s.now),
	}
	opts, err := s.cfg.handshakeOptions()
	if err != nil {
		return err
	}
	opts.Log, opts.Logger, opts.Now, opts.ClientCertificate = s.book, s.log, s.now, s.clientCertificate
	peers, err := handshake.New(opts)
	if err != nil {
		return err
	}
	m.known.Store(peers)
	if m.nonces, err = once.OpenNonces(s.book, once.NonceOptions{Now: s.now}); err != nil {
		return err
	}
	if m.budget, err = budget.Open(s.book, budget.Options{Now: s.now}); err != nil {
		return err
	}
	if m.agreements, err = agreements.Open(s.book, s.now); err != nil {
		return err
	}
	if m.once, err = once.Open(s.book, s.cfg.Data, once.Options{Logger: s.log, Now: s.now}); err != nil {
		return err
	}
	if m.undo, err = s.openUndo(); err != nil {
		return err
	}
	m.sent = &attempts{bases: map[string][]attempt{}}
	if err := s.book.Attach("attempts", m.sent); err != nil {
		return err
	}
	if m.logs, err = s.openLogWatch(); err != nil {
		return err
	}
	s.mesh = m
	return s.settleInterrupted()
}

// peers are those that are configured at the moment.
func (m *mesh) peers() *handshake.Peers { return m.known.Load() }

func (m *mesh) close() error {
	if m == nil {
		return nil
	}
	m.logs.close()
	m.peers().Close()
	err := errors.Join(m.undo.Close(), m.once.Close())
	m.toAgent.CloseIdleConnections()
	return err
}

// settleInterrupted ends the claims of calls that were under way when the
// process died: what became of them nobody here can tell, and a repetition
// must not execute them again.
func (s *Sidecar) settleInterrupted() error {
	for _, c := range s.mesh.once.Interrupted() {
		e := flight.Entry{Type: flight.Error, TraceID: c.Trace, Time: s.now(), Dir: flight.In, Error: "interrupted", Outcome: flight.OutcomeUnknown}
		c.Finish(&e, once.Answer{Status: http.StatusBadGateway, Dropped: true})
		_, err := s.book.Append(&e, flight.Durable)
		c.End()
		if err != nil {
			return fmt.Errorf("settle interrupted call: %w", err)
		}
	}
	return nil
}

func (c *Config) handshakeOptions() (handshake.Options, error) {
	o := handshake.Options{Strangers: c.Ingress.MinLevel != "", Private: c.Ingress.PrivateHosts, Strict: c.Require.Manifest}
	for _, text := range c.RevokedKeys {
		o.Revoked = append(o.Revoked, thumbprint(text))
	}
	for name, p := range c.Peers {
		peer := handshake.Peer{Name: name, URI: p.principal(), Dial: p.Dial, Headers: p.Headers}
		var err error
		if p.Pin != "" {
			if peer.Pin, err = iatp.ParseKey(p.Pin); err != nil {
				return o, err
			}
		}
		if p.MaxLevel != "" {
			level, err := iatp.ParseTrustLevel(p.MaxLevel)
			if err != nil {
				return o, err
			}
			peer.MaxLevel = &level
		}
		if p.CA != "" {
			if peer.Roots, err = readCertPool(p.CA); err != nil {
				return o, fmt.Errorf("peers.%s.ca: %w", name, err)
			}
		}
		o.Peers = append(o.Peers, peer)
	}
	for name, a := range c.Authorities {
		key, err := iatp.ParseKey(a.Key)
		if err != nil {
			return o, err
		}
		level, err := iatp.ParseTrustLevel(a.MaxLevel)
		if err != nil {
			return o, err
		}
		o.Authorities = append(o.Authorities, handshake.Authority{Name: name, Key: key, For: a.For, MaxLevel: level})
	}
	return o, nil
}

// meet finds out who would get the data.
func (s *Sidecar) meet(x *exchange) *iatp.Problem {
	own := s.standing.Load()
	x.st = own
	if x.dir == flight.Out {
		met, p := s.visit(x, x.peer)
		if p != nil {
			return p
		}
		x.met, x.own, x.st = met, own, own.peer(met, s.mesh.logs.seen.Of(met.Peer.URI).Bad())
		s.watchLog(met.Peer.Name, met.Peer.URI)
		s.prepareOut(x)
		x.agreed = s.findAgreement(x)
		if met.Manifest != nil { // it may be needed as evidence when the peer has another
			if err := s.kept.Keep(met.Manifest); err != nil {
				return s.logUnavailable(err)
			}
		}
		return s.addPeerHeaders(x)
	}
	return nil
}

// visit meets a peer, unless the caller has no time left for that.
func (s *Sidecar) visit(x *exchange, name string) (*handshake.Met, *iatp.Problem) {
	met, p := s.mesh.peers().Meet(x.r.Context(), name)
	if p == nil && x.left(s.now()) {
		return nil, outOfTime("there was no time left to meet the peer")
	}
	return met, p
}

// outOfTime refuses a call whose caller did not wait until it could be sent.
func outOfTime(why string) *iatp.Problem {
	return &iatp.Problem{Slug: iatp.SlugDeadlineExceeded, Status: http.StatusGatewayTimeout, Outcome: iatp.OutcomeNone, Error: why}
}

// stood is how a peer stood when it was met.
type stood struct {
	met    *handshake.Met
	forked bool
	st     *standing
}

// peer is of, made once for a visit: as long as that is good, the peer stands as it did.
func (own *standing) peer(met *handshake.Met, forked bool) *standing {
	if v, ok := own.peers.Load(met.Peer.Name); ok {
		if last := v.(*stood); last.met == met && last.forked == forked {
			return last.st
		}
	}
	st := own.of(met, forked)
	own.peers.Store(met.Peer.Name, &stood{met, forked, st})
	return st
}

// of is how a peer stands: its own manifest and evidence under our rules. forked
// says that its log has contradicted itself.
func (own *standing) of(met *handshake.Met, forked bool) *standing {
	st := &standing{drawn: new(drawn), manifest: met.Manifest, digest: met.Digest, rules: own.rules, require: own.require, keep: own.keep}
	input := met.Input
	input.Negatives.LogForked = forked
	if st.manifest == nil {
		// Nothing is known of it: a stranger who promises nothing, about whom
		// a person is asked (protocol 2.4).
		st.manifest, input.Manifest = nobody, nobody
	}
	st.name = iatp.AgentID(scrub(own.scanner, string(st.manifest.Identity.AgentID)))
	st.assessment = trust.Assess(input)
	st.mft, _ = iatp.ParseContentDigest(st.digest) // zero if there is none
	return st
}

// nobody stands in for a manifest that cannot be had.
var nobody = mustManifest(`{"identity":{"agent_id":"unknown"},"trust_level":"unknown"}`)

func mustManifest(text string) *iatp.Manifest {
	m, err := iatp.ParseManifest([]byte(text))
	if err != nil {
		panic(err) // a constant of ours
	}
	return m
}

// admitCaller holds a verified caller to the operator's lowest level.
func (s *Sidecar) admitCaller(x *exchange) *iatp.Problem {
	s.watchLog(x.caller.Name, x.caller.URI)
	if s.mesh.logs.seen.Of(x.caller.URI).Bad() { // untrusted is below every level
		return &iatp.Problem{Slug: iatp.SlugPolicy, Status: http.StatusForbidden, Blocked: true, Outcome: iatp.OutcomeNone,
			Error: "the flight log of the caller contradicts what it has signed before", Hint: "the operators of both sidecars have to find out why; then: iatp peers forget"}
	}
	if least := s.active.Load().Ingress.MinLevel; least != "" {
		return s.callerLevel(x, least)
	}
	return nil
}

// sameTerms holds a call from outside to the manifest that its caller assessed, and
// to the agreement that it names: what was assessed is what is executed
// (hardening 2).
func (s *Sidecar) sameTerms(x *exchange) *iatp.Problem {
	if x.dir != flight.In {
		return nil
	}
	if x.signed.Manifest != x.st.mft {
		return termsChanged("the manifest that the caller assessed is not the one in force", "fetch the manifest again, assess it again, and send the request with its digest in IATP-Manifest")
	}
	return s.underAgreement(x)
}

func termsChanged(why, remedy string) *iatp.Problem {
	return &iatp.Problem{Slug: iatp.SlugTermsChanged, Status: http.StatusConflict, Outcome: iatp.OutcomeNone, Error: why, Hint: remedy}
}

func (s *Sidecar) callerLevel(x *exchange, least string) *iatp.Problem {
	min, err := iatp.ParseTrustLevel(least)
	if err != nil {
		return s.logUnavailable(err) // validated at start
	}
	met := x.caller.Met
	if met == nil {
		var p *iatp.Problem
		if met, p = s.visit(x, x.caller.Name); p != nil {
			return p
		}
	}
	if met.Manifest == nil || trust.Assess(met.Input).Level < min {
		return &iatp.Problem{Slug: iatp.SlugPolicy, Status: http.StatusForbidden, Blocked: true, Outcome: iatp.OutcomeNone,
			Error: "callers here must be trusted as " + least + " or better"}
	}
	return nil
}

// quotas limit verified callers, each by itself. The number of buckets is
// bounded; beyond it, and for strangers, one is shared.
type quotas struct {
	per PerPeer
	now func() time.Time

	mu     sync.Mutex
	by     map[string]*rate.Limiter
	shared *rate.Limiter
}

func newQuotas(per PerPeer, now func() time.Time) *quotas {
	q := &quotas{per: per, now: now, by: map[string]*rate.Limiter{}}
	q.shared = q.limiter()
	return q
}

func (q *quotas) limiter() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(float64(q.per.Rate.N)/q.per.Rate.Per.Seconds()), q.per.Burst)
}

// allow takes a token of the caller.
func (q *quotas) allow(c *handshake.Caller) bool {
	if c.Name == "" {
		return q.shared.AllowN(q.now(), 1)
	}
	q.mu.Lock()
	l := q.by[c.Name]
	if l == nil {
		l = q.limiter() // as many as there are configured peers
		q.by[c.Name] = l
	}
	q.mu.Unlock()
	return l.AllowN(q.now(), 1)
}
