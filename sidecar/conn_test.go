package sidecar

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// connected is a limited connection and its other end.
func connected(t *testing.T) (*limitedConn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln = limitConns(ln, 1)
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near.(*limitedConn), far
}

const aMoment = 30 * time.Millisecond

// TestReadDeadlines holds reading to the deadline that was asked for last, whatever
// the connection was told.
func TestReadDeadlines(t *testing.T) {
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	for name, tt := range map[string]struct {
		set   func(c *limitedConn)
		after time.Duration // the other end writes then; 0 for never
		fails bool
	}{
		"none":                     {func(*limitedConn) {}, 2 * aMoment, false},
		"an early one":             {func(c *limitedConn) { _ = c.SetReadDeadline(in(aMoment)) }, 0, true},
		"a later one instead":      {func(c *limitedConn) { _ = c.SetReadDeadline(in(aMoment)); _ = c.SetReadDeadline(in(time.Hour)) }, 3 * aMoment, false},
		"a little later, and late": {func(c *limitedConn) { _ = c.SetReadDeadline(in(aMoment)); _ = c.SetReadDeadline(in(2 * aMoment)) }, 0, true},
		"none instead":             {func(c *limitedConn) { _ = c.SetReadDeadline(in(aMoment)); _ = c.SetReadDeadline(time.Time{}) }, 3 * aMoment, false},
		"an earlier one instead":   {func(c *limitedConn) { _ = c.SetReadDeadline(in(time.Hour)); _ = c.SetDeadline(in(aMoment)) }, 0, true},
		"long ago, then none":      {func(c *limitedConn) { _ = c.SetReadDeadline(time.Unix(1, 0)); _ = c.SetReadDeadline(time.Time{}) }, aMoment, false},
		"long ago, then later":     {func(c *limitedConn) { _ = c.SetReadDeadline(time.Unix(1, 0)); _ = c.SetReadDeadline(in(time.Hour)) }, aMoment, false},
		"while it is waited for": {func(c *limitedConn) {
			_ = c.SetReadDeadline(in(time.Hour))
			time.AfterFunc(aMoment, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
		}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			c, far := connected(t)
			tt.set(c)
			if tt.after > 0 {
				time.AfterFunc(tt.after, func() { _, _ = far.Write([]byte("x")) })
			}
			n, err := c.Read(make([]byte, 8))
			if tt.fails && (n != 0 || !errors.Is(err, os.ErrDeadlineExceeded)) || !tt.fails && (n != 1 || err != nil) {
				t.Errorf("%d bytes, %v", n, err)
			}
			c.mu.Lock()
			want := c.read.want
			c.mu.Unlock()
			if tt.fails && time.Now().Before(want) {
				t.Errorf("it struck before %v", want)
			}
		})
	}
}

// TestWriteDeadline lets a deadline that was replaced strike in the middle of a
// write: nothing is lost, and nothing written twice.
func TestWriteDeadline(t *testing.T) {
	c, far := connected(t)
	_ = c.SetWriteDeadline(time.Now().Add(aMoment))
	_ = c.SetWriteDeadline(time.Time{})
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	var got []byte
	var all sync.WaitGroup
	all.Go(func() {
		time.Sleep(3 * aMoment) // the kernel takes some of it, and no more
		got, _ = io.ReadAll(far)
	})
	if n, err := c.Write(sent); n != len(sent) || err != nil {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	c.Close()
	if all.Wait(); !bytes.Equal(got, sent) {
		t.Errorf("%d bytes arrived, %d were sent", len(got), len(sent))
	}
	c, _ = connected(t)
	_ = c.SetWriteDeadline(time.Now().Add(aMoment))
	if n, err := c.Write(sent); n == len(sent) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nobody reads: wrote %d bytes, %v", n, err)
	}
}

// TestGone looks at a caller that is there, that has sent more, and that has left.
func TestGone(t *testing.T) {
	c, far := connected(t)
	if c.gone() {
		t.Error("gone at once")
	}
	if _, err := far.Write([]byte("next")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(aMoment)
	if c.gone() {
		t.Error("gone with the next request on the way")
	}
	if n, err := io.ReadFull(c, make([]byte, 4)); n != 4 || err != nil {
		t.Errorf("the look took something: %d, %v", n, err)
	}
	far.Close()
	for range 30000 {
		if c.gone() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("the end is not seen")
}
