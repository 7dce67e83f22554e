package privacy

import (
	"bytes"
	"strings"
)

// Values without a form of their own, which count only beside a telling word:
// dates of birth, passports, licences, records, accounts, card codes.
var (
	births = detector{
		kind: "date_of_birth",
		words: []string{
			"dob", "date of birth", "dateofbirth", "birth", "birth date", "birthdate", "birthday", "born", "birth day", "d o b", "geburtsdatum", "geburtstag", "geboren", "geb",
			"fecha de nacimiento", "fecha de nac", "nacimiento", "nacido", "nacida", "date de naissance", "naissance", "ne le", "nee le", "data di nascita", "nato", "nata", "data de nascimento", "nascimento", "geboortedatum",
			"bday", "nascita", "nascido", "nascida", "dt nasc", "fec nac", "urodzenia", "urodzony", "urodzona", "dogum tarihi", "fodelsedatum", "fodd", "fodselsdato", "foedselsdato", "fodt", "syntymaaika",
			"datum narozeni", "datum narodenia", "datum rodenja", "szuletesi datum", "data nasterii", "fodselsdag", "fodelsedag", "syntynyt", "narozen", "narozena", "tanggal lahir", "tarikh lahir", "ngay sinh",
		},
		hits: []string{
			"DOB: 02/14/1980", "date of birth 1980-02-14", "born 14.2.1980", `{"birthDate":"1980-02-14"}`, "born on 14 February 1980", "date of birth: February 14, 1980", "DOB 19800214", `{"dob":"02/14/80"}`,
			"born on the 3rd of March 1980", "DOB: 3rd March 1980", "born March 3rd, 1980", "DOB: 03MAR1980", "geboren am 3. März 1980", "née le 3 mars 1980", "fecha de nacimiento: 3 de marzo de 1980", "nato il 03/03/1980",
			`{"date_of_birth":19800303}`, `{"birth":{"date":"1980-03-03"}}`, "DOB: 1980-Mar-03",
			"BDAY:1980-03-03", "data urodzenia: 3.03.1980", `{"dogumTarihi":"1980-03-03"}`, "Doğum tarihi 03.03.1980", "født 3.3.1980", "syntymäaika 3.3.1980", "datum narození: 3.3.1980", `{"data_nascita":"1980-03-03"}`, "生年月日：1980年2月14日", "생년월일: 1980년 2월 14일", "tanggal lahir 14-02-1980",
		},
		misses: []string{"1980-02-14", "DOB: 99/99/1980", "updated 02/14/1980", "born to run 5", "born on the 4th of July", "DOB: 32nd of March 1980", "geb. 12 Mio", "03MAR1980", "born 1st of all 2019"},
		looks:  looksBirth,
	}
	passports = detector{
		kind: "passport_number",
		words: []string{"passport", "passport number", "passport no", "passport id", "reisepass", "reisepassnummer", "reisepassnr", "passnummer", "passeport", "pasaporte", "passaporto", "passaporte", "paspoort", "paszport", "travel document",
			"paszportu", "paspoortnummer", "pasaport", "passin numero", "pass nr"},
		hits: []string{
			"passport no. C01X00T47", "Passport: 512345678", `{"passportNumber":"X1234567"}`, "паспорт 4509 123456", "passport 45 09 123456", "Reisepassnummer: HG4JG5GP5", "numer paszportu EM9958273",
			"P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10", "L898902C36UTO7408122F1204159ZE184226B<<<<<10", // ICAO Doc 9303, parts 4 to 6
			"I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<", "I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<\nD231458907UTO7408122F1204159<<<<<<<6",
			`{"mrz":"P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10"}`,
		},
		misses: []string{
			"C01X00T47", "CFXVPJK10", "passport PKGTNRTXX", "passport hg4jg5gp5", "passport 2026", "passport 2026 12345", "passport office 12", "L898902C36UTO7408122F1204159ZE184226B<<<<<11", "L898902C36UTO7408121F1204159ZE184226B<<<<<10", "7408122F1204158UTO<<<<<<<<<<<6", "7408122F1204159UTO<<<<<<<<<<<",
		},
		looks: func(f *finder, i, end, digits int) (int, float64) {
			if last, ok := f.seriesAndNumber(i, end); ok {
				return last, 0.8
			}
			if f.germanSerial(i, end, digits) {
				return end, 0.8
			}
			return looksPlain(7, 10, 5, 4)(f, i, end, digits)
		},
	}
	licences = detector{
		kind: "driver_licence",
		words: []string{"driver license", "driver licence", "drivers license", "drivers licence", "driver s license", "driver s licence", "driving license", "driving licence", "dl number", "dl no", "license number", "licence number", "license no", "licence no", "dln",
			"fuhrerschein", "fuhrerscheinnummer", "fuhrerscheinnr", "permis de conduire", "patente di guida", "patente", "numero patente", "cnh", "prawo jazdy", "korkort", "forerkort", "korekort", "ajokortti", "vodacsky preukaz", "carnet de conducir", "permiso de conducir", "licencia de conducir", "carta de conducao", "rijbewijs", "rijbewijsnummer", "ehliyet"},
		hits: []string{"Driver's license D1234567", "DL number: 123456789", `{"driver_license":"S530-4600-0000"}`, "Führerscheinnummer: B072RRE2I55", "patente U1234567A", "CNH 62472927637"}, misses: []string{"D1234567", "driver 1234567"},
		looks: looksPlain(7, 16, 5, 6),
	}
	// shortLicences are those behind two letters that mean other things too: they
	// count only directly before the number.
	shortLicences = detector{
		kind:  "driver_licence",
		words: []string{"dl", "d l", "license", "licence", "lic"},
		hits:  []string{"DL# D1234567", "DL: D1234567", "D.L. No: D1234567", "CA DL A1234567", `{"dl":"D1234567"}`, "license #: D12345678", "DL#123456789"}, misses: []string{"DL 2000", "DL speed 1234567", "license MIT 2.0", "license 12345678", "DL 1234567", "CDL 12345678x", "license key A1234567"},
		looks: looksShortLicence,
	}
	records = detector{
		kind:  "medical_record",
		words: []string{"mrn", "medical record", "patient id", "patient number", "patientid", "chart number", "health record", "health insurance number", "member id", "medicare beneficiary", "mbi", "insurance id", "health card", "ohip", "phn", "kvnr", "krankenversichertennummer", "krankenversicherungsnummer", "versichertennummer", "policy number", "hicn", "patient no", "chart no", "hospital number"},
		hits:  []string{"MRN 00123456", "medical record number: 4458812", `{"patient_id":"P-448812"}`}, misses: []string{"00123456", "mrn none", "patient 12"},
		looks: looksPlain(6, 12, 5, 4),
	}
	accounts = detector{
		kind: "bank_account",
		words: []string{"account number", "account no", "acct", "acct no", "bank account", "accountnumber", "a c no", "acc no", "acct number", "acct num", "account num", "bsb", "kontonummer", "konto nr", "numero de cuenta", "numero de compte", "iban account", "sort code", "checking account", "savings account", "beneficiary account", "payee account", "n de compte", "no de compte", "nr konta", "numer konta", "n de cuenta", "conta corrente", "numero da conta", "kontonr", "rekeningnummer",
			"numero compte", "numero cuenta", "cuenta bancaria", "numero di conto", "numero conto", "hesap no", "hesap numarasi", "tilinumero"},
		hits: []string{"account number 12345678", "beneficiary account 0123456789", "hesap no: 96664123", `{"numeroCuenta":"174955515"}`, "Acct: 0001234567", `{"accountNumber":"12345678901"}`}, misses: []string{"12345678", "account 7", "account number unknown", "acct 2021-06-01"},
		looks: looksPlain(6, 17, 6, 4),
	}
	codes = detector{
		kind: "card_security_code",
		words: []string{"cvv", "cvc", "cvn", "security code", "card verification", "verification code",
			"prufziffer", "prufnummer", "kartenprufnummer", "cryptogramme", "codigo de seguridad", "codigo de seguranca", "codice di sicurezza", "guvenlik kodu"},
		hits: []string{"CVV 123", "CVV2: 123", "cvc: 1234", `{"cvv":"999"}`, "Prüfziffer 426", "código de seguridad: 733", "güvenlik kodu 227", "cryptogramme 558", "セキュリティコード：761"}, misses: []string{"123", "CVV 12", "cvv 12345"},
		looks: func(f *finder, i, end, digits int) (int, float64) {
			n := end - i
			return end, 0.85 * certain(n == digits && (n == 3 || n == 4) && !f.partOfMore(i, end))
		},
	}
)

