package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/bundle"
)

// maxEvidence bounds a file that is to be verified, in bytes.
const maxEvidence = 1 << 20

// maxKey bounds a file with a public key, in bytes.
const maxKey = 4096

// verifyFlags are what a proof needs besides itself.
type verifyFlags struct {
	line, lineText, key string
	from, ca, body      string
	trust, data         string
	asJSON              bool

	given []string // the flags that were set
}

// kinds are the documents that can be verified, and the flags that each takes.
var kinds = map[string]struct {
	noun  string
	flags []string
}{
	"bundle":             {"a bundle", []string{"trust"}},
	"manifest":           {"a manifest", nil}, // it names its own key
	"proof":              {"a proof", []string{"key", "line", "line-text"}},
	"checkpoint":         {"a checkpoint", []string{"key"}},
	iatp.TypeReceipt:     {"a receipt", []string{"body", "ca", "data", "from", "key"}},
	iatp.TypeEndorsement: {"an endorsement", []string{"ca", "from", "key"}},
}

// only refuses a flag that would do nothing: who gives one expects that it was looked at.
func (f *verifyFlags) only(file, kind string) error {
	k, known := kinds[kind]
	takes := append(slices.Clone(k.flags), "json")
	for _, name := range f.given {
		if known && !slices.Contains(takes, name) {
			return usagef("%s is %s, which takes no --%s; it takes --%s", file, k.noun, name, strings.Join(takes, ", --"))
		}
	}
	if f.ca != "" && f.from == "" {
		return usagef("--ca is for --from")
	}
	return nil
}

func (p *program) verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Verify a bundle, a manifest, a receipt, an endorsement, a log proof or a checkpoint",
		Long: `Verify a document offline; what it is, the document says itself.

  manifest     as iatp manifest check
  proof        that a record is in a flight log: with the record (--line FILE or
               --line-text TEXT) and the log's public key (--key)
  checkpoint   the signature of a flight log's state: with --key
  receipt      what another sidecar says that it did: with --key, with --from, or
               with --data, by the keys that our flight log has seen it have, also
               those of before; --body compares it with the answer
  endorsement  an authority's word on an agent: with --key, or with --from
  bundle       all about one trace (iatp export), every link of it: with --trust
               FILE, in which each line is "log VKEY" or "agent URI ed25519:KEY"

The key of a log is the text in DATA/log.vkey, that of an agent or an authority
ed25519:…; --key takes it, or the name of a file that holds it. Get it from the
owner and not from whoever sent the document. --from fetches the keys that the
owner publishes at that address; that is the only thing not done offline.`,
		Example: `  iatp verify agent.json
  iatp verify proof.txt --line record.json --key log.vkey
  iatp verify checkpoint.txt --key 'bank/iatp+e2dc3db6+AQ…'
  iatp verify receipt.jwt --from https://booking.example --body answer.json
  iatp verify receipt.jwt --data ./iatp-data
  iatp verify case.zip --trust keys.txt`,
		Args: takes("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
				if flag.Changed {
					f.given = append(f.given, flag.Name)
				}
			})
			return p.verify(cmd.Context(), args[0], &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.line, "line", "", "file with the record that a proof is about")
	flags.StringVar(&f.lineText, "line-text", "", "the record itself")
	flags.StringVar(&f.key, "key", "", "public key of the log, the agent or the authority, or a file with it")
	flags.StringVar(&f.from, "from", "", "origin whose published keys must have signed it, such as https://booking.example")
	flags.StringVar(&f.ca, "ca", "", "with --from: "+caUsage)
	flags.StringVar(&f.body, "body", "", "file with the answer that a receipt must be of")
	flags.StringVar(&f.data, "data", "", "data directory whose flight log knows which keys the issuer of a receipt had")
	flags.StringVar(&f.trust, "trust", "", "file with the keys of the logs and agents that you know, for a bundle")
	flags.BoolVar(&f.asJSON, "json", false, jsonUsage)
	return cmd
}

func (p *program) verify(ctx context.Context, file string, f *verifyFlags) error {
	data, err := p.readFile(file, bundle.MaxSize)
	if err != nil {
		return err
	}
	kind := kindOf(data)
	if kind != "bundle" && len(data) > maxEvidence {
		return fmt.Errorf("%s has more than %d bytes, and is no bundle", file, maxEvidence)
	}
	if err := f.only(file, kind); err != nil {
		return err
	}
	switch kind {
	case "bundle":
		return p.verifyBundle(file, data, f)
	case "proof":
		return p.verifyProof(file, data, f)
	case "checkpoint":
		return p.verifyCheckpoint(file, data, f)
	case iatp.TypeReceipt, iatp.TypeEndorsement:
		return p.verifyStatement(ctx, file, kind, data, f)
	case "manifest":
		if file == "-" {
			p.stdin = bytes.NewReader(data)
		}
		return p.checkManifests([]string{file}, f.asJSON)
	default:
		return fmt.Errorf("%s is %s, which this version cannot verify; it verifies bundles, manifests, receipts, endorsements, log proofs and checkpoints", file, kind)
	}
}

