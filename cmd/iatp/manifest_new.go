package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inter-agent-trust/iatp"
)

// schemaURI is what the protocol's manifests name as their schema.
const schemaURI = "http://inter-agent-trust.org/v1/schema"

// draft is a manifest that is being written, in the published form.
type draft struct {
	Schema   string `json:"$schema"`
	Identity struct {
		AgentID string `json:"agent_id"`
		Owner   string `json:"owner,omitempty"`
		URI     string `json:"uri,omitempty"`
	} `json:"identity"`
	TrustLevel   string `json:"trust_level"`
	Capabilities struct {
		Idempotency      bool  `json:"idempotency"`
		ConcurrencyLimit int64 `json:"concurrency_limit,omitempty"`
		SLALatencyMS     int64 `json:"sla_latency_ms,omitempty"`
	} `json:"capabilities"`
	Reversibility struct {
		Level                string `json:"level"`
		UndoWindowSeconds    *int64 `json:"undo_window_seconds,omitempty"`
		CompensationMethod   string `json:"compensation_method,omitempty"`
		CompensationEndpoint string `json:"compensation_endpoint,omitempty"`
	} `json:"reversibility"`
	Privacy struct {
		RetentionPolicy string `json:"retention_policy"`
		HumanInLoop     bool   `json:"human_in_loop"`
		TrainingConsent bool   `json:"training_consent"`
	} `json:"privacy"`
	ProtocolVersion string `json:"protocol_version"`
}

// newDraft promises nothing.
func newDraft() *draft {
	d := &draft{Schema: schemaURI, TrustLevel: iatp.Standard.String(), ProtocolVersion: iatp.ProtocolVersion}
	d.Reversibility.Level = string(iatp.ReversibilityNone)
	d.Privacy.RetentionPolicy = string(iatp.RetentionTemporary)
	return d
}

func (p *program) manifestNewCommand() *cobra.Command {
	d := newDraft()
	var window int64
	cmd := &cobra.Command{
		Use:   "new FILE",
		Short: "Write a manifest for an agent",
		Long: `Write a manifest for an agent. Flags say what it promises; on a terminal, and
without --agent-id, what no flag says is asked. An existing file is never
overwritten.

What is not said is not promised: trust level standard, no undo, temporary
retention.`,
		Example: `  iatp manifest new agent.json
  iatp manifest new agent.json --agent-id travel-bot --trust-level trusted --retention ephemeral
  iatp manifest new agent.json --agent-id bank --reversibility full --undo-window 3600 \
      --compensation '/compensate/{transaction_id}'`,
		Args: takes("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("undo-window") {
				d.Reversibility.UndoWindowSeconds = &window
			}
			return p.newManifest(args[0], d, cmd.Flags())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&d.Identity.AgentID, "agent-id", "", "name of the agent")
	flags.StringVar(&d.Identity.Owner, "owner", "", "who runs it")
	flags.StringVar(&d.Identity.URI, "uri", "", "its https origin, such as https://travel.example")
	flags.StringVar(&d.TrustLevel, "trust-level", d.TrustLevel, "verified_partner, trusted, standard, unknown or untrusted")
	flags.BoolVar(&d.Capabilities.Idempotency, "idempotency", false, "a request may be sent again with the same effect")
	flags.Int64Var(&d.Capabilities.ConcurrencyLimit, "concurrency-limit", 0, "how many calls at once (0: not stated)")
	flags.Int64Var(&d.Capabilities.SLALatencyMS, "sla-latency-ms", 0, "how fast it answers (0: not stated)")
	flags.StringVar(&d.Reversibility.Level, "reversibility", d.Reversibility.Level, "what can be undone: none, partial or full")
	flags.Int64Var(&window, "undo-window", 0, "for how many seconds (0: without a limit)")
	flags.StringVar(&d.Reversibility.CompensationMethod, "compensation-method", "", "how it is undone, in a word")
	flags.StringVar(&d.Reversibility.CompensationEndpoint, "compensation", "", "where the sidecar asks the agent to undo, with {transaction_id} in it")
	flags.StringVar(&d.Privacy.RetentionPolicy, "retention", d.Privacy.RetentionPolicy, "how long it keeps what it is sent: ephemeral, temporary, permanent or forever")
	flags.BoolVar(&d.Privacy.HumanInLoop, "human-in-loop", false, "people may read what it is sent")
	flags.BoolVar(&d.Privacy.TrainingConsent, "training-consent", false, "what it is sent may train models")
	choices(cmd, "trust-level", "verified_partner", "trusted", "standard", "unknown", "untrusted")
	choices(cmd, "reversibility", string(iatp.ReversibilityNone), string(iatp.ReversibilityPartial), string(iatp.ReversibilityFull))
	choices(cmd, "retention", string(iatp.RetentionEphemeral), string(iatp.RetentionTemporary), string(iatp.RetentionPermanent), string(iatp.RetentionForever))
	return cmd
}

