package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// An arm is one way to run the same work.
type arm string

const (
	none        arm = "none"         // agents, and nothing between them and who orders
	recoveryOff arm = "recovery_off" // sidecars; the agents promise nothing, and there is no saga
	full        arm = "full"         // sidecars; the agents promise to undo, and each trip is a saga
)

var arms = []arm{none, recoveryOff, full}

// traveler is whose sidecar the trip is ordered from, roles are the agents of a
// trip in the order in which they are asked.
const traveler = "traveler"

var roles = []string{"ledger", "desk", "mail", "stock"}

// promises is what differs between the manifests of the agents in the arm full.
var promises = map[string]string{
	"ledger": `"capabilities":{"idempotency":true},"reversibility":{"level":"full","undo_window_seconds":%d,"compensation_method":"rollback","compensation_sla_ms":2500}`,
	"desk": `"capabilities":{"idempotency":true},"reversibility":{"level":"partial","undo_window_seconds":%d,"compensation_method":"refund_minus_fee",` +
		`"compensation_sla_ms":2500,"max_fee":"5.00","currency":"USD"}`,
	"stock": `"capabilities":{"idempotency":false},"reversibility":{"level":"full","undo_window_seconds":%d,"compensation_method":"rollback","compensation_sla_ms":2500}`,
	"mail":  `"capabilities":{"idempotency":true},"reversibility":{"level":"none"}`,
}

// Undo windows of a world, in seconds.
const (
	ordinary = 3600
	short    = 1
)

// A world is one set of processes: the agents, in two arms their sidecars and the
// traveler's, and proxies in between.
type world struct {
	arm     arm
	dir     string
	procs   map[string]*process
	proxies map[string]*proxy // by hop
	uris    map[string]string // of agents, by role: their sidecars' origins
	entry   string            // of the traveler's sidecar, through its proxy
	client  *http.Client      // of who orders, with the patience that it has
	setter  *http.Client      // to set things up, which is no part of a run
	last    string            // the answer to the last order
}

