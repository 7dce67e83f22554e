package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
)

// TestCommandsExplainThemselves holds every command to an example, and every
// reading one to --json.
func TestCommandsExplainThemselves(t *testing.T) {
	acting := map[string]bool{"iatp run": true, "iatp demo": true, "iatp manifest new": true, "iatp manifest sign": true, "iatp keygen": true, "iatp endorse": true, "iatp help": true}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.HasParent() && c.Parent().Name() == "completion" {
			return // cobra's own
		}
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s has no short text or no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if path := strings.Fields(line); len(path) > 0 && path[0] == "iatp" {
				if found, _, err := c.Root().Find(path[1:]); err != nil || found == c.Root() {
					t.Errorf("%s: the example %q is of no command", c.CommandPath(), line)
				}
			}
		}
		if !c.HasSubCommands() && !acting[c.CommandPath()] && c.Flags().Lookup("json") == nil {
			t.Errorf("%s has no --json", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk((&program{stdout: io.Discard, stderr: io.Discard}).rootCommand())
}

// TestFlagsReachTheConfiguration finds a flag of run that sets nothing.
func TestFlagsReachTheConfiguration(t *testing.T) {
	cmd := (&program{}).runCommand()
	for _, name := range []string{"agent", "listen", "manifest", "data", "override", "override-token", "operator-token", "policy", "durability", "compensation", "allow-unbacked-claims", "host", "public", "public-url", "tls-cert", "tls-key", "key"} {
		if overlays[name] == nil || cmd.Flags().Lookup(name) == nil {
			t.Errorf("--%s is no flag of run, or reaches nothing", name)
		}
	}
	for name := range overlays {
		if cmd.Flags().Lookup(name) == nil {
			t.Errorf("an overlay for --%s, which is no flag", name)
		}
	}
}

func TestPage(t *testing.T) {
	var b bytes.Buffer
	p := newPage(&b)
	if p.colour {
		t.Error("a buffer counts as a terminal")
	}
	if got := p.in(red, "text"); got != "text" {
		t.Errorf("plain page: in = %q", got)
	}
	p.row("label", 8, "first\nsecond")
	if got, want := b.String(), "  label     first\n            second\n"; got != want {
		t.Errorf("row = %q, want %q", got, want)
	}
	if got, want := (page{&b, true}).in(red, "text"), "\x1b[31mtext\x1b[0m"; got != want {
		t.Errorf("coloured page: in = %q, want %q", got, want)
	}
}

func TestShown(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                  "plain",
		"\x1b[2J":                `\x1b[2J`,
		"a\nb":                   `a\nb`,
		"\u202egnp.exe":          `\u202egnp.exe`,
		strings.Repeat("é", 400): strings.Repeat("é", 300) + "…",
	} {
		if got := shown(in); got != want {
			t.Errorf("shown(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestErrorsCannotPlay looks at an error that a library passes on unescaped.
func TestErrorsCannotPlay(t *testing.T) {
	var b bytes.Buffer
	p := &program{stderr: &b, begun: true}
	if code := p.report(&cobra.Command{}, errors.New("got \x1b[2J\u202e\nline two")); code != exitRefused {
		t.Errorf("exit code %d", code)
	}
	if got, want := b.String(), "iatp: got \ufffd[2J\ufffd\n      line two\n"; got != want {
		t.Errorf("report wrote %q, want %q", got, want)
	}
}

// TestInterview answers the questions of manifest new.
func TestInterview(t *testing.T) {
	ask := func(answers string, args ...string) (*draft, string, error) {
		var out bytes.Buffer
		p := &program{stdin: strings.NewReader(answers), stdout: &out, out: page{Writer: &out}}
		cmd := p.manifestNewCommand()
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		d := newDraft()
		d.Identity.AgentID, _ = cmd.Flags().GetString("agent-id")
		return d, out.String(), p.interview(d, cmd.Flags())
	}
	d, _, err := ask("bank\nExample Bank\ngold\ntrusted\nephemeral\nno\nno\nyes\nfull\nsoon\n60\n/undo/{transaction_id}\n")
	if err != nil {
		t.Fatal(err)
	}
	if d.Identity.AgentID != "bank" || d.TrustLevel != "trusted" || d.Privacy.RetentionPolicy != "ephemeral" || !d.Capabilities.Idempotency ||
		d.Reversibility.Level != "full" || *d.Reversibility.UndoWindowSeconds != 60 || d.Reversibility.CompensationEndpoint != "/undo/{transaction_id}" {
		t.Errorf("draft = %+v", d)
	}
	d, out, err := ask("\n\n\n\n\n\n\n", "--agent-id", "named")
	if err != nil || d.Identity.AgentID != "named" || strings.Contains(out, "Name of the agent") {
		t.Errorf("with the name given: %v, %+v, asked %q", err, d, out)
	}
	if _, _, err := ask("bank\n"); err == nil {
		t.Error("a dialogue that was broken off is no error")
	}
}

// TestInterviewEnds asks nothing after the end of the input.
func TestInterviewEnds(t *testing.T) {
	var out bytes.Buffer
	cmd := (&program{}).manifestNewCommand()
	q := interview{in: bufio.NewReader(strings.NewReader("")), out: page{Writer: &out}, flags: cmd.Flags()}
	var a, b string
	q.text("agent-id", "First", &a, nil)
	q.text("owner", "Second", &b, nil)
	if q.err == nil || strings.Contains(out.String(), "Second") {
		t.Errorf("error %v after %q", q.err, out.String())
	}
}

// TestTokenStaysHere keeps a token that nobody named from leaving the machine.
func TestTokenStaysHere(t *testing.T) {
	for address, want := range map[string]bool{
		"http://127.0.0.1:8001": true, "http://[::1]:8001": true, "http://localhost:8001": true, "unix:/run/s.sock": true,
		"http://10.0.0.7:8001": false, "https://sidecar.example": false, "http://localhost.evil.example": false, "http://127.0.0.1.evil.example": false,
	} {
		if got := onThisMachine(address); got != want {
			t.Errorf("onThisMachine(%s) = %t, want %t", address, got, want)
		}
	}
}

func TestCreateFileKeepsWhatIsThere(t *testing.T) {
	name := filepath.Join(t.TempDir(), "agent.json")
	if err := createFile(name, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := createFile(name, []byte("second")); !errors.Is(err, os.ErrExist) {
		t.Errorf("the second createFile = %v, want %v", err, os.ErrExist)
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "first" {
		t.Errorf("the file holds %q, %v", got, err)
	}
}

func TestEntriesAreRead(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{`{"type":"request","decision":"deny","method":"POST","path":"/proxy","score":0,"level":"untrusted","evidence":"E6"}`, "POST /proxy: denied, score 0/10 (untrusted, E6)"},
		{`{"type":"error","error":"upstream_timeout","outcome":"unknown","latency_ms":120000}`, "no answer: upstream timeout, outcome unknown, 120000.0 ms"},
		{`{"type":"recovery","old_size":7,"new_size":0}`, "7 records became 0"},
		{`{"type":"recovery","dropped_below":41}`, "below record 41"},
		{`{"type":"user_override","actor":"\u001b[31malice","override":"token"}`, `released by \x1b[31malice (token)`},
		{`{"type":"key","reason":"key_changed","peer":"https://b.example"}`, "peer https://b.example: key changed"},
		{`{"type":"forward","dir":"out","peer":"https://b.example","note":"base abc"}`, "signed and sent to https://b.example"},
		{`{"type":"forward","dir":"out","peer":"https://b.example","base":"abc"}`, "signed and sent to https://b.example"},
		{`{"type":"forward","dir":"out","peer":"https://b.example","note":"action abc"}`, "may go to https://b.example"},
		{`{"type":"forward","dir":"local"}`, "sent to the agent"},
		{`{"type":"forward","dir":"out","peer":"https://b.example","base":"abc","path":"/compensate/tx_1"}`, "asked https://b.example to undo it"},
		{`{"type":"compensation","dir":"local","tx":{"kind":"saga","state":"active"}}`, "the saga begins"},
		{`{"type":"compensation","dir":"local","tx":{"kind":"saga","state":"closed"}}`, "the saga is closed: its calls stand"},
		{`{"type":"compensation","dir":"in","note":"no \u001broom","tx":{"kind":"task","state":"compensating","who":"caller"}}`, `it is being undone, because its caller asked: no \x1broom`},
		{`{"type":"compensation","dir":"in","tx":{"kind":"task","who":"caller"}}`, "an undo is to follow, because its caller asked"},
		{`{"type":"compensation","dir":"in","tx":{"kind":"task","held":true}}`, "its window stays open for an hour"},
		{`{"type":"compensation","dir":"in","tx":{"kind":"task","state":"compensated"}}`, "it is undone"},
		{`{"type":"compensation","dir":"out","tx":{"kind":"call","state":"partially_compensated","fee":"5.00","returned":"15.00","cur":"USD"}}`, "it is undone in part, for a fee of 5.00 USD, given back 15.00 USD"},
		{`{"type":"compensation","dir":"out","tx":{"kind":"call","state":"compensated","fee":"5.00","cur":"USD","breach":true}}`, "for a fee of 5.00 USD, which is more than was agreed"},
		{`{"type":"compensation","dir":"in","error":"not_in_time","tx":{"kind":"task","state":"compensation_failed","manual":true}}`, "it could not be undone; not in time; a person is asked"},
		{`{"type":"compensation","dir":"out","note":"they refuse","tx":{"kind":"call","state":"compensation_failed","who":"operator"}}`, "it stays as it is, a person says: they refuse"},
		{`{"type":"compensation","dir":"in","error":"manual_intervention","tx":{"kind":"task","manual":true}}`, "it waits for a person; manual intervention"},
		{`{"type":"compensation","dir":"out","tx":{"kind":"call","state":"failed"}}`, "it did not take effect"},
		{`{"type":"request","dir":"in","decision":"allow","method":"POST","path":"/task","peer":"https://\u001ba.example"}`, `POST /task from https://\x1ba.example: allowed`},
	} {
		e, err := parseEntry([]byte(test.line))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := e.headline(); !strings.Contains(got, test.want) {
			t.Errorf("headline of %s = %q, want %q in it", test.line, got, test.want)
		}
	}
	for note, want := range map[string]string{
		`"dir":"out","note":"receipt missing"`: "no receipt came",
		`"dir":"out","note":"receipt invalid"`: "the receipt is not valid",
		`"dir":"out","note":"receipt abc"`:     "receipt verified (SHA-256 abc)",
		`"dir":"in","note":"receipt abc"`:      "receipt given (SHA-256 abc)",
		`"dir":"out","receipt":"abc"`:          "receipt verified (SHA-256 abc)",
		`"dir":"local"`:                        "",
	} {
		e, err := parseEntry([]byte(`{"type":"response",` + note + `}`))
		if got := e.receipt(); err != nil || !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("receipt of %s = %q, %v, want %q", note, got, err, want)
		}
	}
	if _, err := parseEntry([]byte(`{"type":1}`)); err == nil {
		t.Error("a line that is no record was read")
	}
}

// FuzzEntry holds the timeline to text that cannot play with a terminal,
// whatever stands in a record.
func FuzzEntry(f *testing.F) {
	f.Add([]byte(`{"type":"request","decision":"ask","method":"POST","path":"/proxy","score":0,"level":"untrusted","evidence":"E6","reasons":["low_trust"],"payload":{"a":"\u001b[2J"}}`))
	f.Add([]byte(`{"type":"quarantine","state":"released","actor":"al\u202eice","note":"\n","reason":"low_trust_override"}`))
	f.Add([]byte(`{"type":"response","status_code":200,"outcome":"\u009b31m","latency_ms":1.5,"own_ms":0.1,"findings":[{"kind":"\u0007","count":2}],"payload":"\r"}`))
	f.Add([]byte(`{"type":"error","error":"\u001b]0;x\u0007","rules":[{"name":"\u001b","file":"\u001b","line":1}],"opaque":"\u001b"}`))
	f.Add([]byte(`{"type":"\u001b","reason":"\u001b"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := parseEntry(line)
		if err != nil {
			return
		}
		text, _ := e.headline()
		for _, shown := range append(e.details(), text, shown(string(e.Type)), shown(string(e.TraceID)), shown(string(e.AgentID))) {
			if i := strings.IndexFunc(shown, func(r rune) bool { return visible(r) != r || r == '\n' || r == '\t' }); i >= 0 {
				t.Errorf("%q has a control character at %d", shown, i)
			}
		}
	})
}

func TestSummarise(t *testing.T) {
	entries := make([]entry, 0, 4)
	for i, line := range []string{
		`{"type":"request","trace_id":"a","decision":"ask"}`,
		`{"type":"request","trace_id":"b","decision":"allow"}`,
		`{"type":"response","trace_id":"b","status_code":200}`,
		`{"type":"user_override","trace_id":"a"}`,
		`{"type":"recovery"}`,
	} {
		e, err := parseEntry([]byte(line))
		if err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
		entries = append(entries, e)
	}
	var got []string
	for _, s := range summarise(entries) {
		got = append(got, fmt.Sprintf("%s %s %d", s.TraceID, s.Decision, s.StatusCode))
	}
	if want := "b allow 200, a override 0"; strings.Join(got, ", ") != want {
		t.Errorf("summarise = %q, want %q", got, want)
	}
}

// TestSafeID keeps what is no trace id from becoming a path.
func TestSafeID(t *testing.T) {
	for _, id := range []string{"../../etc/x", "a/b", "a?b", "", strings.Repeat("x", 129)} {
		if got, err := safeID(id); err == nil {
			t.Errorf("safeID(%q) = %q", id, got)
		}
	}
	if id, err := safeID("trip-1"); err != nil || id != iatp.TraceID("trip-1") {
		t.Errorf("safeID = %q, %v", id, err)
	}
}

// An agreement is shown as what it says, and a proposal as what became of it.
func TestEntryOfAnAgreement(t *testing.T) {
	var keys [2]iatp.PrivateKey
	var parties [2]iatp.Party
	for i, name := range []string{"travel", "hotel"} {
		k, err := iatp.GeneratePrivateKey(strings.NewReader(strings.Repeat(name[:1], 32)))
		if err != nil {
			t.Fatal(err)
		}
		keys[i], parties[i] = k, iatp.Party{URI: "https://" + name + ".example", JKT: k.Thumbprint(), Manifest: iatp.DigestOf([]byte(name))}
	}
	fee, err := iatp.ParseMoney("50.00", "USD")
	if err != nil {
		t.Fatal(err)
	}
	window := int64(3600)
	a := iatp.Agreement{Initiator: parties[0], Responder: parties[1], Iat: 1794650000, Exp: 1794653600, Nonce: "kq7Zx0M1c2kKq7Zx", Terms: iatp.Terms{
		Reversibility: iatp.ReversibilityPartial, UndoWindowSeconds: &window, MaxFee: fee, RetentionPolicy: iatp.RetentionTemporary, Scopes: []string{"book\x1b[2J"}, Receipt: true}}
	if err := errors.Join(a.Sign(keys[0]), a.Countersign(keys[1])); err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(&a)
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string][]string{
		`{"type":"agreement","reason":"made","dir":"out","peer":"https://hotel.example","payload":` + string(doc) + `}`: {
			"agreed with https://hotel.example, proposed to it, until 2026-11-14 10:53:20 UTC",
			`undo: partial within 1h0m0s for at most 50.00 USD; keeps data: temporary; for: book\x1b[2J`},
		`{"type":"agreement","reason":"made","dir":"in","peer":"https://travel.example","payload":{}}`:     {"agreement with https://travel.example that cannot be read"},
		`{"type":"agreement","reason":"not_made","error":"terms-rejected","peer":"https://hotel.example"}`: {"no agreement with https://hotel.example: terms-rejected"},
		`{"type":"forward","dir":"out","base":"x","path":"/agreements","peer":"https://hotel.example"}`:    {"an agreement was proposed to https://hotel.example"},
	} {
		e, err := parseEntry([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := e.headline()
		if got := append([]string{text}, e.details()...); !slices.Equal(got, want) {
			t.Errorf("%s\n is shown as %q\n want        %q", line, got, want)
		}
	}
}