func (p *program) newManifest(file string, d *draft, flags *pflag.FlagSet) error {
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s exists and is not overwritten: choose another name, or move it away", file)
	}
	if d.Identity.AgentID == "" {
		if !isTerminal(p.stdin) {
			return usagef("name the agent with --agent-id")
		}
		if err := p.interview(d, flags); err != nil {
			return err
		}
	}
	doc, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	m, err := iatp.ParseOperatorManifest(append(doc, '\n'))
	if e, ok := errors.AsType[*iatp.ManifestError](err); ok {
		return usagef("%s: %s", strings.TrimPrefix(e.Pointer, "/"), e.Msg) // the line is of a file that nobody sees
	} else if err != nil {
		return err
	}
	if err := createFile(file, append(doc, '\n')); err != nil {
		return err
	}
	p.afterNew(file, m)
	return nil
}

// afterNew says what was written and what to do with it.
func (p *program) afterNew(file string, m *iatp.Manifest) {
	a, _ := assess(m, asOperator) // asOperator is one of the two
	p.out.line("wrote %s: score %s", file, scoreText(p.out, &a))
	for _, w := range m.Warnings() {
		p.out.line("%s %s", p.out.in(yellow, "warning:"), w)
	}
	if m.Reversibility.Level.Undoes() && m.Reversibility.CompensationEndpoint == "" {
		p.out.line("%s the sidecar wants to know where the agent undoes things: iatp run --compensation '/compensate/{transaction_id}'", p.out.in(yellow, "note:"))
	}
	p.out.line("next: iatp run --manifest %s", file)
}

// createFile writes a file that must not exist.
func createFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// interview asks for what no flag has said. An empty answer takes the value in
// brackets.
func (p *program) interview(d *draft, flags *pflag.FlagSet) error {
	q := interview{in: bufio.NewReader(io.LimitReader(p.stdin, 64<<10)), out: p.out, flags: flags}
	q.text("agent-id", "Name of the agent", &d.Identity.AgentID, func(s string) bool { return s != "" })
	q.text("owner", "Who runs it", &d.Identity.Owner, nil)
	q.text("trust-level", "Trust level (verified_partner, trusted, standard, unknown, untrusted)", &d.TrustLevel, func(s string) bool {
		_, err := iatp.ParseTrustLevel(s)
		return err == nil
	})
	q.text("retention", "How long does it keep what it is sent (ephemeral, temporary, permanent, forever)", &d.Privacy.RetentionPolicy, func(s string) bool {
		_, err := iatp.ParseRetentionPolicy(s)
		return err == nil
	})
	q.yes("human-in-loop", "May people read what it is sent", &d.Privacy.HumanInLoop)
	q.yes("training-consent", "May what it is sent train models", &d.Privacy.TrainingConsent)
	q.yes("idempotency", "May a request be sent twice with the effect of one", &d.Capabilities.Idempotency)
	q.text("reversibility", "What can it undo (none, partial, full)", &d.Reversibility.Level, func(s string) bool {
		_, err := iatp.ParseReversibilityLevel(s)
		return err == nil
	})
	if d.Reversibility.Level != string(iatp.ReversibilityNone) {
		q.window(d)
		q.text("compensation", "Where does the sidecar ask it to undo, as in /compensate/{transaction_id}", &d.Reversibility.CompensationEndpoint, nil)
	}
	return q.err
}

// interview is a dialogue on a terminal.
type interview struct {
	in    *bufio.Reader
	out   page
	flags *pflag.FlagSet
	err   error // the end of the input; nothing is asked after it
}

func (q *interview) text(flag, question string, to *string, good func(string) bool) {
	for q.err == nil && !q.flags.Changed(flag) {
		fmt.Fprintf(q.out, "%s? %s ", question, q.out.in(dim, "["+*to+"]"))
		answer, err := q.in.ReadString('\n')
		if err != nil {
			q.err = errors.New("the dialogue was broken off, nothing was written")
			return
		}
		if answer = strings.TrimSpace(answer); answer == "" {
			answer = *to
		}
		if good == nil || good(answer) {
			*to = answer
			return
		}
	}
}

func (q *interview) yes(flag, question string, to *bool) {
	answer := "no"
	q.text(flag, question+" (yes, no)", &answer, func(s string) bool { return s == "yes" || s == "y" || s == "no" || s == "n" })
	if !q.flags.Changed(flag) {
		*to = answer == "yes" || answer == "y"
	}
}

func (q *interview) window(d *draft) {
	answer := "3600"
	var seconds int64
	q.text("undo-window", "For how many seconds (0: without a limit)", &answer, func(s string) (good bool) {
		var err error
		seconds, err = strconv.ParseInt(s, 10, 64)
		return err == nil && seconds >= 0
	})
	if !q.flags.Changed("undo-window") {
		d.Reversibility.UndoWindowSeconds = &seconds
	}
}
