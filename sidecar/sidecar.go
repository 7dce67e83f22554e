// Package sidecar is the corridor that every exchange of an agent walks down:
// who would get this, what is in it, may it leave, record it, forward it, look
// at what comes back. Nothing is forwarded that is not in the flight recorder
// first, and what is unknown, unreadable or unrecorded is refused.
//
// cmd/iatp runs it as a program; New gives it to Go programs that want it inside:
//
//	s, err := sidecar.New(sidecar.DefaultConfig(), sidecar.Options{})
//	if err != nil { … }
//	defer s.Close()
//	err = s.Serve(ctx, ln, nil) // until ctx ends, then drains
//
// The corridor itself is walk, in exchange.go.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/bundle"
	"github.com/inter-agent-trust/iatp/internal/upstream"
	"github.com/inter-agent-trust/iatp/privacy"
)

// Sidecar stands beside one agent. Make it with New.
type Sidecar struct {
	cfg      Config
	log      *slog.Logger
	now      func() time.Time
	book     *flight.Log
	archive  *flight.Archive   // the same, for long reads that must not hold up the writer
	kept     *bundle.Manifests // what ours and our peers' manifests said
	agent    *upstream.Client
	agentURL string
	// agentTarget is the path and query of agentURL.
	agentTarget string

	mesh  *mesh // nil without public_url
	certs atomic.Pointer[certificates]

	standing   atomic.Pointer[standing]
	active     atomic.Pointer[Config]           // what standing was made from
	seen       atomic.Pointer[map[string]stamp] // its files, before they were read
	quarantine *quarantine
	metrics    *metrics
	bodies     memory
	gate       *gate        // limits.concurrency
	calls      *watch       // forwarded calls under way
	atAgent    atomic.Int64 // calls under way at the wrapped agent that count against its concurrency_limit
	pieces     atomic.Int64 // of streams, passed on so far
	streams    atomic.Int64 // requests over HTTP/2 under way
	draining   atomic.Bool
	restful    bool // Options.GiveBack

	overrideMode  OverrideMode
	overrideToken []byte
	operatorToken []byte
	claims        *claims
	hosts         map[string]bool // names that the Host header may have

	reload sync.Mutex // one reload at a time
	closed sync.Once
}

