package sidecar

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// identity is what we are to other sidecars; nil without a key.
type identity struct {
	key       iatp.PrivateKey
	url       string // public_url
	host      string // of it
	keys      iatp.KeySet
	directory []byte // keys as served
}

// loadIdentity reads the agent key.
func (c *Config) loadIdentity() (*identity, error) {
	if c.Key == "" {
		return nil, nil
	}
	text, err := readPrivate(c.Key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	id := &identity{url: c.PublicURL}
	if id.key, err = iatp.ParsePrivateKey(text); err != nil {
		return nil, fmt.Errorf("key %s: %w", c.Key, err)
	}
	if u, err := url.Parse(c.PublicURL); err == nil {
		id.host = u.Host
	}
	if id.keys, err = iatp.NewKeySet(iatp.DirectoryKey{Key: id.key.Public()}); err != nil {
		return nil, err
	}
	id.directory, err = json.Marshal(id.keys)
	return id, err
}

// readPrivate reads a file that only its owner may read.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	return os.ReadFile(path)
}

// publish completes and signs the operator's manifest, so that peers can verify
// it. A document that is signed already is served as it is. What we signed is
// kept in the data directory, and signed again only when the file, the key or
// public_url changed: a new updated_at means a new document to every peer.
func (id *identity) publish(m *iatp.Manifest, data, logKey string, written, now time.Time) (*iatp.Manifest, error) {
	if id == nil || id.url == "" || len(m.Signatures) > 0 {
		return m, nil
	}
	source := id.source(m, logKey)
	docPath, sourcePath := filepath.Join(data, "manifest.json"), filepath.Join(data, "manifest.source")
	before, _ := readManifest(docPath)
	if kept, err := os.ReadFile(sourcePath); err == nil && string(kept) == source && before != nil {
		if _, err := before.VerifySignature(); err == nil {
			return before, nil
		}
	}
	if written.After(now) {
		written = now
	}
	if before != nil && !before.UpdatedAt.Before(written.Truncate(time.Second)) {
		// Peers refuse a roll-back, and two documents of one second. They let
		// clocks differ by more than the changes that one second sees.
		written = before.UpdatedAt.Add(time.Second)
	}
	doc, err := id.complete(m, logKey, written)
	if err != nil {
		return nil, err
	}
	signed, err := iatp.ParseManifest(doc)
	if err != nil {
		return nil, fmt.Errorf("complete the manifest: %w", err)
	}
	return signed, errors.Join(writeDurably(docPath, doc), writeDurably(sourcePath, []byte(source)))
}

// published is st with the manifest that peers get, if there are any to be.
func (s *Sidecar) published(st *standing, c *Config) (*standing, error) {
	if s.mesh == nil {
		return st, nil
	}
	logKey, err := s.logKey()
	if err != nil {
		return nil, err
	}
	written := s.now()
	if info, err := os.Stat(c.Manifest); err == nil {
		written = info.ModTime()
	}
	m, err := s.mesh.self.publish(st.manifest, s.cfg.Data, logKey, written, s.now())
	if err != nil || m == st.manifest {
		return st, err
	}
	out := *st
	out.manifest, out.etag = m, entityTag(m.Bytes())
	if out.digest, err = m.Digest(); err != nil {
		return nil, err
	}
	out.mft, err = iatp.ParseContentDigest(out.digest)
	return &out, err
}

// source names what the signed document was made from.
func (id *identity) source(m *iatp.Manifest, logKey string) string {
	h := sha256.New()
	for _, part := range []string{string(m.Bytes()), id.key.Public().String(), id.url, logKey} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)) + "\n"
}

// complete adds what only the running sidecar knows, and signs.
func (id *identity) complete(m *iatp.Manifest, logKey string, written time.Time) ([]byte, error) {
	var doc map[string]any
	dec := json.NewDecoder(bytes.NewReader(m.Bytes()))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	who, _ := doc["identity"].(map[string]any)
	if uri, ok := who["uri"].(string); ok && uri != id.url {
		return nil, fmt.Errorf("identity.uri is %s, but public_url is %s: make them equal, or leave identity.uri out", iatp.Printable(uri), id.url)
	}
	who["uri"], who["verification_key"], who["log"] = id.url, id.key.Public().String(), logKey
	doc["updated_at"] = written.UTC().Truncate(time.Second).Format(time.RFC3339)
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return iatp.SignManifest(text, id.key)
}

func readManifest(path string) (*iatp.Manifest, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return iatp.ParseManifest(data)
}

// writeDurably replaces a file: whole and on disk, or as it was.
func writeDurably(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// logKey is the public key of our flight recorder, as manifests name it.
func (s *Sidecar) logKey() (string, error) {
	b, err := os.ReadFile(filepath.Join(s.cfg.Data, "log.vkey"))
	return strings.TrimSpace(string(b)), err
}
