package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/policy"
)

// followInterval is how often --follow looks for new records.
const followInterval = 300 * time.Millisecond

// traceFlags are the flags of iatp trace.
type traceFlags struct {
	reach
	limit  int
	follow bool
	asJSON bool
}

func (p *program) traceCommand() *cobra.Command {
	var f traceFlags
	cmd := &cobra.Command{
		Use:   "trace [ID]",
		Short: "Show one trace as a timeline, or the latest ones",
		Long: `Show what the flight recorder has of a trace, as a timeline; without an ID the
latest traces, one a line. Between the records of a call to another sidecar
stands what that one did, as its receipt has it. With --follow, what comes in is shown as it comes,
until it is interrupted.

The records are asked of a running sidecar; --data reads them from its directory
instead, whether or not it runs.`,
		Example: `  iatp trace
  iatp trace e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f
  iatp trace --follow
  iatp trace --data ./iatp-data --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.limit < 1 || f.limit > 1000 {
				return usagef("--limit must be from 1 to 1000")
			}
			if cmd.Flags().Changed("limit") && (len(args) > 0 || f.follow) {
				return usagef("--limit bounds the list of the latest traces: leave it out with an ID and with --follow")
			}
			var id iatp.TraceID
			if len(args) > 0 {
				var err error
				if id, err = safeID(args[0]); err != nil {
					return err
				}
			}
			b, err := f.open(cmd.Flags().Changed("sidecar"))
			if err != nil {
				return err
			}
			return p.trace(cmd.Context(), b, id, &f)
		},
	}
	f.register(cmd.Flags(), true)
	cmd.Flags().IntVar(&f.limit, "limit", 20, "how many of the latest traces")
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "show new records as they come")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, jsonUsage+": the records, one a line with --follow")
	return cmd
}

func (p *program) trace(ctx context.Context, b book, id iatp.TraceID, f *traceFlags) error {
	switch {
	case f.follow:
		return p.followTrace(ctx, b, id, f.asJSON)
	case id != "":
		return p.oneTrace(ctx, b, id, f.asJSON)
	}
	return p.latestTraces(ctx, b, f.limit, f.asJSON)
}

func noTrace(id iatp.TraceID) error {
	return fmt.Errorf("no record of trace %s; an id that a caller chose is shown with the operator's token only (--token, --data)", id)
}

func (p *program) oneTrace(ctx context.Context, b book, id iatp.TraceID, asJSON bool) error {
	lines, receipts, err := b.trace(ctx, id)
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		return noTrace(id)
	}
	if asJSON {
		return writeJSON(p.stdout, api.Trace{TraceID: id, Logs: lines, Receipts: receipts})
	}
	return printTimeline(p.out, lines, receipts)
}

// printTimeline shows the records of one trace, and between them, by its receipts,
// what the other side of a call did.
func printTimeline(out page, lines []json.RawMessage, receipts []api.Receipt) error {
	entries, err := parseEntries(lines)
	if err != nil || len(entries) == 0 {
		return err
	}
	start := entries[0].Timestamp
	out.line("%s", out.in(bold, "trace "+shown(string(entries[0].TraceID))))
	out.line("%s, %s", shown(string(entries[0].AgentID)), start.UTC().Format("2006-01-02 15:04:05 UTC"))
	undoable := true // by the manifest of the agent that is called
	for i := range entries {
		e := &entries[i]
		if e.Dir == flight.Out {
			printReceipt(out, e, receipts)
		}
		text, look := e.headline()
		out.line("  %s  %s  %s", out.in(dim, fmt.Sprintf("%9s", offset(e.Timestamp.Sub(start)))), pad(shown(string(e.Type)), 13), out.in(look, text))
		for _, d := range e.details() {
			out.line("%s%s", strings.Repeat(" ", 28), out.in(dim, d))
		}
		switch {
		case e.Type == flight.Request:
			undoable = !slices.Contains(e.Reasons, policy.CodeNoReversibility)
		case e.Outcome == flight.OutcomeExecuted && !undoable:
			out.line("%s%s", strings.Repeat(" ", 28), out.in(yellow, "Non-Reversible Transaction: the agent cannot undo it"))
		}
		if e.Dir != flight.Out {
			printReceipt(out, e, receipts)
		}
	}
	return nil
}

// offset writes a time since the start of a trace.
func offset(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("+%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("+%.2f s", d.Seconds())
	}
	return "+" + d.Round(time.Second).String()
}

// summary is one trace in the list of the latest.
type summary struct {
	TraceID     iatp.TraceID   `json:"trace_id"`
	Time        time.Time      `json:"time"`
	AgentID     iatp.AgentID   `json:"agent_id"`
	Dir         flight.Dir     `json:"dir,omitempty"`
	Peer        string         `json:"peer,omitempty"`
	Decision    string         `json:"decision"`
	Score       *int           `json:"score,omitempty"`
	StatusCode  int            `json:"status_code,omitempty"`
	LatencyMS   float64        `json:"latency_ms,omitempty"`
	Outcome     flight.Outcome `json:"outcome,omitempty"`
	Quarantined bool           `json:"quarantined"`
	Reasons     []string       `json:"reasons,omitempty"`
	Records     int            `json:"records"`
}

// summarise folds records into their traces, in the order of their last record.
func summarise(entries []entry) []*summary {
	byID := make(map[iatp.TraceID]*summary)
	var out []*summary // by last record, newest first
	for i := len(entries) - 1; i >= 0; i-- {
		id := entries[i].TraceID
		if id != "" && byID[id] == nil {
			byID[id] = &summary{TraceID: id, AgentID: entries[i].AgentID}
			out = append(out, byID[id])
		}
	}
	for i := range entries {
		if s := byID[entries[i].TraceID]; s != nil {
			s.add(&entries[i])
		}
	}
	slices.Reverse(out)
	return out
}

func (s *summary) add(e *entry) {
	s.Time = e.Timestamp
	s.Records++
	s.Quarantined = s.Quarantined || e.Quarantined
	switch e.Type {
	case flight.Request:
		s.Decision, s.Score, s.Reasons = e.Decision, e.Score, e.Reasons
		s.Dir, s.Peer = e.Dir, e.Peer
		s.StatusCode, s.LatencyMS, s.Outcome = 0, 0, ""
	case flight.UserOverride:
		s.Decision = "override"
	case flight.Response, flight.Error:
		s.StatusCode, s.LatencyMS, s.Outcome = e.StatusCode, e.LatencyMS, e.Outcome
	case flight.Quarantine:
		s.Quarantined = e.State != "released"
	}
}

func (p *program) latestTraces(ctx context.Context, b book, limit int, asJSON bool) error {
	lines, _, err := b.latest(ctx, 1000)
	if err != nil {
		return err
	}
	entries, err := parseEntries(lines)
	if err != nil {
		return err
	}
	all := summarise(entries)
	all = all[max(0, len(all)-limit):]
	if asJSON {
		if all == nil {
			all = []*summary{}
		}
		return writeJSON(p.stdout, all)
	}
	if len(all) == 0 {
		p.out.line("nothing has been recorded yet")
		return nil
	}
	for _, s := range all {
		p.out.line("%s", s.text(p.out))
	}
	return nil
}

func (s *summary) text(out page) string {
	decision, look := s.Decision, plain
	switch s.Decision {
	case "allow":
		decision, look = "allowed", green
	case "ask":
		decision, look = "asked", yellow
	case "deny":
		decision, look = "blocked", red
	case "override":
		decision, look = "released", yellow
	}
	answer := ""
	if s.StatusCode > 0 {
		answer = fmt.Sprintf("%d in %.1f ms", s.StatusCode, s.LatencyMS)
	}
	score := ""
	if s.Score != nil {
		score = fmt.Sprintf("%d/10", *s.Score)
	}
	note := join("; ", otherText(s.Dir, s.Peer), wordList(s.Reasons))
	if s.Quarantined {
		note = join("; ", "in quarantine", note)
	}
	return strings.TrimRight(fmt.Sprintf("%s  %s  %s  %5s  %s  %s", s.Time.UTC().Format("2006-01-02 15:04:05"), pad(shown(string(s.TraceID)), 36),
		out.in(look, pad(shown(decision), 8)), score, pad(answer, 15), out.in(dim, note)), " ")
}

// followTrace shows records as they come, of one trace or of all, until ctx
// ends.
func (p *program) followTrace(ctx context.Context, b book, id iatp.TraceID, asJSON bool) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	lines, next, err := b.latest(ctx, 1)
	if id != "" && err == nil {
		if lines, _, err = b.trace(ctx, id); err == nil {
			next = endOf(lines, next)
		}
	}
	for {
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err := p.printRecords(lines, id, asJSON); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followInterval):
		}
		lines, next, err = b.after(ctx, next)
	}
}

// endOf is the sequence number after the last of lines, or def if there are none.
func endOf(lines []json.RawMessage, def int64) int64 {
	if len(lines) == 0 {
		return def
	}
	e, err := parseEntry(lines[len(lines)-1])
	if err != nil {
		return def
	}
	return e.Seq + 1
}

// printRecords writes records one a line.
func (p *program) printRecords(lines []json.RawMessage, id iatp.TraceID, asJSON bool) error {
	for _, line := range lines {
		e, err := parseEntry(line)
		if err != nil {
			return err
		}
		if id != "" && e.TraceID != id {
			continue
		}
		if asJSON {
			_, err = p.stdout.Write(append(line, '\n'))
		} else {
			text, look := e.headline()
			_, err = fmt.Fprintf(p.out, "%s  %s  %s  %s\n", e.Timestamp.UTC().Format("15:04:05.000"), shown(string(e.TraceID)), pad(shown(string(e.Type)), 13),
				p.out.in(look, join("; ", text, e.found())))
		}
		if err != nil {
			return errors.Join(errors.New("nobody reads on"), err)
		}
	}
	return nil
}
