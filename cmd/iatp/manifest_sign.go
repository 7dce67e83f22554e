package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/keyring"
)

// signing is what iatp manifest sign adds to a document.
type signing struct {
	keys         []string // files
	uri          string
	log          string // public key of the flight recorder, or the file with it
	endorsements []string
	out          string
}

func (p *program) manifestSignCommand() *cobra.Command {
	var s signing
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Complete and sign a manifest",
		Long: `Sign a manifest with an agent key, so that others can tell whose it is and that
nobody changed it. A sidecar with "key" and "public_url" does this by itself, and
serves a signed file as it is; sign by hand to add an endorsement, or where
something other than a sidecar serves the manifest.

What is missing is completed: the key (identity.verification_key) and the time
(updated_at, which is now: peers refuse a manifest older than one they have
seen). --uri, --log and --endorsement set what a signed manifest needs besides.
Signatures that FILE has are replaced, and what is the operator's own business is
left out: where the agent undoes things goes into the configuration of the sidecar
that serves the document ("compensation"). The signed document goes to stdout, or
to the file that --out names.

With several keys the first one is the agent's; the directory that is published
has to list them all.`,
		Example: `  iatp manifest sign agent.json --key agent.key --uri https://travel.example --out signed.json
  iatp manifest sign agent.json --key agent.key --endorsement mark.jwt --out signed.json
  iatp manifest sign agent.json --key agent.key | iatp verify -`,
		Args: takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return p.signManifest(args[0], &s) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&s.keys, "key", nil, "file with the agent key (repeatable, the agent's own first)")
	flags.StringVar(&s.uri, "uri", "", "origin of the sidecar that serves it, such as https://travel.example")
	flags.StringVar(&s.log, "log", "", "public key of the flight recorder: the text of DATA/log.vkey, or that file")
	flags.StringArrayVar(&s.endorsements, "endorsement", nil, "file with an endorsement of iatp endorse (repeatable)")
	flags.StringVar(&s.out, "out", "", "file to write, in place of stdout")
	return cmd
}

func (p *program) signManifest(file string, s *signing) error {
	keys, err := s.readKeys()
	if err != nil {
		return err
	}
	m, err := p.readManifest(file)
	if err != nil {
		return at(file, err)
	}
	doc, err := p.complete(m, s, keys[0].Public(), time.Now())
	if err != nil {
		return at(file, err)
	}
	signed, err := iatp.SignManifest(doc, keys...)
	if err != nil {
		return at(file, err)
	}
	signed = append(signed, '\n')
	if s.out == "" {
		_, err = p.stdout.Write(signed)
		return err
	}
	return replaceFile(s.out, signed)
}

func (s *signing) readKeys() ([]iatp.PrivateKey, error) {
	if len(s.keys) == 0 {
		return nil, usagef("name the agent key with --key FILE; iatp keygen FILE makes one")
	}
	var keys []iatp.PrivateKey
	for _, file := range s.keys {
		k, err := keyring.Read(file)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// complete adds to a document what it needs for its signature, and refuses to
// put something in place of what its author wrote.
func (p *program) complete(m *iatp.Manifest, s *signing, own iatp.Key, now time.Time) ([]byte, error) {
	var doc map[string]any
	dec := json.NewDecoder(bytes.NewReader(m.Bytes()))
	dec.UseNumber() // integers stay as they were written
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	who, ok := doc["identity"].(map[string]any)
	if !ok {
		return nil, errors.New("the manifest has no identity")
	}
	if s.uri != "" {
		if err := iatp.CheckOrigin(s.uri); err != nil {
			return nil, usagef("--uri: %w", err)
		}
	}
	log := s.log
	if log != "" {
		var err error
		if log, err = p.readKey(log); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(
		settle(who, "uri", s.uri),
		settle(who, "log", log),
		settle(who, "verification_key", own.String()),
		p.addEndorsements(doc, s.endorsements),
	); err != nil {
		return nil, err
	}
	doc["updated_at"] = now.UTC().Truncate(time.Second).Format(time.RFC3339)
	return json.Marshal(doc)
}

// settle writes a member that is absent. One that says something else is the
// author's to change.
func settle(who map[string]any, name, value string) error {
	if had, ok := who[name].(string); ok && value != "" && had != value {
		return fmt.Errorf("identity.%s is %q, which is not %q: change it in the file, or take it out", name, shown(had), value)
	}
	if value != "" {
		who[name] = value
	}
	return nil
}

// addEndorsements adds to those that the document has.
func (p *program) addEndorsements(doc map[string]any, files []string) error {
	have, _ := doc["endorsements"].([]any)
	for _, file := range files {
		text, err := p.readFile(file, iatp.MaxStatementSize)
		if err != nil {
			return err
		}
		mark := strings.TrimSpace(string(text))
		if kindOf([]byte(mark)) != iatp.TypeEndorsement {
			return fmt.Errorf("%s is not an endorsement; iatp endorse makes one", file)
		}
		have = append(have, mark)
	}
	if len(have) > 0 {
		doc["endorsements"] = have
	}
	return nil
}

// replaceFile writes a file whole, or leaves it as it was.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
