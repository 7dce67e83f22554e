package privacy

import (
	"bufio"
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
	maxRatio   = 200     // of decoded to encoded bytes
	freeRatio  = 1 << 20 // decoded bytes from which on the ratio counts
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
// Content-Encoding header lists them. Reading more than max bytes, or more than
// 200 times as much as is read from r, is an *OpaqueError, and so is a coding
// that is not known or is not what it says. Other errors are those of r.
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
	in := &counter{r: r}
	var out io.Reader = in
	for i := len(names) - 1; i >= 0; i-- { // the last one was applied last
		l, err := undo(names[i], out)
		if err != nil {
			return nil, in.blame(err)
		}
		out = l
	}
	return &decoded{in: in, r: out, limit: limit}, nil
}

// Decode undoes the content codings of a whole body: see NewDecoder.
func Decode(body []byte, codings string, limit int64) ([]byte, error) {
	r, err := NewDecoder(strings.NewReader(string(body)), codings, limit)
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

// A counter counts what is read of the encoded body, and remembers its error,
// which is not the fault of the coding.
type counter struct {
	r   io.Reader
	n   int64
	err error
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// blame turns an error of decoding into one of the body, unless it is that of
// the reader below.
func (c *counter) blame(err error) error {
	var known *OpaqueError
	switch {
	case c.err != nil:
		return c.err
	case errors.As(err, &known):
		return known
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return &OpaqueError{OpaqueEncoding, fmt.Errorf("decode content coding: %w", err)}
}

// decoded bounds what is decoded.
type decoded struct {
	in       *counter
	r        io.Reader
	n, limit int64
	err      error
}

func (d *decoded) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.r.Read(p)
	d.n += int64(n)
	switch {
	case d.n > d.limit:
		d.err = &OpaqueError{OpaqueSize, fmt.Errorf("the body has more than %d bytes when it is decoded", d.limit)}
	case d.n > freeRatio && d.n > d.in.n*maxRatio:
		d.err = &OpaqueError{OpaqueSize, fmt.Errorf("the body grows more than %d times when it is decoded", maxRatio)}
	case err == io.EOF:
		d.err = io.EOF
	case err != nil:
		d.err = d.in.blame(err)
	}
	if d.err != nil && d.err != io.EOF {
		return 0, d.err
	}
	return n, d.err
}
