package upstream

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// script is a connection on which everything was said already. It hands it out
// in pieces of step bytes.
type script struct {
	net.Conn
	rest []byte
	step int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.step)], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) Close() error                     { return nil }

// answerTo reads raw as the answer to a request. reused says that the
// connection went back to the pool, left what was not read of it.
func answerTo(t *testing.T, method string, raw []byte, step int) (resp *http.Response, body []byte, reused bool, left int) {
	c, err := New(Options{Origin: "http://agent.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Flush()
	s := &script{rest: raw, step: step}
	cn := newConn(c, s, 0)
	if resp, err = cn.exchange(new(Call), &Request{Method: method, Target: "/"}, false); err != nil {
		return nil, nil, false, 0
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		return nil, nil, len(c.idle) > 0, 0
	}
	return resp, body, len(c.idle) > 0, len(s.rest)
}

// FuzzAnswer holds the reader to the obvious one: what we take for a whole
// answer, net/http takes for the same one, and a connection that we keep has
// nothing of it left. How the bytes come in pieces does not matter.
func FuzzAnswer(f *testing.F) {
	for _, c := range corpus {
		if len(c.raw) < 4096 {
			f.Add([]byte(c.raw), "POST", 1)
			f.Add([]byte(c.raw+c.raw), "HEAD", 4096)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, method string, step int) {
		if method != "HEAD" {
			method = "POST"
		}
		step = min(max(step, 1), 4096)
		resp, body, reused, left := answerTo(t, method, raw, step)
		again, bodyAgain, reusedAgain, _ := answerTo(t, method, raw, 1)
		if (resp == nil) != (again == nil) || !bytes.Equal(body, bodyAgain) {
			t.Fatalf("in pieces of %d: %v %q; of 1: %v %q", step, resp, body, again, bodyAgain)
		}
		if resp == nil {
			if reused || reusedAgain {
				t.Fatal("a connection is kept after an error")
			}
			return
		}
		if reused && reusedAgain && left > 0 && step == 4096 && len(raw) < 4096 {
			t.Fatalf("a connection is kept with %d bytes to read", left)
		}
		compareWithNetHTTP(t, raw, method, resp, body)
	})
}

func compareWithNetHTTP(t *testing.T, raw []byte, method string, resp *http.Response, body []byte) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(raw))
	req := &http.Request{Method: method}
	for {
		want, err := http.ReadResponse(r, req)
		if err != nil {
			t.Fatalf("we take %q, net/http does not: %v", raw, err)
		}
		if want.StatusCode < 200 {
			continue
		}
		wantBody, err := io.ReadAll(want.Body)
		if err != nil || want.StatusCode != resp.StatusCode || !bytes.Equal(wantBody, body) {
			t.Fatalf("of %q we read %d %q, net/http %d %q, %v", raw, resp.StatusCode, body, want.StatusCode, wantBody, err)
		}
		for name, values := range resp.Header {
			if got := want.Header[name]; name != "Trailer" && len(got) != len(values) {
				t.Fatalf("of %q we read %s: %q, net/http %q", raw, name, values, got)
			}
		}
		return
	}
}

// FuzzRequest holds the writer to net/http's reader: a request that we send is
// read as one request with the fields that it was given, whatever they hold.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/a?b", "X-A", "b", []byte("{}"))
	f.Add("GET", "/", "A", "b\r\nHost: x", []byte(nil))
	f.Add("PUT", "/%0d%0a", "A\r\nB", "c", []byte("x"))
	f.Fuzz(func(t *testing.T, method, target, name, value string, body []byte) {
		r := &Request{Method: method, Target: target, Fields: []Field{{name, value}}, Body: body}
		if r.check() != nil {
			return
		}
		raw := append(r.appendHead(nil, "agent.example"), body...)
		in := bufio.NewReader(bytes.NewReader(raw))
		req, err := http.ReadRequest(in)
		if err != nil {
			return // a method or target that net/http does not take: nothing is smuggled
		}
		got, err := io.ReadAll(req.Body)
		if err != nil || !bytes.Equal(got, body) || req.Method != method || req.RequestURI != target || req.Host != "agent.example" {
			t.Fatalf("%q is read as %s %s at %s with %q, %v", raw, req.Method, req.RequestURI, req.Host, got, err)
		}
		if in.Buffered() > 0 || len(req.Header) > 2 || len(req.TransferEncoding) > 0 {
			t.Fatalf("%q is read with the head %q, and %d bytes are left", raw, req.Header, in.Buffered())
		}
	})
}

func BenchmarkDo(b *testing.B) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	origin, _ := serve(b, func(_ int64, c net.Conn, r *bufio.Reader) {
		buf := make([]byte, 4096)
		for {
			if _, err := r.Read(buf); err != nil { // a request fits into one read
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	c := client(b, Options{Origin: origin})
	out, call := make([]byte, 2), new(Call)
	b.ReportAllocs()
	for b.Loop() {
		resp, err := c.Do(call, post)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, out); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
}
