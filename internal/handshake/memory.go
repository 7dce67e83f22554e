package handshake

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/trust"
)

// What a record of type "key" says about a principal, in its member "reason". The
// first five change what is remembered; the others are kept as evidence.
const (
	eventFirstSeen    = "first_seen"    // its first signed manifest
	eventPinned       = "pinned"        // the first one since the operator pinned the key
	eventRotated      = "rotated"       // another key, which the one before or an authority vouches for
	eventUpdated      = "updated"       // a newer manifest
	eventForgotten    = "forgotten"     // by the operator
	eventKeyChanged   = "key_changed"   // another key, or none, and nobody vouches for it
	eventRolledBack   = "rolled_back"   // a manifest older than one seen before
	eventEquivocation = "equivocation"  // two manifests of one time
	eventBadSignature = "bad_signature" // a signature that must not be believed
)

// Bounds of what is remembered. Configured peers are always remembered; of the
// strangers the one that was learned of longest ago makes room.
const (
	maxStrangers = 4096
	maxChain     = 16 // keys of one principal
)

// An acquaintance is what is remembered of a principal that has served a manifest
// with a good signature. It is the payload of the records that change it, whole,
// so that the last of them is all that counts.
type acquaintance struct {
	Version int `json:"v"`

	// Chain are the thumbprints of its keys, the oldest first: each vouched for the
	// next, or an authority did. Key is the last of them.
	Chain []string `json:"chain"`
	Key   string   `json:"key"` // ed25519:…

	// Revoked are those of the chain that its owner no longer believes in.
	Revoked []string `json:"revoked,omitempty"`

	// Pinned says that the operator had pinned a key of the chain when the promises
	// below were recorded.
	Pinned bool `json:"pinned,omitempty"`

	// UpdatedAt and Digest are those of the newest manifest.
	UpdatedAt time.Time `json:"updated_at"`
	Digest    string    `json:"digest"`

	// Log is the key of its flight log.
	Log string `json:"log,omitempty"`

	// Reversibility and Retention are what it promised at first contact.
	Reversibility iatp.ReversibilityLevel `json:"reversibility,omitempty"`
	Retention     iatp.RetentionPolicy    `json:"retention,omitempty"`
}

const memoryVersion = 1

// valid reports why an acquaintance cannot be one that this package recorded.
func (a *acquaintance) valid() error {
	if a == nil {
		return errors.New("nothing is said of it")
	}
	if a.Version != memoryVersion {
		return fmt.Errorf("version %d, this program reads version %d", a.Version, memoryVersion)
	}
	key, err := iatp.ParseKey(a.Key)
	if err != nil {
		return err
	}
	if n := len(a.Chain); n == 0 || n > maxChain || a.Chain[n-1] != key.Thumbprint() {
		return errors.New("the chain of keys does not end in the key")
	}
	return nil
}

// key is the key of the principal.
func (a *acquaintance) key() iatp.Key {
	k, _ := iatp.ParseKey(a.Key) // valid has parsed it
	return k
}

func (a *acquaintance) has(jkt string) bool     { return a != nil && slices.Contains(a.Chain, jkt) }
func (a *acquaintance) revoked(jkt string) bool { return a != nil && slices.Contains(a.Revoked, jkt) }

func (a *acquaintance) promises() *trust.Promises {
	return &trust.Promises{Reversibility: a.Reversibility, Retention: a.Retention}
}

// memory is the view of the flight log that holds the acquaintances. It learns by
// applying records and from nowhere else. What it hands out is never changed.
type memory struct {
	mu         sync.Mutex
	configured map[string]*target    // by uri; they always have a place
	known      map[string]remembered // by uri
}

// remembered is an acquaintance and the record that it is from.
type remembered struct {
	Seq int64         `json:"seq"`
	Is  *acquaintance `json:"is"`
}

// keyLine is what the view reads of a line.
type keyLine struct {
	Type    flight.Type     `json:"type"`
	Peer    string          `json:"peer"`
	Reason  string          `json:"reason"`
	Payload json.RawMessage `json:"payload"`
}

