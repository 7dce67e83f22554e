// Package vault keeps what must be read again and must not lie about: answers
// for repetitions, and what an undo needs. It is sealed on disk, one file for each
// hour. A piece is sealed under a key of its own (AES-256-GCM), which is wrapped
// under the key of the hour; that one lies in another directory. When nobody needs
// a file any more its key is overwritten, and with it every copy of the file is
// worth nothing: a piece is unreadable at most an hour after its time.
//
//	DATA/answers/498514.sealed      the magic, then sealed pieces
//	DATA/answer-keys/498514         32 random bytes
//
// A sealed piece is the wrapped key (nonce, key, tag), then the piece and its tag.
// Both are bound to the file and to what they are for.
package vault

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
)

// Options are what Open needs; all are required.
type Options struct {
	Dir, Keys string // directories for the files and for their keys
	Kind      string // what is kept, in one word: in the magic and in what is bound
	Max       int64  // bytes of all files
	Now       func() time.Time
	Logger    *slog.Logger
}

// Vault is a directory of sealed files; the zero Vault is none, and counts pins. Its methods are safe for concurrent use.
type Vault struct {
	opt Options

	mu    sync.Mutex
	files map[int64]*sealedFile
	pins  map[int64]int // who needs a file
	bytes int64         // in all files
}

const (
	wrappedSize = 12 + 32 + 16
	tagSize     = 16
)

// Open opens the vault, and makes its directories.
func Open(o Options) (*Vault, error) {
	v := &Vault{opt: o, files: make(map[int64]*sealedFile), pins: make(map[int64]int)}
	for _, dir := range []string{o.Dir, o.Keys} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	return v, errors.Join(v.scan(o.Dir, ".sealed"), v.scan(o.Keys, ""))
}

// scan finds the files of a directory. Those without their other half are the
// work of a crash; they are erased with the first sweep, as nobody needs them.
func (v *Vault) scan(dir, suffix string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		number, err := strconv.ParseInt(name, 10, 64)
		if !ok || err != nil || strconv.FormatInt(number, 10) != name {
			continue // not ours
		}
		if v.files[number] == nil {
			v.files[number] = newSealedFile(number)
		}
		if info, err := e.Info(); err == nil && suffix != "" {
			v.bytes += info.Size()
		}
	}
	return nil
}

func (v *Vault) path(number int64) string {
	return filepath.Join(v.opt.Dir, strconv.FormatInt(number, 10)+".sealed")
}

func (v *Vault) keyPath(number int64) string {
	return filepath.Join(v.opt.Keys, strconv.FormatInt(number, 10))
}

// Pin keeps the file of a place; Unpin lets it go. No place, no file.
func (v *Vault) Pin(p flight.Place) { v.count(p, 1) }

func (v *Vault) Unpin(p flight.Place) { v.count(p, -1) }

func (v *Vault) count(p flight.Place, n int) {
	if p == (flight.Place{}) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pins == nil {
		v.pins = make(map[int64]int)
	}
	if v.pins[p.File] += n; v.pins[p.File] == 0 {
		delete(v.pins, p.File)
	}
}

// Put seals a piece. When it returns without an error the piece is on the disk,
// and its file is pinned.
func (v *Vault) Put(plain []byte, bound flight.Alias) (flight.Place, error) {
	place, wait, err := v.Write(plain, bound)
	if err == nil {
		err = wait()
	}
	if err != nil {
		v.Unpin(place)
		return flight.Place{}, err
	}
	return place, nil
}

// Write is Put that leaves the wait for the disk to its caller: the piece is there
// for good once wait has returned nil. Its file is pinned unless err is not nil.
func (v *Vault) Write(plain []byte, bound flight.Alias) (place flight.Place, wait func() error, err error) {
	f, err := v.current()
	if err != nil {
		return flight.Place{}, nil, err
	}
	place, err = f.append(v, plain, bound)
	if err != nil {
		v.Unpin(flight.Place{File: f.number, Size: 1})
		return flight.Place{}, nil, fmt.Errorf("write %s: %w", v.path(f.number), err)
	}
	v.mu.Lock()
	v.bytes += place.Size
	v.mu.Unlock()
	return place, func() error {
		if err := f.sync(place.At + place.Size); err != nil {
			return fmt.Errorf("write %s: %w", v.path(f.number), err)
		}
		return nil
	}, nil
}

// Full reports whether there is no room for so many bytes more.
func (v *Vault) Full(more int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bytes+int64(more) > v.opt.Max
}

// Stats are figures for dashboards: files, bytes in them, files that are pinned.
func (v *Vault) Stats() (files int, bytes int64, pinned int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.files), v.bytes, len(v.pins)
}

// current returns the file of this hour, open and pinned.
func (v *Vault) current() (*sealedFile, error) {
	number := v.opt.Now().Unix() / 3600
	v.mu.Lock()
	f := v.files[number]
	if f == nil {
		f = newSealedFile(number)
		v.files[number] = f
	}
	v.pins[number]++
	v.mu.Unlock()
	if err := f.open(v, true); err != nil {
		v.Unpin(flight.Place{File: number, Size: 1})
		return nil, err
	}
	return f, nil
}

// ErrGone is what [Vault.Get] returns, wrapped, for a piece that nobody can read any more:
// it was erased, cut off or changed, or is of another claim. Any other error is of the disk,
// and may pass.
var ErrGone = errors.New("it is gone")

// Get opens the piece at a place, which the caller has pinned.
func (v *Vault) Get(p flight.Place, bound flight.Alias) ([]byte, error) {
	v.mu.Lock()
	f := v.files[p.File]
	v.mu.Unlock()
	if f == nil {
		return nil, fmt.Errorf("%w: %s is missing", ErrGone, v.path(p.File))
	}
	if err := f.open(v, false); err != nil {
		return nil, err
	}
	plain, err := f.read(v, p, bound)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", v.path(p.File), err)
	}
	return plain, nil
}

// Sweep erases the files that nobody needs. What cannot be erased is tried
// again with the next sweep.
func (v *Vault) Sweep() {
	hour := v.opt.Now().Unix() / 3600
	v.mu.Lock()
	defer v.mu.Unlock()
	for number, f := range v.files {
		if v.pins[number] > 0 || number == hour {
			continue
		}
		freed, err := f.erase(v)
		if err != nil {
			v.opt.Logger.Error("what has expired cannot be erased", "file", v.path(number), "error", err)
			continue
		}
		v.bytes -= freed
		delete(v.files, number)
	}
}

// Close closes the files. What was put is on the disk already.
func (v *Vault) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	for _, f := range v.files {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}
