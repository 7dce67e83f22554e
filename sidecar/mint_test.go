package sidecar

import (
	"testing"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/privacy"
)

// TestMintedIDsAreClean holds minted ids to the scanner of a peer: an id that looks
// like a card number would be refused there.
func TestMintedIDsAreClean(t *testing.T) {
	scanner := privacy.New()
	for range 50_000 {
		id := string(mintTrace())
		for _, text := range []string{id, iatp.FormatIdempotencyKey(id), "close:" + id} {
			if found := scanner.ScanText([]byte(text)).Findings; len(found) > 0 {
				t.Fatalf("%s looks like %v", text, found)
			}
		}
	}
	for id, want := range map[string]bool{
		"40768410-0268-4783-a4b9-689dc2a84f46": true, // a card number
		"edc9afdf-5b10-46fa-be14-96d105c6e290": true, // an IBAN
		"a123456b-0a0b-4a0b-8a0b-a0b0c0d0e0f0": false,
		"a12345b6-12a4-4a0b-8a0b-a0b0c0d0e0f0": false,
	} {
		if got := accountLike(id); got != want {
			t.Errorf("accountLike(%q) = %t, want %t", id, got, want)
		}
	}
}
