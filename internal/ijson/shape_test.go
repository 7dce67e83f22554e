package ijson

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// forgetful makes a Reader that has no room for shapes, and compares all names.
func forgetful() *Reader {
	r := &Reader{shapes: make([]shape, maxShapes), rested: -1 << 30}
	r.shapes[0].sorted = true
	return r
}

// A reading is what a Reader says of a document.
type reading struct {
	Tokens   []Token
	Pointers []string
	Err      string
	Form     string
	HasForm  bool
}

func read(r *Reader, doc []byte) (got reading) {
	r.Reset(doc, Limits{})
	f := NewForm(nil, doc, len(doc)-len(doc)%2, DefaultDepth, r)
	for more := true; ; {
		tok, err := r.Next()
		if err != nil {
			var form []byte
			form, got.HasForm = f.End()
			got.Err, got.Form = err.Error(), string(form)
			return got
		}
		more = more && (!f.Needs(tok) || f.Add(tok))
		got.Tokens, got.Pointers = append(got.Tokens, tok), append(got.Pointers, r.Pointer())
	}
}

// checkShapes holds a Reader that remembers names of documents before, and of these, to one that does not.
func checkShapes(t *testing.T, r *Reader, docs ...[]byte) {
	t.Helper()
	for _, doc := range docs {
		if want, got := read(forgetful(), doc), read(r, doc); !reflect.DeepEqual(want, got) {
			t.Fatalf("%s: remembered names change what is read (-without +with):\n%s", doc, cmp.Diff(want, got))
		}
		if len(r.shapes) > maxShapes {
			t.Fatalf("%d shapes", len(r.shapes))
		}
	}
}

// drawObjects returns an array of objects whose names are those of one another but for one thing.
func drawObjects(random *rand.Rand) []byte {
	lengths := []int{1, 2, 5, 6, 7, 8, 13, 14, 15, 21, 22, 23, 30}
	names := make([]string, []int{1, 3, 8, 15, 16, 17, 18, 40, 63, 64, 65}[random.IntN(11)])
	for i := range names {
		name := fmt.Sprintf("%c%d", 'a'+random.IntN(3), i)
		names[i] = name + strings.Repeat("x", max(0, lengths[random.IntN(len(lengths))]-len(name)))
	}
	var b bytes.Buffer
	b.WriteByte('[')
	for i := range 1 + random.IntN(12) {
		if i > 0 {
			b.WriteByte(',')
		}
		of := slices.Clone(names)
		at, other := random.IntN(len(of)), random.IntN(len(of))
		escaped, value := -1, "1"
		switch random.IntN(12) {
		case 0:
			of[at], of[other] = of[other], of[at]
		case 1:
			of[at] += "y"
		case 2:
			of[at] = of[at][:len(of[at])-1] + "z"
		case 3:
			of = slices.Delete(of, at, at+1)
		case 4:
			escaped = at
		case 5:
			of = append(of, "last")
		case 6:
			if random.IntN(8) == 0 {
				of[at] = of[other] // a duplicate, mostly
			}
		case 7:
			if random.IntN(8) == 0 {
				of, escaped = append(of, of[other]), len(of) // and one with an escape
			}
		case 8:
			value = `{"a":{"b":[` + value + `]}}`
		case 9:
			of[at] += " : \":"
			of[at] = strings.ReplaceAll(of[at], `"`, `'`)
		}
		b.WriteByte('{')
		for k, name := range of {
			if k > 0 {
				b.WriteByte(',')
			}
			if k == escaped {
				name = fmt.Sprintf(`\u%04x%s`, name[0], name[1:])
			}
			colon := ":"
			if random.IntN(200) == 0 {
				colon = []string{" :", ": ", "\n:\t"}[random.IntN(3)]
			}
			fmt.Fprintf(&b, `"%s"%s%s`, name, colon, value)
		}
		b.WriteByte('}')
	}
	b.WriteByte(']')
	return b.Bytes()
}

func TestShapes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var r Reader
	for range 1500 {
		doc := drawObjects(random)
		checkShapes(t, &r, doc, doc[:random.IntN(len(doc))], doc)
	}
	if r.Forgotten() == 0 {
		t.Error("the documents above were to fill the tree")
	}
}

// A duplicate is one whatever names the documents before had, and wherever they made the same row of names.
func TestDuplicateBehindKnownNames(t *testing.T) {
	var r Reader
	checkShapes(t, &r, []byte(`[{"a":1,"b":2,"c":3},{"b":1,"a":2},{"b":1,"c":2,"a":3}]`))
	for _, doc := range []string{
		`{"a":1,"a":2}`, `[{"a":1,"b":2,"a":3}]`, `[{"a":1,"b":2,"c":3,"a":4}]`, `[{"b":1,"a":2,"b":3}]`, `[{"b":1,"c":2,"a":3,"c":4}]`,
		`[{"a":1,"b":2,"\u0061":3}]`, `[{"a":1,"b":2,"\u0063":3,"c":4}]`, `[{"a":{"a":1,"b":2},"b":[{"a":1,"b":2}],"a":4}]`,
	} {
		checkShapes(t, &r, []byte(doc))
		if got := read(&r, []byte(doc)); !strings.Contains(got.Err, "duplicate member") {
			t.Errorf("%s: %s", doc, got.Err)
		}
	}
}

// A number of a shape means the same names, in the object and in those around it, until all are forgotten.
func TestShapeMeansTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var r Reader
	known, forgotten := map[int]string{}, 0
	for range 2000 {
		r.Reset(drawObjects(random), Limits{})
		if r.Forgotten() != forgotten {
			forgotten = r.Forgotten()
			clear(known)
		}
		for tok, err := r.Next(); err == nil; tok, err = r.Next() {
			if tok.Kind != Name || r.Shape() == 0 {
				continue
			}
			var names []string
			for _, n := range r.names[r.stack[len(r.stack)-1].names:] {
				names = append(names, string(r.nameText(n)))
			}
			got := strings.Join(names, " ")
			if before, ok := known[r.Shape()]; ok && before != got {
				t.Fatalf("shape %d is %q, and was %q", r.Shape(), got, before)
			}
			known[r.Shape()] = got
		}
	}
	if forgotten == 0 {
		t.Error("the documents above were to fill the tree")
	}
}

// Documents whose names are all their own take the room for shapes only for so long.
func TestNamesAreLearnedAgain(t *testing.T) {
	var r Reader
	for i := range 1000 {
		doc := fmt.Appendf(nil, `[{"a%d":1,"b%d":2},{"c%d":3,"d%d":4}]`, i, i, i, i)
		checkShapes(t, &r, doc)
	}
	doc := []byte(`{"one":1,"two":2}`)
	for range restTime + 2 {
		checkShapes(t, &r, doc)
	}
	if r.Shape() == 0 {
		t.Errorf("%s was read %d times, and its names are not known", doc, restTime+2)
	}
}

func FuzzShapes(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		f.Add(drawObjects(random), drawObjects(random))
	}
	f.Add([]byte(`[{"a":1,"b":2},{"a":1,"b":2,"a":3}]`), []byte(`{"a" :{"a":[{"a":1}]},"\u0062":2}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var r Reader
		checkShapes(t, &r, a, b, a, b)
	})
}
