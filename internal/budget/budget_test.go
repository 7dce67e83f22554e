package budget

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("BUDGET_TEST_CHILD"); dir != "" {
		fmt.Fprintln(os.Stderr, spendForEver(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// purse is a log with a ledger and two clocks.
type purse struct {
	*testing.T
	dir    string
	wall   time.Time
	up     time.Duration
	opt    Options
	log    *flight.Log
	ledger *Ledger
}

func newPurse(t *testing.T, o Options) *purse {
	t.Helper()
	p := &purse{T: t, dir: t.TempDir(), wall: time.Date(2026, 11, 14, 10, 0, 0, 0, time.UTC), opt: o}
	p.open()
	t.Cleanup(p.close)
	return p
}

func (p *purse) pass(d time.Duration) { p.wall, p.up = p.wall.Add(d), p.up+d }

func (p *purse) open() {
	p.Helper()
	now := func() time.Time { return p.wall }
	p.opt.Now, p.opt.Uptime = now, func() time.Duration { return p.up }
	var err error
	if p.log, err = flight.Open(p.dir, flight.Options{Now: now}); err != nil {
		p.Fatal(err)
	}
	if p.ledger, err = Open(p.log, p.opt); err != nil {
		p.Fatal(err)
	}
}

func (p *purse) close() {
	p.Helper()
	if p.log == nil {
		return
	}
	if err := p.log.Close(); err != nil {
		p.Error(err)
	}
	p.log = nil
}

func (p *purse) restart(noSnapshots ...bool) {
	p.Helper()
	p.close()
	if len(noSnapshots) > 0 {
		if err := os.RemoveAll(filepath.Join(p.dir, "views")); err != nil {
			p.Fatal(err)
		}
	}
	p.open()
}

func (p *purse) append(step func(*flight.Entry)) {
	p.Helper()
	e := &flight.Entry{Type: flight.Request, TraceID: "trace-1", Payload: []byte(`{"spend":{"step":"spent"}}`)}
	step(e)
	if _, err := p.log.Append(e, flight.Written); err != nil {
		p.Fatal(err)
	}
}

func usd(amount string) iatp.Money { return money(amount, "USD") }

func money(amount, currency string) iatp.Money {
	m, err := iatp.ParseMoney(amount, currency)
	if err != nil {
		panic(err)
	}
	return m
}

var tree = Tree{Initiator: "https://alice.example", Root: "b7ad6b7169203331"}

// grant opens a tree.
func (p *purse) grant(t Tree, limit iatp.Money) {
	p.Helper()
	s, err := p.ledger.Grant(t, limit)
	if err != nil {
		p.Fatal(err)
	}
	p.append(func(e *flight.Entry) { e.Spend = s })
}

// reserve sets money aside and puts it on a line.
func (p *purse) reserve(t Tree, ask Ask) *Reservation {
	p.Helper()
	r, err := p.ledger.Reserve(t, ask)
	if err != nil {
		p.Fatal(err)
	}
	p.append(r.Hold)
	return r
}

// figures checks a tree before and after restarts.
func (p *purse) figures(t Tree, limit, spent, reserved, left string) {
	p.Helper()
	want := Figures{Limit: usd(limit), Spent: usd(spent), Reserved: usd(reserved), Left: usd(left)}
	for _, again := range []func(){func() {}, func() { p.restart() }, func() { p.restart(true) }} {
		again()
		got, ok := p.ledger.Figures(t)
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b iatp.Money) bool { return a == b })); diff != "" || !ok {
			p.Fatalf("figures, %v (-want +got):\n%s", ok, diff)
		}
	}
}

