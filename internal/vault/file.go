package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/inter-agent-trust/iatp/flight"
)

// sealedFile is one file of a vault and its key.
type sealedFile struct {
	number int64

	mu      sync.Mutex
	turned  sync.Cond // synced, syncing or err changed
	f       *os.File  // nil until it is needed
	wrap    cipher.AEAD
	size    int64 // written
	synced  int64 // on the disk
	syncing bool
	err     error // of a write or a sync: final for this file
}

func newSealedFile(number int64) *sealedFile {
	s := &sealedFile{number: number}
	s.turned.L = &s.mu
	return s
}

// magic begins a file.
func (v *Vault) magic() string { return "iatp-" + v.opt.Kind + "s v1\n" }

// open opens the file and its key, and makes both if create is set.
func (s *sealedFile) open(v *Vault, create bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f != nil {
		return nil
	}
	key, err := os.ReadFile(v.keyPath(s.number))
	if create && errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(v.keyPath(s.number))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err != nil {
		return err
	}
	if len(key) != 32 || [32]byte(key) == ([32]byte{}) {
		return fmt.Errorf("%w: %s was erased", ErrGone, v.keyPath(s.number))
	}
	if s.wrap, err = newWrap(key); err != nil {
		return err
	}
	return s.openData(v)
}

func (s *sealedFile) openData(v *Vault) error {
	path, sealedMagic := v.path(s.number), v.magic()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	magic := make([]byte, len(sealedMagic))
	switch n, readErr := f.ReadAt(magic, 0); {
	case readErr != nil && readErr != io.EOF:
		err = readErr
	case n < len(magic): // new, or made by a process that died here
		_, err = f.WriteAt([]byte(sealedMagic), 0)
		err = errors.Join(err, f.Sync(), syncDir(filepath.Dir(path)))
	case string(magic) != sealedMagic:
		err = fmt.Errorf("%w: %s is not of version 1: it does not begin with %q", ErrGone, path, sealedMagic)
	}
	info, statErr := f.Stat()
	if err = errors.Join(err, statErr); err != nil {
		return errors.Join(err, f.Close())
	}
	s.f, s.size, s.synced = f, info.Size(), info.Size()
	return nil
}

// newWrap returns the cipher that wraps the keys of pieces.
func newWrap(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// newSeal returns the cipher for the one piece that a key is made for, and its
// nonce, which is fixed for that reason.
func newSeal(key []byte) (cipher.AEAD, []byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, err
	}
	return gcm, make([]byte, gcm.NonceSize()), nil
}

// bound is what a piece is bound to: its kind, its file and what it is for.
func (s *sealedFile) bound(v *Vault, claim flight.Alias) []byte {
	b := append(make([]byte, 0, 64), "iatp "+v.opt.Kind+" v1"...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.number))
	return append(b, claim[:]...)
}

// append seals plain and writes it.
func (s *sealedFile) append(v *Vault, plain []byte, claim flight.Alias) (flight.Place, error) {
	var key [32]byte
	rand.Read(key[:]) // never fails: it ends the program instead
	seal, nonce, err := newSeal(key[:])
	if err != nil {
		return flight.Place{}, err
	}
	bound := s.bound(v, claim)
	b := make([]byte, 0, wrappedSize+len(plain)+tagSize)
	b = s.wrap.Seal(b, nil, key[:], bound)
	b = seal.Seal(b, nonce, plain, bound)
	clear(key[:])

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return flight.Place{}, s.err
	}
	place := flight.Place{File: s.number, At: s.size, Size: int64(len(b))}
	if _, err := s.f.WriteAt(b, place.At); err != nil {
		s.err = err
		return flight.Place{}, err
	}
	s.size += place.Size
	return place, nil
}

// sync returns when the file is on the disk up to end.
func (s *sealedFile) sync(end int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.awaitSynced(end)
}

// awaitSynced returns when the file is on the disk up to end. Whoever finds
// nobody syncing does it for all that have written by then; he steps aside first, for
// those that can run are about to write theirs, and alone that costs next to nothing.
// An error is final:
// after it nobody knows what the disk holds, and a second sync may report a
// success that never was. It needs mu.
func (s *sealedFile) awaitSynced(end int64) error {
	for s.synced < end && s.err == nil {
		if s.syncing {
			s.turned.Wait()
			continue
		}
		s.syncing = true
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
		mark := s.size
		s.mu.Unlock()
		err := s.f.Sync()
		s.mu.Lock()
		s.syncing = false
		if err != nil {
			s.err = err
		} else {
			s.synced = mark
		}
		s.turned.Broadcast()
	}
	return s.err
}

// read opens what was sealed for a claim at a place.
func (s *sealedFile) read(v *Vault, p flight.Place, claim flight.Alias) ([]byte, error) {
	s.mu.Lock()
	size := s.size
	s.mu.Unlock()
	if p.At < 0 || p.Size < wrappedSize+tagSize || p.Size > size-p.At {
		return nil, fmt.Errorf("%w: the file is shorter", ErrGone)
	}
	b := make([]byte, p.Size)
	if _, err := s.f.ReadAt(b, p.At); err != nil {
		return nil, err
	}
	bound := s.bound(v, claim)
	key, err := s.wrap.Open(nil, nil, b[:wrappedSize], bound)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	defer clear(key)
	seal, nonce, err := newSeal(key)
	if err != nil {
		return nil, err
	}
	plain, err := seal.Open(b[wrappedSize:wrappedSize], nonce, b[wrappedSize:], bound)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	return plain, nil
}

// erase overwrites the key and removes both files. It returns the size of
// the file.
func (s *sealedFile) erase(v *Vault) (freed int64, err error) {
	if info, err := os.Stat(v.path(s.number)); err == nil {
		freed = info.Size()
	}
	if err := s.close(); err != nil {
		return 0, err
	}
	if err := overwrite(v.keyPath(s.number)); err != nil {
		return 0, err
	}
	for _, path := range []string{v.keyPath(s.number), v.path(s.number)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	return freed, errors.Join(syncDir(v.opt.Keys), syncDir(v.opt.Dir))
}

// overwrite puts zeros where a key was.
func overwrite(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, 32), 0)
	return errors.Join(err, f.Sync(), f.Close())
}

func (s *sealedFile) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}

// makeKey writes a new key: whole or not at all.
func makeKey(path string) ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key)
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, err
	}
	return key, syncDir(filepath.Dir(path))
}

// syncDir makes new and removed names in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
