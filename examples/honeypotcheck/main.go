// Command honeypotcheck tests a sidecar that stands before the honeypot: it
// sends what must be blocked, what must be asked about and what a person may
// release, compares the answers with what the protocol promises, and exits 1 if
// one differs.
//
//	go run ./examples/honeypot
//	go run ./cmd/iatp run --config examples/configs/honeypot.yaml
//	go run ./examples/honeypotcheck [--sidecar http://localhost:8001]
package main

import (
	"bytes"
	"context"
	"crypto/rand"
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
	flags := flag.NewFlagSet("honeypotcheck", flag.ContinueOnError)
	flags.SetOutput(stderr)
	sidecar := flags.String("sidecar", "http://localhost:8001", "URL of the sidecar before the honeypot")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	url := strings.TrimSuffix(*sidecar, "/") + "/proxy"
	wrong := 0
	for _, c := range checks() {
		if err := c.run(ctx, url); err != nil {
			fmt.Fprintf(stdout, "WRONG  %s: %v\n", c.name, err)
			wrong++
			continue
		}
		fmt.Fprintf(stdout, "ok     %s\n", c.name)
	}
	if wrong > 0 {
		fmt.Fprintf(stderr, "honeypotcheck: %d answers are wrong\n", wrong)
		return 1
	}
	return 0
}

// A check is one request and what must come back.
type check struct {
	name     string
	body     string
	override bool
	status   int
	members  map[string]any    // of the JSON body; a text is a prefix
	header   map[string]string // exact
}

// checks returns them in the order in which they must be sent: an override
// counts only for the very request that was asked about before.
func checks() []check {
	card := func(number string) string { return `{"task":"book","data":{"payment":` + number + `}}` }
	trip := fmt.Sprintf(`{"task":"book","data":{"destination":"NYC","reference":%q}}`, rand.Text())
	other := strings.Replace(trip, "NYC", "LIS", 1)
	blocked := map[string]any{"blocked": true, "error": "Privacy Violation: Agent stores data permanently"}
	asked := map[string]any{"requires_override": true, "warning": "⚠️ WARNING:\n  • Low trust score (0/10)", "trust_score": 0.0}
	return []check{
		{name: "a payment card is blocked", body: card(`"4532-0151-1283-0366"`), status: 403, members: blocked},
		{name: "a card without separators is blocked", body: card(`"4532015112830366"`), status: 403, members: blocked},
		{name: "a card as a number is blocked", body: card(`4532015112830366`), status: 403, members: blocked},
		{name: "a card in escapes is blocked", body: card(`"\u0034532-0151-1283-0366"`), status: 403, members: blocked},
		{name: "an American Express card is blocked", body: card(`"378282246310005"`), status: 403, members: blocked},
		{name: "no word of a person lifts a block", body: card(`"4532-0151-1283-0366"`), override: true, status: 403, members: blocked},
		{name: "a social security number is blocked", body: `{"task":"book","data":{"ssn":"219-09-9998"}}`, status: 403, members: blocked},
		{name: "a number that is no card is asked about", body: card(`"4532-0151-1283-0367"`), status: 449, members: asked},
		{name: "an override that nobody was asked for is asked about", body: trip, override: true, status: 449, members: asked},
		{name: "the same request passes on a person's word", body: trip, override: true, status: 200,
			members: map[string]any{"stored_permanently": true}, header: map[string]string{"X-Agent-Quarantined": "true"}},
		{name: "that word counts once", body: trip, override: true, status: 449, members: asked},
		{name: "and for no other request", body: other, override: true, status: 449, members: asked},
		{name: "what is not JSON is refused", body: `{"task":`, status: 400, members: map[string]any{"error": "Invalid JSON"}},
	}
}

func (c *check) run(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(c.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.override {
		req.Header.Set("X-User-Override", "true")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	return c.compare(resp, body)
}

func (c *check) compare(resp *http.Response, body []byte) error {
	if resp.StatusCode != c.status {
		return fmt.Errorf("status %d, want %d: %s", resp.StatusCode, c.status, bytes.TrimSpace(body))
	}
	if resp.Header.Get("X-Agent-Trace-ID") == "" {
		return fmt.Errorf("no trace id")
	}
	for name, want := range c.header {
		if got := resp.Header.Get(name); got != want {
			return fmt.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		return fmt.Errorf("the answer is not JSON: %w", err)
	}
	for name, want := range c.members {
		got := members[name]
		prefix, isText := want.(string)
		text, _ := got.(string)
		if isText && !strings.HasPrefix(text, prefix) || !isText && got != want {
			return fmt.Errorf("member %s is %v, want %v", name, got, want)
		}
	}
	return nil
}
