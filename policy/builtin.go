package policy

import (
	"math/bits"
	"slices"
	"strconv"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// noManifest is what is left to say when the caller has assessed nothing.
var noManifest = Reason{
	Code: CodeNoManifest, Rule: RuleNoManifest, Action: ActionDeny,
	Text: "the agent has no manifest to judge it by",
}

// blocks returns what nobody can lift: the data blocks, then a revocation.
func blocks(f *Facts) []Reason {
	var held []Reason
	if holdsKind(f.Findings, iatp.CreditCard) {
		if text := cardBlock(f); text != "" {
			held = append(held, privacyReason(RuleCardPermanent, text))
		}
	}
	if holdsKind(f.Findings, iatp.SSN) {
		if text := ssnBlock(f); text != "" {
			held = append(held, privacyReason(RuleSSNNotEphemeral, text))
		}
	}
	if slices.ContainsFunc(f.Assessment.Reasons, func(r trust.Reason) bool { return r.Code == trust.CodeRevoked }) {
		held = append(held, Reason{
			Code: CodeRevoked, Rule: RuleRevoked, Action: ActionDeny, Text: "the key or the agent was revoked",
		})
	}
	return held
}

// distrust returns what an assessment found that a person must see, whatever the
// score: no rule of the operator was written with it in mind.
func distrust(f *Facts) (reasons []Reason) {
	for i := range f.Assessment.Reasons {
		switch r := &f.Assessment.Reasons[i]; r.Code {
		case trust.CodeKeyChanged, trust.CodeClaimsRaised, trust.CodeLogForked:
			reasons = append(reasons, Reason{Code: r.Code, Text: r.Text, Action: ActionWarn})
		}
	}
	return reasons
}

func privacyReason(rule, text string) Reason {
	return Reason{Code: CodePrivacyViolation, Text: text, Action: ActionDeny, Rule: rule}
}

// cardBlock says why a payment card may not go to this agent, or nothing.
func cardBlock(f *Facts) string {
	switch retentionOf(f.Manifest) {
	case retainPermanent:
		return "Agent stores data permanently, and the request holds a payment card"
	case retainUnstated:
		if f.Assessment.Evidence == trust.E0 {
			return "Agent stores data permanently for all anyone knows (it names no retention, and nothing vouches for it), and the request holds a payment card"
		}
	}
	return ""
}

// ssnBlock says why a social security number may not go to this agent, or
// nothing.
func ssnBlock(f *Facts) string {
	switch retentionOf(f.Manifest) {
	case retainPermanent:
		return "Agent stores data permanently, and the request holds a social security number"
	case retainTemporary:
		return "Agent stores data for a time (retention is not ephemeral), and the request holds a social security number"
	case retainUnstated:
		return "Agent names no retention, so it may store data, and the request holds a social security number"
	}
	if !f.Assessment.RetentionVouched() {
		return "Agent says that it stores nothing, but neither the operator nor an authority vouches for that (evidence " +
			f.Assessment.Evidence.String() + "), and the request holds a social security number"
	}
	return ""
}

// retention orders the policies by how long data lives. An absent policy is
// held to be the longest where it is compared.
type retention uint8

const (
	retainEphemeral retention = iota
	retainTemporary
	retainPermanent // "permanent" and "forever" mean the same
	retainUnstated
)

// retentionOf reads the policy of a manifest. A value that no parser lets
// through counts as permanent.
func retentionOf(m *iatp.Manifest) retention {
	switch m.Privacy.RetentionPolicy {
	case iatp.RetentionEphemeral:
		return retainEphemeral
	case iatp.RetentionTemporary:
		return retainTemporary
	case "":
		return retainUnstated
	}
	return retainPermanent
}

// undoing orders the levels of reversibility.
type undoing uint8

const (
	undoNone undoing = iota
	undoPartial
	undoFull
)

// undoingOf reads the level of a manifest. A value that no parser lets through
// counts as none.
func undoingOf(m *iatp.Manifest) undoing {
	switch m.Reversibility.Level {
	case iatp.ReversibilityPartial:
		return undoPartial
	case iatp.ReversibilityFull:
		return undoFull
	}
	return undoNone
}

// notes is the set of facts worth listing, a bit each, in the order of noted.
type notes uint8

// noted are the facts in the order in which a warning lists them.
var noted = [...]Reason{
	{Code: CodeNoReversibility, Text: "No reversibility"},
	{Code: CodePermanentRetention, Text: "Data stored permanently"},
	{Code: CodeHumanReview, Text: "A person may read your data"},
	{Code: CodeTrainingConsent, Text: "Your data may be used for training"},
	{Code: CodeTaintedTrace, Text: "An earlier exchange of this trace is quarantined"},
}

func notesOf(f *Facts) notes {
	var n notes
	for i, holds := range [len(noted)]bool{
		undoingOf(f.Manifest) == undoNone,
		retentionOf(f.Manifest) == retainPermanent,
		f.Manifest.Privacy.HumanInLoop,
		f.Manifest.Privacy.TrainingConsent,
		f.Tainted,
	} {
		if holds {
			n |= 1 << i
		}
	}
	return n
}

func (n notes) count() int { return bits.OnesCount8(uint8(n)) }

func (n notes) appendTo(reasons []Reason) []Reason {
	for i := range noted {
		if n&(1<<i) != 0 {
			reasons = append(reasons, noted[i])
		}
	}
	return reasons
}

// lowTrustTexts has one text for each score that is not allowed by itself.
var lowTrustTexts = func() (texts [AllowScore]string) {
	for score := range texts {
		texts[score] = "Low trust score (" + strconv.Itoa(score) + "/10)"
	}
	return texts
}()

// lowTrust is the reason for asking about a score below AllowScore; lifted, it
// is still listed.
func lowTrust(score int, lifted bool) Reason {
	r := Reason{Code: CodeLowTrust, Text: lowTrustTexts[max(score, 0)], Action: ActionWarn}
	if lifted {
		r.Action = ActionNote
	}
	return r
}

// unmet returns a reason for each requirement that the agent does not meet.
func unmet(f *Facts) []Reason {
	if f.Require == (Requirements{}) {
		return nil
	}
	var texts []string
	texts = appendUnmetUndo(texts, f)
	texts = appendUnmetWindow(texts, f)
	texts = appendUnmetRetention(texts, f)
	reasons := make([]Reason, 0, len(texts))
	for _, text := range texts {
		reasons = append(reasons, Reason{Code: CodeRequirementUnmet, Text: text, Action: ActionWarn})
	}
	return reasons
}

// unbacked ends the text of a promise that is made but not believed.
func unbacked(f *Facts) string {
	return ", but nothing backs the promise (evidence " + f.Assessment.Evidence.String() + ")"
}

func appendUnmetUndo(texts []string, f *Facts) []string {
	need := f.Require.Reversibility
	if need == "" || need == iatp.ReversibilityNone {
		return texts
	}
	const start = "Agent cannot UNDO this: "
	have := undoingOf(f.Manifest)
	required := ` (you require "` + string(need) + `")`
	switch {
	case need == iatp.ReversibilityFull && have == undoPartial:
		return append(texts, `Agent can UNDO this only in part`+required)
	case need != iatp.ReversibilityFull && need != iatp.ReversibilityPartial:
		return append(texts, start+"no agent meets the requirement"+required)
	case have == undoNone:
		return append(texts, start+`reversibility is "none"`+required)
	case !f.Assessment.Bonuses:
		return append(texts, start+`it says reversibility "`+string(f.Manifest.Reversibility.Level)+`"`+unbacked(f)+required)
	}
	return texts
}

func appendUnmetWindow(texts []string, f *Facts) []string {
	need := f.Require.UndoWindow
	if need <= 0 {
		return texts
	}
	have, stated := windowOf(f.Manifest)
	required := " (you require " + need.String() + ")"
	switch {
	case !stated:
		return append(texts, "Agent promises no time in which it can UNDO this"+required)
	case have < int64((need+time.Second-1)/time.Second):
		return append(texts, "Agent can UNDO this for only "+strconv.FormatInt(have, 10)+" s"+required)
	case !f.Assessment.Bonuses:
		return append(texts, "Agent promises time to UNDO this"+unbacked(f)+required)
	}
	return texts
}

func appendUnmetRetention(texts []string, f *Facts) []string {
	var most retention
	switch f.Require.Retention {
	case "", iatp.RetentionPermanent, iatp.RetentionForever:
		return texts
	case iatp.RetentionTemporary:
		most = retainTemporary
	case iatp.RetentionEphemeral:
		most = retainEphemeral
	default:
		return append(texts, `No agent meets the required retention "`+string(f.Require.Retention)+`"`)
	}
	required := ` (you require "` + string(f.Require.Retention) + `")`
	switch have := retentionOf(f.Manifest); {
	case have == retainUnstated:
		return append(texts, "Agent does not say how long it stores data"+required)
	case have > most:
		return append(texts, `Agent stores data for longer: retention is "`+string(f.Manifest.Privacy.RetentionPolicy)+`"`+required)
	case !f.Assessment.Bonuses:
		return append(texts, `Agent says retention is "`+string(f.Manifest.Privacy.RetentionPolicy)+`"`+unbacked(f)+required)
	}
	return texts
}
