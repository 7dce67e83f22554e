package trust

import (
	"fmt"

	"github.com/inter-agent-trust/iatp"
)

// Codes of the reasons that Assess gives.
const (
	CodeLevel                 = "level"                  // the points of the level believed
	CodeLevelCapped           = "level_capped"           // less is believed than declared
	CodeNoManifest            = "no_manifest"            // nothing was declared
	CodeReversibility         = "reversibility"          // +2
	CodeReversibilityUnproven = "reversibility_unproven" // the bonus was not granted
	CodeEphemeral             = "ephemeral"              // +1
	CodeEphemeralUnproven     = "ephemeral_unproven"     // the bonus was not granted
	CodePermanentRetention    = "permanent_retention"    // -1
	CodeHumanInLoop           = "human_in_loop"          // -2
	CodeTrainingConsent       = "training_consent"       // -1
	CodeLimit                 = "limit"                  // the score ends at 0 and at 10
	CodeClaimsRaised          = "claims_raised"          // a better promise than at first contact
	CodeRevoked               = "revoked"
	CodeAttestationMissing    = "attestation_missing"
	CodeKeyChanged            = "key_changed"
	CodeLogForked             = "log_forked"
	CodeLowReputation         = "low_reputation"
)

// basePoints is the seed's table: the points of a level.
var basePoints = [...]int{
	iatp.Untrusted:       0,
	iatp.Unknown:         2,
	iatp.Standard:        5,
	iatp.Trusted:         7,
	iatp.VerifiedPartner: 10,
}

// MinScore and MaxScore bound every score.
const (
	MinScore = 0
	MaxScore = 10
)

// Assess weighs a manifest.
//
// Each claim is weighed alone, and the result is the best that any one of them
// supports: claims never add up, so that a weak one cannot lend its bonuses to
// another's level. The level is the least of what is declared, what the evidence
// supports and what the negatives leave. The points of the reasons add up to the
// score.
//
// A level that does not exist counts as untrusted. A reputation that is not a
// number counts as the worst.
func Assess(in Input) Assessment {
	a := Assessment{Declared: declared(in.Manifest), RetentionUnnamed: in.RetentionUnnamed}
	limit, negatives := negativeCap(in.Negatives)
	claims := in.Claims
	if in.Negatives.Revoked || in.Negatives.KeyChanged || in.Negatives.LogForked {
		claims = nil // all evidence hangs on the key, or on the word of one who has broken it
	}
	best := weigh(in, Claim{Evidence: E0}, limit)
	a.Level, a.Evidence = best.level, E0
	for _, c := range claims {
		w := weigh(in, c, limit)
		a.Level = max(a.Level, w.level)
		a.Evidence = max(a.Evidence, min(c.Evidence, E6))
		if w.better(best) {
			best = w
		}
	}
	a.Score, a.Bonuses = best.score, best.claim.Evidence >= E1
	a.Reasons = append(negatives, best.reasons...)
	return a
}

// RetentionVouched reports whether somebody other than the agent stands behind
// what the manifest says about retention: the operator or an authority that named
// it. A pin or a workload identity names a key and not what its holder does with
// data.
func (a Assessment) RetentionVouched() bool { return a.Evidence >= E4 && !a.RetentionUnnamed }

// declared is what a manifest declares, or would if there were one.
func declared(m *iatp.Manifest) iatp.TrustLevel {
	switch {
	case m == nil:
		return iatp.Unknown
	case int(m.TrustLevel) >= len(basePoints):
		return iatp.Untrusted
	}
	return m.TrustLevel
}

// negativeCap returns the highest level that the negatives leave, and why.
func negativeCap(n Negatives) (iatp.TrustLevel, []Reason) {
	limit := iatp.VerifiedPartner
	var reasons []Reason
	note := func(level iatp.TrustLevel, code, text string) {
		limit = min(limit, level)
		reasons = append(reasons, Reason{Code: code, Text: text})
	}
	if n.Revoked {
		note(iatp.Untrusted, CodeRevoked, "its key or the agent itself was revoked")
	}
	if n.AttestationMissing {
		note(iatp.Unknown, CodeAttestationMissing, "the attestation that is required is missing, expired or invalid")
	}
	if n.KeyChanged {
		note(iatp.Unknown, CodeKeyChanged, "its key is not the one seen before, and nothing vouches for the change")
	}
	if n.LogForked {
		note(iatp.Untrusted, CodeLogForked, "its flight log has signed for two histories, or took back what it had signed")
	}
	if n.Reputation != nil && !(*n.Reputation >= 5) {
		level := reputationCap(*n.Reputation)
		note(level, CodeLowReputation, fmt.Sprintf("its reputation is %.2f of 10: at most %s", *n.Reputation, level))
	}
	return limit, reasons
}

