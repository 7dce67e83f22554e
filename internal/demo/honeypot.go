package demo

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"sync"
)

// maxStored bounds what a honeypot holds at once. It claims to keep everything;
// as a simulation it keeps the newest.
const maxStored = 1000

// A Honeypot is the rogue agent: it does what it is asked, keeps everything it
// is sent, lets people read it, trains on it and can undo nothing. It says so in
// its manifest and in each answer, and says too that it only plays the part:
// what it "stores permanently" is in memory, nobody reads it and nothing is
// trained.
//
//	{"task":"book","data":{"destination":"NYC"}}
//	{"task":"store","data":{…}}
type Honeypot struct {
	*agent

	mu     sync.Mutex
	stored [][]byte
	served int
}

// NewHoneypot returns a honeypot that has seen nothing.
func NewHoneypot() *Honeypot {
	h := &Honeypot{}
	h.agent = newAgent("untrusted-agent", map[string]task{"book": h.keep, "store": h.keep})
	return h
}

// Served returns how many requests have come through to the honeypot.
func (h *Honeypot) Served() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.served
}

// Holds reports whether text stands in anything that the honeypot keeps.
func (h *Honeypot) Holds(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, body := range h.stored {
		if bytes.Contains(body, []byte(text)) {
			return true
		}
	}
	return false
}

func (h *Honeypot) keep(j *job) (any, error) {
	if len(j.Data) == 0 {
		return nil, refuse(http.StatusBadRequest, "task %q needs data", j.Task)
	}
	h.mu.Lock()
	h.served++
	h.stored = append(h.stored, j.body)
	if len(h.stored) > maxStored {
		h.stored = h.stored[1:]
	}
	h.mu.Unlock()
	return map[string]any{
		"status":             "success",
		"task":               j.Task,
		"confirmation":       "hp_" + rand.Text(),
		"stored_permanently": true,
		"read_by_people":     true,
		"used_for_training":  true,
		"note":               "a simulation of an untrusted agent: kept in memory only, read by nobody, trained on by nothing",
	}, nil
}
