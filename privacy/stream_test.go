package privacy

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp"
)

// feed writes text to a new stream, cut into pieces.
func feed(keep int, pieces ...[]byte) *Stream {
	st := New().NewStream(keep)
	for _, p := range pieces {
		if n, err := st.Write(p); n != len(p) || err != nil {
			panic(fmt.Sprint(n, err))
		}
	}
	_ = st.Close()
	return st
}

// TestStreamEverySplit cuts a reply at every position, and so moves every value
// over every border of the window.
func TestStreamEverySplit(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"data: {\"card\":\"4532 0151 1283 0366\"}\n\n", "data: {\"card\":\"[CREDIT_CARD_REDACTED]\"}\n\n"},
		{`{"n":4532015112830366,"x":"\u0034532\u00a00151 1283 0366"}`, `{"n":[CREDIT_CARD_REDACTED],"x":"[CREDIT_CARD_REDACTED]"}`},
		{"ssn 536904399 and 536-90-4399; ann@example.com.", "ssn [SSN_REDACTED] and [SSN_REDACTED]; [EMAIL_REDACTED]."},
		{"Größe ４５３２０１５１１２８３０３６６ 公", "Größe [CREDIT_CARD_REDACTED] 公"},
		{"0.4532015112830366 45320151128303661234 a4532015112830366", "0.4532015112830366 45320151128303661234 a4532015112830366"},
	} {
		for i := range len(c.text) + 1 {
			st := feed(1000, []byte(c.text[:i]), []byte(c.text[i:]))
			if got, cut := st.Kept(); string(got) != c.want || cut {
				t.Fatalf("%q cut at %d: kept %q (cut: %t), want %q", c.text, i, got, cut, c.want)
			}
		}
		for pad := behind + hold + block - len(c.text) - hold - 8; pad < behind+hold+block+8; pad++ {
			if pad > block-len(c.text)+behind+8 && pad < behind+hold+block-len(c.text)-8 {
				continue // far from where the stream is settled and from where it is filled
			}
			before := strings.Repeat("x ", pad/2) + strings.Repeat(".", pad%2)
			st := feed(64<<10, []byte(before+c.text+strings.Repeat(" y", 3*block/2)))
			if got, _ := st.Kept(); !bytes.HasPrefix(got, []byte(before+c.want+" y")) {
				t.Fatalf("%q behind %d bytes: kept %q", c.text, pad, got[pad-10:min(len(got), pad+len(c.text)+20)])
			}
		}
	}
}

// TestStreamCut cuts the kept text at every position.
func TestStreamCut(t *testing.T) {
	const text = "Grüße: pay with 4532 0151 1283 0366 or 45320151128303661234, ann@example.com, 378282246310005 and ann@example.community"
	s := New()
	for keep := range len(text) + 20 {
		got, cut := feed(keep, []byte(text)).Kept()
		if len(got) > keep || !bytes.Equal(got, bytes.ToValidUTF8(got, nil)) {
			t.Errorf("keep %d: kept %d bytes: %q", keep, len(got), got)
		}
		if r := s.ScanText(got); len(r.Findings) > 0 || bytes.Contains(got, []byte("4532 ")) || bytes.Contains(got, []byte("3782")) || bytes.Contains(got, []byte("ann")) {
			t.Errorf("keep %d: kept %q", keep, got)
		}
		if whole := s.RedactText(text); cut != (keep < len(whole)) {
			t.Errorf("keep %d of %d: cut is %t", keep, len(whole), cut)
		}
	}
}

func TestStreamCounts(t *testing.T) {
	const n = 5 * maxStreamFindings
	st := feed(10, []byte(strings.Repeat("536-90-4399, ", n)+"ann@example.com"))
	r := st.Report()
	if st.Count(iatp.SSN) != n || st.Count(iatp.Email) != 1 || st.Count(iatp.CreditCard) != 0 {
		t.Errorf("counted %d, %d, %d", st.Count(iatp.SSN), st.Count(iatp.Email), st.Count(iatp.CreditCard))
	}
	if len(r.Findings) != maxStreamFindings+1 || len(r.Classes()) != 2 {
		t.Errorf("%d findings of %v", len(r.Findings), r.Classes())
	}
	if last := r.Findings[len(r.Findings)-1]; last.Start != 13*n || last.End != 13*n+len("ann@example.com") {
		t.Errorf("the address stands at %d to %d, want %d", last.Start, last.End, 13*n)
	}
	if _, err := st.Write([]byte("x")); err == nil {
		t.Error("a write after Close is taken")
	}
}

