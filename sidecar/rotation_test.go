package sidecar_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/internal/keyring"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// knownPair is a pair whose configurations a test can reload.
type knownPair struct {
	a, b       *iatptest.Node
	pa, pb     *iatptest.Party
	cfgA, cfgB sidecar.Config
}

func startKnown(t *testing.T, change func(a, b *sidecar.Config)) *knownPair {
	t.Helper()
	p := &knownPair{pa: iatptest.NewParty(t), pb: iatptest.NewParty(t)}
	p.b = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		p.pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": p.pa.AsPeer("trusted")}
		if change != nil {
			change(new(sidecar.Config), c)
		}
		p.cfgB = *c
	}})
	p.a = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		p.pa.Listen(c)
		c.Peers = map[string]sidecar.Peer{"b": p.pb.AsPeer("verified_partner")}
		if change != nil {
			change(c, new(sidecar.Config))
		}
		p.cfgA = *c
	}})
	return p
}

func reload(t *testing.T, n *iatptest.Node, c sidecar.Config) {
	t.Helper()
	if fixed, err := n.Sidecar.Reload(c); err != nil || len(fixed) > 0 {
		t.Fatalf("reload: %v, needs a restart for %v", err, fixed)
	}
}

func rotateKey(t *testing.T, file string, revoke bool) iatp.Key {
	t.Helper()
	key, _, err := keyring.Rotate(file, time.Hour, revoke, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// answered calls b through a, and wants an answer that is proven.
func (p *knownPair) answered(t *testing.T, when string) *iatptest.Reply {
	t.Helper()
	r := post(t, p.a, "/proxy/b", bookNYC, nil)
	if r.Status != 200 {
		t.Fatalf("%s: %d %s", when, r.Status, r.Body)
	}
	clean(t, when, r)
	return r
}

// The peer's manifest names another key between two calls: the second call is
// answered all the same, by the new key.
func TestPeerChangesItsKey(t *testing.T) {
	p := startKnown(t, nil)
	p.answered(t, "before")
	key := rotateKey(t, p.pb.KeyFile, false)
	reload(t, p.b, p.cfgB)
	r := p.answered(t, "after")
	set, err := iatp.NewKeySet(iatp.DirectoryKey{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := iatp.VerifyReceipt(r.Header.Get("Iatp-Receipt"), set); err != nil {
		t.Errorf("the receipt is not by the new key: %v", err)
	}
	if types := iatptest.Types(p.a.Records(t, r.Header.Get("X-Agent-Trace-Id"))); types != "request forward forward response" {
		t.Errorf("a's records: %s; want two attempts", types)
	}
	if !alarmed(t, p.a, "rotated") {
		t.Error("a has not recorded the change of keys")
	}
	if n := len(p.b.Agent.Seen()); n != 2 {
		t.Errorf("b's agent was called %d times, want 2", n)
	}
}

// What a person released is not carried over to a manifest that he has not seen,
// and neither is a call whose reasons changed.
func TestChangedTermsAreNotCarriedOver(t *testing.T) {
	p := startKnown(t, nil)
	p.answered(t, "before")
	p.cfgB.Manifest = writeFile(t, "manifest.json", strings.Replace(iatptest.Friend, `"temporary"`, `"permanent"`, 1), 0o600)
	reload(t, p.b, p.cfgB)
	if r := post(t, p.a, "/proxy/b", bookNYC, nil); r.Status != 409 {
		t.Errorf("a manifest that scores less: %d %s, want b's 409", r.Status, r.Body)
	}
	if n := len(p.b.Agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want 1", n)
	}

	p = startKnown(t, func(a, _ *sidecar.Config) {
		for name, peer := range a.Peers {
			peer.MaxLevel = "" // standard: it asks
			a.Peers[name] = peer
		}
	})
	if r := post(t, p.a, "/proxy/b", bookNYC, nil); r.Status != 449 {
		t.Fatalf("a pinned peer: %d %s, want 449", r.Status, r.Body)
	}
	rotateKey(t, p.pb.KeyFile, false)
	reload(t, p.b, p.cfgB)
	if r := post(t, p.a, "/proxy/b", bookNYC, map[string]string{"X-User-Override": "true"}); r.Status != 409 {
		t.Errorf("a released call, and another manifest: %d %s, want b's 409", r.Status, r.Body)
	}
	if n := len(p.b.Agent.Seen()); n != 0 {
		t.Errorf("b's agent was called %d times, want 0", n)
	}
}

// The caller changes its key: the callee looks, and serves it; a key that was
// revoked is turned away from then on.
func TestCallerChangesItsKey(t *testing.T) {
	p := startKnown(t, nil)
	for range 3 { // at once, one after the other
		p.answered(t, "before")
		rotateKey(t, p.pa.KeyFile, true)
		reload(t, p.a, p.cfgA)
		p.answered(t, "after")
		time.Sleep(time.Second) // the file of an old key is named by the second
	}
	old := sidecarWithKey(t, p, p.pa.Key)
	if r := post(t, old, "/proxy/b", bookNYC, nil); r.Status != 403 {
		t.Errorf("a call signed by the revoked key: %d %s, want 403", r.Status, r.Body)
	}
}

// sidecarWithKey is somebody who has stolen a's key and speaks in its name.
func sidecarWithKey(t *testing.T, p *knownPair, key iatp.PrivateKey) *iatptest.Node {
	t.Helper()
	text, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, "stolen.key", string(text), 0o600)
	return iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		c.Key, c.PublicURL = file, p.pa.URL
		c.Peers = map[string]sidecar.Peer{"b": p.pb.AsPeer("verified_partner")}
	}})
}

