package upstream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/inter-agent-trust/iatp/internal/socket"
)

// Bounds of an answer's head.
const (
	maxHead    = 64 << 10
	maxFields  = 100
	maxInterim = 5 // answers 1xx before the final one
)

// conn is a connection. One goroutine uses it at a time; it is in the pool or
// belongs to an exchange.
type conn struct {
	net.Conn // TLS, or raw itself
	raw      *socket.Conn
	sys      syscall.RawConn // of raw
	client   *Client
	age      int
	since    time.Time // idle since

	// buf[r:w] was read and not used. It is borrowed from rooms during an
	// exchange (a long head has a buffer of its own), so an idle connection
	// holds none.
	buf  []byte
	lent *[room]byte
	r, w int

	wrote int   // bytes of the request that the kernel took
	early error // why the answer did not begin, until somebody reads it

	peek   func(fd uintptr) // for quiet; made once
	peeked error
}

func newConn(c *Client, raw net.Conn, age int) *conn {
	cn := &conn{raw: socket.New(raw), client: c, age: age}
	cn.Conn = cn.raw
	if s, ok := raw.(syscall.Conn); ok {
		cn.sys, _ = s.SyscallConn() // without it the connection is used once
	}
	cn.peek = func(fd uintptr) {
		var one [1]byte
		_, _, cn.peeked = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	return cn
}

// interrupt makes whoever waits on the connection stop. It is not used again.
func (cn *conn) interrupt() { _ = cn.SetDeadline(longAgo) }

// quiet reports whether an idle connection can be used: open, and with nothing
// to read. Whoever speaks first on it would be taken for the next answer.
func (cn *conn) quiet() bool {
	if cn.sys == nil || cn.sys.Control(cn.peek) != nil {
		return false
	}
	if !errors.Is(cn.peeked, syscall.EAGAIN) && !errors.Is(cn.peeked, syscall.EWOULDBLOCK) {
		return false
	}
	return cn.Conn == cn.raw || cn.drained()
}

// drained reports whether TLS holds nothing that it has decrypted: a record may
// hold the end of an answer and more. The deadline keeps it off the socket, so
// that it gives what it has or says that the time is up.
func (cn *conn) drained() bool {
	if cn.SetReadDeadline(longAgo) != nil {
		return false
	}
	var one [1]byte
	n, err := cn.Conn.Read(one[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && cn.SetReadDeadline(time.Time{}) == nil
}

// longAgo makes every wait on a connection end.
var longAgo = time.Unix(1, 0)

// asks reports whether a request goes out together with the first look for its answer,
// which is then also the look whether the connection is quiet.
func (cn *conn) asks() bool { return cn.Conn == cn.raw && cn.raw.Direct() }

// exchange sends r and reads the head of the answer. reused says that the connection
// was idle.
func (cn *conn) exchange(call *Call, r *Request, reused bool) (*http.Response, error) {
	cn.wrote, cn.early = 0, nil
	if err := call.await(cn); err != nil {
		return nil, err
	}
	b := &call.body
	*b = body{cn: cn, call: call}
	cn.lent = rooms.Get().(*[room]byte)
	err := cn.send(r, b, reused)
	if err == nil || cn.wrote > 0 {
		// A server that has answered and closed before it read everything is
		// heard all the same.
		var resp *http.Response
		if resp, b.err = cn.head(r.Method, call); b.err == nil {
			b.broken = b.broken || err != nil
			b.started(resp)
			return resp, nil
		}
		if err == nil || errors.Is(b.err, ErrMalformed) || errors.Is(b.err, ErrSwitching) {
			err = b.err
		}
	}
	b.awaitWriter()
	cn.giveBack()
	if ended := call.done(); ended != nil {
		err = ended
	}
	return nil, err
}

// send writes the request. What does not fit into one buffer is written by a
// goroutine of its own, for an answer may come before its end.
func (cn *conn) send(r *Request, b *body, reused bool) error {
	buf := r.appendHead(cn.lent[:0], cn.client.host)
	if len(buf)+len(r.Body) <= room {
		return cn.sendSmall(append(buf, r.Body...), reused)
	}
	if reused && cn.asks() && !cn.quiet() {
		return socket.ErrSpoke
	}
	head := len(buf)
	first := append(buf, r.Body[:max(room-head, 0)]...)
	n, err := cn.Write(first)
	if cn.wrote += n; err != nil {
		return err
	}
	written := make(chan error, 1)
	b.written = written
	rest := r.Body[len(first)-head:]
	go func() {
		_, err := cn.Write(rest)
		written <- err
	}()
	return nil
}

// sendSmall writes a request that lies in the buffer, and if it can reads the beginning of the
// answer into the buffer.
func (cn *conn) sendSmall(request []byte, reused bool) error {
	if cn.asks() {
		wrote, n, err := cn.raw.Ask(request, cn.lent[:], reused)
		cn.wrote = wrote
		if wrote == len(request) {
			cn.buf, cn.r, cn.w, cn.early = cn.lent[:], 0, n, err
			return nil
		}
		if err != nil {
			return err
		}
		request = request[wrote:]
	}
	n, err := cn.Write(request)
	cn.wrote += n
	return err
}

// giveBack returns the buffer.
func (cn *conn) giveBack() {
	if cn.lent != nil {
		rooms.Put(cn.lent)
	}
	cn.lent, cn.buf, cn.r, cn.w = nil, nil, 0, 0
}

// fill reads more behind what is there, for a head. The buffer grows up to
// maxHead.
func (cn *conn) fill() error {
	if cn.early != nil {
		return cn.early
	}
	if cn.buf == nil {
		cn.buf = cn.lent[:]
	}
	if cn.r == cn.w {
		cn.r, cn.w = 0, 0
	}
	if cn.w == len(cn.buf) {
		switch {
		case cn.r > 0:
			cn.w = copy(cn.buf, cn.buf[cn.r:cn.w])
			cn.r = 0
		case len(cn.buf) >= maxHead:
			return malformed("the head is longer than %d KiB", maxHead>>10)
		default:
			cn.buf = append(cn.buf, make([]byte, len(cn.buf))...)
		}
	}
	n, err := cn.Conn.Read(cn.buf[cn.w:])
	cn.w += n
	if n > 0 {
		return nil
	}
	return err
}

// Read takes what is buffered first.
func (cn *conn) Read(p []byte) (int, error) {
	if cn.r < cn.w {
		n := copy(p, cn.buf[cn.r:cn.w])
		cn.r += n
		return n, nil
	}
	return cn.Conn.Read(p)
}

// line returns the next line without its CRLF, valid until the next read. A
// line feed alone does not end a line: some take it for one, some do not.
func (cn *conn) line(limit int) ([]byte, error) {
	for at := 0; ; {
		if i := bytes.IndexByte(cn.buf[cn.r+at:cn.w], '\n'); i >= 0 {
			line := cn.buf[cn.r : cn.r+at+i]
			cn.r += at + i + 1
			if len(line) == 0 || line[len(line)-1] != '\r' {
				return nil, malformed("a line does not end in CRLF")
			}
			return line[:len(line)-1], nil
		}
		if at = cn.w - cn.r; at > limit {
			return nil, malformed("a line is longer than %d bytes", limit)
		}
		if err := cn.fill(); err != nil {
			return nil, err
		}
	}
}

// body is the body of an answer, and the end of its exchange.
type body struct {
	cn      *conn
	call    *Call
	written chan error // of the writer of a long request; nil if there is none
	err     error      // what Read says from now on

	left    int64 // bytes to come of the body, or of the chunk; -1: until the end of the connection
	chunked bool
	chunk   chunkState
	trailer http.Header
	broken  bool // the connection is not to be used again
	over    bool
}

// started looks at the head: an answer without a body is over.
func (b *body) started(resp *http.Response) {
	resp.Body = b
	b.broken = b.broken || resp.Close
	b.trailer = resp.Trailer
	if b.left == 0 && !b.chunked {
		b.finish(io.EOF)
	}
}

// Read implements io.Reader. What breaks off before its end is
// io.ErrUnexpectedEOF.
func (b *body) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.chunked {
		return b.readChunked(p)
	}
	if b.left >= 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err = b.cn.Read(p)
	switch {
	case b.left < 0:
		if err == io.EOF {
			b.broken = true
			b.finish(io.EOF)
		} else if err != nil {
			b.finish(err)
		}
	default:
		if b.left -= int64(n); b.left == 0 {
			b.finish(io.EOF)
		} else if err != nil {
			b.finish(noEOF(err))
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, b.err
}

// finish ends the exchange: the connection goes back to the pool if everything
// was written, everything was read, and nobody has interfered.
func (b *body) finish(err error) {
	if b.over {
		return
	}
	b.over, b.err = true, err
	cn := b.cn
	whole := err == io.EOF && !b.broken && cn.r == cn.w
	if !b.awaitWriter() {
		whole = false
	}
	if b.call.done() != nil {
		whole = false // it was interrupted, whether it noticed or not
	}
	cn.giveBack()
	if whole {
		cn.client.put(cn)
	} else {
		cn.Close()
	}
}

// awaitWriter ends the writer of a long request, and reports whether it had
// written everything.
func (b *body) awaitWriter() bool {
	if b.written == nil {
		return true
	}
	select {
	case err := <-b.written:
		return err == nil
	default:
	}
	// The answer came first. A writer that is still at it stops; one that is done
	// and had no time to say so is not disturbed.
	_ = b.cn.SetWriteDeadline(longAgo)
	return <-b.written == nil && b.cn.SetWriteDeadline(time.Time{}) == nil
}

// Close ends the exchange. What was not read is not waited for.
func (b *body) Close() error {
	b.finish(http.ErrBodyReadAfterClose)
	if b.err == io.EOF {
		b.err = http.ErrBodyReadAfterClose
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
