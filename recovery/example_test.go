package recovery_test

import (
	"context"
	"fmt"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/recovery"
)

func ExampleDecide() {
	reset := recovery.Failure{Kind: recovery.Reset, Sent: true, Remaining: 10 * time.Second}

	lookup := &iatp.Manifest{Capabilities: iatp.Capabilities{Idempotency: true}}
	d := recovery.Decide(reset, lookup, false)
	fmt.Println(d.Strategy, d.Wait)

	payment := &iatp.Manifest{Reversibility: iatp.Reversibility{Level: iatp.ReversibilityPartial}}
	d = recovery.Decide(reset, payment, true)
	fmt.Println(d.Strategy)

	d = recovery.Decide(reset, payment, false)
	fmt.Println(d.Strategy)
	fmt.Println(d.Why)
	// Output:
	// retry 50ms
	// rollback
	// give_up
	// the agent is not idempotent; there is no way to ask the agent to undo
}

func ExampleHandle() {
	payment := &iatp.Manifest{Reversibility: iatp.Reversibility{Level: iatp.ReversibilityFull}}
	refund := func(context.Context) error { return nil }

	result := recovery.Handle(context.Background(), recovery.Failure{
		TraceID: "trace-001", Kind: recovery.Timeout, Sent: true, Attempt: 1,
	}, payment, nil, refund)
	fmt.Println(result.Strategy, result.Success, result.ActionsTaken)
	// Output: rollback true [asked the agent to undo: done]
}
