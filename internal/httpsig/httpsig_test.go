package httpsig

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
)

const (
	publicURL = "https://expedia.example"
	body      = `{"task":"book_flight","data":{"destination":"NYC"}}`
	nonce     = "pS3kq0V9c2fXyT1m7Qw2Zg"
	skew      = 30 * time.Second
)

var (
	created = time.Unix(1794650000, 0)
	expires = created.Add(time.Minute)
)

// key returns the same key for the same letter.
func key(t testing.TB, letter string) iatp.PrivateKey {
	t.Helper()
	k, err := iatp.GeneratePrivateKey(strings.NewReader(strings.Repeat(letter, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// task is an unsigned request with a field of every kind.
func task() *Message {
	return &Message{Method: "POST", TargetURI: publicURL + "/task?dry=0", Header: http.Header{
		"Accept":           {"application/json", " text/plain "},
		"Connection":       {"keep-alive"},
		"Content-Length":   {fmt.Sprint(len(body))},
		"Content-Type":     {"application/json"},
		"Content-Digest":   {iatp.DigestOf([]byte(body)).ContentDigest()},
		"Cookie":           {"a=1", "b=2"},
		"Idempotency-Key":  {`"8e03978e-40d5-43e8-bc93-6894a57f9324"`},
		"Iatp-Budget":      {`"5.00";cur=USD`},
		"Iatp-Deadline":    {"@1794650010"},
		"Iatp-Manifest":    {iatp.DigestOf([]byte("m")).ByteSequence()},
		"Iatp-Agreement":   {iatp.DigestOf([]byte("a")).ByteSequence()},
		"Traceparent":      {"00-e4b5c6d78a9b0c1d2e3f4a5b6c7d8e9f-00f067aa0ba902b7-01"},
		"X-Agent-Trace-Id": {"e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e9f"},
		"X-Tenant":         {"blue"},
		"X-Empty":          {""},
	}}
}

func sign(t testing.TB, m *Message) iatp.Digest {
	t.Helper()
	s := Signer{Key: key(t, "a"), Agent: "https://travel.example"}
	base, err := s.Sign(m, created, expires, nonce)
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// receive does with a request what ingress does.
func receive(t testing.TB, m *Message) (*Verified, *iatp.Problem) {
	t.Helper()
	p, problem := Parse(m, created, skew)
	if problem != nil {
		return nil, problem
	}
	return p.Verify(key(t, "a").Public())
}

func TestSignedIsVerified(t *testing.T) {
	m := task()
	base := sign(t, m)
	v, problem := receive(t, m)
	if problem != nil {
		t.Fatal(problem.Error)
	}
	if v.Base != base || v.Nonce != nonce || v.KeyID != key(t, "a").Thumbprint() || !v.Created.Equal(created) || !v.Expires.Equal(expires) {
		t.Errorf("Verified is %+v", v)
	}
	five, _ := iatp.ParseMoney("5", "USD")
	parent, _ := iatp.ParseTraceParent("00-e4b5c6d78a9b0c1d2e3f4a5b6c7d8e9f-00f067aa0ba902b7-01")
	want := Fields{
		Agent: "https://travel.example", ContentDigest: iatp.DigestOf([]byte(body)), IdempotencyKey: "8e03978e-40d5-43e8-bc93-6894a57f9324",
		TraceID: "e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e9f", TraceParent: parent,
		Agreement: iatp.DigestOf([]byte("a")), Manifest: iatp.DigestOf([]byte("m")), Budget: five, Deadline: time.Unix(1794650010, 0).UTC(),
	}
	if diff := cmp.Diff(want, v.Fields, cmp.Comparer(func(a, b iatp.Money) bool { return a == b })); diff != "" {
		t.Errorf("Fields (-want +got):\n%s", diff)
	}
	wantHead := http.Header{
		"Accept": {"application/json, text/plain"}, "Cookie": {"a=1; b=2"}, "X-Tenant": {"blue"}, "X-Empty": {""},
	}
	for _, name := range []string{"Content-Type", "Content-Digest", "Idempotency-Key", "Iatp-Budget", "Iatp-Deadline", "Iatp-Manifest", "Iatp-Agreement", "Traceparent", "X-Agent-Trace-Id"} {
		wantHead[name] = task().Header[name]
	}
	if diff := cmp.Diff(wantHead, v.Head()); diff != "" {
		t.Errorf("Head() (-want +got):\n%s", diff)
	}
	if problem := v.CheckBody(iatp.DigestOf([]byte(body))); problem != nil {
		t.Error(problem.Error)
	}
	if problem := v.CheckBody(iatp.DigestOf([]byte(body + " "))); problem == nil || problem.Slug != iatp.SlugDigestMismatch {
		t.Errorf("another body: %+v, want digest-mismatch", problem)
	}
}

// wire is a request as it goes over a connection.
func wire(m *Message) []byte {
	text := m.Method + " " + strings.TrimPrefix(m.TargetURI, publicURL) + " HTTP/1.1\r\nHost: expedia.example\r\n"
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		for _, line := range m.Header[name] {
			text += name + ": " + line + "\r\n"
		}
	}
	return []byte(text + "\r\n" + body)
}

// fromWire reads a request as a server does, and verifies it.
func fromWire(t testing.TB, text []byte) (v *Verified, uri string, problem *iatp.Problem) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
	if err != nil {
		return nil, "", &iatp.Problem{Slug: "http"}
	}
	got, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, "", &iatp.Problem{Slug: "http"}
	}
	uri, problem = Target(publicURL, r.RequestURI, "")
	if problem != nil {
		return nil, "", problem
	}
	v, problem = receive(t, &Message{r.Method, uri, r.Header})
	if problem == nil {
		problem = v.CheckBody(iatp.DigestOf(got))
	}
	return v, uri, problem
}

// Whatever bit of a request is flipped on the way: it is refused, or everything
// that the agent gets is what was signed.
func TestEveryFlippedBit(t *testing.T) {
	m := task()
	sign(t, m)
	text := wire(m)
	want, _, problem := fromWire(t, text)
	if problem != nil {
		t.Fatal(problem.Error)
	}
	passed := 0
	for i := range text {
		for bit := range 8 {
			changed := slices.Clone(text)
			changed[i] ^= 1 << bit
			got, uri, problem := fromWire(t, changed)
			if problem != nil {
				continue
			}
			passed++
			if uri != m.TargetURI || got.method != m.Method || !cmp.Equal(got.Head(), want.Head()) || got.Base != want.Base || got.Nonce != want.Nonce {
				t.Errorf("bit %d of byte %d, in %q: accepted with another meaning", bit, i, changed[max(0, i-20):min(len(changed), i+20)])
			}
		}
	}
	// What may pass: the case of names, white space at the ends of values, and the
	// fields of the connection.
	if passed == 0 || passed > len(text)*2 {
		t.Errorf("%d of %d changed requests passed", passed, len(text)*8)
	}
}

// The header differential: whatever is done to a field on the way, the agent sees
// the head that was signed, or nothing.
func TestEveryTamperedField(t *testing.T) {
	m := task()
	sign(t, m)
	want, problem := receive(t, m)
	if problem != nil {
		t.Fatal(problem.Error)
	}
	tampering := map[string]func(h http.Header, name string){
		"changed":      func(h http.Header, name string) { h[name] = []string{h[name][0] + "x"} },
		"emptied":      func(h http.Header, name string) { h[name] = []string{""} },
		"removed":      func(h http.Header, name string) { delete(h, name) },
		"twice":        func(h http.Header, name string) { h[name] = append(h[name], h[name][0]) },
		"second line":  func(h http.Header, name string) { h[name] = append(h[name], "x") },
		"split":        func(h http.Header, name string) { h[name] = strings.SplitAfterN(h[name][0], "e", 2) },
		"nominated":    func(h http.Header, name string) { h["Connection"] = []string{"close, " + strings.ToLower(name)} },
		"underscored":  func(h http.Header, name string) { h[strings.ReplaceAll(name, "-", "_")+"_"] = h[name] },
		"lower case":   func(h http.Header, name string) { h[strings.ToLower(name)] = []string{"x"} },
		"outer space":  func(h http.Header, name string) { h[name] = []string{" " + h[name][0] + "\t"} },
		"inner space":  func(h http.Header, name string) { h[name] = []string{strings.Replace(h[name][0], "e", "e ", 1)} },
		"line feed":    func(h http.Header, name string) { h[name] = []string{h[name][0] + "\n"} },
		"not ASCII":    func(h http.Header, name string) { h[name] = []string{h[name][0] + "é"} },
		"added before": func(h http.Header, name string) { h["A-"+name] = []string{"x"} },
		"new field of the fixed list": func(h http.Header, _ string) {
			h["Mcp-Method"] = []string{"tools/call"}
		},
	}
	for how, tamper := range tampering {
		for name := range m.Header {
			changed := &Message{m.Method, m.TargetURI, m.Header.Clone()}
			tamper(changed.Header, name)
			got, problem := receive(t, changed)
			if problem == nil && !cmp.Equal(got.Head(), want.Head()) {
				t.Errorf("%s %s: the agent would see %v", name, how, got.Head())
			}
			_, covered := want.Head()[name]
			if problem == nil && (how == "underscored" || covered && (how == "twice" || how == "second line")) {
				t.Errorf("%s %s: accepted, want it refused", name, how)
			}
		}
	}
}

// Go joins a folded line with one space before anybody sees it. It does no harm:
// the value is what was signed, or it is not.
func TestFoldedField(t *testing.T) {
	m := task()
	m.Header["X-Folded"] = []string{"a b"}
	sign(t, m)
	want, _, problem := fromWire(t, wire(m))
	if problem != nil {
		t.Fatal(problem.Error)
	}
	for _, fold := range []string{"a\r\n b", "a\r\n\tb", "a b\r\n c", "a\r\n  b\r\n "} {
		text := strings.Replace(string(wire(m)), "X-Folded: a b", "X-Folded: "+fold, 1)
		if got, _, problem := fromWire(t, []byte(text)); problem == nil && !cmp.Equal(got.Head(), want.Head()) {
			t.Errorf("%q: the agent would see %q", fold, got.Head().Get("X-Folded"))
		}
	}
}

// signAnything signs a request under whatever components, with whatever fields.
func signAnything(t testing.TB, m *Message, in input) {
	t.Helper()
	base := ""
	for _, c := range in.components {
		name, _, _ := strings.Cut(strings.Trim(c, `"`), `"`)
		value := strings.Trim(strings.Join(m.Header[textproto.CanonicalMIMEHeaderKey(name)], ", "), " \t")
		switch name {
		case "@method":
			value = m.Method
		case "@target-uri":
			value = m.TargetURI
		case fieldAgent:
			value = strings.TrimPrefix(value, "iatp=")
		}
		base += c + ": " + value + "\n"
	}
	base += `"@signature-params": ` + in.spell()
	m.Header["Signature-Input"] = []string{"iatp=" + in.spell()}
	m.Header["Signature"] = []string{"iatp=" + formatSignature(key(t, "a").Sign([]byte(base)))}
}

// small is a request with only what has to be there, and its input.
func small(t testing.TB) (*Message, input) {
	m := &Message{"POST", publicURL + "/task", http.Header{
		"Content-Digest":  {iatp.DigestOf(nil).ContentDigest()},
		"Idempotency-Key": {`"k"`},
	}}
	return m, input{
		components: []string{componentMethod, componentTarget, `"content-digest"`, `"idempotency-key"`},
		created:    created.Unix(), expires: expires.Unix(), nonce: nonce, keyID: key(t, "a").Thumbprint(),
	}
}

func TestCoverage(t *testing.T) {
	set := func(name, value string) func(*Message, *input) {
		return func(m *Message, _ *input) { m.Header[name] = []string{value} }
	}
	cover := func(name, value string) func(*Message, *input) { // as the last component
		return func(m *Message, in *input) {
			m.Header[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
			in.components = append(in.components, `"`+name+`"`)
		}
	}
	components := func(c ...string) func(*Message, *input) {
		return func(_ *Message, in *input) { in.components = c }
	}
	long := func(n int) func(*Message, *input) {
		return func(m *Message, in *input) {
			for i := range n - len(in.components) {
				cover(fmt.Sprintf("x-%03d", i), "x")(m, in)
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*Message, *input)
		want   string // slug; "" is accepted
	}{
		{"as it is", func(*Message, *input) {}, ""},
		{"a field that is not covered", set("X-Other", "1"), ""},
		{"a fixed field that is not covered", set("Iatp-Budget", `"5";cur=USD`), iatp.SlugUncoveredHeader},
		{"Signature-Agent not covered", set("Signature-Agent", `iatp="https://a.example"`), iatp.SlugUncoveredHeader},
		{"other fields in order", func(m *Message, in *input) { cover("a", "1")(m, in); cover("b", "2")(m, in) }, ""},
		{"other fields out of order", func(m *Message, in *input) { cover("b", "1")(m, in); cover("a", "2")(m, in) }, iatp.SlugBadSignature},
		{"a field twice", func(m *Message, in *input) { cover("a", "1")(m, in); cover("a", "1")(m, in) }, iatp.SlugBadSignature},
		{"fixed after others", func(m *Message, in *input) { cover("a", "1")(m, in); cover("iatp-budget", `"5";cur=USD`)(m, in) }, iatp.SlugBadSignature},
		{"fixed out of order", func(_ *Message, in *input) {
			in.components[2], in.components[3] = in.components[3], in.components[2]
		}, iatp.SlugBadSignature},
		{"no method", components(componentTarget, `"content-digest"`, `"idempotency-key"`), iatp.SlugBadSignature},
		{"no target", components(componentMethod, `"content-digest"`, `"idempotency-key"`), iatp.SlugBadSignature},
		{"nothing", components(), iatp.SlugBadSignature},
		{"another derived component", components(componentMethod, componentTarget, `"@authority"`, `"content-digest"`, `"idempotency-key"`), iatp.SlugBadSignature},
		{"capital letter", cover("X-a", "1"), iatp.SlugBadSignature},
		{"underscore", cover("x_a", "1"), iatp.SlugInvalidRequest},
		{"a field that is not there", func(_ *Message, in *input) { in.components = append(in.components, `"x-absent"`) }, iatp.SlugBadSignature},
		{"Connection", cover("connection", "close"), iatp.SlugBadSignature},
		{"TE", cover("te", "trailers"), iatp.SlugBadSignature},
		{"Host", cover("host", "expedia.example"), iatp.SlugBadSignature},
		{"Content-Length", cover("content-length", "0"), iatp.SlugBadSignature},
		{"the signature", cover("signature", "x"), iatp.SlugBadSignature},
		{"nominated", func(m *Message, in *input) {
			cover("x-a", "1")(m, in)
			set("Connection", "close , X-A")(m, in)
		}, iatp.SlugBadSignature},
		{"a fixed field nominated", set("Connection", "idempotency-key"), iatp.SlugBadSignature},
		{"two lines", func(m *Message, in *input) {
			cover("x-a", "1")(m, in)
			m.Header["X-A"] = []string{"1", "2"}
		}, iatp.SlugBadSignature},
		{"not ASCII", cover("x-a", "é"), iatp.SlugBadSignature},
		{"carriage return", cover("x-a", "a\rb"), iatp.SlugBadSignature},
		{"line feed", cover("x-a", "a\n\"x-b\": b"), iatp.SlugBadSignature},
		{"tab inside", cover("x-a", "a\tb"), ""},
		{"as many as may be", long(MaxComponents), ""},
		{"too many", long(MaxComponents + 1), iatp.SlugBadSignature},
		{"CONNECT", func(m *Message, _ *input) { m.Method = "CONNECT" }, iatp.SlugBadSignature},
		{"method not a token", func(m *Message, _ *input) { m.Method = "PO ST" }, iatp.SlugBadSignature},
		{"target with a space", func(m *Message, _ *input) { m.TargetURI += " x" }, iatp.SlugBadSignature},
		{"no key on an unsafe method", func(m *Message, in *input) {
			delete(m.Header, "Idempotency-Key")
			in.components = in.components[:3]
		}, iatp.SlugIdempotencyKeyRequired},
		{"no digest on an unsafe method", func(m *Message, in *input) {
			delete(m.Header, "Content-Digest")
			in.components = slices.Delete(in.components, 2, 3)
		}, iatp.SlugDigestMismatch},
		{"neither on a safe method", func(m *Message, in *input) {
			m.Method, m.Header, in.components = "GET", http.Header{}, in.components[:2]
		}, ""},
		{"an unknown method counts as unsafe", func(m *Message, in *input) {
			m.Method, m.Header, in.components = "PURGE", http.Header{}, in.components[:2]
		}, iatp.SlugDigestMismatch},
	} {
		m, in := small(t)
		c.change(m, &in)
		signAnything(t, m, in)
		if _, problem := receive(t, m); slug(problem) != c.want {
			t.Errorf("%s: %s, want %q", c.name, describe(problem), c.want)
		}
	}
}

func slug(p *iatp.Problem) string {
	if p == nil {
		return ""
	}
	return p.Slug
}

func describe(p *iatp.Problem) string {
	if p == nil {
		return "accepted"
	}
	return fmt.Sprintf("%d %q (%s)", p.Status, p.Slug, p.Error)
}

// Each field of the protocol, when it is not well-formed, is a request that was
// not understood, though the signature may be good.
func TestFieldTypes(t *testing.T) {
	for name, values := range map[string][2][]string{
		"content-digest":   {{iatp.DigestOf(nil).ContentDigest()}, {"", "sha-256=:AAAA:", iatp.DigestOf(nil).ContentDigest() + ", " + iatp.DigestOf(nil).ContentDigest()}},
		"idempotency-key":  {{`"k"`}, {"", "k", `""`, `"k";a=1`, `"a", "b"`}},
		"x-agent-trace-id": {{"e4b5c6d7-8a9b-0c1d-2e3f-4a5b6c7d8e9f", "e4b5c6d78a9b0c1d2e3f4a5b6c7d8e9f"}, {"", "abc-123", "../../etc/passwd", "4111111111111111"}},
		"traceparent":      {{"00-e4b5c6d78a9b0c1d2e3f4a5b6c7d8e9f-00f067aa0ba902b7-01"}, {"", "x", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"}},
		"iatp-agreement":   {{iatp.DigestOf(nil).ByteSequence()}, {"", ":AAAA:", iatp.DigestOf(nil).Base64URL()}},
		"iatp-manifest":    {{iatp.DigestOf(nil).ByteSequence()}, {"", ":AAAA:", iatp.DigestOf(nil).ContentDigest()}},
		"iatp-budget":      {{`"5.00";cur=USD`}, {"", "5", `"5.00";cur=USD;x`, `"5.000";cur=USD`}},
		"iatp-deadline":    {{"@1794650010", "@1794736400"}, {"", "1794650010", "@1794736401"}},
		"iatp-facts":       {{"e30.e30.e30", "e30.e30.e30, e30.e30.e30"}, {"", "x", "e30.e30"}},
		"iatp-grant":       {{"e30.e30.e30"}, {"", "x,y"}},
		"signature-agent": {{`iatp="https://travel.example"`, `sig2="https://b.example", iatp="https://a.example"`},
			{"", `"https://travel.example"`, `sig2="https://travel.example"`, `iatp=token`, `iatp="http://travel.example"`, `iatp="https://travel.example/"`, `iatp="https://a.example", iatp="https://b.example"`, `iatp="https://a.example";x`}},
	} {
		for i, list := range values {
			for _, value := range list {
				m, in := small(t)
				m.Header[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
				c := component(name)
				if !slices.Contains(in.components, c) {
					in.components = append(in.components, c)
				}
				if name == fieldAgent { // sign the member, as the profile has it
					p := &Pending{names: []string{"content-digest", "idempotency-key", name},
						values: []string{m.Header.Get("Content-Digest"), m.Header.Get("Idempotency-Key"), value}}
					p.Agent, _ = parseAgent(value)
					in.text = in.spell()
					m.Header["Signature-Input"] = []string{"iatp=" + in.text}
					m.Header["Signature"] = []string{"iatp=" + formatSignature(key(t, "a").Sign(p.build(m, in)))}
				} else {
					signAnything(t, m, in)
				}
				want := [...]string{"", iatp.SlugInvalidRequest}[i]
				if _, problem := receive(t, m); slug(problem) != want {
					t.Errorf("%s: %s is %s, want %q", name, value, describe(problem), want)
				}
			}
		}
	}
}

func TestClock(t *testing.T) {
	m := task()
	sign(t, m)
	for _, c := range []struct {
		now  time.Duration // after created
		want string
	}{
		{-31 * time.Second, iatp.SlugBadSignature}, {-30 * time.Second, ""}, {0, ""}, {60 * time.Second, ""},
		{89 * time.Second, ""}, {90 * time.Second, iatp.SlugBadSignature}, {time.Hour, iatp.SlugBadSignature},
	} {
		if _, problem := Parse(m, created.Add(c.now), skew); slug(problem) != c.want {
			t.Errorf("%v after created: %s, want %q", c.now, describe(problem), c.want)
		}
	}
}

func TestSignatureField(t *testing.T) {
	m := task()
	sign(t, m)
	good := m.Header.Get("Signature")
	input := m.Header.Get("Signature-Input")
	raw := strings.TrimSuffix(strings.TrimPrefix(good, "iatp=:"), ":")
	flipped := map[byte]string{'A': "B", 'Q': "R", 'g': "h", 'w': "x"}[raw[len(raw)-3]]
	for name, c := range map[string]struct {
		signature, input []string
		want             string
	}{
		"as it is":             {[]string{good}, []string{input}, ""},
		"another beside it":    {[]string{"sig2=:AAAA:, " + good}, []string{`sig2=("@method");tag="web-bot-auth", ` + input}, ""},
		"none":                 {nil, []string{input}, iatp.SlugSignatureRequired},
		"no input":             {[]string{good}, nil, iatp.SlugSignatureRequired},
		"only another":         {[]string{"sig2=:AAAA:"}, []string{`sig2=("@method")`}, iatp.SlugBadSignature},
		"two lines":            {[]string{good, good}, []string{input}, iatp.SlugBadSignature},
		"two inputs":           {[]string{good}, []string{input, input}, iatp.SlugBadSignature},
		"twice in a line":      {[]string{good + ", " + good}, []string{input}, iatp.SlugBadSignature},
		"our tag elsewhere":    {[]string{good}, []string{input + `, sig2=("@method");tag="iatp-v1"`}, iatp.SlugBadSignature},
		"no padding":           {[]string{strings.ReplaceAll(good, "==:", ":")}, []string{input}, iatp.SlugBadSignature},
		"stray bits":           {[]string{"iatp=:" + raw[:len(raw)-3] + flipped + "==:"}, []string{input}, iatp.SlugBadSignature},
		"parameter":            {[]string{good + ";a=1"}, []string{input}, iatp.SlugBadSignature},
		"short":                {[]string{"iatp=:AAAA:"}, []string{input}, iatp.SlugBadSignature},
		"empty":                {[]string{"iatp=::"}, []string{input}, iatp.SlugBadSignature},
		"a line feed inside":   {[]string{good[:20] + "\n" + good[20:]}, []string{input}, iatp.SlugBadSignature},
		"white space inside":   {[]string{good[:20] + " " + good[20:]}, []string{input}, iatp.SlugBadSignature},
		"huge":                 {[]string{good + ", x=:" + strings.Repeat("A", MaxInput) + ":"}, []string{input}, iatp.SlugBadSignature},
		"huge input":           {[]string{good}, []string{input + ", x=" + strings.Repeat("a", MaxInput)}, iatp.SlugBadSignature},
		"not a dictionary":     {[]string{"(" + good}, []string{input}, iatp.SlugBadSignature},
		"zeros":                {[]string{"iatp=" + formatSignature(make([]byte, 64))}, []string{input}, iatp.SlugBadSignature},
		"signature of another": {[]string{"iatp=" + formatSignature(key(t, "b").Sign([]byte("x")))}, []string{input}, iatp.SlugBadSignature},
	} {
		changed := &Message{m.Method, m.TargetURI, m.Header.Clone()}
		changed.Header["Signature"], changed.Header["Signature-Input"] = c.signature, c.input
		if _, problem := receive(t, changed); slug(problem) != c.want {
			t.Errorf("%s: %s, want %q", name, describe(problem), c.want)
		}
	}
}

func TestVerifyWithAnotherKey(t *testing.T) {
	m := task()
	sign(t, m)
	p, problem := Parse(m, created, skew)
	if problem != nil {
		t.Fatal(problem.Error)
	}
	for _, k := range []iatp.Key{{}, key(t, "b").Public()} {
		if v, problem := p.Verify(k); problem == nil {
			t.Errorf("Verify(%v) = %v, want a problem", k, v)
		}
	}
}

func TestTarget(t *testing.T) {
	for _, c := range []struct {
		target, authority string
		want              string
		status            int
	}{
		{"/task", "", publicURL + "/task", 0},
		{"/task", "expedia.example", publicURL + "/task", 0},
		{"/task", "Expedia.example", "", 421},
		{"/task", "expedia.example:443", "", 421},
		{"/task", "other.example", "", 421},
		{"//task", "", publicURL + "//task", 0},
		{"/%74ask/../x?", "", publicURL + "/%74ask/../x?", 0},
		{publicURL + "/task?a", "", publicURL + "/task?a", 0},
		{publicURL, "", "", 400},
		{publicURL + "?a", "", "", 400},
		{publicURL + ".evil/task", "", "", 421},
		{"http://expedia.example/task", "", "", 421},
		{"https://EXPEDIA.example/task", "", "", 421},
		{"*", "", "", 400},
		{"", "", "", 400},
		{"expedia.example:443", "", "", 400},
		{"/a#b", "", "", 400},
		{"/a b", "", "", 400},
		{"/é", "", "", 400},
		{"/" + strings.Repeat("a", MaxTarget), "", "", 400},
	} {
		uri, problem := Target(publicURL, c.target, c.authority)
		if status := statusOf(problem); uri != c.want || status != c.status {
			t.Errorf("Target(%q, %q) = %q, %s, want %q, %d", c.target, c.authority, uri, describe(problem), c.want, c.status)
		}
	}
}

func statusOf(p *iatp.Problem) int {
	if p == nil {
		return 0
	}
	return p.Status
}

func TestFingerprint(t *testing.T) {
	fingerprint := func(s Signer, change func(*Message), at time.Time, nonce string) iatp.Digest {
		m := task()
		if change != nil {
			change(m)
		}
		if _, err := s.Sign(m, at, at.Add(time.Minute), nonce); err != nil {
			t.Fatal(err)
		}
		p, problem := Parse(m, at, skew)
		if problem != nil {
			t.Fatal(problem.Error)
		}
		v, problem := p.Verify(s.Key.Public())
		if problem != nil {
			t.Fatal(problem.Error)
		}
		return v.Fingerprint()
	}
	s := Signer{Key: key(t, "a"), Agent: "https://travel.example"}
	want := fingerprint(s, nil, created, nonce)
	set := func(name, value string) func(*Message) {
		return func(m *Message) { m.Header[name] = []string{value} }
	}
	rotated := Signer{Key: key(t, "b"), Agent: "https://travel.example"}
	for name, got := range map[string]iatp.Digest{
		"again":        fingerprint(s, nil, created.Add(time.Second), strings.Repeat("n", 22)),
		"deadline":     fingerprint(s, set("Iatp-Deadline", "@1794650020"), created, nonce),
		"trace":        fingerprint(s, set("X-Agent-Trace-Id", strings.Repeat("0", 32)), created, nonce),
		"trace parent": fingerprint(s, func(m *Message) { delete(m.Header, "Traceparent") }, created, nonce),
		"another key":  fingerprint(rotated, nil, created, nonce),
		"manifest":     fingerprint(s, set("Iatp-Manifest", iatp.DigestOf(nil).ByteSequence()), created, nonce),
		"agreement":    fingerprint(s, set("Iatp-Agreement", iatp.DigestOf(nil).ByteSequence()), created, nonce),
	} {
		if got != want {
			t.Errorf("%s: the fingerprint differs", name)
		}
	}
	for name, got := range map[string]iatp.Digest{
		"method":   fingerprint(s, func(m *Message) { m.Method = "PUT" }, created, nonce),
		"target":   fingerprint(s, func(m *Message) { m.TargetURI += "&x" }, created, nonce),
		"body":     fingerprint(s, set("Content-Digest", iatp.DigestOf(nil).ContentDigest()), created, nonce),
		"budget":   fingerprint(s, set("Iatp-Budget", `"6.00";cur=USD`), created, nonce),
		"another":  fingerprint(s, set("X-Tenant", "red"), created, nonce),
		"one less": fingerprint(s, func(m *Message) { delete(m.Header, "X-Tenant") }, created, nonce),
	} {
		if got == want {
			t.Errorf("%s: the fingerprint is the same", name)
		}
	}
}

// Sign refuses what receivers would.
func TestSignRefuses(t *testing.T) {
	good := Signer{Key: key(t, "a"), Agent: "https://travel.example"}
	for name, c := range map[string]struct {
		s       Signer
		change  func(*Message)
		expires time.Time
		nonce   string
	}{
		"no key":       {Signer{}, nil, expires, nonce},
		"agent":        {Signer{good.Key, "travel.example"}, nil, expires, nonce},
		"nonce":        {good, nil, expires, "short"},
		"nonce quote":  {good, nil, expires, nonce + `"`},
		"life":         {good, nil, created.Add(MaxLife + time.Second), nonce},
		"no life":      {good, nil, created, nonce},
		"underscore":   {good, func(m *Message) { m.Header["X_A"] = []string{"1"} }, expires, nonce},
		"not ASCII":    {good, func(m *Message) { m.Header["X-A"] = []string{"é"} }, expires, nonce},
		"line feed":    {good, func(m *Message) { m.Header["X-A"] = []string{"a\nb"} }, expires, nonce},
		"nominated":    {good, func(m *Message) { m.Header["Connection"] = []string{"x-tenant"} }, expires, nonce},
		"budget":       {good, func(m *Message) { m.Header["Iatp-Budget"] = []string{"5"} }, expires, nonce},
		"no digest":    {good, func(m *Message) { delete(m.Header, "Content-Digest") }, expires, nonce},
		"no key field": {good, func(m *Message) { delete(m.Header, "Idempotency-Key") }, expires, nonce},
		"fragment":     {good, func(m *Message) { m.TargetURI += "#a" }, expires, nonce},
	} {
		m := task()
		if c.change != nil {
			c.change(m)
		}
		if _, err := c.s.Sign(m, created, c.expires, c.nonce); err == nil {
			t.Errorf("%s: signed, want an error", name)
		}
		if m.Header.Get("Signature") != "" {
			t.Errorf("%s: a signature was left behind", name)
		}
	}
}

// A dictionary with every kind of item of RFC 9651, and texts that are none.
func TestDictionary(t *testing.T) {
	good := "a=1, b=-1.5;x;y=\"q\\\"\",\tc , d=(1 \"s\";p=*t :YQ==: );tag=\"T\", *e=?0, f=@-1, g=%\"%c3\", h=tok/en:x;tag=U"
	members, ok := dictionary(good)
	want := []member{
		{"a", "1", ""}, {"b", `-1.5;x;y="q\""`, ""}, {"c", "", ""}, {"d", `(1 "s";p=*t :YQ==: );tag="T"`, "T"},
		{"*e", "?0", ""}, {"f", "@-1", ""}, {"g", `%"%c3"`, ""}, {"h", "tok/en:x;tag=U", "U"},
	}
	if diff := cmp.Diff(want, members, cmp.AllowUnexported(member{})); !ok || diff != "" {
		t.Errorf("dictionary(%s) ok %v (-want +got):\n%s", good, ok, diff)
	}
	for _, bad := range []string{
		"a,b,c,d,e,f,g,h,i", "", " a", "a,", "a, ", ",a", "a b", "A=1", "1=1", "a=", "a=1, a=2", "a=(", "a=(1", "a=(1 ", "a=(1\t2)", `a=(1"x")`, `a="`, `a="\x"`, `a="é"`, "a=:x", "a=:*:", "a=?2",
		"a=-", "a=1.", "a=.1", "a=1.2345", "a=1234567890123456", "a=1234567890123.1", "a=1;", "a=1;X", "a=1;x=", "a=@", "a=%x", "a=é", "a= 1", "a =1",
	} {
		if members, ok := dictionary(bad); ok {
			t.Errorf("dictionary(%q) = %v, want none", bad, members)
		}
	}
}

func FuzzDictionary(f *testing.F) {
	f.Add(`iatp=("@method" "a";key="b");created=1;tag="iatp-v1", x=:YQ==:`)
	f.Add("a=1, b=-1.5;x;y=\"q\\\"\",\tc")
	f.Add("a=%\"%c3\", b=@1, c=?1")
	f.Fuzz(func(t *testing.T, text string) {
		members, ok := dictionary(text)
		if !ok {
			return
		}
		var again []string
		for _, m := range members {
			if m.text == "" || m.text[0] == ';' {
				again = append(again, m.key+m.text)
			} else {
				again = append(again, m.key+"="+m.text)
			}
		}
		if got, ok := dictionary(strings.Join(again, ", ")); !ok || !slices.Equal(got, members) {
			t.Errorf("dictionary(%q) = %q, written again it is %q, %v", text, members, got, ok)
		}
	})
}

func FuzzParseInput(f *testing.F) {
	_, in := small(f)
	f.Add(in.spell())
	f.Add(`("@method");created=1;expires=2;nonce="";keyid="";alg="ed25519";tag="iatp-v1"`)
	f.Fuzz(func(t *testing.T, text string) {
		if in, ok := parseInput(text); ok && in.spell() != text {
			t.Errorf("parseInput(%q) is spelled %q", text, in.spell())
		}
	})
}

// No text in place of the signature fields, a field or the target makes a request
// pass that was not signed.
func FuzzParse(f *testing.F) {
	m := task()
	sign(f, m)
	f.Add(m.Header.Get("Signature-Input"), m.Header.Get("Signature"), "X-Tenant", "blue", "/task?dry=0")
	f.Add(m.Header.Get("Signature-Input"), m.Header.Get("Signature"), "Connection", "x-tenant", "//task")
	f.Add("iatp=()", "iatp=::", "Iatp-Budget", `"5";cur=USD`, "*")
	want, problem := receive(f, m)
	if problem != nil {
		f.Fatal(problem.Error)
	}
	f.Fuzz(func(t *testing.T, input, signature, name, value, target string) {
		changed := &Message{m.Method, "", m.Header.Clone()}
		changed.Header["Signature-Input"], changed.Header["Signature"] = []string{input}, []string{signature}
		changed.Header[name] = []string{value}
		uri, problem := Target(publicURL, target, "")
		if problem != nil {
			return
		}
		changed.TargetURI = uri
		if v, problem := receive(t, changed); problem == nil && (v.Base != want.Base || !cmp.Equal(v.Head(), want.Head())) {
			t.Errorf("accepted %q as %v", v.SignatureBase, v.Head())
		}
	})
}

func BenchmarkSign(b *testing.B) {
	s := Signer{Key: key(b, "a"), Agent: "https://travel.example"}
	m := task()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(m, created, expires, nonce); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	m := task()
	sign(b, m)
	public := key(b, "a").Public()
	b.ReportAllocs()
	for b.Loop() {
		p, problem := Parse(m, created, skew)
		if problem != nil {
			b.Fatal(problem.Error)
		}
		if _, problem := p.Verify(public); problem != nil {
			b.Fatal(problem.Error)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	m := task()
	sign(b, m)
	b.ReportAllocs()
	for b.Loop() {
		if _, problem := Parse(m, created, skew); problem != nil {
			b.Fatal(problem.Error)
		}
	}
}
