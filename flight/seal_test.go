package flight

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
)

// What is sealed in a line opens with the store key, and is nowhere to be read
// without it.
func TestSealed(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	receipt, signed := "eyJ."+strings.Repeat("r", 900)+".sig", []byte("\"@method\": POST\n"+strings.Repeat("s", 2000))
	base := iatp.DigestOf(signed)
	big := bytes.Repeat([]byte("p"), MaxPayload)
	mustAppend(t, l, &Entry{Type: Response, TraceID: "t", Receipt: receipt, Signed: signed, Text: big}, Written)
	mustAppend(t, l, &Entry{Type: Request, TraceID: "t", Base: base, Signed: signed, Action: base}, Written)
	mustAppend(t, l, &Entry{Type: Response, TraceID: "t"}, Written)
	if _, err := l.Append(&Entry{Type: Response, Receipt: strings.Repeat("x", MaxSealed+1)}, Written); err == nil || l.Err() != nil {
		t.Errorf("too much to seal: %v, the log says %v", err, l.Err())
	}
	mustClose(t, l)
	all := lines(t, dir)
	a, err := OpenArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{receipt, string(signed)} {
		got, err := a.Unseal(all[i])
		if err != nil || string(got) != want {
			t.Errorf("record %d: %q, %v", i, got, err)
		}
	}
	if _, err := a.Unseal(all[2]); !errors.Is(err, ErrNotSealed) {
		t.Errorf("a line without: %v", err)
	}
	for _, want := range []string{`"receipt":"` + iatp.DigestOf([]byte(receipt)).Base64URL() + `"`, `"truncated":true`} {
		if !bytes.Contains(all[0], []byte(want)) {
			t.Errorf("%s is not in the line", want)
		}
	}
	for _, want := range []string{`"action":"` + base.Base64URL() + `"`, `"base":"` + base.Base64URL() + `"`} {
		if !bytes.Contains(all[1], []byte(want)) {
			t.Errorf("%s is not in the line", want)
		}
	}
	if bytes.Contains(all[0], []byte("rrrrrr")) || bytes.Contains(all[1], []byte("ssssss")) {
		t.Error("what is sealed can be read in the line")
	}
	// No byte of the line can be another one.
	for i := range all[0] {
		line := bytes.Clone(all[0])
		line[i] ^= 1
		if got, err := a.Unseal(line); err == nil && string(got) != receipt {
			t.Fatalf("byte %d flipped: %q", i, got)
		}
	}
	// Neither does another log's key open it.
	key := filepath.Join(dir, storeKeyFile)
	if err := os.WriteFile(key, []byte(strings.Repeat("00", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Unseal(all[0]); err == nil {
		t.Error("another store key opens it")
	}
}

// FuzzUnseal: a line of a stranger opens to nothing that its members do not name.
func FuzzUnseal(f *testing.F) {
	var key storeKey
	c := new(encoder)
	for _, e := range []*Entry{{Type: Response, Receipt: "a.b.c"}, {Type: Request, Signed: []byte("x")}} {
		if err := c.encode(e, &key, time.Unix(0, 0)); err != nil {
			f.Fatal(err)
		}
		f.Add(c.appendLine(nil, 7))
	}
	f.Add([]byte(`{"r":"AAAAAAAAAAAAAAAAAAAAAA","sealed":"AAAA"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		text, err := key.unseal(line)
		if err == nil && len(text) > len(line) {
			t.Fatalf("%q opens to %q", line, text)
		}
	})
}
