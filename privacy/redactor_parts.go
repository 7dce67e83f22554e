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
	passed    int // bytes of the stream before buf
	delimiter []byte
	inBody    bool
	part      reader
}

func (m *partsReader) read(r *Redactor, p []byte, last bool) error {
	m.buf = append(m.buf, p...)
	for {
		var n int
		var more bool
		var err error
		if m.inBody {
			n, more, err = m.body(r, last)
		} else {
			n, more, err = m.header(r, last)
		}
		m.buf, m.passed = append(m.buf[:0], m.buf[n:]...), m.passed+n
		if err != nil || !more {
			return err
		}
	}
}

// header passes the delimiter and the header of a part, as text.
func (m *partsReader) header(r *Redactor, last bool) (n int, more bool, err error) {
	end, size := bytes.Index(m.buf, []byte("\r\n\r\n")), 4
	if lf := bytes.Index(m.buf, []byte("\n\n")); lf >= 0 && (end < 0 || lf < end) {
		end, size = lf, 2
	}
	switch {
	case end < 0 && last:
		end, size = len(m.buf), 0
	case end < 0 && len(m.buf) > maxPartHeader:
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

// begin makes a reader for the part with this header, whose body begins at an
// offset of the stream.
func (m *partsReader) begin(r *Redactor, head []byte, offset int) {
	var contentType, name string
	m.inBody = true
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
		if i := indexLine(m.buf, m.delimiter); i >= 0 {
			end, found = i, true
		} else if !last {
			end = max(len(m.buf)-len(m.delimiter)-2, 0) // it may begin here
		}
	}
	if err := m.part.read(r, m.buf[:end], found || last); err != nil {
		return 0, false, err
	}
	m.inBody = !found
	return end, found, nil
}

// indexLine returns where a line that begins with the delimiter begins, with the
// line end before it, or -1.
func indexLine(b, delimiter []byte) int {
	for from := 0; ; {
		i := bytes.Index(b[from:], delimiter)
		if i < 0 {
			return -1
		}
		switch i += from; {
		case i == 0:
			return 0
		case b[i-1] == '\n' && i > 1 && b[i-2] == '\r':
			return i - 2
		case b[i-1] == '\n':
			return i - 1
		}
		from = i + 1
	}
}
