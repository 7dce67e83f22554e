package sidecar

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// Handler is the local listener's: the wrapped agent's plane without a
// credential, the operator's with one (hardening 33). Routes are matched on the
// exact path as received, without decoding and without cleaning (hardening 14).
func (s *Sidecar) Handler() http.Handler {
	return http.HandlerFunc(s.serve)
}

func (s *Sidecar) serve(w http.ResponseWriter, r *http.Request) {
	w.Header()[iatp.HeaderFrom] = froms[iatp.FromSidecar]
	s.boundBody(w, r)
	if p := s.guard(r); p != nil {
		s.refuse(w, p)
		return
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	switch path {
	case "/proxy":
		s.proxy(w, r, s.active.Load().DefaultPeer)
	case "/capabilities", "/.well-known/agent-manifest":
		s.get(w, r, s.serveManifest)
	case "/health":
		s.get(w, r, s.serveHealth)
	case "/ready":
		s.get(w, r, s.serveReady)
	case "/metrics":
		s.get(w, r, s.metrics.handler().ServeHTTP)
	case "/":
		s.get(w, r, s.serveIndex)
	default:
		s.serveDeep(w, r, path)
	}
}

// serveDeep matches the routes with an id in them, and those for the operator.
func (s *Sidecar) serveDeep(w http.ResponseWriter, r *http.Request, path string) {
	if id, ok := strings.CutPrefix(path, "/trace/"); ok {
		s.get(w, r, func(w http.ResponseWriter, r *http.Request) { s.serveTrace(w, r, id) })
		return
	}
	if id, ok := strings.CutPrefix(path, "/quarantine/"); ok {
		s.serveQuarantine(w, r, id)
		return
	}
	if peer, ok := strings.CutPrefix(path, "/proxy/"); ok {
		if _, known := s.active.Load().Peers[peer]; known {
			s.proxy(w, r, peer)
			return
		}
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound,
			Error: "no peer is named " + strconv.Quote(iatp.Printable(clip(s.scrub(peer), 64))), Hint: "name it under peers: in the configuration; POST /proxy reaches the wrapped agent"})
		return
	}
	if path == "/peers/forget" {
		s.operatorOnly(s.forgetPeer)(w, r)
		return
	}
	if s.serveLocalUndo(w, r, path) {
		return
	}
	if h := s.operatorRoute(path); h != nil {
		s.get(w, r, s.operatorOnly(h))
		return
	}
	s.refuse(w, &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Error: "there is nothing at this path", Hint: "GET / lists what there is"})
}

// guard refuses what must not reach any route: names that an attacker can
// point at us, and requests that Go reads more kindly than we do (hardening 38).
func (s *Sidecar) guard(r *http.Request) *iatp.Problem {
	if _, ok := unixPeer(r.Context()); !ok && !s.hostAccepted(r.Host) {
		return &iatp.Problem{Slug: iatp.SlugMisdirected, Status: http.StatusMisdirectedRequest,
			Error: "this sidecar does not answer to that Host", Hint: "use localhost, 127.0.0.1 or [::1], or add the name to hosts: in the configuration"}
	}
	return guardTarget(r)
}

// guardTarget refuses requests that Go reads more kindly than we do.
func guardTarget(r *http.Request) *iatp.Problem {
	switch {
	case r.Method == http.MethodConnect || r.RequestURI == "*" || !strings.HasPrefix(r.RequestURI, "/"):
		return badRequest(iatp.SlugInvalidRequest, "the request target must be a path")
	case len(r.TransferEncoding) > 0 && !r.ProtoAtLeast(1, 1):
		return badRequest(iatp.SlugInvalidRequest, "Transfer-Encoding needs HTTP/1.1")
	case first(r.Header, "Upgrade") != "":
		return badRequest(iatp.SlugInvalidRequest, "no other protocol is spoken here: leave out Upgrade")
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.ContentLength != 0:
		return badRequest(iatp.SlugInvalidRequest, r.Method+" takes no body")
	}
	return nil
}

// acceptedHosts are the names of Config.Hosts and the host of Listen.
func acceptedHosts(c *Config) map[string]bool {
	names := map[string]bool{"localhost": true}
	for _, h := range append([]string{hostOf(c.Listen)}, c.Hosts...) {
		if h != "" {
			names[strings.ToLower(h)] = true
		}
	}
	return names
}

// hostAccepted judges the Host header. An IP literal is always good: a page
// cannot make a browser send one for a name that it rebinds.
func (s *Sidecar) hostAccepted(hostport string) bool {
	if s.hosts[hostport] {
		return true
	}
	if _, err := netip.ParseAddrPort(hostport); err == nil {
		return true // as from most programs
	}
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if s.hosts[host] {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// fromBrowser names the mark of a web page on a request, or "". Node's fetch
// sends Sec-Fetch-Mode: cors, and nothing else of these (hardening 34).
func fromBrowser(h http.Header) string {
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Dest", "Sec-Fetch-User"} {
		if _, ok := h[name]; ok {
			return name
		}
	}
	if v := first(h, "Sec-Fetch-Mode"); v != "" && v != "cors" {
		return "Sec-Fetch-Mode"
	}
	return ""
}

// proxy is the relay route of the local listener, to the wrapped agent or, with
// a name, to a peer.
func (s *Sidecar) proxy(w http.ResponseWriter, r *http.Request, peer string) {
	if mark := fromBrowser(r.Header); mark != "" {
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugForbidden, Status: http.StatusForbidden, Blocked: true,
			Error: "the request carries " + mark + ", as web pages do; agents' calls are relayed for programs only"})
		return
	}
	dir := flight.Local
	if peer != "" {
		dir = flight.Out
	}
	s.relay(w, r, dir, peer)
}

