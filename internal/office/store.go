package office

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// What has become of an operation.
const (
	stateWorking = "working" // begun; part of it may be in effect
	stateDone    = "done"
	stateUndone  = "undone"
	stateVoid    = "void" // undone before it was ever done, and so never will be
)

// operations holds what was ordered. answer is what the order was told, settled
// what its compensation was told.
const operations = `
CREATE TABLE IF NOT EXISTS operations (
	id      TEXT PRIMARY KEY,
	key     TEXT UNIQUE,
	tx      TEXT UNIQUE,
	task    TEXT NOT NULL,
	sum     BLOB NOT NULL,
	state   TEXT NOT NULL CHECK (state IN ('working', 'done', 'undone', 'void')),
	answer  BLOB NOT NULL,
	settled BLOB NOT NULL,
	at      INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS faults (
	place TEXT NOT NULL,
	at    TEXT NOT NULL,
	how   TEXT NOT NULL,
	times INTEGER NOT NULL,
	PRIMARY KEY (place, at)
) STRICT;`

// A store is an agent's database. It has one connection: transactions follow one
// another.
type store struct{ db *sql.DB }

func openStore(file, tables string) (*store, error) {
	// FULL: what was committed is on the disk before anybody is told of it.
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: url.PathEscape(file), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(operations + tables); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &store{db}, nil
}

func (s *store) close() error { return s.db.Close() }

// An operation is a row of operations.
type operation struct {
	id, key, tx, task string
	sum               []byte
	state             string
	answer, settled   []byte
}

// atomically runs f in a transaction of the database.
func (s *store) atomically(ctx context.Context, f func(*sql.Tx) error) error {
	// What was begun is finished, whoever hangs up.
	t, err := s.db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return err
	}
	if err := f(t); err != nil {
		return errors.Join(err, t.Rollback())
	}
	return t.Commit()
}

// find returns the operation of which a column has a value; nil if there is none.
func find(t *sql.Tx, column, value string) (*operation, error) {
	if value == "" {
		return nil, nil
	}
	var op operation
	var key, tx sql.NullString
	err := t.QueryRow("SELECT id, key, tx, task, sum, state, answer, settled FROM operations WHERE "+column+" = ?", value).
		Scan(&op.id, &key, &tx, &op.task, &op.sum, &op.state, &op.answer, &op.settled)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	op.key, op.tx = key.String, tx.String
	return &op, err
}

func insert(t *sql.Tx, op *operation) error {
	op.id = "op_" + rand.Text()
	_, err := t.Exec("INSERT INTO operations (id, key, tx, task, sum, state, answer, settled, at) VALUES (?,?,?,?,?,?,?,?,?)",
		op.id, null(op.key), null(op.tx), op.task, blob(op.sum), op.state, blob(op.answer), blob(op.settled), time.Now().UnixMilli())
	return err
}

func update(t *sql.Tx, op *operation) error {
	_, err := t.Exec("UPDATE operations SET state = ?, answer = ?, settled = ? WHERE id = ?", op.state, blob(op.answer), blob(op.settled), op.id)
	return err
}