// looksPlain takes letters and digits in a row, perhaps joined by dashes, with
// at least some digits and not too many letters.
func looksPlain(shortest, longest, fewest, most int) func(*finder, int, int, int) (int, float64) {
	return func(f *finder, i, end, digits int) (int, float64) {
		n := end - i
		for end+1 < len(f.text) && f.text[end] == '-' && byteKind[f.text[end+1]] == runByte && n <= longest {
			for end++; end < len(f.text) && byteKind[f.text[end]] == runByte; end++ {
				if n++; isDigit(f.text[end]) {
					digits++
				}
			}
		}
		if n < shortest || n > longest || digits < fewest || n-digits > most || f.isoDate(i) {
			return end, 0
		}
		return end, 0.8
	}
}

// isoDate reports whether a date of ISO 8601 begins at text[i]: 2026-11-23.
func (f *finder) isoDate(i int) bool {
	const layout = "2026-11-23"
	d := f.text[i:min(i+len(layout), len(f.text))]
	if len(d) < len(layout) || endOfDigits(d, 0) != 4 || d[4] != '-' || endOfDigits(d, 5) != 7 || d[7] != '-' || endOfDigits(d, 8) != len(layout) {
		return false
	}
	return plausible(value(d[:4]), value(d[5:7]), value(d[8:]))
}

