package iatp

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestTerms(t *testing.T) {
	hour, day, forever := int64(3600), int64(86400), int64(0)
	manifest := func() *Manifest {
		return &Manifest{
			Capabilities:  Capabilities{SLALatencyMS: 2000},
			Reversibility: Reversibility{Level: ReversibilityPartial, UndoWindowSeconds: &hour, CompensationMethod: "refund", MaxFee: "50.00", Currency: "USD"},
			Privacy:       Privacy{RetentionPolicy: RetentionTemporary}, Scopes: []string{"book", "quote"},
		}
	}
	for _, c := range []struct {
		name    string
		change  func(*Terms, *Manifest)
		safer   string // in the error of EqualOrSafer; "" for none
		offered string // in the error of OfferedBy; "" for none
	}{
		{"equal", func(*Terms, *Manifest) {}, "", ""},
		{"full undo", func(x *Terms, _ *Manifest) { x.Reversibility = ReversibilityFull }, "", "reversibility is partial, less than full"},
		{"no undo", func(x *Terms, _ *Manifest) { x.Reversibility, x.UndoWindowSeconds = "", nil }, "reversibility is none, less than partial", ""},
		{"longer window", func(x *Terms, _ *Manifest) { x.UndoWindowSeconds = &day }, "", "undo_window_seconds is 3600, less than 86400"},
		{"window without limit", func(x *Terms, _ *Manifest) { x.UndoWindowSeconds = &forever }, "", "less than without limit"},
		{"window not promised", func(x *Terms, _ *Manifest) { x.UndoWindowSeconds = nil }, "undo_window_seconds is not promised, less than 3600", ""},
		{"offer without limit", func(_ *Terms, m *Manifest) { m.Reversibility.UndoWindowSeconds = &forever }, "less than without limit", ""},
		{"lower fee", func(x *Terms, _ *Manifest) { x.MaxFee = usd(t, "49.99") }, "", "max_fee is 50.00 USD, more than 49.99 USD"},
		{"higher fee", func(x *Terms, _ *Manifest) { x.MaxFee = usd(t, "50.01") }, "max_fee is 50.01 USD, more than 50.00 USD", ""},
		{"no fee stated", func(x *Terms, _ *Manifest) { x.MaxFee = Money{} }, "max_fee is not stated", ""},
		{"another currency", func(x *Terms, _ *Manifest) { x.MaxFee = must(ParseMoney("1", "EUR")) }, "different currencies", "different currencies"},
		{"fee that is none", func(_ *Terms, m *Manifest) { m.Reversibility.Currency = "" }, "reversibility.max_fee", "reversibility.max_fee"},
		{"another method", func(x *Terms, _ *Manifest) { x.CompensationMethod = "voucher" }, "compensation_method", "compensation_method"},
		{"no method", func(x *Terms, _ *Manifest) { x.CompensationMethod = "" }, "compensation_method", ""},
		{"keeps less", func(x *Terms, _ *Manifest) { x.RetentionPolicy = RetentionEphemeral }, "", `retention_policy is "temporary", worse than "ephemeral"`},
		{"keeps more", func(x *Terms, _ *Manifest) { x.RetentionPolicy = RetentionForever }, `retention_policy is "forever", worse than "temporary"`, ""},
		{"keeps as it likes", func(x *Terms, _ *Manifest) { x.RetentionPolicy = "" }, "retention_policy", ""},
		{"two words for one", func(x *Terms, m *Manifest) {
			x.RetentionPolicy, m.Privacy.RetentionPolicy = RetentionForever, RetentionPermanent
		}, "", ""},
		{"faster", func(x *Terms, _ *Manifest) { x.SLALatencyMS = 1999 }, "", "sla_latency_ms is 2000, worse than 1999"},
		{"slower", func(x *Terms, _ *Manifest) { x.SLALatencyMS = 2001 }, "sla_latency_ms is 2001, worse than 2000", ""},
		{"at leisure", func(x *Terms, _ *Manifest) { x.SLALatencyMS = 0 }, "sla_latency_ms is 0", ""},
		{"both scopes", func(x *Terms, _ *Manifest) { x.Scopes = []string{"quote", "book"} }, "", ""},
		{"another scope", func(x *Terms, _ *Manifest) { x.Scopes = []string{"pay"} }, `scope "pay"`, `scope "pay"`},
		{"no scopes", func(x *Terms, _ *Manifest) { x.Scopes = nil }, "scopes are not limited", "scopes are not limited"},
		{"all scopes offered", func(_ *Terms, m *Manifest) { m.Scopes = nil }, "", ""},
		{"budget and receipt are not the manifest's", func(x *Terms, _ *Manifest) { x.Budget, x.Receipt = Money{}, false }, "", ""},
	} {
		x, m := testTerms(t), manifest()
		c.change(&x, m)
		for name, got := range map[string][2]any{"EqualOrSafer": {x.EqualOrSafer(m), c.safer}, "OfferedBy": {x.OfferedBy(m), c.offered}} {
			err, _ := got[0].(error)
			want := got[1].(string)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %s: %v, want %q", c.name, name, err, want)
			}
		}
	}
	// What promises nothing is offered by everybody, and safer than nothing else.
	if err := (Terms{}).OfferedBy(&Manifest{}); err != nil {
		t.Error(err)
	}
	if err := (Terms{}).EqualOrSafer(&Manifest{}); err != nil {
		t.Error(err)
	}
}

// Terms that can be read mean the same when they are written and read again.
func FuzzParseTerms(f *testing.F) {
	f.Add(must(json.Marshal(testTerms(f))))
	f.Add([]byte(`{"receipt":true}`))
	f.Add([]byte(`{"max_fee":"1","budget":"2.00","currency":"USD","undo_window_seconds":0}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		terms, err := ParseTerms(doc)
		if err != nil {
			return
		}
		text, err := json.Marshal(terms)
		if err != nil {
			t.Fatalf("%q is read, and cannot be written: %v", doc, err)
		}
		again, err := ParseTerms(text)
		if err != nil || !cmp.Equal(terms, again, sameMoney, cmpopts.EquateEmpty()) {
			t.Errorf("%q is read as %+v, and written and read again as %+v, %v", doc, terms, again, err)
		}
	})
}
