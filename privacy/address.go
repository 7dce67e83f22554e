package privacy

import (
	"bytes"
	"net/netip"
	"slices"
)

// Addresses of machines, and the credentials in front of them.
var (
	urlCredentials = detector{
		kind:   "url_credentials",
		hits:   []string{"https://user:secret@example.com/x", "postgres://app:s3cr3t@db.example:5432/main", "redis://:p4ssw0rd@cache:6379", "mongodb+srv://root:pa%24ss@cluster0.example.net", "app:s3cr3t@tcp(db.example:3306)/app", "jdbc:oracle:thin:scott/tiger@//db.example:1521/orcl"},
		misses: []string{"https://example.com/a:b@c", "https://user@example.com", "http://example.com:8080/@ann", "https://[URL_CREDENTIALS_REDACTED]@example.com", "https://${USER}:${PASS}@example.com", "https://{user}:{password}@example.com", "https://user:****@example.com", "app:${PASS}@tcp(db)/app", "app@tcp(db.example:3306)/app", "jdbc:oracle:thin:@db.example:1521:orcl", "note:tiger@example.com"},
	}
	ips = detector{
		kind:   "ip_address",
		words:  []string{"ip", "ip address", "ipaddress", "ipaddr", "client ip", "clientip", "remote addr", "remote address", "remoteaddr", "ipv", "source ip", "peer address", "xff", "forwarded for"},
		hits:   []string{"203.0.114.7", "from 8.8.8.8:53", "client_ip=192.168.1.10", "2001:db9:85a3::8a2e:370:7334", "[2606:4700:4700::1111]:443", "fe80::1ff:fe23:4567:890a", "8.8.8.8", "http://4.1.2.3/x", "ip 4.1.2.3"},
		misses: []string{"1.2.3", "256.1.1.1", "1.2.3.4.5", "version 1.2.3.4", "127.0.0.1", "10.0.0.1", "::1", "04:05:06", "std::vector", "agent-203.0.114.7-x", "01.02.03.04", "0.0.0.0", "v203.0.114.7", "section 4.1.2.33", "Chrome/119.0.66.105", "255.255.252.0", "0.99.28.1", "4.1.2.3", "OID 1.3.6.1"},
	}
	macs = detector{
		kind:   "mac_address",
		hits:   []string{"00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5e", "001a.2b3c.4d5e", "aabb.ccdd.eeff", "00:1a:2b:ff:fe:3c:4d:5e", "MAC 001A2B3C4D5E", `{"mac":"001a2b3c4d5e"}`, "MAC 1234.5678.9012", "00:1A:2B:3C:4D:5E: no such device", "MAC:00:1A:2B:3C:4D:5E", "mac-00-1a-2b-3c-4d-5e"},
		misses: []string{"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "00:1A:2B:3C:4D:5E:6F", "5e:00:1A:2B:3C:4D:5E", "00:1A:2B:3C:4D:5E:x1", "12-11-10-09-08-07", "00:1A:2B:3C:4D", "1234.5678.9012", "aabb.ccdd.eeff.0011", "aabb.ccdd", "0000.0000.0000", "0F97.0020.0002", "001a2b3c4d5e", "MAC 001a2b3c4d5g"},

		patterns: []string{"XXXXXXXXXXXX"}, alone: 0.1, told: 0.85,
		valid: func(c []byte) float64 { return certain(isHex(c) && varied(c, 5)) },
		words: []string{"mac", "mac address", "macaddress", "hwaddr", "hardware address", "ether", "bssid", "ethernet"},
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
	if at < 0 || colon < 0 || colon > at-2 || madeUp(text[colon+1:at]) && varied(text[colon+1:at], 2) || masked(text[colon+1:at]) || template(text[colon+1:at]) || text[colon+1] == '{' && text[at-1] == '}' {
		return i
	}
	return f.hit(&urlCredentials, start, at, 0.9)
}

// masked reports whether a password was taken out: ****.
func masked(v []byte) bool { return len(bytes.Trim(v, "*")) == 0 }

// driverName looks for what names a data source to a driver, around the colon at i:
// user:password@tcp(host) of Go's for MySQL, thin:user/password@host of Oracle's for JDBC.
func (f *finder) driverName(i int) int {
	text, start, split := f.text, i, byte(':')
	if thin := "thin"; i >= len(thin) && string(text[i-len(thin):i]) == thin {
		start, split = i+1, '/'
	}
	end := i + 1
	for end < len(text) && end-i < maxNameLabel*2 && text[end] > ' ' && text[end] != '@' && text[end] != '"' && text[end] != '\'' {
		end++
	}
	if end+5 > len(text) || text[end] != '@' || split == ':' && !f.hasAt(end, "@tcp(") && !f.hasAt(end, "@unix(") {
		return i
	}
	for split == ':' && start > 0 && i-start < maxNameLabel && wordBytes[text[start-1]] {
		start--
	}
	n := bytes.IndexByte(text[start:end], split)
	if v := text[start+n+1 : end]; n < 1 || len(v) == 0 || masked(v) || template(v) || madeUp(v) && varied(v, 2) {
		return i
	}
	return f.hit(&urlCredentials, start, end, 0.85)
}

// afterUser is what ends the part of a URL that may hold credentials.
var afterUser = bytesOf(`/?#"'<>\,;`)

// address looks for the address of a machine that begins with text[i:end].
func (f *finder) address(i, end int) int {
	switch text := f.text; {
	case text[end] == '.' && end-i <= 3:
		return f.ipv4(i)
	case text[end] == '.':
		return f.dottedMAC(i)
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
		if j == start || v > 255 || v == 0 && k == 0 || j-start > 1 && text[start] == '0' {
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
	conf, b := 0.65, a.As16()
	switch {
	case a.IsLoopback(), a.IsUnspecified(), a.IsMulticast(), b[15] == 255 && b[14] == 255, a.Is4() && b[12] == 255:
		return f.hit(&ips, i, end, 0.2)
	case a.IsPrivate():
		conf = 0.4
	case a.Is4() && f.likeVersion(b[12:], i, end):
		conf = 0.4
	}
	if f.numbered(i) {
		conf = 0.2
	} else if t := (telling{f: f, start: i}); t.yes(&ips, end) {
		conf = 0.85
	}
	return f.hit(&ips, i, end, conf)
}

// likeVersion reports whether the four parts of an address are so small that they
// are rather those of a version or a section, and nothing beside them says otherwise.
func (f *finder) likeVersion(parts []byte, i, end int) bool {
	for _, p := range parts {
		if p > 40 {
			return false
		}
	}
	port := end+1 < len(f.text) && (f.text[end] == ':' || f.text[end] == '/') && isDigit(f.text[end+1])
	return parts[0] != parts[1] && !port && (i == 0 || f.text[i-1] != '/' && f.text[i-1] != '@')
}

// numberedBy are words before what looks like an address and is the number of a
// version or a section.
var numberedBy = [...]string{"version", "release", "build", "section", "clause", "chapter", "oid", "rfc", "update to", "upgrade to"}

// numbered reports whether the address at i is the number of something: one of
// these words stands before it, or the name of a product and a slash.
func (f *finder) numbered(i int) bool {
	if i >= 2 && f.text[i-1] == '/' && asciiLetter(f.text[i-2]) {
		return true
	}
	before := bytes.ToLower(f.text[max(i-16, 0):i])
	return slices.ContainsFunc(numberedBy[:], func(w string) bool { return bytes.Contains(before, []byte(w)) })
}

// mac looks for six pairs of hexadecimal digits, or the eight of an EUI-64.
func (f *finder) mac(i int) int {
	text := f.text
	const size = len("00:00:00:00:00:00")
	if len(text)-i < size || i > 0 && (text[i-1] == ':' || text[i-1] == '-') && f.pairBefore(i-1) {
		return 0
	}
	sep, letters, end := text[i+2], 0, i
	if sep != ':' && sep != '-' {
		return 0
	}
	for end < len(text) && end-i < size+6 {
		c := text[end]
		if pair := (end-i)%3 < 2; pair && !isDigit(c) && !isHexLetter(c) || !pair && c != sep {
			break
		}
		letters += pick(isHexLetter(c), 1, 0)
		end++
	}
	if end == i+size+1 && (end == len(text) || byteKind[text[end]] != runByte) {
		end-- // the colon behind it
	} else if end < len(text) && text[end] == sep {
		return 0
	}
	if n := end - i; n != size && n != size+6 || end < len(text) && byteKind[text[end]] == runByte || !varied(text[i:end], 4) || sep == '-' && letters == 0 {
		return 0
	}
	return f.hit(&macs, i, end, 0.85)
}

// pairBefore reports whether two hexadecimal digits end at i: what follows is the
// rest of something.
func (f *finder) pairBefore(i int) bool {
	return i >= 2 && isHex(f.text[i-2:i]) && (i == 2 || byteKind[f.text[i-3]] != runByte)
}

// dottedMAC looks for three groups of four hexadecimal digits.
func (f *finder) dottedMAC(i int) int {
	text := f.text
	end := i + len("0000.0000.0000")
	if end > len(text) || i > 0 && (separator[text[i-1]] && text[i-1] != ' ' || byteKind[text[i-1]] == runByte) ||
		end < len(text) && (byteKind[text[end]] == runByte || text[end] == '-' || text[end] == '.' && end+1 < len(text) && byteKind[text[end+1]] == runByte) {
		return 0
	}
	letters := 0
	for k, c := range text[i:end] {
		switch {
		case k%5 == 4 && c != '.', k%5 != 4 && !isDigit(c) && !isHexLetter(c):
			return 0
		case isHexLetter(c):
			letters++
		}
	}
	if !varied(text[i:end], 4) {
		return 0
	}
	sure := letters > 0 && varied(text[i:end], 7) // 0F97.0020.0002 is something else
	conf := pick(sure, 0.75, 0.2)
	if t := (telling{f: f, start: i}); !sure && t.yes(&macs, end) {
		conf = 0.75
	}
	return f.hit(&macs, i, end, conf)
}
