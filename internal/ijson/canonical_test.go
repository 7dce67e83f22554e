package ijson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/gowebpki/jcs"
)

// canonicalForms are documents and their RFC 8785 forms.
var canonicalForms = []struct{ doc, want string }{
	{` { } `, `{}`},
	{`[ 1 , [ ] , { } ]`, `[1,[],{}]`},
	{`{"b":1,"a":{"d":[{"z":1,"y":2}],"c":0}}`, `{"a":{"c":0,"d":[{"y":2,"z":1}]},"b":1}`},
	{`"\u0041\u000a\u001f\/\u007f\"\\"`, "\"A\\n\\u001f/\x7f\\\"\\\\\""},
	{`"\u20ac\ud83d\ude00"`, `"€😀"`},
	{`[-0,0.0,1.0,1e2,1E-7,123456789012345678901234567890,9007199254740993,0.000001]`,
		`[0,0,1,100,1e-7,1.2345678901234568e+29,9007199254740992,0.000001]`},
	// RFC 8785, section 3.2.2.
	{`{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
	   "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}`,
		`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`},
	// RFC 8785, section 3.2.3: U+1F600 sorts before U+FB33, as its surrogates do.
	{`{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
	   "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`,
		`{"\r":"Carriage Return","1":"One","` + "\u0080" + `":"Control","ö":"Latin Small Letter O With Diaeresis","€":"Euro Sign","😀":"Emoji: Grinning Face","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}`},
	{`{"aa":1,"a":2,"":3,"ab":4}`, `{"":3,"a":2,"aa":1,"ab":4}`},
	// What is left where it is, copied in pieces and put in order, each in the others.
	{"\t[ {\"b\" :[1 ,2.50,{\"d\":0,\"c\": 1}] ,\"\\u0061\" : \"\\/\"}, {\"a\":0,\"b\":{\"z\":1,\"y\":[]}}\n]\r\n",
		`[{"a":"/","b":[1,2.5,{"c":1,"d":0}]},{"a":0,"b":{"y":[],"z":1}}]`},
}

func TestAppendCanonical(t *testing.T) {
	for _, c := range canonicalForms {
		got, err := AppendCanonical([]byte("kept "), []byte(c.doc), Limits{})
		if err != nil || string(got) != "kept "+c.want {
			t.Errorf("AppendCanonical(%s) = %s, %v\nwant %s", c.doc, got, err, c.want)
		}
	}
}

// What is too long is not read to its end.
func TestAppendCanonicalWithin(t *testing.T) {
	for _, c := range []struct {
		doc, want string
		most      int
	}{
		{`{"b": 1, "a": 2}`, `{"a":2,"b":1}`, 13},
		{`{"b": 1, "a": 2}`, "", 12},
		{`["\u0041\u0041"]`, `["AA"]`, 6},
		{`["\u0041\u0041"]`, "", 5},
		{`[1e2]`, `[100]`, 5},
		{`[1e2]`, "", 4},
		{`["a long text", and nobody looks here`, "", 10},
	} {
		got, err := AppendCanonicalWithin([]byte("kept "), []byte(c.doc), Limits{}, c.most)
		if string(got) != "kept "+c.want || (err == ErrTooLong) != (c.want == "") {
			t.Errorf("AppendCanonicalWithin(%s, %d) = %s, %v; want %q", c.doc, c.most, got, err, c.want)
		}
	}
}

func TestAppendCanonicalRefuses(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{`{"a":[0,1e400]}`, `line 1, column 9, at /a/1: number is too large for a double`},
		{`{"a":1,"a":2}`, `line 1, column 8, at /a: duplicate member "a"`},
		{`[1`, `line 1, column 3, at /0: unexpected end of input`},
	} {
		got, err := AppendCanonical([]byte("kept"), []byte(c.doc), Limits{})
		if err == nil || err.Error() != c.want || string(got) != "kept" {
			t.Errorf("AppendCanonical(%s) = %s, %v\nwant %s", c.doc, got, err, c.want)
		}
	}
}

