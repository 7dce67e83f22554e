// Package office holds four example agents that keep their state in SQLite: a
// bank's ledger, a booking desk, a stock room and a mail room. A process that
// is killed and started again has what it had committed, and anybody with the
// file can check it.
//
// What they promise to a sidecar differs:
//
//	ledger  undoes a transfer in full
//	desk    cancels a booking against a fee
//	stock   releases what was reserved, and puts back what was cleared away
//	mail    undoes nothing: what is sent is sent
//
// Each is an [http.Handler]:
//
//	POST /                    {"task":…,"data":…}         200 with the result
//	POST /compensate/{tx}     {"transaction_id":…,…}      200 with what was given back
//	GET  /check/{tx}          {"executed":true|false,"state":"partial"|"done"|"undone"|"void"}, or 404
//	GET  /state               everything there is, at most 1000 rows of a kind
//	GET  /health
//
// Work with an Idempotency-Key is done once; its answer is kept and given again,
// whoever died in between. A compensation is done once for a transaction.
// Compensation of what never came leaves a mark, and the late order is refused
// with 409; the compensation itself is then answered with 404. The agent knows a
// transaction by the IATP-Transaction of the order, or by the IATP-Undo-Data of
// its own answer (spec/002, 3.1).
//
// With [Options.Faults] an agent can be told to fail; see [Fault].
package office

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	maxBody = 1 << 20 // of a request, in bytes
	maxID   = 128     // of a transaction id or idempotency key, in bytes
)

// Headers between an agent and its sidecar.
const (
	headerKey         = "Idempotency-Key"
	headerTransaction = "IATP-Transaction"
	headerUndoData    = "IATP-Undo-Data"
)

// Options are what an operator of an agent decides.
type Options struct {
	// Faults opens POST /faults. Without it an agent does not fail on request.
	Faults bool
}

// An Agent is one of the four, open on its database.
type Agent struct {
	name   string
	trade  trade
	store  *store
	faults *faults // nil: none
	mux    *http.ServeMux
}

// trades are what the agents do, by name.
var trades = map[string]trade{"ledger": ledger{}, "desk": desk{}, "stock": stock{}, "mail": mail{}}

// Open opens the agent of that name (ledger, desk, stock or mail) on a database
// file, which is made if there is none. The caller must Close it. One process
// may have a file open; readers do not disturb it.
func Open(name, file string, o Options) (*Agent, error) {
	t, ok := trades[name]
	if !ok {
		return nil, fmt.Errorf("no agent is called %.40q: want ledger, desk, stock or mail", name)
	}
	s, err := openStore(file, t.tables())
	if err != nil {
		return nil, fmt.Errorf("open the database of %s: %w", name, err)
	}
	a := &Agent{name: name, trade: t, store: s, mux: http.NewServeMux()}
	a.mux.HandleFunc("POST /{$}", a.work)
	a.mux.HandleFunc("POST /compensate/{tx}", a.compensate)
	a.mux.HandleFunc("GET /check/{tx}", a.check)
	a.mux.HandleFunc("GET /state", a.state)
	a.mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "healthy", "agent_id": name})
	})
	if o.Faults {
		a.faults = &faults{s.db}
		a.mux.HandleFunc("POST /faults", a.faults.set)
		a.mux.HandleFunc("DELETE /faults", a.faults.clear)
	}
	return a, nil
}

// Close closes the database.
func (a *Agent) Close() error { return a.store.close() }

// ServeHTTP answers a request.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// An order is one request for work.
type order struct {
	Task string          `json:"task"`
	Data json.RawMessage `json:"data"`

	key string // the idempotency key, "" if none
	tx  string // the sidecar's transaction, "" if none
	sum []byte // SHA-256 of the body
}

// into decodes the data of an order, refusing members that the task does not know.
func (o *order) into(v any) error {
	if len(o.Data) == 0 {
		return refuse(http.StatusBadRequest, "task %.60q needs data", o.Task)
	}
	d := json.NewDecoder(bytes.NewReader(o.Data))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return refuse(http.StatusBadRequest, "data of task %.60q: %v", o.Task, err)
	}
	return nil
}

