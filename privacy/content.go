package privacy

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// Bounds of undoing content codings. The window is that of RFC 9659.
const (
	maxCodings = 2
	maxRatio   = 200       // of decoded to encoded bytes, those between two codings too
	freeRatio  = 1 << 20   // decoded bytes from which on the ratio counts
	maxWaste   = 256 << 10 // encoded bytes of which nothing may come
	maxShrink  = 16        // of encoded to decoded bytes, beyond those
	zstdWindow = 8 << 20
)

// An OpaqueError says that a body cannot be decoded, and so not looked into.
type OpaqueError struct {
	Reason Reason // OpaqueEncoding or OpaqueSize
	err    error
}

func (e *OpaqueError) Error() string { return "privacy: " + e.err.Error() }
func (e *OpaqueError) Unwrap() error { return e.err }

// NewDecoder returns a reader of what r holds without its content codings (RFC
// 9110, section 8.4): gzip, deflate, br and zstd, at most two of them, as the
// Content-Encoding header lists them. Reading more than limit bytes, or more than
// 200 times as much as is read from r, is an *OpaqueError, and so is a coding
// that is not known, is not what it says, or goes on where nothing comes of it.
// What one coding gives to the next counts as well. Other errors are those of r.
func NewDecoder(r io.Reader, codings string, limit int64) (io.Reader, error) {
	var names []string
	for name := range strings.SplitSeq(codings, ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" && name != "identity" {
			names = append(names, name)
		}
	}
	if len(names) > maxCodings {
		return nil, &OpaqueError{OpaqueEncoding, fmt.Errorf("%d content codings, at most %d are undone", len(names), maxCodings)}
	}
	if len(names) == 0 {
		return r, nil
	}
	d := &decoded{limit: limit}
	d.in = counter{r: r, of: d}
	below := &d.in
	for i := len(names) - 1; i >= 0; i-- { // the last one was applied last
		out := &counter{of: d}
		below.taker = out
		l, err := undo(names[i], below)
		if err != nil {
			return nil, d.blame(err)
		}
		out.r, below = l, out
	}
	d.r = below
	return d, nil
}

// Decode undoes the content codings of a whole body: see NewDecoder.
func Decode(body []byte, codings string, limit int64) ([]byte, error) {
	r, err := NewDecoder(bytes.NewReader(body), codings, limit)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// undo undoes one coding.
func undo(name string, r io.Reader) (*layer, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(2)
	if err != nil {
		return nil, err
	}
	l := &layer{in: in}
	switch name {
	case "gzip", "x-gzip":
		l.out, err = gzip.NewReader(in)
	case "deflate":
		// RFC 9110 means the zlib format; many send deflate alone.
		if head[0]&15 == 8 && (int(head[0])<<8+int(head[1]))%31 == 0 {
			l.out, err = zlib.NewReader(in)
		} else {
			l.out = flate.NewReader(in)
		}
	case "br":
		l.out = brotli.NewReader(in)
	case "zstd":
		var d *zstd.Decoder
		d, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		l.out = d
	default:
		err = &OpaqueError{OpaqueEncoding, fmt.Errorf("content coding %q is not known", name)}
	}
	return l, err
}

// A layer undoes one coding. Its end is the end of what it reads: what stands
// behind was not looked into, and what is missing there may be a check sum.
type layer struct {
	in  *bufio.Reader
	out io.Reader
}

var errMore = errors.New("more follows behind the encoded body")

func (l *layer) Read(p []byte) (int, error) {
	n, err := l.out.Read(p)
	if err != io.EOF {
		return n, err
	}
	if _, below := l.in.ReadByte(); below == nil {
		return n, errMore
	} else if below != io.EOF {
		return n, below
	}
	return n, io.EOF
}

// A counter counts what passes between the encoded body, the layers and the
// reader.
type counter struct {
	r     io.Reader
	of    *decoded
	taker *counter // counts what becomes of what is read here; nil above the last layer
	n     int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c == &c.of.in {
		if err != nil && err != io.EOF {
			return n, c.of.because(err)
		}
	} else if grown := c.grow(int64(n)); grown != nil {
		return 0, c.of.because(grown)
	}
	if c.taker != nil && c.n-maxWaste > maxShrink*c.taker.n {
		return 0, c.of.because(&OpaqueError{OpaqueSize, fmt.Errorf("of %d bytes that are encoded come %d", c.n, c.taker.n)})
	}
	return n, err
}

// A decoded is a body without its codings.
type decoded struct {
	in    counter // of the encoded body
	r     io.Reader
	limit int64
	given int64 // by all layers
	cause error
	err   error
}

// grow notes that a layer has given n bytes more, and says when that is too much.
// What is between two codings may be a little more than what comes of it.
func (c *counter) grow(n int64) error {
	d, most := c.of, c.of.limit
	if c.taker != nil {
		most += maxWaste + d.limit/maxShrink
	}
	d.given += n
	switch {
	case c.n > most:
		return &OpaqueError{OpaqueSize, fmt.Errorf("the body has more than %d bytes when it is decoded", d.limit)}
	case d.given > freeRatio && d.given > d.in.n*maxRatio:
		return &OpaqueError{OpaqueSize, fmt.Errorf("the body grows more than %d times when it is decoded", maxRatio)}
	}
	return nil
}

// because remembers an error that is not the fault of a coding: whatever the
// layers above make of it, it is the one to give.
func (d *decoded) because(err error) error {
	if d.cause == nil {
		d.cause = err
	}
	return err
}

// blame turns an error of decoding into one of the body.
func (d *decoded) blame(err error) error {
	var known *OpaqueError
	switch {
	case d.cause != nil:
		return d.cause
	case errors.As(err, &known):
		return known
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return &OpaqueError{OpaqueEncoding, fmt.Errorf("decode content coding: %w", err)}
}

func (d *decoded) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.r.Read(p)
	switch {
	case err == io.EOF:
		d.err = io.EOF
	case err != nil:
		d.err = d.blame(err)
		return 0, d.err
	}
	return n, d.err
}
