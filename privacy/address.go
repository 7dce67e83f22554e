package privacy

import (
	"bytes"
	"net/netip"
)

// Addresses of machines, and the credentials in front of them.
var (
	urlCredentials = detector{
		kind:   "url_credentials",
		hits:   []string{"https://user:secret@example.com/x", "postgres://app:s3cr3t@db.example:5432/main", "redis://:p4ssw0rd@cache:6379", "mongodb+srv://root:pa%24ss@cluster0.example.net"},
		misses: []string{"https://example.com/a:b@c", "https://user@example.com", "http://example.com:8080/@ann", "https://[URL_CREDENTIALS_REDACTED]@example.com", "https://${USER}:${PASS}@example.com"},
	}
	ips = detector{
		kind:   "ip_address",
		words:  []string{"ip", "ip address", "ipaddress", "ipaddr", "client ip", "clientip", "remote addr", "remote address", "remoteaddr", "ipv", "source ip", "peer address", "xff", "forwarded for"},
		hits:   []string{"203.0.114.7", "from 8.8.8.8:53", "client_ip=192.168.1.10", "2001:db9:85a3::8a2e:370:7334", "[2606:4700:4700::1111]:443", "fe80::1ff:fe23:4567:890a"},
		misses: []string{"1.2.3", "256.1.1.1", "1.2.3.4.5", "version 1.2.3.4", "127.0.0.1", "10.0.0.1", "::1", "04:05:06", "std::vector", "agent-203.0.114.7-x", "01.02.03.04", "0.0.0.0", "v203.0.114.7"},
	}
	macs = detector{
		kind:   "mac_address",
		hits:   []string{"00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5e"},
		misses: []string{"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "00:1A:2B:3C:4D:5E:6F", "12-11-10-09-08-07", "00:1A:2B:3C:4D"},
	}
)

// credentials looks for user:password@ behind the :// at i.
func (f *finder) credentials(i int) int {
	text := f.text
	if !f.anyAt || !f.hasAt(i, "://") {
		return i
	}
	start, colon, at := i+3, -1, -1
	for j := start; j < len(text) && j-start < maxValue; j++ {
		switch c := text[j]; {
		case c == ':' && colon < 0:
			colon = j
		case c == '@':
			at = j
		case c <= ' ', afterUser[c]:
			j = len(text)
		}
	}
	if at < 0 || colon < 0 || colon > at-2 || madeUp(text[colon+1:at]) && varied(text[colon+1:at], 2) || template(text[colon+1:at]) {
		return i
	}
	return f.hit(&urlCredentials, start, at, 0.9)
}

// afterUser is what ends the part of a URL that may hold credentials.
var afterUser = bytesOf(`/?#"'<>\,;`)

// address looks for the address of a machine that begins with text[i:end].
func (f *finder) address(i, end int) int {
	switch text := f.text; {
	case text[end] == '.' && end-i <= 3:
		return f.ipv4(i)
	case text[end] == ':' || text[end] == '-':
		if last := f.mac(i); last > i {
			return last
		}
		if text[end] == ':' {
			return f.ipv6(i)
		}
	}
	return 0
}

func (f *finder) ipv4(i int) int {
	text := f.text
	if i > 0 && (text[i-1] == '.' || text[i-1] == '-' || text[i-1] == '_' || isLetter(text[i-1])) {
		return 0
	}
	var parts [4]byte
	j := i
	for k := range parts {
		if k > 0 {
			if j == len(text) || text[j] != '.' {
				return 0
			}
			j++
		}
		start, v := j, 0
		for j < len(text) && isDigit(text[j]) && j-start < 4 {
			v = v*10 + int(text[j]-'0')
			j++
		}
		if j == start || v > 255 || j-start > 1 && text[start] == '0' {
			return 0
		}
		parts[k] = byte(v)
	}
	if j < len(text) && (isLetter(text[j]) || text[j] == '-' || text[j] == '_' || text[j] == '.' && j+1 < len(text) && isDigit(text[j+1])) {
		return 0
	}
	return f.ip(netip.AddrFrom4(parts), i, j)
}

func (f *finder) ipv6(i int) int {
	text := f.text
	if i > 0 && (text[i-1] == ':' || text[i-1] == '.' || text[i-1] == '-' || isLetter(text[i-1]) || isDigit(text[i-1])) {
		return 0
	}
	end, colons, double, groups, long := i, 0, false, 0, 0
	for ; end < len(text) && end-i <= 45; end++ {
		switch c := text[end]; {
		case c == ':':
			colons++
			double = double || end > i && text[end-1] == ':'
			long = 0
			continue
		case isDigit(c), isHexLetter(c):
			if long++; long == 1 {
				groups++
			}
			if long > 4 {
				return 0
			}
			continue
		}
		break
	}
	if colons < 2 || !double && colons != 7 || groups < 3 && !(double && groups > 0 && text[i]|0x20 == 'f') || end < len(text) && (isLetter(text[end]) || text[end] == '.') {
		return 0
	}
	for text[end-1] == ':' && !f.hasAt(end-2, "::") {
		end--
	}
	addr, err := netip.ParseAddr(string(text[i:end]))
	if err != nil {
		return 0
	}
	return f.ip(addr, i, end)
}

// ip weighs an address: those of machines that everybody has are nobody's.
func (f *finder) ip(a netip.Addr, i, end int) int {
	conf := 0.65
	switch {
	case a.IsLoopback(), a.IsUnspecified(), a.IsMulticast(), a.As16()[15] == 255 && a.As16()[14] == 255:
		return f.hit(&ips, i, end, 0.2)
	case a.IsPrivate():
		conf = 0.4
	}
	from := max(i-16, 0)
	before := bytes.ToLower(f.text[from:i])
	if bytes.Contains(before, []byte("version")) || bytes.Contains(before, []byte("release")) || bytes.Contains(before, []byte("build")) {
		conf = 0.2
	} else if t := (telling{f: f, start: i}); t.yes(&ips, end) {
		conf = 0.85
	}
	return f.hit(&ips, i, end, conf)
}

// mac looks for six pairs of hexadecimal digits.
func (f *finder) mac(i int) int {
	text := f.text
	const size = len("00:00:00:00:00:00")
	if len(text)-i < size || i > 0 && (text[i-1] == ':' || text[i-1] == '-') {
		return 0
	}
	sep, letters := text[i+2], 0
	if sep != ':' && sep != '-' {
		return 0
	}
	for k := range size {
		c := text[i+k]
		switch {
		case k%3 == 2:
			if c != sep {
				return 0
			}
		case isHexLetter(c):
			letters++
		case !isDigit(c):
			return 0
		}
	}
	end := i + size
	if end < len(text) && (byteKind[text[end]] == runByte || text[end] == sep) || !varied(text[i:end], 4) || sep == '-' && letters == 0 {
		return 0
	}
	return f.hit(&macs, i, end, 0.85)
}
