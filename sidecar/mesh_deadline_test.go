package sidecar_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// A call whose deadline has passed is not begun, and its receipt says so: the key is
// free again.
func TestDeadlineHasPassed(t *testing.T) {
	pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
	b := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers, c.Limits.PerPeer = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}, plenty
	}})
	mft := proposal(t, pa, pb, b, b).Responder.Manifest
	send := func(deadline time.Time) *iatptest.Reply {
		return says(t, pa, "POST", pb.URL+"/task", `{"task":"t"}`, func(h http.Header) {
			h.Set("IATP-Manifest", mft.ByteSequence())
			h.Set("Idempotency-Key", `"once"`)
			h.Set("IATP-Deadline", iatp.FormatDeadline(deadline))
		}, nil)
	}
	r := send(time.Now().Add(-5 * time.Second))
	if p := r.Problem(t); r.Status != 504 || p["outcome"] != "none" || r.Header.Get("IATP-Receipt") == "" {
		t.Errorf("%d %s, want 504 deadline-exceeded with the outcome none, and a receipt", r.Status, r.Body)
	}
	if n := len(b.Agent.Seen()); n != 0 {
		t.Errorf("the agent got %d calls, want none", n)
	}
	if r := send(time.Now().Add(time.Minute)); r.Status != 200 || r.Header.Get("IATP-Replayed") != "" {
		t.Errorf("the same key in time: %d %s, want 200", r.Status, r.Body)
	}
}
