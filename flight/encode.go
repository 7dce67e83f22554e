package flight

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// maxInteger bounds numbers: beyond it RFC 8785 writes what a double makes of
// them.
const maxInteger = 1<<53 - 1

// ErrNotWhole is returned by Append for an entry whose payload has to be kept whole
// and cannot be: it is not I-JSON, or too long together with what is sealed.
var ErrNotWhole = errors.New("flight: the payload does not fit into a record whole")

const timeLayout = "2006-01-02T15:04:05.000Z"

// encoder builds one line. It holds everything that building needs, so that a
// pooled encoder allocates nothing.
//
// seq is known only under the lock of the log, so the line is built in two
// pieces around it: buf[:seqAt] ends with `"seq":`, buf[seqAt:] follows the
// number.
type encoder struct {
	buf   []byte
	seqAt int
	// bare is true until the first member is written.
	bare      bool
	truncated bool
	asText    bool // the payload is kept as a text, perhaps cut
	traced    bool
	trace     uint32 // hash of the trace id, if traced
	labels    []Label

	r       [16]byte
	random  [512]byte
	unused  int // bytes of random that were not handed out yet
	mac     mac
	scratch []byte
	plain   []byte // the receipt of this line
	sealed  []byte // of this line, in base64url
}

// encode builds the line of e, without seq, with that time.
//
// The members stand in the order of RFC 8785 by hand: all names are ASCII, so
// that order is the order of their bytes. A test compares every line with an
// independent canonicaliser.
func (c *encoder) encode(e *Entry, keys *storeKey, at time.Time) error {
	if !e.Type.known() {
		return fmt.Errorf("flight: %q is not a type of record", e.Type)
	}
	if e.TraceID != "" {
		if _, err := iatp.ParseTraceID(string(e.TraceID)); err != nil {
			return fmt.Errorf("flight: %w", err)
		}
	}
	c.buf, c.bare, c.truncated = append(c.buf[:0], '{'), true, e.Truncated
	c.newR()
	if err := c.seal(e, keys); err != nil {
		return err
	}
	c.untilDecision(e, keys)
	c.untilPayload(e, keys)
	if c.payload(e); e.Whole && c.asText {
		return ErrNotWhole
	}
	c.untilSeq(e)
	c.afterSeq(e, at)
	if len(c.buf)+20 > MaxLine {
		return errors.New("flight: a line came out too long") // the bounds above are wrong
	}
	return nil
}

func (c *encoder) untilDecision(e *Entry, keys *storeKey) {
	c.digest("action", e.Action)
	c.text("actor", e.Actor)
	c.text("agent_id", string(e.AgentID))
	c.text("agr", e.Agreement)
	c.number("attempts", int64(e.Attempts))
	c.digest("base", e.Base)
	c.number("bytes", e.Bytes)
	c.claim(e.Claim)
	if e.Body != nil {
		sum := keys.commit(&c.mac, c.r, e.Body)
		c.base64("commit", sum[:])
	}
	c.text("content_type", e.ContentType)
	c.text("decision", e.Decision)
	c.text("dir", string(e.Dir))
}

func (c *encoder) untilPayload(e *Entry, keys *storeKey) {
	if e.cut.droppedBelow != 0 {
		c.number("dropped_below", e.cut.droppedBelow)
	}
	c.text("error", e.Error)
	c.text("evidence", e.Evidence)
	c.findings(e.Findings)
	if e.IdempotencyKey != "" {
		c.scratch = append(c.scratch[:0], e.IdempotencyKey...)
		sum := keys.idem(&c.mac, c.scratch)
		c.base64("idem", sum[:])
	}
	c.text("jkt", e.JKT)
	c.millis("latency_ms", e.Latency)
	if e.Assessed {
		c.text("level", e.Level.String())
	}
	c.text("link", string(e.Link))
	c.text("manifest", e.Manifest)
	c.text("method", e.Method)
	c.truth("minted", e.Minted)
	if e.cut.set {
		c.name("new_size")
		c.integer(e.cut.newSize)
	}
	c.nonce(e.Nonce)
	c.text("note", e.Note)
	if e.cut.set {
		c.name("old_size")
		c.integer(e.cut.oldSize)
	}
	c.text("opaque", e.Opaque)
	c.text("outcome", string(e.Outcome))
	c.text("override", e.Override)
	c.millis("own_ms", e.Own)
	c.bounded("path", e.Path, maxPath)
}

