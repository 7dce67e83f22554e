package httpsig

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// Fields are what the protocol's own fields say. Zero is absent.
type Fields struct {
	Agent          string // origin whose directory has the key (Signature-Agent)
	ContentDigest  iatp.Digest
	IdempotencyKey string
	TraceID        iatp.TraceID // of 128 bits
	TraceParent    iatp.TraceParent
	Agreement      iatp.Digest
	Manifest       iatp.Digest
	Budget         iatp.Money
	Deadline       time.Time
	Grants         []string // compact JWS, not verified
	Facts          []string // compact JWS, not verified
}

// readFields reads the covered fields of the protocol. As fixed fields are covered
// if they are there, nothing is overlooked.
func (p *Pending) readFields(now time.Time) *iatp.Problem {
	for i, name := range p.names {
		if err := p.readField(name, p.values[i], now); err != nil {
			return refuse(iatp.SlugInvalidRequest, "%s: %v", name, err)
		}
	}
	switch {
	case safe(p.method):
		return nil
	case p.ContentDigest.IsZero():
		return refuse(iatp.SlugDigestMismatch, "%s needs a Content-Digest, also for an empty body", quote(p.method))
	case p.IdempotencyKey == "":
		return &iatp.Problem{Slug: iatp.SlugIdempotencyKeyRequired, Status: http.StatusPreconditionRequired,
			Error: quote(p.method) + " needs an Idempotency-Key"}
	}
	return nil
}

func (f *Fields) readField(name, value string, now time.Time) (err error) {
	switch name {
	case "content-digest":
		f.ContentDigest, err = iatp.ParseContentDigest(value)
	case "idempotency-key":
		f.IdempotencyKey, err = iatp.ParseIdempotencyKey(value)
	case "x-agent-trace-id":
		f.TraceID, err = parseTraceID(value)
	case "traceparent":
		f.TraceParent, err = iatp.ParseTraceParent(value)
	case "iatp-agreement":
		f.Agreement, err = iatp.ParseByteSequence(value)
	case "iatp-manifest":
		f.Manifest, err = iatp.ParseByteSequence(value)
	case "iatp-budget":
		f.Budget, err = iatp.ParseBudget(value)
	case "iatp-deadline":
		f.Deadline, err = iatp.ParseDeadline(value, now)
	case "iatp-grant":
		f.Grants, err = iatp.ParseTokens(value)
	case "iatp-facts":
		f.Facts, err = iatp.ParseTokens(value)
	case fieldAgent:
		f.Agent, err = parseAgent(value)
	}
	return err
}

func parseTraceID(value string) (iatp.TraceID, error) {
	id, err := iatp.ParseTraceID(value)
	if err != nil {
		return "", err
	}
	if _, ok := id.Bits(); !ok {
		return "", errors.New("must be a UUID or 32 hexadecimal digits between sidecars")
	}
	return id, nil
}

// parseAgent returns the origin in our member of Signature-Agent, which has one
// spelling: iatp="https://agent.example".
func parseAgent(value string) (string, error) {
	members, ok := dictionary(value)
	if !ok {
		return "", errors.New("must be a structured dictionary without repeated keys")
	}
	for _, m := range members {
		if m.key != Label {
			continue
		}
		origin := strings.Trim(m.text, `"`)
		if m.text != `"`+origin+`"` {
			break
		}
		return origin, iatp.CheckOrigin(origin)
	}
	return "", errors.New(`must have the member ` + Label + `="https://…" without parameters`)
}