func (a *Agent) work(w http.ResponseWriter, r *http.Request) {
	o, err := readOrder(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	if err := a.faults.strike(r.Context(), "do", "before"); err != nil {
		fail(w, err)
		return
	}
	op, err := a.do(r.Context(), o)
	if err == nil {
		err = a.faults.strike(r.Context(), "do", "after")
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set(headerUndoData, op.id)
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(op.answer, '\n')) // an error means that the caller is gone
}

func readOrder(w http.ResponseWriter, r *http.Request) (*order, error) {
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	o := &order{key: strings.Trim(r.Header.Get(headerKey), `"`), tx: r.Header.Get(headerTransaction), sum: digest(body)}
	if len(o.key) > maxID || len(o.tx) > maxID {
		return nil, refuse(http.StatusBadRequest, "key and transaction must be at most %d bytes long", maxID)
	}
	if err := json.Unmarshal(body, o); err != nil {
		return nil, refuse(http.StatusBadRequest, "want a JSON object with task and data: %v", err)
	}
	return o, nil
}

// A claim is what a sidecar says of the transaction that it wants undone.
type claim struct {
	Transaction string `json:"transaction_id"`
	UndoData    string `json:"undo_data"`
}

func (a *Agent) compensate(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	c := claim{Transaction: r.PathValue("tx")}
	body, err := readBody(w, r)
	if err == nil && len(body) > 0 && json.Unmarshal(body, &c) != nil {
		err = refuse(http.StatusBadRequest, "want a JSON object with transaction_id and undo_data")
	}
	if err == nil && (c.Transaction != r.PathValue("tx") || len(c.Transaction) > maxID || len(c.UndoData) > maxID) {
		err = refuse(http.StatusBadRequest, "transaction_id must be that of the path")
	}
	if err == nil {
		err = a.faults.strike(r.Context(), "undo", "before")
	}
	var done settlement
	if err == nil {
		done, err = a.undo(r.Context(), c)
	}
	if err == nil {
		err = a.faults.strike(r.Context(), "undo", "after")
	}
	if err == nil && done.Applied == nothing {
		err = refuse(http.StatusNotFound, "nothing was ordered in this transaction, and nothing will be")
	}
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, done.answer(c.Transaction, time.Since(began)))
}

// check says how it stands with a transaction. It changes nothing.
func (a *Agent) check(w http.ResponseWriter, r *http.Request) {
	state, err := a.store.stateOf(r.Context(), r.PathValue("tx"))
	if err != nil {
		fail(w, err)
		return
	}
	if state == stateWorking {
		state = "partial"
	}
	answer(w, http.StatusOK, map[string]any{"executed": state != stateVoid, "state": state})
}

func (a *Agent) state(w http.ResponseWriter, r *http.Request) {
	out := map[string]any{"agent": a.name}
	for _, table := range append([]string{"operations"}, a.trade.shows()...) {
		rows, err := a.store.dump(r.Context(), table)
		if err != nil {
			fail(w, err)
			return
		}
		out[table] = rows
	}
	answer(w, http.StatusOK, out)
}

// A refusal is an error that the caller is told, with a status.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, refuse(http.StatusRequestEntityTooLarge, "the request is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the request broke off")
	}
	return body, nil
}

// answer writes v as the JSON body of an answer.
func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // only values of this package come here
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // an error means that the caller is gone
}

// fail answers with an error. What is not a refusal is a fault of ours, of which
// the caller learns no more than that.
func fail(w http.ResponseWriter, err error) {
	if r, ok := errors.AsType[*refusal](err); ok {
		answer(w, r.status, map[string]string{"status": "error", "error": r.text})
		return
	}
	answer(w, http.StatusInternalServerError, map[string]string{"status": "error", "error": "the agent's database failed"})
}
