// Package witness remembers what the flight logs of other sidecars have signed
// for, and notices when one of them does not keep to it.
//
// A log that has signed for a state can only grow out of it. [Book.Look] asks a
// peer for a proof that its log did; what comes is a new state, or evidence:
// two signed states of which one cannot have become the other. Both are in our own
// flight log before anybody acts on them, so a restart forgets neither:
//
//	found, err := book.Look(ctx, peer, get) // err: nothing was learned
//	if book.Of(peer.URI).Bad() { ... }      // until the operator forgets the peer
//
// A peer that gives no answer, or one that is no checkpoint, is not convicted of
// anything.
package witness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// What a record of type checkpoint_seen says, in its member reason.
const (
	Seen         = "seen"          // a state of the log, the first or one that grew out of the last
	NewKey       = "new_key"       // the same, of a log with another key: the signed manifest names it
	Fork         = "fork"          // a state that did not grow out of the last
	SetBack      = "set_back"      // fewer records than it had signed for
	BadSignature = "bad_signature" // a state of this log by name, and not by its key
)

// forgotten is the reason of a record of type key by which the operator lets a
// peer begin anew (internal/handshake).
const forgotten = "forgotten"

// maxLogs bounds the logs that are remembered; they are those of configured peers.
const maxLogs = 4096

// maxState bounds a signed state, in bytes, and maxVKey the key of a log. A text
// that is signed has no control characters but line ends, so a record has room for
// two such states and the key however they are written. What came instead of a
// signed state may need more: see record.
const (
	maxState = 3 << 10
	maxVKey  = 512
)

// A Log is what is remembered of a peer's flight log. The zero Log is unknown.
type Log struct {
	VKey       string    `json:"vkey"`
	Checkpoint string    `json:"checkpoint"` // the last good one, as it was signed
	At         time.Time `json:"at"`         // when it was seen
	Verdict    string    `json:"verdict"`    // Seen, or what is wrong since
	Seq        int64     `json:"seq"`        // our record of it
}

// Bad reports whether the log has contradicted itself.
func (l Log) Bad() bool {
	return l.Verdict == Fork || l.Verdict == SetBack || l.Verdict == BadSignature
}

// State returns the last good state, nil if there is none.
func (l Log) State() *flight.Checkpoint {
	if l.Checkpoint == "" {
		return nil
	}
	c, err := flight.ParseCheckpoint([]byte(l.Checkpoint), l.VKey)
	if err != nil {
		return nil
	}
	return c
}

// shown is the payload of a record.
type shown struct {
	Version    int    `json:"v"`
	VKey       string `json:"vkey"`
	Checkpoint string `json:"checkpoint,omitempty"` // as it came
	Before     string `json:"before,omitempty"`     // evidence: the last good one
	Proof      string `json:"proof,omitempty"`      // evidence: what came as a proof of growth

	// Digest is in the place of a checkpoint that is not signed and for which a record
	// has no room: its SHA-256, as Content-Digest writes it.
	Digest string `json:"checkpoint_digest,omitempty"`
}

const shownVersion = 1

// Book is a view of the flight log. Its methods are safe for concurrent use.
type Book struct {
	log *flight.Log
	now func() time.Time

	mu      sync.Mutex
	logs    map[string]Log           // by uri of the peer
	looking map[string]chan struct{} // at the log of a uri; closed at the end of the look
}

// Open reads from the flight log what was seen before.
func Open(log *flight.Log, now func() time.Time) (*Book, error) {
	b := &Book{log: log, now: now, logs: map[string]Log{}, looking: map[string]chan struct{}{}}
	if err := log.Attach("witness", b); err != nil {
		return nil, err
	}
	return b, nil
}

// Of returns what is remembered of the log of a peer.
func (b *Book) Of(uri string) Log {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.logs[uri]
}

// Bad returns how many logs have contradicted themselves.
func (b *Book) Bad() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, l := range b.logs {
		if l.Bad() {
			n++
		}
	}
	return n
}

