package privacy

import "slices"

// Kinds of numbers that states give to persons and firms. Where no confidence
// without a word is above 0.5, the number counts only beside a telling word.
//
// The rules are those that the issuers publish; most have one check digit,
// which one random number in ten passes.

// written returns the forms of a number: in one piece, in the given groups, or
// in any groups beside a telling word. alone is the confidence without a word
// in one piece, grouped in groups.
func written(alone, grouped float64, groupings ...string) []form {
	forms := []form{{shape: run, alone: alone, told: 0.95}}
	for _, g := range groupings {
		forms = append(forms, form{shape: groups, lengths: g, seps: anySep, single: true, alone: grouped, told: 0.97})
	}
	return append(forms, form{shape: chain, seps: anySep, told: 0.75})
}

// weak is the confidence in a number with one check digit and nothing beside it.
const weak = 0.3

// anyID are words that tell of an identity or tax number of any country.
var anyID = []string{
	"tax id", "taxid", "tax number", "tax no", "tax identification", "taxpayer", "tin", "national id", "nationalid", "national identity",
	"national identification", "identity number", "id number", "id card", "identity card", "personal id", "personal number", "personal code",
	"personal identification", "citizen id", "government id",
}

func beside(words ...string) []string { return slices.Concat(words, anyID) }

