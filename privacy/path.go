package privacy

import (
	"bytes"
	"encoding/binary"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// maxName is how much of a member name is looked at for telling words; a
// placeholder that ends later is still known as one.
const (
	maxName   = 1 << 10
	nameAhead = 48
)

// names are the two innermost member names around a text, the inner one last.
type names [2][]byte

// A path knows the member names around the current token of a document.
type path struct {
	doc     []byte
	outside place // of the whole document
	labels  bool  // whether a name outside may make a value one to read
	steps   []step
}

// A step is the current name of an open object, or none of an array.
type step struct {
	name   ijson.Token
	told   topics // what the name tells, if read
	read   bool
	labels bool        // the name makes a value one to read
	outer  [2]bool     // and so does the next name around, and the one around that
	role   role        // of the name
	alias  ijson.Token // what the object calls its value, if it does: see role
}

// A role is what the name of a member is for, where an object holds one value:
// {"name":"DB_PASSWORD","value":"..."}. The value then stands under what it is
// called, if that comes first.
type role uint8

const (
	sorts role = iota + 1 // type and the like, unless a name says more
	calls                 // name, key and the like
	holds                 // value
)

// mayCall reports whether the text of a string in a member of this role is what the
// object calls its value, if another is known or not. In the syntax tree of a program
// everything is a token.
func (r role) mayCall(text []byte, known bool) bool {
	return len(text) <= maxAlias && (r == calls || r == sorts && !known && !bytes.EqualFold(text, []byte("token")))
}

// maxAlias is how long what an object calls its value may be.
const maxAlias = 64

// roleOf returns the role of a member by its name.
func roleOf(name []byte) role {
	var lower [len("parameter")]byte
	if len(name) > len(lower) {
		return 0
	}
	for i, c := range name {
		lower[i] = c
		if upper(c) {
			lower[i] = c | 0x20
		}
	}
	switch string(lower[:len(name)]) {
	case "value", "val", "answer":
		return holds
	case "id", "kind", "type", "idtype", "system":
		return sorts
	case "name", "key", "field", "fieldname", "label", "header", "param", "parameter", "property", "attribute", "variable", "question":
		return calls
	}
	return 0
}

// at returns the step of a depth.
func (p *path) at(depth int) *step {
	for len(p.steps) <= depth {
		p.steps = append(p.steps, step{})
	}
	return &p.steps[depth]
}

// nameRole is roleOf a name in a document, as judgeName has it.
func nameRole(doc []byte, tok ijson.Token) role {
	if tok.Escaped {
		return 0
	}
	return roleOf(doc[tok.Start:tok.End])
}

// enter notes that an object or array was opened at the given depth.
func (p *path) enter(depth int) {
	s := p.at(depth)
	s.name.Kind, s.alias.Kind, s.role = 0, 0, 0
	if depth <= 1 {
		s.outer = [2]bool{p.labels, p.labels}
	} else if around := &p.steps[depth-1]; around.name.Kind == ijson.Name {
		s.outer = [2]bool{around.labels, around.outer[0]}
	} else {
		s.outer = around.outer
	}
}

// labelled reports whether one of the two innermost names around a value at the given
// depth may make it one to read.
func (p *path) labelled(depth int) bool {
	if depth == 0 {
		return p.labels
	}
	s := &p.steps[depth]
	if s.name.Kind == ijson.Name {
		return s.labels || s.outer[0]
	}
	return s.outer[0] || s.outer[1]
}

// set makes name, which has a role, the current one of the object at the given
// depth. It reports whether the value is called something else.
func (p *path) set(depth int, name ijson.Token, r role) bool {
	s := p.at(depth)
	s.name, s.read, s.role = name, false, r
	if r != holds || s.alias.Kind == 0 {
		return false
	}
	s.name = s.alias
	return true
}

// call notes that a string stands at the given depth: it may be what the object
// calls its value.
func (p *path) call(depth int, text ijson.Token) {
	if depth == 0 {
		return
	}
	if s := &p.steps[depth]; s.role != 0 && s.role.mayCall(p.doc[text.Start:text.End], s.alias.Kind != 0) {
		s.alias = text
		s.alias.Kind = ijson.Name
	}
}

// A place is where a text stands. It is good until its path moves on.
type place struct {
	given *names // if path is nil; nil for none
	path  *path
	depth int
	name  bool // what stands there is a name itself
}

// place returns the place of a value at the given depth.
func (p *path) place(depth int) place { return place{path: p, depth: depth} }

// of returns the place of a token at the given depth. A name does not stand under
// itself.
func (p *path) of(depth int, tok ijson.Token) place {
	if tok.Kind == ijson.Name {
		return place{path: p, depth: depth - 1, name: true}
	}
	return p.place(depth)
}

// under returns the place of a value under a name.
func under(name []byte) place {
	return place{given: &names{nil, name[:min(len(name), keptName)]}}
}

// told reports whether there may be a name that the place stands under.
func (at place) told() bool {
	return at.path != nil || at.given != nil && len(at.given[0])+len(at.given[1]) > 0
}

// names returns the names around the place. They are worked out when somebody
// asks, which is seldom.
func (at place) names() names {
	switch {
	case at.path != nil:
	case at.given != nil:
		return *at.given
	default:
		return names{}
	}
	found, n := at.path.outside.names(), 0
	for depth := at.depth; depth > 0 && n < 2; depth-- {
		tok := at.path.steps[depth].name
		if tok.Kind != ijson.Name {
			continue
		}
		text := nameText(at.path.doc, tok)
		if n++; n == 1 {
			found = names{found[1], text}
		} else {
			found[0] = text
		}
	}
	return found
}

// nameText returns the text of a name, what is looked at of it.
func nameText(doc []byte, tok ijson.Token) []byte {
	text := doc[tok.Start:tok.End]
	if tok.Escaped {
		var f folded
		f.fold(text[:min(len(text), 6*(maxName+nameAhead))]) // an escape is six bytes
		text = f.b
	}
	return text[:min(len(text), maxName+nameAhead)]
}

// foldedName returns a name as it is read: most are so already.
func foldedName(name []byte) []byte {
	if needsFold(name) != foldMore {
		return name
	}
	var f folded
	f.fold(name)
	return f.b
}

// readNames notes what the two innermost names around a place tell.
func (f *finder) readNames() {
	f.inner, f.named = topics{}, topics{}
	for at, n := &f.around, 0; n < 2; at = &at.path.outside {
		if at.path == nil {
			f.readGiven(at.given, n)
			return
		}
		for depth := at.depth; depth > 0 && n < 2; depth-- {
			s := &at.path.steps[depth]
			if s.name.Kind != ijson.Name {
				continue
			}
			if !s.read {
				s.read, s.told = true, f.topicsOf(nameText(at.path.doc, s.name))
			}
			f.noteName(s.told, n)
			n++
		}
	}
}

// readGiven is readNames for names that are given, after n others.
func (f *finder) readGiven(given *names, n int) {
	for i := len(given) - 1; given != nil && i >= 0 && n < 2; i-- {
		f.noteName(f.topicsOf(given[i]), n)
		n++
	}
}

// noteName notes what a name tells, around which are n others.
func (f *finder) noteName(told topics, n int) {
	if n == 0 {
		f.inner = told
	}
	f.named = f.named.or(told)
}

// A nameCache remembers what member names tell. Names of up to 16 bytes, which
// are most of them, come again and again.
type nameCache [128]knownName

type knownName struct {
	head, tail uint64
	size       int
	labels     bool // tells of a value that is secret because it is called so
	odd        bool // may be sensitive itself
	role       role
	topics     topics
}

// topicsOf returns what a name tells.
func (f *finder) topicsOf(name []byte) topics {
	if n := len(name); n < 2 {
		return topics{}
	} else if n > 16 {
		return f.catalog.lexicon.read(foldedName(name), 0, maxName)
	}
	return f.knownName(name).topics
}

// judged is what the name of a member says. With a field more it would not stay in
// registers, and cost a sixth of the speed of clean JSON.
type judged struct {
	told   topics // what it tells, if read
	read   bool
	labels bool // it makes its value a secret, or an account, or whatever has no form of its own
	odd    bool // it may be sensitive itself
}

// judgeName looks at the name of a member, and returns its role, too.
func (f *finder) judgeName(doc []byte, tok ijson.Token) (judged, role) {
	name := doc[tok.Start:tok.End]
	switch n := len(name); {
	case tok.Escaped:
		return judged{labels: true, odd: worthReading(doc, tok)}, 0
	case n < 2:
		return judged{read: true}, 0
	case n > 16:
		told := f.topicsOf(name)
		return judged{told: told, read: n <= maxName+nameAhead, labels: !told.and(f.catalog.labelled).none(), odd: worthReading(doc, tok)}, 0
	}
	k := f.knownName(name)
	return judged{k.topics, true, k.labels, k.odd}, k.role
}

// knownName returns what is known of a name of 2 to 16 bytes.
func (f *finder) knownName(name []byte) *knownName {
	n := len(name)
	var head, tail uint64
	switch {
	case n >= 8:
		head, tail = binary.LittleEndian.Uint64(name), binary.LittleEndian.Uint64(name[n-8:])
	case n >= 4:
		head, tail = uint64(binary.LittleEndian.Uint32(name)), uint64(binary.LittleEndian.Uint32(name[n-4:]))
	default:
		head, tail = uint64(binary.LittleEndian.Uint16(name)), uint64(name[n-1])
	}
	at := (head*0x9E3779B97F4A7C15 ^ tail*0xC2B2AE3D27D4EB4F) >> 57
	e := &f.known[at]
	if e.head == head && e.tail == tail && e.size == n {
		return e
	}
	other := &f.known[at^1] // so that two names do not drive out each other
	if *e, *other = *other, *e; e.head != head || e.tail != tail || e.size != n {
		told := f.catalog.lexicon.read(foldedName(name), 0, maxName)
		*e = knownName{head, tail, n, !told.and(f.catalog.labelled).none(), n >= shortestText && sift(name), roleOf(name), told}
	}
	return e
}