// kindOf names what a document is, going by its first bytes.
func kindOf(data []byte) string {
	text := strings.TrimSpace(string(data[:min(len(data), 4096)]))
	switch {
	case strings.HasPrefix(text, "c2sp.org/tlog-proof@"):
		return "proof"
	case strings.HasPrefix(text, "{"):
		return kindOfObject(data)
	case strings.HasPrefix(text, "PK\x03\x04"):
		return "bundle"
	case strings.HasPrefix(text, "eyJ") && bytes.Count(data, []byte(".")) == 2:
		return kindOfStatement(string(bytes.TrimSpace(data)))
	case strings.Contains(text, "\n\n\u2014 "):
		return "checkpoint"
	}
	return "nothing that is known here"
}

func kindOfStatement(jws string) string {
	switch typ := typeOfStatement(jws); typ {
	case iatp.TypeReceipt, iatp.TypeEndorsement:
		return typ
	case "":
		return "a signed statement (compact JWS) that does not say of which type it is"
	default:
		return "a signed statement of the type " + shown(typ)
	}
}

func kindOfObject(data []byte) string {
	var o struct {
		Type      string          `json:"type"`
		Seq       json.RawMessage `json:"seq"`
		Payload   string          `json:"payload"`
		Protected string          `json:"protected"`
	}
	if json.Unmarshal(data, &o) == nil {
		switch {
		case o.Type != "" && o.Seq != nil:
			return "a record of a flight log (give it as --line together with its proof)"
		case o.Payload != "" && o.Protected != "":
			return "a signed statement (JWS)"
		}
	}
	return "manifest"
}

// proven is the result of verifying a proof or a checkpoint.
type proven struct {
	File   string `json:"file"`
	Kind   string `json:"kind"`
	Valid  bool   `json:"valid"`
	Error  string `json:"error,omitempty"`
	Origin string `json:"origin,omitempty"`
	Size   int64  `json:"size"`
	Root   string `json:"root,omitempty"`
	Index  *int64 `json:"index,omitempty"`
}

func (p *program) verifyProof(file string, data []byte, f *verifyFlags) error {
	line, err := p.record(f)
	if err != nil {
		return err
	}
	key, err := p.readKey(f.key)
	if err != nil {
		return err
	}
	result := proven{File: file, Kind: "proof"}
	c, err := flight.VerifyProof(data, line, key)
	if err == nil {
		proof, _ := flight.ParseProof(data) // VerifyProof has read it
		result.Index = &proof.Index
	}
	result.checkpoint(c, err)
	return p.printProven(&result, f.asJSON)
}

func (p *program) verifyCheckpoint(file string, data []byte, f *verifyFlags) error {
	key, err := p.readKey(f.key)
	if err != nil {
		return err
	}
	result := proven{File: file, Kind: "checkpoint"}
	c, err := flight.ParseCheckpoint(data, key)
	result.checkpoint(c, err)
	return p.printProven(&result, f.asJSON)
}

func (r *proven) checkpoint(c *flight.Checkpoint, err error) {
	if err != nil {
		r.Error = scrubbed(err.Error())
		return
	}
	r.Valid, r.Origin, r.Size, r.Root = true, c.Origin, c.Size, c.Root.String()
}

func (p *program) printProven(r *proven, asJSON bool) error {
	switch {
	case asJSON:
		if err := writeJSON(p.stdout, r); err != nil {
			return err
		}
	case !r.Valid:
		p.out.line("%s: %s %s", r.File, p.out.in(red, "not valid:"), shown(r.Error))
	case r.Index != nil:
		p.out.line("%s: %s, the record is number %d of the log %s, which has signed for %d records", r.File, p.out.in(green, "valid"), *r.Index, shown(r.Origin), r.Size)
	default:
		p.out.line("%s: %s, the log %s has signed for %d records with the root %s", r.File, p.out.in(green, "valid"), shown(r.Origin), r.Size, r.Root)
	}
	if !r.Valid {
		return errFailed
	}
	return nil
}

// record is the line that a proof is about.
func (p *program) record(f *verifyFlags) ([]byte, error) {
	switch {
	case (f.line == "") == (f.lineText == ""):
		return nil, usagef("a proof is about a record: give it with --line FILE or with --line-text TEXT")
	case f.lineText != "":
		return []byte(f.lineText), nil
	}
	data, err := p.readFile(f.line, maxEvidence)
	if err != nil {
		return nil, err
	}
	line := bytes.TrimSuffix(data, []byte("\n"))
	if bytes.ContainsRune(line, '\n') {
		return nil, errors.New(f.line + " holds more than one line: a proof is about one record")
	}
	return line, nil
}

// readKey takes a verifier key, or the file that holds it.
func (p *program) readKey(given string) (string, error) {
	if given == "" {
		return "", usagef("name the log's public key with --key: the text of DATA/log.vkey, or that file")
	}
	data, err := p.readFile(given, maxKey)
	switch {
	case err == nil && len(data) <= maxKey:
		return strings.TrimSpace(string(data)), nil
	case err == nil:
		return "", fmt.Errorf("%s does not hold a key", given)
	case strings.Contains(given, "+"): // name+hash+key: never a file by accident
		return given, nil
	case strings.HasPrefix(given, "ed25519:"):
		return "", usagef("--key is the key of an agent; a log signs with one of its own: the text of DATA/log.vkey, or that file")
	}
	return "", fmt.Errorf("key: %w", err)
}

// safeID reads a trace id that somebody typed.
func safeID(text string) (iatp.TraceID, error) {
	id, err := iatp.ParseTraceID(text)
	if err != nil {
		return "", usageError{err}
	}
	return id, nil
}
