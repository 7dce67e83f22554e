package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/sidecar"
	"github.com/inter-agent-trust/iatp/trust"
)

// bannerWidth is the width of the labels in the banner.
const bannerWidth = 9

// banner tells the person who started a sidecar what it will do. Its last line
// is for programs too: "listening on" and the address with the real port. public
// is nil where other sidecars cannot call.
func banner(ctx context.Context, out page, s *sidecar.Sidecar, cfg *sidecar.Config, addr, public net.Addr) {
	sum := s.Summary()
	out.line("%s", out.in(bold, "IATP sidecar for "+iatp.Printable(string(sum.AgentID))))
	row := func(label, text string) { out.row(label, bannerWidth, text) }
	agent := iatp.Printable(sum.Agent)
	if !s.AgentUp(ctx) {
		agent += out.in(yellow, " (nothing answers there yet)")
	}
	row("agent", agent)
	row("manifest", manifestText(sum.Manifest))
	row("score", scoreText(out, &sum.Assessment)+"\n"+reasonsText(sum.Assessment.Reasons))
	for i, o := range sum.Outlook {
		row(chosen(i == 0, "calls", ""), outlookText(out, o))
	}
	row("override", overrideText(sum.Override))
	row("data", cfg.Data)
	row("operator", s.OperatorTokenFile()+" (the iatp command reads it)")
	if key := logKey(cfg.Data); key != "" {
		row("log key", key)
	}
	if key, ok := s.PublicKey(); ok {
		publicSide(out, cfg, key, public)
	}
	if sum.Manifest == "" && sum.Assessment.Score < policy.AllowScore {
		out.line("\n%s", noManifestText(out, &sum.Assessment))
	}
	out.line("\nlistening on %s", addressText(addr))
}

// publicSide says what we are to other sidecars, and they to us.
func publicSide(out page, cfg *sidecar.Config, key iatp.Key, public net.Addr) {
	row := func(label, text string) { out.row(label, bannerWidth, text) }
	text := iatp.Printable(cfg.PublicURL)
	if public == nil {
		text += ", but nobody can call there: \"public\" is off"
	} else {
		text += ", at " + public.String() + chosen(cfg.TLS.Cert != "", " with TLS", " without TLS")
	}
	row("public", text)
	row("key", key.String()+"\n"+out.in(dim, "for others to pin; its thumbprint is "+key.Thumbprint()))
	for i, name := range slices.Sorted(maps.Keys(cfg.Peers)) {
		row(chosen(i == 0, "peers", ""), peerText(name, cfg.Peers[name], name == cfg.DefaultPeer))
	}
	if public != nil {
		row("callers", callersText(cfg))
	}
}

// peerText is a peer as it is configured.
func peerText(name string, p sidecar.Peer, isDefault bool) string {
	text := name + "  " + iatp.Printable(p.URL+p.URI)
	if p.Dial != "" {
		text += " at " + iatp.Printable(p.Dial)
	}
	text += chosen(p.Pin != "", ", pinned", ", no pin")
	if p.MaxLevel != "" {
		text += ", up to " + p.MaxLevel
	}
	return text + ": POST /proxy/" + name + chosen(isDefault, " or /proxy", "")
}

// callersText says who may call the wrapped agent from outside.
func callersText(cfg *sidecar.Config) string {
	switch {
	case cfg.Ingress.MinLevel != "":
		return "whoever signs and is trusted as " + cfg.Ingress.MinLevel + " or better"
	case len(cfg.Peers) == 0:
		return "nobody: name callers under peers, or set ingress.min_level"
	}
	return "the peers, nobody else"
}

func addressText(addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix:" + addr.String()
	}
	return "http://" + addr.String()
}

func manifestText(path string) string {
	if path == "" {
		return "none: made from the environment and safe defaults"
	}
	return path
}

func scoreText(out page, a *trust.Assessment) string {
	return fmt.Sprintf("%s, %s, evidence %s", out.in(scoreInk(a.Score), fmt.Sprintf("%d/10", a.Score)), a.Level, a.Evidence)
}

func scoreInk(score int) ink {
	switch {
	case score >= policy.AllowScore:
		return green
	case score >= 3:
		return yellow
	}
	return red
}

// reasonsText lists what an assessment is made of, one reason a line.
func reasonsText(reasons []trust.Reason) string {
	lines := make([]string, len(reasons))
	for i, r := range reasons {
		points := "  "
		if r.Points != 0 {
			points = fmt.Sprintf("%+d", r.Points)
		}
		lines[i] = fmt.Sprintf("%3s  %s", points, shown(r.Text))
	}
	return strings.Join(lines, "\n")
}

// outlookText says what becomes of a kind of call, and why.
func outlookText(out page, o sidecar.Outlook) string {
	text := pad(o.Call, len("with a social security number")) + "  " + decisionText(out, o.Verdict.Decision)
	for _, r := range deciding(o.Verdict) {
		text += "\n" + strings.Repeat(" ", 4) + "because: " + shown(r.Text) + ruleText(r)
	}
	return text
}

func decisionText(out page, d policy.Decision) string {
	switch d {
	case policy.Allow:
		return out.in(green, "allowed")
	case policy.Ask:
		return out.in(yellow, "asked (449)")
	}
	return out.in(red, "blocked (403)")
}

// deciding returns the reasons without which the decision would be milder.
func deciding(v policy.Verdict) []policy.Reason {
	var out []policy.Reason
	for _, r := range v.Reasons {
		if v.Decision == policy.Deny && r.Action == policy.ActionDeny || v.Decision == policy.Ask && r.Action == policy.ActionWarn {
			out = append(out, r)
		}
	}
	return out
}

// ruleText says where a rule is written.
func ruleText(r policy.Reason) string {
	switch {
	case r.File != "":
		return fmt.Sprintf(" [%s, %s:%d]", shown(r.Rule), shown(r.File), r.Line)
	case r.Rule != "":
		return " [" + r.Rule + "]"
	}
	return ""
}

func overrideText(mode sidecar.OverrideMode) string {
	switch mode {
	case sidecar.OverrideConfirm:
		return "confirm: the very same request, sent again within five minutes with X-User-Override: true,\n" +
			"is released once and quarantined. That stops scripts that set the header blindly; it does not prove a person."
	case sidecar.OverrideLoopback:
		return "loopback: X-User-Override: true releases any call that is asked about. It proves nothing about who sent it."
	case sidecar.OverrideToken:
		return "token: X-User-Override must hold the override token; what it releases is quarantined."
	}
	return "off: nobody can release a call that is asked about."
}

// noManifestText shows the way out to somebody whose every call asks.
func noManifestText(out page, a *trust.Assessment) string {
	return out.in(yellow, fmt.Sprintf("Every call asks, because no manifest says more for the agent than score %d of 10.", a.Score)) +
		" Write one, and name it:\n" +
		"  iatp manifest new agent.json --agent-id my-agent --trust-level trusted\n" +
		"  iatp run --manifest agent.json      (in a configuration file: \"manifest: agent.json\")"
}

// logKey is the public half of the log's key, for those who verify from outside.
func logKey(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "log.vkey"))
	if err != nil {
		return ""
	}
	return iatp.Printable(strings.TrimSpace(string(text)))
}
