package iatp_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/inter-agent-trust/iatp"
)

// TestLateReceiptVectors holds each receipt of spec/vectors/reversibility.json to the terms
// of its call.
func TestLateReceiptVectors(t *testing.T) {
	text, err := os.ReadFile("spec/vectors/reversibility.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Receipts []struct {
			Terms struct {
				Level  iatp.ReversibilityLevel
				Window *int64
				MaxFee string `json:"max_fee"`
			}
			From    int64
			Outcome string
			Undo    *struct {
				Level  iatp.ReversibilityLevel
				Until  int64
				MaxFee string `json:"max_fee"`
			}
			Holds bool
		} `json:"late_receipts"`
	}
	if err := json.Unmarshal(text, &v); err != nil || len(v.Receipts) == 0 {
		t.Fatalf("%d receipts, %v", len(v.Receipts), err)
	}
	money := func(amount string) iatp.Money {
		if amount == "" {
			return iatp.Money{}
		}
		m, err := iatp.ParseMoney(amount, "USD")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for i, one := range v.Receipts {
		r := iatp.Receipt{Outcome: one.Outcome}
		if u := one.Undo; u != nil {
			r.Undo = &iatp.Undo{Level: u.Level, Until: u.Until, MaxFee: money(u.MaxFee)}
		}
		terms := iatp.Terms{Reversibility: one.Terms.Level, UndoWindowSeconds: one.Terms.Window, MaxFee: money(one.Terms.MaxFee)}
		if err := r.CheckUndo(terms, one.From); (err == nil) != one.Holds {
			t.Errorf("receipt %d, %+v under %+v: %v, want that it holds: %t", i, one.Undo, one.Terms, err, one.Holds)
		}
	}
}
