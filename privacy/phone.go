package privacy

import "strings"

// phones finds telephone numbers: international ones by ITU-T E.164, others in
// the groups that are usual in some country, or beside a telling word.
var phones = detector{
	kind: "phone", min: 9, max: 15,
	valid: validPhone,
	forms: []form{
		{shape: groups, lengths: "334", seps: "-", single: true, alone: 0.6, told: 0.9},
		{shape: groups, lengths: "334", seps: ".", single: true, alone: 0.6, told: 0.9},
		{shape: groups, lengths: "334", seps: " ", single: true, alone: 0.55, told: 0.9},
		{shape: groups, lengths: "1334", seps: "-", begins: "1", single: true, alone: 0.6, told: 0.9},
		{shape: groups, lengths: "1334", seps: ".", begins: "1", single: true, alone: 0.6, told: 0.9},
		{shape: groups, lengths: "1334", seps: " ", begins: "1", single: true, alone: 0.55, told: 0.9},
		{shape: groups, lengths: "13322", seps: " -", begins: "8", single: true, alone: 0.6, told: 0.9}, // Russia
		{shape: groups, lengths: "22222", seps: " ", begins: "0", single: true, alone: 0.55, told: 0.9}, // France
		{shape: groups, lengths: "22222", seps: ".", begins: "0", single: true, alone: 0.6, told: 0.9},  // France
		{shape: groups, lengths: "56", seps: " ", begins: "07", single: true, alone: 0.55, told: 0.9},   // United Kingdom
		{shape: groups, lengths: "533", seps: " ", begins: "07", single: true, alone: 0.6, told: 0.9},   // United Kingdom
		{shape: groups, lengths: "434", seps: " ", begins: "01", single: true, alone: 0.55, told: 0.9},  // United Kingdom
		{shape: groups, lengths: "344", seps: " ", begins: "02", single: true, alone: 0.6, told: 0.9},   // United Kingdom
		{shape: groups, lengths: "344", seps: "-", begins: "0", single: true, alone: 0.6, told: 0.9},    // Korea, Japan
		{shape: groups, lengths: "244", seps: "-", begins: "0", single: true, alone: 0.55, told: 0.9},   // Japan
		{shape: groups, lengths: "433", seps: " ", begins: "04", single: true, alone: 0.55, told: 0.9},  // Australia
		{shape: run, told: 0.8},
		{shape: chain, seps: anySep, told: 0.8},
	},
	words: []string{
		"phone", "phones", "telephone", "tel", "mobile", "mob", "cell", "cellphone", "call", "fax", "whatsapp", "sms", "text me", "reach me", "phone number", "msisdn", "contact number",
		"telefon", "telefonnummer", "telefonnr", "handy", "handynummer", "mobil", "mobilnummer", "mobiltelefon", "rufnummer", "telefono", "movil", "celular", "cellulare", "telemovel", "telefone", "portable", "telefoon", "telefoonnummer", "mobiel", "komorka", "cep telefonu", "telefonu", "telefonum", "puhelinnumero", "puhelin", "ph no",
	},
	hits: []string{
		"+1 415 555 2671", "+49 1512 3456789", "+442071838750", "(415) 555-2671", "415-555-2671", "1-800-555-0199", "phone 4155552671", "tel: 030 1234567 8", "call 0171 123 45 67", "+33 1 42 68 53 00", "mobile: 07700 900123",
		"0044 20 7946 0958", "00442079460958", "00 33 1 42 68 53 00", "011 44 20 7946 0958", "(030) 901820", "(020) 7946 0958", "(0044) 20 7946 0958", "(+44) 20 7946 0958", "(02) 9374 4000", "(415)-555-2671", "(415).555.2671",
		"(11) 91234-5678", "8 (495) 123-45-67", "8-800-555-35-35", "415 555 2671", "06 12 34 56 78", "06.12.34.56.78", "07700 900 982", "020 7946 0958", "0412 345 678", "010-1234-5678", "Mob: 07700900123", "Telefonnummer: 0151 12345678",
		"Móvil: 612 34 56 78", "phone: 555-2671", "telefoonnummer: 06-11650495", "telefonum 0532 780 70 80", "+7 (495) 123-45-67", "Text me: 2125550123",
		"a=1&note=%2B1+415+555+2671&b=1",
	},
	misses: []string{
		"4155552671", "order 415-555-26710", "+1", "+0 123 456 789", "123-456-7890", "2026-11-23", "1+2345678901", "415-555-2671-9", "3-800-555-0199",
		"555-2671", "00614141999996", "0012345678", "000442079460958", "00 01 02 03 04 05 06", "00 44 20 79 46 09 58 11", "id 0044207946", "(2026) 123456", "f(020) 79460958", "(123) 456", "(0012) 345678", "(020) 79460958b",
		"+2147483648", "+4294967296", "+2000-01-01", "call 268435456", "252.227-7013", "[415 555 2671 3]", "01 02 03 04 05", "20 26 11 23 04", "0b 03 03 05 00 01", "01 00 01 00 00 ff", "(005) (007) (013) (017)", "+35236450.6", "phone=x\n2026-03-01 12:00:02", "13~++20210418105309+a0898", "001 002 003 004 005", "0069 0307 0301", "call 212        137        158        231", "10 20 30 40 50", "phone 12", "row (1000) 20000000",
	},
	looks: looksLocal,
}

