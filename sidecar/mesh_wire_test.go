package sidecar_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// A wire is what lies between two sidecars: a TCP proxy in somebody else's
// hands. It passes documents on, and does to calls and their answers what the
// test says.
type wire struct {
	addr string
	to   string // host:port of the sidecar behind it

	mu sync.Mutex
	// call sees each call and returns what is sent on; nil sends nothing, and
	// the caller is answered 500; an empty slice hangs up. answer sees what comes
	// back and returns what is passed on.
	call, answer func([]byte) []byte

	ln net.Listener
	wg sync.WaitGroup
}

func startWire(t testing.TB) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: ln.Addr().String(), ln: ln}
	w.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { defer c.Close(); w.carry(c) })
		}
	})
	t.Cleanup(func() { ln.Close(); w.wg.Wait() })
	return w
}

// tap says what happens to calls and answers from now on; nil passes them on.
func (w *wire) tap(call, answer func([]byte) []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.call, w.answer = call, answer
}

func (w *wire) taps() (call, answer func([]byte) []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.call, w.answer
}

// carry serves one connection: one exchange after the other, until one of them
// was tampered with.
func (w *wire) carry(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	for {
		request, err := readRequest(c)
		if err != nil {
			return
		}
		call, answer := w.taps()
		isCall := bytes.HasPrefix(request, []byte("POST "))
		sent := request
		if isCall && call != nil {
			if sent = call(request); sent == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 500 Lost\r\nContent-Length: 0\r\n\r\n")
				return
			}
		}
		if len(sent) == 0 {
			return
		}
		back, whole := w.exchange(sent)
		if isCall && answer != nil {
			_, _ = c.Write(answer(back))
			return
		}
		if _, err := c.Write(back); err != nil || !whole || !bytes.Equal(sent, request) {
			return
		}
	}
}

// readRequest returns the bytes of a request with a Content-Length.
func readRequest(c net.Conn) ([]byte, error) {
	var seen bytes.Buffer
	r, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &seen)))
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return seen.Bytes(), err
}

// exchange sends bytes to the sidecar behind the wire and returns its answer as
// it came, and whether it is a whole one.
func (w *wire) exchange(request []byte) (answer []byte, whole bool) {
	c, err := net.Dial("tcp", w.to)
	if err != nil {
		return nil, false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(request); err != nil {
		return nil, false
	}
	var seen bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &seen)), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	return seen.Bytes(), err == nil
}

// plenty is a quota that no test uses up.
var plenty = sidecar.PerPeer{Rate: sidecar.Rate{N: 1_000_000, Per: time.Minute}, Burst: 1_000_000}

// A pair is a and b with a wire between them. b can be restarted.
type pair struct {
	a, b *iatptest.Node
	*wire
	agent *iatptest.Agent // b's
	optB  iatptest.Options
	urlB  string // public_url of b
	pinB  string
}

// wired starts a pair. change has the last word on the options.
func wired(t testing.TB, change func(a, b *iatptest.Options)) *pair {
	t.Helper()
	p := &pair{wire: startWire(t)}
	p.a, p.b = iatptest.Pair(t, func(a, b *iatptest.Options) {
		configure := a.Config
		a.Config = func(c *sidecar.Config) {
			configure(c)
			peer := c.Peers["b"]
			p.urlB, p.pinB = peer.URL, peer.Pin
			u, _ := url.Parse(peer.URL)
			p.to = u.Host
			peer.URI, peer.URL, peer.Dial = peer.URL, "", p.addr
			c.Peers["b"] = peer
			c.Limits.Deadline = sidecar.Duration(10 * time.Second)
		}
		configureB := b.Config
		b.Config = func(c *sidecar.Config) {
			configureB(c)
			c.Limits.PerPeer = plenty
			c.Limits.BodyTime = sidecar.Duration(time.Second)
		}
		if change != nil {
			change(a, b)
		}
		p.optB = *b
	})
	p.agent = p.b.Agent
	return p
}

// restartB stops b and starts it again on its data directory, with the same
// agent beside it.
func (p *pair) restartB(t testing.TB) {
	t.Helper()
	p.replaceB(t, p.b.Data)
}

// crashB starts b again on what its data directory is at this moment: what
// SIGKILL would leave behind.
func (p *pair) crashB(t testing.TB) {
	t.Helper()
	left := t.TempDir()
	copyTree(t, p.b.Data, left)
	p.replaceB(t, left)
}

