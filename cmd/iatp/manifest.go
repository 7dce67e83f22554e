package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
)

func (p *program) manifestCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "manifest",
		Short: "Write, check, read and sign capability manifests",
		Example: `  iatp manifest new agent.json --agent-id travel-bot
  iatp manifest check agent.json
  iatp manifest show agent.json
  iatp manifest sign agent.json --key agent.key --out signed.json`,
	})
	cmd.AddCommand(p.manifestNewCommand(), p.manifestCheckCommand(), p.manifestShowCommand(), p.manifestSignCommand())
	return cmd
}

func (p *program) manifestCheckCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE…",
		Short: "Validate manifests, with line and column, and warn of contradictions",
		Long: `Validate manifests as the sidecar does: errors come with line, column and JSON
Pointer. Signatures, where there are any, are verified with the document's own
key. What contradicts itself is warned of; warnings do not fail the check.`,
		Example: `  iatp manifest check agent.json
  iatp manifest check examples/manifests/*.json
  curl -s https://agent.example/.well-known/agent-manifest | iatp manifest check -`,
		Args: takesFiles,
		RunE: func(_ *cobra.Command, files []string) error { return p.checkManifests(files, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	return cmd
}

// checked is what is known of one manifest file.
type checked struct {
	File      string    `json:"file"`
	Valid     bool      `json:"valid"`
	Error     *fault    `json:"error,omitempty"`
	Warnings  []string  `json:"warnings"`
	Signature signature `json:"signature"`
	Digest    string    `json:"digest,omitempty"`
}

// fault is why a document is refused, and where.
type fault struct {
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Pointer string `json:"pointer,omitempty"`
	Message string `json:"message"`
}

// signature is what the signatures of a document are worth by its own key.
type signature string

const (
	unsigned signature = "none"
	verified signature = "valid"
	broken   signature = "invalid"
)

func (p *program) checkManifests(files []string, asJSON bool) error {
	var all []checked
	good := true
	for _, file := range files {
		c := p.checkManifest(file)
		good = good && c.Valid
		all = append(all, c)
		if !asJSON {
			printChecked(p.out, &c)
		}
	}
	if asJSON {
		if err := writeJSON(p.stdout, all); err != nil {
			return err
		}
	}
	if !good {
		return errFailed
	}
	return nil
}

func (p *program) checkManifest(file string) checked {
	c := checked{File: file, Warnings: []string{}, Signature: unsigned}
	m, err := p.readManifest(file)
	if err == nil {
		own, others := ownSignatures(m)
		if c.Signature, err = signatureOf(own); others > 0 && err == nil {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%d more signatures are by other keys, as during a change of keys: only the directory of the origin says whose they are (iatp scan)", others))
		}
	}
	if err != nil {
		c.Error = faultOf(err)
		return c
	}
	c.Valid = true
	c.Warnings = append(c.Warnings, m.Warnings()...)
	c.Digest, _ = m.Digest() // a parsed manifest has one
	return c
}

// signatureOf verifies the signatures with the document's own key. A broken one
// is an error.
func signatureOf(m *iatp.Manifest) (signature, error) {
	signers, err := m.VerifySignature()
	switch {
	case err != nil:
		return broken, fmt.Errorf("signature: %w", err)
	case len(signers) > 0:
		return verified, nil
	}
	return unsigned, nil
}

// ownSignatures is the document with those of its signatures that say they are by
// its own key, and the number of the others.
func ownSignatures(m *iatp.Manifest) (own *iatp.Manifest, others int) {
	key, ok := m.VerificationKey()
	if !ok {
		return m, 0
	}
	alone := *m
	alone.Signatures = slices.DeleteFunc(slices.Clone(m.Signatures), func(s iatp.ManifestSignature) bool {
		text, _ := base64.RawURLEncoding.DecodeString(s.Protected)
		var head struct {
			KeyID string `json:"kid"`
		}
		return json.Unmarshal(text, &head) == nil && head.KeyID != "" && head.KeyID != key.Thumbprint()
	})
	if len(alone.Signatures) == 0 { // all by others: that is an error, and not an unsigned document
		return m, 0
	}
	return &alone, len(m.Signatures) - len(alone.Signatures)
}

func faultOf(err error) *fault {
	if e, ok := errors.AsType[*iatp.ManifestError](err); ok {
		return &fault{e.Line, e.Column, scrubbedPointer(e.Pointer), scrubbed(e.Msg)}
	}
	return &fault{Message: scrubbed(err.Error())}
}

func printChecked(out page, c *checked) {
	if f := c.Error; f != nil {
		place := c.File
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d:%d", c.File, f.Line, f.Column)
		}
		text := shown(f.Message)
		if f.Pointer != "" {
			text = "at " + shown(f.Pointer) + ": " + text
		}
		out.line("%s: %s %s", place, out.in(red, "invalid:"), text)
		return
	}
	state := map[signature]string{unsigned: "not signed", verified: "signed, and the signature is valid by its own key"}[c.Signature]
	out.line("%s: %s, %s", c.File, out.in(green, "valid"), state)
	for _, w := range c.Warnings {
		out.line("%s: %s %s", c.File, out.in(yellow, "warning:"), shown(w))
	}
}

func (p *program) manifestShowCommand() *cobra.Command {
	var asJSON bool
	var as string
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Show what a manifest says and what it scores",
		Long: `Show what a manifest says, what it scores and why, and what a sidecar does with
calls to such an agent. It is scored as the operator's own file; --as stranger
scores it as an unsigned manifest of somebody else.`,
		Example: `  iatp manifest show agent.json
  iatp manifest show agent.json --as stranger
  iatp manifest show agent.json --json`,
		Args: takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return p.showManifest(args[0], as, asJSON) },
	}
	cmd.Flags().StringVar(&as, "as", asOperator, "whose eyes: operator or stranger")
	choices(cmd, "as", asOperator, asStranger)
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	return cmd
}

func (p *program) showManifest(file, as string, asJSON bool) error {
	m, err := p.readManifest(file)
	if err != nil {
		return at(file, err)
	}
	a, err := assess(m, as)
	if err != nil {
		return err
	}
	if asJSON {
		digest, err := m.Digest()
		if err != nil {
			return err
		}
		return writeJSON(p.stdout, struct {
			AgentID iatp.AgentID `json:"agent_id"`
			As      string       `json:"as"`
			assessed
			Digest   string          `json:"digest"`
			Manifest json.RawMessage `json:"manifest"`
		}{m.Identity.AgentID, as, assessedOf(&a), digest, rawJSON(m.Bytes())})
	}
	printManifest(p.out, m)
	printAssessment(p.out, &a)
	printOutlook(p.out, m, a)
	return nil
}

// at says which file an error of a manifest is about.
func at(file string, err error) error {
	if _, ok := errors.AsType[*iatp.ManifestError](err); ok {
		return fmt.Errorf("%s: %w", file, err)
	}
	return err
}

// readManifest reads the operator's own file, or stdin for "-".
func (p *program) readManifest(file string) (*iatp.Manifest, error) {
	data, err := p.readFile(file, iatp.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	return iatp.ParseOperatorManifest(data)
}

// readFile reads a file, or stdin for "-", up to one byte more than most: the
// parsers refuse what is too long in their own words.
func (p *program) readFile(name string, most int64) ([]byte, error) {
	in := p.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return readSome(in, most)
}

// readSome reads up to one byte more than most.
func readSome(in io.Reader, most int64) ([]byte, error) {
	return io.ReadAll(io.LimitReader(in, most+1))
}
