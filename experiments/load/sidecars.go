package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Manifests of wrapped agents. The friend scores 10 and keeps data, so that
// payloads are recorded; the trap scores 0 and keeps what it gets for ever, so
// that plain calls are asked about and cards are refused; the busy one takes a
// single call at a time.
const (
	friend = `{"identity":{"agent_id":"friend"},"trust_level":"verified_partner","reversibility":{"level":"none"},"privacy":{"retention_policy":"temporary"}}`
	trap   = `{"identity":{"agent_id":"trap"},"trust_level":"untrusted","reversibility":{"level":"none"},"privacy":{"retention_policy":"permanent","human_in_loop":true,"training_consent":true}}`
	busy   = `{"identity":{"agent_id":"busy"},"trust_level":"verified_partner","capabilities":{"concurrency_limit":1},"reversibility":{"level":"none"},"privacy":{"retention_policy":"temporary"}}`
)

// sidecarTarget is a sidecar with more lines of configuration.
func sidecarTarget(config string) func(*yard, string) (*running, error) {
	return func(y *yard, dir string) (*running, error) {
		r := new(running)
		return r, y.sidecar(r, dir, friend, config)
	}
}

// sidecar starts one in dir. The last one that is started for a target is where
// its requests go.
func (y *yard) sidecar(r *running, dir, manifest, config string) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	r.addr = addr
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o600); err != nil {
		return err
	}
	file := filepath.Join(dir, "iatp.yaml")
	text := fmt.Sprintf("listen: %s\nagent: http://%s\nmanifest: manifest.json\ndata: data\n%s", addr, y.agent, config)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return y.run(r, dir, y.iatp, nil, "run", "--config", file)
}

// startPair starts two sidecars that know each other; requests go to the agent
// behind the second.
func startPair(y *yard, dir string) (*running, error) {
	r := &running{path: "/proxy/b"}
	var key, addr, home [2]string
	for i, name := range []string{"a", "b"} {
		home[i] = filepath.Join(dir, name)
		if err := os.MkdirAll(home[i], 0o700); err != nil {
			return nil, err
		}
		out, err := exec.CommandContext(y.ctx, y.iatp, "keygen", filepath.Join(home[i], "agent.key")).Output()
		if err != nil {
			return nil, fmt.Errorf("iatp keygen: %w", err)
		}
		key[i] = strings.TrimSpace(string(out))
		if addr[i], err = freeAddr(); err != nil {
			return nil, err
		}
	}
	for _, i := range []int{1, 0} { // the first takes the calls
		other := 1 - i
		config := fmt.Sprintf("key: agent.key\npublic: %s\npublic_url: http://%[1]s\npeers:\n  %s: {url: \"http://%s\", pin: %q, max_level: verified_partner}\n"+
			"limits:\n  per_peer: {rate: 1000000/1s, burst: 1000000}\n", addr[i], []string{"a", "b"}[other], addr[other], key[other])
		if err := y.sidecar(r, home[i], friend, config); err != nil {
			return nil, err
		}
		if err := r.answers(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// largeRules is how many rules the sidecar of startLarge has.
const largeRules = 200

// startLarge makes a long log by traffic, then starts a sidecar on it with many
// rules.
func startLarge(y *yard, dir string) (*running, error) {
	filler := new(running)
	if err := y.sidecar(filler, dir, friend, ""); err != nil {
		return nil, err
	}
	if err := filler.answers(); err != nil {
		return nil, err
	}
	if err := fill(filler.addr, y.large/2, cleanBody(200)); err != nil {
		return nil, err
	}
	filler.stop()
	var rules strings.Builder
	for i := range largeRules {
		fmt.Fprintf(&rules, "- name: Rule%d\n  action: deny\n  conditions:\n    agent_id: [\"agent-%[1]d\"]\n", i)
	}
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(rules.String()), 0o600); err != nil {
		return nil, err
	}
	r := new(running)
	return r, y.sidecar(r, dir, friend, "policy: [rules.yaml]\n")
}

// fill sends n requests with this body as fast as they go.
func fill(addr string, n int, body []byte) error {
	const conns = 64
	request := post(addr, "/proxy", body)
	errs := make([]error, conns)
	var all sync.WaitGroup
	for i := range conns {
		all.Go(func() {
			w, err := dial(addr)
			if err != nil {
				errs[i] = err
				return
			}
			defer w.conn.Close()
			for range n/conns + 1 {
				status, err := w.do(request)
				if err == nil && status != 200 {
					err = fmt.Errorf("status %d", status)
				}
				if err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// startTime runs a sidecar on a directory and returns how long it took until a
// request was accepted.
func (y *yard) startTime(dir, manifest string) (time.Duration, *running, error) {
	r := new(running)
	began := time.Now()
	if err := y.sidecar(r, dir, manifest, ""); err != nil {
		return 0, nil, err
	}
	request := post(r.addr, "/proxy", cleanBody(1024))
	for time.Since(began) < 30*time.Second {
		if w, err := dial(r.addr); err == nil {
			status, err := w.do(request)
			took := time.Since(began)
			w.conn.Close()
			if err == nil && status == 200 {
				return took, r, nil
			}
			return 0, nil, fmt.Errorf("the first request: status %d, %w%s", status, err, tail(filepath.Join(dir, "log")))
		}
		if err := r.ended(); err != nil {
			return 0, nil, err
		}
		time.Sleep(200 * time.Microsecond)
	}
	return 0, nil, fmt.Errorf("it did not start%s", tail(filepath.Join(dir, "log")))
}