func (p *pair) replaceB(t testing.TB, data string) {
	t.Helper()
	if err := p.b.Stop(); err != nil {
		t.Fatal(err)
	}
	o := p.optB
	o.Data, o.Agent, o.AgentURL = data, nil, p.agent.URL
	p.b = iatptest.Start(t, o)
}

// copyTree copies files with their modes.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // a temporary file that has its real name by now
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// capture lets a call b and takes the signed call off the wire.
func (p *pair) capture(t testing.TB, header map[string]string) []byte {
	t.Helper()
	var taken []byte
	p.tap(func(call []byte) []byte { taken = bytes.Clone(call); return nil }, nil)
	defer p.tap(nil, nil)
	if r := p.a.Do(t, "POST", "/proxy/b", strings.NewReader(bookNYC), header); r.Status != 500 || taken == nil {
		t.Fatalf("capture: %d %s", r.Status, r.Body)
	}
	return taken
}

// throw sends bytes, and their end, to b on a connection of their own and returns
// the status of the answer; 0 if there is none.
func (p *pair) throw(t testing.TB, request []byte) int {
	t.Helper()
	status := p.throwAll(t, request)
	if len(status) == 0 {
		return 0
	}
	return status[0]
}

// throwAll returns the statuses of all answers on the connection.
func (p *pair) throwAll(t testing.TB, request []byte) (statuses []int) {
	t.Helper()
	conn, err := net.Dial("tcp", p.to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := conn.(*net.TCPConn)
	if _, err := c.Write(request); err != nil {
		return nil
	}
	_ = c.CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode >= 200 {
			statuses = append(statuses, resp.StatusCode)
		}
		if resp.Close {
			return statuses
		}
	}
}

// split takes a captured call apart.
func split(t testing.TB, call []byte) (lines []string, body string) {
	t.Helper()
	head, body, ok := strings.Cut(string(call), "\r\n\r\n")
	if !ok {
		t.Fatalf("not a call: %q", call)
	}
	return strings.Split(head, "\r\n"), body
}

// join is the opposite of split.
func join(lines []string, body string) []byte {
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n" + body)
}

// delivered is what b's agent must see of a captured call, and nothing else.
func delivered(t testing.TB, call []byte) string {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(call)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {"iatp-sidecar"}}
	for _, name := range []string{"Accept", "Accept-Language", "Content-Type", "Idempotency-Key", "Prefer", "X-Agent-Trace-Id"} {
		if v := r.Header[name]; v != nil {
			h[name] = v
		}
	}
	return flat(iatptest.Seen{Method: "POST", Path: "/", Header: h, Body: body}, r.Header.Get("Traceparent"))
}

// flat writes a request of the agent as text. Of traceparent only the trace
// counts: the span is the sidecar's own.
func flat(s iatptest.Seen, parent string) string {
	var lines []string
	for name, values := range s.Header {
		if name != "Traceparent" && name != "Content-Length" && name != "Iatp-Transaction" {
			lines = append(lines, fmt.Sprintf("%s: %q", name, values))
		}
	}
	slices.Sort(lines)
	trace := ""
	if len(parent) > 35 {
		trace = parent[:35]
	}
	return fmt.Sprintf("%s %s\n%s\n%s\n%s", s.Method, s.Path, strings.Join(lines, "\n"), trace, s.Body)
}

// judge throws a tampered call and reports anything but these two: it is
// refused and nothing happens, or it is executed as it was signed, once. It says
// whether it was executed.
func (p *pair) judge(t testing.TB, how string, tampered []byte, want string) bool {
	t.Helper()
	before := len(p.agent.Seen())
	statuses := p.throwAll(t, tampered)
	calls := p.agent.Seen()[before:]
	executed := slices.Contains(statuses, 200)
	switch {
	case len(calls) > 1:
		t.Errorf("%s: b's agent was called %d times", how, len(calls))
	case executed != (len(calls) == 1):
		t.Errorf("%s: answered %v, and b's agent was called %d times", how, statuses, len(calls))
	}
	for _, c := range calls {
		if got := flat(c, c.Header.Get("Traceparent")); got != want {
			t.Errorf("%s: b's agent saw\n%s\nwhat was signed is\n%s", how, got, want)
		}
	}
	return len(calls) > 0
}

