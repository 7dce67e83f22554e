package privacy

import "bytes"

// Values without a form of their own, which count only beside a telling word:
// dates of birth, passports, licences, records, accounts, card codes.
var (
	births = detector{
		kind:   "date_of_birth",
		words:  []string{"dob", "date of birth", "dateofbirth", "birth date", "birthdate", "birthday", "born", "birth day", "geburtsdatum", "geboren", "fecha de nacimiento", "date de naissance", "data di nascita", "d o b"},
		hits:   []string{"DOB: 02/14/1980", "date of birth 1980-02-14", "born 14.2.1980", `{"birthDate":"1980-02-14"}`, "born on 14 February 1980", "date of birth: February 14, 1980", "DOB 19800214", `{"dob":"02/14/80"}`},
		misses: []string{"1980-02-14", "DOB: 99/99/1980", "updated 02/14/1980", "born to run 5"},
		looks:  looksBirth,
	}
	passports = detector{
		kind:  "passport_number",
		words: []string{"passport", "passport number", "passport no", "reisepass", "passeport", "pasaporte", "passaporto", "travel document"},
		hits:  []string{"passport no. C01X00T47", "Passport: 512345678", `{"passportNumber":"X1234567"}`}, misses: []string{"C01X00T47", "passport 2026", "passport office 12"},
		looks: looksPlain(7, 10, 5),
	}
	licences = detector{
		kind:  "driver_licence",
		words: []string{"driver license", "driver licence", "drivers license", "drivers licence", "driver s license", "driver s licence", "driving license", "driving licence", "dl number", "dl no", "license number", "licence number", "fuhrerschein", "permis de conduire", "dln"},
		hits:  []string{"Driver's license D1234567", "DL number: 123456789", `{"driver_license":"S530-4600-0000"}`}, misses: []string{"D1234567", "driver 1234567"},
		looks: looksPlain(7, 16, 5),
	}
	records = detector{
		kind:  "medical_record",
		words: []string{"mrn", "medical record", "patient id", "patient number", "patientid", "chart number", "health record", "health insurance number", "member id", "medicare beneficiary", "mbi", "insurance id", "policy number"},
		hits:  []string{"MRN 00123456", "medical record number: 4458812", `{"patient_id":"P-448812"}`}, misses: []string{"00123456", "mrn none", "patient 12"},
		looks: looksPlain(6, 12, 5),
	}
	accounts = detector{
		kind:  "bank_account",
		words: []string{"account number", "account no", "acct", "acct no", "bank account", "accountnumber", "kontonummer", "konto nr", "iban account", "sort code", "checking account", "savings account"},
		hits:  []string{"account number 12345678", "Acct: 0001234567", `{"accountNumber":"12345678901"}`}, misses: []string{"12345678", "account 7", "account number unknown"},
		looks: looksPlain(6, 17, 6),
	}
	codes = detector{
		kind:  "card_security_code",
		words: []string{"cvv", "cvc", "cvn", "security code", "card verification", "verification code"},
		hits:  []string{"CVV 123", "CVV2: 123", "cvc: 1234", `{"cvv":"999"}`}, misses: []string{"123", "CVV 12", "cvv 12345"},
		looks: func(f *finder, i, end, digits int) (int, float64) {
			n := end - i
			return end, 0.85 * certain(n == digits && (n == 3 || n == 4) && !f.partOfMore(i, end))
		},
	}
)

// looksPlain takes letters and digits in a row, perhaps joined by dashes, with
// at least some digits.
func looksPlain(shortest, longest, fewest int) func(*finder, int, int, int) (int, float64) {
	return func(f *finder, i, end, digits int) (int, float64) {
		n := end - i
		for end+1 < len(f.text) && f.text[end] == '-' && byteKind[f.text[end+1]] == runByte && n <= longest {
			for end++; end < len(f.text) && byteKind[f.text[end]] == runByte; end++ {
				if n++; isDigit(f.text[end]) {
					digits++
				}
			}
		}
		if n < shortest || n > longest || digits < fewest || n-digits > 4 {
			return end, 0
		}
		return end, 0.8
	}
}

// looksBirth takes a date in any usual order, in digits or with a month's name.
func looksBirth(f *finder, i, end, digits int) (int, float64) {
	if end-i != digits {
		return end, 0
	}
	if digits == 8 {
		d := f.text[i:end]
		ok := plausible(value(d[:4]), value(d[4:6]), value(d[6:])) || plausible(value(d[4:]), value(d[2:4]), value(d[:2])) || plausible(value(d[4:]), value(d[:2]), value(d[2:4]))
		return end, 0.85 * certain(ok)
	}
	if last, ok := f.afterMonth(i, end); ok {
		return last, 0.85
	}
	var parts [3]int
	j := i
	for k := range parts {
		if k > 0 {
			start := j
			for j < len(f.text) && j-start < 3 && bytes.IndexByte([]byte(" -./,"), f.text[j]) >= 0 {
				j++
			}
			if j == start {
				return end, 0
			}
		}
		if k == 1 && j < len(f.text) && asciiLetter(f.text[j]) {
			last := endOfWord(f.text, j)
			if parts[k] = month(f.text[j:last]); parts[k] == 0 {
				return end, 0
			}
			j = last
			continue
		}
		start := j
		if j = endOfDigits(f.text, j); j == start || j-start > 4 {
			return end, 0
		}
		parts[k] = value(f.text[start:j])
	}
	a, b, c := parts[0], parts[1], parts[2]
	ok := plausible(a, b, c) || plausible(c, b, a) || plausible(c, a, b)
	return j, 0.85 * certain(ok)
}

// afterMonth reports whether text[i:end] is the day of a date whose month, by its
// name, stands before it and whose year behind, and where the year ends.
func (f *finder) afterMonth(i, end int) (last int, ok bool) {
	text, word := f.text, i
	for word > 0 && i-word < 2 && (text[word-1] == ' ' || text[word-1] == '.') {
		word--
	}
	start := word
	for start > 0 && word-start < len("september") && asciiLetter(text[start-1]) {
		start--
	}
	m := month(text[start:word])
	year := end
	for year < len(text) && year-end < 2 && (text[year] == ',' || text[year] == ' ') {
		year++
	}
	last = endOfDigits(text, year)
	if m == 0 || end-i > 2 || year == end || last-year != 4 {
		return end, false
	}
	return last, plausible(value(text[year:last]), m, value(text[i:end]))
}

// plausible reports whether somebody alive, or not long dead, was born then.
func plausible(year, month, day int) bool {
	return (year >= 1880 && year <= 2100 || year >= 0 && year < 100) && date(year, month, day)
}

// month reads the English name of a month, or its first three letters.
func month(word []byte) int {
	if len(word) < 3 {
		return 0
	}
	const names = "janfebmaraprmayjunjulaugsepoctnovdec"
	i := bytes.Index([]byte(names), bytes.ToLower(word[:3]))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return i/3 + 1
}

// others are the detectors that are neither cards nor identity numbers. Of two
// that claim the same bytes the first counts.
var others = []*detector{
	&privateKeys, &jwts, &apiKeys, &urlCredentials, &wallets, &ibans, &bics, &births, &passports, &licences, &records, &accounts, &codes,
	&passwords, &secrets, &phones, &macs, &ips,
}
