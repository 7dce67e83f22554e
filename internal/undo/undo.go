// Package undo is the book of what can be undone, and undoes it: tasks that our
// agent executed for others, calls that others executed for our agent, and sagas,
// which are calls that are kept or undone together.
//
// It is a view of the flight log and keeps no second truth. Whatever happens to a
// thing is a step on a line; its state is what its lines say, folded anew whenever
// somebody asks. A line names the thing by 64 random bits, and its id by these and
// the position of its first line, so that what rests costs no memory. Only what is
// in motion is held: things under way, being undone, or waiting for a person.
//
// There is one way to change a state, and all who want to go it: the caller, a
// saga, the ingress of a call that failed, an operator, and the recovery after a
// crash. A step is appended only while the state that it follows from is the last
// one ([Book] holds the thing meanwhile), so that five requests are one undo.
// The steps of an undo are durable before and after; what it asks of an agent is
// asked with the same key and the same bytes each time. If the agent honours the
// key, it has effect once. That is the one premise.
package undo

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// State is where a thing stands.
type State string

const (
	Active             State = "active"                // under way
	Committed          State = "committed"             // it had its effect
	Failed             State = "failed"                // it had none, and will have none
	Unknown            State = "unknown"               // nobody can tell yet
	Compensating       State = "compensating"          // it is being undone
	Compensated        State = "compensated"           // it is undone
	Partially          State = "partially_compensated" // undone in part, or for a fee
	CompensationFailed State = "compensation_failed"   // it is not undone: a person is asked
	Closed             State = "closed"                // a saga that is kept
	Final              State = "final"                 // committed, and the window is over; never on a line
)

// Who asks for an undo.
const (
	ByCaller   = "caller"
	BySaga     = "saga"
	ByIngress  = "ingress"
	ByOperator = "operator"
	ByRecovery = "recovery"
)

// follows are the states that may come after one. What is not here cannot happen.
var follows = map[State][]State{
	"":                 {Active},
	Active:             {Committed, Failed, Unknown, Compensating, Compensated, Partially, Closed},
	Unknown:            {Committed, Failed, Compensating, Compensated, Partially, CompensationFailed},
	Committed:          {Compensating, Compensated, Partially},
	Compensating:       {Compensated, Partially, CompensationFailed, Failed},
	CompensationFailed: {Compensating, Compensated, Partially, Failed, CompensationFailed},
}

// mayFollow reports whether next may come after s.
func (s State) mayFollow(next State) bool { return slices.Contains(follows[s], next) }

// Over reports whether nothing more happens to a thing by itself.
func (s State) Over() bool {
	return s == Failed || s == Compensated || s == Partially || s == CompensationFailed || s == Closed
}

// A Ref names a thing: the position of its first line, and its label.
type Ref struct {
	At    int64
	Label flight.Label
}

// The prefixes of ids.
const (
	taskPrefix = "tx_"
	callPrefix = "call_"
	sagaPrefix = "saga_"
)

func (r Ref) text() string {
	b := binary.BigEndian.AppendUint64(nil, uint64(r.At))
	return base64.RawURLEncoding.EncodeToString(append(b, r.Label[:]...))
}

// ID is the id of a task.
func (r Ref) ID() string { return taskPrefix + r.text() }

// CallID is the id of a call, which only our side knows.
func (r Ref) CallID() string { return callPrefix + r.text() }

// SagaID is the id of a saga.
func (r Ref) SagaID() string { return sagaPrefix + r.text() }

// ErrUnknown: there is no such thing.
var ErrUnknown = errors.New("there is no such transaction")

// ParseID reads the id of a task. There may be none that has it.
func ParseID(id string) (Ref, error) { return parseRef(id, taskPrefix) }

// ParseCallID reads the id of a call. There may be none that has it.
func ParseCallID(id string) (Ref, error) { return parseRef(id, callPrefix) }

// ParseSagaID reads the id of a saga.
func ParseSagaID(id string) (Ref, error) { return parseRef(id, sagaPrefix) }

