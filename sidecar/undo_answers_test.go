package sidecar

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/undo"
)

// TestCompensationAnswers has the answers of spec/vectors/reversibility.json read.
func TestCompensationAnswers(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "spec", "vectors", "reversibility.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Answers []struct {
			Status                              int
			Body, Verdict, State, Fee, Returned string
		}
	}
	if err := json.Unmarshal(text, &v); err != nil || len(v.Answers) == 0 {
		t.Fatalf("%d answers, %v", len(v.Answers), err)
	}
	words := map[undo.Verdict]string{undo.Later: "later", undo.Done: "done", undo.Refused: "refused", undo.Expired: "expired", undo.Never: "never"}
	for _, a := range v.Answers {
		r := new(Sidecar).readCompensation(&undo.Thing{}, nil, a.Status, []byte(a.Body))
		if words[r.Verdict] != a.Verdict || string(r.State) != a.State || r.Fee != a.Fee || r.Returned != a.Returned {
			t.Errorf("%d %q: %s, state %q, fee %q, returned %q; want %s, %q, %q, %q",
				a.Status, a.Body, words[r.Verdict], r.State, r.Fee, r.Returned, a.Verdict, a.State, a.Fee, a.Returned)
		}
	}
}

// TestPeerAnswers has the answers of a peer to a request for an undo read that are not
// an undo: those that end it, and those after which it is asked again.
func TestPeerAnswers(t *testing.T) {
	problem := func(slug string) string { return `{"type":"` + iatp.BaseURI + "problems/" + slug + `"}` }
	for _, a := range []struct {
		status int
		body   string
		want   undo.Verdict
	}{
		{200, `{"success":true,"state":"compensated"}`, undo.Later}, // without a receipt
		{202, `{}`, undo.Later},
		{404, problem(iatp.SlugNotFound), undo.Refused},
		{409, problem(iatp.SlugUndoWindowExpired), undo.Refused},
		{409, problem(iatp.SlugUndoConflict), undo.Refused},
		{409, problem(iatp.SlugNotReversible), undo.Refused},
		{409, problem(iatp.SlugNonceReused), undo.Later}, // our request came twice
		{409, problem(iatp.SlugInFlight), undo.Later},
		{429, ``, undo.Later},
		{502, problem(iatp.SlugCompensationFailed), undo.Refused},
		{502, problem(iatp.SlugUpstreamFailed), undo.Later},
		{503, ``, undo.Later},
	} {
		r := readPeerUndo(&said{status: a.status, header: http.Header{}, body: []byte(a.body)}, &undo.Thing{Remote: "tx"})
		if r.Verdict != a.want {
			t.Errorf("%d %s: verdict %d, want %d", a.status, a.body, r.Verdict, a.want)
		}
	}
}
