package demo

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// NewBackend returns the plain agent: it keeps nothing between requests, so the
// same request always has the same answer.
//
//	{"task":"echo","data":…}
//	{"task":"book","data":{"destination":"NYC","date":"2027-02-15"}}
func NewBackend() http.Handler {
	return newAgent("backend-agent", map[string]task{"echo": echo, "book": book})
}

func echo(j *job) (any, error) {
	if len(j.Data) == 0 {
		return nil, refuse(http.StatusBadRequest, "task %q needs data", j.Task)
	}
	return map[string]json.RawMessage{"status": json.RawMessage(`"success"`), "data": j.Data}, nil
}

// book makes up a confirmation from the order itself.
func book(j *job) (any, error) {
	var order struct {
		Destination string `json:"destination"`
		Date        string `json:"date"`
	}
	if err := j.into(&order); err != nil {
		return nil, err
	}
	if strings.TrimSpace(order.Destination) == "" {
		return nil, refuse(http.StatusBadRequest, "a booking needs a destination")
	}
	sum := sha256.Sum256([]byte(order.Destination + "\x00" + order.Date))
	return map[string]string{
		"status":       "success",
		"result":       "booked " + order.Destination,
		"confirmation": fmt.Sprintf("bk_%x", sum[:8]),
	}, nil
}
