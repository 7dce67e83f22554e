package sidecar

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/policy"
)

// States of a quarantine session. Open and reviewed ones taint later exchanges
// of the same trace; a released one no longer does.
const (
	quarantineOpen     = "open"
	quarantineReviewed = "reviewed"
	quarantineReleased = "released"
)

// maxQuarantined bounds the sessions held in memory: some 6 MB. Beyond it the
// book is asked, which is slower and just as true.
const maxQuarantined = 1 << 16

// overrideReason names why an overridden call is held, in the seed's words
// where it has some.
func overrideReason(v policy.Verdict) string {
	asked := func(code string) bool {
		return slices.ContainsFunc(v.Reasons, func(r policy.Reason) bool { return r.Code == code && r.Action == policy.ActionWarn })
	}
	switch {
	case asked(policy.CodeLowTrust):
		return "low_trust_override"
	case asked(policy.CodeRequirementUnmet):
		return "requirement_override"
	}
	return "policy_override"
}

// quarantine is a view of the flight log: the sessions that still matter. It
// writes by appending to the log and learns by applying what is there.
type quarantine struct {
	book *flight.Log // for what is not held in memory

	mu       sync.Mutex
	held     map[iatp.TraceID]struct{} // open or reviewed
	overflow bool                      // some are not in held: ask the book
}

// quarantineLine is what the view reads of a line.
type quarantineLine struct {
	Type      flight.Type  `json:"type"`
	TraceID   iatp.TraceID `json:"trace_id"`
	Timestamp time.Time    `json:"timestamp"`
	Reason    string       `json:"reason"`
	State     string       `json:"state"`
	Actor     string       `json:"actor"`
	Note      string       `json:"note"`
}

// readQuarantine reads a line if it is about a quarantine.
func readQuarantine(line []byte) (l quarantineLine, ok bool) {
	if !flight.IsOf(line, flight.Quarantine) {
		return l, false
	}
	var parsed quarantineLine // in the heap, once in many lines
	err := json.Unmarshal(line, &parsed)
	return parsed, err == nil && parsed.Type == flight.Quarantine
}

// Apply learns from one line of the log.
func (q *quarantine) Apply(_ int64, line []byte) {
	l, ok := readQuarantine(line)
	if !ok {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case l.State == quarantineReleased:
		delete(q.held, l.TraceID)
	case len(q.held) < maxQuarantined:
		q.held[l.TraceID] = struct{}{}
	default:
		q.overflow = true
	}
}

type quarantineSnapshot struct {
	Held     []iatp.TraceID `json:"held"`
	Overflow bool           `json:"overflow"`
}

// Snapshot is the state in a form that Restore reads.
func (q *quarantine) Snapshot() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := quarantineSnapshot{Overflow: q.overflow, Held: make([]iatp.TraceID, 0, len(q.held))}
	for id := range q.held {
		s.Held = append(s.Held, id)
	}
	b, _ := json.Marshal(s) // strings and a bool always marshal
	return b
}

// Restore sets the state to a snapshot's; nil means empty.
func (q *quarantine) Restore(b []byte) error {
	var s quarantineSnapshot
	if b != nil {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held, q.overflow = make(map[iatp.TraceID]struct{}, len(s.Held)), s.Overflow
	for _, id := range s.Held {
		q.held[id] = struct{}{}
	}
	return nil
}

// tainted reports whether an earlier exchange of the trace is in quarantine
// and nobody has released it.
func (q *quarantine) tainted(id iatp.TraceID) bool {
	q.mu.Lock()
	_, held := q.held[id]
	overflow := q.overflow
	q.mu.Unlock()
	if held || !overflow {
		return held
	}
	session, err := q.session(id)
	return err != nil || (session != nil && session.State != quarantineReleased)
}

// open is how many sessions wait for somebody, at least.
func (q *quarantine) open() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.held)
}

// session is the quarantine session of a trace, folded from its lines; nil if
// there is none.
func (q *quarantine) session(id iatp.TraceID) (*api.Quarantine, error) {
	lines, err := q.book.Trace(id)
	if err != nil && !errors.Is(err, flight.ErrMore) {
		return nil, err
	}
	var s *api.Quarantine
	for _, line := range lines {
		l, ok := readQuarantine(line)
		if !ok {
			continue
		}
		if s == nil {
			s = &api.Quarantine{TraceID: id, OpenedAt: l.Timestamp}
		}
		if l.Reason != "" {
			s.Reason = l.Reason
		}
		s.State, s.ChangedAt, s.By, s.Note = l.State, l.Timestamp, l.Actor, l.Note
		s.History = append(s.History, api.QuarantineStep{State: l.State, At: l.Timestamp, By: l.Actor, Note: l.Note})
	}
	return s, nil
}

// change records that a person reviewed or released a session.
func (s *Sidecar) changeQuarantine(id iatp.TraceID, c api.QuarantineChange) error {
	_, err := s.book.Append(&flight.Entry{
		Type: flight.Quarantine, TraceID: id, Time: s.now(), Dir: flight.Local,
		AgentID: s.standing.Load().manifest.Identity.AgentID,
		State:   c.State, Actor: s.scrub(c.By), Note: s.scrub(c.Note),
	}, flight.Durable)
	return err
}
