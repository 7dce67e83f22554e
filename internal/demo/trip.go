package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// What the traveller has, and what the hotel keeps of a booking that is canceled.
const (
	purseBefore Cents = 1000_00
	hotelFee    Cents = 30_00
)

// OpenTrip begins the scene of three bookings that belong together.
func (c *Cast) OpenTrip() Scene {
	return Scene{
		Title: "Three bookings that belong together: a saga.",
		To:    c.Travel, Path: "/sagas",
		Body:   `{"on_failure":"compensate"}`,
		status: http.StatusCreated, says: []string{`"state":"active"`},
	}
}

// TripID is the id of the saga that an answer to OpenTrip began.
func TripID(a *Answer) (string, error) {
	var saga struct{ ID string }
	if err := json.Unmarshal(a.Body, &saga); err != nil || saga.ID == "" {
		return "", errors.New("the answer names no saga")
	}
	return saga.ID, nil
}

// Trip are the bookings of a saga. The third fails.
func (c *Cast) Trip(saga string) []Scene {
	book := func(i int, name, title string, status int, says string) Scene {
		return Scene{
			Title: title,
			To:    c.Travel, Peer: name, about: c.Desks[i], Saga: saga,
			Body:   `{"task":"book","data":{"from":"2027-02-15","nights":3}}`,
			status: status, says: []string{says},
		}
	}
	return []Scene{
		book(0, "flight", "The flight: booked.", http.StatusOK, `"status":"success"`),
		book(1, "hotel", "The hotel: booked. It would keep a fee.", http.StatusOK, `"status":"success"`),
		book(2, "car", "The car: sold out. Now the trip is of no use.", http.StatusConflict, `sold out`),
	}
}

// TripEnd is what the saga says when all is undone.
func (c *Cast) TripEnd(saga string) Scene {
	return Scene{
		Title: "What was booked is undone, the last first, by itself.",
		To:    c.Travel, Path: "/sagas/" + saga,
		status: http.StatusOK, says: []string{`"state":"partially_compensated","on_failure"`, `"fee_charged":"` + hotelFee.String() + `"`},
	}
}

// PlayTripEnd plays TripEnd when the saga has come to an end.
func (c *Cast) PlayTripEnd(ctx context.Context, saga string) (*Answer, error) {
	scene := c.TripEnd(saga)
	for end := time.Now().Add(sceneTimeout); ; time.Sleep(20 * time.Millisecond) {
		a, err := scene.Play(ctx)
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return a, err
		}
	}
}

// TripBalance returns what the traveller has after the trip. The error is for
// anything but what there was, less the fee of the hotel.
func (c *Cast) TripBalance() (before, after Cents, err error) {
	after = c.purse.Balance()
	if after != purseBefore-hotelFee {
		err = fmt.Errorf("the balance is %s, promised was %s", after, purseBefore-hotelFee)
	}
	return purseBefore, after, err
}
