package sidecar

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/ijson"
	"github.com/inter-agent-trust/iatp/privacy"
)

// forwardedHeaders are the caller's end-to-end headers that reach the agent,
// in the order in which the action digest covers them. Everything else stays
// here (product.md: an allow-list, never Authorization or Cookie).
var forwardedHeaders = [...]string{"Accept", "Accept-Language", "Content-Type", "Idempotency-Key", "Prefer"}

// inbound is what the caller sent, judged header by header before its body.
type inbound struct {
	contentType    string
	coding         string // content codings of the body; "" if none
	idempotencyKey string // without quotes; "" if none
	override       string
	saga           string      // id of the saga that the call is a part of; "" if none
	budget         iatp.Money  // what the caller is ready to pay; zero if it does not say
	forward        http.Header // what the agent may see of the caller's headers
	trace          traceContext
}

// traceContext ties the seed's trace id to the W3C trace context.
type traceContext struct {
	id     iatp.TraceID
	minted bool             // made here, so it is as hard to guess as 128 random bits
	parent iatp.TraceParent // what the agent is sent: our own span
	from   [8]byte          // the span that the caller names as its parent; zero if none
	link   iatp.TraceID     // the other trace id, where caller sent two that differ
	text   string           // of parent
}

// outgoing is parent as it is written.
func (t *traceContext) outgoing() string {
	if t.text == "" {
		t.text = t.parent.String()
	}
	return t.text
}

// readHead judges everything but the body.
func (s *Sidecar) readHead(r *http.Request, k *kit) (inbound, *iatp.Problem) {
	var in inbound
	h := r.Header
	for name, values := range h {
		if strings.IndexByte(name, '_') >= 0 {
			return in, badRequest("bad-header", "a header name contains an underscore: proxies and programs disagree on such names, so none is forwarded")
		}
		if len(values) > 1 && singleValued(name) {
			return in, badRequest("bad-header", name+" is given more than once")
		}
	}
	in.coding = codingOf(h)
	if p := earlyData(h); p != nil {
		return in, p
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return in, badRequest("bad-target", "a query is not forwarded to the agent; put what it needs into the body")
	}
	if v := first(h, iatp.HeaderOverride); v != "" {
		if mark := relayed(h); mark != "" {
			return in, &iatp.Problem{Slug: iatp.SlugPolicy, Status: http.StatusForbidden, Blocked: true,
				Error: iatp.HeaderOverride + " came with " + mark + ": an override counts only from this machine, not through a relay",
				Hint:  "send the override directly to the sidecar's local listener"}
		}
		in.override = v
	}
	if p := in.readIdempotencyKey(h); p != nil {
		return in, p
	}
	if p := in.readTrace(first(h, iatp.HeaderTraceID), first(h, iatp.HeaderTraceParent)); p != nil {
		return in, p
	}
	if p := in.readBudget(h); p != nil {
		return in, p
	}
	in.saga = first(h, iatp.HeaderSaga)
	in.contentType = first(h, "Content-Type")
	in.forward = k.newHead()
	for _, name := range forwardedHeaders {
		if v := first(h, name); v != "" {
			in.forward[name] = h[name][:1:1]
		}
	}
	return in, s.scanHead(&in)
}

// first is h.Get for a name that is spelled canonically.
func first(h http.Header, name string) string { return one(h[name]) }

// one is the first line of a field, "" if there is none.
func one(lines []string) string {
	if len(lines) > 0 {
		return lines[0]
	}
	return ""
}

// earlyData refuses what a proxy in front took before its handshake was over
// (RFC 8470).
func earlyData(h http.Header) *iatp.Problem {
	if first(h, "Early-Data") != "1" {
		return nil
	}
	return &iatp.Problem{Slug: iatp.SlugTooEarly, Status: http.StatusTooEarly, Error: "the request came as TLS early data, which can be replayed", Hint: "send it again after the handshake"}
}

// slugSensitive names the refusal of what is copied everywhere and must not be
// sensitive: ids, header values.
const slugSensitive = "sensitive-data-in-head"

