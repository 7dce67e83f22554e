package sidecar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// A member is a value in the outermost object of a body.
type member struct {
	text string
	kind ijson.Kind // String or Number; zero for a value of another kind
}

// membersOf finds members of the outermost object of a body that was checked
// before. Names are compared as they are: to encoding/json, "Budget" would be
// "budget" too.
func membersOf(body []byte, names ...string) map[string]member {
	var r ijson.Reader
	r.Reset(body, ijson.Limits{Depth: mostDepth})
	if tok, err := r.Next(); err != nil || tok.Kind != ijson.BeginObject {
		return nil
	}
	found := make(map[string]member, len(names))
	for {
		tok, err := r.Next()
		if err != nil {
			return found
		}
		if tok.Kind != ijson.Name || r.Depth() != 1 {
			continue
		}
		for _, name := range names {
			if decoded(body, tok) != name {
				continue
			}
			if tok, err = r.Next(); err != nil {
				return found
			}
			found[name] = member{}
			if tok.Kind == ijson.String || tok.Kind == ijson.Number {
				found[name] = member{decoded(body, tok), tok.Kind}
			}
			break
		}
	}
}

// exactly reads a strict JSON document, which is an object with no other members than
// names, each once at most. Package json takes "KEY" for "key" too, the last of two, and
// null for an object; a signature, or a person, means one of them.
func exactly(body []byte, v any, names ...string) error {
	if err := ijson.Check(body, ijson.Limits{Depth: mostDepth}); err != nil {
		return err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		return err
	}
	if all == nil {
		return errors.New("it is not an object")
	}
	for name := range all {
		if !slices.Contains(names, name) {
			return errors.New("there is a member that does not belong there")
		}
	}
	return json.Unmarshal(body, v)
}

// decoded is the text of a token.
func decoded(body []byte, tok ijson.Token) string {
	raw := body[tok.Start:tok.End]
	if tok.Escaped {
		raw = ijson.AppendDecoded(nil, raw)
	}
	return string(raw)
}

// Members of the body of a call from outside that say what a field says, for
// callers that cannot set the field (protocol 3.4). They are as good as the field:
// the signature covers the digest of the body.
const (
	memberBudget   = "budget"
	memberCurrency = "currency"
	memberTrace    = "trace_id"
)

// readMembers takes budget and trace id from the body where the field is absent. A
// member and a field that differ are refused: nobody can tell which one was meant.
func (s *Sidecar) readMembers(x *exchange) *iatp.Problem {
	x.in.budget = x.signed.Budget
	if !bytes.Contains(x.body, []byte(memberBudget)) && !bytes.Contains(x.body, []byte(memberTrace)) && bytes.IndexByte(x.body, '\\') < 0 {
		return nil // a name can be written with escapes, and not without its letters otherwise
	}
	members := membersOf(x.body, memberBudget, memberCurrency, memberTrace)
	if m, ok := members[memberBudget]; ok {
		said, err := moneyMember(m, members[memberCurrency])
		switch {
		case err != nil:
			return badRequest(iatp.SlugInvalidRequest, err.Error())
		case x.in.budget.IsZero():
			x.in.budget = said
		case x.in.budget != said:
			return badRequest(iatp.SlugInvalidRequest, `the member "budget" of the body is not what IATP-Budget says`)
		}
	}
	if m, ok := members[memberTrace]; ok {
		return s.traceMember(x, m)
	}
	return nil
}

// moneyMember reads an amount: "5.00 USD", "$5", or "5.00" or the integer 5 beside a
// member with its currency, which is US dollars if there is none. A number with a
// fraction is refused: it is not exact.
func moneyMember(m, cur member) (iatp.Money, error) {
	amount, currency, named := strings.Cut(m.text, " ")
	if rest, dollars := strings.CutPrefix(m.text, "$"); dollars && m.kind == ijson.String {
		amount, currency, named = rest, "USD", true
	}
	switch {
	case m.kind == 0 || m.kind == ijson.Number && strings.ContainsAny(m.text, ".eE"):
		return iatp.Money{}, fmt.Errorf(`the member "budget" must be an amount such as "5.00 USD", "$5" or, in whole units, 5`)
	case !named && cur == (member{}):
		currency = "USD"
	case !named && cur.kind == ijson.String:
		currency = cur.text
	}
	money, err := iatp.ParseMoney(amount, currency)
	if err != nil {
		return iatp.Money{}, fmt.Errorf(`the member "budget": %w`, err)
	}
	return money, nil
}

// traceMember takes a trace id from the body, in place of one that was made here.
func (s *Sidecar) traceMember(x *exchange, m member) *iatp.Problem {
	id, err := iatp.ParseTraceID(m.text)
	bits, is128 := id.Bits()
	if err != nil || m.kind != ijson.String || !is128 {
		return badRequest("bad-trace-id", `the member "trace_id" must be a UUID or 32 hexadecimal digits between sidecars`)
	}
	if x.signed.TraceID != "" {
		if given, _ := x.signed.TraceID.Bits(); given != bits {
			return badRequest("bad-trace-id", `the member "trace_id" of the body is not what `+iatp.HeaderTraceID+" says")
		}
		return nil
	}
	x.in.trace = traceContext{}
	if p := x.in.readTrace(string(id), one(x.signed.Field(iatp.HeaderTraceParent))); p != nil {
		return p
	}
	return s.scanHead(&x.in)
}
