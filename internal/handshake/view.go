package handshake

import (
	"maps"
	"slices"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// A Sighting is what is known of a configured peer without asking it.
type Sighting struct {
	Peer Peer

	// At is when the last visit to it began; zero if there was none since the
	// start. What that came to is Met, or Problem if the peer is refused.
	At      time.Time
	Met     *Met
	Problem *iatp.Problem

	// Key is the one that it is expected to sign with; zero if none is known.
	Key iatp.Key
}

// Sightings returns what is known of the configured peers, by name.
func (p *Peers) Sightings() []Sighting {
	var all []Sighting
	for _, name := range slices.Sorted(maps.Keys(p.byName)) {
		t := p.byName[name]
		s := Sighting{Peer: t.Peer}
		if t.Pin != (iatp.Key{}) || p.memory.of(t.URI) != nil {
			s.Key = p.expected(t)
		}
		if o := p.met.latest(t.URI); o != nil {
			s.At, s.Met, s.Problem = o.at, o.met, o.problem
		}
		all = append(all, s)
	}
	return all
}

// latest returns the outcome of the last visit, good or not, nil if there is none.
func (c *cache) latest(uri string) *outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.place[uri]; at != nil {
		return at.last
	}
	return nil
}
