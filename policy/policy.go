// Package policy decides whether an exchange may go ahead: facts in, [Verdict]
// out, with every reason. It is pure: no clock, no network, no people; only
// [Load] reads files. The zero Verdict denies, so whatever is forgotten is
// refused.
//
// [Set.Decide] works in this order, and a later step never undoes an earlier
// one:
//
//  1. Data blocks. A payment card for an agent that keeps data for good, or a
//     social security number for an agent that does not delete it at once, is
//     denied. Nothing and nobody lifts this. "ephemeral" unlocks a social
//     security number only at evidence E4 to E6, where the operator or an
//     authority has named the retention. An agent that names no retention
//     counts as not ephemeral and, at E0, as permanent. So is what the
//     operator's [DataRules] block; what they ask about is asked in step 4.
//  2. A revoked key or agent, and the operator's deny rules.
//  3. A key that changed without a handover, claims raised since first contact,
//     and the operator's requirements ([Requirements]) that are unmet ask a
//     person.
//  4. The operator's warn rules ask a person.
//  5. The score: 7 and above is allowed, anything below asks with low_trust,
//     unless an allow rule of the operator says otherwise.
//
// Everything a person should know (no reversibility, permanent storage, human
// review, training) is listed as a reason, also when the answer is Allow; a
// listed fact never changes the answer.
//
// # Rules
//
// A rule file is YAML, at most 256 KiB, with a list of rules under "rules", or
// the bare list:
//
//	rules:
//	  - name: RequireIdempotency
//	    description: Block agents that cannot be asked twice
//	    action: deny                # allow | warn | deny
//	    conditions:
//	      idempotency: [false]
//
// All conditions of a rule must hold; a condition holds if any of its values
// does. Deny beats warn beats allow, whatever the order in the files, and every
// rule that matches is named in the reasons. A rule without conditions would
// match every exchange and is refused, and so is everything else that is not
// understood: an unknown field or action, a value of the wrong type, a name
// used twice, an alias, anchor or tag.
//
// These are the fields. Where a comparison is possible, a value is "<5", "<=5",
// ">5" or ">=5", in quotes, besides the plain value.
//
//	agent_id             text, compared exactly
//	owner                text, compared exactly
//	uri                  text, compared exactly
//	storage_location     text, compared exactly
//	scopes               texts: what the manifest lists
//	trust_level          untrusted < unknown < standard < trusted <
//	                     verified_partner: the effective level; compares
//	declared_trust_level the same, as the manifest says it; compares
//	score                0 to 10; compares (alias trust_score)
//	evidence             E0 to E6; compares
//	idempotency          true, false
//	reversibility        none < partial < full; compares
//	undo_window_seconds  seconds; compares; or unstated, which compares as the
//	                     shortest; a window without a limit is the longest
//	sla_latency_ms       milliseconds; compares; or unstated, which compares as
//	                     the longest
//	retention_policy     ephemeral < temporary < permanent (= forever), or
//	                     unstated; compares; unstated compares as the longest
//	                     (alias retention)
//	human_in_loop        true, false (alias human_review)
//	training_consent     true, false
//	data                 kinds found in the request (credit_card, api_key, …: iatp
//	                     scan-text --kinds lists them), groups of kinds (payment,
//	                     secrets, contact, health, devices, identity, custom), any,
//	                     or none; with a place: "email at /guest", where * stands
//	                     for any one segment and all below the place counts
//	tainted              true, false: the trace holds a quarantined exchange
//
// A field with several values in one exchange (data, scopes) holds for warn and
// deny if one of them is named, and for allow only if each of them is: a rule
// that allows e-mail addresses does not let a payment card ride along, and one
// that allows them at /guest none that stands elsewhere.
//
// # Data
//
// [DataRules] say what becomes of each finding: block, ask, redact, mask or
// record. They can only be stricter than the data blocks of step 1.
//
// # What an allow rule can do
//
// It lifts the question that a low score asks: the operator may decide that. It
// never lifts a data block, a deny or warn rule, or what steps 1 to 3 ask. And
// it does not take the agent's own word: what a manifest says of itself
// (agent_id, owner, storage_location, scopes, declared_trust_level,
// idempotency, reversibility, undo_window_seconds, sla_latency_ms,
// retention_policy, human_in_loop, training_consent) satisfies an allow rule
// only from evidence E2 up, and uri from E1 up, where the origin has signed
// for it. Deny and warn rules believe the worst at any evidence.
package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// A Decision is what may happen to an exchange. The zero value denies.
type Decision uint8

