package main

import (
	"encoding/json"
	"fmt"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/sidecar"
	"github.com/inter-agent-trust/iatp/trust"
)

// assessed is an assessment as programs read it.
type assessed struct {
	Score    int              `json:"score"`
	Level    iatp.TrustLevel  `json:"level"`
	Declared iatp.TrustLevel  `json:"declared_level"`
	Evidence string           `json:"evidence"`
	Reasons  []assessedReason `json:"reasons"`
}

type assessedReason struct {
	Code   string `json:"code"`
	Points int    `json:"points"`
	Text   string `json:"text"`
}

func assessedOf(a *trust.Assessment) assessed {
	out := assessed{Score: a.Score, Level: a.Level, Declared: a.Declared, Evidence: a.Evidence.String(), Reasons: []assessedReason{}}
	for _, r := range a.Reasons {
		out.Reasons = append(out.Reasons, assessedReason{r.Code, r.Points, r.Text})
	}
	return out
}

// The two ways to look at a manifest.
const (
	asOperator = "operator" // it is my own agent's file
	asStranger = "stranger" // it came from the network, unsigned
)

// assess weighs a manifest as its operator or as a stranger sees it.
func assess(m *iatp.Manifest, as string) (trust.Assessment, error) {
	in := trust.Input{Manifest: m}
	switch as {
	case asOperator:
		in.Claims = []trust.Claim{{Evidence: trust.E6, Ceiling: iatp.VerifiedPartner}}
	case asStranger:
	default:
		return trust.Assessment{}, usagef("--as %q is not one of %s, %s", as, asOperator, asStranger)
	}
	return trust.Assess(in), nil
}

// printManifest writes what a manifest says, for a person.
func printManifest(out page, m *iatp.Manifest) {
	out.line("%s", out.in(bold, shown(string(m.Identity.AgentID))))
	row := func(label, text string) {
		if text != "" {
			out.row(label, manifestWidth, text)
		}
	}
	row("owner", shown(m.Identity.Owner))
	row("uri", shown(m.Identity.URI))
	row("contact", shown(m.Identity.Contact))
	row("declares", m.TrustLevel.String())
	row("undo", undoText(&m.Reversibility))
	row("retention", retentionText(&m.Privacy))
	row("people", chosen(m.Privacy.HumanInLoop, "may read what it is sent", "not said to read along"))
	row("training", chosen(m.Privacy.TrainingConsent, "what it is sent may train models", "not said to train models"))
	row("idempotent", chosen(m.Capabilities.Idempotency, "yes: a request may be sent again", "no"))
	if n := m.Capabilities.ConcurrencyLimit; n > 0 {
		row("at once", fmt.Sprintf("%d calls", n))
	}
	if ms := m.Capabilities.SLALatencyMS; ms > 0 {
		row("answers", fmt.Sprintf("within %d ms", ms))
	}
	for i, s := range m.Scopes {
		row(chosen(i == 0, "scopes", ""), shown(s))
	}
	if !m.ExpiresAt.IsZero() {
		row("expires", m.ExpiresAt.UTC().Format("2006-01-02 15:04 UTC"))
	}
}

const manifestWidth = 10

func chosen(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

func undoText(r *iatp.Reversibility) string {
	if !r.Level.Undoes() {
		return "nothing (none)"
	}
	text := string(r.Level)
	switch w := r.UndoWindowSeconds; {
	case w == nil:
		text += ", no window promised"
	case *w == 0:
		text += ", without a time limit"
	default:
		text += fmt.Sprintf(", within %d s", *w)
	}
	if r.CompensationMethod != "" {
		text += ", by " + shown(r.CompensationMethod)
	}
	if r.MaxFee != "" {
		text += ", for at most " + shown(r.MaxFee+" "+r.Currency)
	}
	return text
}

func retentionText(p *iatp.Privacy) string {
	if p.RetentionPolicy == "" {
		return "not stated"
	}
	text := string(p.RetentionPolicy)
	if p.RetentionDurationSeconds > 0 {
		text += fmt.Sprintf(", %d s", p.RetentionDurationSeconds)
	}
	return text
}

// printAssessment writes score and reasons, for a person.
func printAssessment(out page, a *trust.Assessment) {
	out.row("score", manifestWidth, scoreText(out, a)+"\n"+reasonsText(a.Reasons))
}

// printOutlook says what a sidecar would do with calls to this agent.
func printOutlook(out page, m *iatp.Manifest, a trust.Assessment) {
	facts := policy.Facts{Manifest: m, Assessment: a}
	for i, o := range sidecar.Outlooks(nil, facts) {
		out.row(chosen(i == 0, "calls", ""), manifestWidth, outlookText(out, o))
	}
}

// rawJSON is a document for embedding, or null.
func rawJSON(b []byte) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage("null")
	}
	return b
}
