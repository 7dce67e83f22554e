// Package upstream speaks HTTP/1.1 to one server, the one that a sidecar stands in
// front of or another sidecar: one write for a request, pooled connections, and no more faith in
// the answer than RFC 9112 asks for. What could be read in two ways is an
// error, so that no byte of one answer ever stands in the next.
//
//	c, err := upstream.New(upstream.Options{Origin: "http://localhost:8000"})
//	resp, err := c.Do(new(upstream.Call), &upstream.Request{Method: "POST", Target: "/", Body: body})
//	defer resp.Body.Close()
//
// It follows no redirects, decodes nothing, asks no proxy, and sends nothing
// twice. net/http's Transport does more and costs three times the processor
// time; for the open Internet, HTTP/2 and everything else it is the one to use.
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"
)

// Options say whom to speak to. The zero values of all but Origin work.
type Options struct {
	// Origin is the scheme (http or https) and host of the server. What else
	// the URL holds is not used.
	Origin string
	// Dial is the host:port to connect to in place of that of Origin. It changes the
	// address, and neither the Host that is named nor the certificate that is asked for.
	Dial string
	// Control, if not nil, sees each address before it is connected to, and may refuse
	// it: see net.Dialer.
	Control func(network, address string, c syscall.RawConn) error
	// TLS is used with https. A server name is added if it has none.
	TLS *tls.Config
	// MaxIdle is how many idle connections are kept. Default 64.
	MaxIdle int
	// IdleTime is how long. Default one minute.
	IdleTime time.Duration
	// DialTime bounds connecting, and the TLS handshake. Default 5 s.
	DialTime time.Duration
}

// Client sends requests to one origin. Its methods are safe for concurrent use.
type Client struct {
	address string // for the dialer
	host    string // for the Host header
	tls     *tls.Config
	dialer  net.Dialer
	opt     Options

	mu      sync.Mutex
	idle    []*conn // the last one was used last
	age     int     // grows with each Flush; older connections are not kept
	sweeper *time.Timer
}

// New makes a client. It does not connect.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Origin)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return nil, fmt.Errorf("upstream: %q is not an http or https URL", o.Origin)
	}
	if o.MaxIdle <= 0 {
		o.MaxIdle = 64
	}
	if o.IdleTime <= 0 {
		o.IdleTime = time.Minute
	}
	if o.DialTime <= 0 {
		o.DialTime = 5 * time.Second
	}
	port := u.Port()
	c := &Client{host: u.Host, opt: o, dialer: net.Dialer{Timeout: o.DialTime, KeepAlive: 15 * time.Second, Control: o.Control}}
	if u.Scheme == "https" {
		c.tls = o.TLS.Clone()
		if c.tls == nil {
			c.tls = new(tls.Config)
		}
		if c.tls.ServerName == "" {
			c.tls.ServerName = u.Hostname()
		}
		c.tls.NextProtos = []string{"http/1.1"}
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	c.address = net.JoinHostPort(u.Hostname(), port)
	if o.Dial != "" {
		c.address = o.Dial
	}
	if !validValue(c.host) {
		return nil, fmt.Errorf("upstream: %q cannot stand in a Host header", c.host)
	}
	return c, nil
}

// Field is a header field.
type Field struct{ Name, Value string }

// Request is what Do sends. Host, Content-Length and Connection are the
// client's to write; a Request that names them, or another field that is about
// the connection, is an error.
type Request struct {
	Method string
	Target string // path and query, as they are written on the wire
	Fields []Field
	Body   []byte
}

