package handshake

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// The same manifest, which promises everything, under all that may stand behind
// it: what a stranger gets is never let through unasked, and what the operator or
// an authority vouches for scores by the seed's table.
func TestEvidence(t *testing.T) {
	own, auth, other := key('k'), key('z'), key('y')
	partner, standard := iatp.VerifiedPartner, iatp.Standard
	authorities := []Authority{{Name: "auth", Key: auth.Public(), For: []string{"https://*.test"}, MaxLevel: iatp.VerifiedPartner}}
	mark := iatp.Endorsement{Sub: "https://booking.test", JKT: own.Thumbprint(), TrustLevel: iatp.VerifiedPartner}
	with := func(change func(*iatp.Endorsement)) []string {
		e := mark
		change(&e)
		return []string{endorse(t, auth, e)}
	}
	for _, c := range []struct {
		name        string
		claim       claim
		peer        Peer
		authorities []Authority
		revoked     []string
		unsigned    bool
		evidence    trust.Evidence
		score       int
		notes       []string
	}{
		{name: "unsigned", unsigned: true, evidence: trust.E0, score: 2, notes: []string{NoteUnsigned}},
		{name: "unsigned, pinned", unsigned: true, peer: Peer{Pin: own.Public(), MaxLevel: &partner}, evidence: trust.E0, score: 2, notes: []string{NoteUnsigned}},
		{name: "signed", evidence: trust.E1, score: 5},
		{name: "pinned", peer: Peer{Pin: own.Public()}, evidence: trust.E2, score: 8},
		{name: "the operator's level", peer: Peer{MaxLevel: &partner}, evidence: trust.E6, score: 10},
		{name: "the operator's lower level", peer: Peer{MaxLevel: &standard}, evidence: trust.E6, score: 8},
		{name: "endorsed", claim: claim{endorsements: []string{endorse(t, auth, mark)}}, authorities: authorities, evidence: trust.E5, score: 10, notes: []string{NoteRetentionUnnamed}},
		{name: "endorsed with its retention", claim: claim{endorsements: with(func(e *iatp.Endorsement) { e.MaxClaims.RetentionPolicy = iatp.RetentionEphemeral })},
			authorities: authorities, evidence: trust.E5, score: 10},
		{name: "endorsed lower", claim: claim{endorsements: with(func(e *iatp.Endorsement) { e.TrustLevel = iatp.Standard })},
			authorities: authorities, evidence: trust.E5, score: 8, notes: []string{NoteRetentionUnnamed}},
		{name: "endorsed by a lower authority", claim: claim{endorsements: []string{endorse(t, auth, mark)}},
			authorities: []Authority{{Name: "auth", Key: auth.Public(), For: []string{mark.Sub}, MaxLevel: iatp.Standard}}, evidence: trust.E5, score: 8, notes: []string{NoteRetentionUnnamed}},
		{name: "endorsed by a stranger", claim: claim{endorsements: []string{endorse(t, other, mark)}}, authorities: authorities,
			evidence: trust.E1, score: 5, notes: []string{NoteEndorsementIgnored}},
		{name: "endorsed by one who speaks for others", claim: claim{endorsements: []string{endorse(t, auth, mark)}},
			authorities: []Authority{{Name: "auth", Key: auth.Public(), For: []string{"https://*.example"}, MaxLevel: iatp.VerifiedPartner}},
			evidence:    trust.E1, score: 5, notes: []string{NoteEndorsementIgnored}},
		{name: "another's endorsement", claim: claim{endorsements: with(func(e *iatp.Endorsement) { e.Sub = "https://bank.test" })}, authorities: authorities,
			evidence: trust.E1, score: 5, notes: []string{NoteEndorsementIgnored}},
		{name: "an endorsement of another key", claim: claim{endorsements: with(func(e *iatp.Endorsement) { e.JKT = other.Thumbprint() })}, authorities: authorities,
			evidence: trust.E1, score: 5, notes: []string{NoteEndorsementIgnored}},
		{name: "an endorsement that has ended", claim: claim{endorsements: with(func(e *iatp.Endorsement) { e.Iat = start.Unix() - 7200; e.Exp = start.Unix() })}, authorities: authorities,
			evidence: trust.E1, score: 5, notes: []string{NoteEndorsementIgnored}},
		{name: "an endorsement that begins later", claim: claim{endorsements: with(func(e *iatp.Endorsement) { e.Iat = start.Unix() + 60 })}, authorities: authorities,
			evidence: trust.E1, score: 5, notes: []string{NoteEndorsementIgnored}},
		{name: "endorsed with a key that the operator revoked", claim: claim{endorsements: []string{endorse(t, auth, mark)}}, authorities: authorities,
			revoked: []string{auth.Thumbprint()}, evidence: trust.E1, score: 5, notes: []string{NoteEndorsementIgnored}},
		{name: "promises more than was endorsed", claim: claim{endorsements: with(func(e *iatp.Endorsement) { e.MaxClaims.Reversibility = iatp.ReversibilityPartial })}, authorities: authorities,
			evidence: trust.E1, score: 5, notes: []string{NoteEndorsementExceeded, NoteRetentionUnnamed}},
		{name: "keeps less than was endorsed", claim: claim{endorsements: with(func(e *iatp.Endorsement) { e.MaxClaims.RetentionPolicy = iatp.RetentionTemporary })}, authorities: authorities,
			evidence: trust.E1, score: 5, notes: []string{NoteEndorsementExceeded, NoteRetentionUnnamed}},
		{name: "names no principal", claim: claim{uri: "-"}, evidence: trust.E0, score: 2, notes: []string{NoteNoURI}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := listen(t, "booking.test")
			c.claim.key = own
			c.claim.uri = or(c.claim.uri, s.uri)
			if c.claim.uri == "-" {
				c.claim.uri = ""
			}
			text := c.claim.text(t)
			if !c.unsigned {
				text = c.claim.signed(t)
			}
			s.serve(document(text), document(keys(t, own)))
			n := newNode(t, Options{Peers: []Peer{c.peer}, Authorities: c.authorities, Revoked: c.revoked}, s)
			met := n.meet()
			a := trust.Assess(met.Input)
			if a.Evidence != c.evidence || a.Score != c.score {
				t.Errorf("%v and %d points, want %v and %d: %v", a.Evidence, a.Score, c.evidence, c.score, a.Reasons)
			}
			if diff := cmp.Diff(c.notes, met.Notes); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
			if proven := met.Key == own.Public(); proven != (c.evidence > trust.E0) {
				t.Errorf("the key is %q with %v", met.Key, c.evidence)
			}
		})
	}
}

