package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/privacy"
)

// maxScanText bounds what scan-text reads.
const maxScanText = 256 << 20

func (p *program) scanTextCommand() *cobra.Command {
	var asJSON, redact bool
	var least float64
	cmd := &cobra.Command{
		Use:   "scan-text [FILE]",
		Short: "Find sensitive data in a file, or in what comes in",
		Long: `Find sensitive data in a file or in standard input: text, JSON, or JSON line by
line. The kinds are those that the sidecar finds in calls; the values themselves
are not shown. The exit code is 1 if something was found.

With --redact the text comes back with a placeholder in place of each value, JSON
as JSON. The exit code is the same.`,
		Example: `  iatp scan-text letter.txt
  kubectl logs agent | iatp scan-text --redact
  iatp scan-text --json --min-confidence 0.2 call.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if least < 0 || least > 1 {
				return usagef("--min-confidence is %v, and not between 0 and 1", least)
			}
			if asJSON && redact {
				return usagef("--json and --redact are two answers: ask for one")
			}
			data, err := p.readText(args)
			if err != nil {
				return err
			}
			return p.scanText(data, least, asJSON, redact)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	cmd.Flags().BoolVar(&redact, "redact", false, "print the text with a placeholder in place of each value")
	cmd.Flags().Float64Var(&least, "min-confidence", 0.5, "show what is at least so sure, from 0 to 1")
	return cmd
}

// readText reads the file that is named, or standard input.
func (p *program) readText(args []string) ([]byte, error) {
	in := p.stdin
	if len(args) > 0 && args[0] != "-" {
		file, err := os.Open(args[0])
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, maxScanText+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxScanText {
		return nil, fmt.Errorf("there is more than %d MiB to read: split it", maxScanText>>20)
	}
	return data, nil
}

// textFinding is a finding for programs.
type textFinding struct {
	Kind       iatp.DataClass `json:"kind"`
	Pointer    string         `json:"pointer"`
	Start      int            `json:"start"`
	End        int            `json:"end"`
	Confidence float64        `json:"confidence"`
	line       int
}

func (p *program) scanText(data []byte, least float64, asJSON, redact bool) error {
	scanner, err := privacy.NewWith(privacy.Options{MinConfidence: least})
	if err != nil {
		return err
	}
	found, clean := scanAny(scanner, data)
	switch {
	case redact:
		_, err = p.stdout.Write(clean())
	case asJSON:
		err = writeJSON(p.stdout, struct {
			Findings []textFinding `json:"findings"`
		}{found})
	default:
		p.printFindings(found)
	}
	if err == nil && len(found) > 0 {
		err = errFailed
	}
	return err
}

func (p *program) printFindings(found []textFinding) {
	if len(found) == 0 {
		p.out.line("nothing found")
		return
	}
	for _, f := range found {
		at := ""
		if f.Pointer != "" {
			at = " at " + shown(f.Pointer)
		}
		p.out.line("line %d, bytes %d to %d: %s (%.2f)%s", f.line, f.Start, f.End, f.Kind, f.Confidence, at)
	}
}

// scanAny scans data as what it is: one JSON document, JSON line by line, or
// text. clean makes it again without what was found.
func scanAny(s *privacy.Scanner, data []byte) (found []textFinding, clean func() []byte) {
	found = []textFinding{}
	if !jsonLines(data) {
		report := s.Scan(data)
		return appendFindings(found, data, 0, report), func() []byte { return privacy.AppendRedacted(nil, data, report) }
	}
	var out []byte
	offset := 0
	for line := range bytes.Lines(data) {
		body := bytes.TrimRight(line, "\r\n")
		report := s.Scan(body)
		found = appendFindings(found, data, offset, report)
		out = append(privacy.AppendRedacted(out, body, report), line[len(body):]...)
		offset += len(line)
	}
	return found, func() []byte { return out }
}

// jsonLines reports whether every line that is not empty is a JSON object or
// array.
func jsonLines(data []byte) bool {
	n := 0
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if line[0] != '{' && line[0] != '[' || !json.Valid(line) {
			return false
		}
		n++
	}
	return n > 0
}

// appendFindings adds the findings of a part of data that begins at offset.
func appendFindings(found []textFinding, data []byte, offset int, r privacy.Report) []textFinding {
	line, counted := 1, 0
	if n := len(found); n > 0 {
		line, counted = found[n-1].line, found[n-1].Start
	}
	for _, f := range r.Findings {
		start := offset + f.Start
		if start >= counted {
			line += bytes.Count(data[counted:start], []byte("\n"))
			counted = start
		}
		found = append(found, textFinding{Kind: f.Kind, Pointer: f.Pointer, Start: start, End: offset + f.End, Confidence: f.Confidence, line: line})
	}
	return found
}
