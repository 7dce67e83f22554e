package sidecar

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/inter-agent-trust/iatp/internal/undo"
)

// undoVectors is the part of spec/vectors/reversibility.json that is about messages.
type undoVectors struct {
	Answers []struct {
		Status                              int
		Body, Verdict, State, Fee, Returned string
	}
	PeerAnswers []struct {
		Status        int
		Body, Verdict string
	} `json:"peer_answers"`
}

func readUndoVectors(t *testing.T) *undoVectors {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "spec", "vectors", "reversibility.json"))
	if err != nil {
		t.Fatal(err)
	}
	v := new(undoVectors)
	if err := json.Unmarshal(text, v); err != nil || len(v.Answers) == 0 || len(v.PeerAnswers) == 0 {
		t.Fatalf("%d answers, %d answers of peers, %v", len(v.Answers), len(v.PeerAnswers), err)
	}
	return v
}

// TestCompensationAnswers has the answers of spec/vectors/reversibility.json read.
func TestCompensationAnswers(t *testing.T) {
	v := readUndoVectors(t)
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
	v := readUndoVectors(t)
	words := map[undo.Verdict]string{undo.Later: "later", undo.Refused: "refused"}
	for _, a := range v.PeerAnswers {
		r := readPeerUndo(&said{status: a.Status, header: http.Header{}, body: []byte(a.Body)}, &undo.Thing{Remote: "tx"})
		if got := words[r.Verdict]; got != a.Verdict {
			t.Errorf("%d %s: %s, want %s", a.Status, a.Body, got, a.Verdict)
		}
	}
}
