package privacy

import "bytes"

// nationals are numbers of identity or tax whose check nobody publishes, or that have
// none: they count beside a word that tells of nothing else.
var nationals = detector{
	kind: "national_id",
	words: []string{
		"national id", "nationalid", "national identity", "national identification", "citizen id", "government id", "identity card", "id card number",
		"personalausweis", "personalausweisnummer", "personalausweisnr", "ausweisnummer", "ausweisnr", "ausweis nr", "steuernummer", "steuernr", "steuer nr",
		"numero fiscal", "numero spi", "carte d identite", "carte nationale", "cni", "siren", "siret", "carta d identita", "carta identita", "partita iva", "partitaiva", "p iva",
		"seguridad social", "nss", "nuss", "regon", "dowod osobisty", "numer dowodu", "nr dowodu", "dowodu osobistego", "personas kods", "taj", "taj szam", "adoazonosito", "szemelyi szam",
		"vergi no", "vergi numarasi", "vergi kimlik", "vkn", "rg", "registro geral", "pis", "pis pasep", "pasep", "titulo de eleitor", "dni", "cedula", "rif", "cartao de cidadao", "cartao cidadao",
		"cnic", "nicop", "cccd", "cmnd", "can cuoc", "sss", "sss number", "philhealth", "umid", "philsys", "emirates id", "iqama", "nin", "nid", "voter id", "voter card", "epic", "epic no", "huduma",
		"uen", "brn", "business registration", "acn", "kennitala", "kt", "cif", "ird",
		"organisationsnummer", "organisasjonsnummer", "orgnr", "org nr", "cvr", "cvr nr", "cvr nummer", "y tunnus", "ondernemingsnummer", "kvk", "kvk nummer", "piva", "npwp", "ogrn", "idnp", "ruc", "dui", "civil id", "uscc", "unified social credit", "social credit code", "numero d entreprise",
		"matricule nationale", "numero de matricule", "davcna stevilka", "danove identifikacni cislo", "identifikacni cislo", "kod meli", "code melli", "melli code", "national code", "nic no", "nic number",
	},
	hits: []string{
		"CNIC 35202-1234567-1", "Personalausweisnummer L01X00T471", "Ausweisnummer: KY2T0Z4JR", "Personalausweisnummer Y3F683HFC7", "USCC 91350100M000100Y43", "统一社会信用代码：91350100M000100Y43", `{"national_id":"29001011234567"}`, "numéro fiscal 30 23 217 600 053", "carta d'identità AA1234567", "RG 24.678.131-4",
		"Steuernummer 93815/08152", "cédula de ciudadanía 1.020.304.050", "voter id ABC1234567", "REGON 123456785", "PIS 120.56874.10-7", "사업자등록번호 124-81-00998", "dowód osobisty ABA300000", "RIF J-30468971-3", "kennitala 120174-3399", "IRD 49-091-850", "organisationsnummer 556012-5790", "Y-tunnus 2077474-0", "NPWP: 09.254.294.3-407.000", "ОГРН 1027700132195", "کد ملی 0013542419", "RUC 80005013-1",
	},
	misses: []string{
		"35202-1234567-1", "RG-59 cable", "national id issued 2026-11-23", "identity card of 1938", "cédula real de 1713", "SSS tier 12345", "DNI 12 de mayo", "national id 550e8400-e29b-41d4-a716-446655440000", "the nin of 1994 and 1995", "epic 2026 battles", "kt. 12 m/s", "nid=1 at 0x00007f337f048000", "cni 2004-01-12 08", "regon, 2011-2018", "the national code of 2026", "cvr of 12.5%",
	},
	looks: looksNational,
}

