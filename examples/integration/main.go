// Command integration shows the two engines of the sidecar at work without one,
// for programs that embed them: policy with a rule of the operator, and recovery
// with a compensation.
//
//	go run ./examples/integration
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/recovery"
	"github.com/inter-agent-trust/iatp/trust"
)

const rules = `rules:
  - name: RequireIdempotency
    description: Block agents without idempotency
    action: deny
    conditions:
      idempotency: [false]
`

const (
	bookings = `{
  "identity": {"agent_id": "bookings"},
  "trust_level": "trusted",
  "capabilities": {"idempotency": true},
  "reversibility": {"level": "partial", "undo_window_seconds": 3600},
  "privacy": {"retention_policy": "ephemeral"}
}`
	letters = `{
  "identity": {"agent_id": "letters"},
  "trust_level": "trusted",
  "privacy": {"retention_policy": "permanent"}
}`
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "integration: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	set, err := policy.Parse("rules.yaml", []byte(rules))
	if err != nil {
		return err
	}
	for _, text := range []string{bookings, letters} {
		m, err := iatp.ParseOperatorManifest([]byte(text))
		if err != nil {
			return err
		}
		judge(out, set, m)
		fail(ctx, out, m)
	}
	return nil
}

// judge prints what the rules say of an agent, without and with a payment card.
func judge(out io.Writer, set *policy.Set, m *iatp.Manifest) {
	a := trust.Assess(trust.Input{
		Manifest: m,
		Claims:   []trust.Claim{{Evidence: trust.E6, Ceiling: iatp.VerifiedPartner}},
	})
	fmt.Fprintf(out, "%s: %s, score %d/10\n", m.Identity.AgentID, a.Level, a.Score)
	for _, c := range []struct {
		what     string
		findings []policy.Finding
	}{
		{"plain work", nil},
		{"a payment card", []policy.Finding{{Kind: iatp.CreditCard}}},
	} {
		v := set.Decide(policy.Facts{Manifest: m, Assessment: a, Findings: c.findings})
		fmt.Fprintf(out, "  %s: %s\n", c.what, v.Decision)
		if text := v.Denial() + v.Warning(); text != "" {
			fmt.Fprintf(out, "    %s\n", strings.ReplaceAll(text, "\n", "\n    "))
		}
	}
}

// fail lets a call to an agent break off, and prints how recovery ends it.
func fail(ctx context.Context, out io.Writer, m *iatp.Manifest) {
	f := recovery.Failure{
		TraceID: "trace-001", Kind: recovery.Reset, Sent: true, Err: errors.New("connection reset by peer"),
		Attempt: 1, Remaining: 200 * time.Millisecond,
	}
	stillDown := func(context.Context) error { return &recovery.Failure{Kind: recovery.Connect} }
	refund := func(context.Context) error { return nil }
	r := recovery.Handle(ctx, f, m, stillDown, refund)
	fmt.Fprintf(out, "  a call breaks off: %s, success %v\n", r.Strategy, r.Success)
	for _, action := range r.ActionsTaken {
		fmt.Fprintf(out, "    %s\n", action)
	}
}
