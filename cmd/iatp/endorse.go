package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/keyring"
)

// endorseFlags are the flags of iatp endorse.
type endorseFlags struct {
	authority     string // file with the key
	iss           string
	agent         string // public key
	level         string
	valid         time.Duration
	retention     string
	reversibility string
}

func (p *program) endorseCommand() *cobra.Command {
	var f endorseFlags
	cmd := &cobra.Command{
		Use:   "endorse URI",
		Short: "Vouch for an agent, as an authority",
		Long: `Vouch for the agent whose sidecar is at URI and signs with a certain key. The
endorsement, a signed trust mark, goes to stdout; its owner puts it into the
manifest (iatp manifest sign --endorsement). It counts with those who have your
key under "authorities" in their configuration, and up to the level there.

Say with --retention and --reversibility what you know the agent to do: a
manifest that promises more is then not covered by your word.`,
		Example: `  iatp keygen authority.key
  iatp endorse https://travel.example --agent-key ed25519:UBVnG218QPEAt75SEFjoiz6yoBO8AcUQwLtANu4K7lk \
      --level trusted --iss https://authority.example --key authority.key --retention ephemeral > mark.jwt`,
		Args: takes("URI"),
		RunE: func(_ *cobra.Command, args []string) error { return p.endorseAgent(args[0], &f, time.Now()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.authority, "key", "", "file with the authority's key")
	flags.StringVar(&f.iss, "iss", "", "the authority: an https origin")
	flags.StringVar(&f.agent, "agent-key", "", "public key of the agent, ed25519:…")
	flags.StringVar(&f.level, "level", "", "trust level to vouch for: verified_partner, trusted, standard, unknown or untrusted")
	flags.DurationVar(&f.valid, "valid", iatp.MaxEndorsementTime, "for how long, at most 720h")
	flags.StringVar(&f.retention, "retention", "", "the shortest retention that the agent may claim: ephemeral, temporary, permanent or forever")
	flags.StringVar(&f.reversibility, "reversibility", "", "the most that the agent may claim to undo: none, partial or full")
	choices(cmd, "level", "verified_partner", "trusted", "standard", "unknown", "untrusted")
	choices(cmd, "retention", string(iatp.RetentionEphemeral), string(iatp.RetentionTemporary), string(iatp.RetentionPermanent), string(iatp.RetentionForever))
	choices(cmd, "reversibility", string(iatp.ReversibilityNone), string(iatp.ReversibilityPartial), string(iatp.ReversibilityFull))
	return cmd
}

func (p *program) endorseAgent(uri string, f *endorseFlags, now time.Time) error {
	e, err := f.endorsement(uri, now)
	if err != nil {
		return err
	}
	key, err := keyring.Read(f.authority)
	if err != nil {
		return err
	}
	if key.Thumbprint() == e.JKT {
		return usagef("--key is the key of the agent itself: an agent cannot vouch for itself")
	}
	mark, err := e.Sign(key)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, mark)
	return err
}

// endorsement is what the flags say, for the agent at uri.
func (f *endorseFlags) endorsement(uri string, now time.Time) (*iatp.Endorsement, error) {
	for _, c := range []struct{ name, value string }{
		{"--key", f.authority}, {"--iss", f.iss}, {"--agent-key", f.agent}, {"--level", f.level},
	} {
		if c.value == "" {
			return nil, usagef("%s is missing: an endorsement says by whom, for which key and how far", c.name)
		}
	}
	if err := iatp.CheckOrigin(uri); err != nil {
		return nil, usagef("URI: %w", err)
	}
	if err := iatp.CheckOrigin(f.iss); err != nil {
		return nil, usagef("--iss: %w", err)
	}
	agent, err := iatp.ParseKey(f.agent)
	if err != nil {
		return nil, usagef("--agent-key: %w", err)
	}
	level, err := iatp.ParseTrustLevel(f.level)
	if err != nil {
		return nil, usagef("--level: %w", err)
	}
	if f.valid < time.Second || f.valid > iatp.MaxEndorsementTime {
		return nil, usagef("--valid must be from 1s to %gh", iatp.MaxEndorsementTime.Hours())
	}
	e := &iatp.Endorsement{
		Iss: f.iss, Sub: uri, JKT: agent.Thumbprint(), TrustLevel: level,
		Iat: now.Unix(), Exp: now.Add(f.valid).Unix(),
	}
	if f.retention != "" {
		if e.MaxClaims.RetentionPolicy, err = iatp.ParseRetentionPolicy(f.retention); err != nil {
			return nil, usagef("--retention: %w", err)
		}
	}
	if f.reversibility != "" {
		if e.MaxClaims.Reversibility, err = iatp.ParseReversibilityLevel(f.reversibility); err != nil {
			return nil, usagef("--reversibility: %w", err)
		}
	}
	return e, nil
}
