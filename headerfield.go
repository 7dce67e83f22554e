package iatp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The protocol's own fields are structured ones (RFC 9651), each with one
// spelling: what these functions write is all that they read.

// Bounds of the fields.
const (
	MaxIdempotencyKey = 128            // characters
	MaxDeadline       = 24 * time.Hour // from now
	MaxTokens         = 8              // statements in one field
)

// ParseIdempotencyKey reads an Idempotency-Key: a string in quotes of 1 to 128
// printable ASCII characters, in which only quote and backslash are escaped.
func ParseIdempotencyKey(field string) (string, error) {
	if len(field) < 2 || field[0] != '"' || field[len(field)-1] != '"' {
		return "", errors.New(`Idempotency-Key must be a string in quotes, such as "8e03978e-40d5-43e8-bc93-6894a57f9324"`)
	}
	inner := field[1 : len(field)-1]
	key := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		if c == '\\' {
			i++
			if i == len(inner) || inner[i] != '"' && inner[i] != '\\' {
				return "", errors.New("Idempotency-Key: only a quote or a backslash may follow a backslash")
			}
			c = inner[i]
		} else if c == '"' || c < ' ' || c > '~' {
			return "", errors.New("Idempotency-Key must be one string of printable ASCII without parameters")
		}
		key = append(key, c)
	}
	if len(key) == 0 || len(key) > MaxIdempotencyKey {
		return "", fmt.Errorf("Idempotency-Key must have 1 to %d characters, got %d", MaxIdempotencyKey, len(key))
	}
	return string(key), nil
}

var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// FormatIdempotencyKey returns the field value that ParseIdempotencyKey reads.
func FormatIdempotencyKey(key string) string { return `"` + quoted.Replace(key) + `"` }

// ParseBudget reads an IATP-Budget: "5.00";cur=USD.
func ParseBudget(field string) (Money, error) {
	rest, ok := strings.CutPrefix(field, `"`)
	amount, currency, found := strings.Cut(rest, `";cur=`)
	if !ok || !found {
		return Money{}, errors.New(`IATP-Budget must look like "5.00";cur=USD`)
	}
	m, err := ParseMoney(amount, currency)
	if err != nil {
		return Money{}, fmt.Errorf("IATP-Budget: %w", err)
	}
	return m, nil
}

// Budget returns the field value that ParseBudget reads.
func (m Money) Budget() string { return `"` + m.Amount() + `";cur=` + m.currency }

// ParseDeadline reads an IATP-Deadline, a date such as @1794650010 in seconds since
// 1970. It must be at most MaxDeadline after now; it may have passed.
func ParseDeadline(field string, now time.Time) (time.Time, error) {
	digits, ok := strings.CutPrefix(field, "@")
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 0 || n >= 1e15 || FormatDeadline(time.Unix(n, 0)) != field {
		return time.Time{}, errors.New("IATP-Deadline must be a date such as @1794650010")
	}
	t := time.Unix(n, 0).UTC()
	if t.Sub(now) > MaxDeadline {
		return time.Time{}, fmt.Errorf("IATP-Deadline must be at most %v ahead", MaxDeadline)
	}
	return t, nil
}

// FormatDeadline returns the field value that ParseDeadline reads, in whole seconds.
func FormatDeadline(t time.Time) string { return "@" + strconv.FormatInt(t.Unix(), 10) }

// ParseTokens reads an IATP-Facts or IATP-Grant: up to MaxTokens compact JWS with
// ", " between them.
func ParseTokens(field string) ([]string, error) {
	tokens := strings.Split(field, ", ")
	if len(tokens) > MaxTokens {
		return nil, fmt.Errorf("at most %d statements are read from one field, got %d", MaxTokens, len(tokens))
	}
	for _, t := range tokens {
		if !compactJWS(t) {
			return nil, errors.New(`must be compact JWS with ", " between them`)
		}
	}
	return tokens, nil
}

// compactJWS reports whether s has the shape of a compact JWS.
func compactJWS(s string) bool {
	parts := strings.Split(s, ".")
	for _, part := range parts {
		if _, ok := decodeBase64URL(part); !ok || part == "" {
			return false
		}
	}
	return len(parts) == 3
}

// CheckOrigin reports why s is not the origin of a sidecar in the one spelling that
// is compared: https://agent.example, in lower case, without default port, path or
// slash at the end. Plain http is for loopback only.
func CheckOrigin(s string) error {
	if strings.HasPrefix(s, "spiffe:") {
		return errPrincipal
	}
	return checkPrincipal(s)
}
