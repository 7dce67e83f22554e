// Package once is the one place that says "only once". A [Book] lets a call with
// an idempotency key be executed at most once and answers its repetitions;
// [Nonces] let a signed request in at most once.
//
// Both are views of the flight log: what they know they learned from its lines,
// so a crash at any point leaves them with exactly what is on the disk. They
// write no lines themselves. They put a step on the line that the caller is
// about to append anyway, and the caller appends it durably before it acts:
//
//	s, err := book.Begin(scope, key, print)
//	if err != nil || s.State != once.New {
//		... // answer: 503, 409, 422 or what was answered before
//	}
//	defer s.Claim.End()
//	s.Claim.Hold(request)                  // from here on it may have happened
//	log.Append(request, flight.Durable)
//	answer := forward()
//	s.Claim.Finish(response, answer)       // seals the answer
//	log.Append(response, flight.Durable)
//
// Until End the key is in flight for everybody else, whatever the log says:
// nobody gets an answer that is not durable yet. After End it is what the log
// says: unused if Hold never reached a line, under way with an unknown outcome
// if only Hold did, else done.
//
// A claim is never forgotten before its time, which counts from completion.
// When there is no room, the principal that asks is refused.
package once

import (
	"log/slog"
	"time"
)

// Scope is within whom a key is unique, and whose share of the room it takes.
type Scope struct {
	// Principal is the caller: its origin or, for a stranger, the thumbprint of
	// its key. Not its key if it has an origin: keys rotate.
	Principal string
	// Stranger says that the operator does not know the principal. All
	// strangers have one share together.
	Stranger bool
}

// poolTexts name the share that a scope belongs to.
func (s Scope) poolTexts() []string {
	if s.Stranger {
		return []string{"strangers"}
	}
	return []string{"principal", s.Principal}
}

// Options are the settings of a Book. The zero value works.
type Options struct {
	// TTL is how long a key is remembered after its call has completed, and its
	// answer kept. Default 24 hours.
	TTL time.Duration
	// MaxClaims is how many keys are remembered, about 300 bytes of memory
	// each; MaxShare is how many of them one principal, or all strangers
	// together, may have. Default 1<<20 and 1<<17.
	MaxClaims, MaxShare int
	// MaxAnswer is the longest body in bytes that is kept. Default 1 MiB.
	MaxAnswer int
	// MaxBytes is how many bytes of answers are kept on disk; when they are
	// used up, receipts are kept and bodies are not. Default 1 GiB.
	MaxBytes int64
	// Logger gets what an operator should know. Default: discarded.
	Logger *slog.Logger
	// Now is the clock on the wall. Default time.Now.
	Now func() time.Time
	// Uptime is a clock that nobody sets: a key is forgotten by it. Default the
	// time since Open.
	Uptime func() time.Duration
}

func (o Options) withDefaults() Options {
	if o.TTL <= 0 {
		o.TTL = 24 * time.Hour
	}
	if o.MaxClaims <= 0 {
		o.MaxClaims = 1 << 20
	}
	if o.MaxShare <= 0 {
		o.MaxShare = 1 << 17
	}
	if o.MaxAnswer <= 0 {
		o.MaxAnswer = 1 << 20
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Uptime == nil {
		o.Uptime = uptime()
	}
	return o
}

// uptime returns a clock that begins now and that nobody sets.
func uptime() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// State is where a key stands.
type State uint8

const (
	// Full: there is no room for another key of this principal, or keys were
	// lost and this may be one of them: 503, later again. The zero State.
	Full State = iota
	// New: the key was unused and belongs to the caller now.
	New
	// InFlight: a call with the key is under way, or was when the process died
	// and nobody knows its outcome yet: 409.
	InFlight
	// Reused: the key was used for another request: 422.
	Reused
	// Done: the call was executed; Answer is what was answered.
	Done
	// NotKept: the call was executed, and of its answer the receipt is left at
	// most: 409 answer-not-kept.
	NotKept
	// Closed: nothing was executed with the key, and nothing will be: 409
	// key-closed. Answer holds the receipt that says so.
	Closed
)

// String returns a word for tests and logs.
func (s State) String() string {
	return [...]string{"full", "new", "in flight", "reused", "done", "not kept", "closed"}[s]
}

// Standing is where a key stands, and what follows from it.
type Standing struct {
	State  State
	Claim  *Claim // New
	Answer Answer // Done; NotKept and Closed: the receipt, if there is one
}
