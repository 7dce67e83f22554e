package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// serveAgent is the agent behind every target: it answers with what it is sent.
// It costs as little as it can, for it runs on the same cores as what is
// measured.
func serveAgent(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_ = answer(c) // the other side has ended the connection, as is its right
		}()
	}
}

// wish is what a request may ask of the agent, as its first member.
type wish struct {
	Wait   int `json:"wait_ms"`  // before the answer
	Events int `json:"events"`   // an event stream instead
	Every  int `json:"every_ms"` // time between its events
}

func answer(c net.Conn) error {
	r := bufio.NewReaderSize(c, 4<<10)
	var body, out []byte
	for {
		n, err := readRequest(r)
		if err != nil {
			return err
		}
		body = append(body[:0], make([]byte, n)...)
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		var w wish
		if bytes.HasPrefix(body, []byte(`{"wait_ms"`)) || bytes.HasPrefix(body, []byte(`{"events"`)) {
			if err := json.Unmarshal(body, &w); err != nil {
				return err
			}
		}
		if w.Events > 0 {
			if err := stream(c, w); err != nil {
				return err
			}
			continue
		}
		time.Sleep(time.Duration(w.Wait) * time.Millisecond)
		out = append(out[:0], "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(len(body)), 10)
		out = append(append(out, "\r\n\r\n"...), body...)
		if _, err := c.Write(out); err != nil {
			return err
		}
	}
}

// readRequest reads a head and returns the length of the body.
func readRequest(r *bufio.Reader) (n int, err error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			return n, nil
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if n, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
}

// stream sends events that say when they were sent.
func stream(c net.Conn, w wish) error {
	if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
		return err
	}
	for range w.Events {
		time.Sleep(time.Duration(w.Every) * time.Millisecond)
		event := fmt.Sprintf("data: {\"sent\":\"%s\"}\n\n", strconv.FormatInt(time.Now().UnixNano(), 36))
		if _, err := fmt.Fprintf(c, "%x\r\n%s\r\n", len(event), event); err != nil {
			return err
		}
	}
	_, err := io.WriteString(c, "0\r\n\r\n")
	return err
}

// sentAt reads an event of stream.
func sentAt(line []byte) (time.Time, bool) {
	line, ok := bytes.CutPrefix(line, []byte(`data: {"sent":"`))
	if !ok {
		return time.Time{}, false
	}
	n, err := strconv.ParseInt(string(bytes.TrimSuffix(line, []byte(`"}`))), 36, 64)
	return time.Unix(0, n), err == nil
}

// serveProxy is RP of the tables: httputil.ReverseProxy with what its users
// tune. It checks nothing and records nothing. It breaks some streams off that begin
// as soon as the request is there: net/http's server closes the body of a request at
// the first flush of an answer, while its transport still looks whether the body has
// ended, and the transport then closes the connection to the agent. Few users know
// that EnableFullDuplex prevents it.
func serveProxy(ln net.Listener, agent string) error {
	target, err := url.Parse("http://" + agent)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(target) },
		BufferPool: new(buffers),
		Transport: &http.Transport{
			MaxIdleConns: 0, MaxIdleConnsPerHost: 16384, DisableCompression: true, IdleConnTimeout: time.Minute,
			WriteBufferSize: 8 << 10, ReadBufferSize: 8 << 10,
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	return (&http.Server{Handler: proxy}).Serve(ln)
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if v, ok := b.pool.Get().(*[]byte); ok {
		return *v
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
