package sidecar_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/sidecar"
)

func TestLoadConfig(t *testing.T) {
	path := writeFile(t, "iatp.yaml", `
listen: 127.0.0.1:9001
agent: http://localhost:9000
manifest: travel.json
override: off
require: {reversibility: partial, undo_window: 1h, retention: temporary}
policy: [policies/base.yaml]
limits: {body: 2MiB, deadline: 10s}
retention: {age: 720h, size: 1GiB}
`, 0o600)
	got := sidecar.DefaultConfig()
	if err := sidecar.LoadConfig(path, &got); err != nil {
		t.Fatal(err)
	}
	want := sidecar.DefaultConfig()
	dir := filepath.Dir(path)
	want.Listen, want.Agent, want.Manifest = "127.0.0.1:9001", "http://localhost:9000", filepath.Join(dir, "travel.json")
	want.Override = sidecar.OverrideOff
	want.Require = sidecar.Requirements{Reversibility: "partial", UndoWindow: sidecar.Duration(time.Hour), Retention: "temporary"}
	want.Policy = []string{filepath.Join(dir, "policies/base.yaml")}
	want.Limits.Body, want.Limits.Deadline = 2<<20, sidecar.Duration(10*time.Second)
	want.Retention.Size = 1 << 30
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("LoadConfig (-want +got):\n%s", d)
	}

	// What is printed is what can be read.
	text, err := got.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again := sidecar.DefaultConfig()
	if err := sidecar.LoadConfig(writeFile(t, "again.yaml", string(text), 0o600), &again); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if d := cmp.Diff(got, again, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("printed and read again (-want +got):\n%s\n%s", d, text)
	}
}