// validPhone says how much the length and the first digits of a number leave of
// the confidence in it.
func validPhone(d []byte) float64 {
	abroad := callingCode(d) > 0
	switch n := len(d); {
	case same(d), ascending(d):
		return 0
	case n >= 12 && d[0] == '0' && (d[1] == '0' && callingCode(d[2:]) > 0 || string(d[:3]) == "011" && callingCode(d[3:]) > 0):
		return 1
	case n > 13:
		return 0
	case d[0] == '0':
		return certain(d[1] != '0' && n < 13)
	case n > 11:
		return pick(abroad, 1, 0.6)
	case n == 11:
		return pick(abroad && (d[0] != '1' || d[1] >= '2') || d[0] == '8' || d[0] == '1' && d[1] >= '3', 1, 0.6)
	case n == 10:
		return pick(d[0] >= '2', 1, 0.6)
	}
	return pick(d[0] >= '5', 1, 0.6)
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

// ascending reports whether digits count: 01 02 03 04 05.
func ascending(d []byte) bool {
	for i := 2; i+1 < len(d); i += 2 {
		if value(d[i:i+2]) != value(d[i-2:i])+1 {
			return false
		}
	}
	return true
}

// callingCodes are those that ITU-T E.164 has assigned to countries and services.
const callingCodes = " 1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98 " +
	"211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 237 238 239 240 241 242 243 244 245 246 247 248 249 " +
	"250 251 252 253 254 255 256 257 258 260 261 262 263 264 265 266 267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 358 359 " +
	"370 371 372 373 374 375 376 377 378 380 381 382 383 385 386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 " +
	"590 591 592 593 594 595 596 597 598 599 670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 " +
	"800 808 850 852 853 855 856 870 878 880 881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 992 993 994 995 996 998 "

// callingCode returns the length of the calling code that digits begin with, or 0.
func callingCode(d []byte) int {
	if len(d) > 0 && d[0] == '0' {
		return 0
	}
	for n := 1; n <= 3 && n < len(d); n++ {
		if isCallingCode[value(d[:n])] {
			return n
		}
	}
	return 0
}

var isCallingCode = func() (t [1000]bool) {
	for code := range strings.FieldsSeq(callingCodes) {
		t[value([]byte(code))] = true
	}
	return t
}()

// A dialled number is what stands behind a plus, 00 or a bracket: groups of
// digits, one separator between two of them, some in brackets.
type dialled struct {
	digits  [16]byte
	lengths [8]byte
	n       int // digits
	groups  int
	end     int
	areas   int  // brackets
	sep     byte // the last separator
}

func (d *dialled) all() []byte { return d.digits[:d.n] }

// dial reads a number that begins at i. It ends before what cannot be part of one;
// n is 0 if there is too much of it.
func (f *finder) dial(i int) (d dialled) {
	text := f.text
	query := i > 1 && text[i-1] == '+' && text[i-2] == '=' // where a space is written as a plus
	for j := i; j < len(text); j++ {
		c, next := text[j], j+1
		switch {
		case isDigit(c):
			if d.n == len(d.digits) {
				d.n = 0
				return d
			}
			if d.groups == 0 || d.end < j {
				if d.groups == len(d.lengths) {
					d.n = 0
					return d
				}
				d.groups++
			}
			d.lengths[d.groups-1]++
			d.digits[d.n], d.end = c, next
			d.n++
		case next < len(text) && (c == '(' || c == ')') && (text[next] == ' ' || isDigit(text[next])),
			next < len(text) && (c == ' ' || c == '-' || c == '.' || c == '/' || c == '+' && query) && (isDigit(text[next]) || text[next] == '('):
			d.sep = c
			d.areas += pick(c == '(', 1, 0)
		default:
			j = len(text)
		}
	}
	if d.end < len(text) && isLetter(text[d.end]) {
		d.n = 0
	}
	return d
}

// phoneAt looks for a number that begins with a plus or a bracket at i.
func (f *finder) phoneAt(i int) int {
	if f.text[i] == '(' {
		return f.bracketed(i)
	}
	text := f.text
	if i+1 == len(text) || text[i+1] < '1' || !isDigit(text[i+1]) || i > 0 && (isLetter(text[i-1]) || isDigit(text[i-1]) || text[i-1] == '+' || text[i-1] == '~') {
		return i
	}
	d := f.dial(i + 1)
	date := d.groups == 3 && d.n == 8 && d.lengths[0] == 4
	fraction := d.groups == 2 && d.sep == '.'
	if d.n < 8 || d.n > 15 || date || fraction || callingCode(d.all()) == 0 || d.digits[0] == '1' && d.n != 11 || !varied(d.all(), 3) && d.digits[0] == d.digits[1] {
		return i
	}
	return f.hit(&phones, i, d.end, 0.8)
}

// abroad looks for a number that begins with the row of digits text[i:end], if
// that begins with what is dialled for going abroad.
func (f *finder) abroad(i, end int) int {
	switch {
	case f.text[i+1] == '0':
		return f.dialledAbroad(i, i+2)
	case end == i+3 && f.hasAt(i, "011"):
		return f.dialledAbroad(i, end)
	}
	return i
}

// dialledAbroad looks for a number that begins with what is dialled for going
// abroad: 00, and in North America 011, which ends at start.
func (f *finder) dialledAbroad(i, start int) int {
	text := f.text
	if start+8 > len(text) || i > 0 && (separator[text[i-1]] && text[i-1] != ' ' || text[i-1] == ':' || text[i-1] == ' ' && i > 1 && isDigit(text[i-2])) {
		return i
	}
	apart := text[start] == ' ' || text[start] == '-'
	if apart {
		start++
	} else if start > i+2 {
		return i
	}
	if text[start] < '1' || text[start] > '9' {
		return i
	}
	d := f.dial(start)
	code := callingCode(d.all())
	first := int(d.lengths[0])
	if code == 0 || code > first || d.areas > 0 || d.n < 9 || d.n > 14 || d.groups > 1 && d.digits[first] == '0' && d.digits[first+1] == '0' || !varied(d.all(), 4) {
		return i
	}
	pairs := true
	for _, n := range d.lengths[:d.groups] {
		pairs = pairs && n == 2
	}
	// In one piece it may be any number with zeros before, or one of an article.
	if d.groups == 1 && (!usualLength(d.all(), code) || d.n == 12 && articleNumber(append([]byte("00"), d.all()...))) || pairs && d.groups > 3 || f.dumped(i, d.end) {
		return i
	}
	return f.hit(&phones, i, d.end, 0.7)
}

// usualLengths are how many digits follow some calling codes, as the countries'
// numbering plans have it.
const usualLengths = " 1:10 7:10 27:9 31:9 33:9 34:9 41:9 44:10 45:8 46:9 47:8 48:9 49:10 49:11 61:9 64:9 81:10 86:11 90:10 91:10 351:9 353:9 358:9 420:9 971:9 972:9 "

func usualLength(d []byte, code int) bool {
	rest := len(d) - code
	length := string(rune('0'+rest%10)) + " "
	if rest >= 10 {
		length = "1" + length
	}
	return strings.Contains(usualLengths, " "+string(d[:code])+":"+length)
}

// articleNumber checks a GTIN: GS1 General Specifications, section 7.9.
func articleNumber(d []byte) bool {
	sum := 0
	for i, c := range d[:len(d)-1] {
		sum += int(c-'0') * (1 + 2*((len(d)-i)%2^1))
	}
	return (10-sum%10)%10 == last(d)
}

// bracketed looks for an area in brackets and a number behind: (415) 555-2671,
// (020) 7946 0958, (0044) 20 7946 0958, (11) 91234-5678, (495) 123-45-67.
func (f *finder) bracketed(i int) int {
	text := f.text
	area := i + 1
	k := endOfDigits(text, area)
	if n := k - area; n < 2 || n > 5 || k+1 >= len(text) || text[k] != ')' || i > 0 && asciiLetter(text[i-1]) {
		return i
	}
	rest := k + 1
	if !isDigit(text[rest]) {
		if rest++; rest == len(text) || !isDigit(text[rest]) || strings.IndexByte(" -./", text[rest-1]) < 0 {
			return i
		}
	}
	d := f.dial(rest)
	groups := string(d.lengths[:d.groups])
	dashed := d.sep == '-'
	ok := false
	switch n := k - area; {
	case d.n == 0 || d.areas > 0:
	case text[area] == '0' && text[area+1] == '0':
		ok = n > 2 && d.n >= 7 && n+d.n >= 12 && n+d.n <= 15 && callingCode(text[area+2:k+1]) > 0
	case text[area] == '0':
		ok = d.n >= 5 && n+d.n >= 8 && n+d.n <= 12 && d.groups <= 4 && varied(d.all(), 3)
	case n == 3 && text[area] >= '2' && (groups == "\x03\x04" || groups == "\x07"):
		ok = true
	case n == 3 && groups == "\x03\x02\x02", n == 2 && (groups == "\x04\x04" || groups == "\x05\x04"):
		ok = dashed
	}
	if !ok {
		return i
	}
	return f.hit(&phones, i, d.end, 0.8)
}

// looksLocal takes a number without an area: 555-2671.
func looksLocal(f *finder, i, end, digits int) (int, float64) {
	text := f.text
	if digits != 3 || end-i != 3 || end == len(text) || text[end] != '-' && text[end] != '.' || text[i] < '2' {
		return end, 0
	}
	last := endOfDigits(text, end+1)
	return last, 0.7 * certain(last == end+5 && !f.partOfMore(i, last) && (last == len(text) || byteKind[text[last]] != runByte))
}
