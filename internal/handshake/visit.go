package handshake

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/trust"
)

// visitTo returns the outcome of a visit that began at or after since: one that
// is fresh, or a new one. The problem is that of the outcome or of the wait.
func (p *Peers) visitTo(ctx context.Context, c *cache, t *target, since time.Time) (*outcome, *iatp.Problem) {
	if o := c.fresh(t.URI, since); o != nil {
		return o, o.problem
	}
	o, err := c.get(ctx, t.URI, since, p.visits.Go, func(before *outcome) *outcome { return p.visit(t, before) })
	if err != nil {
		return nil, &iatp.Problem{
			Slug: iatp.SlugDeadlineExceeded, Status: http.StatusGatewayTimeout, Outcome: iatp.OutcomeNone,
			Error: "there was no time left to learn about " + t.named(),
		}
	}
	return o, o.problem
}

// visit asks a peer who it is, weighs the answer and records what is new.
func (p *Peers) visit(t *target, before *outcome) *outcome {
	defer p.turns.take(t.URI)()
	o := &outcome{at: p.opt.Now()}
	o.expires = o.at.Add(minFresh)
	v := visit{peer: t.Peer, to: t.to, at: o.at}
	if problem := p.ask(t, &v, o, before); problem != nil {
		o.problem = problem
		return o
	}
	if v.manifest == nil {
		if before.answered(o.at) { // somebody wanted a newer one, and the one there is still holds
			kept := *before
			kept.at = o.at
			return &kept
		}
		p.nothingKnown(t, o)
		return o
	}
	f, problem := p.judge(v, p.memory.of(t.URI))
	if !p.record(v, f, o, before) {
		problem = unrecorded()
	}
	if problem != nil {
		o.problem = problem
		return o
	}
	o.expires = expiry(o, f)
	o.met = &Met{
		Peer: t.Peer, Manifest: v.manifest, Digest: v.digest, Key: f.key, Keys: f.signers,
		Input: trust.Input{Manifest: v.manifest, Claims: f.claims, Negatives: f.negatives, FirstContact: f.first,
			RetentionUnnamed: slices.Contains(f.notes, NoteRetentionUnnamed)},
		Notes:   f.notes,
		Expires: o.expires, Transport: t.transport, Calls: t.transport.calls,
	}
	return o
}

// Turns let one visit to a principal follow the other. Those of a configuration before
// and of the one that replaced it have caches of their own, and one memory: the visit
// that began last has to be the last to be remembered.
type turns struct {
	mu   sync.Mutex
	busy map[string]chan struct{} // by uri; closed at the end of the visit
}

// take waits for the turn, and returns what ends it.
func (t *turns) take(uri string) (end func()) {
	t.mu.Lock()
	for t.busy[uri] != nil {
		other := t.busy[uri]
		t.mu.Unlock()
		<-other
		t.mu.Lock()
	}
	own := make(chan struct{})
	t.busy[uri] = own
	t.mu.Unlock()
	return func() {
		t.mu.Lock()
		delete(t.busy, uri)
		t.mu.Unlock()
		close(own)
	}
}

// expiry is when what a visit found ends. A key that nobody vouches for is looked
// at again soon: the peer may be about to put it right.
func expiry(o *outcome, f finding) time.Time {
	fresh := o.manifest.fresh
	if o.directory != nil {
		fresh = min(fresh, o.directory.fresh)
	}
	if f.negatives.KeyChanged {
		fresh = minFresh
	}
	end := o.at.Add(fresh)
	if !f.until.IsZero() && f.until.Before(end) {
		return f.until
	}
	return end
}

// answered reports whether the outcome rests on a manifest and may still be used.
func (o *outcome) answered(now time.Time) bool {
	return o != nil && o.met != nil && o.met.Manifest != nil && now.Before(o.expires)
}

