package iatp

import (
	"encoding/json"
	"strings"
	"time"
)

// Slugs of the problems that the protocol defines. The type of a problem is
// BaseURI + "problems/" + slug.
const (
	SlugInvalidJSON            = "invalid-json"             // 400
	SlugInvalidRequest         = "invalid-request"          // 400
	SlugDigestMismatch         = "digest-mismatch"          // 400: the body is not the one that was signed
	SlugUncoveredHeader        = "uncovered-header"         // 400: the signature leaves a field out
	SlugBadSignature           = "bad-signature"            // 400
	SlugPrivacyViolation       = "privacy-violation"        // 403
	SlugPolicy                 = "policy"                   // 403
	SlugForbidden              = "forbidden"                // 403: wrong listener, origin or token
	SlugRevoked                = "revoked"                  // 403
	SlugOriginMismatch         = "origin-mismatch"          // 403
	SlugScope                  = "scope"                    // 403: the agreement does not cover this
	SlugSignatureRequired      = "signature-required"       // 403
	SlugNotFound               = "not-found"                // 404
	SlugMethodNotAllowed       = "method-not-allowed"       // 405
	SlugInFlight               = "in-flight"                // 409
	SlugNonceReused            = "nonce-reused"             // 409: sent before; sign again
	SlugTermsRejected          = "terms-rejected"           // 409
	SlugTermsChanged           = "terms-changed"            // 409: not the manifest that was assessed
	SlugKeyClosed              = "key-closed"               // 409: the caller has given this key up
	SlugUndoWindowExpired      = "undo-window-expired"      // 409: it is too late
	SlugUndoConflict           = "undo-conflict"            // 409: not in the state that it is in
	SlugNotReversible          = "not-reversible"           // 409: nothing was promised about undoing it
	SlugSagaOver               = "saga-over"                // 409: the saga, or the task, takes no more calls
	SlugAnswerNotKept          = "answer-not-kept"          // 409: done before, the receipt is what is left
	SlugTooLarge               = "too-large"                // 413
	SlugUnsupportedMediaType   = "unsupported-media-type"   // 415
	SlugUnsupportedEncoding    = "unsupported-encoding"     // 415
	SlugMisdirected            = "misdirected"              // 421
	SlugKeyReused              = "key-reused"               // 422
	SlugBudgetExhausted        = "budget-exhausted"         // 422
	SlugTooEarly               = "too-early"                // 425
	SlugAgreementRequired      = "agreement-required"       // 428
	SlugIdempotencyKeyRequired = "idempotency-key-required" // 428
	SlugQuotaExceeded          = "quota-exceeded"           // 429
	SlugOverrideRequired       = "override-required"        // 449
	SlugUpstreamFailed         = "upstream-failed"          // 502
	SlugManifestInvalid        = "manifest-invalid"         // 502
	SlugReceiptInvalid         = "receipt-invalid"          // 502
	SlugAgreementInvalid       = "agreement-invalid"        // 502: what came back is not what was proposed, signed by both
	SlugCompensationFailed     = "compensation-failed"      // 502: it is not undone, a person was asked
	SlugPeerNeedsApproval      = "peer-needs-approval"      // 502
	SlugDraining               = "draining"                 // 503
	SlugOverloaded             = "overloaded"               // 503
	SlugLogUnavailable         = "log-unavailable"          // 503
	SlugManifestUnavailable    = "manifest-unavailable"     // 503
	SlugDeadlineExceeded       = "deadline-exceeded"        // 504
)

// StatusRetryWith is the status of an answer that a person may lift.
const StatusRetryWith = 449

// A Problem is a refusal, or a warning that asks for a decision: an RFC 9457
// problem document with the protocol's own members. As JSON, members with zero
// values are left out, but for type, title and status.
//
// What a Problem quotes from somebody else goes through Printable first.
type Problem struct {
	Slug   string // the kind of problem: one of the Slug constants
	Title  string // the kind in words; if empty, the slug read aloud
	Status int    // the HTTP status

	Error string // what went wrong this time, in words
	Hint  string // what to do about it

	Blocked          bool      // nobody can lift this refusal
	Warning          string    // what a person should know before lifting it
	RequiresOverride bool      // a person may lift it
	TrustScore       *int      // 0 to 10
	TraceID          TraceID   // the exchange
	Reasons          []string  // codes of the reasons
	Outcome          string    // one of the Outcome constants
	Recovery         *Recovery // what was done about a failure
	Approval         *Approval // how to let the request through
	Where            *Place    // the place in the request that is at fault
	RetryAfter       int       // seconds to wait before trying again; also a header
	Counter          *Terms    // with SlugTermsRejected: the terms that would be accepted
}

// What is known of the effect of a request that did not end well.
const (
	OutcomeNone     = "none"     // it was not sent
	OutcomeFailed   = "failed"   // it was sent and had no effect
	OutcomeUnknown  = "unknown"  // it was sent and may have had an effect: do not blindly repeat it
	OutcomeExecuted = "executed" // it had its effect
)

// A Recovery tells what was done about a failure.
type Recovery struct {
	Strategy     string   `json:"strategy"` // rollback, retry or give_up
	Success      bool     `json:"success"`
	ActionsTaken []string `json:"actions_taken"`
}

// An Approval tells how a person can let a request through.
type Approval struct {
	Action    string    `json:"action,omitempty"` // digest of exactly what would be released
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Modes     []string  `json:"modes,omitempty"` // "header", "token", "grant"
}

// A Place is a position in a JSON document.
type Place struct {
	Line    int    `json:"line,omitempty"`   // from 1
	Column  int    `json:"column,omitempty"` // from 1, in characters
	Pointer string `json:"pointer"`          // RFC 6901; "" is the whole document
}

// Type returns the URI that names the kind of problem.
func (p *Problem) Type() string { return BaseURI + "problems/" + p.Slug }

// MarshalJSON returns the problem document.
func (p *Problem) MarshalJSON() ([]byte, error) {
	title := p.Title
	if title == "" {
		title = p.defaultTitle()
	}
	return json.Marshal(struct {
		Type             string    `json:"type"`
		Title            string    `json:"title"`
		Status           int       `json:"status"`
		Error            string    `json:"error,omitempty"`
		Hint             string    `json:"hint,omitempty"`
		Blocked          bool      `json:"blocked,omitempty"`
		Warning          string    `json:"warning,omitempty"`
		RequiresOverride bool      `json:"requires_override,omitempty"`
		TrustScore       *int      `json:"trust_score,omitempty"`
		TraceID          TraceID   `json:"trace_id,omitempty"`
		Reasons          []string  `json:"reasons,omitempty"`
		Outcome          string    `json:"outcome,omitempty"`
		Recovery         *Recovery `json:"recovery,omitempty"`
		Approval         *Approval `json:"approval,omitempty"`
		Where            *Place    `json:"where,omitempty"`
		RetryAfter       int       `json:"retry_after,omitempty"`
		Counter          *Terms    `json:"counter,omitempty"`
	}{
		p.Type(), title, p.Status, p.Error, p.Hint, p.Blocked, p.Warning, p.RequiresOverride,
		p.TrustScore, p.TraceID, p.Reasons, p.Outcome, p.Recovery, p.Approval, p.Where, p.RetryAfter, p.Counter,
	})
}

var slugWords = strings.NewReplacer("-", " ", "json", "JSON")

// defaultTitle reads the slug aloud: "privacy-violation" is "Privacy violation".
func (p *Problem) defaultTitle() string {
	if p.Slug == "" {
		return "Problem"
	}
	words := slugWords.Replace(p.Slug)
	return strings.ToUpper(words[:1]) + words[1:]
}
