package privacy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rememberedNames are names that tell of a value, or what their object calls it, or hold one, or none of that.
var rememberedNames = []string{"password", "ssn", "note", "name", "value", "type", "id", "x", "card_number", "ann@example.com", "4532015112830366",
	"a_rather_long_password_hint", "the_cards_number_here", "passport", "data", "cvv"}

// drawRemembered returns objects with such names, most of them like the one before.
func drawRemembered(random *rand.Rand, depth int) []byte {
	var b bytes.Buffer
	names := random.Perm(len(rememberedNames))[:1+random.IntN(5)]
	b.WriteByte('[')
	for i := range 1 + random.IntN(5) {
		if i > 0 {
			b.WriteByte(',')
		}
		if at := random.IntN(len(names)); random.IntN(3) == 0 {
			if name := random.IntN(len(rememberedNames)); !bytes.Contains(fmt.Append(nil, names), fmt.Append(nil, name)) {
				names[at] = name
			}
		}
		b.WriteByte('{')
		for k, name := range names {
			if k > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "%q:", rememberedNames[name])
			switch kind := random.IntN(9); {
			case kind == 0 && depth > 0:
				b.Write(drawRemembered(random, depth-1))
			case kind == 1 && depth > 0:
				fmt.Fprintf(&b, "%q", drawRemembered(random, 0))
			case kind < 4:
				b.WriteString("536904399")
			case kind < 6:
				b.WriteString(`"hunter22"`)
			case kind == 6:
				b.WriteString(`"password"`)
			default:
				b.WriteString(`"4532 0151"`)
			}
		}
		b.WriteByte('}')
	}
	b.WriteByte(']')
	return b.Bytes()
}

// What is remembered of names, from other bodies and other catalogs, changes nothing that is found.
func TestRememberedNames(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	begin := func(w *work, c *catalog) *work {
		w.report, w.budget, w.deepest = Report{}, maxPointers, maxNesting
		w.finder.longest = longestEncoded
		w.use(c, reported)
		return w
	}
	other := newCatalog([]*detector{&cards})
	warm, found := new(work), 0
	for i := range 6000 {
		doc, c := drawRemembered(random, 2), builtin()
		if i/1000%2 == 1 {
			c = other
		}
		got, err := begin(warm, c).scanJSON(doc, Limits{})
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		want, err := begin(new(work), c).scanJSON(doc, Limits{})
		if d := cmp.Diff(want.Findings, got.Findings); d != "" || err != nil {
			t.Fatalf("%s: %v; remembered names change what is found (-without +with):\n%s", doc, err, d)
		}
		found += len(got.Findings)
	}
	if found == 0 || warm.levels[0].reader.Forgotten() == 0 {
		t.Errorf("%d findings, names forgotten %d times", found, warm.levels[0].reader.Forgotten())
	}
}
