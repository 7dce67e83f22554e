package demo

import (
	"crypto/rand"
	"net/http"
	"strings"
)

// Ticket is what the booking agent answers to the first booking of its life.
const Ticket = "#999"

// NewBooking returns an agent that books flights and cannot take one back: the
// ticket is issued when it answers. It keeps nothing of what it is sent.
//
//	{"task":"book_flight","data":{"from":"SFO","to":"NYC","contact":"ann@example.com"}}
//
// The contact may be left out.
func NewBooking() http.Handler {
	return newAgent("expedia-booking-bot-v2", map[string]task{"book_flight": bookFlight})
}

func bookFlight(j *job) (any, error) {
	var q struct {
		From    string `json:"from"`
		To      string `json:"to"`
		Contact string `json:"contact"`
	}
	if err := j.into(&q); err != nil {
		return nil, err
	}
	for name, place := range map[string]string{"from": q.From, "to": q.To} {
		if len(place) != 3 || strings.ToUpper(place) != place {
			return nil, refuse(http.StatusBadRequest, "%s must be the three letters of an airport, such as SFO", name)
		}
	}
	ticket := map[string]any{
		"status": "success", "ticket": Ticket, "from": q.From, "to": q.To,
		"locator": rand.Text()[:6], "reversible": false,
	}
	if q.Contact != "" {
		ticket["confirmation_to"] = q.Contact
	}
	return ticket, nil
}
