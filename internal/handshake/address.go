package handshake

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// inward are the addresses that are not on the public network, or lead to one
// that is not: IANA's special-purpose registries (RFC 6890), and the prefixes
// that carry an IPv4 address inside. An address mapped into IPv6 (::ffff:0:0/96)
// is judged as the IPv4 address that it is.
var inward = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("10.0.0.0/8"),      // RFC 1918
	netip.MustParsePrefix("100.64.0.0/10"),   // shared, RFC 6598
	netip.MustParsePrefix("127.0.0.0/8"),     // loopback
	netip.MustParsePrefix("169.254.0.0/16"),  // link-local: the metadata services of clouds
	netip.MustParsePrefix("172.16.0.0/12"),   // RFC 1918
	netip.MustParsePrefix("192.0.0.0/24"),    // IETF assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
	netip.MustParsePrefix("192.168.0.0/16"),  // RFC 1918
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("224.0.0.0/4"),     // multicast
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved, broadcast
	netip.MustParsePrefix("::/96"),           // unspecified, loopback, IPv4-compatible
	netip.MustParsePrefix("64:ff9b::/96"),    // NAT64
	netip.MustParsePrefix("64:ff9b:1::/48"),  // local NAT64, RFC 8215
	netip.MustParsePrefix("100::/64"),        // discard
	netip.MustParsePrefix("2001::/23"),       // IETF assignments, Teredo among them
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("2002::/16"),       // 6to4
	netip.MustParsePrefix("3fff::/20"),       // documentation
	netip.MustParsePrefix("5f00::/16"),       // segment routing
	netip.MustParsePrefix("fc00::/7"),        // unique local
	netip.MustParsePrefix("fe80::/10"),       // link-local
	netip.MustParsePrefix("fec0::/10"),       // site-local
	netip.MustParsePrefix("ff00::/8"),        // multicast
}

// public reports whether a connection to ip leaves for the public network.
func public(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsValid() && ip.Zone() == "" &&
		!slices.ContainsFunc(inward, func(p netip.Prefix) bool { return p.Contains(ip) })
}

var errAddress = errors.New("the address is not one that may be connected to")

// only returns a hook for a net.Dialer that refuses the addresses that allowed
// does not have. It sees the address that is dialled, after the name was looked
// up, so that no second look-up can give another one.
func only(allowed func(netip.Addr) bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !allowed(at.Addr()) {
			return errAddress
		}
		return nil
	}
}

// An origin is the parts of a principal's URI.
type origin struct {
	scheme string // https or http
	host   string // as in the URI, an IPv6 address in brackets
	port   string
}

// parseOrigin reads a principal in canonical form: what a manifest may have in
// identity.uri, but for spiffe ids, which are not addresses.
func parseOrigin(uri string) (origin, error) {
	scheme, rest, _ := strings.Cut(uri, "://")
	o := origin{scheme: scheme, host: rest}
	switch scheme {
	case "https":
		o.port = "443"
	case "http":
		o.port = "80"
	default:
		return o, fmt.Errorf("%q is not an https origin", uri)
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.HasSuffix(rest, "]") {
		if rest[i+1:] == o.port {
			return o, fmt.Errorf("%q names the port that is understood; leave it out", uri)
		}
		o.host, o.port = rest[:i], rest[i+1:]
	}
	if !o.canonical() {
		return o, fmt.Errorf("%q is not an origin in canonical form, such as https://agent.example: lower case, no path", uri)
	}
	if scheme == "http" && !o.loopback() {
		return o, fmt.Errorf("%q: http is for this machine only (127.0.0.1, [::1], localhost)", uri)
	}
	return o, nil
}

// canonical reports whether host and port are spelled in the one way that is
// compared.
func (o origin) canonical() bool {
	n, err := strconv.ParseUint(o.port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != o.port {
		return false
	}
	if inner, ok := strings.CutPrefix(o.host, "["); ok {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && ip.Is6() && !ip.Is4In6() && ip.Zone() == "" && "["+ip.String()+"]" == o.host
	}
	return o.dnsName() || o.ip().Is4()
}

// dnsName reports whether the host is a name of lower-case labels, and not an
// IPv4 address: those end in a label of digits (WHATWG URL, "ends in a number").
func (o origin) dnsName() bool {
	labels := strings.Split(o.host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' ||
			strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	last := labels[len(labels)-1]
	return len(o.host) <= 253 && last[0] > '9'
}

// ip returns the host as an address; the zero Addr if it is a name.
func (o origin) ip() netip.Addr {
	ip, _ := netip.ParseAddr(strings.Trim(o.host, "[]"))
	return ip
}

// loopback reports whether the host is one of those that a manifest may name with
// http.
func (o origin) loopback() bool {
	return o.host == "localhost" || o.host == "127.0.0.1" || o.host == "[::1]"
}

// address is what to dial for the origin.
func (o origin) address() string { return net.JoinHostPort(strings.Trim(o.host, "[]"), o.port) }
