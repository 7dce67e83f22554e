package privacy

import "github.com/inter-agent-trust/iatp"

// cards finds the numbers of payment cards: ISO/IEC 7812, 13 to 19 digits, the
// last one a check digit.
var cards = detector{
	kind:  iatp.CreditCard,
	min:   13,
	max:   19,
	valid: validCard,
	forms: []form{
		{shape: run, alone: 0.85, told: 0.95},
		{shape: groups, lengths: "4444", seps: anySep, alone: 0.95, told: 0.99},
		{shape: groups, lengths: "465", seps: anySep, alone: 0.95, told: 0.99}, // American Express
		{shape: groups, lengths: "464", seps: anySep, alone: 0.95, told: 0.99}, // Diners Club
		{shape: groups, lengths: "456", seps: anySep, alone: 0.95, told: 0.99}, // UATP
		{shape: groups, lengths: "44443", seps: anySep, alone: 0.95, told: 0.99},
		{shape: groups, lengths: "44442", seps: anySep, alone: 0.95, told: 0.99},
		{shape: groups, lengths: "44441", seps: anySep, alone: 0.95, told: 0.99},
		{shape: groups, lengths: "4443", seps: anySep, alone: 0.95, told: 0.99},
		{shape: groups, lengths: "4442", seps: anySep, alone: 0.95, told: 0.99},
		{shape: groups, lengths: "4441", seps: anySep, alone: 0.95, told: 0.99},
		{shape: groups, lengths: "445", seps: anySep, alone: 0.95, told: 0.99},
		{shape: groups, lengths: "4333", seps: anySep, alone: 0.95, told: 0.99},
		{shape: chain, seps: anySep, alone: 0.7, told: 0.8},
	},
	words: []string{
		"card", "cards", "card number", "card no", "cardnumber", "cardno", "cc", "ccn", "ccnum", "creditcard",
		"debitcard", "pan", "maestro", "uatp", "visa", "mastercard", "amex",
	},
	hits: []string{
		"4532015112830366", "%B4532015112830366^DOE/JOHN^27091010000000000000?", "4532-0151-1283-0366", "4532 0151 1283 0366", "4532.0151.1283.0366", "4532\u00a00151\u00a01283\u00a00366",
		"4532\u20130151\u20131283\u20130366", "4532 0151-1283.0366", "45320151 12830366", "card4532015112830366", "4532 - 0151 - 1283 - 0366",
		"4532015 112830366", "45 32 01 51 12 83 03 66", "4532_0151_1283_0366", "4532+0151+1283+0366", "4532/0151/1283/0366", "453201/5112830366",
		"４５３２０１５１１２８３０３６６", "٤٥٣٢٠١٥١١٢٨٣٠٣٦٦", "4\u200b5\u200b3\u200b2\u200b0151 1283 0366",
		`\u0034532015112830366`, `\\u0034532\\u00200151 1283 0366`, "卡号4532015112830366。", "4532015112830366.",
		"378282246310005", "3782 822463 10005", "30569309025904", "3056 930902 5904", "38520000023237", "4222222222222", "4222 2222 22222",
		"5555555555554444", "2223003122003222", "6011111111111117", "3530111333300000", "6200000000000005", "6759649826438453",
		"6799990100000000019", "4000000000000000006", "2200000000000004", "6062825624254001", "6362970000457013", "5066991111111118",
		"order 12 card 4532 0151 1283 0366 exp 12 27", "ids 17 4532 0151 1283 0366 2027", "card number 5000000000000009",
		"uatp 135412345678911", "1354 12345 678911", "call +1 then 4532015112830366",
		"9051001234567896", "9112345678901237", "9682051234567898", "card 3100123456789012342",
	},
	misses: []string{
		"4532015112830367", "4532 0151 1283 0367", "45320151128303660000", "0000000000000000", "9999999999999995",
		"0.4532015112830366", "x 12.4532015112830366", "4532015.112830366", "a4532015112830366", "4532015112830366f0",
		"0x4532015112830366", "45320151-1283-4366-8123-123456789012", "abcdef12-4532-0151-1283-0366abcdef12",
		"1700000000000", "1700000000000000", "2026-01-23 12:34:56.789", "135412345678911", "5000000000000009",
		"+49 1512 3456 7890", "+4222222222222", "[CREDIT_CARD_REDACTED]", "4532,0151,1283,0366", "192.168.100.200 10.20.30.40",
		"675-3350223-7433495", "6 23 25 32 58 65 79 81 84", "/tmp/TestReload4000000000/006/rules.yaml",
		"3100123456789012342",
	},
}

// A network is a range of issuer identification numbers.
type network struct {
	low, high int // first six digits
	min, max  int // digits of the whole number
	// weak ranges are so wide that a check digit alone proves little: one
	// random number in twenty would pass. They need a telling word or the
	// grouping of a card.
	weak bool
}