// TestStreamOpaque: what was not looked into is named, wherever the windows fall; the
// first hundred such parts.
func TestStreamOpaque(t *testing.T) {
	packed := base64.StdEncoding.EncodeToString([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + strings.Repeat("\x01\x92\xfe\x03zq", 400)))
	for before := 0; before < 2*block; before += 1711 {
		text := strings.Repeat("a ", before/2) + packed + " the end"
		got := feed(0, []byte(text)).Report().Opaque
		if len(got) != 1 || got[0].Reason != OpaqueCompressed || strings.TrimSpace(text[got[0].Start:got[0].End]) != packed {
			t.Errorf("behind %d bytes: %+v", before, got)
		}
	}
	long := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("nothing to see "), 5000))
	got := feed(0, []byte("see "+long+" the end")).Report().Opaque
	if len(got) == 0 || got[0].Reason != OpaqueEncoded || got[0].Start != len("see ") {
		t.Errorf("of %d bytes: %+v", len(long), got)
	}
	if n := len(feed(0, []byte(strings.Repeat(packed+" ", maxOpaque+10))).Report().Opaque); n != maxOpaque {
		t.Errorf("%d parts are named, want %d", n, maxOpaque)
	}
}

func TestStreamBinary(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"text", "Grüße\r\n\t\x1b[1mfett\x1b[0m", false},
		{"characters over borders", strings.Repeat("公", 2*block), false},
		{"nul", "abc\x00def", true},
		{"not UTF-8", "abc\xffdef", true},
		{"half a character at the end", "abc\xe5\x85", true},
		{"UTF-16", "4\x005\x003\x002\x000\x001\x005\x001\x001\x002\x008\x003\x000\x003\x006\x006\x00", true},
		{"nul far behind", strings.Repeat("abc ", block) + "\x00", true},
	} {
		st := feed(1000, []byte(c.text))
		if st.Binary() != c.want {
			t.Errorf("%s: Binary() = %t", c.name, st.Binary())
		}
		if kept, _ := st.Kept(); c.want && len(kept) > 0 {
			t.Errorf("%s: kept %q", c.name, kept)
		}
	}
	if st := feed(0, []byte("4\x005\x003\x002\x000\x001\x005\x001\x001\x002\x008\x003\x000\x003\x006\x006\x00")); st.Count(iatp.CreditCard) != 1 {
		t.Error("the card in UTF-16 is not found")
	}
}

// TestStreamMemory: a stream holds its window, however much passes.
func TestStreamMemory(t *testing.T) {
	st := New().NewStream(100)
	for range 1000 {
		_, _ = st.Write(bytes.Repeat([]byte("4 "), 4<<10))
	}
	if cap(st.window.buf) > 4*(behind+hold+block) || cap(st.kept) > 8*block {
		t.Errorf("window %d bytes, kept %d", cap(st.window.buf), cap(st.kept))
	}
}

// TestStreamLaws: however the text is cut into writes, what is kept is what
// RedactText makes of the whole.
func TestStreamLaws(t *testing.T) {
	s := New()
	rapid.Check(t, func(t *rapid.T) {
		text := strings.ReplaceAll(strings.Repeat("y ", rapid.IntRange(0, 2).Draw(t, "pad")*11_000)+drawText(t), "\x00", "")
		st := s.NewStream(1 << 20)
		for rest := []byte(text); len(rest) > 0; {
			n := min(len(rest), rapid.IntRange(1, len(rest)).Draw(t, "n"))
			_, _ = st.Write(rest[:n])
			rest = rest[n:]
		}
		if got, _ := st.Kept(); string(got) != s.RedactText(text) {
			t.Errorf("kept %q, want %q", got, s.RedactText(text))
		}
	})
}

func FuzzStream(f *testing.F) {
	for _, d := range builtin().all {
		for _, text := range d.hits {
			f.Add([]byte(text), 3, 10)
		}
	}
	s := New()
	f.Fuzz(func(t *testing.T, text []byte, split, keep int) {
		split, keep = min(max(split, 0), len(text)), min(max(keep, 0), 1<<16)
		st := s.NewStream(keep)
		_, _ = st.Write(text[:split])
		_, _ = st.Write(text[split:])
		kept, _ := st.Kept()
		if len(kept) > keep {
			t.Errorf("kept %d bytes of at most %d", len(kept), keep)
		}
		if r := s.ScanText(kept); len(r.Findings) > 0 {
			t.Errorf("%q: left in %q: %+v", text, kept, r.Findings)
		}
		if whole := s.ScanText(text); len(text) < hold && len(whole.Findings) != len(st.Report().Findings) {
			t.Errorf("%q: %d findings, whole %d", text, len(st.Report().Findings), len(whole.Findings))
		}
	})
}
