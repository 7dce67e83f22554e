package privacy

import (
	"slices"
	"unicode/utf8"
)

// A window holds the end of a stream of text that is not decided yet.
type window struct {
	buf     []byte
	settled int    // buf[:settled] is decided
	before  int    // bytes of the stream before buf
	columns []byte // their names, of the table that buf begins within
	veils   []veil
}

// write takes the next bytes and calls settle whenever the window is full.
func (w *window) write(p []byte, settle func(all bool)) {
	for len(p) > 0 {
		part := p[:min(len(p), behind+hold+block-len(w.buf))]
		w.buf = append(w.buf, part...)
		if p = p[len(part):]; len(w.buf) == behind+hold+block {
			settle(false)
		}
	}
}

// settle decides about all bytes but the last ones, or about all. It gives the
// decided text away, with what was found there in places of it, and where in
// the stream it begins.
func (w *window) settle(scan *work, around place, all bool, give func(text []byte, hits []hit, offset int)) {
	table := &scan.finder.table
	table.prior = w.columns
	hits := scan.find(w.buf, around)
	limit := w.limit(hits, all)
	hits = slices.DeleteFunc(hits, func(h hit) bool { return h.end <= w.settled || h.start >= limit })
	for i := range hits {
		hits[i].start = max(hits[i].start-w.settled, 0)
		hits[i].end -= w.settled
	}
	w.veils = w.veils[:0]
	for _, v := range scan.veils {
		if v.end > w.settled && v.start < limit {
			w.veils = append(w.veils, veil{v.reason, max(v.start-w.settled, 0), v.end - w.settled})
		}
	}
	drop := w.table(table, max(limit-behind, 0))
	give(w.buf[w.settled:limit], hits, w.before+w.settled)

	w.before += drop
	w.settled = limit - drop
	w.buf = append(w.buf[:0], w.buf[drop:]...)
}

// table remembers the names of the columns of the table that buf[drop] is part of. It
// returns where its row begins, if that is not far: rows are read from their beginning.
func (w *window) table(t *table, drop int) int {
	defer func() { t.prior = nil }()
	if drop == 0 {
		return drop
	}
	if len(t.text) == 0 {
		w.columns = w.columns[:0]
		return drop
	}
	if t.seek(drop); t.sep == 0 || t.heading || drop-t.start > behind {
		w.columns = w.columns[:0]
		return drop
	}
	w.columns = append(w.columns[:0], t.first...)
	return t.start
}

// limit returns where the decided part of buf ends: not inside a value, nor
// inside a character.
func (w *window) limit(hits []hit, all bool) int {
	if all {
		return len(w.buf)
	}
	limit := max(len(w.buf)-hold, w.settled)
	for limit > w.settled && len(w.buf)-limit < hold+utf8.UTFMax && !utf8.RuneStart(w.buf[limit]) {
		limit--
	}
	for _, h := range hits {
		if h.start < limit && h.end > limit {
			limit = h.end
		}
	}
	return limit
}
