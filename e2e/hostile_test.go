package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// memoryBound is what a sidecar may hold at the most, in bytes, whatever is
// thrown at it; it holds some 20 MiB at rest.
const memoryBound = 200 << 20

// TestHostileInput throws what no honest caller sends at a sidecar, while
// /health must answer within a second and its memory stays bounded.
func TestHostileInput(t *testing.T) {
	needProc(t)
	t.Parallel()
	a := startAgent(t, nil)
	s := setup{agent: a.url, fast: true, config: "limits: {body_time: 2s}\n"}.start(t)
	pulse := s.takePulse(t)

	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	requests := map[string]struct {
		bytes string
		want  int // 0: any 4xx
	}{
		"a trace id that is a path":   {wire(trip, "X-Agent-Trace-ID: ../../etc/x"), 400},
		"a trace id of 129":           {wire(trip, "X-Agent-Trace-ID: "+strings.Repeat("a", 129)), 400},
		"two trace ids":               {wire(trip, "X-Agent-Trace-ID: a", "X-Agent-Trace-ID: b"), 400},
		"depth 10,000":                {wire(deep), 400},
		"objects in depth":            {wire(strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)), 400},
		"duplicate members":           {wire(`{"task":"book","task":"steal"}`), 400},
		"escaped duplicates":          {wire(`{"task":"book","t\u0061sk":"steal"}`), 400},
		"two values":                  {wire(trip + trip), 400},
		"a byte order mark":           {wire("\ufeff" + trip), 400},
		"bad UTF-8":                   {wire("{\"task\":\"\xff\"}"), 400},
		"a lone surrogate":            {wire(`{"task":"\ud800"}`), 400},
		"nothing":                     {wire(""), 400},
		"not JSON":                    {wire("task=book"), 400},
		"NaN":                         {wire(`{"amount":NaN}`), 400},
		"compressed":                  {wire(trip, "Content-Encoding: gzip"), 415},
		"two lengths":                 {"POST /proxy HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400},
		"a negative length":           {"POST /proxy HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400},
		"a bad chunk":                 {"POST /proxy HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nxyz\r\n", 400},
		"another transfer encoding":   {"POST /proxy HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0},
		"a header line of 64 KiB":     {wire(trip, "X-Long: "+strings.Repeat("a", 64<<10)), 431},
		"ten thousand header lines":   {wire(trip, strings.Split(strings.Repeat("X-A: b\n", 10_000)+"X-A: b", "\n")...), 431},
		"a header without a colon":    {"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A\r\n\r\n", 400},
		"an encoded path":             {"GET /%68ealth HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		"dots in the path":            {"GET /trace/../health HTTP/1.1\r\nHost: localhost\r\n\r\n", 0},
		"a trace that is a path":      {"GET /trace/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
		"CONNECT":                     {"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
		"no HTTP":                     {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n", 400},
		"a request for HTTP/2":        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0},
		"an upgrade":                  {wire(trip, "Connection: Upgrade", "Upgrade: websocket"), 400},
		"a query":                     {strings.Replace(wire(trip), "/proxy", "/proxy?admin=1", 1), 400},
		"no host":                     {"GET /health HTTP/1.1\r\n\r\n", 400},
		"records without the token":   {"GET /trace?limit=5 HTTP/1.1\r\nHost: localhost\r\n\r\n", 401},
		"the export with a bad one":   {"GET /log/export HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n", 401},
		"a body on GET":               {"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi", 400},
		"a body that breaks its word": {strings.Replace(wire(trip), "Content-Length: 44", "Content-Length: 45", 1), 408},
	}
	var wg sync.WaitGroup
	for name, r := range requests {
		wg.Go(func() {
			got, err := s.tryRaw(r.bytes)
			if err != nil && r.want == 431 {
				return // cut off while the rest was still coming
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			if got.status != r.want && (r.want != 0 || got.status < 400 || got.status > 501) {
				t.Errorf("%s: %d, want %d: %.300s", name, got.status, r.want, got.text)
			}
		})
	}
	wg.Wait()
	s.hugeBody(t)
	s.endlessBodies(t)
	s.slowConnections(t, 2000)
	pulse.stop(t)

	if calls := a.calls(); len(calls) != 0 {
		t.Errorf("the agent saw %d calls, the first %v", len(calls), calls[0])
	}
	if r := s.post(t, trip); r.status != 200 {
		t.Errorf("afterwards: %d %s", r.status, r.text)
	}
	s.stop(t)
	checkLog(t, s.data)
}

// hugeBody announces 64 MiB, then sends them without announcing.
func (s *sidecar) hugeBody(t *testing.T) {
	t.Helper()
	const size = 64 << 20
	for name, body := range map[string]io.Reader{
		"announced": http.NoBody,
		"chunked":   struct{ io.Reader }{io.LimitReader(sevens{}, size)},
	} {
		req, err := http.NewRequest("POST", "http://"+s.addr+"/proxy", body)
		if err != nil {
			t.Fatal(err)
		}
		if name == "announced" {
			req.Body, req.ContentLength = io.NopCloser(io.LimitReader(sevens{}, size)), size
		}
		req.Header.Set("Content-Type", "application/json")
		start := time.Now()
		resp, err := patient.Do(req)
		if err != nil { // cut off while it was still sending
			t.Logf("64 MiB, %s: %v", name, err)
		} else {
			resp.Body.Close()
			if resp.StatusCode != 413 {
				t.Errorf("64 MiB, %s: %d", name, resp.StatusCode)
			}
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("64 MiB, %s: took %s", name, took)
		}
	}
}

// sevens is a number without end.
type sevens struct{}

func (sevens) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '7'
	}
	return len(p), nil
}

// endlessBodies are chunked and never end: one as fast as it is taken, one a
// byte at a time, one silent. Each must be answered or cut off.
func (s *sidecar) endlessBodies(t *testing.T) {
	t.Helper()
	for name, pause := range map[string]time.Duration{"fast": 0, "slow": 20 * time.Millisecond, "silent": time.Hour} {
		conn := s.dial(t)
		fmt.Fprint(conn, "POST /proxy HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for piece := "400\r\n" + strings.Repeat(" ", 1024) + "\r\n"; ; {
				if pause >= time.Hour {
					return
				}
				if _, err := io.WriteString(conn, piece); err != nil {
					return
				}
				time.Sleep(pause)
				if pause > 0 {
					piece = "1\r\n \r\n"
				}
			}
		}()
		start := time.Now()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && resp.StatusCode != 413 && resp.StatusCode != 408 {
			t.Errorf("an endless body, %s: %d", name, resp.StatusCode)
		}
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("an endless body, %s: %s until %v", name, took, err)
		}
		conn.Close()
		<-done
	}
}

// slowConnections holds n connections open, each with half a head or half a
// body. All must be closed from the other side in the end.
func (s *sidecar) slowConnections(t *testing.T, n int) {
	t.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = s.dial(t)
		if i%2 == 0 {
			fmt.Fprint(conns[i], "POST /proxy HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
		} else {
			fmt.Fprint(conns[i], "POST /proxy HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{")
		}
	}
	if r := s.post(t, `{"broken":`); r.status != 400 {
		t.Errorf("a call beside %d slow connections: %d", n, r.status)
	}
	open := 0
	end := time.Now().Add(14 * time.Second) // 10 s are for a head
	for _, c := range conns {
		_ = c.SetReadDeadline(end)
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			open++
		}
		c.Close()
	}
	if open > 0 {
		t.Errorf("%d of %d slow connections are still open", open, n)
	}
}

func (s *sidecar) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

// pulse watches the health and the size of a sidecar.
type pulse struct {
	quit, done chan struct{}
	worst      time.Duration
	largest    int64
	beats      int
	err        error
}

func (s *sidecar) takePulse(t *testing.T) *pulse {
	t.Helper()
	p := &pulse{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for {
			start := time.Now()
			r, err := s.send("GET", "/health", "")
			if err != nil || r.status != 200 {
				p.err = fmt.Errorf("/health: %v %v", r, err)
				return
			}
			p.worst = max(p.worst, time.Since(start))
			size, err := s.rss()
			if err != nil {
				p.err = err
				return
			}
			p.largest = max(p.largest, size)
			p.beats++
			select {
			case <-p.quit:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return p
}

func (p *pulse) stop(t *testing.T) {
	t.Helper()
	close(p.quit)
	<-p.done
	t.Logf("%d looks at /health, the slowest took %s; at the most %d MiB were held", p.beats, p.worst.Round(time.Millisecond), p.largest>>20)
	if p.err != nil || p.worst > time.Second {
		t.Errorf("/health took up to %s: %v", p.worst, p.err)
	}
	if p.largest > memoryBound {
		t.Errorf("the sidecar held %d MiB, want at most %d", p.largest>>20, memoryBound>>20)
	}
}

// needProc skips a test that reads the memory of a process where there is no /proc.
func needProc(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the memory of another process is read from /proc, which only Linux has")
	}
}

// TestMemoryIsFlat: 15,000 exchanges more leave nothing behind, neither memory
// nor goroutines.
func TestMemoryIsFlat(t *testing.T) {
	needProc(t)
	t.Parallel()
	const growth = 16 << 20 // of a process with a garbage collector
	s := setup{agent: example(t, "securebank"), fast: true}.start(t)
	s.exchanges(t, 5000)
	before, err := s.rss()
	if err != nil {
		t.Fatal(err)
	}
	s.exchanges(t, 15_000)
	after, err := s.rss()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB after 5,000 exchanges, %d MiB after 20,000", before>>20, after>>20)
	if after > before+growth {
		t.Errorf("memory grows: %d bytes after 5,000 exchanges, %d after 20,000", before, after)
	}
	if n := s.goroutines(t); n < 3 || n > 60 { // 8 callers' and 8 agent's connections may still be open
		t.Errorf("%d goroutines at rest", n)
	}
	checkLog(t, s.data)
}

// goroutines ends the process with SIGQUIT and counts what it says was running.
func (s *sidecar) goroutines(t *testing.T) int {
	t.Helper()
	s.signal(t, syscall.SIGQUIT)
	s.exit(t, 10*time.Second)
	return strings.Count(s.stderr.String(), "\ngoroutine ")
}

// exchanges makes n calls over eight connections.
func (s *sidecar) exchanges(t *testing.T, n int) {
	t.Helper()
	const callers = 8
	request := wire(`{"task":"balance","data":{"account":"456"}}`)
	var wg sync.WaitGroup
	for range callers {
		conn := s.dial(t)
		wg.Go(func() {
			defer conn.Close()
			in := bufio.NewReader(conn)
			for range n / callers {
				_, _ = io.WriteString(conn, request) // the answer says whether it arrived
				resp, err := http.ReadResponse(in, nil)
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("%v %v", resp, err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body) // the next answer begins behind it
			}
		})
	}
	wg.Wait()
}

// TestLargeAnswers: what streams through is never held, however slow its reader.
func TestLargeAnswers(t *testing.T) {
	needProc(t)
	t.Parallel()
	const size, callers = 32 << 20, 4
	chunk := []byte(strings.Repeat("lorem ipsum dolor. ", 3450)) // 64 KiB
	a := startAgent(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for sent := 0; sent < size; sent += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	s := setup{agent: a.url, fast: true}.start(t)
	pulse := s.takePulse(t)
	var wg sync.WaitGroup
	for range callers {
		conn := s.dial(t)
		wg.Go(func() {
			defer conn.Close()
			fmt.Fprint(conn, wire(trip))
			time.Sleep(200 * time.Millisecond)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if n, err := io.Copy(io.Discard, resp.Body); n < size || err != nil {
				t.Errorf("%d bytes came, %v", n, err)
			}
		})
	}
	wg.Wait()
	pulse.stop(t)
	s.stop(t)
	checkLog(t, s.data)
}
