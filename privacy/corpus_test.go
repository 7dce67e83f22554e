package privacy

import (
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp"
)

var update = flag.Bool("update", false, "write the measured table into doc/privacy.md")

// A corpus makes texts from a seed: values of each kind in the places where they
// stand, and what looks like them and is none.
type corpus struct{ *rand.Rand }

func (c corpus) digits(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('0' + c.IntN(10))
	}
	return string(b)
}

func (c corpus) from(set string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = set[c.IntN(len(set))]
	}
	return string(b)
}

func (c corpus) pick(of ...string) string { return of[c.IntN(len(of))] }

func (c corpus) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(c.IntN(256))
	}
	return hex.EncodeToString(b)
}

func (c corpus) uuid() string {
	h := c.hex(16)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

const (
	alnum   = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// number makes a valid number of a kind of digits: grouped as people write it,
// or in one piece.
func (c corpus) number(d *detector) string {
	for {
		n := d.min + c.IntN(d.max-d.min+1)
		b := c.digits(n)
		if d.kind == "cn_resident_id" { // one random number in half a million is one
			b = b[:6] + "19" + b[8:10] + "0" + b[11:]
		}
		if d.valid([]byte(b)) < 1 {
			continue
		}
		for _, f := range d.forms {
			if f.shape != groups || c.IntN(2) == 0 {
				continue
			}
			sum := 0
			for _, l := range f.lengths {
				sum += int(l - '0')
			}
			if sum != n {
				continue
			}
			var out []string
			rest := b
			for _, l := range f.lengths {
				out, rest = append(out, rest[:l-'0']), rest[l-'0':]
			}
			return strings.Join(out, c.pick(" ", "-"))
		}
		return b
	}
}

// patterned makes a valid value of one of the patterns of a kind.
func (c corpus) patterned(d *detector) string {
	for {
		p := d.patterns[c.IntN(len(d.patterns))]
		b := make([]byte, 0, len(p))
		for i := range p {
			switch p[i] {
			case '_':
			case 'L':
				b = append(b, letters[c.IntN(26)])
			case '9':
				b = append(b, byte('0'+c.IntN(10)))
			case 'X':
				b = append(b, base36[c.IntN(36)])
			default:
				b = append(b, p[i])
			}
		}
		switch d.kind {
		case "eu_vat_number":
			copy(b, c.pick("DE", "IT", "PL", "BE", "GB"))
		case "cn_resident_id":
			copy(b[6:], "19")
			b[10], b[17] = '0', 'X'
		}
		f := finder{text: b}
		if chars, end := f.match(p, 0); end == len(b) && d.valid(chars) == 1 {
			return string(b)
		}
	}
}

// value makes a value of a kind, and says whether it tells of itself.
func (c corpus) value(d *detector) (text string, speaks bool) {
	switch {
	case d == &cards:
		for {
			b := c.pick("4", "51", "55", "2221", "34", "37", "6011", "3530", "62") + c.digits(16)
			n := 16
			if b[:2] == "34" || b[:2] == "37" {
				n = 15
			}
			if b = b[:n]; validCard([]byte(b)) == 1 {
				return b, true
			}
		}
	case d == &ssns:
		for {
			if b := c.digits(9); validSSN([]byte(b)) == 1 {
				return b[:3] + "-" + b[3:5] + "-" + b[5:], true
			}
		}
	case d == &emails:
		return c.pick("ann", "bob.lee", "j_doe", "m.mueller") + "@" + c.pick("example.com", "mail.example.org", "firm.example.de"), true
	case d.patterns != nil:
		return c.patterned(d), d.alone >= reported
	case d == &phones:
		return c.pick("+1 415 555 "+c.digits(4), "+49 151 2345"+c.digits(4), "(212) 555-"+c.digits(4), "415-555-"+c.digits(4)), true
	case d.min > 0:
		text := c.number(d)
		return text, d.forms[0].alone >= reported
	}
	return c.other(d)
}

// other makes a value of a kind that is neither of digits nor of a pattern.
func (c corpus) other(d *detector) (text string, speaks bool) {
	switch d {
	case &privateKeys:
		return "-----BEGIN PRIVATE KEY-----\n" + c.from(alnum, 64) + "\n-----END PRIVATE KEY-----", true
	case &jwts:
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"`+c.digits(8)+`"}`)) + "." + c.from(alnum, 43), true
	case &apiKeys:
		k := keyFormats[c.IntN(len(keyFormats))]
		var set string
		for i, ok := range k.set {
			if ok && byteKind[i] == runByte {
				set += string(rune(i))
			}
		}
		return k.prefix + c.from(set, k.min+c.IntN(min(k.max-k.min, 8)+1)), true
	case &urlCredentials:
		return c.pick("https", "postgres", "redis", "amqp") + "://" + c.from("abcdef", 5) + ":" + c.from(alnum, 10) + "@host.example:5432/x", true
	case &ibans:
		for {
			b := c.pick("DE", "FR", "NL", "ES", "PL") + c.digits(2)
			n := int(countryLengths[b[0]-'A'][b[1]-'A'])
			b += c.digits(n - 4)
			f := finder{text: []byte(b)}
			if f.iban(0) == n {
				return b, true
			}
		}
	case &wallets:
		return "0x" + strings.ToLower(c.hex(20)), true
	case &bics:
		return c.from(letters, 4) + c.pick("DE", "FR", "US", "GB") + c.from(letters, 2), false
	case &births:
		return fmt.Sprintf(c.pick("19%02d-%02d-%02d", "%[3]d/%[2]d/19%02[1]d"), c.IntN(100), 1+c.IntN(12), 1+c.IntN(12)), false
	case &passports:
		return c.from(letters, 1) + c.digits(8), false
	case &licences, &shortLicences:
		return c.from(letters, 1) + c.digits(7), false
	case &nationals:
		return c.pick(c.digits(5)+"-"+c.digits(7)+"-"+c.digits(1), c.from(letters, 3)+c.digits(7), c.digits(12)), false
	case &records:
		return c.digits(8), false
	case &accounts:
		return c.digits(10), false
	case &codes:
		return c.digits(3), false
	case &passwords:
		return c.from(alnum, 6) + c.pick("!", "7", "_9"), false
	case &secrets:
		return c.from(alnum, 31) + "7", false
	case &macs:
		h := c.hex(6)
		return "a2:" + h[2:4] + ":" + h[4:6] + ":" + h[6:8] + ":" + h[8:10] + ":" + h[10:12], true
	}
	return fmt.Sprintf("%d.%d.%d.%d", 20+c.IntN(80), c.IntN(256), c.IntN(256), c.IntN(255)), true
}

// beside puts a value where something tells of it.
func (c corpus) beside(d *detector, value string) string {
	words := d.words
	if n := len(words) - len(anyID); n > 0 && words[len(words)-1] == anyID[len(anyID)-1] {
		words = words[:n] // its own
	}
	if len(words) == 0 {
		words = []string{"value"}
	}
	word := words[c.IntN(len(words))]
	switch {
	case d == &shortLicences:
		word = "dl"
	case word == "cookie":
		value = "sid=" + value
	}
	switch n := c.IntN(6); {
	case n == 0 && !strings.Contains(value, "\n"):
		return fmt.Sprintf(`{"name":%q,"value":%q}`, word, value)
	case n < 3 || strings.Contains(value, "\n"):
		return fmt.Sprintf(`{"%s":%q,"note":"thanks"}`, strings.ReplaceAll(word, " ", "_"), value)
	}
	return fmt.Sprintf("Please note: %s: %s, thanks", word, value)
}

// lookalikes are what stands in calls and is nobody's.
var lookalikes = []struct {
	name string
	make func(c corpus) string
}{
	{"order number", func(c corpus) string { return `{"order_number":"` + c.digits(8+c.IntN(5)) + `"}` }},
	{"dashed order number", func(c corpus) string {
		return "order " + c.digits(3) + "-" + c.digits(7) + "-" + c.digits(7) + " shipped"
	}},
	{"UUID", func(c corpus) string { return `{"id":"` + c.uuid() + `"}` }},
	{"UUID in text", func(c corpus) string { return "request " + c.uuid() + " done" }},
	{"SHA-256", func(c corpus) string { return `{"sha256":"` + c.hex(32) + `"}` }},
	{"commit", func(c corpus) string { return "fixed in " + c.hex(20) + " and " + c.hex(4)[:7] }},
	{"time", func(c corpus) string { return fmt.Sprintf(`{"created":%d}`, 1_600_000_000+c.IntN(200_000_000)) }},
	{"time in ms", func(c corpus) string { return fmt.Sprintf(`{"ts":%d}`, 1_600_000_000_000+c.Int64N(200_000_000_000)) }},
	{"time in text", func(c corpus) string {
		return fmt.Sprintf("at 2026-%02d-%02dT%02d:05:06.%sZ", 1+c.IntN(12), 1+c.IntN(28), c.IntN(24), c.digits(6))
	}},
	{"place", func(c corpus) string {
		return fmt.Sprintf(`{"lat":%d.%s,"lon":-%d.%s}`, c.IntN(90), c.digits(7), c.IntN(180), c.digits(7))
	}},
	{"id like a phone", func(c corpus) string { return "case 8" + c.digits(2) + "-1" + c.digits(2) + "-" + c.digits(5) }},
	{"ten digits", func(c corpus) string { return `{"customer":"` + c.digits(10) + `"}` }},
	{"eleven digits", func(c corpus) string { return `{"job":"` + c.digits(11) + `"}` }},
	{"ISBN", func(c corpus) string {
		return "ISBN 978-" + c.digits(1) + "-" + c.digits(4) + "-" + c.digits(4) + "-" + c.digits(1)
	}},
	{"parcel", func(c corpus) string {
		return `{"tracking":"1Z` + c.from(letters+"0123456789", 6) + c.digits(10) + `"}`
	}},
	{"parcel in digits", func(c corpus) string { return `{"tracking":"` + c.digits(12) + `"}` }},
	{"version", func(c corpus) string {
		return fmt.Sprintf("version %d.%d.%d.%d is out", c.IntN(20), c.IntN(20), c.IntN(20), c.IntN(20))
	}},
	{"price", func(c corpus) string {
		return fmt.Sprintf(`{"amount":%d.%s,"sku":"%s-%s"}`, c.IntN(10_000), c.digits(2), c.from(letters, 3), c.digits(5))
	}},
	{"identifier", func(c corpus) string {
		return `{"key":"` + c.from("abcdefghij", 5) + "_" + c.from("klmnop", 6) + "_" + c.digits(3) + `"}`
	}},
	{"base64", func(c corpus) string {
		return `{"data":"` + base64.StdEncoding.EncodeToString([]byte(c.from(alnum, 30))) + `"}`
	}},
	{"prose", func(c corpus) string {
		return "The " + c.pick("token", "password", "passport", "phone", "account") + " is " + c.pick("missing", "required", "not valid", "unknown") + " since " + c.pick("Monday", "version 2", "then")
	}},
	{"named value", func(c corpus) string {
		return fmt.Sprintf(`{"%s":"%s","value":"%s%s"}`, c.pick("name", "type", "key", "id"), c.pick("order", "node", "sku", "page_token", "reference"), c.from("abcdef", 4), c.digits(8))
	}},
	{"cookies", func(c corpus) string {
		return "Cookie: theme=dark; _ga=GA1.2." + c.digits(10) + "." + c.digits(10) + "; cart=" + c.hex(8)
	}},
	{"upper case row", func(c corpus) string { return c.from(letters+"0123456789<", 44) }},
	{"count", func(c corpus) string { return fmt.Sprintf(`{"max_tokens":%d,"phones":%d}`, c.IntN(9999), c.IntN(99)) }},
}

// A score is what was measured for a kind.
type score struct{ told, foundTold, bare, foundBare, foundLow, alarms int }

// lowered are thresholds below the usual one.
var lowered = []float64{0.4, 0.3, 0.2, 0.1}

// measure scans the corpus of a seed. The last result is how many look-alikes
// have a finding at each of the lowered thresholds.
func measure(t *testing.T, seed uint64, each int) (map[iatp.DataClass]*score, map[string]int, []int) {
	var low []*Scanner
	for _, least := range lowered {
		l, err := NewWith(Options{MinConfidence: least})
		if err != nil {
			t.Fatal(err)
		}
		low = append(low, l)
	}
	lowAlarms := make([]int, len(low))
	s, c := New(), corpus{rand.New(rand.NewPCG(seed, 4))}
	scores, alarms := map[iatp.DataClass]*score{}, map[string]int{}
	get := func(k iatp.DataClass) *score {
		if scores[k] == nil {
			scores[k] = new(score)
		}
		return scores[k]
	}
	count := func(text string, want iatp.DataClass) bool {
		found := false
		for _, k := range s.Scan([]byte(text)).Classes() {
			if k == want {
				found = true
			} else if want == "" {
				get(k).alarms++
			}
		}
		return found
	}
	for _, d := range builtin().all {
		sc := get(d.kind)
		for range each {
			v, speaks := c.value(d)
			sc.told++
			if count(c.beside(d, v), d.kind) {
				sc.foundTold++
			}
			if slices.Contains(low[len(low)-1].Scan([]byte("see "+v+" there")).Classes(), d.kind) {
				sc.foundLow++
			}
			if speaks {
				sc.bare++
				if count("see "+v+" there", d.kind) {
					sc.foundBare++
				}
			}
		}
	}
	for _, l := range lookalikes {
		for range each {
			text := l.make(c)
			for i := range low {
				if len(low[i].Scan([]byte(text)).Findings) > 0 {
					lowAlarms[i]++
				}
			}
			if len(s.Scan([]byte(text)).Findings) > 0 {
				alarms[l.name]++
				t.Logf("%s: %v in %s", l.name, s.Scan([]byte(text)).Classes(), text)
				count(text, "")
			}
		}
	}
	return scores, alarms, lowAlarms
}

// soft are the kinds without a checksum, and with fewer promises.
var soft = map[iatp.DataClass]bool{
	"phone": true, "ip_address": true, "mac_address": true, "date_of_birth": true, "passport_number": true, "driver_licence": true, "medical_record": true,
	"bank_account": true, "national_id": true, "card_security_code": true, "password": true, "secret": true, "swift_bic": true, "us_ein": true, "dk_cpr": true, "id_nik": true,
	"my_nric": true, "in_pan": true, "url_credentials": true, "email": true,
	"imei": true, "za_id": true, // one in twelve is a card by all that its digits say
}

// TestCorpus holds every kind to its recall and precision, and doc/privacy.md
// to what is measured: go test ./privacy -run TestCorpus -update writes it.
func TestCorpus(t *testing.T) {
	const each = 200
	scores, alarms, lowAlarms := measure(t, 1, each)
	var table strings.Builder
	table.WriteString("| kind | recall beside a word | alone | alone, from 0.1 on | precision |\n|---|--:|--:|--:|--:|\n")
	seen := map[iatp.DataClass]bool{}
	for _, d := range builtin().all {
		if seen[d.kind] {
			continue
		}
		seen[d.kind] = true
		sc := scores[d.kind]
		recall := float64(sc.foundTold) / float64(sc.told)
		hits := sc.foundTold + sc.foundBare
		precision := float64(hits) / float64(hits+sc.alarms)
		alone := "needs a word"
		if sc.bare > 0 {
			alone = fmt.Sprintf("%.3f", float64(sc.foundBare)/float64(sc.bare))
		}
		fmt.Fprintf(&table, "| `%s` | %.3f | %s | %.3f | %.3f |\n", d.kind, recall, alone, float64(sc.foundLow)/float64(sc.told), precision)
		want, sure := 0.95, 0.98
		if soft[d.kind] {
			want, sure = 0.85, 0.9
		}
		if recall < want || precision < sure {
			t.Errorf("%s: recall %.3f, precision %.3f", d.kind, recall, precision)
		}
		if sc.bare > each/2 && float64(sc.foundBare) < want*float64(sc.bare) {
			t.Errorf("%s: recall alone %d of %d", d.kind, sc.foundBare, sc.bare)
		}
	}
	table.WriteString("\n| look-alike | false alarms |\n|---|--:|\n")
	for _, l := range lookalikes {
		fmt.Fprintf(&table, "| %s | %d of %d |\n", l.name, alarms[l.name], each)
		if alarms[l.name]*50 > each {
			t.Errorf("%s: %d false alarms of %d", l.name, alarms[l.name], each)
		}
	}
	table.WriteString("\n| threshold | look-alikes with a finding |\n|---|--:|\n")
	for i, least := range lowered {
		fmt.Fprintf(&table, "| %.1f | %d of %d |\n", least, lowAlarms[i], len(lookalikes)*each)
	}
	table.WriteString("\n| beginnings of keys | vendor's own word for them |\n|---|---|\n")
	var sources []string
	by, observed := map[string][]string{}, 0
	for _, k := range keyFormats {
		source, ok := documented[k.prefix]
		if !ok {
			observed++
			continue
		}
		if by[source] == nil {
			sources = append(sources, source)
		}
		by[source] = append(by[source], "`"+k.prefix+"`")
	}
	for _, source := range sources {
		fmt.Fprintf(&table, "| %s | %s |\n", strings.Join(by[source], " "), source)
	}
	fmt.Fprintf(&table, "| %d others | not confirmed by a text of the vendor |\n", observed)
	holdTable(t, "../doc/privacy.md", table.String())
}

// documented says where vendors themselves say how their keys begin.
var documented = func() map[string]string {
	m := map[string]string{}
	for source, prefixes := range map[string]string{
		"AWS STS API, GetAccessKeyInfo":                                                                                   "AKIA ASIA",
		"AWS IAM User Guide, \"IAM identifiers\", unique ID prefixes":                                                     "ABIA ACCA",
		"GitHub Changelog, 31 March 2021: up to 255 characters":                                                           "ghp_ gho_ ghu_ ghs_ ghr_",
		"GitHub Docs, \"About authentication to GitHub\", token formats":                                                  "github_pat_",
		"GitLab Docs, \"GitLab token overview\", token prefixes (docs.gitlab.com/security/tokens)":                        "glpat- gloas- gldt- glrt- glrtr- glcbt- glptt- glft- glimt- glagent- glwt- glsoat- glffct-",
		"Stripe API, Authentication":                                                                                      "sk_live_ sk_test_",
		"Stripe Docs, \"API keys\" (docs.stripe.com/keys)":                                                                "rk_live_ rk_test_",
		"Slack API, Token types: up to 255 characters":                                                                    "xoxb- xoxp- xapp-",
		"Private Packagist, Composer authentication: 60 and 8 hexadecimal digits":                                         "packagist_ort_ packagist_out_ packagist_uut_",
		"DigitalOcean release notes, 29 March 2022 (docs.digitalocean.com/notes/2022/api-token-format)":                   "dop_v1_ doo_v1_ dor_v1_",
		"HashiCorp Vault, \"Tokens\", token formats: at least 24 characters":                                              "hvs. hvb. hvr.",
		"Doppler Docs, \"Service Tokens\" (docs.doppler.com/docs/service-tokens)":                                         "dp.st.",
		"Tailscale Docs, \"Key prefixes\" (tailscale.com/docs/reference/key-prefixes)":                                    "tskey-",
		"Shopify changelog, 1 April 2020: 32 and the beginning (shopify.dev/changelog)":                                   "shpat_ shpca_ shppa_",
		"Supabase Docs, \"Understanding API keys\"":                                                                       "sb_secret_",
		"supabase/cli, pattern of access tokens: 40 hexadecimal digits":                                                   "sbp_ sbp_oauth_",
		"Sonar Community, thread 78433, with Sonar's answer: from SonarQube 9.5 on":                                       "sqp_ squ_ sqa_",
		"LaunchDarkly Docs, \"SDK credentials\"":                                                                          "sdk-",
		"GitHub Blog, \"Announcing npm's new access token format\": 30 characters and 6 of a check sum":                   "npm_",
		"Sentry RFC 0091 (github.com/getsentry/rfcs)":                                                                     "sntrys_",
		"Shopify changelog, 28 January 2020: 32 and the beginning (shopify.dev/changelog)":                                "shpss_",
		"CircleCI changelog, \"New format for API Access Tokens\": a UUID in base 58 and 40 hexadecimal digits":           "CCIPAT_ CCIPRJ_",
		"LangSmith Docs, \"LLM Gateway authentication\" (docs.langchain.com/langsmith/llm-gateway-authentication)":        "lsv2_pt_ lsv2_sk_",
		"Shippo Docs, \"Authentication\" (docs.goshippo.com/guides/authentication)":                                       "shippo_live_ shippo_test_",
		"Duffel Docs, \"Test mode\" (duffel.com/docs/api/overview/test-mode)":                                             "duffel_test_",
		"Claude Docs, \"Get an API key\" (platform.claude.com/docs)":                                                      "sk-ant-",
		"Replicate Docs, \"API tokens\": 40 characters in all (replicate.com/docs/topics/security/api-tokens)":            "r8_",
		"Firecrawl Docs, \"Authentication\" (docs.firecrawl.dev/authentication)":                                          "fc-",
		"E2B Docs, \"Quickstart\" (e2b.dev/docs/quickstart)":                                                              "e2b_",
		"Resend Docs, \"API Reference\" (resend.com/docs/api-reference)":                                                  "re_",
		"Mapbox Docs, \"Access tokens\", token patterns (docs.mapbox.com/help/dive-deeper/access-tokens)":                 "sk.eyJ1Ijoi",
		"Slack Docs, tooling.tokens.rotate":                                                                               "xoxe- xoxe.xox",
		"Cloudflare Docs, \"Token formats\": 40 characters and a check sum (developers.cloudflare.com/fundamentals/api)":  "cfk_ cfut_ cfat_",
		"Cloudflare Docs, \"Get Origin CA keys\" (developers.cloudflare.com/fundamentals/api)":                            "v1.0-",
		"scaleway/scaleway-sdk-go, validation.IsAccessKey: 17 capitals and digits":                                        "SCW",
		"Buildkite Docs, \"Token security\": 53 and 75 characters (buildkite.com/docs/platform/security/tokens)":          "bkua_ bkaa_ bkaj_",
		"Sourcegraph Docs, \"Revoking an access token\"":                                                                  "sgp_",
		"NuGet/NuGetGallery, ApiKeyV4: 46 characters of base32":                                                           "oy2",
		"getsentry/sentry, src/sentry/types/token.py":                                                                     "sntryu_ sntrya_ sntryi_",
		"PostHog/posthog, generate_random_token_personal: 256 bits in base 62":                                            "phx_",
		"grafana/grafana, pkg/components/apikeygenprefixed: 32 characters and 8 of a check sum":                           "glsa_",
		"Hugging Face Docs, \"User access tokens\" (huggingface.co/docs/hub/security-tokens)":                             "hf_",
		"Plaid Docs, \"Glossary\": a UUID behind type and environment (plaid.com/docs/quickstart/glossary)":               "access-sandbox- access-development- access-production-",
		"Docker Docs, Docker Hub API, AuthCreateAccessToken":                                                              "dckr_pat_",
		"Twilio Docs, \"What is a String Identifier (SID)?\": 32 hexadecimal digits":                                      "AC",
		"mollie/mollie-api-php, ApiKeyAuthenticator: at least 30 characters":                                              "live_",
		"PyPI Docs, \"Secret reporting API\": at least 85 characters":                                                     "pypi-",
		"rust-lang/crates.io, crates_io_database/src/utils/token.rs: 32 characters":                                       "cio",
		"rubygems/rubygems.org, generate_rubygems_key: 48 hexadecimal digits":                                             "rubygems_",
		"clojars/clojars-web, src/clojars/db.clj, generate-deploy-token: 60 hexadecimal digits":                           "CLOJARS_",
		"langfuse/langfuse, generateKeySet: a UUID":                                                                       "sk-lf-",
		"Dynatrace Docs, \"Access tokens classic\": 24 and 64 characters (docs.dynatrace.com/docs/manage/access-control)": "dt0c01. dt0s01. dt0s02. dt0s03. dt0s06. dt0s08. dt0s16.",
		"OpenRouter Docs, \"API keys\" (openrouter.ai/docs/guides/overview/auth/api-keys)":                                "sk-or-v1-",
		"superfly/macaroon, Parse: base64":                                                                                "fm2_ fm1r_ fm1a_",
		"tavily-ai/tavily-python, README":                                                                                 "tvly-",
		"gitlabhq/gitlabhq, RUNNERS_TOKEN_PREFIX":                                                                         "GR1348941",
		"huggingface/huggingface_hub, src/huggingface_hub/_login.py":                                                      "api_org_",
		"sourcegraph/sourcegraph, GenerateLicenseKeyBasedAccessToken: a SHA-256 in hexadecimal":                           "slk_",
		"braintree/braintree_python, CredentialsParser: environment and merchant between dollars":                         "access_token$production$ access_token$sandbox$",
		"Datadog Docs, \"Personal Access Tokens\": an alias, 32 bytes, a check sum (docs.datadoghq.com)":                  "ddpat_ ddsat_ ddapp_",
		"Paddle Docs, \"Authentication\" (developer.paddle.com/api-reference/about/authentication)":                       "pdl_live_apikey_",
		"Pulumi Docs, REST API, \"Personal Access Tokens\": 40 hexadecimal digits":                                        "pul-",
		"Docker Docs, AI Governance API, bearerAuth":                                                                      "dckr_oat_",
		"sendgrid/sendgrid-nodejs, Client.isValidApiKey":                                                                  "SG.",
		"Azure Databricks Docs, \"Tokens CLI\": 32 digits (learn.microsoft.com)":                                          "dapi",
		"svix/svix-webhooks, Webhook: base64":                                                                             "whsec_",
		"langchain-ai/langchain-nvidia, NVIDIA's README":                                                                  "nvapi-",
		"Flutterwave/Node-v3, README: 32 hexadecimal digits and -X":                                                       "FLWSECK-",
		"snyk/go-application-framework, IsAuthTypePAT: four parts between dots":                                           "snyk_",
		"makenotion/notion-mcp-server, README":                                                                            "ntn_",
		"googlemaps/google-maps-services-python, Client":                                                                  "AIza",
		"Tencent Cloud Docs, API, \"Signature\": 32 characters":                                                           "AKID",
		"mailgun/mailgun-php, src/Mailgun/Messages":                                                                       "key-",
		"google-gemini/gemini-cli, packages/core/src/code_assist/oauth2.ts: 28 characters":                                "GOCSPX-",
		"vercel/storage, packages/blob, tests: a store and 30 characters":                                                 "vercel_blob_rw_",
		"jina-ai/node-DeepResearch, README":                                                                               "jina_",
		"Twilio Docs, \"REST API: Key Resource v1\": 32 hexadecimal digits":                                               "SK",
		"openai/codex, codex-rs/cli/src/login.rs":                                                                         "sk-proj-",
		"JFrog Platform Administration, \"Understanding Identity Tokens\": 64 characters in all (jfrog.com/help)":         "cmVmdGtu",
		"OpenAI API reference, \"Create admin API key\"":                                                                  "sk-admin-",
		"square/square-go-sdk, reference.md, ObtainToken: 43 characters":                                                  "sq0csp-",
		"ory/fosite, handler/oauth2/strategy_hmacsha_prefixed.go":                                                         "ory_at_ ory_rt_",
	} {
		for _, p := range strings.Fields(prefixes) {
			m[p] = source
		}
	}
	return m
}()

// TestDocumentedKeys: what is said to be documented is looked for.
func TestDocumentedKeys(t *testing.T) {
	for prefix := range documented {
		if !slices.ContainsFunc(keyFormats, func(k keyFormat) bool { return k.prefix == prefix }) {
			t.Errorf("no key begins with %s", prefix)
		}
	}
}

// holdTable compares the table in a document with what was measured, or writes it.
func holdTable(t *testing.T, path, table string) {
	const begin, end = "<!-- measured -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	now := before + begin + table + end + after
	if *update {
		if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if now != string(text) {
		t.Errorf("%s does not say what is measured: go test ./privacy -run TestCorpus -update", path)
	}
}
