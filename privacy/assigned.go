package privacy

import (
	"bytes"
	"slices"
)

// Values that are secret because they are called so: beside a name, behind a
// colon or an equals sign, or the whole value of a JSON member.
var (
	passwords = detector{
		kind: "password", labelled: true,
		words: []string{
			"password", "passwd", "passwort", "pwd", "passphrase", "contrasena", "mot de passe", "senha", "wachtwoord", "db pass", "user pass", "mysql pwd", "pgpassword", "userpassword", "dbpassword",
		},
		hits: []string{
			`{"password":"hunter2"}`, "password=hunter2", "PASSWORD: 'c0rrect horse'", "db_password=Tr0ub4dor&3", `"pwd" : "s3cr3t!"`, "passwd:abc123", "userPassword=p4ss", "<db_password>s3cr3tPw9</db_password>", `{"password":"correct horse battery staple"}`,
		},
		misses: []string{
			"password: required", "password=${DB_PASSWORD}", "password: ********", "the password is wrong", "password=", `{"password":null}`, `{"password":"<your password>"}`, "password: must be set",
			`{"password":"[PASSWORD_REDACTED]"}`, "passwordless: enabled1", "password reset: 2026-11-23", "<password>required</password>", "<password></password>", "a<password>[PASSWORD_REDACTED]</password>",
		},
	}
	secrets = detector{
		kind: "secret", labelled: true,
		words: []string{
			"secret", "api key", "apikey", "access key", "accesskey", "secret key", "secretkey", "client secret", "clientsecret", "auth token", "authtoken", "access token", "accesstoken", "refresh token", "token",
			"bearer", "bearer token", "private key", "privatekey", "encryption key", "signing key", "account key", "accountkey", "sharedaccesskey", "shared access key", "credential", "credentials", "session key", "master key",
			"webhook secret", "api secret", "apisecret", "app secret", "consumer secret", "consumer key", "auth key", "authkey", "access id", "api token", "apitoken", "session token", "id token", "security token", "secret access key", "subscription key",
			"authorization",
		},
		hits: []string{
			`{"api_key":"9f86d081884c7d659a2feaa0c55ad015"}`, "client_secret=Zx81kQp0vT5nR7wY2bLd", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", `"token": "q7Hx-92kLmPz-0aWe"`,
			"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "authorization: Bearer k3Jd82nAq0Zx91Lm",
		},
		misses: []string{
			`{"max_tokens":"12345678901234567890"}`, `{"token_type":"Bearer"}`, "token: expired", `{"next_page_token":"CAUQAA"}`, "api_key=YOUR_API_KEY", "secret=xxxxxxxxxxxxxxxx", `{"secret":"false"}`, "token: string", "authorization: required",
			"operator_token: /var/lib/iatp/operator.token can be read by others", `{"private_key":"./tls/key9.pem"}`,
		},
	}
)

// maxLabel is how far back a name before a separator is looked for, and
// maxValue how long its value may be.
const (
	maxNameLabel = 32
	maxValue     = 512
)

// assigned looks at the value behind the separator at i, if the name before it
// tells that it is secret. It returns where to go on.
func (f *finder) assigned(i int) int {
	text := f.text
	end := i
	for end > 0 && i-end < 4 && aroundLabel[text[end-1]] {
		end--
	}
	if end == 0 || !asciiLetter(text[end-1]) || !labelEnds.has(text[end-1]|0x20, text[max(end-2, 0)]|0x20) {
		return i + 1
	}
	start := end
	for start > 0 && end-start < maxNameLabel && (asciiLetter(text[start-1]) || text[start-1] == '_' || text[start-1] == '-' || text[start-1] == '.' || text[start-1] == ' ') {
		start--
	}
	d := f.endsIn(start, end)
	if d == nil {
		return i + 1
	}
	from, to, quoted := f.value(i + 1)
	if text[i] == ':' && !quoted && (from == i+1 || text[from-1] != ' ') && from < len(text) && text[from] == '/' {
		return i + 1 // a URL
	}
	if to-from > 2 && mayBeKey(text[from], text[from+1], text[from+2]) {
		if last := f.key(from); last >= to {
			return last // it says itself what it is
		}
	}
	if conf := secrecy(d, text[from:to], quoted || text[i] == '='); conf >= f.least {
		return f.hit(d, from, to, conf)
	}
	return i + 1
}

