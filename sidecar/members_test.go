package sidecar

import (
	"encoding/json"
	"testing"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// Of a body that was checked, the members that are found are those that
// encoding/json finds under exactly these names; and what is read as money is an
// amount in a currency.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{
		`{"budget":"$5","trace_id":"e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f"}`, `{"\u0062udget":5,"currency":"EUR"}`,
		`{"a":{"budget":1},"b":[{"budget":2}],"budget":3}`, `[1]`, `"budget"`, `{"budget":{"budget":1},"task":"t"}`, `{"budget":-1e400}`,
	} {
		f.Add([]byte(seed))
	}
	names := []string{memberBudget, memberCurrency, memberTrace, "task"}
	f.Fuzz(func(t *testing.T, body []byte) {
		if ijson.Check(body, ijson.Limits{}) != nil {
			return
		}
		var all map[string]json.RawMessage
		if json.Unmarshal(body, &all) != nil {
			all = nil // it is no object
		}
		found := membersOf(body, names...)
		for _, name := range names {
			raw, want := all[name]
			m, got := found[name]
			if got != want {
				t.Fatalf("%q: %s is found: %v, want %v", body, name, got, want)
			}
			var text string
			switch isText := want && json.Unmarshal(raw, &text) == nil && raw[0] == '"'; {
			case isText && (m.kind != ijson.String || m.text != text):
				t.Errorf("%q: %s is %v %q, want the text %q", body, name, m.kind, m.text, text)
			case m.kind == ijson.Number && m.text != string(raw):
				t.Errorf("%q: %s is the number %s, want %s", body, name, m.text, raw)
			}
		}
		if money, err := moneyMember(found[memberBudget], found[memberCurrency]); err == nil && (money.IsZero() || money.Currency() == "") {
			t.Errorf("%q: the budget is %v", body, money)
		}
	})
}