// A reload takes peers, pins, levels and the least level of callers, or nothing.
func TestReloadTakesPeers(t *testing.T) {
	p := startKnown(t, nil)
	p.answered(t, "before")
	with := func(change func(c *sidecar.Config)) sidecar.Config {
		c := p.cfgA
		c.Peers = map[string]sidecar.Peer{"b": p.cfgA.Peers["b"]}
		change(&c)
		return c
	}
	peer := func(c *sidecar.Config, change func(*sidecar.Peer)) {
		b := c.Peers["b"]
		change(&b)
		c.Peers["b"] = b
	}
	status := func(path string) int { return post(t, p.a, path, bookNYC, nil).Status }

	reload(t, p.a, with(func(c *sidecar.Config) { peer(c, func(b *sidecar.Peer) { b.MaxLevel = "" }) }))
	if got := status("/proxy/b"); got != 449 {
		t.Errorf("without a level: %d, want 449", got)
	}
	stranger := iatptest.NewParty(t)
	reload(t, p.a, with(func(c *sidecar.Config) {
		c.Peers["c"], c.DefaultPeer = c.Peers["b"], "c"
		delete(c.Peers, "b")
	}))
	if got := status("/proxy/b"); got != 404 {
		t.Errorf("a peer that is gone: %d, want 404", got)
	}
	if one, two := status("/proxy/c"), status("/proxy"); one != 200 || two != 200 {
		t.Errorf("a new name, and the new default: %d, %d; want 200", one, two)
	}
	before := p.a.Get(t, "/peers", p.a.Operator(t)).Body
	for name, bad := range map[string]func(c *sidecar.Config){
		"a pin that is none":       func(c *sidecar.Config) { peer(c, func(b *sidecar.Peer) { b.Pin = "ed25519:short" }) },
		"a file that is not there": func(c *sidecar.Config) { peer(c, func(b *sidecar.Peer) { b.CA = "/nowhere" }) },
		"two of one uri":           func(c *sidecar.Config) { c.Peers["d"] = c.Peers["b"] },
		"a bad manifest":           func(c *sidecar.Config) { delete(c.Peers, "b"); c.Manifest = "/nowhere" },
		"a bad key":                func(c *sidecar.Config) { delete(c.Peers, "b"); c.Key = c.Manifest },
	} {
		if _, err := p.a.Sidecar.Reload(with(bad)); err == nil {
			t.Errorf("%s was taken", name)
		}
		if after := p.a.Get(t, "/peers", p.a.Operator(t)).Body; string(after) != string(before) {
			t.Errorf("%s: something was taken: %s", name, after)
		}
	}
	reload(t, p.a, with(func(c *sidecar.Config) { c.RevokedKeys = []string{p.pb.Key.Public().String()} }))
	if r := post(t, p.a, "/proxy/b", bookNYC, nil); r.Status != 403 {
		t.Errorf("a key that the operator revoked: %d %s, want 403", r.Status, r.Body)
	}
	reload(t, p.a, with(func(*sidecar.Config) {}))
	p.answered(t, "as it was")

	c := p.cfgB
	c.Peers = map[string]sidecar.Peer{"x": stranger.AsPeer("")}
	reload(t, p.b, c)
	if r := post(t, p.a, "/proxy/b", bookNYC, nil); r.Status != 403 {
		t.Errorf("b does not know a any more: %d %s, want 403", r.Status, r.Body)
	}
	c = p.cfgB
	c.Ingress.MinLevel, c.RevokedKeys = "standard", []string{p.pa.Key.Thumbprint()}
	reload(t, p.b, c)
	if r := post(t, p.a, "/proxy/b", bookNYC, nil); r.Status != 403 || !strings.Contains(string(r.Body), "revoked") {
		t.Errorf("a caller whose key the operator revoked: %d %s, want 403", r.Status, r.Body)
	}
	c.RevokedKeys, c.PublicURL = nil, "http://127.0.0.1:1"
	if fixed, err := p.b.Sidecar.Reload(c); err != nil || fmt.Sprint(fixed) != "[public_url]" {
		t.Errorf("another origin: %v %v; want it named", fixed, err)
	}
	p.answered(t, "at last")
}

