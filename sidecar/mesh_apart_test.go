package sidecar_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// A strand is one of many calls at the same time, all of whose words name it.
type strand struct {
	name string
	how  string // what the agent does, see apart
	size int    // words of its request
	key  string // "" for none
}

// letters spells a number such that nothing takes it for a number.
func letters(i, width int) string {
	text := make([]byte, width)
	for at := range text {
		text[width-1-at] = "abcdef"[i%6]
		i /= 6
	}
	return string(text)
}

func (c *strand) trace() string {
	return c.name[len("call-"):] + "aa-aaaa-4aaa-aaaa-aaaabbbbbbbb"
}

// cost is another one for each of some hundred.
func (c *strand) cost() string {
	sum := sha256.Sum256([]byte(c.name))
	return fmt.Sprintf("1.%02d", sum[0]%100)
}

func (c *strand) words(n int) string {
	return strings.Repeat(c.name+" ", n)
}

func (c *strand) body() string {
	return fmt.Sprintf(`{"call":%q,"how":%q,"words":%q}`, c.name, c.how, c.words(c.size))
}

// answer is what the agent says to a body.
func (c *strand) answer(body string) string {
	sum := sha256.Sum256([]byte(body))
	words := 20
	if c.how == "long" {
		words = 6000
	}
	return fmt.Sprintf(`{"of":%q,"sum":"%s","words":%q}`, c.name, hexLetters(sum), c.words(words))
}

func hexLetters(sum [32]byte) string {
	var text strings.Builder
	for _, b := range sum[:8] {
		text.WriteString(letters(int(b), 4))
	}
	return text.String()
}

var anyStrand = regexp.MustCompile(`call-[a-f]{6}`)

// foreign is a word of another call.
func (c *strand) foreign(text string) string {
	for _, name := range anyStrand.FindAllString(text, -1) {
		if name != c.name {
			return name
		}
	}
	return ""
}

// apart is the agent. What it gets wrong it tells the test.
type apart struct {
	t    *testing.T
	mu   sync.Mutex
	seen map[string]int
	keys map[string]string // key to call: a key that was not given was made for one call
}

// ofKey is the call that a key belongs to.
func (a *apart) ofKey(key, name string) string {
	if given := anyStrand.FindString(key); given != "" {
		return given
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys[key] == "" {
		a.keys[key] = name
	}
	return a.keys[key]
}

func (a *apart) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, how := anyStrand.FindString(r.Header.Get("Prefer")), ""
	_, _ = fmt.Sscanf(r.Header.Get("Prefer"), "wait-"+name+"-%s", &how)
	c := &strand{name: name, how: how}
	a.mu.Lock()
	a.seen[name]++
	first := a.seen[name] == 1
	a.mu.Unlock()
	if r.Header.Get("X-Agent-Trace-Id") != c.trace() {
		a.t.Errorf("%s has the trace %s", name, r.Header.Get("X-Agent-Trace-Id"))
	}
	if of := a.ofKey(r.Header.Get("Idempotency-Key"), name); of != name {
		a.t.Errorf("%s has the key of %s", name, of)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Iatp-Cost", fmt.Sprintf("%q;cur=USD", c.cost()))
	if how == "early" { // the answer is there before the body was read
		text := c.answer("")
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			a.t.Error(err)
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nIatp-Cost: %q;cur=USD\r\nContent-Length: %d\r\n\r\n%s", c.cost(), len(text), text)
		time.AfterFunc(20*time.Millisecond, func() { conn.Close() })
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // its caller gave up
	}
	if other := c.foreign(string(body)); other != "" || !json.Valid(body) {
		a.t.Errorf("%s got words of %s: %.200s", name, other, body)
	}
	text := c.answer(string(body))
	switch {
	case how == "breaks" && first:
		panic(http.ErrAbortHandler)
	case how == "cuts" && first:
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		_, _ = io.WriteString(w, text[:len(text)/2])
		panic(http.ErrAbortHandler)
	case how == "streams":
		w.Header().Set("Content-Type", "text/plain")
		for range 5 {
			_, _ = io.WriteString(w, c.words(100))
			_ = http.NewResponseController(w).Flush()
		}
		return
	}
	_, _ = io.WriteString(w, text)
}

// breaker passes connections on to an address, and breaks each of them off after so many
// bytes of answers.
func breaker(t *testing.T, to string, after int64) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			wg.Go(func() { _, _ = io.Copy(out, in); out.Close() })
			wg.Go(func() { _, _ = io.CopyN(in, out, after); in.Close(); out.Close() })
		}
	})
	return ln.Addr().String()
}

const idempotentFriend = `{"identity":{"agent_id":"friend"},"trust_level":"verified_partner","capabilities":{"idempotency":true},` +
	`"reversibility":{"level":"none"},"privacy":{"retention_policy":"temporary"}}`

