package sidecar

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/bundle"
)

// signingWait is how long an export waits for the checkpoint over the newest
// records, which comes within about a second.
const signingWait = 3 * time.Second

// receiptsIn opens the receipts that lines hold. One that cannot be opened is left
// out: its record still names it.
func (s *Sidecar) receiptsIn(lines [][]byte) []api.Receipt {
	var all []api.Receipt
	for _, line := range lines {
		var l struct {
			Seq     int64
			Receipt string
		}
		if json.Unmarshal(line, &l) != nil || l.Receipt == "" {
			continue
		}
		text, err := s.archive.Unseal(line)
		if err != nil {
			s.log.Warn("receipt of a record cannot be opened", "record", l.Seq, "error", err)
			continue
		}
		if r, ok := api.NewReceipt(l.Seq, string(text)); ok {
			all = append(all, r)
		}
	}
	return all
}

// serveBundle answers with everything that proves what became of a trace.
func (s *Sidecar) serveBundle(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	id, err := iatp.ParseTraceID(q.Get("trace"))
	if err != nil {
		s.refuse(w, badRequest("bad-trace-id", "trace: a trace id must match ^[A-Za-z0-9._-]{1,128}$"))
		return
	}
	requests, err := count(q.Get("requests"), 0, 0, 1)
	if err != nil {
		s.refuse(w, badRequest(iatp.SlugInvalidRequest, "requests: "+err.Error()))
		return
	}
	data, err := s.bundle(r, id, bundle.Options{Requests: requests == 1})
	switch {
	case errors.Is(err, bundle.ErrNoTrace):
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Error: "no such trace"})
	case errors.Is(err, bundle.ErrTooMuch):
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugTooLarge, Status: http.StatusRequestEntityTooLarge, Error: err.Error()})
	case err != nil:
		s.log.Error("export of a trace", "trace_id", id, "error", err)
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugLogUnavailable, Status: http.StatusServiceUnavailable, RetryAfter: 1, Error: "the flight recorder cannot be read, or has not signed for the trace yet"})
	default:
		writeBytes(w, r, http.StatusOK, "application/zip", data)
	}
}

// bundle makes a bundle, and waits for the signature over its newest record.
func (s *Sidecar) bundle(r *http.Request, id iatp.TraceID, o bundle.Options) (data []byte, err error) {
	for end := time.Now().Add(signingWait); ; {
		data, err = bundle.Build(s.cfg.Data, id, o)
		if !errors.Is(err, flight.ErrNotSigned) || time.Now().After(end) {
			return data, err
		}
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
