package iatp

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// minimal is the least that a manifest can say.
const minimal = `{"identity":{"agent_id":"a"},"trust_level":"standard"}`

// with returns minimal with more members.
func with(members string) string {
	return strings.TrimSuffix(minimal, "}") + "," + members + "}"
}

// readme is the manifest that the protocol's introduction shows.
const readme = `{
  "$schema": "http://inter-agent-trust.org/v1/schema",
  "identity": {
    "agent_id": "expedia-booking-bot-v2",
    "verification_key": "public_key_abc123",
    "owner": "Expedia Group"
  },
  "trust_level": "verified_partner",
  "capabilities": {
    "idempotency": true,
    "concurrency_limit": 5,
    "sla_latency_ms": 2000
  },
  "reversibility": {
    "level": "partial",
    "undo_window_seconds": 3600,
    "compensation_method": "refund_minus_fee"
  },
  "privacy": {
    "retention_policy": "ephemeral",
    "human_in_loop": false,
    "training_consent": false
  }
}`

func vector(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("spec/vectors/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// ignoreSource compares manifests by what they say.
var ignoreSource = cmpopts.IgnoreUnexported(Manifest{})

func TestParseManifestReadsEveryMember(t *testing.T) {
	const key = "ed25519:UBVnG218QPEAt75SEFjoiz6yoBO8AcUQwLtANu4K7lk"
	const logKey = "expedia.example/iatp+b9cfa67b+AYMgpRl32MOMqKSSfGcN9YIeRJdhlF4V6e+yahUJ0jDq"
	const kid = "lE51E3MevnF670f9fhD7-IzcjRcCfrWzAdaJXevvjqk"
	doc := `{
	"$schema": "s",
	"identity": {"agent_id": "\u0061 b", "verification_key": "` + key + `", "owner": "o", "uri": "https://a.example:8443", "contact": "c", "log": "` + logKey + `"},
	"trust_level": "trusted",
	"capabilities": {"idempotency": true, "concurrency_limit": 5, "sla_latency_ms": 2000, "sla_availability": 99.95, "idempotency_duration_seconds": 60},
	"reversibility": {"level": "full", "undo_window_seconds": 0, "compensation_method": "m", "compensation_notes": "n",
		"compensation_sla_ms": 7, "max_fee": "50.00", "currency": "USD", "compensation_endpoint": "https://a.example/undo"},
	"privacy": {"retention_policy": "forever", "retention_duration_seconds": 9, "human_in_loop": true, "training_consent": true,
		"storage_location": "eu", "encryption_at_rest": false, "encryption_in_transit": true},
	"protocol_version": "1.1", "manifest_version": "v", "updated_at": "2026-11-01T00:00:00Z", "expires_at": "2026-12-01T01:00:00+01:00",
	"scopes": ["book", "cancel"], "endorsements": ["YQ.YQ.YQ"], "revoked_keys": [{"kid": "` + kid + `", "at": "2026-10-01T00:00:00.5Z"}],
	"signatures": [{"protected": "e30", "signature": "YQ"}],
	"unknown": {"kept": [1, true, null]}
}`
	doc = strings.ReplaceAll(doc, "99.95", `"99.95"`)
	got, err := ParseManifest([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	no, yes := false, true
	want := &Manifest{
		Schema:          "s",
		Identity:        Identity{AgentID: "a b", VerificationKey: key, Owner: "o", URI: "https://a.example:8443", Contact: "c", Log: logKey},
		TrustLevel:      Trusted,
		Capabilities:    Capabilities{Idempotency: true, ConcurrencyLimit: 5, SLALatencyMS: 2000, SLAAvailability: "99.95", IdempotencyDurationSeconds: 60},
		Reversibility:   Reversibility{Level: ReversibilityFull, UndoWindowSeconds: new(int64), CompensationMethod: "m", CompensationNotes: "n", CompensationSLAMS: 7, MaxFee: "50.00", Currency: "USD"},
		Privacy:         Privacy{RetentionPolicy: RetentionForever, RetentionDurationSeconds: 9, HumanInLoop: true, TrainingConsent: true, StorageLocation: "eu", EncryptionAtRest: &no, EncryptionInTransit: &yes},
		ProtocolVersion: "1.1", ManifestVersion: "v",
		UpdatedAt:    time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
		ExpiresAt:    time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
		Scopes:       []string{"book", "cancel"},
		Endorsements: []string{"YQ.YQ.YQ"},
		RevokedKeys:  []RevokedKey{{KeyID: kid, At: time.Date(2026, 10, 1, 0, 0, 0, 5e8, time.UTC)}},
		Signatures:   []ManifestSignature{{Protected: "e30", Signature: "YQ"}},
	}
	if diff := cmp.Diff(want, got, ignoreSource); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if string(got.Bytes()) != doc {
		t.Errorf("Bytes() = %s\nwant the document as it was read", got.Bytes())
	}
}

func TestParseManifestDefaults(t *testing.T) {
	got, err := ParseManifest([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := &Manifest{Identity: Identity{AgentID: "a"}, TrustLevel: Standard, ProtocolVersion: "1.0"}
	if diff := cmp.Diff(want, got, ignoreSource); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

// ParseManifest keeps no reference to what it was given.
func TestBytesIsACopy(t *testing.T) {
	data := []byte(minimal)
	m, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if string(m.Bytes()) != minimal {
		t.Errorf("Bytes() = %q after the input was overwritten", m.Bytes())
	}
}

// goodManifests are accepted by the parser and by the schema.
var goodManifests = map[string]string{
	"minimal":              minimal,
	"readme":               readme,
	"unknown members":      with(`"x":{"y":[1.5,null,true,"z"]},"identity2":0`),
	"empty objects":        with(`"capabilities":{},"reversibility":{},"privacy":{}`),
	"fraction unsigned":    with(`"capabilities":{"sla_availability":99.9}`),
	"2^53":                 with(`"x":[9007199254740992,-9007199254740992]`),
	"opaque key":           `{"identity":{"agent_id":"a","verification_key":"-----BEGIN PUBLIC KEY-----"},"trust_level":"unknown"}`,
	"version 1":            with(`"protocol_version":"1"`),
	"version 1.12.3":       with(`"protocol_version":"1.12.3"`),
	"spiffe":               `{"identity":{"agent_id":"a","uri":"spiffe://corp.example/ns/agents/sa/bank"},"trust_level":"unknown"}`,
	"loopback":             `{"identity":{"agent_id":"a","uri":"http://localhost:8001"},"trust_level":"unknown"}`,
	"IPv6 uri":             `{"identity":{"agent_id":"a","uri":"https://[2001:db8::1]:444"},"trust_level":"unknown"}`,
	"agent id in Japanese": `{"identity":{"agent_id":"予約係"},"trust_level":"unknown"}`,
	"nested 16":            with(`"x":` + strings.Repeat("[", 15) + strings.Repeat("]", 15)),
	"fee":                  with(`"reversibility":{"max_fee":"0.0001"}`),
}

// badManifests are refused, in these words. inText marks those that a schema
// cannot tell, because the fault is in the text and not in the data.
var badManifests = []struct {
	name, doc, want string
	inText          bool
}{
	{"not JSON", `{"identity"`, `line 1, column 12, at /identity: unexpected end of input`, true},
	{"array", `[]`, `line 1, column 1: must be an object, got an array`, false},
	{"null", `null`, `line 1, column 1: must be an object, got null`, false},
	{"empty", ``, `line 1, column 1: empty input, want a JSON value`, true},
	{"trailing", minimal + "x", `line 1, column 55: unexpected 'x', want the end of the document`, true},
	{"duplicate", `{"identity":{"agent_id":"a","agent_id":"b"},"trust_level":"trusted"}`,
		`line 1, column 29, at /identity/agent_id: duplicate member "agent_id"`, true},
	{"duplicate by escape", with(`"trust\u005flevel":"trusted"`), `line 1, column 55, at /trust_level: duplicate member "trust_level"`, true},
	{"bad UTF-8", with("\"x\":\"\xff\""), `line 1, column 60, at /x: invalid UTF-8`, true},
	{"lone surrogate", with(`"x":"\ud800"`), `line 1, column 60, at /x: half of a surrogate pair without the other half`, true},
	{"too deep", with(`"x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16)),
		`line 1, column 74, at /x` + strings.Repeat("/0", 15) + `: nested deeper than 16`, true},
	{"too large", with(`"x":"` + strings.Repeat("x", MaxManifestSize) + `"`), `manifest has 65597 bytes, at most 65536 are read`, true},
	{"number too large", with(`"x":[9007199254740993]`), `line 1, column 60, at /x/0: number is beyond ±2^53, where readers disagree, got 9007199254740993; write it as a string`, true},
	{"number too small", with(`"x":-1e16`), `line 1, column 59, at /x: number is beyond ±2^53, where readers disagree, got -1e16; write it as a string`, true},
	{"number infinite", with(`"x":1e999`), `line 1, column 59, at /x: number is beyond ±2^53, where readers disagree, got 1e999; write it as a string`, true},
	{"no identity", `{"trust_level":"trusted"}`, `line 1, column 1: identity is missing, add "identity": {"agent_id": "…"}`, false},
	{"flat form", `{"agent_id":"a","trust_level":"trusted"}`,
		`line 1, column 1: identity is missing: this is the older flat form, which is read from an operator's own file only; put agent_id into an identity object`, false},
	{"no agent_id", "{\n  \"identity\": {},\n  \"trust_level\": \"trusted\"}", `line 2, column 15, at /identity: agent_id is missing, add "agent_id": "…"`, false},
	{"no trust_level", `{"identity":{"agent_id":"a"}}`,
		`line 1, column 1: trust_level is missing, add one of verified_partner, trusted, standard, unknown, untrusted`, false},
	{"empty agent_id", `{"identity":{"agent_id":""},"trust_level":"trusted"}`, `line 1, column 25, at /identity/agent_id: agent_id must have 1 to 256 bytes, got 0`, false},
	{"long agent_id", `{"identity":{"agent_id":"` + strings.Repeat("a", 257) + `"},"trust_level":"trusted"}`,
		`line 1, column 25, at /identity/agent_id: agent_id must have 1 to 256 bytes, got 257`, false},
	{"agent_id with escape sequence", `{"identity":{"agent_id":"a\u001b[2J"},"trust_level":"trusted"}`,
		`line 1, column 25, at /identity/agent_id: agent_id must not hold control characters, got "a\x1b[2J"`, false},
	{"agent_id number", `{"identity":{"agent_id":7},"trust_level":"trusted"}`, `line 1, column 25, at /identity/agent_id: must be a string, got 7`, false},
	{"unknown level", `{"identity":{"agent_id":"a"},"trust_level":"gold"}`,
		`line 1, column 44, at /trust_level: trust_level must be one of verified_partner, trusted, standard, unknown, untrusted, got "gold"`, false},
	{"level in capitals", `{"identity":{"agent_id":"a"},"trust_level":"Trusted"}`,
		`line 1, column 44, at /trust_level: trust_level must be one of verified_partner, trusted, standard, unknown, untrusted, got "Trusted"`, false},
	{"level number", `{"identity":{"agent_id":"a"},"trust_level":10}`,
		`line 1, column 44, at /trust_level: trust_level must be one of verified_partner, trusted, standard, unknown, untrusted, got 10`, false},
	{"long value is cut", `{"identity":{"agent_id":"a"},"trust_level":"` + strings.Repeat("é", 300) + `"}`,
		`line 1, column 44, at /trust_level: trust_level must be one of verified_partner, trusted, standard, unknown, untrusted, got "` + strings.Repeat("é", 20) + `…"`, false},
	{"level null", `{"identity":{"agent_id":"a"},"trust_level":null}`,
		`line 1, column 44, at /trust_level: trust_level must be one of verified_partner, trusted, standard, unknown, untrusted, got null`, false},
	{"reversibility word", with(`"reversibility":"full"`), `line 1, column 71, at /reversibility: must be an object, got "full"`, false},
	{"reversibility level", with(`"reversibility":{"level":"total"}`), `line 1, column 80, at /reversibility/level: level must be one of none, partial, full, got "total"`, false},
	{"negative window", with(`"reversibility":{"undo_window_seconds":-1}`), `line 1, column 94, at /reversibility/undo_window_seconds: must be an integer from 0 on, got -1`, false},
	{"fraction of a window", with(`"reversibility":{"undo_window_seconds":1.5}`), `line 1, column 94, at /reversibility/undo_window_seconds: must be an integer from 0 on, got 1.5`, false},
	{"window text", with(`"reversibility":{"undo_window_seconds":"24h"}`), `line 1, column 94, at /reversibility/undo_window_seconds: must be an integer from 0 on, got "24h"`, false},
	{"fee number", with(`"reversibility":{"max_fee":50}`), `line 1, column 82, at /reversibility/max_fee: must be an amount in a string, such as "50.00", got 50`, false},
	{"fee negative", with(`"reversibility":{"max_fee":"-1"}`), `line 1, column 82, at /reversibility/max_fee: must be an amount in a string, such as "50.00", got "-1"`, false},
	{"fee zeros", with(`"reversibility":{"max_fee":"01"}`), `line 1, column 82, at /reversibility/max_fee: must be an amount in a string, such as "50.00", got "01"`, false},
	{"currency", with(`"reversibility":{"currency":"usd"}`), `line 1, column 83, at /reversibility/currency: must be a currency code such as "USD", got "usd"`, false},
	{"retention", with(`"privacy":{"retention_policy":"short"}`),
		`line 1, column 85, at /privacy/retention_policy: retention_policy must be one of ephemeral, temporary, permanent, forever, got "short"`, false},
	{"boolean text", with(`"privacy":{"human_in_loop":"false"}`), `line 1, column 82, at /privacy/human_in_loop: must be true or false, got "false"`, false},
	{"boolean number", with(`"capabilities":{"idempotency":1}`), `line 1, column 85, at /capabilities/idempotency: must be true or false, got 1`, false},
	{"availability", with(`"capabilities":{"sla_availability":"high"}`), `line 1, column 90, at /capabilities/sla_availability: must be a decimal such as 99.9 or "99.9", got "high"`, false},
	{"version 2", with(`"protocol_version":"2.0"`), `line 1, column 74, at /protocol_version: protocol_version must be 1 or 1.x, got "2.0"; this program speaks version 1.0`, false},
	{"version number", with(`"protocol_version":1.0`), `line 1, column 74, at /protocol_version: must be a string such as "1.0", got 1.0`, false},
	{"time", with(`"updated_at":"yesterday"`), `line 1, column 68, at /updated_at: must be a time such as "2026-11-01T00:00:00Z", got "yesterday"`, false},
	{"time with comma", with(`"updated_at":"2026-11-01T00:00:00,5Z"`), `line 1, column 68, at /updated_at: must be a time such as "2026-11-01T00:00:00Z", got "2026-11-01T00:00:00,5Z"`, false},
	{"time with a short hour", with(`"updated_at":"2026-11-01T0:00:00Z"`), `line 1, column 68, at /updated_at: must be a time such as "2026-11-01T00:00:00Z", got "2026-11-01T0:00:00Z"`, false},
	{"time in another world", with(`"updated_at":"2026-11-01T00:00:00+24:00"`), `line 1, column 68, at /updated_at: must be a time such as "2026-11-01T00:00:00Z", got "2026-11-01T00:00:00+24:00"`, true},
	{"time before the calendar", with(`"updated_at":"0000-01-01T00:00:00+01:00"`), `line 1, column 68, at /updated_at: must be a time such as "2026-11-01T00:00:00Z", got "0000-01-01T00:00:00+01:00"`, true},
	{"time after the calendar", with(`"updated_at":"9999-12-31T23:59:59-01:00"`), `line 1, column 68, at /updated_at: must be a time such as "2026-11-01T00:00:00Z", got "9999-12-31T23:59:59-01:00"`, true},
	{"time null", with(`"updated_at":null`), `line 1, column 68, at /updated_at: must be a time such as "2026-11-01T00:00:00Z", got null`, false},
	{"scopes", with(`"scopes":["a",1]`), `line 1, column 69, at /scopes/1: must be a string that is not empty, got 1`, false},
	{"endorsement", with(`"endorsements":["abc"]`), `line 1, column 71, at /endorsements/0: an endorsement must be a compact JWS: three parts of base64url with dots between them`, false},
	{"revoked key", with(`"revoked_keys":[{"kid":"x","at":"2026-11-01T00:00:00Z"}]`), `line 1, column 71, at /revoked_keys/0: a revoked key needs "kid", the RFC 7638 thumbprint of the key, and "at", a time`, false},
	{"log key that is long", `{"identity":{"agent_id":"a","log":"` + strings.Repeat("l", 513) + `"},"trust_level":"trusted"}`,
		`line 1, column 35, at /identity/log: log must have at most 512 bytes, got 513`, false},
	{"log key that is none", `{"identity":{"agent_id":"a","log":"l"},"trust_level":"trusted"}`,
		`line 1, column 35, at /identity/log: log must be the Ed25519 verifier key of a flight log in its one spelling, name+hash+key as in log.vkey, got "l"`, false},
	{"log key without a name", `{"identity":{"agent_id":"a","log":"+b9cfa67b+AYMgpRl32MOMqKSSfGcN9YIeRJdhlF4V6e+yahUJ0jDq"},"trust_level":"trusted"}`,
		`line 1, column 35, at /identity/log: log must be the Ed25519 verifier key of a flight log in its one spelling, name+hash+key as in log.vkey, got "+b9cfa67b+AYMgpRl32MOMqKSSfGcN9YIeRJdhlF…"`, false},
	{"log key with another hash", `{"identity":{"agent_id":"a","log":"expedia.example/iatp+b9cea67b+AYMgpRl32MOMqKSSfGcN9YIeRJdhlF4V6e+yahUJ0jDq"},"trust_level":"trusted"}`,
		`line 1, column 35, at /identity/log: log must be the Ed25519 verifier key of a flight log in its one spelling, name+hash+key as in log.vkey, got "expedia.example/iatp+b9cea67b+AYMgpRl32M…"`, true},
	{"log key of another name", `{"identity":{"agent_id":"a","log":"xexpedia.example/iatp+b9cfa67b+AYMgpRl32MOMqKSSfGcN9YIeRJdhlF4V6e+yahUJ0jDq"},"trust_level":"trusted"}`,
		`line 1, column 35, at /identity/log: log must be the Ed25519 verifier key of a flight log in its one spelling, name+hash+key as in log.vkey, got "xexpedia.example/iatp+b9cfa67b+AYMgpRl32…"`, true},
	{"log key in capitals", `{"identity":{"agent_id":"a","log":"expedia.example/iatp+B9CFA67B+AYMgpRl32MOMqKSSfGcN9YIeRJdhlF4V6e+yahUJ0jDq"},"trust_level":"trusted"}`,
		`line 1, column 35, at /identity/log: log must be the Ed25519 verifier key of a flight log in its one spelling, name+hash+key as in log.vkey, got "expedia.example/iatp+B9CFA67B+AYMgpRl32M…"`, false},
	{"log key of another kind", `{"identity":{"agent_id":"a","log":"expedia.example/iatp+b9cfa67b+BIMgpRl32MOMqKSSfGcN9YIeRJdhlF4V6e+yahUJ0jDq"},"trust_level":"trusted"}`,
		`line 1, column 35, at /identity/log: log must be the Ed25519 verifier key of a flight log in its one spelling, name+hash+key as in log.vkey, got "expedia.example/iatp+b9cfa67b+BIMgpRl32M…"`, false},
	{"key of 31 bytes", `{"identity":{"agent_id":"a","verification_key":"ed25519:AAAA"},"trust_level":"trusted"}`,
		`line 1, column 48, at /identity/verification_key: key must be "ed25519:" and 43 characters of unpadded base64url (32 bytes)`, false},
	{"no signatures", with(`"updated_at":"2026-11-01T00:00:00Z","signatures":[]`),
		`line 1, column 104, at /signatures: signatures must have 1 to 4 elements, got none; leave it out of an unsigned manifest`, false},
	{"five signatures", with(`"updated_at":"2026-11-01T00:00:00Z","signatures":[0,0,0,0,0]`), `line 1, column 104, at /signatures: must have at most 4 elements, got 5`, false},
	{"signature header", with(`"updated_at":"2026-11-01T00:00:00Z","signatures":[{"protected":"e30","signature":"YQ","header":{}}]`),
		`line 1, column 150, at /signatures/0/header: a signature has the members protected and signature only: nothing protects any other`, false},
	{"signature without protected", with(`"updated_at":"2026-11-01T00:00:00Z","signatures":[{"signature":"YQ"}]`),
		`line 1, column 105, at /signatures/0: a signature needs the members protected and signature`, false},
	{"signature with stray bits", with(`"updated_at":"2026-11-01T00:00:00Z","signatures":[{"protected":"e30","signature":"YR"}]`),
		`line 1, column 136, at /signatures/0/signature: must be unpadded base64url, without line breaks or stray bits, got "YR"`, true},
	{"signature with line break", with(`"updated_at":"2026-11-01T00:00:00Z","signatures":[{"protected":"e30","signature":"Y\nQ"}]`),
		`line 1, column 136, at /signatures/0/signature: must be unpadded base64url, without line breaks or stray bits, got "Y\nQ"`, false},
	{"signed without time", with(`"signatures":[{"protected":"e30","signature":"YQ"}]`),
		`line 1, column 1: updated_at is missing: a signed manifest needs it, so that an older one cannot take its place`, false},
	{"fraction in signed", with(`"updated_at":"2026-11-01T00:00:00Z","x":0.5,"signatures":[{"protected":"e30","signature":"YQ"}]`),
		`line 1, column 95, at /x: numbers in a signed document must be integers below 2^53, got 0.5; write it as a string`, true},
	{"-0 in signed", with(`"updated_at":"2026-11-01T00:00:00Z","x":-0,"signatures":[{"protected":"e30","signature":"YQ"}]`),
		`line 1, column 95, at /x: numbers in a signed document must be integers below 2^53, got -0; write it as a string`, true},
	{"1e2 in signed", with(`"updated_at":"2026-11-01T00:00:00Z","x":1e2,"signatures":[{"protected":"e30","signature":"YQ"}]`),
		`line 1, column 95, at /x: numbers in a signed document must be integers below 2^53, got 1e2; write it as a string`, true},
	{"2^53 in signed", with(`"updated_at":"2026-11-01T00:00:00Z","x":9007199254740992,"signatures":[{"protected":"e30","signature":"YQ"}]`),
		`line 1, column 95, at /x: numbers in a signed document must be integers below 2^53, got 9007199254740992; write it as a string`, true},
}

func TestParseManifestAccepts(t *testing.T) {
	for name, doc := range goodManifests {
		if _, err := ParseManifest([]byte(doc)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ParseOperatorManifest([]byte(doc)); err != nil {
			t.Errorf("%s, as the operator's file: %v", name, err)
		}
	}
}

func TestParseManifestRefuses(t *testing.T) {
	for _, c := range badManifests {
		_, err := ParseManifest([]byte(c.doc))
		if _, ok := errors.AsType[*ManifestError](err); !ok {
			t.Errorf("%s: error is %T, want a *ManifestError", c.name, err)
			continue
		}
		if err.Error() != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, err, c.want)
		}
	}
}

func TestPrincipalURI(t *testing.T) {
	for uri, ok := range map[string]bool{
		"https://agent.example":               true,
		"https://agent.example:8443":          true,
		"https://192.0.2.1":                   true,
		"https://[2001:db8::1]":               true,
		"http://localhost":                    true,
		"http://127.0.0.1:8001":               true,
		"http://[::1]:8001":                   true,
		"spiffe://corp.example/agent":         true,
		"":                                    false,
		"agent.example":                       false,
		"https://":                            false,
		"https://Agent.example":               false,
		"https://agent.example/":              false,
		"https://agent.example/path":          false,
		"https://agent.example?x":             false,
		"https://agent.example#x":             false,
		"https://agent.example:443":           false,
		"https://agent.example:0443":          false,
		"https://agent.example:0":             false,
		"https://agent.example:65536":         false,
		"https://agent.example:":              false,
		"https://user@agent.example":          false,
		"https://agent..example":              false,
		"https://-agent.example":              false,
		"https://bücher.example":              false,
		"https://[2001:DB8::1]":               false,
		"https://[2001:db8:0::1]":             false,
		"https://[2001:db8::1":                false,
		"https://[::1]x":                      false,
		"https://[1.2.3.4]":                   false,
		"http://agent.example":                false,
		"http://localhost:80":                 false,
		"http://localhost.evil.example":       false,
		"http://127.0.0.1.evil.example":       false,
		"spiffe://corp.example":               false,
		"spiffe://corp.example/":              false,
		"spiffe://corp.example/a?b":           false,
		"ftp://agent.example":                 false,
		"javascript://agent.example":          false,
		"https://agent.example\n.evil":        false,
		"https://" + strings.Repeat("a", 254): false,
	} {
		if err := checkPrincipal(uri); (err == nil) != ok {
			t.Errorf("checkPrincipal(%q) = %v, want ok = %v", uri, err, ok)
		}
	}
}

func TestWarnings(t *testing.T) {
	const key = `"verification_key":"ed25519:UBVnG218QPEAt75SEFjoiz6yoBO8AcUQwLtANu4K7lk"`
	signed := `"updated_at":"2026-11-01T00:00:00Z","signatures":[{"protected":"e30","signature":"YQ"}]`
	for _, c := range []struct {
		doc  string
		want []string
	}{
		{`{"identity":{"agent_id":"a"},"trust_level":"unknown"}`, nil},
		{`{"identity":{"agent_id":"a"},"trust_level":"trusted"}`, []string{"trust_level is trusted, but the manifest is unsigned: a stranger believes no more than unknown"}},
		{`{"identity":{"agent_id":"a",` + key + `,"uri":"https://a.example"},"trust_level":"untrusted",` + signed + `}`,
			[]string{"trust_level is untrusted, yet the manifest is signed or endorsed"}},
		{`{"identity":{"agent_id":"a","verification_key":"x","uri":"https://a.example"},"trust_level":"trusted",` + signed + `}`,
			[]string{"the manifest is signed, but identity.verification_key is not an ed25519 key: nobody will believe it"}},
		{`{"identity":{"agent_id":"a",` + key + `},"trust_level":"trusted",` + signed + `,"expires_at":"2026-11-01T00:00:00Z",
			"revoked_keys":[{"kid":"lE51E3MevnF670f9fhD7-IzcjRcCfrWzAdaJXevvjqk","at":"2026-10-01T00:00:00Z"}]}`,
			[]string{"the manifest is signed, but has no identity.uri: the signature vouches for nobody in particular",
				"identity.verification_key is among revoked_keys",
				"expires_at is not after updated_at: the manifest was never valid"}},
		{`{"identity":{"agent_id":"a"},"trust_level":"unknown","endorsements":["YQ.YQ.YQ"],"capabilities":{"idempotency_duration_seconds":5}}`,
			[]string{"endorsements count only for a signed manifest", "capabilities.idempotency_duration_seconds has no effect while idempotency is false"}},
		{`{"identity":{"agent_id":"a"},"trust_level":"unknown","reversibility":{"level":"full","max_fee":"1"}}`,
			[]string{"reversibility.level is full, but undo_window_seconds is missing: nothing says for how long",
				"reversibility.level is full, but compensation_method does not say how", "reversibility.max_fee has no currency"}},
		{`{"identity":{"agent_id":"a"},"trust_level":"unknown","reversibility":{"undo_window_seconds":60,"compensation_method":"x"}}`,
			[]string{"reversibility.undo_window_seconds has no effect while level is none", "reversibility.compensation_method has no effect while level is none"}},
		{`{"identity":{"agent_id":"a"},"trust_level":"unknown","privacy":{"retention_policy":"permanent","encryption_at_rest":false,"retention_duration_seconds":5}}`,
			[]string{"data is kept for ever and not encrypted at rest", "privacy.retention_duration_seconds contradicts retention_policy permanent"}},
		{`{"identity":{"agent_id":"a"},"trust_level":"unknown","privacy":{"retention_policy":"temporary","encryption_at_rest":false}}`,
			[]string{"data is kept for a time and not encrypted at rest"}},
		{`{"identity":{"agent_id":"a"},"trust_level":"unknown","privacy":{"retention_policy":"ephemeral","retention_duration_seconds":5,"training_consent":true,"human_in_loop":true}}`,
			[]string{"privacy.retention_duration_seconds contradicts retention_policy ephemeral",
				"privacy.training_consent contradicts retention_policy ephemeral: what trains a model stays in it",
				"privacy.human_in_loop sits badly with retention_policy ephemeral: people remember and copy"}},
	} {
		m, err := ParseManifest([]byte(c.doc))
		if err != nil {
			t.Errorf("%s: %v", c.doc, err)
			continue
		}
		if diff := cmp.Diff(c.want, m.Warnings()); diff != "" {
			t.Errorf("Warnings of %s (-want +got):\n%s", c.doc, diff)
		}
	}
}

func TestValidAt(t *testing.T) {
	m, err := ParseManifest([]byte(with(`"updated_at":"2026-11-01T00:00:00Z","expires_at":"2026-12-01T00:00:00Z"`)))
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{
		"2026-10-31T23:59:29Z": "updated_at is 31s in the future; are the clocks right?",
		"2026-10-31T23:59:30Z": "",
		"2026-11-30T23:59:59Z": "",
		"2026-12-01T00:00:00Z": "manifest expired at 2026-12-01T00:00:00Z",
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.ValidAt(now); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("ValidAt(%s) = %v, want %q", at, err, want)
		}
	}
	timeless, err := ParseManifest([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if err := timeless.ValidAt(time.Unix(0, 0)); err != nil {
		t.Errorf("ValidAt of a manifest without times = %v", err)
	}
}

// A manifest error shows nothing that a terminal would act on.
func TestManifestErrorIsPrintable(t *testing.T) {
	_, err := ParseManifest([]byte(`{"identity":{"agent_id":"a"},"trust_level":"trusted","\u202e\u001b[2J":{"\u200b":[0,1e99]}}`))
	if err == nil {
		t.Fatal("no error")
	}
	const want = `line 1, column 85, at /\u202e\x1b[2J/\u200b/1: number is beyond ±2^53, where readers disagree, got 1e99; write it as a string`
	if got := err.Error(); got != want {
		t.Errorf("Error() = %s\nwant      %s", got, want)
	}
}

// FuzzParseManifest checks that what is accepted from the network means the same
// when read again and as the operator's file, and that refusals have a place.
func FuzzParseManifest(f *testing.F) {
	f.Add(vector(f))
	for _, doc := range goodManifests {
		f.Add([]byte(doc))
	}
	for _, c := range badManifests {
		f.Add([]byte(c.doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		m, err := ParseManifest(doc)
		if err != nil {
			e, ok := errors.AsType[*ManifestError](err)
			if !ok || len(err.Error()) > 1500 || Printable(e.Msg) != e.Msg && !strings.Contains(e.Msg, `\`) {
				t.Fatalf("ParseManifest(%q) = %v", doc, err)
			}
			return
		}
		if m.Identity.AgentID == "" || m.ProtocolVersion == "" || string(m.Bytes()) != string(doc) {
			t.Fatalf("ParseManifest(%q) = %+v", doc, m)
		}
		again, err := ParseManifest(m.canonical)
		if len(m.Signatures) == 0 && err != nil {
			t.Fatalf("canonical form of %q is refused: %v", doc, err)
		}
		if len(m.Signatures) == 0 && !reflect.DeepEqual(again.canonical, m.canonical) {
			t.Fatalf("canonical form of %q changes: %s, then %s", doc, m.canonical, again.canonical)
		}
		m.Warnings()
		if _, err := m.VerifySignature(); err == nil && len(m.Signatures) > 0 {
			if got, _ := m.Digest(); got != vectorDigest {
				t.Fatalf("a signature verifies that nobody made: %q", doc)
			}
		}
	})
}
