package privacy

import (
	"encoding/binary"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// maxName is how much of a member name is looked at for telling words; a
// placeholder that ends later is still known as one.
const (
	maxName   = 64
	nameAhead = 48
)

// names are the two innermost member names around a text, the inner one last.
type names [2][]byte

// A path knows the member names around the current token of a document.
type path struct {
	outside place // of the whole document
	current []ijson.Token
}

// enter notes that an object or array was opened at the given depth.
func (p *path) enter(depth int) { p.set(depth, ijson.Token{}) }

// set makes name the current one of the object at the given depth.
func (p *path) set(depth int, name ijson.Token) {
	for len(p.current) <= depth {
		p.current = append(p.current, ijson.Token{})
	}
	p.current[depth] = name
}

// A place is where a text stands. It is good until its path moves on.
type place struct {
	given names // if path is nil
	path  *path
	doc   []byte
	depth int
}

// at returns the place of a value at the given depth of doc.
func (p *path) at(doc []byte, depth int) place { return place{path: p, doc: doc, depth: depth} }

// of returns the place of a token at the given depth of doc. A name does not
// stand under itself.
func (p *path) of(doc []byte, depth int, tok ijson.Token) place {
	if tok.Kind == ijson.Name {
		depth--
	}
	return p.at(doc, depth)
}

// names returns the names around the place. They are worked out when somebody
// asks, which is seldom.
func (at place) names() names {
	if at.path == nil {
		return at.given
	}
	found, n := at.path.outside.names(), 0
	for depth := at.depth; depth > 0 && n < 2; depth-- {
		tok := at.path.current[depth]
		if tok.Kind != ijson.Name {
			continue
		}
		text := at.doc[tok.Start:tok.End]
		if tok.Escaped {
			var f folded
			f.fold(text[:min(len(text), 6*(maxName+nameAhead))]) // an escape is six bytes
			text = f.b
		}
		text = text[:min(len(text), maxName+nameAhead)]
		if n++; n == 1 {
			found = names{found[1], text}
		} else {
			found[0] = text
		}
	}
	return found
}

// A nameCache remembers what member names tell. Names of up to 16 bytes, which
// are most of them, come again and again.
type nameCache [64]struct {
	head, tail uint64
	size       int
	topics     topics
}

// topicsOf returns what a name tells.
func (f *finder) topicsOf(name []byte) topics {
	n := len(name)
	if n < 2 {
		return topics{}
	}
	if n > 16 {
		return f.catalog.lexicon.read(name, 0, maxName)
	}
	var head, tail uint64
	if n >= 8 {
		head, tail = binary.LittleEndian.Uint64(name), binary.LittleEndian.Uint64(name[n-8:])
	} else {
		var b [8]byte
		copy(b[:], name)
		head = binary.LittleEndian.Uint64(b[:])
	}
	e := &f.known[(head^tail*0x9E3779B97F4A7C15)*0x9E3779B97F4A7C15>>58]
	if e.head != head || e.tail != tail || e.size != n {
		e.head, e.tail, e.size, e.topics = head, tail, n, f.catalog.lexicon.read(name, 0, maxName)
	}
	return e.topics
}
