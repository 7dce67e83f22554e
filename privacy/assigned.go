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
			"password", "passwd", "passwort", "pwd", "passphrase", "contrasena", "mot de passe", "senha", "wachtwoord", "haslo", "kennwort", "db pass", "user pass", "mysql pwd", "pgpassword", "lozinka", "sifre", "losenord", "salasana", "adgangskode", "passord", "heslo", "parola", "jelszo", "mat khau", "kata sandi", "passcode", "one time password", "otp", "userpassword", "dbpassword",
			"password confirm", "password confirmation", "password again", "password repeat", "identified by", "requirepass", "pass", "pw",
			"clave", "mdp", "geslo", "parool", "slaptazodis", "palavra passe", "pass phrase", "parola chiave",
		},
		hits: []string{
			`{"password":"hunter2"}`, "password=hunter2", "PASSWORD: 'c0rrect horse'", "db_password=Tr0ub4dor&3", `"pwd" : "s3cr3t!"`, "passwd:abc123", "userPassword=p4ss", "<db_password>s3cr3tPw9</db_password>", `{"password":"correct horse battery staple"}`,
			"my password is hunter2!", "the password is: hunter2!", "login with password s3cr3tPw9", "IDENTIFIED BY 's3cr3tPw9'", `{"password_confirmation":"Summer2024!"}`, `{"pass":"hunter2!"}`, "user ann, pass: hunter2!", "ldap_bind_pw = s3cr3tPw9",
			`{"password":12345678}`, `<Password Type="text">s3cr3tPw9!</Password>`, "<wsse:Password>hunter2!!</wsse:Password>", "mysqldump --password hunter2x db", "mysql -u root -ps3cr3tPw9 db", "sshpass -p 's3cr3tPw9' ssh root@host",
			"docker login -u ann -p hunter2x registry.example", "curl -u admin:s3cr3tPw9 https://x.example", "redis-cli -a s3cr3tPw9x ping", `<user name="ann" password="Tr0ub4dor&3"/>`, `{"password":"Tr0ub4dor"}`, `{"api_key":"x","password":"user.name1"}`,
			`{"name":"password","value":"hunter2!"}`, `{"Key":"DB_PASSWORD","type":"s","Value":"hunter2!"}`, `<add key="DbPassword" value="Tr0ub4dor3"/>`, "- name: DB_PASSWORD\n  value: s3cr3tPw9\n", "define('DB_PASSWORD', 's3cr3tPw9');", `const password: string = "s3cr3tPw9"`, `Dim password As String = "s3cr3tPw9"`, `var password = @"s3cr3tPw9";`, `password = b"s3cr3tPw9"`, "- **Password:** s3cr3tPw9", `<input type="password" value="s3cr3tPw9">`, "Kennwort lautet s3cr3tPw9", "密码：s3cr3tPw9", "heslo: s3cr3tPw9", "sshpass -ps3cr3tPw9 ssh u@h", `{"clave":"hunter22"}`, "mdp: hunter22", "geslo: s3cr3tPw9", "a senha é s3cr3tPw9", "hasło to s3cr3tPw9", "lösenordet är s3cr3tPw9, lösenord är s3cr3tPw9", "- **Password:** `hunter2!`", `{"id":"a","pw":[{"field":"password","value":12345678}]}`,
		},
		misses: []string{
			"password: required", "password=${DB_PASSWORD}", "password: ********", "the password is wrong", "password=", `{"password":null}`, `{"password":"<your password>"}`, "password: must be set",
			`{"password":"[PASSWORD_REDACTED]"}`, "passwordless: enabled1", "password reset: 2026-11-23", "<password>required</password>", "<password></password>", "a<password>[PASSWORD_REDACTED]</password>",
			"password = getpass.getpass()", `password = config.get("password")`, "self.passwd = passwd", "password=user.password", `encodePassword: "encodePassword"`, `Env = append(env, "PWD="+cmd.Dir, "x1")`, "pwd: /home/ann/src2", `{"pwd":"/home/ann/src2"}`,
			"the password is wrong since 2026-11-23", "password sha256sum is old", "password reset2026 mail", "tests pass: 12/15", "boarding pass: AB1234", `{"pass":true,"n":123}`, "password: Optional[str1]", "ssh -p2222 host", "tar -pxvf file1.tgz", "docker run -p 8080:80 nginx1",
			"mkdir -p some1dir/sub2", "curl -u $USER:$PASS1 https://x.example", "mysql -p db1 2026", "--password-file /run/secrets/db1", "<password hint='none' length='12'></password>", "password is [PASSWORD_REDACTED] 123",
			"--- PASS: TestVet/7 (0.1s)", `ask("Password: ") + name1`, `<input type="password" value="">`, `<input type="password" value="required">`, `"password": "** "`, `{"type":"password","value":""}`, `{"name":"password","value":"required"}`, `{"value":"hunter2!","name":"password"}`, `columns("password", "field2")`, `const password: string = "required"`, `{"name":"passwords","value":"hunter2!"}`,
			"- name: DB_PASSWORD\n  valueFrom: s3cr3tPw9\n", `<add key="DbPassword"/><add value="Tr0ub4dor3"/>`, `{"name":["password"],"value":"hunter2!"}`, "fds_to_pass = [listener.fileno()]", `{'pass': 'The 1 statement'}`, "plRPw yJiT2S0WR5ARg6I6Iq",
			`{"clave":"primaria"}`, "MDP: hunter22", "la password e sha256", "Password = *flag2", `{"password":"[FILTERED]"}`, `{"password":"Passwort"}`, "password: !vault |", "password: replace_with_yours1", "--password=PASS", "password: String?", `"forgot_password": "Forgot your password?"`,
		},
	}
	secrets = detector{
		kind: "secret", labelled: true,
		words: []string{
			"secret", "api key", "apikey", "access key", "accesskey", "secret key", "secretkey", "client secret", "clientsecret", "auth token", "authtoken", "access token", "accesstoken", "refresh token", "token",
			"bearer", "bearer token", "private key", "privatekey", "encryption key", "signing key", "account key", "accountkey", "sharedaccesskey", "shared access key", "credential", "credentials", "session key", "master key",
			"webhook secret", "client key data", "api secret", "apisecret", "app secret", "consumer secret", "consumer key", "auth key", "authkey", "access id", "api token", "apitoken", "session token", "id token", "security token", "secret access key", "subscription key",
			"authorization", "app key", "relic license key", "decryption key", "validation key", "api schlussel", "cle api", "clave api", "chave api", "chiave api", "geheimnis", "application key", "secret key base", "hmac key", "jwt key", "storage key", "service key", "admin key", "deploy key", "webhook key", "auth", "sig", "phpsessid", "jsessionid",
			"cookie", // what of it is: see cookies
		},
		hits: []string{
			`{"api_key":"9f86d081884c7d659a2feaa0c55ad015"}`, "client_secret=Zx81kQp0vT5nR7wY2bLd", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", `"token": "q7Hx-92kLmPz-0aWe"`,
			"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "authorization: Bearer k3Jd82nAq0Zx91Lm",
			`{"Authorization":"Basic QWxhZGRpbjpvcGVuIHNlc2FtZTE="}`, "Authorization: ApiKey k3Jd82nAq0Zx91Lm", "Authorization: Negotiate YIIJvwYGKwYBBQUCoIIJszCCCa+gJDAiBgkqhkiC9xIBAgIG", "SECRET_KEY_BASE=9f86d081884c7d659a2feaa0c55ad015", "DD_APP_KEY=9f86d081884c7d659a2feaa0c55ad015", "--api-key Zx81kQp0vT5nR7wY2bLd",
			"NEW_RELIC_LICENSE_KEY=9f86d081884c7d659a2feaa0c55ad015", "API-Schlüssel: 9f86d081884c7d659a2feaa0c55ad015", "**API key:** `9f86d081884c7d659a2feaa0c55ad015`",
			`{"env":[{"name":"API_KEY","value":"Zx81kQp0vT5nR7wY2bLd"}]}`, `[{"name":"Authorization","value":"Bearer k3Jd82nAq0Zx91Lm"}]`,
			"Set-Cookie: session=8f14e45fceea167a5a36dedd4bea2543; Path=/; HttpOnly", "Cookie: theme=dark; connect.sid=s%3A7Jk2nQ9pLx4vT8wZ1yB5.aGk3mN6rS0uV2xY4zA7cE9fH1jK", `{"headers":{"Cookie":"theme=dark; sessionid=8f14e45fceea167a5a36dedd4bea2543"}}`,
			"my token is Zx81kQp0vT5nR7wY2bLd", `let api_secret: &str = "Zx81kQp0vT5nR7wY2bLd";`, `"auth": "QWxhZGRpbjpvcGVuIHNlc2FtZTE="`, "?sv=2024-11-04&sig=Zx81kQp0vT5nR7wY2bLdZx81kQp0vT5nR7wY2bLd8x0%3D",
		},
		misses: []string{
			`{"max_tokens":"12345678901234567890"}`, `{"license_key":"apache-2.0"}`, `{"token_type":"Bearer"}`, "token: expired", `{"next_page_token":"CAUQAA"}`, "api_key=YOUR_API_KEY", "secret=xxxxxxxxxxxxxxxx", `{"secret":"false"}`, "token: string", "authorization: required",
			"operator_token: /var/lib/iatp/operator.token can be read by others", `{"private_key":"./tls/key9.pem"}`,
			`{"type":"token","value":"identifier"}`, `{"kind":"token","value":"variable1"}`,
			"Cookie: theme=dark; _ga=GA1.2.1234567890.1699999999; lang=en", "cookie: session=abc", "Set-Cookie: sid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", `{"cookie":"accepted2026"}`, "session=8f14e45fceea167a5a36dedd4bea2543", "the cookie is Zx81kQp0vT5nR7wY2bLd",
			"token = token[:-1]", "config.PrivateKey = testECDSAPrivateKey", "token = int(lex.Lex(lval1))", "unrecognized token: \"x'012`45ab\"", "token = uint8(tkOTHER12)", `{"auth":"oauth2"}`, "auth: required1", "sig=12ab", "--token-file tokens2026.txt", "the token is OAuth2 based",
			"PrivateKey: testRSA2048PrivateKey,", "private_key: ed25519.Ed25519PrivateKey,", "withCredentials: kEnumerableProperty",
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
	if end == i && start > 0 && text[start] != ' ' && (text[start-1] == '"' || text[start-1] == '\'') {
		next := i + 1
		for next < len(text) && text[next] == ' ' {
			next++
		}
		if next < len(text) && text[next] == text[start-1] {
			return i + 1 // "PWD="+dir: the quote closes
		}
	}
	d, word := f.endsIn(start, end)
	if d == nil {
		if last := f.typed(end); text[i] == '=' && last > 0 {
			start, end = max(last-maxNameLabel, 0), last
		} else if start, end = f.alias(end); start == end {
			return i + 1
		}
		if d, word = f.endsIn(start, end); d == nil {
			return i + 1
		}
	}
	if f.cookie(word, end) {
		f.cookies(i + 1)
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
	v := text[from:to]
	if quoted && endsFold(text[start:end], v) || !quoted && code(v, text[word:end], from > i+1 && i > end) {
		return i + 1
	}
	if conf := secrecy(d, v, quoted || text[i] == '='); conf >= f.least && f.strict(word, end, v) {
		return f.hit(d, from, to, conf)
	}
	return i + 1
}

// typed returns where the label ends whose type, which ends at end, stands behind it:
// password: string = "x". It returns 0 if there is none.
func (f *finder) typed(end int) int {
	for _, name := range typesOfText {
		i := end - len(name)
		if i < 2 || string(f.text[i:end]) != name || byteKind[f.text[i-1]] == runByte {
			continue
		}
		for n := 0; n < 4 && i > 0 && aroundType[f.text[i-1]]; n++ {
			i--
		}
		if as := i - len(" as"); as > 0 && hasPrefixFold(f.text[as:i], " as") { // Dim password As String
			i = as
		}
		return i
	}
	return 0
}

// typesOfText are what programming languages call text, and aroundType what stands
// between a name and its type.
var (
	typesOfText = [...]string{"string", "String", "str"}
	aroundType  = bytesOf(" :&")
)

// alias returns what the label that ends at end calls its value by another one before
// it: the text in value="x" of <add key="DbPassword" value="x"/>, in YAML the next line
// of "- name: DB_PASSWORD". It returns two equal places if there is none.
func (f *finder) alias(end int) (int, int) {
	text, i := f.text, end-len("value")
	if i < 0 || !hasPrefixFold(text[i:end], "value") || i > 0 && byteKind[text[i-1]] == runByte {
		return 0, 0
	}
	i = f.skipBack(i)
	last := i
	for i > 0 && last-i < maxNameLabel && tagBytes[text[i-1]] && text[i-1] != ':' {
		i--
	}
	first := i
	i = f.skipBack(i)
	if first == last || i == 0 || text[i-1] != '=' && text[i-1] != ':' {
		return 0, 0
	}
	i = f.skipBack(i - 1)
	for _, word := range [...]string{"name", "key", "type"} {
		if n := i - len(word); n >= 0 && hasPrefixFold(text[n:i], word) && (n == 0 || byteKind[text[n-1]] != runByte) {
			return first, last
		}
	}
	return 0, 0
}

// skipBack returns where the spaces, quotes and commas before text[i] begin, a few at
// most: line ends fold to spaces.
func (f *finder) skipBack(i int) int {
	for n := 0; n < maxNameLabel/2 && i > 0 && aroundAlias[f.text[i-1]]; n++ {
		i--
	}
	return i
}

// aroundAlias is what may stand between an alias and what is around it.
var aroundAlias = bytesOf("\"'\\, \n\r\t")

// endsFold reports whether b ends in end, in any case.
func endsFold(b, end []byte) bool {
	return len(b) >= len(end) && bytes.EqualFold(b[len(b)-len(end):], end)
}

// strictly are words that stand before other things too. How long a value has to be
// after them, with letters and digits or signs.
var strictly = map[string]int{"pass": 6, "pw": 6, "mdp": 6, "clave": 6, "auth": 16, "sig": 40}

// strict reports whether v may be the value behind the word text[word:end], which
// tells of a secret.
func (f *finder) strict(word, end int, v []byte) bool {
	if end-word > len("clave") {
		return true
	}
	least, ok := strictly[string(bytes.ToLower(f.text[word:end]))]
	if !ok {
		return true
	}
	if end-word < len("clave") && upper(f.text[word]) && (word == 0 || f.text[word-1] != '_') && least < 16 { // PASS: TestVet/7
		return false
	}
	letters, others := 0, 0
	for _, c := range v {
		switch {
		case c == ' ', c == '/' && least < 16:
			return false
		case isLetter(c):
			letters++
		default:
			others++
		}
	}
	return len(v) >= least && letters > 0 && others > 0
}

// code reports whether a value without quotes is an expression of some programming
// language: a call, an element, a variable. spaced says that the separator has space
// on both sides.
func code(v, label []byte, spaced bool) bool {
	if len(v) == 0 || bytes.IndexByte([]byte("(*&:["), v[0]) >= 0 {
		return true
	}
	name, dots, digits := 0, 0, 0
	for name < len(v) && (nameBytes[v[name]] || v[name] == '.') {
		dots += pick(v[name] == '.' || v[name] == '_', 1, 0)
		digits += pick(isDigit(v[name]), 1, 0)
		name++
	}
	if name < len(v) {
		bracket := v[name] == '(' || v[name] == '['
		return bracket && name > 1 && !isDigit(v[0]) && (digits < 2 || dots > 0 || name < 7) || bytes.Contains(v, []byte("()")) || bytes.Contains(v, []byte("->"))
	}
	if slices.ContainsFunc(variables, func(end string) bool { return len(v) > len(end) && endsFold(v, []byte(end)) }) {
		return true
	}
	return digits == 0 && (bytes.IndexByte(v, '.') > 0 || spaced || endsFold(v, label)) || spaced && v[0] == '_'
}

// variables are how the names of those end that hold a secret.
var variables = []string{"key", "token", "secret", "password", "credential", "credentials"}

// element looks at the text of an XML element whose start tag ends at i, if the
// tag tells that it is secret.
func (f *finder) element(i int) int {
	text, start, name := f.text, i, i
	if i > 0 && (text[i-1] == '"' || text[i-1] == '\'') { // behind attributes
		start = max(i-maxTag, 0) + bytes.LastIndexByte(text[max(i-maxTag, 0):i], '<') + 1
		name = f.endOf(start, maxNameLabel, tagBytes)
	} else {
		for start > 0 && i-start < maxNameLabel && tagBytes[text[start-1]] {
			start--
		}
	}
	if start == 0 || start == name || text[start-1] != '<' || name < i && text[name] != ' ' {
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
	if d, word := f.endsIn(start, name); d != nil && f.strict(word, name, text[i+1:end]) {
		if conf := secrecy(d, text[i+1:end], true); conf >= f.least {
			return f.hit(d, i+1, end, conf)
		}
	}
	return i + 1
}

// maxTag is how long a start tag with attributes may be.
const maxTag = 200

var tagBytes = setOf("_-.:")

// stated looks at a row with letters and digits at i, if the words before it tell
// that it is secret: "my password is hunter2", "--token x", IDENTIFIED BY 'x'.
func (f *finder) stated(i int) int {
	text, j := f.text, i
	if j > 0 && (text[j-1] == '\'' || text[j-1] == '"') {
		j--
	}
	if j < i {
		if last := f.paired(j); last > i {
			return last
		}
	}
	if j == 0 || text[j-1] != ' ' {
		return i
	}
	end := j - 1
	is := false
	for _, verb := range verbs {
		if is = bytes.HasSuffix(text[:end], []byte(verb)); is {
			end -= len(verb)
			break
		}
	}
	if end < 2 || !asciiLetter(text[end-1]) || !labelEnds.has(text[end-1]|0x20, text[end-2]|0x20) {
		return i
	}
	from, to, quoted := f.value(j)
	if from != i {
		return i
	}
	start := end
	for start > 0 && end-start < maxNameLabel && (asciiLetter(text[start-1]) || text[start-1] == '_' || text[start-1] == '-' || text[start-1] == ' ') {
		start--
	}
	d, word := f.endsIn(start, end)
	if d == nil || strictly[string(bytes.ToLower(text[word:end]))] > 0 || f.cookie(word, end) {
		return i
	}
	v := text[from:to]
	option := word > 2 && bytes.HasPrefix(text[bytes.LastIndexByte(text[:word], ' ')+1:], []byte("--"))
	if is && shortVerb(text[j-3:j-1]) && len(v) < 8 {
		return i
	}
	if !is && !option && (!quoted && turns(v) < 3 || d == &secrets && len(v) < 16) || is && d == &secrets && len(v) < 10 || !quoted && code(v, text[word:end], false) {
		return i
	}
	if conf := secrecy(d, v, quoted); conf >= f.least {
		return f.hit(d, from, to, conf)
	}
	return i
}

// verbs are what stands between a password and what it is called.
var verbs = [...]string{" is", " is:", " lautet", " lautet:", " ist", " est", " es", " e", " to", " ar", " er"}

// shortVerb reports whether a verb ends so that is another word in other languages:
// "password e sha256".
func shortVerb(end []byte) bool { return string(end) == " e" || string(end) == "to" }

// paired looks at the value in the quotes that open at j, if the text in quotes before
// it tells that it is secret: define('DB_PASSWORD', 'x').
func (f *finder) paired(j int) int {
	text, end := f.text, j
	if end > 0 && text[end-1] == ' ' {
		end--
	}
	if end < 4 || text[end-1] != ',' || text[end-2] != text[j] {
		return 0
	}
	end -= 2
	start := end
	for start > 0 && end-start < maxNameLabel && (asciiLetter(text[start-1]) || text[start-1] == '_' || text[start-1] == '-' || text[start-1] == '.') {
		start--
	}
	d, word := f.endsIn(start, end)
	from, to, quoted := f.value(j)
	if d == nil || !quoted || f.cookie(word, end) || d == &passwords && turns(text[from:to]) < 3 || !f.strict(word, end, text[from:to]) {
		return 0
	}
	if conf := secrecy(d, text[from:to], true); conf >= f.least {
		return f.hit(d, from, to, conf)
	}
	return 0
}

// turns counts how often letters of one case, letters of the other and digits take
// turns. Names with a number have one or two: sha256, base64url.
func turns(v []byte) int {
	n, last := -1, 0
	for _, c := range v {
		kind := 3
		switch {
		case isDigit(c):
			kind = 1
		case upper(c):
			kind = 2
		case asciiLetter(c):
			kind = 4
		}
		if kind != last {
			n, last = n+1, kind
		}
	}
	return n
}

// commands are those that take a password behind an option of one letter.
var commands = []struct {
	names  []string
	option byte
	joined bool // no space between
	user   bool // a name and a colon before it
}{
	{names: []string{"mysql", "mariadb", "7z", "rar ", "sshpass"}, option: 'p', joined: true},
	{names: []string{"sshpass", "mongo", "az login", "docker login", "podman login", "helm registry login"}, option: 'p'},
	{names: []string{"zip ", "sqlcmd", "bcp "}, option: 'P'},
	{names: []string{"redis-cli"}, option: 'a'},
	{names: []string{"ldap"}, option: 'w'},
	{names: []string{"curl"}, option: 'u', user: true},
}

// maxCommand is how far before its option the name of a command may stand.
const maxCommand = 64

// option looks at the password behind an option of one letter at i.
func (f *finder) option(i int) int {
	text := f.text
	if i+4 > len(text) || i == 0 || text[i-1] != ' ' || !optionLetters[text[i+1]] {
		return i
	}
	before := text[max(i-maxCommand, 0):i]
	for _, c := range commands {
		if text[i+1] != c.option || c.joined == (text[i+2] == ' ') || !slices.ContainsFunc(c.names, func(name string) bool { return bytes.Contains(before, []byte(name)) }) {
			continue
		}
		from, to, _ := f.value(i + 2)
		if c.user {
			colon := bytes.IndexByte(text[from:to], ':')
			from += colon + pick(colon < 0, to-from+1, 1)
		}
		if conf := secrecy(&passwords, text[from:to], true); conf >= f.least {
			return f.hit(&passwords, from, to, conf)
		}
	}
	return i
}

var optionLetters = bytesOf("pPawu")

// aroundLabel is what may stand between a label and its separator.
var aroundLabel = bytesOf("\"'\\] *")

// labelEnds are the last two letters, the last one first, of the words that
// end a label: most names before a colon are none.
var labelEnds = func() *pairs {
	var p pairs
	for _, w := range slices.Concat(passwords.words, secrets.words, []string{"value"}, typesOfText[:]) {
		p.add(w[len(w)-1]|0x20, w[len(w)-2]|0x20)
	}
	return &p
}()

// endsIn returns the detector whose words text[start:end] ends in, and where they
// begin.
func (f *finder) endsIn(start, end int) (d *detector, word int) {
	text := f.text
	for i := start; i < end; {
		if !asciiLetter(text[i]) {
			i++
			continue
		}
		next := endOfWord(text, i)
		if told := f.catalog.lexicon.at(text, i, next, end); told.has(&passwords) || told.has(&secrets) {
			for _, d := range []*detector{&passwords, &secrets} {
				if told.has(d) && f.phraseEnds(d, i, end) && !f.harmless(d, start, i) {
					return d, i
				}
			}
		}
		i = next
	}
	return nil, 0
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
// opens nothing, or none.
func (f *finder) harmless(d *detector, start, i int) bool {
	before := bytes.TrimRight(f.text[start:i], "_-. ")
	ends := func(w string) bool { return len(before) >= len(w) && hasPrefixFold(before[len(before)-len(w):], w) }
	return slices.ContainsFunc(harmlessBefore, ends) || d == &secrets && slices.ContainsFunc(noTokenBefore, ends)
}

var (
	harmlessBefore = []string{"page", "next", "continuation", "sync", "max", "stop", "start", "public", "reset", "csrf", "boarding", "tests", "ski", "by", "forgot"}
	noTokenBefore  = []string{"unrecognized", "unexpected", "unknown", "illegal", "bad", "missing", "expected", "parse"}
)

// value finds the value that begins at i: in quotes, or up to a space.
func (f *finder) value(i int) (from, to int, quoted bool) {
	text := f.text
	if f.hasAt(i, "** ") { // **Password:** in Markdown
		i += len("** ")
	}
	for n := 0; i < len(text) && n < 6 && bytes.IndexByte([]byte(` =>\`), text[i]) >= 0; n++ {
		i++
	}
	for _, scheme := range schemes {
		if hasPrefixFold(text[i:], scheme) {
			i += len(scheme)
		}
	}
	if i+1 < len(text) && text[i+1] == '"' && stringMarks[text[i]] {
		i++
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

// stringMarks stand before the quote of a string in some programming languages: @"x", r"x".
var stringMarks = bytesOf("@$bruL")

// schemes of authentication stand before what is secret.
var schemes = [...]string{"bearer ", "basic ", "token ", "apikey ", "negotiate ", "ntlm ", "ssws "}

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
		by, word := sub.endsIn(0, len(sub.text))
		if by != d || endsFold(sub.text, f.text) {
			continue
		}
		if sub.cookie(word, len(sub.text)) {
			f.cookies(0)
			return
		}
		from := 0
		for _, scheme := range schemes {
			if hasPrefixFold(f.text[from:], scheme) {
				from += len(scheme)
			}
		}
		if conf := secrecy(d, f.text[from:], true); conf >= f.least && sub.strict(word, len(sub.text), f.text[from:]) {
			f.hit(d, from, len(f.text), conf)
			return
		}
	}
}

// cookie reports whether the word text[i:end], which tells of a secret, is the name of
// a header whose value is cookies.
func (f *finder) cookie(i, end int) bool { return hasPrefixFold(f.text[i:end], "cookie") }

// cookies looks for those of a session in what begins at i: a=b; c=d.
func (f *finder) cookies(i int) {
	text := f.text
	if i < f.jar {
		return // looked through from an earlier word
	}
	for {
		i = f.spaces(i)
		name := i
		for i < len(text) && i-name < maxNameLabel && tagBytes[text[i]] && text[i] != ':' {
			i++
		}
		if i == name || i == len(text) || text[i] != '=' {
			f.jar = i
			return
		}
		value := i + 1
		i = value
		for i < len(text) && i-value < maxValue && text[i] > ' ' && bytes.IndexByte([]byte(";,\"'\\"), text[i]) < 0 {
			i++
		}
		if v := text[value:i]; len(v) >= shortestSession && ofSession(text[name:value]) && secrecy(&secrets, v, true) > 0.5 {
			f.hit(&secrets, value, i, 0.8)
		}
		if i == len(text) || text[i] != ';' {
			f.jar = i
			return
		}
		i++
	}
}

// shortestSession is how long the id of a session is.
const shortestSession = 16

// ofSession reports whether a cookie of this name says who is logged in.
func ofSession(name []byte) bool {
	name = bytes.ToLower(name)
	return slices.ContainsFunc([]string{"sess", "sid", "auth", "token", "jwt", "login", "remember"}, func(w string) bool { return bytes.Contains(name, []byte(w)) })
}

// secrecy returns the confidence in a value behind a telling name; sure says
// that it is certainly a value and no prose.
func secrecy(d *detector, v []byte, sure bool) float64 {
	if len(v) < 4 || madeUp(v) || d == &passwords && itself(v) || slices.ContainsFunc(noSecrets, func(s string) bool { return len(v) == len(s) && hasPrefixFold(v, s) }) || template(v) {
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
		case v[0] == '/' && bytes.IndexByte(v[1:], '/') >= 0: // PWD is a directory
			return 0.2
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
	case sure && len(v) >= 16 && varied(v, 8) && letters > 0 && digits == 0 && others == 0:
		return 0.55
	}
	return 0.3
}

// itself reports whether v is nothing but what a password is called, perhaps in another
// language, as in the texts of a form.
func itself(v []byte) bool {
	return slices.ContainsFunc(passwords.words, func(w string) bool { return len(v) == len(w) && hasPrefixFold(v, w) })
}

// noSecrets are values that say something about a secret.
var noSecrets = []string{
	"null", "none", "true", "false", "undefined", "string", "password", "secret", "token", "required", "optional", "example", "changeme", "missing", "invalid", "expired", "empty", "hidden", "masked",
	"redacted", "bearer", "basic", "your_api_key", "your-api-key", "yes", "default", "disabled", "enabled", "unknown", "void", "object", "number", "integer", "boolean", "string?", "pass", "passwd", "pwd", "value", "text",
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
	for _, p := range [...]string{"$", "%", "your_", "your-", "my_", "<", "os.", "process.env", "env.", "env(", "vault:", "secret/", "arn:", "file:", "ref:", "!vault", "!ref", "!sub", "replace_", "replace-", "change_me", "change-me", "changeme_", "insert_", "insert-"} {
		if hasPrefixFold(v, p) {
			return true
		}
	}
	return false
}
