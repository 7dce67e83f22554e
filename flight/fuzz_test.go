package flight

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	iatp "github.com/inter-agent-trust/iatp"
)

func hashOf(line []byte) tlog.Hash { return tlog.RecordHash(line) }

// FuzzParseRecord holds the quick readers to the strict parser.
func FuzzParseRecord(f *testing.F) {
	for _, line := range lines(f, written(f, 3, Options{})) {
		f.Add(line)
	}
	f.Add([]byte(`{"r":"AAAAAAAAAAAAAAAAAAAAAA","seq":0,"timestamp":"2026-01-01T00:00:00.000Z","type":"key"}`))
	f.Add([]byte(`{"payload":{"a":1,"trace_id":"x"},"r":"AAAAAAAAAAAAAAAAAAAAAA","seq":7,"timestamp":"2026-01-01T00:00:00.000Z","type":"key"}`))
	f.Add([]byte("{}"))
	f.Add([]byte("\x00\x00"))
	f.Fuzz(func(t *testing.T, line []byte) {
		rec, err := ParseRecord(line)
		if err != nil {
			return
		}
		var v struct {
			Seq     int64  `json:"seq"`
			Type    Type   `json:"type"`
			TraceID string `json:"trace_id"`
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("ParseRecord accepts %q, encoding/json says %v", line, err)
		}
		if v.Seq != rec.Seq || v.Type != rec.Type || v.TraceID != string(rec.TraceID) || bytes.ContainsAny(line, "\n\r") {
			t.Fatalf("ParseRecord(%q) = %+v", line, rec)
		}
	})
}

// FuzzAppend: whatever Append accepts, ParseRecord reads. The payload stands
// under as many objects and arrays as nest says.
func FuzzAppend(f *testing.F) {
	for _, e := range []*Entry{fullEntry(), hugeEntry()} {
		f.Add([]byte(e.Payload), []byte(e.Text), string(e.TraceID), uint16(0))
	}
	for _, depth := range []uint16{125, 126, 127, 128, 129, 1000} {
		f.Add([]byte(`{"b":[1e3,-0,"\u00e9\ud83d\ude00"],"a":null}`), []byte(nil), "", depth)
	}
	f.Add([]byte(`{"a":1,"a":2}`), []byte(nil), "", uint16(1))
	f.Add([]byte(`[1e999]`), []byte(nil), "\xff\x00", uint16(1))
	f.Add([]byte(nil), []byte("\xc0\n\u2028\x7f"), "/\"", uint16(0))
	var keys storeKey
	var c encoder
	f.Fuzz(func(t *testing.T, payload, text []byte, trace string, nest uint16) {
		open, end := "[", "]"
		if nest%2 == 1 {
			open, end = `{"a":`, "}"
		}
		if n := int(nest % 1024); n > 0 {
			payload = []byte(deep(n, open, string(payload), end))
		}
		e := Entry{Type: Request, TraceID: iatp.TraceID(trace), Path: trace, Payload: payload, Text: text}
		if _, err := iatp.ParseTraceID(trace); err != nil && trace != "" {
			if c.encode(&e, &keys, time.Now()) == nil {
				t.Fatalf("%q is taken for a trace id", trace)
			}
			return
		}
		if err := c.encode(&e, &keys, time.Now()); err != nil {
			t.Fatal(err)
		}
		line := c.appendLine(nil, 42)
		if rec, err := ParseRecord(line); err != nil || rec.Seq != 42 || string(rec.TraceID) != trace {
			t.Fatalf("payload %q, text %q come out as %q: %v", payload, text, line, err)
		}
	})
}

// FuzzParseProof: what is accepted comes out as it went in.
func FuzzParseProof(f *testing.F) {
	data, err := os.ReadFile("testdata/vector.json")
	if err != nil {
		f.Fatal(err)
	}
	var v struct {
		VKey  string `json:"vkey"`
		Proof string `json:"proof_of_line_1"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(v.Proof))
	f.Add([]byte(proofHeader + "\nindex 0\n\nx"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseProof(text)
		if err == nil && !bytes.Equal(p.Text(), text) {
			t.Fatalf("%q comes out as %q", text, p.Text())
		}
		if c, err := ParseCheckpoint(text, v.VKey); err == nil && !bytes.Contains([]byte(v.Proof), c.Text) {
			t.Fatalf("ParseCheckpoint accepts %q", text)
		}
	})
}

// FuzzDecodeIndex: a damaged index is refused, never followed out of bounds.
func FuzzDecodeIndex(f *testing.F) {
	f.Add(encodeIndex(nil))
	f.Add(encodeIndex([]indexEntry{newIndexEntry(7, 9), newIndexEntry(1, 2)}))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := decodeIndex(data)
		if err == nil && len(encodeIndex(entries)) != len(data) {
			t.Fatalf("%d entries out of %d bytes", len(entries), len(data))
		}
	})
}

// FuzzParseConsistency: what is accepted comes out as it went in.
func FuzzParseConsistency(f *testing.F) {
	c := Consistency{Old: 3, Hashes: []tlog.Hash{{1}, {2}}, Checkpoint: []byte("log\n5\nx\n\n\u2014 log y\n")}
	f.Add(c.Text())
	f.Add([]byte("old 0\n\nx"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseConsistency(text)
		if err == nil && !bytes.Equal(p.Text(), text) {
			t.Fatalf("%q comes out as %q", text, p.Text())
		}
	})
}
