package privacy

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// A span is a value that the slow scanner finds.
type span struct {
	kind       string
	start, end int
}

// slowForms are the ways to write cards and social security numbers that need
// no telling word, spelt out.
var slowForms = []struct {
	kind, shape string
	re          *regexp.Regexp
}{
	{"credit_card", "run", regexp.MustCompile(`^\d{13,19}`)},
	{"credit_card", "groups", slowGroups("4444", ` ./_+-`)},
	{"credit_card", "groups", slowGroups("465", ` ./_+-`)},
	{"credit_card", "groups", slowGroups("464", ` ./_+-`)},
	{"credit_card", "groups", slowGroups("456", ` ./_+-`)},
	{"credit_card", "groups", slowGroups("44443", ` ./_+-`)},
	{"credit_card", "groups", slowGroups("44442", ` ./_+-`)},
	{"credit_card", "groups", slowGroups("44441", ` ./_+-`)},
	{"credit_card", "groups", slowGroups("4443", ` ./_+-`)},
	{"credit_card", "groups", slowGroups("4442", ` ./_+-`)},
	{"credit_card", "groups", slowGroups("4441", ` ./_+-`)},
	{"credit_card", "groups", slowGroups("445", ` ./_+-`)},
	{"credit_card", "groups", slowGroups("4333", ` ./_+-`)},
	{"credit_card", "chain", regexp.MustCompile(`^\d+([ ./_+-]{1,8}\d+)+`)},
	{"ssn", "groups", slowGroups("324", ` -`)},
}

func slowGroups(lengths, seps string) *regexp.Regexp {
	var parts []string
	for _, n := range lengths {
		parts = append(parts, `\d{`+string(n)+`}`)
	}
	return regexp.MustCompile(`^` + strings.Join(parts, `[`+seps+`]{1,8}`))
}

var (
	slowJoinedBefore = regexp.MustCompile(`\d([ ./_+-]{1,8})$`)
	slowJoinedAfter  = regexp.MustCompile(`^([ ./_+-]{1,8})\d`)
	slowSeps         = regexp.MustCompile(`[ ./_+-]+`)
	slowHexBefore    = regexp.MustCompile(`(?i)(^|[^a-z\x02\x03])([a-f]{1,31}|.*0x)$|[a-f]{32}$`)
	slowHexAfter     = regexp.MustCompile(`(?i)^([a-f]{1,31}([^a-z\x02\x03]|$)|[a-f]{32})`)
)

// slowFind applies the rules of find to folded text, one expression at a time.
func slowFind(text string) []span {
	var found []span
	from := 0
	for i := 0; i < len(text); i++ {
		if i < from || !isDigit(text[i]) || i > 0 && isDigit(text[i-1]) && i != from {
			continue
		}
		for _, f := range slowForms {
			m := f.re.FindString(text[i:])
			if m == "" || !slowHolds(text, from, i, i+len(m), f.kind, f.shape) {
				continue
			}
			found = append(found, span{f.kind, i, i + len(m)})
			from = i + len(m)
			break
		}
	}
	return found
}

// slowHolds judges text[i:end] in the given shape; what is before from is taken.
func slowHolds(text string, from, i, end int, kind, shape string) bool {
	digits := []byte(slowSeps.ReplaceAllString(text[i:end], ""))
	if end < len(text) && isDigit(text[end]) || slowHexBefore.MatchString(text[max(0, i-40):i]) && !strings.HasSuffix(text[:i], "%B") || slowHexAfter.MatchString(text[end:]) {
		return false
	}
	if i > 0 && text[i-1] == '+' && len(digits) <= 15 && (i == 1 || !isLetter(text[i-2]) && !isDigit(text[i-2])) {
		return false
	}
	before := slowJoinedBefore.FindStringSubmatch(text[from:i])
	after := slowJoinedAfter.FindStringSubmatch(text[end:])
	seps, groups := slowSeps.FindAllString(text[i:end], -1), slowSeps.Split(text[i:end], -1)
	if kind == "ssn" {
		spaced := strings.HasSuffix(seps[1], " ")
		apart := func(m []string) bool { return m == nil || strings.Trim(m[1], " ") == "" && !spaced }
		return validSSN(digits) == 1 && apart(before) && apart(after)
	}
	if len(digits) < 13 || len(digits) > 19 {
		return false
	}
	left := validCard(digits)
	switch shape {
	case "run":
		return left == 1 && !(i > 1 && text[i-1] == '.' && isDigit(text[i-2]))
	case "groups":
		return left > 0
	}
	lengths := map[int]bool{}
	for _, g := range groups[:len(groups)-1] {
		lengths[pick(len(g)%4 == 0, 4, len(g))] = true
	}
	if first := len(groups[0]); len(groups) == 2 && (seps[0][0] == '.' || seps[0][0] == '/' && first%4 != 0 && first != 6) {
		return false
	}
	return left == 1 && before == nil && after == nil && len(lengths) == 1 && len(slices.Compact(seps)) == 1
}

// plain is what the slow scanner knows.
var plain = newCatalog([]*detector{&cards, &ssns})