// networks follows what the networks publish of their ranges. A number that
// falls in two ranges counts by the stronger.
var networks = [...]network{
	{400000, 499999, 13, 13, false}, // Visa, old
	{400000, 499999, 16, 16, false}, // Visa; Elo and Dankort have ranges inside
	{400000, 499999, 19, 19, false}, // Visa, long
	{510000, 559999, 16, 16, false}, // Mastercard
	{222100, 272099, 16, 16, false}, // Mastercard, second series
	{340000, 349999, 15, 15, false}, // American Express
	{370000, 379999, 15, 15, false}, // American Express
	{601100, 601199, 16, 19, false}, // Discover
	{644000, 659999, 16, 19, false}, // Discover; RuPay, Elo, Verve and Troy have ranges inside
	{300000, 305999, 14, 19, false}, // Diners Club
	{309500, 309599, 14, 19, false}, // Diners Club
	{360000, 369999, 14, 19, false}, // Diners Club
	{380000, 399999, 14, 19, false}, // Diners Club; Hipercard has ranges inside
	{352800, 358999, 16, 19, false}, // JCB; LankaPay has a range inside
	{213100, 213199, 15, 15, false}, // JCB, old
	{180000, 180099, 15, 15, false}, // JCB, old
	{620000, 629999, 16, 19, false}, // UnionPay
	{810000, 829999, 16, 19, false}, // UnionPay and RuPay
	{220000, 220499, 16, 19, false}, // Mir
	{220500, 220599, 16, 16, false}, // Borica
	{501800, 501899, 13, 19, false}, // Maestro
	{501900, 501999, 16, 16, false}, // Dankort
	{502000, 502099, 13, 19, false}, // Maestro
	{503800, 503899, 13, 19, false}, // Maestro
	{589300, 589399, 13, 19, false}, // Maestro
	{630400, 630499, 13, 19, false}, // Maestro, Laser
	{670000, 679999, 13, 19, false}, // Maestro, Bancontact, Laser, Solo, Switch
	{564182, 564182, 16, 19, false}, // Switch
	{633110, 633110, 16, 19, false}, // Switch
	{633300, 633499, 16, 19, false}, // Switch, Solo
	{508500, 508999, 16, 16, false}, // RuPay
	{606985, 608500, 16, 16, false}, // RuPay
	{506099, 506198, 16, 19, false}, // Verve
	{507865, 507964, 16, 19, false}, // Verve
	{504175, 504175, 16, 16, false}, // Elo
	{506699, 506778, 16, 16, false}, // Elo
	{509000, 509999, 16, 16, false}, // Elo
	{606282, 606282, 13, 19, false}, // Hipercard
	{637000, 639999, 16, 16, false}, // InstaPayment; Hipercard and Carnet have ranges inside
	{636000, 636999, 16, 19, false}, // InterPayment; Elo has ranges inside
	{502275, 502275, 16, 16, false}, // Carnet
	{506199, 506499, 16, 16, false}, // Carnet
	{286900, 286999, 16, 16, false}, // Carnet
	{507800, 507899, 16, 16, false}, // Meeza, Aura
	{589562, 589562, 16, 16, false}, // Naranja
	{589657, 589657, 16, 16, false}, // Cabal
	{604201, 604219, 16, 16, false}, // Cabal
	{605474, 605474, 16, 16, false}, // NPS Pridnestrovie
	{979200, 979289, 16, 16, false}, // Troy
	{970400, 970499, 16, 19, false}, // Napas
	{986000, 986099, 16, 16, false}, // Humo
	{860000, 860099, 16, 16, false}, // Uzcard
	{194600, 194699, 16, 16, false}, // GPN
	{905100, 905199, 16, 16, false}, // ArCa
	{911200, 911299, 16, 16, false}, // Belkart
	{968201, 968211, 16, 16, false}, // mada
	{310000, 319999, 19, 19, true},  // T-Union
	{500000, 509999, 13, 19, true},  // Maestro and domestic schemes
	{560000, 589999, 13, 19, true},  // Maestro and domestic schemes
	{600000, 699999, 13, 19, true},  // Maestro and domestic schemes
	{100000, 199999, 15, 15, true},  // UATP
}

// networksOf are the networks with ranges under two first digits, in the order
// of networks.
var networksOf = func() (t [100][]network) {
	for _, n := range networks {
		for two := n.low / 10000; two <= n.high/10000; two++ {
			t[two] = append(t[two], n)
		}
	}
	return t
}()

// weakly is what is left of the confidence in a number of a weak range.
const weakly = 0.55

// validCard holds digits to the check digit and the issuers.
func validCard(digits []byte) float64 {
	if !luhn(digits) {
		return 0
	}
	issuer := 0
	for _, d := range digits[:6] {
		issuer = issuer*10 + int(d-'0')
	}
	best := 0.0
	of := networksOf[issuer/10000]
	for i := range of {
		n := &of[i]
		if issuer < n.low || issuer > n.high || len(digits) < n.min || len(digits) > n.max {
			continue
		}
		if !n.weak {
			return 1
		}
		best = weakly
	}
	return best
}
