package iatp

import (
	"strconv"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// text reads a string.
func text(dst *string) field {
	return func(b *binder, v *value) {
		if v.kind != ijson.String {
			b.wrongType(v, "a string")
			return
		}
		*dst = v.text
	}
}

// texts reads an array of at most most strings, none of them empty.
func texts(dst *[]string, most int) field {
	return func(b *binder, v *value) {
		b.each(v, most, func(b *binder, v *value) {
			if v.kind != ijson.String || v.text == "" {
				b.wrongType(v, "a string that is not empty")
				return
			}
			*dst = append(*dst, v.text)
		})
	}
}

// base64URL reads a string of base64url in its one canonical spelling, and keeps
// it in that form.
func base64URL(dst *string) field {
	return func(b *binder, v *value) {
		if _, ok := decodeBase64URL(v.text); v.kind != ijson.String || !ok || v.text == "" {
			b.wrongType(v, "unpadded base64url, without line breaks or stray bits")
			return
		}
		*dst = v.text
	}
}

// boolean reads true or false.
func boolean(dst *bool) field {
	return func(b *binder, v *value) {
		switch v.kind {
		case ijson.True:
			*dst = true
		case ijson.False:
			*dst = false
		default:
			b.wrongType(v, "true or false")
		}
	}
}

// optional reads true or false where absence means something else than false.
func optional(dst **bool) field {
	return func(b *binder, v *value) {
		*dst = new(bool)
		boolean(*dst)(b, v)
	}
}

// count reads an integer from 0 to 2^53.
func count(dst *int64) field {
	return func(b *binder, v *value) {
		if v.kind != ijson.Number || !plainInteger(v.raw) || v.raw[0] == '-' {
			b.wrongType(v, "an integer from 0 on")
			return
		}
		*dst, _ = strconv.ParseInt(v.raw, 10, 64) // plainInteger has parsed it
	}
}

// decimal reads a number that is not negative, or a string that spells one, and
// keeps its spelling: a signed document can hold fractions as strings only.
func decimal(dst *string) field {
	return func(b *binder, v *value) {
		s := v.raw
		if v.kind == ijson.String {
			s = v.text
		}
		whole, fraction, dotted := strings.Cut(s, ".")
		if v.kind != ijson.Number && v.kind != ijson.String || !numeric(whole) || dotted && !numeric(fraction) {
			b.wrongType(v, `a decimal such as 99.9 or "99.9"`)
			return
		}
		*dst = s
	}
}

// money reads an amount: up to 15 digits before the point and four after it.
func money(dst *string) field {
	return func(b *binder, v *value) {
		whole, fraction, dotted := strings.Cut(v.text, ".")
		if v.kind != ijson.String || !numeric(whole) || len(whole) > 15 || len(whole) > 1 && whole[0] == '0' ||
			dotted && (!numeric(fraction) || len(fraction) > 4) {
			b.wrongType(v, `an amount in a string, such as "50.00"`)
			return
		}
		*dst = v.text
	}
}

// currency reads an ISO 4217 code by its shape.
func currency(dst *string) field {
	return func(b *binder, v *value) {
		if v.kind != ijson.String || len(v.text) != 3 || strings.Trim(v.text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			b.wrongType(v, `a currency code such as "USD"`)
			return
		}
		*dst = v.text
	}
}

// timestamp reads an RFC 3339 time.
func timestamp(dst *time.Time) field {
	return func(b *binder, v *value) {
		t, err := time.Parse(time.RFC3339, v.text)
		if v.kind != ijson.String || err != nil || !strictTime(v.text) || !spelledInUTC(t) {
			b.wrongType(v, `a time such as "2026-11-01T00:00:00Z"`)
			return
		}
		*dst = t
	}
}

// spelledInUTC is false for the hours at both ends of the calendar that RFC 3339 can
// spell in one zone only: nobody could write them down again.
func spelledInUTC(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 0 && year <= 9999
}

// strictTime refuses what time.Parse lets pass and RFC 3339 does not: hours of one
// digit, a comma for the point, and offsets of a day and more (go.dev/issue/54580).
func strictTime(s string) bool {
	if s[len("2006-01-02T15")] != ':' || strings.Contains(s, ",") {
		return false
	}
	zone := s[len(s)-len("07:00"):]
	return strings.HasSuffix(s, "Z") || zone[:2] < "24" && zone[3:] < "60"
}
