package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/sidecar"
)

func (p *program) policyCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "policy",
		Short: "Check rules, and try them on a request",
		Example: `  iatp policy check rules.yaml
  iatp policy test rules.yaml --request request.json --manifest agent.json`,
	})
	cmd.AddCommand(p.policyCheckCommand(), p.policyTestCommand())
	return cmd
}

func (p *program) policyCheckCommand() *cobra.Command {
	var asJSON bool
	var config string
	cmd := &cobra.Command{
		Use:   "check FILE…",
		Short: "Validate rule files, with line and column",
		Long: `Validate rule files as one set, the way a sidecar loads them: all faults are
shown, with file, line and column.`,
		Example: `  iatp policy check rules.yaml
  iatp policy check examples/policies/*.yaml --json`,
		Args: takesFiles,
		RunE: func(_ *cobra.Command, files []string) error { return p.checkPolicy(files, config, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	cmd.Flags().StringVar(&config, "config", "", policyConfigUsage)
	return cmd
}

const policyConfigUsage = "the sidecar's configuration, whose kinds of data and privacy rules count too"

// configured reads a configuration, if one is named.
func configured(file string) (*sidecar.Config, error) {
	cfg := sidecar.DefaultConfig()
	if file == "" {
		return &cfg, nil
	}
	return &cfg, sidecar.LoadConfig(file, &cfg)
}

// policyCheck is the result of policy check for programs.
type policyCheck struct {
	Valid  bool        `json:"valid"`
	Digest string      `json:"digest,omitempty"`
	Rules  []ruleJSON  `json:"rules"`
	Errors []placeJSON `json:"errors"`
}

type ruleJSON struct {
	Name   string        `json:"name"`
	Action policy.Action `json:"action"`
	File   string        `json:"file"`
	Line   int           `json:"line"`
}

type placeJSON struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

func (p *program) checkPolicy(files []string, config string, asJSON bool) error {
	cfg, err := configured(config)
	if err != nil {
		return err
	}
	set, err := cfg.Rules(files...)
	c := policyCheck{Valid: err == nil, Rules: []ruleJSON{}, Errors: []placeJSON{}}
	if err == nil {
		c.Digest = set.Digest()
		for _, r := range set.Rules() {
			c.Rules = append(c.Rules, ruleJSON{r.Name, r.Action, r.File, r.Line})
		}
	}
	for _, fault := range faultsOf(err) {
		c.Errors = append(c.Errors, placeJSON{fault.File, fault.Line, fault.Column, scrubbed(fault.Msg)})
	}
	if asJSON {
		if err := writeJSON(p.stdout, c); err != nil {
			return err
		}
	} else {
		p.printPolicyCheck(&c, err)
	}
	if err != nil {
		return errFailed
	}
	return nil
}

func (p *program) printPolicyCheck(c *policyCheck, err error) {
	if err != nil {
		for _, fault := range faultsOf(err) {
			p.out.line("%s", p.out.in(red, shown(scrubbed(fault.Error()))))
		}
		return
	}
	p.out.line("%s, %d rules", p.out.in(green, "valid"), len(c.Rules))
	for _, r := range c.Rules {
		p.out.line("  %s  %s  %s:%d", pad(string(r.Action), 5), pad(shown(r.Name), 32), shown(r.File), r.Line)
	}
}

// faultsOf takes apart what policy.Load returns.
func faultsOf(err error) []*policy.Error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*policy.Error
		for _, e := range many.Unwrap() {
			all = append(all, faultsOf(e)...)
		}
		return all
	}
	if e, ok := errors.AsType[*policy.Error](err); ok {
		return []*policy.Error{e}
	}
	return []*policy.Error{{Msg: err.Error()}}
}

// policyTestFlags are the flags of iatp policy test.
type policyTestFlags struct {
	request, manifest, as, config string
	asJSON                        bool
}

func (p *program) policyTestCommand() *cobra.Command {
	var f policyTestFlags
	cmd := &cobra.Command{
		Use:   "test [FILE…]",
		Short: "Say what would become of a request, and why",
		Long: `Say what a sidecar with these rule files would decide about a request to an
agent, with every reason and where its rule is written. Without files the
built-in rules alone decide. It exits 0 whatever the decision is.`,
		Example: `  iatp policy test rules.yaml --request request.json --manifest agent.json
  iatp policy test --request request.json --manifest agent.json --as stranger`,
		RunE: func(_ *cobra.Command, files []string) error { return p.testPolicy(files, &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.request, "request", "", "file with the body of a request (required)")
	flags.StringVar(&f.manifest, "manifest", "", "the manifest of the agent it goes to (required)")
	flags.StringVar(&f.config, "config", "", policyConfigUsage)
	flags.StringVar(&f.as, "as", asOperator, "whose eyes on the manifest: operator or stranger")
	flags.BoolVar(&f.asJSON, "json", false, jsonUsage)
	choices(cmd, "as", asOperator, asStranger)
	return cmd
}

func (p *program) testPolicy(files []string, f *policyTestFlags) error {
	if f.request == "" || f.manifest == "" {
		return usagef("name the request with --request FILE and the agent's manifest with --manifest FILE")
	}
	cfg, err := configured(f.config)
	if err != nil {
		return err
	}
	facts, err := p.facts(f, cfg)
	if err != nil {
		return err
	}
	set, err := cfg.Rules(files...)
	if err != nil {
		return err
	}
	v := set.Decide(facts)
	if f.asJSON {
		return writeJSON(p.stdout, verdictOf(facts, v))
	}
	p.printVerdict(facts, v)
	return nil
}

// facts are what a sidecar would know of the request.
func (p *program) facts(f *policyTestFlags, cfg *sidecar.Config) (policy.Facts, error) {
	m, err := p.readManifest(f.manifest)
	if err != nil {
		return policy.Facts{}, at(f.manifest, err)
	}
	a, err := assess(m, f.as)
	if err != nil {
		return policy.Facts{}, err
	}
	most := int64(cfg.Limits.Body)
	body, err := p.readFile(f.request, most)
	if err != nil {
		return policy.Facts{}, err
	}
	if int64(len(body)) > most {
		return policy.Facts{}, fmt.Errorf("%s is larger than %d bytes: a sidecar answers 413", f.request, most)
	}
	found, opaque, err := cfg.Findings(body)
	if err != nil {
		return policy.Facts{}, fmt.Errorf("%s: not the JSON that a sidecar takes: %w", f.request, err)
	}
	return policy.Facts{Manifest: m, Assessment: a, Findings: found, Opaque: opaque, Call: "local"}, nil
}

// verdictJSON is a verdict for programs.
type verdictJSON struct {
	Decision string           `json:"decision"`
	Slug     string           `json:"slug,omitempty"`
	Score    int              `json:"score"`
	Level    iatp.TrustLevel  `json:"level"`
	Evidence string           `json:"evidence"`
	Findings []iatp.DataClass `json:"findings"`
	Reasons  []spokenJSON     `json:"reasons"`
}

type spokenJSON struct {
	Code   string        `json:"code"`
	Text   string        `json:"text"`
	Action policy.Action `json:"action,omitempty"`
	Rule   string        `json:"rule,omitempty"`
	File   string        `json:"file,omitempty"`
	Line   int           `json:"line,omitempty"`
}

// kindsOf are the kinds of findings, each once.
func kindsOf(found []policy.Finding) []iatp.DataClass {
	kinds := []iatp.DataClass{}
	for _, f := range found { // sorted by kind
		if len(kinds) == 0 || kinds[len(kinds)-1] != f.Kind {
			kinds = append(kinds, f.Kind)
		}
	}
	return kinds
}

func verdictOf(f policy.Facts, v policy.Verdict) verdictJSON {
	out := verdictJSON{
		Decision: v.Decision.String(), Slug: v.Slug, Score: f.Assessment.Score, Level: f.Assessment.Level,
		Evidence: f.Assessment.Evidence.String(), Findings: kindsOf(f.Findings), Reasons: []spokenJSON{},
	}
	for _, r := range v.Reasons {
		out.Reasons = append(out.Reasons, spokenJSON{r.Code, r.Text, r.Action, r.Rule, r.File, r.Line})
	}
	return out
}

func (p *program) printVerdict(f policy.Facts, v policy.Verdict) {
	p.out.line("%s", decisionText(p.out, v.Decision))
	p.out.row("score", manifestWidth, scoreText(p.out, &f.Assessment))
	found := ""
	for _, class := range kindsOf(f.Findings) {
		found = join(", ", found, words(string(class)))
	}
	p.out.row("found", manifestWidth, chosen(found == "", "nothing sensitive", found))
	for i, r := range v.Reasons {
		action := string(r.Action)
		if r.Action == policy.ActionNote {
			action = "note"
		}
		p.out.row(chosen(i == 0, "reasons", ""), manifestWidth, pad(action, 5)+" "+shown(r.Text)+ruleText(r))
	}
}
