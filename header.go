package iatp

// Header fields that the protocol gives a meaning, in Go's canonical spelling.
const (
	// HeaderTraceID carries the TraceID of an exchange, both ways.
	HeaderTraceID = "X-Agent-Trace-Id"

	// HeaderTrustScore is the score, 0 to 10, that an exchange was judged by.
	HeaderTrustScore = "X-Agent-Trust-Score"

	// HeaderLatency is how long the upstream took, in milliseconds with two
	// decimals.
	HeaderLatency = "X-Agent-Latency-Ms"

	// HeaderQuarantined is "true" on an exchange that a person let through
	// against a warning, and on later ones of its trace.
	HeaderQuarantined = "X-Agent-Quarantined"

	// HeaderOverride asks to let a warned request through. It never lifts a
	// refusal and is never forwarded.
	HeaderOverride = "X-User-Override"

	// HeaderTraceParent and HeaderTraceState are those of W3C Trace Context.
	HeaderTraceParent = "Traceparent"
	HeaderTraceState  = "Tracestate"

	// HeaderIdempotencyKey names a request that may be sent again.
	// HeaderIdempotencyAlias is an older spelling, read on the local listener only.
	HeaderIdempotencyKey   = "Idempotency-Key"
	HeaderIdempotencyAlias = "X-Idempotency-Key"

	// HeaderFrom says who wrote an answer: one of the From values.
	HeaderFrom = "Iatp-From"

	// HeaderRedacted says which bodies of a call did not pass as they came:
	// "request", "response" or both, with a comma between.
	HeaderRedacted = "Iatp-Redacted"

	// HeaderReceipt carries a peer's signed receipt.
	HeaderReceipt = "Iatp-Receipt"

	// HeaderGrant carries an approver's signed grant.
	HeaderGrant = "Iatp-Grant"

	// HeaderAgreement names the agreement that a request is made under, and
	// HeaderManifest the callee's manifest that the caller has assessed: a Digest
	// as ByteSequence.
	HeaderAgreement = "Iatp-Agreement"
	HeaderManifest  = "Iatp-Manifest"

	// HeaderBudget is what a call may cost at most, HeaderDeadline when its answer
	// is of no use any more, HeaderFacts what its author vouches for. See
	// ParseBudget, ParseDeadline and ParseTokens.
	HeaderBudget   = "Iatp-Budget"
	HeaderDeadline = "Iatp-Deadline"
	HeaderFacts    = "Iatp-Facts"

	// HeaderTransaction tells the wrapped agent which transaction its work is,
	// HeaderUndoData is what it wants back with an undo (at most MaxUndoData bytes of
	// printable ASCII), HeaderSaga makes a local call a part of a saga.
	HeaderTransaction = "Iatp-Transaction"
	HeaderUndoData    = "Iatp-Undo-Data"
	HeaderSaga        = "Iatp-Saga"

	// HeaderReplayed is "?1" on an answer that was given before.
	HeaderReplayed = "Iatp-Replayed"

	// HeaderReceiptID is the id of the receipt that will follow a stream.
	HeaderReceiptID = "Iatp-Receipt-Id"

	// HeaderContentDigest is that of RFC 9530; see ParseContentDigest.
	HeaderContentDigest = "Content-Digest"

	// HeaderSignature and HeaderSignatureInput are those of RFC 9421.
	// HeaderSignatureAgent names the directory of the key that signed
	// (draft-meunier-http-message-signatures-directory).
	HeaderSignature      = "Signature"
	HeaderSignatureInput = "Signature-Input"
	HeaderSignatureAgent = "Signature-Agent"
)

// MaxUndoData is the longest HeaderUndoData in bytes.
const MaxUndoData = 4 << 10

// Values of HeaderFrom.
const (
	FromSidecar = "sidecar" // the answer is the sidecar's own
	FromAgent   = "agent"   // the wrapped agent wrote it
	FromPeer    = "peer"    // another sidecar wrote it
)
