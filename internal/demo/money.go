package demo

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Cents is an amount of US dollars. Money is never a float here: sums of cents
// are exact.
type Cents int64

// maxAmount bounds one amount: ten billion dollars.
const maxAmount Cents = 10_000_000_000_00

// parseCents reads an amount as a JSON number or a string of one: digits, and
// at most two after a point. 100, 99.5 and "0.01" are amounts.
func parseCents(text json.Number) (Cents, error) {
	units, fraction, pointed := strings.Cut(string(text), ".")
	if units == "" || len(units) > 11 || !digits(units) || pointed && (fraction == "" || len(fraction) > 2 || !digits(fraction)) {
		return 0, fmt.Errorf("amount must be a positive number of dollars with at most two decimals, got %.30q", string(text))
	}
	n, err := strconv.ParseInt(units+(fraction + "00")[:2], 10, 64)
	if err != nil || n == 0 || Cents(n) > maxAmount {
		return 0, fmt.Errorf("amount must be between 0.01 and %s, got %.30q", maxAmount, string(text))
	}
	return Cents(n), nil
}

func digits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// String returns dollars with two decimals: "100.00".
func (c Cents) String() string {
	sign := ""
	if c < 0 {
		sign, c = "-", -c
	}
	return fmt.Sprintf("%s%d.%02d", sign, c/100, c%100)
}
