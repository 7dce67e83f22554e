// Package budget is the money ledger: how much a transaction tree may still
// spend. Before a call is sent its cost is reserved; afterwards what its receipt
// says is spent, or, if it came to nothing, the reservation is released. What
// nobody knows the outcome of stays reserved.
//
// A [Ledger] is a view of the flight log, as package once is: it puts a step on
// the line that is about to be appended durably, and learns it from there. A
// crash leaves every reservation that may have reached a peer:
//
//	r, err := ledger.Reserve(tree, budget.Ask{Peer: peer, Amount: amount})
//	if err != nil {
//		... // *Exhausted: 422 budget-exhausted
//	}
//	defer r.End()
//	r.Hold(request)
//	log.Append(request, flight.Durable)
//	receipt := forward()
//	r.Spend(response, receipt.Cost)        // or r.Release(response)
//	log.Append(response, flight.Durable)
package budget

import (
	"errors"
	"fmt"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
)

// Tree is a transaction tree: everything that is done because of one call of
// one principal. A trace id does not name it: anybody can say one.
type Tree struct {
	Initiator string // principal that started it; the operator's own agent included
	Root      string // transaction or span that ingress minted for it
}

// Ask is what a reservation is for.
type Ask struct {
	Peer   string     // principal that gets the money
	Amount iatp.Money // the most that the call may cost
	// Limit opens the tree if it is not open: the most that it may spend. The
	// zero Money opens nothing.
	Limit iatp.Money
	// Key, if not empty, is the idempotency key of the call: a repetition of it can
	// take the reservation over, as long as nobody knows what became of the call.
	Key string
}

// Figures are the state of a tree. All are in one currency, and
// Limit = Spent + Reserved + Left.
type Figures struct {
	Limit, Spent, Reserved, Left iatp.Money
}

// Exhausted says that a call would cost more than is left: 422
// budget-exhausted.
type Exhausted struct {
	Asked iatp.Money
	Figures
}

// Error names the figures.
func (e *Exhausted) Error() string {
	return fmt.Sprintf("budget: asked for %v, but of %v for the transaction %v is left (spent %v, reserved %v)",
		e.Asked, e.Limit, e.Left, e.Spent, e.Reserved)
}

var (
	// ErrUnknownTree: the tree was never opened, or its time is over. What is
	// not open has no budget; it is not without limit.
	ErrUnknownTree = errors.New("budget: the transaction has no budget")
	// ErrCurrency: the tree is in another currency: 422, with the figures.
	ErrCurrency = errors.New("budget: amounts are in different currencies")
	// ErrFull: there is no room for another tree or reservation of this
	// initiator, or trees were lost: 503, later again.
	ErrFull = errors.New("budget: there is no room for another transaction")
	// ErrTooDear: a call did cost more than was reserved for it. All that was
	// reserved is spent; the rest is the peer's loss.
	ErrTooDear = errors.New("budget: the cost is above what was reserved")
)

// Options are the settings of a Ledger. The zero value works.
type Options struct {
	// TTL is how long a tree stays open after its last movement. It should be
	// longer than any deadline. Default 25 hours.
	TTL time.Duration
	// MaxTrees is how many trees are open at a time, MaxShare how many of them
	// one initiator may have, and MaxCalls how many reservations one tree may
	// have that are neither spent nor released. Default 1<<18, 1<<15 and 1024.
	MaxTrees, MaxShare, MaxCalls int
	// Now is the clock on the wall. Default time.Now.
	Now func() time.Time
	// Uptime is a clock that nobody sets: a tree is forgotten by it. Default
	// the time since Open.
	Uptime func() time.Duration
}

func (o Options) withDefaults() Options {
	if o.TTL <= 0 {
		o.TTL = 25 * time.Hour
	}
	if o.MaxTrees <= 0 {
		o.MaxTrees = 1 << 18
	}
	if o.MaxShare <= 0 {
		o.MaxShare = 1 << 15
	}
	if o.MaxCalls <= 0 {
		o.MaxCalls = 1024
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Uptime == nil {
		start := time.Now()
		o.Uptime = func() time.Duration { return time.Since(start) }
	}
	return o
}
