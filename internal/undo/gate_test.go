package undo

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"context"

	"pgregory.net/rapid"

	"github.com/inter-agent-trust/iatp/flight"
)

// TestGateLaw: however people come and go, nobody has more than a share, nobody has a
// second place beyond the shared ones, and who has none gets in while there is any.
func TestGateLaw(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		g := gate{shared: 6, each: 3, all: 10}
		held := map[string]int{}
		inside := 0
		for range rapid.IntRange(1, 80).Draw(r, "steps") {
			who := fmt.Sprint(rapid.IntRange(0, 15).Draw(r, "who"))
			if rapid.Bool().Draw(r, "leave") {
				if held[who] > 0 {
					g.leave(who)
					held[who]--
					inside--
				}
				continue
			}
			want := held[who] == 0 && inside < 10 || held[who] > 0 && held[who] < 3 && inside < 6
			if got := g.enter(who); got != want {
				t.Fatalf("%s has %d of %d places; enter = %t, want %t", who, held[who], inside, got, want)
			}
			if want {
				held[who]++
				inside++
			}
		}
		if g.inside != inside || len(g.by) > inside {
			t.Fatalf("the gate counts %d places of %d, want %d", g.inside, len(g.by), inside)
		}
	})
}

// patient is a host whose agent and peers hang for those who are to hang, until the end.
type patient struct {
	hangs  map[string]bool // by principal
	mu     sync.Mutex
	inside map[string]int
	most   map[string]int
}

func (p *patient) answer(ctx context.Context, who string) Result {
	p.mu.Lock()
	p.inside[who]++
	p.most[who] = max(p.most[who], p.inside[who])
	p.mu.Unlock()
	if p.hangs[who] {
		<-ctx.Done()
	} else {
		time.Sleep(time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inside[who]--
	return Result{Verdict: Done}
}

// TestOneHangsOthersGoOn has many undos that hang: at the agent, of one caller; at a
// peer. Those of others come to their end meanwhile, all of them, although there are more
// than places.
func TestOneHangsOthersGoOn(t *testing.T) {
	const hanging, others = "https://hanging.example", "https://other.example"
	p := &patient{hangs: map[string]bool{hanging: true}, inside: map[string]int{}, most: map[string]int{}}
	log, err := flight.Open(t.TempDir(), flight.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(log, Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Now: time.Now, GiveUp: time.Hour, Host: Host{
		Compensate:  func(ctx context.Context, o *Order) Result { return p.answer(ctx, o.Task.Peer) },
		Undo:        func(ctx context.Context, c *Thing) Result { return p.answer(ctx, c.Peer) },
		Check:       func(context.Context, *Thing) Knowledge { return Knowledge{} },
		Ask:         func(context.Context, *Thing) Fate { return Fate{} },
		Patience:    func() time.Duration { return time.Hour },
		CanRollBack: func() bool { return true },
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	defer b.Close()
	if err := b.Run(); err != nil {
		t.Fatal(err)
	}
	line := func(peer string, tx flight.Tx) int64 {
		seq, err := log.Append(&flight.Entry{Type: flight.Response, TraceID: "t", Peer: peer, Tx: &tx}, flight.Written)
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	n := byte(0)
	fresh := func() flight.Label { n++; return flight.Label{n, 1} }
	task := func(peer string) Ref {
		ref := Ref{Label: fresh()}
		ref.At = line(peer, flight.Tx{Kind: flight.TxTask, At: flight.TxBegins, Label: ref.Label, State: string(Active), Level: "full"})
		line(peer, flight.Tx{Kind: flight.TxTask, At: ref.At, Label: ref.Label, State: string(Committed)})
		return ref
	}
	saga := func(peer string) Ref {
		t, err := b.OpenSaga("a", false, time.Now().Add(time.Hour))
		if err != nil {
			panic(err)
		}
		call := Ref{Label: fresh()}
		call.At = line(peer, flight.Tx{Kind: flight.TxCall, At: flight.TxBegins, Label: call.Label, Saga: t.Label, State: string(Active)})
		line(peer, flight.Tx{Kind: flight.TxCall, At: call.At, Label: call.Label, Saga: t.Label, State: string(Committed), Level: "full", ID: "tx_x"})
		return t.Ref
	}
	var slow, quick []Ref
	for range 24 {
		slow = append(slow, task(hanging), saga(hanging))
		quick = append(quick, task(others), saga(others))
	}
	for _, ref := range append(slow, quick...) {
		thing, err := b.Load(ref)
		if err != nil {
			t.Fatal(err)
		}
		if thing.Kind == flight.TxTask {
			_, err = b.Undo(ref, Ask{Who: ByCaller, At: time.Now()})
		} else {
			_, err = b.CancelSaga(ref, Ask{Who: BySaga})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, ref := range quick {
		b.Await(ctx, ref)
		if thing, err := b.Load(ref); err != nil || thing.State != Compensated {
			t.Fatalf("one that does not hang is %+v, %v", thing, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for who, most := range map[string]int{hanging: agentEach + peersEach, others: agentEach + peersEach} {
		if p.most[who] > most {
			t.Errorf("%d requests for %s were under way at a time, more than %d", p.most[who], who, most)
		}
	}
	if p.inside[hanging] == 0 {
		t.Error("nothing hangs: this tells nothing")
	}
}

// TestSagasLeaveTheQueue: a saga that is closed is no longer waited for, however far its
// deadline is.
func TestSagasLeaveTheQueue(t *testing.T) {
	w := newWorld(t)
	defer w.end()
	var last Ref
	for i := range 50 {
		s, err := w.book.OpenSaga("a", false, w.now().Add(24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if last = s.Ref; i < 49 {
			if _, err := w.book.CloseSaga(s.Ref); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := len(w.book.due); got != 1 {
		t.Errorf("%d things are queued, want the one saga that is open", got)
	}
	w.pass(25 * time.Hour)
	w.step()
	if got := w.load(last).State; got != Compensated {
		t.Errorf("after its deadline the saga is %s", got)
	}
	if got := len(w.book.due); got != 0 {
		t.Errorf("%d things are queued when all is over", got)
	}
}
