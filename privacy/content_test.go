package privacy

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// encode applies a content coding.
func encode(t *testing.T, coding string, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	case "raw deflate":
		w, err = flate.NewWriter(&out, flate.BestCompression)
	case "br":
		w = brotli.NewWriter(&out)
	case "zstd":
		w, err = zstd.NewWriter(&out)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDecode(t *testing.T) {
	body := []byte(`{"card":"` + card + `"}`)
	for _, c := range []struct {
		codings string
		applied []string
	}{
		{"", nil}, {"identity", nil}, {"gzip", []string{"gzip"}}, {"X-GZIP", []string{"gzip"}}, {"deflate", []string{"deflate"}}, {"deflate", []string{"raw deflate"}},
		{"br", []string{"br"}}, {"zstd", []string{"zstd"}}, {"gzip, br", []string{"gzip", "br"}}, {"zstd,gzip", []string{"zstd", "gzip"}},
	} {
		encoded := body
		for _, coding := range c.applied {
			encoded = encode(t, coding, encoded)
		}
		got, err := Decode(encoded, c.codings, 1<<10)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%q: %q, %v", c.codings, got, err)
		}
		if len(c.applied) == 0 {
			continue
		}
		for i := range encoded {
			if got, err := Decode(encoded[:i], c.codings, 1<<10); err == nil {
				t.Errorf("%q cut at %d of %d: %q and no error", c.codings, i, len(encoded), got)
			}
		}
		if _, err := Decode(append(encoded, body...), c.codings, 1<<10); err == nil {
			t.Errorf("%q: what follows is not noticed", c.codings)
		}
	}
}

// TestDecodeRefuses: what cannot be looked into in bounded memory is an error
// that says so.
func TestDecodeRefuses(t *testing.T) {
	zeros := make([]byte, 4<<20)
	nothing := bytes.Repeat(encode(t, "gzip", nil), 1<<17) // 3 MB of members that hold nothing
	for _, c := range []struct {
		name, codings string
		body          []byte
		limit         int64
		want          Reason
	}{
		{"not known", "compress", []byte("x"), 10, OpaqueEncoding},
		{"three", "gzip, gzip, gzip", nil, 10, OpaqueEncoding},
		{"not gzip", "gzip", []byte("plain text"), 10, OpaqueEncoding},
		{"not br", "br", []byte("plain text that is no brotli"), 10, OpaqueEncoding},
		{"not zstd", "zstd", []byte("plain text"), 10, OpaqueEncoding},
		{"too much", "gzip", encode(t, "gzip", []byte(strings.Repeat("text ", 100))), 100, OpaqueSize},
		{"a bomb of gzip", "gzip", encode(t, "gzip", zeros), 1 << 30, OpaqueSize},
		{"a bomb of br", "br", encode(t, "br", zeros), 1 << 30, OpaqueSize},
		{"a bomb of zstd", "zstd", encode(t, "zstd", zeros), 1 << 30, OpaqueSize},
		{"nothing, many times", "gzip", nothing, 1 << 30, OpaqueSize},
		{"nothing, many times, in little", "gzip, zstd", encode(t, "zstd", nothing), 1 << 30, OpaqueSize},
		{"nothing, many times, behind something", "gzip, br", encode(t, "br", append(encode(t, "gzip", []byte("text")), nothing...)), 1 << 30, OpaqueSize},
		{"much between two codings", "gzip, zstd", encode(t, "zstd", gzipWithout(t, bytes.Repeat([]byte("text"), 1<<16))), 100 << 10, OpaqueSize},
		{"a bomb in a bomb", "gzip, gzip", encode(t, "gzip", encode(t, "gzip", zeros)), 1 << 30, OpaqueSize},
	} {
		got, err := Decode(c.body, c.codings, c.limit)
		var opaque *OpaqueError
		if !errors.As(err, &opaque) || opaque.Reason != c.want {
			t.Errorf("%s: %d bytes, %v; want an OpaqueError: %s", c.name, len(got), err, c.want)
		}
	}
	broken := errors.New("connection reset")
	r, err := NewDecoder(io.MultiReader(bytes.NewReader(encode(t, "gzip", []byte("text"))[:15]), &failing{broken}), "gzip", 100)
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if !errors.Is(err, broken) {
		t.Errorf("the error of the body below becomes %v", err)
	}
}

// gzipWithout returns a gzip member that is not compressed.
func gzipWithout(t *testing.T, body []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(body)
	_ = w.Close()
	return out.Bytes()
}

// TestDecodeWork: what passes between two codings is bounded by what was sent,
// and by what comes of it in the end.
func TestDecodeWork(t *testing.T) {
	empty, small := encode(t, "gzip", nil), encode(t, "gzip", []byte("text"))
	for name, member := range map[string][]byte{"nothing": empty, "little": small} {
		for _, times := range []int{1 << 12, 1 << 14, 1 << 16, 1 << 18} {
			body := encode(t, "zstd", bytes.Repeat(member, times))
			r, err := NewDecoder(bytes.NewReader(body), "gzip, zstd", 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			d := r.(*decoded)
			between := d.given - int64(len(got))
			if most := int64(max(freeRatio, len(body)*maxRatio) + maxRead); between > most || between > int64(maxWaste+maxShrink*len(got)+maxRead) {
				t.Errorf("%s %d times: %d bytes become %d and then %d, %v", name, times, len(body), between, len(got), err)
			}
		}
	}
}

// maxRead is how much a layer may be given at once.
const maxRead = 128 << 10

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzDecode(f *testing.F) {
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		var t testing.T
		f.Add(encode(&t, coding, []byte("some text, some text")), coding)
	}
	f.Fuzz(func(t *testing.T, body []byte, codings string) {
		const limit = 64 << 10
		if got, err := Decode(body, codings, limit); err == nil && len(got) > limit && codings != "" && len(got) != len(body) {
			t.Errorf("%d bytes from %d", len(got), len(body))
		}
	})
}
