package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/bundle"
)

// evidenceFlags are the flags of iatp export.
type evidenceFlags struct {
	reach
	id       string
	out      string
	requests bool
	asJSON   bool
}

func (p *program) evidenceCommand() *cobra.Command {
	var f evidenceFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write everything about one trace into a file that a stranger can verify",
		Long: `Write a bundle, a zip archive, of one trace: its records with their proofs, the
receipts, manifests and agreements that they name, the signed state of the log
and a text that explains it all. Whoever gets it verifies it offline, with iatp
verify or by hand.

Receipts hold digests of answers, from which a short answer can be guessed: a
bundle is for the two parties and those whom a party wants to convince. With
--requests it also holds what peers have signed when they asked, with digests of
their bodies. The other texts are redacted; read them before you give them away.

The bundle is asked of a running sidecar; --data makes it from its directory,
whether or not it runs.`,
		Example: `  iatp export --trace e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f
  iatp export --trace e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f --data ./iatp-data -o case.zip`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.exportTrace(cmd.Context(), &f, cmd.Flags().Changed("sidecar"))
		},
	}
	f.register(cmd.Flags(), true)
	flags := cmd.Flags()
	flags.StringVar(&f.id, "trace", "", "the trace (required)")
	flags.StringVarP(&f.out, "out", "o", "", "write to this new file (default iatp-TRACE.zip); - is stdout")
	flags.BoolVar(&f.requests, "requests", false, "with the requests that peers have signed")
	flags.BoolVar(&f.asJSON, "json", false, jsonUsage)
	return cmd
}

func (p *program) exportTrace(ctx context.Context, f *evidenceFlags, sidecarNamed bool) error {
	if f.id == "" {
		return usagef("say which trace: --trace ID")
	}
	if f.asJSON && f.out == "-" {
		return usagef("--json says what was written to a file; with -o - the bundle itself goes to stdout")
	}
	id, err := safeID(f.id)
	if err != nil {
		return err
	}
	data, err := f.bundle(ctx, id, sidecarNamed)
	if err != nil {
		return err
	}
	if f.out == "-" {
		return p.print(data)
	}
	if f.out == "" {
		f.out = "iatp-" + string(id) + ".zip"
	}
	if err := writeNew(f.out, data); err != nil {
		return err
	}
	if f.asJSON {
		return writeJSON(p.stdout, struct {
			File    string       `json:"file"`
			Bytes   int          `json:"bytes"`
			TraceID iatp.TraceID `json:"trace_id"`
		}{f.out, len(data), id})
	}
	p.out.line("%s: %d bytes; verify it with: iatp verify %s --trust FILE", f.out, len(data), f.out)
	return nil
}

// signTime is how long a record may wait for its checkpoint: a sidecar that runs signs
// one every second.
const signTime = 5 * time.Second

func (f *evidenceFlags) bundle(ctx context.Context, id iatp.TraceID, sidecarNamed bool) ([]byte, error) {
	if f.data == "" || sidecarNamed {
		c, err := f.client()
		if err != nil {
			return nil, err
		}
		defer c.Close()
		data, err := c.Bundle(ctx, id, f.requests)
		return data, f.advise(err)
	}
	data, err := bundle.Build(f.data, id, bundle.Options{Requests: f.requests})
	for end := time.Now().Add(signTime); errors.Is(err, flight.ErrNotSigned) && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(signTime / 25)
		data, err = bundle.Build(f.data, id, bundle.Options{Requests: f.requests})
	}
	switch {
	case errors.Is(err, flight.ErrNotSigned):
		return nil, fmt.Errorf("%w; if no sidecar runs on %s, its next start signs for them", err, f.data)
	case errors.Is(err, bundle.ErrNoTrace):
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return data, err
}

// writeNew writes a file that must not exist yet, readable by its owner.
func writeNew(name string, data []byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// verifyBundle checks a bundle, every link of it in words.
func (p *program) verifyBundle(file string, data []byte, f *verifyFlags) error {
	var trusted *bundle.Keys
	if f.trust != "" {
		text, err := p.readFile(f.trust, maxEvidence)
		if err != nil {
			return err
		}
		if trusted, err = bundle.ParseKeys(text); err != nil {
			return fmt.Errorf("%s: %w", f.trust, err)
		}
	}
	b, err := bundle.Parse(data)
	report := &bundle.Report{Steps: []bundle.Step{}}
	if err == nil {
		report = b.Verify(trusted)
	} else {
		report.Steps = append(report.Steps, bundle.Step{Status: bundle.Failed, Text: iatp.Printable(err.Error())})
	}
	if f.asJSON {
		err = writeJSON(p.stdout, report)
	} else {
		p.printBundle(file, report)
		err = nil
	}
	if err == nil && !report.Valid {
		err = errFailed
	}
	return err
}

func (p *program) printBundle(file string, r *bundle.Report) {
	for _, s := range r.Steps {
		switch s.Status {
		case bundle.OK:
			p.out.line("  %s  %s", p.out.in(green, "ok    "), s.Text)
		case bundle.Remark:
			p.out.line("  %s  %s", p.out.in(yellow, "remark"), s.Text)
		default:
			p.out.line("  %s  %s", p.out.in(red, "failed"), s.Text)
		}
	}
	switch {
	case !r.Valid:
		p.out.line("%s: %s", file, p.out.in(red, "not valid"))
	case r.Trusted:
		p.out.line("%s: %s, trace %s, by keys that you trust", file, p.out.in(green, "valid"), shown(string(r.TraceID)))
	default:
		p.out.line("%s: %s, trace %s", file, p.out.in(yellow, "it holds together"), shown(string(r.TraceID)))
		p.out.line("checked with the keys that the bundle itself brings, which proves much less: whoever")
		p.out.line("made it could have made the keys. Get them from their owners, and give them with --trust FILE")
	}
}