func TestLife(t *testing.T) {
	p := newPurse(t, Options{})
	if _, err := p.ledger.Reserve(tree, Ask{Peer: "b", Amount: usd("1")}); !errors.Is(err, ErrUnknownTree) {
		t.Fatalf("without a budget: %v", err)
	}
	p.grant(tree, usd("5"))
	p.grant(tree, usd("500")) // it has a limit already
	p.figures(tree, "5.00", "0.00", "0.00", "5.00")

	r := p.reserve(tree, Ask{Peer: "b", Amount: usd("3")})
	var e *Exhausted
	_, err := p.ledger.Reserve(tree, Ask{Peer: "c", Amount: usd("2.01")})
	if !errors.As(err, &e) || e.Left != usd("2") || e.Reserved != usd("3") || !strings.Contains(err.Error(), "of 5.00 USD for the transaction 2.00 USD is left") {
		t.Fatalf("2.01 of 2 left: %v", err)
	}
	p.reserve(tree, Ask{Peer: "c", Key: "k", Amount: usd("2")}).End() // its outcome is unknown
	p.append(func(e *flight.Entry) {
		if err := r.Spend(e, usd("1.25")); err != nil {
			t.Error(err)
		}
	})
	r.End()
	r.End()
	p.figures(tree, "5.00", "1.25", "2.00", "1.75")

	lost := p.ledger.TakeOver(Ask{Peer: "c", Key: "k"})
	if lost == nil || lost.Amount != usd("2") || lost.Trace != "trace-1" {
		t.Fatalf("taken over: %+v, want the one for c", lost)
	}
	if p.ledger.TakeOver(Ask{Peer: "c", Key: "k"}) != nil {
		t.Error("one is taken over twice")
	}
	p.append(lost.Release)
	lost.End()
	p.figures(tree, "5.00", "1.25", "0.00", "3.75")

	// What is not on a line was never there.
	r, err = p.ledger.Reserve(tree, Ask{Peer: "b", Amount: usd("3.75")})
	if err != nil {
		t.Fatal(err)
	}
	if f, _ := p.ledger.Figures(tree); f.Left != usd("0") {
		t.Errorf("left %v while all is reserved", f.Left)
	}
	r.End()
	p.figures(tree, "5.00", "1.25", "0.00", "3.75")
}

func TestCosts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cost  iatp.Money
		want  error
		spent string
	}{
		{"less", usd("0.40"), nil, "0.40"},
		{"nothing", usd("0"), nil, "0.00"},
		{"all", usd("2"), nil, "2.00"},
		{"nobody knows", iatp.Money{}, nil, "2.00"},
		{"more", usd("2.01"), ErrTooDear, "2.00"},
		{"another currency", money("1", "EUR"), ErrCurrency, "2.00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPurse(t, Options{})
			p.grant(tree, usd("5"))
			r := p.reserve(tree, Ask{Peer: "b", Amount: usd("2")})
			p.append(func(e *flight.Entry) {
				if err := r.Spend(e, tt.cost); !errors.Is(err, tt.want) {
					t.Errorf("Spend(%v) = %v, want %v", tt.cost, err, tt.want)
				}
			})
			r.End()
			left := less(usd("5"), usd(tt.spent)).Amount()
			p.figures(tree, "5.00", tt.spent, "0.00", left)
		})
	}
}

func TestRefusals(t *testing.T) {
	p := newPurse(t, Options{})
	if _, err := p.ledger.Grant(tree, iatp.Money{}); !errors.Is(err, ErrCurrency) {
		t.Errorf("a limit without a currency: %v", err)
	}
	own := Tree{Initiator: "local", Root: "1"}
	p.reserve(own, Ask{Peer: "b", Amount: usd("1"), Limit: usd("5")}).End()
	p.reserve(own, Ask{Peer: "b", Amount: usd("1"), Limit: usd("50")}).End() // it has a limit already
	p.figures(own, "5.00", "0.00", "2.00", "3.00")
	for _, ask := range []Ask{
		{Peer: "b", Amount: money("1", "EUR")},
		{Peer: "b"},
	} {
		if _, err := p.ledger.Reserve(own, ask); !errors.Is(err, ErrCurrency) {
			t.Errorf("Reserve(%+v) = %v, want %v", ask, err, ErrCurrency)
		}
	}
	// The same root of another initiator is another tree.
	if _, ok := p.ledger.Figures(Tree{Initiator: "https://bob.example", Root: "1"}); ok {
		t.Error("two initiators share a tree")
	}
}

