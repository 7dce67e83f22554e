package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp"
)

// agent is a manifest with the two promises that recovery rests on.
func agent(idempotent bool, undo iatp.ReversibilityLevel) *iatp.Manifest {
	return &iatp.Manifest{
		Capabilities:  iatp.Capabilities{Idempotency: idempotent},
		Reversibility: iatp.Reversibility{Level: undo},
	}
}

func TestDecide(t *testing.T) {
	again := agent(true, iatp.ReversibilityNone)
	once := agent(false, iatp.ReversibilityNone)
	undoable := agent(false, iatp.ReversibilityPartial)
	both := agent(true, iatp.ReversibilityFull)
	const plenty = time.Minute
	for _, c := range []struct {
		name  string
		f     Failure
		m     *iatp.Manifest
		undo  bool
		want  Strategy
		wait  time.Duration
		whyIn string
	}{
		{name: "idempotent, down", f: Failure{Kind: Connect, Remaining: plenty}, m: again, want: Retry, wait: 50 * time.Millisecond},
		{name: "idempotent, reset", f: Failure{Kind: Reset, Sent: true, Remaining: plenty}, m: again, want: Retry, wait: 50 * time.Millisecond},
		{name: "second pause is longer", f: Failure{Kind: Reset, Sent: true, Attempt: 2, Remaining: plenty}, m: again, want: Retry, wait: 100 * time.Millisecond},
		{name: "third pause is longer", f: Failure{Kind: Reset, Sent: true, Attempt: 3, Remaining: plenty}, m: again, want: Retry, wait: 200 * time.Millisecond},
		{name: "four are enough", f: Failure{Kind: Reset, Sent: true, Attempt: 4, Remaining: plenty}, m: again, want: GiveUp, whyIn: "4 attempts have failed"},
		{name: "the agent asks for a pause", f: Failure{Kind: Status, Status: 503, Sent: true, Remaining: plenty, RetryAfter: 7 * time.Second}, m: again, want: Retry, wait: 7 * time.Second},
		{name: "the agent asks for too long a pause", f: Failure{Kind: Status, Status: 503, Sent: true, Remaining: 5 * time.Second, RetryAfter: 7 * time.Second}, m: again, want: GiveUp, whyIn: "no time"},
		{name: "no time", f: Failure{Kind: Timeout, Sent: true}, m: again, want: GiveUp, whyIn: "no time"},
		{name: "time for the pause only", f: Failure{Kind: Reset, Sent: true, Remaining: 59 * time.Millisecond}, m: again, want: GiveUp, whyIn: "no time"},
		{name: "time for pause and attempt", f: Failure{Kind: Reset, Sent: true, Remaining: 60 * time.Millisecond}, m: again, want: Retry, wait: 50 * time.Millisecond},
		{name: "not idempotent, down", f: Failure{Kind: Connect, Remaining: plenty}, m: once, want: GiveUp, whyIn: "not idempotent; the agent has done nothing"},
		{name: "not idempotent, reset", f: Failure{Kind: Reset, Sent: true, Remaining: plenty}, m: once, want: GiveUp, whyIn: "not idempotent; the agent cannot undo"},
		{name: "no manifest", f: Failure{Kind: Reset, Sent: true, Remaining: plenty}, undo: true, want: GiveUp, whyIn: "not idempotent"},
		{name: "undoable, reset", f: Failure{Kind: Reset, Sent: true, Remaining: plenty}, m: undoable, undo: true, want: Rollback, whyIn: "the agent can undo"},
		{name: "undoable, no way", f: Failure{Kind: Reset, Sent: true, Remaining: plenty}, m: undoable, want: GiveUp, whyIn: "no way to ask the agent to undo"},
		{name: "undoable, nothing sent", f: Failure{Kind: Connect, Remaining: plenty}, m: undoable, undo: true, want: GiveUp, whyIn: "has done nothing"},
		{name: "undoable, no time left", f: Failure{Kind: Timeout, Sent: true}, m: both, undo: true, want: Rollback},
		{name: "both: first again", f: Failure{Kind: Reset, Sent: true, Remaining: plenty}, m: both, undo: true, want: Retry, wait: 50 * time.Millisecond},
		{name: "both: then back", f: Failure{Kind: Reset, Sent: true, Attempt: 4, Remaining: plenty}, m: both, undo: true, want: Rollback},
		{name: "half done", f: Failure{Kind: Partial, Remaining: plenty}, m: both, undo: true, want: Rollback},
		{name: "the caller went", f: Failure{Kind: Canceled, Sent: true, Remaining: plenty}, m: both, undo: true, want: Rollback},
		{name: "the caller saw a part", f: Failure{Kind: Truncated, Sent: true, Released: true, Remaining: plenty}, m: both, undo: true, want: GiveUp, whyIn: "reached the caller"},
		{name: "refused by the agent", f: Failure{Kind: Status, Status: 400, Sent: true, Remaining: plenty}, m: both, undo: true, want: GiveUp, whyIn: "has done nothing"},
		{name: "agent's own error", f: Failure{Kind: Status, Status: 500, Sent: true, Remaining: plenty}, m: both, undo: true, want: Rollback},
		{name: "agent overloaded", f: Failure{Kind: Status, Status: 429, Sent: true, Remaining: plenty}, m: both, undo: true, want: Retry, wait: 50 * time.Millisecond},
		{name: "nothing known", f: Failure{Sent: true, Remaining: plenty}, m: again, want: Retry, wait: 50 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Decide(c.f, c.m, c.undo)
			if d.Strategy != c.want || d.Wait != c.wait || d.Why == "" || !strings.Contains(d.Why, c.whyIn) {
				t.Errorf("Decide = %+v, want %s after %v because of %q", d, c.want, c.wait, c.whyIn)
			}
		})
	}
}

