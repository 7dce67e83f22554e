package privacy

import (
	"slices"
	"strconv"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// maxPointer is how long a pointer may be that is given away. A body with long
// names and many values would else cost the product of both.
const maxPointer = 4 << 10

// pointers makes the pointers of one document, without sensitive member names. It
// remembers the last one: what the next has in common with it is not made again.
type pointers struct {
	text  []byte
	steps []pointerStep
}

// A pointerStep is a step of the pointer that was made last.
type pointerStep struct {
	container, ordinal int // as ijson.Reader.Step has them
	end                int // of the pointer up to here; beyond maxPointer there are no more steps
}

func (p *pointers) reset() { p.text, p.steps = p.text[:0], p.steps[:0] }

// append appends the pointer of the current token of r to dst; nothing if it is
// too long.
func (p *pointers) append(dst []byte, w *work, r *ijson.Reader) []byte {
	depth, same := r.Depth(), 0
	if n := depth - 1; depth > 0 && len(p.steps) == depth {
		if container, ordinal, isArray := r.Step(n); container == p.steps[n].container && ordinal >= 0 {
			// Still in the same object or array, and so in those around it.
			if p.steps[n].ordinal != ordinal {
				p.text = p.text[:p.end(n)]
				p.step(n, w, r, ordinal, isArray)
				p.steps[n].ordinal, p.steps[n].end = ordinal, len(p.text)
			}
			return p.given(dst)
		}
	}
	for ; same < min(depth, len(p.steps)); same++ {
		container, ordinal, _ := r.Step(same)
		if s := p.steps[same]; s.container != container || s.ordinal != ordinal {
			break
		}
	}
	p.steps, p.text = p.steps[:same], p.text[:p.end(same)]
	for i := same; i < depth && len(p.text) <= maxPointer; i++ {
		container, ordinal, isArray := r.Step(i)
		if ordinal < 0 {
			break
		}
		p.step(i, w, r, ordinal, isArray)
		p.steps = append(p.steps, pointerStep{container, ordinal, len(p.text)})
	}
	return p.given(dst)
}

// step adds step i to the pointer, which may then be too long.
func (p *pointers) step(i int, w *work, r *ijson.Reader, ordinal int, isArray bool) {
	p.text = append(p.text, '/')
	if isArray {
		p.text = strconv.AppendInt(p.text, int64(ordinal), 10)
	} else {
		p.text = w.appendStep(p.text, r.Name(i, ordinal), func() names { return namesAbove(r, i) })
	}
	p.text = p.text[:min(len(p.text), maxPointer+1)]
}

// given appends the pointer to dst, if it is not too long.
func (p *pointers) given(dst []byte) []byte {
	if len(p.text) > maxPointer {
		return dst
	}
	return append(dst, p.text...)
}

func (p *pointers) end(steps int) int {
	if steps == 0 {
		return 0
	}
	return p.steps[steps-1].end
}

// appendSibling appends the pointer of another member or element of the
// innermost object or array.
func (p *pointers) appendSibling(dst []byte, w *work, r *ijson.Reader, ordinal int) []byte {
	start, i := len(dst), r.Depth()-1
	p.append(nil, w, r)
	if len(p.steps) <= i || p.end(i) > maxPointer {
		return dst
	}
	dst = append(append(dst, p.text[:p.end(i)]...), '/')
	if _, _, isArray := r.Step(i); isArray {
		dst = strconv.AppendInt(dst, int64(ordinal), 10)
	} else {
		dst = w.appendStep(dst, r.Name(i, ordinal), func() names { return namesAbove(r, i) })
	}
	if len(dst)-start > maxPointer {
		return dst[:start]
	}
	return dst
}

// namesAbove returns the two innermost names above step i that may tell what
// stands there.
func namesAbove(r *ijson.Reader, i int) (found names) {
	for n := 1; i > 0 && n >= 0; {
		i--
		_, ordinal, isArray := r.Step(i)
		if isArray || ordinal < 0 {
			continue
		}
		if name := r.Name(i, ordinal); !index(name) {
			found[n] = name[:min(len(name), keptName)]
			n--
		}
	}
	return found
}

// index reports whether a name is so short a number that it tells nothing.
func index(name []byte) bool { return len(name) < fewest && endOfDigits(name, 0) == len(name) }

// plainStep reports whether a name is too short and plain to hold a value or
// anything that a pointer escapes. Most are.
func plainStep(name []byte) bool {
	if len(name) >= siftRow {
		return false
	}
	for _, c := range name {
		if !plainBytes[c] {
			return false
		}
	}
	return true
}

var plainBytes = bytesOf(asciiLetters + "_-")

// appendStep appends a member name as a step of a pointer (RFC 6901), without
// what is sensitive in it. above returns the names around.
func (w *work) appendStep(dst, name []byte, above func() names) []byte {
	if plainStep(name) && len(w.finder.catalog.custom) == 0 {
		return append(dst, name...)
	}
	if !index(name) && (len(w.finder.catalog.custom) > 0 || sift(name)) {
		if w.cleaner == nil {
			w.cleaner = new(work)
		}
		w.cleaner.use(w.finder.catalog, w.finder.least)
		w.cleaner.finder.longest = w.finder.longest
		around := above()
		name = w.cleaner.redactText(slices.Clone(name), place{given: &around}, nil)
	}
	return ijson.AppendStep(dst, name)
}
