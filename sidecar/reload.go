package sidecar

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp/internal/handshake"
	"github.com/inter-agent-trust/iatp/internal/keyring"
)

// reloaded are the keys of the configuration that take effect at run time.
var reloaded = map[string]bool{
	"manifest": true, "compensation": true, "check": true, "allow_unbacked_claims": true, "policy": true, "privacy": true, "require": true,
	"key": true, "tls": true, "peers": true, "default_peer": true, "authorities": true, "revoked_keys": true, "ingress": true,
}

// Reload reads the files that cfg names and takes what changed: manifest, rules,
// keys, certificates, peers and authorities, all of it or nothing. What else
// changed in cfg needs a restart; its names are returned.
func (s *Sidecar) Reload(cfg Config) (needRestart []string, err error) {
	s.reload.Lock()
	defer s.reload.Unlock()
	defer func() {
		result := "done"
		if err != nil {
			result = "refused"
		}
		s.metrics.reloads.WithLabelValues(result).Inc()
	}()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	next, needRestart := s.cfg.taking(&cfg)
	if err := next.Validate(); err != nil {
		return nil, fmt.Errorf("without a restart, which %s needs: %w", strings.Join(needRestart, ", "), err)
	}
	seen := next.stamps() // before they are read: what changes from here on is seen
	p, err := s.prepare(&next)
	if err != nil {
		return nil, err
	}
	s.take(p)
	s.seen.Store(&seen)
	return needRestart, nil
}

// taking is c with what other sets and can be taken at run time, and the names of
// what cannot.
func (c *Config) taking(other *Config) (next Config, needRestart []string) {
	next = *c
	to, from := reflect.ValueOf(&next).Elem(), reflect.ValueOf(other).Elem()
	for i := range to.NumField() {
		key := to.Type().Field(i).Tag.Get("yaml")
		if reflect.DeepEqual(to.Field(i).Interface(), from.Field(i).Interface()) {
			continue
		}
		if !reloaded[key] || key == "tls" && (c.TLS.Cert == "") != (other.TLS.Cert == "") {
			needRestart = append(needRestart, key)
			continue
		}
		to.Field(i).Set(from.Field(i))
	}
	return next, needRestart
}

// prepared is everything that a reload replaces, complete.
type prepared struct {
	active *Config
	st     *standing
	certs  *certificates
	peers  *handshake.Peers // nil without public_url
}

// prepare reads it all. Nothing of it is in force yet; what it leaves behind when
// it fails is at most a signed manifest that will be used when the rest is right.
func (s *Sidecar) prepare(next *Config) (*prepared, error) {
	p := &prepared{active: next}
	st, err := next.load()
	if err != nil {
		return nil, err
	}
	if p.certs, err = next.loadCertificates(); err != nil {
		return nil, err
	}
	if s.mesh != nil {
		opts, err := next.handshakeOptions()
		if err != nil {
			return nil, err
		}
		opts.ClientCertificate = s.clientCertificate
		if p.peers, err = s.mesh.peers().With(opts); err != nil {
			return nil, err
		}
	}
	if p.st, err = s.published(st, next); err != nil {
		return nil, err
	}
	return p, s.kept.Keep(p.st.manifest)
}

// take puts what was prepared in force.
func (s *Sidecar) take(p *prepared) {
	sameFace := s.certs.Swap(p.certs).shows(p.certs)
	before := s.standing.Swap(p.st)
	s.active.Store(p.active)
	if s.mesh != nil {
		s.takePeers(p, sameFace)
		s.sayKeyChange(before.keys, p.st.keys)
	}
	s.log.Info("reloaded manifest, rules, keys, certificates and peers", "score", p.st.assessment.Score, "manifest", p.st.digest, "rules", p.st.rules.Digest())
}

// sayKeyChange tells the operator that we sign with another key now.
func (s *Sidecar) sayKeyChange(before, now *keys) {
	old := before.key.Public()
	if now.key.Public() == old {
		return
	}
	if _, stands := now.ring.Find(old, s.now()); !stands {
		s.log.Warn("the agent key is another one, and the old one does not vouch for it: peers that know us will not believe it; iatp keygen --rotate changes keys with an overlap",
			"jkt", now.key.Thumbprint(), "before", old.Thumbprint())
		return
	}
	s.log.Info("the agent key was changed", "jkt", now.key.Thumbprint(), "before", old.Thumbprint())
}

func (s *Sidecar) takePeers(p *prepared, sameFace bool) {
	if before := s.mesh.known.Swap(p.peers); before != p.peers {
		p.peers.Succeed(before)
	}
	if !sameFace {
		p.peers.Reconnect()
	}
}

// watchInterval is how often files are looked at.
const watchInterval = time.Second

// watchFiles reloads when a file that the configuration names changed, or an old
// key has come to an end, until ctx ends. What does not load leaves everything as
// it was, and is said once.
func (s *Sidecar) watchFiles(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c := s.active.Load()
		now := c.stamps()
		if k := s.standing.Load().keys; k != nil && k.due(s.now()) {
			now[""] = stamp{} // as if a file had changed
		}
		if reflect.DeepEqual(now, *s.seen.Load()) {
			continue
		}
		s.seen.Store(&now)
		if _, err := s.Reload(*c); err != nil {
			s.log.Error("a changed file does not load; what was in force stays in force", "error", err)
		}
	}
}

// stamp is what changes when somebody writes a file.
type stamp struct {
	mod  time.Time
	size int64
}

// stamps says of each file that a reload would read what it looks like.
func (c *Config) stamps() map[string]stamp {
	out := make(map[string]stamp)
	for _, path := range c.files() {
		if info, err := os.Stat(path); err == nil {
			out[path] = stamp{info.ModTime(), info.Size()}
		} else {
			out[path] = stamp{}
		}
	}
	return out
}

// files are those that a reload reads.
func (c *Config) files() []string {
	list := append([]string{c.Manifest, c.TLS.Cert, c.TLS.Key, c.TLS.ClientCA, c.TLS.ClientCert, c.TLS.ClientKey, c.Privacy.Allow.Key}, c.Policy...)
	for _, p := range c.Peers {
		list = append(list, p.CA)
	}
	if c.Key != "" {
		list = append(list, keyring.Files(c.Key)...)
	}
	return slices.DeleteFunc(list, func(path string) bool { return path == "" })
}
