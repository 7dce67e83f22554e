package handshake

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// Caller finds out whose key it is that has signed a request. keyid is its
// thumbprint; agentURI is the origin in Signature-Agent, "" if there is none.
//
// Ask only after everything about the request was checked that needs no key:
// syntax, clock and the quota of the address that it came from. A configured peer
// is found by its key: the one that was pinned, or the one that it had at the last
// visit. Everybody else is visited at agentURI, where a manifest has to be signed
// with the key; to be listed in a directory is not enough. All causes for which a
// stranger is refused have the same answer.
func (p *Peers) Caller(ctx context.Context, keyid, agentURI string) (*Caller, *iatp.Problem) {
	if p.revoked[keyid] {
		return nil, revoked()
	}
	t := p.byKey(keyid, agentURI)
	switch {
	case t == nil:
	case agentURI != "" && agentURI != t.URI:
		return nil, another()
	case p.memory.of(t.URI).revoked(keyid):
		return nil, revoked()
	case t.Pin != (iatp.Key{}):
		c := &Caller{Name: t.Name, URI: t.URI, Key: p.expected(t)}
		if o := p.met.fresh(t.URI, time.Time{}); o != nil {
			c.Met = o.met
		}
		return c, nil
	default:
		return p.calledBy(ctx, &p.met, t, keyid, nil)
	}
	if t = p.byURI[agentURI]; t != nil {
		if c, problem := p.calledBy(ctx, &p.met, t, keyid, nil); problem == nil {
			return c, nil
		}
		return nil, unknown()
	}
	if t = p.stranger(agentURI); t == nil {
		return nil, unknown()
	}
	return p.calledBy(ctx, &p.strangers, t, keyid, &p.lookups)
}

// expected is the key that a configured peer signs with, as far as that is known
// without asking: where the pin led, or the one of the last visit.
func (p *Peers) expected(t *target) iatp.Key {
	return continuity(t.Peer, p.memory.of(t.URI), iatp.Key{}).from
}

// Continues reports whether the key with the thumbprint to is the one with the
// thumbprint from, of the same principal, or one that a recorded chain of keys leads
// to. A key that comes back after it was replaced does not continue.
func (p *Peers) Continues(uri, from, to string) bool {
	if from == to {
		return from != ""
	}
	known := p.memory.of(uri)
	return known.has(from) && known.has(to) && slices.Index(known.Chain, from) < slices.Index(known.Chain, to)
}

// byKey finds the configured peer that is expected to sign with the key. The one
// that the caller says it is comes first, so that the usual case looks at one.
func (p *Peers) byKey(keyid, agentURI string) *target {
	if t := p.byURI[agentURI]; t != nil && p.expected(t).Thumbprint() == keyid {
		return t
	}
	for _, t := range p.byName {
		if p.expected(t).Thumbprint() == keyid && keyid != "" {
			return t
		}
	}
	return nil
}

// calledBy looks for the key among those that signed the manifest of t, at a
// visit that is still good and then at a new one: the key may be newer than the
// visit. quota, if not nil, is taken from before each new visit.
func (p *Peers) calledBy(ctx context.Context, c *cache, t *target, keyid string, quota *bucket) (*Caller, *iatp.Problem) {
	unheard := false
	for turn := range 2 {
		var since time.Time
		if turn > 0 {
			since = p.again(c)
		}
		if quota != nil && c.fresh(t.URI, since) == nil && !quota.take() {
			return nil, busy()
		}
		o, problem := p.visitTo(ctx, c, t, since)
		unheard = problem != nil && problem.Status >= 503 || problem == nil && o.met.Manifest == nil
		if problem != nil || unheard {
			continue
		}
		if key, ok := o.met.Keys.Find(keyid, p.opt.Now()); ok {
			return &Caller{Name: t.Name, URI: t.URI, Key: key, Met: o.met}, nil
		}
	}
	if unheard && t.Name != "" {
		return nil, unavailable(t.Peer)
	}
	return nil, unknown()
}

// again is the age that a visit may have which did not find the key of a caller.
// A peer that changed its key an instant ago is visited at once, within the quota
// of look-ups; otherwise no more than every minFresh.
func (p *Peers) again(c *cache) time.Time {
	now := p.opt.Now()
	if c == &p.met && p.lookups.take() {
		return now
	}
	return now.Add(-minFresh)
}

// stranger returns the target for somebody who is not configured, nil if the
// operator wants none or uri is not where one may be: an https origin with a DNS
// name at port 443, on the public network. Exactly the host:port in
// Options.Private are exempt from the last two.
func (p *Peers) stranger(uri string) *target {
	if !p.opt.Strangers {
		return nil
	}
	to, err := parseOrigin(uri)
	if err != nil || to.scheme != "https" || !to.dnsName() {
		return nil
	}
	r := route{to: to, roots: p.opt.Roots, keep: strangersIdle, allowed: public}
	if p.private[to.address()] {
		r.allowed = func(netip.Addr) bool { return true }
	} else if to.port != "443" {
		return nil
	}
	return &target{Peer{URI: uri}, to, r.transport()}
}