// looksNational takes letters and digits in one row, or in groups of digits.
func looksNational(f *finder, i, end, digits int) (int, float64) {
	text, n, joints := f.text, end-i, 0
	if hasPrefixFold(text[i:end], "0x") || f.isoDate(i) || f.years(i, end) {
		return end, 0
	}
	if f.germanSerial(i, end, digits) {
		return end, 0.75
	}
	for end+1 < len(text) && n <= 18 && (text[end] == '-' || text[end] == '.' || text[end] == '/' || text[end] == ' ') {
		next := end + 1
		for next < len(text) && byteKind[text[next]] == runByte {
			next++
		}
		group := text[end+1 : next]
		if len(group) == 0 || endOfDigits(text, end+1) != next && (len(group) > 1 || text[end] == ' ') {
			break
		}
		n, digits, joints, end = n+len(group), digits+endOfDigits(group, 0), joints+1, next
	}
	most := pick(n == 18, 6, 4)                                                                                    // a code of a firm in China
	lettered := i >= 2 && text[i-1] == '-' && asciiLetter(text[i-2]) && (i == 2 || byteKind[text[i-3]] != runByte) // J-30468971-3
	if digits < 6 || n > 18 || n-digits > most || !lettered && f.partOfMore(i, end) || joints == 2 && f.day(i, end) {
		return end, 0
	}
	return end, 0.75
}

// years reports whether two years with a dash between begin at text[i]: 2011-2018.
func (f *finder) years(i, end int) bool {
	of := func(i int) bool { return endOfDigits(f.text, i) == i+4 && (f.hasAt(i, "19") || f.hasAt(i, "20")) }
	return end == i+4 && of(i) && f.hasAt(end, "-") && of(end+1)
}

// day reports whether three groups of digits are a date.
func (f *finder) day(i, end int) bool {
	parts, last := f.dateAt(i, endOfDigits(f.text, i))
	return last == end && (plausible(parts[0], parts[1], parts[2]) || plausible(parts[2], parts[1], parts[0]) || plausible(parts[2], parts[0], parts[1]))
}

// moreIdentities are further numbers of identity with a published check.
var moreIdentities = []*detector{
	{
		kind: "ae_emirates_id", min: 15, max: 15,
		valid: func(d []byte) float64 {
			y := value(d[3:7])
			return certain(bytes.HasPrefix(d, []byte("784")) && y >= 1900 && y < 2100 && luhn(d))
		},
		forms: written(0.6, 0.9, "3471"),
		words: beside("emirates id", "eid", "uae id", "emirates identity"),
		hits:  []string{"784-1990-1234567-6", "Emirates ID 784199012345676"}, misses: []string{"784-1990-1234567-7", "785-1990-1234567-5", "784-1790-1234567-0"},
	},
	{ // Deutsche Rentenversicherung, Versicherungsnummern-, Kontoführungs- und -verlaufsverordnung, § 4
		kind: "de_pension_number", patterns: []string{"99999999L999", "99_999999_L_999"}, alone: 0.7, told: 0.95,
		valid: func(c []byte) float64 {
			letter := int(c[8] - 'A' + 1)
			d := [12]byte{8: byte('0' + letter/10), 9: byte('0' + letter%10)}
			copy(d[:8], c[:8])
			copy(d[10:], c[9:11])
			sum := 0
			for i, w := range [12]int{2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1} {
				n := w * int(d[i]-'0')
				sum += n/10 + n%10
			}
			day := value(c[2:4])
			return certain(sum%10 == last(c) && value(c[:2]) > 1 && day%50 <= 31 && value(c[4:6]) >= 1 && value(c[4:6]) <= 12)
		},
		words: beside("rentenversicherungsnummer", "sozialversicherungsnummer", "sv nummer", "sv nr", "rvnr", "versicherungsnummer"),
		hits:  []string{"15 070649 C 103", "Rentenversicherungsnummer 15070649C103"}, misses: []string{"15 070649 C 104", "15 071349 C 103", "x-15070649C103"},
	},
	{ // eCH-0097
		kind: "ch_uid", patterns: []string{"CHE-999.999.999", "CHE_999999999"}, alone: 0.9, told: 0.95,
		valid: func(c []byte) float64 {
			check := 11 - weighted(c, 5, 4, 3, 2, 7, 6, 5, 4)%11
			return certain(check != 10 && check%11 == last(c))
		},
		words: []string{"uid", "mwst", "tva", "iva", "che"},
		hits:  []string{"CHE-116.281.710", "UID CHE116281710"}, misses: []string{"CHE-116.281.711"},
	},
}
