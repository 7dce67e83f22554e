package sidecar

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/policy"
)

// Config is everything an operator can set. The YAML file has the same names;
// its comments below are the manual. Every field has a working default, and no
// default is less safe than what the field can be set to.
type Config struct {
	// Listen is the local listener: where the wrapped agent and its operator
	// talk to the sidecar. host:port, or unix:/path/to.sock for a Unix socket
	// (0600) whose peers with our own uid count as the operator. A host beyond
	// loopback is refused unless OperatorToken names a file.
	Listen string `yaml:"listen"`

	// Hosts are further names that callers may put in the Host header, such as
	// a container's service name. Loopback names, IP literals and the host of
	// Listen are always good; any other Host is refused with 421, because a
	// name that an attacker can point at us is how web pages reach local
	// services (DNS rebinding).
	Hosts []string `yaml:"hosts"`

	// Public is the listener for other sidecars; off if empty. Without TLS it
	// may be on loopback only.
	Public string `yaml:"public"`

	// PublicURL is the origin under which other sidecars reach Public, such as
	// https://travel.example. It is what they sign for, and our name among them.
	PublicURL string `yaml:"public_url"`

	// TLS is the certificate of Public.
	TLS TLS `yaml:"tls"`

	// Key is the file with our agent key (iatp keygen FILE). It signs the
	// manifest, requests to peers and receipts.
	Key string `yaml:"key"`

	// Peers are the agents that the wrapped agent may call by name, at
	// /proxy/NAME, and the callers that are known here.
	Peers map[string]Peer `yaml:"peers"`

	// DefaultPeer makes /proxy reach this peer instead of the wrapped agent, so
	// that an agent changes one base URL and nothing else.
	DefaultPeer string `yaml:"default_peer"`

	// Authorities may endorse other agents, each for the uris and up to the
	// level that stand here.
	Authorities map[string]Authority `yaml:"authorities"`

	// RevokedKeys are keys (ed25519:…, or their thumbprints) that are not believed
	// here, whoever vouches for them: of peers, of authorities.
	RevokedKeys []string `yaml:"revoked_keys"`

	// Ingress says who may call the wrapped agent from outside.
	Ingress Ingress `yaml:"ingress"`

	// Agent is the wrapped agent. Calls arrive there as POST to exactly this
	// URL (path "/" if it has none).
	Agent string `yaml:"agent"`

	// Manifest is the capability manifest of the wrapped agent, a JSON file.
	// Without one, the seed's IATP_* variables or safe defaults make it.
	Manifest string `yaml:"manifest"`

	// AllowUnbackedClaims lets a manifest promise reversibility although no
	// compensation endpoint stands behind it. For demonstrations.
	AllowUnbackedClaims bool `yaml:"allow_unbacked_claims"`

	// Compensation names where the wrapped agent undoes things. A manifest
	// that promises reversibility is refused at start without it (or without
	// reversibility.compensation_endpoint in the operator's manifest file).
	Compensation Compensation `yaml:"compensation"`

	// Check names where the wrapped agent says what it knows of a transaction, asked
	// with GET: {"executed": true, "state": "…"}, or 404. With it what became of a call
	// under which somebody died is found out and not guessed, and an undo_conditions.until_state
	// of the manifest is held to.
	Check Inquiry `yaml:"check"`

	// Recovery is "auto" or "off". With auto a call from outside that fails half way is
	// retried or rolled back as far as the manifest allows, and one that a crash cut off is
	// looked into. With off what fails is reported and left as it is; what somebody asks to
	// have undone is undone all the same.
	Recovery RecoveryMode `yaml:"recovery"`

	// Data is the directory of the flight recorder, its keys and the operator
	// token. One sidecar per directory.
	Data string `yaml:"data"`

	// Durability is "default" or "strict". By default a record of a plain call
	// to the own agent is written (survives the process) before the call
	// leaves and on disk at most 50 ms later; calls with an idempotency key and
	// overridden calls are on disk first. "strict" has every record on disk
	// before anything is forwarded.
	Durability Durability `yaml:"durability"`

	// Override says how a person releases a call that is asked about: off,
	// confirm, loopback, token, or auto (confirm on loopback, else off). See
	// doc/operating.md for what each proves.
	Override OverrideMode `yaml:"override"`

	// OverrideToken is the file with the secret (16 characters or more) that
	// X-User-Override must equal in the token mode.
	OverrideToken string `yaml:"override_token"`

	// OperatorToken is the file with the operator's bearer token. Default:
	// DATA/operator.token, made at first start.
	OperatorToken string `yaml:"operator_token"`

	// Require is what the operator insists on; an unmet requirement asks.
	Require Requirements `yaml:"require"`

	// Policy lists files with custom rules, read again when they change.
	Policy []string `yaml:"policy"`

	// Privacy says what sensitive data is looked for and what becomes of it, read
	// again when Policy is.
	Privacy Privacy `yaml:"privacy"`

	Limits    Limits    `yaml:"limits"`
	Retention Retention `yaml:"retention"`
}