var richHead = map[string]string{
	"Accept": "application/json", "Accept-Language": "en", "Prefer": "respond-async", "X-Agent-Trace-ID": "8d0b1d9e-0d0c-4b8e-9f46-5b2a5c1f6a11",
}

// Whatever somebody does to any byte of a signed call: b refuses it, or executes
// exactly what was signed.
func TestWireChangesOneByte(t *testing.T) {
	p := wired(t, nil)
	call := p.capture(t, richHead)
	want := delivered(t, call)
	type act struct {
		name string
		do   func(b []byte, i int) []byte
	}
	flip := func(bits byte) func([]byte, int) []byte {
		return func(b []byte, i int) []byte { b[i] ^= bits; return b }
	}
	acts := []act{
		{"bit 0 flipped", flip(1)}, {"bit 5 flipped", flip(0x20)}, {"bit 7 flipped", flip(0x80)},
		{"made a space", func(b []byte, i int) []byte { b[i] = ' '; return b }},
		{"made a line feed", func(b []byte, i int) []byte { b[i] = '\n'; return b }},
		{"removed", func(b []byte, i int) []byte { return slices.Delete(b, i, i+1) }},
		{"doubled", func(b []byte, i int) []byte { return slices.Insert(b, i, b[i]) }},
		{"the last one", func(b []byte, i int) []byte { return b[:i+1] }},
	}
	tries, executed := 0, 0
	end := time.Now().Add(6 * time.Second)
	for _, n := range rand.Perm(len(call) * len(acts)) {
		if time.Now().After(end) && tries > 500 {
			break
		}
		i, act := n%len(call), acts[n/len(call)]
		tampered := act.do(bytes.Clone(call), i)
		if bytes.Equal(tampered, call) {
			continue
		}
		tries++
		if p.judge(t, fmt.Sprintf("byte %d of %d, %q, %s", i, len(call), call[i], act.name), tampered, want) {
			executed++
			call = p.capture(t, richHead) // the other one is used up
			want = delivered(t, call)
		}
		if t.Failed() {
			t.Fatalf("the call was\n%s", tampered)
		}
	}
	t.Logf("%d tampered calls, %d of them executed as they were signed", tries, executed)
	// What never left the wire is as good as ever.
	if !p.judge(t, "untouched", call, want) {
		t.Error("the untouched call was refused")
	}
}

// b's agent sees the head that was signed, or nothing: whatever is added,
// changed, removed, repeated, folded, spelled with an underscore or named by
// Connection.
func TestWireChangesHead(t *testing.T) {
	for name, header := range map[string]map[string]string{"with all that an agent sees": richHead, "with the least": nil} {
		t.Run(name, func(t *testing.T) { wireChangesHead(t, header) })
	}
}

