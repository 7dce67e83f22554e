package sidecar

import (
	"testing"

	"github.com/inter-agent-trust/iatp"
)

// Attempts of the first version are read too: a log outlives the program.
func TestAttemptsAreRead(t *testing.T) {
	base := iatp.Digest{7}
	for line, want := range map[string]string{
		`{"base":"` + base.Base64URL() + `","dir":"out","note":"key k1","type":"forward"}`:              "k1",
		`{"dir":"out","note":"base ` + base.Base64URL() + ` key k1","type":"forward"}`:                  "k1",
		`{"base":"` + base.Base64URL() + `","dir":"out","type":"forward"}`:                              "",
		`{"dir":"out","note":"base ` + base.Base64URL() + `","type":"forward"}`:                         "",
		`{"base":"` + base.Base64URL() + `","dir":"in","note":"key k1","type":"request"}`:               "",
		`{"dir":"out","note":"action ` + base.Base64URL() + `","type":"forward"}`:                       "",
		`{"base":"x","dir":"out","note":"key k1","type":"forward"}`:                                     "",
		`{"dir":"out","payload":{"note":"key k1","type":"forward"},"type":"request","base":"a"}`:        "",
		`{"base":"` + base.Base64URL() + `","dir":"out","note":"key k1","type":"forward","manifest":1}`: "",
	} {
		alias, one, ok := readAttempt([]byte(line))
		if ok != (want != "") || ok && (alias != want || one.base != base) {
			t.Errorf("%s: %q %v %v, want %q", line, alias, one, ok, want)
		}
	}
}
