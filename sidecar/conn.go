package sidecar

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/inter-agent-trust/iatp/internal/socket"
)

// limitConns makes a listener accept at most n connections at a time; the rest
// wait in the kernel.
func limitConns(ln net.Listener, n int) net.Listener {
	return &limitedListener{Listener: ln, places: make(chan struct{}, n), done: make(chan struct{})}
}

type limitedListener struct {
	net.Listener
	places chan struct{}
	done   chan struct{}
	once   sync.Once
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return newLimitedConn(c, sync.OnceFunc(func() { <-l.places })), nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// limitedConn is a connection that holds a place of its listener. It also spares
// the runtime most of the deadlines that net/http sets, ten for each request: one
// that is later than the one the connection was told is only noted down, and looked
// at when the earlier one strikes. None strikes early or late for that.
type limitedConn struct {
	net.Conn
	quick   *socket.Conn // the same
	release func()
	sys     syscall.RawConn // nil where there is none
	taken   atomic.Bool     // see watched

	mu          sync.Mutex
	read, write deadline
}

// deadline is when waiting ends, zero for never.
type deadline struct {
	want time.Time
	told time.Time // what the connection knows: none, or not later than want when that was set
}

func newLimitedConn(c net.Conn, release func()) *limitedConn {
	l := &limitedConn{Conn: c, quick: socket.New(c), release: release}
	if s, ok := c.(syscall.Conn); ok {
		l.sys, _ = s.SyscallConn() // a connection without one is not looked at
	}
	return l
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// Read implements net.Conn.
func (c *limitedConn) Read(p []byte) (int, error) {
	if len(p) == 1 && c.taken.Load() {
		return 0, nil
	}
	for {
		n, err := c.quick.Read(p)
		if n > 0 || err == nil || !c.early(err, &c.read, c.Conn.SetReadDeadline) {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (c *limitedConn) Write(p []byte) (n int, err error) {
	for {
		m, err := c.quick.Write(p[n:])
		if n += m; err == nil || !c.early(err, &c.write, c.Conn.SetWriteDeadline) {
			return n, err
		}
	}
}

// early reports whether err is a deadline that is not the one that was asked for,
// and sets that.
func (c *limitedConn) early(err error, d *deadline, set func(time.Time) error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !d.want.IsZero() && !time.Now().Before(d.want) {
		return false
	}
	d.told = d.want
	return set(d.want) == nil
}

// SetReadDeadline implements net.Conn.
func (c *limitedConn) SetReadDeadline(t time.Time) error {
	return c.note(&c.read, t, c.Conn.SetReadDeadline)
}

// SetWriteDeadline implements net.Conn.
func (c *limitedConn) SetWriteDeadline(t time.Time) error {
	return c.note(&c.write, t, c.Conn.SetWriteDeadline)
}

// SetDeadline implements net.Conn.
func (c *limitedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *limitedConn) note(d *deadline, t time.Time, set func(time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.want = t
	if t.IsZero() || !d.told.IsZero() && !t.Before(d.told) {
		return nil
	}
	d.told = t
	return set(t)
}

// watched takes the connection of a request whose caller is asked for where it
// matters whether he is there: by Sidecar.calls, if the call takes its time, and by
// exchange.left.
// net/http would start a goroutine to read one byte ahead, and wake it to end it; as
// long as the connection is taken, that read finds nothing and is over at once. Nil
// for a connection of which nobody can tell whether its other end is there, and for
// HTTP/2: then the context of the request ends with its caller.
func watched(r *http.Request) *limitedConn {
	c, ok := connOf(r.Context()).(*limitedConn)
	if !ok || c.sys == nil || r.ProtoMajor != 1 {
		return nil
	}
	c.taken.Store(true)
	return c
}

// free gives the connection back to net/http. c may be nil.
func (c *limitedConn) free() {
	if c != nil {
		c.taken.Store(false)
	}
}

// gone reports whether the caller has left: the connection has ended, and there is
// nothing left to read on it.
func (c *limitedConn) gone() bool {
	gone := false
	err := c.sys.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		wait := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR)
		gone = n <= 0 && !wait
	})
	return gone || err != nil
}

// gone reports whether the caller has left.
func (x *exchange) gone() bool {
	if x.line != nil {
		return x.line.gone()
	}
	return x.r.Context().Err() != nil
}

// left reports whether the caller has left while something before his call was
// waited for. To look is a system call: who has waited for a moment only is not
// looked at.
func (x *exchange) left(now time.Time) bool {
	return x.line != nil && now.Sub(x.ready) >= lookEach && x.line.gone()
}

// reset closes a connection such that the other side sees an error and no end,
// where the transport knows the difference.
func reset(c net.Conn) {
	defer c.Close()
	if l, ok := c.(*limitedConn); ok {
		c = l.Conn
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // or it is closed as any other
	}
}

// connKey is where the context of a request has its connection.
type connKey struct{}

// accepted is a connection as it came, and who is at its other end.
type accepted struct {
	net.Conn
	unix, own bool // a Unix socket; from a process of our own user
}

func (s *Sidecar) markConn(ctx context.Context, c net.Conn) context.Context {
	a := &accepted{Conn: c}
	if l, ok := c.(*limitedConn); ok {
		c = l.Conn
	}
	if u, ok := c.(*net.UnixConn); ok {
		a.unix, a.own = true, sameUser(u)
	}
	return context.WithValue(ctx, connKey{}, a)
}

// connOf is the connection of a request, nil if it is not known.
func connOf(ctx context.Context) net.Conn {
	if a, ok := ctx.Value(connKey{}).(*accepted); ok {
		return a.Conn
	}
	return nil
}

// unixPeer says whether the request came over a Unix socket, and if so whether
// from a process of our own user.
func unixPeer(ctx context.Context) (own, isUnix bool) {
	a, ok := ctx.Value(connKey{}).(*accepted)
	return ok && a.own, ok && a.unix
}
