package sidecar

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestLogIsScrubbed: whatever a line is made of, it holds nothing sensitive, and
// what tells where a fault is stays.
func TestLogIsScrubbed(t *testing.T) {
	c := DefaultConfig()
	c.Data, c.Listen = t.TempDir(), "127.0.0.1:0"
	var out bytes.Buffer
	s, err := New(c, Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	log := s.log
	const card, mail = "4532-0151-1283-0366", "ann@example.com"
	log.Info("message "+card, "text", mail, "error", errors.New("no "+card), slog.Group("g", "in", mail), "n", 7)
	log.With("with", mail).WithGroup("h").Warn("more", "card", card)
	log.Error("dial tcp 203.0.113.7:8443: connection refused", "trace_id", "0f3c6a0e-1d2b-4c5d-8e9f-001122334455")
	got := out.String()
	for _, bad := range []string{card, mail} {
		if strings.Contains(got, bad) {
			t.Errorf("the log holds %s:\n%s", bad, got)
		}
	}
	for _, want := range []string{"message [CREDIT_CARD_REDACTED]", "n=7", "g.in=[EMAIL_REDACTED]", "h.card=[CREDIT_CARD_REDACTED]", "203.0.113.7:8443", "0f3c6a0e-1d2b-4c5d-8e9f-001122334455"} {
		if !strings.Contains(got, want) {
			t.Errorf("the log lacks %q:\n%s", want, got)
		}
	}
}