// However calls between sidecars come and end, beside each other and in the memory of those
// before them: what one of them says reaches no other, nor its answer, record or receipt.
func TestCallsStayApart(t *testing.T) {
	pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
	agent := &apart{t: t, seen: map[string]int{}, keys: map[string]string{}}
	b := iatptest.Start(t, iatptest.Options{Manifest: idempotentFriend, Agent: agent, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}
		c.Limits.PerPeer.Rate.N, c.Limits.PerPeer.Burst = 100_000, 100_000
	}})
	through := breaker(t, pb.Addr(), 300_000)
	a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pa.Listen(c)
		p := pb.AsPeer("verified_partner")
		p.URI, p.Dial, p.URL = pb.URL, through, ""
		c.Peers = map[string]sidecar.Peer{"b": p}
	}})
	keys, err := iatp.NewKeySet(iatp.DirectoryKey{Key: pb.Key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	hows := []string{"plain", "breaks", "streams", "early", "cuts", "long", "leaves", "plain"}
	sizes := []int{1, 40, 300, 600, 1100, 1400, 4000}
	const calls = 56 // each way with each size
	var strands []*strand
	for i := range calls {
		c := &strand{name: "call-" + letters(i, 6), how: hows[i%len(hows)], size: sizes[i%len(sizes)]}
		if i%3 > 0 {
			c.key = "key-" + c.name
		}
		strands = append(strands, c)
	}
	var good sync.Map
	next := make(chan *strand)
	var wg sync.WaitGroup
	for range 24 {
		wg.Go(func() {
			for c := range next {
				times := 1
				if c.key != "" {
					times = 2
				}
				for range times {
					if c.send(t, a, keys) == 200 {
						good.Store(c.name, true)
					}
				}
			}
		})
	}
	for _, c := range strands {
		next <- c
	}
	close(next)
	wg.Wait()
	answered := 0
	for _, c := range strands {
		if _, ok := good.Load(c.name); ok {
			answered++
		}
		for _, n := range []*iatptest.Node{a, b} {
			for _, line := range n.Records(t, c.trace()) {
				text, _ := json.Marshal(line)
				if other := c.foreign(string(text)); other != "" {
					t.Errorf("the record of %s has words of %s: %.300s", c.name, other, text)
				}
			}
		}
	}
	if answered < calls/4 { // which of them the breaker hits is chance
		t.Errorf("only %d of %d calls were answered", answered, calls)
	}
}

// send makes the call and looks at what comes; 0 if that is not whole.
func (c *strand) send(t *testing.T, a *iatptest.Node, keys iatp.KeySet) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if c.how == "leaves" {
		defer time.AfterFunc(5*time.Millisecond, cancel).Stop()
	}
	req, err := http.NewRequestWithContext(ctx, "POST", a.URL+"/proxy/b", strings.NewReader(c.body()))
	if err != nil {
		t.Error(err)
		return 0
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "X-Agent-Trace-Id": {c.trace()}, "Prefer": {"wait-" + c.name + "-" + c.how}, "Iatp-Budget": {`"2.00";cur=USD`}}
	if c.key != "" {
		req.Header.Set("Idempotency-Key", c.key)
	}
	resp, text := sendAll(req)
	if resp == nil {
		return 0
	}
	if other := c.foreign(text); other != "" {
		t.Errorf("the answer to %s has words of %s: %.300s", c.name, other, text)
	}
	if id := resp.Header.Get("X-Agent-Trace-Id"); id != c.trace() {
		t.Errorf("%s: the answer's trace is %q: %d %.300s", c.name, id, resp.StatusCode, text)
	}
	jws := resp.Header.Get("Iatp-Receipt") + resp.Trailer.Get("Iatp-Receipt")
	if resp.StatusCode != 200 {
		return resp.StatusCode
	}
	r, err := iatp.VerifyReceipt(jws, keys)
	if err != nil {
		t.Errorf("%s (%s): %v: %v %v", c.name, c.how, err, resp.Header, resp.Trailer)
		return 200
	}
	if r.TraceID != iatp.TraceID(c.trace()) || r.Res.Digest != iatp.DigestOf([]byte(text)) || r.Cost.Amount() != c.cost() || c.key != "" && r.Req.Key != c.key {
		t.Errorf("%s (%s): receipt %+v is of another call", c.name, c.how, r)
	}
	want := c.answer(c.body())
	switch c.how {
	case "streams":
		want = strings.Repeat(c.words(100), 5)
	case "early":
		want = c.answer("")
	}
	if text != want {
		t.Errorf("%s (%s): %.300s", c.name, c.how, text)
	}
	return 200
}
