package keyring

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/inter-agent-trust/iatp"
)

var now = time.Date(2026, 11, 14, 10, 0, 0, 0, time.UTC)

// made is a fresh key in a directory of its own.
func made(t *testing.T) (file string, key iatp.Key) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "agent.key")
	key, err := Create(file)
	if err != nil {
		t.Fatal(err)
	}
	return file, key
}

func rotate(t *testing.T, file string, overlap time.Duration, revoke bool, at time.Time) (iatp.Key, Retired) {
	t.Helper()
	key, old, err := Rotate(file, overlap, revoke, at)
	if err != nil {
		t.Fatal(err)
	}
	return key, old
}

func open(t *testing.T, file string) *Ring {
	t.Helper()
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func public(keys []iatp.PrivateKey) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.Public().String())
	}
	return out
}

// The life of an old key: it signs beside the new one, is only listed for a
// while, and is gone.
func TestRotate(t *testing.T) {
	file, one := made(t)
	two, old := rotate(t, file, time.Hour, false, now)
	if old.Key.Public() != one || old.File != file+".20261114T100000Z-20261114T110000Z" {
		t.Errorf("the old key is %v in %s", old.Key, old.File)
	}
	r := open(t, file)
	if r.Key.Public() != two || len(r.Retired) != 1 {
		t.Fatalf("the ring has %v and %d before it", r.Key, len(r.Retired))
	}
	both, alone := []string{two.String(), one.String()}, []string{two.String()}
	for _, c := range []struct {
		after        time.Duration
		sign, listed []string
		next         time.Duration
	}{
		{0, both, both, 59 * time.Minute},
		{59*time.Minute - 1, both, both, 59 * time.Minute},
		{59 * time.Minute, alone, both, time.Hour},
		{time.Hour - 1, alone, both, time.Hour},
		{time.Hour, alone, alone, 0},
	} {
		at := now.Add(c.after)
		if diff := cmp.Diff(c.sign, public(r.Signers(at))); diff != "" {
			t.Errorf("after %s: signers (-want +got)\n%s", c.after, diff)
		}
		set, err := r.Directory(at)
		if err != nil {
			t.Fatal(err)
		}
		var listed []string
		for _, k := range set.Keys() {
			listed = append(listed, k.Key.String())
			if old := k.Key == one; old != k.Expires.Equal(now.Add(time.Hour)) {
				t.Errorf("after %s: %v expires %v", c.after, k.Key, k.Expires)
			}
		}
		if diff := cmp.Diff(c.listed, listed); diff != "" {
			t.Errorf("after %s: directory (-want +got)\n%s", c.after, diff)
		}
		if next, ok := r.Next(at); ok != (c.next != 0) || ok && !next.Equal(now.Add(c.next)) {
			t.Errorf("after %s: next change at %v %v, want %s", c.after, next, ok, c.next)
		}
		if _, ok := r.Find(one, at); ok != (len(c.listed) == 2) {
			t.Errorf("after %s: the old key may sign: %v", c.after, ok)
		}
	}
}

func TestRevoke(t *testing.T) {
	file, one := made(t)
	two, old := rotate(t, file, time.Hour, true, now)
	want := []iatp.RevokedKey{{KeyID: one.Thumbprint(), At: now}}
	if diff := cmp.Diff(want, open(t, file).Revoked()); diff != "" || !strings.HasSuffix(old.File, ".revoked") {
		t.Errorf("%s: revoked (-want +got)\n%s", old.File, diff)
	}
	_, old = rotate(t, file, time.Hour, false, now.Add(time.Minute))
	to, err := Revoke(old.File)
	if err != nil {
		t.Fatal(err)
	}
	if r := open(t, file); len(r.Revoked()) != 2 || r.Revoked()[0].KeyID != two.Thumbprint() {
		t.Errorf("revoked: %v", r.Revoked())
	}
	for _, bad := range []string{to, file, "nothing", file + ".20261114T100000Z", file + ".20261114T110000Z-20261114T100000Z"} {
		if _, err := Revoke(bad); err == nil {
			t.Errorf("Revoke(%s) did something", bad)
		}
	}
}

// Rotations follow one another as long as a manifest has room for the signatures.
func TestRoom(t *testing.T) {
	file, _ := made(t)
	for i := range maxRetired {
		rotate(t, file, time.Hour, false, now.Add(time.Duration(i)*time.Second))
	}
	before := open(t, file)
	if _, _, err := Rotate(file, time.Hour, false, now.Add(time.Minute)); err == nil || !strings.Contains(err.Error(), "wait") {
		t.Errorf("a fifth signature: %v", err)
	}
	if r := open(t, file); r.Key.Public() != before.Key.Public() || len(r.Retired) != maxRetired {
		t.Error("a refused rotation changed something")
	}
	rotate(t, file, time.Hour, false, now.Add(time.Hour))
}

// A rotation that dies leaves one of the two keys in the file, and can be done
// again.
func TestInterrupted(t *testing.T) {
	file, one := made(t)
	if err := os.WriteFile(file+".next", []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, name(file, now, now.Add(time.Hour), false)); err != nil {
		t.Fatal(err)
	}
	if r := open(t, file); r.Key.Public() != one || len(r.Retired) != 0 {
		t.Errorf("before the new key is in place there are %d old ones", len(r.Retired))
	}
	two, _ := rotate(t, file, time.Hour, false, now.Add(time.Second))
	if r := open(t, file); r.Key.Public() != two || len(r.Retired) != 1 || r.Retired[0].Key.Public() != one {
		t.Errorf("after it was done again: %v, %d old ones", r.Key, len(r.Retired))
	}
	if _, err := os.Stat(file + ".next"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the prepared key is still there: %v", err)
	}
}

func TestRefused(t *testing.T) {
	file, one := made(t)
	if _, err := Create(file); !errors.Is(err, os.ErrExist) {
		t.Errorf("a key was overwritten: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	held, err := lockNext(file + ".next")
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"a link":          second(Rotate(link, time.Hour, false, now)),
		"nothing":         second(Rotate(file+"x", time.Hour, false, now)),
		"a short overlap": second(Rotate(file, MinOverlap-1, false, now)),
		"a long overlap":  second(Rotate(file, MaxOverlap+1, false, now)),
		"two at a time":   second(Rotate(file, time.Hour, false, now)),
	} {
		if err == nil {
			t.Errorf("%s: a rotation was done", what)
		}
	}
	if err := errors.Join(unix.Flock(int(held.Fd()), unix.LOCK_UN), held.Close(), os.Remove(held.Name())); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := second(Rotate(file, time.Hour, false, now)); err == nil {
		t.Error("a key that others can read was rotated")
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := open(t, file); r.Key.Public() != one || len(r.Retired) != 0 {
		t.Error("something that was refused changed the ring")
	}
	if names := Files(file); len(names) != 1 {
		t.Errorf("files left behind: %v", names)
	}
}

func second(_ iatp.Key, _ Retired, err error) error { return err }

// FuzzParseName: what is taken for an old key has exactly the name that it would
// be given.
func FuzzParseName(f *testing.F) {
	f.Add("agent.key.20261114T100000Z-20261114T110000Z")
	f.Add("agent.key.20261114T100000Z-20261114T110000Z.revoked")
	f.Add("agent.key.bak")
	f.Fuzz(func(t *testing.T, path string) {
		k, ok := parseName("agent.key", path)
		if ok && (name("agent.key", k.From, k.Until, k.Revoked) != path || !k.Until.After(k.From)) {
			t.Errorf("%q was taken for %+v", path, k)
		}
	})
}