func drawFailure(t *rapid.T) Failure {
	kinds := []Kind{"", Connect, Timeout, Reset, Truncated, Protocol, Status, Partial, Canceled, Unknown}
	return Failure{
		Kind:       rapid.SampledFrom(kinds).Draw(t, "kind"),
		Sent:       rapid.Bool().Draw(t, "sent"),
		Released:   rapid.IntRange(0, 4).Draw(t, "released") == 4,
		Attempt:    rapid.IntRange(-1, 5).Draw(t, "attempt"),
		Remaining:  time.Duration(rapid.Int64Range(-1, int64(10*time.Second)).Draw(t, "remaining")),
		Status:     rapid.IntRange(200, 599).Draw(t, "status"),
		RetryAfter: rapid.SampledFrom([]time.Duration{0, 0, 0, time.Millisecond, time.Second, 20 * time.Second}).Draw(t, "retry after"),
	}
}

func drawAgent(t *rapid.T) *iatp.Manifest {
	if rapid.IntRange(0, 9).Draw(t, "no manifest") == 0 {
		return nil
	}
	levels := []iatp.ReversibilityLevel{"", "none", "partial", "full"}
	return agent(rapid.Bool().Draw(t, "idempotent"), rapid.SampledFrom(levels).Draw(t, "undo"))
}

