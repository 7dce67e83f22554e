package undo

import (
	"encoding/json"
	"fmt"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// view is the book as a view of the log.
type view Book

// Apply learns from one line of the log.
func (v *view) Apply(seq int64, line []byte) {
	s, ok, err := flight.ReadTx(seq, line)
	if err != nil || !ok {
		return // Load refuses what cannot be read
	}
	b := (*Book)(v)
	b.mu.Lock()
	defer b.mu.Unlock()
	at := flight.ReadTime(line)
	b.keepUntil(&s, at)
	m := b.moving[s.At]
	if m == nil {
		m = &motion{ref: Ref{s.At, s.Label}, kind: s.Kind, pool: s.Pool, undone: s.Level != "" && s.Level != string(iatp.ReversibilityNone), turned: make(chan struct{})}
		if s.Kind == flight.TxCall {
			m.alone = s.Who == ByOperator
		}
		b.add(m)
	}
	b.count(m, m.state, &s, at)
	m.follow(&s)
	m.files = append(m.files, filesOf(&s)...)
	close(m.turned)
	m.turned = make(chan struct{})
	if m.rests() {
		b.remove(m)
		return
	}
	b.schedule(m, 0)
}

// add and remove keep the shares right. They need mu.
func (b *Book) add(m *motion) {
	b.moving[m.ref.At] = m
	b.shares[m.pool]++
}

func (b *Book) remove(m *motion) {
	delete(b.moving, m.ref.At)
	b.unschedule(m)
	if b.shares[m.pool]--; b.shares[m.pool] == 0 {
		delete(b.shares, m.pool)
	}
}

// follow takes a step over.
func (m *motion) follow(s *flight.Tx) {
	if s.State == "" && s.Who != "" {
		m.asked = true
	}
	if s.State != "" {
		m.state, m.manual, m.try = State(s.State), false, 0
		m.settled = m.state == CompensationFailed && s.Who == ByOperator
	}
	if m.state == Compensating {
		m.asked = false
	}
	if s.Who == ByOperator {
		m.alone = true
	}
	m.manual = m.manual || s.Manual
	if !s.Until.IsZero() && m.kind == flight.TxSaga {
		m.until = s.Until
	}
}

// rests reports whether nothing is to be done about the thing, by us or a person.
func (m *motion) rests() bool {
	switch m.state {
	case Active, Compensating:
		return false
	case CompensationFailed:
		return m.settled
	case Unknown:
		// Whoever undoes a call asks what became of it; of a task that cannot be undone
		// its caller knows as much as we do.
		return m.kind != flight.TxTask || !m.undone && !m.asked
	case Committed:
		return !m.asked
	}
	return true
}

// filesOf are the files of the vault that a line names as needed for an undo.
func filesOf(s *flight.Tx) []int64 {
	switch {
	case s.Kind != flight.TxTask:
		return nil
	case s.Sealed != (flight.Place{}):
		return []int64{s.Sealed.File}
	}
	return s.Needs
}

// keepUntil notes until when files of the vault are needed. Those of a thing in motion
// are kept longer, until it rests. It needs mu.
func (b *Book) keepUntil(s *flight.Tx, at time.Time) {
	end := s.Until.Add(skew + heldFor + longestWay)
	if s.Until.IsZero() {
		end = at.Add(b.horizon(s.Window))
	}
	for _, file := range filesOf(s) {
		if _, known := b.kept[file]; !known {
			b.vault.Pin(flight.Place{File: file, Size: 1})
		}
		if end.After(b.kept[file]) {
			b.kept[file] = end
		}
	}
}

// Bounds of how long what is kept may be needed beyond its window: a task takes its
// time, and is undone only after that.
const (
	longestTask = 24 * time.Hour
	longestWay  = 5 * time.Minute // from the signature of a request to its line
	forEver     = 100 * 365 * 24 * time.Hour
)

// horizon is how long after its beginning a task can be undone at most.
func (b *Book) horizon(window *int64) time.Duration {
	end := longestTask
	if window != nil && *window == 0 {
		end = forEver
	} else if window != nil {
		end += min(time.Duration(min(*window, 1<<32))*time.Second, forEver)
	}
	if b.opt.Retain > 0 {
		end = min(end, b.opt.Retain+time.Hour)
	}
	return end
}

// sweep erases what no undo can need any more.
func (b *Book) sweep() {
	b.mu.Lock()
	now := b.opt.Now()
	needed := make(map[int64]bool)
	for _, m := range b.moving {
		for _, file := range m.files {
			needed[file] = true
		}
	}
	for file, end := range b.kept {
		if now.After(end) && !needed[file] {
			delete(b.kept, file)
			b.vault.Unpin(flight.Place{File: file, Size: 1})
		}
	}
	b.forgetAccounts(now)
	b.mu.Unlock()
	b.vault.Sweep()
}

// snapshot is the state of the view.
type snapshot struct {
	Version int                 `json:"v"`
	Moving  []moved             `json:"moving"`
	Of      []savedAccount      `json:"of,omitempty"`
	Kept    map[int64]time.Time `json:"kept"`
}

type moved struct {
	At     int64         `json:"at"`
	Label  string        `json:"label"`
	Kind   flight.TxKind `json:"kind"`
	State  State         `json:"state"`
	Pool   string        `json:"pool,omitempty"`
	Undone bool          `json:"undone,omitempty"`
	Asked  bool          `json:"asked,omitempty"`
	Manual bool          `json:"manual,omitempty"`
	Alone  bool          `json:"alone,omitempty"`
	Files  []int64       `json:"files,omitempty"`
	Until  time.Time     `json:"until,omitzero"`
}

const snapshotVersion = 2

// Snapshot is the state that Restore takes back.
func (v *view) Snapshot() []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := snapshot{Version: snapshotVersion, Kept: v.kept}
	for _, m := range v.moving {
		one := moved{m.ref.At, m.ref.Label.String(), m.kind, m.state, "", m.undone, m.asked, m.manual, m.alone, m.files, m.until}
		if m.pool != (flight.Label{}) {
			one.Pool = m.pool.String()
		}
		s.Moving = append(s.Moving, one)
	}
	for pool, a := range v.accounts {
		s.Of = append(s.Of, a.save(pool))
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // types of ours always marshal
	}
	return text
}