func parseRef(id, prefix string) (Ref, error) {
	text, ok := strings.CutPrefix(id, prefix)
	if !ok || len(text) != 22 {
		return Ref{}, ErrUnknown
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != 16 || b[0] >= 0x80 {
		return Ref{}, ErrUnknown
	}
	r := Ref{At: int64(binary.BigEndian.Uint64(b)), Label: flight.Label(b[8:])}
	if r.Label == (flight.Label{}) {
		return Ref{}, ErrUnknown
	}
	return r, nil
}

// A Thing is a task, a call or a saga as its lines tell it.
type Thing struct {
	Ref
	Kind     flight.TxKind
	In, Saga flight.Label
	TraceID  iatp.TraceID
	Pool     flight.Label // task: whose share it counts against
	Peer     string       // principal on the other side
	JKT      string       // thumbprint of its key
	AgentID  iatp.AgentID

	State State
	Asked string // who asked for an undo while it was under way
	Who   string // who asked for the undo that counts

	Level, Method          string
	Window                 *int64
	Until                  time.Time // zero: without limit, if Level can be undone
	MaxFee, Fee, Returned  string
	Currency               string
	Cost                   string // task: what its caller was charged
	Breach, Manual         bool
	Settled                bool      // a person has said that it stays as it is: nobody is asked any more
	Proven                 bool      // task: a receipt of how it ended is on a line
	Held                   time.Time // when an undo was asked for in time, and could not be taken
	OnFailure              bool      // saga: a call that does not end well cancels it
	Remote                 string    // call: the transaction at the peer
	Key                    string    // call: sealed
	Reason, Code           string    // why it is undone; why that failed
	Receipts               []string
	Original, UndoData     flight.Place
	Chain                  []Link // call: what its undo undid, as the peer says
	History                []Step
	Began, Ended, Resolved time.Time // of the undo; of the thing itself; when the state became the last one
	EndedAt                int64     // the line on which it ended
}

// A Step is one state that a thing came to.
type Step struct {
	State State
	At    time.Time
	By    string
}

// A Link is one thing that was undone, in the form of the answer.
type Link struct {
	AgentID string `json:"agent_id"`
	ID      string `json:"transaction_id"`
	Method  string `json:"compensation_method,omitempty"`
	Status  State  `json:"status"`
}

// Undoable reports whether something was promised about undoing it.
func (t *Thing) Undoable() bool {
	return t.Level != "" && t.Level != string(iatp.ReversibilityNone) && (t.Kind != flight.TxCall || t.Remote != "")
}

// Asks reports whether a person is asked about it.
func (t *Thing) Asks() bool { return t.Manual || t.State == CompensationFailed && !t.Settled }

// needs are the files of the vault that its undo needs.
func (t *Thing) needs() []int64 {
	var files []int64
	for _, p := range []flight.Place{t.Original, t.UndoData} {
		if p != (flight.Place{}) && !slices.Contains(files, p.File) {
			files = append(files, p.File)
		}
	}
	return files
}

// Shown is the state as others see it at a time.
func (t *Thing) Shown(now time.Time) State {
	if t.State == Committed && t.Kind != flight.TxSaga && !t.InTime(now) {
		return Final
	}
	return t.State
}

// skew is how far two clocks may be apart.
const skew = 30 * time.Second

// heldFor is how long a window stays open for an undo that was asked for in time and
// could not be taken then.
const heldFor = time.Hour

// InTime reports whether an undo that was asked for at a time is inside the window, or
// comes again after one that was.
func (t *Thing) InTime(asked time.Time) bool {
	return t.Undoable() && (t.Until.IsZero() || !asked.After(t.Until.Add(skew)) || !t.Held.IsZero() && !asked.After(t.Held.Add(heldFor)))
}

// link is the thing as a link of a chain.
func (t *Thing) link(now time.Time) Link {
	id := t.Remote
	if t.Kind == flight.TxTask {
		id = t.ID()
	}
	return Link{AgentID: string(t.AgentID), ID: id, Method: t.Method, Status: t.Shown(now)}
}

// damaged says that the lines of a thing contradict one another.
func damaged(seq int64, format string, args ...any) error {
	return fmt.Errorf("record %d: %s", seq, fmt.Sprintf(format, args...))
}
