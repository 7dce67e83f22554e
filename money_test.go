package iatp

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMoney(t *testing.T) {
	for amount, want := range map[string]string{
		"0 USD": "0.00 USD", "4.2 USD": "4.20 USD", "4.20 USD": "4.20 USD", "0.05 USD": "0.05 USD", "500 JPY": "500 JPY",
		"0.001 KWD": "0.001 KWD", "12.5 CLF": "12.5000 CLF", "999999999999999.99 USD": "999999999999999.99 USD",
	} {
		text, currency, _ := strings.Cut(amount, " ")
		m, err := ParseMoney(text, currency)
		if err != nil || m.String() != want || m.IsZero() {
			t.Errorf("ParseMoney(%s) = %v, %v, want %s", amount, m, err, want)
		}
		if again, err := ParseBudget(m.Budget()); err != nil || again != m {
			t.Errorf("ParseBudget(%s) = %v, %v, want %v", m.Budget(), again, err, m)
		}
	}
	var zero Money
	if !zero.IsZero() || zero.Amount() != "" || zero.Currency() != "" || zero.String() != "no amount" {
		t.Errorf("the zero Money is %v", zero)
	}
}

// Every code has three letters and stands once.
func TestCurrencies(t *testing.T) {
	seen := map[string]bool{}
	for _, codes := range decimals {
		for code := range strings.FieldsSeq(codes) {
			if len(code) != 3 || seen[code] {
				t.Errorf("currency %q", code)
			}
			seen[code] = true
		}
	}
	if len(seen) < 160 {
		t.Errorf("%d currencies, ISO 4217 has more", len(seen))
	}
}

func TestMoneyRefuses(t *testing.T) {
	most := must(ParseMoney("999999999999999.99", "USD"))
	cent, euro := usd(t, "0.01"), must(ParseMoney("1", "EUR"))
	for name, f := range map[string]func() (Money, error){
		"sum too big":              func() (Money, error) { return most.Add(cent) },
		"twice the most":           func() (Money, error) { return most.Add(most) },
		"below zero":               func() (Money, error) { return usd(t, "1").Sub(usd(t, "1.01")) },
		"sum of currencies":        func() (Money, error) { return usd(t, "1").Add(euro) },
		"difference of currencies": func() (Money, error) { return euro.Sub(cent) },
		"nothing and something":    func() (Money, error) { return Money{}.Add(cent) },
		"something and nothing":    func() (Money, error) { return cent.Add(Money{}) },
		"nothing":                  func() (Money, error) { return Money{}.Add(Money{}) },
	} {
		if m, err := f(); err == nil || !m.IsZero() {
			t.Errorf("%s: %v, %v, want an error", name, m, err)
		}
	}
	if order, err := cent.Cmp(euro); err == nil || order != 0 {
		t.Errorf("Cmp of two currencies = %d, %v, want an error", order, err)
	}
}

// Money counts as exact fractions do.
func TestMoneyIsExact(t *testing.T) {
	amounts := rapid.Custom(func(t *rapid.T) string {
		whole := rapid.StringMatching(`0|[1-9][0-9]{0,14}`).Draw(t, "whole")
		return whole + rapid.SampledFrom([]string{"", ".0", ".5", ".05", ".99", ".10"}).Draw(t, "fraction")
	})
	limit, _ := new(big.Rat).SetString("1000000000000000")
	rapid.Check(t, func(t *rapid.T) {
		a, b := amounts.Draw(t, "a"), amounts.Draw(t, "b")
		x, y := must(ParseMoney(a, "USD")), must(ParseMoney(b, "USD"))
		p, _ := new(big.Rat).SetString(a)
		q, _ := new(big.Rat).SetString(b)
		if got := must(x.Cmp(y)); got != p.Cmp(q) {
			t.Errorf("%v.Cmp(%v) = %d, want %d", x, y, got, p.Cmp(q))
		}
		sum := new(big.Rat).Add(p, q)
		if got, err := x.Add(y); (err == nil) != (sum.Cmp(limit) < 0) || err == nil && got.Amount() != sum.FloatString(2) {
			t.Errorf("%v + %v = %v, %v, want %s", x, y, got, err, sum.FloatString(2))
		}
		rest := new(big.Rat).Sub(p, q)
		if got, err := x.Sub(y); (err == nil) != (rest.Sign() >= 0) || err == nil && got.Amount() != rest.FloatString(2) {
			t.Errorf("%v - %v = %v, %v, want %s", x, y, got, err, rest.FloatString(2))
		}
	})
}

func FuzzParseMoney(f *testing.F) {
	f.Add("4.20", "USD")
	f.Add("999999999999999.9999", "CLF")
	f.Fuzz(func(t *testing.T, amount, currency string) {
		m, err := ParseMoney(amount, currency)
		if err != nil {
			return
		}
		again, err := ParseMoney(m.Amount(), m.Currency())
		if err != nil || again != m {
			t.Errorf("%s %s is %v, and that is %v, %v", amount, currency, m, again, err)
		}
		want, _ := new(big.Rat).SetString(amount)
		if got, _ := new(big.Rat).SetString(m.Amount()); got.Cmp(want) != 0 {
			t.Errorf("%s %s is %v", amount, currency, fmt.Sprint(m))
		}
	})
}
