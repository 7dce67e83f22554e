package sidecar

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/upstream"
	"github.com/inter-agent-trust/iatp/recovery"
)

// wholeReply is the largest answer of known length that is read whole before
// its first byte is passed on. Such an answer can still become a clean 502 if
// the agent breaks off, and a call can still be tried again.
const wholeReply = 64 << 10

// wholeTime is how long a longer answer may take that is read whole because it is JSON.
const wholeTime = time.Second

// Answers that are none.
var errTruncated = errors.New("the agent's answer broke off before its end")

// newAgentClient speaks to the wrapped agent, and makes no second try behind
// our back. It returns the target at which calls arrive, too.
func newAgentClient(cfg *Config) (*upstream.Client, string, error) {
	u, err := url.Parse(agentURL(cfg.Agent))
	if err != nil {
		return nil, "", fmt.Errorf("agent: %w", err)
	}
	c, err := upstream.New(upstream.Options{Origin: cfg.Agent, TLS: &tls.Config{MinVersion: tls.VersionTLS12}, MaxIdle: cfg.Limits.Concurrency})
	return c, u.RequestURI(), err
}

// newCall starts the clock. A call with an idempotency key is finished and
// recorded even if its caller leaves; any other ends with its caller
// (hardening 27).
func (s *Sidecar) newCall(x *exchange) *call {
	limit := time.Duration(s.cfg.Limits.Deadline)
	if x.signed != nil && !x.signed.Deadline.IsZero() {
		// The caller's clock said how long; ours measures it (protocol 3.4).
		limit = min(limit, x.signed.Deadline.Sub(x.signed.Created))
	}
	c, caller := x.kit.newCall(), x
	if x.in.idempotencyKey != "" || x.dir != flight.Local {
		caller = nil
	}
	s.calls.start(c, x.start.Add(limit), caller)
	return c
}

// forward sends the call to the wrapped agent and passes its answer on.
func (s *Sidecar) forward(x *exchange) *iatp.Problem {
	c := s.newCall(x)
	defer c.leave()
	resp, whole, failure := s.tryAgent(c, x)
	if failure == nil && s.meetAgain(c, x, resp, whole) {
		if p := s.agree(x); p != nil {
			return s.notAgreed(x, p)
		}
		resp, whole, failure = s.tryAgent(c, x)
	}
	if failure != nil {
		return s.agentFailed(x, failure)
	}
	if s.agreementWanted(x, resp, whole) {
		if p := s.agreeAnew(x); p != nil {
			return s.notAgreed(x, p)
		}
		if resp, whole, failure = s.tryAgent(c, x); failure != nil {
			return s.agentFailed(x, failure)
		}
	}
	defer resp.Body.Close()
	x.part = resp.StatusCode == http.StatusPartialContent
	if whole != nil || x.dir == flight.Out && resp.StatusCode == iatp.StatusRetryWith { // whose text is of no interest
		return s.passWhole(x, resp, whole)
	}
	return s.passStream(c, x, resp)
}

// failed is an agent that did not answer, with what was done about it.
type failed struct {
	recovery.Failure
	recovery.Result
}

// tryAgent calls the agent, and again where its manifest makes that safe.
func (s *Sidecar) tryAgent(c *call, x *exchange) (*http.Response, []byte, *failed) {
	back := s.rollBack(x)
	resp, whole, failure := s.tryOnce(c, x, back != nil)
	if failure == nil {
		return resp, whole, nil
	}
	return s.tryAgain(c, x, *failure, back)
}

// tryOnce is one attempt. Where the call can be rolled back, an answer that says that
// the agent failed is a failure, too.
func (s *Sidecar) tryOnce(c *call, x *exchange, revocable bool) (*http.Response, []byte, *recovery.Failure) {
	x.attempts++
	resp, whole, err := s.attempt(c, x)
	if err != nil {
		f := s.classify(c, x, err)
		return nil, nil, &f
	}
	if !revocable || whole == nil || resp.StatusCode < 500 {
		return resp, whole, nil
	}
	resp.Body.Close() // half done, as far as anybody can tell
	return nil, nil, &recovery.Failure{TraceID: x.in.trace.id, Kind: recovery.Status, Status: resp.StatusCode, Sent: true, Attempt: x.attempts, Remaining: c.end.Sub(s.now())}
}

