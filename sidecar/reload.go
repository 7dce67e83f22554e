package sidecar

import (
	"context"
	"os"
	"reflect"
	"time"
)

// watchInterval is how often policy and manifest files are looked at.
const watchInterval = time.Second

// watchFiles reloads when a policy or manifest file changed, until ctx ends. A
// file that does not load leaves everything as it was, and is said once.
func (s *Sidecar) watchFiles(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	seen := s.stamps()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.stamps()
		if reflect.DeepEqual(now, seen) {
			continue
		}
		seen = now
		if _, err := s.Reload(*s.active.Load()); err != nil {
			s.log.Error("a changed file does not load; the old manifest and rules stay in force", "error", err)
		}
	}
}

// stamp is what changes when somebody writes a file.
type stamp struct {
	mod  time.Time
	size int64
}

func (s *Sidecar) stamps() map[string]stamp {
	c := s.active.Load()
	out := make(map[string]stamp)
	for _, path := range append([]string{c.Manifest}, c.Policy...) {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err == nil {
			out[path] = stamp{info.ModTime(), info.Size()}
		} else {
			out[path] = stamp{}
		}
	}
	return out
}

// fixedKeys names the keys of the configuration that differ between c and
// other and take effect only at start.
func (c *Config) fixedKeys(other *Config) []string {
	var names []string
	a, b := reflect.ValueOf(*c), reflect.ValueOf(*other)
	for i := range a.NumField() {
		key := a.Type().Field(i).Tag.Get("yaml")
		switch key {
		case "manifest", "policy", "require", "privacy", "compensation", "allow_unbacked_claims":
			continue // these are what Reload takes
		}
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			names = append(names, key)
		}
	}
	return names
}
