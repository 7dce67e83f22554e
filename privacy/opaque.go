package privacy

import "github.com/inter-agent-trust/iatp/internal/ijson"

// Limits bound the JSON that is read; the zero Limits have usual bounds.
type Limits = ijson.Limits

// A Reason says why something was not looked into.
type Reason string

// The reasons.
const (
	OpaqueDepth      Reason = "depth"      // JSON nested in strings more than four deep; read as text
	OpaqueEncoded    Reason = "encoded"    // base64 or hexadecimal that is too long, or was encoded three times
	OpaqueCompressed Reason = "compressed" // compressed data in base64
	OpaqueBinary     Reason = "binary"     // no UTF-8 text
	OpaqueEncoding   Reason = "encoding"   // a Content-Encoding that is not known, or not what it says
	OpaqueSize       Reason = "size"       // more than may be decoded, or far more than what it was decoded from
)

// An Opaque is a part of the input that was not looked into, so that a policy
// can refuse what it cannot see.
type Opaque struct {
	Reason Reason
	// Pointer is that of the JSON leaf, as in a Finding; empty in text, and
	// if it is longer than 512 bytes.
	Pointer string
	// Start and End delimit the part in the bytes that were scanned.
	Start, End int
}

// maxOpaque is how many opaque parts one report names, and maxOpaquePointer how
// long their pointers are.
const (
	maxOpaque        = 100
	maxOpaquePointer = 512
)

// A veil is an opaque part of a folded text.
type veil struct {
	reason     Reason
	start, end int
}

// veiled notes that text[start:end] was not looked into.
func (f *finder) veiled(reason Reason, start, end int) {
	if n := len(f.veils); n < maxOpaque && (n == 0 || f.veils[n-1].end < end) { // a row has many beginnings
		f.veils = append(f.veils, veil{reason, start, end})
	}
}