// TestLawsOfDecide: never twice what is not idempotent, never past the deadline,
// never behind the back of a caller who has seen an answer, never an undo that
// nobody promised or that there is no way to ask for.
func TestLawsOfDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, m, undo := drawFailure(t), drawAgent(t), rapid.Bool().Draw(t, "can compensate")
		d := Decide(f, m, undo)
		switch d.Strategy {
		case Retry:
			if m == nil || !m.Capabilities.Idempotency {
				t.Error("retries what is not idempotent")
			}
			if d.Wait <= 0 || d.Wait >= f.Remaining {
				t.Errorf("waits %v of %v", d.Wait, f.Remaining)
			}
			if f.Attempt >= MaxAttempts || d.Wait < f.RetryAfter {
				t.Errorf("attempt %d after %v", f.Attempt+1, d.Wait)
			}
		case Rollback:
			if m == nil || !m.Reversibility.Level.Undoes() || !undo {
				t.Error("rolls back without a promise or a way")
			}
		case GiveUp:
		default:
			t.Errorf("strategy %q", d.Strategy)
		}
		if f.Released && d.Strategy != GiveUp {
			t.Errorf("%s after the caller has seen a part of the answer", d.Strategy)
		}
		if d.Why == "" || d != Decide(f, m, undo) {
			t.Errorf("Decide gives no reason or is not pure: %+v", d)
		}
	})
}

// TestLawsOfHandle plays agents that fail in any order and looks at what was
// asked of them, in the clock of a bubble.
func TestLawsOfHandle(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		f, m := drawFailure(r), drawAgent(r)
		script := rapid.SliceOfN(rapid.SampledFrom([]error{
			nil, errors.New("odd"), context.DeadlineExceeded,
			&Failure{Kind: Reset, Sent: true}, &Failure{Kind: Connect}, &Failure{Kind: Status, Status: 503, RetryAfter: time.Second},
			&Failure{Kind: Truncated, Released: true}, &Failure{Kind: Partial},
		}), 10, 10).Draw(r, "script")
		synctest.Test(t, func(*testing.T) { playLaws(r, f, m, script) })
	})
}

func playLaws(t *rapid.T, f Failure, m *iatp.Manifest, script []error) {
	start, attempts, undone := time.Now(), 0, 0
	retry := func(ctx context.Context) error {
		attempts++
		if since := time.Since(start); since >= f.Remaining {
			t.Errorf("attempt at %v, the deadline was at %v", since, f.Remaining)
		}
		if end, ok := ctx.Deadline(); !ok || end.After(start.Add(f.Remaining)) {
			t.Error("the attempt may outlast the deadline")
		}
		return script[attempts-1]
	}
	compensate := func(context.Context) error {
		undone++
		return nil
	}
	r := Handle(context.Background(), f, m, retry, compensate)
	if attempts > 0 && (m == nil || !m.Capabilities.Idempotency) {
		t.Errorf("%d attempts at an agent that is not idempotent", attempts)
	}
	if max(f.Attempt, 1)+attempts > MaxAttempts && attempts > 0 {
		t.Errorf("%d attempts after %d", attempts, f.Attempt)
	}
	if undone > 1 || (undone == 1) != (r.Strategy == Rollback) {
		t.Errorf("undone %d times by %s", undone, r.Strategy)
	}
	if f.Released && (attempts > 0 || undone > 0) {
		t.Error("acted although the caller has seen a part of the answer")
	}
	if r.Success == (r.Strategy == GiveUp) || len(r.ActionsTaken) == 0 {
		t.Errorf("result %+v", r)
	}
}

func TestHandleRetriesUntilAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, attempts := time.Now(), 0
		retry := func(context.Context) error {
			attempts++
			if attempts < 3 {
				return &Failure{Kind: Reset, Sent: true}
			}
			return nil
		}
		r := Handle(t.Context(), Failure{Kind: Connect, Remaining: time.Minute}, agent(true, ""), retry, nil)
		if !r.Success || r.Strategy != Retry || attempts != 3 {
			t.Errorf("after %d attempts: %+v", attempts, r)
		}
		// Pauses of at most 50, 100 and 200 ms, none below half of that.
		if took := time.Since(start); took < 175*time.Millisecond || took > 350*time.Millisecond {
			t.Errorf("took %v", took)
		}
		want := []string{"after connect", "attempt 2: reset", "after reset", "attempt 3: reset", "after reset", "attempt 4: answered"}
		if !slices.EqualFunc(r.ActionsTaken, want, strings.HasSuffix) {
			t.Errorf("actions %q", r.ActionsTaken)
		}
	})
}

