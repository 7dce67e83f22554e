package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/privacy"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// maxScanText bounds what scan-text reads.
const maxScanText = 256 << 20

func (p *program) scanTextCommand() *cobra.Command {
	var f scanTextFlags
	cmd := &cobra.Command{
		Use:   "scan-text [FILE]",
		Short: "Find sensitive data in a file, or in what comes in",
		Long: `Find sensitive data in a file or in standard input: text, JSON, or JSON line by
line. The kinds are those that the sidecar finds in calls; the values themselves
are not shown. What could not be looked into (compressed data in base64, bytes that
are no text) is said, too. The exit code is 0 if nothing was found, 1 if something
was, and 2 if nobody can say: the file cannot be read.

With --redact the text comes back with a placeholder in place of each value, JSON
as JSON. The exit code is the same.

With --config it looks with the detectors, the allow-list and the confidence of a
sidecar's configuration. --kinds lists what can be found. --hash prints for each
value the hash that privacy.allow.hashes takes; with a key in the configuration
(privacy.allow.key) it cannot be found again by trying all values.`,
		Example: `  iatp scan-text letter.txt
  kubectl logs agent | iatp scan-text --redact
  iatp scan-text --json --min-confidence 0.2 call.json
  iatp scan-text --hash --config travel.yaml test-cards.txt`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.leastGiven = cmd.Flags().Changed("min-confidence")
			if f.kinds && (len(args) > 0 || f.redact || f.hash) {
				return usagef("--kinds lists what can be found: it takes no FILE, no --redact and no --hash")
			}
			if f.kinds {
				return p.listKinds(&f)
			}
			if err := f.check(); err != nil {
				return err
			}
			data, err := p.readText(args)
			if err == nil {
				err = p.scanText(data, &f)
			}
			if err != nil && !errors.Is(err, errFailed) {
				err = noAnswerError{err}
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.asJSON, "json", false, jsonUsage)
	flags.BoolVar(&f.redact, "redact", false, "print the text with a placeholder in place of each value")
	flags.BoolVar(&f.hash, "hash", false, "print the hash of each value, for privacy.allow.hashes")
	flags.BoolVar(&f.kinds, "kinds", false, "list what can be found, with an example of each")
	flags.Float64Var(&f.least, "min-confidence", 0.5, "show what is at least so sure, from 0 to 1")
	flags.StringVar(&f.config, "config", "", "look as the sidecar with this configuration does")
	return cmd
}

// scanTextFlags are the flags of iatp scan-text.
type scanTextFlags struct {
	asJSON, redact, hash, kinds bool
	least                       float64
	leastGiven                  bool
	config                      string
}

func (f *scanTextFlags) check() error {
	switch {
	case !(f.least >= 0 && f.least <= 1): // nor is NaN
		return usagef("--min-confidence is %v, and not between 0 and 1", f.least)
	case f.asJSON && f.redact || f.asJSON && f.hash || f.redact && f.hash:
		return usagef("--json, --redact and --hash are different answers: ask for one")
	}
	return nil
}

// privacy is the section of the configuration, with what the flags say.
func (f *scanTextFlags) privacy() (*sidecar.Privacy, error) {
	cfg := sidecar.DefaultConfig()
	if f.config != "" {
		if err := sidecar.LoadConfig(f.config, &cfg); err != nil {
			return nil, err
		}
	}
	if f.leastGiven {
		cfg.Privacy.MinConfidence = max(f.least, 0.001) // 0 is everything there is
	}
	return &cfg.Privacy, nil
}

// kindJSON is a kind of data for programs.
type kindJSON struct {
	Kind    iatp.DataClass `json:"kind"`
	Group   privacy.Group  `json:"group"`
	Example string         `json:"example,omitempty"`
}

// listKinds lists what rules can speak of.
func (p *program) listKinds(f *scanTextFlags) error {
	section, err := f.privacy()
	if err != nil {
		return err
	}
	_, own, err := section.Scanner()
	if err != nil {
		return err
	}
	var kinds []kindJSON
	for _, g := range privacy.Groups() {
		for _, k := range append(privacy.Kinds(), own...) {
			if privacy.GroupOf(k) == g {
				kinds = append(kinds, kindJSON{k, g, privacy.Example(k)})
			}
		}
	}
	if f.asJSON {
		return writeJSON(p.stdout, struct {
			Kinds []kindJSON `json:"kinds"`
		}{kinds})
	}
	for _, k := range kinds {
		p.out.line("%s %s %s", pad(string(k.Group), 9), pad(string(k.Kind), 22), shown(k.Example))
	}
	return nil
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

// textOpaque is a part that could not be looked into, for programs.
type textOpaque struct {
	Reason  privacy.Reason `json:"reason"`
	Pointer string         `json:"pointer"`
	Start   int            `json:"start"`
	End     int            `json:"end"`
	line    int
}

func (p *program) scanText(data []byte, f *scanTextFlags) error {
	section, err := f.privacy()
	if err != nil {
		return err
	}
	scanner, _, err := section.Scanner()
	if err != nil {
		return err
	}
	found, opaque, clean := scanAny(scanner, data, f.redact)
	switch {
	case f.redact:
		_, err = p.stdout.Write(clean)
	case f.hash:
		err = p.printHashes(section, data, found)
	case f.asJSON:
		err = writeJSON(p.stdout, struct {
			Findings []textFinding `json:"findings"`
			Opaque   []textOpaque  `json:"opaque,omitempty"`
		}{found, opaque})
	default:
		p.printFindings(found, opaque)
	}
	if err == nil && len(found) > 0 {
		err = errFailed
	}
	return err
}

// printHashes prints what an allow-list needs of each value: nothing of the value
// itself.
func (p *program) printHashes(section *sidecar.Privacy, data []byte, found []textFinding) error {
	allowed, err := section.Allowed()
	if err != nil {
		return err
	}
	for _, f := range found {
		p.out.line("%x  # %s, line %d", allowed.Hash(data[f.Start:f.End]), f.Kind, f.line)
	}
	return nil
}

func (p *program) printFindings(found []textFinding, opaque []textOpaque) {
	if len(found)+len(opaque) == 0 {
		p.out.line("nothing found")
		return
	}
	at := func(pointer string) string {
		if pointer == "" {
			return ""
		}
		return " at " + shown(pointer)
	}
	for _, f := range found {
		p.out.line("line %d, bytes %d to %d: %s (%.2f)%s", f.line, f.Start, f.End, f.Kind, f.Confidence, at(f.Pointer))
	}
	for _, o := range opaque {
		p.out.line("line %d, bytes %d to %d: not looked into: %s%s", o.line, o.Start, o.End, o.Reason, at(o.Pointer))
	}
}

// scanAny scans data as what it is: one JSON document or several, or text, in which
// some lines may be JSON. If redact is set, clean is data without what
// was found.
func scanAny(s *privacy.Scanner, data []byte, redact bool) (found []textFinding, opaque []textOpaque, clean []byte) {
	found = []textFinding{}
	at := len(data) - len(bytes.TrimPrefix(data, []byte(byteOrderMark)))
	if redact {
		clean = bytes.Clone(data[:at])
	}
	add := func(part []byte, r privacy.Report) {
		found, opaque = appendFindings(found, data, at, r), appendOpaque(opaque, data, at, r)
		if at += len(part); redact {
			clean = privacy.AppendRedacted(clean, part, r)
		}
	}
	rest := data[at:]
	if report, whole := scanDocument(s, rest); whole {
		add(rest, report)
		return found, opaque, clean
	}
	addText := func(to int) {
		if text := data[at:to]; len(text) > 0 {
			add(text, s.ScanBody(text, "text/plain", privacy.Limits{}))
		}
	}
	for _, end := range documents(rest) {
		part := data[at : len(data)-len(rest)+end]
		add(part, s.Scan(part))
	}
	end := at
	for line := range bytes.Lines(data[at:]) {
		start := end
		end += len(line)
		if document := bytes.TrimRight(line, "\r\n"); isObject(document) {
			addText(start)
			add(document, s.Scan(document))
		}
	}
	addText(end)
	return found, opaque, clean
}

// byteOrderMark stands before the text of some programs. What reads JSON may
// ignore it (RFC 8259, section 8.1).
const byteOrderMark = "\uFEFF"

// scanDocument scans data, if it is one JSON document.
func scanDocument(s *privacy.Scanner, data []byte) (r privacy.Report, ok bool) {
	r, err := s.ScanJSON(data, privacy.Limits{})
	switch {
	case err != nil && !json.Valid(data):
		return r, false
	case err != nil: // with a name twice, or very deep
		return s.Scan(data), true
	}
	if first := bytes.TrimSpace(data)[0]; len(r.Findings) == 0 && first >= '0' && first <= '9' { // digits in a file need not be a number
		r = s.ScanText(data)
	}
	return r, true
}

// appendOpaque adds what was not looked into of a part of data that begins at
// offset. A report names a hundred such parts at most.
func appendOpaque(opaque []textOpaque, data []byte, offset int, r privacy.Report) []textOpaque {
	at := lines{data: data, line: 1}
	if n := len(opaque); n > 0 {
		at.line, at.counted = opaque[n-1].line, opaque[n-1].Start
	}
	for _, o := range r.Opaque {
		start := offset + o.Start
		opaque = append(opaque, textOpaque{Reason: o.Reason, Pointer: o.Pointer, Start: start, End: offset + o.End, line: at.of(start)})
	}
	return opaque
}

// lines counts the lines of a text as far as they were asked for.
type lines struct {
	data          []byte
	line, counted int
}

// of is the line of a place, from 1; a place before the last one has the line of that.
func (l *lines) of(place int) int {
	if place >= l.counted {
		l.line += bytes.Count(l.data[l.counted:place], []byte("\n"))
		l.counted = place
	}
	return l.line
}

// documents returns where the JSON objects and arrays end that data is made of, one
// a line or however they follow one another. It returns none if there is anything else.
func documents(data []byte) (ends []int) {
	var document json.RawMessage
	for d := json.NewDecoder(bytes.NewReader(data)); ; ends = append(ends, int(d.InputOffset())) {
		err := d.Decode(&document)
		switch {
		case err == io.EOF:
			return ends
		case err != nil || document[0] != '{' && document[0] != '[':
			return nil
		}
	}
}

// isObject reports whether a line of text is a JSON object with members, as programs
// log them. Anything else that is JSON is rather part of the text around it.
func isObject(line []byte) bool {
	line = bytes.TrimSpace(line)
	return len(line) > len("{}") && line[0] == '{' && json.Valid(line)
}

// appendFindings adds the findings of a part of data that begins at offset.
func appendFindings(found []textFinding, data []byte, offset int, r privacy.Report) []textFinding {
	at := lines{data: data, line: 1}
	if n := len(found); n > 0 {
		at.line, at.counted = found[n-1].line, found[n-1].Start
	}
	for _, f := range r.Findings {
		start := offset + f.Start
		found = append(found, textFinding{Kind: f.Kind, Pointer: f.Pointer, Start: start, End: offset + f.End, Confidence: f.Confidence, line: at.of(start)})
	}
	return found
}