func wireChangesHead(t *testing.T, header map[string]string) {
	p := wired(t, nil)
	call := p.capture(t, header)
	type change struct {
		name string
		do   func(lines []string, i int) []string
	}
	with := func(f func(name, value string) []string) func([]string, int) []string {
		return func(lines []string, i int) []string {
			name, value, _ := strings.Cut(lines[i], ": ")
			return slices.Replace(slices.Clone(lines), i, i+1, f(name, value)...)
		}
	}
	perLine := []change{
		{"removed", with(func(n, v string) []string { return nil })},
		{"emptied", with(func(n, v string) []string { return []string{n + ":"} })},
		{"given twice", with(func(n, v string) []string { return []string{n + ": " + v, n + ": " + v} })},
		{"given twice, the other first", with(func(n, v string) []string { return []string{n + ": other", n + ": " + v} })},
		{"given twice, the other last", with(func(n, v string) []string { return []string{n + ": " + v, n + ": other"} })},
		{"appended to", with(func(n, v string) []string { return []string{n + ": " + v + ", other"} })},
		{"appended to with a semicolon", with(func(n, v string) []string { return []string{n + ": " + v + ";q=1"} })},
		{"folded", with(func(n, v string) []string { return []string{n + ": " + v, " other"} })},
		{"folded in front", with(func(n, v string) []string { return []string{n + ":", " " + v} })},
		{"in capitals", with(func(n, v string) []string { return []string{strings.ToUpper(n) + ": " + v} })},
		{"in small letters", with(func(n, v string) []string { return []string{strings.ToLower(n) + ": " + v} })},
		{"with a space before the colon", with(func(n, v string) []string { return []string{n + " : " + v} })},
		{"with white space around", with(func(n, v string) []string { return []string{n + ":\t  " + v + " \t"} })},
		{"with an underscore twin", with(func(n, v string) []string { return []string{n + ": " + v, strings.ReplaceAll(n, "-", "_") + ": other"} })},
		{"with underscores", with(func(n, v string) []string { return []string{strings.ReplaceAll(n, "-", "_") + ": " + v} })},
		{"named by Connection", with(func(n, v string) []string { return []string{n + ": " + v, "Connection: " + n} })},
		{"named by Connection among others", with(func(n, v string) []string {
			return []string{n + ": " + v, "Connection: close, " + strings.ToLower(n)}
		})},
		{"with a bare carriage return", with(func(n, v string) []string { return []string{n + ": " + v + "\rX-Other: 1"} })},
		{"with a zero byte", with(func(n, v string) []string { return []string{n + ": " + v + "\x00"} })},
		{"with letters beyond ASCII", with(func(n, v string) []string { return []string{n + ": " + v + "é"} })},
	}
	var tampered []head
	add := func(how string, lines []string) { tampered = append(tampered, head{how, lines}) }
	lines, body := split(t, call)
	for i := 1; i < len(lines); i++ {
		for _, c := range perLine {
			add(lines[i]+" "+c.name, c.do(lines, i))
		}
	}
	for _, line := range []string{
		"X-New: 1", "Authorization: Bearer other", "Cookie: a=b", "X-User-Override: true", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1",
		"Accept-Charset: utf-8", "Tracestate: a=b", "X-Idempotency-Key: other", "Content-Encoding: gzip", "Content-Encoding: identity",
		"Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Expect: 100-continue", "Te: trailers", "Trailer: Content-Type", "Keep-Alive: timeout=1",
		"Upgrade: h2c", "Early-Data: 1", "Range: bytes=0-1", "Iatp-Budget: \"1.00\";cur=USD", "Iatp-Agreement: :AAAA:", "Iatp-Grant: e30.e30.e30", "Iatp-Facts: e30.e30.e30",
		"Mcp-Method: x", "A2a-Version: 1", "Origin: https://evil.example", "Host: evil.example", "Accept: text/html", "Accept-Language: de", "Prefer: wait=1",
		"Signature: other=:AAAA:", "Signature-Input: other=(\"@method\");created=1", "Content-Length: 1", "Connection: Accept, Prefer, Idempotency-Key", "X-Agent-Trust-Score: 10", "Iatp-From: agent",
	} {
		add("added "+line, append(slices.Clone(lines), line))
		add("put first "+line, slices.Insert(slices.Clone(lines), 1, line))
	}
	for _, first := range []string{
		"PUT /task HTTP/1.1", "post /task HTTP/1.1", "POST /proxy HTTP/1.1", "POST /task? HTTP/1.1", "POST /task?a HTTP/1.1", "POST //task HTTP/1.1", "POST /%74ask HTTP/1.1",
		"POST /task/ HTTP/1.1", "POST /./task HTTP/1.1", "POST /task#a HTTP/1.1", "POST " + p.urlB + "/task HTTP/1.1", "POST http://evil.example/task HTTP/1.1",
		"POST /task HTTP/1.0", "POST /task HTTP/2.0", "GET /task HTTP/1.1", "POST  /task HTTP/1.1", "POST /TASK HTTP/1.1", "POST /task;a HTTP/1.1", "POST * HTTP/1.1",
	} {
		add(first, append([]string{first}, lines[1:]...))
	}
	executed := 0
	for i := range tampered { // which is replaced below
		if p.judge(t, tampered[i].how, join(tampered[i].lines, body), delivered(t, call)) {
			executed++
			next := p.capture(t, header)
			tampered = refresh(t, tampered, call, next)
			call = next
		}
	}
	t.Logf("%d tampered heads, %d of them executed as they were signed", len(tampered), executed)
	if !p.judge(t, "untouched", call, delivered(t, call)) {
		t.Error("the untouched call was refused")
	}
}

// head is a tampered head: its request line and its fields.
type head struct {
	how   string
	lines []string
}

