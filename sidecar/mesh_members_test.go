package sidecar_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// Budget and trace id in the body count as the fields do, where the fields are
// absent; what cannot be read, or says something else than the field, is refused.
func TestMembersOfTheBody(t *testing.T) {
	pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
	b := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers, c.Limits.PerPeer = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}, plenty
	}})
	mft := proposal(t, pa, pb, b, b).Responder.Manifest
	const uuid, hex = "e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f", "e4b5c6d78a9b4c1dae3f4a5b6c7d8e9f"
	const other = "00000000-8a9b-4c1d-ae3f-4a5b6c7d8e9f"
	for name, c := range map[string]struct {
		body   string
		header map[string]string
		status int
		trace  string // what is answered, "" for any
		limit  string // of the budget that was opened, "" for none
	}{
		"neither":                {`{"task":"t"}`, nil, 200, "", ""},
		"amount and currency":    {`{"budget":"5.00 USD"}`, nil, 200, "", "5.00 USD"},
		"dollars":                {`{"budget":"$5"}`, nil, 200, "", "5.00 USD"},
		"cents":                  {`{"budget":"$4.99"}`, nil, 200, "", "4.99 USD"},
		"a whole number":         {`{"budget":5}`, nil, 200, "", "5.00 USD"},
		"currency beside it":     {`{"currency":"JPY","budget":500}`, nil, 200, "", "500 JPY"},
		"a decimal":              {`{"budget":"5.25","currency":"EUR"}`, nil, 200, "", "5.25 EUR"},
		"escaped":                {`{"\u0062udget":5}`, nil, 200, "", "5.00 USD"},
		"not of the outermost":   {`{"data":{"budget":"a lot"}}`, nil, 200, "", ""},
		"of another case":        {`{"Budget":"a lot"}`, nil, 200, "", ""},
		"in an array":            {`[{"budget":"a lot"}]`, nil, 200, "", ""},
		"both, the same":         {`{"budget":"$5"}`, map[string]string{"IATP-Budget": `"5.00";cur=USD`}, 200, "", "5.00 USD"},
		"the field only":         {`{"task":"t"}`, map[string]string{"IATP-Budget": `"5.00";cur=USD`}, 200, "", "5.00 USD"},
		"both, another amount":   {`{"budget":"$6"}`, map[string]string{"IATP-Budget": `"5.00";cur=USD`}, 400, "", ""},
		"both, another currency": {`{"budget":"5.00 EUR"}`, map[string]string{"IATP-Budget": `"5.00";cur=USD`}, 400, "", ""},
		"a fraction":             {`{"budget":5.5}`, nil, 400, "", ""},
		"an exponent":            {`{"budget":5e3}`, nil, 400, "", ""},
		"less than nothing":      {`{"budget":-5}`, nil, 400, "", ""},
		"too fine":               {`{"budget":"5.001 USD"}`, nil, 400, "", ""},
		"no currency":            {`{"budget":"5.00 XXX"}`, nil, 400, "", ""},
		"currency of no kind":    {`{"budget":5,"currency":7}`, nil, 400, "", ""},
		"words":                  {`{"budget":"low"}`, nil, 400, "", ""},
		"nothing":                {`{"budget":null}`, nil, 400, "", ""},
		"an object":              {`{"budget":{"amount":"5"}}`, nil, 400, "", ""},
		"a trace id":             {`{"trace_id":"` + uuid + `"}`, nil, 200, uuid, ""},
		"a trace id in hex":      {`{"trace_id":"` + hex + `"}`, nil, 200, hex, ""},
		"both, one trace id":     {`{"trace_id":"` + hex + `"}`, map[string]string{"X-Agent-Trace-Id": uuid}, 200, uuid, ""},
		"two trace ids":          {`{"trace_id":"` + other + `"}`, map[string]string{"X-Agent-Trace-Id": uuid}, 400, "", ""},
		"a short trace id":       {`{"trace_id":"abc-123"}`, nil, 400, "", ""},
		"a number as trace id":   {`{"trace_id":7}`, nil, 400, "", ""},
		"another trace parent":   {`{"trace_id":"` + uuid + `"}`, map[string]string{"Traceparent": "00-00000000000000000000000000000001-00f067aa0ba902b7-01"}, 200, uuid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := says(t, pa, "POST", pb.URL+"/task", c.body, func(h http.Header) {
				h.Set("IATP-Manifest", mft.ByteSequence())
				for k, v := range c.header {
					h.Set(k, v)
				}
			}, nil)
			id := r.Header.Get("X-Agent-Trace-Id")
			if r.Status != c.status || c.trace != "" && id != c.trace {
				t.Fatalf("%d %s with trace %s, want %d, %s", r.Status, r.Body, id, c.status, c.trace)
			}
			if c.status != 200 {
				return
			}
			limit := ""
			recs := b.Records(t, id)
			for i := len(recs) - 1; i >= 0 && limit == ""; i-- { // a trace id may have been used by the test before
				if recs[i]["type"] != "request" {
					continue
				}
				if spend, ok := recs[i]["spend"].(map[string]any); ok {
					limit = fmt.Sprint(spend["limit"], " ", spend["cur"])
				}
				break
			}
			if limit != c.limit {
				t.Errorf("the budget is %q, want %q", limit, c.limit)
			}
		})
	}
}
