package upstream

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// head reads the final head of an answer, past interim ones.
func (cn *conn) head(method string, call *Call) (*http.Response, error) {
	if cn.buf == nil {
		cn.buf = cn.lent[:]
	}
	for interim := 0; ; interim++ {
		text, err := cn.headText()
		if err != nil {
			return nil, noEOF(err)
		}
		resp, err := call.parseHead(text)
		switch {
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, ErrSwitching
		case resp.StatusCode < 200 && interim == maxInterim:
			return nil, malformed("more than %d interim answers", maxInterim)
		case resp.StatusCode < 200:
			continue
		}
		return resp, call.body.frame(resp, method)
	}
}

const begins = "HTTP/1."

var errBegins = malformed("it does not begin with HTTP/1.x and a status")

// headText returns the bytes of a head up to and with its empty line. They are
// valid until the next read.
func (cn *conn) headText() ([]byte, error) {
	for at := 0; ; {
		i := bytes.IndexByte(cn.buf[cn.r+at:cn.w], '\n')
		if i < 0 {
			if at = cn.w - cn.r; at >= maxHead {
				return nil, malformed("the head is longer than %d KiB", maxHead>>10)
			}
			// Who speaks another protocol may wait for us to go on: it would take
			// the whole deadline to know that.
			if n := min(at, len(begins)); string(cn.buf[cn.r:cn.r+n]) != begins[:n] {
				return nil, errBegins
			}
			if err := cn.fill(); err != nil {
				return nil, err
			}
			continue
		}
		end := at + i
		if end == 0 || cn.buf[cn.r+end-1] != '\r' {
			return nil, malformed("a line of the head does not end in CRLF")
		}
		if end >= 3 && cn.buf[cn.r+end-2] == '\n' {
			text := cn.buf[cn.r : cn.r+end+1]
			cn.r += end + 1
			return text, nil
		}
		at = end + 1
	}
}

// parseHead reads a head that ends in an empty line. All values are parts of
// one string.
func (c *Call) parseHead(text []byte) (*http.Response, error) {
	all := string(text)
	line, rest := cutLine(all)
	resp := &c.resp
	*resp = http.Response{ContentLength: -1, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: c.fields()}
	if err := readStatus(line, resp); err != nil {
		return nil, err
	}
	fields := bytes.Count(text, []byte{'\n'}) - 2
	if fields > maxFields {
		return nil, malformed("more than %d fields", maxFields)
	}
	values := make([]string, fields)
	for n := 0; ; n++ {
		if line, rest = cutLine(rest); line == "" {
			return resp, nil
		}
		name, value, err := field(line)
		if err != nil {
			return nil, err
		}
		if have := resp.Header[name]; have != nil {
			resp.Header[name] = append(have, value)
			continue
		}
		values[n] = value
		resp.Header[name] = values[n : n+1 : n+1]
	}
}

func cutLine(s string) (line, rest string) {
	for i := range len(s) {
		if s[i] == '\n' {
			return s[:i-1], s[i+1:] // headText has seen the CR
		}
	}
	return "", ""
}

// readStatus reads HTTP/1.x SP 3DIGIT [SP reason].
func readStatus(line string, resp *http.Response) error {
	if len(line) < 12 || line[:7] != begins || line[7] < '0' || line[7] > '9' || line[8] != ' ' || (len(line) > 12 && line[12] != ' ') || !validValue(line) {
		return errBegins
	}
	code := line[9:12]
	n, err := strconv.Atoi(code)
	if err != nil || code[0] < '1' || code[0] > '5' {
		return malformed("there is no such status")
	}
	resp.StatusCode, resp.Status = n, line[9:]
	if line[7] == '0' {
		resp.Proto, resp.ProtoMinor, resp.Close = "HTTP/1.0", 0, true
	}
	return nil
}

// field reads a line of a head or a trailer.
func field(line string) (name, value string, err error) {
	if line[0] == ' ' || line[0] == '\t' {
		return "", "", malformed("a folded line")
	}
	for i := range len(line) {
		if line[i] == ':' {
			name, value = line[:i], strings.Trim(line[i+1:], " \t")
			break
		}
	}
	if !validToken(name) { // also a blank before the colon, and no colon
		return "", "", malformed("a line of the head is not a field")
	}
	if !validValue(value) {
		return "", "", malformed("the value of a field holds a control character")
	}
	return textproto.CanonicalMIMEHeaderKey(name), value, nil
}

// frame finds out where the body ends (RFC 9112, 6.3), and refuses what two
// readers could see in two ways.
func (b *body) frame(resp *http.Response, method string) error {
	h := resp.Header
	for _, line := range h["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			resp.Close = resp.Close || strings.EqualFold(strings.TrimSpace(token), "close")
		}
	}
	coding, coded := h["Transfer-Encoding"]
	length, err := contentLength(h["Content-Length"])
	switch {
	case err != nil:
		return err
	case coded && length >= 0:
		return malformed("Content-Length and Transfer-Encoding")
	case coded && (len(coding) != 1 || len(coding[0]) != len("chunked") || !strings.EqualFold(coding[0], "chunked")):
		return malformed("a Transfer-Encoding other than chunked")
	case coded && resp.ProtoMinor == 0:
		return malformed("Transfer-Encoding in HTTP/1.0")
	}
	delete(h, "Transfer-Encoding") // from here on it is the framing of the body
	switch {
	case method == http.MethodHead:
		b.left, resp.ContentLength = 0, length
	case resp.StatusCode == http.StatusNotModified: // its length is that of another answer
		b.left, resp.ContentLength = 0, 0
	case resp.StatusCode == http.StatusNoContent:
		if coded || length > 0 {
			return malformed("status 204 with a body")
		}
		b.left, resp.ContentLength = 0, 0
	case coded:
		b.chunked = true
		resp.TransferEncoding = []string{"chunked"}
		resp.Trailer = http.Header{}
	case length >= 0:
		b.left, resp.ContentLength = length, length
	default:
		b.left, resp.Close = -1, true
	}
	return nil
}

// contentLength reads a Content-Length, -1 if there is none. Twice is once too
// often, even where both say the same.
func contentLength(values []string) (int64, error) {
	if len(values) == 0 {
		return -1, nil
	}
	v := values[0]
	if len(values) > 1 || len(v) == 0 || len(v) > 18 {
		return 0, malformed("Content-Length")
	}
	var n int64
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' {
			return 0, malformed("Content-Length")
		}
		n = n*10 + int64(v[i]-'0')
	}
	return n, nil
}
