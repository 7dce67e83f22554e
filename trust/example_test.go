package trust_test

import (
	"fmt"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

func ExampleAssess() {
	m, err := iatp.ParseManifest([]byte(`{
		"identity": {"agent_id": "stranger"},
		"trust_level": "verified_partner",
		"reversibility": {"level": "full"}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	a := trust.Assess(trust.Input{Manifest: m}) // nothing but its own word
	fmt.Printf("%d/10, %s, %s\n", a.Score, a.Level, a.Evidence)
	for _, r := range a.Reasons {
		fmt.Printf("%+d  %s\n", r.Points, r.Text)
	}
	// Output:
	// 2/10, unknown, E0
	// +2  trust level unknown
	// +0  declares verified_partner, believed as unknown: an unsigned claim supports no more
	// +0  says that it can undo (full), not counted: an unsigned claim
}
