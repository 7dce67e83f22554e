package budget

import (
	"container/heap"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// Ledger knows the budgets of all open trees. Its methods are safe for
// concurrent use.
type Ledger struct {
	log *flight.Log
	opt Options

	mu     sync.Mutex
	trees  map[flight.Alias]*account
	byPool map[flight.Alias]int          // trees by initiator
	treeOf map[flight.Alias]flight.Alias // of the calls that are neither spent nor released
	ends   deadlines
	next   int64     // seq of the next line
	lost   time.Time // when the last tree that may have been lost would have ended
	err    error     // a line was not understood: final
}

// account is one tree. All its amounts are in the currency of its limit.
type account struct {
	tree     flight.Alias
	treeOf   map[flight.Alias]flight.Alias // the ledger's
	pool     flight.Alias
	limit    iatp.Money
	spent    iatp.Money
	reserved iatp.Money // sum of calls
	calls    map[flight.Alias]*call
	logged   bool          // the log knows the tree; set by Ledger.logged
	moved    time.Time     // wall clock
	end      time.Duration // moved and the TTL, by Options.Uptime
}

// call is a reservation that is neither spent nor released.
type call struct {
	holder *Reservation // it belongs to somebody in this process
	logged bool         // the log knows the call
	peer   flight.Alias
	amount iatp.Money
	trace  iatp.TraceID
}

// Open opens the ledger of a flight log.
func Open(log *flight.Log, o Options) (*Ledger, error) {
	o = o.withDefaults()
	l := &Ledger{log: log, opt: o}
	l.reset()
	if err := log.Attach("budget", view{l}); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Ledger) reset() {
	l.trees, l.byPool, l.treeOf = make(map[flight.Alias]*account), make(map[flight.Alias]int), make(map[flight.Alias]flight.Alias)
	l.ends, l.next, l.lost = nil, 0, time.Time{}
}

func (l *Ledger) alias(t Tree) (tree, pool flight.Alias) {
	return l.log.Alias("tree", t.Initiator, t.Root), l.log.Alias("initiator", t.Initiator)
}

// Grant returns the step that opens a tree with a limit. The tree is open when
// the line that carries the step is in the log. A tree that is open already
// keeps its limit.
func (l *Ledger) Grant(t Tree, limit iatp.Money) (*flight.Spend, error) {
	tree, pool := l.alias(t)
	if limit.IsZero() {
		return nil, fmt.Errorf("%w: the limit has none", ErrCurrency)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evict()
	if l.err != nil {
		return nil, l.err
	}
	if l.trees[tree] == nil && l.full(pool) {
		return nil, ErrFull
	}
	return &flight.Spend{Step: flight.SpendOpened, Tree: tree, Pool: pool, Limit: limit.Amount(), Currency: limit.Currency()}, nil
}

// full reports whether there is no room for another tree. It needs mu.
func (l *Ledger) full(pool flight.Alias) bool {
	return l.opt.Now().Before(l.lost) || len(l.trees) >= l.opt.MaxTrees || l.byPool[pool] >= l.opt.MaxShare
}

// Figures returns the state of a tree, and whether it is open.
func (l *Ledger) Figures(t Tree) (Figures, bool) {
	tree, _ := l.alias(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evict()
	a := l.trees[tree]
	if a == nil {
		return Figures{}, false
	}
	return a.figures(), true
}

// figures cannot fail: spent and reserved are kept within the limit.
func (a *account) figures() Figures {
	f := Figures{Limit: a.limit, Spent: a.spent, Reserved: a.reserved}
	f.Left = less(less(a.limit, a.spent), a.reserved)
	return f
}

// less returns a - b, and nothing of a if b is more. Amounts of one account have
// one currency.
func less(a, b iatp.Money) iatp.Money {
	if n, err := a.Cmp(b); err != nil || n < 0 {
		b = a
	}
	d, _ := a.Sub(b)
	return d
}

// plus returns a + b, or a if the sum is too large to be an amount: a limit is
// passed long before.
func plus(a, b iatp.Money) iatp.Money {
	if sum, err := a.Add(b); err == nil {
		return sum
	}
	return a
}

// Reserve sets money aside for a call. Nobody else can have it until the
// reservation is released or ended; see the package example for the order. The
// error is an *Exhausted or one of the errors of this package.
func (l *Ledger) Reserve(t Tree, ask Ask) (*Reservation, error) {
	r := &Reservation{ledger: l, peer: l.log.Alias("peer", ask.Peer), Amount: ask.Amount}
	r.tree, r.pool = l.alias(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evict()
	if l.err != nil {
		return nil, l.err
	}
	if r.id = l.callID(ask); ask.Key == "" || l.calls(r.id) != nil {
		rand.Read(r.id[:]) // never fails: it ends the program instead
	}
	a, err := l.account(r, ask.Limit)
	if err != nil {
		return nil, err
	}
	if err := l.check(a, r); err != nil {
		l.drop(r.tree, a)
		return nil, err
	}
	r.limit = a.limit
	a.add(r.id, &call{holder: r, peer: r.peer, amount: r.Amount})
	return r, nil
}

// callID names the reservation of a call with a key.
func (l *Ledger) callID(ask Ask) flight.Alias { return l.log.Alias("reservation", ask.Peer, ask.Key) }

// calls returns the account that holds a call, nil if there is none. It needs mu.
func (l *Ledger) calls(id flight.Alias) *account {
	tree, ok := l.treeOf[id]
	if !ok {
		return nil
	}
	return l.trees[tree]
}

// TakeOver returns the reservation of an earlier call with the same key to the same
// peer, in whatever tree, if nobody knows what became of it: what a repetition
// learns settles both, for they are executed once. The amount is that of before;
// nil is returned if Ask names another one, and if there is none to take over.
func (l *Ledger) TakeOver(ask Ask) *Reservation {
	if ask.Key == "" {
		return nil
	}
	id := l.callID(ask)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evict()
	a := l.calls(id)
	if a == nil {
		return nil
	}
	c := a.calls[id]
	if c.holder != nil || !c.logged || !ask.Amount.IsZero() && ask.Amount != c.amount {
		return nil
	}
	c.holder = &Reservation{
		ledger: l, tree: a.tree, pool: a.pool, id: id, peer: c.peer, limit: a.limit,
		Amount: c.amount, Trace: c.trace, Again: true,
	}
	return c.holder
}

// account returns the tree of a reservation, opened if it is not open and may
// be. It needs mu.
func (l *Ledger) account(r *Reservation, limit iatp.Money) (*account, error) {
	if a := l.trees[r.tree]; a != nil {
		return a, nil
	}
	switch {
	case limit.IsZero():
		return nil, ErrUnknownTree
	case l.full(r.pool):
		return nil, ErrFull
	}
	return l.open(r.tree, r.pool, limit, l.opt.Now()), nil
}

// check says whether an account can bear a call.
func (l *Ledger) check(a *account, r *Reservation) error {
	f := a.figures()
	n, err := r.Amount.Cmp(f.Left)
	switch {
	case err != nil:
		return fmt.Errorf("%w: asked for %v, the limit is %v", ErrCurrency, r.Amount, a.limit)
	case n > 0:
		return &Exhausted{Asked: r.Amount, Figures: f}
	case len(a.calls) >= l.opt.MaxCalls:
		return ErrFull
	}
	return nil
}

// open makes an account. It needs mu.
func (l *Ledger) open(tree, pool flight.Alias, limit iatp.Money, moved time.Time) *account {
	zero := less(limit, limit)
	a := &account{
		tree: tree, treeOf: l.treeOf, pool: pool, limit: limit, spent: zero, reserved: zero,
		calls: make(map[flight.Alias]*call),
	}
	l.trees[tree] = a
	l.byPool[pool]++
	l.touch(a, moved)
	return a
}

// logged says that the log knows an account, which from here on ends by its
// time alone. It needs mu.
func (l *Ledger) logged(tree flight.Alias, a *account) {
	if !a.logged {
		a.logged = true
		heap.Push(&l.ends, deadline{a.end, tree})
	}
}

// touch says that an account moved.
func (l *Ledger) touch(a *account, moved time.Time) {
	a.moved = moved
	a.end = l.opt.Uptime() + max(0, moved.Add(l.opt.TTL).Sub(l.opt.Now()))
}

// drop forgets an account that only this process knows and nobody needs. It
// needs mu.
func (l *Ledger) drop(tree flight.Alias, a *account) {
	if !a.logged && len(a.calls) == 0 {
		l.remove(tree, a)
	}
}

func (l *Ledger) remove(tree flight.Alias, a *account) {
	delete(l.trees, tree)
	for id := range a.calls {
		delete(l.treeOf, id)
	}
	if l.byPool[a.pool]--; l.byPool[a.pool] == 0 {
		delete(l.byPool, a.pool)
	}
}

// evict forgets the trees whose time is over, unless a call is under way. It
// needs mu.
func (l *Ledger) evict() {
	clock := l.opt.Uptime()
	for len(l.ends) > 0 && l.ends[0].at <= clock {
		d := heap.Pop(&l.ends).(deadline)
		a := l.trees[d.tree]
		if a.end <= d.at && a.busy() {
			l.touch(a, l.opt.Now())
		}
		if a.end <= d.at {
			l.remove(d.tree, a)
		} else {
			heap.Push(&l.ends, deadline{a.end, d.tree})
		}
	}
}

func (a *account) busy() bool {
	for _, c := range a.calls {
		if c.holder != nil {
			return true
		}
	}
	return false
}

// add puts a call into an account.
func (a *account) add(id flight.Alias, c *call) {
	a.calls[id], a.treeOf[id] = c, a.tree
	a.reserved = plus(a.reserved, c.amount)
}

// take removes a call from an account and returns it, nil if there is none.
func (a *account) take(id flight.Alias) *call {
	c := a.calls[id]
	if c != nil {
		delete(a.calls, id)
		delete(a.treeOf, id)
		a.reserved = less(a.reserved, c.amount)
	}
	return c
}

// Len returns how many trees are open.
func (l *Ledger) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evict()
	return len(l.trees)
}

// Reservation is money that is set aside for one call. Its methods are for one
// goroutine at a time.
type Reservation struct {
	Amount iatp.Money
	// Trace is that of the earlier call, if it was taken over.
	Trace iatp.TraceID
	// Again says that it was taken over from an earlier call with the same key.
	Again bool

	ledger               *Ledger
	tree, pool, id, peer flight.Alias
	limit                iatp.Money
}

// Hold puts the reservation on e. e must be durable before the call is sent.
func (r *Reservation) Hold(e *flight.Entry) {
	e.Spend = r.step(flight.SpendReserved, r.Amount)
	e.Spend.Pool, e.Spend.Peer, e.Spend.Limit = r.pool, r.peer, r.limit.Amount()
}

// Spend puts on e what the call did cost. The zero Money stands for a cost that
// nobody knows: all that was reserved. It is the same with ErrCurrency and
// ErrTooDear, which the caller should record.
func (r *Reservation) Spend(e *flight.Entry, cost iatp.Money) error {
	e.Spend = r.step(flight.SpendSpent, r.Amount)
	if cost.IsZero() {
		return nil
	}
	n, err := cost.Cmp(r.Amount)
	switch {
	case err != nil:
		return fmt.Errorf("%w: the cost is %v, reserved is %v", ErrCurrency, cost, r.Amount)
	case n > 0:
		return fmt.Errorf("%w: %v of %v", ErrTooDear, cost, r.Amount)
	}
	e.Spend = r.step(flight.SpendSpent, cost)
	return nil
}

// Release puts on e that the call did cost nothing. It is for reservations that
// are held; for others it is enough to End them.
func (r *Reservation) Release(e *flight.Entry) {
	e.Spend = r.step(flight.SpendReleased, iatp.Money{})
}

func (r *Reservation) step(step flight.SpendStep, amount iatp.Money) *flight.Spend {
	return &flight.Spend{Step: step, Tree: r.tree, ID: r.id, Amount: amount.Amount(), Currency: amount.Currency()}
}

// End gives the reservation up: it is what the log says now. A second End does
// nothing.
func (r *Reservation) End() {
	l := r.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.trees[r.tree]
	if a == nil || a.calls[r.id] == nil || a.calls[r.id].holder != r {
		return
	}
	if a.calls[r.id].logged {
		a.calls[r.id].holder = nil
		return
	}
	a.take(r.id)
	l.drop(r.tree, a)
}

// deadline is when a tree may end.
type deadline struct {
	at   time.Duration // by Options.Uptime
	tree flight.Alias
}

// deadlines is a heap, the next one first.
type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at < d[j].at }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any)        { *d = append(*d, x.(deadline)) }
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = (*d)[:last]
	return x
}