// checkSlow compares the scanner with the slow one, and the prefilter with both.
func checkSlow(t interface{ Errorf(string, ...any) }, text []byte) {
	var f folded
	f.fold(text)
	fast := finder{catalog: plain, least: reported}
	var got []span
	fast.text = f.b
	fast.findDigits()
	for _, h := range fast.hits {
		got = append(got, span{string(h.by.kind), h.start, h.end})
	}
	if len(fast.hits) > 0 && !siftEscaped(text) && !bytes.Contains(text, []byte{0}) {
		t.Errorf("%q: the prefilter hides %v", text, got)
	}
	lower := bytes.ToLower(f.b)
	for _, telling := range []string{"ss", "soc", "card", "cc", "pan", "maestro", "uatp", "visa", "amex", "debit", "credit"} {
		if bytes.Contains(lower, []byte(telling)) {
			return // the slow scanner knows no words
		}
	}
	if want := slowFind(string(f.b)); !slices.Equal(got, want) {
		t.Errorf("%q\n%s", f.b, cmp.Diff(want, got, cmp.AllowUnexported(span{})))
	}
}

func TestAgainstSlow(t *testing.T) {
	for _, d := range plain.always {
		for _, text := range slices.Concat(d.hits, d.misses) {
			checkSlow(t, []byte(text))
		}
	}
	rapid.Check(t, func(t *rapid.T) { checkSlow(t, []byte(drawText(t))) })
}

func FuzzAgainstSlow(f *testing.F) {
	for _, d := range plain.always {
		for _, text := range slices.Concat(d.hits, d.misses) {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkSlow(t, text) })
}

// everything is a Scanner that reads each text to its end: a detector of
// one's own may match anywhere, so nothing is passed over. This one matches
// nothing.
var everything = sync.OnceValue(func() *Scanner {
	s, err := NewWith(Options{Detectors: []Detector{{Kind: "none", Pattern: `\x7f\x7f\x7fnone`}}})
	if err != nil {
		panic(err)
	}
	return s
})

// checkPrefilter holds the Scanner that passes over what cannot hold a value to
// the one that reads everything.
func checkPrefilter(t interface{ Errorf(string, ...any) }, text []byte) {
	fast, slow := New(), everything()
	compare := func(got, want Report) {
		if d := cmp.Diff(want.Findings, got.Findings); d != "" && !machineMade(text) {
			t.Errorf("%q: the prefilter changes what is found (-without +with):\n%s", text, d)
		}
	}
	compare(fast.ScanText(text), slow.ScanText(text))
	quoted := ijson.AppendString(nil, text)
	for _, body := range [][]byte{
		text, quoted, slices.Concat([]byte(`{"password":`), quoted, []byte(`,"id":`), quoted, []byte("}")),
		slices.Concat([]byte(`{"cvv":{"id":[],"value":`), quoted, []byte(`},"password":[{"id":1},`), quoted, []byte("],\"passport\":["), text, []byte("]}")),
	} {
		got, err := fast.ScanJSON(body, Limits{})
		want, slowErr := slow.ScanJSON(body, Limits{})
		if (err == nil) != (slowErr == nil) {
			t.Errorf("%q: %v, and without the prefilter %v", body, err, slowErr)
		}
		compare(got, want)
	}
}

func TestPrefilter(t *testing.T) {
	for _, d := range builtin().all {
		for _, text := range slices.Concat(d.hits, d.misses) {
			checkPrefilter(t, []byte(text))
		}
	}
	for _, k := range keyFormats {
		if !mayBeKey(k.prefix[0], k.prefix[1], append([]byte(k.prefix), '0')[2]) {
			t.Errorf("%s does not pass the filter of beginnings", k.prefix)
		}
	}
	rapid.Check(t, func(t *rapid.T) { checkPrefilter(t, []byte(drawText(t))) })
}

func FuzzPrefilter(f *testing.F) {
	for _, d := range builtin().all {
		for _, text := range slices.Concat(d.hits, d.misses) {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkPrefilter(t, text) })
}

// TestFolds holds the table of foldings to the Unicode tables of Go.
func TestFolds(t *testing.T) {
	value := -1 // of the digit before
	for r := rune(utf8.RuneSelf); r <= unicode.MaxRune; r++ {
		got := foldRune(r)
		isNd := unicode.Is(unicode.Nd, r)
		if !isNd {
			value = -1
		} else if value = (value + 1) % 10; got != byte('0'+value) {
			t.Errorf("%U: %q, want digit %d", r, got, value)
		}
		switch {
		case isDigit(got) != isNd:
			t.Errorf("%U: %q", r, got)
		case unicode.Is(unicode.Cf, r) && got != dropped, unicode.Is(unicode.Pd, r) && got != '-', unicode.Is(unicode.Z, r) && got != ' ':
			t.Errorf("%U: %q", r, got)
		case got == latin && !unicode.IsLetter(r):
			t.Errorf("%U is no letter", r)
		}
		if isDigit(got) || got == '@' {
			if !mayFold[string(r)[0]] {
				t.Errorf("%U: mayFold does not know %#x", r, string(r)[0])
			}
		}
	}
	for i := 1; i < len(folds); i++ {
		if folds[i].lo <= folds[i-1].hi {
			t.Errorf("folds[%d] is out of order", i)
		}
	}
	for _, d := range plain.always {
		if d.min < fewest || d.max > maxDigits || d.pad > maxPad {
			t.Errorf("%s: the prefilter does not let it pass", d.kind)
		}
	}
}

// TestNetworksOf holds the networks of two first digits to all of them.
func TestNetworksOf(t *testing.T) {
	around := func(of []network, issuer int) (found []network) {
		for _, n := range of {
			if n.low <= issuer && issuer <= n.high {
				found = append(found, n)
			}
		}
		return found
	}
	for issuer := range 1_000_000 {
		if got, want := around(networksOf[issuer/10000], issuer), around(networks[:], issuer); !slices.Equal(got, want) {
			t.Fatalf("%06d: %v, want %v", issuer, got, want)
		}
	}
}
