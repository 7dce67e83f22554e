package office

import (
	"database/sql"
	"encoding/json"
	"net/http"
)

// bankItself is the account that opened accounts are funded from, the only one
// that may be below nothing. So all entries always add up to nothing.
const bankItself = "bank"

// A ledger moves money between accounts, in double entry.
//
//	{"task":"open","data":{"account":"alice","deposit":"100.00"}}
//	{"task":"transfer","data":{"amount":"40.00","from_account":"alice","to_account":"shop"}}
//	{"task":"balance","data":{"account":"alice"}}
type ledger struct{ atOnce }

func (ledger) tables() string {
	return `
CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS entries (
	operation TEXT NOT NULL REFERENCES operations,
	account   TEXT NOT NULL REFERENCES accounts,
	cents     INTEGER NOT NULL,
	undo      INTEGER NOT NULL,
	UNIQUE (operation, account, undo)
) STRICT;
CREATE INDEX IF NOT EXISTS entries_of ON entries (account);
INSERT OR IGNORE INTO accounts VALUES ('` + bankItself + `');`
}

func (ledger) shows() []string { return []string{"accounts", "entries"} }

func (l ledger) do(t *sql.Tx, id string, o *order) (any, error) {
	switch o.Task {
	case "open":
		return l.open(t, id, o)
	case "transfer":
		return l.transfer(t, id, o)
	case "balance":
		return l.balance(t, o)
	}
	return nil, unknownTask(o, "balance, open, transfer")
}

func (l ledger) open(t *sql.Tx, id string, o *order) (any, error) {
	var q struct {
		Account string      `json:"account"`
		Deposit json.Number `json:"deposit"`
	}
	if err := o.into(&q); err != nil {
		return nil, err
	}
	if err := named("account", q.Account); err != nil {
		return nil, err
	}
	if r, err := t.Exec("INSERT OR IGNORE INTO accounts VALUES (?)", q.Account); err != nil {
		return nil, err
	} else if n, err := r.RowsAffected(); err != nil || n == 0 {
		return nil, orRefuse(err, http.StatusConflict, "account %s exists", q.Account)
	}
	if q.Deposit != "" && q.Deposit != "0" {
		n, err := cents(q.Deposit.String())
		if err != nil {
			return nil, err
		}
		if err := post(t, id, bankItself, q.Account, n, 0); err != nil {
			return nil, err
		}
	}
	return l.said(t, q.Account)
}

func (ledger) transfer(t *sql.Tx, id string, o *order) (any, error) {
	var q struct {
		Amount json.Number `json:"amount"`
		From   string      `json:"from_account"`
		To     string      `json:"to_account"`
	}
	if err := o.into(&q); err != nil {
		return nil, err
	}
	n, err := cents(q.Amount.String())
	if err != nil {
		return nil, err
	}
	if q.From == q.To || q.From == bankItself || q.To == bankItself {
		return nil, refuse(http.StatusBadRequest, "from_account and to_account must be two accounts of customers")
	}
	if err := post(t, id, q.From, q.To, n, 0); err != nil {
		return nil, err
	}
	return map[string]string{"status": "success", "operation": id, "amount": dollars(n), "currency": currency, "from_account": q.From, "to_account": q.To}, nil
}

func (l ledger) balance(t *sql.Tx, o *order) (any, error) {
	var q struct {
		Account string `json:"account"`
	}
	if err := o.into(&q); err != nil {
		return nil, err
	}
	return l.said(t, q.Account)
}

func (ledger) said(t *sql.Tx, account string) (any, error) {
	n, err := balanceOf(t, account)
	if err != nil {
		return nil, err
	}
	return map[string]string{"status": "success", "account": account, "balance": dollars(n), "currency": currency}, nil
}

// undo posts the reverse, if the money is still there.
func (ledger) undo(t *sql.Tx, op *operation) (settlement, error) {
	var from, to string
	var n int64
	err := t.QueryRow("SELECT a.account, b.account, b.cents FROM entries a JOIN entries b USING (operation) WHERE operation = ? AND a.cents < 0 AND b.cents > 0 AND a.undo = 0 AND b.undo = 0", op.id).
		Scan(&from, &to, &n)
	if err == sql.ErrNoRows { // an order that moved nothing
		return settlement{Applied: "rollback"}, nil
	}
	if err != nil {
		return settlement{}, err
	}
	return settlement{Applied: "rollback", Returned: n}, post(t, op.id, to, from, n, 1)
}

// post moves n cents.
func post(t *sql.Tx, id, from, to string, n int64, undo int) error {
	have, err := balanceOf(t, from)
	if err != nil {
		return err
	}
	if _, err := balanceOf(t, to); err != nil {
		return err
	}
	if from != bankItself && have < n {
		return refuse(http.StatusConflict, "account %s holds %s, less than %s; nothing was moved", from, dollars(have), dollars(n))
	}
	_, err = t.Exec("INSERT INTO entries VALUES (?, ?, ?, ?), (?, ?, ?, ?)", id, from, -n, undo, id, to, n, undo)
	return err
}

func balanceOf(t *sql.Tx, account string) (n int64, err error) {
	err = t.QueryRow("SELECT coalesce(sum(cents), 0) FROM accounts LEFT JOIN entries ON account = name WHERE name = ? GROUP BY name", account).Scan(&n)
	if err == sql.ErrNoRows {
		return 0, refuse(http.StatusBadRequest, "no account %.40q", account)
	}
	return n, err
}

// orRefuse is err, or a refusal if there is none.
func orRefuse(err error, status int, format string, args ...any) error {
	if err != nil {
		return err
	}
	return refuse(status, format, args...)
}
