package api

import (
	"time"

	"github.com/inter-agent-trust/iatp"
)

// Transaction is a task that the wrapped agent executed for another sidecar: the answer
// of GET /transactions/{id}.
type Transaction struct {
	ID        string       `json:"id"`
	TraceID   iatp.TraceID `json:"trace_id"`
	Peer      string       `json:"peer,omitempty"` // who asked for it; on the local listener
	State     string       `json:"state"`
	Level     string       `json:"level,omitempty"`
	Method    string       `json:"method,omitempty"`
	UndoUntil *time.Time   `json:"undo_until,omitempty"` // nil: without limit, if the level is not none
	MaxFee    string       `json:"max_fee,omitempty"`
	Currency  string       `json:"currency,omitempty"`
	History   []UndoStep   `json:"history"`
	Receipts  []string     `json:"receipts,omitempty"`
	Returned  string       `json:"amount_returned,omitempty"`
	Fee       string       `json:"fee_charged,omitempty"`
	Breach    bool         `json:"breach,omitempty"`
	Manual    bool         `json:"manual_intervention,omitempty"`
	Code      string       `json:"code,omitempty"` // why it could not be undone
}

// UndoStep is one state that a transaction came to, and who asked for it.
type UndoStep struct {
	State string    `json:"state"`
	At    time.Time `json:"at"`
	By    string    `json:"by,omitempty"`
}

// UndoRequest is the body of POST /compensate/{id} and of POST /transactions/{id}/undo.
type UndoRequest struct {
	Reason    string       `json:"reason,omitempty"`    // at most 200 characters
	Timestamp string       `json:"timestamp,omitempty"` // when it was wished for, for people
	TraceID   iatp.TraceID `json:"trace_id,omitempty"`  // local: of the call, if it is not undone here
}

// Compensation is the answer to an undo.
type Compensation struct {
	Success        bool         `json:"success"`
	TransactionID  string       `json:"transaction_id"`
	TraceID        iatp.TraceID `json:"trace_id"`
	State          string       `json:"state"`
	Applied        string       `json:"compensation_applied,omitempty"` // the method; "none" if there was nothing to undo
	AmountReturned string       `json:"amount_returned,omitempty"`
	FeeCharged     string       `json:"fee_charged,omitempty"`
	Currency       string       `json:"currency,omitempty"`
	CompletionMS   int64        `json:"completion_time_ms,omitempty"`
	Breach         bool         `json:"breach,omitempty"`
	Manual         bool         `json:"manual_intervention,omitempty"`
	Chain          []Link       `json:"compensation_chain,omitempty"`
}

// Link is one thing that was undone.
type Link struct {
	AgentID       string `json:"agent_id"`
	TransactionID string `json:"transaction_id"`
	Method        string `json:"compensation_method,omitempty"`
	Status        string `json:"status"`
}

// Call is a call of the wrapped agent to a peer, as far as undoing it goes.
type Call struct {
	ID            string       `json:"id"` // call_…, which only our side knows
	Peer          string       `json:"peer"`
	TraceID       iatp.TraceID `json:"trace_id"`
	State         string       `json:"state"`
	TransactionID string       `json:"transaction_id,omitempty"`
	Level         string       `json:"level,omitempty"`
	UndoUntil     *time.Time   `json:"undo_until,omitempty"`
	MaxFee        string       `json:"max_fee,omitempty"`
	Fee           string       `json:"fee_charged,omitempty"`
	Returned      string       `json:"amount_returned,omitempty"`
	Currency      string       `json:"currency,omitempty"`
	Breach        bool         `json:"breach,omitempty"`
	Manual        bool         `json:"manual_intervention,omitempty"`
	Code          string       `json:"code,omitempty"`
}

// Saga are calls that are kept or undone together: the answer of /sagas.
type Saga struct {
	ID        string     `json:"id"`
	State     string     `json:"state"`
	OnFailure string     `json:"on_failure"` // compensate or keep
	Deadline  time.Time  `json:"deadline"`
	OpenedAt  time.Time  `json:"opened_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	Calls     []Call     `json:"calls"`
	Manual    bool       `json:"manual_intervention,omitempty"` // it could not be undone, and a person is asked
	Chain     []Link     `json:"compensation_chain,omitempty"`
}

// NewSaga is the body of POST /sagas.
type NewSaga struct {
	OnFailure string    `json:"on_failure,omitempty"` // compensate or keep; keep if empty
	Deadline  time.Time `json:"deadline,omitzero"`    // at most 24 h ahead; 1 h if absent
}

// Transactions is the answer of GET /transactions: what is in motion or waits for a
// person, then the newest.
type Transactions struct {
	Transactions []Transaction `json:"transactions"` // done here for others
	Calls        []Call        `json:"calls"`        // done by others for us
	Sagas        []Saga        `json:"sagas"`
}

// Resolution is the body of POST /transactions/{id}/resolve: a person's word on what
// could not be undone by itself.
type Resolution struct {
	State    string `json:"state"` // compensated, partially_compensated or compensation_failed; committed or failed where nobody knew
	By       string `json:"by"`    // a name, 1 to 100 characters
	Note     string `json:"note,omitempty"`
	Fee      string `json:"fee_charged,omitempty"`
	Returned string `json:"amount_returned,omitempty"`
	Currency string `json:"currency,omitempty"`
}
