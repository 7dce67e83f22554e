package ijson

import (
	"bytes"
	"fmt"
	"testing"
)

// sample returns about size bytes of the JSON that agents send each other: a task
// with some text, numbers and nesting.
func sample(size int) []byte {
	const item = `{"id":"8e03978e-40d5-43e8-bc93-%012d","task":"book_flight","amount":149.95,"count":3,"urgent":false,` +
		`"data":{"destination":"New York","date":"2027-02-15","note":"Window seat if there is one, please; otherwise any seat near the front.","tags":["travel","refundable",null]}}`
	var b bytes.Buffer
	b.WriteString(`{"items":[`)
	for i := 0; i == 0 || b.Len()+len(item) < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, item, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func BenchmarkCheck(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			doc := sample(size)
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Check(doc, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("text", func(b *testing.B) {
		doc := append(AppendString(nil, bytes.Repeat([]byte("Grüße aus Köln, 東京 and Москва. "), 2000)), '\n')
		b.SetBytes(int64(len(doc)))
		b.ReportAllocs()
		for b.Loop() {
			if err := Check(doc, Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("manyMembers", func(b *testing.B) {
		doc := members(10_000)
		b.SetBytes(int64(len(doc)))
		b.ReportAllocs()
		for b.Loop() {
			if err := Check(doc, Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// members returns an object of n members.
func members(n int) []byte {
	b := []byte{'{'}
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `"m%d":%d`, i, i)
	}
	return append(b, '}')
}

// record is a line of the flight recorder with its members out of order.
const record = `{"type":"request","trace_id":"e4b5c6d7-8a9b-4c1d-8e3f-4a5b6c7d8e9f","timestamp":"2026-01-23T12:34:56.123456Z",` +
	`"payload":{"task":"book","data":{"destination":"NYC","amount":12.5}},"seq":41,"dir":"out","agent_id":"honeypot","decision":"ask","score":0,` +
	`"reasons":["low_trust","no_reversibility"],"commit":"u0ZJ8Yb1xqL3mYhZ3M7Qw2ZgXyT1m7Qw2ZgpS3kq0V9","r":"pS3kq0V9c2fXyT1m7Qw2Zg"}`

func BenchmarkAppendCanonical(b *testing.B) {
	for _, doc := range [][]byte{[]byte(record), sample(64 << 10)} {
		b.Run(fmt.Sprintf("%dB", len(doc)), func(b *testing.B) {
			var dst []byte
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if dst, err = AppendCanonical(dst[:0], doc, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
