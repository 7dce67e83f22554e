package office

import (
	"database/sql"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// currency is that of all amounts here.
const currency = "USD"

// A trade is what makes one agent different from another. Its methods run in a
// transaction of the database: what they did is in effect when it is committed,
// and was never if it is not.
type trade interface {
	tables() string  // the SQL that makes them
	shows() []string // their names

	// do carries out operation id and returns what to answer, as JSON. Nil means
	// that there is more to do, in step.
	do(t *sql.Tx, id string, o *order) (any, error)

	// step does a part of an operation whose do returned nil, until it returns
	// what to answer.
	step(t *sql.Tx, id string, o *order) (any, error)

	// undo takes back as much of an operation as is in effect.
	undo(t *sql.Tx, op *operation) (settlement, error)
}

// nothing is the method by which what never happened is undone.
const nothing = "none"

// A settlement is what an undo gave back. It is kept as JSON.
type settlement struct {
	Applied  string `json:"applied"`  // the method, in the protocol's words, or nothing
	Returned int64  `json:"returned"` // in cents
	Fee      int64  `json:"fee"`      // in cents
}

// answer is a settlement in the protocol's words.
func (s settlement) answer(tx string, took time.Duration) map[string]any {
	state := "compensated"
	if s.Fee > 0 {
		state = "partially_compensated"
	}
	return map[string]any{
		"success":              true,
		"transaction_id":       tx,
		"state":                state,
		"compensation_applied": s.Applied,
		"amount_returned":      dollars(s.Returned),
		"fee_charged":          dollars(s.Fee),
		"currency":             currency,
		"completion_time_ms":   took.Milliseconds(),
	}
}

// unknownTask refuses an order for work that is not done here.
func unknownTask(o *order, tasks string) error {
	return refuse(http.StatusBadRequest, "unknown task %.60q; the tasks are: %s", o.Task, tasks)
}

// atOnce is the step of a trade whose every operation is done at once.
type atOnce struct{}

func (atOnce) step(*sql.Tx, string, *order) (any, error) {
	panic("office: a trade without steps was asked for one")
}

// cents reads an amount of dollars above nothing.
func cents(amount string) (int64, error) {
	m, err := iatp.ParseMoney(amount, currency)
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "%v", err)
	}
	n, err := strconv.ParseInt(strings.Replace(m.Amount(), ".", "", 1), 10, 64)
	if err != nil || n == 0 || n > 1e12 {
		return 0, refuse(http.StatusBadRequest, "amount must be from 0.01 to 10000000000.00")
	}
	return n, nil
}

// dollars writes cents, which are never below nothing here: "4.20".
func dollars(n int64) string {
	s := strconv.FormatInt(n+100, 10) // at least three digits
	whole, _ := strconv.ParseInt(s[:len(s)-2], 10, 64)
	return strconv.FormatInt(whole-1, 10) + "." + s[len(s)-2:]
}

// named checks a name that a caller has chosen.
func named(what, name string) error {
	if name == "" || len(name) > 100 {
		return refuse(http.StatusBadRequest, "%s must be a name of 1 to 100 bytes", what)
	}
	return nil
}
