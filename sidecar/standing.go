package sidecar

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/privacy"
	"github.com/inter-agent-trust/iatp/trust"
)

// standing is how the wrapped agent stands right now: its manifest, what that
// is worth, and the rules it is held to. It is immutable; a reload swaps the
// whole, so that no exchange sees half of two.
type standing struct {
	manifest   *iatp.Manifest
	name       iatp.AgentID // for records: of the manifest, scrubbed if it is a peer's
	digest     string       // of the manifest, as in iatp.Manifest.Digest
	assessment trust.Assessment
	rules      *policy.Set
	scanner    *privacy.Scanner // nil of a peer
	require    policy.Requirements
	keep       bool        // the wrapped agent does not promise to keep nothing: nor need its recorder
	mft        iatp.Digest // digest, in another spelling
	slots      int64       // capabilities.concurrency_limit, calls at a time; 0 = no limit promised
	etag       string
	keys       *keys // nil without public_url, and of a peer
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
	scanner, err := privacy.NewWith(looks.options)
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
	level := m.Reversibility.Level
	if level == "" || level == iatp.ReversibilityNone || c.AllowUnbackedClaims {
		return nil
	}
	endpoint := c.Compensation.URL
	if endpoint == "" {
		endpoint = m.Reversibility.CompensationEndpoint
	}
	if endpoint == "" {
		return fmt.Errorf("the manifest promises reversibility %q, but no compensation endpoint stands behind it: "+
			"set compensation: {url: \"/compensate/{transaction_id}\"}, or reversibility \"none\", or --allow-unbacked-claims for a demonstration", level)
	}
	if !strings.Contains(endpoint, "{transaction_id}") {
		return errors.New("the compensation endpoint must contain {transaction_id}, as in /compensate/{transaction_id}")
	}
	u, err := url.Parse(strings.ReplaceAll(endpoint, "{transaction_id}", "tx"))
	if err != nil || u.User != nil || u.Fragment != "" || (u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https") {
		return errors.New("the compensation endpoint is not a path or an http(s) URL, such as /compensate/{transaction_id}")
	}
	return nil
}
