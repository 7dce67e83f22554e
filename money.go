package iatp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Money is an exact amount in a currency, never negative, below 10^15. The zero
// Money has no currency and is no amount at all. Money is comparable.
type Money struct {
	parts    uint64 // ten-thousandths, the finest that a currency divides into
	currency string // ISO 4217 code
}

const (
	partsPerUnit = 10_000
	maxDecimals  = 4
	maxWhole     = 15 // digits before the point
	maxParts     = 1_000_000_000_000_000*partsPerUnit - 1
)

// decimals are the active currencies of ISO 4217 by the number of decimals that
// they have.
var decimals = [...]string{
	0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
	2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW " +
		"CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF " +
		"IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK " +
		"MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP " +
		"SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG " +
		"YER ZAR ZMW ZWG",
	3: "BHD IQD JOD KWD LYD OMR TND",
	4: "CLF UYW",
}

// decimalsOf returns how many decimals a currency has.
func decimalsOf(currency string) (n int, ok bool) {
	if len(currency) == 3 && strings.Trim(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
		for n, codes := range decimals {
			if strings.Contains(codes, currency) {
				return n, true
			}
		}
	}
	return 0, false
}

// ParseMoney reads an amount such as "4.20" in a currency such as "USD". The
// amount is ^(0|[1-9][0-9]{0,14})(\.[0-9]{1,4})?$, with no more decimals than the
// currency has; the currency is an active one of ISO 4217, in capitals.
func ParseMoney(amount, currency string) (Money, error) {
	n, ok := decimalsOf(currency)
	if !ok {
		return Money{}, fmt.Errorf("currency must be an ISO 4217 code such as USD, got %s", snippet(currency))
	}
	whole, fraction, dotted := strings.Cut(amount, ".")
	if !numeric(whole) || len(whole) > maxWhole || len(whole) > 1 && whole[0] == '0' ||
		dotted && !numeric(fraction) || len(fraction) > maxDecimals {
		return Money{}, fmt.Errorf(`amount must be a plain decimal such as "4.20", got %s`, snippet(amount))
	}
	if len(fraction) > n {
		return Money{}, fmt.Errorf("%s has %d decimals, got %s", currency, n, snippet(amount))
	}
	parts, err := strconv.ParseUint(whole+(fraction + "0000")[:maxDecimals], 10, 64)
	if err != nil {
		return Money{}, err // cannot happen: 19 digits fit
	}
	return Money{parts, currency}, nil
}

// IsZero reports whether m is the zero Money, which is no amount. An amount of
// nothing, such as "0 USD", is not.
func (m Money) IsZero() bool { return m == Money{} }

// Currency returns the ISO 4217 code; "" for the zero Money.
func (m Money) Currency() string { return m.currency }

// Amount returns the amount with all the decimals of its currency: "4.20"; "" for
// the zero Money.
func (m Money) Amount() string {
	n, ok := decimalsOf(m.currency)
	if !ok {
		return ""
	}
	whole := strconv.FormatUint(m.parts/partsPerUnit, 10)
	if n == 0 {
		return whole
	}
	fraction := strconv.FormatUint(partsPerUnit+m.parts%partsPerUnit, 10)[1:]
	return whole + "." + fraction[:n]
}

// String returns amount and currency: "4.20 USD".
func (m Money) String() string {
	if m.IsZero() {
		return "no amount"
	}
	return m.Amount() + " " + m.currency
}

var (
	errCurrencies = errors.New("amounts in different currencies cannot be compared")
	errTooMuch    = errors.New("amount reaches 10^15")
	errNegative   = errors.New("amount would be below zero")
)

// same reports why m and o do not belong together.
func (m Money) same(o Money) error {
	if m.currency == "" || m.currency != o.currency {
		return fmt.Errorf("%v and %v: %w", m, o, errCurrencies)
	}
	return nil
}

// Add returns m + o. The currencies must be the same, and the sum below 10^15.
func (m Money) Add(o Money) (Money, error) {
	if err := m.same(o); err != nil {
		return Money{}, err
	}
	if o.parts > maxParts-m.parts {
		return Money{}, fmt.Errorf("%v and %v: %w", m, o, errTooMuch)
	}
	return Money{m.parts + o.parts, m.currency}, nil
}

// Sub returns m - o. The currencies must be the same, and o no more than m.
func (m Money) Sub(o Money) (Money, error) {
	if err := m.same(o); err != nil {
		return Money{}, err
	}
	if o.parts > m.parts {
		return Money{}, fmt.Errorf("%v less %v: %w", m, o, errNegative)
	}
	return Money{m.parts - o.parts, m.currency}, nil
}

// Cmp returns -1, 0 or +1 as m is less than, equal to or more than o. The
// currencies must be the same.
func (m Money) Cmp(o Money) (int, error) {
	if err := m.same(o); err != nil {
		return 0, err
	}
	switch {
	case m.parts < o.parts:
		return -1, nil
	case m.parts > o.parts:
		return 1, nil
	}
	return 0, nil
}
