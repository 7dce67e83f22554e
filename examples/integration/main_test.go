package main

import (
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	rest := out.String()
	for _, want := range []string{
		"bookings: trusted, score 10/10", "plain work: allow", "a payment card: allow", "rollback, success true", "asked the agent to undo: done",
		"letters: trusted, score 6/10", "plain work: deny", "Policy: Block agents without idempotency (rule RequireIdempotency)",
		"a payment card: deny", "Privacy Violation: Agent stores data permanently", "give_up, success false", "the agent cannot undo",
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("no %q, in its place, in:\n%s", want, out.String())
		}
		rest = after
	}
}