// The sample numbers of RFC 8785, appendix B.
func TestCanonicalNumbers(t *testing.T) {
	for _, c := range []struct {
		bits uint64
		want string
	}{
		{0x0000000000000000, "0"}, {0x8000000000000000, "0"},
		{0x0000000000000001, "5e-324"}, {0x8000000000000001, "-5e-324"},
		{0x7fefffffffffffff, "1.7976931348623157e+308"}, {0xffefffffffffffff, "-1.7976931348623157e+308"},
		{0x4340000000000000, "9007199254740992"}, {0xc340000000000000, "-9007199254740992"},
		{0x4430000000000000, "295147905179352830000"},
		{0x44b52d02c7e14af5, "9.999999999999997e+22"}, {0x44b52d02c7e14af6, "1e+23"}, {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
		{0x444b1ae4d6e2ef4e, "999999999999999700000"}, {0x444b1ae4d6e2ef4f, "999999999999999900000"}, {0x444b1ae4d6e2ef50, "1e+21"},
		{0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"}, {0x3eb0c6f7a0b5ed8d, "0.000001"},
		{0x41b3de4355555553, "333333333.3333332"}, {0x41b3de4355555554, "333333333.33333325"},
		{0x41b3de4355555555, "333333333.3333333"}, {0x41b3de4355555556, "333333333.3333334"},
		{0x41b3de4355555557, "333333333.33333343"}, {0xbecbf647612f3696, "-0.0000033333333333333333"},
		{0x43143ff3c1cb0959, "1424953923781206.2"},
	} {
		source := strconv.FormatFloat(math.Float64frombits(c.bits), 'e', 17, 64)
		if got, err := AppendCanonical(nil, []byte(source), Limits{}); err != nil || string(got) != c.want {
			t.Errorf("AppendCanonical(%s) = %s, %v, want %s", source, got, err, c.want)
		}
	}
}

// checkPlainNumber holds a number that is taken for canonical to what it is as a double.
func checkPlainNumber(t *testing.T, raw []byte) {
	t.Helper()
	if !plainNumber(raw) {
		return
	}
	if got, err := appendNumber(nil, raw); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("%s is taken for canonical, and is %s, %v", raw, got, err)
	}
}

func TestPlainNumber(t *testing.T) {
	for raw, want := range map[string]bool{
		"0": true, "-1": true, "149.95": true, "0.5": true, "-0.000001": true, "999999999999999": true, "0.12345678901234": true,
		"-0": false, "1.0": false, "0.0": false, "0.0000001": false, "1e2": false, "1.5e2": false, "9007199254740993": false, "1234567890123.456": false,
	} {
		if got := plainNumber([]byte(raw)); got != want {
			t.Errorf("plainNumber(%s) = %v", raw, got)
		}
		checkPlainNumber(t, []byte(raw))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		raw := strconv.AppendFloat(nil, math.Ldexp(random.Float64()-0.5, random.IntN(80)-20), 'f', random.IntN(17), 64)
		checkPlainNumber(t, raw)
	}
}

func FuzzPlainNumber(f *testing.F) {
	f.Add([]byte("-0.0000012"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if end, msg := scanNumber(append(raw, ' '), 0); msg == "" && end == len(raw) {
			checkPlainNumber(t, raw)
		}
	})
}

func TestAppendCanonicalDoesNotAllocate(t *testing.T) {
	// Not through the pool, which forgets now and then, and often under -race.
	dst, c := make([]byte, 0, 1<<20), &canonicalizer{most: math.MaxInt, depth: math.MaxInt}
	for _, doc := range [][]byte{[]byte(record), sample(64 << 10)} {
		if n := testing.AllocsPerRun(10, func() {
			c.begin(dst, doc)
			c.r.Reset(doc, Limits{})
			if err := c.read(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("the canonical form of %d bytes takes %v allocations, want 0", len(doc), n)
		}
	}
}

// Members come in the order of their names' UTF-16 code units, whatever comes
// first in the names and however long they are.
func TestMemberOrder(t *testing.T) {
	pieces := []string{"", "\x00", "a", "é", "\ud7fb", "\ue000", "\uee00", "\uffff", "\U00010000", "\U0010ffff", "abcdefgh", "\uf000\uf000\uf000"}
	var names []string
	for _, a := range pieces {
		for _, b := range pieces {
			names = append(names, a+b)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
	})
	names = slices.Compact(names)
	object := func(names []string) []byte {
		b := []byte{'{'}
		for i, name := range names {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(AppendString(b, name), ":0"...)
		}
		return append(b, '}')
	}
	want := object(names)
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	if got, err := AppendCanonical(nil, object(names), Limits{}); err != nil || !bytes.Equal(got, want) {
		t.Errorf("AppendCanonical = %s, %v\nwant %s", got, err, want)
	}
}

func TestAppendString(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", `""`},
		{"plain é 😀 \x7f \u2028", "\"plain é 😀 \x7f \u2028\""},
		{"\"\\/\b\f\n\r\t\x00\x1f", `"\"\\/\b\f\n\r\t\u0000\u001f"`},
		{"a\xffb\xc3", "\"a\ufffdb\ufffd\""},
	} {
		if got := string(AppendString(nil, c.in)); got != c.want {
			t.Errorf("AppendString(%q) = %s, want %s", c.in, got, c.want)
		}
		if got := string(AppendString(nil, []byte(c.in))); got != c.want {
			t.Errorf("AppendString([]byte(%q)) = %s, want %s", c.in, got, c.want)
		}
	}
}

// Whatever the canonical form is made of, it is a fixed point, it means the same
// as its source, and an independent implementation makes the same of it.
func FuzzAppendCanonical(f *testing.F) {
	for _, c := range canonicalForms {
		f.Add([]byte(c.doc))
	}
	f.Add([]byte(record))
	f.Add(members(40))
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := AppendCanonical(nil, doc, Limits{})
		if err != nil {
			return
		}
		again, err := AppendCanonical(nil, got, Limits{})
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("canonical form of %s is %s, %v; of that again %s", doc, got, err, again)
		}
		if form, ok := formOf(t, doc, len(got)); !ok || !bytes.Equal(form, got) {
			t.Fatalf("as a form of its tokens, the canonical form of %s is %s, %v, not %s", doc, form, ok, got)
		}
		if form, ok := formOf(t, doc, len(got)-1); ok {
			t.Fatalf("%s has a form of %d bytes: %s", doc, len(form), form)
		}
		for _, most := range []int{0, len(got) / 2, len(got) - 1, len(got), len(got) + 1} {
			within, err := AppendCanonicalWithin([]byte("kept"), doc, Limits{}, most)
			if want := append([]byte("kept"), got...); most < len(got) && (err != ErrTooLong || string(within) != "kept") || most >= len(got) && (err != nil || !bytes.Equal(within, want)) {
				t.Fatalf("within %d bytes the canonical form of %s is %s, %v; it has %d", most, doc, within, err, len(got))
			}
		}
		var x, y any
		if json.Unmarshal(doc, &x) != nil || json.Unmarshal(got, &y) != nil {
			t.Fatalf("encoding/json refuses %s or %s", doc, got)
		}
		if !bytes.ContainsAny(doc, "{[") {
			return // the other implementation wants an object or array
		}
		want, err := jcs.Transform(doc)
		if err != nil {
			t.Skipf("jcs refuses %s: %v", doc, err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("AppendCanonical(%s) = %s\njcs says        %s", doc, got, want)
		}
	})
}

