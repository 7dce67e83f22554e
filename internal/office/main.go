package office

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Run serves an agent until ctx ends. The first argument is its name. The exit
// codes are 0 done, 1 failed and 2 wrong usage.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || trades[args[0]] == nil {
		fmt.Fprintln(stderr, "usage: office ledger|desk|stock|mail [--db FILE] [--listen ADDR] [--faults]")
		return 2
	}
	name := args[0]
	flags := flag.NewFlagSet("office "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:8000", "address to listen on")
	file := flags.String("db", name+".db", "the database, made if there is none")
	faults := flags.Bool("faults", false, "let anybody who reaches the agent make it fail, at POST /faults")
	if err := flags.Parse(args[1:]); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "office: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	a, err := Open(name, *file, Options{Faults: *faults})
	if err == nil {
		err = errors.Join(serve(ctx, a, *listen, stdout), a.Close())
	}
	if err != nil {
		fmt.Fprintf(stderr, "office: %v\n", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, a *Agent, listen string, stdout io.Writer) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("start %s: %w", a.name, err)
	}
	srv := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // what callers do wrong is not news
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	fmt.Fprintf(stdout, "%s: listening on http://%s\n", a.name, ln.Addr())
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err = srv.Shutdown(grace); err != nil {
		err = errors.Join(err, srv.Close())
	}
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
