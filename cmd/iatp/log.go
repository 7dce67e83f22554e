package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

func (p *program) logCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "log",
		Short: "Prove, verify, export and repair the flight recorder",
		Example: `  iatp log verify --data ./iatp-data
  iatp log prove 41 > proof.txt
  iatp log export > records.jsonl`,
	})
	cmd.AddCommand(p.checkpointCommand(), p.proveCommand(), p.logVerifyCommand(), p.exportCommand(), p.fsckCommand())
	return cmd
}

func (p *program) checkpointCommand() *cobra.Command {
	var r reach
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Print the latest signed state of the log",
		Long: `Print the latest checkpoint: how many records the log has, the root of their
tree, and the log's signature. Keep one elsewhere, and iatp log verify --against
finds out whether the log was ever set back.`,
		Example: `  iatp log checkpoint
  iatp log checkpoint --data ./iatp-data > checkpoint.txt`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := r.checkpoint(cmd.Context(), cmd.Flags().Changed("sidecar"))
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(p.stdout, checkpointJSON(text))
			}
			return p.print(text)
		},
	}
	r.register(cmd.Flags(), true)
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	return cmd
}

// checkpoint returns the signed note, verified if it comes from a directory.
func (r *reach) checkpoint(ctx context.Context, sidecarNamed bool) ([]byte, error) {
	if r.data != "" && !sidecarNamed {
		text, err := os.ReadFile(filepath.Join(r.data, "log", "checkpoint"))
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s has no checkpoint: --data wants the data directory of a sidecar", r.data)
		} else if err != nil {
			return nil, err
		}
		_, err = flight.ParseCheckpoint(text, logKey(r.data))
		return text, err
	}
	c, err := r.client()
	if err != nil {
		return nil, err
	}
	text, err := c.Checkpoint(ctx)
	return text, r.advise(err)
}

// noteJSON is a checkpoint for programs; Note is what can be verified.
type noteJSON struct {
	Origin string `json:"origin"`
	Size   string `json:"size"`
	Root   string `json:"root"`
	Note   string `json:"note"`
}

func checkpointJSON(text []byte) noteJSON {
	lines := strings.SplitN(string(text), "\n", 4)
	lines = append(lines, "", "", "")
	return noteJSON{lines[0], lines[1], lines[2], string(text)}
}

func (p *program) print(text []byte) error {
	_, err := p.stdout.Write(text)
	return err
}

func (p *program) proveCommand() *cobra.Command {
	var r reach
	var asJSON bool
	var index int64
	cmd := &cobra.Command{
		Use:   "prove INDEX",
		Short: "Print a proof that a record is in the log",
		Long: `Print a proof that the record with a sequence number is in the log: a text for
somebody else to verify offline (iatp verify), with the record and the log's
public key (DATA/log.vkey).

With --data the proof is made from the directory, whether or not a sidecar runs
there.`,
		Example: `  iatp log prove 41 > proof.txt
  iatp log prove 41 --data ./iatp-data > proof.txt`,
		Args: func(cmd *cobra.Command, args []string) (err error) {
			if cmd.Flags().Changed("index") {
				return takes()(cmd, args)
			}
			if err = takes("INDEX")(cmd, args); err == nil {
				index, err = parseIndex(args[0])
			}
			return err
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			proof, err := r.prove(cmd.Context(), index, cmd.Flags().Changed("sidecar"))
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(p.stdout, map[string]any{"index": index, "proof": string(proof)})
			}
			return p.print(proof)
		},
	}
	r.register(cmd.Flags(), true)
	cmd.Flags().Int64Var(&index, "index", 0, "the sequence number, instead of the word")
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	return cmd
}

func parseIndex(text string) (int64, error) {
	index, err := strconv.ParseInt(text, 10, 64)
	if err != nil || index < 0 {
		return 0, usagef("%q is not the sequence number of a record", text)
	}
	return index, nil
}

func (r *reach) prove(ctx context.Context, index int64, sidecarNamed bool) ([]byte, error) {
	if r.data == "" || sidecarNamed {
		c, err := r.client()
		if err != nil {
			return nil, err
		}
		proof, err := c.Proof(ctx, index)
		return proof, r.advise(err)
	}
	a, err := flight.OpenArchive(r.data)
	if err != nil {
		return nil, fmt.Errorf("%w; --data wants the data directory of a sidecar", err)
	}
	s, err := a.State()
	if err != nil {
		return nil, err
	}
	return s.Prove(index)
}

// logVerifyFlags are the flags of iatp log verify.
type logVerifyFlags struct {
	data, key string
	against   []string
	asJSON    bool
}

