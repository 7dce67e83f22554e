package privacy

import "strings"

// ibans finds international bank account numbers: ISO 13616, with the lengths
// of the registry that SWIFT keeps for it.
var ibans = detector{
	kind: "iban",
	hits: []string{
		"DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "gb29 nwbk 6016 1331 9268 19", "FR1420041010050500013M02606",
		"NO9386011117947", "MT84MALT011000012345MTLCAST001S", "NL91-ABNA-0417-1643-00", "IBAN:DE89370400440532013000.",
	},
	misses: []string{"allow be16 and be32 types in", "DE89370400440532013001", "DE8937040044053201300", "XX89370400440532013000", "DE893704004405320130001"},
}

// ibanLengths is the registry: country codes in pairs with the whole length.
const ibanLengths = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18" +
	"GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23" +
	"PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30" +
	"DZ26AO25BJ28BF28CM27CV25CF27TD27KM27CG27CI28GQ27GA27GW25IR26ML28MA28MZ25NE28SN28TG28MG27"

// countryLengths[a][b] is the length of the IBANs of country ab, or 0.
var countryLengths = func() (t [26][26]uint8) {
	for s := ibanLengths; s != ""; s = s[4:] {
		t[s[0]-'A'][s[1]-'A'] = (s[2]-'0')*10 + s[3] - '0'
	}
	return t
}()

// iban returns where the IBAN that begins at i ends, or 0.
func (f *finder) iban(i int) int {
	text := f.text
	want := int(countryLengths[text[i]&^0x20-'A'][text[i+1]&^0x20-'A'])
	if want == 0 || i > 0 && byteKind[text[i-1]] == runByte {
		return 0
	}
	// The number is read with its first four characters at the end.
	sum, n, first := 0, 0, 0
	odd, lower := false, false // groups of other lengths than four, letters of words
	add := func(v int) {
		if v >= 10 {
			sum = (sum*100 + v) % 97
		} else {
			sum = (sum*10 + v) % 97
		}
	}
	for j := i; j < len(text); j++ {
		c := text[j]
		switch {
		case isDigit(c), asciiLetter(c):
		case (c == ' ' || c == '-') && j+1 < len(text) && byteKind[text[j+1]] == runByte && n > 0:
			odd = odd || n%4 != 0
			continue
		default:
			return 0
		}
		lower = lower || c >= 'a' && c <= 'z'
		if n++; n > 4 {
			add(strings.IndexByte(base36, upperCase(c)))
		} else if n == 4 {
			first = j
		}
		if n == want {
			if j+1 < len(text) && byteKind[text[j+1]] == runByte {
				return 0
			}
			for k := i; k <= first; k++ {
				if byteKind[text[k]] == runByte {
					add(strings.IndexByte(base36, upperCase(text[k])))
				}
			}
			if sum == 1 && !(odd && lower) {
				return j + 1
			}
			return 0
		}
	}
	return 0
}

func upperCase(c byte) byte {
	if asciiLetter(c) {
		return c &^ 0x20
	}
	return c
}

// bics finds business identifier codes, ISO 9362, beside a telling word.
var bics = detector{
	kind: "swift_bic", labelled: true,
	words: []string{"bic", "swift", "swift code", "bic code", "swiftcode", "swift bic"},
	hits:  []string{"BIC: DEUTDEFF", "SWIFT code DEUTDEFF500", `{"bic":"NEDSZAJJXXX"}`}, misses: []string{"DEUTDEFF", "BIC: ABSTRACT", "SWIFT: DEUTXXFF"},
}

func (f *finder) bic(i, end int) bool {
	for k, c := range f.text[i:end] {
		if !upper(c) && (k < 6 || !isDigit(c)) {
			return false
		}
	}
	if a, b := f.text[i+4], f.text[i+5]; countryLengths[a-'A'][b-'A'] == 0 && !strings.Contains(otherCountries, string(f.text[i+4:i+6])+" ") {
		return false
	}
	t := telling{f: f, start: i}
	return t.yes(&bics, end)
}

// otherCountries are those with banks but no IBANs.
const otherCountries = "US CA AU NZ JP CN HK SG IN KR TW TH MY ID PH VN ZA NG KE MX AR CL CO PE UY BD LK NP MM PG FJ BS BM KY PA TT JM BB EC PY BO "