// Options are what a program passes besides the configuration.
type Options struct {
	// Log receives what an operator may ask; nil discards it. No payload, no
	// token and no key is ever logged.
	Log *slog.Logger
	// GiveBack returns memory to the operating system when a second has passed
	// without work (runtime/debug.FreeOSMemory), and lets a small heap grow further
	// before it is collected (SetGCPercent, unless GOGC is set). Both are about the
	// whole program, so this is for one that is a sidecar and nothing else.
	GiveBack bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// New opens the flight recorder and reads manifest, policies and secrets. The
// caller must Close the sidecar. Problems of the configuration are reported
// together.
func New(cfg Config, o Options) (*Sidecar, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	seen := cfg.stamps()
	st, err := cfg.load()
	if err != nil {
		return nil, err
	}
	s := &Sidecar{cfg: cfg, log: o.Log, now: o.Now, restful: o.GiveBack, overrideMode: cfg.overrideMode()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.log = s.scrubbed(s.log)
	if s.now == nil {
		s.now = time.Now
	}
	if cfg.overrideMode() == OverrideToken {
		if s.overrideToken, err = readSecret("override_token", cfg.OverrideToken); err != nil {
			return nil, err
		}
	}
	if cfg.OperatorToken != "" { // before the book is opened: a refused start leaves nothing behind
		if s.operatorToken, err = readSecret("operator_token", cfg.OperatorToken); err != nil {
			return nil, err
		}
	}
	s.standing.Store(st)
	s.active.Store(&cfg)
	s.seen.Store(&seen)
	s.agentURL = agentURL(cfg.Agent)
	if s.agent, s.agentTarget, err = newAgentClient(&cfg); err != nil {
		return nil, err
	}
	s.bodies.max = int64(cfg.Limits.BodyMemory)
	s.gate = newGate(cfg.Limits.Concurrency, cfg.Limits.Connections)
	s.calls = newWatch(s.now)
	s.claims = newClaims(s.now)
	s.hosts = acceptedHosts(&cfg)
	if err := s.openBook(); err != nil {
		return nil, err
	}
	if err := s.openPublic(); err != nil {
		return nil, errors.Join(err, s.mesh.close(), s.book.Close())
	}
	s.metrics = newMetrics(s)
	if err := s.askPeers(); err != nil { // before anything goes on by itself
		return nil, errors.Join(err, s.mesh.close(), s.book.Close())
	}
	if s.mesh != nil {
		if err := s.mesh.undo.Run(); err != nil {
			return nil, errors.Join(err, s.mesh.close(), s.book.Close())
		}
	}
	return s, nil
}

func (s *Sidecar) openBook() error {
	var err error
	s.book, err = flight.Open(s.cfg.Data, flight.Options{
		Origin: s.origin(), Logger: s.log, Now: s.now,
		RetainAge: time.Duration(s.cfg.Retention.Age), RetainBytes: int64(s.cfg.Retention.Size),
	})
	if err != nil {
		return err
	}
	if s.operatorToken == nil {
		if s.operatorToken, err = operatorToken(s.OperatorTokenFile()); err != nil {
			return errors.Join(err, s.book.Close())
		}
	}
	if s.archive, err = flight.OpenArchive(s.cfg.Data); err != nil {
		return errors.Join(err, s.book.Close())
	}
	if s.kept, err = bundle.OpenManifests(s.cfg.Data); err != nil {
		return errors.Join(err, s.book.Close())
	}
	s.quarantine = &quarantine{book: s.book}
	_ = s.quarantine.Restore(nil) // nil always restores
	if err := s.book.Attach("quarantine", s.quarantine); err != nil {
		return errors.Join(fmt.Errorf("rebuild quarantine: %w", err), s.book.Close())
	}
	return nil
}

// openPublic makes what is needed to speak with other sidecars, and puts the
// signed manifest in place of the operator's.
func (s *Sidecar) openPublic() error {
	certs, err := s.cfg.loadCertificates()
	if err != nil {
		return err
	}
	s.certs.Store(certs)
	if err := s.openMesh(); err != nil {
		return err
	}
	st, err := s.published(s.standing.Load(), &s.cfg)
	if err == nil {
		err = s.kept.Keep(st.manifest)
		s.standing.Store(st)
	}
	return err
}

// origin names the log in its checkpoints: by the host that others know, else by
// the agent. A log that exists keeps the name that it began with.
func (s *Sidecar) origin() string {
	name := string(s.standing.Load().manifest.Identity.AgentID)
	if u, err := url.Parse(s.cfg.PublicURL); err == nil && u.Host != "" {
		name = u.Host
	}
	var b strings.Builder
	for _, r := range name {
		if r > ' ' && r < 0x7f && r != '+' && r != '/' {
			b.WriteRune(r)
		} else {
			b.WriteByte('-')
		}
	}
	return b.String() + "/iatp"
}

// OperatorTokenFile is where the operator's bearer token is.
func (s *Sidecar) OperatorTokenFile() string {
	if s.cfg.OperatorToken != "" {
		return s.cfg.OperatorToken
	}
	return filepath.Join(s.cfg.Data, "operator.token")
}

func agentURL(u string) string {
	_, rest, _ := strings.Cut(u, "://")
	if !strings.ContainsAny(rest, "/?") {
		return u + "/"
	}
	return u
}

// scanner looks for sensitive data as the configuration of the moment says.
func (s *Sidecar) scanner() *privacy.Scanner { return s.standing.Load().scanner }

// Listen opens the local listener.
func (s *Sidecar) Listen() (net.Listener, error) {
	path, isUnix := strings.CutPrefix(s.cfg.Listen, "unix:")
	if !isUnix {
		return net.Listen("tcp", s.cfg.Listen)
	}
	// A socket left by a killed process is in the way; the data directory's
	// lock, which we hold, says that it is nobody's. Anything else stays.
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("listen on %s: another process listens there", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", path, err)
		}
	}
	return listenPrivate(path)
}

// Serve answers on the listeners (public may be nil) until ctx ends, then drains: health turns
// unhealthy, new calls get 503, those under way are finished within
// limits.deadline and recorded. It returns nil after a complete drain.
func (s *Sidecar) Serve(ctx context.Context, local, public net.Listener) error {
	watch, stopWatch := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.watchFiles(watch) })
	if s.restful {
		wg.Go(func() { s.rest(watch) })
	}
	defer wg.Wait()
	defer stopWatch()

	servers := []*http.Server{s.server(s.Handler())}
	listeners := []net.Listener{limitConns(local, s.cfg.Limits.Connections)}
	if public != nil {
		servers = append(servers, s.server(s.PublicHandler()))
		listeners = append(listeners, public)
	}
	served := make(chan error, len(servers))
	for i, srv := range servers {
		wg.Go(func() { served <- srv.Serve(listeners[i]) })
	}
	var failed error
	select {
	case failed = <-served:
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.log.Info("draining", "in_flight", s.underWay())
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(s.cfg.Limits.Deadline))
	defer cancel()
	for _, srv := range servers {
		if err := srv.Shutdown(bound); err == nil {
			continue
		}
		if n := s.underWay(); n > 0 { // else it waits for a connection on which nothing was said yet
			failed = errors.Join(failed, fmt.Errorf("drain: %d exchanges were still under way after %s", n, time.Duration(s.cfg.Limits.Deadline)))
		}
		failed = errors.Join(failed, srv.Close())
	}
	return failed
}

// underWay is how many exchanges are inside.
func (s *Sidecar) underWay() int {
	inside, _, _ := s.gate.state()
	return inside
}

func (s *Sidecar) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           endingChunks(h),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		WriteTimeout:      s.longest(), // a stream moves it on with each piece
		MaxHeaderBytes:    32 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100},
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext:       s.markConn,
		// It would answer OPTIONS * for any Host.
		DisableGeneralOptionsHandler: true,
	}
}

// endingChunks closes the connection of a request in chunks behind its answer.
// net/http hides whether it had a length too: who sends both may have put a
// request behind it that somebody before us took for its body (RFC 9112, 6.1).
func endingChunks(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// longest is the time from the head of a request to the end of an answer that
// is passed on whole, each step at its limit.
func (s *Sidecar) longest() time.Duration {
	l := &s.cfg.Limits
	return time.Duration(l.BodyTime + l.Deadline + 2*l.Idle)
}

// Close signs the last checkpoint and closes the flight recorder. Call it
// after Serve has returned, or when the handler is no longer used.
func (s *Sidecar) Close() error {
	var err error
	s.closed.Do(func() {
		s.draining.Store(true)
		s.agent.Flush()
		err = errors.Join(s.mesh.close(), s.book.Close())
	})
	return err
}
