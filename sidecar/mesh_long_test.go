package sidecar_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// TestLongAnswerIsProven: a callee may have room to read an answer whole that its caller
// has not. The receipt is in the head then, and the answer comes as a stream.
func TestLongAnswerIsProven(t *testing.T) {
	body := `{"text":"` + strings.Repeat("many words ", 30_000) + `"}`
	a, b := iatptest.Pair(t, func(a, b *iatptest.Options) {
		known := a.Config
		a.Config = func(c *sidecar.Config) { known(c); c.Limits.Body = 100 << 10 }
		b.Agent = answers("application/json", body, false)
	})
	resp, err := http.Post(a.URL+"/proxy/b", "application/json", strings.NewReader(bookNYC))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != body {
		t.Fatalf("%d bytes, %v; want %d", len(got), err, len(body))
	}
	if resp.Trailer.Get("Iatp-Receipt") == "" || resp.Trailer.Get("Iatp-Proof") != "" {
		t.Errorf("trailer %v; want a receipt and no doubt", resp.Trailer)
	}
	id := resp.Header.Get("X-Agent-Trace-ID")
	if end := last(t, a, &iatptest.Reply{Header: resp.Header}); end["outcome"] != "executed" || end["receipt"] == nil || end["quarantined"] != nil {
		t.Errorf("a's record is %v", end)
	}
	if records := b.Records(t, id); records[len(records)-1]["receipt"] == nil {
		t.Errorf("b's record is %v", records[len(records)-1])
	}
}
