// Package client talks to a running sidecar over its local listener: the
// control API whose types are in package api.
//
//	c, err := client.New("http://127.0.0.1:8001", client.Options{Token: token})
//	if err != nil { … }
//	trace, err := c.Trace(ctx, id)
//
// What a sidecar refuses comes back as an [*Error] with the sidecar's own words
// and its remedy. Answers are bounded; a sidecar that never stops talking is an
// error and not a full memory. No redirect is followed and no proxy is used:
// the token goes to the address that was given and nowhere else.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
)

// Bounds of what is read, in bytes. A record line is at most 64 KiB, and one
// answer holds at most a thousand of them.
const (
	maxAnswer  = 96 << 20
	maxNote    = 1 << 20 // checkpoints and proofs
	maxBundle  = 64 << 20
	maxProblem = 64 << 10
	maxToken   = 4096
)

// DefaultTimeout is how long an answer other than an export may take.
const DefaultTimeout = 10 * time.Second

// Options are the settings of a Client. The zero value works, for what needs no
// token.
type Options struct {
	// Token is the operator's token: see [ReadToken]. Over a Unix socket none
	// is needed by the sidecar's own user.
	Token string
	// Timeout bounds each call but Export. Zero means DefaultTimeout.
	Timeout time.Duration
}

// Client is a sidecar's control API. It is safe for concurrent use.
type Client struct {
	address string // as given, for messages
	base    string
	token   string
	timeout time.Duration
	http    *http.Client
}

// Error is a refusal by the sidecar.
type Error struct {
	Status int    // HTTP status
	Slug   string // the kind of problem; "" if the answer was not a problem document
	Msg    string // what was wrong
	Hint   string // what to do about it
}