// scanHead refuses sensitive data where it cannot be redacted or judged by
// class: ids and header values are copied into logs and traces everywhere
// (hardening 22).
func (s *Sidecar) scanHead(in *inbound) *iatp.Problem {
	check := func(where, value string) *iatp.Problem {
		if s.clean(value) {
			return nil
		}
		return badRequest(slugSensitive, where+" holds what looks like sensitive data; it belongs in the body, where it can be judged and redacted")
	}
	if !in.trace.minted {
		if p := check(iatp.HeaderTraceID, string(in.trace.id)); p != nil {
			in.trace.id = "" // or the refusal would repeat it
			return p
		}
	}
	for name, values := range in.forward {
		for _, v := range values {
			if p := check(name, v); p != nil {
				return p
			}
		}
	}
	return nil
}

// clean reports whether a short text holds nothing sensitive. One in quotes, as
// an Idempotency-Key is, is looked at without them: a UUID is known by its length.
func (s *Sidecar) clean(text string) bool {
	if n := len(text); n > 2 && text[0] == '"' && text[n-1] == '"' {
		text = text[1 : n-1]
	}
	if text == "" || text == jsonType {
		return true
	}
	st := s.standing.Load()
	return len(st.rules.FindingsOf(st.scanner.ScanText([]byte(text)))) == 0
}

func singleValued(name string) bool {
	switch name {
	case "Content-Type", "Content-Encoding", "Idempotency-Key", "X-Idempotency-Key", "Traceparent",
		http.CanonicalHeaderKey(iatp.HeaderTraceID), http.CanonicalHeaderKey(iatp.HeaderOverride), http.CanonicalHeaderKey(iatp.HeaderBudget), iatp.HeaderSaga, "Accept-Language", "Accept", "Prefer":
		return true
	}
	return false
}

// readIdempotencyKey takes Idempotency-Key, or the reference's
// X-Idempotency-Key, as a quoted sf-string or bare.
func (in *inbound) readIdempotencyKey(h http.Header) *iatp.Problem {
	v, alias := first(h, "Idempotency-Key"), first(h, "X-Idempotency-Key")
	if v == "" {
		v = alias
	} else if alias != "" && alias != v {
		return badRequest("bad-idempotency-key", "Idempotency-Key and X-Idempotency-Key are both given and differ")
	}
	if v == "" {
		return nil
	}
	key := v
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		key = v[1 : len(v)-1]
	}
	if key == "" || len(key) > 128 || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return badRequest("bad-idempotency-key", "Idempotency-Key must be 1 to 128 printable ASCII characters without quotes or backslashes inside")
	}
	in.idempotencyKey = key
	h.Set("Idempotency-Key", `"`+key+`"`)
	return nil
}

// readTrace keeps the caller's trace id if it is well-formed, takes it from
// traceparent if that is all there is, and otherwise has one made by mint.
func (in *inbound) readTrace(given, parent string) *iatp.Problem {
	t := &in.trace
	rand.Read(t.parent.SpanID[:])
	t.parent.Flags = 1
	outer, err := iatp.ParseTraceParent(parent)
	haveParent := err == nil // anything else: the trace starts here, as W3C says
	if haveParent {
		t.parent.TraceID, t.parent.Flags, t.from = outer.TraceID, outer.Flags, outer.SpanID
	}
	if given == "" {
		if !haveParent {
			t.id, t.minted = mintTrace(), true
			t.parent.TraceID, _ = t.id.Bits()
			return nil
		}
		t.id = uuidForm(outer.TraceID)
		return nil
	}
	id, err := iatp.ParseTraceID(given)
	if err != nil {
		return badRequest("bad-trace-id", iatp.HeaderTraceID+" must match ^[A-Za-z0-9._-]{1,128}$")
	}
	t.id = id
	bits, is128 := id.Bits()
	switch {
	case is128 && !haveParent:
		t.parent.TraceID = bits
	case is128 && bits != outer.TraceID, !is128 && haveParent:
		t.link = iatp.TraceID(fmt.Sprintf("%x", outer.TraceID))
	case !is128:
		rand.Read(t.parent.TraceID[:])
		t.link = iatp.TraceID(fmt.Sprintf("%x", t.parent.TraceID))
	}
	return nil
}

