package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// wire is one connection to a target. It speaks as little HTTP as a load
// generator may: it shares its cores with what it measures.
type wire struct {
	addr   string
	conn   net.Conn
	r      *bufio.Reader
	closed bool // of no use any more: the next request dials again
}

func dial(addr string) (*wire, error) {
	w := &wire{addr: addr, closed: true}
	return w, w.redial()
}

func (w *wire) redial() error {
	if w.conn != nil {
		w.conn.Close()
	}
	c, err := net.DialTimeout("tcp", w.addr, 10*time.Second)
	if err != nil {
		return err
	}
	w.conn, w.r, w.closed = c, bufio.NewReaderSize(c, 4<<10), false
	return nil
}

// post is a request, ready to be written.
func post(host, path string, body []byte) []byte {
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, host, len(body))
	return append([]byte(head), body...)
}

func get(host, path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host)
}

// patience is how long an answer may take before it counts as none.
const patience = 60 * time.Second

// do sends a request and reads the whole answer.
func (w *wire) do(request []byte) (status int, err error) {
	if err := w.send(request); err != nil {
		return 0, err
	}
	return w.receive(nil)
}

func (w *wire) send(request []byte) error {
	if w.closed {
		if err := w.redial(); err != nil {
			return err
		}
	}
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := w.conn.Write(request)
	return err
}

// head is what matters of the head of an answer.
type head struct {
	status  int
	length  int64 // -1 if not said
	chunked bool
	closed  bool // the other side closes the connection
}

// receive reads an answer. Lines of a chunked body go to each, if it is set.
func (w *wire) receive(each func(line []byte)) (status int, err error) {
	h, err := w.readHead()
	if err != nil {
		return 0, err
	}
	switch {
	case h.chunked:
		err = w.readChunks(each)
	case h.length >= 0:
		_, err = w.r.Discard(int(h.length))
	default:
		return h.status, errors.New("an answer of unknown length")
	}
	w.closed = h.closed
	return h.status, err
}

func (w *wire) readHead() (h head, err error) {
	line, err := w.r.ReadSlice('\n')
	if err != nil {
		return h, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return h, fmt.Errorf("not an answer: %q", line)
	}
	if h.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return h, fmt.Errorf("not an answer: %q", line)
	}
	h.length = -1
	for {
		if line, err = w.r.ReadSlice('\n'); err != nil {
			return h, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			return h, nil
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			h.length, err = strconv.ParseInt(string(value), 10, 64)
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			h.chunked = true
		case bytes.EqualFold(name, []byte("Connection")):
			h.closed = bytes.EqualFold(value, []byte("close"))
		}
		if err != nil {
			return h, err
		}
	}
}

func (w *wire) readChunks(each func(line []byte)) error {
	for {
		line, err := w.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return err
		}
		if n == 0 {
			return w.readTrailer()
		}
		if err := w.readChunk(int(n), each); err != nil {
			return err
		}
	}
}

func (w *wire) readChunk(n int, each func(line []byte)) error {
	if each == nil {
		_, err := w.r.Discard(n + 2)
		return err
	}
	chunk := make([]byte, n+2)
	if _, err := io.ReadFull(w.r, chunk); err != nil {
		return err
	}
	for line := range bytes.Lines(chunk[:n]) {
		each(bytes.TrimSpace(line))
	}
	return nil
}

func (w *wire) readTrailer() error {
	for {
		line, err := w.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return nil
		}
	}
}
