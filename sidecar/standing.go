package sidecar

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/privacy"
	"github.com/inter-agent-trust/iatp/trust"
)

// standing is how the wrapped agent stands right now: its manifest, what that
// is worth, and the rules it is held to. It is immutable, but for what follows from
// it and is kept to be asked for again; a reload swaps the
// whole, so that no exchange sees half of two.
type standing struct {
	manifest   *iatp.Manifest
	name       iatp.AgentID // for records: of the manifest, scrubbed if it is a peer's
	digest     string       // of the manifest, as in iatp.Manifest.Digest
	assessment trust.Assessment
	rules      *policy.Set
	scanner    *privacy.Scanner // nil of a peer
	require    policy.Requirements
	at         endpoints   // of the wrapped agent
	keep       bool        // the wrapped agent does not promise to keep nothing: nor need its recorder
	mft        iatp.Digest // digest, in another spelling
	slots      int64       // capabilities.concurrency_limit, calls at a time; 0 = no limit promised
	etag       string
	keys       *keys // nil without public_url, and of a peer

	*drawn
}

// drawn is what follows from a standing, kept so that it is not drawn anew for each call.
type drawn struct {
	peers sync.Map              // of ours: name of a peer to *stood; at most as many as were configured
	usual atomic.Pointer[usual] // what is decided about most calls
}

// load reads manifest and rules. What it returns is complete or an error.
func (c *Config) load() (*standing, error) {
	m, err := c.manifest()
	if err != nil {
		return nil, err
	}
	if err := c.checkClaims(m); err != nil {
		return nil, err
	}
	looks, err := c.Privacy.load()
	if err != nil {
		return nil, err
	}
	scanner, err := privacy.NewWith(looks.least())
	if err != nil {
		return nil, fmt.Errorf("privacy: %w", err)
	}
	rules, err := policy.LoadKinds(looks.kinds, c.Policy...)
	if err != nil {
		return nil, err
	}
	digest, err := m.Digest()
	if err != nil {
		return nil, fmt.Errorf("manifest digest: %w", err)
	}
	st := &standing{
		drawn:    new(drawn),
		manifest: m,
		name:     m.Identity.AgentID,
		digest:   digest,
		keep:     m.Privacy.RetentionPolicy != iatp.RetentionEphemeral,
		// The operator's own file is the best evidence there is (E6): the
		// operator answers for the agent he runs (protocol 2.1).
		assessment: trust.Assess(trust.Input{
			Manifest: m,
			Claims:   []trust.Claim{{Evidence: trust.E6, Ceiling: iatp.VerifiedPartner}},
		}),
		rules:   rules.With(looks.rules),
		scanner: scanner,
		require: c.requirements(),
		at:      c.endpoints(m),
		etag:    entityTag(m.Bytes()),
	}
	if st.mft, err = iatp.ParseContentDigest(digest); err != nil {
		return nil, fmt.Errorf("manifest digest: %w", err)
	}
	if n := m.Capabilities.ConcurrencyLimit; n > 0 {
		st.slots = min(n, int64(c.Limits.Concurrency))
	}
	return st, nil
}

// manifest is the operator's file, or the document that the environment and
// the safe defaults make.
func (c *Config) manifest() (*iatp.Manifest, error) {
	if c.Manifest == "" {
		return defaultManifest(os.Getenv)
	}
	data, err := os.ReadFile(c.Manifest)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m, err := iatp.ParseOperatorManifest(data)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", c.Manifest, err)
	}
	return m, nil
}

// checkClaims refuses a promise that nothing stands behind (protocol 6.3).
func (c *Config) checkClaims(m *iatp.Manifest) error {
	if _, err := iatp.TermsOf(m); err != nil { // no receipt could promise it
		return fmt.Errorf("the manifest's %w; name the currency that it is an amount in, such as \"currency\": \"USD\", or leave out max_fee", err)
	}
	if !m.Reversibility.Level.Undoes() || c.AllowUnbackedClaims {
		return nil
	}
	e := c.endpoints(m)
	switch {
	case e.undo == "":
		return fmt.Errorf("the manifest promises reversibility %q, but no compensation endpoint stands behind it: "+
			"set compensation: {url: \"/compensate/{transaction_id}\"}, or reversibility \"none\", or --allow-unbacked-claims for a demonstration", m.Reversibility.Level)
	case m.Reversibility.UntilState != "" && e.check == "":
		return fmt.Errorf("the manifest promises undo until the state is %q, but nothing says what the state is: "+
			"set check: {url: \"/transactions/{transaction_id}\"}, or leave out undo_conditions", iatp.Printable(m.Reversibility.UntilState))
	}
	if err := goodEndpoint("compensation", e.undo, "/compensate/{transaction_id}"); err != nil {
		return err
	}
	if e.check == "" {
		return nil
	}
	return goodEndpoint("check", e.check, "/transactions/{transaction_id}")
}

// endpoints are where the wrapped agent undoes things and says what it knows of them:
// templates, relative to the agent. They come from the operator only, and are asked by
// this sidecar only (hardening 32).
type endpoints struct{ undo, method, check string }

// endpoints are those of the configuration, else those of the operator's manifest file,
// where the reference writes a method in front.
func (c *Config) endpoints(m *iatp.Manifest) endpoints {
	e := endpoints{undo: c.Compensation.URL, method: c.Compensation.Method, check: c.Check.URL}
	if e.undo == "" {
		e.undo = strings.TrimPrefix(m.Reversibility.CompensationEndpoint, "POST ")
	}
	if e.check == "" {
		e.check = strings.TrimPrefix(m.Reversibility.CheckEndpoint, "GET ")
	}
	if e.method == "" {
		e.method = http.MethodPost
	}
	return e
}

// goodEndpoint checks a template.
func goodEndpoint(name, endpoint, example string) error {
	if !strings.Contains(endpoint, idInURL) {
		return fmt.Errorf("the %s endpoint must contain %s, as in %s", name, idInURL, example)
	}
	u, err := url.Parse(strings.ReplaceAll(endpoint, idInURL, "tx"))
	if err != nil || u.User != nil || u.Fragment != "" || (u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("the %s endpoint is not a path or an http(s) URL, such as %s", name, example)
	}
	return nil
}

// idInURL is replaced by the id of a transaction.
const idInURL = "{transaction_id}"

// at is where an endpoint of the agent is for a transaction.
func at(agent, endpoint, id string) (string, error) {
	base, err := url.Parse(agent)
	if err != nil {
		return "", err
	}
	u, err := base.Parse(strings.ReplaceAll(endpoint, idInURL, id))
	if err != nil {
		return "", err
	}
	return u.String(), nil
}