// seriesAndNumber reports whether text[i:end] begins four digits, together or in two
// pairs, and six more, as passports of Russia are numbered, and where those end.
func (f *finder) seriesAndNumber(i, end int) (last int, ok bool) {
	const pairs, together = "99 99 999999", "9999 999999"
	for _, p := range [...]string{pairs, together} {
		if _, last := f.match(p, i); last > 0 && end < last {
			return last, true
		}
	}
	return end, false
}

// germanSerial reports whether text[i:end] is numbered as passports and identity
// cards of Germany are: neither vowels nor letters that look like digits, with or
// without the check digit. Most have too many letters for looksPlain.
func (f *finder) germanSerial(i, end, digits int) bool {
	n := end - i
	if n != 9 && (n != 10 || !isDigit(f.text[end-1])) || digits < 3 || !upper(f.text[i]) || f.partOfMore(i, end) {
		return false
	}
	for _, c := range f.text[i:end] {
		if !isDigit(c) && strings.IndexByte("CFGHJKLMNPRTVWXYZ", c) < 0 {
			return false
		}
	}
	return true
}

// looksShortLicence takes a letter and digits behind DL or the like, or digits
// behind DL#.
func looksShortLicence(f *finder, i, end, digits int) (int, float64) {
	before, mark := i, false
	for before > 0 && i-before < 6 && (f.text[before-1] == ' ' || f.text[before-1] == '#' || f.text[before-1] == ':' || f.text[before-1] == '.') {
		before--
		mark = mark || f.text[before] == '#' || f.text[before] == ':'
	}
	word := bytes.ToLower(f.text[max(before-12, 0):before])
	if rest, no := bytes.CutSuffix(word, []byte("no")); no {
		word, mark = bytes.TrimRight(rest, " ."), true
	}
	short := bytes.HasSuffix(word, []byte("dl")) || bytes.HasSuffix(word, []byte("d.l"))
	if name := f.around.names()[1]; i == 0 && hasPrefixFold(name, "dl") { // a member
		short, mark = true, true
	}
	if !short && (!mark || !bytes.HasSuffix(word, []byte("licence")) && !bytes.HasSuffix(word, []byte("license")) && !bytes.HasSuffix(word, []byte("lic"))) {
		return end, 0
	}
	if n := end - i; n != digits+1 && !(mark && short && n == digits) || !asciiLetter(f.text[i]) && n != digits || n < 7 || n > 13 || f.partOfMore(i, end) {
		return end, 0
	}
	return end, 0.75
}