func (p *program) logVerifyCommand() *cobra.Command {
	var f logVerifyFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that a log is what was signed, to the last byte",
		Long: `Check a data directory, or a copy of one, against its signed checkpoint: every
record, every hash, nothing missing in between. It changes nothing, and works
while a sidecar runs.

Without --key the directory's own key is used, which proves less: whoever can
replace the directory can replace the key. Without --against a log that was set
back as a whole cannot be told from a younger one.`,
		Example: `  iatp log verify
  iatp log verify --data /mnt/evidence/iatp-data --key 'bank/iatp+e2dc3db6+AQ…'
  iatp log verify --against checkpoint-of-last-month.txt`,
		Args: takes(),
		RunE: func(*cobra.Command, []string) error { return p.verifyLog(&f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.data, "data", "", "data directory (default IATP_DATA, or "+defaultData+")")
	flags.StringVar(&f.key, "key", "", "public key of the log, or a file with it")
	flags.StringArrayVar(&f.against, "against", nil, "file with an older checkpoint of the same log (repeatable)")
	flags.BoolVar(&f.asJSON, "json", false, jsonUsage)
	return cmd
}

func (p *program) verifyLog(f *logVerifyFlags) error {
	key := ""
	var err error
	if f.key != "" {
		if key, err = p.readKey(f.key); err != nil {
			return err
		}
	}
	var older [][]byte
	for _, name := range f.against {
		text, err := p.readFile(name, maxEvidence)
		if err != nil {
			return err
		}
		older = append(older, text)
	}
	report, err := flight.Verify((&reach{data: f.data}).dataDir(), key, older...)
	if err != nil {
		return err
	}
	return p.printReport(report, f.asJSON)
}

func (p *program) fsckCommand() *cobra.Command {
	var data string
	var asJSON, repair bool
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Check a log's files, and repair what can be made again",
		Long: `Check a log as iatp log verify does, with the directory's own key. With --repair,
indexes, tiles and snapshots that are damaged are made again from the records;
no record, key or checkpoint is ever touched, and no sidecar may run there.`,
		Example: `  iatp log fsck
  iatp log fsck --data ./iatp-data --repair`,
		Args: takes(),
		RunE: func(*cobra.Command, []string) error {
			report, err := flight.Fsck((&reach{data: data}).dataDir(), flight.FsckOptions{Repair: repair})
			if err != nil {
				return err
			}
			return p.printReport(report, asJSON)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory (default IATP_DATA, or "+defaultData+")")
	cmd.Flags().BoolVar(&repair, "repair", false, "make damaged derived files again")
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	return cmd
}

// printReport says what is wrong with a log, and the verdict first.
func (p *program) printReport(r *flight.Report, asJSON bool) error {
	if asJSON {
		r.Problems, r.Damage = append([]flight.Finding{}, r.Problems...), append([]flight.Finding{}, r.Damage...) // [], not null
		if err := writeJSON(p.stdout, struct {
			OK bool `json:"ok"`
			*flight.Report
		}{r.OK(), r}); err != nil {
			return err
		}
	} else {
		p.reportText(r)
	}
	if !r.OK() {
		return errFailed
	}
	return nil
}

func (p *program) reportText(r *flight.Report) {
	out := p.out
	if r.OK() {
		out.line("%s: the log %s is what it signed, %d records under the checkpoint, %d in all", out.in(green, "ok"), shown(r.Origin), r.Signed, r.Records)
	} else {
		out.line("%s: the log %s is not what it signed", out.in(red, "tampered or damaged"), shown(r.Origin))
	}
	for _, f := range r.Problems {
		out.line("  %s", out.in(red, shown(f.String())))
	}
	if r.First > 0 {
		out.line("  the lines below record %d were dropped by retention; their hashes are there", r.First)
	}
	if r.TornBytes > 0 {
		out.line("  %d bytes of an unfinished record at the end, above the checkpoint: a crash left them, the next start cuts them", r.TornBytes)
	}
	for _, f := range r.Damage {
		out.line("  %s %s", out.in(yellow, "can be made again:"), shown(f.String()))
	}
	switch {
	case r.Repaired:
		out.line("  these files were made again")
	case len(r.Damage) > 0:
		out.line("  iatp log fsck --repair makes these files again")
	}
	if r.OwnKey {
		out.line("  checked with the directory's own key, which proves less than a key from elsewhere (--key): %s", r.Key)
	}
}

// exportFlags are the flags of iatp log export.
type exportFlags struct {
	reach
	id  string
	out string
}

func (p *program) exportCommand() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the records as JSON Lines",
		Long: `Write the records as JSON Lines, oldest first, each as it stands in the log: all
of them, or those of one trace. They hold redacted text and no secrets, but read
them before you give them away.`,
		Example: `  iatp log export > records.jsonl
  iatp log export --trace e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f
  iatp log export --data ./iatp-data --out records.jsonl`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.export(cmd.Context(), &f, cmd.Flags().Changed("sidecar"))
		},
	}
	f.register(cmd.Flags(), true)
	cmd.Flags().StringVar(&f.id, "trace", "", "only the records of this trace")
	cmd.Flags().StringVarP(&f.out, "out", "o", "", "write to this new file instead of stdout")
	cmd.Flags().Bool("json", true, "the records are JSON in any case")
	return cmd
}

func (p *program) export(ctx context.Context, f *exportFlags, sidecarNamed bool) (err error) {
	var id iatp.TraceID
	if f.id != "" {
		if id, err = safeID(f.id); err != nil {
			return err
		}
	}
	w := p.stdout
	if f.out != "" {
		file, failed := os.OpenFile(f.out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if failed != nil {
			return failed
		}
		defer func() {
			if err = errors.Join(err, file.Close()); err != nil {
				err = errors.Join(err, os.Remove(f.out)) // a part could be taken for the whole
			}
		}()
		w = file
	}
	written := &counter{w: w}
	if f.data != "" && !sidecarNamed {
		err = flight.Export(f.data, written, id)
	} else {
		err = f.fromSidecar(ctx, written, id)
	}
	if err == nil && id != "" && written.n == 0 {
		err = noTrace(id)
	}
	return err
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func (f *exportFlags) fromSidecar(ctx context.Context, w io.Writer, id iatp.TraceID) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	if id == "" {
		return errors.Join(f.advise(c.Export(ctx, out)), out.Flush())
	}
	t, err := c.Trace(ctx, id)
	if err != nil {
		return f.advise(err)
	}
	for _, line := range t.Logs {
		out.Write(append(line, '\n')) // an error stays until Flush
	}
	return out.Flush()
}
