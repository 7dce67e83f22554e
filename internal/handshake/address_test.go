package handshake

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
)

func TestPublic(t *testing.T) {
	for _, inside := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.9",
		"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::808:808",
		"64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "fc00::1", "fdff::1", "fe80::1", "fe80::1%eth0",
		"2606:4700::1%eth0", "fec0::1", "ff02::1", "3fff::1", "5f00::1",
	} {
		if public(netip.MustParseAddr(inside)) {
			t.Errorf("%s counts as public", inside)
		}
	}
	for _, outside := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
		"172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
		"2606:4700::1", "2a00::1", "::ffff:8.8.8.8",
	} {
		if !public(netip.MustParseAddr(outside)) {
			t.Errorf("%s does not count as public", outside)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address counts as public")
	}
}

// The address is judged where it is dialled: whatever a name led to, no connection
// is made.
func TestDialerRefusesInside(t *testing.T) {
	s := local(t)
	to, err := parseOrigin(s.uri)
	if err != nil {
		t.Fatal(err)
	}
	via := route{to: to, roots: authority.pool, allowed: public, keep: strangersIdle}.transport()
	began := time.Now()
	if err := post(t.Context(), via, s.uri+"/task"); err == nil || !strings.Contains(err.Error(), errAddress.Error()) {
		t.Errorf("post: %v, want %v", err, errAddress)
	}
	if s.sent() != 0 || time.Since(began) > time.Second {
		t.Errorf("%d requests arrived, after %v", s.sent(), time.Since(began))
	}
}

// The environment's proxy is not asked: it would choose the address for us. (What
// the environment says is read once in a process, so that a test cannot set it.)
func TestNoProxy(t *testing.T) {
	if (route{to: origin{"https", "a.test", "443"}}).transport().via.Proxy != nil {
		t.Error("the transport asks for a proxy")
	}
}

// What is a peer's origin here is one that a manifest may name.
func FuzzParseOrigin(f *testing.F) {
	for _, uri := range []string{
		"https://a.test", "https://a.test:8443", "https://1.2.3.4", "https://[2001:db8::1]:99", "http://127.0.0.1:80", "http://127.0.0.2", "http://localhost:8080",
		"https://a.test:443", "https://A.test", "https://a.test/", "https://1.2.3", "https://a_b.test", "http://[::1]:1", "https://[::ffff:1.2.3.4]",
	} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		o, err := parseOrigin(uri)
		if err != nil {
			return
		}
		if strings.ContainsAny(uri, " \t\r\n\"\\@?#%") || uri != strings.ToLower(uri) {
			t.Errorf("%q is an origin", uri)
		}
		if _, err := iatp.ParseManifest([]byte(`{"identity":{"agent_id":"a","uri":"` + uri + `"},"trust_level":"unknown"}`)); err != nil {
			t.Errorf("%q is an origin, and no manifest may name it: %v", uri, err)
		}
		if _, err := netip.ParseAddrPort(o.address()); o.dnsName() == (err == nil) {
			t.Errorf("%q: dials %s, which is and is not a name", uri, o.address())
		}
	})
}
