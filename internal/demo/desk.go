package demo

import (
	"net/http"
	"sync"
)

// A Purse is the account of the traveller at all booking desks.
type Purse struct {
	mu   sync.Mutex
	left Cents
}

// NewPurse returns a purse with an amount in it.
func NewPurse(c Cents) *Purse { return &Purse{left: c} }

// Balance is what is in it.
func (p *Purse) Balance() Cents {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left
}

// take takes an amount out, if there is as much; a negative one is given back.
func (p *Purse) take(c Cents) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left < c {
		return refuse(http.StatusConflict, "the account holds %s, less than %s", p.left, c)
	}
	p.left -= c
	return nil
}

// maxBookings bounds a desk's memory.
const maxBookings = 100_000

// A Desk books places of one kind, is paid from a purse, and cancels against a fee.
// A booking is made once for a transaction of its sidecar, and canceled once.
//
//	{"task":"book","data":{"from":"2027-02-15","nights":3}}
//	POST /compensate/{transaction_id}
type Desk struct {
	*agent
	purse      *Purse
	price, fee Cents

	mu       sync.Mutex
	places   int
	bookings map[string]*booking // by transaction
}

type booking struct {
	place    string
	content  digest // of the order
	canceled bool
}

// NewDesk returns the desk of an agent with so many places at a price, which keeps
// a fee of what it cancels.
func NewDesk(id string, places int, price, fee Cents, purse *Purse) *Desk {
	d := &Desk{purse: purse, price: price, fee: fee, places: places, bookings: map[string]*booking{}}
	d.agent = newAgent(id, map[string]task{"book": d.book})
	d.mux.HandleFunc("POST /compensate/{id}", d.cancel)
	return d
}

func (d *Desk) book(j *job) (any, error) {
	var q struct {
		From   string `json:"from"`
		Nights int    `json:"nights"`
	}
	if err := j.into(&q); err != nil {
		return nil, err
	}
	tx := transactionOf(j)
	d.mu.Lock()
	defer d.mu.Unlock()
	b, ok := d.bookings[tx]
	switch {
	case ok && (b.canceled || b.content != digestOf(j.body)):
		return nil, refuse(http.StatusConflict, "transaction %s is that of another booking, or canceled", tx)
	case !ok && d.places == 0:
		return nil, refuse(http.StatusConflict, "sold out")
	case !ok && len(d.bookings) >= maxBookings:
		return nil, refuse(http.StatusServiceUnavailable, "the book is full")
	case !ok:
		if err := d.purse.take(d.price); err != nil {
			return nil, err
		}
		d.places--
		b = &booking{place: "#" + tx[max(len(tx)-6, 0):], content: digestOf(j.body)}
		d.bookings[tx] = b
	}
	return map[string]string{"status": "success", "confirmation": b.place, "price": d.price.String(), "currency": "USD"}, nil
}

func (d *Desk) cancel(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, ok := d.bookings[r.PathValue("id")]
	if !ok {
		fail(w, refuse(http.StatusNotFound, "no booking of transaction %.40q", r.PathValue("id")))
		return
	}
	if !b.canceled {
		if err := d.purse.take(d.fee - d.price); err != nil { // cannot be: it gives back
			fail(w, err)
			return
		}
		b.canceled = true
		d.places++
	}
	state := "compensated"
	if d.fee > 0 {
		state = "partially_compensated"
	}
	answer(w, http.StatusOK, map[string]any{
		"success": true, "state": state, "amount_returned": (d.price - d.fee).String(), "fee_charged": d.fee.String(), "currency": "USD",
	})
}
