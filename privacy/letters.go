package privacy

import (
	"bytes"
	"slices"
	"strings"
)

// letterIdentities are identity and tax numbers with letters.
var letterIdentities = []*detector{
	{
		kind: "uk_nino", patterns: []string{"LL_99_99_99_L"}, alone: 0.6, told: 0.95,
		valid: func(c []byte) float64 {
			pair := string(c[:2])
			ok := !strings.ContainsAny(pair, "DFIQUV") && c[1] != 'O' && c[8] <= 'D' && !slices.Contains([]string{"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}, pair)
			return certain(ok)
		},
		words: beside("nino", "national insurance", "ni number", "ni no"),
		hits:  []string{"AB123456C", "AB 12 34 56 C", "ni number ab123456c"}, misses: []string{"AB123456E", "GB123456A", "DA123456A", "AB1234567C", "x-AB123456C"},
	},
	{
		kind: "es_nif", patterns: []string{"99999999L", "99999999-L", "99.999.999-L", "99.999.999L", "L9999999X", "L-9999999X", "L-99999999", "L-99.999.999"}, alone: 0.55, told: 0.95, valid: validNIF,
		words: beside("nif", "dni", "cif", "documento nacional"),
		hits:  []string{"12345678Z", "12345678-Z", "DNI 12.345.678-Z", "CIF A58818501", "NIF: Q2818002D", "CIF A-58.818.501"}, misses: []string{"12345678A", "912345678Z", "1.38435736E+12", "94912754 B", "A58818501", "CIF A58818502", "NIF I58818501"},
	},
	{
		kind: "es_nie", patterns: []string{"L_9999999_L"}, alone: 0.65, told: 0.95,
		valid: func(c []byte) float64 {
			first := strings.IndexByte("XYZ", c[0])
			return certain(first >= 0 && "TRWAGMYFPDXBNJZSQVHLCKE"[(first*10_000_000+value(c[1:8]))%23] == c[8])
		},
		words: beside("nie", "numero de identidad de extranjero"),
		hits:  []string{"X1234567L", "X-1234567-L", "NIE Y1234567X"}, misses: []string{"X1234567A", "A1234567L"},
	},
	{
		kind: "it_codice_fiscale", patterns: []string{"LLLLLLXXLXXLXXXL"}, alone: 0.95, told: 0.99, valid: validCodiceFiscale,
		words: beside("codice fiscale", "cod fisc", "codicefiscale", "cf"),
		hits:  []string{"RSSMRA85T10A562S", "codice fiscale: rssmra85t10a562s"}, misses: []string{"RSSMRA85T10A562T", "RSSMRA85Z10A562S"},
	},
	{
		kind: "in_pan", patterns: []string{"LLLLL9999L"}, alone: 0.6, told: 0.95,
		valid: func(c []byte) float64 { return certain(strings.IndexByte("ABCFGHJLPT", c[3]) >= 0) },
		words: beside("pan", "pan card", "pan number", "permanent account"),
		hits:  []string{"ACUPA7085R", "PAN: acupa7085r"}, misses: []string{"ABMDA3211G", "ACUPA70855", "fefab9026b"},
	},
	{
		kind: "in_gstin", patterns: []string{"99LLLLL9999LXLX"}, alone: 0.9, told: 0.98,
		valid: func(c []byte) float64 {
			sum := 0
			for i, x := range c[:14] {
				n := strings.IndexByte(base36, x) * (1 + i%2)
				sum += n/36 + n%36
			}
			return certain(base36[(36-sum%36)%36] == c[14])
		},
		words: []string{"gstin", "gst number", "gst"},
		hits:  []string{"27AAPFU0939F1ZV"}, misses: []string{"27AAPFU0939F1ZO"},
	},
	{
		kind: "fi_hetu", patterns: []string{"999999-999X", "999999+999X", "999999L999X"}, alone: 0.85, told: 0.97,
		valid: func(c []byte) float64 {
			if strings.IndexByte("ABCDEFUVWXY", c[6]) >= 0 {
				c = append(c[:6:6], c[7:]...)
			}
			if len(c) != 10 {
				return 0
			}
			n := value(c[:9])
			return certain(bornDay(c) && "0123456789ABCDEFHJKLMNPRSTUVWXY"[n%31] == c[9])
		},
		words: beside("hetu", "henkilotunnus", "personbeteckning"),
		hits:  []string{"131052-308T", "131052A308T"}, misses: []string{"131052-308U", "311352-308T"},
	},
	{
		kind: "sg_nric", patterns: []string{"L9999999L"}, alone: 0.6, told: 0.95, valid: validNRIC,
		words: beside("nric", "fin", "uin", "singapore id"),
		hits:  []string{"S1234567D", "NRIC S1234567D", "F1234567N"}, misses: []string{"S1234567A", "A1234567D"},
	},
	{
		kind: "mx_curp", patterns: []string{"LLLL999999LLLLLLX9"}, alone: 0.95, told: 0.99,
		valid: func(c []byte) float64 {
			const order = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			sum := 0
			for i, x := range c[:17] {
				n := strings.IndexByte(order, x)
				if x > 'N' { // the alphabet has an Ñ behind N
					n++
				}
				sum += n * (18 - i)
			}
			return certain(born(c[4:]) && (c[10] == 'H' || c[10] == 'M' || c[10] == 'X') && (10-sum%10)%10 == last(c))
		},
		words: beside("curp"),
		hits:  []string{"BOXW310820HNERXN09"}, misses: []string{"BOXW310820HNERXN08", "BOXW311320HNERXN09"},
	},
	{
		kind: "mx_rfc", patterns: []string{"LLLL_999999_XXX", "LLL_999999_XXX"}, alone: 0.55, told: 0.95,
		valid: func(c []byte) float64 {
			day := c[len(c)-9:]
			ok := born(day) && (isDigit(c[len(c)-1]) || c[len(c)-1] == 'A')
			if !ok || len(c) == 13 {
				return certain(ok)
			}
			return 0.8 // firms: one letter fewer proves less
		},
		words: beside("rfc", "registro federal"),
		hits:  []string{"GODE561231GR8", "RFC: GODE-561231-GR8", "RFC ABC680524P76"}, misses: []string{"GODE561331GR8", "ABC680524P76", "want 100123 456"},
	},
	{
		kind: "ie_pps", patterns: []string{"9999999L", "9999999LL"}, alone: 0.4, told: 0.95,
		valid: func(c []byte) float64 {
			sum := weighted(c, 8, 7, 6, 5, 4, 3, 2)
			if len(c) == 9 && c[8] != 'W' {
				sum += 9 * int(c[8]-'A'+1)
			}
			return certain("WABCDEFGHIJKLMNOPQRSTUV"[sum%23] == c[7])
		},
		words: beside("pps", "ppsn", "pps number", "pps no"),
		hits:  []string{"PPS 1234567T", "PPSN: 6433435F", "pps 6433435OA"}, misses: []string{"1234567T", "PPS 6433435E"},
	},
	{
		kind: "cl_rut", patterns: []string{"99999999-X", "99.999.999-X", "9999999-X", "9.999.999-X"}, alone: 0.55, told: 0.95,
		valid: func(c []byte) float64 {
			sum, n := 0, len(c)-1
			for i := range n {
				sum += int(c[n-1-i]-'0') * (2 + i%6)
			}
			return certain(!same(c[:n]) && "0K987654321"[sum%11] == c[n]) * pick(n == 8 && plausible(value(c[:4]), value(c[4:6]), value(c[6:8])), 0.9, 1)
		},
		words: []string{"rut", "run", "rol unico"},
		hits:  []string{"12.345.678-5", "RUT 12345678-5", "12531909-2"}, misses: []string{"12.345.678-4", "12531909-3", "(6.10~20070907-1)"},
	},
	{
		kind: "tw_id", patterns: []string{"L999999999"}, alone: 0.5, told: 0.95,
		valid: func(c []byte) float64 {
			n := 10 + strings.IndexByte("ABCDEFGHJKLMNPQRSTUVXYWZIO", c[0])
			return certain((c[1] == '1' || c[1] == '2' || c[1] == '8' || c[1] == '9') && (n/10+n%10*9+weighted(c[1:], 8, 7, 6, 5, 4, 3, 2, 1, 1))%10 == 0)
		},
		words: beside("taiwan id", "roc id"),
		hits:  []string{"A123456789", "Taiwan ID A123456789"}, misses: []string{"A123456788", "A323456789", "c152449012"},
	},
	{
		kind: "hk_id", patterns: []string{"L999999(X)", "LL999999(X)"}, alone: 0.8, told: 0.95,
		valid: func(c []byte) float64 {
			sum := 0
			if len(c) == 8 {
				sum, c = 0, append([]byte{0}, c...)
				sum = 36 * 9
			} else {
				sum = int(c[0]-'A'+10) * 9
			}
			sum += int(c[1]-'A'+10) * 8
			sum += weighted(c[2:], 7, 6, 5, 4, 3, 2)
			check := c[8]
			switch {
			case check == 'A':
				return certain(sum%11 == 1)
			case isDigit(check):
				return certain((sum+int(check-'0'))%11 == 0)
			}
			return 0
		},
		words: beside("hkid", "hong kong id"),
		hits:  []string{"A123456(3)", "HKID: C668668(9)"}, misses: []string{"A123456(4)"},
	},
	{ // on statutory forms without brackets
		kind: "hk_id", patterns: []string{"L9999999", "LL9999999"}, alone: 0.1, told: 0.9,
		valid: func(c []byte) float64 {
			sum := 36 * 9
			if len(c) == 9 {
				sum, c = int(c[0]-'A'+10)*9, c[1:]
			}
			return certain((sum+int(c[0]-'A'+10)*8+weighted(c[1:], 7, 6, 5, 4, 3, 2, 1))%11 == 0)
		},
		words: []string{"hkid", "hong kong id"},
		hits:  []string{"HKID A1234563", "HKID no. C6686689"}, misses: []string{"A1234563", "HKID A1234564"},
	},
	{ // CMS, "Understanding the Medicare Beneficiary Identifier (MBI) Format"
		kind: "medical_record", patterns: []string{"9LX9_LX9_LL99"}, alone: 0.65, told: 0.95,
		valid: func(c []byte) float64 { return certain(c[0] != '0' && !bytes.ContainsAny(c, "SLOIBZ")) },
		words: []string{"mbi", "medicare", "beneficiary", "beneficiary number"},
		hits:  []string{"1EG4-TE5-MK73", "Medicare Number: 1EG4TE5MK73", `{"mbi":"1EG4-TE5-MK73"}`}, misses: []string{"1SG4-TE5-MK73", "0EG4-TE5-MK73", "x-1EG4-TE5-MK73"},
	},
	{ // letters from July 2026 on: Instrução Normativa RFB 2.229/2024
		kind: "br_cnpj", patterns: []string{"XX.XXX.XXX/XXXX-99", "XXXXXXXXXXXX99"}, alone: 0.9, told: 0.95,
		valid: func(c []byte) float64 {
			if endOfDigits(c, 0) == len(c) { // the other detector's
				return 0
			}
			for k := range 2 {
				sum := 0
				for i := range 12 + k {
					sum += int(c[i]-'0') * (2 + (11+k-i)%8)
				}
				if check := sum % 11; int(c[12+k]-'0') != pick(check < 2, 0, 11-check) {
					return 0
				}
			}
			return 1
		},
		words: []string{"cnpj", "pessoa juridica"},
		hits:  []string{"12.ABC.345/01DE-35", "CNPJ 12ABC34501DE35"}, misses: []string{"12.ABC.345/01DE-36", "ConsumeFixed64", "call1073741824"},
	},
	{
		kind: "us_dea_number", patterns: []string{"LL9999999"}, alone: 0.3, told: 0.95,
		valid: func(c []byte) float64 {
			d := c[2:]
			ok := strings.IndexByte("ABCDEFGHJKLMPRSTUX", c[0]) >= 0 && (weighted(d, 1, 0, 1, 0, 1)+2*weighted(d, 0, 1, 0, 1, 0, 1))%10 == last(d)
			return certain(ok)
		},
		words: []string{"dea", "dea number", "dea no", "prescriber", "drug enforcement"},
		hits:  []string{"DEA AB1234563", "dea number: BB1388568"}, misses: []string{"AB1234563", "DEA AB1234564"},
	},
	{
		kind: "uk_driving_licence", patterns: []string{"LXXXX999999LXXLL", "LXXXX_999999_LXXLL", "LXXXX999999LX9LL"}, alone: 0.75, told: 0.97,
		valid: func(c []byte) float64 {
			m := value(c[6:8])
			return certain(m%50 >= 1 && m%50 <= 12 && value(c[8:10]) >= 1 && value(c[8:10]) <= 31)
		},
		words: []string{"driving licence", "driver licence", "driver number", "driving license"},
		hits:  []string{"MORGA753116SM9IJ", "driving licence MORGA 753116 SM9IJ"}, misses: []string{"MORGA793116SM9IJ"},
	},
	{
		kind: "vin", patterns: []string{"XXXXXXXXXXXXXXXXX"}, alone: 0.3, told: 0.9, valid: validVIN,
		words: []string{"vin", "vehicle identification", "chassis", "vin number"},
		hits:  []string{"VIN 1M8GDM9AXKP042788"}, misses: []string{"1M8GDM9AXKP042788", "VIN 1M8GDM9AXKP042789"},
	},
	{
		kind: "eu_vat_number", patterns: []string{"LL999999999", "LL99999999999", "LL9999999999", "LL99999999", "LL999999999999", "LLL99999999", "LL999999999L99", "LL9999999L", "LL9999999LL", "LL_999_999_999", "LL_9999_999_999", "LL_99_999_999_999"}, alone: 0.55, told: 0.95, valid: validVAT,
		words: []string{"vat", "vat number", "vat id", "vat no", "vat reg", "ust id", "ustid", "ust idnr", "ust id nr", "uid", "partita iva", "p iva", "tva", "btw", "moms", "alv"},
		hits: []string{
			"VAT DE136695976", "DE136695976", "IT00743110157", "GB980780684", "PL8567346215", "ATU13585627", "NL004495445B01", "VAT IE6433435F", "SE556012579001", "VAT DK13585628", "VAT FI20774740", "VAT LU15027442",
			"VAT HU12892312", "VAT CZ25123891", "VAT SI50223054", "SK2022749619", "HR33392005961", "EE100931558", "VAT MT11679112", "TVA BE 0403.019.261", "BTW BE0403.019.261", "DE 136 695 976", "TVA FR 83 404 833 048",
		},
		misses: []string{"DE136695975", "IT00743110158", "XX136695976", "DK13585628", "VAT DK13585627", "ATU13585626", "NL004495446B01", "SE556012579000", "SK2022749618"},
	},
}

const base36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// validNIF checks the letter of a person, and the digit or letter of a firm, which
// proves little without a word: Real Decreto 1065/2007, Orden EHA/451/2008.
func validNIF(c []byte) float64 {
	if isDigit(c[0]) {
		return certain("TRWAGMYFPDXBNJZSQVHLCKE"[value(c[:8])%23] == c[8])
	}
	sum := weighted(c[2:], 1, 0, 1, 0, 1)
	for i := 1; i < 8; i += 2 {
		n := 2 * int(c[i]-'0')
		sum += n/10 + n%10
	}
	check := (10 - sum%10) % 10
	return 0.85 * certain(strings.IndexByte("ABCDEFGHJNPQRSUVW", c[0]) >= 0 && (c[8] == byte('0'+check) || c[8] == "JABCDEFGHI"[check]))
}

// validCodiceFiscale checks the control character (Decreto ministeriale 23
// dicembre 1976), the month and the day; digits may be replaced by letters.
func validCodiceFiscale(c []byte) float64 {
	const odd = "BAKPLCQDREVOSFTGUHMINJWZYX" // the letter whose place is the value
	sum := 0
	for i, x := range c[:15] {
		n := int(x - '0')
		if !isDigit(x) {
			n = int(x - 'A')
		}
		if i%2 == 0 {
			n = strings.IndexByte(odd, byte('A'+n))
		}
		sum += n
	}
	if byte('A'+sum%26) != c[15] || strings.IndexByte("ABCDEHLMPRST", c[8]) < 0 {
		return 0
	}
	for _, i := range []int{6, 7, 9, 10, 12, 13, 14} {
		if !isDigit(c[i]) && strings.IndexByte("LMNPQRSTUV", c[i]) < 0 {
			return 0
		}
	}
	return 1
}

// validNRIC checks the letter of Singapore's identity card.
func validNRIC(c []byte) float64 {
	sum := weighted(c[1:], 2, 7, 6, 5, 4, 3, 2)
	switch c[0] {
	case 'S':
		return certain("JZIHGFEDCBA"[sum%11] == c[8])
	case 'T':
		return certain("JZIHGFEDCBA"[(sum+4)%11] == c[8])
	case 'F':
		return certain("XWUTRQPNMLK"[sum%11] == c[8])
	case 'G':
		return certain("XWUTRQPNMLK"[(sum+4)%11] == c[8])
	case 'M':
		return certain("KLJNPQRTUWX"[10-(sum+3)%11] == c[8])
	}
	return 0
}

// validVIN checks the ninth character: 49 CFR 565.15.
func validVIN(c []byte) float64 {
	const values = "12345678012345070923456789" // of A to Z; I, O and Q do not occur
	weights := [17]int{8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2}
	sum, letters := 0, 0
	for i, x := range c {
		switch {
		case x == 'I', x == 'O', x == 'Q':
			return 0
		case isDigit(x):
			sum += weights[i] * int(x-'0')
		default:
			letters++
			sum += weights[i] * int(values[x-'A']-'0')
		}
	}
	return certain(letters > 1 && letters < 17 && "0123456789X"[sum%11] == c[8])
}

// validVAT checks VAT numbers of countries whose check digit is published. Eight
// digits and one that checks them prove too little without a word.
func validVAT(c []byte) float64 {
	const little = 0.8
	d := c[2:]
	switch string(c[:2]) + base36[len(d):len(d)+1] {
	case "AT9":
		if c[2] != 'U' {
			return 0
		}
		d = d[1:]
		sum := weighted(d, 1, 0, 1, 0, 1, 0, 1) + 4
		for _, k := range []int{1, 3, 5} {
			n := 2 * int(d[k]-'0')
			sum += n/10 + n%10
		}
		return certain((10-sum%10)%10 == last(d))
	case "BEA":
		return certain(97-value(d[:8])%97 == value(d[8:]))
	case "CZ8":
		check := (11 - weighted(d, 8, 7, 6, 5, 4, 3, 2)%11) % 10
		return little * certain(d[0] != '9' && check == last(d))
	case "DE9":
		return certain(d[0] != '0' && mod11mod10(d))
	case "DK8":
		return little * certain(weighted(d, 2, 7, 6, 5, 4, 3, 2, 1)%11 == 0)
	case "EE9":
		return certain((10-weighted(d, 3, 7, 1, 3, 7, 1, 3, 7)%10)%10 == last(d))
	case "EL9":
		return certain(weighted(d, 256, 128, 64, 32, 16, 8, 4, 2)%11%10 == last(d))
	case "FI8":
		return little * certain((11-weighted(d, 7, 9, 10, 5, 8, 4, 2)%11)%11 == last(d))
	case "FRB":
		return certain((12+3*(value(d[2:])%97))%97 == value(d[:2]))
	case "GB9":
		sum := weighted(d, 8, 7, 6, 5, 4, 3, 2) + value(d[7:])
		return certain(sum%97 == 0 || (sum+55)%97 == 0)
	case "HRB":
		return certain(mod11mod10(d))
	case "HU8":
		return little * certain((10-weighted(d, 9, 7, 3, 1, 9, 7, 3)%10)%10 == last(d))
	case "IE8", "IE9":
		if endOfDigits(d, 0) != 7 {
			return 0
		}
		sum := weighted(d, 8, 7, 6, 5, 4, 3, 2)
		if len(d) == 9 {
			sum += 9 * int(d[8]-'A'+1)
		}
		return little * certain("WABCDEFGHIJKLMNOPQRSTUV"[sum%23] == d[7])
	case "ITB":
		return certain(luhn(d))
	case "LU8":
		return little * certain(value(d[:6])%89 == value(d[6:]))
	case "MT8":
		return little * certain(37-weighted(d, 3, 4, 6, 7, 8, 9)%37 == value(d[6:]))
	case "NLC":
		return certain(d[9] == 'B' && (weighted(d, 9, 8, 7, 6, 5, 4, 3, 2)%11 == int(d[8]-'0') || dutchPerson(d)))
	case "PLA":
		return certain(weighted(d, 6, 5, 7, 2, 3, 4, 5, 6, 7)%11 == last(d))
	case "PT9":
		return certain((11-weighted(d, 9, 8, 7, 6, 5, 4, 3, 2)%11)%11%10 == last(d))
	case "SEC":
		return certain(luhn(d[:10]) && string(d[10:]) != "00" && string(d[10:]) < "95")
	case "SI8":
		check := 11 - weighted(d, 8, 7, 6, 5, 4, 3, 2)%11
		return little * certain(check != 11 && check%10 == last(d))
	case "SKA":
		return certain(remainder(d, 11) == 0)
	}
	return 0
}

// dutchPerson checks the number of somebody in business alone: MOD 97-10 over NL,
// the digits, B and two more.
func dutchPerson(d []byte) bool {
	sum := 0
	for _, c := range append([]byte("NL"), d...) {
		v := strings.IndexByte(base36, c)
		sum = (sum*pick(v > 9, 100, 10) + v) % 97
	}
	return sum == 1
}
