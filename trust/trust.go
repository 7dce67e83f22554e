// Package trust decides how far to believe a manifest.
//
// A manifest is a claim that an agent makes about itself. [Assess] weighs it
// against the evidence for it and against what is known to speak against its
// author, and returns an effective level, the score from 0 to 10 that policy works
// with, and every reason in words a person understands:
//
//	a := trust.Assess(trust.Input{
//		Manifest: m,
//		Claims:   []trust.Claim{{Evidence: trust.E6, Ceiling: iatp.VerifiedPartner}},
//	})
//	fmt.Println(a.Level, a.Score)
//
// Three laws hold for every input: more evidence never lowers the result, a fact
// against the agent never raises it, and nothing that an agent says about itself
// brings it to a score that is let through unasked. Bonuses need evidence;
// penalties do not, because nobody lies to look worse.
//
// Assess is a pure function: it asks no network, no clock and no disk.
package trust

import (
	"fmt"

	"github.com/inter-agent-trust/iatp"
)

// Evidence is a class of proof for what a manifest declares. A greater one is
// stronger.
type Evidence uint8

// The evidence ladder.
const (
	E0 Evidence = iota // nothing: unsigned, unreachable, or the key has changed
	E1                 // signed by a key served from the origin that the manifest names
	E2                 // signed by a key that the operator pinned
	E3                 // a workload identity of a configured trust domain
	E4                 // a federation trust chain to a configured anchor
	E5                 // an endorsement by a configured authority
	E6                 // the operator's own file
)

// String returns the name of the class: "E0" to "E6".
func (e Evidence) String() string { return fmt.Sprintf("E%d", uint8(e)) }

// A Claim is one piece of evidence.
type Claim struct {
	Evidence Evidence

	// Ceiling is the highest level that whoever stands behind the evidence vouches
	// for. It counts from E3 on; the lower classes have ceilings of their own. For
	// the manifest of the operator's own agent it is iatp.VerifiedPartner.
	Ceiling iatp.TrustLevel
}

// Negatives are facts that speak against an agent. They count whatever the
// evidence.
type Negatives struct {
	Revoked            bool     // the key or the agent was revoked
	AttestationMissing bool     // required and missing, expired or invalid
	KeyChanged         bool     // the key is another one than before, without a handover
	LogForked          bool     // its flight log has contradicted itself
	Reputation         *float64 // 0 to 10; nil if unknown
}

// An Input is everything that an assessment depends on.
type Input struct {
	Manifest  *iatp.Manifest // nil if there is none to be had
	Claims    []Claim
	Negatives Negatives

	// FirstContact is what the agent promised when a pin or a workload identity
	// (E2, E3) was first met. With those classes a later, better promise is not
	// believed, so that a peer cannot raise itself. Nil means that this is the
	// first contact.
	FirstContact *Promises

	// RetentionUnnamed says that nobody who vouches for the agent (E4, E5) named
	// what it keeps: they vouch for the rest.
	RetentionUnnamed bool
}

// Promises are the claims of a manifest that earn a bonus.
type Promises struct {
	Reversibility iatp.ReversibilityLevel
	Retention     iatp.RetentionPolicy
}

// A Reason is one step of an assessment.
type Reason struct {
	Code   string // one of the Code constants
	Points int    // what it did to the score; 0 for a remark
	Text   string // for people
}

// An Assessment is the result of Assess.
type Assessment struct {
	Declared iatp.TrustLevel // what the manifest says
	Level    iatp.TrustLevel // what is believed
	Score    int             // 0 to 10
	Evidence Evidence        // the strongest that counts
	Bonuses  bool            // whether the evidence lets good promises count
	Reasons  []Reason

	// RetentionUnnamed is that of the Input: see RetentionVouched.
	RetentionUnnamed bool
}
