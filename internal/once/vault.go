package once

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

// A vault keeps sealed answers on disk, one file for each hour. An answer is
// sealed under a key of its own (AES-256-GCM), which is wrapped under the key
// of the hour; that one lies in another directory. When the last answer of an
// hour has expired its key is overwritten, and with it every copy of the file
// is worth nothing: an answer is unreadable at most an hour after its time.
//
//	DATA/answers/498514.sealed      the magic, then sealed answers
//	DATA/answer-keys/498514         32 random bytes
//
// A sealed answer is the wrapped key (nonce, key, tag), then the encoded answer
// and its tag. Both are bound to the file and the claim.
type vault struct {
	answers, keys string // directories
	max           int64  // bytes
	now           func() time.Time
	logger        *slog.Logger

	mu    sync.Mutex
	files map[int64]*sealedFile
	pins  map[int64]int // records and calls that need a file
	bytes int64         // in all files
}

const (
	wrappedSize = 12 + 32 + 16
	tagSize     = 16
)

func openVault(data string, o Options) (*vault, error) {
	v := &vault{
		answers: filepath.Join(data, "answers"), keys: filepath.Join(data, "answer-keys"),
		max: o.MaxBytes, now: o.Now, logger: o.Logger,
		files: make(map[int64]*sealedFile), pins: make(map[int64]int),
	}
	for _, dir := range []string{v.answers, v.keys} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	return v, errors.Join(v.scan(v.answers, ".sealed"), v.scan(v.keys, ""))
}

// scan finds the files of a directory. Those without their other half are the
// work of a crash; they are erased with the first sweep, as nobody needs them.
func (v *vault) scan(dir, suffix string) error {
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

func (v *vault) path(number int64) string {
	return filepath.Join(v.answers, strconv.FormatInt(number, 10)+".sealed")
}

func (v *vault) keyPath(number int64) string {
	return filepath.Join(v.keys, strconv.FormatInt(number, 10))
}

// pin keeps the file of a place; unpin lets it go. No place, no file.
func (v *vault) pin(p flight.Place) { v.count(p, 1) }

func (v *vault) unpin(p flight.Place) { v.count(p, -1) }

func (v *vault) count(p flight.Place, n int) {
	if p == (flight.Place{}) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pins[p.File] += n; v.pins[p.File] == 0 {
		delete(v.pins, p.File)
	}
}

// put seals an answer for a claim. When put returns without an error it is on
// the disk, and its file is pinned.
func (v *vault) put(a Answer, claim flight.Alias) (flight.Place, error) {
	f, err := v.current()
	if err != nil {
		return flight.Place{}, err
	}
	plain := a.encode()
	if len(a.Body) > 0 && v.full(len(plain)) {
		a.Body, a.Dropped = nil, true
		plain = a.encode()
	}
	place, err := f.append(plain, claim)
	if err != nil {
		v.unpin(flight.Place{File: f.number})
		return flight.Place{}, fmt.Errorf("write %s: %w", v.path(f.number), err)
	}
	v.mu.Lock()
	v.bytes += place.Size
	v.mu.Unlock()
	return place, nil
}

func (v *vault) full(more int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bytes+int64(more) > v.max
}

// current returns the file of this hour, open and pinned.
func (v *vault) current() (*sealedFile, error) {
	number := v.now().Unix() / 3600
	v.mu.Lock()
	f := v.files[number]
	if f == nil {
		f = newSealedFile(number)
		v.files[number] = f
	}
	v.pins[number]++
	v.mu.Unlock()
	if err := f.open(v, true); err != nil {
		v.unpin(flight.Place{File: number})
		return nil, err
	}
	return f, nil
}

// get opens the answer at a place, which the caller has pinned.
func (v *vault) get(p flight.Place, claim flight.Alias) (Answer, error) {
	v.mu.Lock()
	f := v.files[p.File]
	v.mu.Unlock()
	if f == nil {
		return Answer{}, fmt.Errorf("%s is missing", v.path(p.File))
	}
	if err := f.open(v, false); err != nil {
		return Answer{}, err
	}
	plain, err := f.read(p, claim)
	if err != nil {
		return Answer{}, fmt.Errorf("read %s: %w", v.path(p.File), err)
	}
	return decodeAnswer(plain)
}

// sweep erases the files that nobody needs. What cannot be erased is tried
// again with the next sweep.
func (v *vault) sweep() {
	hour := v.now().Unix() / 3600
	v.mu.Lock()
	defer v.mu.Unlock()
	for number, f := range v.files {
		if v.pins[number] > 0 || number == hour {
			continue
		}
		freed, err := f.erase(v)
		if err != nil {
			v.logger.Error("expired answers cannot be erased", "file", v.path(number), "error", err)
			continue
		}
		v.bytes -= freed
		delete(v.files, number)
	}
}

// close closes the files. What was put is on the disk already.
func (v *vault) close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	for _, f := range v.files {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}