// element looks at the text of an XML element whose start tag, without
// attributes, ends at i, if the tag tells that it is secret.
func (f *finder) element(i int) int {
	text, start := f.text, i
	for start > 0 && i-start < maxNameLabel && (asciiLetter(text[start-1]) || text[start-1] == '_' || text[start-1] == '-' || text[start-1] == '.') {
		start--
	}
	if start == 0 || start == i || text[start-1] != '<' {
		return i + 1
	}
	end := i + 1
	for end < len(text) && end-i <= maxValue && text[end] > ' ' && text[end] != '<' {
		end++
	}
	// The prefilter lets no shorter row pass.
	if end == len(text) || text[end] != '<' || end-start < siftRow {
		return i + 1
	}
	if d := f.endsIn(start, i); d != nil {
		if conf := secrecy(d, text[i+1:end], true); conf >= f.least {
			return f.hit(d, i+1, end, conf)
		}
	}
	return i + 1
}

// aroundLabel is what may stand between a label and its separator.
var aroundLabel = bytesOf("\"'\\] *")

// labelEnds are the last two letters, the last one first, of the words that
// end a label: most names before a colon are none.
var labelEnds = func() *pairs {
	var p pairs
	for _, w := range slices.Concat(passwords.words, secrets.words) {
		p.add(w[len(w)-1], w[len(w)-2])
	}
	return &p
}()

// endsIn returns the detector whose words text[start:end] ends in.
func (f *finder) endsIn(start, end int) *detector {
	text := f.text
	for i := start; i < end; {
		if !asciiLetter(text[i]) {
			i++
			continue
		}
		next := endOfWord(text, i)
		if told := f.catalog.lexicon.at(text, i, next, end); told.has(&passwords) || told.has(&secrets) {
			for _, d := range []*detector{&passwords, &secrets} {
				if told.has(d) && f.phraseEnds(d, i, end) && !f.harmless(start, i) {
					return d
				}
			}
		}
		i = next
	}
	return nil
}

// phraseEnds reports whether one of the words of d is exactly text[i:end].
func (f *finder) phraseEnds(d *detector, i, end int) bool {
	for _, w := range d.words {
		first, rest, more := bytes.Cut([]byte(w), []byte(" "))
		if !hasPrefixFold(f.text[i:], string(first)) || endOfWord(f.text, i) != i+len(first) {
			continue
		}
		last := i + len(first)
		if more {
			last = matchPhrase(f.text, last, string(rest))
		}
		if last == end {
			return true
		}
	}
	return false
}

// harmless reports whether the word before text[i] makes a token one that
// opens nothing.
func (f *finder) harmless(start, i int) bool {
	before := bytes.TrimRight(f.text[start:i], "_-. ")
	for _, w := range [...]string{"page", "next", "continuation", "sync", "max", "stop", "start", "public", "reset", "csrf"} {
		if n := len(before) - len(w); n >= 0 && hasPrefixFold(before[n:], w) {
			return true
		}
	}
	return false
}

