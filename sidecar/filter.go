package sidecar

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/privacy"
)

// errWithheld ends an answer in which something was found that may not pass, or
// that cannot be treated.
var errWithheld = errors.New("the answer may not be passed on")

// A filter treats an answer as it passes. A nil filter passes everything as it is.
type filter struct {
	redactor *privacy.Redactor
	out      bytes.Buffer
	blocked  bool
	mayVeil  bool // what cannot be read may pass
	summed   bool // see sums
}

// newFilter returns the filter of an answer that is a stream, nil if its bytes pass
// as they are because nothing wants them changed, and where to read it from. What a
// peer's receipt is about is then added to sum as it is read. The error is
// errWithheld if nobody here can read the answer.
func (s *Sidecar) newFilter(x *exchange, resp *http.Response, sum io.Writer, end *ending) (*filter, io.Reader, error) {
	if !x.st.rules.ChangesAnswers() {
		return nil, resp.Body, nil
	}
	f := s.filterFor(x, first(resp.Header, "Content-Type"))
	source := io.Reader(resp.Body)
	coding := codingOf(resp.Header)
	if x.part {
		if coding != "" {
			return nil, nil, errWithheld // a part of what is coded cannot be decoded
		}
		resp.ContentLength = -1 // it may be cut
		return f, source, nil
	}
	if coding != "" {
		raw := io.Discard
		if f.summed = x.dir == flight.Out; f.summed {
			raw = sum
		}
		var err error
		if source, err = s.decodeStream(x, coding, resp.Body, raw); err != nil {
			return nil, nil, err
		}
	}
	end.encoding = ""
	rewritten(resp, -1)
	return f, source, nil
}

// filterFor returns the filter of an answer of a media type.
func (s *Sidecar) filterFor(x *exchange, contentType string) *filter {
	f := &filter{mayVeil: x.st.rules.Opaque() != policy.Block}
	p := x.passage(true)
	f.redactor = s.scanner().NewRedactor(&f.out, privacy.FormatOf(contentType), func(found privacy.Finding) privacy.Action {
		if !x.st.rules.Counts(&found) {
			return privacy.Keep
		}
		t := x.st.rules.Treat(p, policy.Finding{Kind: found.Kind, Pointer: found.Pointer})
		f.blocked = f.blocked || t == policy.Block
		return actionOf(t)
	})
	return f
}

// sums reports whether what was received is summed up where it is decoded.
func (f *filter) sums() bool { return f != nil && f.summed }

// pass takes a piece of the answer and returns what may be released of all up to
// now, until the next call. last says that nothing follows.
func (f *filter) pass(piece []byte, last bool) ([]byte, error) {
	if f == nil {
		return piece, nil
	}
	f.out.Reset()
	if f.blocked {
		return nil, errWithheld
	}
	_, err := f.redactor.Write(piece)
	if err == nil && last {
		err = f.redactor.Close()
	}
	if f.blocked = f.blocked || !f.mayVeil && len(f.redactor.Opaque()) > 0; f.blocked {
		return nil, errWithheld
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWithheld, err)
	}
	return f.out.Bytes(), nil
}

// treatHead makes of the values of an answer's head what may be released. There is
// no place in a head for a rule to name.
func (s *Sidecar) treatHead(x *exchange, h http.Header) {
	if !x.st.rules.ChangesAnswers() {
		return
	}
	p := x.passage(true)
	for name, values := range h {
		if sidecarWord(name) {
			continue
		}
		var treated []string // a peer's receipt is about the values as they came
		for i, v := range values {
			if r := s.scanner().ScanText([]byte(v)); len(r.Findings) > 0 {
				if treated == nil {
					treated = slices.Clone(values)
				}
				treated[i] = string(appendTreated(nil, []byte(v), r, x.st.rules, p))
			}
		}
		if treated != nil {
			h[name] = treated
		}
	}
}

// counts collects findings by kind and by what becomes of them.
type counts struct {
	list   []flight.Count
	places bool // pointers are named: member names are somebody's words
}

func (c *counts) sorted() []flight.Count {
	slices.SortFunc(c.list, func(a, b flight.Count) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Action, b.Action))
	})
	return c.list
}

func (c *counts) add(kind iatp.DataClass, action, pointer string) {
	c.addMany(kind, action, pointer, 1)
}

func (c *counts) addMany(kind iatp.DataClass, action, pointer string, n int) {
	i := 0
	for ; i < len(c.list) && (c.list[i].Kind != kind || c.list[i].Action != action); i++ {
	}
	if i == len(c.list) {
		c.list = append(c.list, flight.Count{Kind: kind, Action: action})
	}
	c.list[i].Count += n
	if at := &c.list[i].At; c.places && pointer != "" && len(*at) < maxPlacesKept && (len(*at) == 0 || (*at)[len(*at)-1] != pointer) {
		*at = append(*at, pointer)
	}
}
