package sidecar

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/inter-agent-trust/iatp"
)

var peerName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// validatePublic judges what we are to other sidecars.
func (c *Config) validatePublic(bad func(string, string, ...any)) {
	if c.PublicURL != "" {
		if err := iatp.CheckOrigin(c.PublicURL); err != nil {
			bad("public_url", "%v", err)
		}
		if c.Key == "" {
			bad("key", "public_url needs an agent key: key: FILE (iatp keygen FILE makes one)")
		}
	}
	if c.Public != "" {
		c.validateListener(bad)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		bad("tls", "cert and key belong together")
	}
	if (c.TLS.ClientCert == "") != (c.TLS.ClientKey == "") {
		bad("tls", "client_cert and client_key belong together")
	}
	if c.TLS.ClientCA != "" && c.TLS.Cert == "" {
		bad("tls.client_ca", "needs tls.cert and tls.key")
	}
	if c.Ingress.MinLevel != "" {
		if _, err := iatp.ParseTrustLevel(c.Ingress.MinLevel); err != nil {
			bad("ingress.min_level", "%v", err)
		}
	}
	switch c.Ingress.Agreement {
	case "", agreementOptional, agreementRequire:
	default:
		bad("ingress.agreement", "%s is not one of optional, require", strconv.Quote(iatp.Printable(c.Ingress.Agreement)))
	}
	for _, at := range c.Ingress.PrivateHosts {
		if host, port, err := net.SplitHostPort(at); err != nil || host == "" || port == "" {
			bad("ingress.private_hosts", "%s is not host:port", strconv.Quote(iatp.Printable(at)))
		}
	}
	if p := c.Limits.PerPeer; p.Rate.N < 1 || p.Burst < 1 {
		bad("limits.per_peer", "rate and burst must be 1 or more, as in {rate: 600/1m, burst: 60}")
	}
	c.validateUndoLimits(bad)
}

func (c *Config) validateUndoLimits(bad func(string, string, ...any)) {
	p := &c.Limits.PerPeer
	if p.Undoable < 0 {
		bad("limits.per_peer.undoable", "must be 0 (no limit) or more")
	}
	if !(p.UndoRatio >= 0 && p.UndoRatio <= 1) || p.UndoRatioFrom < 0 {
		bad("limits.per_peer.undo_ratio", "must be from 0 (no limit) to 1, and undo_ratio_from 0 or more")
	}
	named := map[string]bool{}
	for _, text := range p.UndoableCost {
		switch m, err := readCost(text); {
		case err != nil:
			bad("limits.per_peer.undoable_cost", "%v; write it as in [5000.00 USD]", err)
		case named[m.Currency()]:
			bad("limits.per_peer.undoable_cost", "%s is named twice", m.Currency())
		default:
			named[m.Currency()] = true
		}
	}
}

func (c *Config) validateListener(bad func(string, string, ...any)) {
	if c.PublicURL == "" {
		bad("public", "needs public_url: the origin that other sidecars sign for, such as https://travel.example")
	}
	addr, err := netip.ParseAddrPort(strings.Replace(c.Public, "localhost", "127.0.0.1", 1))
	switch {
	case err != nil:
		bad("public", "%s is not ip:port, such as 0.0.0.0:8443", strconv.Quote(iatp.Printable(c.Public)))
	case c.TLS.Cert == "" && !addr.Addr().IsLoopback():
		bad("tls", "the public listener is reachable from other machines and has no certificate: set tls: {cert: FILE, key: FILE}")
	}
}