func uuidForm(b [16]byte) iatp.TraceID {
	return iatp.TraceID(fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]))
}

// forwardedDigest is a digest over the header values that the caller sent and
// that would be forwarded.
func (in *inbound) forwardedDigest() string {
	h := sha256.New()
	names := forwardedHeaders[:]
	for _, name := range slices.Sorted(maps.Keys(in.forward)) { // those of one peer only
		if !slices.Contains(names, name) {
			names = append(names[:len(names):len(names)], name)
		}
	}
	for _, name := range names {
		for _, v := range in.forward[name] {
			fmt.Fprintf(h, "%d:%s%d:%s", len(name), name, len(v), v)
		}
	}
	return "sha-256=:" + base64.StdEncoding.EncodeToString(h.Sum(nil)) + ":"
}

// memory is a budget of bytes shared by all exchanges. It bounds what slow or
// many callers can make us hold.
type memory struct {
	max  int64
	held atomic.Int64
}

func (m *memory) take(n int64) bool {
	if m.held.Add(n) > m.max {
		m.held.Add(-n)
		return false
	}
	return true
}

func (m *memory) give(n int64) { m.held.Add(-n) }

// firstBody is what a body buffer starts with when its length is not known.
const firstBody = 4 << 10

// readBody reads the whole body within its bounds. The buffer grows with what
// has arrived, never with what was announced, so a slow caller holds no more
// than he sent (twice that, while it grows). x.held is what to give back.
func (s *Sidecar) readBody(w http.ResponseWriter, r *http.Request, x *exchange) *iatp.Problem {
	limit := int64(s.cfg.Limits.Body)
	if r.ContentLength > limit {
		return s.tooLarge(w, r)
	}
	size := int64(firstBody)
	if r.ContentLength >= 0 && r.ContentLength < size {
		size = r.ContentLength + 1 // one more, so that the last read sees EOF
	}
	buf := x.kit.bodyOf(size)
	if size = int64(cap(buf)); !s.bodies.take(size) {
		return s.noRoom(w, r)
	}
	x.held = size
	for {
		if len(buf) == cap(buf) {
			more := min(int64(cap(buf)), limit+1-int64(cap(buf)))
			if more <= 0 {
				return s.tooLarge(w, r)
			}
			if !s.bodies.take(more) {
				return s.noRoom(w, r)
			}
			x.held += more
			grown := make([]byte, len(buf), int64(cap(buf))+more)
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return s.bodyProblem(w, err)
		}
	}
	if int64(len(buf)) > limit {
		return s.tooLarge(w, r)
	}
	// The body is here; what comes on this connection now is either nothing or
	// the end of the caller's interest, for which net/http listens.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	x.body, x.size = buf, int64(len(buf))
	return nil
}

// boundBody gives the body of a request, whoever reads it, a time in which to
// arrive: without one a caller could hold it open for ever. An error means that
// the connection has no deadlines, as in a test recorder.
func (s *Sidecar) boundBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Duration(s.cfg.Limits.BodyTime)))
	}
}

// bodyProblem refuses a body that did not arrive. The connection is of no use
// any more: without Connection: close, net/http would wait for the rest of the
// body before it answers.
func (s *Sidecar) bodyProblem(w http.ResponseWriter, err error) *iatp.Problem {
	w.Header().Set("Connection", "close")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &iatp.Problem{Slug: "request-timeout", Status: http.StatusRequestTimeout,
			Error: "the body did not arrive within " + time.Duration(s.cfg.Limits.BodyTime).String(), Hint: "send it faster, or raise limits.body_time"}
	}
	return badRequest("bad-request", "the body broke off before its end")
}

