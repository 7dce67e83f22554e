package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// manifestPath is where an agent publishes its manifest.
const manifestPath = "/.well-known/agent-manifest"

// clockSkew is how far a remote clock may be ahead of ours.
const clockSkew = 30 * time.Second

func (p *program) scanCommand() *cobra.Command {
	var f scanFlags
	cmd := &cobra.Command{
		Use:   "scan URL",
		Short: "Fetch a remote agent's manifest and say what it is worth",
		Long: `Fetch the manifest of a remote agent (` + manifestPath + `), check it as
strictly as a sidecar does, verify its signature, and say what it scores for
somebody who does not know the agent, and what a sidecar would do with calls to
it. Redirects are not followed, more than 64 KiB is not read.

A manifest speaks for itself here, so the evidence is E0: nothing that an agent
says about itself alone is counted in its favour. If it comes from the https
origin that it names, and is signed by a key that this origin publishes
(` + directoryPath + `), the evidence is E1.
The key is shown: compare it with the owner's word before you pin it.`,
		Example: `  iatp scan https://expedia.example
  iatp scan https://10.0.0.7:8443 --ca booking-cert.pem
  iatp scan http://127.0.0.1:8001 --json`,
		Args: takes("URL"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.scan(cmd.Context(), args[0], &f) },
	}
	cmd.Flags().StringVar(&f.ca, "ca", "", caUsage)
	cmd.Flags().BoolVar(&f.asJSON, "json", false, jsonUsage)
	return cmd
}

// scanFlags are the flags of iatp scan.
type scanFlags struct {
	ca     string
	asJSON bool
}

// scanned is what a scan found, for programs.
type scanned struct {
	URL       string       `json:"url"`
	Valid     bool         `json:"valid"`
	Error     *fault       `json:"error,omitempty"`
	AgentID   iatp.AgentID `json:"agent_id,omitempty"`
	Signature signature    `json:"signature,omitempty"`
	Key       string       `json:"key,omitempty"` // that signed it, for a pin
	*assessed
	Remark   string          `json:"remark,omitempty"`
	Digest   string          `json:"digest,omitempty"`
	Manifest json.RawMessage `json:"manifest,omitempty"`
}

func (p *program) scan(ctx context.Context, arg string, f *scanFlags) error {
	u, err := scanURL(arg)
	if err != nil {
		return err
	}
	r, err := newRemote(f.ca)
	if err != nil {
		return err
	}
	data, err := r.get(ctx, u.String(), iatp.MaxManifestSize)
	if gone, ok := errors.AsType[noDocument](err); ok {
		return fmt.Errorf("%w, so there is no manifest: a sidecar would treat the agent as unknown", gone)
	} else if err != nil {
		return err
	}
	now := time.Now()
	result := scanned{URL: u.String()}
	m, err := iatp.ParseManifest(data)
	if err == nil {
		result.Signature, err = r.signatureOf(ctx, m, u, now)
	}
	if err != nil {
		return p.refuseScan(&result, err, f.asJSON)
	}
	if result.Signature == verified {
		result.Key = m.Identity.VerificationKey
	}
	a, remark := assessRemote(m, u, result.Signature, now)
	if f.asJSON {
		as := assessedOf(&a)
		result.Valid, result.AgentID, result.assessed, result.Remark = true, m.Identity.AgentID, &as, remark
		result.Manifest = rawJSON(m.Bytes())
		if result.Digest, err = m.Digest(); err != nil {
			return err
		}
		return writeJSON(p.stdout, result)
	}
	p.out.line("%s", p.out.in(dim, u.String()))
	printManifest(p.out, m)
	if result.Key != "" {
		p.out.row("key", manifestWidth, shown(result.Key))
	}
	p.out.row("evidence", manifestWidth, a.Evidence.String()+": "+remark)
	printAssessment(p.out, &a)
	printOutlook(p.out, m, a)
	return nil
}

func (p *program) refuseScan(result *scanned, err error, asJSON bool) error {
	result.Error = faultOf(err)
	if asJSON {
		if err := writeJSON(p.stdout, result); err != nil {
			return err
		}
		return errFailed
	}
	p.out.line("%s: %s %s", result.URL, p.out.in(red, "invalid manifest:"), shown(err.Error()))
	p.out.line("  a sidecar refuses an agent like this")
	return errFailed
}

// scanURL completes what the operator typed to the place of a manifest.
func scanURL(arg string) (*url.URL, error) {
	if !strings.Contains(arg, "://") {
		arg = "https://" + arg
	}
	u, err := url.Parse(arg)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usagef("%q is not the address of an agent, such as https://agent.example", shown(arg))
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = manifestPath
	}
	return u, nil
}

// assessRemote weighs a manifest that came from u, and says why the evidence is
// what it is. One that is signed and names u is published, too: see
// remote.signatureOf.
func assessRemote(m *iatp.Manifest, u *url.URL, s signature, now time.Time) (trust.Assessment, string) {
	in := trust.Input{Manifest: m}
	remark := ""
	switch {
	case s != verified:
		remark = "it is not signed, so nothing stands behind it"
	case m.Identity.URI != originOf(u):
		remark = "its signature is valid, but it names the origin " + orNone(m.Identity.URI) + " and came from " + originOf(u) + ": anybody can serve a copy"
	case !m.ExpiresAt.IsZero() && now.After(m.ExpiresAt):
		remark = "its signature is valid, but it has expired"
	case m.UpdatedAt.IsZero() || m.UpdatedAt.After(now.Add(clockSkew)):
		remark = "its signature is valid, but it does not say when it was made (updated_at), or says a time to come"
	case u.Scheme != "https":
		remark = "signed by a key that is published where it came from, but plain http proves nobody: it counts with those who pin the key"
	default:
		in.Claims = []trust.Claim{{Evidence: trust.E1}}
		remark = "signed by a key that the https origin, which it names, publishes"
	}
	return trust.Assess(in), remark
}

// signatureOf verifies a signed manifest that names the origin it came from as a
// sidecar does: under the keys which that origin publishes. A directory that cannot
// be had or does not list the keys is an error. A manifest that names somebody else
// is verified with its own key alone.
func (r *remote) signatureOf(ctx context.Context, m *iatp.Manifest, u *url.URL, now time.Time) (signature, error) {
	if len(m.Signatures) == 0 || m.Identity.URI != originOf(u) {
		own, _ := ownSignatures(m)
		return signatureOf(own)
	}
	keys, err := r.keys(ctx, originOf(u))
	if err != nil {
		return broken, fmt.Errorf("its directory of keys: %w", err)
	}
	signers, err := m.VerifyUnder(keys, now)
	switch {
	case err != nil:
		return broken, fmt.Errorf("signature: %w", err)
	case len(signers) > 0:
		return verified, nil
	}
	return unsigned, nil
}

func orNone(uri string) string {
	if uri == "" {
		return "(none)"
	}
	return shown(uri)
}

// originOf is the origin of a URL as manifests spell it: lower case, no default
// port.
func originOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host
}
