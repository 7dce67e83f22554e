package upstream

import (
	"context"
	"net/http"
	"sync"
)

// Call is one request under way: how to end it, and the memory that its answer
// needs. The zero value is ready. It serves one request at a time, and another one
// when the body of the answer was closed. End may be called from any goroutine.
type Call struct {
	mu    sync.Mutex
	waits interrupter // what is to be interrupted; nil while nobody waits
	ended error

	resp http.Response
	head http.Header
	body body
}

// interrupter is what a call can wait for.
type interrupter interface{ interrupt() }

// dialing ends the making of a connection.
type dialing context.CancelFunc

func (d dialing) interrupt() { d() }

// End ends the call: whatever waits for it returns soon, with cause where it was
// the end that kept it from its result. The first cause stays. A call that has ended
// sends nothing more.
func (c *Call) End(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return
	}
	c.ended = cause
	if c.waits != nil {
		c.waits.interrupt()
	}
}

// Err is the cause with which the call was ended, nil if it was not.
func (c *Call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Reset makes an ended call good for another request. Nobody may hold on to it.
func (c *Call) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = nil
	c.resp, c.body = http.Response{}, body{}
}

// await says what is to be interrupted from now on. It fails if the call has ended.
func (c *Call) await(what interrupter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		c.waits = what
	}
	return c.ended
}

// done says that nothing is to be interrupted any more, and whether something was.
func (c *Call) done() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = nil
	return c.ended
}

// manyFields is how many fields of an answer's head are worth keeping memory for.
const manyFields = 32

// fields is an empty head for an answer.
func (c *Call) fields() http.Header {
	if c.head == nil || len(c.head) > manyFields {
		c.head = make(http.Header, 8)
	}
	clear(c.head)
	return c.head
}
