package sidecar_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// Calls that wait for one proposal get a refusal each, with nothing of another call in it.
func TestProposalIsRefusedToAll(t *testing.T) {
	a, l := startLiar(t, func(c *sidecar.Config) {
		p := c.Peers["b"]
		p.Agreement = "require"
		c.Peers["b"] = p
	})
	l.set(func() {
		l.agree = func(w http.ResponseWriter, _ *iatp.Agreement) {
			time.Sleep(200 * time.Millisecond) // or the others propose for themselves
			http.Error(w, "no", http.StatusForbidden)
		}
	})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			id := fmt.Sprintf("refused-%d", i)
			req, err := http.NewRequest("POST", a.URL+"/proxy/b", strings.NewReader(bookNYC))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header = http.Header{"Content-Type": {"application/json"}, "X-Agent-Trace-Id": {id}}
			resp, body := sendAll(req)
			if resp == nil || resp.StatusCode != 502 || !strings.Contains(body, `"outcome":"none"`) || !strings.Contains(body, `"trace_id":"`+id+`"`) {
				t.Errorf("%s: %v %s", id, resp, body)
			}
		})
	}
	wg.Wait()
}

// sendAll sends a request and reads the answer; without a whole one the response is nil.
func sendAll(req *http.Request) (*http.Response, string) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err.Error()
	}
	return resp, string(body)
}
