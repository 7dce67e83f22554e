package iatp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestKeySetRoundTrip(t *testing.T) {
	old, current := signingKey(t, "travel").Public(), signingKey(t, "expedia").Public()
	set := must(NewKeySet(
		DirectoryKey{Key: current, NotBefore: time.Unix(1000, 0).UTC()},
		DirectoryKey{Key: old, Expires: time.Unix(2000, 0).UTC()},
	))
	text := must(json.Marshal(set))
	again, err := ParseKeySet(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if diff := cmp.Diff(set.Keys(), again.Keys(), cmp.Comparer(func(a, b Key) bool { return a == b })); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	for at, want := range map[int64][]Key{999: {old}, 1000: {current, old}, 1999: {current, old}, 2000: {current}} {
		now := time.Unix(at, 0)
		if got := again.ValidAt(now); !slices.Equal(got, want) {
			t.Errorf("ValidAt(%d) = %v, want %v", at, got, want)
		}
		for _, k := range []Key{old, current} {
			got, ok := again.Find(k.Thumbprint(), now)
			if ok != slices.Contains(want, k) || ok && got != k {
				t.Errorf("Find(%v) at %d = %v, %v", k, at, got, ok)
			}
		}
	}
	if k, ok := again.Find("", time.Unix(1500, 0)); ok {
		t.Errorf(`Find("") = %v`, k)
	}
	if k, ok := new(KeySet).Find(current.Thumbprint(), time.Unix(1500, 0)); ok {
		t.Errorf("an empty set has %v", k)
	}
	if text := must(json.Marshal(KeySet{})); string(text) != `{"keys":[]}` {
		t.Errorf("the zero KeySet is written %s", text)
	}
}

func TestParseKeySet(t *testing.T) {
	k := signingKey(t, "expedia").Public()
	x := strings.TrimPrefix(k.String(), keyPrefix)
	jwk := func(members string) string { return `{"kty":"OKP","crv":"Ed25519","x":"` + x + `"` + members + `}` }
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	var many []string
	for i := range MaxKeySetKeys + 1 {
		many = append(many, fmt.Sprintf(`{"kty":"RSA","n":"%d"}`, i))
	}
	for name, c := range map[string]struct {
		text string
		keys int // -1 is refused
	}{
		"plain":                {set(jwk("")), 1},
		"all members":          {set(jwk(`,"kid":"` + k.Thumbprint() + `","use":"sig","alg":"EdDSA","nbf":1,"exp":2`)), 1},
		"unknown members":      {`{"purpose":"x","keys":[` + jwk(`,"x5u":"https://evil.example"`) + `]}`, 1},
		"empty":                {set(), 0},
		"RSA":                  {set(`{"kty":"RSA","n":"x"}`, jwk("")), 1},
		"another curve":        {set(`{"kty":"OKP","crv":"X25519","x":"`+x+`"}`, jwk("")), 1},
		"for encryption":       {set(jwk(`,"use":"enc"`)), 0},
		"another algorithm":    {set(jwk(`,"alg":"ES256"`)), 0},
		"many of another kind": {set(many[1:]...), 0},
		"too many":             {set(many...), -1},
		"no keys":              {`{}`, -1},
		"an array":             {`[]`, -1},
		"keys an object":       {`{"keys":{}}`, -1},
		"a text":               {set(`"x"`), -1},
		"kid":                  {set(jwk(`,"kid":"key-1"`)), -1},
		"private":              {set(jwk(`,"d":"AAAA"`)), -1},
		"twice":                {set(jwk(""), jwk("")), -1},
		"no x":                 {set(`{"kty":"OKP","crv":"Ed25519"}`), -1},
		"small order":          {set(`{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`), -1},
		"stray bits":           {set(`{"kty":"OKP","crv":"Ed25519","x":"` + x[:42] + "l" + `"}`), -1},
		"exp before nbf":       {set(jwk(`,"nbf":2,"exp":2`)), -1},
		"exp a fraction":       {set(jwk(`,"exp":1.5`)), -1},
		"exp a text":           {set(jwk(`,"exp":"1"`)), -1},
		"duplicate member":     {set(jwk(`,"x":"` + x + `"`)), -1},
		"huge":                 {set(jwk("")) + strings.Repeat(" ", MaxKeySetSize), -1},
	} {
		got, err := ParseKeySet([]byte(c.text))
		if c.keys < 0 && err == nil || c.keys >= 0 && (err != nil || len(got.Keys()) != c.keys) {
			t.Errorf("%s: %v, %v, want %d keys", name, got.Keys(), err, c.keys)
		}
	}
}

func TestNewKeySetRefuses(t *testing.T) {
	k := DirectoryKey{Key: signingKey(t, "expedia").Public()}
	var many []DirectoryKey
	for i := range MaxKeySetKeys + 1 {
		many = append(many, DirectoryKey{Key: signingKey(t, fmt.Sprint(i)).Public()})
	}
	for name, keys := range map[string][]DirectoryKey{"zero": {{}}, "twice": {k, k}, "too many": many} {
		if s, err := NewKeySet(keys...); err == nil || len(s.Keys()) > 0 {
			t.Errorf("%s: %v, %v, want an error", name, s.Keys(), err)
		}
	}
}

func FuzzParseKeySet(f *testing.F) {
	f.Add(must(json.Marshal(keySet(f, "expedia", "travel"))))
	f.Add([]byte(`{"keys":[{"kty":"RSA"},{"kty":"OKP","crv":"Ed25519","x":"","d":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := ParseKeySet(text)
		if err != nil {
			return
		}
		again, err := ParseKeySet(must(json.Marshal(set)))
		if err != nil || !slices.Equal(set.keys, again.keys) {
			t.Errorf("%q: written and read again: %v, %v, want %v", text, again, err, set)
		}
	})
}
