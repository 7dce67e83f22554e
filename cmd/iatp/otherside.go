package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/flight"
)

// claims are those of a receipt as far as people are shown them.
type claims struct {
	Iss     string       `json:"iss"`
	Aud     string       `json:"aud"`
	Iat     int64        `json:"iat"`
	JTI     string       `json:"jti"`
	TraceID iatp.TraceID `json:"trace_id"`
	Agr     string       `json:"agr"`
	Outcome string       `json:"outcome"`
	MS      int64        `json:"ms"`
	Tx      string       `json:"tx"`
	Res     struct {
		Status int `json:"status"`
	} `json:"res"`
	Cost struct {
		Amount string `json:"amount"`
		Cur    string `json:"cur"`
	} `json:"cost"`
	Undo *struct {
		Level string `json:"level"`
		Until int64  `json:"until"`
	} `json:"undo"`
}

// printReceipt draws the other side's part of a call into the timeline: what the
// receipt of that record says. The callee's clock is not ours, so its part stands at
// its place in the order of things and has no offset.
func printReceipt(out page, e *entry, receipts []api.Receipt) {
	at := slices.IndexFunc(receipts, func(r api.Receipt) bool { return r.Record == e.Seq })
	if at < 0 {
		return
	}
	var c claims
	if json.Unmarshal(receipts[at].Claims, &c) != nil {
		return
	}
	side := func(edge, text string, look ink) {
		out.line("%11s  %s %s", "", out.in(cyan, edge), out.in(look, text))
	}
	who := shown(c.Iss) + " has signed (verified when it came):"
	if e.Dir == flight.In {
		who = "signed for " + shown(c.Aud) + ":"
	}
	side("┌─", who, bold)
	side("│ ", fmt.Sprintf("got the request, trace %s there", shown(string(c.TraceID))), plain)
	look := green
	if c.Outcome != iatp.OutcomeExecuted {
		look = yellow
	}
	side("│ ", fmt.Sprintf("answered %d after %s: %s", c.Res.Status, time.Duration(c.MS)*time.Millisecond, chosen(c.Outcome == iatp.OutcomeNone, "not executed", shown(c.Outcome))), look)
	for _, d := range c.details() {
		side("│ ", d, dim)
	}
	side("└─", fmt.Sprintf("receipt %s, %s by its clock", shown(c.JTI), time.Unix(c.Iat, 0).UTC().Format("2006-01-02 15:04:05 UTC")), dim)
}

// details are what a receipt says besides.
func (c *claims) details() []string {
	var out []string
	if c.Cost.Amount != "" {
		out = append(out, "cost "+shown(c.Cost.Amount+" "+c.Cost.Cur))
	}
	if c.Agr != "" {
		out = append(out, "under the agreement "+shown(c.Agr))
	}
	if c.Tx != "" {
		out = append(out, "transaction "+shown(c.Tx))
	}
	switch {
	case c.Undo == nil:
	case c.Undo.Until == 0:
		out = append(out, "undo: "+shown(c.Undo.Level))
	default:
		out = append(out, "undo: "+shown(c.Undo.Level)+" until "+time.Unix(c.Undo.Until, 0).UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	return out
}
