package privacy

import (
	"bytes"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// slowRow is rowAt, a byte at a time.
func slowRow(text []byte, i int) row {
	r := row{start: i, end: i}
	for r.end < len(text) && byteKind[text[r.end]] == runByte {
		if isDigit(text[r.end]) {
			r.digits |= 1 << min(r.end-i, 63)
		}
		r.end++
	}
	return r
}

// slowWord is endOfWord, a byte at a time.
func slowWord(text []byte, i int) int {
	for j := i + 1; ; j++ {
		if j == len(text) || !asciiLetter(text[j]) {
			return j
		}
		if upper(text[j]) && (!upper(text[j-1]) || j+1 < len(text) && asciiLetter(text[j+1]) && !upper(text[j+1])) {
			return j
		}
	}
}

// checkRows holds what looks at eight bytes at once, or decides early, to what
// looks at one after the other.
func checkRows(t interface{ Fatalf(string, ...any) }, text []byte) {
	f := finder{catalog: builtin(), text: text, known: new(nameCache), least: reported}
	for i, c := range text {
		if byteKind[c] == runByte {
			r := rowAt(text, i)
			if want := slowRow(text, i); r != want {
				t.Fatalf("rowAt(%q, %d) = %+v, want %+v", text, i, r, want)
			}
			if n := r.end - i; n <= maxRun {
				checkPatterns(t, &f, r)
			}
			if isDigit(c) && (i == 0 || !isDigit(text[i-1])) {
				checkForms(t, &f, i)
			}
		}
		if asciiLetter(c) {
			if got, want := endOfWord(text, i), slowWord(text, i); got != want {
				t.Fatalf("endOfWord(%q, %d) = %d, want %d", text, i, got, want)
			}
			letters := slowRow(text, i)
			for letters.digits != 0 {
				letters = slowRow(text[:letters.end-1], i)
			}
			if got := endOfLetters(text, i); got != letters.end {
				t.Fatalf("endOfLetters(%q, %d) = %d, want %d", text, i, got, letters.end)
			}
		}
	}
	var all folded
	all.fold(text)
	if needsFold(text) == foldNothing && !bytes.Equal(all.b, text) {
		t.Fatalf("needsFold(%q) says that there is nothing to do", text)
	}
}

// checkPatterns holds the patterns that are tried on a row to all.
func checkPatterns(t interface{ Fatalf(string, ...any) }, f *finder, r row) {
	for _, of := range f.catalog.byRun {
		for _, p := range of {
			_, end := f.match(p.text, r.start)
			tried := slices.ContainsFunc(f.catalog.byRun[r.end-r.start], func(q pattern) bool { return q.text == p.text && q.by == p.by && q.mayBegin(r, f.text) })
			if end > 0 && !tried {
				t.Fatalf("%s is not tried on %q at %d", p.text, f.text, r.start)
			}
		}
	}
}

// checkForms holds the detectors that are asked about digits which no word tells
// of to all.
func checkForms(t interface{ Fatalf(string, ...any) }, f *finder, i int) {
	end := endOfDigits(f.text, i)
	if end-i > maxDigits {
		return
	}
	w := &f.walk
	w.from(f, i, end)
	w.first, w.last = true, -1
	for _, d := range f.catalog.all[alwaysLookedFor:] {
		told := telling{f: f, start: i}
		if told.within(w.end[0], w.end[w.n-1]).has(d) || d.min == 0 {
			continue
		}
		if f.ask(d, w, &told).end > 0 && !f.catalog.byForm.of(w).has(d) {
			t.Fatalf("%s is not asked about %q at %d", d.kind, f.text, i)
		}
	}
}

func TestRowsAgainstSlow(t *testing.T) {
	const set = "abcxyzABCXYZ0123456789 ./-_:=@%&;(){}\x00\x7f\xff"
	r := rand.New(rand.NewPCG(3, 4))
	for _, d := range builtin().all {
		for _, text := range slices.Concat(d.hits, d.misses) {
			checkRows(t, []byte(text))
		}
	}
	for range 1_000 {
		b := make([]byte, r.IntN(100))
		for i := range b {
			if b[i] = set[r.IntN(len(set))]; r.IntN(4) > 0 {
				b[i] = set[r.IntN(12+10*r.IntN(2))]
			}
		}
		checkRows(t, b)
	}
}

// FuzzRows holds the same to whatever fuzzing finds.
func FuzzRows(f *testing.F) {
	for _, d := range builtin().all {
		for _, text := range slices.Concat(d.hits, d.misses) {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkRows(t, b) })
}

// TestWholeNumber holds what is found in a value in its plain form to what is found
// in any text.
func TestWholeNumber(t *testing.T) {
	f := finder{catalog: builtin(), least: reported, known: new(nameCache)}
	plain := slices.Concat(f.catalog.plain[:]...)
	if len(plain) < 10 {
		t.Fatalf("%d plain forms", len(plain))
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(plain).Draw(t, "form")
		separator, digit := rapid.SampledFrom([]byte("---- ./_+x")), rapid.SampledFrom([]byte("0123456789"))
		text := make([]byte, bits.Len64(p.digits))
		for k := range text {
			if p.digits>>k&1 != 0 {
				text[k] = digit.Draw(t, "digit")
			} else {
				text[k] = separator.Draw(t, "separator")
			}
		}
		last := len(text) - 1
		for text[last] = '0'; text[last] <= '9'; text[last]++ { // one of them checks the others
			by, confidence := f.wholeNumber(text)
			hits := f.find(text, place{})
			if by == nil {
				continue
			}
			if want := []hit{{by: by, start: 0, end: len(text), confidence: confidence}}; !slices.Equal(hits, want) {
				t.Fatalf("%q: %v, want %v", text, hits, want)
			}
		}
	})
	for _, text := range []string{"4532015112830366", "4532-0151-1283-0366", "4532 0151 1283 0366", "3782-822463-10005", "536-90-4399", "536 90 4399"} {
		if by, _ := f.wholeNumber([]byte(text)); by == nil {
			t.Errorf("%q is not known", text)
		}
	}
	for _, text := range []string{"4532-0151 1283-0366", "4532.0151.1283.0366", "4532-0151-1283-0367", "666-90-4399", "536-90-43990", "a36-90-4399"} {
		if by, _ := f.wholeNumber([]byte(text)); by != nil {
			t.Errorf("%q is known", text)
		}
	}
	f.least = 0.9
	if by, confidence := f.wholeNumber([]byte("1354 12345 678911")); by != nil {
		t.Errorf("%v is reported from %v on", confidence, f.least)
	}
}

