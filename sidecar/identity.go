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
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/bundle"
	"github.com/inter-agent-trust/iatp/internal/keyring"
)

// identity is what we are to other sidecars, for as long as the process runs. The
// keys are in the standing: they change with the manifest that names them.
type identity struct {
	url  string // public_url
	host string // of it
}

func (c *Config) identity() *identity {
	id := &identity{url: c.PublicURL}
	if u, err := url.Parse(c.PublicURL); err == nil {
		id.host = u.Host
	}
	return id
}

// keys are what we sign with and what we publish, at one moment.
type keys struct {
	ring      *keyring.Ring
	key       iatp.PrivateKey // signs requests and receipts: that of the manifest
	directory []byte          // as served
	next      time.Time       // when the ring will say something else; zero is never
}

// due reports whether the ring says something else by now.
func (k *keys) due(now time.Time) bool { return !k.next.IsZero() && !now.Before(k.next) }

// loadKeys reads the agent key and those before it; nil without one.
func (c *Config) loadKeys(now time.Time) (*keys, error) {
	if c.Key == "" {
		return nil, nil
	}
	ring, err := keyring.Open(c.Key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	k := &keys{ring: ring, key: ring.Key}
	k.next, _ = ring.Next(now)
	set, err := ring.Directory(now)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	k.directory, err = json.Marshal(set)
	return k, err
}

// of signs with the key that a manifest names, which may be an old one if
// somebody else signed the document.
func (k *keys) of(m *iatp.Manifest, now time.Time) error {
	own, ok := m.VerificationKey()
	if ok {
		k.key, ok = k.ring.Find(own, now)
	}
	if !ok {
		return errors.New("the manifest is signed for another key than that of key: sign it again (iatp manifest sign), or leave the signing to the sidecar")
	}
	return nil
}

// freshFile is how old the operator's manifest may be for its time to be that of the
// first document that is signed for it: nobody has served it from another data directory
// so soon.
const freshFile = time.Minute

// publish completes and signs the operator's manifest, so that peers can verify
// it. A document that is signed already is served as it is. What we signed is
// kept in the data directory, and made again only when what it says changes: a
// new updated_at means a new document to every peer. Where only the keys that
// sign beside ours change, the document stays the same and is signed again.
func (id *identity) publish(m *iatp.Manifest, k *keys, data, logKey string, written, now time.Time) (*iatp.Manifest, error) {
	if len(m.Signatures) > 0 {
		return m, k.of(m, now)
	}
	source := id.source(m, k.ring, logKey)
	docPath, sourcePath := filepath.Join(data, "manifest.json"), filepath.Join(data, "manifest.source")
	before, _ := bundle.OwnManifest(data)
	signers := k.ring.Signers(now)
	if kept, err := os.ReadFile(sourcePath); err == nil && string(kept) == source && before != nil {
		if signed, err := before.VerifySignature(publicKeys(k.ring)...); err == nil && len(signed) > 0 {
			if slices.Equal(signed, publicHalves(signers)) {
				return before, nil
			}
			doc, err := iatp.SignManifest(before.Bytes(), signers...)
			if err != nil {
				return nil, err
			}
			return keep(doc, source, docPath, sourcePath)
		}
	}
	if written.After(now) || before == nil && now.Sub(written) > freshFile {
		// In a new data directory the log, and so the document, is another one, and
		// peers may know the one of the file's time (decision 0046).
		written = now
	}
	if before != nil && !before.UpdatedAt.Before(written.Truncate(time.Second)) {
		// Peers refuse a roll-back, and two documents of one second. They let
		// clocks differ by more than the changes that one second sees.
		written = before.UpdatedAt.Add(time.Second)
	}
	doc, err := id.complete(m, k.ring, signers, logKey, written)
	if err != nil {
		return nil, err
	}
	return keep(doc, source, docPath, sourcePath)
}

// keep writes a signed document down, and then what it was made from.
func keep(doc []byte, source, docPath, sourcePath string) (*iatp.Manifest, error) {
	signed, err := iatp.ParseManifest(doc)
	if err != nil {
		return nil, fmt.Errorf("complete the manifest: %w", err)
	}
	if err := writeDurably(docPath, doc); err != nil {
		return nil, err
	}
	return signed, writeDurably(sourcePath, []byte(source))
}

func publicHalves(signers []iatp.PrivateKey) []iatp.Key {
	out := make([]iatp.Key, len(signers))
	for i, k := range signers {
		out[i] = k.Public()
	}
	return out
}

// publicKeys are all keys of the ring, those too that have ended.
func publicKeys(r *keyring.Ring) []iatp.Key {
	out := []iatp.Key{r.Key.Public()}
	for _, k := range r.Retired {
		out = append(out, k.Key.Public())
	}
	return out
}

// published is st with the keys, and with the manifest that peers get, if there
// are any to be.
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
	k, err := c.loadKeys(s.now())
	if err != nil {
		return nil, err
	}
	m, err := s.mesh.self.publish(st.manifest, k, s.cfg.Data, logKey, written, s.now())
	if err != nil {
		return nil, err
	}
	out := *st
	out.drawn = new(drawn)
	out.keys, out.manifest, out.etag = k, m, entityTag(m.Bytes())
	if out.digest, err = m.Digest(); err != nil {
		return nil, err
	}
	out.mft, err = iatp.ParseContentDigest(out.digest)
	return &out, err
}

// source names what the signed document says, apart from when.
func (id *identity) source(m *iatp.Manifest, r *keyring.Ring, logKey string) string {
	h := sha256.New()
	parts := []string{string(m.Bytes()), r.Key.Public().String(), id.url, logKey}
	for _, k := range r.Revoked() {
		parts = append(parts, k.KeyID)
	}
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)) + "\n"
}

// complete adds what only the running sidecar knows, and signs.
func (id *identity) complete(m *iatp.Manifest, r *keyring.Ring, signers []iatp.PrivateKey, logKey string, written time.Time) ([]byte, error) {
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
	who["uri"], who["verification_key"], who["log"] = id.url, r.Key.Public().String(), logKey
	revoke(doc, r.Revoked())
	doc["updated_at"] = written.UTC().Truncate(time.Second).Format(time.RFC3339)
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return iatp.SignManifest(text, signers...)
}

// revoke adds keys to those that the operator's document revokes.
func revoke(doc map[string]any, keys []iatp.RevokedKey) {
	list, _ := doc["revoked_keys"].([]any)
	for _, k := range keys {
		list = append(list, map[string]any{"kid": k.KeyID, "at": k.At.UTC().Format(time.RFC3339)})
	}
	if len(list) > 0 {
		doc["revoked_keys"] = list
	}
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
