package sidecar

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/internal/handshake"
)

// forgetPeer takes the operator's word that a peer has lost its key.
func (s *Sidecar) forgetPeer(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugMethodNotAllowed, Status: http.StatusMethodNotAllowed, Error: "this path takes POST"})
		return
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugUnsupportedMediaType, Status: http.StatusUnsupportedMediaType, Error: "Content-Type must be application/json"})
		return
	}
	var f api.ForgetPeer
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 8<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil || f.Peer == "" || f.By == "" || len(f.By) > 100 {
		s.refuse(w, badRequest(iatp.SlugInvalidRequest, `the body must be {"peer": a name or an origin, "by": 1 to 100 characters}`))
		return
	}
	uri := f.Peer
	if p, ok := s.active.Load().Peers[f.Peer]; ok {
		uri = p.principal()
	}
	var err error = handshake.ErrUnknown
	if s.mesh != nil {
		seen := s.mesh.logs.seen.Of(uri).Verdict != ""
		err = s.mesh.peers().Forget(uri, s.scanner().RedactText(f.By), seen)
	}
	switch {
	case errors.Is(err, handshake.ErrUnknown):
		s.refuse(w, &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound,
			Error: "no key is remembered of " + iatp.Printable(clip(f.Peer, 256)), Hint: "GET /peers lists the peers"})
	case err != nil:
		s.refuse(w, s.logUnavailable(err))
	default:
		writeJSON(w, r, http.StatusOK, api.Forgotten{URI: uri})
	}
}
