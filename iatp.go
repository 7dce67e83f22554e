// Package iatp holds the words of the Inter-Agent Trust Protocol: the
// capability manifest, the levels and policies it declares, keys and what they
// sign (manifests, agreements, receipts, endorsements), money, trace
// identifiers, header names, and the problem documents that refusals are made of.
//
// Everything here is a pure function of its arguments. The package reads no
// file, opens no connection and looks at no clock, so that a manifest can be
// checked with it alone:
//
//	m, err := iatp.ParseManifest(data)
//	if err != nil {
//		return err // a *iatp.ManifestError: line, column, JSON Pointer, remedy
//	}
//	signers, err := m.VerifySignature() // none means unsigned
//
// What a manifest says about its author is a claim. How far to believe it is
// decided by package trust.
package iatp

// BaseURI is the root of every identifier that the protocol mints: problem
// types, schema, extension and mark types.
const BaseURI = "https://inter-agent-trust.org/"

// ProtocolVersion is the version of the protocol that this package speaks.
// Documents of another major version are refused.
const ProtocolVersion = "1.0"

// Media types of the protocol's documents.
const (
	ProblemContentType  = "application/problem+json" // RFC 9457
	ManifestContentType = "application/json"
)
