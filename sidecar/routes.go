package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/flight"
)

// serveManifest answers with the very bytes of the manifest (protocol 1.2).
func (s *Sidecar) serveManifest(w http.ResponseWriter, r *http.Request) {
	st := s.standing.Load()
	h := w.Header()
	h.Set("ETag", st.etag)
	h.Set("Cache-Control", "max-age="+strconv.Itoa(s.freshFor(st.manifest)))
	if match := r.Header.Get("If-None-Match"); match != "" && etagMatches(match, st.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeBytes(w, r, http.StatusOK, "application/json", st.manifest.Bytes())
}

// freshFor is for how many seconds the manifest may be cached: an hour, and not
// beyond its end (hardening 10).
func (s *Sidecar) freshFor(m *iatp.Manifest) int {
	const hour = 3600
	if m.ExpiresAt.IsZero() {
		return hour
	}
	return int(min(max(m.ExpiresAt.Sub(s.now()).Seconds(), 0), hour))
}

func etagMatches(header, tag string) bool {
	for t := range strings.SplitSeq(header, ",") {
		if t = strings.TrimSpace(t); t == "*" || t == tag {
			return true
		}
	}
	return false
}

// serveHealth says whether calls would be served now.
func (s *Sidecar) serveHealth(w http.ResponseWriter, r *http.Request) {
	s.writeHealth(w, r, "healthy", "unhealthy", s.unhealthy())
}

func (s *Sidecar) unhealthy() []string {
	var reasons []string
	if s.draining.Load() {
		reasons = append(reasons, "draining")
	}
	if s.book.Err() != nil {
		reasons = append(reasons, "the flight recorder cannot write")
	}
	if s.setBack() != nil {
		reasons = append(reasons, errSetBack.Error())
	}
	return reasons
}

// serveReady also looks whether the agent accepts connections. It sends
// nothing: a probe must not be work.
func (s *Sidecar) serveReady(w http.ResponseWriter, r *http.Request) {
	reasons := s.unhealthy()
	if err := s.dialAgent(r.Context()); err != nil {
		reasons = append(reasons, "the agent does not accept connections")
	}
	s.writeHealth(w, r, "ready", "not ready", reasons)
}

func (s *Sidecar) dialAgent(ctx context.Context) error {
	u, err := url.Parse(s.agentURL)
	if err != nil {
		return err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	return c.Close()
}

func (s *Sidecar) writeHealth(w http.ResponseWriter, r *http.Request, good, bad string, reasons []string) {
	status, word := http.StatusOK, good
	if len(reasons) > 0 {
		status, word = http.StatusServiceUnavailable, bad
	}
	writeJSON(w, r, status, api.Health{Status: word, AgentID: s.standing.Load().manifest.Identity.AgentID, Reasons: reasons})
}

// serveIndex tells a person with curl what there is.
func (s *Sidecar) serveIndex(w http.ResponseWriter, r *http.Request) {
	writeBytes(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte(`IATP sidecar
POST /proxy                        a task for the wrapped agent
POST /proxy/{peer}                 a task for a peer of the configuration
GET  /capabilities                 its manifest (also /.well-known/agent-manifest)
GET  /trace/{trace_id}             what the flight recorder has of a trace
GET  /quarantine/{trace_id}        the quarantine session of a trace
GET  /health  /ready  /metrics
With the operator's token (Authorization: Bearer …):
GET  /trace?limit=N  /trace?after=SEQ
POST /quarantine/{trace_id}        {"state":"reviewed"|"released","by":"…"}
GET  /peers  /peers?visit=1
POST /peers/forget                 {"peer":"…","by":"…"}
GET  /log/checkpoint  /log/proof?index=N  /log/export  /log/bundle?trace=ID
`))
}

// readable parses a trace id out of a path and says whether the caller may read
// its records: without the operator's token only ids that were minted here,
// since nobody else can guess those (hardening 33).
func (s *Sidecar) readable(w http.ResponseWriter, r *http.Request, raw string) (iatp.TraceID, [][]byte, bool) {
	id, err := iatp.ParseTraceID(raw)
	if err != nil {
		s.refuse(w, badRequest("bad-trace-id", "a trace id must match ^[A-Za-z0-9._-]{1,128}$"))
		return "", nil, false
	}
	lines, err := s.book.Trace(id)
	if err != nil && !errors.Is(err, flight.ErrMore) {
		s.log.Error("read trace", "error", err)
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugLogUnavailable, Status: http.StatusServiceUnavailable, Error: "the flight recorder cannot be read"})
		return "", nil, false
	}
	if len(lines) == 0 || (!s.isOperator(r) && !mintedHere(lines[0])) {
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Error: "no such trace",
			Hint: "ids that a caller chose are shown to the operator only: send the operator's token"})
		return "", nil, false
	}
	return id, lines, true
}

