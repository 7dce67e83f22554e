// Package recovery decides what to do when work given to an agent fails: ask
// again, undo it, or give up and say so. [Decide] is pure; [Handle] acts on its
// decisions through callbacks, so that the same engine serves a sidecar, a
// program of its own, or a test.
//
// The rules, in order:
//
//   - Nothing is done once a byte of the agent's reply has reached the caller:
//     what the caller has seen must not be taken back behind its back.
//   - Retry only what the manifest calls idempotent, only failures that may
//     pass, at most [MaxAttempts] times in all, and only when the pause and a
//     further attempt fit into the time left. Whatever is not idempotent is
//     never sent twice, also when probably not a byte of it arrived.
//   - Roll back what may have had an effect, if the agent promises to undo and
//     there is a way to ask for it.
//   - Else give up. That is an answer too: it says what is not known.
package recovery

import (
	"fmt"
	"net/http"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// A Strategy is what to do about a failure.
type Strategy string

const (
	Rollback Strategy = "rollback" // ask the agent to undo
	Retry    Strategy = "retry"    // send the same request again
	GiveUp   Strategy = "give_up"  // do nothing more, and say so
)

// A Kind is the way in which an agent failed.
type Kind string

const (
	Connect   Kind = "connect"   // no connection came about
	Timeout   Kind = "timeout"   // no answer in time
	Reset     Kind = "reset"     // the connection broke before the answer began
	Truncated Kind = "truncated" // the answer ended before the length it declared
	Protocol  Kind = "protocol"  // the answer is not the HTTP that was asked for
	Status    Kind = "status"    // the agent answered with Failure.Status
	Partial   Kind = "partial"   // the agent says that it did part of the work
	Canceled  Kind = "canceled"  // the caller went away
	Unknown   Kind = "unknown"   // an error that says nothing of itself
)

// A Failure is what is known about one attempt that failed. As an error, it is
// what a retry callback returns to say how the next attempt failed.
type Failure struct {
	TraceID    iatp.TraceID
	Kind       Kind
	Sent       bool          // a byte of the request may have reached the agent
	Released   bool          // a byte of the agent's reply has reached the caller
	Err        error         // the cause, for logs; never shown in a Result
	Attempt    int           // how many attempts have been made; 0 counts as 1
	Remaining  time.Duration // until the caller's deadline
	Status     int           // Status: the HTTP status
	RetryAfter time.Duration // the pause that the agent asked for, 0 if none
}

// Error names the kind of failure, and the status where there is one.
func (f *Failure) Error() string {
	if f.Kind == Status {
		return fmt.Sprintf("agent answered with status %d", f.Status)
	}
	if f.Err == nil {
		return "agent failed: " + string(f.kind())
	}
	return fmt.Sprintf("agent failed: %s: %v", f.kind(), f.Err)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

func (f *Failure) kind() Kind {
	if f.Kind == "" {
		return Unknown
	}
	return f.Kind
}

const (
	// MaxAttempts is how often one request is sent at most, the first time
	// included.
	MaxAttempts = 4

	// firstWait is the pause before the first retry; each further one is twice
	// as long.
	firstWait = 50 * time.Millisecond

	// attemptTime is what must be left of the deadline after a pause: an
	// attempt that cannot end in time is a request sent for nothing.
	attemptTime = 10 * time.Millisecond
)

// A Decision is what to do, and why.
type Decision struct {
	Strategy Strategy
	Wait     time.Duration // Retry: the pause before it, at most; Handle shortens it at random
	Why      string        // for a person, one clause
}

// Decide chooses a strategy for a failure. A nil manifest promises nothing.
// canCompensate says that there is a way to ask for the undo. Decide is pure
// and gives the same answer to the same question.
func Decide(f Failure, m *iatp.Manifest, canCompensate bool) Decision {
	return decide(&f, m, true, canCompensate)
}

func decide(f *Failure, m *iatp.Manifest, canRetry, canCompensate bool) Decision {
	if f.Released {
		return Decision{Strategy: GiveUp, Why: "part of the answer has reached the caller"}
	}
	wait, whyNot := pause(f, m, canRetry)
	if whyNot == "" {
		return Decision{Strategy: Retry, Wait: wait, Why: "the agent is idempotent and the failure may pass"}
	}
	switch {
	case !effect(f):
		return Decision{Strategy: GiveUp, Why: whyNot + "; the agent has done nothing"}
	case m == nil || !m.Reversibility.Level.Undoes():
		return Decision{Strategy: GiveUp, Why: whyNot + "; the agent cannot undo"}
	case !canCompensate:
		return Decision{Strategy: GiveUp, Why: whyNot + "; there is no way to ask the agent to undo"}
	}
	return Decision{Strategy: Rollback, Why: whyNot + "; the agent can undo"}
}

// pause returns the pause before the next attempt, or why there is none.
func pause(f *Failure, m *iatp.Manifest, canRetry bool) (wait time.Duration, whyNot string) {
	attempt := max(f.Attempt, 1)
	switch {
	case !passing(f):
		return 0, "asking again would not help"
	case m == nil || !m.Capabilities.Idempotency:
		return 0, "the agent is not idempotent"
	case !canRetry:
		return 0, "there is no way to ask again"
	case attempt >= MaxAttempts:
		return 0, fmt.Sprintf("%d attempts have failed", attempt)
	}
	wait = max(firstWait<<(attempt-1), f.RetryAfter)
	if wait > f.Remaining-attemptTime {
		return 0, "no time is left for another attempt"
	}
	return wait, ""
}

// passing reports whether the same request may succeed later.
func passing(f *Failure) bool {
	switch f.Kind {
	case Connect, Timeout, Reset, Truncated, Protocol, Unknown, "":
		return true
	case Status:
		switch f.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
	}
	return false
}

// effect reports whether the agent may have done anything. A client error says
// that it did not.
func effect(f *Failure) bool {
	if f.Kind == Status && f.Status >= 400 && f.Status < 500 {
		return false
	}
	return f.Sent || f.Kind == Partial
}