const (
	Deny  Decision = iota // refuse; nobody can lift it
	Ask                   // a person may release it
	Allow                 // go ahead
)

// String returns "deny", "ask" or "allow".
func (d Decision) String() string {
	switch d {
	case Ask:
		return "ask"
	case Allow:
		return "allow"
	}
	return "deny"
}

// AllowScore is the lowest trust score that is allowed without a question.
const AllowScore = 7

// grantScore is the score below which only a signed grant may release an
// exchange, once approvers are configured.
const grantScore = 3

// Codes of the reasons that are not rules of the operator. They go into
// problems, records and action digests, so they are part of the protocol.
const (
	CodeLowTrust           = "low_trust"
	CodeNoReversibility    = "no_reversibility"
	CodePermanentRetention = "permanent_retention"
	CodeHumanReview        = "human_review"
	CodeTrainingConsent    = "training_consent"
	CodeRequirementUnmet   = "requirement_unmet"
	CodePrivacyViolation   = "privacy_violation"
	CodeTaintedTrace       = "tainted_trace"
	CodeSensitiveData      = "sensitive_data"
	CodeDataRedacted       = "data_redacted"
	CodeOpaqueContent      = "opaque_content"
	CodeNoManifest         = "no_manifest"
	CodeRevoked            = trust.CodeRevoked
	CodeKeyChanged         = trust.CodeKeyChanged
	CodeClaimsRaised       = trust.CodeClaimsRaised
	CodeLogForked          = trust.CodeLogForked
)

// Names of the built-in rules that deny, as [Reason].Rule. No rule of the
// operator can have such a name.
const (
	RuleCardPermanent   = "builtin:card-permanent-retention"
	RuleSSNNotEphemeral = "builtin:ssn-non-ephemeral-retention"
	RuleRevoked         = "builtin:revoked"
	RuleNoManifest      = "builtin:no-manifest"
)

// An Action is what one rule or reason asks for.
type Action string

const (
	ActionNote  Action = ""      // listed, decides nothing
	ActionAllow Action = "allow" // lifts the question of a low score
	ActionWarn  Action = "warn"  // asks a person
	ActionDeny  Action = "deny"  // refuses
)

// A Reason is one thing that spoke in a decision.
type Reason struct {
	Code   string // stable word: one of the Code constants, or the name of an operator's rule
	Text   string // one line for a person, without a full stop
	Action Action // what this reason asks for
	Rule   string // name of the rule, empty for a score, a requirement or a listed fact
	File   string // where the rule is written; empty for built-in rules
	Line   int    // 1-based, 0 for built-in rules
}

// A Verdict is a decision with its reasons, those that decide first. The zero
// Verdict denies.
type Verdict struct {
	Decision Decision
	Reasons  []Reason

	// Slug names the problem type of a denial: privacy-violation if a data
	// block spoke, revoked, or policy. Empty unless Decision is Deny.
	Slug string

	// Redact: some of what was found may go on only redacted or masked, as
	// [Set.Treat] says of each.
	Redact bool

	// GrantOnly: the exchange waits for a signed grant, the override header
	// does not release it (score below 3 where approvers are configured).
	GrantOnly bool
}