// TLS names PEM files. They are read again on reload.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA, if set, is who must have signed the certificate of a caller.
	ClientCA string `yaml:"client_ca"`
	// ClientCert and ClientKey are shown to peers that ask who connects. Without
	// them Cert and Key are.
	ClientCert string `yaml:"client_cert"`
	ClientKey  string `yaml:"client_key"`
}

// Peer is another agent's sidecar.
type Peer struct {
	// URL is its origin and address at once. URI and Dial set them apart: URI
	// is the principal that it must prove to be, Dial the host:port to call.
	URL  string `yaml:"url"`
	URI  string `yaml:"uri"`
	Dial string `yaml:"dial"`
	// CA is a PEM file with the certificates to trust for this peer, instead
	// of the system's.
	CA string `yaml:"ca"`
	// Pin is its key, ed25519:…, from a source that you trust.
	Pin string `yaml:"pin"`
	// MaxLevel is the highest level you give it on your own word.
	MaxLevel string `yaml:"max_level"`
	// Headers are further headers of the caller that are forwarded to it.
	Headers []string `yaml:"headers"`
	// Agreement says when terms are put into an agreement that both sides sign:
	// require (before the first call), on_demand (when the peer asks for one; what
	// holds if nothing is set) or off.
	Agreement string `yaml:"agreement"`
	// Receipt is require if the agent is to get no answer of the peer without a
	// receipt that holds, else optional (what holds if nothing is set): then it gets
	// the answer, marked.
	Receipt string `yaml:"receipt"`
}

// Authority endorses other agents.
type Authority struct {
	Key      string   `yaml:"key"`
	For      []string `yaml:"for"`
	MaxLevel string   `yaml:"max_level"`
}

// Ingress says who may call from outside.
type Ingress struct {
	// MinLevel is the lowest level of a caller that is let in. Without it only
	// callers with a known key are.
	MinLevel string `yaml:"min_level"`
	// Agreement is require if callers must come under an agreement, else optional
	// (what holds if nothing is set).
	Agreement string `yaml:"agreement"`
	// PrivateHosts are the exact host:port at which a stranger may be although the
	// address is a private one, or the port is not 443.
	PrivateHosts []string `yaml:"private_hosts"`
}

// Rate is a number of calls in a time, written as 600/1m.
type Rate struct {
	N   int
	Per time.Duration
}

// PerPeer limits one caller on the public listener.
type PerPeer struct {
	Rate  Rate `yaml:"rate"`
	Burst int  `yaml:"burst"`
	// What it may have undone, looked at when it wants another task that can be undone,
	// and never when it wants one undone: how many of its tasks could still be, what
	// these did cost together (as in "5000.00 USD", one for each currency), and how much
	// of its tasks of 24 hours it has undone, from so many undos on. 0 is no limit.
	Undoable      int      `yaml:"undoable"`
	UndoableCost  []string `yaml:"undoable_cost"`
	UndoRatio     float64  `yaml:"undo_ratio"`
	UndoRatioFrom int      `yaml:"undo_ratio_from"`
}

// Compensation is the wrapped agent's own undo call.
type Compensation struct {
	// URL is relative to the agent's, with {transaction_id} in it.
	URL string `yaml:"url"`
	// Method is the HTTP method, POST if empty.
	Method string `yaml:"method"`
}

// Inquiry is where the wrapped agent says what it knows.
type Inquiry struct {
	// URL is relative to the agent's, with {transaction_id} in it.
	URL string `yaml:"url"`
}

// RecoveryMode says what is done about failures unasked.
type RecoveryMode string

// The two modes of Config.Recovery.
const (
	RecoveryAuto RecoveryMode = "auto"
	RecoveryOff  RecoveryMode = "off"
)