// A peer that lost its key is a stranger until the operator says that it may begin
// anew. Who said so is recorded.
func TestForgetPeer(t *testing.T) {
	p := startKnown(t, nil)
	p.answered(t, "before")
	if err := os.Remove(p.pb.KeyFile); err != nil {
		t.Fatal(err)
	}
	key, err := keyring.Create(p.pb.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	reload(t, p.b, p.cfgB)
	post(t, p.a, "/proxy/b", bookNYC, nil) // a learns that the terms changed
	if r := post(t, p.a, "/proxy/b", bookNYC, nil); r.Status == 200 {
		t.Fatalf("a key that nobody vouches for: %d", r.Status)
	}
	peer := p.cfgA.Peers["b"]
	peer.Pin = key.String()
	p.cfgA.Peers = map[string]sidecar.Peer{"b": peer}
	reload(t, p.a, p.cfgA)
	p.answered(t, "with the new pin")

	peer.Pin = p.pb.Key.Public().String() // and the old one again, which the log knows to be left behind
	p.cfgA.Peers = map[string]sidecar.Peer{"b": peer}
	reload(t, p.a, p.cfgA)
	if r := post(t, p.a, "/proxy/b", bookNYC, nil); r.Status == 200 {
		t.Errorf("with the old pin: %d", r.Status)
	}
	forget := func(body string, header map[string]string) int {
		return p.a.Do(t, "POST", "/peers/forget", strings.NewReader(body), header).Status
	}
	operator := p.a.Operator(t)
	for body, want := range map[string]int{
		`{"peer":"nobody","by":"alice"}`: 404, `{"peer":"b"}`: 400, `{"peer":"b","by":"alice","x":1}`: 400, `[]`: 400,
		`{"peer":"b","by":"` + strings.Repeat("a", 101) + `"}`: 400,
	} {
		if got := forget(body, operator); got != want {
			t.Errorf("POST /peers/forget %s: %d, want %d", body, got, want)
		}
	}
	if got := forget(`{"peer":"b","by":"mallory"}`, nil); got != 401 {
		t.Errorf("without the token: %d, want 401", got)
	}
	if got := forget(`{"peer":"b","by":"alice"}`, operator); got != 200 {
		t.Errorf("POST /peers/forget: %d, want 200", got)
	}
	if !alarmed(t, p.a, "forgotten") || !strings.Contains(string(p.a.Get(t, "/log/export", operator).Body), `"actor":"alice"`) {
		t.Error("it is not recorded that alice said so")
	}
	if got := forget(`{"peer":"b","by":"alice"}`, operator); got != 404 {
		t.Errorf("forgotten twice: %d, want 404", got)
	}
}

// A peer of whose manifest nothing can be had is asked about, and refused where
// the operator requires one.
func TestManifestIsRequired(t *testing.T) {
	for _, required := range []bool{false, true} {
		a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
			iatptest.NewParty(t).Listen(c)
			c.Peers = map[string]sidecar.Peer{"gone": {URI: "https://gone.example", Dial: "127.0.0.1:1"}}
			c.Require.Manifest = required
		}})
		want := 449
		if required {
			want = 503
		}
		if r := post(t, a, "/proxy/gone", bookNYC, nil); r.Status != want {
			t.Errorf("require.manifest: %v: %d %s, want %d", required, r.Status, r.Body, want)
		}
	}
}