// Error is an answer that did not come. Sent says whether the server may have
// seen anything of the request: if not, it can be sent again whatever it does.
type Error struct {
	Err  error
	Sent bool
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Kinds of answers that are refused, for errors.Is.
var (
	// ErrMalformed is an answer that is not HTTP/1.x, or could be read in two
	// ways.
	ErrMalformed = errors.New("malformed answer")
	// ErrSwitching is status 101: nobody asked for another protocol.
	ErrSwitching = errors.New("the server switches protocols")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Do sends r and returns the head of the answer; its body comes as it is read.
// call.End ends both: somebody must call it if the answer takes too long, for
// there is no other clock. The caller must close the body. What is returned lies in
// call and is the caller's until call is used again, the values of its fields for
// ever; ContentLength is -1 where it is not known, and then TransferEncoding tells
// a chunked body from one that ends with its connection.
//
// An error is an *[Error]. Nothing is tried twice, except that a request of
// which nothing was written goes to another connection.
func (c *Client) Do(call *Call, r *Request) (*http.Response, error) {
	if err := r.check(); err != nil {
		return nil, &Error{Err: err}
	}
	for {
		cn, reused, err := c.take(call)
		if err != nil {
			return nil, &Error{Err: err}
		}
		resp, err := cn.exchange(call, r, reused)
		if err == nil {
			return resp, nil
		}
		cn.Close()
		if cn.wrote == 0 && reused && call.Err() == nil {
			continue // it had ended while it was idle; pools are finite, so this ends
		}
		return nil, &Error{Err: err, Sent: cn.wrote > 0}
	}
}

// take returns a connection that is idle, or a new one. Whether an idle one is whole was
// looked at, or will be when it is asked.
func (c *Client) take(call *Call) (cn *conn, reused bool, err error) {
	for {
		c.mu.Lock()
		n := len(c.idle)
		if n == 0 {
			age := c.age
			c.mu.Unlock()
			cn, err = c.dial(call, age)
			return cn, false, err
		}
		cn = c.idle[n-1]
		c.idle[n-1] = nil
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		if cn.asks() || cn.quiet() {
			return cn, true, nil
		}
		cn.Close()
	}
}

func (c *Client) dial(call *Call, age int) (*conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.opt.DialTime)
	defer cancel()
	if err := call.await(dialing(cancel)); err != nil {
		return nil, err
	}
	cn, err := c.connect(ctx, age)
	if ended := call.done(); ended != nil && err != nil {
		err = ended
	}
	return cn, err
}

func (c *Client) connect(ctx context.Context, age int) (*conn, error) {
	raw, err := c.dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	cn := newConn(c, raw, age)
	if c.tls != nil {
		secure := tls.Client(cn.raw, c.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		cn.Conn = secure
	}
	return cn, nil
}

// put keeps a connection whose last answer was read to its end.
func (c *Client) put(cn *conn) {
	cn.since = time.Now()
	c.mu.Lock()
	if cn.age != c.age || len(c.idle) >= c.opt.MaxIdle {
		c.mu.Unlock()
		cn.Close()
		return
	}
	defer c.mu.Unlock()
	c.idle = append(c.idle, cn)
	if c.sweeper == nil {
		c.sweeper = time.AfterFunc(c.opt.IdleTime, c.sweep)
	}
}

// closeAll closes connections that nobody can take any more. No lock is held: TLS
// says goodbye first, and waits up to five seconds for a peer that takes nothing.
func closeAll(conns []*conn) {
	for _, cn := range conns {
		cn.Close()
	}
}

// sweep closes what was idle for too long. It runs while something is idle.
func (c *Client) sweep() { closeAll(c.stale()) }

// stale takes out what was idle for too long.
func (c *Client) stale() (gone []*conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := 0
	for old < len(c.idle) && time.Since(c.idle[old].since) >= c.opt.IdleTime {
		gone = append(gone, c.idle[old])
		old++
	}
	left := copy(c.idle, c.idle[old:])
	clear(c.idle[left:])
	c.idle = c.idle[:left]
	if left == 0 {
		c.sweeper = nil
		return gone
	}
	c.sweeper.Reset(c.opt.IdleTime - time.Since(c.idle[0].since))
	return gone
}

// Flush closes the idle connections, and those under way when their answer has
// ended. Call it when the server may be another one now.
func (c *Client) Flush() {
	c.mu.Lock()
	c.age++
	gone := c.idle
	c.idle = nil
	if c.sweeper != nil {
		c.sweeper.Stop()
		c.sweeper = nil
	}
	c.mu.Unlock()
	closeAll(gone)
}