// looksBirth takes a date in any usual order, in digits or with a month's name.
func looksBirth(f *finder, i, end, digits int) (int, float64) {
	d := f.text[i:end]
	switch {
	case digits == 8 && len(d) == 8:
		ok := plausible(value(d[:4]), value(d[4:6]), value(d[6:])) || plausible(value(d[4:]), value(d[2:4]), value(d[:2])) || plausible(value(d[4:]), value(d[:2]), value(d[2:4]))
		return end, 0.85 * certain(ok)
	case len(d)-digits == 3 && (digits == 6 || digits == 5): // 03MAR1980
		day := endOfDigits(d, 0)
		return end, 0.85 * certain(day < 3 && endOfDigits(d, day+3) == len(d) && plausible(value(d[day+3:]), month(d[day:day+3]), value(d[:day])))
	}
	day := i + digits
	if digits != len(d) && !(digits < 3 && endOfDigits(f.text, i) == day && ordinal(f.text[day:end])) {
		return end, 0
	}
	if last, ok := f.afterMonth(i, day, end); ok {
		return last, 0.85
	}
	parts, last := f.dateAt(i, end)
	a, b, c := parts[0], parts[1], parts[2]
	ok := plausible(a, b, c) || plausible(c, b, a) || plausible(c, a, b)
	return last, 0.85 * certain(last > end && ok)
}

// ordinal reports whether letters make a number of a day: 3rd.
func ordinal(b []byte) bool {
	return len(b) == 2 && (hasPrefixFold(b, "st") || hasPrefixFold(b, "nd") || hasPrefixFold(b, "rd") || hasPrefixFold(b, "th"))
}

// dateAt reads the three parts of a date whose first one is in text[i:first]; the
// second may be the name of a month. It returns where the date ends, or first.
func (f *finder) dateAt(i, first int) (parts [3]int, last int) {
	parts[0] = value(f.text[i:endOfDigits(f.text, i)])
	j := first
	for k := 1; k < len(parts); k++ {
		start := j
		for j < len(f.text) && j-start < 3 && bytes.IndexByte([]byte(" -./,"), f.text[j]) >= 0 {
			j++
		}
		if j == start {
			return parts, first
		}
		for _, of := range [...]string{"of ", "de ", "del ", "di "} {
			if hasPrefixFold(f.text[j:], of) {
				j += len(of)
			}
		}
		if k == 1 && j < len(f.text) && asciiLetter(f.text[j]) {
			word := endOfWord(f.text, j)
			parts[k] = month(f.text[j:word])
			j = word
			continue
		}
		start = j
		if j = endOfDigits(f.text, j); j == start || j-start > 4 {
			return parts, first
		}
		parts[k] = value(f.text[start:j])
	}
	return parts, j
}

// afterMonth reports whether text[i:day] is the day of a date whose month, by its
// name, stands before it and whose year behind end, and where the year ends.
func (f *finder) afterMonth(i, day, end int) (last int, ok bool) {
	text, word := f.text, i
	for word > 0 && i-word < 2 && (text[word-1] == ' ' || text[word-1] == '.') {
		word--
	}
	start := word
	for start > 0 && word-start < len("septiembre") && asciiLetter(text[start-1]) {
		start--
	}
	m := month(text[start:word])
	year := end
	for year < len(text) && year-end < 2 && (text[year] == ',' || text[year] == ' ') {
		year++
	}
	last = endOfDigits(text, year)
	if m == 0 || day-i > 2 || year == end || last-year != 4 {
		return end, false
	}
	return last, plausible(value(text[year:last]), m, value(text[i:day]))
}

// plausible reports whether somebody alive, or not long dead, was born then.
func plausible(year, month, day int) bool {
	return (year >= 1880 && year <= 2100 || year >= 0 && year < 100) && date(year, month, day)
}

// monthNames are the first three letters of the months in English, German, French,
// Spanish, Italian, Portuguese and Dutch, each with the month.
const monthNames = "jan01ene01gen01feb02fev02mar03maa03mrt03apr04abr04avr04may05mai05mag05mei05jun06giu06jul07lug07aug08ago08aou08sep09set09oct10okt10ott10out10nov11dec12dez12dic12"

// month reads the name of a month, or its first three letters.
func month(word []byte) int {
	if len(word) < 3 {
		return 0
	}
	head := bytes.ToLower(word[:3])
	if string(head) == "jui" && len(word) > 3 { // juin, juillet
		return pick(word[3]|0x20 == 'n', 6, 7)
	}
	for names := monthNames; names != ""; names = names[5:] {
		if names[:3] == string(head) {
			return value([]byte(names[3:5]))
		}
	}
	return 0
}

// others are the detectors that are neither cards nor identity numbers. Of two
// that claim the same bytes the first counts.
var others = []*detector{
	&privateKeys, &jwts, &apiKeys, &urlCredentials, &wallets, &ibans, &bics, &births, &passports, &licences, &shortLicences, &records, &accounts, &nationals, &codes,
	&passwords, &secrets, &phones, &macs, &ips,
}