// mintedHere reports whether a trace's record says that its id was made here.
func mintedHere(line []byte) bool {
	var l struct {
		Minted bool `json:"minted"`
	}
	return json.Unmarshal(line, &l) == nil && l.Minted
}

func (s *Sidecar) serveTrace(w http.ResponseWriter, r *http.Request, raw string) {
	id, lines, ok := s.readable(w, r, raw)
	if !ok {
		return
	}
	t := api.Trace{TraceID: id, Logs: rawLines(lines)}
	if session, err := s.quarantine.session(id); err == nil {
		t.Quarantine = session
	}
	if s.isOperator(r) {
		t.Receipts = s.receiptsIn(lines)
	}
	writeJSON(w, r, http.StatusOK, t)
}

func rawLines(lines [][]byte) []json.RawMessage {
	out := make([]json.RawMessage, len(lines))
	for i, l := range lines {
		out[i] = l
	}
	return out
}

// serveQuarantine shows a session, or takes the operator's word on it.
func (s *Sidecar) serveQuarantine(w http.ResponseWriter, r *http.Request, raw string) {
	if r.Method == http.MethodPost {
		s.operatorOnly(func(w http.ResponseWriter, r *http.Request) { s.postQuarantine(w, r, raw) })(w, r)
		return
	}
	s.get(w, r, func(w http.ResponseWriter, r *http.Request) {
		if id, _, ok := s.readable(w, r, raw); ok {
			s.showQuarantine(w, r, id)
		}
	})
}

func (s *Sidecar) showQuarantine(w http.ResponseWriter, r *http.Request, id iatp.TraceID) {
	session, err := s.quarantine.session(id)
	switch {
	case err != nil:
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugLogUnavailable, Status: http.StatusServiceUnavailable, Error: "the flight recorder cannot be read"})
	case session == nil:
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Error: "this trace is not in quarantine"})
	default:
		writeJSON(w, r, http.StatusOK, session)
	}
}

func (s *Sidecar) postQuarantine(w http.ResponseWriter, r *http.Request, raw string) {
	id, _, ok := s.readable(w, r, raw)
	if !ok {
		return
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugUnsupportedMediaType, Status: http.StatusUnsupportedMediaType, Error: "Content-Type must be application/json"})
		return
	}
	var c api.QuarantineChange
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 8<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		s.refuse(w, badRequest(iatp.SlugInvalidJSON, "Invalid JSON: the body must be {\"state\":…,\"by\":…,\"note\":…}"))
		return
	}
	if (c.State != quarantineReviewed && c.State != quarantineReleased) || c.By == "" || len(c.By) > 100 || len(c.Note) > 400 {
		s.refuse(w, badRequest(iatp.SlugInvalidRequest, "state must be reviewed or released, by a name of 1 to 100 characters, note at most 400"))
		return
	}
	session, err := s.quarantine.session(id)
	if err == nil && session == nil {
		s.showQuarantine(w, r, id) // says that there is none
		return
	}
	if err == nil {
		err = s.changeQuarantine(id, c)
	}
	if err != nil {
		s.refuse(w, s.logUnavailable(err))
		return
	}
	s.showQuarantine(w, r, id)
}