func TestLoadConfigErrors(t *testing.T) {
	tests := map[string][]string{
		"listne: 127.0.0.1:1\n":               {"[1:1]", "listne"},
		"agent: a\nagent: b\n":                {"[2:1]", "agent"},
		"limits:\n  body: much\n":             {"2:", "size"},
		"limits:\n  deadline: 12\n":           {"2:", "duration"},
		"limits: 12\n":                        {"1:"},
		"approvers: {alice: x}\n":             {"approvers"},
		"limits: {per_peer: {rate: many}}\n":  {"1:", "rate"},
		"listen: [a, b]\n":                    {"1:"},
		"allow_unbacked_claims: perhaps\n":    {"1:"},
		"\tlisten: x\n":                       {"1:"},
		"retention: {size: 99999999999TiB}\n": {"1:", "size"},

		"privacy: {request: drop}\n":                                                                {"[1:20]", "privacy.request", "redact"},
		"privacy:\n  response: ask\n":                                                               {"[2:13]", "response"},
		"privacy:\n  opaque: mask\n":                                                                {"[2:11]", "opaque"},
		"privacy:\n  rulez: []\n":                                                                   {"[2:3]", "rulez"},
		"privacy:\n  rules:\n    - {kind: [email], action: mask}\n":                                 {"[3:8]", "kind"},
		"privacy:\n  rules:\n    - {kinds: [email, emial], action: mask}\n":                         {"[3:23]", "did you mean email"},
		"privacy:\n  rules:\n    - {kinds: [email], action: hide}\n":                                {"[3:32]", "action"},
		"privacy:\n  rules:\n    - {kinds: [email]}\n":                                              {"[3:", "action"},
		"privacy:\n  rules:\n    - {fields: [guest], action: mask}\n":                               {"[3:17]", "JSON pointer"},
		"privacy:\n  detectors:\n    - {name: Staff, pattern: 'x'}\n":                               {"[3:", "small letters"},
		"privacy:\n  detectors:\n    - {name: staff, pattern: '('}\n":                               {"[3:", "missing closing"},
		"privacy:\n  detectors:\n    - {name: s, pattern: a, validator: crc}\n":                     {"[3:", "crc"},
		"privacy:\n  detectors:\n    - name: secrets\n      pattern: a\n":                           {"[3:13]", "privacy.detectors[0].name", "stands for other kinds"},
		"privacy:\n  detectors:\n    - name: opaque\n      pattern: a\n":                            {"[3:13]", "another name"},
		"privacy:\n  detectors:\n    - name: s\n":                                                   {"[3:", "privacy.detectors[0].pattern", "want an expression"},
		"privacy:\n  detectors:\n    - name: s\n      pattern: a*\n":                                {"[4:16]", "matches the empty text"},
		"privacy:\n  detectors:\n    - name: s\n      pattern: a\n      validator: luhnn\n":         {"[5:18]", "privacy.detectors[0].validator", "luhn, mod97, mod11, verhoeff"},
		"privacy:\n  detectors:\n    - name: s\n      pattern: a\n      confidence: 2\n":            {"[5:19]", "privacy.detectors[0].confidence", "at most 1"},
		"privacy:\n  detectors:\n    - name: s\n      pattern: a\n      confidence: 0\n":            {"[5:19]", "privacy.detectors[0].confidence", "more than 0"},
		"privacy:\n  detectors:\n    - name: s\n      pattern: a\n      keywords: [staff, Staff]\n": {"[5:25]", "privacy.detectors[0].keywords[1]", "small letters"},
		"privacy:\n  allow: {fields: [\"/a~2b\"]}\n":                                                {"[2:20]", "privacy.allow.fields[0]", "~0"},
		"privacy:\n  min_confidence: 1.5\n":                                                         {"[2:19]", "min_confidence"},
		"privacy:\n  min_confidence: much\n":                                                        {"[2:19]"},
		"privacy:\n  allow: {hashes: [abc]}\n":                                                      {"[2:20]", "iatp scan-text --hash"},
		"privacy:\n  allow: {fields: [a]}\n":                                                        {"[2:20]", "JSON pointer"},
		"privacy:\n  request: record\n  request: block\n":                                           {"[3:3]", "request"},
	}
	for text, wants := range tests {
		c := sidecar.DefaultConfig()
		err := sidecar.LoadConfig(writeFile(t, "c.yaml", text, 0o600), &c)
		if err == nil {
			t.Errorf("%q: no error", text)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: error %q lacks %q", text, err, want)
			}
		}
		if d := cmp.Diff(sidecar.DefaultConfig(), c); d != "" {
			t.Errorf("%q: a refused file changed the configuration:\n%s", text, d)
		}
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		change func(*sidecar.Config)
		want   string // "" = fine
	}{
		{func(c *sidecar.Config) {}, ""},
		{func(c *sidecar.Config) { c.Listen = "[::1]:0" }, ""},
		{func(c *sidecar.Config) { c.Listen = "0.0.0.0:8001" }, "operator_token: FILE"},
		{func(c *sidecar.Config) { c.Listen, c.OperatorToken = "0.0.0.0:8001", "t" }, ""},
		{func(c *sidecar.Config) { c.Listen = ":8001" }, "operator_token: FILE"},
		{func(c *sidecar.Config) { c.Listen = "8001" }, "listen"},
		{func(c *sidecar.Config) { c.Listen = "unix:" }, "listen"},
		{func(c *sidecar.Config) { c.Agent = "localhost:8000" }, "agent"},
		{func(c *sidecar.Config) { c.Agent = "http://u:p@h/" }, "agent"},
		{func(c *sidecar.Config) { c.Override = "grant" }, "not part of this version"},
		{func(c *sidecar.Config) { c.Override = "maybe" }, "override"},
		{func(c *sidecar.Config) { c.Override = sidecar.OverrideToken }, "override_token"},
		{func(c *sidecar.Config) { c.OverrideToken = "f" }, "override_token"},
		{func(c *sidecar.Config) {
			c.Listen, c.OperatorToken, c.Override = "0.0.0.0:1", "t", sidecar.OverrideLoopback
		}, "loopback"},
		{func(c *sidecar.Config) { c.Durability = "eventually" }, "durability"},
		{func(c *sidecar.Config) { c.Privacy.Request = "drop" }, "privacy.request"},
		{func(c *sidecar.Config) {
			c.Privacy.Rules = []policy.DataRule{{Peers: []string{"b"}, Action: "mask"}}
		}, "privacy.rules[0].peers"},
		{func(c *sidecar.Config) { c.Require.Retention = "brief" }, "require.retention"},
		{func(c *sidecar.Config) { c.Require.Reversibility = "some" }, "require.reversibility"},
		{func(c *sidecar.Config) { c.Limits.Body = 0 }, "limits.body"},
		{func(c *sidecar.Config) { c.Limits.Depth = 5000 }, "limits.depth"},
		{func(c *sidecar.Config) { c.Limits.Deadline = 0 }, "limits.deadline"},
		{func(c *sidecar.Config) { c.Data = "" }, "data"},
		{func(c *sidecar.Config) { c.PublicURL = "https://a.example" }, "iatp keygen"},
		{func(c *sidecar.Config) { c.PublicURL, c.Key = "https://a.example", "k" }, ""},
		{func(c *sidecar.Config) { c.PublicURL, c.Key = "https://A.example/", "k" }, "public_url"},
		{func(c *sidecar.Config) { c.PublicURL, c.Key = "http://a.example", "k" }, "public_url"},
		{func(c *sidecar.Config) { c.Public = "127.0.0.1:1" }, "public_url"},
		{func(c *sidecar.Config) {
			c.PublicURL, c.Key, c.Public = "https://a.example", "k", "0.0.0.0:8443"
		}, "certificate"},
		{func(c *sidecar.Config) { c.TLS.Cert = "c" }, "tls"},
		{func(c *sidecar.Config) { c.Ingress.MinLevel = "high" }, "ingress.min_level"},
		{func(c *sidecar.Config) {
			c.PublicURL, c.Key, c.Peers = "https://a.example", "k", map[string]sidecar.Peer{"b": {URL: "https://b.example", Receipt: "always"}}
		}, `receipt: "always" is not one of optional, require`},
		{func(c *sidecar.Config) { c.Peers = map[string]sidecar.Peer{"b": {URL: "https://b.example"}} }, "public_url and key"},
		{func(c *sidecar.Config) { c.Peers = map[string]sidecar.Peer{"b": {URL: "http://127.0.0.1:1"}} }, "pin"},
		{func(c *sidecar.Config) { c.Peers = map[string]sidecar.Peer{"B!": {URL: "https://b.example"}} }, "not a name"},
		{func(c *sidecar.Config) {
			c.Peers = map[string]sidecar.Peer{"b": {URL: "https://b.example", URI: "https://c.example"}}
		}, "url, or uri and dial"},
		{func(c *sidecar.Config) { c.DefaultPeer = "b" }, "default_peer"},
		{func(c *sidecar.Config) { c.Authorities = map[string]sidecar.Authority{"a": {Key: "x"}} }, "authorities.a.key"},
	}
	for i, tt := range tests {
		c := sidecar.DefaultConfig()
		tt.change(&c)
		err := c.Validate()
		if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("case %d: %v, want %q", i, err, tt.want)
		}
	}
}

