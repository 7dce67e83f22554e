package keyring

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inter-agent-trust/iatp"
)

// Bounds of the time for which an old key stands beside the new one.
const (
	MinOverlap = 4 * time.Second
	MaxOverlap = 366 * 24 * time.Hour
)

// Create makes a key in a file that must not exist yet (os.ErrExist), on disk and
// readable by its owner only when Create returns.
func Create(file string) (iatp.Key, error) {
	key, text, err := generate()
	if err != nil {
		return iatp.Key{}, err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return iatp.Key{}, err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return iatp.Key{}, errors.Join(err, os.Remove(file))
	}
	return key, syncDir(file)
}

func generate() (iatp.Key, []byte, error) {
	key, err := iatp.GeneratePrivateKey(rand.Reader)
	if err != nil {
		return iatp.Key{}, nil, err
	}
	text, err := key.MarshalPEM()
	return key.Public(), text, err
}

// Rotate puts a new key into file. The old one stays beside it, and stands for
// its owner until the overlap after now has passed. At every moment, whatever
// happens, file holds one of the two keys, and the old one is on the disk.
//
// With revoke the old key is said to be revoked: its signature hands over to the
// new key, and nothing else by it counts.
func Rotate(file string, overlap time.Duration, revoke bool, now time.Time) (iatp.Key, Retired, error) {
	if overlap < MinOverlap || overlap > MaxOverlap {
		return iatp.Key{}, Retired{}, fmt.Errorf("the overlap must be from %s to %s", MinOverlap, MaxOverlap)
	}
	if info, err := os.Lstat(file); err != nil {
		return iatp.Key{}, Retired{}, err
	} else if !info.Mode().IsRegular() {
		return iatp.Key{}, Retired{}, fmt.Errorf("%s is no regular file: name the file that holds the key", file)
	}
	next, err := lockNext(file + ".next")
	if err != nil {
		return iatp.Key{}, Retired{}, err
	}
	defer next.Close()
	r, err := Open(file)
	if err == nil {
		err = r.room(file, now)
	}
	if err != nil {
		return iatp.Key{}, Retired{}, errors.Join(err, os.Remove(next.Name()))
	}
	key, text, err := generate()
	if err != nil {
		return iatp.Key{}, Retired{}, err
	}
	if err := errors.Join(next.Truncate(0), writeAll(next, text), next.Sync()); err != nil {
		return iatp.Key{}, Retired{}, err
	}
	from := now.UTC().Truncate(time.Second)
	old := Retired{Key: r.Key, From: from, Until: from.Add(overlap.Round(time.Second)), Revoked: revoke}
	old.File = name(file, old.From, old.Until, revoke)
	if err := os.Link(file, old.File); err != nil {
		return iatp.Key{}, Retired{}, fmt.Errorf("keep the old key: %w", err)
	}
	if err := syncDir(file); err != nil {
		return iatp.Key{}, Retired{}, fmt.Errorf("keep the old key: %w", err)
	}
	if err := os.Rename(next.Name(), file); err != nil {
		return iatp.Key{}, Retired{}, err
	}
	return key, old, syncDir(file)
}

// room reports whether one more key may be retired, and clears away what an
// interrupted rotation left: a second name of the present key.
func (r *Ring) room(file string, now time.Time) error {
	if n := len(r.Signers(now)); n > maxRetired {
		return fmt.Errorf("%d old keys still sign beside this one: wait until one of them has ended", n-1)
	}
	names, err := retiredFiles(file)
	if err != nil {
		return err
	}
	for _, path := range names {
		if k, err := Read(path); err == nil && k.Public() == r.Key.Public() {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// Revoke says of an old key that nothing by it is to be believed any more. file
// is the name that Rotate gave it; its new name is returned.
func Revoke(file string) (string, error) {
	if strings.HasSuffix(file, revokedEnd) {
		return "", fmt.Errorf("%s is revoked already", file)
	}
	main := file[:max(strings.LastIndexByte(file, '.'), 0)]
	if _, ok := parseName(main, file); !ok {
		return "", fmt.Errorf("%s is not the file of an old key, as KEYFILE.%s-%s", file, nameTime, nameTime)
	}
	if _, err := Read(file); err != nil {
		return "", err
	}
	to := file + revokedEnd
	if _, err := os.Lstat(to); err == nil {
		return "", fmt.Errorf("%s is there already", to)
	}
	return to, errors.Join(os.Rename(file, to), syncDir(file))
}

// lockNext opens the file that the new key is prepared in, for one process at a
// time. The lock falls with the process; what a dead one left is written over.
func lockNext(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		f.Close()
		return nil, errOther
	}
	mine, err := f.Stat()
	there, err2 := os.Lstat(path)
	if err != nil || err2 != nil || !os.SameFile(mine, there) || mine.Mode().Perm()&0o077 != 0 {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, errOther)
	}
	return f, nil
}

func writeAll(f *os.File, text []byte) error {
	_, err := f.WriteAt(text, 0)
	return err
}

// syncDir has the names in the directory of a file on disk.
func syncDir(file string) error {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
