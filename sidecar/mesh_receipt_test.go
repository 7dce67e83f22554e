package sidecar_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// events is an agent that answers with a stream.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for range 3 {
		_, _ = io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
	}
}

// plainFront is an HTTP proxy before a party that drops trailers, as many do. It
// counts the requests for receipts, and answers all but the first with lose, if
// that is set.
func plainFront(t *testing.T, to string, lose http.HandlerFunc) (addr string, asked func() int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/receipts/") {
			mu.Lock()
			n++
			first := n == 1
			mu.Unlock()
			if lose != nil && !first {
				lose(w, r)
				return
			}
		}
		req, _ := http.NewRequestWithContext(r.Context(), r.Method, to+r.RequestURI, r.Body)
		req.Header, req.Host, req.ContentLength = r.Header, r.Host, r.ContentLength
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		resp.Header.Del("Trailer")
		for name, v := range resp.Header {
			w.Header()[name] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return ln.Addr().String(), func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// A stream whose trailer was lost is proven by the receipt that its head names; a
// receipt that is not of this stream, or none, proves nothing.
func TestReceiptOfAStreamIsFetched(t *testing.T) {
	var another string
	for name, c := range map[string]struct {
		lose  http.HandlerFunc
		proof string
	}{
		"fetched":         {nil, ""},
		"lost":            {http.NotFound, "missing"},
		"of another call": {func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, another) }, "invalid"},
		"endless":         {func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) }, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
			front, asked := plainFront(t, pb.URL, c.lose)
			iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: http.HandlerFunc(events), Config: func(c *sidecar.Config) {
				pb.Listen(c)
				c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}
			}})
			a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
				pa.Listen(c)
				p := pb.AsPeer("verified_partner")
				p.URI, p.URL, p.Dial = p.URL, "", front
				c.Peers = map[string]sidecar.Peer{"b": p}
			}})
			send := func() (*http.Response, string) {
				resp, err := http.Post(a.URL+"/proxy/b", "application/json", strings.NewReader(bookNYC))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return resp, string(text)
			}
			resp, _ := send()
			another = resp.Trailer.Get("Iatp-Receipt")
			resp, text := send()
			if resp.StatusCode != 200 || strings.Count(text, "data: 1") != 3 || asked() != 2 {
				t.Errorf("%d %q, %d receipts were asked for", resp.StatusCode, text, asked())
			}
			if got := resp.Trailer.Get("Iatp-Proof"); got != c.proof || (resp.Trailer.Get("Iatp-Receipt") == "") != (c.proof != "") {
				t.Errorf("proof %q, receipt %q; want proof %q", got, resp.Trailer.Get("Iatp-Receipt"), c.proof)
			}
			want := "executed"
			if c.proof != "" {
				want = "unknown"
			}
			if end := last(t, a, &iatptest.Reply{Header: resp.Header}); end["outcome"] != want {
				t.Errorf("a's record says %v, want %s", end["outcome"], want)
			}
			if resp.Header.Get("Iatp-Receipt-Id") != "" {
				t.Error("the id of b's receipt was passed on to a's agent, who cannot ask for it")
			}
		})
	}
}

// A receipt is shown to the caller that it is for, also after a restart, and to
// nobody else.
func TestReceiptIsShownToItsParty(t *testing.T) {
	pa, pb, pc := iatptest.NewParty(t), iatptest.NewParty(t), iatptest.NewParty(t)
	start := func(o iatptest.Options) *iatptest.Node {
		o.Manifest = iatptest.Friend
		o.Config = func(c *sidecar.Config) {
			pb.Listen(c)
			c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted"), "c": pc.AsPeer("trusted")}
		}
		return iatptest.Start(t, o)
	}
	b := start(iatptest.Options{Agent: http.HandlerFunc(events)})
	mft := proposal(t, pa, pb, b, b).Responder.Manifest
	onManifest := func(h http.Header) { h.Set("IATP-Manifest", mft.ByteSequence()) }
	call := says(t, pa, "POST", pb.URL+"/task", bookNYC, onManifest, nil)
	id := call.Header.Get("Iatp-Receipt-Id")
	keys, err := iatp.NewKeySet(iatp.DirectoryKey{Key: pb.Key.Public()})
	if err != nil || call.Status != 200 || id == "" {
		t.Fatalf("%d %v, receipt id %q", call.Status, err, id)
	}
	show := func(when string, who *iatptest.Party, id string, want int) {
		t.Helper()
		r := says(t, who, "GET", pb.URL+"/receipts/"+id, "", nil, nil)
		if r.Status != want {
			t.Errorf("%s: %d %s, want %d", when, r.Status, r.Body, want)
		}
		if want != 200 {
			return
		}
		receipt, err := iatp.VerifyReceipt(string(r.Body), keys)
		if err != nil || receipt.JTI != id || receipt.Res.Digest != iatp.DigestOf(call.Body) {
			t.Errorf("%s: %v %+v", when, err, receipt)
		}
	}
	flipped := "A"
	if strings.HasSuffix(id, "A") {
		flipped = "B"
	}
	show("its caller", pa, id, 200)
	show("another caller", pc, id, 404)
	show("another id of the same key", pa, id[:len(id)-1]+flipped, 404)
	show("an id that is none", pa, "rcpt_", 404)
	show("a path", pa, "..%2f"+id, 404)
	if r, err := http.Get(pb.URL + "/receipts/" + id); err != nil || r.StatusCode != 403 {
		t.Errorf("unsigned: %v %v, want 403", r, err)
	} else {
		r.Body.Close()
	}
	if r := says(t, pa, "POST", pb.URL+"/receipts/"+id, "{}", nil, nil); r.Status != 405 {
		t.Errorf("POST: %d, want 405", r.Status)
	}
	left := t.TempDir()
	copyTree(t, b.Data, left)
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	start(iatptest.Options{Data: left, AgentURL: b.Agent.URL})
	show("after b was killed", pa, id, 200)
	show("another caller, after b was killed", pc, id, 404)
}
