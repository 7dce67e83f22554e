package policy_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/trust"
)

const rules = `rules:
  - name: RequireIdempotency
    description: Block agents without idempotency
    action: deny
    conditions:
      idempotency: [false]
`

// honeypot is an agent that keeps everything, by its operator's own file.
func honeypot() (*iatp.Manifest, trust.Assessment) {
	m := &iatp.Manifest{
		Identity:     iatp.Identity{AgentID: "untrusted-agent"},
		TrustLevel:   iatp.Untrusted,
		Capabilities: iatp.Capabilities{Idempotency: true},
		Privacy:      iatp.Privacy{RetentionPolicy: iatp.RetentionPermanent},
	}
	return m, trust.Assess(trust.Input{
		Manifest: m,
		Claims:   []trust.Claim{{Evidence: trust.E6, Ceiling: iatp.VerifiedPartner}},
	})
}

func ExampleSet_Decide() {
	set, err := policy.Parse("base.yaml", []byte(rules))
	if err != nil {
		fmt.Println(err)
		return
	}
	m, assessment := honeypot()

	verdict := set.Decide(policy.Facts{Manifest: m, Assessment: assessment})
	fmt.Println(verdict.Decision)
	fmt.Println(verdict.Warning())

	verdict = set.Decide(policy.Facts{Manifest: m, Assessment: assessment, Findings: []policy.Finding{{Kind: iatp.CreditCard}}})
	fmt.Println(verdict.Decision)
	fmt.Println(verdict.Denial())
	// Output:
	// ask
	// ⚠️ WARNING:
	//   • Low trust score (0/10)
	//   • No reversibility
	//   • Data stored permanently
	// deny
	// Privacy Violation: Agent stores data permanently, and the request holds a payment card
}

func ExampleParse() {
	_, err := policy.Parse("base.yaml", []byte("rules:\n  - name: Mine\n    action: block\n    conditions: {idempotent: [false]}\n"))
	fmt.Println(err)
	// Output:
	// base.yaml:3:13: unknown action "block"; want allow, warn or deny
	// base.yaml:4:18: unknown field "idempotent"; the fields are agent_id, owner, uri, storage_location, scopes, trust_level, declared_trust_level, score, evidence, idempotency, reversibility, undo_window_seconds, sla_latency_ms, retention_policy, human_in_loop, training_consent, data, tainted
}

func ExampleLoad() {
	dir, err := os.MkdirTemp("", "policy")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "base.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	set, err := policy.Load(file)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range set.Rules() {
		fmt.Println(r.Action, r.Name, r.Conditions)
	}
	// Output: deny RequireIdempotency [{idempotency [false]}]
}
