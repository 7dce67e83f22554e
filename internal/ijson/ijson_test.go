package ijson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var accepted = []string{
	`null`, `true`, `false`, `0`, `-0`, `1`, `-1.5e+10`, `1E400`, `0.5`, `""`, `"a"`, " \t\r\n[ ] \n",
	`{}`, `[]`, `[1,2]`, `{"a":1,"b":{"a":1}}`, `[{"a":1},{"a":1}]`,
	`"\"\\\/\b\f\n\r\t\u0041"`, `"\ud83d\ude00"`, `"😀 é 日本"`, "\"\u2028\x7f\"", `"\uffff"`, "\"\uffff\"", `{"":0}`,
	`"eight by"`, `"12345678"`, `"1234567é"`, `"123456789012345é"`,
}

// rejected are documents with the place and the words of the refusal.
var rejected = []struct{ doc, want string }{
	{``, `line 1, column 1: empty input, want a JSON value`},
	{"  \n ", `line 2, column 2: unexpected end of input`},
	{`nul`, `line 1, column 1: unexpected 'n', want a value (did you mean null?)`},
	{`True`, `line 1, column 1: unexpected 'T', want a value`},
	{`NaN`, `line 1, column 1: unexpected 'N', want a value`},
	{`1 2`, `line 1, column 3: unexpected '2', want the end of the document`},
	{`{} x`, `line 1, column 4: unexpected 'x', want the end of the document`},
	{`[1,]`, `line 1, column 4, at /1: unexpected ']', want a value`},
	{`[1`, `line 1, column 3, at /0: unexpected end of input`},
	{`[,1]`, `line 1, column 2, at /0: unexpected ',', want a value`},
	{`[1 2]`, `line 1, column 4, at /0: unexpected '2', want "," or "]"`},
	{`{"a":1,}`, `line 1, column 8, at /a: unexpected '}', want a member name in double quotes`},
	{`{"a" 1}`, `line 1, column 6, at /a: unexpected '1', want ":"`},
	{`{"a":1 "b":2}`, `line 1, column 8, at /a: unexpected '"', want "," or "}"`},
	{`{'a':1}`, `line 1, column 2: unexpected '\'', want a member name in double quotes`},
	{`{a:1}`, `line 1, column 2: unexpected 'a', want a member name in double quotes`},
	{`{"a"`, `line 1, column 5, at /a: unexpected end of input`},
	{`{"a":`, `line 1, column 6, at /a: unexpected end of input`},
	{`{"a":1`, `line 1, column 7, at /a: unexpected end of input`},
	{`{"a":1,`, `line 1, column 8, at /a: unexpected end of input`},
	{`{]`, `line 1, column 2: unexpected ']', want a member name in double quotes`},
	{`[}`, `line 1, column 2, at /0: unexpected '}', want a value`},
	{`01`, `line 1, column 2: a number must not begin with 0`},
	{`-`, `line 1, column 2: a digit must follow the minus sign`},
	{`+1`, `line 1, column 1: unexpected '+', want a value`},
	{`.5`, `line 1, column 1: unexpected '.', want a value`},
	{`1.`, `line 1, column 3: a digit must follow the decimal point`},
	{`1e`, `line 1, column 3: a digit must follow the exponent sign`},
	{`1e+`, `line 1, column 4: a digit must follow the exponent sign`},
	{`0x1`, `line 1, column 2: unexpected 'x', want the end of the document`},
	{`"a`, `line 1, column 3: unexpected end of input in a string`},
	{`"a\`, `line 1, column 3: unexpected end of input in a string`},
	{`"\x41"`, `line 1, column 2: unknown escape, backslash and 'x'`},
	{`"\u12g4"`, `line 1, column 2: \u needs four hexadecimal digits`},
	{`"\u12`, `line 1, column 2: \u needs four hexadecimal digits`},
	{`"\ud83d"`, `line 1, column 2: half of a surrogate pair without the other half`},
	{`"\ude00"`, `line 1, column 2: half of a surrogate pair without the other half`},
	{`"\ud83d\u0041"`, `line 1, column 2: half of a surrogate pair without the other half`},
	{`"\ud83d\ud83d"`, `line 1, column 2: half of a surrogate pair without the other half`},
	{"\"a\nb\"", `line 1, column 3: control character '\n' in a string, write it as an escape`},
	{"\"\x00\"", `line 1, column 2: control character '\x00' in a string, write it as an escape`},
	{"\"abc\xffdef\"", `line 1, column 5: invalid UTF-8`},
	{"\"\xc0\x80\"", `line 1, column 2: invalid UTF-8`},
	{"\"\xed\xa0\x80\"", `line 1, column 2: invalid UTF-8`},
	{"\"1234567\xe2\"", `line 1, column 9: invalid UTF-8`},
	{"\ufeff{}", `line 1, column 1: unexpected byte order mark (save the file as UTF-8 without one), want a value`},
	{"{\"é\": 1,\n \"b\": x}", `line 2, column 7, at /b: unexpected 'x', want a value`},
	{`{"a":1,"a":2}`, `line 1, column 8, at /a: duplicate member "a"`},
	{`{"a":1,"\u0061":2}`, `line 1, column 8, at /a: duplicate member "a"`},
	{`{"":1,"":2}`, `line 1, column 7, at /: duplicate member ""`},
	{`{"x":[{"a/b":{"~":0,"~":1}}]}`, `line 1, column 21, at /x/0/a~1b/~0: duplicate member "~"`},
	{`{"\u202e":1,"\u202e":1}`, `line 1, column 13, at /\u202e: duplicate member "\u202e"`},
	{"// comment\n1", `line 1, column 1: unexpected '/', want a value`},
	{"\x0c1", `line 1, column 1: unexpected '\f', want a value`},
}

func TestCheckAccepts(t *testing.T) {
	for _, doc := range accepted {
		if err := Check([]byte(doc), Limits{}); err != nil {
			t.Errorf("Check(%q) = %v, want nil", doc, err)
		}
	}
}

func TestCheckRejects(t *testing.T) {
	for _, c := range rejected {
		err := Check([]byte(c.doc), Limits{})
		if err == nil || err.Error() != c.want {
			t.Errorf("Check(%q) = %v\nwant %s", c.doc, err, c.want)
		}
	}
}

// A byte means the same wherever in a string it stands: strings are scanned eight
// bytes at a time, and the last ones by themselves.
func TestEveryByteAtEveryPosition(t *testing.T) {
	for length := range 27 {
		for at := range length {
			for c := range 256 {
				doc := []byte(`["` + strings.Repeat("x", length) + `"]`)
				doc[2+at] = byte(c)
				err := Check(doc, Limits{})
				if want := json.Valid(doc) && c < 0x80; (err == nil) != want {
					t.Fatalf("Check(%q) = %v, want valid = %v", doc, err, want)
				}
				if e, ok := errors.AsType[*Error](err); ok && c != '"' && c != '\\' && e.Offset != 2+at {
					t.Fatalf("Check(%q) blames byte %d, want %d", doc, e.Offset, 2+at)
				}
			}
		}
	}
}

// Every proper prefix of a document that ends with a bracket or quote is refused,
// and nothing reads past the input.
func TestCheckPrefixes(t *testing.T) {
	doc := []byte(`{"a":["x\u0041\ud83d\ude00",1.5e-3,true,null,{"b":"é"}],"c":{}}`)
	for n := range doc {
		if err := Check(doc[:n:n], Limits{}); err == nil {
			t.Errorf("Check(%q) = nil, want an error", doc[:n])
		}
	}
}

func TestDepth(t *testing.T) {
	nested := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	for _, c := range []struct {
		limit, depth int
		want         string // "" for no error
	}{
		{0, 128, ""}, {0, 129, "nested deeper than 128"}, {3, 3, ""}, {3, 4, "nested deeper than 3"}, {3, 10_000, "nested deeper than 3"},
	} {
		err := Check(nested(c.depth), Limits{Depth: c.limit})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasSuffix(err.Error(), c.want)) {
			t.Errorf("depth %d with limit %d: %v, want %q", c.depth, c.limit, err, c.want)
		}
	}
}