func (c *encoder) untilSeq(e *Entry) {
	c.text("peer", e.Peer)
	c.text("policy", e.Policy)
	c.truth("quarantined", e.Quarantined)
	c.base64("r", c.r[:])
	c.text("reason", e.Reason)
	c.reasons(e.Reasons)
	if e.Receipt != "" {
		c.digest("receipt", iatp.DigestOf(c.plain)) // see seal
	}
	c.rules(e.Rules)
	if e.Assessed {
		c.name("score")
		c.integer(int64(e.Score))
	}
	if len(c.sealed) > 0 {
		c.name("sealed")
		c.buf = append(append(append(c.buf, '"'), c.sealed...), '"')
	}
	c.name("seq")
	c.seqAt = len(c.buf)
}

func (c *encoder) afterSeq(e *Entry, at time.Time) {
	c.truth("sla_breach", e.SLABreach)
	c.spend(e.Spend)
	c.text("state", e.State)
	c.number("status_code", int64(e.StatusCode))
	c.name("timestamp")
	c.buf = append(c.buf, '"')
	c.buf = appendTime(c.buf, at)
	c.buf = append(c.buf, '"')
	// From here on no member holds JSON of a caller: see traceOf.
	c.traced = e.TraceID != ""
	if c.traced {
		c.text("trace_id", string(e.TraceID))
		end := len(c.buf) - 1
		c.trace = traceHash(c.buf[end-len(e.TraceID) : end]) // it has nothing to escape: see encode
	}
	c.text("traceparent", e.TraceParent)
	c.truth("truncated", c.truncated)
	c.tx(e.Tx)
	c.text("type", string(e.Type))
	c.buf = append(c.buf, '}')
}

// newR draws the 128 random bits of this line. Random bytes are fetched in
// blocks: one system call for 32 lines.
func (c *encoder) newR() {
	if c.unused < len(c.r) {
		rand.Read(c.random[:]) // never fails: it ends the program instead
		c.unused = len(c.random)
	}
	end := len(c.random) - c.unused
	copy(c.r[:], c.random[end:])
	clear(c.random[end : end+len(c.r)])
	c.unused -= len(c.r)
}

func (c *encoder) name(name string) {
	c.buf, c.bare = appendName(c.buf, name, c.bare), false
}

