package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp/privacy"
)

// The exit codes.
const (
	exitDone    = 0
	exitRefused = 1 // refused, or a check failed
	exitUsage   = 2 // called the wrong way, or no answer where 1 is one
)

// program is one run of the command line.
type program struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	out    page // stdout as a person sees it
	begun  bool // a command has its arguments; errors from here on are not usage
}

// run is the whole program with everything that it touches as an argument.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// net/http writes what an agent sends unasked, byte for byte, to the standard
	// logger ("Unsolicited response received on idle HTTP channel"). Payloads do not
	// go into logs, and nothing of ours uses that logger.
	log.SetOutput(io.Discard)
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, out: newPage(stdout)}
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return p.report(cmd, err)
}

// scrubbed is what an error says without the sensitive data that it may quote from
// a file or a command line.
func scrubbed(text string) string { return privacy.New().RedactText(text) }

// scrubbedPointer scrubs a JSON pointer name by name: what is a value by itself may
// be none in the middle of a path.
func scrubbedPointer(pointer string) string {
	names := strings.Split(pointer, "/")
	for i, name := range names {
		names[i] = scrubbed(name)
	}
	return strings.Join(names, "/")
}

// report says what went wrong, once, and turns it into an exit code.
func (p *program) report(cmd *cobra.Command, err error) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, errFailed) { // the verdict is on the page already
		return exitRefused
	}
	text := strings.Map(visible, err.Error())
	fmt.Fprintf(p.stderr, "iatp: %s\n", strings.ReplaceAll(scrubbed(text), "\n", "\n      "))
	if _, ok := errors.AsType[usageError](err); ok || !p.begun {
		fmt.Fprintf(p.stderr, "Run '%s --help' for how to use it.\n", cmd.CommandPath())
		return exitUsage
	}
	if _, ok := errors.AsType[noAnswerError](err); ok {
		return exitUsage
	}
	return exitRefused
}

// visible keeps an error from playing with the terminal. Whatever quotes others
// has escaped them already; this is for what a library passes on.
func visible(r rune) rune {
	if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
		return '\ufffd'
	}
	return r
}

// interruptible ends ctx on the first SIGINT or SIGTERM. The second one ends the
// process at once with 128 and its number, as shells count; the default action
// would not, where the process is the first of a container. The caller must
// call stop.
func interruptible(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for first := true; ; first = false {
			select {
			case sig := <-signals:
				if !first {
					os.Exit(128 + int(sig.(syscall.Signal)))
				}
				cancel()
			case <-done:
				return
			}
		}
	})
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(done)
		wg.Wait()
		cancel()
	})
}

// errFailed ends a command whose check failed and which has said so itself.
var errFailed = errors.New("a check failed")

// noAnswerError ends a command whose exit code 1 is an answer, and which has none.
type noAnswerError struct{ error }

// Unwrap keeps a wrong way of calling one.
func (e noAnswerError) Unwrap() error { return e.error }

// usageError is a way of calling that cannot be meant.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "iatp",
		Short: "Trust between agents: a sidecar that judges, records and explains every call",
		Long: `IATP stands beside an agent as a sidecar. It judges every call before it leaves,
by what the agent's manifest promises and by what is in the call; it lets pass,
asks or blocks, and writes all of it into a flight recorder that cannot be
rewritten unseen.`,
		Example: `  iatp demo
  iatp run --agent http://localhost:8000 --manifest agent.json`,
		SilenceErrors:    true,
		SilenceUsage:     true,
		PersistentPreRun: func(*cobra.Command, []string) { p.begun = true },
	}
	asGroup(root)
	p.versionFlag(root)
	root.AddCommand(
		p.demoCommand(), p.runCommand(), p.keygenCommand(), p.scanCommand(), p.scanTextCommand(), p.manifestCommand(), p.endorseCommand(), p.verifyCommand(), p.traceCommand(), p.evidenceCommand(),
		p.quarantineCommand(), p.transactionsCommand(), p.undoCommand(), p.peersCommand(), p.logCommand(), p.policyCommand(), p.versionCommand(),
	)
	root.SetHelpCommand(helpCommand())
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		asGroup(completion).Example = "  source <(iatp completion bash)"
	}
	return root
}

// helpCommand is cobra's, but for a word that is no command: that is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Explain a command",
		Example: "  iatp help log verify",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no command %q", strings.Join(args, " "))
			}
			return about.Help()
		},
	}
}

// choices completes a flag from the words that it takes.
func choices(cmd *cobra.Command, flag string, words ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the command has no such flag
	}
}

// takes says which words a command wants: at least one of each, none beyond.
func takes(words ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(words):
			return fmt.Errorf("%s wants %s", cmd.CommandPath(), strings.Join(words, " and "))
		case len(args) > len(words):
			return fmt.Errorf("%s takes %s, so %q is too much", cmd.CommandPath(), chosen(len(words) == 0, "no words", "one "+strings.Join(words, " and one ")), args[len(words)])
		}
		return nil
	}
}

// takesFiles wants one file or more.
func takesFiles(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s wants a FILE, or several", cmd.CommandPath())
	}
	return nil
}

// asGroup makes a command that only holds others: without one of them, or with
// a word that is none, it was called the wrong way.
func asGroup(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("%s has no command %q%s", cmd.CommandPath(), args[0], suggestion(cmd, args[0]))
		}
		cmd.SetOut(cmd.ErrOrStderr())
		return errors.Join(cmd.Help(), usagef("name a command"))
	}
	return cmd
}

func suggestion(cmd *cobra.Command, word string) string {
	cmd.SuggestionsMinimumDistance = 2
	if names := cmd.SuggestionsFor(word); len(names) > 0 {
		return fmt.Sprintf("; did you mean %q?", names[0])
	}
	return ""
}
