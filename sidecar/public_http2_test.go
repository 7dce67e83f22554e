package sidecar_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// TestPublicHTTP2 asks over HTTP/2, many at once on one connection. The name that
// is asked for must be ours there, too (hardening 38).
func TestPublicHTTP2(t *testing.T) {
	dir := t.TempDir()
	ca, caKey := certify(t, dir, "ca", nil, nil)
	certify(t, dir, "b.example", ca, caKey)
	party := iatptest.NewParty(t)
	iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		party.Listen(c)
		c.PublicURL = "https://b.example"
		c.TLS = sidecar.TLS{Cert: filepath.Join(dir, "b.example.pem"), Key: filepath.Join(dir, "b.example.key")}
	}})
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	var mu sync.Mutex
	conns := 0
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			conns++
			return new(net.Dialer).DialContext(ctx, network, party.Addr())
		},
	}}
	defer client.CloseIdleConnections()
	ask := func(host string, want int) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://b.example/capabilities", nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.Host = host
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.ProtoMajor != 2 || resp.StatusCode != want {
			t.Errorf("Host %q: %s over %s, %v; want %d over HTTP/2", host, resp.Status, resp.Proto, err, want)
		}
	}
	ask("", http.StatusOK)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { ask("", http.StatusOK) })
	}
	all.Wait()
	ask("other.example", http.StatusMisdirectedRequest)
	if conns != 1 {
		t.Errorf("%d connections, want 1", conns)
	}
}

// TestStreamsAreBounded asks for answers over HTTP/2 and does not take them: they are
// limited as connections are, and others over HTTP/1.1 feel nothing of it.
func TestStreamsAreBounded(t *testing.T) {
	const most = 5
	dir := t.TempDir()
	ca, caKey := certify(t, dir, "ca", nil, nil)
	certify(t, dir, "b.example", ca, caKey)
	party := iatptest.NewParty(t)
	iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		party.Listen(c)
		c.PublicURL = "https://b.example"
		c.TLS = sidecar.TLS{Cert: filepath.Join(dir, "b.example.pem"), Key: filepath.Join(dir, "b.example.key")}
		c.Limits.Connections = most
	}})
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	client := func(http2 bool) *http.Client {
		tr := &http.Transport{
			ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{RootCAs: roots},
			HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 1}, // the rest waits until it is read
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, party.Addr())
			},
		}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	ask := func(c *http.Client) *http.Response {
		t.Helper()
		resp, err := c.Get("https://b.example/capabilities")
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	greedy := client(true)
	var held []*http.Response
	for range most {
		held = append(held, ask(greedy))
	}
	for range 3 {
		resp := ask(greedy)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.ProtoMajor != 2 || resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || len(body) > 0 {
			t.Errorf("one more than %d: %s, %v, %q, %v", most, resp.Status, resp.Header, body, err)
		}
	}
	plain := ask(client(false))
	plain.Body.Close()
	if plain.ProtoMajor != 1 || plain.StatusCode != 200 {
		t.Errorf("over HTTP/1.1 meanwhile: %s", plain.Status)
	}
	for _, resp := range held {
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
			t.Errorf("held: %s, %v", resp.Status, err)
		}
		resp.Body.Close()
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		resp := ask(greedy)
		resp.Body.Close()
		if resp.StatusCode == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("when all were read: %s", resp.Status)
		}
	}
}

// TestAuthorityAndHost names one in :authority and another in Host, which HTTP/2 can
// say and the client of net/http cannot (hardening 38).
func TestAuthorityAndHost(t *testing.T) {
	dir := t.TempDir()
	ca, caKey := certify(t, dir, "ca", nil, nil)
	certify(t, dir, "b.example", ca, caKey)
	party := iatptest.NewParty(t)
	iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		party.Listen(c)
		c.PublicURL = "https://b.example"
		c.TLS = sidecar.TLS{Cert: filepath.Join(dir, "b.example.pem"), Key: filepath.Join(dir, "b.example.key")}
	}})
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, c := range []struct {
		hosts []string
		want  byte // :status in the static table of HPACK: 8 is 200, 12 is 400
	}{
		{nil, 8},
		{[]string{"b.example"}, 8},
		{[]string{"B.example"}, 8},
		{[]string{"evil.example"}, 12},
		{[]string{"b.example", "evil.example"}, 12},
		{[]string{""}, 12},
	} {
		fields := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "b.example"}, {":path", "/health"}}
		for _, h := range c.hosts {
			fields = append(fields, [2]string{"host", h})
		}
		conn, err := tls.Dial("tcp", party.Addr(), &tls.Config{RootCAs: roots, ServerName: "b.example", NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		got := firstField(t, conn, fields)
		conn.Close()
		if want := 0x80 | c.want; got != want { // an indexed field
			t.Errorf("Host %q: the answer begins with %#x, want %#x", c.hosts, got, want)
		}
	}
}

// firstField sends a request over HTTP/2 and returns the first byte of the head of its
// answer.
func firstField(t *testing.T, conn *tls.Conn, fields [][2]string) byte {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var block []byte
	for _, f := range fields { // literal, not indexed, not compressed
		block = append(append(append(block, 0, byte(len(f[0]))), f[0]...), byte(len(f[1])))
		block = append(block, f[1]...)
	}
	out := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00") // no settings
	out = append(append(out, 0, 0, byte(len(block)), 1, 5, 0, 0, 0, 1), block...)
	if _, err := conn.Write(out); err != nil {
		t.Fatal(err)
	}
	for {
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(conn, frame); err != nil {
			t.Fatal(err)
		}
		if head[3] == 1 {
			return frame[0]
		}
	}
}
