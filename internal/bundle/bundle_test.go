package bundle_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/internal/bundle"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// parties are two sidecars that have made one call.
type parties struct {
	a, b   *iatptest.Node
	pa, pb *iatptest.Party
	trace  iatp.TraceID
}

func call(t testing.TB) *parties { return callUnder(t, "off") }

// callUnder makes the call under an agreement, if there is to be one.
func callUnder(t testing.TB, agreement string) *parties {
	t.Helper()
	p := &parties{pa: iatptest.NewParty(t), pb: iatptest.NewParty(t)}
	p.b = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		p.pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": p.pa.AsPeer("trusted")}
	}})
	p.a = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		p.pa.Listen(c)
		b := p.pb.AsPeer("verified_partner")
		b.Agreement = agreement
		c.Peers = map[string]sidecar.Peer{"b": b}
	}})
	r := p.a.Do(t, "POST", "/proxy/b", strings.NewReader(`{"task":"book","data":{"destination":"NYC"}}`), nil)
	if r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	p.trace = iatp.TraceID(r.Header.Get("X-Agent-Trace-Id"))
	return p
}

// build makes a bundle, as soon as the log has signed.
func build(t testing.TB, n *iatptest.Node, id iatp.TraceID, o bundle.Options) []byte {
	t.Helper()
	return buildFrom(t, n.Data, id, o)
}

