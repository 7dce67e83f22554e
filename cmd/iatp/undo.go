package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/client"
)

// undoFlags are the flags of iatp undo.
type undoFlags struct {
	reach
	yes, asJSON     bool
	reason          string
	state, by, note string
	fee, returned   string
	currency        string
}

func (p *program) undoCommand() *cobra.Command {
	var f undoFlags
	cmd := &cobra.Command{
		Use:   "undo ID",
		Short: "Undo a transaction, a saga or the calls of a trace, after showing what it costs",
		Long: `Undo a transaction (tx_…), a call to a peer (call_…), a saga (saga_…), or all
calls to peers of a trace.

Without --yes it shows what would be undone, until when that is possible and
what it costs at most, and changes nothing. With --json it writes one document:
an object, or for a trace a list with one for each call, the last call first.

Where the sidecar asks for a person (manual intervention, or an undo that
failed), --resolve records what you have done yourself: compensated or
partially_compensated; failed if there is nothing to undo; compensation_failed if
it stays as it is; committed where nobody knew what became of a task. That is the
last word: nobody is asked again.`,
		Example: `  iatp undo tx_AAAAAAAAAAC3Oz2aYNC1EQ
  iatp undo tx_AAAAAAAAAAC3Oz2aYNC1EQ --yes --reason 'booked twice'
  iatp undo saga_AAAAAAAAAAC3Oz2aYNC1EQ --yes
  iatp undo e4b5c6d7-8a9b-4c1d-ae3f-4a5b6c7d8e9f --yes
  iatp undo tx_AAAAAAAAAAC3Oz2aYNC1EQ --resolve compensated --by alice --note 'called the hotel'`,
		Args: takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.undo(cmd.Context(), args[0], &f) },
	}
	f.register(cmd.Flags(), false)
	flags := cmd.Flags()
	flags.BoolVar(&f.yes, "yes", false, "do it")
	flags.StringVar(&f.reason, "reason", "", "why, for the records of both sides, at most 200 characters")
	flags.StringVar(&f.state, "resolve", "", "record the state that a person has brought about")
	flags.StringVar(&f.by, "by", "", "who says so, with --resolve")
	flags.StringVar(&f.note, "note", "", "what was done, with --resolve")
	flags.StringVar(&f.fee, "fee", "", "the fee that was kept, with --resolve")
	flags.StringVar(&f.returned, "returned", "", "the amount that was returned, with --resolve")
	flags.StringVar(&f.currency, "currency", "", "the currency of both, such as USD")
	flags.BoolVar(&f.asJSON, "json", false, jsonUsage)
	choices(cmd, "resolve", "compensated", "partially_compensated", "compensation_failed", "committed", "failed")
	return cmd
}

