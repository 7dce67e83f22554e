package iatp

import (
	"fmt"
	"slices"
	"time"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// OutcomePartial and the outcomes of an undo, beside those of a Problem: what a
// Receipt says about the effect.
const (
	OutcomePartial              = "partial"               // a part of the effect happened
	OutcomeCompensated          = "compensated"           // the effect was undone
	OutcomePartiallyCompensated = "partially_compensated" // it was undone in part, or for a fee
)

var outcomes = []string{
	OutcomeNone, OutcomeExecuted, OutcomeFailed, OutcomePartial, OutcomeUnknown,
	OutcomeCompensated, OutcomePartiallyCompensated,
}

// A Receipt is the callee's signed statement that it got exactly that request and
// gave exactly that answer, and what became of it. It proves what its signer
// stated, and nothing about the world.
//
// Zero members are absent, where no other meaning is given.
type Receipt struct {
	Iss     string  // principal that signs: the callee
	Aud     string  // principal that it is for: the caller
	Iat     int64   // seconds since 1970
	JTI     string  // unique among the receipts of Iss
	TraceID TraceID // search label of the exchange
	Agr     Digest  // agreement
	Req     Requested
	Res     Responded
	Mft     Digest   // the callee's manifest that the caller had assessed
	Tx      string   // transaction, by which the effect can be undone
	Outcome string   // one of the Outcome constants
	MS      int64    // how long the callee took, in milliseconds
	Cost    Money    // what the call cost
	Undo    *Undo    // nil: it cannot be undone
	Facts   []Digest // the signed facts that were checked
}

// Requested names the request of a Receipt.
type Requested struct {
	Base Digest // SHA-256 of the RFC 9421 signature base
	Key  string // idempotency key; "" if it had none
}

// Responded describes the answer of a Receipt.
type Responded struct {
	Status int
	Digest Digest // over the bytes of the body as sent
	Type   string // Content-Type; "" if it had none
}

// Undo is what a Receipt promises about undoing.
type Undo struct {
	Level  ReversibilityLevel
	Until  int64 // seconds since 1970; 0 is without limit
	MaxFee Money // zero if not stated
}

// Sign returns the receipt as a compact JWS of type TypeReceipt. What is returned
// is what VerifyReceipt accepts; the error names the member that is not.
func (r *Receipt) Sign(k PrivateKey) (jws string, err error) {
	claims := r.appendClaims(make([]byte, 0, 1024))
	if _, err := parseReceipt(claims); err != nil {
		return "", fmt.Errorf("sign receipt: %w", err)
	}
	jws, err = signCompact(k, TypeReceipt, claims)
	if err != nil {
		return "", fmt.Errorf("sign receipt: %w", err)
	}
	return jws, nil
}

// VerifyReceipt checks and reads a receipt. The key must be in keys and valid when
// the receipt was made. Whether it is the receipt of one's own request is for
// Check to say.
func VerifyReceipt(jws string, keys KeySet) (*Receipt, error) {
	payload, signer, err := verifyCompact(jws, TypeReceipt, keys.find)
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	r, err := parseReceipt(payload)
	if err != nil {
		return nil, err
	}
	if _, ok := keys.Find(signer.Thumbprint(), time.Unix(r.Iat, 0)); !ok {
		return nil, fmt.Errorf("receipt: the key %s was not valid when it was made", signer.Thumbprint())
	}
	return r, nil
}

func parseReceipt(claims []byte) (*Receipt, error) {
	if r, ok := readPlainReceipt(claims); ok {
		return r, nil
	}
	return readReceipt(claims)
}

// readReceipt reads every receipt that there can be, or says what is wrong with it.
func readReceipt(claims []byte) (*Receipt, error) {
	var r Receipt
	err := parseSigned("receipt", MaxStatementSize, claims, func(b *binder, root *value) { b.receipt(&r, root) })
	if err != nil {
		return nil, err
	}
	return &r, nil
}

func (b *binder) receipt(r *Receipt, root *value) {
	var undo *value
	b.only(root, map[string]field{
		"iss": principal(&r.Iss),
		"aud": principal(&r.Aud),
		"iat": count(&r.Iat),
		"jti": token(&r.JTI, 128),
		"trace_id": func(b *binder, v *value) {
			id, err := ParseTraceID(v.text)
			if err != nil {
				b.refuse(v, "%v", err)
			}
			r.TraceID = id
		},
		"agr": base64Digest(&r.Agr),
		"req": func(b *binder, v *value) {
			b.only(v, map[string]field{"base": base64Digest(&r.Req.Base), "key": token(&r.Req.Key, MaxIdempotencyKey)}, "base")
		},
		"res": func(b *binder, v *value) { b.responded(&r.Res, v) },
		"mft": contentDigest(&r.Mft),
		"tx":  token(&r.Tx, 128),
		"outcome": func(b *binder, v *value) {
			if b.oneOf(v, "outcome", outcomes) {
				r.Outcome = v.text
			}
		},
		"ms":   count(&r.MS),
		"cost": amountField(&r.Cost),
		"undo": func(_ *binder, v *value) { undo = v },
		"facts": func(b *binder, v *value) {
			b.each(v, 16, func(b *binder, v *value) {
				var d Digest
				base64Digest(&d)(b, v)
				r.Facts = append(r.Facts, d)
			})
		},
	}, "iss", "aud", "iat", "jti", "trace_id", "req", "res", "outcome", "ms")
	if undo != nil {
		r.Undo = new(Undo)
		b.undo(r.Undo, undo, r.Cost.Currency())
	}
}

func (b *binder) responded(r *Responded, v *value) {
	var status int64
	b.only(v, map[string]field{
		"status": count(&status), "digest": contentDigest(&r.Digest), "type": token(&r.Type, 256),
	}, "status", "digest")
	if b.err == nil && (status < 200 || status > 599) {
		b.refuse(v, "status must be 200 to 599, got %d", status)
	}
	r.Status = int(status)
}

// undo reads what can be undone. The currency of the fee may be left out if it is
// that of the cost.
func (b *binder) undo(u *Undo, v *value, cur string) {
	var fee string
	b.only(v, map[string]field{
		"level": func(b *binder, v *value) {
			if b.oneOf(v, "level", reversibilityLevels) {
				u.Level = ReversibilityLevel(v.text)
			}
		},
		"until": count(&u.Until), "max_fee": money(&fee), "cur": currency(&cur),
	}, "level")
	u.MaxFee = b.amount(v, fee, cur)
}

// A ReceiptWant is what the caller knows about the exchange that a receipt must be
// of. The zero Digests and Money here stand for none: a receipt that has one is
// then not the right one. The trace id is not compared: a base covers the one of
// its attempt.
type ReceiptWant struct {
	Iss, Aud string
	Key      string   // idempotency key that was sent
	Bases    []Digest // signature bases of all attempts with that key
	Status   int      // of the answer that came
	Digest   Digest   // over the bytes of its body
	Type     string   // its Content-Type
	Mft      Digest   // of the manifest that was assessed
	Agr      Digest   // of the agreement that the request named
	Budget   Money    // what the request named
	Terms    Terms    // of the agreement, else of the assessed manifest
	// From and To are when the first of the attempts was made and when the answer had
	// come, by the caller's clock. Zero is not compared.
	From, To time.Time
}

// Check reports why r is not the receipt of that exchange, or breaks its terms.
func (r *Receipt) Check(w ReceiptWant) error {
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{"iss", r.Iss == w.Iss},
		{"aud", r.Aud == w.Aud},
		{"req.key", r.Req.Key == w.Key},
		{"req.base", slices.Contains(w.Bases, r.Req.Base)},
		{"res.status", r.Res.Status == w.Status},
		{"res.digest", r.Res.Digest == w.Digest},
		{"res.type", r.Res.Type == w.Type},
		{"mft", r.Mft == w.Mft},
		{"agr", r.Agr == w.Agr},
	} {
		if !c.ok {
			return fmt.Errorf("receipt is of another exchange: %s differs", c.name)
		}
	}
	// What is promised is counted from iat: one of another time would promise less.
	if iat := time.Unix(r.Iat, 0); !w.From.IsZero() && w.From.Sub(iat) > clockSkew+time.Second || !w.To.IsZero() && iat.Sub(w.To) > clockSkew {
		return fmt.Errorf("receipt is of another time: iat is %d, and the exchange was from %d to %d", r.Iat, w.From.Unix(), w.To.Unix())
	}
	if err := r.checkTerms(w); err != nil {
		return fmt.Errorf("receipt breaks the terms: %w", err)
	}
	return nil
}