func buildFrom(t testing.TB, dir string, id iatp.TraceID, o bundle.Options) []byte {
	t.Helper()
	for range 1000 { // as slow as a machine may be
		data, err := bundle.Build(dir, id, o)
		if err == nil {
			return data
		}
		if !strings.Contains(err.Error(), flight.ErrNotSigned.Error()) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the log does not sign")
	return nil
}

// trust is what somebody knows who has got all keys from their owners.
func (p *parties) trust(t testing.TB, logs ...*iatptest.Node) *bundle.Keys {
	t.Helper()
	text := fmt.Sprintf("# whom I know\n\nagent %s %s\nagent %s %s\n", p.pa.URL, p.pa.Key.Public(), p.pb.URL, p.pb.Key.Public())
	for _, n := range logs {
		vkey, err := os.ReadFile(filepath.Join(n.Data, "log.vkey"))
		if err != nil {
			t.Fatal(err)
		}
		text += "log " + string(vkey)
	}
	keys, err := bundle.ParseKeys([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func verify(data []byte, keys *bundle.Keys) *bundle.Report {
	b, err := bundle.Parse(data)
	if err != nil {
		return &bundle.Report{Steps: []bundle.Step{{Status: bundle.Failed, Text: err.Error()}}}
	}
	return b.Verify(keys)
}

func texts(r *bundle.Report) string {
	var lines []string
	for _, s := range r.Steps {
		lines = append(lines, string(s.Status)+" "+s.Text)
	}
	return strings.Join(lines, "\n")
}

// number is that of a record: looks at the other's log come when they come.
var number = regexp.MustCompile(`\brecord \d+`)

// Either side's bundle holds the whole chain, and is the same each time.
func TestBundle(t *testing.T) {
	p := call(t)
	for _, test := range []struct {
		name    string
		n       *iatptest.Node
		o       bundle.Options
		records int
		says    []string
	}{
		{"caller", p.a, bundle.Options{}, 3, []string{
			"ok record N (response", "ok the manifest of " + p.pb.URL, "whose log this is, is signed by it",
			"is signed by " + p.pb.URL + ", for " + p.pa.URL + ": executed, answer 200", "ok record N names this receipt",
			"ok it is about the request of record N: both name the same signature base", "ok the manifest that it names by digest is",
		}},
		{"callee", p.b, bundle.Options{Requests: true}, 2, []string{
			"ok record N (request", "ok record N names this receipt", "ok it is about the request of record N",
			"ok the request of record N is signed by " + p.pa.URL,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := build(t, test.n, p.trace, test.o)
			if again := build(t, test.n, p.trace, test.o); !bytes.Equal(again, data) {
				t.Error("the second bundle has other bytes")
			}
			r := verify(data, p.trust(t, test.n))
			if !r.Valid || !r.Trusted || r.Records != test.records || r.TraceID != p.trace {
				t.Errorf("%+v\n%s", r, texts(r))
			}
			for _, want := range test.says {
				if !strings.Contains(number.ReplaceAllString(texts(r), "record N"), want) {
					t.Errorf("no %q in\n%s", want, texts(r))
				}
			}
			if strings.Contains(texts(r), string(bundle.Remark)+" ") {
				t.Errorf("remarks:\n%s", texts(r))
			}
			if r := verify(data, nil); !r.Valid || r.Trusted {
				t.Errorf("under its own keys: %+v\n%s", r, texts(r))
			}
			if r := verify(data, p.trust(t)); r.Valid || !strings.Contains(texts(r), "you do not trust: log ") {
				t.Errorf("without the key of the log: %+v\n%s", r, texts(r))
			}
			if r := verify(data, new(bundle.Keys)); r.Valid {
				t.Error("valid for somebody who trusts nobody")
			}
		})
	}
	if _, err := bundle.Build(p.a.Data, "no-such-trace", bundle.Options{}); err != bundle.ErrNoTrace {
		t.Errorf("unknown trace: %v", err)
	}
}

// An agreement that the call was made under is there, and both have signed it.
func TestBundleWithAgreement(t *testing.T) {
	p := callUnder(t, "require")
	for _, n := range []*iatptest.Node{p.a, p.b} {
		data, keys := build(t, n, p.trace, bundle.Options{}), p.trust(t, n)
		r := verify(data, keys)
		for _, want := range []string{"ok both sides have signed the agreement ", "ok the agreement that it names by id is "} {
			if !r.Valid || !strings.Contains(texts(r), want) {
				t.Errorf("no %q in\n%s", want, texts(r))
			}
		}
		files := unpack(t, data)
		for name, text := range files {
			if !strings.HasPrefix(name, "agreements/") {
				continue
			}
			for i := range text {
				if r := verify(repack(files, name, text[:i]+string([]byte{text[i] ^ 1})+text[i+1:]), keys); r.Valid {
					t.Fatalf("byte %d of the agreement, %q, changed: valid\n%s", i, text[i], texts(r))
				}
			}
		}
	}
}

// What hardening 29 forbids is not in a bundle unless it was asked for: nothing but
// receipts and requests holds a digest of a body.
func TestBundleHidesBodies(t *testing.T) {
	p := call(t)
	sums := []string{iatp.DigestOf([]byte(`{"task":"book","data":{"destination":"NYC"}}`)).ContentDigest()}
	for _, n := range []*iatptest.Node{p.a, p.b} {
		for name, text := range unpack(t, build(t, n, p.trace, bundle.Options{})) {
			for _, sum := range sums {
				if strings.Contains(text, sum) {
					t.Errorf("%s holds the digest of the request", name)
				}
			}
			if strings.HasPrefix(name, "requests/") {
				t.Errorf("%s is there though nobody asked for it", name)
			}
		}
	}
}

// unpack reads a bundle with the library's zip reader.
func unpack(t testing.TB, data []byte) map[string]string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(text)
	}
	return files
}

// No byte of a bundle can be another one.
func TestFlipAnyByteOfABundle(t *testing.T) {
	p := call(t)
	for _, n := range []*iatptest.Node{p.a, p.b} {
		data, keys := build(t, n, p.trace, bundle.Options{Requests: true}), p.trust(t, n)
		step := 1
		if testing.Short() {
			step = 17
		}
		for i := 0; i < len(data); i += step {
			for _, bit := range []byte{1, 0x20}[:1+(i/7)%2] {
				changed := bytes.Clone(data)
				changed[i] ^= bit
				if r := verify(changed, keys); r.Valid {
					t.Fatalf("byte %d of %d changed from %q to %q: valid\n%s", i, len(data), data[i], changed[i], texts(r))
				}
			}
		}
	}
}

// A bundle whose container was made anew, around contents that were changed, is
// not valid: each content is tied to a signature.
func TestChangeAnyFileOfABundle(t *testing.T) {
	p := call(t)
	for _, n := range []*iatptest.Node{p.a, p.b} {
		keys := p.trust(t, n)
		files := unpack(t, build(t, n, p.trace, bundle.Options{Requests: true}))
		for name, text := range files {
			for i := len(name) % 5; i < len(text); i += 5 {
				for _, bit := range []byte{1, 0x20} {
					if r := verify(repack(files, name, text[:i]+string([]byte{text[i] ^ bit})+text[i+1:]), keys); r.Valid {
						t.Fatalf("%s: byte %d, %q, changed: valid\n%s", name, i, text[i], texts(r))
					}
				}
			}
			for _, other := range []string{text + " ", text + "\n", text + text} {
				if r := verify(repack(files, name, other), keys); r.Valid {
					t.Errorf("%s with %q more or less: valid\n%s", name, other, texts(r))
				}
			}
		}
	}
}

// repack makes a bundle of files, one of them changed; without text it is left out.
func repack(files map[string]string, name, text string) []byte {
	out := map[string][]byte{}
	for n, t := range files {
		out[n] = []byte(t)
	}
	delete(out, name)
	if text != "" {
		out[name] = []byte(text)
	}
	return bundle.Zip(out)
}

// What is taken away is missed, but for what nothing in the bundle names.
func TestRemoveAnyFileOfABundle(t *testing.T) {
	p := call(t)
	files := unpack(t, build(t, p.a, p.trace, bundle.Options{}))
	whole := texts(verify(repack(files, "", ""), p.trust(t, p.a)))
	for name := range files {
		r := verify(repack(files, name, ""), p.trust(t, p.a))
		if r.Valid && !strings.HasPrefix(name, "manifests/") && !strings.HasPrefix(name, "records/") && !strings.HasPrefix(name, "proofs/") {
			t.Errorf("without %s: valid\n%s", name, texts(r))
		}
		if texts(r) == whole {
			t.Errorf("without %s the report is the same", name)
		}
	}
}

// Evidence of somebody else does not fit: a receipt, a record, a proof or a manifest
// of another call, under keys that are all trusted.
func TestForeignFileInABundle(t *testing.T) {
	p := call(t)
	r := p.a.Do(t, "POST", "/proxy/b", strings.NewReader(`{"task":"other"}`), nil)
	other := unpack(t, build(t, p.a, iatp.TraceID(r.Header.Get("X-Agent-Trace-Id")), bundle.Options{}))
	files := unpack(t, build(t, p.a, p.trace, bundle.Options{}))
	added := 0
	for name, text := range other {
		if _, have := files[name]; have {
			continue
		}
		added++
		if got := verify(repack(files, name, text), p.trust(t, p.a)); got.Valid {
			t.Errorf("with %s of another call: valid\n%s", name, texts(got))
		}
	}
	if added < 3 {
		t.Errorf("only %d files differ between two calls", added)
	}
}

// A container that another program packed is refused, with whatever trick.
func TestOtherContainers(t *testing.T) {
	p := call(t)
	good := build(t, p.a, p.trace, bundle.Options{})
	files := unpack(t, good)
	packed := func(change func(w *zip.Writer)) []byte {
		var out bytes.Buffer
		w := zip.NewWriter(&out)
		for name, text := range files {
			f, _ := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
			_, _ = io.WriteString(f, text)
		}
		change(w)
		w.Close()
		return out.Bytes()
	}
	add := func(name, text string) []byte {
		return packed(func(w *zip.Writer) { f, _ := w.Create(name); _, _ = io.WriteString(f, text) })
	}
	for name, data := range map[string][]byte{
		"nothing":           nil,
		"text":              []byte("hello"),
		"packed by another": packed(func(*zip.Writer) {}),
		"a comment":         packed(func(w *zip.Writer) { _ = w.SetComment("x") }),
		"a path outside":    add("../../etc/passwd", "x"),
		"an absolute path":  add("/etc/passwd", "x"),
		"a folder":          add("records/", ""),
		"a name twice":      add("keys.txt", "x"),
		"a bomb":            add("requests/"+strings.Repeat("A", 43)+".txt", strings.Repeat("\x00", 20<<20)),
		"a long prefix":     append([]byte("#!/bin/sh\nexit\n"), good...),
		"more at its end":   append(bytes.Clone(good), "PK"...),
		"two archives":      append(bytes.Clone(good), good...),
		"a cut one":         good[:len(good)-1],
	} {
		if r := verify(data, nil); r.Valid {
			t.Errorf("%s: valid\n%s", name, texts(r))
		}
	}
	many := map[string][]byte{}
	for i := range 9000 {
		many[fmt.Sprintf("records/%020d.json", i)] = []byte("{}")
	}
	if _, err := bundle.Parse(bundle.Zip(many)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("9000 files: %v", err)
	}
	if _, err := bundle.Parse(bundle.Zip(map[string][]byte{"keys.txt": make([]byte, 1<<20)})); err == nil {
		t.Error("a file of a megabyte is accepted")
	}
}

// Many names for the same bytes are refused without being unpacked: a small archive
// must not cost a reader gigabytes.
func TestBundleOfManyNamesForOneFile(t *testing.T) {
	const count = 4096
	file := func(i int) string { return fmt.Sprintf("records/%020d.json", i) }
	files := map[string][]byte{}
	for i := range count {
		files[file(i)] = nil
	}
	empty := bundle.Zip(files)
	one := bundle.Zip(map[string][]byte{file(0): make([]byte, 128<<10)})
	local := one[:bytes.Index(one, []byte("PK\x01\x02"))]
	archive := bytes.Clone(local)
	directory := bytes.Clone(empty[bytes.Index(empty, []byte("PK\x01\x02")):])
	end := len(directory) - 22
	for entry := directory[:end]; len(entry) > 0; entry = entry[46+len(file(0)):] {
		copy(entry[16:28], local[14:26])               // checksum and sizes are those of the one file
		binary.LittleEndian.PutUint32(entry[42:46], 0) // and so is the place
	}
	binary.LittleEndian.PutUint32(directory[end+16:], uint32(len(local)))
	archive = append(archive, directory...)
	if r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive))); err != nil || len(r.File) != count {
		t.Fatalf("the library reads something else: %v", err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := bundle.Parse(archive)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Error("accepted")
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
		t.Errorf("an archive of %d KiB took %d MiB", len(archive)>>10, took>>20)
	}
}

func TestParseKeys(t *testing.T) {
	for _, bad := range []string{"log x", "agent https://a.example ed25519:x", "agent https://a.example", "key x", "log a+b+c d", "log PRIVATE+KEY+a+00000000+AA=="} {
		if _, err := bundle.ParseKeys([]byte("# one\n" + bad)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzParse: what is accepted comes out as it went in, and is never valid for
// somebody who trusts nobody.
func FuzzParse(f *testing.F) {
	p := call(f)
	data := build(f, p.a, p.trace, bundle.Options{})
	f.Add(data)
	f.Add(bundle.Zip(map[string][]byte{"keys.txt": nil}))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := bundle.Parse(data)
		if err != nil {
			return
		}
		if r := b.Verify(new(bundle.Keys)); r.Valid {
			t.Fatalf("valid without any trust:\n%s", texts(r))
		}
		if _, err := json.Marshal(b.Verify(nil)); err != nil {
			t.Fatal(err)
		}
	})
}
