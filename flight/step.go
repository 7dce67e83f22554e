package flight

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
)

// An Alias stands in a line for a text that must not be read or searched there,
// such as an idempotency key: 128 bits of an HMAC under the store key. The same
// text has the same alias for the life of the data directory.
type Alias [16]byte

const aliasLabel = "iatp alias v1"

// Alias returns the alias of a list of texts. Lists for different purposes, or
// lists that differ anywhere, have nothing in common.
func (l *Log) Alias(purpose string, texts ...string) Alias {
	c := l.encoders.Get().(*encoder)
	defer l.encoders.Put(c)
	b := append(c.scratch[:0], aliasLabel...)
	b = appendCounted(b, purpose)
	for _, text := range texts {
		b = appendCounted(b, text)
	}
	c.scratch = b
	c.mac.start(l.keys.store[:])
	c.mac.inner.Write(b)
	sum := c.mac.finish()
	clear(b)
	return Alias(sum[:16])
}

func appendCounted(dst []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(len(text))), text...)
}

// String returns the alias as lines hold it: 22 characters of base64url.
func (a Alias) String() string { return base64.RawURLEncoding.EncodeToString(a[:]) }

// MarshalText is String.
func (a Alias) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText writes, and nothing else.
func (a *Alias) UnmarshalText(text []byte) error {
	var got Alias
	if base64.RawURLEncoding.EncodedLen(len(got)) != len(text) {
		return errors.New("flight: not an alias")
	}
	if n, err := base64.RawURLEncoding.Strict().Decode(got[:], text); err != nil || n != len(got) {
		return errors.New("flight: not an alias")
	}
	*a = got
	return nil
}

// ClaimStep is what happened to a claim.
type ClaimStep string

const (
	ClaimHeld   ClaimStep = "held"   // the call that holds it may have been executed
	ClaimFreed  ClaimStep = "freed"  // the call was never executed: the key is unused again
	ClaimDone   ClaimStep = "done"   // the call has its outcome
	ClaimClosed ClaimStep = "closed" // nothing was executed with the key, and nothing will be
)

// Claim is a step in the life of something that may happen once: package once
// writes it on a line and learns it from there.
type Claim struct {
	Step  ClaimStep
	Key   Alias // of the scope and the key
	Pool  Alias // whose share it counts against
	Print Alias // held, closed: of what was asked
	// Until is when the claim may be forgotten, in whole seconds: done, closed.
	Until time.Time
	// Answer is where the sealed answer lies: done, closed. Zero: nowhere.
	Answer Place
}

// Place is a piece of a file of sealed answers.
type Place struct {
	File int64 // the number in its name
	At   int64 // offset in bytes
	Size int64 // length in bytes
}

// Nonce is the nonce of a signed request, seen once until its end.
type Nonce struct {
	Key, Pool Alias
	Until     time.Time // in whole seconds
}

// SpendStep is what happened to a budget.
type SpendStep string

const (
	SpendOpened   SpendStep = "opened"   // a transaction tree got its limit
	SpendReserved SpendStep = "reserved" // a call may cost up to the amount
	SpendSpent    SpendStep = "spent"    // a reserved call did cost the amount
	SpendReleased SpendStep = "released" // a reserved call cost nothing
)

// Spend is a step in the life of a budget: package budget writes it on a line
// and learns it from there. Amounts are decimals in the currency.
type Spend struct {
	Step     SpendStep
	Tree     Alias // of the initiator and the root of the transaction tree
	Pool     Alias // opened, reserved: whose share the tree counts against
	ID       Alias // reserved, spent, released: which reservation
	Peer     Alias // reserved: who gets it
	Amount   string
	Limit    string // opened, reserved
	Currency string
}

func (c *encoder) claim(s *Claim) {
	if s == nil {
		return
	}
	c.name("claim")
	c.begin()
	if s.Answer != (Place{}) {
		c.count("at", s.Answer.At)
		c.count("file", s.Answer.File)
	}
	c.alias("key", s.Key)
	c.alias("pool", s.Pool)
	c.alias("print", s.Print)
	if s.Answer != (Place{}) {
		c.count("size", s.Answer.Size)
	}
	c.bounded("step", string(s.Step), maxItem)
	c.second("until", s.Until)
	c.end()
}

func (c *encoder) nonce(s *Nonce) {
	if s == nil {
		return
	}
	c.name("nonce")
	c.begin()
	c.alias("key", s.Key)
	c.alias("pool", s.Pool)
	c.second("until", s.Until)
	c.end()
}

func (c *encoder) spend(s *Spend) {
	if s == nil {
		return
	}
	c.name("spend")
	c.begin()
	c.bounded("amount", s.Amount, maxItem)
	c.bounded("cur", s.Currency, maxItem)
	c.alias("id", s.ID)
	c.bounded("limit", s.Limit, maxItem)
	c.alias("peer", s.Peer)
	c.alias("pool", s.Pool)
	c.bounded("step", string(s.Step), maxItem)
	c.alias("tree", s.Tree)
	c.end()
}

func (c *encoder) begin() { c.buf, c.bare = append(c.buf, '{'), true }

func (c *encoder) end() { c.buf, c.bare = append(c.buf, '}'), false }

