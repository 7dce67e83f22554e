// Package socket reads and writes stream sockets without telling the scheduler.
//
// The runtime prepares for every system call to take long: it notes down that the
// processor may be taken away, wakes the thread that would do so, and that thread
// looks every 20 µs from then on. A call that must not block takes a few
// microseconds, or says that there is nothing to do, so for short pieces all that is in vain (decision
// 0045). Whoever has to wait does so in the runtime's poller, and that ends with a
// deadline or with Close as it does for any connection.
package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// most is how long a piece may be: the kernel copies so much in some microseconds. A
// longer write is an ordinary system call.
const most = 16 << 10

// Conn is a connection that is read and written that way. Its methods do what those of
// the connection below it do.
type Conn struct {
	net.Conn
	raw     syscall.RawConn // nil where the connection has to do it itself
	in, out half
}

// half is one direction.
type half struct {
	mu    sync.Mutex // held by who reads, or writes
	p     []byte
	n     int
	errno syscall.Errno
	try   func(fd uintptr) bool // made once

	// Of Ask.
	q     []byte // what is left to be sent; nil if everything was
	wrote int
	idle  bool // nothing may have come yet
	spoke bool // and something had
}

// New makes a Conn of c. For anything but a TCP or Unix stream, and anywhere but on
// Linux, its Read and Write are those of c, and Direct is false.
func New(c net.Conn) *Conn {
	s := &Conn{Conn: c}
	if !direct {
		return s
	}
	switch c := c.(type) {
	case *net.TCPConn:
		s.raw, _ = c.SyscallConn()
	case *net.UnixConn:
		if c.LocalAddr().Network() == "unix" {
			s.raw, _ = c.SyscallConn()
		}
	}
	s.in.try, s.out.try = s.in.read, s.out.write
	return s
}

// Direct reports whether Ask can be used.
func (s *Conn) Direct() bool { return s.raw != nil }

// Read implements net.Conn.
func (s *Conn) Read(p []byte) (int, error) {
	if s.raw == nil || len(p) == 0 {
		return s.Conn.Read(p)
	}
	h := &s.in
	h.mu.Lock()
	defer h.mu.Unlock()
	return s.receive(p)
}

// receive reads. It needs in.mu.
func (s *Conn) receive(p []byte) (int, error) {
	h := &s.in
	h.p, h.n, h.errno = p[:min(len(p), most)], 0, 0
	err := s.raw.Read(h.try)
	h.p = nil
	switch {
	case err != nil:
		return 0, s.failed("read", err)
	case h.errno != 0:
		return 0, s.failed("read", os.NewSyscallError("read", h.errno))
	case h.n == 0:
		return 0, io.EOF
	}
	return h.n, nil
}

// Write implements net.Conn.
func (s *Conn) Write(p []byte) (int, error) {
	if s.raw == nil || len(p) > most || len(p) == 0 {
		return s.Conn.Write(p)
	}
	h := &s.out
	h.mu.Lock()
	defer h.mu.Unlock()
	h.p, h.n, h.errno = p, 0, 0
	err := s.raw.Write(h.try)
	h.p = nil
	switch {
	case err != nil:
		return h.n, s.failed("write", err)
	case h.errno != 0:
		return h.n, s.failed("write", os.NewSyscallError("write", h.errno))
	}
	return h.n, nil
}

// ErrSpoke is returned by Ask for a connection that was not idle.
var ErrSpoke = errors.New("the other side has spoken or hung up before it was asked")

// Ask writes a question and reads the beginning of the answer, which may lie in the same
// memory. With idle, nothing may have come before the question: otherwise it is not sent,
// and the error is ErrSpoke. Nobody else may use the connection meanwhile.
//
// It returns how much of the question was written. If that is less than all of it and
// there is no error, the kernel had no room: go on with Write, then Read.
func (s *Conn) Ask(question, answer []byte, idle bool) (wrote, n int, err error) {
	h := &s.in
	h.mu.Lock()
	defer h.mu.Unlock()
	h.q, h.wrote, h.idle, h.spoke = question, 0, idle, false
	n, err = s.receive(answer)
	short := h.q != nil
	h.q = nil
	switch {
	case h.spoke:
		return 0, 0, ErrSpoke
	case short && h.errno != 0:
		return h.wrote, 0, s.failed("write", os.NewSyscallError("write", h.errno))
	case short && err == io.EOF: // nothing was read, nor tried to be
		return h.wrote, 0, nil
	}
	return h.wrote, n, err
}

// failed is an error as the connection itself would return it.
func (s *Conn) failed(op string, err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err // the raw connection has a name of its own for what it does
	}
	local := s.Conn.LocalAddr()
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: s.Conn.RemoteAddr(), Err: err}
}

// read reads what is there, and reports whether the reader need not wait. The poller
// was told before that it will be asked, so that it does not miss what comes between
// the first look, which finds nothing, and the wait: a question is sent in between.
func (h *half) read(fd uintptr) bool {
	if h.q != nil && !h.idle {
		return h.ask(fd)
	}
	h.n, h.errno = again(receive, fd, h.p)
	switch {
	case h.errno == syscall.EAGAIN && h.q != nil:
		return h.ask(fd)
	case h.errno == syscall.EAGAIN:
		return false
	}
	h.spoke = h.q != nil
	return true
}

// ask sends the question, and reports whether it is in vain to wait for the answer.
func (h *half) ask(fd uintptr) bool {
	n, errno := again(send, fd, h.q)
	if errno == syscall.EAGAIN {
		n, errno = 0, 0
	}
	h.wrote, h.errno, h.n = max(n, 0), errno, 0
	if errno == 0 && n == len(h.q) {
		h.q = nil
		return false
	}
	return true
}

// write writes what there is room for, and reports whether the writer need not wait.
func (h *half) write(fd uintptr) bool {
	for {
		var n int
		n, h.errno = again(send, fd, h.p)
		switch {
		case h.errno == syscall.EAGAIN:
			return false
		case h.errno != 0:
			return true
		}
		if h.n += n; n == len(h.p) {
			return true
		}
		h.p = h.p[n:]
	}
}

// again makes a call until no signal interrupts it.
func again(call func(uintptr, []byte) (int, syscall.Errno), fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, errno := call(fd, p)
		if errno != syscall.EINTR {
			return n, errno
		}
	}
}
