package once

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp/flight"
)

// claim claims a nonce of a request that was made at a time and expires after a
// minute.
func (n *Nonces) claim(t rapid.TB, s Scope, value string, created time.Time) (*flight.Nonce, Sight) {
	t.Helper()
	step, sight, err := n.Claim(s, "jkt of "+s.Principal, value, created, created.Add(time.Minute))
	if err != nil || (step != nil) != (sight == Fresh) {
		t.Fatalf("Claim(%s) = %v, %v, %v", value, step, sight, err)
	}
	return step, sight
}

func (d *desk) nonce(s Scope, value string, created time.Time, want Sight) {
	d.Helper()
	step, got := d.nonces.claim(d, s, value, created)
	if got != want {
		d.Fatalf("nonce %s of %s is %v, want %v", value, s.Principal, got, want)
	}
	if step != nil {
		d.append(func(e *flight.Entry) { e.Nonce = step })
	}
}

func TestNonce(t *testing.T) {
	d := newDesk(t, Options{})
	made := d.clock.now().Add(29 * time.Second) // its clock is ahead
	d.nonce(alice, "n", made, Fresh)
	d.nonce(alice, "n", made, Seen)
	d.nonce(bob, "n", made, Fresh)
	for range 4 {
		d.clock.pass(29 * time.Second)
		d.restart(true)
		d.nonce(alice, "n", made, Seen)
	}
	d.clock.pass(3 * time.Second)
	d.nonce(alice, "n", made, TooEarly) // no signature check lets it get here
	d.nonce(alice, "n2", d.clock.now(), Fresh)
	if n := d.nonces.Len(); n != 1 {
		t.Errorf("%d nonces are remembered, want 1", n)
	}
	// The clock goes back: the signature is in order again.
	d.clock.set(-2 * time.Minute)
	d.nonce(alice, "n", made, TooEarly)
	d.restart()
	d.nonce(alice, "n", made, TooEarly) // the snapshot knows what was forgotten
	d.restart(true)
	d.nonce(alice, "n", made, Seen) // the lines know it again
	d.nonce(alice, "n2", d.clock.now().Add(2*time.Minute), Seen)
}

func TestNonceRoom(t *testing.T) {
	d := newDesk(t, Options{})
	d.nopt = NonceOptions{Max: 5, MaxShare: 2}
	d.restart()
	stranger := func(name string) Scope { return Scope{Principal: name, Stranger: true} }
	now := d.clock.now()
	d.nonce(alice, "1", now, Fresh)
	d.nonce(alice, "2", now, Fresh)
	d.nonce(alice, "3", now, NoRoom)
	d.nonce(alice, "1", now, Seen)
	d.nonce(stranger("x"), "1", now, Fresh)
	d.nonce(stranger("y"), "1", now, Fresh)
	d.restart(true)
	d.nonce(stranger("z"), "1", now, NoRoom)
	d.nonce(bob, "1", now, Fresh)
	d.nonce(bob, "2", now, NoRoom)
	d.clock.pass(2 * time.Minute)
	d.nonce(alice, "3", d.clock.now(), Fresh)
	d.nonce(stranger("z"), "1", d.clock.now(), Fresh)
}

// TestNonceLaw: whatever the clocks do and however often the process dies, a
// request whose signature is in order is let in once at most.
func TestNonceLaw(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		d := newDesk(outer, Options{})
		defer d.close()
		type request struct {
			value string
			made  time.Time
			used  bool
		}
		var all []*request
		var newest time.Time // line
		send := func(t *rapid.T, r *request) {
			now := d.clock.now()
			if r.made.After(now.Add(Skew)) || now.After(r.made.Add(time.Minute+Skew)) {
				return // its signature is not accepted
			}
			step, sight := d.nonces.claim(t, alice, r.value, r.made)
			if step == nil {
				return
			}
			if r.used {
				t.Fatalf("%s, made at %v, is %v a second time", r.value, r.made, sight)
			}
			if rapid.Bool().Draw(t, "executed") {
				r.used, newest = true, later(newest, d.clock.now())
				d.append(func(e *flight.Entry) { e.Nonce = step })
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				ahead := time.Duration(rapid.IntRange(-30, 30).Draw(t, "ahead")) * time.Second
				r := &request{value: fmt.Sprint(len(all)), made: d.clock.now().Add(ahead)}
				all = append(all, r)
				send(t, r)
			},
			"replay": func(t *rapid.T) {
				if len(all) > 0 {
					send(t, rapid.SampledFrom(all).Draw(t, "request"))
				}
			},
			"pass": func(t *rapid.T) { d.clock.pass(time.Duration(rapid.IntRange(1, 100).Draw(t, "s")) * time.Second) },
			"set":  func(t *rapid.T) { d.clock.set(time.Duration(rapid.IntRange(-100, 3600).Draw(t, "s")) * time.Second) },
			"restart": func(t *rapid.T) {
				if d.clock.now().Before(newest.Add(-100 * time.Second)) {
					return // the log refuses to start
				}
				if rapid.Bool().Draw(t, "snapshots") {
					d.restart()
				} else {
					d.restart(true)
				}
			},
		})
	})
}
