package privacy

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// cleanJSON returns about size bytes of what agents send each other: text,
// identifiers, times, amounts; nothing sensitive.
func cleanJSON(size int) []byte {
	const item = `{"id":"8e03978e-40d5-43e8-bc93-%012d","task":"book_flight","amount":149.95,"count":3,"urgent":false,` +
		`"created":"2026-11-23T04:05:06.789Z","data":{"destination":"New York","passengers":2,` +
		`"note":"Window seat if there is one, please; otherwise any seat near the front.","tags":["travel","refundable",null]}}`
	return items(size, func(b *bytes.Buffer, i int) { fmt.Fprintf(b, item, i) })
}

// denseJSON is full of cards, social security numbers and addresses.
func denseJSON(size int) []byte {
	const item = `{"card":"4532-0151-1283-0366","ssn":"536-90-4399","email":"ann%d@example.com","pan":4532015112830366,"note":"paid with 378282246310005, thanks"}`
	return items(size, func(b *bytes.Buffer, i int) { fmt.Fprintf(b, item, i) })
}

func items(size int, item func(*bytes.Buffer, int)) []byte {
	var b bytes.Buffer
	b.WriteString(`{"items":[`)
	for i := 0; i == 0 || b.Len()+b.Len()/i <= size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		item(&b, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

var benchSizes = []int{1 << 10, 64 << 10, 1 << 20}

func BenchmarkScanJSON(b *testing.B) {
	for _, body := range []struct {
		name string
		make func(int) []byte
	}{{"clean", cleanJSON}, {"dense", denseJSON}} {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/%dKiB", body.name, size>>10), func(b *testing.B) {
				doc, s := body.make(size), New()
				b.SetBytes(int64(len(doc)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.ScanJSON(doc, ijson.Limits{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkStream(b *testing.B) {
	doc, s := cleanJSON(1<<20), New()
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		st := s.NewStream(8 << 10)
		for chunk := range slices.Chunk(doc, 32<<10) {
			_, _ = st.Write(chunk)
		}
		_ = st.Close()
	}
}

func BenchmarkAppendRedacted(b *testing.B) {
	doc, s := denseJSON(64<<10), New()
	r, err := s.ScanJSON(doc, ijson.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		AppendRedacted(nil, doc, r)
	}
}
