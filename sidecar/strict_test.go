package sidecar_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// TestStrictHasRequestsOnDiskFirst lets the agent look, while it is called, at what is
// on the disk: in strict mode the request that it was sent, and with a key in any mode
// the end of the call, too, once it is answered.
func TestStrictHasRequestsOnDiskFirst(t *testing.T) {
	for _, c := range []struct {
		name string
		mode sidecar.Durability
		key  bool
	}{
		{"plain", sidecar.DurabilityStrict, false},
		{"with a key", sidecar.DurabilityStrict, true},
		{"with a key, default", sidecar.DurabilityDefault, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var n *iatptest.Node
			var seen int64
			agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				seen = n.Sidecar.DurableRecords()
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte("{}"))
			}))
			defer agent.Close()
			n = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, AgentURL: agent.URL,
				Config: func(config *sidecar.Config) { config.Durability = c.mode }})
			before := n.Sidecar.DurableRecords()
			for i := range int64(20) {
				req, err := http.NewRequest(http.MethodPost, n.URL+"/proxy", strings.NewReader(`{"task":"x"}`))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				if c.key {
					req.Header.Set("X-Idempotency-Key", strings.Repeat("k", int(i)+1))
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("call %d: %s", i, resp.Status)
				}
				// The requests and ends of the calls before, and this request.
				if want := before + 2*i + 1; seen < want {
					t.Fatalf("call %d was forwarded with %d records on the disk, want %d", i, seen, want)
				}
				if is, want := n.Sidecar.DurableRecords(), before+2*i+2; c.key && is < want {
					t.Fatalf("call %d was answered with %d records on the disk, want %d", i, is, want)
				}
			}
		})
	}
}
