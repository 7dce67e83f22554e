// Command client asks the agent behind a sidecar for work and explains what the
// sidecar answers: passed at once, a warning that a person may override, or a
// refusal that nobody can lift. It uses net/http alone, so that it reads as a
// recipe for any language.
//
//	go run ./examples/client [--sidecar http://localhost:8001]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.SetOutput(stderr)
	sidecar := flags.String("sidecar", "http://localhost:8001", "URL of the sidecar's local listener")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	c := &client{url: strings.TrimSuffix(*sidecar, "/"), out: stdout}
	if err := c.tour(ctx); err != nil {
		fmt.Fprintf(stderr, "client: %v\n", err)
		return 1
	}
	return 0
}

// A client talks to one sidecar.
type client struct {
	url string
	out io.Writer
}

// tour asks who is there, then sends harmless work and work with a payment card.
func (c *client) tour(ctx context.Context) error {
	agent, err := c.whoIsThere(ctx)
	if err != nil {
		return err
	}
	plain := `{"task":"book","data":{"destination":"NYC"}}`
	if agent == "secure-bank-agent" {
		plain = `{"task":"transfer","data":{"amount":100,"from_account":"123","to_account":"456"}}`
	}
	if err := c.ask(ctx, "Work without sensitive data", plain); err != nil {
		return err
	}
	// The number is a well-known test number, and belongs to nobody.
	return c.ask(ctx, "The same with a payment card", `{"task":"book","data":{"payment":"4532-0151-1283-0366"}}`)
}

// whoIsThere reads the manifest of the agent behind the sidecar.
func (c *client) whoIsThere(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/capabilities", nil)
	if err != nil {
		return "", err
	}
	a, err := send(req)
	if err != nil {
		return "", fmt.Errorf("is a sidecar running there? %w", err)
	}
	var m struct {
		Identity struct {
			AgentID string `json:"agent_id"`
		} `json:"identity"`
		TrustLevel string `json:"trust_level"`
	}
	if err := json.Unmarshal(a.body, &m); err != nil || a.status != http.StatusOK {
		return "", fmt.Errorf("%s/capabilities answers %d without a manifest", c.url, a.status)
	}
	fmt.Fprintf(c.out, "Behind %s: %q, which says that it is %q.\n", c.url, m.Identity.AgentID, m.TrustLevel)
	return m.Identity.AgentID, nil
}

// ask sends work; if the sidecar wants a person's word, it gives that and sends
// the very same request again. A program should not do so: a person should.
func (c *client) ask(ctx context.Context, title, body string) error {
	fmt.Fprintf(c.out, "\n%s: %s\n", title, body)
	a, err := c.proxy(ctx, body, false)
	if err != nil {
		return err
	}
	c.explain(a)
	if a.status != statusRetryWith {
		return nil
	}
	fmt.Fprintf(c.out, "\nThe same again with X-User-Override: true\n")
	if a, err = c.proxy(ctx, body, true); err != nil {
		return err
	}
	c.explain(a)
	return nil
}

func (c *client) proxy(ctx context.Context, body string, override bool) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/proxy", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if override {
		req.Header.Set("X-User-Override", "true")
	}
	return send(req)
}

// statusRetryWith is the status of an answer that a person may override.
const statusRetryWith = 449

// An answer is what came back, whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func send(req *http.Request) (*answer, error) {
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	return &answer{resp.StatusCode, resp.Header, body}, nil
}

// explain says what an answer means.
func (c *client) explain(a *answer) {
	var problem struct {
		Error   string `json:"error"`
		Warning string `json:"warning"`
		Hint    string `json:"hint"`
	}
	_ = json.Unmarshal(a.body, &problem) // not every answer is a problem
	switch {
	case a.status == statusRetryWith:
		fmt.Fprintf(c.out, "  449: the sidecar wants a person to decide. It warns:\n    %s\n", strings.ReplaceAll(problem.Warning, "\n", "\n    "))
	case a.status == http.StatusForbidden:
		fmt.Fprintf(c.out, "  403: refused, and nobody can lift it: %s\n", problem.Error)
	case a.status < 400 && a.header.Get("X-Agent-Quarantined") == "true":
		fmt.Fprintf(c.out, "  %d: passed on a person's word, and quarantined for review: %s\n", a.status, strings.TrimSpace(string(a.body)))
	case a.status < 400:
		fmt.Fprintf(c.out, "  %d: passed: %s\n", a.status, strings.TrimSpace(string(a.body)))
	case a.header.Get("IATP-From") == "agent":
		fmt.Fprintf(c.out, "  %d: the agent itself says no: %s\n", a.status, strings.TrimSpace(string(a.body)))
	default:
		fmt.Fprintf(c.out, "  %d: %s %s\n", a.status, problem.Error, problem.Hint)
	}
	fmt.Fprintf(c.out, "  trace %s, trust score %s/10\n", a.header.Get("X-Agent-Trace-ID"), a.header.Get("X-Agent-Trust-Score"))
}
