package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp/internal/keyring"
)

// keygenFlags are the flags of iatp keygen.
type keygenFlags struct {
	rotate, revoke bool
	overlap        time.Duration
}

func (p *program) keygenCommand() *cobra.Command {
	var f keygenFlags
	cmd := &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make an agent key, or change it, and print its public half",
		Long: `Make an Ed25519 key and write it to FILE, which only you can read (mode 0600). A
file that is there already is never overwritten.

The public half goes to stdout. Give that to others: it is what they write as
"pin" for your sidecar, or as "key" for an authority of theirs. FILE itself stays
with you: whoever has it can speak for your agent. It is PKCS #8 in PEM, which
openssl reads too.

--rotate puts a new key in the place of the one in FILE. The old one stays beside
it, as FILE.FROM-UNTIL, and vouches for the new one until UNTIL: a sidecar that
uses FILE notices within a second (or on SIGHUP), signs its manifest with both,
requests and receipts with the new one, and lists both in its directory of keys.
Peers that pinned the old key follow. They have to visit within the overlap: a
week if you do not say otherwise, and more than a day if you can, because answers
to repeated calls are kept for that long with the receipts of then.

--revoke says that the old key is not to be believed any more, with --rotate or
later for the file that --rotate left: the manifest then says so (revoked_keys),
and peers that know the old key drop it once it has handed over.`,
		Example: `  iatp keygen travel.key
  iatp run --key travel.key --public 0.0.0.0:8443 --public-url https://travel.example --config sidecar.yaml
  iatp keygen --rotate travel.key
  iatp keygen --rotate --revoke --overlap 48h travel.key
  iatp keygen --revoke travel.key.20261101T000000Z-20261108T000000Z
  openssl pkey -in travel.key -pubout`,
		Args: takes("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.rotate:
				return p.rotateKey(args[0], &f)
			case cmd.Flags().Changed("overlap"):
				return usagef("--overlap goes with --rotate")
			case f.revoke:
				return p.revokeKey(args[0])
			}
			return p.keygen(args[0])
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.rotate, "rotate", false, "change the key in FILE, with an overlap")
	flags.DurationVar(&f.overlap, "overlap", 7*24*time.Hour, "how long the old key stands beside the new one")
	flags.BoolVar(&f.revoke, "revoke", false, "say that the old key is not to be believed any more")
	return cmd
}

func (p *program) keygen(file string) error {
	key, err := keyring.Create(file)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists, and a key is never overwritten: choose another name, or change the key in it with --rotate", file)
	} else if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(p.stdout, key); err != nil {
		return fmt.Errorf("the key is in %s, but its public half could not be printed: %w", file, err)
	}
	return nil
}

// rotateKey prints the new public half to stdout, and what to do to stderr.
func (p *program) rotateKey(file string, f *keygenFlags) error {
	if f.overlap < keyring.MinOverlap || f.overlap > keyring.MaxOverlap {
		return usagef("--overlap must be from %s to %s", keyring.MinOverlap, keyring.MaxOverlap)
	}
	key, old, err := keyring.Rotate(file, f.overlap, f.revoke, time.Now())
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(p.stdout, key); err != nil {
		return fmt.Errorf("the new key is in %s, but its public half could not be printed: %w", file, err)
	}
	_, err = fmt.Fprintf(p.stderr, "The old key %s is in %s and stands beside the new one until %s.\nWho pins the old key and visits until then follows; give the new one to everybody else.\n",
		old.Key.Public(), old.File, old.Until.Format(time.RFC3339))
	return err
}

func (p *program) revokeKey(file string) error {
	to, err := keyring.Revoke(file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s: revoked\n", to)
	return err
}
