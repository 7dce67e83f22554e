package privacy

import (
	"bytes"
	"errors"
	"net/url"
	"slices"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// ErrFieldTooLarge says that a field of a form is larger than 1 MiB.
var ErrFieldTooLarge = errors.New("privacy: a field of a form is larger than 1 MiB")

// A formReader treats application/x-www-form-urlencoded, one field at a time.
type formReader struct {
	buf    []byte
	looked int // no field ends before buf[looked]
	passed int
}

func (f *formReader) read(r *Redactor, p []byte, last bool) error {
	f.buf = append(f.buf, p...)
	done := 0
	for {
		n := bytes.IndexByte(f.buf[f.looked:], '&')
		if n < 0 {
			r.searched += len(f.buf) - f.looked
			break
		}
		r.searched += n + 1
		f.field(r, f.buf[done:f.looked+n], f.passed+done)
		r.out = append(r.out, '&')
		f.looked += n + 1
		done = f.looked
	}
	if last {
		f.field(r, f.buf[done:], f.passed+done)
		done = len(f.buf)
	}
	if done > 0 {
		f.buf, f.passed = append(f.buf[:0], f.buf[done:]...), f.passed+done
	}
	f.looked = len(f.buf)
	if len(f.buf) > maxEvent {
		return ErrFieldTooLarge
	}
	return nil
}

// field treats one field, which begins at an offset of the stream.
func (f *formReader) field(r *Redactor, raw []byte, offset int) {
	rawName, rawValue, both := bytes.Cut(raw, []byte("="))
	name := unquery(rawName)
	r.out = append(r.out, f.part(r, rawName, name, place{name: true}, pointerTo(r, name), true, offset)...)
	if !both {
		return
	}
	around := under(name)
	r.out = append(r.out, '=')
	r.out = append(r.out, f.part(r, rawValue, unquery(rawValue), around, pointerTo(r, name), false, offset+len(rawName)+1)...)
}

// part returns a name or a value without what must go; raw if that is nothing.
func (f *formReader) part(r *Redactor, raw, text []byte, around place, pointer string, inName bool, offset int) []byte {
	doc := ijson.AppendString(nil, bytes.ToValidUTF8(text, []byte("\uFFFD")))
	found, opaque, err := r.look(doc, around)
	if err != nil || !r.at(pointer, found, opaque) {
		return raw
	}
	for i := range opaque {
		opaque[i].Start, opaque[i].End = 0, len(raw)
		r.veiled(opaque[i], offset)
	}
	within := slices.Clone(found)
	for i := range found {
		found[i].InName, found[i].Start, found[i].End = inName, 0, len(raw)
		r.found(found[i], offset)
	}
	clean := r.d.document(nil, doc, within, 0, around)
	if bytes.Equal(clean, doc) {
		return raw
	}
	return []byte(url.QueryEscape(string(ijson.AppendDecoded(nil, clean[1:len(clean)-1]))))
}

// pointerTo returns the pointer of a field.
func pointerTo(r *Redactor, name []byte) string {
	if len(name) > keptName {
		return ""
	}
	return string(r.d.work.appendStep([]byte{'/'}, name, func() names { return names{} }))
}

// unquery undoes the encoding of a form; what is not encoded right stands for
// itself.
func unquery(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '+':
			out = append(out, ' ')
		case c == '%' && i+2 < len(raw) && hexDigit(raw[i+1]) < 16 && hexDigit(raw[i+2]) < 16:
			out = append(out, hexDigit(raw[i+1])<<4|hexDigit(raw[i+2]))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out
}