// What frames a message, what is between two ends of a connection, and what the sidecar
// itself says is not sent on to a peer, however it is spelled.
func TestHeadersForPeers(t *testing.T) {
	for _, name := range []string{
		"", "Host", "connection", "TE", "Transfer-encoding", "upgrade", "Keep-Alive", "Proxy-Authorization", "trailer", "Content-Length", "Expect",
		"iatp-budget", "X-Agent-Trace-ID", "x-forwarded-for", "X-User-Override", "Signature", "signature-input", "Content-Digest", "idempotency-key", "traceparent", "X Tenant", "X_Tenant", "X-T\r\nHost",
		"X-Tenant", "authorization", "Prefer",
	} {
		c := sidecar.DefaultConfig()
		c.PublicURL, c.Key = "https://a.example", "k"
		c.Peers = map[string]sidecar.Peer{"b": {URL: "https://b.example", Headers: []string{name}}}
		want := name != "X-Tenant" && name != "authorization" && name != "Prefer"
		if err := c.Validate(); (err != nil) != want || err != nil && !strings.Contains(err.Error(), "is not forwarded") {
			t.Errorf("headers: [%q]: %v, want refused %v", name, err, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	env := map[string]string{"IATP_AGENT_URL": "http://a:1", "IATP_PORT": "9", "IATP_DATA": "/d"}
	c := sidecar.DefaultConfig()
	if err := sidecar.ApplyEnvironment(func(k string) string { return env[k] }, &c); err != nil {
		t.Fatal(err)
	}
	if c.Agent != "http://a:1" || c.Listen != "127.0.0.1:9" || c.Data != "/d" {
		t.Errorf("%+v", c)
	}
	for _, bad := range []map[string]string{{"IATP_PORT": "x"}, {"IATP_PORT": "70000"}, {"IATP_PORT": "1", "IATP_LISTEN": "a:1"}} {
		if err := sidecar.ApplyEnvironment(func(k string) string { return bad[k] }, &c); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

// Without a file the environment makes the manifest, and what it leaves open
// takes the safe value.
func TestManifestFromEnvironment(t *testing.T) {
	start := func(t *testing.T) *sidecar.Sidecar {
		s, err := sidecar.New(configFor(t, func(c *sidecar.Config) { c.Manifest = "" }), sidecar.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	start(t)
	for key, value := range map[string]string{"IATP_TRUST_LEVEL": "best", "IATP_RETENTION": "short", "IATP_HUMAN_IN_LOOP": "perhaps", "IATP_REVERSIBILITY": "full"} {
		t.Run(key, func(t *testing.T) {
			t.Setenv(key, value)
			if s, err := sidecar.New(configFor(t, func(c *sidecar.Config) { c.Manifest = "" }), sidecar.Options{}); err == nil {
				s.Close()
				t.Errorf("%s=%s: no error", key, value)
			}
		})
	}
}

func TestRefusedStarts(t *testing.T) {
	unbacked := strings.Replace(iatptest.Bank, `,"compensation_endpoint":"/compensate/{transaction_id}"`, "", 1)
	tests := []struct {
		name   string
		change func(*sidecar.Config)
		want   string
	}{
		{"a promise with nothing behind it", func(c *sidecar.Config) { c.Manifest = writeFile(t, "m.json", unbacked, 0o600) }, "compensation"},
		{"a fee in no currency", func(c *sidecar.Config) {
			c.Manifest = writeFile(t, "m.json", strings.Replace(iatptest.Bank, `"reversibility":{`, `"reversibility":{"max_fee":"50.00",`, 1), 0o600)
		}, "currency"},
		{"a fee of less than a cent", func(c *sidecar.Config) {
			c.Manifest = writeFile(t, "m.json", strings.Replace(iatptest.Bank, `"reversibility":{`, `"reversibility":{"max_fee":"50.005","currency":"USD",`, 1), 0o600)
		}, "max_fee"},
		{"a manifest that is not there", func(c *sidecar.Config) { c.Manifest = "/nowhere/m.json" }, "manifest"},
		{"a manifest with an error", func(c *sidecar.Config) { c.Manifest = writeFile(t, "m.json", "{\n \"identity\": 1}", 0o600) }, "line 2"},
		{"a policy with an error", func(c *sidecar.Config) {
			c.Policy = []string{writeFile(t, "p.yaml", "rules:\n  - {name: a, action: b, conditions: {}}\n", 0o600)}
		}, "p.yaml:2"},
		{"a token that others can read", func(c *sidecar.Config) { c.OperatorToken = writeFile(t, "t", "0f8e1c6a5b4d3c2b1a", 0o644) }, "chmod 600"},
		{"a short token", func(c *sidecar.Config) { c.OperatorToken = writeFile(t, "t", "short", 0o600) }, "16"},
		{"a famous token", func(c *sidecar.Config) { c.OperatorToken = writeFile(t, "t", "changemechangeme", 0o600) }, "well-known"},
		{"one character", func(c *sidecar.Config) { c.OperatorToken = writeFile(t, "t", strings.Repeat("a", 20), 0o600) }, "repeated"},
	}
	for _, tt := range tests {
		c := configFor(t, tt.change)
		s, err := sidecar.New(c, sidecar.Options{})
		if err == nil {
			s.Close()
			t.Errorf("%s: started", tt.name)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q does not say %q", tt.name, err, tt.want)
		}
		if entries, _ := os.ReadDir(c.Data); len(entries) != 0 {
			t.Errorf("%s: a refused start left %v behind", tt.name, entries)
		}
	}
	for _, fine := range []func(*sidecar.Config){
		func(c *sidecar.Config) { c.AllowUnbackedClaims = true },
		func(c *sidecar.Config) { c.Compensation.URL = "/undo/{transaction_id}" },
	} {
		s, err := sidecar.New(configFor(t, func(c *sidecar.Config) { c.Manifest = writeFile(t, "m.json", unbacked, 0o600); fine(c) }), sidecar.Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		s.Close()
	}
}

func TestOneSidecarPerDirectory(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{})
	s, err := sidecar.New(configFor(t, func(c *sidecar.Config) { c.Data = n.Data }), sidecar.Options{})
	if err == nil {
		s.Close()
		t.Fatal("a second sidecar started on the same data directory")
	}
}

func TestOperatorTokenIsMadeOnce(t *testing.T) {
	c := configFor(t, nil)
	read := func() string {
		s, err := sidecar.New(c, sidecar.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		b, err := os.ReadFile(s.OperatorTokenFile())
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := os.Stat(s.OperatorTokenFile()); info.Mode().Perm() != 0o600 {
			t.Errorf("operator token has mode %v", info.Mode())
		}
		return string(b)
	}
	if a, b := read(), read(); a != b || len(a) < 32 {
		t.Errorf("tokens %q and %q; want one, kept", a, b)
	}
}

// What --check accepts also starts: the files of the public side are read.
func TestCheckReadsThePublicSide(t *testing.T) {
	party := iatptest.NewParty(t)
	for name, change := range map[string]func(*sidecar.Config){
		"key":       func(c *sidecar.Config) { c.Key = "/nowhere/agent.key" },
		"open key":  func(c *sidecar.Config) { c.Key = writeFile(t, "k", "x", 0o644) },
		"cert":      func(c *sidecar.Config) { c.TLS = sidecar.TLS{Cert: "/nowhere/c", Key: "/nowhere/k"} },
		"client ca": func(c *sidecar.Config) { c.TLS.ClientCA = "/nowhere/ca" },
		"peer's ca": func(c *sidecar.Config) {
			p := party.AsPeer("")
			p.CA = "/nowhere/ca"
			c.Peers = map[string]sidecar.Peer{"b": p}
		},
	} {
		c := configFor(t, func(c *sidecar.Config) { party.Listen(c); change(c) })
		if _, err := sidecar.Check(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := sidecar.Check(configFor(t, party.Listen)); err != nil {
		t.Error(err)
	}
}
