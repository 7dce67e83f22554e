package handshake

// Known reports whether the key is that of a configured peer, as far as that is
// known without asking anybody.
func (p *Peers) Known(keyid, agentURI string) bool {
	return p.byKey(keyid, agentURI) != nil
}

// Stale drops what the last visit to a principal found, if that was the manifest
// with this digest: it says now that it was changed since. What is remembered of
// its keys stays. A stranger can say so once in a while only, since a visit to it
// is at the expense of others.
func (p *Peers) Stale(uri, digest string) {
	p.met.dropIf(uri, func(o *outcome) bool { return o.met != nil && o.met.Digest == digest })
	recent := p.opt.Now().Add(-minFresh)
	p.strangers.dropIf(uri, func(o *outcome) bool { return o.met != nil && o.met.Digest == digest && !o.at.After(recent) })
}
