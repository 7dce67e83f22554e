package main

import (
	"os"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/internal/demo"
)

func TestHoneypotBehindItsSidecar(t *testing.T) {
	manifest, err := os.ReadFile("../manifests/honeypot.json")
	if err != nil {
		t.Fatal(err)
	}
	honeypot := demo.NewHoneypot()
	node := iatptest.Start(t, iatptest.Options{Manifest: string(manifest), Agent: honeypot})
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"--sidecar", node.URL}, &stdout, &stderr); code != 0 {
		t.Errorf("exit %d\n%s%s", code, stdout.String(), stderr.String())
	}
	if honeypot.Served() != 1 || honeypot.Holds("4532") || honeypot.Holds("378282246310005") {
		t.Errorf("the honeypot served %d requests, want the one that was released; it holds a card: %v", honeypot.Served(), honeypot.Holds("4532"))
	}
}

// TestHoneypotAlone: without a sidecar before it, the check fails.
func TestHoneypotAlone(t *testing.T) {
	agent, err := demo.Start("127.0.0.1:0", demo.NewHoneypot())
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"--sidecar", agent.URL}, &stdout, &stderr); code != 1 {
		t.Errorf("exit %d, want 1\n%s%s", code, stdout.String(), stderr.String())
	}
	if strings.Contains(stdout.String(), "ok ") {
		t.Errorf("a check passes without a sidecar:\n%s", stdout.String())
	}
}
