package handshake

import (
	"bytes"
	"encoding/json"
	"iter"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// A PastKey is a key that a principal had, as far as it was seen here.
type PastKey struct {
	Key   iatp.Key
	Since time.Time // when it was first seen
	Until time.Time // when the next one was; zero if it is the latest
	Event string    // how it came: "first_seen", "pinned" or "rotated"
	Seq   int64     // the record that says so

	// Revoked is when it was learned that its owner, or Forgotten when the operator,
	// no longer believes in it. Zero is never.
	Revoked, Forgotten time.Time
}

// History reads from a flight log which keys a principal had, the oldest first. A
// key after the first is one that the key before it, or an authority, vouched for,
// unless the one before was forgotten.
func History(lines iter.Seq2[flight.Record, error], uri string) ([]PastKey, error) {
	var keys []PastKey
	for rec, err := range lines {
		if err != nil {
			return nil, err
		}
		var l keyLine
		if rec.Type != flight.Key || !bytes.Contains(rec.Line, []byte(`"peer":`)) || json.Unmarshal(rec.Line, &l) != nil || l.Peer != uri {
			continue
		}
		switch l.Reason {
		case eventForgotten:
			for i := range keys {
				if keys[i].Forgotten.IsZero() {
					keys[i].Forgotten = rec.Time
				}
			}
		case eventFirstSeen, eventPinned, eventRotated, eventUpdated:
			a := new(acquaintance)
			if json.Unmarshal(l.Payload, a) == nil && a.valid() == nil {
				keys = learned(keys, a, l.Reason, rec)
			}
		}
	}
	return keys, nil
}

// learned takes over what a record says of the keys.
func learned(keys []PastKey, a *acquaintance, event string, rec flight.Record) []PastKey {
	if n := len(keys); n == 0 || keys[n-1].Key != a.key() || !keys[n-1].Forgotten.IsZero() {
		if n > 0 && keys[n-1].Until.IsZero() {
			keys[n-1].Until = rec.Time
		}
		keys = append(keys, PastKey{Key: a.key(), Since: rec.Time, Event: event, Seq: rec.Seq})
	}
	for i := range keys {
		if a.revoked(keys[i].Key.Thumbprint()) && keys[i].Revoked.IsZero() {
			keys[i].Revoked = rec.Time
		}
	}
	return keys
}
