package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// A Server is an agent that is up.
type Server struct {
	URL string // http://host:port

	http *http.Server
	done chan error // what Serve returned
}

// Start serves an agent on an address, as in "127.0.0.1:0" for a free port. The
// caller must Close it.
func Start(addr string, agent http.Handler) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	s := &Server{
		URL: "http://" + l.Addr().String(),
		http: &http.Server{
			Handler:           agent,
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       30 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    64 << 10,
			ErrorLog:          log.New(io.Discard, "", 0), // what callers do wrong is not news
		},
		done: make(chan error, 1),
	}
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
}

// Close lets requests under way end, for at most five seconds, and waits until
// the agent is down.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if serveErr := <-s.done; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// Main is the main function of an example program: it serves an agent until it
// is interrupted and returns the exit code.
func Main(name string, agent http.Handler) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Run(ctx, name, agent, os.Args[1:], os.Stdout, os.Stderr)
}

// Run serves an agent until ctx ends. The flag --listen names the address,
// 127.0.0.1:8000 if it is not given. The exit codes are 0 done, 1 failed and 2
// wrong usage.
func Run(ctx context.Context, name string, agent http.Handler, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:8000", "address to listen on")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "%s: unexpected argument %q\n", name, flags.Arg(0))
		return 2
	}
	s, err := Start(*listen, agent)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 1
	}
	fmt.Fprintf(stdout, "%s: listening on %s\n", name, s.URL)
	select {
	case <-ctx.Done():
		err = s.Close()
	case err = <-s.done:
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}
