package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// directoryPath is where an agent publishes its keys.
const directoryPath = "/.well-known/http-message-signatures-directory"

// remoteTimeout bounds the fetch of one document.
const remoteTimeout = 5 * time.Second

// caUsage is the help of --ca.
const caUsage = "PEM file with the certificates to trust, instead of the system's"

// remote fetches what other agents publish, from addresses that the operator
// typed. No redirect is followed, no proxy and no cookie is used: the answer has
// to come from the address that was typed.
type remote struct{ client *http.Client }

// newRemote trusts the certificates in a PEM file, or the system's for "".
func newRemote(ca string) (*remote, error) {
	transport := &http.Transport{MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, DisableKeepAlives: true}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", ca)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &remote{&http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// A noDocument is an answer without what was asked for.
type noDocument struct {
	url    string
	status int
}

func (n noDocument) Error() string { return fmt.Sprintf("fetch %s: it answers %d", n.url, n.status) }

// get returns the body of an answer 200, up to one byte more than most.
func (r *remote) get(ctx context.Context, from string, most int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, "+iatp.KeySetContentType)
	resp, err := r.client.Do(req)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return nil, fmt.Errorf("fetch %s: %w", from, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, fmt.Errorf("fetch %s: it redirects to %s, which is not followed: scan that address if you mean it", from, shown(resp.Header.Get("Location")))
	case resp.StatusCode != http.StatusOK:
		return nil, noDocument{from, resp.StatusCode}
	}
	data, err := readSome(resp.Body, most)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", from, err)
	}
	return data, nil
}

// keys fetches the key directory of an origin.
func (r *remote) keys(ctx context.Context, origin string) (iatp.KeySet, error) {
	data, err := r.get(ctx, origin+directoryPath, iatp.MaxKeySetSize)
	if err != nil {
		return iatp.KeySet{}, err
	}
	keys, err := iatp.ParseKeySet(data)
	if err != nil {
		return iatp.KeySet{}, fmt.Errorf("%s: %w", origin+directoryPath, err)
	}
	return keys, nil
}
