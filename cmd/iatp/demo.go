package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
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
		Long: `Start example agents and their sidecars on free ports, and play the story:
a trusted bank, a card that is blocked, a call that is asked about, a person who
releases it, and the timeline of that. Then two sidecars meet: a flight is booked
with an agent that cannot take it back, signed on the way there, and on the way
back with a receipt. A trip of three bookings fails at the third, and the others
are undone. At the end the logs prove themselves. Every answer is
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

// A story is told in numbered chapters.
type story struct {
	*program
	cast    *demo.Cast
	chapter int
}

func (s *story) title(text string) {
	s.chapter++
	s.out.line("\n%s", s.out.in(bold, fmt.Sprintf("%d. %s", s.chapter, text)))
}

// tell plays the scenes of one sidecar and then that of two, and shows what is on
// record of both.
func (p *program) tell(ctx context.Context, cast *demo.Cast) error {
	for _, party := range cast.Parties() {
		p.out.line("%s  sidecar at %s, trust score %s", pad(party.Name, 10), party.URL,
			p.out.in(scoreInk(party.Score()), fmt.Sprintf("%d/10", party.Score())))
	}
	s := &story{program: p, cast: cast}
	last, err := s.play(ctx, cast.Scenes())
	if err != nil {
		return err
	}
	s.title("What the flight recorder has of it.")
	if err := s.showTrace(ctx, cast.Honeypot, last.Trace); err != nil {
		return err
	}
	if last, err = s.play(ctx, cast.Journey()); err != nil {
		return err
	}
	if err := s.showProof(ctx, last); err != nil {
		return err
	}
	if err := s.playTrip(ctx); err != nil {
		return err
	}
	return s.showLogs(ctx)
}

// playTrip has three bookings fail at the third, and shows that all is undone.
func (s *story) playTrip(ctx context.Context) error {
	opened, err := s.play(ctx, []demo.Scene{s.cast.OpenTrip()})
	if err != nil {
		return err
	}
	saga, err := demo.TripID(opened)
	if err != nil {
		return err
	}
	if _, err := s.play(ctx, s.cast.Trip(saga)); err != nil {
		return err
	}
	scene := s.cast.TripEnd(saga)
	s.title(scene.Title)
	s.out.line("%s", indent(s.out.in(cyan, "$ ")+scene.Curl()))
	end, err := s.cast.PlayTripEnd(ctx, saga)
	if err != nil {
		return fmt.Errorf("scene %d: %w", s.chapter, err)
	}
	if err := s.showSaga(end); err != nil {
		return err
	}
	before, after, err := s.cast.TripBalance()
	if err != nil {
		return err
	}
	s.out.line("%s", indent(fmt.Sprintf("the traveller's account: %s before, %s now: %s but for the hotel's fee", before, after, s.out.in(green, "everything came back"))))
	return nil
}

// play plays scenes and returns the answer to the last.
func (s *story) play(ctx context.Context, scenes []demo.Scene) (last *demo.Answer, err error) {
	for _, scene := range scenes {
		s.title(scene.Title)
		s.out.line("%s", indent(s.out.in(cyan, "$ ")+scene.Curl()))
		last, err = scene.Play(ctx)
		if last != nil {
			s.showAnswer(last)
		}
		if err != nil {
			return nil, fmt.Errorf("scene %d: %w", s.chapter, err)
		}
	}
	return last, nil
}

// showProof verifies the receipt of a call between two sidecars and shows what
// both have recorded of it.
func (s *story) showProof(ctx context.Context, a *demo.Answer) error {
	s.title("The proof of execution, and what either side has on record: a Non-Reversible Transaction.")
	r, err := s.cast.Proof(a)
	if err != nil {
		return err
	}
	s.out.line("%s", indent(fmt.Sprintf("receipt of %s for %s: %s, signed for this very answer; outcome %s, undo: %s",
		shown(r.Iss), shown(r.Aud), s.out.in(green, "valid"), shown(r.Outcome), undoOf(r))))
	for _, party := range []*demo.Party{s.cast.Travel, s.cast.Booking} {
		if err := s.showTrace(ctx, party, a.Trace); err != nil {
			return err
		}
	}
	return nil
}

// showSaga shows what became of each call of a saga.
func (s *story) showSaga(a *demo.Answer) error {
	var saga struct {
		State string
		Calls []struct {
			Peer, State string
			Fee         string `json:"fee_charged"`
			Currency    string
		}
	}
	if err := json.Unmarshal(a.Body, &saga); err != nil {
		return err
	}
	s.out.line("%s", indent(s.out.in(green, shown(saga.State))))
	for i, c := range saga.Calls {
		line := pad(s.cast.Desks[i].Name, 8) + shown(c.State)
		if c.Fee != "" {
			line += ", fee " + shown(c.Fee+" "+c.Currency)
		}
		s.out.line("%s", indent(line))
	}
	return nil
}

// answerHeaders are the headers that the story is about.
var answerHeaders = []string{iatp.HeaderFrom, iatp.HeaderTrustScore, iatp.HeaderQuarantined, iatp.HeaderRedacted, iatp.HeaderTraceID, iatp.HeaderLatency, iatp.HeaderReceipt}

func (p *program) showAnswer(a *demo.Answer) {
	look, word := red, "blocked"
	switch {
	case a.Status < 300:
		look, word = green, "passed"
	case a.Status == iatp.StatusRetryWith:
		look, word = yellow, "a person has to decide"
	case a.Header.Get(iatp.HeaderFrom) == iatp.FromPeer:
		look, word = yellow, "the agent says no"
	}
	p.out.line("%s", indent(p.out.in(look, fmt.Sprintf("%d %s", a.Status, word))))
	for _, name := range answerHeaders {
		if v := a.Header.Get(name); v != "" {
			p.out.line("%s", indent(p.out.in(dim, name+": "+shown(clipped(v)))))
		}
	}
	p.out.line("%s", indent(answerText(a.Body)))
}

// clipped shortens a value that nobody reads to its end, such as a receipt.
func clipped(v string) string {
	const most = 60
	if len(v) <= most {
		return v
	}
	return v[:most] + "…"
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

func (s *story) showTrace(ctx context.Context, party *demo.Party, id iatp.TraceID) error {
	c, err := party.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	t, err := c.Trace(ctx, id)
	if err != nil {
		return err
	}
	s.out.line("%s", indent(s.out.in(cyan, "$ ")+"iatp trace "+string(id)+" --sidecar "+party.URL))
	var text bytes.Buffer
	if err := printTimeline(page{&text, s.out.colour}, t.Logs, t.Receipts); err != nil {
		return err
	}
	s.out.line("%s", indent(strings.TrimRight(text.String(), "\n")))
	return nil
}

// showLogs verifies all logs and looks for the card in them.
func (s *story) showLogs(ctx context.Context) error {
	s.title("The recorders prove that nothing was changed, and have never seen the card.")
	for _, party := range s.cast.Parties() {
		r, err := party.Verify(ctx)
		if err != nil {
			return err
		}
		s.out.line("%s", indent(fmt.Sprintf("%s  %s: %d records, every hash is as it was signed", pad(party.Name, 10), s.out.in(green, "verified"), r.Records)))
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
	s.out.line("%s", indent(demo.Card+" is in no file of any"))
	return nil
}

func (p *program) stayUp(ctx context.Context, cast *demo.Cast) {
	p.out.line("\n%s", p.out.in(bold, "All are up until Ctrl-C."))
	for _, scene := range slices.Concat(cast.Scenes(), cast.Journey(), []demo.Scene{cast.OpenTrip()}, cast.Trip("saga_…")) {
		p.out.line("%s", indent(p.out.in(dim, "# "+scene.Title)+"\n"+scene.Curl()))
	}
	for _, party := range cast.Parties() {
		p.out.line("%s", indent(fmt.Sprintf("iatp trace --follow --sidecar %s --token %s/operator.token", party.URL, party.Data)))
	}
	<-ctx.Done()
}

// indent moves every line of a text to the right.
func indent(text string) string { return "   " + strings.ReplaceAll(text, "\n", "\n   ") }
