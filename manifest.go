package iatp

import (
	"fmt"
	"time"
)

// MaxManifestSize and MaxManifestDepth bound the manifests that are read.
const (
	MaxManifestSize  = 64 << 10 // bytes
	MaxManifestDepth = 16       // objects and arrays open at once
)

// A Manifest is an agent's statement about itself: who it is and what it
// guarantees. Get one from ParseManifest or ParseOperatorManifest and treat it as
// read-only; it is then safe for concurrent use.
//
// Members that are absent from the document have the zero value, which never
// promises more than silence does. Members that this package does not know stay
// in Bytes and are covered by Digest.
type Manifest struct {
	Schema          string // "$schema"
	Identity        Identity
	TrustLevel      TrustLevel // as declared
	Capabilities    Capabilities
	Reversibility   Reversibility
	Privacy         Privacy
	ProtocolVersion string // "1.0" if absent
	ManifestVersion string
	UpdatedAt       time.Time
	ExpiresAt       time.Time
	Scopes          []string
	Endorsements    []string // compact JWS, not verified
	RevokedKeys     []RevokedKey
	Signatures      []ManifestSignature

	raw       []byte // what Bytes returns
	canonical []byte // the RFC 8785 form of raw without "signatures"
}

// Identity says who an agent claims to be.
type Identity struct {
	AgentID         AgentID
	VerificationKey string // "ed25519:<base64url>", or any text that is not a key
	Owner           string
	URI             string // the principal: an https origin or a spiffe:// id
	Contact         string
	Log             string // C2SP verifier key of the agent's flight log
}

// Capabilities are the operating guarantees of an agent. Zero is no promise.
type Capabilities struct {
	Idempotency                bool
	ConcurrencyLimit           int64 // requests at once; 0 if not stated
	SLALatencyMS               int64
	SLAAvailability            string // decimal, as written
	IdempotencyDurationSeconds int64
}

// Reversibility says what an agent can undo.
type Reversibility struct {
	Level ReversibilityLevel

	// UndoWindowSeconds is how long an effect can be undone. Nil is not
	// promised; 0 is without limit where Level is not none.
	UndoWindowSeconds *int64

	CompensationMethod string
	CompensationNotes  string
	CompensationSLAMS  int64
	UntilState         string // the agent's own state from which on nothing can be undone
	MaxFee             string // decimal, what an undo may cost at most
	Currency           string // ISO 4217 code of MaxFee

	// CompensationEndpoint and CheckEndpoint are where the sidecar asks its own
	// agent to undo, and whether something was done. They are read from the
	// operator's file only and are not published.
	CompensationEndpoint string
	CheckEndpoint        string
}

// Privacy says what an agent does with what it is sent.
type Privacy struct {
	RetentionPolicy          RetentionPolicy
	RetentionDurationSeconds int64
	HumanInLoop              bool
	TrainingConsent          bool
	StorageLocation          string
	EncryptionAtRest         *bool // nil if not stated
	EncryptionInTransit      *bool // nil if not stated
}

// A RevokedKey is a key that its owner says must no longer be believed.
type RevokedKey struct {
	KeyID string // RFC 7638 thumbprint
	At    time.Time
}

// A ManifestSignature is one JWS signature over the document, in the shape of the
// A2A AgentCardSignature.
type ManifestSignature struct {
	Protected string // base64url of the protected header
	Signature string // base64url
}

// A ManifestError says why a manifest is refused, where, and what would be
// accepted.
type ManifestError struct {
	Line, Column int    // from 1, the column in characters; 0 if no place is to blame
	Pointer      string // RFC 6901; the sender's text, escape it before showing it
	Msg          string // quotes at most a few escaped characters of the document
}

// Error returns a line like
// `line 3, column 18, at /trust_level: must be one of …, got "gold"`.
func (e *ManifestError) Error() string {
	switch {
	case e.Line == 0:
		return e.Msg
	case e.Pointer == "":
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
	}
	return fmt.Sprintf("line %d, column %d, at %s: %s", e.Line, e.Column, Printable(e.Pointer), e.Msg)
}

// Bytes returns the document exactly as it was read; for an operator's file that
// had to be brought into the published form, the document in that form. The
// caller must not change it.
func (m *Manifest) Bytes() []byte { return m.raw }

// clockSkew is how far the author's clock may be ahead of the reader's.
const clockSkew = 30 * time.Second

// ValidAt reports why the manifest must not be used at the given time: it was
// written later than that, by more than the clocks of two machines may differ, or
// it has expired. Times that are absent set no bound.
func (m *Manifest) ValidAt(now time.Time) error {
	if ahead := m.UpdatedAt.Sub(now); !m.UpdatedAt.IsZero() && ahead > clockSkew {
		return fmt.Errorf("updated_at is %v in the future; are the clocks right?", ahead.Round(time.Second))
	}
	if !m.ExpiresAt.IsZero() && !now.Before(m.ExpiresAt) {
		return fmt.Errorf("manifest expired at %s", m.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return nil
}