func TestRoom(t *testing.T) {
	p := newPurse(t, Options{MaxTrees: 4, MaxShare: 2, MaxCalls: 3, TTL: time.Hour})
	of := func(who string, n int) Tree { return Tree{Initiator: who, Root: fmt.Sprint(n)} }
	p.grant(of("a", 1), usd("5"))
	p.grant(of("a", 2), usd("5"))
	for range 2 {
		if _, err := p.ledger.Grant(of("a", 3), usd("5")); !errors.Is(err, ErrFull) {
			t.Errorf("a third tree: %v", err)
		}
		if _, err := p.ledger.Reserve(of("a", 3), Ask{Amount: usd("1"), Limit: usd("5")}); !errors.Is(err, ErrFull) {
			t.Errorf("a third tree: %v", err)
		}
		p.restart(true)
	}
	p.grant(of("b", 1), usd("5"))
	p.grant(of("b", 2), usd("5"))
	if _, err := p.ledger.Grant(of("c", 1), usd("5")); !errors.Is(err, ErrFull) {
		t.Errorf("a fifth tree: %v", err)
	}
	for range 3 {
		p.reserve(of("a", 1), Ask{Peer: "p", Amount: usd("1")}).End()
	}
	if _, err := p.ledger.Reserve(of("a", 1), Ask{Amount: usd("1")}); !errors.Is(err, ErrFull) {
		t.Errorf("a fourth call: %v", err)
	}
	p.pass(59 * time.Minute)
	p.reserve(of("b", 2), Ask{Peer: "p", Amount: usd("1")})
	p.pass(59 * time.Minute)
	p.restart() // takes the holder with it, not the time
	if n := p.ledger.Len(); n != 1 {
		t.Errorf("%d trees are open, want the one that moved", n)
	}
	busy := p.reserve(of("b", 2), Ask{Peer: "p", Amount: usd("1")})
	p.pass(2 * time.Hour)
	if n := p.ledger.Len(); n != 1 {
		t.Errorf("a tree is forgotten while a call is under way")
	}
	busy.End()
	p.pass(2 * time.Hour)
	if n := p.ledger.Len(); n != 0 {
		t.Errorf("%d trees are open for ever", n)
	}
	// A reservation that reaches no line leaves nothing behind.
	for range 100 {
		r, err := p.ledger.Reserve(of("c", 9), Ask{Amount: usd("1"), Limit: usd("5")})
		if err != nil {
			t.Fatal(err)
		}
		r.End()
	}
	if len(p.ledger.trees)+len(p.ledger.byPool)+len(p.ledger.ends) != 0 {
		t.Errorf("left behind: %d trees, %d shares, %d ends", len(p.ledger.trees), len(p.ledger.byPool), len(p.ledger.ends))
	}
}

// TestManyAtOnce: what is reserved by many at a time is never more than there is.
func TestManyAtOnce(t *testing.T) {
	p := newPurse(t, Options{})
	p.grant(tree, usd("10"))
	var all sync.WaitGroup
	var mu sync.Mutex
	got := 0
	for range 40 {
		all.Go(func() {
			r, err := p.ledger.Reserve(tree, Ask{Peer: "b", Amount: usd("0.70")})
			if err != nil {
				return
			}
			defer r.End()
			p.append(r.Hold)
			mu.Lock()
			got++
			mu.Unlock()
		})
	}
	all.Wait()
	if got != 14 {
		t.Errorf("%d calls of 0.70 got through, want 14", got)
	}
	p.figures(tree, "10.00", "0.00", "9.80", "0.20")
}

// TestForeignLines: lines that this package did not write stop it rather than
// mislead it.
func TestForeignLines(t *testing.T) {
	for name, s := range map[string]flight.Spend{
		"no amount":        {Step: flight.SpendSpent, Tree: flight.Alias{1}, Limit: "5.00", Currency: "USD", Amount: "-1"},
		"no currency":      {Step: flight.SpendOpened, Tree: flight.Alias{1}, Limit: "5.00"},
		"another currency": {Step: flight.SpendReserved, Tree: flight.Alias{2}, Amount: "5.00", Currency: "EUR"},
		"no step":          {Step: "given", Tree: flight.Alias{1}, Limit: "5.00", Amount: "1.00", Currency: "USD"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPurse(t, Options{})
			p.append(func(e *flight.Entry) {
				e.Spend = &flight.Spend{Step: flight.SpendOpened, Tree: flight.Alias{2}, Limit: "5.00", Currency: "USD"}
			})
			p.append(func(e *flight.Entry) { e.Spend = &s })
			if _, err := p.ledger.Reserve(tree, Ask{Amount: usd("1"), Limit: usd("1")}); err == nil || !strings.Contains(err.Error(), "record 1") {
				t.Errorf("Reserve after it: %v, want an error that names record 1", err)
			}
			if _, err := p.ledger.Grant(tree, usd("1")); err == nil {
				t.Error("Grant after it works")
			}
		})
	}
}