// reputationCap is the highest level for a reputation below 5.
func reputationCap(r float64) iatp.TrustLevel {
	switch {
	case r >= 4:
		return iatp.Standard
	case r >= 2:
		return iatp.Unknown
	}
	return iatp.Untrusted
}

// ceiling is the highest level that a claim supports.
func ceiling(c Claim) iatp.TrustLevel {
	vouched := c.Ceiling
	if int(vouched) >= len(basePoints) {
		vouched = iatp.Untrusted
	}
	switch {
	case c.Evidence <= E1:
		return iatp.Unknown
	case c.Evidence == E2:
		return iatp.Standard
	case c.Evidence == E3:
		return min(vouched, iatp.Trusted)
	}
	return vouched
}

// A weighing is the result of one claim alone.
type weighing struct {
	claim   Claim
	level   iatp.TrustLevel
	score   int
	reasons []Reason
}

func (w weighing) better(than weighing) bool {
	if w.score != than.score {
		return w.score > than.score
	}
	if w.level != than.level {
		return w.level > than.level
	}
	return w.claim.Evidence > than.claim.Evidence
}

func (w *weighing) add(code string, points int, format string, args ...any) {
	w.score += points
	w.reasons = append(w.reasons, Reason{code, points, fmt.Sprintf(format, args...)})
}

// weigh scores a manifest by one claim, with levels above limit cut off.
func weigh(in Input, c Claim, limit iatp.TrustLevel) weighing {
	said, supported := declared(in.Manifest), ceiling(c)
	w := weighing{claim: c, level: min(said, supported, limit)}
	if in.Manifest == nil {
		w.add(CodeNoManifest, 0, "there is no manifest, so nothing is promised")
	}
	w.add(CodeLevel, basePoints[w.level], "trust level %s", w.level)
	if said > supported && supported <= limit {
		w.add(CodeLevelCapped, 0, "declares %s, believed as %s: %s supports no more", said, w.level, c.Evidence.phrase())
	}
	if in.Manifest != nil {
		w.promises(in)
		w.penalties(in.Manifest.Privacy)
	}
	if over := w.score - min(max(w.score, MinScore), MaxScore); over != 0 {
		w.add(CodeLimit, -over, "a score ends at %d and at %d", MinScore, MaxScore)
	}
	return w
}

// promises adds the bonuses that the claim lets count.
func (w *weighing) promises(in Input) {
	rev, keeps := in.Manifest.Reversibility.Level, in.Manifest.Privacy.RetentionPolicy
	if first := in.FirstContact; first != nil && (w.claim.Evidence == E2 || w.claim.Evidence == E3) {
		raised := false
		if !first.Reversibility.AtLeast(rev) {
			rev, raised = first.Reversibility, true
		}
		if keeps == iatp.RetentionEphemeral && first.Retention != iatp.RetentionEphemeral {
			keeps, raised = first.Retention, true
		}
		if raised {
			w.add(CodeClaimsRaised, 0, "promises more than when its key was first met; what it promised then counts")
		}
	}
	proven := w.claim.Evidence >= E1
	switch {
	case rev.Undoes() && proven:
		w.add(CodeReversibility, 2, "can undo (%s)", rev)
	case rev.Undoes():
		w.add(CodeReversibilityUnproven, 0, "says that it can undo (%s), not counted: %s", rev, w.claim.Evidence.phrase())
	}
	switch {
	case keeps == iatp.RetentionEphemeral && proven:
		w.add(CodeEphemeral, 1, "keeps nothing (ephemeral)")
	case keeps == iatp.RetentionEphemeral:
		w.add(CodeEphemeralUnproven, 0, "says that it keeps nothing (ephemeral), not counted: %s", w.claim.Evidence.phrase())
	}
}

// penalties take off points. They need no evidence.
func (w *weighing) penalties(p iatp.Privacy) {
	if p.RetentionPolicy.KeepsForever() {
		w.add(CodePermanentRetention, -1, "keeps data for ever (%s)", p.RetentionPolicy)
	}
	if p.HumanInLoop {
		w.add(CodeHumanInLoop, -2, "people may read what it is sent")
	}
	if p.TrainingConsent {
		w.add(CodeTrainingConsent, -1, "what it is sent may train models")
	}
}

var phrases = [...]string{
	E0: "an unsigned claim",
	E1: "a signature by the agent's own key",
	E2: "a pinned key",
	E3: "a workload identity",
	E4: "a federation chain",
	E5: "an endorsement",
	E6: "the operator's own word",
}

// phrase names the class in a sentence.
func (e Evidence) phrase() string { return phrases[min(e, E6)] }
