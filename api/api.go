// Package api holds the types of the sidecar's control API: what the local
// listener answers on /health, /trace and /quarantine, for the sidecar that
// writes them and the clients that read them.
package api

import (
	"encoding/json"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// Health is the answer of GET /health and GET /ready.
type Health struct {
	Status  string       `json:"status"` // healthy or unhealthy; ready or not ready
	AgentID iatp.AgentID `json:"agent_id"`
	Reasons []string     `json:"reasons,omitempty"` // why not
}

// Trace is the answer of GET /trace/{trace_id}: the records of one trace in the
// order in which they were written.
type Trace struct {
	TraceID    iatp.TraceID      `json:"trace_id"`
	Logs       []json.RawMessage `json:"logs"`
	Quarantine *Quarantine       `json:"quarantine,omitempty"`
}

// Records is the answer of GET /trace: records of any trace, oldest first.
// Next is the sequence number to ask for in ?after= to get what comes then.
type Records struct {
	Logs []json.RawMessage `json:"logs"`
	Next int64             `json:"next"`
}

// Quarantine is the session of a trace that a person let through against a
// warning: the answer of GET /quarantine/{trace_id}.
type Quarantine struct {
	TraceID   iatp.TraceID     `json:"trace_id"`
	State     string           `json:"state"`  // open, reviewed or released
	Reason    string           `json:"reason"` // low_trust_override, requirement_override, policy_override, receipt_missing or receipt_invalid
	OpenedAt  time.Time        `json:"opened_at"`
	ChangedAt time.Time        `json:"changed_at"`
	By        string           `json:"by,omitempty"` // who changed the state last
	Note      string           `json:"note,omitempty"`
	History   []QuarantineStep `json:"history"`
}

// QuarantineStep is one state that a session went through.
type QuarantineStep struct {
	State string    `json:"state"`
	At    time.Time `json:"at"`
	By    string    `json:"by,omitempty"`
	Note  string    `json:"note,omitempty"`
}

// QuarantineChange is the body of POST /quarantine/{trace_id}, an operator's
// word on a session.
type QuarantineChange struct {
	State string `json:"state"` // reviewed or released
	By    string `json:"by"`    // who says so: a name, 1 to 100 characters
	Note  string `json:"note,omitempty"`
}
