package privacy

import (
	"slices"

	"github.com/inter-agent-trust/iatp"
)

// A Group is a set of kinds that rules usually treat alike.
type Group string

// The groups. Each built-in kind is in one.
const (
	Payment  Group = "payment"  // cards, accounts, wallets
	Secrets  Group = "secrets"  // what opens something to whoever has it
	Contact  Group = "contact"  // how to reach a person
	Health   Group = "health"   // patients, and who prescribes to them
	Devices  Group = "devices"  // addresses and numbers of machines
	Identity Group = "identity" // who a person or firm is to an authority
	Custom   Group = "custom"   // kinds of Options.Detectors
)

// Groups returns all groups.
func Groups() []Group {
	return []Group{Payment, Secrets, Contact, Health, Devices, Identity, Custom}
}

// grouped holds the kinds of all groups but Identity, which has the rest.
var grouped = map[Group][]iatp.DataClass{
	Payment: {iatp.CreditCard, "card_security_code", "iban", "swift_bic", "bank_account", "us_routing_number", "mx_clabe", "crypto_wallet"},
	Secrets: {"private_key", "api_key", "jwt", "url_credentials", "password", "secret"},
	Contact: {iatp.Email, "phone"},
	Health:  {"medical_record", "us_dea_number", "us_npi", "uk_nhs_number", "au_medicare"},
	Devices: {"ip_address", "mac_address", "imei", "vin"},
}

// Kinds returns the kinds that every Scanner looks for, each once.
func Kinds() []iatp.DataClass {
	all := builtin().all
	kinds := make([]iatp.DataClass, 0, len(all))
	for _, d := range all {
		if !slices.Contains(kinds, d.kind) {
			kinds = append(kinds, d.kind)
		}
	}
	return kinds
}

// Example returns a made-up text that holds a value of a built-in kind.
func Example(kind iatp.DataClass) string {
	for _, d := range builtin().all {
		if d.kind == kind && len(d.hits) > 0 {
			return d.hits[0]
		}
	}
	return ""
}

// GroupOf returns the group of a kind; Custom for one that is not built in.
func GroupOf(kind iatp.DataClass) Group {
	for g, kinds := range grouped {
		if slices.Contains(kinds, kind) {
			return g
		}
	}
	if slices.ContainsFunc(builtin().all, func(d *detector) bool { return d.kind == kind }) {
		return Identity
	}
	return Custom
}
