package handshake

import (
	"slices"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// Notes about a peer: why what it says does not count for more.
const (
	NoteUnavailable         = "manifest_unavailable" // it could not be had
	NoteUnsigned            = "unsigned"
	NoteNoURI               = "no_uri"               // it names no principal
	NoteKeyChanged          = "key_changed"          // another key than before, or none; nobody vouches for it
	NoteKeyRotated          = "key_rotated"          // another key than before, vouched for
	NoteLogRotated          = "log_rotated"          // another key of its flight log than before
	NoteRevoked             = "revoked"              // by itself or by the operator
	NoteEndorsementIgnored  = "endorsement_ignored"  // by nobody that is configured, or for somebody else
	NoteEndorsementExceeded = "endorsement_exceeded" // it promises more than was endorsed
	NoteRetentionUnnamed    = "retention_unnamed"    // it is endorsed, by nobody who says what it keeps
)

// A visit is what a peer served, before anything of it is believed.
type visit struct {
	peer     Peer
	to       origin
	manifest *iatp.Manifest
	digest   string
	keys     iatp.KeySet // its directory; empty if the manifest is unsigned
	at       time.Time
}

// A finding is what a visit comes to.
type finding struct {
	key       iatp.Key    // zero at E0
	signers   iatp.KeySet // the keys that signed, with their times
	claims    []trust.Claim
	negatives trust.Negatives
	first     *trust.Promises
	notes     []string
	until     time.Time // when something that counted ends; zero is never

	// next is what is to be remembered, and event how that came; both are zero if
	// nothing changes. An alarm is recorded and changes nothing.
	next  *acquaintance
	event string
	alarm string
}

func (f *finding) note(code string) {
	if !slices.Contains(f.notes, code) {
		f.notes = append(f.notes, code)
	}
}

// ends bounds the life of the finding. The zero Time sets no bound.
func (f *finding) ends(at time.Time) {
	if !at.IsZero() && (f.until.IsZero() || at.Before(f.until)) {
		f.until = at
	}
}

// judge weighs a visit against what is remembered of the principal, nil if
// nothing is. A refusal may come with a finding whose alarm is to be recorded.
func (p *Peers) judge(v visit, known *acquaintance) (finding, *iatp.Problem) {
	var f finding
	m := v.manifest
	f.ends(m.ExpiresAt)
	if err := m.ValidAt(v.at); err != nil {
		return f, invalid(v.peer, err.Error())
	}
	if uri := m.Identity.URI; uri != "" && uri != v.peer.URI {
		return f, elsewhere(v.peer, uri)
	}
	signers, err := m.VerifyUnder(v.keys, v.at)
	if err != nil {
		f.alarm = eventBadSignature
		return f, invalid(v.peer, err.Error())
	}
	switch {
	case len(signers) == 0:
		f.note(NoteUnsigned)
		if known != nil { // unsigned after signed (hardening, manifest clock)
			f.keyChanged()
		}
	case m.Identity.URI == "":
		f.note(NoteNoURI)
		if known != nil {
			f.keyChanged()
		}
	default:
		if problem := f.clock(v, known); problem != nil {
			return f, problem
		}
		p.identify(&f, v, known, signers)
	}
	if v.to.scheme == "http" && f.key == (iatp.Key{}) {
		// Nothing but the pin tells who listens on a plain port.
		return f, unproven(v.peer)
	}
	return f, nil
}

// clock refuses a signed manifest that is older than one seen before, and one of
// the same time that says something else.
func (f *finding) clock(v visit, known *acquaintance) *iatp.Problem {
	switch at := v.manifest.UpdatedAt; {
	case known == nil || at.After(known.UpdatedAt):
		return nil
	case at.Before(known.UpdatedAt):
		f.alarm = eventRolledBack
		return invalid(v.peer, "it is older than one that was served before: updated_at was "+
			known.UpdatedAt.Format(time.RFC3339)+" and is "+at.UTC().Format(time.RFC3339))
	case v.digest != known.Digest:
		f.alarm = eventEquivocation
		return invalid(v.peer, "two different manifests have the updated_at "+at.UTC().Format(time.RFC3339))
	}
	return nil
}

// keyChanged takes away all evidence: the peer may not be the one of before.
func (f *finding) keyChanged() {
	f.negatives.KeyChanged = true
	f.alarm = eventKeyChanged
	f.note(NoteKeyChanged)
}

// identify decides whose key signed, and what that is evidence for.
func (p *Peers) identify(f *finding, v visit, known *acquaintance, signers []iatp.Key) {
	own := signers[0]
	marks := p.endorsements(f, v, own)
	c := continuity(v.peer, known, own)
	switch {
	case c.from == own:
	case slices.Contains(signers, c.from) && !p.believedNot(c.base, c.from):
		f.note(NoteKeyRotated)
	case len(marks) > 0 && !c.base.has(own.Thumbprint()): // a mark of before does not bring an old key back
		f.note(NoteKeyRotated)
	default:
		f.keyChanged()
		return
	}
	f.keysOf(v, signers, c.base)
	if p.believedNot(c.base, own) { // what it says is not worth remembering
		f.revoke()
		return
	}
	next := c.base.after(v, c, signers)
	if !next.equal(known) {
		f.next, f.event = next, next.event(c.base)
	}
	if c.base != nil && c.base.Log != "" && c.base.Log != next.Log {
		f.note(NoteLogRotated)
	}
	if next.revoked(own.Thumbprint()) {
		f.revoke()
		return
	}
	f.key, f.first = own, next.promises()
	f.claim(v, marks)
}

// believedNot reports whether the operator or its owner has revoked the key.
func (p *Peers) believedNot(known *acquaintance, k iatp.Key) bool {
	jkt := k.Thumbprint()
	return p.revoked[jkt] || known.revoked(jkt)
}

// revoke takes away everything: the key must no longer be believed.
func (f *finding) revoke() {
	f.negatives.Revoked = true
	f.signers = iatp.KeySet{}
	f.note(NoteRevoked)
}

// A thread is where the key of a peer is expected to come from.
type thread struct {
	from iatp.Key      // the key that the present one is, or that has to vouch for it
	base *acquaintance // what is remembered and goes on; nil for a first contact
}

// continuity finds the key to hold a peer to: the one that the operator pinned,
// until it is known where that led; else the one of before; else the first that
// comes.
func continuity(peer Peer, known *acquaintance, own iatp.Key) thread {
	pin := peer.Pin
	switch {
	case known == nil && pin == (iatp.Key{}):
		return thread{own, nil}
	case pin != (iatp.Key{}) && !known.has(pin.Thumbprint()):
		return thread{pin, nil}
	case pin != (iatp.Key{}) && known.Chain[len(known.Chain)-1] == pin.Thumbprint(): // where the chain ends, which is known.key()
		return thread{pin, known}
	}
	return thread{known.key(), known}
}

// keysOf keeps the keys that signed, with their times. A key that is only listed
// proves nothing about its owner.
func (f *finding) keysOf(v visit, signers []iatp.Key, base *acquaintance) {
	var keys []iatp.DirectoryKey
	for _, k := range v.keys.Keys() {
		if slices.Contains(signers, k.Key) && !base.revoked(k.Key.Thumbprint()) {
			keys = append(keys, k)
		}
		if k.Key == signers[0] {
			f.ends(k.Expires)
		}
	}
	f.signers, _ = iatp.NewKeySet(keys...) // a part of a good set is one
}

// claim adds the evidence that hangs on the key.
func (f *finding) claim(v visit, marks []mark) {
	if v.to.scheme == "https" {
		f.claims = append(f.claims, trust.Claim{Evidence: trust.E1, Ceiling: iatp.Unknown})
	}
	if v.peer.Pin != (iatp.Key{}) {
		f.claims = append(f.claims, trust.Claim{Evidence: trust.E2, Ceiling: iatp.Standard})
	}
	named := false
	for _, k := range marks {
		if k.exceeded(v.manifest) {
			f.note(NoteEndorsementExceeded)
			continue
		}
		named = named || k.mark.MaxClaims.RetentionPolicy != ""
		f.claims = append(f.claims, trust.Claim{Evidence: trust.E5, Ceiling: k.ceiling})
		f.ends(time.Unix(k.mark.Exp, 0))
	}
	if level := v.peer.MaxLevel; level != nil {
		f.claims = append(f.claims, trust.Claim{Evidence: trust.E6, Ceiling: *level})
	} else if len(marks) > 0 && !named {
		f.note(NoteRetentionUnnamed)
	}
}
