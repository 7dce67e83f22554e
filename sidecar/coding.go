package sidecar

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/privacy"
)

// windowMemory is the window that a sender can make a decoder keep.
const windowMemory = 16 << 20

// codingMemory is set aside for undoing content codings, of which at most two are
// undone.
func codingMemory(codings string) int64 {
	return windowMemory * int64(min(1+strings.Count(codings, ","), 2))
}

// codingOf returns the content codings of a head; "" if there are none.
func codingOf(h http.Header) string { return codingIn(h["Content-Encoding"]) }

// codingIn is codingOf for the lines of Content-Encoding.
func codingIn(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	v := strings.TrimSpace(strings.Join(lines, ","))
	if strings.EqualFold(v, "identity") {
		return ""
	}
	return v
}

// decode undoes the content coding of a request: the agent, or the peer, gets the
// body as it was read here. A call from another sidecar stays committed to the
// bytes that were signed.
func (s *Sidecar) decode(x *exchange) *iatp.Problem {
	if x.in.coding == "" {
		return nil
	}
	limit := int64(s.cfg.Limits.Body)
	reserve := min(limit+codingMemory(x.in.coding), int64(s.cfg.Limits.BodyMemory))
	if !s.bodies.take(reserve) {
		return s.overloaded("request bodies already hold " + sizeText(s.cfg.Limits.BodyMemory))
	}
	body, err := privacy.Decode(x.body, x.in.coding, limit)
	keep := min(int64(cap(body)), reserve)
	x.held += keep
	s.bodies.give(reserve - keep)
	if err != nil {
		return s.undecodable(x.in.coding, err)
	}
	if x.body = body; x.dir != flight.In {
		x.size = int64(len(body))
	}
	return nil
}

func (s *Sidecar) undecodable(coding string, err error) *iatp.Problem {
	if e, ok := errors.AsType[*privacy.OpaqueError](err); ok && e.Reason == privacy.OpaqueSize {
		return &iatp.Problem{Slug: iatp.SlugTooLarge, Status: http.StatusRequestEntityTooLarge,
			Error: "the body, decoded, is larger than " + sizeText(s.cfg.Limits.Body) + ", or far larger than what was sent", Hint: "send less, or raise limits.body: a request is judged whole before it leaves"}
	}
	return &iatp.Problem{Slug: iatp.SlugUnsupportedEncoding, Status: http.StatusUnsupportedMediaType,
		Error: "Content-Encoding " + strconv.Quote(iatp.Printable(clip(s.scrub(coding), 40))) + " cannot be undone here", Hint: "send the body as it is, or coded as gzip, deflate, br or zstd: what cannot be scanned is not forwarded"}
}

// decodeReply undoes the content coding of a whole answer; ok is false if nobody
// here can read it.
func (s *Sidecar) decodeReply(coding string, body []byte) (text []byte, ok bool) {
	limit := int64(s.cfg.Limits.Body)
	reserve := min(limit+codingMemory(coding), int64(s.cfg.Limits.BodyMemory))
	if !s.bodies.take(reserve) {
		return nil, false
	}
	defer s.bodies.give(reserve)
	text, err := privacy.Decode(body, coding, limit)
	return text, err == nil
}

// decodeStream undoes the content coding of an answer as it comes. What was read of
// it goes to raw. It fails with errWithheld if nobody here can read it.
func (s *Sidecar) decodeStream(x *exchange, coding string, body io.Reader, raw io.Writer) (io.Reader, error) {
	windows := codingMemory(coding)
	if !s.bodies.take(windows) {
		return nil, errWithheld
	}
	x.held += windows
	const unbounded = 1 << 50 // the ratio still counts
	received := io.TeeReader(body, raw)
	plain, err := privacy.NewDecoder(received, coding, unbounded)
	if err != nil {
		return nil, errWithheld
	}
	return &decodedStream{plain, received}, nil
}

// decodedStream reads what is behind the end of the coded data as well: it belongs
// to what was received, and a trailer comes after it.
type decodedStream struct{ plain, received io.Reader }

func (d *decodedStream) Read(p []byte) (int, error) {
	n, err := d.plain.Read(p)
	if _, opaque := errors.AsType[*privacy.OpaqueError](err); opaque {
		return n, errors.Join(errWithheld, err)
	}
	if err == io.EOF {
		if _, rest := io.Copy(io.Discard, d.received); rest != nil {
			return n, rest
		}
	}
	return n, err
}