// turnAway gives up on a body. It reads on for a moment, holding nothing: a
// caller who is still sending would be cut off before he could read the answer.
// The connection ends with the answer.
func (s *Sidecar) turnAway(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.CopyN(io.Discard, r.Body, 2*int64(s.cfg.Limits.Body))
}

func (s *Sidecar) tooLarge(w http.ResponseWriter, r *http.Request) *iatp.Problem {
	s.turnAway(w, r)
	return &iatp.Problem{Slug: iatp.SlugTooLarge, Status: http.StatusRequestEntityTooLarge,
		Error: "the body is larger than " + sizeText(s.cfg.Limits.Body), Hint: "send less, or raise limits.body: a request is judged whole before it leaves"}
}

func (s *Sidecar) noRoom(w http.ResponseWriter, r *http.Request) *iatp.Problem {
	s.turnAway(w, r)
	return s.overloaded("request bodies already hold " + sizeText(s.cfg.Limits.BodyMemory))
}

func sizeText(s Size) string {
	b, _ := s.MarshalText()
	return string(b)
}

// understand checks that the body is strict JSON, and scans it in the same
// pass. The content type is judged last, so that what is not JSON at all gets
// the seed's "Invalid JSON" whatever it calls itself.
func (s *Sidecar) understand(x *exchange) *iatp.Problem {
	if p := s.decode(x); p != nil {
		return p
	}
	report, form, err := s.scan(x, x.body, s.standing.Load().keep)
	if err != nil {
		p := &iatp.Problem{Slug: iatp.SlugInvalidJSON, Status: http.StatusBadRequest, Error: "Invalid JSON"}
		if e, ok := errors.AsType[*ijson.Error](err); ok {
			e.Pointer = s.scrubPointer(e.Pointer) // before the text quotes it
			p.Error = "Invalid JSON: " + e.Error()
			p.Where = &iatp.Place{Line: e.Line, Column: e.Column, Pointer: e.Pointer}
		}
		return p
	}
	if !isJSON(x.in.contentType) {
		return &iatp.Problem{Slug: "unsupported-media-type", Status: http.StatusUnsupportedMediaType,
			Error: "Content-Type must be application/json", Hint: "send -H 'Content-Type: application/json'; web pages cannot send it here without asking, which is the point"}
	}
	if x.report, x.form = report, form; x.dir != flight.In {
		x.bodySum = sha256.Sum256(x.body)
	}
	return nil
}

// scan checks that body is strict JSON and looks for sensitive data, in one pass. It
// also makes the canonical form that goes into the record, if keep and nothing was found
// that is not to stand there. The form is good until the next scan of the exchange.
func (s *Sidecar) scan(x *exchange, body []byte, keep bool) (r privacy.Report, form []byte, err error) {
	lim := ijson.Limits{Depth: s.cfg.Limits.Depth}
	if x.kit == nil || !keep || len(body) > 2*flight.MaxPayload { // of which a line will hardly hold all
		r, err = s.scanner().ScanJSON(body, lim)
		return r, nil, err
	}
	r, form, ok, err := s.scanner().ScanCanonical(x.kit.form[:0], body, lim, flight.MaxPayload, flight.MaxPayloadDepth)
	if cap(form) <= mostBuffer {
		x.kit.form = form[:0]
	}
	if !ok || err != nil || len(r.Findings) > 0 {
		return r, nil, err
	}
	return r, form, nil
}

// jsonType is how nearly all say it, and needs no parsing.
const jsonType = "application/json"

func isJSON(contentType string) bool {
	if contentType == jsonType {
		return true
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || (media != "application/json" && !(strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))) {
		return false
	}
	charset, ok := params["charset"]
	return !ok || strings.EqualFold(charset, "utf-8")
}

func badRequest(slug, text string) *iatp.Problem {
	return &iatp.Problem{Slug: slug, Status: http.StatusBadRequest, Error: text}
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// hasToken reports whether a comma-separated header names token.
func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(h[name], func(line string) bool {
		return slices.ContainsFunc(strings.Split(line, ","), func(t string) bool { return strings.EqualFold(strings.TrimSpace(t), token) })
	})
}
