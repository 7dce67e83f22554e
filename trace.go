package iatp

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// A TraceID names one exchange, or a chain of them, for the people who search
// for it. It is a label and gives no authority.
type TraceID string

// MaxTraceID is the greatest length of a TraceID, in bytes.
const MaxTraceID = 128

// ParseTraceID reads a trace id: 1 to 128 letters, digits, dots, underscores and
// hyphens. It is safe in a header, a log line and a URL path segment; whoever
// makes a file name of it must still beware of "..".
func ParseTraceID(s string) (TraceID, error) {
	if s == "" || len(s) > MaxTraceID {
		return "", fmt.Errorf("trace id must have 1 to %d characters, got %d", MaxTraceID, len(s))
	}
	for i := range len(s) {
		if !traceIDBytes[s[i]] {
			return "", fmt.Errorf("trace id may hold letters, digits, dots, underscores and hyphens only, got %s", snippet(s))
		}
	}
	return TraceID(s), nil
}

// traceIDBytes is a table, for each record is checked.
var traceIDBytes = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '.' || c == '_' || c == '-'
	}
	return t
}()

// NewTraceID makes a trace id of 128 random bits, in the form of an RFC 9562
// UUID of version 4, six of whose bits are fixed.
func NewTraceID(random [16]byte) TraceID {
	random[6] = random[6]&0x0f | 0x40
	random[8] = random[8]&0x3f | 0x80
	return uuid(random)
}

func uuid(b [16]byte) TraceID {
	var text [36]byte
	hex.Encode(text[:], b[:4])
	hex.Encode(text[9:], b[4:6])
	hex.Encode(text[14:], b[6:8])
	hex.Encode(text[19:], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return TraceID(text[:])
}

// Bits returns the 128 bits that the id spells, as a UUID of any version or as
// 32 hexadecimal digits; ok is false if it is neither.
func (id TraceID) Bits() (bits [16]byte, ok bool) {
	var digits [32]byte
	switch {
	case len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-':
		copy(digits[:], id[:8])
		copy(digits[8:], id[9:13])
		copy(digits[12:], id[14:18])
		copy(digits[16:], id[19:23])
		copy(digits[20:], id[24:])
	case len(id) == 32:
		copy(digits[:], id)
	default:
		return bits, false
	}
	if _, err := hex.Decode(bits[:], digits[:]); err != nil {
		return [16]byte{}, false
	}
	return bits, true
}

// A TraceParent is the traceparent of W3C Trace Context.
type TraceParent struct {
	TraceID [16]byte
	SpanID  [8]byte // the parent-id: the caller's span
	Flags   byte
}

// Sampled is the flag of a TraceParent whose trace is recorded.
const Sampled byte = 0x01

var errTraceParent = errors.New("traceparent must look like 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, lower case and not all zero")

// ParseTraceParent reads a traceparent header as W3C Trace Context (level 2,
// section 3.2) says: version 00 exactly, and of any later version but ff the part
// that version 00 knows.
func ParseTraceParent(s string) (TraceParent, error) {
	var (
		p       TraceParent
		version [1]byte
		flags   [1]byte
	)
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' ||
		!lowerHex(version[:], s[0:2]) || !lowerHex(p.TraceID[:], s[3:35]) ||
		!lowerHex(p.SpanID[:], s[36:52]) || !lowerHex(flags[:], s[53:55]) {
		return TraceParent{}, errTraceParent
	}
	switch {
	case version[0] == 0xff,
		version[0] == 0 && len(s) != 55,
		len(s) > 55 && s[55] != '-',
		p.TraceID == [16]byte{},
		p.SpanID == [8]byte{}:
		return TraceParent{}, errTraceParent
	}
	p.Flags = flags[0]
	return p, nil
}

// lowerHex decodes lower-case hexadecimal digits of exactly twice dst's length.
func lowerHex(dst []byte, s string) bool {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'F' {
			return false
		}
	}
	n, err := hex.Decode(dst, []byte(s))
	return err == nil && n == len(dst)
}

// String returns the header value, always of version 00.
func (p TraceParent) String() string {
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, p.TraceID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, p.SpanID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, []byte{p.Flags})
	return string(b)
}

// ID returns the trace id in UUID form: the same 128 bits.
func (p TraceParent) ID() TraceID { return uuid(p.TraceID) }
