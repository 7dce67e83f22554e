// Package agreements remembers what a sidecar has agreed with others: signed by
// both, and recorded, before the first call is made under it.
//
// A [Book] is a view of the flight log. An agreement is a line of type agreement
// whose payload is the document; the book learns it from there, so one that is
// believed was durable first, and a restart loses none:
//
//	if held := book.Current(peer, ours, theirs); held != nil {
//		... // name held.ID() in IATP-Agreement
//	}
//	e := flight.Entry{Dir: flight.Out, Peer: peer, ...}
//	if err := agreements.Put(&e, signed, false); err != nil { ... }
//	log.Append(&e, flight.Durable)
//
// An agreement that has ended stays to be looked up, for what was done under it
// can still be undone, until there is no room for it any more.
package agreements

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// How many agreements are remembered, each at most iatp.MaxStatementSize long. New
// ones are taken while fewer are in force, so one that has ended can be forgotten in
// their place.
const (
	maxHeld      = 1024
	maxInForce   = 512
	maxStrangers = 128 // in force with strangers, all together
	maxShare     = 16  // in force with one principal
	maxEnded     = 64  // ended, with one principal, while others need the room
)

// Reasons on the line of an agreement.
const (
	Made    = "made"
	Dropped = "dropped" // the other side does not know it any more, as it says
)

// Held is an agreement with both signatures, which were verified before it was
// recorded. It is shared: do not change it.
type Held struct {
	*iatp.Agreement
	Dir      flight.Dir // Out: we proposed it; In: the other side did
	Stranger bool       // it was made with somebody who was not configured

	id   iatp.Digest // each is hashed once, and asked for on every line
	name string
}

// Hold returns an agreement that was recorded.
func Hold(a *iatp.Agreement, dir flight.Dir, stranger bool) *Held {
	id := a.ID()
	return &Held{Agreement: a, Dir: dir, Stranger: stranger, id: id, name: id.Base64URL()}
}

// ID names the agreement.
func (h *Held) ID() iatp.Digest { return h.id }

// Name is the id in base64url, as records and receipts have it.
func (h *Held) Name() string { return h.name }

// Other is the other side of the agreement.
func (h *Held) Other() iatp.Party {
	if h.Dir == flight.Out {
		return h.Responder
	}
	return h.Initiator
}

// over is when nothing can be asked for any more under the agreement: an undo is
// possible until its window after the last call has ended.
func (h *Held) over() int64 {
	switch w := h.Terms.UndoWindowSeconds; {
	case w == nil || !h.Terms.Reversibility.Undoes():
		return h.Exp
	case *w == 0: // without limit: as long as there is room
		return 1 << 53
	default:
		return h.Exp + *w
	}
}

// Book is what was agreed. Its methods are safe for concurrent use.
type Book struct {
	now func() time.Time

	mu      sync.Mutex
	byID    map[iatp.Digest]*Held
	current map[parties]*Held // the newest that we proposed
}

// parties are initiator and responder: who, under which key, on which manifest.
type parties [2]iatp.Party

// Open opens the agreements of a flight log.
func Open(log *flight.Log, now func() time.Time) (*Book, error) {
	b := &Book{now: now, byID: make(map[iatp.Digest]*Held), current: make(map[parties]*Held)}
	if err := log.Attach("agreements", view{b}); err != nil {
		return nil, err
	}
	return b, nil
}

// Put makes e the line of an agreement that both parties have signed.
func Put(e *flight.Entry, a *iatp.Agreement, stranger bool) error {
	doc, err := json.Marshal(a)
	if err != nil {
		return err
	}
	e.Type, e.Reason, e.Agreement, e.Payload, e.Whole = flight.Agreement, Made, a.ID().Base64URL(), doc, true
	if stranger {
		e.Note = noteStranger
	}
	return nil
}

// PutDropped makes e the line by which an agreement that the other side does not know
// any more is used no longer.
func PutDropped(e *flight.Entry, id iatp.Digest) {
	e.Type, e.Reason, e.Agreement = flight.Agreement, Dropped, id.Base64URL()
}

const noteStranger = "with a stranger"

// ByID returns an agreement, in force or not; nil if it is not known.
func (b *Book) ByID(id iatp.Digest) *Held {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byID[id]
}

// Current returns the newest agreement that we have proposed to the other side, on
// these two manifests and under these two keys, and that will hold for a while yet;
// nil if there is none.
func (b *Book) Current(ours, theirs iatp.Party) *Held {
	b.mu.Lock()
	h := b.current[parties{ours, theirs}]
	b.mu.Unlock()
	if h == nil || h.ValidAt(b.now().Add(time.Minute)) != nil {
		return nil
	}
	return h
}

// With returns the newest agreement in force with a principal, whoever proposed
// it; nil if there is none.
func (b *Book) With(principal string) *Held {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	var newest *Held
	for _, h := range b.byID {
		if h.Other().URI == principal && h.ValidAt(now) == nil && (newest == nil || h.Iat > newest.Iat) {
			newest = h
		}
	}
	return newest
}