// checkTerms compares the money and, where there is an effect to undo, the undo.
func (r *Receipt) checkTerms(w ReceiptWant) error {
	if !r.Cost.IsZero() {
		if err := dearer("cost", r.Cost, w.Budget); err != nil {
			return err
		}
	}
	return r.CheckUndo(w.Terms, r.Iat)
}

// CheckUndo reports why an undo of the effect, if there is one, is promised on worse
// terms than t: to a lesser degree, for less time from a moment (seconds since 1970) on,
// or for a higher fee.
func (r *Receipt) CheckUndo(t Terms, from int64) error {
	if r.Outcome != OutcomeExecuted && r.Outcome != OutcomePartial && r.Outcome != OutcomeUnknown {
		return nil
	}
	promised := Undo{Level: ReversibilityNone}
	if r.Undo != nil {
		promised = *r.Undo
	}
	if !promised.Level.AtLeast(t.Reversibility) {
		return fmt.Errorf("undo.level is %s, less than %s", promised.Level, t.Reversibility)
	}
	if err := promised.inTime(from, t); err != nil {
		return err
	}
	if promised.MaxFee.IsZero() {
		return nil // the terms hold
	}
	return dearer("undo.max_fee", promised.MaxFee, t.MaxFee)
}

// inTime reports why an undo of an effect at the time from is possible for a
// shorter while than the terms have it.
func (u Undo) inTime(from int64, terms Terms) error {
	skew := int64(clockSkew / time.Second)
	switch w := window(terms); {
	case w == -1 || u.Until == 0:
		return nil
	case w == maxNumber:
		return fmt.Errorf("undo ends at %d, though the terms set no limit", u.Until)
	case u.Until+skew < from+w:
		return fmt.Errorf("undo ends at %d, less than %d seconds after %d", u.Until, w, from)
	}
	return nil
}

// principal reads the uri of a principal.
func principal(dst *string) field {
	return func(b *binder, v *value) {
		if v.kind != ijson.String {
			b.wrongType(v, "a string")
			return
		}
		if err := checkPrincipal(v.text); err != nil {
			b.refuse(v, "%v, got %s", err, v.describe())
			return
		}
		*dst = v.text
	}
}
