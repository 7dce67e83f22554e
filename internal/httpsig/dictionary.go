package httpsig

import (
	"slices"
	"strings"
)

// A member is one member of a structured dictionary (RFC 9651, section 3.2). text
// is its value with the parameters, as it stands in the field.
type member struct {
	key, text string
	tag       string // the string parameter "tag" of the value itself
}

// dictionary reads a dictionary. It is stricter than RFC 9651 in two points: a key
// that is there twice is refused, where the standard lets the last one win, and so
// are more than MaxSignatures members.
func dictionary(field string) (members []member, ok bool) {
	s := scanner{text: field}
	for {
		key := s.key()
		if key == "" || len(members) == MaxSignatures || slices.ContainsFunc(members, func(m member) bool { return m.key == key }) {
			return nil, false
		}
		m := member{key: key}
		start := s.at
		if s.eat('=') {
			start = s.at
			if !s.value() {
				return nil, false
			}
		}
		if m.tag, ok = s.parameters(); !ok {
			return nil, false
		}
		m.text = s.text[start:s.at]
		members = append(members, m)
		s.skip(" \t")
		if s.at == len(s.text) {
			return members, true
		}
		if !s.eat(',') {
			return nil, false
		}
		s.skip(" \t")
	}
}

// A scanner goes through the text of a structured field.
type scanner struct {
	text string
	at   int
}

func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) eat(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// skip goes over bytes of the set and returns them.
func (s *scanner) skip(set string) string {
	start := s.at
	for s.at < len(s.text) && strings.IndexByte(set, s.text[s.at]) >= 0 {
		s.at++
	}
	return s.text[start:s.at]
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// key reads a key; "" is none.
func (s *scanner) key() string {
	if strings.IndexByte(lower+"*", s.peek()) < 0 {
		return ""
	}
	return s.skip(lower + digits + "_-.*")
}

// value reads an item or an inner list, without its parameters.
func (s *scanner) value() bool {
	if !s.eat('(') {
		return s.bare()
	}
	for {
		s.skip(" ")
		if s.eat(')') {
			return true
		}
		if !s.bare() {
			return false
		}
		if _, ok := s.parameters(); !ok {
			return false
		}
		if c := s.peek(); c != ' ' && c != ')' {
			return false
		}
	}
}

// parameters reads parameters and returns the string called tag.
func (s *scanner) parameters() (tag string, ok bool) {
	for s.eat(';') {
		s.skip(" ")
		key := s.key()
		if key == "" {
			return "", false
		}
		start := s.at + 1
		if s.eat('=') && !s.bare() {
			return "", false
		}
		if key == "tag" && start < s.at {
			tag = strings.Trim(s.text[start:s.at], `"`)
		}
	}
	return tag, true
}

// bare reads a bare item (RFC 9651, section 4.2.3.1).
func (s *scanner) bare() bool {
	switch c := s.peek(); {
	case c == '"':
		return s.quoted()
	case c == '%':
		s.at++
		return s.quoted()
	case c == ':':
		s.at++
		s.skip(upper + lower + digits + "+/=")
		return s.eat(':')
	case c == '?':
		s.at++
		return s.eat('0') || s.eat('1')
	case c == '@':
		s.at++
		return s.number()
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c != 0 && strings.IndexByte(upper+lower+"*", c) >= 0:
		s.skip(upper + lower + digits + "!#$%&'*+-.^_`|~:/")
		return true
	}
	return false
}

// number reads an integer of up to 15 digits or a decimal.
func (s *scanner) number() bool {
	s.eat('-')
	whole := len(s.skip(digits))
	if !s.eat('.') {
		return whole > 0 && whole <= 15
	}
	fraction := len(s.skip(digits))
	return whole > 0 && whole <= 12 && fraction > 0 && fraction <= 3
}

// quoted reads a string in quotes.
func (s *scanner) quoted() bool {
	if !s.eat('"') {
		return false
	}
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		switch {
		case c == '"':
			return true
		case c == '\\':
			if !s.eat('"') && !s.eat('\\') {
				return false
			}
		case c < ' ' || c > '~':
			return false
		}
	}
	return false
}