// Room reports whether another agreement with that principal can be made.
func (b *Book) Room(principal string, stranger bool) bool {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	all, strangers, share := 0, 0, 0
	for _, h := range b.byID {
		if h.ended(now) {
			continue
		}
		all++
		if h.Stranger {
			strangers++
		}
		if h.Other().URI == principal {
			share++
		}
	}
	return all < maxInForce && share < maxShare && (!stranger || strangers < maxStrangers)
}

// remove needs mu.
func (b *Book) remove(h *Held) {
	delete(b.byID, h.ID())
	if at := (parties{h.Initiator, h.Responder}); b.current[at] == h {
		delete(b.current, at)
	}
}

func (b *Book) reset() {
	clear(b.byID)
	clear(b.current)
}

// add needs mu.
func (b *Book) add(h *Held) {
	b.byID[h.ID()] = h
	if at := (parties{h.Initiator, h.Responder}); h.Dir == flight.Out && (b.current[at] == nil || b.current[at].Iat <= h.Iat) {
		b.current[at] = h
	}
	if len(b.byID) > maxHeld {
		b.remove(b.dispensable())
	}
}

// dispensable is what is forgotten first: one that has ended, of a principal that has
// more than its share of those, or else of anybody; the one that is over first. It
// needs mu.
func (b *Book) dispensable() *Held {
	now, ended := b.now(), make(map[string]int)
	for _, h := range b.byID {
		if h.ended(now) {
			ended[h.Other().URI]++
		}
	}
	rank := func(h *Held) int {
		switch {
		case !h.ended(now):
			return 2
		case ended[h.Other().URI] <= maxEnded:
			return 1
		}
		return 0
	}
	return slices.MinFunc(slices.Collect(maps.Values(b.byID)), func(x, y *Held) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(x.over(), y.over()), cmp.Compare(x.Exp, y.Exp), bytes.Compare(x.id[:], y.id[:]))
	})
}

// ended reports whether no call is made under the agreement any more.
func (h *Held) ended(now time.Time) bool { return !now.Before(time.Unix(h.Exp, 0)) }

// view is how the log sees a book.
type view struct{ b *Book }

// Apply implements flight.View. A line that cannot be read is of no agreement: a
// call that names it is told to make a new one.
func (v view) Apply(_ int64, line []byte) {
	if !flight.IsOf(line, flight.Agreement) {
		return
	}
	var l struct {
		Type    flight.Type     `json:"type"`
		Dir     flight.Dir      `json:"dir"`
		Reason  string          `json:"reason"`
		Note    string          `json:"note"`
		Agr     string          `json:"agr"`
		Payload json.RawMessage `json:"payload"`
	}
	if json.Unmarshal(line, &l) != nil || l.Type != flight.Agreement {
		return
	}
	if l.Reason == Dropped {
		v.drop(l.Agr)
	}
	if l.Reason != Made {
		return
	}
	a, err := iatp.ParseAgreement(l.Payload)
	if err != nil {
		return
	}
	v.b.mu.Lock()
	defer v.b.mu.Unlock()
	v.b.add(Hold(a, l.Dir, l.Note == noteStranger))
}

func (v view) drop(name string) {
	id, err := iatp.ParseBase64URL(name)
	if err != nil {
		return
	}
	v.b.mu.Lock()
	defer v.b.mu.Unlock()
	if h := v.b.byID[id]; h != nil {
		v.b.remove(h)
	}
}

type saved struct {
	Dir      flight.Dir      `json:"dir"`
	Stranger bool            `json:"stranger,omitempty"`
	Document json.RawMessage `json:"document"`
}

// Snapshot implements flight.View.
func (v view) Snapshot() []byte {
	v.b.mu.Lock()
	defer v.b.mu.Unlock()
	all := make([]saved, 0, len(v.b.byID))
	for _, h := range v.b.byID {
		doc, err := json.Marshal(h.Agreement)
		if err != nil {
			continue // it was read from a document with both signatures
		}
		all = append(all, saved{h.Dir, h.Stranger, doc})
	}
	slices.SortFunc(all, func(a, b saved) int { return bytes.Compare(a.Document, b.Document) })
	out, err := json.Marshal(all)
	if err != nil {
		panic(err) // texts and documents always marshal
	}
	return out
}

// Restore implements flight.View.
func (v view) Restore(snapshot []byte) error {
	v.b.mu.Lock()
	defer v.b.mu.Unlock()
	v.b.reset()
	var all []saved
	err := json.Unmarshal(snapshot, &all)
	for _, s := range all {
		a, bad := iatp.ParseAgreement(s.Document)
		if bad != nil {
			err = bad
			break
		}
		v.b.add(Hold(a, s.Dir, s.Stranger))
	}
	if err != nil {
		v.b.reset()
		return fmt.Errorf("snapshot of agreements: %w", err)
	}
	return nil
}
