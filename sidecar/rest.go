package sidecar

import (
	"context"
	"runtime/debug"
	"time"
)

// restAfter is how long nothing has to come before memory is given back.
const restAfter = time.Second

// rest gives memory back to the system when a time of work is over. The heap of
// busy hours, and the stacks that grew in them, would otherwise stay with
// connections that are idle: nothing collects garbage while nothing is made.
func (s *Sidecar) rest(ctx context.Context) {
	tick := time.NewTicker(restAfter)
	defer tick.Stop()
	var seen, given int64 // entries at the last look, and when memory was given back
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.gate.entries()
		if now == seen && now != given {
			debug.FreeOSMemory()
			given = now
		}
		seen = now
	}
}
