package iatptest

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// A Party is a sidecar that others can know before it runs: it has its key and
// its public address.
type Party struct {
	URL     string // public_url
	Key     iatp.PrivateKey
	KeyFile string
	addr    string
}

// NewParty makes a key and finds a free address on loopback.
func NewParty(t testing.TB) *Party {
	t.Helper()
	key, err := iatp.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	p := &Party{Key: key, KeyFile: filepath.Join(t.TempDir(), "agent.key")}
	if err := os.WriteFile(p.KeyFile, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	p.addr = steadyAddress(t)
	p.URL = "http://" + p.addr
	return p
}

// steadyAddress is a free address whose port the kernel gives to nobody who asks
// for any: it is still free when the party begins to listen, or does so again.
func steadyAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+mathrand.IntN(20000))
		if ln, err := net.Listen("tcp", addr); err == nil {
			ln.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// Listen makes a configuration the party's: its key, its public listener.
func (p *Party) Listen(c *sidecar.Config) {
	c.Key, c.Public, c.PublicURL = p.KeyFile, p.addr, p.URL
}

// AsPeer is the party as others configure it: pinned, at most of that level.
func (p *Party) AsPeer(level string) sidecar.Peer {
	return sidecar.Peer{URL: p.URL, Pin: p.Key.Public().String(), MaxLevel: level}
}

// Pair starts two sidecars that know each other: the agent beside a calls the
// agent beside b as /proxy/b. change has the last word on a's and b's options.
func Pair(t testing.TB, change func(a, b *Options)) (a, b *Node) {
	t.Helper()
	pa, pb := NewParty(t), NewParty(t)
	oa, ob := Options{Manifest: Friend}, Options{Manifest: Friend}
	oa.Config = func(c *sidecar.Config) {
		pa.Listen(c)
		c.Peers = map[string]sidecar.Peer{"b": pb.AsPeer("verified_partner")}
	}
	ob.Config = func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}
	}
	if change != nil {
		change(&oa, &ob)
	}
	b = Start(t, ob)
	a = Start(t, oa)
	return a, b
}

// Addr is where the party's public listener is, host:port.
func (p *Party) Addr() string { return p.addr }
