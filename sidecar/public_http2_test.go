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