// Who is the principal in the eyes of the next desk: a key that is only listed in
// the directory verifies nothing.
func TestOnlySignersCount(t *testing.T) {
	s := listen(t, "booking.test")
	s.serve(document(claim{uri: s.uri, key: key('k')}.signed(t)), document(keys(t, key('k'), key('l'))))
	met := newNode(t, Options{}, s).meet()
	if _, ok := met.Keys.Find(key('k').Thumbprint(), start); !ok {
		t.Error("the key that signed the manifest is not among the keys")
	}
	if _, ok := met.Keys.Find(key('l').Thumbprint(), start); ok {
		t.Error("a key that is only listed is among the keys")
	}
}

// A verdict ends with the first thing that it rests on.
func TestExpires(t *testing.T) {
	own, auth := key('k'), key('z')
	soon := start.Add(10 * time.Minute)
	mark := endorse(t, auth, iatp.Endorsement{Sub: "https://booking.test", JKT: own.Thumbprint(), Exp: soon.Unix(), TrustLevel: iatp.Trusted})
	ending, err := iatp.NewKeySet(iatp.DirectoryKey{Key: own.Public(), Expires: soon})
	if err != nil {
		t.Fatal(err)
	}
	short, err := ending.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	authorities := []Authority{{Key: auth.Public(), For: []string{"https://*"}, MaxLevel: iatp.Trusted}}
	for _, c := range []struct {
		name      string
		claim     claim
		directory []byte
		want      time.Time
	}{
		{"an hour", claim{}, keys(t, own), start.Add(time.Hour)},
		{"manifest", claim{expires: soon}, keys(t, own), soon},
		{"mark", claim{endorsements: []string{mark}}, keys(t, own), soon},
		{"directory key", claim{}, short, soon},
		{"directory", claim{}, keys(t, own), soon},
	} {
		s := listen(t, "booking.test")
		c.claim.uri, c.claim.key = s.uri, own
		directory := document(c.directory)
		if c.name == "directory" {
			directory = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "max-age=600")
				_, _ = w.Write(c.directory)
			}
		}
		s.serve(document(c.claim.signed(t)), directory)
		n := newNode(t, Options{Authorities: authorities}, s)
		if met := n.meet(); !met.Expires.Equal(c.want) {
			t.Errorf("%s: expires %v, want %v", c.name, met.Expires, c.want)
		}
		n.move(10*time.Minute - time.Second)
		n.meet()
		if got := s.count(manifestPath); got != 1 {
			t.Errorf("%s: %d visits before it ended, want 1", c.name, got)
		}
	}
}

// A peer that has a pin cannot raise itself: what it promised at first contact
// after the pin counts, also after a restart.
func TestClaimsRaised(t *testing.T) {
	own := key('k')
	s := listen(t, "booking.test")
	s.honest(t, claim{key: own, rev: "none", keeps: "permanent"})
	n := newNode(t, Options{Peers: []Peer{{Pin: own.Public()}}}, s)
	if a := trust.Assess(n.meet().Input); a.Score != 4 {
		t.Fatalf("%d points at first, want 4: %v", a.Score, a.Reasons)
	}
	s.honest(t, claim{key: own, updated: start.Add(time.Minute)})
	n.later()
	n.restart(nil)
	a := trust.Assess(n.meet().Input)
	raised := slices.ContainsFunc(a.Reasons, func(r trust.Reason) bool { return r.Code == trust.CodeClaimsRaised })
	if a.Score != 5 || !raised {
		t.Errorf("%d points after the raise, want 5 and %s: %v", a.Score, trust.CodeClaimsRaised, a.Reasons)
	}
	if diff := cmp.Diff([]string{eventPinned, eventUpdated}, n.events()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// First contact is the one after the pin: what was promised before it does not
// bind.
func TestPinStartsAnew(t *testing.T) {
	own := key('k')
	s := listen(t, "booking.test")
	s.honest(t, claim{key: own, rev: "none", keeps: "permanent"})
	n := newNode(t, Options{}, s)
	n.meet()
	s.honest(t, claim{key: own, updated: start.Add(time.Minute)})
	n.later()
	n.restart(func(o *Options) { o.Peers[0].Pin = own.Public() })
	if a := trust.Assess(n.meet().Input); a.Score != 8 {
		t.Errorf("%d points, want 8: %v", a.Score, a.Reasons)
	}
	if diff := cmp.Diff([]string{eventFirstSeen, eventPinned}, n.events()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}