// TestWholeMailbox holds what is found in an address that is a whole text to what is found
// in any text.
func TestWholeMailbox(t *testing.T) {
	f := finder{catalog: builtin(), least: reported, known: new(nameCache)}
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(rapid.SampledFrom(emails.hits).Draw(t, "address"))
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			at := rapid.IntRange(0, len(text)).Draw(t, "at")
			text = slices.Insert(text, at, rapid.SampledFrom([]byte("ag0199.-_+@x%:")).Draw(t, "byte"))
		}
		checkWhole(t, &f, text)
	})
	for _, text := range []string{"ann@example.com", "a@b.co", "a.b+c@mail.example.co.uk", "_ann-1234567@and1.example"} {
		if !wholeMailbox([]byte(text)) {
			t.Errorf("%q is not known", text)
		}
	}
	for _, text := range []string{
		"ann@localhost", "@example.com", "ann@example.c", "ann@@example.com", "git@github.com", "icon@2x.png", "ann@example..com", "ann.@example.com", ".ann@example.com", "a..b@example.com",
		"ann@-example.com", "ann@example-.com", "ann@ex_ample.com", "ann@example.c0m", "-ann@example.com", "ann.example@com", "123456789@example.com", "ann@example.com.",
	} {
		if wholeMailbox([]byte(text)) {
			t.Errorf("%q is known", text)
		}
	}
}

// checkWhole holds what is known of a text at once to what is found in it.
func checkWhole(t interface {
	Helper()
	Fatalf(string, ...any)
}, f *finder, text []byte) {
	t.Helper()
	if !mayBeWhole(text) {
		return
	}
	by, confidence := f.whole(text)
	if by == nil {
		return
	}
	if want := []hit{{by: by, start: 0, end: len(text), confidence: confidence}}; needsFold(text) != foldNothing || !slices.Equal(f.find(text, place{}), want) {
		t.Fatalf("%q: %v, want %v", text, f.hits, want)
	}
}

// FuzzWhole holds the same to whatever fuzzing finds.
func FuzzWhole(f *testing.F) {
	for _, d := range []*detector{&cards, &ssns, &emails} {
		for _, text := range slices.Concat(d.hits, d.misses) {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkWhole(t, &finder{catalog: builtin(), least: reported, known: new(nameCache)}, b)
	})
}
