package sidecar

import (
	"context"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/privacy"
	"github.com/inter-agent-trust/iatp/trust"
)

// Summary is what a person who starts a sidecar wants to know of it.
type Summary struct {
	AgentID    iatp.AgentID
	Agent      string // URL
	Manifest   string // file; empty if there is none
	Assessment trust.Assessment
	Override   OverrideMode // with auto resolved
	Outlook    []Outlook
}

// Outlook is what would become of one kind of call now.
type Outlook struct {
	Call    string // in words
	Verdict policy.Verdict
}

// Summary describes how the wrapped agent stands at this moment.
func (s *Sidecar) Summary() Summary { return s.standing.Load().summary(s.active.Load()) }

// AgentUp reports whether the wrapped agent accepts connections now, after a
// second at the latest. It sends nothing.
func (s *Sidecar) AgentUp(ctx context.Context) bool { return s.dialAgent(ctx) == nil }

// Check validates cfg as New would, with its manifest, rules and secrets, and
// leaves the data directory alone.
func Check(cfg Config) (Summary, error) {
	if err := cfg.Validate(); err != nil {
		return Summary{}, err
	}
	st, err := cfg.load()
	if err != nil {
		return Summary{}, err
	}
	for key, path := range map[string]string{"override_token": cfg.OverrideToken, "operator_token": cfg.OperatorToken} {
		if path == "" {
			continue
		}
		if _, err := readSecret(key, path); err != nil {
			return Summary{}, err
		}
	}
	if _, err := cfg.loadKeys(time.Now()); err != nil {
		return Summary{}, err
	}
	if _, err := cfg.loadCertificates(); err != nil {
		return Summary{}, err
	}
	if _, err := cfg.handshakeOptions(); err != nil {
		return Summary{}, err
	}
	return st.summary(&cfg), nil
}

func (st *standing) summary(c *Config) Summary {
	facts := policy.Facts{Manifest: st.manifest, Assessment: st.assessment, Require: st.require}
	return Summary{
		AgentID: st.manifest.Identity.AgentID, Agent: c.Agent, Manifest: c.Manifest,
		Assessment: st.assessment, Override: c.overrideMode(), Outlook: Outlooks(st.rules, facts),
	}
}

// Outlooks says what rules decide about a few kinds of call to an agent. The
// findings of the facts are replaced by those of each kind.
func Outlooks(rules *policy.Set, facts policy.Facts) []Outlook {
	kinds := []struct {
		call     string
		findings []policy.Finding
	}{
		{"a plain call", nil},
		{"with a payment card", []policy.Finding{{Kind: iatp.CreditCard}}},
		{"with a social security number", []policy.Finding{{Kind: iatp.SSN}}},
	}
	out := make([]Outlook, len(kinds))
	for i, k := range kinds {
		facts.Findings = k.findings
		out[i] = Outlook{k.call, rules.Decide(facts)}
	}
	return out
}

// Findings returns the sensitive data that a sidecar with this configuration finds
// in the body of a request, and whether a part of it cannot be read. The error says where the body is
// not the JSON that a sidecar takes.
func (c *Config) Findings(body []byte) (found []policy.Finding, opaque bool, err error) {
	looks, err := c.Privacy.load()
	if err != nil {
		return nil, false, err
	}
	scanner, err := privacy.NewWith(looks.least())
	if err != nil {
		return nil, false, err
	}
	report, err := scanner.ScanJSON(body, ijson.Limits{Depth: c.Limits.Depth})
	if err != nil {
		return nil, false, err
	}
	return looks.rules.FindingsOf(report), len(report.Opaque) > 0, nil
}

// Rules loads rule files as a sidecar with this configuration does: they may speak of
// its own kinds of data, and its privacy section holds.
func (c *Config) Rules(files ...string) (*policy.Set, error) {
	looks, err := c.Privacy.load()
	if err != nil {
		return nil, err
	}
	set, err := policy.LoadKinds(looks.kinds, files...)
	if err != nil {
		return nil, err
	}
	return set.With(looks.rules), nil
}