// operatorRoute returns the handler of a route for the operator, or nil.
func (s *Sidecar) operatorRoute(path string) http.HandlerFunc {
	switch path {
	case "/trace":
		return s.serveRecords
	case "/peers":
		return s.servePeers
	case "/log/checkpoint":
		return s.serveCheckpoint
	case "/log/proof":
		return s.serveProof
	case "/log/export":
		return s.serveExport
	case "/log/bundle":
		return s.serveBundle
	}
	return nil
}

// maxRecords is the most that one GET /trace answers.
const maxRecords = 1000

// serveRecords lists the latest records, or those from a sequence number on.
func (s *Sidecar) serveRecords(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err := count(q.Get("limit"), 100, 1, maxRecords)
	if err != nil {
		s.refuse(w, badRequest(iatp.SlugInvalidRequest, "limit: "+err.Error()))
		return
	}
	size := s.book.Size()
	from := max(size-limit, 0)
	if q.Has("after") {
		if from, err = count(q.Get("after"), 0, 0, 1<<53); err != nil {
			s.refuse(w, badRequest(iatp.SlugInvalidRequest, "after: "+err.Error()))
			return
		}
	}
	out := api.Records{Logs: []json.RawMessage{}, Next: from}
	for rec, err := range s.archive.Lines(from) {
		if err != nil {
			s.log.Error("read records", "error", err)
			s.refuse(w, &iatp.Problem{Slug: iatp.SlugLogUnavailable, Status: http.StatusServiceUnavailable, Error: "the flight recorder cannot be read"})
			return
		}
		if int64(len(out.Logs)) == limit {
			break
		}
		out.Logs = append(out.Logs, append(json.RawMessage(nil), rec.Line...))
		out.Next = rec.Seq + 1
	}
	writeJSON(w, r, http.StatusOK, out)
}

func count(text string, def, lo, hi int64) (int64, error) {
	if text == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < lo || n > hi {
		return 0, fmt.Errorf("must be a whole number from %d to %d", lo, hi)
	}
	return n, nil
}

func (s *Sidecar) serveCheckpoint(w http.ResponseWriter, r *http.Request) {
	note, err := s.book.Checkpoint()
	if err != nil {
		s.refuse(w, s.logUnavailable(err))
		return
	}
	writeBytes(w, r, http.StatusOK, "text/plain; charset=utf-8", note)
}

func (s *Sidecar) serveProof(w http.ResponseWriter, r *http.Request) {
	index, err := count(r.URL.Query().Get("index"), -1, 0, 1<<53)
	if err != nil || index < 0 {
		s.refuse(w, badRequest(iatp.SlugInvalidRequest, "index: must be the sequence number of a record"))
		return
	}
	proof, err := s.book.Prove(index)
	if errors.Is(err, flight.ErrNotSigned) {
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Error: "no signed checkpoint covers that record",
			Hint: "the log has " + strconv.FormatInt(s.book.Size(), 10) + " records; the newest are covered within a second"})
		return
	}
	if err != nil {
		s.refuse(w, s.logUnavailable(err))
		return
	}
	writeBytes(w, r, http.StatusOK, "text/plain; charset=utf-8", proof)
}

// serveExport streams every record, one JSON object a line.
func (s *Sidecar) serveExport(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	for rec, err := range s.archive.Lines(0) {
		if err != nil {
			s.log.Error("export", "error", err)
			panic(http.ErrAbortHandler) // the reader must not take this for the whole
		}
		_ = rc.SetWriteDeadline(time.Now().Add(time.Duration(s.cfg.Limits.Idle)))
		if _, err := w.Write(append(rec.Line, '\n')); err != nil {
			return
		}
	}
}

func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // types of ours always marshal
	}
	writeBytes(w, r, status, "application/json", append(b, '\n'))
}

func writeBytes(w http.ResponseWriter, r *http.Request, status int, contentType string, b []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b)
	}
}
