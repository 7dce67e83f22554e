package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp/api"
)

// peersFlags are the flags of iatp peers.
type peersFlags struct {
	reach
	visit, asJSON bool
}

func (p *program) peersCommand() *cobra.Command {
	var f peersFlags
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "Show the other sidecars that ours knows, and what they are worth",
		Long: `Show the peers of a running sidecar: who they are, what they score and by which
evidence, which key they sign with, and when they were last visited.

A peer is visited when it is called, and its manifest is kept while it is good.
--visit visits now those of whom nothing fresh is known: to see whether
addresses, certificates and pins are right before the first call.`,
		Example: `  iatp peers
  iatp peers --visit
  iatp peers --json`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.peers(cmd.Context(), &f) },
	}
	f.register(cmd.Flags(), false)
	cmd.Flags().BoolVar(&f.visit, "visit", false, "visit them first")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, jsonUsage)
	cmd.AddCommand(p.forgetCommand())
	return cmd
}

// forgetFlags are the flags of iatp peers forget.
type forgetFlags struct {
	reach
	by     string
	asJSON bool
}

func (p *program) forgetCommand() *cobra.Command {
	var f forgetFlags
	cmd := &cobra.Command{
		Use:   "forget NAME|URI",
		Short: "Forget the keys of a peer that has lost its own",
		Long: `Forget which keys a peer had. A sidecar holds every peer to the key that it had
at the last visit, or to one that this key vouched for. A peer that has lost its
key cannot come back by itself: after this the next one that it shows counts as
the first, or the one that "pin" names now.

Ask yourself who shows that key, before you do it. It is recorded who said so.`,
		Example: `  iatp peers forget booking --by alice
  iatp peers forget https://booking.example --by alice`,
		Args: takes("NAME|URI"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.forgetPeer(cmd.Context(), args[0], &f) },
	}
	f.register(cmd.Flags(), false)
	cmd.Flags().StringVar(&f.by, "by", "", "who says so")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, jsonUsage)
	return cmd
}

func (p *program) forgetPeer(ctx context.Context, peer string, f *forgetFlags) error {
	if f.by == "" {
		return usagef("say who it is with --by NAME")
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	defer c.Close()
	gone, err := c.ForgetPeer(ctx, api.ForgetPeer{Peer: peer, By: f.by})
	if err != nil {
		return f.advise(err)
	}
	if f.asJSON {
		return writeJSON(p.stdout, gone)
	}
	p.out.line("nothing is remembered of %s any more: the next visit to it is the first", shown(gone.URI))
	return nil
}

func (p *program) peers(ctx context.Context, f *peersFlags) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	defer c.Close()
	known, err := c.Peers(ctx, f.visit)
	if err != nil {
		return f.advise(err)
	}
	if f.asJSON {
		return writeJSON(p.stdout, known)
	}
	if len(known.Peers) == 0 {
		p.out.line("no peers: name them under peers: in the configuration")
		return nil
	}
	for i := range known.Peers {
		printPeer(p.out, &known.Peers[i], time.Now())
	}
	return nil
}

func printPeer(out page, peer *api.Peer, now time.Time) {
	out.line("%s  %s", out.in(bold, shown(peer.Name)), shown(peer.URI))
	row := func(label, text string) {
		if text != "" {
			out.row(label, bannerWidth, text)
		}
	}
	row("agent", shown(string(peer.AgentID)))
	switch {
	case peer.LastSeen == nil:
		row("seen", "not since the sidecar started")
	case peer.Error != "":
		row("refused", out.in(red, shown(peer.Error)))
		row("seen", ago(*peer.LastSeen, now))
	default:
		if peer.Score != nil {
			row("score", fmt.Sprintf("%s, %s, evidence %s", out.in(scoreInk(*peer.Score), fmt.Sprintf("%d/10", *peer.Score)), shown(peer.Level), shown(peer.Evidence)))
		}
		row("notes", wordList(peer.Notes)+chosen(slices.Contains(peer.Notes, noteUnavailable), " (the log of our sidecar says why)", ""))
		row("seen", ago(*peer.LastSeen, now))
	}
	if a := peer.Agreement; a != nil {
		row("agreed", fmt.Sprintf("%s, until %s", shown(a.ID), a.Until.UTC().Format("2006-01-02 15:04:05 UTC")))
	}
	row("log", peerLog(out, peer.Log, now))
	if peer.Key != "" {
		row("key", shown(peer.Key)+chosen(peer.Pinned, " (pinned)", ""))
	}
}

// peerLog says what was seen of a peer's flight log.
func peerLog(out page, log *api.PeerLog, now time.Time) string {
	switch {
	case log == nil:
		return ""
	case log.Verdict == "seen" && log.LastSeen != nil:
		return fmt.Sprintf("%d records signed for, seen %s", log.Size, ago(*log.LastSeen, now))
	}
	return out.in(red, words(log.Verdict)) + fmt.Sprintf(": it contradicts what it has signed; record %d of our log has the evidence", log.Evidence)
}

// noteUnavailable is the note on a peer whose manifest could not be had.
const noteUnavailable = "manifest_unavailable"

// ago says when something was, in words.
func ago(then, now time.Time) string {
	at := then.UTC().Format("2006-01-02 15:04:05 UTC")
	if d := now.Sub(then); d >= 0 && d < 24*time.Hour {
		return d.Round(time.Second).String() + " ago, at " + at
	}
	return at
}
