package flight

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// An object goes through the members of a JSON object in its canonical form
// (RFC 8785), as lines hold them. Views read steps off every line that is written,
// so it allocates nothing but the texts that are asked for. It takes less than
// encoding/json does: names in ascending order, numbers that are integers.
type object struct {
	rest  []byte // what follows the last member
	name  []byte // of the member, without quotes: none of ours is escaped
	value []byte // its value, as it is spelled
	first bool   // no member was read yet
	err   error
}

// openObject begins to read an object, and reports whether it is one.
func openObject(text []byte) (object, bool) {
	if len(text) == 0 || text[0] != '{' {
		return object{}, false
	}
	return object{rest: text[1:], first: true}, true
}

// next goes to the next member. At the end and after an error there is none.
func (o *object) next() bool {
	if o.err != nil || len(o.rest) == 0 {
		o.bad("it is not an object")
		return false
	}
	if o.first && o.rest[0] == '}' || !o.first && o.rest[0] != ',' {
		if o.rest[0] != '}' {
			o.bad("a comma is missing")
		}
		return false
	}
	if !o.first {
		o.rest = o.rest[1:]
	}
	name := stringEnd(o.rest)
	if name < 0 || name == len(o.rest) || o.rest[name] != ':' {
		o.bad("a name is missing")
		return false
	}
	this := o.rest[1 : name-1]
	value := valueEnd(o.rest[name+1:])
	if value <= 0 || !o.first && bytes.Compare(o.name, this) >= 0 {
		o.bad("a member is damaged, or not in its place")
		return false
	}
	o.name, o.value, o.rest, o.first = this, o.rest[name+1:name+1+value], o.rest[name+1+value:], false
	return true
}

// stringEnd returns the length of the string that b begins with; -1 if it does not.
func stringEnd(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return -1
	}
	for i := 1; i < len(b); {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		i += n + 1
		slashes := i - 2
		for b[slashes] == '\\' {
			slashes--
		}
		if (i-2-slashes)%2 == 0 {
			return i
		}
	}
	return -1
}

// valueEnd returns the length of the value that b begins with; -1 if it has no end.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			n := stringEnd(b[i:])
			if n < 0 {
				return -1
			}
			i += n - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

// bad keeps the first error.
func (o *object) bad(why string) {
	if o.err == nil {
		o.err = fmt.Errorf("flight: step of a record: %s", why)
	}
}

func (o *object) unknown() { o.bad("a member is unknown") }

// plain returns the inside of a string that stands for itself.
func (o *object) plain() ([]byte, bool) {
	if len(o.value) < 2 || o.value[0] != '"' || stringEnd(o.value) != len(o.value) {
		return nil, false
	}
	inner := o.value[1 : len(o.value)-1]
	for _, c := range inner {
		if !isPlain(c) {
			return nil, false
		}
	}
	return inner, true
}

// text returns the value, which is a string.
func (o *object) text() string {
	if inner, ok := o.plain(); ok {
		return string(inner)
	}
	var s string
	if o.value[0] != '"' || json.Unmarshal(o.value, &s) != nil { // one with escapes
		o.bad("a text is none")
	}
	return s
}

// number returns the value, which is an integer.
func (o *object) number() int64 { return o.integer(o.value) }

// numbers returns the value, which is a list of integers, and not empty.
func (o *object) numbers() []int64 {
	inner, open := bytes.CutPrefix(o.value, []byte{'['})
	inner, closed := bytes.CutSuffix(inner, []byte{']'})
	var list []int64
	for text := range bytes.SplitSeq(inner, []byte{','}) {
		if len(list) == maxItems {
			open = false
			break
		}
		list = append(list, o.integer(text))
	}
	if !open || !closed {
		o.bad("a list is none")
	}
	return list
}

func (o *object) integer(text []byte) int64 {
	digits := bytes.TrimPrefix(text, []byte{'-'})
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || digits[0] < '0' || digits[0] > '9' || digits[0] == '0' && len(digits) > 1 {
		o.bad("a number is none")
		return 0
	}
	return n
}

// second returns the value, which is a time in seconds.
func (o *object) second() time.Time { return time.Unix(o.number(), 0) }

// truth returns the value, which is true or false.
func (o *object) truth() bool {
	yes := string(o.value) == "true"
	if !yes && string(o.value) != "false" {
		o.bad("a truth is none")
	}
	return yes
}

func (o *object) alias(dst *Alias) {
	if inner, ok := o.plain(); !ok || dst.UnmarshalText(inner) != nil {
		o.bad("an alias is none")
	}
}

func (o *object) label(dst *Label) {
	if inner, ok := o.plain(); !ok || dst.UnmarshalText(inner) != nil {
		o.bad("a label is none")
	}
}

// place collects the members of a Place, which count only all together.
type place struct {
	Place
	members int
}

func (p *place) at(o *object)   { p.At, p.members = o.number(), p.members+1 }
func (p *place) file(o *object) { p.File, p.members = o.number(), p.members+1 }
func (p *place) size(o *object) { p.Size, p.members = o.number(), p.members+1 }

func (p *place) whole() Place {
	if p.members < 3 {
		return Place{}
	}
	return p.Place
}
