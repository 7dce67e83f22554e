package sidecar_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// world is what everybody outside the two sidecars knows.
type world struct {
	mu          sync.Mutex
	executed    map[string]int    // by key
	answers     map[string]string // by key, 200 and proven
	checkpoints map[string]string // the last that was served, by the name of the sidecar
}

func (w *world) copy() *world {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &world{executed: maps.Clone(w.executed), answers: maps.Clone(w.answers), checkpoints: maps.Clone(w.checkpoints)}
}

// ServeHTTP is the agent beside b. It takes its time, so that calls are under way
// in every state.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	key := strings.Trim(r.Header.Get("Idempotency-Key"), `"`)
	time.Sleep(time.Duration(mathrand.IntN(4)) * time.Millisecond)
	w.mu.Lock()
	w.executed[key]++
	n := w.executed[key]
	w.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(rw, `{"key":%q,"execution":%d}`, key, n)
}

// call asks once, and keeps a proven answer.
func (w *world) call(t *testing.T, a *iatptest.Node, key string) *iatptest.Reply {
	r := post(t, a, "/proxy/b", bookNYC, map[string]string{"Idempotency-Key": key})
	if r.Status == 200 && r.Header.Get("Iatp-Proof") == "" {
		w.mu.Lock()
		w.answers[key] = string(r.Body)
		w.mu.Unlock()
	}
	return r
}

// asked asks each sidecar for its checkpoint.
func (w *world) asked(t testing.TB, nodes map[string]*iatptest.Node) {
	for name, n := range nodes {
		r := n.Get(t, "/log/checkpoint", n.Operator(t))
		if r.Status != 200 {
			t.Fatalf("checkpoint of %s: %d %s", name, r.Status, r.Body)
		}
		w.mu.Lock()
		w.checkpoints[name] = string(r.Body)
		w.mu.Unlock()
	}
}

// An outage is what the disks may hold after the power failed at one moment, and
// what the world knew by then.
type outage struct {
	world *world
	disks map[string]string // directory by the name of the sidecar
}