// spendForEver is the process that TestKill kills. Many goroutines spend from
// few trees; what a peer was paid is a line in a file that the kernel keeps,
// written after the reservation is durable.
func spendForEver(dir string) error {
	log, err := flight.Open(dir, flight.Options{SnapshotEvery: 50, SegmentBytes: 1 << 16})
	if err != nil {
		return err
	}
	ledger, err := Open(log, Options{})
	if err != nil {
		return err
	}
	paid, err := os.OpenFile(filepath.Join(dir, "paid"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	failed := make(chan error, 8)
	for range 8 {
		go func() {
			for {
				if err := buy(log, ledger, paid); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

func buy(log *flight.Log, ledger *Ledger, paid *os.File) error {
	root := fmt.Sprint(rand.IntN(20))
	r, err := ledger.Reserve(Tree{Initiator: "a", Root: root}, Ask{Peer: "b", Amount: usd("0.30"), Limit: usd("9")})
	if e := (*Exhausted)(nil); errors.As(err, &e) {
		return nil
	} else if err != nil {
		return err
	}
	defer r.End()
	request := &flight.Entry{Type: flight.Request, TraceID: iatp.TraceID(root)}
	r.Hold(request)
	if _, err := log.Append(request, flight.Durable); err != nil {
		return err
	}
	response := &flight.Entry{Type: flight.Response, TraceID: iatp.TraceID(root)}
	switch rand.IntN(3) {
	case 0: // came to nothing
		r.Release(response)
	case 1: // nobody knows
		return nil
	default:
		if _, err := fmt.Fprintln(paid, root); err != nil {
			return err
		}
		if err := r.Spend(response, usd("0.30")); err != nil {
			return err
		}
	}
	_, err = log.Append(response, flight.Durable)
	return err
}

// TestKill kills the process at any point, many times: no tree has ever paid
// more than its limit, and the ledger knows of all that was paid.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for range 12 {
		runAndKill(t, dir, time.Duration(rand.Int64N(int64(40*time.Millisecond))))
		data, err := os.ReadFile(filepath.Join(dir, "paid"))
		if err != nil {
			t.Fatal(err)
		}
		paid := make(map[string]int)
		for _, root := range strings.Fields(string(data)) {
			paid[root]++
		}
		log, err := flight.Open(dir, flight.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ledger, err := Open(log, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for root, n := range paid {
			f, ok := ledger.Figures(Tree{Initiator: "a", Root: root})
			accounted := plus(f.Spent, f.Reserved)
			cost := usd(fmt.Sprintf("%d.%02d", n*30/100, n*30%100))
			if few, err := accounted.Cmp(cost); !ok || err != nil || few < 0 {
				t.Fatalf("tree %s has paid %v, the ledger knows %v", root, cost, f)
			}
			if over, err := accounted.Cmp(f.Limit); err != nil || over > 0 {
				t.Fatalf("tree %s: %v", root, f)
			}
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := flight.Verify(dir, ""); err != nil || !r.OK() {
		t.Errorf("the log does not verify: %+v, %v", r, err)
	}
}

// runAndKill runs a child and kills it some time after it is ready.
func runAndKill(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), "BUDGET_TEST_CHILD="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err == nil {
		time.Sleep(after)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the child ended by itself: %v\n%s", err, &stderr)
	}
}

// A reservation whose outcome nobody knows is found by peer and key, in whatever
// tree, also after a restart, and settled once.
func TestTakeOver(t *testing.T) {
	p := newPurse(t, Options{})
	ask := Ask{Peer: "b", Key: "k", Amount: usd("3.00"), Limit: usd("5.00")}
	r, err := p.ledger.Reserve(tree, ask)
	if err != nil {
		t.Fatal(err)
	}
	if p.ledger.TakeOver(ask) != nil {
		t.Error("one that somebody has was taken over")
	}
	p.append(r.Hold)
	if other, err := p.ledger.Reserve(tree, Ask{Peer: "b", Key: "k", Amount: usd("1.00")}); err != nil {
		t.Errorf("the same key at the same time: %v, want a reservation of its own", err)
	} else {
		other.End()
	}
	r.End()
	p.restart()
	for name, wrong := range map[string]Ask{"another key": {Peer: "b", Key: "l"}, "another peer": {Peer: "c", Key: "k"}, "another amount": {Peer: "b", Key: "k", Amount: usd("2.00")}, "no key": {Peer: "b"}} {
		if p.ledger.TakeOver(wrong) != nil {
			t.Errorf("%s: taken over", name)
		}
	}
	again := p.ledger.TakeOver(Ask{Peer: "b", Key: "k"})
	if again == nil || again.Amount != usd("3.00") || !again.Again {
		t.Fatalf("taken over: %+v", again)
	}
	p.append(again.Hold)
	p.append(func(e *flight.Entry) {
		if err := again.Spend(e, usd("1.00")); err != nil {
			t.Error(err)
		}
	})
	again.End()
	if f, _ := p.ledger.Figures(tree); f.Left != usd("4.00") || f.Reserved != usd("0") {
		t.Errorf("%+v, want 4 left and nothing reserved", f)
	}
	if p.ledger.TakeOver(Ask{Peer: "b", Key: "k"}) != nil {
		t.Error("one that is spent was taken over")
	}
}