// appendName appends the name of a member, which is bare if it is the first.
func appendName(dst []byte, name string, bare bool) []byte {
	if !bare {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

func (c *encoder) text(name, s string) { c.bounded(name, s, maxText) }

func (c *encoder) bounded(name, s string, limit int) {
	if s == "" {
		return
	}
	if len(s) > limit || plainPrefix(s) < len(s) {
		c.name(name)
		c.cutString(s, limit)
		return
	}
	dst := append(appendName(c.buf, name, c.bare), '"')
	dst = append(dst, s...)
	c.buf, c.bare = append(dst, '"'), false
}

// cutString writes s as a string of at most limit bytes between the quotes.
func (c *encoder) cutString(s string, limit int) {
	var whole bool
	if c.buf, whole = appendString(c.buf, s, limit); !whole {
		c.truncated = true
	}
}

func (c *encoder) number(name string, n int64) {
	if n == 0 {
		return
	}
	c.name(name)
	c.integer(n)
}

// integer writes n; what no double can hold exactly becomes the bound.
func (c *encoder) integer(n int64) {
	c.buf = strconv.AppendInt(c.buf, min(max(n, -maxInteger), maxInteger), 10)
}

func (c *encoder) truth(name string, b bool) {
	if b {
		c.name(name)
		c.buf = append(c.buf, "true"...)
	}
}

func (c *encoder) base64(name string, b []byte) {
	c.name(name)
	c.buf = append(c.buf, '"')
	c.buf = base64.RawURLEncoding.AppendEncode(c.buf, b)
	c.buf = append(c.buf, '"')
}

// millis writes d in milliseconds with up to three decimals: in that range the
// plain decimal is the shortest form, which is what RFC 8785 asks for.
func (c *encoder) millis(name string, d time.Duration) {
	if d <= 0 {
		return
	}
	// At least one, for it was measured; at most 15 digits, which a double keeps.
	micros := min(max(d.Microseconds(), 1), 999_999_999_999_999)
	c.name(name)
	c.integer(micros / 1000)
	if rest := micros % 1000; rest != 0 {
		c.buf = append(c.buf, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
		for c.buf[len(c.buf)-1] == '0' {
			c.buf = c.buf[:len(c.buf)-1]
		}
	}
}

func (c *encoder) digest(name string, d iatp.Digest) {
	if !d.IsZero() {
		c.base64(name, d[:])
	}
}

func (c *encoder) findings(list []Count) {
	if len(list) == 0 {
		return
	}
	c.name("findings")
	c.buf = append(c.buf, '[')
	room := maxItems // for places, in all findings
	for i, f := range list[:c.items(len(list))] {
		c.comma(i)
		c.buf = append(c.buf, '{')
		if f.Action != "" {
			c.buf = append(c.buf, `"action":`...)
			c.cutString(f.Action, maxItem)
			c.buf = append(c.buf, ',')
		}
		room -= c.places(f.At[:min(len(f.At), room)])
		c.buf = append(c.buf, `"count":`...)
		c.integer(int64(f.Count))
		c.buf = append(c.buf, `,"kind":`...)
		c.cutString(string(f.Kind), maxItem)
		c.buf = append(c.buf, '}')
	}
	c.buf = append(c.buf, ']')
}

// places writes the pointers of a finding and returns how many there are.
func (c *encoder) places(at []string) int {
	if len(at) > 0 {
		c.buf = append(c.buf, `"at":[`...)
		for i, pointer := range at {
			c.comma(i)
			c.cutString(pointer, maxItem)
		}
		c.buf = append(c.buf, `],`...)
	}
	return len(at)
}

func (c *encoder) reasons(list []string) {
	if len(list) == 0 {
		return
	}
	c.name("reasons")
	c.buf = append(c.buf, '[')
	for i, code := range list[:c.items(len(list))] {
		c.comma(i)
		c.cutString(code, maxItem)
	}
	c.buf = append(c.buf, ']')
}

func (c *encoder) rules(list []Rule) {
	if len(list) == 0 {
		return
	}
	c.name("rules")
	c.buf = append(c.buf, '[')
	for i, r := range list[:c.items(len(list))] {
		c.comma(i)
		c.buf = append(c.buf, '{')
		c.bare = true
		c.bounded("file", r.File, maxItem)
		c.number("line", int64(r.Line))
		c.bounded("name", r.Name, maxItem)
		c.bare = false
		c.buf = append(c.buf, '}')
	}
	c.buf = append(c.buf, ']')
}

func (c *encoder) comma(i int) {
	if i > 0 {
		c.buf = append(c.buf, ',')
	}
}

// items bounds the length of a list.
func (c *encoder) items(n int) int {
	if n > maxItems {
		c.truncated = true
		return maxItems
	}
	return n
}

// payload writes the payload of e: JSON in its canonical form when it is JSON,
// short enough and not too deep, else as text. What is sealed takes its room
// from it.
func (c *encoder) payload(e *Entry) {
	text, limit := e.Text, MaxPayload-len(c.sealed)
	c.asText = false
	if e.Payload != nil {
		start, bare := len(c.buf), c.bare
		c.name("payload")
		var err error
		if e.Canonical != nil && len(e.Canonical) <= limit {
			c.buf = append(c.buf, e.Canonical...)
			return
		}
		if c.buf, err = ijson.AppendCanonicalWithin(c.buf, e.Payload, ijson.Limits{Depth: MaxPayloadDepth}, limit); err == nil {
			return
		}
		text = e.Payload
		c.buf, c.bare = c.buf[:start], bare
	}
	if text == nil {
		return
	}
	c.asText = true
	c.name("payload")
	var whole bool
	if c.buf, whole = appendString(c.buf, text, limit); !whole {
		c.truncated = true
	}
}

// appendString appends s as a JSON string in the form of RFC 8785, at most
// limit bytes between the quotes, cut between two characters. Invalid UTF-8
// becomes U+FFFD. It reports whether all of s went in.
func appendString[T ~string | ~[]byte](dst []byte, s T, limit int) ([]byte, bool) {
	dst = append(dst, '"')
	end := len(dst) + limit
	for i := 0; i < len(s); {
		plain := i + plainPrefix(s[i:])
		if room := end - len(dst); plain-i > room {
			return append(append(dst, s[i:i+room]...), '"'), false
		}
		dst, i = append(dst, s[i:plain]...), plain
		if i == len(s) {
			break
		}
		before := len(dst)
		if s[i] < utf8.RuneSelf {
			dst, i = appendEscape(dst, s[i]), i+1
		} else {
			r, n := decodeRune(s[i:])
			dst, i = utf8.AppendRune(dst, r), i+n
		}
		if len(dst) > end {
			return append(dst[:before], '"'), false
		}
	}
	return append(dst, '"'), true
}

// plainPrefix returns how many bytes stand for themselves, eight at a time.
func plainPrefix[T ~string | ~[]byte](s T) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		// A high bit is set where a byte is below a blank, a quote, a backslash, or not
		// ASCII; and perhaps in bytes above one of these.
		if (w-ones*' '|(quote-ones)|(slash-ones)|w)&highs != 0 {
			break
		}
	}
	for i < len(s) && isPlain(s[i]) {
		i++
	}
	return i
}

// appendTime appends t as timeLayout says.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(dst, timeLayout) // which has a way to write these, too
	}
	hour, minute, second := t.Clock()
	milli := t.Nanosecond() / 1e6
	dst = append(appendPair(appendPair(dst, year/100), year%100), '-')
	dst = append(appendPair(dst, int(month)), '-')
	dst = append(appendPair(dst, day), 'T')
	dst = append(appendPair(dst, hour), ':')
	dst = append(appendPair(dst, minute), ':')
	dst = append(appendPair(dst, second), '.')
	return append(dst, byte('0'+milli/100), byte('0'+milli/10%10), byte('0'+milli%10), 'Z')
}

// appendPair appends two digits.
func appendPair(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

// isPlain reports whether b stands for itself in a string.
func isPlain(b byte) bool { return b >= ' ' && b < utf8.RuneSelf && b != '"' && b != '\\' }

// decodeRune is utf8.DecodeRune for both kinds of text, without a copy.
func decodeRune[T ~string | ~[]byte](s T) (rune, int) {
	var head [utf8.UTFMax]byte
	return utf8.DecodeRune(head[:copy(head[:], s)])
}

const hexDigits = "0123456789abcdef"

// appendEscape appends an ASCII character that is not plain, as RFC 8785,
// 3.2.2.2 writes it.
func appendEscape(dst []byte, b byte) []byte {
	switch b {
	case '"', '\\':
		return append(dst, '\\', b)
	case '\b':
		return append(dst, '\\', 'b')
	case '\t':
		return append(dst, '\\', 't')
	case '\n':
		return append(dst, '\\', 'n')
	case '\f':
		return append(dst, '\\', 'f')
	case '\r':
		return append(dst, '\\', 'r')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
}
