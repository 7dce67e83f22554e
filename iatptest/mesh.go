package iatptest

import (
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
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
	p.addr = Address(t)
	p.URL = "http://" + p.addr
	return p
}

// Address is a free address on loopback that is the test's until it ends: the kernel
// gives its port to nobody who asks for any, and no other test takes it, of this
// process or another, while nobody listens there.
func Address(t testing.TB) string {
	t.Helper()
	addr, release, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return addr
}

// Reserve is Address without a test: the address is the caller's until release.
func Reserve() (addr string, release func(), err error) {
	for range 100 {
		port := 10000 + mathrand.IntN(20000) // below the ports of outgoing connections
		// Who has the port on the second address has it: tests listen on the first. Where
		// there is only one (macOS), chance has to do.
		mine, second := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", port))
		if errors.Is(second, syscall.EADDRINUSE) {
			continue
		}
		release = func() {
			if second == nil {
				mine.Close()
			}
		}
		addr = fmt.Sprintf("127.0.0.1:%d", port)
		ln, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, release, ln.Close()
		}
		release()
	}
	return "", nil, errors.New("no free port on loopback")
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
	nodes := Chain(t, 2, func(options []Options) {
		if change != nil {
			change(&options[0], &options[1])
		}
	})
	return nodes[0], nodes[1]
}

// Chain starts n sidecars, at most 26, each of which knows its neighbours: the first is
// a, and its agent calls the next one as /proxy/b, that one's agent /proxy/c, and so on.
// change has the last word on their options, if it is not nil. An agent in the middle
// keeps its calls in one trace, and in one budget, by handing traceparent on; it finds
// its own sidecar in what Chain returns.
func Chain(t testing.TB, n int, change func(options []Options)) []*Node {
	t.Helper()
	parties, options, nodes := make([]*Party, n), make([]Options, n), make([]*Node, n)
	for i := range parties {
		parties[i] = NewParty(t)
	}
	for i, p := range parties {
		options[i] = Options{Manifest: Friend, Config: func(c *sidecar.Config) {
			p.Listen(c)
			c.Peers = map[string]sidecar.Peer{}
			if i > 0 {
				c.Peers[letter(i-1)] = parties[i-1].AsPeer("trusted")
			}
			if i < n-1 {
				c.Peers[letter(i+1)] = parties[i+1].AsPeer("verified_partner")
			}
		}}
	}
	if change != nil {
		change(options)
	}
	for i := n - 1; i >= 0; i-- { // who is called runs before its caller
		nodes[i] = Start(t, options[i])
	}
	return nodes
}

// letter is the name of a node of a chain.
func letter(i int) string { return string(rune('a' + i)) }

// Addr is where the party's public listener is, host:port.
func (p *Party) Addr() string { return p.addr }