// relay walks an exchange down the corridor. peer is the name of whom it is for, if it
// is for another sidecar.
func (s *Sidecar) relay(w http.ResponseWriter, r *http.Request, dir flight.Dir, peer string) {
	x := exchanges.Get().(*exchange)
	x.dir, x.peer, x.line, x.relayed = dir, peer, watched(r), true
	s.serveWork(w, r, http.MethodPost, x, s.exchange)
	x.recycle() // unless there was a panic: then somebody may still hold it
}

// serveWork serves a request that may be work, unless we are draining.
func (s *Sidecar) serveWork(w http.ResponseWriter, r *http.Request, method string, x *exchange, serve func(*exchange)) {
	if r.Method != method {
		w.Header().Set("Allow", method)
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugMethodNotAllowed, Status: http.StatusMethodNotAllowed, Error: "this path takes " + method})
		return
	}
	if s.draining.Load() {
		s.refuse(w, shuttingDown())
		return
	}
	if s.setBack() != nil {
		s.refuse(w, s.oldLog())
		return
	}
	x.w, x.r, x.start = w, r, s.now()
	serve(x)
}

func shuttingDown() *iatp.Problem {
	return &iatp.Problem{Slug: iatp.SlugDraining, Status: http.StatusServiceUnavailable, RetryAfter: 2, Outcome: iatp.OutcomeNone, Error: "this sidecar is shutting down", Hint: "send it again after Retry-After"}
}

// enter takes one of the places of limits.concurrency, which leave gives back, or
// waits for one. A
// call from outside takes one when its signature is verified and not before:
// otherwise whoever can reach the port could keep those out who may call
// (hardening 18).
func (s *Sidecar) enter(x *exchange) *iatp.Problem {
	if !s.gate.enter(x.r.Context(), time.Duration(s.cfg.Limits.Wait)) {
		return s.overloaded("no place became free within limits.wait")
	}
	x.entered = true
	return nil
}

// exchange walks the corridor and answers with the problem it ended in, if any.
func (s *Sidecar) exchange(x *exchange) {
	defer s.leave(x)
	defer s.survive(x)
	if p := s.walk(x); p != nil {
		if x.st == nil {
			s.metrics.refused.WithLabelValues(p.Slug).Inc()
		}
		p = s.prove(x, p)
		x.letGo() // before the answer: whoever has it may try the key again
		p.TraceID = x.in.trace.id
		s.stamp(x, iatp.FromSidecar)
		s.writeProblem(x.w, p)
		s.finish(x, p.Status)
		return
	}
	s.finish(x, 0)
}

// survive keeps a bug of ours in one exchange from ending the others. What was
// under way stays recorded as a request without an end: its outcome is unknown.
func (s *Sidecar) survive(x *exchange) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	what := fmt.Sprintf("%T", v) // its text may hold what passed
	if err, ok := v.(runtime.Error); ok {
		what = err.Error()
	}
	x.kit = nil // a writer may still read the body in it: no other exchange gets it
	s.log.Error("bug: an exchange panicked", "trace_id", x.in.trace.id, "panic", what, "stack", string(debug.Stack()))
	if x.wroteHead {
		panic(http.ErrAbortHandler)
	}
	s.writeProblem(x.w, &iatp.Problem{Slug: "internal", Status: http.StatusInternalServerError, TraceID: x.in.trace.id, Outcome: iatp.OutcomeUnknown, Error: "a bug in the sidecar; its log has the details"})
}

// headerProof says that the receipt of a peer is missing or invalid.
const headerProof = "Iatp-Proof"

func (c changed) String() string {
	switch {
	case c.request && c.response:
		return "request, response"
	case c.request:
		return "request"
	case c.response:
		return "response"
	}
	return ""
}

// stamp adds what every answer of the corridor carries.
func (s *Sidecar) stamp(x *exchange, from string) {
	h := x.w.Header()
	h[iatp.HeaderFrom] = froms[from]
	if x.in.trace.id != "" {
		x.say(h, iatp.HeaderTraceID, string(x.in.trace.id))
	}
	x.say(h, iatp.HeaderLatency, millis(s.now().Sub(x.start)))
	if x.st != nil {
		x.say(h, iatp.HeaderTrustScore, strconv.Itoa(x.st.assessment.Score))
	}
	doubted := x.proof == proofMissing || x.proof == proofInvalid
	if x.released != nil || x.tainted || doubted {
		h.Set(iatp.HeaderQuarantined, "true")
	}
	if doubted {
		h.Set(headerProof, string(x.proof))
	}
	if x.receipt != "" {
		h.Set(iatp.HeaderReceipt, x.receipt)
	}
	if what := x.changed.String(); what != "" {
		h.Set(iatp.HeaderRedacted, what)
	}
}

