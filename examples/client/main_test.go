package main

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/internal/demo"
)

func TestTour(t *testing.T) {
	for name, c := range map[string]struct {
		agent http.Handler
		says  []string // in this order
	}{
		"securebank": {demo.NewBank(), []string{`"secure-bank-agent", which says that it is "verified_partner"`, "200: passed:", `"transaction_id"`}},
		"honeypot": {demo.NewHoneypot(), []string{`"untrusted-agent"`, "449: the sidecar wants a person to decide", "Low trust score (0/10)",
			"200: passed on a person's word, and quarantined", "403: refused, and nobody can lift it: Privacy Violation: Agent stores data permanently"}},
	} {
		t.Run(name, func(t *testing.T) {
			manifest, err := os.ReadFile("../manifests/" + name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			node := iatptest.Start(t, iatptest.Options{Manifest: string(manifest), Agent: c.agent})
			var stdout, stderr strings.Builder
			if code := run(t.Context(), []string{"--sidecar", node.URL}, &stdout, &stderr); code != 0 {
				t.Errorf("exit %d: %s", code, stderr.String())
			}
			rest := stdout.String()
			for _, want := range c.says {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("no %q, in its place, in:\n%s", want, stdout.String())
				}
				rest = after
			}
		})
	}
}

func TestTourWithoutSidecar(t *testing.T) {
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"--sidecar", "http://127.0.0.1:1"}, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "is a sidecar running there?") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}