// Apply learns from one line of the log.
func (m *memory) Apply(seq int64, line []byte) {
	var l keyLine
	if !flight.IsOf(line, flight.Key) || json.Unmarshal(line, &l) != nil || l.Type != flight.Key {
		return
	}
	switch l.Reason {
	case eventForgotten:
		m.mu.Lock()
		delete(m.known, l.Peer)
		m.mu.Unlock()
	case eventFirstSeen, eventPinned, eventRotated, eventUpdated:
		a := new(acquaintance)
		if json.Unmarshal(l.Payload, a) == nil && a.valid() == nil {
			m.remember(l.Peer, remembered{seq, a})
		}
	}
}

// configure says who always has a place.
func (m *memory) configure(byURI map[string]*target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.configured = byURI
}

func (m *memory) remember(uri string, r remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[uri] = r
	if len(m.known) > maxStrangers+len(m.configured) {
		oldest := ""
		for other, o := range m.known {
			if m.configured[other] == nil && (oldest == "" || o.Seq < m.known[oldest].Seq) {
				oldest = other
			}
		}
		delete(m.known, oldest)
	}
}

// of returns what is remembered of a principal, nil if nothing is.
func (m *memory) of(uri string) *acquaintance {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[uri].Is
}

// Snapshot is the state in a form that Restore reads.
func (m *memory) Snapshot() []byte {
	m.mu.Lock()
	known := maps.Clone(m.known)
	m.mu.Unlock()
	b, _ := json.Marshal(known) // strings, times within RFC 3339 and numbers always marshal
	return b
}

// Restore replaces the state by that of a snapshot.
func (m *memory) Restore(snapshot []byte) error {
	known := make(map[string]remembered)
	err := json.Unmarshal(snapshot, &known)
	for uri, r := range known {
		if err != nil {
			break
		}
		if err = r.Is.valid(); err != nil {
			err = fmt.Errorf("%s: %w", iatp.Printable(uri), err)
		}
	}
	if err != nil {
		known = make(map[string]remembered)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = known
	return err
}

// after is what is to be remembered of a principal after a visit that a key of
// the signers, the first, is believed in.
func (a *acquaintance) after(v visit, c thread, signers []iatp.Key) *acquaintance {
	own, m := signers[0].Thumbprint(), v.manifest
	next := &acquaintance{
		Version: memoryVersion, Key: signers[0].String(), Pinned: v.peer.Pin != (iatp.Key{}),
		UpdatedAt: m.UpdatedAt.UTC(), Digest: v.digest, Log: m.Identity.Log,
		Reversibility: m.Reversibility.Level, Retention: m.Privacy.RetentionPolicy,
	}
	if a != nil {
		next.Chain, next.Revoked = slices.Clone(a.Chain), a.Revoked
		if a.Pinned || !next.Pinned { // else the operator has pinned it since, and first contact is now
			next.Pinned, next.Reversibility, next.Retention = a.Pinned, a.Reversibility, a.Retention
		}
	} else {
		next.Chain = []string{c.from.Thumbprint()}
	}
	if last := next.Chain[len(next.Chain)-1]; last != own {
		next.Chain = append(slices.DeleteFunc(next.Chain, func(jkt string) bool { return jkt == own }), own)
	}
	if n := len(next.Chain); n > maxChain {
		next.Chain = slices.Delete(next.Chain, 1, 1+n-maxChain) // the first is what a pin names
	}
	next.revoke(m.RevokedKeys, v.at)
	return next
}

// revoke takes over the keys that their owner revokes. Those of others are not
// its to revoke.
func (a *acquaintance) revoke(keys []iatp.RevokedKey, now time.Time) {
	revoked := slices.Clone(a.Revoked)
	for _, k := range keys {
		if !k.At.After(now) {
			revoked = append(revoked, k.KeyID)
		}
	}
	slices.Sort(revoked)
	a.Revoked = slices.DeleteFunc(slices.Compact(revoked), func(jkt string) bool { return !a.has(jkt) })
}

// equal reports whether nothing was learned.
func (a *acquaintance) equal(known *acquaintance) bool {
	return known != nil && a.Key == known.Key && a.Pinned == known.Pinned && a.Digest == known.Digest &&
		a.UpdatedAt.Equal(known.UpdatedAt) && slices.Equal(a.Chain, known.Chain) && slices.Equal(a.Revoked, known.Revoked)
}

// event names what was learned over what there was, nil for a first contact.
func (a *acquaintance) event(base *acquaintance) string {
	switch {
	case a.Pinned && (base == nil || !base.Pinned):
		return eventPinned
	case base == nil:
		return eventFirstSeen
	case a.Key != base.Key:
		return eventRotated
	}
	return eventUpdated
}
