package privacy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"testing"
)

// cleanJSON returns about size bytes of what agents send each other: text,
// identifiers, times, amounts; nothing sensitive.
func cleanJSON(size int) []byte {
	const item = `{"id":"8e03978e-40d5-43e8-bc93-%012d","task":"book_flight","amount":149.95,"count":3,"urgent":false,` +
		`"created":"2026-11-23T04:05:06.789Z","data":{"destination":"New York","passengers":2,` +
		`"note":"Window seat if there is one, please; otherwise any seat near the front.","tags":["travel","refundable",null]}}`
	return items(size, func(b *bytes.Buffer, i int) { fmt.Fprintf(b, item, i) })
}

// busyJSON is clean too, but each string has to be read to know it: links,
// order numbers, dates, digests, identifiers, text with numbers.
func busyJSON(size int) []byte {
	const item = `{"url":"https://shop.example/orders/%d?page=2&sort=asc","order":"ORD-2026-%06d","date":"2026-11-23","sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",` +
		`"session":"req_01HZX3K7Q8V5N2M4P6R8T0W2Y4","note":"Delivery on 24 November between 10:30 and 12:00, gate 7; the total of 149.95 EUR was paid.","path":"/srv/data/2026/11/23/part-000%d.json"}`
	return items(size, func(b *bytes.Buffer, i int) { fmt.Fprintf(b, item, i, i, i%10) })
}

// denseJSON is full of cards, social security numbers and addresses.
func denseJSON(size int) []byte {
	const item = `{"card":"4532-0151-1283-0366","ssn":"536-90-4399","email":"ann%d@example.com","pan":4532015112830366,"note":"paid with 378282246310005, thanks"}`
	return items(size, func(b *bytes.Buffer, i int) { fmt.Fprintf(b, item, i) })
}

// recordsJSON is what a database of customers answers: values of many kinds among
// what is none.
func recordsJSON(size int) []byte {
	const item = `{"id":%d,"customer":{"name":"Ann Example","email":"ann%d@example.com","phone":"+49 1512 3456789","birthDate":"1980-02-14","address":{"street":"12 High Street","city":"Springfield","zip":"12345"}},` +
		`"payment":{"iban":"DE89370400440532013000","card":"4532 0151 1283 0366","expires":"12/27"},"last_login":{"ip":"203.0.114.7","at":"2026-11-23T04:05:06Z"},"ssn":"536-90-4399","note":"Asked to be called back at 415-555-2671 before noon."}`
	return items(size, func(b *bytes.Buffer, i int) { fmt.Fprintf(b, item, i, i) })
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

var benchBodies = []struct {
	name string
	make func(int) []byte
}{{"clean", cleanJSON}, {"busy", busyJSON}, {"records", recordsJSON}, {"dense", denseJSON}}

// BenchmarkValid is encoding/json on the same bodies, which says how fast the
// machine is at the time.
func BenchmarkValid(b *testing.B) {
	for _, body := range benchBodies {
		b.Run(body.name, func(b *testing.B) {
			doc := body.make(64 << 10)
			perCore(b, len(doc), func() {
				if !json.Valid(doc) {
					b.Fatal("not valid")
				}
			})
		})
	}
}

func BenchmarkScanJSON(b *testing.B) {
	for _, body := range benchBodies {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/%dKiB", body.name, size>>10), func(b *testing.B) {
				doc, s := body.make(size), New()
				perCore(b, len(doc), func() {
					r, err := s.ScanJSON(doc, Limits{})
					if err != nil {
						b.Fatal(err)
					}
					r.Release()
				})
			})
		}
	}
}

// BenchmarkScanCanonical is what every body of a call goes through.
func BenchmarkScanCanonical(b *testing.B) {
	for _, body := range benchBodies {
		b.Run(body.name, func(b *testing.B) {
			doc, s := body.make(1<<10), New()
			var form []byte
			perCore(b, len(doc), func() {
				var err error
				if _, form, _, err = s.ScanCanonical(form[:0], doc, Limits{}, 64<<10, 64); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkStream(b *testing.B) {
	doc, s := cleanJSON(1<<20), New()
	perCore(b, len(doc), func() {
		st := s.NewStream(8 << 10)
		for chunk := range slices.Chunk(doc, 32<<10) {
			_, _ = st.Write(chunk)
		}
		_ = st.Close()
	})
}

func BenchmarkRedactor(b *testing.B) {
	for _, c := range []struct {
		name   string
		format Format
		doc    []byte
	}{
		{"JSON/clean", FormatJSON, cleanJSON(1 << 20)},
		{"JSON/dense", FormatJSON, denseJSON(1 << 20)},
		{"events/clean", FormatEvents, bytes.ReplaceAll(cleanJSON(1<<20), []byte(`,{"id"`), []byte("\n\ndata: {\"id\""))},
		{"text/clean", FormatText, cleanJSON(1 << 20)},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := New()
			perCore(b, len(c.doc), func() {
				r := s.NewRedactor(io.Discard, c.format, nil)
				for chunk := range slices.Chunk(c.doc, 32<<10) {
					_, _ = r.Write(chunk)
				}
				_ = r.Close()
			})
		})
	}
}

func BenchmarkAppendRedacted(b *testing.B) {
	doc, s := denseJSON(64<<10), New()
	r, err := s.ScanJSON(doc, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	var out []byte
	perCore(b, len(doc), func() { out = AppendRedacted(out[:0], doc, r) })
}