// ask fetches the manifest and, if it is signed, the directory of keys. What
// cannot be had leaves v.manifest nil; what cannot be read is a problem.
func (p *Peers) ask(t *target, v *visit, o, before *outcome) *iatp.Problem {
	if before == nil {
		before = new(outcome)
	}
	var err error
	if o.manifest, err = p.fetch(t, manifestPath, before.manifest); err != nil {
		return p.unread(t, "manifest", err, errTooLarge)
	}
	m, err := iatp.ParseManifest(o.manifest.body)
	if err != nil {
		return invalid(t.Peer, err.Error())
	}
	if v.digest, err = m.Digest(); err != nil {
		return invalid(t.Peer, err.Error())
	}
	if len(m.Signatures) > 0 {
		if o.directory, err = p.fetch(t, directoryPath, before.directory); err != nil {
			return p.unread(t, "directory of keys", err, errTooLarge, errNoDocument, errRedirect)
		}
		if v.keys, err = iatp.ParseKeySet(o.directory.body); err != nil {
			return invalid(t.Peer, "its directory of keys: "+err.Error())
		}
	}
	v.manifest = m
	return nil
}

// fetch gets one document, within the time for one.
func (p *Peers) fetch(t *target, path string, have *answer) (*answer, error) {
	ctx, cancel := context.WithTimeout(p.running, p.opt.FetchTimeout)
	defer cancel()
	return get(ctx, t.transport, t.URI+path, have)
}

// unread tells an answer that cannot be the document, one of final, from none. A
// server that does not prove to be the origin is neither: it is somebody else.
func (p *Peers) unread(t *target, what string, err error, final ...error) *iatp.Problem {
	p.opt.Logger.Warn("peer's document cannot be had", "peer", t.URI, "document", what, "error", err)
	if errors.Is(err, errTLS) {
		return notTheOrigin(t.Peer, err)
	}
	if slices.ContainsFunc(final, func(f error) bool { return errors.Is(err, f) }) {
		return invalid(t.Peer, what+": "+err.Error())
	}
	return nil
}

// nothingKnown is the outcome of a visit to which nobody answered.
func (p *Peers) nothingKnown(t *target, o *outcome) {
	if p.opt.Strict || t.to.scheme == "http" { // without TLS and without the pin it could be anybody
		o.problem = unavailable(t.Peer)
		return
	}
	o.met = &Met{Peer: t.Peer, Notes: []string{NoteUnavailable}, Expires: o.expires, Transport: t.transport, Calls: t.transport.calls}
}

// record writes what was learned, and what is suspicious, into the flight log:
// durably, before anybody acts on it. What is suspicious is recorded once for as
// long as it stays the same.
func (p *Peers) record(v visit, f finding, o, before *outcome) bool {
	e := &flight.Entry{Type: flight.Key, Peer: v.peer.URI, Manifest: v.digest, Reason: f.event, Time: v.at}
	if own, ok := v.manifest.VerificationKey(); ok {
		e.JKT = own.Thumbprint()
	}
	switch {
	case f.alarm != "":
		e.Reason, o.alarm = f.alarm, f.alarm+" "+v.digest
		p.opt.Logger.Warn("peer is not as before", "peer", v.peer.URI, "what", f.alarm, "manifest", v.digest, "jkt", e.JKT)
		if before != nil && before.alarm == o.alarm {
			return true
		}
	case f.next != nil:
		payload, err := json.Marshal(f.next)
		if err != nil { // a year that RFC 3339 cannot write
			return false
		}
		e.Payload, e.Whole = payload, true
	default:
		return true
	}
	if _, err := p.opt.Log.Append(e, flight.Durable); err != nil {
		p.opt.Logger.Error("what was learned of a peer cannot be recorded", "peer", v.peer.URI, "error", err)
		return false
	}
	// A peer of whom nothing is remembered could be another one each time.
	return f.alarm != "" || f.next.equal(p.memory.of(v.peer.URI))
}

// A bucket lets through burst at once and one per interval after that.
type bucket struct {
	now func() time.Time

	mu   sync.Mutex
	full time.Time // when the bucket will be full again
}

// The look-ups of strangers: each is at most two requests to one origin.
const (
	lookupBurst    = 20
	lookupInterval = 500 * time.Millisecond
)

// take reports whether there is one left, and takes it.
func (b *bucket) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.full.Before(now) {
		b.full = now
	}
	if b.full.Sub(now) > (lookupBurst-1)*lookupInterval {
		return false
	}
	b.full = b.full.Add(lookupInterval)
	return true
}
