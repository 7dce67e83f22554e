package office

import (
	"database/sql"
	"net/http"
)

// A mail room sends, and nothing comes back. Its outbox stands for the world
// outside.
//
//	{"task":"send","data":{"to":"alice","text":"Your trip is booked."}}
type mail struct{ atOnce }

func (mail) tables() string {
	return `
CREATE TABLE IF NOT EXISTS outbox (
	operation TEXT PRIMARY KEY REFERENCES operations,
	recipient TEXT NOT NULL,
	text      TEXT NOT NULL
) STRICT;`
}

func (mail) shows() []string { return []string{"outbox"} }

func (mail) do(t *sql.Tx, id string, o *order) (any, error) {
	if o.Task != "send" {
		return nil, unknownTask(o, "send")
	}
	var q struct {
		To   string `json:"to"`
		Text string `json:"text"`
	}
	if err := o.into(&q); err != nil {
		return nil, err
	}
	if err := named("to", q.To); err != nil {
		return nil, err
	}
	if _, err := t.Exec("INSERT INTO outbox VALUES (?, ?, ?)", id, q.To, q.Text); err != nil {
		return nil, err
	}
	return map[string]string{"status": "success", "operation": id, "to": q.To}, nil
}

func (mail) undo(*sql.Tx, *operation) (settlement, error) {
	return settlement{}, refuse(http.StatusConflict, "a mail that was sent cannot be taken back; nothing was undone")
}
