package main

import (
	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
)

// quarantineFlags are the flags of iatp quarantine.
type quarantineFlags struct {
	reach
	review, release bool
	by, note        string
	asJSON          bool
}

func (p *program) quarantineCommand() *cobra.Command {
	var f quarantineFlags
	cmd := &cobra.Command{
		Use:   "quarantine ID",
		Short: "Show the quarantine of a trace, or record that somebody looked at it",
		Long: `Show the quarantine of a trace: a call that somebody released against a warning
is in quarantine, and so are all later calls of its trace.

--review records that somebody looked; later calls stay marked. --release ends
the quarantine. Both need --by, and go into the flight recorder.`,
		Example: `  iatp quarantine e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f
  iatp quarantine e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f --review --by alice
  iatp quarantine e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f --release --by alice --note 'booking is right'`,
		Args: takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.quarantine(cmd, args[0], &f) },
	}
	f.register(cmd.Flags(), false)
	flags := cmd.Flags()
	flags.BoolVar(&f.review, "review", false, "record that somebody looked at it")
	flags.BoolVar(&f.release, "release", false, "end the quarantine")
	flags.StringVar(&f.by, "by", "", "who says so")
	flags.StringVar(&f.note, "note", "", "why")
	flags.BoolVar(&f.asJSON, "json", false, jsonUsage)
	return cmd
}

// change is the person's word that the flags hold, or nil.
func (f *quarantineFlags) change() (*api.QuarantineChange, error) {
	c := &api.QuarantineChange{State: "reviewed", By: f.by, Note: f.note}
	switch {
	case f.review && f.release:
		return nil, usagef("--review and --release exclude each other")
	case !f.review && !f.release:
		if f.by != "" || f.note != "" {
			return nil, usagef("--by and --note go with --review or --release")
		}
		return nil, nil
	case f.by == "":
		return nil, usagef("say who it was with --by NAME")
	case f.release:
		c.State = "released"
	}
	return c, nil
}

func (p *program) quarantine(cmd *cobra.Command, arg string, f *quarantineFlags) error {
	id, err := safeID(arg)
	if err != nil {
		return err
	}
	change, err := f.change()
	if err != nil {
		return err
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	var q *api.Quarantine
	if change == nil {
		q, err = c.Quarantine(cmd.Context(), id)
	} else {
		q, err = c.ChangeQuarantine(cmd.Context(), id, *change)
	}
	if err != nil {
		return f.advise(err)
	}
	if f.asJSON {
		return writeJSON(p.stdout, q)
	}
	printQuarantine(p.out, id, q)
	return nil
}

func printQuarantine(out page, id iatp.TraceID, q *api.Quarantine) {
	look := yellow
	if q.State == "released" {
		look = green
	}
	out.line("quarantine of trace %s: %s (%s)", id, out.in(look, shown(q.State)), words(q.Reason))
	for _, s := range q.History {
		text := join(" by ", shown(s.State), shown(s.By))
		out.line("  %s  %s", s.At.UTC().Format("2006-01-02 15:04:05 UTC"), join(": ", text, shown(s.Note)))
	}
	if q.State == "open" {
		out.line("later calls of this trace are marked until somebody says: iatp quarantine %s --release --by NAME", id)
	}
}