// fail takes an outage of running sidecars. The files are copied twice: what is
// read first is older than the last sync, what is read last may be younger.
func fail(t *testing.T, w *world, nodes map[string]*iatptest.Node) outage {
	t.Helper()
	early := map[string]string{}
	for name, n := range nodes {
		early[name] = copyOf(t, n.Data)
	}
	o := outage{w.copy(), map[string]string{}}
	durable := map[string]int64{}
	for name, n := range nodes { // after the world: what it has seen is on the disk
		durable[name] = n.Sidecar.DurableRecords()
	}
	for name, n := range nodes {
		late := copyOf(t, n.Data)
		o.disks[name] = image(t, early[name], late, durable[name])
	}
	return o
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rest, _ := filepath.Rel(dir, path)
		if os.IsNotExist(err) || rest == "lock" {
			return nil
		}
		if err != nil || d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rest), 0o700)
		}
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) { // a temporary name that is gone
			return nil
		}
		return os.WriteFile(filepath.Join(to, rest), text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// image is late with the records that were durable, and of the pages after them a
// random part; of every other file that changed meanwhile it has either version.
func image(t *testing.T, early, late string, durable int64) string {
	t.Helper()
	const page = 4096
	err := filepath.WalkDir(late, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rest, _ := filepath.Rel(late, path)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".jsonl") {
			sure := offsetOf(text, durable)
			for off := sure; off < len(text); {
				end := min((off/page+1)*page, len(text))
				if mathrand.IntN(2) == 0 {
					clear(text[off:end])
				}
				off = end
			}
			return os.WriteFile(path, text, 0o600)
		}
		before, err := os.ReadFile(filepath.Join(early, rest))
		switch {
		case rest == "log/checkpoint" && err == nil: // never younger than the last sync
			return os.WriteFile(path, before, 0o600)
		case bytes.Equal(before, text) && err == nil || mathrand.IntN(2) == 0:
			return nil
		case err != nil:
			return os.Remove(path)
		}
		return os.WriteFile(path, before, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return late
}

// offsetOf is where the records end that are durable.
func offsetOf(text []byte, durable int64) int {
	off := 0
	for range durable {
		off += bytes.IndexByte(text[off:], '\n') + 1
	}
	return off
}

// TestPowerFailsUnderTheMesh takes the power from two sidecars under load, at many
// moments: what was synced is there, and of the later pages some are. Started on
// that, they keep every promise: no effect twice, every answer that was given is
// repeated or said to be not kept, and no checkpoint that was served is contradicted.
func TestPowerFailsUnderTheMesh(t *testing.T) {
	w := &world{executed: map[string]int{}, answers: map[string]string{}, checkpoints: map[string]string{}}
	p := startKnown(t, func(a, b *sidecar.Config) { b.Limits.PerPeer = plenty })
	agent := iatptest.StartAgent(t, w)
	if err := p.b.Stop(); err != nil { // b with an agent that keeps count
		t.Fatal(err)
	}
	again := func(old *iatptest.Node, c sidecar.Config, url, data string) *iatptest.Node {
		return iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, AgentURL: url, Data: data, Config: func(to *sidecar.Config) {
			listen, agent, dir, manifest := to.Listen, to.Agent, to.Data, c.Manifest
			*to = c
			to.Listen, to.Agent, to.Data, to.Manifest = listen, agent, dir, manifest
		}})
	}
	p.b = again(p.b, p.cfgB, agent.URL, p.b.Data)
	nodes := map[string]*iatptest.Node{"a": p.a, "b": p.b}

	const trials = 12
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for caller := range 4 {
		callers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					w.call(t, p.a, fmt.Sprintf("%d-%d", caller, n))
				}
			}
		})
	}
	var outages []outage
	for range trials {
		time.Sleep(time.Duration(mathrand.IntN(30)) * time.Millisecond)
		w.asked(t, nodes)
		outages = append(outages, fail(t, w, nodes))
	}
	close(stop)
	callers.Wait()
	for _, n := range nodes {
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for i, o := range outages {

		agent := iatptest.StartAgent(t, o.world)
		b := again(p.b, p.cfgB, agent.URL, o.disks["b"])
		a := again(p.a, p.cfgA, "http://127.0.0.1:1", o.disks["a"])
		o.judge(t, i, a)
		for name, n := range map[string]*iatptest.Node{"a": a, "b": b} {
			if err := n.Stop(); err != nil {
				t.Errorf("outage %d: %s: %v", i, name, err)
			}
			if r, err := flight.Verify(o.disks[name], "", []byte(o.world.checkpoints[name])); err != nil || !r.OK() {
				t.Errorf("outage %d: the log of %s against a checkpoint that it served: %+v, %v", i, name, r, err)
			}
		}
	}
}

// judge asks about every key that the world knew, and about new ones.
func (o *outage) judge(t *testing.T, i int, a *iatptest.Node) {
	t.Helper()
	before := o.world.copy()
	keys := map[string]bool{}
	for caller := range 4 {
		for n := range 3 {
			keys[fmt.Sprintf("%d-%d", caller, len(before.executed)/4+n)] = true // of the moment, or soon after
		}
	}
	for key := range before.executed {
		keys[key] = true
	}
	for key := range keys {
		r := o.world.call(t, a, key)
		said, known := before.answers[key]
		switch slug := fmt.Sprint(r.Problem(t)["type"]); {
		case r.Status == 200 && (!known || said == string(r.Body)):
		case r.Status == 409 && (strings.HasSuffix(slug, "/answer-not-kept") || strings.HasSuffix(slug, "/key-closed") && before.executed[key] == 0):
		default:
			t.Errorf("outage %d: key %s, executed %d times and answered %q before: now %d %s", i, key, before.executed[key], said, r.Status, r.Body)
		}
	}
	o.world.mu.Lock()
	defer o.world.mu.Unlock()
	for key, n := range o.world.executed {
		if n > 1 {
			t.Errorf("outage %d: key %s was executed %d times", i, key, n)
		}
	}
}