// tryAgain does what can be done about an attempt that failed.
func (s *Sidecar) tryAgain(c *call, x *exchange, last recovery.Failure, back func(context.Context) error) (*http.Response, []byte, *failed) {
	if s.cfg.Recovery == RecoveryOff {
		return nil, nil, &failed{last, recovery.Result{Strategy: recovery.GiveUp, ActionsTaken: []string{"none: recovery is off"}}}
	}
	var resp *http.Response
	var whole []byte
	sent := last.Sent // in any attempt: what counts for the outcome
	again := func(context.Context) error {
		var f *recovery.Failure
		if resp, whole, f = s.tryOnce(c, x, back != nil); f == nil {
			return nil
		}
		last = *f
		sent = sent || last.Sent
		return f
	}
	bounded := last
	bounded.Remaining = min(bounded.Remaining, time.Duration(s.cfg.Limits.RetryBudget))
	result := recovery.Handle(c.context(), bounded, x.repeatable(), again, back)
	if result.Success && result.Strategy == recovery.Retry {
		return resp, whole, nil
	}
	last.Sent = sent
	return nil, nil, &failed{last, result}
}

// repeatable is the manifest that says whether the call may be sent again. One
// to a peer may: its sidecar executes a key once.
func (x *exchange) repeatable() *iatp.Manifest {
	if x.dir != flight.Out {
		return x.st.manifest
	}
	m := *x.st.manifest
	m.Capabilities.Idempotency = true
	return &m
}

// attempt is one request to the agent. A reply of known, small length comes
// back whole, and a longer one that is JSON, see readLong.
func (s *Sidecar) attempt(c *call, x *exchange) (*http.Response, []byte, error) {
	if !s.now().Before(c.end) { // what cannot be in time is not begun (protocol 3.4)
		c.stop(errNoTime)
		return nil, nil, &attemptError{errNoTime, false}
	}
	send := s.sendAgent
	if x.dir == flight.Out {
		send = s.sendPeer
	}
	resp, err := send(c, x)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode == http.StatusNotModified {
		resp.Header.Del("Content-Type") // which net/http does not pass on: nothing may be proven of it
	}
	c.begun.Store(true)
	c.within(x.back, time.Duration(s.cfg.Limits.Idle))
	if resp.ContentLength > wholeReply && isJSON(first(resp.Header, "Content-Type")) && codingOf(resp.Header) == "" {
		return s.readLong(c, x, resp)
	}
	if resp.ContentLength < 0 || resp.ContentLength > wholeReply || isEventStream(resp.Header) {
		return resp, nil, nil
	}
	whole := x.kit.answerOf(resp.ContentLength)
	if _, err := io.ReadFull(resp.Body, whole); err != nil {
		resp.Body.Close()
		return nil, nil, &attemptError{truncation(err), true}
	}
	return resp, whole, nil
}

// readLong reads a JSON answer that is no longer than a request may be, as long as there
// is room for it among them: JSON that is read as JSON is searched in a third of the time
// that a stream takes (decision 0047). One that does not come at once becomes a stream.
func (s *Sidecar) readLong(c *call, x *exchange, resp *http.Response) (*http.Response, []byte, error) {
	size := resp.ContentLength
	if size > int64(s.cfg.Limits.Body) || !s.bodies.take(size) {
		return resp, nil, nil
	}
	x.held += size
	whole := make([]byte, size)
	for got := 0; ; {
		n, err := resp.Body.Read(whole[got:])
		if got += n; got == len(whole) {
			return resp, whole, nil
		}
		if err != nil {
			resp.Body.Close()
			return nil, nil, &attemptError{truncation(err), true}
		}
		now := s.now()
		if c.within(now, time.Duration(s.cfg.Limits.Idle)); now.Sub(x.back) >= wholeTime {
			resp.Body = &resumed{io.MultiReader(bytes.NewReader(whole[:got]), resp.Body), resp.Body}
			return resp, nil, nil
		}
	}
}

