package privacy

import (
	"bytes"
	"errors"
	"mime"
	"net/textproto"
	"strings"
)

// ErrPartHeader says that the header of a part is larger than 16 KiB.
var ErrPartHeader = errors.New("privacy: the header of a part is larger than 16 KiB")

const (
	maxPartHeader = 16 << 10
	maxDelimiter  = 72 // two dashes and a boundary: RFC 2046, section 5.1.1
)

// A partsReader treats a multipart body (RFC 2046), each part as what its header
// says. It takes the delimiter from the first line that looks like one: if that
// is wrong, parts are read as text together.
type partsReader struct {
	buf       []byte
	looked    int // no header ends before buf[looked]
	passed    int // bytes of the stream before buf
	delimiter []byte
	inBody    bool
	fresh     bool // nothing of the body was passed on
	part      reader
}

func (m *partsReader) read(r *Redactor, p []byte, last bool) error {
	whole := append(m.buf, p...)
	for m.buf = whole; ; {
		var n int
		var more bool
		var err error
		if m.inBody {
			n, more, err = m.body(r, last)
		} else {
			n, more, err = m.header(r, last)
		}
		if n > 0 {
			m.buf, m.passed, m.looked = m.buf[n:], m.passed+n, 0
		}
		if err != nil || !more {
			if len(m.buf) < len(whole) {
				m.buf = append(whole[:0], m.buf...)
			}
			return err
		}
	}
}

// header passes the delimiter and the header of a part, as text.
func (m *partsReader) header(r *Redactor, last bool) (n int, more bool, err error) {
	end, size := m.endOfHeader(r)
	switch {
	case end < 0 && last:
		end, size = len(m.buf), 0
	case end < 0 && len(m.buf) > maxPartHeader+len("\r\n\r\n"):
		return 0, false, ErrPartHeader
	case end < 0:
		return 0, false, nil
	}
	head := m.buf[:end]
	if m.delimiter == nil {
		for line := range bytes.SplitSeq(head, []byte("\n")) {
			if line = bytes.TrimRight(line, "\r \t"); len(line) > 2 && len(line) <= maxDelimiter && bytes.HasPrefix(line, []byte("--")) {
				m.delimiter = bytes.Clone(line)
				break
			}
		}
	}
	report := r.scanner.ScanText(head)
	for _, f := range report.Findings {
		r.found(f, m.passed)
	}
	r.out = AppendRedactedBy(r.out, head, report, r.act)
	r.out = append(r.out, m.buf[end:end+size]...)
	m.begin(r, head, m.passed+end+size)
	return end + size, size > 0, nil
}

// endOfHeader returns where the header at the beginning of buf ends, and how long
// the empty line behind it is; -1 if it is not over.
func (m *partsReader) endOfHeader(r *Redactor) (end, size int) {
	for m.looked < len(m.buf) {
		n := bytes.IndexByte(m.buf[m.looked:], '\n')
		if n < 0 {
			r.searched += len(m.buf) - m.looked
			m.looked = len(m.buf)
			break
		}
		r.searched += n + 1
		i := m.looked + n
		m.looked = i + 1
		switch {
		case i > maxPartHeader+len("\r\n\r"):
			return -1, 0
		case i > 0 && m.buf[i-1] == '\n':
			return i - 1, 2
		case i > 2 && string(m.buf[i-3:i]) == "\r\n\r":
			return i - 3, 4
		}
	}
	return -1, 0
}

// begin makes a reader for the part with this header, whose body begins at an
// offset of the stream.
func (m *partsReader) begin(r *Redactor, head []byte, offset int) {
	var contentType, name string
	m.inBody, m.fresh = true, true
	for line := range strings.Lines(string(head)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch value = strings.TrimSpace(value); textproto.CanonicalMIMEHeaderKey(key) {
		case "Content-Type":
			contentType = value
		case "Content-Disposition":
			if _, params, err := mime.ParseMediaType(value); err == nil {
				name = params["name"]
			}
		case "Content-Transfer-Encoding":
			if strings.EqualFold(value, "base64") || strings.EqualFold(value, "quoted-printable") {
				r.veiled(Opaque{Reason: OpaqueEncoded, Start: offset, End: offset}, 0)
			}
		}
	}
	switch FormatOf(contentType) {
	case FormatJSON:
		m.part = &jsonReader{passed: offset}
	case FormatForm:
		m.part = &formReader{passed: offset}
	case FormatEvents:
		m.part = &eventReader{passed: offset}
	default:
		around := under([]byte(name))
		m.part = &textReader{window: window{before: offset}, around: around}
	}
}

// body passes the bytes of a part up to the delimiter.
func (m *partsReader) body(r *Redactor, last bool) (n int, more bool, err error) {
	end, found := len(m.buf), false
	if m.delimiter != nil {
		if i := indexLine(m.buf, m.delimiter, m.fresh); i >= 0 {
			r.searched += i
			end, found = i, true
		} else if r.searched += len(m.buf); !last {
			end = max(len(m.buf)-len(m.delimiter)-2, 0) // it may begin here
		}
	}
	if err := m.part.read(r, m.buf[:end], found || last); err != nil {
		return 0, false, err
	}
	m.inBody, m.fresh = !found, m.fresh && end == 0
	return end, found, nil
}

// indexLine returns where a line that begins with the delimiter begins, with the
// line end before it, or -1. A line begins at b[0] if atLine.
func indexLine(b, delimiter []byte, atLine bool) int {
	for from := 0; ; {
		i := bytes.Index(b[from:], delimiter)
		if i < 0 {
			return -1
		}
		switch i += from; {
		case i == 0:
			if atLine {
				return 0
			}
		case b[i-1] == '\n' && i > 1 && b[i-2] == '\r':
			return i - 2
		case b[i-1] == '\n':
			return i - 1
		}
		from = i + 1
	}
}
