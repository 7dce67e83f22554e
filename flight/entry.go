package flight

import (
	"time"

	iatp "github.com/inter-agent-trust/iatp"
)

// MaxLine is the longest line the log holds, without its newline: an entry
// bundle of C2SP tlog-tiles carries the length in 16 bits.
const MaxLine = 65_535

// MaxPayload is the longest text of a payload in a line, in bytes as written.
// What is longer is cut and the line says truncated.
const MaxPayload = 16 << 10

// Bounds of the other members, in bytes as written. Together with MaxPayload
// they keep the longest line that Append can build below MaxLine.
const (
	maxText  = 512  // a text member
	maxPath  = 2048 // path
	maxItem  = 128  // a text inside a list
	maxItems = 32   // elements of a list
)

// Type says what a record is about. The set is closed: a reader refuses a type
// it does not know, so that nothing is skipped unseen.
type Type string

const (
	Request        Type = "request"         // a call arrived; with decision "allow" it may be executed
	Forward        Type = "forward"         // after a wait: from here on the call may be executed
	Recovery       Type = "recovery"        // the log itself: a tail was cut, or old lines were dropped
	Response       Type = "response"        // an answer is about to be released
	Error          Type = "error"           // a call came to nothing
	Blocked        Type = "blocked"         // a call was denied
	Warning        Type = "warning"         // a call waits for a person
	Quarantine     Type = "quarantine"      // a trace was put into, or changed its state in, quarantine
	UserOverride   Type = "user_override"   // a person let a call pass
	Agreement      Type = "agreement"       // terms were agreed with a peer
	Compensation   Type = "compensation"    // a step of undoing something
	Facts          Type = "facts"           // signed facts were made or checked
	Reputation     Type = "reputation"      // a score changed
	Key            Type = "key"             // a key was seen, pinned, rotated or revoked
	CheckpointSeen Type = "checkpoint_seen" // another log's checkpoint was seen
)

// known reports whether t belongs to the closed set.
func (t Type) known() bool {
	switch t {
	case Request, Forward, Recovery, Response, Error, Blocked, Warning, Quarantine,
		UserOverride, Agreement, Compensation, Facts, Reputation, Key, CheckpointSeen:
		return true
	}
	return false
}

// Dir is the direction of an exchange, seen from the sidecar.
type Dir string

const (
	In    Dir = "in"    // from a peer to the wrapped agent
	Out   Dir = "out"   // from the wrapped agent to a peer
	Local Dir = "local" // from a local caller to the wrapped agent
)

// Outcome is what is known about the effect of a call.
type Outcome string

const (
	OutcomeNone     Outcome = "none"     // it was never executed
	OutcomeFailed   Outcome = "failed"   // it was executed and had no effect
	OutcomeUnknown  Outcome = "unknown"  // nobody can tell
	OutcomeExecuted Outcome = "executed" // it was executed
	OutcomePartial  Outcome = "partial"  // a part of it was executed
)

// Entry is one thing to record. A zero member is absent from the line. The log
// adds seq and r. Texts are cut at fixed bounds (truncated says so), invalid
// UTF-8 in them becomes U+FFFD.
type Entry struct {
	Type    Type
	TraceID iatp.TraceID
	Time    time.Time // zero: now; written in UTC with milliseconds

	Dir     Dir
	AgentID iatp.AgentID
	Peer    string // the principal on the other side: an https origin or a spiffe id
	JKT     string // RFC 7638 thumbprint of its key
	Method  string
	Path    string

	// Payload is a JSON value to keep, already redacted; the line holds its
	// canonical form (RFC 8785). If it is not I-JSON, is nested more than 127
	// deep or is longer than MaxPayload in that form, it is kept as the text that
	// it is, cut. Nil: no payload.
	Payload []byte
	// Canonical is the canonical form of Payload, of at most MaxPayloadDepth, where the caller has
	// made it already, with package ijson: nobody looks again. Nil: it is made here.
	Canonical []byte
	// Whole says that something is to be learned from Payload: rather than cut it, or
	// keep it as a text, Append refuses the entry with ErrNotWhole.
	Whole bool
	// Text is a payload that is not JSON, already redacted. It is ignored when
	// Payload is set.
	Text []byte
	// Truncated says that the caller kept only the beginning of the payload.
	Truncated bool
	// Opaque says why no payload is kept, for instance "ephemeral".
	Opaque string

	ContentType string
	Bytes       int64 // length of the body on the wire

	// Body is the raw body to commit to: the line holds a keyed, salted HMAC
	// of it and never the body or a plain digest. Nil: no commitment; empty
	// and not nil: a commitment to the empty body.
	Body []byte

	Findings []Count
	Decision string // allow, ask or deny
	Assessed bool   // Level, Evidence and Score hold: a score of 0 is a score
	Level    iatp.TrustLevel
	Evidence string
	Score    int
	Reasons  []string // codes
	Rules    []Rule
	Reason   string
	Manifest string // digest of the manifest that was judged
	// Agreement is the id of the agreement that the call was made under, or that
	// the record is about, in base64url.
	Agreement string
	Policy    string // digest of the rule set that judged
	Override  string // the override mode
	Actor     string // who did it, when it was a person

	StatusCode int
	Latency    time.Duration // whole exchange; written in milliseconds
	Own        time.Duration // the sidecar's own share of it
	Outcome    Outcome
	Attempts   int
	Error      string // a fixed code, never a peer's text
	SLABreach  bool

	Quarantined bool
	Minted      bool // the trace id was made here
	TraceParent string
	Link        iatp.TraceID // the id of this trace on the other side of the sidecar

	// IdempotencyKey is recorded as a keyed hash (member idem), never as it is.
	IdempotencyKey string

	State string // of a quarantine: open, reviewed or released
	Note  string

	Action iatp.Digest // what a person let pass
	Base   iatp.Digest // names the signed request: SHA-256 of its RFC 9421 signature base

	// Receipt is the receipt of the call, a JWS. The line holds its SHA-256
	// (member receipt) and, sealed, the receipt itself.
	Receipt string
	// Signed is the request of Base as its caller signed it. The line holds it
	// sealed. It is ignored when Receipt is set.
	Signed []byte

	// What single-use claims, budgets and the undo learn from this record. They are not
	// texts of a caller: packages once, budget and undo make them.
	Claim *Claim
	Nonce *Nonce
	Spend *Spend
	Tx    *Tx

	cut recoveryNote
}

// Count is how often a class of data was found.
type Count struct {
	Kind   iatp.DataClass
	Count  int
	Action string   // what became of it: block, ask, redact or mask; empty if it passed
	At     []string // JSON pointers of some of the places; a line holds 32 in all
}

// Rule is a policy rule that matched, and where it is written.
type Rule struct {
	Name, File string
	Line       int
}

// recoveryNote holds the members of a recovery line; only the log writes them.
// An empty log can be cut to zero records, so set tells zero from absent.
type recoveryNote struct {
	set              bool
	oldSize, newSize int64
	droppedBelow     int64
}