// resumed is a body of which a part was read before.
type resumed struct {
	io.Reader
	io.Closer
}

// sendAgent sends the call to the wrapped agent.
func (s *Sidecar) sendAgent(c *call, x *exchange) (*http.Response, error) {
	return s.send(c, x, s.agent, s.agentRequest(x))
}

// sendPeer sends the call to the peer, signed.
func (s *Sidecar) sendPeer(c *call, x *exchange) (*http.Response, error) {
	req, err := s.peerRequest(c, x)
	if err != nil {
		return nil, &attemptError{err, false}
	}
	return s.send(c, x, x.met.Calls, req)
}

// send sends an attempt.
func (s *Sidecar) send(c *call, x *exchange, to *upstream.Client, req *upstream.Request) (*http.Response, error) {
	began := s.now()
	if x.dir != flight.Out && x.attempts == 1 {
		s.gate.feel(began.Sub(x.ready))
	}
	c.await(began)
	resp, err := to.Do(&c.Call, req)
	x.returned(began, s.now())
	if err != nil {
		e, ok := errors.AsType[*upstream.Error](err)
		return nil, &attemptError{err, !ok || e.Sent}
	}
	return resp, nil
}

// returned notes that an attempt is over: the time since it began was not ours.
func (x *exchange) returned(began, now time.Time) {
	x.back = now
	x.away += now.Sub(began)
}

// attemptError says whether the agent may have seen anything of the request.
type attemptError struct {
	err  error
	sent bool
}

func (e *attemptError) Error() string { return e.err.Error() }
func (e *attemptError) Unwrap() error { return e.err }

func truncation(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errTruncated
	}
	return err
}

// classify turns a failed attempt into what the recovery decision needs.
func (s *Sidecar) classify(c *call, x *exchange, err error) recovery.Failure {
	f := recovery.Failure{TraceID: x.in.trace.id, Kind: recovery.Reset, Err: err, Attempt: x.attempts, Remaining: c.end.Sub(s.now())}
	if a, ok := errors.AsType[*attemptError](err); ok {
		f.Sent = a.sent
	}
	cause := c.Err()
	var op *net.OpError
	switch {
	case errors.Is(cause, errDeadline), errors.Is(cause, errNoTime), errors.Is(cause, errIdle):
		f.Kind, f.Err = recovery.Timeout, cause
	case cause != nil:
		f.Kind, f.Err = recovery.Canceled, errClientGone
	case errors.Is(err, errTruncated):
		f.Kind = recovery.Truncated
	case errors.Is(err, upstream.ErrMalformed), errors.Is(err, upstream.ErrSwitching):
		f.Kind = recovery.Protocol
	case !f.Sent, errors.As(err, &op) && op.Op == "dial", errors.Is(err, syscall.ECONNREFUSED):
		f.Kind = recovery.Connect
	}
	return f
}

