package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/demo"
)

func (p *program) demoCommand() *cobra.Command {
	var serve bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play the whole story on this machine, in ten seconds",
		Long: `Start two example agents and their sidecars on free ports, and play the story:
a trusted bank, a card that is blocked, a call that is asked about, a person who
releases it, the timeline of that, and a log that proves itself. Every answer is
checked; one that is not as promised ends the demo with exit code 1.

Everything is in a temporary directory and is gone afterwards. With --serve the
agents stay up until Ctrl-C.`,
		Example: "  iatp demo\n  iatp demo --serve",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.demo(ctx, serve)
		},
	}
	cmd.Flags().BoolVar(&serve, "serve", false, "leave agents and sidecars up until interrupted")
	return cmd
}

func (p *program) demo(ctx context.Context, serve bool) (err error) {
	dir, err := os.MkdirTemp("", "iatp-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cast, err := demo.Raise(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cast.Close()) }()
	if err := p.tell(ctx, cast); err != nil {
		return fmt.Errorf("the demo did not go as promised: %w", err)
	}
	if serve {
		p.stayUp(ctx, cast)
	} else {
		p.out.line("\nThat was all. To play with it: iatp demo --serve. In front of your own agent: iatp run.")
	}
	return nil
}

// tell plays the scenes, then shows what is on record of the last.
func (p *program) tell(ctx context.Context, cast *demo.Cast) error {
	for _, party := range []*demo.Party{cast.Bank, cast.Honeypot} {
		p.out.line("%s  sidecar at %s, trust score %s", pad(party.Name, 10), party.URL,
			p.out.in(scoreInk(party.Score()), fmt.Sprintf("%d/10", party.Score())))
	}
	var last *demo.Answer
	for i, scene := range cast.Scenes() {
		p.out.line("\n%s", p.out.in(bold, fmt.Sprintf("%d. %s", i+1, scene.Title)))
		p.out.line("%s", indent(p.out.in(cyan, "$ ")+scene.Curl()))
		a, err := scene.Play(ctx)
		if a != nil {
			p.showAnswer(a)
			last = a
		}
		if err != nil {
			return fmt.Errorf("scene %d: %w", i+1, err)
		}
	}
	if err := p.showTrace(ctx, cast.Honeypot, last.Trace); err != nil {
		return err
	}
	return p.showLogs(ctx, cast)
}

// answerHeaders are the headers that the story is about.
var answerHeaders = []string{iatp.HeaderTrustScore, iatp.HeaderQuarantined, iatp.HeaderTraceID, iatp.HeaderLatency}

func (p *program) showAnswer(a *demo.Answer) {
	look, word := red, "blocked"
	switch {
	case a.Status < 300:
		look, word = green, "passed"
	case a.Status == iatp.StatusRetryWith:
		look, word = yellow, "a person has to decide"
	}
	p.out.line("%s", indent(p.out.in(look, fmt.Sprintf("%d %s", a.Status, word))))
	for _, name := range answerHeaders {
		if v := a.Header.Get(name); v != "" {
			p.out.line("%s", indent(p.out.in(dim, name+": "+shown(v))))
		}
	}
	p.out.line("%s", indent(answerText(a.Body)))
}

// answerText is what a person wants of a body: the words of a refusal, or the
// whole answer of an agent.
func answerText(body []byte) string {
	var said struct{ Error, Warning, Hint string }
	if json.Unmarshal(body, &said) == nil && (said.Warning != "" || said.Error != "") {
		var lines []string
		for line := range strings.SplitSeq(join("\n", said.Error, said.Warning, said.Hint), "\n") {
			lines = append(lines, readable(line))
		}
		return strings.Join(lines, "\n")
	}
	var compact bytes.Buffer
	if json.Compact(&compact, body) != nil {
		return shown(string(body))
	}
	return shown(compact.String())
}

// readable is shown, for the sidecar's own words: its warning sign is drawn
// with a variation selector, which shown would spell out.
func readable(line string) string {
	return shown(strings.ReplaceAll(line, "\ufe0f", ""))
}

func (p *program) showTrace(ctx context.Context, party *demo.Party, id iatp.TraceID) error {
	c, err := party.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	t, err := c.Trace(ctx, id)
	if err != nil {
		return err
	}
	p.out.line("\n%s", p.out.in(bold, "5. What the flight recorder has of it."))
	p.out.line("%s", indent(p.out.in(cyan, "$ ")+"iatp trace "+string(id)))
	var text bytes.Buffer
	if err := printTimeline(page{&text, p.out.colour}, t.Logs); err != nil {
		return err
	}
	p.out.line("%s", indent(strings.TrimRight(text.String(), "\n")))
	return nil
}

// showLogs verifies both logs and looks for the card in them.
func (p *program) showLogs(ctx context.Context, cast *demo.Cast) error {
	p.out.line("\n%s", p.out.in(bold, "6. The recorder proves that nothing was changed, and has never seen the card."))
	for _, party := range []*demo.Party{cast.Bank, cast.Honeypot} {
		r, err := party.Verify(ctx)
		if err != nil {
			return err
		}
		p.out.line("%s", indent(fmt.Sprintf("%s  %s: %d records, every hash is as it was signed", pad(party.Name, 10), p.out.in(green, "verified"), r.Records)))
		for _, card := range []string{demo.Card, strings.ReplaceAll(demo.Card, "-", "")} {
			files, err := party.Holding(card)
			if err != nil {
				return err
			}
			if len(files) > 0 {
				return fmt.Errorf("the payment card stands in %s", files[0])
			}
		}
	}
	p.out.line("%s", indent(demo.Card+" is in no file of either"))
	return nil
}

func (p *program) stayUp(ctx context.Context, cast *demo.Cast) {
	p.out.line("\n%s", p.out.in(bold, "Both are up until Ctrl-C."))
	for _, scene := range cast.Scenes() {
		p.out.line("%s", indent(p.out.in(dim, "# "+scene.Title)+"\n"+scene.Curl()))
	}
	for _, party := range []*demo.Party{cast.Bank, cast.Honeypot} {
		p.out.line("%s", indent(fmt.Sprintf("iatp trace --follow --sidecar %s --token %s/operator.token", party.URL, party.Data)))
	}
	<-ctx.Done()
}

// indent moves every line of a text to the right.
func indent(text string) string { return "   " + strings.ReplaceAll(text, "\n", "\n   ") }
