package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// maxManifests bounds the manifests that are kept, at most 64 KiB each. Beyond it
// the one that was used longest ago makes room.
const maxManifests = 1024

const (
	tempPrefix     = "new-"
	manifestSuffix = ".json"
)

// Manifests keep the manifests that records name, in DATA/manifests, one file
// each by its digest: what somebody promised then can still be shown when he
// promises something else. They are public, so nothing is sealed. Its methods are safe
// for concurrent use.
type Manifests struct {
	dir string

	mu   sync.Mutex
	used map[string]time.Time // by name
}

// OpenManifests makes the directory and looks what is there.
func OpenManifests(data string) (*Manifests, error) {
	m := &Manifests{dir: manifestsIn(data), used: map[string]time.Time{}}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) { // a crash left it half written
			_ = os.Remove(filepath.Join(m.dir, e.Name()))
		}
		name, ok := strings.CutSuffix(e.Name(), manifestSuffix)
		if info, err := e.Info(); ok && err == nil {
			m.used[name] = info.ModTime()
		}
	}
	return m, nil
}

func manifestsIn(data string) string { return filepath.Join(data, "manifests") }

// Keep keeps a manifest. When Keep returns without an error it is on the disk.
func (m *Manifests) Keep(doc *iatp.Manifest) error {
	text, err := doc.Digest()
	if err != nil {
		return err
	}
	digest, err := iatp.ParseContentDigest(text)
	if err != nil {
		return err
	}
	name := digest.Base64URL()
	m.mu.Lock()
	defer m.mu.Unlock()
	_, have := m.used[name]
	m.used[name] = time.Now()
	if have {
		return nil
	}
	if err := m.write(name, doc.Bytes()); err != nil {
		delete(m.used, name)
		return fmt.Errorf("keep manifest: %w", err)
	}
	m.evict()
	return nil
}

func (m *Manifests) path(name string) string { return filepath.Join(m.dir, name+manifestSuffix) }

// write writes a file whole or not at all.
func (m *Manifests) write(name string, doc []byte) error {
	f, err := os.CreateTemp(m.dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // which does nothing after the rename
	_, err = f.Write(doc)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), m.path(name)); err != nil {
		return err
	}
	dir, err := os.Open(m.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// evict forgets what was used longest ago. It needs mu.
func (m *Manifests) evict() {
	for len(m.used) > maxManifests {
		oldest := ""
		for name, at := range m.used {
			if oldest == "" || at.Before(m.used[oldest]) {
				oldest = name
			}
		}
		delete(m.used, oldest)
		_ = os.Remove(m.path(oldest)) // what stays behind is forgotten at the next start
	}
}

// kept reads the manifest with that name, which begins with its digest. A damaged one
// is as one that is missing: what it was for will say so.
func kept(data, name string) *iatp.Manifest {
	m, _ := readManifest(filepath.Join(manifestsIn(data), name))
	return m
}

// keptNames lists the manifests that are kept, with the suffix of their files.
func keptNames(data string) ([]string, error) {
	entries, err := os.ReadDir(manifestsIn(data))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	var all []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), manifestSuffix) {
			all = append(all, e.Name())
		}
	}
	return all, nil
}

// OwnManifest reads the manifest that a sidecar publishes, from its data directory.
func OwnManifest(data string) (*iatp.Manifest, error) {
	return readManifest(filepath.Join(data, "manifest.json"))
}

func readManifest(path string) (*iatp.Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, iatp.MaxManifestSize+1)) // more is refused
	if err != nil {
		return nil, err
	}
	return iatp.ParseManifest(text)
}