// value finds the value that begins at i: in quotes, or up to a space.
func (f *finder) value(i int) (from, to int, quoted bool) {
	text := f.text
	for n := 0; i < len(text) && n < 6 && bytes.IndexByte([]byte(` =>\`), text[i]) >= 0; n++ {
		i++
	}
	for _, scheme := range [...]string{"bearer ", "basic ", "token "} {
		if hasPrefixFold(text[i:], scheme) {
			i += len(scheme)
		}
	}
	quote := byte(0)
	if i < len(text) && (text[i] == '"' || text[i] == '\'' || text[i] == '`') {
		quote = text[i]
		i++
	}
	end := i
	for end < len(text) && end-i < maxValue && text[end] != '\\' {
		c := text[end]
		if quote != 0 && c == quote || quote == 0 && bytes.IndexByte([]byte(" ,;&\"'<>)}]|"), c) >= 0 {
			break
		}
		end++
	}
	if quote != 0 && (end == len(text) || text[end] != quote && text[end] != '\\') {
		return i, i, false // not closed: prose
	}
	return i, end, quote != 0
}

// findNamed judges the whole text as the value of the member it stands in.
func (f *finder) findNamed() {
	named := f.names()
	if f.around.name || named.and(f.catalog.labelled).none() || len(f.text) > maxValue {
		return
	}
	for _, d := range []*detector{&passwords, &secrets} {
		if !f.inner.has(d) {
			continue
		}
		name := foldedName(f.around.names()[1])
		sub := finder{catalog: f.catalog, text: name[:min(len(name), maxName)]}
		if sub.endsIn(0, len(sub.text)) != d {
			continue
		}
		if conf := secrecy(d, f.text, true); conf >= f.least {
			f.hit(d, 0, len(f.text), conf)
			return
		}
	}
}

// secrecy returns the confidence in a value behind a telling name; sure says
// that it is certainly a value and no prose.
func secrecy(d *detector, v []byte, sure bool) float64 {
	if len(v) < 4 || madeUp(v) || slices.ContainsFunc(noSecrets, func(s string) bool { return len(v) == len(s) && hasPrefixFold(v, s) }) || template(v) {
		return 0
	}
	digits, letters, others := 0, 0, 0
	for _, c := range v {
		switch {
		case isDigit(c):
			digits++
		case isLetter(c):
			letters++
		default:
			others++
		}
	}
	mixed := digits > 0 && letters > 0 || others > 0 && letters > 0 && bytes.IndexByte(v, ' ') < 0
	if d == &passwords {
		switch {
		case mixed && sure:
			return 0.85
		case mixed:
			return 0.6
		case sure:
			return 0.65
		}
		return 0.2
	}
	switch {
	case len(v) < 8 || bytes.IndexByte(v, ' ') >= 0 || fileName(v):
		return 0.1
	case digits > 0 && letters > 0 && varied(v, 8):
		return 0.85
	case len(v) >= 16 && varied(v, 8) && letters > 0 && digits == 0 && others == 0:
		return 0.55
	}
	return 0.3
}

// noSecrets are values that say something about a secret.
var noSecrets = []string{
	"null", "none", "true", "false", "undefined", "string", "password", "secret", "token", "required", "optional", "example", "changeme", "missing", "invalid", "expired", "empty", "hidden", "masked",
	"redacted", "bearer", "basic", "your_api_key", "your-api-key", "yes", "default", "disabled", "enabled", "unknown", "void", "object", "number", "integer", "boolean",
}

// fileName reports whether v is the path of a file with an extension. Base64 has
// slashes, and no dot.
func fileName(v []byte) bool {
	name := v[bytes.LastIndexByte(v, '/')+1:]
	dot := bytes.LastIndexByte(name, '.')
	if len(name) == len(v) || dot < 1 || len(name)-dot < 2 || len(name)-dot > 9 {
		return false
	}
	return !slices.ContainsFunc(name[dot+1:], func(c byte) bool { return !asciiLetter(c) }) &&
		(v[0] == '/' || v[0] == '~' || bytes.HasPrefix(v, []byte("./")) || bytes.HasPrefix(v, []byte("../")))
}

// template reports whether v is written for something else to be put in: $NAME,
// %s, YOUR_KEY, os.environ[...].
func template(v []byte) bool {
	for _, p := range [...]string{"$", "%", "your_", "your-", "my_", "<", "os.", "process.env", "env.", "env(", "vault:", "secret/", "arn:", "file:", "ref:"} {
		if hasPrefixFold(v, p) {
			return true
		}
	}
	return false
}