// millis writes a duration as milliseconds with two digits behind the point.
func millis(d time.Duration) string {
	hundredths := max((d+5*time.Microsecond)/(10*time.Microsecond), 0)
	var text [24]byte
	b := strconv.AppendInt(text[:0], int64(hundredths/100), 10)
	return string(append(b, '.', byte('0'+hundredths/10%10), byte('0'+hundredths%10)))
}

// say sets a field of the answer whose name is spelled canonically. The values
// lie in the exchange.
func (x *exchange) say(h http.Header, name, value string) {
	i := x.said
	if i == len(x.values) {
		h.Set(name, value)
		return
	}
	if x.values == nil {
		x.values = new([4]string) // the answer's head keeps it
	}
	x.values[i], x.said = value, i+1
	h[name] = x.values[i : i+1 : i+1]
}

// finish counts an exchange that is over.
func (s *Sidecar) finish(x *exchange, status int) {
	m, now := s.metrics, s.now()
	m.requestBytes.Add(float64(len(x.body)))
	m.latency.Observe(now.Sub(x.start).Seconds())
	if x.st == nil {
		return
	}
	m.score.Observe(float64(x.st.assessment.Score))
	if x.decision == "" {
		x.decision = decidedRefused
	}
	m.decided(x.decision).Inc()
	for _, code := range x.codes {
		m.reasons.WithLabelValues(code).Inc()
	}
	if len(x.report.Findings)+len(x.report.Opaque) > 0 {
		m.found("request", x.tally(x.report, false, false))
	}
	if x.attempts > 0 {
		m.own.Observe((now.Sub(x.ready) - x.away).Seconds())
	}
}

// sidecarWord reports whether a header is ours alone to say (hardening 21).
func sidecarWord(name string) bool {
	return strings.HasPrefix(name, "Iatp-") || strings.HasPrefix(name, "X-Agent-") || strings.HasPrefix(name, "X-Forwarded-") ||
		strings.HasPrefix(name, "Access-Control-") || name == iatp.HeaderOverride || strings.IndexByte(name, '_') >= 0
}

// get admits GET and HEAD.
func (s *Sidecar) get(w http.ResponseWriter, r *http.Request, h http.HandlerFunc) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugMethodNotAllowed, Status: http.StatusMethodNotAllowed, Error: "this path takes GET"})
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h(w, r)
}

// isOperator reports whether the request has the operator's token, or came
// over the Unix socket from a process of our own user.
func (s *Sidecar) isOperator(r *http.Request) bool {
	if own, ok := unixPeer(r.Context()); ok && own {
		return true
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || fromBrowser(r.Header) != "" {
		return false
	}
	a, b := sha256.Sum256([]byte(token)), sha256.Sum256(s.operatorToken)
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func (s *Sidecar) operatorOnly(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.isOperator(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="iatp operator"`)
			s.refuse(w, &iatp.Problem{Slug: "operator-only", Status: http.StatusUnauthorized,
				Error: "this is for the operator", Hint: "send Authorization: Bearer with the token in DATA/operator.token; the iatp command does"})
			return
		}
		h(w, r)
	}
}

// refuse answers a request that never became an exchange.
func (s *Sidecar) refuse(w http.ResponseWriter, p *iatp.Problem) {
	s.metrics.refused.WithLabelValues(p.Slug).Inc()
	s.writeProblem(w, p)
}

// acceptSignature tells an unsigned caller what to sign (RFC 9421, section 5.1).
const acceptSignature = `iatp=("@method" "@target-uri" "content-type" "content-digest" "idempotency-key");created;expires;nonce;keyid;alg="ed25519";tag="iatp-v1"`

func (s *Sidecar) overloaded(why string) *iatp.Problem {
	return &iatp.Problem{Slug: iatp.SlugOverloaded, Status: http.StatusServiceUnavailable, RetryAfter: 1, Outcome: iatp.OutcomeNone, Error: "too much at once: " + why, Hint: "send it again after Retry-After"}
}

func (s *Sidecar) writeProblem(w http.ResponseWriter, p *iatp.Problem) {
	h := w.Header()
	if p.Slug == iatp.SlugSignatureRequired {
		h.Set("Accept-Signature", acceptSignature)
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	h.Set("Content-Type", iatp.ProblemContentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	body := s.problemBody(p)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}

// problemBody is a problem as it is sent, and as a receipt is about it.
func (s *Sidecar) problemBody(p *iatp.Problem) []byte {
	s.scrubProblem(p)
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // a Problem of ours always marshals
	}
	return append(body, '\n')
}

func entityTag(b []byte) string {
	sum := sha256.Sum256(b)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:]) + `"`
}