// Codes returns the codes of all reasons, unique and sorted by bytes: the form
// in which an action digest and a record hold them.
func (v Verdict) Codes() []string {
	if len(v.Reasons) == 0 {
		return nil
	}
	codes := make([]string, 0, len(v.Reasons))
	for i := range v.Reasons {
		codes = append(codes, v.Reasons[i].Code)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// Warning returns the text for the person who is asked, one bullet a reason.
// It is empty unless the decision is Ask.
func (v Verdict) Warning() string {
	if v.Decision != Ask {
		return ""
	}
	var b strings.Builder
	b.WriteString("⚠️ WARNING:")
	for i := range v.Reasons {
		b.WriteString("\n  • ")
		b.WriteString(v.Reasons[i].Text)
	}
	return b.String()
}

// Denial returns the text of a refusal: "Privacy Violation: " or "Policy: ",
// then what each denying reason says. It is empty unless the decision is Deny.
func (v Verdict) Denial() string {
	if v.Decision != Deny {
		return ""
	}
	var texts []string
	for i := range v.Reasons {
		if v.Reasons[i].Action == ActionDeny {
			texts = append(texts, v.Reasons[i].Text)
		}
	}
	if len(texts) == 0 {
		texts = []string{"nothing allows this exchange"}
	}
	title := "Policy: "
	if v.Slug == iatp.SlugPrivacyViolation {
		title = "Privacy Violation: "
	}
	return title + strings.Join(texts, "; ")
}

// Requirements are what the operator wants of every agent before it is given
// work. The zero value requires nothing. A value that is not known is met by no
// agent. What an agent promises counts only where its evidence lets promises
// count ([trust.Assessment].Bonuses).
type Requirements struct {
	Reversibility iatp.ReversibilityLevel // at least this
	UndoWindow    time.Duration           // at least this long
	Retention     iatp.RetentionPolicy    // data kept at most this long
}

// Facts are all that a decision rests on.
type Facts struct {
	Manifest   *iatp.Manifest   // of the receiver of the data; nil denies
	Assessment trust.Assessment // of that manifest
	Findings   []Finding        // what was found in the request, as FindingsOf makes it
	Opaque     bool             // a part of the request could not be read
	Call       string           // local, out or in, for data rules
	Peer       string           // its name in the configuration, for data rules
	Tainted    bool             // the trace holds a quarantined exchange: listed, never decides
	Require    Requirements     // what the operator asks of every agent
	CanGrant   bool             // an approver key is configured
}

// A Set is the built-in rules and those of the operator. The zero Set, and a
// nil *Set, hold the built-in rules only. A Set does not change after it is
// made, so it is safe for concurrent use; to change rules, load another.
type Set struct {
	rules  []rule // in the order of the files
	data   *DataRules
	digest string // set by compile; see Digest
}

// Decide judges one exchange. It takes no locks and, when nothing speaks
// against the exchange, allocates nothing.
func (s *Set) Decide(f Facts) Verdict {
	if f.Manifest == nil {
		return Verdict{Slug: iatp.SlugPolicy, Reasons: []Reason{noManifest}}
	}
	m := matches{deny: blocks(&f)}
	if len(f.Findings) > 0 || f.Opaque {
		s.dataRules().match(&f, &m)
	}
	s.match(&f, &m)
	if len(m.deny) > 0 {
		return Verdict{Slug: slugOf(&m.deny[0]), Reasons: slices.Concat(m.deny, m.warn, m.allow)}
	}
	return weigh(&f, &m)
}

// slugOf is the problem type that the first reason of a denial leads to.
func slugOf(r *Reason) string {
	switch r.Code {
	case CodePrivacyViolation:
		return iatp.SlugPrivacyViolation
	case CodeRevoked:
		return iatp.SlugRevoked
	}
	return iatp.SlugPolicy
}

// matches are the rules that hold for an exchange, as reasons by what they ask.
type matches struct {
	deny, warn, allow []Reason
	note              []Reason // listed, decide nothing
	redact            bool
}

// match adds the operator's rules that hold for f.
func (s *Set) match(f *Facts, m *matches) {
	if s == nil {
		return
	}
	for i := range s.rules {
		r := &s.rules[i]
		if !r.holds(f) {
			continue
		}
		switch r.reason.Action {
		case ActionAllow:
			m.allow = append(m.allow, r.reason)
		case ActionWarn:
			m.warn = append(m.warn, r.reason)
		default:
			m.deny = append(m.deny, r.reason)
		}
	}
}

// weigh decides an exchange that nothing denies.
func weigh(f *Facts, m *matches) Verdict {
	required := append(distrust(f), unmet(f)...)
	low := f.Assessment.Score < AllowScore
	lifted := low && len(m.allow) > 0
	v := Verdict{Decision: Allow, Redact: m.redact}
	if len(required) > 0 || len(m.warn) > 0 || low && !lifted {
		v.Decision = Ask
		v.GrantOnly = f.CanGrant && f.Assessment.Score < grantScore
	}
	known := notesOf(f)
	n := len(required) + len(m.warn) + len(m.allow) + len(m.note) + known.count()
	if low {
		n++
	}
	if n == 0 {
		return v
	}
	v.Reasons = make([]Reason, 0, n)
	v.Reasons = append(v.Reasons, required...)
	v.Reasons = append(v.Reasons, m.warn...)
	v.Reasons = append(v.Reasons, m.allow...)
	if low {
		v.Reasons = append(v.Reasons, lowTrust(f.Assessment.Score, lifted))
	}
	v.Reasons = append(v.Reasons, m.note...)
	v.Reasons = known.appendTo(v.Reasons)
	return v
}