// Requirements is policy.Requirements as the configuration file spells it.
type Requirements struct {
	Reversibility iatp.ReversibilityLevel `yaml:"reversibility"` // none | partial | full
	UndoWindow    Duration                `yaml:"undo_window"`   // at least this long
	Retention     iatp.RetentionPolicy    `yaml:"retention"`     // ephemeral | temporary | permanent | forever
	Manifest      bool                    `yaml:"manifest"`      // of a peer: without it the call is refused, not asked about
}

// Limits bound what one caller, and all of them together, can make us hold.
type Limits struct {
	Body        Size     `yaml:"body"`         // one request body; more is 413
	BodyTime    Duration `yaml:"body_time"`    // to receive it; more is 408
	BodyMemory  Size     `yaml:"body_memory"`  // all request bodies held at once; more is 503
	Depth       int      `yaml:"depth"`        // nesting of JSON; more is 400
	Concurrency int      `yaml:"concurrency"`  // exchanges under way; fewer while there is more work than can be done
	Wait        Duration `yaml:"wait"`         // for a place among them; longer is 503
	Connections int      `yaml:"connections"`  // open connections, and requests over HTTP/2; more of the former wait in the kernel's queue
	Deadline    Duration `yaml:"deadline"`     // to the first byte of the agent's answer; later is 504
	Idle        Duration `yaml:"idle"`         // silence inside an answer, either side
	RetryBudget Duration `yaml:"retry_budget"` // for retries of an idempotent agent, inside Deadline
	Undo        Duration `yaml:"undo"`         // how long a peer is asked to undo before a person is
	PerPeer     PerPeer  `yaml:"per_peer"`     // one caller on the public listener; more is 429
}

// mostDepth bounds Limits.Depth.
const mostDepth = 1000

// Retention is how long the flight recorder keeps its lines. What is dropped
// leaves its leaf hashes, so proofs of everything else still verify.
type Retention struct {
	Age  Duration `yaml:"age"`
	Size Size     `yaml:"size"`
}

// Durability says when a record counts as recorded.
type Durability string

// The two durabilities of Config.Durability.
const (
	DurabilityDefault Durability = "default"
	DurabilityStrict  Durability = "strict"
)

// OverrideMode says who can release a call that is asked about.
type OverrideMode string

// The modes of Config.Override.
const (
	OverrideAuto     OverrideMode = "auto"
	OverrideOff      OverrideMode = "off"
	OverrideConfirm  OverrideMode = "confirm"
	OverrideLoopback OverrideMode = "loopback"
	OverrideToken    OverrideMode = "token"
)

// DefaultConfig is what runs when nothing is set.
func DefaultConfig() Config {
	return Config{
		Listen:     "127.0.0.1:8001",
		Agent:      "http://localhost:8000",
		Data:       "./iatp-data",
		Durability: DurabilityDefault,
		Override:   OverrideAuto,
		Privacy:    Privacy{Request: "default", Response: "record", Opaque: "record", MinConfidence: usualConfidence},
		Recovery:   RecoveryAuto,
		Limits: Limits{
			Body:        1 << 20,
			BodyTime:    Duration(30 * time.Second),
			BodyMemory:  256 << 20,
			Depth:       128,
			Concurrency: 1024,
			Wait:        Duration(5 * time.Second),
			Connections: 10000,
			Deadline:    Duration(120 * time.Second),
			Idle:        Duration(60 * time.Second),
			RetryBudget: Duration(10 * time.Second),
			Undo:        Duration(15 * time.Minute),
			PerPeer:     PerPeer{Rate: Rate{600, time.Minute}, Burst: 60, Undoable: 1_000_000, UndoRatio: 0.9, UndoRatioFrom: 10_000},
		},
		Retention: Retention{Age: Duration(720 * time.Hour), Size: 10 << 30},
	}
}

// LoadConfig reads a YAML file over c. Unknown keys, duplicate keys and values
// of the wrong kind are errors with line and column. Relative paths in the file
// are relative to the file.
func LoadConfig(path string, c *Config) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	if len(data) > 1<<20 {
		return fmt.Errorf("config %s: larger than 1 MiB", path)
	}
	before := *c
	if err := yaml.UnmarshalWithOptions(data, c, yaml.Strict()); err != nil {
		*c = before
		return fmt.Errorf("config %s: %s", path, strings.TrimSpace(yaml.FormatError(err, false, true)))
	}
	c.anchor(filepath.Dir(path), &before)
	return nil
}

