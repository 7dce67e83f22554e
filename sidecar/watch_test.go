package sidecar

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestWatch lets many calls come and go. Those whose time is over end for that
// reason, and no other; the ring is empty afterwards, and the clock stands still.
func TestWatch(t *testing.T) {
	w := newWatch(time.Now)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			c := new(call)
			for range 3 {
				late := rand.N(2) == 0
				d := time.Hour
				if late {
					d = rand.N(aMoment)
				}
				w.start(c, time.Now().Add(time.Hour), nil)
				ctx := c.context()
				begun := rand.N(2) == 0
				c.begun.Store(begun)
				c.within(time.Now(), d)
				if i%2 == 0 && late {
					<-ctx.Done()
				} else {
					time.Sleep(rand.N(3 * aMoment))
				}
				want := error(errDeadline)
				if begun {
					want = errIdle
				}
				if err := c.Err(); err != nil && (!late || !errors.Is(err, want)) || !late && ctx.Err() != nil {
					t.Errorf("late %t, begun %t: %v, %v", late, begun, err, ctx.Err())
				}
				c.leave()
				if c.Err() != nil {
					t.Error("what is over is still ended")
				}
			}
		})
	}
	all.Wait()
	time.Sleep(3 * lookEach)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.size != 0 || w.first != nil || w.awake {
		t.Errorf("%d calls left, awake %t", w.size, w.awake)
	}
}

// TestRest stops the clock while the agent is not waited for.
func TestRest(t *testing.T) {
	w := newWatch(time.Now)
	c := new(call)
	w.start(c, time.Now().Add(time.Hour), nil)
	defer c.leave()
	c.within(time.Now(), lookEach/4)
	c.rest()
	time.Sleep(4 * lookEach)
	if err := c.Err(); err != nil {
		t.Errorf("ended: %v", err)
	}
	c.within(time.Now(), lookEach/4)
	<-c.context().Done()
}

// TestMillis holds the short way to the obvious one.
func TestMillis(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 4999, 5000, 14999, 15000, 994999, 995000, time.Millisecond, 1234567, 90 * time.Second} {
		if got, want := millis(d), fmt.Sprintf("%.2f", float64((d+5000)/10000)/100); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// TestKit takes nothing over from one exchange to the next.
func TestKit(t *testing.T) {
	k := newKit()
	x := new(exchange)
	x.body = append(k.bodyOf(10), "0123456789"...)
	x.in.forward = k.newHead()
	x.in.forward["Accept"] = []string{"a"}
	k.newSigned()["Accept"] = []string{"a"}
	r := k.newRequest()
	r.Fields = append(r.Fields, r.Fields[:cap(r.Fields)]...)
	r.Fields[0].Name, r.Body = "A", x.body
	if b := k.answerOf(0); b == nil {
		t.Error("an empty answer is none")
	}
	if b := k.answerOf(mostBuffer + 1); len(b) != mostBuffer+1 || cap(k.answer) > mostBuffer {
		t.Error("a large answer's memory is kept")
	}
	k.reset(x.body)
	if len(k.newHead()) > 0 || len(k.signed) > 0 || k.newRequest().Body != nil || k.fields[0].Name != "" {
		t.Error("something is left of the exchange before")
	}
	if k.reset(make([]byte, mostBuffer+1)); cap(k.body) > mostBuffer {
		t.Error("a large body's memory is kept")
	}
}
