package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inter-agent-trust/iatp/sidecar"
)

// runFlags are the flags of iatp run. Those that were given lie over the
// environment, and that over the file.
type runFlags struct {
	config    string
	check     bool
	logFormat string
	given     sidecar.Config
}

func (p *program) runCommand() *cobra.Command {
	f := runFlags{given: sidecar.DefaultConfig()}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the sidecar in front of an agent",
		Long: `Run the sidecar in front of an agent, until SIGTERM or SIGINT; it then finishes
the calls that are under way. SIGHUP reads the configuration, the manifest and
the policies again, all or nothing.

Every setting has a default. A file (--config or IATP_CONFIG) goes over the
defaults, the environment (IATP_AGENT_URL, IATP_LISTEN or IATP_PORT, IATP_DATA)
over the file, and the flags over all. Without a manifest file, IATP_AGENT_ID,
IATP_TRUST_LEVEL, IATP_REVERSIBILITY, IATP_RETENTION, IATP_HUMAN_IN_LOOP and
IATP_TRAINING_CONSENT make one.`,
		Example: `  iatp run --agent http://localhost:8000 --manifest agent.json
  iatp run --config sidecar.yaml
  iatp run --config sidecar.yaml --check
  iatp run --listen unix:/run/iatp.sock --policy rules.yaml
  iatp run --public 0.0.0.0:8443 --public-url https://travel.example --key travel.key \
      --tls-cert cert.pem --tls-key key.pem`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			load := func() (sidecar.Config, error) { return f.load(cmd.Flags()) }
			if f.check {
				return p.check(load)
			}
			log, err := newLogger(p.stderr, f.logFormat)
			if err != nil {
				return err
			}
			return p.serve(cmd.Context(), load, log)
		},
	}
	f.register(cmd.Flags())
	choices(cmd, "log-format", "text", "json")
	choices(cmd, "durability", string(sidecar.DurabilityDefault), string(sidecar.DurabilityStrict))
	choices(cmd, "override", string(sidecar.OverrideAuto), string(sidecar.OverrideOff), string(sidecar.OverrideConfirm), string(sidecar.OverrideLoopback), string(sidecar.OverrideToken))
	return cmd
}

func (f *runFlags) register(flags *pflag.FlagSet) {
	c := &f.given
	flags.StringVar(&f.config, "config", "", "YAML file with the configuration")
	flags.BoolVar(&f.check, "check", false, "validate everything, print the effective configuration and exit")
	flags.StringVar(&f.logFormat, "log-format", "text", "format of the program's own log on stderr: text or json")
	flags.StringVar(&c.Agent, "agent", c.Agent, "URL of the wrapped agent")
	flags.StringVar(&c.Listen, "listen", c.Listen, "address of the local listener, host:port or unix:PATH; port 0 takes a free one")
	flags.StringArrayVar(&c.Hosts, "host", nil, "a further name that callers may use for this sidecar (repeatable)")
	flags.StringVar(&c.Public, "public", "", "address of the listener for other sidecars, ip:port; off if not given")
	flags.StringVar(&c.PublicURL, "public-url", "", "origin under which other sidecars reach that, such as https://travel.example")
	flags.StringVar(&c.TLS.Cert, "tls-cert", "", "PEM file with the certificate of the public listener")
	flags.StringVar(&c.TLS.Key, "tls-key", "", "PEM file with its key")
	flags.StringVar(&c.Key, "key", "", "file with the agent key that iatp keygen wrote: signs the manifest, requests and receipts")
	flags.StringVar(&c.Manifest, "manifest", "", "the agent's manifest, a JSON file")
	flags.StringVar(&c.Data, "data", c.Data, "directory of the flight recorder and its keys")
	flags.StringVar((*string)(&c.Durability), "durability", string(c.Durability), "default or strict: strict has every record on disk before anything is forwarded")
	flags.StringVar((*string)(&c.Override), "override", string(c.Override), "who can release a call that is asked about: auto, off, confirm, loopback or token")
	flags.StringVar(&c.OverrideToken, "override-token", "", "file with the secret of the token mode")
	flags.StringVar(&c.OperatorToken, "operator-token", "", "file with the operator's token (default DATA/operator.token, made at first start)")
	flags.StringArrayVar(&c.Policy, "policy", nil, "file with rules (repeatable)")
	flags.StringVar(&c.Compensation.URL, "compensation", "", "where the agent undoes things, with {transaction_id} in it")
	flags.BoolVar(&c.AllowUnbackedClaims, "allow-unbacked-claims", false, "let the manifest promise an undo that nothing stands behind (demonstrations)")
}

