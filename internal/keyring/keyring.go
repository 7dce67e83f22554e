// Package keyring keeps the agent key of a sidecar in files, together with the
// keys that it had before.
//
// The key is in the file that the operator named, say travel.key. A change of
// keys leaves the old one beside it, under a name that says from when until when
// it still stands for its owner:
//
//	travel.key.20261101T000000Z-20261108T000000Z
//
// ".revoked" at the end says that nothing signed by it is to be believed that is
// not from before. The names are all that is recorded: there is no second file
// that could disagree with them, and every change is one rename or one link.
package keyring

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// maxRetired are the old keys that may sign beside the new one: a manifest has at
// most four signatures.
const maxRetired = 3

// maxKeyFile bounds the files that are read.
const maxKeyFile = 16 << 10

// A Ring is an agent key and the keys before it.
type Ring struct {
	Key     iatp.PrivateKey
	Retired []Retired // the one that was retired last comes first
}

// A Retired key is one of before.
type Retired struct {
	File        string
	Key         iatp.PrivateKey
	From, Until time.Time // whole seconds; the key ends at Until
	Revoked     bool
}

// settle is how long before its end a key stops to sign the manifest: time for
// those who fetch manifest and directory one after the other, by a clock that is
// not ours. It is a minute, or a quarter of a short overlap.
func (k Retired) settle() time.Time {
	return k.Until.Add(-min(time.Minute, k.Until.Sub(k.From)/4))
}

// Open reads the key in file and those beside it. All of them may be readable by
// their owner only. An old key that has ended is kept for what it says about
// revocation.
func Open(file string) (*Ring, error) {
	r := new(Ring)
	var err error
	if r.Key, err = Read(file); err != nil {
		return nil, err
	}
	names, err := retiredFiles(file)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		k, ok := parseName(file, name)
		if !ok {
			continue
		}
		if k.Key, err = Read(k.File); err != nil {
			return nil, err
		}
		if k.Key.Public() != r.Key.Public() { // else a rotation was interrupted, and nothing has changed yet
			r.Retired = append(r.Retired, k)
		}
	}
	slices.SortFunc(r.Retired, func(a, b Retired) int { return b.From.Compare(a.From) })
	return r, nil
}

// Read reads one key. A file that others can read is refused: its secret is none.
func Read(file string) (iatp.PrivateKey, error) {
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
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return iatp.PrivateKey{}, err
	}
	key, err := iatp.ParsePrivateKey(text)
	if err != nil {
		return iatp.PrivateKey{}, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// Signers are the keys that sign the manifest at that time, the present one
// first.
func (r *Ring) Signers(at time.Time) []iatp.PrivateKey {
	keys := []iatp.PrivateKey{r.Key}
	for _, k := range r.Retired {
		if at.Before(k.settle()) && len(keys) <= maxRetired {
			keys = append(keys, k.Key)
		}
	}
	return keys
}

// Directory are the keys that are published at that time, old ones with their
// end.
func (r *Ring) Directory(at time.Time) (iatp.KeySet, error) {
	keys := []iatp.DirectoryKey{{Key: r.Key.Public()}}
	for _, k := range r.Retired {
		if at.Before(k.Until) && len(keys) < iatp.MaxKeySetKeys {
			keys = append(keys, iatp.DirectoryKey{Key: k.Key.Public(), Expires: k.Until})
		}
	}
	return iatp.NewKeySet(keys...)
}

// Find returns the key of the ring whose public half that is, if it may sign at
// that time.
func (r *Ring) Find(public iatp.Key, at time.Time) (iatp.PrivateKey, bool) {
	if r.Key.Public() == public {
		return r.Key, true
	}
	for _, k := range r.Retired {
		if k.Key.Public() == public && at.Before(k.Until) {
			return k.Key, true
		}
	}
	return iatp.PrivateKey{}, false
}

// Revoked are the old keys that are not to be believed, from when they were
// replaced.
func (r *Ring) Revoked() []iatp.RevokedKey {
	var keys []iatp.RevokedKey
	for _, k := range r.Retired {
		if k.Revoked {
			keys = append(keys, iatp.RevokedKey{KeyID: k.Key.Thumbprint(), At: k.From})
		}
	}
	return keys
}

// Next is the first moment after at when Signers or Directory say something else.
// ok is false if they never will.
func (r *Ring) Next(at time.Time) (next time.Time, ok bool) {
	for _, k := range r.Retired {
		for _, end := range []time.Time{k.settle(), k.Until} {
			if end.After(at) && (!ok || end.Before(next)) {
				next, ok = end, true
			}
		}
	}
	return next, ok
}

// Files are the files that Open reads, for those who watch them.
func Files(file string) []string {
	names, err := retiredFiles(file)
	if err != nil {
		return []string{file}
	}
	return append([]string{file}, names...)
}

const (
	nameTime   = "20060102T150405Z"
	revokedEnd = ".revoked"
)

// name is how the old key of a file is called.
func name(file string, from, until time.Time, revoked bool) string {
	n := file + "." + from.UTC().Format(nameTime) + "-" + until.UTC().Format(nameTime)
	if revoked {
		n += revokedEnd
	}
	return n
}

// parseName reads the name of an old key of file. What is not exactly such a name
// belongs to somebody else.
func parseName(file, path string) (Retired, bool) {
	rest, ok := strings.CutPrefix(path, file+".")
	times, revoked := strings.CutSuffix(rest, revokedEnd)
	a, b, _ := strings.Cut(times, "-")
	from, err := time.Parse(nameTime, a)
	until, err2 := time.Parse(nameTime, b)
	if !ok || err != nil || err2 != nil || !until.After(from) || name(file, from, until, revoked) != path {
		return Retired{}, false
	}
	return Retired{File: path, From: from, Until: until, Revoked: revoked}, true
}

// retiredFiles lists the old keys of a file, in the order of their names.
func retiredFiles(file string) ([]string, error) {
	dir, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range dir {
		path := file + strings.TrimPrefix(e.Name(), filepath.Base(file))
		if !strings.HasPrefix(e.Name(), filepath.Base(file)+".") {
			continue
		}
		if _, ok := parseName(file, path); ok {
			names = append(names, path)
		}
	}
	return names, nil
}

// errOther says that two processes change one key.
var errOther = errors.New("another process is changing this key: let it end, and look at what it did")