// Apply learns from one line of the log.
func (b *Book) Apply(seq int64, line []byte) {
	if !flight.IsOf(line, flight.CheckpointSeen) && !flight.IsOf(line, flight.Key) {
		return
	}
	var l struct {
		Type      flight.Type
		Peer      string
		Reason    string
		Timestamp time.Time
		Payload   json.RawMessage
	}
	if json.Unmarshal(line, &l) != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case l.Type == flight.Key && l.Reason == forgotten:
		delete(b.logs, l.Peer)
	case l.Type == flight.CheckpointSeen:
		b.learn(seq, l.Peer, l.Reason, l.Timestamp, l.Payload)
	}
}

// learn needs mu.
func (b *Book) learn(seq int64, peer, reason string, at time.Time, payload []byte) {
	var n shown
	if json.Unmarshal(payload, &n) != nil || n.Version != shownVersion {
		return
	}
	have, known := b.logs[peer]
	switch {
	case !known && len(b.logs) >= maxLogs:
	case have.Bad(): // until it is forgotten, and by the evidence that came first
	case reason == Seen && have.VKey == n.VKey && sizeOf(n.Checkpoint) < sizeOf(have.Checkpoint):
	case reason == Seen || reason == NewKey:
		b.logs[peer] = Log{VKey: n.VKey, Checkpoint: n.Checkpoint, At: at, Verdict: Seen, Seq: seq}
	default: // the last good state stays what it was
		have.VKey, have.Verdict, have.Seq = n.VKey, reason, seq
		b.logs[peer] = have
	}
}

// sizeOf is the number of records in a state that was verified when it came.
func sizeOf(state string) int64 {
	_, rest, _ := strings.Cut(state, "\n")
	size, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// Snapshot is the state in a form that Restore reads.
func (b *Book) Snapshot() []byte {
	b.mu.Lock()
	logs := maps.Clone(b.logs)
	b.mu.Unlock()
	text, err := json.Marshal(logs)
	if err != nil {
		panic(err) // strings, numbers and times of records always marshal
	}
	return text
}

// Restore replaces the state by that of a snapshot.
func (b *Book) Restore(snapshot []byte) error {
	logs := map[string]Log{}
	err := json.Unmarshal(snapshot, &logs)
	if err == nil && len(logs) > maxLogs {
		err = errors.New("too many logs")
	}
	if err != nil {
		logs = map[string]Log{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs = logs
	if err != nil {
		return fmt.Errorf("snapshot of witnessed logs: %w", err)
	}
	return nil
}

// record puts what was found into our log, durably, before it counts. Of evidence
// that is too long it leaves out the proof, and then a text that nobody has signed.
func (b *Book) record(p Peer, reason string, n shown) error {
	n.Version = shownVersion
	err := b.write(p, reason, n)
	if errors.Is(err, flight.ErrNotWhole) && n.Proof != "" {
		n.Proof = ""
		err = b.write(p, reason, n)
	}
	if errors.Is(err, flight.ErrNotWhole) && reason == BadSignature {
		n.Digest, n.Checkpoint = iatp.DigestOf([]byte(n.Checkpoint)).ContentDigest(), ""
		err = b.write(p, reason, n)
	}
	return err
}

func (b *Book) write(p Peer, reason string, n shown) error {
	payload, err := json.Marshal(n)
	if err != nil {
		return err
	}
	_, err = b.log.Append(&flight.Entry{
		Type: flight.CheckpointSeen, Peer: p.URI, JKT: p.JKT, Reason: reason, Payload: payload, Whole: true, Time: b.now(),
	}, flight.Durable)
	return err
}

// Peer is whose log is looked at.
type Peer struct {
	URI  string
	JKT  string // thumbprint of the key that signed its manifest
	VKey string // key of the log that the manifest names

	// Renew fetches the manifest again, and returns the key of the log that it names
	// now. A state that VKey has not signed is bad only if that is still VKey: the peer
	// may have begun a new log since its manifest was fetched. Required.
	Renew func(ctx context.Context) (vkey string, err error)
}

// ErrNotShown is returned by Look, wrapped, when a peer shows nothing that could be
// judged: no answer, or one that is no checkpoint of its log.
var ErrNotShown = errors.New("the peer does not show its log")

func notShown(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNotShown, iatp.Printable(fmt.Sprintf(format, args...)))
}
