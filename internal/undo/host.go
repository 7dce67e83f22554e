package undo

import (
	"encoding/json"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
)

// An Order is what the wrapped agent is asked to undo. Its bytes are the same at
// every attempt.
type Order struct {
	Task *Thing // the idempotency key is "undo:" and its id
	Body []byte
}

// Verdict is what came of asking for an undo.
type Verdict int

const (
	Later   Verdict = iota // nothing is known, or nothing is done yet: ask again. The zero Verdict
	Done                   // it is undone
	Refused                // it will not be undone
	Expired                // it is too late
	Never                  // there is nothing to undo
)

// Result is what an agent or a peer answers.
type Result struct {
	Verdict                 Verdict
	State                   State // Done: Compensated or Partially; empty if it does not say
	Fee, Returned, Currency string
	Breach                  bool
	Chain                   []Link // what else was undone for it
	Receipt                 string // id of the peer's receipt
	JWS                     string // the receipt itself
	After                   time.Duration
	Code                    string // why not, a fixed word
}

// Knowledge is what an agent knows of a task. The zero Knowledge is none.
type Knowledge struct {
	Known    bool
	Executed bool   // it took effect
	Retry    bool   // it did not answer this time
	State    string // the agent's own word for where it stands
}

// Partly reports whether the agent says that it did a part of the task, and no more.
func (k Knowledge) Partly() bool { return k.Known && k.Executed && k.State == iatp.OutcomePartial }

// Fate is what a peer proves of a call. The zero Fate is nothing.
type Fate struct {
	State            State // Committed, Failed, Unknown, Compensated or Partially; empty: nothing
	Remote           string
	Level            string
	Until            time.Time
	MaxFee, Currency string
	Receipt          string // id of the peer's receipt
	JWS              string // the receipt itself
	Breach           bool   // the receipt breaks the terms of the call, which hold
}

// orderJSON is the body of the compensation call.
type orderJSON struct {
	ID       string          `json:"transaction_id"`
	Reason   string          `json:"reason"`
	Original json.RawMessage `json:"original"`
	UndoData *string         `json:"undo_data"`
}

// order is the request to the agent for a task that is being undone. An error is of the
// disk that what it needs is kept on: without that the bytes would not be the same.
func (b *Book) order(t *Thing) (*Order, error) {
	o := orderJSON{ID: t.ID(), Reason: t.Reason, Original: json.RawMessage("null")}
	if o.Reason == "" {
		o.Reason = t.Who
	}
	original, err := b.read(t, t.Original)
	if err != nil {
		return nil, err
	}
	if json.Valid(original) {
		o.Original = original
	}
	data, err := b.read(t, t.UndoData)
	if err != nil {
		return nil, err
	}
	if data != nil {
		text := string(data)
		o.UndoData = &text
	}
	body, err := json.Marshal(o)
	if err != nil {
		panic(err) // texts and valid JSON always marshal
	}
	return &Order{Task: t, Body: body}, nil
}
