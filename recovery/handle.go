package recovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// CompensationTime bounds a compensation. It runs to its end also when the
// caller goes away: half an undo helps nobody.
const CompensationTime = 30 * time.Second

// What a compensation may find when it asks the agent first: unknown is not failed.
var (
	// ErrNothingDone: the work had no effect, so there is nothing to undo.
	ErrNothingDone = errors.New("the agent had done nothing")
	// ErrStands: the work was done whole. It stands, and only its answer is lost.
	ErrStands = errors.New("the agent had done the work, which stands")
)

// A Result says how a failure ended.
type Result struct {
	Strategy Strategy // the last one tried
	Success  bool     // the retry was answered, or the agent undid the work

	// ActionsTaken is what was done, in order, in fixed words: it is safe to
	// show to anybody and holds no address and no text of the agent.
	ActionsTaken []string
}

// Handle brings a failure to an end: it retries with pauses as [Decide] says,
// then rolls back or gives up. It returns when that is done, or, while it
// waits or retries, when ctx is.
//
// Retry sends the same request again. It returns nil if the agent answered,
// else preferably a *[Failure] with Kind, Sent, Released, Status and RetryAfter
// set; any other error counts as Unknown, with bytes sent. A nil retry means that
// there is no way to ask again.
//
// Compensate asks the agent to undo, and returns nil once it has, or
// [ErrNothingDone] or [ErrStands] if it has found out that it must not. Its context
// is not cancelled with ctx and ends after [CompensationTime]. A nil compensate
// means that there is no way to undo.
func Handle(ctx context.Context, f Failure, m *iatp.Manifest, retry, compensate func(context.Context) error) Result {
	deadline := time.Now().Add(f.Remaining)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	var r Result
	for {
		f.Remaining = time.Until(deadline)
		if ctx.Err() != nil && f.Kind != Partial {
			f.Kind = Canceled
		}
		d := decide(&f, m, retry != nil, compensate != nil)
		r.Strategy = d.Strategy
		switch d.Strategy {
		case Rollback:
			r.rollBack(ctx, compensate)
			return r
		case GiveUp:
			r.note("gave up: %s", d.Why)
			return r
		}
		next := r.again(ctx, &f, deadline, jitter(d.Wait, f.RetryAfter), retry)
		if next == nil {
			r.Success = true
			return r
		}
		f = *next
	}
}

func (r *Result) note(format string, args ...any) {
	r.ActionsTaken = append(r.ActionsTaken, fmt.Sprintf(format, args...))
}

// again waits, asks once more and returns how that failed, or nil.
func (r *Result) again(ctx context.Context, f *Failure, deadline time.Time, wait time.Duration, retry func(context.Context) error) *Failure {
	next := *f
	pause := time.NewTimer(wait)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		next.Kind = Canceled
		return &next
	case <-pause.C:
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	r.note("waited %s after %s", wait.Round(time.Millisecond), f.kind())
	attempt := max(f.Attempt, 1) + 1
	err := retry(ctx)
	if err == nil {
		r.note("attempt %d: answered", attempt)
		return nil
	}
	next = failureOf(err)
	next.TraceID, next.Attempt = f.TraceID, attempt
	next.Sent = next.Sent || f.Sent // an earlier attempt may have had its effect
	r.note("attempt %d: %s", attempt, next.kind())
	return &next
}

// failureOf reads what a retry returned.
func failureOf(err error) Failure {
	if f, ok := errors.AsType[*Failure](err); ok && f != nil {
		return *f
	}
	f := Failure{Kind: Unknown, Sent: true, Err: err}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		f.Kind = Timeout
	case errors.Is(err, context.Canceled):
		f.Kind = Canceled
	}
	return f
}

// rollBack asks the agent to undo, and lets it finish whoever goes away.
func (r *Result) rollBack(ctx context.Context, compensate func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CompensationTime)
	defer cancel()
	err := compensate(ctx)
	switch {
	case errors.Is(err, ErrNothingDone):
		r.Success = true
		r.note("asked the agent: it had done nothing")
		return
	case errors.Is(err, ErrStands):
		r.Strategy = GiveUp
		r.note("asked the agent: the work was done, and stands")
		return
	case err != nil:
		r.note("asked the agent to undo: not done")
		return
	}
	r.Success = true
	r.note("asked the agent to undo: done")
}

// jitter shortens a pause by up to half, so that callers that failed together
// do not return together; never below what the agent asked for.
func jitter(wait, least time.Duration) time.Duration {
	return max(wait-rand.N(wait/2+1), least)
}
