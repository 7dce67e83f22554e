package sidecar

import (
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// member finds a member of the outermost object of a body that was checked before,
// and returns its value if that is a string or a number. Names are compared as they
// are: to encoding/json, "Budget" would be "budget" too. ok is false if the body is
// no object, or has no such member; the zero Kind is a value of another kind.
func member(body []byte, name string) (text string, kind ijson.Kind, ok bool) {
	var r ijson.Reader
	r.Reset(body, ijson.Limits{Depth: mostDepth})
	if tok, err := r.Next(); err != nil || tok.Kind != ijson.BeginObject {
		return "", 0, false
	}
	for {
		tok, err := r.Next()
		if err != nil {
			return "", 0, false
		}
		if tok.Kind != ijson.Name || r.Depth() != 1 || decoded(body, tok) != name {
			continue
		}
		if tok, err = r.Next(); err != nil || tok.Kind != ijson.String && tok.Kind != ijson.Number {
			return "", 0, err == nil
		}
		return decoded(body, tok), tok.Kind, true
	}
}

// decoded is the text of a token.
func decoded(body []byte, tok ijson.Token) string {
	raw := body[tok.Start:tok.End]
	if tok.Escaped {
		raw = ijson.AppendDecoded(nil, raw)
	}
	return string(raw)
}
