// Package api holds the types of the sidecar's control API: what the local
// listener answers on /health, /trace and /quarantine, for the sidecar that
// writes them and the clients that read them.
package api

import (
	"encoding/base64"
	"encoding/json"
	"strings"
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

	// Receipts are those that the records name and hold sealed. Only the operator
	// gets them: they have digests of bodies.
	Receipts []Receipt `json:"receipts,omitempty"`
}

// Receipt is what the other side of a call, or we, have signed about it.
type Receipt struct {
	Record int64           `json:"record"` // the sequence number of the record that names it
	JWS    string          `json:"jws"`
	Claims json.RawMessage `json:"claims"` // what is in it, for reading
}

// NewReceipt takes apart what a record holds. It verifies nothing: a receipt is
// recorded as such when it was verified. ok is false if it is none.
func NewReceipt(record int64, jws string) (r Receipt, ok bool) {
	parts := strings.Split(jws, ".")
	if len(parts) != 3 {
		return Receipt{}, false
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	return Receipt{Record: record, JWS: jws, Claims: claims}, err == nil && json.Valid(claims)
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
