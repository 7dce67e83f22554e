package privacy

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestAmongWords holds what is found in prose at once to what is found in any text.
func TestAmongWords(t *testing.T) {
	f := finder{catalog: builtin(), least: reported, known: new(nameCache)}
	words := []string{"paid", "with", "card", "SSN", "XAXX", "DEUTDEFF", "SCW", "aabb", "a", "thanks", "birth", "understanding", "no.", "I", "7", ",", "-", "x:", "mysql", "-p", "é", "12/27"}
	number := rapid.SampledFrom(slices.Concat(cards.hits[:12], cards.misses[:12], ssns.hits[:8], ssns.misses[:8], []string{"378282246310005", "4532 0151 1283 0366"}))
	known := 0
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom(words), 0, 8).Draw(t, "words")
		parts = slices.Insert(parts, rapid.IntRange(0, len(parts)).Draw(t, "at"), number.Draw(t, "number")+rapid.SampledFrom([]string{"", "", ",", ".", "-", "a", "_"}).Draw(t, "behind"))
		if checkAmong(t, &f, []byte(strings.Join(parts, rapid.SampledFrom([]string{" ", " ", ", ", ""}).Draw(t, "between")))) {
			known++
		}
	})
	if known == 0 {
		t.Error("nothing is known")
	}
	for _, text := range []string{"paid with 378282246310005, thanks", "4532-0151-1283-0366 is the card", "It's 536 90 4399.", "card 4532015112830366"} {
		if !checkAmong(t, &f, []byte(text)) {
			t.Errorf("%q is not known", text)
		}
	}
	for _, text := range []string{
		"paid with 378282246310006", "paid with 4532 0151 1283 0366 in 2027", "paid with abc4532015112830366", "paid to DEUTDEFF with 4532015112830366", "paid with 4532015112830366 by ann@example.com",
		"password: x, 4532015112830366", "+4222222222222", "understanding 4532015112830366", "XAXX 4532015112830366 and 536-90-4399", "paid with 1-536-90-4399",
	} {
		if checkAmong(t, &f, []byte(text)) {
			t.Errorf("%q is known", text)
		}
	}
}

// checkAmong holds what is known at once of a text that no name tells of to what is
// found in it, and reports whether anything is.
func checkAmong(t interface {
	Helper()
	Fatalf(string, ...any)
}, f *finder, text []byte) bool {
	t.Helper()
	h := f.amongWords(text)
	if h.by == nil {
		return false
	}
	w := work{finder: finder{catalog: f.catalog, least: f.least, known: f.known, longest: longestEncoded}}
	if hits := w.find(text, place{}); !slices.Equal(hits, []hit{h}) || len(w.veils) > 0 || looksLikeJSON(text) {
		t.Fatalf("%q: %v, want %v", text, h, hits)
	}
	return true
}

// FuzzAmongWords holds the same to whatever fuzzing finds.
func FuzzAmongWords(f *testing.F) {
	for _, d := range []*detector{&cards, &ssns} {
		for _, text := range slices.Concat(d.hits, d.misses) {
			f.Add([]byte(text))
			f.Add([]byte("paid with " + text + ", thanks"))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkAmong(t, &finder{catalog: builtin(), least: reported, known: new(nameCache)}, b)
	})
}
