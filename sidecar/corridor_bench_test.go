package sidecar_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// BenchmarkCorridor is one caller on one connection. Caller and agent allocate
// nothing, so what is allocated is the sidecar's (make bench-check holds it to a
// baseline).
func BenchmarkCorridor(b *testing.B) {
	b.Run("written", func(b *testing.B) { benchCorridor(b, iatptest.Friend, nil, oneKB, 200) })
	b.Run("durable", func(b *testing.B) {
		benchCorridor(b, iatptest.Friend, func(c *sidecar.Config) { c.Durability = sidecar.DurabilityStrict }, oneKB, 200)
	})
	b.Run("asked", func(b *testing.B) { benchCorridor(b, iatptest.Honeypot, nil, oneKB, 449) })
	b.Run("blocked", func(b *testing.B) { benchCorridor(b, iatptest.Honeypot, nil, bookCard, 403) })
}

func benchCorridor(b *testing.B, manifest string, change func(*sidecar.Config), body string, want int) {
	n := iatptest.Start(b, iatptest.Options{Manifest: manifest, AgentURL: quietAgent(b), Config: change, Log: io.Discard})
	c, err := net.Dial("tcp", n.Addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	request := fmt.Appendf(nil, "POST /proxy HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	status := []byte(strconv.Itoa(want))
	r := bufio.NewReaderSize(c, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if got, err := skipAnswer(r); err != nil || !bytes.Equal(got[:], status) {
			b.Fatalf("status %s, %v; want %d", got, err, want)
		}
	}
}

// skipAnswer reads an answer with a Content-Length and returns its status.
func skipAnswer(r *bufio.Reader) (status [3]byte, err error) {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return status, err
		}
		switch {
		case first:
			copy(status[:], line[9:12])
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			for _, d := range bytes.TrimRight(line[16:], "\r\n") {
				length = length*10 + int(d-'0')
			}
		case len(line) == 2:
			_, err := r.Discard(length)
			return status, err
		}
	}
}

// quietAgent answers whatever comes with 1 KB, and allocates nothing.
func quietAgent(b *testing.B) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(oneKB), oneKB)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReaderSize(c, 16<<10)
				for {
					if err := skipRequest(r); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

func skipRequest(r *bufio.Reader) error {
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			for _, d := range bytes.TrimRight(line[16:], "\r\n") {
				length = length*10 + int(d-'0')
			}
		case len(line) == 2:
			_, err := r.Discard(length)
			return err
		}
	}
}
