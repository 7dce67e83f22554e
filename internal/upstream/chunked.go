package upstream

import (
	"bytes"
	"io"
)

// Bounds of what frames a chunked body.
const (
	maxChunkLine   = 256
	maxTrailerLine = 4 << 10
	maxTrailers    = 20
)

// chunkState is where a reader of a chunked body stands.
type chunkState uint8

const (
	atSize chunkState = iota // before a line with a size
	inData
	atEnd // before the CRLF behind the data
)

// readChunked reads part of a chunked body (RFC 9112, 7.1).
func (b *body) readChunked(p []byte) (int, error) {
	for {
		switch b.chunk {
		case atSize:
			size, err := b.chunkSize()
			if err == nil && size == 0 {
				err = b.readTrailer()
				if err == nil {
					err = io.EOF
				}
				b.finish(err)
				return 0, b.err
			}
			if err != nil {
				b.finish(noEOF(err))
				return 0, b.err
			}
			b.left, b.chunk = size, inData
		case inData:
			n, err := b.cn.Read(p[:min(int64(len(p)), b.left)])
			if b.left -= int64(n); b.left == 0 {
				b.chunk = atEnd
			} else if err != nil {
				b.finish(noEOF(err))
			}
			if n > 0 {
				return n, nil
			}
			if b.err != nil {
				return 0, b.err
			}
		case atEnd:
			line, err := b.cn.line(1)
			if err == nil && len(line) > 0 {
				err = malformed("a chunk is longer than its size")
			}
			if err != nil {
				b.finish(noEOF(err))
				return 0, b.err
			}
			b.chunk = atSize
		}
	}
}

// chunkSize reads the line before a chunk. Extensions are skipped: nobody
// agrees on what they are, and they are bounded.
func (b *body) chunkSize() (int64, error) {
	line, err := b.cn.line(maxChunkLine)
	if err != nil {
		return 0, err
	}
	digits, extension, _ := bytes.Cut(line, []byte{';'})
	if len(extension) > 0 {
		digits = bytes.TrimRight(digits, " \t") // BWS
	}
	if len(digits) == 0 || len(digits) > 15 || !validValue(extension) {
		return 0, malformed("the size of a chunk")
	}
	var n int64
	for _, c := range digits {
		v := hexValue(c)
		if v < 0 {
			return 0, malformed("the size of a chunk")
		}
		n = n<<4 | int64(v)
	}
	return n, nil
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// readTrailer reads the fields behind the last chunk. Those that frame a message
// mean nothing there (RFC 9110, 6.5.1).
func (b *body) readTrailer() error {
	for n := 0; ; n++ {
		line, err := b.cn.line(maxTrailerLine)
		if err != nil {
			return noEOF(err)
		}
		if len(line) == 0 {
			return nil
		}
		if n == maxTrailers {
			return malformed("more than %d trailer fields", maxTrailers)
		}
		name, value, err := field(string(line))
		if err != nil {
			return err
		}
		if !ours(name) {
			b.trailer.Add(name, value)
		}
	}
}
