package privacy

import (
	"bytes"
	"math/bits"
	"slices"

	"github.com/inter-agent-trust/iatp"
)

// emails finds addresses of the common shape, with letters of any script. Not
// found on purpose: addresses without a dot in the domain, quoted local parts,
// address literals.
var emails = detector{
	kind: iatp.Email,
	hits: []string{
		"ann@example.com", "a.b+c@mail.example.co.uk", "<ann@example.com>", "mailto:ann@example.com?x", "ann@example.com.", "jörg@bücher.example",
		"почта@пример.рф", "用户@例子.公司", "联系ann@example.com谢谢", "ann＠example.com", "ann@xn--bcher-kva.xn--p1ai", "ann@example.com.1",
		`ann\u0040example.com`, "o'neil@example.ie", "ann@b.com-thanks", "{ann@example.com}", "a@b.co", "ann@3com.com",
		"https://x.example/p?mail=ann@example.com&b=2", "https://x.example/p?to=ann%40example.com", "https://api.example:8080/users/ann@example.com/orders", "https://x.example/#ann@example.com",
		"<https://x.example/?m=ann@example.com>",
	},
	misses: []string{
		"ann@localhost", "@example.com", "ann@", "ann@example.c", "ann@@example.com", "icon@2x.png", "react@18.2.0", "git@github.com:iatp/iatp",
		"https://user:secret@example.com/x", "https://user@example.com", "ann@-example.com", "ann@example..com", "[EMAIL_REDACTED]", "a @ b.co",
		"ann.@example.com", "ann@example.123", "https://user:pa/ss@example.com/x", "https://cdn.example/npm/vue@3.4.0/dist.js", "https://cdn.example/icons/icon@2x.png", "https://blog.example/@ann/a.b.html",
		"https://git.example/clone?from=git@example.com",
	},
}

// emailConfidence is the same for all: the shape has no check digit.
const emailConfidence = 0.9

// Bounds of RFC 5321, section 4.5.3.1, and of RFC 1035, section 2.3.4.
const (
	maxLocal  = 64
	maxDomain = 255
	maxLabel  = 63
)

// findMailboxes looks at every @.
func (f *finder) findMailboxes() {
	f.anyAt = false
	for i := 0; ; i++ {
		n := bytes.IndexByte(f.text[i:], '@')
		if n < 0 {
			return
		}
		f.anyAt = true
		i += n
		start, end := f.localPart(i), f.domain(i+1)
		if end > i+1 {
			start = f.ofURL(start, i)
		}
		if start < i && end > i+1 && emailConfidence >= f.least && !f.remote(start, end) {
			f.hits = append(f.hits, hit{by: &emails, start: start, end: end, confidence: emailConfidence})
		}
	}
}

// wholeMailbox reports whether text is nothing but an address as most are: of letters,
// digits and ._+- up to the @, and too few digits for a number. It says no too often.
func wholeMailbox(text []byte) bool {
	n, at := len(text), bytes.IndexByte(text, '@')
	if n > maxLocal || at < 1 || string(text[:min(n, 4)]) == "git@" {
		return false
	}
	var letters, digits, dots, dashes, others uint64
	for k := 0; k < n; k += 8 {
		x := wordAt(text, k)
		letters |= gather(letterBytes(x)) << k
		digits |= gather(digitBytes(x)) << k
		dots |= gather(equalBytes(x, '.')) << k
		dashes |= gather(equalBytes(x, '-')) << k
		others |= gather(equalBytes(x, '_')|equalBytes(x, '+')) << k
	}
	sign, all := uint64(1)<<at, ^uint64(0)>>(64-n)
	domain := all &^ (sign<<1 - 1)
	top := bits.Len64(dots) // where the last label begins
	switch {
	case letters|digits|dots|dashes|others|sign != all, others&domain != 0, bits.OnesCount64(digits) >= fewest:
		return false
	case text[0] != '_' && byteKind[text[0]] != runByte:
		return false
	case dots&(dots<<1|sign<<1|sign>>1) != 0: // an empty label
		return false
	case dashes&(dots<<1|sign<<1|dots>>1)&domain != 0: // one that begins or ends with a dash
		return false
	case digits&(sign<<1) != 0: // the name of a picture: see remote
		return false
	}
	last := all >> top << top
	return top > at+1 && n-top >= 2 && letters&last == last
}