// anchor makes the paths that the file set relative to the file's directory;
// what it left as it was belongs to somebody else.
func (c *Config) anchor(dir string, before *Config) {
	at := func(p *string, was string) {
		if *p != "" && *p != was && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	at(&c.Manifest, before.Manifest)
	at(&c.Data, before.Data)
	at(&c.OverrideToken, before.OverrideToken)
	at(&c.OperatorToken, before.OperatorToken)
	at(&c.Key, before.Key)
	at(&c.TLS.Cert, before.TLS.Cert)
	at(&c.TLS.Key, before.TLS.Key)
	at(&c.TLS.ClientCA, before.TLS.ClientCA)
	at(&c.Privacy.Allow.Key, before.Privacy.Allow.Key)
	at(&c.TLS.ClientCert, before.TLS.ClientCert)
	at(&c.TLS.ClientKey, before.TLS.ClientKey)
	for name, p := range c.Peers {
		at(&p.CA, before.Peers[name].CA)
		c.Peers[name] = p
	}
	for i := range c.Policy {
		if i >= len(before.Policy) || c.Policy[i] != before.Policy[i] {
			at(&c.Policy[i], "")
		}
	}
	if p, ok := strings.CutPrefix(c.Listen, "unix:"); ok && c.Listen != before.Listen && !filepath.IsAbs(p) {
		c.Listen = "unix:" + filepath.Join(dir, p)
	}
}

// Validate reports every problem at once, each with the key and the remedy.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if u, err := url.Parse(c.Agent); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		bad("agent", "%s is not an http or https URL, such as http://localhost:8000", strconv.Quote(iatp.Printable(c.Agent)))
	} else if u.User != nil || u.Fragment != "" {
		bad("agent", "the URL must have no user and no fragment")
	}
	if err := c.validateListen(); err != nil {
		bad("listen", "%v", err)
	}
	switch c.Durability {
	case DurabilityDefault, DurabilityStrict:
	default:
		bad("durability", "%q is not one of default, strict", c.Durability)
	}
	if c.Recovery != RecoveryAuto && c.Recovery != RecoveryOff {
		bad("recovery", "%q is not one of auto, off", c.Recovery)
	}
	c.validateOverride(bad)
	c.validatePublic(bad)
	c.validatePeers(bad)
	c.validateRequire(bad)
	c.validateLimits(bad)
	c.validatePrivacy(bad)
	if c.Data == "" {
		bad("data", "name a directory")
	}
	if m := c.Compensation.Method; m != "" && m != "POST" && m != "PUT" && m != "DELETE" {
		bad("compensation.method", "%q is not one of POST, PUT, DELETE", m)
	}
	return errors.Join(errs...)
}

