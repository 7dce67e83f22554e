package handshake

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/inter-agent-trust/iatp"
)

// The refusals. Nothing was sent to the peer when one of them is returned, so
// their outcome is none. What they quote of a peer is escaped.

// named is how a refusal names a peer.
func (p *Peer) named() string {
	if p.Name != "" {
		return p.Name + " (" + p.URI + ")"
	}
	return p.URI
}

// invalid refuses a manifest that must not be believed.
func invalid(p Peer, why string) *iatp.Problem {
	return &iatp.Problem{
		Slug: iatp.SlugManifestInvalid, Status: http.StatusBadGateway, Blocked: true, Outcome: iatp.OutcomeNone,
		Error: "what " + p.named() + " says of itself must not be believed: " + why,
		Hint:  "nothing was sent; ask its operator",
	}
}

// elsewhere refuses a manifest of another principal than the origin it is from.
func elsewhere(p Peer, uri string) *iatp.Problem {
	return &iatp.Problem{
		Slug: iatp.SlugOriginMismatch, Status: http.StatusForbidden, Blocked: true, Outcome: iatp.OutcomeNone,
		Error: p.named() + " serves the manifest of somebody else: identity.uri is " + iatp.Printable(uri),
		Hint:  "nothing was sent; if the peer has moved, configure it under its new origin",
	}
}

// unproven refuses a peer on a plain port that did not show the pinned key.
func unproven(p Peer) *iatp.Problem {
	return &iatp.Problem{
		Slug: iatp.SlugOriginMismatch, Status: http.StatusForbidden, Blocked: true, Outcome: iatp.OutcomeNone,
		Error: p.named() + " is reached without TLS, and its manifest is not signed by the pinned key",
		Hint:  "nothing was sent; let it sign its manifest (iatp manifest sign), or correct the pin",
	}
}

// notTheOrigin refuses a peer whose server did not prove that it is the origin,
// or does not let us in. No person can lift that: what answers there may be
// anybody.
func notTheOrigin(p Peer, err error) *iatp.Problem {
	return &iatp.Problem{
		Slug: iatp.SlugUpstreamFailed, Status: http.StatusBadGateway, Blocked: true, Outcome: iatp.OutcomeNone,
		// A certificate may list any number of names.
		Error: "no TLS connection to " + p.named() + ": " + iatp.Printable(fmt.Sprintf("%.300s", err)),
		Hint:  "nothing was sent; check the certificate there, its end and its names, and peers: ca: and dial: here",
	}
}

// unavailable refuses a peer of which nothing can be known now.
func unavailable(p Peer) *iatp.Problem {
	return &iatp.Problem{
		Slug: iatp.SlugManifestUnavailable, Status: http.StatusServiceUnavailable, Outcome: iatp.OutcomeNone,
		Error:      "the manifest of " + p.named() + " cannot be had",
		RetryAfter: int(minFresh.Seconds()),
	}
}

// noSuchPeer refuses a name that is not configured.
func noSuchPeer(name string) *iatp.Problem {
	return &iatp.Problem{
		Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Outcome: iatp.OutcomeNone,
		Error: "no peer is called " + iatp.Printable(strings.ToValidUTF8(name, "\ufffd")),
		Hint:  "peers are listed in the configuration, under peers",
	}
}

// unrecorded refuses because what was learned of a peer cannot be written down.
func unrecorded() *iatp.Problem {
	return &iatp.Problem{
		Slug: iatp.SlugLogUnavailable, Status: http.StatusServiceUnavailable, Outcome: iatp.OutcomeNone,
		Error: "the flight recorder does not take records",
	}
}

// unknown refuses a caller. It is one answer for all causes, so that nobody
// learns by it what the sidecar can reach.
func unknown() *iatp.Problem {
	return &iatp.Problem{
		Slug: iatp.SlugForbidden, Status: http.StatusForbidden, Blocked: true, Outcome: iatp.OutcomeNone,
		Error: "the key that signed this request is not known here",
		Hint:  "the operator of this sidecar has to configure you as a peer, or your manifest at the origin in Signature-Agent has to be signed with that key",
	}
}

// another refuses a known key that signs for another origin than its own.
func another() *iatp.Problem {
	return &iatp.Problem{
		Slug: iatp.SlugOriginMismatch, Status: http.StatusForbidden, Blocked: true, Outcome: iatp.OutcomeNone,
		Error: "Signature-Agent is not the origin that the key belongs to",
	}
}

// revoked refuses a key that must no longer be believed.
func revoked() *iatp.Problem {
	return &iatp.Problem{
		Slug: iatp.SlugRevoked, Status: http.StatusForbidden, Blocked: true, Outcome: iatp.OutcomeNone,
		Error: "the key that signed this request was revoked",
	}
}

// busy refuses a stranger because too many were looked up.
func busy() *iatp.Problem {
	return &iatp.Problem{
		Slug: iatp.SlugQuotaExceeded, Status: http.StatusTooManyRequests, Outcome: iatp.OutcomeNone,
		Error:      "too many unknown callers are being looked up",
		RetryAfter: int(minFresh.Seconds()),
	}
}
