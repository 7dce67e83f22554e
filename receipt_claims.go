package iatp

import (
	"io"
	"slices"
	"strconv"
	"sync"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// appendClaims appends the claims of the receipt in the RFC 8785 form: members in
// the order of their names.
func (r *Receipt) appendClaims(dst []byte) []byte {
	w := claimWriter{dst: append(dst, '{'), bare: true}
	w.digest("agr", r.Agr, Digest.Base64URL)
	w.text("aud", r.Aud)
	if !r.Cost.IsZero() {
		w.begin("cost")
		w.text("amount", r.Cost.Amount())
		w.text("cur", r.Cost.Currency())
		w.end()
	}
	w.digests("facts", r.Facts)
	w.number("iat", r.Iat)
	w.text("iss", r.Iss)
	w.text("jti", r.JTI)
	w.digest("mft", r.Mft, Digest.ContentDigest)
	w.number("ms", r.MS)
	w.text("outcome", r.Outcome)
	w.begin("req")
	w.text("base", r.Req.Base.Base64URL())
	w.optional("key", r.Req.Key)
	w.end()
	w.begin("res")
	w.text("digest", r.Res.Digest.ContentDigest())
	w.number("status", int64(r.Res.Status))
	w.optional("type", r.Res.Type)
	w.end()
	w.text("trace_id", string(r.TraceID))
	w.optional("tx", r.Tx)
	if r.Undo != nil {
		r.Undo.write(&w)
	}
	w.end()
	return w.dst
}

func (u *Undo) write(w *claimWriter) {
	w.begin("undo")
	if !u.MaxFee.IsZero() {
		w.text("cur", u.MaxFee.Currency())
	}
	w.text("level", string(u.Level))
	if !u.MaxFee.IsZero() {
		w.text("max_fee", u.MaxFee.Amount())
	}
	if u.Until != 0 {
		w.number("until", u.Until)
	}
	w.end()
}

// A claimWriter writes an object, member by member.
type claimWriter struct {
	dst  []byte
	bare bool // nothing stands in the object that is open
}

func (w *claimWriter) name(name string) {
	if !w.bare {
		w.dst = append(w.dst, ',')
	}
	w.bare = false
	w.dst = append(append(append(w.dst, '"'), name...), '"', ':')
}

func (w *claimWriter) begin(name string) {
	w.name(name)
	w.dst, w.bare = append(w.dst, '{'), true
}

func (w *claimWriter) end() { w.dst, w.bare = append(w.dst, '}'), false }

func (w *claimWriter) text(name, s string) {
	w.name(name)
	w.dst = ijson.AppendString(w.dst, s)
}

func (w *claimWriter) optional(name, s string) {
	if s != "" {
		w.text(name, s)
	}
}

func (w *claimWriter) number(name string, n int64) {
	w.name(name)
	w.dst = strconv.AppendInt(w.dst, n, 10)
}

func (w *claimWriter) digest(name string, d Digest, spell func(Digest) string) {
	if !d.IsZero() {
		w.text(name, spell(d))
	}
}

func (w *claimWriter) digests(name string, list []Digest) {
	if len(list) == 0 {
		return
	}
	w.name(name)
	for i, d := range list {
		w.dst = append(w.dst, "[,"[min(i, 1)])
		w.dst = ijson.AppendString(w.dst, d.Base64URL())
	}
	w.dst = append(w.dst, ']')
}

// readPlainReceipt reads a receipt without money, facts and escapes, as nearly all
// are, straight off its text: two are read in every signed call. Whatever is unusual
// or wrong about one is for readReceipt, which knows how to say so; what both take
// is the same to both.
func readPlainReceipt(claims []byte) (*Receipt, bool) {
	if len(claims) > MaxStatementSize {
		return nil, false
	}
	c := claimReaders.Get().(*claimReader)
	defer c.put()
	c.data, c.strange = string(claims), false
	c.r.Reset(claims, ijson.Limits{Depth: MaxManifestDepth})
	r := new(Receipt)
	required := c.object(func(name string) bool { return c.receipt(r, name) })
	if _, err := c.r.Next(); err != io.EOF || c.strange || required != 9 {
		return nil, false
	}
	return r, r.Res.Status >= 200 && r.Res.Status <= 599
}

// A claimReader reads claims that are spelled plainly. strange says that they are not.
type claimReader struct {
	data    string // what is read is a part of it
	r       ijson.Reader
	strange bool
}

var claimReaders = sync.Pool{New: func() any { return new(claimReader) }}

// put gives the reader to another one, without the claims that it read.
func (c *claimReader) put() {
	c.data = ""
	c.r.Reset(nil, ijson.Limits{})
	claimReaders.Put(c)
}

// object reads an object, with read for each member, and returns how many of them
// read has called required.
func (c *claimReader) object(read func(name string) bool) (required int) {
	if tok, err := c.r.Next(); err != nil || tok.Kind != ijson.BeginObject {
		c.strange = true
	}
	for !c.strange {
		tok, err := c.r.Next()
		switch {
		case err != nil || tok.Escaped:
			c.strange = true
		case tok.Kind == ijson.EndObject:
			return required
		case read(c.data[tok.Start:tok.End]):
			required++
		}
	}
	return 0
}

// receipt reads a member of a receipt, and reports whether it is a required one.
func (c *claimReader) receipt(r *Receipt, name string) bool {
	switch name {
	case "iss":
		r.Iss = c.principal()
	case "aud":
		r.Aud = c.principal()
	case "iat":
		r.Iat = c.count()
	case "jti":
		r.JTI = c.token(128)
	case "trace_id":
		id, err := ParseTraceID(c.text())
		c.doubt(err != nil)
		r.TraceID = id
	case "req":
		c.doubt(c.object(func(name string) bool { return c.requested(&r.Req, name) }) != 1)
	case "res":
		c.doubt(c.object(func(name string) bool { return c.responded(&r.Res, name) }) != 2)
	case "outcome":
		r.Outcome = c.word(outcomes)
	case "ms":
		r.MS = c.count()
	default:
		c.option(r, name)
		return false
	}
	return true
}

// option reads a member that a receipt need not have.
func (c *claimReader) option(r *Receipt, name string) {
	switch name {
	case "agr":
		r.Agr = c.digest(ParseBase64URL)
	case "mft":
		r.Mft = c.digest(ParseContentDigest)
	case "tx":
		r.Tx = c.token(128)
	case "undo":
		r.Undo = new(Undo)
		c.doubt(c.object(func(name string) bool { return c.undo(r.Undo, name) }) != 1)
	default:
		c.strange = true
	}
}

func (c *claimReader) requested(r *Requested, name string) bool {
	switch name {
	case "base":
		r.Base = c.digest(ParseBase64URL)
		return true
	case "key":
		r.Key = c.token(MaxIdempotencyKey)
	default:
		c.strange = true
	}
	return false
}

func (c *claimReader) responded(r *Responded, name string) bool {
	switch name {
	case "digest":
		r.Digest = c.digest(ParseContentDigest)
		return true
	case "status":
		n := c.count()
		c.doubt(n > 599)
		r.Status = int(n)
		return true
	case "type":
		r.Type = c.token(256)
	default:
		c.strange = true
	}
	return false
}

func (c *claimReader) undo(u *Undo, name string) bool {
	switch name {
	case "level":
		u.Level = ReversibilityLevel(c.word(reversibilityLevels))
		return true
	case "until":
		u.Until = c.count()
	default:
		c.strange = true
	}
	return false
}

func (c *claimReader) doubt(bad bool) { c.strange = c.strange || bad }

// scalar reads a value of that kind; without escapes, if it is a string.
func (c *claimReader) scalar(kind ijson.Kind) string {
	tok, err := c.r.Next()
	if err != nil || tok.Kind != kind || tok.Escaped {
		c.strange = true
		return ""
	}
	return c.data[tok.Start:tok.End]
}

func (c *claimReader) text() string { return c.scalar(ijson.String) }

func (c *claimReader) principal() string {
	s := c.text()
	c.doubt(checkPrincipal(s) != nil)
	return s
}

func (c *claimReader) token(most int) string {
	s := c.text()
	c.doubt(s == "" || len(s) > most || !printable(s))
	return s
}

func (c *claimReader) count() int64 {
	raw := c.scalar(ijson.Number)
	n, err := strconv.ParseInt(raw, 10, 64)
	c.doubt(err != nil || n < 0 || n >= maxNumber || raw[0] == '-')
	return n
}

func (c *claimReader) digest(parse func(string) (Digest, error)) Digest {
	d, err := parse(c.text())
	c.doubt(err != nil || d.IsZero())
	return d
}

func (c *claimReader) word(words []string) string {
	s := c.text()
	c.doubt(!slices.Contains(words, s))
	return s
}

// printable reports whether s holds printable ASCII characters only.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
