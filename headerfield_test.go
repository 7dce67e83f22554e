package iatp

import (
	"strings"
	"testing"
	"time"
)

func TestDigestSpellings(t *testing.T) {
	d := DigestOf([]byte("x"))
	for name, c := range map[string]struct {
		text  string
		parse func(string) (Digest, error)
	}{
		"ContentDigest": {d.ContentDigest(), ParseContentDigest},
		"ByteSequence":  {d.ByteSequence(), ParseByteSequence},
		"Base64URL":     {d.Base64URL(), ParseBase64URL},
	} {
		if got, err := c.parse(c.text); err != nil || got != d {
			t.Errorf("%s: %s is read as %v, %v", name, c.text, got, err)
		}
		long := strings.Repeat("A", 44) // base64 of 33 bytes
		for _, other := range []string{d.ContentDigest(), d.ByteSequence(), d.Base64URL(), d.ETag(), ":" + long + ":", "sha-256=:" + long + ":", long[1:] + "=", long[1:] + "\n"} {
			if got, err := c.parse(other); other != c.text && err == nil {
				t.Errorf("%s: %s is read as %v", name, other, got)
			}
		}
	}
	if d.ETag() != `"`+d.String()+`"` || d.IsZero() || !(Digest{}).IsZero() {
		t.Errorf("%v, %s", d, d.ETag())
	}
}

func TestIdempotencyKey(t *testing.T) {
	for _, key := range []string{"a", `"`, `\`, `a"b\c d`, strings.Repeat(`\`, MaxIdempotencyKey)} {
		if got, err := ParseIdempotencyKey(FormatIdempotencyKey(key)); err != nil || got != key {
			t.Errorf("%q is written %s and read %q, %v", key, FormatIdempotencyKey(key), got, err)
		}
	}
}

func TestDeadline(t *testing.T) {
	now := time.Unix(testTime, 999)
	for _, at := range []time.Duration{-time.Hour, 0, time.Hour, MaxDeadline} {
		want := now.Add(at).Truncate(time.Second).UTC()
		if got, err := ParseDeadline(FormatDeadline(want), now); err != nil || !got.Equal(want) {
			t.Errorf("%v is read %v, %v", want, got, err)
		}
	}
	if got, err := ParseDeadline(FormatDeadline(now.Add(MaxDeadline+time.Second)), now); err == nil {
		t.Errorf("more than a day ahead: %v, want an error", got)
	}
}

// What a field is read as is written the same: there is one spelling.
func FuzzHeaderFields(f *testing.F) {
	for _, seed := range []string{`"8e03978e"`, `"a\"\\"`, `"5.00";cur=USD`, "@1794650010", "e30.e30.e30, e30.e30.e30",
		Digest{1}.ContentDigest(), Digest{2}.ByteSequence(), Digest{3}.Base64URL()} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		for name, again := range map[string]func() (string, error){
			"Idempotency-Key": func() (string, error) { k, err := ParseIdempotencyKey(field); return FormatIdempotencyKey(k), err },
			"IATP-Deadline": func() (string, error) {
				d, err := ParseDeadline(field, time.Unix(testTime, 0))
				return FormatDeadline(d), err
			},
			"IATP-Facts":     func() (string, error) { t, err := ParseTokens(field); return strings.Join(t, ", "), err },
			"Content-Digest": func() (string, error) { d, err := ParseContentDigest(field); return d.ContentDigest(), err },
			"IATP-Manifest":  func() (string, error) { d, err := ParseByteSequence(field); return d.ByteSequence(), err },
			"agr":            func() (string, error) { d, err := ParseBase64URL(field); return d.Base64URL(), err },
		} {
			if text, err := again(); err == nil && text != field {
				t.Errorf("%s: %q is written again %q", name, field, text)
			}
		}
		if m, err := ParseBudget(field); err == nil {
			if again, err := ParseBudget(m.Budget()); err != nil || again != m {
				t.Errorf("IATP-Budget: %q is %v, and that is %v, %v", field, m, again, err)
			}
		}
	})
}