// validatePeers judges whom we know.
func (c *Config) validatePeers(bad func(string, string, ...any)) {
	for name, p := range c.Peers {
		key := "peers." + name
		if !peerName.MatchString(name) {
			bad("peers", "%s is not a name: small letters, digits, dots, hyphens", strconv.Quote(iatp.Printable(name)))
		}
		if err := p.validate(); err != nil {
			bad(key, "%v", err)
		}
	}
	if len(c.Peers) > 0 && c.PublicURL == "" {
		bad("peers", "calls to peers are signed: set public_url and key, so that they know who calls")
	}
	if _, ok := c.Peers[c.DefaultPeer]; c.DefaultPeer != "" && !ok {
		bad("default_peer", "%s is not one of peers", strconv.Quote(iatp.Printable(c.DefaultPeer)))
	}
	for _, text := range c.RevokedKeys {
		if _, err := iatp.ParseBase64URL(thumbprint(text)); err != nil {
			bad("revoked_keys", "%s is neither a key (ed25519:…) nor the thumbprint of one", strconv.Quote(iatp.Printable(clip(text, 64))))
		}
	}
	for name, a := range c.Authorities {
		if _, err := iatp.ParseKey(a.Key); err != nil {
			bad("authorities."+name+".key", "%v", err)
		}
		if _, err := iatp.ParseTrustLevel(a.MaxLevel); err != nil {
			bad("authorities."+name+".max_level", "%v", err)
		}
		if len(a.For) == 0 {
			bad("authorities."+name+".for", "name the uris that it may endorse, such as https://*.example")
		}
	}
}

// thumbprint is that of a key, or what stands there in place of one.
func thumbprint(text string) string {
	if k, err := iatp.ParseKey(text); err == nil {
		return k.Thumbprint()
	}
	return text
}

func (p *Peer) validate() error {
	switch {
	case p.URL != "" && (p.URI != "" || p.Dial != ""):
		return errors.New("give url, or uri and dial")
	case p.URL == "" && p.URI == "":
		return errors.New("needs url (or uri and dial)")
	}
	if err := iatp.CheckOrigin(p.principal()); err != nil {
		return err
	}
	if p.Dial != "" {
		if _, _, err := net.SplitHostPort(p.Dial); err != nil {
			return errors.New("dial must be host:port")
		}
	}
	if strings.HasPrefix(p.principal(), "http://") && p.Pin == "" {
		return errors.New("plain http needs a pin: nothing else says who answers there")
	}
	if p.Pin != "" {
		if _, err := iatp.ParseKey(p.Pin); err != nil {
			return fmt.Errorf("pin: %w", err)
		}
	}
	if p.MaxLevel != "" {
		if _, err := iatp.ParseTrustLevel(p.MaxLevel); err != nil {
			return fmt.Errorf("max_level: %w", err)
		}
	}
	switch p.Agreement {
	case "", agreementOnDemand, agreementRequire, agreementOff:
	default:
		return fmt.Errorf("agreement: %s is not one of on_demand, require, off", strconv.Quote(iatp.Printable(p.Agreement)))
	}
	switch p.Receipt {
	case "", receiptOptional, receiptRequire:
	default:
		return fmt.Errorf("receipt: %s is not one of optional, require", strconv.Quote(iatp.Printable(p.Receipt)))
	}
	for _, h := range p.Headers {
		if !forwardable(http.CanonicalHeaderKey(h)) {
			return fmt.Errorf("headers: %s is not forwarded to anybody", strconv.Quote(iatp.Printable(h)))
		}
	}
	return nil
}

// forwardable reports whether an operator may have a field of the caller's head sent on
// to a peer: not what frames a message or is about one connection (RFC 9110, 7.6.1), nor
// what the sidecar itself says and signs.
func forwardable(name string) bool {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-')
	}) {
		return false
	}
	switch name {
	case "Host", "Content-Length", "Expect", "Content-Digest", "Signature", "Signature-Input", "Signature-Agent", "Idempotency-Key", "Traceparent", "Tracestate":
		return false
	}
	return !betweenTwo(name) && !sidecarWord(name)
}

// principal is who the peer must prove to be.
func (p *Peer) principal() string {
	if p.URI != "" {
		return p.URI
	}
	return p.URL
}

// UnmarshalYAML reads calls per time, such as 600/1m.
func (r *Rate) UnmarshalYAML(n ast.Node) error {
	count, per, ok := strings.Cut(scalar(n), "/")
	v, err := strconv.Atoi(count)
	d, err2 := time.ParseDuration(per)
	if !ok || err != nil || err2 != nil || v < 1 || d <= 0 {
		return valueError(n, "a rate such as 600/1m")
	}
	*r = Rate{v, d}
	return nil
}

// MarshalText writes what UnmarshalYAML reads.
func (r Rate) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%d/%s", r.N, r.Per), nil
}
