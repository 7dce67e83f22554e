package iatp_test

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/inter-agent-trust/iatp"
)

func ExampleParseManifest() {
	_, err := iatp.ParseManifest([]byte(`{
  "identity": {"agent_id": "bank"},
  "trust_level": "gold"
}`))
	fmt.Println(err)

	m, err := iatp.ParseManifest([]byte(`{"identity": {"agent_id": "bank"}, "trust_level": "trusted"}`))
	fmt.Println(m.Identity.AgentID, m.TrustLevel, err)
	// Output:
	// line 3, column 18, at /trust_level: trust_level must be one of verified_partner, trusted, standard, unknown, untrusted, got "gold"
	// bank trusted <nil>
}

func ExampleParseOperatorManifest() {
	m, err := iatp.ParseOperatorManifest([]byte(`{
		"agent_id": "my-agent",
		"trust_level": "trusted",
		"capabilities": {"reversibility": "full", "undo_window": "24h"}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(m.Bytes()))
	// Output:
	// {"trust_level":"trusted","capabilities":{},"identity":{"agent_id":"my-agent"},"reversibility":{"level":"full","undo_window_seconds":86400}}
}

func ExampleManifest_VerifySignature() {
	data, err := os.ReadFile("spec/vectors/manifest.json")
	if err != nil {
		log.Fatal(err)
	}
	m, err := iatp.ParseManifest(data)
	if err != nil {
		log.Fatal(err)
	}
	signers, err := m.VerifySignature()
	if err != nil {
		log.Fatal(err)
	}
	digest, _ := m.Digest()
	fmt.Println(digest)
	fmt.Println("signed by", signers[0].Thumbprint())
	// Output:
	// sha-256=:PPYNByHqITZCThYjTCDuY2uaSTlORi2wbrifliVhVlI=:
	// signed by lE51E3MevnF670f9fhD7-IzcjRcCfrWzAdaJXevvjqk
}

func ExampleProblem() {
	out, err := json.MarshalIndent(&iatp.Problem{
		Slug:   iatp.SlugQuotaExceeded,
		Status: 429,
		Error:  "the agent takes 5 requests at once",
		Hint:   "try again in a second",
	}, "", "  ")
	fmt.Println(string(out), err)
	// Output:
	// {
	//   "type": "https://inter-agent-trust.org/problems/quota-exceeded",
	//   "title": "Quota exceeded",
	//   "status": 429,
	//   "error": "the agent takes 5 requests at once",
	//   "hint": "try again in a second"
	// } <nil>
}

func ExamplePrintable() {
	fmt.Println(iatp.Printable("all good\u202e\x1b[2J"))
	// Output: all good\u202e\x1b[2J
}

func ExampleTraceID_Bits() {
	bits, ok := iatp.TraceID("e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e9f").Bits()
	fmt.Println(iatp.TraceParent{TraceID: bits, SpanID: [8]byte{7: 1}, Flags: iatp.Sampled}, ok)
	// Output: 00-e4b5c6d78a9b0c1d2e3f4a5b6c7d8e9f-0000000000000001-01 true
}
