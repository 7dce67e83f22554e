package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A phase is the moment of a message.
type phase string

const (
	request phase = "request" // it has arrived at the proxy and goes no further yet
	reply   phase = "reply"   // its answer has arrived at the proxy
)

// A point is a moment of a run that can be waited for: the n-th message of a hop,
// from 1. Only messages that change something are counted.
type point struct {
	hop   string
	n     int
	phase phase
}

func (p point) String() string { return fmt.Sprintf("%s %d on %s", p.phase, p.n, p.hop) }

// An act is what a proxy does with a message.
type act int

const (
	pass  act = iota
	cut       // close the connection to who asked
	twice     // deliver it, and deliver it again when it was answered
	both      // deliver it two times at once
	late      // keep it until the other side has given up, then pass it on
)

// lateness is longer than any deadline in a world.
const lateness = 3500 * time.Millisecond

// A proxy stands in a hop, counts messages, and does with them what a hook says.
type proxy struct {
	hop  string
	addr string // where it listens
	to   string // host:port

	server    *http.Server
	transport *http.Transport
	done      chan struct{}
	inside    atomic.Int64 // messages that are being delivered

	mu   sync.Mutex
	n    int
	hook func(point) act // nil: pass
}

func newProxy(hop, to string) (*proxy, error) {
	ln, err := steadyListener()
	if err != nil {
		return nil, err
	}
	p := &proxy{
		hop: hop, addr: ln.Addr().String(), to: to, done: make(chan struct{}),
		// Nothing is kept open and nothing is tried again behind our back.
		transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	}
	p.server = &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { defer close(p.done); _ = p.server.Serve(ln) }()
	return p, nil
}

func (p *proxy) close() {
	_ = p.server.Close() // whoever is still inside has lost
	<-p.done
}

// reset begins a run: messages are counted from 1.
func (p *proxy) reset(hook func(point) act) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n, p.hook = 0, hook
}

// next counts a message and returns what to do with it at a phase.
func (p *proxy) next() (at func(phase) act) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	n, hook := p.n, p.hook
	return func(ph phase) act {
		if hook == nil {
			return pass
		}
		return hook(point{p.hop, n, ph})
	}
}

// ServeHTTP delivers a message.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	p.inside.Add(1)
	defer p.inside.Add(-1)
	at := func(phase) act { return pass }
	if r.Method != http.MethodGet {
		at = p.next()
	}
	ctx := r.Context()
	switch at(request) {
	case cut:
		panic(http.ErrAbortHandler)
	case late:
		time.Sleep(lateness)
		ctx = context.WithoutCancel(ctx) // it is on its way, whoever still waits
	case twice:
		// The first answer is the one that gets lost.
		if resp, err := p.deliver(ctx, r, body); err == nil {
			resp.Body.Close()
		}
	case both:
		p.inside.Add(1)
		go func() {
			defer p.inside.Add(-1)
			if resp, err := p.deliver(context.WithoutCancel(ctx), r, body); err == nil {
				resp.Body.Close()
			}
		}()
	}
	resp, err := p.deliver(ctx, r, body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch at(reply) {
	case cut:
		panic(http.ErrAbortHandler)
	case late:
		time.Sleep(lateness)
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	for k, v := range resp.Trailer {
		w.Header()[http.TrailerPrefix+k] = v
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(answer) // an error means that who asked has gone
}

// deliver sends a message on as it came.
func (p *proxy) deliver(ctx context.Context, r *http.Request, body []byte) (*http.Response, error) {
	out := r.Clone(ctx)
	// Not a byte of the target is spelt anew: it is signed for.
	out.URL = &url.URL{Scheme: "http", Host: p.to, Opaque: r.RequestURI}
	out.RequestURI = ""
	out.Body, out.GetBody, out.ContentLength = io.NopCloser(bytes.NewReader(body)), nil, int64(len(body))
	for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding"} {
		out.Header.Del(name)
	}
	if strings.TrimSpace(out.Header.Get("User-Agent")) == "" {
		out.Header["User-Agent"] = nil // or net/http would add its own
	}
	return p.transport.RoundTrip(out)
}
