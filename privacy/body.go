package privacy

import (
	"bytes"
	"io"
)

// ScanBody looks for sensitive values in a whole body of a media type: one JSON
// document or several, server-sent events, a form, the parts of a multipart
// body, text. What says that it is JSON and is not is read as text. Content
// codings must have been undone: see Decode.
//
// In a form the pointer of a finding is the name of the field behind a slash; in
// JSON and in data of events it is that of the leaf. Of a body that is not one
// JSON document or text, the first thousand findings are reported and the first
// of each kind.
func (s *Scanner) ScanBody(body []byte, contentType string, lim Limits) Report {
	format := FormatOf(contentType)
	switch format {
	case FormatJSON:
		if r, err := s.ScanJSON(body, lim); err == nil {
			return r
		}
	case FormatText:
		r := s.ScanText(body)
		if isBinary(body) {
			r.Opaque = append(r.Opaque, Opaque{Reason: OpaqueBinary, End: len(body)})
		}
		return r
	}
	p := s.NewRedactor(io.Discard, format, func(Finding) Action { return Keep })
	_, err := p.Write(body)
	if err == nil {
		err = p.Close()
	}
	r := p.Report()
	if err != nil { // too deep, too large: read as text
		r = s.ScanText(body)
		r.Opaque = append(r.Opaque, Opaque{Reason: OpaqueSize, End: len(body)})
		return r
	}
	r.streamed, r.format = true, format
	return r
}

// appendStreamed is AppendRedactedBy for what was scanned as a stream.
func appendStreamed(dst, body []byte, r Report, act func(Finding) Action) []byte {
	s := Scanner{detectors: r.catalog, least: r.least}
	out := bytes.NewBuffer(dst)
	p := s.NewRedactor(out, r.format, act)
	if _, err := p.Write(body); err != nil || p.Close() != nil { // it was not the body of the report
		return append(dst, s.RedactText(string(body))...)
	}
	return out.Bytes()
}