func TestHandleUndoesWhatRetriesMayHaveDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		undone := 0
		first := true
		retry := func(context.Context) error {
			if first { // this one arrives, the ones after it do not
				first = false
				return &Failure{Kind: Reset, Sent: true}
			}
			return &Failure{Kind: Connect}
		}
		r := Handle(t.Context(), Failure{Kind: Connect, Remaining: time.Minute}, agent(true, iatp.ReversibilityFull), retry,
			func(context.Context) error { undone++; return nil })
		if r.Strategy != Rollback || !r.Success || undone != 1 {
			t.Errorf("undone %d times: %+v", undone, r)
		}
	})
}

func TestHandleStopsWaitingWhenTheCallerGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		start := time.Now()
		attempts, undone := 0, 0
		compensate := func(ctx context.Context) error {
			undone++
			if ctx.Err() != nil {
				t.Error("the compensation is cancelled with the caller")
			}
			end, ok := ctx.Deadline()
			if !ok || time.Until(end) > CompensationTime {
				t.Error("the compensation has no bound")
			}
			return errors.New("agent says: account 4532015112830366 is closed")
		}
		f := Failure{Kind: Timeout, Sent: true, Remaining: time.Minute, RetryAfter: time.Second}
		r := Handle(ctx, f, agent(true, iatp.ReversibilityFull), func(context.Context) error { attempts++; return nil }, compensate)
		if attempts != 0 || undone != 1 || r.Strategy != Rollback || r.Success {
			t.Errorf("%d attempts, %d undone: %+v", attempts, undone, r)
		}
		if took := time.Since(start); took != 10*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if text := fmt.Sprint(r.ActionsTaken); strings.Contains(text, "4532") {
			t.Errorf("the actions repeat what the agent said: %s", text)
		}
	})
}

func TestHandleKeepsTheDeadlineOfTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 70*time.Millisecond)
		defer cancel()
		attempts := 0
		retry := func(ctx context.Context) error {
			attempts++
			<-ctx.Done() // an agent that hangs
			return ctx.Err()
		}
		start := time.Now()
		r := Handle(ctx, Failure{Kind: Reset, Sent: true, Remaining: time.Hour}, agent(true, ""), retry, nil)
		if took := time.Since(start); r.Strategy != GiveUp || attempts != 1 || took != 70*time.Millisecond {
			t.Errorf("%d attempts in %v: %+v", attempts, took, r)
		}

		short, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
		defer cancel()
		start = time.Now()
		r = Handle(short, Failure{Kind: Reset, Sent: true, Remaining: time.Hour}, agent(true, ""), retry, nil)
		if took := time.Since(start); r.Strategy != GiveUp || attempts != 1 || took != 0 {
			t.Errorf("waited %v for an attempt that cannot come: %+v", took, r)
		}
	})
}

func TestHandleWithoutCallbacks(t *testing.T) {
	r := Handle(t.Context(), Failure{Kind: Reset, Sent: true, Remaining: time.Minute}, agent(true, iatp.ReversibilityFull), nil, nil)
	want := []string{"gave up: there is no way to ask again; there is no way to ask the agent to undo"}
	if r.Strategy != GiveUp || r.Success || !slices.Equal(r.ActionsTaken, want) {
		t.Errorf("%+v", r)
	}
}

func TestFailureIsAnError(t *testing.T) {
	cause := errors.New("refused")
	f := &Failure{Kind: Connect, Err: cause}
	if !errors.Is(fmt.Errorf("call: %w", f), cause) {
		t.Error("the cause is lost")
	}
	for want, f := range map[string]*Failure{
		"agent failed: connect: refused": f,
		"agent failed: unknown":          {},
		"agent answered with status 503": {Kind: Status, Status: 503},
	} {
		if f.Error() != want {
			t.Errorf("Error() = %q, want %q", f.Error(), want)
		}
	}
}