func newWorld(ctx context.Context, a arm, bin, dir string, window int) (_ *world, err error) {
	w := &world{
		arm: a, dir: dir, procs: map[string]*process{}, proxies: map[string]*proxy{}, uris: map[string]string{},
		client: &http.Client{Timeout: patience(a), Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}},
		setter: &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, role := range roles {
		if err := w.addAgent(role, bin); err != nil {
			return nil, err
		}
	}
	if a != none {
		if err := w.addSidecars(bin, window); err != nil {
			return nil, err
		}
	}
	for _, p := range w.procs {
		if err := p.start(ctx); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// patience is how long whoever orders waits for an answer: for an agent a little
// longer than a sidecar would, for a sidecar until it has surely given up itself.
func patience(a arm) time.Duration {
	if a == none {
		return 3 * time.Second
	}
	return 15 * time.Second
}

// addProxy puts a proxy before an address and returns where it listens.
func (w *world) addProxy(hop, to string) (string, error) {
	p, err := newProxy(hop, to)
	if err != nil {
		return "", err
	}
	w.proxies[hop] = p
	return p.addr, nil
}

// hopTo is the way to an agent from its sidecar, or from whoever orders.
func hopTo(role string) string { return "to " + role }

// hopToSidecar is the way to an agent's sidecar.
func hopToSidecar(role string) string { return "to the sidecar of " + role }

func sidecarOf(role string) string { return "sidecar of " + role }

func (w *world) addAgent(role, bin string) error {
	addr, err := steadyAddress()
	if err != nil {
		return err
	}
	w.procs[role] = &process{name: role, addr: addr, args: []string{filepath.Join(bin, "office"), role, "--db", w.database(role), "--listen", addr, "--faults"}}
	_, err = w.addProxy(hopTo(role), addr)
	return err
}

func (w *world) database(role string) string { return filepath.Join(w.dir, role+".db") }

// data is the data directory of a sidecar.
func (w *world) data(role string) string { return filepath.Join(w.dir, role+"-data") }

// A card is what others need to know of a sidecar.
type card struct {
	key    iatp.PrivateKey
	file   string
	local  string // address of the local listener
	public string // of the public one
	dial   string // where others reach it
}

func (w *world) newCard(role string) (*card, error) {
	key, err := iatp.GeneratePrivateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	text, err := key.MarshalPEM()
	if err != nil {
		return nil, err
	}
	c := &card{key: key, file: filepath.Join(w.dir, role+".key")}
	if err := os.WriteFile(c.file, text, 0o600); err != nil {
		return nil, err
	}
	if c.local, err = steadyAddress(); err != nil {
		return nil, err
	}
	if c.public, err = steadyAddress(); err != nil {
		return nil, err
	}
	c.dial, err = w.addProxy(hopToSidecar(role), c.public)
	return c, err
}

func (w *world) addSidecars(bin string, window int) error {
	cards := map[string]*card{}
	for _, role := range append([]string{traveler}, roles...) {
		var err error
		if cards[role], err = w.newCard(role); err != nil {
			return err
		}
		w.uris[role] = "http://" + cards[role].public
	}
	var peers strings.Builder
	for _, role := range roles {
		fmt.Fprintf(&peers, "  %s: {uri: %q, dial: %q, pin: %q, max_level: verified_partner}\n", role, w.uris[role], cards[role].dial, cards[role].key.Public())
		caller := fmt.Sprintf("  %s: {url: %q, pin: %q, max_level: verified_partner}\n", traveler, w.uris[traveler], cards[traveler].key.Public())
		agent := "http://" + w.proxies[hopTo(role)].addr
		if err := w.addSidecar(role, bin, cards[role], agent, caller, w.manifest(role, window)); err != nil {
			return err
		}
	}
	own := `"capabilities":{"idempotency":false},"reversibility":{"level":"none"}`
	if err := w.addSidecar(traveler, bin, cards[traveler], "http://127.0.0.1:9", peers.String(), own); err != nil {
		return err
	}
	entry, err := w.addProxy("from the agent", cards[traveler].local)
	w.entry = "http://" + entry
	return err
}

// manifest is the part in which the manifests differ.
func (w *world) manifest(role string, window int) string {
	if w.arm != full || role == "mail" {
		return promises["mail"]
	}
	return fmt.Sprintf(promises[role], window)
}

func (w *world) addSidecar(role, bin string, c *card, agent, peers, manifest string) error {
	text := `{"identity":{"agent_id":"` + role + `"},"trust_level":"verified_partner",` + manifest + `,"privacy":{"retention_policy":"temporary"}}`
	manifestFile, configFile := filepath.Join(w.dir, role+".json"), filepath.Join(w.dir, role+".yaml")
	config := fmt.Sprintf("listen: %q\nagent: %q\nmanifest: %q\ndata: %q\nkey: %q\npublic: %q\npublic_url: %q\npeers:\n%s"+
		"limits: {deadline: 2s, retry_budget: 1s, per_peer: {rate: 100000/1s, burst: 100000}}\n",
		c.local, agent, manifestFile, w.data(role), c.file, c.public, w.uris[role], peers)
	if w.arm == full && role != traveler && role != "mail" {
		config += "compensation: {url: \"/compensate/{transaction_id}\"}\ncheck: {url: \"/check/{transaction_id}\"}\n"
	}
	if err := errors.Join(os.WriteFile(manifestFile, []byte(text), 0o600), os.WriteFile(configFile, []byte(config), 0o600)); err != nil {
		return err
	}
	name := sidecarOf(role)
	w.procs[name] = &process{name: name, addr: c.local, args: []string{filepath.Join(bin, "iatp"), "run", "--config", configFile}}
	return nil
}

// close ends everything and verifies the flight recorders.
func (w *world) close() error {
	var errs []error
	for _, p := range w.procs {
		errs = append(errs, p.stop())
	}
	for _, p := range w.proxies {
		p.close()
	}
	if err := errors.Join(errs...); err != nil || w.arm == none {
		return err
	}
	for _, role := range append([]string{traveler}, roles...) {
		r, err := flight.Verify(w.data(role), "")
		if err != nil {
			return err
		}
		if !r.OK() {
			return fmt.Errorf("the flight recorder of %s is not what it signed: %v", role, r.Problems)
		}
	}
	return nil
}

// reset makes the world ready for a run.
func (w *world) reset(ctx context.Context, hook func(point) act) error {
	for _, p := range w.procs {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	for _, role := range roles {
		if a := w.sendBy(ctx, w.setter, http.MethodDelete, "http://"+w.procs[role].addr+"/faults", ""); a.status != http.StatusNoContent {
			return fmt.Errorf("%s keeps its faults: %d %s", role, a.status, a.body)
		}
	}
	for _, p := range w.proxies {
		p.reset(hook)
	}
	return nil
}

// quiet waits until no message is under way.
func (w *world) quiet(ctx context.Context) error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		busy := int64(0)
		for _, p := range w.proxies {
			busy += p.inside.Load()
		}
		switch {
		case busy == 0:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(end):
			return errors.New("messages are under way for ever")
		}
	}
}

// An answer is what came back, status 0 if nothing did.
type answer struct {
	status int
	body   []byte
}

// send sends a request; header is in pairs.
func (w *world) send(ctx context.Context, method, url, body string, header ...string) answer {
	return w.sendBy(ctx, w.client, method, url, body, header...)
}

func (w *world) sendBy(ctx context.Context, client *http.Client, method, url, body string, header ...string) answer {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return answer{}
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}
	}
	return answer{resp.StatusCode, text}
}

// direct talks to an agent past all proxies, to set things up.
func (w *world) direct(ctx context.Context, role, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	a := w.sendBy(ctx, w.setter, http.MethodPost, "http://"+w.procs[role].addr+path, string(text))
	if a.status != http.StatusOK {
		return fmt.Errorf("%s does not accept %s: %d %s", role, text, a.status, bytes.TrimSpace(a.body))
	}
	return nil
}

func (w *world) misbehave(ctx context.Context, role, place, at, how string, times int) error {
	return w.direct(ctx, role, "/faults", map[string]any{"place": place, "at": at, "how": how, "times": times})
}
