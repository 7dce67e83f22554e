package privacy

import "github.com/inter-agent-trust/iatp"

// ssns finds social security numbers of the United States. They have no check
// digit: nine digits alone count only beside a telling word.
var ssns = detector{
	kind:  iatp.SSN,
	min:   9,
	max:   9,
	pad:   2,
	valid: validSSN,
	forms: []form{
		{shape: groups, lengths: "324", seps: " -", single: true, alone: 0.85, told: 0.99},
		{shape: groups, lengths: "324", seps: anySep, single: true, told: 0.9},
		{shape: run, told: 0.9},
		{shape: chain, seps: anySep, told: 0.8},
	},
	words: []string{
		"ssn", "ssns", "seguro social", "ssnumber", "ss no", "ss number", "social security", "socialsecurity", "socialsecuritynumber", "social sec", "soc sec", "socsec",
	},
	hits: []string{
		"123-45-6789", "536-90-4399", "536 90 4399", "536\u00a090\u00a04399", "536‑90‑4399", "536-90 4399", "５３６-９０-４３９９", "ssn 536904399",
		"my social security number is 536904399", "SSN: 536904399", "userSSN=536904399", "536904399 is my SSN", "ssn 536.90.4399",
		"ssn 536 904 399", "número de seguro social 536904399", `\u0035\u00336-90-4399`, "536-90-4399.", "(536-90-4399)",
		`{"kind":"ssn","value":"536904399"}`,
	},
	misses: []string{
		"000-45-6789", "666-45-6789", "900-45-6789", "987-65-4321", "123-00-6789", "123-45-0000", "078-05-1120", "219-09-9999",
		"536904399", "className 536904399", "536.90.4399", "951-45-9693-1", "1-536-90-4399", "+536 90 4399", "536-904399", "[SSN_REDACTED] 536904399",
		"order 536904399", "a536-90-4399", "session 536904399", "536-90-43990",
	},
}

// validSSN refuses what was never issued: areas 000, 666 and from 900, group
// 00, serial 0000; and two numbers that were printed in advertising and became
// nobody's: 078-05-1120 and 219-09-9999.
func validSSN(d []byte) float64 {
	area, group, serial := value(d[:3]), value(d[3:5]), value(d[5:])
	switch {
	case area == 0, area == 666, area >= 900, group == 0, serial == 0:
		return 0
	case string(d) == "078051120", string(d) == "219099999":
		return 0
	}
	return 1
}
