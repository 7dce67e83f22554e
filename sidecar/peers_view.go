package sidecar

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/internal/handshake"
	"github.com/inter-agent-trust/iatp/internal/witness"
)

// PublicKey is what other sidecars pin: the public half of our agent key. ok is
// false without public_url.
func (s *Sidecar) PublicKey() (key iatp.Key, ok bool) {
	if s.mesh == nil {
		return iatp.Key{}, false
	}
	return s.standing.Load().keys.key.Public(), true
}

// servePeers says whom we know, from the last visits; with ?visit=1 after a visit
// to each peer of whom nothing fresh is known.
func (s *Sidecar) servePeers(w http.ResponseWriter, r *http.Request) {
	visit, err := count(r.URL.Query().Get("visit"), 0, 0, 1)
	if err != nil {
		s.refuse(w, badRequest(iatp.SlugInvalidRequest, "visit: "+err.Error()))
		return
	}
	out := api.Peers{Peers: []api.Peer{}}
	if s.mesh != nil {
		if visit == 1 {
			s.visitPeers(r)
		}
		own := s.standing.Load()
		out.URI, out.Key = s.mesh.self.url, own.keys.key.Public().String()
		for _, seen := range s.mesh.peers().Sightings() {
			peer := own.peerView(seen, s.mesh.logs.seen.Of(seen.Peer.URI))
			if h := s.mesh.agreements.With(peer.URI); h != nil {
				peer.Agreement = &api.Agreement{ID: h.Name(), Proposed: string(h.Dir), Until: time.Unix(h.Exp, 0).UTC()}
			}
			out.Peers = append(out.Peers, peer)
		}
	}
	writeJSON(w, r, http.StatusOK, out)
}

// visitPeers asks all peers at once, for their logs too. What comes of it Sightings
// says.
func (s *Sidecar) visitPeers(r *http.Request) {
	var wg sync.WaitGroup
	for name := range s.active.Load().Peers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(r.Context(), logTime)
			defer cancel()
			s.lookAtLog(ctx, name)
		})
	}
	wg.Wait()
}

// peerView is a peer as our rules judge it.
func (own *standing) peerView(seen handshake.Sighting, log witness.Log) api.Peer {
	p := api.Peer{Name: seen.Peer.Name, URI: seen.Peer.URI, Pinned: seen.Peer.Pin != (iatp.Key{})}
	if seen.Key != (iatp.Key{}) {
		p.Key = seen.Key.String()
	}
	if !seen.At.IsZero() {
		at := seen.At.UTC()
		p.LastSeen = &at
	}
	if state := log.State(); state != nil || log.Bad() {
		p.Log = &api.PeerLog{Verdict: log.Verdict, Evidence: log.Seq}
		if state != nil {
			at := log.At.UTC()
			p.Log.Size, p.Log.LastSeen = state.Size, &at
		}
	}
	switch {
	case seen.Problem != nil:
		p.Error = scrub(own.scanner, seen.Problem.Error)
	case seen.Met != nil:
		st := own.of(seen.Met, log.Bad())
		p.Level, p.Score, p.Evidence = st.assessment.Level.String(), &st.assessment.Score, st.assessment.Evidence.String()
		p.Notes = seen.Met.Notes
		if seen.Met.Manifest != nil {
			p.AgentID = st.name
		}
	}
	return p
}
