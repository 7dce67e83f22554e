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

// What an attempt is held to outlives a snapshot; one of an earlier version has no time.
func TestAttemptsAreKept(t *testing.T) {
	base, mft := iatp.Digest{7}, iatp.Digest{8}
	first := &attempts{bases: map[string][]attempt{}}
	first.Apply(1, []byte(`{"base":"`+base.Base64URL()+`","dir":"out","manifest":"`+mft.ContentDigest()+`","note":"key k1","timestamp":"2026-11-23T12:00:01.5Z","type":"forward"}`))
	var second attempts
	if err := second.Restore(first.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if one, ok := second.find("k1", base); !ok || one.mft != mft || !one.agr.IsZero() || one.at.Unix() != 1795435201 {
		t.Errorf("attempt after a snapshot = %+v, %v", one, ok)
	}
	if err := second.Restore([]byte(`[["k1","` + base.Base64URL() + `","",""]]`)); err != nil {
		t.Fatal(err)
	}
	if one, ok := second.find("k1", base); !ok || !one.at.IsZero() {
		t.Errorf("attempt of an earlier version = %+v, %v", one, ok)
	}
}