// identities are made of digits.
var identities = []*detector{
	{
		kind: "us_itin", min: 9, max: 9,
		valid: func(d []byte) float64 {
			g := value(d[3:5])
			return certain(d[0] == '9' && (g >= 50 && g <= 65 || g >= 70 && g <= 88 || g >= 90 && g <= 92 || g >= 94 && g <= 99))
		},
		forms: written(weak, 0.6, "324"),
		words: beside("itin", "individual taxpayer"),
		hits:  []string{"itin 912701234", "912-70-1234", `{"itin":"912-78-1234"}`}, misses: []string{"912701234", "912-67-1234", "itin 812-70-1234"},
	},
	{
		kind: "us_ein", min: 9, max: 9,
		valid: func(d []byte) float64 {
			p := value(d[:2])
			return certain(p != 0 && !slices.Contains([]int{7, 8, 9, 17, 18, 19, 28, 29, 49, 69, 70, 78, 79, 89, 96, 97}, p))
		},
		forms: written(0, weak, "27"),
		words: []string{"ein", "fein", "employer identification", "employer id", "federal tax id"},
		hits:  []string{"EIN 12-3456789", "employer identification number: 123456789", "ein 123456789", "my ein is 123456789"}, misses: []string{"ein Beispiel mit 313149856", "12-3456789", "EIN 07-3456789"},
	},
	{
		kind: "us_routing_number", min: 9, max: 9,
		valid: func(d []byte) float64 {
			p := value(d[:2])
			issued := p >= 1 && p <= 12 || p >= 21 && p <= 32 || p >= 61 && p <= 72 || p == 80
			return certain(issued && weighted(d, 3, 7, 1, 3, 7, 1, 3, 7, 1)%10 == 0)
		},
		forms: written(0.2, 0.2, "441"),
		words: []string{"aba", "routing", "routing number", "routing no", "rtn", "aba number", "transit number", "ach", "wire"},
		hits:  []string{"routing number 021000021", "ABA: 0110-0001-5"}, misses: []string{"021000021", "routing 021000022", "routing 991000025"},
	},
	{
		kind: "us_npi", min: 10, max: 10,
		valid: func(d []byte) float64 {
			return certain((d[0] == '1' || d[0] == '2') && luhn(append([]byte("80840"), d...)))
		},
		forms: written(weak, 0),
		words: []string{"npi", "national provider", "provider identifier"},
		hits:  []string{"NPI 1234567893", "national provider identifier: 1245319599"}, misses: []string{"1234567893", "NPI 1234567890"},
	},
	{
		kind: "uk_nhs_number", min: 10, max: 10,
		valid: func(d []byte) float64 {
			check := (11 - weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11) % 11
			return certain(!same(d) && check == last(d))
		},
		forms: written(weak, 0.4, "334"),
		words: beside("nhs", "nhs number", "nhs no", "nhsnumber"),
		hits:  []string{"NHS 9434765919", "nhs number: 943 476 5919"}, misses: []string{"9434765919", "943 476 5919", "NHS 9434765918"},
	},
	{
		kind: "uk_utr", min: 10, max: 10,
		valid: func(d []byte) float64 {
			return certain("21987654321"[weighted(d[1:], 6, 7, 8, 9, 10, 5, 4, 3, 2)%11] == d[0])
		},
		forms: written(weak, 0, "55"),
		words: []string{"utr", "unique taxpayer reference", "self assessment"},
		hits:  []string{"UTR 1955839661", "unique taxpayer reference 19558 39661"}, misses: []string{"1955839661", "UTR 2955839661"},
	},
	{
		kind: "ca_sin", min: 9, max: 9,
		valid: func(d []byte) float64 { return certain(d[0] != '0' && d[0] != '8' && !same(d) && luhn(d)) },
		forms: written(0.2, weak, "333"),
		words: beside("sin", "sin number", "social insurance", "numero d assurance sociale", "nas", "assurance sociale"),
		hits:  []string{"SIN 130692544", "social insurance number: 130-692-544", "nas 130 692 544"}, misses: []string{"130692544", "SIN 130692545", "SIN 046454286"},
	},
	{
		kind: "de_tax_id", min: 11, max: 11, valid: validGermanTaxID,
		forms: written(0.4, 0.6, "2333"),
		words: beside("steuer id", "steuerid", "steueridentifikationsnummer", "steuerliche identifikationsnummer", "identifikationsnummer", "idnr", "id nr", "steueridentifikationsnr", "steuernummer", "tin", "steuer identifikationsnummer", "steuer idnr"),
		hits:  []string{"Steuer-ID 86095742719", "IdNr 86095742719", "Meine Steueridentifikationsnummer lautet 86095742719.", "IdNr. 86 095 742 719", "86 095 742 719"}, misses: []string{"86095742719", "Steuer-ID 86095742718", "Steuer-ID 12345678912"},
	},
	{
		kind: "fr_nir", min: 15, max: 15,
		patterns: []string{"9_99_99_2L_999_999_99"}, alone: 0.7, told: 0.95, // of Corsica
		valid: func(d []byte) float64 {
			if !isDigit(d[5]) { // the 2 before it is not among them: 2A and 2B are read as 19 and 18
				if d[5] > 'B' {
					return 0
				}
				d = slices.Concat(d[:5], []byte{'1', '8' + 'B' - d[5]}, d[6:])
			}
			m := value(d[3:5])
			ok := (d[0] == '1' || d[0] == '2') && (m >= 1 && m <= 12 || m >= 20 && m <= 42 || m >= 50)
			return certain(ok && 97-remainder(d[:13], 97) == value(d[13:]))
		},
		forms: written(0.7, 0.95, "1222332"),
		words: beside("nir", "insee", "securite sociale", "numero de securite sociale", "secu", "social security", "numero ss"),
		hits:  []string{"295109912611193", "2 95 10 99 126 111 93", "NIR: 295109912611193", "288072A12304585", "2 88 07 2A 123 045 85"}, misses: []string{"295109912611192", "895109912611193", "288072A12304586", "2 88 07 2C 123 045 85"},
	},
	{
		kind: "be_national_number", min: 11, max: 11,
		valid: func(d []byte) float64 {
			check := value(d[9:])
			ok := 97-remainder(d[:9], 97) == check || 97-(2_000_000_000+value(d[:9]))%97 == check
			return certain(ok && value(d[2:4]) <= 12 && value(d[4:6]) <= 31 && !same(d))
		},
		forms: written(0.45, 0.9, "22232", "632"),
		words: beside("rijksregister", "rijksregisternummer", "registre national", "numero national", "insz", "niss", "national number", "nationaal nummer"),
		hits:  []string{"85.07.30-033.28", "rijksregisternummer 85073003328", "national number 17 07 30 033 84"}, misses: []string{"85073003328", "85.07.30-033.29"},
	},
	{
		kind: "nl_bsn", min: 9, max: 9, pad: 2,
		valid: func(d []byte) float64 {
			return certain(!same(d) && (weighted(d, 9, 8, 7, 6, 5, 4, 3, 2)-last(d))%11 == 0)
		},
		forms: written(0.2, weak, "432", "333"),
		words: beside("bsn", "burgerservicenummer", "burger service nummer", "sofinummer", "sofi nummer", "citizen service number"),
		hits:  []string{"BSN 111222333", "burgerservicenummer: 1112.22.333", `{"bsn":"123456782"}`}, misses: []string{"111222333", "BSN 111222334"},
	},
	{
		kind: "pl_pesel", min: 11, max: 11,
		valid: func(d []byte) float64 {
			ok := date(value(d[:2]), value(d[2:4])%20, value(d[4:6])) && (10-weighted(d, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3)%10)%10 == last(d)
			return certain(ok)
		},
		forms: written(0.4, 0, "65"),
		words: beside("pesel", "numer pesel", "nr pesel"),
		hits:  []string{"PESEL 44051401359", "nr pesel: 02070803628"}, misses: []string{"44051401359", "PESEL 44051401358", "PESEL 44053201359"},
	},
	{
		kind: "pl_nip", min: 10, max: 10,
		valid: func(d []byte) float64 {
			return certain(!same(d) && weighted(d, 6, 5, 7, 2, 3, 4, 5, 6, 7)%11 == last(d))
		},
		forms: written(0.2, 0.4, "3322", "3223"),
		words: []string{"nip", "numer nip", "identyfikacji podatkowej", "vat id"},
		hits:  []string{"NIP 123-456-32-18", "nip 5260250274"}, misses: []string{"5260250274", "NIP 5260250275"},
	},
	{
		kind: "se_personnummer", min: 10, max: 12,
		valid: func(d []byte) float64 {
			if len(d) == 11 || len(d) == 12 && d[0] != '1' && d[0] != '2' {
				return 0
			}
			d = d[len(d)-10:]
			day := value(d[4:6])
			return certain(date(value(d[:2]), value(d[2:4]), day-60*(day/61)) && luhn(d))
		},
		forms: written(weak, 0.65, "64", "84"),
		words: beside("personnummer", "personnr", "samordningsnummer", "pnr"),
		hits:  []string{"811228-9874", "19811228-9874", "personnummer 8112289874", "811228+9874"}, misses: []string{"8112289874", "811228-9875", "811328-9874"},
	},
	{
		kind: "no_fodselsnummer", min: 11, max: 11,
		valid: func(d []byte) float64 {
			if a := (11 - weighted(d, 3, 7, 6, 1, 8, 9, 4, 5, 2)%11) % 11; a != int(d[9]-'0') {
				return 0
			}
			if b := (11 - weighted(d, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11) % 11; b != last(d) {
				return 0
			}
			day, month := value(d[:2]), value(d[2:4])
			if day > 40 || month > 40 { // D numbers, numbers of help and of tests are rarer than orders
				return 0.7 * certain(day <= 71 && date(0, month%40, day%40))
			}
			return certain(date(0, month, day))
		},
		forms: written(0.65, 0.8, "65"),
		words: beside("fodselsnummer", "personnummer", "fnr", "d nummer"),
		hits:  []string{"15108695088", "fnr 151086 95088"}, misses: []string{"85864084449", "70851685136", "15108695077", "fnr 15108695089"},
	},
	{
		kind: "dk_cpr", min: 10, max: 10,
		valid: func(d []byte) float64 { return certain(bornDay(d)) },
		forms: written(0, 0.45, "64"),
		words: beside("cpr", "cpr nummer", "cpr nr", "personnummer", "cprnummer"),
		hits:  []string{"CPR 211062-5629", "cpr-nummer: 2110625629"}, misses: []string{"211062-5629", "CPR 321062-5629"},
	},
	{
		kind: "ch_ahv", min: 13, max: 13,
		valid: func(d []byte) float64 {
			sum := weighted(d, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3)
			return certain(string(d[:3]) == "756" && (10-sum%10)%10 == last(d))
		},
		forms: written(0.75, 0.97, "3442"),
		words: beside("ahv", "avs", "navs", "ahv nummer", "sozialversicherungsnummer"),
		hits:  []string{"756.9217.0769.85", "7569217076985", "AHV 756 9217 0769 85"}, misses: []string{"756.9217.0769.84", "7569217076984"},
	},
	{
		kind: "at_svnr", min: 10, max: 10,
		valid: func(d []byte) float64 {
			check := (weighted(d, 3, 7, 9) + weighted(d[4:], 5, 8, 4, 2, 1, 6)) % 11
			m := value(d[6:8])
			return certain(d[0] != '0' && m >= 1 && m <= 15 && value(d[4:6]) <= 31 && check == int(d[3]-'0'))
		},
		forms: written(weak, 0.45, "46", "4222"),
		words: beside("svnr", "sv nr", "sv nummer", "sozialversicherungsnummer", "versicherungsnummer", "vsnr"),
		hits:  []string{"SVNR 1237 010180", "sozialversicherungsnummer 1237010180"}, misses: []string{"1237010180", "SVNR 2237010180"},
	},
	{
		kind: "pt_nif", min: 9, max: 9,
		valid: func(d []byte) float64 {
			check := (11 - weighted(d, 9, 8, 7, 6, 5, 4, 3, 2)%11) % 11 % 10
			return certain(d[0] != '0' && check == last(d))
		},
		forms: written(0.2, weak, "333"),
		words: beside("nif", "contribuinte", "numero de contribuinte", "nipc", "numero de identificacao fiscal"),
		hits:  []string{"NIF 501964843", "contribuinte 501 964 843"}, misses: []string{"501964843", "NIF 501964842"},
	},
	{
		kind: "gr_amka", min: 11, max: 11,
		valid: func(d []byte) float64 { return certain(bornDay(d) && luhn(d)) },
		forms: written(0.4, 0),
		words: beside("amka"),
		hits:  []string{"AMKA 01013099997"}, misses: []string{"01013099997", "AMKA 01013099998"},
	},
	{
		kind: "gr_afm", min: 9, max: 9,
		valid: func(d []byte) float64 {
			return certain(!same(d) && weighted(d, 256, 128, 64, 32, 16, 8, 4, 2)%11%10 == last(d))
		},
		forms: written(0.2, 0),
		words: beside("afm", "vat number"),
		hits:  []string{"AFM 023456780", "afm: 094259216"}, misses: []string{"094259216", "AFM 123456780"},
	},
	{
		kind: "ro_cnp", min: 13, max: 13,
		valid: func(d []byte) float64 {
			check := weighted(d, 2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9) % 11
			return certain(d[0] != '0' && born(d[1:]) && value(d[7:9]) >= 1 && value(d[7:9]) <= 52 && (check%10+check/10) == last(d))
		},
		forms: written(0.55, 0),
		words: beside("cnp", "cod numeric personal"),
		hits:  []string{"1630615123457", "CNP 1630615123457"}, misses: []string{"1630615123458", "CNP 1631315123457"},
	},
	{
		kind: "bg_egn", min: 10, max: 10,
		valid: func(d []byte) float64 {
			m := value(d[2:4])
			return certain(date(value(d[:2]), m-20*(m/20), value(d[4:6])) && weighted(d, 2, 4, 8, 5, 10, 9, 7, 3, 6)%11%10 == last(d))
		},
		forms: written(weak, 0),
		words: beside("egn"),
		hits:  []string{"EGN 7523169263"}, misses: []string{"7523169263", "EGN 7523169264"},
	},
	{
		kind: "cz_birth_number", min: 10, max: 10,
		valid: func(d []byte) float64 {
			m := value(d[2:4])
			m -= 50 * (m / 51)
			m -= 20 * (m / 21)
			return certain(date(value(d[:2]), m, value(d[4:6])) && remainder(d[:9], 11)%10 == last(d))
		},
		forms: written(weak, 0.6, "64"),
		words: beside("rodne cislo", "rc", "r c", "birth number", "rodne"),
		hits:  []string{"710319/2745", "rodne cislo 7103192745"}, misses: []string{"7103192745", "710319/2746", "711319/2745"},
	},
	{
		kind: "hr_oib", min: 11, max: 11,
		valid: func(d []byte) float64 { return certain(!same(d) && mod11mod10(d)) },
		forms: written(weak, 0),
		words: beside("oib", "osobni identifikacijski broj"),
		hits:  []string{"OIB 33392005961", "oib: 69435151530"}, misses: []string{"33392005961", "OIB 33392005962"},
	},
	{
		kind: "jmbg", min: 13, max: 13,
		valid: func(d []byte) float64 {
			check := 11 - weighted(d, 7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11
			return certain(date(0, value(d[2:4]), value(d[:2])) && (d[4] == '9' || d[4] == '0') && check != 10 && check%11 == last(d))
		},
		forms: written(0.55, 0),
		words: beside("jmbg", "emso", "embg", "maticni broj"),
		hits:  []string{"0101006500006", "JMBG 0101006500006"}, misses: []string{"0101006500007", "JMBG 3201006500006"},
	},
	{
		kind: "baltic_personal_code", min: 11, max: 11,
		valid: func(d []byte) float64 {
			check := weighted(d, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1) % 11
			if check == 10 {
				check = weighted(d, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3) % 11 % 10
			}
			return certain(d[0] >= '1' && d[0] <= '8' && born(d[1:]) && check == last(d))
		},
		forms: written(0.45, 0),
		words: beside("isikukood", "asmens kodas"),
		hits:  []string{"isikukood 36805280109", "asmens kodas 33309240064"}, misses: []string{"36805280109", "isikukood 36805280108"},
	},
	{
		kind: "tr_kimlik", min: 11, max: 11,
		valid: func(d []byte) float64 {
			odd, even := weighted(d, 1, 0, 1, 0, 1, 0, 1, 0, 1), weighted(d, 0, 1, 0, 1, 0, 1, 0, 1)
			ok := d[0] != '0' && ((odd*7-even)%10+10)%10 == int(d[9]-'0') && (odd+even+int(d[9]-'0'))%10 == last(d)
			return certain(ok)
		},
		forms: written(0.45, 0),
		words: beside("tckn", "kimlik", "tc kimlik", "kimlik no", "tc no", "t c kimlik"),
		hits:  []string{"TCKN 17291716060", "TC Kimlik No: 10000000146"}, misses: []string{"17291716060", "TCKN 17291716061", "TCKN 07291716060"},
	},
	{
		kind: "il_id", min: 9, max: 9, pad: 2,
		valid: func(d []byte) float64 { return certain(!same(d) && luhn(d)) },
		forms: written(0.2, 0, "81"),
		words: beside("teudat zehut", "mispar zehut", "israeli id", "zehut"),
		hits:  []string{"teudat zehut 039337423"}, misses: []string{"039337423", "zehut 039337422"},
	},
	{
		kind: "in_aadhaar", min: 12, max: 12,
		valid: func(d []byte) float64 { return certain(d[0] >= '2' && !palindrome(d) && verhoeff(d)) },
		forms: written(0.3, 0.45, "444"),
		words: beside("aadhaar", "aadhar", "adhaar", "uidai", "uid"),
		hits:  []string{"Aadhaar 2341 2341 2346", "aadhaar: 234123412346"}, misses: []string{"234123412346", "2341 2341 2346", "Aadhaar 234123412347"},
	},
	{
		kind: "cn_resident_id", min: 18, max: 18,
		valid:    func(d []byte) float64 { return certain(validChineseID(d)) },
		forms:    written(0.9, 0.9, "684"),
		patterns: []string{"99999999999999999X"}, alone: 0.9, told: 0.98, // the check character may be an X
		words: beside("resident identity", "shenfenzheng", "chinese id"),
		hits:  []string{"360426199101010071", "ID: 360426 19910101 0071", "11010519491231002X"}, misses: []string{"360426199101010072", "360426199113010071", "11010519491231003X"},
	},
	{
		kind: "kr_rrn", min: 13, max: 13,
		valid: func(d []byte) float64 {
			check := (11 - weighted(d, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)%11) % 10
			if born(d) && check != last(d) && d[6] >= '1' && d[6] <= '8' {
				return 0.6 // since October 2020 they end at random
			}
			return certain(born(d) && check == last(d))
		},
		forms: written(0.45, 0.7, "67"),
		words: beside("rrn", "resident registration", "jumin"),
		hits:  []string{"971013-9019902", "RRN 9710139019902", "주민등록번호 820701-2409185"}, misses: []string{"9710139019902", "820701-2409185", "971013-9019903", "971313-9019902"},
	},
	{
		kind: "jp_my_number", min: 12, max: 12,
		valid: func(d []byte) float64 {
			r := weighted(d, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2) % 11
			return certain(!same(d) && (r <= 1 && last(d) == 0 || r > 1 && 11-r == last(d)))
		},
		forms: written(weak, 0.4, "444"),
		words: beside("my number", "mynumber", "kojin bango", "individual number"),
		hits:  []string{"My Number 123456789018"}, misses: []string{"123456789018", "My Number 123456789019"},
	},
	{
		kind: "th_id", min: 13, max: 13,
		valid: func(d []byte) float64 {
			check := (11 - weighted(d, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11) % 10
			return certain(d[0] != '0' && d[0] != '9' && !same(d) && check == last(d))
		},
		forms: written(weak, 0.85, "14521"),
		words: beside("thai id", "thai national"),
		hits:  []string{"1-2345-45678-78-1", "Thai ID 7100600445638"}, misses: []string{"7100600445638", "Thai ID 7100600445639"},
	},
	{
		kind: "my_nric", min: 12, max: 12,
		valid: func(d []byte) float64 {
			p := value(d[6:8])
			place := p >= 1 && p <= 16 || p >= 21 && p <= 68 || p == 71 || p == 72 || p == 74 || p >= 75 && p <= 79 || p >= 82 && p <= 93 || p >= 98
			return certain(born(d) && place)
		},
		forms: written(0.2, 0.65, "624"),
		words: beside("mykad", "my kad", "nric", "kad pengenalan", "no kp", "ic number", "ic no"),
		hits:  []string{"770305-02-1234", "NRIC 770305021234", "MyKad 770305021234"}, misses: []string{"770305021234", "771305-02-1234"},
	},
	{
		kind: "id_nik", min: 16, max: 16,
		valid: func(d []byte) float64 {
			day := value(d[6:8])
			p := value(d[:2])
			return certain(p >= 11 && p <= 97 && date(value(d[10:12]), value(d[8:10]), day-40*(day/41)) && string(d[12:]) != "0000")
		},
		forms: written(0.2, 0.2),
		words: beside("nik", "ktp", "nomor induk kependudukan"),
		hits:  []string{"NIK 3171011708450001"}, misses: []string{"3171011708450001", "NIK 3171011713450001"},
	},
	{
		kind: "au_tfn", min: 9, max: 9,
		valid: func(d []byte) float64 { return certain(!same(d) && weighted(d, 1, 4, 3, 7, 5, 8, 6, 9, 10)%11 == 0) },
		forms: written(0.2, weak, "333"),
		words: beside("tfn", "tax file", "tax file number"),
		hits:  []string{"TFN 123 456 782", "tax file number: 123456782"}, misses: []string{"123456782", "TFN 123 456 783"},
	},
	{
		kind: "au_abn", min: 11, max: 11,
		valid: func(d []byte) float64 {
			return certain(d[0] != '0' && (weighted(d, 10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)-10)%89 == 0)
		},
		forms: written(0.45, 0.7, "2333"),
		words: []string{"abn", "australian business number", "business number"},
		hits:  []string{"51 824 753 556", "ABN 83914571673"}, misses: []string{"83914571673", "ABN 83914571674"},
	},
	{
		kind: "au_medicare", min: 10, max: 11,
		valid: func(d []byte) float64 {
			return certain(d[0] >= '2' && d[0] <= '6' && weighted(d, 1, 3, 7, 9, 1, 3, 7, 9)%10 == int(d[8]-'0') && d[9] != '0')
		},
		forms: written(0.2, 0.4, "451", "4511"),
		words: []string{"medicare", "medicare number", "medicare card", "medicare no"},
		hits:  []string{"Medicare 2123 45670 1", "medicare number 2123456701"}, misses: []string{"2123456701", "Medicare 2123 45671 1"},
	},
	{
		kind: "nz_ird", min: 9, max: 9, pad: 1,
		valid: validIRD,
		forms: written(0.2, weak, "333"),
		words: []string{"ird", "ird number", "inland revenue"},
		hits:  []string{"IRD 049-091-850", "ird number 136410132"}, misses: []string{"136410132", "IRD 136410133"},
	},
	{
		kind: "br_cpf", min: 11, max: 11, pad: 2,
		valid: func(d []byte) float64 {
			a := weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
			b := weighted(d, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
			return certain(!same(d) && a == int(d[9]-'0') && b == last(d))
		},
		forms: written(0.45, 0.9, "3332"),
		words: beside("cpf", "cadastro de pessoa", "pessoa fisica"),
		hits:  []string{"111.444.777-35", "CPF 11144477735", "529.982.247-25"}, misses: []string{"716  276  275 10", "11144477735", "111.444.777-36", "111.111.111-11"},
	},
	{
		kind: "br_cnpj", min: 14, max: 14,
		valid: func(d []byte) float64 {
			a := (11 - weighted(d, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)%11) % 11 % 10
			b := (11 - weighted(d, 6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)%11) % 11 % 10
			return certain(!same(d) && a == int(d[12]-'0') && b == last(d))
		},
		forms: written(0.45, 0.95, "23342"),
		words: []string{"cnpj", "pessoa juridica"},
		hits:  []string{"11.222.333/0001-81", "CNPJ 11222333000181"}, misses: []string{"11222333000181", "11.222.333/0001-82"},
	},
	{
		kind: "ar_cuit", min: 11, max: 11,
		valid: func(d []byte) float64 {
			check := (11 - weighted(d, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11) % 11
			return certain(slices.Contains([]int{20, 23, 24, 25, 26, 27, 30, 33, 34, 50, 51, 55}, value(d[:2])) && check == last(d))
		},
		forms: written(0.4, 0.8, "281"),
		words: beside("cuit", "cuil", "clave unica"),
		hits:  []string{"20-05536168-2", "CUIT 20055361682"}, misses: []string{"20055361682", "20-05536168-3"},
	},
	{
		kind: "co_nit", min: 9, max: 10,
		valid: func(d []byte) float64 {
			weights := []int{3, 7, 13, 17, 19, 23, 29, 37, 41, 43}
			sum := 0
			for i := range len(d) - 1 {
				sum += weights[i] * int(d[len(d)-2-i]-'0')
			}
			return certain("01987654321"[sum%11] == d[len(d)-1])
		},
		forms: written(0.2, weak, "91", "3331"),
		words: []string{"nit", "rut", "identificacion tributaria"},
		hits:  []string{"NIT 213.123.432-1"}, misses: []string{"2131234321", "NIT 213.123.432-2"},
	},
	{
		kind: "pe_ruc", min: 11, max: 11,
		valid: func(d []byte) float64 {
			check := (11 - weighted(d, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11) % 10
			return certain(slices.Contains([]int{10, 15, 16, 17, 20}, value(d[:2])) && check == last(d))
		},
		forms: written(weak, 0),
		words: beside("ruc", "registro unico"),
		hits:  []string{"RUC 20512333797"}, misses: []string{"20512333797", "RUC 20512333798"},
	},
	{
		kind: "ec_cedula", min: 10, max: 10,
		valid: func(d []byte) float64 {
			p := value(d[:2])
			return certain((p >= 1 && p <= 24 || p == 30) && d[2] < '6' && luhn(d))
		},
		forms: written(weak, 0, "91"),
		words: beside("cedula", "ci", "c i"),
		hits:  []string{"cedula 171430710-3", "cedula: 1714307103"}, misses: []string{"1714307103", "cedula 1714307104"},
	},
	{
		kind: "mx_clabe", min: 18, max: 18,
		valid: func(d []byte) float64 {
			sum := 0
			for i, c := range d[:17] {
				sum += int(c-'0') * [3]int{3, 7, 1}[i%3] % 10
			}
			return certain(!same(d) && (10-sum%10)%10 == last(d))
		},
		forms: written(weak, 0.4, "333333", "44442"),
		words: []string{"clabe", "cuenta clabe"},
		hits:  []string{"CLABE 032180000118359719"}, misses: []string{"032180000118359719", "CLABE 032180000118359718"},
	},
	{
		kind: "za_id", min: 13, max: 13,
		valid: func(d []byte) float64 { return certain(born(d) && d[10] <= '2' && luhn(d)) },
		forms: written(0.45, 0.6, "6412", "643"),
		words: beside("south african id", "sa id", "rsa id"),
		hits:  []string{"SA ID 7503305044089", "id number: 8001015009087"}, misses: []string{"7503305044089", "SA ID 7503305044088"},
	},
	{
		kind: "ru_snils", min: 11, max: 11,
		valid: func(d []byte) float64 {
			check := weighted(d, 9, 8, 7, 6, 5, 4, 3, 2, 1) % 101 % 100
			return certain(value(d[:9]) > 1_001_998 && !same(d[:9]) && check == value(d[9:]))
		},
		forms: written(0.45, 0.9, "3332"),
		words: beside("snils"),
		hits:  []string{"112-233-445 95", "SNILS 11223344595"}, misses: []string{"11223344595", "112-233-445 96"},
	},
	{
		kind: "ru_inn", min: 10, max: 12,
		valid: func(d []byte) float64 {
			switch len(d) {
			case 10:
				return certain(!same(d) && weighted(d, 2, 4, 10, 3, 5, 9, 4, 6, 8)%11%10 == last(d))
			case 12:
				return certain(!same(d) && weighted(d, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)%11%10 == int(d[10]-'0') &&
					weighted(d, 3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)%11%10 == last(d))
			}
			return 0
		},
		forms: written(0.2, 0),
		words: beside("inn"),
		hits:  []string{"INN 123456789047", "inn: 1234567894"}, misses: []string{"123456789047", "INN 123456789037"},
	},
	{
		kind: "ua_rnokpp", min: 10, max: 10,
		valid: func(d []byte) float64 {
			sum := weighted(d[1:], 5, 7, 9, 4, 6, 10, 5, 7) - int(d[0]-'0')
			return certain(!same(d) && (sum%11+11)%11%10 == last(d))
		},
		forms: written(0.2, 0),
		words: beside("rnokpp", "rntrc", "ipn"),
		hits:  []string{"RNOKPP 1759013776"}, misses: []string{"1759013776", "RNOKPP 1759013770"},
	},
	{
		kind: "kz_iin", min: 12, max: 12,
		valid: func(d []byte) float64 {
			check := weighted(d, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11) % 11
			if check == 10 {
				check = weighted(d, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2) % 11
			}
			return certain(born(d) && d[6] >= '0' && d[6] <= '6' && check == last(d))
		},
		forms: written(0.4, 0),
		words: beside("iin", "zhsn"),
		hits:  []string{"IIN 660915300090"}, misses: []string{"660915300090", "IIN 660915300091"},
	},
	{
		kind: "imei", min: 15, max: 15,
		valid: func(d []byte) float64 { return certain(!same(d) && luhn(d)) },
		forms: written(0.3, 0.4, "2661"),
		words: []string{"imei", "imei number", "imeisv"},
		hits:  []string{"IMEI 490154203237518", "imei: 49-015420-323751-8"}, misses: []string{"490154203237518", "IMEI 490154203237519"},
	},
}

// validGermanTaxID: one digit of the first ten stands there twice or three
// times, the others once at most; the last is a check digit.
func validGermanTaxID(d []byte) float64 {
	var count [10]int
	for _, c := range d[:10] {
		count[c-'0']++
	}
	repeated := 0
	for _, n := range count {
		switch {
		case n > 3:
			return 0
		case n > 1:
			repeated++
		}
	}
	return certain(d[0] != '0' && repeated == 1 && mod11mod10(d))
}

// validChineseID checks GB 11643-1999: place, day of birth, order, check
// character by ISO/IEC 7064, MOD 11-2.
func validChineseID(d []byte) bool {
	sum := weighted(d, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
	year := value(d[6:10])
	check := "10X98765432"[sum%11]
	return d[0] >= '1' && d[0] <= '8' && year >= 1900 && year < 2100 && date(year, value(d[10:12]), value(d[12:14])) && d[17]&^0x20 == check&^0x20
}

func palindrome(d []byte) bool {
	for i := range len(d) / 2 {
		if d[i] != d[len(d)-1-i] {
			return false
		}
	}
	return true
}

// validIRD checks a number of the Inland Revenue of New Zealand, of nine digits.
func validIRD(d []byte) float64 {
	check := (11 - weighted(d, 3, 2, 7, 6, 5, 4, 3, 2)%11) % 11
	if check == 10 {
		check = (11 - weighted(d, 7, 4, 3, 2, 5, 2, 7, 6)%11) % 11
	}
	n := value(d)
	return certain(n >= 10_000_000 && n <= 150_000_000 && check == last(d))
}