func (c *Config) validateListen() error {
	if p, ok := strings.CutPrefix(c.Listen, "unix:"); ok {
		if p == "" {
			return errors.New("unix: needs a path, such as unix:/run/iatp.sock")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("%q is not host:port, such as 127.0.0.1:8001", c.Listen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port %q is not a number from 0 to 65535", port)
	} else if !c.loopbackOnly() && c.OperatorToken == "" {
		return fmt.Errorf("%s:%d is reachable from other machines; listen on 127.0.0.1, or set operator_token: FILE "+
			"(16 characters or more, only you can read it) to say that this is meant", hostOf(c.Listen), n)
	}
	return nil
}

func (c *Config) validateOverride(bad func(string, string, ...any)) {
	switch c.Override {
	case OverrideAuto, OverrideOff, OverrideConfirm:
	case OverrideLoopback:
		if !c.loopbackOnly() {
			bad("override", "loopback needs a listener on loopback only")
		}
	case OverrideToken:
		if c.OverrideToken == "" {
			bad("override_token", "the token mode needs override_token: FILE with 16 characters or more")
		}
	case "grant":
		bad("override", "grant (signed approvals) is not part of this version; use confirm or token, or off")
	default:
		bad("override", "%q is not one of auto, off, confirm, loopback, token", c.Override)
	}
	if c.OverrideToken != "" && c.Override != OverrideToken {
		bad("override_token", "is only used with override: token")
	}
}

func (c *Config) validateRequire(bad func(string, string, ...any)) {
	switch c.Require.Reversibility {
	case "", iatp.ReversibilityNone, iatp.ReversibilityPartial, iatp.ReversibilityFull:
	default:
		bad("require.reversibility", "%q is not one of none, partial, full", c.Require.Reversibility)
	}
	switch c.Require.Retention {
	case "", iatp.RetentionEphemeral, iatp.RetentionTemporary, iatp.RetentionPermanent, iatp.RetentionForever:
	default:
		bad("require.retention", "%q is not one of ephemeral, temporary, permanent, forever", c.Require.Retention)
	}
	if c.Require.UndoWindow < 0 {
		bad("require.undo_window", "must not be negative")
	}
}

func (c *Config) validateLimits(bad func(string, string, ...any)) {
	l := &c.Limits
	if l.Body < 1 || l.Body > 64<<20 {
		bad("limits.body", "must be from 1 B to 64 MiB")
	}
	if l.BodyMemory < l.Body {
		bad("limits.body_memory", "must be at least limits.body")
	}
	if l.Depth < 1 || l.Depth > mostDepth {
		bad("limits.depth", "must be from 1 to 1000")
	}
	if l.Concurrency < 1 || l.Connections < 1 {
		bad("limits.concurrency, limits.connections", "must be 1 or more")
	}
	for key, d := range map[string]Duration{"body_time": l.BodyTime, "deadline": l.Deadline, "idle": l.Idle, "undo": l.Undo} {
		if d <= 0 || d > Duration(24*time.Hour) {
			bad("limits."+key, "must be more than 0 and at most 24h")
		}
	}
	if l.Wait < 0 || l.Wait > Duration(time.Minute) {
		bad("limits.wait", "must be from 0 to 1m")
	}
	if l.RetryBudget < 0 {
		bad("limits.retry_budget", "must not be negative")
	}
	if c.Retention.Age < 0 || c.Retention.Size < 0 {
		bad("retention", "must not be negative (0 keeps everything)")
	}
}

// loopbackOnly reports whether nothing but this machine reaches the listener.
func (c *Config) loopbackOnly() bool {
	if strings.HasPrefix(c.Listen, "unix:") {
		return true
	}
	host := hostOf(c.Listen)
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func hostOf(listen string) string {
	host, _, _ := net.SplitHostPort(listen)
	return host
}

// overrideMode resolves auto.
func (c *Config) overrideMode() OverrideMode {
	if c.Override != OverrideAuto {
		return c.Override
	}
	if c.loopbackOnly() {
		return OverrideConfirm
	}
	return OverrideOff
}

func (c *Config) requirements() policy.Requirements {
	return policy.Requirements{
		Reversibility: c.Require.Reversibility,
		UndoWindow:    time.Duration(c.Require.UndoWindow),
		Retention:     c.Require.Retention,
	}
}

// Duration is a time.Duration written as "30s" or "720h".
type Duration time.Duration

// UnmarshalYAML reads Go's duration syntax.
func (d *Duration) UnmarshalYAML(n ast.Node) error {
	v, err := time.ParseDuration(scalar(n))
	if err != nil {
		return valueError(n, "a duration such as 30s, 5m or 720h")
	}
	*d = Duration(v)
	return nil
}

// scalar is the text of a node, without quotes.
func scalar(n ast.Node) string {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value
	}
	return n.String()
}

// valueError is an error of a value, at its place.
func valueError(n ast.Node, want string) error {
	return &yaml.SyntaxError{Message: fmt.Sprintf("%s is not %s", strconv.Quote(iatp.Printable(clip(scalar(n), 40))), want), Token: n.GetToken()}
}

// MarshalText writes what UnmarshalYAML reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Size is a number of bytes, written as 1024, 512KiB, 1MiB or 10GiB.
type Size int64

var sizeUnits = []struct {
	name string
	n    int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalYAML reads a whole number with an optional binary unit.
func (s *Size) UnmarshalYAML(node ast.Node) error {
	text, unit := strings.TrimSpace(scalar(node)), int64(1)
	for _, u := range sizeUnits {
		if t, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = strings.TrimSpace(t), u.n
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return valueError(node, "a size such as 1024, 512KiB, 1MiB or 10GiB")
	}
	*s = Size(n * unit)
	return nil
}

// MarshalText writes the largest unit that divides the size.
func (s Size) MarshalText() ([]byte, error) {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.n == 0 {
			return []byte(strconv.FormatInt(int64(s)/u.n, 10) + u.name), nil
		}
	}
	return []byte("0"), nil
}

// YAML is the effective configuration, in the form that LoadConfig reads.
func (c *Config) YAML() ([]byte, error) { return yaml.Marshal(c) }