// agentFailed ends an exchange whose agent gave no usable answer.
func (s *Sidecar) agentFailed(x *exchange, f *failed) *iatp.Problem {
	p := &iatp.Problem{
		Slug: iatp.SlugUpstreamFailed, Status: http.StatusBadGateway, Outcome: outcomeOf(f.Sent),
		Recovery: &iatp.Recovery{Strategy: string(f.Strategy), Success: f.Success, ActionsTaken: f.ActionsTaken},
	}
	if x.dir == flight.In {
		p.Outcome = x.undo.outcome(p.Outcome)
	}
	if x.dir == flight.Out && f.Sent {
		p.Outcome = string(s.askPeer(x))
	}
	code := string(f.Kind)
	switch f.Kind {
	case recovery.Timeout:
		p.Slug, p.Status = iatp.SlugDeadlineExceeded, http.StatusGatewayTimeout
		p.Error = f.Err.Error()
	case recovery.Canceled:
		code, p.Error = "client_gone", f.Err.Error()
	case recovery.Connect:
		p.Error = "the agent cannot be reached"
		p.Hint = "is it running at the address in agent: ?"
		if x.dir == flight.Out {
			p.Error, p.Hint = "the peer cannot be reached", "is its sidecar running at the address in peers: ?"
		}
	case recovery.Status:
		p.Error = "the agent answered with status " + strconv.Itoa(f.Status)
	case recovery.Truncated:
		p.Error = errTruncated.Error()
	default:
		p.Error = "the agent broke the connection or did not speak HTTP"
		if x.dir == flight.Out {
			p.Error = "the peer broke the connection or did not speak HTTP"
		}
	}
	x.decision = decidedFailed
	p = s.about(x, p)
	end := &ending{status: p.Status, outcome: flight.Outcome(p.Outcome), errCode: code}
	if x.signed != nil {
		s.receiptForProblem(x, p, end)
	}
	if err := s.recordEnd(x, end); err != nil {
		return s.unrecorded(x, err, p.Outcome)
	}
	s.metrics.agentFailures.WithLabelValues(code).Inc()
	return p
}

// outcomeOf is honest about what the agent may have done.
func outcomeOf(sent bool) string {
	if sent {
		return "unknown"
	}
	return "none"
}

func isEventStream(h http.Header) bool {
	return mediaType(h) == "text/event-stream"
}

// passedOn reports whether a field of an answer's head is the agent's to say to the
// caller. What is not: fields that are between us and the agent only (RFC 9110, 7.6.1),
// those that would let the answer act on the origin it is relayed from (hardening 34),
// its length, which we know, and what is ours alone to say.
func passedOn(name string, dir flight.Dir) bool {
	switch name {
	case "Set-Cookie", "Set-Cookie2", "Service-Worker-Allowed", "Clear-Site-Data", "Alt-Svc", "Strict-Transport-Security", "Content-Security-Policy", "Content-Security-Policy-Report-Only",
		"Content-Length":
		return false
	case "Location":
		// A client that follows a redirect would send the call past its own
		// sidecar, unjudged and unsigned.
		return dir != flight.Out
	}
	return !betweenTwo(name) && !sidecarWord(name)
}

// betweenTwo reports whether a field is between the two ends of one connection only (RFC
// 9110, 7.6.1).
func betweenTwo(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// Values that every answer carries. Nobody writes to them: who adds to a field gets
// another slice.
var (
	nosniff = []string{"nosniff"}
	sandbox = []string{"sandbox"}
	froms   = map[string][]string{iatp.FromSidecar: {iatp.FromSidecar}, iatp.FromAgent: {iatp.FromAgent}, iatp.FromPeer: {iatp.FromPeer}}
)

// copyReplyHead passes the agent's head on, without what is not its to say, and
// announces a trailer.
func (s *Sidecar) copyReplyHead(x *exchange, resp *http.Response, trailer ...string) {
	h := x.w.Header()
	nominated := resp.Header["Connection"]
	for name, values := range resp.Header {
		if passedOn(name, x.dir) && (len(nominated) == 0 || !hasToken(resp.Header, "Connection", name)) {
			h[name] = values
		}
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // or net/http would guess one, and the receipt has none
	}
	if resp.ContentLength >= 0 && len(trailer) == 0 {
		x.say(h, "Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	} else if len(trailer) > 0 {
		h["Trailer"] = trailer // which needs chunks
	}
	if x.dir == flight.Out { // another was treated before its receipt was made
		s.treatHead(x, h)
	}
	h["X-Content-Type-Options"] = nosniff
	h["Content-Security-Policy"] = sandbox
	from := iatp.FromAgent
	if x.dir == flight.Out {
		from = iatp.FromPeer
	}
	s.stamp(x, from)
	x.wroteHead = true
	x.w.WriteHeader(resp.StatusCode)
}
