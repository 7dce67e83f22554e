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

	// HeaderReceipt carries a peer's signed receipt.
	HeaderReceipt = "Iatp-Receipt"

	// HeaderGrant carries an approver's signed grant.
	HeaderGrant = "Iatp-Grant"
)

// Values of HeaderFrom.
const (
	FromSidecar = "sidecar" // the answer is the sidecar's own
	FromAgent   = "agent"   // the wrapped agent wrote it
	FromPeer    = "peer"    // another sidecar wrote it
)