// certify writes a certificate for a name, by itself or by an authority, and its
// key.
func certify(t *testing.T, dir, name string, by *x509.Certificate, byKey *ecdsa.PrivateKey) (cert *x509.Certificate, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if by == nil {
		by, byKey, template.IsCA, template.ExtKeyUsage = template, key, true, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), byKey)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// Two sidecars that let nobody connect without a certificate of their authority:
// each shows its own. Files that change are noticed, also those of peers.
func TestBothSidesShowCertificates(t *testing.T) {
	dir := t.TempDir()
	ca, caKey := certify(t, dir, "ca", nil, nil)
	for _, name := range []string{"a.example", "b.example", "caller.example"} {
		certify(t, dir, name, ca, caKey)
	}
	certify(t, dir, "other", nil, nil)
	in := func(name string) string { return filepath.Join(dir, name) }
	p := &knownPair{pa: iatptest.NewParty(t), pb: iatptest.NewParty(t)}
	party := func(c *sidecar.Config, own *iatptest.Party, name, peerName string, peer *iatptest.Party) {
		own.Listen(c)
		c.PublicURL = "https://" + name
		c.TLS = sidecar.TLS{Cert: in(name + ".pem"), Key: in(name + ".key"), ClientCA: in("ca.pem")}
		c.Peers = map[string]sidecar.Peer{"peer": {URI: "https://" + peerName, Dial: peer.Addr(), CA: in("ca.pem"),
			Pin: peer.Key.Public().String(), MaxLevel: "verified_partner"}}
	}
	p.b = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		party(c, p.pb, "b.example", "a.example", p.pa)
		p.cfgB = *c
	}})
	p.a = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		party(c, p.pa, "a.example", "b.example", p.pb)
		p.cfgA = *c
	}})
	call := func(when string, want bool) {
		t.Helper()
		for name, n := range map[string]*iatptest.Node{"a": p.a, "b": p.b} {
			if r := post(t, n, "/proxy/peer", bookNYC, nil); (r.Status == 200) != want {
				t.Errorf("%s: %s calls: %d %s", when, name, r.Status, r.Body)
			}
		}
	}
	call("with the certificates of the listeners", true)
	for _, c := range []*sidecar.Config{&p.cfgA, &p.cfgB} {
		c.TLS.ClientCert, c.TLS.ClientKey = in("caller.example.pem"), in("caller.example.key")
	}
	reload(t, p.a, p.cfgA)
	reload(t, p.b, p.cfgB)
	call("with certificates for calling", true)
	for _, c := range []*sidecar.Config{&p.cfgA, &p.cfgB} {
		c.TLS.ClientCert, c.TLS.ClientKey = in("other.pem"), in("other.key")
	}
	reload(t, p.a, p.cfgA)
	reload(t, p.b, p.cfgB)
	call("with certificates of nobody", false)

	// The authority changes: everything is signed anew, in the files that are there.
	certify(t, dir, "ca", nil, nil)
	if !eventually(func() bool { return !reaches(p.a) }) {
		t.Error("a changed ca file of a peer is not noticed")
	}
	ca, caKey = certify(t, dir, "ca", nil, nil)
	for _, name := range []string{"a.example", "b.example", "other"} {
		certify(t, dir, name, ca, caKey)
	}
	if !eventually(func() bool { return reaches(p.a) && reaches(p.b) }) {
		t.Error("changed certificates are not noticed")
	}
}

// reaches reports whether a call to the peer is answered.
func reaches(n *iatptest.Node) bool {
	resp, err := http.Post(n.URL+"/proxy/peer", "application/json", strings.NewReader(bookNYC))
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == 200
}
