package ijson

import (
	"encoding/binary"
)

// The elements of an array, and the bodies of one agent, have the same names in the same order again
// and again. A Reader remembers these rows of names as a tree of shapes. A name that is one of those that came
// behind the names before it once is known by three words: nothing in it has to be
// looked at, and it is none of the names before it, for no shape has a name twice.
type shape struct {
	words, masks [3]uint64 // `name":`, as it stands behind the opening quote
	prefix       uint64    // of the name: see prefix
	seen         uint64    // sketches of all names
	size         int       // of the last name
	count        int       // of names
	up           uint16    // the shape without the last name
	next         uint16    // the shape with one name more that came last
	inner        uint16    // the first name of an object under the last name, or in an array there, that came last
	beside       uint16    // another shape that came in the same place
	sorted       bool      // the names are in canonical order
	order        int       // where Reader.orders has that order, plus one, once somebody has asked for it
}

// Bounds of what is remembered. The shape with the number 0 has no name.
const (
	maxShapes    = 512
	shapeNames   = 64 // of one object
	shapesBeside = 8
	longestKnown = 8*len(shape{}.words) - len(`":`) // name
)

// restTime is how many documents are read without room for more shapes before all are forgotten: a
// document whose names are all its own takes it for nothing.
const restTime = 64

// forgetShapes makes room for the names of other documents.
func (r *Reader) forgetShapes() {
	switch {
	case len(r.shapes) == 0:
		r.shapes = append(r.shapes, shape{sorted: true})
	case !r.refused:
	case r.rested < restTime:
		r.rested++
	default:
		r.shapes, r.orders, r.rested = append(r.shapes[:0], shape{sorted: true}), r.orders[:0], 0
		r.refused = false
		r.grown++
	}
}

// setOrder notes the canonical order of the names of a shape.
func (r *Reader) setOrder(id uint16, keys []sortKey) {
	r.shapes[id].order = len(r.orders) + 1
	for _, key := range keys {
		r.orders = append(r.orders, uint8(key.member))
	}
}

// orderOf returns that order, which must have been noted: the places of the names.
func (r *Reader) orderOf(id uint16) []uint8 {
	s := &r.shapes[id]
	return r.orders[s.order-1:][:s.count]
}

// Shape returns a number from 1 to maxShapes-1 for the last token, a Name, and the names before it in its object and around that, or 0
// if there is none. The same number means the same names until Forgotten changes.
func (r *Reader) Shape() int { return int(r.shape) }

// Forgotten counts how often Shape began anew.
func (r *Reader) Forgotten() int { return r.grown }

// wordsOf returns the words of a name, with their masks, as a shape has them.
func wordsOf(name []byte) (words, masks [3]uint64) {
	var b [24]byte
	n := copy(b[:], name)
	copy(b[n:], `":`)
	n += len(`":`)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(b[8*i:])
		if in := n - 8*i; in > 0 {
			masks[i] = ^uint64(0) >> (64 - 8*min(in, 8))
		}
	}
	return words, masks
}

// link returns where the shape stands that came last where the next name of an object is.
func (r *Reader) link(top *frame) *uint16 {
	if top.shape != 0 {
		return &r.shapes[top.shape].next
	}
	under := uint16(0)
	if n := len(r.stack); n > 1 {
		under = r.stack[n-2].shape
	}
	return &r.shapes[under].inner
}

// follow goes on to the shape with one name more, if there is or may be one. There is none if the name was there before.
func (r *Reader) follow(top *frame, tok Token) bool {
	text := r.data[tok.Start:tok.End]
	if tok.Escaped || len(text) > longestKnown {
		return false
	}
	words, masks := wordsOf(text)
	beside := 0
	for id := *r.link(top); id != 0; id = r.shapes[id].beside {
		if r.shapes[id].words == words {
			r.prefer(top, id)
			top.shape, top.next = id, r.shapes[id].next
			return true
		}
		beside++
	}
	before := &r.shapes[top.shape]
	if len(r.shapes) == maxShapes || beside == shapesBeside {
		r.refused = true
		return false
	}
	if before.count == shapeNames {
		return false
	}
	bit := uint64(1) << sketch(text)
	if before.seen&bit != 0 {
		for id := top.shape; id != 0; id = r.shapes[id].up {
			if r.shapes[id].words == words {
				return false
			}
		}
	}
	s := shape{words: words, masks: masks, prefix: prefix(text), seen: before.seen | bit, size: len(text), count: before.count + 1, up: top.shape, sorted: before.sorted}
	if before.count > 0 && s.sorted {
		last := r.names[len(r.names)-1]
		s.sorted = before.prefix < s.prefix || before.prefix == s.prefix && compareUTF16(r.nameText(last), text) < 0
	}
	id := uint16(len(r.shapes))
	r.shapes = append(r.shapes, s)
	link := r.link(top)
	r.shapes[id].beside, *link = *link, id
	top.shape, top.next = id, 0
	return true
}

// prefer makes a shape the first one of those beside it.
func (r *Reader) prefer(top *frame, id uint16) {
	link := r.link(top)
	if *link == id {
		return
	}
	before := *link
	for r.shapes[before].beside != id {
		before = r.shapes[before].beside
	}
	r.shapes[before].beside = r.shapes[id].beside
	r.shapes[id].beside, *link = *link, id
}

// lose goes on without a shape in an object: its names are compared from here on.
func (r *Reader) lose(top *frame) {
	top.lost, top.shape, top.next = true, 0, 0
	for _, n := range r.names[top.names:] {
		top.seen |= 1 << sketch(r.nameText(n))
	}
}
