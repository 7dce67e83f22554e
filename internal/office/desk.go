package office

import (
	"database/sql"
	"encoding/json"
	"net/http"
)

// CancelFee is what the desk keeps of a booking that is canceled, in cents.
const CancelFee = 5_00

// A desk books what there is one of, such as a seat, a room or a car, and cancels
// against a fee.
//
//	{"task":"book","data":{"resource":"flight 12 seat 4A","holder":"alice","price":"200.00"}}
type desk struct{ atOnce }

func (desk) tables() string {
	return `
CREATE TABLE IF NOT EXISTS bookings (
	operation TEXT PRIMARY KEY REFERENCES operations,
	resource  TEXT NOT NULL,
	holder    TEXT NOT NULL,
	price     INTEGER NOT NULL CHECK (price > 0),
	fee       INTEGER NOT NULL CHECK (fee >= 0 AND fee <= price),
	canceled  INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS bookings_of ON bookings (resource);`
}

func (desk) shows() []string { return []string{"bookings"} }

func (desk) do(t *sql.Tx, id string, o *order) (any, error) {
	if o.Task != "book" {
		return nil, unknownTask(o, "book")
	}
	var q struct {
		Resource string      `json:"resource"`
		Holder   string      `json:"holder"`
		Price    json.Number `json:"price"`
	}
	if err := o.into(&q); err != nil {
		return nil, err
	}
	if err := named("resource", q.Resource); err != nil {
		return nil, err
	}
	if err := named("holder", q.Holder); err != nil {
		return nil, err
	}
	price, err := cents(q.Price.String())
	if err != nil {
		return nil, err
	}
	var taken int
	if err := t.QueryRow("SELECT count(*) FROM bookings WHERE resource = ? AND canceled = 0", q.Resource).Scan(&taken); err != nil {
		return nil, err
	}
	if taken > 0 {
		return nil, refuse(http.StatusConflict, "%s is booked already", q.Resource)
	}
	if _, err := t.Exec("INSERT INTO bookings VALUES (?, ?, ?, ?, 0, 0)", id, q.Resource, q.Holder, price); err != nil {
		return nil, err
	}
	return map[string]string{
		"status": "success", "operation": id, "resource": q.Resource, "holder": q.Holder,
		"price": dollars(price), "currency": currency, "cancel_fee": dollars(min(CancelFee, price)),
	}, nil
}

func (desk) undo(t *sql.Tx, op *operation) (settlement, error) {
	var price int64
	if err := t.QueryRow("SELECT price FROM bookings WHERE operation = ? AND canceled = 0", op.id).Scan(&price); err != nil {
		return settlement{}, err
	}
	fee := min(CancelFee, price)
	_, err := t.Exec("UPDATE bookings SET canceled = 1, fee = ? WHERE operation = ?", fee, op.id)
	return settlement{Applied: "refund_minus_fee", Returned: price - fee, Fee: fee}, err
}
