package iatp

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Older forms, and what is published in their place.
func TestOperatorManifestIsConverted(t *testing.T) {
	for _, c := range []struct{ name, doc, want string }{
		{"flat", `{
			"agent_id": "my-agent", "trust_level": "trusted", "owner": "me",
			"capabilities": {"reversibility": "full", "idempotency": true, "undo_window": "24h", "sla_latency": "2000ms", "concurrency_limit": 5},
			"privacy_contract": {"retention": "ephemeral", "human_review": false, "training_consent": true},
			"extra": 1.50
		}`, `{"trust_level":"trusted","capabilities":{"idempotency":true,"concurrency_limit":5,"sla_latency_ms":2000},"extra":1.50,` +
			`"privacy":{"training_consent":true,"retention_policy":"ephemeral","human_in_loop":false},` +
			`"identity":{"owner":"me","agent_id":"my-agent"},"reversibility":{"level":"full","undo_window_seconds":86400}}`},
		{"flatter", `{"agent_id":"a","trust_level":"unknown","reversibility":"partial","undo_window":"90m","sla_latency":"2s","retention":"permanent","human_review":true,"idempotency":false}`,
			`{"trust_level":"unknown","capabilities":{"idempotency":false,"sla_latency_ms":2000},"privacy":{"retention_policy":"permanent","human_in_loop":true},` +
				`"reversibility":{"level":"partial","undo_window_seconds":5400},"identity":{"agent_id":"a"}}`},
		{"aliases in the nested form", `{"identity":{"agent_id":"a"},"trust_level":"unknown","capabilities":{"sla_latency":"1500ms"},"reversibility":{"level":"full","undo_window":"7d"},"privacy":{"retention":"forever"}}`,
			`{"identity":{"agent_id":"a"},"trust_level":"unknown","capabilities":{"sla_latency_ms":1500},"reversibility":{"level":"full","undo_window_seconds":604800},"privacy":{"retention_policy":"forever"}}`},
		{"alias and present name agree", `{"identity":{"agent_id":"a"},"trust_level":"unknown","privacy":{"retention":"temporary","retention_policy":"\u0074emporary"}}`,
			`{"identity":{"agent_id":"a"},"trust_level":"unknown","privacy":{"retention_policy":"\u0074emporary"}}`},
		{"null is absent in old forms", `{"agent_id":"a","trust_level":"unknown","capabilities":{"undo_window":null,"reversibility":"none"},"contact":null}`,
			`{"trust_level":"unknown","capabilities":{},"identity":{"agent_id":"a"},"reversibility":{"level":"none"}}`},
		{"a number is taken as it is", `{"agent_id":"a","trust_level":"unknown","undo_window":60}`,
			`{"trust_level":"unknown","reversibility":{"undo_window_seconds":60},"identity":{"agent_id":"a"}}`},
		{"nor is the one of a condition", `{"identity":{"agent_id":"a"},"trust_level":"unknown","reversibility":{"level":"full","undo_conditions":{"until_state":"shipped","check_endpoint":"GET /orders/{transaction_id}"}}}`,
			`{"identity":{"agent_id":"a"},"trust_level":"unknown","reversibility":{"level":"full","undo_conditions":{"until_state":"shipped"}}}`},
		{"endpoints are not published", `{"identity":{"agent_id":"a"},"trust_level":"unknown","reversibility":{"level":"full","compensation_endpoint":"http://localhost:8000/undo","check_endpoint":"/check"}}`,
			`{"identity":{"agent_id":"a"},"trust_level":"unknown","reversibility":{"level":"full"}}`},
		{"unrelated members stay", `{"identity":{"agent_id":"a"},"trust_level":"unknown","owner":"x","retention":"y","idempotency":3}`,
			`{"identity":{"agent_id":"a"},"trust_level":"unknown","owner":"x","retention":"y","idempotency":3}`},
	} {
		m, err := ParseOperatorManifest([]byte(c.doc))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, string(m.Bytes())); diff != "" {
			t.Errorf("%s: Bytes (-want +got):\n%s", c.name, diff)
		}
		// What is published can be read from the network and says the same.
		published, err := ParseManifest(m.Bytes())
		if err != nil {
			t.Errorf("%s: published form: %v", c.name, err)
			continue
		}
		m.Reversibility.CompensationEndpoint, m.Reversibility.CheckEndpoint = "", ""
		if diff := cmp.Diff(m, published, ignoreSource); diff != "" {
			t.Errorf("%s: published form (-file +published):\n%s", c.name, diff)
		}
		ours, _ := m.Digest()
		if theirs, _ := published.Digest(); ours != theirs {
			t.Errorf("%s: digest %s, of the published form %s", c.name, ours, theirs)
		}
	}
}

