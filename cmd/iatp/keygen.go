package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
)

func (p *program) keygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make an agent key and print its public half",
		Long: `Make an Ed25519 key and write it to FILE, which only you can read (mode 0600). A
file that is there already is never overwritten.

The public half goes to stdout. Give that to others: it is what they write as
"pin" for your sidecar, or as "key" for an authority of theirs. FILE itself stays
with you: whoever has it can speak for your agent. It is PKCS #8 in PEM, which
openssl reads too.`,
		Example: `  iatp keygen travel.key
  iatp run --key travel.key --public 0.0.0.0:8443 --public-url https://travel.example --config sidecar.yaml
  openssl pkey -in travel.key -pubout`,
		Args: takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return p.keygen(args[0]) },
	}
}

func (p *program) keygen(file string) error {
	key, err := iatp.GeneratePrivateKey(rand.Reader)
	if err != nil {
		return err
	}
	text, err := key.MarshalPEM()
	if err != nil {
		return err
	}
	if err := createPrivate(file, text); errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists, and a key is never overwritten: choose another name", file)
	} else if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(p.stdout, key.Public()); err != nil {
		return fmt.Errorf("the key is in %s, but its public half could not be printed: %w", file, err)
	}
	return nil
}

// createPrivate writes a file that must not exist and that only we can read. It
// is on disk when createPrivate returns.
func createPrivate(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// readPrivateKey reads a key that iatp keygen wrote. It is refused where others
// could have read it.
func readPrivateKey(file string) (iatp.PrivateKey, error) {
	f, err := os.Open(file)
	if err != nil {
		return iatp.PrivateKey{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return iatp.PrivateKey{}, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return iatp.PrivateKey{}, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it", file, mode)
	}
	text, err := readSome(f, maxKey)
	if err != nil {
		return iatp.PrivateKey{}, err
	}
	key, err := iatp.ParsePrivateKey(text)
	if err != nil {
		return iatp.PrivateKey{}, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}
