package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/trust"
)

// manifestPath is where an agent publishes its manifest.
const manifestPath = "/.well-known/agent-manifest"

// scanTimeout bounds the whole fetch of a remote manifest.
const scanTimeout = 5 * time.Second

// clockSkew is how far a remote clock may be ahead of ours.
const clockSkew = 30 * time.Second

func (p *program) scanCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "scan URL",
		Short: "Fetch a remote agent's manifest and say what it is worth",
		Long: `Fetch the manifest of a remote agent (` + manifestPath + `), check it as
strictly as a sidecar does, verify its signature, and say what it scores for
somebody who does not know the agent, and what a sidecar would do with calls to
it. Redirects are not followed, more than 64 KiB is not read.

A manifest speaks for itself here, so the evidence is E0: nothing that an agent
says about itself alone is counted in its favour. If it is signed by its own key
and comes from the https origin that it names, the evidence is E1.`,
		Example: `  iatp scan https://expedia.example
  iatp scan http://127.0.0.1:8001 --json`,
		Args: takes("URL"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.scan(cmd.Context(), args[0], asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	return cmd
}

// scanned is what a scan found, for programs.
type scanned struct {
	URL       string       `json:"url"`
	Valid     bool         `json:"valid"`
	Error     *fault       `json:"error,omitempty"`
	AgentID   iatp.AgentID `json:"agent_id,omitempty"`
	Signature signature    `json:"signature,omitempty"`
	*assessed
	Remark   string          `json:"remark,omitempty"`
	Digest   string          `json:"digest,omitempty"`
	Manifest json.RawMessage `json:"manifest,omitempty"`
}

func (p *program) scan(ctx context.Context, arg string, asJSON bool) error {
	u, err := scanURL(arg)
	if err != nil {
		return err
	}
	data, err := fetchManifest(ctx, u)
	if err != nil {
		return err
	}
	result := scanned{URL: u.String()}
	m, err := iatp.ParseManifest(data)
	if err == nil {
		result.Signature, err = signatureOf(m)
	}
	if err != nil {
		return p.refuseScan(&result, err, asJSON)
	}
	a, remark := assessRemote(m, u, result.Signature, time.Now())
	if asJSON {
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

// fetchManifest gets a manifest. No redirect is followed, no proxy and no
// cookie is used: the answer has to come from the address that was typed.
func fetchManifest(ctx context.Context, u *url.URL) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	transport := &http.Transport{MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, DisableKeepAlives: true}
	c := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return nil, fmt.Errorf("fetch %s: %w", u, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, fmt.Errorf("fetch %s: it redirects to %s, which is not followed: scan that address if you mean it", u, shown(resp.Header.Get("Location")))
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("fetch %s: it answers %d, so there is no manifest: a sidecar would treat the agent as unknown", u, resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, iatp.MaxManifestSize+1))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", u, err)
	}
	return data, nil
}

// assessRemote weighs a manifest that came from u, and says why the evidence is
// what it is. The uri of a manifest is never a plain http origin, so what came
// over plain http stays E0.
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
	default:
		in.Claims = []trust.Claim{{Evidence: trust.E1}}
		remark = "signed by its own key, and it came from the https origin that it names"
	}
	return trust.Assess(in), remark
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