// overlays say which flag sets what.
var overlays = map[string]func(to, given *sidecar.Config){
	"agent":                 func(to, given *sidecar.Config) { to.Agent = given.Agent },
	"listen":                func(to, given *sidecar.Config) { to.Listen = given.Listen },
	"public":                func(to, given *sidecar.Config) { to.Public = given.Public },
	"public-url":            func(to, given *sidecar.Config) { to.PublicURL = given.PublicURL },
	"tls-cert":              func(to, given *sidecar.Config) { to.TLS.Cert = given.TLS.Cert },
	"tls-key":               func(to, given *sidecar.Config) { to.TLS.Key = given.TLS.Key },
	"key":                   func(to, given *sidecar.Config) { to.Key = given.Key },
	"host":                  func(to, given *sidecar.Config) { to.Hosts = given.Hosts },
	"manifest":              func(to, given *sidecar.Config) { to.Manifest = given.Manifest },
	"data":                  func(to, given *sidecar.Config) { to.Data = given.Data },
	"durability":            func(to, given *sidecar.Config) { to.Durability = given.Durability },
	"override":              func(to, given *sidecar.Config) { to.Override = given.Override },
	"override-token":        func(to, given *sidecar.Config) { to.OverrideToken = given.OverrideToken },
	"operator-token":        func(to, given *sidecar.Config) { to.OperatorToken = given.OperatorToken },
	"policy":                func(to, given *sidecar.Config) { to.Policy = given.Policy },
	"compensation":          func(to, given *sidecar.Config) { to.Compensation.URL = given.Compensation.URL },
	"allow-unbacked-claims": func(to, given *sidecar.Config) { to.AllowUnbackedClaims = given.AllowUnbackedClaims },
}

// load builds the effective configuration from scratch.
func (f *runFlags) load(flags *pflag.FlagSet) (sidecar.Config, error) {
	c := sidecar.DefaultConfig()
	path := f.config
	if path == "" {
		path = os.Getenv("IATP_CONFIG")
	}
	if path != "" {
		if err := sidecar.LoadConfig(path, &c); err != nil {
			return c, err
		}
	}
	if err := sidecar.ApplyEnvironment(os.Getenv, &c); err != nil {
		return c, err
	}
	flags.Visit(func(flag *pflag.Flag) {
		if overlay, ok := overlays[flag.Name]; ok {
			overlay(&c, &f.given)
		}
	})
	return c, nil
}

// check validates without touching the data directory.
func (p *program) check(load func() (sidecar.Config, error)) error {
	cfg, err := load()
	if err != nil {
		return err
	}
	if _, err := sidecar.Check(cfg); err != nil {
		return err
	}
	text, err := cfg.YAML()
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(text)
	return err
}

func newLogger(w io.Writer, format string) (*slog.Logger, error) {
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	}
	return nil, usagef("--log-format %q is not one of text, json", format)
}

// serve runs a sidecar until a signal or the end of ctx. The first signal
// drains it, the second one ends the process at once.
func (p *program) serve(ctx context.Context, load func() (sidecar.Config, error), log *slog.Logger) (err error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	cfg, err := load()
	if err != nil {
		return err
	}
	// With one processor of the scheduler an fsync would hold up everything else.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 2))
	s, err := sidecar.New(cfg, sidecar.Options{Log: log, GiveBack: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ln, err := s.Listen()
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; choose another address with --listen, or port 0 for a free one", err)
	} else if err != nil {
		return err
	}
	public, err := s.ListenPublic()
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	var publicAddr net.Addr
	if public != nil {
		publicAddr = public.Addr()
	}
	banner(ctx, p.out, s, &cfg, ln.Addr(), publicAddr)

	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln, public) }()
	for {
		select {
		case <-hangup:
			reload(s, load, log)
		case <-ctx.Done():
			return <-served
		case err := <-served:
			return err
		}
	}
}

// reload takes what changed, or nothing.
func reload(s *sidecar.Sidecar, load func() (sidecar.Config, error), log *slog.Logger) {
	cfg, err := load()
	var fixed []string
	if err == nil {
		fixed, err = s.Reload(cfg)
	}
	if err != nil {
		log.Error("nothing was reloaded; what was in force stays in force", "error", scrubbed(err.Error())) // it quotes files
		return
	}
	if len(fixed) > 0 {
		log.Warn("some changed settings take effect only at the next start", "settings", fixed)
	}
}