func TestOperatorEndpoints(t *testing.T) {
	doc := `{"identity":{"agent_id":"a"},"trust_level":"unknown","reversibility":{"compensation_endpoint":"/undo/{transaction_id}","check_endpoint":"/check"}}`
	m, err := ParseOperatorManifest([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if r := m.Reversibility; r.CompensationEndpoint != "/undo/{transaction_id}" || r.CheckEndpoint != "/check" {
		t.Errorf("endpoints are %q and %q", r.CompensationEndpoint, r.CheckEndpoint)
	}
	// From the network they are not read at all.
	m, err = ParseManifest([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if r := m.Reversibility; r.CompensationEndpoint != "" || r.CheckEndpoint != "" {
		t.Errorf("endpoints from the network are %q and %q", r.CompensationEndpoint, r.CheckEndpoint)
	}
}

func TestOperatorManifestIsServedAsWritten(t *testing.T) {
	for _, doc := range []string{readme, minimal, string(vector(t))} {
		m, err := ParseOperatorManifest([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Bytes()) != doc {
			t.Errorf("Bytes() = %s\nwant %s", m.Bytes(), doc)
		}
	}
}

func TestOperatorManifestRefuses(t *testing.T) {
	const signature = `"updated_at":"2026-11-01T00:00:00Z","signatures":[{"protected":"e30","signature":"YQ"}]`
	for _, c := range []struct{ name, doc, want string }{
		{"contradiction", `{"identity":{"agent_id":"a"},"trust_level":"unknown","privacy":{"retention":"ephemeral","retention_policy":"permanent"}}`,
			`line 1, column 77, at /privacy/retention: retention says "ephemeral" here, but retention_policy of the published form says "permanent"; keep that one only`},
		{"contradicting windows", `{"identity":{"agent_id":"a"},"trust_level":"unknown","reversibility":{"undo_window":"1h","undo_window_seconds":60}}`,
			`line 1, column 85, at /reversibility/undo_window: undo_window says "1h" here, but undo_window_seconds of the published form says 60; keep that one only`},
		{"contradicting ids", `{"identity":{"agent_id":"a"},"agent_id":"b","trust_level":"unknown"}`,
			`line 1, column 41, at /agent_id: agent_id says "b" here, but agent_id of the published form says "a"; keep that one only`},
		{"not a duration", `{"agent_id":"a","trust_level":"unknown","undo_window":"a day"}`,
			`line 1, column 55, at /undo_window: must be a whole number of seconds, such as "24h", got "a day"`},
		{"negative duration", `{"agent_id":"a","trust_level":"unknown","undo_window":"-1h"}`,
			`line 1, column 55, at /undo_window: must be a whole number of seconds, such as "24h", got "-1h"`},
		{"fraction of a second", `{"agent_id":"a","trust_level":"unknown","undo_window":"1500ms"}`,
			`line 1, column 55, at /undo_window: must be a whole number of seconds, such as "24h", got "1500ms"`},
		{"bad word in an old form", `{"agent_id":"a","trust_level":"unknown","capabilities":{"reversibility":"some"}}`,
			`line 1, column 73, at /capabilities/reversibility: level must be one of none, partial, full, got "some"`},
		{"signed old form", `{"identity":{"agent_id":"a"},"trust_level":"unknown","privacy":{"retention":"ephemeral"},` + signature + `}`,
			`line 1, column 77, at /privacy/retention: this is an older form, which is not published, and changing it would break the signature; use the present one and sign again`},
		{"signed endpoint", `{"identity":{"agent_id":"a"},"trust_level":"unknown","reversibility":{"compensation_endpoint":"/undo"},` + signature + `}`,
			`line 1, column 95, at /reversibility/compensation_endpoint: compensation_endpoint is not published, but the signature covers it; move it to the configuration file (compensation) and sign again`},
		{"endpoint of a wrong type", `{"identity":{"agent_id":"a"},"trust_level":"unknown","reversibility":{"compensation_endpoint":{}}}`,
			`line 1, column 95, at /reversibility/compensation_endpoint: compensation_endpoint must be a URL or a path in a string, got an object`},
		{"identity is no object", `{"identity":"a","agent_id":"a","trust_level":"unknown"}`, `line 1, column 13, at /identity: must be an object, got "a"`},
	} {
		_, err := ParseOperatorManifest([]byte(c.doc))
		if _, ok := errors.AsType[*ManifestError](err); !ok || err.Error() != c.want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.name, err, c.want)
		}
	}
	for _, c := range badManifests {
		if c.name == "flat form" || strings.HasPrefix(c.name, "window text") || c.name == "reversibility word" {
			continue // read from the operator's file, or refused in other words
		}
		if _, err := ParseOperatorManifest([]byte(c.doc)); err == nil {
			t.Errorf("%s: accepted from the operator's file", c.name)
		}
	}
}

// What an operator's file turns into can always be published.
func FuzzParseOperatorManifest(f *testing.F) {
	for _, doc := range goodManifests {
		f.Add([]byte(doc))
	}
	f.Add([]byte(`{"agent_id":"a","trust_level":"trusted","capabilities":{"reversibility":"full","undo_window":"24h","sla_latency":"2000ms"},"privacy_contract":{"retention":"ephemeral","human_review":false},"owner":null}`))
	f.Add([]byte(`{"agent_id":"a","trust_level":"unknown","reversibility":"partial","undo_window":"7d","compensation_endpoint":"/undo"}`))
	f.Add(vector(f))
	f.Fuzz(func(t *testing.T, doc []byte) {
		m, err := ParseOperatorManifest(doc)
		if err != nil {
			if e, ok := errors.AsType[*ManifestError](err); !ok || e.Msg == "" {
				t.Fatalf("ParseOperatorManifest(%q) = %#v", doc, err)
			}
			return
		}
		published, err := ParseManifest(m.Bytes())
		if err != nil {
			t.Fatalf("%q becomes %s, which is refused: %v", doc, m.Bytes(), err)
		}
		ours, _ := m.Digest()
		if theirs, _ := published.Digest(); ours != theirs {
			t.Fatalf("%q has digest %s, its published form %s", doc, ours, theirs)
		}
	})
}