// null keeps an absent text out of a unique index.
func null(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

// blob is b; a nil would be NULL.
func blob(b []byte) []byte { return append([]byte{}, b...) }

func digest(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// do carries an order out, once for its key and its transaction.
func (a *Agent) do(ctx context.Context, o *order) (op *operation, err error) {
	err = a.store.atomically(ctx, func(t *sql.Tx) error {
		if op, err = known(t, o); op != nil || err != nil {
			return err
		}
		op = &operation{key: o.key, tx: o.tx, task: o.Task, sum: o.sum, state: stateWorking}
		if err := insert(t, op); err != nil {
			return err
		}
		result, err := a.trade.do(t, op.id, o)
		if err != nil || result == nil {
			return err
		}
		return finish(t, op, result)
	})
	if err == nil && op.state == stateWorking {
		err = a.goOn(ctx, op, o)
	}
	return op, err
}

// known returns the operation that an order has made before.
func known(t *sql.Tx, o *order) (*operation, error) {
	op, err := find(t, "key", o.key)
	if op == nil && err == nil {
		op, err = find(t, "tx", o.tx)
	}
	switch {
	case op == nil || err != nil:
		return nil, err
	case op.state == stateVoid || op.state == stateUndone:
		return nil, undoneBefore()
	case string(op.sum) != string(o.sum):
		return nil, refuse(http.StatusUnprocessableEntity, "this idempotency key was used for another order")
	}
	return op, nil
}

func undoneBefore() error {
	return refuse(http.StatusConflict, "this was undone, and will not be done again")
}

// goOn does what takes more than one transaction of the database, each of which
// may be the last before a crash.
func (a *Agent) goOn(ctx context.Context, op *operation, o *order) error {
	for op.state == stateWorking {
		err := a.store.atomically(ctx, func(t *sql.Tx) error {
			// A repetition may have ended it in between, or the compensation come.
			now, err := find(t, "id", op.id)
			if err != nil {
				return err
			}
			if *op = *now; op.state == stateDone {
				return nil
			}
			if op.state != stateWorking {
				return undoneBefore()
			}
			result, err := a.trade.step(t, op.id, o)
			if err != nil || result == nil {
				return err
			}
			return finish(t, op, result)
		})
		if err == nil && op.state == stateWorking {
			err = a.faults.strike(ctx, "do", "half")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func finish(t *sql.Tx, op *operation, result any) (err error) {
	if op.answer, err = json.Marshal(result); err != nil {
		return err
	}
	op.state = stateDone
	return update(t, op)
}

// undo gives back what an operation has taken, once.
func (a *Agent) undo(ctx context.Context, c claim) (done settlement, err error) {
	err = a.store.atomically(ctx, func(t *sql.Tx) error {
		op, err := find(t, "id", c.UndoData)
		if op == nil && err == nil {
			if c.UndoData != "" {
				return refuse(http.StatusNotFound, "nothing is known under this undo_data; nothing was undone")
			}
			op, err = find(t, "tx", c.Transaction)
		}
		switch {
		case err != nil:
			return err
		case op == nil:
			return void(t, c.Transaction, &done)
		case op.state == stateUndone || op.state == stateVoid:
			return json.Unmarshal(op.settled, &done)
		}
		if done, err = a.trade.undo(t, op); err != nil {
			return err
		}
		op.state = stateUndone
		if op.settled, err = json.Marshal(done); err != nil {
			return err
		}
		return update(t, op)
	})
	return done, err
}

// void marks a transaction of which nothing is known: should its order still
// come, it comes too late.
func void(t *sql.Tx, tx string, done *settlement) error {
	*done = settlement{Applied: nothing}
	settled, err := json.Marshal(done)
	if err != nil {
		return err
	}
	return insert(t, &operation{tx: tx, state: stateVoid, settled: settled})
}

// stateOf is the state of a transaction's operation; a refusal if there is none.
func (s *store) stateOf(ctx context.Context, tx string) (state string, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT state FROM operations WHERE tx = ?", tx).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return "", refuse(http.StatusNotFound, "nothing was ordered in this transaction")
	}
	return state, err
}

// dump returns the last rows of a table, whose name is one of ours.
func (s *store) dump(ctx context.Context, table string) ([]map[string]any, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT * FROM "+table+" ORDER BY rowid DESC LIMIT 1000")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	all := []map[string]any{}
	for rows.Next() {
		cells := make([]any, len(columns))
		for i := range cells {
			cells[i] = new(any)
		}
		if err := rows.Scan(cells...); err != nil {
			return nil, err
		}
		row := make(map[string]any, len(columns))
		for i, c := range columns {
			switch v := (*cells[i].(*any)).(type) {
			case []byte:
				row[c] = shownBlob(c, v)
			default:
				row[c] = v
			}
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// shownBlob is kept JSON as it is, and a digest in hex.
func shownBlob(column string, b []byte) any {
	switch {
	case column == "sum":
		return fmt.Sprintf("%x", b)
	case len(b) == 0:
		return nil
	}
	return json.RawMessage(b)
}
