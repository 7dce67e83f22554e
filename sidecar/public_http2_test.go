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
