package upstream

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// check refuses what cannot be written without meaning something else.
func (r *Request) check() error {
	if !validToken(r.Method) {
		return fmt.Errorf("upstream: %q is not a method", r.Method)
	}
	if !strings.HasPrefix(r.Target, "/") || strings.ContainsFunc(r.Target, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '#' }) {
		return fmt.Errorf("upstream: %q is not a request target", r.Target)
	}
	for _, f := range r.Fields {
		switch {
		case !validToken(f.Name):
			return fmt.Errorf("upstream: %q is not the name of a field", f.Name)
		case !validValue(f.Value):
			return fmt.Errorf("upstream: the value of %s holds a control character", f.Name)
		case ours(f.Name):
			return fmt.Errorf("upstream: %s is not the caller's to set", f.Name)
		}
	}
	return nil
}

// ours are the fields that frame a message or are about the connection (RFC
// 9110, 7.6.1), and those that ask for what Do does not do.
func ours(name string) bool {
	switch len(name) {
	case 2:
		return strings.EqualFold(name, "TE")
	case 4:
		return strings.EqualFold(name, "Host")
	case 6:
		return strings.EqualFold(name, "Expect")
	case 7:
		return strings.EqualFold(name, "Trailer") || strings.EqualFold(name, "Upgrade")
	case 10:
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case 14:
		return strings.EqualFold(name, "Content-Length")
	case 17:
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return len(name) > 6 && strings.EqualFold(name[:6], "Proxy-")
}

// appendHead appends the head of the request.
func (r *Request) appendHead(b []byte, host string) []byte {
	b = append(append(append(b, r.Method...), ' '), r.Target...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), host...)
	for _, f := range r.Fields {
		b = append(append(append(append(b, "\r\n"...), f.Name...), ": "...), f.Value...)
	}
	if len(r.Body) > 0 || r.Method == "POST" || r.Method == "PUT" || r.Method == "PATCH" {
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(r.Body)), 10)
	}
	return append(b, "\r\n\r\n"...)
}

// Tables of characters (RFC 9110, 5.6.2 and 5.5).
var tokens, values = func() (t, v [256]bool) {
	for c := range 256 {
		v[c] = c >= ' ' && c != 0x7f || c == '\t'
		t[c] = c > ' ' && c < 0x7f && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, rune(c))
	}
	return t, v
}()

func validToken[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if !tokens[s[i]] {
			return false
		}
	}
	return len(s) > 0
}

func validValue[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if !values[s[i]] {
			return false
		}
	}
	return true
}

// room is what a pooled buffer holds. A request that fits goes out in one
// write; more is not copied.
const room = 8 << 10

var rooms = sync.Pool{New: func() any { return new([room]byte) }}