// formOf makes the canonical form of what a Reader reads.
func formOf(t *testing.T, doc []byte, most int) ([]byte, bool) {
	t.Helper()
	r := new(Reader)
	f := NewForm([]byte("kept"), doc, most, DefaultDepth, r)
	r.Reset(doc, Limits{})
	for {
		tok, err := r.Next()
		if err != nil {
			form, ok := f.End()
			rest, kept := bytes.CutPrefix(form, []byte("kept"))
			if !kept || !ok && len(rest) > 0 {
				t.Fatalf("%s: the form is %s, %v", doc, form, ok)
			}
			return rest, ok
		}
		if f.Needs(tok) {
			f.Add(tok)
		}
	}
}

// Wherever the first thing stands that has to be written otherwise, all around it is written as if
// account had been kept of every token from the beginning.
func TestApart(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 5_000 {
		doc := drawDoc(nil, random, 1+random.IntN(4), random.IntN(12))
		form, ok := formOf(t, doc, math.MaxInt)
		c := &canonicalizer{most: math.MaxInt, depth: math.MaxInt, apart: true}
		c.data = doc
		c.r.Reset(doc, Limits{})
		for tok, err := c.r.Next(); err == nil; tok, err = c.r.Next() {
			if err := c.add(tok); err != nil {
				t.Fatalf("%s: %v", doc, err)
			}
		}
		if err := c.finish(&c.r); err != nil || c.r.err != io.EOF || !ok || !bytes.Equal(form, c.dst) {
			t.Fatalf("%s: %v, %v; the form of it is\n%s, %v, not\n%s", doc, err, c.r.err, form, ok, c.dst)
		}
	}
}

