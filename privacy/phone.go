package privacy

// phones finds telephone numbers: international ones by ITU-T E.164, those of
// North America by their form, and others beside a telling word.
var phones = detector{
	kind: "phone", min: 9, max: 13,
	valid: func(d []byte) float64 {
		switch {
		case same(d):
			return 0
		case len(d) == 10 && d[0] < '2': // no area code of North America
			return 0.7
		case len(d) == 11 && (d[0] != '1' || d[1] < '2'): // nor behind its country code
			return 0.8
		}
		return 1
	},
	forms: []form{
		{shape: groups, lengths: "334", seps: "-.", single: true, alone: 0.6, told: 0.9},
		{shape: groups, lengths: "1334", seps: "-.", single: true, alone: 0.6, told: 0.9},
		{shape: run, told: 0.8},
		{shape: chain, seps: anySep, told: 0.8},
	},
	words: []string{"phone", "phones", "telephone", "tel", "mobile", "cell", "cellphone", "call", "fax", "whatsapp", "sms", "telefon", "telefono", "handy", "phone number", "msisdn", "mobil", "contact number"},
	hits: []string{
		"+1 415 555 2671", "+49 1512 3456789", "+442071838750", "(415) 555-2671", "415-555-2671", "1-800-555-0199", "phone 4155552671", "tel: 030 1234567 8", "call 0171 123 45 67", "+33 1 42 68 53 00", "mobile: 07700 900123",
	},
	misses: []string{"4155552671", "order 415-555-26710", "+1", "+0 123 456 789", "123-456-7890", "2026-11-23", "1+2345678901", "415-555-2671-9", "3-800-555-0199"},
}

// phoneAt looks for a number that begins with a plus or a bracket at i.
func (f *finder) phoneAt(i int) int {
	if f.text[i] == '(' {
		return f.bracketed(i)
	}
	text := f.text
	if i+1 == len(text) || text[i+1] < '1' || !isDigit(text[i+1]) || i > 0 && (isLetter(text[i-1]) || isDigit(text[i-1])) {
		return i
	}
	digits, end, groups := 0, i+1, 1
	for j := i + 1; j < len(text) && digits <= 15; j++ {
		c := text[j]
		if isDigit(c) {
			digits, end = digits+1, j+1
			continue
		}
		next := j + 1
		if (c == '(' || c == ')') && next < len(text) && (text[next] == ' ' || isDigit(text[next])) || (c == ' ' || c == '-' || c == '.' || c == '/') && next < len(text) && (isDigit(text[next]) || text[next] == '(') {
			groups++
			continue
		}
		break
	}
	if digits < 8 || digits > 15 || groups > 7 || end < len(text) && isLetter(text[end]) || same(text[i+1:i+2]) && !varied(text[i+1:end], 3) {
		return i
	}
	return f.hit(&phones, i, end, 0.8)
}

// bracketed looks for (415) 555-2671.
func (f *finder) bracketed(i int) int {
	const form = "(999) 999-9999"
	text := f.text
	j := i
	for k := range len(form) {
		switch {
		case form[k] == ' ' && (j == len(text) || text[j] != ' '):
			continue
		case j == len(text), form[k] == '9' && !isDigit(text[j]), form[k] == '-' && text[j] != '-' && text[j] != '.' && text[j] != ' ', form[k] != '9' && form[k] != '-' && text[j] != form[k]:
			return i
		}
		j++
	}
	if text[i+1] < '2' || j < len(text) && isDigit(text[j]) {
		return i
	}
	return f.hit(&phones, i, j, 0.8)
}
