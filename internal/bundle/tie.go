package bundle

import (
	"slices"
	"strings"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// A receipt says something about a record only if the request that it is about is
// recorded, too: as a call of the same trace or, where a repetition was answered with
// the receipt of the first attempt, as that attempt. The log names the key of a call
// by an alias, which is the same for both.

// asks reports whether a record is of a signed request between two sidecars.
func (m member) asks() bool {
	return m.Base != "" && (m.Dir == flight.Out && m.Type == flight.Forward || m.Dir == flight.In && m.Type == flight.Request)
}

// keyAlias is what the log calls the idempotency key of a request; "" if it had none
// that can come again.
func (m member) keyAlias() string {
	if m.Dir == flight.In {
		return m.Idem
	}
	alias, _ := strings.CutPrefix(m.Note, "key ")
	return alias
}

// requestOf finds the record of the request with that base that may have led to m,
// which names a receipt. What a sidecar answers itself, about an undo or a key, has one
// record for both.
func requestOf(members []member, m member, base string) (member, bool) {
	if m.Dir == flight.In && m.Base == base && (m.Type == flight.Compensation || m.Error == "key_closed") {
		return m, true
	}
	i := slices.IndexFunc(members, func(one member) bool {
		return one.Base == base && one.asks() && one.before(m) && (one.TraceID == m.TraceID || repeated(members, m, one))
	})
	if i < 0 {
		return member{}, false
	}
	return members[i], true
}

// before reports whether a record is an earlier one about the same peer.
func (m member) before(other member) bool {
	return m.Dir == other.Dir && m.Peer == other.Peer && m.Seq < other.Seq
}

// repeated reports whether a request of the trace of m repeats an earlier one.
func repeated(members []member, m, earlier member) bool {
	return earlier.keyAlias() != "" && slices.ContainsFunc(members, func(one member) bool {
		return one.TraceID == m.TraceID && one.asks() && one.before(m) && earlier.before(one) && one.keyAlias() == earlier.keyAlias()
	})
}

// mayRepeat reports whether m may be the end of a repetition, or of a question about
// a key: the request that its receipt is about need not be in the log any more.
func mayRepeat(members []member, m member) bool {
	if m.Dir == flight.In {
		return m.Reason == "repeated" || m.Error == "key_closed"
	}
	return slices.ContainsFunc(members, func(one member) bool {
		return one.TraceID == m.TraceID && one.asks() && one.before(m) && one.keyAlias() != ""
	})
}

// tie says which request a receipt is about that m names.
func (v *verifier) tie(m member, r *iatp.Receipt) {
	one, found := requestOf(v.members, m, r.Req.Base.Base64URL())
	switch {
	case found && one.TraceID == m.TraceID:
		v.say(OK, "it is about the request of record %d: both name the same signature base", one.Seq)
	case found:
		v.say(OK, "it is about the request of record %d, an earlier one with the same idempotency key: both name the same signature base", one.Seq)
	case mayRepeat(v.members, m):
		v.say(Remark, "nothing ties this receipt to the records: none of them names the request that it is about")
		return
	default:
		v.say(Failed, "the receipt is about another call: no record names the request that it is about")
		return
	}
	v.tied[one.Seq] = true
	if v.sameTrace(one, r.TraceID) {
		return
	}
	_, told := one.TraceID.Bits()
	told = told && one.Type != flight.Compensation // an undo may be asked for from anywhere
	v.say(chosen(told, Failed, Remark), "the receipt names another trace: %s", iatp.Printable(string(r.TraceID)))
}

// sameTrace reports whether an id is that of a request's trace, or one that it was
// linked to on its way.
func (v *verifier) sameTrace(request member, id iatp.TraceID) bool {
	same := func(other iatp.TraceID) bool {
		a, ok := id.Bits()
		b, also := other.Bits()
		return id == other || ok && also && a == b
	}
	return same(request.TraceID) || slices.ContainsFunc(v.members, func(one member) bool {
		return one.TraceID == request.TraceID && one.Link != "" && same(one.Link)
	})
}
