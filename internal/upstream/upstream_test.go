package upstream

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve runs a server that speaks bytes. Each connection is handled by handle,
// which gets its number, from 1.
func serve(t testing.TB, handle func(n int64, c net.Conn, r *bufio.Reader)) (origin string, conns *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	conns = new(atomic.Int64)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n := conns.Add(1)
			go func() {
				defer c.Close()
				handle(n, c, bufio.NewReader(c))
			}()
		}
	}()
	return "http://" + ln.Addr().String(), conns
}

// readOne reads a request with its body.
func readOne(r *bufio.Reader) (*http.Request, []byte, error) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(req.Body)
	return req, body, err
}

func client(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Flush)
	return c
}

func bounded(t testing.TB) *Call {
	t.Helper()
	call := new(Call)
	clock := time.AfterFunc(10*time.Second, func() { call.End(errors.New("ten seconds are over")) })
	t.Cleanup(func() { clock.Stop() })
	return call
}

// got is an answer in short.
type got struct {
	Status int
	Body   string
	Err    string // head: or body: and the reason
}

func fetch(call *Call, c *Client, r *Request) got {
	resp, err := c.Do(call, r)
	if err != nil {
		return got{Err: "head: " + err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	g := got{Status: resp.StatusCode, Body: string(body)}
	if err != nil {
		g.Err = "body: " + err.Error()
	}
	return g
}

var post = &Request{Method: "POST", Target: "/", Body: []byte(`{"a":1}`)}

// corpus is what a hostile or broken server may send, and what becomes of it: an
// answer, or a word of the reason for refusing it. The connection ends after
// each.
var corpus = []struct {
	name, raw string
	want      got
}{
	{"plain", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", got{200, "hi", ""}},
	{"no reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", got{200, "hi", ""}},
	{"empty reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nhi", got{200, "hi", ""}},
	{"until the end", "HTTP/1.1 200 OK\r\n\r\nhello", got{200, "hello", ""}},
	{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", got{200, "hi", ""}},
	{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", got{200, "hi0123456789", ""}},
	{"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\nX-A: b\r\n\r\n", got{200, "hi", ""}},
	{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", got{404, "", ""}},
	{"no content", "HTTP/1.1 204 No Content\r\n\r\n", got{204, "", ""}},
	{"not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", got{304, "", ""}},
	{"599", "HTTP/1.1 599 X\r\nContent-Length: 0\r\n\r\n", got{599, "", ""}},
	{"blanks around a value", "HTTP/1.1 200 OK\r\nContent-Length: \t 2 \t\r\n\r\nhi", got{200, "hi", ""}},

	{"nothing", "", got{Err: "head: unexpected EOF"}},
	{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", got{Err: "head: unexpected EOF"}},
	{"short", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", got{200, "hi", "body: unexpected EOF"}},
	{"short chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhi", got{200, "hi", "body: unexpected EOF"}},
	{"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", got{200, "hi", "body: unexpected EOF"}},
	{"half a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n", got{200, "", "body: unexpected EOF"}},

	{"length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", got{Err: "head: Content-Length and Transfer-Encoding"}},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", got{Err: "head: Content-Length"}},
	{"the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", got{Err: "head: Content-Length"}},
	{"list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi", got{Err: "head: Content-Length"}},
	{"signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi", got{Err: "head: Content-Length"}},
	{"hexadecimal length", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nhi", got{Err: "head: Content-Length"}},
	{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi", got{Err: "head: Content-Length"}},
	{"empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhi", got{Err: "head: Content-Length"}},
	{"huge length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhi", got{Err: "head: Content-Length"}},
	{"gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", got{Err: "head: a Transfer-Encoding other than chunked"}},
	{"chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", got{Err: "head: a Transfer-Encoding other than chunked"}},
	{"identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhi", got{Err: "head: a Transfer-Encoding other than chunked"}},
	{"vertical tab", "HTTP/1.1 200 OK\r\nTransfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", got{Err: "head: control character"}},
	{"chunked in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", got{Err: "head: Transfer-Encoding in HTTP/1.0"}},
	{"folded", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n", got{Err: "head: folded"}},
	{"folded at once", "HTTP/1.1 200 OK\r\n X-A: b\r\n\r\n", got{Err: "head: folded"}},
	{"blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi", got{Err: "head: not a field"}},
	{"no colon", "HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n", got{Err: "head: not a field"}},
	{"no name", "HTTP/1.1 200 OK\r\n: x\r\n\r\n", got{Err: "head: not a field"}},
	{"NUL in a value", "HTTP/1.1 200 OK\r\nX-A: a\x00b\r\n\r\n", got{Err: "head: control character"}},
	{"CR in a value", "HTTP/1.1 200 OK\r\nX-A: a\rContent-Length: 2\r\n\r\nhi", got{Err: "head: control character"}},
	{"line feeds alone", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", got{Err: "head: does not end in CRLF"}},
	{"one line feed alone", "HTTP/1.1 200 OK\r\nX-A: b\nContent-Length: 2\r\n\r\nhi", got{Err: "head: does not end in CRLF"}},
	{"HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", got{Err: "head: HTTP/1.x"}},
	{"HTTP/1.10", "HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n", got{Err: "head: HTTP/1.x"}},
	{"HTTP/0.9", "hello\r\n\r\n", got{Err: "head: HTTP/1.x"}},
	{"lower case", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", got{Err: "head: HTTP/1.x"}},
	{"blank line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", got{Err: "head: HTTP/1.x"}},
	{"099", "HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", got{Err: "head: no such status"}},
	{"600", "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n", got{Err: "head: no such status"}},
	{"999", "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", got{Err: "head: no such status"}},
	{"2000", "HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n", got{Err: "head: HTTP/1.x"}},
	{"+20", "HTTP/1.1 +20 X\r\nContent-Length: 0\r\n\r\n", got{Err: "head: no such status"}},
	{"switching", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhi", got{Err: "head: switches protocols"}},
	{"interim for ever", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 6) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", got{Err: "head: more than 5 interim"}},
	{"no content with length", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi", got{Err: "head: 204 with a body"}},
	{"101 fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: b\r\n", 101) + "\r\n", got{Err: "head: more than 100 fields"}},
	{"long head", "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("b", 70<<10) + "\r\n\r\n", got{Err: "head: longer than 64 KiB"}},
	{"signed chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n", got{200, "", "body: the size of a chunk"}},
	{"empty chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhi\r\n0\r\n\r\n", got{200, "", "body: the size of a chunk"}},
	{"0x chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n", got{200, "", "body: the size of a chunk"}},
	{"huge chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nhi\r\n0\r\n\r\n", got{200, "", "body: the size of a chunk"}},
	{"long chunk line", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + strings.Repeat("x", 9<<10) + "\r\nhi\r\n0\r\n\r\n", got{200, "", "body: longer than 256"}},
	{"chunk with a line feed", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n", got{200, "", "body: does not end in CRLF"}},
	{"chunk too long", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n", got{200, "hi", "body: malformed"}},
	{"many trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("X: y\r\n", 21) + "\r\n", got{200, "", "body: more than 20 trailer"}},
	{"bad trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX y\r\n\r\n", got{200, "", "body: not a field"}},
}

// same compares answers; of a reason, it is enough that the word is in it.
func (g got) same(want got) bool {
	where, word, _ := strings.Cut(want.Err, ": ")
	return g.Status == want.Status && g.Body == want.Body && (g.Err == "") == (want.Err == "") &&
		strings.HasPrefix(g.Err, where) && strings.Contains(g.Err, word)
}

// TestHostileUpstream sends every answer of the corpus, whole and byte by byte.
// Where we take an answer, net/http must see the same one.
func TestHostileUpstream(t *testing.T) {
	for _, c := range corpus {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var slow atomic.Bool
			origin, _ := serve(t, func(_ int64, w net.Conn, r *bufio.Reader) {
				if _, _, err := readOne(r); err != nil {
					return
				}
				if !slow.Load() || len(c.raw) > 2000 {
					_, _ = io.WriteString(w, c.raw)
					return
				}
				for i := range len(c.raw) {
					if _, err := io.WriteString(w, c.raw[i:i+1]); err != nil {
						return
					}
					runtime.Gosched()
				}
			})
			cl := client(t, Options{Origin: origin})
			for _, pieces := range []bool{false, true} {
				slow.Store(pieces)
				cl.Flush() // the server closes after each answer, at a moment of its own
				if g := fetch(bounded(t), cl, post); !g.same(c.want) {
					t.Errorf("in pieces: %t: got %+v, want %+v", pieces, g, c.want)
				}
			}
			if c.want.Err == "" {
				slow.Store(false)
				if diff := cmp.Diff(c.want, byTransport(t, origin)); diff != "" {
					t.Errorf("net/http sees another answer, -ours +theirs:\n%s", diff)
				}
			}
		})
	}
}

// byTransport is what net/http makes of an answer.
func byTransport(t *testing.T, origin string) got {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	req, err := http.NewRequestWithContext(t.Context(), "POST", origin+"/", bytes.NewReader(post.Body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return got{Err: "head: " + err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	g := got{Status: resp.StatusCode, Body: string(body)}
	if err != nil {
		g.Err = "body: " + err.Error()
	}
	return g
}

// TestNothingSpillsOver gives answers that are followed by more than they
// announced. What is too much never becomes the next answer.
func TestNothingSpillsOver(t *testing.T) {
	evil := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	for name, raw := range map[string]string{
		"behind a length":     "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood" + evil,
		"behind chunks":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n" + evil,
		"behind no content":   "HTTP/1.1 204 OK\r\n\r\n" + evil,
		"behind not modified": "HTTP/1.1 304 OK\r\nContent-Length: 4\r\n\r\ngood" + evil,
		"one byte":            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood\n",
		"behind an interim":   "HTTP/1.1 103 Hint\r\n\r\nHTTP/1.1 204 OK\r\n\r\n" + evil,
	} {
		t.Run(name, func(t *testing.T) {
			origin, conns := serve(t, func(n int64, w net.Conn, r *bufio.Reader) {
				for {
					if _, _, err := readOne(r); err != nil {
						return
					}
					answer := raw
					if n > 1 {
						answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean"
					}
					_, _ = io.WriteString(w, answer)
				}
			})
			c := client(t, Options{Origin: origin})
			if g := fetch(bounded(t), c, post); g.Err != "" || strings.Contains(g.Body, "evil") {
				t.Fatalf("first answer: %+v", g)
			}
			time.Sleep(10 * time.Millisecond) // what comes late is there now
			if g := fetch(bounded(t), c, post); g != (got{200, "clean", ""}) || conns.Load() != 2 {
				t.Errorf("second answer: %+v on connection %d; want a clean one on another connection", g, conns.Load())
			}
		})
	}
}

// TestNothingSpillsOverInTLS: a record of TLS may hold the end of one answer and
// more. What is more was decrypted already, where nobody sees it on the socket.
func TestNothingSpillsOverInTLS(t *testing.T) {
	long := strings.Repeat("x", 30_000)
	var conns atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + long
		if conns.Add(1) == 1 {
			answer += "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
		}
		_, _ = io.WriteString(c, answer) // the test sees what arrived
		_, _, _ = readOne(buf.Reader)    // the connection stays open
		_, _ = io.WriteString(c, answer)
	}))
	srv.StartTLS()
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	c := client(t, Options{Origin: srv.URL, TLS: &tls.Config{RootCAs: pool}})
	for n := range 2 {
		if g := fetch(bounded(t), c, post); g != (got{200, long, ""}) {
			t.Errorf("answer %d: status %d, %.20q, %q", n+1, g.Status, g.Body, g.Err)
		}
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections; want another one for the second answer", n)
	}
}

// TestReuse holds the pool to its rules.
func TestReuse(t *testing.T) {
	origin, conns := serve(t, func(_ int64, w net.Conn, r *bufio.Reader) {
		for {
			req, _, err := readOne(r)
			if err != nil {
				return
			}
			switch req.URL.Path {
			case "/close":
				_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nhi")
			case "/old":
				_, _ = io.WriteString(w, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")
			case "/long":
				_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"+strings.Repeat("x", 200000))
			default:
				_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
			}
		}
	})
	c := client(t, Options{Origin: origin})
	expect := func(what, target string, want int64) {
		t.Helper()
		if g := fetch(bounded(t), c, &Request{Method: "POST", Target: target, Body: []byte("{}")}); g.Err != "" || g.Status != 200 {
			t.Fatalf("%s: %+v", what, g)
		}
		if n := conns.Load(); n != want {
			t.Fatalf("%s: %d connections so far, want %d", what, n, want)
		}
	}
	for range 50 {
		expect("kept alive", "/", 1)
	}
	expect("long, read to its end", "/long", 1)
	expect("says close", "/close", 1)
	expect("after close", "/old", 2)
	expect("after HTTP/1.0", "/", 3)
	c.Flush()
	expect("after Flush", "/", 4)
	resp, err := c.Do(bounded(t), &Request{Method: "POST", Target: "/long"})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() // with most of it unread
	if _, err := resp.Body.Read(make([]byte, 1)); err == nil {
		t.Error("a closed body can be read")
	}
	expect("after an answer that was given up", "/", 5)
	resp, err = c.Do(bounded(t), &Request{Method: "POST", Target: "/"})
	if err != nil {
		t.Fatal(err)
	}
	c.Flush() // while it is under way
	_, _ = io.Copy(io.Discard, resp.Body)
	expect("flushed under way", "/", 6)
}

// TestIdle lets connections grow old.
func TestIdle(t *testing.T) {
	closed := make(chan struct{}, 8)
	origin, conns := serve(t, func(_ int64, w net.Conn, r *bufio.Reader) {
		for {
			if _, _, err := readOne(r); err != nil {
				closed <- struct{}{}
				return
			}
			_, _ = io.WriteString(w, "HTTP/1.1 204 OK\r\n\r\n")
		}
	})
	c := client(t, Options{Origin: origin, IdleTime: 20 * time.Millisecond})
	for want := int64(1); want <= 2; want++ {
		fetch(bounded(t), c, post)
		select {
		case <-closed:
		case <-time.After(10 * time.Second):
			t.Fatal("an idle connection is kept for ever")
		}
		if n := conns.Load(); n != want {
			t.Errorf("%d connections, want %d", n, want)
		}
	}
}

// TestNeverTwice lets a server take a request and die. It has seen it once.
func TestNeverTwice(t *testing.T) {
	var seen atomic.Int64
	origin, _ := serve(t, func(n int64, w net.Conn, r *bufio.Reader) {
		if n == 1 { // a good one first, so that the second goes out on a used connection
			_, _, _ = readOne(r)
			_, _ = io.WriteString(w, "HTTP/1.1 204 OK\r\n\r\n")
		}
		if _, _, err := readOne(r); err == nil {
			seen.Add(1)
		}
	})
	c := client(t, Options{Origin: origin})
	fetch(bounded(t), c, post)
	_, err := c.Do(bounded(t), post)
	e, ok := errors.AsType[*Error](err)
	if !ok || !e.Sent || seen.Load() != 1 {
		t.Errorf("error %v, request seen %d times; want an Error with Sent, once", err, seen.Load())
	}
}

// TestStale lets the server close a connection while it is idle. The next
// request goes to another one and nobody notices.
// A server of another protocol, which waits for the client to go on, is known by its
// first bytes.
func TestOtherProtocol(t *testing.T) {
	for _, greeting := range []string{"SSH-2.0-OpenSSH_9.2\r\n", "220 mail ESMTP\r\n", "\x16\x03\x01\x02\x00", `{"a":1}`, "HTTQ", "\r\n"} {
		origin, _ := serve(t, func(_ int64, c net.Conn, r *bufio.Reader) {
			if _, _, err := readOne(r); err == nil {
				_, _ = io.WriteString(c, greeting)
				_, _ = r.ReadByte() // until the client hangs up
			}
		})
		want := got{Err: "head: malformed answer: it does not begin with HTTP/1.x and a status"}
		if diff := cmp.Diff(want, fetch(bounded(t), client(t, Options{Origin: origin}), post)); diff != "" {
			t.Errorf("%q, -want +got:\n%s", greeting, diff)
		}
	}
}

func TestStale(t *testing.T) {
	origin, conns := serve(t, func(_ int64, w net.Conn, r *bufio.Reader) {
		if _, _, err := readOne(r); err == nil {
			_, _ = io.WriteString(w, "HTTP/1.1 204 OK\r\n\r\n")
		}
	})
	c := client(t, Options{Origin: origin})
	for want := range int64(5) {
		if g := fetch(bounded(t), c, post); g != (got{204, "", ""}) || conns.Load() != want+1 {
			t.Fatalf("answer %+v on connection %d", g, conns.Load())
		}
		for len(c.idle) > 0 && c.idle[0].quiet() { // until the end arrives
			time.Sleep(time.Millisecond)
		}
	}
}

// TestUnreachable: what was not sent is said to be not sent.
func TestUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	c := client(t, Options{Origin: "http://" + ln.Addr().String()})
	_, err = c.Do(bounded(t), post)
	if e, ok := errors.AsType[*Error](err); !ok || e.Sent {
		t.Errorf("error %v; want an Error without Sent", err)
	}
}

// TestEarlyAnswer refuses a long upload while it is under way. The answer is
// heard, and the connection is not used again.
func TestEarlyAnswer(t *testing.T) {
	origin, conns := serve(t, func(_ int64, w net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(w, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		time.Sleep(time.Second) // it reads no more
	})
	c := client(t, Options{Origin: origin})
	big := &Request{Method: "POST", Target: "/", Body: make([]byte, 32<<20)}
	for want := range int64(2) {
		if g := fetch(bounded(t), c, big); g != (got{413, "no", ""}) || conns.Load() != want+1 {
			t.Errorf("answer %+v on connection %d", g, conns.Load())
		}
	}
}

// TestLongBodies sends what does not fit into one write.
func TestLongBodies(t *testing.T) {
	origin, conns := serve(t, func(_ int64, w net.Conn, r *bufio.Reader) {
		for {
			_, body, err := readOne(r)
			if err != nil {
				return
			}
			fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	c := client(t, Options{Origin: origin})
	for _, n := range []int{0, 1, room - 100, room - 60, room - 59, room, room + 1, 100_000, 5 << 20} {
		body := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
		if g := fetch(bounded(t), c, &Request{Method: "POST", Target: "/", Body: body}); g != (got{200, string(body), ""}) {
			t.Errorf("%d bytes came back as %d with status %d, %q", n, len(g.Body), g.Status, g.Err)
		}
	}
	long := []Field{{"X-Long", strings.Repeat("a", 3*room)}}
	if g := fetch(bounded(t), c, &Request{Method: "POST", Target: "/", Fields: long, Body: []byte("x")}); g != (got{200, "x", ""}) {
		t.Errorf("a long head: %+v", g)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// TestEnd ends the context at every stage. No goroutine and no connection stays.
func TestEnd(t *testing.T) {
	for _, stage := range []string{"", "HTTP/1.1 200 O", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"} {
		gone := make(chan struct{})
		origin, _ := serve(t, func(n int64, w net.Conn, r *bufio.Reader) {
			_, _, _ = readOne(r)
			_, _ = io.WriteString(w, stage)
			_, _ = r.ReadByte() // until the other side hangs up
			close(gone)
		})
		c := client(t, Options{Origin: origin})
		why := errors.New("enough")
		call := bounded(t)
		time.AfterFunc(20*time.Millisecond, func() { call.End(why) })
		g := fetch(call, c, post)
		if g.Err == "" || (g.Status == 0 && !strings.Contains(g.Err, "enough")) {
			t.Errorf("after %q: %+v", stage, g)
		}
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			t.Errorf("after %q: the connection is kept", stage)
		}
	}
}

// TestTLS speaks to a server with a certificate, and not to one with another.
func TestTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	c := client(t, Options{Origin: srv.URL, TLS: &tls.Config{RootCAs: pool}})
	big := strings.Repeat("x", 300_000)
	for _, body := range []string{"hi", big, "again"} {
		if g := fetch(bounded(t), c, &Request{Method: "POST", Target: "/", Body: []byte(body)}); g != (got{200, body, ""}) {
			t.Errorf("status %d, %d bytes, %q", g.Status, len(g.Body), g.Err)
		}
	}
	strange := client(t, Options{Origin: srv.URL, TLS: &tls.Config{RootCAs: x509.NewCertPool()}})
	_, err := strange.Do(bounded(t), post)
	if e, ok := errors.AsType[*Error](err); !ok || e.Sent {
		t.Errorf("a certificate that nobody signed: %v; want an Error without Sent", err)
	}
}

// TestMemory lets a server send without end where an end is due.
func TestMemory(t *testing.T) {
	for name, parts := range map[string][2]string{
		"head":      {"HTTP/1.1 200 OK\r\nX: ", "aaaaaaaaaaaaaaaa"},
		"fields":    {"HTTP/1.1 200 OK\r\n", "A: b\r\n"},
		"interim":   {"", "HTTP/1.1 100 Continue\r\n\r\n"},
		"extension": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "aaaaaaaaaaaaaaaa"},
		"trailer":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "A: b\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int64
			origin, _ := serve(t, func(_ int64, w net.Conn, r *bufio.Reader) {
				_, _, _ = readOne(r)
				_, _ = io.WriteString(w, parts[0])
				for block := bytes.Repeat([]byte(parts[1]), 1000); ; {
					n, err := w.Write(block)
					if sent.Add(int64(n)); err != nil {
						return
					}
				}
			})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if g := fetch(bounded(t), client(t, Options{Origin: origin}), post); !strings.Contains(g.Err, "malformed") {
				t.Errorf("got %+v", g)
			}
			runtime.ReadMemStats(&after)
			// The server allocates its block; the client may hold 64 KiB of head, twice while it grows.
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
				t.Errorf("%d bytes were allocated, the server sent %d", grown, sent.Load())
			}
		})
	}
}

// TestRequestsAreChecked refuses what would mean something else on the wire.
func TestRequestsAreChecked(t *testing.T) {
	origin, conns := serve(t, func(int64, net.Conn, *bufio.Reader) {})
	c := client(t, Options{Origin: origin})
	for name, r := range map[string]*Request{
		"method":         {Method: "PO ST", Target: "/"},
		"no method":      {Target: "/"},
		"target":         {Method: "POST", Target: "/ HTTP/1.1\r\nX: y"},
		"absolute":       {Method: "POST", Target: "http://x/"},
		"fragment":       {Method: "POST", Target: "/#x"},
		"name":           {Method: "POST", Target: "/", Fields: []Field{{"X: y\r\nA", "b"}}},
		"empty name":     {Method: "POST", Target: "/", Fields: []Field{{"", "b"}}},
		"value":          {Method: "POST", Target: "/", Fields: []Field{{"A", "b\r\nHost: x"}}},
		"line feed":      {Method: "POST", Target: "/", Fields: []Field{{"A", "b\n"}}},
		"host":           {Method: "POST", Target: "/", Fields: []Field{{"host", "x"}}},
		"length":         {Method: "POST", Target: "/", Fields: []Field{{"Content-Length", "0"}}},
		"coding":         {Method: "POST", Target: "/", Fields: []Field{{"Transfer-Encoding", "chunked"}}},
		"connection":     {Method: "POST", Target: "/", Fields: []Field{{"Connection", "close"}}},
		"keep-alive":     {Method: "POST", Target: "/", Fields: []Field{{"Keep-Alive", "1"}}},
		"te":             {Method: "POST", Target: "/", Fields: []Field{{"TE", "trailers"}}},
		"trailer":        {Method: "POST", Target: "/", Fields: []Field{{"Trailer", "A"}}},
		"upgrade":        {Method: "POST", Target: "/", Fields: []Field{{"Upgrade", "h2c"}}},
		"expect":         {Method: "POST", Target: "/", Fields: []Field{{"Expect", "100-continue"}}},
		"proxy anything": {Method: "POST", Target: "/", Fields: []Field{{"Proxy-Authorization", "x"}}},
	} {
		_, err := c.Do(bounded(t), r)
		if e, ok := errors.AsType[*Error](err); !ok || e.Sent {
			t.Errorf("%s: %v; want an Error without Sent", name, err)
		}
	}
	if n := conns.Load(); n != 0 {
		t.Errorf("%d connections were made for requests that cannot be sent", n)
	}
	for _, origin := range []string{"", "localhost:8000", "ftp://x", "http://"} {
		if _, err := New(Options{Origin: origin}); err == nil {
			t.Errorf("New(%q) works", origin)
		}
	}
}

func TestTrailer(t *testing.T) {
	origin, _ := serve(t, func(_ int64, w net.Conn, r *bufio.Reader) {
		_, _, _ = readOne(r)
		_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n0\r\nx-sum: 1\r\nX-Sum: 2\r\nContent-Length: 9\r\nHost: h\r\n\r\n")
	})
	resp, err := client(t, Options{Origin: origin}).Do(bounded(t), post)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(http.Header{"X-Sum": {"1", "2"}}, resp.Trailer); diff != "" {
		t.Errorf("trailer, -want +got:\n%s", diff)
	}
}

// slowGoodbye is a connection whose Close waits, as that of TLS does for a peer
// that takes nothing.
type slowGoodbye struct {
	net.Conn
	closing, let chan struct{}
}

func (s slowGoodbye) Close() error {
	s.closing <- struct{}{}
	<-s.let
	return nil
}

// TestSlowGoodbyeHoldsNobody: while a connection is being closed, others are taken
// and given back.
func TestSlowGoodbyeHoldsNobody(t *testing.T) {
	for name, end := range map[string]func(*Client, *conn){
		"put":   func(c *Client, cn *conn) { c.age++; c.put(cn) },
		"sweep": func(c *Client, cn *conn) { c.idle = append(c.idle, cn); c.sweep() },
		"flush": func(c *Client, cn *conn) { c.idle = append(c.idle, cn); c.Flush() },
	} {
		c, err := New(Options{Origin: "http://127.0.0.1:1"})
		if err != nil {
			t.Fatal(err)
		}
		cn := slowGoodbye{closing: make(chan struct{}), let: make(chan struct{})}
		done := make(chan struct{})
		go func() { end(c, &conn{Conn: cn, client: c}); close(done) }()
		<-cn.closing
		if c.mu.TryLock() {
			c.mu.Unlock()
		} else {
			t.Errorf("%s closes under the lock", name)
		}
		close(cn.let)
		<-done
	}
}
