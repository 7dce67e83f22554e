package office

import (
	"database/sql"
	"net/http"
)

// A stock room has items on shelves. It reserves them, and it clears a shelf away
// item by item: clearing is the destructive order that can be cut short in the
// middle.
//
//	{"task":"fill","data":{"shelf":"a","items":{"lamp":3,"cup":5}}}
//	{"task":"reserve","data":{"shelf":"a","item":"lamp","quantity":2}}
//	{"task":"clear","data":{"shelf":"a"}}
type stock struct{}

func (stock) tables() string {
	return `
CREATE TABLE IF NOT EXISTS items (
	shelf    TEXT NOT NULL,
	item     TEXT NOT NULL,
	quantity INTEGER NOT NULL CHECK (quantity >= 0),
	PRIMARY KEY (shelf, item)
) STRICT;
CREATE TABLE IF NOT EXISTS taken (
	operation TEXT NOT NULL REFERENCES operations,
	shelf     TEXT NOT NULL,
	item      TEXT NOT NULL,
	quantity  INTEGER NOT NULL CHECK (quantity >= 0),
	returned  INTEGER NOT NULL,
	PRIMARY KEY (operation, shelf, item)
) STRICT;`
}

func (stock) shows() []string { return []string{"items", "taken"} }

func (s stock) do(t *sql.Tx, id string, o *order) (any, error) {
	switch o.Task {
	case "fill":
		return s.fill(t, o)
	case "reserve":
		return s.reserve(t, id, o)
	case "clear":
		_, err := s.shelf(o)
		return nil, err // the rest in steps
	}
	return nil, unknownTask(o, "clear, fill, reserve")
}

func (stock) fill(t *sql.Tx, o *order) (any, error) {
	var q struct {
		Shelf string         `json:"shelf"`
		Items map[string]int `json:"items"`
	}
	if err := o.into(&q); err != nil {
		return nil, err
	}
	if err := named("shelf", q.Shelf); err != nil {
		return nil, err
	}
	for item, n := range q.Items {
		if err := named("item", item); err != nil {
			return nil, err
		}
		if n < 1 || n > 1e9 {
			return nil, refuse(http.StatusBadRequest, "the quantity of %s must be from 1 to 1000000000", item)
		}
		if _, err := t.Exec("INSERT INTO items VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity", q.Shelf, item, n); err != nil {
			return nil, err
		}
	}
	return map[string]any{"status": "success", "shelf": q.Shelf, "items": len(q.Items)}, nil
}

func (stock) reserve(t *sql.Tx, id string, o *order) (any, error) {
	var q struct {
		Shelf    string `json:"shelf"`
		Item     string `json:"item"`
		Quantity int    `json:"quantity"`
	}
	if err := o.into(&q); err != nil {
		return nil, err
	}
	if q.Quantity < 1 {
		return nil, refuse(http.StatusBadRequest, "quantity must be 1 or more")
	}
	r, err := t.Exec("UPDATE items SET quantity = quantity - ? WHERE shelf = ? AND item = ? AND quantity >= ?", q.Quantity, q.Shelf, q.Item, q.Quantity)
	if err != nil {
		return nil, err
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return nil, orRefuse(err, http.StatusConflict, "shelf %.40q has not that many of %.40q", q.Shelf, q.Item)
	}
	if _, err := t.Exec("INSERT INTO taken VALUES (?, ?, ?, ?, 0)", id, q.Shelf, q.Item, q.Quantity); err != nil {
		return nil, err
	}
	return map[string]any{"status": "success", "operation": id, "shelf": q.Shelf, "item": q.Item, "quantity": q.Quantity}, nil
}

func (stock) shelf(o *order) (string, error) {
	var q struct {
		Shelf string `json:"shelf"`
	}
	if err := o.into(&q); err != nil {
		return "", err
	}
	return q.Shelf, named("shelf", q.Shelf)
}

// step clears one item away, and answers when there is none left.
func (s stock) step(t *sql.Tx, id string, o *order) (any, error) {
	shelf, err := s.shelf(o)
	if err != nil {
		return nil, err
	}
	var item string
	var n int64
	err = t.QueryRow("DELETE FROM items WHERE rowid = (SELECT rowid FROM items WHERE shelf = ? ORDER BY item LIMIT 1) RETURNING item, quantity", shelf).Scan(&item, &n)
	if err == sql.ErrNoRows {
		return s.cleared(t, id, shelf)
	}
	if err != nil {
		return nil, err
	}
	_, err = t.Exec("INSERT INTO taken VALUES (?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity", id, shelf, item, n)
	return nil, err
}

func (stock) cleared(t *sql.Tx, id, shelf string) (any, error) {
	var items int
	err := t.QueryRow("SELECT count(*) FROM taken WHERE operation = ?", id).Scan(&items)
	return map[string]any{"status": "success", "operation": id, "shelf": shelf, "cleared": items}, err
}

// undo puts back everything that the operation took, all of it or a part.
func (stock) undo(t *sql.Tx, op *operation) (settlement, error) {
	if _, err := t.Exec("INSERT INTO items SELECT shelf, item, quantity FROM taken WHERE operation = ? AND returned = 0 "+
		"ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity", op.id); err != nil {
		return settlement{}, err
	}
	_, err := t.Exec("UPDATE taken SET returned = 1 WHERE operation = ?", op.id)
	return settlement{Applied: "rollback"}, err
}