// drawDoc appends a random document, in which one of n places is not written as short as it could be.
func drawDoc(b []byte, random *rand.Rand, depth, n int) []byte {
	odd := func() bool { return n > 0 && random.IntN(4*n) == 0 }
	space := func() {
		if odd() {
			b = append(b, " \n\t"[random.IntN(3)])
		}
	}
	text := func(s string) {
		if odd() {
			b = fmt.Appendf(b, `"\u%04x%s"`, 'a'+random.IntN(26), s)
			return
		}
		b = append(append(append(b, '"'), s...), '"')
	}
	space()
	switch kind := random.IntN(7); {
	case depth > 0 && kind < 3:
		b = append(b, '{')
		names := random.Perm(20)[:random.IntN(6)]
		if random.IntN(2) == 0 {
			slices.Sort(names)
		}
		for i, name := range names {
			if i > 0 {
				b = append(b, ',')
			}
			space()
			text(strings.Repeat("n", 1+random.IntN(2)*9) + string(rune('a'+name)))
			space()
			b = drawDoc(append(b, ':'), random, depth-1, n)
		}
		space()
		b = append(b, '}')
	case depth > 0 && kind < 5:
		b = append(b, '[')
		for i := range random.IntN(4) {
			if i > 0 {
				b = append(b, ',')
			}
			b = drawDoc(b, random, depth-1, n)
		}
		space()
		b = append(b, ']')
	case kind%2 == 0:
		text("text")
	case odd():
		b = append(b, "1.50"...)
	default:
		b = append(b, "-12.5"...)
	}
	space()
	return b
}

// What cannot be written, or has ended in the middle, has no form.
func TestNoForm(t *testing.T) {
	for _, doc := range []string{``, `{"a":[0,1e400]}`, `[1`, `{"a":`, `{"a":{"b":2}`} {
		if form, ok := formOf(t, []byte(doc), math.MaxInt); ok {
			t.Errorf("the form of %s is %s", doc, form)
		}
	}
	for depth, want := range []bool{false, false, true, true} {
		r, doc := new(Reader), []byte(`[0,{},1]`)
		f := NewForm(nil, doc, 100, depth, r)
		r.Reset(doc, Limits{})
		for tok, err := r.Next(); err == nil; tok, err = r.Next() {
			if f.Needs(tok) {
				f.Add(tok)
			}
		}
		if form, ok := f.End(); ok != want {
			t.Errorf("a form of depth %d: %s, %v", depth, form, ok)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\xff\"\\\n\u2028😀")
	f.Fuzz(func(t *testing.T, s string) {
		doc := AppendString(nil, s)
		if err := Check(doc, Limits{}); err != nil {
			t.Fatalf("AppendString(%q) = %s: %v", s, doc, err)
		}
		if utf8.ValidString(s) {
			if got := string(AppendDecoded(nil, doc[1:len(doc)-1])); got != s {
				t.Fatalf("AppendString(%q) decodes to %q", s, got)
			}
		}
	})
}
