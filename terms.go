package iatp

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Terms are what the receiver of a task promises: in an agreement both sides sign
// them, and a manifest implies some. The zero Terms promise nothing.
type Terms struct {
	Reversibility ReversibilityLevel

	// UndoWindowSeconds is as in Reversibility: nil is not promised, and 0 is
	// without limit where something can be undone.
	UndoWindowSeconds *int64

	CompensationMethod string
	MaxFee             Money // what an undo costs at most; zero if not stated
	RetentionPolicy    RetentionPolicy
	SLALatencyMS       int64    // 0 if not stated
	Scopes             []string // what the agreement is for; none if not limited

	Budget  Money // what all calls under the agreement cost at most; zero if not stated
	Receipt bool  // every answer carries a receipt
}

// TermsOf returns what a manifest promises. The error is for a fee that is no
// amount in its currency.
func TermsOf(m *Manifest) (Terms, error) {
	r := m.Reversibility
	t := Terms{
		Reversibility:      r.Level,
		UndoWindowSeconds:  r.UndoWindowSeconds,
		CompensationMethod: r.CompensationMethod,
		RetentionPolicy:    m.Privacy.RetentionPolicy,
		SLALatencyMS:       m.Capabilities.SLALatencyMS,
		Scopes:             m.Scopes,
	}
	if r.MaxFee == "" {
		return t, nil
	}
	fee, err := ParseMoney(r.MaxFee, r.Currency)
	t.MaxFee = fee
	if err != nil {
		err = fmt.Errorf("reversibility.max_fee: %w", err)
	}
	return t, err
}

// EqualOrSafer reports in which point the terms are worse for whoever sends the
// task than what the manifest declares to everybody. Nobody should sign such
// terms: they would undo the assessment that the manifest got.
func (t Terms) EqualOrSafer(m *Manifest) error {
	declared, err := TermsOf(m)
	if err != nil {
		return err
	}
	if err := t.weaker(declared); err != nil {
		return err
	}
	return within(t.Scopes, declared.Scopes)
}

// OfferedBy reports in which point the terms ask for more than the manifest
// offers. The agent that it is the manifest of must not sign such terms.
func (t Terms) OfferedBy(m *Manifest) error {
	offer, err := TermsOf(m)
	if err != nil {
		return err
	}
	if err := offer.weaker(t); err != nil {
		return err
	}
	return within(t.Scopes, offer.Scopes)
}

// weaker reports in which point t promises less than base.
func (t Terms) weaker(base Terms) error {
	switch {
	case !t.Reversibility.AtLeast(base.Reversibility):
		return fmt.Errorf("reversibility is %s, less than %s", orNone(t.Reversibility), base.Reversibility)
	case window(t) < window(base):
		return errors.New("undo_window_seconds is " + windowText(t) + ", less than " + windowText(base))
	case base.CompensationMethod != "" && t.CompensationMethod != base.CompensationMethod:
		return fmt.Errorf("compensation_method is %s, not %s", snippet(t.CompensationMethod), snippet(base.CompensationMethod))
	case exposure(t.RetentionPolicy) > exposure(base.RetentionPolicy):
		return fmt.Errorf("retention_policy is %q, worse than %q", t.RetentionPolicy, base.RetentionPolicy)
	case base.SLALatencyMS > 0 && (t.SLALatencyMS == 0 || t.SLALatencyMS > base.SLALatencyMS):
		return fmt.Errorf("sla_latency_ms is %d, worse than %d", t.SLALatencyMS, base.SLALatencyMS)
	}
	return dearer("max_fee", t.MaxFee, base.MaxFee)
}

// dearer reports why amount is not a promise to stay within bound.
func dearer(name string, amount, bound Money) error {
	if bound.IsZero() {
		return nil
	}
	order, err := amount.Cmp(bound)
	switch {
	case amount.IsZero():
		return fmt.Errorf("%s is not stated, it must be at most %v", name, bound)
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case order > 0:
		return fmt.Errorf("%s is %v, more than %v", name, amount, bound)
	}
	return nil
}

// within reports a scope outside of the permitted ones; none permits all.
func within(scopes, permitted []string) error {
	if len(permitted) == 0 {
		return nil
	}
	if len(scopes) == 0 {
		return errors.New("scopes are not limited, though the manifest's are")
	}
	for _, s := range scopes {
		if !slices.Contains(permitted, s) {
			return fmt.Errorf("scope %s is not one of the manifest's", snippet(s))
		}
	}
	return nil
}

// window orders undo windows: not promised, then seconds, then without limit.
func window(t Terms) int64 {
	switch {
	case t.UndoWindowSeconds == nil || !t.Reversibility.Undoes():
		return -1
	case *t.UndoWindowSeconds == 0:
		return maxNumber
	}
	return *t.UndoWindowSeconds
}

