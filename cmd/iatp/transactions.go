package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp/api"
)

// transactionsFlags are the flags of iatp transactions.
type transactionsFlags struct {
	reach
	limit  int
	asJSON bool
}

func (p *program) transactionsCommand() *cobra.Command {
	var f transactionsFlags
	cmd := &cobra.Command{
		Use:   "transactions",
		Short: "Show what can be undone, what is being undone, and what waits for a person",
		Long: `Show the transactions of a running sidecar: tasks that its agent executed for
others, calls that others executed for it, and sagas.

What is in motion or waits for a person comes first, then the newest.`,
		Example: `  iatp transactions
  iatp transactions --limit 20 --json`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.transactions(cmd.Context(), &f) },
	}
	f.register(cmd.Flags(), false)
	cmd.Flags().IntVar(&f.limit, "limit", 100, "how many, from 1 to 1000")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, jsonUsage)
	return cmd
}

func (p *program) transactions(ctx context.Context, f *transactionsFlags) error {
	if f.limit < 1 || f.limit > 1000 {
		return usagef("--limit must be from 1 to 1000")
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Transactions(ctx, f.limit)
	if err != nil {
		return f.advise(err)
	}
	if f.asJSON {
		return writeJSON(p.stdout, all)
	}
	if len(all.Transactions)+len(all.Calls)+len(all.Sagas) == 0 {
		p.out.line("nothing was done for others, or by others for us")
		return nil
	}
	now := time.Now()
	for i := range all.Sagas {
		printSaga(p.out, &all.Sagas[i], now)
	}
	for i := range all.Transactions {
		printTransaction(p.out, &all.Transactions[i], now)
		printAsks(p.out, &all.Transactions[i])
	}
	for i := range all.Calls {
		printCall(p.out, &all.Calls[i], now)
		printCallAsks(p.out, &all.Calls[i])
	}
	return nil
}

// stateInk colours what somebody has to look at.
func stateInk(state string, manual bool) ink {
	switch {
	case manual || state == "compensation_failed":
		return red
	case state == "unknown" || state == "compensating":
		return yellow
	}
	return plain
}

const undoWidth = 8

func printTransaction(out page, t *api.Transaction, now time.Time) {
	out.line("%s  %s  for %s", out.in(bold, shown(t.ID)), out.in(stateInk(t.State, t.Manual), words(t.State)), shown(t.Peer))
	printUndo(out, undoing{t.Level, t.UndoUntil, t.MaxFee, t.Fee, t.Returned, t.Currency, t.Code, t.Breach, t.Manual, t.State}, now)
}

// printAsks says what a person who is asked about a transaction can do.
func printAsks(out page, t *api.Transaction) {
	if t.Manual {
		out.row("asks", undoWidth, "iatp undo "+shown(t.ID)+" --yes to have it tried again, or --resolve STATE --by NAME to say what you did")
	}
}

// printCallAsks is printAsks for a call. One of which its peer has proven no transaction
// cannot be tried again.
func printCallAsks(out page, c *api.Call) {
	switch again := "iatp undo " + shown(c.ID); {
	case !c.Manual:
	case c.TransactionID == "":
		out.row("asks", undoWidth, again+" --resolve STATE --by NAME to say what became of it: ask "+shown(c.Peer))
	default:
		out.row("asks", undoWidth, again+" --yes to have it tried again, or --resolve STATE --by NAME to say what became of it")
	}
}

func printCall(out page, c *api.Call, now time.Time) {
	id := c.TransactionID
	if id == "" {
		id = "no transaction"
	}
	out.line("%s  %s  by %s", out.in(bold, shown(id)), out.in(stateInk(c.State, c.Manual), words(c.State)), shown(c.Peer))
	out.row("trace", undoWidth, shown(string(c.TraceID)))
	printUndo(out, undoing{c.Level, c.UndoUntil, c.MaxFee, c.Fee, c.Returned, c.Currency, c.Code, c.Breach, c.Manual, c.State}, now)
}

func printSaga(out page, s *api.Saga, now time.Time) {
	out.line("%s  %s  %s", out.in(bold, shown(s.ID)), out.in(stateInk(s.State, s.Manual), words(s.State)), fmt.Sprintf("%d call%s", len(s.Calls), chosen(len(s.Calls) == 1, "", "s")))
	if s.State == "active" {
		out.row("until", undoWidth, s.Deadline.UTC().Format("2006-01-02 15:04:05 UTC")+", then it is undone")
	}
	for i := range s.Calls {
		c := &s.Calls[i]
		out.row("call", undoWidth, join("  ", chosen(c.TransactionID == "", shown(c.ID), shown(c.TransactionID)), words(c.State), shown(c.Peer)))
	}
	if s.Manual {
		out.row("asks", undoWidth, "iatp undo "+shown(s.ID)+" --yes to have it tried again, or, with its calls at an end, --resolve STATE --by NAME")
	}
}

// undoing is what transactions and calls have in common.
type undoing struct {
	level                      string
	until                      *time.Time
	maxFee, fee, returned, cur string
	code                       string
	breach, manual             bool
	state                      string
}

// printUndo says whether, until when and for how much something can be undone, or what
// its undo did cost.
func printUndo(out page, u undoing, now time.Time) {
	switch u.state {
	case "failed", "compensated", "partially_compensated": // there is nothing left to undo
	default:
		out.row("undo", undoWidth, u.cost(now))
	}
	if u.fee != "" || u.returned != "" {
		out.row("money", undoWidth, join(", ", labelled("returned", u.returned, u.cur), labelled("fee", u.fee, u.cur))+
			chosen(u.breach, out.in(red, " (more than was agreed)"), ""))
	}
	if u.code != "" {
		out.row("why", undoWidth, words(u.code))
	}
}

func labelled(label, amount, cur string) string {
	if amount == "" {
		return ""
	}
	return label + " " + shown(amount) + " " + shown(cur)
}

// cost says what an undo would cost, and until when it can be had.
func (u *undoing) cost(now time.Time) string {
	if u.level == "" || u.level == "none" {
		return "not promised"
	}
	if u.state == "final" {
		return shown(u.level) + ", and its time is over"
	}
	fee := "no fee is named"
	if u.maxFee != "" {
		fee = "at most " + shown(u.maxFee) + " " + shown(u.cur)
	}
	switch {
	case u.state != "committed": // who asks now has asked in time, or is the operator
		return shown(u.level) + ", " + fee
	case u.until == nil:
		return fmt.Sprintf("%s, %s, without limit", shown(u.level), fee)
	}
	return fmt.Sprintf("%s, %s, until %s (%s left)", shown(u.level), fee, u.until.UTC().Format("2006-01-02 15:04:05 UTC"), max(u.until.Sub(now), 0).Round(time.Second))
}
