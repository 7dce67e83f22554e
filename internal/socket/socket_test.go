package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// pair is a connection and its other end.
func pair(t *testing.T, network string) (*Conn, net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); other.Close() })
	return New(c), other
}

func both(t *testing.T, test func(t *testing.T, c *Conn, other net.Conn)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			c, other := pair(t, network)
			test(t, c, other)
		})
	}
}

// What is written arrives, whatever its size, while the other side is slow to read; and
// the other way round.
func TestBytesArrive(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, other net.Conn) {
		for _, size := range []int{1, 1000, most, most + 1, 9 << 20} {
			want := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
			for _, way := range []struct {
				from io.Writer
				to   io.Reader
			}{{c, other}, {other, c}} {
				written := make(chan error, 1)
				go func() {
					var err error
					for rest := want; len(rest) > 0 && err == nil; { // in pieces that are written directly, and one that is not
						n := min(len(rest), 15<<10)
						if len(rest) > 8<<20 {
							n = len(rest) - 8<<20
						}
						_, err = way.from.Write(rest[:n])
						rest = rest[n:]
					}
					written <- err
				}()
				got := make([]byte, size)
				if _, err := io.ReadFull(way.to, got); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%d bytes did not arrive as they were: %v", size, err)
				}
				if err := <-written; err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func TestEndsAndErrors(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, other net.Conn) {
		buf := make([]byte, 8)
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(buf)
		var op *net.OpError
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &op) || op.Op != "read" {
			t.Errorf("a read past its deadline: %v", err)
		}
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(nil); n != 0 || err != nil {
			t.Errorf("a read of nothing: %d, %v", n, err)
		}
		other.Close()
		if n, err := c.Read(buf); n != 0 || err != io.EOF {
			t.Errorf("a read at the end: %d, %v; want the end", n, err)
		}
		for err = nil; err == nil; {
			_, err = c.Write(buf)
		}
		if !errors.As(err, &op) || op.Op != "write" {
			t.Errorf("a write to nobody: %v", err)
		}
	})
}

// Close ends who waits, and what comes after it.
func TestCloseEndsAWait(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, _ net.Conn) {
		read := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			read <- err
		}()
		time.Sleep(5 * time.Millisecond) // not needed: let it wait, most of the time
		c.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read that Close has ended: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after Close: %v", err)
		}
	})
}

func TestAsk(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, other net.Conn) {
		if !c.Direct() {
			return // not on this system
		}
		go io.Copy(other, other)
		room := make([]byte, 64)
		for _, idle := range []bool{false, true, true} {
			question := append(room[:0], "anybody there"...)
			wrote, n, err := c.Ask(question, room, idle)
			if err != nil || wrote != 13 {
				t.Fatalf("wrote %d, %v", wrote, err)
			}
			for n < 13 {
				m, err := c.Read(room[n:])
				if n += m; err != nil {
					t.Fatal(err)
				}
			}
			if string(room[:n]) != "anybody there" {
				t.Fatalf("the answer is %q", room[:n])
			}
		}
		if err := c.SetDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if wrote, _, err := c.Ask([]byte("x"), room, true); wrote != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a question past its deadline: wrote %d, %v", wrote, err)
		}
	})
}

// Whoever speaks, or hangs up, before he is asked is not asked.
func TestAskOfOneWhoHasSpoken(t *testing.T) {
	for name, before := range map[string]func(net.Conn){
		"spoken":  func(c net.Conn) { _, _ = c.Write([]byte("200 OK, whatever you want")) },
		"hung up": func(c net.Conn) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, c *Conn, other net.Conn) {
				if !c.Direct() {
					return
				}
				before(other)
				awaitSomething(t, c)
				if wrote, _, err := c.Ask([]byte("?"), make([]byte, 64), true); wrote != 0 || !errors.Is(err, ErrSpoke) {
					t.Errorf("wrote %d, %v; want nothing, and that he has spoken", wrote, err)
				}
			})
		})
	}
}

// A question for which the kernel has no room is left to Write.
func TestAskWithoutRoom(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, other net.Conn) {
		if !c.Direct() {
			return
		}
		question := make([]byte, 32<<20)
		wrote, n, err := c.Ask(question, make([]byte, 64), true)
		if wrote == 0 || wrote == len(question) || n != 0 || err != nil {
			t.Fatalf("wrote %d, read %d, %v; want less than all, and no error", wrote, n, err)
		}
		written := make(chan error, 1)
		go func() {
			_, err := c.Write(question[wrote:])
			written <- err
		}()
		if _, err := io.CopyN(io.Discard, other, int64(len(question))); err != nil {
			t.Errorf("not all arrived: %v", err)
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
}

// awaitSomething waits until there is something to read, or the end.
func awaitSomething(t *testing.T, c *Conn) {
	t.Helper()
	err := c.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return !errors.Is(err, syscall.EAGAIN)
	})
	if err != nil {
		t.Fatal(err)
	}
}
