package witness

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/inter-agent-trust/iatp/flight"
)

// Get asks a peer for a path, signed by us, and returns the status and at most
// MaxAnswer bytes of the answer.
type Get func(ctx context.Context, path string) (status int, body []byte, err error)

// MaxAnswer bounds an answer, in bytes: a state and a proof.
const MaxAnswer = 64 << 10

// Paths of the public listener.
const (
	CheckpointPath  = "/log/checkpoint"
	ConsistencyPath = "/log/consistency"
)

// Look asks a peer what its log has signed for since it was last seen, compares,
// and records what is new. It returns one of the reasons of a record, or "" if
// nothing is new. A log that is bad already is not asked.
//
// At most one look at a log is under way; another one waits for it.
func (b *Book) Look(ctx context.Context, p Peer, get Get) (found string, err error) {
	if len(p.VKey) > maxVKey {
		return "", notShown("a key of more than %d bytes", maxVKey)
	}
	end, err := b.begin(ctx, p.URI)
	if err != nil {
		return "", err
	}
	defer end()
	have := b.Of(p.URI)
	older := have.State()
	switch {
	case have.Bad():
		return "", nil
	case older == nil || have.VKey != p.VKey:
		return b.first(ctx, p, older != nil, get)
	}
	status, body, err := get(ctx, ConsistencyPath+"?old="+strconv.FormatInt(older.Size, 10))
	switch {
	case err != nil:
		return "", notShown("%v", err)
	case status == http.StatusConflict:
		return b.behind(ctx, p, older, body)
	case status != http.StatusOK:
		return "", notShown("status %d", status)
	}
	return b.grown(ctx, p, older, body)
}

// begin waits until nobody else looks at the log of a peer. end lets the next one.
func (b *Book) begin(ctx context.Context, uri string) (end func(), err error) {
	for {
		b.mu.Lock()
		other := b.looking[uri]
		if other == nil {
			break
		}
		b.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, notShown("somebody else is still looking")
		}
	}
	own := make(chan struct{})
	b.looking[uri] = own
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		delete(b.looking, uri)
		b.mu.Unlock()
		close(own)
	}, nil
}

// first takes the first state that is seen of a log.
func (b *Book) first(ctx context.Context, p Peer, another bool, get Get) (string, error) {
	status, body, err := get(ctx, CheckpointPath)
	if err == nil && status != http.StatusOK {
		err = errors.New("status " + strconv.Itoa(status))
	}
	if err != nil {
		return "", notShown("%v", err)
	}
	c, bad, err := read(ctx, p, body)
	if err != nil {
		return "", err
	}
	reason := Seen
	switch {
	case bad:
		reason = BadSignature
	case another:
		reason = NewKey
	}
	return reason, b.record(p, reason, shown{VKey: p.VKey, Checkpoint: string(textOf(c, body))})
}

// textOf is the state as it was signed, or what came in its place.
func textOf(c *flight.Checkpoint, body []byte) []byte {
	if c != nil {
		return c.Text
	}
	return body
}

// read reads a state. bad says that it claims to be of the log and was not signed
// by its key, which its owner names to this day; an error, that it is no state of
// this log at all.
func read(ctx context.Context, p Peer, text []byte) (c *flight.Checkpoint, bad bool, err error) {
	if len(text) > maxState {
		return nil, false, notShown("a checkpoint of more than %d bytes", maxState)
	}
	if c, err = flight.ParseCheckpoint(text, p.VKey); err == nil {
		return c, false, nil
	}
	origin, _, _ := strings.Cut(p.VKey, "+")
	claimed, _, ok := strings.Cut(string(text), "\n")
	if !ok || claimed != origin || !strings.Contains(string(text), "\n\n\u2014 ") {
		return nil, false, notShown("%v", err)
	}
	switch now, err := p.Renew(ctx); {
	case err != nil:
		return nil, false, notShown("a checkpoint that is not by the key of the log, and no manifest that says whether that is another one now: %v", err)
	case now != p.VKey:
		return nil, false, notShown("it has a new log, whose key its manifest did not name yet")
	}
	return nil, true, nil
}

// grown judges a proof of growth.
func (b *Book) grown(ctx context.Context, p Peer, older *flight.Checkpoint, body []byte) (string, error) {
	proof, err := flight.ParseConsistency(body)
	if err != nil {
		return "", notShown("%v", err)
	}
	newer, bad, err := read(ctx, p, proof.Checkpoint)
	switch {
	case err != nil:
		return "", err
	case bad:
		return BadSignature, b.convict(p, BadSignature, older, proof.Checkpoint, body)
	case newer.Size < older.Size:
		return SetBack, b.convict(p, SetBack, older, proof.Checkpoint, body)
	case proof.Check(older, newer) != nil:
		return Fork, b.convict(p, Fork, older, proof.Checkpoint, body)
	case newer.Size == older.Size:
		return "", nil
	}
	return Seen, b.record(p, Seen, shown{VKey: p.VKey, Checkpoint: string(newer.Text)})
}

// behind judges the answer of a log that says that it has not got so far.
func (b *Book) behind(ctx context.Context, p Peer, older *flight.Checkpoint, body []byte) (string, error) {
	newer, bad, err := read(ctx, p, body)
	switch {
	case err != nil:
		return "", err
	case bad:
		return BadSignature, b.convict(p, BadSignature, older, body, nil)
	case newer.Size < older.Size:
		return SetBack, b.convict(p, SetBack, older, body, nil)
	case newer.Size == older.Size && newer.Root != older.Root:
		return Fork, b.convict(p, Fork, older, body, nil)
	}
	return "", notShown("it refuses a proof, and shows a state that could have one")
}

// convict records the evidence: what the log had signed, what it shows now, and
// what came as a proof that the one became the other.
func (b *Book) convict(p Peer, reason string, older *flight.Checkpoint, state, proof []byte) error {
	n := shown{VKey: p.VKey, Checkpoint: string(state), Before: string(older.Text)}
	n.Proof = strings.TrimSuffix(string(proof), string(state))
	return b.record(p, reason, n)
}
