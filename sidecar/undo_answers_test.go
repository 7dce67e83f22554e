package sidecar

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

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