// Error returns the message and the remedy. Both went through iatp.Printable.
func (e *Error) Error() string {
	text := e.Msg
	if text == "" {
		text = "the sidecar answered " + strconv.Itoa(e.Status)
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// New returns a client of the sidecar at an address: http://host:port, or
// unix:/path/to.sock. It does not connect yet.
func New(address string, o Options) (*Client, error) {
	c := &Client{address: address, token: o.Token, timeout: o.Timeout}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	transport := &http.Transport{ResponseHeaderTimeout: c.timeout, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: time.Minute}
	if path, ok := strings.CutPrefix(address, "unix:"); ok && path != "" {
		c.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	} else {
		u, err := url.Parse(address)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("%s is not the address of a sidecar, such as http://127.0.0.1:8001 or unix:/run/iatp.sock", strconv.Quote(iatp.Printable(address)))
		}
		c.base = u.Scheme + "://" + u.Host
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close closes the connections that wait to be used again.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ReadToken reads a token file.
func ReadToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read operator token: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("read operator token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" || len(data) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("read operator token: %s does not hold a token", path)
	}
	return token, nil
}

// Health asks whether the sidecar serves. An unhealthy one is no error: the
// answer says so.
func (c *Client) Health(ctx context.Context) (*api.Health, error) { return c.health(ctx, "/health") }

// Ready is Health that also looks whether the agent accepts connections.
func (c *Client) Ready(ctx context.Context) (*api.Health, error) { return c.health(ctx, "/ready") }

func (c *Client) health(ctx context.Context, path string) (*api.Health, error) {
	var h api.Health
	if err := c.getJSON(ctx, path, &h, http.StatusServiceUnavailable); err != nil {
		return nil, err
	}
	return &h, nil
}

// Manifest returns the bytes of the wrapped agent's manifest.
func (c *Client) Manifest(ctx context.Context) ([]byte, error) {
	return c.get(ctx, "/capabilities", maxNote)
}

// Trace returns what the flight recorder has of a trace. Without the token it
// finds only ids that the sidecar itself minted.
func (c *Client) Trace(ctx context.Context, id iatp.TraceID) (*api.Trace, error) {
	path, err := under("/trace/", id)
	if err != nil {
		return nil, err
	}
	var t api.Trace
	if err := c.getJSON(ctx, path, &t); err != nil {
		return nil, err
	}
	return &t, nil
}

// Latest returns the last n records of any trace, oldest first, n from 1 to
// 1000. It needs the token.
func (c *Client) Latest(ctx context.Context, n int) (*api.Records, error) {
	return c.records(ctx, "limit="+strconv.Itoa(n))
}

// After returns the records from a sequence number on, at most 1000; Next in
// the answer is where to go on. It needs the token.
func (c *Client) After(ctx context.Context, seq int64) (*api.Records, error) {
	return c.records(ctx, "limit=1000&after="+strconv.FormatInt(seq, 10))
}

func (c *Client) records(ctx context.Context, query string) (*api.Records, error) {
	var r api.Records
	if err := c.getJSON(ctx, "/trace?"+query, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Quarantine returns the quarantine session of a trace.
func (c *Client) Quarantine(ctx context.Context, id iatp.TraceID) (*api.Quarantine, error) {
	path, err := under("/quarantine/", id)
	if err != nil {
		return nil, err
	}
	var q api.Quarantine
	if err := c.getJSON(ctx, path, &q); err != nil {
		return nil, err
	}
	return &q, nil
}

// ChangeQuarantine records a person's word on a session and returns what has
// become of it. It needs the token.
func (c *Client) ChangeQuarantine(ctx context.Context, id iatp.TraceID, change api.QuarantineChange) (*api.Quarantine, error) {
	path, err := under("/quarantine/", id)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodPost, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var q api.Quarantine
	if err := c.decode(resp, &q); err != nil {
		return nil, err
	}
	return &q, nil
}

// Peers returns the other sidecars that this one knows; with visit after it has
// visited those of whom it knows nothing fresh. It needs the token.
func (c *Client) Peers(ctx context.Context, visit bool) (*api.Peers, error) {
	path := "/peers"
	if visit {
		path += "?visit=1"
	}
	var p api.Peers
	if err := c.getJSON(ctx, path, &p); err != nil {
		return nil, err
	}
	return &p, nil
}

// ForgetPeer has the sidecar forget the keys of a peer, given by name or origin: the
// next key that it shows, or the one that is pinned, is the first. It needs the
// token, and returns the origin.
func (c *Client) ForgetPeer(ctx context.Context, f api.ForgetPeer) (*api.Forgotten, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodPost, "/peers/forget", body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var gone api.Forgotten
	if err := c.decode(resp, &gone); err != nil {
		return nil, err
	}
	return &gone, nil
}

// Checkpoint returns the latest signed checkpoint of the flight recorder. It
// needs the token.
func (c *Client) Checkpoint(ctx context.Context) ([]byte, error) {
	return c.get(ctx, "/log/checkpoint", maxNote)
}

// Proof returns the proof that a record is in the log, by its sequence number.
// It needs the token.
func (c *Client) Proof(ctx context.Context, index int64) ([]byte, error) {
	return c.get(ctx, "/log/proof?index="+strconv.FormatInt(index, 10), maxNote)
}

// Bundle returns what the flight recorder has of a trace as a bundle that others can
// verify, a zip archive; with requests also the requests as peers signed them. It
// needs the token.
func (c *Client) Bundle(ctx context.Context, id iatp.TraceID, requests bool) ([]byte, error) {
	if _, err := iatp.ParseTraceID(string(id)); err != nil {
		return nil, err
	}
	path := "/log/bundle?trace=" + string(id)
	if requests {
		path += "&requests=1"
	}
	return c.get(ctx, path, maxBundle)
}

// Export copies every record to w, one JSON object a line. It takes as long as
// it takes; ctx ends it. It needs the token.
func (c *Client) Export(ctx context.Context, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, "/log/export", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("export broke off, what was written is not the whole: %w", err)
	}
	return nil
}

// under returns the path of a trace: an id that is none could name another path.
func under(prefix string, id iatp.TraceID) (string, error) {
	if _, err := iatp.ParseTraceID(string(id)); err != nil {
		return "", err
	}
	return prefix + string(id), nil
}

// getJSON decodes an answer with status 200 or one of the others given.
func (c *Client) getJSON(ctx context.Context, path string, v any, others ...int) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return c.decode(resp, v, others...)
}

func (c *Client) get(ctx context.Context, path string, most int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(resp)
	}
	return readAll(resp.Body, most)
}

func (c *Client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, fmt.Errorf("ask the sidecar at %s: %w", c.address, err)
	}
	return resp, nil
}

func (c *Client) decode(resp *http.Response, v any, others ...int) error {
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == iatp.ProblemContentType {
		return refusal(resp)
	}
	good := resp.StatusCode == http.StatusOK
	for _, status := range others {
		good = good || resp.StatusCode == status
	}
	if !good {
		return refusal(resp)
	}
	data, err := readAll(resp.Body, maxAnswer)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s does not answer like a sidecar: %w", c.address, err)
	}
	return nil
}

// refusal reads the problem document of an answer.
func refusal(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode}
	data, err := readAll(resp.Body, maxProblem)
	if err != nil {
		return e
	}
	var p struct{ Type, Title, Error, Hint string }
	if json.Unmarshal(data, &p) != nil {
		return e
	}
	e.Slug, _ = strings.CutPrefix(p.Type, iatp.BaseURI+"problems/")
	if e.Msg = iatp.Printable(p.Error); e.Msg == "" {
		e.Msg = iatp.Printable(p.Title)
	}
	e.Hint = iatp.Printable(p.Hint)
	return e
}

func readAll(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("read the sidecar's answer: %w", err)
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("the sidecar's answer is longer than %d bytes", most)
	}
	return data, nil
}