func (p *program) undo(ctx context.Context, id string, f *undoFlags) error {
	if f.state == "" && (f.by != "" || f.note != "" || f.fee != "" || f.returned != "" || f.currency != "") {
		return usagef("--by, --note, --fee, --returned and --currency go with --resolve")
	}
	if f.state != "" && f.by == "" {
		return usagef("say who it was with --by NAME")
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	defer c.Close()
	switch {
	case f.state != "":
		err = p.resolve(ctx, c, id, f)
	case strings.HasPrefix(id, "saga_"):
		err = p.undoSaga(ctx, c, id, f)
	case strings.HasPrefix(id, "tx_"), strings.HasPrefix(id, "call_"):
		err = p.undoTransaction(ctx, c, id, f)
	default:
		err = p.undoTrace(ctx, c, id, f)
	}
	if errors.Is(err, errFailed) {
		return err
	}
	return f.advise(err)
}

func (p *program) resolve(ctx context.Context, c *client.Client, id string, f *undoFlags) error {
	if _, err := c.Transaction(ctx, id); strings.HasPrefix(id, "tx_") && notFound(err) { // it is at a peer
		call, found, err := callNamed(ctx, c, id)
		if err != nil {
			return err
		}
		if found {
			id = call.ID
		}
	}
	word := api.Resolution{State: f.state, By: f.by, Note: f.note, Fee: f.fee, Returned: f.returned, Currency: f.currency}
	var told any
	var print func()
	var err error
	switch {
	case strings.HasPrefix(id, "saga_"):
		var s *api.Saga
		s, err = c.ResolveSaga(ctx, id, word)
		told, print = s, func() { printSaga(p.out, s, time.Now()) }
	case strings.HasPrefix(id, "call_"):
		var r *api.Call
		r, err = c.ResolveCall(ctx, id, word)
		told, print = r, func() { printCall(p.out, r, time.Now()) }
	default:
		var t *api.Transaction
		t, err = c.Resolve(ctx, id, word)
		told, print = t, func() { printTransaction(p.out, t, time.Now()) }
	}
	switch {
	case err != nil:
		return err
	case f.asJSON:
		return writeJSON(p.stdout, told)
	}
	print()
	return nil
}

// notYet tells how to go on from a look at something in that state.
func (p *program) notYet(id, state string) {
	switch state {
	case "failed", "compensated", "partially_compensated":
		p.out.line("nothing was changed, and there is nothing left to undo")
	case "closed":
		p.out.line("nothing was changed: the saga is closed, its calls stand; to undo one of them: iatp undo tx_… --yes")
	default:
		p.out.line("nothing was changed; to undo it: iatp undo %s --yes", shown(id))
	}
}

// undoTransaction undoes a task of our agent, or a call of its to a peer.
func (p *program) undoTransaction(ctx context.Context, c *client.Client, id string, f *undoFlags) error {
	t, err := c.Transaction(ctx, id) // 404 for a call
	state := ""
	if notFound(err) {
		call, found, listErr := callNamed(ctx, c, id)
		if listErr != nil || !found {
			return errors.Join(listErr, err)
		}
		id, state, err = call.ID, call.State, nil
		if !f.yes && f.asJSON {
			return writeJSON(p.stdout, call)
		}
		if !f.asJSON {
			printCall(p.out, call, time.Now())
		}
		if !f.yes {
			printCallAsks(p.out, call)
		}
	} else if err == nil {
		if !f.yes && f.asJSON {
			return writeJSON(p.stdout, t)
		}
		if state = t.State; !f.asJSON {
			printTransaction(p.out, t, time.Now())
		}
		if !f.yes {
			printAsks(p.out, t)
		}
	}
	if err != nil {
		return err
	}
	if !f.yes {
		p.notYet(id, state)
		return nil
	}
	r, err := p.undoOne(ctx, c, id, "", f)
	if err != nil {
		return err
	}
	return p.tellUndo(r, f)
}

func notFound(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && e.Status == http.StatusNotFound
}

// callNamed finds the newest call of ours that has that id, or whose transaction at the peer
// has it.
func callNamed(ctx context.Context, c *client.Client, id string) (*api.Call, bool, error) {
	all, err := c.Transactions(ctx, 1000)
	if err != nil {
		return nil, false, err
	}
	for i := range all.Calls {
		if all.Calls[i].TransactionID == id || all.Calls[i].ID == id {
			return &all.Calls[i], true, nil
		}
	}
	return nil, false, nil
}

// undoPause is between two looks at an undo that goes on.
const undoPause = time.Second

// undoOne undoes one transaction and waits for it.
func (p *program) undoOne(ctx context.Context, c *client.Client, id string, trace iatp.TraceID, f *undoFlags) (*api.Compensation, error) {
	for {
		r, err := c.Undo(ctx, id, api.UndoRequest{Reason: f.reason, TraceID: trace})
		if err != nil || r.Success || r.Manual || r.State != "compensating" && r.State != "active" && r.State != "unknown" {
			return r, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("it goes on by itself: %w", ctx.Err())
		case <-time.After(undoPause):
		}
	}
}

func (p *program) tellUndo(r *api.Compensation, f *undoFlags) error {
	if !f.asJSON {
		p.sayUndo(r)
	} else if err := writeJSON(p.stdout, r); err != nil {
		return err
	}
	if !r.Success {
		return errFailed
	}
	return nil
}

// sayUndo says in words what came of an undo.
func (p *program) sayUndo(r *api.Compensation) {
	p.out.line("%s  %s%s", shown(r.TransactionID), p.out.in(stateInk(r.State, r.Manual), words(r.State)),
		chosen(r.FeeCharged != "", ", fee "+shown(r.FeeCharged)+" "+shown(r.Currency), ""))
	for _, l := range r.Chain {
		p.out.row("undone", undoWidth, join("  ", shown(l.AgentID), shown(l.TransactionID), words(l.Status)))
	}
}

func (p *program) undoSaga(ctx context.Context, c *client.Client, id string, f *undoFlags) error {
	s, err := c.Saga(ctx, id)
	if err != nil {
		return err
	}
	if !f.yes {
		if f.asJSON {
			return writeJSON(p.stdout, s)
		}
		for i := range s.Calls {
			printCall(p.out, &s.Calls[i], time.Now())
		}
		p.notYet(id, s.State)
		return nil
	}
	for {
		if s, err = c.CancelSaga(ctx, id, api.UndoRequest{Reason: f.reason}); err != nil {
			return err
		}
		if s.State != "compensating" {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it goes on by itself: %w", ctx.Err())
		case <-time.After(undoPause):
		}
	}
	if f.asJSON {
		err = writeJSON(p.stdout, s)
	} else {
		printSaga(p.out, s, time.Now())
	}
	if err == nil && s.State == "compensation_failed" {
		return errFailed
	}
	return err
}

// undoTrace undoes the calls of a trace, the last one first.
func (p *program) undoTrace(ctx context.Context, c *client.Client, id string, f *undoFlags) error {
	trace, err := safeID(id)
	if err != nil {
		return err
	}
	calls, err := c.Calls(ctx, trace)
	if err != nil {
		return err
	}
	if len(calls) == 0 {
		return fmt.Errorf("no call to a peer is recorded in the trace %s", trace)
	}
	if !f.yes {
		if f.asJSON {
			return writeJSON(p.stdout, calls)
		}
		for i := range calls {
			printCall(p.out, &calls[i], time.Now())
		}
		p.notYet(id, "")
		return nil
	}
	done, err := p.undoCalls(ctx, c, calls, f)
	failed := false
	for _, r := range done {
		failed = failed || !r.Success
	}
	if f.asJSON { // one document, also of what came to an end before an error
		err = errors.Join(err, writeJSON(p.stdout, done))
	}
	if err == nil && failed {
		return errFailed
	}
	return err
}

// undoCalls undoes calls in their order, each transaction once, and returns what came of
// each. In words it says so at once.
func (p *program) undoCalls(ctx context.Context, c *client.Client, calls []api.Call, f *undoFlags) ([]*api.Compensation, error) {
	done := []*api.Compensation{}
	asked := map[string]bool{}
	for i := range calls {
		one := &calls[i]
		switch {
		case one.State == "failed" || asked[one.TransactionID]:
			continue
		case one.TransactionID == "":
			if !f.asJSON {
				p.out.line("a call to %s cannot be undone from here: the peer has proven no transaction (%s)", shown(one.Peer), words(one.State))
			}
			done = append(done, &api.Compensation{TraceID: one.TraceID, State: one.State})
			continue
		}
		asked[one.TransactionID] = true
		r, err := p.undoOne(ctx, c, one.TransactionID, one.TraceID, f)
		if e, ok := errors.AsType[*client.Error](err); ok && e.Status == http.StatusConflict { // which keeps nobody from undoing the others
			if !f.asJSON {
				p.out.line("%s  %s by %s is not undone: %s", shown(one.TransactionID), words(one.State), shown(one.Peer), shown(e.Error()))
			}
			done = append(done, &api.Compensation{TransactionID: one.TransactionID, TraceID: one.TraceID, State: one.State})
			continue
		}
		if err != nil {
			return done, err
		}
		if done = append(done, r); !f.asJSON {
			p.sayUndo(r)
		}
	}
	return done, nil
}