// step is a token as the tests write it.
type step struct {
	Kind    Kind
	Text    string
	Pointer string
	Depth   int
}

func walk(t *testing.T, doc string) []step {
	t.Helper()
	var r Reader
	r.Reset([]byte(doc), Limits{})
	var steps []step
	for {
		tok, err := r.Next()
		if err == io.EOF {
			return steps
		}
		if err != nil {
			t.Fatalf("Next in %q: %v", doc, err)
		}
		text := string(AppendDecoded(nil, []byte(doc[tok.Start:tok.End])))
		if at := string(r.AppendPointer(nil)); at != r.Pointer() {
			t.Errorf("%q: AppendPointer says %q, Pointer %q", doc, at, r.Pointer())
		}
		steps = append(steps, step{tok.Kind, text, r.Pointer(), r.Depth()})
	}
}

func TestTokens(t *testing.T) {
	got := walk(t, ` {"a/b" : [1, "x\n", {"~": true}, []], "": null, "\u0063": {"d":-2.5}} `)
	want := []step{
		{BeginObject, "{", "", 1},
		{Name, "a/b", "/a~1b", 1},
		{BeginArray, "[", "/a~1b", 2},
		{Number, "1", "/a~1b/0", 2},
		{String, "x\n", "/a~1b/1", 2},
		{BeginObject, "{", "/a~1b/2", 3},
		{Name, "~", "/a~1b/2/~0", 3},
		{True, "true", "/a~1b/2/~0", 3},
		{EndObject, "}", "/a~1b/2", 2},
		{BeginArray, "[", "/a~1b/3", 3},
		{EndArray, "]", "/a~1b/3", 2},
		{EndArray, "]", "/a~1b", 1},
		{Name, "", "/", 1},
		{Null, "null", "/", 1},
		{Name, "c", "/c", 1},
		{BeginObject, "{", "/c", 2},
		{Name, "d", "/c/d", 2},
		{Number, "-2.5", "/c/d", 2},
		{EndObject, "}", "/c", 1},
		{EndObject, "}", "", 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
}

func TestErrorsStick(t *testing.T) {
	var r Reader
	r.Reset([]byte(`[x]`), Limits{})
	r.Next()
	_, first := r.Next()
	_, second := r.Next()
	if first == nil || first != second {
		t.Errorf("Next after an error = %v, want %v again", second, first)
	}
}

// A pointer in an error is one of an enclosing value when its own would be long,
// so that a document cannot make a message of its size.
func TestErrorPointerIsBounded(t *testing.T) {
	long := strings.Repeat("n", 10_000)
	err := Check([]byte(`{"a":{"`+long+`":{"b":x}}}`), Limits{})
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Pointer != "/a" {
		t.Errorf("Check = %.100v, want an *Error at /a", err)
	}
	err = Check([]byte(`{"`+long+`":1,"`+long+`":1}`), Limits{})
	if len(err.Error()) > 200 {
		t.Errorf("message has %d bytes: %.100v", len(err.Error()), err)
	}
}

// Duplicates are found on both sides of the border between comparing names one by
// one and hashing them, with other objects opening and closing in between.
func TestDuplicates(t *testing.T) {
	var inner strings.Builder
	inner.WriteString("{")
	for i := range 3 * linearNames {
		fmt.Fprintf(&inner, `"m%d":{"x":[{}]},`, i)
	}
	inner.WriteString(`"last":0}`)
	for n := 1; n < 700; n = n*3/2 + 1 {
		for dup := -1; dup < n; dup += 1 + n/5 {
			var b strings.Builder
			b.WriteString("{")
			for i := range n {
				fmt.Fprintf(&b, `"m%d":%s,`, i, inner.String())
			}
			if dup < 0 {
				b.WriteString(`"new":0}`)
			} else {
				fmt.Fprintf(&b, `"\u006d%d":0}`, dup)
			}
			if err := Check([]byte(b.String()), Limits{}); (err != nil) != (dup >= 0) {
				t.Fatalf("%d members, duplicate of number %d: %v", n, dup, err)
			}
		}
	}
}

// After a document that ended in the middle, a Reader starts afresh.
func TestResetAfterError(t *testing.T) {
	var r Reader
	doc := members(300)
	for range 3 {
		r.Reset(append(doc[:len(doc)-1:len(doc)-1], `,"x":!}`...), Limits{})
		for {
			if _, err := r.Next(); err == io.EOF {
				t.Fatal("a broken document was accepted")
			} else if err != nil {
				break
			}
		}
		r.Reset(doc, Limits{})
		for {
			if _, err := r.Next(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("Next after Reset: %v", err)
			}
		}
	}
}

// Many members, in one object or in many, take time in proportion to their number.
// Quadratic work would take minutes.
func TestManyMembersTakeLinearTime(t *testing.T) {
	many := append(bytes.Repeat(append(members(300), ','), 300), '0')
	docs := [][]byte{members(300_000), append(append([]byte{'['}, many...), ']')}
	for _, doc := range docs {
		start := time.Now()
		if err := Check(doc, Limits{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%d bytes took %v", len(doc), took)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for _, doc := range [][]byte{sample(1 << 10), sample(1 << 20), members(5000)} {
		var r Reader
		read := func() {
			r.Reset(doc, Limits{})
			for {
				if _, err := r.Next(); err == io.EOF {
					return
				} else if err != nil {
					t.Fatal(err)
				}
			}
		}
		read()
		if n := testing.AllocsPerRun(10, read); n != 0 {
			t.Errorf("reading %d bytes again allocates %v times, want 0", len(doc), n)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, doc := range accepted {
		f.Add([]byte(doc))
	}
	for _, c := range rejected {
		f.Add([]byte(c.doc))
	}
	f.Add(sample(1 << 10))
	f.Add(members(40))
	f.Add([]byte(`["x23456789\x01"]`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		err := Check(doc, Limits{})
		if err == nil {
			if !json.Valid(doc) {
				t.Fatalf("Check accepts %q, encoding/json does not", doc)
			}
			return
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Offset < 0 || e.Offset > len(doc) || e.Line < 1 || e.Column < 1 || len(e.Pointer) > maxPointer {
			t.Fatalf("Check(%q) = %#v", doc, err)
		}
		if json.Valid(doc) && !stricter(e.Msg) {
			t.Fatalf("Check refuses %q, which encoding/json accepts: %v", doc, err)
		}
	})
}

// FuzzAppendPointer holds the pointer that remembers where it was to the one
// that does not, at some of the tokens.
func FuzzAppendPointer(f *testing.F) {
	for _, doc := range accepted {
		f.Add([]byte(doc), uint64(0xFFFF))
		f.Add([]byte(doc), uint64(0x5A5A5A5A5A5A5A5A))
	}
	f.Add(sample(1<<10), ^uint64(0))
	f.Add([]byte(`[{"a":{"b":1},"c":[2,{"d":3}],"a/~":{"b":[]}},{"a":[[4],[5]]}]`), ^uint64(0))
	f.Fuzz(func(t *testing.T, doc []byte, asked uint64) {
		var r Reader
		r.Reset(doc, Limits{})
		for i := 0; ; i++ {
			if _, err := r.Next(); err != nil {
				return
			}
			if asked>>(i%64)&1 == 0 {
				continue
			}
			if got, want := string(r.AppendPointer(nil)), r.Pointer(); got != want {
				t.Fatalf("token %d of %q: %q, want %q", i, doc, got, want)
			}
		}
	})
}

// stricter reports whether a refusal is for one of the rules that encoding/json
// does not have.
func stricter(msg string) bool {
	for _, rule := range []string{"duplicate member", "invalid UTF-8", "surrogate", "nested deeper"} {
		if strings.Contains(msg, rule) {
			return true
		}
	}
	return false
}

// Strings decode to what encoding/json makes of them.
func FuzzAppendDecoded(f *testing.F) {
	for _, s := range []string{`a`, `\"\\\/\b\f\n\r\t`, `\u0041\u00e9\u20ac`, `\ud83d\ude00`, `é日本😀`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		doc := []byte(`"` + text + `"`)
		AppendDecoded(nil, []byte(text)) // must not panic, whatever it is given
		if Check(doc, Limits{}) != nil {
			return
		}
		var want string
		if err := json.Unmarshal(doc, &want); err != nil {
			t.Fatal(err)
		}
		if got := string(AppendDecoded(nil, []byte(text))); got != want {
			t.Errorf("AppendDecoded(%q) = %q, want %q", text, got, want)
		}
	})
}
