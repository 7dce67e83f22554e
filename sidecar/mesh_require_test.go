package sidecar_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// requiring makes a demand a receipt that holds for every answer of b.
func requiring(c *sidecar.Config) {
	b := c.Peers["b"]
	b.Receipt = "require"
	c.Peers["b"] = b
}

// With receipt: require our agent gets no answer that the peer does not prove: neither
// one without a receipt, nor one of a wrong key, nor one whose bytes were changed
// under way. What the peer proves when it is asked is what our agent is told.
func TestReceiptRequired(t *testing.T) {
	a, l := startLiar(t, requiring)
	var mu sync.Mutex
	var done iatp.Receipt // of the call, as the peer could give it again
	keep := func(r iatp.Receipt) { mu.Lock(); done = r; mu.Unlock() }
	honest := func(w http.ResponseWriter, c *told) { l.answer(t, w, c, l.Key) }
	none := func(w http.ResponseWriter, c *told) { _, _ = io.WriteString(w, honestBody) }
	says := func(w http.ResponseWriter, _ *told) { // asked what became of it
		mu.Lock()
		defer mu.Unlock()
		jws, err := done.Sign(l.Key)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Iatp-Receipt", jws)
		_, _ = io.WriteString(w, "{}")
	}
	for name, c := range map[string]struct {
		task, other   func(http.ResponseWriter, *told)
		code, outcome string // of the withheld answer
	}{
		"a receipt that holds": {honest, nil, "", ""},
		"no receipt":           {none, nil, "receipt_missing", "unknown"},
		"no receipt, but a proof when asked": {func(w http.ResponseWriter, c *told) {
			keep(c.receipt)
			none(w, c)
		}, says, "receipt_missing", "executed"},
		"another key": {func(w http.ResponseWriter, c *told) { l.answer(t, w, c, newKey(t)) }, nil, "receipt_invalid", "unknown"},
		"another body": {func(w http.ResponseWriter, c *told) {
			keep(c.receipt)
			c.receipt.Res.Digest = iatp.DigestOf([]byte("what was sent"))
			l.answer(t, w, c, l.Key)
		}, says, "receipt_invalid", "executed"},
	} {
		l.set(func() { l.task, l.other = c.task, c.other })
		r := post(t, a, "/proxy/b", bookNYC, nil)
		if c.code == "" {
			if r.Status != 200 || string(r.Body) != honestBody {
				t.Errorf("%s: %d %s", name, r.Status, r.Body)
			}
			continue
		}
		p := r.Problem(t)
		if r.Status != 502 || slugOf(t, r) != iatp.SlugReceiptInvalid || p["outcome"] != c.outcome || strings.Contains(string(r.Body), `"ok"`) {
			t.Errorf("%s: %d %s, want 502 receipt-invalid with the outcome %s and nothing of the answer", name, r.Status, r.Body, c.outcome)
		}
		lines := string(a.Get(t, "/trace/"+r.Header.Get("X-Agent-Trace-Id"), a.Operator(t)).Body)
		if !strings.Contains(lines, `"error":"`+c.code+`"`) || !strings.Contains(lines, `"outcome":"`+c.outcome+`"`) {
			t.Errorf("%s: recorded as %s", name, lines)
		}
	}
}

// A stream is cut before its end where its trailer proves nothing.
func TestReceiptRequiredOfStreams(t *testing.T) {
	a, l := startLiar(t, requiring)
	for name, prove := range map[string]bool{"proven": true, "not proven": false} {
		l.set(func() {
			l.task = func(w http.ResponseWriter, c *told) {
				w.Header().Set("Content-Type", "text/event-stream")
				w.Header().Set("Trailer", "Iatp-Receipt")
				text := "data: one\n\n"
				_, _ = io.WriteString(w, text)
				_ = http.NewResponseController(w).Flush()
				c.receipt.Res.Digest, c.receipt.Res.Type = iatp.DigestOf([]byte(text)), "text/event-stream"
				jws, err := c.receipt.Sign(l.Key)
				if err != nil {
					t.Error(err)
				}
				if prove {
					w.Header().Set("Iatp-Receipt", jws)
				}
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		req, err := http.NewRequestWithContext(ctx, "POST", a.URL+"/proxy/b", strings.NewReader(bookNYC))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		cancel()
		if string(got) != "data: one\n\n" || (err == nil) != prove {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
