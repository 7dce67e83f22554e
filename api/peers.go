package api

import (
	"time"

	"github.com/inter-agent-trust/iatp"
)

// Peers is the answer of GET /peers: who we are to other sidecars, and whom we
// know. URI and Key are empty where no public_url is set.
type Peers struct {
	URI   string `json:"uri,omitempty"`
	Key   string `json:"key,omitempty"` // ed25519:…, for others to pin
	Peers []Peer `json:"peers"`         // by name
}

// ForgetPeer is the body of POST /peers/forget: the origin of a peer, or its name in
// the configuration, and who says so.
type ForgetPeer struct {
	Peer string `json:"peer"`
	By   string `json:"by"`
}

// Forgotten answers it: the origin of which nothing is remembered any more.
type Forgotten struct {
	URI string `json:"uri"`
}

// Peer is a configured peer and what was found at the last visit to it. Without
// LastSeen there was none since the sidecar started, and Level, Score, Evidence and
// Notes say nothing.
type Peer struct {
	Name     string       `json:"name"`
	URI      string       `json:"uri"`
	AgentID  iatp.AgentID `json:"agent_id,omitempty"` // what it calls itself
	Level    string       `json:"level,omitempty"`
	Score    *int         `json:"score,omitempty"`
	Evidence string       `json:"evidence,omitempty"`
	Notes    []string     `json:"notes,omitempty"` // why it does not count for more, in codes
	Key      string       `json:"key,omitempty"`   // that it is expected to sign with
	Pinned   bool         `json:"pinned"`          // the operator named a key
	LastSeen *time.Time   `json:"last_seen,omitempty"`
	Error    string       `json:"error,omitempty"` // why it is refused
	Log      *PeerLog     `json:"log,omitempty"`   // nil: it has shown none

	Agreement *Agreement `json:"agreement,omitempty"` // the newest in force
}

// Agreement is one that is in force with a peer.
type Agreement struct {
	ID       string    `json:"id"`       // as records and receipts name it
	Proposed string    `json:"proposed"` // "out": by us; "in": by the peer
	Until    time.Time `json:"until"`
}

// PeerLog is what was seen of a peer's flight log.
type PeerLog struct {
	// Verdict is "seen" while the log has kept to what it signed, else what is
	// wrong: "fork", "set_back" or "bad_signature".
	Verdict  string     `json:"verdict"`
	Size     int64      `json:"size"`                // records that it had signed for when it was last good
	LastSeen *time.Time `json:"last_seen,omitempty"` // when that was
	Evidence int64      `json:"evidence"`            // our record of it
}