// localPart returns where the local part before the @ at i begins, or i.
func (f *finder) localPart(i int) int {
	j, set := i, atoms
	if i > 0 && f.text[i-1] == letter {
		set = foreignAtoms
	}
	for j > 0 && i-j < maxLocal {
		c := f.text[j-1]
		if !set[c] || c == '.' && (j == i || f.text[j] == '.') {
			break
		}
		j--
	}
	for j < i && !isDigit(f.text[j]) && !isLetter(f.text[j]) && f.text[j] != '_' {
		j++
	}
	return j
}

// atoms are what may stand in a local part with letters of ASCII, foreignAtoms in
// one of another script: not every script puts spaces between words.
var (
	atoms        = bytesOf(moreAtoms + asciiLetters + string(rune(latin)))
	foreignAtoms = bytesOf(moreAtoms + string(rune(letter)))
)

const asciiLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

const moreAtoms = "0123456789!#$%&'*+-./=?^_`{|}~"

// domain returns the end of the domain that begins at i, or i.
func (f *finder) domain(i int) int {
	good, labels := i, 0
	for j := i; j-i <= maxDomain; j++ {
		start := j
		for j < len(f.text) && j-start <= maxLabel && labelBytes[f.text[j]] {
			j++
		}
		if j == start || j-start > maxLabel || f.text[start] == '-' {
			break
		}
		if labels++; labels > 1 {
			if end := f.topLabel(start, j); end > start {
				good = end
			}
		}
		if j == len(f.text) || f.text[j] != '.' || f.text[j-1] == '-' {
			break
		}
	}
	return good
}

// labelBytes are what a label of a domain consists of.
var labelBytes = bytesOf(asciiLetters + "0123456789-" + string(rune(latin)) + string(rune(letter)))

// topLabel returns the end of the top-level label that text[i:j] begins with,
// or i: letters of ASCII, or other letters, at least two; or the xn-- form.
func (f *finder) topLabel(i, j int) int {
	if hasPrefixFold(f.text[i:j], "xn--") {
		return j
	}
	k := i
	for k < j && (f.text[k] == letter || f.text[k] == latin) == (f.text[i] == letter || f.text[i] == latin) && isLetter(f.text[k]) {
		k++
	}
	if k-i < 2 || k < j && isDigit(f.text[k]) {
		return i
	}
	return k
}

// ofURL returns where an address begins, of the characters of a local part at
// text[start:at], if a URL or the query of one goes before it; at, if they are the
// user of a URL.
func (f *finder) ofURL(start, at int) int {
	if cut := bytes.LastIndexAny(f.text[start:at], "?&"); cut >= 0 {
		start += cut + 1
		return start + bytes.IndexByte(f.text[start:at], '=') + 1
	}
	// Back over what may be a user name and a password, or a host, to "//".
	j := start
	for j > 0 && start-j < maxLocal && f.text[j-1] != '/' && f.text[j-1] > ' ' && !slices.Contains([]byte(`"'<>,;`), f.text[j-1]) {
		j--
	}
	if j < 2 || f.text[j-1] != '/' || f.text[j-2] != '/' {
		return start
	}
	host := bytes.IndexAny(f.text[j:at], "/#")
	if host < 0 {
		return at
	}
	if colon := bytes.IndexByte(f.text[j:j+host], ':'); colon >= 0 && endOfDigits(f.text[:j+host], j+colon+1) < j+host {
		return at // a password with a slash
	}
	return start + bytes.LastIndexAny(f.text[start:at], "/#") + 1
}

// remote reports whether text[start:end] is a name in some other notation: the user
// and host of scp, or the file name of a picture (x@2x.png).
func (f *finder) remote(start, end int) bool {
	if string(f.text[start:min(start+4, end)]) == "git@" {
		return true
	}
	at := bytes.IndexByte(f.text[start:end], '@') + start
	return isDigit(f.text[at+1]) && f.text[at+2]|0x20 == 'x' && f.text[at+3] == '.'
}
