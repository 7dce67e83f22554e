package privacy

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
)

// TestSplit finds values in several members or elements, and takes out all of
// their parts.
func TestSplit(t *testing.T) {
	for _, c := range []struct {
		body string
		kind iatp.DataClass // of all that is found
		want string
	}{
		{`{"card1":"4532","card2":"0151","card3":"1283","card4":"0366"}`, iatp.CreditCard, `{"card1":"#","card2":"#","card3":"#","card4":"#"}`},
		{`{"card_1":4532,"x":"y","card_2":"0151","card_3":1283,"card_4":"\u0030366","exp":"12"}`, iatp.CreditCard, `{"card_1":"#","x":"y","card_2":"#","card_3":"#","card_4":"#","exp":"12"}`},
		{`{"cardNumber":["4532","0151","1283","0366"]}`, iatp.CreditCard, `{"cardNumber":["#","#","#","#"]}`},
		{`{"pan":{"a":"3782","b":"822463","c":"10005"}}`, iatp.CreditCard, `{"pan":{"a":"#","b":"#","c":"#"}}`},
		{`{"ssn":{"area":"536","group":"90","serial":"4399"}}`, iatp.SSN, `{"ssn":{"area":"#","group":"#","serial":"#"}}`},
		{`["{\"ssn\":[\"536\",90,\"４３９９\"]}"]`, iatp.SSN, `["{\"ssn\":[\"#\",\"#\",\"#\"]}"]`},
		{`{"phone":{"area":"415","exchange":"555","line":"2671"}}`, "phone", `{"phone":{"area":"#","exchange":"#","line":"#"}}`},
		// No telling names, wrong digits, wrong groups, parts of several objects.
		{`["4532","0151","1283","0366"]`, "", ""},
		{`{"a":"4532","b":"0151","c":"1283","d":"0366"}`, "", ""},
		{`{"card1":"4532","card2":"0151","card3":"1283","card4":"0367"}`, "", ""},
		{`{"card1":"453","card2":"20151","card3":"1283","card4":"0366"}`, "", ""},
		{`{"card":[{"n":"4532"},{"n":"0151"},{"n":"1283"},{"n":"0366"}]}`, "", ""},
		{`{"card_months":["01","4532","0151","1283","0366"]}`, "", ""},
		{`{"ssn":{"area":"536"},"b":{"ssn":["90","4399"]}}`, "", ""},
	} {
		s, r := New(), scan(t, c.body)
		var want []iatp.DataClass
		if c.kind != "" {
			want = []iatp.DataClass{c.kind}
		} else {
			c.want = c.body
		}
		if got := r.Classes(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.body, got, want)
			continue
		}
		whole := strings.ReplaceAll(c.want, "#", placeholderOf(c.kind))
		if d := cmp.Diff(whole, string(AppendRedacted(nil, []byte(c.body), r))); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.body, d)
		}
		checkRedaction(t, s, []byte(c.body))
		// In a stream the last part goes, and with it the value.
		once := redact(t, FormatJSON, nil, []byte(c.body))
		if left := scan(t, once); len(left.Findings) > 0 || c.kind != "" && !strings.Contains(once, placeholderOf(c.kind)) {
			t.Errorf("%s: left in the stream %s", c.body, once)
		}
		checkRedactor(t, FormatJSON, []byte(c.body), len(c.body)/2)
	}
	r := scan(t, `{"card1":"4532","card2":"0151","card3":"1283","card4":"0366"}`)
	for i, f := range r.Findings {
		if want := "/card" + string(rune('1'+i)); f.Pointer != want {
			t.Errorf("part %d is at %s, want %s", i+1, f.Pointer, want)
		}
	}
}

// TestCalledValues: what an object calls its value tells what the value is, whether
// the body is read whole or as it passes.
func TestCalledValues(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{`{"name":"password","value":"hunter2!"}`, `{"name":"password","value":"[PASSWORD_REDACTED]"}`},
		{`[{"name":"a","value":"hunter2!"},{"name":"pwd","x":{"name":"b"},"value":"hunter2!"}]`, `[{"name":"a","value":"hunter2!"},{"name":"pwd","x":{"name":"b"},"value":"[PASSWORD_REDACTED]"}]`},
		{`{"key":"pass\u0077ord","value":"hunter2!"}`, `{"key":"pass\u0077ord","value":"[PASSWORD_REDACTED]"}`},
		{`{"type":"string","name":"ssn","id":"n1","value":536904399}`, `{"type":"string","name":"ssn","id":"n1","value":"[SSN_REDACTED]"}`},
		{`{"field":"date of birth","value":{"on":"1980-02-14"}}`, `{"field":"date of birth","value":{"on":"[DATE_OF_BIRTH_REDACTED]"}}`},
		{`{"name":"password"}{"value":"hunter2!"}`, `{"name":"password"}{"value":"hunter2!"}`},
		{`{"value":"hunter2!","name":"password"}`, `{"value":"hunter2!","name":"password"}`},
		{`{"name":"` + strings.Repeat("x ", 30) + `password","value":"hunter2!"}`, `{"name":"` + strings.Repeat("x ", 30) + `password","value":"hunter2!"}`},
	} {
		if got := redact(t, FormatJSON, nil, []byte(c.body)); got != c.want {
			t.Errorf("as it passes, %s: %s, want %s", c.body, got, c.want)
		}
		if r, err := New().ScanJSON([]byte(c.body), Limits{}); err == nil {
			if got := string(AppendRedacted(nil, []byte(c.body), r)); got != c.want {
				t.Errorf("whole, %s: %s, want %s", c.body, got, c.want)
			}
		}
	}
}
