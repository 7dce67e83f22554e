package iatp

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// A value is a node of a parsed JSON document. It remembers where it stood, so
// that a fault in its meaning can be shown in the text.
type value struct {
	kind    ijson.Kind // BeginObject, BeginArray, String, Number, True, False or Null
	raw     string     // source text of a scalar, a string with its quotes
	text    string     // decoded text of a string
	members []member   // of an object, in the order of the document
	items   []*value   // of an array
	at      int        // offset in the document of the value, or of the one it was made from
}

// A member is a named value. raw is the name in quotes as the document spells it.
type member struct {
	name string
	raw  string
	*value
}

// get returns the member of that name, or nil.
func (v *value) get(name string) *value {
	for _, m := range v.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// set adds a member that the document does not have.
func (v *value) set(name string, child *value) {
	v.members = append(v.members, member{name, string(ijson.AppendString(nil, name)), child})
}

// take removes the member of that name and returns it, or nil.
func (v *value) take(name string) *value {
	for i, m := range v.members {
		if m.name == name {
			v.members = append(v.members[:i:i], v.members[i+1:]...)
			return m.value
		}
	}
	return nil
}

// appendTo appends the value as JSON without white space; scalars and names keep
// the spelling of the document.
func (v *value) appendTo(dst []byte) []byte {
	switch v.kind {
	case ijson.BeginObject:
		dst = append(dst, '{')
		for i, m := range v.members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(dst, m.raw...), ':')
			dst = m.appendTo(dst)
		}
		return append(dst, '}')
	case ijson.BeginArray:
		dst = append(dst, '[')
		for i, item := range v.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = item.appendTo(dst)
		}
		return append(dst, ']')
	}
	return append(dst, v.raw...)
}

// A treeReader builds the values of one document.
type treeReader struct {
	data []byte
	r    ijson.Reader
}

// parseTree reads a whole document within the manifest's limits.
func parseTree(data []byte) (*value, error) {
	if len(data) > MaxManifestSize {
		return nil, &ManifestError{Msg: fmt.Sprintf("manifest has %d bytes, at most %d are read", len(data), MaxManifestSize)}
	}
	t := treeReader{data: data}
	t.r.Reset(data, ijson.Limits{Depth: MaxManifestDepth})
	root, err := t.next()
	if err == nil {
		_, err = t.r.Next() // io.EOF, or what is wrong after the value
	}
	if err != io.EOF {
		return nil, manifestError(err)
	}
	return root, nil
}

func manifestError(err error) error {
	if e, ok := errors.AsType[*ijson.Error](err); ok {
		return &ManifestError{Line: e.Line, Column: e.Column, Pointer: e.Pointer, Msg: e.Msg}
	}
	return err
}

// faultAt returns an error that points at v in the text that v was read from.
func faultAt(data []byte, v *value, msg string) error {
	var r ijson.Reader
	r.Reset(data, ijson.Limits{Depth: MaxManifestDepth})
	for {
		tok, err := r.Next()
		if err != nil {
			return manifestError(err)
		}
		if tok.Kind == ijson.String && tok.Start-1 == v.at || tok.Start == v.at {
			return manifestError(r.Locate(v.at, msg))
		}
	}
}

// next reads one value.
func (t *treeReader) next() (*value, error) {
	tok, err := t.r.Next()
	if err != nil {
		return nil, err
	}
	return t.finish(tok)
}

// finish reads the rest of the value that begins with tok. Its depth is bounded
// by the limit of the Reader.
func (t *treeReader) finish(tok ijson.Token) (*value, error) {
	v := &value{kind: tok.Kind, at: tok.Start}
	switch tok.Kind {
	case ijson.BeginObject:
		return v, t.members(v)
	case ijson.BeginArray:
		return v, t.items(v)
	case ijson.String:
		v.at--
		v.raw = string(t.data[tok.Start-1 : tok.End+1])
		v.text = t.text(tok)
	default:
		v.raw = string(t.data[tok.Start:tok.End])
	}
	return v, nil
}

func (t *treeReader) members(v *value) error {
	for {
		tok, err := t.r.Next()
		if err != nil || tok.Kind == ijson.EndObject {
			return err
		}
		child, err := t.next()
		if err != nil {
			return err
		}
		v.members = append(v.members, member{t.text(tok), string(t.data[tok.Start-1 : tok.End+1]), child})
	}
}

func (t *treeReader) items(v *value) error {
	for {
		tok, err := t.r.Next()
		if err != nil || tok.Kind == ijson.EndArray {
			return err
		}
		child, err := t.finish(tok)
		if err != nil {
			return err
		}
		v.items = append(v.items, child)
	}
}

func (t *treeReader) text(tok ijson.Token) string {
	raw := t.data[tok.Start:tok.End]
	if !tok.Escaped {
		return string(raw)
	}
	return string(ijson.AppendDecoded(nil, raw))
}

// describe names what a value is for a message: its kind, and a little of a string
// or number.
func (v *value) describe() string {
	switch v.kind {
	case ijson.String:
		return snippet(v.text)
	case ijson.Number:
		return strings.Trim(snippet(v.raw), `"`)
	case ijson.BeginObject:
		return "an object"
	case ijson.BeginArray:
		return "an array"
	}
	return v.kind.String()
}
