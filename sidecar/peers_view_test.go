package sidecar_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

func peersOf(t *testing.T, n *iatptest.Node, query string) api.Peers {
	t.Helper()
	r := n.Get(t, "/peers"+query, n.Operator(t))
	var p api.Peers
	if err := json.Unmarshal(r.Body, &p); err != nil || r.Status != 200 {
		t.Fatalf("GET /peers%s = %d %s, %v", query, r.Status, r.Body, err)
	}
	return p
}

func TestPeersAreShown(t *testing.T) {
	gone := iatptest.NewParty(t)
	a, b := iatptest.Pair(t, func(a, _ *iatptest.Options) {
		before := a.Config
		a.Config = func(c *sidecar.Config) {
			before(c)
			c.Peers["gone"] = gone.AsPeer("trusted")
		}
	})
	if r := a.Get(t, "/peers", nil); r.Status != 401 {
		t.Errorf("without the operator's token: %d, want 401", r.Status)
	}
	unseen := peersOf(t, a, "")
	if len(unseen.Peers) != 2 || unseen.Peers[0].Name != "b" || unseen.Peers[0].LastSeen != nil || unseen.Peers[0].Score != nil || !unseen.Peers[0].Pinned {
		t.Errorf("before any visit: %+v", unseen)
	}
	seen := peersOf(t, a, "?visit=1")
	if p := seen.Peers[0]; p.Score == nil || *p.Score != 10 || p.Level != "verified_partner" || p.Evidence != "E6" || p.AgentID != "friend" ||
		p.LastSeen == nil || p.Error != "" || p.Key != peersOf(t, b, "").Key {
		t.Errorf("after a visit: %+v", p)
	}
	if p := seen.Peers[1]; p.Name != "gone" || p.Error == "" || p.Score != nil || p.LastSeen == nil {
		t.Errorf("nobody answers: %+v", p)
	}
	if again := peersOf(t, a, ""); again.Peers[0].Score == nil {
		t.Errorf("the visit is forgotten: %+v", again.Peers[0])
	}
	if r := a.Get(t, "/peers?visit=yes", a.Operator(t)); r.Status != 400 {
		t.Errorf("visit=yes: %d, want 400", r.Status)
	}
}

// The agreement that is in force with a peer is shown on both sides.
func TestPeersAreShownWithTheirAgreement(t *testing.T) {
	a, b := iatptest.Pair(t, agreeing("require", "", nil))
	if p := peersOf(t, a, "").Peers[0]; p.Agreement != nil {
		t.Errorf("before any call: %+v", p.Agreement)
	}
	if r := post(t, a, "/proxy/b", bookNYC, nil); r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	id := theOne(t, a, b)
	for n, proposed := range map[*iatptest.Node]string{a: "out", b: "in"} {
		got := peersOf(t, n, "").Peers[0].Agreement
		if got == nil || got.ID != id || got.Proposed != proposed || time.Until(got.Until) < 23*time.Hour {
			t.Errorf("%+v, want %s, proposed %s", got, id, proposed)
		}
	}
}

func TestPeersWithoutAKey(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{})
	if p := peersOf(t, n, "?visit=1"); len(p.Peers) != 0 || p.Key != "" {
		t.Errorf("%+v", p)
	}
	if _, ok := n.Sidecar.PublicKey(); ok {
		t.Error("there is a public key")
	}
}
