package demo

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/client"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// Card is the payment card of the story. It passes the Luhn check and is
// nobody's.
const Card = "4532-0151-1283-0366"

// manifests are those of examples/manifests, word for word; a test holds them
// together.
//
//go:embed manifests/*.json
var manifests embed.FS

// A Party is an agent with the sidecar in front of it.
type Party struct {
	Name string
	URL  string // of the sidecar, http://host:port
	Data string // of the sidecar's flight recorder

	agent   *Server
	sidecar *sidecar.Sidecar
	stop    context.CancelFunc
	served  chan error
}

// A Cast is everybody in the story, up and listening on free ports of this
// machine.
type Cast struct {
	Bank     *Party // score 10
	Honeypot *Party // score 0

	Travel  *Party   // requires that things can be undone, and calls the others
	Booking *Party   // can undo nothing
	Desks   []*Party // flight, hotel and car: can undo, the hotel for a fee; cars are sold out

	purse *Purse // of the traveller, at the desks
}

// Parties are all of the cast that are up.
func (c *Cast) Parties() []*Party {
	return slices.DeleteFunc(append([]*Party{c.Bank, c.Honeypot, c.Travel, c.Booking}, c.Desks...), func(p *Party) bool { return p == nil })
}

// Raise starts the agents and their sidecars, with their data below dir. The
// caller must Close the cast.
func Raise(dir string) (*Cast, error) {
	c := &Cast{}
	var err error
	if c.Bank, err = raise("securebank", NewBank(), dir, nil); err == nil {
		c.Honeypot, err = raise("honeypot", NewHoneypot(), dir, nil)
	}
	if err == nil {
		err = c.raiseMesh(dir)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close ends everybody and waits for it.
func (c *Cast) Close() error {
	var errs []error
	for _, p := range c.Parties() {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}

// raise starts an agent and its sidecar. change, if not nil, has the last word on
// the configuration.
func raise(name string, handler http.Handler, dir string, change func(*sidecar.Config)) (_ *Party, err error) {
	p := &Party{Name: name, Data: filepath.Join(dir, name), served: make(chan error, 1)}
	if p.agent, err = Start("127.0.0.1:0", handler); err != nil {
		return nil, err
	}
	cfg, err := p.config(dir)
	if err == nil {
		if change != nil {
			change(&cfg)
		}
		p.sidecar, err = sidecar.New(cfg, sidecar.Options{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the sidecar of %s: %w", name, err), p.agent.Close())
	}
	ln, err := p.sidecar.Listen()
	if err != nil {
		return nil, errors.Join(err, p.sidecar.Close(), p.agent.Close())
	}
	public, err := p.sidecar.ListenPublic()
	if err != nil {
		return nil, errors.Join(err, ln.Close(), p.sidecar.Close(), p.agent.Close())
	}
	p.URL = "http://" + ln.Addr().String()
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	go func() { p.served <- p.sidecar.Serve(ctx, ln, public) }()
	return p, nil
}

// config is that of examples/configs, on a free port.
func (p *Party) config(dir string) (sidecar.Config, error) {
	cfg := sidecar.DefaultConfig()
	manifest, err := fs.ReadFile(manifests, "manifests/"+p.Name+".json")
	if err != nil {
		return cfg, err
	}
	cfg.Listen, cfg.Agent, cfg.Data = "127.0.0.1:0", p.agent.URL, p.Data
	cfg.Manifest = filepath.Join(dir, p.Name+".json")
	return cfg, os.WriteFile(cfg.Manifest, manifest, 0o600)
}

func (p *Party) close() error {
	p.stop()
	return errors.Join(<-p.served, p.sidecar.Close(), p.agent.Close())
}

// Score is what the sidecar makes of its agent, 0 to 10.
func (p *Party) Score() int { return p.sidecar.Summary().Assessment.Score }

// Client returns an operator's client of the sidecar.
func (p *Party) Client() (*client.Client, error) {
	token, err := client.ReadToken(p.sidecar.OperatorTokenFile())
	if err != nil {
		return nil, err
	}
	return client.New(p.URL, client.Options{Token: token})
}

// A Scene is one request of the story and the answer that it must get.
type Scene struct {
	Title    string // what happens, in words
	To       *Party
	Peer     string // for the agent that To knows under this name; empty: To's own
	Body     string // JSON
	Override bool   // with X-User-Override: true
	Saga     string // the saga that it is a part of; empty: none
	Path     string // instead of a proxy route; the method is GET without a Body

	about       *Party // whose score is told; nil: To
	status      int
	quarantined bool
	says        []string // texts of the body
}

// An Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Trace  iatp.TraceID
}

// Scenes are the two demonstrations of the quick start, in their order.
func (c *Cast) Scenes() []Scene {
	trip := `{"task":"book","data":{"destination":"NYC"}}`
	return []Scene{
		{
			Title:  "A transfer by a trusted bank: passes at once.",
			To:     c.Bank,
			Body:   `{"task":"transfer","data":{"amount":100,"from_account":"123","to_account":"456"}}`,
			status: http.StatusOK, says: []string{`"status":"success"`},
		},
		{
			Title:  "A payment card for an agent that keeps everything: blocked, and nobody can lift that.",
			To:     c.Honeypot,
			Body:   `{"task":"book","data":{"payment":"` + Card + `"}}`,
			status: http.StatusForbidden, says: []string{`"error":"Privacy Violation: Agent stores data permanently`, `"blocked":true`},
		},
		{
			Title:  "The same agent without the card: a person is asked first.",
			To:     c.Honeypot,
			Body:   trip,
			status: iatp.StatusRetryWith, says: []string{`"requires_override":true`, `WARNING`, `Low trust score (0/10)`},
		},
		{
			Title:    "The person says yes, for exactly this request: it passes, into quarantine.",
			To:       c.Honeypot,
			Body:     trip,
			Override: true,
			status:   http.StatusOK, quarantined: true, says: []string{`"status":"success"`},
		},
	}
}

// Curl is the request as somebody would type it.
func (s *Scene) Curl() string {
	if s.method() == http.MethodGet {
		return "curl " + s.url()
	}
	line := "curl -X POST " + s.url() + " \\\n  -H 'Content-Type: application/json' \\\n"
	if s.Override {
		line += "  -H '" + iatp.HeaderOverride + ": true' \\\n"
	}
	if s.Saga != "" {
		line += "  -H '" + headerSaga + ": " + s.Saga + "' \\\n"
	}
	return line + "  -d '" + s.Body + "'"
}

// headerSaga makes a call a part of a saga.
const headerSaga = "IATP-Saga"

func (s *Scene) method() string {
	if s.Body == "" {
		return http.MethodGet
	}
	return http.MethodPost
}

// url is where the request goes.
func (s *Scene) url() string {
	if s.Path != "" {
		return s.To.URL + s.Path
	}
	if s.Peer != "" {
		return s.To.URL + "/proxy/" + s.Peer
	}
	return s.To.URL + "/proxy"
}

// score is what the sidecar must say of the agent that would get the request.
func (s *Scene) score() int {
	if s.about != nil {
		return s.about.Score()
	}
	return s.To.Score()
}

// sceneTimeout bounds one request; everything is on this machine.
const sceneTimeout = 5 * time.Second

// Play sends the request. The error says what was not as it must be; the answer
// is returned with it if there was one.
func (s *Scene) Play(ctx context.Context) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, sceneTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, s.method(), s.url(), strings.NewReader(s.Body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if s.Override {
		req.Header.Set(iatp.HeaderOverride, "true")
	}
	if s.Saga != "" {
		req.Header.Set(headerSaga, s.Saga)
	}
	transport := &http.Transport{DisableKeepAlives: true} // no proxy, and nothing stays open
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("send the request: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	a := &Answer{resp.StatusCode, resp.Header, body, iatp.TraceID(resp.Header.Get(iatp.HeaderTraceID))}
	return a, s.check(a)
}

// check compares an answer with what was promised.
func (s *Scene) check(a *Answer) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.Status != s.status {
		wrong("the status is %d, promised was %d", a.Status, s.status)
	}
	if s.Path == "" {
		s.checkCall(a, wrong)
	}
	var plain bytes.Buffer
	if err := json.Compact(&plain, a.Body); err != nil {
		wrong("the body is not JSON: %w", err)
	}
	for _, text := range s.says {
		if !bytes.Contains(plain.Bytes(), []byte(text)) {
			wrong("the body does not say %s", text)
		}
	}
	return errors.Join(errs...)
}

// checkCall compares what is told with the answer to a call.
func (s *Scene) checkCall(a *Answer, wrong func(string, ...any)) {
	if got, want := a.Header.Get(iatp.HeaderTrustScore), strconv.Itoa(s.score()); got != want {
		wrong("%s is %q, promised was %q", iatp.HeaderTrustScore, got, want)
	}
	if got := a.Header.Get(iatp.HeaderQuarantined) == "true"; got != s.quarantined {
		wrong("quarantined is %t, promised was %t", got, s.quarantined)
	}
	if a.Trace == "" {
		wrong("there is no %s", iatp.HeaderTraceID)
	}
}

// Verify checks the party's flight recorder from outside, once it has signed
// for all that is in it. The error is also for a log that is not what it
// signed.
func (p *Party) Verify(ctx context.Context) (*flight.Report, error) {
	deadline := time.Now().Add(sceneTimeout)
	for {
		r, err := flight.Verify(p.Data, "")
		switch {
		case err != nil:
			return nil, err
		case !r.OK():
			return r, fmt.Errorf("the log of %s is not what it signed: %s", p.Name, r.Problems[0])
		case r.Signed == r.Records:
			return r, nil
		case time.Now().After(deadline):
			return r, fmt.Errorf("the log of %s signed for %d of %d records only", p.Name, r.Signed, r.Records)
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Holding returns the files of the party's data directory in which a text
// stands.
func (p *Party) Holding(text string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(p.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // the recorder replaces files while we look
			return nil
		}
		if bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	return found, err
}