// refresh puts the values of a new call into tampered heads of the one before.
func refresh(t testing.TB, tampered []head, old, fresh []byte) []head {
	t.Helper()
	from, _ := split(t, old)
	to, _ := split(t, fresh)
	if len(from) != len(to) {
		t.Fatalf("two calls with the same head differ:\n%s\n%s", old, fresh)
	}
	var pairs []string
	for i := range from {
		_, a, _ := strings.Cut(from[i], ": ")
		_, b, _ := strings.Cut(to[i], ": ")
		if a != b && a != "" {
			pairs = append(pairs, a, b)
		}
	}
	r := strings.NewReplacer(pairs...)
	out := slices.Clone(tampered)
	for i := range out {
		out[i].lines = strings.Split(r.Replace(strings.Join(out[i].lines, "\r\n")), "\r\n")
	}
	return out
}

// A call that was here is refused when it comes again: on the same connection,
// on another, after a refusal, and after b was restarted.
func TestWireRepeats(t *testing.T) {
	p := wired(t, nil)
	call := p.capture(t, nil)
	want := delivered(t, call)
	if got := p.throwAll(t, slices.Concat(call, call)); !slices.Equal(got, []int{200, 409}) {
		t.Errorf("twice on one connection: %v, want 200 and 409", got)
	}
	if got := p.throw(t, call); got != 409 {
		t.Errorf("on another connection: %d, want 409", got)
	}
	p.restartB(t)
	if got := p.throw(t, call); got != 409 {
		t.Errorf("after a restart: %d, want 409", got)
	}
	if seen := p.agent.Seen(); len(seen) != 1 || flat(seen[0], seen[0].Header.Get("Traceparent")) != want {
		t.Errorf("b's agent was called %d times, want once: %v", len(seen), seen)
	}
	p.crashB(t)
	if got := p.throw(t, call); got != 409 {
		t.Errorf("after b was killed: %d, want 409", got)
	}
	// Never delivered before the restart: as good as ever.
	late := p.capture(t, nil)
	p.restartB(t)
	if got := p.throw(t, late); got != 200 {
		t.Errorf("a call that was held up during a restart: %d, want 200", got)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	racing := p.capture(t, nil)
	for range 20 {
		wg.Go(func() {
			got := p.throw(t, racing)
			mu.Lock()
			defer mu.Unlock()
			statuses[got]++
		})
	}
	wg.Wait()
	if statuses[200] != 1 || statuses[409] != 19 || len(p.agent.Seen()) != 3 {
		t.Errorf("20 copies at once: %v and %d calls in all, want one 200 and 3", statuses, len(p.agent.Seen()))
	}
}

// A repetition that was answered from the store is remembered like the first
// call, also after a restart.
func TestWireRepeatsARepetition(t *testing.T) {
	p := wired(t, nil)
	key := map[string]string{"Idempotency-Key": "again"}
	first, second := p.capture(t, key), p.capture(t, key)
	if got := p.throw(t, first); got != 200 {
		t.Fatalf("first: %d", got)
	}
	if got := p.throw(t, second); got != 200 {
		t.Fatalf("second: %d", got)
	}
	if got := p.throw(t, second); got != 409 {
		t.Errorf("the second again: %d, want 409", got)
	}
	p.crashB(t)
	if got := p.throw(t, second); got != 409 {
		t.Errorf("the second again, after b was killed: %d, want 409", got)
	}
	if n := len(p.agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want 1", n)
	}
}

// A call that b refused with the proof that nothing was executed stays refused,
// also after b was killed and its rules would let it in.
func TestWireRepeatsARefusal(t *testing.T) {
	p := wired(t, nil)
	call := p.capture(t, nil)
	open := p.optB
	rules := writeFile(t, "rules.yaml", "rules:\n  - name: closed\n    action: deny\n    conditions: {idempotency: [false]}\n", 0o600)
	p.optB.Config = func(c *sidecar.Config) { open.Config(c); c.Policy = []string{rules} }
	p.restartB(t)
	if got := p.throw(t, call); got != 403 {
		t.Fatalf("refusal: %d, want 403", got)
	}
	p.optB = open
	p.crashB(t)
	if got := p.throw(t, call); got != 409 || len(p.agent.Seen()) != 0 {
		t.Errorf("afterwards: %d, want 409, and b's agent was called %d times: b has signed that nothing was executed", got, len(p.agent.Seen()))
	}
}

// A call that a proxy took as early data is refused, and good after the handshake.
func TestWireIsEarly(t *testing.T) {
	p := wired(t, nil)
	call := p.capture(t, nil)
	early := bytes.Replace(call, []byte("\r\n"), []byte("\r\nEarly-Data: 1\r\n"), 1)
	if got := p.throw(t, early); got != 425 || len(p.agent.Seen()) != 0 {
		t.Errorf("early data: %d with %d calls, want 425 and none", got, len(p.agent.Seen()))
	}
	if got := p.throw(t, call); got != 200 {
		t.Errorf("after the handshake: %d, want 200", got)
	}
}

// What was signed for b is of no use elsewhere, even with b's own key behind
// another origin, and what was signed for another origin is of no use at b.
func TestWireRedirects(t *testing.T) {
	p := wired(t, nil)
	call := p.capture(t, nil)
	other := iatptest.NewParty(t)
	o := p.optB
	o.Data = ""
	configure := o.Config
	var keyB string
	o.Config = func(c *sidecar.Config) {
		configure(c)
		keyB = c.Key
		other.Listen(c)
		c.Key = keyB
	}
	c := iatptest.Start(t, o)
	elsewhere := &pair{wire: &wire{to: strings.TrimPrefix(other.URL, "http://")}}
	if got := elsewhere.throw(t, call); got != 421 {
		t.Errorf("b's call at another origin: %d, want 421", got)
	}
	host := strings.TrimPrefix(p.urlB, "http://")
	moved := bytes.Replace(call, []byte("Host: "+host), []byte("Host: "+strings.TrimPrefix(other.URL, "http://")), 1)
	if got := elsewhere.throw(t, moved); got != 400 {
		t.Errorf("b's call at another origin, with its Host: %d, want 400", got)
	}
	if n := len(c.Agent.Seen()) + len(p.agent.Seen()); n != 0 {
		t.Errorf("%d calls reached an agent", n)
	}
	if got := p.throw(t, call); got != 200 {
		t.Errorf("the call at b: %d, want 200", got)
	}
}

// Whatever somebody does to any byte of an answer: a takes it for proven only if
// it is b's.
func TestWireChangesAnAnswer(t *testing.T) {
	p := wired(t, func(a, b *iatptest.Options) {
		configure := a.Config
		a.Config = func(c *sidecar.Config) {
			configure(c)
			c.Limits.Idle, c.Limits.RetryBudget = sidecar.Duration(time.Second), sidecar.Duration(100*time.Millisecond)
		}
		b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"booked":"NYC","price":"420.00"}`)
		})
	})
	want := post(t, p.a, "/proxy/b", bookNYC, nil)
	if want.Status != 200 || want.Header.Get("Iatp-Proof") != "" {
		t.Fatalf("%d %v", want.Status, want.Header)
	}
	tries, proven := 0, 0
	for end := time.Now().Add(5 * time.Second); tries < 20 || time.Now().Before(end); tries++ {
		how := ""
		p.tap(nil, func(answer []byte) []byte {
			i := rand.IntN(len(answer))
			how = strconv.Itoa(i) + " in " + strconv.Quote(string(answer))
			switch rand.IntN(4) {
			case 0:
				return answer[:i]
			case 1:
				return slices.Delete(answer, i, i+1)
			case 2:
				return slices.Insert(answer, i, answer[i])
			}
			answer[i] ^= 1 << rand.IntN(7)
			return answer
		})
		r, trailer, err := tryStream(p.a, nil)
		if err != nil || trailer.Get("Iatp-Proof") != "" {
			continue // cut, or doubted at its end
		}
		if r.Header.Get("Iatp-From") == "sidecar" || r.Header.Get("Iatp-Proof") != "" {
			continue
		}
		if r.Header.Get("Iatp-Receipt") == "" && trailer.Get("Iatp-Receipt") == "" {
			if r.Status < 400 {
				t.Errorf("byte %s: a passes on %d without a receipt and without a doubt", how, r.Status)
			}
			continue
		}
		proven++
		if r.Status != 200 || !bytes.Equal(r.Body, want.Body) || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("byte %s: a calls this proven: %d %s %s", how, r.Status, r.Header.Get("Content-Type"), r.Body)
		}
	}
	t.Logf("%d tampered answers, %d of them still proven", tries, proven)
}
