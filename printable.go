package iatp

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns s with everything escaped that could deceive or disturb a
// person who reads it on a terminal or in a log: control characters, and with
// them ANSI sequences and line breaks; bidirectional overrides; zero-width and
// other invisible characters; every space that is not a plain one; bytes that
// are not UTF-8. The escapes are Go's: \n, \x1b, \u202e. A backslash is doubled,
// so that the result can be told from the original. Text that needs no escape
// is returned as it is.
func Printable(s string) string {
	i := strings.IndexFunc(s, escaped)
	if i < 0 {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:i])
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case escaped(r):
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// escaped reports whether a person should see r as an escape. IsPrint is false
// for controls, format characters such as the bidirectional ones, separators
// other than the plain space, surrogates and unassigned code points; what is
// added here counts as printable there and shows as nothing or as a blank.
func escaped(r rune) bool {
	if r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r) {
		return true
	}
	switch {
	case r == 0x034F, // combining grapheme joiner
		r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0, // Hangul fillers
		r == 0x17B4, r == 0x17B5, // Khmer inherent vowels
		r == 0x2800,                // blank Braille pattern
		0x180B <= r && r <= 0x180F, // Mongolian variation selectors
		0xFE00 <= r && r <= 0xFE0F, // variation selectors
		0xE0100 <= r && r <= 0xE01EF:
		return true
	}
	return false
}

// snippet shows a little of text that somebody else wrote, quoted.
func snippet(s string) string {
	const most = 40
	if len(s) <= most {
		return `"` + Printable(s) + `"`
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return `"` + Printable(s[:cut]) + `…"`
}