// Restore puts back a snapshot.
func (v *view) Restore(text []byte) error {
	b := (*Book)(v)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reset()
	var s snapshot
	err := json.Unmarshal(text, &s)
	if err == nil && s.Version != snapshotVersion {
		err = fmt.Errorf("it is of version %d, this program reads version %d", s.Version, snapshotVersion)
	}
	for _, one := range s.Moving {
		if err != nil {
			break
		}
		m := &motion{
			ref: Ref{At: one.At}, kind: one.Kind, state: one.State, undone: one.Undone, asked: one.Asked, manual: one.Manual,
			alone: one.Alone, files: one.Files, until: one.Until, turned: make(chan struct{}),
		}
		if b.moving[one.At] != nil {
			err = fmt.Errorf("%d is in it twice", one.At)
			break
		}
		if err = m.ref.Label.UnmarshalText([]byte(one.Label)); err == nil && one.Pool != "" {
			err = m.pool.UnmarshalText([]byte(one.Pool))
		}
		b.add(m)
		b.schedule(m, 0)
	}
	for i := range s.Of {
		if err == nil {
			err = b.restore(&s.Of[i])
		}
	}
	if err != nil {
		b.reset()
		return fmt.Errorf("snapshot of undo: %w", err)
	}
	for file, end := range s.Kept {
		b.kept[file] = end
		b.vault.Pin(flight.Place{File: file, Size: 1})
	}
	return nil
}

// reset makes the view empty. Whoever calls it after Open needs mu.
func (b *Book) reset() {
	for file := range b.kept {
		b.vault.Unpin(flight.Place{File: file, Size: 1})
	}
	b.moving, b.shares = make(map[int64]*motion), make(map[flight.Label]int)
	b.accounts = make(map[flight.Label]*account)
	b.kept, b.due = make(map[int64]time.Time), nil
}