func (c *encoder) alias(name string, a Alias) {
	if a != (Alias{}) {
		c.base64(name, a[:])
	}
}

// count writes a number that may be zero.
func (c *encoder) count(name string, n int64) {
	c.name(name)
	c.integer(n)
}

// counts writes a list of numbers, unless there are none.
func (c *encoder) counts(name string, list []int64) {
	if len(list) == 0 {
		return
	}
	c.name(name)
	c.buf = append(c.buf, '[')
	for i, n := range list[:c.items(len(list))] {
		c.comma(i)
		c.integer(n)
	}
	c.buf = append(c.buf, ']')
}

func (c *encoder) second(name string, t time.Time) {
	if !t.IsZero() {
		c.count(name, t.Unix())
	}
}

// ReadClaim returns the claim on a line of the log, and whether there is one.
func ReadClaim(line []byte) (Claim, bool, error) {
	o, ok := early(line, "claim")
	if !ok {
		return Claim{}, false, nil
	}
	var s Claim
	var at place
	for o.next() {
		switch string(o.name) {
		case "at":
			at.at(&o)
		case "file":
			at.file(&o)
		case "key":
			o.alias(&s.Key)
		case "pool":
			o.alias(&s.Pool)
		case "print":
			o.alias(&s.Print)
		case "size":
			at.size(&o)
		case "step":
			s.Step = ClaimStep(o.text())
		case "until":
			s.Until = o.second()
		default:
			o.unknown()
		}
	}
	if o.err != nil {
		return Claim{}, false, o.err
	}
	s.Answer = at.whole()
	return s, true, nil
}

// ReadNonce returns the nonce on a line of the log, and whether there is one.
func ReadNonce(line []byte) (Nonce, bool, error) {
	o, ok := early(line, "nonce")
	if !ok {
		return Nonce{}, false, nil
	}
	var s Nonce
	for o.next() {
		switch string(o.name) {
		case "key":
			o.alias(&s.Key)
		case "pool":
			o.alias(&s.Pool)
		case "until":
			s.Until = o.second()
		default:
			o.unknown()
		}
	}
	if o.err != nil {
		return Nonce{}, false, o.err
	}
	return s, true, nil
}

// ReadSpend returns the spending on a line of the log, and whether there is any.
func ReadSpend(line []byte) (Spend, bool, error) {
	o, ok := late(line, spendMember)
	if !ok {
		return Spend{}, false, nil
	}
	var s Spend
	for o.next() {
		switch string(o.name) {
		case "amount":
			s.Amount = o.text()
		case "cur":
			s.Currency = o.text()
		case "id":
			o.alias(&s.ID)
		case "limit":
			s.Limit = o.text()
		case "peer":
			o.alias(&s.Peer)
		case "pool":
			o.alias(&s.Pool)
		case "step":
			s.Step = SpendStep(o.text())
		case "tree":
			o.alias(&s.Tree)
		default:
			o.unknown()
		}
	}
	if o.err != nil {
		return Spend{}, false, o.err
	}
	return s, true, nil
}

const spendMember = `"spend":{`

// IsOf reports whether a line of the log is of that type: no member comes after it.
func IsOf(line []byte, t Type) bool {
	const before, behind = `"type":"`, `"}`
	at := len(line) - len(before) - len(t) - len(behind)
	return at > 0 && string(line[at:at+len(before)]) == before && string(line[at+len(before):len(line)-len(behind)]) == string(t) &&
		string(line[len(line)-len(behind):]) == behind
}

// ReadTrace returns the trace id of a line of the log, empty if it has none.
func ReadTrace(line []byte) iatp.TraceID {
	return iatp.TraceID(text(after(line, `"trace_id":"`)))
}

// ReadTime returns the time of a line of the log, zero if it has none.
func ReadTime(line []byte) time.Time {
	t, err := time.Parse(timeLayout, string(text(after(line, `"timestamp":"`))))
	if err != nil {
		return time.Time{}
	}
	return t
}

// early opens an object that is a member of a line and stands before the payload.
// The members stand in the order of their names, so the way there is a short one
// past texts and numbers, also if there is no such member.
func early(line []byte, name string) (object, bool) {
	o, _ := openObject(line)
	for o.next() && string(o.name) < name {
	}
	switch {
	case o.err != nil:
		return o, true // which says so when it is read
	case string(o.name) != name:
		return object{}, false
	}
	return openObject(o.value)
}

// late opens an object that stands after seq. member is its name, with the
// punctuation around it.
func late(line []byte, member string) (object, bool) {
	rest := after(line, member)
	if rest == nil {
		return object{}, false
	}
	return object{rest: rest, first: true}, true
}

// after returns what follows a member that stands after seq, and nil if there is
// none. No JSON of a caller follows seq, and in a string the quotes would be escaped:
// the first match is the member.
func after(line []byte, member string) []byte {
	tail := line[max(0, bytes.LastIndex(line, []byte(`,"seq":`))):]
	if i := bytes.Index(tail, []byte(member)); i >= 0 {
		return tail[i+len(member):]
	}
	return nil
}

// text returns the beginning of b up to the quote that ends a string.
func text(b []byte) []byte {
	end := bytes.IndexByte(b, '"')
	return b[:max(0, end)]
}