func windowText(t Terms) string {
	switch w := window(t); w {
	case -1:
		return "not promised"
	case maxNumber:
		return "without limit"
	default:
		return fmt.Sprint(w)
	}
}

// exposure orders retention policies by how long data lies about. Silence
// promises nothing.
func exposure(p RetentionPolicy) int {
	switch p {
	case RetentionEphemeral:
		return 0
	case RetentionTemporary:
		return 1
	}
	return 2
}

func orNone(l ReversibilityLevel) ReversibilityLevel {
	if l == "" {
		return ReversibilityNone
	}
	return l
}

// termsJSON is the form of Terms in a document; both amounts are in one currency.
type termsJSON struct {
	Reversibility      ReversibilityLevel `json:"reversibility,omitempty"`
	UndoWindowSeconds  *int64             `json:"undo_window_seconds,omitempty"`
	CompensationMethod string             `json:"compensation_method,omitempty"`
	MaxFee             string             `json:"max_fee,omitempty"`
	RetentionPolicy    RetentionPolicy    `json:"retention_policy,omitempty"`
	Budget             string             `json:"budget,omitempty"`
	Currency           string             `json:"currency,omitempty"`
	SLALatencyMS       int64              `json:"sla_latency_ms,omitempty"`
	Receipt            bool               `json:"receipt"`
	Scopes             []string           `json:"scopes,omitempty"`
}

// MarshalJSON returns the terms as an agreement has them. The error is for a fee and
// a budget in different currencies.
func (t Terms) MarshalJSON() ([]byte, error) {
	j, err := t.json()
	if err != nil {
		return nil, err
	}
	return json.Marshal(j)
}

// ParseTerms reads terms as an agreement has them, such as those that a responder
// would accept in place of the ones that it rejects.
func ParseTerms(doc []byte) (Terms, error) {
	var t Terms
	if err := parseSigned("terms", maxAgreementPayload, doc, terms(&t)); err != nil {
		return Terms{}, err
	}
	return t, nil
}

func (t Terms) json() (termsJSON, error) {
	j := termsJSON{
		Reversibility: t.Reversibility, UndoWindowSeconds: t.UndoWindowSeconds, CompensationMethod: t.CompensationMethod,
		MaxFee: t.MaxFee.Amount(), RetentionPolicy: t.RetentionPolicy, Budget: t.Budget.Amount(),
		Currency: t.MaxFee.Currency(), SLALatencyMS: t.SLALatencyMS, Receipt: t.Receipt, Scopes: t.Scopes,
	}
	if j.Currency == "" {
		j.Currency = t.Budget.Currency()
	}
	if !t.MaxFee.IsZero() && !t.Budget.IsZero() {
		return j, t.MaxFee.same(t.Budget)
	}
	return j, nil
}

// terms reads the terms of an agreement.
func terms(dst *Terms) field {
	return func(b *binder, v *value) {
		var fee, budget, cur string
		b.only(v, map[string]field{
			"reversibility": func(b *binder, v *value) {
				if b.oneOf(v, "reversibility", reversibilityLevels) {
					dst.Reversibility = ReversibilityLevel(v.text)
				}
			},
			"undo_window_seconds": func(b *binder, v *value) {
				dst.UndoWindowSeconds = new(int64)
				count(dst.UndoWindowSeconds)(b, v)
			},
			"compensation_method": text(&dst.CompensationMethod),
			"max_fee":             money(&fee),
			"retention_policy": func(b *binder, v *value) {
				if b.oneOf(v, "retention_policy", retentionPolicies) {
					dst.RetentionPolicy = RetentionPolicy(v.text)
				}
			},
			"budget":         money(&budget),
			"currency":       currency(&cur),
			"sla_latency_ms": count(&dst.SLALatencyMS),
			"receipt":        boolean(&dst.Receipt),
			"scopes":         texts(&dst.Scopes, 256),
		})
		dst.MaxFee = b.amount(v, fee, cur)
		dst.Budget = b.amount(v, budget, cur)
	}
}

// amount reads money that stands in two members of v. It is zero if the amount is
// absent.
func (b *binder) amount(v *value, amount, currency string) Money {
	if amount == "" || b.err != nil {
		return Money{}
	}
	m, err := ParseMoney(amount, currency)
	if err != nil {
		b.refuse(v, "%v", err)
	}
	return m
}

// amountField reads {"amount": "4.20", "cur": "USD"}.
func amountField(dst *Money) field {
	return func(b *binder, v *value) {
		var sum, cur string
		b.only(v, map[string]field{"amount": money(&sum), "cur": currency(&cur)}, "amount", "cur")
		*dst = b.amount(v, sum, cur)
	}
}
